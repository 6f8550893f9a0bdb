"""Rules: ballots and candidates in, the support of each candidate out; exact, so that no order decides a tie.

Every rule takes `(ballots, candidates)` and gives each candidate's support, more is better, heaviest first and in the
order of the candidates where equal. All rules are neutral (no name matters) and anonymous (no order of ballots does);
weights count as so many equal ballots would. Weights and scores are taken for the decimal numbers they print as, and
sums are exact: 0.1 + 0.2 ties with 0.3.

A ballot without a ranking ranks by its scores, equals together. Candidates it does not rank stand together after those
it does. Whom it ranks and who is no candidate is passed over; a ballot that then says nothing does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

from agora.errors import InputError
from agora.records import Ballot

Rule = Callable[..., dict[str, float]]
Aggregate = Literal["mean", "median", "trimmed"]

KEMENY_LIMIT = 8
_Voters = list[tuple[list[list[str]], Fraction]]
_ZERO = Fraction(0)


def exact(number: float) -> Fraction:
    """The decimal number that a float prints as.

    Raises:
        InputError: if it is infinite or NaN.
    """
    if not math.isfinite(number):
        raise InputError(f"votes: weights and scores must be finite numbers, one is {number}.")
    return Fraction(repr(float(number)))


def heaviest_first(support: Mapping[str, Fraction]) -> dict[str, float]:
    """Support as floats, heaviest first; what is equal keeps its order."""
    return {name: float(weight) for name, weight in sorted(support.items(), key=lambda item: -item[1])}


# ---- from rankings ------------------------------------------------------------------------------------------------


def borda(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Borda's count: n - 1 points for the first of n, none for the last (Borda 1784).

    Equals share the mean of the points of their places, and so do those left out.
    """
    support = dict.fromkeys(candidates, _ZERO)
    for tiers, weight in _complete(ballots, candidates):
        below = len(candidates)
        for tier in tiers:
            below -= len(tier)
            points = weight * (below + Fraction(len(tier) - 1, 2))
            for name in tier:
                support[name] += points
    return heaviest_first(support)


