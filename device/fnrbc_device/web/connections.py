"""Limits connections in all and for each address, and closes those whose client is too slow."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from fnrbc_device.web.access.rate_limits import is_loopback, place_of

MAX_CONNECTIONS: Final = 128
"""A browser keeps up to six, and the page's stream is one of them."""

MAX_OF_PLACE: Final = 32
"""From one address on the network; this machine's own addresses may take all."""

HANDSHAKE_S: Final = 5.0
HEAD_S: Final = 10.0
"""From the connection, or the last answer, to the whole head of the next request."""

STALLED_S: Final = 15.0
"""Who takes less than ``PIECE_BYTES`` of an answer in this time is cut off; its browser comes back by itself."""

PIECE_BYTES: Final = 64 * 1024

SLOW_S: Final = 2.0
"""Who waits on its client for so long makes room for others when all places are taken."""

TICK_S: Final = 0.5

_log = logging.getLogger(__name__)


class ClientConnection(H11Protocol):
    """uvicorn's connection, which knows since when it waits for its client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.place = ""
        self.gone: Callable[[ClientConnection], None] = lambda _: None
        self._waits_since_s = self.loop.time()
        self._stalled_since_s: float | None = None
        self._left_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the place."""
        super().connection_lost(exc)
        self.gone(self)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._waits_since_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._stalled_since_s = self.loop.time()
        self._left_bytes = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stalled_since_s = None

    @property
    def is_stalled(self) -> bool:
        """Whether its client does not take what was sent."""
        return self._stalled_since_s is not None

    def waits_s(self) -> float:
        """Seconds since its client last did its part; 0 while we work on an answer."""
        since = self._stalled_since_s
        if since is None and (not self._is_asked() or self.cycle.more_body):
            since = self._waits_since_s
        return 0.0 if since is None else self.loop.time() - since

    def may_be_cut(self) -> bool:
        """Whether it can make room for others: between two requests at once, amid an answer after ``SLOW_S``."""
        return self.waits_s() > (SLOW_S if self._is_asked() else 0.0)

    def is_overdue(self) -> bool:
        """Whether its client had all the time that it gets."""
        if self._stalled_since_s is None:
            return not self._is_asked() and self.waits_s() > HEAD_S
        left = self.transport.get_write_buffer_size()
        if left <= self._left_bytes - PIECE_BYTES:
            self._stalled_since_s, self._left_bytes = self.loop.time(), left
        return self.waits_s() > STALLED_S

    def _is_asked(self) -> bool:
        """Whether the head of a request is here, and its answer not complete."""
        return self.cycle is not None and not self.cycle.response_complete


class Connections:
    """Accepts for one listener. Belongs to the event loop.

    Parameters
    ----------
    listener
        Bound and listening.
    make
        Makes a connection's protocol.
    tls
        None for plain text.
    """

    def __init__(
        self, listener: socket.socket, make: Callable[[], ClientConnection], tls: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._make = make
        self._tls = tls
        self._guests: dict[ClientConnection, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Accept nobody any more, and drop who has not finished the handshake. Others stay."""
        greetings = [task for task in self._guests.values() if not task.done()]
        for task in (*self._tasks, *greetings):
            task.cancel()
        await asyncio.gather(*self._tasks, *greetings, return_exceptions=True)

    def make_room(self) -> bool:
        """Cut off whose client keeps it waiting for longest; False where nobody's does."""
        return self._cut_slowest(list(self._guests))

    def cut_stalled(self) -> bool:
        """Cut off who takes nothing of its answer for longest; False where everybody reads."""
        return self._cut_slowest([guest for guest in self._guests if guest.is_stalled])

    def cut_all(self) -> None:
        """Cut off everybody."""
        for guest in list(self._guests):
            self._cut(guest)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor left, or a client that has gone again
                _log.warning("a connection was not taken: %s", error.strerror)
                await asyncio.sleep(TICK_S)
                continue
            place = place_of(address[0])
            if not self._has_room(address[0], place):
                accepted.close()
                continue
            self._welcome(accepted, place)

    def _welcome(self, accepted: socket.socket, place: str) -> None:
        guest = self._make()
        guest.place, guest.gone = place, self._forget
        greeting = asyncio.create_task(self._greet(guest, accepted))
        self._guests[guest] = greeting

        def let_go(_: "asyncio.Task[None]") -> None:  # also of one that was cut before it began
            if guest.transport is None:
                self._forget(guest)
                accepted.close()

        greeting.add_done_callback(let_go)

    async def _greet(self, guest: ClientConnection, accepted: socket.socket) -> None:
        """Shake hands. What goes wrong there is the client's affair."""
        loop = asyncio.get_running_loop()
        limit = HANDSHAKE_S if self._tls else None
        try:
            await loop.connect_accepted_socket(
                lambda: guest, accepted, ssl=self._tls, ssl_handshake_timeout=limit
            )
        except (OSError, asyncio.TimeoutError) as error:
            _log.debug("no handshake: %s", error)

    async def _watch(self) -> None:
        """Let go of who keeps us waiting; a handshake has a limit of its own."""
        while True:
            for guest, greeting in list(self._guests.items()):
                if greeting.done() and guest.is_overdue():
                    self._cut(guest)
            await asyncio.sleep(TICK_S)

    def _has_room(self, address: str, place: str) -> bool:
        here = [guest for guest in self._guests if guest.place == place]
        if len(here) >= MAX_OF_PLACE and not is_loopback(address):
            return self._cut_slowest(here)
        return len(self._guests) < MAX_CONNECTIONS or self.make_room()

    def _cut_slowest(self, guests: list[ClientConnection]) -> bool:
        slow = [guest for guest in guests if guest.may_be_cut()]
        if slow:
            self._cut(max(slow, key=ClientConnection.waits_s))
        return bool(slow)

    def _forget(self, guest: ClientConnection) -> None:
        self._guests.pop(guest, None)

    def _cut(self, guest: ClientConnection) -> None:
        greeting = self._guests.pop(guest, None)
        if greeting is not None and not greeting.done():
            greeting.cancel()
        if guest.transport is not None:
            with suppress(OSError):
                guest.transport.abort()
