"""Searches by CMA-ES of the library `cma`: LoraHub's composition of adapters, and evolutionary merging."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from agora.errors import InputError, MissingError
from agora.weight.searching.registry import Asks, at_least, searcher
from agora.weight.searching.space import Point, Space

_lock = threading.Lock()


class Strategy:
    """An evolution strategy over a box, which it does not leave. It has random numbers of its own: the library draws
    from numpy's common state, which is lent to it and put back.

    Args:
        begin: the first mean.
        low, high: the box.
        whole: indices of whole numbers.
        sigma: first step, as a share of each range.
        population: of a generation; None is the library's, 4 + 3 ln n.
        seed: of its draws.

    Raises:
        MissingError: if the library is not installed.
    """

    def __init__(
        self, begin: Sequence[float], low: Sequence[float], high: Sequence[float], whole: Sequence[int], sigma: float,
        population: int | None, seed: int,
    ) -> None:  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it cannot plot
                import cma
        except ImportError:
            raise MissingError("this search needs cma, which is not installed.",
                               hint="pip install 'agora-debate[search]'") from None  # fmt: skip
        self._single = len(begin) == 1  # the library has no strategy of one number: a second one is of no effect
        lows, highs = [*low, *([0.0] if self._single else [])], [*high, *([1.0] if self._single else [])]
        spans = [b - a for a, b in zip(lows, highs, strict=True)]
        options: dict[str, Any] = {
            "bounds": [lows, highs], "CMA_stds": spans, "seed": math.nan, "verbose": -9, "verb_log": 0,
            "integer_variables": list(whole),
        }  # fmt: skip
        if population is not None:
            options["popsize"] = population
        self._state: Any = np.random.RandomState(seed).get_state()
        with self._lent():
            mean = [*begin, *([0.5] if self._single else [])]
            self._strategy = cma.CMAEvolutionStrategy(mean, sigma, options)

    @property
    def population(self) -> int:
        """Of a generation."""
        return int(self._strategy.popsize)

    def ask(self) -> list[Point]:
        """A generation."""
        with self._lent():
            self._asked = self._strategy.ask()
        return [tuple(float(value) for value in (one[:1] if self._single else one)) for one in self._asked]

    def tell(self, costs: Sequence[float]) -> bool:
        """Take its costs, lower being better; whether it goes on."""
        finite = [cost for cost in costs if math.isfinite(cost)]
        worst = max(finite, default=0.0) + 1.0
        with self._lent():
            self._strategy.tell(self._asked, [cost if math.isfinite(cost) else worst for cost in costs])
            return not self._strategy.stop()

    @contextmanager
    def _lent(self) -> Iterator[None]:
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            common = np.random.get_state()
            np.random.set_state(self._state)
            try:
                yield
            finally:
                self._state = np.random.get_state()
                np.random.set_state(common)


def _evolve(
    space: Space, rng: np.random.Generator, begin: Sequence[float], sigma: float, population: int | None, penalty: float
) -> Asks:
    whole = sorted(space.whole)
    while True:
        seed = int(rng.integers(1, 1 << 31))
        strategy = Strategy(begin, space.low, space.high, whole, sigma, population, seed)
        going = True
        while going:
            asked = strategy.ask()
            scores = yield asked
            going = strategy.tell([penalty * _size(p) - score for p, score in zip(asked, scores, strict=True)])
        begin, population = space.sample(rng), 2 * strategy.population


def _size(point: Sequence[float]) -> float:
    return math.fsum(map(abs, point)) / len(point)


def _l1(point: Point, options: Mapping[str, Any]) -> float:
    return float(options["l1"]) * _size(point)


@searcher("lorahub", paper="Huang et al., arXiv:2307.13269", penalty=_l1)
def lorahub(
    space: Space, rng: np.random.Generator, *, l1: float = 0.05, sigma: float = 1 / 6, population: int | None = None
) -> Asks:
    """Weights of adapters that a gradient-free optimiser finds on a few examples, small weights preferred.

    As in the paper the weights begin at 0, stay within the space (`Adapters`' is -1.5 to 1.5) and cost `l1` times the
    mean of their magnitudes; what is best is judged with that. Differently from it, the optimiser is CMA-ES instead of
    Nevergrad's portfolio, which picks a strategy by the number of weights and the budget; adapters are summed exactly
    instead of factor by factor; and the score is the caller's: with `likelihood` it is the paper's.

    Args:
        space: any, such as `Adapters`.
        rng: of all draws.
        l1: the cost.
        sigma: first step, as a share of the range.
        population: of a generation; default 4 + 3 ln n.

    Raises:
        MissingError: if `cma` is not installed.
    """
    at_least("l1", l1, 0)
    _checked(sigma, population)
    begin = [min(high, max(low, 0.0)) for low, high in zip(space.low, space.high, strict=True)]
    yield from _evolve(space, rng, begin, sigma, population, l1)


@searcher("evolution", "cma", "evolutionary", paper="Akiba et al., arXiv:2403.13187")
def evolution(space: Space, rng: np.random.Generator, *, sigma: float = 1 / 6, population: int | None = None) -> Asks:
    """Evolutionary merging: CMA-ES over whatever numbers a space of merges has.

    Parameters of methods by layer are what the paper calls parameter space, choices of layers its data flow space;
    `Parameters` holds either or both, where the paper searches one after the other. It begins at the middle of the
    space; when the strategy has converged it begins again elsewhere with twice the population, until the budget is
    spent. Choices are whole numbers in the order in which they are listed.

    Args:
        space: any.
        rng: of all draws.
        sigma: first step, as a share of each range.
        population: of a generation; default 4 + 3 ln n.

    Raises:
        MissingError: if `cma` is not installed.
    """
    _checked(sigma, population)
    middle = [(low + high) / 2 for low, high in zip(space.low, space.high, strict=True)]
    yield from _evolve(space, rng, space.canonical(middle), sigma, population, 0.0)


def _checked(sigma: float, population: int | None) -> None:
    if not 0 < sigma <= 1:
        raise InputError("'sigma' is above 0 and at most 1.")
    if population is not None:
        at_least("population", population, 2)
