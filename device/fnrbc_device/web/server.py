"""Serves the page on this machine's loopback, in a thread of its own."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from fnrbc_device.errors import ConfigError, FnrbcError
from fnrbc_device.web.app import application
from fnrbc_device.web.instrument import Instrument
from fnrbc_device.web.live import LiveView
from fnrbc_device.web.stream import Encoder, Viewers

START_TIMEOUT_S: Final = 10.0

GRACE_S: Final = 0.5
"""What an answer under way may still take when the server stops; a stream ends at once."""

STALLED_MS: Final = 15_000
"""A viewer that takes nothing for so long is cut off; its browser comes back by itself."""

MAX_CONNECTIONS: Final = 64


class WebServer:
    """The page at the microscope.

    Parameters
    ----------
    live
        What is shown.
    host
        A loopback address or ``localhost``.
    port
        0 takes a free one.
    instrument
        What the other pages show; None for the live page alone.

    Raises
    ------
    ConfigError
        The host is not this machine's loopback, or the port cannot be had.
    """

    def __init__(
        self, live: LiveView, host: str = "127.0.0.1", port: int = 0, instrument: Instrument | None = None
    ) -> None:
        self._socket = _listen(host, port)
        self._host = f"[{host}]" if ":" in host else host
        self.port: int = self._socket.getsockname()[1]
        self._viewers = Viewers(live)
        self._server = _Server(application(instrument or Instrument(live), self._viewers), self._viewers)
        self._encoder = Encoder(live, self._viewers, self._server.post)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def url(self) -> str:
        """Address for people."""
        return f"http://{self._host}:{self.port}/"

    @property
    def viewers(self) -> int:
        """How many look right now."""
        return self._viewers.count

    def start(self) -> None:
        """Serve; returns when the page can be asked for.

        Raises
        ------
        FnrbcError
            The server does not come up.
        """
        self._thread.start()
        if not self._server.ready.wait(START_TIMEOUT_S) or not self._server.started:
            raise FnrbcError(f"the page is not there {START_TIMEOUT_S:.0f} s after its start; start it again")
        self._encoder.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End all streams and the threads. Safe to call twice, and without a start."""
        if self._encoder.is_alive():
            self._encoder.end(timeout_s)
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.ready.set()


class _Server(uvicorn.Server):
    """uvicorn, told to end streams at once and to cut off who does not listen."""

    def __init__(self, app: ASGIApp, viewers: Viewers) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=2,
            )
        )
        self.ready = threading.Event()
        self._viewers = viewers
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._viewers.board.close()
        cut = asyncio.get_running_loop().call_later(GRACE_S, self._cut_off)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def post(self, name: str, data: bytes) -> None:
        """Put an event on the board, from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._viewers.board.post, name, data)

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    address = "127.0.0.1" if host == "localhost" else host
    if not _is_loopback(address):
        raise ConfigError(
            f"the page's host is {host!r}, which others could reach without a login; use 127.0.0.1, "
            "and from elsewhere a tunnel: ssh -L 8080:127.0.0.1:PORT"
        )
    if not 0 <= port <= 65535:
        raise ConfigError(
            f"the page's port is {port}, outside 0..65535; choose another, or 0 for any free one"
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=64)
    except OSError as error:
        raise ConfigError(
            f"the page cannot listen on {host} port {port} ({error}); choose another, or 0 for any free one"
        ) from error
    with contextlib.suppress(AttributeError, OSError):  # Linux only; elsewhere TCP's own time-outs must do
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
    return listener


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
