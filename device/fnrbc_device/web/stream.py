"""The newest events, and the streams that carry them to the viewers: a slow viewer skips, nothing queues."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from fnrbc_device.language import spoken
from fnrbc_device.web.events import event, frame_events
from fnrbc_device.web.mapping import map_event
from fnrbc_device.web.snapshot import LiveView

LIVE_HZ: Final = 12.0
"""Pictures a second at most: smooth enough for an eye that also looks into the microscope, and at 5-8 ms each
6-10 % of one core, however many look."""

MAP_PERIOD_S: Final = 1.0

BEAT_S: Final = 1.0
"""A viewer hears something this often, so that it can tell a quiet appliance from a lost one."""

MAX_VIEWERS: Final = 24

ROOM_S: Final = 1.0
"""What a new viewer waits for the place of one that was cut off."""

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
]


class Board:
    """The newest event of each name, in each language where it has words. Belongs to the event loop."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._posted = 0
        self._changed = asyncio.Event()
        self.closed = False

    def post(self, name: str, data: bytes, language: str = "") -> None:
        """Put an event in the place of the last of that name; one without a language has no words."""
        self._posted += 1
        self._events[name, language] = (self._posted, data)
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    async def newer(self, seen: int, timeout_s: float, language: str) -> tuple[int, bytes]:
        """Wait for events posted after ``seen``; nothing newer in that time, or in that language, is no bytes."""
        if not self.closed and self._posted <= seen:
            try:
                await asyncio.wait_for(self._changed.wait(), timeout_s)
            except asyncio.TimeoutError:
                return seen, b""
        readable = [one for (_name, said), one in self._events.items() if said in ("", language)]
        return self._posted, b"".join(data for number, data in readable if number > seen)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Viewers:
    """Serves the stream of events to each viewer.

    Parameters
    ----------
    live
        What is told how old it is, with each beat.
    make_room
        Cuts off a viewer that does not read what it is sent; False where all do.
    """

    def __init__(self, live: LiveView, make_room: Callable[[], bool] = lambda: False) -> None:
        self.count = 0
        self.languages: Counter[str] = Counter()
        self.board = Board()
        self._live = live
        self._make_room = make_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI."""
        if not await self._has_room():
            return await _refuse(send)
        self.count += 1
        self.languages[spoken()] += 1
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._stream(send, gone)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self.count -= 1
            self.languages[spoken()] -= 1

    async def _has_room(self) -> bool:
        if self.count >= MAX_VIEWERS and self._make_room():
            for _ in range(10):
                await asyncio.sleep(ROOM_S / 10)
                if self.count < MAX_VIEWERS:
                    break
        return self.count < MAX_VIEWERS

    async def _stream(self, send: Send, gone: "asyncio.Future[None]") -> None:
        """Send what is newest once the last was taken: ``send`` waits while the viewer's buffer is full."""
        seen = 0
        while not (gone.done() or self.board.closed):
            seen, data = await self.board.newer(seen, BEAT_S, spoken())
            body = data + event("beat", {"age_s": self._live.age_s()})
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send) -> None:
    body = f"{MAX_VIEWERS} viewers look already, which is the limit; close one of them\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"10")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Encoder(threading.Thread):
    """Makes the events, once for all viewers of a language and only while there are any.

    Parameters
    ----------
    live
        Where the snapshots come from.
    viewers
        Who looks.
    post
        Takes an event's name, bytes and language; called from this thread.
    """

    def __init__(self, live: LiveView, viewers: Viewers, post: Callable[[str, bytes, str], None]) -> None:
        super().__init__(name="web-encoder", daemon=True)
        self._live = live
        self._viewers = viewers
        self._post = post
        self._ended = threading.Event()
        self._said: dict[str, int] = {}
        self._map_at_s = float("-inf")

    def run(self) -> None:
        """Encode at most ``LIVE_HZ`` times a second, until ended."""
        while not self._ended.wait(1 / LIVE_HZ):
            if self._viewers.count:
                self._encode()

    def end(self, timeout_s: float) -> None:
        """End the thread."""
        self._ended.set()
        self.join(timeout_s)

    def _encode(self) -> None:
        languages = [language for language, viewers in list(self._viewers.languages.items()) if viewers]
        oldest = min((self._said.get(language, 0) for language in languages), default=0)
        shown = self._live.wait_newer(oldest, timeout_s=0.25) if languages else None
        if shown is None:
            return
        behind = [language for language in languages if self._said.get(language, 0) < shown.seq]
        for language, data in frame_events(shown, behind).items():
            self._said[language] = shown.seq
            self._post("frame", data, language)
        step = shown.snapshot.step
        if shown.at_s - self._map_at_s >= MAP_PERIOD_S or shown.snapshot.state == "finished":
            self._map_at_s = shown.at_s
            drawn = map_event(shown.snapshot.slide_map, step.pose if step else None)
            if drawn is not None:
                self._post("map", drawn, "")
