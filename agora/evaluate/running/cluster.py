"""Workers of a Ray cluster as the engine of an evaluation, whose journal and budget stay in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup

from agora import calls
from agora.errors import AgoraError, InputError, MissingError, ServerError
from agora.evaluate.records import Item
from agora.evaluate.running.engines import Form, Local
from agora.evaluate.running.leases import Account, Lender
from agora.evaluate.running.worker import Job, Letter, Outcome, Worker
from agora.journal import Journal, Recorder, versions
from agora.model import Settings
from agora.records import Usage, Verdict
from agora.text.debate import Debate

if TYPE_CHECKING:
    from agora.store import Row

_log = logging.getLogger(__name__)
START = 120.0  # seconds to wait for a worker where there is none
GRACE = 10.0  # seconds that workers have to tell what was answered, at the end
LOST = 3  # workers that one item may take with it, and those in a row that may be lost before they have done anything


@dataclass(frozen=True)
class Ray:
    """Asks contestants in the workers of a Ray cluster.

    Attributes:
        workers: how many; default as many as the cluster has CPUs.
        address: of the cluster: 'auto', or HOST:PORT; default RAY_ADDRESS in the environment, else one is started on
            this machine for as long as it is needed.
    """

    workers: int | None = None
    address: str | None = None

    def opened(self, debates: Mapping[str, Debate], journal: Journal) -> Cluster:
        """The engine, to be used as `async with`: what it asks counts on all budgets around it.

        Args:
            debates: by name, each read from a file.
            journal: open.

        Raises:
            InputError: if a debate is more than its file says.
        """
        for name, debate in debates.items():
            _file(debate, name)
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers: at least 1 is needed, not {self.workers}.")
        return Cluster(self, debates, journal)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Be connected for a while: evaluations inside need not connect, each for itself, nor start a cluster.

        Raises:
            MissingError: if Ray is not installed.
            InputError: if there is no such cluster.
        """
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        told = getattr(ray._private.worker, "print_to_stdstream", None)
        try:
            # it tells on standard output, at length, that nodes are lost
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
            _connect(ray, self)
            yield ray
        finally:
            ray.shutdown()
            ray._private.worker.print_to_stdstream = told


@dataclass(eq=False)
class _Hand:
    """A worker, as it is known here."""

    actor: Any
    jobs: int = 0  # under way
    done: int = 0
    account: Account = field(default_factory=Account)
    over: anyio.Event = field(default_factory=anyio.Event)  # it is gone, and what it has told is durable


