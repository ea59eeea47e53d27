"""What a checkpoint takes of the disk and of the counting's time, with few cells and with many.

python tests/bench/checkpoints.py --json

``share`` is the time it holds the counting over that of analysing the frames between two checkpoints, 1 being
as long as those.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.cell import Cell
from fnrbc_device.daemon.checkpoint import CheckpointFile
from fnrbc_device.daemon.recorder import CHECKPOINT_FRAMES
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Pose
from mortal import calm_path

FRAMES, SHAPE, REPEATS = 60, (960, 1280), 9


def learned(seed):
    """An analyser in the middle of a session, and the median time of a frame, s."""
    slide, bundle = SimulatedSlide.make(seed, "giemsa", 200), load_bundle(None)
    analyser = Analyser(slide.pixel_size_um, OnnxClassifier(bundle), bundle.manifest)
    microscope = SimulatedMicroscope(slide, calm_path(slide, 4 * FRAMES), seed=seed, frame_shape=SHAPE, fps=None)
    spent_s = []
    for _ in range(FRAMES):
        frame = microscope.read()
        start = perf_counter()
        analyser.analyse(frame)
        spent_s.append(perf_counter() - start)
    microscope.close()
    return analyser, median(spent_s)


def grow(analyser, cells):
    """Fill a ledger up with counted cells, as a long session would."""
    known = [cell for cell in analyser.ledger.cells() if cell.settled is not None]
    for number in range(analyser.ledger.next_number, cells + 1):
        model = known[number % len(known)]
        place = Pose(10_000, 100.0 * (number % 100), 100.0 * (number // 100))
        event = replace(model.settled, cell=number, island=place.island, row_px=place.row_px, col_px=place.col_px)
        values = {name: getattr(model, name) for name in Cell.__slots__}
        one = Cell(**{**values, "number": number, "island": place.island, "best": [], "settled": event})
        one.row_px, one.col_px = place.row_px, place.col_px
        analyser.ledger.recall(one)
        analyser.tally_keeper.add_event(event)


def measured(analyser, frame_s, cells):
    grow(analyser, cells)
    with tempfile.TemporaryDirectory() as name:
        file = CheckpointFile(Path(name), "s1")
        spent_s = []
        for _ in range(REPEATS):
            start = perf_counter()
            file.write(analyser, FRAMES)
            spent_s.append(perf_counter() - start)
        size = (Path(name) / "s1.checkpoint").stat().st_size
    between = max(CHECKPOINT_FRAMES, cells)
    return {
        "cells": cells,
        "mb": round(size / 1e6, 2),
        "ms": round(1e3 * median(spent_s), 1),
        "frames": round(median(spent_s) / frame_s, 2),
        "share": round(median(spent_s) / (between * frame_s), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    analyser, frame_s = learned(options.seed)
    rows = [measured(analyser, frame_s, cells) for cells in (100, 1_000, 10_000)]
    if options.json:
        print(json.dumps({"frame_ms": round(1e3 * frame_s, 1), "checkpoints": rows}))
        return
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
