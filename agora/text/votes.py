"""Votes: answers and weights in, a ruling out, ties by an explicit policy."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agora.model import derive_seed
from agora.records import Turn

Ties = Literal["initial", "confidence", "seeded", "abstain"]
Weight = Literal["one", "confidence"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """The outcome of a decision: an answer or None, the weight behind each answer, and how it came about."""

    answer: str | None
    support: Mapping[str, float] = field(default_factory=dict)
    how: str = ""
    text: str | None = None


def tally(turns: Sequence[Turn], weight: Weight = "one") -> dict[str, float]:
    """Weight behind each answer, heaviest first, in order of first mention where equal. What has no value has no vote.

    With weight 'confidence' a vote counts its confidence; one without confidence counts as the mean of those that have
    one, or 1 if none has.
    """
    votes = [turn.answer for turn in turns if turn.answer is not None and turn.answer.value is not None]
    known = [vote.confidence for vote in votes if vote.confidence is not None]
    usual = sum(known) / len(known) if known else 1.0
    support: dict[str, float] = {}
    for vote in votes:
        assert vote.value is not None
        w = 1.0 if weight == "one" else vote.confidence if vote.confidence is not None else usual
        support[vote.value] = support.get(vote.value, 0.0) + w
    return dict(sorted(support.items(), key=lambda item: -item[1]))


def plurality(
    turns: Sequence[Turn],
    *,
    weight: Weight = "one",
    ties: Ties = "initial",
    initial: Sequence[Turn] = (),
    seed: int = 0,
) -> Ruling:
    """The answer with most weight behind it.

    Args:
        turns: the deciding turns; absent, abstaining and unparsed voices do not vote.
        weight: every vote 'one', or its 'confidence'.
        ties: among the leaders: most votes in the 'initial' round, most summed 'confidence', one 'seeded' at random, or
            'abstain'. What the policy leaves tied is an abstention.
        initial: the turns of round 0.
        seed: for 'seeded'.
    """
    support = tally(turns, weight)
    if not support:
        return Ruling(None, support, "nobody gave an answer that could be read")
    name = "plurality" if weight == "one" else "confidence-weighted plurality"
    top = max(support.values())
    leaders = [answer for answer, w in support.items() if abs(w - top) <= 1e-9 * max(1.0, top)]
    how = f"{name}, {_amount(top)} of {_amount(sum(support.values()))}"
    if len(leaders) == 1:
        return Ruling(leaders[0], support, how)
    shown = " and ".join(leaders) if len(leaders) < 4 else f"{len(leaders)} answers"
    if ties == "seeded":
        chosen = random.Random(derive_seed(seed, "tie")).choice(sorted(leaders))
        return Ruling(chosen, support, f"{how}; tie between {shown} broken by seed")
    if ties in ("initial", "confidence"):
        second = tally(initial) if ties == "initial" else tally(turns, "confidence")
        best = max(second.get(answer, 0.0) for answer in leaders)
        left = [answer for answer in leaders if best - second.get(answer, 0.0) <= 1e-9]
        if len(left) == 1:
            return Ruling(left[0], support, f"{how}; tie between {shown} broken by {_BREAKERS[ties]}")
    return Ruling(None, support, f"{how}; tie between {shown}: no answer")


_BREAKERS = {"initial": "the first round's vote", "confidence": "confidence"}


def _amount(weight: float) -> str:
    return f"{weight:.0f}" if weight == int(weight) else f"{weight:.2f}"
