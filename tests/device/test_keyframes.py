"""Keyframes: past pictures by their place, bounded, and moved when islands are joined."""

import numpy as np
import pytest

from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.keyframes import Keyframes

GREY = np.zeros((24, 32), np.uint8)
FACTOR = 4  # a frame of 96 x 128 px


def filled(*places: tuple[int, float, float], limit: int = 100) -> Keyframes:
    keyframes = Keyframes(limit)
    for frame, (island, row, col) in enumerate(places):
        keyframes.add(Pose(island, row, col), frame, GREY, FACTOR, 1.0)
    return keyframes


def test_the_nearest_plate_of_the_same_island_comes_first() -> None:
    keyframes = filled((0, 0, 0), (0, 10, 20), (1, 9, 19), (0, 200, 300))

    near = keyframes.near(Pose(0, 9.0, 19.0), 0.5)

    assert [keyframe.number for keyframe in near] == [1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_near_finds_what_a_look_at_every_plate_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = [(0, *place) for place in rng.uniform(-500, 500, (80, 2))]
    keyframes = filled(*places)
    asked = rng.uniform(-500, 500, 2)

    near = {keyframe.number for keyframe in keyframes.near(Pose(0, *asked), 0.9)}

    apart = np.abs(np.array(places)[:, 1:] - asked) / (96, 128)
    assert near == set(np.flatnonzero(apart.max(axis=1) < 0.9))


def test_the_oldest_plate_goes_where_there_are_too_many() -> None:
    keyframes = filled(*((0, 0.0, 100.0 * place) for place in range(7)), limit=5)

    assert [keyframe.number for keyframe in keyframes] == [2, 3, 4, 5, 6]
    assert keyframes.get(0) is None
    assert keyframes.near(Pose(0, 0.0, 0.0), 0.2) == []
    assert keyframes.bytes == 5 * GREY.nbytes


def test_a_joined_islands_plates_lie_on_the_older_one_and_known_ground_is_kept_once() -> None:
    keyframes = filled((0, 0, 0), (1, 50, 50), (1, 300, 300))

    keyframes.join(Join(1, 0, -50.0, -49.0))

    assert keyframes.islands == [0]
    assert [(keyframe.number, keyframe.pose) for keyframe in keyframes] == [
        (0, Pose(0, 0, 0)),
        (2, Pose(0, 250.0, 251.0)),
    ]


def test_a_plate_that_went_to_make_room_can_still_be_moved_by_who_holds_it() -> None:
    keyframes = filled((0, 0, 0))
    (held,) = keyframes
    for frame in range(100):
        keyframes.add(Pose(0, 500.0, 500.0 * frame), frame, GREY, FACTOR, 1.0)

    keyframes.move(held, Pose(3, 1.0, 2.0))

    assert held.pose == Pose(3, 1.0, 2.0)
    assert len(keyframes) == 100
