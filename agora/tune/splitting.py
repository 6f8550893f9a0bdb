"""Items to tune on and items to report on, which have no question in common."""

from __future__ import annotations

import random
from dataclasses import replace

from agora.errors import InputError
from agora.evaluate.records import Dataset, Item

FEWEST = 4  # items to tune on


def split(data: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Halves of a data set: to tune on, and held out. A question that stands there twice is in one of them only.

    Args:
        data: all items.
        seed: of the draw.

    Raises:
        InputError: if there are too few.
    """
    asked: dict[str, list[Item]] = {}
    for item in data.items:
        asked.setdefault(_same(item), []).append(item)
    questions = list(asked)
    random.Random(f"split {seed}").shuffle(questions)
    dev: set[str] = set()
    for question in questions:
        if sum(len(asked[one]) for one in dev) >= len(data.items) / 2:
            break
        dev.add(question)
    parts = [[item for item in data.items if (_same(item) in dev) is inside] for inside in (True, False)]
    if len(parts[0]) < FEWEST or not parts[1]:
        raise InputError(f"{data.name}: {len(asked)} different questions are too few to tune on one half and report "
                         "on the other.", hint=f"Give {2 * FEWEST} at least, or --held-out DATA.")  # fmt: skip
    return replace(data, items=parts[0]), replace(data, items=parts[1])


def apart(dev: Dataset, held: Dataset) -> tuple[Dataset, int]:
    """The held-out items whose question is not tuned on, and how many were left out.

    Raises:
        InputError: if none is left, or there are too few to tune on.
    """
    if len(dev.items) < FEWEST:
        raise InputError(f"{dev.name}: {len(dev.items)} items are too few to tune on; give {FEWEST} at least.")
    known = {_same(item) for item in dev.items}
    kept = [item for item in held.items if _same(item) not in known]
    if not kept:
        raise InputError(f"{held.name}: each held-out question is also tuned on.",
                         hint="Give others: what was tuned on says nothing about what is new.")  # fmt: skip
    return replace(held, items=kept), len(held.items) - len(kept)


def _same(item: Item) -> str:
    return " ".join(item.question.split()).casefold()
