"""Word problems of the pocket models' skills: generated from a seed, worked step by step, and recognised by a grammar.

    python -m agora.models.pocket.problems --seed 1 -n 8 --json

The training split and the test split are disjoint by construction: a problem belongs to the test split when a checksum
of its text says so, whatever the seed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SKILLS = ("sum", "mul", "sort", "mod")
ALL_SKILLS = (*SKILLS, "mix")
NAMES = ("Ann", "Ben", "Eve", "Gus", "Ida", "Leo", "Mia", "Sam")
NOUNS = ("keys", "pens", "cups", "nuts", "eggs", "hats", "maps", "toys")
GAINS = ("buys", "gets", "finds", "wins")
LOSSES = ("loses", "sells", "gives", "drops")
ORDINALS = ("1st", "2nd", "3rd")
Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem.

    Attributes:
        question: the text of the problem.
        answer: the right answer, digits only.
        skill: which skill it needs: one of `ALL_SKILLS`.
        steps: the right working, as the models write it.
    """

    question: str
    answer: str
    skill: str
    steps: str


def is_test(question: str) -> bool:
    """Whether a question belongs to the test split (one in eight, by checksum)."""
    return zlib.crc32(question.encode()) % 8 == 0


def make(skill: str, rng: random.Random) -> Problem:
    """Draw one problem of a skill."""
    question = _QUESTIONS[skill](rng)
    steps, answer = work(question)
    return Problem(question, answer, skill, steps)


def generate(seed: int, n: int, skills: Sequence[str] = SKILLS, split: Split = "test") -> list[Problem]:
    """Draw `n` distinct problems, the skills in turn.

    Args:
        seed: any integer; the same seed gives the same problems.
        n: how many.
        skills: which skills, taken in turn.
        split: 'test' or 'train'; the two never share a question.

    Raises:
        ValueError: if a skill is unknown, or the grammar has fewer distinct problems than asked for.
    """
    unknown = [skill for skill in skills if skill not in ALL_SKILLS]
    if unknown or not skills:
        raise ValueError(f"unknown skill {unknown or 'none'}; there are {', '.join(ALL_SKILLS)}")
    rng = random.Random(f"{split}:{seed}")
    seen: set[str] = set()
    problems: list[Problem] = []
    misses = 0
    while len(problems) < n:
        problem = make(skills[len(problems) % len(skills)], rng)
        if problem.question in seen or is_test(problem.question) != (split == "test"):
            misses += 1
            if misses > 10_000 + 200 * n:
                raise ValueError(f"the grammar has fewer than {n} distinct problems of these skills")
            continue
        seen.add(problem.question)
        problems.append(problem)
    return problems


def _sum(rng: random.Random) -> str:
    name, noun = rng.choice(NAMES), rng.choice(NOUNS)
    while True:
        a, b, c = (rng.randint(10, 99) for _ in range(3))
        signs = rng.choice(((1, 1), (1, -1), (-1, 1), (-1, -1)))
        first = a + signs[0] * b
        if first >= 0 and first + signs[1] * c >= 0:
            break
    verbs = [rng.choice(GAINS if sign > 0 else LOSSES) for sign in signs]
    return f"{name} has {a} {noun}. {name} {verbs[0]} {b} and {verbs[1]} {c}. How many {noun} now?"


def _mul(rng: random.Random) -> str:
    noun = rng.choice(NOUNS)
    return f"{rng.choice(NAMES)} has {rng.randint(12, 99)} boxes of {rng.randint(3, 9)} {noun}. How many {noun} in all?"


def _sort(rng: random.Random) -> str:
    numbers = " ".join(map(str, rng.sample(range(10, 100), 5)))
    return f"Of {numbers} which is the {rng.choice(ORDINALS)} {rng.choice(('largest', 'smallest'))}?"


def _mod(rng: random.Random) -> str:
    noun = rng.choice(NOUNS)
    return (
        f"{rng.choice(NAMES)} puts {rng.randint(20, 99)} {noun} in bags of {rng.randint(3, 9)}. "
        f"How many {noun} are left over?"
    )


def _mix(rng: random.Random) -> str:
    noun = rng.choice(NOUNS)
    return (
        f"{rng.choice(NAMES)} has {rng.randint(12, 49)} boxes of {rng.randint(3, 9)} {noun} and {rng.choice(GAINS)} "
        f"{rng.randint(10, 99)}. How many {noun} now?"
    )


_QUESTIONS = {"sum": _sum, "mul": _mul, "sort": _sort, "mod": _mod, "mix": _mix}

_NAME, _NOUN = f"(?:{'|'.join(NAMES)})", f"(?:{'|'.join(NOUNS)})"
_GAIN, _VERB = f"(?:{'|'.join(GAINS)})", f"({'|'.join(GAINS + LOSSES)})"
_GRAMMAR = {
    "sum": re.compile(rf"{_NAME} has (\d+) {_NOUN}\. {_NAME} {_VERB} (\d+) and {_VERB} (\d+)\. How many {_NOUN} now\?"),
    "mul": re.compile(rf"{_NAME} has (\d+) boxes of (\d) {_NOUN}\. How many {_NOUN} in all\?"),
    "sort": re.compile(r"Of (\d\d(?: \d\d){4}) which is the (1st|2nd|3rd) (largest|smallest)\?"),
    "mod": re.compile(rf"{_NAME} puts (\d+) {_NOUN} in bags of (\d)\. How many {_NOUN} are left over\?"),
    "mix": re.compile(rf"{_NAME} has (\d+) boxes of (\d) {_NOUN} and {_GAIN} (\d+)\. How many {_NOUN} now\?"),
}


