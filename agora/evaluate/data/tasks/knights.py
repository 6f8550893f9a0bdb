"""Knight-Knave-Spy puzzles, each with one solution, which is found by trying all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice, permutations
from typing import NamedTuple

from agora.answers import Json
from agora.errors import InputError
from agora.evaluate.data.tasks.making import PEOPLE, draws, item, within
from agora.evaluate.records import Item

ROLES = ("knight", "knave", "spy")
Roles = Sequence[str]
_TRIES = 3_000  # draws of one puzzle, until one has a single solution


class Statement(NamedTuple):
    """What somebody says: in words, and whether it is true of given roles."""

    text: str
    true: Callable[[Roles], bool]


def knights(n: int, seed: int, *, people: int = 4, spies: int = 1, statements: int = 2) -> list[Item]:
    """Who is the knight, who the knave, who the spy? Knights tell the truth, knaves lie in all they say, spies say what
    they like; how many spies there are is told. The kind of puzzle that Wu et al. 2025 (arXiv:2511.07784) debated on;
    the wording and the statements are our own.

    The answer is a JSON object of name and role, right only as a whole.

    Args:
        n: items.
        seed: of the draws.
        people: 2 to 8; more are harder.
        spies: of them, 0 to all but one.
        statements: that each of them makes, 1 to 4; fewer are harder.

    Raises:
        InputError: if a knob is out of bounds, or such puzzles hardly ever have a single solution.
    """
    within("people", people, 2, 8)
    within("spies", spies, 0, people - 1)
    within("statements", statements, 1, 4)
    worlds = _worlds(people, spies)
    return [_puzzle(draws("knights", seed, i), people, spies, statements, worlds) for i in range(n)]


def solutions(said: Sequence[Sequence[Statement]], worlds: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """All roles that fit what was said.

    Args:
        said: the statements of each person.
        worlds: roles to try.
    """
    return (
        roles
        for roles in worlds
        if all(
            role == "spy" or all(statement.true(roles) == (role == "knight") for statement in by)
            for role, by in zip(roles, said, strict=True)
        )
    )


def _worlds(people: int, spies: int) -> list[tuple[str, ...]]:
    """All roles that so many people with so many spies can have."""
    found = []
    for at in combinations(range(people), spies):
        others = [i for i in range(people) if i not in at]
        for bits in range(2 ** len(others)):
            roles = ["spy"] * people
            for k, i in enumerate(others):
                roles[i] = ROLES[bits >> k & 1]
            found.append(tuple(roles))
    return found


def _puzzle(rng: random.Random, people: int, spies: int, statements: int, worlds: Sequence[tuple[str, ...]]) -> Item:
    names = PEOPLE[:people]
    for _ in range(_TRIES):
        roles = rng.choice(worlds)
        said = [_says(rng, i, roles, names, statements) for i in range(people)]
        if any(len(by) < statements for by in said):
            continue
        if list(islice(solutions(said, worlds), 2)) == [roles]:
            break
    else:
        raise InputError(
            f"puzzles of {people} people with {spies} spies and {statements} statements each hardly ever have one "
            "solution.", hint="Take more statements, or fewer spies.",
        )  # fmt: skip
    spoken = "\n".join(f"{name}: {' '.join(s.text for s in by)}" for name, by in zip(names, said, strict=True))
    count = "There is no spy" if not spies else "There is one spy" if spies == 1 else f"There are {spies} spies"
    shape = json.dumps({name: "..." for name in names})
    question = (
        f"{', '.join(names[:-1])} and {names[-1]} are each a knight, a knave or a spy. Knights always tell the truth. "
        f"Everything a knave says is false. Spies may say anything. {count} among them, and it is not said how many "
        f"knights and knaves there are.\n\n{spoken}\n\nWhat is each of them? Answer with a JSON object such as "
        f'{shape}, where each value is "knight", "knave" or "spy".'
    )
    truth = json.dumps(dict(zip(names, roles, strict=True)), sort_keys=True)
    return item(question, truth, Json(keys=tuple(names)), group=f"{people} people")


def _says(rng: random.Random, speaker: int, roles: Roles, names: Sequence[str], count: int) -> list[Statement]:
    """What one of them says: true, false or whatever, as the role is."""
    found: list[Statement] = []
    for _ in range(200):
        if len(found) == count:
            break
        statement = _statement(rng, speaker, names)
        fits = roles[speaker] == "spy" or statement.true(roles) == (roles[speaker] == "knight")
        if fits and all(statement.text != other.text for other in found):
            found.append(statement)
    return found


def _statement(rng: random.Random, speaker: int, names: Sequence[str]) -> Statement:
    others = [i for i in range(len(names)) if i != speaker]
    kind = rng.choice(("is", "is", "is not", "same", "either", "count"))
    if kind == "count":
        role, k = rng.choice(ROLES[:2]), rng.randint(0, len(names))
        what = f"exactly one {role}" if k == 1 else f"exactly {k or 'no'} {role}s" if k else f"no {role}"
        return Statement(f"Among us there is {what}." if k < 2 else f"Among us there are {what}.",
                         lambda roles: sum(r == role for r in roles) == k)  # fmt: skip
    if kind in ("same", "either") and len(others) > 1:
        i, j = rng.choice(list(permutations(others, 2)))
        if kind == "same":
            return Statement(f"{names[i]} and {names[j]} are of the same kind.", lambda roles: roles[i] == roles[j])
        role, second = rng.choice(ROLES), rng.choice(ROLES)
        return Statement(f"{names[i]} is a {role} or {names[j]} is a {second}, or both.",
                         lambda roles: roles[i] == role or roles[j] == second)  # fmt: skip
    i, role = rng.choice(others), rng.choice(ROLES)
    if kind == "is not":
        return Statement(f"{names[i]} is not a {role}.", lambda roles: roles[i] != role)
    return Statement(f"{names[i]} is a {role}.", lambda roles: roles[i] == role)
