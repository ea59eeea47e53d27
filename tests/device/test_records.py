"""What the records themselves work out: where a place lies once islands were joined."""

import pytest

from fnrbc_device.records import Join, Pose, final_pose

JOINS = (Join(2, 1, 10.0, -5.0), Join(4, 3, 100.0, 100.0), Join(1, 0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("island", "lies"),
    [
        (0, Pose(0, 7.0, 8.0)),
        (1, Pose(0, 8.0, 10.0)),
        (2, Pose(0, 18.0, 5.0)),
        (3, Pose(3, 7.0, 8.0)),
        (4, Pose(3, 107.0, 108.0)),
    ],
)
def test_a_place_follows_its_island_through_all_joins_in_their_order(island: int, lies: Pose) -> None:
    assert final_pose(Pose(island, 7.0, 8.0), JOINS) == lies