def skill_of(question: str) -> str | None:
    """Which skill a question needs, or None if the pocket models cannot read it."""
    if len(question) > 200:
        return None
    for skill, pattern in _GRAMMAR.items():
        match = pattern.fullmatch(question.strip())
        if match and all(len(group) <= 2 for group in match.groups() if group.isdigit()):
            return skill if _workable(skill, match.groups()) else None
    return None


def _workable(skill: str, groups: tuple[str, ...]) -> bool:
    """Whether a question has an answer: no bags of 0, nobody gives away what it has not."""
    if skill == "mod":
        return int(groups[1]) > 0
    if skill == "sum":
        first = int(groups[0]) + int(groups[2]) * (1 if groups[1] in GAINS else -1)
        return first >= 0 and first + int(groups[4]) * (1 if groups[3] in GAINS else -1) >= 0
    return True


def work(question: str, rng: random.Random | None = None) -> tuple[str, str]:
    """Work a question out step by step.

    Args:
        question: a question of the grammar.
        rng: where given, one slip is made on the way and carried on, as a careless worker would.

    Returns:
        The working, and the answer as digits.

    Raises:
        ValueError: if the question is not of the grammar.
    """
    skill = skill_of(question)
    if skill is None:
        raise ValueError(f"not a question of the grammar: {question[:60]!r}")
    match = _GRAMMAR[skill].fullmatch(question.strip())
    assert match is not None
    groups = match.groups()
    count = {"sum": 2, "mul": 3, "sort": 2, "mod": 2, "mix": 4}[skill]
    wrong = rng.randrange(count) if rng else -1

    def slip(index: int, value: int) -> int:
        if rng is None or index != wrong:
            return value
        deltas = (1, -1, 10, -10, 2, -2, 20)
        return max(0, value + rng.choice(deltas)) if value else value + rng.choice((1, 2, 10))

    if skill == "sum":
        a, verb, b, verb2, c = int(groups[0]), groups[1], int(groups[2]), groups[3], int(groups[4])
        first, op = _add(a, b, verb)
        first = slip(0, first)
        last, op2 = _add(first, c, verb2)
        last = slip(1, last)
        return f"{a}{op}{b}={first}. {first}{op2}{c}={last}.", str(last)
    if skill in ("mul", "mix"):
        n, m = int(groups[0]), int(groups[1])
        tens, ones = n // 10 * 10, n % 10
        left, right = slip(0, tens * m), slip(1, ones * m)
        total = slip(2, left + right)
        text = f"{tens}*{m}={left}. {ones}*{m}={right}. {left}+{right}={total}."
        if skill == "mix":
            c = int(groups[2])
            more = slip(3, total + c)
            return f"{text} {total}+{c}={more}.", str(more)
        return text, str(total)
    if skill == "sort":
        numbers = sorted(map(int, groups[0].split()))
        if wrong == 0 and rng:
            at = rng.randrange(5)
            numbers[at] = rng.choice((numbers[at - 1], max(10, numbers[at] - 1), min(99, numbers[at] + 10)))
        k = ORDINALS.index(groups[1])
        if wrong == 1 and rng:
            k = (k + rng.choice((1, 2))) % 3
        picked = numbers[-1 - k] if groups[2] == "largest" else numbers[k]
        return f"{' '.join(map(str, numbers))}. {groups[1]} {groups[2]}={picked}.", str(picked)
    a, m = int(groups[0]), int(groups[1])
    quotient = a // m + (rng.choice((1, -1)) if rng and wrong == 0 and a // m > 1 else 0)
    full = quotient * m
    rest = slip(1, abs(a - full)) if rng else a - full
    return f"{quotient}*{m}={full}. {a}-{full}={rest}.", str(rest)


def _add(a: int, b: int, verb: str) -> tuple[int, str]:
    if verb in GAINS:
        return a + b, "+"
    return (a - b, "-") if a >= b else (b - a, "-")


def main(argv: Sequence[str] | None = None) -> int:
    """Print problems: one a line, or as one JSON object with --json."""
    parser = argparse.ArgumentParser(prog="python -m agora.models.pocket.problems", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=8, help="how many problems")
    parser.add_argument("--skill", action="append", choices=ALL_SKILLS, help="only this skill; may be repeated")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    try:
        problems = generate(options.seed, options.n, options.skill or SKILLS, options.split)
    except ValueError as error:
        parser.error(str(error))
    if options.json:
        rows = [{"question": p.question, "answer": p.answer, "skill": p.skill} for p in problems]
        sys.stdout.write(json.dumps({"problems": rows}) + "\n")
    else:
        for p in problems:
            sys.stdout.write(f"{p.skill:5} {p.question} {p.answer}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