class Cluster:
    """See `Ray.opened`."""

    def __init__(self, given: Ray, debates: Mapping[str, Debate], journal: Journal) -> None:
        self._given, self._journal, self._local = given, journal, Local(debates)
        self._files = {name: _file(debate, name) for name, debate in debates.items()}
        self._more: dict[str, dict[str, Any]] = {}
        self._group: TaskGroup | None = None
        self._stack, self._closing = ExitStack(), False
        self._all: list[_Hand] = []
        self._alive: list[_Hand] = []
        self._changed = anyio.Event()
        self._under_way: dict[str, tuple[int, list[Row]]] = {}  # run -> its jobs, and what was written since
        self._problem: AgoraError | None = None
        self._last = ""  # what became of a worker

    # ---- workers -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Cluster:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise InputError("a Ray cluster can be used from asyncio only.", hint="Run it without trio.") from None
        self._ray = self._stack.enter_context(self._given.connected())
        errors = self._ray.exceptions
        self._gone = (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError)
        self._n = self._given.workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._lender = Lender(calls.current().meters, self._n)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for _ in range(self._n):
            self._group.start_soon(self._seat)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        self._closing = True
        try:
            with anyio.move_on_after(GRACE, shield=True):
                async with anyio.create_task_group() as group:
                    for hand in self._alive:
                        group.start_soon(self._end, hand)
            for hand in self._all:
                self._ray.kill(hand.actor)
            await self._group.__aexit__(None, None, None)
        finally:
            self._stack.close()

    async def _end(self, hand: _Hand) -> None:
        with suppress(*self._gone):
            await hand.actor.end.remote()
            await hand.over.wait()

    async def _seat(self) -> None:
        """One worker, and those that take its place when it is lost, until several in a row have done nothing."""
        useless = 0
        with anyio.CancelScope(shield=True):  # what workers tell is paid for: it is heard until they are ended
            while not self._closing and useless < LOST and self._problem is None:
                hand = _Hand(self._start())
                self._all.append(hand)
                try:
                    await self._attend(hand)
                except self._gone as error:
                    self._ray.kill(hand.actor)  # it may only be out of reach
                    self._last = _brief(error)
                    if not self._closing:
                        left = len(self._alive) - (hand in self._alive)
                        _log.warning("a worker was lost; %d left; what it was asked is asked elsewhere", left)
                except Exception as error:
                    self._problem = AgoraError(f"a worker failed: {_brief(error)}.")
                finally:
                    if hand in self._alive:
                        self._alive.remove(hand)
                    useless = 0 if hand.done else useless + 1
                    hand.over.set()
                    self._tell()

    def _start(self) -> Any:
        actor = self._ray.remote(Worker).options(num_cpus=1, scheduling_strategy="SPREAD", max_concurrency=100_000)
        kept = {"content": self._journal.content, "reuse": self._journal.reuse}
        return actor.remote(self._files, versions()["agora-debate"], self._n, self._lender.limits(), kept)

    async def _attend(self, hand: _Hand) -> None:
        """Answer what a worker asks, until it is gone."""
        problem = await hand.actor.ready.remote()
        if problem is not None:
            self._problem = problem
            return
        self._alive.append(hand)
        self._tell()
        answers: dict[int, Any] = {}
        while True:
            letter: Letter = await hand.actor.exchange.remote(answers)
            self._lender.count(hand.account, letter.spent)
            if letter.ended:
                return
            answers = await self._answers(hand, letter)

    async def _answers(self, hand: _Hand, letter: Letter) -> dict[int, Any]:
        answers: dict[int, Any] = {}
        rows = [row for _, kind, data in letter.requests if kind == "rows" for row in data]
        try:
            if rows:
                await self._journal.commit(*rows)
            for kind, row in rows:
                if row["run"] in self._under_way:
                    self._under_way[row["run"]][1].append((kind, row))
            for number, kind, data in letter.requests:
                answers[number] = None
                if kind == "more":
                    short, model = data
                    answers[number] = await self._lender.lend(hand.account, short, model, self._others(hand))
                elif kind == "read":
                    answers[number] = await self._journal._read(data)
        except AgoraError as error:
            answers = {number: error for number, _, _ in letter.requests}
        return answers

    def _others(self, hand: _Hand) -> list[tuple[Account, Callable[[], Awaitable[Usage]]]]:
        """The other workers' accounts, and how to have back what they do not need."""

        async def spare(other: _Hand) -> Usage:
            try:
                given: Usage = await other.actor.spare.remote()
            except self._gone:
                return Usage()
            return given

        return [(other.account, partial(spare, other)) for other in self._alive if other is not hand]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # ---- contestants -------------------------------------------------------------------------------------------

    def take(self, debate: Debate) -> Form:
        """The form of a debate that was not there at first: workers get it with what they are asked."""
        file, form = _file(debate, debate.name), self._local.take(debate)
        self._more[form.of] = file
        return form

    def made(self, form: Form) -> Debate:
        """The debate that a form is."""
        return self._local.made(form)

    async def answer(self, form: Form, item: Item, settings: Settings, recorder: Recorder, path: str = "") -> Verdict:
        """A contestant's verdict on an item; see `Engine`. Where a worker is lost, another goes on from what that one
        has written.

        Raises:
            ServerError: if the item took several workers with it.
            AgoraError: if there is no worker left.
        """
        with self._written(recorder.run) as rows:
            job = Job(form, item, settings, recorder.run, path, recorder.known(path), rows, self._more.get(form.of))
            for _ in range(LOST):
                hand = await self._free()
                hand.jobs += 1
                try:
                    outcome: Outcome = await hand.actor.answer.remote(job)
                except self._gone:
                    self._ray.kill(hand.actor)  # what it did is not known: it is not to go on
                    await hand.over.wait()
                    continue
                finally:
                    hand.jobs -= 1
                hand.done += 1
                self._lender.count(hand.account, outcome.spent)
                recorder.reused += outcome.reused
                return self._read(outcome)
        raise ServerError(f"{LOST} workers were lost while they asked it about item {item.id}.", model=form.of)

    @contextmanager
    def _written(self, run: str) -> Iterator[list[Row]]:
        """What workers write of a run, for as long as one of its jobs is under way."""
        jobs, rows = self._under_way.get(run, (0, []))
        self._under_way[run] = (jobs + 1, rows)
        try:
            yield rows
        finally:
            jobs, rows = self._under_way.pop(run)
            if jobs > 1:
                self._under_way[run] = (jobs - 1, rows)

    async def _free(self) -> _Hand:
        """The worker with the least to do."""
        with anyio.move_on_after(START):
            while not self._alive:
                if self._problem is not None:
                    raise self._problem
                if len(self._all) and all(hand.over.is_set() for hand in self._all):
                    raise AgoraError(f"all workers were lost; of the last one Ray says: {self._last}.")
                await self._changed.wait()
        if self._problem is not None:
            raise self._problem
        if not self._alive:
            hint = f"Are {self._n} CPUs free there? `ray status` tells."
            raise AgoraError(f"the cluster gave no worker in {START:.0f} seconds.", hint=hint)
        return min(self._alive, key=lambda hand: hand.jobs)

    def _read(self, outcome: Outcome) -> Verdict:
        if outcome.late:
            self._lender.late()
        if outcome.refused and self._lender.refused is not None:
            raise self._lender.refused
        if outcome.error is not None:
            raise outcome.error
        assert outcome.verdict is not None
        return outcome.verdict


