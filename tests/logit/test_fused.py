"""Ensembles over one vocabulary: what they must equal, token for token, whatever is decoded beside them."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from toys import CHARACTERS, END, Toy, ToySession, char, says

from agora import Agent, Debate, Message, Moderator, ScriptedModel, Settings
from agora.api.defer import Nudged
from agora.calls import Delta, scope
from agora.errors import ContextError, InputError, MalformedError, ModelError, RequestError
from agora.logit import Fused, aware, contrast, defer, drafted, fuse, learn, proxy
from agora.logit.methods import METHODS
from agora.model import Model, TokenModel
from agora.models.batching import Batch, Job, decode
from agora.models.pocket import PocketModel
from agora.models.pocket.problems import ALL_SKILLS, generate
from agora.models.wrappers import with_settings
from agora.records import Reply
from agora.text.stop import rounds

QUESTIONS = [p.question for p in generate(12, 12, ALL_SKILLS)]
SAMPLED = Settings(temperature=1.3, top_p=0.95, seed=7)


def run(model: Model, text: str = "?", settings: Settings = Settings()) -> Reply:
    return anyio.run(model.answer, [Message("user", text)], settings)


def several(model: Model, texts: Sequence[str], settings: Settings = Settings()) -> list[Reply]:
    found: dict[int, Reply] = {}

    async def one(i: int) -> None:
        found[i] = await model.answer([Message("user", texts[i])], settings)

    async def go() -> None:
        async with anyio.create_task_group() as group:
            for i in range(len(texts)):
                group.start_soon(one, i)

    anyio.run(go)
    return [found[i] for i in range(len(texts))]


def pocket(name: str) -> PocketModel:
    return PocketModel(name)


# ---- what it must equal -----------------------------------------------------------------------------------------

SAME: list[tuple[str, Callable[[TokenModel, TokenModel], Model]]] = [
    *((f"two of {name}", lambda a, b, name=name: fuse([a, a], name)) for name in METHODS if name != "product"),
    ("one-hot average", lambda a, b: fuse([a, b], weights=[1, 0])),
    ("one-hot average, other order", lambda a, b: fuse([b, a], weights=[0, 1])),
    ("one-hot product", lambda a, b: fuse([a, b], "product", weights=[1, 0])),
    ("expert = anti-expert", lambda a, b: proxy(a, b, b)),
    ("base = anti-expert", lambda a, b: proxy(b, a, b)),
    ("no strength", lambda a, b: proxy(a, b, pocket("mod"), alpha=0)),
    ("never deferred", lambda a, b: defer(a, b, 0)),
    ("always deferred", lambda a, b: defer(b, a, 1)),
    ("fused only where it is never unsure", lambda a, b: fuse([a, b], sure=0)),
    ("no context", lambda a, b: aware(a)),
    ("an ensemble of ensembles", lambda a, b: fuse([fuse([a, b], weights=[1, 0]), a])),
    ("drafted", lambda a, b: drafted(a, b)),
    ("drafted by itself, far ahead", lambda a, b: drafted(a, a, 9)),
    ("by perplexity, of copies", lambda a, b: fuse([a, a], weights="perplexity")),
]


@pytest.mark.parametrize(("name", "make"), SAME)
@pytest.mark.parametrize("settings", [Settings(), SAMPLED])
def test_it_is_that_model_token_for_token(
    name: str, make: Callable[[TokenModel, TokenModel], Model], settings: Settings
) -> None:
    a, b = pocket("sum"), pocket("mul")
    for question in QUESTIONS[:5]:
        alone, together = run(a, question, settings), run(make(a, b), question, settings)
        assert together.text == alone.text
        assert together.finish == alone.finish
        assert together.logprob == pytest.approx(alone.logprob, abs=1e-4)


def test_contrast_with_itself_is_itself_greedily() -> None:
    a = pocket("sum")
    for question in QUESTIONS[:5]:
        assert run(contrast(a, a), question).text == run(a, question).text


def uncached(models: Sequence[TokenModel], combine: Any, question: str, most: int) -> list[int]:
    """Greedy tokens without any cache: every step reads everything anew."""
    prompt, out = models[0].encode([Message("user", question)]), []
    while len(out) < most:
        rows = []
        for model in models:
            session = model.session()
            rows.append(session.forward([(session.new(), [*prompt, *out])]))
        logits = np.stack(rows).astype(np.float64)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        token = int(combine(p)[0].argmax())
        if token in models[0].stop_tokens:
            break
        out.append(token)
    return out


@pytest.mark.parametrize(
    ("make", "combine"),
    [
        (lambda ms: fuse(ms), lambda p: p.mean(0)),
        (lambda ms: fuse(ms, "product"), lambda p: p.prod(0)),
        (lambda ms: fuse(ms, weights=[3, 1, 1]), lambda p: (3 * p[0] + p[1] + p[2]) / 5),
        (lambda ms: proxy(*ms), lambda p: p[0] * p[1] / p[2]),
        (lambda ms: contrast(*ms[:2]), lambda p: np.where(p[0] >= 0.1 * p[0].max(), p[0] / p[1], 0)),
        (lambda ms: fuse(ms[:2], sure=0.8), lambda p: p[0] if p[0].max() >= 0.8 else p[:2].mean(0)),
        (lambda ms: defer(*ms[:2], 0.8), lambda p: p[0] if p[0].max() >= 0.8 else p[1]),
    ],
)
def test_cached_is_uncached(make: Any, combine: Any) -> None:
    models = [pocket(name) for name in ("sum", "mul", "base")]
    fused = make(models)
    for question in QUESTIONS[:4]:
        decode(fused, [job := Job([Message("user", question)], Settings(), 40)])
        assert job.tokens == uncached(models, combine, question, 40)


@pytest.mark.parametrize("settings", [Settings(), SAMPLED])
@pytest.mark.parametrize(
    "make",
    [
        lambda: pocket("sum"),
        lambda: fuse([pocket("sum"), pocket("mul"), pocket("sort")], "surest"),
        lambda: fuse([pocket("sum"), pocket("mul")], sure=0.9),
        lambda: fuse([pocket("sum"), pocket("mul")], weights="perplexity", tau=0.1),
        lambda: drafted(fuse([pocket("sum"), pocket("mul")]), pocket("base")),
    ],
)
def test_who_else_is_decoded_makes_no_difference(make: Callable[[], Model], settings: Settings) -> None:
    """Questions of unequal lengths, asked at once and one by one."""
    model = make()
    assert len({len(question) for question in QUESTIONS}) > 3
    together = several(model, QUESTIONS, settings)
    for question, reply in zip(QUESTIONS, together, strict=True):
        assert run(model, question, settings).text == reply.text


def test_answers_join_and_leave_at_any_token() -> None:
    model = fuse([pocket("sum"), pocket("mul")], sure=0.9)
    alone = {question: run(model, question).text for question in QUESTIONS}
    draw, batch = random.Random(3), Batch(model)
    waiting, done = QUESTIONS * 3, 0
    while waiting or batch.rows:
        for _ in range(draw.choice([0, 0, 0, 1, 2])):
            if waiting:
                batch.add(Job([Message("user", waiting.pop())], Settings(), 64))
        for job in batch.step():
            assert model.decode(job.tokens).strip() == alone[job.messages[0].content]
            done += 1
    assert done == 3 * len(QUESTIONS)


def test_a_draft_saves_forwards_and_changes_nothing() -> None:
    big, small = char("big", "an answer of some length", 0.8), char("small", "an answer of same length", 0.8)
    alone = run(big).text
    steps = big.forwards_made
    big.forwards_made = 0
    assert run(drafted(big, small, 4)).text == alone
    assert big.forwards_made < steps / 3
    assert big.open == small.open == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ahead", [1, 3, 8])
def test_a_seed_gives_the_same_with_a_draft(seed: int, ahead: int) -> None:
    model, settings = fuse([pocket("sum"), pocket("sort")]), Settings(temperature=1.5, seed=seed, min_p=0.01)
    for question in QUESTIONS[:3]:
        assert run(drafted(model, pocket("mul"), ahead), question, settings).text == run(model, question, settings).text


def test_others_are_asked_only_where_the_first_is_unsure() -> None:
    lead, other = char("lead", "abcdefgh", doubts={3: 0.2}), char("other", "abcxefgh")
    reply = run(fuse([lead, other], sure=0.5))
    assert reply.text == "abcxefgh"
    assert lead.forwards_made == 9
    assert other.forwards_made == 1
    assert other.fed == 1 + 3  # its prompt and what it had missed, at once


# ---- usage, shares, weights -------------------------------------------------------------------------------------


def test_usage_is_that_of_all_members() -> None:
    a, b = char("a", "abc"), char("b", "abc")
    usage = run(fuse([a, b]), "??").usage
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (1, 4, 6)
    nested = run(fuse([fuse([a, b]), a]), "??").usage
    assert (nested.calls, nested.input_tokens, nested.output_tokens) == (1, 6, 9)


def test_who_gave_which_probability_is_said_on_request() -> None:
    a, b = char("a", "ab", 0.9), char("b", "ax", 0.6)
    assert run(fuse([a, b])).tokens == ()
    reply = run(fuse([a, b]), settings=Settings(logprobs=2))
    assert [t.text for t in reply.tokens] == ["a", "b"]
    first, second = reply.tokens
    assert dict(first.by) == {"a": pytest.approx(math.log(0.9), abs=1e-5), "b": pytest.approx(math.log(0.6), abs=1e-5)}
    others = 0.4 / (len(CHARACTERS) - 1)
    assert dict(second.by)["b"] == pytest.approx(math.log(others), abs=1e-5)
    assert second.logprob == pytest.approx(math.log((0.9 + others) / 2), abs=1e-5)
    assert [text for text, _ in second.top] == ["b", "x"]
    assert first.disagreement is not None
    assert second.disagreement is not None
    assert 0 < first.disagreement < second.disagreement < 1
    from agora.journal import reply_json, reply_of

    assert reply_of(reply_json(reply)) == reply


def test_who_was_not_asked_has_no_share() -> None:
    lead, other = char("lead", "abcd", doubts={2: 0.2}), char("other", "abcd")
    reply = run(fuse([lead, other], sure=0.5), settings=Settings(logprobs=0))
    assert [len(t.by) for t in reply.tokens] == [1, 1, 2, 1]
    assert [t.disagreement is None for t in reply.tokens] == [True, True, False, True]


def test_weights_by_perplexity_follow_who_knows_the_prompt() -> None:
    knows, not_ = char("knows", "a" * 50, 0.9), char("not", "b" * 50, 0.9)

    def encode(messages: Sequence[Message]) -> list[int]:
        return [0, *(knows.vocabulary.index(c) for c in messages[-1].content)]

    knows.encode = not_.encode = encode  # type: ignore[method-assign]
    fused = fuse([not_, knows], weights="perplexity", tau=0.1)
    assert isinstance(fused, Fused)
    reply = run(fused, "aaaa", Settings(max_tokens=3))
    assert reply.text == "aaa"
    assert run(fused, "bbbb", Settings(max_tokens=3)).text == "bbb"
    assert knows.fed == not_.fed == 2 * (5 + 2)  # each prompt was read once
    assert knows.open == not_.open == 0


@pytest.mark.parametrize("by", ["average", "product"])
def test_weights_are_learnt(by: str) -> None:
    good, bad = char("good", "abcdefgh", 0.7), char("bad", "ijklmnop", 0.7)
    examples = [([Message("user", "?")], "abcdefgh")] * 3
    weights = learn([bad, good], examples, by)
    assert weights[1] > 0.9
    assert weights[0] < 0.1
    both = learn([good, good], examples, "average")
    assert both == pytest.approx((0.5, 0.5))
    # half of the answers of one kind, half of the other: the mixture's weights are those shares
    other = char("other", "ijklmnop", 0.7)
    half = [([Message("user", "?")], text) for text in ("abcdefgh", "ijklmnop", "ijklmnop", "ijklmnop")]
    assert learn([good, other], half)[1] == pytest.approx(0.75, abs=0.05)


def test_learning_refuses_what_it_cannot_use() -> None:
    model = char("a", "abc")
    with pytest.raises(InputError, match="needs examples"):
        learn([model, model], [])
    with pytest.raises(InputError, match="average and product"):
        learn([model, model], [([Message("user", "?")], "a")], "max")
    with pytest.raises(InputError, match="no tokens"):
        learn([model, model], [([Message("user", "?")], "é")])


# ---- as a model -------------------------------------------------------------------------------------------------


def test_it_nests() -> None:
    fused = fuse([pocket("sum"), pocket("mul")], "surest", name="both")
    assert isinstance(fused, TokenModel)
    nudged = Nudged(fused, pocket("sort"), 0)
    assert run(nudged, QUESTIONS[0]).text == run(fused, QUESTIONS[0]).text
    debate = Debate([Agent("a", fused), Agent("b", pocket("sort"))], answer="number", moderator=Moderator(rounds(1)))
    verdict = anyio.run(debate.answer, QUESTIONS[0])
    assert verdict.usage.calls == 4


def test_settings_around_a_member_have_no_effect() -> None:
    hot = with_settings(pocket("sum"), Settings(temperature=3.0))
    assert run(fuse([hot, hot]), QUESTIONS[0]).text == run(pocket("sum"), QUESTIONS[0]).text


def test_streaming_and_stop_texts() -> None:
    told: list[Delta] = []

    async def go() -> Reply:
        with scope(listen=lambda what: told.append(what) if isinstance(what, Delta) else None, stream=True):
            return await fuse([char("a", "one two three"), char("b", "one two three")]).answer(
                [Message("user", "?")], Settings(stop=("thr",))
            )

    for backend in ("asyncio", "trio"):
        told.clear()
        reply = anyio.run(go, backend=backend)
        assert reply.text == "one two"
        assert reply.finish == "stop"
        assert told[0].first
        assert "".join(delta.text for delta in told).startswith("one two")


def test_max_tokens() -> None:
    reply = run(char("a", "abcdef"), settings=Settings(max_tokens=3))
    assert (reply.text, reply.finish, reply.usage.output_tokens) == ("abc", "length", 3)


# ---- cancellation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_who_is_cancelled_leaves_between_tokens_and_the_others_go_on(backend: str) -> None:
    model = char("slow", "a long answer that takes its time", wait=0.01)
    found: list[str] = []

    async def other() -> None:
        found.append((await model.answer([Message("user", "?")])).text)

    async def go() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            with anyio.move_on_after(0.1):
                await model.answer([Message("user", "?")])

    anyio.run(go, backend=backend)
    assert found == ["a long answer that takes its time"]
    assert max(model.rows) == 2
    assert model.rows[-1] == 1
    deadline = time.monotonic() + 5
    while any(t.name == "agora slow" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.name == "agora slow" for t in threading.enumerate())
    assert model.open == 0


def test_a_newcomer_is_decoded_with_who_is_there() -> None:
    model = char("slow", "abcdefghij", wait=0.005)

    async def late() -> None:
        await anyio.sleep(0.02)
        await model.answer([Message("user", "?")])

    async def go() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(late)
            group.start_soon(model.answer, [Message("user", "?")])

    anyio.run(go)
    assert 2 in model.rows
    assert len(model.rows) < 22


# ---- what goes wrong --------------------------------------------------------------------------------------------


class Failing(ToySession):
    at, what = 0, "error"

    def _row(self, slot: int) -> Any:
        row = super()._row(slot)
        if len(self.slots[slot]) - self.prompts[slot] >= self.at:
            if self.what == "nan":
                return np.full_like(row, np.nan)
            raise RuntimeError("the device is lost")
        return row


def failing(at: int, what: str, only: str = "") -> Toy:
    """Fails from some token on, if its prompt is as long as `only`."""
    toy = char("weak", "x" * 100)

    class Session(Failing):
        def _row(self, slot: int) -> Any:
            if only and self.prompts[slot] != len(only):
                return ToySession._row(self, slot)
            return super()._row(slot)

    Session.at, Session.what = at, what
    toy.session = lambda: Session(toy)  # type: ignore[method-assign]
    return toy


def test_a_member_that_fails_at_token_50_is_named() -> None:
    with pytest.raises(ModelError, match=r"fused: its member weak failed: RuntimeError: the device is lost"):
        run(fuse([char("fine", "x" * 100), failing(49, "error")]))
    with pytest.raises(MalformedError, match=r"fused: its member weak gave NaN at token 50"):
        run(fuse([char("fine", "x" * 100), failing(49, "nan")]))
    with pytest.raises(MalformedError, match="weak: it gave NaN at token 50"):
        run(failing(49, "nan"))
    with pytest.raises(ModelError, match="weak: it failed at token 50: RuntimeError"):
        run(failing(49, "error"))


@pytest.mark.parametrize("what", ["error", "nan"])
@pytest.mark.parametrize("alone", [True, False])
def test_one_that_fails_takes_nobody_with_it(what: str, alone: bool) -> None:
    weak = failing(20, what, only="bad")
    model = weak if alone else fuse([char("fine", "x" * 100), weak])
    found: dict[str, object] = {}

    async def one(text: str) -> None:
        try:
            found[text] = (await model.answer([Message("user", text)])).text
        except ModelError as error:
            found[text] = error

    async def go() -> None:
        async with anyio.create_task_group() as group:
            for text in ("a", "ok", "bad", "good"):
                group.start_soon(one, text)

    anyio.run(go)
    assert isinstance(found.pop("bad"), ModelError)
    assert found == dict.fromkeys(("a", "ok", "good"), "x" * 100)


def test_a_drafter_that_fails_costs_speed_alone() -> None:
    model = char("a", "x" * 100)
    assert run(drafted(model, failing(20, "error"))).text == "x" * 100
    assert run(drafted(model, failing(20, "nan"))).text == "x" * 100
    assert run(drafted(model, char("b", "x" * 100, context=30))).text == "x" * 100


def test_prompts_that_are_empty_or_too_long() -> None:
    with pytest.raises(RequestError, match="no tokens"):
        run(char("a", "abc"), "")
    with pytest.raises(RequestError, match="no tokens"):
        run(fuse([char("a", "abc"), char("b", "abc")]), "")
    with pytest.raises(ContextError, match="no room"):
        run(fuse([char("a", "abc"), char("b", "abc", context=5)]), "?" * 5)
    reply = run(fuse([char("a", "abcdef"), char("b", "abcdef", context=5)]), "??")
    assert (reply.text, reply.finish) == ("abc", "length")


def test_temperature_0_is_greedy_and_divides_by_nothing() -> None:
    model = fuse([pocket("sum"), pocket("mul")])
    zero, tiny = Settings(temperature=0, top_p=0.5, top_k=3), Settings(temperature=1e-9, seed=1)
    assert run(model, QUESTIONS[0], zero).text == run(model, QUESTIONS[0]).text == run(model, QUESTIONS[0], tiny).text


def test_members_that_do_not_fit_together() -> None:
    other = Toy("other", ["ab", "c"], says("abc", pieces=["ab"]))
    said = r"different vocabularies, of 41 and 4 tokens; token 1 is 'a' and 'ab'.*over: text"
    with pytest.raises(InputError, match=said):
        fuse([char("a", "abc"), other])
    with pytest.raises(InputError, match="at least two members"):
        fuse([char("a", "abc")])
    with pytest.raises(InputError, match="cannot be read in this process"):
        fuse([char("a", "abc"), ScriptedModel(["x"])])
    with pytest.raises(InputError, match="vocabularies"):
        drafted(char("a", "abc"), other)
    with pytest.raises(InputError, match="a word"):
        aware(char("a", "abc"), tag="<x>")
    with pytest.raises(InputError, match="over is"):
        fuse([char("a", "abc"), char("b", "abc")], over="words")  # type: ignore[arg-type]


def test_padded_vocabularies_are_one() -> None:
    """Checkpoints of one family pad their logits to unequal widths."""
    a = char("a", "abc")
    stop = frozenset([a.vocabulary.index(END)])
    padded = type("Padded", (Toy,), {"stop_tokens": stop})("padded", CHARACTERS, says("abc"))
    padded.vocabulary = [*padded.vocabulary, "", ""]
    for members in ([a, padded], [padded, a]):
        assert run(fuse(members)).text == "abc"


def test_a_context_counts() -> None:
    """By the rule the model says the last character of its prompt; with the context it reads another."""
    model = char("a", "")
    seen: list[str] = []

    def encode(messages: Sequence[Message]) -> list[int]:
        seen.append(messages[-1].content)
        return [0]

    model.encode = encode  # type: ignore[method-assign]
    with pytest.raises(ModelError):  # it says nothing
        run(aware(model), "Who? <context>It was Ann.</context> Say <context>x</context>a name.")
    assert seen == ["Who? <context>It was Ann.</context> Say <context>x</context>a name.", "Who?  Say a name."]
