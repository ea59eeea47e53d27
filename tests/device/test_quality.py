"""A laboratory's own quality control: limit of blank, Westgard's rules, agreement of two methods."""

import numpy as np
import pytest
from scipy import optimize, stats

from fnrbc_device.intervals import student_t
from fnrbc_device.quality.agreement import bland_altman, deming, passing_bablok
from fnrbc_device.quality.blanks import Blank, limit_of_blank, percentile
from fnrbc_device.quality.westgard import ControlPoint, broken_rules, rejects, z_score

# Peak expiratory flow by two meters, l/min: Bland and Altman, Lancet 1986, table 1, the first of each pair.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# The example of Deming regression in the manual of NCSS (chapter 303), by Cornbleet and Gochman's formula.
X = [7.0, 8.3, 10.5, 9.0, 5.1, 8.2, 10.2, 10.3, 7.1, 5.9]
Y = [7.9, 8.2, 9.6, 9.0, 6.5, 7.3, 10.2, 10.6, 6.3, 5.2]


@pytest.mark.parametrize("degrees", [1, 2, 3, 8, 16, 39, 200])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_students_t_is_scipys(degrees, confidence):
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_t(degrees, confidence) == pytest.approx(expected, rel=1e-9)


def test_the_limit_of_60_blanks_is_read_off_at_their_rank_of_57_and_a_half():
    blanks = [Blank(n, 1000) for n in range(60)]
    found = limit_of_blank(blanks)
    assert found.method == "nonparametric"
    assert found.per_100 == pytest.approx(5.65)  # between the 57th, 5.6 per 100, and the 58th, 5.7
    assert percentile([float(n) for n in range(60)]) == pytest.approx(np.percentile(range(60), 95, method="hazen"))


def test_the_limit_of_fewer_blanks_is_parametric_with_the_correction_for_few():
    counts = [3, 5, 8, 4, 9, 6, 7, 5, 4, 10]
    found = limit_of_blank([Blank(n, 1000) for n in counts])
    rates = np.array(counts) / 10
    assert found.method == "parametric"
    assert found.per_100 == pytest.approx(rates.mean() + 1.645 / (1 - 1 / 36) * rates.std(ddof=1))
    assert (found.blanks, found.fnrbc, found.leukocytes) == (10, 61, 10_000)


def test_blanks_without_a_false_positive_do_not_show_that_there_are_none():
    found = limit_of_blank([Blank(0, 200)] * 5)
    assert found.per_100 == found.pooled.high
    assert 0.36 < found.per_100 < 0.38  # 1 - 0.025 ** (1 / 1001), per 100 of the others


@pytest.mark.parametrize("blanks", [[], [Blank(1, 1000)] * 4, [Blank(1, 99)] * 60])
def test_too_few_blanks_or_too_few_leukocytes_give_no_limit(blanks):
    assert limit_of_blank(blanks) is None


def test_the_parametric_limit_is_exceeded_by_one_blank_in_twenty():
    rng = np.random.default_rng(1)
    false = rng.poisson(8, (4000, 20))
    limits = [limit_of_blank([Blank(int(n), 1000) for n in row]).per_100 for row in false]
    above = np.mean(rng.poisson(8, 4000) / 10 > np.array(limits))
    assert 0.03 < above < 0.08


def points(*z, material="low", run=None):
    return [ControlPoint(material, run or str(day), one) for day, one in enumerate(z)]


# Each rule as it is defined and drawn in Westgard et al., Clin. Chem. 27 (1981) 493.
@pytest.mark.parametrize(
    ("z", "rules"),
    [
        ((0.5,), ()),
        ((2.0,), ()),
        ((2.1,), ("1_2s",)),
        ((3.1,), ("1_2s", "1_3s")),
        ((-3.1,), ("1_2s", "1_3s")),
        ((2.1, 2.2), ("1_2s", "2_2s")),
        ((2.1, -2.2), ("1_2s",)),
        ((1.1, 1.2, 1.3, 1.1), ("4_1s",)),
        ((1.1, 1.2, 1.0, 1.1), ()),
        ((-1.1, -1.2, -1.3, -1.1), ("4_1s",)),
        ((0.1,) * 10, ("10_x",)),
        ((0.1,) * 9, ()),
        ((0.1,) * 5 + (0.0,) + (0.1,) * 5, ()),
        ((-0.1,) * 10, ("10_x",)),
    ],
)
def test_the_newest_control_breaks_the_rules_that_its_past_makes_it_break(z, rules):
    assert broken_rules(points(*z))[-1] == rules


def test_within_one_run_rules_look_across_materials():
    for second, rule in ((-2.5, "R_4s"), (2.5, "2_2s")):
        run = [ControlPoint("low", "monday", 2.5), ControlPoint("high", "monday", second)]
        assert broken_rules(run) == [("1_2s",), ("1_2s", rule)]
        apart = [ControlPoint("low", "monday", 2.5), ControlPoint("high", "tuesday", second)]
        assert broken_rules(apart) == [("1_2s",), ("1_2s",)]


def test_two_materials_day_by_day_as_in_westgards_lesson():
    """Control 1 has 200 +- 4 mg/dl, control 2 250 +- 5: limits of 188 to 212 and 235 to 265."""
    days = [(200, 247), (205, 250), (195, 255), (202, 243), (186, 254), (209, 264)]
    row = []
    for day, (first, second) in enumerate(days):
        row.append(ControlPoint("1", str(day), z_score(first, 200, 4)))
        row.append(ControlPoint("2", str(day), z_score(second, 250, 5)))
    found = broken_rules(row)
    assert found[:8] == [()] * 8
    assert found[8] == ("1_2s", "1_3s")  # 186 lies below 188
    assert found[9] == ()
    assert found[10] == ("1_2s",)  # 209 lies above 208
    assert found[11] == ("1_2s", "2_2s")  # and so does 264 above 260, in the same run
    assert [rejects(rules) for rules in found[8:]] == [True, False, False, True]


