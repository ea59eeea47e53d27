"""One writer a folder: the second is refused in one sentence, and a killed holder leaves no lock."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from fnrbc_device.errors import ConfigError, FolderHeldError
from fnrbc_device.host.folder_lock import LOCK_NAME, hold_state_folder

HOLDER = """
import sys, time
from pathlib import Path
from fnrbc_device.host.folder_lock import hold_state_folder
with hold_state_folder(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder until it is killed."""
    command = [sys.executable, "-c", HOLDER, tmp_path, "fnrbc restore"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait(10)
    child.stdout.close()


def test_the_second_is_refused_in_one_sentence_that_names_the_holder(holder, tmp_path):
    with pytest.raises(FolderHeldError) as refused, hold_state_folder(tmp_path, "fnrbc run", wait_s=0):
        pytest.fail("two hold one folder")

    words = str(refused.value)
    assert words.startswith(f"fnrbc restore (process {holder.pid}, since 20")
    assert words.endswith(f" writes to {tmp_path}; end it first, or choose another folder")
    assert refused.value.exit_code == 2


def test_a_folder_is_one_whatever_it_is_called(holder, tmp_path):
    (tmp_path.parent / "alias").symlink_to(tmp_path)

    with pytest.raises(FolderHeldError), hold_state_folder(tmp_path.parent / "alias", "fnrbc run", wait_s=0):
        pytest.fail("two hold one folder")


def test_two_in_one_process_do_not_share_a_hold(tmp_path):
    with (
        hold_state_folder(tmp_path, "fnrbc run"),
        pytest.raises(FolderHeldError, match=f"process {os.getpid()},"),
        hold_state_folder(tmp_path, "fnrbc run", wait_s=0),
    ):
        pytest.fail("two hold one folder")


def test_a_lock_that_a_killed_process_left_is_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert "fnrbc restore" in (tmp_path / LOCK_NAME).read_text()

    with hold_state_folder(tmp_path, "fnrbc run", wait_s=0):
        assert f"fnrbc run (process {os.getpid()}," in (tmp_path / LOCK_NAME).read_text()


def test_a_holder_that_is_on_its_way_out_is_waited_for(holder, tmp_path):
    timer = multiprocessing.get_context("fork").Process(target=_kill_later, args=(holder.pid,))
    timer.start()
    with hold_state_folder(tmp_path, "fnrbc run", wait_s=10):
        pass
    timer.join(10)


def _kill_later(pid):
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)


def test_what_stands_in_a_lock_file_is_said_only_where_it_is_words(holder, tmp_path):
    (tmp_path / LOCK_NAME).write_bytes(b"\x1b[2J\xff" * 100)

    with pytest.raises(FolderHeldError, match=r"^another process writes to"):
        hold_state_folder(tmp_path, "fnrbc run", wait_s=0).__enter__()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_folder_that_is_made_is_its_owners_alone_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with hold_state_folder(tmp_path / "state", "fnrbc run"):
            pass
    finally:
        os.umask(before)

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / LOCK_NAME).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"file/state cannot be used .*; choose one that this user can write"):
        hold_state_folder(tmp_path / "file" / "state", "fnrbc run").__enter__()


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path):
    (tmp_path / "other").touch()
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "other")

    with pytest.raises(ConfigError, match="cannot be used"):
        hold_state_folder(tmp_path, "fnrbc run").__enter__()
    assert (tmp_path / "other").read_bytes() == b""
