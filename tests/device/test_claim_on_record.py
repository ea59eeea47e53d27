"""A session's claim, as it is read from the record: by what was known of the network when the session began."""

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fnrbc_device.contract.states import TallyNow, count_fields
from fnrbc_device.counting.claim import claim
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import ErrorCounts, SessionMeta, Tally, Verdict
from fnrbc_device.reporting.session_export import export
from fnrbc_device.sessions.archive import ArchivedSession, happenings, read
from fnrbc_device.sessions.reviews import Basis, Group
from fnrbc_device.sessions.verified_count import tally_of

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
KNOWN = (ErrorCounts(230, 2, 506, 4, "shipped", "pbc"), ErrorCounts(60, 40, 99, 1, "shipped", "another laboratory"))
META = SessionMeta("fnrbc 1", "b" * 64, "simulation", 0.125, errors=KNOWN)
DIM = ("light_out_of_domain",)


def write(path: Path, make_step: Callable[..., object], meta: SessionMeta = META, *reasons: list[str]) -> None:
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, meta)
        journal.record(make_step(0, [4, 5, 8, 9, 3]))
        for frame, found in enumerate(reasons):
            journal.note("provisional", {"reasons": found}, frame)
        journal.end(NOON + timedelta(minutes=9), journal.tally("s1"), complete=True)


def told(path: Path) -> ArchivedSession:
    with reading(path) as connection:
        found = read(connection, "s1")
    assert found is not None
    return found


def test_a_session_keeps_what_its_network_was_known_by(path, make_step):
    write(path, make_step)
    entry = told(path)
    tally = entry.tally
    assert entry.meta.errors == KNOWN
    assert tally.claim == claim(tally.fnrbc, tally.leukocytes, KNOWN)
    assert tally.provisional == ()


def test_a_session_of_a_release_that_knew_no_errors_claims_nothing(path, make_step):
    write(path, make_step, SessionMeta("fnrbc 0", "b" * 64, "simulation", 0.125))
    assert told(path).tally.claim is None


def test_the_last_word_on_the_border_is_what_counts(path, make_step):
    write(path, make_step, META, ["focus_out_of_domain"], [], ["stain_out_of_domain"])
    entry = told(path)
    assert entry.tally.provisional == ("stain_out_of_domain",)
    assert entry.tally.claim.state == "provisional"
    with reading(path) as connection:
        kinds = [one.kind for one in happenings(connection, "s1")]
    assert kinds.count("provisional") == 3


def test_what_is_provisional_no_more_is_not_called_so(path, make_step):
    write(path, make_step, META, ["focus_out_of_domain"], [])
    assert told(path).tally.provisional == ()


@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_files_say_the_claim_and_that_it_is_provisional(path, make_step, form):
    write(path, make_step, META, ["stain_out_of_domain"])
    entry = told(path)
    with reading(path) as connection:
        content = export(form, connection, path, entry).decode()
    if form == "json":
        machine = json.loads(content)["machine"]
        assert machine["claim"]["state"] == "provisional"
        assert [reason["code"] for reason in machine["provisional"]] == ["stain_out_of_domain"]
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(content)))
        assert {(row["claim"], row["provisional"]) for row in rows} == {("provisional", "stain_out_of_domain")}
    else:
        assert "Provisional: cells are coloured unlike those" in content


def test_a_verified_count_claims_once_every_candidate_is_decided_on(path, make_step):
    write(path, make_step)
    assert told(path).verified.claim is None
    basis = Basis(META.classes, 0.5, META.bundle, META.pixel_size_um, KNOWN[:1])
    found = Verdict("fnrbc", "target", 0.9, 0.9), Verdict("leukocyte", "denominator", 0.9, 0.1)
    stand = [Group(found[0], "confirmed", "fnrbc", 30), Group(found[1], None, None, 1000)]

    verified = tally_of(stand, basis).claim
    assert verified.verified
    assert verified.state == "above_blank"
    assert verified.limit_of_blank == 0, "no false call is left where a person looked at each"
    assert verified.corrected.value == pytest.approx(3.0 * 232 / 230, rel=0.01)


def test_messages_carry_the_claim_flat_and_without_infinity():
    known_badly = [ErrorCounts(1, 1, 1, 1, "site", "two cells each")]
    for tally in (
        Tally(fnrbc=8, leukocytes=1000, claim=claim(8, 1000, KNOWN)),
        Tally(fnrbc=8, leukocytes=10, claim=claim(8, 10, known_badly)),
        Tally(fnrbc=8, leukocytes=10, claim=claim(8, 10, KNOWN, DIM), provisional=DIM),
        Tally(),
    ):
        fields = count_fields(tally)
        now = TallyNow(
            device="d", ts="t", log_seq=0, session="s", verified=False, elapsed_s=0.0, state="running", **fields
        )
        said = json.loads(now.to_json())
        assert said["claim"] == (tally.claim.state if tally.claim else None)
        assert said["provisional"] == ",".join(tally.provisional)
        assert "Infinity" not in now.to_json()
