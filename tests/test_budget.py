"""Budgets: what is checked before a call is sent, by whom, and what calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from genai_prices import Usage as Priced
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_cases import forget

from agora import (
    Agent,
    Budget,
    BudgetError,
    Debate,
    InputError,
    Journal,
    Message,
    ModelError,
    Moderator,
    Reply,
    ScriptedModel,
    Settings,
    Usage,
    Verdict,
    ask,
    budget,
    limited,
)
from agora.budget import Meter, Price, listed_price, priced
from agora.calls import estimate_tokens
from agora.text.stop import rounds

ASK = [Message("user", "x" * 400)]
PRICE = Price(1000.0, 10_000.0)  # USD per million


class Priceable:
    """A model whose replies take what they are expected to take, and cost it."""

    def __init__(self, name: str = "m", output: int = 20, cost: Any = PRICE, latency: float = 0.001) -> None:
        self.name, self.output, self.latency, self.calls = name, output, latency, 0
        if cost is not None:
            self.cost = cost

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        self.calls += 1
        await anyio.sleep(self.latency)
        usage = priced(Usage(1, estimate_tokens(messages), self.output), getattr(self, "cost", None))
        return Reply(f"Answer: {self.name}", model=self.name, usage=usage)


def group(n: int, limits: Budget | None = None, last: int = 2, **options: Any) -> tuple[Debate, list[Priceable]]:
    models = [Priceable(f"{i}", **options) for i in range(n)]
    people = [Agent(f"a{i}", model, settings=Settings(max_tokens=20)) for i, model in enumerate(models)]
    return Debate(people, moderator=Moderator(rounds(last)), budget=limits, answer="number"), models


def made(models: Sequence[Priceable]) -> int:
    return sum(model.calls for model in models)


# ---- a meter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["calls", "tokens", "usd", "seconds"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_budgets_are_not_negative(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Budget(**{name: value})  # type: ignore[arg-type]


@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.none() | st.integers(0, 50)), max_size=40),
)
@settings(deadline=None)
def test_a_meter_never_lets_more_through(calls: int, steps: list[tuple[bool, int, int | None]]) -> None:
    """What is held is given back to the last bit, whatever the order."""
    meter = Meter(Budget(calls=calls, tokens=1000, usd=1.0))
    held: list[Usage] = []
    for begin, tokens, took in steps:
        if begin:
            expected = Usage(1, tokens, 5, usd=0.01)
            try:
                meter.reserve(expected)
            except BudgetError:
                continue
            held.append(expected)
        elif held:
            expected = held.pop(0)
            meter.settle(expected, None if took is None else Usage(1, expected.input_tokens, 5, usd=0.01))
        assert meter.used.calls + meter.held.calls <= calls
        assert meter.used.tokens + meter.held.tokens <= 1000
        assert (meter.used + meter.held).usd <= 1.0  # type: ignore[operator]
    for expected in held:
        meter.settle(expected, None)
    assert (meter.held.calls, meter.held.tokens, meter.held.usd) == (0, 0, pytest.approx(0))


def test_a_meter_expects_what_calls_took_before() -> None:
    meter = Meter(Budget())
    assert meter.expect(100, None) == Usage(1, 100, budget.USUAL_OUTPUT)
    assert meter.expect(100, 30) == Usage(1, 100, 30)
    meter.settle(Usage(), Usage(2, 10, 100))
    assert meter.expect(100, None) == Usage(1, 100, 50)
    assert meter.expect(100, 30) == Usage(1, 100, 30)


def test_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now[0]))
    meter, endless = Meter(Budget(seconds=5)), Meter(Budget())
    assert (meter.seconds_left(), endless.seconds_left()) == (5, None)
    now[0] += 4
    meter.reserve(Usage(1))
    now[0] += 1
    with pytest.raises(BudgetError, match="5 seconds") as caught:
        meter.reserve(Usage(1))
    assert (caught.value.limit, caught.value.meter, caught.value.exit_status) == ("seconds", meter, 3)


def test_what_a_refusal_says() -> None:
    with pytest.raises(BudgetError, match=r"budget of 0 calls is used up") as caught:
        Meter(Budget(calls=0)).reserve(Usage(1))
    assert caught.value.limit == "calls"
    with pytest.raises(BudgetError, match=r"budget of 9 tokens .* 0 are used or under way, .* about 15") as caught:
        Meter(Budget(tokens=9)).reserve(Usage(1, 10, 5))
    assert caught.value.limit == "tokens"
    with pytest.raises(BudgetError, match=r"budget of 1 USD .* 0\.0000 USD are spent .* 2\.0000") as caught:
        Meter(Budget(usd=1)).reserve(Usage(1, usd=2.0))
    assert caught.value.limit == "usd"


def test_no_money_is_enough_for_what_costs_nothing() -> None:
    verdict = Debate([Agent("a", ScriptedModel("Answer: 1"))], budget=Budget(usd=0)).run("q?")
    assert verdict.usage.usd == 0
    with pytest.raises(BudgetError):
        group(2, Budget(usd=0))[0].run("q?")


# ---- debates ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("calls", [30, 31, 37, 89, 90])
async def test_calls_are_never_exceeded_by_many_at_once(calls: int) -> None:
    debate, models = group(30, Budget(calls=calls))
    verdict = await debate.answer("q?")
    assert made(models) == verdict.usage.calls == calls
    assert ("budget (calls)" in verdict.reason) == (calls < 90)


@pytest.mark.anyio
async def test_the_moderator_s_calls_count_too() -> None:
    from agora.text.stop import judge

    debate, models = group(3)
    watching = Priceable("j")
    debate = Debate(
        debate.agents, moderator=Moderator(judge(watching) | rounds(3)), budget=Budget(calls=4), answer="number"
    )
    verdict = await debate.answer("q?")
    assert made(models) + watching.calls == verdict.usage.calls == 4


@pytest.mark.anyio
@pytest.mark.parametrize("limits", [Budget(tokens=3000), Budget(usd=6.0)], ids=["tokens", "usd"])
async def test_what_takes_what_is_expected_stays_within(limits: Budget) -> None:
    debate, models = group(10, limits)
    verdict = await debate.answer("q?")
    assert "stopped by: budget" in verdict.reason
    assert 10 < made(models) < 30
    usd = verdict.usage.usd
    assert usd is not None
    if limits.tokens:
        assert 3000 - 400 < verdict.usage.tokens <= 3000
    else:
        assert 6.0 - 1.0 < usd <= 6.0


@pytest.mark.anyio
async def test_a_surprise_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, no more than one reply can surprise."""
    from agora import Protocol, Schedule

    _, models = group(5)
    models[2].output = 100_000
    people = [Agent(f"a{i}", model, settings=Settings(max_tokens=20)) for i, model in enumerate(models)]
    for limits in (Budget(tokens=2000), Budget(usd=2.0)):
        for model in models:
            model.calls = 0
        debate = Debate(people, protocol=Protocol(Schedule("sequential")), budget=limits, answer="number")
        verdict = await debate.answer("q?")
        assert [model.calls for model in models] == [1, 1, 1, 0, 0]
        assert verdict.usage.calls == 3


