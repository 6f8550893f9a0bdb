"""Predicting a debate: many simulated ones, put together with what its calls will cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agora.errors import InputError
from agora.records import Usage
from agora.simulate.course import Course, Outcomes
from agora.simulate.population import Floats, Population
from agora.simulate.result import MOVES, Share, Simulation, Spread
from agora.text.forecast import forecast
from agora.text.protocol import Plan

if TYPE_CHECKING:
    from agora.text.debate import Debate

MOST = 2_000_000  # debates
_AT_ONCE = 2_000_000  # answers (by agent and option), or edges, in memory at a time
_ROUNDS = 100_000_000  # of all debates together
_PRICED = 2_000  # agents up to which prompts are rehearsed, to count tokens
_ONCE = ("judge", "aggregate", "overton", "compare", "select")  # roles of a moderator that come once a debate


def simulate(
    debate: Debate,
    population: Population = Population(),
    *,
    n: int = 10_000,
    seed: int = 0,
    question: str | None = None,
    latency: float | None = None,
) -> Simulation:
    """Predict a debate before anything is paid for: it is held many times by simulated agents, by the same protocol.

    In a notebook or an async function: `await simulated(...)`.

    Args:
        debate: the debate; its models are not asked.
        population: what its agents are like.
        n: how many debates to simulate, 1 to 2 million.
        seed: the same seed gives the same result.
        question: a typical one, whose prompts are rehearsed to count tokens; default: one sentence.
        latency: seconds a call takes, all alike and any number at a time, to predict seconds.

    Raises:
        InputError: if an argument is wrong, or the outcome of the debate cannot be right or wrong.
        RuntimeError: inside a running event loop.
    """
    import asyncio

    import anyio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("an event loop is running here: use `await simulated(...)` instead of `simulate`.")
    return anyio.run(lambda: simulated(debate, population, n=n, seed=seed, question=question, latency=latency))


async def simulated(
    debate: Debate,
    population: Population = Population(),
    *,
    n: int = 10_000,
    seed: int = 0,
    question: str | None = None,
    latency: float | None = None,
) -> Simulation:
    """As `simulate`, in an event loop, which it holds up until it is done."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST:
        raise InputError(f"simulate: n must be 1 to {MOST:,} debates, it is {n}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"simulate: seed must be a whole number of at least 0, it is {seed}.")
    if latency is not None and not 0 <= latency < math.inf:
        raise InputError(f"simulate: latency must be a number of seconds, it is {latency}.")
    course = Course(debate, population)
    if n * (course.last + 1) > _ROUNDS:
        raise InputError(
            f"simulate: {n:,} debates of up to {course.last:,} rounds are too many for memory.", hint="Simulate fewer."
        )
    costs = await _costs(course, question) if len(debate.agents) <= _PRICED else None
    totals = _Totals(course)
    for number, size in enumerate(_chunks(course, n)):
        totals.add(course.run(size, np.random.default_rng([seed, number])))
    return totals.result(n, seed, costs, latency)


def _chunks(course: Course, n: int) -> Iterator[int]:
    """So many debates at a time that memory stays bounded."""
    agents, graph = len(course.names), course.debate.topology
    edges = 0 if graph.name == "complete" else graph.edge_count
    each = max(agents * (course.options + 1), edges if agents > 300 else 0, agents * course.remembered, course.last + 1)
    size = max(1, _AT_ONCE // each)
    for begun in range(0, n, size):
        yield min(size, n - begun)


class _Totals:
    """The figures of each debate, chunk by chunk."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.right = np.zeros(course.last + 1, int)  # votes, by round
        self.undecided = self.any_right = self.one_wrong = 0
        self.reasons: Counter[int] = Counter()
        self._kept: list[Outcomes] = []

    def add(self, out: Outcomes) -> None:
        """Take in some more debates."""
        self.right += (out.votes == 0).sum(axis=0)
        self.undecided += int((out.votes[:, -1] < 0).sum())
        self.any_right += int(out.any_right.sum())
        self.one_wrong += int(out.one_wrong.sum())
        self.reasons.update(out.reasons.tolist())
        out.votes = out.votes[:, :0]  # counted: it need not be kept
        self._kept.append(out)

    def result(self, n: int, seed: int, costs: Costs | None, latency: float | None) -> Simulation:
        """All of them together."""
        course = self.course
        rights, moves = self._all("right"), self._all("moves")
        rounds, turns, steps = self._all("rounds"), self._all("turns"), self._all("steps")
        known = costs or Costs.plain(course)
        calls = turns @ known.calls + known.once[0] + rounds * known.by_round[0]
        spent: list[Spread | None] = [None, None, None]
        if costs is not None:
            for i, each in enumerate((costs.input, costs.output, costs.usd)):
                if each is not None:
                    spent[i] = Spread.of(turns @ each + costs.once[i + 1] + rounds * costs.by_round[i + 1])
        waits = steps + (known.once[0] > 0) + rounds * (known.by_round[0] > 0)
        budget = course.debate.budget
        notes = [*course.notes, *known.notes]
        limits = [name for name in ("usd", "tokens", "seconds") if getattr(budget, name, None) is not None]
        if limits:
            notes.append(f"the budget ({', '.join(limits)}) is not simulated: it may end debates earlier")
        over = None
        if budget.calls is not None:
            over = Share.of(int((calls > budget.calls + 1e-6).sum()), n)
            notes.append(
                f"the budget of {budget.calls} calls is not simulated; over_budget says how often it would end one"
            )
        return Simulation(
            debates=n,
            seed=seed,
            voters=course.debate.voters,
            by_round=tuple(Share.of(int(count), n) for count in self.right),
            single_by_round=tuple(Spread.of(rights[:, i]) for i in range(rights.shape[1])),
            undecided=Share.of(self.undecided, n),
            oracle=Share.of(self.any_right, n),
            wrong_consensus=Share.of(self.one_wrong, n),
            transitions={name: Spread.of(moves[:, i]) for i, name in enumerate(MOVES)},
            rounds=Spread.of(rounds),
            reasons={course.reasons[i]: Share.of(count, n) for i, count in self.reasons.most_common()},
            calls=Spread.of(calls),
            input_tokens=spent[0],
            output_tokens=spent[1],
            usd=spent[2],
            seconds=None if latency is None else Spread.of(waits * latency),
            over_budget=over,
            assumptions=tuple(self._assumptions(known, latency)),
            notes=tuple(notes),
        )

    def _assumptions(self, costs: Costs, latency: float | None) -> Iterator[str]:
        yield from self.course.population.assumptions(self.course.names, self.course.options)
        if self.course.confident:
            right, wrong = self.course.population.confidence or (0.8, 0.8)
            yield f"stated confidences have mean {right:g} where right and {wrong:g} where wrong, whatever was read"
        if costs.reply_tokens:
            yield f"replies have {costs.reply_tokens} tokens or what models usually write, prompts the mean of a phase"
        if latency is not None:
            yield f"every call takes {latency:g} s, and any number may run at a time"

    def _all(self, name: str) -> Floats:
        return np.concatenate([getattr(out, name) for out in self._kept])


@dataclass(frozen=True)
class Costs:
    """What calls cost, from the debate's rehearsal.

    Attributes:
        calls: model calls for each turn of a phase, by phase: more than one where models are nested.
        input: tokens, likewise.
        output: tokens, likewise.
        usd: likewise; None where a price is not known.
        once: calls, tokens in and out, USD that come once for each debate.
        by_round: likewise, that come after each round.
        reply_tokens: what a reply is taken to have.
        notes: what is not predicted.
    """

    calls: Floats
    input: Floats
    output: Floats
    usd: Floats | None
    once: tuple[float, float, float, float] = (0, 0, 0, 0)
    by_round: tuple[float, float, float, float] = (0, 0, 0, 0)
    reply_tokens: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def plain(cls, course: Course) -> Costs:
        """One call for each turn, and nothing known of tokens."""
        ones = np.ones(len(course.phases))
        return cls(ones, ones, ones, None, notes=(f"tokens are not predicted for more than {_PRICED:,} agents",))


async def _costs(course: Course, question: str | None) -> Costs:
    """What a turn of each phase takes on average over the longest debate there can be."""
    debate = course.debate
    made = await forecast(debate, question or "A question of one sentence, as none is given here?")
    turns = Counter[str]()
    prune = debate.protocol.gates.prune
    for index in range(course.last + 1):
        closing = debate.protocol.closing if index == course.last else ()
        here = len(course.names) if prune is None or index <= prune.first else min(prune.keep, len(course.names))
        for phase in (*course.plan.phases_of(index), *closing):
            speakers = sum(Plan.speaks(name, phase) for name in course.names)  # type: ignore[arg-type]
            turns[phase.name] += min(speakers, here)  # type: ignore[union-attr]
    usd = None if made.unpriced else np.zeros(len(course.phases))
    each = np.zeros((3, len(course.phases)))
    once, by_round = Usage(), Usage()
    for name, usage in made.phases.items():
        if name not in turns:
            if name in _ONCE:
                once += usage
            else:
                by_round += usage
            continue
        number, i = max(1, turns[name]), course.phases.index(name)
        each[:, i] = usage.calls / number, usage.input_tokens / number, usage.output_tokens / number
        if usd is not None:
            usd[i] = (usage.usd or 0) / number
    share = 1 / max(1, course.last)
    notes = [f"the price of {name} is not known" for name in made.unpriced]
    return Costs(
        each[0], each[1], each[2], usd, _figures(once, 1), _figures(by_round, share), made.reply_tokens, tuple(notes)
    )


def _figures(usage: Usage, share: float) -> tuple[float, float, float, float]:
    usd = usage.usd or 0.0
    return usage.calls * share, usage.input_tokens * share, usage.output_tokens * share, usd * share
