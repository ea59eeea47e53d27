"""Who may read what the appliance writes is said where it is written, and does not hang on the umask."""

import os
import subprocess
import time

import pytest

from chaos import fnrbc
from fnrbc_device.following.devices import FollowedDevice
from fnrbc_device.host.atomic_file import write_whole
from mortal import recorded

CAMERA = '[camera]\nkind = "simulated"\nfps = 60\nseed = 3\n[mqtt]\nenabled = false\n[web]\nport = 0\n'


def run_for_a_while(tmp_path, umask, frames):
    """A daemon that is ended once it has counted so many frames more."""
    state, config = tmp_path / "state", tmp_path / "fnrbc.toml"
    before = len(recorded(state, "SELECT 1 FROM frames"))
    config.write_text(f'state_dir = "{state}"\n{CAMERA}')
    command = fnrbc("run", "--config", config)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, umask=umask) as daemon:
        deadline = time.monotonic() + 120
        while len(recorded(state, "SELECT 1 FROM frames")) < before + frames and time.monotonic() < deadline:
            time.sleep(0.1)
        yield state
        daemon.terminate()
        assert daemon.wait(60) == 0
    yield state


def modes(folder):
    return {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_state_folder_is_its_owners_alone(tmp_path, umask):
    for state in run_for_a_while(tmp_path, umask, frames=130):
        found = modes(state)
        assert {"journal.sqlite", "journal.sqlite-wal", ".lock"} <= set(found) or not recorded(
            state, "SELECT 1 FROM sessions WHERE ended_utc IS NULL"
        )
        wide = {name: mode for name, mode in found.items() if int(mode, 8) & 0o077 and name != "reserve"}
        assert wide == {}


def test_a_journal_that_others_could_read_is_closed_to_them_at_the_next_start(tmp_path):
    for _ in run_for_a_while(tmp_path, 0o022, frames=1):
        pass
    journal = tmp_path / "state" / "journal.sqlite"
    journal.chmod(0o644)
    for _ in run_for_a_while(tmp_path, 0o022, frames=1):
        pass
    assert journal.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_copy_of_the_log_is_for_a_group_of_the_lab(tmp_path, umask):
    before = os.umask(umask)
    try:
        device = FollowedDevice(tmp_path, "fnrbc")
        device.hear("log/cell", b'{"device": "fnrbc", "epoch": "00ff", "seq": 1}')
        device.close()
        write_whole(tmp_path / "private", b"")
        write_whole(tmp_path / "public", b"", 0o644)
    finally:
        os.umask(before)
    found = modes(tmp_path)
    assert (found["fnrbc-00ff.csv"], found["private"], found["public"]) == ("0o640", "0o600", "0o644")
