"""What is new of a run, told to all who look: at once where it runs here, by looking into the journal elsewhere."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from agora.calls import sentence
from agora.journal import Journal
from agora.serve.asked import dumped
from agora.view.records import Cursor, Record, tell

LOG = logging.getLogger("agora.serve")
POLL = 0.5  # seconds between two looks into the journal
TICK = 0.05  # seconds between two messages to who looks
KEPT, BYTES = 256, 2_000_000  # messages that are kept for who reads slowly, and their size in all
TAIL = 20_000  # characters of a text under way that who comes late is told


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that were told together.

    Attributes:
        before: how far the journal had been told.
        after: how far it has.
        records: they.
        text: of the message.
    """

    before: Cursor
    after: Cursor
    records: list[Record]
    text: bytes


class Channel:
    """What is told of one run. Nobody is waited for: who falls behind is told by the journal what was missed.

    Args:
        hub: whose.
        run: its id.
    """

    def __init__(self, hub: Hub, run: str) -> None:
        self.run, self._hub = run, hub
        self.lookers = 0
        self.held = False  # by who runs it here, and tells
        self.over = False  # it has ended, and all is told
        self.failed: str | None = None  # why it cannot be told further
        self.end = 0  # batches told so far
        self._log: deque[Batch] = deque()
        self._bytes = 0
        self._news = anyio.Event()
        self._wake = anyio.Event()
        self._dirty = True
        self._writing: dict[tuple[str, int, str], str] = {}
        self._seats: dict[str, Record] = {}
        self._pending: dict[Any, Record] = {}
        self._scope: anyio.CancelScope | None = None
        self.ready = anyio.Event()  # it is known from where on it tells

    # ---- for who runs it here ----------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something was noted in the journal."""
        self._dirty = True
        self._wake.set()

    def wrote(self, agent: str, round: int, phase: str, text: str, first: bool) -> None:
        """A piece of a text was written."""
        key = (agent, round, phase)
        self._writing[key] = (text if first else self._writing.get(key, "") + text)[-TAIL:]
        if not self.lookers:
            return
        before = self._pending.get(key)
        if before is not None and not first:
            before["text"] = (before["text"] + text)[-TAIL:]
        else:
            self._pending[key] = _wrote(key, text[-TAIL:], first)
        self._wake.set()

    def spoke(self, agent: str, round: int, phase: str) -> None:
        """A text is whole, and in the journal."""
        self._writing.pop((agent, round, phase), None)
        self._pending.pop((agent, round, phase), None)

    def seat(self, record: Record) -> None:
        """A person is waited for, or no longer."""
        if record["open"]:
            self._seats[record["id"]] = record
        else:
            self._seats.pop(record["id"], None)
        if self.lookers:
            self._pending[record["id"]] = record
        self._wake.set()

    # ---- for who looks -----------------------------------------------------------------------------------------

    def now(self) -> list[Record]:
        """What goes on and is in no journal: texts under way, and who is waited for."""
        return [*(_wrote(key, text, True) for key, text in self._writing.items()), *self._seats.values()]

    def since(self, position: int) -> list[Batch] | None:
        """The batches from a position on; None where they are no longer kept."""
        start = self.end - len(self._log)
        return None if position < start else [self._log[i] for i in range(position - start, len(self._log))]

    async def more(self, position: int) -> None:
        """Wait until there is more than up to a position, or nothing more will come."""
        while self.end <= position and not (self.over or self.failed):
            await self._news.wait()

    # ---- telling -----------------------------------------------------------------------------------------------

    async def follow(self, ready: anyio.Event) -> None:
        """Tell what is new until it is over, or nobody looks.

        Args:
            ready: is set when it is known from where on; what was before, the journal says.
        """
        try:
            with anyio.CancelScope() as scope:
                self._scope = scope
                cursor = Cursor(*await self._hub.journal.last(self.run))
                ready.set()
                await self._follow(cursor)
        except Exception as error:  # whatever a store may hold, it ends nothing but this
            LOG.error("run %s: %s", self.run, sentence(error))
            self.failed = str(error)
        finally:
            ready.set()
            self._announce()

    async def _follow(self, cursor: Cursor) -> None:
        shown: Record | None = None
        ended = False
        while True:
            transient, self._pending = list(self._pending.values()), {}
            looked = self._dirty
            records: list[Record] = []
            after = cursor
            if looked:
                self._dirty = False
                records, after = await self._hub.told(self.run, cursor)
                fresh = len(records) > 1
                if records[0] == shown:
                    records = records[1:]
                else:
                    shown = records[0]
                alive = shown["alive"] or self.held
                if ended and not fresh and not alive:
                    self.over = True
                ended = not alive
            if records or transient:
                self._say(cursor, after, [*records, *transient])
                cursor = after
            if self.over:
                return
            await anyio.sleep(TICK)
            self._dirty = self._dirty or ended
            if not self._dirty and not self._pending:
                with anyio.move_on_after(POLL - TICK) as waited:
                    await self._wake.wait()
                self._dirty = self._dirty or waited.cancelled_caught
            self._wake = anyio.Event()

    def _say(self, before: Cursor, after: Cursor, records: list[Record]) -> None:
        batch = Batch(before, after, records, message(after, records))
        self._log.append(batch)
        self._bytes += len(batch.text)
        self.end += 1
        while len(self._log) > KEPT or (self._bytes > BYTES and len(self._log) > 1):
            self._bytes -= len(self._log.popleft().text)
        self._announce()

    def _announce(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def leave(self) -> None:
        """Nobody looks any more."""
        self._log.clear()
        self._pending.clear()
        self._bytes = 0
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None


class Hub:
    """The channels of all runs that somebody looks at, or that were begun here.

    Args:
        journal: where runs are.
        group: in which runs are looked after.
        flush: lets what this process has noted be read.
    """

    def __init__(self, journal: Journal, group: TaskGroup, flush: Callable[[], Awaitable[None]]) -> None:
        self.journal, self._group, self.flush = journal, group, flush
        self._channels: dict[str, Channel] = {}

    def here(self, run: str) -> bool:
        """Whether this process runs it."""
        return self.journal.under_way(run)

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self._channels)

    async def told(self, run: str, since: Cursor = Cursor()) -> tuple[list[Record], Cursor]:
        """All of a run so far, or what is new, and how far the journal has been read."""
        if self.here(run):
            await self.flush()
        return await tell(self.journal, run, since)

    @contextmanager
    def hold(self, run: str) -> Iterator[Channel]:
        """The channel of a run that goes on here, for who tells."""
        channel = self._channel(run)
        channel.held = True
        try:
            yield channel
        finally:
            channel.held = False
            channel.changed()
            self._drop(channel)

    @contextmanager
    def look(self, run: str) -> Iterator[Channel]:
        """The channel of a run, for who looks."""
        channel = self._channel(run)
        channel.lookers += 1
        if channel.lookers == 1:
            channel.changed()
            channel.ready = anyio.Event()
            self._group.start_soon(channel.follow, channel.ready)
        try:
            yield channel
        finally:
            channel.lookers -= 1
            if not channel.lookers:
                channel.leave()
            self._drop(channel)

    def _channel(self, run: str) -> Channel:
        channel = self._channels.get(run)
        if channel is None or channel.over or channel.failed:  # a run that was over may go on
            channel = self._channels[run] = Channel(self, run)
        return channel

    def _drop(self, channel: Channel) -> None:
        if not channel.lookers and not channel.held and self._channels.get(channel.run) is channel:
            del self._channels[channel.run]

    def close(self) -> None:
        """End all of it."""
        self._group.cancel_scope.cancel()


def message(cursor: Cursor, records: list[Record]) -> bytes:
    """Records as one event of a stream."""
    return f"id: {cursor.event}.{cursor.call}\ndata: {dumped({'records': records})}\n\n".encode()


def _wrote(key: tuple[str, int, str], text: str, first: bool) -> Record:
    agent, round, phase = key
    return {"type": "wrote", "path": "", "agent": agent, "round": round, "phase": phase, "text": text, "first": first}
