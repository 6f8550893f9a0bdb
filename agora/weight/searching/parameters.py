"""Any numbers of a recipe as a space: weights, densities, values by layer, and which layers stand where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agora.errors import ConfigError, InputError
from agora.weight import methods
from agora.weight.recipe import Module, Recipe, read_yaml
from agora.weight.searching.loaders import Loader
from agora.weight.searching.merges import Merges
from agora.weight.searching.space import Key, Point, digest

MOST = 1000  # free numbers


@dataclass(frozen=True)
class Free:
    """A place of a recipe that is searched.

    Attributes:
        path: keys and indices that lead to it.
        low, high: range of its number; of a choice, of the index.
        step: of whole multiples; None is any number.
        choices: what stands there, by index; None where the number itself does.
    """

    path: tuple[str | int, ...]
    low: float
    high: float
    step: float | None = None
    choices: tuple[Any, ...] | None = None

    @property
    def name(self) -> str:
        """The path as text."""
        return ".".join(map(str, self.path))

    def value(self, number: float) -> Any:
        """What stands there for a number of a point."""
        if self.choices is not None:
            return self.choices[round(number)]
        if self.step is None:
            return number
        value = self.low + self.step * round(number)
        return round(value) if float(value).is_integer() and float(self.step).is_integer() else value


class Parameters(Merges):
    """A recipe of either form with places left free: anything that a recipe can say can be searched.

    A place is free where there stands `{search: [low, high]}`, a number of this range; with `step: s` besides, one of
    low, low + s, ...; or `{choose: [a, b, ...]}`, one of these, whatever they are: models, methods, layers. A choice of
    null in a list leaves the item out, so that slices can be dropped. Gradients are lists of such numbers:

        {ties: {a: {weight: {search: [0, 1.5]}}, b: {weight: {search: [0, 1.5]}}}, base: c,
         density: [{search: [0.1, 1]}, {search: [0.1, 1]}]}

    The space is not linear: points are clipped to the range.

    Args:
        recipe: a file, or data.
        load, beside, folders, together: see `Merges`; relative paths are also looked for beside the file.

    Raises:
        ConfigError: if it is no recipe, whatever is chosen.
        InputError: if nothing is free in it, or a model is not there.
    """

    def __init__(
        self,
        recipe: Mapping[str, Any] | Path | str,
        *,
        load: Loader | None = None,
        beside: Path | str | None = None,
        folders: Mapping[str, Path] | None = None,
        together: int | None = None,
    ) -> None:
        if isinstance(recipe, (str, Path)):
            beside = Path(recipe).parent if beside is None else beside
            loaded = read_yaml(Path(recipe))
            if not isinstance(loaded, Mapping):
                raise ConfigError("a recipe is a mapping.", file=str(recipe))
            recipe = loaded
        super().__init__(load, beside, folders, together)
        self.template = recipe
        self.free = tuple(places(recipe, ()))
        if not self.free:
            raise InputError("nothing is left free in this recipe.",
                             hint="Write `{search: [low, high]}` or `{choose: [a, b]}` for a value.")  # fmt: skip
        if len(self.free) > MOST:
            raise InputError(f"{len(self.free):,} places are left free; at most {MOST:,} can be searched.")
        self.names = tuple(free.name for free in self.free)
        spans = [(free.low, free.high) if free.step is None else (0.0, _steps(free)) for free in self.free]
        self.low, self.high = tuple(low for low, _ in spans), tuple(high for _, high in spans)
        self.whole = frozenset(i for i, free in enumerate(self.free) if free.step is not None)
        self._singles, every = self._listed()
        self.members = {name: name for name in self._singles}
        self.average = "average" if len(self._singles) > 1 else None
        keys = [self._bench.parent(reference).key.hex() for reference in every]
        self._every = every
        self.identity = digest("parameters", recipe, every, keys)

    def _listed(self) -> tuple[list[str], list[str]]:
        """Models that stand in it as models, and all that it mentions, over all choices, one at a time."""
        first = self.canonical(self.low)
        points = [first]
        for i, free in enumerate(self.free):
            if free.choices is not None:
                points += [(*first[:i], float(k), *first[i + 1 :]) for k in range(1, len(free.choices))]
        singles: dict[str, None] = {}
        every: dict[str, None] = {}
        failure: InputError | None = None
        for point in points:
            try:
                read = self.recipe(point)
            except InputError as error:  # a choice may not go with the others' first ones
                failure = failure or error
                continue
            if methods.get(read.merge_method).needs == "adapter":
                raise InputError(f"{read.merge_method} makes an adapter, which is no model.", hint="Use `Adapters`.")
            every |= dict.fromkeys(read.references())
            singles |= dict.fromkeys(_models(read))
        if not every and failure is not None:
            raise failure
        return list(singles), list(every)

    def _references(self) -> Sequence[str]:
        return self._every

    def canonical(self, point: Sequence[float]) -> Point:
        """The point within the range, its whole numbers rounded."""
        found = []
        for i, value in enumerate(point):
            value = min(self.high[i], max(self.low[i], float(value)))
            found.append(float(math.floor(value + 0.5)) if i in self.whole else value + 0.0)
        return tuple(found)

    def sample(self, rng: Any) -> Point:
        """A point of the range, evenly."""
        drawn = [
            float(rng.integers(int(low), int(high) + 1)) if i in self.whole else float(rng.uniform(low, high))
            for i, (low, high) in enumerate(zip(self.low, self.high, strict=True))
        ]
        return self.canonical(drawn)

    def data(self, key: Key) -> dict[str, Any]:
        """The recipe of a candidate, as data."""
        if isinstance(key, str):
            if key == self.average:
                models = [{"model": name} for name in self._singles]
                return {"merge_method": "linear", "models": models}
            if key not in self._singles:
                raise InputError(f"there is no candidate '{key[:80]}' here.")
            return {"merge_method": "passthrough", "models": [{"model": key}]}
        values = {free.path: free.value(number) for free, number in zip(self.free, key, strict=True)}
        made = filled(self.template, (), values)
        assert isinstance(made, dict)
        return made

    def values(self, point: Point) -> dict[str, Any]:
        """What stands at each free place."""
        return {free.name: free.value(number) for free, number in zip(self.free, point, strict=True)}


def _models(recipe: Recipe) -> Iterator[str]:
    if recipe.base_model:
        yield recipe.base_model
    every: list[Recipe | Module] = [recipe, *(recipe.modules or {}).values()]
    for part in every:
        yield from (member.model for member in part.models or ())
        for one in part.slices or ():
            yield from (source.model for source in one.sources)


def _steps(free: Free) -> float:
    return float(math.floor((free.high - free.low) / (free.step or 1) + 1e-9))


def _is_free(value: Any) -> bool:
    return isinstance(value, Mapping) and (
        (set(value) <= {"search", "step"} and "search" in value) or set(value) == {"choose"}
    )


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Free]:
    """The free places of data, of a recipe or anything else.

    Args:
        value: the data.
        path: that leads to it.

    Raises:
        InputError: if what stands in one of them makes no sense.
    """
    if _is_free(value):
        yield _read(value, path)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from places(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from places(inner, (*path, i))


def _read(value: Mapping[str, Any], path: tuple[str | int, ...]) -> Free:
    where = ".".join(map(str, path))[:80]
    if "choose" in value:
        choices = value["choose"]
        if not isinstance(choices, (list, tuple)) or len(choices) < 2:
            raise InputError(f"{where}: 'choose' takes a list of two values at least.")
        return Free(path, 0.0, len(choices) - 1.0, 1.0, tuple(choices))
    span, step = value["search"], value.get("step")
    numbers = [*span, 1 if step is None else step] if isinstance(span, (list, tuple)) and len(span) == 2 else []
    try:
        low, high, size = (float(number) for number in numbers)
    except (TypeError, ValueError):
        raise InputError(f"{where}: 'search' takes the lowest and the highest number, `[0, 1]`, "
                         "and 'step' a number.") from None  # fmt: skip
    if not low < high or not math.isfinite(high - low):
        raise InputError(f"{where}: {low:g} is not below {high:g}.")
    if step is not None and not 0 < size <= high - low:
        raise InputError(f"{where}: a step is above 0, and no larger than the range.")
    return Free(path, low, high, None if step is None else size)


_DROPPED = object()


def filled(value: Any, path: tuple[str | int, ...], values: Mapping[tuple[str | int, ...], Any]) -> Any:
    """Data with its free places filled.

    Args:
        value: the data.
        path: that leads to it.
        values: path -> what stands there; None in a list leaves the item out.
    """
    if path in values:
        found = values[path]
        return _DROPPED if found is None and path and isinstance(path[-1], int) else found
    if isinstance(value, Mapping):
        return {key: filled(inner, (*path, str(key)), values) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        made = [filled(inner, (*path, i), values) for i, inner in enumerate(value)]
        return [inner for inner in made if inner is not _DROPPED]
    return value
