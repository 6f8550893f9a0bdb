"""Tasks that need no data: items made from a seed, with an exact truth, and knobs that make them harder."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from agora.errors import InputError
from agora.evaluate.data.tasks import arithmetic, choices, counting, dates, knights, pocket, sorting
from agora.evaluate.records import Dataset, Item
from agora.evaluate.scorers.naming import scorer_of

MOST = 100_000  # items of a generated task
DEFAULT = 100


@dataclass(frozen=True)
class Task:
    """A generated task.

    Attributes:
        make: `make(n, seed, **knobs)` gives the first `n` items of a seed: more of them begin with fewer of them.
        scorer: as under `scorer:`.
        about: a sentence.
    """

    make: Callable[..., list[Item]]
    scorer: Any
    about: str

    @property
    def knobs(self) -> dict[str, inspect.Parameter]:
        """What can be turned, by name."""
        parameters = inspect.signature(self.make, eval_str=True).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


TASKS: Mapping[str, Task] = {
    "arithmetic": Task(arithmetic.arithmetic, "exact", "sums and products as in Du et al. 2023 (arXiv:2305.14325)"),
    "debate-or-vote": Task(
        arithmetic.debate_or_vote, {"numeric": {"absolute": 0.05, "relative": 0.0}},
        "arithmetic with a quotient as in Choi et al. 2025 (arXiv:2508.17536), to one decimal",
    ),
    "knights": Task(knights.knights, "exact", "Knight-Knave-Spy puzzles with one solution (after arXiv:2511.07784)"),
    "counting": Task(counting.counting, "exact", "letters, words or objects of a passage, counted"),
    "dates": Task(dates.dates, "exact", "days added, days between, and days of the week"),
    "sorting": Task(sorting.sorting, "exact", "numbers or words put in order"),
    "pocket": Task(pocket.pocket, "exact", "word problems that the pocket models can read, of their test split"),
    "choices": Task(choices.choices, "choice", "made-up options one of which is right by decree, for simulated agents"),
}  # fmt: skip


def generated(name: str, n: int, seed: int, knobs: Mapping[str, str] | None = None) -> Dataset:
    """A data set of a generated task.

    Args:
        name: of `TASKS`.
        n: items.
        seed: the same seed gives the same items on every machine, and more of them begin with fewer.
        knobs: by name, as they are typed.

    Raises:
        InputError: if there is no such task or knob, or it cannot be turned so far.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name[:60], TASKS, 1)
        hint = f"Did you mean '{near[0]}'?" if near else None
        raise InputError(f"there is no task '{name[:60]}'; there are {', '.join(TASKS)}.", hint=hint)
    if not 1 <= n <= MOST:
        raise InputError(f"{name}: makes 1 to {MOST:,} items, not {n:,}.")
    task = TASKS[name]
    values = {knob: _value(name, knob, text, task) for knob, text in (knobs or {}).items()}
    try:
        items = task.make(n, seed, **values)
    except InputError as error:
        raise InputError(f"{name}: {error.message}", hint=error.hint) from None
    shown = "".join(f", {knob} {value}" for knob, value in values.items())
    return Dataset(name, _distinct(items), scorer_of(task.scorer), f"{task.about}{shown}; generated, seed {seed}")


def _value(name: str, knob: str, text: str, task: Task) -> Any:
    """A knob's value from what was typed."""
    if knob not in task.knobs:
        near = difflib.get_close_matches(knob[:60], task.knobs, 1)
        there = f"it has {', '.join(task.knobs)}" if task.knobs else "it has none"
        raise InputError(f"{name}: has no knob '{knob[:40]}'; {there}.",
                         hint=f"Did you mean '{near[0]}'?" if near else None)  # fmt: skip
    wanted = task.knobs[knob].annotation
    if get_origin(wanted) is Literal:
        if text not in get_args(wanted):
            raise InputError(f"{name}: {knob} is one of {', '.join(get_args(wanted))}, not '{text[:40]}'.")
        return text
    try:
        return int(text) if len(text) <= 20 else int("")
    except ValueError:
        raise InputError(f"{name}: {knob} is a whole number, not '{text[:40]}'.") from None


def _distinct(items: list[Item]) -> list[Item]:
    """Items with ids that differ: one that occurs again is numbered."""
    from dataclasses import replace

    seen: dict[str, int] = {}
    found = []
    for item in items:
        seen[item.id] = seen.get(item.id, 0) + 1
        found.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}-{seen[item.id]}"))
    return found
