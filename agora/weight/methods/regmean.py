"""RegMean: the linear layer that comes nearest to what each model's layer gives on its own inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.methods.averages import normalised, weighted
from agora.weight.methods.registry import Each, EachFile, Plan, Whole, each, method
from agora.weight.tensors import Tensors

Matrix = NDArray[np.float64]


def solve(weights: list[Matrix], grams: list[Matrix]) -> Matrix:
    """(sum G_i)^-1 sum G_i W_i; in directions in which no input lies, the mean of the W_i.

    Args:
        weights: W_i, (inputs, outputs).
        grams: G_i = X_i^T X_i of the inputs X_i, (inputs, inputs).
    """
    mean: Matrix = np.mean(weights, axis=0)
    total = np.sum(grams, axis=0)
    pulls = np.sum([g @ (w - mean) for g, w in zip(grams, weights, strict=True)], axis=0)
    values, vectors = np.linalg.eigh(total)
    seen = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=seen)
    found: Matrix = mean + vectors @ (inverse[:, None] * (vectors.T @ pulls))
    return found


@method("regmean", paper="Jin et al., arXiv:2212.09849", needs="matrix", base="none", least=2)
def regmean(x: Tensors, *, gram: EachFile, weight: Each = each(1.0), alpha: float = 0.9) -> Plan:
    """Of each linear layer the least-squares fit to all models' outputs on their own inputs; of all else the average.

    In directions in which no model has seen an input it is the plain mean, where the authors' code would fail. It holds
    one tensor of every model in memory, and solves in float64.

    Args:
        x: the tensor.
        gram: a checkpoint for each model, which holds X^T X of a layer's inputs under the name of its weight.
        weight: of each model, in averages and as a factor of its Gram matrix.
        alpha: factor of what is off the diagonal of the Gram matrices; 0 averages input by input.

    Raises:
        InputError: if a Gram matrix does not fit its layer.
    """
    shares = normalised(x, weight)
    sources = [source for source in x.files["gram"] if source is not None]
    if len(x.shape) != 2 or len(sources) < len(x.models):
        return weighted(shares)
    grams = []
    for source, share in zip(sources, shares, strict=True):
        if source.shape != (x.shape[1], x.shape[1]):
            raise InputError(f"{source.label}: the Gram matrix of '{x.name[:80]}' does not fit its layer.")
        flat = np.empty(x.shape[1] ** 2, x.dtype)
        source.read(0, flat, x.scratch)
        if not np.isfinite(flat).all():
            raise InputError(f"{source.label}: the Gram matrix of '{x.name[:80]}' holds what is no number.")
        full = share * flat.astype(np.float64).reshape(source.shape)
        grams.append(alpha * full + (1 - alpha) * np.diag(np.diag(full)))
    weights = [x.whole(source).astype(np.float64).T for source in x.models]
    return Whole(np.ascontiguousarray(solve(weights, grams).T).astype(x.dtype))