def _file(debate: Debate, name: str) -> dict[str, Any]:
    """What other processes build a debate from.

    Raises:
        InputError: if it is more than a file says.
    """
    if debate.source is None or debate.source.get("varied"):
        raise InputError(
            f"{name}: it was made in Python, and workers in other processes read debates from files.",
            hint="Write it as YAML and load it with agora.config.load, or evaluate it without Ray.",
        )
    return dict(debate.source)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingError(
            "a Ray cluster needs the package ray.", hint="Run: pip install 'agora-debate[ray]'"
        ) from None
    return ray


def _connect(ray: Any, given: Ray) -> None:
    """Join the cluster, or start one on this machine.

    Raises:
        InputError: if it cannot be joined.
    """
    address = given.address or os.environ.get("RAY_ADDRESS")
    if address is not None and address.startswith("ray://"):
        raise InputError(
            "an evaluation runs on a node of the cluster, not by a Ray client.",
            hint="Use --ray-address auto on a node, or `ray job submit`.",
        )
    here: dict[str, Any] = {"address": address}
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal():  # ray itself would try for five minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), 10).close()
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "no answer"
            hint = "Check --ray-address; `ray status` tells what there is."
            raise InputError(f"the Ray cluster {address} cannot be reached: {why}.", hint=hint) from None
    if address is None or address == "local":
        here = {"address": "local", "num_cpus": given.workers, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**here, logging_level="error", log_to_driver=False)
    except Exception as error:  # ray raises what it likes: ConnectionError, RuntimeError, ValueError
        where = address or "on this machine"
        raise InputError(f"the Ray cluster {where}: {_brief(error)}.", hint="Check --ray-address.") from None
    finally:
        with suppress(ValueError, TypeError):  # not the main thread, or not of Python
            signal.signal(signal.SIGTERM, handler)
