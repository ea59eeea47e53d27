"""The contract for people: a page of Markdown made from the AsyncAPI document alone."""

import json
from typing import Any, Final

_HEAD: Final = """# What a device says and hears over MQTT

Made from [asyncapi.json](asyncapi.json) by `python -m fnrbc_device.contract.asyncapi docs/mqtt`; do not edit.

{description}

Three kinds of message:

- **log** (`log/...`): each record once, in order, through an outbox that survives kills and power cuts. A consumer
  takes `seq` = last + 1, drops what is not above its last, and asks for the rest of a gap with `replay`. The three
  of device, epoch and seq name a record for ever; a new `epoch` is a new journal, which counts from 1. `fnrbc follow`
  does all this. In `log/cell` the machine counts (`reader` 0), which alone makes `tally` and `summary`, and people
  decide (`reader` 1): the newest of a cell's records with `reader` 1 says by `review` and `class` how it stands.
- **state**: retained, the newest value only. `log_seq` is the last record that it includes.
- **command and reply**: never retained, gone soon. A command older than 30 s, repeated, retained, malformed, larger
  than 2 kB or not possible as things stand is refused with the reason, on record in `log/audit`.

"""

_SIGNS: Final = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "maxLength": "length <=",
}


def page(document: dict[str, Any]) -> str:
    """Write the page.

    Parameters
    ----------
    document
        AsyncAPI 3.
    """
    parts = [_HEAD.format(description=document["info"]["description"]), _overview(document)]
    for name, operation in document["operations"].items():
        parts.append(_section(document, name, operation))
    return "\n".join(parts)


def _overview(document: dict[str, Any]) -> str:
    rows = ["| topic | direction | QoS | retained | expires |", "|---|---|---|---|---|"]
    for name, operation in document["operations"].items():
        mqtt = operation["bindings"]["mqtt"]
        expires = f"{mqtt['messageExpiryInterval']} s" if "messageExpiryInterval" in mqtt else "never"
        direction = "from the device" if operation["action"] == "send" else "to the device"
        address = document["channels"][name]["address"]
        rows.append(f"| [`{address}`](#{name}) | {direction} | {mqtt['qos']} | {_yes(mqtt['retain'])} | {expires} |")
    return "\n".join(rows) + "\n"


def _section(document: dict[str, Any], name: str, operation: dict[str, Any]) -> str:
    schema = document["components"]["schemas"][name]
    address = document["channels"][name]["address"]
    lines = [f"## {name}", "", f"`{address}`", "", _flowing(schema.get("description", ""))]
    if "properties" in schema:
        lines += ["", "| field | type | meaning | example |", "|---|---|---|---|"]
        lines += [
            f"| `{field}` | {_type(of)} | {_meaning(of)} | `{json.dumps(of['examples'][0])}` |"
            for field, of in schema["properties"].items()
        ]
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{str(schema['const']).lower() if isinstance(schema['const'], bool) else schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{one}`" if one else "empty" for one in schema["enum"])
    return str(schema["type"]) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    return "".join(f", {sign} {schema[key]:g}" for key, sign in _SIGNS.items() if key in schema)


def _meaning(schema: dict[str, Any]) -> str:
    return _flowing(schema.get("description", "")).replace("|", "\\|")


def _flowing(words: str) -> str:
    return " ".join(words.replace("``", "`").split())


def _yes(value: bool) -> str:
    return "yes" if value else "no"
