"""How good a router is: the hull of quality over cost and the figures of the field, beside chance and single models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agora.api.outcomes import Table
from agora.errors import InputError

Floats = NDArray[np.float64]
Point = tuple[float, float]  # cost, quality


def hull(points: Sequence[Point]) -> list[Point]:
    """The non-decreasing upper convex hull of quality over cost (RouterBench, Hu et al. 2024, arXiv:2403.12031): mixing
    two routers at random reaches every point between theirs, and nobody need pay more for less.

    Args:
        points: (cost, quality).

    Returns:
        Its corners, cheapest first.
    """
    best: dict[float, float] = {}
    for cost, quality in points:
        best[cost] = max(quality, best.get(cost, -math.inf))
    corners: list[Point] = []
    for cost, quality in sorted(best.items()):
        if corners and quality <= corners[-1][1]:
            continue
        while len(corners) > 1 and _cross(corners[-2], corners[-1], (cost, quality)) >= 0:
            corners.pop()
        corners.append((cost, quality))
    return corners


def _cross(o: Point, a: Point, b: Point) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def quality_at(corners: Sequence[Point], cost: float) -> float:
    """The quality a hull reaches at a cost; below its cheapest corner it is that corner's, as nothing is cheaper."""
    costs, qualities = zip(*corners, strict=True)
    return float(np.interp(cost, costs, qualities))


def aiq(corners: Sequence[Point], low: float, high: float) -> float:
    """Average improvement in quality (RouterBench): the mean height of a hull between two costs.

    Args:
        corners: of the hull.
        low: the least cost, of the cheapest single model.
        high: the greatest, of the dearest.
    """
    if not high > low:
        return quality_at(corners, low)
    inside = sorted({low, high, *(cost for cost, _ in corners if low < cost < high)})
    heights = [quality_at(corners, cost) for cost in inside]
    return float(np.trapezoid(heights, inside) / (high - low))


@dataclass(frozen=True)
class Curve:
    """A router between a weak and a strong model, by the share of calls that go to the strong.

    Attributes:
        shares: of calls to the strong model, rising from 0 to 1.
        qualities: mean score at each.
    """

    shares: Floats
    qualities: Floats

    def gap_recovered(self) -> Floats:
        """PGR: the share of the gap between weak and strong that is recovered, at each share of calls."""
        weak, strong = self.qualities[0], self.qualities[-1]
        if strong <= weak:
            raise InputError("the strong model is no better than the weak one, so there is no gap to recover.")
        made: Floats = (self.qualities - weak) / (strong - weak)
        return made

    def apgr(self) -> float:
        """The mean share of the gap that is recovered, over all shares of calls (RouteLLM, Ong et al. 2024,
        arXiv:2406.18665): 0.5 for a random mix."""
        return float(np.trapezoid(self.gap_recovered(), self.shares))

    def cpt(self, share: float) -> float:
        """CPT: the least share of calls to the strong model that recovers a share of the gap; 1 if none less does."""
        found = np.flatnonzero(self.gap_recovered() >= share - 1e-12)
        return float(self.shares[found[0]]) if len(found) else 1.0


def curve(wins: Floats, weak: Floats, strong: Floats) -> Curve:
    """The curve of a router that sends the prompts with the highest win probability to the strong model. Prompts with
    equal ones go together, in the mean of all orders.

    Args:
        wins: the router's probability that the strong model does better, by prompt.
        weak: the weak model's scores.
        strong: the strong model's.
    """
    order = np.argsort(-wins, kind="stable")
    gain = (strong - weak)[order]
    sorted_wins = wins[order]
    begins = np.flatnonzero(np.r_[True, sorted_wins[1:] != sorted_wins[:-1]])
    sizes = np.diff(np.r_[begins, len(wins)])
    gain = np.repeat(np.add.reduceat(gain, begins) / sizes, sizes)  # among equals each gains the mean
    qualities = weak.mean() + np.r_[0.0, np.cumsum(gain)] / len(wins)
    return Curve(np.arange(len(wins) + 1) / len(wins), qualities)


# ---- choices and their outcome ----------------------------------------------------------------------------------


def choose(scores: Floats, costs: Sequence[float] | Floats, weight: float) -> NDArray[np.int64]:
    """The model with the highest score less `weight` times its cost, for each prompt; of equals the cheapest, then the
    first.

    Args:
        scores: expected, (prompts, models).
        costs: expected, (models,), USD.
        weight: lambda: score per USD.
    """
    utility = scores - weight * np.asarray(costs)
    order = np.argsort(np.asarray(costs), kind="stable")
    made: NDArray[np.int64] = order[np.argmax(utility[:, order], axis=1)]
    return made


def point(table: Table, chosen: NDArray[np.int64]) -> Point:
    """Mean cost and mean score of choices."""
    rows = np.arange(len(chosen))
    return float(table.costs[rows, chosen].mean()), float(table.scores[rows, chosen].mean())


def weights(scores: Floats, costs: Sequence[float], steps: int = 40) -> list[float]:
    """Values of lambda from 0 to where the cheapest model is always chosen, geometrically."""
    given = np.asarray(costs, dtype=float)
    gaps = np.diff(np.unique(given))
    if not len(gaps):
        return [0.0]
    spread = float(np.ptp(scores)) or 1.0
    top = 2 * spread / gaps.min()
    low = 0.01 * spread / (given.max() - given.min())
    return [0.0, *np.geomspace(low, max(top, 2 * low), steps).tolist()]


