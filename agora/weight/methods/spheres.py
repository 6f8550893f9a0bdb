"""Averages along great circles: all of them are weighted sums whose coefficients follow from dot products alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.methods.averages import normalised, weighted
from agora.weight.methods.registry import Each, Kernel, Plan, Rows, each, method
from agora.weight.tensors import Chunk, Gram, Tensors

PARALLEL = 0.9995  # beyond this |cosine| SLERP is linear, as is usual


def model_of(chunk: Chunk, i: int) -> Floats:
    """What a model holds."""
    return chunk.model(i)


def delta_of(chunk: Chunk, i: int) -> Floats:
    """What it holds less the base."""
    return chunk.delta(i)


def row_dots(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Dot products row by row, in float64; of each row the same whatever rows are beside it."""
    products = np.multiply(a, b, dtype=np.float64)
    return np.array([row.sum() for row in products])


def on_base(coefficients: Sequence[float]) -> Kernel:
    """A kernel of the base plus the weighted sum of differences to it."""
    return weighted(coefficients, 1 - math.fsum(coefficients))


def arc(t: float, aa: float, bb: float, ab: float, parallel: float) -> tuple[float, float]:
    """Coefficients of two vectors a share `t` of the way along the arc between them, from their dot products."""
    cosine = max(-1.0, min(1.0, ab / math.sqrt(aa * bb))) if aa > 0 and bb > 0 else 0.0
    if not (aa > 0 and bb > 0) or abs(cosine) > parallel:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


@method("slerp", paper="Shoemake, SIGGRAPH 1985", needs="stats", base="none", least=2, most=2, symmetric=False)
def slerp(x: Tensors, *, t: float) -> Plan:
    """Spherical interpolation between two models, tensor by tensor.

    As usual in merging, the coefficients come from the angle between the tensors but multiply the tensors as they are,
    not their directions. Where the cosine is beyond 0.9995 either way, or a tensor is 0, it is linear interpolation:
    so it is for antiparallel tensors, between which there is no one arc.

    Args:
        x: the tensor; the base, where there is one, is the first of the two.
        t: 0 is the first model, 1 the second.
    """
    if t in (0, 1):
        return weighted((1 - t, t))
    g = x.gram(model_of)
    return weighted(arc(t, g[0, 0], g[1, 1], g[0, 1], PARALLEL))


@method("nuslerp", paper="mergekit; Shoemake 1985", needs="stats", base="optional", least=2, most=2, symmetric=False)
def nuslerp(
    x: Tensors, *, weight: Each = each(1.0), nuslerp_flatten: bool = True, nuslerp_row_wise: bool = False
) -> Plan:
    """SLERP with a weight for each of two models; with a base, between what they differ from it.

    Linear only where the two are parallel to 8 digits or 0. The arc is that of the whole tensor, of each row, or of
    each column.

    Args:
        x: the tensor.
        weight: of each model; the second's share is how far along the arc it is.
        nuslerp_flatten: one arc for the tensor.
        nuslerp_row_wise: if not flattened: an arc along the first dimension, so one for each column of a matrix; else
            one for each row. The names are mergekit's.

    Raises:
        InputError: if the weights sum to 0.
    """
    t = normalised(x, weight)[1]
    of, linear = (delta_of if x.base else model_of), math.sqrt(1 - 1e-16)
    if nuslerp_flatten or (len(x.shape) < 2 and not nuslerp_row_wise):
        g = x.gram(of)
        pair = arc(t, g[0, 0], g[1, 1], g[0, 1], linear)
        return on_base(pair) if x.base else weighted(pair)
    if nuslerp_row_wise:
        if len(x.shape) < 2:  # a vector's first dimension is its only one
            return nuslerp(x, weight=weight)
        return _columns(x, t, linear)

    def kernel(chunk: Chunk) -> Floats:
        rows = (-1, x.shape[-1])
        a, b = of(chunk, 0).reshape(rows), of(chunk, 1).reshape(rows)
        arcs = _arcs(t, row_dots(a, a), row_dots(b, b), row_dots(a, b), linear)
        return _mixed(x, chunk, a, b, arcs[:, :, None])

    return Rows(kernel)


def _columns(x: Tensors, t: float, linear: float) -> Plan:
    of = delta_of if x.base else model_of
    aa, bb, ab = np.zeros(x.columns), np.zeros(x.columns), np.zeros(x.columns)
    for block in x.blocks():
        a, b = of(block, 0), of(block, 1)
        place = (block.start + np.arange(block.size)) % x.columns
        for total, p, q in ((aa, a, a), (bb, b, b), (ab, a, b)):
            total += np.bincount(place, np.multiply(p, q, dtype=np.float64), x.columns)
    arcs = _arcs(t, aa, bb, ab, linear)

    def kernel(chunk: Chunk) -> Floats:
        rows = (-1, x.columns)
        return _mixed(x, chunk, of(chunk, 0).reshape(rows), of(chunk, 1).reshape(rows), arcs[:, None, :])

    return Rows(kernel)