def plurality_of_rankings(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """First places; equals at the top share the vote."""
    return heaviest_first(_first_places(_ranked(ballots, candidates), candidates))


def copeland(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Copeland's rule: 1 for each candidate that most prefer it to, 1/2 where as many do as do not (Copeland 1951)."""
    beats = _pairwise(ballots, candidates)
    return heaviest_first(
        {
            a: sum((Fraction(1 + _sign(beats[a][b] - beats[b][a]), 2) for b in candidates if b != a), _ZERO)
            for a in candidates
        }
    )


def schulze(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Schulze's rule: the strongest chains of pairwise wins decide, by winning votes (Schulze 2011).

    A candidate's support is the number of others whose strongest chain to it is no stronger than its own to them; the
    winners, all of them, have n - 1.
    """
    beats = _pairwise(ballots, candidates)
    path = {a: {b: beats[a][b] if beats[a][b] > beats[b][a] else _ZERO for b in candidates} for a in candidates}
    for via in candidates:
        for a in candidates:
            for b in candidates:
                path[a][b] = max(path[a][b], min(path[a][via], path[via][b]))
    return heaviest_first(
        {a: Fraction(sum(path[a][b] >= path[b][a] for b in candidates if b != a)) for a in candidates}
    )


def kemeny(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Kemeny's rule: the order that agrees with the most pairwise preferences, found exactly (Kemeny 1959).

    A candidate's support is the number of candidates below it in the best order; where several orders are best, the
    mean over all of them, so that none is picked by chance.

    Raises:
        InputError: with more than 8 candidates, since the work doubles with each.
    """
    n = len(candidates)
    if n > KEMENY_LIMIT:
        raise InputError(f"kemeny: has {n} candidates, its limit is {KEMENY_LIMIT}.", hint="Use schulze or copeland.")
    beats = _pairwise(ballots, candidates)
    # over the sets of candidates that stand on top, as bits: the best agreement, and in how many ways it is reached
    full = (1 << n) - 1
    gain = [
        [sum((beats[c][d] for j, d in enumerate(candidates) if not taken >> j & 1), _ZERO) for c in candidates]
        for taken in range(full + 1)
    ]
    best, ways = [_ZERO] * (full + 1), [1] + [0] * full
    for taken in range(1, full + 1):
        befores = [(taken ^ 1 << i, i) for i in range(n) if taken >> i & 1]
        best[taken] = max(best[before] + gain[before][i] for before, i in befores)
        ways[taken] = sum(ways[before] for before, i in befores if best[before] + gain[before][i] == best[taken])
    onward = [0] * full + [1]  # in how many ways each set goes on to a best order
    places = [0] * n
    for taken in range(full - 1, -1, -1):
        for i in range(n):
            after = taken | 1 << i
            if after != taken and best[taken] + gain[taken][i] == best[after]:
                onward[taken] += onward[after]
                places[i] += ways[taken] * onward[after] * (n - 1 - taken.bit_count())
    return heaviest_first({name: Fraction(places[i], ways[full]) for i, name in enumerate(candidates)})


def ranked_choice(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Ranked choice (instant run-off): the last drops out and its votes pass on, until one has more than half.

    Candidates tied for last drop out together, unless that leaves nobody: then they are tied for the win. Equals at the
    top of a ballot share its vote; a ballot whose candidates are all out counts no longer. A candidate's support is the
    votes that it held when it dropped out, or at the end: whoever drops out later held more.
    """
    support = dict.fromkeys(candidates, _ZERO)
    left = list(candidates)
    while left:
        votes = _first_places(_ranked(ballots, left), left)
        support.update(votes)
        least, total = min(votes.values()), sum(votes.values())
        staying = [name for name in left if votes[name] > least]
        if not staying or 2 * max(votes.values()) > total:
            break
        left = staying
    return heaviest_first(support)


def approval(ballots: Sequence[Ballot], candidates: Sequence[str], *, bar: float | None = None) -> dict[str, float]:
    """Approval: a ballot's weight for each candidate that it approves of (Brams & Fishburn 1978).

    Args:
        ballots: the ballots.
        candidates: the candidates.
        bar: a ballot with scores approves of those at or above it; one without, and all where no bar is given, of the
            first in its ranking, equals included.
    """
    support = dict.fromkeys(candidates, _ZERO)
    for ballot in ballots:
        if bar is not None and ballot.scores:
            liked = [name for name in candidates if name in ballot.scores and ballot.scores[name] >= bar]
        else:
            liked = next(iter(_ranking(ballot, candidates)), [])
        for name in liked:
            support[name] += _weight(ballot)
    return heaviest_first(support)


# ---- from scores --------------------------------------------------------------------------------------------------


def score(
    ballots: Sequence[Ballot], candidates: Sequence[str], *, aggregate: Aggregate = "mean", share: float = 0.2
) -> dict[str, float]:
    """Score (range) voting: each candidate's mean, median or trimmed mean over those who scored it.

    A candidate that nobody scored is not in the result: no number would be below every scale.

    Args:
        ballots: ballots with scores.
        candidates: the candidates.
        aggregate: 'mean'; 'median' (the mean of the two in the middle where the weight falls apart in halves);
            'trimmed': the mean without the `share` of weight that scored it lowest and the `share` that scored it
            highest. A voter at the edge counts with the part of its weight that is left.
        share: for 'trimmed': 0 to below 0.5.

    Raises:
        InputError: if the aggregate is unknown or the share out of range.
    """
    if aggregate not in ("mean", "median", "trimmed"):
        raise InputError(f"score: unknown aggregate '{str(aggregate)[:40]}'; there are mean, median, trimmed.")
    if not 0 <= share < 0.5:
        raise InputError(f"score: share must be at least 0 and below 0.5, it is {share}.")
    support = {}
    for name in candidates:
        given = [(exact(b.scores[name]), w) for b in ballots if name in b.scores and (w := _weight(b))]
        if given:
            support[name] = _aggregate(sorted(given), aggregate, exact(share))
    return heaviest_first(support)


def cumulative(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, float]:
    """Cumulative voting: each voter spreads one vote over the candidates, in proportion to its scores.

    A voter that scores all of them 0 does not vote.

    Raises:
        InputError: if a score is negative.
    """
    support = dict.fromkeys(candidates, _ZERO)
    for ballot in ballots:
        given = {name: exact(ballot.scores[name]) for name in candidates if name in ballot.scores}
        if any(value < 0 for value in given.values()):
            raise InputError(f"cumulative: {ballot.voter} has a negative score.", hint="Use score.")
        total = sum(given.values())
        for name, value in given.items():
            if total:
                support[name] += _weight(ballot) * value / total
    return heaviest_first(support)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            borda,
            plurality_of_rankings,
            copeland,
            schulze,
            kemeny,
            ranked_choice,
            approval,
            score,
            cumulative,
        )
    }
)
NEEDS_SCORES = frozenset({"score", "cumulative"})  # the others need rankings, or scores to rank by


def cast(rule: str, ballots: Sequence[Ballot], candidates: Sequence[str]) -> list[float]:
    """The weights of the ballots that count under a rule: those that have a weight and say something it can use."""
    if rule == "score":
        counts = [b for b in ballots if any(name in b.scores for name in candidates)]
    elif rule == "cumulative":
        counts = [b for b in ballots if any(b.scores.get(name, 0) > 0 for name in candidates)]
    else:
        counts = [b for b in ballots if _ranking(b, candidates)]
    return [float(weight) for b in counts if (weight := _weight(b))]


def ceiling(rule: str, weights: Sequence[float], candidates: int) -> float | None:
    """The most support that a candidate can have under a rule; None where the rule has no limit (score).

    It is the weight of all ballots that count; n - 1 times that for borda; n - 1 for copeland, schulze and kemeny.

    Args:
        rule: one of `RULES`.
        weights: those of the ballots that count (`cast`).
        candidates: their number.
    """
    if rule == "score":
        return None
    if rule in ("copeland", "schulze", "kemeny"):
        return float(candidates - 1)
    return float(sum(map(exact, weights), _ZERO)) * (candidates - 1 if rule == "borda" else 1)


# ---- what they share ----------------------------------------------------------------------------------------------


def _weight(ballot: Ballot) -> Fraction:
    weight = exact(ballot.weight)
    if weight < 0:
        raise InputError(f"votes: the ballot of {ballot.voter} has a negative weight, {ballot.weight}.")
    return weight


def _ranking(ballot: Ballot, candidates: Sequence[str]) -> list[list[str]]:
    """A ballot's ranking of the candidates that it ranks."""
    names = set(candidates)
    if len(names) != len(candidates):
        raise InputError("votes: a candidate is there twice.")
    tiers: Iterable[Iterable[str]] = ballot.ranking
    if not ballot.ranking:
        values = sorted({exact(v) for v in ballot.scores.values()}, reverse=True)
        tiers = [[name for name, value in ballot.scores.items() if exact(value) == level] for level in values]
    kept = [[name for name in tier if name in names] for tier in tiers]
    flat = [name for tier in kept for name in tier]
    if len(flat) != len(set(flat)):
        raise InputError(f"votes: the ballot of {ballot.voter} ranks a candidate twice.")
    return [tier for tier in kept if tier]


def _ranked(ballots: Sequence[Ballot], candidates: Sequence[str]) -> _Voters:
    """The ballots that rank a candidate, and their weights."""
    return [(tiers, weight) for b in ballots if (weight := _weight(b)) and (tiers := _ranking(b, candidates))]


def _complete(ballots: Sequence[Ballot], candidates: Sequence[str]) -> _Voters:
    """The same, with the candidates that a ballot leaves out as its last tier."""
    voters = []
    for tiers, weight in _ranked(ballots, candidates):
        named = {name for tier in tiers for name in tier}
        rest = [name for name in candidates if name not in named]
        voters.append(([*tiers, rest] if rest else tiers, weight))
    return voters


def _first_places(voters: _Voters, candidates: Sequence[str]) -> dict[str, Fraction]:
    votes = dict.fromkeys(candidates, _ZERO)
    for (first, *_), weight in voters:
        for name in first:
            votes[name] += weight / len(first)
    return votes


def _pairwise(ballots: Sequence[Ballot], candidates: Sequence[str]) -> dict[str, dict[str, Fraction]]:
    """The weight that prefers the one to the other."""
    beats = {a: dict.fromkeys(candidates, _ZERO) for a in candidates}
    for tiers, weight in _complete(ballots, candidates):
        for i, tier in enumerate(tiers):
            for a in tier:
                for lower in tiers[i + 1 :]:
                    for b in lower:
                        beats[a][b] += weight
    return beats


def _sign(number: Fraction) -> int:
    return (number > 0) - (number < 0)


def _aggregate(given: list[tuple[Fraction, Fraction]], aggregate: Aggregate, share: Fraction) -> Fraction:
    """Of (value, weight) pairs in rising order."""
    total = sum((weight for _, weight in given), _ZERO)
    if aggregate == "median":
        ends, reached = [], _ZERO
        for value, weight in given:
            reached += weight
            if 2 * reached >= total:
                ends.append(value)
            if 2 * reached > total:
                break
        return (ends[0] + ends[-1]) / 2
    low, high = (share * total, (1 - share) * total) if aggregate == "trimmed" else (_ZERO, total)
    kept, reached = _ZERO, _ZERO
    for value, weight in given:
        kept += value * max(_ZERO, min(reached + weight, high) - max(reached, low))
        reached += weight
    return kept / (high - low)
