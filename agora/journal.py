"""The durable record of every call and event of a run; to resume is to run again with the journal read first."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from agora import errors
from agora.errors import AgoraError, BudgetError, InputError, ModelError, StoreError, sentence
from agora.model import Model, Settings
from agora.records import (
    Decided,
    Event,
    Message,
    Reply,
    RoundOver,
    Speaking,
    Spoke,
    Started,
    Token,
    Usage,
    Verdict,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from agora.store import Row

_T = TypeVar("_T")
ITEM = "eval:"  # how the id of a run begins that is one item of an evaluation
LINGER = 0.0005  # seconds a group waits for others where more calls are under way
STALE = 60.0  # seconds without a record after which a run on another machine is taken for dead


def default_url() -> str:
    """Where runs are kept: AGORA_STORE in the environment, else a file in the user's data directory."""
    if given := os.environ.get("AGORA_STORE"):
        return given
    from platformdirs import user_data_path

    return str(user_data_path("agora", appauthor=False) / "runs.sqlite")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the journal has it.

    Attributes:
        id: its id.
        status: 'running' (or killed, where `alive` is False), 'done', 'failed', 'interrupted' or 'budget'.
        question: what was debated; None where content is not kept.
        name: of the debate.
        created: when it began, in seconds since 1970.
        updated: when its last record was written.
        answer: the verdict's.
        reason: the verdict's, or the error that ended it.
        rounds: debate rounds after round 0.
        usage: of all its calls.
        attempts: requests sent, failed ones included.
        failed: calls that failed in the end.
        config: what it can be built from again: text, file, folder and overrides of its debate file.
        versions: of agora, Python and the SDKs.
        seed: of its randomness.
        content: whether requests and replies are kept.
        alive: whether the process that runs it seems to be there.
    """

    id: str
    status: str
    question: str | None
    name: str
    created: float
    updated: float
    answer: str | None = None
    reason: str | None = None
    rounds: int | None = None
    usage: Usage = Usage()
    attempts: int = 0
    failed: int = 0
    config: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    content: bool = True
    alive: bool = False


@dataclass(slots=True)
class Entry:
    """One call: its key in the run, and what the journal has of it."""

    path: str
    occurrence: int
    hash: str
    model: str
    request: str
    reply: Reply | None = None
    error: ModelError | None = None


class Journal:
    """Runs, calls and events in a database. Used as `async with Journal() as journal:`.

    Args:
        url: a SQLAlchemy URL (`sqlite:///runs.sqlite`, `postgresql://...`) or the path of a file; default: see
            `default_url`.
        content: keep requests and replies. Without them a run can be counted, but neither read nor resumed.
        reuse: take a reply from any earlier run whose request is the same: a cache over runs.
        timeout: seconds to wait for a store that another process has locked.

    Raises:
        StoreError: when entered, if the store cannot be opened, is of a newer schema, or is no journal.
    """

    def __init__(
        self, url: str | Path | None = None, *, content: bool = True, reuse: bool = False, timeout: float = 30.0
    ) -> None:
        self.url = default_url() if url is None else str(url)
        self.content, self.reuse, self.timeout = content, reuse, timeout
        self._engine: Engine | None = None
        self._limiter = anyio.CapacityLimiter(1)
        self.open = 0  # calls under way
        self.begun = False  # a run has begun: what fails now fails in the midst of it
        self._queue: list[Row] = []
        self._asked = self._written = 0
        self._busy: anyio.Event | None = None
        self._broken: StoreError | None = None

    async def __aenter__(self) -> Journal:
        from agora import store

        self._engine = await self._thread(partial(store.connect, self.url, self.timeout))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            try:
                if self._queue and self._broken is None:
                    await self.commit()
            finally:
                if self._engine is not None:
                    await self._thread(self._engine.dispose)
                    self._engine = None

    # ---- writing: grouped, each group one transaction ----------------------------------------------------------

    def note(self, row: Row) -> None:
        """Write a row with the next commit."""
        self._queue.append(row)

    async def commit(self, *rows: Row) -> None:
        """Write rows, and those noted before; return when they are durable. Whoever comes while a group is being
        written joins the next.

        Raises:
            StoreError: if they cannot be written.
        """
        self._queue.extend(rows)
        self._asked += 1
        mine = self._asked
        with anyio.CancelScope(shield=True):  # what a reply cost is spent: it is written whatever happens
            while self._written < mine:
                if self._broken is not None:
                    raise self._broken
                if self._busy is not None:
                    await self._busy.wait()
                    continue
                busy = self._busy = anyio.Event()
                try:
                    # replies of the same moment go into one group
                    await (anyio.sleep(LINGER) if self.open > 1 else anyio.lowlevel.checkpoint())
                    group, upto, self._queue = self._queue, self._asked, []
                    from agora import store

                    await self._thread(partial(store.write, self.engine, group))
                    self._written = upto
                except BaseException as error:
                    # the group is lost: nobody who waits for it may be told otherwise
                    self._broken = error if isinstance(error, StoreError) else StoreError("the journal was cut off.")
                    raise
                finally:
                    self._busy = None
                    busy.set()

    async def flush(self) -> None:
        """Write what has been noted, if something has: for who looks while nothing else is to be written.

        Raises:
            StoreError: if it cannot be written.
        """
        if self._queue:
            await self.commit()

    async def _thread(self, work: Callable[[], _T]) -> _T:
        from agora import store

        with store.sentences(self.url):
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        engine = self.engine

        def go() -> _T:
            with engine.connect() as connection:
                return work(connection)

        return await self._thread(go)

    @property
    def broken(self) -> StoreError | None:
        """Why nothing can be written any more, if so."""
        return self._broken

    @property
    def engine(self) -> Engine:
        """The database."""
        if self._engine is None:
            raise StoreError("the journal is not open.", hint="Use it as `async with Journal(...) as journal:`.")
        return self._engine

    # ---- runs ------------------------------------------------------------------------------------------------

    async def begin(
        self,
        run: str,
        *,
        question: str,
        name: str,
        seed: int,
        config: Mapping[str, Any] | None = None,
        again: bool = False,
        beside: Sequence[str] = (),
    ) -> Recorder:
        """The recorder of a run: of a new one, or, if the journal has a run of this id, of its resumption.

        Args:
            run: its id.
            question: what is debated.
            name: of the debate.
            seed: of its randomness.
            config: what it can be built from again.
            again: calls that failed are tried again, whatever became of the run: where no other call has read of them.
            beside: other runs: the same request at the same place as in one of them gets the reply it got there.

        Raises:
            InputError: if the run of this id debates another question, cannot be resumed, or is under way elsewhere.
            StoreError: if it cannot be written.
        """

        from agora import store

        made_up = run in _made_up  # by this process: no journal can know it
        _made_up.discard(run)
        known = [] if made_up else await self._read(partial(store.runs, run=run))
        if known:
            (info,) = known
            if not info.content:
                raise InputError(f"run {run} was stored without its content, so it cannot be resumed.")
            if info.question != question and info.question is not None:
                raise InputError(
                    f"run {run} debates another question: '{info.question[:60]}'.", hint="Use another run id."
                )
            if info.alive:
                raise InputError(f"run {run} is under way in another process.", hint="Wait for it, or end it first.")
            if not await self._thread(partial(store.take, self.engine, run, _host(), os.getpid())):
                raise InputError(f"run {run} is under way in another process.", hint="Wait for it, or end it first.")
            found = await self._read(partial(store.replayable, run=run, failed=again or info.status == "failed"))
            self.begun = True
            return Recorder(self, run, *found, beside=await self._replies(beside))
        now = time.time()
        row = {
            "id": run, "created": now, "updated": now, "status": "running", "name": plain(name),
            "seed": seed,
            "question": json.dumps(question) if self.content else None, "content": self.content,
            "config": json.dumps(config) if config is not None and self.content else None,
            "versions": json.dumps(versions()), "host": _host(), "pid": os.getpid(),
        }  # fmt: skip
        if not await self._thread(partial(store.insert, self.engine, row)):
            raise InputError(f"run {run} is under way in another process.", hint="Wait for it, or use another id.")
        self.begun = True
        return Recorder(self, run, beside=await self._replies(beside))

    async def _replies(self, runs: Sequence[str]) -> Sequence[Entry]:
        from agora import store

        return await self._read(partial(store.replies, runs=runs)) if runs else ()

    @asynccontextmanager
    async def recording(self, run: str, **about: Any) -> AsyncIterator[Recorder]:
        """Record a run to its end, however it ends: `async with journal.recording(id, question=...) as recorder:`. What
        is put into `recorder.outcome` (answer, reason, rounds) is noted with it.

        Args:
            run: its id.
            about: what `begin` takes.

        Raises:
            InputError: as `begin`, or if the run is under way in this process.
            StoreError: if it cannot be written.
        """
        with self.claim(run):
            recorder = await self.begin(run, **about)
            status = "interrupted"
            try:
                yield recorder
                status = "done"
            except StoreError:
                status = ""  # it cannot be written that it cannot be written
                raise
            except Exception as error:
                status = "budget" if isinstance(error, BudgetError) else "failed"
                recorder.outcome["reason"] = str(error) if isinstance(error, AgoraError) else sentence(error)
                raise
            finally:
                if status:
                    await recorder.end(status, **recorder.outcome)

    @contextmanager
    def claim(self, run: str) -> Iterator[None]:
        """Hold a run, so that it does not go on twice at once in this process.

        Raises:
            InputError: if it is held.
        """
        held = (self.url, run)
        if held in _under_way:
            raise InputError(f"run {run} is under way in this process.", hint="Wait for it, or use another id.")
        _under_way.add(held)
        try:
            yield
        finally:
            _under_way.discard(held)

    async def runs(self, **filters: Any) -> list[RunInfo]:
        """Runs, newest first. Filters: `run` (an id), `status`, `text` (found in the question or name), `name` (of the
        debate), `answer`, `since` and `until` (seconds since 1970), `least` and `most` (USD, which leave out those
        whose cost is not known), `sort` (see `store.SORTS`), `limit`, `offset`, `items` (False leaves out those that
        are one item of an evaluation)."""
        from agora import store

        return await self._read(partial(store.runs, **filters))

    async def run(self, run: str) -> RunInfo:
        """One run, by its id or the beginning of it; 'last' is the newest.

        Raises:
            InputError: if there is none, or more than one.
        """
        from agora import store

        if run == "last":
            found = await self.runs(limit=1, items=False)
        else:  # the whole id of one may be the beginning of others
            found = await self.runs(run=run) or await self._read(partial(store.runs, prefix=run))
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"'{run[:40]}' is the beginning of {len(found)} runs' ids.", hint="Write more of it.")
        raise InputError(f"there is no run '{run[:60]}' in {store.shown(self.url)}.", hint="`agora runs` lists them.")

    async def names(self) -> list[str]:
        """The names of the debates that there are runs of, by the alphabet; at most 200."""
        from agora import store

        return await self._read(store.names)

    async def spent(self, runs: Sequence[str]) -> dict[str, Usage]:
        """What the calls of each of some runs took, replies that another run had paid for left out; of those there
        are."""
        from agora import store

        return await self._read(partial(store.spent, runs=runs))

    async def calls(self, run: str, *, after: int = 0, requests: bool = True) -> list[dict[str, Any]]:
        """The calls of a run, as plain data, in the order they were recorded.

        Args:
            run: its id.
            after: the id of a call: only those recorded after it.
            requests: with what was asked.
        """
        from agora import store

        return await self._read(partial(store.calls, run=run, after=after, requests=requests))

    async def call(self, run: str, id: int) -> dict[str, Any] | None:
        """One call of a run, as plain data; None where there is none of this id."""
        from agora import store

        return await self._read(partial(store.call, run=run, id=id))

    async def events(self, run: str, *, after: int = 0) -> list[dict[str, Any]]:
        """The events of a run, as plain data, in order.

        Args:
            run: its id.
            after: the id of an event: only those noted after it.
        """
        from agora import store

        return await self._read(partial(store.events, run=run, after=after))

    async def last(self, run: str) -> tuple[int, int]:
        """The ids of the last event and the last call of a run; 0 where there is none."""
        from agora import store

        return await self._read(partial(store.last, run=run))

    def under_way(self, run: str) -> bool:
        """Whether this process runs it."""
        return (self.url, run) in _under_way


class Recorder:
    """The journal of one run: finds what was recorded before, and records what is new. See `Journal.begin`."""

    def __init__(
        self,
        journal: Journal,
        run: str,
        calls: Sequence[Entry] = (),
        choices: Mapping[str, Any] | None = None,
        seen: Iterable[tuple[str, str, str]] = (),
        beside: Iterable[Entry] = (),
    ) -> None:
        self.journal = journal
        self.run = run
        self.reused = 0  # replies taken from the journal
        self.outcome: dict[str, Any] = {}  # of the run: what its end is noted with
        self._found = {(entry.path, entry.hash, entry.occurrence): entry for entry in calls}
        self._beside = {(entry.path, entry.hash, entry.occurrence): entry for entry in beside}
        self._count: Counter[tuple[str, str]] = Counter()
        self._same: Counter[str] = Counter()
        self._choices = dict(choices or {})
        self._seen = set(seen)

    @property
    def recorded(self) -> int:
        """Replies of earlier attempts at this run."""
        return sum(entry.reply is not None for entry in self._found.values())

    def known(self, path: str = "") -> dict[str, Any]:
        """What a recorder of the same run in another process is to know: its last four arguments, as they began.

        Args:
            path: only what is at or below it.
        """

        def here(other: str) -> bool:
            return not path or other == path or other.startswith(f"{path}/")

        return {
            "calls": [entry for entry in self._found.values() if here(entry.path)],
            "choices": {place: choice for place, choice in self._choices.items() if here(place)},
            "seen": [event for event in self._seen if here(event[1])],
            "beside": [entry for entry in self._beside.values() if here(entry.path)],
        }

    def used(self, path: str = "") -> Usage:
        """What the calls recorded before took, those below a path."""
        prefix = f"{path}/" if path else ""
        replies = [e.reply for e in self._found.values() if e.reply is not None and e.path.startswith(prefix)]
        spent = [e.error.usage for e in self._found.values() if e.error and e.error.usage and e.path.startswith(prefix)]
        return sum((*(reply.usage for reply in replies), *spent), Usage())

    def failed_before(self, path: str = "") -> int:
        """How many calls recorded before gave no reply, those below a path."""
        prefix = f"{path}/" if path else ""
        errors = [e.error for e in self._found.values() if e.error is not None and e.path.startswith(prefix)]
        return sum(error.usage is None for error in errors)

    async def entry(self, path: str, model: Model, messages: Sequence[Message], settings: Settings) -> Entry:
        """The entry of a call that is about to be made, with its reply or error where the journal has one."""
        request = json.dumps({"messages": [[m.role, m.content] for m in messages], "settings": settings.pinned})
        digest = _hash(getattr(model, "identity", model.name), request)
        path = plain(path)
        key = (path, digest)
        occurrence = self._count[key]
        self._count[key] += 1
        nth = self._same[digest]
        self._same[digest] += 1
        found = self._found.get((*key, occurrence))
        if found is not None:
            self.reused += 1
            return found
        entry = Entry(path, occurrence, digest, plain(model.name), request)
        if (other := self._beside.get((*key, occurrence))) is not None:
            entry.reply = other.reply
        if entry.reply is None and self.journal.reuse:
            from agora import store

            entry.reply = await self.journal._read(partial(store.same, run=self.run, hash=digest, nth=nth))
        if entry.reply is not None:
            self.reused += 1
            row = self._row(entry, time.time(), 0)  # it is this run's too, which took nothing for it
            kept = json.dumps(reply_json(entry.reply)) if self.journal.content else None
            row.update(reply=kept, seconds=0.0, calls=0)
            self.journal.note(("call", row))
        return entry

    async def record(self, entry: Entry, reply: Reply, begun: float) -> None:
        """Make a reply durable.

        Raises:
            StoreError: if it cannot be written.
        """
        u = reply.usage
        row = self._row(entry, begun, reply.attempts)
        row.update(
            reply=json.dumps(reply_json(reply)) if self.journal.content else None,
            seconds=u.seconds, calls=u.calls, input_tokens=u.input_tokens, output_tokens=u.output_tokens,
            cached_tokens=u.cached_tokens, reasoning_tokens=u.reasoning_tokens,
            cache_write_tokens=u.cache_write_tokens, usd=u.usd,
        )  # fmt: skip
        await self.journal.commit(("call", row))

    async def failed(self, entry: Entry, error: Exception, begun: float) -> None:
        """Make a failure durable."""
        ours = isinstance(error, AgoraError)
        shown = {
            "kind": type(error).__name__ if ours else "ModelError",
            "message": error.message if isinstance(error, AgoraError) else f"{type(error).__name__}: {error}"[:500],
            "hint": error.hint if isinstance(error, AgoraError) else None,
            "model": getattr(error, "model", None),
        }
        if not self.journal.content:  # vendors quote the prompt in theirs
            shown = {"kind": shown["kind"], "message": ""}
        row = self._row(entry, begun, getattr(error, "attempts", 1))
        row.update(error=json.dumps(shown), seconds=time.time() - begun, calls=0)
        usage = getattr(error, "usage", None)
        if usage is not None:
            row.update({k: v for k, v in usage_json(usage).items() if k != "seconds"})
        await self.journal.commit(("call", row))

    def _row(self, entry: Entry, begun: float, attempts: int) -> dict[str, Any]:
        return {
            "run": self.run, "path": entry.path, "occurrence": entry.occurrence, "hash": entry.hash,
            "model": entry.model, "begun": begun, "attempts": attempts,
            "request": entry.request if self.journal.content else None, "reply": None, "error": None,
            "input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0,
            "cache_write_tokens": 0, "usd": 0.0,
        }  # fmt: skip

    def choice(self, path: str) -> Any:
        """What was chosen at a place in an earlier attempt at this run, where it depended on time; else None."""
        return self._choices.get(path)

    def choose(self, path: str, value: Any) -> None:
        """Note such a choice: it is durable before any reply that came of it."""
        self.event("choice", path, value)

    def event(self, kind: str, path: str, data: Any) -> None:
        """Note an event of the debate at a path."""
        if not self.journal.content and isinstance(data, dict):
            data = {key: value for key, value in data.items() if key in _FIGURES}
        text = json.dumps(data)
        if self._seen and (kind, path, text) in self._seen:
            return  # a resumed run lives its past again: it is noted once
        self.journal.note(("event", {"run": self.run, "at": time.time(), "kind": kind, "path": path, "data": text}))

    async def end(self, status: str, **outcome: Any) -> None:
        """Note how the run ended: 'done', 'failed', 'interrupted' or 'budget'."""
        texts = {key: outcome.get(key) for key in ("answer", "reason")} if self.journal.content else {}
        outcome = {key: value for key, value in outcome.items() if key not in ("answer", "reason")}
        outcome.update({key: json.dumps(text) for key, text in texts.items() if text is not None})
        await self.journal.commit(
            ("run", {"id": self.run, "updated": time.time(), "status": status, "pid": None, **outcome})
        )


_FIGURES = ("agent", "agents", "edges", "round", "phase", "reads", "rounds", "usage", "wait", "attempt", "absent")


def _hash(identity: str, request: str) -> str:
    import hashlib

    data = f"{identity}\n{request}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def plain(text: str) -> str:
    """A name that every database can hold: without NUL and surrogates."""
    if text.isprintable():
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


# ---- replies as plain data --------------------------------------------------------------------------------------


def usage_json(usage: Usage) -> dict[str, Any]:
    """A usage as plain data."""
    return {name: getattr(usage, name) for name in Usage.__slots__}


def reply_json(reply: Reply) -> dict[str, Any]:
    """A reply as plain data; what is at its default is left out."""
    data: dict[str, Any] = {"text": reply.text, "model": reply.model, "usage": usage_json(reply.usage)}
    for name in ("logprob", "confidence", "reasoning", "finish"):
        if (value := getattr(reply, name)) is not None:
            data[name] = value
    if reply.attempts != 1:
        data["attempts"] = reply.attempts
    if reply.route is not None:
        data["route"] = list(reply.route)
    if reply.warnings:
        data["warnings"] = list(reply.warnings)
    if reply.tokens:
        data["tokens"] = [
            [t.text, t.logprob, list(t.top), *([list(t.by), t.disagreement] if t.by else [])] for t in reply.tokens
        ]
    if reply.parts:
        data["parts"] = [reply_json(part) for part in reply.parts]
    return data


def reply_of(data: Mapping[str, Any]) -> Reply:
    """The reply of `reply_json`'s data."""
    return Reply(
        data["text"],
        model=data["model"],
        usage=Usage(**data["usage"]),
        parts=tuple(reply_of(part) for part in data.get("parts", ())),
        logprob=data.get("logprob"),
        confidence=data.get("confidence"),
        reasoning=data.get("reasoning"),
        finish=data.get("finish"),
        tokens=tuple(_token(*token) for token in data.get("tokens", ())),
        attempts=data.get("attempts", 1),
        route=tuple(data["route"]) if data.get("route") else None,  # type: ignore[arg-type]
        warnings=tuple(data.get("warnings", ())),
    )


