"""Intervals from resampling whole groups: cells of one slide are not independent, so groups are drawn, not cells."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.intervals import CONFIDENCE, share
from fnrbc_device.records import Interval

RESAMPLES: Final = 2000
"""Of the groups; the ends of an interval then vary by a twentieth of its width."""

Weights = NDArray[np.float64]
"""(N,) how often each cell was drawn."""


def bootstrapped(groups: NDArray[np.str_], figure: Callable[[Weights], float], seed: int = 1) -> Interval:
    """Give a figure with its 95 % percentile interval [1]_.

    Parameters
    ----------
    groups
        (N,) the group of each cell.
    figure
        Of the cells, each counted as often as its weight says; NaN where a draw leaves nothing to measure.
    seed
        Of the draws: two figures with one seed see the same ones, so that their difference is paired.

    References
    ----------
    .. [1] B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    names, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    values = np.array([figure(draw[index].astype(np.float64)) for draw in draws])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(figure(np.ones(len(groups))), float(low), float(high))


def share_by_group(right: NDArray[np.bool_], groups: NDArray[np.str_]) -> Interval:
    """Share of cells that are right.

    Where all are, or none, resampling knows no spread, and the exact interval takes its place.
    """
    if right.all() or not right.any():
        return share(int(right.sum()), len(right))
    return bootstrapped(groups, lambda weights: mean(right, weights))


def difference_by_group(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: NDArray[np.str_]) -> Interval:
    """By how much more of the same cells the first gets right than the second: a share, -1..1."""
    return bootstrapped(groups, lambda weights: mean(first.astype(float) - second.astype(float), weights))


def mean(values: NDArray[np.float64] | NDArray[np.bool_], weights: Weights) -> float:
    """Mean over the cells drawn; NaN where none was."""
    total = weights.sum()
    return float((values * weights).sum() / total) if total else float("nan")
