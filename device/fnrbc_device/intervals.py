"""Exact confidence intervals for counts. The only place where one is computed."""

from functools import lru_cache
from math import ceil, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist
from typing import Final

from fnrbc_device.records import Interval

CONFIDENCE: Final = 0.95
"""What every interval of fnrbc states."""

PLANNED_WITHIN: Final = 0.2
"""The planning figure's aim: +-20 % is what a reader takes for a settled ratio, and within reach on one slide."""

_CORRECTIONS: Final = 2
"""Of the planning figure; one leaves an error of up to 1 % where few events are needed, two of 0.1 %."""

_MOST_STEPS: Final = 200
_SETTLED: Final = 1e-10
"""A quantile is found when a step changes it by a smaller share of itself. Newton's steps square the error: what is
left is far less."""

NORMAL_QUANTILE: Final = 1.959964
"""Of 1 - (1 - CONFIDENCE) / 2."""

_TINY: Final = 1e-300
"""Stands in for a zero denominator in the continued fraction (Lentz' method)."""


@lru_cache(maxsize=256)
def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact interval of a share: the shares under which what was seen is not surprising [1]_.

    Parameters
    ----------
    successes, trials
        Counts, 0 <= successes <= trials.
    confidence
        0..1, exclusive.

    Returns
    -------
    tuple[float, float]
        Low and high end, 0..1. (0, 1) where there was no trial. Exact to 1e-9.

    Raises
    ------
    ValueError
        The counts are no counts.

    References
    ----------
    .. [1] C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the
       case of the binomial", Biometrika 26, 1934, 404-413.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials; 0 <= successes <= trials is needed")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _beta_quantile(tail, successes, trials - successes + 1)
    high = 1.0 if successes == trials else _beta_quantile(1 - tail, successes + 1, trials - successes)
    return low, high


def share(successes: int, trials: int) -> Interval:
    """Share of successes with its exact 95 % interval; 0 within (0, 1) where there was no trial."""
    low, high = clopper_pearson(successes, trials)
    return Interval(successes / trials if trials else 0.0, low, high)


def per_hundred(events: int, reference: int) -> Interval:
    """Events per 100 of the reference, with the exact 95 % interval of a ratio of two Poisson counts.

    Given their sum, the first of two Poisson counts is binomial with the share a / (a + b); so the exact
    interval of that share gives the exact interval of the ratio.

    Parameters
    ----------
    events
        Such as fNRBC counted, >= 0.
    reference
        Such as leukocytes counted on the same area, >= 1.

    Raises
    ------
    ValueError
        There is nothing to refer to.
    """
    if reference < 1:
        raise ValueError(f"{reference} in the reference; at least 1 is needed")
    low, high = clopper_pearson(events, events + reference)
    return Interval(100 * events / reference, 100 * low / (1 - low), 100 * high / (1 - high))


def student_t(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Half-width, in standard errors, of a two-sided interval by Student's t distribution.

    Parameters
    ----------
    degrees
        Of freedom, >= 1.
    confidence
        0..1, exclusive.

    Notes
    -----
    ``T**2 / (degrees + T**2)`` has the beta distribution of (1/2, degrees/2).

    Raises
    ------
    ValueError
        There is no degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"{degrees} degrees of freedom; at least 1 is needed")
    rest = _beta_quantile(1 - confidence, degrees / 2, 0.5)
    return sqrt(degrees * (1 - rest) / rest)


