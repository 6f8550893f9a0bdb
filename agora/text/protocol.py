"""The protocol of a debate: phases, schedule, view, memory, gates; and whom each turn must wait for."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agora.errors import InputError
from agora.model import Model, derive_seed
from agora.records import Gives, Turn
from agora.text.agent import View
from agora.text.topology import Topology

if TYPE_CHECKING:
    from agora.text.stop import StopRule

Key = tuple[str, int, str]  # (agent, round, phase): names one turn

KINDS: Mapping[str, Gives] = {
    "answer": "answer",
    "revise": "answer",
    "critique": "text",
    "examine": "text",
    "respond": "text",
    "summarise": "text",
    "rank": "ranking",
    "score": "scores",
}


BALLOTS = ("ranking", "scores")


def template_of(kind: str) -> str:
    """The name of a phase's template: its kind, or, for a kind of one's own, a name that no shipped template has."""
    return kind if kind in KINDS else f"phase {kind}"


Memory = Literal["own_last", "own_chat", "transcript", "last", "summary"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """In which order agents of a round speak.

    Attributes:
        kind: 'simultaneous' (round r reads round r-1), 'sequential' (reads what has been said so far), 'layered'
            (along a graph without cycles, within the round), 'quorum' (goes on when enough of those it reads have
            spoken, or the deadline has passed; reads the newest there is).
        order: for sequential: 'fixed', 'shuffled' by seed in each round, or by 'confidence', most confident first.
        share: for quorum: share of those read that must have spoken.
        deadline: for quorum: seconds to wait for them; after it, whatever is there is read.
    """

    kind: Literal["simultaneous", "sequential", "layered", "quorum"] = "simultaneous"
    order: Literal["fixed", "shuffled", "confidence"] = "fixed"
    share: float = 0.5
    deadline: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"schedule: share must be between 0 and 1, it is {self.share}.")
        if self.deadline is not None and not self.deadline > 0:
            raise InputError(f"schedule: deadline must be positive, it is {self.deadline}.")


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a round: who speaks, what they read, what they are asked for.

    Attributes:
        kind: 'answer', 'revise', 'critique', 'examine' (questions to others), 'respond' (to such questions),
            'summarise', 'rank', 'score'; or a name of its own, with `template` and `gives`.
        name: what to call it; default: its kind. No two phases of a protocol have one name.
        who: the agents that speak in it; none named means all.
        reads: 'peers' (whom the topology lets it read), 'all' (everybody, itself too), 'none', or agents by name.
        view: what is seen of what is read; default: the protocol's.
        template: a path or the text of a template in place of the shipped one.
        gives: what a reply is read as: an 'answer', a 'ranking' or 'scores' of what was read, or just 'text'.
        first: the first round it belongs to.
        last: the last one; None is no end.
        every: it belongs to every n-th round from the first on.
        unless: for a closing phase: a stop rule; where it would stop the debate, the phase is left out.
        ballot: 'ranking' or 'scores' of what was read that come with an answer, in the same reply.
    """

    kind: str = "revise"
    name: str = ""
    who: tuple[str, ...] = ()
    reads: Literal["peers", "all", "none"] | tuple[str, ...] = "peers"
    view: View | None = None
    template: str | Path | None = None
    gives: Gives | None = None
    first: int = 0
    last: int | None = None
    every: int = 1
    unless: StopRule | None = None
    ballot: Gives | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS and (self.template is None or self.gives is None):
            raise InputError(
                f"phases: '{self.kind[:40]}' is none of {', '.join(KINDS)}.",
                hint="A phase of your own needs template and gives.",
            )
        if self.every < 1 or self.first < 0 or (self.last is not None and self.last < self.first):
            raise InputError(f"phases: {self.kind[:40]}: first, last and every must be in order, and every at least 1.")
        object.__setattr__(self, "name", self.name or self.kind)
        gives = self.gives or KINDS[self.kind]
        if gives in BALLOTS and self.ballot in (None, gives):
            object.__setattr__(self, "ballot", gives)
        elif self.ballot is not None and (gives != "answer" or self.ballot not in BALLOTS):
            raise InputError(f"phases: {self.name[:40]}: a ballot, ranking or scores, comes alone or with an answer.")
        object.__setattr__(self, "gives", gives)

    def in_round(self, round: int) -> bool:
        """Whether it belongs to a round."""
        return (
            self.first <= round and (self.last is None or round <= self.last) and not (round - self.first) % self.every
        )


