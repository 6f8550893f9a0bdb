"""Which differences of a task vector are kept: by size, at random, or at random by size; and how they are rescaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.select import Cut, counted, largest
from agora.weight.tensors import Chunk, Tensors

Prune = Callable[[Chunk, int, Floats], None]  # changes the differences of a model in place
Keep = Callable[[Chunk, int, Floats], NDArray[np.bool_] | None]


@dataclass(frozen=True, slots=True)
class Masked:
    """Drops what `keep` does not keep."""

    keep: Keep

    def __call__(self, chunk: Chunk, i: int, delta: Floats) -> None:
        """Change the differences of model `i` in place."""
        mask = self.keep(chunk, i, delta)
        if mask is not None:
            chunk.drop(delta, mask)


def cuts_of(x: Tensors, counts: Sequence[int]) -> list[Cut]:
    """Of each model the cut after its `counts[i]` largest differences."""

    def pieces() -> Iterator[tuple[int, list[Floats]]]:
        for block in x.blocks():
            yield block.start, _magnitudes(block, len(x.models))

    def sample(start: int, n: int) -> list[Floats]:
        return _magnitudes(Chunk(x, start, min(n, x.size - start)), len(x.models))

    return largest(x.size, counts, pieces, sample, x.fused.counted if x.fused else counted)


def cuts_everywhere(x: Tensors, density: Sequence[float]) -> list[Cut]:
    """The same over all tensors of the model, which stand in the order of their names."""

    def make() -> list[Cut]:
        every = x.everything(x.scratch) if x.everything else [x]
        size, k = sum(one.size for one in every), len(x.models)
        if any(len(one.models) != k for one in every):
            raise InputError("`trim: global` needs the same models in every tensor.", hint="Use `trim: tensor`.")
        starts = np.array([one.place for one in every])
        widest = np.result_type(*(one.dtype for one in every))  # bits are compared, so they must be of one type

        def pieces() -> Iterator[tuple[int, list[Floats]]]:
            for one in every:
                for block in one.blocks():
                    yield one.place + block.start, [m.astype(widest, copy=False) for m in _magnitudes(block, k)]

        def sample(start: int, n: int) -> list[Floats]:
            one = every[int(np.searchsorted(starts, start, "right")) - 1]
            first = start - one.place
            found = _magnitudes(Chunk(one, first, min(n, one.size - first)), k)
            return [m.astype(widest, copy=False) for m in found]

        counts = [count_of(d, size) for d in density]
        return largest(size, counts, pieces, sample, x.fused.counted if x.fused else counted)

    cuts: list[Cut] = x.once(("trim", tuple(density), tuple(source.key for source in x.models)), make)
    return [Cut(cut.threshold, cut.before - x.place) for cut in cuts]


def _magnitudes(chunk: Chunk, k: int) -> list[Floats]:
    if chunk.of.fused and (fused := chunk.of.fused.magnitudes(chunk)) is not None:
        return fused
    made = []
    for i in range(k):
        delta = chunk.delta(i)
        np.abs(delta, out=delta)
        made.append(delta)
    return made


def count_of(density: float, size: int) -> int:
    """How many of `size` elements are kept: rounded down, but one where any is."""
    return 0 if density <= 0 or not size else max(1, int(density * size))


@dataclass(frozen=True, slots=True)
class BySize:
    """Keeps the largest differences: of each model those above its cut."""

    cuts: Sequence[Cut]

    def __call__(self, chunk: Chunk, i: int, delta: Floats) -> NDArray[np.bool_] | None:
        """Which differences of model `i` are kept; None is all."""
        cut = self.cuts[i]
        if cut.threshold < 0:
            return None
        mask: NDArray[np.bool_] = chunk.scratch("mask", np.bool_)
        cut.kept(np.abs(delta, out=chunk.scratch("size")), chunk.start, mask)
        return mask


def _rule(rescale: str | bool) -> str:
    rule = ("p" if rescale else "none") if isinstance(rescale, bool) else rescale.lower()
    if rule not in ("p", "l1", "none"):
        raise InputError(f"'rescale' is true (p), l1 or false, not '{rule[:20]}'.")
    return rule


def _scale_l1(x: Tensors, keep: Keep) -> list[float]:
    """What each model's kept differences are multiplied with, so that the sum of magnitudes stays."""
    before, after = np.zeros(len(x.models)), np.zeros(len(x.models))
    for start, size in _spans(x):
        chunk = Chunk(x, start, size)
        for i in range(len(x.models)):
            delta = chunk.delta(i)
            mask = keep(chunk, i, delta)
            wide = np.abs(delta, out=x.scratch.take(("wide", 0), size, np.float64))
            before[i] += wide.sum()
            after[i] += wide.sum() if mask is None else np.multiply(wide, mask, out=wide).sum()
    return [float(b / a) if a > 0 else 1.0 for b, a in zip(before, after, strict=True)]


