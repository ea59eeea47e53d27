"""Two commands take a retrained checkpoint to a device that counts with it, and one takes it back."""

import dataclasses
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.model.bundle import load_bundle
from fnrbc_training import checkpoint as checkpoints

FNRBC = [sys.executable, "-m", "fnrbc_device.cli"]
EXPORT = [sys.executable, "-m", "fnrbc_export.cli"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "fnrbc.toml"
    state = f'state_dir = "{tmp_path / "state"}"\n'
    path.write_text(state + '[mqtt]\nenabled = false\n[web]\nport = 0\n[camera]\nfps = 5\nkind = "simulated"\n')
    return path


@contextmanager
def daemon(config):
    """The daemon over a simulated microscope, from its first frame to Ctrl-C."""
    command = [*FNRBC, "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout.readline().startswith("counting")
            yield process
            process.send_signal(signal.SIGINT)
            assert "session ended" in process.communicate(timeout=60)[0]
        finally:
            process.kill()


def sessions(config):
    """The bundle of every session in the journal, in their order."""
    journal = config.parent / "state" / "journal.sqlite"
    with closing(sqlite3.connect(journal)) as database:
        rows = database.execute("SELECT meta FROM sessions ORDER BY started_utc").fetchall()
    return [json.loads(meta)["bundle"] for (meta,) in rows]


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A short recording, so that a session ends by itself."""
    folder = tmp_path_factory.mktemp("recording")
    microscope = SimulatedMicroscope(SimulatedSlide.make(31, "giemsa", 6), seed=31)
    write_frames(folder / "pan", microscope, frames=10)
    return folder / "pan" / "frames"


def counted_with(config, frames):
    """The bundle that the next session of this device counts with."""
    recorded = config.with_name("recorded.toml")
    camera = f'kind = "replay"\npath = "{frames}"\npixel_size_um = 0.125'
    recorded.write_text(config.read_text().replace('kind = "simulated"', camera))
    assert "session ended" in run(*FNRBC, "run", "--config", recorded)
    return sessions(config)[-1]


def test_a_checkpoint_goes_to_a_counting_device_and_back(trained_checkpoint, config, frames, tmp_path):
    warmer = {**trained_checkpoint.about, "temperature": 1.3 * trained_checkpoint.about["temperature"]}
    checkpoints.save(dataclasses.replace(trained_checkpoint, about=warmer), tmp_path / "retrained.pt")

    with daemon(config) as counting:
        run(*EXPORT, "onnx", tmp_path / "retrained.pt", "--out", tmp_path / "bundle")
        installed = run(*FNRBC, "bundle", "install", tmp_path / "bundle", "--force", "--config", config)
        name = load_bundle(tmp_path / "bundle").id[:16]
        used = run(*FNRBC, "bundle", "use", name, "--config", config)
        assert counting.poll() is None  # the session goes on, with what it began with
    shipped, retrained = load_bundle(None).id, load_bundle(tmp_path / "bundle").id
    assert sessions(config) == [shipped]
    assert f"{shipped[:16]} (in use)" in installed
    assert f"bundle {retrained[:16]} is installed and does not count yet" in installed
    assert f"bundle {retrained[:16]} counts from the next session on" in used

    assert counted_with(config, frames) == retrained
    assert f"* {retrained[:16]}" in run(*FNRBC, "bundle", "list", "--config", config)

    assert shipped[:16] in run(*FNRBC, "bundle", "rollback", "--config", config)
    assert counted_with(config, frames) == shipped


def test_a_configured_bundle_wins_and_the_commands_say_so(config, tmp_path):
    config.write_text(f'bundle = "{tmp_path}"\n' + config.read_text())
    done = subprocess.run(
        [*FNRBC, "bundle", "rollback", "--config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the configuration names the bundle")
