"""How much of something may happen: a burst at once, and so many a second after it."""

from collections.abc import Callable


class RateLimit:
    """Fills at a steady rate up to a burst; each thing that happens takes one out.

    Parameters
    ----------
    burst
        How many may happen at once.
    per_s
        How many a second in the long run.
    now_s
        Monotonic clock, s.
    """

    def __init__(self, burst: int, per_s: float, now_s: Callable[[], float]) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._now_s = now_s
        self._left = float(burst)
        self._at_s = now_s()

    def take(self) -> bool:
        """Take one, if there is one left."""
        now_s = self._now_s()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
