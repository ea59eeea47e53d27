"""The shift between two pictures of a slide: phase correlation proposes it, the overlap proves and refines it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.refinement import COARSE_STEPS, STEPS, overlap, polished, refined

MIN_CORRELATION: Final = 0.6
"""Least correlation of a large overlap. Over 500 random pairs of frames of a composed slide (real cells, dust, drift,
defocus) right shifts reach 0.80 and more, the best wrong ones 0.43 at most."""

CHANCE: Final = 3.5
FEATURE_UM2: Final = 50.0
"""The best of all chance shifts correlates at up to ``CHANCE / sqrt(overlap / FEATURE_UM2)``: an overlap holds as many
independent values as red cells would fit into it."""

MIN_OVERLAP: Final = 0.12
"""Least share of the frame that must overlap: below it a chance alignment correlates as well as the right one."""

DENSEST: Final = 0.3
"""Optical density is clipped here, between red cells and nuclei: a few dark nuclei, laid on each other, would otherwise
make wrong shifts correlate at up to 0.70. At 0.15 the red cells' own pattern goes as well."""

MOST_CERTAIN: Final = 0.99
"""Correlations are taken for this at most: noise leaves no two frames more alike."""

CANDIDATES: Final = 4
"""Peaks of the correlation that are looked at."""


SURE: Final = 0.75
"""Correlation from which on a shift found at half the scale is believed. Below it the whole picture is searched: right
shifts of composed pans reach 0.80 and more, the best wrong ones 0.43."""

SETTLED_PX: Final = 0.2
"""A second step no longer than this is the last. On a real hand's pan 0.05 leaves 0.23 frame pixels in the median, 0.60
in the 99th percentile, 0.2 leaves 0.24 and 0.61 for a tenth less time."""

LEAST_HALVED_PX: Final = 64
"""A picture narrower than this is searched as it is: at half the scale it would show too little."""


