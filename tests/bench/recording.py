"""Counts a scene with the appliance's own analyser, and notes all that the figures are made from."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.commands.bench import floor_ms
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import USUAL_SEEING, CountEvent, Frame, Image, Step, Tally

FLOOR_EVERY: Final = 7
"""Frames from one measurement of the floor to the next: it is one number a run."""


@dataclass(frozen=True, slots=True)
class Join:
    """An island was found to be part of an older one."""

    step: int
    island: int
    """That ends."""
    into: int
    shift_rc: tuple[float, float]
    """What must be added to a place in the island to get the place in the other, px."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What became of every frame and cell of a count."""

    order: NDArray[np.int_]
    """(steps,) number of the true frame."""
    islands: NDArray[np.int_]
    """(steps,) as said at the time; -1 where the frame was not placed."""
    poses_rc: NDArray[np.float64]
    """(steps, 2) px in that island; NaN where the frame was not placed."""
    reasons: tuple[str, ...]
    """Of each step; empty where the frame was used."""
    marks: NDArray[np.float64]
    """(marks, 4): step, cell, row, col (px in the frame) of every detection that stood for a cell."""
    events: tuple[CountEvent, ...]
    joins: tuple[Join, ...]
    numbers: NDArray[np.int_]
    """(cells,) of the counted cells at the end."""
    cells_rc: NDArray[np.float64]
    """(cells, 2) px in their island."""
    cell_islands: NDArray[np.int_]
    views: NDArray[np.int_]
    tally: Tally
    evaluations: int
    """Crops that the network saw."""
    stages_ms: NDArray[np.float64]
    """(steps, stages)."""
    floors_ms: NDArray[np.float64]


class EvaluationCounter:
    """A classifier that counts the crops it is given. Used by one thread.

    Parameters
    ----------
    inner
        Does the work.
    """

    def __init__(self, inner: Classifier) -> None:
        self._inner = inner
        self.classes = inner.classes
        self.evaluations = 0

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        """Classify crops, and count them."""
        self.evaluations += len(crops)
        return self._inner.probabilities(crops)

    def close(self) -> None:
        """Give back what the network holds."""
        self._inner.close()


def joins_of(step: Step) -> list[Join]:
    """Islands that a step joined. The one place that knows how the analyser tells."""
    return [
        Join(step.frame.index, join.island, join.into, (join.row_px, join.col_px))
        for join in getattr(step, "joins", ())
    ]


def record(frames: Iterable[Frame], order: NDArray[np.int_], pixel_size_um: float, bundle: Bundle) -> Recording:
    """Count frames from the first to the last.

    Parameters
    ----------
    frames
        In the camera's order, numbered from 0 without gaps.
    order
        Number of the true frame of each.
    pixel_size_um
        um.
    bundle
        The model.
    """
    floors: list[float] = []
    with (
        closing(EvaluationCounter(OnnxClassifier(bundle))) as classifier,
        closing(open_centres(bundle, USUAL_SEEING)) as centres,
    ):
        analyser = Analyser(pixel_size_um, classifier, bundle.manifest, centres=centres.model)
        notes = _Notes()
        for frame in frames:
            if frame.index % FLOOR_EVERY == 0:
                floors.append(floor_ms(frame.image))
            notes.add(analyser.analyse(frame))
        notes.events += analyser.finish()
        return notes.recording(order, analyser, classifier.evaluations, floors)


class _Notes:
    """The steps of one count, without their pictures."""

    def __init__(self) -> None:
        self.events: list[CountEvent] = []
        self._islands: list[int] = []
        self._poses: list[tuple[float, float]] = []
        self._reasons: list[str] = []
        self._marks: list[tuple[float, float, float, float]] = []
        self._joins: list[Join] = []
        self._stages: list[list[float]] = []

    def add(self, step: Step) -> None:
        pose = step.pose
        self._islands.append(-1 if pose is None else pose.island)
        self._poses.append((np.nan, np.nan) if pose is None else (pose.row_px, pose.col_px))
        self._reasons.append(step.reason or "")
        self._marks += [(len(self._islands) - 1, mark.cell, mark.row_px, mark.col_px) for mark in step.marks]
        self._joins += joins_of(step)
        self._stages.append([step.stages_ms[name] for name in STAGES])
        self.events += step.events

    def recording(
        self, order: NDArray[np.int_], analyser: Analyser, evaluations: int, floors: list[float]
    ) -> Recording:
        cells = list(analyser.cells())
        return Recording(
            order=np.asarray(order, int)[: len(self._islands)],
            islands=np.array(self._islands, int),
            poses_rc=np.array(self._poses, float).reshape(-1, 2),
            reasons=tuple(self._reasons),
            marks=np.array(self._marks, float).reshape(-1, 4),
            events=tuple(self.events),
            joins=tuple(self._joins),
            numbers=np.array([cell.number for cell in cells], int),
            cells_rc=np.array([(cell.row_px, cell.col_px) for cell in cells], float).reshape(-1, 2),
            cell_islands=np.array([cell.island for cell in cells], int),
            views=np.array([cell.views for cell in cells], int),
            tally=analyser.tally(),
            evaluations=evaluations,
            stages_ms=np.array(self._stages, float).reshape(-1, len(STAGES)),
            floors_ms=np.array(floors),
        )
