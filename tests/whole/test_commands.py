"""The commands as a person types them: what they write, what they refuse, how they end."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import httpx
import numpy as np
import pytest

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.model.manifest import Manifest
from older_bundle import SHIPPED, bundle_without_eyes
from progressing import beside_progress

PIXEL = ("--pixel-size-um", "0.125")


def fnrbc(*arguments, timeout_s=120):
    command = [sys.executable, "-m", "fnrbc_device.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    done.stderr = beside_progress(done.stderr)
    return done


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A recorded pan of a small simulated slide."""
    folder = tmp_path_factory.mktemp("pan") / "slide"
    slide = SimulatedSlide.make(31, "giemsa", 12)
    write_frames(folder, SimulatedMicroscope(slide, seed=31), frames=60)
    return folder / "frames"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_count_writes_what_the_contract_says(pan, tmp_path):
    out = tmp_path / "out"

    done = fnrbc("count", pan, "--out", out, *PIXEL, "--json")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads((out / "summary.json").read_text())
    assert summary == json.loads(done.stdout)
    assert set(summary) >= {
        "frames", "frames_used", "frames_rejected", "islands", "cells", "fnrbc", "leukocytes", "other",
        "indeterminate", "fnrbc_per_100_leukocytes", "leukocytes_to_go", "unique_area_mm2", "revisit_share",
        "cells_open", "complete", "bundle", "version", "seconds", "fps",
    }  # fmt: skip
    cells = rows(out / "cells.csv")
    assert list(cells[0]) == [
        "cell", "island", "x_px", "y_px", "x_um", "y_um", "class", "probability", "views", "diameter_um",
        "nucleus_ratio", "best_frame",
    ]  # fmt: skip
    assert len(cells) == summary["cells"] > 0
    assert sum(cell["class"] == "fnrbc" for cell in cells) == summary["fnrbc"]
    poses = rows(out / "poses.csv")
    assert list(poses[0]) == ["frame", "island", "x_px", "y_px", "used", "reason"]
    assert [int(pose["frame"]) for pose in poses] == list(range(60))
    assert sum(int(pose["used"]) for pose in poses) == summary["frames_used"]
    assert summary["complete"] is True
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "For research use only. Not for use in diagnostic procedures." in report
    assert 'src="http' not in report


def test_a_pixel_size_that_the_red_cells_rule_out_is_warned_of_and_counted_with_all_the_same(pan, tmp_path):
    right = fnrbc("count", pan, "--out", tmp_path / "right", *PIXEL, "--json")
    wrong = fnrbc("count", pan, "--out", tmp_path / "wrong", "--pixel-size-um", "0.08", "--json")

    summaries = [json.loads(done.stdout) for done in (right, wrong)]
    assert [summary["pixel_size_um"] for summary in summaries] == [0.125, 0.08]
    for summary in summaries:
        estimate = summary["pixel_size_estimate_um"]
        assert estimate["low"] < 0.125 < estimate["high"]
        assert estimate["low"] < estimate["value"] < estimate["high"]
        assert estimate["cells"] > 12
    assert right.stderr == ""
    assert wrong.returncode == 0
    assert wrong.stderr.startswith("warning: --pixel-size-um is 0.08 um, but red cells suggest 0.1")
    assert wrong.stderr.count("\n") == 1


def test_without_a_pixel_size_the_refusal_offers_what_the_red_cells_suggest(pan, tmp_path):
    done = fnrbc("count", pan, "--out", tmp_path / "out")

    assert done.returncode == 2
    assert "red cells suggest 0.1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_counts_of_the_same_frames_write_identical_files(pan, tmp_path):
    for name in ("a", "b"):
        assert fnrbc("count", pan, "--out", tmp_path / name, *PIXEL).returncode == 0

    for name in ("cells.csv", "poses.csv", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first, second = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("a", "b"))
    pan_speed = {"seconds", "fps"}  # how fast it was counted is all that may differ
    assert {k: v for k, v in first.items() if k not in pan_speed} == {
        k: v for k, v in second.items() if k not in pan_speed
    }


