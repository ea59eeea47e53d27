"""What a pixel spans on the slide, as the red cells tell it: a ruler that lies in every field.

Human red cells are much alike, so their diameter in pixels gives the pixel size to about one part in seven. That is
good enough to notice a wrong objective or a mistyped number, and too coarse to count with unasked.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import Reduced, glass_colour

SMALLEST_PIXEL_UM: Final = 0.01
LARGEST_PIXEL_UM: Final = 1.0
"""Beyond it a nucleus of 5 um has fewer than five pixels, and no one can tell it from dirt."""

RED_CELL_UM: Final = 7.2
"""Mean diameter of an adult's red cells on a dry smear. C. Price-Jones, Red Blood Cell Diameters, Oxford 1933."""

SMALLEST_MEAN_UM: Final = 6.2
LARGEST_MEAN_UM: Final = 8.2
"""What the mean of one slide may be. Healthy people's means lie at 6.7-7.7 um (Price-Jones), living cells measure
7.8 um (M. E. Fabry et al., J Clin Invest 67:1284, 1981); how thick the smear is and how it dried adds as much again.
All cells of a slide share that error: more cells do not make it smaller."""

WINDOW_PX: Final = 1600
"""Largest side of the window that is measured: hundreds of red cells at any magnification that shows nuclei."""

SMALLEST_CELL_PX: Final = 7.0
"""Diameter of a red cell at the coarsest pixel that cells are counted at, 1 um."""

LARGEST_SHARE: Final = 0.33
"""Of the window's shorter side: a field of fewer than three red cells across has too few alone."""

ROUND: Final = 0.75
"""4 pi area / perimeter^2 from which a piece is one cell. Two red cells that touch reach 0.65 (painted discs)."""

FULL: Final = 0.93
"""Area over the convex hull's from which a piece is one cell: two that overlap by half leave 0.92 (painted discs)."""

NUCLEAR_DENSITY: Final = 0.42
"""-log10(light / glass) of a piece's darkest twentieth, from which on it holds a nucleus: in green, 99 in 100 red
cells lie below 0.37 and the darker half of the nuclei above (``smear_fields``). The common size sorts out the rest."""

FAINTEST: Final = 0.04
"""Least share of the glass' light that red cells take: glass itself varies by 3 %."""

ALIKE: Final = 0.25
"""Of the middle diameter: a slide's red cells lie within (their spread is 4-13 % on the fields at hand), platelets do
not."""

LEAST_ALIKE: Final = 0.75
"""Share of the area that pieces of the common size must hold: 0.85-1 in all but two of 40 groups of eight smear fields
(``smear_fields``), 0.92 and more in ``anaemia_fields``, 0.5-0.8 among the nuclei of tissue. Dirt has no common size."""

LEAST_CELLS: Final = 12
"""Fewer give no size worth telling: the median of 12 is known to 5 %, a handful of round pieces may be anything."""

ENOUGH_CELLS: Final = 120
"""The median of 120 is known to 1.4 %; what is left is the slide's own error, of which no cell tells."""

MOST_LOOKS: Final = 6
"""Frames with red cells that are measured at most: what six fields do not show, a seventh hardly will."""


def require_pixel_size(pixel_size_um: float) -> None:
    """Refuse a pixel size that no microscope on cells has."""
    if not SMALLEST_PIXEL_UM <= pixel_size_um <= LARGEST_PIXEL_UM:
        raise UsageError(
            f"the pixel size is {pixel_size_um} um, outside {SMALLEST_PIXEL_UM}..{LARGEST_PIXEL_UM}; "
            "divide the camera's pixel by the magnification, e.g. 3.45 um / 40 = 0.086"
        )


@dataclass(frozen=True, slots=True)
class PixelSizeEstimate:
    """Pixel size as the red cells tell it: offered to a person, never used unasked.

    Notes
    -----
    It holds for adults' red cells. Those of the newborn are larger, those of iron-deficiency anaemia and thalassaemia
    smaller: the estimate is then too small, or too large, by as much.
    """

    value_um: float
    low_um: float
    high_um: float
    """95 % interval, people's own spread included."""
    cells: int
    """Lone red cells measured; one that several frames show counts in each."""

    def agrees_with(self, pixel_size_um: float) -> bool:
        """Whether a pixel size lies within the interval."""
        return self.low_um <= pixel_size_um <= self.high_um

    def __str__(self) -> str:
        return f"{self.value_um:.3g} um ({self.low_um:.3g}..{self.high_um:.3g}, from {self.cells} cells)"


