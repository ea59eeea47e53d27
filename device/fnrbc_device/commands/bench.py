"""``fnrbc bench``: the time of each stage a frame, relative to the least work that any count must do.

The *floor* of a frame is one pass of grey conversion, 5x5 Gaussian, fixed threshold and contours over it, measured
right before and after the frame is counted, on the same threads. Ratios to it carry over between machines;
milliseconds do not. One thread is measured by its processor time, which other programs hardly touch; several by the
clock on the wall, so that what they wait for each other counts.

The floor finds nothing: it knows no place, no colour and no cell, and what it outlines is not looked at. So no count
can reach it on ground that is new; a frame that shows nothing new can cost less. On a machine that others share both
grow, not alike, for they live from the same caches: there only what is measured beside it in one run is comparable.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import cv2
import numpy as np

from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.inference.centre_network import open_centres, require_network
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.intervals import NORMAL_QUANTILE
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.records import USUAL_SEEING, Frame, Image, Pose, SeeingMethod
from fnrbc_device.vision.pixelsize import require_pixel_size

FLOOR_THRESHOLD: Final = 100.0
"""Between nucleus and red cell on every stain at hand; the floor's cost hardly depends on it."""

SIMULATED_CELLS: Final = 300

NEW_GROUND: Final = "new_ground"
EVERYTHING: Final = "everything"
"""Name the usual method, looking at the frames that show something new, as is usual, or at each."""

NEW_SHARE: Final = 0.5
"""Of a frame that no frame before showed, from which on it counts as new ground."""

REST_UM: Final = 0.5
"""A frame that lies nearer to the one before is one of a hand at rest: it trembles."""

KINDS: Final = ("all", "at_rest", "moving", "new_ground")
"""Of frames, by what they show that the one before did not."""


@dataclass(slots=True, eq=False)
class _Run:
    """The counting of all frames on one number of threads, frame by frame beside the others."""

    threads: int
    analyser: Analyser
    clock: Callable[[], float]
    before: Pose | None = None
    """Of the last frame that was counted on."""
    frames: list[int] = field(default_factory=list)
    """Those that were counted on."""
    kinds: list[str] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    """Each whole step but P-net, by the same clock as the stages."""
    walls_ms: list[float] = field(default_factory=list)
    """Each whole step by the clock on the wall."""
    stages_ms: list[list[float]] = field(default_factory=list)
    floors_ms: list[float] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        """Count a frame between two floors; one that is not counted to the end says nothing of the stages' cost."""
        cv2.setNumThreads(self.threads)
        floors = [floor_ms(frame.image, self.clock)]
        began, wall = self.clock(), time.perf_counter()
        step = self.analyser.analyse(frame)
        took, wall = self.clock() - began, time.perf_counter() - wall
        floors.append(floor_ms(frame.image, self.clock))
        if step.reason is None and step.pose is not None:
            self.kinds.append(_kind(self.before, step.pose, frame.image.shape, self.analyser.pixel_size_um))
            self.before = step.pose
            self.frames.append(frame.index)
            self.steps_ms.append(1e3 * took - step.stages_ms["classify"])
            self.walls_ms.append(1e3 * wall)
            self.stages_ms.append([step.stages_ms[name] for name in STAGES])
            self.floors_ms += floors
            self.cells.append(len(step.marks))

    def medians(self) -> dict[str, Any]:
        """Medians over the frames: no single frame's bad luck counts."""
        stages = np.array(self.stages_ms)
        medians, floor = np.median(stages, axis=0), float(np.median(self.floors_ms))
        return {
            "stages_ms": {name: round(float(ms), 3) for name, ms in zip(STAGES, medians, strict=True)},
            "floor_ms": round(floor, 3),
            "ratio": round(float(medians[:-1].sum()) / floor, 2),
            "fps": round(1e3 / float(np.median(stages.sum(axis=1))), 1),
            "threads": self.threads,
        }

    def told_apart(self) -> dict[str, Any]:
        """The whole step, and what it costs by what frames show."""
        floor = float(np.median(self.floors_ms))
        return {
            "step_ms": round(float(np.median(self.steps_ms)), 3),
            "wall_ms": round(float(np.median(self.walls_ms)), 3),
            "frames_by_kind": {kind: self._of_kind(kind, floor) for kind in KINDS},
        }

    def _of_kind(self, kind: str, floor: float) -> dict[str, Any]:
        """What frames of a kind cost, in floors; no figures where there are none."""
        steps = [ms for ms, own in zip(self.steps_ms, self.kinds, strict=True) if kind in ("all", own)]
        if not steps:
            return {"frames": 0, "median": None, "mean": None}
        median, mean = (round(float(middle(steps)) / floor, 2) for middle in (np.median, np.mean))
        return {"frames": len(steps), "median": median, "mean": mean}


