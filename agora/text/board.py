"""The board of a debate: what has been said, who waits for it, which rounds have begun and which are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio

from agora.records import Round, Turn
from agora.text.protocol import Key, Needs, Plan


class _Waiter:
    __slots__ = ("event", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.event = anyio.Event()


class Board:
    """What has been said in one run.

    Args:
        plan: of the run.
        agents: their names, in order.

    Attributes:
        turns: everything that has been said.
        out: agents that have left: they do not speak, nor are they read.
    """

    def __init__(self, plan: Plan, agents: Sequence[str]) -> None:
        self.plan, self.agents = plan, tuple(agents)
        self.turns: dict[Key, Turn] = {}
        self.out: set[str] = set()
        self._waiters: dict[Key, list[_Waiter]] = {}
        self._begun: list[anyio.Event] = []
        self._over: list[anyio.Event] = []
        self._counts: list[Counter[str | None]] = []
        self._absent: set[int] = set()  # rounds from which a voice is absent
        self._left: dict[int, int] = {}  # turns that are still to come in a round
        self._last_of: tuple[object, Mapping[str, str]] = (None, {})

    # ---- rounds ----------------------------------------------------------------------------------------------

    def begun(self, index: int) -> anyio.Event:
        """Set when a round has begun."""
        self._grow(index)
        return self._begun[index]

    def over(self, index: int) -> anyio.Event:
        """Set when everybody has spoken in a round."""
        self._grow(index)
        return self._over[index]

    def _grow(self, index: int) -> None:
        while len(self._begun) <= index:
            self._begun.append(anyio.Event())
            self._over.append(anyio.Event())
            self._counts.append(Counter())

    def open(self, index: int) -> None:
        """Let a round begin, and count the turns it will have."""
        begun = self.begun(index)
        if begun.is_set():
            return
        here = [agent for agent in self.agents if agent not in self.out]
        self._left[index] = sum(self.plan.speaks(name, p) for p in self.plan.phases_of(index) for name in here)
        if not self._left[index]:
            self._over[index].set()
        begun.set()

    def put(self, turn: Turn) -> None:
        """Put a turn on the board, and wake those who waited for it."""
        key = (turn.agent, turn.round, turn.phase)
        self.turns[key] = turn
        for waiter in self._waiters.pop(key, ()):
            waiter.missing -= 1
            if waiter.missing <= 0:
                waiter.event.set()

    def count(self, turn: Turn) -> Mapping[str | None, int] | None:
        """Count a turn towards its round: how often each answer was given in it so far, or None if it is over."""
        index = turn.round
        self._left[index] -= 1
        if turn.reply is None:
            self._absent.add(index)
        if turn.gives == "answer" and turn.phase == self._last_answers(index).get(turn.agent):
            self._counts[index][turn.value] += 1
        if self._left[index]:
            return self._counts[index]
        self._over[index].set()
        return None

    def absent(self, index: int) -> bool:
        """Whether a voice is absent from a round so far."""
        return index in self._absent

    def _last_answers(self, round: int) -> Mapping[str, str]:
        """For each agent the last phase of a round in which it answers."""
        phases = self.plan.phases_of(round)
        if phases is self._last_of[0]:
            return self._last_of[1]
        found = {a: p.name for p in phases if p.gives == "answer" for a in self.agents if self.plan.speaks(a, p)}
        self._last_of = (phases, found)
        return found

    def collect(self, index: int) -> Round:
        """A round's turns; who gave no answer in it, but has before, keeps that."""
        phases, names = self.plan.phases_of(index), [name for name in self.agents if name not in self.out]
        keys = [(name, index, phase.name) for phase in phases for name in names if self.plan.speaks(name, phase)]
        turns = [self.turns[key] for key in keys if key in self.turns]
        answered = {turn.agent for turn in turns if turn.gives == "answer"}
        for name in names if len(answered) < len(names) else ():
            own = self.last_answer(name, index, "") if name not in answered else None
            if own is not None:
                turns.append(replace(own, round=index, kept="was not asked", reads=()))
        return Round(index, tuple(turns))

    def last_answer(self, agent: str, index: int, phase: str) -> Turn | None:
        """An agent's newest answer before a phase; absent voices are passed over."""
        spot = self.plan.before(agent, index, phase, gives="answer")
        while spot is not None:
            turn = self.turns.get(spot)
            if turn is not None and turn.reply is not None:
                return turn
            spot = self.plan.before(*spot, gives="answer")
        return None

    # ---- waiting ---------------------------------------------------------------------------------------------

    async def wait(self, keys: Sequence[Key], enough: int) -> None:
        """Until at least `enough` of the turns are there."""
        missing = [key for key in keys if key not in self.turns]
        short = enough - (len(keys) - len(missing))
        if short <= 0:
            return
        waiter = _Waiter(short)
        for key in missing:
            self._waiters.setdefault(key, []).append(waiter)
        await waiter.event.wait()

    async def ready(self, needs: Needs) -> list[Turn]:
        """Wait for what a turn needs, and give what it may read."""
        if self.out:
            must, may = (tuple(k for k in keys if k[0] not in self.out) for keys in (needs.must, needs.may))
            needs = replace(needs, must=must, may=may, enough=min(needs.enough, len(may)))
        await self.wait(needs.must, len(needs.must))
        if needs.may:
            with anyio.move_on_after(needs.deadline):
                await self.wait(needs.may, needs.enough)
        return self.plan.readable(needs, self.turns)