def _spans(x: Tensors) -> Iterator[tuple[int, int]]:
    """Whole rows, about 64k elements at a time, on a fixed grid."""
    step = max(1, (1 << 16) // max(1, x.columns)) * max(1, x.columns)
    for start in range(0, x.size, step):
        yield start, min(step, x.size - start)


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Keeps differences of each model with a probability, and multiplies them."""

    density: Sequence[float]
    scale: Sequence[float]

    def keep(self, chunk: Chunk, i: int, delta: Floats) -> NDArray[np.bool_] | None:
        """Which differences of model `i` are kept; None is all."""
        return None if self.density[i] >= 1 else chunk.of.kept(i, chunk, self.density[i])

    def __call__(self, chunk: Chunk, i: int, delta: Floats) -> None:
        """Change the differences of model `i` in place."""
        mask = self.keep(chunk, i, delta)
        if mask is not None:
            chunk.drop(delta, mask)
            np.multiply(delta, self.scale[i], out=delta)


def at_random(x: Tensors, density: Sequence[float], rescale: str | bool) -> AtRandom:
    rule = _rule(rescale)
    scale = [1.0] * len(density)
    if rule == "p":
        scale = [1 / d if d > 0 else 0.0 for d in density]
    elif rule == "l1":
        scale = _scale_l1(x, AtRandom(density, scale).keep)
    return AtRandom(density, scale)


def at_random_by_size(x: Tensors, density: Sequence[float], epsilon: Sequence[float], rescale: str | bool) -> Prune:
    for p, e in zip(density, epsilon, strict=True):
        if 0 < p < 1 and (p + e >= 1 or p - e <= 0):
            raise InputError(f"density {p:g} with epsilon {e:g} leaves probabilities outside 0 to 1.",
                             hint="Use a smaller epsilon.")  # fmt: skip
    chances: dict[int, Floats] = {}

    def keep(chunk: Chunk, i: int, delta: Floats) -> NDArray[np.bool_] | None:
        if density[i] >= 1:
            return None
        if density[i] <= 0 or epsilon[i] == 0:
            return x.kept(i, chunk, density[i])
        sizes = np.abs(delta).reshape(-1, x.columns)
        ranks = np.empty(sizes.shape, np.int64)
        np.put_along_axis(ranks, np.argsort(sizes, axis=1, kind="stable"), np.arange(x.columns)[None, :], axis=1)
        spread = np.full(x.columns, 0.5) if x.columns == 1 else np.arange(x.columns) / (x.columns - 1)
        chances[i] = ((density[i] - epsilon[i]) + 2 * epsilon[i] * spread)[ranks].reshape(-1)
        mask: NDArray[np.bool_] = x.uniform(i, chunk) < chances[i]
        return mask

    rule = _rule(rescale)
    scale = _scale_l1(x, keep) if rule == "l1" else [1.0] * len(density)

    def prune(chunk: Chunk, i: int, delta: Floats) -> None:
        mask = keep(chunk, i, delta)
        if mask is None:
            return
        chunk.drop(delta, mask)
        if rule == "p" and density[i] > 0:
            factor = 1 / density[i] if epsilon[i] == 0 else (1 / chances[i]).astype(x.dtype)
            np.multiply(delta, factor, out=delta)
        elif rule == "l1":
            np.multiply(delta, scale[i], out=delta)

    return prune


@dataclass(frozen=True, slots=True)
class Between:
    """Keeps those above the outer cut that are not above the inner; all of a model whose density is 1."""

    outer: BySize
    inner: BySize
    density: Sequence[float]

    def __call__(self, chunk: Chunk, i: int, delta: Floats) -> NDArray[np.bool_] | None:
        """Which differences of model `i` are kept; None is all."""
        if self.density[i] >= 1:
            return None
        found = self.outer(chunk, i, delta)
        mask: NDArray[np.bool_] = np.ones(chunk.size, np.bool_) if found is None else found.copy()
        if self.inner.cuts[i].threshold < math.inf:
            top = self.inner(chunk, i, delta)
            mask &= ~top if top is not None else False
        return mask


def between(x: Tensors, density: Sequence[float], gamma: Sequence[float]) -> Between:
    tops, targets = [], []
    for p, g in zip(density, gamma, strict=True):
        target = x.size if p >= 1 else int(p * x.size)
        bottom = max(0, x.size - target - int(g * x.size))
        tops.append(x.size - target - bottom)
        targets.append(x.size - bottom)
    return Between(BySize(cuts_of(x, targets)), BySize(cuts_of(x, tops)), density)
