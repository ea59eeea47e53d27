"""A backup is made while the device counts, and what is brought back goes on under numbers of its own."""

import itertools
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timezone

import pytest

from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.backup import back_up, restore
from fnrbc_device.journal.epochs import TOLD_NAME, last_told
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.specimen import KEY_NAME
from records import META, NOON


@pytest.fixture
def state(path, make_step):
    """A state folder whose journal has a session that runs: frames 0 to 4."""
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        for index in range(5):
            journal.record(make_step(index, [index + 1]))
    return path.parent


def asked(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def brought_back(backup, state):
    return restore(backup, state, "fnrbc", SystemClock())


def told(path):
    """Epoch and number of every message."""
    return asked(path, "SELECT json_extract(payload, '$.epoch'), seq FROM outbox ORDER BY seq")


def test_a_backup_is_whole_and_has_the_key(state, tmp_path):
    proof = back_up(state, tmp_path / "copy")

    assert (proof.fault, proof.links) == ("", 7)
    assert prove(tmp_path / "copy" / "journal.sqlite").last_hash == prove(state / "journal.sqlite").last_hash
    assert {one.name for one in (tmp_path / "copy").iterdir()} == {"journal.sqlite", KEY_NAME}
    assert all(one.stat().st_mode & 0o077 == 0 for one in (tmp_path / "copy").iterdir())


def test_a_backup_is_made_while_frames_are_recorded(state, tmp_path, make_step):
    stop, ready = threading.Event(), threading.Event()

    def count():
        with Journal.open(state / "journal.sqlite") as journal:
            journal.resume("s1", {})
            for index in itertools.count(5):
                journal.record(make_step(index, [index + 1]))
                if index == 20:
                    ready.set()
                if stop.is_set():
                    return

    counting = threading.Thread(target=count)
    counting.start()
    try:
        assert ready.wait(30)
        for number in range(5):
            assert back_up(state, tmp_path / f"copy{number}").fault == ""
    finally:
        stop.set()
        counting.join(30)
    copied, now = (asked(one, "SELECT count(*) FROM frames")[0][0] for one in _both(state, tmp_path / "copy4"))
    assert 20 < copied <= now


def _both(state, copy):
    return copy / "journal.sqlite", state / "journal.sqlite"


def test_a_backup_is_never_written_over_another(state, tmp_path):
    back_up(state, tmp_path / "copy")

    with pytest.raises(UsageError, match="is there and not empty; name a new folder"):
        back_up(state, tmp_path / "copy")
    with pytest.raises(JournalError, match="there is nothing to back up"):
        back_up(tmp_path, tmp_path / "other")


def test_a_broken_record_is_not_called_a_backup(state, tmp_path):
    with closing(sqlite3.connect(state / "journal.sqlite")) as database, database:
        database.execute("DELETE FROM frames WHERE frame = 2")

    with pytest.raises(JournalError, match=r"the copy of .* is not whole: link"):
        back_up(state, tmp_path / "copy")
    assert not (tmp_path / "copy" / "journal.sqlite").exists()


def test_what_is_restored_goes_on_under_a_new_epoch_and_no_number_is_given_twice(state, tmp_path, make_step):
    back_up(state, tmp_path / "copy")
    with Journal.open(state / "journal.sqlite") as journal:
        journal.resume("s1", {})
        journal.record(make_step(5, [6, 7, 8]))
    before = told(state / "journal.sqlite")

    restored = brought_back(tmp_path / "copy", state)
    with Journal.open(state / "journal.sqlite") as journal:
        journal.resume("s1", {})
        journal.record(make_step(5, [9]))
        journal.end(datetime.now(timezone.utc), journal.tally("s1"), complete=True)

    after = told(state / "journal.sqlite")
    assert [seq for _, seq in after] == list(range(1, 11))
    assert set(after) & set(before) == set(after[:6])
    assert {epoch for epoch, _ in after[6:]} == {restored.log.epoch}
    assert (restored.log.first_seq, restored.log.epoch_before) == (7, before[0][0])
    assert asked(state / "journal.sqlite", "SELECT json_extract(payload, '$.verb') FROM outbox WHERE seq = 7") == [
        ("restore",)
    ]
    assert prove(state / "journal.sqlite").fault == ""
    (aside,) = restored.aside
    assert told(aside) == before
    assert prove(aside).fault == ""


def test_a_record_of_0_1_0_is_restored_too(state, tmp_path):
    import gzip
    from pathlib import Path

    stored = Path(__file__).with_name("journals") / "version-3.sqlite.gz"
    (tmp_path / "old.sqlite").write_bytes(gzip.decompress(stored.read_bytes()))

    restored = brought_back(tmp_path / "old.sqlite", state)

    assert (restored.proof.fault, restored.proof.limits, restored.log.first_seq) == ("", "", restored.log.last_seq)


def test_a_broken_backup_is_refused_and_the_record_stays(state, tmp_path):
    back_up(state, tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / "journal.sqlite")) as database, database:
        database.execute("UPDATE frames SET used = 0 WHERE frame = 2")
    before = prove(state / "journal.sqlite").last_hash

    with pytest.raises(JournalError, match=r"the backup .* is not whole: link .*; take an earlier one"):
        brought_back(tmp_path / "copy", state)
    assert prove(state / "journal.sqlite").last_hash == before
    assert {one.name for one in state.iterdir()} - {"journal.sqlite-shm", "journal.sqlite-wal"} == {
        "journal.sqlite",
        KEY_NAME,
    }


