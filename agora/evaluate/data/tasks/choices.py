"""Multiple choice without meaning: which option is right is drawn, so that only simulated agents can know it."""

from __future__ import annotations

from agora.answers import Choice
from agora.evaluate.data.tasks.making import draws, item, within
from agora.evaluate.records import Item

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choices(n: int, seed: int, *, options: int = 4) -> list[Item]:
    """Which option is right? Agents of a known accuracy, made for a test, answer such items by the truth and a draw; a
    model can only guess, and is right in 1 of `options`.

    Args:
        n: items; the question tells them apart.
        seed: of the draws.
        options: 2 to 26.

    Raises:
        InputError: if a knob is out of bounds.
    """
    within("options", options, 2, 26)
    labels = LETTERS[:options]
    found = []
    for i in range(n):
        right = draws(f"choices {options}", seed, i).choice(labels)
        question = f"Case {i} of series {seed}: which of the options {', '.join(labels)} is the right one?"
        found.append(item(question, right, Choice(list(labels), listed=True)))
    return found
