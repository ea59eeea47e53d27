"""What a frame costs against its floor, with few and with very many cells in the ledger, on one thread."""

import gc
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
PITCH_PX: Final = 230.0
"""Between cells entered to fill a ledger: 20 a field, as many as on the slide that is panned."""
FAR_PX: Final = 1e6
"""Where those lie: on the same island, out of the panned slide's sight."""
WARM_UP: Final = 10


def judged(sizes: list[int], frames: int, seed: int) -> list[dict[str, Any]]:
    """Count the same frames with each number of cells in the ledger."""
    slide = SimulatedSlide.make(seed, "giemsa", 200)
    microscope = SimulatedMicroscope(slide, seed=seed)
    shown = [frame for _ in range(frames) if (frame := microscope.read()) is not None]
    with _one_thread():
        rows = [_measured(shown, size) for size in sizes]
    for row in rows:
        row["against_first"] = round(row["sum_ms"] / rows[0]["sum_ms"], 3)
        row["ledger_against_first"] = round(row["ledger_ms"] / rows[0]["ledger_ms"], 3)
    return rows


def _measured(frames: list[Frame], cells: int) -> dict[str, Any]:
    bundle = load_bundle(None)
    with closing(OnnxClassifier(bundle, 1)) as classifier:
        analyser = Analyser(PIXEL_UM, classifier, bundle.manifest)
        analyser.analyse(frames[0])
        gc.collect()
        before = _resident_bytes()
        fill(analyser.ledger, cells)
        gc.collect()
        grown = _resident_bytes() - before
        stages, floors = [], []
        for frame in frames[1:]:
            floors.append(floor_ms(frame.image))
            spent = analyser.analyse(frame).stages_ms
            stages.append([spent[name] for name in STAGES])
    medians = np.median(np.array(stages[WARM_UP:]), axis=0)
    without_network = np.array(stages[WARM_UP:])[:, :-1].sum(axis=1)
    floor = float(np.median(floors[WARM_UP:]))
    return {
        "name": f"{cells} cells",
        **{f"{name}_ms": round(float(ms), 3) for name, ms in zip(STAGES, medians, strict=True)},
        "sum_ms": round(float(np.median(without_network)), 3),
        "sum_p99_ms": round(float(np.percentile(without_network, 99)), 3),
        "floor_ms": round(floor, 3),
        "ratio": round(float(np.median(without_network)) / floor, 2),
        "bytes_per_cell": round(grown / cells),
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
