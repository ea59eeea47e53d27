"""Pictures of cells that the report of a count shows: candidates and near misses, however long the count is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fnrbc_device.counting.ledger import Cell, View
from fnrbc_device.records import CountEvent
from fnrbc_device.reporting.report import GalleryItem

LIMIT: Final = 400
"""Cells shown in a report; a page of more than 400 is read by no one, cells.csv holds all."""

Rank = tuple[bool, float]
"""Near misses after candidates, and then the distance to the threshold."""


class Gallery:
    """Holds the views of the cells that a report shows first: 130 kB a cell, of twice ``LIMIT`` at most.

    Parameters
    ----------
    threshold
        Probability of the target class from which on a cell rather is one. 0..1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._shown: dict[int, tuple[Rank, Sequence[View]]] = {}
        """With the views, best first, by the number of the cell."""

    def see(self, events: Iterable[CountEvent], pictures: Mapping[int, Sequence[View]]) -> None:
        """Take in what a frame counted, with the views that were kept."""
        for event in events:
            asked = event.verdict.is_candidate
            if event.cell in pictures and (asked or event.verdict.is_near_miss(self._threshold)):
                apart = abs(event.verdict.target_probability - self._threshold)
                self._shown[event.cell] = ((not asked, apart), pictures[event.cell])
        if len(self._shown) > 2 * LIMIT:
            self._shown = dict(sorted(self._shown.items(), key=lambda one: (one[1][0], one[0]))[:LIMIT])

    def items(self, cells: Iterable[Cell], pixel_size_um: float) -> list[GalleryItem]:
        """List what a report shows of the cells that stand in the count, what comes first first."""
        found = [(cell, cell.settled, self._shown[cell.number]) for cell in cells if cell.number in self._shown]
        found.sort(key=lambda one: (one[2][0], one[0].number))
        return [_item(cell, event, views, pixel_size_um) for cell, event, (_, views) in found[:LIMIT] if event]


def _item(cell: Cell, event: CountEvent, views: Sequence[View], um: float) -> GalleryItem:
    return GalleryItem(
        cell=cell.number,
        island=cell.island,
        class_name=event.verdict.class_name,
        probability=event.verdict.target_probability,
        crops=[view.crop for view in views],
        x_um=cell.col_px * um,
        y_um=cell.row_px * um,
        views=cell.views,
        diameter_um=event.diameter_um,
    )
