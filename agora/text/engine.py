"""The debate engine: agents speak as soon as what they must read is there; the moderator decides when it is over."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from agora import calls
from agora.budget import Budget, Meter
from agora.calls import Delta, Scope, Wait, ask, scope, sentence
from agora.errors import BudgetError, DebateError, InputError, ModelError, QuorumError
from agora.journal import Recorder, event_json
from agora.model import Model, Settings, derive_seed
from agora.records import (
    Decided,
    Event,
    Message,
    Reply,
    Retrying,
    Round,
    RoundOver,
    Speaking,
    Spoke,
    Started,
    Turn,
    Usage,
    Verdict,
    Wrote,
)
from agora.text.agent import Agent
from agora.text.board import Board
from agora.text.gates import condense, digests_of, majority, minutes, pruned, read_ballot, unknown
from agora.text.protocol import Phase, Plan
from agora.text.reading import Reader
from agora.text.stop import StopRule
from agora.text.verdict import conclude, deciding
from agora.text.votes import plurality

if TYPE_CHECKING:
    from agora.text.debate import Debate


MODERATOR = "(moderator)"  # under which its calls are recorded: an agent may be called moderator
MAX_EDGES = 20_000  # that are told; a larger graph is in the debate


class Run:
    """One run of a debate: the board of what has been said, and the tasks that fill it.

    Args:
        debate: whose run.
        question: what is debated.
        settings: passed on to agents that do not pin their own.
        id: the run's id.
        recorder: where it is journaled, if it is.
        emit: is told every event.
        stream: with pieces of text while they are written.
    """

    def __init__(
        self,
        debate: Debate,
        question: str,
        settings: Settings,
        *,
        id: str,
        recorder: Recorder | None,
        emit: Callable[[Event], None],
        stream: bool = False,
    ) -> None:
        self.debate = debate
        self.question = question
        self.answer = debate.answer_type
        self.settings = settings
        self.id = id
        self.seed = settings.seed if settings.seed is not None else debate.seed
        self.plan = Plan(debate.protocol, debate.topology, self.seed)
        self.order: Mapping[str, int] = {agent.name: i for i, agent in enumerate(debate.agents)}
        self.rounds: list[Round] = []
        self.warnings: list[str] = []
        self.over: str | None = None  # why the debate ended
        self.cut: str | None = None  # which budget, if one, allows no further call
        self._emit = emit
        self._limit: BudgetError | None = None
        self._board = Board(self.plan, list(self.order))
        skip = debate.protocol.gates.skip
        asks = debate.moderator.stop.needs | (skip.needs if skip is not None else frozenset())
        asks |= frozenset().union(*(p.unless.needs for p in debate.protocol.closing if p.unless))  # type: ignore[union-attr]
        self._reader = Reader(
            self._board, question, self.answer, self.order, debate.moderator.last, asks, debate.instead
        )
        protocol = debate.protocol
        self._waits = protocol.gates.wait or protocol.memory == "summary"
        self._digests = digests_of(protocol, debate.topology)
        self._chats: dict[str, list[Message]] = {}
        self._asked: Counter[tuple[str, int]] = Counter()
        self._lost = Usage()  # what replies that could not be used took
        self._parts: list[tuple[tuple[int, int, int], Reply]] = []
        outer = calls.current()
        if outer.whole:  # inside a call that is counted and recorded as one
            outer = Scope(stand_in=outer.stand_in)
        self._recorder = recorder or outer.recorder
        self._path = outer.path
        self._listen = outer.listen
        meters = outer.meters
        if debate.budget != Budget():
            meter = Meter(debate.budget)
            if self._recorder is not None:
                meter = Meter(debate.budget, self._recorder.used(self._path), self._recorder.failed_before(self._path))
            meters = (*meters, meter)
        self._scope = replace(outer, recorder=self._recorder, meters=meters, listen=None, stream=stream, whole=False)

    def _tell(self, event: Event, *, full: bool = False) -> None:
        """Tell an event to who watches and to the journal."""
        self._emit(event)
        if self._recorder is not None:
            kind, data = event_json(event, full=full)
            self._recorder.event(kind, self._path, data)

    # ---- the whole -------------------------------------------------------------------------------------------

    async def run(self) -> Verdict:
        debate = self.debate
        replayed = self._recorder.recorded if self._recorder is not None else 0
        graph = debate.topology
        edges = graph.edges if graph.edge_count <= MAX_EDGES else ()
        self._tell(Started(self.id, self.question, graph.agents, edges, replayed))
        self._check_prices()
        self._board.open(0)
        failure: BaseException | None = None
        with scope(**{name: getattr(self._scope, name) for name in Scope.__slots__}):
            try:
                async with anyio.create_task_group() as group:
                    for agent in debate.agents:
                        group.start_soon(self._take_part, agent, name=agent.name)
                    group.start_soon(self._moderate, group, name="moderator")
                if debate.protocol.closing and self.cut is None:
                    await self._close()
            except BaseExceptionGroup as errors:
                failure = calls.first(errors)
            if failure is not None:
                raise failure  # out here, as notebooks show no error that has a group in its context
            verdict = await self._verdict()
        self._tell(Decided(verdict))
        return verdict

    def _check_prices(self) -> None:
        """A budget in USD needs prices: without one an agent would be silent, and the rest decide without it.

        Raises:
            InputError: if one is not known.
        """
        if all(meter.budget.usd is None for meter in self._scope.meters) or self._scope.stand_in is not None:
            return
        models = [agent.model for agent in self.debate.agents]
        for model in models:
            if members := getattr(model, "members", ()):
                models.extend(members)
                continue
            cost = getattr(model, "cost", None)
            if cost is None or cost(Usage(1, 1, 1)) is None:
                raise InputError(
                    f"a budget in USD cannot be kept, as the price of {model.name} is not known.",
                    hint="Give it: `price: {input: 0.25, output: 2}`, in USD per million tokens.",
                )

    async def _take_part(self, agent: Agent) -> None:
        for index in range(self.debate.moderator.last + 1):
            await self._board.begun(index).wait()
            if agent.name in self._board.out:
                return
            for phase in self.plan.phases_of(index):
                if self.plan.speaks(agent.name, phase):
                    self._publish(await self._speak(agent, index, phase), agent)

    async def _moderate(self, group: TaskGroup) -> None:
        """After each round: over, or go on. Where agents ran ahead, no rule could have stopped the debate."""
        stop, last = self.debate.moderator.stop, self.debate.moderator.last
        gates = self.debate.protocol.gates
        for index in range(last + 1):
            await self._board.over(index).wait()
            round = self._board.collect(index)
            present = len(round.final) - len(round.absent)
            if present or not index or self.cut is None:
                self.rounds.append(round)
            if self.cut is not None:
                # what is under way has been paid for: go on until a round in which nobody could speak
                reason = None if any(t.reply is not None and t.kept is None for t in round.turns) else self.cut
            else:
                if round.final and present < max(1, math.ceil(self.debate.moderator.quorum * len(round.final) - 1e-9)):
                    self._fail(round, present)
                reason = None if self._board.begun(index + 1).is_set() else await self._ask_rule(stop)
                if reason is None and index == 0 and gates.skip is not None:
                    skipped = await self._ask_rule(gates.skip)
                    reason = f"no debate was needed: {skipped}" if skipped else None
            if reason is None and index == last:
                reason = self.cut or f"the hard limit of {last} rounds"
            if reason is None and self.cut is None:
                await self._between(round)
            self.over = reason
            self._tell(RoundOver(round, reason))
            if reason is not None:
                group.cancel_scope.cancel()
                return
            if index < last:
                self._board.open(index + 1)

    async def _between(self, round: Round) -> None:
        """What happens between rounds: who stays, and the running summary."""
        protocol = self.debate.protocol
        try:
            prune = protocol.gates.prune
            if prune is not None and round.index >= prune.first:
                out = await pruned(prune, round, self)
                self._board.out |= set(out)
                if out:
                    self.warn(f"after round {round.index} {', '.join(out)} left the debate")
            if protocol.memory == "summary" and protocol.summariser is not None:
                before = self._reader.minutes.get(round.index - 1)
                self._reader.minutes[round.index] = await minutes(protocol.summariser, round, self, before)
        except BudgetError as error:
            self._cut(error)

    def _publish(self, turn: Turn, agent: Agent) -> None:
        """Put a turn on the board, and see whether the next round may begin."""
        self._board.put(turn)
        self._tell(Spoke(turn), full=turn.kept is not None or bool(getattr(agent.model, "members", ())))
        if self.over is not None:
            return
        counts = self._board.count(turn)
        if (
            counts is not None
            and self.cut is None
            and turn.gives == "answer"
            and turn.round < self.debate.moderator.last
            and not self._waits
            and not self._board.absent(turn.round)  # the quorum may fail, and what is sent ahead would be lost
            and not self._board.begun(turn.round + 1).is_set()
            and not self.debate.moderator.stop.may_stop(turn.round, counts)
        ):
            self._board.open(turn.round + 1)

    async def _close(self) -> None:
        """The closing phases, after the last round."""
        index = self.rounds[-1].index
        closing: Sequence[Phase] = self.debate.protocol.closing  # type: ignore[assignment]
        closing = [phase for phase in closing if phase.unless is None or await self._ask_rule(phase.unless) is None]
        if self.cut is not None:
            return
        self.plan.close(index, closing)

        async def take_part(agent: Agent) -> None:
            for phase in closing:
                if self.plan.speaks(agent.name, phase):
                    self._publish(await self._speak(agent, index, phase), agent)

        async with anyio.create_task_group() as group:
            for agent in self.debate.agents:
                if agent.name not in self._board.out:
                    group.start_soon(take_part, agent, name=agent.name)
        self.rounds[-1] = self._board.collect(index)

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

    async def _speak(self, agent: Agent, index: int, phase: Phase) -> Turn:
        protocol, gives = self.debate.protocol, phase.gives or "answer"
        if index and gives == "answer" and (kept := await self._kept(agent, index, phase)) is not None:
            return kept
        read = await self._read(agent.name, index, phase)
        if protocol.gates.drop is not None:
            own = self._board.last_answer(agent.name, index, phase.name)
            news = unknown(read, own)
            if index and gives == "answer" and own is not None and read and not news:
                return replace(own, round=index, phase=phase.name, kept="read nothing new", reads=())
            read = news
        messages, reads, labels = self._reader.prompt(agent, index, phase, read)
        self._tell(Speaking(agent.name, index, phase.name))
        settings = agent.settings.over(self.settings)
        if protocol.temperature is not None and settings.temperature is None:
            place = self.plan.position(agent.name, index, self.debate.moderator.last)
            settings = replace(settings, temperature=protocol.temperature.at(*place))
        if agent.settings.seed is None:
            settings = settings.seeded(derive_seed(self.seed, self.order[agent.name], index, phase.name))
        chat = self._chats.get(agent.name, []) if protocol.memory == "own_chat" else []
        asked = (*messages[:-1], *chat, messages[-1]) if chat else messages
        reply, answer, ballot, failure = None, None, None, None
        try:
            reply = await ask(
                agent.model, asked, settings, at=f"{agent.name}/{index}/{phase.name}",
                listen=lambda what: self._hear(what, agent.name, index, phase.name),
            )  # fmt: skip
        except InputError:
            raise
        except BudgetError as error:
            # a budget around this debate ends it; one inside the agent's model is that agent's failure
            failure = self._cut(error) if error.meter in self._scope.meters else sentence(error)
        except Exception as error:
            failure = sentence(error)
            self._lost = self._lost + (getattr(error, "usage", None) or Usage())
        if reply is not None:
            if not isinstance(reply, Verdict):  # a nested debate's stay in its verdict, among the parts
                for warning in reply.warnings:
                    self.warn(f"{agent.name}: {warning}")
            self._parts.append(((index, self.order[agent.name], len(phase.name)), reply))
            if protocol.memory == "own_chat":
                self._chats[agent.name] = [*chat, messages[-1], Message("assistant", reply.text)]
            if gives == "answer":
                answer = self.debate.read(reply)
            if phase.ballot is not None:
                ballot = read_ballot(phase.ballot, reply.text, labels, agent.name)
        digest = await self._digest(reply, agent.name, index, phase) if reply is not None and self._digests else None
        return Turn(
            agent.name,
            index,
            phase.name,
            reply,
            answer,
            reads,
            failure,
            asked,
            gives=gives,
            ballot=ballot,
            digest=digest,
        )

    async def _kept(self, agent: Agent, index: int, phase: Phase) -> Turn | None:
        """The turn of an agent that a gate spares."""
        gates = self.debate.protocol.gates
        own = self._board.last_answer(agent.name, index, phase.name)
        if own is None or not (gates.freeze or gates.follow):
            return None
        await self._board.over(index - 1).wait()
        final = self._board.collect(index - 1).final
        answer = majority(final.values())
        if answer is None:
            return None
        if gates.freeze and own.value == answer:
            return replace(own, round=index, phase=phase.name, kept="holds the majority's answer", reads=())
        draw = random.Random(derive_seed(self.seed, "follow", self.order[agent.name], index)).random()
        if own.value != answer and draw < gates.follow:
            lead = next(turn for turn in final.values() if turn.value == answer)
            key = (lead.agent, lead.round, lead.phase)
            return replace(
                lead, agent=agent.name, round=index, phase=phase.name, kept="follows the majority", reads=(key,)
            )
        return None

    async def _read(self, name: str, index: int, phase: Phase) -> list[Turn]:
        """Wait for what a turn must read, and give what it may."""
        if barrier := self.plan.barrier(index, phase.name):
            await self._board.wait(barrier, len(barrier))
        needs = self.plan.needs(name, index, phase, self._board.turns)
        if not needs.may or self._recorder is None:
            return await self._board.ready(needs)
        # what is there in time is chance: a resumed run must read the same
        path = f"{self._path}/{name}/{index}/{phase.name}" if self._path else f"{name}/{index}/{phase.name}"
        chosen = self._recorder.choice(path)
        if chosen is not None:
            keys = [(str(who), int(when), str(what)) for who, when, what in chosen if who in self.order]
            await self._board.wait(keys, len(keys))
            return [self._board.turns[key] for key in keys]
        read = await self._board.ready(needs)
        self._recorder.choose(path, [(turn.agent, turn.round, turn.phase) for turn in read])
        return read

    async def _digest(self, reply: Reply, agent: str, index: int, phase: Phase) -> str | None:
        """A turn's summary or claims, for the views that show it so."""
        protocol = self.debate.protocol
        if protocol.summariser is None or phase.gives not in ("answer", "text"):
            return None
        try:
            return await condense(
                protocol.summariser, reply, self, self._digests, f"digest/{agent}/{phase.name}", index
            )
        except BudgetError as error:
            self._cut(error)
        except Exception as error:
            self.warn(f"what {agent} said in round {index} is shown in full: {sentence(error)}")
        return None

    def _hear(self, what: Wait | Delta, agent: str | None, index: int, phase: str) -> None:
        if isinstance(what, Wait):
            self._tell(Retrying(agent, what.model, what.error, what.seconds, what.attempt))
            if self._listen is not None:  # who asked this debate waits too
                self._listen(what)
        elif agent is not None:
            self._emit(Wrote(agent, index, phase, what.text, what.first))

    async def ask(
        self,
        model: Model,
        role: str,
        messages: Sequence[Message],
        settings: Settings = Settings(),
        *,
        round: int | None = None,
    ) -> Reply:
        """Ask a model on the moderator's behalf."""
        index = round if round is not None else self.rounds[-1].index if self.rounds else 0
        count = self._asked[role, index] = self._asked[role, index] + 1
        seed = derive_seed(self.seed, role, index, count)
        try:
            reply = await ask(
                model, messages, settings.over(self.settings).seeded(seed), at=f"{MODERATOR}/{index}/{role}",
                listen=lambda what: self._hear(what, None, index, role),
            )  # fmt: skip
        except ModelError as error:
            self._lost = self._lost + (error.usage or Usage())
            raise
        self._parts.append(((index, len(self.order), len(self._parts)), reply))
        return reply

    @property
    def spent(self) -> float | None:
        """The largest share of any limit of the debate's budget that is used up; None without limits."""
        shares = [share for meter in self._scope.meters for share in meter.shares()]
        return max(shares, default=None)

    def warn(self, text: str) -> None:
        """Note something a reader of the verdict should know, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def _cut(self, error: BudgetError) -> str:
        """Note that a budget has ended the sending of calls."""
        if self.cut is None:
            self.cut, self._limit = f"stopped by: budget ({error.limit})", error
        return str(error)

    # ---- the outcome -----------------------------------------------------------------------------------------

    async def _verdict(self) -> Verdict:
        debate = self.debate
        turns = deciding(self.rounds, debate.voters, cut=self.cut is not None)
        if not turns:
            raise DebateError(
                "no voter gave an answer in any phase.", hint="Let one phase that gives answers have them."
            )
        if self._limit is not None and all(turn.reply is None for turn in turns):
            limit = self._limit
            raise BudgetError(
                f"{limit.message.rstrip('.')}, and no agent had answered.",
                limit=limit.limit,
                hint=limit.hint or "Raise it, or use fewer agents.",
                meter=limit.meter,
            )
        ruling = await debate.moderator.decide.decide(self, turns)
        first = deciding(self.rounds[:1], debate.voters, cut=False)
        counted = {"weight": w} if (w := getattr(debate.moderator.decide, "weight", None)) else {}
        initial = plurality(first, initial=first, seed=self.seed, **counted)
        verdict = conclude(
            ruling,
            initial,
            turns=turns,
            rounds=self.rounds,
            # in the order of the debate, not of arrival, which depends on time
            parts=[reply for _, reply in sorted(self._parts, key=lambda pair: pair[0])],
            warnings=self.warnings,
            stop=self.over or "",
            question=self.question,
            model=debate.name,
            run=self.id,
            lost=self._lost,
            influence=debate.moderator.influence,
            planted=[agent.name for agent in debate.agents if agent.adversary is not None],
        )
        if debate.read(verdict).value == verdict.answer:
            return verdict
        # of a debate that is a member of something the text is read: it must say no other answer than the verdict
        return replace(verdict, text=f"{verdict.text}\n\nAnswer: {verdict.answer or 'none'}")