@pytest.mark.anyio
@pytest.mark.parametrize("cost", [None, lambda usage: None], ids=["none", "unknown"])
async def test_what_is_of_unknown_price_is_not_sent(cost: Any) -> None:
    debate, models = group(3, Budget(usd=100), cost=cost)
    with pytest.raises(InputError, match=r"price of \d is not known") as caught:
        await debate.answer("q?")
    assert "price:" in (caught.value.hint or "")
    assert made(models) == 0
    free, models = group(3, Budget(calls=9), cost=cost)  # without a budget in USD it may be unknown
    assert (await free.answer("q?")).usage.usd is None


@pytest.mark.anyio
async def test_a_price_that_turns_out_unknown_ends_it() -> None:
    odd = ScriptedModel(lambda messages: Reply("Answer: 1", model="m", usage=Usage(1, 1, 1, usd=None)))
    verdict = await Debate([Agent("a", odd)], budget=Budget(usd=1), moderator=Moderator(rounds(3))).answer("q?")
    assert len(odd.calls) == 1
    assert "budget (usd)" in verdict.reason


@pytest.mark.anyio
async def test_an_outer_budget_holds_for_nested_debates() -> None:
    for calls in range(1, 14):
        inner, models = group(2, last=1)
        plain = Priceable("9")
        outer = Debate(
            [Agent("x", inner), Agent("y", plain)], moderator=Moderator(rounds(1)), budget=Budget(calls=calls),
            answer="number",
        )  # fmt: skip
        verdict = await outer.answer("q?")
        assert made(models) + plain.calls == verdict.usage.calls == min(calls, 10)
        inner_too = [part.reason for part in verdict.parts if isinstance(part, Verdict)]
        assert any("budget (calls)" in reason for reason in (verdict.reason, *inner_too)) == (calls < 10)