def test_the_write_ahead_file_of_what_was_there_is_not_read_into_what_was_restored(state, tmp_path, make_step):
    back_up(state, tmp_path / "copy")
    live = tmp_path / "live"
    with Journal.open(state / "journal.sqlite") as journal:
        journal.resume("s1", {})
        journal.record(make_step(5, [6]))
        shutil.copytree(state, live)  # as a kill would leave it
    assert (live / "journal.sqlite-wal").stat().st_size > 0

    restored = brought_back(tmp_path / "copy", live)

    assert asked(live / "journal.sqlite", "SELECT count(*) FROM frames") == [(5,)]
    assert asked(restored.aside[0], "SELECT count(*) FROM frames") == [(6,)]


def test_the_key_of_the_backup_comes_back_and_another_is_kept(state, tmp_path):
    back_up(state, tmp_path / "copy")
    (state / KEY_NAME).unlink()
    brought_back(tmp_path / "copy", state)
    assert (state / KEY_NAME).read_bytes() == (tmp_path / "copy" / KEY_NAME).read_bytes()

    (state / KEY_NAME).write_bytes(b"x" * 32)
    restored = brought_back(tmp_path / "copy", state)
    assert (state / KEY_NAME).read_bytes() == (tmp_path / "copy" / KEY_NAME).read_bytes()
    assert [one.read_bytes() for one in restored.aside if KEY_NAME in one.name] == [b"x" * 32]


def test_a_journal_that_was_put_back_by_hand_begins_a_new_epoch_at_the_next_start(state, tmp_path, make_step):
    journal_file = state / "journal.sqlite"
    shutil.copy(journal_file, tmp_path / "old.sqlite")
    with Journal.open(journal_file) as journal:
        journal.resume("s1", {})
        journal.record(make_step(5, [6, 7]))
        epoch = journal.epoch
    with closing(Outbox(journal_file)) as outbox:
        outbox.acknowledge([Acknowledgement(one.seq, "acked", "") for one in outbox.pending(0, 100)], NOON)
    assert last_told(journal_file, epoch) == 9
    with Journal.open(journal_file) as journal:
        assert journal.epoch == epoch  # nothing is amiss

    shutil.copy(tmp_path / "old.sqlite", journal_file)
    with Journal.open(journal_file) as journal:
        assert journal.epoch != epoch
        assert (journal.log_state.first_seq, journal.log_state.epoch_before) == (7, epoch)
    with Journal.open(journal_file) as journal:
        assert journal.log_state.first_seq == 7  # once
    assert prove(journal_file).fault == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"abc", b"0" * 5000, b"abc def"])
def test_a_witness_that_says_nothing_is_left(state, content):
    (state / TOLD_NAME).write_bytes(content)

    with Journal.open(state / "journal.sqlite") as journal:
        assert journal.log_state.epoch_before == ""
