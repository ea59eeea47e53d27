"""Real cameras: GigE Vision over loopback, and real GStreamer pipelines."""

import importlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
        time.sleep(0.3)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None


@pytest.fixture
def fake() -> Iterator[FakeCamera]:
    fake = FakeCamera()
    yield fake
    fake.kill()


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
    lost, frames = camera.lost_pictures, read_for(camera, 4.0)
    camera.close()

    good = [frame for frame in frames if isinstance(frame, Frame)]
    indices = [frame.index for frame in frames]
    assert indices[-1] - indices[0] + 1 == len(indices) + camera.lost_pictures - lost
    assert len(good) >= 60
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
    while time.monotonic() < until:
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
    while not camera.trouble:
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
    assert [gap.reason for gap in camera.take_gaps()] == ["camera_lost"]


def test_without_a_camera_the_error_names_the_cure(aravis):
    with pytest.raises(SourceError, match=r"camera nobody-42 does not answer .* check its cable"):
        aravis("nobody-42", Tuning())


@pytest.fixture
def gstreamer(bindings: None) -> type:
    from fnrbc_device.camera.gstreamer import GStreamerDriver, import_gstreamer

    try:
        import_gstreamer()
    except ConfigError as error:
        pytest.skip(str(error))
    return GStreamerDriver


LIVE = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=322,height=240,framerate=25/1"


def test_a_pipeline_delivers_colour_pictures_at_its_rate(gstreamer):
    camera = WatchedCamera("pipeline", lambda: gstreamer(LIVE), 25.0, 0.1)
    frames = read_for(camera, 3.0)
    camera.close()

    assert len(frames) >= 50
    assert {frame.image.shape for frame in frames} == {(240, 322, 3)}
    assert frames[-1].index - frames[0].index + 1 == len(frames) + camera.lost_pictures
    assert camera.trouble == ""


def test_a_pipeline_that_ends_is_named_and_played_again(gstreamer):
    camera = WatchedCamera("pipeline", lambda: gstreamer(LIVE.replace("true", "true num-buffers=20", 1)), 25.0, 0.1)
    frames = read_for(camera, 4.0)
    camera.close()

    assert len(frames) > 40
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
    assert driver.settings["exposure_100us"] == "1"
    assert "gain" not in driver.settings
    assert capture.released


def test_a_usb_camera_that_is_not_there_is_said_as_such():
    with pytest.raises(SourceError, match=r"camera /dev/v4l/by-id/usb-Lab_Cam-0 cannot be opened; plug it in"):
        UvcDriver("usb-Lab_Cam-0", Tuning(), lambda path: Capture(opened=False))


def test_a_name_is_looked_for_by_id_and_a_path_is_taken_as_it_is():
    assert device_path("usb-Lab_Cam-0") == "/dev/v4l/by-id/usb-Lab_Cam-0"
    assert device_path("/dev/video2") == "/dev/video2"
