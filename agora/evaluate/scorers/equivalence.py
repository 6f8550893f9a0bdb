"""The scorer of mathematical expressions: whether two of them are equal, found out in a process of its own."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import anyio.to_thread

import agora
from agora.errors import InputError, MissingError
from agora.evaluate.records import Item
from agora.evaluate.scorers.latex import alike, plain

SECONDS = 15.0  # that one comparison may take
_STARTING = 60.0  # that a process may take for its first


@dataclass(frozen=True)
class Math:
    """1 where the answer is equal to one of those accepted: written alike, the same number, or equal as `math-verify`
    finds out. That works by signals, can run for ever and takes memory, so it is done in a process that may be ended;
    what it does not settle in 15 s counts as wrong.

    Attributes:
        plain_only: compare how they are written and as numbers, and no more: `x + 1` is then not `1 + x`. Needs nothing
            to be installed, and calls itself 'math (plain)'.

    Raises:
        MissingError: if `math-verify` is needed and not there.
    """

    plain_only: bool = False
    paid: bool = False
    name: str = field(init=False, default="math")

    def __post_init__(self) -> None:
        if self.plain_only:
            object.__setattr__(self, "name", "math (plain)")
        elif find_spec("math_verify") is None:
            raise MissingError(
                "the scorer 'math' needs math-verify, which is not installed.",
                hint="pip install 'agora-debate[math]', or compare how answers are written by {math: {plain: true}}.",
            )

    async def score(self, answer: str, item: Item, text: str) -> float:
        """1 or 0.

        Raises:
            InputError: if there can be no such process.
        """
        if any(alike(answer, truth) for truth in item.truth):
            return 1.0
        if self.plain_only:
            return 0.0
        for truth in item.truth:
            if await anyio.to_thread.run_sync(_WORKER.equal, plain(truth), plain(answer), abandon_on_cancel=True):
                return 1.0
        return 0.0


class _Worker:
    """A process that compares expressions, one pair after the other; begun when first needed, ended with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def equal(self, truth: str, answer: str) -> bool:
        """Whether two expressions are equal; False where that cannot be settled.

        Raises:
            InputError: if there can be no such process.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._begin()
            return self._said(json.dumps([truth, answer]) + "\n", SECONDS) == "true"

    def end(self) -> None:
        """End the process, where there is one."""
        with self._lock:
            self._end()

    def _begin(self) -> None:
        self._end()
        paths = [str(Path(agora.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONIOENCODING": "utf-8"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "agora.evaluate.scorers.mathworker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
                encoding="utf-8",
            )
            begun = self._said("", _STARTING) == "ready"
        except OSError:
            begun = False
        if not begun:  # else every answer would be wrong without a word
            raise InputError("the process that compares expressions by math-verify cannot be started.",
                             hint="Try python -m agora.evaluate.scorers.mathworker: it must say 'ready'.")  # fmt: skip

    def _said(self, asked: str, seconds: float) -> str:
        """What the process says next; '' where it says nothing in time, and is then ended."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(seconds, expire)
        timer.start()
        try:
            process.stdin.write(asked)
            process.stdin.flush()
            said = process.stdout.readline().strip()
        except OSError:
            said = ""
        finally:
            timer.cancel()
            timer.join()  # it must not end the process during the next comparison
        if not said or expired.is_set():
            self._end()
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what it was to read is of no use any more
                if pipe is not None:
                    pipe.close()


_WORKER = _Worker()
atexit.register(_WORKER.end)
