"""What a broker can do wrong, and that it is said in words and holds nothing up."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from fnrbc_device.errors import ConfigError, JournalError, PublishError, UsageError
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.mqtt.connection import HEAD_BYTES
from fnrbc_device.mqtt.embedded_broker import EmbeddedBroker
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from mosquitto import Mosquitto, free_port, mosquitto_path


def wait_until(what, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_a_broker_that_stalls_is_left_and_found_again(
    mosquitto, journal, publish, listen, make_step, monkeypatch
):
    monkeypatch.setattr("fnrbc_device.mqtt.connection.ACK_TIMEOUT_S", 1.0)
    far_end = listen(mosquitto.port)
    publisher = publish(mosquitto.port)
    assert publisher.flush(10.0)
    mosquitto.pause()
    try:
        journal.record(make_step(0, [1, 2, 3]))
        wait_until(lambda: "has not answered for 1 s" in publisher.status.last_error)
    finally:
        mosquitto.resume()
    assert publisher.flush(20.0)
    far_end.wait_for(lambda heard: {one.fields["seq"] for one in far_end.log()} == {1, 2, 3, 4})


WELCOME = bytes([0x20, 3, 0, 0, 0])
TAKEN_OVER = bytes([0xE0, 2, 0x8E, 0])


@contextmanager
def server_that_says(*answers):
    """Take one connection and say something in MQTT's own bytes, one answer for whatever is heard."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def speak():
            connection, _ = server.accept()
            with connection:
                for answer in answers:
                    connection.recv(4096)
                    connection.sendall(answer)
                connection.recv(4096)

        speaker = threading.Thread(target=speak)
        speaker.start()
        yield server.getsockname()[1]
        speaker.join(5)


def test_a_takeover_by_another_client_is_said_as_such(journal, publish):
    with server_that_says(WELCOME, TAKEN_OVER) as port:
        publisher = publish(port)
        wait_until(lambda: publisher.status.last_error != "")
    assert "another client with the id fnrbc-fnrbc-" in publisher.status.last_error
    assert publisher.stop(5.0)


def test_two_clients_of_one_name_do_not_throw_each_other_out_every_second(
    mosquitto, journal, publish, listen
):
    publisher = publish(mosquitto.port)
    assert publisher.flush(10.0)
    listen(mosquitto.port, client_id=MqttSettings().client_id())
    time.sleep(3.2)
    assert publisher.status.connections <= 2
    assert "another client" in publisher.status.last_error


def test_a_wrong_password_is_said_as_such(tmp_path, make_mosquitto, journal, publish):
    broker = make_mosquitto()
    broker.stop()
    config = broker._folder / "mosquitto.conf"
    config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    secret = tmp_path / "password"
    secret.write_text("hush\n")
    publisher = publish(broker.port, username="scope", password_file=secret)
    wait_until(lambda: publisher.status.last_error != "")
    assert "refused us (Not authorized)" in publisher.status.last_error


def test_a_password_that_cannot_be_read_ends_the_start(tmp_path, path, journal):
    for name, content in (("missing", None), ("empty", b"\n")):
        secret = tmp_path / name
        if content is not None:
            secret.write_bytes(content)
        publisher = Publisher(path, MqttSettings(username="scope", password_file=secret))
        with pytest.raises(ConfigError, match=name):
            publisher.start()
        assert publisher.stop(1.0)


def test_without_a_journal_that_can_be_read_it_does_not_start(tmp_path):
    (tmp_path / "journal.sqlite").write_bytes(b"something else" * 100)
    publisher = Publisher(tmp_path / "journal.sqlite", MqttSettings())
    with pytest.raises(JournalError, match="not a database"):
        publisher.start()
    assert publisher.stop(1.0)