@dataclass(frozen=True, eq=False)
class ShiftPicture:
    """What of a frame is correlated; what is asked for late, or never, is made when it is asked for."""

    density: NDArray[np.float32]
    """(h, w) optical density, its mean taken out."""
    pixel_um: float

    @classmethod
    def of(cls, grey: NDArray[np.uint8], pixel_um: float) -> ShiftPicture:
        """Make it from (h, w) greys at the scale that is correlated."""
        return cls(density_of(grey), pixel_um)

    @cached_property
    def spectrum(self) -> NDArray[np.float32]:
        """(h, w) in OpenCV's packed layout: of the windowed density, divided by the root of its magnitude."""
        windowed = cv2.multiply(self.density, _window(*self.density.shape))
        return _whitened(np.asarray(cv2.dft(windowed), np.float32))

    @cached_property
    def half(self) -> ShiftPicture:
        """The same at half the scale."""
        height, width = (side // 2 for side in self.density.shape)
        whole = self.density[: 2 * height, : 2 * width]
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return ShiftPicture(np.asarray(small, np.float32), 2 * self.pixel_um)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far content moved from one picture to another."""

    row_px: float
    col_px: float
    """Pixels of the pictures; content that moved down has ``row_px > 0``."""
    correlation: float
    """Of the overlap, -1..1."""

    def sigma(self, reference: ShiftPicture, moving: ShiftPicture) -> float:
        """How far beyond chance the overlap's correlation is, in standard deviations."""
        whole = round(self.row_px), round(self.col_px)
        return significance(reference.density, moving.density, *whole, moving.pixel_um)


def find_shift(reference: ShiftPicture, moving: ShiftPicture) -> Shift | None:
    """Find how far content moved between two pictures of one size; None if nothing proves any shift.

    It is looked for at half the scale first, which is enough nine times in ten; where that is not sure, with all there
    is (``search_shift``).

    Parameters
    ----------
    reference, moving
        The earlier and the later picture.
    """
    if min(moving.density.shape) >= LEAST_HALVED_PX:
        best = _best(reference.half, moving.half, 1)
        if best is not None and best.correlation >= SURE:
            coarse = refined(reference.half.density, moving.half.density, (best.row, best.col), COARSE_STEPS)
            at = 2 * coarse[0], 2 * coarse[1]
            return Shift(*(polished(reference.density, moving.density, at) or at), best.correlation)
    return search_shift(reference, moving)


def expected_shift(reference: ShiftPicture, moving: ShiftPicture, expected: tuple[float, float]) -> Shift | None:
    """Find a shift that lies about where it is expected; None where it does not, or not surely so.

    A right shift needs no search: the overlap at half the scale proves it, and a step or two at the whole one make it
    as exact as ``find_shift`` does.

    Parameters
    ----------
    reference, moving
        The earlier and the later picture.
    expected
        How far content moved (row, col), px.
    """
    height, width = moving.density.shape
    row, col = (round(one / 2) for one in expected)
    if min(height, width) < LEAST_HALVED_PX or _overlap_share((height, width), 2 * row, 2 * col) < MIN_OVERLAP:
        return None
    correlation = overlap_correlation(reference.half.density, moving.half.density, row, col)
    overlap_um2 = _overlap_px2((height, width), 2 * row, 2 * col) * moving.pixel_um**2
    if correlation < max(SURE, least_correlation(overlap_um2)):
        return None
    at = expected
    for step in range(STEPS):
        found = polished(reference.density, moving.density, at, without_outliers=step > 0)
        if found is None:
            return None
        before, at = at, found
        if step > 0 and max(abs(at[0] - before[0]), abs(at[1] - before[1])) <= SETTLED_PX:
            return Shift(*at, correlation)
    return None


def search_shift(reference: ShiftPicture, moving: ShiftPicture, peaks: int = CANDIDATES) -> Shift | None:
    """Find the shift at the pictures' own scale; None if nothing proves any.

    Parameters
    ----------
    reference, moving
        The earlier and the later picture.
    peaks
        Peaks of the correlation that are looked at, >= 1.
    """
    best = _best(reference, moving, peaks)
    if best is None:
        return None
    return Shift(*refined(reference.density, moving.density, (best.row, best.col), STEPS), best.correlation)


@dataclass(frozen=True, slots=True)
class _Peak:
    """A shift in whole pixels that the overlap proves."""

    row: int
    col: int
    correlation: float


def _best(reference: ShiftPicture, moving: ShiftPicture, peaks: int) -> _Peak | None:
    """The shift whose overlap correlates most beyond what chance could do; None where none does."""
    best, most = None, -1.0
    for row, col in _candidates(reference.spectrum, moving.spectrum, peaks):
        correlation = overlap_correlation(reference.density, moving.density, row, col)
        overlap_um2 = _overlap_px2(moving.density.shape, row, col) * moving.pixel_um**2
        certain = correlation - least_correlation(overlap_um2)
        if certain >= 0 and certain > most:
            best, most = _Peak(row, col, correlation), certain
    return best


def least_correlation(overlap_um2: float) -> float:
    """Correlation that an overlap must reach to be no chance; above 1 where it is too small to prove anything.

    Parameters
    ----------
    overlap_um2
        Its area on the slide, um2, > 0.
    """
    return float(max(MIN_CORRELATION, CHANCE / np.sqrt(overlap_um2 / FEATURE_UM2)))


def density_of(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density of greys, its mean taken out; (h, w) in and out."""
    density = np.asarray(cv2.LUT(grey, _DENSITY), np.float32)
    return np.asarray(density - np.float32(cv2.mean(density)[0]), np.float32)


def significance(
    reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int, pixel_um: float
) -> float:
    """How far beyond chance an overlap's correlation is, in standard deviations of chance.

    Fisher's transform of the correlation over its spread. An overlap holds as many independent values as red cells
    would fit into the part of it that matters: where few pixels are dark, few count (participation ratio).

    Parameters
    ----------
    reference, moving
        (h, w) optical densities.
    row, col
        By how much content moved, whole pixels.
    pixel_um
        Size of a pixel, um.

    References
    ----------
    .. [1] R. A. Fisher, "On the probable error of a coefficient of correlation", Metron 1, 1921, 3-32.
    """
    parts = overlap(reference, moving, row, col)
    values = min(_participation(part) for part in parts) * pixel_um**2 / FEATURE_UM2
    if values <= 3:
        return 0.0
    correlation = min(overlap_correlation(reference, moving, row, col), MOST_CERTAIN)
    return float(np.arctanh(correlation) * np.sqrt(values - 3))


def _participation(density: NDArray[np.float32]) -> float:
    """Pixels that share the contrast: all where it is even, few where a few hold it."""
    squared = np.square(density[::2, ::2] - density[::2, ::2].mean())
    fourth = float(np.vdot(squared, squared))
    return 4 * float(squared.sum()) ** 2 / fourth if fourth > 0 else 0.0


def _overlap_px2(shape: tuple[int, ...], row: int, col: int) -> int:
    return (shape[0] - abs(row)) * (shape[1] - abs(col))


def _overlap_share(shape: tuple[int, int], row: int, col: int) -> float:
    return max(1 - abs(row) / shape[0], 0.0) * max(1 - abs(col) / shape[1], 0.0)


def _candidates(reference: NDArray[np.float32], moving: NDArray[np.float32], peaks: int) -> list[tuple[int, int]]:
    """Shifts at the highest peaks of the phase correlation.

    A peak is known only modulo the picture's size, so each stands for up to four shifts; those that leave too
    little overlap are left out.

    References
    ----------
    .. [1] C. D. Kuglin and D. C. Hines, "The phase correlation image alignment method", Proc. IEEE Int. Conf.
       Cybernetics and Society, 1975, 163-165.
    """
    # Half whitened: a full normalisation lifts the frequencies that motion blur has emptied of all but noise.
    cross = cv2.mulSpectrums(moving, reference, 0, conjB=True)
    surface = np.asarray(cv2.idft(cross, flags=cv2.DFT_SCALE), np.float32)
    height, width = surface.shape
    surface = np.asarray(cv2.GaussianBlur(surface, (3, 3), 0.7, borderType=cv2.BORDER_DEFAULT))
    found: list[tuple[int, int]] = []
    for _ in range(peaks):
        _, _, _, (col, row) = cv2.minMaxLoc(surface)
        surface[max(0, row - 4) : row + 5, max(0, col - 4) : col + 5] = -np.inf
        for shift in ((row, col), (row - height, col), (row, col - width), (row - height, col - width)):
            if _overlap_share((height, width), *shift) >= MIN_OVERLAP:
                found.append(shift)
    return found


def _whitened(spectrum: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a packed (CCS) spectrum by the square root of its magnitude, and so each product of two by its own.

    The packed layout holds real and imaginary parts in neighbouring columns; the first and, for an even width,
    the last column hold real parts of purely vertical frequencies, whose exact magnitude does not matter here.
    """
    squared = spectrum * spectrum
    power = squared.copy()
    width = spectrum.shape[1]
    pairs = (width - 1) // 2
    both = squared[:, 1 : 1 + 2 * pairs : 2] + squared[:, 2 : 2 + 2 * pairs : 2]
    power[:, 1 : 1 + 2 * pairs : 2] = both
    power[:, 2 : 2 + 2 * pairs : 2] = both
    return np.asarray(spectrum / (np.sqrt(np.sqrt(power)) + np.float32(1e-6)), np.float32)


def overlap_correlation(reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int) -> float:
    """Pearson's correlation over the overlap, -1..1; every other pixel each way tells as much."""
    a, b = (_varying(part[::2, ::2]) for part in overlap(reference, moving, row, col))
    norm = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / norm if norm > 0 else 0.0


def _varying(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture, its mean taken out; a third of what ``mean`` takes, which asks much before it adds."""
    return picture - np.float32(float(np.add.reduce(picture, axis=None)) / picture.size)


@cache
def _window(height: int, width: int) -> NDArray[np.float32]:
    """Falls to 0 over the outer eighth, so that the borders do not correlate with each other."""
    return np.outer(_taper(height), _taper(width)).astype(np.float32)


def _taper(length: int) -> NDArray[np.float64]:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) / (length / 8)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(distance, 0, 1)))


_DENSITY: Final = np.minimum(-np.log10((np.arange(256) + 4) / 260), DENSEST).astype(np.float32)
"""Optical density of a grey. A product of light and cell becomes a sum."""
