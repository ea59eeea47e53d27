"""The retained states: newest value only, never queued, none more often than its topic allows."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fnrbc_device.contract.payloads import State
from fnrbc_device.contract.states import TallyNow
from fnrbc_device.contract.topics import STATES, Delivery, state_delivery
from fnrbc_device.errors import PublishError

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Late:
    """The counts of a running session, written when they are sent: of thirty a second two are."""

    log_seq: int
    """As in the message."""
    write: Callable[[], TallyNow]

    def to_json(self) -> str:
        """Write the message as it goes out."""
        return self.write().to_json()


@dataclass(slots=True)
class _Entry:
    message: State | Late
    delivery: Delivery
    version: int
    sent_version: int = 0
    sent_at_s: float = NEVER
    parked: bool = False


@dataclass(frozen=True, slots=True)
class DueState:
    """A state to be sent now."""

    suffix: str
    version: int
    payload: str
    delivery: Delivery


class RetainedStates:
    """The newest value of each state. Written by the counting thread, read by the sending one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def put(self, suffix: str, message: State | Late) -> bool:
        """Set the newest value. Never blocks on the broker.

        Returns
        -------
        bool
            Whether the sending thread must be woken: all was sent so far. Else it wakes when that falls due.

        Raises
        ------
        PublishError
            No such state in the contract.
        """
        delivery = state_delivery(suffix)
        if delivery is None:
            raise PublishError(f"{suffix!r} is no state; choose one of {', '.join(STATES)} or alarm/CODE")
        with self._lock:
            entry = self._entries.get(suffix)
            if entry is None:
                self._entries[suffix] = _Entry(message, delivery, version=1)
                return True
            if entry.message == message:
                return False
            was_sent = entry.version == entry.sent_version
            entry.message = message
            entry.version += 1
            return was_sent

    def due(self, now_s: float, urgent: bool) -> list[DueState]:
        """States to be sent now, in the order of the contract.

        Parameters
        ----------
        now_s
            Monotonic clock, s.
        urgent
            Send what is new without waiting for its interval: at the end, and when someone flushes.
        """
        with self._lock:
            order = [suffix for suffix in STATES if suffix in self._entries]
            order += sorted(self._entries.keys() - STATES.keys())
            found = [
                (suffix, entry.version, entry.message, entry.delivery)
                for suffix in order
                if _due(entry := self._entries[suffix], now_s, urgent)
            ]
        return [
            DueState(suffix, version, message.to_json(), delivery) for suffix, version, message, delivery in found
        ]

    def wait_s(self, now_s: float, at_most_s: float) -> float:
        """How long until something new may be sent, s."""
        with self._lock:
            waits = [
                entry.sent_at_s + entry.delivery.min_interval_s - now_s
                for entry in self._entries.values()
                if entry.version != entry.sent_version and not entry.parked
            ]
        return min([at_most_s, *(max(0.0, wait) for wait in waits)])

    def sent(self, due: DueState, now_s: float) -> None:
        """Note that a state is on its way."""
        with self._lock:
            entry = self._entries[due.suffix]
            entry.sent_version, entry.sent_at_s = due.version, now_s

    def park(self, suffix: str) -> None:
        """Send a state no more: the broker refuses its topic, and would drop the connection each time."""
        with self._lock:
            self._entries[suffix].parked = True

    def retry(self) -> None:
        """Try again what the broker refused: its access list may have been mended."""
        with self._lock:
            for entry in self._entries.values():
                if entry.parked:
                    entry.parked, entry.sent_version, entry.sent_at_s = False, 0, NEVER

    def forget_sent(self) -> None:
        """Take everything as unsent: a new connection, perhaps to a broker that lost all."""
        with self._lock:
            for entry in self._entries.values():
                entry.sent_version, entry.sent_at_s = 0, NEVER


def _due(entry: _Entry, now_s: float, urgent: bool) -> bool:
    if entry.parked:
        return False
    waited_s = now_s - entry.sent_at_s
    if entry.version != entry.sent_version:
        return urgent or waited_s >= entry.delivery.min_interval_s
    return _is_counting(entry.message) and (every_s := entry.delivery.heartbeat_s) is not None and waited_s >= every_s


def _is_counting(message: State | Late) -> bool:
    return isinstance(message, Late) or (isinstance(message, TallyNow) and message.state == "running")
