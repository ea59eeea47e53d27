"""Grafana's queries find what devices said: asked of a real InfluxDB, into which it is written as Telegraf would."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from fnrbc_device.contract.states import AlarmNow
from fnrbc_device.health import Health
from fnrbc_device.host.clock import SystemClock, iso_utc
from fnrbc_device.journal.epochs import LogState
from fnrbc_device.mqtt.state_reporter import StateReporter
from fnrbc_device.records import Interval, Tally
from mosquitto import free_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "dashboards"
MACROS = {"$timeFilter": "time > now() - 1h", "$__interval": "10s", "$site": ".*", "$device": ".*"}
CONF = """
reporting-disabled = true
bind-address = "127.0.0.1:{other}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
"""

pytestmark = pytest.mark.skipif(shutil.which("influxd") is None, reason="influxdb is not installed")


class Influx:
    """InfluxDB's HTTP interface, version 1."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, query):
        words = urllib.parse.urlencode({"q": query, "db": "fnrbc"}).encode()
        with urllib.request.urlopen(f"{self._url}/query", words, timeout=10) as answer:
            (result,) = json.load(answer)["results"]
        assert "error" not in result, (query, result)
        return result.get("series", [])

    def write(self, lines):
        urllib.request.urlopen(f"{self._url}/write?db=fnrbc", "\n".join(lines).encode(), timeout=10).close()


@pytest.fixture(scope="module")
def influx(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("influx"), free_port()
    (folder / "influxdb.conf").write_text(CONF.format(folder=folder, port=port, other=free_port()))
    command = ["influxd", "-config", str(folder / "influxdb.conf")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        influx, deadline = Influx(port), time.monotonic() + 20
        try:
            while True:
                try:
                    influx.ask("CREATE DATABASE fnrbc")
                    break
                except OSError:
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    time.sleep(0.1)
            yield influx
        finally:
            server.terminate()


class Said:
    """Keeps the states that a device says."""

    status = SimpleNamespace(backlog=3)

    def __init__(self):
        self.states = []

    def set_state(self, suffix, payload):
        self.states.append((suffix, json.loads(payload.to_json())))

    def cert_days_left(self):
        return 200


def a_session():
    """All the states of a short session, and an alarm."""
    said = Said()
    reporter = StateReporter(said, "scope-1", "b", "simulated", SystemClock())
    reporter.introduce(LogState("00ff", 1, "", 0))
    reporter.begin("s1", datetime.now(timezone.utc), 1)
    health = Health("counting", ("focus_lost",), 30.0, 100.0, 0.9, 12.5, 20.0)
    tally = Tally(5, 2, 3, fnrbc_per_100_leukocytes=Interval(66.7, 20.0, 150.0), leukocytes_to_go=90, frames=10)
    reporter.tell(tally, 6)
    reporter.tell_health(health, 6)
    reporter.end(tally, 7, datetime.now(timezone.utc), True)
    now = iso_utc(datetime.now(timezone.utc))
    alarm = AlarmNow(device="scope-1", ts=now, log_seq=7, code="camera_lost", active=True, detail="plug it in")
    return [*said.states, ("alarm/camera_lost", json.loads(alarm.to_json()))]


def as_telegraf(reading, suffix, fields):
    """The line that Telegraf writes of a message, by its configuration; None where it reads no such topic."""
    topic = f"fnrbc/v1/lab/scope-1/{suffix}"
    (pattern,), (parsing,), (parser,) = reading["topics"], reading["topic_parsing"], reading["json_v2"]
    if not re.fullmatch(pattern.replace("+", "[^/]+"), topic):
        return None
    parts = zip(parsing["tags"].split("/"), topic.split("/"), strict=True)
    tags = {name: value for name, value in parts if name != "_"}
    tags |= {tag["path"]: fields[tag["path"]] for tag in parser.get("tag", []) if fields[tag["path"]]}
    read = {one["path"]: fields[one["path"]] for one in parser["field"] if fields[one["path"]] is not None}
    whole = {one["path"] for one in parser["field"] if one["type"] == "int"}
    at = datetime.fromisoformat(fields[parser["timestamp_path"]].replace("Z", "+00:00"))
    written = ",".join(f"{name}={json.dumps(value)}{'i' * (name in whole)}" for name, value in read.items())
    labels = "".join(f",{name}={value}" for name, value in tags.items())
    return f"{reading['name_override']}{labels} {written} {int(at.timestamp() * 1000)}000000"


def test_every_panel_finds_what_was_said(influx):
    readings = tomllib.loads((DASHBOARDS / "telegraf.conf").read_text())["inputs"]["mqtt_consumer"]
    lines = [as_telegraf(reading, *one) for one in a_session() for reading in readings]
    written = [line for line in lines if line]
    assert len(written) >= 5
    influx.write(written)

    dashboard = json.loads((DASHBOARDS / "grafana.json").read_text())
    choices = [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    assert [influx.ask(filled(query))[0]["values"][0][1] for query in choices] == ["lab", "scope-1"]
    for query in (filled(target["query"]) for panel in dashboard["panels"] for target in panel["targets"]):
        series = influx.ask(query)
        if "derivative" not in query:  # of a single point there is none
            assert series, query
            assert any(value is not None for row in series[0]["values"] for value in row[1:]), query


def filled(query):
    """Put in what Grafana puts in for its variables, with everything chosen."""
    for macro, value in MACROS.items():
        query = query.replace(macro, value)
    assert "$" not in query.replace("$/", ""), query
    return query
