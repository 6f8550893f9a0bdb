"""Scorers that ask a model: whether an answer is right, judged in both orders, and which views it covers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agora import calls
from agora.answers import bare, objects
from agora.errors import InputError, MalformedError
from agora.evaluate.records import Item
from agora.model import Model
from agora.prompts import template
from agora.records import Message

_T = TypeVar("_T")
_TRIES = 2  # of a judgement that cannot be read
_SHOWN = 50_000  # characters of a reply that are shown to a judge: its end


@dataclass
class Graded:
    """A model judges whether an answer is right, given the right one: twice, once with the right answer first and once
    with the proposed one first, so that position cannot decide. Both yes is 1, both no is 0, and where the two
    disagree it is 0.5, and counted.

    Attributes:
        model: the judge.
        override: a template of your own: a path or its text.
        judged: answers judged so far.
        flips: of these, how many were judged one way in one order and the other way in the other.
    """

    model: Model
    override: str | Path | None = None
    name: str = field(default="graded", init=False)
    paid: bool = field(default=True, init=False)
    judged: int = field(default=0, init=False)
    flips: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        template("grade", self.override)  # what is wrong with it is said before anything is paid for

    async def score(self, answer: str, item: Item, text: str) -> float:
        """0, 0.5 or 1.

        Raises:
            ModelError: if the judge cannot be asked, or its judgement cannot be read in two tries.
        """
        right = {"label": "Reference answer", "text": " (or) ".join(item.truth)}
        given = {"label": "Proposed answer", "text": _shown(answer, text)}
        votes = []
        for at, peers in (("grade/reference-first", (right, given)), ("grade/answer-first", (given, right))):
            prompt = template("grade", self.override).render(question=item.question, peers=peers)
            votes.append(await _judged(self.model, prompt, at, _right))
        self.judged += 1
        self.flips += votes[0] != votes[1]
        return sum(votes) / len(votes)


@dataclass
class Coverage:
    """The share of an item's reference views (`data['views']`) that an answer covers.

    Views are a list of texts, or a mapping of each to the key words that tell it: one of them, as whole words up to
    case, is enough. Without a model a view that has no key words must stand in the reply as it is worded.

    Attributes:
        model: asked which views the answer puts forward; None goes by key words.
        override: a template of your own: a path or its text.
    """

    model: Model | None = None
    override: str | Path | None = None
    name: str = field(default="coverage", init=False)

    def __post_init__(self) -> None:
        template("cover", self.override)

    @property
    def paid(self) -> bool:
        """By a model it is."""
        return self.model is not None

    async def score(self, answer: str, item: Item, text: str) -> float:
        """0 to 1.

        Raises:
            InputError: if the item has no views.
            ModelError: if the model cannot be asked, or what it says cannot be read in two tries.
        """
        views = _views(item)
        if self.model is None:
            said = _fold(text or answer)
            return sum(any(_holds(said, word) for word in words) for words in views.values()) / len(views)
        peers = [{"label": str(i), "text": view} for i, view in enumerate(views, 1)]
        prompt = template("cover", self.override).render(question=item.question, text=_shown(answer, text), peers=peers)
        covered = await _judged(self.model, prompt, "cover", lambda said: _covered(said, len(views)))
        return len(covered) / len(views)


async def _judged(model: Model, prompt: str, at: str, read: Callable[[str], _T | None]) -> _T:
    """What a judge says, asked again where that cannot be read."""
    for attempt in range(_TRIES):
        reply = await calls.ask(model, [Message("user", prompt)], at=at if not attempt else f"{at}/again")
        found = read(reply.text)
        if found is not None:
            return found
    raise MalformedError("the judge's reply has no judgement that can be read, twice.", model=model.name,
                         hint="It must end with the JSON object that it was asked for.")  # fmt: skip


def _right(text: str) -> bool | None:
    found = [value for value in objects(text, "right") if isinstance(value, bool)]
    return found[-1] if found else None


def _covered(text: str, most: int) -> frozenset[int] | None:
    found = [value for value in objects(text, "covered") if isinstance(value, list)]
    if not found or not all(type(n) is int and 1 <= n <= most for n in found[-1]):
        return None
    return frozenset(found[-1])


def _shown(answer: str, text: str) -> str:
    """What a judge is shown of an answer: the reply, or where there is none its canonical form."""
    return bare(text)[-_SHOWN:] or answer


def _views(item: Item) -> dict[str, Sequence[str]]:
    given: Any = item.data.get("views")
    views: dict[str, Sequence[str]] = {}
    if isinstance(given, Mapping):
        for view, words in given.items():
            listed = [words] if isinstance(words, str) else words or ()
            views[str(view)] = [str(word) for word in listed] or [str(view)]
    elif isinstance(given, (list, tuple)):
        views = {str(view): [str(view)] for view in given}
    if not views:
        raise InputError(f"item '{item.id[:60]}': the scorer 'coverage' needs its views.",
                         hint="Name their field by views: in the mapping.")  # fmt: skip
    return views


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _holds(said: str, word: str) -> bool:
    folded = _fold(word)
    return bool(folded) and re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", said) is not None