def weight_for_spend(scores: Floats, costs: Sequence[float], spend: float) -> float:
    """The least lambda at which the mean cost of the choices is at most `spend`.

    Args:
        scores: expected, of prompts like those to come.
        costs: expected, by model.
        spend: USD an answer.

    Raises:
        InputError: if even the cheapest model costs more.
    """
    given = np.asarray(costs, dtype=float)
    if not 0 <= spend < np.inf:
        raise InputError(f"a spend is USD an answer, not {spend}.")
    if spend < given.min() - 1e-15:
        raise InputError(f"a spend of ${spend:g} an answer is less than the cheapest model's ${given.min():g}.")

    def cost(weight: float) -> float:
        return float(given[choose(scores, given, weight)].mean())

    if cost(0.0) <= spend + 1e-15:
        return 0.0
    low, high = 0.0, 1.0
    while cost(high) > spend + 1e-15:
        low, high = high, 2 * high
        if high > 1e18:
            raise InputError("no lambda keeps this spend.")
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= spend + 1e-15 else (middle, high)
    return high


def threshold_for_share(wins: Floats, share: float) -> float:
    """The threshold at which this share of prompts goes to the strong model: a quantile of the win probabilities.

    Args:
        wins: of prompts like those to come.
        share: 0 to 1; 0 gives a threshold above 1, which nothing reaches, and 1 gives 0.

    Raises:
        InputError: if the share is out of range.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share of calls is between 0 and 1, not {share}.")
    n = round(share * len(wins))
    if n == 0:
        return 1.01
    return 0.0 if n >= len(wins) else float(np.sort(wins)[::-1][n - 1])


def win_probability(scores: Floats, weak: int, strong: int) -> Floats:
    """The probability that the strong model does better, of expected scores: half where they are equal."""
    made: Floats = (1 + scores[:, strong] - scores[:, weak]) / 2
    return made


# ---- a report ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """A router on prompts with known outcomes, beside what it must be compared with.

    Attributes:
        prompts: how many.
        singles: model -> (cost, quality).
        points: the router's, by lambda, (cost, quality).
        hull: of these.
        random: the hull of random mixes of single models.
        oracle: (cost, quality) of choosing the best model, the cheapest of the best, every time.
        oracle_hull: of choosing with the true scores, over lambda.
        figures: AIQ of all three; of weak and strong: APGR and CPT; quality of the router at the best single's cost.
        intervals: figure -> 95% interval by bootstrap over prompts.
        weak: the cheapest model.
        strong: the best one.
    """

    prompts: int
    singles: Mapping[str, Point]
    points: tuple[Point, ...]
    hull: tuple[Point, ...]
    random: tuple[Point, ...]
    oracle: Point
    oracle_hull: tuple[Point, ...]
    figures: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    weak: str
    strong: str


def report(table: Table, scores: Floats, costs: Sequence[float], *, samples: int = 200, seed: int = 0) -> Report:
    """Measure a router.

    Args:
        table: outcomes that every model has.
        scores: what the router expects, (prompts, models).
        costs: what it takes the models to cost, by model.
        samples: of the bootstrap.
        seed: of it.
    """
    whole = _measure(table, scores, costs)
    draw = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(samples):
        picked = draw.integers(0, len(table.prompts), len(table.prompts))
        made = _measure(table.rows(picked), scores[picked], costs, pair=(whole.weak, whole.strong))
        for name, value in made.figures.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    intervals = {n: (float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975))) for n, v in found.items()}
    return Report(**{**whole.__dict__, "intervals": intervals})


def _measure(table: Table, scores: Floats, costs: Sequence[float], pair: tuple[str, str] | None = None) -> Report:
    n = len(table.prompts)
    singles = {
        name: (float(table.costs[:, j].mean()), float(table.scores[:, j].mean())) for j, name in enumerate(table.models)
    }
    mixes = hull(list(singles.values()))
    points = [point(table, choose(scores, costs, weight)) for weight in weights(scores, costs)]
    true_costs = [singles[name][0] for name in table.models]
    oracle = point(table, choose(table.scores, true_costs, 1e-12))
    oracles = [point(table, choose(table.scores, true_costs, w)) for w in weights(table.scores, true_costs)]
    low, high = min(c for c, _ in singles.values()), max(c for c, _ in singles.values())
    corners, top = hull(points), hull([oracle, *oracles, *singles.values()])
    weak, strong = pair or _pair(singles)
    figures: dict[str, float | None] = {
        "aiq": aiq(corners, low, high), "aiq_random": aiq(mixes, low, high), "aiq_oracle": aiq(top, low, high),
        "at_best_cost": quality_at(corners, singles[strong][0]), "best_single": singles[strong][1],
    }  # fmt: skip
    names = list(table.models)
    i, j = names.index(weak), names.index(strong)
    if weak != strong and singles[strong][1] > singles[weak][1]:
        made = curve(win_probability(scores, i, j), table.scores[:, i], table.scores[:, j])
        figures |= {"apgr": made.apgr(), "cpt50": made.cpt(0.5), "cpt80": made.cpt(0.8)}
    else:
        figures |= {"apgr": None, "cpt50": None, "cpt80": None}
    return Report(
        n, singles, tuple(points), tuple(corners), tuple(mixes), oracle, tuple(top), figures, {}, weak, strong
    )


def _pair(singles: Mapping[str, Point]) -> tuple[str, str]:
    """The cheapest model and the best one; where all cost the same, the worst and the best."""
    strong = max(singles, key=lambda name: (singles[name][1], -singles[name][0]))
    if len({cost for cost, _ in singles.values()}) == 1:
        return min(singles, key=lambda name: singles[name][1]), strong
    return min(singles, key=lambda name: (singles[name][0], -singles[name][1])), strong
