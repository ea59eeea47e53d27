"""Commands, replays and parked records over real brokers."""

import random
import time
from datetime import datetime, timedelta, timezone

import pytest

from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionControl

BASE = "fnrbc/v1/lab/fnrbc"
NOW = datetime.now(timezone.utc)


@pytest.fixture
def serve(path, journal):
    """Start publishers that take commands, and stop them after the test."""
    publishers = []

    def start(port, **settings):
        control = SessionControl()
        control.enter("running")
        publisher = Publisher(path, MqttSettings(port=port, **settings), control=control)
        publisher.start()
        publishers.append(publisher)
        assert publisher.flush(10.0)
        return publisher, control

    yield start
    assert all(publisher.stop(10.0) for publisher in publishers)


@pytest.fixture
def outbox(journal, path):
    outbox = Outbox(path)
    yield outbox
    outbox.close()


def test_a_command_gets_its_reply_and_its_record_reaches_the_lab(broker, serve, operate, listen):
    far_end = listen(broker.port)
    _, control = serve(broker.port)
    reply = operate(broker.port).ask("pause")
    assert (reply["accepted"], reply["state"], control.state) == (True, "paused", "paused")
    far_end.wait_for(lambda _: far_end.on("log/audit"))
    assert [one.fields["user"] for one in far_end.on("log/audit")] == ["anna"]


def test_a_retained_command_is_refused_now_and_at_the_next_connect(mosquitto, serve, operate, listen):
    operator = operate(mosquitto.port)
    operator.send("stop", retain=True)  # before anyone listens: the broker keeps it
    _, control = serve(mosquitto.port)
    operator.send("stop", retain=True)
    deadline = time.monotonic() + 10
    while len(operator.replies()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {reply["code"] for reply in operator.replies()} == {"retained"}
    assert control.state == "running"


def test_a_command_given_while_the_device_was_away_does_not_wait_for_it(mosquitto, serve, operate):
    operator = operate(mosquitto.port)
    operator.send("stop")
    _, control = serve(mosquitto.port)
    assert operator.ask("ping")["state"] == "running"
    assert control.state == "running"


def test_what_a_consumer_lost_is_sent_again_marked_as_such(broker, serve, journal, operate, listen, make_step):
    publisher, _ = serve(broker.port)
    for index in range(10):
        journal.record(make_step(index, [4 * index + k for k in (1, 2, 3, 4)]))
    assert publisher.flush(10.0)
    late = listen(broker.port)
    reply = operate(broker.port).ask("replay", epoch=journal.epoch, from_seq=1, to_seq=100)
    assert reply["accepted"]
    late.wait_for(lambda _: len(late.log()) >= 42)
    again = {one.fields["seq"]: one.fields["replayed"] for one in late.log()}
    assert [seq for seq, replayed in again.items() if replayed] == list(range(1, 42))


def test_replays_leave_the_window_to_new_counts(mosquitto, serve, journal, operate, listen, make_step):
    publisher, _ = serve(mosquitto.port)
    for index in range(100):
        journal.record(make_step(index, [40 * index + k for k in range(1, 41)]))
    assert publisher.flush(20.0)
    far_end = listen(mosquitto.port)
    operator = operate(mosquitto.port)
    for _ in range(3):
        operator.ask("replay", epoch=journal.epoch, from_seq=1, to_seq=4000)
    last = journal.record(make_step(200, [9001]))
    assert publisher.flush(3.0)
    far_end.wait_for(lambda _: any(one.fields["seq"] == last for one in far_end.log()), timeout_s=3)
    assert len(far_end.log()) < 12_000


def test_a_flood_of_nonsense_does_nothing_and_the_count_goes_on(mosquitto, serve, journal, operate, make_step):
    publisher, control = serve(mosquitto.port)
    operator, rng = operate(mosquitto.port), random.Random(1)
    before = journal.last_seq
    for number in range(600):
        operator.send_raw(rng.choice(["pause", "stop", "nonsense"]), rng.randbytes(rng.randrange(300)))
        if number % 30 == 0:
            journal.record(make_step(number, [number + 1]))
    assert publisher.flush(20.0)
    assert control.state == "running"
    assert publisher.status.backlog == 0
    assert publisher.status.connections == 1
    # No more than a burst and one in five seconds, beside the twenty counts.
    assert journal.record(make_step(5000, [])) - before < 20 + 60


def test_an_oversized_command_is_refused_on_record(mosquitto, serve, operate):
    serve(mosquitto.port)
    operator = operate(mosquitto.port)
    operator.send_raw("pause", b"x" * 100_000)
    deadline = time.monotonic() + 10
    while not operator.replies() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert operator.replies()[0]["code"] == "oversized"


NO_CELLS = "topic read #\ntopic write {base}/log/session\ntopic write {base}/status\ntopic write {base}/availability\n"


def test_what_was_refused_goes_out_once_the_access_list_is_mended(
    make_mosquitto, path, journal, listen, make_step, outbox
):
    mosquitto = make_mosquitto(acl=NO_CELLS.format(base=BASE))
    journal.record(make_step(0, list(range(1, 31))))
    before = Publisher(path, MqttSettings(port=mosquitto.port))
    before.start()
    assert before.flush(40.0)
    assert before.stop(10.0)
    assert outbox.count_refused() == 31  # the cells, and the alarm itself

    open_broker = make_mosquitto()
    far_end = listen(open_broker.port)
    after = Publisher(path, MqttSettings(port=open_broker.port))
    after.start()
    far_end.wait_for(lambda _: len({one.fields["seq"] for one in far_end.log()}) >= 31)
    deadline = time.monotonic() + 10
    while outbox.count_refused() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after.stop(10.0)
    assert outbox.count_refused() == 0


def test_what_is_old_is_let_go_and_what_waits_never_is(journal, outbox, make_step):
    journal.record(make_step(0, [1, 2, 3, 4, 5]))
    long_ago = NOW - timedelta(days=90)
    outbox.acknowledge([Acknowledgement(1, "acked", ""), Acknowledgement(2, "acked", "")], long_ago)
    outbox.acknowledge([Acknowledgement(3, "refused", "Not authorized")], long_ago)
    outbox.acknowledge([Acknowledgement(4, "acked", "")], NOW)
    assert outbox.prune(NOW - timedelta(days=30), 10**9) == 2
    assert outbox.oldest_seq() == 3
    assert [message.seq for message in outbox.pending(0, 10)] == [5, 6]
    assert outbox.count_refused() == 1


def test_above_its_size_the_oldest_go_first_and_what_waits_stays(journal, outbox, make_step):
    journal.record(make_step(0, list(range(1, 2001))))
    outbox.acknowledge([Acknowledgement(seq, "acked", "") for seq in range(1, 1801)], NOW)
    limit = outbox.size_bytes() // 2
    outbox.prune(NOW - timedelta(days=30), limit)
    assert outbox.size_bytes() <= limit
    assert outbox.oldest_seq() > 1000
    assert outbox.backlog() == 201
    outbox.prune(NOW - timedelta(days=30), 0)
    assert outbox.backlog() == 201
