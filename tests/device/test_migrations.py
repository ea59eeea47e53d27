"""Journals of every released version are proved as they are, carried over, and go on; newer ones are refused."""

import gzip
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.errors import JournalError
from fnrbc_device.journal import chain
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.migrations import FIRST_VERSION, SCHEMA_VERSION, make_tables, schema_fault
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.schema import open_database
from fnrbc_device.records import SessionMeta

STORED = Path(__file__).with_name("journals")
NOON = datetime(2026, 3, 1, 18, 0, tzinfo=timezone.utc)
OLD_HASH = "ea57e021438bf8c51918699476b5ab2458070dbf258bc31b4ad19051d2327d73"
"""What ``fnrbc verify`` of 0.1.0 said of the stored journal: somebody may have noted it."""


@pytest.fixture(params=sorted(one.name for one in STORED.glob("*.gz")))
def stored(request, path):
    return unpacked(request.param, path)


@pytest.fixture
def of_0_1_0(path):
    return unpacked("version-3.sqlite.gz", path)


def unpacked(name, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.decompress((STORED / name).read_bytes()))
    return path


def version_of(path):
    return asked(path, "PRAGMA user_version")[0][0]


def asked(path, query):
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(query).fetchall()


def test_every_version_since_the_first_release_is_stored():
    released = {int(one.name.split("-")[1].split(".")[0]) for one in STORED.glob("*.gz")}

    assert released == set(range(FIRST_VERSION, SCHEMA_VERSION))


def test_an_older_journal_is_proved_where_it_lies_and_not_changed(stored):
    before = stored.read_bytes()

    proof = prove(stored)

    assert (proof.fault, "did not seal" in proof.limits) == ("", version_of(stored) == FIRST_VERSION)
    assert stored.read_bytes() == before


def test_an_older_journal_is_carried_over_and_goes_on(stored, make_step):
    with Journal.open(stored) as journal:
        assert asked(stored, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
        for session in journal.unfinished():
            journal.abandon(session, "the software was renewed")
        journal.begin("new", NOON, SessionMeta("0.2.0", "b", "simulation", 0.125))
        journal.record(make_step(0, [4]))
        journal.end(NOON, journal.tally("new"), complete=True)

    proof = prove(stored)
    assert (proof.fault, proof.limits) == ("", "")


def test_all_that_0_1_0_recorded_is_there_after_it_is_carried_over(of_0_1_0):
    tables = ("sessions", "frames", "joins", "events", "crops", "plates", "reviews", "outbox", "alarms")
    before = {table: asked(of_0_1_0, f"SELECT * FROM {table}") for table in tables}
    assert all(before.values())

    open_database(of_0_1_0).close()

    assert {table: asked(of_0_1_0, f"SELECT * FROM {table}") for table in tables} == before
    assert (OLD_HASH,) in asked(of_0_1_0, "SELECT hash FROM audit")


def test_the_older_journal_is_kept_for_the_way_back(stored):
    with closing(sqlite3.connect(stored)) as database:
        before = list(database.iterdump())
    version = version_of(stored)

    for _ in range(2):
        open_database(stored).close()

    (copy,) = stored.parent.glob("*.version-*")
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
        assert list(database.iterdump()) == before
    assert copy.stat().st_mode & 0o077 == 0


def test_a_session_of_0_1_0_that_was_cut_off_goes_on(of_0_1_0, make_step):
    with Journal.open(of_0_1_0) as journal:
        journal.resume("s3", {"after_frame": 1})
        assert [one.keyframe.number for one in journal.keyframes("s3")] == [1, 2]
        journal.record(make_step(2, [7]))

    assert prove(of_0_1_0).fault == ""


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE frames SET used = 0 WHERE session = 's2' AND frame = 0",
        "UPDATE sessions SET meta = '{}' WHERE session = 's2'",
        "UPDATE sessions SET ended_utc = '2026' WHERE session = 's3'",
        "UPDATE plates SET placed = 7 WHERE number = 2",
        "DELETE FROM plates WHERE number = 2",
        "DELETE FROM alarms",
        "DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox)",
        "UPDATE journal SET oldest_seq = 3",
        "UPDATE journal SET first_link = last_link",
        "UPDATE audit SET chain = 2 WHERE link = (SELECT min(link) FROM audit)",
        "UPDATE audit SET chain = NULL WHERE link = (SELECT max(link) FROM audit)",
    ],
)
def test_once_carried_over_whatever_is_changed_is_seen(of_0_1_0, forgery):
    with closing(open_database(of_0_1_0)) as database:
        kept = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in kept:
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(forgery).rowcount == 1
        for _, sql in kept:
            database.execute(sql)

    assert prove(of_0_1_0).fault


def test_what_was_broken_before_is_broken_after(of_0_1_0):
    asked(of_0_1_0, "UPDATE frames SET used = 0 WHERE session = 's2' AND frame = 0")
    broken = prove(of_0_1_0).fault
    assert "frame 0 of session s2" in broken

    open_database(of_0_1_0).close()

    assert prove(of_0_1_0).fault == broken


def test_a_new_journal_and_one_carried_over_have_the_same_tables(stored, tmp_path):
    for path in (stored, tmp_path / "new.sqlite"):
        with closing(open_database(path)) as database:
            assert schema_fault(database, SCHEMA_VERSION) == ""


def test_a_newer_journal_is_refused_with_the_cure_and_not_changed(path):
    open_database(path).close()
    asked(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = asked(path, "SELECT * FROM journal")

    for use in (Journal.open, Outbox, prove):
        with pytest.raises(JournalError, match="install the newer fnrbc that wrote it, or restore a backup"):
            use(path)
    assert asked(path, "SELECT * FROM journal") == before


def test_every_column_of_a_covered_table_is_named_in_the_chain():
    with closing(sqlite3.connect(":memory:")) as database:
        make_tables(database)
        named = {
            **{table: set(columns) for table, columns in chain.ROW_COLUMNS.items()},
            "sessions": set(chain.SIGNED_COLUMNS).union(*chain.SESSION_COLUMNS.values()),
            "plates": set(chain.PLATE_COLUMNS),
            "audit": {*chain.LINK_COLUMNS, "hash"},
        }
        for table, columns in named.items():
            assert {row[1] for row in database.execute(f"PRAGMA table_info({table})")} == columns


def test_a_column_that_came_later_is_null_in_older_rows():
    """Else the links of those rows would no longer hold."""
    with closing(sqlite3.connect(":memory:")) as first, closing(sqlite3.connect(":memory:")) as now:
        make_tables(first, FIRST_VERSION)
        make_tables(now)
        for table in (*chain.ROW_COLUMNS, "sessions", "plates", "audit"):
            known = {row[1] for row in first.execute(f"PRAGMA table_info({table})")}
            if not known:
                continue  # a table that came later has no older rows
            for _, name, _, required, default, _ in now.execute(f"PRAGMA table_info({table})"):
                assert name in known or (not required and default is None), (table, name)
