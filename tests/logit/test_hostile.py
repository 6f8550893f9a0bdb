"""What ensembles and local models must bear: listeners that leave, jobs that fail alone, parts of characters, odd
vocabularies, numbers at the edge of their range."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from test_union import Far
from toys import CHARACTERS, END, Toy, ToySession, char, says

from agora import Agent, Debate, Message, Moderator, Settings
from agora.api.defer import Nudged
from agora.config import load_model
from agora.errors import ContextError, InputError, MalformedError, ModelError
from agora.logit import Fused, OverText, contrast, drafted, fuse, learn, proxy
from agora.logit import methods as m
from agora.logit.union import Look
from agora.model import Model
from agora.models.batching import Batch, Job
from agora.models.pocket import PocketModel
from agora.models.pocket.problems import ALL_SKILLS, generate
from agora.records import Reply, Token
from agora.text.stop import rounds

QUESTIONS = [p.question for p in generate(12, 40, ALL_SKILLS)]


def run(model: Model, text: str = "?", settings: Settings = Settings()) -> Reply:
    return anyio.run(model.answer, [Message("user", text)], settings)


def together(model: Model, *asked: tuple[str, Settings]) -> dict[str, str | Exception]:
    found: dict[str, str | Exception] = {}

    async def one(text: str, settings: Settings) -> None:
        try:
            found[text] = (await model.answer([Message("user", text)], settings)).text
        except ModelError as error:
            found[text] = error

    async def go() -> None:
        async with anyio.create_task_group() as group:
            for text, settings in asked:
                group.start_soon(one, text, settings)

    anyio.run(go)
    return found


# ---- listeners, and jobs that fail alone ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["toy", "fused", "text"])
def test_a_stream_may_be_left(kind: str, backend: str, caplog: pytest.LogCaptureFixture) -> None:
    a, b = char("a", "x" * 60, wait=0.002), char("b", "x" * 60)
    model: Model = {"toy": a, "fused": fuse([a, b]), "text": fuse([a, b], over="text")}[kind]
    debate = Debate([Agent("one", model), Agent("two", model)], moderator=Moderator(rounds(1)))

    async def go() -> None:
        async with debate.watch("?", stream=True) as events:
            async for event in events:
                if type(event).__name__ == "Wrote":
                    break
        await anyio.sleep(0.1)

    with caplog.at_level(logging.ERROR):
        anyio.run(go, backend=backend)
    assert not caplog.records


def test_a_seed_that_is_none_fails_its_own_answer_alone() -> None:
    model = char("a", "abc", 0.9)
    found = together(model, ("??", Settings(temperature=1.0, seed=-1)), ("?", Settings()))
    assert found["?"] == "abc"
    assert "it failed at token 1: ValueError" in str(found["??"])
    with pytest.raises(InputError, match="seed"):
        load_model({"pocket": "sum", "temperature": 1.0, "seed": -1})


def test_a_prompt_that_cannot_be_weighed_fails_alone_and_leaves_no_slot() -> None:
    a, b = char("a", "abc"), char("b", "abc")

    class Session(ToySession):
        def forward(self, batch: Any, *, every: bool = False) -> Any:
            rows = super().forward(batch, every=every)
            if every and len(batch[0][1]) > 3:
                rows[:] = np.nan
            return rows

    b.session = lambda: Session(b)  # type: ignore[method-assign]
    found = together(fuse([a, b], weights="perplexity"), ("??", Settings()), ("?????", Settings()), ("???", Settings()))
    assert isinstance(found.pop("?????"), MalformedError)
    assert found == {"??": "abc", "???": "abc"}
    assert a.open == b.open == 0


def test_a_panic_of_a_tokenizer_is_an_error_and_no_hang() -> None:
    class Panic(BaseException):
        pass

    model = char("a", "abc")
    encode = model.encode

    def panics(messages: Sequence[Message]) -> Any:
        if messages[-1].content == "boo":
            raise Panic("a bug in Rust")
        return encode(messages)

    model.encode = panics  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="Panic"):
        run(model, "boo")
    assert run(model).text == "abc"


def test_one_conversation_that_cannot_be_drafted_for_leaves_the_others_their_drafts() -> None:
    big, small = char("big", "x" * 60), char("small", "x" * 60)
    encode = small.encode

    def refuses(messages: Sequence[Message]) -> Any:
        if messages[-1].content == "no":
            raise ValueError("not this one")
        return encode(messages)

    small.encode = refuses  # type: ignore[method-assign]
    batch = Batch(drafted(big, small, 4))
    jobs = [Job([Message("user", text)], Settings(), 64) for text in ("no", "yes")]
    for job in jobs:
        assert batch.add(job)
    steps = []
    while batch.rows:
        batch.step()
        steps.append({job.messages[0].content: len(job.tokens) for job in jobs})
    assert [job.text or big.decode(job.tokens) for job in jobs] == ["x" * 60] * 2
    assert next(i for i, seen in enumerate(steps) if seen["yes"] == 60) < 20
    assert small.open == 0


def test_what_may_begin_a_stop_text_is_not_told() -> None:
    told: list[str] = []
    model = char("a", "one two three")
    batch = Batch(model)
    job = Job([Message("user", "?")], Settings(stop=("three", " twx")), 64, tell=told.append)
    batch.add(job)
    while batch.rows:
        batch.step()
    assert "".join(told) == job.text == "one two "


# ---- numbers ----------------------------------------------------------------------------------------------------


def test_what_a_subtracted_member_rules_out_is_no_nan() -> None:
    base, expert, amateur = (PocketModel(n) for n in ("base", "sum", "mul"))
    masked = contrast(amateur, base)
    for question in QUESTIONS[:4]:
        assert run(proxy(base, expert, masked), question).text
        assert run(fuse([expert, masked], "product", weights=[1, -0.5]), question).text
    with np.errstate(divide="ignore"):
        rows = np.log(np.array([[[0.6, 0.4]], [[0.0, 1.0]], [[0.0, 1.0]]]))
    assert np.exp(m.tuned(rows, np.ones((3, 1))))[0].tolist() == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(
    "value",
    [
        {"fuse": ["pocket:sum", "pocket:mul"], "weights": [1e308, 1]},
        {"fuse": ["pocket:sum", "pocket:mul"], "weights": "perplexity", "tau": 1e-320},
        {"fuse": ["pocket:sum", "pocket:mul"], "method": "product", "weights": [0, 0]},
        {"fuse": ["pocket:sum", "pocket:mul"], "method": "surest", "weights": "perplexity"},
        {"fuse": ["pocket:sum", "pocket:mul"], "tau": 0.5},
        {"fuse": ["pocket:sum", "pocket:mul"], "top": 5},
        {"proxy": {"base": "pocket:base", "expert": "pocket:sum", "anti": "pocket:base", "alpha": 1e300}},
        {"contrast": {"expert": "pocket:sum", "amateur": "pocket:base", "beta": 1e308}},
    ],
)
def test_numbers_out_of_range_and_options_without_effect_are_refused(value: Any) -> None:
    with pytest.raises(InputError) as error:
        load_model(value)
    assert "\n" not in str(error.value)


def test_weights_may_be_an_array() -> None:
    assert run(fuse([char("a", "abc"), char("b", "abc")], weights=np.array([2.0, 1.0]))).text == "abc"  # type: ignore[arg-type]


def test_a_member_that_gives_nan_is_noticed_by_every_method() -> None:
    bad = Toy("bad", CHARACTERS, lambda text: dict.fromkeys("ab", math.nan))
    fine = char("fine", "abc")
    for members in ([bad, fine], [fine, bad]):
        for by in (*m.METHODS, m.deferring(1)):
            with pytest.raises(MalformedError, match="bad gave NaN"):
                run(fuse(members, by))
    with pytest.raises(MalformedError, match="bad gave NaN"):
        run(fuse([bad, fine], m.deferring(0.5)))


def test_weights_by_perplexity_look_through_what_stands_around_an_ensemble() -> None:
    a, b, c = char("a", "abc"), char("b", "abc"), char("c", "abc")
    with pytest.raises(InputError, match="no ensembles"):
        fuse([drafted(fuse([b, c]), b), a], weights="perplexity")


def test_learning_compares_vocabularies() -> None:
    a = char("a", "abc")
    with pytest.raises(InputError, match="different vocabularies"):
        learn([a, Toy("b", CHARACTERS[::-1], says("abc"))], [([Message("user", "?")], "abc")])


def test_settings_around_one_model_stay() -> None:
    hot = load_model({"aware": {"pocket": "sum", "temperature": 3.0, "seed": 1}})
    said = {run(hot, QUESTIONS[0], Settings(seed=None)).text, run(PocketModel("sum"), QUESTIONS[0]).text}
    assert len(said) == 2


def test_names_are_those_of_the_file() -> None:
    one = load_model({"fuse": {"first": "pocket:sum", "second": "pocket:sum"}})
    assert [name for name, _ in run(one, QUESTIONS[0], Settings(logprobs=0)).tokens[0].by] == ["first", "second"]
    again = fuse([PocketModel("sum"), PocketModel("sum")])
    names = [name for name, _ in run(again, QUESTIONS[0], Settings(logprobs=0)).tokens[0].by]
    assert names == ["pocket:sum", "pocket:sum 2"]


def test_who_was_asked_is_the_same_with_drafts() -> None:
    fused = fuse([PocketModel("sum"), PocketModel("sort")], sure=0.9)
    for question in QUESTIONS[:5]:
        alone = run(fused, question, Settings(logprobs=0)).tokens
        ahead = run(drafted(fused, PocketModel("base")), question, Settings(logprobs=0)).tokens
        assert [len(t.by) for t in alone] == [len(t.by) for t in ahead]


def test_a_drafter_may_be_padded() -> None:
    big, small = char("big", "x" * 30), char("small", "x" * 30)
    stop = small.stop_tokens
    padded = type("Padded", (Toy,), {"stop_tokens": stop})("padded", CHARACTERS, says("x" * 30))
    padded.vocabulary = [*padded.vocabulary, "", ""]

    class Session(ToySession):
        def _row(self, slot: int) -> Any:
            row = super()._row(slot)
            row[-1] = 50.0  # the padding is the likeliest
            return row

    padded.session = lambda: Session(padded)  # type: ignore[method-assign]
    assert run(drafted(big, padded)).text == "x" * 30


# ---- over text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 2, 10, 158])
def test_the_surest_is_the_surest_of_its_whole_distribution(top: int) -> None:
    members = [PocketModel(n) for n in ("sum", "mul", "sort")]
    same = sum(
        run(fuse(members, "surest", over="text", top=top), q).text == run(fuse(members, "surest"), q).text
        for q in QUESTIONS
    )
    assert same == len(QUESTIONS)
    words = [f"w{i}" for i in range(3000)]
    vague = Toy("vague", [*CHARACTERS, *words], lambda text: dict.fromkeys(words, 1 / 3000))
    assert run(fuse([vague, char("sure", "abc", 0.8)], "surest", over="text")).text == "abc"


class Bytes(Toy):
    """A toy whose pieces are bytes."""

    def decode(self, tokens: Sequence[int]) -> str:
        raw = b"".join(bytes([ord(self.vocabulary[t][0])]) if len(self.vocabulary[t]) == 1 and t not in self.parts
                       else self.parts.get(t, b"") for t in tokens)  # fmt: skip
        return raw.decode("utf-8", "replace")


def in_bytes(name: str, text: str, sure: float = 0.99) -> Toy:
    raw = text.encode()
    alphabet = sorted({*raw, *b"abcdefghijklmnopqrstuvwxyz "})
    toy = Bytes(name, [], lambda text: {})
    toy.vocabulary = ["<begin>", *(chr(b) if b < 128 else f"\ufffd{b:x}" for b in alphabet), END]
    toy.parts = {i: bytes([b]) for i, b in enumerate(alphabet, 1) if b >= 128}  # type: ignore[attr-defined]
    toy.vocabulary = [w if i not in toy.parts else "\ufffd" for i, w in enumerate(toy.vocabulary)]  # type: ignore[attr-defined]

    class Session(ToySession):
        def _row(self, slot: int) -> Any:
            said = len(self.slots[slot]) - self.prompts[slot]
            row = np.full(len(toy.vocabulary), math.log((1 - sure) / (len(toy.vocabulary) - 2)), np.float32)
            right = len(toy.vocabulary) - 1 if said >= len(raw) else 1 + alphabet.index(raw[said])
            row[right], row[0] = math.log(sure), -60
            return row

    toy.session = lambda: Session(toy)  # type: ignore[method-assign]
    return toy


def test_characters_of_several_tokens_are_written() -> None:
    text = "i am 😀 ok é"
    a, b = in_bytes("a", text), in_bytes("b", text, 0.9)
    assert run(a).text == text
    reply = run(fuse([a, b], over="text"))
    assert reply.text == text
    assert a.open == b.open == 0
    assert reply.route is not None
    done, steps = reply.route[1].split(" at ")[1].split(" of ")
    assert int(steps) == len(text) + 1
    assert int(done) >= len(text) - 1


def test_tokens_without_text_are_part_of_what_others_can_have() -> None:
    def rule(text: str) -> Mapping[str, float]:
        return {"\ufffd": 0.6, "a": 0.3, END: 0.1} if not text else {END: 1.0}

    reply = run(fuse([Toy("a", ["\ufffd", "a"], rule), Toy("b", ["\ufffd", "a"], rule)], over="text", top=3))
    assert reply.text == "a"
    assert reply.route is not None
    assert "at 1 of 2" in reply.route[1]


def test_two_tokens_of_one_text_are_one_piece() -> None:
    def rule(text: str) -> Mapping[str, float]:
        return {"x": 0.4, "y": 0.3, END: 0.01} if not text else {END: 1.0}

    class Session(ToySession):
        def _row(self, slot: int) -> Any:
            row = super()._row(slot)
            if row[1] > -2:
                row[3] = math.log(0.29)
            return row

    twice = Toy("twice", ["x", "y", "z"], rule)
    twice.vocabulary[3] = "y"
    twice.session = lambda: Session(twice)  # type: ignore[method-assign]
    assert run(fuse([twice, twice], over="text")).text == "y"


def test_a_server_whose_parts_of_characters_have_no_text_goes_on() -> None:
    class Parts(Far):
        async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
            reply = await super().answer(messages, settings)
            tokens: list[Token] = []
            for token in reply.tokens:
                if token.text == "z":  # stands for a character of two tokens, the first of which has no text
                    tokens.append(Token("", math.log(0.99), (("", math.log(0.99)), ("e", math.log(0.01)))))
                tokens.append(token)
            return Reply(reply.text, model=reply.model, usage=reply.usage, finish=reply.finish, tokens=tuple(tokens))

    reply = run(OverText([char("a", "i am z ok"), Parts(char("far", "i am z ok"))]))
    assert (reply.text, reply.finish) == ("i am z ok", "stop")


def test_where_the_first_decides_alone_no_request_is_made() -> None:
    lead, far = char("lead", "abcdef", doubts={3: 0.3}), Far(char("far", "abcdef"))
    assert run(OverText([lead, far], m.method("average", sure=0.8))).text == "abcdef"
    assert len(far.asked) == 1


def test_an_ensemble_that_cannot_read_its_prompt_is_no_riddle() -> None:
    fused = fuse([char("a", "abc", context=5), char("b", "abc", context=5)], weights="perplexity")
    with pytest.raises(ContextError):
        run(Nudged(fused, char("c", "abc"), 0.4), "?" * 9)
    assert isinstance(fused, Fused)


def test_bounds() -> None:
    look = Look({"a": -1.0}, -3.0, {"b": -2.0, "c": -5.0}, {"b"})
    assert look.bounds("a") == (-1.0, -1.0)
    assert look.bounds("b") == (-2.0, -2.0)
    assert look.bounds("c") == (-math.inf, -5.0)
    assert look.bounds("d") == (-math.inf, -3.0)
