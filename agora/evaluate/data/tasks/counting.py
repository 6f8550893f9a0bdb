"""Counting: letters, words or objects of a passage."""

from __future__ import annotations

import random
from typing import Literal

from agora.answers import Number
from agora.evaluate.data.tasks.making import PEOPLE, draws, item, within
from agora.evaluate.records import Item

_THINGS = ("apples", "books", "candles", "keys", "lamps", "maps", "pears", "pencils", "plates", "ribbons", "shells",
           "spoons")  # fmt: skip
_PLACES = ("on the table", "under the bench", "in the drawer", "by the window", "in the hall", "behind the door")
_WORDS = (
    "amber", "bottle", "cellar", "carpet", "dinner", "eleven", "feather", "garden", "hammer", "letter", "mirror",
    "needle", "orchard", "pepper", "quarrel", "rabbit", "silver", "summer", "tunnel", "velvet", "window", "yellow",
)  # fmt: skip
What = Literal["mixed", "letters", "words", "objects"]


def counting(n: int, seed: int, *, what: What = "mixed", length: int = 12) -> list[Item]:
    """How often does a letter occur, or a word, or how many objects of a kind are there?

    Args:
        n: items.
        seed: of the draws.
        what: 'letters' of a row of words, 'words' of it, 'objects' that people have put somewhere, or 'mixed', in turn.
        length: of the passage, 3 to 500: words, or sentences where it is objects; more are harder.

    Raises:
        InputError: if a knob is out of bounds.
    """
    within("length", length, 3, 500)
    kinds = ("letters", "words", "objects") if what == "mixed" else (what,)
    makers = {"letters": _letters, "words": _words, "objects": _objects}
    return [makers[kinds[i % len(kinds)]](draws(f"counting {what}", seed, i), length) for i in range(n)]


def _letters(rng: random.Random, length: int) -> Item:
    words = [rng.choice(_WORDS) for _ in range(length)]
    row = " ".join(words)
    letter = rng.choice(sorted(set(row) - {" "}))
    question = f"How often does the letter '{letter}' occur in these words?\n\n{row}"
    return item(question, str(row.count(letter)), Number(), group="letters")


def _words(rng: random.Random, length: int) -> Item:
    few = rng.sample(_WORDS, min(len(_WORDS), max(2, length // 3)))
    words = [rng.choice(few) for _ in range(length)]
    word = rng.choice(few)
    question = f"How often does the word '{word}' occur here?\n\n{' '.join(words)}"
    return item(question, str(words.count(word)), Number(), group="words")


def _objects(rng: random.Random, length: int) -> Item:
    things = rng.sample(_THINGS, 3)
    counts = dict.fromkeys(things, 0)
    sentences = []
    for _ in range(length):
        thing = rng.choice(things)
        most = counts[thing]
        if most > 1 and rng.random() < 0.35:
            k = rng.randint(1, most - 1)
            counts[thing] -= k
            sentences.append(f"{rng.choice(PEOPLE)} takes {k} of the {thing} away.")
        else:
            k = rng.randint(2, 9)
            counts[thing] += k
            sentences.append(f"{rng.choice(PEOPLE)} puts {k} {thing} {rng.choice(_PLACES)}.")
    thing = rng.choice(things)
    question = f"{' '.join(sentences)}\n\nHow many {thing} are there now, in all places together?"
    return item(question, str(counts[thing]), Number(), group="objects")
