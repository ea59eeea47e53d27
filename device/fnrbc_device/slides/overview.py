"""The map of a slide: what was looked at, laid together small; empty glass, which was not, is left out."""

from typing import Final

import cv2
import numpy as np

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.records import Image
from fnrbc_device.slides.plan import Plan
from fnrbc_device.slides.slide import Box

LONGEST_PX: Final = 2000
"""Of the map, as in a report."""

FINEST_UM: Final = 2.0
"""Least size of its pixels, as of a pan's map."""


class Overview:
    """Grows tile by tile, in memory that does not depend on the slide.

    Parameters
    ----------
    plan
        Of the slide.
    pixel_um
        Size of its finest pixels.
    """

    def __init__(self, plan: Plan, pixel_um: float) -> None:
        self._factor = map_factor(plan, pixel_um)
        self._um = pixel_um
        rows, cols = (max(1, round(side / self._factor)) for side in plan.shape)
        self._image: Image = np.zeros((rows, cols, 3), np.uint8)
        self._coverage = np.zeros((rows, cols), np.uint8)

    @property
    def islands(self) -> tuple[int, ...]:
        """One, where anything was looked at."""
        return (0,) if self._coverage.any() else ()

    def lay(self, own: Box, small: Image) -> None:
        """Lay a tile's ground on it, as ``shrunk`` made it."""
        top, left = round(own.top / self._factor), round(own.left / self._factor)
        place = np.s_[top : top + small.shape[0], left : left + small.shape[1]]
        room = self._image[place].shape
        self._image[place] = small[: room[0], : room[1]]
        self._coverage[place] = 255

    def mosaic(self, island: int) -> Mosaic | None:
        """The whole of it; None where nothing was looked at."""
        if island not in self.islands:
            return None
        return Mosaic(0, self._image, self._coverage, (0.0, 0.0), self._factor * self._um)


def map_factor(plan: Plan, pixel_um: float) -> float:
    """Pixels of the slide a pixel of its map."""
    return max(FINEST_UM / pixel_um, max(plan.shape) / LONGEST_PX, 1.0)


def shrunk(image: Image, own: Box, factor: float) -> Image:
    """A tile's own ground at the map's scale; neighbours meet without a gap."""
    height = max(1, round(own.bottom / factor) - round(own.top / factor))
    width = max(1, round(own.right / factor) - round(own.left / factor))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
