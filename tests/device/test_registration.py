"""Registration: a frame's place on the slide, to a third of a pixel, and honest about being lost."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import RegistrationError
from fnrbc_device.records import Image
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.registration import Placement, Registration

UM = 0.125
SHAPE = (480, 640)
START = np.array([500.0, 600.0])
PERFECT = Optics.perfect()
NOISY = Optics(exposure=0.0, vignette=0.0, dust=0, focus_drift_px=0.0, light_drift=0.0, noise=3.0)
REAL = Optics(exposure=0.0, vignette=0.12, dust=8, focus_drift_px=0.0, light_drift=0.05, noise=2.0)


@pytest.fixture(scope="module", params=["giemsa", "he"])
def slide(request: pytest.FixtureRequest) -> SimulatedSlide:
    return SimulatedSlide.make(4, request.param, 60, UM)


def placed(
    slide: SimulatedSlide, path: np.ndarray, optics: Optics = PERFECT, shape: tuple[int, int] = SHAPE
) -> list[Placement]:
    """Where a registration places the frames of a pan, their light evened out as it is learned."""
    registration, light = Registration(), FlatField()
    placements = []
    for image in images(slide, path, optics, shape):
        reduced = reduce(image, UM)
        placements.append(registration.place(light.flatten(reduced)))
        light.learn(reduced, placements[-1].pose)
    return placements


def images(
    slide: SimulatedSlide, path: np.ndarray, optics: Optics = PERFECT, shape: tuple[int, int] = SHAPE
) -> list[Image]:
    microscope = SimulatedMicroscope(slide, path, frame_shape=shape, optics=optics)
    return [microscope.image(index) for index in range(len(microscope))]


def errors_px(placements: list[Placement], path: np.ndarray) -> np.ndarray:
    found = np.array([(placement.pose.row_px, placement.pose.col_px) for placement in placements])
    return np.hypot(*(found - found[0] - (path - path[0])).T)


def pan(frames: int, step: tuple[float, float], start: np.ndarray = START) -> np.ndarray:
    return start + np.arange(frames)[:, None] * np.array(step)


def test_the_first_frame_is_the_origin_of_the_first_island(slide: SimulatedSlide) -> None:
    (placement,) = placed(slide, START[None])

    assert (placement.pose.island, placement.pose.row_px, placement.pose.col_px) == (0, 0.0, 0.0)
    assert not placement.lost
    assert placement.moved_px == 0.0


@pytest.mark.parametrize("optics", [PERFECT, NOISY], ids=["perfect", "noisy"])
@pytest.mark.parametrize(
    "shift", [(0.0, 3.3), (-5.75, 0.0), (12.5, -40.25), (-96.0, 64.0), (60.4, 200.7), (-192.0, 0.0), (0.0, -256.0)]
)
def test_a_shift_of_up_to_two_fifths_of_the_frame_is_found(
    slide: SimulatedSlide, shift: tuple[float, float], optics: Optics
) -> None:
    path = pan(2, shift)

    placements = placed(slide, path, optics)

    assert errors_px(placements, path)[1] <= 0.3
    assert placements[1].moved_px == pytest.approx(np.hypot(*shift), abs=0.3)
    assert not placements[1].lost
    assert placements[1].correlation > 0.6


@pytest.mark.parametrize("step", [(0.0, 24.0), (18.0, -15.0), (-9.5, 61.0)])
def test_dust_and_vignetting_that_stand_in_the_camera_do_not_hold_the_picture(
    slide: SimulatedSlide, step: tuple[float, float]
) -> None:
    path = pan(10, step)

    placements = placed(slide, path, REAL)

    assert [placement.pose.island for placement in placements] == [0] * 10
    # The frame from which on the learned pattern is taken out is laid on one that still has it.
    assert errors_px(placements, path).max() <= 1.2
    assert errors_px(placements, path)[:5].max() <= 0.3


def test_what_stands_in_the_camera_is_learned_and_taken_out(slide: SimulatedSlide) -> None:
    shaded = Optics(exposure=0.0, vignette=0.4, dust=20, focus_drift_px=0.0, light_drift=0.0, noise=2.0)
    path = pan(17, (0.0, 60.0), np.array([500.0, 100.0]))

    assert errors_px(placed(slide, path, shaded), path)[-1] <= 1.2  # 2 px with the pattern left in


def test_a_resting_hand_does_not_drift_over_a_hundred_frames(slide: SimulatedSlide) -> None:
    path = np.concatenate([pan(2, (0.0, 30.5)), np.repeat(START[None] + (0.0, 30.5), 100, 0)])

    placements = placed(slide, path, NOISY)

    rest = np.array([(placement.pose.row_px, placement.pose.col_px) for placement in placements[1:]])
    assert np.abs(rest - rest[0]).max() <= 0.2
    assert np.abs(rest[-20:].mean(axis=0) - rest[:20].mean(axis=0)).max() <= 0.05


def test_strong_dust_does_not_make_the_picture_jump_when_a_resting_hand_moves_on(slide: SimulatedSlide) -> None:
    dusty = Optics(exposure=0.0, vignette=0.2, dust=40, focus_drift_px=0.0, light_drift=0.0, noise=2.0)
    before = pan(12, (4.0, 20.0))
    after = pan(12, (-6.0, 25.0), before[-1])
    path = np.concatenate([before, np.repeat(before[-1:], 40, 0), after])

    placements = placed(slide, path, dusty)

    found = np.array([(placement.pose.row_px, placement.pose.col_px) for placement in placements])
    assert [placement.pose.island for placement in placements] == [0] * len(path)
    assert np.abs(np.diff(found, axis=0) - np.diff(path, axis=0)).max() <= 1.5


def test_the_way_back_leads_to_where_the_way_began(slide: SimulatedSlide) -> None:
    out = pan(14, (8.0, 45.0))
    path = np.concatenate([out, out[::-1]])

    assert errors_px(placed(slide, path, REAL), path)[-1] <= 2.0


def test_a_frame_from_elsewhere_begins_a_new_island(slide: SimulatedSlide) -> None:
    # Of the camera's own size: the smaller the overlap, the more often chance looks like a fit.
    camera = (960, 1280)
    large = SimulatedSlide.make(4, slide.look, 150, UM)
    path = np.array([[0.0, 0.0], [10.0, 20.0], [1000.0, 1400.0], [1010.0, 1370.0]])

    first, second, elsewhere, next_one = placed(large, path, shape=camera)

    assert (first.pose.island, second.pose.island) == (0, 0)
    assert not second.lost
    assert elsewhere.lost
    assert (elsewhere.pose.island, elsewhere.pose.row_px, elsewhere.pose.col_px) == (1, 0.0, 0.0)
    assert not next_one.lost
    assert (next_one.pose.row_px, next_one.pose.col_px) == pytest.approx((10.0, -30.0), abs=0.3)


@pytest.mark.parametrize("level", [0, 128, 240])
@pytest.mark.parametrize("noise", [0.0, 2.0, 3.0])
def test_empty_glass_has_nothing_to_hold_on_to(level: int, noise: float) -> None:
    empty = np.random.default_rng(0).normal(level, noise if level else 0.0, (*SHAPE, 3)).clip(0, 255)

    with pytest.raises(RegistrationError, match=r"contrast 0\.\d+ is below 0\.008.*pan to where cells are"):
        Registration().place(reduce(empty.astype(np.uint8), UM))


def test_the_way_goes_on_after_a_frame_of_nothing(slide: SimulatedSlide) -> None:
    path = pan(3, (6.0, 30.0))
    registration = Registration()
    first, _, third = (reduce(image, UM) for image in images(slide, path))
    registration.place(first)

    with pytest.raises(RegistrationError):
        registration.place(reduce(np.full((*SHAPE, 3), 240, np.uint8), UM))

    assert registration.place(third).pose.island == 0


@pytest.mark.parametrize("correction", [(1.5, -0.75), (-3.0, 2.0)])
def test_what_landmarks_say_of_a_frame_holds_for_those_after_it(
    slide: SimulatedSlide, correction: tuple[float, float]
) -> None:
    # The second frame is far enough from the first to be the one that later frames are laid on.
    path = np.array([START, START + np.array((0.0, 200.0)), START + np.array((3.0, 220.0))])
    first, second, third = (reduce(image, UM) for image in images(slide, path))
    registration = Registration()
    registration.place(first)
    registration.place(second)

    registration.correct(*correction)

    pose = registration.place(third).pose
    assert (pose.row_px, pose.col_px) == pytest.approx((3.0 + correction[0], 220.0 + correction[1]), abs=0.4)


def test_a_correction_before_any_frame_changes_nothing(slide: SimulatedSlide) -> None:
    registration = Registration()

    registration.correct(5.0, 5.0)

    (image,) = images(slide, START[None])
    assert registration.place(reduce(image, UM)).pose.row_px == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (2, 2), (9, 7)])
def test_a_picture_too_small_to_hold_on_to_is_refused_or_placed_but_ends_nothing(shape: tuple[int, int]) -> None:
    registration = Registration()
    stamp = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for _ in range(2):
        try:
            placement = registration.place(reduce(stamp, UM))
        except RegistrationError:
            continue
        assert (placement.pose.row_px, placement.pose.col_px) == (0.0, 0.0)  # or on an island of its own


def test_what_follows_a_leap_is_laid_on_the_last_sharp_frame(slide: SimulatedSlide) -> None:
    # The last lies out of the first frame's reach, and within the second's.
    path = START + np.array([(0.0, 0.0), (95.0, 130.0), (115.0, 155.0), (280.0, 370.0)])
    first, second, on_its_way, last = images(slide, path)
    # The hand leapt when half of the columns were read: what the last frame shares with it lies 32 px off.
    torn = np.concatenate([second[:, :320], on_its_way[:, 320:]], axis=1)
    registration = Registration()
    for image, sharp in ((first, True), (second, True), (torn, False)):
        registration.place(reduce(image, UM), sharp=sharp)

    found = registration.place(reduce(last, UM)).pose

    assert found.island == 0
    assert np.hypot(found.row_px - 280.0, found.col_px - 370.0) <= 0.4
