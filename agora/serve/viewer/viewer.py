"""What the page's addresses share: the journal that is read, who is told what, and what runs here."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from agora import store as stores
from agora.errors import StoreError
from agora.journal import Journal, RunInfo
from agora.serve.app import Service
from agora.serve.asked import Refused
from agora.serve.gate import Gate
from agora.serve.viewer.evaluations import Evaluations
from agora.serve.viewer.live import Hub
from agora.serve.viewer.starting import Starter

if TYPE_CHECKING:
    from agora.serve.viewer.routes import Filters

RUNNING = 16  # runs begun from the page that go on at a time
_NAMES = 5.0  # seconds for which the names of debates are kept


class Viewer:
    """The page's part of a server. Used as `async with`, inside its runner: what goes on here goes on for as long.

    Args:
        service: the server's; its gate ends what runs here, too.
        store: URL or path of the journal; None: the usual one; 'none': there is none, and nothing to see.
        evaluations: that are shown.
        running: runs begun from the page that go on at a time.
    """

    def __init__(
        self, service: Service, store: str | None = None, *, evaluations: Evaluations | None = None,
        running: int = RUNNING,
    ) -> None:  # fmt: skip
        self.service = service
        self.evaluations = evaluations or Evaluations()
        self.gate = Gate(running, 0)
        service.gate.beside.append(self.gate)
        self._journal = None if store == "none" else Journal(store)
        self._stack = AsyncExitStack()
        self._hub: Hub | None = None
        self._starter: Starter | None = None
        self._names: tuple[float, list[str]] = (-_NAMES, [])

    async def __aenter__(self) -> Viewer:
        if self._journal is not None:
            await self._stack.enter_async_context(self._journal)
            group = await self._stack.enter_async_context(anyio.create_task_group())
            self._hub = Hub(self._journal, group, self._flush)
            self._starter = Starter(self.service, self._hub, self.gate, group)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hub is not None:
            self._hub.close()
        await self._stack.aclose()

    @property
    def journal(self) -> Journal:
        """The journal that is read.

        Raises:
            Refused: if there is none.
        """
        if self._journal is None:
            raise Refused("this server keeps no runs: it was started with --store none.", status=404,
                          code="not_found")  # fmt: skip
        return self._journal

    @property
    def hub(self) -> Hub:
        """Who tells what is new."""
        if self._hub is None:
            raise Refused("this server keeps no runs: it was started with --store none.", status=404,
                          code="not_found")  # fmt: skip
        return self._hub

    @property
    def starter(self) -> Starter:
        """Who begins debates."""
        if self._starter is None:
            raise Refused("this server keeps no runs, so none can be followed here.", status=409, code="conflict")
        return self._starter

    @property
    def shown(self) -> str:
        """Where runs are kept."""
        return stores.shown(self.journal.url)

    def here(self, run: str) -> bool:
        """Whether this process runs it."""
        return self.journal.under_way(run)

    async def run(self, run: str) -> RunInfo:
        """A run by its whole id.

        Raises:
            Refused: if there is none.
        """
        found = await self.journal.runs(run=run) if run.isprintable() else []
        if not found:
            raise Refused(f"there is no run '{run[:60]}'.", status=404, code="not_found")
        return found[0]

    async def listed(self, asked: Filters) -> tuple[list[RunInfo], bool]:
        """The runs of a page of the list, and whether there are more."""
        filters = {"text": asked.text, "name": asked.name, "answer": asked.answer, "since": asked.since,
                   "until": asked.until, "least": asked.min_usd, "most": asked.max_usd, "sort": asked.sort,
                   "items": asked.items}  # fmt: skip
        if asked.status not in ("running", "killed"):
            found = await self.journal.runs(**filters, status=asked.status, limit=asked.limit + 1, offset=asked.offset)
            return found[: asked.limit], len(found) > asked.limit
        # whether something runs them, the journal cannot say: only this machine
        found = await self.journal.runs(**filters, status="running")
        wanted = asked.status == "running"
        found = [info for info in found if (info.alive or self.here(info.id)) == wanted]
        return found[asked.offset : asked.offset + asked.limit], len(found) > asked.offset + asked.limit

    async def names(self) -> list[str]:
        """The names of debates that there are runs of."""
        at, names = self._names
        if time.monotonic() - at > _NAMES:
            names = await self.journal.names()
            self._names = time.monotonic(), names
        return names

    async def _flush(self) -> None:
        """Let everything that has been noted here be read."""
        for journal in self.service.runner.journals:
            try:
                await journal.flush()
            except StoreError:
                continue  # whoever runs there is told
