"""What happened within a debate: who changed, after whom, for better or worse; what each round and each agent added.

An answer that is missing because the agent abstained or could not be read is a wrong one. A call that failed says
nothing about the agent: steps from or to it are counted apart. Where a debate ended early its last state stands for
later rounds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from agora.evaluate.measures.statistics import Interval, bootstrap_mean, clustered_rate, mean_interval, wilson
from agora.evaluate.records import Contestant, Said, Scored

State = Mapping[str, Said]  # every agent's answer in a round
Step = tuple[Said, Said]  # an agent's answer in one round and in the next


def states(row: Scored) -> list[dict[str, Said]]:
    """Every agent's answer after each round of an item; who was not there in a round holds what it held before."""
    held: dict[str, Said] = {}
    made = []
    for said in row.by_round():
        held = {**held, **said}
        made.append(held)
    return made


def steps(row: Scored) -> Iterator[Step]:
    """Each agent's answers of two rounds that follow each other, where it was asked in the second one."""
    rounds = states(row)
    for before, after in pairwise(rounds):
        for agent, said in after.items():
            if agent in before and said is not before[agent] and not said.kept:
                yield before[agent], said


def plurality(answers: Sequence[str | None]) -> list[str]:
    """The answers that most hold, several where they are tied; none where nobody answers."""
    counts = Counter(answer for answer in answers if answer is not None)
    most = max(counts.values(), default=0)
    return [answer for answer, count in counts.items() if count == most]


def vote_score(state: State, without: str | None = None) -> float:
    """The score of an unweighted plurality vote, in the mean of the answers that are tied: what breaking ties by chance
    gives. 0 where nobody answers.

    Args:
        state: everybody's answers, scored.
        without: an agent whose vote does not count.
    """
    voters = [said for agent, said in state.items() if agent != without]
    tied = plurality([said.answer for said in voters])
    scores = {said.answer: said.score or 0.0 for said in voters}
    return sum(scores[answer] for answer in tied) / len(tied) if tied else 0.0


# ---- transitions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moves:
    """What became of right and wrong answers from one round to the next.

    Attributes:
        rr: right -> right.
        rw: right -> wrong.
        wr: wrong -> right.
        same: wrong -> the same wrong answer, or again none.
        other: wrong -> another wrong answer, or none.
        absent: steps from or to a call that failed, in none of the others.
        vulnerability: rw / (rw + rr): of right answers, how many were given up; None where there were none.
        correction: wr / (wr + same + other): of wrong ones, how many were put right.
        net: wr - rw.
    """

    rr: int
    rw: int
    wr: int
    same: int
    other: int
    absent: int
    vulnerability: Interval | None
    correction: Interval | None
    net: int


@dataclass(frozen=True)
class Transitions:
    """Moves of a debate.

    Attributes:
        total: of all.
        rounds: round -> those that led to it.
        agents: agent -> its own.
    """

    total: Moves
    rounds: Mapping[int, Moves]
    agents: Mapping[str, Moves]


def transitions(contestant: Contestant) -> Transitions | None:
    """The moves of every agent in every round; None where agents are not scored or never spoke twice."""
    found = [[step for step in steps(row) if _known(step)] for row in contestant.rows]
    every = [step for item in found for step in item]
    if not every:
        return None
    rounds = sorted({after.round for _, after in every})
    agents = list(dict.fromkeys(after.agent for _, after in every))
    return Transitions(
        _moves(found, lambda after: True),
        {index: _moves(found, lambda after, index=index: after.round == index) for index in rounds},  # type: ignore[misc]
        {agent: _moves(found, lambda after, agent=agent: after.agent == agent) for agent in agents},  # type: ignore[misc]
    )


def _known(step: Step) -> bool:
    return all(said.score is not None or said.status == "absent" for said in step)


def _kind(step: Step) -> str:
    before, after = step
    if "absent" in (before.status, after.status):
        return "absent"
    if before.right:
        return "rr" if after.right else "rw"
    return "wr" if after.right else "same" if before.answer == after.answer else "other"


