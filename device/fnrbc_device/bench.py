"""``fnrbc bench``: what each stage costs a frame, as a ratio to the least that any counting must do.

The *floor* of a frame is one pass of grey conversion, 5x5 Gaussian, fixed threshold and contours over it, measured
in the same run on the same threads. Ratios to it carry over between machines; milliseconds do not.
"""

import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.analysis import STAGES, Analyser
from fnrbc_device.bundle import load_bundle
from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated import SimulatedMicroscope
from fnrbc_device.camera.simulated_slide import SimulatedSlide
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.records import Frame, Image
from fnrbc_device.scale import require_known_pixel_size

FLOOR_THRESHOLD: Final = 100.0
"""Between nucleus and red cell on every stain at hand; the floor's cost hardly depends on it."""

SIMULATED_CELLS: Final = 300


def bench(
    path: Path | None, pixel_size_um: float | None, bundle: Path | None, frames: int, threads: int
) -> dict[str, Any]:
    """Count frames of a source and measure.

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
        Of OpenCV and of the network.

    Returns
    -------
    dict
        ``stages_ms``, ``floor_ms``, ``ratio`` (all stages but classify, over the floor), ``fps`` (of all stages),
        ``frame_px``, ``cells_per_frame``, ``threads``, ``frames``. Medians over frames.
    """
    source = _source(path, pixel_size_um, frames)
    pixel_um = require_known_pixel_size(pixel_size_um, source)
    model = load_bundle(bundle)
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    classifier = OnnxClassifier(model, threads)
    try:
        analyser = Analyser(pixel_um, classifier, model.manifest)
        return _measured(source, analyser, frames, threads)
    finally:
        cv2.setNumThreads(before)
        classifier.close()
        source.close()


def as_table(result: dict[str, Any]) -> str:
    """The result for a person."""
    floor = result["floor_ms"]
    lines = [f"{'stage':14}{'ms':>8}{'x floor':>10}"]
    lines += [f"{name:14}{ms:8.2f}{ms / floor:10.2f}" for name, ms in result["stages_ms"].items()]
    lines += [
        f"{'floor':14}{floor:8.2f}{1.0:10.2f}",
        f"gate to ledger: {result['ratio']:.2f} times the floor; all stages: {result['fps']:.0f} frames/s "
        f"on {result['threads']} thread(s); {result['frames']} frames of {result['frame_px'][0]}x"
        f"{result['frame_px'][1]}, {result['cells_per_frame']:.1f} cells a frame",
    ]
    return "\n".join(lines)


def _source(path: Path | None, pixel_size_um: float | None, frames: int) -> FrameSource:
    if path is not None:
        return open_source(path, pixel_size_um)
    slide = SimulatedSlide.make(0, "giemsa", SIMULATED_CELLS)
    return SimulatedMicroscope(slide, seed=0)


def _measured(source: FrameSource, analyser: Analyser, frames: int, threads: int) -> dict[str, Any]:
    stages: list[list[float]] = []
    floors: list[float] = []
    cells: list[int] = []
    shape = (0, 0)
    while len(floors) < frames and (frame := source.read()) is not None:
        if not isinstance(frame, Frame):
            continue
        floors.append(floor_ms(frame.image))
        step = analyser.analyse(frame)
        stages.append([step.stages_ms[name] for name in STAGES])
        cells.append(len(step.marks))
        shape = (frame.image.shape[1], frame.image.shape[0])
    medians = np.median(np.array(stages), axis=0)
    floor = float(np.median(floors))
    return {
        "stages_ms": {name: round(float(ms), 3) for name, ms in zip(STAGES, medians, strict=True)},
        "floor_ms": round(floor, 3),
        "ratio": round(float(medians[:-1].sum()) / floor, 2),
        "fps": round(1e3 / float(np.array(stages).sum(axis=1).mean()), 1),
        "frame_px": list(shape),
        "cells_per_frame": round(float(np.mean(cells)), 1),
        "threads": threads,
        "frames": len(floors),
    }


def floor_ms(image: Image) -> float:
    """Milliseconds of the floor on one frame."""
    start = time.perf_counter()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey, (5, 5), 0)
    _, dark = cv2.threshold(smooth, FLOOR_THRESHOLD, 255, cv2.THRESH_BINARY_INV)
    cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return 1e3 * (time.perf_counter() - start)
