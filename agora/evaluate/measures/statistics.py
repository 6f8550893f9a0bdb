"""Intervals for scores: of proportions, means and paired differences, by item or by groups of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agora.errors import InputError

Floats = NDArray[np.float64]
Groups = Sequence[str]

LEVEL = 0.95
SAMPLES = 4000
"""Resamples of a bootstrap: the ends of a 95% interval are then known to some 3% of its half-width."""

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and how sure it is.

    Attributes:
        value: the estimate.
        low: lower end of its interval.
        high: upper end.
        n: what it is based on: items, or tries.
        method: how the interval is made: 'Wilson', 'bootstrap', ...
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def half(self) -> float:
        """Half the width."""
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside."""
        return not self.low <= value <= self.high


def z_of(level: float = LEVEL) -> float:
    """The two-sided normal quantile of a level: 1.96 of 0.95."""
    if not 0 < level < 1:
        raise InputError(f"the level of an interval is between 0 and 1, not {level}.")
    return NORMAL.inv_cdf((1 + level) / 2)


# ---- proportions ------------------------------------------------------------------------------------------------


def wilson(hits: float, n: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion (1927): it stays within 0..1 and has its level even near the ends.

    Args:
        hits: how often; need not be whole, nor `n`, where they are effective numbers.
        n: out of how many, more than 0.
        level: of the interval.

    Raises:
        InputError: if `n` is 0 or there are more hits than tries.
    """
    if not 0 <= hits <= n or n <= 0:
        raise InputError(f"{hits} out of {n} is no proportion.")
    p, z = hits / n, z_of(level)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    # the ends are exact where nothing or everything was hit; rounding must not lift them
    low, high = (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)
    return Interval(p, max(0.0, low), min(1.0, high), round(n), "Wilson")


def clustered_rate(hits: ArrayLike, tries: ArrayLike, level: float = LEVEL) -> Interval | None:
    """The rate of what can happen several times in an item, as agents and rounds do, which are no independent tries.
    Wilson's interval at the effective number of tries: tries over the design effect, which is the variance of the ratio
    between items (linearised) over that of independent tries, and is taken as at least 1. Where all or none hit, that
    number is the number of items.

    Args:
        hits: by item.
        tries: by item.
        level: of the interval.

    Returns:
        The interval, `n` being the tries; None where there were none.
    """
    k, m = np.asarray(hits, dtype=float), np.asarray(tries, dtype=float)
    k, m = k[m > 0], m[m > 0]
    if not len(m):
        return None
    total, p, items = float(m.sum()), float(k.sum() / m.sum()), len(m)
    if p in (0.0, 1.0) or items == 1:
        effective = float(items)
    else:
        between = items / (items - 1) * float(((k - p * m) ** 2).sum()) / total**2
        effective = total / max(1.0, between / (p * (1 - p) / total))
    made = wilson(p * effective, effective, level)
    return Interval(p, made.low, made.high, round(total), "Wilson by item")


# ---- means ------------------------------------------------------------------------------------------------------


def bootstrap_mean(
    values: ArrayLike,
    groups: Groups | None = None,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
    low: float = 0.0,
    high: float = 1.0,
) -> Interval:
    """The mean with its bias-corrected and accelerated bootstrap interval (BCa; Efron 1987). BCa and not the plain
    percentile, because means of scores are skewed near 0 and 1, where the percentile interval misses on one side.

    Args:
        values: one an item.
        groups: of the items, where these are drawn together (questions on one text): whole groups are resampled.
        level: of the interval.
        samples: resamples.
        seed: of them.
        low: the least value possible.
        high: the greatest. Where all values are equal a bootstrap sees no spread: Wilson's interval between `low` and
            `high` is given, which is wider than any, as nothing between two ends varies more than these alone; of
            differences that are all 0, Tango's.

    Raises:
        InputError: if there are no values.
    """
    given = np.asarray(values, dtype=float)
    if not len(given):
        raise InputError("there are no items to take a mean of.")
    sums, sizes = by_group(given, groups)
    mean = float(given.sum() / len(given))
    z = z_of(level)
    # equal pairs are drawn as one with their count: the same distribution, and quick for scores of few values
    pairs, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    units = int(counts.sum())
    means = pairs[:, 0] / pairs[:, 1]
    if low < 0 and not given.any():
        return replace(tango(0, 0, units, level), n=len(given))
    if units == 1 or float(np.ptp(means)) < 1e-12:
        share = min(1.0, max(0.0, (mean - low) / (high - low)))
        flat = wilson(share * units, units, level)
        at = [low + (high - low) * end for end in (flat.low, flat.high)]
        return Interval(mean, min(at[0], mean), max(at[1], mean), len(given), "Wilson")
    drawn = _resampled(pairs, counts, samples, seed)
    below = (np.count_nonzero(drawn < mean - 1e-12) + np.count_nonzero(drawn <= mean + 1e-12)) / (2 * samples)
    bias = NORMAL.inv_cdf(min(max(below, 0.5 / samples), 1 - 0.5 / samples))
    total = pairs.T @ counts
    left = (total[0] - pairs[:, 0]) / (total[1] - pairs[:, 1])
    gaps = (counts @ left) / units - left
    acceleration = float(counts @ gaps**3) / (6 * float(counts @ gaps**2) ** 1.5)
    ends = []
    for sign in (-1, 1):
        moved = bias + sign * z
        ends.append(NORMAL.cdf(bias + moved / (1 - acceleration * moved)))
    found = np.quantile(drawn, ends)
    return Interval(mean, float(min(found[0], mean)), float(max(found[1], mean)), len(given), "bootstrap")


def mean_interval(
    scores: ArrayLike,
    groups: Groups | None = None,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of scores: with Wilson's interval where all are 0 or 1 and items are independent, else by bootstrap.

    Args:
        scores: 0 to 1, one an item.
        groups: of items that are drawn together.
        level: of the interval.
        samples: of the bootstrap.
        seed: of it.
    """
    given = np.asarray(scores, dtype=float)
    if groups is None and len(given) and is_binary(given):
        return wilson(float(given.sum()), len(given), level)
    return bootstrap_mean(given, groups, level=level, samples=samples, seed=seed)


def is_binary(values: Floats) -> bool:
    """Whether all are 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def by_group(values: Floats, groups: Groups | None) -> tuple[Floats, Floats]:
    """Sums and sizes, by group. An item whose group is '' has none, and stands for itself.

    Raises:
        InputError: if there are not as many groups as values.
    """
    if groups is None:
        return values, np.ones(len(values))
    if len(groups) != len(values):
        raise InputError(f"{len(groups)} groups do not fit {len(values)} items.")
    numbers: dict[str | int, int] = {}
    at = [numbers.setdefault(group or i, len(numbers)) for i, group in enumerate(groups)]
    return np.bincount(at, values).astype(np.float64), np.bincount(at).astype(np.float64)


def _resampled(pairs: Floats, counts: NDArray[Any], samples: int, seed: int) -> Floats:
    """Means of resamples of (sum, size) pairs, each of which stands there `counts` times."""
    rng, units = np.random.default_rng(seed), int(counts.sum())
    chunk = max(1, 2_000_000 // len(counts))
    drawn = []
    for begin in range(0, samples, chunk):
        times = rng.multinomial(units, counts / units, size=min(chunk, samples - begin))
        sums = times @ pairs
        drawn.append(sums[:, 0] / sums[:, 1])
    return np.concatenate(drawn)


# ---- paired differences -----------------------------------------------------------------------------------------


def tango(wins: int, losses: int, n: int, level: float = LEVEL) -> Interval:
    """Tango's score interval of the difference of two paired proportions (Statistics in Medicine 1998): the differences
    that a score test does not reject. It holds its level with few discordant pairs, where Wald's does not, and is the
    counterpart of McNemar's test.

    Args:
        wins: pairs in which only the first is right.
        losses: only the second.
        n: pairs.
        level: of the interval.

    Raises:
        InputError: if the numbers do not fit.
    """
    if min(wins, losses) < 0 or wins + losses > n or n <= 0:
        raise InputError(f"{wins} wins and {losses} losses do not fit {n} pairs.")
    z, seen = z_of(level), (wins - losses) / n

    def score(difference: float) -> float:
        a, b = 2 * n, -wins - losses + (2 * n - wins + losses) * difference
        c = -losses * difference * (1 - difference)
        q = max(0.0, (np.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
        variance = n * (2 * q + difference * (1 - difference))
        gap = wins - losses - n * difference
        return float(gap / np.sqrt(variance)) if variance > 1e-15 else float(np.sign(gap)) * np.inf

    def end(outer: float, sign: int) -> float:
        inside, outside = seen, outer  # the score falls from +inf to -inf as the difference grows
        for _ in range(80):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if sign * score(middle) <= z else (inside, middle)
        return inside

    return Interval(seen, end(-1.0, 1), end(1.0, -1), n, "Tango")


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Groups | None = None,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean difference of paired scores: with Tango's interval where all are 0 or 1 and items are independent, else
    by bootstrap of the pairs.

    Args:
        first: 0 to 1, one an item.
        second: of the same items.
        groups: of items that are drawn together.
        level: of the interval.
        samples: of the bootstrap.
        seed: of it.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if groups is None and len(a) and is_binary(a) and is_binary(b):
        return tango(int((a > b).sum()), int((a < b).sum()), len(a), level)
    return bootstrap_mean(a - b, groups, level=level, samples=samples, seed=seed, low=-1.0, high=1.0)