@pytest.mark.anyio
async def test_an_inner_budget_ends_only_the_inner_debate() -> None:
    inner, models = group(2, Budget(calls=3), last=3)
    none, nobody = group(2, Budget(calls=0))
    plain = Priceable("9")
    people = [Agent("x", inner), Agent("y", plain), Agent("z", none)]
    verdict = await Debate(people, moderator=Moderator(rounds(2)), answer="number").answer("q?")
    assert verdict.reason.startswith("2 rounds")
    assert (made(models), plain.calls, made(nobody)) == (3 * 3, 3, 0)
    assert verdict.absent == ("z",)
    parts = [turn.reply for round in verdict.rounds for turn in round.turns if turn.agent == "x"]
    assert all(isinstance(part, Verdict) and "budget (calls)" in part.reason for part in parts)
    assert "budget of 0 calls" in (verdict.rounds[0].turns[2].error or "")


@pytest.mark.anyio
async def test_one_budget_over_a_batch() -> None:
    debates = [group(3) for _ in range(10)]
    verdicts, refused = [], []

    async def one(debate: Debate) -> None:
        try:
            verdicts.append(await debate.answer("q?"))
        except BudgetError as error:
            refused.append(error)

    with limited(Budget(calls=40)) as meter:
        async with anyio.create_task_group() as tasks:
            for debate, _ in debates:
                tasks.start_soon(one, debate)
    assert sum(made(models) for _, models in debates) == meter.used.calls == 40
    assert meter.held.calls == 0
    assert len(verdicts) == 10
    assert all("budget (calls)" in verdict.reason for verdict in verdicts)
    with limited(Budget(calls=2)):
        for debate, _ in debates:
            await one(debate)
    assert len(refused) == 9
    assert {error.limit for error in refused} == {"calls"}


@pytest.mark.anyio
async def test_budgets_around_budgets() -> None:
    model = Priceable()
    with limited(Budget(calls=5)) as outer:
        with limited(Budget(calls=2)) as inner:
            for _ in range(2):
                await ask(model, ASK, at="a")
            with pytest.raises(BudgetError) as caught:
                await ask(model, ASK, at="a")
            assert caught.value.meter is inner
        for _ in range(3):
            await ask(model, ASK, at="a")
        with pytest.raises(BudgetError) as caught:
            await ask(model, ASK, at="a")
        assert caught.value.meter is outer
    assert (inner.used.calls, outer.used.calls, inner.held.calls, outer.held.calls) == (2, 5, 0, 0)
    await ask(model, ASK, at="a")
    assert model.calls == 6


@pytest.mark.anyio
async def test_a_call_that_fails_or_is_cut_off_is_held_no_longer() -> None:
    with limited(Budget(calls=5, tokens=10_000, usd=9.0)) as meter:
        for kind in (ModelError("no"), ValueError("no")):
            with pytest.raises(type(kind)):
                await ask(ScriptedModel([kind]), ASK, at="a")
        with anyio.move_on_after(0.01):
            await ask(Priceable(latency=30), ASK, at="a")
    assert (meter.held.calls, meter.held.tokens, meter.held.usd) == (0, 0, pytest.approx(0))
    assert meter.used.calls == 0


@pytest.mark.anyio
async def test_seconds_cut_off_what_is_under_way() -> None:
    slow = Priceable(latency=30)
    with limited(Budget(seconds=0.05)), pytest.raises(BudgetError) as caught:
        await ask(slow, ASK, at="a")
    assert caught.value.limit == "seconds"
    inner, _ = group(2, Budget(seconds=0.05), latency=30)
    people = [Agent("x", inner), Agent("y", Priceable("9"))]
    verdict = await Debate(people, moderator=Moderator(rounds(0)), answer="number").answer("q?")
    assert (verdict.answer, verdict.absent) == ("9", ("x",))


# ---- resumed ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("killed", [0, 1, 3, 7, 9, 10])
async def test_a_resumed_run_has_what_is_left(tmp_path: Path, killed: int) -> None:
    path = tmp_path / "a.sqlite"
    first, again = group(4, Budget(calls=10)), group(4, Budget(calls=10))
    async with Journal(path) as journal:
        before = await first[0].answer("q?", journal=journal, run="r")
    forget(str(path), "r", 10 - killed)
    async with Journal(path) as journal:
        after = await again[0].answer("q?", journal=journal, run="r")
        assert (await journal.run("r")).usage.calls == 10
    assert made(again[1]) == 10 - killed
    assert after.usage.calls == before.usage.calls == 10
    assert after.answer == before.answer
    assert "budget (calls)" in after.reason


