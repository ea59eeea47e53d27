"""Consoles and small machines: a full output, few open files, no home, another time zone, a console without letters.

Each command ends as it does elsewhere, and what it writes is the same.
"""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove

NOT_TEXT = "m\udcfcller \udce9"
"""A folder's name in Latin-1, as Python holds it."""

ENDED = "standard output took not all of the result (No space left on device)"

FULL = "full output"

CONDITIONS = ["few files", "no home", "home is no place", "other time zone", "ascii", "c locale"]


def conditioned(condition):
    """Environment and limits of a small machine."""
    env = dict(os.environ)
    limit = None
    if condition == "few files":
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731 - as Popen wants it
    if condition == "no home":
        env.pop("HOME", None)
    if condition == "home is no place":
        env |= {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere"}  # not even root writes there
    if condition == "other time zone":
        env["TZ"] = "Asia/Kolkata"
    if condition == "ascii":
        env["PYTHONIOENCODING"] = "ascii"
    if condition == "c locale":
        env |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    return {"env": env, "preexec_fn": limit}


def command(*words):
    return [sys.executable, "-m", "fnrbc_device.cli", *map(str, words)]


@contextmanager
def output(condition):
    """Where a command's output goes: to us, or to a device that is full."""
    if condition != FULL:
        yield subprocess.PIPE
        return
    with Path("/dev/full").open("w") as full:
        yield full


def fnrbc(*words, condition="", out=None):
    with output(condition) as usual:
        done = subprocess.run(
            command(*words), stdout=out or usual, stderr=subprocess.PIPE, timeout=200, check=False,
            **conditioned(condition),
        )  # fmt: skip
    said = (done.stdout or b"").decode(), done.stderr.decode()
    assert "Traceback" not in said[1]
    assert "Exception ignored" not in said[1]
    return done.returncode, *said


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Four frames in a folder whose name is no text."""
    made = tmp_path_factory.mktemp("slide")
    write_frames(made, SimulatedMicroscope(SimulatedSlide.make(31, "giemsa", 6), seed=31), frames=4)
    return Path(shutil.move(made / "frames", made / NOT_TEXT))


@pytest.fixture(scope="module")
def counted(frames, tmp_path_factory):
    """What a count of them says on a machine as it should be."""
    out = tmp_path_factory.mktemp("out")
    assert fnrbc("count", frames, "--out", out, "--pixel-size-um", "0.125")[0] == 0
    return result(out)


def result(out):
    summary = json.loads((out / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name not in ("seconds", "fps")}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_count_is_the_same_on_any_machine(frames, counted, tmp_path, condition):
    out = tmp_path / "größer \udcfc"

    code, said, fault = fnrbc("count", frames, "--out", out, "--pixel-size-um", "0.125", condition=condition)

    assert (code, fault) == (0, "")
    assert result(out) == counted
    assert "report.html" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert r"m\xfcller \xe9" in page


def test_a_full_output_costs_the_words_and_not_the_count(frames, counted, tmp_path):
    code, _, fault = fnrbc("count", frames, "--out", tmp_path, "--pixel-size-um", "0.125", condition=FULL)

    assert code == 1
    assert fault == f"error: {ENDED}; send it elsewhere\n"
    assert result(tmp_path) == counted


def test_a_reader_that_had_enough_ends_nothing(frames, counted, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    code, _, fault = fnrbc("count", frames, "--out", tmp_path, "--pixel-size-um", "0.125", out=writing)
    os.close(writing)

    assert (code, fault) == (0, "")
    assert result(tmp_path) == counted


@pytest.fixture
def config(frames, tmp_path):
    """A daemon over the frames, without a broker; its path is text, as TOML wants it."""
    link = tmp_path / "frames"
    link.symlink_to(frames)
    path = tmp_path / "fnrbc.toml"
    (tmp_path / "state").mkdir(mode=0o700)
    path.write_text(
        f'state_dir = "{tmp_path / "state"}"\n[camera]\nkind = "replay"\npath = "{link}"\npixel_size_um = 0.125\n'
        "[mqtt]\nenabled = false\n[web]\nport = 0\n"
    )
    return path


@pytest.mark.parametrize("condition", [*CONDITIONS, FULL])
def test_a_run_counts_to_its_end_on_any_machine_and_its_record_is_whole(config, tmp_path, condition):
    before = datetime.now(timezone.utc)
    code, said, fault = fnrbc("run", "--config", config, condition=condition)

    assert (code, ENDED in fault) == ((1, True) if condition == FULL else (0, False))
    assert condition == FULL or "session ended:" in said
    proof = prove(tmp_path / "state" / "journal.sqlite")
    assert (proof.fault, proof.sessions) == ("", 1)
    with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite")) as journal:
        (begun,) = journal.execute("SELECT started_utc FROM sessions").fetchone()
    assert abs((datetime.fromisoformat(begun.replace("Z", "+00:00")) - before).total_seconds()) < 200


@pytest.mark.parametrize("condition", [*CONDITIONS, FULL])
def test_a_check_finds_the_same_on_any_machine(config, condition):
    code, said, fault = fnrbc("check", "--config", config, condition=condition)

    if condition == FULL:
        assert (code, ENDED in fault) == (1, True)
        return
    found = {line.split()[0]: line.split()[1] for line in said.splitlines()}
    assert (code, fault) == (0, "")
    assert [found[name] for name in ("disk", "bundle", "camera", "page")] == ["ok"] * 4


@pytest.mark.parametrize("condition", [*CONDITIONS, FULL])
def test_a_record_is_proved_on_any_machine_wherever_it_lies(tmp_path, condition):
    folder = tmp_path / NOT_TEXT
    folder.mkdir()
    Journal.open(folder / "journal.sqlite", "scope").close()
    code, said, fault = fnrbc("verify", folder, condition=condition)

    if condition == FULL:
        assert (code, ENDED in fault) == (1, True)
    else:
        assert (code, fault) == (0, "")
        assert r"m\xfcller \xe9/journal.sqlite is whole" in said


@pytest.mark.parametrize("condition", [*CONDITIONS, FULL])
def test_a_follower_ends_when_told_on_any_machine(mosquitto, tmp_path, condition):
    out = tmp_path / NOT_TEXT
    words = command("follow", "--out", out, "--port", mosquitto.port)
    with output(condition) as usual, subprocess.Popen(
        words, stdout=usual, stderr=subprocess.PIPE, **conditioned(condition)
    ) as follower:
        deadline = time.monotonic() + 60
        while not (out.exists() and b"Connect" in connections(mosquitto)) and time.monotonic() < deadline:
            time.sleep(0.2)
        follower.send_signal(signal.SIGTERM)
        fault = follower.communicate(timeout=60)[1].decode()

    assert (follower.returncode, "Traceback" in fault) == (0, False), fault


def connections(mosquitto):
    return (mosquitto._folder / "log").read_bytes().replace(b"New client connected", b"Connect")
