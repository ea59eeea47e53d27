"""The watch over a camera: whatever it does is named within two seconds, and it goes on when the camera does."""

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fnrbc_device.camera.driver import Picture
from fnrbc_device.camera.faults import BLACK, WHITE, CameraFaults
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.errors import SourceError
from fnrbc_device.health import REASONS
from fnrbc_device.records import BadFrame, Frame

FPS = 50.0
NAMED_WITHIN_S = 2.0


def noise(index: int, level: int = 120, shape: tuple[int, ...] = (64, 80, 3)) -> np.ndarray:
    rng = np.random.default_rng(index)
    return np.clip(level + rng.normal(0, 3, shape), 0, 255).astype(np.uint8)


class Acting:
    """A camera that keeps the rules of a driver, and acts up when it is told to."""

    def __init__(self, stage: "Stage") -> None:
        self.name, self.settings = "acting", {}
        self._stage = stage
        if stage.act == "unplugged":
            raise SourceError("acting camera is not there")

    def grab(self, timeout_s: float) -> Picture | None:
        time.sleep(1 / FPS)
        stage = self._stage
        index = next(stage.numbers)
        if stage.act == "unplugged":
            raise SourceError("acting camera is gone")
        if stage.act == "hangs":
            stage.released.wait(20)
        if stage.act == "silent":
            return None
        if stage.act == "slow":
            time.sleep(0.2)
        image = {
            "frozen": lambda: noise(0),
            "repeating": lambda: noise(index % 8),
            "black": lambda: noise(index, 1),
            "white": lambda: np.full((64, 80, 3), 255, np.uint8),
            "small": lambda: noise(index, shape=(32, 40, 3)),
            "grey": lambda: noise(index, shape=(64, 80)),
            "sixteen bits": lambda: noise(index).astype(np.uint16),
            "nothing": lambda: np.zeros((0, 0, 3), np.uint8),
        }.get(stage.act, lambda: noise(index))()
        fault = "packets were lost" if stage.act == "incomplete" else ""
        return Picture(image, time.monotonic(), index, fault)

    def close(self) -> None:
        self._stage.closed += 1


class Stage:
    def __init__(self) -> None:
        self.act = ""
        self.numbers = itertools.count()
        self.released = threading.Event()
        self.closed = 0


class Reader:
    """Reads a camera in a thread of its own, as the daemon does."""

    def __init__(self, camera: WatchedCamera) -> None:
        self.camera = camera
        self.frames: list[Frame | BadFrame] = []
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while (frame := self.camera.read()) is not None:
                self.frames.append(frame)
        except SourceError as error:
            self.fault = error

    def wait_for(self, what, within_s: float) -> float:
        start = time.monotonic()
        while not what():
            assert time.monotonic() - start < within_s, (self.camera.trouble, len(self.frames))
            time.sleep(0.01)
        return time.monotonic() - start

    def close(self) -> None:
        self.camera.close()
        self._thread.join(5)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def reader(stage: Stage) -> Iterator[Reader]:
    reader = Reader(WatchedCamera("acting", lambda: Acting(stage), FPS, 0.125, give_up_s=3.0))
    yield reader
    stage.released.set()
    reader.close()


ACTS = {
    "unplugged": "camera_lost",
    "hangs": "camera_lost",
    "silent": "camera_lost",
    "frozen": "camera_frozen",
    "repeating": "camera_repeating",
    "black": "camera_black",
    "white": "camera_white",
    "small": "camera_wrong_format",
    "grey": "camera_wrong_format",
    "sixteen bits": "camera_wrong_format",
    "nothing": "camera_wrong_format",
    "slow": "camera_slow",
    "incomplete": "camera_incomplete",
}


@pytest.mark.parametrize(("act", "reason"), ACTS.items())
def test_whatever_a_camera_does_is_named_and_it_goes_on_when_that_is_over(reader, stage, act, reason):
    reader.wait_for(lambda: len(reader.frames) >= 10, 5)
    assert reader.camera.trouble == ""

    stage.act = act
    reader.wait_for(lambda: reader.camera.trouble == reason, NAMED_WITHIN_S)
    stage.act = ""
    stage.released.set()
    reader.wait_for(lambda: reader.camera.trouble == "", 5.0)
    good = len(reader.frames)
    reader.wait_for(lambda: len(reader.frames) >= good + 10, 5)

    gaps = [gap for gap in reader.camera.take_gaps() if gap.reason == reason]
    assert len(gaps) == 1
    assert 0.0 < gaps[0].seconds < 8
    assert reader.camera.take_gaps() == []
    indices = [frame.index for frame in reader.frames]
    assert indices == sorted(set(indices))
    assert reason in REASONS


def test_a_camera_that_is_not_there_at_the_start_is_waited_for(stage):
    stage.act = "unplugged"
    reader = Reader(WatchedCamera("acting", lambda: Acting(stage), FPS, 0.125))
    reader.wait_for(lambda: reader.camera.trouble == "camera_lost", NAMED_WITHIN_S)
    stage.act = ""

    reader.wait_for(lambda: len(reader.frames) >= 5, 5)
    assert isinstance(reader.frames[0], Frame)
    reader.close()


def test_a_camera_that_never_comes_back_is_given_up_on_loudly(reader, stage):
    reader.wait_for(lambda: len(reader.frames) >= 5, 5)
    stage.act = "unplugged"

    reader.wait_for(lambda: reader.fault is not None, 8)

    assert "camera acting has given no good picture for" in str(reader.fault)
    assert "openings did not help; check its cable" in str(reader.fault)


def test_pictures_that_never_came_leave_their_numbers_out(reader, stage):
    reader.wait_for(lambda: len(reader.frames) >= 5, 5)
    for _ in range(7):
        next(stage.numbers)
    reader.wait_for(lambda: reader.camera.lost_pictures >= 7, 5)
    reader.close()

    indices = [frame.index for frame in reader.frames]
    assert indices[-1] - indices[0] + 1 == len(indices) + reader.camera.lost_pictures


def test_a_driver_that_is_left_is_closed(reader, stage):
    reader.wait_for(lambda: len(reader.frames) >= 5, 5)
    reader.close()

    assert stage.closed == reader.camera.opened == 1


@pytest.mark.parametrize("level", [BLACK + 6, 40, 200, WHITE - 10])
def test_dark_and_bright_fields_are_no_fault_of_the_camera(level):
    faults = CameraFaults(30.0)

    assert {faults.see(noise(index, level), index / 30) for index in range(90)} == {""}


def test_one_picture_seen_twice_is_no_frozen_camera():
    faults = CameraFaults(30.0)

    assert {faults.see(noise(index // 2), index / 30) for index in range(120)} == {""}
