"""The working picture: one colour, one scale, made once a frame and shared by gate, registration and segmentation.

Nuclear stains, haematoxylin and the azures alike, absorb green the most, so the green channel separates nuclei
from red cells on every stain at hand; in red, the nuclei of a magenta stain are brighter than its red cells.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image

WORKING_UM: Final = 0.25
"""Coarsest working pixel, um: a nucleus of 5 um keeps 20 px, its outline moves less than the optics' blur (0.3 um)."""

GLASS_PEAK_SHARE: Final = 0.15
"""A mode counts as glass from this share of the highest mode on. In crowded smears (``smear_fields``) glass
covers 10-60 % of a field."""


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """The green channel of a frame at the working scale, and the colour of its glass."""

    green: NDArray[np.uint8]
    """(h, w) uint8: h = H // factor."""
    factor: int
    """Frame pixels a working pixel."""
    pixel_um: float
    """Size of a working pixel, um."""
    glass_rgb: tuple[float, float, float]
    """Colour of empty glass, 0..255."""

    def to_frame(self, working: float) -> float:
        """Frame coordinate of a working coordinate (both count pixel centres)."""
        return (working + 0.5) * self.factor - 0.5


def reduce(image: Image, pixel_size_um: float) -> Reduced:
    """Make the working picture of a frame.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    pixel_size_um
        Size of the frame's pixels, um, > 0.

    Returns
    -------
    Reduced
        Its pixels are the average of ``factor`` x ``factor`` of the frame's, at most ``WORKING_UM`` wide
        unless the frame's own are wider.
    """
    factor = max(1, min(int(WORKING_UM / pixel_size_um), *image.shape[:2]))
    green = np.asarray(cv2.extractChannel(image, 1), np.uint8)
    height, width = (side // factor for side in green.shape)
    if factor > 1:
        whole = green[: height * factor, : width * factor]
        green = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return Reduced(green, factor, pixel_size_um * factor, glass_colour(image))


def glass_colour(image: Image) -> tuple[float, float, float]:
    """Colour of empty glass: the brightest clear mode of each channel.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.

    Returns
    -------
    tuple
        Red, green, blue, 0..255. Where no glass is in view it is the brightest thing that is.
    """
    step = max(1, min(image.shape[:2]) // 120)
    sample = image[::step, ::step]
    red, green, blue = (_brightest_mode(sample[..., channel]) for channel in range(3))
    return red, green, blue


def _brightest_mode(values: NDArray[np.uint8]) -> float:
    """Position of the brightest maximum of the smoothed histogram that is no ripple."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float32)
    smooth = np.convolve(np.pad(counts, 6, mode="edge"), _SMOOTHING, mode="valid")
    inner = np.pad(smooth, 1)
    peaks = (inner[1:-1] >= inner[:-2]) & (inner[1:-1] >= inner[2:]) & (smooth >= GLASS_PEAK_SHARE * smooth.max())
    return float(np.flatnonzero(peaks)[-1])


_KERNEL: Final = np.exp(-0.5 * (np.arange(-6, 7) / 2.5) ** 2)
_SMOOTHING: Final = _KERNEL / _KERNEL.sum()
