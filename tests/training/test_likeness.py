import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from fnrbc_device.errors import UsageError
from fnrbc_training.likeness import look_at, near_pairs
from fnrbc_training.splitting import balanced_parts, contradictions, keep_together, require_no_leak

SIDE = 300
CENTRE = (149.5, 149.5)
PIXEL_SIZE_UM = 0.1


def smear(seed):
    """A nucleus among red cells: no two places look the same."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE, 3), (235, 225, 220), np.uint8)
    for row, col in rng.uniform(0, SIDE, (25, 2)):
        cv2.circle(picture, (int(col), int(row)), int(rng.integers(25, 36)), (215, 165, 175), -1, cv2.LINE_AA)
    cv2.circle(picture, (SIDE // 2, SIDE // 2), int(rng.integers(28, 40)), (95, 45, 130), -1, cv2.LINE_AA)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def looks(pictures):
    return np.stack([look_at(p, CENTRE, PIXEL_SIZE_UM)[None] for p in pictures])


def saved_again(picture):
    return cv2.imdecode(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 50))[1], cv2.IMREAD_COLOR)


COPIES = {
    "JPEG 50": saved_again,
    "blur": lambda p: cv2.GaussianBlur(p, (0, 0), 1),
    "darker": lambda p: (p * 0.85).astype(np.uint8),
    "noise": lambda p: np.clip(p + np.random.default_rng(9).normal(0, 5, p.shape), 0, 255).astype(np.uint8),
    "turned": np.rot90,
    "mirrored": lambda p: p[:, ::-1],
}


@pytest.mark.parametrize("how", COPIES)
def test_a_picture_that_was_changed_and_saved_again_is_found_among_others(how):
    pictures = [smear(seed) for seed in range(20)]
    pictures.append(np.ascontiguousarray(COPIES[how](pictures[7])))
    assert near_pairs(looks(pictures)).tolist() == [[7, 20]]


def test_all_eight_symmetries_of_a_picture_are_one():
    pictures = [smear(seed) for seed in range(12)]
    turned = [np.ascontiguousarray(np.rot90(pictures[0], k)) for k in range(1, 4)]
    assert near_pairs(looks(pictures + turned)).tolist() == [
        list(p) for p in itertools.combinations([0, 12, 13, 14], 2)
    ]


def test_pictures_that_show_nothing_of_their_own_are_no_copies_of_each_other():
    discs = np.full((40, SIDE, SIDE, 3), 240, np.uint8)
    for disc in discs:
        cv2.circle(disc, (SIDE // 2, SIDE // 2), 30, (90, 40, 140), -1, cv2.LINE_AA)
    assert len(near_pairs(looks(discs))) == 0


def with_copy(painted, first, second):
    copied = painted.looks.copy()
    copied[second] = copied[first]
    return dataclasses.replace(painted, looks=copied)


def pair_across_the_split(painted, same_label=True):
    training = np.flatnonzero(painted.parts == "training")
    heldout = np.flatnonzero(painted.parts == "heldout")
    return next(
        (int(a), int(b))
        for a in training
        for b in heldout
        if a < b and (painted.labels[a] == painted.labels[b]) == same_label
    )


def test_near_duplicates_come_to_one_side(painted):
    a, b = pair_across_the_split(painted)
    kept = keep_together(with_copy(painted, a, b), stated=np.zeros(len(painted), bool))
    assert kept.parts[b] == kept.parts[a] == "training"
    assert kept.groups[b] == kept.groups[a]
    require_no_leak(kept)


def test_a_split_that_leaks_is_refused_with_both_names(painted):
    a, b = pair_across_the_split(painted)
    with pytest.raises(UsageError, match=rf"leaks.*{painted.names[a]} \(training\).*{painted.names[b]} \(heldout\)"):
        require_no_leak(with_copy(painted, a, b))


def test_a_part_that_the_data_states_is_not_changed_but_refused(painted):
    a, b = pair_across_the_split(painted)
    kept = keep_together(with_copy(painted, a, b), stated=np.ones(len(painted), bool))
    with pytest.raises(UsageError, match="the split leaks: 1 look-alike pair "):
        require_no_leak(kept)


def test_a_group_on_two_sides_is_refused_by_its_name(painted):
    groups = painted.groups.copy()
    groups[painted.parts == "heldout"] = groups[0]
    with pytest.raises(UsageError, match=f"leaks.*{groups[0]}.*two sides"):
        require_no_leak(dataclasses.replace(painted, groups=groups))


def test_near_duplicates_with_two_labels_are_named(painted):
    a, b = pair_across_the_split(painted, same_label=False)
    named = contradictions(with_copy(painted, a, b))
    assert str(painted.names[a]) in named
    assert str(painted.names[b]) in named
    assert contradictions(painted) == ""


@pytest.mark.parametrize("donors", [4, 11, 60])
def test_groups_are_shared_out_so_that_every_part_has_every_class(donors):
    rng = np.random.default_rng(donors)
    groups = rng.integers(0, donors, 600)
    labels = rng.choice(3, 600, p=[0.2, 0.6, 0.2])
    parts = balanced_parts([f"donor {g}" for g in groups], labels.tolist())
    placed = np.array([parts[f"donor {g}"] for g in groups])

    for part in ("training", "tuning", "heldout"):
        assert set(labels[placed == part]) == {0, 1, 2}
    assert np.mean(placed == "training") > 0.4
