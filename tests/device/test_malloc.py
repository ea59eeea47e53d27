"""What is let go of: acknowledged messages and old sessions; the rest is proved, replayed and said as before."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest

from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.retention import prune
from fnrbc_device.mqtt.alarm_states import Alarms
from fnrbc_device.mqtt.retained_states import RetainedStates
from fnrbc_device.records import SessionMeta

NOW = datetime.now(timezone.utc)
LONG_AGO = NOW - timedelta(days=90)
LAST_MONTH = NOW - timedelta(days=30)
META = SessionMeta("0.1.0", "b", "simulation", 0.125)


@pytest.fixture
def outbox(journal, path):
    outbox = Outbox(path)
    yield outbox
    outbox.close()


@pytest.fixture
def command_log(journal, path):
    command_log = CommandLog(path, "fnrbc", SystemClock())
    yield command_log
    command_log.close()


def acknowledge(outbox, *seqs, at=LONG_AGO):
    outbox.acknowledge([Acknowledgement(seq, "acked", "") for seq in seqs], at)


def alter(path, statement):
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute(statement).rowcount == 1


def test_what_is_left_of_a_frame_s_messages_is_still_proved(journal, outbox, path, make_step):
    journal.record(make_step(0, [1, 2, 3, 4]))
    acknowledge(outbox, 2, 4)
    assert outbox.prune(LAST_MONTH, 10**9) == 2
    assert prove(path).fault == ""

    alter(path, "UPDATE outbox SET payload = replace(payload, '\"cell_id\":2', '\"cell_id\":7') WHERE seq = 3")
    fault = prove(path).fault
    assert "link 3 of the audit (frame 0 of session s1" in fault
    assert "its message 3 was changed" in fault


@pytest.mark.parametrize("seq", [2, 9])
def test_a_message_that_was_slipped_in_is_found(journal, outbox, path, make_step, seq):
    journal.record(make_step(0, [1, 2, 3]))
    acknowledge(outbox, 2)
    outbox.prune(LAST_MONTH, 10**9)

    alter(path, f"INSERT INTO outbox (seq, topic, payload) VALUES ({seq}, 'log/cell', '{{}}')")

    assert f"message {seq}" in prove(path).fault


def test_a_parked_record_does_not_make_what_follows_it_look_kept(journal, outbox, make_step):
    journal.record(make_step(0, [1, 2, 3, 4]))
    outbox.acknowledge([Acknowledgement(2, "refused", "Not authorized")], LONG_AGO)
    acknowledge(outbox, 1, 3)
    outbox.prune(LAST_MONTH, 10**9)

    assert outbox.oldest_seq() == 4
    assert outbox.count_refused() == 1


def test_where_nothing_is_kept_the_next_record_is_the_oldest(journal, outbox, make_step):
    last = journal.record(make_step(0, [1, 2, 3]))
    acknowledge(outbox, *range(1, last + 1))
    outbox.prune(LAST_MONTH, 10**9)

    assert outbox.oldest_seq() == last + 1


def test_sessions_go_with_the_commands_and_alarms_between_them(path, journal, outbox, command_log, make_step):
    journal.record(make_step(0, [1, 2]))
    command_log.audit("anna", "stop", "r1", "")
    journal.end(LONG_AGO, journal.tally("s1"), complete=True)
    command_log.alarm("camera_lost", "raised", "plug it in")  # of no session
    command_log.audit("anna", "start", "r2", "")
    journal.begin("s2", NOW, META)
    journal.record(make_step(0, [3]))
    command_log.audit("anna", "mark", "r3", "here")
    last = command_log.log_state().last_seq
    acknowledge(outbox, *range(1, last + 1), at=NOW)

    assert prune(journal, RecordSettings(keep_days=30), NOW) == ["s1"]

    assert (prove(path).fault, prove(path).sessions) == ("", 1)
    # From the record after the session's end on, those of no session among them.
    assert [one.seq for one in outbox.again(1, 100, 100)] == list(range(outbox.oldest_seq(), last + 1))
    assert outbox.again(1, 100, 1)[0].topic == "log/alarm"
    alter(path, f"UPDATE outbox SET payload = replace(payload, '\"here\"', '\"there\"') WHERE seq = {last}")
    assert "command of session s2" in prove(path).fault


def test_what_nobody_acknowledged_keeps_the_session_before_it(journal, outbox, command_log, make_step):
    journal.record(make_step(0, [1, 2]))
    last = journal.end(LONG_AGO, journal.tally("s1"), complete=True)
    acknowledge(outbox, *range(1, last))
    assert prune(journal, RecordSettings(keep_days=30), NOW) == []
    acknowledge(outbox, last)
    command_log.alarm("camera_lost", "raised", "plug it in")  # still waits, and is of no session
    assert prune(journal, RecordSettings(keep_days=30), NOW) == ["s1"]
    assert [message.topic for message in outbox.pending(0, 10)] == ["log/alarm"]


def test_an_alarm_is_known_and_cleared_however_long_ago_it_was_raised(path, journal, outbox, command_log):
    clock, board = SystemClock(), RetainedStates()
    Alarms(command_log, board, "fnrbc", clock).set("camera_lost", "plug it in")
    acknowledge(outbox, 1, 2)
    assert outbox.prune(LAST_MONTH, 10**9) == 2

    after_a_restart = RetainedStates()
    alarms = Alarms(command_log, after_a_restart, "fnrbc", clock)
    (standing,) = after_a_restart.due(0.0, urgent=True)
    alarms.set("camera_lost", "")
    (cleared,) = after_a_restart.due(0.0, urgent=True)

    assert ('"active":true' in standing.payload, '"active":false' in cleared.payload) == (True, True)
    assert [message.seq for message in outbox.pending(0, 10)] == [3]
    assert command_log.standing_alarms() == {}
    assert prove(path).fault == ""


def test_a_journal_opened_again_knows_how_far_back_it_goes(path, journal, outbox, make_step):
    journal.record(make_step(0, [1, 2, 3]))
    acknowledge(outbox, 1, 2)
    outbox.prune(LAST_MONTH, 10**9)
    with Journal.open(path), closing(Outbox(path)) as again:
        assert again.oldest_seq() == 3
