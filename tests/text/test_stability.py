"""Adaptive stability: the fit against known distributions and by brute force, and when a batch has settled."""

from __future__ import annotations

import math
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.errors import InputError
from agora.records import Answer, Reply, Round, Turn
from agora.text.stability import AdaptiveStability, Mixture, fit

KNOWN = [
    (Mixture(10, 0.6, (2.0, 8.0), (8.0, 2.0)), 20_000),
    (Mixture(20, 0.3, (2.0, 10.0), (12.0, 3.0)), 8_000),
    (Mixture(100, 0.5, (3.0, 20.0), (20.0, 5.0)), 4_000),
]


def simulated(true: Mixture, items: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    first = rng.random(items) < true.weight
    p = np.where(first, rng.beta(*true.first, items), rng.beta(*true.second, items))
    counts: list[int] = rng.binomial(true.n, p).tolist()
    return counts


def exactly(n: int, a: int, b: int) -> list[Fraction]:
    """A Beta-Binomial with whole parameters, in exact fractions: C(n, x) B(x + a, n - x + b) / B(a, b)."""

    def beta(x: int, y: int) -> Fraction:
        return Fraction(math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1))

    return [math.comb(n, x) * beta(x + a, n - x + b) / beta(a, b) for x in range(n + 1)]


@pytest.mark.parametrize(("n", "first", "second"), [(1, (1, 1), (3, 2)), (5, (1, 4), (6, 2)), (30, (2, 9), (50, 3))])
def test_distributions_are_exact(n: int, first: tuple[int, int], second: tuple[int, int]) -> None:
    exact = [(x + 3 * y) / 4 for x, y in zip(exactly(n, *first), exactly(n, *second), strict=True)]
    mixture = Mixture(n, 0.25, first, second)
    assert mixture.pmf() == pytest.approx([float(x) for x in exact], rel=1e-10)
    assert mixture.cdf() == pytest.approx([float(sum(exact[: x + 1])) for x in range(n + 1)], rel=1e-10)


def test_large_parameters_are_a_binomial() -> None:
    pmf = Mixture(10, 0.5, (3e3, 7e3), (3e3, 7e3)).pmf()
    assert pmf == pytest.approx([math.comb(10, x) * 0.3**x * 0.7 ** (10 - x) for x in range(11)], rel=0.02)


@pytest.mark.parametrize(("true", "items"), KNOWN)
def test_known_parameters_are_recovered(true: Mixture, items: int) -> None:
    found = fit(simulated(true, items), true.n)
    assert found.weight == pytest.approx(true.weight, abs=0.05)
    for ours, theirs in ((found.first, true.first), (found.second, true.second)):
        assert ours[0] / sum(ours) == pytest.approx(theirs[0] / sum(theirs), abs=0.03)
        assert sum(ours) == pytest.approx(sum(theirs), rel=0.35)
    assert np.abs(found.cdf() - true.cdf()).max() < 0.015


@pytest.mark.parametrize(("true", "items"), KNOWN)
def test_the_fit_is_no_less_likely_than_the_truth(true: Mixture, items: int) -> None:
    counts = simulated(true, items, seed=1)
    found = fit(counts, true.n)
    assert found.likelihoods[-1] >= np.log(true.pmf())[counts].sum()
    assert found.likelihoods[-1] == pytest.approx(np.log(found.pmf())[counts].sum(), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 12))
def test_every_step_climbs_and_nothing_breaks(data: st.DataObject, n: int) -> None:
    counts = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=30))
    found = fit(counts, n)
    assert all(b >= a - 1e-9 * max(1.0, abs(a)) for a, b in zip(found.likelihoods, found.likelihoods[1:], strict=False))
    cdf = found.cdf()
    assert np.isfinite([*cdf, found.weight, *found.first, *found.second, *found.likelihoods]).all()
    assert 0 <= found.weight <= 1
    assert (np.diff(cdf) >= 0).all()
    assert cdf[-1] == 1
    assert found == fit(sorted(counts), n)  # deterministic, and the order of the items is nothing to it


