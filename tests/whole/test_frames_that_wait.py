"""Frames that wait for the counting when a session is held or ends: each is counted, or told as dropped."""

import threading

import pytest

from attended import SOON_S, Device
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon import recorder
from fnrbc_device.daemon.capture import WAITING
from fnrbc_device.errors import DiskFullError
from fnrbc_device.journal.proof import prove
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path, recorded

BEFORE = 8
"""Frames that are counted before some have to wait."""


class HandedCamera:
    """A live camera that hands over so many frames as a test lets it, and says when they are handed over."""

    name = "handed"

    def __init__(self, microscope):
        self.pixel_size_um = microscope.pixel_size_um
        self._microscope = microscope
        self._changed = threading.Condition()
        self._allowed = self._asked = 0
        self._closed = False

    def read(self):
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._asked <= self._allowed or self._closed, SOON_S)
            return None if self._closed or self._asked > self._allowed else self._microscope.read()

    def hand_over(self, frames):
        with self._changed:
            self._allowed += frames
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked > self._allowed, SOON_S)

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class SlowPage(LiveView):
    """A page that holds the counting up after one frame."""

    def __init__(self, frame):
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.frames = set()
        """Numbers of those that were shown."""
        self._frame = frame

    def show(self, snapshot):
        if snapshot.step is not None:
            self.frames.add(snapshot.step.frame.index)
        super().show(snapshot)
        if snapshot.step is not None and snapshot.step.frame.index == self._frame:
            self.reached.set()
            assert self.go_on.wait(SOON_S)


@pytest.fixture
def camera():
    slide = SimulatedSlide.make(5, "giemsa", 40)
    return HandedCamera(SimulatedMicroscope(slide, calm_path(slide, 200), seed=5, frame_shape=SHAPE))


@pytest.fixture
def device(tmp_path, camera):
    """A device whose counting is held up, while as many frames wait as may."""
    page = SlowPage(BEFORE - 1)
    device = Device(tmp_path, source=camera, live=page, start="at_once")
    device.live = page
    for number in range(BEFORE):
        camera.hand_over(1)
        device.shown(lambda _, number=number: number in page.frames)
    assert page.reached.wait(SOON_S)
    camera.hand_over(WAITING)
    yield device
    page.go_on.set()
    device.end()


def on_record(folder, device):
    """Numbers of the frames on record, and how many were told as dropped at last."""
    assert prove(folder / "journal.sqlite").fault == ""
    frames = [frame for (frame,) in recorded(folder, "SELECT frame FROM frames ORDER BY frame")]
    return frames, device.live.newest().snapshot.tally.frames_dropped


@pytest.mark.parametrize("who", ["a person", "the system"])
def test_what_waits_when_a_session_is_ended_is_counted(device, tmp_path, who):
    device.stop.set() if who == "the system" else device.ask("stop")
    device.live.go_on.set()
    assert device.control.wait("finished", SOON_S)
    device.end()

    assert device.ended_with is None
    assert on_record(tmp_path, device) == (list(range(BEFORE + WAITING)), 0)


def test_what_waits_when_the_camera_ends_is_counted(device, camera, tmp_path):
    camera.close()
    device.live.go_on.set()
    device.thread.join(SOON_S)

    assert on_record(tmp_path, device) == (list(range(BEFORE + WAITING)), 0)


@pytest.mark.parametrize("afterwards", ["ended", "gone on with"])
def test_what_waits_when_a_session_is_held_is_counted_and_what_comes_while_it_is_held_is_not(
    device, camera, tmp_path, afterwards
):
    device.ask("pause")
    device.live.go_on.set()
    device.shown(lambda one: one.state == "paused")
    camera.hand_over(2)
    expected = list(range(BEFORE + WAITING))
    if afterwards == "gone on with":
        device.shown(lambda _: BEFORE + WAITING + 1 in device.live.frames)
        device.ask("resume")
        camera.hand_over(1)
        device.shown(lambda _: BEFORE + WAITING + 2 in device.live.frames)
        expected.append(BEFORE + WAITING + 2)
    device.ask("stop")
    assert device.control.wait("finished", SOON_S)
    device.end()

    assert on_record(tmp_path, device) == (expected, 0)


def test_what_waits_when_the_disk_is_full_is_told_as_dropped(device, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CLOSE_AT_BYTES", 10**18)
    device.live.go_on.set()
    device.thread.join(SOON_S)

    assert isinstance(device.ended_with, DiskFullError)
    assert on_record(tmp_path, device) == (list(range(BEFORE + 1)), WAITING - 1)


def test_what_waits_for_a_session_that_is_ended_and_for_which_there_is_no_room_is_told_as_dropped(
    device, tmp_path, monkeypatch
):
    monkeypatch.setattr(recorder, "CLOSE_AT_BYTES", 10**18)
    device.ask("stop")
    device.live.go_on.set()
    device.thread.join(SOON_S)

    assert isinstance(device.ended_with, DiskFullError)
    assert on_record(tmp_path, device) == (list(range(BEFORE + 1)), WAITING - 1)
