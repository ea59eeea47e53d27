"""``fnrbc bench``: the time of each stage a frame, relative to the least work that any count must do.

The *floor* of a frame is one pass of grey conversion, 5x5 Gaussian, fixed threshold and contours over it, measured
right before and after the frame is counted, on the same threads. Ratios to it carry over between machines;
milliseconds do not. One thread is measured by its processor time, which other programs hardly touch; several by the
clock on the wall, so that what they wait for each other counts.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.errors import SourceError
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.records import USUAL_SEEING, Frame, Image

FLOOR_THRESHOLD: Final = 100.0
"""Between nucleus and red cell on every stain at hand; the floor's cost hardly depends on it."""

SIMULATED_CELLS: Final = 300


@dataclass(slots=True, eq=False)
class _Run:
    """The counting of all frames on one number of threads, frame by frame beside the others."""

    threads: int
    analyser: Analyser
    clock: Callable[[], float]
    stages_ms: list[list[float]] = field(default_factory=list)
    floors_ms: list[float] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        """Count a frame between two floors; one that is not counted to the end says nothing of the stages' cost."""
        cv2.setNumThreads(self.threads)
        floors = [floor_ms(frame.image, self.clock)]
        step = self.analyser.analyse(frame)
        floors.append(floor_ms(frame.image, self.clock))
        if step.reason is None:
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


def bench(
    path: Path | None, pixel_size_um: float | None, bundle: Path | None, frames: int, threads: int | None
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

    Returns
    -------
    dict
        ``stages_ms``, ``floor_ms``, ``ratio`` (all stages but classify, over the floor), ``fps`` (of all stages) and
        ``threads`` of one thread; the same of several in ``all_cores``; ``frame_px``, ``cells_per_frame`` and
        ``frames``. Medians over the frames that were fit to be counted on.

    Raises
    ------
    SourceError
        No frame of the source is fit to be counted on.
    """
    model = load_bundle(bundle)
    with ExitStack() as ended:
        source = _source(path, pixel_size_um)
        ended.callback(source.close)
        pixel_um = require_known_pixel_size(pixel_size_um, source)
        ended.callback(cv2.setNumThreads, cv2.getNumThreads())
        runs = [_run(model, pixel_um, number, ended) for number in (1, threads or os.cpu_count() or 1)]
        shape = _take_all(source, frames, runs)
    single, several = runs
    if not single.cells:
        raise SourceError(f"none of the frames of {source.name} was fit to be counted on; give sharp, exposed ones")
    return {
        **single.medians(),
        "frame_px": [shape[1], shape[0]],
        "cells_per_frame": round(float(np.mean(single.cells)), 1),
        "frames": len(single.cells),
        "all_cores": several.medians(),
    }


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


def _run(model: Bundle, pixel_um: float, threads: int, ended: ExitStack) -> _Run:
    classifier = OnnxClassifier(model, threads)
    ended.callback(classifier.close)
    centres = open_centres(model, USUAL_SEEING, threads)
    ended.callback(centres.close)
    clock = time.thread_time if threads == 1 else time.perf_counter
    analyser = Analyser(pixel_um, classifier, model.manifest, clock=clock, centres=centres.model)
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
