"""The figures of an evaluation: a line for each contestant, each debate beside each baseline, what happened within."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from agora.errors import InputError
from agora.evaluate.measures.calibration import Calibration, calibration
from agora.evaluate.measures.significance import ALPHA, detectable, holm, items_needed, mcnemar, sign_flips
from agora.evaluate.measures.statistics import (
    Floats,
    Interval,
    bootstrap_mean,
    by_group,
    is_binary,
    mean_interval,
    paired_difference,
)
from agora.evaluate.records import Contestant, Role, Scored, Status
from agora.lettering import clean
from agora.records import Usage

Verdict = Literal["better", "worse", "no difference shown"]


# ---- a line for each contestant ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """How a contestant did, over all its items: what gave no answer is in every denominator.

    Attributes:
        name: of it.
        role: of it.
        of: the debate it stands beside.
        note: what a reader must know of it.
        n: items.
        accuracy: mean score: the share of right answers where scores are 0 or 1, then with Wilson's interval, else by
            bootstrap.
        bootstrap: the same mean with its bootstrap interval.
        right: items that count as right.
        unparsed: share of items whose answer could not be read.
        abstained: share on which it abstained.
        absent: share on which it failed.
        rounds: mean, after round 0.
        stops: why it stopped -> items, commonest first.
        usage: of all items; its `usd` is None where any price is not known.
        p50: median seconds an item.
        p95: 95th percentile of them.
        usd_per_right: USD over right answers; None where a price is not known or nothing is right.
        calls_per_right: calls over right answers; None where nothing is right.
        tokens_per_right: tokens in and out over right answers; None where nothing is right.
        confidence: calibration of the stated or reported confidence; None where there is none.
        likelihood: of the likelihood.
        share: of the share of votes.
        extra: means of the figures of its kind, over the items that have them.
    """

    name: str
    role: Role
    of: str
    note: str
    n: int
    accuracy: Interval
    bootstrap: Interval
    right: int
    unparsed: float
    abstained: float
    absent: float
    rounds: float
    stops: Mapping[str, int]
    usage: Usage
    p50: float
    p95: float
    usd_per_right: float | None
    calls_per_right: float | None
    tokens_per_right: float | None
    confidence: Calibration | None
    likelihood: Calibration | None
    share: Calibration | None
    extra: Mapping[str, float]


def summary(contestant: Contestant, *, grouped: bool = False, seed: int = 0) -> Summary:
    """How a contestant did.

    Args:
        contestant: with at least one row.
        grouped: items of one group are no independent ones: intervals are made by groups.
        seed: of the bootstraps.

    Raises:
        InputError: if it has no rows.
    """
    rows = contestant.rows
    if not rows:
        raise InputError(f"{contestant.name} has answered no items.", hint="Resume the evaluation.")
    n, right = len(rows), sum(row.right for row in rows)
    scores, groups = [row.score for row in rows], [row.group for row in rows] if grouped else None
    usage = sum((row.usage for row in rows), Usage())
    seconds = np.quantile([row.seconds for row in rows], [0.5, 0.95])
    status: Counter[Status] = Counter(row.status for row in rows)
    extras = list(dict.fromkeys(key for row in rows for key in row.extra))
    return Summary(
        contestant.name, contestant.role, contestant.of, contestant.note, n,
        mean_interval(scores, groups, seed=seed),
        bootstrap_mean(scores, groups, seed=seed),
        right,
        status["unparsed"] / n, status["abstained"] / n, status["absent"] / n,
        sum(row.rounds for row in rows) / n,
        dict(Counter(row.stop for row in rows if row.stop).most_common()),
        usage,
        float(seconds[0]), float(seconds[1]),
        usage.usd / right if right and usage.usd is not None else None,
        usage.calls / right if right else None,
        usage.tokens / right if right else None,
        _calibrated(rows, "confidence", seed), _calibrated(rows, "likelihood", seed), _calibrated(rows, "share", seed),
        {key: float(np.mean([row.extra[key] for row in rows if key in row.extra])) for key in extras},
    )  # fmt: skip


def _calibrated(rows: Sequence[Scored], name: str, seed: int) -> Calibration | None:
    """Of the answers that have such a figure."""
    found = [
        (getattr(row, name), row.right) for row in rows if row.answer is not None and getattr(row, name) is not None
    ]
    return calibration([c for c, _ in found], [right for _, right in found], seed=seed) if found else None


# ---- a debate beside a baseline ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One contestant less another, on the items that both answered.

    Attributes:
        first: a debate.
        second: a baseline of it.
        role: of the baseline.
        n: items.
        difference: mean difference of scores, first less second: Tango's interval where scores are 0 or 1, else by
            bootstrap of the pairs.
        bootstrap: the same with its bootstrap interval.
        wins: items on which the first scores higher.
        losses: on which the second does.
        ties: on which both score the same.
        p: two-sided: McNemar's exact test where scores are 0 or 1, else a permutation test of signs.
        mid_p: McNemar's mid-p; None of a permutation test.
        test: which one: 'McNemar' or 'sign flips'.
        adjusted: `p` by Holm's method over its family; the verdict is drawn from this one.
        family: how many comparisons that is: all of debates, all of their baselines, or all of single members.
        detectable: the smallest difference that so many items, as discordant as these, would show with a power of 80%,
            at the level of 5% over the family (by Bonferroni, Holm's first step).
        needed: items needed to show the difference that is seen, with the same power and level; None where it is 0.
        verdict: of the first.
        calls: of the first over those of the second; None where the second has none.
        tokens: likewise.
        usd: likewise; None where a price is not known.
    """

    first: str
    second: str
    role: Role
    n: int
    difference: Interval
    bootstrap: Interval
    wins: int
    losses: int
    ties: int
    p: float
    mid_p: float | None
    test: Literal["McNemar", "sign flips"]
    adjusted: float
    family: int
    detectable: float
    needed: int | None
    verdict: Verdict
    calls: float | None
    tokens: float | None
    usd: float | None

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        d = self.difference
        seen = f"{100 * d.value:+.1f} points, 95% interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"
        first, second = clean(self.first), clean(self.second)
        if self.verdict != "no difference shown":
            return f"{first} is {self.verdict} than {second} ({seen}; adjusted p {p_text(self.adjusted)})."
        return (
            f"No difference shown between {first} and {second} ({seen}; adjusted p {p_text(self.adjusted)}): "
            f"{self.n} items like these show one of {100 * self.detectable:.1f} points or more four times in five."
        )


