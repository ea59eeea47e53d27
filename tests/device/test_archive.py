"""Sessions on record: found, told with what they leave open, signed off for good, and taken along in every format."""

import csv
import io
import json
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.config import load_config
from fnrbc_device.errors import CommandError, ConfigError, JournalError, ReviewError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.queries import RecordedFrame
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.specimen import KEY_NAME, MAX_SPECIMEN, specimen_hash, written
from fnrbc_device.records import Join, Pose, SessionMeta, Tally
from fnrbc_device.reporting.recorded_cells import cell_table
from fnrbc_device.reporting.recorded_map import Shape, maps
from fnrbc_device.reporting.session_export import COLUMNS, export, without_names
from fnrbc_device.sessions.archive import Search, find, happenings, read
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.texts import RESEARCH_USE_ONLY
from fnrbc_device.web.plan import Typed, read_plan

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
NASTY = '<script>alert("1")</script>\' & Ünï 細胞'


def meta(**changes: object) -> SessionMeta:
    return replace(SessionMeta("fnrbc 1", "b" * 64, "simulation", 0.125), **changes)


_made: list[Path] = []
"""The folder of the record that all tests here start from: written once, since each write waits for the disk."""


@pytest.fixture
def record(path: Path, make_step: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions, one a day; the second has a nasty specimen, the third runs."""
    if not _made:
        folder = tmp_path_factory.mktemp("record") / "state"
        _write(folder / "journal.sqlite", make_step)
        _made.append(folder)
    shutil.copytree(_made[0], path.parent)
    return path


def _write(path: Path, make_step: Callable[..., object]) -> None:
    people = (("anna", "A 17", "first smear"), ("bob", NASTY, ""), ("Ängström", "C-3", "100% of 2_a"))
    with Journal.open(path) as journal:
        for day, (operator, specimen, note) in enumerate(people):
            name = f"s{day + 1}"
            started = NOON + timedelta(days=day)
            journal.begin(name, started, meta(operator=operator, specimen=specimen, note=note))
            journal.record(make_step(0, [4, 5, 8, 9, 3]))
            journal.record(make_step(1, [], reason="blurred"))
            journal.record(make_step(2, [9], "retracted"))
            if day < 2:
                tally = Tally(cells=4, fnrbc=2, leukocytes=1, indeterminate=1, unique_area_mm2=0.25)
                journal.end(started + timedelta(minutes=9), tally, complete=True)


def entry_of(path: Path, session: str = "s1") -> object:
    with reading(path) as connection:
        return read(connection, session)


def found(path: Path, **search: str) -> list[str]:
    with reading(path) as connection:
        return [one.session for one in find(connection, Search(**search))[0]]


def exported(path: Path, form: str, session: str = "s1", *, named: bool = True) -> bytes:
    with reading(path) as connection:
        entry = read(connection, session)
        assert entry is not None
        return export(form, connection, path, entry if named else without_names(entry, path.parent))


def signed(path: Path, session: str = "s1", who: str = "carla") -> int:
    with SignOff(path, "fnrbc", SystemClock()) as signing:
        return signing.sign(session, who, reason="seen under the microscope")


def decided(path: Path, cell: int, decision: str, session: str = "s1") -> None:
    with Decisions(path, "fnrbc", SystemClock()) as reviewing:
        reviewing.decide(session, cell, decision, "dora")


def test_sessions_come_newest_first_with_their_counts(record: Path) -> None:
    with reading(record) as connection:
        entries, total = find(connection, Search())
    assert ([one.session for one in entries], total) == (["s3", "s2", "s1"], 3)
    tally = entries[2].tally
    assert (tally.fnrbc, tally.leukocytes, tally.indeterminate, tally.cells) == (2, 1, 1, 4)
    assert (tally.frames, tally.frames_used, tally.frames_rejected) == (3, 2, {"blurred": 1})
    assert (entries[2].area_known, tally.unique_area_mm2) == (True, 0.25)
    assert entries[0].ended_utc is None


def test_the_list_adds_up_to_what_the_journal_adds_up_to(record: Path) -> None:
    with Journal.open(record) as journal:
        recounted = journal.tally("s2")
    tally = entry_of(record, "s2").tally
    for name in ("cells", "fnrbc", "leukocytes", "other", "indeterminate", "frames", "frames_used", "islands"):
        assert getattr(tally, name) == getattr(recounted, name), name


@pytest.mark.parametrize(
    ("search", "sessions"),
    [
        ({"words": "a 17"}, ["s1"]),
        ({"words": "ÄNGSTRÖM"}, ["s3"]),
        ({"words": "smear first"}, ["s1"]),
        ({"words": "細胞"}, ["s2"]),
        ({"words": "%"}, ["s3"]),
        ({"words": "2_a"}, ["s3"]),
        ({"words": "_"}, ["s3"]),
        ({"words": "s2"}, ["s2"]),
        ({"words": "' OR 1=1 --"}, []),
        ({"words": "simulation"}, []),
        ({"first_day": "2026-03-02"}, ["s3", "s2"]),
        ({"last_day": "2026-03-01"}, ["s1"]),
        ({"first_day": "2026-03-02", "last_day": "2026-03-02"}, ["s2"]),
    ],
)
def test_sessions_are_found_by_what_was_said_of_them_and_by_day(
    record: Path, search: dict[str, str], sessions: list[str]
) -> None:
    assert found(record, **search) == sessions


def test_pages_of_the_list_hold_every_session_once(path: Path) -> None:
    with Journal.open(path) as journal:
        for number in range(25):
            journal.begin(f"s{number}", NOON, meta())
            journal.end(NOON, Tally(), complete=False)
    with reading(path) as connection:
        pages = [[one.session for one in find(connection, Search(), page)[0]] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [20, 5, 0]
    assert len({session for page in pages for session in page}) == 25


def test_what_is_open_is_said_until_it_is_settled(record: Path) -> None:
    assert entry_of(record).left_open == ["3 of 3 candidates are not reviewed"]
    assert entry_of(record, "s3").left_open[0] == "the session has not ended"
    for cell in (3, 4, 8):
        decided(record, cell, "confirmed")
    assert entry_of(record).left_open == []


def test_reviews_move_the_verified_count_and_never_the_machines(record: Path) -> None:
    decided(record, 4, "confirmed")
    decided(record, 8, "rejected")
    entry = entry_of(record)
    assert (entry.tally.fnrbc, entry.verified.fnrbc, entry.verified.rejected) == (2, 1, 1)


def test_a_signed_session_says_by_whom_and_when_and_takes_no_decision_more(record: Path) -> None:
    signed(record)
    entry = entry_of(record)
    assert entry.signed_by == "carla"
    assert entry.signed_utc.startswith("20")
    with pytest.raises(ReviewError, match="signed off"):
        decided(record, 4, "confirmed")
    with pytest.raises(ReviewError, match="signed off"):
        signed(record, who="eve")
    with closing(sqlite3.connect(record)) as database, pytest.raises(sqlite3.IntegrityError, match="stays as it is"):
        database.execute("UPDATE sessions SET signed_by = 'eve' WHERE session = 's1'")
    assert entry_of(record).signed_by == "carla"
    assert prove(record).fault == ""


@pytest.mark.parametrize(("session", "words"), [("s3", "not ended"), ("s9", "not in the record")])
def test_what_cannot_be_signed_is_refused(record: Path, session: str, words: str) -> None:
    with pytest.raises(ReviewError, match=words):
        signed(record, session)


def test_a_sign_off_is_told_to_the_lab_with_what_was_open(record: Path) -> None:
    seq = signed(record)
    with closing(sqlite3.connect(record)) as database:
        topic, payload = database.execute("SELECT topic, payload FROM outbox WHERE seq = ?", (seq,)).fetchone()
    fields = json.loads(payload)
    assert (topic, fields["verb"], fields["user"], fields["session"]) == ("log/audit", "sign", "carla", "s1")
    assert fields["detail"] == (
        "0 of 3 candidates reviewed; 3 of 3 candidates are not decided on, signed off for all that:"
        " seen under the microscope"
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET signed_by = 'eve' WHERE session = 's1'",
        "UPDATE sessions SET signed_utc = '2020-01-01T00:00:00.000Z' WHERE session = 's1'",
        "UPDATE sessions SET signed_utc = NULL, signed_by = NULL WHERE session = 's1'",
        "UPDATE sessions SET signed_utc = '2026-03-01', signed_by = 'eve' WHERE session = 's2'",
        "UPDATE sessions SET area_mm2 = 9.5 WHERE session = 's1'",
        "UPDATE audit SET note = replace(note, 'carla', 'eve') WHERE kind = 'signed'",
        "DELETE FROM audit WHERE kind = 'signed'",
    ],
)
def test_a_sign_off_that_was_tampered_with_shows(record: Path, change: str) -> None:
    signed(record)
    with closing(sqlite3.connect(record)) as database, database:
        for trigger in ("signed_sessions_stay", "audit_is_append_only"):
            database.execute(f"DROP TRIGGER {trigger}")
        assert database.execute(change).rowcount == 1
    assert prove(record).fault


def test_a_signed_session_that_is_let_go_leaves_a_whole_record(record: Path) -> None:
    signed(record)  # behind the other sessions' links
    with closing(sqlite3.connect(record)) as database, database:
        database.execute("UPDATE outbox SET state = 'acked'")
    with Journal.open(record) as journal:
        journal.let_go("s1")
    assert prove(record).fault == ""
    assert found(record) == ["s3", "s2"]


def test_all_that_happened_is_told_in_order(record: Path) -> None:
    with Journal.open(record) as journal:
        journal.resume("s3", {"after_frame": 2})
        journal.note("gap", {"reason": "camera_lost", "seconds": 2.5, "reopened": True}, 2)
    with closing(CommandLog(record, "fnrbc", SystemClock())) as command_log:
        command_log.audit("anna", "mark", "", "look here")
        command_log.audit("vera", "login", "", "from elsewhere")  # on record, and not about the session
    with reading(record) as connection:
        kinds = [one.kind for one in happenings(connection, "s3")]
        command = happenings(connection, "s3")[-1]
    assert kinds == ["begun", "resumed", "gap", "command"]
    assert (command.fields["user"], command.fields["detail"]) == ("anna", "look here")


def test_csv_parquet_and_json_hold_the_same_cells_and_the_count(record: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="the package pyarrow is not installed")
    decided(record, 4, "confirmed")
    decided(record, 8, "rejected")
    rows = list(csv.DictReader(io.StringIO(exported(record, "csv").decode())))
    table = pyarrow.read_table(io.BytesIO(exported(record, "parquet"))).to_pylist()
    figures = json.loads(exported(record, "json"))
    assert tuple(rows[0]) == tuple(table[0]) == COLUMNS
    assert [int(row["cell"]) for row in rows] == [row["cell"] for row in table] == [3, 4, 5, 8]
    for text, typed, plain in zip(rows, table, figures["cells"], strict=True):
        assert float(text["x_um"]) == typed["x_um"] == plain["x_um"]
        assert typed["x_um"] == pytest.approx(typed["x_px"] * 0.125, abs=2e-3)
        assert text["review"] == typed["review"] == plain["review"]
    assert [row["review"] for row in table] == ["unverified", "confirmed", "unverified", "rejected"]
    assert sum(row["class"] == "fnrbc" for row in table) == figures["machine"]["fnrbc"] == 2
    assert figures["verified"]["fnrbc"] == 1
    for row in (*rows, *table):
        assert row["research_use"] == RESEARCH_USE_ONLY
    assert figures["research_use"] == RESEARCH_USE_ONLY


def test_the_report_says_all_of_it_and_stays_one_file(record: Path) -> None:
    decided(record, 4, "confirmed")
    signed(record)
    html = exported(record, "html").decode()
    for words in ("Verified by a person", "1 of 3", "carla", RESEARCH_USE_ONLY, "A 17", "Not complete"):
        assert words in html
    assert "http:" not in html.replace("http://www.w3.org", "")
    assert "<script" not in html


class Texts(HTMLParser):
    """What a browser would show, and the tags it would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_nasty_specimen_stands_in_the_report_as_text(record: Path) -> None:
    seen = Texts(exported(record, "html", "s2").decode())
    assert NASTY in seen.text
    assert "script" not in seen.tags


def test_by_default_nothing_that_leaves_the_device_holds_the_specimen_or_the_note(record: Path) -> None:
    pytest.importorskip("pyarrow", reason="the package pyarrow is not installed")
    stands_for = specimen_hash("A 17", record.parent).encode()
    for form in ("csv", "parquet", "json", "html"):
        content = exported(record, form, named=False)
        assert stands_for in content, form
        assert b"A 17" not in content, form
        assert b"first smear" not in content, form
    with closing(sqlite3.connect(record)) as database:
        told = "".join(payload for (payload,) in database.execute("SELECT payload FROM outbox"))
    assert "A 17" not in told
    assert "smear" not in told
    assert stands_for.decode() in told


def test_a_spreadsheet_computes_nothing_that_a_person_wrote(path: Path, make_step: Callable[..., object]) -> None:
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, meta(specimen="=HYPERLINK(1)"))
        journal.record(make_step(0, [4]))
    (row,) = csv.DictReader(io.StringIO(exported(path, "csv").decode()))
    assert row["specimen"] == "'=HYPERLINK(1)"


