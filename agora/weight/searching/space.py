"""What is searched: points, vectors of numbers, and how one becomes a candidate that can be scored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from agora.errors import InputError
from agora.weight.recipe import Recipe

Point: TypeAlias = tuple[float, ...]
Key: TypeAlias = Point | str
"""A candidate: a point, or the name of a model that is none of the space's points but is compared with them."""
Release: TypeAlias = Callable[[], None]


class Space(Protocol):
    """What a search needs to know, and what scores need to be taken of.

    Attributes:
        names: of the numbers of a point.
        low, high: their usual range: what samples are drawn from. Searches that step may leave it.
        whole: indices of those that are whole numbers.
        linear: weights are an affine function of the point, so that the mean of points is the mean of their weights.
        experts: the points a search may begin from, by name: what is merged, each alone.
        members: all single models, by name, for comparison.
        average: the plain average of the experts; None where there is none.
        identity: differs where the candidates may.
        together: most candidates that can be alive at a time.
    """

    names: Sequence[str]
    low: Point
    high: Point
    whole: frozenset[int]
    linear: bool
    experts: Mapping[str, Point]
    members: Mapping[str, Key]
    average: Key | None
    identity: str

    @property
    def together(self) -> int:
        """See above."""
        ...

    def canonical(self, point: Sequence[float]) -> Point:
        """The one point that stands for all that give this candidate; scores are kept by it."""
        ...

    def sample(self, rng: np.random.Generator) -> Point:
        """A point drawn from the usual range."""
        ...

    def build(self, key: Key) -> tuple[Any, Release]:
        """A candidate, and what is to be called when it is no longer used.

        Raises:
            InputError: if there is no such candidate.
        """
        ...

    def recipe(self, key: Key) -> Recipe:
        """The merge that makes this candidate.

        Raises:
            InputError: if the space is not one of merges.
        """
        ...


def box(low: float | Sequence[float], high: float | Sequence[float], size: int) -> tuple[Point, Point]:
    """Bounds as points.

    Raises:
        InputError: if there are not as many as numbers, or the lower are not below the higher.
    """
    lows = (float(low),) * size if isinstance(low, (int, float)) else tuple(map(float, low))
    highs = (float(high),) * size if isinstance(high, (int, float)) else tuple(map(float, high))
    if len(lows) != size or len(highs) != size:
        raise InputError(f"there are {size} numbers, so there must be as many bounds.")
    if not all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in zip(lows, highs, strict=True)):
        raise InputError("every lower bound must be below its upper bound, and both finite.")
    return lows, highs


def digest(*parts: Any) -> str:
    """A short text that differs where any part does."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Numbers:
    """A box of numbers that are the candidates themselves: what is scored is the point.

    For whatever is no merge: weights of an ensemble, thresholds of a cascade, a test function.

    Args:
        low, high: bounds, of all or of each.
        names: of the numbers; or how many there are.

    Raises:
        InputError: if the bounds do not fit.
    """

    whole: frozenset[int] = frozenset()
    linear = True
    average: Key | None = None
    together = 8

    def __init__(
        self, low: float | Sequence[float], high: float | Sequence[float], names: Sequence[str] | int = 1
    ) -> None:
        self.names: Sequence[str] = tuple(f"x{i}" for i in range(names)) if isinstance(names, int) else tuple(names)
        if not self.names:
            raise InputError("a space has at least one number.")
        self.low, self.high = box(low, high, len(self.names))
        self.experts: Mapping[str, Point] = {}
        self.members: Mapping[str, Key] = {}
        self.identity = digest("numbers", self.names, self.low, self.high)

    def canonical(self, point: Sequence[float]) -> Point:
        """The point as it is."""
        return tuple(float(value) + 0.0 for value in point)

    def sample(self, rng: np.random.Generator) -> Point:
        """A point of the box, evenly."""
        return self.canonical(rng.uniform(self.low, self.high).tolist())

    def build(self, key: Key) -> tuple[Any, Release]:
        """The point."""
        return key, lambda: None

    def recipe(self, key: Key) -> Recipe:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError("these numbers are no merge, so there is no recipe of them.")
