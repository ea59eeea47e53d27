"""The contract as an AsyncAPI 3 document, made from the payloads and topics themselves, and a page made from it.

``python -m fnrbc_device.contract.asyncapi FOLDER`` writes both: ``asyncapi.json`` and ``README.md``.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from fnrbc_device.contract import commands as requests
from fnrbc_device.contract import log_records, payloads, states, topics
from fnrbc_device.contract import replies as answers
from fnrbc_device.contract.examples import examples
from fnrbc_device.contract.homeassistant import DISCOVERY
from fnrbc_device.contract.markdown import page
from fnrbc_device.contract.results import ResultNow, ResultRecord
from fnrbc_device.contract.thumbnails import MAX_BYTES, THUMBNAIL
from fnrbc_device.contract.topics import Delivery
from fnrbc_device.host.atomic_file import write_whole
from fnrbc_device.texts import RESEARCH_USE_ONLY

CONTRACT_VERSION: Final = "1.2.0"
"""Of the topics and payloads, ``v1`` in each topic. A field more counts up the second number."""

BASE: Final = "fnrbc/v1/{site}/{device}"

COMMAND_DELIVERY: Final = Delivery(qos=1, retain=False, expiry_s=10)
"""What the device expects of those who command; it refuses what is retained or older than 30 s."""

_PARAMETERS: Final = {
    "site": "Where the devices stand; a-z, 0-9, _ and -, at most 32.",
    "device": "Unique within its site; a-z, 0-9, _ and -, at most 32.",
    "user": "Who asks; the broker's access list vouches for it.",
    "code": "Of the alarm.",
    "cell_id": "Number of the cell within its session.",
}


@dataclass(frozen=True, slots=True)
class _Channel:
    """One topic and what is said there."""

    name: str
    address: str
    payload: dict[str, Any]
    delivery: Delivery
    receives: bool = False
    content_type: str = "application/json"


def document() -> dict[str, Any]:
    """Describe every topic and payload of a device, as AsyncAPI 3.0.0."""
    channels = _channels()
    shown = examples()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fnrbc",
            "version": CONTRACT_VERSION,
            "description": f"What a device that counts fetal nucleated red blood cells says and hears over MQTT 5. "
            f"{RESEARCH_USE_ONLY}",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {one.name: _channel(one) for one in channels},
        "operations": {one.name: _operation(one) for one in channels},
        "components": {
            "messages": {one.name: _message(one, shown) for one in channels},
            "schemas": {one.name: _with_examples(one.payload, shown.get(one.name, {})) for one in channels},
        },
    }


def write(folder: Path) -> None:
    """Write the document and the page made from it."""
    described = document()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "asyncapi.json", (json.dumps(described, indent=2) + "\n").encode(), 0o644)
    write_whole(folder / "README.md", page(described).encode(), 0o644)


def _channels() -> list[_Channel]:
    retained: dict[str, type[BaseModel]] = {
        topics.STATUS: states.StatusNow,
        topics.SESSION: states.SessionNow,
        topics.TALLY: states.TallyNow,
        topics.HEALTH: states.HealthNow,
        topics.SUMMARY: states.SummaryNow,
        topics.RESULT: ResultNow,
    }
    logged: dict[str, type[BaseModel]] = {
        topics.LOG_CELL: log_records.CellRecord,
        topics.LOG_SESSION: log_records.SessionRecord,
        topics.LOG_AUDIT: answers.AuditRecord,
        topics.LOG_ALARM: log_records.AlarmRecord,
        topics.LOG_RESULT: ResultRecord,
    }
    return [
        _own(topics.AVAILABILITY, _presence(), topics.PRESENCE, "text/plain"),
        *(_own(suffix, _schema(retained[suffix]), delivery) for suffix, delivery in topics.STATES.items()),
        *(_own(suffix, _schema(record), topics.LOG) for suffix, record in logged.items()),
        _own(f"{topics.ALARM}/{{code}}", _schema(states.AlarmNow), topics.ALARM_STATE),
        _own(f"{topics.THUMB}/{{cell_id}}", _picture(), THUMBNAIL, "image/jpeg"),
        _own(f"{topics.REPLY}/{{user}}", _schema(answers.Reply), topics.ANSWER),
        _Channel("home_assistant", "homeassistant/device/{site}/{device}/config", _discovery(), DISCOVERY),
        *(_command(verb) for verb in requests.VERBS),
    ]


def _own(suffix: str, payload: dict[str, Any], delivery: Delivery, content_type: str = "application/json") -> _Channel:
    name = suffix.partition("/{")[0].replace("/", "_")
    return _Channel(name, f"{BASE}/{suffix}", payload, delivery, content_type=content_type)


def _command(verb: requests.Verb) -> _Channel:
    address = f"{BASE}/{topics.COMMAND}/{{user}}/{verb}"
    return _Channel(f"cmd_{verb}", address, _schema(requests.shape_of(verb)), COMMAND_DELIVERY, receives=True)


def _channel(one: _Channel) -> dict[str, Any]:
    named = {name: {"description": words} for name, words in _PARAMETERS.items() if f"{{{name}}}" in one.address}
    return {
        "address": one.address,
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"}},
        "parameters": named,
    }


def _operation(one: _Channel) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"qos": one.delivery.qos, "retain": one.delivery.retain, "bindingVersion": "0.2.0"}
    if one.delivery.expiry_s is not None:
        mqtt["messageExpiryInterval"] = one.delivery.expiry_s
    operation: dict[str, Any] = {
        "action": "receive" if one.receives else "send",
        "channel": {"$ref": f"#/channels/{one.name}"},
        "messages": [{"$ref": f"#/channels/{one.name}/messages/{one.name}"}],
        "bindings": {"mqtt": mqtt},
    }
    if one.receives:
        operation["reply"] = {
            "channel": {"$ref": "#/channels/reply"},
            "messages": [{"$ref": "#/channels/reply/messages/reply"}],
        }
    return operation


def _message(one: _Channel, shown: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": one.name,
        "contentType": one.content_type,
        "payload": {"$ref": f"#/components/schemas/{one.name}"},
    }
    if one.name in shown:
        message["examples"] = [{"payload": shown[one.name]}]
    return message


def _with_examples(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """A schema whose properties each show the value that they have in its example."""
    if "properties" not in schema:
        return schema
    found = {name: {**one, "examples": [example[name]]} for name, one in schema["properties"].items()}
    return {**schema, "properties": found}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    # A device writes all its fields always; who commands may leave out what has a default.
    sent = issubclass(model, payloads.Payload)
    schema = model.model_json_schema(by_alias=True, mode="serialization" if sent else "validation")
    if sent:
        schema["required"] = list(schema["properties"])
    plain: dict[str, Any] = _without_titles(schema)
    return plain


def _without_titles(value: Any) -> Any:
    """Leave out the titles that pydantic makes from names: they say nothing new."""
    if isinstance(value, dict):
        return {key: _without_titles(one) for key, one in value.items() if key != "title" or isinstance(one, dict)}
    return [_without_titles(one) for one in value] if isinstance(value, list) else value


def _presence() -> dict[str, Any]:
    words = "Plain text. `online` once all states are out; `offline` before a clean end, or as the last will."
    return {"type": "string", "enum": ["online", "offline"], "description": words}


def _picture() -> dict[str, Any]:
    words = f"A candidate's picture, at most {MAX_BYTES} bytes; off by default."
    return {"type": "string", "format": "binary", "maxLength": MAX_BYTES, "description": words}


def _discovery() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Home Assistant's device discovery; off by default. Its form is Home Assistant's.",
        "required": ["device", "origin", "components", "availability"],
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]))
