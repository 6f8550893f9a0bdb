"""A person as a model, at the terminal or at a desk: is shown the prompt and types the reply."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import select
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from typing import Protocol, TextIO

import anyio
import anyio.lowlevel

from agora.errors import InputError, MissingError, RefusalError
from agora.model import Settings
from agora.records import Message, Reply, Usage

ABSTENTION = "Answer: abstain"  # every answer type reads it as an abstention
LIMIT = 100_000  # characters of one reply
_TTY = "/dev/tty"
_TURN = threading.Lock()  # of the process, not of a loop: debates may run in several threads
_PENDING: dict[int, tuple[TextIO, queue.SimpleQueue[str | None]]] = {}
_HOW = "An empty line ends your reply. An empty line alone abstains."
_HINT = "Run this in a terminal, or give HumanModel a `source`."


class Desk(Protocol):
    """Where people are asked instead of at the terminal, such as a page in a browser."""

    async def ask(self, name: str, messages: Sequence[Message], timeout: float | None) -> str | None:
        """What a person replies.

        Args:
            name: of the person.
            messages: what they are shown.
            timeout: seconds to wait; None waits for ever.

        Returns:
            The reply, which may be empty; None where there was none in time.
        """
        ...


DESK: ContextVar[Desk | None] = ContextVar("agora_desk", default=None)


class HumanModel:
    """A person who reads the prompt in a terminal and types the reply, ended by an empty line.

    Nothing typed, the end of the input or the timeout is an abstention. One person is asked at a time at the terminal.
    Where `DESK` is set, and no source is given, they are asked there.

    Args:
        name: what to call them.
        timeout: seconds to wait for the whole reply; None waits for ever. Waiting for another person's reply to end
            does not count.
        source: where to read lines: a file descriptor (not on Windows) or a text stream. Default: the standard input
            if it is a terminal, else the terminal that controls the process, else the standard input.
        sink: where to show the prompt. Default: the standard error if it is a terminal or a source is given, else the
            terminal that controls the process, else the standard error.

    Raises:
        InputError: if the name or the timeout is wrong.
    """

    prompts = "human"

    def __init__(
        self,
        name: str = "you",
        *,
        timeout: float | None = None,
        source: TextIO | int | None = None,
        sink: TextIO | None = None,
    ) -> None:
        if not name.strip() or len(name) > 80 or not name.isprintable():
            raise InputError(f"a person's name has 1 to 80 printable characters; {name[:20]!r} has not.")
        if timeout is not None and not 0 < timeout < math.inf:
            raise InputError(f"timeout: needs a number of seconds above 0, it is {timeout}.")
        self._name, self._timeout, self._source, self._sink = name, timeout, source, sink

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    def cost(self, usage: Usage) -> float:
        """Nothing that is counted in USD."""
        return 0.0

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Show the last message and read a reply. There is nothing to sample, so settings do nothing.

        Raises:
            MissingError: if there is no terminal, and no source to read from or sink to show the prompt on.
            RefusalError: if the reply has more than 100,000 characters.
        """
        desk = DESK.get()
        if desk is not None and self._source is None:
            begun = time.perf_counter()
            said = await desk.ask(self._name, messages, self._timeout)
            self._check(len(said or ""))
            used = Usage(1, seconds=time.perf_counter() - begun)
            return Reply((said or "").strip() or ABSTENTION, model=self._name, usage=used)
        async with _turn():
            with contextlib.ExitStack() as stack:
                source, say = self._open_source(stack), self._open_sink(stack)
                fd = source if isinstance(source, int) else None
                _forget(fd)  # what was typed before the question was shown is no answer to it
                say(f"\n[{self._name}] {messages[-1].content.strip() if messages else ''}\n{_HOW}\n")
                begun = time.perf_counter()
                text = None
                try:
                    with anyio.move_on_after(self._timeout):
                        text = await (self._typed(source) if isinstance(source, int) else self._lines(source))
                finally:
                    if text is None:
                        _forget(fd)  # half a reply must not become the shell's next command
                if not text:
                    why = "Nothing was typed" if text is not None else f"No reply in {self._timeout:g} seconds"
                    say(f"{why}: this counts as an abstention.\n")
                used = Usage(1, seconds=time.perf_counter() - begun)
        return Reply(text or ABSTENTION, model=self._name, usage=used)

    def _open_source(self, stack: contextlib.ExitStack) -> int | TextIO:
        """A descriptor where it can be waited on, so that no thread is left behind; else a stream."""
        given = sys.stdin if self._source is None else self._source
        if self._source is None and not _is_terminal(given):
            with contextlib.suppress(OSError):
                fd = os.open(_TTY, os.O_RDONLY)
                stack.callback(os.close, fd)
                return fd
        try:
            fd = given if isinstance(given, int) else given.fileno()
            found = os.fstat(fd)
        except (AttributeError, ValueError, OSError):
            if given is None or isinstance(given, int) or getattr(given, "closed", False):
                raise MissingError(f"there is nothing to read {self._name}'s reply from.", hint=_HINT) from None
            return given
        if self._source is None and stat.S_ISCHR(found.st_mode) and not os.isatty(fd):  # the null device: no one there
            raise MissingError(f"there is no terminal to ask {self._name} on.", hint=_HINT)
        if isinstance(given, int):
            return given
        # a file never blocks, and its stream may have read ahead; on Windows only sockets can be waited on
        return given if stat.S_ISREG(found.st_mode) or os.name != "posix" else fd

    def _open_sink(self, stack: contextlib.ExitStack) -> Callable[[str], None]:
        sink = sys.stderr if self._sink is None else self._sink
        if self._sink is None and self._source is None and not _is_terminal(sink):
            with contextlib.suppress(OSError):
                fd = os.open(_TTY, os.O_WRONLY)
                sink = stack.enter_context(os.fdopen(fd, "w", encoding="utf-8", errors="replace"))

        def say(text: str) -> None:
            try:
                sink.write(_clean(text))
                sink.flush()
            except (AttributeError, ValueError, OSError) as error:
                raise MissingError(f"there is nothing to show {self._name} the question on.", hint=_HINT) from error

        return say

    async def _typed(self, fd: int) -> str:
        """What is typed up to an empty line or the end of the input."""
        size = 4096 if os.isatty(fd) else 1  # a terminal gives one line a read; of a pipe, the rest is the next reply's
        got, line = bytearray(), 0
        while True:
            try:
                await _readable(fd)
                data = os.read(fd, size)
            except BlockingIOError:
                continue
            except OSError:  # the terminal is gone
                data = b""
            got += data
            if not data:
                return _text(got)
            if data.endswith(b"\n"):
                if not got[line:].strip():
                    return _text(got)
                line = len(got)
            self._check(len(got))

    async def _lines(self, stream: TextIO) -> str:
        """The same from a stream without a descriptor. A thread that was not waited for keeps its line for the next."""
        got = ""
        while True:
            if id(stream) not in _PENDING:
                _PENDING[id(stream)] = (stream, queue.SimpleQueue())
                # not a pool's thread: those are waited for at exit, and a line may never come
                threading.Thread(target=_read_line, args=_PENDING[id(stream)], daemon=True).start()
            waiting = _PENDING[id(stream)][1]
            while waiting.empty():  # noqa: ASYNC110 -- the thread may outlive this loop
                await anyio.sleep(0.01)
            line = waiting.get()
            del _PENDING[id(stream)]
            if line is None:
                raise MissingError(f"{self._name}'s reply cannot be read from {stream!r:.80}.", hint=_HINT)
            got += line
            if not line.strip():
                return got.strip()
            self._check(len(got))

    def _check(self, length: int) -> None:
        if length > LIMIT:
            raise RefusalError(f"the reply has more than {LIMIT:,} characters.", model=self._name)


