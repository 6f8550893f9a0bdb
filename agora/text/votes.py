"""Votes: answers or ballots and weights in, a ruling out, ties by an explicit policy."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack

from agora.errors import InputError
from agora.model import derive_seed
from agora.records import Ballot, Round, Turn
from agora.text.rules import RULES, cast, ceiling, exact, heaviest_first
from agora.text.weights import WEIGHTS, Weight, weigh

__all__ = [
    "Counting",
    "Ruling",
    "Ties",
    "Weight",
    "elect",
    "family_of",
    "majority",
    "medoid",
    "most_consistent",
    "plurality",
    "settle",
    "supermajority",
    "tally",
    "trajectory",
    "weigh",
]

Ties = Literal["initial", "confidence", "seeded", "first", "abstain"]

_BREAKERS = {"initial": "the first round's vote", "confidence": "confidence", "seeded": "seed", "first": "order"}
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ruling:
    """The outcome of a decision: an answer or None, the weight behind each answer, and how it came about; of pairs that
    a judge compared in both orders, how many it decided by their place, and how many there were."""

    answer: str | None
    support: Mapping[str, float] = field(default_factory=dict)
    how: str = ""
    text: str | None = None
    flips: tuple[int, int] = (0, 0)


class Counting(TypedDict, total=False):
    """How votes are weighed and ties broken; see `plurality`, which takes the same."""

    weight: Weight
    ties: Ties
    initial: Sequence[Turn]
    seed: int
    accuracies: Mapping[str, float] | None
    options: int
    cap: float | None
    trim: float
    families: int


# ---- votes for answers --------------------------------------------------------------------------------------------


def tally(
    turns: Sequence[Turn],
    weight: Weight = "one",
    *,
    accuracies: Mapping[str, float] | None = None,
    options: int = 2,
    cap: float | None = None,
    trim: float = 0.0,
) -> dict[str, float]:
    """Weight behind each answer, heaviest first, in order of first mention where equal. What has no value has no vote.

    For the arguments see `weigh`.
    """
    return _tally(turns, weigh(turns, weight, accuracies=accuracies, options=options, cap=cap, trim=trim))


def plurality(
    turns: Sequence[Turn],
    *,
    weight: Weight = "one",
    ties: Ties = "initial",
    initial: Sequence[Turn] = (),
    seed: int = 0,
    accuracies: Mapping[str, float] | None = None,
    options: int = 2,
    cap: float | None = None,
    trim: float = 0.0,
    threshold: float = 0.0,
    families: int = 1,
) -> Ruling:
    """The answer with most weight behind it.

    Args:
        turns: the deciding turns; absent, abstaining and unparsed voices do not vote.
        weight: what a vote counts; see `weigh`.
        ties: among the leaders: most votes in the 'initial' round, most summed 'confidence', one 'seeded' at random,
            the 'first' mentioned in the order of the turns, or 'abstain'. What it leaves tied is an abstention.
        initial: the turns of round 0.
        seed: for 'seeded'.
        accuracies: of agents; see `weigh`.
        options: see `weigh`.
        cap: see `weigh`.
        trim: see `weigh`.
        threshold: share of the votes' total weight that the winner needs; below it there is no answer.
        families: the answer must be held by agents of so many model families (`family_of`), else there is none.
    """
    counting: Counting = {
        "weight": weight, "ties": ties, "initial": initial, "seed": seed, "accuracies": accuracies,
        "options": options, "cap": cap, "trim": trim, "families": families,
    }  # fmt: skip
    return _rule("plurality", turns, counting, threshold=threshold)


def majority(turns: Sequence[Turn], **counting: Unpack[Counting]) -> Ruling:
    """The answer with more than half of the weight of all voices, those who abstain or are absent included, or none.

    Args:
        turns: the deciding turns of all voters.
        **counting: as for `plurality`.
    """
    return _rule("majority", turns, counting, everybody=0.5)


def supermajority(turns: Sequence[Turn], share: float = 2 / 3, **counting: Unpack[Counting]) -> Ruling:
    """The answer with at least this share of the weight of all voices, abstaining and absent ones included, or none.

    Args:
        turns: the deciding turns of all voters.
        share: above 0, at most 1.
        **counting: as for `plurality`.

    Raises:
        InputError: if the share is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"supermajority: share must be above 0 and at most 1, it is {share}.")
    return _rule("supermajority", turns, counting, everybody=share)


