"""Sorting: numbers or words, put in order as a whole."""

from __future__ import annotations

import json
import random
import string
from typing import Literal

from agora.answers import Json
from agora.errors import InputError
from agora.evaluate.data.tasks.making import draws, item, within
from agora.evaluate.records import Item

What = Literal["numbers", "words"]


def sorting(n: int, seed: int, *, what: What = "numbers", length: int = 10, digits: int = 3) -> list[Item]:
    """Put these in order, the smallest or the first of the alphabet first. The answer is a JSON list, right only as a
    whole.

    Args:
        n: items.
        seed: of the draws.
        what: 'numbers', all different, or 'words' (made-up ones, so that nobody knows their order by heart).
        length: of the list, 2 to 200; more are harder.
        digits: most digits of a number, or letters of a word, 2 to 9.

    Raises:
        InputError: if a knob is out of bounds.
    """
    within("length", length, 2, 200)
    within("digits", digits, 2, 9)
    if what == "numbers" and length > 10**digits // 2:
        raise InputError(f"there are too few numbers of {digits} digits for a list of {length}.")
    return [_one(draws(f"sorting {what}", seed, i), what, length, digits) for i in range(n)]


def _one(rng: random.Random, what: What, length: int, digits: int) -> Item:
    things: list[int] | list[str]
    if what == "numbers":
        things = rng.sample(range(10**digits), length)
        order = "from the smallest to the largest"
    else:
        words: dict[str, None] = {}
        while len(words) < length:
            words["".join(rng.choice(string.ascii_lowercase[:6]) for _ in range(digits))] = None
        things, order = list(words), "in alphabetical order"
    question = f"Put these {what} {order}: {', '.join(map(str, things))}. Answer with a JSON list."
    return item(question, json.dumps(sorted(things)), Json(), group=what)  # type: ignore[type-var]
