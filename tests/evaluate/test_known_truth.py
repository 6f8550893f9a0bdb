"""Evaluations recover a known truth: debates that are worthless, that help and that hurt are reported as such."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import pytest
from crowd import Mind, Voice, debate, herd, items, wise

from agora.evaluate import Contestant, Results, analyse, evaluate
from agora.evaluate.measures.metrics import Comparison, summary

N = 150


def run(mind: Mind | None, *accuracies: float, last: int = 1, n: int = N, seed: int = 0) -> Results:
    voices = [Voice(f"v{i}", accuracy, mind) for i, accuracy in enumerate(accuracies)]
    return evaluate(debate(*voices, last=last), items(n), match=["calls"], seed=seed)


def beside(results: Results, role: str) -> Comparison:
    return next(one for one in analyse(results).comparisons if one.role == role)


def contrary(draws: object, peers: Sequence[str], truth: str) -> str:
    """Gives a right answer up when it reads a wrong one."""
    wrong = [peer for peer in peers if peer != truth]
    return wrong[0] if wrong else truth


def test_a_worthless_debate_is_reported_as_worthless() -> None:
    results = run(herd, 0.6, 0.6, 0.6)
    assert beside(results, "round-0 vote").verdict != "better"
    sc = beside(results, "self-consistency")
    assert sc.verdict == "worse"  # six samples of one agent, wrong ones scattered, beat three that copy each other
    assert sc.calls == pytest.approx(1.0)


def test_a_debate_that_helps_is_reported_as_helping() -> None:
    results = run(wise, 0.35, 0.35, 0.35, last=2)
    for role in ("round-0 vote", "isolated", "noise", "best single"):
        assert beside(results, role).verdict == "better", role
    against = beside(results, "round-0 vote")
    assert against.difference.low > 0.1
    assert against.adjusted < 0.001


def test_a_debate_that_hurts_is_reported_as_hurting() -> None:
    results = run(contrary, 0.7, 0.7, 0.7)
    assert beside(results, "round-0 vote").verdict == "worse"
    assert beside(results, "isolated").verdict == "worse"


def test_intervals_of_whole_evaluations_cover_the_truth() -> None:
    """Of a vote of three whose wrong answers are scattered: right where two are, as a tie of three is no answer. 200
    evaluations of 20 items each, cut from one."""
    p = 0.6
    truth = comb(3, 2) * p**2 * (1 - p) + p**3
    results = evaluate(debate(*(Voice(f"v{i}", p) for i in range(3)), last=0), items(4_000), baselines=[])
    rows = results["crowd"].rows
    covered = 0
    for i in range(200):
        part = Contestant("crowd", "debate", "crowd", rows[20 * i : 20 * (i + 1)])
        interval = summary(part).accuracy
        covered += interval.low <= truth <= interval.high
    assert 180 <= covered <= 198
