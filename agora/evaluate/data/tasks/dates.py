"""Dates: days added, days between, and days of the week, in the Gregorian calendar."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Literal

from agora.answers import Choice, Number, Text
from agora.evaluate.data.tasks.making import draws, item, within
from agora.evaluate.records import Item

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
What = Literal["mixed", "add", "between", "weekday"]
_FIRST = date(1900, 1, 1).toordinal()
_DAYS = date(2100, 1, 1).toordinal() - _FIRST


def dates(n: int, seed: int, *, what: What = "mixed", days: int = 400) -> list[Item]:
    """Which date is so many days later, how many days lie between two dates, or which day of the week is it then?

    Args:
        n: items.
        seed: of the draws.
        what: 'add', 'between', 'weekday', or 'mixed', in turn.
        days: how far apart two dates are at most, 1 to 36,000; more are harder.

    Raises:
        InputError: if a knob is out of bounds.
    """
    within("days", days, 1, 36_000)
    kinds = ("add", "between", "weekday") if what == "mixed" else (what,)
    makers = {"add": _add, "between": _between, "weekday": _weekday}
    return [makers[kinds[i % len(kinds)]](draws(f"dates {what}", seed, i), days) for i in range(n)]


def _pair(rng: random.Random, days: int) -> tuple[date, date, int]:
    k = rng.randint(1, days)
    first = date.fromordinal(_FIRST + rng.randrange(_DAYS - k))
    return first, first + timedelta(days=k), k


def _shown(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _add(rng: random.Random, days: int) -> Item:
    first, last, k = _pair(rng, days)
    start, end, way = (first, last, "after") if rng.random() < 0.5 else (last, first, "before")
    noun = "day" if k == 1 else "days"
    question = f"Which date is {k} {noun} {way} {_shown(start)}? Write it as YYYY-MM-DD."
    return item(question, end.isoformat(), Text(), group="add")


def _between(rng: random.Random, days: int) -> Item:
    first, last, k = _pair(rng, days)
    question = f"How many days is it from {_shown(first)} to {_shown(last)}? From one day to the next it is 1."
    return item(question, str(k), Number(), group="between")


def _weekday(rng: random.Random, days: int) -> Item:
    first, last, _ = _pair(rng, days)
    start = WEEKDAYS[first.weekday()]
    question = f"{_shown(first)} is a {start}. Which day of the week is {_shown(last)}?"
    return item(question, WEEKDAYS[last.weekday()], Choice(WEEKDAYS), group="weekday")
