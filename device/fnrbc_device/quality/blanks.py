"""The limit of blank: what slides without a single fNRBC read, so that a count above it means something."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from statistics import mean, stdev
from typing import Final, Literal

from fnrbc_device.intervals import per_hundred
from fnrbc_device.records import Interval

PERCENTILE: Final = 0.95
"""Of blank slides that read no more than the limit: EP17's alpha of 5 %."""

NORMAL_95: Final = 1.645
"""One-sided quantile of the normal distribution for ``PERCENTILE``, as EP17 rounds it."""

LEAST_NONPARAMETRIC: Final = 60
"""Blank results that EP17-A2 asks for before their percentile is read off; below it a distribution is assumed."""

LEAST_BLANKS: Final = 5
"""Below it no spread between slides can be told. A choice of ours: EP17 knows no limit from so few."""

LEAST_LEUKOCYTES: Final = 100
"""On a blank: with fewer, one false positive alone reads more than 1 per 100."""

Method = Literal["nonparametric", "parametric"]


@dataclass(frozen=True, slots=True)
class Blank:
    """One blank slide, as the machine counted it. All its fNRBC are false."""

    fnrbc: int
    leukocytes: int

    @property
    def per_100(self) -> float:
        """FNRBC per 100 leukocytes; there must be a leukocyte."""
        return 100 * self.fnrbc / self.leukocytes


@dataclass(frozen=True, slots=True)
class LimitOfBlank:
    """What 95 % of blank slides do not exceed."""

    per_100: float
    """FNRBC per 100 leukocytes."""
    method: Method
    blanks: int
    """Slides that it rests on."""
    fnrbc: int
    leukocytes: int
    """Counted on all of them together."""
    pooled: Interval
    """FNRBC per 100 leukocytes of all blanks together, with the exact 95 % interval."""
    left_out: int
    """Blanks with too few leukocytes."""


def limit_of_blank(blanks: Sequence[Blank]) -> LimitOfBlank | None:
    """Work out the limit of blank [1]_ from slides that hold no fNRBC.

    Nonparametric from 60 slides on: the percentile at rank ``0.5 + 0.95 B`` of the ``B`` sorted results, interpolated.
    Parametric from 5 on: ``mean + c SD`` with ``c = 1.645 / (1 - 1 / (4 (B - 1)))``, as if results were normal.

    Parameters
    ----------
    blanks
        Counted with one and the same bundle, in any order.

    Returns
    -------
    LimitOfBlank or None
        None where fewer than 5 blanks have 100 leukocytes.

    Notes
    -----
    The limit is never below the upper end of the pooled interval: five slides without a false positive do not show
    that there are none, and their spread of 0 must not say so. All slides are taken as one sample (K = 1 in EP17).

    References
    ----------
    .. [1] CLSI, "Evaluation of Detection Capability for Clinical Laboratory Measurement Procedures", EP17-A2, 2012,
       5.3.3; the parametric form with its correction for few results is from 5.3.3.3.
    """
    kept = [one for one in blanks if one.leukocytes >= LEAST_LEUKOCYTES]
    if len(kept) < LEAST_BLANKS:
        return None
    rates = sorted(one.per_100 for one in kept)
    method: Method = "nonparametric" if len(rates) >= LEAST_NONPARAMETRIC else "parametric"
    found = percentile(rates) if method == "nonparametric" else _normal_limit(rates)
    fnrbc, leukocytes = sum(one.fnrbc for one in kept), sum(one.leukocytes for one in kept)
    pooled = per_hundred(fnrbc, leukocytes)
    left_out = len(blanks) - len(kept)
    return LimitOfBlank(max(found, pooled.high), method, len(kept), fnrbc, leukocytes, pooled, left_out)


def percentile(ordered: Sequence[float], share: float = PERCENTILE) -> float:
    """Read the value at rank ``0.5 + share * n`` (from 1) off ordered values, between two of them by proportion."""
    rank = min(max(0.5 + share * len(ordered), 1.0), float(len(ordered)))
    below = floor(rank)
    above = min(below + 1, len(ordered))
    return ordered[below - 1] + (rank - below) * (ordered[above - 1] - ordered[below - 1])


def _normal_limit(rates: Sequence[float]) -> float:
    few = 1 - 1 / (4 * (len(rates) - 1))
    return mean(rates) + NORMAL_95 / few * stdev(rates)
