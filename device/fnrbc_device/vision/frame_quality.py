"""Decides whether a frame is fit to be counted on: fresh, exposed, sharp.

Sharpness is the energy of fine gradients in the weaker direction over that of coarse ones in the stronger. What is in
the field scales both alike, so a crowded and a sparse field are measured alike; blur takes the fine ones first,
and motion takes them in one direction only.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Rejection
from fnrbc_device.vision.reduction import Reduced, halved

LEAST_SHARPNESS: Final = 0.55
"""Share of the session's sharpest below which a frame is blurred. On composed slides of real cells 1 px of blur
(sigma) leaves 0.9, 2 px 0.8, 4 px 0.6, 6 px 0.5 of it; a nucleus of 5 um is 48 px."""

FORGETTING: Final = 0.0005
"""Share of the reference forgotten a frame: a lasting loss of focus is accepted after some minutes, not seconds."""

COARSE: Final = 4
"""Working pixels a coarse one: two halvings."""

LEAST_TEXTURE: Final = 6.0
"""Coarse gradient energy (grey levels squared) below which a field is too empty to judge its sharpness; red cells
bring 100 and more, sensor noise below 3."""

DARK_GLASS: Final = 40.0
"""Glass darker than this (of 255) leaves nuclei fewer than 20 levels of contrast."""

BRIGHT_MEAN: Final = 251.0
"""A field whose mean is brighter than this (of 255) is saturated: pale cells are gone."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate says of a frame."""

    reason: Rejection | None
    """None if the frame is fit to be counted on."""
    sharpness: float
    """0..1 of the session's sharpest; 1 in a field too empty to judge."""


class FrameQuality:
    """Judges the frames of one session, in their order."""

    def __init__(self) -> None:
        self._sharpest = 0.0
        self._before: NDArray[np.uint8] | None = None

    def judge(self, reduced: Reduced) -> Judgement:
        """Judge the next frame by its working picture."""
        repeated = self._repeats(reduced.green)
        measured = fine_to_coarse(reduced.green)
        sharpness = self._relative(measured)
        return Judgement(_reason(reduced, repeated, sharpness), sharpness)

    def _repeats(self, green: NDArray[np.uint8]) -> bool:
        before, self._before = self._before, green
        return before is not None and before.shape == green.shape and cv2.norm(before, green, cv2.NORM_INF) == 0

    def _relative(self, measured: float | None) -> float:
        if measured is None:
            return 1.0
        self._sharpest = max(measured, self._sharpest * (1 - FORGETTING))
        return measured / self._sharpest if self._sharpest > 0 else 1.0


def fine_to_coarse(green: NDArray[np.uint8]) -> float | None:
    """Weakest energy of fine gradients over the strongest of coarse ones; None in an empty field.

    Parameters
    ----------
    green
        (h, w) uint8, the working picture, low-passed as it is: noise must not pass for sharpness.
    """
    if min(green.shape) < 4 * COARSE:
        return None
    coarse = halved(halved(green))
    # A long smear leaves the coarse gradients of one direction only: so weakest of the fine, strongest of the coarse.
    below = max(_gradient_energy(coarse, axis) for axis in (0, 1))
    fine = min(_gradient_energy(green, axis) for axis in (0, 1))
    return fine / below if below >= LEAST_TEXTURE else None


def _gradient_energy(picture: NDArray[np.uint8], axis: int) -> float:
    """Mean squared difference between pixels two apart."""
    first, second = (picture[2:], picture[:-2]) if axis == 0 else (picture[:, 2:], picture[:, :-2])
    return float(cv2.norm(first, second, cv2.NORM_L2SQR)) / first.size


def _reason(reduced: Reduced, repeated: bool, sharpness: float) -> Rejection | None:
    if repeated:
        return "repeated"
    if reduced.glass_rgb[1] < DARK_GLASS:
        return "too_dark"
    if float(cv2.mean(reduced.green)[0]) > BRIGHT_MEAN:
        return "too_bright"
    return "blurred" if sharpness < LEAST_SHARPNESS else None
