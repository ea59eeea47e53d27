"""The stain of a session on record: in its report, its files and beside its drift."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import SessionMeta
from fnrbc_device.reporting.session_export import export
from fnrbc_device.sessions.archive import happenings, read
from fnrbc_device.sessions.recorded_stain import recorded_stain, stain_happened
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_device.vision.stain import Anchors

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta("fnrbc 1", "b" * 64, "simulation", 0.125)
REST = (0.2, 0.3, 0.2)


def stain(nucleus: tuple[float, float, float] | None, state: str = "settled") -> dict[str, object]:
    """What the daemon notes of a session's stain."""
    known = SessionStain()
    if nucleus is not None:
        known.anchors, known.state = Anchors(nucleus, REST, 30), state
    return known.as_note()


def write(path: Path, make_step, *notes: dict[str, object]) -> Path:
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4, 5, 8]))
        for frame, note in enumerate(notes):
            journal.note("stain", note, frame)
        journal.end(NOON + timedelta(minutes=9), journal.tally("s1"), complete=True)
    return path


def words(path: Path) -> str:
    with reading(path) as connection:
        found = recorded_stain(connection, "s1")
    assert found is not None
    return found.in_words()


def test_the_last_word_on_the_stain_stands_and_changes_are_counted(path, make_step):
    he = (1.3, 1.7, 0.9)
    write(path, make_step, stain((1.02, 1.52, 0.39)), stain(he, "changed"), stain(he, "changed") | {"final": True})
    said = words(path)
    assert "nuclei absorb 1.30 1.70 0.90" in said
    assert "changed 1 time within the session" in said
    prove(path)


def test_a_stain_like_the_reference_is_said_to_be(path, make_step):
    write(path, make_step, stain((1.02, 1.52, 0.39)))
    assert "0 degrees from the reference in colour and 100% of its strength" in words(path)


def test_a_stain_that_never_settled_is_said(path, make_step):
    write(path, make_step, stain(None) | {"final": True})
    assert words(path).startswith("never settled")
    with reading(path) as connection:
        (one,) = [one for one in happenings(connection, "s1") if one.kind == "stain"]
    assert stain_happened(one.fields) == "stain never settled"


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_report_says_the_stain_and_when_it_settled(path, make_step, form):
    write(path, make_step, stain((1.3, 1.7, 0.9)), stain((1.3, 1.7, 0.9)) | {"final": True})
    with reading(path) as connection:
        content = export(form, connection, path, read(connection, "s1")).decode()
    assert "nuclei absorb 1.30 1.70 0.90" in content
    if form == "html":
        assert "stain settled: nuclei 1.30 1.70 0.90" in content
        assert "stain of the whole session: nuclei 1.30 1.70 0.90" in content
    else:
        assert json.loads(content)["provenance"]["stain"].startswith("nuclei absorb")


def test_a_session_from_before_says_that_it_is_not_on_record(path, make_step):
    write(path, make_step)
    with reading(path) as connection:
        assert recorded_stain(connection, "s1") is None
        assert json.loads(export("json", connection, path, read(connection, "s1")))["provenance"]["stain"] == (
            "not on record"
        )
