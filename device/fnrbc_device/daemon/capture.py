"""Between camera and analysis: places for a few frames. Where they do not last the newest wins, the rest is counted."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from fnrbc_device.camera.source import FrameSource, Gap, Rereadable, Watched
from fnrbc_device.errors import SourceError
from fnrbc_device.records import BadFrame, Frame

Item = TypeVar("Item")

JOIN_TIMEOUT_S: Final = 5.0
"""For a reading thread to end; one that hangs in a driver dies with the process."""

LOOK_S: Final = 0.1
"""How soon a writer that waits notices that it need not."""


WAITING: Final = 3
"""Items that wait at most. The dearest steps of a simulated hand's pan take 35 to 75 ms, so that two frames of 30 a
second come meanwhile; see decision 56."""


class Mailbox(Generic[Item]):
    """Holds what came while the reader was held up. Written by one thread, read by another; neither waits for long.

    Where more comes than there is room for, all but the newest is dropped; and while the reader does not catch up, it
    gets the newest alone: a slow reader would be late for good by as many as wait.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._most = WAITING
        """Items that may wait now: one until the reader has caught up with what comes."""
        self._dropped = 0
        self._closed = False

    def put(self, item: Item) -> None:
        """Put the newest item in; those that are dropped for it are counted."""
        with self._changed:
            if len(self._items) >= self._most:
                self._dropped += len(self._items)
                self._items.clear()
                self._most = 1
            self._items.append(item)
            self._changed.notify()

    def wait_empty(self, given_up: Callable[[], bool]) -> None:
        """Wait until the reader has taken what is in the box, so that nothing is dropped."""
        with self._changed:
            while self._items and not self._closed and not given_up():
                self._changed.wait(LOOK_S)

    def take(self, timeout_s: float) -> tuple[Item | None, int]:
        """Oldest item that waits, and how many were dropped between it and the one that was taken before.

        Returns (None, 0) after the time-out, and at once when the box is closed and empty.
        """
        with self._changed:
            if not self._items:
                self._most = WAITING
                if not self._closed:
                    self._changed.wait(timeout_s)
            if not self._items:
                return None, 0
            item = self._items.popleft()
            self._changed.notify_all()
            dropped, self._dropped = self._dropped, 0
            return item, dropped

    def take_waiting(self) -> tuple[deque[Item], int]:
        """All that waits now, oldest first, and how many were dropped before the first. Waits for nothing."""
        with self._changed:
            items, dropped = self._items, self._dropped
            self._items, self._dropped = deque(), 0
            self._changed.notify_all()
            return items, dropped

    def close(self) -> None:
        """Nothing more will come; what is in the box can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Closed, and nothing left to take."""
        with self._changed:
            return self._closed and not self._items


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A frame and when the camera handed it over: a replayed one was captured long ago."""

    frame: Frame | BadFrame
    arrived_s: float
    """Monotonic clock."""


FrameBox = Mailbox[Arrival]
"""What stands between the camera's thread and the counting one."""


class Capture:
    """Reads a source into a box until it ends, in a thread of its own.

    Parameters
    ----------
    source
        Closed by ``end``.
    box
        Closed when the source ends or fails.
    monotonic_s
        The clock that arrivals are told by.
    first_frame
        Number of a live camera's first frame: it counts from 0 at each start, while the record goes on.
    """

    def __init__(
        self, source: FrameSource, box: FrameBox, monotonic_s: Callable[[], float], first_frame: int
    ) -> None:
        self._source = source
        # Asked once: to ask an object whether it follows a protocol takes as long as to look at 30,000 pixels.
        self._watched = source if isinstance(source, Watched) else None
        self._box = box
        self._monotonic_s = monotonic_s
        self._first_frame = first_frame
        self._fault: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def end(self) -> None:
        """Close the source and end the thread. Safe before the start."""
        self._stop.set()
        self._source.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_TIMEOUT_S)

    def raise_fault(self) -> None:
        """Say it where the source failed.

        Raises
        ------
        SourceError
            Whatever its driver raised.
        """
        if self._fault is not None:
            raise SourceError(f"the camera failed: {self._fault}") from self._fault

    def raise_live_fault(self) -> None:
        """Say it where a camera failed; what failed to be read of a recording is only its end.

        Raises
        ------
        SourceError
            Whatever its driver raised.
        """
        if not isinstance(self._source, Rereadable):
            self.raise_fault()

    @property
    def is_recording(self) -> bool:
        """Whether its frames were taken before, and come to an end."""
        return isinstance(self._source, Rereadable)

    @property
    def waits(self) -> bool:
        """Whether its frames wait for the reader."""
        return isinstance(self._source, Rereadable) and self._source.waits

    @property
    def trouble(self) -> str:
        """The health reason that a live camera names now; empty while all is well."""
        return self._watched.trouble if self._watched else ""

    @property
    def exposure_ms(self) -> float | None:
        """Exposure that a live camera says it has; None where it does not say."""
        return self._watched.exposure_ms if self._watched else None

    def take_gaps(self) -> list[Gap]:
        """Times without good pictures that are over and were not taken yet, by the record's numbers of frames."""
        gaps = self._watched.take_gaps() if self._watched else []
        return [replace(gap, after_frame=gap.after_frame + self._first_frame) for gap in gaps]

    def _run(self) -> None:
        recording = self._source if isinstance(self._source, Rereadable) else None
        try:
            while not self._stop.is_set() and (frame := self._source.read()) is not None:
                if recording is None:
                    frame = replace(frame, index=frame.index + self._first_frame)
                elif recording.waits:
                    self._box.wait_empty(self._stop.is_set)
                self._box.put(Arrival(frame, self._monotonic_s()))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises must reach the counting thread
            self._fault = error
        finally:
            self._box.close()
