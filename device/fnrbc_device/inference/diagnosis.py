"""What is likely wrong with a network that does not reproduce its golden crops: the usual faults, each tried."""

from collections.abc import Callable
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image

Classify = Callable[[Image], NDArray[np.float32]]

_EXPLAINED: Final = 0.1
"""Share of the difference that a fault may leave if it is to be the explanation: another runtime's rounding."""

_SURE: Final = 0.999
_LEAST_SURE: Final = 0.1
"""Half of the golden crops are those that the checkpoint is least sure of; a network that is sure of all but a tenth
sees other numbers."""


def likely_fault(classify: Classify, crops: Image, wanted: NDArray[np.float32], temperature: float) -> str:
    """Name the fault that explains why a network gives other probabilities.

    Parameters
    ----------
    classify
        The network.
    crops
        (G, 120, 120, 3) uint8 RGB.
    wanted
        (G, classes) the checkpoint's probabilities.
    temperature
        Of the calibration that should be inside.

    Returns
    -------
    str
        What is wrong, for a sentence.
    """
    found = classify(crops)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return "it gives no probabilities"
    enough = _EXPLAINED * _off(found, wanted)
    if _off(classify(np.ascontiguousarray(crops[..., ::-1])), wanted) <= enough:
        return "its colour channels are swapped (RGB read as BGR)"
    for order in permutations(range(wanted.shape[1])):
        if _off(found, wanted[:, order]) <= enough:
            return f"its classes are in another order ({', '.join(map(str, order))})"
    if _off(found, _uncalibrated(wanted, temperature)) <= enough:
        return "its calibration is left out"
    if np.ptp(found, axis=0).max() < enough or _least_sure(found) > _SURE > _least_sure(wanted):
        return "it does not tell crops apart as it should: its normalisation is left out or another"
    return "its weights were changed, or the probabilities are another model's"


def _off(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max())


def _least_sure(found: NDArray[np.float32]) -> float:
    return float(np.quantile(found.max(axis=1), _LEAST_SURE))


def _uncalibrated(wanted: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """What the checkpoint would give without its calibration: logits not divided by the temperature."""
    raised = np.asarray(wanted, np.float64) ** temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
