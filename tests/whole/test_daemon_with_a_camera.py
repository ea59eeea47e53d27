"""The daemon over a camera that is unplugged in the middle of a session: the count is right, the gap on record."""

import json
import threading
import time

import pytest

from attended import Cable
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import SourceError
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path, recorded, run_daemon, standing

FRAMES, FPS = 160, 40.0
PATIENCE_S = 0.2
"""So long the hand waits for who counts, that a busy machine drops no picture; the camera is not silent meanwhile."""


class Healths(LiveView):
    def __init__(self):
        super().__init__()
        self.said = []
        self.taken = 0

    def show(self, snapshot):
        self.said.append((time.monotonic(), snapshot.health.reasons))
        if snapshot.step is not None:
            self.taken = snapshot.step.tally.frames + snapshot.step.tally.frames_dropped
        super().show(snapshot)


class PatientMicroscope(SimulatedMicroscope):
    """Its hand goes on when the picture before the last one is counted."""

    def follow(self, live):
        self._live, self._given = live, 0
        return self

    def read(self):
        deadline = time.monotonic() + PATIENCE_S
        while self._given - self._live.taken > 1 and time.monotonic() < deadline:
            time.sleep(0.002)
        self._given += 1
        return super().read()


@pytest.fixture(scope="module")
def slide():
    return SimulatedSlide.make(79, "giemsa", 30)


@pytest.fixture
def count(slide, tmp_path):
    def run(folder, pulls=(), give_up_s=60.0):
        live = Healths()
        microscope = PatientMicroscope(slide, calm_path(slide, FRAMES), seed=7, frame_shape=SHAPE, fps=FPS).follow(live)
        pulled, done = threading.Event(), threading.Event()
        camera = WatchedCamera(
            "cable", lambda: Cable(microscope, pulled, done), FPS, slide.pixel_size_um, give_up_s=give_up_s
        )
        (tmp_path / folder).mkdir(exist_ok=True)
        setup = Setup(
            source=camera,
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=tmp_path / folder / "journal.sqlite",
            mqtt=MqttSettings(enabled=False),
            live=live,
        )
        stop = threading.Event()

        def hand():
            for after_s, seconds in pulls:
                time.sleep(after_s)
                pulled.set()
                time.sleep(seconds)
                pulled.clear()
            done.wait(120)
            stop.set()

        thread = threading.Thread(target=hand)
        thread.start()
        try:
            Daemon(setup).run(stop)
        finally:
            done.set()
            thread.join()
        return live

    return run


def test_a_cable_that_is_pulled_costs_no_cell_and_is_on_record(count, slide, tmp_path):
    (tmp_path / "whole").mkdir()
    run_daemon(slide, FRAMES, tmp_path / "whole", "recording")
    started = time.monotonic()
    live = count("pulled", pulls=[(1.2, 1.2)])

    assert len(standing(tmp_path / "pulled")) == len(standing(tmp_path / "whole")) > 5
    named = [at for at, reasons in live.said if "camera_lost" in reasons]
    assert started < named[0]
    noted = recorded(tmp_path / "pulled", "SELECT frame, note FROM audit WHERE kind = 'gap'")
    gaps = [(frame, json.loads(note)) for frame, note in noted]
    # Beside it, on a busy machine, stands that pictures come slowly: the hand waits.
    ((frame, gap),) = [one for one in gaps if one[1]["reason"] != "camera_slow"]
    assert gap["reason"] == "camera_lost"
    assert 0.8 < gap["seconds"] < 6.0
    assert recorded(tmp_path / "pulled", f"SELECT 1 FROM frames WHERE frame = {frame}") == [(1,)]
    assert prove(tmp_path / "pulled" / "journal.sqlite").fault == ""


def test_a_camera_that_stays_away_ends_the_process_and_not_the_session(count, tmp_path):
    with pytest.raises(SourceError, match="has given no good picture for"):
        count("pulled", pulls=[(0.8, 3.5)], give_up_s=0.5)
    assert recorded(tmp_path / "pulled", "SELECT ended_utc FROM sessions") == [(None,)]

    count("pulled")

    assert recorded(tmp_path / "pulled", "SELECT ended_utc IS NOT NULL FROM sessions") == [(1,)]
    frames = [frame for (frame,) in recorded(tmp_path / "pulled", "SELECT frame FROM frames ORDER BY frame")]
    assert frames == sorted(set(frames))
