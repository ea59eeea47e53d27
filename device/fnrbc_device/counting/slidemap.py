"""The map of the slide seen so far: one mosaic an island, and the area that whole frames have covered."""

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.map_pixels import TILE_PX, MapPiece, pieces, shares, shrunk, shrunk_at
from fnrbc_device.records import Image, Join, Pose

MAX_TILES: Final = 4096
"""Bound on memory: 4,096 tiles of 64 KiB are 256 MiB, room for 268 mm2 at 2 um/px."""

TREMBLE_PX: Final = 0.25
"""A frame that lies less than this from the last one painted, map pixels, shows what that one showed."""

REDRAWN_SHARE: Final = 0.1
"""Of the frame's shorter side: so far from the last frame drawn whole the next one is. Of those between only new ground
is drawn, of which a hand's frame shows 7 %: the rest was drawn a moment ago."""

PATH_STEP_UM: Final = 5.0
"""A resting hand trembles by 1-2 um; only a step longer than this is part of the path."""

MAX_PATH: Final = 4096
"""Bound on a path: when it is reached, every second point is dropped."""


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
        self._drawn: Pose | None = None
        """The same of the last frame drawn whole."""

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
        if self._lies_near(self._painted, pose, TREMBLE_PX):
            return
        self._painted = pose
        island = self._islands.setdefault(pose.island, _Island())
        top, left, coverage = self._covered_at(pose, image.shape)
        if self._lies_near(self._drawn, pose, REDRAWN_SHARE * min(image.shape[:2]) * self._scale):
            for piece in pieces(top, left, coverage.shape):
                self._lay_new(island, piece, image, coverage)
        else:
            self._drawn = pose
            window = shrunk(image, coverage.shape)
            for piece in pieces(top, left, coverage.shape):
                self._lay(island, piece, window, coverage)
        self._walk(island, pose, image.shape)

    def cover(self, pose: Pose, shape: tuple[int, int]) -> None:
        """Note that a used frame of (H, W) px lay at a pose, of which there is no picture: its ground is black."""
        island = self._islands.setdefault(pose.island, _Island())
        top, left, coverage = self._covered_at(pose, shape)
        black = np.zeros((*coverage.shape, 3), np.uint8)
        for piece in pieces(top, left, coverage.shape):
            self._lay(island, piece, black, coverage)
        self._walk(island, pose, shape)

    def join(self, join: Join) -> None:
        """Draw an island into the older one that it was found to be part of, to a pixel of the map."""
        self._painted = self._drawn = None
        ended = self._islands.pop(join.island, None)
        if ended is None:
            return
        kept = self._islands.setdefault(join.into, _Island())
        down, right = round(join.row_px * self._scale), round(join.col_px * self._scale)
        for (row, col), tile in ended.tiles.items():
            self._tiles -= 1
            self._covered -= int(tile.coverage.sum(dtype=np.int64))
            for piece in pieces(row * TILE_PX + down, col * TILE_PX + right, tile.coverage.shape):
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

    def _lies_near(self, before: Pose | None, pose: Pose, within_px: float) -> bool:
        """Whether two frames lie less than so many pixels of the map apart."""
        if before is None or before.island != pose.island:
            return False
        apart_px = max(abs(pose.row_px - before.row_px), abs(pose.col_px - before.col_px))
        return apart_px * self._scale < within_px

    def _covered_at(self, pose: Pose, shape: tuple[int, ...]) -> tuple[int, int, NDArray[np.uint8]]:
        """First row and column of the map that a frame touches, and (h, w) by how much it covers each pixel there."""
        top, rows = shares(pose.row_px * self._scale, shape[0] * self._scale)
        left, cols = shares(pose.col_px * self._scale, shape[1] * self._scale)
        return top, left, cv2.convertScaleAbs(np.outer(rows, cols), alpha=255.0).astype(np.uint8, copy=False)

    def _lay(self, island: _Island, piece: MapPiece, window: Image, coverage: NDArray[np.uint8]) -> None:
        tile = self._tile(island, piece.key)
        if tile is not None:
            self._covered += _paint(tile, piece, window, coverage)

    def _lay_new(self, island: _Island, piece: MapPiece, image: Image, coverage: NDArray[np.uint8]) -> None:
        tile = self._tile(island, piece.key)
        if tile is not None:
            self._covered += _paint_new(tile, piece, image, coverage)

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


def _paint(tile: _Tile, piece: MapPiece, window: Image, coverage: NDArray[np.uint8]) -> int:
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


def _paint_new(tile: _Tile, piece: MapPiece, image: Image, coverage: NDArray[np.uint8]) -> int:
    """Paint of one tile's part what no frame covered as much of; say by how much its coverage grew."""
    seen, share = tile.coverage[piece.in_tile], coverage[piece.in_window]
    rows, cols = np.nonzero(share > seen)
    if not len(rows):
        return 0
    before, now = seen[rows, cols], share[rows, cols]
    down, right = piece.in_window[0].start, piece.in_window[1].start
    tile.image[piece.in_tile][rows, cols] = shrunk_at(image, coverage.shape, rows + down, cols + right)
    seen[rows, cols] = now
    return int(now.sum(dtype=np.int64) - before.sum(dtype=np.int64))


def _box(coverage: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    rows, cols = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
