"""Counts of a pan in the forms that laboratories have it in: the right ones, or a sentence and exit code 1."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from progressing import beside_progress

CASES = Path(__file__).parents[3] / "shared" / "cases"
PIXEL = ("--pixel-size-um", "0.125")
COUNTS = ("frames_used", "islands", "cells", "fnrbc", "leukocytes", "other", "indeterminate")


def fnrbc(*arguments):
    command = [sys.executable, "-m", "fnrbc_device.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    done.stderr = beside_progress(done.stderr)
    return done


def counted(source, out, *options):
    done = fnrbc("count", source, "--out", out, *options)
    assert done.returncode in (0, 1), done.stderr
    return done, json.loads((out / "summary.json").read_text())


def figures(summary):
    return {name: summary[name] for name in COUNTS}


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """Twelve frames of a small pan, without losses, and their count."""
    folder = tmp_path_factory.mktemp("pan")
    write_frames(folder, SimulatedMicroscope(SimulatedSlide.make(31, "giemsa", 12), seed=31), frames=12)
    pictures = []
    for path in sorted((folder / "frames").iterdir()):
        pictures.append(cv2.imread(str(path))[..., ::-1])
    done, summary = counted(folder / "frames", folder / "out", *PIXEL)
    assert (done.returncode, done.stderr, summary["left_out"], summary["complete"]) == (0, "", [], True)
    assert summary["cells"] > 3
    return pictures, summary


def planes(picture):
    return np.ascontiguousarray(np.moveaxis(picture, -1, 0))


def as_stack(folder, pictures):
    tifffile.imwrite(folder / "stack.tif", np.stack(pictures), photometric="rgb", compression="zlib")


def as_composites(folder, pictures):
    for index, picture in enumerate(pictures):
        name = folder / f"{index:03d}.tif"
        tifffile.imwrite(name, planes(picture), imagej=True, metadata={"axes": "CYX", "mode": "composite"})


def as_planar_16_bits(folder, pictures):
    for index, picture in enumerate(pictures):
        deep = planes(picture).astype(np.uint16) * 257
        tifffile.imwrite(folder / f"{index:03d}.tif", deep, photometric="rgb", planarconfig="separate")


def as_unpadded_numbers(folder, pictures):
    for index, picture in enumerate(pictures, 1):
        tifffile.imwrite(folder / f"img_{index}.tif", picture, photometric="rgb")


def with_an_overview(folder, pictures):
    as_unpadded_numbers(folder, pictures)
    tifffile.imwrite(folder / "img_0.tif", pictures[0][::3, ::3], photometric="rgb")


FORMS = {
    "stack": (as_stack, 0, 0), "composites": (as_composites, 0, 0), "planar": (as_planar_16_bits, 0, 0),
    "unpadded numbers": (as_unpadded_numbers, 0, 0), "overview first": (with_an_overview, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pan_in_another_form_counts_the_same(pan, tmp_path, form):
    pictures, truth = pan
    write, lost, exit_code = FORMS[form]
    (tmp_path / "frames").mkdir()
    write(tmp_path / "frames", pictures)

    done, summary = counted(tmp_path / "frames", tmp_path / "out", *PIXEL)

    assert figures(summary) == figures(truth)
    assert (done.returncode, len(summary["left_out"]), summary["complete"]) == (exit_code, lost, lost == 0)
    unpadded = (tmp_path / "frames" / "img_1.tif").exists()
    assert ("note: frames are taken in the order of the numbers" in done.stderr) == unpadded


@pytest.mark.parametrize(("share", "exit_code"), [("0", 1), ("0.05", 1), ("0.2", 0)])
def test_how_much_may_be_left_out_can_be_set(pan, tmp_path, share, exit_code):
    pictures, _ = pan
    (tmp_path / "frames").mkdir()
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / "frames" / f"{index:03d}.png"), picture[..., ::-1])
    (tmp_path / "frames" / "005.png").write_bytes(b"no picture")

    done, summary = counted(tmp_path / "frames", tmp_path / "out", *PIXEL, "--allow-left-out", share)

    assert (done.returncode, summary["complete"]) == (exit_code, exit_code == 0)
    assert summary["left_out"] == [
        {"name": "005.png", "reason": "unreadable", "pictures": 1, "detail": summary["left_out"][0]["detail"]}
    ]
    assert summary["left_out_share"] == {"value": round(1 / 12, 4), "allowed": float(share)}
    assert ("error: 8.3% of the pictures given are not in the count" in done.stderr) == bool(exit_code)
    assert "005.png is no picture" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("level", [0, 15, 255])
def test_frames_of_which_none_can_be_used_are_no_count(tmp_path, level):
    (tmp_path / "frames").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 2, (480, 640, 3), dtype=np.uint8)
        picture = cv2.add(noise, level) if level < 255 else np.full_like(noise, 255)
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), picture)

    done, summary = counted(tmp_path / "frames", tmp_path / "out", *PIXEL)

    assert (done.returncode, summary["frames_used"], summary["complete"]) == (1, 0, False)
    assert "error: none of 3 frames could be used" in done.stderr


def test_red_and_blue_exchanged_is_said_and_can_be_set_right(pan, tmp_path):
    pictures, truth = pan
    (tmp_path / "frames").mkdir()
    for index, picture in enumerate(pictures):
        tifffile.imwrite(tmp_path / "frames" / f"{index:03d}.tif", picture[..., ::-1], photometric="rgb")

    done, summary = counted(tmp_path / "frames", tmp_path / "wrong", *PIXEL)
    assert "warning: the colours cannot be right" in done.stderr
    assert "colours_impossible" in [one["code"] for one in summary["provisional"]]

    done, summary = counted(tmp_path / "frames", tmp_path / "right", *PIXEL, "--exchange-red-blue")
    assert done.stderr == ""
    assert figures(summary) == figures(truth)


def test_the_pixel_size_of_the_files_is_counted_with_and_one_that_contradicts_it_is_refused(pan, tmp_path):
    pictures, truth = pan
    metadata = {"axes": "TYXS", "PhysicalSizeX": 0.125, "PhysicalSizeXUnit": "\N{MICRO SIGN}m"}
    tifffile.imwrite(tmp_path / "pan.ome.tif", np.stack(pictures), photometric="rgb", metadata=metadata)

    done, summary = counted(tmp_path / "pan.ome.tif", tmp_path / "out")
    assert (done.returncode, summary["pixel_size_um"]) == (0, 0.125)
    assert figures(summary) == figures(truth)

    refused = fnrbc("count", tmp_path / "pan.ome.tif", "--out", tmp_path / "no", "--pixel-size-um", "0.25")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--pixel-size-um is 0.25 um, but the files say 0.125 um (pan.ome.tif, OME PhysicalSizeX)" in refused.stderr


# The cases that were reported


def case(name):
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip(f"{name} of ../shared/cases is not here")
    return folder


def test_a_grey_camera_is_provisional_and_a_negative_counts_as_its_positive(tmp_path):
    grey, negative = (
        counted(case(name), tmp_path / name, *PIXEL) for name in ("02-grey-camera", "06-white-is-zero-16bit")
    )
    for done, summary in (grey, negative):
        assert "warning: the colours cannot be right" in done.stderr
        assert "no colours" in done.stderr
        assert "colours_impossible" in [one["code"] for one in summary["provisional"]]
    assert figures(grey[1]) == figures(negative[1])


def test_jpeg_2000_and_zstd_inside_tiff_count_as_the_reference(tmp_path):
    _, truth = counted(case("01-reference") / "000000.jpg", tmp_path / "truth", *PIXEL)
    for name in ("jp2k.tif", "zstd.tif"):
        done, summary = counted(case("14-tiff-codecs") / name, tmp_path / name, *PIXEL)
        assert (done.returncode, done.stderr) == (0, "")
        assert figures(summary) == figures(truth)


@pytest.mark.parametrize(("name", "left", "first"), [
    ("11-heic-and-one-jpg", 8, "IMG_0000.heic is HEIC"), ("12-video-and-one-jpg", 1, "pan.avi is a video"),
])  # fmt: skip
def test_pictures_beside_what_is_not_read_are_no_complete_count(tmp_path, name, left, first):
    done, summary = counted(case(name), tmp_path / "out", *PIXEL)
    assert (done.returncode, summary["complete"], len(summary["left_out"])) == (1, False, left)
    assert first in done.stderr
    assert summary["left_out_share"]["value"] == round(left / (left + 1), 4)


def test_a_fifo_among_the_frames_is_listed_and_not_waited_for(tmp_path):
    shutil.copytree(case("01-reference"), tmp_path / "frames")
    (tmp_path / "frames").chmod(0o755)
    os.mkfifo(tmp_path / "frames" / "000003.jpg")
    done, summary = counted(tmp_path / "frames", tmp_path / "out", *PIXEL)
    assert (done.returncode, summary["left_out"][0]["reason"], summary["fnrbc"]) == (1, "special_file", 3)
