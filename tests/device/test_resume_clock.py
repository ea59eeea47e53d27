"""A session that was cut off goes on within a working day, by a clock that can be believed."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import pytest

from fnrbc_device.daemon.resume import CLOCK_SLACK, RESUME_WITHIN, why_not
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Unfinished
from fnrbc_device.records import SessionMeta

META = SessionMeta("fnrbc 1", "a" * 64, "simulation", 0.125)
CUT_OFF = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def reason(now, newest=CUT_OFF):
    one = Unfinished("s1", iso_utc(CUT_OFF), json.dumps(asdict(META)), 7, iso_utc(CUT_OFF), iso_utc(newest))
    return why_not(one, META, now)


@pytest.mark.parametrize("after", [timedelta(), timedelta(minutes=1), RESUME_WITHIN, -CLOCK_SLACK])
def test_it_goes_on_within_a_working_day_and_where_the_clock_was_mended_a_little(after):
    assert reason(CUT_OFF + after) == ""


@pytest.mark.parametrize("after", [RESUME_WITHIN + timedelta(seconds=1), timedelta(days=365)])
def test_after_a_working_day_it_is_ended(after):
    assert "more than 8:00:00 before" in reason(CUT_OFF + after)


@pytest.mark.parametrize("back", [timedelta(days=365), timedelta(hours=9), CLOCK_SLACK + timedelta(seconds=1)])
def test_by_a_clock_that_was_set_back_it_is_ended_for_nobody_knows_how_long_ago_it_was(back):
    assert "how long ago it was cut off is not known" in reason(CUT_OFF - back)


def test_a_clock_that_stands_before_anything_else_on_record_was_set_back_too():
    """A year passed, somebody logged in, and the clock went back to just after the session was cut off."""
    said = reason(CUT_OFF + timedelta(hours=1), CUT_OFF + timedelta(days=365))
    assert "how long ago it was cut off is not known" in said


def test_the_journal_tells_the_latest_time_of_all_that_stands_in_it(path):
    with Journal.open(path) as journal:
        journal.begin("s1", CUT_OFF, META)
        journal.end(CUT_OFF, journal.tally("s1"), complete=False)
        journal.begin("s2", CUT_OFF, META)
        (one,) = journal.cut_off()

    assert one.session == "s2"
    assert one.newest_utc >= one.last_utc
