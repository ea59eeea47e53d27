"""From reviewed cells to the network that counts next, through the commands that people type.

    tests/bench/learning.py [--grid 9] [--epochs 40] [--every 1] [--seed 71] [--out out/bench/learning]

Three slides of real cells are counted, each counted cell gets the truth's label as a person would give it, the sessions
are signed off; these cells and the engineer's own become a network, which is compared, installed, and counts a fourth
slide anew. No picture lies on two slides, and none of them did the shipped network learn from; the engineer's own are
the others. What is printed stays as ``OUT/said.txt``, the changed cells as ``OUT/after/report.html``.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.read_only import reading
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_training.description import DESCRIPTION, describe
from fnrbc_training.labelled import Labelled, in_class_folders
from scenes import CELLS, COMPOSED_UM, COMPOSER, DIRT, OUT, PROJECT

TAUGHT: Final = ("first", "second", "third")
"""Sessions with fNRBC that a split by whole sessions needs."""
JUDGED: Final = "fourth"
NEAR_UM: Final = 4.5
"""A counted cell is the labelled one within this."""
READER: Final = "anna"
COMMAND_TIMEOUT_S: Final = 3600.0

Row = Mapping[str, Any]


class Shell:
    """Runs commands as a user types them; what they say is shown and kept."""

    def __init__(self, said: TextIO) -> None:
        self._said = said

    def say(self, text: str) -> None:
        """Show and keep a line."""
        print(text, flush=True)
        print(text, file=self._said, flush=True)

    def run(self, name: str, *arguments: object) -> str:
        """Run one; an exit code other than 0 ends the bench."""
        words = [str(one) for one in arguments]
        self.say(f"$ {' '.join([name, *words])}")
        began = time.perf_counter()
        command = [str(Path(sys.executable).parent / name), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        self.say((done.stdout + done.stderr).rstrip())
        self.say(f"  ({time.perf_counter() - began:.0f} s)")
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}")
        return done.stdout


def dealt(cells: Path, out: Path, every: int) -> None:
    """Deal the pictures: the held-out blocks of each class to the slides in turns, all others to the engineer."""
    listed = in_class_folders(cells, describe(cells), simulated=False)
    turn: Counter[str] = Counter()
    for one in listed:
        turn[one.original] += 1
        if one.part == "heldout":
            slides = (*TAUGHT, JUDGED)
            _link(one, out / "crops" / slides[turn[one.original] % len(slides)])
        elif turn[one.original] % every == 0:
            _link(one, out / "own")
    shutil.copy(cells / DESCRIPTION, out / "own" / DESCRIPTION)


def composed(out: Path, name: str, seed: int, grid: int) -> Path:
    """One slide, panned over."""
    folder = out / "slides" / name
    options = ["--path", "raster", "--seed", str(seed), "--grid", str(grid), "--share", "0.35", *DIRT]
    command = [sys.executable, str(COMPOSER), "--crops", str(out / "crops" / name), "--out", str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S)
    return folder


def named(slide: Path, cells: Iterable[tuple[int, float, float]]) -> dict[int, str]:
    """What each cell is in truth, by its place in um from the first frame's corner; others are left out."""
    truth, corner = _rows(slide / "truth.csv"), _rows(slide / "poses.csv")[0]
    at = np.array([(float(one["x_px"]), float(one["y_px"])) for one in truth])
    at_um = COMPOSED_UM * (at - (float(corner["x_px"]), float(corner["y_px"])))
    away = {cell: np.hypot(*(at_um - (x, y)).T) for cell, x, y in cells}
    return {cell: _called(truth[int(um.argmin())]["class"]) for cell, um in away.items() if um.min() < NEAR_UM}


def reviewed(journal: Path, session: str, slide: Path) -> tuple[int, int]:
    """Decide on every counted cell that the truth names, and sign off; gives how many, and how many were corrected."""
    with reading(journal) as connection:
        rows = connection.execute(
            "SELECT cell, x_um, y_um, role FROM events WHERE session = ? AND island = 0 AND event = 'counted'",
            (session,),
        ).fetchall()
    roles = {cell: role for cell, _, _, role in rows}
    truth = named(slide, [row[:3] for row in rows])
    part = {"fnrbc": "target", "leukocyte": "denominator", "other": "ignored"}
    with Decisions(journal, "scope", SystemClock()) as reviewing:
        for cell, name in truth.items():
            reviewing.decide(session, cell, "reclassified", READER, class_name=name)
    with SignOff(journal, "scope", SystemClock()) as signing:
        signing.sign(session, READER, reason="a bench")
    return len(truth), sum(roles[cell] != part[name] for cell, name in truth.items())


