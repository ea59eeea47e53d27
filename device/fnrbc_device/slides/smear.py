"""Where on a slide something lies: found on a coarser level, so that empty glass is never read in full.

A place is empty where no pixel differs from glass by more than scanners' glass does. The finest level that tells a
small nucleus is asked, and glass is what most of the bright part of the slide looks like; so a stray pixel costs a
tile's work, and never a cell.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import SourceError
from fnrbc_device.slides.slide import Box, Slide
from fnrbc_device.vision.reduction import glass_colour

COARSEST_UM: Final = 4.2
"""Largest pixel of a level that is asked: a nucleus of 2.5 um, the smallest candidate, darkens one such pixel by a
sixteenth even where it falls on four of them."""

STAINED: Final = 10
"""Grey levels (of 255) from glass on which a pixel shows something. A nucleus of 2.5 um takes 15 at 4 um a pixel; JPEG
and noise of glass stay below 6."""

BAND_PX: Final = 256
"""Rows of the coarse level that are looked at together."""

CELL_UM: Final = 16.0
"""Side of the squares that the map of the smear is made of."""

DARK: Final = 60
"""Grey levels from glass on which a pixel may be a nucleus: the stain is learned where many are."""


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """Where something lies."""

    square_px: float
    """Side of a square, pixels of the finest level."""
    shown: NDArray[np.bool_]
    """(rows, cols) of squares: whether anything is in one."""
    dark: NDArray[np.uint16]
    """(rows, cols): how much of it may be nuclei, in pixels of the level that was asked; for choosing alone."""

    def any_in(self, box: Box) -> bool:
        """Whether anything lies in a part of the slide."""
        return bool(self.shown[self._squares(box)].any())

    def darkness(self, box: Box) -> int:
        """How much there may be nuclei."""
        return int(self.dark[self._squares(box)].sum())

    def _squares(self, box: Box) -> tuple[slice, slice]:
        rows = slice(int(box.top / self.square_px), int(np.ceil(box.bottom / self.square_px)))
        cols = slice(int(box.left / self.square_px), int(np.ceil(box.right / self.square_px)))
        return rows, cols


def find_smear(slide: Slide, pixel_um: float) -> Smear | None:
    """Look for what is not empty glass; None where the file has no level coarse enough to be worth it.

    Parameters
    ----------
    slide
        Open.
    pixel_um
        Size of its finest pixels.
    """
    level = _level(slide, pixel_um)
    if level is None:
        return None
    factor = slide.about.levels[level]
    rows = int(slide.about.shape[0] / factor)
    glass = _glass(slide, level, rows)
    square = max(1, round(CELL_UM / (pixel_um * factor)))
    shown, dark = [], []
    band = max(1, BAND_PX // square) * square
    for top in range(0, rows, band):
        image = slide.coarse(level, top, min(band, rows - top))
        apart = cv2.absdiff(image, np.full_like(image, 0) + glass).max(axis=2)
        shown.append(_in_squares(apart >= STAINED, square) > 0)
        dark.append(np.minimum(_in_squares(apart >= DARK, square), 65535).astype(np.uint16))
    return Smear(square * factor, _one_further(np.vstack(shown)), np.vstack(dark))


def _level(slide: Slide, pixel_um: float) -> int | None:
    """The coarsest level fine enough; None where that is the finest itself."""
    fit = [level for level, factor in enumerate(slide.about.levels) if factor * pixel_um <= COARSEST_UM]
    return fit[-1] if fit and fit[-1] > 0 else None


def _glass(slide: Slide, level: int, rows: int) -> NDArray[np.uint8]:
    """Colour of glass on the coarse level, from bands spread over it: of each channel the median."""
    starts = sorted({int(top) for top in np.linspace(0, max(rows - BAND_PX, 0), 5)})
    found = [glass_colour(slide.coarse(level, top, min(BAND_PX, rows - top))) for top in starts]
    if not found:
        raise SourceError(f"{slide.name} has no rows")
    return np.rint(np.median(found, axis=0)).astype(np.uint8)


def _in_squares(mask: NDArray[np.bool_], square: int) -> NDArray[np.int64]:
    """How many pixels of each square."""
    height, width = (-(-side // square) * square for side in mask.shape)
    padded = np.zeros((height, width), np.int64)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(height // square, square, width // square, square).sum(axis=(1, 3)))


def _one_further(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The squares round those with something, too: levels are not aligned to a pixel."""
    return np.asarray(cv2.dilate(shown.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)
