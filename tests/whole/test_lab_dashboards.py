"""The files for the lab's dashboards read what devices really say: held field by field against the schemas."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "deploy" / "dashboards"
JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "string": "string"}


@pytest.fixture(scope="module")
def schemas():
    """By the topic below the device's base."""
    contract = json.loads((ROOT / "docs" / "mqtt" / "asyncapi.json").read_text())
    found = {}
    for name, channel in contract["channels"].items():
        suffix = re.sub(r"{\w+}", "+", channel["address"].removeprefix("fnrbc/v1/{site}/{device}/"))
        found[suffix] = contract["components"]["schemas"][name]["properties"] if name.startswith(STATES) else {}
    return found


STATES = ("status", "session", "tally", "health", "summary", "result", "alarm")


@pytest.fixture(scope="module")
def inputs():
    return tomllib.loads((DASHBOARDS / "telegraf.conf").read_text())["inputs"]["mqtt_consumer"]


def types_of(schema):
    return {one.get("type", "boolean") for one in schema.get("anyOf", [schema])}


def test_telegraf_reads_fields_that_are_said_with_their_types(inputs, schemas):
    assert len({one["client_id"] for one in inputs}) == len(inputs)
    for one in inputs:
        (topic,), (parsing,), (parser,) = one["topics"], one["topic_parsing"], one["json_v2"]
        assert parsing["topic"] == topic
        assert len(parsing["tags"].split("/")) == len(topic.split("/"))
        properties = schemas[topic.removeprefix("fnrbc/v1/+/+/")]
        assert parser["timestamp_path"] in properties
        for field in parser["field"]:
            types = types_of(properties[field["path"]])
            assert JSON_TYPES[field["type"]] in types, field
            assert field.get("optional", False) == ("null" in types), field
        for tag in parser.get("tag", []):
            assert types_of(properties[tag["path"]]) == {"string"}


def test_grafana_asks_for_what_telegraf_writes(inputs):
    written = {one["name_override"]: {field["path"] for field in one["json_v2"][0]["field"]} for one in inputs}
    tags = {"site", "device"} | {tag["path"] for one in inputs for tag in one["json_v2"][0].get("tag", [])}
    dashboard = json.loads((DASHBOARDS / "grafana.json").read_text())
    queries = [target["query"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= 10
    for query in queries:
        (measurement,) = re.findall(r'FROM "(\w+)"', query)
        fields = set(re.findall(r'(?<!AS )"(\w+)"', query.split(" FROM ")[0]))
        assert fields, query
        assert fields <= written[measurement], query
        groups = query.split("GROUP BY")[1]
        assert set(re.findall(r'"(\w+)"', groups)) <= tags, query
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.fixture(scope="module")
def flow():
    return {node["id"]: node for node in json.loads((DASHBOARDS / "node-red.json").read_text())}


def test_every_wire_and_every_group_of_the_flow_leads_somewhere(flow):
    for node in flow.values():
        assert all(to in flow for port in node.get("wires", []) for to in port)
        for key in ("broker", "group", "page", "ui", "theme"):
            assert node["type"] == "mqtt-broker" or not node.get(key) or node[key] in flow, (node["id"], key)


def test_the_flow_reads_fields_that_are_said(flow, schemas):
    shown = flow["fnrbc-now"]["format"]
    shorts = {"tally": r"(?:d\.tally|\bt)\??\.", "health": r"d\.health\??\.", "session": r"d\.session\??\."}
    for kind, short in {**shorts, "result": r"(?:d\.result|\bt)\??\."}.items():
        fields = set(re.findall(short + r"(\w+)", shown))
        assert fields, kind
        assert fields <= schemas[kind].keys(), kind
    topics = {node["topic"].removeprefix("fnrbc/v1/+/+/") for node in flow.values() if node["type"] == "mqtt in"}
    assert topics <= schemas.keys()


RUNNER = """
const memory = {};
const flow = { get: (key) => memory[key], set: (key, value) => { memory[key] = value; } };
const collect = new Function('msg', 'flow', CODE);
console.log(JSON.stringify(MESSAGES.map((msg) => collect(msg, flow)).at(-1)));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_flow_keeps_one_entry_a_device_and_forgets_alarms_that_are_over(flow):
    base = "fnrbc/v1/lab/scope-1"
    tally = {"fnrbc": 3, "fnrbc_per_100_leukocytes": 7.5}
    messages = [
        {"topic": f"{base}/availability", "payload": "online"},
        {"topic": "fnrbc/v1/lab/scope-2/availability", "payload": "offline"},
        {"topic": f"{base}/alarm/camera_lost", "payload": {"active": True, "detail": "plug it in"}},
        {"topic": f"{base}/alarm/camera_frozen", "payload": {"active": True, "detail": "check its cable"}},
        {"topic": f"{base}/alarm/camera_lost", "payload": {"active": False, "detail": ""}},
        {"topic": f"{base}/tally", "payload": tally},
    ]
    script = RUNNER.replace("CODE", json.dumps(flow["fnrbc-collect"]["func"])).replace("MESSAGES", json.dumps(messages))
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=20)
    devices, point = json.loads(ran.stdout)
    assert [one["device"] for one in devices["payload"]] == ["scope-1", "scope-2"]
    first = devices["payload"][0]
    assert (first["online"], first["tally"], list(first["alarms"])) == (True, tally, ["camera_frozen"])
    assert point == {"topic": "scope-1", "payload": 7.5}
