"""Simulated agents of known accuracy, without a model: what votes and debates must then give, by theory."""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Callable, Sequence
from math import comb

import anyio
import pytest

from agora import calls
from agora.config import presets
from agora.model import Model, Settings
from agora.records import Message, Reply, Usage, Verdict
from agora.text.debate import Debate

Voice = Callable[[random.Random, str], int]  # draws, and the prompt -> 1 is right, 0 is wrong


def held(debate: Debate, voice: Voice, questions: int) -> list[Verdict]:
    """Debates on as many questions, each with draws of its own."""

    async def all_of_them() -> list[Verdict]:
        return [await debate.answer(f"Question {i}?") for i in range(questions)]

    def stand_in(model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
        prompt = "\n".join(m.content for m in messages)
        question = re.search(r"Question (\d+)\?", prompt)
        assert question is not None
        draws = random.Random(f"{question[1]} {calls.current().path}")
        return Reply(f"Answer: {voice(draws, prompt)}", model=model.name, usage=Usage(1, 1, 1))

    with calls.scope(stand_in=stand_in):
        return anyio.run(all_of_them)


def preset(name: str, *settings: str) -> Debate:
    """A preset whose agents read the shipped templates, not those of the pocket models."""
    made = {key: {"scripted": "nothing"} for key in presets.data(name)["models"]}
    return presets.preset(name, models=made, settings=["answer={choice: ['0', '1']}", *settings])


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize(("p", "k"), [(0.6, 5), (0.4, 5), (0.7, 3)])
def test_a_vote_of_independent_samples_is_right_as_often_as_the_binomial_says(p: float, k: int) -> None:
    debate = preset("self-consistency", f"agents.sample.count={k}")
    verdicts = held(debate, lambda draws, prompt: int(draws.random() < p), 1500)
    exact = sum(comb(k, i) * p**i * (1 - p) ** (k - i) for i in range(k // 2 + 1, k + 1))
    found = statistics.fmean(v.answer == "1" for v in verdicts)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / len(verdicts)))
    assert abs(found - p) > 0.02  # and not as often as one sample


def believer(draws: random.Random, prompt: str) -> int:
    """A voice that believes in the right answer as a Polya urn: 3 to 2 at first, one more ball for each answer it has
    read (the Dirichlet-multinomial agents of Choi et al. 2025, arXiv:2508.17536)."""
    read = [int(answer) for answer in re.findall(r"Answer: ([01])\b", prompt)]
    return int(draws.random() < (3 + sum(read)) / (5 + len(read)))


def accuracies(verdicts: Sequence[Verdict]) -> list[list[float]]:
    """By round, for each question the share of the agents that are right."""
    rounds = range(len(verdicts[0].rounds))
    return [[statistics.fmean(a == "1" for a in v.rounds[t].answers.values()) for v in verdicts] for t in rounds]


def test_a_debate_of_alike_agents_is_a_martingale() -> None:
    """Their mean accuracy neither rises nor falls over the rounds: what a debate gains, the vote gains."""
    verdicts = held(preset("society-of-minds", "moderator.stop=rounds(3)"), believer, 1200)
    by_round = accuracies(verdicts)
    assert len(by_round) == 4
    start, error = mean_and_error(by_round[0])
    assert start == pytest.approx(0.6, abs=4 * error)
    for later in by_round[1:]:
        change, error = mean_and_error([b - a for a, b in zip(by_round[0], later, strict=True)])
        assert abs(change) < 4 * error
        assert error < 0.02  # so a drift of 8 points would be seen


def test_following_the_majority_is_no_martingale() -> None:
    """The control: a rule that does move the mean is seen to move it."""
    debate = preset("society-of-minds", "moderator.stop=rounds(1)", "protocol.gates={follow: 1.0, freeze: majority}")
    by_round = accuracies(held(debate, lambda draws, prompt: int(draws.random() < 0.7), 800))
    change, error = mean_and_error([b - a for a, b in zip(*by_round, strict=True)])
    exact = 0.7**3 + 3 * 0.7**2 * 0.3 - 0.7  # all take over what two of three hold
    assert change == pytest.approx(exact, abs=4 * error)
    assert change > 5 * error


def test_an_isolated_graph_is_self_consistency() -> None:
    """The same voices give the same votes, whatever the debate around them is called."""

    def voice(draws: random.Random, prompt: str) -> int:
        return int(draws.random() < 0.6)

    alone = held(preset("society-of-minds", "topology=isolated", "moderator.stop=rounds(0)"), voice, 50)
    once = held(preset("society-of-minds", "moderator.stop=rounds(0)"), voice, 50)
    assert [v.support for v in alone] == [v.support for v in once]
