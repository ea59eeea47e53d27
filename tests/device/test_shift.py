"""A shift that lies where it is expected needs no search, and is as exact as one that was searched for."""

import cv2
import numpy as np
import pytest

from fnrbc_device.vision.shift import ShiftPicture, expected_shift, find_shift

SIDES = (240, 320)
UM = 0.42


@pytest.fixture(scope="module")
def pictures() -> tuple[ShiftPicture, ShiftPicture, tuple[float, float]]:
    """Two cuts of one slide of discs, the later one's content moved by a part of a pixel more than (5, -9)."""
    rng = np.random.default_rng(3)
    slide = np.full((1400, 1800), 230, np.uint8)
    for _ in range(500):
        cv2.circle(slide, (int(rng.integers(1800)), int(rng.integers(1400))), 32, int(rng.integers(120, 190)), -1)
    slide = cv2.GaussianBlur(slide, (0, 0), 4)

    def cut(row: int, col: int) -> ShiftPicture:
        part = slide[row : row + 4 * SIDES[0], col : col + 4 * SIDES[1]]
        small = cv2.resize(part, SIDES[::-1], interpolation=cv2.INTER_AREA) + rng.normal(0, 1, SIDES)
        return ShiftPicture.of(np.clip(np.rint(small), 0, 255).astype(np.uint8), UM)

    return cut(100, 100), cut(79, 138), (5.25, -9.5)


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.8, -0.6), (-1.0, 1.0)])
def test_what_lies_about_where_it_is_expected_is_found_there(pictures, off):
    reference, moving, true = pictures
    found = expected_shift(reference, moving, (true[0] + off[0], true[1] + off[1]))
    assert found is not None
    assert (found.row_px, found.col_px) == pytest.approx(true, abs=0.05)


def test_it_is_where_a_search_finds_it(pictures):
    reference, moving, true = pictures
    searched, expected = find_shift(reference, moving), expected_shift(reference, moving, true)
    assert searched is not None
    assert expected is not None
    assert (expected.row_px, expected.col_px) == pytest.approx((searched.row_px, searched.col_px), abs=0.05)


@pytest.mark.parametrize("expected", [(30.0, -9.5), (5.25, 60.0), (239.0, 0.0), (-400.0, 400.0)])
def test_what_lies_elsewhere_is_left_to_a_search(pictures, expected):
    reference, moving, _ = pictures
    assert expected_shift(reference, moving, expected) is None