def test_a_recorded_control_has_no_spread_and_must_come_out_the_same():
    assert z_score(2.5, 2.5, 0.0) == 0
    assert broken_rules(points(z_score(2.6, 2.5, 0.0)))[-1] == ("1_2s", "1_3s")
    assert broken_rules(points(z_score(2.4, 2.5, 0.0)))[-1] == ("1_2s", "1_3s")


def test_bland_and_altmans_own_example():
    found = bland_altman(WRIGHT, MINI)
    assert found.bias.value == pytest.approx(2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.lower.value, found.upper.value) == pytest.approx((-73.9, 78.1), abs=0.1)


def test_bland_altman_is_statsmodels_and_scipys():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    rng = np.random.default_rng(3)
    first = rng.gamma(2, 3, 50)
    second = first * 1.1 + rng.normal(0, 0.5, 50)
    reference = weightstats.DescrStatsW(second - first)
    found = bland_altman(first, second)
    assert (found.bias.low, found.bias.high) == pytest.approx(reference.tconfint_mean())
    assert found.sd == pytest.approx(np.sqrt(reference.var_ddof(1)))
    low, high = stats.norm.interval(0.95, reference.mean, np.sqrt(reference.var_ddof(1)))
    assert (found.lower.value, found.upper.value) == pytest.approx((low, high), rel=1e-6)


def test_a_limit_of_agreement_lies_in_its_interval_as_often_as_is_said():
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(2000):
        differences = rng.normal(0.3, 1, 40)
        upper = bland_altman(np.zeros(40), differences).upper
        held += upper.low <= 0.3 + 1.959964 <= upper.high
    assert 0.93 < held / 2000 < 0.97


def test_deming_of_a_published_example():
    found = deming(X, Y, error_ratio=4)
    assert found.slope.value == pytest.approx(1.00119, abs=5e-6)
    assert found.intercept.value == pytest.approx(-0.08974, abs=5e-6)
    t = stats.t.ppf(0.975, 8)
    assert (found.slope.high - found.slope.value) / t == pytest.approx(0.1872, abs=5e-5)
    assert (found.intercept.high - found.intercept.value) / t == pytest.approx(1.722, abs=5e-4)


@pytest.mark.parametrize("error_ratio", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(5))
def test_deming_is_the_line_of_the_least_weighed_distances(seed, error_ratio):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 20, 30)
    x, y = truth + rng.normal(0, np.sqrt(error_ratio), 30), 1.2 * truth - 0.4 + rng.normal(0, 1, 30)

    def distances(line):
        return (y - line[1] - line[0] * x) / np.sqrt(error_ratio * line[0] ** 2 + 1)

    slope, intercept = optimize.least_squares(distances, (1.0, 0.0), xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    found = deming(x, y, error_ratio)
    assert (found.slope.value, found.intercept.value) == pytest.approx((slope, intercept), rel=1e-6, abs=1e-6)


def brute_passing_bablok(x, y):
    """As the paper tells it, pair by pair."""
    slopes = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if x[i] == x[j] and y[i] == y[j]:
                continue
            slope = np.inf * np.sign(y[j] - y[i]) if x[i] == x[j] else (y[j] - y[i]) / (x[j] - x[i])
            if slope != -1:
                slopes.append(slope)
    slopes.sort()
    number, shift, n = len(slopes), sum(slope < -1 for slope in slopes), len(x)
    if number % 2:
        slope = slopes[(number + 1) // 2 + shift - 1]
    else:
        slope = (slopes[number // 2 + shift - 1] + slopes[number // 2 + shift]) / 2
    c = stats.norm.ppf(0.975) * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    m1 = round((number - c) / 2)
    low, high = slopes[m1 + shift - 1], slopes[number - m1 + 1 + shift - 1]
    return slope, low, high, np.median(y - slope * x), np.median(y - high * x), np.median(y - low * x)


@pytest.mark.parametrize("seed", range(8))
def test_passing_bablok_is_the_papers_recipe(seed):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2, 3, 40)
    x, y = truth + rng.normal(0, 0.4, 40), 0.9 * truth + rng.normal(0, 0.4, 40)
    if seed % 2:  # counts of a slide are often the same
        x, y = np.round(x), np.round(y)
    found = passing_bablok(x, y)
    ours = (found.slope.value, found.slope.low, found.slope.high)
    ours += (found.intercept.value, found.intercept.low, found.intercept.high)
    assert ours == pytest.approx(brute_passing_bablok(x, y))


def test_lines_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = {"deming": 0, "passing_bablok": 0}
    for _ in range(300):
        truth = rng.uniform(0, 20, 40)
        x, y = truth + rng.normal(0, 1, 40), truth + rng.normal(0, 1, 40)
        for fit in (deming, passing_bablok):
            line = fit(x, y)
            held[fit.__name__] += line.slope.low <= 1 <= line.slope.high
    assert all(0.9 < n / 300 <= 1 for n in held.values()), held


@pytest.mark.parametrize("fit", [bland_altman, deming, passing_bablok])
def test_two_slides_say_nothing_of_agreement(fit):
    assert fit([1.0, 2.0], [1.0, 2.0]) is None


@pytest.mark.parametrize("fit", [deming, passing_bablok])
def test_there_is_no_line_through_slides_that_all_read_the_same(fit):
    assert fit([2.0, 2.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0]) is None


@pytest.mark.parametrize("fit", [bland_altman, deming, passing_bablok])
def test_pairs_that_are_none_are_refused(fit):
    with pytest.raises(ValueError, match="one of each method for each slide"):
        fit([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no number"):
        fit([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
