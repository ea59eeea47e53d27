import math
from fractions import Fraction

import pytest

from fnrbc_device.intervals import clopper_pearson, per_hundred, share


def at_least(successes, trials, probability):
    p = Fraction(probability)
    terms = (math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(successes, trials + 1))
    return float(sum(terms))


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (9, 10), (236, 237), (3, 600), (40, 41)])
def test_both_tails_hold_exactly_two_and_a_half_percent(successes, trials):
    low, high = clopper_pearson(successes, trials)

    assert at_least(successes, trials, low) == pytest.approx(0.025, abs=1e-9)
    assert 1 - at_least(successes + 1, trials, high) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize("trials", [1, 7, 100, 5000])
def test_no_success_and_nothing_but_success_have_the_known_closed_form(trials):
    bound = 0.025 ** (1 / trials)

    assert clopper_pearson(0, trials) == pytest.approx((0.0, 1 - bound), abs=1e-9)
    assert clopper_pearson(trials, trials) == pytest.approx((bound, 1.0), abs=1e-9)


def test_success_and_failure_are_mirror_images():
    low, high = clopper_pearson(13, 90)
    assert clopper_pearson(77, 90) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_without_a_trial_nothing_is_known():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert share(0, 0).value == 0.0


def test_a_million_trials_come_close_to_the_normal_approximation():
    low, high = clopper_pearson(300_000, 1_000_000)
    half = 1.959964 * math.sqrt(0.3 * 0.7 / 1e6)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=2e-6)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_what_is_no_count_is_refused(successes, trials):
    with pytest.raises(ValueError, match="is needed"):
        clopper_pearson(successes, trials)


def test_a_ratio_of_counts_has_the_interval_of_its_share():
    found = per_hundred(5, 100)
    low, high = clopper_pearson(5, 105)

    assert found.value == 5.0
    assert found.low / (100 + found.low) == pytest.approx(low)
    assert found.high / (100 + found.high) == pytest.approx(high)


def test_no_event_still_has_an_upper_end():
    found = per_hundred(0, 100)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 3.7 < found.high < 3.8


def test_a_ratio_to_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        per_hundred(3, 0)
