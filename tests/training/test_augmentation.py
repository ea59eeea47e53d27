import itertools

import numpy as np
import pytest

from fnrbc_training.augmentation import augment, symmetry
from fnrbc_training.variation import WITHIN, varied

CORNER = np.zeros((4, 4, 3), np.uint8)
CORNER[0, 1] = 255
"""Has no symmetry of its own, so all eight of the square's look different."""


def test_there_are_exactly_the_eight_symmetries_of_the_square():
    pictures = [symmetry(CORNER, which) for which in range(8)]
    assert np.array_equal(pictures[0], CORNER)
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(pictures, 2))


def test_two_symmetries_after_each_other_are_one_of_the_eight():
    pictures = {symmetry(CORNER, which).tobytes() for which in range(8)}
    twice = {symmetry(symmetry(CORNER, a), b).tobytes() for a in range(8) for b in range(8)}
    assert twice == pictures


@pytest.mark.parametrize("first", [0, 8, 40])
def test_eight_epochs_show_each_crop_in_each_symmetry_once(first):
    shown = {
        augment(CORNER[None], np.array([5]), "symmetries", epoch, seed=1).tobytes() for epoch in range(first, first + 8)
    }
    assert len(shown) == 8


def test_what_happens_to_a_crop_does_not_depend_on_its_company(painted):
    rows = np.array([3, 50, 99])
    together = augment(painted.crops[rows], rows, "appearance", epoch=2, seed=4)
    alone = augment(painted.crops[50:51], rows[1:2], "appearance", epoch=2, seed=4)
    assert np.array_equal(together[1], alone[0])


def test_another_epoch_or_seed_gives_another_appearance(painted):
    rows = np.arange(20)
    shown = [
        augment(painted.crops[:20], rows, "appearance", epoch, seed).tobytes()
        for epoch, seed in [(0, 1), (1, 1), (0, 2), (8, 1)]
    ]
    assert len(set(shown)) == 4


def test_none_leaves_the_crops_alone(painted):
    assert augment(painted.crops, np.arange(len(painted)), "none", 3, 1) is painted.crops


def test_appearance_keeps_shape_type_and_the_place_of_the_cell(painted):
    rng = np.random.default_rng(0)
    for crop in painted.crops[:40]:
        shown = varied(crop, rng, WITHIN)
        assert shown.shape == crop.shape
        assert shown.dtype == np.uint8
        rows, cols = np.nonzero(shown[..., 1] < shown[0, 0, 1] * 0.6)
        assert np.hypot(rows.mean() - 59.5, cols.mean() - 59.5) < 6
