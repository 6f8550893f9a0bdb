"""Importance as DyLAN traces it back through the ratings: worked by hand, and its sums."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.records import Answer, Ballot, Reply, Round, Turn
from agora.text.importance import importance

Scores = Mapping[str, float] | None


def turn(agent: str, round: int, value: str | None, reads: tuple[str, ...] = (), scores: Scores = None) -> Turn:
    return Turn(
        agent, round, "revise" if round else "answer", Reply("", model="m"), Answer(value),
        reads=tuple((name, round - 1, "answer") for name in reads),
        ballot=None if scores is None else Ballot(agent, scores=scores),
    )  # fmt: skip


def test_an_example_worked_by_hand() -> None:
    """Three rounds, three agents; a and b end with the answer.

    Last round: a and b 1/2 each. a rated a 5, b 3, c 2 of 10; b rated a 1, b 1, c 2 of 4.
      round 1: a 1/2 * 5/10 + 1/2 * 1/4 = 3/8; b 1/2 * 3/10 + 1/2 * 1/4 = 11/40; c 1/2 * 2/10 + 1/2 * 2/4 = 7/20.
    In round 1 a rated all 5 (a third each), b gave no rating that could be read (a third each), c rated a 0, b 4, c 1.
      round 0: a (3/8 + 11/40) / 3 = 13/60; b 13/60 + 7/20 * 4/5 = 149/300; c 13/60 + 7/20 / 5 = 43/150.
    Means over three rounds: a (1/2 + 3/8 + 13/60) / 3 = 131/360, b (1/2 + 11/40 + 149/300) / 3 = 763/1800,
    c (0 + 7/20 + 43/150) / 3 = 191/900.
    """
    all_ = ("a", "b", "c")
    rounds = [
        Round(0, tuple(turn(name, 0, "1") for name in all_)),
        Round(
            1,
            (
                turn("a", 1, "2", all_, {"a": 5, "b": 5, "c": 5}),
                turn("b", 1, "2", all_),
                turn("c", 1, "3", all_, {"a": 0, "b": 4, "c": 1}),
            ),
        ),
        Round(
            2,
            (
                turn("a", 2, "7", all_, {"a": 5, "b": 3, "c": 2}),
                turn("b", 2, "7", all_, {"a": 1, "b": 1, "c": 2}),
                turn("c", 2, "8", all_, {"a": 1, "b": 1, "c": 1}),
            ),
        ),
    ]
    assert importance(rounds, "7") == pytest.approx({"b": 763 / 1800, "a": 131 / 360, "c": 191 / 900})
    assert list(importance(rounds, "7")) == ["b", "a", "c"]


def test_nobody_holds_the_answer() -> None:
    rounds = [Round(0, (turn("a", 0, "1"), turn("b", 0, "2")))]
    assert importance(rounds, "3") == {"a": 0.0, "b": 0.0}
    assert importance(rounds, None) == {"a": 0.0, "b": 0.0}
    assert importance([], "1") == {}


def test_who_was_not_asked_passes_it_on_to_itself() -> None:
    from dataclasses import replace

    kept = replace(turn("a", 1, "1"), kept="holds the majority's answer")
    rounds = [Round(0, (turn("a", 0, "1"), turn("b", 0, "2"))), Round(1, (kept, turn("b", 1, "2", ("a",))))]
    assert importance(rounds, "1") == {"a": 1.0, "b": 0.0}


@given(st.lists(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=3, max_size=3), max_size=4))
def test_every_round_has_one_to_share(given: list[list[list[int]]]) -> None:
    names = ("a", "b", "c")
    rounds = [Round(0, tuple(turn(name, 0, "1") for name in names))]
    for i, ratings in enumerate(given, 1):
        turns = (
            turn(n, i, "1", names, dict(zip(names, map(float, r), strict=True)))
            for n, r in zip(names, ratings, strict=True)
        )
        rounds.append(Round(i, tuple(turns)))
    found = importance(rounds, "1")
    assert sum(found.values()) == pytest.approx(1)
    assert all(value >= 0 for value in found.values())
