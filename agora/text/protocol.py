"""The protocol of a debate: phases, schedule, view, memory; and whom each turn must wait for."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agora.errors import InputError
from agora.model import derive_seed
from agora.records import Turn
from agora.text.agent import Memory, View
from agora.text.topology import Topology

Key = tuple[str, int, str]  # (agent, round, phase): names one turn
PHASES = ("answer", "critique", "revise")


@dataclass(frozen=True, slots=True)
class Schedule:
    """In which order agents of a round speak.

    Attributes:
        kind: 'simultaneous' (round r reads round r-1), 'sequential' (reads what has been said so far), 'layered'
            (along a graph without cycles, within the round), 'quorum' (goes on when enough of those it reads have
            spoken, or the deadline has passed; reads the newest there is).
        order: for sequential: 'fixed', 'shuffled' by seed in each round, or by 'confidence', most confident first.
        share: for quorum: share of those read that must have spoken.
        deadline: for quorum: seconds to wait for them.
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
class Protocol:
    """How a debate runs.

    Attributes:
        schedule: who speaks when.
        view: what is seen of what is read.
        memory: 'own_last' (each call stands alone), 'own_chat' (an agent's own earlier calls as a chat) or 'transcript'
            (all that the agent could read so far).
        phases: what each round after round 0 consists of: ('revise',), or ('critique', 'revise').
    """

    schedule: Schedule = Schedule()
    view: View = field(default_factory=View)
    memory: Memory = "own_last"
    phases: tuple[str, ...] = ("revise",)

    def __post_init__(self) -> None:
        if not self.phases or self.phases[-1] != "revise" or set(self.phases) - {"critique", "revise"}:
            raise InputError("phases: a round is [revise] or [critique, revise].")
        if len(set(self.phases)) != len(self.phases):
            raise InputError("phases: no phase may stand twice in a round.")

    def phases_of(self, round: int) -> tuple[str, ...]:
        """The phases of a round; round 0 is independent answers."""
        return ("answer",) if round == 0 else self.phases

    def before(self, round: int, phase: str) -> tuple[int, str] | None:
        """The phase before a phase, as (round, phase); None for the first of all."""
        phases = self.phases_of(round)
        at = phases.index(phase)
        if at:
            return round, phases[at - 1]
        return None if round == 0 else (round - 1, self.phases_of(round - 1)[-1])


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
        seed: for shuffled orders.
    """

    def __init__(self, protocol: Protocol, topology: Topology, seed: int) -> None:
        self.protocol = protocol
        self.topology = topology
        self.seed = seed
        self._fixed = {agent: i for i, agent in enumerate(topology.agents)}
        if protocol.schedule.kind == "layered":
            topology.layers()

    def order(self, round: int, phase: str, board: Mapping[Key, Turn]) -> Mapping[str, int]:
        """Each agent's place in a sequential round."""
        kind, agents = self.protocol.schedule.order, list(self.topology.agents)
        if kind == "shuffled":
            random.Random(derive_seed(self.seed, "sequence", round)).shuffle(agents)
        elif kind == "confidence" and (before := self.protocol.before(round, phase)) is not None:

            def sure(agent: str) -> float:
                turn = board.get((agent, *before))
                confidence = turn.answer.confidence if turn and turn.answer else None
                return -confidence if confidence is not None else math.inf

            agents.sort(key=sure)
        else:
            return self._fixed
        return {agent: i for i, agent in enumerate(agents)}

    def barrier(self, round: int, phase: str) -> tuple[Key, ...]:
        """What must be over before the order of a phase is known: all of the phase before, when confidence decides."""
        schedule = self.protocol.schedule
        before = self.protocol.before(round, phase)
        if schedule.kind != "sequential" or schedule.order != "confidence" or before is None:
            return ()
        return tuple((agent, *before) for agent in self.topology.agents)

    def needs(self, agent: str, round: int, phase: str, board: Mapping[Key, Turn]) -> Needs:
        """What the turn of an agent waits for, its own earlier turns left out."""
        schedule = self.protocol.schedule
        before = self.protocol.before(round, phase)
        peers = self.topology.reads(agent)
        if schedule.kind == "layered":
            return Needs(tuple((peer, round, phase) for peer in peers))
        if schedule.kind == "sequential":
            order = self.order(round, phase, board)
            mine = order[agent]
            earlier = [(peer, round, phase) for peer in peers if order[peer] < mine]
            later = [(peer, *before) for peer in peers if order[peer] > mine] if before else []
            keys = {key[0]: key for key in (*earlier, *later)}
            return Needs(tuple(keys[peer] for peer in peers if peer in keys))
        if before is None:
            return Needs(())
        keys_before = tuple((peer, *before) for peer in peers)
        if schedule.kind == "quorum":
            return Needs((), keys_before, math.ceil(schedule.share * len(peers) - 1e-9), schedule.deadline)
        return Needs(keys_before)

    def readable(self, needs: Needs, board: Mapping[Key, Turn]) -> list[Turn]:
        """The turns that are read, given what has been said: for a quorum the newest of each."""
        turns = []
        for key in needs.keys:
            turn = board.get(key)
            spot = self.protocol.before(key[1], key[2])
            while turn is None and spot is not None:
                turn = board.get((key[0], *spot))
                spot = self.protocol.before(*spot)
            if turn is not None:
                turns.append(turn)
        return turns

    def predicted(self, rounds: int) -> int:
        """Agent calls in a debate of this many rounds after round 0."""
        return len(self.topology.agents) * (1 + rounds * len(self.protocol.phases))
