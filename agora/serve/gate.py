"""Who may run now, who waits, and who is turned away; and the end of all of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from agora.serve.asked import Refused

USUAL = 5.0  # seconds a request is taken to need while none has ended


class Gate:
    """Lets so many requests run at a time, and so many wait.

    Args:
        running: most that run at a time.
        waiting: most that wait.
        beside: other gates, which end with this one.
    """

    def __init__(self, running: int, waiting: int, beside: Sequence[Gate] = ()) -> None:
        self._most, self._queue, self.beside = running, waiting, list(beside)
        self._semaphore = anyio.Semaphore(running)
        self._scopes: set[anyio.CancelScope] = set()
        self._waits: set[anyio.CancelScope] = set()
        self._arrivals: set[anyio.CancelScope] = set()
        self._usual = USUAL
        self._idle: anyio.Event | None = None
        self.closing = False

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._scopes)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waits)

    @asynccontextmanager
    async def arrival(self) -> AsyncIterator[None]:
        """While a request is read.

        Raises:
            Refused: if the server ends.
        """
        async with self._till_closed(self._arrivals):
            yield

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it.

        Raises:
            Refused: if too many wait, or the server ends: before the turn, or in the midst of it.
        """
        if self.running + self.waiting >= self._most + self._queue:
            said = f"the server is busy: {self.running} requests run and {self.waiting} wait."
            raise Refused(said, status=429, code="rate_limit_exceeded", hint="Try again later.",
                          retry_after=self._patience())  # fmt: skip
        async with self._till_closed(self._waits):
            await self._semaphore.acquire()
        if self.closing:  # it has had its turn at that very moment
            self._semaphore.release()
            raise self._ending()
        begun = time.monotonic()
        try:
            with anyio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        finally:
            self._semaphore.release()
            self._usual += 0.2 * (time.monotonic() - begun - self._usual)
            if not self._scopes and self._idle is not None:
                self._idle.set()
        if scope.cancelled_caught:
            raise Refused("the server ended before the answer was there.", status=503, code="server_shutdown",
                          hint="What was paid for is kept: `agora run --resume` goes on with the run.",
                          retry_after=5)  # fmt: skip

    def close(self) -> None:
        """Let nobody in any more; who waits or is being read is turned away."""
        self.closing = True
        for scope in [*self._waits, *self._arrivals]:
            scope.cancel()
        for gate in self.beside:
            gate.close()

    async def drain(self, seconds: float) -> None:
        """Close, and give those that run so many seconds; then end them."""
        self.close()
        with anyio.move_on_after(seconds):
            for gate in (self, *self.beside):
                if gate._scopes:
                    gate._idle = anyio.Event()
                    await gate._idle.wait()
        self.cut()

    def cut(self) -> None:
        """End all that run, at once."""
        for scope in list(self._scopes):
            scope.cancel()
        for gate in self.beside:
            gate.cut()

    @asynccontextmanager
    async def _till_closed(self, scopes: set[anyio.CancelScope]) -> AsyncIterator[None]:
        """What is done inside ends when the gate closes."""
        if self.closing:
            raise self._ending()
        with anyio.CancelScope() as scope:
            scopes.add(scope)
            try:
                yield
            finally:
                scopes.discard(scope)
        if scope.cancelled_caught:
            raise self._ending()

    def _patience(self) -> float:
        """About how long until one who comes now would have a turn, in seconds."""
        return min(60.0, max(1.0, self._usual * (self.waiting + 1) / self._most))

    @staticmethod
    def _ending() -> Refused:
        return Refused("the server is ending.", status=503, code="server_shutdown", hint="Try again in a moment.",
                       retry_after=5)  # fmt: skip
