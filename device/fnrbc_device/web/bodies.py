"""Bodies of requests: small, soon here, and read before anybody looks at them."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest that a page sends is a note of some lines."""

MAX_DIGITS: Final = 9
"""Of a body's length: more are no honest number."""

BODY_S: Final = 10.0
"""All of a body must be here by then."""

LINGER_S: Final = 1.0
LINGER_BYTES: Final = 8 * 1024 * 1024
"""What is read and thrown away after a refusal."""


def too_long(headers: dict[bytes, bytes]) -> Response | None:
    """Refuse a body by the length that it says it has, before any of it is read."""
    length = headers.get(b"content-length", b"0")
    if len(length) > MAX_DIGITS or int(length) > MAX_BODY_BYTES:
        return turn_away(413, f"more than {MAX_BODY_BYTES} bytes; send less")
    return None


async def read_body(scope: Scope, receive: Receive) -> Response | None:
    """Read a body into the scope (``fnrbc.body``), or say why not."""
    try:
        body = await asyncio.wait_for(_body(receive), BODY_S)
    except asyncio.TimeoutError:
        return turn_away(408, f"the rest did not come within {BODY_S:.0f} s; try again")
    if body is None:
        return turn_away(400, "the rest did not come; try again")
    if len(body) > MAX_BODY_BYTES:
        return turn_away(413, f"more than {MAX_BODY_BYTES} bytes; send less")
    scope["fnrbc.body"] = body
    return None


def turn_away(status: int, words: str) -> Response:
    """Answer, and take no more from this connection: what is left of a body is not read."""
    headers = {"connection": "close", **({"retry-after": "1"} if status == 429 else {})}
    return PlainTextResponse(f"{words}\n", status, headers)


def lingering(send: Send, receive: Receive) -> Send:
    """Answer first, then throw away what still comes for a moment: cut off at once, a client never reads why."""

    async def send_lingering(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), LINGER_S)
        await send({"type": "http.response.body", "body": b""})

    return send_lingering


def again(body: bytes, receive: Receive) -> Receive:
    """Hand a body out that was read already."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def _discard(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _body(receive: Receive) -> bytes | None:
    """All of a body, or the first part of one that is too long; None of one that was broken off."""
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body
