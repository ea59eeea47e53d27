"""Commands over MQTT: followed once, on record with who gave them; anything else refused and without effect."""

import json
import random
import resource
from datetime import datetime, timedelta, timezone

import pytest

from fnrbc_device.contract.commands import MAX_COMMAND_BYTES, VERBS, Incoming
from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.topics import Topics
from fnrbc_device.errors import CommandError, JournalError
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.mqtt.command_handler import RECORD_BURST, CommandHandler, Range
from fnrbc_device.session_state import SessionControl
from fuzz import fuzzed

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
TOPICS = Topics("lab", "fnrbc")


class StepClock:
    """Stands still until it is told to go on."""

    def __init__(self):
        self.now_s = 0.0

    def utc(self):
        return NOON + timedelta(seconds=self.now_s)

    def monotonic_s(self):
        return self.now_s

    def synchronised(self):
        return True


class Bench:
    """A desk over a real journal, and what it wrote."""

    def __init__(self, path):
        self.path = path
        self.clock = StepClock()
        self.control = SessionControl()
        self.control.enter("running")
        self.command_log = CommandLog(path, "fnrbc", self.clock)
        self.outbox = Outbox(path)
        self.handler = self.new_desk()

    def new_desk(self):
        return CommandHandler(TOPICS, self.control, self.command_log, self.outbox, self.clock)

    def send(self, verb, user="anna", retained=False, may_replay=True, **fields):
        fields = {"id": "r1", "ts": iso_utc(self.clock.utc()), **fields}
        return self.raw(json.dumps(fields).encode(), verb, user, retained, may_replay)

    def raw(self, payload, verb="pause", user="anna", retained=False, may_replay=True):
        return self.handler.receive(Incoming(TOPICS.command(user, verb), payload, retained), may_replay)

    def audit(self):
        rows = self.outbox.pending(0, 10_000)
        return [AuditRecord.model_validate_json(one.payload) for one in rows if one.topic == "log/audit"]

    def close(self):
        self.outbox.close()
        self.command_log.close()


@pytest.fixture
def bench(journal, path):
    bench = Bench(path)
    yield bench
    bench.close()


def test_a_command_is_followed_answered_and_on_record_with_who_gave_it(bench):
    outcome = bench.send("pause")
    assert bench.control.state == "paused"
    assert (outcome.user, outcome.reply.accepted, outcome.reply.state) == ("anna", True, "paused")
    (record,) = bench.audit()
    assert (record.user, record.verb, record.request, record.outcome, record.session) == (
        "anna", "pause", "r1", "accepted", "s1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "verb", "after"),
    [
        ("idle", "start", "starting"),
        ("running", "pause", "paused"),
        ("paused", "resume", "running"),
        ("running", "stop", "stopping"),
        ("paused", "stop", "stopping"),
        ("running", "mark", "running"),
        ("finished", "ping", "finished"),
    ],
)
def test_what_the_state_allows_is_done(bench, state, verb, after):
    bench.control.enter(state)
    assert bench.send(verb).reply.accepted
    assert bench.control.state == after