def test_the_same_specimen_has_the_same_hash_on_one_device_and_another_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert specimen_hash("A 17", here) == specimen_hash("A 17", here) != specimen_hash("A 18", here)
    assert specimen_hash("A 17", here) != specimen_hash("A 17", there)
    assert specimen_hash("", here) == ""
    assert len(specimen_hash("A 17", here)) == 16


def test_the_key_is_for_its_owner_only_and_all_who_come_at_once_get_the_same(tmp_path: Path) -> None:
    hashes: list[str] = []
    threads = [threading.Thread(target=lambda: hashes.append(specimen_hash("A", tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashes) == 16
    assert len(set(hashes)) == 1
    assert stat.S_IMODE((tmp_path / KEY_NAME).stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [KEY_NAME]


def test_a_damaged_key_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).write_bytes(b"short")
    with pytest.raises(JournalError, match="5 bytes instead of 32; restore it"):
        specimen_hash("A", tmp_path)


@pytest.mark.parametrize("bad", ["a\x00b", "a\nb", "\x1b[31m", "a\u202eb", "\ud800", "\u2028", "a\x7f", "\u200bx"])
def test_what_cannot_be_seen_is_refused_in_one_sentence(bad: str) -> None:
    with pytest.raises(CommandError, match="control character") as refused:
        written("specimen id", bad, MAX_SPECIMEN)
    assert refused.value.code == "malformed"
    assert str(refused.value).isprintable()


def test_what_is_too_long_is_refused_and_all_else_is_kept_as_typed() -> None:
    with pytest.raises(CommandError, match="10000 characters, the limit is 80"):
        written("specimen id", "x" * 10_000, MAX_SPECIMEN)
    assert written("specimen id", f" {NASTY} ", MAX_SPECIMEN) == NASTY
    assert written("note", "e\u0301", 10) == "\u00e9"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"wanted_leukocytes": "0"}, "1 to 1000000"),
        ({"wanted_leukocytes": "1e3"}, "whole number"),
        ({"wanted_leukocytes": "9" * 5000}, "whole number"),
        ({"wanted_leukocytes": "\u0663"}, "whole number"),
        ({"wanted_area_mm2": "nan"}, "mm2"),
        ({"wanted_area_mm2": "inf"}, "mm2"),
        ({"wanted_area_mm2": "-1"}, "mm2"),
        ({"objective": "63x"}, "there are 40x"),
        ({"operator": "eve"}, "no field 'operator'"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_with_the_limit(fields: dict[str, str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        read_plan(Typed(fields), "anna", {"40x": 0.1})


def test_an_objective_brings_its_pixel_size() -> None:
    plan = read_plan(Typed({"objective": "40x", "wanted_area_mm2": "2.5"}), "anna", {"40x": 0.1})
    assert (plan.operator, plan.objective, plan.pixel_size_um, plan.wanted_area_mm2) == ("anna", "40x", 0.1, 2.5)


def test_objectives_come_from_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "fnrbc.toml"
    first, second = ('[[objectives]]\nname = "40x"\npixel_size_um = 0.1\n', '[[objectives]]\nname = "100x oil"\n')
    path.write_text(f"{first}{second}pixel_size_um = 0.05\n")
    assert [one.name for one in load_config(path).objectives] == ["40x", "100x oil"]
    path.write_text(path.read_text().replace("100x oil", "40x"))
    with pytest.raises(ConfigError, match="same name"):
        load_config(path)
    path.write_text(f"{first}pixel_sise_um = 0.1\n")
    with pytest.raises(ConfigError, match="did you mean pixel_size_um"):
        load_config(path)


def test_the_map_shows_the_ground_of_each_island_after_the_joins() -> None:
    frames = [
        RecordedFrame(0, Pose(0, 0.0, 0.0), None),
        RecordedFrame(1, Pose(0, 0.0, 400.0), None),
        RecordedFrame(2, Pose(0, 0.0, 5000.0), "blurred"),
        RecordedFrame(3, Pose(1, 0.0, 0.0), None),
        RecordedFrame(4, Pose(2, 100.0, 0.0), None),
    ]
    drawn = maps(frames, [Join(1, 0, 800.0, 0.0)], Shape(100.0, 100.0), 0.125, [], ())
    assert [one.island for one in drawn] == [0, 2]
    area_um2 = np.count_nonzero(drawn[0].coverage) * drawn[0].um_per_px**2
    assert area_um2 == pytest.approx(150 * 100 + 100 * 100)
    assert drawn[1].origin_rc_um == (12.5, 0.0)


def test_places_in_the_table_are_on_the_islands_as_they_are_in_the_end(
    path: Path, make_step: Callable[..., object]
) -> None:
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, meta())
        journal.record(make_step(0, [4]))
        joined = replace(make_step(1, []), joins=(Join(1, 0, 80.0, 16.0),))
        journal.record(joined)
    with reading(path) as connection:
        (row,) = cell_table(connection, "s1")
    assert (row["island"], row["x_px"], row["y_px"]) == (0, 3.125 * 4 + 16, 10.25 * 4 + 80)
    assert (row["x_um"], row["y_um"]) == pytest.approx((28.5 * 0.125, 121 * 0.125), abs=1e-3)
