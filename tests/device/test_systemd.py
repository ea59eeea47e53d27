"""The unit and the daemon's words to systemd, over a real socket."""

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "systemd"


class Listener:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)

    def heard(self) -> str:
        return self.socket.recv(4096).decode()

    def all_heard(self) -> list[str]:
        self.socket.settimeout(0.05)
        found = []
        while True:
            try:
                found.append(self.heard())
            except TimeoutError:
                return found


@pytest.fixture(params=["path", "abstract"])
def address(request, tmp_path):
    return str(tmp_path / "notify") if request.param == "path" else f"@fnrbc-test-{os.getpid()}"


@pytest.fixture
def listener(address):
    listener = Listener(address)
    yield listener
    listener.socket.close()


def test_the_words_reach_systemd(listener, address):
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    notifier.extend()
    notifier.ready()
    notifier.status("counting")
    notifier.status("counting")
    notifier.stopping()

    assert listener.all_heard() == [
        "EXTEND_TIMEOUT_USEC=60000000",
        "READY=1",
        "WATCHDOG=1",
        "STATUS=counting",
        "STOPPING=1",
    ]


def test_the_watchdog_is_fed_by_frames_and_not_more_often_than_needed(listener, address):
    now = [0.0]
    notifier = Notifier(address, 30.0, lambda: now[0])
    for frame in range(900):
        now[0] = frame / 30
        notifier.alive()

    assert listener.all_heard() == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "1000000"}, {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x"}]
)
def test_where_nobody_listens_it_is_silent(environment):
    notifier = Notifier.from_environment(environment)
    notifier.ready()
    notifier.alive()
    notifier.stopping()


def test_a_watchdog_meant_for_another_process_is_not_fed(listener, address):
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    Notifier.from_environment(environment).alive()

    assert listener.all_heard() == []


@pytest.fixture
def analyse():
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_the_unit_has_nothing_that_systemd_does_not_know(analyse, tmp_path):
    unit = (DEPLOY / "fnrbc.service").read_text().replace("/opt/fnrbc/current/bin/fnrbc", "/bin/true")
    (tmp_path / "fnrbc.service").write_text(unit)
    run = subprocess.run([analyse, "verify", str(tmp_path / "fnrbc.service")], capture_output=True, text=True)

    assert (run.returncode, run.stderr) == (0, "")


def test_the_unit_may_do_little(analyse):
    unit = str(DEPLOY / "fnrbc.service")
    run = subprocess.run(
        [analyse, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout[-300:]


class Standing(SimulatedMicroscope):
    """Its pictures stop when it is told to, as those of a hung pipeline do."""

    hold: threading.Event

    def read(self):
        while self.hold.is_set() and not self._closed.is_set():
            time.sleep(0.01)
        return super().read()


def test_a_daemon_says_ready_feeds_the_watchdog_and_stops_feeding_when_it_stands_still(tmp_path):
    address = str(tmp_path / "notify")
    listener = Listener(address)
    slide = SimulatedSlide.make(80, "giemsa", 4)
    source = Standing(slide, np.full((2000, 2), 20.0), seed=1, frame_shape=(480, 640), fps=30)
    source.hold = threading.Event()
    stop = threading.Event()
    setup = Setup(
        source=source,
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=tmp_path / "journal.sqlite",
        mqtt=MqttSettings(enabled=False),
        live=LiveView(),
        notifier=Notifier(address, 0.8),
    )
    session = threading.Thread(target=Daemon(setup).run, args=(stop,))
    session.start()
    words = [listener.heard()]
    while words.count("WATCHDOG=1") < 3:
        words.append(listener.heard())
    source.hold.set()
    # A busy machine counts the frames that wait first, in its own time. A timer would be heard in each second.
    while_standing, deadline = ["WATCHDOG=1"], time.monotonic() + 30
    while "WATCHDOG=1" in while_standing and time.monotonic() < deadline:
        listener.all_heard()
        time.sleep(1.0)
        while_standing = listener.all_heard()
    stop.set()
    session.join(20)
    last = listener.all_heard()
    listener.socket.close()

    assert words.index("READY=1") < words.index("WATCHDOG=1")
    assert "WATCHDOG=1" not in while_standing
    assert "STOPPING=1" in last
