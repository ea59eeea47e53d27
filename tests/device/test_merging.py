"""Merging: cells of two islands that are one become one cell, and only those."""

import numpy as np
import pytest

from fnrbc_device.counting.cell import Cell
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.counting.merging import agrees, merge
from fnrbc_device.records import CountEvent, Detection, Join, Pose, Verdict
from fnrbc_device.vision.relocation import Proposal

UM = 0.125
SHAPE = (960, 1280)
JOIN = Join(1, 0, 100.0, -50.0)
WHOLE = (0.0, 0.0, 960.0, 1280.0)
LEUKOCYTE = Verdict("leukocyte", "denominator", 0.9, 0.1)


def at(row: float, col: float) -> Detection:
    outline = np.rint([[col - 24, row], [col, row - 24], [col + 24, row], [col, row + 24]]).astype(np.int32)
    return Detection((row, col), outline, 1, 6.0, 24.0, True)


def two_islands(first: np.ndarray, second: np.ndarray) -> Ledger:
    """A ledger of cells at these places of the older island; the second as seen on the younger one."""
    ledger = Ledger(UM, SHAPE)
    ledger.enter([at(*place) for place in first], Pose(0, 0.0, 0.0), 0)
    seen = np.asarray(second) - (JOIN.row_px, JOIN.col_px)
    ledger.enter([at(*place) for place in seen], Pose(1, 0.0, 0.0), 1)
    return ledger


def count(cell: Cell) -> None:
    cell.settled = CountEvent("counted", cell.number, LEUKOCYTE, cell.island, 0, 0, 0, 0, 8.0, 0.4, 1, 0, "")


PLACES = np.array([(200.0, 300.0), (400.0, 700.0), (600.0, 250.0), (650.0, 900.0), (300.0, 1000.0)])

ASIDE = np.array((70.0, -60.0))


@pytest.mark.parametrize("seed", range(8))
def test_cells_that_fall_on_each_other_become_one_and_all_others_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = PLACES[2:] + rng.uniform(-8, 8, (3, 2))
    ledger = two_islands(PLACES, np.vstack([rng.permutation(there), [(500.0, 500.0)]]))

    merged = merge(ledger, JOIN, UM)

    assert len(merged) == 3
    assert len(ledger) == len(PLACES) + 1
    assert {cell.island for cell in ledger.cells()} == {0}
    last = max(ledger.cells(), key=lambda cell: cell.number)
    assert (last.row_px, last.col_px) == pytest.approx((500.0, 500.0))


def test_the_older_of_two_counted_cells_stays_with_the_views_of_both() -> None:
    ledger = two_islands(PLACES[:1], PLACES[:1] + 4)
    older, younger = ledger.cells()
    for cell, views in ((older, 3), (younger, 1)):
        count(cell)
        cell.views = views

    (pair,) = merge(ledger, JOIN, UM)

    assert (pair.kept, pair.gone) == (older, younger)
    assert older.views == 4
    assert (older.row_px, older.col_px) == pytest.approx(tuple(PLACES[0] + 1))


def test_the_counted_one_of_two_stays_whichever_is_older() -> None:
    ledger = two_islands(PLACES[:1], PLACES[:1])
    older, younger = ledger.cells()
    count(younger)

    (pair,) = merge(ledger, JOIN, UM)

    assert (pair.kept, pair.gone) == (younger, older)
    assert [cell.number for cell in ledger.cells()] == [younger.number]
    assert younger.island == 0


def test_neighbours_nearer_than_the_join_is_sure_are_paired_by_the_least_distance() -> None:
    pair_apart = np.array([(400.0, 400.0), (400.0, 444.0)])  # 5.5 um: two small lymphocytes that touch
    ledger = two_islands(pair_apart, pair_apart[::-1] + np.array((2.0, 6.0)))

    merged = merge(ledger, JOIN, UM)

    assert len(ledger) == 2
    assert all(abs(pair.kept.col_px - (400 if pair.kept.number == 1 else 444)) < 6 for pair in merged)


def test_cells_in_other_places_speak_against_a_join() -> None:
    ledger = two_islands(PLACES, PLACES + ASIDE)

    assert not agrees(ledger, Proposal(JOIN, WHOLE), UM)


def test_cells_in_the_same_places_or_too_few_of_them_do_not() -> None:
    rng = np.random.default_rng(0)

    assert agrees(two_islands(PLACES, PLACES + rng.uniform(-8, 8, PLACES.shape)), Proposal(JOIN, WHOLE), UM)
    assert agrees(two_islands(PLACES, PLACES[:2] + 70), Proposal(JOIN, WHOLE), UM)


def test_cells_outside_the_shared_ground_are_not_asked() -> None:
    ledger = two_islands(PLACES, PLACES + ASIDE)

    assert agrees(ledger, Proposal(JOIN, (700.0, 0.0, 960.0, 1280.0)), UM)


def known_apart(diameters_um: tuple[float, float]) -> tuple[Ledger, Cell, Cell]:
    """Two counted cells of these diameters, 3.5 um apart: one that each of two islands knows."""
    ledger = two_islands(PLACES[:1], np.add(PLACES[:1], (0.0, 3.5 / UM)))
    older, younger = ledger.cells()
    older.diameter_um, younger.diameter_um = diameters_um
    for cell in (older, younger):
        count(cell)
    return ledger, older, younger


@pytest.mark.parametrize("diameters_um", [(14.0, 5.0), (5.0, 14.0)])
def test_a_nucleus_that_one_island_knows_by_a_lobe_is_not_counted_twice(diameters_um: tuple[float, float]) -> None:
    ledger, older, younger = known_apart(diameters_um)

    (pair,) = merge(ledger, JOIN, UM)

    assert (pair.kept, pair.gone) == (older, younger)
    assert list(ledger.cells()) == [older]


def test_two_small_cells_that_touch_stay_two_though_each_island_knows_one_of_them() -> None:
    ledger, _, _ = known_apart((6.5, 6.5))

    assert merge(ledger, JOIN, UM) == []
    assert len(ledger) == 2


def test_a_neighbour_within_a_large_cells_reach_stays_where_the_border_had_cut_it_on_the_other_island() -> None:
    ledger = two_islands(PLACES[:1], np.vstack([PLACES[:1] + 2, np.add(PLACES[:1], (0.0, 5.5 / UM))]))
    large, same, neighbour = ledger.cells()
    large.diameter_um = same.diameter_um = 14.0

    (pair,) = merge(ledger, JOIN, UM)

    assert (pair.kept, pair.gone) == (large, same)
    assert list(ledger.cells()) == [large, neighbour]
