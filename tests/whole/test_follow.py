"""``fnrbc follow`` keeps exactly the journal's records, whatever happens between."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from chaos import Chaos, Child, copied, differences, fnrbc, recorded, wait_for_all, wait_for_records
from fnrbc_device.journal.journal import Journal
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import SessionMeta
from proxy import BadNetwork

DEVICE = """
import itertools, json, random, runpy, sys, time
from datetime import datetime, timezone
from pathlib import Path
from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
step = runpy.run_path(sys.argv[1])["step"]
path, port = Path(sys.argv[2]), int(sys.argv[3])
journal = Journal.open(path)
publisher = Publisher(path, MqttSettings(port=port))
publisher.start()
journal.begin(f"s{time.time_ns()}", datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
for index in itertools.count():
    if Path(sys.argv[4]).exists():
        break
    journal.record(step(index, [3 * index + k for k in (1, 2, 3)]))
    publisher.notify()
    time.sleep(0.02)
while True:
    time.sleep(1)
"""


@pytest.fixture
def network(mosquitto):
    network = BadNetwork(mosquitto.port)
    network.start()
    yield network
    network.close()


@pytest.fixture
def follow(tmp_path):
    """Start ``fnrbc follow`` in a process of its own; it ends after the test."""
    started = []

    def start(port, folder=tmp_path / "copies", *options):
        child = Child(fnrbc("follow", "--out", folder, "--port", port, *options), tmp_path / "follow.log")
        child.start()
        started.append(child)
        return child

    yield start
    for child in started:
        child.end(signal.SIGKILL)


def journal_of(path, make_step, cells, close=True):
    journal = Journal.open(path)
    journal.begin("s1", datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
    for index in range(cells // 10):
        journal.record(make_step(index, [10 * index + k for k in range(1, 11)]))
    if close:
        journal.close()
    return journal


@pytest.fixture
def make_step():
    import runpy

    return runpy.run_path(str(Path(__file__).parents[1] / "device" / "conftest.py"))["step"]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_copy_is_the_journal_after_kills_cuts_stalls_and_resets(mosquitto, network, follow, tmp_path, seed):
    journal, enough = tmp_path / "journal.sqlite", tmp_path / "enough"
    steps = Path(__file__).parents[1] / "device" / "conftest.py"
    command = [sys.executable, "-c", DEVICE, str(steps), str(journal), str(network.port), str(enough)]
    device = Child(command, tmp_path / "device.log")
    device.start()
    try:
        follower = follow(network.port)
        wait_for_records(journal, 30, 30)
        Chaos(device, follower, mosquitto, network, seed).rage(4.0, pause_s=0.3)
        enough.touch()
        device.start()
        follower.start()
        wait_for_all(journal, tmp_path / "copies", 30)
    finally:
        device.end(signal.SIGKILL)
    assert follower.end(signal.SIGTERM) == 0
    truth = recorded(journal)
    assert len(truth) > 30
    assert differences(truth, copied(tmp_path / "copies")) == []


def test_a_session_without_a_broker_is_complete_once_it_is_back(mosquitto, follow, tmp_path, make_step):
    journal = journal_of(tmp_path / "journal.sqlite", make_step, 500)
    mosquitto.stop()
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings(port=mosquitto.port))
    publisher.set_state("status", status_of(journal.epoch, 501))
    publisher.start()
    follower = follow(mosquitto.port)
    wait_for_log(tmp_path / "follow.log", "cannot be reached")
    mosquitto.start()
    wait_for_all(tmp_path / "journal.sqlite", tmp_path / "copies", 30)
    assert publisher.stop(10)
    assert follower.end(signal.SIGTERM) == 0
    assert differences(recorded(tmp_path / "journal.sqlite"), copied(tmp_path / "copies")) == []


def test_who_comes_after_the_broker_lost_all_is_sent_it_all_again(make_mosquitto, follow, tmp_path, make_step):
    journal = journal_of(tmp_path / "journal.sqlite", make_step, 500)
    first = make_mosquitto()
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings(port=first.port))
    publisher.start()
    assert publisher.flush(20)
    assert publisher.stop(10)
    wiped = make_mosquitto()
    follower = follow(wiped.port)
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings(port=wiped.port))
    publisher.set_state("status", status_of(journal.epoch, 501))
    publisher.start()
    wait_for_all(tmp_path / "journal.sqlite", tmp_path / "copies", 30)
    assert publisher.stop(10)
    assert follower.end(signal.SIGTERM) == 0
    copy = copied(tmp_path / "copies")
    assert differences(recorded(tmp_path / "journal.sqlite"), copy) == []
    assert copy[0]["replayed"] == "true"


def wait_for_log(path, words):
    deadline = time.monotonic() + 20
    while not (path.exists() and words in path.read_text()):
        assert time.monotonic() < deadline, f"never said: {words}"
        time.sleep(0.05)


def status_of(epoch, log_seq):
    from fnrbc_device.contract.states import StatusNow

    return StatusNow(
        device="fnrbc", ts="2026-03-01T12:00:00.000Z", log_seq=log_seq, software="0", bundle="b", camera="c",
        boot_id="x", epoch=epoch, backlog=0, clock_sync=False,
    )  # fmt: skip


def test_two_followers_do_not_write_to_one_folder(mosquitto, follow, tmp_path):
    follow(mosquitto.port)
    deadline = time.monotonic() + 20
    while not (tmp_path / "copies" / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    command = fnrbc("follow", "--out", tmp_path / "copies", "--port", mosquitto.port)
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, env=os.environ)
    assert second.returncode == 2
    assert re.search(r"error: fnrbc follow \(process \d+, since [^)]+\) writes to \S+/copies; end it", second.stderr)


def test_plain_text_beyond_this_machine_is_refused(tmp_path):
    command = fnrbc("follow", "--out", tmp_path, "--host", "broker.example")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert "plain text is spoken on loopback only" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_copy_as_parquet_has_the_types_of_the_schemas(mosquitto, follow, tmp_path, make_step):
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    journal = journal_of(tmp_path / "journal.sqlite", make_step, 100)
    follower = follow(mosquitto.port, tmp_path / "copies", "--parquet")
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings(port=mosquitto.port))
    publisher.set_state("status", status_of(journal.epoch, 101))
    publisher.start()
    wait_for_all(tmp_path / "journal.sqlite", tmp_path / "copies", 20)
    assert publisher.stop(10)
    assert follower.end(signal.SIGTERM) == 0
    (file,) = (tmp_path / "copies").glob("*.parquet")
    table = pyarrow.read_table(file)
    truth = recorded(tmp_path / "journal.sqlite")
    for name in ("seq", "epoch", "class", "probability", "ts_sync", "session"):
        assert table[name].to_pylist() == [one.get(name) for one in truth], name
