import numpy as np
import pytest

from fnrbc_training.baseline import area_under_curve, background_auc
from fnrbc_training.bootstrap import difference_by_group, share_by_group
from fnrbc_training.metrics import (
    choose_band,
    choose_temperature,
    expected_calibration_error,
    false_positives_per_thousand,
    measure,
    softmax,
)

CLASSES = ("fnrbc", "leukocyte", "other")


def certain(columns):
    return np.eye(3)[columns] * 0.98 + 0.01 * (1 - np.eye(3)[columns])


def test_figures_are_those_of_a_table_counted_by_hand():
    labels = np.array([0] * 10 + [1] * 20 + [2] * 5)
    decided = labels.copy()
    decided[0] = 1  # one fNRBC missed
    decided[10:12] = 0  # two leukocytes taken for fNRBC
    decided[12] = 2  # a leukocyte taken for other: no fNRBC, so right
    probabilities = certain(decided)
    probabilities[13] = [0.5, 0.5, 0.0]  # one leukocyte left undecided: wrong

    found = measure(probabilities, labels, np.array(CLASSES)[labels], CLASSES, 0, (0.3, 0.7))

    assert found.n == 35
    assert found.indeterminate == 1
    assert found.sensitivity.value == 9 / 10
    assert found.specificity.value == 22 / 25
    assert found.accuracy.value == 31 / 35
    assert found.accuracy.low < 31 / 35 < found.accuracy.high
    assert found.confusion["leukocyte"] == {"fnrbc": 2, "leukocyte": 16, "other": 1, "indeterminate": 1}


def test_an_undecided_fnrbc_is_a_missed_one():
    probabilities = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    found = measure(probabilities, np.array([0, 0]), ["e", "e"], CLASSES, 0, (0.3, 0.7))
    assert found.sensitivity.value == 0.5


def test_promises_that_are_kept_have_no_calibration_error():
    rng = np.random.default_rng(3)
    promised = rng.random(200_000)
    assert expected_calibration_error(promised, rng.random(200_000) < promised, np.ones(200_000)) < 0.01


def test_overconfidence_shows_as_calibration_error():
    promised = np.full(1000, 0.99)
    truth = np.arange(1000) < 700
    assert expected_calibration_error(promised, truth, np.ones(1000)) == pytest.approx(0.29)


def test_the_temperature_that_spoiled_the_logits_is_found_again():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (20_000, 3))
    drawn = np.array([rng.choice(3, p=p) for p in softmax(logits, 1.0)])
    assert choose_temperature(logits * 2.5, drawn) == pytest.approx(2.5, rel=0.05)


def test_a_tuning_set_without_an_error_does_not_call_for_certainty():
    labels = np.repeat([0, 1, 2], 100)
    logits = 4.0 * np.eye(3)[labels]
    sure = softmax(logits, choose_temperature(logits, labels)).max(axis=1)
    assert 0.99 < sure.mean() < 0.998


def test_false_positives_are_counted_on_a_thousand_leukocytes():
    probabilities = np.array([0.9, 0.1, 0.8, 0.2, 0.1, 0.7])
    labels = np.array([0, 0, 1, 1, 1, 2])  # a leukocyte and a piece of dirt are taken for fNRBC
    found = false_positives_per_thousand(probabilities, labels == 0, labels == 1, 0.5)
    assert found == pytest.approx(1000 * 2 / 3)


def test_an_interval_is_wider_where_the_cells_of_a_group_go_wrong_together():
    right = np.ones(400, bool)
    right[:40] = False
    apart, together = np.arange(400).astype(str), (np.arange(400) // 20).astype(str)
    narrow, wide = share_by_group(right, apart), share_by_group(right, together)
    assert narrow.value == wide.value == 0.9
    assert narrow.low < 0.9 < narrow.high
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_bootstrapped_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        groups = np.repeat(np.arange(30), 10).astype(str)
        right = rng.random(300) < np.repeat(rng.beta(9, 1, 30), 10)
        interval = share_by_group(right, groups)
        held += interval.low <= 0.9 <= interval.high
    assert held >= 50


def test_all_right_is_not_certainty():
    interval = share_by_group(np.ones(100, bool), np.arange(100).astype(str))
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert 0.95 < interval.low < 0.97


def test_a_difference_is_paired_and_its_interval_holds_nil_where_there_is_none():
    rng = np.random.default_rng(4)
    groups = (np.arange(500) // 10).astype(str)
    first = rng.random(500) < 0.95
    better = first | (rng.random(500) < 0.9)
    assert difference_by_group(better, first, groups).low > 0
    nil = difference_by_group(rng.permutation(first), first, groups)
    assert nil.low < 0 < nil.high


def test_the_band_holds_no_more_tuning_crops_than_allowed():
    rng = np.random.default_rng(11)
    probabilities = rng.beta(0.2, 0.2, 4000)
    low, high = choose_band(probabilities, 0.5)
    inside = np.count_nonzero((probabilities >= low) & (probabilities < high))
    assert low < 0.5 < high
    assert inside <= 0.0025 * 4000


def test_the_band_stays_narrow_where_nothing_is_near():
    low, high = choose_band(np.array([0.0001, 0.9999] * 50), 0.5)
    assert (low, high) == pytest.approx((0.438, 0.562), abs=1e-3)


def test_area_under_the_curve_counts_pairs_and_halves_ties():
    positive = np.array([True, True, False, False])
    assert area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), positive, np.ones(4)) == 0.75
    assert area_under_curve(np.zeros(4), positive, np.ones(4)) == 0.5


def test_where_no_positive_was_drawn_the_curve_has_no_area():
    assert np.isnan(area_under_curve(np.arange(4.0), np.array([True, False, False, False]), np.array([0.0, 1, 1, 1])))


@pytest.mark.parametrize("figure", [area_under_curve, expected_calibration_error])
def test_a_cell_that_was_drawn_several_times_counts_as_often(figure):
    rng = np.random.default_rng(8)
    promised, drawn = np.round(rng.random(300), 2), rng.integers(0, 4, 300)  # rounded, so that some are equal
    truth = rng.random(300) < promised

    repeated = figure(np.repeat(promised, drawn), np.repeat(truth, drawn), np.ones(drawn.sum()))
    assert figure(promised, truth, drawn.astype(float)) == pytest.approx(repeated)


def test_a_background_that_tells_nothing_reaches_chance_and_one_that_tells_all_reaches_one(painted):
    rings = np.zeros_like(painted.rings)
    assert background_auc(replaced(painted, rings))[0].value == 0.5
    rings[:, 0] = painted.labels == 0
    assert background_auc(replaced(painted, rings))[0].value == 1.0


def test_what_a_noisy_background_tells_has_an_interval_that_holds_chance(painted):
    found, _ = background_auc(painted)  # its rings are random
    assert found.low < 0.5 < found.high
    assert found.low <= found.value <= found.high


def replaced(crops, rings):
    import dataclasses

    return dataclasses.replace(crops, rings=rings)
