"""Debates: agents that answer a question by reading each other's answers, as a `Model`; and how to follow one."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
from anyio.abc import TaskGroup

from agora import calls
from agora.answers import AnswerType, answer_type, extract
from agora.budget import Budget
from agora.errors import InputError
from agora.journal import Journal, check_id, new_id
from agora.model import Model, Settings
from agora.records import Answer, Event, Message, Reply, Turn, Verdict
from agora.text.agent import Agent
from agora.text.engine import MODERATOR, Run
from agora.text.moderator import Moderator
from agora.text.protocol import Phase, Plan, Protocol
from agora.text.reading import edge_view
from agora.text.topology import Topology, build

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
        if isinstance(agents, str) or any(not isinstance(agent, Agent) for agent in agents):
            raise InputError("a debate needs a list of Agents.")
        if moderator is not None and not isinstance(moderator, Moderator):
            raise InputError(f"moderator: needs a Moderator, not a {type(moderator).__name__}.")
        if not agents:
            raise InputError("a debate needs at least one agent.")
        if any(agent.name == MODERATOR for agent in agents):
            raise InputError(f"no agent can be called '{MODERATOR}'.", hint="Leave the brackets out.")
        self.agents = tuple(agents)
        self.topology: Topology = build(topology, [agent.name for agent in agents], seed=seed)
        self.protocol = protocol or Protocol()
        self.moderator = moderator or Moderator()
        self.answer_type = answer_type(answer)
        Plan(self.protocol, self.topology, seed)  # what does not fit the graph is found now
        if self.protocol.schedule.kind == "layered" and self.topology.changes:
            for index in range(1, min(self.moderator.last, 100) + 1):
                self.topology.at(index, seed).layers()
        for edge in self.topology.edges if self.topology.attributed else ():
            edge_view(self.topology.attributes(*edge).get("view"), self.protocol.view)
        layered = self.protocol.schedule.kind == "layered"
        self.voters = tuple(voters) if voters is not None else self.topology.sinks if layered else self.topology.agents
        strangers = set(self.voters) - set(self.topology.agents)
        if strangers or not self.voters:
            raise InputError(f"voters: {', '.join(sorted(strangers)) or 'nobody'} is no agent of this debate.")
        can = [phase for phase in self.protocol.all_phases if phase.gives == "answer"]
        silent = [name for name in self.voters if not any(Plan.speaks(name, phase) for phase in can)]
        if silent and (voters is not None or len(silent) == len(self.voters)):
            raise InputError(
                f"voters: {', '.join(silent[:5])} never answers.", hint="Give it a phase that asks for one."
            )
        rules = [self.moderator.stop, self.protocol.gates.skip, *(phase.unless for phase in self.protocol.all_phases)]
        for rule in rules:
            for name in sorted((rule.agents if rule is not None else frozenset()) - set(self.topology.agents)):
                raise InputError(f"stop: {rule} names an agent that is none of this debate.", hint=f"Check '{name}'.")
        self.budget = budget or Budget()
        self.seed = seed
        self.source: Mapping[str, Any] | None = None  # the debate file it was built from, for the journal
        self.instead: Callable[[Turn], Turn | None] | None = None  # see `varied`
        self._name = name

    @classmethod
    def preset(
        cls,
        name: str,
        agents: Sequence[Agent] | Mapping[str, Agent | Model | str] | None = None,
        *,
        models: Mapping[str, Any] | None = None,
        settings: Sequence[str] = (),
        answer: str | Mapping[str, Any] | AnswerType | None = None,
        budget: Budget | None = None,
        seed: int | None = None,
    ) -> Debate:
        """A published protocol (`agora presets` lists them) with agents, models and settings of one's own.

            Debate.preset("society-of-minds", [Agent("ann", ann), Agent("bob", bob)], answer="yes_no")
            Debate.preset("self-refine", {"critic": "openai:gpt-5"}, settings=["moderator.stop=rounds(4)"])

        Args:
            name: of the preset.
            agents: Agents, or a mapping of names to Agents, models, or what names a model in YAML. Where the preset's
                agents have roles, the names are roles; those not given stay, a model takes over its role's persona,
                templates and settings, and an Agent the persona, if it has none. Where there are no roles, they
                replace the preset's agents.
            models: in place of the preset's, by name: models, or what may stand under `models:` in YAML.
            settings: overrides as `--set` takes them, 'KEY=VALUE' with dotted keys.
            answer: the kind of answer, also as YAML has it: {"choice": ["A", "B"]}.
            budget: limits of each run, in place of the preset's.
            seed: all randomness of a run is drawn from it.

        Raises:
            InputError: if there is no such preset, an agent has no role in it, or what is given does not fit.
        """
        from agora.config.presets import preset  # the language stands on debates, not they on it

        return preset(name, agents, models=models, settings=settings, answer=answer, budget=budget, seed=seed)

    def varied(self, *, instead: Callable[[Turn], Turn | None] | None = None, **changes: Any) -> Debate:
        """The same debate in another form: what it is compared with.

        Args:
            instead: a control: what is shown to the others in place of what an agent has said, or None to show nothing.
                Votes, stop rules, ballots and running summaries are of what was really said.
            changes: arguments of `Debate`, in place of this one's.

        Raises:
            InputError: if they do not fit.
        """
        layered = self.protocol.schedule.kind == "layered"
        reseated = "agents" in changes or (layered and "topology" in changes)
        given: dict[str, Any] = {
            "agents": self.agents, "topology": self.topology, "protocol": self.protocol, "moderator": self.moderator,
            "answer": self.answer_type, "voters": None if reseated else self.voters, "budget": self.budget,
            "seed": self.seed, "name": self._name,
        }  # fmt: skip
        made = Debate(**{**given, **changes})
        made.source, made.instead = self.source, instead or self.instead
        if made.source is not None:
            made.source = {**made.source, "varied": True}  # its file alone does not make it
        return made

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def members(self) -> tuple[Model, ...]:
        """The agents' models."""
        return tuple(agent.model for agent in self.agents)

    def reading(self) -> Topology:
        """Who reads whom over the whole debate: the topology, or, where phases name whom they read or who speaks in
        them, the union over all phases."""
        phases: Sequence[Phase] = self.protocol.all_phases
        if all(phase.reads == "peers" and not phase.who for phase in phases):
            return self.topology
        plan = Plan(self.protocol, self.topology, self.seed)
        schedule = self.protocol.schedule.kind
        edges: set[tuple[str, str]] = set()
        for i, phase in enumerate(phases):
            # a round's phases can be heard in the next; opening and closing are held once, in order, but for layers
            first, rounds = len(self.protocol.opening), len(self.protocol.opening) + len(self.protocol.phases)
            heard = phases[: i + (schedule == "sequential")]
            if first <= i < rounds or schedule == "layered":
                heard = phases[: max(i + 1, rounds)]
            edges.update(
                (peer, agent)
                for agent in self.topology.agents
                if Plan.speaks(agent, phase)
                for peer in plan.readers_of(agent, phase.first, phase)
                if peer != agent and any(Plan.speaks(peer, other) for other in heard)
            )
        return Topology(self.topology.agents, sorted(edges), "by phases")

    def read(self, reply: Reply) -> Answer:
        """The answer in a reply."""
        return extract(self.answer_type, reply)

    def run(self, question: str, *, journal: Journal | str | Path | None = None, run: str | None = None) -> Verdict:
        """Debate a question to the verdict, from a script. In a notebook or an async function: `await answer(...)`.

        Raises:
            RuntimeError: inside a running event loop.
            AgoraError: as `answer`.
        """
        import asyncio

        async def go() -> Verdict:
            return await self.answer(question, journal=journal, run=run)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return anyio.run(go)
        raise RuntimeError("an event loop is running here: use `await debate.answer(question)` instead of `run`.")

    async def answer(
        self,
        messages: str | Sequence[Message],
        settings: Settings = Settings(),
        *,
        journal: Journal | str | Path | None = None,
        run: str | None = None,
    ) -> Verdict:
        """Debate a question to the verdict.

        Args:
            messages: the question, or a conversation that ends with it.
            settings: passed on to agents that do not pin their own; `seed` replaces the debate's.
            journal: where every call is recorded before its reply is used: an open `Journal`, or a store's URL or path.
                Inside another model's journaled call it is that call's.
            run: the run's id. If the journal has a run of this id, it is resumed: nothing is paid for twice.

        Raises:
            InputError: for an empty question, or a run that cannot be resumed.
            QuorumError: if too few agents spoke.
            BudgetError: if a budget ended the run before anybody had answered.
            StoreError: if the journal cannot be written.
        """
        return await self._run(_question(messages), settings, lambda event: None, journal, run)

    def watch(
        self,
        question: str | Sequence[Message],
        settings: Settings = Settings(),
        *,
        journal: Journal | str | Path | None = None,
        run: str | None = None,
        stream: bool = False,
    ) -> Watch:
        """Follow a debate: `async with debate.watch(question) as events: async for event in events: ...`.

        Leaving the block early ends the debate and all its calls. With `stream`, models that can send their text as
        they write it, as `Wrote` events. Other arguments and errors are those of `answer`.
        """
        text, id = _question(question), check_id(run) if run else new_id()

        async def go(emit: Callable[[Event], None]) -> Verdict:
            return await self._run(text, settings, emit, journal, id, stream)

        return Watch(go, id)

    async def _run(
        self,
        question: str,
        settings: Settings,
        emit: Callable[[Event], None],
        journal: Journal | str | Path | None,
        run: str | None,
        stream: bool = False,
    ) -> Verdict:
        outer = calls.current()
        if outer.recorder is not None and not outer.whole:  # inside a journaled run: a part of that
            id = f"{outer.recorder.run}/{outer.path}"
            return await Run(self, question, settings, id=id, recorder=None, emit=emit, stream=outer.stream).run()
        id = check_id(run) if run else new_id()
        if journal is None:
            return await Run(self, question, settings, id=id, recorder=None, emit=emit, stream=stream).run()
        async with nullcontext(journal) if isinstance(journal, Journal) else Journal(journal) as store:
            about: dict[str, Any] = {"question": question, "name": self.name, "seed": self.seed, "config": self.source}
            async with store.recording(id, **about) as recorder:
                made = Run(self, question, settings, id=id, recorder=recorder, emit=emit, stream=stream)
                try:
                    verdict = await made.run()
                finally:
                    recorder.outcome["rounds"] = max(0, len(made.rounds) - 1)
                recorder.outcome.update(answer=verdict.answer, reason=verdict.reason, rounds=len(verdict.rounds) - 1)
                return verdict

    def __repr__(self) -> str:
        return f"Debate({', '.join(agent.name for agent in self.agents)}; {self.topology.name}; {self.moderator.stop})"


class Watch:
    """A debate under way, as a stream of events. `verdict` is there when the stream has ended; `run_id` at once."""

    def __init__(self, go: Callable[[Callable[[Event], None]], Any], run_id: str) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Event](math.inf)
        self._debate = go
        self._error: Exception | None = None
        self._group: TaskGroup | None = None
        self.run_id = run_id
        self.verdict: Verdict | None = None

    async def __aenter__(self) -> Watch:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._go)
        return self

    async def _go(self) -> None:
        try:
            self.verdict = await self._debate(self._send.send_nowait)
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
    elif not isinstance(messages, Sequence) or any(not isinstance(m, Message) for m in messages):
        raise InputError("a question is a text, or a list of Messages.")
    else:
        given = [m for m in messages if isinstance(m, Message) and m.content.strip()]
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