@pytest.fixture
def mute_server():
    """Something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_says_nothing_does_not_hold_up_the_stop(mute_server, journal, publish):
    publisher = publish(mute_server)
    time.sleep(0.5)
    started_s = time.monotonic()
    assert publisher.stop(5.0)
    assert time.monotonic() - started_s < 3.0  # the connection would give up after 4.5 more


def test_what_is_no_mqtt_5_broker_is_said_as_such(journal, publish, monkeypatch):
    monkeypatch.setattr("fnrbc_device.mqtt.connection.CONNECT_TIMEOUT_S", 1.0)
    with server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        publisher = publish(port)
        wait_until(lambda: publisher.status.last_error != "")
    assert "has not answered within 1 s; see whether MQTT 5 is spoken there" in publisher.status.last_error
    assert not publisher.status.connected
    assert publisher.stop(5.0)


def test_a_taken_port_is_said_as_such():
    pytest.importorskip("iotcore", reason="the embedded broker's package iotcore is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PublishError, match=rf"does not start on .*:{port}.*; choose another"):
            EmbeddedBroker(port).start()


def test_without_its_package_the_embedded_broker_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'fnrbc\[desktop\]'"):
        EmbeddedBroker()


PARENT = """
import sys, time
from fnrbc_device.mqtt.embedded_broker import EmbeddedBroker
broker = EmbeddedBroker()
broker.start()
print(broker.port, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_embedded_broker_ends_with_the_process_that_started_it(how):
    pytest.importorskip("iotcore", reason="the embedded broker's package iotcore is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        port = int(parent.stdout.readline())
        assert listens(port)
        parent.send_signal(how)
    wait_until(lambda: not listens(port))


def test_ctrl_c_at_the_terminal_does_not_reach_the_embedded_broker(embedded_broker):
    assert os.getpgid(embedded_broker.pid) != os.getpgid(0)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_defect_in_the_publishing_thread_costs_a_second_and_no_record(mosquitto, journal, publish, monkeypatch):
    from fnrbc_device.mqtt.publisher_store import PublisherStore

    failures, whole = iter([RuntimeError("a defect"), ValueError("another")]), PublisherStore.keep_house

    def keep_house(self, reported):
        for failure in failures:
            raise failure
        whole(self, reported)

    monkeypatch.setattr(PublisherStore, "keep_house", keep_house)
    publisher = publish(mosquitto.port)
    assert publisher.flush(15.0)
    assert publisher.status.acked == 1
    assert "report this" in publisher.status.last_error


def welcome(*properties):
    """A broker's welcome with properties of its own, each an id and a value."""
    said = bytes(properties)
    return bytes([0x20, 3 + len(said), 0, 0, len(said)]) + said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (welcome(0x24, 0), "takes no message with quality of service 1; turn that on there"),
        (welcome(0x25, 0), "keeps no retained messages"),
    ],
    ids=["Maximum QoS 0", "no Retain"],
)
def test_a_broker_that_lacks_what_the_log_needs_is_named_with_the_cure(journal, publish, said, words):
    with server_that_says(said) as port:
        publisher = publish(port)
        wait_until(lambda: publisher.status.last_error != "")
    assert words in publisher.status.last_error
    assert publisher.stop(5.0)


def test_records_above_the_brokers_limit_are_parked_and_the_rest_goes_out(
    tmp_path, path, journal, publish, listen, make_step
):
    if mosquitto_path() is None:
        pytest.skip("mosquitto is not installed")
    journal.record(make_step(0, [1, 2]))
    outbox = Outbox(path)
    sizes = {one.seq: len(f"fnrbc/v1/lab/fnrbc/{one.topic}{one.payload}") + HEAD_BYTES for one in outbox.pending(0, 9)}
    limit = max(sizes.values()) - 1
    (tmp_path / "broker").mkdir()
    port = free_port()
    conf = f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size {limit}"
    broker = Mosquitto(tmp_path / "broker", conf=conf, port=port)
    broker.start()
    try:
        far_end = listen(port)
        publisher = publish(port)
        assert publisher.flush(20.0)
        time.sleep(1.5)
        assert publisher.status.connections == 1
        heard = {one.fields["seq"] for one in far_end.log() if one.fields["seq"] in sizes}
    finally:
        broker.stop()
    assert heard == {seq for seq, size in sizes.items() if size <= limit}
    assert 0 < len(heard) < len(sizes)
    assert {one.seq for one in outbox.refused()} >= sizes.keys() - heard
    assert all(f"above the broker's limit of {limit}; raise it there" in one.reason for one in outbox.refused())
    outbox.close()
