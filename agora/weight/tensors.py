"""What a merge method sees of one tensor: its models and base, read in chunks; statistics over all of it; masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight import masks
from agora.weight.dtypes import Floats
from agora.weight.sources import BLOCK, Scratch, Source

if TYPE_CHECKING:
    from agora.weight.fused import Fused

Gram = NDArray[np.float64]


def no_nan(values: Floats, label: str, name: str) -> None:
    """See that all values are numbers; the largest of numbers with a NaN among them is NaN.

    Raises:
        InputError: if not.
    """
    if values.size and math.isnan(values.max()):
        raise InputError(f"{label}: tensor '{name[:80]}' holds NaN.", hint="Leave this model out.")


class Chunk:
    """A run of elements of a tensor and what the models hold there.

    Attributes:
        start: index of its first element.
        size: number of elements.
    """

    def __init__(self, of: Tensors, start: int, size: int) -> None:
        self.of, self.start, self.size = of, start, size
        self._base: Floats | None = None

    def model(self, i: int) -> Floats:
        """What model `i` holds; the array is the caller's, until this is called for `i` again."""
        return self._read(self.of.models[i], ("model", i))

    def base(self) -> Floats:
        """What the base holds; not to be changed."""
        if self._base is None:
            if self.of.base is None:
                raise ValueError("there is no base")
            self._base = self._read(self.of.base, "base")
        return self._base

    def delta(self, i: int) -> Floats:
        """What model `i` holds, less the base; the array is the caller's, as that of `model` is."""
        values = self.model(i)
        np.subtract(values, self.base(), out=values)
        return values

    def file(self, parameter: str, i: int) -> Floats:
        """What the further tensor of model `i` that a parameter named holds; the array is the caller's."""
        source = self.of.files[parameter][i]
        if source is None:
            raise ValueError(f"there is no {parameter} of model {i}")
        return self._read(source, (parameter, i))

    def drop(self, values: Floats, mask: NDArray[np.bool_]) -> None:
        """Set those to 0, in place, that a mask does not keep."""
        factor = self.scratch("factor")
        np.copyto(factor, mask)  # faster than to multiply with truth values
        np.multiply(values, factor, out=values)

    def scratch(self, key: Any, dtype: Any = None) -> NDArray[Any]:
        """A buffer as long as the chunk, of the working type unless another is asked for; its content is not."""
        return self.of.scratch.take(key, self.size, dtype or self.of.dtype)

    def _read(self, source: Source, key: Any) -> Floats:
        out = self.of.scratch.take(key, self.size, self.of.dtype)
        source.read(self.start, out, self.of.scratch)
        no_nan(out, source.label, self.of.name)
        return out


@dataclass
class Tensors:
    """One tensor of the output and all that it is made of.

    Attributes:
        name: in the output.
        shape: of it and of all it is made of.
        models: in the order of their parameters.
        base: where the method has one.
        seed: of the recipe.
        scratch: of this thread.
        files: further tensors, by the parameter that named them: one a model, or None.
        place: index of its first element in the row of all tensors of the output, by name.
        everything: all of them, for statistics over the whole model.
        once: computes what is asked for under a key once a merge, whichever thread comes first.
        fused: compiled kernels, where they are used.
    """

    name: str
    shape: tuple[int, ...]
    models: Sequence[Source]
    base: Source | None = None
    seed: int = 0
    scratch: Scratch = field(default_factory=Scratch)
    files: dict[str, Sequence[Source | None]] = field(default_factory=dict)
    place: int = 0
    everything: Callable[[Scratch], Sequence[Tensors]] | None = None
    once: Callable[[Any, Callable[[], Any]], Any] = lambda key, make: make()
    fused: Fused | None = None

    def __post_init__(self) -> None:
        every = [*self.models, *([self.base] if self.base else [])]
        self.dtype: Any = np.float64 if any(source.dtype == "F64" for source in every) else np.float32
        self.size = math.prod(self.shape)

    @property
    def columns(self) -> int:
        """Elements of a row; a vector is one row."""
        return self.size if len(self.shape) < 2 else math.prod(self.shape[1:])

    def blocks(self) -> Iterator[Chunk]:
        """The tensor in blocks of a fixed grid, whatever the chunks of the merge are; for statistics."""
        for start in range(0, self.size, BLOCK):
            yield Chunk(self, start, min(BLOCK, self.size - start))

    def gram(self, of: Callable[[Chunk, int], Floats]) -> Gram:
        """Dot products, in float64, of what `of` makes of a chunk and each model: (models, models)."""
        k = len(self.models)
        total = np.zeros((k, k))
        for block in self.blocks():
            wide = [self.scratch.take(("wide", i), block.size, np.float64) for i in range(k)]
            for i in range(k):
                wide[i][:] = of(block, i)
            for i in range(k):
                for j in range(i, k):
                    total[i, j] += np.einsum("i,i->", wide[i], wide[j])
        symmetric: Gram = np.triu(total) + np.triu(total, 1).T
        return symmetric

    def kept(self, i: int, chunk: Chunk, probability: float) -> NDArray[np.bool_]:
        """Whether each element of a chunk of model `i` is kept, drawn with this probability."""
        out: NDArray[np.bool_] = chunk.scratch(("kept", i), np.bool_)
        masks.kept(self.stream(i), chunk.start, probability, out, self.scratch)
        return out

    def uniform(self, i: int, chunk: Chunk) -> NDArray[np.float64]:
        """A draw from [0, 1) for each element of a chunk of model `i`."""
        drawn = chunk.scratch("draws", np.uint32)
        masks.draws(self.stream(i), chunk.start, drawn, self.scratch)
        return drawn * 2.0**-32

    def stream(self, i: int) -> int:
        """The key of the draws of model `i`; see `masks`."""
        return masks.key_of(self.seed, self.name, self.models[i].key)

    def whole(self, source: Source) -> Floats:
        """All of a tensor; of the working type. For methods that need matrices."""
        out = np.empty(self.size, self.dtype)
        source.read(0, out, self.scratch)
        no_nan(out, source.label, self.name)
        return out.reshape(self.shape)
