"""Counts a large slide file made of real cells: truth, seams, memory and speed, beside a pan in the same run.

Run ``.venv/bin/python tests/bench/slides.py --help``; README.md beside this file says what it measures.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import FnrbcError, UsageError
from scenes import COMPOSED_UM, OUT, PROJECT, composed
from slide_files import write_slide
from truth import held_against

SHIFT_PX = 150
EDGE_PX = 150
"""A true cell this near to the slide's edge may not lie whole on it."""
SAYING = {"pyramid": "resolution", "ome": "ome"}


def slide(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Count one large slide in each format, and a pan of a smaller one."""
    picture, truth = made(options.side, options.seed)
    paths = {}
    for name in options.formats:
        ending = "ome.tif" if name == "ome" else "tif"
        path = paths[name] = OUT / "slides" / f"{options.side}-{options.seed}-{SHIFT_PX}.{ending}"
        if not path.exists():
            write_slide(path, picture, COMPOSED_UM, saying=SAYING[name], levels=4)
    del picture
    for name, path in paths.items():
        yield {"source": name, **counted(path, truth, options.side)}
    scene = composed("raster", 501, 10, dirty=False)
    frames = OUT / "slides" / scene.name / "frames"
    out, spent = run(["count", str(frames), "--pixel-size-um", str(COMPOSED_UM)])
    summary = json.loads((out / "summary.json").read_text())
    px = summary["frames"] * scene.frame_shape[0] * scene.frame_shape[1]
    counts = {"cells": summary["cells"], "frames": summary["frames"]}
    yield {"source": "a pan", **counts, **speed(summary, px, spent), **spent}


def speed(summary: dict[str, Any], px: int, spent: dict[str, float]) -> dict[str, float]:
    """Frames or tiles, pixels, ground and cells a second of processor time: others may keep the machine busy."""
    cpu_s = spent["cpu_s"]
    return {
        "frames_s": round(summary["frames"] / cpu_s, 2), "mpx_s": round(px / cpu_s / 1e6, 1),
        "mm2_s": round(summary["unique_area_mm2"] / cpu_s, 4), "cells_s": round(summary["cells"] / cpu_s, 1),
    }  # fmt: skip


def made(side: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A slide of so many pixels a side, and the centres of its nucleated cells, (N, 2) px, (row, col).

    A composed slide laid side by side, turned and mirrored at random: no two neighbours are alike.
    """
    scene = composed("raster", seed, 10, dirty=False)
    block = cv2.cvtColor(cv2.imread(str(OUT / "slides" / scene.name / "slide.png")), cv2.COLOR_BGR2RGB)
    step = block.shape[0]
    # Laid from before the corner on: else the composer's grid would leave the seams of usual tiles without a cell.
    picture = np.empty((side + SHIFT_PX, side + SHIFT_PX, 3), np.uint8)
    cells = []
    rng = np.random.default_rng(seed)
    for top in range(0, side + SHIFT_PX, step):
        for left in range(0, side + SHIFT_PX, step):
            turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
            room = picture[top : top + step, left : left + step]
            laid = np.rot90(block[:, ::-1] if mirrored else block, turns)
            room[...] = laid[: room.shape[0], : room.shape[1]]
            cells.append(turned(scene.cells_rc, step, turns, mirrored) + np.array([top, left]))
    found = np.concatenate(cells) - SHIFT_PX
    return picture[SHIFT_PX:, SHIFT_PX:], found[((found > EDGE_PX) & (found < side - EDGE_PX)).all(axis=1)]


def turned(places_rc: NDArray[np.float64], side: int, turns: int, mirrored: bool) -> NDArray[np.float64]:
    """Places on a square picture after it was mirrored left for right, and then turned as ``np.rot90`` does."""
    rows, cols = places_rc.T
    if mirrored:
        cols = side - 1 - cols
    for _ in range(turns):
        rows, cols = side - 1 - cols, rows
    return np.column_stack([rows, cols])


def counted(path: Path, truth: NDArray[np.float64], side: int) -> dict[str, Any]:
    """What ``fnrbc count`` makes of a slide file, by itself in a process."""
    out, spent = run(["count", str(path)])
    summary = json.loads((out / "summary.json").read_text())
    with (out / "cells.csv").open() as file:
        places = np.array([(float(row["y_px"]), float(row["x_px"])) for row in csv.DictReader(file)])
    held = held_against(truth, np.ones(len(truth), bool), places, COMPOSED_UM)
    tile = summary["slide"]["tile_px"]
    near = (np.minimum(truth % tile, tile - truth % tile) < 6 / COMPOSED_UM).any(axis=1)
    found = np.array([cell in held.nearest for cell in range(len(truth))])
    return {
        "cells": summary["cells"], "found": f"{held.found} of {held.wanted}",
        "share": round(held.found / held.wanted, 5), "twice": len(held.twice),
        "at_seams": f"{int(found[near].sum())} of {int(near.sum())}", "complete": summary["complete"],
        "tiles": summary["frames"], "tile_px": tile, **speed(summary, side**2, spent), **spent,
    }  # fmt: skip


def run(arguments: list[str]) -> tuple[Path, dict[str, float]]:
    """The folder that the command wrote; its peak of memory, MB, processor time and time, s."""
    out, peak_kb = OUT / "slides" / "counted", 0
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(PROJECT / ".venv/bin/fnrbc"), *arguments, "--out", str(out)], stdout=subprocess.DEVNULL
    )
    while True:
        peak_kb = max(peak_kb, peak_of(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise UsageError(f"fnrbc {' '.join(arguments)} ended with {process.returncode}")
    spent = {"cpu_s": usage.ru_utime + usage.ru_stime, "seconds": time.perf_counter() - start}
    return out, {"peak_mb": round(peak_kb / 1024), **{name: round(value, 1) for name, value in spent.items()}}


def peak_of(pid: int) -> int:
    """Peak of resident memory since the program began, kB; 0 where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000, help="Of the slide, px.")
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--formats", nargs="+", choices=sorted(SAYING), default=sorted(SAYING))
    try:
        for row in slide(parser.parse_args()):
            print(json.dumps(row), flush=True)
    except FnrbcError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