def _moves(found: Sequence[Sequence[Step]], chosen: Callable[[Said], bool]) -> Moves:
    items = [Counter(_kind(step) for step in item if chosen(step[1])) for item in found]
    total: Counter[str] = sum(items, Counter())
    return Moves(
        total["rr"], total["rw"], total["wr"], total["same"], total["other"], total["absent"],
        clustered_rate([c["rw"] for c in items], [c["rw"] + c["rr"] for c in items]),
        clustered_rate([c["wr"] for c in items], [c["wr"] + c["same"] + c["other"] for c in items]),
        total["wr"] - total["rw"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conformity:
    """How often an agent takes up what most of those it just read hold, where it held something else. A tie among them
    is no plurality.

    Attributes:
        all: of every such case.
        right: where what most held was right.
        wrong: where it was wrong.
    """

    all: Interval | None
    right: Interval | None
    wrong: Interval | None


def conformity(contestant: Contestant) -> Conformity:
    """P(adopts the plurality of what it read | its own answer differed from it)."""
    tries: dict[str, list[tuple[int, int]]] = {"all": [], "right": [], "wrong": []}
    for row in contestant.rows:
        seen: dict[str, list[bool]] = {"all": [], "right": [], "wrong": []}
        rounds = row.by_round()
        for before, after in steps(row):
            read = _read(rounds, after)
            most = plurality([said.answer for said in read])
            if len(most) != 1 or before.answer in (None, most[0]) or after.status == "absent":
                continue
            adopted = after.answer == most[0]
            held = next(said for said in read if said.answer == most[0])
            seen["all"].append(adopted)
            if held.score is not None:
                seen["right" if held.right else "wrong"].append(adopted)
        for key, values in seen.items():
            tries[key].append((sum(values), len(values)))
    every, right, wrong = (clustered_rate([k for k, _ in items], [n for _, n in items]) for items in tries.values())
    return Conformity(every, right, wrong)


def _read(rounds: Sequence[State], said: Said) -> list[Said]:
    return [rounds[r][agent] for agent, r in said.read if 0 <= r < len(rounds) and agent in rounds[r]]


# ---- rounds -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundLine:
    """All items as they stood after a round, those that ended before included.

    Attributes:
        round: 0 is the independent one.
        active: items that got to this round.
        vote: accuracy of the unweighted plurality vote, ties in their mean; None where agents are not scored.
        agents: mean accuracy of single agents.
        agreement: mean share of agents that hold the commonest answer.
        unanimous: share of items on which all agree.
        entropy: mean of the answers' entropy, bits.
    """

    round: int
    active: int
    vote: Interval | None
    agents: Interval | None
    agreement: float
    unanimous: float
    entropy: float


def rounds(contestant: Contestant, *, seed: int = 0) -> tuple[RoundLine, ...]:
    """The debate round by round.

    Args:
        contestant: a debate.
        seed: of the bootstraps.
    """
    items = [made for row in contestant.rows if (made := states(row))]
    lines = []
    for index in range(max((len(item) for item in items), default=0)):
        now = [item[min(index, len(item) - 1)] for item in items]
        vote = agents = None
        if _scored(now):
            vote = mean_interval([vote_score(state) for state in now], seed=seed)
            agents = bootstrap_mean(
                [sum(s.score or 0 for s in state.values()) / len(state) for state in now], seed=seed
            )
        shares = [_shares(state) for state in now]
        lines.append(
            RoundLine(
                index,
                sum(len(item) > index for item in items),
                vote,
                agents,
                float(np.mean([max(own, default=0.0) * answered for own, answered in shares])),
                float(np.mean([unanimous(state) for state in now])),
                float(np.mean([-sum(p * math.log2(p) for p in own) for own, _ in shares])),
            )
        )
    return tuple(lines)


def _scored(now: Sequence[State]) -> bool:
    return bool(now) and all(s.score is not None or s.answer is None for state in now for s in state.values())


def _shares(state: State) -> tuple[list[float], float]:
    """Shares of the answers among those that answered, and how many did."""
    counts = Counter(said.answer for said in state.values() if said.answer is not None)
    total = sum(counts.values())
    return [count / total for count in counts.values()], total / len(state)


def unanimous(state: State) -> bool:
    """Whether all agents give the same answer."""
    return len({said.answer for said in state.values()}) == 1 and all(s.answer is not None for s in state.values())


@dataclass(frozen=True, slots=True)
class Pool:
    """What agents knew beside what the debate made of it; each is a share of all items.

    Attributes:
        oracle: some agent was right in some round.
        first: some agent was right in round 0.
        gap: `oracle` less the share of items that the debate got right: right answers that were there and lost.
        consensus_wrong: all agents ended on the same wrong answer; None where agents are not scored.
        collapsed: of the items on which agents differed at first, those on which all agree at last.
        collapsed_wrong: of these, those on which they agree on what is wrong.
    """

    oracle: Interval | None
    first: Interval | None
    gap: float | None
    consensus_wrong: Interval | None
    collapsed: Interval | None
    collapsed_wrong: Interval | None


def pool(contestant: Contestant) -> Pool:
    """What was in the pool of answers and what became of it."""
    rows, items = contestant.rows, [states(row) for row in contestant.rows]
    n = len(rows)
    split = [item for item in items if item and len({s.answer for s in item[0].values()} - {None}) > 1]
    ended = [item[-1] for item in split if unanimous(item[-1])]
    collapsed = wilson(len(ended), len(split)) if split else None
    if not _scored([state for item in items for state in item]):
        return Pool(None, None, None, None, collapsed, None)
    oracle = sum(any(said.right for said in row.said) for row in rows)
    first = sum(any(said.right for said in row.said if said.round == 0) for row in rows)
    wrong = sum(bool(item) and unanimous(item[-1]) and not vote_score(item[-1]) >= 0.5 for item in items)
    return Pool(
        wilson(oracle, n),
        wilson(first, n),
        oracle / n - sum(row.right for row in rows) / n,
        wilson(wrong, n),
        collapsed,
        wilson(sum(vote_score(state) < 0.5 for state in ended), len(ended)) if ended else None,
    )
