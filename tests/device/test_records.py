"""What the records themselves work out: where a place lies once islands were joined, what nearly was a candidate."""

import pytest

from fnrbc_device.records import INDETERMINATE, Join, Pose, Verdict, final_pose

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


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.18, 0.5, 0.97, 1.0])
def test_a_near_miss_has_a_quarter_of_the_thresholds_odds_and_is_no_candidate(threshold: float) -> None:
    odds = threshold / (1 - threshold) / 4 if threshold < 1 else 1e9
    least = odds / (1 + odds)
    for p in (0.0, 0.9 * least, min(1.01 * least, 1.0)):
        found = Verdict("leukocyte", "denominator", 1 - p, p).is_near_miss(threshold)
        assert found == (p >= least if threshold < 1 else p == 1)
    assert not Verdict("fnrbc", "target", 0.99, 0.99).is_near_miss(threshold)
    assert not Verdict(INDETERMINATE, "ignored", 0.99, 0.99).is_near_miss(threshold)
