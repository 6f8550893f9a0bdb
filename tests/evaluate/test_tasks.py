"""Generated tasks: exact where others published them, reproducible, each truth found again by other means."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.errors import InputError
from agora.evaluate.data.tasks import TASKS, generated
from agora.evaluate.data.tasks import knights as puzzles
from agora.evaluate.scorers.known import read_truth
from agora.models.pocket.problems import is_test, work

pytestmark = pytest.mark.anyio
DIGESTS = {  # of 40 items of seed 3
    "arithmetic": "b02cb913a5e936d3",
    "choices": "23932a14bf63f1bb",
    "counting": "e25b1523de6e8d38",
    "dates": "7daf802904441892",
    "debate-or-vote": "38ac8f4e607d1d92",
    "knights": "1878e50142d1a4ef",
    "pocket": "086340a779dd1d32",
    "sorting": "a3d264f9c3bad679",
}


def test_the_first_problems_of_du_et_al_to_the_letter() -> None:
    items = generated("arithmetic", 100, 0).items
    ask = "Make sure to state your answer at the end of the response."
    assert [item.question for item in items[:5]] == [
        f"What is the result of 12+15*21+0-3*27? {ask}",
        f"What is the result of 3+7*9+19-21*18? {ask}",
        f"What is the result of 4+23*6+24-24*12? {ask}",
        f"What is the result of 26+1*6+7-23*14? {ask}",
        f"What is the result of 24+17*5+25-13*8? {ask}",
    ]
    assert [item.truth for item in items[:5]] == [("246",), ("-293",), ("-122",), ("-283",), ("30",)]
    values = [int(item.truth[0]) for item in items]
    assert (sum(v < 0 for v in values), min(values), max(values)) == (40, -616, 824)


def test_the_arithmetic_of_debate_or_vote() -> None:
    items = generated("debate-or-vote", 100, 0).items
    assert "14+15*22+28-1÷4" in items[0].question
    assert items[0].truth == ("371.75",)
    for item in items:
        a, b, c, d, e, f = (int(x) for x in re.findall(r"\d+", item.question)[:6])
        assert f > 0
        assert float(item.truth[0]) == pytest.approx(a + b * c + d - e / f, abs=1e-9)


async def test_either_rounding_of_a_tie_is_right() -> None:
    data = generated("debate-or-vote", 1, 0)
    item = data.items[0]
    scores = [await data.scorer.score(str(item.answer.read(f"Answer: {a}")), item, "") for a in
              ("371.8", "371.7", "371.75", "371.6", "371.9")]  # fmt: skip
    assert scores == [1, 1, 1, 0, 0]


def _evaluated(text: str) -> int:
    """An expression by Python's own parser."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        assert isinstance(node, ast.BinOp)
        left, right = walk(node.left), walk(node.right)
        return {ast.Add: left + right, ast.Sub: left - right, ast.Mult: left * right}[type(node.op)]

    return walk(ast.parse(re.sub(r"\b0+(?=\d)", "", text), mode="eval").body)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 20), st.integers(0, 9), st.integers(0, 2**32 - 1), st.data())
def test_arithmetic_is_what_it_says(operands: int, digits: int, seed: int, data: st.DataObject) -> None:
    pairs = data.draw(st.integers(0, operands - 2))
    knobs = {"operands": str(operands), "digits": str(digits), "parentheses": str(pairs)}
    for item in generated("arithmetic", 3, seed, knobs).items:
        shown = item.question.removeprefix("What is the result of ").partition("?")[0]
        assert (len(re.findall(r"\d+", shown)), shown.count("(")) == (operands, pairs)
        assert str(_evaluated(shown)) == item.truth[0]
        if digits:
            assert all(len(n) <= digits for n in re.findall(r"\d+", shown))


