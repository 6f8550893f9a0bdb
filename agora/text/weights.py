"""Weights: what each voice in a vote counts, by its confidence, its known accuracy, and bounds on both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from agora.errors import InputError
from agora.records import Turn
from agora.text.rules import exact

Weight = Literal["one", "confidence", "reconcile", "log_odds", "logprob"]

WEIGHTS: Mapping[Weight, str] = {  # how a vote so weighed is called
    "one": "",
    "confidence": "confidence-weighted ",
    "reconcile": "ReConcile-weighted ",
    "log_odds": "log-odds-weighted ",
    "logprob": "likelihood-weighted ",
}
_SURE = 0.99


def weigh(
    turns: Sequence[Turn],
    weight: Weight = "one",
    *,
    accuracies: Mapping[str, float] | None = None,
    options: int = 2,
    cap: float | None = None,
    trim: float = 0.0,
) -> list[float]:
    """The weight of each turn's voice, in their order. One that has no answer has the weight its vote would have had.

    First the weight, then the accuracies, then `trim`, then `cap`. A voice without a confidence (log-probability,
    accuracy) counts as the mean of the votes that have one, or 1 if none has.

    Args:
        turns: one turn of each agent.
        weight: what a vote counts:
            'one': 1;
            'confidence': its confidence;
            'reconcile': its confidence by ReConcile's table (Chen et al. 2023, arXiv:2309.13007): 1 counts 1,
                from .9 .8, from .8 .5, above .6 .3, else .1; without the 1e-5 by which their code favours the first
                agent, as ties have a policy here;
            'log_odds': log(p / (1 - p)) of its confidence p, held between .5 and .99: never negative, and no claim of
                certainty outweighs everybody. Who is no surer than a coin has weight 0, so all may tie at 0;
            'logprob': exp of the reply's mean log-probability per token.
        accuracies: how often each agent is right, say on a calibration set, by agent. Multiplies the weight by the
            log-odds log((k - 1) p / (1 - p)) of an accuracy p against guessing one of k options, with p held between
            1 / k and .99 (never negative). With weight 'one' that is the best vote of independent voters whose errors
            fall evenly on the other options (Nitzan & Paroush 1982, for k = 2).
        options: that k; with 2, plain log-odds.
        cap: the largest share of the votes' total weight that one vote may have. Those above are lowered to one level,
            the highest that keeps the cap; a cap that so few votes cannot keep makes them all equal.
        trim: this share of the votes, rounded down to whole votes, is dropped at each end of the order by confidence.
            Votes tied at the edge share the loss, so that no order of agents decides.

    Raises:
        InputError: if an option is out of range.
    """
    if weight not in WEIGHTS:
        raise InputError(f"vote: unknown weight '{str(weight)[:40]}'; there are {', '.join(WEIGHTS)}.")
    if cap is not None and not 0 < cap <= 1:
        raise InputError(f"vote: cap must be above 0 and at most 1, it is {cap}.")
    if not 0 <= trim < 0.5:
        raise InputError(f"vote: trim must be at least 0 and below 0.5, it is {trim}.")
    if options < 2:
        raise InputError(f"vote: options must be at least 2, it is {options}.")
    voting = [i for i, turn in enumerate(turns) if turn.value is not None]
    weights = _filled([_worth(turn, weight) for turn in turns], voting)
    if accuracies is not None:
        for agent, accuracy in accuracies.items():
            if not 0 <= accuracy <= 1:
                raise InputError(f"vote: the accuracy of {agent} must be between 0 and 1, it is {accuracy}.")
        known = [accuracies.get(turn.agent) for turn in turns]
        skill = _filled([None if p is None else _log_odds(p, options) for p in known], voting)
        weights = [w * s for w, s in zip(weights, skill, strict=True)]
    if trim:
        sure = _filled([_confidence(turn) for turn in turns], voting)
        for i, left in zip(voting, _trimmed([sure[i] for i in voting], trim), strict=True):
            weights[i] *= left
    if cap is not None:
        level = _level([weights[i] for i in voting], cap)
        weights = [min(w, level) for w in weights]
    return weights


def _filled(known: Sequence[float | None], voting: Sequence[int]) -> list[float]:
    """Unknown ones replaced by the mean of the votes' known ones, or 1 if there is none."""
    votes = [value for i in voting if (value := known[i]) is not None]
    usual = math.fsum(votes) / len(votes) if votes else 1.0
    return [usual if value is None else value for value in known]


def _confidence(turn: Turn) -> float | None:
    given = turn.answer.confidence if turn.answer is not None else None
    return None if given is None or math.isnan(given) else min(1.0, max(0.0, given))


def _worth(turn: Turn, weight: Weight) -> float | None:
    """What a voice counts by itself; None where it does not say."""
    if weight == "one":
        return 1.0
    if weight == "logprob":
        logprob = turn.reply.logprob if turn.reply is not None else None
        return None if logprob is None or math.isnan(logprob) else math.exp(min(0.0, logprob))
    sure = _confidence(turn)
    return None if sure is None else _BY_CONFIDENCE[weight](sure)


def _reconcile(sure: float) -> float:
    return 1.0 if sure >= 1 else 0.8 if sure >= 0.9 else 0.5 if sure >= 0.8 else 0.3 if sure > 0.6 else 0.1


def _log_odds(p: float, options: int = 2) -> float:
    p = min(_SURE, p)
    return max(0.0, math.log((options - 1) * p / (1 - p))) if p > 1 / options else 0.0


_BY_CONFIDENCE: Mapping[str, Callable[[float], float]] = {
    "confidence": lambda sure: sure,
    "reconcile": _reconcile,
    "log_odds": _log_odds,
}


def _trimmed(sure: Sequence[float], share: float) -> list[float]:
    """What is left of each vote, 0 to 1."""
    drop = math.floor(share * len(sure) + 1e-9)
    kept = []
    for value in sure:
        below, same = sum(other < value for other in sure), sum(other == value for other in sure)
        inside = min(below + same, len(sure) - drop) - max(below, drop)
        kept.append(max(0, inside) / same)
    return kept


def _level(weights: Sequence[float], cap: float) -> float:
    """The highest level at which no weight, held to it, is above a share of the sum."""
    share, falling = exact(cap), sorted((exact(w) for w in weights if w > 0), reverse=True)
    rest = sum(falling, Fraction(0))
    for above, weight in enumerate(falling):
        if share * above >= 1:
            break
        level = share * rest / (1 - share * above)
        if weight <= level:
            return float(level)
        rest -= weight
    return float(falling[-1]) if falling else 0.0
