"""Task vectors, what models differ from their base: added, pruned by size or at random, and with signs elected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.methods.averages import normalised
from agora.weight.methods.pruning import (
    BySize,
    Masked,
    Prune,
    at_random,
    at_random_by_size,
    between,
    count_of,
    cuts_everywhere,
    cuts_of,
)  # fmt: skip
from agora.weight.methods.registry import Each, Plan, Rows, each, method
from agora.weight.tensors import Chunk, Tensors


@dataclass(frozen=True, slots=True)
class Combined:
    """A kernel of base + factor * (sum of weighted, pruned differences); see `combined`.

    Attributes:
        weight: of each model.
        prune: changes the differences before they are weighted.
        elect: sum those alone that have the elected sign.
        mean: of those elected, divided by the sum of their weights.
        factor: of the sum.
    """

    weight: tuple[float, ...]
    prune: Prune | None
    elect: bool
    mean: bool
    factor: float

    def __call__(self, chunk: Chunk) -> Floats:
        """The result over a chunk."""
        out = chunk.scratch("sum")
        out[:] = 0
        if self.elect:
            _elected(chunk, list(self._pruned(chunk)), self.weight, out, self.mean)
        else:
            for delta in self._pruned(chunk):
                np.add(out, delta, out=out)
        if self.factor != 1:
            np.multiply(out, self.factor, out=out)
        np.add(out, chunk.base(), out=out)
        return out

    def _pruned(self, chunk: Chunk) -> Iterator[Floats]:
        for i, share in enumerate(self.weight):
            delta = chunk.delta(i)
            if self.prune is not None:
                self.prune(chunk, i, delta)
            if share != 1:
                np.multiply(delta, share, out=delta)
            yield delta


def combined(
    x: Tensors, weight: Sequence[float], prune: Prune | None, *, elect: bool, normalize: bool, factor: float
) -> Combined:
    """A kernel of base + factor * (sum of weighted, pruned differences), perhaps with elected signs, perhaps divided by
    the sum of the weights: with elected signs, of those that agree."""
    if normalize and not elect:
        weight = normalised(x, weight)
    return Combined(tuple(weight), prune, elect, elect and normalize, factor)


def _elected(chunk: Chunk, deltas: Sequence[Floats], weight: Sequence[float], out: Floats, mean: bool) -> None:
    """The sum of those differences that have the sign of the sum of all, + where that is 0; or their mean."""
    sign, agrees = chunk.scratch("sign"), chunk.scratch("agrees", np.bool_)
    sign[:] = 0
    for delta in deltas:
        np.add(sign, delta, out=sign)
    np.add(sign, 0.0, out=sign)  # -0 becomes 0
    kind: Any = np.uint32 if sign.dtype == np.float32 else np.uint64
    minus = sign.view(kind)
    np.bitwise_and(minus, kind(1 << (8 * sign.itemsize - 1)), out=minus)  # what turns the elected sign into +
    table = _sums(weight, sign.dtype) if mean and len(weight) <= 8 else None
    code, total = chunk.scratch("code", np.uint8), chunk.scratch("total")
    code[:] = 0
    total[:] = 0
    for i, (delta, share) in enumerate(zip(deltas, weight, strict=True)):
        np.bitwise_xor(delta.view(kind), minus, out=delta.view(kind))
        if mean:
            np.greater(delta, 0, out=agrees)
            if table is not None:
                np.bitwise_or(code, np.left_shift(agrees.view(np.uint8), i, out=agrees.view(np.uint8)), out=code)
            else:
                np.add(total, np.multiply(agrees, share, out=chunk.scratch("term"), dtype=total.dtype), out=total)
        np.maximum(delta, 0, out=delta)
        np.add(out, delta, out=out)
    if mean:
        if table is not None:
            np.take(table, code, out=total, mode="clip")
        else:
            np.add(total, np.equal(total, 0, out=agrees), out=total)  # nobody: 0 / 1
        np.divide(out, total, out=out)
    np.bitwise_xor(out.view(kind), minus, out=out.view(kind))


def _sums(weight: Sequence[float], dtype: Any) -> Floats:
    """The sum of the weights of every set of models, the i-th in it where bit i is set; 1 where that is 0."""
    sets = np.arange(1 << len(weight))
    sums = np.zeros(len(sets), dtype)
    for i, share in enumerate(weight):
        sums += ((sets >> i) & 1).astype(dtype) * dtype.type(share)
    sums[sums == 0] = 1
    return sums


@method("task_arithmetic", paper="Ilharco et al., arXiv:2212.04089", needs="chunk", base="required")
def task_arithmetic(x: Tensors, *, weight: Each = each(1.0), normalize: bool = False, lambda_: float = 1.0) -> Plan:
    """The base plus lambda times the weighted sum of differences to it; a weight of -1 forgets a task.

    Args:
        x: the tensor.
        weight: of each model.
        normalize: divide by the sum of the weights.
        lambda_: factor of the whole.
    """
    return combined(x, weight, None, elect=False, normalize=normalize, factor=lambda_)


@method("ties", paper="Yadav et al., arXiv:2306.01708", needs="stats", base="required")
def ties(
    x: Tensors, *, density: Each, weight: Each = each(1.0), normalize: bool = True, lambda_: float = 1.0,
    trim: str = "tensor",
) -> Plan:  # fmt: skip
    """Trim, elect signs, merge: of each model the largest differences are kept; the sign of their weighted sum is
    elected, + where that is 0; those of that sign are averaged.

    Kept are exactly `density` times as many as there are, rounded down, at least one; of equal ones at the threshold
    the first in the tensor (mergekit: as its unstable sort has it; the authors': all). The average is divided
    by the sum of the weights that agree, as in mergekit; PEFT elects on unweighted differences and divides by their
    count.

    Args:
        x: the tensor.
        density: share of each model's differences that is kept.
        weight: of each model.
        normalize: the mean of those that agree, else their sum.
        lambda_: factor of the whole.
        trim: 'tensor', or 'global': over the whole model as in the authors' code; that takes one more pass.
    """
    if trim not in ("tensor", "global"):
        raise InputError(f"'trim' is tensor or global, not '{trim[:20]}'.")
    cuts = cuts_everywhere(x, density) if trim == "global" else cuts_of(x, [count_of(d, x.size) for d in density])
    return combined(x, weight, Masked(BySize(cuts)), elect=True, normalize=normalize, factor=lambda_)


@method("dare_linear", "dare", paper="Yu et al., arXiv:2311.03099", needs="chunk", base="required")
def dare_linear(
    x: Tensors, *, density: Each, weight: Each = each(1.0), rescale: str | bool = True, normalize: bool = False,
    lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """Drop differences at random and rescale the rest, then task arithmetic.

    Args:
        x: the tensor.
        density: probability with which a difference of each model is kept.
        weight: of each model.
        rescale: true is the paper's 1/density; 'l1' keeps each tensor's sum of magnitudes, which mergekit does and
            which varies widely on small tensors; false leaves them.
        normalize: divide by the sum of the weights.
        lambda_: factor of the whole.
    """
    prune = at_random(x, density, rescale)
    return combined(x, weight, prune, elect=False, normalize=normalize, factor=lambda_)


@method("dare_ties", paper="Yu et al., arXiv:2311.03099, on arXiv:2306.01708", needs="chunk", base="required")
def dare_ties(
    x: Tensors, *, density: Each, weight: Each = each(1.0), rescale: str | bool = True, normalize: bool = False,
    lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """Drop differences at random and rescale the rest, then elect signs as TIES does.

    The arguments are `dare_linear`'s. As in mergekit, those that agree are summed unless `normalize` is set, where
    the paper's code averages them.
    """
    prune = at_random(x, density, rescale)
    return combined(x, weight, prune, elect=True, normalize=normalize, factor=lambda_)


@method("della", paper="Deep et al., arXiv:2406.11617", needs="row", base="required")
def della(
    x: Tensors, *, density: Each, epsilon: Each = each(0.15), weight: Each = each(1.0), rescale: str | bool = True,
    normalize: bool = True, lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """Drop differences at random, small ones rather than large ones, rescale the rest, then elect signs as TIES does.

    In every row the probability of being kept rises evenly with the rank of the magnitude from density - epsilon to
    density + epsilon; of equal ones the later ranks higher.

    Args:
        x: the tensor.
        density: mean probability with which a difference of each model is kept.
        epsilon: half the width of the probabilities' range; 0 is DARE.
        weight: of each model.
        rescale: true is the paper's 1 / (an element's own probability); 'l1' is mergekit's, see `dare_linear`.
        normalize: the mean of those that agree, else their sum.
        lambda_: factor of the whole.

    Raises:
        InputError: if the probabilities leave 0 to 1.
    """
    prune = at_random_by_size(x, density, epsilon, rescale)
    return Rows(combined(x, weight, prune, elect=True, normalize=normalize, factor=lambda_))


@method("della_linear", paper="Deep et al., arXiv:2406.11617", needs="row", base="required")
def della_linear(
    x: Tensors, *, density: Each, epsilon: Each = each(0.15), weight: Each = each(1.0), rescale: str | bool = True,
    normalize: bool = False, lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """`della` without the election of signs; the arguments are the same."""
    prune = at_random_by_size(x, density, epsilon, rescale)
    return Rows(combined(x, weight, prune, elect=False, normalize=normalize, factor=lambda_))


@method("breadcrumbs", paper="Davari and Belilovsky, arXiv:2312.06795", needs="stats", base="required")
def breadcrumbs(
    x: Tensors, *, density: Each, gamma: Each = each(0.01), weight: Each = each(1.0), normalize: bool = False,
    lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """Task arithmetic without the largest differences, which are outliers, and without the small ones.

    Of n differences, n * gamma are dropped at the top, and at the bottom as many as leave n * density (both rounded
    down; where they do not fit, fewer at the top). Of equal ones the first in the tensor count as larger; mergekit
    counts the last as larger.

    Args:
        x: the tensor.
        density: share of each model's differences that is kept.
        gamma: share that is dropped at the top; 0 is trimming as in TIES.
        weight: of each model.
        normalize: divide by the sum of the weights.
        lambda_: factor of the whole.
    """
    prune = Masked(between(x, density, gamma))
    return combined(x, weight, prune, elect=False, normalize=normalize, factor=lambda_)


@method("breadcrumbs_ties", paper="arXiv:2312.06795, on arXiv:2306.01708", needs="stats", base="required")
def breadcrumbs_ties(
    x: Tensors, *, density: Each, gamma: Each = each(0.01), weight: Each = each(1.0), normalize: bool = False,
    lambda_: float = 1.0,
) -> Plan:  # fmt: skip
    """`breadcrumbs`, then signs elected as TIES does; the arguments are the same."""
    prune = Masked(between(x, density, gamma))
    return combined(x, weight, prune, elect=True, normalize=normalize, factor=lambda_)
