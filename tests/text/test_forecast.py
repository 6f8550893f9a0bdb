"""Forecasts: a rehearsal counts what a run then takes, and sends nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from agora import Agent, Budget, ByModel, Choice, Debate, Message, Moderator, Protocol, Reply, ScriptedModel, Settings
from agora.budget import Price
from agora.calls import estimate_tokens
from agora.records import Usage
from agora.text.forecast import Forecast, forecast
from agora.text.stop import (
    confident,
    converging,
    declared,
    failures,
    judge,
    oscillation,
    repetition,
    rounds,
    spread,
    stable,
    unanimous,
)


class Priced:
    """A model that must not be asked, with a price."""

    def __init__(self, name: str = "priced", price: Any = Price(1.0, 10.0)) -> None:
        self.name, self.cost = name, price

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        raise AssertionError("a forecast must send nothing")


def made(debate: Debate, question: str = "What is two and two?", **options: Any) -> Forecast:
    return anyio.run(lambda: forecast(debate, question, **options))


def group(n: int, **options: Any) -> list[Agent]:
    return [Agent(f"a{i}", Priced(**options)) for i in range(n)]


@pytest.mark.parametrize(
    ("stop", "least", "most"),
    [
        (unanimous() | rounds(3), 3, 12),
        (rounds(2), 9, 9),
        (stable(1) | rounds(5), 6, 18),
        (unanimous() & stable(1) | rounds(4), 6, 15),
        (judge(Priced()) | rounds(2), 3 + 1, 9 + 2),
    ],
)
@pytest.mark.parametrize("answer", ["number", "text", "json", "yes_no", Choice(["A", "B"])])
def test_calls_between_agreement_and_none(stop: Any, least: int, most: int, answer: Any) -> None:
    found = made(Debate(group(3), answer=answer, moderator=Moderator(stop)))
    assert (found.least.calls, found.most.calls) == (least, most)


@pytest.mark.parametrize(
    ("stop", "least"),
    [
        (spread(0.5), 3), (repetition(), 6), (converging(0.1), 9), (declared(), 3), (confident(0.9), 3),
        (declared() & confident(1.0, of="all"), 3), (oscillation(), 12), (failures(1), 12),
    ],
)  # fmt: skip
def test_what_stand_ins_say_ends_no_longest_run(stop: Any, least: int) -> None:
    found = made(Debate(group(3), answer="number", moderator=Moderator(stop | rounds(3))))
    assert (found.least.calls, found.most.calls) == (least, 12)


def test_judges_phases_and_nested_debates_count() -> None:
    inner = Debate(group(2), answer="number", moderator=Moderator(rounds(1)), name="inner")
    moderator = Moderator(rounds(1), ByModel(Priced("judge")))
    outer = Debate(
        [Agent("team", inner), *group(1)], answer="number", moderator=moderator,
        protocol=Protocol(phases=("critique", "revise")),
    )  # fmt: skip
    # three turns each; the team's are four calls each; the judge's one
    assert made(outer).most.calls == 3 * 4 + 3 + 1
    assert set(made(outer).models) == {"priced", "judge"}


def test_tokens_are_those_of_the_prompts() -> None:
    """With replies of the foreseen length, the real debate's estimate is the forecast."""
    text = "x" * 400
    debate = Debate([Agent(n, ScriptedModel(f"{text}\nAnswer: {n}")) for n in "123"], moderator=Moderator(rounds(2)))
    verdict = debate.run("What?")
    real = sum(estimate_tokens(turn.messages) for r in verdict.rounds for turn in r.turns)
    foreseen = made(debate, "What?", reply_tokens=100).most
    assert foreseen.input_tokens == pytest.approx(real, rel=0.05)
    assert foreseen.output_tokens == 900
    assert foreseen.usd == 0.0


def test_cost_and_unknown_prices() -> None:
    debate = Debate([*group(1), Agent("b", Priced("free", lambda usage: None))], moderator=Moderator(rounds(0)))
    found = made(debate, reply_tokens=100)
    assert found.most.usd is None
    assert found.unpriced == ("free",)
    usage = found.models["priced"]
    assert usage.usd == pytest.approx((usage.input_tokens + 1000) / 1e6)


def test_max_tokens_and_a_budget() -> None:
    agents = [Agent("a", Priced(), settings=Settings(max_tokens=7))]
    debate = Debate(agents, moderator=Moderator(rounds(0)), budget=Budget(calls=0))
    assert made(debate).most == Usage(1, made(debate).most.input_tokens, 7, 0, made(debate).most.usd)


def test_a_huge_debate_is_foreseen_quickly() -> None:
    begun = time.monotonic()
    long = Debate(group(5), moderator=Moderator(rounds(5000), limit=9999))
    assert made(long).most.calls == 5 * 5001
    wide = Debate(group(400), moderator=Moderator(rounds(2)))
    found = made(wide)
    assert found.most.calls == 1200
    assert found.most.input_tokens > 2 * 400 * 399 * 400  # every reader reads all others' replies
    assert time.monotonic() - begun < 60


def test_an_agent_may_be_called_moderator_and_moderate() -> None:
    from agora.config import presets

    made = anyio.run(forecast, presets.preset("mad"), "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?")
    assert (made.least.calls, made.most.calls) == (3, 11)