def test_a_start_says_what_is_on_the_slide_and_the_record_has_it(bench):
    bench.control.enter("idle")
    assert bench.send("start", kind="blank").reply.accepted
    assert bench.control.plan.kind == "blank"
    assert bench.audit()[-1].detail == "blank"
    bench.control.enter("finished")
    assert bench.send("start", id="r2").reply.accepted
    assert bench.control.plan.kind is None  # as the configuration says
    assert bench.send("start", id="r3", kind="slide").reply.code == "malformed"


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("running", "start"),
        ("running", "resume"),
        ("paused", "pause"),
        ("idle", "stop"),
        ("finished", "mark"),
        ("stopping", "stop"),
    ],
)
def test_what_the_state_does_not_allow_is_refused_on_record(bench, state, verb):
    bench.control.enter(state)
    reply = bench.send(verb).reply
    assert (reply.accepted, reply.code, reply.state) == (False, "wrong_state", state)
    assert [(one.outcome, one.code) for one in bench.audit()] == [("refused", "wrong_state")]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "malformed"),
        (b"pause", "malformed"),
        (b"[]", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"[" * 2000, "malformed"),
        (b'{"id": "r1"}', "malformed"),
        (b'{"id": 7, "ts": "2026-03-01T12:00:00.000Z"}', "malformed"),
        (b'{"id": "r 1", "ts": "2026-03-01T12:00:00.000Z"}', "malformed"),
        (b'{"id": "r1", "ts": "2026-03-01T12:00:00.000Z", "force": true}', "malformed"),
        (b'{"id": "r1", "ts": "noon"}', "malformed"),
        (b'{"id": "r1", "ts": "2026-03-01T12:00:00"}', "malformed"),
        (b'{"id": "r1", "ts": "2026-03-01T11:59:29.000Z"}', "stale"),
        (b'{"id": "r1", "ts": "2026-03-01T12:00:31.000Z"}', "stale"),
        (b'{"id": "r1", "ts": "0001-01-01T00:00:00+14:00"}', "malformed"),
        (b'{"id": "r1", "ts": "2026-03-01T12:00:00.000Z"}' + b" " * MAX_COMMAND_BYTES, "oversized"),
    ],
)
def test_a_payload_that_is_not_right_is_refused_with_the_reason_and_no_effect(bench, payload, code):
    outcome = bench.raw(payload)
    assert (outcome.reply.accepted, outcome.reply.code) == (False, code)
    assert bench.control.state == "running"
    assert [(one.outcome, one.code) for one in bench.audit()] == [("refused", code)]


def test_a_time_with_another_offset_is_the_same_time(bench):
    assert bench.send("pause", ts="2026-03-01T13:00:00+01:00").reply.accepted


def test_an_unknown_command_is_told_which_there_are(bench):
    reply = bench.send("reboot").reply
    assert reply.code == "unknown"
    assert all(verb in reply.reason for verb in VERBS)


def test_a_retained_command_is_refused(bench):
    assert bench.send("pause", retained=True).reply.code == "retained"
    assert bench.control.state == "running"


def test_the_same_id_gets_the_same_answer_and_nothing_is_done_again(bench):
    first = bench.send("pause").reply
    bench.control.enter("running")
    bench.clock.now_s = 40  # stale by now, but known
    second = bench.send("pause", ts=iso_utc(NOON)).reply
    assert second == first.model_copy(update={"repeated": True, "ts": second.ts})
    assert bench.control.state == "running"
    assert [one.code for one in bench.audit()] == ["", "repeated"]


def test_the_same_id_from_another_user_is_another_command(bench):
    bench.send("pause")
    assert bench.send("resume", user="bert").reply.accepted


def test_an_id_is_known_after_a_restart(bench):
    bench.send("pause")
    bench.control.enter("running")
    bench.handler = bench.new_desk()
    reply = bench.send("pause").reply
    assert (reply.repeated, reply.accepted) == (True, True)
    assert bench.control.state == "running"


@pytest.mark.parametrize("user", ["Anna", "a b", "x" * 33, "", "größe", "\x00"])
def test_a_user_that_cannot_be_part_of_a_topic_is_refused_on_record_and_not_answered(bench, user):
    assert bench.send("pause", user=user).reply is None
    assert bench.control.state == "running"
    assert [one.code for one in bench.audit()] == ["malformed"]


def test_a_mark_leaves_its_note_on_record(bench):
    assert bench.send("mark", note="tail of the smear").reply.accepted
    assert bench.audit()[0].detail == "tail of the smear"


def test_nothing_is_done_that_cannot_be_written_down(bench):
    bench.command_log._connection.execute("PRAGMA query_only = ON")  # what a disk that went read-only is to SQLite
    with pytest.raises(JournalError, match="let this user write"):
        bench.send("pause")
    assert bench.control.state == "running"