class RedCellRuler:
    """Measures the red cells of a session's first frames."""

    def __init__(self) -> None:
        self._looks: list[NDArray[np.float64]] = []
        self._cells = 0

    @property
    def done(self) -> bool:
        """Whether further frames would tell no more."""
        return self._cells >= ENOUGH_CELLS or len(self._looks) >= MOST_LOOKS

    def look(self, image: Image) -> None:
        """Measure one frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, sharp and exposed.
        """
        diameters = red_cell_diameters_px(image)
        if len(diameters):
            self._looks.append(diameters)
            self._cells += len(diameters)

    def estimate(self) -> PixelSizeEstimate | None:
        """Say what the frames so far come to; None where they show too few red cells, or cells of no common size."""
        if self._cells < LEAST_CELLS:
            return None
        diameters = np.concatenate(self._looks)
        alike = diameters[_of_the_common_size(diameters)]
        if len(alike) < LEAST_CELLS or np.square(alike).sum() < LEAST_ALIKE * np.square(diameters).sum():
            return None
        middle = float(np.median(alike))
        # A resting hand shows the same cells again and again: only the fullest frame's count as independent.
        independent = min(len(alike), max(len(look) for look in self._looks))
        # The median's standard error is 1.2533 times the mean's.
        unsure = float(1.96 * 1.2533 * alike.std() / np.sqrt(independent))
        return PixelSizeEstimate(
            value_um=RED_CELL_UM / middle,
            low_um=SMALLEST_MEAN_UM / (middle + unsure),
            high_um=LARGEST_MEAN_UM / max(middle - unsure, 1.0),
            cells=len(alike),
        )


def red_cell_diameters_px(image: Image) -> NDArray[np.float64]:
    """Outer diameters of the red cells that lie alone.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB of any pixel size; of a large one the middle is measured.

    Returns
    -------
    ndarray
        (N,) px: of the circle with the cell's area within the outline at half the edge's height. Empty where there
        are none.
    """
    picture, glass = _evened(_middle(image))
    rough = glass - 0.5 * (glass - _usual_cell(picture, glass))
    pieces = _lone_pieces(picture, rough, glass)
    if not pieces:
        return np.zeros(0)
    sizes = np.array([piece.diameter_px for piece in pieces])
    rim = float(np.median(np.array([piece.rim for piece in pieces])[_of_the_common_size(sizes)]))
    if glass - rim < FAINTEST * glass:
        return np.zeros(0)
    fine = _lone_pieces(picture, (glass + rim) / 2, glass)
    return np.array([piece.diameter_px for piece in fine])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Something round that lies alone and holds no nucleus."""

    diameter_px: float
    rim: float
    """Grey of its darker quarter: the rim, which is thicker than the middle."""


def _middle(image: Image) -> Image:
    top, left = (max(0, (side - WINDOW_PX) // 2) for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + WINDOW_PX, left : left + WINDOW_PX])


def _evened(image: Image) -> tuple[NDArray[np.uint8], float]:
    """The green channel, low-passed, with vignetting divided out, and the grey of its glass."""
    green = np.asarray(cv2.GaussianBlur(cv2.extractChannel(image, 1), (0, 0), 1.0), np.uint8)
    even = FlatField().flatten(Reduced(green, 1, 1.0, glass_colour(image), None)).green
    return even, glass_colour(np.repeat(even[..., None], 3, axis=2))[1]


def _usual_cell(picture: NDArray[np.uint8], glass: float) -> float:
    """Grey of what is no glass, nuclei counted as if they were no darker than the darkest red cells."""
    darkest = glass * 10.0**-NUCLEAR_DENSITY
    split, _ = cv2.threshold(np.maximum(picture, round(darkest)), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    below = picture[(picture < split) & (picture >= darkest)]
    return float(below.mean()) if below.size else glass


def _lone_pieces(picture: NDArray[np.uint8], level: float, glass: float) -> list[_Piece]:
    _, dark = cv2.threshold(picture, level, 255, cv2.THRESH_BINARY_INV)
    contours, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces = (_piece(np.asarray(contour, np.int32), picture, glass) for contour in contours)
    return [piece for piece in pieces if piece is not None]


def _piece(contour: NDArray[np.int32], picture: NDArray[np.uint8], glass: float) -> _Piece | None:
    left, top, width, height = cv2.boundingRect(contour)
    rows, cols = picture.shape
    inside = min(left, top) > 0 and left + width < cols and top + height < rows
    small_enough = max(width, height) <= LARGEST_SHARE * min(rows, cols)
    if not inside or min(width, height) < SMALLEST_CELL_PX - 1 or not small_enough or not _is_disc(contour):
        return None
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, [contour - (left, top)], 0, 255, cv2.FILLED)
    greys = np.sort(picture[top : top + height, left : left + width][mask > 0])
    darkest, rim = greys[greys.size // 20], greys[greys.size // 4]
    if darkest < glass * 10.0**-NUCLEAR_DENSITY:
        return None
    return _Piece(2.0 * float(np.sqrt(greys.size / np.pi)), float(rim))


def _is_disc(contour: NDArray[np.int32]) -> bool:
    # A contour runs through the middles of the border's pixels: half a pixel further out lies the outline.
    area, around = cv2.contourArea(contour), cv2.arcLength(contour, True)
    hull = cv2.contourArea(cv2.convexHull(contour))
    return bool(area > 0 and 4 * np.pi * area >= ROUND * around**2 and area >= FULL * hull)


def _of_the_common_size(diameters: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which are near the diameter that halves the covered area: many small platelets weigh little in it."""
    ordered = np.sort(diameters)
    covered = np.cumsum(np.square(ordered))
    middle = ordered[int(np.searchsorted(covered, covered[-1] / 2))]
    near: NDArray[np.bool_] = np.abs(diameters - middle) <= ALIKE * middle
    return near
