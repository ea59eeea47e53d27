"""Decides when a cell is counted, and as what. Every step is an event; the tally is their sum.

A cell is counted once its evidence is in: three whole, sharp views from more than one place of the field, or all
the views there were when it left the field. So it is counted once, with one verdict. P-net sees its two best views,
and the third only where these do not decide alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import BEST_VIEWS, Cell, View
from fnrbc_device.counting.ledger import Ledger
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

VIEWS_A_FRAME: Final = 3
"""Views that P-net is asked about in a frame, so that a field full of new cells does not stall the live view; the rest
wait. P-net looks nine times at a view of what may be an fNRBC, which takes 8.5 ms, two fifths of a look: it counts for
three, and so do its pictures, which take 6 ms of the record."""

BUSY_IN_A_ROW: Final = 3
"""So many busy frames may follow each other before P-net is asked in one all the same, and then in each second one."""

WAIT_FREELY: Final = 3
WAIT_SHARE: Final = 4
"""Cells with all their evidence that may wait; for each four beyond them a view more is asked about in a frame, beside
a look too: who is cut off loses what waits. Frames from the evidence to the count, median and most, without it and with
it: 23 and 36, 5 and 20 on a raster; 4 and 13, 3 and 13 on a hand's pan (composed, dirty). A step's 99th percentile
stays."""

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
        """Busy frames in a row, up to the last."""
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
        self, seen: Iterable[Cell], missed: Iterable[Cell], pose: Pose, *, busy: bool = True
    ) -> list[CountEvent]:
        """Settle what is due after a frame.

        Parameters
        ----------
        seen, missed
            Cells that the frame showed, and cells whose place it showed without them.
        pose
            Where the frame lies; cells outside it have left the field.
        busy
            The frame was looked at, or the one before: a look costs more than to ask P-net, and the views that are cut
            after it as much. Where the next frame may have the time, cells wait.
        """
        self.pictures = {}
        self._in_a_row = self._in_a_row + 1 if busy else 0
        for cell in seen:
            if cell.settled is None:
                self._open.setdefault(cell.number, cell)
        retracted = [self._retract(cell) for cell in missed if _is_gone(cell)]
        late = self._in_a_row > BUSY_IN_A_ROW and (self._in_a_row - BUSY_IN_A_ROW) % 2 == 1
        due = self._due(pose)
        beyond = max(0, len(due) - WAIT_FREELY + WAIT_SHARE - 1) // WAIT_SHARE
        most = (VIEWS_A_FRAME if late or not busy else 0) + beyond
        return retracted + self._acknowledge(self._decided(due, most))

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
            if not cell.best or cell.misses >= cell.views or self._is_dust(cell):
                self._drop(cell)
        ended = dict.fromkeys(self._open.values(), "session ended")
        for _ in ("their first views", "the others, where these do not decide"):
            self._ask([view for cell in ended for view in self._unasked(cell)])
        return self._acknowledge(ended)

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
        return gone and (not cell.best or cell.misses >= cell.views or stood_still or self._is_dust(cell))

    def _drop(self, cell: Cell) -> None:
        self._close(cell)
        self._ledger.forget(cell)

    def _close(self, cell: Cell) -> None:
        del self._open[cell.number]
        self._suspected.pop(cell.number, None)

    def _acknowledge(self, decided: Mapping[Cell, str]) -> list[CountEvent]:
        events = []
        for cell, reason in decided.items():
            first = _words(cell.best[:FIRST_VIEWS])
            words = first if decide_alike(first, self._manifest) else _words(cell.best)
            verdict, disagreed = fuse(words, self._manifest)
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

    def _due(self, pose: Pose) -> list[Cell]:
        """Drop what is no cell; gives the cells that nothing more is to be seen of, oldest first."""
        due = []
        for cell in list(self._open.values()):
            gone = not self._ledger.shows(cell, pose)
            if self._is_no_cell(cell, gone):
                self._drop(cell)
            elif self._has_evidence(cell) or (gone and (self._moved(cell) or self._is_past_doubt(cell))):
                due.append(cell)
        return due

    def _decided(self, due: list[Cell], most: int) -> dict[Cell, str]:
        """Ask about so many views of cells that are due; gives those decided, and why."""
        decided: dict[Cell, str] = {}
        for cell in due:
            if most <= 0:
                break
            count, done = self._settle(cell, most)
            most -= count
            if done:
                decided[cell] = "evidence complete" if self._has_evidence(cell) else "left the field"
        return decided

    def _settle(self, cell: Cell, most: int) -> tuple[int, bool]:
        """Ask about views of a cell that count for so many; gives for how many it counts, and whether it is decided.

        What may be a target is decided in a frame in which P-net is not asked about it: its pictures take as long.
        """
        count = self._ask_about(cell, most)
        if self._unasked(cell):
            return count, False
        if any(self._may_be_target(view) for view in cell.best):
            return count or VIEWS_A_FRAME, count == 0
        return count, True

    def _ask_about(self, cell: Cell, most: int) -> int:
        """Ask about views of a cell that count for so many, or until it is decided; gives for how many they count."""
        count = 0
        while count < most and (wanted := self._unasked(cell)):
            self._ask(wanted[:1])
            count += VIEWS_A_FRAME if self._may_be_target(cell.best[wanted[0][1]]) else 1
        return count

    def _may_be_target(self, view: View) -> bool:
        """Whether P-net may have looked nine times: it said more than the limit at first then, and the mean is near."""
        limit = self._manifest.second_look_from
        return limit is not None and view.said is not None and bool(2 * view.said[self._manifest.target] >= limit)

    def _unasked(self, cell: Cell) -> list[tuple[Cell, int]]:
        """Views of a cell that P-net is to be asked about yet: its first, then all where these do not decide alike."""
        wanted = [number for number, view in enumerate(cell.best[:FIRST_VIEWS]) if view.said is None]
        if not wanted and not decide_alike(_words(cell.best[:FIRST_VIEWS]), self._manifest):
            wanted = [number for number, view in enumerate(cell.best) if view.said is None]
        return [(cell, number) for number in wanted]

    def _ask(self, wanted: list[tuple[Cell, int]]) -> None:
        """Ask P-net about views of several cells, in one call."""
        if not wanted:
            return
        crops = np.stack([cell.best[number].crop for cell, number in wanted])
        for (cell, number), said in zip(wanted, self._classifier.probabilities(crops), strict=True):
            cell.best[number] = replace(cell.best[number], said=said)

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


def _words(views: list[View]) -> NDArray[np.float32]:
    """(V, classes) what P-net said of views that it was asked about."""
    return np.stack([view.said for view in views if view.said is not None])


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
