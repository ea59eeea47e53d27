"""Serves the page on this machine's loopback, in a thread of its own."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fnrbc_device.errors import ConfigError, FnrbcError
from fnrbc_device.web.events import describe
from fnrbc_device.web.live import LiveView
from fnrbc_device.web.page import STATIC, live_page, static_file
from fnrbc_device.web.stream import Encoder, Viewers

START_TIMEOUT_S: Final = 10.0

GRACE_S: Final = 0.5
"""What an answer under way may still take when the server stops; a stream ends at once."""

STALLED_MS: Final = 15_000
"""A viewer that takes nothing for so long is cut off; its browser comes back by itself."""

MAX_CONNECTIONS: Final = 64

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


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

    Raises
    ------
    ConfigError
        The host is not this machine's loopback, or the port cannot be had.
    """

    def __init__(self, live: LiveView, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = _listen(host, port)
        self._host = f"[{host}]" if ":" in host else host
        self.port: int = self._socket.getsockname()[1]
        self._viewers = Viewers(live)
        self._server = _Server(_application(live, self._viewers), self._viewers)
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


class _Guard:
    """Adds the security headers, and refuses requests that name another host.

    A page from elsewhere can make its own name point to 127.0.0.1; the name then stands in the Host header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if scope["type"] == "http" and not _is_ours(dict(scope["headers"]).get(b"host", b"")):
            refusal = PlainTextResponse("this page answers to localhost only; use its address", 421)
            await refusal(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def _is_ours(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    return (name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name) in LOOPBACK_NAMES


def _application(live: LiveView, viewers: Viewers) -> ASGIApp:
    routes = [
        Route("/", _constant(live_page().encode(), "text/html; charset=utf-8")),
        Route("/api/state", _state(live)),
        Route("/events", viewers, methods=["GET"]),
        *(Route(f"/static/{name}", _constant(static_file(name), kind)) for name, kind in STATIC.items()),
    ]
    return _Guard(Starlette(routes=routes))


def _constant(content: bytes, media_type: str) -> Callable[[Request], Response]:
    async def respond(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond  # type: ignore[return-value]  # starlette awaits it


def _state(live: LiveView) -> Callable[[Request], Response]:
    async def respond(_request: Request) -> Response:
        shown = live.newest()
        return JSONResponse(describe(shown) if shown else {"state": "starting"})

    return respond  # type: ignore[return-value]  # starlette awaits it


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
