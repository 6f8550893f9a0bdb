"""A process of a cluster that asks contestants; the process that evaluates keeps its journal and its budget."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from agora import calls
from agora.budget import Budget
from agora.errors import AgoraError, BudgetError, InputError, sentence
from agora.evaluate.records import Item
from agora.evaluate.running.engines import Form, Local
from agora.evaluate.running.leases import Ask, Lease, Spent
from agora.journal import Journal, Recorder, versions
from agora.model import Settings
from agora.records import Usage, Verdict
from agora.text.debate import Debate

if TYPE_CHECKING:
    from agora.store import Row

_T = TypeVar("_T")


@dataclass(frozen=True)
class Job:
    """One contestant on one item.

    Attributes:
        form: the contestant.
        item: what it is asked.
        settings: with the seed.
        run: id of the run that its calls belong to.
        path: where in that run.
        known: what the run's recorder is to know (`Recorder.known`).
        rows: what other workers have written of this job since.
        file: of the debate, where it was not there at first.
    """

    form: Form
    item: Item
    settings: Settings
    run: str
    path: str
    known: Mapping[str, Any]
    rows: Sequence[Row]
    file: Mapping[str, Any] | None = None

    def recorder(self, journal: Journal) -> Recorder:
        """The recorder of its run in another process."""
        from agora.store import entry_of

        known = dict(self.known)
        known["calls"] = [*known["calls"], *(entry_of(row) for kind, row in self.rows if kind == "call")]
        events = [row for kind, row in self.rows if kind == "event"]
        known["seen"] = [*known["seen"], *((row["kind"], row["path"], row["data"]) for row in events)]
        chosen = {row["path"]: json.loads(row["data"]) for row in events if row["kind"] == "choice"}
        known["choices"] = {**known["choices"], **chosen}
        return Recorder(journal, self.run, **known)


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        verdict: of the contestant.
        error: that it ended with.
        reused: replies that were in the journal.
        refused: the error says that the evaluation's budget ended it.
        late: the evaluation's time is over.
        spent: since it was last told.
    """

    verdict: Verdict | None
    error: AgoraError | None
    reused: int
    refused: bool
    late: bool
    spent: Spent


@dataclass(frozen=True)
class Letter:
    """What a worker tells the process that evaluates.

    Attributes:
        requests: number, kind and data of each.
        spent: since it was last told.
        ended: it is the last one.
    """

    requests: Sequence[tuple[int, str, Any]]
    spent: Spent
    ended: bool


class Wire(Journal):
    """A journal that is kept by the process that evaluates: what is committed is durable there.

    Args:
        ask: asks it.
        content, reuse: as it has them.
    """

    def __init__(self, ask: Ask, *, content: bool, reuse: bool) -> None:
        super().__init__("the evaluation's journal", content=content, reuse=reuse)
        self._ask = ask

    async def commit(self, *rows: Row) -> None:
        """Write rows, and those noted before; return when they are durable."""
        group, self._queue = [*self._queue, *rows], []
        if group:
            with anyio.CancelScope(shield=True):  # what a reply cost is spent: it is written whatever happens
                await self._ask("rows", group)

    async def _read(self, work: Callable[[Any], _T]) -> _T:
        found: _T = await self._ask("read", work)
        return found


class Mailbox:
    """Requests to the process that collects them, each answered in its time."""

    def __init__(self) -> None:
        self._requests: list[tuple[int, str, Any]] = []
        self._answers: dict[int, Any] = {}
        self._events: dict[int, anyio.Event] = {}
        self._changed = anyio.Event()
        self._asked = 0
        self.ended = False

    async def ask(self, kind: str, data: Any) -> Any:
        """Ask, and wait for the answer; one that is an error is raised, unless it says that a budget is used up."""
        self._asked += 1
        number, answered = self._asked, anyio.Event()
        self._events[number] = answered
        self._requests.append((number, kind, data))
        self._changed.set()
        try:
            await answered.wait()
        finally:
            del self._events[number]
        answer = self._answers.pop(number)
        if isinstance(answer, AgoraError) and not isinstance(answer, BudgetError):
            raise answer
        return answer

    def end(self) -> None:
        """Nothing will be asked any more."""
        self.ended = True
        self._changed.set()

    async def exchange(self, answers: Mapping[int, Any]) -> Sequence[tuple[int, str, Any]]:
        """Give answers, and wait until something is asked."""
        for number, answer in answers.items():
            if number in self._events:  # else nobody waits for it any more
                self._answers[number] = answer
                self._events[number].set()
        while not self._requests and not self.ended:
            await self._changed.wait()
        self._changed = anyio.Event()
        requests, self._requests = self._requests, []
        return requests