def bench(
    path: Path | None,
    pixel_size_um: float | None,
    bundle: Path | None,
    frames: int,
    threads: int | None,
    against: str | None = None,
) -> dict[str, Any]:
    """Count frames of a source on one thread and on several, and measure both.

    Parameters
    ----------
    path
        Recorded frames; None for simulated ones.
    pixel_size_um
        um; None where the source knows.
    bundle
        None for the shipped one.
    frames
        At most this many.
    threads
        Of OpenCV and of the network, for the second measure; None for one a core.
    against
        Another bundle's path, a way of seeing (threshold, network, both), ``everything`` or ``new_ground``: counted on
        the same frames, frame by frame beside it.

    Returns
    -------
    dict
        ``stages_ms``, ``floor_ms``, ``ratio`` (all stages but classify, over the floor), ``fps`` (of all stages) and
        ``threads`` of one thread; the same of several in ``all_cores``; ``frame_px``, ``cells_per_frame`` and
        ``frames``. Medians over the frames that were fit to be counted on. ``step_ms`` is the whole step but P-net, by
        processor time, ``wall_ms`` all of it by the clock on the wall; ``frames_by_kind`` the whole step but P-net in
        floors, of the frames that show next to nothing new, something, and mostly new ground. ``against``: the same of
        what it was held against, and ``quotient``: step over step, frame by frame, the median and its 95 % interval.

    Raises
    ------
    SourceError
        No frame of the source is fit to be counted on.
    UsageError
        The pixel size cannot be that of a microscope on cells, or there are fewer cores than threads.
    """
    if pixel_size_um is not None:
        require_pixel_size(pixel_size_um)
    cores = os.cpu_count() or 1
    if threads is not None and threads > cores:
        raise UsageError(f"--threads {threads} is more than the {cores} cores of this machine; give {cores} or fewer")
    model = load_bundle(bundle)
    rival = _rival(against, model) if against is not None else model
    with ExitStack() as ended:
        source = _source(path, pixel_size_um)
        ended.callback(source.close)
        pixel_um = require_known_pixel_size(pixel_size_um, source)
        ended.callback(cv2.setNumThreads, cv2.getNumThreads())
        runs = [_run(model, pixel_um, number, ended) for number in (1, threads or cores)]
        if against is not None:
            runs.append(_run_against(against, rival, pixel_um, ended))
        shape = _take_all(source, frames, runs)
    single, several = runs[:2]
    if not single.cells:
        raise SourceError(f"none of the frames of {source.name} was fit to be counted on; give sharp, exposed ones")
    return {
        **single.medians(),
        **single.told_apart(),
        "frame_px": [shape[1], shape[0]],
        "cells_per_frame": round(float(np.mean(single.cells)), 1),
        "frames": len(single.cells),
        "all_cores": several.medians(),
    } | (_held_against(against, single, runs[2]) if against else {})


def as_table(result: dict[str, Any]) -> str:
    """The result for a person."""
    both = (result, result["all_cores"])
    heads = (f"{one['threads']} thread{'s' * (one['threads'] > 1)}" for one in both)
    lines = [f"{'':14}" + "".join(f"{head:>14}{'x floor':>10}" for head in heads)]
    for name in STAGES:
        cells = ((one["stages_ms"][name], one["stages_ms"][name] / one["floor_ms"]) for one in both)
        lines.append(f"{name:14}" + "".join(f"{ms:11.2f} ms{share:10.2f}" for ms, share in cells))
    lines.append(f"{'floor':14}" + "".join(f"{one['floor_ms']:11.2f} ms{1:10.2f}" for one in both))
    lines.append(f"{'gate to ledger':14}" + "".join(f"{'':14}{one['ratio']:10.2f}" for one in both))
    lines.append(f"{'all stages':14}" + "".join(f"{one['fps']:9.0f} fps{'':11}" for one in both).rstrip())
    for kind in KINDS:
        found = result["frames_by_kind"][kind]
        if found["frames"]:
            named = f"{kind.replace('_', ' ')}, {found['frames']} frames"
            lines.append(f"{named:28}{found['median']:10.2f} x floor in the median, {found['mean']:.2f} in the mean")
    step_ms, wall_ms = result["step_ms"], result["wall_ms"]
    lines.append(f"a step but P-net takes {step_ms:.1f} ms of the processor; with P-net {wall_ms:.1f} ms by the clock")
    if "against" in result:
        other, ratio = result["against"], result["against"]["quotient"]
        lines.append(
            f"against {other['name']}: {ratio['value']:.3f} of its step ({ratio['low']:.3f} to {ratio['high']:.3f}), "
            f"which takes {other['frames_by_kind']['all']['median']:.2f} x floor"
        )
    width, height = result["frame_px"]
    lines.append(
        f"medians over {result['frames']} frames of {width}x{height}, {result['cells_per_frame']:.1f} cells a frame"
    )
    return "\n".join(lines)


