"""Decides when a cell is counted, and as what. Every step is an event; the tally is their sum.

A cell is counted once its evidence is in: three whole, sharp views from more than one place of the field, or all
the views there were when it left the field. So it is counted once, with one verdict. P-net sees its two best views,
and the third only where these do not decide alike.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.ledger import BEST_VIEWS, Cell, Ledger, View
from fnrbc_device.counting.merging import Merged
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.model.manifest import UNDECIDED, Manifest
from fnrbc_device.records import INDETERMINATE, CountEvent, Pose, Verdict
from fnrbc_device.vision.flatfield import FlatField

SPAN_UM: Final = 2.0
"""A cell wanders at least this far through the field before it is counted: dust does not."""

PROOF_FIELDS: Final = 12
"""What left the field before it had moved through it may be dust on the sensor: it is settled this many moved fields
later, when the light there has been learned. On 9 composed dirty slides 11 specks were counted without it, none with
it; the light at their places lay 20 to 29 % below its surroundings, at true cells' places at most 5 %."""

FIRST_VIEWS: Final = 2
"""Views that P-net is asked about first; the others only where these do not decide alike, once in eighty cells. On
composed slides of cells held out from the training two views decide as well as three; see decision 8."""

CELLS_A_FRAME: Final = 1
"""Cells settled a frame, so that a field full of new cells does not stall the live view; the rest wait. P-net looks at
each crop of what may be an fNRBC nine times, 17 ms a cell, as long as a look takes: of a simulated hand's pan 99 frames
in 100 took 50 ms at most with two a frame, and 25 with one, in frames that were not looked at."""

LOOKS_IN_A_ROW: Final = 2
"""So many frames that are looked at may follow each other before a cell is settled beside a look."""

OPEN_SHARE: Final = 10
"""Of the open cells one in so many is settled a frame, where that is more: a crowd must not gather in memory."""

GIVE_UP: Final = 3
"""A cell not yet counted is dropped when it was missed this many times more than seen."""

