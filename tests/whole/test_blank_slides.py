"""Blank slides composed of real leukocytes alone, and slides with fNRBC; skipped where those cells are not at hand."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
DATA, COMPOSER = SHARED / "data", SHARED / "tools" / "compose_slide.py"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not COMPOSER.exists() or not DATA.exists(), reason=f"real cells are not at {DATA}"),
]


def counted(tmp_path, laboratory, pixel_size_um, share, grid, seed):
    """Compose a slide and count it, panned."""
    slide, out = tmp_path / "slide", tmp_path / "out"
    compose = [sys.executable, COMPOSER, "--crops", DATA / laboratory, "--out", slide, "--path", "raster"]
    chance = ["--grid", str(grid), "--seed", str(seed), "--share", str(share)]
    subprocess.run([*map(str, compose), *chance], check=True, stdout=subprocess.DEVNULL)
    count = [sys.executable, "-m", "fnrbc_device.cli", "count", slide / "frames", "--out", out]
    done = subprocess.run(
        [*map(str, count), "--pixel-size-um", str(pixel_size_um)], check=True, capture_output=True, text=True
    )
    return json.loads((out / "summary.json").read_text()), out, done.stdout


@pytest.mark.parametrize(("laboratory", "pixel_size_um"), [("pbc", 0.105), ("munich", 0.086)])
def test_a_slide_of_leukocytes_alone_never_reads_as_a_positive_one(tmp_path, laboratory, pixel_size_um):
    summary, out, said = counted(tmp_path, laboratory, pixel_size_um, 0, 8, 71)

    claim = summary["claim"]
    assert claim["state"] != "above_blank"
    assert claim["words"] in said
    assert claim["words"] in (out / "report.html").read_text()
    with (out / "counts.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["claim"] == claim["state"]
    assert row["provisional"].split() == [reason["code"] for reason in summary["provisional"]]
    assert int(row["fnrbc"]) == summary["fnrbc"]  # the plain count stands beside it


def test_a_good_slide_with_fnrbc_reads_as_one_and_is_not_provisional(tmp_path):
    summary, *_ = counted(tmp_path, "pbc", 0.105, 0.3, 8, 72)
    assert summary["provisional"] == []
    assert summary["claim"]["state"] == "above_blank"
    assert summary["claim"]["fnrbc_per_100_leukocytes"]["low"] > 0


def test_a_slide_stained_half_as_deep_again_makes_the_count_provisional_everywhere_it_is_said(tmp_path):
    slide, out = tmp_path / "slide", tmp_path / "out"
    compose = [sys.executable, COMPOSER, "--crops", DATA / "pbc", "--out", slide, "--path", "raster"]
    subprocess.run([*map(str, compose), "--grid", "7", "--seed", "73"], check=True, stdout=subprocess.DEVNULL)
    deeper = np.rint(251 * (np.arange(256) / 251) ** 1.5).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "deeper.png"), cv2.LUT(cv2.imread(str(slide / "slide.png")), deeper))
    count = [sys.executable, "-m", "fnrbc_device.cli", "count", tmp_path / "deeper.png", "--out", out]
    done = subprocess.run(
        [*map(str, count), "--pixel-size-um", "0.105"], check=True, capture_output=True, text=True
    )
    summary = json.loads((out / "summary.json").read_text())

    assert "stain_out_of_domain" in [reason["code"] for reason in summary["provisional"]]
    assert summary["claim"]["state"] == "provisional"
    assert summary["claim"]["fnrbc_per_100_leukocytes"]["value"] is None
    assert "Provisional: " in done.stdout
    assert "Provisional: " in (out / "report.html").read_text()
