"""The map of the slide seen so far: one mosaic an island, and the area that whole frames have covered."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image, Join, Pose

TILE_PX: Final = 128
"""Side of a tile, map px: 256 um at the usual 2 um/px; a frame of 160 x 120 um touches one to four."""

MAX_TILES: Final = 4096
"""Bound on memory: 4,096 tiles of 64 KiB are 256 MiB, room for 268 mm2 at 2 um/px."""

TREMBLE_PX: Final = 0.25
"""A frame that lies less than this from the last one painted, map pixels, shows what that one showed."""

PATH_STEP_UM: Final = 5.0
"""A resting hand trembles by 1-2 um; only a step longer than this is part of the path."""

MAX_PATH: Final = 4096
"""Bound on a path: when it is reached, every second point is dropped."""

SAMPLES_PER_PX: Final = 4
"""Samples a map pixel is averaged from, along each axis: averaging all 16 x 16 px of a 1280x960 frame takes
1.5-4 ms, averaging 4 x 4 of them 0.5 ms, and the map looks the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """What was seen of one island, as one picture."""

    island: int
    image: Image
    """(H, W, 3) RGB; black where nothing was seen."""
    coverage: NDArray[np.uint8]
    """(H, W), 0 where nothing was seen, 255 where a pixel was seen whole."""
    origin_rc_um: tuple[float, float]
    """Slide coordinates of the top-left corner."""
    um_per_px: float


@dataclass(slots=True, eq=False)
class _Tile:
    image: Image
    coverage: NDArray[np.uint8]


@dataclass(slots=True)
class _Island:
    tiles: dict[tuple[int, int], _Tile] = field(default_factory=dict)
    path_rc_um: list[tuple[float, float]] = field(default_factory=list)
    """Centres of frames, thinned."""
    last_rc_um: tuple[float, float] | None = None
    """Centre of the last frame that was a step; never thinned away."""


@dataclass(frozen=True, slots=True, eq=False)
class _MapPiece:
    """Where a painted window and one tile overlap: the same pixels, said in both."""

    key: tuple[int, int]
    in_window: tuple[slice, slice]
    in_tile: tuple[slice, slice]


