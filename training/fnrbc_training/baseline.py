"""What the background alone gives away: a check that a figure is about cells and not about slides.

The pictures of a class come from few slides, whose background tells them apart. A logistic regression that
sees nothing but the colours of a picture's outer ring measures how much.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Interval
from fnrbc_training.bootstrap import bootstrapped
from fnrbc_training.dataset import TARGET, CropSet

STEPS: Final = 30
"""Of Newton's method, which settles in fewer than ten on such data."""

RIDGE: Final = 1e-3
"""Keeps the solution finite where the classes separate, or where a ring has no variance at all."""

RING_PX: Final = 7
"""Width of a crop's outer ring: 6 % of its side, as of a picture's."""


def background_auc(crops: CropSet) -> tuple[Interval, Interval]:
    """Measure what the background gives away, on the held-out real crops.

    Returns
    -------
    tuple[Interval, Interval]
        Area under the ROC curve, 0.5 being chance: of the whole pictures' outer rings, and of the outer rings
        of what P-net sees; each with its interval over whole groups.
    """
    real = crops.where(~crops.simulated)
    return _auc_of(real, real.rings), _auc_of(real, _rings_of(real))


def area_under_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Share of pairs that a score puts in the right order; ties count half; NaN where there is no pair.

    Parameters
    ----------
    scores
        (N,) the higher, the rather a target.
    positive
        (N,) which are.
    weights
        (N,) 1 each, or how often each was drawn.
    """
    _, at = np.unique(scores, return_inverse=True)
    true, false = np.bincount(at, weights * positive), np.bincount(at, weights * ~positive)
    pairs = true.sum() * false.sum()
    return float((true * (np.cumsum(false) - false / 2)).sum() / pairs) if pairs else float("nan")


def _rings_of(crops: CropSet) -> NDArray[np.float32]:
    outer = np.ones(crops.crops.shape[1:3], bool)
    outer[RING_PX:-RING_PX, RING_PX:-RING_PX] = False
    pixels = crops.crops[:, outer].astype(np.float32) / 255
    return np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)


def _auc_of(crops: CropSet, features: NDArray[np.float32]) -> Interval:
    known, asked = crops.parts == "training", crops.parts == "heldout"
    spread = features[known].std(axis=0)
    scaled = (features - features[known].mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0)
    design = np.column_stack([np.ones(len(scaled)), scaled]).astype(np.float64)
    positive = crops.labels == TARGET
    weights = _logistic_regression(design[known], positive[known])
    scores = design[asked] @ weights
    return bootstrapped(crops.groups[asked], lambda drawn: area_under_curve(scores, positive[asked], drawn))


def _logistic_regression(design: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        expected = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (truth - expected) - RIDGE * weights
        curvature = (design.T * (expected * (1 - expected))) @ design + RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, slope)
    return weights
