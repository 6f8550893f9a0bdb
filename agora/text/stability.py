"""Adaptive stability: when a batch of debates has settled, from how many agents stand with the majority of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError

_Array = NDArray[np.float64]
_LEAST, _MOST = 1e-3, 1e4  # a beta's parameters: beyond, its shape no longer changes
_STEPS = 200  # of EM, at most
_ENOUGH = 1e-7  # gain of log-likelihood per item at which EM ends


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of two Beta-Binomial distributions over counts 0 to `n`: w BB(n, a1, b1) + (1 - w) BB(n, a2, b2).

    Attributes:
        n: the greatest count.
        weight: w, of the first, which has the lower mean.
        first: (a1, b1).
        second: (a2, b2).
        likelihoods: the log-likelihood at the start and after each step of the fit.
    """

    n: int
    weight: float
    first: tuple[float, float]
    second: tuple[float, float]
    likelihoods: tuple[float, ...] = field(default=(), compare=False, repr=False)

    def pmf(self) -> _Array:
        """The probability of each count."""
        mixed: _Array = np.exp(_mixed(self.n, self.weight, np.array([self.first, self.second]))[0])
        return mixed

    def cdf(self) -> _Array:
        """The probability of at most each count; the last is 1."""
        sums = np.cumsum(self.pmf())
        cdf: _Array = sums / sums[-1]
        return cdf


def fit(counts: Sequence[int], n: int) -> Mixture:
    """Fit a mixture of two Beta-Binomials by expectation maximisation. Deterministic; each step raises the likelihood.

    Args:
        counts: one per item, each 0 to `n`.
        n: the greatest count there can be.

    Raises:
        InputError: if there are no counts, or one is out of range.
    """
    seen = _histogram(counts, n)
    found = [_em(seen, weight, shapes) for weight, shapes in _starts(seen)]
    best = max(found, key=lambda mixture: mixture.likelihoods[-1])
    if _mean(best.first) <= _mean(best.second):
        return best
    return Mixture(n, 1 - best.weight, best.second, best.first, best.likelihoods)


class AdaptiveStability:
    """The adaptive stability rule of Hu et al. 2025 (arXiv 2510.12697): stop debating a batch of items when the
    distribution of its agreement stands still.

    It is a rule over a batch, not over one debate, so a `Moderator` cannot use it: use it by hand. After each round,
    give it one count for each item: how many of the `n` agents stand with the majority of that item (or are right,
    where that is known). It fits a mixture of two Beta-Binomials to them; the distance to the round before is the
    Kolmogorov-Smirnov distance of the two fitted distributions, max |F_t - F_(t-1)|. Over debates that have been held,
    it says how many rounds would have been enough:

        rule = AdaptiveStability(n=5)
        for t in range(6):
            rule.update([max(Counter(v.rounds[t].answers.values()).values()) for v in verdicts])
            if rule.stopped:
                break

    Args:
        n: the number of agents.
        eps: a distance less than this is none.
        patience: how many rounds in a row must have none; two guard against a bounce.

    Attributes:
        distances: the distances so far.
        fitted: the last round's mixture.
        stopped: whether the batch has settled; it stays so.
    """

    def __init__(self, n: int, eps: float = 0.05, patience: int = 2) -> None:
        if n < 1 or patience < 1 or not eps > 0:
            raise InputError(f"adaptive stability: needs n, patience >= 1 and eps > 0, not {n}, {patience}, {eps}.")
        self.n, self.eps, self.patience = n, eps, patience
        self.distances: list[float] = []
        self.fitted: Mixture | None = None
        self.stopped = False

    def update(self, counts: Sequence[int]) -> float | None:
        """Take in one round, and give its distance to the round before, or None for the first.

        Args:
            counts: one per item of the batch, each 0 to `n`.

        Raises:
            InputError: if there are no counts, or one is out of range.
        """
        before, self.fitted = self.fitted, fit(counts, self.n)
        if before is None:
            return None
        distance = float(np.abs(self.fitted.cdf() - before.cdf()).max())
        self.distances.append(distance)
        recent = self.distances[-self.patience :]
        self.stopped = self.stopped or (len(recent) == self.patience and max(recent) < self.eps)
        return distance


def _histogram(counts: Sequence[int], n: int) -> _Array:
    """How often each count was seen."""
    if n < 1:
        raise InputError(f"adaptive stability: n must be at least 1, it is {n}.")
    given = np.asarray(counts)
    if given.ndim != 1 or not given.size:
        raise InputError("adaptive stability: needs one count for each item, and at least one item.")
    if not np.issubdtype(given.dtype, np.integer) or given.min() < 0 or given.max() > n:
        raise InputError(f"adaptive stability: each count must be a whole number from 0 to {n}.")
    return np.bincount(given, minlength=n + 1).astype(np.float64)


def _mean(shape: tuple[float, float]) -> float:
    return shape[0] / (shape[0] + shape[1])


