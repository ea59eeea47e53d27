"""Serves the page in a thread of its own: on this machine's loopback, or with TLS and logins on the network."""

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from fnrbc_device.errors import ConfigError, FnrbcError
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.app import application
from fnrbc_device.web.connections import ClientConnection, Connections
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.long_poll import LongPoll
from fnrbc_device.web.snapshot import LiveView
from fnrbc_device.web.stream import Encoder, Viewers
from fnrbc_device.web.tls import server_context

START_TIMEOUT_S: Final = 10.0

GRACE_S: Final = 0.5
"""What an answer under way may still take when the server stops; a stream ends at once."""

UNHEARD_MS: Final = 15_000
"""TCP gives up who does not acknowledge for so long."""

EVERYWHERE: Final = ("0.0.0.0", "::")
"""All addresses of this machine: none to write into a browser."""

MAX_HEAD_BYTES: Final = 16 * 1024


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
    context
        What the other pages show; None for the live page alone.
    access
        Who may come in; None for nobody but who sits at this machine.

    Raises
    ------
    ConfigError
        Others could reach the host without TLS or a login, or the port cannot be had.
    """

    def __init__(
        self,
        live: LiveView,
        host: str = "127.0.0.1",
        port: int = 0,
        context: WebContext | None = None,
        access: Authentication | None = None,
    ) -> None:
        context = context or WebContext(live)
        access = access or Authentication(journal_path=context.journal_path, device=context.device)
        access.open_to(host)
        tls = server_context(access.settings.cert_file, access.settings.key_file)
        self._socket = _listen(host, port)
        shown = (*access.settings.names, socket.gethostname())[0] if host in EVERYWHERE else host
        self._host = f"[{shown}]" if ":" in shown else shown
        self._scheme = "https" if tls else "http"
        self.port: int = self._socket.getsockname()[1]
        self._viewers = Viewers(live, lambda: self._server.cut_stalled())
        app = application(context, self._viewers, access)
        self._server = _Server(app, self._viewers, context.told, self._socket, tls)
        self._encoder = Encoder(live, self._viewers, self._server.post)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def url(self) -> str:
        """Address for people."""
        return f"{self._scheme}://{self._host}:{self.port}/"

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
            self._server.run()
        finally:
            self._server.ready.set()


class _Server(uvicorn.Server):
    """uvicorn behind our own connections, told to end streams at once and to cut off who does not listen."""

    def __init__(
        self, app: ASGIApp, viewers: Viewers, told: LongPoll, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ClientConnection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="error",  # whoever sends rubbish gets 400, and does not fill the log
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_graceful_shutdown=2,
            )
        )
        self.ready = threading.Event()
        self._viewers = viewers
        self._told = told
        self._connections = Connections(listener, self._connection, tls)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        self._loop = asyncio.get_running_loop()
        self._connections.open()
        self.started = True
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._connections.close()
        self._viewers.board.close()
        self._told.close()
        cut = asyncio.get_running_loop().call_later(GRACE_S, self._connections.cut_all)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def post(self, name: str, data: bytes, language: str = "") -> None:
        """Put an event on the board, from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._viewers.board.post, name, data, language)

    def cut_stalled(self) -> bool:
        """Make room for another viewer; False where all of them read."""
        return self._connections.cut_stalled()

    def _connection(self) -> ClientConnection:
        return ClientConnection(self.config, self.server_state, {}, self._loop)


def _listen(host: str, port: int) -> socket.socket:
    address = "127.0.0.1" if host == "localhost" else host
    if not 0 <= port <= 65535:
        raise ConfigError(
            f"the page's port is {port}, outside 0..65535; choose another, or 0 for any free one"
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        every = address == "::"
        listener = socket.create_server((address, port), family=family, backlog=128, dualstack_ipv6=every)
    except OSError as error:
        raise ConfigError(
            f"the page cannot listen on {host} port {port} ({error}); choose another, or 0 for any free one"
        ) from error
    # Accepted connections inherit it. asyncio does not see to it here, and small answers would wait 40 ms for nothing.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(AttributeError, OSError):  # Linux only; elsewhere TCP's own time-outs must do
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
    return listener
