"""Every count arrives, over real brokers that die, refuse and come back; told by an independent client."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.contract.log_records import CellRecord
from fnrbc_device.contract.states import HealthNow, SessionNow, StatusNow, TallyNow, count_fields
from fnrbc_device.contract.topics import HEALTH, SESSION, STATUS, TALLY
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import Tally

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
STATE = {"device": "fnrbc", "ts": "2026-03-01T12:00:00.000Z", "log_seq": 0}
BASE = "fnrbc/v1/lab/fnrbc"


def tally(fnrbc, state="running"):
    counts = count_fields(Tally(fnrbc=fnrbc, cells=fnrbc))
    return TallyNow(**STATE, session="s1", state=state, verified=False, elapsed_s=0.0, **counts)


def status():
    about = {"software": "0.1.0", "bundle": "b", "camera": "simulation", "boot_id": "x", "epoch": "e"}
    return StatusNow(**STATE, **about, backlog=0, clock_sync=False)


def health(fps=30.0):
    return HealthNow(**STATE, state="counting", reasons="", fps=fps)


def seqs(heard):
    return [one.fields["seq"] for one in heard]


def deduplicated(heard):
    """What a consumer of the contract keeps: last + 1 is taken, what came before dropped, a gap an error."""
    kept = []
    for one in heard:
        seq = one.fields["seq"]
        assert seq <= len(kept) + 1, f"gap: {seq} after {len(kept)}"
        if seq == len(kept) + 1:
            kept.append(one)
    return kept


def wait_until(what, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_journal_and_log_agree_at_the_far_end(broker, journal, publish, listen, make_step):
    far_end = listen(broker.port)
    publisher = publish(broker.port)
    for index in range(30):
        journal.record(make_step(index, [3 * index + 1, 3 * index + 2, 3 * index + 3]))
        publisher.notify()
    journal.record(make_step(30, [5, 7], event="retracted"))
    journal.end(NOON, journal.tally("s1"), complete=True)

    assert publisher.flush(10.0)
    far_end.wait_for(lambda heard: len(far_end.log()) == journal.last_seq)
    log = deduplicated(far_end.log())
    assert seqs(log) == list(range(1, 95))
    cells = [CellRecord.model_validate_json(one.payload) for one in log if one.topic == f"{BASE}/log/cell"]
    assert [(one.event, one.cell_id, one.class_name) for one in cells] == [
        (event.event, event.cell, event.verdict.class_name) for event in journal.events("s1")
    ]
    assert not any(one.retained for one in log)
    assert (publisher.status.backlog, publisher.status.acked, publisher.status.refused) == (0, 94, 0)


def test_the_states_are_out_before_the_device_is_online(broker, path, journal, listen):
    far_end = listen(broker.port)
    publisher = Publisher(path, MqttSettings(port=broker.port))
    publisher.set_state(HEALTH, health())
    publisher.set_state(TALLY, tally(1))
    publisher.set_state(SESSION, SessionNow(**STATE, session="s1", state="running"))
    publisher.set_state(STATUS, status())
    publisher.start()
    assert publisher.flush(10.0)
    assert publisher.stop(10.0)

    far_end.wait_for(lambda heard: any(one.payload == "offline" for one in heard))
    told = [one.topic.removeprefix(f"{BASE}/") for one in far_end.heard]
    assert told == ["status", "session", "tally", "health", "availability", "log/session", "availability"]


def test_who_comes_late_is_told_how_things_stand(broker, journal, publish, listen):
    publisher = publish(broker.port)
    publisher.set_state(TALLY, tally(1))
    publisher.set_state(TALLY, tally(7))
    publisher.set_state(HEALTH, health())
    assert publisher.flush(10.0)

    late = listen(broker.port)
    late.wait_for(lambda heard: len(heard) >= 3)
    assert all(one.retained for one in late.heard)
    assert {one.topic: one.payload for one in late.heard}[f"{BASE}/availability"] == "online"
    assert [one.fields["fnrbc"] for one in late.on("tally")] == [7]
    assert late.log() == []


def test_another_make_of_client_that_comes_late_reads_it_too(broker, journal, publish):
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed")
    publisher = publish(broker.port)
    publisher.set_state(TALLY, tally(7))
    assert publisher.flush(10.0)
    command = [
        "mosquitto_sub",
        "-V",
        "5",
        "-p",
        str(broker.port),
        "-t",
        f"{BASE}/#",
        "-v",
        "-C",
        "2",
        "-W",
        "5",
    ]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == [f"{BASE}/availability", f"{BASE}/tally"]


def test_a_clean_stop_says_offline_and_leaves_it_for_latecomers(broker, journal, publish, listen):
    publisher = publish(broker.port)
    assert publisher.flush(10.0)
    assert publisher.stop(10.0)
    late = listen(broker.port)
    late.wait_for(lambda heard: [one.payload for one in heard] == ["offline"])


def test_the_last_tally_goes_out_at_the_stop_however_soon(broker, journal, publish, listen):
    far_end = listen(broker.port)
    publisher = publish(broker.port)
    publisher.set_state(TALLY, tally(1))
    assert publisher.flush(10.0)
    publisher.set_state(TALLY, tally(2))
    assert publisher.stop(10.0)
    far_end.wait_for(lambda heard: heard and heard[-1].payload == "offline")
    assert [one.fields["fnrbc"] for one in far_end.on("tally")] == [1, 2]


def test_the_tally_comes_at_most_twice_a_second(broker, journal, publish, listen):
    far_end = listen(broker.port)
    publisher = publish(broker.port)
    started_s = time.monotonic()
    for fnrbc in range(60):
        publisher.set_state(TALLY, tally(fnrbc))
        time.sleep(0.033)
    assert publisher.flush(10.0)
    seconds = time.monotonic() - started_s
    far_end.wait_for(lambda heard: far_end.on("tally") and far_end.on("tally")[-1].fields["fnrbc"] == 59)
    assert 3 <= len(far_end.on("tally")) <= 2 * seconds + 2


def test_nothing_is_lost_when_the_broker_is_killed_in_the_middle(
    mosquitto, journal, publish, listen, make_step
):
    far_end = listen(mosquitto.port)
    publisher = publish(mosquitto.port)
    for index in range(200):
        journal.record(make_step(index, [2 * index + 1, 2 * index + 2]))
        publisher.notify()
        time.sleep(0.01)
        if index == 40:
            mosquitto.pause()  # so that some messages are on their way, and not acknowledged, when it dies
        if index == 60:
            mosquitto.kill()
        if index == 120:
            mosquitto.start()
    journal.end(NOON, journal.tally("s1"), complete=True)

    assert publisher.flush(30.0)
    assert publisher.status.connections >= 2
    far_end.wait_for(lambda heard: heard and max(seqs(far_end.log())) == journal.last_seq, timeout_s=30)
    assert seqs(deduplicated(far_end.log())) == list(range(1, journal.last_seq + 1))


def test_the_embedded_broker_may_restart_and_the_log_is_taken_to_the_end(
    embedded_broker, journal, publish, listen, make_step
):
    publisher = publish(embedded_broker.port)
    publisher.set_state(TALLY, tally(3))
    assert publisher.flush(10.0)
    embedded_broker.stop()
    for index in range(50):
        journal.record(make_step(index, [index + 1]))
    wait_until(lambda: not publisher.status.connected)
    port = embedded_broker.port
    embedded_broker.start()

    assert embedded_broker.port == port
    assert publisher.flush(30.0)
    assert publisher.status.acked == 51
    late = listen(port)  # the broker forgot all, so the states were said again
    late.wait_for(lambda heard: [one.fields["fnrbc"] for one in late.on("tally")] == [3])


CHILD = """
import runpy, sys, time
from datetime import datetime, timezone
from pathlib import Path
from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
step = runpy.run_path(sys.argv[1])["step"]
path, port, session = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
journal = Journal.open(path)
publisher = Publisher(path, MqttSettings(port=port))
publisher.start()
journal.begin(session, datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
for index in range(100_000):
    journal.record(step(index, [3 * index + k for k in (1, 2, 3)]))
    publisher.notify()
    print(journal.last_seq, flush=True)
    time.sleep(0.005)
"""


def run_and_kill(path, port, session, steps):
    """A publisher in a process of its own, killed after some steps; returns the last number that it told."""
    shared = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", CHILD, str(shared), str(path), str(port), session]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(steps):
            told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    return told


def test_nothing_is_lost_when_the_publisher_is_killed(broker, path, listen):
    far_end = listen(broker.port)
    for start, steps in enumerate([7, 40, 83]):
        told = run_and_kill(path, broker.port, f"s{start}", steps)
    publisher = Publisher(path, MqttSettings(port=broker.port))
    publisher.start()
    assert publisher.flush(15.0)
    assert publisher.stop(10.0)

    with Journal.open(path) as journal:
        last = journal.last_seq
    assert last >= told
    far_end.wait_for(lambda heard: seqs(far_end.log())[-1] == last)
    assert seqs(deduplicated(far_end.log())) == list(range(1, last + 1))


def test_a_killed_device_is_told_offline_by_its_last_will(broker, path, listen):
    far_end = listen(broker.port)
    run_and_kill(path, broker.port, "s1", 100)
    far_end.wait_for(
        lambda heard: [one.payload for one in far_end.on("availability")] == ["online", "offline"]
    )


ACL = """
topic read #
topic write {base}/availability
topic write {base}/status
topic write {base}/session
topic write {base}/log/session
topic write {base}/log/alarm
topic write {base}/alarm/records_refused
"""


def test_what_the_access_list_forbids_is_parked_and_the_rest_goes_out(
    make_mosquitto, path, journal, publish, listen, make_step
):
    mosquitto = make_mosquitto(acl=ACL.format(base=BASE))
    far_end = listen(mosquitto.port)
    journal.record(make_step(0, [1, 2]))
    journal.end(NOON, journal.tally("s1"), complete=True)
    publisher = publish(mosquitto.port)
    publisher.set_state(TALLY, tally(1))
    publisher.set_state(SESSION, SessionNow(**STATE, session="s1", state="finished"))

    assert publisher.flush(30.0)
    far_end.wait_for(lambda heard: len(set(seqs(far_end.log()))) == 3 and far_end.on("alarm/records_refused"))
    assert set(seqs(far_end.log())) == {1, 4, 5}
    assert far_end.on("alarm/records_refused")[-1].fields["active"] is True
    assert far_end.on("tally") == []
    outbox = Outbox(path)
    refused = outbox.refused()
    outbox.close()
    assert [(one.seq, one.reason) for one in refused] == [(2, "Not authorized"), (3, "Not authorized")]
    assert publisher.status.backlog == 0
    assert publisher.status.refused == 3
    assert "the broker refused" in publisher.status.last_error
    connections = publisher.status.connections
    time.sleep(2.5)
    assert publisher.status.connections == connections  # refused once, not again and again
