"""Pixels of the slide's map: which a frame touches, by how much, in which tiles they lie, what it shows there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image

TILE_PX: Final = 128
"""Side of a tile, map px: 256 um at the usual 2 um/px; a frame of 160 x 120 um touches one to four."""

SAMPLES_PER_PX: Final = 4
"""Samples a map pixel is averaged from, along each axis: averaging all 16 x 16 px of a 1280x960 frame takes
1.5-4 ms, averaging 4 x 4 of them 0.5 ms, and the map looks the same."""


@dataclass(frozen=True, slots=True, eq=False)
class MapPiece:
    """Where a painted window and one tile overlap: the same pixels, said in both."""

    key: tuple[int, int]
    in_window: tuple[slice, slice]
    in_tile: tuple[slice, slice]


def shares(start: float, length: float) -> tuple[int, NDArray[np.float64]]:
    """First pixel that a stretch touches, and for each from there the share of it that it covers, 0..1."""
    first, end = math.floor(start + 1e-6), start + length
    covered = np.ones(max(math.ceil(end - 1e-6), first + 1) - first)
    for at in (0, len(covered) - 1):
        covered[at] = min(max(min(first + at + 1, end) - max(first + at, start), 0.0), 1.0)
    return first, covered


def shrunk(image: Image, shape: tuple[int, ...]) -> Image:
    """A frame in the map's pixels, (h, w)."""
    rows, cols = (side * SAMPLES_PER_PX for side in shape)
    if rows < image.shape[0] and cols < image.shape[1]:
        image = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def shrunk_at(image: Image, shape: tuple[int, ...], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Image:
    """(N, 3) the same at N of its pixels, from the same samples."""
    if any(side * SAMPLES_PER_PX >= whole for side, whole in zip(shape, image.shape[:2], strict=True)):
        return shrunk(image, shape)[rows, cols]
    down, right = (_samples(*sides) for sides in zip(shape, image.shape[:2], strict=True))
    places = (down[rows] * image.shape[1])[:, :, None] + right[cols][:, None, :]
    samples = image.reshape(-1, 3).take(places.reshape(-1), axis=0).reshape(-1, SAMPLES_PER_PX, 3)
    averaged = cv2.resize(samples, (1, len(rows)), interpolation=cv2.INTER_AREA)
    return np.asarray(averaged, np.uint8).reshape(-1, 3)


@lru_cache(maxsize=8)
def _samples(side: int, whole: int) -> NDArray[np.intp]:
    """(side, ``SAMPLES_PER_PX``): which pixels of so many each pixel of a shrunk picture is averaged from."""
    places = np.arange(side * SAMPLES_PER_PX) * (1 / (side * SAMPLES_PER_PX / whole))
    return places.astype(np.intp).reshape(side, SAMPLES_PER_PX)


def pieces(top: int, left: int, shape: tuple[int, ...]) -> Iterator[MapPiece]:
    """Cut a window (h, w) at its first row and column of the map into its parts in each tile."""
    for tile_row, in_rows, tile_rows in _cuts(top, shape[0]):
        for tile_col, in_cols, tile_cols in _cuts(left, shape[1]):
            yield MapPiece((tile_row, tile_col), (in_rows, in_cols), (tile_rows, tile_cols))


def _cuts(start: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Tile index, slice of the stretch and slice of the tile, for each tile that a stretch touches."""
    for tile in range(start // TILE_PX, (start + length - 1) // TILE_PX + 1):
        begin, end = max(tile * TILE_PX, start), min((tile + 1) * TILE_PX, start + length)
        yield tile, slice(begin - start, end - start), slice(begin - tile * TILE_PX, end - tile * TILE_PX)
