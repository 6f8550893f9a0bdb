"""Fusion over text: what it must equal, what is provable, tokenizers that cut differently, members behind servers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from fake_server import serve
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CHARACTERS, END, Rule, Toy, char, says

from agora import Budget, Journal, Message, ScriptedModel, Settings
from agora.api.defer import Nudged
from agora.calls import Delta, ask, limited, scope
from agora.errors import BudgetError, ContextError, InputError, MalformedError, RequestError
from agora.logit import Fused, OverText, contrast, fuse, proxy
from agora.logit import methods as m
from agora.logit.union import Look, candidates, certain, table
from agora.model import Model
from agora.models.completions import CompletionsModel
from agora.models.pocket import PocketModel
from agora.models.pocket.problems import ALL_SKILLS, generate
from agora.records import Reply, Token, Usage

QUESTIONS = [p.question for p in generate(12, 6, ALL_SKILLS)]


def run(model: Model, text: str = "?", settings: Settings = Settings()) -> Reply:
    return anyio.run(model.answer, [Message("user", text)], settings)


def over_text(*members: Model, by: str | m.Method = "average", **options: Any) -> OverText:
    return OverText(members, by, **options)


class Far:
    """A toy behind a server: asked with a begun answer it gives the next tokens, greedily, with alternatives.

    Attributes:
        asked: (begun answer, tokens asked for) of each request.
    """

    continues = True

    def __init__(self, toy: Toy, *, says_how_likely: bool = True) -> None:
        self.toy, self.name, self.says = toy, toy.name, says_how_likely
        self.asked: list[tuple[str, int]] = []

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        begun = messages[-1].content if messages[-1].role == "assistant" else ""
        self.asked.append((begun, settings.max_tokens or 0))
        text, tokens, finish = begun, [], "length"
        while len(tokens) < (settings.max_tokens or 100):
            rule = sorted(self.toy.rule(text).items(), key=lambda pair: -pair[1])
            piece, p = rule[0]
            top = tuple(("</s>" if t == END else t, math.log(q)) for t, q in rule[: settings.logprobs or 0] if q > 0)
            tokens.append(Token("" if piece == END else piece, math.log(p), top))
            if piece == END:
                finish = "stop"
                break
            text += piece
        return Reply(
            text[len(begun) :],
            model=self.name,
            usage=Usage(1, 10 + len(begun), len(tokens)),
            finish=finish,
            tokens=tuple(tokens) if self.says else (),
        )


# ---- what it must equal -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", list(m.METHODS))
@pytest.mark.parametrize("wanted", [Settings(), Settings(temperature=1.0, seed=5)])
def test_with_all_of_one_vocabulary_it_is_the_fusion_over_it(by: str, wanted: Settings) -> None:
    members = [PocketModel("sum"), PocketModel("mul"), PocketModel("sort")]
    size = len(members[0].vocabulary)
    for question in QUESTIONS[:3]:
        full = run(fuse(members, by), question, wanted)
        union = run(fuse(members, by, over="text", top=size), question, wanted)
        if not wanted.temperature:  # samples are drawn in another order of tokens
            assert union.text == full.text
        assert union.route is not None
        if by == "average" and not wanted.temperature:
            n = union.route[1].split()[0]
            assert union.route[1].endswith(f"at {n} of {n}")


def test_with_a_few_pieces_most_choices_are_provable() -> None:
    members = [PocketModel("sum"), PocketModel("mul")]
    for question in QUESTIONS:
        union = run(over_text(*members, top=5), question)
        assert union.text == run(fuse(members), question).text
        assert union.route is not None
        done, steps = union.route[1].split(" at ")[1].split(" of ")
        assert int(done) > 0.8 * int(steps)


def test_one_member_alone() -> None:
    a, b = PocketModel("sum"), PocketModel("mul")
    for question in QUESTIONS[:3]:
        assert run(over_text(a, b, weights=[1, 0]), question).text == run(a, question).text
        assert run(over_text(a, a), question).text == run(a, question).text
        assert run(over_text(a, b, by=m.method("average", sure=0)), question).text == run(a, question).text
        assert run(proxy(a, b, b, over="text"), question).text == run(a, question).text
        assert run(contrast(a, a, over="text"), question).text == run(a, question).text


PROBABILITIES = st.lists(st.integers(1, 1000), min_size=6, max_size=6).map(lambda n: [x / sum(n) for x in n])


@settings(max_examples=300)
@given(
    members=st.lists(PROBABILITIES, min_size=2, max_size=3),
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    top=st.integers(1, 6),
    known=st.booleans(),
)
def test_what_is_provable_is_so(members: list[list[float]], weights: list[int], top: int, known: bool) -> None:
    """Of each member only its likeliest pieces are seen; a certain choice is that of the whole all the same."""
    pieces = [*"abcdef"]
    looks = []
    for row in members:
        order = sorted(range(6), key=lambda i: -row[i])[:top]
        rest = min(row[order[-1]], max(0.0, 1 - sum(row[i] for i in order)))
        look = Look({pieces[i]: math.log(row[i]) for i in order}, math.log(rest) if rest > 1e-12 else -math.inf)
        looks.append(look)
    by, share = m.method("average"), weights[: len(members)]
    there = candidates(looks, by)
    if known:  # a member in this process says what it thinks of what others propose
        for look, row in zip(looks, members, strict=True):
            for piece in set(there) - set(look.pieces):
                look.known[piece] = math.log(row[pieces.index(piece)])
                look.exact.add(piece)
    found = table(looks, there, by)
    chosen = there[int(by.combine(found, np.array(share, float)[:, None])[0].argmax())]
    whole = np.array(share) @ np.array(members)
    best = max(range(6), key=lambda i: whole[i])
    if certain(looks, share, chosen, there):
        assert chosen == pieces[best]
    if top == 6:
        assert whole[pieces.index(chosen)] == pytest.approx(whole[best])


# ---- tokenizers that cut differently ----------------------------------------------------------------------------


def wordy(name: str, text: str, pieces: list[str], sure: float = 0.9) -> Toy:
    return Toy(name, [*pieces, *CHARACTERS], says(text, sure, pieces=pieces))


def test_two_tokenizers_that_cut_one_text() -> None:
    text = "the cat sat on the mat."
    a, b = char("a", text), wordy("b", text, ["the", " cat", " sat on", " the mat"])
    for members in ([a, b], [b, a]):
        reply = run(over_text(*members))
        assert reply.text == text
        assert reply.finish == "stop"


def test_who_is_surer_decides_across_tokenizers() -> None:
    a = char("a", "the cat sat", doubts={4: 0.3})
    b = wordy("b", "the dog sat", ["the ", "dog", " sat"])
    assert run(over_text(a, b)).text == "the dog sat"
    assert run(over_text(a, b, weights=[1, 0])).text == "the cat sat"


def test_what_was_read_in_parts_is_cut_anew_as_a_whole() -> None:
    """One writes 'c', 'a', 't'; to the other that is the token 'cat', before which it kept its own."""
    fed: list[str] = []
    a = char("a", "the cat sat", 0.99)

    class Words(Toy):
        def decode(self, tokens: Sequence[int]) -> str:
            return super().decode(tokens)

    b = Words("b", ["the ", "cat", " sat", *CHARACTERS], lambda text: fed.append(text) or {"the ": 0.5, " ": 0.5})  # type: ignore[func-returns-value]
    reply = run(over_text(a, b, weights=[1, 0], top=1))
    assert reply.text == "the cat sat"
    assert a.fed == 1 + len("the cat sat") - 1 + 1
    assert a.open == b.open == 0


def test_nothing_is_read_twice() -> None:
    a, b = char("a", "abcdefghij"), char("b", "abcdefghij")
    reply = run(over_text(a, b), "???")
    assert a.fed == b.fed == 3 + 10
    assert reply.usage == Usage(1, 6, 20, seconds=reply.usage.seconds)


def test_parts_of_characters_are_never_chosen() -> None:
    rule: Rule = lambda text: {"\ufffd": 0.6, "a": 0.3, END: 0.1} if not text else {END: 1.0}  # noqa: E731
    a, b = Toy("a", ["\ufffd", "a"], rule), Toy("b", ["a"], lambda text: {"a": 1.0} if not text else {END: 1.0})
    assert run(over_text(a, b)).text == "a"


# ---- members behind servers -------------------------------------------------------------------------------------


def test_a_member_behind_a_server_is_as_one_here() -> None:
    a, b = char("a", "the cat sat", doubts=dict.fromkeys((4, 5, 6), 0.3)), char("b", "the dog sat", doubts={8: 0.4})
    here = run(over_text(a, b, top=len(CHARACTERS) + 1)).text
    far = Far(char("b", "the dog sat", doubts={8: 0.4}))
    assert run(over_text(a, far, top=len(CHARACTERS) + 1)).text == here == "the dog sat"
    assert run(over_text(Far(a), far, top=5)).text == here


def test_as_long_as_all_agree_one_request_serves_many_tokens() -> None:
    text = "a text of thirty two letters, ok"
    far = Far(char("far", text))
    reply = run(over_text(char("a", text), far, ahead=8))
    assert reply.text == text
    assert [size for _, size in far.asked] == [8] * 5
    assert reply.usage.calls == 5
    other = Far(char("far", "z" * 32, 0.6))
    reply = run(over_text(char("a", text), other, ahead=8))
    assert reply.text == text
    assert len(other.asked) == 33  # at worst one for each token
    assert [begun for begun, _ in other.asked] == [text[:i] for i in range(33)]


def test_a_base_behind_a_server_is_tuned_by_a_pair_here() -> None:
    base = char("base", "the cat", doubts=dict.fromkeys((4, 5, 6), 0.4))
    expert, anti = char("expert", "the dog", 0.9), char("anti", "the cat", 0.9)
    here = run(proxy(base, expert, anti, over="text", top=len(CHARACTERS) + 1)).text
    reply = run(proxy(Far(base), expert, anti, over="text", top=1))
    assert here == "the dog"
    assert reply.text == "the cat"  # what the base does not propose is not ranked
    reply = run(proxy(Far(base), expert, anti, over="text", top=20))
    assert reply.text == here


def test_what_a_server_does_not_say_is_said() -> None:
    with pytest.raises(RequestError, match="does not say how likely its tokens are"):
        run(over_text(char("a", "abc"), Far(char("far", "abc"), says_how_likely=False)))
    with pytest.raises(InputError, match="cannot go on with a text"):
        over_text(char("a", "abc"), ScriptedModel(["abc"]))
    with pytest.raises(InputError, match="share a vocabulary"):
        fuse([char("a", "abc"), Far(char("far", "abc"))], weights="perplexity", over="text")
    with pytest.raises(InputError, match="over: text"):
        fuse([char("a", "abc"), Far(char("far", "abc"))])


def test_calls_are_journaled_and_replayed(tmp_path: Path) -> None:
    far = Far(char("far", "the dog sat"))
    fused = over_text(char("a", "the cat sat", doubts=dict.fromkeys((4, 5, 6), 0.3)), far)

    async def once(run_id: str) -> Reply:
        async with Journal(tmp_path / "runs.sqlite") as journal:
            recorder = await journal.begin(run_id, question="q", name="n", seed=0, again=True)
            with scope(recorder=recorder):
                reply = await ask(fused, [Message("user", "?")], at="x")
            await recorder.end("interrupted")
            return reply

    first = anyio.run(once, "r")
    asked = len(far.asked)
    assert anyio.run(once, "r").text == first.text == "the dog sat"
    assert len(far.asked) == asked


def test_a_budget_stops_between_requests() -> None:
    async def go() -> None:
        with limited(Budget(calls=2)):
            await ask(over_text(char("a", "x" * 40), Far(char("far", "y" * 40, 0.5))), [Message("user", "?")], at="x")

    with pytest.raises(BudgetError):
        anyio.run(go)


def test_a_real_server() -> None:
    """The server writes words, of which the likeliest has .9 or .3; the other member follows."""
    with serve() as served:
        far = CompletionsModel("m", api_key="k" * 20, base_url=served.url)
        alone = run(far, "Say something.")
        reply = run(over_text(far, far), "Say something.")
        assert reply.text == alone.text
        assert reply.usage.calls > 1


# ---- as a model -------------------------------------------------------------------------------------------------


def test_it_nests() -> None:
    a, b = char("a", "one two"), char("b", "one two")
    assert run(Nudged(over_text(a, b), char("c", "xxx yyy"), 0)).text == "one two"


def test_shares_and_streaming() -> None:
    told: list[Delta] = []
    a, b = char("a", "ab", 0.9), char("b", "ax", 0.6)

    async def go() -> Reply:
        with scope(listen=lambda what: told.append(what) if isinstance(what, Delta) else None, stream=True):
            return await over_text(a, b, top=3).answer([Message("user", "?")], Settings(logprobs=2))

    for backend in ("asyncio", "trio"):
        told.clear()
        reply = anyio.run(go, backend=backend)
        assert "".join(delta.text for delta in told) == reply.text == "ab"
        assert told[0].first
    first, second = reply.tokens
    assert dict(first.by) == {"a": pytest.approx(math.log(0.9), abs=1e-4), "b": pytest.approx(math.log(0.6), abs=1e-4)}
    assert first.disagreement is not None
    assert second.disagreement is not None
    assert first.disagreement < second.disagreement


def test_samples_repeat_with_their_seed() -> None:
    fused = over_text(PocketModel("sum"), PocketModel("mul"))

    def said(seed: int) -> str:
        return run(fused, QUESTIONS[0], Settings(temperature=1.5, seed=seed)).text

    assert [said(i) for i in range(4)] == [said(i) for i in range(4)]
    assert len({said(i) for i in range(6)}) > 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_between_tokens(backend: str) -> None:
    a, b = char("a", "x" * 500, wait=0.005), char("b", "x" * 500)

    async def go() -> None:
        with anyio.move_on_after(0.1):
            await over_text(a, b).answer([Message("user", "?")])

    begun = time.monotonic()
    anyio.run(go, backend=backend)
    deadline = time.monotonic() + 5
    while (a.open or b.open) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert a.open == b.open == 0
    assert time.monotonic() - begun < 2
    assert threading.active_count() < 50


def test_what_goes_wrong() -> None:
    with pytest.raises(MalformedError, match="b: it gave NaN"):
        run(over_text(char("a", "abc"), Toy("b", CHARACTERS, lambda text: {"a": -math.inf, "b": math.nan})))
    reply = run(over_text(char("a", "x" * 50), char("b", "x" * 50, context=20)))
    assert reply.finish == "length"
    assert "b: it cannot read" in reply.warnings[0]
    with pytest.raises(ContextError):
        run(over_text(char("a", "x"), char("b", "x", context=20)), "?" * 30)
    with pytest.raises(InputError, match="at least 1"):
        over_text(char("a", "x"), char("b", "x"), top=0)
    with pytest.raises(InputError, match="takes 3 members, not 2"):
        over_text(char("a", "x"), char("b", "x"), by=m.tuning())
    nothing: Mapping[str, float] = {}
    assert nothing == {}


def test_isinstance() -> None:
    assert isinstance(fuse([PocketModel("sum"), PocketModel("mul")]), Fused)
    assert isinstance(fuse([PocketModel("sum"), PocketModel("mul")], over="text"), OverText)
