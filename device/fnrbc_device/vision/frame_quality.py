"""Decides whether a frame is fit to be counted on: fresh, exposed, sharp; and what blurred it, the hand or the focus.

Sharpness is the energy of fine gradients in their weakest direction over that of coarse ones in their strongest. What
is in the field scales both alike, so a crowded and a sparse field are measured alike; blur takes the fine ones first,
and motion takes them in one direction only. So of each direction it is known how much of its fine gradients is left:
out of focus, as much in all; smeared by motion, less along the way than across it. Directions are those of the
structure tensor (J. Bigun and G. H. Granlund, "Optimal orientation detection of linear symmetry", Proc. ICCV, 1987,
433-438), not the picture's rows and columns alone: a hand also pans aslant.
"""

import math
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

WHITE: Final = 253
"""As bright as a camera of 8 bits can tell, less what the low-pass takes off."""

MOST_WHITE: Final = 0.9
"""Share of a field that is white from which red cells are white too: on simulated smears so at twice the light."""

GLASS_ROOM: Final = 10.0
"""Grey levels that glass must once have lain below white to say that the light has grown: else white is how this camera
shows glass, and a sparse field is white without fault."""

STRIPES: Final = 100.0
"""A field whose gradients in one direction outdo the others' so many times shows stripes: of their direction nothing
can be said."""

DARK_GLASS: Final = 40.0
"""Glass darker than this (of 255) leaves nuclei fewer than 20 levels of contrast."""

MOTION_EVENNESS: Final = 0.85
"""Below this the blur has a direction: least share of fine gradients that is left in any direction over the largest.
On simulated slides fields out of focus have 0.97 to 1, sharp ones as much, smears of 14 px (1.8 um) and more 0.61 to
0.76 whatever their direction. On 52 real fields blurred by 6 px and more 0.88 to 1, smeared by 24 px 0.43 to 0.89 with
a median of 0.7."""

BRIGHT_MEAN: Final = 251.0
"""A field whose mean is brighter than this (of 255) is saturated: pale cells are gone."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate says of a frame."""

    reason: Rejection | None
    """None if the frame is fit to be counted on."""
    sharpness: float
    """0..1 of the session's sharpest; 1 in a field too empty to judge."""
    smeared: bool = False
    """What blur there is has a direction, as motion's has; false in a field too empty to judge."""
    glass: float = 1.0
    """0..1 of the camera's range: how bright empty glass is."""
    white: float = 0.0
    """0..1 of the field: what is as bright as the camera can tell."""
    flooded: bool = False
    """Nearly all is white that was not before in this session; such a frame may still be fit."""


@dataclass(frozen=True, slots=True)
class Fineness:
    """How much of the fine gradients is left, against the coarse ones."""

    share: float
    """In the direction that has least left, against the strongest coarse ones."""
    evenness: float
    """0..1: of the direction that has least left over the one that has most; 1 where all have lost alike."""


class FrameQuality:
    """Judges the frames of one session, in their order."""

    def __init__(self) -> None:
        self._sharpest = 0.0
        self._darkest_glass = 255.0
        self._before: NDArray[np.uint8] | None = None

    def judge(self, reduced: Reduced) -> Judgement:
        """Judge the next frame by its working picture."""
        repeated = self._repeats(reduced.green)
        found = fineness(reduced.green)
        sharpness = self._relative(found.share if found else None)
        smeared = found is not None and found.evenness < MOTION_EVENNESS
        reason = _reason(reduced, repeated, sharpness, smeared)
        glass, white = reduced.glass_rgb[1], _white(reduced.green)
        self._darkest_glass = min(self._darkest_glass, glass)
        flooded = white > MOST_WHITE and self._darkest_glass < WHITE - GLASS_ROOM
        return Judgement(reason, sharpness, smeared, glass / 255.0, white, flooded or reason == "too_bright")

    def _repeats(self, green: NDArray[np.uint8]) -> bool:
        before, self._before = self._before, green
        if before is None or before.shape != green.shape:
            return False
        # A row tells frames apart; all are asked for only where it is the same.
        row = len(green) // 2
        return before[row].tobytes() == green[row].tobytes() and np.array_equal(before, green)

    def _relative(self, measured: float | None) -> float:
        if measured is None:
            return 1.0
        self._sharpest = max(measured, self._sharpest * (1 - FORGETTING))
        return measured / self._sharpest if self._sharpest > 0 else 1.0


