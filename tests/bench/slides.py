"""Counts a large slide file made of real cells: truth, seams, memory and speed, beside a pan in the same run.

Run ``.venv/bin/python tests/bench/slides.py --help``; README.md beside this file says what it measures.
"""

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import FnrbcError, UsageError
from scenes import CELLS, COMPOSED_UM, COMPOSER, OUT, PROJECT, composed
from slide_files import write_slide
from truth import held_against

BLOCK_CELLS = 20
"""Cells along each side of what is composed at once: the composer holds it in float."""
POSITIVE, SHARE = "erythroblast", 0.2
EDGE_PX = 150
"""A true cell this near to the slide's edge may not lie whole on it."""
SAYING = {"pyramid": "resolution", "ome": "ome"}


def slide(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Count one large slide in each format, and a pan of a smaller one."""
    picture, truth = made(options.side, options.seed)
    rows = []
    for name in options.formats:
        path = OUT / "slides" / f"{options.side}-{options.seed}.{'ome.tif' if name == 'ome' else 'tif'}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_slide(path, picture, COMPOSED_UM, saying=SAYING[name], levels=4)
        rows.append({"source": name, **counted(path, truth, options.side)})
    del picture
    scene = composed("raster", 501, 10, dirty=False)
    frames = OUT / "slides" / scene.name / "frames"
    out, peak_mb, seconds = run(["count", str(frames), "--pixel-size-um", str(COMPOSED_UM)])
    summary = json.loads((out / "summary.json").read_text())
    px = summary["frames"] * scene.frame_shape[0] * scene.frame_shape[1]
    rows.append(
        {"source": "a pan", "frames": summary["frames"], "frames_s": round(summary["fps"], 2),
         "mpx_s": round(px / summary["seconds"] / 1e6, 1),
         "mm2_s": round(summary["unique_area_mm2"] / summary["seconds"], 4),
         "peak_mb": peak_mb, "seconds": seconds}
    )  # fmt: skip
    return rows


def made(side: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A slide of so many pixels a side, and the centres of its nucleated cells, (N, 2) px, (row, col)."""
    if not (COMPOSER.exists() and CELLS.exists()):
        raise UsageError(f"real cells are not at {CELLS}; put them there")
    spec = importlib.util.spec_from_file_location("compose_slide", COMPOSER)
    assert spec is not None
    assert spec.loader is not None
    composer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(composer)
    picture = np.empty((side, side, 3), np.uint8)
    cells = []
    step = BLOCK_CELLS * 330 + 120
    for number, (top, left) in enumerate((top, left) for top in range(0, side, step) for left in range(0, side, step)):
        block, truth = composer.compose(CELLS, BLOCK_CELLS, np.random.default_rng((seed, number)), POSITIVE, SHARE)
        room = picture[top : top + step, left : left + step]
        room[...] = cv2.cvtColor(block, cv2.COLOR_BGR2RGB)[: room.shape[0], : room.shape[1]]
        cells += [(top + y, left + x) for name, x, y in truth if name != "platelet"]
    found = np.array(cells)
    return picture, found[(found < side - EDGE_PX).all(axis=1)]


def counted(path: Path, truth: NDArray[np.float64], side: int) -> dict[str, Any]:
    """What ``fnrbc count`` makes of a slide file, by itself in a process."""
    out, peak_mb, seconds = run(["count", str(path)])
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
        "tiles": summary["frames"], "tile_px": tile, "tiles_s": round(summary["fps"], 2),
        "mpx_s": round(side**2 / summary["seconds"] / 1e6, 1),
        "mm2_s": round(summary["unique_area_mm2"] / summary["seconds"], 4), "peak_mb": peak_mb, "seconds": seconds,
    }  # fmt: skip


def run(arguments: list[str]) -> tuple[Path, int, float]:
    """The folder that the command wrote, its peak of resident memory in MB, and how long it ran, s."""
    out = OUT / "slides" / "counted"
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(PROJECT / ".venv/bin/fnrbc"), *arguments, "--out", str(out)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise UsageError(f"fnrbc {' '.join(arguments)} ended with {process.returncode}")
    return out, round(usage.ru_maxrss / 1024), round(time.perf_counter() - start, 1)


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
