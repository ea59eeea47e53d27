"""What people decide on cells: on record beside the machine's count, told to the lab, provable, never mixed with it."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from fnrbc_device.contract.log_records import CellRecord
from fnrbc_device.errors import JournalError, ReviewError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import Join, SessionMeta
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.reviews import candidates, places, reviews, shown, standing_reviews
from fnrbc_device.sessions.verified_count import agreement, cohen_kappa, verified_tally
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from visiting import Visit

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta("0.1.0", "b", "simulation", 0.125)

# Classes go round by a cell's number: 0 fnrbc, 1 leukocyte, 2 other, 3 indeterminate.
FNRBC, LEUKOCYTES, INDETERMINATE = (4, 8, 12), (1, 5, 9, 13), (3, 7)


@pytest.fixture
def counted(path, make_step):
    """A finished session of twelve cells, five of which are candidates."""
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [cell for cell in range(1, 14) if cell != 11]))
        journal.end(NOON, journal.tally("s1"), complete=True)
    return path


@pytest.fixture
def review(counted):
    with Decisions(counted, "scope-1", SystemClock()) as reviewing:
        yield reviewing


def verified(path, reader=1):
    with reading(path) as connection:
        return verified_tally(connection, "s1", reader)


def standing(path, reader=1):
    with reading(path) as connection:
        decided = standing_reviews(reviews(connection, "s1", reader))
    return {cell: (one.decision, one.class_name) for cell, one in decided.items()}


def told(path):
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT payload FROM outbox WHERE topic = 'log/cell' ORDER BY seq").fetchall()
    return [CellRecord.model_validate_json(payload) for (payload,) in rows]


def test_candidates_are_what_the_machine_counted_as_fnrbc_or_left_open(counted):
    with reading(counted) as connection:
        found = {one.cell: one.verdict.class_name for one in candidates(connection, "s1")}

    assert found == {4: "fnrbc", 8: "fnrbc", 12: "fnrbc", 3: "indeterminate", 7: "indeterminate"}


def test_a_near_miss_is_shown_and_counts_once_decided_on_but_nobody_must(path, make_step):
    step = make_step(0, [1, 4, 5])
    nearly, far = (replace(step.events[i].verdict, target_probability=p) for i, p in ((0, 0.3), (2, 0.1)))
    step.events[0], step.events[2] = replace(step.events[0], verdict=nearly), replace(step.events[2], verdict=far)
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(step)
    with reading(path) as connection:
        assert [one.cell for one in shown(connection, "s1")] == [1, 4]
        assert [one.cell for one in candidates(connection, "s1")] == [4]
    with Decisions(path, "fnrbc", SystemClock()) as reviewing:
        reviewing.decide("s1", 4, "confirmed", "anna")
        before = verified(path)
        reviewing.decide("s1", 1, "confirmed", "anna")
    after = verified(path)
    assert (before.complete, before.fnrbc, before.leukocytes, before.candidates) == (True, 1, 2, 1)
    assert (after.complete, after.fnrbc, after.leukocytes, after.candidates) == (True, 2, 1, 1)
    assert [one.review for one in told(path)][-2:] == ["confirmed", "confirmed"]


def test_a_decision_stands_beside_what_the_machine_said(counted, review):
    with Journal.open(counted) as journal:
        before = journal.events("s1"), journal.tally("s1")
    review.decide("s1", 4, "confirmed", "anna")
    review.decide("s1", 8, "rejected", "anna")
    review.decide("s1", 3, "reclassified", "anna", class_name="leukocyte")

    assert standing(counted) == {4: ("confirmed", "fnrbc"), 8: ("rejected", ""), 3: ("reclassified", "leukocyte")}
    with Journal.open(counted) as journal:
        assert (journal.events("s1"), journal.tally("s1")) == before


def test_the_verified_count_is_what_people_said_and_no_ratio_before_all_is_reviewed(counted, review):
    review.decide("s1", 4, "confirmed", "anna")
    review.decide("s1", 8, "rejected", "anna")
    half = verified(counted)
    assert (half.candidates, half.reviewed, half.fnrbc, half.complete) == (5, 2, 1, False)
    assert half.fnrbc_per_100_leukocytes is None
    assert half.reviewed_share == 0.4

    review.decide("s1", 12, "reclassified", "anna", class_name="other")
    review.decide("s1", 3, "confirmed", "anna")
    review.decide("s1", 7, "reclassified", "anna", class_name="leukocyte")
    whole = verified(counted)
    assert (whole.confirmed, whole.rejected, whole.reclassified, whole.complete) == (2, 1, 2, True)
    assert (whole.fnrbc, whole.leukocytes, whole.leukocytes_by_machine, whole.other) == (2, 5, 4, 1)
    assert whole.fnrbc_per_100_leukocytes.value == 40


def test_every_decision_is_told_with_who_and_when_and_how_the_cell_stands_now(counted, review):
    review.decide("s1", 4, "confirmed", "anna")
    second = review.decide("s1", 4, "reclassified", "ben", class_name="leukocyte")
    review.undo("s1", second, "ben")
    review.decide("s1", 8, "rejected", "anna", note="a platelet clump")

    records = [one for one in told(counted) if one.reader]
    assert [(one.cell_id, one.event, one.review, one.class_name, one.role, one.reviewer) for one in records] == [
        (4, "confirmed", "confirmed", "fnrbc", "target", "anna"),
        (4, "reclassified", "reclassified", "leukocyte", "denominator", "ben"),
        (4, "undone", "confirmed", "fnrbc", "target", "ben"),
        (8, "rejected", "rejected", "fnrbc", "target", "anna"),
    ]
    assert [one.seq for one in records] == [15, 16, 17, 18]
    assert all(one.ts and one.session == "s1" and one.device == "scope-1" for one in records)
    assert "platelet" not in json.dumps([one.model_dump() for one in records])  # a note stays on the device


def test_the_log_alone_gives_the_verified_count(counted, review):
    for cell in FNRBC + INDETERMINATE:
        review.decide("s1", cell, "confirmed" if cell != 8 else "rejected", "anna")
    review.undo("s1", review.decide("s1", 12, "rejected", "anna"), "anna")
    newest = {one.cell_id: one for one in told(counted) if one.reader == 1}

    stands = [one.class_name for one in newest.values() if one.review in ("confirmed", "reclassified")]
    assert stands.count("fnrbc") == verified(counted).fnrbc == 4


def test_the_later_of_two_decisions_stands_and_both_are_on_record(counted, review):
    review.decide("s1", 4, "confirmed", "anna")
    review.decide("s1", 4, "rejected", "ben")

    assert standing(counted) == {4: ("rejected", "")}
    with reading(counted) as connection:
        assert [one.reviewer for one in reviews(connection, "s1")] == ["anna", "ben"]


def test_what_is_taken_back_gives_way_to_what_stood_before_and_only_once(counted, review):
    review.decide("s1", 4, "confirmed", "anna")
    ben = review.decide("s1", 4, "rejected", "ben")
    review.undo("s1", ben, "ben")

    assert standing(counted) == {4: ("confirmed", "fnrbc")}
    with pytest.raises(ReviewError, match=f"decision {ben} of session s1 does not stand"):
        review.undo("s1", ben, "anna")


def test_a_repeated_request_is_taken_down_once(counted, review):
    first = review.decide("s1", 4, "confirmed", "anna", request="a1")
    assert review.decide("s1", 4, "confirmed", "anna", request="a1") == first
    back = review.undo("s1", first, "anna", request="a2")
    assert review.undo("s1", first, "anna", request="a2") == back

    assert verified(counted).reviewed == 0
    assert len([one for one in told(counted) if one.reader]) == 2


@pytest.mark.parametrize(
    ("cell", "decision", "class_name", "words"),
    [
        (99, "confirmed", "", "cell 99 is not in the count of session s1"),
        (4, "reclassified", "martian", "class 'martian' is none of this session's; take one of fnrbc"),
        (4, "reclassified", "", "class '' is none"),
    ],
)
def test_an_impossible_decision_is_refused_and_leaves_no_trace(counted, review, cell, decision, class_name, words):
    before = prove(counted)
    with pytest.raises(ReviewError, match=words):
        review.decide("s1", cell, decision, "anna", class_name=class_name)

    assert prove(counted) == before


def test_an_unknown_and_a_signed_off_session_take_no_decision(counted, review):
    with pytest.raises(ReviewError, match="session s9 is not in the record"):
        review.decide("s9", 4, "confirmed", "anna")
    seq = review.decide("s1", 4, "confirmed", "anna")
    with closing(sqlite3.connect(counted)) as database, database:
        database.execute("UPDATE sessions SET signed_utc = '2026-03-01T13:00:00.000Z', signed_by = 'carla'")

    with pytest.raises(ReviewError, match="was signed off and stays as it is"):
        review.decide("s1", 4, "rejected", "anna")
    with pytest.raises(ReviewError, match="signed off"):
        review.undo("s1", seq, "anna")


def test_a_running_session_is_reviewed_while_it_counts_and_agrees_at_its_end(path, make_step):
    with Journal.open(path) as journal, Decisions(path, "fnrbc", SystemClock()) as reviewing:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [3, 4, 5]))
        reviewing.decide("s1", 4, "rejected", "anna")
        assert journal.record(make_step(1, [8])) == 6  # begun, three cells, the decision, one more cell
        reviewing.decide("s1", 3, "confirmed", "anna")
        journal.record(make_step(2, [4], event="retracted"))
        tally = journal.tally("s1")
        journal.end(NOON, tally, complete=True)

    assert (tally.fnrbc, tally.indeterminate) == (1, 1)  # the machine's own
    found = verified(path)
    assert (found.candidates, found.reviewed, found.fnrbc, found.rejected) == (2, 1, 1, 0)  # cell 4 is gone
    with reading(path) as connection:
        assert {one.cell: one.counted for one in shown(connection, "s1", since=5)} == {8: True, 4: False}
    assert prove(path).fault == ""


def test_a_session_with_decisions_is_gone_on_with_after_a_crash(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4]))
    with Decisions(path, "fnrbc", SystemClock()) as reviewing:
        reviewing.decide("s1", 4, "rejected", "anna")
    with Journal.open(path) as journal:
        journal.resume("s1", {})
        journal.record(make_step(1, [8]))
        journal.end(NOON, journal.tally("s1"), complete=True)
        assert journal.tally("s1").fnrbc == 2
    assert standing(path) == {4: ("rejected", "")}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reviews SET decision = 'confirmed'",
        "UPDATE reviews SET reviewer = 'mallory'",
        "DELETE FROM reviews",
        "INSERT INTO reviews SELECT 999, session, cell, reviewer, 0, decision, '', NULL, at_utc, '', NULL FROM reviews",
    ],
)
def test_a_decision_that_is_changed_removed_or_slipped_in_is_found(counted, review, statement):
    review.decide("s1", 4, "rejected", "anna")
    assert prove(counted).fault == ""
    with closing(sqlite3.connect(counted)) as database, database:
        database.execute("DROP TRIGGER reviews_are_append_only")
        database.execute(statement)

    assert "link" in prove(counted).fault


def test_a_decision_cannot_be_changed_by_accident(counted, review):
    review.decide("s1", 4, "rejected", "anna")
    with closing(sqlite3.connect(counted)) as database, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        database.execute("UPDATE reviews SET decision = 'confirmed'")


def test_an_old_session_that_was_reviewed_late_goes_and_the_rest_is_still_proved(counted, make_step):
    with Journal.open(counted) as journal, Decisions(counted, "fnrbc", SystemClock()) as reviewing:
        reviewing.decide("s1", 4, "confirmed", "anna")
        journal.begin("s2", NOON, META)
        journal.record(make_step(0, [4]))
        reviewing.decide("s1", 8, "rejected", "anna")
        journal.end(NOON, journal.tally("s2"), complete=True)
        reviewing.decide("s2", 4, "confirmed", "anna")
        with closing(sqlite3.connect(counted)) as database, database:
            database.execute("UPDATE outbox SET state = 'acked'")

        journal.let_go("s1")
        assert prove(counted).fault == ""
        assert journal.oldest_to_let_go()[0] == "s2"
        journal.let_go("s2")
    assert prove(counted).fault == ""
    with closing(sqlite3.connect(counted)) as database:
        assert database.execute("SELECT count(*) FROM reviews").fetchone() == (0,)


def test_a_second_reader_moves_no_count_and_is_somebody_else(counted, review):
    review.decide("s1", 4, "confirmed", "anna")
    review.decide("s1", 4, "rejected", "ben", reader=2)

    assert verified(counted).fnrbc == 1
    assert standing(counted, 2) == {4: ("rejected", "")}
    with pytest.raises(ReviewError, match="anna is the first reader of session s1"):
        review.decide("s1", 8, "confirmed", "anna", reader=2)
    with pytest.raises(ReviewError, match="ben is the second reader"):
        review.decide("s1", 8, "confirmed", "ben")


def test_agreement_is_shown_once_both_have_read_all(counted, review):
    def found():
        with reading(counted) as connection:
            return agreement(connection, "s1")

    for cell in FNRBC + INDETERMINATE:
        assert found() is None
        review.decide("s1", cell, "confirmed" if cell in FNRBC else "rejected", "anna")
    for cell in FNRBC + INDETERMINATE:
        assert found() is None
        review.decide("s1", cell, "confirmed" if cell in (4, 8) else "rejected", "ben", reader=2)

    # Both say fNRBC of two, none of two; chance alone: (3 * 2 + 2 * 3) / 25.
    assert (found().cells, found().agreed) == (5, 4)
    assert found().kappa == pytest.approx((0.8 - 0.48) / (1 - 0.48))


def test_kappa_is_that_of_the_textbook():
    # Cohen's own kind of table: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no gives 0.40.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("y", "n"), ("n", "y")]) == -1
    assert cohen_kappa([("y", "y")] * 3) is None


def test_places_follow_the_islands_that_were_joined(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4]))
        step = make_step(1, [])
        step = type(step)(**{name: getattr(step, name) for name in step.__slots__} | {"joins": (Join(1, 0, 80, 8),)})
        journal.record(step)
    with reading(path) as connection:
        assert places(connection, "s1") == [(0, (3.125 * 4 + 8) * 0.125, (10.25 * 4 + 80) * 0.125)]


def test_two_reviewers_and_the_counting_write_at_once_and_nothing_is_lost(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, list(range(4, 164, 4))))

        def decide(name, cells):
            for cell in cells:
                with Decisions(path, "fnrbc", SystemClock()) as reviewing:
                    reviewing.decide("s1", cell, "confirmed", name)

        people = [
            threading.Thread(target=decide, args=("anna", range(4, 84, 4))),
            threading.Thread(target=decide, args=("ben", range(84, 164, 4))),
        ]
        for person in people:
            person.start()
        for index in range(1, 40):
            journal.record(make_step(index, [1000 + index]))
        for person in people:
            person.join(30)
    assert len(standing(path)) == 40
    assert prove(path).fault == ""
    assert sorted(one.seq for one in told(path)) == list(range(2, 2 + 40 + 39 + 40))


MORTAL = """
import sys
from pathlib import Path
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.sessions.decisions import Decisions
with Decisions(Path(sys.argv[1]), "fnrbc", SystemClock()) as reviewing:
    for round in range(10**6):
        print(reviewing.decide("s1", (4, 8, 12)[round % 3], "confirmed", "anna"), flush=True)
"""


def test_a_decision_that_was_answered_survives_a_kill(counted):
    mortal = subprocess.Popen([sys.executable, "-c", MORTAL, str(counted)], stdout=subprocess.PIPE, text=True)
    answered = [int(mortal.stdout.readline()) for _ in range(30)]
    mortal.kill()
    answered += [int(line) for line in mortal.stdout.read().splitlines() if line]
    mortal.stdout.close()
    mortal.wait(10)

    with reading(counted) as connection:
        kept = {one.seq for one in reviews(connection, "s1")}
    assert set(answered) <= kept
    assert prove(counted).fault == ""


def test_looking_cannot_change_the_record(counted):
    with reading(counted) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM events")


def test_looking_where_nothing_was_counted_is_one_sentence(tmp_path):
    with pytest.raises(JournalError, match="does not exist"), reading(tmp_path / "none.sqlite"):
        pass


def test_a_number_that_no_cell_can_have_has_no_picture(counted):
    server = WebServer(LiveView(), context=WebContext(LiveView(), journal_path=counted))
    server.start()
    try:
        with Visit(server.url) as visit:
            assert visit.read(f"/review/crop/s1/{10**20}/0.png").status_code == 404
    finally:
        server.stop()