@pytest.mark.parametrize(
    ("people", "spies", "statements"), [(2, 1, 1), (3, 0, 1), (4, 1, 2), (5, 2, 2), (6, 1, 1), (8, 1, 2)]
)
def test_a_puzzle_has_one_solution_and_it_is_the_truth(people: int, spies: int, statements: int) -> None:
    """All roles are tried by a reader of the words, which knows nothing of the generator's own statements."""
    knobs = {"people": str(people), "spies": str(spies), "statements": str(statements)}
    for item in generated("knights", 6, 5, knobs).items:
        names = list(json.loads(item.truth[0]))
        said = dict(re.findall(r"^(\w+): (.*)$", item.question, re.MULTILINE))
        assert sorted(said) == sorted(names)
        fitting = []
        for roles in product(("knight", "knave", "spy"), repeat=people):
            world = dict(zip(names, roles, strict=True))
            if Counter(roles)["spy"] == spies and all(
                world[name] == "spy" or all(_true(s, world) == (world[name] == "knight") for s in _sentences(text))
                for name, text in said.items()
            ):
                fitting.append(world)
        assert fitting == [json.loads(item.truth[0])]
        assert all(len(_sentences(text)) == statements for text in said.values())


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^.]+(?=\.)", text)


def _true(said: str, world: dict[str, str]) -> bool:
    said = said.strip()
    if match := re.fullmatch(r"Among us there (?:is|are) (no|exactly one|exactly (\d+)) (knight|knave)s?", said):
        count = 0 if match[1] == "no" else 1 if match[1] == "exactly one" else int(match[2])
        return Counter(world.values())[match[3]] == count
    if match := re.fullmatch(r"(\w+) and (\w+) are of the same kind", said):
        return world[match[1]] == world[match[2]]
    if match := re.fullmatch(r"(\w+) is a (\w+) or (\w+) is a (\w+), or both", said):
        return world[match[1]] == match[2] or world[match[3]] == match[4]
    match = re.fullmatch(r"(\w+) is (not )?a (\w+)", said)
    assert match is not None, said
    return (world[match[1]] == match[3]) != bool(match[2])


def test_puzzles_that_hardly_ever_have_one_solution_are_refused() -> None:
    with pytest.raises(InputError, match="more statements"):
        generated("knights", 1, 0, {"people": "6", "spies": "5", "statements": "1"})


def test_solutions_are_all_found() -> None:
    says = puzzles.Statement("Ben is a knave.", lambda roles: roles[1] == "knave")
    worlds = list(product(("knight", "knave"), repeat=2))
    assert list(puzzles.solutions([[says], []], worlds)) == [("knight", "knave"), ("knave", "knight")]


@pytest.mark.parametrize("length", ["3", "40"])
def test_counting(length: str) -> None:
    for item in generated("counting", 60, 2, {"length": length}).items:
        text, right = item.question, int(item.truth[0])
        if item.group == "objects":
            thing = re.search(r"How many (\w+) are there", text)
            assert thing is not None
            put = sum(map(int, re.findall(rf"puts (\d+) {thing[1]}", text)))
            taken = sum(map(int, re.findall(rf"takes (\d+) of the {thing[1]}", text)))
            assert right == put - taken >= 0
        else:
            question, _, passage = text.partition("\n\n")
            what = re.search(r"'(\w+)'", question)
            assert what is not None
            assert right == (passage if item.group == "letters" else passage.split()).count(what[1])
    assert {item.group for item in generated("counting", 9, 0).items} == {"letters", "words", "objects"}


def _day(text: str) -> date:
    months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December"]  # fmt: skip
    day, month, year = text.split()
    return date(int(year), months.index(month) + 1, int(day))


def test_dates() -> None:
    shown = r"(\d+ [A-Z][a-z]+ \d{4})"
    for item in generated("dates", 90, 4, {"days": "9000"}).items:
        days = [_day(text) for text in re.findall(shown, item.question)]
        if item.group == "add":
            match = re.search(r"(\d+) days? (after|before)", item.question)
            assert match is not None
            moved = days[0] + timedelta(days=int(match[1]) * (1 if match[2] == "after" else -1))
            assert item.truth == (moved.isoformat(),)
        elif item.group == "between":
            assert item.truth == (str((days[1] - days[0]).days),)
        else:
            assert item.truth == (f"{days[1]:%A}",)
            assert f"is a {days[0]:%A}." in item.question