@pytest.mark.parametrize(
    ("counts", "n"),
    [([5] * 40, 10), ([0] * 40, 4), ([4] * 40, 4), ([1], 1), ([0], 1), ([3], 7), ([0, 9], 9), ([7] * 1000, 200)],
)
def test_degenerate_counts(counts: list[int], n: int) -> None:
    found = fit(counts, n)
    assert np.isfinite([found.weight, *found.first, *found.second, *found.cdf()]).all()
    mean = float(found.pmf() @ np.arange(n + 1))
    assert mean == pytest.approx(sum(counts) / len(counts), abs=0.02 * n)
    rule = AdaptiveStability(n)
    assert [rule.update(counts) for _ in range(3)] == [None, 0.0, 0.0]
    assert rule.stopped


def test_a_split_batch_is_seen_as_two() -> None:
    """Half the items agree, half do not: the middle, which one Beta-Binomial would fill, stays empty."""
    found = fit([1] * 300 + [2] * 300 + [9] * 600, 10)
    assert found.weight == pytest.approx(0.5, abs=0.02)
    assert found.pmf()[4:8].sum() < 0.1


def test_distance_is_that_of_the_distributions() -> None:
    rule = AdaptiveStability(5)
    assert rule.update([0, 1, 2, 3, 1, 2]) is None
    before = rule.fitted
    assert before is not None
    distance = rule.update([5, 4, 5, 3, 5, 5])
    assert rule.fitted is not None
    sums = [
        [sum(p for y, p in enumerate(m.pmf()) if y <= x) for x in range(6)] for m in (before, rule.fitted)
    ]  # fmt: skip
    assert distance == pytest.approx(max(abs(a - b) for a, b in zip(*sums, strict=True)), abs=1e-12)
    assert rule.distances == [distance]


def test_it_stops_after_two_quiet_rounds_in_a_row_and_not_after_a_bounce() -> None:
    low, high = [1, 2, 1, 2, 1, 3] * 10, [5, 4, 5, 5, 4, 5] * 10
    rule = AdaptiveStability(5)
    stopped = []
    for counts in (low, low, high, high, high):
        rule.update(counts)
        stopped.append(rule.stopped)
    assert stopped == [False, False, False, False, True]
    rule.update(low)
    assert rule.stopped
    assert len(rule.distances) == 5
    patient = AdaptiveStability(5, patience=1)
    patient.update(low)
    patient.update(low)
    assert patient.stopped


def test_items_may_leave_the_batch() -> None:
    rule = AdaptiveStability(4)
    rule.update([4] * 10 + [2] * 10)
    assert rule.update([4] * 5 + [2] * 5) == pytest.approx(0.0, abs=1e-6)


def test_used_by_hand_on_the_rounds_of_debates() -> None:
    def round(index: int, answers: str) -> Round:
        turns = [Turn(f"a{i}", index, "revise", Reply(x, model="m"), Answer(x)) for i, x in enumerate(answers)]
        return Round(index, tuple(turns))

    debates = [["0101", "0100", *["0000"] * 4], ["0011", "0111", *["0001"] * 4], ["0110", "0010", *["0000"] * 4]]
    histories = [[round(t, answers) for t, answers in enumerate(debate)] for debate in debates]
    rule = AdaptiveStability(n=4)
    for t in range(6):
        rule.update([max(Counter(rounds[t].answers.values()).values()) for rounds in histories])
        if rule.stopped:
            break
    assert t == 4
    assert max(rule.distances[:2]) > 0.05


@pytest.mark.parametrize("counts", [[], [6], [-1], [0.5], [[1, 2]], ["x"], [True, False], [float("nan")], [None]])
def test_wrong_counts_are_said(counts: list[int]) -> None:
    with pytest.raises(InputError, match="adaptive stability"):
        AdaptiveStability(5).update(counts)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 3, "eps": 0.0}, {"n": 3, "eps": math.nan}, {"n": 3, "patience": 0}])
def test_wrong_settings_are_said(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="adaptive stability"):
        AdaptiveStability(**wrong)  # type: ignore[arg-type]


def test_a_large_batch_is_quick() -> None:
    begun = time.process_time()
    rule = AdaptiveStability(50)
    for seed in range(3):
        rule.update(simulated(Mixture(50, 0.4, (2.0, 6.0), (9.0, 2.0)), 100_000, seed))
    assert rule.stopped
    assert time.process_time() - begun < 10
