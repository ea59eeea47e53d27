"""How wide the red cells of a frame are that lie alone, measured in steps short enough to go between two frames."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import Reduced, glass_colour, sampled

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

STEP_PX: Final = 600_000
"""Pixels that one step measures: about two ms of the processor."""

PIECE_PX: Final = 8_000
"""What a piece costs besides its pixels."""

Diameters = NDArray[np.float64]

Box = tuple[int, int, int, int]
"""Left, top, width, height, px."""


def red_cell_diameters_px(image: Image) -> Diameters:
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
    steps = measuring(image)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return np.asarray(done.value, np.float64)


def measuring(image: Image) -> Generator[None, None, Diameters]:
    """The same in steps; the first takes what is needed of the frame.

    On 55 pictures the longest step took 3.3 ms of the processor in the median: the light of the field, or the outlines,
    which no step can halve; 9 ms on crowded ones, where all of it takes 30.
    """
    picture, glass = yield from _evened(_green(image), glass_colour(_middle(image)))
    yield
    rough = glass - 0.5 * (glass - _usual_cell(picture, glass))
    yield
    pieces = yield from _lone_pieces(picture, rough, glass)
    if not pieces:
        return np.zeros(0)
    sizes = np.array([piece.diameter_px for piece in pieces])
    rim = float(np.median(np.array([piece.rim for piece in pieces])[of_the_common_size(sizes)]))
    if glass - rim < FAINTEST * glass:
        return np.zeros(0)
    fine = yield from _lone_pieces(picture, (glass + rim) / 2, glass)
    return np.array([piece.diameter_px for piece in fine])


def of_the_common_size(diameters: Diameters) -> NDArray[np.bool_]:
    """Which are near the diameter that halves the covered area: many small platelets weigh little in it."""
    ordered = np.sort(diameters)
    covered = np.cumsum(np.square(ordered))
    middle = ordered[int(np.searchsorted(covered, covered[-1] / 2))]
    near: NDArray[np.bool_] = np.abs(diameters - middle) <= ALIKE * middle
    return near


@dataclass(frozen=True, slots=True)
class _Piece:
    """Something round that lies alone and holds no nucleus."""

    diameter_px: float
    rim: float
    """Grey of its darker quarter: the rim, which is thicker than the middle."""


def _middle(image: Image) -> Image:
    top, left = (max(0, (side - WINDOW_PX) // 2) for side in image.shape[:2])
    return image[top : top + WINDOW_PX, left : left + WINDOW_PX]


def _green(image: Image) -> NDArray[np.uint8]:
    """The green channel of the middle, low-passed."""
    return np.asarray(cv2.GaussianBlur(cv2.extractChannel(_middle(image), 1), (0, 0), 1.0), np.uint8)


def _evened(
    green: NDArray[np.uint8], glass_rgb: tuple[float, float, float]
) -> Generator[None, None, tuple[NDArray[np.uint8], float]]:
    """A green channel with vignetting divided out, and the grey of its glass."""
    reduced, light = Reduced(green, 1, 1.0, glass_rgb, None), FlatField()
    yield
    light.begin(reduced)
    yield
    even = light.flatten(reduced).green
    return even, glass_colour(np.repeat(sampled(even)[..., None], 3, axis=2))[1]


def _usual_cell(picture: NDArray[np.uint8], glass: float) -> float:
    """Grey of what is no glass, nuclei counted as if they were no darker than the darkest red cells."""
    darkest = glass * 10.0**-NUCLEAR_DENSITY
    split, _ = cv2.threshold(np.maximum(picture, round(darkest)), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    greys = np.arange(256)
    counts = np.where((greys < split) & (greys >= darkest), _histogram(picture), 0)
    return float(counts @ greys / counts.sum()) if counts.any() else glass


def _histogram(picture: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None) -> NDArray[np.int64]:
    """(256,) how often each grey occurs."""
    return cv2.calcHist([picture], [0], mask, [256], [0, 256])[:, 0].astype(np.int64)


def _lone_pieces(picture: NDArray[np.uint8], level: float, glass: float) -> Generator[None, None, list[_Piece]]:
    _, dark = cv2.threshold(picture, level, 255, cv2.THRESH_BINARY_INV)
    contours, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pieces, spent_px = [], STEP_PX
    for contour, box in _of_a_cells_size(contours, picture.shape):
        if spent_px >= STEP_PX:
            spent_px = 0
            yield
        piece = _piece(contour, box, picture, glass)
        spent_px += PIECE_PX + box[2] * box[3]
        if piece is not None:
            pieces.append(piece)
    yield
    return pieces


def _of_a_cells_size(contours: Sequence[Any], shape: tuple[int, ...]) -> Iterator[tuple[NDArray[np.int32], Box]]:
    """Contours within the picture that can be a cell's, each with its box."""
    rows, cols = shape
    for contour in contours:
        left, top, width, height = cv2.boundingRect(contour)
        inside = min(left, top) > 0 and left + width < cols and top + height < rows
        small_enough = max(width, height) <= LARGEST_SHARE * min(rows, cols)
        if inside and small_enough and min(width, height) >= SMALLEST_CELL_PX - 1:
            yield np.asarray(contour, np.int32), (left, top, width, height)


def _piece(contour: NDArray[np.int32], box: Box, picture: NDArray[np.uint8], glass: float) -> _Piece | None:
    if not _is_disc(contour):
        return None
    left, top, width, height = box
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, [contour], 0, 255, cv2.FILLED, offset=(-left, -top))
    up_to = np.cumsum(_histogram(picture[top : top + height, left : left + width], mask))
    size = int(up_to[-1])
    darkest, rim = (int(np.searchsorted(up_to, size // part, side="right")) for part in (20, 4))
    if darkest < glass * 10.0**-NUCLEAR_DENSITY:
        return None
    return _Piece(2.0 * float(np.sqrt(size / np.pi)), float(rim))


def _is_disc(contour: NDArray[np.int32]) -> bool:
    # A contour runs through the middles of the border's pixels: half a pixel further out lies the outline.
    area, around = cv2.contourArea(contour), cv2.arcLength(contour, True)
    if not (area > 0 and 4 * np.pi * area >= ROUND * around**2):
        return False
    return area >= FULL * cv2.contourArea(cv2.convexHull(contour))
