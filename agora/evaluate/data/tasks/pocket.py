"""The word problems of the pocket models, of the split that they were not trained on."""

from __future__ import annotations

from typing import Literal

from agora.answers import Number
from agora.errors import InputError
from agora.evaluate.data.tasks.making import item
from agora.evaluate.records import Item
from agora.models.pocket.problems import ALL_SKILLS, SKILLS, generate

Skill = Literal["sum", "mul", "sort", "mod", "mix", "each", "all"]


def pocket(n: int, seed: int, *, skill: Skill = "each") -> list[Item]:
    """Word problems that the pocket models can read.

    Args:
        n: items; no problem stands there twice.
        seed: of the draws.
        skill: 'sum', 'mul', 'sort', 'mod', or 'mix' (a product and a sum, which no specialist has learnt); 'each' takes
            the first four in turn, 'all' the five.

    Raises:
        InputError: if there are fewer such problems.
    """
    skills = {"each": SKILLS, "all": ALL_SKILLS}.get(skill, (skill,))
    try:
        problems = generate(seed, n, skills)
    except ValueError as error:
        raise InputError(f"{error}.", hint="Take fewer items or another skill.") from None
    return [item(p.question, p.answer, Number(), group=p.skill) for p in problems]
