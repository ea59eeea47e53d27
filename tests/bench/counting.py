"""Shows how well cells are counted: one bench a subcommand, each a table or JSON.

Run ``.venv/bin/python tests/bench/counting.py --help``; what each bench measures is in README.md beside this file.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import numpy as np

import costs
import handpan
import jumping
import variations
from figures import fates, figures, matched, placed
from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import FnrbcError
from fnrbc_device.host.malloc import keep_large_buffers
from fnrbc_device.model.bundle import load_bundle
from pictures import sheet
from recording import record
from scenes import OUT, PATHS, Scene, composed, frames_of, simulated

Rows = list[dict[str, Any]]


def slide(options: argparse.Namespace) -> Rows:
    """Composed slides of real cells."""
    rows = []
    for path in options.paths:
        for seed in options.seeds:
            for dirty in (False, True) if options.dirt == "both" else (options.dirt == "yes",):
                rows.append(_judged(composed(path, seed, options.grid, dirty=dirty), options))
    return rows


def simulated_slide(options: argparse.Namespace) -> Rows:
    """One large simulated slide, panned by the simulated hand."""
    made = SimulatedSlide.make(
        options.seed, options.look, options.cells, options.pixel_size_um, nucleated_per_mm2=options.density
    )
    path = hand_path(made.image.shape, (960, 1280), options.seed, options.frames)
    return [_judged(simulated(SimulatedMicroscope(made, path, seed=options.seed)), options)]


def jump(options: argparse.Namespace) -> Rows:
    """Simulated jumps, some to ground seen before."""
    return jumping.judged(options.sessions, options.jumps, options.frames, options.seed)


def hand_pan(options: argparse.Namespace) -> Rows:
    """The real hand-moved pan against the placement by other software."""
    return handpan.judged(options.pictures)


def dwell(options: argparse.Namespace) -> Rows:
    """The same pan rested on, driven backwards, and counted twice."""
    return variations.dwelt(options.cells, options.times, options.seed)


def rates(options: argparse.Namespace) -> Rows:
    """The same pan at several frame rates, and with frames left out at random."""
    return variations.at_rates(options.cells, options.seed)


def cost(options: argparse.Namespace) -> Rows:
    """Cost of a frame with few and with very many cells in the ledger."""
    return costs.judged(options.ledger, options.frames, options.seed, (options.frame_px[1], options.frame_px[0]))


def threads(options: argparse.Namespace) -> Rows:
    """OpenCV on one thread and with its pool."""
    return costs.threads(options.frames, options.seed)


def main() -> int:
    """Run one bench; 0 done, 2 wrong usage."""
    options = _parser().parse_args()
    keep_large_buffers()
    try:
        rows = options.bench(options)
    except FnrbcError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(rows, indent=2) if options.json else table(rows))
    return 0


def table(rows: Rows) -> str:
    """One column a row of figures, one line a figure; lists are told below."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, list)))
    widths = [max(8, *(len(str(row.get(name, ""))) for name in names)) + 2 for row in rows]
    lines = [
        f"{name:22}" + "".join(f"{row.get(name, '')!s:>{width}}" for row, width in zip(rows, widths, strict=True))
        for name in names
    ]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, list) and value:
                lines += [f"{row.get('name', '')}: {name}", *(f"  {_told(item)}" for item in value)]
    return "\n".join(lines)


def _told(item: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in item.items()) if isinstance(item, dict) else str(item)


def _judged(scene: Scene, options: argparse.Namespace) -> dict[str, Any]:
    order = np.arange(len(scene.corners_rc))
    recording = record(frames_of(scene), order, scene.pixel_size_um, load_bundle(None))
    laid = placed(recording, scene)
    cells = matched(recording, scene, laid)
    if options.pictures:
        name = "".join(message if message.isalnum() else "-" for message in scene.name)
        sheet(scene, scene.cells_rc[cells.missed], cells.places_rc, OUT / f"{name}-missed.png")
        sheet(scene, cells.places_rc[cells.doubles[:, 0]], cells.places_rc, OUT / f"{name}-close.png")
    close = [
        {
            "cells": recording.numbers[pair].tolist(),
            "islands": recording.cell_islands[pair].tolist(),
            "x_px": round(float(cells.places_rc[pair[0], 1]), 1),
            "y_px": round(float(cells.places_rc[pair[0], 0]), 1),
        }
        for pair in cells.doubles
    ]
    missed = fates(recording, scene, laid, cells.missed)
    return {"name": scene.name, **figures(recording, scene), "missed_cells": missed, "close_cells": close}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    benches = parser.add_subparsers(required=True, metavar="BENCH")
    at = _add(benches, "slide", slide, pictures=True)
    at.add_argument("--paths", nargs="+", default=list(PATHS), choices=PATHS)
    at.add_argument("--seeds", nargs="+", type=int, default=[201, 202])
    at.add_argument("--grid", type=int, default=10, help="cells along each side of the slide")
    at.add_argument("--dirt", choices=("no", "yes", "both"), default="both")
    at = _add(benches, "simulated", simulated_slide, pictures=True)
    at.add_argument("--cells", type=int, default=5000)
    at.add_argument("--density", type=float, default=940.0, help="nucleated cells a mm2")
    at.add_argument("--look", choices=("giemsa", "he"), default="giemsa")
    at.add_argument("--pixel-size-um", type=float, default=0.2)
    at.add_argument("--frames", type=int, help="[default: the whole slide]")
    at = _add(benches, "jump", jump)
    at.add_argument("--sessions", type=int, default=5)
    at.add_argument("--jumps", type=int, default=42, help="a session")
    at.add_argument("--frames", type=int, default=7, help="from one jump to the next")
    _add(benches, "handpan", hand_pan, pictures=True)
    at = _add(benches, "dwell", dwell)
    at.add_argument("--cells", type=int, default=120)
    at.add_argument("--times", type=int, default=6)
    at = _add(benches, "rates", rates)
    at.add_argument("--cells", type=int, default=200)
    at = _add(benches, "cost", cost)
    at.add_argument("--ledger", nargs="+", type=int, default=[1_000, 1_000_000], help="cells in the ledger")
    at.add_argument("--frames", type=int, default=60)
    at.add_argument("--frame-px", nargs=2, type=int, default=[1280, 960], metavar=("WIDTH", "HEIGHT"))
    at = _add(benches, "threads", threads)
    at.add_argument("--frames", type=int, default=80)
    return parser


def _add(
    benches: Any, name: str, bench: Callable[[argparse.Namespace], Rows], *, pictures: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = benches.add_parser(name, help=bench.__doc__, description=bench.__doc__)
    parser.set_defaults(bench=bench)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seed", type=int, default=0)
    if pictures:
        parser.add_argument("--pictures", action="store_true", help=f"write what to look at below {OUT.name}/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
