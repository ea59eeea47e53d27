"""The learning bench deals its pictures fairly, and names the cells that it reviews by where they lie."""

import csv
from collections import Counter
from pathlib import Path

import pytest

import learning

CLASSES = ("erythroblast", "neutrophil")
MANY = 100


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(MANY):
            (folder / name / f"{name}_{number:04d}.jpg").write_bytes(b"")
    (folder / "dataset.toml").write_text(
        'pixel_size_um = 0.105\nstain = "none"\nsource = "made"\n[classes]\n'
        'erythroblast = "fnrbc"\nneutrophil = "leukocyte"\n'
    )
    return folder


def test_no_picture_is_dealt_twice_and_each_slide_has_of_every_class(cells: Path, tmp_path: Path) -> None:
    learning.dealt(cells, tmp_path / "out", every=1)
    dealt = Counter(path.resolve() for path in (tmp_path / "out").rglob("*.jpg"))
    assert set(dealt.values()) == {1}
    assert len(dealt) == len(CLASSES) * MANY
    for slide in (*learning.TAUGHT, learning.JUDGED):
        for name in CLASSES:
            assert len(list((tmp_path / "out" / "crops" / slide / name).iterdir())) == MANY / 20
    assert (tmp_path / "out" / "own" / "dataset.toml").is_file()


def test_a_cell_is_what_the_truth_has_at_its_place_and_nothing_where_it_has_none(tmp_path: Path) -> None:
    um = learning.COMPOSED_UM
    tables = {
        "poses.csv": [("x_px", "y_px"), (100, 50), (900, 900)],
        "truth.csv": [("class", "x_px", "y_px"), ("erythroblast", 300, 250), ("platelet", 600, 250), ("ig", 900, 250)],
    }
    for name, rows in tables.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    at = {1: (800, 203), 2: (200, 200), 3: (501, 200), 4: (200, 400)}
    named = learning.named(tmp_path, [(cell, um * x, um * y) for cell, (x, y) in at.items()])
    assert named == {1: "leukocyte", 2: "fnrbc", 3: "other"}


def test_what_is_left_open_is_not_right(tmp_path: Path) -> None:
    for name, rows in {
        "poses.csv": [("x_px", "y_px"), (0, 0)],
        "truth.csv": [("class", "x_px", "y_px"), *(("ig", 100 * n, 0) for n in range(1, 5))],
        "cells.csv": [
            ("cell", "island", "x_um", "y_um", "class"),
            *((n, 0, 100 * n * learning.COMPOSED_UM, 0, said)
              for n, said in enumerate(("leukocyte", "other", "fnrbc", "indeterminate"), 1)),
        ],
    }.items():  # fmt: skip
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    assert learning.agreement(tmp_path, tmp_path).startswith("2 of 4 labelled cells rightly fNRBC or none, 1 left open")