def p_text(p: float) -> str:
    """A p value as it is printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def compare(
    pairs: Sequence[tuple[Contestant, Contestant]], *, grouped: bool = False, seed: int = 0
) -> tuple[Comparison, ...]:
    """Compare contestants, two and two. Pairs are up to three families, by the role of the second: debates; baselines
    that were chosen before anything was seen; and single members, which are as many as the debate has and are looked at
    one by one, where the question whether it beats them has its own baseline, the best of them. Rows are matched by
    the item's id, and a pair that shares no item is left out, and not of the family.

    Args:
        pairs: a debate with each of its baselines.
        grouped: items of one group are no independent ones.
        seed: of the bootstraps.
    """
    shared = []
    for first, second in pairs:
        mine = {row.item: row for row in first.rows}
        if rows := [(mine[row.item], row) for row in second.rows if row.item in mine]:
            shared.append((first, second, rows))
    sizes = Counter(_family(second.role) for _, second, _ in shared)
    raw = [
        _compared(first.name, second, rows, sizes[_family(second.role)], grouped, seed)
        for first, second, rows in shared
    ]
    adjusted = {name: iter(holm([one.p for one in raw if _family(one.role) == name])) for name in sizes}
    return tuple(_judged(one, next(adjusted[_family(one.role)])) for one in raw)


def _family(role: Role) -> str:
    return role if role in ("debate", "member") else "baseline"


def _judged(one: Comparison, adjusted: float) -> Comparison:
    shown = adjusted < ALPHA
    verdict: Verdict = "no difference shown" if not shown else "better" if one.difference.value > 0 else "worse"
    return replace(one, adjusted=adjusted, verdict=verdict)


def _compared(
    name: str, other: Contestant, pairs: Sequence[tuple[Scored, Scored]], family: int, grouped: bool, seed: int
) -> Comparison:
    a = np.array([one.score for one, _ in pairs])
    b = np.array([two.score for _, two in pairs])
    groups = [one.group for one, _ in pairs] if grouped else None
    d, n = a - b, len(pairs)
    wins, losses = int((d > 1e-12).sum()), int((d < -1e-12).sum())
    exact = groups is None and is_binary(a) and is_binary(b)
    test = mcnemar(wins, losses) if exact else None
    square = float((d * d).mean())
    # items that come in groups are worth as many as their design effect leaves
    effective = n / _design_effect(d, groups) if groups is not None else float(n)
    used, beside = (sum((pair[k].usage for pair in pairs), Usage()) for k in (0, 1))
    needed = items_needed(float(d.mean()), square, alpha=ALPHA / family)
    return Comparison(
        name, other.name, other.role, n,
        paired_difference(a, b, groups, seed=seed),
        bootstrap_mean(d, groups, seed=seed, low=-1.0),
        wins, losses, n - wins - losses,
        test.p if test else sign_flips(d, groups, seed=seed),
        test.mid_p if test else None,
        "McNemar" if test else "sign flips",
        1.0, family,
        detectable(square, effective, binary=exact, alpha=ALPHA / family),
        None if needed is None else math.ceil(needed * n / effective),
        "no difference shown",
        _ratio(used.calls, beside.calls), _ratio(used.tokens, beside.tokens), _ratio(used.usd, beside.usd),
    )  # fmt: skip


def _design_effect(d: Floats, groups: Sequence[str]) -> float:
    """The variance of a mean of grouped differences over that of as many independent ones, at least 1."""
    sums, sizes = by_group(d - d.mean(), groups)
    within = float(((d - d.mean()) ** 2).sum())
    return max(1.0, float((sums**2).sum()) / within) if within > 0 else len(d) / len(sizes)


def _ratio(one: float | None, two: float | None) -> float | None:
    return one / two if one is not None and two else None


# ---- the best member ----------------------------------------------------------------------------------------------


def best_single(
    members: Mapping[str, Sequence[Scored]], *, folds: int = 5, seed: int = 0
) -> tuple[tuple[Scored, ...], str]:
    """The rows of a baseline 'the best single member, chosen on other items'. Who chooses the best of several on the
    items on which it is then measured, overrates it; here the items are split by a seed, and in each part the member
    answers that did best on all others: of equals the cheapest, then the first.

    Args:
        members: name -> its rows, all of the same items in the same order.
        folds: parts; at most as many as items. A single item has no others: the first member answers it.
        seed: of the split.

    Returns:
        The rows, in the same order, and a sentence that says who was chosen for how many of them.

    Raises:
        InputError: if there are no members, or their items differ.
    """
    if not members:
        raise InputError("there are no members to choose from.")
    names, columns = list(members), list(members.values())
    items = [row.item for row in columns[0]]
    if any([row.item for row in column] != items for column in columns):
        raise InputError("the members have not answered the same items.")
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    parts = max(2, min(folds, len(items)))
    chosen = [0] * len(items)
    for k in range(parts):
        inside = set(order[k::parts])
        others = [i for i in range(len(items)) if i not in inside]
        if others:
            best = min(range(len(names)), key=lambda j: (_worth(columns[j], others), j))
            for i in inside:
                chosen[i] = best
    said = ", ".join(f"{names[j]} for {count}" for j, count in Counter(chosen).most_common())
    return tuple(columns[j][i] for i, j in enumerate(chosen)), f"chosen on other items, in {parts} parts: {said}"


def _worth(rows: Sequence[Scored], others: Sequence[int]) -> tuple[float, float, int]:
    """Less is better: the score, the price where it is known, tokens."""
    own = [rows[i] for i in others]
    usd = [row.usage.usd for row in own]
    price = math.inf if None in usd else math.fsum(one for one in usd if one is not None)
    return -math.fsum(row.score for row in own), price, sum(row.usage.tokens for row in own)
