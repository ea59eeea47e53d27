"""A daemon in a thread whose sessions a test starts; a camera's cable and the power, which can be pulled."""

import contextlib
import threading
import time
from dataclasses import replace

from fnrbc_device.camera.driver import Picture
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.counting_session import CountingSession
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import SourceError
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path

SOON_S = 30.0
FRAMES = 6000
"""More than any test sees, at 60 a second."""


class PowerLost(Exception):
    pass


@contextlib.contextmanager
def power_lost():
    """Sessions stop without an end meanwhile."""

    def lose(session):
        raise PowerLost

    finish = CountingSession._finish
    CountingSession._finish = lose
    try:
        yield
    finally:
        CountingSession._finish = finish


class Cable:
    """The driver of a simulated microscope, whose cable can be pulled; the hand waits meanwhile."""

    name = "simulated"

    def __init__(self, microscope, pulled, done=None):
        self.settings = {"exposure_us": "100"}
        self._microscope, self._pulled, self._done = microscope, pulled, done or threading.Event()
        self._require_cable()

    def grab(self, timeout_s):
        self._require_cable()
        frame = self._microscope.read()
        if frame is None:
            self._done.set()
            time.sleep(timeout_s)
            return None
        return Picture(frame.image, frame.captured_at_s, frame.index)

    def close(self):
        pass

    def _require_cable(self):
        if self._pulled.is_set():
            raise SourceError("unplugged")


class Device:
    """A daemon in a thread, over a simulated slide at 60 frames/s where nothing else is given."""

    def __init__(self, folder, **changes):
        slide = SimulatedSlide.make(5, "giemsa", 40)
        self.control = SessionControl()
        self.live = LiveView()
        self.stop = threading.Event()
        self.journal_path = folder / "journal.sqlite"
        self.ended_with = None
        setup = Setup(
            source=SimulatedMicroscope(slide, calm_path(slide, FRAMES), seed=5, frame_shape=SHAPE, fps=60),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=self.journal_path,
            mqtt=MqttSettings(enabled=False),
            live=self.live,
            start="by_hand",
            control=self.control,
        )
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(replace(setup, **changes), ready), name="counting")
        self.thread.start()
        assert ready.wait(SOON_S)

    def shown(self, condition):
        """Wait until the page shows something."""
        seq = 0
        for _ in range(2000):
            shown = self.live.wait_newer(seq, SOON_S)
            assert shown is not None
            if condition(shown.snapshot):
                return shown.snapshot
            seq = shown.seq
        raise AssertionError("never shown")

    def ask(self, verb, plan=None):
        self.control.ask(verb, lambda: None, plan)

    def end(self):
        self.stop.set()
        self.thread.join(SOON_S)

    def _run(self, setup, ready):
        try:
            Daemon(setup).run(self.stop, ready.set)
        except Exception as error:  # noqa: BLE001 - whatever ends it, the test looks at it
            self.ended_with = error
