"""A record is proved where nobody may write: a mounted backup, a disk that is only lent."""

import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.migrations import SCHEMA_VERSION
from fnrbc_device.journal.proof import end_fault, prove, proved
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.sqlite_errors import is_damage
from fnrbc_device.journal.walk import Walk
from records import META, NOON

CASE = Path(__file__).parents[3] / "shared" / "cases" / "20-read-only-journal" / "journal.sqlite"

VERIFY = """
import os, sys
from pathlib import Path
from fnrbc_device.commands.verify import verify
from fnrbc_device.errors import FnrbcError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    print(verify(sys.argv[1], Path(sys.argv[1]).parent))
except FnrbcError as error:
    print("refused:", error)
"""


@pytest.fixture
def folder():
    # Not below tmp_path: its parents are closed to other users, and root has to become one to be refused.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


def verified(path):
    """What ``fnrbc verify`` says to a user who may only read there."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    command = [sys.executable, "-c", VERIFY, str(path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert child.returncode == 0, child.stderr
    return child.stdout


def test_a_whole_journal_alone_is_proved(folder, make_step):
    path = folder / "journal.sqlite"
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [1, 2]))

    assert not list(folder.glob("journal.sqlite-*"))
    assert "is whole: 3 links of 1 sessions" in verified(path)


def test_a_journal_of_0_1_0_on_a_read_only_mount_is_proved(folder):
    if not CASE.exists():
        pytest.skip(f"{CASE} is not there")
    path = Path(shutil.copy(CASE, folder))

    said = verified(path)
    assert "is whole: 63 links of 1 sessions" in said
    assert "did not seal" in said


def test_what_lies_in_a_write_ahead_file_is_asked_for_and_not_passed_over(folder, make_step, tmp_path):
    live = tmp_path / "journal.sqlite"
    with Journal.open(live) as journal:
        journal.begin("s1", NOON, META)
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            shutil.copy(live.with_name(name), folder)

    said = verified(folder / "journal.sqlite")
    assert said.startswith("refused: the newest records of")
    assert "copy journal.sqlite and journal.sqlite-wal to a folder of your own" in said


def test_a_proof_beside_a_writer_is_of_one_moment(tmp_path, make_step):
    """What was written between two looks is neither a cut nor a change."""
    path = tmp_path / "journal.sqlite"
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        with reading(path) as connection:
            walk = Walk(connection, *_first(connection), whole=True)
            journal.record(make_step(0, [1, 2]))
            assert walk.go() == ""
            journal.record(make_step(1, [3]))
            assert end_fault(connection, walk) == ""
    assert prove(path).fault == ""


def test_forty_proofs_beside_a_writer_find_nothing(tmp_path, make_step):
    path, begun, stop = tmp_path / "journal.sqlite", threading.Event(), threading.Event()

    def count():
        with Journal.open(path) as journal:
            journal.begin("s1", NOON, META)
            begun.set()
            for index in itertools.count():
                journal.record(make_step(index, [index + 1]))
                if stop.is_set():
                    return

    counting = threading.Thread(target=count)
    counting.start()
    try:
        assert begun.wait(30)
        proofs = [prove(path) for _ in range(40)]
    finally:
        stop.set()
        counting.join(30)
    assert {one.fault for one in proofs} == {""}
    assert len({one.last_hash for one in proofs}) > 10


def test_the_work_of_a_proof_grows_with_the_record_and_no_faster(tmp_path, make_step):
    """Counted in SQLite's own steps: no clock."""
    steps = {}
    for frames in (100, 400):
        path = tmp_path / f"{frames}.sqlite"
        with Journal.open(path) as journal:
            journal.begin("s1", NOON, META)
            for index in range(frames):
                journal.record(make_step(index, [index + 1]))
        with reading(path) as connection:
            ticks = itertools.count()
            connection.set_progress_handler(lambda ticks=ticks: next(ticks) < 0, 10)
            assert proved(connection, SCHEMA_VERSION).fault == ""
            steps[frames] = next(ticks)
    assert steps[400] < 5 * steps[100]


def _first(connection):
    return connection.execute("SELECT first_link, before_first FROM journal").fetchone()


def test_a_locked_file_is_not_called_damaged(tmp_path):
    path = tmp_path / "some.sqlite"
    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        first.execute("CREATE TABLE one (a)")
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("SELECT * FROM one").fetchall()
    assert not is_damage(caught.value)
