"""How far two methods agree on the same slides: Bland-Altman, Deming and Passing-Bablok, each with its intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fnrbc_device.intervals import NORMAL_QUANTILE, student_t
from fnrbc_device.records import Interval

LEAST_PAIRS: Final = 3
"""A line through two points says nothing of agreement."""

WANTED_PAIRS: Final = 40
"""What CLSI EP09 asks for; below it the intervals say how little is known."""

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences between two methods, the second minus the first."""

    pairs: int
    bias: Interval
    """Mean of the differences, with its 95 % interval."""
    sd: float
    lower: Interval
    upper: Interval
    """Limits of agreement: between them lie 95 % of the differences, each with its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Line:
    """The second method as a straight line over the first."""

    pairs: int
    slope: Interval
    """1 where the methods agree in proportion; ends may be infinite where the values hardly differ."""
    intercept: Interval
    """0 where they agree at nothing."""


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman | None:
    """Compare two methods by their differences [1]_.

    Parameters
    ----------
    first, second
        (N,) results of the same slides, in the same unit.

    Returns
    -------
    BlandAltman or None
        None for fewer than 3 pairs.

    Raises
    ------
    ValueError
        The two are not of one length, or hold what is no number.

    References
    ----------
    .. [1] J. M. Bland, D. G. Altman, "Measuring agreement in method comparison studies", Statistical Methods in Medical
       Research 8, 1999, 135-160: the limits' standard error is that of its equation for s^2 (1/n + 1.96^2 / 2(n-1)).
    """
    x, y = _paired(first, second)
    n = len(x)
    if n < LEAST_PAIRS:
        return None
    differences = y - x
    bias, sd, t = float(differences.mean()), float(differences.std(ddof=1)), student_t(n - 1)
    half = t * sd / sqrt(n)
    half_of_limit = t * sd * sqrt(1 / n + NORMAL_QUANTILE**2 / (2 * (n - 1)))
    low, high = bias - NORMAL_QUANTILE * sd, bias + NORMAL_QUANTILE * sd
    return BlandAltman(n, _around(bias, half), sd, _around(low, half_of_limit), _around(high, half_of_limit))


def deming(first: ArrayLike, second: ArrayLike, error_ratio: float = 1.0) -> Line | None:
    """Fit a line where both methods err [1]_, with intervals by leaving out one pair after the other [2]_.

    Parameters
    ----------
    first, second
        (N,) results of the same slides.
    error_ratio
        Variance of the first method's errors over that of the second's.

    Returns
    -------
    Line or None
        None for fewer than 3 pairs, or where there is no line: the values of one method are all the same.

    References
    ----------
    .. [1] P. J. Cornbleet, N. Gochman, "Incorrect least-squares regression coefficients in method-comparison analysis",
       Clinical Chemistry 25, 1979, 432-438.
    .. [2] K. Linnet, "Evaluation of regression procedures for methods comparison studies", Clinical Chemistry 39, 1993,
       424-432.
    """
    x, y = _paired(first, second)
    n = len(x)
    whole = _deming(x, y, error_ratio) if n >= LEAST_PAIRS else None
    if whole is None:
        return None
    without = [_deming(np.delete(x, one), np.delete(y, one), error_ratio) for one in range(n)]
    pseudo = np.array([[n * w - (n - 1) * p for w, p in zip(whole, part, strict=True)] for part in without if part])
    if len(pseudo) < n:  # one pair alone makes the line
        return Line(n, Interval(whole[0], -np.inf, np.inf), Interval(whole[1], -np.inf, np.inf))
    half = student_t(n - 2) * pseudo.std(axis=0, ddof=1) / sqrt(n)
    return Line(n, _around(whole[0], float(half[0])), _around(whole[1], float(half[1])))


def passing_bablok(first: ArrayLike, second: ArrayLike) -> Line | None:
    """Fit a line by the median of all slopes [1]_, whatever the errors' distribution.

    Parameters
    ----------
    first, second
        (N,) results of the same slides.

    Returns
    -------
    Line or None
        None for fewer than 3 pairs, or where no line rises through them.

    References
    ----------
    .. [1] H. Passing, W. Bablok, "A new biometrical procedure for testing the equality of measurements from two
       different analytical methods", J. Clin. Chem. Clin. Biochem. 21, 1983, 709-720.
    """
    x, y = _paired(first, second)
    n = len(x)
    slopes = _slopes(x, y)
    slopes, shift = slopes[slopes != -1], int((slopes < -1).sum())
    if n < LEAST_PAIRS or len(slopes) < 1 or len(slopes) - shift < 1:
        return None
    spread = NORMAL_QUANTILE * sqrt(n * (n - 1) * (2 * n + 5) / 18)
    lower = round((len(slopes) - spread) / 2)
    ranked = _ranked(slopes, shift)
    slope, low, high = _middle(ranked, len(slopes)), ranked(lower), ranked(len(slopes) - lower + 1)
    if not isfinite(slope):
        return None
    ends = [float(np.median(y - end * x)) if isfinite(end) else -np.copysign(np.inf, end) for end in (high, low)]
    return Line(n, Interval(slope, low, high), Interval(float(np.median(y - slope * x)), *ends))


def _deming(x: _Values, y: _Values, error_ratio: float) -> tuple[float, float] | None:
    """Slope and intercept; None where there is no line."""
    off_x, off_y = x - x.mean(), y - y.mean()
    xx, yy, xy = float(off_x @ off_x), float(off_y @ off_y), float(off_x @ off_y)
    if xx == 0 or xy == 0:
        return None
    lean = error_ratio * yy - xx
    slope = (lean + sqrt(lean**2 + 4 * error_ratio * xy**2)) / (2 * error_ratio * xy)
    return slope, float(y.mean()) - slope * float(x.mean())


def _slopes(x: _Values, y: _Values) -> _Values:
    """Slopes between all pairs, ordered; equal points have none, points above each other an infinite one."""
    one, other = np.triu_indices(len(x), 1)
    run, rise = x[other] - x[one], y[other] - y[one]
    some = (run != 0) | (rise != 0)
    run, rise = run[some], rise[some]
    with np.errstate(divide="ignore"):
        return np.sort(np.where(run == 0, np.copysign(np.inf, rise), rise / np.where(run == 0, 1.0, run)))


def _ranked(slopes: _Values, shift: int) -> Callable[[int], float]:
    """Give the slope of a rank from 1, counted from behind those below -1; infinite beyond the last."""

    def at(rank: int) -> float:
        place = rank + shift - 1
        if rank < 1 or place < 0:
            return -np.inf
        return float(slopes[place]) if place < len(slopes) else np.inf

    return at


def _middle(ranked: Callable[[int], float], number: int) -> float:
    if number % 2:
        return ranked((number + 1) // 2)
    lower, upper = ranked(number // 2), ranked(number // 2 + 1)
    return lower if lower == upper else (lower + upper) / 2


def _around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[_Values, _Values]:
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"{x.shape} and {y.shape} results; one of each method for each slide is needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a result is no number; leave that slide out")
    return x, y
