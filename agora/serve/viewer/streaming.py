"""A run as a stream of server-sent events to one who looks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agora.calls import sentence
from agora.errors import AgoraError
from agora.serve.gate import Gate
from agora.serve.replying import Gone, while_there
from agora.serve.viewer.live import Hub, message
from agora.view.records import Cursor, news

LOG = logging.getLogger("agora.serve")
QUIET = 15.0  # seconds after which a stream that has nothing to say shows that it is alive


class Live(Response):
    """A run as a stream of events, for as long as it goes on and its reader is there.

    Args:
        hub: whose runs.
        run: its id.
        cursor: what the reader has been told.
        gate: ends it with the server.
    """

    def __init__(self, hub: Hub, run: str, cursor: Cursor, gate: Gate) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-store",
                                                                  "x-accel-buffering": "no"})  # fmt: skip
        del self.headers["content-length"]
        self._hub, self._run, self._cursor, self._gate = hub, run, cursor, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def out(body: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            async with self._gate.arrival():
                await while_there(receive, lambda: self._tell(out))
        except Gone:
            return
        except AgoraError:  # the server ends, or the journal: the reader comes again, and is told what it has missed
            pass
        except Exception as error:
            LOG.error("run %s: %s", self._run, sentence(error))
        with anyio.move_on_after(1):
            if not started:
                await out(b"")
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, out: Callable[[bytes], Awaitable[None]]) -> None:
        await out(b": agora\n\n")
        cursor = self._cursor
        with self._hub.look(self._run) as channel:
            await channel.ready.wait()
            position, anew = channel.end, True
            while True:
                batches = None if anew else channel.since(position)
                if batches is None:
                    position, now = channel.end, channel.now()
                    records, after = await self._hub.told(self._run, cursor)
                    fresh = [*news(records, cursor), *now]
                    cursor, anew = _later(cursor, after), False
                    await out(message(cursor, fresh))
                    continue
                for batch in batches:
                    position += 1
                    if cursor == batch.before:
                        cursor = batch.after
                        await out(batch.text)
                    else:  # it is known in part
                        fresh = news(batch.records, cursor)
                        cursor = _later(cursor, batch.after)
                        if fresh:
                            await out(message(cursor, fresh))
                if batches:
                    continue
                if channel.failed or channel.over:
                    if channel.over:
                        await out(b"event: over\ndata: {}\n\n")
                    return
                with anyio.move_on_after(QUIET) as quiet:
                    await channel.more(position)
                if quiet.cancelled_caught:
                    await out(b": still there\n\n")


def _later(a: Cursor, b: Cursor) -> Cursor:
    return Cursor(max(a.event, b.event), max(a.call, b.call))
