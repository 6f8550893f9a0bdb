"""LoRA: adapters composed into one, exactly or nearly so, and the change of a tuned model as an adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.methods.registry import Each, each, method


@dataclass(frozen=True)
class Factors:
    """The two factors of one module's change: scaling * b @ a.

    Attributes:
        a: (rank, inputs).
        b: (outputs, rank).
        scaling: alpha / rank, or alpha / sqrt(rank) of rank-stabilised LoRA.
        transposed: the weight is stored as (inputs, outputs).
    """

    a: Floats
    b: Floats
    scaling: float
    transposed: bool = False

    def rows(self, first: int, count: int) -> Floats:
        """Rows of the change of the weight."""
        if self.transposed:
            made: Floats = self.a[:, first : first + count].T @ self.b.T
        else:
            made = self.b[first : first + count] @ self.a
        return made * self.scaling

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight."""
        shape = (self.b.shape[0], self.a.shape[1])
        return shape[::-1] if self.transposed else shape

    @property
    def rank(self) -> int:
        """Number of rows of `a`."""
        return len(self.a)


@method("lora_concat", "lora_cat", paper="Hu et al., arXiv:2106.09685", needs="adapter", base="none")
def lora_concat(x: Sequence[Factors], *, weight: Each = each(1.0)) -> Factors:
    """The weighted sum of the adapters' changes, exactly: their factors side by side, so their ranks add up.

    Scalings, alpha / rank or alpha / sqrt(rank), are folded in.

    Args:
        x: factors of one module, of the adapters that change it.
        weight: of each.
    """
    a = np.concatenate([one.a for one in x])
    b = np.concatenate([one.b * (share * one.scaling) for one, share in zip(x, weight, strict=True)], axis=1)
    return Factors(a, b, 1.0, x[0].transposed)


@method("lora_svd", paper="Hu et al., arXiv:2106.09685; Eckart and Young, 1936", needs="adapter", base="none")
def lora_svd(x: Sequence[Factors], *, rank: int, weight: Each = each(1.0)) -> Factors:
    """Of the weighted sum of the adapters' changes the best approximation of a rank.

    It is found from QR decompositions of the factors side by side, in float64; the change itself is never formed.

    Args:
        x: factors of one module, of the adapters that change it.
        rank: of the result, at most.
        weight: of each adapter.
    """
    exact = lora_concat(x, weight=weight)
    left, upper = np.linalg.qr(exact.b.astype(np.float64))
    right, lower = np.linalg.qr(exact.a.astype(np.float64).T)
    u, s, v = np.linalg.svd(upper @ lower.T)
    kept = min(rank, exact.rank, len(s))
    root = np.sqrt(s[:kept])
    a, b = (root[:, None] * v[:kept]) @ right.T, left @ (u[:, :kept] * root)
    return Factors(a.astype(exact.a.dtype), b.astype(exact.b.dtype), 1.0, exact.transposed)


@method("lora_separate", paper="PEFT; LoraHub, arXiv:2307.13269", needs="adapter", base="none")
def lora_separate(x: Sequence[Factors], *, weight: Each = each(1.0), power: float = 0.5) -> Factors:
    """The two factors summed apart, as PEFT's 'linear' and LoraHub do it; kept for compatibility.

    It is not the sum of the changes: the product of the sums has cross terms between adapters. A negative
    weight is a negative factor of B alone.

    Args:
        x: factors of one module, of the adapters that change it; of equal rank.
        weight: of each.
        power: of the weight in either sum: 0.5 as in PEFT, 1 as in LoraHub.

    Raises:
        InputError: if the ranks differ.
    """
    if len({one.rank for one in x}) > 1:
        raise InputError("lora_separate needs adapters of equal rank.", hint="Use lora_concat or lora_svd.")
    a, b = np.zeros_like(x[0].a), np.zeros_like(x[0].b)
    for one, share in zip(x, weight, strict=True):
        factor = abs(share) ** power * math.sqrt(abs(one.scaling))
        a += factor * one.a
        b += math.copysign(factor, share * one.scaling) * one.b
    return Factors(a, b, 1.0, x[0].transposed)


@method("lora_extract", paper="Hu et al., arXiv:2106.09685; Eckart and Young, 1936", needs="adapter", base="required",
        most=1)  # fmt: skip
def lora_extract(x: Floats, *, rank: int) -> Factors:
    """What a tuned model differs from its base, as an adapter: of each matrix the best approximation of a rank.

    Found from the eigenvectors of the smaller of the two Gram matrices, in float64.

    Args:
        x: the difference, (outputs, inputs).
        rank: of the result, at most.
    """
    wide = x.astype(np.float64)
    tall = wide.shape[0] > wide.shape[1]
    gram = wide.T @ wide if tall else wide @ wide.T
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, : min(rank, *wide.shape)]
    a, b = (vectors.T, wide @ vectors) if tall else (vectors.T @ wide, vectors)
    return Factors(np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32), 1.0)
