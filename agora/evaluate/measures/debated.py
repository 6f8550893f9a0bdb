"""All that is measured within one debate, and what of it can be seen to go wrong without reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agora.evaluate.measures import agents, dynamics
from agora.evaluate.measures.significance import mcnemar
from agora.evaluate.measures.statistics import Interval, mean_interval
from agora.evaluate.records import RIGHT, Contestant


@dataclass(frozen=True, slots=True)
class Turned:
    """The vote of round 0 beside the final answer, over the items that have both scores.

    Attributes:
        n: items.
        initial: accuracy of the round-0 vote.
        final: of the final answer, on the same items.
        helped: wrong at first, right at last.
        hurt: right at first, wrong at last.
        p: McNemar's exact test of the two.
    """

    n: int
    initial: Interval
    final: Interval
    helped: int
    hurt: int
    p: float


@dataclass(frozen=True, slots=True)
class Ending:
    """Items that ended alike: after as many rounds and for the same reason.

    Attributes:
        rounds: after round 0.
        stop: why.
        n: items.
        right: of them.
    """

    rounds: int
    stop: str
    n: int
    right: int


@dataclass(frozen=True, slots=True)
class Flags:
    """What goes wrong in debates and can be seen without reading (after MAST, Cemri et al. 2025): counts of items.

    Attributes:
        needless: went on for a round or more although all agreed already.
        lost: some agent was right in some round, and the final answer is wrong.
        back: an agent left an answer and returned to it.
        unmoved: agents differed in round 0, went on, and nobody ever changed.
        absent: some call failed.
    """

    needless: int
    lost: int | None
    back: int
    unmoved: int
    absent: int


@dataclass(frozen=True)
class Debated:
    """What happened within a debate; see the modules `dynamics` and `agents` for each."""

    name: str
    turned: Turned | None
    transitions: dynamics.Transitions | None
    conformity: dynamics.Conformity
    rounds: tuple[dynamics.RoundLine, ...]
    pool: dynamics.Pool
    influence: agents.Influence
    errors: agents.Errors | None
    contributions: tuple[agents.Contribution, ...] | None
    endings: tuple[Ending, ...]
    flags: Flags


def debated(contestant: Contestant, *, seed: int = 0) -> Debated:
    """All that is measured within a debate.

    Args:
        contestant: a debate with at least one row.
        seed: of the bootstraps.
    """
    return Debated(
        contestant.name, turned(contestant), dynamics.transitions(contestant), dynamics.conformity(contestant),
        dynamics.rounds(contestant, seed=seed), dynamics.pool(contestant), agents.influence(contestant),
        agents.errors(contestant), agents.contributions(contestant, seed=seed), endings(contestant), flags(contestant),
    )  # fmt: skip


def turned(contestant: Contestant) -> Turned | None:
    """The round-0 vote beside the final answer; None where it has no scores."""
    both = [(row.initial_score, row.score) for row in contestant.rows if row.initial_score is not None]
    if not both:
        return None
    first, last = [one for one, _ in both], [two for _, two in both]
    helped = sum(one <= RIGHT < two for one, two in both)
    hurt = sum(two <= RIGHT < one for one, two in both)
    return Turned(len(both), mean_interval(first), mean_interval(last), helped, hurt, mcnemar(helped, hurt).p)


def endings(contestant: Contestant) -> tuple[Ending, ...]:
    """Rounds and reasons to stop, by rounds and then commonest first."""
    counts = Counter((row.rounds, row.stop) for row in contestant.rows)
    right = Counter((row.rounds, row.stop) for row in contestant.rows if row.right)
    return tuple(
        Ending(*key, n, right[key]) for key, n in sorted(counts.items(), key=lambda pair: (pair[0][0], -pair[1]))
    )


def flags(contestant: Contestant) -> Flags:
    """What can be seen to go wrong without reading."""
    needless = lost = back = unmoved = absent = 0
    scored = False
    for row in contestant.rows:
        made = dynamics.states(row)
        scored |= any(said.score is not None and said.answer is not None for said in row.said)
        needless += any(dynamics.unanimous(state) for state in made[:-1])
        lost += not row.right and any(said.right for said in row.said)
        lines = [[state[agent].answer for state in made if agent in state] for agent in agents.names([row])]
        back += any(_returns(line) for line in lines)
        unmoved += len(made) > 1 and len({line[0] for line in lines}) > 1 and all(len(set(line)) == 1 for line in lines)
        absent += any(said.status == "absent" for said in row.said)
    return Flags(needless, lost if scored else None, back, unmoved, absent)


def _returns(line: Sequence[str | None]) -> bool:
    """Whether an answer was left and taken up again."""
    held = [answer for i, answer in enumerate(line) if answer is not None and (i == 0 or line[i - 1] != answer)]
    return len(set(held)) < len(held)
