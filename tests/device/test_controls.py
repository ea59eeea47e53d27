"""Blanks and controls: what they make of the sessions that rest on them, and what a sign-off asks then."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from fnrbc_device.config import load_config
from fnrbc_device.errors import CommandError, ConfigError, ReviewError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.quality.controls import ControlResult, ControlRules, Target, charts, standing
from fnrbc_device.reporting.control_chart import chart_svg
from fnrbc_device.reporting.session_report import told
from fnrbc_device.sessions import controls as on_record
from fnrbc_device.sessions.archive import happenings
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.web.plan import Typed, read_plan
from laboratory import MONDAY, cells, write_session

DAY = timedelta(days=1)
ASKED = ControlRules(asked=True, max_age_h=24, assigned={"low": Target(5.0, 1.0, "assigned")})


def result(day, fnrbc, material="low", bundle="b", leukocytes=100):
    return ControlResult(f"c{day}-{material}", material, bundle, MONDAY + day * DAY, fnrbc, leukocytes)


def state(results, rules=ASKED, bundle="b", at=MONDAY + timedelta(hours=1)):
    return standing(results, rules, bundle, at).state


def test_nothing_is_asked_where_the_configuration_asks_for_nothing():
    assert state([], ControlRules()) == "not_asked"
    assert not standing([], ControlRules(), "b", MONDAY).needs_reason


@pytest.mark.parametrize(
    ("results", "expected", "words"),
    [
        ([], "none", "control low was not counted before"),
        ([result(0, 5)], "passed", "control low passed: 5.00 per 100, 5.00 +- 1.00 wanted"),
        ([result(0, 8)], "warning", "control low passed with a warning"),
        ([result(0, 9)], "failed", "control low failed: 9.00 per 100, 5.00 +- 1.00 wanted, breaks"),
        ([result(-1, 8), result(0, 8)], "failed", "2_2s (two beyond 2 SD on the same side)"),
        ([result(0, 5, bundle="other")], "other_bundle", "control low was last counted with another bundle, other"),
        ([result(-2, 5)], "too_old", "control low was last counted 49 h before, the limit is 24 h"),
        ([result(0, 0, leukocytes=0)], "failed", "no leukocyte was counted"),
        ([result(0, 5), result(1, 50)], "passed", "control low passed"),
    ],
)
def test_each_state_has_its_name_and_its_words(results, expected, words):
    found = standing(results, ASKED, "b", MONDAY + timedelta(hours=1))
    assert found.state == expected
    assert words in found.words
    assert found.needs_reason == (expected not in ("passed", "warning"))


def test_of_several_controls_with_a_value_the_worst_counts():
    rules = ControlRules(True, 24, {"low": Target(5.0, 1.0, "assigned"), "high": Target(50.0, 4.0, "assigned")})
    assert state([result(0, 5), result(0, 52, "high")], rules) == "passed"
    assert state([result(0, 5), result(0, 70, "high")], rules) == "failed"
    assert state([result(0, 5)], rules) == "none"


def test_without_an_assigned_value_a_control_is_judged_by_its_own_first_twenty():
    rules = ControlRules(True, 24)
    past = [result(day - 20, 4 + day % 3) for day in range(20)]
    assert state(past[:19], rules, at=past[18].ended) == "unassessed"
    assert state([*past, result(0, 5)], rules) == "passed"
    assert state([*past, result(0, 30)], rules) == "failed"
    (chart,) = charts([*past, result(0, 30)], rules, "b")
    assert chart.target.mean == pytest.approx(4.95)
    assert chart.target.origin == "baseline"
    assert chart.points[-1].rules == ("1_2s", "1_3s")


def test_a_chart_shows_every_result_by_its_shape_and_keeps_names_harmless():
    rules = ControlRules(True, 24, {"<low>": Target(5.0, 1.0, "assigned")})
    (chart,) = charts([result(day, n, "<low>") for day, n in enumerate((5, 8, 5, 20))], rules, "b")
    drawn = chart_svg(chart)
    assert (drawn.count('class="held"'), drawn.count('class="warned"'), drawn.count('class="rejected"')) == (2, 1, 1)
    assert "<low>" not in drawn
    assert "&lt;low&gt;" in drawn


@pytest.fixture
def record(tmp_path):
    """A control that failed on Monday, and a sample counted after it."""
    path = tmp_path / "journal.sqlite"
    write_session(path, "c1", cells(20, 100), kind="control", specimen="low", ended=MONDAY)
    write_session(path, "s1", cells(2, 50), ended=MONDAY + timedelta(hours=1), specimen="A 17")
    write_session(path, "b1", cells(1, 200), kind="blank", ended=MONDAY + timedelta(hours=2))
    return path


def sign(path, session, rules=ASKED, reason=""):
    with SignOff(path, "bench", SystemClock()) as signing:
        return signing.sign(session, "carla", rules, reason)


def test_the_record_gives_controls_and_blanks_with_the_machines_count(record):
    with reading(record) as connection:
        (control,) = on_record.controls(connection)
        blanks = on_record.blanks(connection, load_bundle(None).id)
        assert on_record.blanks(connection, "another") == {}
    assert (control.material, control.fnrbc, control.leukocytes, control.ended) == ("low", 20, 100, MONDAY)
    assert {session: (blank.fnrbc, blank.leukocytes) for session, blank in blanks.items()} == {"b1": (1, 200)}


def test_a_sign_off_after_a_failed_control_wants_a_reason_and_puts_it_on_record(record):
    with pytest.raises(ReviewError, match=r"control low failed: 20\.00 per 100.*say why the count stands"):
        sign(record, "s1")
    sign(record, "s1", reason="the control slide was scratched")
    with reading(record) as connection:
        (signed,) = [one for one in happenings(connection, "s1") if one.kind == "signed"]
    assert signed.fields["control"] == "failed"
    assert told(signed).endswith("reason: the control slide was scratched")
    with closing(sqlite3.connect(record)) as database:
        sql = "SELECT payload FROM outbox WHERE topic = 'log/audit' ORDER BY seq DESC LIMIT 1"
        (payload,) = database.execute(sql).fetchone()
    assert "signed off for all that: the control slide was scratched" in json.loads(payload)["detail"]
    assert prove(record).fault == ""


@pytest.mark.parametrize("session", ["c1", "b1"])
def test_of_controls_and_blanks_no_control_is_asked(record, session):
    sign(record, session)


def test_a_device_that_asks_for_no_control_signs_off_as_before(record):
    with Decisions(record, "bench", SystemClock()) as decisions:
        for cell in (1, 2):
            decisions.decide("s1", cell, "confirmed", "dora")
    sign(record, "s1", ControlRules())


def test_what_lies_under_the_objective_is_said_at_the_start_or_stays_open():
    assert read_plan(Typed({"kind": "blank"}), "anna", {}).kind == "blank"
    assert read_plan(Typed({}), "anna", {}).kind is None
    with pytest.raises(CommandError, match="there is no kind 'blanc'; there are sample, blank, control"):
        read_plan(Typed({"kind": "blanc"}), "anna", {})


def test_the_configuration_asks_for_controls_and_knows_their_values(tmp_path):
    path = tmp_path / "fnrbc.toml"
    path.write_text(
        '[session]\nkind = "blank"\n[quality]\nask_for_control = true\ncontrol_max_age_h = 8\n'
        '[[quality.controls]]\nname = "low"\nmean_per_100 = 5.0\nsd_per_100 = 1.0\n'
    )
    config = load_config(path)
    assert config.session.kind == "blank"
    assert config.quality.rules() == ControlRules(True, 8.0, {"low": Target(5.0, 1.0, "assigned")})
    path.write_text("[quality]\ncontrol_max_age_h = 0\n")
    with pytest.raises(ConfigError, match="control_max_age_h is 0"):
        load_config(path)
    path.write_text("")
    assert not load_config(path).quality.ask_for_control
