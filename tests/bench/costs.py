"""What a frame costs against its floor, with few and with very many cells in the ledger, on one thread."""

import gc
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.commands.bench import floor_ms
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import CountEvent, Detection, Frame, Pose, Verdict

PIXEL_UM: Final = 0.125
SHAPE: Final = (960, 1280)
CELLS: Final = 200
"""On the slide that is panned, for frames of that shape; more for larger ones."""
PITCH_PX: Final = 230.0
"""Between cells entered to fill a ledger: 20 a field, as many as on the slide that is panned."""
FAR_PX: Final = 1e6
"""Where those lie: on the same island, out of the panned slide's sight."""
WARM_UP: Final = 10


def judged(sizes: list[int], frames: int, seed: int, shape: tuple[int, int] = SHAPE) -> list[dict[str, Any]]:
    """Count the same frames with each number of cells in the ledger, by turns, in processor time."""
    slide = SimulatedSlide.make(seed, "giemsa", round(CELLS * shape[0] * shape[1] / (SHAPE[0] * SHAPE[1])))
    microscope = SimulatedMicroscope(slide, seed=seed, frame_shape=shape)
    shown = [frame for _ in range(frames) if (frame := microscope.read()) is not None]
    with _one_thread(), ExitStack() as ended:
        runs = [_Run(size, shown[0], ended) for size in sizes]
        for frame in shown[1:]:
            for run in runs:
                run.take(frame)
    return [run.figures(runs[0]) for run in runs]


def threads(frames: int, seed: int) -> list[dict[str, Any]]:
    """Count the same frames with OpenCV on one thread and with its pool, by turns: processor time of the whole process.

    Run under ``taskset -c 0`` it says the same of a machine with one core.
    """
    slide = SimulatedSlide.make(seed, "giemsa", CELLS)
    microscope = SimulatedMicroscope(slide, seed=seed)
    shown = [frame for _ in range(frames) if (frame := microscope.read()) is not None]
    ways = {"one thread": 1, "the pool": os.cpu_count() or 1}
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with _one_thread(), ExitStack() as ended:
        bundle = load_bundle(None)
        classifier = ended.enter_context(closing(OnnxClassifier(bundle, 1)))
        analysers = {way: Analyser(PIXEL_UM, classifier, bundle.manifest) for way in ways}
        for frame in shown:
            for way, number in ways.items():
                cv2.setNumThreads(number)
                processor, wall = time.process_time(), time.perf_counter()
                analysers[way].analyse(frame)
                spent[way].append((time.process_time() - processor, time.perf_counter() - wall))
    rows = []
    for way, took in spent.items():
        ratios = np.array(took)[WARM_UP:] / np.array(spent["one thread"])[WARM_UP:]
        processor_ms, wall_ms = 1e3 * np.array(took)[WARM_UP:].mean(axis=0)
        against, against_wall = np.median(ratios, axis=0)
        rows.append(
            {
                "name": way,
                "processor_ms_mean": round(float(processor_ms), 2),
                "wall_ms_mean": round(float(wall_ms), 2),
                "processor_against_one": round(float(against), 3),
                "wall_against_one": round(float(against_wall), 3),
            }
        )
    return rows


class _Run:
    """A count with so many cells in its ledger."""

    def __init__(self, cells: int, first: Frame, ended: ExitStack) -> None:
        bundle = load_bundle(None)
        classifier = ended.enter_context(closing(OnnxClassifier(bundle, 1)))
        self.cells = cells
        self.analyser = Analyser(PIXEL_UM, classifier, bundle.manifest, clock=time.thread_time)
        self.analyser.analyse(first)
        gc.collect()
        before = _resident_bytes()
        fill(self.analyser.ledger, cells)
        gc.collect()
        self.grown = _resident_bytes() - before
        gc.freeze()
        self.stages: list[list[float]] = []
        self.wholes: list[float] = []
        self.floors: list[float] = []

    def take(self, frame: Frame) -> None:
        self.floors.append(floor_ms(frame.image, time.thread_time))
        began = time.thread_time()
        spent = self.analyser.analyse(frame).stages_ms
        self.wholes.append(1e3 * (time.thread_time() - began) - spent["classify"])
        self.stages.append([spent.get(name, 0.0) for name in STAGES])

    def figures(self, first: "_Run") -> dict[str, Any]:
        stages, wholes, floors = (np.array(one)[WARM_UP:] for one in (self.stages, self.wholes, self.floors))
        medians, floor = np.median(stages, axis=0), float(np.median(floors))
        ledger = STAGES.index("ledger")
        return {
            "name": f"{self.cells} cells",
            **{f"{name}_ms": round(float(ms), 3) for name, ms in zip(STAGES, medians, strict=True)},
            "step_ms": round(float(np.median(wholes)), 3),
            "step_p99_ms": round(float(np.percentile(wholes, 99)), 3),
            "floor_ms": round(floor, 3),
            "median_in_floors": round(float(np.median(wholes)) / floor, 2),
            "mean_in_floors": round(float(wholes.mean()) / floor, 2),
            "bytes_per_cell": round(self.grown / self.cells),
            "against_first": round(float(np.median(wholes / np.array(first.wholes)[WARM_UP:])), 3),
            "ledger_against_first": round(
                float(np.median(stages[:, ledger] / np.array(first.stages)[WARM_UP:, ledger])), 3
            ),
        }


def fill(ledger: Ledger, cells: int) -> None:
    """Enter counted cells, a field after the other, far from the slide."""
    columns = int((SHAPE[1] - 100) // PITCH_PX)
    places = [
        (100 + PITCH_PX * row, 100 + PITCH_PX * col)
        for row in range(int((SHAPE[0] - 100) // PITCH_PX))
        for col in range(columns)
    ]
    fields = -(-cells // len(places))
    side = int(np.ceil(np.sqrt(fields)))
    left = cells
    for field in range(fields):
        pose = Pose(0, FAR_PX + field // side * SHAPE[0], FAR_PX + field % side * SHAPE[1])
        entry = ledger.enter([_detection(place) for place in places[:left]], pose, field)
        left -= len(entry.sightings)
        for sighting in entry.sightings:
            sighting.cell.settled = _event(sighting.cell.number)


def _detection(centre_rc: tuple[float, float]) -> Detection:
    row, col = centre_rc
    corners = [(-12, -12), (12, -12), (12, 12), (-12, 12)]
    contour = np.array([(col / 2 + x, row / 2 + y) for x, y in corners], np.int32)
    return Detection(centre_rc, contour, factor=2, nucleus_diameter_um=6.0, reach_px=24.0, whole=True)


def _event(number: int) -> CountEvent:
    verdict = Verdict("neutrophil", "denominator", 0.9, 0.01)
    return CountEvent("counted", number, verdict, 0, 0.0, 0.0, 0.0, 0.0, 10.0, 0.4, 3, 1, "evidence complete")


def _resident_bytes() -> int:
    """Memory that the process holds now."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
