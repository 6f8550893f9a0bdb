"""Simulated debates beside the real engine's, held by agents of the very same rule."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

import pytest
from believers import Believers, debate_of

from agora.simulate import Population, Simulation, Spread, how_well, record_of, simulate

HELD, SIMULATED = 400, 30_000

_PEOPLE = Population(0.6, correlation=0.3, conformity=0.5, persuasion=0.3, abstention=0.1)

CASES: dict[str, tuple[str, Population]] = {
    "complete": ("moderator: {stop: unanimous | rounds(3)}", _PEOPLE),
    "ring": ("topology: ring\nmoderator: {stop: stable(2) | rounds(5)}", _PEOPLE),
    "star, agreement": ("topology: star\nmoderator: {stop: agreement(0.8) | rounds(4)}", _PEOPLE),
    "sequential": ("protocol: {schedule: sequential}\nmoderator: {stop: quorum(0.8) | rounds(2)}", _PEOPLE),
    "shuffled": (
        "topology: ring\nprotocol: {schedule: {kind: sequential, order: shuffled}}\nmoderator: {stop: rounds(2)}",
        _PEOPLE,
    ),
    "shuffled relay": (
        "topology: relay\nprotocol: {schedule: {kind: sequential, order: shuffled}}\nmoderator: {stop: rounds(3)}",
        _PEOPLE,
    ),
    "layered": ("topology: {layered: {}}\nprotocol: {schedule: layered}\nmoderator: {stop: rounds(0)}", _PEOPLE),
    "chain of layers, twice": ("topology: chain\nprotocol: {schedule: layered}\nmoderator: {stop: rounds(1)}", _PEOPLE),
    "beliefs": (
        "moderator: {stop: no_change | rounds(3)}",
        Population(0.55, concentration=3, persuasion=0.2, conformity=0.2),
    ),
    "correlated beliefs": ("topology: ring\nmoderator: {stop: rounds(3)}", Population(0.5, 0.4, concentration=2)),
    "each its own": (
        "topology: {edges: [[a, b], [b, c], [c, d], [d, e], [a, e]]}\nmoderator: {stop: oscillation(2) | rounds(5)}",
        Population({"a": 0.9, "b": 0.3, "*": 0.5}, conformity={"a": 0.1, "*": 0.9}, abstention={"e": 0.4, "*": 0.0}),
    ),
    "freeze": ("protocol: {gates: {freeze: majority}}\nmoderator: {stop: unanimous | rounds(3)}", _PEOPLE),
    "freeze, four of five": (
        "protocol: {gates: {freeze: majority}, opening: [{answer: {who: [a, b, c, d]}}], "
        "phases: [{revise: {who: [a, b, c, d]}}]}\nmoderator: {stop: rounds(2)}", _PEOPLE,
    ),
    "follow": ("protocol: {gates: {follow: 0.4}}\nmoderator: {stop: rounds(1)}", _PEOPLE),
    "drop what is known": ("protocol: {gates: {drop: known}}\nmoderator: {stop: rounds(3)}", _PEOPLE),
    "skip": ("protocol: {gates: {skip: agreement(0.6)}}\nmoderator: {stop: unanimous | rounds(3)}", _PEOPLE),
    "prune": ("protocol: {gates: {prune: {keep: 3, first: 1}}}\nmoderator: {stop: rounds(3)}", _PEOPLE),
    "critiques": (
        "protocol: {phases: [{critique: {who: [a, b]}}, {revise: {who: [c, d, e]}}]}\nmoderator: {stop: rounds(2)}",
        _PEOPLE,
    ),
    "all read, every second round": (
        "protocol: {phases: [{revise: {reads: all, every: 2, first: 1}}, {summarise: {first: 2}}]}\n"
        "moderator: {stop: unanimous & stable(1) | rounds(3)}", _PEOPLE,
    ),
    "a last word": (
        "protocol: {closing: [{revise: {name: last, who: [a], reads: all, unless: unanimous}}]}\nvoters: [a]\n"
        "moderator: {stop: unanimous | rounds(1)}", _PEOPLE,
    ),
    "graphs by round": ("topology: {rounds: [relay, isolated, star]}\nmoderator: {stop: rounds(4)}", _PEOPLE),
    "late edges": (
        "topology: {edges: [[a, b, {delay: 1}], [b, c], [c, d, {delay: 2}], [d, a], [e, a, {delay: 1}], [a, e]]}\n"
        "moderator: {stop: rounds(4)}", _PEOPLE,
    ),
    "majority": ("moderator: {stop: entropy(0.8) | rounds(2), decide: {vote: majority}}", _PEOPLE),
    "trajectory": (
        'moderator: {stop: "converging(0.2, 1) | rounds(3)", decide: {vote: {rule: trajectory}}}', _PEOPLE
    ),
    "sure votes": (
        "moderator: {stop: confident(0.75) | rounds(2), decide: {vote: {weight: confidence, threshold: 0.5}}}",
        Population(0.55, 0.2, conformity=0.3, confidence=(0.8, 0.6)),
    ),
    "known skill, capped": (
        "moderator: {stop: rounds(1), decide: {vote: {weight: log_odds, accuracies: {a: 0.9, b: 0.6}, cap: 0.4}}}",
        Population(0.55, conformity=0.3, confidence=(0.8, 0.6)),
    ),
}  # fmt: skip


def agree(found: Sequence[float], predicted: Spread, what: str) -> None:
    """Two means, within 4.5 standard errors of their difference."""
    error = math.hypot(statistics.stdev(found) / math.sqrt(len(found)), predicted.error)
    assert statistics.fmean(found) == pytest.approx(predicted.mean, abs=4.5 * error + 1e-9), what


def share(found: Sequence[bool], p: float, what: str) -> None:
    error = math.sqrt((p * (1 - p) + 1 / len(found)) / len(found))
    assert statistics.fmean(found) == pytest.approx(p, abs=4.5 * error), what


@pytest.mark.parametrize("name", CASES)
def test_the_engine_and_the_simulation_agree(name: str) -> None:
    text, people = CASES[name]
    debate = debate_of(text)
    verdicts = Believers(debate, people).hold(HELD)
    made: Simulation = simulate(debate, people, n=SIMULATED, seed=1)
    share([v.answer == "0" for v in verdicts], made.accuracy.mean, "accuracy")
    share([v.answer is None for v in verdicts], made.undecided.mean, "undecided")
    share([any(a == "0" for a in v.rounds[0].answers.values()) for v in verdicts], made.oracle.mean, "oracle")
    agree([v.usage.calls for v in verdicts], made.calls, "calls")
    agree([len(v.rounds) - 1 for v in verdicts], made.rounds, "rounds")
    for index, predicted in enumerate(made.single_by_round):
        rounds = [v.rounds[min(index, len(v.rounds) - 1)] for v in verdicts]
        if index or not debate.protocol.closing:  # whose answers are part of the last round
            agree(
                [statistics.fmean(a == "0" for a in r.answers.values()) for r in rounds], predicted, f"single {index}"
            )
    wrong = [{*v.rounds[-1].answers.values()} for v in verdicts]
    share([len(w) == 1 and not w & {"0", None} for w in wrong], made.wrong_consensus.mean, "consensus on wrong")
    ends = Counter(v.reason.partition(";")[0] for v in verdicts)
    assert len(ends) >= len([p for p in made.reasons.values() if p.mean > 0.05])
    if "decide" not in text and not debate.protocol.closing:
        for check in how_well(made, [record_of(v, "0") for v in verdicts]):
            share([True] * round(check.observed * HELD) + [False] * round((1 - check.observed) * HELD), check.predicted,
                  f"vote {check.round}")  # fmt: skip


SURE = [name for name in CASES if name not in ("sure votes", "known skill, capped", "prune")]


@pytest.mark.parametrize("right", ["a", "bd", "ace", "e"])
@pytest.mark.parametrize("name", SURE)
def test_certain_agents_do_exactly_the_same(name: str, right: str) -> None:
    """Some always begin right, the others wrong, and all follow those they read: nothing is left to chance, so that
    each round shows who has read whom and when."""
    debate = debate_of(CASES[name][0], options=2)
    people = Population({**dict.fromkeys(right, 1.0), "*": 0.0}, conformity=1.0)
    (verdict,) = Believers(debate, people).hold(1)
    made = simulate(debate, people, n=3)
    for index, single in enumerate(made.single_by_round):
        answers = verdict.rounds[min(index, len(verdict.rounds) - 1)].answers.values()
        if index or len(verdict.rounds) > 1 or not debate.protocol.closing:
            assert single.mean == pytest.approx(statistics.fmean(a == "0" for a in answers)), index
    assert (made.calls.low, made.calls.high) == (verdict.usage.calls, verdict.usage.calls)
    assert made.rounds.mean == len(verdict.rounds) - 1
    assert made.accuracy.mean == (verdict.answer == "0")
    assert made.undecided.mean == (verdict.answer is None)


def test_what_is_told_apart() -> None:
    """The control: with another correlation, conformity or graph, the same checks fail."""
    debate = debate_of("moderator: {stop: unanimous | rounds(3)}")
    calls = [v.usage.calls for v in Believers(debate, _PEOPLE).hold(HELD)]
    agree(calls, simulate(debate, _PEOPLE, n=5000).calls, "calls")
    alone = debate_of("topology: isolated\nmoderator: {stop: unanimous | rounds(3)}")
    correlated = Population(0.6, 0.9, conformity=0.5, persuasion=0.3, abstention=0.1)
    stubborn = Population(0.6, 0.3, abstention=0.1)
    for other, people in ((debate, correlated), (debate, stubborn), (alone, _PEOPLE)):
        with pytest.raises(AssertionError):
            agree(calls, simulate(other, people, n=5000).calls, "calls")