class SlideMap:
    """Mosaics that grow in any direction while the slide is panned.

    Painted by the counting thread and read by others without a lock: a reader copies the tiles that exist and
    may catch one half painted, which the next look mends.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels on the slide, um, > 0.
    frame_shape_px
        (H, W) of the frames.
    um_per_px
        Size of the map's pixels, um. Never finer than the frames'.
    """

    def __init__(self, pixel_size_um: float, frame_shape_px: tuple[int, int], um_per_px: float = 2.0) -> None:
        self.um_per_px = max(um_per_px, pixel_size_um)
        self._scale = pixel_size_um / self.um_per_px
        self._frame_um = (frame_shape_px[0] * pixel_size_um, frame_shape_px[1] * pixel_size_um)
        self._pixel_size_um = pixel_size_um
        self._islands: dict[int, _Island] = {}
        self._tiles = 0
        self._covered = 0
        self._entered_um2 = 0.0
        self._painted: Pose | None = None
        """Where the last frame painted lies; None too where that island is no more."""

    @property
    def frame_um(self) -> tuple[float, float]:
        """(height, width) of a frame on the slide."""
        return self._frame_um

    @property
    def islands(self) -> tuple[int, ...]:
        """Numbers of the islands painted so far, oldest first."""
        return tuple(self._islands.copy())

    @property
    def full(self) -> bool:
        """Whether the bound on memory was reached: new ground is then neither drawn nor measured."""
        return self._tiles >= MAX_TILES

    @property
    def unique_area_mm2(self) -> float:
        """Area that used frames covered, each place once, summed over the islands.

        A pixel that a frame's border crosses counts by the share the frame covers. Where borders of different
        frames cross one pixel the larger share counts: the error is at most half a pixel along such borders.
        """
        return self._covered / 255 * self.um_per_px**2 * 1e-6

    @property
    def revisit_share(self) -> float:
        """Share of the ground that came into view which had been seen before, 0..1.

        Ground that stays in view from one step to the next did not come into view.
        """
        if self._entered_um2 <= 0:
            return 0.0
        return min(max(1 - 1e6 * self.unique_area_mm2 / self._entered_um2, 0.0), 1.0)

    def paint(self, pose: Pose, image: Image) -> None:
        """Lay a used frame on its island; later frames cover earlier ones.

        Parameters
        ----------
        pose
            Where the frame's top-left corner lies.
        image
            (H, W, 3) RGB, any size.
        """
        if self._trembles(pose):
            return
        self._painted = pose
        island = self._islands.setdefault(pose.island, _Island())
        top, rows = _shares(pose.row_px * self._scale, image.shape[0] * self._scale)
        left, cols = _shares(pose.col_px * self._scale, image.shape[1] * self._scale)
        window = _shrunk(image, (len(rows), len(cols)))
        coverage = np.rint(255 * np.outer(rows, cols)).astype(np.uint8)
        for piece in _pieces(top, left, coverage.shape):
            self._lay(island, piece, window, coverage)
        self._walk(island, pose, image.shape)

    def join(self, join: Join) -> None:
        """Draw an island into the older one that it was found to be part of, to a pixel of the map."""
        self._painted = None
        ended = self._islands.pop(join.island, None)
        if ended is None:
            return
        kept = self._islands.setdefault(join.into, _Island())
        down, right = round(join.row_px * self._scale), round(join.col_px * self._scale)
        for (row, col), tile in ended.tiles.items():
            self._tiles -= 1
            self._covered -= int(tile.coverage.sum(dtype=np.int64))
            for piece in _pieces(row * TILE_PX + down, col * TILE_PX + right, tile.coverage.shape):
                if tile.coverage[piece.in_window].any():
                    self._lay(kept, piece, tile.image, tile.coverage)
        moved = (join.row_px * self._pixel_size_um, join.col_px * self._pixel_size_um)
        kept.path_rc_um += [(row + moved[0], col + moved[1]) for row, col in ended.path_rc_um]
        while len(kept.path_rc_um) > MAX_PATH:
            kept.path_rc_um = kept.path_rc_um[::2]
        if ended.last_rc_um is not None:
            kept.last_rc_um = (ended.last_rc_um[0] + moved[0], ended.last_rc_um[1] + moved[1])

    def path(self, island: int) -> NDArray[np.float64]:
        """(N, 2) um, (row, col): centres of the frames painted on an island, in order, thinned."""
        found = self._islands.get(island)
        return np.array(found.path_rc_um.copy() if found else [], np.float64).reshape(-1, 2)

    def mosaic(self, island: int, max_px: int = 4096) -> Mosaic | None:
        """Put an island's tiles together.

        Parameters
        ----------
        island
            Number of the island.
        max_px
            Bound on the picture's longer side: a larger island is shrunk, by dropping pixels.

        Returns
        -------
        Mosaic or None
            Cut to what was seen; None where the island has nothing painted.
        """
        found = self._islands.get(island)
        tiles = found.tiles.copy() if found else {}
        if not tiles:
            return None
        keys = np.array(list(tiles))
        low, high = keys.min(axis=0), keys.max(axis=0) + 1
        step = int(np.ceil((high - low).max() * TILE_PX / max_px))
        step = 1 << (step - 1).bit_length()  # divides the tile, so that no tile's samples shift
        if step > TILE_PX:
            return None
        return self._assembled(island, tiles, low, high - low, step)

    def _assembled(
        self,
        island: int,
        tiles: dict[tuple[int, int], _Tile],
        low: NDArray[np.int64],
        size: NDArray[np.int64],
        step: int,
    ) -> Mosaic | None:
        side = TILE_PX // step
        image = np.zeros((size[0] * side, size[1] * side, 3), np.uint8)
        coverage = np.zeros(image.shape[:2], np.uint8)
        for (row, col), tile in tiles.items():
            at = np.s_[(row - low[0]) * side :, (col - low[1]) * side :]
            image[at][:side, :side] = tile.image[::step, ::step]
            coverage[at][:side, :side] = tile.coverage[::step, ::step]
        box = _box(coverage)
        if box is None:
            return None
        um = self.um_per_px * step
        origin = (float(low[0] * side + box[0].start) * um, float(low[1] * side + box[1].start) * um)
        return Mosaic(island, image[box], coverage[box], origin, um)

    def _trembles(self, pose: Pose) -> bool:
        before = self._painted
        if before is None or before.island != pose.island:
            return False
        apart_px = max(abs(pose.row_px - before.row_px), abs(pose.col_px - before.col_px))
        return apart_px * self._scale < TREMBLE_PX

    def _lay(self, island: _Island, piece: _MapPiece, window: Image, coverage: NDArray[np.uint8]) -> None:
        tile = self._tile(island, piece.key)
        if tile is not None:
            self._covered += _paint(tile, piece, window, coverage)

    def _tile(self, island: _Island, key: tuple[int, int]) -> _Tile | None:
        tile = island.tiles.get(key)
        if tile is None and not self.full:
            tile = _Tile(np.zeros((TILE_PX, TILE_PX, 3), np.uint8), np.zeros((TILE_PX, TILE_PX), np.uint8))
            island.tiles[key] = tile
            self._tiles += 1
        return tile

    def _walk(self, island: _Island, pose: Pose, shape: tuple[int, ...]) -> None:
        """Append to the path, and account for the ground that came into view since its last point."""
        height, width = shape[0] * self._pixel_size_um, shape[1] * self._pixel_size_um
        row = pose.row_px * self._pixel_size_um + height / 2
        col = pose.col_px * self._pixel_size_um + width / 2
        if island.last_rc_um is None:
            self._entered_um2 += height * width
        else:
            down, right = abs(row - island.last_rc_um[0]), abs(col - island.last_rc_um[1])
            if np.hypot(down, right) < PATH_STEP_UM:
                return
            self._entered_um2 += height * width - max(height - down, 0) * max(width - right, 0)
        island.last_rc_um = (row, col)
        if len(island.path_rc_um) >= MAX_PATH:
            island.path_rc_um = island.path_rc_um[::2]
        island.path_rc_um.append((row, col))


