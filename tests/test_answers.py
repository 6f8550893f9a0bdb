from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.answers import Choice, Json, Number, Text, YesNo, extract, objects
from agora.errors import InputError
from agora.records import Reply


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so it is **550**", "550"),
        ("$550$", "550"),
        ("Answer: $1,000", "1000"),
        ("\\boxed{-5}", "-5"),
        ("\\boxed{\\text{about } 7}", "7"),
        ("Answer: \u22125", "-5"),
        ("Answer: 1/2", "0.5"),
        ("Answer: 142.", "142"),
        ("Answer: 3.50", "3.5"),
        ("Answer: -0", "0"),
        ("The final answer is 12 apples, not 13", "12"),
        ("I had 3, then 4", "4"),
        ("Best P2: 664", "664"),
        ("Answer: 1e3", "1000"),
        ("Answer:\n 17", "17"),
        ("nothing here", None),
        ("P2 and B12", None),
        ("Answer: $\\frac{1}{2}$", "0.5"),
        ("\\boxed{-\\dfrac{3}{4}}", "-0.75"),
        ("Answer: 2\\frac{1}{2} hours", "2.5"),
        ("Answer: .5", "0.5"),
        ("Answer: $-.25", "-0.25"),
        ("Answer: -.25.", "-0.25"),
        ("see sec.5 and ...5", None),
        ("Answer: 1/0", None),
        ("Answer: 2^10 = 1024", "1024"),
        ("Answer: 1024 = 2^10", "1024"),
        ("Answer: 6 - 2 = 4 = 2^2", "4"),
        ("\\boxed{1024 = 2^{10}}", "1024"),
        ("Answer: f(2) = 7", "7"),
        ("Answer: 20% of 50 = 10", "10"),
        ("Answer: 1,024 = 2 * 512, as said", "1024"),
        ("Answer: x = 5", "5"),
        ("Answer: x = 5, y = 3", "5"),
        ("Answer: x = 5 and y = 3", "5"),
        ("Answer: 7 (3 + 4 = 7)", "7"),
        ("Answer: 7 because 10 = 2 * 5", "7"),
        ("Answer: 5 = x", "5"),
        ("Answer: x >= 5", "5"),
        ("Answer: 1 + 2 = 2 + 1", "1"),
        ("Answer: $\\frac{1}{2} = 0.5$", "0.5"),
        ("2 = 2, so 3", "3"),
        ("Answer: 50%", "50"),
        ("Answer: " + "9" * 301, None),  # what is too long is not cut to another number
        ("Answer: 0." + "3" * 301, "0." + "3" * 300),
        ("", None),
    ],
)
def test_number(text: str, value: str | None) -> None:
    assert Number().read(text) == value


def test_number_places() -> None:
    assert Number(places=2).read("Answer: 0.0499") == "0.05" == Number(places=2).read("Answer: 0.05")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: B", "B"),
        ("Answer: (B) Rome", "B"),
        ("Answer: Rome", "B"),
        ("\\boxed{A}", "A"),
        ("Answer: Both", None),
        ("Answer: A or B", None),
        ("A good answer needs thought", None),
        ("I think so.\nB", "B"),
        ("Answer: option A", "A"),
    ],
)
def test_choice(text: str, value: str | None) -> None:
    assert Choice({"A": "Paris", "B": "Rome"}).read(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("A", "A"), ("AB", "A"), ("B) A", "B"), ("(D) B", "D"), ("O", "C"), ("B) AB", None), ("B. A.", "B")],
)
def test_a_label_is_never_taken_for_the_text_of_another_option(text: str, value: str | None) -> None:
    assert Choice({"A": "AB", "B": "A", "C": "O", "D": "B"}).read(f"Answer: {text}") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A because it fits", "A"),
        ("A is right", "A"),
        ("A, a man", "A"),
        ("A man walks in", None),
        ("I would say I", "I"),
        ("I think B", "B"),
        ("A or B", None),
        ("I", "I"),
        ("it is A", "A"),
    ],
)
def test_an_article_and_a_pronoun_are_no_labels(text: str, value: str | None) -> None:
    assert Choice({label: f"option {i}" for i, label in enumerate("ABCDEFGHIJ")}).read(f"Answer: {text}") == value


