"""When to ask a device for what is missing: not while it is on its way, and not again and again in vain."""

from dataclasses import dataclass
from typing import Final

from fnrbc_device.contract.commands import MAX_REPLAY

GRACE_S: Final = 2.0
"""A state may tell of records that are still on their way. Sending 4,000 took 1.3 s on two cores, in order and
without a stop, so a copy that has not grown for this long lacks something."""

FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
"""Between requests that brought nothing, doubling: each is a record in the log itself."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Records to ask for, both ends included."""

    from_seq: int
    to_seq: int


class Gaps:
    """Follows how one copy grows."""

    def __init__(self) -> None:
        self._last_seq = -1
        self._grew_s = 0.0
        self._ask_again_s = 0.0
        self._retry_s = FIRST_RETRY_S

    def wanted(self, last_seq: int, known_seq: int, now_s: float) -> Wanted | None:
        """What to ask for now.

        Parameters
        ----------
        last_seq
            Up to here the copy has no gap.
        known_seq
            The device's log reaches this far, as far as is known.
        now_s
            Monotonic clock, s.
        """
        if last_seq != self._last_seq:
            self._last_seq, self._grew_s = last_seq, now_s
            self._ask_again_s, self._retry_s = now_s + GRACE_S, FIRST_RETRY_S
        if last_seq >= known_seq or now_s < max(self._ask_again_s, self._grew_s + GRACE_S):
            return None
        self._ask_again_s = now_s + self._retry_s
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        return Wanted(last_seq + 1, min(known_seq, last_seq + MAX_REPLAY))

    def soon(self) -> None:
        """Ask without waiting: the device has come back, or its answer tells what else to ask for."""
        self._ask_again_s, self._retry_s = 0.0, FIRST_RETRY_S
