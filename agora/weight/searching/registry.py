"""The registry of searches: a search is one generator that yields points and is sent their scores.

    @searcher("random", paper="...")
    def random(space: Space, rng: np.random.Generator) -> Asks:
        while True:
            yield [space.sample(rng)]

It may hold any state, but draws from `rng` alone and knows neither budget nor clock: sent the same scores it asks for
the same points, which is what makes a search resume. A failed candidate's score is minus infinity; the higher the
better. What is asked for twice is scored once, and counts once. It is closed when the budget is spent.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agora.errors import InputError
from agora.weight.searching.space import Point

Asks: TypeAlias = Generator[Sequence[Point], Sequence[float], None]
Penalty: TypeAlias = Callable[[Point, Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Searcher:
    """A way to search.

    Attributes:
        name: of it.
        make: the generator.
        paper: where it is from.
        ends: it ends by itself; others need a budget.
        penalty: what is taken from the score of a point when the best is chosen, by the point and the options.
        options: the generator's own, with their defaults.
    """

    name: str
    make: Callable[..., Asks]
    paper: str
    ends: bool
    penalty: Penalty | None
    options: dict[str, Any]

    @property
    def summary(self) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(self.make) or "").split("\n\n")[0].replace("\n", " ")

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options: those given, and defaults.

        Raises:
            InputError: if one is none of its own.
        """
        for name in given:
            if name not in self.options:
                near = difflib.get_close_matches(name, self.options, 1)
                listed = ", ".join(self.options) or "none"
                hint = f"Did you mean '{near[0]}'?" if near else f"It has {listed}."
                raise InputError(f"{self.name} has no option '{name[:40]}'.", hint=hint)
        return self.options | dict(given)


SEARCHERS: dict[str, Searcher] = {}


def searcher(
    *names: str, paper: str, ends: bool = False, penalty: Penalty | None = None
) -> Callable[[Callable[..., Asks]], Callable[..., Asks]]:
    """Register a generator as a search under these names; see `Searcher`.

    Raises:
        ValueError: if a name is taken.
    """

    def register(make: Callable[..., Asks]) -> Callable[..., Asks]:
        options = {
            name: parameter.default
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for name in names:
            if name in SEARCHERS:
                raise ValueError(f"there is a search '{name}' already")
            SEARCHERS[name] = Searcher(names[0], make, paper, ends, penalty, options)
        return make

    return register


def get(name: str) -> Searcher:
    """A search by its name.

    Raises:
        InputError: if there is none.
    """
    if name not in SEARCHERS:
        near = difflib.get_close_matches(name, SEARCHERS, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(sorted(SEARCHERS))}."
        raise InputError(f"there is no search '{name[:40]}'.", hint=hint)
    return SEARCHERS[name]


def at_least(what: str, value: float, least: float) -> None:
    """See that an option is a number and not too small.

    Raises:
        InputError: if not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise InputError(f"'{what}' is a number of at least {least:g}, not {str(value)[:20]}.")