def _source(path: Path | None, pixel_size_um: float | None) -> FrameSource:
    if path is not None:
        return open_source(path, pixel_size_um)
    slide = SimulatedSlide.make(0, "giemsa", SIMULATED_CELLS)
    return SimulatedMicroscope(slide, seed=0)


def _held_against(name: str, own: _Run, other: _Run) -> dict[str, Any]:
    told = {"name": name, **other.medians(), **other.told_apart(), "quotient": _quotient(own, other)}
    return {"against": told}


def _rival(against: str, model: Bundle) -> Bundle:
    """The bundle that is held against the first: another one, or the same where a way of counting is named."""
    return model if against in (EVERYTHING, NEW_GROUND, *get_args(SeeingMethod)) else load_bundle(Path(against))


def _run_against(against: str, model: Bundle, pixel_um: float, ended: ExitStack) -> _Run:
    """On one thread, what the name says."""
    if against in (EVERYTHING, NEW_GROUND):
        return _run(model, pixel_um, 1, ended, everything=against == EVERYTHING)
    for method in get_args(SeeingMethod):
        if against == method:
            require_network(model, "threshold" if method == "threshold" else "network")
            return _run(model, pixel_um, 1, ended, method)
    return _run(model, pixel_um, 1, ended)


def _quotient(own: _Run, other: _Run) -> dict[str, float]:
    """Median of the quotients of the frames both counted on, with the interval that its order statistics give."""
    theirs = dict(zip(other.frames, other.steps_ms, strict=True))
    both = zip(own.frames, own.steps_ms, strict=True)
    ratios = np.sort([ms / theirs[frame] for frame, ms in both if frame in theirs])
    frames = len(ratios)
    reach = NORMAL_QUANTILE * frames**0.5 / 2
    low, high = (int(np.clip(round(at), 0, frames - 1)) for at in (frames / 2 - reach, frames / 2 + reach))
    value = float(np.median(ratios))
    return {"value": round(value, 4), "low": round(float(ratios[low]), 4), "high": round(float(ratios[high]), 4)}


def _kind(before: Pose | None, pose: Pose, shape: tuple[int, ...], pixel_um: float) -> str:
    """What a frame shows that the one before did not."""
    if before is None or before.island != pose.island:
        return "new_ground"
    moved_px = np.abs([pose.row_px - before.row_px, pose.col_px - before.col_px])
    if np.hypot(*moved_px) * pixel_um < REST_UM:
        return "at_rest"
    shared = np.prod(np.maximum(1 - moved_px / shape[:2], 0))
    return "new_ground" if 1 - shared >= NEW_SHARE else "moving"


def _run(
    model: Bundle,
    pixel_um: float,
    threads: int,
    ended: ExitStack,
    method: SeeingMethod = USUAL_SEEING,
    *,
    everything: bool = False,
) -> _Run:
    classifier = OnnxClassifier(model, threads)
    ended.callback(classifier.close)
    centres = open_centres(model, method, threads)
    ended.callback(centres.close)
    clock = time.thread_time if threads == 1 else time.perf_counter
    analyser = Analyser(
        pixel_um, classifier, model.manifest, clock=clock, centres=centres.model, everything=everything
    )
    return _Run(threads, analyser, clock)


def _take_all(source: FrameSource, frames: int, runs: list[_Run]) -> tuple[int, ...]:
    """Count up to so many frames in each run; the shape of the last."""
    shape: tuple[int, ...] = (0, 0)
    taken = 0
    while taken < frames and (frame := source.read()) is not None:
        if isinstance(frame, Frame):
            for run in runs:
                run.take(frame)
            shape = frame.image.shape
            taken += 1
    return shape


def floor_ms(image: Image, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds of the floor on one frame."""
    start = clock()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey, (5, 5), 0)
    _, dark = cv2.threshold(smooth, FLOOR_THRESHOLD, 255, cv2.THRESH_BINARY_INV)
    cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return 1e3 * (clock() - start)
