"""What stands in front of every page: who may ask at all, how much, and the headers that browsers keep to."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fnrbc_device.language import _, speaking
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.browser_cookie import BrowserCookie
from fnrbc_device.web.access.cookies import browser_cookie, session_cookie
from fnrbc_device.web.access.login_sessions import LoginSession
from fnrbc_device.web.access.rate_limits import is_loopback, place_of
from fnrbc_device.web.access.user import AT_THE_MICROSCOPE, User
from fnrbc_device.web.bodies import again, lingering, read_body, too_long, turn_away
from fnrbc_device.web.language import language_of
from fnrbc_device.web.rendering import render

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would then send forms with the origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

HSTS: Final = "max-age=15552000"
"""Half a year: a browser that spoke TLS with us once speaks nothing else."""

WATCH_S: Final = 5.0
"""How soon a picture that runs ends after its session did."""

OPEN: Final = frozenset({"/login", "/static/login.css", "/language"})
"""What may be asked for without a login."""

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: all others need the token."""

NOBODY: Final = User("nobody", "viewer")
"""Who has not logged in yet. Sees the pages of ``OPEN`` only."""

class AccessMiddleware:
    """Lets a request through to the pages, or answers in their place.

    It leaves in the scope who asks (``fnrbc.user``), the token that their next order must carry (``fnrbc.token``),
    their browser (``fnrbc.browser``) and the body that was read (``fnrbc.body``).

    Parameters
    ----------
    app
        The pages.
    access
        Knows who may come in.
    language
        In which the device speaks to who has chosen none; ``browser`` for what each browser asks for.
    """

    def __init__(self, app: ASGIApp, access: Authentication, language: str = "browser") -> None:
        self._app = app
        self._access = access
        self._language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI, in the language of who asks."""
        if scope["type"] == "http":
            with speaking(language_of(scope, self._language)):
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._recognise(scope)
        guarded = self._with_headers(scope, send)
        refusal = await self._refusal(scope, receive)
        if refusal is not None:
            unread = "connection" in refusal.headers
            await refusal(scope, receive, lingering(guarded, receive) if unread else guarded)
            return
        if "fnrbc.body" in scope:
            receive = again(scope["fnrbc.body"], receive)
        if session is not None and scope["path"] == "/events":
            receive = _while_allowed(receive, lambda: self._access.sessions.may_watch(session))
        await self._app(scope, receive, guarded)

    def _recognise(self, scope: Scope) -> LoginSession | None:
        """Write into the scope who asks."""
        access = self._access
        known = access.browsers.read(browser_cookie(scope).read())
        browser = known or access.browsers.new()
        scope["fnrbc.browser"], scope["fnrbc.is_new"] = browser, known is None
        scope["fnrbc.token"] = access.browsers.token(browser.id)
        scope["fnrbc.user"] = NOBODY if access.needs_login else _stated(browser)
        secret = session_cookie(scope).read() if access.needs_login else ""
        session = access.sessions.find(secret) if secret else None
        if session is not None:
            scope["fnrbc.user"] = User(session.account.name, session.account.role, logged_in=True)
            scope["fnrbc.token"] = access.browsers.token(secret)
        return session

    async def _refusal(self, scope: Scope, receive: Receive) -> Response | None:
        """Say why not, or None; the cheapest reasons first."""
        headers = dict(scope["headers"])
        if not self._is_ours(scope, headers.get(b"host", b"")):
            return turn_away(421, _("this page answers to its own names only; use its address, or add to web.names"))
        if not self._access.requests.allows(_address(scope)):
            return turn_away(429, _("too many requests from this address; wait a second"))
        if (refusal := too_long(headers)) is not None:
            return refusal
        changes = scope["method"] not in READS
        unread = await read_body(scope, receive) if changes else None
        if unread is not None:
            return unread
        if scope["fnrbc.user"] is NOBODY and scope["path"] not in OPEN:
            return _log_in_first(scope, headers)
        return (_foreign(scope, headers) or _without_token(scope, headers)) if changes else None

    def _is_ours(self, scope: Scope, host: bytes) -> bool:
        """Whether the request names this machine. A page from elsewhere can make its own name point to us."""
        name = _host_name(host.decode("latin-1").lower())
        here = place_of(scope["server"][0]) if scope.get("server") else ""
        if name in self._access.names or name == scope["server"][0] or name == here:
            return True
        return name in LOOPBACK_NAMES and is_loopback(scope["server"][0])

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if scope["scheme"] == "https":
                    headers["strict-transport-security"] = HSTS
                if scope["fnrbc.is_new"] and headers.get("content-type", "").startswith("text/html"):
                    cookie = self._access.browsers.write(scope["fnrbc.browser"])
                    headers.append("set-cookie", browser_cookie(scope).written(cookie))
            await send(message)

        return send_guarded


def _stated(browser: BrowserCookie) -> User:
    return User(browser.name, AT_THE_MICROSCOPE.role) if browser.name else AT_THE_MICROSCOPE


def _log_in_first(scope: Scope, headers: dict[bytes, bytes]) -> Response:
    """The same for what is there and what is not."""
    if scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
        return render(Request(scope), "login.html", 401, next=scope["path"], words="")
    return _refuse(401, "log in first")


def _foreign(scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
    """Refuse orders that another site's page sent; programs that say nothing of a site pass on to the token."""
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    ours = scope["scheme"].encode() + b"://" + host
    if origin is not None and origin.lower() != ours.lower():
        return _refuse(403, "this order comes from another site's page")
    if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        return _refuse(403, "this order comes from another site's page")
    return None


def _without_token(scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
    """Refuse orders from who has not read our pages."""
    sent = headers.get(b"x-fnrbc-token", b"")
    if not sent and headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
        fields = dict(parse_qsl(scope["fnrbc.body"].decode("latin-1")))
        sent = fields.get("token", "").encode("utf-8", "replace")
    if hmac.compare_digest(sent, scope["fnrbc.token"].encode()):
        return None
    return _refuse(403, _("this order does not carry the page's token; load the page again"))


def _refuse(status: int, words: str) -> Response:
    return PlainTextResponse(f"{words}\n", status)


def _while_allowed(receive: Receive, allowed: Callable[[], bool]) -> Receive:
    """Say that the viewer has gone once it may not look any more."""

    async def receive_watched() -> Message:
        hearing: asyncio.Future[Message] = asyncio.ensure_future(_awaited(receive()))
        try:
            while allowed():
                done, _ = await asyncio.wait([hearing], timeout=WATCH_S)
                if done:
                    return hearing.result()
            return {"type": "http.disconnect"}
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing

    return receive_watched


async def _awaited(message: Awaitable[Message]) -> Message:
    return await message


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _host_name(host: str) -> str:
    """Take the port off; brackets off an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
