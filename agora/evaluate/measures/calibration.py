"""How well a confidence knows what is right: calibration error, Brier score, AUROC, each with what chance gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agora.errors import InputError
from agora.evaluate.measures.statistics import LEVEL, SAMPLES, Floats, Interval, bootstrap_mean, z_of

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence.

    Attributes:
        low: least confidence in it.
        high: greatest.
        confidence: mean.
        accuracy: share that is right.
        n: answers.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidences beside what was right.

    Attributes:
        n: answers with a confidence.
        accuracy: share of them that is right.
        confidence: their mean.
        ece: expected calibration error, sum over bins of n_b/n |accuracy_b - confidence_b|, with bins of equal numbers
            (equal confidences share one); its interval is the basic bootstrap's, 2 ECE - quantile, as ECE is biased up.
        ece_width: the same with bins of equal width; its value only.
        ece_chance: the mean ECE, with bins of equal numbers, of perfectly calibrated confidences like these: what noise
            alone gives.
        brier: mean of (confidence - right)^2: 0 is perfect, 0.25 is to say one half always.
        auroc: probability that a right answer has a higher confidence than a wrong one, ties half; None where all are
            right or all wrong.
        bins: of the reliability diagram, of equal numbers.
    """

    n: int
    accuracy: float
    confidence: float
    ece: Interval
    ece_width: float
    ece_chance: float
    brier: Interval
    auroc: Interval | None
    bins: tuple[Bin, ...]


def calibration(
    confidence: ArrayLike,
    right: ArrayLike,
    *,
    bins: int = BINS,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Calibration:
    """Measure confidences.

    Args:
        confidence: 0 to 1, one an answer.
        right: whether it is.
        bins: at most so many.
        level: of the intervals.
        samples: of the bootstrap.
        seed: of it.

    Raises:
        InputError: if there are no answers, or a confidence is out of range.
    """
    c, r = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if not len(c) or len(c) != len(r):
        raise InputError("calibration needs one confidence for each answer, and at least one.")
    if not ((c >= 0) & (c <= 1)).all():
        raise InputError("a confidence is between 0 and 1.")
    at = equal_mass(c, bins)
    found = [_bin(c[at == b], r[at == b]) for b in range(int(at.max()) + 1)]
    rng = np.random.default_rng(seed)
    chance = [ece(c, (rng.random(len(c)) < c).astype(float), at) for _ in range(min(samples, 1000))]
    value = ece(c, r, at)
    return Calibration(
        len(c),
        float(r.mean()),
        float(c.mean()),
        _ece_interval(c, r, at, value, level, samples, seed),
        ece(c, r, np.minimum((c * bins).astype(int), bins - 1)),
        float(np.mean(chance)),
        bootstrap_mean((c - r) ** 2, level=level, samples=samples, seed=seed),
        auroc(c, r, level),
        tuple(found),
    )


def equal_mass(confidence: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each confidence, of bins of equal numbers; equal ones are never parted, so there may be fewer bins."""
    ordered = np.sort(confidence)
    tops = np.unique(ordered[np.ceil(np.arange(1, bins + 1) * len(ordered) / bins).astype(int) - 1])
    return np.searchsorted(tops, confidence, side="left").astype(np.int64)


def ece(confidence: Floats, right: Floats, at: NDArray[np.int64]) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017), given the bin of each answer."""
    return float(np.abs(np.bincount(at, right - confidence)).sum() / len(right))


def _bin(confidence: Floats, right: Floats) -> Bin:
    return Bin(
        float(confidence.min()), float(confidence.max()), float(confidence.mean()), float(right.mean()), len(right)
    )


def _ece_interval(
    c: Floats, r: Floats, at: NDArray[np.int64], value: float, level: float, samples: int, seed: int
) -> Interval:
    rng, n = np.random.default_rng(seed), len(c)
    gaps = r - c
    drawn = np.empty(min(samples, 1000))
    for i in range(len(drawn)):
        picked = rng.integers(0, n, n)
        drawn[i] = np.abs(np.bincount(at[picked], gaps[picked])).sum() / n
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    low, high = max(0.0, 2 * value - high), min(1.0, 2 * value - low)
    return Interval(value, float(min(low, value)), float(max(high, value)), n, "basic bootstrap")


def auroc(confidence: ArrayLike, right: ArrayLike, level: float = LEVEL) -> Interval | None:
    """The area under the ROC curve with DeLong's variance (1988) on the logit scale, which keeps its interval within
    0..1; where the curve has a corner, so that this variance is 0, the interval of Hanley and McNeil's variance at its
    own ends (Newcombe 2006).

    Args:
        confidence: one an answer.
        right: whether it is.
        level: of the interval.

    Returns:
        None where all are right or all wrong.
    """
    c, r = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    yes, no = c[r], c[~r]
    m, n = len(yes), len(no)
    if not m or not n:
        return None
    ordered_no, ordered_yes = np.sort(no), np.sort(yes)
    # of each right answer the share of wrong ones below it, ties half; and the other way about
    above = (np.searchsorted(ordered_no, yes, "left") + np.searchsorted(ordered_no, yes, "right")) / (2 * n)
    below = 1 - (np.searchsorted(ordered_yes, no, "left") + np.searchsorted(ordered_yes, no, "right")) / (2 * m)
    area, z = float(above.mean()), z_of(level)
    spread = sum(float(v.var(ddof=1)) / len(v) if len(v) > 1 else 0.25 for v in (above, below))
    if 0 < area < 1 and spread > 0:
        middle, half = math.log(area / (1 - area)), z * math.sqrt(spread) / (area * (1 - area))
        low, high = (1 / (1 + math.exp(-min(700.0, max(-700.0, middle + sign * half)))) for sign in (-1, 1))
        return Interval(area, low, high, m + n, "DeLong")
    return Interval(area, _area_end(area, m, n, z, 0.0), _area_end(area, m, n, z, 1.0), m + n, "Newcombe")


def _area_end(area: float, m: int, n: int, z: float, outer: float) -> float:
    half = (m + n) / 2 - 1

    def variance(t: float) -> float:
        return t * (1 - t) / (m * n) * (1 + half * ((1 - t) / (2 - t) + t / (1 + t)))

    inside, outside = area, outer
    for _ in range(80):
        middle = (inside + outside) / 2
        if abs(area - middle) <= z * math.sqrt(variance(middle)):
            inside = middle
        else:
            outside = middle
    return inside
