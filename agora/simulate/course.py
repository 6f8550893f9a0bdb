"""The course of simulated debates: rounds, phases, schedule and gates as the debate's protocol has them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.model import derive_seed
from agora.simulate import heard
from agora.simulate.heard import NONE, UNSAID, Counts, Hear, Ints, Said
from agora.simulate.minds import Mask, Minds
from agora.simulate.population import Population
from agora.simulate.stopping import Past, Stopping
from agora.simulate.voting import Voting
from agora.text.protocol import Phase, Plan
from agora.text.topology import Topology

if TYPE_CHECKING:
    from agora.text.debate import Debate


MOST_ANSWERS = 20_000_000  # by agent and option


@dataclass
class Outcomes:
    """What came of many debates; the first axis of each array is the debates.

    Attributes:
        votes: the outcome of the vote after each round, an answer's number or NONE; after a debate's end, its verdict.
        right: share of the agents that are right after each round, likewise.
        rounds: the last round.
        reasons: number of the reason in `Course.reasons`.
        any_right: somebody's first answer is right.
        one_wrong: all end with one and the same wrong answer.
        moves: shares of agents whose first and last answers are right and right, right and wrong, wrong and right,
            wrong and wrong; what is no answer is wrong.
        turns: calls in each phase of `Course.phases`.
        steps: calls that must wait for each other, one after the other.
    """

    votes: Said
    right: NDArray[np.float32]
    rounds: NDArray[np.int16]
    reasons: NDArray[np.int16]
    any_right: Mask
    one_wrong: Mask
    moves: NDArray[np.float32]
    turns: NDArray[np.int32]
    steps: NDArray[np.int32]


class Course:
    """How debates go, worked out once for all of them.

    Args:
        debate: whose protocol is followed.
        population: what its agents are like.

    Attributes:
        reasons: why a debate may end.
        phases: the names of all phases.
        notes: what is not as in the debate.

    Raises:
        InputError: if the population does not fit the debate, or its outcome cannot be predicted.
    """

    def __init__(self, debate: Debate, population: Population) -> None:
        self.debate, self.population = debate, population
        self.options = population.count(debate.answer_type)
        self.names = debate.topology.agents
        if len(self.names) * self.options > MOST_ANSWERS:
            raise InputError(
                f"simulate: {len(self.names):,} agents with {self.options} possible answers are too many for memory.",
                hint="Give fewer --options.",
            )
        self.last = debate.moderator.last
        protocol = debate.protocol
        self.plan = Plan(protocol, debate.topology, debate.seed)
        self._order = {name: i for i, name in enumerate(self.names)}
        self.phases = list(dict.fromkeys(phase.name for phase in protocol.all_phases))
        self.voting = Voting(debate, self.options)
        self.stopping = Stopping(debate.moderator.stop, self.names)
        gates = protocol.gates
        self.skip = Stopping(gates.skip, self.names) if gates.skip is not None else None
        self._unless = {p.name: Stopping(p.unless, self.names) for p in protocol.closing if p.unless is not None}  # type: ignore[union-attr]
        self.reasons = [
            *self.stopping.parts,
            *(f"no debate was needed: {part}" for part in (self.skip.parts if self.skip else ())),
            f"the hard limit of {self.last} rounds",
        ]
        rules = [self.stopping, *([self.skip] if self.skip else []), *self._unless.values()]
        prune = gates.prune
        self.confident = (
            self.voting.confident
            or any(rule.confident for rule in rules)
            or (prune is not None and prune.by == "confidence")
        )
        seen = [rule.rounds for rule in rules]
        gated = bool(gates.freeze or gates.follow) and bool(protocol.closing)
        self._seen = self.last + 1 if self.voting.rounds is None else max([1 + gated, *seen])
        self._late = protocol.schedule.kind in ("simultaneous", "quorum") and debate.topology.attributed
        self.remembered = self.last + 1 if self._late else self._seen  # states of all agents that are kept
        self._hears: dict[object, Hear] = {}
        self.notes = [*self.voting.notes, *self._unlike(rules)]

    def _unlike(self, rules: list[Stopping]) -> Iterator[str]:
        protocol = self.debate.protocol
        ignored = dict.fromkeys(name for rule in rules for name in rule.ignored)
        for name in ignored:
            yield f"stop rule {name} is not simulated: it is taken never to stop, so the debate may be shorter"
        if protocol.schedule.kind == "quorum":
            yield "the quorum schedule depends on time: all are taken to wait for all whom they read"
        if protocol.schedule.kind == "sequential" and protocol.schedule.order == "confidence":
            yield "the order by confidence is not simulated: agents speak in their fixed order"
        drawn = protocol.schedule.kind == "sequential" and protocol.schedule.order == "shuffled"
        if drawn or self.debate.topology.changes or protocol.gates.follow:
            yield f"what is drawn by seed (orders, edges, who follows) is that of the debate's seed, {self.debate.seed}"
        if protocol.memory not in ("own_last", "own_chat"):
            yield "what an agent reads again of earlier rounds (memory) has no further effect on it"
        prune = protocol.gates.prune
        if prune is not None and prune.by != "confidence":
            by = prune.by if isinstance(prune.by, str) else "a model's ranking"
            yield f"who stays is drawn at random, as {by} is not simulated"
        texts = dict.fromkeys(p.name for p in protocol.all_phases if p.gives == "text")
        if texts:
            yield f"what is said in {', '.join(texts)} costs calls and changes nobody's answer by itself"
        nested = [agent.name for agent in self.debate.agents if getattr(agent.model, "members", ())]
        if nested:
            who = ", ".join(nested[:5]) + (f" and {len(nested) - 5} more" if len(nested) > 5 else "")
            yield f"{who}: the models in it (cascade, router, debate, ensemble) count as one agent of its accuracy"
        planted = [agent.name for agent in self.debate.agents if agent.adversary is not None]
        if planted:
            yield f"{', '.join(planted[:5])}: planted adversaries answer like the others; give them their accuracy"

    # ---- the whole -------------------------------------------------------------------------------------------

    def run(self, debates: int, draw: np.random.Generator) -> Outcomes:
        """Simulate so many debates."""
        minds = Minds.drawn(self.population, self.names, self.options, debates, draw, confident=self.confident)
        rounds = self.last + 1
        out = Outcomes(
            np.full((debates, rounds), NONE, np.int16), np.zeros((debates, rounds), np.float32),
            np.zeros(debates, np.int16), np.zeros(debates, np.int16), np.zeros(debates, bool), np.zeros(debates, bool),
            np.zeros((debates, 4), np.float32), np.zeros((debates, len(self.phases)), np.int32),
            np.zeros(debates, np.int32),
        )  # fmt: skip
        live = np.arange(debates)
        past: list[Said] = []
        first = minds.said
        delayed: dict[tuple[int, str], Said] = {}
        for index in range(rounds):
            before = minds.said.copy()
            everywhere = np.ones(len(live), bool)
            if self._late:
                delayed[index, ""] = before
            for phase in self.plan.phases_of(index):
                if self._late:
                    delayed[index, phase.name] = minds.said.copy()
                self._phase(minds, index, phase, before, everywhere, delayed, out, live, draw)
            if index == 0:
                first = minds.said.copy()
                out.any_right[live] = (first == 0).any(axis=1)
            past = [*past[-self._seen + 1 :], minds.said.copy()] if self._seen > 1 else [minds.said.copy()]
            self._score(minds, index, past, first, out, live, draw)
            over = self._over(minds, index, past)
            ended = over >= 0
            if ended.any():
                ids = live[ended]
                out.reasons[ids], out.rounds[ids] = over[ended], index
                self._end(minds.of(ended), index, [s[ended] for s in past], first[ended], out, ids, draw)
            going = ~ended
            if not going.any():
                break
            if ended.any():
                minds, live, first = minds.of(going), live[going], first[going]
                past = [s[going] for s in past]
                delayed = {key: s[going] for key, s in delayed.items()}
            self._prune(minds, index, draw)
        return out

    def _over(self, minds: Minds, index: int, past: list[Said]) -> NDArray[np.int16]:
        """The number of each debate's reason to end, or -1."""
        seen = Past(past, index, self.options, minds.sure)
        over = self.stopping(seen)
        if index == 0 and self.skip is not None:
            skipped = self.skip(seen)
            some = (over < 0) & (skipped >= 0)
            over[some] = skipped[some] + len(self.stopping.parts)
        if index == self.last:
            over[over < 0] = len(self.reasons) - 1
        return over

    def _score(
        self, minds: Minds, index: int, past: list[Said], first: Said, out: Outcomes, live: Ints,
        draw: np.random.Generator,
    ) -> None:  # fmt: skip
        said = minds.said
        out.votes[live, index:] = self.voting(past, first, minds.sure, draw)[:, None]
        here = (said != UNSAID).sum(axis=1)
        out.right[live, index:] = ((said == 0).sum(axis=1) / np.maximum(here, 1))[:, None]

    def _end(
        self, minds: Minds, index: int, past: list[Said], first: Said, out: Outcomes, ids: Ints,
        draw: np.random.Generator,
    ) -> None:  # fmt: skip
        """The closing phases of debates that are over, and what they come to."""
        closing: tuple[Phase, ...] = tuple(self.debate.protocol.closing)  # type: ignore[arg-type]
        seen = Past(past, index, self.options, minds.sure)
        before = np.where(minds.out, np.int16(UNSAID), past[-2]) if len(past) > 1 else minds.said
        held = {name: rule(seen) < 0 for name, rule in self._unless.items()}
        for phase in closing:
            where = held.get(phase.name, np.ones(len(ids), bool))
            self._phase(minds, index, phase, before, where, {}, out, ids, draw)
        if closing:
            self._score(minds, index, [*past[:-1], minds.said], minds.said if index == 0 else first, out, ids, draw)
        final = minds.said
        there = final != UNSAID
        same = np.where(there, final, final.max(axis=1, keepdims=True)) == final.max(axis=1, keepdims=True)
        out.one_wrong[ids] = same.all(axis=1) & (final.max(axis=1) > 0)
        was, now = first == 0, final == 0
        for number, move in enumerate((was & now, was & ~now, ~was & now, ~was & ~now)):
            out.moves[ids, number] = (move & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)

    # ---- one phase -------------------------------------------------------------------------------------------

    def _phase(
        self, minds: Minds, index: int, phase: Phase, before: Said, where: Mask, delayed: dict[tuple[int, str], Said],
        out: Outcomes, ids: Ints, draw: np.random.Generator,
    ) -> None:  # fmt: skip
        """Everybody's turn in a phase, of the debates `where` it takes place."""
        column = self.phases.index(phase.name)
        view = phase.view or self.debate.protocol.view
        for who in self._batches(index, phase):
            asked = where[:, None] & ~minds.out[:, who]
            if phase.gives == "answer":
                counts = self._heard(minds.said, who, index, phase, delayed)
                if index:
                    asked = asked & ~self._kept(minds, who, index, before, asked)
                if self.debate.protocol.gates.drop is not None:
                    asked = self._dropped(minds, who, counts, asked, index)
                minds.speak(who, counts, asked, draw, own=view.own != "hidden")
            out.turns[ids, column] += asked.sum(axis=1)
            out.steps[ids] += asked.any(axis=1)

    def _batches(self, index: int, phase: Phase) -> Iterator[Ints]:
        """Who speaks in a phase, in the order of speaking; those of one batch do not read each other's new answers."""
        who = np.array([i for i, name in enumerate(self.names) if Plan.speaks(name, phase)], np.intp)
        schedule = self.debate.protocol.schedule
        if schedule.kind == "sequential":
            place = self.plan.order(index, phase.name, {})  # without confidences, the fixed one
            for i in sorted(who, key=lambda i: place[self.names[i]]):
                yield np.array([i], np.intp)
        elif schedule.kind == "layered":
            depths = np.array([self.plan.depths[self.names[i]] for i in who])
            for depth in np.unique(depths):
                yield who[depths == depth]
        elif len(who):
            yield who

    def _kept(self, minds: Minds, who: Ints, index: int, before: Said, asked: Mask) -> Mask:
        """Who holds the majority's answer, or takes it over, without being asked."""
        gates = self.debate.protocol.gates
        kept = np.zeros(asked.shape, bool)
        if not (gates.freeze or gates.follow):
            return kept
        counts, there = heard.tally(before, self.options), (before != UNSAID).sum(axis=1)
        lead = counts[:, :-1].argmax(axis=1).astype(np.int16)
        clear = (2 * counts[np.arange(len(lead)), lead] > there)[:, None]
        own = minds.said[:, who]
        spoke = (own != UNSAID) & clear & asked
        if gates.freeze:
            kept |= spoke & (own == lead[:, None])
        if gates.follow:
            # drawn from the debate's seed, so that they are the same for all questions
            seeds = [derive_seed(self.debate.seed, "follow", int(i), index) for i in who]
            drawn = np.array([random.Random(seed).random() < gates.follow for seed in seeds])
            follows = spoke & (own != lead[:, None]) & drawn
            for what in (minds.said, minds.held):
                what[:, who] = np.where(follows, lead[:, None], what[:, who])
            kept |= follows
        return kept

    def _dropped(self, minds: Minds, who: Ints, counts: Counts, asked: Mask, index: int) -> Mask:
        """Take what a reader knows out of the counts, and see who is asked although nothing may be left."""
        own = minds.said[:, who]
        read = counts.sum(axis=-1) > 0
        np.minimum(counts[..., :-1], 1, out=counts[..., :-1])
        counts[..., :-1][own[..., None] == np.arange(self.options)] = 0
        news = counts.sum(axis=-1) > 0
        return asked & (news | ~read | (own == UNSAID)) if index else asked

    def _prune(self, minds: Minds, index: int, draw: np.random.Generator) -> None:
        """Let those leave who do not stay after a round."""
        prune = self.debate.protocol.gates.prune
        if prune is None or index < prune.first:
            return
        there = minds.said != UNSAID
        merit = minds.sure if prune.by == "confidence" else draw.random(there.shape)
        assert merit is not None
        order = np.argsort(np.where(there, -merit, np.inf), axis=1, kind="stable")
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.broadcast_to(np.arange(there.shape[1]), order.shape), axis=1)
        leaves = there & (place >= prune.keep)
        minds.out |= leaves
        minds.said[leaves] = UNSAID

    def _heard(self, said: Said, who: Ints, index: int, phase: Phase, delayed: dict[tuple[int, str], Said]) -> Counts:
        if phase.reads != "peers":
            return self._hear(phase.reads)(said, who, self.options)
        graph = self.debate.topology.at(index, self.debate.seed)
        if not (self._late and graph.attributed):
            return self._hear(graph)(said, who, self.options)
        delays = sorted({int(graph.attributes(u, v).get("delay", 0)) for v in graph.agents for u in graph.reads(v)})
        total = heard.nothing(said, who, self.options)
        for delay in delays:
            then: Said | None = said
            if delay:
                names = [p.name for p in self.plan.phases_of(index - delay)] if delay <= index else []
                then = delayed.get((index - delay, phase.name if phase.name in names else ""))
            if then is not None:
                total = total + self._hear(graph, delay)(np.where(said == UNSAID, said, then), who, self.options)
        return total

    def _hear(self, whom: Topology | str | tuple[str, ...], delay: int | None = None) -> Hear:
        """How often each answer is read by those who read a graph's neighbours, all, none, or some by name."""
        key = (whom, delay)
        if key not in self._hears:
            if isinstance(whom, Topology):
                keep = None if delay is None else _late(whom, delay)
                self._hears[key] = heard.neighbours(whom, keep)
            elif isinstance(whom, tuple):
                self._hears[key] = heard.everybody(heard.numbers(whom, self._order))
            else:
                self._hears[key] = heard.nothing if whom == "none" else heard.everybody()
        return self._hears[key]


def _late(graph: Topology, delay: int) -> Callable[[str, str], bool]:
    return lambda u, v: int(graph.attributes(u, v).get("delay", 0)) == delay
