"""What lies round a cell, for people to look at: unmasked, as the camera saw it, with the cell in the middle."""

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


def surroundings(image: Image, centre_rc: tuple[float, float], pixel_size_um: float) -> tuple[Image, float]:
    """Cut a square round a cell.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB, the frame.
    centre_rc
        The cell's centre in it, px.
    pixel_size_um
        Size of the frame's pixels, um, > 0.

    Returns
    -------
    tuple
        (n, n, 3) uint8 RGB with n <= ``MOST_PX``, a picture of its own, and its side in um, about ``SIDE_UM``.
    """
    half = max(round(SIDE_UM / 2 / pixel_size_um), 1)
    top, left = round(centre_rc[0]) - half, round(centre_rc[1]) - half
    seen = image[max(top, 0) : max(top + 2 * half, 0), max(left, 0) : max(left + 2 * half, 0)]
    if seen.shape[:2] != (2 * half, 2 * half):
        seen = _filled_up(seen, (max(-top, 0), max(-left, 0)), 2 * half)
    shown = _shrunk(seen)
    return shown.copy() if np.may_share_memory(shown, image) else shown, 2 * half * pixel_size_um


def _filled_up(seen: Image, at: tuple[int, int], side: int) -> Image:
    """What was seen, at its place in the square."""
    square: Image = np.empty((side, side, 3), np.uint8)
    square[...] = OUTSIDE
    square[at[0] : at[0] + seen.shape[0], at[1] : at[1] + seen.shape[1]] = seen
    return square


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
