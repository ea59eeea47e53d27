"""A record is proved where nobody may write: a mounted backup, a disk that is only lent."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from fnrbc_device.journal.journal import Journal
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
    from fnrbc_device.journal import proof
    from fnrbc_device.journal.read_only import reading

    path = tmp_path / "journal.sqlite"
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        with reading(path) as connection:
            walk = proof.Walk(connection, *_first(connection), whole=True)
            journal.record(make_step(0, [1, 2]))
            assert walk.go() == ""
            journal.record(make_step(1, [3]))
            assert proof.end_fault(connection, walk) == ""
    assert proof.prove(path).fault == ""


def _first(connection):
    return connection.execute("SELECT first_link, before_first FROM journal").fetchone()


def test_a_locked_file_is_not_called_damaged(tmp_path):
    from fnrbc_device.journal.sqlite_errors import is_damage

    path = tmp_path / "some.sqlite"
    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        first.execute("CREATE TABLE one (a)")
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("SELECT * FROM one").fetchall()
    assert not is_damage(caught.value)
