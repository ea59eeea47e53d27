"""What the laboratory keeps proves the device's record: nothing shortened, nothing written anew, nothing else said."""

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from fnrbc_device.commands.verify import verify
from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.following.copy_check import held_against
from fnrbc_device.following.devices import FollowedDevice
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.audit import add_link
from fnrbc_device.journal.backup import back_up, restore
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.sessions.sign_off import SignOff
from records import META, NOON


@pytest.fixture
def state(path, make_step):
    with Journal.open(path) as journal:
        for number in (1, 2):
            journal.begin(f"s{number}", NOON, META)
            for index in range(4):
                journal.record(make_step(index, [2 * index + 1, 2 * index + 2]))
            journal.end(NOON, journal.tally(f"s{number}"), complete=True)
    with SignOff(path, "fnrbc", SystemClock()) as signing:
        signing.sign("s1", "=anna", reason="=1+1")
    return path.parent


@pytest.fixture
def lab(tmp_path):
    """The laboratory's copy, as a follower keeps it: ``lab(state)`` brings it up to date."""
    folder = tmp_path / "lab"

    def follow(state):
        device = FollowedDevice(folder, "fnrbc")
        with closing(Outbox(state / "journal.sqlite")) as outbox:
            device.hear("status", json.dumps(_status(state)).encode())
            waiting = outbox.pending(0, 10_000)
            for message in waiting:
                device.hear(message.topic, message.payload.encode())
            outbox.acknowledge([Acknowledgement(one.seq, "acked", "") for one in waiting], NOON)
        device.close()
        return folder

    return follow


def _status(state):
    with Journal.open(state / "journal.sqlite") as journal:
        log = journal.log_state
    return {
        "epoch": log.epoch, "epoch_first_seq": log.first_seq, "epoch_before": log.epoch_before, "log_seq": log.last_seq
    }  # fmt: skip


def change(path, *statements):
    with closing(sqlite3.connect(path)) as database, database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)
        for _, sql in triggers:
            database.execute(sql)


def test_a_record_and_its_copy_agree(state, lab):
    agreement = held_against(state / "journal.sqlite", lab(state))

    assert (agreement.fault, agreement.compared, agreement.anchors, agreement.lost) == ("", 22, 6, [])
    assert "agrees: 22 records are the same here and there, 6 hashes" in verify(str(state), state, lab(state))


def test_what_the_device_let_go_of_is_no_difference(state, lab):
    copy = lab(state)
    with closing(Outbox(state / "journal.sqlite")) as outbox:
        outbox.prune(NOON + timedelta(days=1), 10**9)

    agreement = held_against(state / "journal.sqlite", copy)
    assert (agreement.fault, agreement.compared, agreement.not_kept) == ("", 0, 22)


def test_a_record_that_was_cut_short_is_whole_and_yet_found_out(state, lab, make_step, tmp_path):
    """Somebody puts back yesterday's file, or the disk lost its newest part."""
    shutil.copytree(state, tmp_path / "before")
    with Journal.open(state / "journal.sqlite") as journal:
        journal.begin("s3", NOON, META)
        journal.record(make_step(0, [1, 2, 3]))
    copy = lab(state)
    short = tmp_path / "before" / "journal.sqlite"

    assert prove(short).fault == ""
    with pytest.raises(JournalError, match=r"holds record 23, but the journal ends at record 22: .* cut short"):
        verify(str(short), state, copy)


def test_a_record_that_was_written_anew_with_a_whole_chain_is_found_out(state, lab, make_step, tmp_path):
    """The same counts to the last message, made by this software itself, but another frame beside them."""
    copy = lab(state)
    forged = tmp_path / "forged" / "journal.sqlite"
    forged.parent.mkdir()
    shutil.copy(state / "journal.sqlite", forged)
    change(forged, "UPDATE frames SET used = 0 WHERE session = 's1' AND frame = 2", "UPDATE sessions SET ending = 'x'")
    _written_anew(forged)

    assert prove(forged).fault == ""
    with pytest.raises(JournalError, match=r"knows link \d+ with another hash: the record was written anew"):
        verify(str(forged), state, copy)


def _written_anew(path):
    """All links again, over what the tables say now: what somebody can do who knows this software."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (trigger,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'audit_is_append_only'").fetchone()
        database.execute("DROP TRIGGER audit_is_append_only")
        links = database.execute(
            "SELECT session, kind, first_seq, last_seq, at_utc, frame, note FROM audit ORDER BY link"
        ).fetchall()
        database.execute("DELETE FROM audit")
        database.execute("UPDATE journal SET last_link = 0, last_hash = before_first")
        for session, kind, first, last, at, frame, note in links:
            add_link(database, session, kind, (first, last), at, frame=frame, note=json.loads(note))
        database.execute(trigger)


def test_a_copy_in_which_a_cell_was_changed_is_found_out(state, lab):
    copy = lab(state)
    (file,) = copy.glob("*.csv")
    with file.open(newline="") as content:
        table = list(csv.reader(content))
    table[3][table[0].index("class")] = "fnrbc"
    with file.open("w", newline="") as content:
        csv.writer(content, lineterminator="\n").writerows(table)

    with pytest.raises(JournalError, match="record 3: class is 'fnrbc' there and"):
        verify(str(state), state, copy)


def test_after_a_restore_both_agree_across_the_epochs_and_what_was_lost_is_named(state, lab, make_step, tmp_path):
    back_up(state, tmp_path / "copy")
    with Journal.open(state / "journal.sqlite") as journal:
        journal.begin("s3", NOON, META)
        journal.record(make_step(0, [1, 2, 3]))
    lab(state)
    restore(tmp_path / "copy", state, "fnrbc", SystemClock())
    with Journal.open(state / "journal.sqlite") as journal:
        journal.begin("s3", NOON, META)
        journal.record(make_step(0, [1]))
    copy = lab(state)

    agreement = held_against(state / "journal.sqlite", copy)
    assert (agreement.fault, agreement.compared, agreement.lost) == ("", 25, [23, 24, 25, 26])
    said = verify(str(state), state, copy)
    assert "4 records (23-26) were told and then lost, before a backup was brought back" in said


def test_a_backup_is_a_copy_to_hold_against_too(state, tmp_path, make_step):
    back_up(state, tmp_path / "copy")
    with Journal.open(state / "journal.sqlite") as journal:
        journal.begin("s3", NOON, META)
    assert f"It goes on from {tmp_path / 'copy'}" in verify(str(state), state, tmp_path / "copy")

    _written_anew(state / "journal.sqlite")
    assert f"It goes on from {tmp_path / 'copy'}" in verify(str(state), state, tmp_path / "copy")  # nothing was changed
    change(state / "journal.sqlite", "UPDATE frames SET used = 0 WHERE session = 's1' AND frame = 2")
    _written_anew(state / "journal.sqlite")
    with pytest.raises(JournalError, match="with another hash: the record was written anew"):
        verify(str(state), state, tmp_path / "copy")
    with pytest.raises(JournalError, match="the record was cut short"):
        verify(str(tmp_path / "copy"), state, state)


def test_a_copy_of_another_device_is_refused(state, lab, tmp_path):
    with Journal.open(tmp_path / "other" / "journal.sqlite"):
        pass
    with pytest.raises(UsageError, match="holds no record of this journal"):
        held_against(tmp_path / "other" / "journal.sqlite", lab(state))
    with pytest.raises(UsageError, match="does not exist"):
        held_against(state / "journal.sqlite", tmp_path / "nowhere")
