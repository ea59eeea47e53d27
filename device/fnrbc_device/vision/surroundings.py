"""What lies round a cell, for people to look at: unmasked, as the camera saw it, with the cell in the middle.

It is cut of every view and shown of few: what the camera saw is copied at once, its picture is made for the record.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from fnrbc_device.records import Image

SIDE_UM: Final = 40.0
"""Side of what is shown: five red cells, and the largest leukocyte (20 um) with its neighbours."""

MOST_PX: Final = 320
"""Side of the picture: 0.125 um a pixel as cameras usually have it. A finer camera's is shrunk to it."""

KEPT_PX: Final = 400
"""Side up to which what the camera saw waits as it is, 0.1 um a pixel: a crowd's views take 1.6 times the memory of
their pictures then, and of two views in three nobody asks for the picture (327 of a raster with 81 cells)."""

OUTSIDE: Final = (58, 66, 74)
"""Colour of what the camera did not see, beyond the frame's border: none that a slide has."""


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """A square round a cell, cut from its frame. Its picture is made where somebody wants it."""

    seen: Image
    """(h, w, 3) uint8 RGB: what the frame shows of the square, a picture of its own."""
    at_rc: tuple[int, int]
    """Where in the square that begins, px."""
    side_px: int
    side_um: float
    """Side of the square, about ``SIDE_UM``."""

    def picture(self) -> Image:
        """(n, n, 3) uint8 RGB with n <= ``MOST_PX``, the cell in the middle; ``OUTSIDE`` beyond the frame's border."""
        return _shrunk(self._filled_up())

    def _filled_up(self) -> Image:
        """What was seen, at its place in the square."""
        (top, left), (height, width) = self.at_rc, self.seen.shape[:2]
        below, right = self.side_px - top - height, self.side_px - left - width
        if not (top or left or below or right):
            return self.seen
        filled = cv2.copyMakeBorder(self.seen, top, below, left, right, cv2.BORDER_CONSTANT, value=OUTSIDE)
        return np.asarray(filled, np.uint8)


def surroundings(image: Image, centre_rc: tuple[float, float], pixel_size_um: float) -> Surroundings:
    """Cut a square round a cell.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB, the frame.
    centre_rc
        The cell's centre in it, px.
    pixel_size_um
        Size of the frame's pixels, um, > 0.
    """
    half = max(round(SIDE_UM / 2 / pixel_size_um), 1)
    top, left = round(centre_rc[0]) - half, round(centre_rc[1]) - half
    seen = image[max(top, 0) : max(top + 2 * half, 0), max(left, 0) : max(left + 2 * half, 0)].copy()
    cut = Surroundings(seen, (max(-top, 0), max(-left, 0)), 2 * half, 2 * half * pixel_size_um)
    if cut.side_px <= KEPT_PX:
        return cut
    picture = cut.picture()
    return Surroundings(picture, (0, 0), len(picture), cut.side_um)


def _shrunk(square: Image) -> Image:
    """At most ``MOST_PX`` wide; averages over fractions of pixels would take seven times as long."""
    factor = len(square) // MOST_PX
    if factor > 1:
        side = len(square) // factor
        whole = square[: side * factor, : side * factor]
        square = np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    if len(square) > MOST_PX:
        square = np.asarray(cv2.resize(square, (MOST_PX, MOST_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    return square
