"""What a count may claim: more than none or not, and how many with the network's own errors taken out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from fnrbc_device.counting.corrected import corrected_per_hundred, limit_of_blank
from fnrbc_device.records import Claim, ErrorCounts, Interval, ProvisionalReason, Tally

EVERY_S: Final = 0.5
"""Between two claims of a running session: a person reads no faster, and one takes about a millisecond."""


def claim(
    fnrbc: int,
    leukocytes: int,
    errors: Sequence[ErrorCounts],
    provisional: Sequence[ProvisionalReason] = (),
    *,
    verified: bool = False,
) -> Claim | None:
    """Say what a count may claim; None where no leukocyte was counted, or nothing is known of the network.

    Parameters
    ----------
    fnrbc, leukocytes
        The plain count, >= 0.
    errors
        What the network is known by: one for each laboratory that it was measured in, or the site's own alone.
    provisional
        Why the session lies outside of that; then nothing is claimed.
    verified
        Whether a person looked at every candidate.
    """
    if not (leukocytes and errors):
        return None
    known = (errors[0].source, sum(one.targets for one in errors), sum(one.leukocytes for one in errors), verified)
    if provisional:
        return Claim("provisional", None, None, *known)
    limit = 0 if verified else max(_limit(fnrbc + leukocytes, one) for one in errors)
    found = corrected_per_hundred(fnrbc, leukocytes, errors, false_calls=not verified)
    if fnrbc > limit:
        return Claim("above_blank", found, limit, *known)
    return Claim("not_distinguishable", Interval(found.value, 0.0, found.high), limit, *known)


class ClaimKeeper:
    """Keeps the claim of a running session up to date, cheaply: when the counts changed, at most twice a second.

    Parameters
    ----------
    errors
        As for ``claim``.
    clock
        Monotonic, seconds.
    """

    def __init__(self, errors: Sequence[ErrorCounts], clock: Callable[[], float]) -> None:
        self._errors = errors
        self._clock = clock
        self._due_s = float("-inf")
        self._rests_on = (0, 0)
        self._provisional: tuple[ProvisionalReason, ...] = ()
        self._claim: Claim | None = None

    def claimed(
        self, tally: Tally, provisional: tuple[ProvisionalReason, ...] = (), *, final: bool = False
    ) -> Tally:
        """Add the claim to a tally.

        Parameters
        ----------
        provisional
            Why the session lies outside of what the network was measured on.
        final
            Whether the session has ended: then the claim is that of these very counts.
        """
        rests_on = (tally.fnrbc, tally.leukocytes)
        now, other_border = self._clock(), provisional != self._provisional
        if other_border or (rests_on != self._rests_on and (final or now >= self._due_s)):
            self._claim = claim(tally.fnrbc, tally.leukocytes, self._errors, provisional)
            self._rests_on, self._provisional, self._due_s = rests_on, provisional, now + EVERY_S
        return replace(tally, claim=self._claim, provisional=provisional)


def _limit(cells: int, known: ErrorCounts) -> int:
    return limit_of_blank(cells, known.leukocytes_wrong, known.leukocytes)
