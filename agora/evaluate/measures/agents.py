"""The agents of a debate beside each other: who moves whom, who errs together, who is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agora.evaluate.measures.dynamics import states, steps, vote_score
from agora.evaluate.measures.statistics import Interval, bootstrap_mean, z_of
from agora.evaluate.records import Contestant, Said, Scored

Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Influence:
    """Who changed whose mind. A change of an agent's answer is put down to those that it had just read holding the new
    one: that is what is seen, not why.

    Attributes:
        agents: of rows and columns.
        counts: [i][j]: changes of agent i to an answer that agent j, whom it had read, held.
        shares: [i][j]: the same over all changes of agent i, each split equally among those who held the new answer.
        harm: [i][j]: of the counts, those from right to wrong.
        changes: of each agent: to any other answer, rounds with no answer left out.
        alone: of each agent, those to an answer that nobody it had read held.
    """

    agents: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    harm: tuple[tuple[int, ...], ...]
    changes: tuple[int, ...]
    alone: tuple[int, ...]


@dataclass(frozen=True)
class Errors:
    """Whether agents err together in round 0, before they have read each other.

    Attributes:
        agents: of rows and columns.
        phi: Pearson's correlation of being wrong; None with one who never or always is.
        together: share of items on which both are wrong.
        expected: that share if they erred independently: the product of both.
        same: of those, the share on which they give the same wrong answer; None where there are none.
        limit: |phi| above this is seen by chance in 5% of independent pairs: 1.96 / sqrt(n).
        n: items.
    """

    agents: tuple[str, ...]
    phi: Matrix
    together: Matrix
    expected: Matrix
    same: Matrix
    limit: float
    n: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an agent's vote adds to the plurality vote: accuracy with it less accuracy without it.

    Attributes:
        agent: whose.
        accuracy: its own in round 0.
        first: of round 0.
        last: of the last round; there its influence on the others remains.
    """

    agent: str
    accuracy: Interval
    first: Interval
    last: Interval


def influence(contestant: Contestant) -> Influence:
    """Who changed whose mind, over all rounds and items."""
    agents = names(contestant.rows)
    at = {agent: i for i, agent in enumerate(agents)}
    n = len(agents)
    counts, harm = np.zeros((n, n), dtype=int), np.zeros((n, n), dtype=int)
    credit, changes, alone = np.zeros((n, n)), np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    for row in contestant.rows:
        rounds = row.by_round()
        for before, after in steps(row):
            if after.answer is None or after.answer == before.answer or before.status == "absent":
                continue
            i = at[after.agent]
            changes[i] += 1
            held = {
                agent
                for agent, r in after.read
                if 0 <= r < len(rounds) and agent in rounds[r] and rounds[r][agent].answer == after.answer
            } - {after.agent}
            alone[i] += not held
            for agent in held:
                counts[i, at[agent]] += 1
                credit[i, at[agent]] += 1 / len(held)
                harm[i, at[agent]] += before.right and not after.right and after.score is not None
    shares = credit / np.maximum(1, changes)[:, None]
    return Influence(
        agents,
        tuple(map(tuple, counts.tolist())),
        tuple(map(tuple, shares.tolist())),
        tuple(map(tuple, harm.tolist())),
        tuple(changes.tolist()),
        tuple(alone.tolist()),
    )


def errors(contestant: Contestant) -> Errors | None:
    """Whether agents err together in round 0; None where they are not scored, or on no item all of them were asked.
    Items on which a call failed are left out."""
    agents = names(contestant.rows)
    asked = [
        [first[agent] for agent in agents]
        for row in contestant.rows
        if (first := _first(row)) and all(a in first and _tells(first[a]) for a in agents)
    ]
    if not asked or len(agents) < 2:
        return None
    wrong = np.array([[not said.right for said in item] for item in asked], dtype=float)
    answers = np.array([[said.answer for said in item] for item in asked], dtype=object)
    n, rate = len(asked), wrong.mean(axis=0)
    both = wrong.T @ wrong / n
    size = len(agents)
    phi: list[list[float | None]] = [[None] * size for _ in agents]
    same: list[list[float | None]] = [[None] * size for _ in agents]
    for i in range(size):
        for j in range(size):
            spread = rate[i] * (1 - rate[i]) * rate[j] * (1 - rate[j])
            if spread > 0:
                phi[i][j] = float((both[i, j] - rate[i] * rate[j]) / np.sqrt(spread))
            shared = (wrong[:, i] > 0) & (wrong[:, j] > 0)
            if shared.any():
                equal = (answers[shared, i] == answers[shared, j]) & (answers[shared, i] != None)  # noqa: E711
                same[i][j] = float(np.mean(equal.astype(float)))
    return Errors(
        agents,
        tuple(map(tuple, phi)),
        tuple(map(tuple, both.tolist())),
        tuple(map(tuple, np.outer(rate, rate).tolist())),
        tuple(map(tuple, same)),
        z_of() / n**0.5,
        n,
    )


def contributions(contestant: Contestant, *, seed: int = 0) -> tuple[Contribution, ...] | None:
    """What each agent's vote adds; None where agents are not scored or there are fewer than two.

    Args:
        contestant: a debate.
        seed: of the bootstraps.
    """
    agents = names(contestant.rows)
    items = [made for row in contestant.rows if (made := states(row))]
    told = all(s.score is not None or s.answer is None for item in items for state in item for s in state.values())
    if len(agents) < 2 or not items or not told:
        return None
    found = []
    for agent in agents:
        own = [item[0][agent].score or 0.0 if agent in item[0] else 0.0 for item in items]
        gains = [[vote_score(item[k]) - vote_score(item[k], without=agent) for item in items] for k in (0, -1)]
        first, last = (bootstrap_mean(gain, seed=seed, low=-1.0) for gain in gains)
        found.append(Contribution(agent, bootstrap_mean(own, seed=seed), first, last))
    return tuple(found)


def names(rows: Sequence[Scored]) -> tuple[str, ...]:
    """All agents that spoke, in the order in which they first did."""
    return tuple(dict.fromkeys(said.agent for row in rows for said in row.said))


def _first(row: Scored) -> dict[str, Said]:
    return {said.agent: said for said in row.said if said.round == 0}


def _tells(said: Said) -> bool:
    return said.score is not None and said.status != "absent"
