"""Colours that no stained slide has: said at the first frames, with the likely cause."""

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.colours import FIRST_LOOKS, ColourWatch
from fnrbc_device.camera.driver import ExchangedDriver, Picture
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import BadFrame, Frame

UM = 0.2


@pytest.fixture(scope="module", params=["giemsa", "he"])
def fields(request):
    """Views of a slide, with nuclei in most."""
    image = SimulatedSlide.make(8, request.param, 40, UM).image
    side = 480
    rows, cols = (range(0, length - side, side) for length in image.shape[:2])
    return [np.ascontiguousarray(image[row : row + side, col : col + side]) for row in rows for col in cols]


def watched(images):
    said = []
    watch = ColourWatch("--exchange-red-blue", said.append)
    for index, image in enumerate(images):
        watch.see(Frame(index, index / 30, np.ascontiguousarray(image)), None)
    watch.finish()
    return watch, said


def tinted(images, gains):
    return [np.clip(image * np.asarray(gains), 0, 255).astype(np.uint8) for image in images]


def test_a_stained_slide_is_not_doubted(fields):
    watch, said = watched(fields)
    assert (watch.fault, watch.doubt, said) == (None, "", [])


@pytest.mark.parametrize("channel", ["luma", 0, 1])
def test_a_grey_camera_is_named(fields, channel):
    grey = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) if channel == "luma" else one[..., channel] for one in fields]
    watch, said = watched([np.repeat(one[..., None], 3, axis=2) for one in grey])
    assert watch.fault == "camera_without_colours"
    assert "the frames have no colours" in watch.doubt
    assert said == [watch.doubt]


def test_red_and_blue_exchanged_is_named_with_the_setting_that_mends_it(fields):
    watch, said = watched([one[..., ::-1] for one in fields])
    assert watch.fault == "red_and_blue_exchanged"
    assert "red and blue are exchanged" in watch.doubt
    assert watch.doubt.endswith("set --exchange-red-blue")
    assert said == [watch.doubt]


@pytest.mark.parametrize("gains", [(1.0, 0.8, 0.5), (0.6, 1.0, 0.6), (0.5, 0.8, 1.0)])
def test_a_strong_cast_is_named_with_the_colour_of_glass(fields, gains):
    watch, _ = watched(tinted(fields, gains))
    assert watch.fault == "colour_cast"
    assert "empty glass is far from white (red " in watch.doubt
    assert "balance it on empty glass" in watch.doubt


@pytest.mark.parametrize("gains", [(1.0, 0.95, 0.9), (0.92, 1.0, 1.0), (0.7, 0.7, 0.7)])
def test_a_lamps_own_colour_is_not_doubted(fields, gains):
    assert watched(tinted(fields, gains))[0].fault is None


def test_it_is_said_at_the_first_frames_with_nuclei_and_once(fields):
    said = []
    watch = ColourWatch("x", said.append)
    blank = np.full((480, 480, 3), 240, np.uint8)
    with_nuclei = [one for one in fields if watched([one])[0]._seen]
    for index, image in enumerate([blank] * 10 + with_nuclei[:FIRST_LOOKS] + with_nuclei):
        watch.see(Frame(index, 0.0, np.repeat(image[..., 1:2], 3, axis=2)), None)
        if index < 10 + FIRST_LOOKS - 1:
            assert said == []
    assert len(said) == 1


def test_empty_glass_and_broken_frames_say_nothing():
    watch, said = watched([np.full((480, 480, 3), level, np.uint8) for level in (240, 128, 20)])
    watch.see(BadFrame(3, 0.0, "unreadable", "torn"), "unreadable")
    watch.see(Frame(4, 0.0, np.zeros((3, 0, 3), np.uint8)), "failed")
    watch.finish()
    assert (watch.fault, said) == (None, [])


def test_a_few_strange_frames_do_not_decide(fields):
    images = [*fields, *(one[..., ::-1] for one in fields[:3])]
    assert watched(images)[0].fault is None


def test_a_camera_that_gives_blue_for_red_is_set_right():
    class Camera:
        name, settings = "camera", {}

        def __init__(self):
            self.closed = False

        def grab(self, timeout_s):
            return Picture(np.full((4, 5, 3), (1, 2, 3), np.uint8), timeout_s) if timeout_s else None

        def close(self):
            self.closed = True

    camera = Camera()
    driver = ExchangedDriver(camera)
    picture = driver.grab(2.0)
    assert (picture.image == (3, 2, 1)).all()
    assert not picture.image.flags.writeable
    assert driver.grab(0.0) is None
    driver.close()
    assert camera.closed
