import math

import numpy as np
import pytest
from scipy import stats

from fnrbc_device.counting.claim import EVERY_S, ClaimKeeper, claim
from fnrbc_device.counting.corrected import TAIL, corrected_per_hundred, limit_of_blank
from fnrbc_device.intervals import per_hundred
from fnrbc_device.records import ErrorCounts, Tally

WELL_KNOWN = ErrorCounts(9900, 100, 99_200, 800, "site", "a validation")
SHIPPED = ErrorCounts(230, 2, 506, 4, "shipped", "pbc")


def errors(sensitivity, false, cells):
    right, wrong = round(sensitivity * cells), round(false * cells)
    return ErrorCounts(right, cells - right, cells - wrong, wrong, "site", "made up")


def test_the_point_is_rogan_and_gladens():
    # Worked by hand: 5 % called, 90 % found, 1 % false: (0.05 - 0.01) / (0.9 - 0.01) = 4.494 % fNRBC of all cells.
    found = corrected_per_hundred(50, 950, [errors(0.9, 0.01, 1000)])
    share = (0.05 - 0.01) / (0.9 - 0.01)
    assert found.value == pytest.approx(100 * share / (1 - share))
    assert found.low < found.value < found.high


def test_a_network_that_makes_no_error_leaves_the_plain_ratio_and_its_interval():
    perfect = errors(1.0, 0.0, 10_000_000)
    found, plain = corrected_per_hundred(30, 1000, [perfect]), per_hundred(30, 1000)
    assert found.value == pytest.approx(plain.value)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.05)  # mid-P is a little narrower


def test_the_less_the_errors_are_known_the_wider_the_interval():
    widths = []
    for cells in (100_000, 10_000, 1000, 100):
        found = corrected_per_hundred(60, 1000, [errors(0.95, 0.01, cells)])
        widths.append(found.high - found.low)
    assert widths == sorted(widths)


def test_the_interval_is_wide_enough_for_every_laboratory_that_was_measured():
    one, other = errors(0.99, 0.001, 1000), errors(0.6, 0.05, 1000)
    alone = [corrected_per_hundred(40, 1000, [each]) for each in (one, other)]
    both = corrected_per_hundred(40, 1000, [one, other])
    assert both.low == min(found.low for found in alone)
    assert both.high == max(found.high for found in alone)


@pytest.mark.parametrize(
    ("called", "leukocytes", "known"),
    [(0, 1, SHIPPED), (5, 1, SHIPPED), (0, 10**6, SHIPPED), (10**6, 1, SHIPPED), (3, 200, errors(0.0, 1.0, 50)),
     (3, 200, ErrorCounts(0, 0, 0, 0, "site", "nothing")), (1, 1, errors(0.5, 0.5, 10))],
)  # fmt: skip
def test_no_count_and_no_measurement_breaks_it(called, leukocytes, known):
    found = corrected_per_hundred(called, leukocytes, [known])
    assert 0 <= found.low <= found.value <= found.high
    assert not any(math.isnan(end) for end in (found.low, found.value, found.high))
    assert 0 <= limit_of_blank(called + leukocytes, known.leukocytes_wrong, known.leukocytes) <= called + leukocytes


@pytest.mark.parametrize("cells", [1, 10, 333, 1008, 20_000, 250_000])
@pytest.mark.parametrize(("false", "known"), [(0, 5), (0, 100), (4, 510), (70, 10_948), (500, 1000), (9, 10)])
def test_the_limit_of_blank_is_the_beta_binomials_quantile(cells, false, known):
    limit = limit_of_blank(cells, false, known)
    blank = stats.betabinom(cells, false + 1, known - false)
    assert blank.sf(limit) <= TAIL + 1e-9
    assert limit == 0 or blank.sf(limit - 1) > TAIL - 1e-9


def test_a_slide_above_its_limit_of_blank_is_told_apart_and_one_at_it_is_not():
    at = claim(limit_of_blank(1020, 4, 510), 1020 - limit_of_blank(1020, 4, 510), [SHIPPED])
    assert at.state == "not_distinguishable"
    assert at.corrected.low == 0
    above = claim(at.limit_of_blank + 1, 1019 - at.limit_of_blank, [SHIPPED])
    assert above.state == "above_blank"
    assert above.corrected.low > 0