def _token(text: str, logprob: float, top: Any, by: Any = (), disagreement: float | None = None) -> Token:
    return Token(text, logprob, tuple((a, b) for a, b in top), tuple((a, b) for a, b in by), disagreement)


def error_of(data: Mapping[str, Any]) -> ModelError:
    """The error of a recorded failure."""
    kind = getattr(errors, str(data.get("kind")), ModelError)
    made: Any = kind if isinstance(kind, type) and issubclass(kind, ModelError) else ModelError
    error: ModelError = made(data["message"], model=data.get("model"), hint=data.get("hint"))
    return error


def verdict_json(v: Verdict) -> dict[str, Any]:
    """A verdict as plain data, without what was said on the way to it."""
    return {
        "answer": v.answer,
        "text": v.text,
        "reason": v.reason,
        "confidence": v.confidence,
        "rounds": len(v.rounds) - 1,
        "support": dict(v.support),
        "initial": v.initial,
        "dissent": [asdict(d) for d in v.dissent],
        "changes": [asdict(c) for c in v.changes],
        "absent": list(v.absent),
        "warnings": list(v.warnings),
        "usage": usage_json(v.usage),
        "question": v.question,
        "run": v.run,
    }


def event_json(event: Event, *, full: bool = True) -> tuple[str, dict[str, Any]]:
    """An event's kind and its plain data.

    Args:
        event: any event.
        full: with the reply of a turn; the journal, which has it among its calls, leaves it out.
    """
    match event:
        case Started():
            return "started", {"question": event.question, "agents": event.agents, "edges": event.edges}
        case Speaking():
            return "speaking", {"agent": event.agent, "round": event.round, "phase": event.phase}
        case Spoke(turn):
            data: dict[str, Any] = {"agent": turn.agent, "round": turn.round, "phase": turn.phase, "reads": turn.reads}
            if turn.answer is not None:
                answer = turn.answer
                data |= {"answer": answer.value, "why_none": answer.why_none, "confidence": answer.confidence}
            if turn.error is not None:
                data["error"] = turn.error
            if full and turn.reply is not None:
                data["reply"] = {k: v for k, v in reply_json(turn.reply).items() if k != "parts"}
            return "spoke", data
        case RoundOver():
            return "round", {"round": event.round.index, "stop": event.stop, "answers": dict(event.round.answers)}
        case Decided():
            return "decided", verdict_json(event.verdict)
        case _:
            return type(event).__name__.casefold(), asdict(event)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of agora, Python and the SDKs: a run can be understood only with them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("agora-debate", "openai", "anthropic", "genai-prices"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


_made_up: set[str] = set()
_under_way: set[tuple[str, str]] = set()  # (store, run) of this process


@lru_cache(maxsize=1)
def _host() -> str:
    """This machine, and when this process began: its number alone may be in use again."""
    return f"{socket.gethostname()}#{process_began(os.getpid())}"


def process_began(pid: int) -> str:
    """When a process began, by the system's own clock; '' where it is a zombie, or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def new_id() -> str:
    """An id for a run: it sorts by time, and can be typed."""
    import secrets

    made = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    if len(_made_up) < 10_000:
        _made_up.add(made)
    return made


def check_id(run: str) -> str:
    """An id as a user gave it.

    Raises:
        InputError: if it is none.
    """
    if not re.fullmatch(r"[\w.:/-]{1,200}", run):
        raise InputError(f"a run's id has 1 to 200 letters, digits, '.', ':', '/', '-' or '_'; '{run[:40]}' has not.")
    return run
