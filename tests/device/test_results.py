"""A signed session makes a result: told once, kept in the chain, withdrawn and superseded as records of their own."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.contract.results import FIGURES
from fnrbc_device.errors import ReviewError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.results import newest_result, results_of
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.reporting.session_export import export, without_names
from fnrbc_device.sessions.archive import Search, find, happenings, read
from fnrbc_device.sessions.controls import controls
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.details import Describing
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.sessions.waiting import waiting
from laboratory import LEUKOCYTE, OPEN, cells, write_session

FNRBC, LEUKOCYTES = 5, 40


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """One session: five fNRBC, an indeterminate cell and 40 leukocytes."""
    path = tmp_path_factory.mktemp("written") / "state" / "journal.sqlite"
    write_session(path, "s1", [*cells(FNRBC, 0), OPEN, *[LEUKOCYTE] * LEUKOCYTES])
    return path


@pytest.fixture
def record(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written.parent, tmp_path / "state")
    return tmp_path / "state" / "journal.sqlite"


def decide(path: Path, *decisions: str) -> None:
    with Decisions(path, "bench", SystemClock()) as deciding:
        for cell, decision in enumerate(decisions, 1):
            deciding.decide("s1", cell, decision, "dora")


def sign(path: Path, reason: str = "", who: str = "carla") -> int:
    with SignOff(path, "bench", SystemClock()) as signing:
        return signing.sign("s1", who, reason=reason)


def withdraw(path: Path, reason: str = "the wrong slide", who: str = "otto") -> int:
    with SignOff(path, "bench", SystemClock()) as signing:
        return signing.withdraw("s1", who, reason)


def describe(path: Path, **told: str) -> int:
    with Describing(path, "bench", SystemClock()) as describing:
        return describing.describe("s1", "olga", **told)


def told(path: Path, topic: str = "log/result") -> list[dict[str, object]]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT payload FROM outbox WHERE topic = ? ORDER BY seq", (topic,)).fetchall()
    return [json.loads(payload) for (payload,) in rows]


def entry_of(path: Path, session: str = "s1"):
    with reading(path) as connection:
        return read(connection, session)


ALL = ("confirmed", "confirmed", "confirmed", "rejected", "confirmed", "rejected")


def test_a_signed_session_tells_its_verified_figures_with_who_when_and_the_records_hash(record):
    decide(record, *ALL)
    before = prove(record)

    sign(record)

    (result,) = told(record)
    entry = entry_of(record)
    assert (result["event"], result["version"], result["verified"]) == ("signed", 1, True)
    assert (result["fnrbc"], result["leukocytes"], result["machine_fnrbc"]) == (4, 40, 5)
    rate = entry.verified.fnrbc_per_100_leukocytes
    assert (result["fnrbc_per_100_leukocytes"], result["ci95_low"]) == (rate.value, round(rate.low, 4))
    assert (result["candidates"], result["reviewed"], result["left_open"], result["complete"]) == (6, 6, "", True)
    assert (result["signed_by"], result["signed"]) == ("carla", entry.signed_utc)
    assert result["chain_link"] == before.links + 1
    with closing(sqlite3.connect(record)) as database:
        (digest,) = database.execute("SELECT hash FROM audit WHERE kind = 'signed'").fetchone()
    assert result["chain_hash"] == digest
    assert prove(record).fault == ""


def test_a_session_with_candidates_open_is_signed_with_a_reason_alone_and_all_say_so(record):
    decide(record, *ALL[:4])
    with pytest.raises(ReviewError, match="2 of 6 candidates are not decided on; say why"):
        sign(record)
    assert told(record) == []

    sign(record, "the slide was broken")

    (result,) = told(record)
    assert (result["reason"], result["fnrbc_per_100_leukocytes"]) == ("the slide was broken", None)
    assert "2 of 6 candidates are not reviewed" in result["left_open"]
    with reading(record) as connection:
        entry = read(connection, "s1")
        html, fields = (export(form, connection, record, entry).decode() for form in ("html", "json"))
    assert "the slide was broken" in html
    assert json.loads(fields)["signed"]["reason"] == "the slide was broken"
    assert "2 of 6 candidates are not decided on" in json.loads(fields)["signed"]["although"]


def test_a_withdrawn_result_gives_no_figure_and_the_session_can_be_corrected_and_signed_again(record):
    decide(record, *ALL)
    sign(record)
    with pytest.raises(ReviewError, match="signed off"):
        decide(record, "rejected")
    with pytest.raises(ReviewError, match="with a reason"):
        withdraw(record, "")

    withdraw(record)
    decide(record, "rejected")
    sign(record, who="erna")

    first, withdrawn, superseded, second = told(record)
    assert [one["event"] for one in (first, withdrawn, superseded, second)] == [
        "signed", "withdrawn", "superseded", "signed",
    ]  # fmt: skip
    for fallen in (withdrawn, superseded):
        assert (fallen["verified"], fallen["version"]) == (False, 1)
        assert {fallen[name] for name in FIGURES} == {None}
        assert (fallen["withdrawn_by"], fallen["withdrawn_reason"]) == ("otto", "the wrong slide")
    assert (second["version"], second["verified"], second["fnrbc"], second["signed_by"]) == (2, True, 3, "erna")
    assert (first["fnrbc"], second["withdrawn_by"]) == (4, "")
    assert [one["seq"] for one in told(record)] == sorted(one["seq"] for one in told(record))
    with reading(record) as connection:
        assert [one.seq for one in results_of(connection, "s1")] == [one["seq"] for one in told(record)]
        assert newest_result(connection).version == 2
    assert prove(record).fault == ""


def test_what_is_not_signed_cannot_be_withdrawn(record):
    with pytest.raises(ReviewError, match="not signed off"):
        withdraw(record)


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE sessions SET signed_utc = '2026-03-02T08:00:00.000Z', signed_by = 'carla'",
        "UPDATE results SET payload = replace(payload, '\"fnrbc\":4', '\"fnrbc\":40') WHERE event = 'signed'",
        "DELETE FROM results WHERE event = 'withdrawn'",
        "DELETE FROM audit WHERE kind = 'withdrawn'",
        "UPDATE details SET specimen = 'other'",
    ],
)
def test_whoever_brings_a_withdrawn_result_back_by_hand_is_seen(record, forgery):
    describe(record, specimen="S 17")
    decide(record, *ALL)
    sign(record)
    withdraw(record)
    with closing(sqlite3.connect(record, isolation_level=None)) as database:
        kept = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in kept:
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(forgery).rowcount == 1
        for _, sql in kept:
            database.execute(sql)

    assert prove(record).fault


def test_a_result_outlives_the_session_that_retention_lets_go_of_and_says_so(record):
    decide(record, *ALL)
    sign(record)
    write_session(record, "s2", cells(1, 3), ended=datetime(2026, 3, 4, 8, tzinfo=timezone.utc))
    with closing(Outbox(record)) as outbox:
        taken = [Acknowledgement(one.seq, "acked", "") for one in outbox.pending(0, 500)]
        outbox.acknowledge(taken, SystemClock().utc())

    with Journal.open(record, "bench") as journal:
        journal.let_go("s1")

    (removed,) = told(record)
    assert (removed["event"], removed["verified"], removed["session"]) == ("removed", False, "s1")
    assert {removed[name] for name in FIGURES} == {None}
    with reading(record) as connection:
        assert newest_result(connection).event == "removed"
    assert prove(record).fault == ""


def test_specimen_operator_and_note_are_given_late_and_hold_everywhere(record):
    describe(record, specimen="S 17", note="second smear")
    seq = describe(record, operator="Ängström")
    assert describe(record, operator="Ängström") == 0

    with reading(record) as connection:
        meta = read(connection, "s1").meta
        assert (meta.specimen, meta.operator, meta.note) == ("S 17", "Ängström", "second smear")
        for words in ("s 17", "ÄNGSTRÖM", "second"):
            assert [one.session for one in find(connection, Search(words))[0]] == ["s1"]
        assert find(connection, Search("anna"))[0] == []
        said = [one.fields for one in happenings(connection, "s1") if one.kind == "described"]
    assert [(one["by"], one["changed"]) for one in said] == [("olga", ["specimen", "note"]), ("olga", ["operator"])]
    last = told(record, "log/session")[-1]
    assert (last["event"], last["seq"], last["specimen"]) == ("described", seq, specimen_hash("S 17", record.parent))
    assert "S 17" not in json.dumps(told(record, "log/session") + told(record, "log/audit"))
    assert prove(record).fault == ""


def test_what_was_said_late_goes_out_with_the_result_as_a_hash_and_is_fixed_by_the_sign_off(record):
    decide(record, *ALL)
    describe(record, specimen="S 17")
    sign(record)

    assert told(record)[0]["specimen"] == specimen_hash("S 17", record.parent)
    with pytest.raises(ReviewError, match="signed off"):
        describe(record, specimen="S 18")
    with reading(record) as connection:
        entry = without_names(read(connection, "s1"), record.parent)
        assert b"S 17" not in export("html", connection, record, entry)


def test_a_control_whose_name_was_given_late_is_on_its_chart(tmp_path):
    path = tmp_path / "state" / "journal.sqlite"
    write_session(path, "s1", cells(2, 100), kind="control")
    describe(path, specimen="low")

    with reading(path) as connection:
        assert [one.material for one in controls(connection)] == ["low"]


def test_a_session_waits_for_its_specimen_its_decisions_and_its_sign_off_in_turn(record):
    def waits():
        return [(one.what, one.role, one.cells) for one in waiting(entry_of(record))]

    assert waits() == [("specimen", "operator", 0), ("decide", "reviewer", 6)]
    describe(record, specimen="S 17")
    decide(record, *ALL)
    assert waits() == [("sign", "reviewer", 0)]
    sign(record)
    assert waits() == []
    withdraw(record)
    assert waits() == [("sign", "reviewer", 0)]


def test_the_report_opens_with_the_verified_figures_and_has_the_machines_beside_them(record):
    decide(record, *ALL)
    sign(record)

    with reading(record) as connection:
        html = export("html", connection, record, read(connection, "s1")).decode()

    assert html.index("Verified by a person") < html.index("Verified and signed off by carla on")
    assert html.index("<strong>4</strong>") < html.index("Counted by the machine") < html.index("<strong>5</strong>")
    assert html.index("10.0") < html.index("12.5")


def test_what_0_1_0_signed_off_can_be_withdrawn_and_its_result_is_told_then(record):
    """Its sign-off has no result: that one is made when it falls, as version 1."""
    decide(record, *ALL)
    sign(record)
    with closing(sqlite3.connect(record, isolation_level=None)) as database:
        database.execute("DELETE FROM results")

    withdraw(record)

    assert (told(record)[-1]["event"], told(record)[-1]["version"]) == ("withdrawn", 1)
    assert told(record)[-1]["signed_by"] == "carla"