def _shares(start: float, length: float) -> tuple[int, NDArray[np.float64]]:
    """First pixel that a stretch touches, and for each from there the share of it that it covers, 0..1."""
    first = int(np.floor(start + 1e-6))
    edges = np.arange(first, max(int(np.ceil(start + length - 1e-6)), first + 1))
    shares = np.minimum(edges + 1, start + length) - np.maximum(edges, start)
    return first, np.clip(shares, 0.0, 1.0)


def _shrunk(image: Image, shape: tuple[int, int]) -> Image:
    rows, cols = shape[0] * SAMPLES_PER_PX, shape[1] * SAMPLES_PER_PX
    if rows < image.shape[0] and cols < image.shape[1]:
        image = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _pieces(top: int, left: int, shape: tuple[int, ...]) -> Iterator[_MapPiece]:
    for tile_row, in_rows, tile_rows in _cuts(top, shape[0]):
        for tile_col, in_cols, tile_cols in _cuts(left, shape[1]):
            yield _MapPiece((tile_row, tile_col), (in_rows, in_cols), (tile_rows, tile_cols))


def _cuts(start: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Tile index, slice of the stretch and slice of the tile, for each tile that a stretch touches."""
    for tile in range(start // TILE_PX, (start + length - 1) // TILE_PX + 1):
        begin, end = max(tile * TILE_PX, start), min((tile + 1) * TILE_PX, start + length)
        yield tile, slice(begin - start, end - start), slice(begin - tile * TILE_PX, end - tile * TILE_PX)


def _paint(tile: _Tile, piece: _MapPiece, window: Image, coverage: NDArray[np.uint8]) -> int:
    """Paint one tile's part; say by how much its coverage grew."""
    seen = tile.coverage[piece.in_tile]
    share = coverage[piece.in_window]
    # A pixel that an earlier frame covered more of keeps its colour: no seams at the borders.
    better = share >= seen
    np.copyto(tile.image[piece.in_tile], window[piece.in_window], where=better[..., None])
    grown = np.maximum(seen, share)
    growth = int(grown.sum(dtype=np.int64) - seen.sum(dtype=np.int64))
    seen[...] = grown
    return growth


def _box(coverage: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    rows, cols = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
