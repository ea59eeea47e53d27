"""Sessions that the lab starts and ends over a real broker: each once, on record with who asked for it."""

import json
import threading
import time

import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.snapshot import LiveView

B = "fnrbc/v1/lab/bench"
SOON_S = 30.0


class Device:
    """A daemon in a thread, over a simulated slide, that begins nothing by itself."""

    def __init__(self, slide, port, folder):
        self.control, self.stop, self.journal_path = SessionControl(), threading.Event(), folder / "journal.sqlite"
        setup = Setup(
            source=SimulatedMicroscope(slide, seed=5, fps=15),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=self.journal_path,
            mqtt=MqttSettings(port=port, device="bench"),
            live=LiveView(),
            start="by_hand",
            control=self.control,
        )
        self._thread = threading.Thread(target=lambda: Daemon(setup).run(self.stop), name="counting")
        self._thread.start()

    def end(self):
        self.stop.set()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def slide():
    return SimulatedSlide.make(5, "giemsa", 40)


@pytest.fixture
def begin(slide, tmp_path):
    devices = []

    def start(port):
        devices.append(Device(slide, port, tmp_path))
        return devices[-1]

    yield start
    for device in devices:
        device.end()


def wait_for_online(listener):
    listener.wait_for(lambda _: [one.payload for one in listener.on("availability")][-1:] == ["online"], SOON_S)


def test_each_start_by_command_is_one_session_and_every_other_start_is_none(mosquitto, listen, operate, begin, slide):
    listener, operator = listen(mosquitto.port), operate(mosquitto.port, B)
    operator.send("start", "kept-by-the-broker", retain=True)
    device = begin(mosquitto.port)
    wait_for_online(listener)

    def answered(*verbs):
        return [
            (one.fields["verb"], one.fields["code"]) for one in listener.on("log/audit") if one.fields["verb"] in verbs
        ]

    def refused(verb, code, **fields):
        reply = operator.ask(verb, **fields)
        assert (reply["accepted"], reply["code"]) == (False, code), reply

    # What is retained, old or says more than a start can say begins nothing.
    listener.wait_for(lambda _: ("start", "retained") in answered("start"), SOON_S)
    refused("start", "stale", ts="2026-03-01T12:00:00Z")
    refused("start", "malformed", specimen="A 17")
    refused("stop", "wrong_state")
    assert [one.fields["state"] for one in listener.on("session")] == ["idle"]

    # From idle, and again when finished; the same id in between is the same start.
    for number in (1, 2):
        assert operator.ask("start", f"start-{number}")["state"] == "starting"
        assert device.control.wait("running", SOON_S)
        refused("start", "wrong_state")
        assert operator.ask("start", f"start-{number}")["repeated"]
        assert operator.ask("stop")["state"] == "stopping"
        assert device.control.wait("finished", SOON_S)
        reply = operator.ask("start", f"start-{number}")
        assert (reply["repeated"], reply["state"]) == (True, "starting")
    time.sleep(0.6)  # longer than the daemon takes to look
    assert device.control.state == "finished"
    device.end()

    listener.wait_for(lambda heard: heard[-1].payload == "offline")
    log = [one.fields for one in listener.on("log/session")]
    assert [one["event"] for one in log] == ["started", "finished", "started", "finished"]
    assert len({one["session"] for one in log}) == 2
    assert answered("start").count(("start", "")) == 2
    accepted = [one.fields for one in listener.on("log/audit") if one.fields["outcome"] == "accepted"]
    assert [(one["user"], one["verb"]) for one in accepted] == [("anna", "start"), ("anna", "stop")] * 2
    seqs = [one.fields["seq"] for one in listener.log()]
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1))
    assert prove(device.journal_path).fault == ""


def test_a_start_that_the_broker_delivers_again_after_a_restart_begins_nothing(mosquitto, listen, operate, begin):
    listener, operator = listen(mosquitto.port), operate(mosquitto.port, B)
    first = begin(mosquitto.port)
    wait_for_online(listener)
    assert operator.ask("start", "once")["accepted"]
    assert first.control.wait("running", SOON_S)
    assert operator.ask("stop", "twice")["accepted"]
    assert first.control.wait("finished", SOON_S)
    first.end()
    listener.wait_for(lambda _: [one.payload for one in listener.on("availability")][-1] == "offline")

    second = begin(mosquitto.port)
    wait_for_online(listener)
    reply = operator.ask("start", "once")
    assert (reply["repeated"], reply["accepted"]) == (True, True)
    assert operator.ask("ping")["state"] == "idle"
    assert second.control.state == "idle"
    records = [json.loads(one.payload) for one in listener.on("log/audit")]
    assert [(one["request"], one["code"]) for one in records] == [("once", ""), ("twice", ""), ("once", "repeated")]
