"""The light of the field: vignetting at once, dust in time, and never what a resting hand shows."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import Pose
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import Reduced, reduce

UM = 0.125
SHAPE = (480, 640)
EVEN = Optics.perfect()


@pytest.fixture(scope="module", params=["giemsa", "he"])
def slide(request):
    return SimulatedSlide.make(5, request.param, 60, UM)


def pan(frames, step=(3.0, 41.0), start=(300.0, 60.0)):
    path = np.array(start) + np.arange(frames)[:, None] * np.array(step)
    return np.abs(np.mod(path, 1400.0) - 700.0)  # back and forth


def reduced_frames(slide, path, optics):
    microscope = SimulatedMicroscope(slide, path, frame_shape=SHAPE, optics=optics, seed=3)
    return [reduce(microscope.image(index), UM) for index in range(len(path))]


def learned(slide, path, optics):
    light = FlatField()
    for (row, col), reduced in zip(path, reduced_frames(slide, path, optics), strict=True):
        light.flatten(reduced)
        light.learn(reduced, Pose(0, row, col))
    return light


def glass(level: int) -> Reduced:
    """A picture of empty glass."""
    return reduce(np.full((*SHAPE, 3), level, np.uint8), UM)


def test_vignetting_is_evened_out_from_the_first_frame(slide):
    # 640 x 480 px are the middle of what the simulated lens shades; so shade here by hand, to the corners.
    (even,) = reduced_frames(slide, pan(1), EVEN)
    row, col = np.mgrid[: even.green.shape[0], : even.green.shape[1]].astype(np.float32)
    height, width = even.green.shape
    shade = 1 - 0.3 * (((row - height / 2) ** 2 + (col - width / 2) ** 2) / (width / 2) ** 2)
    shaded = replace(even, green=np.rint(even.green * shade).astype(np.uint8))

    flat = FlatField().flatten(shaded)

    bright = even.green > 0.93 * even.glass_rgb[1]
    off = flat.green.astype(float) / even.green - 1
    before = shaded.green.astype(float) / even.green - 1
    assert np.ptp(np.percentile(before[bright], (2, 98))) > 0.25
    assert np.ptp(np.percentile(off[bright], (2, 98))) < 0.1


def test_an_even_field_stays_as_it_is(slide):
    (even,) = reduced_frames(slide, pan(1), EVEN)

    flat = FlatField().flatten(even)

    assert np.abs(flat.green.astype(int) - even.green).max() <= 12  # 5 %: the first frame's cells tilt the guess


def test_dust_is_learned_while_the_hand_moves(slide):
    dusty = Optics(exposure=0.0, vignette=0.0, dust=10, focus_drift_px=0.0, light_drift=0.0, noise=1.0)
    path = pan(90)
    light = learned(slide, path, dusty)
    field = SimulatedMicroscope(slide, path, frame_shape=SHAPE, optics=replace(dusty, noise=0.0), seed=3)
    clean = SimulatedMicroscope(slide, path, frame_shape=SHAPE, optics=EVEN, seed=3)
    last = reduce(field.image(89), UM)
    wanted = reduce(clean.image(89), UM).green.astype(float)
    dark = last.green < 0.8 * wanted
    assert dark.sum() > 200

    found = light.flatten(last).green

    # The rim of a speck is softer than what is learned, so the middle is asked for.
    middle = cv2.erode(dark.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert np.median(np.abs(found[middle] / wanted[middle] - 1)) < 0.12


def test_a_resting_hand_teaches_nothing(slide):
    path = np.concatenate([pan(1), np.repeat(pan(1), 60, 0)])
    light = learned(slide, path, Optics(exposure=0.0, vignette=0.0, dust=0, noise=1.0))
    once = learned(slide, pan(1), Optics(exposure=0.0, vignette=0.0, dust=0, noise=1.0))

    picture = glass(220)

    assert np.abs(light.flatten(picture).green.astype(int) - once.flatten(picture).green).max() <= 2


def test_the_light_at_a_place_is_what_a_crop_must_be_divided_by():
    light = FlatField()
    assert light.light_at((100.0, 100.0), SHAPE) == 1.0
    col = np.mgrid[:240, :320][1].astype(np.float32)
    shaded = replace(glass(200), green=np.rint(200 * (1 - 0.3 * (col - 160) / 320)).astype(np.uint8))

    light.flatten(shaded)

    assert light.light_at((240.0, 10.0), SHAPE) == pytest.approx(1.15, abs=0.02)
    assert light.light_at((240.0, 630.0), SHAPE) == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize("place", [(0.0, 0.0), (240.0, 320.0), (479.0, 639.0), (3.0, 630.0), (6.0, 2.0)])
def test_the_light_at_a_place_is_the_median_of_what_was_learned_round_it(place):
    light, rng = FlatField(), np.random.default_rng(0)
    learned = light.begin(replace(glass(200), green=np.full((240, 320), 200, np.uint8)))
    learned[...] = rng.uniform(0.2, 1.3, learned.shape)
    row, col = (int(at * side / whole) for at, side, whole in zip(place, learned.shape, SHAPE, strict=True))

    near = learned[max(0, row - 2) : row + 3, max(0, col - 2) : col + 3]
    assert light.light_at(place, SHAPE) == float(np.clip(np.median(near), 0.3, 1.2))


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (9, 7), (64, 64)])
@pytest.mark.parametrize("level", [0, 255])
def test_a_strange_picture_ends_nothing(shape, level):
    light = FlatField()
    reduced = reduce(np.full((*shape, 3), level, np.uint8), UM)

    for index in range(3):
        assert light.flatten(reduced).green.shape == reduced.green.shape
        light.learn(reduced, Pose(0, 0.0, 100.0 * index))


def test_a_speck_is_known_once_it_was_learned_and_nothing_else_is_taken_for_one(slide):
    dusty, clean = Optics(exposure=0.0, vignette=0.2, dust=0), FlatField()
    path = pan(40)
    spot = (240.0, 320.0)
    shade = np.ones((SHAPE[0], SHAPE[1]), np.float32)
    cv2.circle(shade, (320, 240), 14, (0.6,), -1)
    speckled = FlatField()
    for (row, col), image in zip(path, (picture for picture in images(slide, path, dusty)), strict=True):
        for light, seen in ((clean, image), (speckled, np.uint8(image * shade[..., None]))):
            field = reduce(seen, UM)
            light.flatten(field)
            light.learn(field, Pose(0, row, col))

    assert speckled.is_dusty(spot)
    assert not clean.is_dusty(spot)
    others = [
        (row, col) for row in range(40, 480, 80) for col in range(40, 640, 80) if abs(row - 240) + abs(col - 320) > 120
    ]
    assert sum(speckled.is_dusty(place) for place in others) <= 0.05 * len(others)


def test_before_the_first_frame_no_place_is_dusty():
    assert not FlatField().is_dusty((10.0, 10.0))


def images(slide, path, optics):
    microscope = SimulatedMicroscope(slide, path, frame_shape=SHAPE, optics=optics, seed=3)
    return (microscope.image(index) for index in range(len(path)))


@pytest.mark.parametrize("power", [-0.5, 0.8])
def test_what_the_light_does_to_the_nuclear_picture_is_divided_out(power: float) -> None:
    rows, cols = np.mgrid[-1:1:240j, -1:1:320j]
    light = 1 - 0.3 * (rows**2 + cols**2) / 2
    green = np.rint(220 * light).astype(np.uint8)
    stain = np.rint(200 * light**power).clip(0, 255).astype(np.uint8)
    reduced = Reduced(green, 2.0, 0.25, (220.0, 220.0, 220.0), stain, in_reference=True, light_power=power)

    even = FlatField().flatten(reduced)

    assert even.stain is not None
    assert float(np.ptp(even.stain)) < 0.4 * float(np.ptp(stain))
    assert even.light_power == 0
