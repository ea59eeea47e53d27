"""Decides when a cell is counted, and as what. Every step is an event; the tally is their sum.

A cell is counted once its evidence is in: three whole, sharp views from more than one place of the field, or all
the views there were when it left the field. So it is counted once, with one verdict, and P-net sees it at most
three times.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.ledger import BEST_VIEWS, Cell, Ledger
from fnrbc_device.counting.merging import Merged
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.manifest import UNDECIDED, Manifest
from fnrbc_device.records import INDETERMINATE, CountEvent, Pose, Role, Verdict

SPAN_UM: Final = 2.0
"""A cell wanders at least this far through the field before it is counted: dust does not."""

CELLS_A_FRAME: Final = 8
"""Cells settled a frame, so that a field full of new cells does not stall the live view; the rest wait a frame."""

GIVE_UP: Final = 3
"""A cell not yet counted is dropped when it was missed this many times more than seen."""

RETRACT_MISSES: Final = 5
"""A counted cell is retracted when it was missed this often, and more often than seen."""


class Counter:
    """Turns the ledger's cells into counted cells.

    Parameters
    ----------
    ledger
        Whose cells are settled; cells that turn out to be none are taken out of it.
    classifier
        Its classes are the manifest's.
    manifest
        Classes, roles and the band in which the network does not decide.
    pixel_size_um
        Size of the frames' pixels, um.
    """

    def __init__(self, ledger: Ledger, classifier: Classifier, manifest: Manifest, pixel_size_um: float) -> None:
        self._ledger = ledger
        self._classifier = classifier
        self._manifest = manifest
        self._um = pixel_size_um
        self._open: dict[int, Cell] = {}

    @property
    def open(self) -> int:
        """Cells seen and neither counted nor dropped yet."""
        return len(self._open)

    def follow(self, seen: Iterable[Cell], missed: Iterable[Cell], pose: Pose) -> list[CountEvent]:
        """Settle what is due after a frame.

        Parameters
        ----------
        seen, missed
            Cells that the frame showed, and cells whose place it showed without them.
        pose
            Where the frame lies; cells outside it have left the field.
        """
        for cell in seen:
            if cell.settled is None:
                self._open.setdefault(cell.number, cell)
        retracted = [self._retract(cell) for cell in missed if _is_gone(cell)]
        due: list[Cell] = []
        for cell in list(self._open.values()):
            gone = not self._ledger.shows(cell, pose)
            if self._is_no_cell(cell, gone):
                self._drop(cell)
            elif (gone or self._has_evidence(cell)) and len(due) < CELLS_A_FRAME:
                due.append(cell)
        return retracted + self._settle(due, "evidence complete")

    def merge(self, merged: Iterable[Merged]) -> list[CountEvent]:
        """Take back what was counted on two islands that turned out to be one.

        Parameters
        ----------
        merged
            Pairs that became one cell; the one that is gone is in the ledger no more.
        """
        retracted = []
        for pair in merged:
            self._open.pop(pair.gone.number, None)
            if pair.gone.settled is not None:
                reason = f"is cell {pair.kept.number}: islands {pair.gone.island} and {pair.kept.island} are one"
                retracted.append(self._taken_back(pair.gone, reason))
        return retracted

    def finish(self) -> list[CountEvent]:
        """Settle every open cell with the views there are, at a session's end."""
        for cell in list(self._open.values()):
            if cell.misses >= cell.views:
                self._drop(cell)
        return self._settle(list(self._open.values()), "session ended")

    def _has_evidence(self, cell: Cell) -> bool:
        return len(cell.best) >= BEST_VIEWS and cell.views > cell.misses and cell.span_px * self._um >= SPAN_UM

    def _is_no_cell(self, cell: Cell, gone: bool) -> bool:
        if cell.misses >= cell.views + GIVE_UP:
            return True
        stood_still = cell.views > 1 and cell.misses > 0 and cell.span_px * self._um < SPAN_UM
        return gone and (cell.misses >= cell.views or stood_still)

    def _drop(self, cell: Cell) -> None:
        del self._open[cell.number]
        self._ledger.forget(cell)

    def _settle(self, cells: list[Cell], reason: str) -> list[CountEvent]:
        if not cells:
            return []
        crops = np.stack([view.crop for cell in cells for view in cell.best])
        probabilities = self._classifier.probabilities(crops)
        events = []
        start = 0
        for cell in cells:
            views = probabilities[start : start + len(cell.best)]
            start += len(cell.best)
            verdict, disagreed = fuse(views, self._manifest)
            del self._open[cell.number]
            cell.settled = _event(cell, verdict, self._um, "views disagree" if disagreed else reason)
            _keep_for_review(cell, verdict)
            events.append(cell.settled)
        return events

    def _retract(self, cell: Cell) -> CountEvent:
        self._ledger.forget(cell)
        return self._taken_back(cell, f"seen in {cell.views} frames, missed in {cell.misses} that showed its place")

    def _taken_back(self, cell: Cell, reason: str) -> CountEvent:
        assert cell.settled is not None
        return _event(cell, cell.settled.verdict, self._um, reason, retracted=True)


def fuse(views: NDArray[np.float32], manifest: Manifest) -> tuple[Verdict, bool]:
    """Fuse the probabilities of a cell's views into one verdict.

    Log-probabilities are averaged: views of one cell are not independent, so their evidence must not be summed.

    Parameters
    ----------
    views
        (V, classes), V >= 1, calibrated.
    manifest
        Classes, roles and the band in which the network does not decide.

    Returns
    -------
    tuple
        The verdict, and whether single views decide for and against the target.
    """
    logs = np.log(np.clip(views.astype(np.float64), 1e-7, 1.0)).mean(axis=0)
    fused = np.exp(logs - logs.max())
    fused /= fused.sum()
    target = manifest.target
    single = manifest.decide(views)
    disagreed = bool((single == target).any() and ((single != target) & (single != UNDECIDED)).any())
    column = UNDECIDED if disagreed else int(manifest.decide(fused[None])[0])
    share = float(fused[target])
    if column == UNDECIDED:
        return Verdict(INDETERMINATE, "ignored", share, share), disagreed
    entry = manifest.classes[column]
    return Verdict(entry.name, entry.role, float(fused[column]), share), disagreed


def _is_gone(cell: Cell) -> bool:
    return cell.settled is not None and cell.misses >= RETRACT_MISSES and cell.misses > cell.views


def _keep_for_review(cell: Cell, verdict: Verdict) -> None:
    """Only candidates are reviewed; of all others the pictures are let go, for a slide holds very many."""
    role: Role = verdict.role
    keep = 1 if role == "target" or verdict.class_name == INDETERMINATE else 0
    del cell.best[keep:]


def _event(cell: Cell, verdict: Verdict, um: float, reason: str, retracted: bool = False) -> CountEvent:
    before = cell.settled
    return CountEvent(
        event="retracted" if retracted else "counted",
        cell=cell.number,
        verdict=verdict,
        island=cell.island,
        row_px=cell.row_px,
        col_px=cell.col_px,
        x_um=cell.col_px * um,
        y_um=cell.row_px * um,
        diameter_um=cell.diameter_um,
        nucleus_ratio=cell.nucleus_ratio,
        views=cell.views,
        best_frame=cell.best[0].frame if cell.best else (before.best_frame if before else -1),
        reason=reason,
    )
