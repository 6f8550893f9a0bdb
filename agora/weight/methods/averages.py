"""Weighted sums of models: soups, passing one through, extrapolation, and Fisher-weighted averages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.methods.registry import Copy, Each, EachFile, Plan, each, method
from agora.weight.tensors import Chunk, Tensors


def normalised(x: Tensors, weights: Sequence[float]) -> list[float]:
    """Weights that sum to 1.

    Raises:
        InputError: if they sum to 0.
    """
    total = math.fsum(weights)
    if abs(total) < 1e-12 * max(1.0, *map(abs, weights)):
        raise InputError(f"tensor '{x.name[:80]}': the weights sum to 0, so they cannot be normalised.",
                         hint="Use `normalize: false`, or other weights.")  # fmt: skip
    return [weight / total for weight in weights]


@dataclass(frozen=True, slots=True)
class Weighted:
    """A kernel of a weighted sum; see `weighted`.

    Attributes:
        terms: which model, or the base where it is as many as there are models, and its coefficient: the largest first.
        affine: the first as it is, plus differences to it.
    """

    terms: tuple[tuple[int, float], ...]
    affine: bool

    def __call__(self, chunk: Chunk) -> Floats:
        """The sum over a chunk."""
        main, factor = self.terms[0]
        out, first = chunk.scratch("sum"), self._read(chunk, main)
        if not self.affine:
            np.multiply(first, factor, out=out)
        so_far = first if self.affine else out
        for i, coefficient in self.terms[1:]:
            values = self._read(chunk, i)
            term = chunk.scratch("term")
            if self.affine:
                np.subtract(values, first, out=term)
                np.multiply(term, coefficient, out=term)
            else:
                np.multiply(values, coefficient, out=term)
            np.add(so_far, term, out=out)
            so_far = out
        return so_far

    def _read(self, chunk: Chunk, i: int) -> Floats:
        return chunk.base() if i == len(chunk.of.models) else chunk.model(i)


def weighted(coefficients: Sequence[float], base: float = 0.0) -> Weighted:
    """A kernel of the sum of `coefficients[i]` times model i, plus `base` times the base.

    Where they sum to 1 it is taken as the model of the largest coefficient and differences to it: equal models give
    exactly that model, and a coefficient of 1 exactly its own.
    """
    every = [float(value) for value in (*coefficients, base)]
    main = max(range(len(every)), key=lambda i: abs(every[i]))
    others = [(i, value) for i, value in enumerate(every) if i != main and value != 0]
    return Weighted(((main, every[main]), *others), abs(math.fsum(every) - 1) < 1e-12)


@method("linear", "soup", paper="Wortsman et al., arXiv:2203.05482", needs="chunk", base="none")
def linear(x: Tensors, *, weight: Each = each(1.0), normalize: bool = True) -> Plan:
    """The weighted average of models; with equal weights the uniform soup.

    Args:
        x: the tensor.
        weight: of each model.
        normalize: divide by the sum of the weights.

    Raises:
        InputError: if the weights sum to 0 and are to be normalised.
    """
    return weighted(normalised(x, weight) if normalize else weight)


@method("passthrough", paper="layer stacking", needs="chunk", base="none", most=1)
def passthrough(x: Tensors, *, scale: Each = each(1.0)) -> Plan:
    """One model as it is, byte for byte unless it is scaled; with slices it stacks layers of several.

    Args:
        x: the tensor.
        scale: factor of every element.
    """
    return Copy() if scale[0] == 1 else weighted(scale)


@method("expo", paper="Zheng et al., arXiv:2404.16792", needs="chunk", base="required", most=1)
def expo(x: Tensors, *, alpha: float) -> Plan:
    """Extrapolation beyond a tuned model: tuned + alpha (tuned - base).

    Args:
        x: the tensor.
        alpha: 0 is the tuned model, -1 the base.
    """
    return weighted([1 + alpha], -alpha)


@method("fisher", paper="Matena and Raffel, arXiv:2111.09832", needs="data", base="none", least=2)
def fisher(x: Tensors, *, fisher: EachFile, weight: Each = each(1.0)) -> Plan:
    """The average weighted, element by element, with each model's diagonal Fisher information.

    Where the weights of an element sum to 0, or a model's file lacks the tensor, it is the plain weighted average.

    Args:
        x: the tensor.
        fisher: a checkpoint for each model that holds the diagonal of its Fisher information, at least 0, under the
            names of its tensors.
        weight: further weight of each model.
    """
    shares = normalised(x, weight)
    if any(source is None for source in x.files["fisher"]):
        return weighted(shares)
    for source in x.files["fisher"]:
        if source is not None and source.shape != x.shape:
            raise InputError(f"{source.label}: the Fisher information of '{x.name[:80]}' is {list(source.shape)}, the "
                             f"tensor {list(x.shape)}.")  # fmt: skip
    plain = weighted(shares)

    def kernel(chunk: Chunk) -> Floats:
        average = np.array(plain(chunk))
        first = np.array(chunk.model(0))
        total, out = chunk.scratch("total"), chunk.scratch("sum")
        total[:] = 0
        out[:] = 0
        for i, share in enumerate(shares):
            own = chunk.file("fisher", i)
            if own.size and own.min() < 0:
                raise InputError(f"the Fisher information of tensor '{x.name[:80]}' is below 0 in places.")
            np.multiply(own, share, out=own)
            np.add(total, own, out=total)
            np.multiply(own, chunk.model(i) - first, out=own)
            np.add(out, own, out=out)
        seen = total != 0
        np.divide(out, total, out=out, where=seen)
        np.add(out, first, out=out)
        np.copyto(out, average, where=~seen)
        return out

    return kernel