@contextlib.asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    while not _TURN.acquire(blocking=False):  # noqa: ASYNC110 -- whoever holds it may be in another loop
        await anyio.sleep(0.02)
    try:
        yield
    finally:
        _TURN.release()


async def _readable(fd: int) -> None:
    """Wait until a read would not block."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        try:
            return await anyio.wait_readable(fd)
        except (OSError, NotImplementedError):  # a device that the loop's selector does not take
            pass
    await anyio.lowlevel.checkpoint()
    while not select.select([fd], [], [], 0)[0]:  # noqa: ASYNC110
        await anyio.sleep(0.05)


def _read_line(stream: TextIO, out: queue.SimpleQueue[str | None]) -> None:
    try:
        out.put(str(stream.readline(LIMIT + 1)))
    except Exception:  # a stream of the caller's may raise anything
        out.put(None)


def _forget(fd: int | None) -> None:
    """Drop what a terminal holds unread."""
    if fd is None or not os.isatty(fd):
        return
    with contextlib.suppress(ImportError, OSError):
        import termios

        try:
            if os.tcgetpgrp(fd) != os.getpgrp():  # in the background, where trying would stop the process
                return
        except OSError:  # not the controlling terminal: no job control
            pass
        with contextlib.suppress(termios.error):
            termios.tcflush(fd, termios.TCIFLUSH)


def _is_terminal(stream: TextIO | int | None) -> bool:
    try:
        return stream is not None and (os.isatty(stream) if isinstance(stream, int) else stream.isatty())
    except (ValueError, OSError, AttributeError):
        return False


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n").strip()


def _clean(text: str) -> str:
    """Text without control characters: what other models said must not drive the terminal."""
    text = text.replace("\r\n", "\n").expandtabs(4)
    return "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "\ufffd" for c in text)
