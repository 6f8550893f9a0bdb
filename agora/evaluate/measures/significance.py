"""Tests of paired scores, their correction for many comparisons, and what a number of items can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from agora.evaluate.measures.statistics import NORMAL, Groups, by_group, z_of

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of two paired proportions: whether wins and losses could be throws of a fair coin.

    Attributes:
        wins: pairs in which only the first is right.
        losses: only the second.
        p: two-sided, exact (binomial); conservative.
        mid_p: the same less half of the probability of what was seen: nearer to its level, which it may miss.
    """

    wins: int
    losses: int
    p: float
    mid_p: float


def mcnemar(wins: int, losses: int) -> McNemar:
    """The exact test, and its mid-p (Fagerland, Lydersen, Laake 2013).

    Args:
        wins: pairs in which only the first is right.
        losses: only the second.
    """
    n, least = wins + losses, min(wins, losses)
    if n == 0:
        return McNemar(wins, losses, 1.0, 1.0)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(least + 1)
    chances = np.exp(logs[n] - logs[k] - logs[n - k] - n * np.log(2.0))
    both = 2 * float(chances.sum())
    return McNemar(wins, losses, min(1.0, both), min(1.0, both - float(chances[-1])))


def sign_flips(differences: ArrayLike, groups: Groups | None = None, *, samples: int = 20_000, seed: int = 0) -> float:
    """The two-sided p of a paired permutation test, for fractional scores or grouped items: how often the sum of the
    differences is as far from 0 when each one's sign (each group's) is a coin's. All signs where at most 2^12, else as
    many as asked for, and then never below 1 / (samples + 1).

    Args:
        differences: one an item.
        groups: of items that are drawn together.
        samples: of the test.
        seed: of them.
    """
    given = np.asarray(differences, dtype=float)
    sums = by_group(given, groups)[0]
    sums = np.abs(sums[np.abs(sums) > 1e-12])
    seen = abs(float(given.sum())) - 1e-9
    if not len(sums):
        return 1.0
    if len(sums) <= 12:
        signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(signs @ sums) >= seen).mean())
    sizes, counts = np.unique(np.round(sums, 12), return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // len(sizes))
    beyond = 0
    for begin in range(0, samples, chunk):
        heads = rng.binomial(counts, 0.5, size=(min(chunk, samples - begin), len(sizes)))
        beyond += int((np.abs((2 * heads - counts) @ sizes) >= seen).sum())
    return (1 + beyond) / (1 + samples)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): with it, the chance of one false claim in the whole family is kept, whatever
    the tests depend on. What a family is here, `agora.evaluate.measures.metrics.compare` says.

    Args:
        ps: of the family.

    Returns:
        Adjusted, in the same order.
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


# ---- power ------------------------------------------------------------------------------------------------------


def detectable(
    mean_square: float, n: float, *, binary: bool = True, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest mean difference that `n` pairs show with a given power (Miettinen 1968, for McNemar's test): the d
    that solves d sqrt(n) = z_alpha sqrt(s) + z_power sqrt(s - d^2).

    Args:
        mean_square: s, of the differences; of right and wrong it is the share of discordant pairs.
        n: pairs, effective ones where they come in groups.
        binary: scores are right or wrong, so that s is at least d.
        alpha: two-sided level of the test.
        power: probability of showing it.

    Returns:
        Above 0, at most 1.
    """
    za, zb = z_of(1 - alpha), NORMAL.inv_cdf(power)

    def short(d: float) -> bool:
        s = max(mean_square, d if binary or mean_square == 0 else d * d)
        return d * math.sqrt(n) < za * math.sqrt(s) + zb * math.sqrt(max(0.0, s - d * d))

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def items_needed(difference: float, mean_square: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """How many pairs would be needed to show a mean difference: the n that solves the equation of `detectable`.

    Args:
        difference: to be shown.
        mean_square: of the differences, at least the square of their mean.
        alpha: two-sided level of the test.
        power: probability of showing it.

    Returns:
        At least 1; None where there is no difference.
    """
    if abs(difference) < 1e-12:
        return None
    za, zb = z_of(1 - alpha), NORMAL.inv_cdf(power)
    s = max(mean_square, difference * difference)
    root = (za * math.sqrt(s) + zb * math.sqrt(max(0.0, s - difference * difference))) / abs(difference)
    return max(1, math.ceil(root * root - 1e-9))