def _built(file: Mapping[str, Any]) -> Debate:
    from agora.config import loads

    return loads(file["text"], file["file"], file["settings"], Path(file["folder"]))[0]


class Worker:
    """An actor. It builds the debates from their files' text, with the keys that are in its own environment.

    Args:
        files: `Debate.source` of each, by name.
        version: of agora, where the evaluation is.
        among: how many workers divide the limits of endpoints.
        limits: what of the evaluation's budget is limited, and the seconds that are left.
        journal: its `content` and `reuse`.
    """

    def __init__(
        self,
        files: Mapping[str, Mapping[str, Any]],
        version: str,
        among: int,
        limits: Budget,
        journal: Mapping[str, bool],
    ) -> None:
        self._files, self._version, self._among = files, version, among
        self._limits, self._kept = limits, journal
        self._jobs: dict[anyio.CancelScope, anyio.Event] = {}

    async def ready(self) -> AgoraError | None:
        """Build the debates; what is wrong, if something is."""
        from agora.models import limits

        try:
            if (own := versions()["agora-debate"]) != self._version:
                raise InputError(f"it has agora {own}, not {self._version}.", hint="Install the same.")
            limits.divide(self._among)
            debates = {name: _built(file) for name, file in self._files.items()}
        except AgoraError as error:
            return InputError(f"a worker on {socket.gethostname()}: {error.message}", hint=error.hint)
        except Exception as error:  # whatever is wrong with that machine
            return InputError(f"a worker on {socket.gethostname()}: {sentence(error)}")
        self._local, self._mail = Local(debates), Mailbox()
        self._more: dict[str, Form] = {}
        self._lease = Lease(self._limits, self._mail.ask)
        self._journal = Wire(self._mail.ask, **self._kept)
        return None

    async def answer(self, job: Job) -> Outcome:
        """Ask a contestant. Whatever it does is durable in the evaluation's journal when this returns."""
        recorder = job.recorder(self._journal)
        verdict: Verdict | None = None
        error: AgoraError | None = None
        refused = False
        done = anyio.Event()
        with anyio.CancelScope() as scope:
            self._jobs[scope] = done
            try:
                form = job.form
                if job.file is not None:
                    if form.of not in self._more:
                        self._more[form.of] = self._local.take(_built(job.file))
                    form = replace(form, of=self._more[form.of].of)
                with calls.scope(meters=(self._lease,)):
                    verdict = await self._local.answer(form, job.item, job.settings, recorder, job.path)
            except AgoraError as failure:
                error = failure
                refused = isinstance(failure, BudgetError) and failure.meter is self._lease
                if isinstance(failure, BudgetError):
                    failure.meter = None  # it means nothing elsewhere
            finally:
                try:
                    await self._journal.commit()
                except AgoraError as failure:
                    error = error or failure
                finally:
                    del self._jobs[scope]
                    done.set()
        if verdict is None and error is None:
            error = AgoraError("it was ended.")
        late = self._lease.stopped is not None and self._lease.stopped.limit == "seconds"
        return Outcome(verdict, error, recorder.reused, refused, late, self._lease.told())

    async def exchange(self, answers: Mapping[int, Any]) -> Letter:
        """Give the answers to what was asked, and wait for what is asked next."""
        requests = await self._mail.exchange(answers)
        return Letter(requests, self._lease.told(), self._mail.ended and not requests)

    async def spare(self) -> Usage:
        """Give back what of the budget is not needed now."""
        return self._lease.spare()

    async def end(self) -> None:
        """End what is under way; what was answered is told before."""
        for scope, done in list(self._jobs.items()):
            scope.cancel()
            await done.wait()
        self._mail.end()
