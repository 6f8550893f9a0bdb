"""Spaces of merges: each point is a recipe that is run in memory; weights of models are the simplest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agora.errors import InputError
from agora.weight.recipe import Recipe, read_recipe
from agora.weight.searching.bench import Bench, Buffers, Merged
from agora.weight.searching.loaders import Loader, loader_for, room
from agora.weight.searching.space import Key, Point, Release, box, digest


def shown(key: Key) -> str:
    """What users call a candidate."""
    return key if isinstance(key, str) else "merge " + " ".join(f"{value:.3g}" for value in key)


class Merges:
    """What spaces of merges share: points become recipes, recipes candidates.

    Args:
        load: what makes a model of tensors in memory; default: as the parents are.
        beside: the folder that relative paths are also looked for in.
        folders: folders of models by the names under which they are mentioned.
        together: most candidates alive at a time; default: as memory and the loader allow.
    """

    names: Sequence[str] = ()
    low: Point = ()
    high: Point = ()
    whole: frozenset[int] = frozenset()
    linear = False
    experts: Mapping[str, Point] = {}
    members: Mapping[str, Key] = {}
    average: Key | None = None
    identity = ""

    def __init__(
        self, load: Loader | None, beside: Path | str | None, folders: Mapping[str, Path] | None, together: int | None
    ) -> None:
        if together is not None and together < 1:
            raise InputError("at least one candidate is alive at a time.")
        self._bench = Bench(None if beside is None else Path(beside), folders)
        self._load, self._together = load, together

    @property
    def together(self) -> int:
        """Most candidates alive at a time."""
        most = getattr(self._loader, "together", None)  # a loader's bound holds, whatever is asked for
        if self._together is None:
            return int(most or room(self._bench.size))
        return int(min(self._together, most or self._together))

    @property
    def _loader(self) -> Loader:
        if self._load is None:
            self._load = loader_for(self._references())
        return self._load

    def _references(self) -> Sequence[str]:
        raise NotImplementedError

    def data(self, key: Key) -> dict[str, Any]:
        """The recipe of a candidate, as data.

        Raises:
            InputError: if there is no such candidate.
        """
        raise NotImplementedError

    def recipe(self, key: Key) -> Recipe:
        """The merge that makes a candidate, for `agora.weight.merge`.

        Raises:
            InputError: if there is no such candidate.
        """
        return read_recipe(self.data(key))

    def build(self, key: Key) -> tuple[Any, Release]:
        """A candidate as the loader makes it, and what gives its memory back.

        Raises:
            InputError: if the merge cannot be made, or holds what is no number.
        """
        merged, buffers = self._merged(key)
        try:
            made = self._loader(merged)
        except BaseException:
            self._bench.release(buffers)
            raise
        return made, lambda: self._bench.release(buffers)

    @property
    def folders(self) -> dict[str, Path]:
        """Where the models are, as `agora.weight.merge` takes it, for recipes whose paths are not relative to here."""
        return self._bench.folders

    def _merged(self, key: Key) -> tuple[Merged, Buffers]:
        return self._bench.build(self.recipe(key), digest(self.identity, key), shown(key))

    def canonical(self, point: Sequence[float]) -> Point:
        """The point itself."""
        return tuple(float(value) + 0.0 for value in point)

    def sample(self, rng: np.random.Generator) -> Point:
        """A point of the box, evenly."""
        return self.canonical(rng.uniform(self.low, self.high).tolist())


class WeightedSum(Merges):
    """Weighted sums of models: of n models base + sum w_i (m_i - base), or, without a base, sum w_i m_i.

    Without a base the weights are divided by their sum, as weights that do not sum to 1 change the scale of a model;
    they are sampled evenly from those that are at least 0.

    Args:
        models: references, as in recipes: a folder, `pocket:NAME`, `path+adapter`.
        base: likewise.
        load: what makes a model of a candidate (`Merged`); default: as the parents are.
        low, high: usual range of a weight.
        beside, folders, together: see `Merges`.

    Raises:
        InputError: if a model is not there, or there are fewer than two.
    """

    linear = True

    def __init__(
        self,
        models: Sequence[str | Path],
        base: str | Path | None = None,
        *,
        load: Loader | None = None,
        low: float | Sequence[float] = 0.0,
        high: float | Sequence[float] = 1.0,
        beside: Path | str | None = None,
        folders: Mapping[str, Path] | None = None,
        together: int | None = None,
    ) -> None:
        super().__init__(load, beside, folders, together)
        self.names = tuple(map(str, models))
        self.base = None if base is None else str(base)
        listed = [*self.names, *([self.base] if self.base else [])]
        if len(set(listed)) < len(listed):
            raise InputError(f"{max(listed, key=listed.count)} stands twice.")
        if len(listed) < 2:
            raise InputError("a mixture needs two models at least.")
        n = len(self.names)
        self.low, self.high = box(low, high, n)
        self._simplex = self.base is None and low == 0 and high == 1
        self.experts = {name: tuple(float(i == k) for i in range(n)) for k, name in enumerate(self.names)}
        self.members = dict(self.experts) | ({self.base: (0.0,) * n} if self.base else {})
        self.average = self.canonical((1 / n,) * n)
        keys = [self._bench.parent(reference).key.hex() for reference in listed]
        self.identity = digest("mixture", listed, self.base, keys, self.low, self.high)

    def _references(self) -> Sequence[str]:
        return [*self.names, *([self.base] if self.base else [])]

    def canonical(self, point: Sequence[float]) -> Point:
        """Without a base the weights that sum to 1; a point whose weights sum to 0 is left as it is."""
        found = super().canonical(point)
        total = math.fsum(found)
        if self.base is not None or total == 1 or abs(total) < 1e-9:
            return found
        return tuple(value / total for value in found)

    def sample(self, rng: np.random.Generator) -> Point:
        """A point of the range, evenly."""
        if not self._simplex:
            return super().sample(rng)
        return self.canonical(rng.dirichlet(np.ones(len(self.names))).tolist())

    def data(self, key: Key) -> dict[str, Any]:
        """The recipe of a candidate, as data."""
        if isinstance(key, str):
            raise InputError(f"there is no candidate '{key[:80]}' here.")
        weights = dict(zip(self.names, key, strict=True))
        if self.base is not None:
            weights = {self.base: 1 - math.fsum(key), **weights}
        return {
            "merge_method": "linear",
            "models": [{"model": name, "parameters": {"weight": value}} for name, value in weights.items()],
            "parameters": {"normalize": False},
        }
