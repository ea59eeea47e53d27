"""Two counts of the same frames: each cell beside itself, and every change told."""

from typing import Any

import numpy as np
import pytest

from fnrbc_device.errors import UsageError
from fnrbc_device.reporting.difference import CountedCell, Earlier, differ, require_same_frames

UM = 0.1
CLASSES = ("fnrbc", "leukocyte", "other", "indeterminate")


def counted(cell: int, x_px: float, y_px: float, class_name: str = "fnrbc", island: int = 0) -> CountedCell:
    return CountedCell(cell, island, x_px, y_px, UM * x_px, UM * y_px, class_name, 0.9)


def as_row(cell: CountedCell) -> dict[str, Any]:
    names = ("cell", "island", "x_px", "y_px", "x_um", "y_um", "probability")
    return {**{name: getattr(cell, name) for name in names}, "class": cell.class_name}


def between(before: list[CountedCell], now: list[CountedCell]) -> Any:
    return differ(Earlier(tuple(before), 10, "b"), [as_row(cell) for cell in now], UM)


@pytest.mark.parametrize("seed", range(5))
def test_each_cell_is_paired_with_itself_whatever_the_order_and_a_small_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = [(60.0 * row, 60.0 * col) for row in range(12) for col in range(12)]
    before = [counted(n, *place, CLASSES[int(rng.integers(4))]) for n, place in enumerate(places)]
    shifted = rng.uniform(-7, 7, (len(before), 2))
    now = [
        counted(1000 + one.cell, one.x_px + dx, one.y_px + dy, CLASSES[int(rng.integers(4))])
        for one, (dx, dy) in zip(before, shifted, strict=True)
    ]
    rng.shuffle(now)

    told = between(before, now)

    assert [one.cell - other.cell for other, one in told.pairs] == [1000] * len(before)
    changed = sum(other.class_name != one.class_name for other, one in told.pairs)
    assert told.changes.total() == told.summary("b")["changed"] == sum(row[-1] for row in told.rows()) == changed


def test_what_only_one_count_has_is_told_as_such() -> None:
    told = between([counted(1, 0, 0), counted(2, 500, 0)], [counted(7, 1, 0), counted(8, 900, 0, "other")])

    assert told.summary("b") == {"bundle_before": "b", "cells": 3, "changed": 2, "only_before": 1, "only_now": 1}
    assert [row[:2] for row in told.rows()] == [(7, 1), (8, ""), ("", 2)]
    assert "1 other only in this count" in told.in_words()
    assert "1 fnrbc only in the earlier count" in told.in_words()


def test_cells_at_one_place_of_two_islands_are_two_cells() -> None:
    told = between([counted(1, 5, 5, island=0)], [counted(1, 5, 5, island=1)])

    assert [(bool(before), bool(now)) for before, now in told.pairs] == [(False, True), (True, False)]


def test_of_two_neighbours_each_goes_to_the_nearer() -> None:
    told = between([counted(1, 0, 0), counted(2, 25, 0)], [counted(1, 20, 0), counted(2, 2, 0)])

    assert [(before.cell, now.cell) for before, now in told.pairs] == [(2, 1), (1, 2)]


def test_the_sentence_names_each_change_the_most_frequent_first() -> None:
    before = [counted(n, 100 * n, 0, "fnrbc" if n < 4 else "other") for n in range(6)]
    now = [counted(n, 100 * n, 0, "other" if n < 3 else "fnrbc") for n in range(6)]

    assert between(before, now).in_words() == "5 of 6 cells changed: 3 fnrbc became other, 2 other became fnrbc"
    assert between(before, before).in_words() == "0 of 6 cells changed"


def test_counts_of_different_frames_are_not_compared() -> None:
    with pytest.raises(UsageError, match="a count of 10 frames, the source has 12; compare with a count of the same"):
        require_same_frames(Earlier((), 10, "b"), 12)
