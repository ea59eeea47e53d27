import math
from fractions import Fraction

import numpy as np
import pytest

from fnrbc_device.intervals import clopper_pearson, per_hundred, reference_to_go, share


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


def half_width(events, reference):
    found = per_hundred(events, reference)
    return (found.high - found.low) / 2 / found.value


@pytest.mark.parametrize(("events", "reference"), [(5, 100), (40, 200), (250, 100), (7, 5000)])
@pytest.mark.parametrize("within", [0.1, 0.2, 0.5])
def test_counting_as_many_more_as_planned_brings_the_interval_within_the_aim_and_fewer_do_not(
    events, reference, within
):
    more = reference_to_go(events, reference, within)
    ratio = events / reference

    at = reference + more
    expected = half_width(round(ratio * at), at)
    assert expected <= 1.02 * within  # a whole number of events is not exactly the ratio
    if more > 100:
        fewer = reference + int(0.9 * more)
        assert half_width(round(ratio * fewer), fewer) > within


@pytest.mark.parametrize(("per_100", "first"), [(3.0, 400), (15.0, 200)])
def test_slides_counted_on_as_planned_end_with_the_interval_that_was_aimed_at(per_100, first):
    rng = np.random.default_rng(7)
    reached = []
    for _ in range(200):
        events = max(1, int(rng.poisson(per_100 * first / 100)))
        more = reference_to_go(events, first)
        reached.append(half_width(events + int(rng.poisson(per_100 * more / 100)), first + more))

    # The ratio that is planned with is itself a guess: half of the slides fall short, half overshoot, none by much.
    assert np.median(reached) == pytest.approx(0.2, rel=0.05)


def test_no_more_are_needed_where_the_interval_is_narrow_enough():
    assert half_width(400, 4000) < 0.2
    assert reference_to_go(400, 4000) == 0


@pytest.mark.parametrize(("events", "reference"), [(0, 0), (0, 500), (3, 0)])
def test_there_is_no_plan_without_a_ratio(events, reference):
    assert reference_to_go(events, reference) is None


def test_a_narrower_aim_needs_more():
    assert reference_to_go(20, 300, 0.1) > reference_to_go(20, 300, 0.2) > reference_to_go(20, 300, 0.4)
