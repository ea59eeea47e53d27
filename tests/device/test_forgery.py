"""Whoever has the file in hand and changes anything in it is seen by ``verify``, or the docs say why not."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fnrbc_device.journal.chain import NOT_COVERED
from fnrbc_device.journal.proof import prove
from records import full_record

DOCS = Path(__file__).parents[2] / "docs" / "record.md"
OTHER_VALUE = {"INTEGER": "coalesce({0}, 0) + 1000", "REAL": "coalesce({0}, 0) + 0.5", "BLOB": "zeroblob(9)"}
OTHER_CHOICE = {"outbox.state": "CASE state WHEN 'acked' THEN 'pending' ELSE 'acked' END",
                "results.event": "CASE event WHEN 'signed' THEN 'withdrawn' ELSE 'signed' END",
                "reviews.decision": "CASE decision WHEN 'rejected' THEN 'confirmed' ELSE 'rejected' END"}  # fmt: skip
KEYS = {
    "sessions": "session", "frames": "frame", "joins": "island", "events": "seq", "crops": "view", "plates": "number",
    "audit": "link", "outbox": "seq", "alarms": "code", "reviews": "seq", "journal": "epoch",
    "results": "seq", "details": "seq", "surroundings": "view", "mosaics": "island",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from runpy import run_path

    path = tmp_path_factory.mktemp("whole") / "journal.sqlite"
    full_record(path, run_path(str(Path(__file__).with_name("conftest.py")))["step"])
    assert prove(path).fault == ""
    return path


def forged(whole, *statements):
    """What ``verify`` says after somebody, who leaves all triggers as they were, has changed the record."""
    path = whole.with_name("forged.sqlite")
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)
        for _, sql in triggers:
            database.execute(sql)
    return prove(path).fault


def asked(whole, query):
    with closing(sqlite3.connect(whole)) as database:
        return database.execute(query).fetchall()


def columns(whole, table):
    about = asked(whole, f"PRAGMA table_info({table})")
    return [(name, kind, not required and not key) for _, name, kind, required, _, key in about]


def rows(whole, table):
    """A condition for each row of a table."""
    key = [row[1] for row in asked(whole, f"PRAGMA table_info({table})") if row[5]]
    if not key:
        return ["1"]
    values = asked(whole, f"SELECT {', '.join(f'quote({name})' for name in key)} FROM {table}")
    return [" AND ".join(f"{name} = {value}" for name, value in zip(key, row, strict=True)) for row in values]


def test_every_table_holds_something_to_forge(whole):
    tables = {name for (name,) in asked(whole, "SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert tables == set(KEYS)
    assert all(asked(whole, f"SELECT 1 FROM {table} LIMIT 1") for table in tables)
    assert asked(whole, "SELECT count(ended_utc), count(signed_utc), count(*) FROM sessions") == [(2, 1, 3)]


@pytest.mark.parametrize("table", KEYS)
def test_a_changed_column_is_seen_in_every_row_or_is_listed_as_not_covered(whole, table):
    for name, kind, may_be_null in columns(whole, table):
        other = OTHER_CHOICE.get(f"{table}.{name}") or OTHER_VALUE.get(kind, "coalesce({0}, '') || 'x'").format(name)
        for row in rows(whole, table):
            for value in (other, "NULL") if may_be_null else (other,):
                if asked(whole, f"SELECT {name} IS ({value}) FROM {table} WHERE {row}") == [(1,)]:
                    continue
                fault = forged(whole, f"UPDATE {table} SET {name} = {value} WHERE {row}")
                assert (fault == "") == (f"{table}.{name}" in NOT_COVERED), (table, name, row, value)


@pytest.mark.parametrize("table", KEYS)
def test_a_removed_row_is_seen(whole, table):
    for row in rows(whole, table):
        assert forged(whole, f"DELETE FROM {table} WHERE {row}"), (table, row)


@pytest.mark.parametrize("shift", [1000, -1000])
@pytest.mark.parametrize("table", KEYS)
def test_an_added_row_is_seen(whole, table, shift):
    key = KEYS[table]
    other = f"{key} || 'x'" if table in ("sessions", "alarms", "journal") else f"{key} + {shift}"
    alone = ["UPDATE one SET request = NULL, undoes = NULL"] if table == "reviews" else []
    for row in rows(whole, table):
        fault = forged(
            whole,
            f"CREATE TEMP TABLE one AS SELECT * FROM {table} WHERE {row}",
            f"UPDATE one SET {key} = {other}",
            *alone,
            f"INSERT INTO {table} SELECT * FROM one",
        )
        assert fault, (table, row)


def test_every_trigger_index_and_table_that_is_removed_is_seen(whole):
    found = asked(whole, "SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL")
    assert {kind for kind, _ in found} == {"table", "index", "trigger"}
    for kind, name in found:
        path = whole.with_name("dropped.sqlite")
        shutil.copy(whole, path)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"DROP {kind} {name}")
        assert prove(path).fault, (kind, name)


def test_a_trigger_that_was_emptied_and_one_that_was_added_are_seen(whole):
    emptied = "CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events BEGIN SELECT 1; END"
    path = whole.with_name("emptied.sqlite")
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TRIGGER events_are_append_only")
        database.execute(emptied)
    assert "trigger events_are_append_only is not as the journal has it" in prove(path).fault

    added = "CREATE TRIGGER quietly AFTER INSERT ON events BEGIN DELETE FROM events WHERE seq = NEW.seq; END"
    assert "trigger quietly is none of the journal's" in forged(whole, added)


@pytest.mark.parametrize("altered", ["", "UPDATE events SET class_name = 'other' WHERE session = 's1'"])
@pytest.mark.parametrize("first", ["last_link", "last_link + 1", "first_link + 3"])
def test_a_beginning_that_was_moved_is_seen(whole, first, altered):
    statements = [one for one in (altered, f"UPDATE journal SET first_link = {first}") if one]

    assert forged(whole, *statements)
    before = "UPDATE journal SET before_first = (SELECT hash FROM audit WHERE link = first_link - 1)"
    assert forged(whole, *statements, before)
    assert forged(whole, *statements, before, "DELETE FROM audit WHERE link < (SELECT first_link FROM journal)")


@pytest.mark.parametrize("session", ["s1", "s2"])
@pytest.mark.parametrize("sealed_too", [False, True])
def test_a_session_that_was_removed_as_retention_removes_it_is_seen(whole, session, sealed_too):
    """s1 was signed off, s2 ended; both with all that 0.1.0 changed when it let go of one."""
    last = f"(SELECT max(link) FROM audit WHERE session = '{session}' AND kind = 'ended')"
    gone = f"(SELECT last_seq FROM audit WHERE link = {last})"
    statements = [
        f"DELETE FROM outbox WHERE seq <= {gone}",
        f"DELETE FROM reviews WHERE seq <= {gone}",
        f"UPDATE journal SET first_link = {last} + 1, before_first = (SELECT hash FROM audit WHERE link = {last})",
        *(
            f"DELETE FROM {table} WHERE session = '{session}'"
            for table in ("plates", "events", "joins", "frames", "sessions")
        ),
        "DELETE FROM crops WHERE seq NOT IN (SELECT seq FROM events)",
    ]
    if sealed_too:
        statements.insert(0, f"UPDATE journal SET oldest_seq = max(oldest_seq, {gone} + 1)")
    statements.append("DELETE FROM audit WHERE link < (SELECT first_link FROM journal)")

    assert forged(whole, *statements)


def test_all_of_the_record_but_its_last_link_cannot_be_removed_unseen(whole):
    tables = ("plates", "crops", "events", "joins", "frames", "sessions", "reviews", "outbox", "alarms", "results",
              "details", "surroundings", "mosaics")  # fmt: skip
    fault = forged(
        whole,
        *(f"DELETE FROM {table}" for table in tables),
        "UPDATE journal SET first_link = last_link",
        "UPDATE journal SET before_first = (SELECT hash FROM audit WHERE link = first_link - 1)",
        "DELETE FROM audit WHERE link < (SELECT last_link FROM journal)",
    )

    said = ("its beginning was moved", "no link says where the record begins", "links seal")
    assert any(words in fault for words in said)


def test_the_docs_list_what_is_not_covered_and_why():
    text = " ".join(DOCS.read_text().split())

    for column, why in NOT_COVERED.items():
        assert f"`{column}`" in text
        assert why in text
