"""A batch on real workers: of this machine, and of a cluster whose parts are killed while it counts."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.batch.command import batch as fnrbc_batch
from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.commands.count import count
from fnrbc_device.commands.count_slide import count_slide
from fnrbc_device.errors import UsageError
from fnrbc_device.model.bundle import load_bundle
from slide_files import write_slide

pytest.importorskip("distributed", reason="Dask is not installed")

ROOT = Path(__file__).parents[2]
PIXEL = ("--pixel-size-um", "0.125")
GRACE_S = 10.0
COUNTS = ("frames_used", "islands", "cells", "fnrbc", "leukocytes", "other", "indeterminate")


@pytest.fixture(autouse=True)
def marked(monkeypatch):
    """Fail a test that leaves a process of its own anywhere, also one whose parent is gone; its sockets end with it."""
    mark = f"FNRBC_TEST={uuid.uuid4().hex}".encode()
    monkeypatch.setenv(*mark.decode().split("="))
    yield mark
    deadline = time.monotonic() + GRACE_S
    while (left := marked_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"left running: {left}"


def marked_with(mark, *words):
    """Processes that carry a mark, and have these words in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                found += [int(folder.name)] if all(word in command for word in words) else []
        except OSError:
            continue
    return sorted(set(found) - {os.getpid()})


@pytest.fixture(scope="module")
def pans(tmp_path_factory):
    """Five folders of three small frames, of one slide."""
    folder = tmp_path_factory.mktemp("pans")
    slide = SimulatedSlide.make(31, "giemsa", 40)
    for number in range(5):
        microscope = SimulatedMicroscope(slide, seed=31, frame_shape=(480, 640))
        microscope.skip_to(4 * number)
        write_frames(folder / f"pan{number}", microscope, frames=3)
    return [folder / f"pan{number}" / "frames" for number in range(5)]


def command(*arguments):
    return [sys.executable, "-m", "fnrbc_device.cli", "batch", *map(str, arguments), *PIXEL]


def batch(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)


def begun(*arguments):
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what, running=None, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.01)
    return found


def rows(out):
    return {json.loads(path.read_text())["source"]: json.loads(path.read_text()) for path in out.glob("*/row.json")}


def table(out):
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(row):
    return {name: int(row[name]) for name in COUNTS}


@pytest.fixture(scope="module")
def undisturbed(pans):
    """What all of them come to where nothing happens."""
    bundle, found = load_bundle(None), {}
    for one in pans:
        counted = count(open_source(one, 0.125), bundle, 0.125, still=False, progress=lambda done: None)
        found[str(one)] = {name: counted.summary[name] for name in COUNTS}
    assert sum(one["cells"] for one in found.values()) > 5
    return found


