"""What generators of tasks share: items named by their content, draws of their own for each, knobs within bounds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from agora.answers import AnswerType
from agora.errors import InputError
from agora.evaluate.records import Item
from agora.model import derive_seed

PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gwen", "Hugo", "Iris", "Jon")


def item(question: str, truth: str | Sequence[str], answer: AnswerType, group: str = "", **data: Any) -> Item:
    """An item whose id is made from its content."""
    truths = (truth,) if isinstance(truth, str) else tuple(truth)
    return named(Item("", question, truths, answer, group, MappingProxyType(data)))


def named(made: Item) -> Item:
    """An item with an id that is made from its content."""
    return replace(made, id=hashlib.blake2b(made.digest.encode(), digest_size=6).hexdigest())


def draws(task: str, seed: int, index: int) -> random.Random:
    """Draws of one item, whatever items there are before it."""
    return random.Random(derive_seed(seed, task, index))


def within(knob: str, value: int, low: int, high: int) -> None:
    """Check a knob.

    Raises:
        InputError: if it is out of bounds.
    """
    if not low <= value <= high:
        raise InputError(f"{knob} is a whole number from {low} to {high}, not {value}.")
