"""Exact confidence intervals for counts. The only place where one is computed."""

from functools import lru_cache
from math import exp, lgamma, log, log1p
from typing import Final

from fnrbc_device.records import Interval

CONFIDENCE: Final = 0.95
"""What every interval of fnrbc states."""

_HALVINGS: Final = 50
"""2**-50 is below 1e-15: the bisection is never what limits the exactness."""

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


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Where the beta distribution reaches a probability, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, from the side on which the fraction converges fast."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    if x <= 0:
        return 0.0
    front = lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)
    return exp(front) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    """DLMF 8.17.22, evaluated from the front; converges within about sqrt(max(a, b)) steps."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _nonzero(1 + numerator * d)
            c = _nonzero(1 + numerator / c)
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return result


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
