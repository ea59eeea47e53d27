"""The shift between two pictures of a slide: phase correlation proposes it, the overlap proves and refines it."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

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

LEAST_REFINED_PX: Final = 8
"""An overlap narrower than this keeps its whole-pixel shift: gradients lose 2 px on each side of it."""

STEPS: Final = 3
"""Gauss-Newton steps of the refinement: two leave up to 0.1 of a correlated pixel where the shift lies half-way."""

OUTLIER: Final = 3.0
"""Pixels that differ by more than this many times the mean are left out of the refinement: dust not yet learned stands
still and would draw the shift to 0, by up to 1.7 px a frame under 40 specks."""

MOST_CERTAIN: Final = 0.99
"""Correlations are taken for this at most: noise leaves no two frames more alike."""

CANDIDATES: Final = 4
"""Peaks of the correlation that are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class ShiftPicture:
    """What of a frame is correlated."""

    density: NDArray[np.float32]
    """(h, w) optical density, its mean taken out."""
    spectrum: NDArray[np.float32]
    """(h, w) in OpenCV's packed layout: of the windowed density, divided by the root of its magnitude."""
    pixel_um: float

    @classmethod
    def of(cls, grey: NDArray[np.uint8], pixel_um: float) -> "ShiftPicture":
        """Make it from (h, w) greys at the scale that is correlated."""
        density = density_of(grey)
        spectrum = np.asarray(cv2.dft(density * _window(*density.shape)), np.float32)
        return cls(density, _whitened(spectrum), pixel_um)


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


def find_shift(reference: ShiftPicture, moving: ShiftPicture, peaks: int = CANDIDATES) -> Shift | None:
    """Find how far content moved between two pictures of one size; None if nothing proves any shift.

    Parameters
    ----------
    reference, moving
        The earlier and the later picture.
    peaks
        Peaks of the correlation that are looked at, >= 1.
    """
    best: tuple[float, int, int, float] | None = None
    for row, col in _candidates(reference.spectrum, moving.spectrum, peaks):
        correlation = overlap_correlation(reference.density, moving.density, row, col)
        overlap_um2 = _overlap_px2(moving.density.shape, row, col) * moving.pixel_um**2
        certain = correlation - least_correlation(overlap_um2)
        if certain >= 0 and (best is None or certain > best[0]):
            best = (certain, row, col, correlation)
    if best is None:
        return None
    row_px, col_px = refined(reference.density, moving.density, best[1], best[2])
    return Shift(row_px, col_px, best[3])


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
    density = _DENSITY[grey]
    return np.asarray(density - np.float32(density.mean()), np.float32)


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
            overlap = (1 - abs(shift[0]) / height) * (1 - abs(shift[1]) / width)
            if overlap >= MIN_OVERLAP:
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


def overlap(
    reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The parts of both pictures that show the same place if content moved by (row, col)."""
    height, width = reference.shape
    return (
        reference[max(0, -row) : height - max(0, row), max(0, -col) : width - max(0, col)],
        moving[max(0, row) : height - max(0, -row), max(0, col) : width - max(0, -col)],
    )


def overlap_correlation(reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int) -> float:
    """Pearson's correlation over the overlap, -1..1; every other pixel each way tells as much."""
    first, second = overlap(reference, moving, row, col)
    a, b = first[::2, ::2] - first[::2, ::2].mean(), second[::2, ::2] - second[::2, ::2].mean()
    norm = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / norm if norm > 0 else 0.0


def refined(reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int) -> tuple[float, float]:
    """Sub-pixel shift by Gauss-Newton steps on the overlap's squared difference, gain and offset free.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to stereo
       vision", Proc. IJCAI, 1981, 674-679.
    """
    first, second = overlap(reference, moving, row, col)
    if min(second.shape) < LEAST_REFINED_PX:
        return float(row), float(col)
    # Both gradients, averaged: where one picture is blurred by motion, either alone is biased.
    total_row = total_col = 0.0
    shifted = second
    for step in range(STEPS):
        mean = (first + shifted) * np.float32(0.5)
        down = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 0, 1, ksize=3, scale=0.125), np.float32)[2:-2, 2:-2]
        right = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 1, 0, ksize=3, scale=0.125), np.float32)[2:-2, 2:-2]
        # Content moved by (dr, dc) beyond the overlap's: shifted(x) = first(x - d), so first - shifted = d . grad.
        difference = (first - shifted)[2:-2, 2:-2]
        difference = difference - difference.mean()
        if step > 0:  # before, what does not fit yet would be taken for an outlier
            alike = np.abs(difference) < OUTLIER * np.abs(difference).mean()
            down, right = down * alike, right * alike
        a, b, c = float(np.vdot(down, down)), float(np.vdot(down, right)), float(np.vdot(right, right))
        p, q = float(np.vdot(down, difference)), float(np.vdot(right, difference))
        determinant = a * c - b * b
        if determinant <= 1e-9 * (a + c) ** 2:
            break
        total_row += (c * p - b * q) / determinant
        total_col += (a * q - b * p) / determinant
        if max(abs(total_row), abs(total_col)) > 2.0:
            return float(row), float(col)
        back = np.array([[1.0, 0.0, total_col], [0.0, 1.0, total_row]])
        if step == STEPS - 1:
            break  # the last step's result is not looked at again
        size = (second.shape[1], second.shape[0])
        shifted = np.asarray(
            cv2.warpAffine(
                second, back, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
            ),
            np.float32,
        )
    return row + total_row, col + total_col


@cache
def _window(height: int, width: int) -> NDArray[np.float32]:
    """Falls to 0 over the outer eighth, so that the borders do not correlate with each other."""
    return np.outer(_taper(height), _taper(width)).astype(np.float32)


def _taper(length: int) -> NDArray[np.float64]:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) / (length / 8)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(distance, 0, 1)))


_DENSITY: Final = np.minimum(-np.log10((np.arange(256) + 4) / 260), DENSEST).astype(np.float32)
"""Optical density of a grey. A product of light and cell becomes a sum."""