def trajectory(rounds: Sequence[Round], voters: Sequence[str]) -> dict[str, float]:
    """Free-MAD's score of each answer over the whole debate, heaviest first (Cui et al. 2025, arXiv:2509.11035).

    An initial answer scores 20. In round r everything counts f = 1 / (r + 1) as much: an agent that keeps its answer
    adds 20 f to it; one that changes takes 25 f from the old and adds 30 f to the new. The sum is divided by the number
    of agents that ever held the answer. Weights and division are those of the public `freemad` scorer.

    Where the method says nothing: a voice that is absent or has no answer scores nothing, and its last answer stands
    until it gives another; a first answer in a later round scores 20 f. Scores may be negative; `settle` breaks ties.

    Args:
        rounds: what was said, in order.
        voters: the agents that count.
    """
    score: dict[str, Fraction] = {}
    holders: dict[str, set[str]] = {}
    held: dict[str, str] = {}
    for round in rounds:
        factor = Fraction(1, round.index + 1)
        for name in voters:
            turn = round.final.get(name)
            if turn is None or (new := turn.value) is None:
                continue
            old = held.get(name, new)
            if old != new:
                score[old] -= 25 * factor
            score[new] = score.get(new, Fraction(0)) + (20 if old == new else 30) * factor
            holders.setdefault(new, set()).add(name)
            held[name] = new
    return heaviest_first({answer: total / len(holders[answer]) for answer, total in score.items()})


def most_consistent(turns: Sequence[Turn]) -> dict[str, float]:
    """The usual answer of each model, with the share of its samples that give it, heaviest first: SLM-MUX (Wang et al.
    2025, arXiv:2510.05077) takes the answer of the model that agrees most with itself.

    The share is one of all samples that the model was asked for: what could not be read, and who is absent, counts
    against it. Two models with one usual answer give it the larger share. Which of two answers a model gives equally
    often is its usual one is decided by how often all models together give them, then by order.

    Args:
        turns: the samples of all models, one turn each; those of a model are told by the name of the model that
            replied. An absent voice, which has no reply, counts for the model of the agents with its name up to '-'.
    """
    groups: dict[str, list[Turn]] = {}
    models = {turn.agent.rpartition("-")[0]: turn.reply.model for turn in turns if turn.reply is not None}
    for turn in turns:
        name = turn.reply.model if turn.reply is not None else models.get(turn.agent.rpartition("-")[0], turn.agent)
        groups.setdefault(name, []).append(turn)
    overall = Counter(turn.value for turn in turns if turn.value is not None)
    support: dict[str, Fraction] = {}
    for samples in groups.values():
        counts = Counter(turn.value for turn in samples if turn.value is not None)
        if counts:
            usual = max(counts, key=lambda value: (counts[value], overall[value]))
            support[usual] = max(support.get(usual, Fraction(0)), Fraction(counts[usual], len(samples)))
    return heaviest_first(support)


def medoid(texts: Sequence[str]) -> int:
    """The index of the text most similar to all others, the first of equals: a vote where no two texts are the same.

    Similarity is the cosine between counts of words, up to case. It sees words, not meanings.

    Raises:
        InputError: if there is no text.
    """
    if not texts:
        raise InputError("medoid: there is no text.")
    counts = [Counter(re.findall(r"\w+", text.casefold())) for text in texts]
    norms = [math.sqrt(sum(n * n for n in count.values())) for count in counts]
    totals = []
    for i, a in enumerate(counts):
        near = []
        for j, b in enumerate(counts):
            small, large = (a, b) if len(a) <= len(b) else (b, a)
            dot = sum(n * large[word] for word, n in small.items()) if i != j else 0
            near.append(dot / (norms[i] * norms[j]) if dot else 0.0)
        totals.append(round(math.fsum(near), 12))
    return totals.index(max(totals))


