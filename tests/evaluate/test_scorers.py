"""Scorers, from the text of a reply to the score; the inputs are those that broke others."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.answers import AnswerType, Choice, Json, Number, Text, YesNo, extract
from agora.errors import InputError, MalformedError, MissingError
from agora.evaluate.records import Item, Scorer
from agora.evaluate.scorers import equivalence, judged
from agora.evaluate.scorers.equivalence import Math
from agora.evaluate.scorers.known import AsSet, Exact, Function, Numeric, token_f1
from agora.evaluate.scorers.latex import Latex, alike, number, plain
from agora.evaluate.scorers.naming import SCORERS, scorer_of
from agora.evaluate.scorers.plural import closeness
from agora.models.scripted import ScriptedModel
from agora.records import Message, Reply

pytestmark = pytest.mark.anyio
ROMAN = Choice({"A": "Paris", "B": "Rome", "C": "A"})


def item(kind: AnswerType, *truth: str, **data: Any) -> Item:
    return Item("i", "What?", truth, kind, data=MappingProxyType(data))


async def score(reply: str, scorer: Scorer, asked: Item) -> float:
    """As an evaluation does it: what cannot be read is never shown to a scorer and scores 0."""
    answer = extract(asked.answer, Reply(reply, model="m"))
    return 0.0 if answer.value is None else await scorer.score(answer.value, asked, reply)


@pytest.mark.parametrize(
    ("reply", "truth", "right"),
    [
        ("So it is **550**", "550", True),
        ("**550**", "550", True),
        ("$550$", "550", True),
        ("The total is $550", "550", True),
        ("Answer: 1,000", "1000", True),
        ("Answer: 1000", "1,000", True),
        ("Answer: 1,234,567.50", "1234567.5", True),
        ("\\boxed{-5}", "-5", True),
        ("\\boxed{-5}", "5", False),
        ("Answer: \u22125", "-5", True),
        ("Answer: 3.0", "3", True),
        ("Answer: 3", "3.0", True),
        ("Answer: 142.", "142", True),
        ("Answer: 50%", "50", True),
        ("Answer: 50%", "50%", True),
        ("Answer: $\\frac{1}{2}$", "0.5", True),
        ("Answer: 1/2", "0.5", True),
        ("Answer: 12 apples", "12", True),
        ("Answer: 12 km/h", "12", True),
        ("first \\boxed{1}, no: \\boxed{2}", "2", True),
        ("first \\boxed{1}, no: \\boxed{2}", "1", False),
        ("Answer: 3\n\nwait\n\nAnswer: 4", "4", True),
        ("Answer: 4\nConfidence: 90%", "4", True),
        ("I cannot tell", "4", False),
        ("Answer: I don't know", "4", False),
        ("", "4", False),
    ],
)
@pytest.mark.parametrize("scorer", ["exact", "numeric"])
async def test_numbers_from_reply_to_score(reply: str, truth: str, right: bool, scorer: str) -> None:
    assert await score(reply, scorer_of(scorer), item(Number(), truth)) == right


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Answer: B) Rome", True),
        ("Answer: (B)", True),
        ("Answer: **B**", True),
        ("**Answer:** B.", True),
        ("Answer: Rome", True),
        ("\\boxed{B}", True),
        ("I think so.\nB", True),
        ("A city in the south is Rome, and B it is", False),  # a letter in prose
        ("A good question!", False),
        ("Answer: A or B", False),
        ("Answer: Both", False),
        ("Answer: A", False),
        ("", False),
    ],
)
async def test_choices_from_reply_to_score(reply: str, right: bool) -> None:
    for scorer in ("choice", "exact"):
        assert await score(reply, scorer_of(scorer), item(ROMAN, "B")) == right


async def test_a_label_that_is_the_text_of_another_option() -> None:
    assert await score("Answer: A", scorer_of("choice"), item(ROMAN, "A")) == 1
    assert await score("Answer: C) A", scorer_of("choice"), item(ROMAN, "C")) == 1


async def test_choice_needs_options() -> None:
    with pytest.raises(InputError, match="needs options"):
        await scorer_of("choice").score("4", item(Number(), "4"), "")


@pytest.mark.parametrize(
    ("kind", "truth", "reply", "right"),
    [
        (YesNo(), "yes", "Answer: **Yes**.", True),
        (YesNo(), "yes", "Answer: True", True),
        (YesNo(), "yes", "Answer: yes or no", False),
        (YesNo(), "no", "Nothing can be said", False),
        (Text(), "The Moon", "Answer:  the   moon.", True),
        (Text(), "Moon", "Answer: the moon", False),
        (Json(), '{"a": [1, "X"]}', 'so {"a": [1.0, "x"]}', True),
        (Json(), '{"a": true}', '{"a": 1}', False),
        (Json(), "[3, 1]", "[1, 3]", False),
        (Json(keys=("a",)), '{"a": "Knight"}', '{"a": "knight", "why": "x"}', True),
        (Json(), "[1]", "[" * 990 + "]" * 990, False),
    ],
)
async def test_exact_of_other_kinds(kind: AnswerType, truth: str, reply: str, right: bool) -> None:
    assert await score(reply, Exact(), item(kind, truth)) == right


async def test_any_accepted_answer_will_do() -> None:
    asked = item(Text(), "USA", "United States")
    assert [await score(f"Answer: {a}", Exact(), asked) for a in ("usa", "united states", "us")] == [1, 1, 0]


async def test_tolerance() -> None:
    asked, absolute, relative = item(Number(), "200"), Numeric(0.5, 0), Numeric(0, 0.01)
    answers = ("200.5", "199.5", "200.51", "202", "202.1")
    assert [await absolute.score(a, asked, "") for a in answers] == [1, 1, 0, 0, 0]
    assert [await relative.score(a, asked, "") for a in answers] == [1, 1, 1, 1, 0]
    assert await Numeric(0.1, 0).score("0.3", item(Number(), "0.2"), "") == 1  # 0.3 - 0.2 > 0.1 in binary
    assert await Numeric().score("201", item(Number(), "200", tolerance="1"), "") == 1
    assert await Numeric().score("1000001", item(Number(), "1000000"), "") == 0
    assert await Numeric().score("0.33333333333", item(Number(), "0.333333333333"), "") == 1
    assert await Numeric().score("nothing", asked, "") == 0
    assert await Numeric().score("1", item(Number(), "no number"), "") == 0
    assert await Numeric().score("9" * 300, item(Number(), "9" * 299), "") == 0


@pytest.mark.parametrize(
    ("answer", "truth", "same", "jaccard"),
    [
        ('["b", "A"]', ("a", "b"), True, 1),
        ("a, b and c", ("a; b; c",), True, 1),
        ("A, a, a", ("a",), True, 1),
        ("{1, 2.0, 1,000}", ("[1, 2, 1000]",), True, 1),
        ("a, b", ("b, c",), False, 1 / 3),
        ('{"x": 1}', ("y",), False, 0),
        ("", ("a",), False, 0),
        ("[]", ("[]",), True, 1),
        ("[[", ("a",), False, 0),
    ],
)
async def test_sets(answer: str, truth: tuple[str, ...], same: bool, jaccard: float) -> None:
    asked = item(Text(), *truth)
    assert await AsSet().score(answer, asked, "") == same
    assert await AsSet(partial=True).score(answer, asked, "") == pytest.approx(jaccard)


@pytest.mark.parametrize(
    ("answer", "truth", "f1"),
    [
        ("The quick, brown fox!", "quick brown fox", 1),
        ("a fox", "brown fox", 2 / 3),
        ("fox fox", "fox", 2 / 3),
        ("cat", "fox", 0),
        ("the", "a", 1),
        ("the", "fox", 0),
    ],
)
def test_f1_of_words(answer: str, truth: str, f1: float) -> None:
    assert token_f1(answer, truth) == pytest.approx(f1) == pytest.approx(token_f1(truth, answer))


async def test_f1_is_the_best_over_the_truths() -> None:
    assert await scorer_of("f1").score("brown fox", item(Text(), "dog", "brown fox"), "") == 1


# ---- expressions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "canonical"),
    [
        ("Answer: $\\frac{1}{2}$.", "0.5"),
        ("so \\boxed{\\dfrac12}", "0.5"),
        ("Answer: 0.50", "0.5"),
        ("\\boxed{\\frac{1}{3}}", "1/3"),
        ("Answer: $2\\frac{1}{2}$", "2.5"),
        ("\\boxed{-\\frac{3}{4}}", "-0.75"),
        ("Answer: $x = 5$", "5"),
        ("\\boxed{1,000}", "1000"),
        ("\\boxed{10{,}000}", "10000"),
        ("Answer: $\\left( 3, \\frac{\\pi}{2} \\right)$", "(3,\\frac{\\pi}{2})"),
        ("Answer: \\text{Evelyn}", "Evelyn"),
        ("Answer: $90^\\circ$", "90"),
        ("Answer: 50\\%", "50"),
        ("Answer: **550**", "550"),
        ("\\boxed{1} then \\boxed{\\sqrt 2}", "\\sqrt{2}"),
        ("\\boxed{\\frac{a}{b}}", "\\frac{a}{b}"),
        ("Answer: \u22125", "-5"),
        ("Answer: .5", "0.5"),
        ("Answer: 1/0", "1/0"),
        ("no answer here", None),
        ("\\boxed{}", None),
        ("Answer: " + "x" * 5000, None),
    ],
)
def test_latex_from_reply_to_canonical_form(reply: str, canonical: str | None) -> None:
    assert Latex().read(reply) == canonical


@given(st.text(max_size=300))
def test_no_text_breaks_latex(text: str) -> None:
    Latex().read(f"Answer: {text}")
    Latex().read(f"\\boxed{{{text}}}")
    assert plain(plain(text)) is not None


@given(st.fractions(-(10**12), 10**12, max_denominator=10_000))
def test_fractions_are_read_as_they_are(value: Any) -> None:
    shown = f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    assert number(plain(shown)) == value
    read = Latex().read(f"\\boxed{{{shown}}}")
    assert read is not None
    assert number(read) == value


def test_alike() -> None:
    assert alike("\\frac12", "0.5")
    assert alike("Evelyn", "\\text{evelyn}")
    assert not alike("x", "X")
    assert not alike("(1,2)", "(2,1)")
    assert not alike("", "")


@pytest.mark.parametrize(
    ("reply", "truth", "right"),
    [
        ("\\boxed{x + 1}", "1+x", True),
        ("Answer: $\\frac{\\sqrt{2}}{2}$", "\\frac{1}{\\sqrt{2}}", True),
        ("Answer: $2(x+1)$", "2x+2", True),
        ("Answer: $\\frac{1}{2}$", "0.5", True),
        ("Answer: $2x+3$", "2x+2", False),
        ("Answer: $(1, 2)$", "(2, 1)", False),
        ("Answer: $\\frac{", "2", False),
    ],
)
async def test_expressions_that_are_equal(reply: str, truth: str, right: bool) -> None:
    pytest.importorskip("math_verify")
    assert await score(reply, Math(), item(Latex(), truth)) == right


async def test_what_the_process_cannot_settle_is_wrong_and_the_next_is_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("math_verify")
    asked = item(Latex(), "1+x")
    assert await Math().score("x+1", asked, "") == 1
    process = equivalence._WORKER._process
    assert process is not None
    process.kill()
    process.wait()
    assert await Math().score("x+1", asked, "") == 1
    monkeypatch.setattr(equivalence, "SECONDS", 0.0)
    assert await Math().score("x+2", asked, "") == 0
    monkeypatch.undo()
    assert await Math().score("x+1", asked, "") == 1
    equivalence._WORKER.end()


async def test_a_process_that_cannot_begin_is_an_error_and_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify")
    equivalence._WORKER.end()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InputError, match="cannot be started"):
        await Math().score("x+1", item(Latex(), "1+x"), "")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="cannot be started"):
        await Math().score("x+1", item(Latex(), "1+x"), "")


async def test_expressions_without_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"agora-debate\[math\]"):
        scorer_of("math")
    scorer = scorer_of({"math": {"plain": True}})
    assert scorer.name == "math (plain)"
    asked = item(Latex(), "x+1")
    assert [await scorer.score(a, asked, "") for a in ("x + 1", "1+x")] == [1, 0]


# ---- functions ----------------------------------------------------------------------------------------------------


async def _later(answer: str, asked: Item) -> bool:
    return answer == asked.truth[0]


def _broken(answer: str) -> float:
    raise KeyError("a\nb")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda answer: 0.25, 0.25),
        (lambda answer: True, 1.0),
        (lambda answer: np.bool_(True), 1.0),
        (lambda answer: np.float64(0.5), 0.5),
        (lambda answer, asked, text: len(text) / 10, 0.3),
        (lambda *given: len(given) == 3, 1.0),
        (lambda answer, asked=None: 1 if asked is None else 0, 1.0),
        (_later, 1.0),
    ],
)
async def test_functions(call: Any, expected: float) -> None:
    assert await scorer_of(call).score("4", item(Number(), "4"), "abc") == expected


@pytest.mark.parametrize("said", [math.nan, -0.1, 1.1, math.inf, None, "1", [1]])
async def test_a_function_that_gives_no_score(said: Any) -> None:
    with pytest.raises(InputError, match="number from 0 to 1"):
        await Function(lambda answer: said, "mine").score("4", item(Number(), "4"), "")


async def test_a_function_that_fails_is_named_with_the_item() -> None:
    with pytest.raises(InputError, match="'_broken' failed on item 'i': KeyError") as caught:
        await scorer_of(_broken).score("4", item(Number(), "4"), "")
    assert "\n" not in str(caught.value)


class _Unspoken:
    """What has no text of its own."""

    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("said", [10**400, 10**5000, -(10**400), _Unspoken()], ids=["400", "5000", "-400", "none"])
async def test_what_a_function_gives_need_be_no_float_and_have_no_text(said: Any) -> None:
    with pytest.raises(InputError, match="the scorer 'mine' gave"):
        await Function(lambda answer: said, "mine").score("4", item(Number(), "4"), "")


async def test_a_function_that_ends_the_program_is_one_that_fails() -> None:
    with pytest.raises(InputError, match="the scorer 'mine' failed on item"):
        await Function(lambda answer: sys.exit(3), "mine").score("4", item(Number(), "4"), "")


async def test_functions_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scorers_for_tests.py").write_text("def half(answer):\n    return 0.5\nthing = 3\n")
    (tmp_path / "my_broken_scorers.py").write_text("1/0\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    scorer = scorer_of("my_scorers_for_tests:half")
    assert (scorer.name, await scorer.score("4", item(Number(), "4"), "")) == ("my_scorers_for_tests:half", 0.5)
    for name, said in {
        "my_scorers_for_tests:whole": "cannot be found",
        "no_such_module_here:f": "cannot be found",
        "my_broken_scorers:f": "cannot be imported: ZeroDivisionError",
        "my_scorers_for_tests:thing": "is no function",
        ":": "cannot be found",
        "a:": "cannot be found",
    }.items():
        with pytest.raises(InputError, match=said):
            scorer_of(name)
    assert sys.path == before


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"graded"}))
def test_every_name_makes_a_scorer(name: str) -> None:
    if name == "math":
        pytest.importorskip("math_verify")
    made = scorer_of(name)
    assert made.name == name
    assert made.paid is False
    assert scorer_of(made) is made


def test_options_of_scorers() -> None:
    assert scorer_of({"numeric": {"absolute": 0.5}}) == Numeric(0.5)
    assert scorer_of({"numeric": 0.5}) == Numeric(0.5)
    assert scorer_of({"set": {"partial": True}}) == AsSet(True)
    assert scorer_of({"graded": "pocket:sum"}).paid
    assert scorer_of({"graded": {"scripted": "x"}}).paid
    assert scorer_of({"coverage": {"model": {"scripted": "x"}}}).paid
    assert not scorer_of({"coverage": {}}).paid


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("exakt", "Did you mean 'exact'"),
        ("nonsense", "module:function"),
        ({"numeric": {"absolut": 1.0}}, "Did you mean 'absolute'"),
        ({"numeric": {"absolute": -1.0}}, "absolute"),
        ({"numeric": {"absolute": math.nan}}, "absolute"),
        ({"exact": {"case": True}}, "unknown option 'case'"),
        ({"exact": 3}, "as a mapping"),
        ({"distribution": "euclid"}, "distance"),
        ({"set": "partial"}, "as a mapping"),
        ("graded", "model"),
        ({"graded": "nobody:x"}, "scorer graded"),
        ({"graded": {"model": {"scripted": "x"}, "prompt": "{{ nobody }}"}}, "nobody"),
        ({"a:b": {"x": 1}}, "takes no options"),
        ({"exact": {}, "f1": {}}, "a scorer is a name"),
        (3, "a scorer is a name"),
        (None, "a scorer is a name"),
    ],
)
def test_wrong_names_and_options(value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        scorer_of(value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


# ---- judged -------------------------------------------------------------------------------------------------------


def _judge(first: str, second: str) -> ScriptedModel:
    """Says one thing where the reference stands first, another where the answer does."""

    def say(messages: Any) -> str:
        prompt = messages[-1].content
        return first if prompt.index("Reference answer:") < prompt.index("Proposed answer:") else second

    return ScriptedModel(say)


YES, NO = 'Fine. {"right": true}', '{"right": true} at first, but then {"right": false}'


@pytest.mark.parametrize(
    ("first", "second", "expected", "flips"), [(YES, YES, 1, 0), (NO, NO, 0, 0), (YES, NO, 0.5, 1), (NO, YES, 0.5, 1)]
)
async def test_graded_in_both_orders(first: str, second: str, expected: float, flips: int) -> None:
    model = _judge(first, second)
    scorer = judged.Graded(model)
    assert await scorer.score("rome", item(Text(), "Rome", "Roma"), "It is Rome.\nConfidence: 90%") == expected
    assert (scorer.judged, scorer.flips, len(model.calls)) == (1, flips, 2)
    for messages in model.calls:
        assert "Rome (or) Roma" in messages[-1].content
        assert "It is Rome." in messages[-1].content
        assert "Confidence" not in messages[-1].content


async def test_a_judgement_that_cannot_be_read_is_asked_for_again_and_then_is_an_error() -> None:
    model = ScriptedModel(["Yes!", YES, '{"right": "yes"}', YES])
    scorer = judged.Graded(model)
    assert await scorer.score("a", item(Text(), "a"), "a") == 1
    assert len(model.calls) == 4
    for reply in ("Yes!", '{"right": 1}', "{" * 5000, '{"right": null}', ""):
        with pytest.raises(MalformedError, match="twice"):
            await judged.Graded(ScriptedModel(reply)).score("a", item(Text(), "a"), "a")


async def test_a_judge_is_told_what_the_answer_says_as_text_only() -> None:
    model = _judge(YES, YES)
    await judged.Graded(model).score("x", item(Text(), "y"), "{{ 7 * 7 }} {% for %} <thinking>secret</thinking> z")
    assert "{{ 7 * 7 }}" in model.calls[0][-1].content
    assert "secret" not in model.calls[0][-1].content


async def test_calls_of_a_judge_are_journaled_and_replayed(tmp_path: Path) -> None:
    from agora import calls

    seen = []

    def stand_in(model: Any, messages: list[Message], settings: Any) -> Reply:
        seen.append(calls.current().path)
        return Reply(YES, model="judge")

    with calls.scope(stand_in=stand_in, path="item 7"):
        await judged.Graded(ScriptedModel("never asked")).score("a", item(Text(), "a"), "a")
    assert seen == ["item 7/grade/reference-first", "item 7/grade/answer-first"]


@pytest.mark.parametrize(
    ("views", "reply", "expected"),
    [
        (["tax", "jobs"], "It is about Jobs and TAX.", 1),
        (["tax", "jobs"], "Taxes.", 0),
        ({"the cost": ["cost", "price"], "the climate": ["warming"]}, "The price is high", 0.5),
        ({"the cost": [], "climate": "climate"}, "the  cost of climate", 1),
        (["c++ (new)"], "I like C++ (new)!", 1),
    ],
)
async def test_coverage_by_key_words(views: Any, reply: str, expected: float) -> None:
    assert await scorer_of("coverage").score("x", item(Text(), views=views), reply) == expected


async def test_coverage_by_a_model() -> None:
    asked = item(Text(), views=["one", "two", "three", "four"])
    said = 'I see. {"covered": [3, 1, 1]}'
    assert await judged.Coverage(ScriptedModel(said)).score("x", asked, "reply") == 0.5
    assert await judged.Coverage(ScriptedModel('{"covered": []}')).score("x", asked, "reply") == 0
    for reply in ('{"covered": [5]}', '{"covered": [0]}', '{"covered": ["1"]}', '{"covered": [true]}', "1 and 2"):
        with pytest.raises(MalformedError):
            await judged.Coverage(ScriptedModel(reply)).score("x", asked, "reply")


@pytest.mark.parametrize("views", [None, [], {}, "text", 3])
async def test_coverage_needs_views(views: Any) -> None:
    with pytest.raises(InputError, match="needs its views"):
        await scorer_of("coverage").score("x", item(Text(), views=views), "x")


# ---- distributions ------------------------------------------------------------------------------------------------


def test_distances_by_hand() -> None:
    one, other = {"a": 1.0}, {"b": 1.0}
    for distance in ("jensen-shannon", "total-variation"):
        assert closeness(one, one, distance) == 1  # type: ignore[arg-type]
        assert closeness(one, other, distance) == 0  # type: ignore[arg-type]
    assert closeness({"a": 3, "b": 1}, {"a": 1, "b": 1}, "total-variation") == pytest.approx(0.75)
    p, q = (0.75, 0.25), (0.5, 0.5)
    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    entropy = [-sum(x * math.log2(x) for x in d) for d in (middle, p, q)]
    divergence = entropy[0] - (entropy[1] + entropy[2]) / 2
    assert closeness({"a": 3, "b": 1}, {"a": 1, "b": 1}, "jensen-shannon") == pytest.approx(1 - divergence)


_SHARES = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1)


@given(_SHARES, _SHARES, st.sampled_from(["jensen-shannon", "total-variation"]))
def test_distances_are_symmetric_and_bounded(p: dict[str, float], q: dict[str, float], distance: Any) -> None:
    there, back = closeness(p, q, distance), closeness(q, p, distance)
    assert there == pytest.approx(back, abs=1e-12)
    assert 0 <= there <= 1
    assert closeness(p, {k: 7 * v for k, v in p.items()}, distance) == pytest.approx(1, abs=1e-9)


async def test_shares_from_an_answer_a_reply_or_the_vote() -> None:
    scorer = scorer_of({"distribution": "total-variation"})
    asked = item(YesNo(), distribution={"Yes": 0.6, "no": 0.4})
    assert await scorer.score("yes", asked, "60% yes\n40% no") == pytest.approx(1)
    assert await scorer.score("yes", asked, "I say yes") == pytest.approx(0.6)
    assert await scorer.score('{"no": 1, "yes": 1}', asked, "") == pytest.approx(0.9)
    assert await scorer.score('{"no": "much"}', asked, "") == 0
    assert await scorer.score('{"no": -1, "yes": 2}', asked, "") == 0
    assert await scorer.score("maybe", asked, "") == 0


@pytest.mark.parametrize("shares", [None, [], {"a": -1}, {"a": 0}, {"a": math.nan}, {"a": "1"}, {"a": True}, {}])
async def test_a_reference_that_is_no_distribution(shares: Any) -> None:
    with pytest.raises(InputError, match=r"distribution|share"):
        await scorer_of("distribution").score("a", item(Text(), distribution=shares), "a")


@pytest.mark.parametrize("value", [1.5, b"exact", ["exact"], {"exact": None}, {1: 2}, {"exact": [1]}, {}])
def test_what_is_no_scorer_at_all(value: Any) -> None:
    with pytest.raises(InputError):
        scorer_of(value)
