"""What the page shows: the newest snapshot of the count, handed from the counting thread to whoever looks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.health import Health
from fnrbc_device.records import SessionMeta, SessionState, Step, Tally


@dataclass(frozen=True, slots=True)
class BrokerLine:
    """How the results get to the lab."""

    connected: bool
    backlog: int
    """Messages that the broker has not acknowledged yet."""
    last_error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that the page shows of one moment."""

    step: Step | None
    """None before the first frame."""
    session_id: str
    state: SessionState
    health: Health
    pixel_size_um: float
    bundle: str
    simulated: bool
    """The pictures come from the simulated microscope: the page says so in large letters."""
    slide_map: SlideMap | None = None
    """Read by the web thread without a lock, while counting goes on painting."""
    broker: BrokerLine | None = None
    """None where nothing is published."""
    tally: Tally | None = None
    """What the session has come to, where the step does not say it: none was made, or none was counted."""
    meta: SessionMeta | None = None
    """What was said at the session's start."""
    obstacle: str = ""
    """Why no session could be started now, as a code with words; empty where one could."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A snapshot with its number and its time."""

    seq: int
    """Counts what was shown, from 1."""
    at_s: float
    """Monotonic clock."""
    snapshot: Snapshot


class LiveView:
    """Holds the newest snapshot only. Safe from any thread; the lock is held for a few assignments.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: Shown | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Put a snapshot in the place of the last one. Never waits for a reader."""
        with self._changed:
            seq = self._newest.seq + 1 if self._newest else 1
            self._newest = Shown(seq, self._clock(), snapshot)
            self._changed.notify_all()

    def newest(self) -> Shown | None:
        """Give the newest snapshot; None before the first."""
        with self._changed:
            return self._newest

    def wait_newer(self, seq: int, timeout_s: float) -> Shown | None:
        """Wait for a snapshot newer than ``seq``.

        Returns
        -------
        Shown or None
            The newest, however many were passed over; None if the time is up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer(seq), timeout_s)
            return self._newest if self._is_newer(seq) else None

    def age_s(self) -> float | None:
        """Seconds since the newest snapshot; None before the first."""
        shown = self.newest()
        return None if shown is None else self._clock() - shown.at_s

    def _is_newer(self, seq: int) -> bool:
        return self._newest is not None and self._newest.seq > seq
