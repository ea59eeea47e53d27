"""The map that the page draws: what was never seen though ground all round it was, and where the path is broken."""

import json

import numpy as np
import pytest

from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.records import Pose
from fnrbc_device.web.mapping import MAX_ISLANDS, MAX_PATH_POINTS, gaps_in, map_event

UM = 0.5
SHAPE = (200, 300)


def seen_at(places, island=0, seen=None):
    seen = seen or SlideMap(UM, SHAPE)
    for row, col in places:
        seen.paint(Pose(island, row, col), np.full((*SHAPE, 3), 200, np.uint8))
    return seen


def fields(seen):
    data = map_event(seen, Pose(0, 0.0, 0.0))
    return json.loads(data.split(b"data: ", 1)[1])


def ring(hole_rows, hole_cols):
    """Fields round a hole of so many px."""
    rows, cols = SHAPE[0] + hole_rows, SHAPE[1] + hole_cols
    along = [(0, col) for col in range(0, cols + 1, 50)] + [(rows, col) for col in range(0, cols + 1, 50)]
    return along + [(row, 0) for row in range(0, rows + 1, 50)] + [(row, cols) for row in range(0, rows + 1, 50)]


def test_ground_that_is_seen_all_round_and_not_itself_is_a_gap_of_its_size():
    gaps = gaps_in(seen_at(ring(200, 300)).mosaic(0))
    assert gaps.count == 1
    assert gaps.area_mm2 == pytest.approx(200 * 300 * UM**2 * 1e-6, rel=0.05)
    assert gaps.mask.sum() * 4e-6 == pytest.approx(gaps.area_mm2)  # 2 um a pixel


def test_ground_that_lies_open_to_outside_is_no_gap():
    assert gaps_in(seen_at([(0, 0), (0, 250), (150, 0)]).mosaic(0)).count == 0


def test_a_hole_smaller_than_a_cell_is_not_told_of():
    assert gaps_in(seen_at(ring(30, 30)).mosaic(0)).count == 0


def test_the_path_is_broken_where_fields_do_not_overlap_however_it_is_thinned():
    pan = [(0, col) for col in range(0, 30 * MAX_PATH_POINTS, 15)]
    seen = seen_at([*pan, (5000, 0), *((5000, col) for col in range(15, 300, 15))])
    found = fields(seen)
    assert len(found["path_rc_um"]) <= MAX_PATH_POINTS + 2
    (after,) = found["broken_after"]
    assert found["path_rc_um"][after][0] < 1000 * UM < found["path_rc_um"][after + 1][0]


def test_islands_out_of_view_come_small_and_in_a_bounded_number():
    seen = seen_at([(0, 0)])
    for island in range(1, 20):
        seen_at([(0, 0)], island, seen)
    found = fields(seen)
    assert found["islands"] == 20
    assert [one["island"] for one in found["others"]] == list(range(20 - MAX_ISLANDS, 20))