def test_records_are_replayed_by_their_numbers(bench, journal, make_step):
    journal.record(make_step(0, [1, 2, 3]))
    outcome = bench.send("replay", epoch=journal.epoch, from_seq=2, to_seq=900)
    assert outcome.replay == Range(2, 4)
    assert (outcome.reply.accepted, outcome.reply.oldest_seq) == (True, 1)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"epoch": "other", "from_seq": 1, "to_seq": 2}, "not_kept"),
        ({"from_seq": 3, "to_seq": 2}, "malformed"),
        ({"from_seq": 1, "to_seq": 10_001}, "malformed"),
        ({"from_seq": 0, "to_seq": 2}, "malformed"),
        ({"from_seq": 50, "to_seq": 60}, "not_kept"),
    ],
)
def test_a_replay_of_what_is_not_there_is_refused(bench, journal, fields, code):
    outcome = bench.send("replay", **{"epoch": journal.epoch, **fields})
    assert (outcome.reply.code, outcome.replay) == (code, None)


def test_a_replay_of_what_was_let_go_says_what_is_left(bench, journal, make_step):
    journal.record(make_step(0, [1, 2, 3]))
    bench.outbox.acknowledge(
        [Acknowledgement(1, "acked", ""), Acknowledgement(2, "acked", "")], NOON - timedelta(days=31)
    )
    bench.outbox.prune(NOON - timedelta(days=30), 10**9)
    reply = bench.send("replay", epoch=journal.epoch, from_seq=1, to_seq=4).reply
    assert (reply.code, reply.oldest_seq) == ("not_kept", 3)


def test_too_many_replays_at_once_are_put_off(bench, journal):
    outcome = bench.send("replay", may_replay=False, epoch=journal.epoch, from_seq=1, to_seq=1)
    assert (outcome.reply.code, outcome.replay) == ("busy", None)
    again = bench.send("replay", epoch=journal.epoch, from_seq=1, to_seq=1)
    assert again.reply.accepted  # with the same id: it was put off, not refused


def test_a_flood_is_followed_no_faster_than_is_stated_and_shares_records(bench):
    for number in range(5000):
        bench.send("ping", id=f"p{number}")
    assert len(bench.audit()) == RECORD_BURST
    bench.clock.now_s = 10
    bench.handler.account()
    shared = bench.audit()[-1]
    assert (shared.code, shared.times + RECORD_BURST) == ("busy", 5000 - 50)


def test_what_a_flood_left_untold_is_told_at_last(bench):
    for number in range(500):
        bench.send("reboot", id=f"p{number}")
    bench.handler.account()  # there is no room for a record yet
    assert sum(one.times for one in bench.audit()) == RECORD_BURST
    bench.handler.account(at_last=True)
    assert sum(one.times for one in bench.audit()) == 500
    bench.handler.account(at_last=True)
    assert len(bench.audit()) == RECORD_BURST + 1


def test_a_hundred_thousand_fuzzed_payloads_do_nothing_and_leave_little(bench, path):
    rng = random.Random(8)
    stale = json.dumps({"id": "r1", "ts": iso_utc(NOON - timedelta(days=1))}).encode()
    verbs = [*VERBS, "", "reboot", "../..", "PAUSE", "\x00", "pause "]
    users = ["anna", "", "Ä", "a" * 100, "$SYS", "bert"]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(100_000):
        payload = fuzzed(rng, stale)
        bench.raw(payload, rng.choice(verbs), rng.choice(users), retained=number % 7 == 0)
    assert bench.control.state == "running"
    assert not any(one.outcome == "accepted" for one in bench.audit())
    assert len(bench.audit()) == RECORD_BURST
    assert path.stat().st_size < 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 20_000


def test_a_control_lets_one_of_many_askers_have_it():
    control = SessionControl()
    control.enter("running")
    control.ask("stop", lambda: None)
    with pytest.raises(CommandError, match="stop is for a session that is running or paused, this one is stopping"):
        control.ask("stop", lambda: pytest.fail("it must not be recorded"))


def test_audit_goes_on_with_the_numbers_of_the_journal(bench, journal, make_step, path):
    bench.send("mark", id="a")
    journal.record(make_step(0, [1]))
    bench.send("mark", id="b")
    journal.record(make_step(1, [2]))
    assert [message.seq for message in bench.outbox.pending(0, 10)] == [1, 2, 3, 4, 5]
    assert journal.last_seq == 5
    with Journal.open(path) as again:
        assert again.last_seq == 5
