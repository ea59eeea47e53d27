"""Two daemons on one state folder: the second touches nothing, and says who is there."""

import hashlib
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos import fnrbc
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.journal.proof import prove
from mortal import recorded


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "fnrbc.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/state"\n[camera]\nkind = "simulated"\nfps = 20\nseed = 3\n'
        "[mqtt]\nenabled = false\n[web]\nport = 0\n"
    )
    return path


@contextmanager
def counting(config):
    """A daemon that counts until the block ends."""
    with subprocess.Popen(fnrbc("run", "--config", config), stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout.readline().startswith("counting")
            yield daemon
        finally:
            daemon.kill()


def second(config):
    return subprocess.run(fnrbc("run", "--config", config), capture_output=True, text=True, timeout=60)


def names_and_keys(state: Path):
    """What lies in a state folder beside what the first daemon itself goes on writing."""
    growing = ("journal.sqlite", ".checkpoint", ".part")
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in state.iterdir()
        if path.is_file() and not any(part in path.name for part in growing)
    }


def test_a_second_daemon_is_refused_and_the_first_counts_on(config, tmp_path):
    state = tmp_path / "state"
    with counting(config) as first:
        before = names_and_keys(state)
        refused = second(config)
        assert names_and_keys(state) == before
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0

    assert refused.returncode == 2
    assert re.fullmatch(
        rf"error: fnrbc run \(process {first.pid}, since 20\S+Z\) writes to {state}; "
        r"end it first, or choose another folder\n",
        refused.stderr,
    )
    kinds = [kind for (kind,) in recorded(state, "SELECT kind FROM audit ORDER BY link")]
    assert (kinds.count("begun"), kinds.count("resumed"), kinds.count("ended")) == (1, 0, 1)
    assert prove(state / "journal.sqlite").fault == ""


def test_after_a_kill_the_next_daemon_takes_the_folder_and_goes_on(config, tmp_path):
    state = tmp_path / "state"
    with counting(config) as first:
        first.kill()
        first.wait(10)
    with counting(config) as next_one:
        next_one.send_signal(signal.SIGTERM)
        assert next_one.wait(60) == 0

    told = recorded(state, "SELECT kind FROM audit WHERE kind NOT IN ('frame', 'stain') ORDER BY link")
    assert [kind for (kind,) in told] == ["made", "begun", "resumed", "ended"]
    assert prove(state / "journal.sqlite").fault == ""


def test_a_daemon_does_not_start_beside_a_restore(config, tmp_path):
    with hold_state_folder(tmp_path / "state", "fnrbc restore"):
        refused = second(config)
        assert [path.name for path in (tmp_path / "state").iterdir()] == [".lock"]

    assert refused.returncode == 2
    assert refused.stderr.startswith("error: fnrbc restore (process ")
