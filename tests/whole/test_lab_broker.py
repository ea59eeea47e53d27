"""The lab's broker as it is shipped: who may say and hear what, tried from outside over TLS."""

import os
import shutil
import ssl
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fnrbc_device.errors import ConfigError
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.mqtt.certificates import WARN_DAYS, days_left, not_after
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import SessionMeta
from mosquitto import Mosquitto, free_port, mosquitto_path

DEPLOY = Path(__file__).parents[2] / "deploy" / "mqtt"
USERS = ("scope-1", "scope-2", "wall", "anna", "bert", "store")
B1, B2 = "fnrbc/v1/lab/scope-1", "fnrbc/v1/lab/scope-2"
STATES = ("availability", "status", "session", "tally", "health", "summary", "log/cell", "alarm/x", "thumb/7")

pytestmark = [
    pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def certificates(*words, days=397):
    command = [str(DEPLOY / "make-certificates"), *map(str, words)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=30, env=os.environ | {"DAYS": str(days)}
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, a broker and everybody of the example roster; one whose time has passed, and another authority."""
    folder = tmp_path_factory.mktemp("pki")
    folder.chmod(0o755)
    certificates("authority", folder)
    certificates("broker", folder, "localhost", "127.0.0.1")
    for user in (*USERS, "stranger"):
        certificates("client", folder, user)
    (folder / "expired").mkdir()
    for name in ("ca.crt", "ca.key"):
        shutil.copy(folder / name, folder / "expired" / name)
    certificates("client", folder / "expired", "scope-1", days=-1)
    certificates("client", folder / "expired", "scope-2", days=5)
    (folder / "elsewhere").mkdir()
    for name in ("ca.crt", "ca.key"):
        shutil.copy(folder / name, folder / "elsewhere" / name)
    certificates("broker", folder / "elsewhere", "broker.example")
    certificates("authority", folder / "foreign")
    certificates("client", folder / "foreign", "scope-1")
    certificates("broker", folder / "foreign", "localhost", "127.0.0.1")
    return folder


@pytest.fixture
def lab(pki, tmp_path):
    """The shipped configuration, its paths and ports put where a test may write."""
    broker = lab_broker(pki, tmp_path, pki)
    broker.start()
    yield broker
    broker.stop()


def lab_broker(pki, tmp_path, own):
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    acl = subprocess.run(
        [str(DEPLOY / "make-acl")], input=(DEPLOY / "roster.example").read_text(), capture_output=True, text=True,
        check=True, timeout=10,
    ).stdout  # fmt: skip
    (folder / "fnrbc.acl").write_text(acl)
    (folder / "fnrbc.passwd").touch()
    port, plain = free_port(), free_port()
    conf = (DEPLOY / "mosquitto.conf").read_text()
    for old, new in {
        "/etc/mosquitto/certs/ca.crt": str(pki / "ca.crt"),
        "/etc/mosquitto/certs": str(own),
        "/etc/mosquitto": str(folder),
        "/var/lib/mosquitto/": f"{folder}/",
        "listener 8883": f"listener {port} 127.0.0.1",
        "listener 1883": f"listener {plain}",
    }.items():
        assert old in conf
        conf = conf.replace(old, new)
    broker = Mosquitto(folder, conf=conf, port=port)
    broker.plain = plain
    return broker


class Person:
    """A client with a certificate: says whether the broker let it do something, and keeps what it hears."""

    def __init__(self, port, pki, name, authority=None):
        self.heard, self._answers, self._connected = [], [], threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"test-{name}", protocol=paho.MQTTv5)
        context = ssl.create_default_context(cafile=str((authority or pki) / "ca.crt"))
        context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
        self._client.tls_set_context(context)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = lambda _client, _user, message: self.heard.append(message.topic)
        self._client.on_publish = lambda *given: self._answers.append(given[3].is_failure)
        self._client.connect("localhost", port)
        self._client.loop_start()

    def _on_connect(self, *_):
        self._client.subscribe("#", qos=1)
        self._connected.set()

    def may_write(self, topic):
        """Mosquitto 2.0 ends the connection after a refusal, so each try may wait for a new one."""
        deadline = time.monotonic() + 10
        while not self._client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.01)
        known = len(self._answers)
        self._client.publish(topic, "x", qos=1)
        while len(self._answers) == known:
            assert time.monotonic() < deadline, f"no answer to {topic}"
            time.sleep(0.005)
        return not self._answers[-1]

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = self._client.on_publish = None


@pytest.fixture
def enter(lab, pki):
    people = []

    def make(name):
        people.append(Person(lab.port, pki, name))
        assert people[-1]._connected.wait(10)
        return people[-1]

    yield make
    for person in people:
        person.close()


@pytest.mark.parametrize(
    ("who", "may", "may_not"),
    [
        (
            "scope-1",
            [*(f"{B1}/{one}" for one in STATES), f"{B1}/reply/anna"],
            [f"{B2}/tally", f"{B1}/cmd/anna/stop"],
        ),
        ("anna", [f"{B1}/cmd/anna/stop", f"{B2}/cmd/anna/ping"], [f"{B1}/cmd/bert/stop", f"{B1}/tally"]),
        ("wall", [], [f"{B1}/cmd/wall/stop", f"{B1}/tally"]),
        ("store", [f"{B1}/cmd/store/replay"], [f"{B1}/cmd/store/stop", f"{B1}/log/cell"]),
        ("stranger", [], [f"{B1}/cmd/stranger/ping", "anything"]),
    ],
)
def test_each_may_write_its_own_topics_and_nothing_else(enter, who, may, may_not):
    person = enter(who)
    assert [topic for topic in may if not person.may_write(topic)] == []
    assert [topic for topic in may_not if person.may_write(topic)] == []


def test_each_hears_what_it_is_entitled_to_and_nothing_else(enter):
    people = {name: enter(name) for name in (*USERS, "stranger")}
    for base, name in ((B1, "scope-1"), (B2, "scope-2")):
        for suffix in (*STATES, "reply/anna", "reply/bert", "reply/store"):
            assert people[name].may_write(f"{base}/{suffix}")
    for name in ("anna", "bert"):
        assert people[name].may_write(f"{B1}/cmd/{name}/ping")
    said = {f"{base}/{suffix}" for base in (B1, B2) for suffix in STATES}
    entitled = {
        "wall": said,
        **{name: said | {f"{base}/reply/{name}" for base in (B1, B2)} for name in ("anna", "bert", "store")},
        "scope-1": {f"{B1}/cmd/anna/ping", f"{B1}/cmd/bert/ping"},
        "scope-2": set(),
        "stranger": set(),
    }
    deadline = time.monotonic() + 30
    while any(entitled[name] - set(people[name].heard) for name in entitled) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert {name: set(person.heard) for name, person in people.items()} == entitled


def test_nobody_anonymous_gets_in(lab, pki):
    reasons = []
    client = paho.Client(CallbackAPIVersion.VERSION2, "nobody", protocol=paho.MQTTv5)
    client.on_connect = lambda *given: reasons.append(given[3])
    client.connect("127.0.0.1", lab.plain)
    deadline = time.monotonic() + 5
    while not reasons and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    client.on_connect = None
    assert reasons[0].is_failure
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    bare = paho.Client(CallbackAPIVersion.VERSION2, "no-certificate", protocol=paho.MQTTv5)
    bare.tls_set_context(context)
    with pytest.raises(OSError, match=r"certificate required|EOF|reset"):
        refused_by(bare, lab.port)


def refused_by(client, port):
    """With TLS 1.3 the broker says so only at the first read."""
    client.connect("localhost", port)
    if client.loop(2.0) or client.loop(2.0):
        raise OSError("EOF")


def test_plain_text_is_spoken_on_loopback_only():
    lines = (DEPLOY / "mosquitto.conf").read_text().splitlines()
    listeners = [line.split()[1:] for line in lines if line.startswith("listener")]
    assert listeners == [["1883", "127.0.0.1"], ["8883"]]
    assert not any(line.startswith("protocol websockets") for line in lines)


def settings(port, folder, pki, name="scope-1", **more):
    return MqttSettings(
        host="localhost", port=port, device=name, ca_file=pki / "ca.crt", cert_file=folder / f"{name}.crt",
        key_file=folder / f"{name}.key", **more,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.sqlite"
    with Journal.open(path, "scope-1") as journal:
        journal.begin("s1", datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
    return path


def alarms(path):
    outbox = Outbox(path)
    found = [one.payload for one in outbox.pending(0, 100) if one.topic == "log/alarm"]
    outbox.close()
    return found


def test_a_device_with_its_certificate_delivers_over_tls(lab, pki, path):
    publisher = Publisher(path, settings(lab.port, pki, pki))
    publisher.start()
    assert publisher.flush(15)
    assert publisher.stop(10)
    assert (publisher.status.acked, publisher.status.refused) == (1, 0)


@pytest.mark.parametrize(("which", "says"), [("expired", "ended on "), ("foreign", "does not accept the certificate")])
def test_a_certificate_that_is_refused_raises_an_alarm_and_counting_goes_on(lab, pki, path, which, says):
    publisher = Publisher(path, settings(lab.port, pki / which, pki))
    publisher.start()
    with Journal.open(path, "scope-1") as journal:
        deadline = time.monotonic() + 15
        while not any("broker_refused" in one for one in alarms(path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        journal.begin("s2", datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
    assert not publisher.status.connected
    assert says in publisher.status.last_error
    assert publisher.stop(10)
    assert sum("broker_refused" in one and "raised" in one for one in alarms(path)) == 1


@pytest.mark.parametrize("whose", ["foreign", "elsewhere"])
def test_a_broker_that_cannot_prove_who_it_is_gets_nothing(pki, tmp_path, path, whose):
    broker = lab_broker(pki, tmp_path, pki / whose)
    broker.start()
    publisher = Publisher(path, settings(broker.port, pki, pki))
    publisher.start()
    deadline = time.monotonic() + 15
    while not publisher.status.last_error and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped, status = publisher.stop(10), publisher.status
    broker.stop()
    assert stopped
    assert "is not trusted" in status.last_error
    assert status.acked == 0


def test_a_certificate_near_its_end_raises_an_alarm(pki, tmp_path):
    path = tmp_path / "journal.sqlite"
    Journal.open(path, "scope-2").close()
    ours = settings(free_port(), pki / "expired", pki, "scope-2")
    assert days_left(ours.cert_file, datetime.now(timezone.utc)) in (4, 5)
    publisher = Publisher(path, ours)
    publisher.start()
    deadline = time.monotonic() + 10
    while not alarms(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert publisher.stop(10)
    assert "certificate_expiring" in alarms(path)[0]
    assert f"the limit is {WARN_DAYS}" in alarms(path)[0]


def test_the_end_of_a_certificate_is_read_as_openssl_reads_it(pki):
    for file in [*pki.glob("*.crt"), *pki.glob("*/*.crt")]:
        command = ["openssl", "x509", "-enddate", "-noout", "-in", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        ends = datetime.strptime(said, "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=timezone.utc)
        assert not_after(ssl.PEM_cert_to_DER_cert(file.read_text())) == ends


def test_what_is_no_certificate_is_said_to_be_none(pki):
    der = ssl.PEM_cert_to_DER_cert((pki / "ca.crt").read_text())
    for cut in range(0, 120, 7):
        with pytest.raises(ValueError, match=r"certificate|data"):
            not_after(der[:cut])


def test_a_certificate_that_cannot_be_used_stops_the_start_with_the_cure(pki, path):
    wrong = settings(1, pki, pki).model_copy(update={"key_file": pki / "anna.key"})
    publisher = Publisher(path, wrong)
    with pytest.raises(ConfigError, match="the key beside its certificate"):
        publisher.start()
    assert publisher.stop(1)


def test_a_far_certificate_is_not_warned_of(pki):
    ours = settings(1, pki, pki)
    assert days_left(ours.cert_file, datetime.now(timezone.utc) + timedelta(days=300)) in (96, 97)


@pytest.mark.parametrize("roster", ["boss anna lab", "operator Anna lab", "operator anna", "operator anna lab more"])
def test_a_roster_that_is_not_right_is_refused_with_its_line(roster):
    refused = subprocess.run(
        [str(DEPLOY / "make-acl")], input=f"# who\n{roster}\n", capture_output=True, text=True, timeout=10
    )
    assert refused.returncode == 2
    assert "line 2" in refused.stderr
