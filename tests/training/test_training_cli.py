import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.model.bundle import load_bundle

TRAIN = [sys.executable, "-c", "from fnrbc_training.cli import main; main()"]


def run(*arguments):
    return subprocess.run([*TRAIN, *map(str, arguments)], capture_output=True, text=True, timeout=240)


def test_cut_says_what_it_found_and_what_it_missed(make_folder, tmp_path):
    done = run("cut", "--data", make_folder(each=3), "--out", tmp_path / "set.npz")

    assert (done.returncode, done.stderr) == (0, "")
    assert "painted: 9 pictures, 0 duplicates dropped" in done.stdout
    assert "9 crops" in done.stdout


def test_a_cut_that_drops_more_than_a_tenth_of_what_was_named_fails_and_writes_nothing(make_folder, tmp_path):
    folder = make_folder(each=3)
    for path in sorted((folder / "white").glob("*.png"))[:2]:
        cv2.imwrite(str(path), np.full((300, 300, 3), int(path.stem[-1]) + 220, np.uint8))  # empty glass
    asked = ("cut", "--data", folder, "--out", tmp_path / "set.npz")
    done = run(*asked)

    assert done.returncode == 1
    assert done.stderr.startswith("error: painted: no cell was found at 2 of 9 places, above the limit of 10%; see")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "set.npz").exists()
    assert run(*asked, "--most-dropped", "0.25").returncode == 0


def test_a_wrong_folder_is_one_sentence_and_exit_code_2(tmp_path):
    done = run("cut", "--data", tmp_path / "nowhere", "--out", tmp_path / "set.npz")

    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_option_is_exit_code_2():
    assert run("fit", "--colour", "blue").returncode == 2


def test_a_changed_bundle_is_one_sentence_and_exit_code_1(make_folder, tmp_path):
    from fnrbc_device.model.bundle import SHIPPED

    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    with (bundle / "model.onnx").open("r+b") as file:
        file.write(b"\xff")
    done = run("evaluate", "--data", make_folder(each=3), "--bundle", bundle)

    assert done.returncode == 1
    assert "model.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_prints_one_object_with_all_that_was_promised(make_folder):
    done = run("evaluate", "--data", make_folder(each=3), "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 0
    assert {"metrics", "confusion", "threshold"} <= set(found)
    for name in ("accuracy", "sensitivity", "specificity"):
        figure = found["metrics"][name]
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert found["metrics"]["n"] == 6
    assert {"ece", "indeterminate"} <= set(found["metrics"])
    assert set(found["confusion"]) == {"red", "white"}
    assert found["missed"] == {"red": 0, "white": 0, "crumb": 3}  # the device sees no cell in a crumb
    assert found["bundle"] == load_bundle(None).id


@pytest.mark.real_data
def test_evaluate_leaves_out_what_the_bundle_was_trained_on(tmp_path):
    pbc = Path(__file__).parents[3] / "shared" / "data" / "pbc"
    if not pbc.is_dir():
        pytest.skip("the real cells of ../shared/data/pbc are absent")
    few = tmp_path / "few"
    for folder in (p for p in pbc.iterdir() if p.is_dir()):
        (few / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[::25]:
            shutil.copy(path, few / folder.name)
    shutil.copy(pbc / "dataset.toml", few)

    found = json.loads(run("evaluate", "--data", few, "--json").stdout)

    assert found["left_out_as_seen"] > 2 * found["metrics"]["n"] > 0
    assert found["metrics"]["accuracy"]["value"] > 0.9
