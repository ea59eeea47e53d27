"""Brings a ledger to where the record says that the count stood, after a session was cut off."""

from collections.abc import Iterable

from fnrbc_device.counting.cell import Cell
from fnrbc_device.counting.counter import Counter
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.counting.recount import ENTERING
from fnrbc_device.records import CountEvent

NUCLEUS_SHARE = 0.5
"""Reach of a nucleus over its cell's diameter, where only the cell was recorded: half, so that it is not missed
where the border may cut it."""


class Recall:
    """Enters recorded events into a ledger and its counter.

    Parameters
    ----------
    ledger, counter
        Of one session, at or before the first of the events.
    pixel_size_um
        Size of the frames' pixels, um.
    """

    def __init__(self, ledger: Ledger, counter: Counter, pixel_size_um: float) -> None:
        self._ledger = ledger
        self._counter = counter
        self._um = pixel_size_um
        self._cells = {cell.number: cell for cell in ledger.cells()}

    def counted(self, events: Iterable[CountEvent]) -> None:
        """Enter the cells that were counted; those in the ledger already are settled with the recorded event."""
        for event in events:
            if event.event in ENTERING:
                cell = self._cells.get(event.cell) or self._made(event)
                self._counter.settled_before(cell, event)

    def taken_back(self, events: Iterable[CountEvent]) -> None:
        """Take out the cells that were retracted or rejected, unless a join has done so already."""
        for event in events:
            cell = self._cells.get(event.cell)
            if event.event not in ENTERING and cell is not None and self._ledger.knows(cell):
                self._ledger.forget(cell)

    def _made(self, event: CountEvent) -> Cell:
        cell = Cell(
            number=event.cell,
            island=event.island,
            row_px=event.row_px,
            col_px=event.col_px,
            diameter_um=event.diameter_um,
            nucleus_ratio=event.nucleus_ratio,
            reach_px=NUCLEUS_SHARE * event.diameter_um / self._um,
            first_rc=(0.0, 0.0),
            views=event.views,
            measured=1,
            last_index=event.best_frame,
        )
        self._ledger.recall(cell)
        self._cells[cell.number] = cell
        return cell
