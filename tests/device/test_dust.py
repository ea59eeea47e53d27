"""Dust: what stands still in the camera is taken out, what passes over the slide never is."""

import numpy as np
import pytest

from fnrbc_device.records import Detection, Pose
from fnrbc_device.vision.dust import LEAST_SIGHTINGS, MOVED_UM, SAME_SPOT_UM, Dust

UM = 0.125
SHAPE = np.array([960, 1280])


def at(row: float, col: float) -> Detection:
    outline = np.array([[col, row]], np.int32)
    return Detection((row, col), outline, 1, 6.0, 24.0, True)


def places(detections: list[Detection]) -> list[tuple[float, float]]:
    return [detection.centre_rc for detection in detections]


def pan(frames: int, step_px: float = 40.0) -> list[Pose]:
    return [Pose(0, 0.0, step_px * index) for index in range(frames)]


def test_a_spot_that_stands_still_disappears_after_a_few_moved_fields() -> None:
    dust, speck = Dust(UM), at(100.0, 200.0)

    left = [len(dust.without([speck], pose)) for pose in pan(10)]

    assert LEAST_SIGHTINGS <= 5
    assert left == [1] * (LEAST_SIGHTINGS - 1) + [0] * (11 - LEAST_SIGHTINGS)


@pytest.mark.parametrize("seed", range(4))
def test_a_spot_whose_outline_flickers_is_still_dust(seed: int) -> None:
    rng, dust = np.random.default_rng(seed), Dust(UM)
    jitter = 0.4 * SAME_SPOT_UM / UM

    left = [dust.without([at(*(100 + rng.uniform(-jitter, jitter, 2)))], pose) for pose in pan(30)]

    assert [len(detections) for detections in left[8:]] == [0] * 22


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("step_px", [20.0, 45.0, 110.0])
def test_cells_that_pass_are_never_taken_for_dust(seed: int, step_px: float) -> None:
    rng, dust = np.random.default_rng(seed), Dust(UM)
    slide = rng.uniform(0, (960, 9000), (140, 2))  # 20 cells in a field
    for pose in pan(int(8000 / step_px), step_px):
        inside = slide - (pose.row_px, pose.col_px) + rng.normal(0, 0.5, slide.shape)
        field = [at(*centre) for centre in inside[((inside > 0) & (inside < SHAPE)).all(axis=1)]]

        assert places(dust.without(field, pose)) == places(field)


def test_cells_pass_over_dust_without_being_lost_beside_it() -> None:
    dust, speck = Dust(UM), (240.0, 320.0)
    for pose in pan(12):
        beside = at(240.0, 320.0 + 2 * SAME_SPOT_UM / UM)
        left = dust.without([at(*speck), beside] if pose.col_px == 440.0 else [at(*speck)], pose)

    assert places(left) == [beside.centre_rc]


def test_nothing_is_learned_while_the_hand_rests() -> None:
    dust, cell = Dust(UM), at(100.0, 200.0)
    tremor = 0.4 * MOVED_UM / UM
    rest = [Pose(0, tremor * (index % 2), 0.0) for index in range(100)]

    assert [len(dust.without([cell], pose)) for pose in rest] == [1] * 100


def test_dust_stays_known_while_the_hand_rests() -> None:
    dust, speck = Dust(UM), at(100.0, 200.0)
    for pose in pan(6):
        dust.without([speck], pose)

    assert [dust.without([speck], Pose(0, 0.0, 200.0)) for _ in range(50)] == [[]] * 50


def test_a_speck_that_was_wiped_off_is_forgotten() -> None:
    dust, speck = Dust(UM), at(100.0, 200.0)
    poses = pan(40)
    for pose in poses[:6]:
        dust.without([speck], pose)
    for pose in poses[6:39]:
        dust.without([], pose)

    assert places(dust.without([speck], poses[39])) == [speck.centre_rc]


def test_a_new_island_counts_as_a_moved_field() -> None:
    dust, speck = Dust(UM), at(100.0, 200.0)

    left = [len(dust.without([speck], Pose(island, 0.0, 0.0))) for island in range(6)]

    assert left == [1] * (LEAST_SIGHTINGS - 1) + [0] * (7 - LEAST_SIGHTINGS)


def test_an_empty_field_is_no_trouble() -> None:
    assert Dust(UM).without([], Pose(0, 0.0, 0.0)) == []