# ---- votes on ballots ---------------------------------------------------------------------------------------------


def elect(
    ballots: Sequence[Ballot],
    candidates: Sequence[str],
    rule: str = "borda",
    *,
    ties: Ties = "abstain",
    initial: Mapping[str, float] = _NOTHING,
    confidence: Mapping[str, float] = _NOTHING,
    seed: int = 0,
    threshold: float = 0.0,
    **options: Any,
) -> Ruling:
    """The candidate that a rule over ballots puts first.

    Args:
        ballots: rankings or scores.
        candidates: in an order that only the tie policy 'first' looks at.
        rule: one of `RULES`.
        ties: see `settle`.
        initial: see `settle`.
        confidence: see `settle`.
        seed: see `settle`.
        threshold: share that the winner needs of the most support there can be (`rules.ceiling`: the weight of all
            ballots that count, for rules that count votes); below it there is no answer.
        **options: of the rule: `bar` for approval, `aggregate` and `share` for score.

    Raises:
        InputError: if there is no such rule, or it cannot take these ballots.
    """
    if rule not in RULES:
        raise InputError(f"vote: unknown rule '{rule[:40]}'; there are {', '.join(RULES)}.")
    if rule == "score" and threshold:
        raise InputError("score: has no threshold, as there is no total to have a share of.")
    support = RULES[rule](ballots, candidates, **options)
    voting = cast(rule, ballots, candidates)
    if not voting:
        return Ruling(None, {}, "nobody gave a ballot that could be read")
    most = ceiling(rule, voting, len(candidates))
    first, second = [*support.values(), 0.0][:2]
    plural = "s" * (len(voting) != 1)
    how = f"{rule.replace('_', ' ')} of {len(voting)} ballot{plural}, {_amount(first)} to {_amount(second)}"
    needed = threshold if most else 0.0  # of one candidate alone, some rules ask for nothing
    winner, note = settle(
        support, ties, initial=initial, confidence=confidence, seed=seed, threshold=needed, total=most
    )
    return Ruling(winner, support, f"{how}; {note}" if note else how)


def settle(
    support: Mapping[str, float],
    ties: Ties = "abstain",
    *,
    initial: Mapping[str, float] = _NOTHING,
    confidence: Mapping[str, float] = _NOTHING,
    seed: int = 0,
    threshold: float = 0.0,
    total: float | None = None,
) -> tuple[str | None, str]:
    """The winner of a tally, or None; and a note on a tie or a threshold, '' where the lead is clear.

    Args:
        support: weight of each candidate; those equal in an order that only 'first' looks at.
        ties: among the leaders: most support in the 'initial' round, most summed 'confidence', one 'seeded' at random,
            the 'first', or 'abstain'. What the policy leaves tied is an abstention.
        initial: weight of each candidate in round 0.
        confidence: summed confidence in each candidate.
        seed: for 'seeded'.
        threshold: share of the total that the winner needs.
        total: what it is a share of; default: the sum of all support.

    Raises:
        InputError: if there is no such policy, or the threshold is out of range.
    """
    if ties != "abstain" and ties not in _BREAKERS:
        raise InputError(f"ties: unknown policy '{str(ties)[:40]}'; there are {', '.join(_BREAKERS)}, abstain.")
    if not 0 <= threshold <= 1:
        raise InputError(f"vote: threshold must be between 0 and 1, it is {threshold}.")
    leaders, note = _leaders(support), ""
    if not leaders:
        return None, "no candidate"
    top = support[leaders[0]]
    if len(leaders) > 1:
        shown = " and ".join(map(_short, leaders)) if len(leaders) < 4 else f"{len(leaders)} answers"
        if ties == "seeded":
            leaders = [random.Random(derive_seed(seed, "tie")).choice(sorted(leaders))]
        elif ties == "first":
            leaders = leaders[:1]
        elif ties in ("initial", "confidence"):
            second = initial if ties == "initial" else confidence
            leaders = _leaders({name: second.get(name, 0.0) for name in leaders})
        if len(leaders) > 1:
            return None, f"tie between {shown}: no answer"
        note = f"tie between {shown} broken by {_BREAKERS[ties]}"
    whole = sum(support.values()) if total is None else total
    if threshold and (whole <= 0 or top < threshold * whole - 1e-9 * max(1.0, whole)):
        short = f"less than the {threshold:.0%} of {_amount(whole)} it needs: no answer"
        return None, f"{note}; {short}" if note else short
    return leaders[0], note