KEPT_FIRST: Final = 500
KEPT_EVERY: Final = 8
KEPT_UP_TO: Final = 8500
"""Cells whose best view is kept though they are no candidates: the first 500, then every eighth up to the 8,500th. A
network is taught by what it is not to count as well. A picture takes 7 kB of the record: 11 MB at most."""

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
    light
        Shows where dust lies on the sensor, once it is learned.
    """

    def __init__(
        self, ledger: Ledger, classifier: Classifier, manifest: Manifest, pixel_size_um: float, light: FlatField
    ) -> None:
        self._ledger = ledger
        self._classifier = classifier
        self._manifest = manifest
        self._um = pixel_size_um
        self._light = light
        self._open: dict[int, Cell] = {}
        self._in_a_row = 0
        """Frames in a row that were looked at, up to the last."""
        self._suspected: dict[int, int] = {}
        """By cell: fields after which it is settled, unless the light shows dust at its place by then."""
        self.pictures: dict[int, list[View]] = {}
        """Views that are worth keeping of the cells that were settled last, by the number of the cell, best first. The
        next frame's take their place: a slide holds too many cells for their pictures to stay in memory."""

    @property
    def open(self) -> int:
        """Cells seen and neither counted nor dropped yet."""
        return len(self._open)

    def open_places(self, pose: Pose) -> NDArray[np.float64]:
        """(N, 2) px: where a frame at a pose shows cells of which more views are wanted."""
        shown = (
            cell for cell in self._open.values() if self._ledger.shows(cell, pose) and not self._has_evidence(cell)
        )
        return np.array([(cell.row_px - pose.row_px, cell.col_px - pose.col_px) for cell in shown]).reshape(-1, 2)

    def follow(
        self, seen: Iterable[Cell], missed: Iterable[Cell], pose: Pose, *, looked: bool = True
    ) -> list[CountEvent]:
        """Settle what is due after a frame.

        Parameters
        ----------
        seen, missed
            Cells that the frame showed, and cells whose place it showed without them.
        pose
            Where the frame lies; cells outside it have left the field.
        looked
            The frame was looked at, which costs as much as to settle a cell: where the next one may not be, cells wait.
        """
        self.pictures = {}
        self._in_a_row = self._in_a_row + 1 if looked else 0
        for cell in seen:
            if cell.settled is None:
                self._open.setdefault(cell.number, cell)
        retracted = [self._retract(cell) for cell in missed if _is_gone(cell)]
        complete: list[Cell] = []
        left: list[Cell] = []
        beside = CELLS_A_FRAME if self._in_a_row == 0 or self._in_a_row > LOOKS_IN_A_ROW else 0
        most = max(beside, len(self._open) // OPEN_SHARE)
        for cell in list(self._open.values()):
            gone = not self._ledger.shows(cell, pose)
            if self._is_no_cell(cell, gone):
                self._drop(cell)
            elif len(complete) + len(left) >= most:
                continue
            elif self._has_evidence(cell):
                complete.append(cell)
            elif gone and (self._moved(cell) or self._is_past_doubt(cell)):
                left.append(cell)
        return retracted + self._acknowledge(complete, "evidence complete") + self._acknowledge(left, "left the field")

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

    def settled_before(self, cell: Cell, event: CountEvent) -> None:
        """Note that a cell was counted already, in the same session's earlier start."""
        cell.settled, cell.best = event, []
        self.let_go(cell)

    def let_go(self, cell: Cell) -> None:
        """Follow a cell no longer, if it was followed."""
        self._open.pop(cell.number, None)
        self._suspected.pop(cell.number, None)

    def finish(self) -> list[CountEvent]:
        """Settle every open cell with the views there are, at a session's end."""
        self.pictures = {}
        for cell in list(self._open.values()):
            if cell.misses >= cell.views or self._is_dust(cell):
                self._drop(cell)
        return self._acknowledge(list(self._open.values()), "session ended")

    def _has_evidence(self, cell: Cell) -> bool:
        return len(cell.best) >= BEST_VIEWS and cell.views > cell.misses and self._moved(cell)

    def _moved(self, cell: Cell) -> bool:
        return cell.span_px * self._um >= SPAN_UM

    def _is_dust(self, cell: Cell) -> bool:
        return not self._moved(cell) and self._light.is_dusty(cell.first_rc)

    def _is_past_doubt(self, cell: Cell) -> bool:
        """Whether what left without having moved through the field was given the time to turn out to be dust."""
        due = self._suspected.setdefault(cell.number, self._light.fields + PROOF_FIELDS)
        return self._light.fields >= due

    def _is_no_cell(self, cell: Cell, gone: bool) -> bool:
        if cell.misses >= cell.views + GIVE_UP:
            return True
        stood_still = cell.views > 1 and cell.misses > 0 and not self._moved(cell)
        return gone and (cell.misses >= cell.views or stood_still or self._is_dust(cell))

    def _drop(self, cell: Cell) -> None:
        self._close(cell)
        self._ledger.forget(cell)

    def _close(self, cell: Cell) -> None:
        del self._open[cell.number]
        self._suspected.pop(cell.number, None)

    def _acknowledge(self, cells: list[Cell], reason: str) -> list[CountEvent]:
        events = []
        for cell, views in zip(cells, self._looks(cells), strict=True):
            verdict, disagreed = fuse(views, self._manifest)
            self._close(cell)
            cell.settled = _event(cell, verdict, self._um, "views disagree" if disagreed else reason)
            self._keep_pictures(cell, verdict)
            events.append(cell.settled)
        return events

    def _keep_pictures(self, cell: Cell, verdict: Verdict) -> None:
        """Of what people are shown the views stay that the verdict could rest on, of a sample of others the best."""
        views, cell.best = cell.best, []
        shown = verdict.is_candidate or verdict.is_near_miss(self._manifest.threshold)
        kept = views if shown else views[:1] if _is_sample(cell) else []
        if kept:
            self.pictures[cell.number] = kept

    def _looks(self, cells: list[Cell]) -> list[NDArray[np.float32]]:
        """(V, classes) of each cell: its first views, and all where these do not decide alike."""
        looks = self._classified([cell.best[:FIRST_VIEWS] for cell in cells])
        unsure = [i for i, views in enumerate(looks) if not decide_alike(views, self._manifest)]
        others = self._classified([cells[i].best[FIRST_VIEWS:] for i in unsure])
        for i, more in zip(unsure, others, strict=True):
            looks[i] = np.concatenate([looks[i], more])
        return looks

    def _classified(self, views: list[list[View]]) -> list[NDArray[np.float32]]:
        """Probabilities of several cells' views, in one call of the network."""
        crops = [view.crop for one in views for view in one]
        if not crops:
            return [np.zeros((0, len(self._manifest.classes)), np.float32) for _ in views]
        ends = np.cumsum([len(one) for one in views])[:-1]
        return np.split(self._classifier.probabilities(np.stack(crops)), ends)

    def _retract(self, cell: Cell) -> CountEvent:
        self._ledger.forget(cell)
        return self._taken_back(cell, f"seen in {cell.views} frames, missed in {cell.misses} that showed its place")

    def _taken_back(self, cell: Cell, reason: str) -> CountEvent:
        assert cell.settled is not None
        return _event(cell, cell.settled.verdict, self._um, reason, retracted=True)


def decide_alike(views: NDArray[np.float32], manifest: Manifest) -> bool:
    """Whether each view by itself decides for the same class; (V, classes), V >= 1, calibrated."""
    decided = manifest.decide(views)
    return bool(decided[0] != UNDECIDED and (decided == decided[0]).all())


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


def _is_sample(cell: Cell) -> bool:
    """Whether a picture is kept though nobody is asked: by the cell's number, so that a resumed count keeps it too."""
    return cell.number <= KEPT_FIRST or (cell.number <= KEPT_UP_TO and cell.number % KEPT_EVERY == 0)


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
