"""Sessions over real cameras on loopback: cut off in the middle, named, back, and the count as if nothing had been."""

import json
import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path, recorded, run_daemon, standing

# PyGObject before 3.44, which Debian 12 and Ubuntu 22.04 have, imports in a way that Python 3.11 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")

NAMED_S, BACK_S = 2.0, 5.0
FRAMES, FPS = 120, 25
PASSING = {"camera_incomplete", "camera_slow"}
"""Gaps that a busy machine makes on its own."""


class Running:
    """A session in a thread."""

    def __init__(self, folder, source, pixel_size_um):
        folder.mkdir(exist_ok=True)
        self.live, self.stop, self.folder = LiveView(), threading.Event(), folder
        setup = Setup(
            source=source,
            bundle=load_bundle(None),
            pixel_size_um=pixel_size_um,
            journal_path=folder / "journal.sqlite",
            mqtt=MqttSettings(enabled=False),
            live=self.live,
        )
        self._thread = threading.Thread(target=Daemon(setup).run, args=(self.stop,), name="counting")
        self._thread.start()

    def wait_for(self, condition, seconds=30.0):
        """Seconds until a snapshot fits."""
        started, seq = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            shown = self.live.wait_newer(seq, 1.0)
            if shown is not None and condition(shown.snapshot):
                return time.monotonic() - started
            seq = shown.seq if shown else seq
        raise AssertionError(f"not within {seconds} s")

    def frames(self):
        return len(recorded(self.folder, "SELECT 1 FROM frames"))

    def end(self):
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def is_lost(snapshot):
    return "camera_lost" in snapshot.health.reasons


def is_well(snapshot):
    return snapshot.step is not None and not is_lost(snapshot)


def gaps(folder):
    """Why there were pictures missing, by the record."""
    reasons = [json.loads(note)["reason"] for (note,) in recorded(folder, "SELECT note FROM audit WHERE kind = 'gap'")]
    return [reason for reason in reasons if reason not in PASSING]


def test_a_gige_camera_that_is_cut_off_in_a_session_is_named_comes_back_and_no_cell_is_invented(aravis, fake, tmp_path):
    fake.start()
    camera = WatchedCamera("gige", lambda: aravis("", Tuning(fps=FPS)), FPS, 0.1)
    session = Running(tmp_path / "gige", camera, 0.1)
    session.wait_for(lambda one: one.step is not None and one.step.tally.frames > 20)
    fake.kill()
    named_s = session.wait_for(is_lost)
    time.sleep(1.0)
    fake.start()
    back_s = session.wait_for(is_well)
    before = session.frames()
    session.wait_for(lambda one: one.step is not None and one.step.tally.frames > before + 20)
    session.end()
    # The opening that hung in the camera's library, and was left behind, ends in its own time.
    for thread in [one for one in threading.enumerate() if one.name == "camera"]:
        thread.join(20)

    assert named_s < NAMED_S
    assert back_s < BACK_S + 2.0  # the reason stays for two seconds, so that a person can read it
    assert gaps(session.folder) == ["camera_lost"]
    assert standing(session.folder) == {}
    frames = [frame for (frame,) in recorded(session.folder, "SELECT frame FROM frames ORDER BY frame")]
    assert len(set(frames)) == len(frames)
    assert prove(session.folder / "journal.sqlite").fault == ""


class Sender:
    """A microscope at the other end of a TCP connection; the hand waits while nobody is connected."""

    def __init__(self, slide):
        self._microscope = SimulatedMicroscope(slide, calm_path(slide, FRAMES), seed=7, frame_shape=SHAPE)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._away, self._done, self.shown, self._last = threading.Event(), threading.Event(), 0, None
        self._server.settimeout(0.05)
        self._thread = threading.Thread(target=self._run, name="sender")
        self._thread.start()

    def cut(self, seconds):
        self._away.set()
        timer = threading.Timer(seconds, self._away.clear)
        timer.start()
        timer.join()

    def close(self):
        self._done.set()
        self._thread.join(10)
        self._server.close()

    def _run(self):
        while not self._done.is_set():
            if self._away.is_set():
                time.sleep(0.02)
                continue
            with suppress(TimeoutError):
                connection, _ = self._server.accept()
                with connection, suppress(OSError):
                    self._send(connection)

    def _send(self, connection):
        while not (self._away.is_set() or self._done.is_set()):
            frame = self._microscope.read()
            if frame is not None:
                self.shown, self._last = frame.index + 1, frame.image
            noise = os.urandom(64)  # a sensor never gives one picture twice
            picture = bytearray(self._last.tobytes())
            picture[: len(noise)] = noise
            connection.sendall(picture)
            time.sleep(1 / FPS)


PIPELINE = (
    "tcpclientsrc host=127.0.0.1 port={port} ! rawvideoparse width={width} height={height} format=rgb framerate=25/1"
)


def test_a_pipeline_that_is_cut_off_in_a_session_costs_no_cell(gstreamer, tmp_path):
    slide = SimulatedSlide.make(79, "giemsa", 30)
    (tmp_path / "whole").mkdir()
    run_daemon(slide, FRAMES, tmp_path / "whole", "recording")
    sender = Sender(slide)
    pipeline = PIPELINE.format(port=sender.port, width=SHAPE[1], height=SHAPE[0])
    camera = WatchedCamera("pipeline", lambda: gstreamer(pipeline), FPS, slide.pixel_size_um)
    session = Running(tmp_path / "cut", camera, slide.pixel_size_um)
    session.wait_for(lambda one: one.step is not None and one.step.tally.frames > 40)
    threading.Thread(target=sender.cut, args=(1.5,)).start()
    named_s, back_s = session.wait_for(is_lost), session.wait_for(is_well)
    deadline = time.monotonic() + 60
    while sender.shown < FRAMES:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    session.end()
    sender.close()

    assert named_s < NAMED_S
    assert back_s < 1.5 + BACK_S + 2.0  # the reason stays for two seconds, so that a person can read it
    assert len(standing(tmp_path / "cut")) == len(standing(tmp_path / "whole")) > 5
    assert gaps(tmp_path / "cut") == ["camera_lost"]
    assert camera.lost_pictures == 0  # this pipeline does not number its pictures
    assert prove(tmp_path / "cut" / "journal.sqlite").fault == ""
