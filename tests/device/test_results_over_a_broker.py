"""A result reaches the lab over real brokers: told once in the log, retained as it stands, whatever restarts."""

from pathlib import Path

import pytest

from fnrbc_device.host.clock import SystemClock
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.sign_off import SignOff
from laboratory import cells, write_session

BASE = "fnrbc/v1/lab/bench"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """One session, all of whose three candidates a person has decided on."""
    path = tmp_path / "state" / "journal.sqlite"
    write_session(path, "s1", cells(3, 20))
    with Decisions(path, "bench", SystemClock()) as deciding:
        for cell in (1, 2, 3):
            deciding.decide("s1", cell, "confirmed", "dora")
    return path


def signing(path, verb, *words):
    with SignOff(path, "bench", SystemClock()) as writer:
        getattr(writer, verb)("s1", "carla", *words)


def run_publisher(port, path):
    publisher = Publisher(path, MqttSettings(port=port, device="bench"))
    publisher.start()
    assert publisher.flush(20.0)
    return publisher


def retained(listen, port, number):
    """What somebody who comes only now is told."""
    late = listen(port, f"{BASE}/result", f"late-{number}")
    late.wait_for(lambda heard: len(heard) == 1)
    (one,) = late.heard
    assert one.retained
    return one.fields


def results(heard):
    return [one.fields for one in heard if one.topic == f"{BASE}/log/result"]


def test_a_result_is_retained_as_it_stands_and_each_change_is_told_once(broker, record, listen):
    lab = listen(broker.port)
    signing(record, "sign")  # before the device ever reached a broker
    publisher = run_publisher(broker.port, record)
    first = retained(listen, broker.port, 1)
    assert (first["event"], first["verified"], first["fnrbc"], first["signed_by"]) == ("signed", True, 3, "carla")

    signing(record, "withdraw", "the wrong slide")
    assert publisher.flush(20.0)
    fallen = retained(listen, broker.port, 2)
    assert (fallen["event"], fallen["verified"], fallen["fnrbc"]) == ("withdrawn", False, None)
    assert fallen["withdrawn_reason"] == "the wrong slide"

    signing(record, "sign")
    assert publisher.flush(20.0)
    assert publisher.stop(10.0)
    publisher = run_publisher(broker.port, record)
    second = retained(listen, broker.port, 3)
    assert (second["event"], second["version"], second["verified"], second["fnrbc"]) == ("signed", 2, True, 3)

    told = results(lab.wait_for(lambda heard: len(results(heard)) == 4))
    assert [(one["event"], one["version"]) for one in told] == [
        ("signed", 1), ("withdrawn", 1), ("superseded", 1), ("signed", 2),
    ]  # fmt: skip
    same = set(second) - {"schema", "log_seq", "ruo"}
    assert {name: second[name] for name in same} == {name: told[-1][name] for name in same}
    assert second["log_seq"] == told[-1]["seq"]
    assert publisher.stop(10.0)


def test_a_result_comes_back_to_a_broker_that_lost_all(mosquitto, record, listen, tmp_path):
    signing(record, "sign")
    publisher = run_publisher(mosquitto.port, record)
    mosquitto.kill()
    mosquitto.forget()
    mosquitto.start()

    late = listen(mosquitto.port, f"{BASE}/result", "late")
    (one,) = late.wait_for(lambda heard: len(heard) >= 1)
    assert one.fields["verified"] is True
    assert publisher.stop(10.0)
