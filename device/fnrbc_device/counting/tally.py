"""The running tally: counts as the sum of events, frames as the sum of steps."""

from collections import Counter as Counts
from dataclasses import replace

from fnrbc_device.counting.recount import ENTERING, Column, column, tally_of
from fnrbc_device.records import CountEvent, Rejection, Tally


class TallyKeeper:
    """Keeps the tally of one session up to date."""

    def __init__(self) -> None:
        self._standing: dict[int, Column] = {}
        self._cells: Counts[Column] = Counts()
        self._counted: Tally | None = None
        """What follows from the counts alone; None where they have changed since it was stated."""
        self._rejected: Counts[str] = Counts()
        self._frames = 0
        self.dropped = 0
        """Frames that the live view passed over for newer ones."""

    def add_frame(self, reason: Rejection | None) -> None:
        """Add a frame: used where there is no reason against it."""
        self._frames += 1
        if reason is not None:
            self._rejected[reason] += 1

    def add_event(self, event: CountEvent) -> None:
        """Add a step of the count: *counted* and *confirmed* enter a cell, the others take it out."""
        self._counted = None
        before = self._standing.pop(event.cell, None)
        if before is not None:
            self._cells[before] -= 1
        if event.event in ENTERING:
            now = self._standing[event.cell] = column(event.verdict)
            self._cells[now] += 1

    def tally(self, islands: int, area_mm2: float, cells_open: int, revisit_share: float = 0.0) -> Tally:
        """State the tally."""
        rejected = dict(sorted(self._rejected.items()))
        if self._counted is None:
            self._counted = tally_of(self._cells)
        return replace(
            self._counted,
            frames=self._frames,
            frames_used=self._frames - sum(rejected.values()),
            frames_rejected=rejected,
            frames_dropped=self.dropped,
            islands=islands,
            unique_area_mm2=area_mm2,
            revisit_share=revisit_share,
            cells_open=cells_open,
        )