def test_the_blank_slide_that_read_eight_fnrbc_reads_none():
    said = claim(8, 1000, [SHIPPED])
    assert said.state == "not_distinguishable"
    assert said.corrected.low == 0
    assert said.limit_of_blank == 22
    assert (said.source, said.targets, said.leukocytes) == ("shipped", 232, 510)


def test_one_and_five_in_a_hundred_are_told_apart_where_the_errors_are_known_well():
    for per_100 in (1, 5):
        said = claim(8 + round(9.9 * per_100), 1000, [WELL_KNOWN])
        assert said.state == "above_blank"
        assert said.corrected.low < per_100 < said.corrected.high


def test_a_verified_count_is_corrected_for_misses_alone():
    said = claim(8, 1000, [errors(0.8, 0.01, 1000)], verified=True)
    assert said.state == "above_blank"
    assert said.limit_of_blank == 0
    assert said.corrected.value == pytest.approx(1.0, rel=0.01)  # 8 found of 10
    assert claim(0, 1000, [SHIPPED], verified=True).state == "not_distinguishable"


def test_nothing_is_claimed_of_a_session_beyond_what_was_measured():
    said = claim(100, 1000, [WELL_KNOWN], ("stain_out_of_domain",))
    assert (said.state, said.corrected, said.limit_of_blank) == ("provisional", None, None)


def test_no_leukocyte_no_claim():
    assert claim(3, 0, [SHIPPED]) is None


@pytest.mark.parametrize("prevalence", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("known", [100, 10_000])
def test_the_interval_holds_the_truth_in_nineteen_of_twenty_drawn_slides(prevalence, known):
    rng = np.random.default_rng(31)
    slides, leukocytes, sensitivity, false = 600, 2000, 0.95, 0.008
    targets = rng.poisson(prevalence * leukocytes, slides)
    called = rng.binomial(targets, sensitivity) + rng.binomial(leukocytes, false, slides)
    right, wrong = rng.binomial(known, sensitivity, slides), rng.binomial(known, false, slides)
    said = [
        claim(c, t + leukocytes - c, [ErrorCounts(r, known - r, known - w, w, "site", "drawn")])
        for c, t, r, w in zip(called.tolist(), targets.tolist(), right.tolist(), wrong.tolist(), strict=True)
    ]
    covered = np.mean([one.corrected.low <= 100 * prevalence <= one.corrected.high for one in said])
    above = np.mean([one.state == "above_blank" for one in said])

    assert covered >= 0.92  # four standard errors of 600 slides below 95 %
    if not prevalence:
        assert above <= 0.05


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_running_claim_is_made_anew_when_counts_changed_and_at_most_twice_a_second():
    clock = Clock()
    keeper = ClaimKeeper([SHIPPED], clock)
    first = keeper.claimed(Tally(fnrbc=1, leukocytes=10)).claim
    clock.now = EVERY_S / 2
    assert keeper.claimed(Tally(fnrbc=9, leukocytes=20)).claim is first
    clock.now = EVERY_S
    second = keeper.claimed(Tally(fnrbc=9, leukocytes=20)).claim
    assert second == claim(9, 20, [SHIPPED])
    clock.now = 9 * EVERY_S
    assert keeper.claimed(Tally(fnrbc=9, leukocytes=20)).claim is second


def test_the_last_claim_is_that_of_the_last_counts():
    keeper = ClaimKeeper([SHIPPED], Clock())
    keeper.claimed(Tally(fnrbc=1, leukocytes=10))
    assert keeper.claimed(Tally(fnrbc=30, leukocytes=200), final=True).claim == claim(30, 200, [SHIPPED])


def test_what_makes_a_session_provisional_stands_in_the_tally_at_once_with_no_claim_left():
    keeper = ClaimKeeper([SHIPPED], Clock())
    assert keeper.claimed(Tally(fnrbc=30, leukocytes=200)).claim.state == "above_blank"
    told = keeper.claimed(Tally(fnrbc=30, leukocytes=200), ("focus_out_of_domain",))
    assert told.provisional == ("focus_out_of_domain",)
    assert told.claim.state == "provisional", "a reason does not wait half a second"