def test_no_summary_of_an_earlier_count_stands_beside_what_was_written_of_another(pan, tmp_path):
    assert fnrbc("count", pan, *PIXEL, "--out", tmp_path / "out").returncode == 0
    (tmp_path / "out" / "poses.csv").unlink()
    (tmp_path / "out" / "poses.csv").mkdir()  # where a disk is full, or the process is killed

    done = fnrbc("count", pan, *PIXEL, "--seeing", "threshold", "--out", tmp_path / "out")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not {"summary.json", "report.html"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_a_bad_frame_costs_that_frame_only(pan, tmp_path):
    folder = tmp_path / "frames"
    shutil.copytree(pan, folder)
    torn = folder / "000007.jpg"
    torn.write_bytes(torn.read_bytes()[:20000])
    (folder / "000011.jpg").write_bytes(b"no picture")
    small = cv2.imread(str(folder / "000012.jpg"))[:500]
    cv2.imwrite(str(folder / "000012.jpg"), small)
    shutil.copy(folder / "000020.jpg", folder / "000021.jpg")

    done = fnrbc("count", folder, "--out", tmp_path / "out", *PIXEL, "--allow-left-out", "0.05")

    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"] == 60
    assert [one["name"] for one in summary["left_out"]] == ["000007.jpg", "000011.jpg", "000012.jpg"]
    assert summary["frames_rejected"] == {"repeated": 1, "unreadable": 2, "wrong_size": 1}
    assert summary["frames_used"] == 56
    assert {pose["frame"]: pose["reason"] for pose in rows(tmp_path / "out" / "poses.csv") if pose["reason"]} == {
        "7": "unreadable", "11": "unreadable", "12": "wrong_size", "21": "repeated",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["grey", "sixteen_bit", "alpha"])
def test_other_kinds_of_picture_count_alike(pan, tmp_path, kind):
    picture = cv2.imread(str(pan / "000000.jpg"))
    if kind == "grey":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    elif kind == "sixteen_bit":
        picture = picture.astype(np.uint16) * 257
    else:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
    cv2.imwrite(str(tmp_path / "one.png"), picture)

    done = fnrbc("count", tmp_path / "one.png", "--out", tmp_path / "out", *PIXEL, "--json")

    assert done.returncode == 0, done.stderr
    plain = fnrbc("count", pan / "000000.jpg", "--out", tmp_path / "plain", *PIXEL, "--json")
    assert abs(json.loads(done.stdout)["cells"] - json.loads(plain.stdout)["cells"]) <= 1


def test_one_large_image_is_one_frame(tmp_path):
    slide = SimulatedSlide.make(32, "giemsa", 40)
    cv2.imwrite(str(tmp_path / "slide.png"), slide.image[..., ::-1])

    done = fnrbc("count", tmp_path / "slide.png", "--out", tmp_path / "out", *PIXEL, "--json")

    summary = json.loads(done.stdout)
    assert (summary["frames"], summary["frames_used"], summary["islands"]) == (1, 1, 1)
    assert 36 <= summary["cells"] <= 44  # some lie at the border
    assert summary["complete"] is True


def stricter_bundle(folder):
    """The shipped model, but what is not almost certainly an fNRBC is indeterminate."""
    shutil.copytree(SHIPPED, folder)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    stricter = manifest.model_copy(update={"indeterminate": (0.0, 0.9999)})
    sealed = stricter.model_copy(update={"bundle_id": stricter.identify()})
    (folder / "manifest.json").write_bytes(sealed.canonical())
    return folder


def test_a_recount_with_another_model_tells_the_difference_cell_by_cell(pan, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert fnrbc("count", pan, "--out", first, *PIXEL).returncode == 0
    bundle = stricter_bundle(tmp_path / "bundle")

    done = fnrbc("count", pan, "--out", second, *PIXEL, "--bundle", bundle, "--compare", first)

    assert done.returncode == 0, done.stderr
    before, now, told = (rows(path) for path in (first / "cells.csv", second / "cells.csv", second / "difference.csv"))
    assert [(one["x_um"], one["y_um"]) for one in before] == [(one["x_um"], one["y_um"]) for one in now]
    assert [(one["class_before"], one["class"]) for one in told] == [
        (old["class"], new["class"]) for old, new in zip(before, now, strict=True)
    ]
    changed = sum(one["class_before"] != one["class"] for one in told)
    assert 0 < changed == sum(int(one["changed"]) for one in told)
    assert f"{changed} of {len(told)} cells changed: " in done.stdout
    assert "became indeterminate" in done.stdout
    summary = json.loads((second / "summary.json").read_text())
    assert summary["difference"]["changed"] == changed
    assert summary["difference"]["bundle_before"] == json.loads((first / "summary.json").read_text())["bundle"]
    assert summary["bundle"] != summary["difference"]["bundle_before"]
    page = (second / "report.html").read_text()
    assert "What changed since the earlier count" in page
    assert f"<td>{changed} of {len(told)}</td>" in page
    assert len(re.findall(r"<b>\d+</b> \w+ \N{RIGHTWARDS ARROW} \w+", page)) == changed
    assert "What changed" not in (first / "report.html").read_text()


def test_counts_that_cannot_be_compared_are_refused_before_they_are_made(pan, tmp_path):
    earlier, few = tmp_path / "earlier", tmp_path / "few"
    few.mkdir()
    for name in ("000000.jpg", "000001.jpg"):
        shutil.copy(pan / name, few)
    assert fnrbc("count", few, "--out", earlier, *PIXEL).returncode == 0

    refused = {
        "a count of 2 frames, the source has 60": (tmp_path / "o", earlier),
        "holds no count that can be read": (tmp_path / "o", tmp_path / "nowhere"),
        "give --out another folder": (earlier, earlier),
    }
    for words, (out, compare) in refused.items():
        done = fnrbc("count", pan, "--out", out, *PIXEL, "--compare", compare)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr
    assert not (tmp_path / "o").exists()


def broken_bundle(folder):
    shutil.copytree(SHIPPED, folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    return folder


def blind(f):
    return ("--bundle", bundle_without_eyes(f / "blind"), "--seeing", "network")


BAD_INPUT = {
    "no network to find cells": (lambda f, pan: (pan, *PIXEL, *blind(f)), 2, "has no network that finds cells"),
    "missing folder": (lambda f, pan: (f / "nowhere", *PIXEL), 2, "does not exist"),
    "empty folder": (lambda f, pan: (f / "empty", *PIXEL), 1, "0 files"),
    "text called png": (lambda f, pan: (f / "text.png", *PIXEL), 1, "no picture"),
    "one pixel": (lambda f, pan: (f / "one_pixel.png", *PIXEL), 1, "1x1"),
    "no bundle": (lambda f, pan: (pan, *PIXEL, "--bundle", f / "nobundle"), 1, "no bundle"),
    "altered bundle": (lambda f, pan: (pan, *PIXEL, "--bundle", broken_bundle(f / "broken")), 1, "sha256"),
    "pixel size zero": (lambda f, pan: (pan, "--pixel-size-um", "0"), 2, "0.0 um"),
    "pixel size absent": (lambda f, pan: (pan,), 2, "--pixel-size-um"),
    "pixel size a word": (lambda f, pan: (pan, "--pixel-size-um", "small"), 2, "--pixel-size-um"),
    "specimen without record": (lambda f, pan: (pan, *PIXEL, "--specimen", "A 1"), 2, "give --record beside it"),
    "out is a file": (lambda f, pan: (pan, *PIXEL, "--out", f / "text.png"), 2, "is a file"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence_and_its_exit_code(pan, tmp_path, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("this is text")
    cv2.imwrite(str(tmp_path / "one_pixel.png"), np.zeros((1, 1, 3), np.uint8))
    arguments, exit_code, words = BAD_INPUT[case]

    done = fnrbc("count", *arguments(tmp_path, pan), *([] if case == "out is a file" else ["--out", tmp_path / "o"]))

    assert done.returncode == exit_code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o" / "summary.json").exists()


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("camra = 1", "did you mean camera?"),
        ("[camera]\npixel_size_um = 0", "camera.pixel_size_um is 0"),
        ("[camera", "no TOML"),
        ('[camera]\nkind = "replay"', "camera.path is missing"),
        ('[web]\nhost = "0.0.0.0"', "web.host"),
    ],
)
def test_a_wrong_configuration_ends_with_78(tmp_path, toml, words):
    (tmp_path / "fnrbc.toml").write_text(toml)

    done = fnrbc("run", "--config", tmp_path / "fnrbc.toml")

    assert done.returncode == 78, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_run_without_a_pixel_size_ends_with_78_and_offers_what_the_red_cells_suggest(pan, tmp_path):
    (tmp_path / "fnrbc.toml").write_text(
        f'''state_dir = "{tmp_path}/state"
[camera]
kind = "replay"
path = "{pan}"
[mqtt]
enabled = false
[web]
enabled = false
'''
    )

    done = fnrbc("run", "--config", tmp_path / "fnrbc.toml")

    assert done.returncode == 78, done.stderr
    assert "give camera.pixel_size_um" in done.stderr
    assert "red cells suggest 0.1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_run_counts_what_its_configuration_names(pan, tmp_path):
    (tmp_path / "fnrbc.toml").write_text(
        f"""
state_dir = "{tmp_path}/state"
[camera]
kind = "replay"
path = "{pan}"
pixel_size_um = 0.125
[mqtt]
enabled = false
[web]
port = 0
"""
    )

    done = fnrbc("run", "--config", tmp_path / "fnrbc.toml")

    assert done.returncode == 0, done.stderr
    assert "session ended" in done.stdout
    assert (tmp_path / "state" / "journal.sqlite").exists()


def test_a_daemon_that_people_start_names_the_cameras_own_pixel_size_and_ends_when_told_to(pan, tmp_path):
    config = tmp_path / "fnrbc.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\n[session]\nstart = "by_hand"\n[camera]\nkind = "replay"\npath = "{pan}"\n'
        "pixel_size_um = 0.125\n[mqtt]\nenabled = false\n[web]\nport = 0\n"
    )
    command = [sys.executable, "-m", "fnrbc_device.cli", "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        address = daemon.stdout.readline().split()[-1]
        form = httpx.get(f"{address}sessions/new", timeout=30).text
        daemon.send_signal(signal.SIGTERM)
        said = daemon.communicate(timeout=60)[0]

    assert "(0.125 µm a pixel)" in form
    assert daemon.returncode == 0
    assert "no session was started" in said


def test_demo_ends_by_itself_after_its_seconds_and_tells_how_to_listen():
    done = fnrbc("demo", "--seconds", "4", timeout_s=60)

    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:" in done.stdout
    assert "mosquitto_sub -V 5 -h 127.0.0.1 -p " in done.stdout
    assert "counted " in done.stdout


def test_ctrl_c_ends_the_demo_cleanly():
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "fnrbc_device.cli", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        while "Ctrl-C ends it" not in (line := demo.stdout.readline()):
            assert line, demo.stderr.read()
        time.sleep(2)
        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate(timeout=30)

    assert demo.returncode == 0, errors
    assert errors == ""
    assert "counted " in output


def test_bench_states_ratios_to_the_floor(pan):
    done = fnrbc("bench", pan, *PIXEL, "--frames", "10", "--json")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) >= {"stages_ms", "floor_ms", "ratio", "fps", "frame_px", "cells_per_frame", "threads"}
    assert set(result["stages_ms"]) == {"gate", "registration", "segmentation", "ledger", "classify"}
    several = result["all_cores"]
    assert set(several) == {"stages_ms", "floor_ms", "ratio", "fps", "threads"}
    assert (result["threads"], several["threads"]) == (1, os.cpu_count())
    for one in (result, several):
        without_network = sum(ms for name, ms in one["stages_ms"].items() if name != "classify")
        assert min(one["floor_ms"], one["stages_ms"]["segmentation"]) > 0
        assert one["ratio"] == pytest.approx(without_network / one["floor_ms"], rel=1e-3, abs=0.01)


def test_bench_prints_one_thread_and_several_beside_each_other(pan):
    done = fnrbc("bench", pan, *PIXEL, "--frames", "4", "--threads", "2")

    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["1", "thread", "x", "floor", "2", "threads", "x", "floor"]
    assert [row.split()[0] for row in rows[:6]] == [*STAGES, "floor"]


def test_bench_of_frames_that_cannot_be_counted_says_so(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((480, 640, 3), np.uint8))

    done = fnrbc("bench", tmp_path, *PIXEL)

    assert (done.returncode, done.stdout) == (1, "")
    assert "fit to be counted on" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_said_of_a_pan_is_refused_where_single_cells_are_made(tmp_path):
    for words in (("--frames", "3"), ("--look", "he")):
        done = fnrbc("simulate", "--out", tmp_path / "cells", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "give --pan beside them" in done.stderr
    assert not (tmp_path / "cells").exists()


def test_a_bundle_without_a_network_that_finds_cells_counts_by_the_threshold_and_says_so(pan, tmp_path):
    bundle = bundle_without_eyes(tmp_path / "blind")
    done = fnrbc("count", pan, *PIXEL, "--bundle", bundle, "--out", tmp_path / "out", "--json")
    assert (done.returncode, json.loads(done.stdout)["seeing"]) == (0, "threshold"), done.stderr

    held = fnrbc("bench", pan, *PIXEL, "--frames", "2", "--bundle", bundle, "--against", "both")
    assert (held.returncode, held.stderr.count("\n")) == (2, 1), held.stderr
    assert "has no network that finds cells" in held.stderr
    batch = fnrbc("batch", pan, *PIXEL, "--bundle", bundle, "--seeing", "network", "--out", tmp_path / "batch")
    assert batch.returncode == 1
    assert "has no network that finds cells" in batch.stderr
