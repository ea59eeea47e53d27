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
        square = self.filled_up()
        if len(square) > MOST_PX:
            return np.asarray(cv2.resize(square, (MOST_PX, MOST_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
        return square

    def filled_up(self) -> Image:
        """(n, n, 3) uint8 RGB with n = ``side_px``: what was seen, at its place in the square."""
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
    return cut if cut.side_px < 2 * MOST_PX else _made_small(cut)


def _made_small(cut: Surroundings) -> Surroundings:
    """The same in fewer pixels: what a fine camera shows of a square takes too much memory until it is asked for."""
    square = _shrunk(cut.filled_up())
    return Surroundings(square, (0, 0), len(square), cut.side_um)


def _shrunk(square: Image) -> Image:
    """Less than twice ``MOST_PX`` wide; averages over fractions of pixels would take seven times as long."""
    factor = len(square) // MOST_PX
    if factor <= 1:
        return square
    side = len(square) // factor
    whole = square[: side * factor, : side * factor]
    return np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
