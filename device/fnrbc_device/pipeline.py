"""Between capture and analysis: one place for one frame. The newest wins, and what it replaces is counted."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from fnrbc_device.records import BadFrame, Frame

Item = TypeVar("Item")

LOOK_S: Final = 0.1
"""How soon a writer that waits notices that it need not."""


class Mailbox(Generic[Item]):
    """Holds at most one item. Written by one thread, read by another; neither waits for the other for long."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._dropped = 0
        self._closed = False

    def put(self, item: Item) -> None:
        """Put the newest item in; one that was never taken is dropped and counted."""
        with self._changed:
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._changed.notify()

    def wait_empty(self, given_up: Callable[[], bool]) -> None:
        """Wait until the reader has taken what is in the box, so that nothing is dropped."""
        with self._changed:
            while self._item is not None and not self._closed and not given_up():
                self._changed.wait(LOOK_S)

    def take(self, timeout_s: float) -> tuple[Item | None, int]:
        """Newest item, and how many were dropped since the last was taken.

        Returns (None, 0) after the time-out, and at once when the box is closed and empty.
        """
        with self._changed:
            if self._item is None and not self._closed:
                self._changed.wait(timeout_s)
            item, self._item = self._item, None
            if item is None:
                return None, 0
            self._changed.notify_all()
            dropped, self._dropped = self._dropped, 0
            return item, dropped

    def close(self) -> None:
        """Nothing more will come; what is in the box can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Closed, and nothing left to take."""
        with self._changed:
            return self._closed and self._item is None


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A frame and when the camera handed it over: a replayed one was captured long ago."""

    frame: Frame | BadFrame
    arrived_s: float
    """Monotonic clock."""


FrameBox = Mailbox[Arrival]
"""What stands between the camera's thread and the counting one."""