@pytest.mark.anyio
async def test_a_resumed_nest_has_what_is_left(tmp_path: Path) -> None:
    def nest() -> tuple[Debate, list[Priceable]]:
        inner, models = group(2, Budget(calls=3), last=3)
        people = [Agent("x", inner), Agent("y", Priceable("9"))]
        return Debate(people, moderator=Moderator(rounds(1)), answer="number", budget=Budget(calls=7)), models

    path = tmp_path / "a.sqlite"
    async with Journal(path) as journal:
        before = await nest()[0].answer("q?", journal=journal, run="r")
        calls = len(await journal.calls("r"))
    forget(str(path), "r", 3)
    again, models = nest()
    async with Journal(path) as journal:
        after = await again.answer("q?", journal=journal, run="r")
        assert len(await journal.calls("r")) == calls == 7
    assert after.answer == before.answer
    assert made(models) <= 3


# ---- prices -----------------------------------------------------------------------------------------------------


def test_prices() -> None:
    usage = Usage(1, 1_000_000, 100_000, 400_000, cache_write_tokens=100_000, reasoning_tokens=90_000)
    assert Price(2.0, 10.0)(usage) == pytest.approx(3.0)
    assert Price(2.0, 10.0, cached=0.5)(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 1)
    assert Price(2.0, 10.0, cached=0.5, cache_write=2.5)(usage) == pytest.approx(0.5 * 2 + 0.4 * 0.5 + 0.1 * 2.5 + 1)
    assert Price(2.0, 10.0, cached=0.0, cache_write=0.0)(usage) == pytest.approx(2.0)
    assert Price(2.0, 10.0)(Usage()) == 0
    assert Price(2.0, 10.0, cached=1.0)(Usage(1, 10, 0, 20)) == pytest.approx(20e-6)  # never below zero
    assert priced(usage, None).usd is None
    assert priced(usage, Price(0, 1)).usd == pytest.approx(0.1)


USAGES = [
    Usage(), Usage(1, 1000, 100), Usage(1, 150_000, 2000, 1000),
    Usage(1, 300_000, 1000, 100_000, cache_write_tokens=50_000),
    Usage(1, 199_999, 1), Usage(1, 200_001, 1), Usage(1, 272_001, 70_000, 272_001),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"), ("openai", "gpt-4o-2024-08-06"), ("openai", "gpt-5-mini"), ("openai", "o3"),
        ("openai", "gpt-5.4"), ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-4-6"),
    ],
)  # fmt: skip
def test_listed_prices(provider: str, model: str) -> None:
    cost = listed_price(model, provider, None)
    for usage in USAGES:
        told = Priced(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )  # fmt: skip
        assert cost(usage) == pytest.approx(float(calc_price(told, model, provider_id=provider).total_price))
    assert (cost(Usage(1, 10, 5, 20)) or 0) > 0  # whatever a server counts, a reply is not lost


def test_prices_that_are_not_listed() -> None:
    usage = Usage(1, 1000, 100)
    assert listed_price("no-such-model", "openai", None)(usage) is None
    assert listed_price("gpt-4o", None, "http://localhost:11434/v1")(usage) is None
    assert listed_price("gpt-4o", "no-such-provider", None)(usage) is None
    known = listed_price("gpt-4o", None, "https://api.openai.com/v1/")(usage)
    assert known == pytest.approx(listed_price("gpt-4o", "openai", None)(usage))


def test_calls_that_fail_count_as_calls() -> None:
    sent = 0

    def fail(messages: Any) -> Any:
        nonlocal sent
        sent += 1
        return ModelError("no")

    group = [Agent(f"bad{i}", ScriptedModel(fail)) for i in range(6)]
    good = [Agent(f"good{i}", ScriptedModel("Answer: 1")) for i in range(6)]
    debate = Debate([*good, *group], answer="number", budget=Budget(calls=15),
                    moderator=Moderator(rounds(5), quorum=0.4))  # fmt: skip
    verdict = debate.run("q?")
    assert verdict.usage.calls + sent == 15
    assert "budget (calls)" in verdict.reason
