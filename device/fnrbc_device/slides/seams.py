"""Cells at the seams of tiles, each once.

A tile looks beyond its own ground, so both sides of a seam show a cell there whole. It belongs to the tile that its
centre lies in. Where two tiles place the centre on different sides, by a pixel or because one saw two nuclei where the
other saw one, places tell: whoever comes first, in the order of the tiles, keeps the cell.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fnrbc_device.counting.ledger import FRAGMENT_SHARE, SAME_CELL_UM
from fnrbc_device.slides.looking import WITNESS_UM, FoundCell, TileCount

BUCKET_UM: Final = 15.0
"""Side of the squares that cells near seams are kept by."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A counted cell near a seam."""

    tile: int
    cell: FoundCell


class Seams:
    """Decides for the tiles of one slide, in their order, which cells are new.

    Parameters
    ----------
    pixel_um
        Size of the slide's pixels.
    """

    def __init__(self, pixel_um: float) -> None:
        self._same_px = SAME_CELL_UM / pixel_um
        self._reach_px = WITNESS_UM / pixel_um
        self._um = pixel_um
        self._bucket_px = BUCKET_UM / pixel_um
        self._kept: dict[tuple[int, int], list[_Kept]] = {}
        self._saw: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
        """Where tiles saw cells near their seams: (tile, row, col)."""
        self._waiting: list[tuple[TileCount, FoundCell]] = []

    def new_in(self, count: TileCount) -> list[FoundCell]:
        """Cells of the next tile that none before it counted. Those beyond its ground wait for their own tile."""
        for row, col in count.witnessed_rc.tolist():
            if self._at_seam(count, row, col):
                self._saw.setdefault(self._square(row, col), []).append((count.tile.number, row, col))
        self._waiting += [(count, cell) for cell in count.cells if not cell.owned]
        return [cell for cell in count.cells if cell.owned and self._enter(count, cell)]

    def left_over(self) -> list[tuple[TileCount, FoundCell]]:
        """Cells that a tile saw just beyond its ground, and that no other counted, after the last tile."""
        return [(count, cell) for count, cell in self._waiting if self._enter(count, cell)]

    def _enter(self, count: TileCount, cell: FoundCell) -> bool:
        """Keep a cell unless it is known from another tile."""
        number = count.tile.number
        if not self._at_seam(count, cell.row_px, cell.col_px):
            return True
        if any(kept.tile != number and self._is_one(kept, number, cell) for kept in self._near(cell)):
            return False
        self._kept.setdefault(self._square(cell.row_px, cell.col_px), []).append(_Kept(number, cell))
        return True

    def _is_one(self, kept: _Kept, number: int, cell: FoundCell) -> bool:
        """Whether a cell is one that is kept, or a part of it that its tile did not see as a cell of its own."""
        apart = np.hypot(kept.cell.row_px - cell.row_px, kept.cell.col_px - cell.col_px)
        if apart <= self._same_px:
            return True
        around = max(kept.cell.diameter_um, cell.diameter_um) / self._um
        if apart > FRAGMENT_SHARE * around:
            return False
        return not (
            self._was_seen(kept.tile, cell.row_px, cell.col_px)
            and self._was_seen(number, kept.cell.row_px, kept.cell.col_px)
        )

    def _was_seen(self, tile: int, row: float, col: float) -> bool:
        """Whether a tile saw a cell at a place."""
        return any(
            seen == tile and np.hypot(at_row - row, at_col - col) <= self._same_px
            for square in self._round(row, col)
            for seen, at_row, at_col in self._saw.get(square, ())
        )

    def _near(self, cell: FoundCell) -> Iterable[_Kept]:
        return (kept for square in self._round(cell.row_px, cell.col_px) for kept in self._kept.get(square, ()))

    def _at_seam(self, count: TileCount, row: float, col: float) -> bool:
        own = count.tile.own.grown(-round(self._reach_px))
        return not (own.height > 0 and own.width > 0 and own.holds(row, col))

    def _square(self, row: float, col: float) -> tuple[int, int]:
        return int(row // self._bucket_px), int(col // self._bucket_px)

    def _round(self, row: float, col: float) -> list[tuple[int, int]]:
        down, right = self._square(row, col)
        return [(down + a, right + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