@dataclass(frozen=True, slots=True)
class Dial:
    """A number that may go from one value to another over the rounds of a debate; over its layers, if there is only
    one round of them."""

    start: float
    end: float | None = None

    def at(self, round: int, last: int) -> float:
        """Its value in a round (layer), `last` being the last there can be."""
        if self.end is None or last <= 0:
            return self.start
        return self.start + (self.end - self.start) * min(round, last) / last


@dataclass(frozen=True, slots=True)
class Prune:
    """After each round from `first` on, only the `keep` best agents stay in the debate.

    Attributes:
        keep: how many.
        first: the first round after which it happens.
        by: 'confidence', 'scores' (means of the last scores given to each), 'rankings' (mean ranks), or a model that
            ranks them.
    """

    keep: int
    first: int = 0
    by: Literal["confidence", "scores", "rankings"] | Model = "confidence"

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise InputError(f"prune: keep must be at least 1, it is {self.keep}.")


@dataclass(frozen=True, slots=True)
class Gates:
    """What saves calls between phases.

    Attributes:
        skip: asked once, after the opening: if it says stop, there is no debate.
        freeze: an agent whose answer the 'majority' of the last round's voices holds keeps it without being asked.
        follow: the probability, by seed, that an agent takes over the majority's answer without being asked.
        drop: messages that bring a reader nothing 'known' are not shown: an answer it holds itself, or that another
            message shown to it holds. A reader for whom nothing is left keeps its answer without being asked.
        prune: who stays.
    """

    skip: StopRule | None = None
    freeze: Literal["majority"] | None = None
    follow: float = 0.0
    drop: Literal["known"] | None = None
    prune: Prune | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.follow <= 1:
            raise InputError(f"gates: follow is a probability, it is {self.follow}.")

    @property
    def wait(self) -> bool:
        """Whether an agent must know the whole round before, so that nobody can run ahead."""
        return bool(self.freeze or self.follow or self.prune or self.skip)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a debate runs.

    Attributes:
        schedule: who speaks when.
        view: what is seen of what is read.
        memory: 'own_last' (each call stands alone), 'own_chat' (an agent's own earlier calls as a chat), 'transcript'
            (all that the agent could read so far), 'last' (of that, the last `keep` rounds) or 'summary' (a running
            summary by `summariser`).
        phases: what each round after round 0 consists of; kinds by name, or `Phase`s. In a round, names differ.
        opening: what round 0 consists of.
        closing: what happens once, after the last round.
        gates: what saves calls.
        keep: rounds that memory 'last' keeps.
        summariser: the model that writes summaries and claims, where memory or a view wants them.
        agreement: 0 (contradict) to 10 (agree), told to agents; None: not a word of it. Smit et al. 2024.
        contentiousness: 0 to 1, likewise, as in EVINCE and MACI.
        temperature: of agents that do not pin their own.
    """

    schedule: Schedule = Schedule()
    view: View = field(default_factory=View)
    memory: Memory = "own_last"
    phases: Sequence[Phase | str] = ("revise",)
    opening: Sequence[Phase | str] = ("answer",)
    closing: Sequence[Phase | str] = ()
    gates: Gates = Gates()
    keep: int = 2
    summariser: Model | None = None
    agreement: Dial | None = None
    contentiousness: Dial | None = None
    temperature: Dial | None = None

    def __post_init__(self) -> None:
        for part, kind in (("schedule", Schedule), ("view", View), ("gates", Gates)):
            if not isinstance(getattr(self, part), kind):
                said = type(getattr(self, part)).__name__
                raise InputError(f"{part}: needs a {kind.__name__}, not a {said}.", hint=f"Such as {kind.__name__}().")
        for part in ("opening", "phases", "closing"):
            made = tuple(Phase(p) if isinstance(p, str) else p for p in getattr(self, part))
            object.__setattr__(self, part, made)
        self._check_names()
        if not any(phase.gives == "answer" for phase in self.all_phases):
            raise InputError("phases: one of them must give an answer.")
        if any(phase.unless is not None for phase in (*self.opening, *self.phases)):  # type: ignore[union-attr]
            raise InputError("phases: only a closing phase can be left out (unless).", hint="Move it to closing.")
        if self.keep < 1:
            raise InputError(f"memory: at least 1 round must be kept, not {self.keep}.")
        views = [self.view, *(phase.view for phase in self.all_phases if phase.view)]
        prune = self.gates.prune
        by = prune.by if prune is not None and isinstance(prune.by, str) else ""
        ranked = {"scores": "scores", "rankings": "ranking"}.get(by)
        if ranked and not any(phase.ballot == ranked for phase in self.all_phases):
            raise InputError(f"prune: no phase asks for {ranked}.", hint="Add one, such as phases: [revise, score].")
        wanting = "memory" if self.memory == "summary" else "view" if any(v.text in DIGESTS for v in views) else None
        if wanting and self.summariser is None:
            raise InputError(f"{wanting}: a summary needs a model.", hint="Name it: summariser: MODEL.")
        for name, dial, top in (("agreement", self.agreement, 10), ("contentiousness", self.contentiousness, 1)):
            if dial is not None and not all(0 <= v <= top for v in (dial.start, dial.end) if v is not None):
                raise InputError(f"{name}: must be between 0 and {top}.")

    def _check_names(self) -> None:
        """A name is one phase in a round; opening and rounds may share names, for the same kind of phase."""
        opening, phases, closing = (getattr(self, part) for part in ("opening", "phases", "closing"))
        kinds: dict[str, tuple[str, object, object]] = {}
        for part in ((*opening, *closing), (*phases, *closing)):
            names = [phase.name for phase in part]
            for phase in part:
                what = (phase.kind, phase.gives, phase.ballot)
                if names.count(phase.name) > 1 or kinds.setdefault(phase.name, what) != what:
                    raise InputError(f"phases: two are called '{phase.name[:40]}'.", hint="Give one of them a name.")

    @property
    def all_phases(self) -> tuple[Phase, ...]:
        """Every phase there can be."""
        return (*self.opening, *self.phases, *self.closing)  # type: ignore[arg-type]


DIGESTS = ("summary", "claims")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a turn waits for: all of `must`, and `enough` of `may`, the latter for at most `deadline` seconds."""

    must: tuple[Key, ...]
    may: tuple[Key, ...] = ()
    enough: int = 0
    deadline: float | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        return (*self.must, *self.may)


class Plan:
    """Whom each turn waits for and reads, worked out from protocol and topology.

    Args:
        protocol: the protocol.
        topology: who reads whom.
        seed: for shuffled orders, and graphs that change.

    Raises:
        InputError: if they do not fit each other.
    """

    def __init__(self, protocol: Protocol, topology: Topology, seed: int) -> None:
        self.protocol = protocol
        self.topology = topology
        self.seed = seed
        self._depths: Mapping[str, int] | None = None
        self._shuffled: dict[int, Mapping[str, int]] = {}
        self._closed_after: int | None = None  # the round after which the closing phases come, once it is known
        self._opening: tuple[Phase, ...] = tuple(protocol.opening)  # type: ignore[arg-type]
        self._phases: tuple[Phase, ...] = tuple(protocol.phases)  # type: ignore[arg-type]
        self._closing: tuple[Phase, ...] = tuple(protocol.closing)  # type: ignore[arg-type]
        self._uniform = not any(phase.who for phase in protocol.all_phases)
        self._before: dict[tuple[int, str, Gives | None], tuple[int, str] | None] = {}
        self.changes = topology.changes or topology.attributed
        self._always = all(phase.in_round(1) and phase.in_round(2) for phase in self._phases)
        self._fixed = {agent: i for i, agent in enumerate(topology.agents)}
        for phase in protocol.all_phases:
            named = (*phase.who, *(phase.reads if isinstance(phase.reads, tuple) else ()))
            for name in named:
                if name not in self._fixed:
                    raise InputError(f"phases: {phase.name}: there is no agent '{name[:40]}'.")
        if protocol.schedule.kind == "layered":
            topology.layers()
            if len(protocol.all_phases) > 1 and len(topology.agents) <= 500:
                self._circle()

    def close(self, round: int, phases: Sequence[Phase]) -> None:
        """Add closing phases, those that take place, to a round, which is the last."""
        self._closed_after, self._closing = round, tuple(phases)
        self._before.clear()

    def phases_of(self, round: int) -> tuple[Phase, ...]:
        """The phases of a round, in order."""
        if round == 0:
            phases = self._opening
        elif self._always and round > 1:
            phases = self._phases
        else:
            phases = tuple(phase for phase in self._phases if phase.in_round(round))
        return phases if self._closed_after != round else (*phases, *self._closing)

    @staticmethod
    def speaks(agent: str, phase: Phase) -> bool:
        """Whether an agent speaks in a phase."""
        return not phase.who or agent in phase.who

    def before(self, agent: str, round: int, phase: str, *, gives: Gives | None = None) -> Key | None:
        """An agent's last turn before a phase; with `gives` the last that gives that."""
        if self._uniform:  # it is the same for all agents
            at = (round, phase, gives)
            if at not in self._before:
                found = self._back(agent, round, phase, gives)
                self._before[at] = None if found is None else found[1:]
            spot = self._before[at]
            return None if spot is None else (agent, *spot)
        return self._back(agent, round, phase, gives)

    def _back(self, agent: str, round: int, phase: str, gives: Gives | None) -> Key | None:
        stop = True
        while round >= 0:
            phases = self.phases_of(round)
            names = [p.name for p in phases]
            end = len(phases) if not stop else names.index(phase) if phase in names else 0
            stop = False
            for p in reversed(phases[:end]):
                if (not p.who or agent in p.who) and (gives is None or p.gives == gives):
                    return agent, round, p.name
            round -= 1
        return None

    def order(self, round: int, phase: str, board: Mapping[Key, Turn]) -> Mapping[str, int]:
        """Each agent's place in a sequential round."""
        kind, agents = self.protocol.schedule.order, list(self.topology.agents)
        if kind == "shuffled":
            if round not in self._shuffled:  # asked for by every turn of a transcript
                random.Random(derive_seed(self.seed, "sequence", round)).shuffle(agents)
                self._shuffled[round] = {agent: i for i, agent in enumerate(agents)}
            return self._shuffled[round]
        if kind == "confidence" and self.barrier(round, phase):

            def sure(agent: str) -> float:
                key = self.before(agent, round, phase, gives="answer")
                turn = board.get(key) if key else None
                confidence = turn.answer.confidence if turn and turn.answer else None
                return -confidence if confidence is not None else math.inf

            agents.sort(key=sure)
        else:
            return self._fixed
        return {agent: i for i, agent in enumerate(agents)}

    def barrier(self, round: int, phase: str) -> tuple[Key, ...]:
        """What must be over before the order of a phase is known: all of what came before, when confidence decides."""
        schedule = self.protocol.schedule
        if schedule.kind != "sequential" or schedule.order != "confidence":
            return ()
        return tuple(key for agent in self.topology.agents if (key := self.before(agent, round, phase)) is not None)

    def readers_of(self, agent: str, round: int, phase: Phase) -> tuple[str, ...]:
        """Whom an agent may read in a phase of a round."""
        if phase.reads == "none":
            return ()
        if phase.reads == "all":
            return self.topology.agents
        if isinstance(phase.reads, tuple):
            return phase.reads
        return (self.topology.at(round, self.seed) if self.changes else self.topology).reads(agent)

    def needs(self, agent: str, round: int, phase: Phase, board: Mapping[Key, Turn]) -> Needs:
        """What the turn of an agent waits for, its own earlier turns, which are there, included where it reads them."""
        schedule, name = self.protocol.schedule, phase.name
        peers = self.readers_of(agent, round, phase)
        if not peers:
            return Needs(())
        if schedule.kind == "layered":
            keys = [self._above(peer, agent, round, phase) for peer in peers]
            return Needs(tuple(key for key in keys if key is not None))
        if schedule.kind == "sequential":
            order = self.order(round, name, board)
            mine = order[agent]
            keys = [
                (peer, round, name)
                if order[peer] < mine and self.speaks(peer, phase)
                else self.before(peer, round, name)
                for peer in peers
            ]
            return Needs(tuple(key for key in keys if key is not None))
        graph = self.topology.at(round, self.seed) if self.changes else self.topology
        if graph.attributed and phase.reads == "peers":
            late = [int(graph.attributes(peer, agent).get("delay", 0)) for peer in peers]
            keys = [
                self.before(peer, round - d, name) if d <= round else None for peer, d in zip(peers, late, strict=True)
            ]
        else:
            keys = [self.before(peer, round, name) for peer in peers]
        found = tuple(key for key in keys if key is not None)
        if schedule.kind == "quorum":
            return Needs((), found, math.ceil(schedule.share * len(found) - 1e-9), schedule.deadline)
        return Needs(found)

    def _above(self, peer: str, agent: str, round: int, phase: Phase) -> Key | None:
        """What is read of a peer in a layered round: the same phase, else the last of its phases in the round."""
        if peer == agent or (phase.reads != "peers" and self.depths[peer] >= self.depths[agent]):
            return self.before(peer, round, phase.name)
        if self.speaks(peer, phase):
            return peer, round, phase.name
        own = [p.name for p in self.phases_of(round) if self.speaks(peer, p) and p not in self._closing]
        return (peer, round, own[-1]) if own else self.before(peer, round, phase.name)

    @property
    def depths(self) -> Mapping[str, int]:
        """Each agent's layer."""
        if self._depths is None:
            self._depths = self.topology.layers()
        return self._depths

    def _circle(self) -> None:
        """See that nobody waits for who waits for it, in round 0 and in round 1.

        Raises:
            InputError: if somebody does.
        """
        waits: dict[Key, set[Key]] = {}
        for round in (0, 1):
            for phase in self.phases_of(round):
                for agent in self.topology.agents:
                    if self.speaks(agent, phase):
                        before = self.before(agent, round, phase.name)
                        needs = self.needs(agent, round, phase, {}).keys
                        waits[agent, round, phase.name] = {*needs, *([before] if before else [])}
        while ready := [key for key, wanted in waits.items() if not wanted & waits.keys()]:
            for key in ready:
                del waits[key]
        if waits:
            agent, _, name = next(iter(waits))
            raise InputError(
                f"phases: {name[:40]}: in a layered schedule {agent[:40]} would wait for somebody who waits for it.",
                hint="Change what the phase reads, or the order of the phases.",
            )

    def position(self, agent: str, round: int, last: int) -> tuple[int, int]:
        """How far the debate has gone for an agent, and how far it can: by rounds, or by layers where there are any."""
        if self.protocol.schedule.kind != "layered" or last:
            return round, last
        return self.depths[agent], max(self.depths.values())

    def readable(self, needs: Needs, board: Mapping[Key, Turn]) -> list[Turn]:
        """The turns that are read, given what has been said: for a quorum the newest of each."""
        turns = []
        for key in needs.keys:
            spot: Key | None = key
            while spot is not None and spot not in board:
                spot = self.before(*spot)
            if spot is not None:
                turns.append(board[spot])
        return turns