@pytest.mark.parametrize("what", ["numbers", "words"])
def test_sorting(what: str) -> None:
    for item in generated("sorting", 20, 1, {"what": what, "length": "30", "digits": "4"}).items:
        shown = item.question.partition(": ")[2].partition(". Answer")[0].split(", ")
        right = json.loads(item.truth[0])
        assert Counter(map(str, right)) == Counter(shown)
        assert len(set(right)) == 30
        assert all(a < b for a, b in pairwise(right))


def test_pocket_problems_are_of_the_test_split() -> None:
    items = generated("pocket", 50, 7, {"skill": "all"}).items
    assert all(is_test(i.question) and work(i.question)[1] == i.truth[0] for i in items)
    assert {i.group for i in items} == {"sum", "mul", "sort", "mod", "mix"}
    assert {i.group for i in generated("pocket", 5, 7, {"skill": "mix"}).items} == {"mix"}
    with pytest.raises(InputError, match="fewer than"):
        generated("pocket", 5_000, 0, {"skill": "mod"})


def test_right_options_are_spread_evenly() -> None:
    count = Counter(item.truth[0] for item in generated("choices", 4_000, 0, {"options": "4"}).items)
    assert set(count) == set("ABCD")
    assert all(abs(n - 1000) < 5 * (4_000 * 0.25 * 0.75) ** 0.5 for n in count.values())


@pytest.mark.parametrize("name", sorted(TASKS))
async def test_every_task_is_reproducible_and_its_truth_scores_one(name: str) -> None:
    long, again = generated(name, 40, 3), generated(name, 40, 3)
    assert long.digest == again.digest
    assert [i.id for i in generated(name, 11, 3).items] == [i.id for i in long.items][:11]
    assert generated(name, 40, 4).digest != long.digest
    assert len({item.id for item in long.items}) == 40
    for item in long.items:
        answer = read_truth(item.truth[0], item.answer)
        assert answer is not None
        assert await long.scorer.score(answer, item, "") == 1
        assert not long.scorer.paid


@pytest.mark.parametrize(("name", "digest"), sorted(DIGESTS.items()))
def test_items_are_the_same_on_every_machine(name: str, digest: str) -> None:
    assert generated(name, 40, 3).digest == digest


def test_an_item_that_is_drawn_twice_keeps_both_ids_apart() -> None:
    items = generated("arithmetic", 400, 0, {"operands": "2", "digits": "1"}).items
    assert len({i.question for i in items}) < 400 == len({i.id for i in items})


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("arithmetik", {}, "Did you mean 'arithmetic'"),
        ("arithmetic", {"operand": "3"}, "Did you mean 'operands'"),
        ("arithmetic", {"operands": "1"}, "from 2 to 60"),
        ("arithmetic", {"operands": "many"}, "whole number, not 'many'"),
        ("arithmetic", {"operands": "9" * 5000}, "whole number"),
        ("arithmetic", {"operands": "4", "parentheses": "3"}, "from 0 to 2"),
        ("debate-or-vote", {"digits": "3"}, "it has none"),
        ("sorting", {"what": "things"}, "one of numbers, words"),
        ("sorting", {"digits": "2", "length": "60"}, "too few numbers"),
        ("choices", {"options": "27"}, "from 2 to 26"),
    ],
)
def test_knobs_out_of_bounds(name: str, knobs: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        generated(name, 3, 0, knobs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [0, -1, 100_001])
def test_a_task_makes_so_many_items(n: int) -> None:
    with pytest.raises(InputError, match="1 to 100,000"):
        generated("dates", n, 0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take(seed: int) -> None:
    with pytest.raises(InputError, match="seed"):
        generated("arithmetic", 1, seed)


def test_truths_of_quotients_are_decimals() -> None:
    assert all(Decimal(i.truth[0]).is_finite() for i in generated("debate-or-vote", 300, 9).items)
