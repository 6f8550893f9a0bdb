"""The HTTP server: uvicorn, with a guard over each connection and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from agora.errors import InputError
from agora.serve.gate import Gate

_LITTLE = 16_384  # bytes
_AHEAD = 65_536  # bytes of a next request that are read while a reply is under way
_FULL = (b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\n"
         b"connection: close\r\ncontent-length: 24\r\n\r\ntoo many connections now")  # fmt: skip


class Connection(H11Protocol):
    """A connection that is ended where its client wastes it.

    Attributes:
        patience: seconds within which the headers of a request must be there.
        stall: seconds for which a client may read next to nothing of what is there for it.
        most: connections that the server holds at a time.
    """

    patience, stall, most = 10.0, 60.0, 2000
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio's."""
        super().connection_made(transport)
        # asyncio does so itself, but not where it is given a socket: a reply of two parts would take 40 ms
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=0)  # else who leaves the last bytes unread is not noticed
        if len(self.connections) > self.most:
            transport.write(_FULL)
            transport.close()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """As asyncio's."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE or self._unasked():
            self._wait()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.flow.read_paused and not self.cycle.more_body and len(self.conn.trailing_data[0]) <= _AHEAD:
            self.flow.resume_reading()  # whoever does not read does not see that its client leaves

    def on_response_complete(self) -> None:
        """As uvicorn's."""
        super().on_response_complete()
        if self._unasked():
            self._wait()

    def _unasked(self) -> bool:
        """Whether what comes is the rest of a body that was answered without being read."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _wait(self) -> None:
        """Headers are due from now on, or the rest of a body that nobody waits for; a byte now and then gives no more
        time."""
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._abort)

    def pause_writing(self) -> None:
        """As asyncio's."""
        super().pause_writing()
        self._watch_reader(None)

    def _watch_reader(self, before: int | None) -> None:
        """End the connection of a client that has read next to nothing since the last look."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left > before - _LITTLE:
            self._abort()
            return
        self._stalled = self.loop.call_later(self.stall, self._watch_reader, left)

    def resume_writing(self) -> None:
        """As asyncio's."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _abort(self) -> None:
        self._timer = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio's."""
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Ends in order: takes nothing more, lets what runs end within `drain` seconds, then ends it; a second signal ends
    everything at once.

    Args:
        config: uvicorn's.
        gate: who runs.
        drain: seconds.
        ready: is told when it listens.
    """

    def __init__(self, config: uvicorn.Config, gate: Gate, drain: float, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._gate, self._drain, self._ready = gate, drain, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()  # those that rest; the others after their reply
        await self._gate.drain(0 if self.force_exit else self._drain)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """As uvicorn's."""
        if self.should_exit:
            self.force_exit = True
            self._gate.close()
            self._gate.cut()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear signals while it runs. Having ended in order, the process is not ended by the signal once more."""
        loop = asyncio.get_running_loop()
        heard = (signal.SIGINT, signal.SIGTERM)
        try:
            for each in heard:
                loop.add_signal_handler(each, self.handle_exit, each, None)
        except (NotImplementedError, RuntimeError, ValueError):  # not on this system, or not in the main thread
            yield
            return
        try:
            yield
        finally:
            for each in heard:
                loop.remove_signal_handler(each)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: if it cannot.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(f"it cannot listen on {host}:{port}: {said.lower()}.",
                         hint="Choose another --port or --host.") from None  # fmt: skip
    made.setblocking(False)
    return made


def room_for(connections: int) -> None:
    """Let this process have so many connections, as far as the system allows."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512  # models have connections, too
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def server(
    app: Any, gate: Gate, *, drain: float = 30.0, patience: float = 10.0, stall: float = 60.0, most: int = 2000,
    ready: Callable[[], None] = lambda: None,
) -> Server:  # fmt: skip
    """A server of an application: `await server(app, gate).serve([socket])`.

    Args:
        app: it.
        gate: who runs.
        drain: seconds that what runs has to end when the server does.
        patience: seconds within which a request's headers must be there.
        stall: seconds for which a client may read next to nothing of what is there for it.
        most: connections at a time.
        ready: is told when it listens.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is wrong with a request is its client's to see
    kind = type("Connection", (Connection,), {"patience": patience, "stall": stall, "most": most})
    config = uvicorn.Config(
        app, http=kind, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=15, timeout_graceful_shutdown=10, backlog=2048,
    )  # fmt: skip
    return Server(config, gate, drain, ready)
