"""The running tally: counts as the sum of events, frames as the sum of steps."""

from collections import Counter as Counts

from fnrbc_device.counting.recount import ENTERING, Column, column
from fnrbc_device.intervals import per_hundred
from fnrbc_device.records import CountEvent, Rejection, Tally


class TallyKeeper:
    """Keeps the tally of one session up to date."""

    def __init__(self) -> None:
        self._standing: dict[int, Column] = {}
        self._cells: Counts[Column] = Counts()
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
        before = self._standing.pop(event.cell, None)
        if before is not None:
            self._cells[before] -= 1
        if event.event in ENTERING:
            now = self._standing[event.cell] = column(event.verdict)
            self._cells[now] += 1

    def tally(self, islands: int, area_mm2: float, cells_open: int) -> Tally:
        """State the tally."""
        fnrbc, leukocytes = self._cells["fnrbc"], self._cells["leukocytes"]
        rejected = dict(sorted(self._rejected.items()))
        return Tally(
            cells=self._cells.total(),
            fnrbc=fnrbc,
            leukocytes=leukocytes,
            other=self._cells["other"],
            indeterminate=self._cells["indeterminate"],
            fnrbc_per_100_leukocytes=per_hundred(fnrbc, leukocytes) if leukocytes > 0 else None,
            frames=self._frames,
            frames_used=self._frames - sum(rejected.values()),
            frames_rejected=rejected,
            frames_dropped=self.dropped,
            islands=islands,
            unique_area_mm2=area_mm2,
            cells_open=cells_open,
        )
