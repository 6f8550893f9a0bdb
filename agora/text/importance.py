"""Importance: what each agent has contributed to an answer, from how its readers rate it, as DyLAN scores a team."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from agora.records import Round, Turn
from agora.text.rules import exact

Node = tuple[str, int]  # an agent in a round


def importance(rounds: Sequence[Round], answer: str | None) -> dict[str, float]:
    """How much each agent has contributed to an answer, most first (DyLAN, Liu et al. 2023, arXiv:2310.02170).

    The agents of the last round that hold the answer share an importance of 1. Going back, each agent passes its own
    importance on to those it has read, in the round before, by the scores that it gave them; scores are divided by
    their sum, so that every round has 1 to share. Where an agent read others without a score that could be read, they
    share equally. An agent's importance is the sum over the rounds, divided by their number.

    Where the method says nothing: turns that no call was made for (kept by a gate) pass their importance on to the same
    agent; the division by the number of rounds only makes debates of different length comparable.

    Args:
        rounds: of a verdict, `verdict.rounds`.
        answer: `verdict.answer`, or another that was given.

    Returns:
        Agent -> 0 to 1; they add up to 1, or to 0 where nobody holds the answer in the last round.
    """
    if not rounds:
        return {}
    agents = list(dict.fromkeys(name for r in rounds for name in r.final))
    total = dict.fromkeys(agents, Fraction(0))
    last = [name for name, turn in rounds[-1].final.items() if turn.value is not None and turn.value == answer]
    share = {name: Fraction(1, len(last)) for name in last}
    for i in range(len(rounds) - 1, -1, -1):
        passed: dict[str, Fraction] = {}
        for name, amount in share.items():
            total[name] += amount
            for other, part in _rated(rounds[i].final[name], rounds[i - 1]).items() if i else ():
                passed[other] = passed.get(other, Fraction(0)) + amount * part
        share = passed
    found = {name: float(amount / len(rounds)) for name, amount in total.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _rated(turn: Turn, before: Round) -> dict[str, Fraction]:
    """How an agent's importance is divided among those of the round before."""
    read = list(dict.fromkeys(name for name, _, _ in turn.reads if name in before.final))
    if turn.kept is not None or not read:
        return {turn.agent: Fraction(1)} if turn.agent in before.final else {}
    given = turn.ballot.scores if turn.ballot is not None else {}
    scores = {name: max(Fraction(0), exact(given[name])) for name in read if name in given}
    whole = sum(scores.values(), Fraction(0))
    if not whole:
        return {name: Fraction(1, len(read)) for name in read}
    return {name: score / whole for name, score in scores.items()}
