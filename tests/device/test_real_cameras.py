"""Real cameras: GigE Vision over loopback, and real GStreamer pipelines."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.driver import Driver
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.camera.uvc import UvcDriver, device_path
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.errors import ConfigError, SourceError
from fnrbc_device.records import BadFrame, Frame

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
FAKE = "arv-fake-gv-camera-0.8"

# PyGObject before 3.44, which Debian 12 and Ubuntu 22.04 have, imports in a way that Python 3.11 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")


def read_for(camera: WatchedCamera, seconds: float) -> list[Frame | BadFrame]:
    frames, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        frame = camera.read()
        assert frame is not None
        frames.append(frame)
    return frames


def test_a_gige_camera_delivers_at_its_rate_and_every_picture_has_its_number(aravis, fake):
    fake.start()
    camera = WatchedCamera("gige", lambda: aravis("", Tuning(fps=25.0)), 25.0, 0.1)
    read_for(camera, 0.5)
    lost, frames = camera.lost_pictures, read_for(camera, 2.5)
    camera.close()

    good = [frame for frame in frames if isinstance(frame, Frame)]
    indices = [frame.index for frame in frames]
    assert indices[-1] - indices[0] + 1 == len(indices) + camera.lost_pictures - lost
    assert len(good) >= 35
    assert good[0].image.shape == (512, 512, 3)
    assert not good[0].image.flags.writeable


def test_what_the_camera_has_is_set_and_read_back(aravis, fake):
    fake.start()
    driver: Driver = aravis("", Tuning(fps=20.0, exposure_us=5000.0, gain=2.0))
    driver.close()

    assert driver.settings == {"format": "RGB8", "exposure_us": "5000.0", "gain": "2.0", "fps": "20.0"}


def test_a_gige_camera_that_loses_packets_is_named(aravis, fake):
    fake.start("-r", "20")
    camera = WatchedCamera("gige", lambda: aravis("", Tuning(fps=25.0)), 25.0, 0.1)
    reasons, until = set(), time.monotonic() + 2.0
    while time.monotonic() < until and "camera_incomplete" not in reasons:
        camera.read()
        reasons.add(camera.trouble)
    camera.close()

    assert "camera_incomplete" in reasons


def test_a_gige_camera_that_is_cut_off_is_named_and_comes_back(aravis, fake):
    fake.start()
    camera = WatchedCamera("gige", lambda: aravis("", Tuning(fps=25.0)), 25.0, 0.1)
    read_for(camera, 1.0)
    fake.kill()
    cut_s, named_s = time.monotonic(), 0.0
    reader = threading.Thread(target=lambda: read_for(camera, 4.0))
    reader.start()
    while camera.trouble != "camera_lost":  # a picture cut in two is named first
        assert time.monotonic() - cut_s < 3.0
        time.sleep(0.01)
    named_s = time.monotonic() - cut_s
    fake.start()
    started_s = time.monotonic()
    while camera.trouble:
        assert time.monotonic() - started_s < 8.0
        time.sleep(0.01)
    back_s = time.monotonic() - started_s
    reader.join(10)
    camera.close()

    assert named_s < 2.0
    assert back_s < 5.0
    assert [gap.reason for gap in camera.take_gaps()].count("camera_lost") == 1  # beside packets lost on a busy machine


def test_without_a_camera_the_error_names_the_cure(aravis):
    with pytest.raises(SourceError, match=r"camera nobody-42 does not answer .* check its cable"):
        aravis("nobody-42", Tuning())


LIVE = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=322,height=240,framerate=25/1"


def test_a_pipeline_delivers_colour_pictures_at_its_rate(gstreamer):
    camera = WatchedCamera("pipeline", lambda: gstreamer(LIVE), 25.0, 0.1)
    frames = read_for(camera, 1.5)
    camera.close()

    assert len(frames) >= 25
    assert {frame.image.shape for frame in frames} == {(240, 322, 3)}
    assert frames[-1].index - frames[0].index + 1 == len(frames) + camera.lost_pictures
    assert camera.trouble == ""


def test_a_pipeline_that_ends_is_named_and_played_again(gstreamer):
    camera = WatchedCamera("pipeline", lambda: gstreamer(LIVE.replace("true", "true num-buffers=20", 1)), 25.0, 0.1)
    frames = read_for(camera, 3.2)
    camera.close()

    assert len(frames) > 30
    assert camera.opened >= 3
    assert {gap.reason for gap in camera.take_gaps()} == {"camera_lost"}


@pytest.mark.parametrize("pattern", ["black", "white"])
def test_a_pipeline_that_shows_nothing_is_named(gstreamer, pattern):
    camera = WatchedCamera("pipeline", lambda: gstreamer(LIVE.replace("snow", pattern)), 25.0, 0.1)
    read_for(camera, 1.8)
    camera.close()

    assert camera.trouble == f"camera_{pattern}"


def test_colours_come_in_their_order(gstreamer):
    driver = gstreamer(LIVE.replace("snow", "red"))
    picture = None
    while picture is None:
        picture = driver.grab(1.0)
    driver.close()

    assert tuple(picture.image[100, 100]) == pytest.approx((255, 0, 0), abs=3)


def test_a_pipeline_that_cannot_be_read_is_wrong_configuration(gstreamer):
    with pytest.raises(ConfigError, match=r"cannot be read .* try it with gst-launch-1\.0"):
        gstreamer("nosuchelement")


def test_a_pipeline_that_does_not_play_says_why(gstreamer):
    with pytest.raises(SourceError, match="does not play"):
        gstreamer("filesrc location=/nowhere ! decodebin")


class Capture:
    """Keeps the rules of ``cv2.VideoCapture`` on a camera that has no gain."""

    def __init__(self, opened: bool = True) -> None:
        self.opened, self.values, self.released = opened, {}, False
        self._picture = np.zeros((48, 64, 3), np.uint8)
        self._picture[..., 0] = 200  # blue: OpenCV gives BGR

    def isOpened(self) -> bool:
        return self.opened

    def set(self, number: int, value: float) -> bool:
        if number == cv2.CAP_PROP_GAIN:
            return False
        self.values[number] = value
        return True

    def get(self, number: int) -> float:
        return self.values.get(number, -1.0)

    def read(self):
        return True, self._picture.copy()

    def release(self) -> None:
        self.released = True


def test_a_usb_camera_is_fixed_read_back_and_gives_rgb():
    capture = Capture()
    driver = UvcDriver("usb-Lab_Cam-0", Tuning(fps=30.0, exposure_us=100.0, gain=3.0), lambda path: capture)
    picture = driver.grab(1.0)
    driver.close()

    assert tuple(picture.image[0, 0]) == (0, 0, 200)
    assert driver.settings["auto_exposure"] == "1"
    assert driver.settings["auto_white_balance"] == "0"
    assert driver.settings["exposure_us"] == "100"
    assert "gain" not in driver.settings
    assert capture.released


def test_a_usb_camera_that_is_not_there_is_said_as_such():
    with pytest.raises(SourceError, match=r"camera /dev/v4l/by-id/usb-Lab_Cam-0 cannot be opened; plug it in"):
        UvcDriver("usb-Lab_Cam-0", Tuning(), lambda path: Capture(opened=False))


def test_a_name_is_looked_for_by_id_and_a_path_is_taken_as_it_is():
    assert device_path("usb-Lab_Cam-0") == "/dev/v4l/by-id/usb-Lab_Cam-0"
    assert device_path("/dev/video2") == "/dev/video2"


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        ([7, 8, 10], [0, 1, 3]),
        ([65534, 65535, 1, 2], [0, 1, 2, 3]),
        ([65535, 2], [0, 2]),
        ([9, 11, 10, 12], [0, 2, 2, 3]),
        ([1, 65535, 2], [0, 0, 1]),
    ],
    ids=["a hole", "the counter wraps", "it wraps in a hole", "one comes late", "one comes late over the wrap"],
)
def test_the_cameras_own_count_is_followed_through_its_wrap(aravis, ids, numbers):
    driver = object.__new__(aravis)
    driver._number, driver._id = 0, None

    assert [driver._count(one) for one in ids] == numbers
