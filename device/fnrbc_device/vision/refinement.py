"""A shift known to a pixel, brought to a fraction of one: Gauss-Newton steps on the overlap's squared difference."""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

LEAST_REFINED_PX: Final = 8
"""An overlap narrower than this keeps its whole-pixel shift: gradients lose 2 px on each side of it."""

STEPS: Final = 3
"""From a whole pixel on: two leave up to 0.1 of a pixel where the shift lies half-way."""

COARSE_STEPS: Final = 2
"""At half the scale, where one step at the full one follows."""

OUTLIER: Final = 3.0
"""Pixels that differ by more than this many times the mean are left out of the refinement: dust not yet learned stands
still and would draw the shift to 0, by up to 1.7 px a frame under 40 specks."""

FARTHEST_PX: Final = 2.0
"""A refinement that leads farther away has found something else."""

MARGIN: Final = 0.15
"""Share of each side left out of the last step: its middle half tells as much."""

SHARPNESS: Final = -0.5
"""Of the cubic that is interpolated by, its slope at 1: the one that is exact to the third order [1]_. OpenCV's, -0.75,
draws shifts towards whole pixels: pairs of frames of four composed pans were laid 0.16 frame pixels off in the median,
with this one 0.06.

.. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. Acoust. Speech Signal
   Process. 29 (1981) 1153-1160, doi:10.1109/TASSP.1981.1163711.
"""


def overlap(reference: Picture, moving: Picture, row: int, col: int) -> tuple[Picture, Picture]:
    """The parts of both pictures that show the same place if content moved by (row, col)."""
    height, width = reference.shape
    down, up, right, left = max(0, row), max(0, -row), max(0, col), max(0, -col)
    return reference[up : height - down, left : width - right], moving[down : height - up, right : width - left]


def refined(reference: Picture, moving: Picture, whole: tuple[int, int], steps: int) -> tuple[float, float]:
    """Sub-pixel shift from one of whole pixels on, gain and offset free.

    Parameters
    ----------
    reference, moving
        (h, w) optical densities.
    whole
        By how much content moved (row, col), right to a pixel.
    steps
        >= 1.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to stereo
       vision", Proc. IJCAI, 1981, 674-679.
    """
    first, second = overlap(reference, moving, *whole)
    if min(second.shape) < LEAST_REFINED_PX:
        return float(whole[0]), float(whole[1])
    beyond = np.zeros(2)
    for step in range(steps):
        shifted = second if step == 0 else _shifted(second, beyond)
        # At first, what does not fit yet would be taken for an outlier.
        found = _step(first, shifted, without_outliers=step > 0)
        if found is None:
            break
        beyond += found
        if np.abs(beyond).max() > FARTHEST_PX:
            return float(whole[0]), float(whole[1])
    return whole[0] + float(beyond[0]), whole[1] + float(beyond[1])


def polished(
    reference: Picture, moving: Picture, shift: tuple[float, float], *, without_outliers: bool = True
) -> tuple[float, float] | None:
    """One step more, from a shift right to a part of a pixel on; None where nothing tells a better one.

    Parameters
    ----------
    reference, moving
        (h, w) optical densities.
    shift
        By how much content moved (row, col).
    without_outliers
        False where what does not fit yet would be taken for an outlier.
    """
    whole = round(shift[0]), round(shift[1])
    first, second = (_middle(part) for part in overlap(reference, moving, *whole))
    if min(second.shape) < LEAST_REFINED_PX:
        return None
    found = _step(first, _shifted(second, np.subtract(shift, whole)), without_outliers=without_outliers)
    if found is None or np.abs(found).max() > FARTHEST_PX:
        return None
    return shift[0] + float(found[0]), shift[1] + float(found[1])


def _step(first: Picture, shifted: Picture, *, without_outliers: bool) -> NDArray[np.float64] | None:
    """By how much more content moved (row, col); None where the overlap has no structure that tells."""
    # Both gradients, averaged: where one picture is blurred by motion, either alone is biased.
    mean = np.asarray(cv2.addWeighted(first, 0.5, shifted, 0.5, 0), np.float32)
    down, right = (_inner(_slope(mean, *axis)) for axis in ((0, 1), (1, 0)))
    # Content moved by (dr, dc) beyond the overlap's: shifted(x) = first(x - d), so first - shifted = d . grad.
    difference = np.asarray(cv2.subtract(_inner(first), _inner(shifted)), np.float32)
    difference -= np.float32(cv2.mean(difference)[0])
    if without_outliers:
        far = OUTLIER * cv2.norm(difference, cv2.NORM_L1) / difference.size
        # What is left out must weigh nothing in any of the sums.
        alike = (np.abs(difference) < np.float32(far)).view(np.uint8)
        down, right = (np.asarray(cv2.copyTo(gradient, alike), np.float32) for gradient in (down, right))
    else:
        down, right = np.ascontiguousarray(down), np.ascontiguousarray(right)
    a, b, c = float(np.vdot(down, down)), float(np.vdot(down, right)), float(np.vdot(right, right))
    p, q = float(np.vdot(down, difference)), float(np.vdot(right, difference))
    determinant = a * c - b * b
    if determinant <= 1e-9 * (a + c) ** 2:
        return None
    return np.array([c * p - b * q, a * q - b * p]) / determinant


def _slope(picture: Picture, right: int, down: int) -> Picture:
    return np.asarray(cv2.Sobel(picture, cv2.CV_32F, right, down, ksize=3, scale=0.125), np.float32)


def _middle(picture: Picture) -> Picture:
    """The middle half of a picture."""
    height, width = picture.shape
    down, right = round(MARGIN * height), round(MARGIN * width)
    return picture[down : height - down, right : width - right]


def _inner(picture: Picture) -> Picture:
    """Without what the border reaches into."""
    return picture[2:-2, 2:-2]


def _shifted(picture: Picture, by: NDArray[np.float64]) -> Picture:
    """What lies (row, col) px further on, laid here; each at most ``FARTHEST_PX``."""
    down, right = (_cubic(float(one)) for one in by)
    return np.asarray(cv2.sepFilter2D(picture, -1, right, down, borderType=cv2.BORDER_REPLICATE), np.float32)


def _cubic(by: float) -> Picture:
    """Weights, about the middle one, for what lies a part of a pixel further on.

    References
    ----------
    .. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. Acoust. Speech Signal
       Process. 29 (1981) 1153-1160, doi:10.1109/TASSP.1981.1163711.
    """
    # The cubic is 0 from two pixels on: the fewer taps, the less each pixel costs.
    reach = math.ceil(2 + abs(by)) - 1
    return np.array([_weight(abs(at - by)) for at in range(-reach, reach + 1)], np.float32)


def _weight(away: float) -> float:
    if away <= 1:
        return ((SHARPNESS + 2) * away - (SHARPNESS + 3)) * (away * away) + 1
    return SHARPNESS * (((away - 5) * away + 8) * away - 4) if away < 2 else 0.0