def _starts(seen: _Array) -> list[tuple[float, _Array]]:
    """Where EM begins: the items split in a lower and an upper part, each with the shape that has its moments."""
    n, total = len(seen) - 1, seen.sum()
    below = np.cumsum(seen)
    starts = []
    for share in (0.2, 0.5, 0.8):
        cut = share * total
        low = np.minimum(seen, np.maximum(cut - (below - seen), 0.0))
        starts.append((share, np.array([_moments(low, n), _moments(seen - low, n)])))
    return starts


def _moments(seen: _Array, n: int) -> tuple[float, float]:
    """The shape with the mean and variance of these counts, kept from the extremes, which EM would not leave."""
    total = seen.sum()
    x = np.arange(n + 1)
    mean = (seen @ x + 0.5) / (n * total + 1)
    variance = seen @ (x - n * mean) ** 2 / total
    binomial = n * mean * (1 - mean)
    # the variance is binomial * (1 + (n - 1) / (a + b + 1))
    over = max(variance / binomial - 1, 1e-9)
    size = float(np.clip((n - 1) / over - 1, 1.0, 50.0)) if n > 1 else 2.0
    return float(mean * size), float((1 - mean) * size)


def _em(seen: _Array, weight: float, shapes: _Array) -> Mixture:
    n, total = len(seen) - 1, float(seen.sum())
    mixed, logs = _mixed(n, weight, shapes)
    likelihoods = [float(seen @ mixed)]
    for _ in range(_STEPS):
        shares = np.exp(logs - mixed) * seen
        weight = float(shares[0].sum()) / total
        shapes = np.array([_ascend(row, shape) for row, shape in zip(shares, shapes, strict=True)])
        mixed, logs = _mixed(n, weight, shapes)
        likelihoods.append(float(seen @ mixed))
        if likelihoods[-1] - likelihoods[-2] < _ENOUGH * total:
            break
    (a1, b1), (a2, b2) = shapes.tolist()
    return Mixture(n, weight, (a1, b1), (a2, b2), tuple(likelihoods))


def _mixed(n: int, weight: float, shapes: _Array) -> tuple[_Array, _Array]:
    """The log-probability of each count, and of each count together with each part."""
    # a part that has lost all its weight keeps a shape, and no share
    weights = [math.log(max(w, 1e-300)) for w in (weight, 1 - weight)]
    logs = np.array([w + _log_pmf(n, a, b) for w, (a, b) in zip(weights, shapes.tolist(), strict=True)])
    mixed: _Array = np.logaddexp(logs[0], logs[1])
    return mixed, logs


def _log_pmf(n: int, a: float, b: float) -> _Array:
    """Of one Beta-Binomial. In rising factorials, which lose no digits where gamma functions of large numbers do."""
    i = np.arange(n)
    up, down, whole = (np.concatenate(([0.0], np.cumsum(np.log(start + i)))) for start in (a, b, a + b))
    factorial = np.concatenate(([0.0], np.cumsum(np.log(i + 1.0))))
    pmf: _Array = factorial[n] - factorial - factorial[::-1] + up + down[::-1] - whole[n]
    return pmf


def _ascend(seen: _Array, shape: _Array) -> _Array:
    """A shape with a higher likelihood of weighted counts, or the same: a Newton step in (log a, log b), shortened
    until it climbs, or else one along the gradient."""
    total = float(seen.sum())
    if total < _ENOUGH:
        return shape
    i = np.arange(len(seen) - 1)
    # the likelihood is a sum over i of how many counts are greater, and how many of the others are
    above = seen[::-1].cumsum()[::-1][1:]
    others = seen.cumsum()[::-1][1:]

    def likelihood(a: float, b: float) -> float:
        return float(above @ np.log(a + i) + others @ np.log(b + i) - total * np.log(a + b + i).sum())

    a, b = shape.tolist()
    ups, downs, whole = above / (a + i), others / (b + i), total / (a + b + i)
    slope = (np.array([ups.sum(), downs.sum()]) - whole.sum()) * shape
    if np.abs(slope).max() < _ENOUGH * total:
        return shape
    curve = (whole / (a + b + i)).sum()
    xx, yy = (curve - (ups / (a + i)).sum()) * a * a + slope[0], (curve - (downs / (b + i)).sum()) * b * b + slope[1]
    xy = curve * a * b
    steps = [slope / total]
    if xx < 0 and (det := xx * yy - xy * xy) > 1e-12 * xx * yy:
        steps.insert(0, np.array([xy * slope[1] - yy * slope[0], xy * slope[0] - xx * slope[1]]) / det)
    start = likelihood(a, b)
    for step in steps:
        step = step / max(1.0, np.abs(step).max() / 2)  # at most e^2 at a time
        for _ in range(12):
            tried: _Array = np.clip(shape * np.exp(step), _LEAST, _MOST)
            if likelihood(*tried.tolist()) > start:
                return tried
            step = step / 2
    return shape
