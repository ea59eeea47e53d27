"""Slides composed of real cells, counted with and without dust, vignetting and drift: the same cells, and no dust."""

import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.replay import open_source
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from seeing_pictures import Result, Wanted, rows_of, share

PIXEL_UM: Final = 0.105
NEAR_UM: Final = 4.5
GRID: Final = 9
"""Cells a side: 3090 px, which the window of 1280x960 pans in some 100 frames."""

FAULTS: Final = ("--dust", "12", "--vignette", "0.3", "--drift", "0.15")
LEAST_KEPT: Final = 0.99
COMPOSING_S: Final = 300.0

Places = NDArray[np.float64]
"""(N, 2) row, col, px on the composed slide."""


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """What one slide came to."""

    cells: Places
    labelled: NDArray[np.bool_]
    """Of the labelled nucleated cells that lay sharp in three frames: which were counted."""
    figures: dict[str, Any]


def measure(data: Path, limit: int | None, seed: int = 31, path: str = "raster", keep: Path | None = None) -> Result:
    """Compose one slide twice, count both, compare. ``limit`` is the number of cells along a side.

    Raises
    ------
    FileNotFoundError
        The composing tool is not beside the data.
    """
    tool = data.parent / "tools" / "compose_slide.py"
    if not tool.exists():
        raise FileNotFoundError(f"{tool} is missing; it lies beside the folder given with --data")
    with TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        options = ["--seed", str(seed), "--path", path, "--grid", str(limit or GRID)]
        if path == "hand":
            options += ["--trajectory", str(data / "hand_pan" / "poses.csv")]
        plain = _count(_compose(tool, data, folder / "plain", options))
        faulty = _count(_compose(tool, data, folder / "faulty", [*options, *FAULTS]))
    return _result(plain, faulty)


def _compose(tool: Path, data: Path, out: Path, options: list[str]) -> Path:
    command = [sys.executable, str(tool), "--crops", str(data / "pbc"), "--out", str(out), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=COMPOSING_S)
    return out


def _count(folder: Path) -> _Counted:
    """Count a composed slide's frames; places are brought from the first island's frame to the slide's."""
    bundle = load_bundle(None)
    true_poses = [(float(row["y_px"]), float(row["x_px"])) for row in rows_of(folder / "poses.csv")]
    with closing(OnnxClassifier(bundle)) as classifier, closing(open_source(folder / "frames", PIXEL_UM)) as source:
        analyser = Analyser(PIXEL_UM, classifier, bundle.manifest)
        offsets: dict[int, list[Places]] = {}
        while (frame := source.read()) is not None:
            pose = analyser.analyse(frame).pose
            if pose is not None:
                true = np.array(true_poses[frame.index])
                offsets.setdefault(pose.island, []).append(true - (pose.row_px, pose.col_px))
        analyser.finish()
    origin = {island: np.median(some, axis=0) for island, some in offsets.items()}
    # The origin of a camera pixel's shift differs by the window's corner, which both slides share.
    places = [np.array([cell.row_px, cell.col_px]) + origin[cell.island] for cell in analyser.cells()]
    cells = np.array(places).reshape(-1, 2)
    tally = analyser.tally()
    return _Counted(
        cells,
        _labelled(folder, cells),
        {
            "frames": tally.frames,
            "rejected": tally.frames_rejected,
            "islands": tally.islands,
            "cells": tally.cells,
            "fnrbc": tally.fnrbc,
            "leukocytes": tally.leukocytes,
            "other": tally.other,
            "indeterminate": tally.indeterminate,
        },
    )


def _labelled(folder: Path, cells: Places) -> NDArray[np.bool_]:
    rows = [r for r in rows_of(folder / "truth.csv") if r["class"] != "platelet" and int(r["times_sharp"]) >= 3]
    truth = np.array([(float(row["y_px"]), float(row["x_px"])) for row in rows]).reshape(-1, 2)
    return _near(truth, cells)


def _near(places: Places, others: Places) -> NDArray[np.bool_]:
    """Of each place, whether one of the others lies within ``NEAR_UM``."""
    if not len(others) or not len(places):
        return np.zeros(len(places), bool)
    apart = np.hypot(*(places[:, None] - others[None]).transpose(2, 0, 1))
    near: NDArray[np.bool_] = apart.min(axis=1) * PIXEL_UM <= NEAR_UM
    return near


def _result(plain: _Counted, faulty: _Counted) -> Result:
    kept = share(int((plain.labelled & faulty.labelled).sum()), int(plain.labelled.sum()))
    kept_any = share(int(_near(plain.cells, faulty.cells).sum()), len(plain.cells))
    added = faulty.cells[~_near(faulty.cells, plain.cells)]
    figures = {
        "labelled": len(plain.labelled),
        "labelled_found": int(plain.labelled.sum()),
        "labelled_kept_share": round(kept, 4),
        "counted_kept_share": round(kept_any, 4),
        "added": len(added),
        "added_rc": _rounded(added),
        "plain": plain.figures,
        "faulty": faulty.figures,
    }
    table = [
        f"{'':8}" + "".join(f"{name:>14}" for name in plain.figures if name != "rejected"),
        *(_row(name, one.figures) for name, one in (("plain", plain), ("faulty", faulty))),
        f"of {int(plain.labelled.sum())} labelled cells found on the plain slide (of {len(plain.labelled)} to find) "
        f"{kept:.4f} are found with dust, vignetting and drift",
        f"of all {len(plain.cells)} counted cells {kept_any:.4f} are; {len(added)} are counted that were not before",
    ]
    wanted = [
        Wanted("labelled cells kept", kept, at_least=LEAST_KEPT),
        Wanted("counted cells kept", kept_any, at_least=LEAST_KEPT),
        Wanted("cells counted that are dust", len(added), at_most=0),
    ]
    return Result("composed", figures, table, wanted)


def _rounded(places: Iterable[NDArray[np.float64]]) -> list[list[float]]:
    return [[round(float(row), 1), round(float(col), 1)] for row, col in places]


def _row(name: str, figures: dict[str, Any]) -> str:
    return f"{name:8}" + "".join(f"{value:14}" for key, value in figures.items() if key != "rejected")