def family_of(model: str) -> str:
    """The family of a model by its name: what comes before the colon, 'openai' of 'openai:gpt-5-mini'.

    A local model behind an OpenAI-like server counts by its kind too. Another name, such as a debate's, is its own.
    """
    match = re.match(r"([\w.-]{1,60}):.", model)
    return match[1] if match else model


# ---- what they share ----------------------------------------------------------------------------------------------


def _rule(
    name: str, turns: Sequence[Turn], counting: Counting, *, threshold: float = 0.0, everybody: float | None = None
) -> Ruling:
    """Count, settle, and check what the winner needs: a share of all voices, families of models."""
    weight = counting.get("weight", "one")
    accuracies = counting.get("accuracies")
    cap, trim = counting.get("cap"), counting.get("trim", 0.0)
    weights = weigh(turns, weight, accuracies=accuracies, options=counting.get("options", 2), cap=cap, trim=trim)
    support = _tally(turns, weights)
    if not support:
        return Ruling(None, support, "nobody gave an answer that could be read")
    whole = math.fsum(support.values() if everybody is None else weights)
    how = f"{WEIGHTS[weight]}{'accuracy-weighted ' * (accuracies is not None)}{name}, "
    how += f"{_amount(max(support.values()))} of {_amount(whole)}"
    how += f", {trim:.0%} trimmed at each end" * bool(trim) + (f", no vote above {cap:.0%}" if cap is not None else "")
    ties = counting.get("ties", "initial")
    winner, note = settle(
        support,
        ties,
        initial=tally(counting.get("initial", ())) if ties == "initial" else _NOTHING,
        confidence=tally(turns, "confidence") if ties == "confidence" else _NOTHING,
        seed=counting.get("seed", 0),
        threshold=threshold,
    )
    notes = [how, note]
    if winner is not None and everybody is not None:
        over, edge, strictly = support[winner] - everybody * whole, 1e-9 * max(1.0, whole), name == "majority"
        if whole <= 0 or over < -edge or (strictly and over <= edge):
            need = "more than half" if strictly else f"{everybody:.0%}"
            notes.append(f"it needs {need} of all voices: no answer")
            winner = None
    wanted = counting.get("families", 1)
    if winner is not None and wanted > 1:
        held = {family_of(t.reply.model) for t in turns if t.reply is not None and t.value == winner}
        if len(held) < wanted:
            kinds = "y" if len(held) == 1 else "ies"
            notes.append(f"held by {len(held)} model famil{kinds}, fewer than {wanted}: no answer")
            winner = None
    return Ruling(winner, support, "; ".join(n for n in notes if n))


def _tally(turns: Sequence[Turn], weights: Sequence[float]) -> dict[str, float]:
    if all(weight == 1.0 for weight in weights):  # the usual vote: counting is exact as it is
        counts = Counter(turn.value for turn in turns if turn.value is not None)
        return {answer: float(n) for answer, n in counts.most_common()}
    support: dict[str, Fraction] = {}
    for turn, weight in zip(turns, weights, strict=True):
        if turn.value is not None:
            support[turn.value] = support.get(turn.value, Fraction(0)) + exact(weight)
    return heaviest_first(support)


def _leaders(support: Mapping[str, float]) -> list[str]:
    top = max(support.values(), default=0.0)
    return [name for name, weight in support.items() if top - weight <= 1e-9 * max(1.0, abs(top))]


def _short(answer: str) -> str:
    return answer if len(answer) <= 60 else f"{answer[:59]}…"


def _amount(weight: float) -> str:
    return f"{weight:.0f}" if weight == int(weight) else f"{weight:.2f}"
