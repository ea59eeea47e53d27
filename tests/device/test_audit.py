"""The audit: a whole record is proved, and whatever is changed in it is pointed at."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from fnrbc_device.commands.verify import verify
from fnrbc_device.counting.cell import View
from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.queries import Kept
from fnrbc_device.records import SessionMeta

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta("0.1.0", "b", "simulation", 0.125)


def change(path, *statements):
    """What somebody with the file in hand can do, who leaves no trace in the triggers."""
    with closing(sqlite3.connect(path)) as database, database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert database.execute(statement).rowcount != 0
        for _, sql in triggers:
            database.execute(sql)


@pytest.fixture
def record(path, make_step):
    """Two sessions, the second cut off and gone on with."""
    crop = np.arange(120 * 120 * 3, dtype=np.uint32).astype(np.uint8).reshape(120, 120, 3)
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4, 5]), Kept({4: [View(1.0, 0, crop)]}))
        journal.record(make_step(1, []))
        journal.record(make_step(2, [4], event="retracted"))
        journal.note("flagged", {"row_px": 1.0}, frame=2)
        journal.end(NOON, journal.tally("s1"), complete=True)
        journal.begin("s2", NOON, META)
        journal.record(make_step(0, [1]))
    with Journal.open(path) as journal:
        journal.resume("s2", {"after_frame": 0})
        journal.record(make_step(1, [2]))
    return path


def test_a_whole_record_is_proved(record):
    proof = prove(record)

    assert (proof.fault, proof.links, proof.sessions, len(proof.last_hash)) == ("", 11, 2, 64)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE events SET class_name = 'other' WHERE cell = 5", "link 3 of the audit (frame 0 of session s1"),
        ("UPDATE events SET x_um = x_um + 1e-9 WHERE cell = 1", "link 9 of the audit (frame 0 of session s2"),
        ("DELETE FROM events WHERE cell = 2", "link 11 of the audit (frame 1 of session s2"),
        ("DELETE FROM frames WHERE session = 's1' AND frame = 1", "link 4 of the audit"),
        ("UPDATE frames SET used = 0 WHERE frame = 2", "link 5 of the audit"),
        ("UPDATE sessions SET complete = 0 WHERE session = 's1'", "link 7 of the audit (ended of session s1"),
        ("UPDATE sessions SET meta = '{}' WHERE session = 's2'", "link 8 of the audit (begun of session s2"),
        ("UPDATE outbox SET payload = replace(payload, 'fnrbc', 'other') WHERE seq = 2", "link 3 of the audit"),
        ("UPDATE audit SET note = '{}' WHERE kind = 'flagged'", "link 6 of the audit (flagged 2 of session s1"),
        ("UPDATE audit SET at_utc = '' WHERE link = 10", "link 10 of the audit (resumed of session s2"),
        ("UPDATE crops SET picture = x'00'", "link 3 of the audit"),
        ("DELETE FROM audit WHERE link = 4", "link 4 of the audit is missing"),
        ("DELETE FROM audit WHERE link = 1", "link 1 of the audit is missing"),
        ("DELETE FROM audit WHERE link = 11", "the audit ends at link 10"),
        ("INSERT INTO frames SELECT session, 7, 0, '', 1, 0, 0, 1, NULL, NULL FROM sessions LIMIT 1", "has no link"),
        ("INSERT INTO joins VALUES ('s1', 1, 2, 1, 0, 0)", "link 4 of the audit"),
        (
            "INSERT INTO sessions (session, started_utc, ended_utc, meta) VALUES ('s3', '', '', '{}')",
            "a session (s3) of the table sessions has no link",
        ),
    ],
)
def test_whatever_is_changed_is_pointed_at(record, statement, words):
    change(record, statement)

    assert words in prove(record).fault


def test_a_message_that_was_let_go_of_breaks_nothing_and_one_that_was_removed_does(record):
    change(record, "UPDATE outbox SET state = 'acked', settled_utc = '2026-03-01T12:00:00.000Z' WHERE seq < 4")
    with closing(Outbox(record)) as outbox:
        assert outbox.prune(NOON + timedelta(days=1), 10**9) == 3
    assert prove(record).fault == ""

    change(record, "DELETE FROM outbox WHERE seq = 4")
    assert "its message 4 is missing, and no link says that it was let go of" in prove(record).fault


def test_an_event_that_was_slipped_in_is_found(record):
    change(
        record,
        "INSERT INTO events SELECT 999, session, frame, event, 77, class_name, role, probability,"
        " target_probability, island, row_px, col_px, x_um, y_um, diameter_um, nucleus_ratio, views, best_frame, reason"
        " FROM events WHERE cell = 5",
    )

    assert "the event 999 has no link" in prove(record).fault


def test_a_rewritten_tail_has_another_last_hash(record):
    before = prove(record).last_hash
    with Journal.open(record) as journal:
        journal.resume("s2", {})

    assert prove(record).last_hash != before


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_byte_is_found_or_harms_nothing(record, seed):
    with Journal.open(record) as journal:
        whole = {session: journal.events(session) for session in ("s1", "s2")}
    with closing(sqlite3.connect(record)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(record.read_bytes())
    place = int(np.random.default_rng(seed).integers(100, len(content)))
    content[place] ^= 1 << (seed % 8)
    record.write_bytes(content)

    if prove(record).fault == "":
        with Journal.open(record) as journal:
            assert {session: journal.events(session) for session in ("s1", "s2")} == whole


def test_a_file_whose_damage_is_no_text_is_refused_in_one_sentence(record):
    with closing(sqlite3.connect(record)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = record.read_bytes()
    assert b"CREATE TABLE crops" in content
    record.write_bytes(content.replace(b"CREATE TABLE crops", b"CREATE \xe1ABLE crops"))

    with pytest.raises(JournalError, match="damaged or something else"):
        Journal.open(record)


def test_a_damaged_session_is_not_gone_on_with(record):
    change(record, "UPDATE events SET class_name = 'other' WHERE cell = 1")

    with Journal.open(record) as journal, pytest.raises(JournalError, match=r"damaged: link 9 .* move it away"):
        journal.resume("s2", {})


def test_the_oldest_session_goes_and_the_rest_is_still_proved(record):
    with Journal.open(record) as journal:
        assert journal.oldest_to_let_go() is None  # nobody acknowledged it
        change(record, "UPDATE outbox SET state = 'acked' WHERE seq <= 6")
        assert journal.oldest_to_let_go() == ("s1", "2026-03-01T12:00:00.000Z")
        journal.let_go("s1")
        assert journal.events("s1") == []
        assert journal.unfinished() == ["s2"]
        assert journal.oldest_to_let_go() is None  # it is not ended
        with pytest.raises(JournalError, match="cannot be let go of"):
            journal.let_go("s2")

    proof = prove(record)
    assert (proof.fault, proof.links, proof.sessions) == ("", 5, 1)


def test_the_command_names_what_it_proved(record):
    assert "is whole: 11 links of 2 sessions" in verify(str(record.parent), record.parent)
    assert "session s1 is part of it" in verify("s1", record.parent)
    with pytest.raises(UsageError, match="s9 is no folder, and no session"):
        verify("s9", record.parent)
    with pytest.raises(UsageError, match="does not exist"):
        verify(str(record.parent / "elsewhere" / "journal.sqlite"), record.parent)


def test_the_command_fails_with_the_broken_link(record):
    change(record, "DELETE FROM audit WHERE link = 4")

    with pytest.raises(JournalError, match="link 4 of the audit is missing"):
        verify(str(record), record.parent)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 400])
def test_what_is_no_journal_is_said_as_such(tmp_path, content):
    (tmp_path / "journal.sqlite").write_bytes(content)

    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        verify(str(tmp_path), tmp_path)
