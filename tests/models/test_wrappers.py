"""Models around models: pinned settings, timeouts, retries, fallbacks, replays."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from agora import (
    Agent,
    Budget,
    Debate,
    InputError,
    Journal,
    Message,
    Moderator,
    Reply,
    ScriptedModel,
    Settings,
    Usage,
    ask,
    errors,
    limited,
)
from agora.calls import Wait, scope
from agora.errors import (
    AuthError,
    BudgetError,
    MalformedError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
    RateLimitError,
    RefusalError,
    ServerError,
)
from agora.models.limits import Limiter
from agora.models.wrappers import Fallback, Limited, Replay, Retry, RetryPolicy, Timeout, WithSettings, with_settings
from agora.text.stop import rounds

ASK = [Message("user", "q?")]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every wait; nobody really waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        assert seconds >= 0
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(anyio, "sleep", sleep)
    return waits


class Plain:
    """A model that keeps the settings it is asked with."""

    name = "plain"
    identity = "plain at home"
    prompts = "pocket"

    def __init__(self) -> None:
        self.asked: list[Settings] = []

    def cost(self, usage: Usage) -> float:
        return 0.5

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        self.asked.append(settings)
        return Reply("x", model=self.name, usage=Usage(1, 2, 3))


# ---- what all have in common ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_model_around_another_is_as_the_other() -> None:
    inner = Plain()
    for around in (Timeout(inner, 1), Limited(inner, Limiter()), Retry(inner), WithSettings(inner, Settings())):
        assert (around.name, around.prompts, around.cost(Usage())) == ("plain", "pocket", 0.5)
        assert around.identity.startswith("plain at home")
        assert around.members == ()
        assert (await around.answer(ASK)).text == "x"
        with pytest.raises(AttributeError):
            _ = around.nonsense
    nest = Retry(Debate([Agent("a", inner)], name="nest"))
    assert nest.members == (inner,)


def test_a_model_around_another_can_be_copied() -> None:
    around = Retry(Timeout(ScriptedModel("x"), 5))
    for made in (copy.copy(around), copy.deepcopy(around), pickle.loads(pickle.dumps(around))):
        assert anyio.run(made.answer, ASK).text == "x"


@pytest.mark.anyio
async def test_pinned_settings() -> None:
    inner = Plain()
    assert with_settings(inner, Settings()) is inner
    pinned = with_settings(inner, Settings(temperature=0.0, stop=()))
    await pinned.answer(ASK, Settings(temperature=1.0, seed=3, stop=("x",)))
    assert inner.asked == [Settings(temperature=0.0, seed=3, stop=())]
    other = with_settings(inner, Settings(temperature=0.5))
    identities = {getattr(model, "identity", "") for model in (inner, pinned, other, Retry(other))}
    assert len(identities) == 3


# ---- timeout ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_timeout() -> None:
    ended = []

    async def slow() -> str:
        try:
            await anyio.sleep(60)
        finally:
            ended.append(1)
        return ""

    with pytest.raises(ModelTimeoutError, match=r"scripted: no reply in 0\.02 seconds") as caught:
        await Timeout(ScriptedModel(lambda messages: slow()), 0.02).answer(ASK)
    assert caught.value.retryable
    assert ended == [1]
    with pytest.raises(TimeoutError):  # the model's own is its own
        await Timeout(ScriptedModel([TimeoutError()]), 60).answer(ASK)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_are_positive(seconds: float) -> None:
    with pytest.raises(InputError, match="timeout"):
        Timeout(Plain(), seconds)


# ---- retry ------------------------------------------------------------------------------------------------------


def kinds() -> list[type[ModelError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ModelError)]
    return [kind for kind in found if not kind.__name__.startswith("_")]


PASSING = {RateLimitError, ServerError, ModelTimeoutError, ModelConnectionError, MalformedError}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
async def test_what_may_pass_is_tried_again(kind: type[ModelError], slept: list[float]) -> None:
    model = ScriptedModel([kind("no."), kind("no."), "yes"])
    retry = Retry(model)
    if kind in PASSING:
        reply = await retry.answer(ASK)
        assert (reply.text, reply.attempts, len(slept)) == ("yes", 3, 2)
    else:
        with pytest.raises(kind) as caught:
            await retry.answer(ASK)
        assert (caught.value.attempts, len(model.calls), slept, caught.value.message) == (1, 1, [], "no.")


@pytest.mark.anyio
async def test_what_cannot_pass_ends_it_later_too(slept: list[float]) -> None:
    with pytest.raises(AuthError) as caught:
        await Retry(ScriptedModel([ServerError("no."), AuthError("never.")])).answer(ASK)
    assert (caught.value.attempts, caught.value.message, len(slept)) == (2, "never.", 1)
    with pytest.raises(KeyError):
        await Retry(ScriptedModel([ServerError("no."), KeyError("x")])).answer(ASK)


@pytest.mark.anyio
async def test_a_first_success_is_handed_on() -> None:
    reply = Reply("x", model="m", attempts=1)
    assert await Retry(ScriptedModel(lambda messages: reply)).answer(ASK) is reply


@pytest.mark.anyio
@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_most_attempts(attempts: int, slept: list[float]) -> None:
    model = ScriptedModel(lambda messages: ServerError("it is down."))
    with pytest.raises(ServerError) as caught:
        await Retry(model, RetryPolicy(attempts=attempts)).answer(ASK)
    assert len(model.calls) == attempts == caught.value.attempts
    assert len(slept) == attempts - 1
    said = str(caught.value)
    assert said == ("it is down." if attempts == 1 else f"it is down; given up after {attempts} attempts.")


@pytest.mark.anyio
async def test_most_seconds() -> None:
    model = ScriptedModel(lambda messages: ServerError("down."))
    with pytest.raises(ServerError) as caught:
        await Retry(model, RetryPolicy(attempts=10_000, seconds=0.1, base=0.02, most=0.02)).answer(ASK)
    assert 1 < caught.value.attempts < 10_000


@pytest.mark.anyio
async def test_no_seconds_is_one_attempt(slept: list[float]) -> None:
    model = ScriptedModel([ServerError("down.")])
    with pytest.raises(ServerError):
        await Retry(model, RetryPolicy(seconds=0)).answer(ASK)
    assert (len(model.calls), slept) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [RateLimitError, ServerError])
async def test_what_the_server_asks_for_is_waited_for(kind: Any, slept: list[float]) -> None:
    await Retry(ScriptedModel([kind("no.", retry_after=7.0), kind("no.", retry_after=0.0), "x"])).answer(ASK)
    first, second = slept
    assert 7 <= first <= 8
    assert 0 <= second <= 1


@pytest.mark.anyio
async def test_a_wait_that_is_too_long_gives_up_at_once(slept: list[float]) -> None:
    model = ScriptedModel([RateLimitError("too many.", retry_after=5000)])
    with pytest.raises(RateLimitError) as caught:
        await Retry(model, RetryPolicy(seconds=60)).answer(ASK)
    assert (len(model.calls), slept, caught.value.attempts) == (1, [], 1)
    assert "5000 seconds" in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [float("nan"), -5.0, float("-inf")])
async def test_a_wait_that_is_none_is_not_waited_for(asked: float, slept: list[float]) -> None:
    reply = await Retry(ScriptedModel([RateLimitError("too many.", retry_after=asked), "x"])).answer(ASK)
    assert reply.attempts == 2
    assert len(slept) == 1
    assert 0 <= slept[0] <= 1


@pytest.mark.anyio
async def test_what_comes_back_unreadable_is_paid_for_at_most_four_times(slept: list[float]) -> None:
    model = ScriptedModel(lambda messages: MalformedError("an empty reply."))
    with pytest.raises(MalformedError) as caught:
        await Retry(model).answer(ASK)
    assert len(model.calls) == 4 == caught.value.attempts
    mixed = ScriptedModel([x for _ in range(9) for x in (ServerError("no."), MalformedError("no."))])
    with pytest.raises(MalformedError):
        await Retry(mixed).answer(ASK)
    assert len(mixed.calls) == 8


@pytest.mark.anyio
async def test_waits_are_exponential_with_full_jitter(slept: list[float]) -> None:
    policy = RetryPolicy(attempts=10, seconds=1e9, base=1.0, most=16.0)
    for _ in range(60):
        with pytest.raises(ServerError):
            await Retry(ScriptedModel(lambda messages: ServerError("no.")), policy).answer(ASK)
    for i in range(9):
        waits = slept[i::9]
        most = min(16.0, 2.0**i)
        assert all(0 <= wait <= most for wait in waits)
        assert max(waits) > most * 0.7  # of 60 draws
        assert min(waits) < most * 0.3
        assert len(set(waits)) > 50


@pytest.mark.anyio
async def test_who_listens_is_told_of_waits(slept: list[float]) -> None:
    told: list[Any] = []
    model = Retry(ScriptedModel([ServerError("down.", model="m"), ServerError("still.", model="m"), "x"], name="m"))
    reply = await ask(model, ASK, at="a", listen=told.append)
    assert reply.attempts == 3
    assert told == [Wait("m", "m: down.", slept[0], 1), Wait("m", "m: still.", slept[1], 2)]


@pytest.mark.anyio
async def test_a_wait_can_be_cut_off() -> None:
    model = ScriptedModel([RateLimitError("no.", retry_after=60), "x"])
    with anyio.move_on_after(0.05) as cut:
        await Retry(model).answer(ASK)
    assert cut.cancelled_caught
    assert len(model.calls) == 1


@pytest.mark.anyio
async def test_one_error_that_is_raised_twice_says_so_once(slept: list[float]) -> None:
    error = ServerError("down.")
    retry = Retry(ScriptedModel([error]), RetryPolicy(attempts=2))
    for _ in range(2):
        with pytest.raises(ServerError):
            await retry.answer(ASK)
    assert str(error).count("given up") == 1


@pytest.mark.parametrize("options", [{"attempts": 0}, {"seconds": -1}, {"malformed": 0}, {"seconds": float("nan")}])
def test_policies_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="retry"):
        RetryPolicy(**options)


@pytest.mark.anyio
async def test_attempts_reach_the_journal(tmp_path: Path, slept: list[float]) -> None:
    model = Retry(ScriptedModel([ServerError("no."), ServerError("no."), "x", AuthError("never.")], name="m"))
    async with Journal(tmp_path / "a.sqlite") as journal:
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        with scope(recorder=recorder):
            await ask(model, ASK, at="a")
            with pytest.raises(AuthError):
                await ask(model, ASK, at="b")
        assert [row["attempts"] for row in await journal.calls("r")] == [3, 1]
        info = await journal.run("r")
    assert (info.attempts, info.failed, info.usage.calls) == (4, 1, 1)


# ---- fallback ---------------------------------------------------------------------------------------------------


def answers(text: str, name: str) -> ScriptedModel:
    return ScriptedModel(lambda messages: Reply(text, model=name, usage=Usage(1, 5, 7, usd=0.25)), name=name)


@pytest.mark.anyio
async def test_a_fallback_asks_in_order() -> None:
    first, second, third = ScriptedModel([ServerError("down.")]), answers("two", "b"), answers("three", "c")
    reply = await Fallback([first, second, third]).answer(ASK)
    assert (reply.text, reply.model, reply.usage.calls, reply.usage.usd) == ("two", "b", 1, 0.25)
    assert [part.text for part in reply.parts] == ["two"]
    assert [len(model.calls) for model in (first, second, third)] == [1, 1, 0]
    assert (await Fallback([second]).answer(ASK)).parts == ()


@pytest.mark.anyio
async def test_a_fallback_of_which_all_fail_names_all() -> None:
    members = [ScriptedModel([ServerError("down.", model=n)]) for n in "ab"]
    with pytest.raises(ModelError) as caught:
        await Fallback([*members, ScriptedModel([RefusalError("no.", model="c")])]).answer(ASK)
    assert str(caught.value) == "fallback: no model answered: a: down.; b: down.; c: no."
    assert not caught.value.retryable


@pytest.mark.anyio
async def test_a_fallback_only_for_some_errors() -> None:
    second = answers("two", "b")
    choosy = Fallback([ScriptedModel([RefusalError("no."), ServerError("down.")]), second], when=lambda e: e.retryable)
    with pytest.raises(ModelError, match="no model answered: no"):
        await choosy.answer(ASK)
    assert not second.calls
    assert (await choosy.answer(ASK)).text == "two"
    with pytest.raises(KeyError):  # what is no ModelError is nobody's to mend
        await Fallback([ScriptedModel([KeyError("x")]), second]).answer(ASK)


@pytest.mark.anyio
async def test_a_budget_ends_a_fallback() -> None:
    second = answers("two", "b")
    with limited(Budget(calls=0)), pytest.raises(BudgetError):
        await ask(Fallback([answers("one", "a"), second]), ASK, at="x")
    assert not second.calls


def test_a_fallback_of_none() -> None:
    with pytest.raises(InputError, match="at least one"):
        Fallback([])
    assert Fallback([Plain(), Plain()]).prompts == "pocket"
    assert Fallback([Plain(), ScriptedModel("x")]).prompts is None


@pytest.mark.anyio
async def test_the_members_of_a_fallback_are_journaled_one_by_one(tmp_path: Path) -> None:
    def made() -> tuple[Fallback, list[ScriptedModel]]:
        members = [ScriptedModel([ServerError("down.")], name="a"), answers("two", "b"), answers("three", "c")]
        return Fallback(members), members

    async with Journal(tmp_path / "a.sqlite") as journal:
        replies = []
        for _ in range(2):
            model, members = made()
            recorder = await journal.begin("r", question="q?", name="n", seed=0)
            with scope(recorder=recorder), limited(Budget(calls=5)) as meter:
                replies.append(await ask(model, ASK, at="x"))
        rows = await journal.calls("r")
    assert replies[0] == replies[1]
    assert [(row["path"], row["model"], row["calls"]) for row in rows] == [("x/0", "a", 0), ("x/1", "b", 1)]
    assert sum(len(model.calls) for model in members) == 0
    assert meter.used == Usage()


# ---- replay -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_replay_answers_from_its_journal(tmp_path: Path) -> None:
    script = [f"x{i}" for i in range(9)]
    first, again = ScriptedModel(script, name="m"), ScriptedModel([f"y{i}" for i in range(9)], name="m")
    async with Journal(tmp_path / "a.sqlite") as journal:
        model = Replay(first, journal, "mine")
        said = [(await model.answer(ASK)).text for _ in range(3)]
        assert (await model.answer(ASK, Settings(temperature=0.0))).text == "x3"
        assert (await model.answer([Message("user", "another")])).text == "x4"
    async with Journal(tmp_path / "a.sqlite") as journal:
        model = Replay(again, journal, "mine")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(model.answer, ASK)
        assert again.calls == []
        assert (await model.answer(ASK, Settings(temperature=0.0))).text == "x3"
        assert (await model.answer(ASK)).text == "y0"
        assert len(again.calls) == 1
        assert len(await journal.calls("mine")) == 6
    assert said == ["x0", "x1", "x2"]


@pytest.mark.anyio
async def test_a_replay_inside_a_debate_counts_once(tmp_path: Path) -> None:
    async with Journal(tmp_path / "a.sqlite") as journal:
        models = [Replay(answers("Answer: 1", n), journal, f"run-{n}") for n in "ab"]
        people = [Agent(n, model) for n, model in zip("ab", models, strict=True)]
        group = Debate(people, answer="number", moderator=Moderator(rounds(1)), budget=Budget(calls=4))
        verdict = await group.answer("q?")
        assert (verdict.usage.calls, verdict.reason.startswith("1 round")) == (4, True)
        with limited(Budget(calls=4)) as meter:
            await group.answer("q?", journal=journal, run="outer")
        assert meter.used.calls == 4
        with limited(Budget(calls=1)), pytest.raises(BudgetError):  # noqa: PT012 - asked by itself it counts by itself
            for _ in range(9):
                await models[0].answer([Message("user", "again")])


@pytest.mark.anyio
async def test_a_replay_of_a_nest_journals_its_members(tmp_path: Path) -> None:
    inner = Fallback([ScriptedModel([ServerError("down.")], name="a"), answers("two", "b")])
    async with Journal(tmp_path / "a.sqlite") as journal:
        reply = await Replay(inner, journal, "r").answer(ASK)
        assert [row["path"] for row in await journal.calls("r")] == ["replay/0", "replay/1"]
        assert replace(await Replay(inner, journal, "r").answer(ASK)) == reply


@pytest.mark.anyio
async def test_a_replay_tries_again_what_failed(tmp_path: Path) -> None:
    url = str(tmp_path / "j.sqlite")
    async with Journal(url) as journal:
        with pytest.raises(ModelError):
            await Replay(ScriptedModel([ModelError("down")]), journal, "r").answer([Message("user", "q")])
    async with Journal(url) as journal:
        again = Replay(ScriptedModel("up"), journal, "r")
        assert (await again.answer([Message("user", "q")])).text == "up"
