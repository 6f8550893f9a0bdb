"""How a reply goes out: whole or as a stream, while the client is there to read it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import anyio
from starlette.types import Receive, Send

from agora.serve.asked import Answered, Begun, Piece, Thought, dumped
from agora.serve.faults import Fault, fault

QUIET = 10.0  # seconds after which a stream that has nothing to say shows that it is alive
Work = Callable[[Callable[[Piece], None]], Awaitable[list[Answered]]]


class Gone(Exception):
    """The client has left."""


class StreamWriter(Protocol):
    """Writes pieces as the events of an API."""

    media: str
    ping: bytes

    def write(self, piece: Piece) -> Iterator[bytes]: ...

    def end(self) -> Iterator[bytes]: ...

    def broken(self, error: dict[str, Any]) -> bytes: ...


async def while_there(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Work until it is done, or the client leaves: then it is cancelled, and nothing more is paid for.

    Raises:
        Gone: if the client left.
    """
    left, failure = False, None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal left
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await work()
        except Exception as error:  # the caller's own, not one of a group
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if left:
        raise Gone


async def whole(
    receive: Receive, send: Send, work: Work, body: Callable[[list[Answered]], dict[str, Any]],
    begun: Callable[[], None],
) -> None:  # fmt: skip
    """Run, and reply with the whole.

    Args:
        receive: of ASGI.
        send: of ASGI.
        work: runs the request.
        body: the reply, of the answers.
        begun: is told when the first byte goes out.
    """
    answers: list[Answered] = []

    async def go() -> None:
        answers.extend(await work(lambda piece: None))

    await while_there(receive, go)
    begun()
    await send_json(send, 200, body(answers), {"x-agora-run": ",".join(answer.run for answer in answers)})


async def send_json(send: Send, status: int, data: Any, headers: Mapping[str, str] = {}) -> None:
    """Send a JSON document."""
    content = dumped(data).encode()
    await _start(send, status, {"content-type": "application/json", "content-length": str(len(content)), **headers})
    await send({"type": "http.response.body", "body": content})


async def stream(
    receive: Receive, send: Send, work: Work, writer: StreamWriter, form: Callable[[Fault], dict[str, Any]],
    begun: Callable[[], None],
) -> Fault | None:  # fmt: skip
    """Run, and reply piece by piece. What fails before the first piece is raised, and has a status of its own.

    The run is not held up by a client that reads slowly: what it does not take is kept until it does, or until the
    server's own guard ends the connection.

    Args:
        receive: of ASGI.
        send: of ASGI.
        work: runs the request.
        writer: of the API.
        form: an error in the API's form.
        begun: is told when the first byte goes out.

    Returns:
        What broke the stream, if something did.
    """
    pieces, come = anyio.create_memory_object_stream[Piece | Exception | None](math.inf)
    out = _Out(send, writer, form, begun)

    async def run() -> None:
        try:
            await work(pieces.send_nowait)
        except Exception as error:
            pieces.send_nowait(error)
        else:
            pieces.send_nowait(None)

    async def tell() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            while not out.over:
                batch: list[Piece | Exception | None] = []
                with anyio.move_on_after(QUIET):
                    batch.append(await come.receive())
                    while come.statistics().current_buffer_used:
                        batch.append(come.receive_nowait())
                await out.tell(batch)

    with pieces, come:
        try:
            await while_there(receive, tell)
        except Gone:
            if not out.over:  # else it has all of it
                raise
    if out.failed is not None:
        raise out.failed
    return out.broken


class _Out:
    """A stream on its way out. Its status is open until something has gone well, or nothing has gone wrong for long."""

    def __init__(
        self, send: Send, writer: StreamWriter, form: Callable[[Fault], dict[str, Any]], begun: Callable[[], None]
    ) -> None:
        self._send, self._writer, self._form, self._begun = send, writer, form, begun
        self._held: list[bytes] = []
        self._runs: list[str] = []
        self._started = self.over = False
        self.failed: Exception | None = None
        self.broken: Fault | None = None

    async def tell(self, batch: Sequence[Piece | Exception | None]) -> None:
        """Send pieces; none: a sign of life. The last one is None, or what broke the stream."""
        ready = not batch and bool(self._runs)
        if self._started and not batch:
            self._held.append(self._writer.ping)
        for piece in _joined(batch):
            if isinstance(piece, Exception):
                self.over = True
                if not (self._started or ready):
                    self.failed = piece
                    return
                self.broken = fault(piece)
                self._held.append(self._writer.broken(self._form(self.broken)))
            elif piece is None:
                self.over = True
                self._held.extend(self._writer.end())
            else:
                if isinstance(piece, Begun):
                    self._runs.append(piece.run)
                else:
                    ready = True
                self._held.extend(self._writer.write(piece))
        if ready and not self._started:
            self._started = True
            self._begun()
            await _start(self._send, 200, {"content-type": f"{self._writer.media}; charset=utf-8",
                                           "cache-control": "no-cache", "x-accel-buffering": "no",
                                           "x-agora-run": ",".join(self._runs)})  # fmt: skip
        if self._started and self._held:
            body, self._held = b"".join(self._held), []
            await self._send({"type": "http.response.body", "body": body, "more_body": not self.over})


def _joined(batch: Sequence[Piece | Exception | None]) -> list[Piece | Exception | None]:
    """Pieces of one thought that have come together, as one."""
    made: list[Piece | Exception | None] = []
    for piece in batch:
        last = made[-1] if made else None
        if isinstance(piece, Thought) and isinstance(last, Thought) and piece.choice == last.choice:
            made[-1] = Thought(piece.choice, last.text + piece.text)
        else:
            made.append(piece)
    return made


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
