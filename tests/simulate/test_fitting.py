"""Populations from recorded debates: by hand, from debates of known agents, and how well a prediction did."""

from __future__ import annotations

import math

import pytest
from believers import Believers, debate_of

from agora.errors import InputError
from agora.simulate import Check, Population, Record, fit, how_well, record_of, simulate


def test_by_hand() -> None:
    """Two questions, two agents who read each other. First answers: a right twice, b once. Right pluralities that
    differ: one, taken over; wrong ones: one, not taken over."""
    both = {"a": (("b", 0),), "b": (("a", 0),)}
    bare: dict[str, tuple[tuple[str, int], ...]] = {"a": (), "b": ()}
    records = [
        Record([{"a": "x", "b": "y"}, {"a": "x", "b": "x"}], "x", [bare, both]),
        Record([{"a": "z", "b": "z"}, {"a": "z", "b": None}], "z", [bare, both]),
    ]
    found = fit(records, options=3)
    people = found.population
    assert people.accuracy == {"a": 1.0, "b": 0.5}
    assert people.correlation == 0.0  # a certain agent has none
    assert (people.conformity, people.persuasion) == (0.5, 1.0)
    assert people.abstention == 1 / 8
    assert people.options == 3
    assert found.debates == 2
    assert found.cases == {"right": 1, "wrong": 1, "accuracy": 4, "correlation": 2, "abstention": 8}
    assert found.unexplained == 0.0


def test_what_agents_of_this_kind_do_not_do_is_seen() -> None:
    record = Record([{"a": "x", "b": "y"}, {"a": "q", "b": "y"}], "x", [{}, {"a": (("b", 0),), "b": (("a", 0),)}])
    assert fit([record]).unexplained == 0.5


def test_correlation_by_hand() -> None:
    """Three alike agents, right together on one of two questions: p = 1/2, covariance 1/4, so correlation 1 (and with
    the correction for two questions above it, held to 1); where one of three is right on each, it is negative: 0."""
    bare: dict[str, tuple[tuple[str, int], ...]] = {}
    one = Record([{"a": "x", "b": "x", "c": "x"}], "x", [bare])
    none = Record([{"a": "y", "b": "y", "c": "y"}], "x", [bare])
    assert fit([one, none]).population.correlation == 1.0
    turns = [Record([{n: "x" if n == who else "y" for n in "abc"}], "x", [bare]) for who in "abc"]
    assert fit(turns).population.correlation == 0.0


@pytest.mark.parametrize("text", ["moderator: {stop: rounds(3)}", "topology: ring\nprotocol: {schedule: sequential}"])
def test_the_agents_of_the_engine_are_found_again_and_predict_fresh_debates(text: str) -> None:
    people = Population(0.55, correlation=0.3, conformity=0.5, persuasion=0.4, abstention=0.1)
    debate = debate_of(text)
    found = fit([record_of(v, "0") for v in Believers(debate, people, seed=1).hold(600)])
    made = found.population
    assert isinstance(made.accuracy, dict)
    first = list(made.accuracy.values())[: None if "sequential" not in text else 1]
    assert first == pytest.approx([0.55] * len(first), abs=4.5 * math.sqrt(0.25 / 540))
    if "sequential" not in text:  # where only one answers before reading, there are no pairs
        assert made.correlation == pytest.approx(0.3, abs=0.1)
        assert made.options == 3
    assert made.conformity == pytest.approx(0.5, abs=0.06)
    assert made.persuasion == pytest.approx(0.4, abs=0.12)
    assert made.abstention == pytest.approx(0.1, abs=0.02)
    assert found.unexplained < 0.01
    if "sequential" in text:
        return
    fresh = [record_of(v, "0") for v in Believers(debate, people, seed=2).hold(300)]
    checks = how_well(simulate(debate, made, n=20_000), fresh)
    assert [check.round for check in checks] == [0, 1, 2, 3]
    assert all(check.holds for check in checks)
    wrong = how_well(simulate(debate, Population(0.75, conformity=0.9), n=20_000), fresh)
    assert not any(check.holds for check in wrong)


def test_a_prediction_that_is_exact_holds_and_says_so() -> None:
    debate = debate_of("moderator: {stop: rounds(1)}")
    records = [Record([dict.fromkeys("abcde", "0")], "0", [{}])] * 3
    made = simulate(debate, Population(1.0), n=50)
    assert how_well(made, records)[1] == Check(1, 1.0, how_well(made, records)[1].low, 1.0, 1.0, True)
    lost = [Record([dict.fromkeys("abcde", "1")], "0", [{}])] * 3
    assert [check.holds for check in how_well(made, lost)] == [False, False]


def test_absent_voices_are_no_abstentions() -> None:
    from agora import Agent, Debate, Moderator, ScriptedModel
    from agora.errors import ModelError
    from agora.text.stop import rounds

    agents = [
        Agent("a", ScriptedModel("Answer: 1")),
        Agent("b", ScriptedModel([ModelError("gone"), "Answer: 1"])),
        Agent("c", ScriptedModel("Answer: none")),
    ]
    verdict = Debate(agents, answer="number", moderator=Moderator(rounds(1))).run("One?")
    record = record_of(verdict, "1")
    assert record.answers[0] == {"a": "1", "c": None}
    assert record.answers[1] == {"a": "1", "b": "1", "c": None}
    assert record.reads[1]["b"] == (("a", 0), ("c", 0)) or record.reads[1]["b"] == (("c", 0), ("a", 0))
    assert fit([record]).population.abstention == 2 / 5


def test_nothing_to_fit() -> None:
    with pytest.raises(InputError, match="no recorded"):
        fit([])
    with pytest.raises(InputError, match="nobody gave an answer before"):
        fit([Record([{"a": None}], "x", [{}])])
    with pytest.raises(InputError, match="round 0"):
        Record([], "x", [])
    with pytest.raises(InputError, match="no recorded"):
        how_well(simulate(debate_of(""), n=10), [])
