"""What all tests share: nothing may be left running, and real MQTT brokers to speak to, on loopback only."""

import importlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fnrbc_device.mqtt.embedded_broker import EmbeddedBroker
from mosquitto import Mosquitto, free_port, mosquitto_path

LEFTOVER_GRACE_S = 5.0
"""A thread that was told to end may still be on its way out when the test function returns."""

SOON_S = 60.0
"""What surely comes about is waited for so long: a machine that does much else at once takes its time."""


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or a listening socket behind."""
    before = _running()
    yield
    deadline = time.monotonic() + LEFTOVER_GRACE_S
    while (left := _running() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left running: {', '.join(sorted(left))}"


def _running() -> set[str]:
    threads = {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}
    return threads | _children() | _listening()


def _children() -> set[str]:
    """Child processes of this one, zombies included. Empty where the system does not tell."""
    found = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids = task.read_text().split()
        except OSError:  # the thread ended while we looked
            continue
        found |= {f"process {pid} ({_name(pid)})" for pid in pids}
    return found


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _listening() -> set[str]:
    """TCP sockets of this process that listen. Empty where the system does not tell."""
    ours = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            ours.add(str(descriptor.readlink()))
        except OSError:  # closed while we looked
            continue
    found = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        if Path(table).exists():
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found |= {f"listener {row[1]}" for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours}
    return found


FAKES = Path(__file__).parent / "fakes"
"""Stand in for packages that come with a GPU."""

FAKED = ("tensorrt", "pycuda.driver", "pycuda")


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A TensorRT and a pycuda that keep the rules, here and in child processes; what was allocated must be freed."""
    for name in FAKED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    gpu = SimpleNamespace(trt=importlib.import_module("tensorrt"), cuda=importlib.import_module("pycuda.driver"))
    yield gpu
    assert gpu.cuda._leaked() == []
    for name in FAKED:
        sys.modules.pop(name, None)


@pytest.fixture(name="free_port")
def a_free_port() -> int:
    """A port on loopback on which nothing listens."""
    return free_port()


class Broker(Protocol):
    """What the tests ask of a broker."""

    @property
    def port(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start mosquittos, with an access list where one is given."""
    brokers: list[Mosquitto] = []

    def make(acl: str = "") -> Mosquitto:
        if mosquitto_path() is None:
            pytest.skip("mosquitto is not installed")
        folder = tmp_path / f"mosquitto-{len(brokers)}"
        folder.mkdir()
        brokers.append(Mosquitto(folder, acl))
        brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    return make_mosquitto()


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    pytest.importorskip("iotcore", reason="the embedded broker's package iotcore is not installed")
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["mosquitto", "embedded_broker"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the brokers that the appliance is promised to work with."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@dataclass(frozen=True)
class Heard:
    topic: str
    raw: bytes
    retained: bool

    @property
    def payload(self) -> str:
        return self.raw.decode()

    @property
    def fields(self) -> dict[str, object]:
        found = json.loads(self.payload)
        assert isinstance(found, dict)
        return found


class Listener:
    """An independent client: subscribes, keeps what it hears, comes back when the broker does."""

    def __init__(self, port: int, topic: str = "#", client_id: str = "listener") -> None:
        self.heard: list[Heard] = []
        self._topic = topic
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _user, message: self.heard.append(
            Heard(message.topic, bytes(message.payload), message.retain)
        )
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's is untyped
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(SOON_S)

    def _on_connect(self, *_: object) -> None:
        self._client.subscribe(self._topic, qos=1)

    def wait_for(self, what: Callable[[list[Heard]], bool], timeout_s: float = SOON_S) -> list[Heard]:
        deadline = time.monotonic() + timeout_s
        while not what(self.heard):
            assert time.monotonic() < deadline, f"heard only {self.heard[-10:]} ({len(self.heard)} in all)"
            time.sleep(0.02)
        return list(self.heard)

    def on(self, suffix: str) -> list[Heard]:
        return [one for one in list(self.heard) if one.topic.endswith(f"/{suffix}")]

    def log(self) -> list[Heard]:
        return [one for one in list(self.heard) if "/log/" in one.topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None


class Operator:
    """An independent client that gives commands and hears the answers."""

    def __init__(self, port: int, base: str, user: str) -> None:
        self._base, self._user = base, user
        self._replies = Listener(port, f"{base}/reply/{user}", f"replies-to-{user}")
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"operator-{user}", protocol=paho.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, verb: str, request: str | None = None, *, retain: bool = False, **fields: object) -> str:
        """Give a command and do not wait; returns its id."""
        request = request or uuid.uuid4().hex
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.send_raw(verb, json.dumps({"id": request, "ts": now, **fields}).encode(), retain=retain)
        return request

    def send_raw(self, verb: str, payload: bytes, *, retain: bool = False) -> None:
        topic = f"{self._base}/cmd/{self._user}/{verb}"
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def ask(self, verb: str, request: str | None = None, **fields: object) -> dict[str, object]:
        """Give a command and wait for its answer."""
        heard = len(self._replies.heard)
        self.send(verb, request, **fields)  # type: ignore[arg-type]  # fields of the payload
        self._replies.wait_for(lambda all_heard: len(all_heard) > heard)
        return self._replies.heard[-1].fields

    def ask_at_most(self, verb: str, seconds: float) -> dict[str, object] | None:
        """Give a command; its answer, or None where nobody gives one in time."""
        request = self.send(verb)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for reply in self.replies():
                if reply["request"] == request:
                    return reply
            time.sleep(0.02)
        return None

    def replies(self) -> list[dict[str, object]]:
        return [one.fields for one in list(self._replies.heard)]

    def close(self) -> None:
        self._replies.close()
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def operate() -> Iterator[Callable[..., Operator]]:
    operators: list[Operator] = []

    def make(port: int, base: str = "fnrbc/v1/lab/fnrbc", user: str = "anna") -> Operator:
        operators.append(Operator(port, base, user))
        return operators[-1]

    yield make
    for operator in operators:
        operator.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def make(port: int, topic: str = "#", client_id: str = "listener") -> Listener:
        listeners.append(Listener(port, topic, client_id))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()