def fineness(green: NDArray[np.uint8]) -> Fineness | None:
    """How much of the fine gradients blur has left in each direction; None in an empty field.

    Parameters
    ----------
    green
        (h, w) uint8, the working picture, low-passed as it is: noise must not pass for sharpness.
    """
    if min(green.shape) < 4 * COARSE:
        return None
    fine, coarse = _structure(green), _structure(halved(halved(green)))
    strongest = coarse.eigenvalues[1]
    if strongest < LEAST_TEXTURE:
        return None
    return Fineness(max(fine.eigenvalues[0], 0.0) / strongest, _evenness(fine, coarse))


def fine_to_coarse(green: NDArray[np.uint8]) -> float | None:
    """Share of the fine gradients that blur has left, as ``Fineness`` has it; None in an empty field."""
    found = fineness(green)
    return found.share if found else None


@dataclass(frozen=True, slots=True)
class _Structure:
    """Mean products of the differences between pixels two apart: energy in every direction."""

    down: float
    mixed: float
    right: float

    @property
    def eigenvalues(self) -> tuple[float, float]:
        """The smaller and the larger; of two by two numbers a formula says them faster than a library."""
        middle, apart = (self.down + self.right) / 2, math.hypot((self.down - self.right) / 2, self.mixed)
        return middle - apart, middle + apart


def _structure(picture: NDArray[np.uint8]) -> _Structure:
    """The structure tensor of a picture.

    The mixed product is a quarter of what the two diagonals' energies differ by: no picture of floats is made.
    """
    down = _energy(picture[2:, 1:-1], picture[:-2, 1:-1])
    right = _energy(picture[1:-1, 2:], picture[1:-1, :-2])
    aslant = _energy(picture[2:, 2:], picture[:-2, :-2]) - _energy(picture[2:, :-2], picture[:-2, 2:])
    return _Structure(down, aslant / 4, right)


def _energy(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(cv2.norm(first, second, cv2.NORM_L2SQR)) / first.size


def _evenness(fine: _Structure, coarse: _Structure) -> float:
    """Least over largest share of ``coarse`` that ``fine`` has in any direction: what the field shows cancels out."""
    least, most = coarse.eigenvalues
    if most > STRIPES * least:
        return 1.0
    # The shares are the eigenvalues of coarse^-1 fine: half its trace, less and more a root.
    determinant = least * most
    half = (coarse.right * fine.down - 2 * coarse.mixed * fine.mixed + coarse.down * fine.right) / (2 * determinant)
    product = (fine.down * fine.right - fine.mixed**2) / determinant
    root = math.sqrt(max(half**2 - product, 0.0))
    return max(half - root, 0.0) / (half + root) if half + root > 0 else 0.0


def _white(green: NDArray[np.uint8]) -> float:
    # Most fields have no such pixel, and the brightest is found in a quarter of the time.
    return int(np.count_nonzero(green >= WHITE)) / green.size if green.max() >= WHITE else 0.0


def _reason(reduced: Reduced, repeated: bool, sharpness: float, smeared: bool) -> Rejection | None:
    if repeated:
        return "repeated"
    if reduced.glass_rgb[1] < DARK_GLASS:
        return "too_dark"
    if float(cv2.mean(reduced.green)[0]) > BRIGHT_MEAN:
        return "too_bright"
    if sharpness >= LEAST_SHARPNESS:
        return None
    return "too_fast" if smeared else "blurred"