def test_a_text_that_two_options_share_names_neither() -> None:
    kind = Choice({"A": "4 kg", "B": "5 kg", "C": "4 kg"})
    assert kind.read("Answer: 4 kg") is None
    assert [kind.read(f"Answer: {text}") for text in ("A) 4 kg", "C. 4 kg", "5 kg.")] == ["A", "C", "B"]


def test_options_that_the_question_lists_are_not_listed_again() -> None:
    assert "Rome" in Choice({"A": "Paris", "B": "Rome"}).instruction
    assert "one of: A, B." in Choice({"A": "Paris", "B": "Rome"}, listed=True).instruction


def test_choice_numbers_are_not_prefixes() -> None:
    assert Choice(["1", "10"]).read("Answer: 10") == "10"


def test_choice_needs_two() -> None:
    with pytest.raises(InputError):
        Choice(["A"])


@pytest.mark.parametrize(
    ("text", "value"), [("Answer: Yes.", "yes"), ("Answer: **no**", "no"), ("Answer: yes or no", None), ("Maybe", None)]
)
def test_yes_no(text: str, value: str | None) -> None:
    assert YesNo().read(text) == value


def test_json_takes_the_last_object_and_compares_as_data() -> None:
    assert Json().read('{"a": 1} then {"c": [2], "b": {"x": 1}}') == '{"b": {"x": 1}, "c": [2]}'
    assert Json(keys=("a",)).read('{"a": 1, "note": "x"}') == '{"a": 1}'
    assert Json().read("[[[") is None
    assert Json().read("[" * 100_000) is None
    for depth in (300, 900, 950, 990, 1_100):  # some of them can be read, and not be written
        Json().read("[" * depth + "]" * depth)


def test_text_folds_case_and_space() -> None:
    assert Text().read("Answer:  The   Moon.") == Text().read("the moon")


@pytest.mark.parametrize("text", ["Answer: I don't know", "Answer: abstain", "Answer: N/A", "Answer: unknown"])
def test_abstention_is_not_unparsed(text: str) -> None:
    answer = extract(Number(), Reply(text, model="m"))
    assert (answer.value, answer.why_none) == (None, "abstained")


def test_confidence_stated_wins_over_reported_over_logprob() -> None:
    assert extract(Number(), Reply("Answer: 4\nConfidence: 80%", model="m", confidence=0.1)).confidence == 0.8
    assert extract(Number(), Reply("Answer: 4\nConfidence: 80%", model="m")).value == "4"
    assert extract(Number(), Reply("Answer: 4", model="m", confidence=0.1, logprob=-1)).confidence == 0.1
    assert extract(Number(), Reply("Answer: 4", model="m", logprob=0.0)).confidence == 1.0


@given(st.text(max_size=400))
def test_no_text_breaks_extraction(text: str) -> None:
    for kind in (Number(), YesNo(), Text(), Json(), Choice(["A", "B"])):
        extract(kind, Reply(text, model="m"))


@given(st.integers(-(10**12), 10**12))
def test_integers_round_trip(n: int) -> None:
    assert Number().read(f"so\nAnswer: {n}") == str(n)
    assert Number().read(f"Answer: {n:,}") == str(n)


def test_objects_in_prose() -> None:
    """In order, none inside another, and the last is found behind any number of formulas."""
    assert list(objects('x {"a": 1} {"b": 2} {"a": {"a": 3}} {"a"', "a")) == [1, {"a": 3}]
    assert list(objects("\\frac{1}{2} " * 5_000 + '{"a": true}', "a")) == [True]
    assert list(objects("{" * 100_000, "a")) == []