def _arcs(t: float, aa: NDArray[np.float64], bb: NDArray[np.float64], ab: NDArray[np.float64], linear: float) -> Gram:
    made: Gram = np.array([arc(t, *found, linear) for found in zip(aa, bb, ab, strict=True)]).T
    return made


def _mixed(x: Tensors, chunk: Chunk, a: Floats, b: Floats, pair: NDArray[np.float64]) -> Floats:
    out = a * pair[0].astype(x.dtype) + b * pair[1].astype(x.dtype)
    flat: Floats = out.reshape(-1)
    return flat + chunk.base() if x.base else flat


@method("multislerp", paper="Goddard, 2025: barycentric interpolation", needs="stats", base="optional")
def multislerp(x: Tensors, *, weight: Each = each(1.0), normalize_weights: bool = True) -> Plan:
    """Several models averaged on a sphere: in the plane that touches it at their mean direction, and back.

    The result has the average of their norms. With a base, what they differ from it is averaged.

    Args:
        x: the tensor.
        weight: of each model.
        normalize_weights: divide by the sum of the weights.

    Raises:
        InputError: if the weights sum to 0, or the directions cancel out.
    """
    weights = np.array(normalised(x, weight) if normalize_weights else weight, float)
    if len(weights) == 1:
        return weighted([1.0])
    norms, cosines = _directions(x.gram(delta_of if x.base else model_of))
    if not norms.any():
        return on_base([0.0] * len(weights)) if x.base else weighted(normalised(x, weight))
    mean = _unit(x, weights * (norms > 0), cosines)
    tangent = weights - (weights @ (cosines @ mean)) * mean
    tangent[norms == 0] = 0
    angle = math.sqrt(max(0.0, float(tangent @ cosines @ tangent)))
    direction = mean * math.cos(angle) + tangent * (math.sin(angle) / angle if angle > 1e-12 else 1.0)
    return _scaled(x, direction, norms, float(weights @ norms))


@method("karcher", paper="arXiv:2603.04972; Karcher, 1977", needs="stats", base="none")
def karcher(x: Tensors, *, weight: Each = each(1.0), max_iter: int = 100, tol: float = 1e-10) -> Plan:
    """The point of a sphere from which the squared arcs to the models' directions are least in sum, with the average of
    their norms; tensors that are 0 have no direction and count with their norm only.

    The mean lies in the span of the models, so it is found among their coefficients; it costs no further pass.

    Args:
        x: the tensor.
        weight: of each model.
        max_iter: most steps.
        tol: length of the step from which on it is found.

    Raises:
        InputError: if the weights sum to 0, or the directions cancel out.
    """
    weights = np.array(normalised(x, weight))
    norms, cosines = _directions(x.gram(model_of))
    if not norms.any():
        return weighted(list(weights))
    shares = np.where(norms > 0, weights, 0)
    shares /= shares.sum()
    mean = _unit(x, shares, cosines)
    for _ in range(max_iter):
        dots = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(dots)
        factors = shares * np.where(angles > 1e-8, angles / np.maximum(np.sin(angles), 1e-300), 1.0)
        step = factors - (factors @ dots) * mean
        length = math.sqrt(max(0.0, float(step @ cosines @ step)))
        if length < tol:
            break
        mean = _unit(x, math.cos(length) * mean + math.sin(length) / length * step, cosines)
    return _scaled(x, mean, norms, float(weights @ norms))


def _directions(gram: Gram) -> tuple[NDArray[np.float64], Gram]:
    """Norms, and cosines of all pairs; those of vectors that are 0 are 0."""
    norms = np.sqrt(np.diag(gram))
    scale = np.where(norms > 0, norms, 1)
    cosines: Gram = gram / np.outer(scale, scale)
    return norms, cosines


def _unit(x: Tensors, coefficients: NDArray[np.float64], cosines: Gram) -> NDArray[np.float64]:
    length = math.sqrt(max(0.0, float(coefficients @ cosines @ coefficients)))
    if length < 1e-8:
        raise InputError(f"tensor '{x.name[:80]}': the models' directions cancel out, so they have no mean.",
                         hint="Use other weights, or `linear`.")  # fmt: skip
    return coefficients / length


def _scaled(x: Tensors, direction: NDArray[np.float64], norms: NDArray[np.float64], length: float) -> Plan:
    factors = [float(d / n * length) if n > 0 else 0.0 for d, n in zip(direction, norms, strict=True)]
    if x.base:
        return on_base(factors)
    total = math.fsum(factors)
    return weighted([factor / total for factor in factors] if abs(total - 1) < 1e-9 else factors)