def test_a_cluster_whose_worker_and_whose_scheduler_are_killed_ends_complete_and_counts_nothing_twice(
    pans, undisturbed, marked, free_port, tmp_path
):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHON": sys.executable, "PORT": str(free_port)}
    cluster = subprocess.Popen(
        [ROOT / "deploy" / "batch" / "cluster"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    running = begun(*pans, "--out", out, "--scheduler", f"tcp://127.0.0.1:{free_port}")
    try:
        wait_for(lambda: any(not (one / "row.json").exists() for one in (out / ".work").glob("?" * 32)), running)
        os.kill(marked_with(marked, "dask_worker")[0], signal.SIGKILL)
        killed_at = wait_for(lambda: len(rows(out)), running)
        os.kill(marked_with(marked, "dask_scheduler")[0], signal.SIGKILL)
        _, said = running.communicate(timeout=120)
    finally:
        cluster.terminate()
        cluster.wait(GRACE_S)
        running.kill()
        running.wait()

    assert killed_at < 5
    assert running.returncode == 0, said
    assert "the scheduler is lost; waiting for it" in said
    assert "Traceback" not in said
    assert {row["source"]: figures(row) for row in table(out)} == undisturbed
    assert len(table(out)) == len(rows(out)) == 5
    assert not (out / ".work").exists()


def test_a_batch_that_is_killed_goes_on_where_it_was_and_says_what_it_counts_again(pans, undisturbed, marked, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.mkdir()
    for one in pans[0].iterdir():
        (mine / one.name).write_bytes(one.read_bytes())
    sources = [mine, *pans[1:4], tmp_path / "gone.tif"]
    running = begun(*sources, "--out", out, "--workers", 1)
    wait_for(lambda: len(rows(out)) >= 2, running)
    running.kill()
    running.communicate()
    wait_for(lambda: not marked_with(marked))  # its workers end with it
    done_before = {name: row for name, row in rows(out).items() if row["state"] == "complete"}
    assert 1 <= len(done_before) < 5
    times = {one: one.stat().st_mtime_ns for one in out.glob("*/row.json")}
    os.utime(next(mine.iterdir()))

    done = batch(*sources, "--out", out, "--workers", 2)

    assert done.returncode == 1
    assert f"counted again, the source changed: {mine}\n" in done.stderr
    assert done.stderr.endswith(
        "error: 1 of 5 sources failed and 0 are incomplete; batch.csv says why, and the same command tries those that "
        "failed again\n"
    )
    found = {row["source"]: row for row in table(out)}
    assert [row["state"] for row in table(out)] == ["complete"] * 4 + ["failed"]
    assert "gone.tif does not exist" in found[str(tmp_path / "gone.tif")]["error"]
    assert {name: figures(found[str(name)]) for name in pans[1:4]} == {
        name: undisturbed[str(name)] for name in pans[1:4]
    }
    untouched = [one for one in times if json.loads(one.read_text())["source"] in set(done_before) - {str(mine)}]
    assert [one.stat().st_mtime_ns for one in untouched] == [times[one] for one in untouched]

    # All of it is there: nothing is counted, and nobody is started to do so.
    again = batch(*sources[:4], "--out", out, "--workers", 1)
    assert (again.returncode, again.stderr) == (0, "")
    assert "4 sources: 4 complete; 0 counted now, 4 before" in again.stdout


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide file of two tiles, and its cells as one process counts them."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    painted = SimulatedSlide.make(31, "giemsa", 40).image
    write_slide(path, np.ascontiguousarray(np.tile(painted, (1, 4, 1))[:1200, :3400]), 0.125)
    counted = count_slide(path, load_bundle(None))
    assert counted.summary["slide"]["tiles"] > 1
    return path, counted.rows


def test_a_slide_shared_by_two_workers_is_counted_as_by_one_though_one_of_them_is_killed(slide, tmp_path):
    path, cells = slide

    done = harder(tmp_path / "out", path)

    assert (done.returncode, done.stdout) == (0, "")
    ((name, row),) = rows(tmp_path / "out").items()
    assert (name, row["state"], row["error"]) == (str(path), "complete", "")
    (found,) = (tmp_path / "out").glob("*/cells.csv")
    with found.open(newline="", encoding="utf-8") as file:
        told = [tuple(one.values()) for one in csv.DictReader(file)]
    assert told == [tuple(map(str, one.values())) for one in cells]
    assert len(cells) > 20
    assert not (tmp_path / "out" / ".work").exists()


def harder(out, *sources):
    helper = ROOT / "tests" / "helpers" / "deadly.py"
    environment = {**os.environ, "PYTHONPATH": str(helper.parent)}
    command = [sys.executable, helper, out, *sources]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_what_kills_every_worker_costs_itself_alone(pans, tmp_path):
    (tmp_path / "deadly").mkdir()

    done = harder(tmp_path / "out", pans[0], tmp_path / "deadly")

    assert (done.returncode, done.stdout) == (0, "")
    assert [row["state"] for row in table(tmp_path / "out")] == ["complete", "failed"]
    assert "several workers ended in the middle of it" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_at_the_address_is_said_in_one_sentence(pans, free_port, tmp_path):
    done = batch(pans[0], "--out", tmp_path / "out", "--scheduler", f"tcp://127.0.0.1:{free_port}", "--wait", "0")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: no scheduler answers at tcp://127.0.0.1:{free_port} within 0 s")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out" / ".work").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheduler": "here"}, "--scheduler here is no address"),
        ({"scheduler": "tcp://127.0.0.1"}, "is no address"),
        ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "--workers and --dashboard are for this machine"),
        ({"tls_ca": Path("ca.pem")}, "go with --scheduler"),
        ({"pixel_size_um": 400.0}, "the pixel size is 400.0 um"),
        ({"sources": []}, "no source was given"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anybody_works(tmp_path, options, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        fnrbc_batch(**{"out": tmp_path / "out", "sources": [tmp_path / "a"], **options})
