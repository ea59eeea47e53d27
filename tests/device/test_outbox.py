"""The log on its way out: in order, settled once, and never waited for by the side that counts."""

import time
from datetime import datetime, timezone

import pytest

from fnrbc_device.contract.states import SessionNow, TallyNow, count_fields
from fnrbc_device.contract.topics import SESSION, STATES, STATUS, TALLY
from fnrbc_device.errors import PublishError
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.retained_states import Late, RetainedStates
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import Tally

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
STATE = {"device": "scope-1", "ts": "2026-03-01T12:00:00.000Z", "session": "s1"}


@pytest.fixture
def outbox(journal, path):
    outbox = Outbox(path)
    yield outbox
    outbox.close()


def tally(fnrbc: int, state: str = "running") -> TallyNow:
    counts = count_fields(Tally(fnrbc=fnrbc, cells=fnrbc))
    return TallyNow(**STATE, log_seq=0, state=state, verified=False, elapsed_s=0.0, **counts)


def session(state: str) -> SessionNow:
    return SessionNow(**STATE, log_seq=0, state=state)


def now(message: TallyNow) -> TallyNow:
    return message


def late(message: TallyNow) -> Late:
    return Late(message.log_seq, lambda: message)


def test_letters_come_in_the_order_of_their_numbers(journal, outbox, make_step):
    journal.record(make_step(0, [1, 2, 3]))
    assert [message.seq for message in outbox.pending(0, 100)] == [1, 2, 3, 4]
    assert [message.seq for message in outbox.pending(2, 1)] == [3]
    assert [message.topic for message in outbox.pending(0, 2)] == ["log/session", "log/cell"]


def test_what_is_settled_is_not_sent_again(journal, outbox, make_step):
    journal.record(make_step(0, [1, 2, 3]))
    outbox.acknowledge([Acknowledgement(1, "acked", ""), Acknowledgement(3, "refused", "Not authorized")], NOON)
    assert [message.seq for message in outbox.pending(0, 100)] == [2, 4]
    assert outbox.backlog() == 2
    assert outbox.refused() == [Acknowledgement(3, "refused", "Not authorized")]


def test_a_refused_letter_stays_refused_whatever_comes_later(journal, outbox):
    outbox.acknowledge([Acknowledgement(1, "refused", "Not authorized")], NOON)
    outbox.acknowledge([Acknowledgement(1, "acked", "")], NOON)
    assert outbox.refused() == [Acknowledgement(1, "refused", "Not authorized")]


def test_both_sides_write_at_the_same_time(journal, outbox, make_step):
    for index in range(100):
        journal.record(make_step(index, [index + 1]))
        outbox.acknowledge([Acknowledgement(index + 1, "acked", "")], NOON)
    assert outbox.backlog() == 1
    assert journal.last_seq == 101


@pytest.mark.parametrize("said", [now, late])
def test_a_state_is_sent_newest_only_and_not_more_often_than_its_topic_allows(said):
    board = RetainedStates()
    for fnrbc in range(10):
        board.put(TALLY, said(tally(fnrbc)))
    (first,) = board.due(100.0, urgent=False)
    board.sent(first, 100.0)
    board.put(TALLY, said(tally(10)))
    board.put(TALLY, said(tally(11)))

    assert '"fnrbc":9' in first.payload
    assert board.due(100.4, urgent=False) == []
    assert board.wait_s(100.4, at_most_s=5.0) == pytest.approx(0.1)
    (second,) = board.due(100.5, urgent=False)
    assert '"fnrbc":11' in second.payload
    assert board.due(100.4, urgent=True) == [second]


@pytest.mark.parametrize("said", [now, late])
def test_a_tally_of_a_running_session_is_repeated_as_a_heartbeat_and_no_other(said):
    board = RetainedStates()
    board.put(TALLY, said(tally(1)))
    board.put(SESSION, session("running"))
    for due in board.due(0.0, urgent=False):
        board.sent(due, 0.0)

    assert board.due(9.9, urgent=True) == []
    assert [due.suffix for due in board.due(10.0, urgent=False)] == [TALLY]
    board.put(TALLY, tally(1, state="finished"))
    (last,) = board.due(10.0, urgent=False)
    board.sent(last, 10.0)
    assert board.due(100.0, urgent=False) == []


def test_who_sends_is_woken_by_the_first_news_only():
    board = RetainedStates()
    assert board.put(TALLY, tally(1))
    assert not board.put(TALLY, tally(2))
    (due,) = board.due(0.0, urgent=False)
    assert not board.put(TALLY, tally(3)), "it is awake, and sees this before it rests"
    board.sent(due, 0.0)
    assert board.wait_s(0.1, at_most_s=5.0) == pytest.approx(0.4)
    (due,) = board.due(0.5, urgent=False)
    board.sent(due, 0.5)
    assert not board.put(TALLY, tally(3))
    assert board.put(TALLY, tally(4))


def test_counts_that_are_not_sent_are_not_written():
    written = []
    board = RetainedStates()
    for fnrbc in range(10):
        board.put(TALLY, Late(0, lambda fnrbc=fnrbc: written.append(fnrbc) or tally(fnrbc)))
    board.due(0.0, urgent=False)
    assert written == [9]


def test_states_are_said_in_the_order_of_the_contract():
    board = RetainedStates()
    board.put(TALLY, tally(1))
    board.put(SESSION, session("running"))
    assert [due.suffix for due in board.due(0.0, urgent=False)] == [SESSION, TALLY]
    assert next(iter(STATES)) == STATUS


def test_what_did_not_change_is_not_sent_again_until_a_new_connection():
    board = RetainedStates()
    board.put(SESSION, session("running"))
    (due,) = board.due(0.0, urgent=True)
    board.sent(due, 0.0)
    board.put(SESSION, session("running"))
    assert board.due(60.0, urgent=True) == []
    board.forget_sent()
    assert len(board.due(60.0, urgent=True)) == 1


def test_an_unknown_state_is_refused():
    with pytest.raises(PublishError, match="'mood' is no state; choose one of status, session"):
        RetainedStates().put("mood", tally(1))


def test_counting_goes_on_at_full_speed_with_no_broker_at_all(journal, path, make_step, free_port):
    publisher = Publisher(path, MqttSettings(port=free_port))
    publisher.start()
    took_s = []
    for index in range(100):
        started_s = time.monotonic()
        journal.record(make_step(index, [index + 1]))
        publisher.set_state(TALLY, tally(index))
        took_s.append(time.monotonic() - started_s)

    assert not publisher.flush(0.2)
    status = publisher.status
    assert publisher.stop(5.0)
    # A disk that others write to stalls a frame now and then; a publisher that is waited for would stall each.
    assert sorted(took_s)[90] < 1.0
    assert not status.connected
    assert "cannot be reached" in status.last_error
    assert journal.last_seq == 101


def test_a_publisher_that_was_never_started_stops(tmp_path):
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings())
    assert publisher.stop(1.0)
    assert publisher.stop(1.0)