@lru_cache(maxsize=16)
def reference_to_go(events: int, reference: int, within: float = PLANNED_WITHIN) -> int | None:
    """How many more of the reference to count until the ratio's 95 % interval is no wider than +-``within`` of it.

    A planning figure: it takes for granted that the ratio r stays what it is now. It is the smallest n for which the
    exact interval of ``r (reference + n)`` events per ``reference + n`` has ``(high - low) / 2 <= within * value``.

    Parameters
    ----------
    events, reference
        Counted so far, >= 0.
    within
        Share of the ratio, 0..1, exclusive.

    Returns
    -------
    int or None
        0 where the interval is that narrow already; None while either count is 0 and there is no ratio to plan with.

    Notes
    -----
    The interval narrows with the root of what is counted, and the logarithm of a ratio of Poisson counts a / b has the
    variance 1 / a + 1 / b. So ``(1 + 1 / r) (1.96 / within)**2`` of the reference are needed at first sight; the exact
    interval there tells by how much that must be corrected.
    """
    if events < 1 or reference < 1:
        return None
    now = per_hundred(events, reference)
    if now.high - now.low <= 2 * within * now.value:
        return 0
    ratio = events / reference
    needed = (1 + 1 / ratio) * (NORMAL_QUANTILE / within) ** 2
    for _ in range(_CORRECTIONS):
        needed *= (_half_width(ratio * needed, needed) / within) ** 2
    return max(1, ceil(needed - reference))


def _half_width(events: float, reference: float) -> float:
    """Half the width of the exact interval of events per reference, as a share of the value; real numbers allowed."""
    tail = (1 - CONFIDENCE) / 2
    low = _beta_quantile_of_many(tail, events, reference + 1)
    high = _beta_quantile_of_many(1 - tail, events + 1, reference)
    return (high / (1 - high) - low / (1 - low)) / 2 * reference / events


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Where the beta distribution reaches a probability: Newton's steps, halved where one would leave the bracket.

    Three or four steps do from where they begin; halving alone takes fifty, and the live count asks with each cell.
    """
    low, high = 0.0, 1.0
    x = _beta_quantile_nearly(probability, a, b)
    for _ in range(_MOST_STEPS):
        above = _beta_cdf(x, a, b) - probability
        low, high = (low, x) if above > 0 else (x, high)
        slope = exp(_log_beta_front(x, a, b) - log(x) - log1p(-x))
        newer = x - above / slope if slope > 0 else low
        newer = newer if low < newer < high else (low + high) / 2
        if abs(newer - x) <= _SETTLED * x:
            return newer
        x = newer
    return x


def _beta_quantile_of_many(probability: float, a: float, b: float) -> float:
    """The same to 1e-9 of itself in one of Halley's steps, where both parameters are 90 or more."""
    x = _beta_quantile_nearly(probability, a, b)
    newton = (_beta_cdf(x, a, b) - probability) / exp(_log_beta_front(x, a, b) - log(x) - log1p(-x))
    return x - newton / (1 - newton / 2 * ((a - 1) / x - (b - 1) / (1 - x)))


def _beta_quantile_nearly(probability: float, a: float, b: float) -> float:
    """The same to some percent, where both parameters are 1 or more, to 0.0002 from 90 on; else the mean.

    References
    ----------
    .. [1] M. Abramowitz, I. A. Stegun, "Handbook of Mathematical Functions", 1964, 26.5.22.
    """
    if min(a, b) < 1:
        return a / (a + b)
    y = NormalDist().inv_cdf(1 - probability)
    u, v = 1 / (2 * a - 1), 1 / (2 * b - 1)
    h, bend = 2 / (u + v), (y * y - 3) / 6
    w = y * sqrt(max(h + bend, 0.0)) / h - (v - u) * (bend + 5 / 6 - 2 / (3 * h))
    x = a / (a + b * exp(min(max(2 * w, -500.0), 500.0)))
    return x if 0 < x < 1 else a / (a + b)


def _log_beta_front(x: float, a: float, b: float) -> float:
    """Logarithm of x**a (1 - x)**b over the beta function of (a, b), 0 < x < 1."""
    return lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, from the side on which the fraction converges fast."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    if x <= 0:
        return 0.0
    return exp(_log_beta_front(x, a, b)) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    """DLMF 8.17.22, evaluated from the front; converges within about sqrt(max(a, b)) steps."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    result = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / (1 + numerator * d or _TINY)
            c = 1 + numerator / c or _TINY
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return result
