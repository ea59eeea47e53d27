"""The virtual hand: it shows the whole slide, unevenly, and never leaves it."""

import itertools

import numpy as np
import pytest

from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.errors import UsageError

SLIDE = (3000, 4000)
FRAME = (960, 1280)
SEEDS = pytest.mark.parametrize("seed", range(10))


def speeds(path: np.ndarray) -> np.ndarray:
    return np.hypot(*np.diff(path, axis=0).T)


@SEEDS
def test_the_window_never_leaves_the_slide(seed: int) -> None:
    path = hand_path(SLIDE, FRAME, seed)
    assert path.min() >= 0
    assert (path <= np.array(SLIDE) - np.array(FRAME)).all()


@SEEDS
def test_one_pass_shows_every_pixel(seed: int) -> None:
    seen = np.zeros(SLIDE, bool)
    for row, col in hand_path(SLIDE, FRAME, seed):
        # Only what a sub-pixel window shows for certain.
        seen[int(np.ceil(row)) : int(row) + FRAME[0], int(np.ceil(col)) : int(col) + FRAME[1]] = True
    assert seen.all()


@SEEDS
@pytest.mark.parametrize("slide", [SLIDE, (3700, 2000), (5000, 2000)])
def test_a_cell_of_20_um_anywhere_comes_whole_into_view_at_least_three_times(seed: int, slide: tuple[int, int]) -> None:
    path = hand_path(slide, FRAME, seed)
    radius = 80 + 8
    rows, cols = (np.linspace(radius, side - radius - 1, 40) for side in slide)
    for row, col in itertools.product(rows, cols):
        inside = (row, col) - path
        whole = (inside >= radius - 1) & (inside <= np.array(FRAME) - radius)
        assert whole.all(1).sum() >= 3


@SEEDS
def test_speed_is_uneven_but_a_hands(seed: int) -> None:
    speed = speeds(hand_path(SLIDE, FRAME, seed))
    moving = speed[speed > 5]
    assert speed.max() < 130
    assert 15 < np.median(moving) < 60
    assert np.quantile(moving, 0.9) > 1.5 * np.quantile(moving, 0.1)


@SEEDS
def test_the_hand_speeds_up_and_brakes_smoothly(seed: int) -> None:
    # From the slide's edge it may start with the speed that it had gathered against the stop.
    assert np.abs(np.diff(speeds(hand_path(SLIDE, FRAME, seed)))).max() < 25


@SEEDS
def test_the_hand_rests_for_at_least_a_second(seed: int) -> None:
    still = speeds(hand_path((5000, 6500), FRAME, seed)) < 3
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(int), [0]])))
    assert (edges[1::2] - edges[::2]).max() >= 30


@SEEDS
def test_the_hand_turns_back_over_ground_already_seen(seed: int) -> None:
    path = hand_path((5000, 6500), FRAME, seed)
    moving = np.flatnonzero(speeds(path) > 8)
    long_ago = [path[: index - 60] for index in moving if index > 60]
    nearest = [
        np.hypot(*(earlier - path[index]).T).min()
        for earlier, index in zip(long_ago, moving[-len(long_ago) :], strict=True)
    ]
    assert sum(distance < 40 for distance in nearest) >= 20


def test_a_resting_hand_trembles_by_less_than_a_pixel_or_two() -> None:
    path = hand_path((5000, 6500), FRAME, 4)
    still = speeds(path)[speeds(path) < 3]
    assert 0 < np.median(still) < 1.5


def test_the_same_seed_pans_the_same_way() -> None:
    assert np.array_equal(hand_path(SLIDE, FRAME, 1), hand_path(SLIDE, FRAME, 1))
    assert not np.array_equal(hand_path(SLIDE, FRAME, 1, 100), hand_path(SLIDE, FRAME, 2, 100))


@pytest.mark.parametrize("frames", [0, 1, 50, 4000])
def test_it_lasts_as_many_frames_as_asked_without_a_jump(frames: int) -> None:
    path = hand_path(SLIDE, FRAME, 0, frames)
    assert len(path) == frames
    assert frames < 2 or speeds(path).max() < 130


def test_a_slide_as_large_as_the_window_is_looked_at_without_moving() -> None:
    path = hand_path(FRAME, FRAME, 0)
    assert len(path) >= 1
    assert not path.any()


def test_a_slide_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(UsageError, match="1000x900 px is smaller than the window of 1280x960 px"):
        hand_path((900, 1000), FRAME, 0)


def test_a_negative_number_of_frames_is_refused() -> None:
    with pytest.raises(UsageError, match="-1 frames"):
        hand_path(SLIDE, FRAME, 0, -1)
