"""Slides composed of real cells, panned; skipped where those cells are not at hand."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from truth import held_against, offset_of

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
CELLS, COMPOSER = SHARED / "data" / "pbc", SHARED / "tools" / "compose_slide.py"
POSES = SHARED / "data" / "hand_pan" / "poses.csv"
PIXEL_SIZE_UM = 0.105

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not COMPOSER.exists() or not CELLS.exists(), reason=f"real cells are not at {CELLS}"),
]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("path", "seed", "grid", "options"),
    [
        ("raster", 101, 7, []),
        ("hand", 102, 6, ["--trajectory", str(POSES)]),
        ("raster", 103, 6, ["--dust", "12", "--vignette", "0.2", "--drift", "0.1"]),
    ],
)
def test_labelled_cells_of_a_composed_slide_are_counted_once(tmp_path, path, seed, grid, options):
    slide, out = tmp_path / "slide", tmp_path / "out"
    compose = [sys.executable, COMPOSER, "--crops", CELLS, "--out", slide, "--path", path, "--seed", str(seed)]
    subprocess.run([*map(str, compose), "--grid", str(grid), *options], check=True, stdout=subprocess.DEVNULL)
    count = [sys.executable, "-m", "fnrbc_device.cli", "count", slide / "frames", "--out", out]
    subprocess.run([*map(str, count), "--pixel-size-um", str(PIXEL_SIZE_UM)], check=True, stdout=subprocess.DEVNULL)

    summary = json.loads((out / "summary.json").read_text())
    cells, truth = rows(out / "cells.csv"), rows(slide / "truth.csv")
    assert summary["islands"] == 1
    poses = [(float(p["y_px"]), float(p["x_px"])) for p in rows(out / "poses.csv")]
    true_poses = [(float(p["y_px"]), float(p["x_px"])) for p in rows(slide / "poses.csv")]
    counted = np.array([(float(c["y_px"]), float(c["x_px"])) for c in cells]) - offset_of(poses, true_poses)
    nucleated = [t for t in truth if t["class"] != "platelet"]
    places = np.array([(float(t["y_px"]), float(t["x_px"])) for t in nucleated])
    sharp = np.array([int(t["times_sharp"]) >= 3 for t in nucleated])
    held = held_against(places, sharp, counted, PIXEL_SIZE_UM)
    assert held.twice == []
    # A few labels name a crop whose cell lies off its centre: one of so few cells weighs 2 to 3 %.
    assert held.found >= held.wanted - max(1, round(0.02 * held.wanted))

    labelled = [
        (nucleated[true]["class"] == "erythroblast", cells[mine]["class"] == "fnrbc")
        for true, mine in held.nearest.items()
    ]
    true_fnrbc, counted_fnrbc = (sum(column) for column in zip(*labelled, strict=True))
    assert counted_fnrbc == pytest.approx(true_fnrbc, rel=0.05, abs=1)
