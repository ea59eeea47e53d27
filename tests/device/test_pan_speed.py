"""The hand is told that it pans too fast before frames and cells are lost, and is left alone while it does not."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import Pose
from fnrbc_device.vision.frame_quality import FrameQuality
from fnrbc_device.vision.pan_speed import LARGEST_CELL_UM, MARGIN, NEEDED_VIEWS, PanSpeed, Speed
from fnrbc_device.vision.reduction import reduce

UM = 0.125
SHAPE = (480, 640)
WAY_UM = 480 * UM - LARGEST_CELL_UM


@dataclass(frozen=True)
class Told:
    """One frame: what the gate and the pace said of it."""

    step_px: float
    used: bool
    speed: Speed


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(8, "giemsa", 90, UM)


def pan(slide: SimulatedSlide, steps_px: NDArray[np.float64], exposure: float, fps: float = 30.0) -> Iterator[Told]:
    """Pan there and back with these steps, one a frame."""
    span = slide.image.shape[1] - SHAPE[1] - 2.0
    along = np.cumsum(steps_px) % (2 * span)
    path = np.column_stack([np.full(len(along), 300.0), np.where(along > span, 2 * span - along, along)])
    optics = Optics(exposure=exposure, dust=0, focus_drift_px=0.02)
    microscope = SimulatedMicroscope(slide, path, seed=2, frame_shape=SHAPE, optics=optics)
    frame_quality, pan_speed = FrameQuality(), PanSpeed(UM)
    for index, (row, col) in enumerate(path):
        judged = frame_quality.judge(reduce(microscope.image(index), UM))
        speed = pan_speed.follow(index / fps, SHAPE, Pose(0, row, col), judged.sharpness, judged.smeared)
        yield Told(float(steps_px[index]), judged.reason is None, speed)


def accelerating(by_px: float) -> NDArray[np.float64]:
    """From slow to far too fast, frame by frame."""
    return np.concatenate([np.full(20, 6.0), np.arange(6.0, 150.0, by_px)])


@pytest.mark.parametrize("exposure", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("by_px", [1.0, 3.0])
def test_a_hand_that_gets_faster_is_told_before_a_frame_is_lost_and_before_cells_get_too_few(
    slide: SimulatedSlide, exposure: float, by_px: float
) -> None:
    told = list(pan(slide, accelerating(by_px), exposure))
    warned = next(index for index, one in enumerate(told) if one.speed.hurried)
    lost = [index for index, one in enumerate(told) if not one.used or one.step_px * UM > WAY_UM / NEEDED_VIEWS]

    assert warned < min(lost)
    assert told[warned].step_px < 0.9 * told[min(lost)].step_px


@pytest.mark.parametrize("exposure", [0.06, 0.2])
def test_a_calm_hand_is_left_alone(slide: SimulatedSlide, exposure: float) -> None:
    calm = 14.0 + 10.0 * np.sin(np.arange(120) / 9)

    assert not any(one.speed.hurried for one in pan(slide, calm, exposure))


def test_the_speed_is_that_of_the_field() -> None:
    pan_speed = PanSpeed(UM)
    speeds = [pan_speed.follow(index / 30, SHAPE, Pose(0, 3.0 * index, 4.0 * index), 1.0, False) for index in range(5)]

    assert [round(speed.um_s, 6) for speed in speeds] == [0.0] + [5.0 * UM * 30] * 4


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0])
def test_a_slower_camera_needs_a_slower_hand(fps: float) -> None:
    pan_speed = PanSpeed(UM)
    limits = [pan_speed.follow(index / fps, SHAPE, Pose(0, 0.0, 0.0), 1.0, False).limit_um_s for index in range(4)]

    assert limits[0] is None
    assert limits[-1] == pytest.approx(WAY_UM / (MARGIN * NEEDED_VIEWS) * fps)


@pytest.mark.parametrize(("share", "hurried"), [(0.95, False), (1.05, True)])
def test_a_hand_beyond_the_limit_is_hurried_however_sharp_the_picture(share: float, hurried: bool) -> None:
    pan_speed = PanSpeed(UM)
    step_px = share * WAY_UM / (MARGIN * NEEDED_VIEWS) / UM

    speeds = [pan_speed.follow(index / 30, SHAPE, Pose(0, step_px * index, 0.0), 1.0, False) for index in range(5)]

    assert [speed.hurried for speed in speeds[1:]] == [hurried] * 4


def test_a_field_out_of_focus_at_rest_is_no_haste() -> None:
    pan_speed = PanSpeed(UM)

    assert not any(
        pan_speed.follow(index / 30, SHAPE, Pose(0, 0.5 * index, 0.0), 0.4, False).hurried for index in range(9)
    )


@pytest.mark.parametrize(("smeared", "hurried"), [(False, False), (True, True)])
def test_a_moving_field_that_loses_its_sharpness_is_haste_only_where_it_loses_it_in_one_direction(
    smeared: bool, hurried: bool
) -> None:
    pan_speed = PanSpeed(UM)
    for index in range(9):
        pan_speed.follow(index / 30, SHAPE, Pose(0, 0.5 * index, 0.0), 1.0, False)
    poses = [Pose(0, 20.0 * (index - 9), 0.0) for index in range(9, 20)]
    moving = [pan_speed.follow(index / 30, SHAPE, pose, 0.6, smeared) for index, pose in enumerate(poses, 9)]

    assert [speed.hurried for speed in moving[1:]] == [hurried] * 10
    assert all((speed.um_s > (speed.limit_um_s or 0)) == speed.hurried for speed in moving)


def test_a_field_out_of_focus_is_no_haste_while_it_moves_either() -> None:
    pan_speed = PanSpeed(UM)
    told = [pan_speed.follow(index / 30, SHAPE, Pose(0, 0.5 * index, 0.0), 0.75, False) for index in range(9)]
    poses = [Pose(0, 20.0 * (index - 9), 0.0) for index in range(9, 20)]
    told += [pan_speed.follow(index / 30, SHAPE, pose, 0.65, False) for index, pose in enumerate(poses, 9)]

    assert not any(speed.hurried for speed in told)


def test_a_single_late_frame_changes_no_limit() -> None:
    pan_speed = PanSpeed(UM)
    times = [*(index / 30 for index in range(10)), 2.0, 2.0 + 1 / 30]

    limits = [pan_speed.follow(at, SHAPE, Pose(0, 0.0, 0.0), 1.0, False).limit_um_s for at in times]

    assert limits[-1] == pytest.approx(limits[5])


def test_from_one_island_to_the_next_there_is_no_speed() -> None:
    pan_speed = PanSpeed(UM)
    pan_speed.follow(0.0, SHAPE, Pose(0, 0.0, 0.0), 1.0, False)
    pan_speed.follow(0.1, SHAPE, None, 1.0, False)

    assert pan_speed.follow(0.2, SHAPE, Pose(1, 5000.0, 0.0), 1.0, False).um_s == 0.0


def test_a_lost_frame_says_nothing_of_the_calm_field() -> None:
    pan_speed = PanSpeed(UM)
    for index in range(5):
        pan_speed.follow(index / 30, SHAPE, Pose(0, 0.5 * index, 0.0), 1.0, False)
    pan_speed.follow(5 / 30, SHAPE, None, 0.2, False)
    moving = [pan_speed.follow(index / 30, SHAPE, Pose(1, 20.0 * index, 0.0), 0.65, True) for index in range(6, 12)]

    assert [speed.hurried for speed in moving] == [False, *[True] * 5]
