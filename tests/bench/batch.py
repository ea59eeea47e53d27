"""One worker against two: how long eight sources, and one slide, take, and that both come to the same.

    tests/bench/batch.py [sources] [slide] [--frames 40] [--repeat 1] [--json]

All runs are those of ``fnrbc batch``, workers and their start included, in turns of one worker and two. What two can
gain on this machine at most is measured beside it, by two bare processes that count half of the sources each.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

SOURCES = 8
BESIDE = ("seconds",)
"""Columns of ``batch.csv`` that differ from run to run."""

FLOOR = """
import sys, time
from pathlib import Path
import cv2
cv2.setNumThreads(1)
from fnrbc_device.camera.replay import open_source
from fnrbc_device.commands.count import count
from fnrbc_device.model.bundle import load_bundle
for path in sys.argv[1:]:
    count(open_source(Path(path), 0.125), load_bundle(None), 0.125, still=False, progress=lambda done: None)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["sources"], choices=["sources", "slide"])
    parser.add_argument("--frames", type=int, default=40, help="of each source")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {what: MEASURES[what](Path(folder), asked) for what in asked.what}
    print(json.dumps(found, indent=2) if asked.json else "\n".join(map(line, found.items())))


def sources(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Eight pans."""
    paths = []
    for seed in range(SOURCES):
        write_frames(
            folder / f"pan{seed}", SimulatedMicroscope(SimulatedSlide.make(seed), seed=seed), frames=asked.frames
        )
        paths.append(folder / f"pan{seed}" / "frames")
    bound = [[FLOOR, *paths], *[[FLOOR, *paths[half::2]] for half in (0, 1)]]
    alone = seconds_of([bound[0]])
    return {**compared(folder, paths, asked.repeat), "ratio_of_bare_processes": alone / seconds_of(bound[1:])}


def slide(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One slide file of 60 tiles."""
    from slide_files import write_slide

    painted = np.tile(SimulatedSlide.make(7, cells=400).image, (4, 4, 1))
    return compared(folder, [write_slide(folder / "slide.tif", painted, 0.125)], asked.repeat)


MEASURES = {"sources": sources, "slide": slide}


def compared(folder: Path, paths: list[Path], repeat: int) -> dict[str, Any]:
    """Run it with one worker and with two, in turns."""
    took: dict[int, list[float]] = {1: [], 2: []}
    tables = []
    for turn in range(repeat):
        for workers in took:
            out = folder / f"out-{len(paths)}-{turn}-{workers}"
            start = time.monotonic()
            command = [
                sys.executable,
                "-m",
                "fnrbc_device.cli",
                "batch",
                *paths,
                "--out",
                out,
                "--pixel-size-um",
                "0.125",
            ]
            subprocess.run([*map(str, command), "--workers", str(workers)], check=True, capture_output=True)
            took[workers].append(time.monotonic() - start)
            tables.append(table(out))
    one, two = median(took[1]), median(took[2])
    same = all(other == tables[0] for other in tables)
    return {"sources": len(paths), "one_worker_s": one, "two_workers_s": two, "ratio": one / two, "same_rows": same}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in BESIDE} for row in csv.DictReader(file)]


def seconds_of(programs: list[list[Any]]) -> float:
    """How long programs take that run side by side."""
    start = time.monotonic()
    running = [subprocess.Popen([sys.executable, "-c", *map(str, program)]) for program in programs]
    for one in running:
        assert one.wait() == 0
    return time.monotonic() - start


def line(found: tuple[str, dict[str, Any]]) -> str:
    what, figures = found
    bare = figures.get("ratio_of_bare_processes")
    beside = f"; two bare processes gain {bare:.2f}" if bare else ""
    same = "yes" if figures["same_rows"] else "NO"
    return (
        f"{what}: {figures['sources']}, one worker {figures['one_worker_s']:.1f} s, "
        f"two {figures['two_workers_s']:.1f} s, ratio {figures['ratio']:.2f}{beside}; the same rows: {same}"
    )


if __name__ == "__main__":
    main()
