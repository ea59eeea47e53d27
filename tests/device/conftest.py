"""Frames that changed a count, a journal with a session in it and publishers of it; and cameras that are real ones."""

import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.errors import ConfigError
from fnrbc_device.host.atomic_file import held
from fnrbc_device.journal.journal import Journal
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import BadFrame, CountEvent, Frame, Pose, SessionMeta, Step, Tally, Verdict

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
FAKE = "arv-fake-gv-camera-0.8"
GIGE_ADDRESS = "0100007F:0F74"
"""127.0.0.1:3956, where a GigE Vision camera listens, as the system lists it."""

CLASSES = (
    ("fnrbc", "target"),
    ("leukocyte", "denominator"),
    ("other", "ignored"),
    ("indeterminate", "ignored"),
)


def step(index: int, cells: list[int], event: str = "counted", reason: str = "") -> Step:
    """A frame that changed the count of some cells. The class goes by the cell's number."""
    events = [_count_event(cell, event, index) for cell in cells]
    frame = Frame(index, index / 30, np.zeros((4, 4, 3), np.uint8), f"{index:06d}.jpg")
    bad = BadFrame(index, index / 30, "unreadable", "nothing in it")
    return Step(
        frame=bad if reason else frame,
        pose=None if reason else Pose(1, 1.5 * index, 2.5 * index),
        reason=reason or None,  # type: ignore[arg-type]
        marks=[],
        events=events,
        tally=Tally(),
        speed_um_s=0.0,
        sharpness=1.0,
        stages_ms={},
    )


def _count_event(cell: int, event: str, frame: int) -> CountEvent:
    class_name, role = CLASSES[cell % 4]
    verdict = Verdict(class_name, role, 0.9, 0.9 if role == "target" else 0.1)  # type: ignore[arg-type]
    return CountEvent(
        event=event,  # type: ignore[arg-type]
        cell=cell,
        verdict=verdict,
        island=1,
        row_px=10.25 * cell,
        col_px=3.125 * cell,
        x_um=1.0 * cell,
        y_um=2.0 * cell,
        diameter_um=10.5,
        nucleus_ratio=0.4,
        views=3,
        best_frame=frame,
        reason="seen three times",
    )


@pytest.fixture
def make_step() -> Callable[..., Step]:
    return step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is, or will be."""
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A journal with a session begun."""
    with Journal.open(path) as journal:
        started = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
        journal.begin("s1", started, SessionMeta("0.1.0", "b", "simulation", 0.125))
        yield journal


@pytest.fixture
def publish(path: Path, journal: Journal) -> Iterator[Callable[..., Publisher]]:
    """Start publishers of the journal, and stop them after the test."""
    publishers: list[Publisher] = []

    def start(port: int, **settings: object) -> Publisher:
        publishers.append(Publisher(path, MqttSettings(port=port, **settings)))  # type: ignore[arg-type]
        publishers[-1].start()
        return publishers[-1]

    yield start
    assert all(publisher.stop(10.0) for publisher in publishers)


@pytest.fixture
def bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's GObject bindings, which no wheel brings."""
    if importlib.util.find_spec("gi") is None:
        if not (SYSTEM_PACKAGES / "gi").exists():
            pytest.skip("python3-gi is not installed")
        (tmp_path / "bindings").mkdir()
        (tmp_path / "bindings" / "gi").symlink_to(SYSTEM_PACKAGES / "gi")
        monkeypatch.syspath_prepend(str(tmp_path / "bindings"))
    try:
        importlib.import_module("gi")
    except ImportError as error:
        for name in [name for name in sys.modules if name.split(".")[0] == "gi"]:
            del sys.modules[name]
        pytest.skip(f"the system's gi is for another Python: {error}")


@pytest.fixture
def aravis(bindings: None) -> type:
    from fnrbc_device.camera.aravis import AravisDriver, import_aravis

    try:
        import_aravis()
    except ConfigError as error:
        pytest.skip(str(error))
    if shutil.which(FAKE) is None:
        pytest.skip(f"{FAKE} is not installed")
    return AravisDriver


class FakeCamera:
    """Aravis' GigE Vision camera, as a process on loopback."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [FAKE, "-i", "127.0.0.1", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while GIGE_ADDRESS not in Path("/proc/net/udp").read_text():
            assert self._process.poll() is None, f"{FAKE} ended"
            assert time.monotonic() < deadline, f"{FAKE} does not listen"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None


@pytest.fixture
def fake() -> Iterator[FakeCamera]:
    # GigE Vision has one port, and tests run side by side.
    with held(Path(tempfile.gettempdir()) / "fnrbc-tests-gige.lock", 200.0):
        fake = FakeCamera()
        yield fake
        fake.kill()


@pytest.fixture
def gstreamer(bindings: None) -> type:
    from fnrbc_device.camera.gstreamer import GStreamerDriver, import_gstreamer

    try:
        import_gstreamer()
    except ConfigError as error:
        pytest.skip(str(error))
    return GStreamerDriver
