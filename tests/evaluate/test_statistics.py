"""Intervals and tests against scipy, statsmodels, closed forms and brute force; their coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from agora.errors import InputError
from agora.evaluate.measures.calibration import auroc, calibration, ece, equal_mass
from agora.evaluate.measures.significance import detectable, holm, items_needed, mcnemar, sign_flips
from agora.evaluate.measures.statistics import (
    Interval,
    bootstrap_mean,
    clustered_rate,
    mean_interval,
    paired_difference,
    tango,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (499, 500), (5000, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_statsmodels(hits: int, n: int, level: float) -> None:
    made = wilson(hits, n, level)
    low, high = proportion_confint(hits, n, 1 - level, method="wilson")
    assert (made.value, made.n) == (hits / n, n)
    assert made.low == pytest.approx(low, abs=1e-12)
    assert made.high == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (0, 0), (-1, 3), (4, 3)])
def test_what_is_no_proportion_is_refused(hits: int, n: int) -> None:
    with pytest.raises(InputError, match="no proportion"):
        wilson(hits, n)


def test_bootstrap_is_scipys_bca() -> None:
    values = np.random.default_rng(3).beta(5, 0.7, 80)
    made = bootstrap_mean(values, samples=40_000)
    other = stats.bootstrap((values,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(1))
    low, high = other.confidence_interval
    width = high - low
    assert made.value == pytest.approx(values.mean())
    assert made.low == pytest.approx(low, abs=0.02 * width)
    assert made.high == pytest.approx(high, abs=0.02 * width)
    assert made == bootstrap_mean(values, samples=40_000)
    assert made != bootstrap_mean(values, samples=40_000, seed=1)


def test_groups_are_resampled_whole() -> None:
    # 20 groups of 10 equal scores are 20 observations: their standard error is sqrt(10) times that of 200
    rng = np.random.default_rng(0)
    by_group = rng.random(20)
    values, groups = np.repeat(by_group, 10), [f"g{i // 10}" for i in range(200)]
    apart, together = bootstrap_mean(values), bootstrap_mean(values, groups)
    assert together.half / apart.half == pytest.approx(math.sqrt(10), rel=0.06)
    assert together.half == pytest.approx(bootstrap_mean(by_group).half, rel=0.02)
    # groups of different sizes: the ratio estimator, whose variance the linearised one approaches
    sizes = rng.integers(1, 12, 300)
    uneven = np.repeat(rng.random(300), sizes)
    names = np.repeat(np.arange(300).astype(str), sizes).tolist()
    made = bootstrap_mean(uneven, names)
    sums = np.bincount(np.repeat(np.arange(300), sizes), uneven)
    se = math.sqrt((300 / 299) * float(((sums - uneven.mean() * sizes) ** 2).sum())) / sizes.sum()
    assert made.half == pytest.approx(1.96 * se, rel=0.06)
    # who has no group stands for itself; and names that differ only by what arrays cut off are two
    assert bootstrap_mean(by_group, [""] * 20) == bootstrap_mean(by_group)
    assert bootstrap_mean([0.1, 0.9, 0.3], ["a", "a\0", "a"]).n == 3
    assert bootstrap_mean([0.1, 0.9], ["a", "a\0"]).method == "bootstrap"
    with pytest.raises(InputError, match="3 groups do not fit 2 items"):
        bootstrap_mean([0.1, 0.2], ["a", "b", "c"])


def test_equal_scores_still_have_an_interval() -> None:
    # a bootstrap of ten ones would say 1.0 to 1.0
    assert bootstrap_mean([1.0] * 10).low == pytest.approx(wilson(10, 10).low)
    assert bootstrap_mean([0.5] * 10).low == pytest.approx(wilson(5, 10).low)
    assert bootstrap_mean([0.5]).low < 0.5 < bootstrap_mean([0.5]).high
    assert paired_difference([0.5] * 10, [0.5] * 10) == Interval(0.0, *_ends(tango(0, 0, 10)), 10, "Tango")
    assert bootstrap_mean([0.0] * 10, low=-1.0) == tango(0, 0, 10)
    assert bootstrap_mean([0.0] * 10).method == "Wilson"  # of scores, which may not be below 0
    assert paired_difference([0.5] * 4, [0.5] * 4, ["a", "a", "b", "b"]).high == tango(0, 0, 2).high
    with pytest.raises(InputError, match="no items"):
        mean_interval([])


def _ends(made: Interval) -> tuple[float, float]:
    return made.low, made.high


def test_right_and_wrong_get_wilson_and_fractions_a_bootstrap() -> None:
    assert mean_interval([1, 0, 1]).method == "Wilson"
    assert mean_interval([1, 0, 0.5]).method == "bootstrap"
    assert mean_interval([1, 0, 1, 0], ["a", "a", "b", "b"]).method == "Wilson"  # of two groups with the same mean
    assert mean_interval([1, 0, 1, 1], ["a", "a", "b", "b"]).method == "bootstrap"


# ---- paired -----------------------------------------------------------------------------------------------------


def _score_statistic(wins: int, losses: int, n: int, d: float) -> float:
    """The score statistic of p12 - p21 = d, by maximising the multinomial likelihood numerically over p21."""

    def negative(q: float) -> float:
        p = q + d
        rest = 1 - p - q
        terms = [(wins, p), (losses, q), (n - wins - losses, rest)]
        return -sum(k * math.log(max(x, 1e-300)) for k, x in terms if k)

    low, high = max(0.0, -d), (1 - d) / 2
    q = optimize.minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    variance = (2 * q + d - d * d) / n
    return ((wins - losses) / n - d) / math.sqrt(variance)


@pytest.mark.parametrize(("wins", "losses", "n"), [(1, 7, 21), (12, 9, 300), (30, 4, 80), (3, 1, 50)])
def test_tango_inverts_the_score_test(wins: int, losses: int, n: int) -> None:
    made = tango(wins, losses, n)
    z = stats.norm.ppf(0.975)
    assert made.value == (wins - losses) / n
    assert _score_statistic(wins, losses, n, made.low) == pytest.approx(z, abs=1e-3)
    assert _score_statistic(wins, losses, n, made.high) == pytest.approx(-z, abs=1e-3)
    mirrored = tango(losses, wins, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((-made.high, -made.low), abs=1e-12)


def test_tango_without_discordant_pairs_has_a_closed_form() -> None:
    # b = c = 0: the likelihood is highest at the least discordance, |d|, and n d^2 = z^2 (|d| - d^2)
    z2 = stats.norm.ppf(0.975) ** 2
    made = tango(0, 0, 40)
    assert (made.low, made.high) == pytest.approx((-z2 / (40 + z2), z2 / (40 + z2)))
    assert tango(5, 0, 5).high == 1.0
    with pytest.raises(InputError, match="do not fit"):
        tango(3, 3, 5)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_statsmodels(wins: int, losses: int) -> None:
    made = mcnemar(wins, losses)
    if wins + losses:
        other = reference_mcnemar([[5, wins], [losses, 5]], exact=True).pvalue
        assert made.p == pytest.approx(min(1.0, other), rel=1e-9)
        point = stats.binom.pmf(min(wins, losses), wins + losses, 0.5)
        below = stats.binom.cdf(min(wins, losses) - 1, wins + losses, 0.5)
        assert made.mid_p == pytest.approx(2 * below + point, rel=1e-8)
    else:
        assert (made.p, made.mid_p) == (1.0, 1.0)
    assert 0 < made.mid_p <= made.p <= 1


def test_mcnemar_of_many_is_exact() -> None:
    made = mcnemar(2600, 2400)
    assert made.p == pytest.approx(stats.binomtest(2600, 5000).pvalue, rel=1e-8)
    assert mcnemar(30_000, 100).p >= 0.0


def test_sign_flips_are_scipys_permutation_test() -> None:
    d = np.array([0.5, -0.25, 0.75, 0.1, 0.3, -0.4, 0.9, 0.2])
    other = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flips(d) == pytest.approx(other)
    assert sign_flips(d) == sign_flips(-d)
    # right and wrong: the same as McNemar's exact test, here by drawing
    binary = [1] * 20 + [-1] * 8 + [0] * 40
    assert sign_flips(binary) == pytest.approx(mcnemar(20, 8).p, abs=0.005)
    assert sign_flips([0.0] * 9) == 1.0
    assert sign_flips([1.0] * 60) == pytest.approx(1 / 20_001)
    # ten equal items of one group are one item
    assert sign_flips([0.3] * 10, ["a"] * 10) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist())


def test_holm_by_hand() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01; 2 x .03; max(.06, 1 x .04)


def test_power_is_what_it_says() -> None:
    # 12% of pairs discordant: simulate at the difference that 400 pairs are said to show four times in five
    n, s = 400, 0.12
    d = detectable(s, n)
    rng = np.random.default_rng(0)
    wins, losses = (s + d) / 2, (s - d) / 2
    drawn = rng.multinomial(n, [wins, losses, 1 - s], size=4000)
    shown = np.mean([mcnemar(int(a), int(b)).mid_p < 0.05 for a, b, _ in drawn])
    assert 0.77 < shown < 0.83
    assert items_needed(d, s) == pytest.approx(n, abs=1)
    assert items_needed(0.0, s) is None
    assert items_needed(1.0, 1.0) >= 1  # type: ignore[operator]


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 100_000), st.booleans())
def test_some_difference_is_always_the_smallest_shown(square: float, n: int, binary: bool) -> None:
    d = detectable(square, n, binary=binary)
    assert 0 < d <= 1
    assert d >= detectable(square, 2 * n, binary=binary) - 1e-12


# ---- coverage ---------------------------------------------------------------------------------------------------

REPEATS = 400


def _covered(truth: float, make: Callable[[np.random.Generator], Interval]) -> float:
    rng = np.random.default_rng(12)
    return float(np.mean([not make(rng).excludes(truth) for _ in range(REPEATS)]))


def _paired(rng: np.random.Generator) -> Interval:
    first, second = rng.random(150) < 0.8, rng.random(150) < 0.8
    first = np.where(rng.random(150) < 0.6, second, first)
    second = np.where(rng.random(150) < 0.1, True, second)  # from 0.8 to 0.82, and correlated
    return paired_difference(first, second)


def _by_groups(rng: np.random.Generator) -> Interval:
    means = rng.beta(4, 2, 60)
    return mean_interval(rng.random((60, 5)).ravel() < np.repeat(means, 5), [str(i // 5) for i in range(300)])


def _by_items(rng: np.random.Generator) -> Interval:
    tries = rng.integers(0, 6, 120)
    made = clustered_rate(rng.binomial(tries, rng.beta(2, 3, 120)), tries)
    assert made is not None
    return made


def _area(rng: np.random.Generator) -> Interval:
    right = rng.random(120) < 0.7
    made = auroc(stats.norm.cdf(rng.normal(np.where(right, 1.0, 0.0))), right)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("truth", "make"),
    [
        (0.93, lambda rng: mean_interval(rng.random(100) < 0.93)),
        (0.9, lambda rng: bootstrap_mean(rng.beta(4.5, 0.5, 60), samples=1000)),
        (-0.02, _paired),
        (4 / 6, _by_groups),
        (0.4, _by_items),
        (float(stats.norm.cdf(1 / math.sqrt(2))), _area),
    ],
    ids=["Wilson", "BCa of skewed scores", "Tango", "groups", "tries within items", "DeLong"],
)
def test_intervals_cover_the_truth(truth: float, make: Callable[[np.random.Generator], Interval]) -> None:
    assert 0.9 <= _covered(truth, make) <= 0.99


def test_tries_within_an_item_are_not_independent() -> None:
    # 50 items, each all hits or all misses in 8 tries: as good as 50 tries, not 400
    hits = [8] * 20 + [0] * 30
    made = clustered_rate(hits, [8] * 50)
    assert made is not None
    assert made.n == 400
    assert made.half == pytest.approx(wilson(20, 50).half, rel=0.02)
    assert clustered_rate([0, 0], [3, 5]) == Interval(0.0, *_ends(wilson(0, 2)), 8, "Wilson by item")
    assert clustered_rate([0], [0]) is None


# ---- calibration ------------------------------------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    # .9 thrice, two right: |2 - 2.7| = .7; .5 twice, both right: |2 - 1| = 1; ece = 1.7 / 5 in bins that part them
    made = calibration([0.9, 0.9, 0.9, 0.5, 0.5], [1, 1, 0, 1, 1])
    assert made.ece.value == pytest.approx(0.34)
    assert made.ece_width == pytest.approx(0.34)
    assert [(b.n, b.accuracy) for b in made.bins] == [(2, 1.0), (3, pytest.approx(2 / 3))]
    assert made.brier.value == pytest.approx((0.01 + 0.01 + 0.81 + 0.25 + 0.25) / 5)
    # pairs of a right and the wrong one: two ties at .9 (half each), two below: 1 / 4
    assert made.auroc is not None
    assert made.auroc.value == pytest.approx(0.25)
    assert calibration([0.3], [1]).auroc is None
    for wrong in ([1.2], [-0.1], [math.nan], []):
        with pytest.raises(InputError):
            calibration(wrong, [1.0] * len(wrong))


def test_noise_alone_gives_a_calibration_error() -> None:
    rng = np.random.default_rng(0)
    c = rng.random(400)
    errors = [calibration(c, rng.random(400) < c, samples=200).ece.value for _ in range(30)]
    assert calibration(c, rng.random(400) < c).ece_chance == pytest.approx(float(np.mean(errors)), rel=0.1)


def test_the_interval_of_a_calibration_error_covers_it() -> None:
    # two confidences, each 0.2 above the truth: ECE is 0.2
    rng = np.random.default_rng(5)
    c = np.repeat([0.9, 0.6], 100)
    made = [calibration(c, rng.random(200) < c - 0.2, samples=300).ece for _ in range(200)]
    assert 0.9 <= np.mean([not one.excludes(0.2) for one in made]) <= 0.99
    # calibrated ones: the error seen is noise, and the interval reaches 0 most of the time
    calm = [calibration(c, rng.random(200) < c, samples=300).ece for _ in range(60)]
    assert np.mean([one.low == 0 for one in calm]) > 0.85


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.8, 1.0]), st.booleans()), min_size=1, max_size=60))
def test_bins_never_part_equal_confidences(pairs: list[tuple[float, bool]]) -> None:
    c = np.array([pair[0] for pair in pairs])
    right = np.array([float(pair[1]) for pair in pairs])
    at = equal_mass(c, 10)
    assert all(len({b for b, own in zip(at, c, strict=True) if own == value}) == 1 for value in set(c.tolist()))
    assert 0 <= ece(c, right, at) <= 1
    made = auroc(c, right)
    if made is not None:
        yes, no = c[right == 1], c[right == 0]
        other = stats.mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
        assert made.value == pytest.approx(other)
        assert 0 <= made.low <= made.value <= made.high <= 1


def test_delong_variance_is_the_mann_whitney_one() -> None:
    # without ties, DeLong's variance is the sum of those of the placements; checked by the jackknife over answers
    rng = np.random.default_rng(4)
    yes, no = rng.normal(1, 1, 60), rng.normal(0, 1, 50)
    c = stats.norm.cdf(np.concatenate([yes, no]))
    right = np.array([True] * 60 + [False] * 50)
    made = auroc(c, right)
    assert made is not None
    placed = (yes[:, None] > no[None, :]).astype(float)
    parts = [placed.mean(axis=1), placed.mean(axis=0)]
    jack = sum(float(((p.sum() - p) / (len(p) - 1)).var() * (len(p) - 1)) for p in parts)
    middle = math.log(made.value / (1 - made.value))
    half = stats.norm.ppf(0.975) * math.sqrt(jack) / (made.value * (1 - made.value))
    assert made.low == pytest.approx(1 / (1 + math.exp(-(middle - half))))
    assert made.high == pytest.approx(1 / (1 + math.exp(-(middle + half))))


def test_a_perfect_curve_has_no_perfect_interval() -> None:
    made = auroc([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])
    assert made is not None
    assert made.value == made.high == 1.0
    assert made.low < 0.8
