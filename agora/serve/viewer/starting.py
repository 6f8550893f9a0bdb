"""Debates that are begun from the page: from a form to a run of this process, which can be joined, stopped, resumed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
import yaml
from anyio.abc import TaskGroup, TaskStatus
from pydantic import Field

from agora import calls, config
from agora.budget import Budget
from agora.calls import sentence
from agora.config.asking import asking
from agora.errors import AgoraError
from agora.journal import RunInfo, new_id
from agora.models.human import DESK
from agora.records import Event, Spoke, Started, Wrote
from agora.serve.app import Service
from agora.serve.asked import Refused, Whole, Wire
from agora.serve.gate import Gate
from agora.serve.running import narrower
from agora.serve.viewer.live import Channel, Hub
from agora.serve.viewer.offers import Offers
from agora.serve.viewer.seats import Seats
from agora.text.debate import MAX_QUESTION, Debate
from agora.text.forecast import forecast, tried
from agora.view.records import layout

LOG = logging.getLogger("agora.serve")
_STOPPING = 10.0  # seconds to wait for the end of a run that is stopped
_EDGES = 20_000  # that are told; a larger graph is too dense to be drawn
_T = TypeVar("_T")


class Form(Wire):
    """A debate to begin: of a file that is served, or of a preset or none with models."""

    question: str = Field("", max_length=MAX_QUESTION)
    file: str | None = Field(None, max_length=500)
    preset: str | None = Field(None, max_length=100)
    models: list[str] = Field(default_factory=list, max_length=100)
    answer: Literal["number", "yes_no", "text"] | None = None
    rounds: Whole | None = Field(None, ge=0, le=1000)
    topology: str | None = Field(None, max_length=100, pattern="^[a-z_]+$")
    person: str | None = Field(None, max_length=80)
    usd: float | None = Field(None, ge=0, le=1e9)


@dataclass(frozen=True)
class Planned:
    """A debate that can be begun.

    Attributes:
        debate: it.
        question: what it debates.
        store: what its file says under `store:`.
        missing: what it lacks, in sentences.
    """

    debate: Debate
    question: str
    store: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass
class _Running:
    scope: anyio.CancelScope
    seats: Seats
    over: anyio.Event = field(default_factory=anyio.Event)


class Starter:
    """Begins debates.

    Args:
        service: the server's.
        hub: is told what goes on.
        gate: so many go on at a time.
        group: in which they go on.
    """

    def __init__(self, service: Service, hub: Hub, gate: Gate, group: TaskGroup) -> None:
        self._service, self._hub, self._gate, self._group = service, hub, gate, group
        self.offers = Offers(service.catalog)
        self._running: dict[str, _Running] = {}
        self._rehearsals = anyio.CapacityLimiter(1)

    # ---- from a form to a debate -------------------------------------------------------------------------------

    async def planned(self, form: Form, own_port: int | None, lenient: bool = False) -> Planned:
        """The debate of a form.

        Args:
            form: it.
            own_port: of this server.
            lenient: a model that lacks its key is no error.

        Raises:
            Refused: naming what is wrong.
        """
        if form.file is not None:
            return _of_file(form, self._service)
        question = form.question.strip()
        if not question:
            raise Refused("question: it is empty.", code="invalid_value", param="question")
        person = None if form.person is None else form.person.strip() or "you"
        models = [await self.offers.model(text, own_port) for text in form.models]
        missing: list[str] = []
        try:
            made = await asking(
                question, models, preset=form.preset, answer=form.answer, topology=form.topology, rounds=form.rounds,
                person=person, own_port=own_port,
            )  # fmt: skip
            data = made.data if form.usd is None else {**made.data, "budget": {"usd": form.usd}}
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
            build = partial(config.loads, text, "ask", lenient=lenient, missing=missing)
            debate, _ = await anyio.to_thread.run_sync(build)  # weights may be read
        except AgoraError as error:
            raise _told(error) from None
        return Planned(debate, question, missing=tuple(missing))

    async def check(self, form: Form, own_port: int | None) -> dict[str, Any]:
        """What a debate would be and take, as plain data; nothing is sent.

        Raises:
            Refused: naming what is wrong.
        """
        planned = await self.planned(form, own_port, lenient=True)
        try:
            return await self._apart(partial(_checked, planned))
        except AgoraError as error:
            raise _told(error) from None

    async def _apart(self, work: Callable[[], _T]) -> _T:
        """Work that would keep the server from all else, in a thread."""
        return await anyio.to_thread.run_sync(work, limiter=self._rehearsals)

    # ---- runs --------------------------------------------------------------------------------------------------

    async def begin(self, form: Form, own_port: int | None) -> str:
        """Begin the debate of a form; gives the id of its run.

        Raises:
            Refused: if it cannot be.
        """
        planned = await self.planned(form, own_port)
        try:
            await self._apart(partial(anyio.run, tried, planned.debate, planned.question))
        except AgoraError as error:
            raise _told(error) from None
        return await self._start(new_id(), planned)

    async def resume(self, info: RunInfo) -> str:
        """Go on with a run that did not end.

        Raises:
            Refused: if it cannot be.
        """
        if info.status == "done":
            raise Refused("this run is over.", status=409, code="conflict")
        if info.alive or self._hub.here(info.id):
            raise Refused("this run is under way.", status=409, code="conflict")
        try:
            debate = await anyio.to_thread.run_sync(partial(config.again, info))
        except AgoraError as error:
            raise _told(error) from None
        store = (info.config or {}).get("store", {})
        return await self._start(info.id, Planned(debate, info.question or "", store))

    async def stop(self, run: str) -> None:
        """End a run that goes on here; it can be resumed.

        Raises:
            Refused: if it does not.
        """
        running = self._here(run)
        running.scope.cancel()
        with anyio.move_on_after(_STOPPING):
            await running.over.wait()

    def answer(self, run: str, seat: str, text: str) -> None:
        """Reply for a person who takes part.

        Raises:
            Refused: if nobody waits for that.
        """
        self._here(run).seats.answer(seat, text)

    def _here(self, run: str) -> _Running:
        if run not in self._running:
            raise Refused("this run does not go on here, or was not begun from the page.", status=409, code="conflict")
        return self._running[run]

    async def _start(self, run: str, planned: Planned) -> str:
        journal = await self._service.runner.journal(planned.store)
        assert journal is not None  # else there is no hub
        try:
            await self._group.start(partial(self._run, run, planned))
        except Refused:
            raise
        except AgoraError as error:
            raise _told(error) from None
        return run

    async def _run(self, run: str, planned: Planned, *, task_status: TaskStatus[None]) -> None:
        """A run, to its end. What goes wrong once it has begun is in the journal, and there for all to see."""
        begun = False

        def started() -> None:
            nonlocal begun
            if not begun:
                begun = True
                task_status.started()

        try:
            async with self._gate.turn():
                with self._hub.hold(run) as channel, anyio.CancelScope() as scope:
                    running = _Running(scope, Seats(channel.seat))
                    if run in self._running:
                        raise Refused("this run is under way.", status=409, code="conflict")
                    self._running[run] = running
                    try:
                        await self._watch(run, planned, channel, running.seats, started)
                    finally:
                        del self._running[run]
                        running.over.set()
        except AgoraError as error:
            if not begun:
                raise
            LOG.info("run %s: %s", run, sentence(error))
        except Exception as error:  # nothing that a model or its package raises ends the server
            LOG.error("run %s: %s", run, sentence(error))
            if not begun:
                raise Refused("the server failed; its log says more.", status=500) from None
        started()  # it was stopped at once

    async def _watch(
        self, run: str, planned: Planned, channel: Channel, seats: Seats, started: Callable[[], None]
    ) -> None:
        journal = await self._service.runner.journal(planned.store)
        DESK.set(seats)
        watch = planned.debate.watch(planned.question, journal=journal, run=run, stream=True)
        with calls.limited(self._service.limits.most) as meter:
            try:
                async with watch as events:
                    async for event in events:
                        _tell(channel, event)
                        if isinstance(event, Started):
                            started()
            finally:
                used = replace(meter.used, calls=meter.used.calls + meter.failed)
                self._service.metrics.took("(page)", used)


def _tell(channel: Channel, event: Event) -> None:
    """Tell who looks at a run that something has happened."""
    if isinstance(event, Wrote):
        channel.wrote(event.agent, event.round, event.phase, event.text, event.first)
        return
    if isinstance(event, Spoke):
        channel.spoke(event.turn.agent, event.turn.round, event.turn.phase)
    channel.changed()


def _of_file(form: Form, service: Service) -> Planned:
    """The debate of a file that is served."""
    others = ("preset", "models", "answer", "rounds", "topology", "person")
    given = next((name for name in others if getattr(form, name) not in (None, [])), None)
    if given is not None:
        raise Refused(f"{given}: the file says it itself.", code="invalid_value", param=given)
    served = service.catalog.debates.get(form.file or "")
    if served is None or served.debate is None:
        raise Refused(f"file: none is called '{(form.file or '')[:60]}'.", code="invalid_value", param="file")
    debate, question = served.debate, form.question.strip() or (served.question or "").strip()
    if not question:
        raise Refused("question: it is empty.", code="invalid_value", param="question")
    if form.usd is not None:
        debate = copy.copy(debate)
        debate.budget = narrower(debate.budget, Budget(usd=form.usd))
        if debate.source is not None:  # so that whoever resumes it keeps within that, too
            changed = [*debate.source["settings"], f"budget.usd={debate.budget.usd}"]
            debate.source = {**debate.source, "settings": changed}
    return Planned(debate, question, served.store)


def _checked(planned: Planned) -> dict[str, Any]:
    debate = planned.debate
    made = anyio.run(forecast, debate, planned.question)
    graph = debate.reading()
    order = {name: i for i, name in enumerate(graph.agents)}
    edges = graph.edges if graph.edge_count <= _EDGES else ()
    most = debate.budget.calls
    made_calls = [count if most is None else min(count, most) for count in (made.least.calls, made.most.calls)]
    return {
        "agents": [{"name": agent.name, "model": agent.model.name} for agent in debate.agents],
        "edges": [[order[u], order[v]] for u, v in edges],
        "layout": layout("", graph.agents, edges),
        "calls": made_calls,
        "tokens": [made.least.tokens, made.most.tokens],
        "usd": [made.least.usd, made.most.usd],
        "unknown": [*(f"the price of {name}" for name in made.unpriced), *planned.missing],
    }


def _told(error: AgoraError) -> Refused:
    """What is wrong with a form, which is no fault of the server's."""
    status = error.status if isinstance(error, Refused) else 400
    return Refused(" ".join(error.message.split()), status=status, code="invalid_value", hint=error.hint)