def agreement(counted: Path, slide: Path) -> str:
    """How a count stands to the truth, in words."""
    rows = [one for one in _rows(counted / "cells.csv") if one["island"] == "0"]
    truth = named(slide, [(int(one["cell"]), float(one["x_um"]), float(one["y_um"])) for one in rows])
    said = {int(one["cell"]): one["class"] for one in rows}
    right = sum((said[cell] == "fnrbc") == (name == "fnrbc") for cell, name in truth.items())
    open_ = sum(said[cell] == "indeterminate" for cell in truth)
    return f"{right - _open_right(said, truth)} of {len(truth)} labelled cells rightly fNRBC or none, {open_} left open"


def _open_right(said: Mapping[int, str], truth: Mapping[int, str]) -> int:
    """Not to decide is not right, though the cell is none."""
    return sum(said[cell] == "indeterminate" and name != "fnrbc" for cell, name in truth.items())


def loop(shell: Shell, out: Path, options: argparse.Namespace) -> None:
    """Go round once."""
    dealt(CELLS, out, options.every)
    slides = {
        name: composed(out, name, options.seed + n, options.grid) for n, name in enumerate((*TAUGHT, JUDGED))
    }
    state, config = out / "state", out / "fnrbc.toml"
    journal = state / "journal.sqlite"
    config.unlink(missing_ok=True)
    cells = 0
    for name in TAUGHT:
        _configure(config, state, slides[name])
        shell.run("fnrbc", "run", "--config", config)
        session = _newest(journal)
        labels, corrected = reviewed(journal, session, slides[name])
        cells += labels
        shell.say(f"{session}: {labels} cells reviewed by {READER}, {corrected} of them corrected; signed off")
        shell.run("fnrbc", "drift", session, "--config", config)
    shell.say(f"{cells} reviewed cells in all")
    shell.run("fnrbc", "verify", state)
    before, after = out / "before", out / "after"
    count = ("count", slides[JUDGED] / "frames", "--pixel-size-um", COMPOSED_UM)
    shell.run("fnrbc", *count, "--out", before)
    data, crops, checkpoint, bundle = out / "reviewed", out / "crops.npz", out / "pnet.pt", out / "pnet-8"
    shell.run("fnrbc", "reviewed", "--out", data, "--stain", "May-Gruenwald-Giemsa", "--config", config)
    shell.run("fnrbc-train", "cut", "--data", out / "own", "--data", data / "cells.csv", "--out", crops)
    shell.run("fnrbc-train", "fit", "--data", crops, "--out", checkpoint, "--epochs", options.epochs)
    shell.run("fnrbc-export", "onnx", checkpoint, "--out", bundle)
    shell.run("fnrbc", "bundle", "compare", bundle, "--config", config)
    shell.run("fnrbc", "bundle", "install", bundle, "--config", config)
    shell.run("fnrbc", "bundle", "use", "shipped", "--config", config)
    name = next((state / "bundles").glob("*/manifest.json")).parent.name
    shell.run("fnrbc", "bundle", "use", name, "--config", config)
    shell.run("fnrbc", "bundle", "list", "--config", config)
    shell.run("fnrbc", *count, "--bundle", state / "bundles" / name, "--compare", before, "--out", after)
    for words, folder in (("before", before), ("after", after)):
        shell.say(f"the fourth slide, {words}: {agreement(folder, slides[JUDGED])}")


def _configure(config: Path, state: Path, slide: Path) -> None:
    config.write_text(
        f'state_dir = "{state}"\n'
        f'[camera]\nkind = "replay"\npath = "{slide / "frames"}"\npixel_size_um = {COMPOSED_UM}\n'
        "[web]\nenabled = false\n[mqtt]\nenabled = false\n",
        encoding="utf-8",
    )


def _newest(journal: Path) -> str:
    with reading(journal) as connection:
        (session,) = connection.execute("SELECT session FROM sessions ORDER BY started_utc DESC, rowid DESC").fetchone()
    return str(session)


def _link(one: Labelled, folder: Path) -> None:
    place = folder / one.original / one.path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(one.path.resolve())


def _called(name: str) -> str:
    return {"erythroblast": "fnrbc", "platelet": "other"}.get(name, "leukocyte")


def _rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=9, help="cells along each side of a slide")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="one of so many of the engineer's own pictures")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--out", type=Path, default=OUT / "learning", help="made anew")
    options = parser.parse_args()
    if not (COMPOSER.is_file() and CELLS.is_dir()):
        sys.exit(f"the bench needs real cells at {CELLS} and {COMPOSER} beside {PROJECT}; put them there")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    out = options.out.absolute()  # what the configuration names is found from anywhere
    with (out / "said.txt").open("w", encoding="utf-8") as said:
        loop(Shell(said), out, options)


if __name__ == "__main__":
    main()
