"""The AsyncAPI document and the code say the same: held against each other, and against what a session really says."""

import json
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.contract import asyncapi, log_records, states, topics
from fnrbc_device.contract import markdown as page
from fnrbc_device.contract import replies as answers
from fnrbc_device.contract.commands import VERBS, shape_of
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView

jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")

SHIPPED = Path(__file__).parents[2] / "docs" / "mqtt"
B = "fnrbc/v1/lab/bench"


@pytest.fixture(scope="module")
def contract():
    return json.loads((SHIPPED / "asyncapi.json").read_text())


def channel_of(contract, topic):
    """The one channel whose address fits a topic."""
    parts = topic.split("/")
    found = [
        name
        for name, channel in contract["channels"].items()
        if len(wanted := channel["address"].split("/")) == len(parts)
        and all(one.startswith("{") or one == part for one, part in zip(wanted, parts, strict=True))
    ]
    assert len(found) == 1, (topic, found)
    return found[0]


def is_valid(contract, name, payload):
    return jsonschema.Draft7Validator(contract["components"]["schemas"][name]).is_valid(payload)


def test_the_document_that_is_shipped_is_the_one_that_the_code_makes(contract):
    assert contract == asyncapi.document()
    assert (SHIPPED / "README.md").read_text() == page.page(contract)


def test_every_schema_is_one_and_refuses_unknown_fields(contract):
    for name, schema in contract["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema(schema)
        if name not in ("home_assistant", "availability", "thumb"):
            assert schema["additionalProperties"] is False, name


def test_every_property_is_described_and_shown_in_a_message_that_is_valid(contract):
    for name, schema in contract["components"]["schemas"].items():
        lacking = [field for field, of in schema.get("properties", {}).items() if not of.get("description")]
        assert lacking == [], name
        if "properties" in schema:
            (example,) = contract["components"]["messages"][name]["examples"]
            assert is_valid(contract, name, example["payload"]), name
            shown = {field: of["examples"] for field, of in schema["properties"].items()}
            assert shown == {field: [value] for field, value in example["payload"].items()}, name


def test_every_topic_of_the_code_is_in_the_document(contract):
    suffixes = [topics.AVAILABILITY, *topics.STATES, topics.LOG_CELL, topics.LOG_SESSION, topics.LOG_AUDIT]
    suffixes += [topics.LOG_ALARM, topics.LOG_RESULT, "alarm/x", "thumb/1", "reply/anna"]
    suffixes += [f"cmd/anna/{verb}" for verb in VERBS]
    assert {channel_of(contract, f"{B}/{one}") for one in suffixes} == contract["channels"].keys() - {"home_assistant"}


def run_session(port, folder, operate):
    slide = SimulatedSlide.make(31, "giemsa", 30)
    setup = Setup(
        source=SimulatedMicroscope(slide, seed=31, fps=30),
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=folder / "journal.sqlite",
        mqtt=MqttSettings(port=port, site="lab", device="bench", thumbnails=True, home_assistant=True),
        live=LiveView(),
        simulated=True,
    )
    counting = threading.Thread(target=lambda: Daemon(setup).run(threading.Event()), name="counting")
    counting.start()
    operator = operate(port, B)
    while operator.ask_at_most("ping", 0.5) is None:
        assert counting.is_alive()
    operator.ask("mark", note="an audit record")
    operator.ask("reboot")
    counting.join(60)
    return operator


@pytest.fixture
def session(mosquitto, listen, operate, tmp_path):
    """All that was said in a simulated session, commands and their answers included."""
    listener = listen(mosquitto.port)
    run_session(mosquitto.port, tmp_path, operate)
    return listener.wait_for(lambda heard: heard[-1].payload == "offline")


def test_all_that_a_session_says_is_in_the_document(contract, session):
    seen = set()
    for one in session:
        name = channel_of(contract, one.topic) if not one.topic.endswith("/reboot") else ""
        seen.add(name)
        if name in ("", "thumb"):
            continue
        payload = one.payload if name == "availability" else one.fields
        jsonschema.validate(payload, contract["components"]["schemas"][name], cls=jsonschema.Draft7Validator)
    said = {"availability", "status", "session", "tally", "health", "summary", "log_cell", "log_session", "log_audit"}
    assert seen >= said | {"reply", "cmd_ping", "cmd_mark", "home_assistant", "thumb"}
    assert all(len(one.raw) <= 20_000 and one.raw[:2] == b"\xff\xd8" for one in session if "/thumb/" in one.topic)
    for one in session:
        if one.topic.startswith("homeassistant/"):
            check_discovery(contract, one.fields)


def check_discovery(contract, discovery):
    """Each sensor reads a field that the schema of its topic has."""
    assert len({sensor["unique_id"] for sensor in discovery["components"].values()}) == len(discovery["components"])
    for sensor in discovery["components"].values():
        schema = contract["components"]["schemas"][channel_of(contract, sensor["state_topic"])]
        field = sensor["value_template"].split("value_json.")[1].split()[0]
        assert field in schema["properties"]


COMMON = {"device": "d", "ts": "2026-03-01T12:00:00.000Z", "log_seq": 0}
ENVELOPE = {
    "device": "d", "epoch": "0f", "seq": 1, "ts": "2026-03-01T12:00:00.000Z", "ts_sync": True, "mono_ms": 1,
    "session": "s1",
}  # fmt: skip
EXAMPLES = {
    "log_audit": answers.AuditRecord(
        **ENVELOPE, user="anna", verb="stop", request="r", outcome="accepted", code="", detail=""
    ),
    "log_alarm": log_records.AlarmRecord(**ENVELOPE, code="camera_lost", event="raised", detail="x"),
    "alarm": states.AlarmNow(**COMMON, code="camera_lost", active=True, detail="x"),
    "session": states.SessionNow(**COMMON, session="s1", state="running"),
    "health": states.HealthNow(**COMMON, state="counting", reasons="", fps=30.0),
    "reply": answers.Reply(
        device="d", ts="t", request="r", verb="stop", accepted=True, code="", reason="", state="stopping", epoch="0f",
        log_seq=1, oldest_seq=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_too_many_too_few_or_of_a_wrong_type_is_caught_by_document_and_code_alike(contract, name):
    example = EXAMPLES[name]
    good = json.loads(example.to_json())
    assert is_valid(contract, name, good)
    for field, value in good.items():
        wrong = {**good, field: "yes" if isinstance(value, bool) else []}
        assert not is_valid(contract, name, wrong), field
        with pytest.raises(ValidationError):
            type(example).model_validate(wrong)
        assert not is_valid(contract, name, {key: one for key, one in good.items() if key != field}), field
    assert not is_valid(contract, name, {**good, "surprise": 1})


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_that_the_document_allows_is_one_that_the_device_reads(contract, verb):
    good = {"id": "r1", "ts": "2026-03-01T12:00:00Z"}
    if verb == "replay":
        good |= {"epoch": "0f", "from_seq": 1, "to_seq": 2}
    assert is_valid(contract, f"cmd_{verb}", good)
    shape_of(verb).model_validate_json(json.dumps(good))
    changes = [{"id": 1}, {"id": "a b"}, {"more": 1}, {"ts": None}, {"ts": "x" * 41}]
    for wrong in ({**good, **change} for change in changes):
        assert not is_valid(contract, f"cmd_{verb}", wrong)
        with pytest.raises(ValidationError):
            shape_of(verb).model_validate_json(json.dumps(wrong))
