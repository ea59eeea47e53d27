"""The cells of two islands that turned out to be one: do they agree, and which of them are the same."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fnrbc_device.counting.cell import BEST_VIEWS, Cell
from fnrbc_device.counting.ledger import FRAGMENT_SHARE, SAME_CELL_UM, Ledger
from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.relocation import Proposal

FEWEST: Final = 3
"""Cells that both islands must have on the ground they share for their places to say anything."""

LANDMARKS_SHARE: Final = 0.5
"""Share of the fewer cells that must lie on one of the other island: of right joins 0.8 and more do, of islands laid
on each other at random 0.15; at the border of the shared ground, and where views were few, some have no counterpart."""

LARGEST_UM: Final = 30.0
"""Of a cell: half of it is as far as one lies from what may be a part of it."""

MARGIN_UM: Final = 6.0
"""Cells nearer to the border of the shared ground are not asked: one of the frames may not show them whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Two cells that were found to be one."""

    kept: Cell
    """Has the views of both."""
    gone: Cell
    """As it was on its island."""


def agrees(ledger: Ledger, proposal: Proposal, pixel_size_um: float) -> bool:
    """Whether the cells on ground that two islands share lie in the same places, as far as there are any."""
    join = proposal.join
    top, left, bottom, right = proposal.shared_px
    margin = MARGIN_UM / pixel_size_um
    box = (top + margin, left + margin, bottom - margin, right - margin)
    kept = [cell for cell in ledger.within(join.into, box) if _inside(cell.row_px, cell.col_px, box)]
    ended = [cell for cell in _ended_within(ledger, join, box) if _inside(*_moved(cell, join), box)]
    fewer = min(len(kept), len(ended))
    if fewer < FEWEST:
        return True
    places = np.array([(cell.row_px, cell.col_px) for cell in kept])
    apart = [float(np.hypot(*(places - _moved(cell, join)).T).min()) for cell in ended]
    same = sum(distance <= SAME_CELL_UM / pixel_size_um for distance in apart)
    return same >= LANDMARKS_SHARE * fewer


def merge(ledger: Ledger, join: Join, pixel_size_um: float) -> list[Merged]:
    """Move an island's cells into the older island; two that fall on one place, or one into the other, become one cell.

    Of two the counted one stays, of two counted the older one.

    Returns
    -------
    list
        The pairs that became one, nearest first.
    """
    ended = ledger.of_island(join.island)
    partners = _partners(ledger, ended, join, pixel_size_um)
    for cell in ended:
        if cell.number not in partners:
            ledger.lay(cell, Pose(join.into, *_moved(cell, join)))
    by_number = {cell.number: cell for cell in ended}
    return [_as_one(ledger, by_number[number], other, join) for number, other in partners.items()]


def _partners(ledger: Ledger, ended: list[Cell], join: Join, pixel_size_um: float) -> dict[int, Cell]:
    """The older island's cell for each ended one that has one; the nearest pairs first, each cell once.

    As on one island, a nucleus that one knows whole and the other by a lobe is one cell. Of two neighbours that one
    island knows, the other's cell is the nearer, and the farther stays.
    """
    pairs = []
    radius_px = max(SAME_CELL_UM, FRAGMENT_SHARE * LARGEST_UM) / pixel_size_um
    for cell in ended:
        row, col = _moved(cell, join)
        near = ledger.within(join.into, (row - radius_px, col - radius_px, row + radius_px, col + radius_px))
        apart = [(float(np.hypot(other.row_px - row, other.col_px - col)), other) for other in near]
        pairs += [
            (distance, cell.number, other.number, other)
            for distance, other in apart
            if distance * pixel_size_um <= max(SAME_CELL_UM, FRAGMENT_SHARE * max(cell.diameter_um, other.diameter_um))
        ]
    found: dict[int, Cell] = {}
    taken: set[int] = set()
    for _, number, other_number, other in sorted(pairs, key=lambda pair: pair[:3]):
        if number not in found and other_number not in taken:
            found[number] = other
            taken.add(other_number)
    return found


def _as_one(ledger: Ledger, ended: Cell, older: Cell, join: Join) -> Merged:
    row, col = _moved(ended, join)
    share = ended.views / max(ended.views + older.views, 1)
    place = Pose(join.into, older.row_px + share * (row - older.row_px), older.col_px + share * (col - older.col_px))
    counted_later = older.settled is None and ended.settled is not None
    kept, gone = (ended, older) if counted_later else (older, ended)
    ledger.forget(gone)
    ledger.lay(kept, place)
    _take_over(kept, gone)
    return Merged(kept, gone)


def _take_over(kept: Cell, gone: Cell) -> None:
    """Add what the other was seen as."""
    measured = kept.measured + gone.measured
    if measured:
        share = gone.measured / measured
        kept.diameter_um += share * (gone.diameter_um - kept.diameter_um)
        kept.nucleus_ratio += share * (gone.nucleus_ratio - kept.nucleus_ratio)
    kept.measured = measured
    kept.views += gone.views
    kept.agreed = 1  # where it lies now no view showed it
    kept.misses += gone.misses
    kept.span_px = max(kept.span_px, gone.span_px)
    kept.last_index = max(kept.last_index, gone.last_index)
    if kept.settled is None:
        kept.best = sorted([*kept.best, *gone.best], key=lambda view: -view.quality)[:BEST_VIEWS]


def _ended_within(ledger: Ledger, join: Join, box: tuple[float, float, float, float]) -> list[Cell]:
    """Cells of the ended island near a box that is said on the older one."""
    top, left, bottom, right = box
    back = (top - join.row_px, left - join.col_px, bottom - join.row_px, right - join.col_px)
    return ledger.within(join.island, back)


def _moved(cell: Cell, join: Join) -> tuple[float, float]:
    return cell.row_px + join.row_px, cell.col_px + join.col_px


def _inside(row_px: float, col_px: float, box: tuple[float, float, float, float]) -> bool:
    return box[0] <= row_px <= box[2] and box[1] <= col_px <= box[3]
