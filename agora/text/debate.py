"""The debate engine: agents speak as soon as what they must read is there; the moderator decides when it is over."""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Any

import anyio
from anyio.abc import TaskGroup

from agora.answers import AnswerType, answer_type, extract
from agora.budget import Budget, Meter
from agora.errors import AgoraError, BudgetError, DebateError, InputError, QuorumError, TemplateError
from agora.model import Model, Settings, derive_seed
from agora.records import (
    Change,
    Decided,
    Dissent,
    Event,
    Message,
    Reply,
    Round,
    RoundOver,
    Speaking,
    Spoke,
    Started,
    Turn,
    Usage,
    Verdict,
)
from agora.text.agent import Agent, Shown, show
from agora.text.moderator import Moderator, StopRule
from agora.text.protocol import Key, Needs, Plan, Protocol
from agora.text.topology import Topology, build
from agora.text.votes import plurality

MAX_QUESTION = 200_000  # characters


class Debate:
    """Agents that answer a question by reading each other's answers. Itself a `Model`.

    Args:
        agents: who takes part; names must differ.
        topology: who reads whom: a name ('complete', 'ring', ...), {'name': {arguments}}, {'edges': [[u, v], ...]}, a
            networkx graph or a `Topology`; u -> v means v reads u.
        protocol: schedule, view, memory, phases.
        moderator: stop rules and decision.
        answer: the kind of answer: 'number', 'yes_no', 'text', 'json', or an `AnswerType` such as `Choice([...])`.
        voters: whose last answers decide; default all, with a layered schedule the agents whom nobody reads.
        budget: limits of each run.
        seed: all randomness of a run is drawn from it.
        name: as a model.

    Raises:
        InputError: naming what is wrong.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        *,
        topology: Any = "complete",
        protocol: Protocol | None = None,
        moderator: Moderator | None = None,
        answer: str | AnswerType = "text",
        voters: Sequence[str] | None = None,
        budget: Budget | None = None,
        seed: int = 0,
        name: str = "debate",
    ) -> None:
        if not agents:
            raise InputError("a debate needs at least one agent.")
        self.agents = tuple(agents)
        self.topology: Topology = build(topology, [agent.name for agent in agents])
        self.protocol = protocol or Protocol()
        self.moderator = moderator or Moderator()
        self.answer_type = answer_type(answer)
        Plan(self.protocol, self.topology, seed)  # a schedule that does not fit the graph is found now
        layered = self.protocol.schedule.kind == "layered"
        self.voters = tuple(voters) if voters is not None else self.topology.sinks if layered else self.topology.agents
        strangers = set(self.voters) - set(self.topology.agents)
        if strangers or not self.voters:
            raise InputError(f"voters: {', '.join(sorted(strangers)) or 'nobody'} is no agent of this debate.")
        self.budget = budget or Budget()
        self.seed = seed
        self._name = name

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    def run(self, question: str) -> Verdict:
        """Debate a question to the verdict, from a script. In a notebook or an async function: `await answer(...)`.

        Raises:
            RuntimeError: inside a running event loop.
            AgoraError: as `answer`.
        """
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return anyio.run(self.answer, question)
        raise RuntimeError("an event loop is running here: use `await debate.answer(question)` instead of `run`.")

    async def answer(self, messages: str | Sequence[Message], settings: Settings = Settings()) -> Verdict:
        """Debate a question to the verdict.

        Args:
            messages: the question, or a conversation that ends with it.
            settings: passed on to agents that do not pin their own; `seed` replaces the debate's.

        Raises:
            InputError: for an empty question.
            QuorumError: if too few agents spoke.
            BudgetError: if a budget ended the run before anybody had answered.
        """
        return await _Run(self, _question(messages), settings, lambda event: None).run()

    def watch(self, question: str | Sequence[Message], settings: Settings = Settings()) -> Watch:
        """Follow a debate: `async with debate.watch(question) as events: async for event in events: ...`.

        Leaving the block early ends the debate and all its calls.
        """
        return Watch(self, _question(question), settings)

    def __repr__(self) -> str:
        return f"Debate({', '.join(agent.name for agent in self.agents)}; {self.topology.name}; {self.moderator.stop})"


class Watch:
    """A debate under way, as a stream of events. `verdict` is there when the stream has ended."""

    def __init__(self, debate: Debate, question: str, settings: Settings) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Event](math.inf)
        self._run = _Run(debate, question, settings, self._send.send_nowait)
        self._error: Exception | None = None
        self._group: TaskGroup | None = None
        self.run_id = self._run.id
        self.verdict: Verdict | None = None

    async def __aenter__(self) -> Watch:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._go)
        return self

    async def _go(self) -> None:
        try:
            self.verdict = await self._run.run()
        except Exception as error:
            self._error = error
        finally:
            self._send.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                error, self._error = self._error, None
                raise error from None
            raise StopAsyncIteration from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        try:
            # what the body raised is the caller's: it must not come back wrapped in a group
            await self._group.__aexit__(None, None, None)
        finally:
            self._receive.close()
        return None


def _question(messages: str | Sequence[Message]) -> str:
    """The text to debate: the last message, with what went before it as context."""
    if isinstance(messages, str):
        text = messages
    else:
        given = [m for m in messages if m.content.strip()]
        text = given[-1].content if given else ""
        if len(given) > 1:
            before = "\n\n".join(f"{m.role}: {m.content}" for m in given[:-1])
            text = f"{before}\n\n{text}"
    text = text.strip()
    if not text:
        raise InputError("the question is empty.")
    if len(text) > MAX_QUESTION:
        raise InputError(f"the question has {len(text):,} characters; at most {MAX_QUESTION:,} can be debated.")
    return text


class _Waiter:
    __slots__ = ("event", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.event = anyio.Event()


class _Run:
    """One run of a debate: the board of what has been said, and the tasks that fill it."""

    def __init__(self, debate: Debate, question: str, settings: Settings, emit: Callable[[Event], None]) -> None:
        self.debate = debate
        self.question = question
        self.answer = debate.answer_type
        self.settings = settings
        self.emit = emit
        self.id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.seed = settings.seed if settings.seed is not None else debate.seed
        self.plan = Plan(debate.protocol, debate.topology, self.seed)
        self.order: Mapping[str, int] = {agent.name: i for i, agent in enumerate(debate.agents)}
        self.meter = Meter(debate.budget)
        self.rounds: list[Round] = []
        self.warnings: list[str] = []
        self.parts: list[Reply] = []
        self.over: str | None = None  # why the debate ended
        self.cut: str | None = None  # which budget, if one, allows no further call
        self._limit: BudgetError | None = None
        self._board: dict[Key, Turn] = {}
        self._chats: dict[str, list[Message]] = {}
        self._waiters: dict[Key, list[_Waiter]] = {}
        self._gates = [anyio.Event()]
        self._counts: list[Counter[str | None]] = []
        self._done: list[anyio.Event] = []
        self._asked = 0

    # ---- the whole -------------------------------------------------------------------------------------------

    async def run(self) -> Verdict:
        debate = self.debate
        self.emit(Started(self.id, self.question, debate.topology.agents, debate.topology.edges))
        self._gates[0].set()
        try:
            async with anyio.create_task_group() as group:
                for agent in debate.agents:
                    group.start_soon(self._take_part, agent, name=agent.name)
                group.start_soon(self._moderate, group, name="moderator")
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        verdict = await self._verdict()
        self.emit(Decided(verdict))
        return verdict

    async def _take_part(self, agent: Agent) -> None:
        for index in range(self.debate.moderator.last + 1):
            await self._gate(index).wait()
            for phase in self.debate.protocol.phases_of(index):
                turn = await self._speak(agent, index, phase)
                self._publish(turn)

    async def _moderate(self, group: TaskGroup) -> None:
        """After each round: over, or go on. Where agents ran ahead, no rule could have stopped the debate."""
        stop, last = self.debate.moderator.stop, self.debate.moderator.last
        for index in range(last + 1):
            await self._round_event(index).wait()
            round = self._collect(index)
            present = len(round.final) - len(round.absent)
            if present or not index or self.cut is None:
                self.rounds.append(round)
            if self.cut is not None:
                # what is under way has been paid for: go on until a round in which nobody could speak
                reason = None if present else self.cut
            else:
                if present < max(1, math.ceil(self.debate.moderator.quorum * len(round.final) - 1e-9)):
                    self._fail(round, present)
                reason = None if self._gate(index + 1).is_set() else await self._ask_rule(stop)
            if reason is None and index == last:
                reason = self.cut or f"the hard limit of {last} rounds"
            self.over = reason
            self.emit(RoundOver(round, reason))
            if reason is not None:
                group.cancel_scope.cancel()
                return
            self._gate(index + 1).set()

    async def _ask_rule(self, stop: StopRule) -> str | None:
        try:
            return await stop(self)
        except BudgetError as error:
            self._cut(error)
            return self.cut

    def _fail(self, round: Round, present: int) -> None:
        reasons = dict.fromkeys(turn.error or "" for turn in round.turns if turn.reply is None)
        shown = "; ".join(list(reasons)[:3])
        raise QuorumError(
            f"only {present} of {len(round.final)} agents spoke in round {round.index}: {shown}",
            rounds=tuple(self.rounds),
        )

    # ---- one turn --------------------------------------------------------------------------------------------

    async def _speak(self, agent: Agent, index: int, phase: str) -> Turn:
        if barrier := self.plan.barrier(index, phase):
            await self._wait(barrier, len(barrier))
        needs = self.plan.needs(agent.name, index, phase, self._board)
        await self._ready(needs)
        read = self.plan.readable(needs, self._board)
        messages, reads = self._prompt(agent, index, phase, read)
        turn = Turn(agent.name, index, phase, reads=reads, messages=messages)
        self.emit(Speaking(agent.name, index, phase))
        settings = agent.settings.over(self.settings)
        if agent.settings.seed is None:
            settings = replace(settings, seed=derive_seed(self.seed, self.order[agent.name], index, phase))
        chat = self._chats.get(agent.name, []) if self.debate.protocol.memory == "own_chat" else []
        asked = (*messages[:-1], *chat, messages[-1]) if chat else messages
        try:
            reply = await self._call(agent.model, asked, settings)
        except BudgetError as error:
            return replace(turn, messages=asked, error=self._cut(error))
        except (InputError, TemplateError):
            raise
        except Exception as error:
            return replace(turn, messages=asked, error=_sentence(error))
        if self.debate.protocol.memory == "own_chat":
            self._chats[agent.name] = [*chat, messages[-1], Message("assistant", reply.text)]
        answer = None if phase == "critique" else extract(self.answer, reply)
        return replace(turn, messages=asked, reply=reply, answer=answer)

    def _prompt(
        self, agent: Agent, index: int, phase: str, read: list[Turn]
    ) -> tuple[tuple[Message, ...], tuple[Key, ...]]:
        """The messages of a turn, and whose turns are in them."""
        protocol, me = self.debate.protocol, self.order[agent.name]
        view = protocol.view
        if phase == "answer" and not read:
            values: dict[str, Any] = {"question": self.question, "round": index, "answer": self.answer}
            return agent.messages("answer", {**values, "ask_confidence": view.confidence}), ()
        own = self._last(agent.name, index, phase)
        answers = [t if t.phase != "critique" else self._last(t.agent, t.round, t.phase) for t in read]
        turns = [t for t in answers if t is not None]
        if view.own == "peer" and own is not None:
            turns.append(own)
        peers = show(turns, view, seed=self.seed, reader=me, order=self.order)
        critics = show([t for t in read if t.phase == "critique"], view, seed=self.seed, reader=me, order=self.order)
        said = [] if protocol.memory != "transcript" else self._transcript(agent.name, read, turns, index)
        history = show(
            said,
            view,
            seed=self.seed,
            reader=me,
            order=self.order,
        )
        history.sort(key=lambda pair: pair[1].round)
        mine = None
        if own is not None and own.reply is not None and view.own == "shown":
            mine = Shown(
                "You", own.reply.text.strip(), own.value, own.answer.confidence if own.answer else None, own.round
            )
        values = {
            "question": self.question,
            "round": index,
            "answer": self.answer,
            "ask_confidence": view.confidence,
            "peers": [shown for shown, _ in peers],
            "own": mine,
            "critiques": [shown for shown, _ in critics],
            "history": [shown for shown, _ in history],
        }
        template = "revise" if phase == "answer" else phase
        reads = tuple((t.agent, t.round, t.phase) for _, t in (*history, *peers, *critics))
        return agent.messages(template, values), tuple(dict.fromkeys(reads))

    def _last(self, agent: str, index: int, phase: str) -> Turn | None:
        """The agent's newest turn with an answer before a phase."""
        spot: tuple[int, str] | None = (index, phase)
        while spot is not None and (spot := self.debate.protocol.before(*spot)) is not None:
            turn = self._board.get((agent, *spot))
            if turn is not None and turn.phase != "critique" and turn.reply is not None:
                return turn
        return None

    def _transcript(self, me: str, read: list[Turn], now: list[Turn], index: int) -> list[Turn]:
        """All earlier answers of those who are read, and the reader's own unless hidden; not what is shown anyway."""
        own = {me} if self.debate.protocol.view.own != "hidden" else set()
        names = {turn.agent for turn in read} | own
        newest = {(t.agent, t.round, t.phase) for t in now}
        last = self._last(me, index, "revise" if index else "answer")
        return [
            turn
            for key, turn in self._board.items()
            if turn.agent in names
            and turn.phase != "critique"
            and turn.round < index
            and key not in newest
            and not (turn is last and self.debate.protocol.view.own == "shown")
        ]

    async def _call(self, model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
        """Ask a model within the budget and count what it takes."""
        self.meter.reserve()
        left = self.meter.seconds_left()
        begun = time.perf_counter()
        reply: Reply | None = None
        with anyio.move_on_after(left):
            reply = await model.answer(messages, settings)
        if reply is None:
            raise BudgetError(f"the budget of {self.debate.budget.seconds} seconds is used up.", limit="seconds")
        if not isinstance(reply, Reply):
            raise DebateError(f"{model.name} answered with {type(reply).__name__}, not with a Reply.")
        if not reply.usage.calls:
            reply = replace(reply, usage=replace(reply.usage, calls=1))
        if not reply.usage.seconds:
            reply = replace(reply, usage=replace(reply.usage, seconds=time.perf_counter() - begun))
        self.meter.add(reply.usage)
        self.parts.append(reply)
        return reply

    async def ask(self, model: Model, role: str, messages: Sequence[Message]) -> Reply:
        """Ask a model on the moderator's behalf."""
        self._asked += 1
        seed = derive_seed(self.seed, role, self._asked)
        return await self._call(model, messages, replace(self.settings, seed=seed))

    def warn(self, text: str) -> None:
        """Note something a reader of the verdict should know."""
        self.warnings.append(text)

    def _cut(self, error: BudgetError) -> str:
        """Note that a budget has ended the sending of calls."""
        if self.cut is None:
            self.cut, self._limit = f"stopped by: budget ({error.limit})", error
        return str(error)

    # ---- waiting ---------------------------------------------------------------------------------------------

    def _gate(self, index: int) -> anyio.Event:
        while len(self._gates) <= index:
            self._gates.append(anyio.Event())
        return self._gates[index]

    def _round_event(self, index: int) -> anyio.Event:
        while len(self._done) <= index:
            self._done.append(anyio.Event())
            self._counts.append(Counter())
        return self._done[index]

    def _publish(self, turn: Turn) -> None:
        """Put a turn on the board, wake those who waited for it, and see whether the next round may begin."""
        key = (turn.agent, turn.round, turn.phase)
        self._board[key] = turn
        self.emit(Spoke(turn))
        for waiter in self._waiters.pop(key, ()):
            waiter.missing -= 1
            if waiter.missing <= 0:
                waiter.event.set()
        if turn.phase == "critique":
            return
        done = self._round_event(turn.round)
        counts = self._counts[turn.round]
        counts[turn.value] += 1
        moderator = self.debate.moderator
        if counts.total() == len(self.debate.agents):
            done.set()
        elif (
            self.cut is None
            and turn.round < moderator.last
            and not (gate := self._gate(turn.round + 1)).is_set()
            and not moderator.stop.may_stop(turn.round, counts)
        ):
            gate.set()

    async def _wait(self, keys: Sequence[Key], enough: int) -> None:
        """Until at least `enough` of the turns are there."""
        missing = [key for key in keys if key not in self._board]
        short = enough - (len(keys) - len(missing))
        if short <= 0:
            return
        waiter = _Waiter(short)
        for key in missing:
            self._waiters.setdefault(key, []).append(waiter)
        await waiter.event.wait()

    async def _ready(self, needs: Needs) -> None:
        await self._wait(needs.must, len(needs.must))
        with anyio.move_on_after(needs.deadline):
            await self._wait(needs.may, needs.enough)

    # ---- the outcome -----------------------------------------------------------------------------------------

    def _collect(self, index: int) -> Round:
        phases = self.debate.protocol.phases_of(index)
        names = self.debate.topology.agents
        return Round(index, tuple(self._board[name, index, phase] for phase in phases for name in names))

    def _deciding(self) -> list[Turn]:
        """The voters' turns of the last round; after a budget has cut it, each voter's last answer."""
        final = self.rounds[-1].final
        if self.cut is None:
            return [final[name] for name in self.debate.voters]
        turns = []
        for name in self.debate.voters:
            said = [r.final[name] for r in self.rounds if r.final[name].reply is not None]
            turns.append(said[-1] if said else final[name])
        return turns

    async def _verdict(self) -> Verdict:
        debate, turns = self.debate, self._deciding()
        if self._limit is not None and all(turn.reply is None for turn in turns):
            raise BudgetError(
                f"{self._limit.message.rstrip('.')} and no agent had answered.",
                limit=self._limit.limit,
                hint="Raise it, or use fewer agents.",
            )
        ruling = await debate.moderator.decide.decide(self, turns)
        first = [self.rounds[0].final[name] for name in debate.voters]

        counted = {"weight": w} if (w := getattr(debate.moderator.decide, "weight", None)) else {}
        initial = plurality(first, initial=first, seed=self.seed, **counted)
        supporters = [t for t in turns if t.reply is not None and t.value == ruling.answer and t.value is not None]
        best = max(supporters, key=lambda t: (t.answer.confidence or 0.0) if t.answer else 0.0, default=None)
        text = ruling.text or (best.reply.text if best and best.reply else ruling.answer or f"No answer: {ruling.how}.")
        total = sum(ruling.support.values())
        share = ruling.support.get(ruling.answer, 0.0) / total if ruling.answer is not None and total else None
        absent = tuple(turn.agent for turn in turns if turn.reply is None)
        warnings = list(self.warnings)
        if absent:
            warnings.append(f"reached without {', '.join(absent)}")
        unread = [t.agent for t in turns if t.answer is not None and t.answer.why_none == "unparsed"]
        if unread:
            warnings.append(f"no answer could be read from {', '.join(unread)}")
        return Verdict(
            text,
            model=self.debate.name,
            usage=sum((part.usage for part in self.parts), Usage()),
            parts=tuple(self.parts),
            confidence=share,
            answer=ruling.answer,
            question=self.question,
            support=MappingProxyType(dict(ruling.support)),
            dissent=tuple(
                Dissent(t.agent, t.value, t.reply.text)
                for t in turns
                if t.reply is not None and t.value != ruling.answer
            ),
            reason=f"{self.over}; {ruling.how}",
            initial=initial.answer,
            initial_support=MappingProxyType(dict(initial.support)),
            changes=tuple(_changes(self.rounds)),
            rounds=tuple(self.rounds),
            absent=absent,
            warnings=tuple(warnings),
            run=self.id,
        )


def _changes(rounds: Sequence[Round]) -> list[Change]:
    """Who changed after reading whom."""
    said = {(t.agent, t.round, t.phase): t for r in rounds for t in r.turns}
    changes = []
    before: dict[str, Turn] = {}
    for round in rounds:
        for name, turn in round.final.items():
            if turn.reply is None:
                continue
            old = before.get(name)
            if old is not None and old.value != turn.value:
                whose = [key[0] for key in turn.reads if key[0] != name and said[key].value == turn.value is not None]
                changes.append(Change(name, round.index, old.value, turn.value, tuple(dict.fromkeys(whose))))
            before[name] = turn
    return changes


def _sentence(error: Exception) -> str:
    """An error as one line for a record."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, AgoraError) else f"{type(error).__name__}: {text}"


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group."""
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return errors
