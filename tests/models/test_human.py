"""A person as a model, played by pipes, streams and pseudo-terminals."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agora import Agent, Debate, Message, Model, Moderator, ScriptedModel
from agora.answers import AnswerType, Choice, Json, Number, Text, YesNo, extract
from agora.errors import InputError, MissingError, RefusalError
from agora.models import human
from agora.models.human import ABSTENTION, LIMIT, HumanModel
from agora.prompts import Template, shipped
from agora.records import Reply
from agora.text.agent import Shown
from agora.text.stop import rounds

ASK = [Message("system", "unseen"), Message("user", "What is 6 x 7?")]
KINDS: list[AnswerType] = [Number(), YesNo(), Text(), Json(), Choice(["A", "B"])]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # the test may have closed it
            os.close(end)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(what the person holds, what the program reads)"""
    ends = pty.openpty()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def run(backend: str, go: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with anyio.fail_after(20):
            return await go()

    return anyio.run(bounded, backend=backend)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.005)


def abstains(reply: Reply) -> bool:
    return all(extract(kind, reply).why_none == "abstained" for kind in KINDS)


def test_is_a_model() -> None:
    assert isinstance(HumanModel(), Model)
    assert (HumanModel().name, HumanModel("Ada").name) == ("you", "Ada")


@pytest.mark.parametrize("arguments", [{"name": ""}, {"name": "a\x1bb"}, {"timeout": 0}, {"timeout": float("nan")}])
def test_wrong_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        HumanModel(**arguments)


def test_pipe_and_what_follows_is_left(anyio_backend: str, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], "It is\r\nAnswer: 42 é\r\n\r\nsecond\n\n".encode() + b"not for us\n")
    sink = io.StringIO()
    model = HumanModel("Ada", source=pipe[0], sink=sink)
    first, second = (run(anyio_backend, lambda: model.answer(ASK)) for _ in range(2))
    assert (first.text, first.model, second.text) == ("It is\nAnswer: 42 é", "Ada", "second")
    assert (first.usage.calls, first.usage.tokens, first.usage.usd) == (1, 0, 0.0)
    assert first.usage.seconds > 0
    assert os.read(pipe[0], 99) == b"not for us\n"
    assert "[Ada] What is 6 x 7?" in sink.getvalue()
    assert "unseen" not in sink.getvalue()
    assert "abstention" not in sink.getvalue()


def test_stream_with_a_descriptor(anyio_backend: str, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"42\n\n")
    with os.fdopen(pipe[0]) as stream:
        assert run(anyio_backend, lambda: HumanModel(source=stream, sink=io.StringIO()).answer(ASK)).text == "42"


def test_stream_without_a_descriptor(anyio_backend: str) -> None:
    model = HumanModel(source=io.StringIO("a\nb\n\nc"), sink=io.StringIO())
    replies = [run(anyio_backend, lambda: model.answer(ASK)) for _ in range(3)]
    assert [reply.text for reply in replies] == ["a\nb", "c", ABSTENTION]


def test_file(anyio_backend: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("ahead\n42\n\nrest")
    with (tmp_path / "in").open() as stream:
        stream.readline()
        model = HumanModel(source=stream, sink=io.StringIO())
        assert [run(anyio_backend, lambda: model.answer(ASK)).text for _ in range(2)] == ["42", "rest"]
    with (tmp_path / "in").open() as stream:
        model = HumanModel(source=stream.fileno(), sink=io.StringIO())
        assert [run(anyio_backend, lambda: model.answer(ASK)).text for _ in range(3)] == [
            "ahead\n42", "rest", ABSTENTION,
        ]  # fmt: skip


@pytest.mark.parametrize("typed", [b"\n", b" \t\r\n", b""])
def test_nothing_typed_abstains(anyio_backend: str, pipe: tuple[int, int], typed: bytes) -> None:
    os.write(pipe[1], typed)
    os.close(pipe[1])
    sink = io.StringIO()
    reply = run(anyio_backend, lambda: HumanModel(source=pipe[0], sink=sink).answer(ASK))
    assert abstains(reply)
    assert "counts as an abstention" in sink.getvalue()
    assert (reply.usage.calls, reply.usage.usd) == (1, 0.0)


def test_end_of_file_ends_a_reply(anyio_backend: str, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"Answer: 4\xff2")
    os.close(pipe[1])
    assert run(anyio_backend, lambda: HumanModel(source=pipe[0], sink=io.StringIO()).answer(ASK)).text == (
        "Answer: 4\ufffd2"
    )


def test_timeout_abstains(anyio_backend: str, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"half a rep")
    sink = io.StringIO()
    reply = run(anyio_backend, lambda: HumanModel(source=pipe[0], sink=sink, timeout=0.1).answer(ASK))
    assert abstains(reply)
    assert "No reply in 0.1 seconds: this counts as an abstention." in sink.getvalue()
    assert 0.1 <= reply.usage.seconds < 5


def test_control_characters_do_not_reach_the_terminal(anyio_backend: str, pipe: tuple[int, int]) -> None:
    evil = "a\x1b]0;t\x07\x1b[2Jb\x9bc\u202ed\re\x00f\n\tg\u3000\xa0h é 你"
    os.write(pipe[1], b"\n")
    sink = io.StringIO()
    run(anyio_backend, lambda: HumanModel(source=pipe[0], sink=sink).answer([Message("user", evil)]))
    shown = sink.getvalue()
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "\ufffd[2Jb\ufffdc\ufffdd e\ufffdf\n    g  h é 你" in shown


def test_too_long(anyio_backend: str, pipe: tuple[int, int]) -> None:
    threading.Thread(target=lambda: _pour(pipe[1], b"y\n" * LIMIT), daemon=True).start()
    with pytest.raises(RefusalError, match="100,000"):
        run(anyio_backend, lambda: HumanModel(source=pipe[0], sink=io.StringIO()).answer(ASK))
    with pytest.raises(RefusalError):
        run(anyio_backend, lambda: HumanModel(source=io.StringIO("y" * 10 * LIMIT), sink=io.StringIO()).answer(ASK))


def _pour(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the test may have closed it
        while data:
            data = data[os.write(fd, data) :]


# ---- terminals --------------------------------------------------------------------------------------------------


def test_terminal(anyio_backend: str, terminal: tuple[int, int]) -> None:
    person, program = terminal
    sink = io.StringIO()

    async def go() -> list[str]:
        got: list[str] = []

        async def ask() -> None:
            got.extend([(await HumanModel(source=program, sink=sink).answer(ASK)).text for _ in range(3)])

        os.write(person, b"too early\n\n")  # before the question was shown
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await until(lambda: "6 x 7" in sink.getvalue())
            os.write(person, "Mist\x7fte é\nAnswer: 42\n\n".encode())  # edited, as terminals allow
            await until(lambda: len(sink.getvalue().split("6 x 7")) == 3)
            os.write(person, b"no new line\x04\x04")
            await until(lambda: len(sink.getvalue().split("6 x 7")) == 4)
            os.write(person, b"\x04")
        return got

    assert run(anyio_backend, go) == ["Miste é\nAnswer: 42", "no new line", ABSTENTION]


def test_terminal_that_goes_away(anyio_backend: str, terminal: tuple[int, int]) -> None:
    person, program = terminal
    sink = io.StringIO()

    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await HumanModel(source=program, sink=sink).answer(ASK))

    async def go() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await until(lambda: "6 x 7" in sink.getvalue())
            os.close(person)

    run(anyio_backend, go)
    assert abstains(replies[0])


def test_cancellation_leaves_nothing_behind(anyio_backend: str, terminal: tuple[int, int]) -> None:
    person, program = terminal
    sink = io.StringIO()
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/dev/fd"))

    async def go() -> str:
        model = HumanModel(source=program, sink=sink)
        for n in range(1, 4):
            async with anyio.create_task_group() as group:
                group.start_soon(model.answer, ASK)
                await until(lambda n=n: sink.getvalue().count("6 x 7") == n)  # type: ignore[misc]
                os.write(person, b"a line\nhalf a line")
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
        assert set(threading.enumerate()) <= threads
        got: list[str] = []

        async def ask() -> None:
            got.append((await model.answer(ASK)).text)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await until(lambda: sink.getvalue().count("6 x 7") == 4)
            os.write(person, b"whole\n\n")
        return got[0]

    assert run(anyio_backend, go) == "whole"
    assert len(os.listdir("/dev/fd")) == descriptors


def test_cancelled_stream_keeps_its_line_for_the_next(anyio_backend: str) -> None:
    class Slow(io.StringIO):
        def __init__(self) -> None:
            super().__init__("late\n\n")
            self.typed = threading.Event()

        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
            self.typed.wait(10)
            return super().readline()

    source = Slow()

    async def go() -> list[str]:
        first = await HumanModel("a", source=source, sink=io.StringIO(), timeout=0.05).answer(ASK)
        source.typed.set()
        return [first.text, (await HumanModel("b", source=source, sink=io.StringIO()).answer(ASK)).text]

    assert run(anyio_backend, go) == [ABSTENTION, "late"]
    assert not human._PENDING


def test_two_are_asked_one_after_the_other(anyio_backend: str, pipe: tuple[int, int]) -> None:
    sink = io.StringIO()
    replies: dict[str, Reply] = {}

    async def ask(name: str) -> None:
        replies[name] = await HumanModel(name, source=pipe[0], sink=sink, timeout=10).answer(ASK)

    async def go() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "Ada")
            group.start_soon(ask, "Bob")
            await until(lambda: "6 x 7" in sink.getvalue())
            await anyio.sleep(0.1)
            assert sink.getvalue().count("6 x 7") == 1
            os.write(pipe[1], b"first\n\n")
            await until(lambda: sink.getvalue().count("6 x 7") == 2)
            os.write(pipe[1], b"second\n\n")

    run(anyio_backend, go)
    asked = ["Ada", "Bob"] if sink.getvalue().index("[Ada]") < sink.getvalue().index("[Bob]") else ["Bob", "Ada"]
    assert [replies[name].text for name in asked] == ["first", "second"]


def test_one_at_a_time_in_all_threads(anyio_backend: str, pipe: tuple[int, int]) -> None:
    sink = io.StringIO()
    model = HumanModel(source=pipe[0], sink=sink)
    threads = [threading.Thread(target=run, args=(anyio_backend, lambda: model.answer(ASK))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(1, 4):
        while sink.getvalue().count("6 x 7") < n:
            time.sleep(0.005)
        time.sleep(0.05)
        assert sink.getvalue().count("6 x 7") == n
        os.write(pipe[1], b"x\n\n")
    for thread in threads:
        thread.join(10)
    assert not human._TURN.locked()


# ---- no one there, and where people are looked for --------------------------------------------------------------


def test_nothing_to_read_from_or_show_on(anyio_backend: str, pipe: tuple[int, int]) -> None:
    closed = io.StringIO()
    closed.close()
    os.write(pipe[1], b"\n")
    for model in (
        HumanModel(source=closed, sink=io.StringIO()),
        HumanModel(source=987_654, sink=io.StringIO()),
        HumanModel(source=pipe[0], sink=closed),
    ):
        with pytest.raises(MissingError, match="there is nothing to"):
            run(anyio_backend, partial(model.answer, ASK))
    assert not human._TURN.locked()

    class Broken(io.StringIO):
        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
            raise RuntimeError

    with pytest.raises(MissingError, match="cannot be read"):
        run(anyio_backend, lambda: HumanModel(source=Broken(), sink=io.StringIO()).answer(ASK))


SCRIPT = """
import os, sys, anyio
if sys.argv[2] != "-":
    os.open(sys.argv[2], os.O_RDWR)  # the first terminal a session leader opens controls it
from agora import Message
from agora.models.human import HumanModel
reply = anyio.run(HumanModel().answer, [Message("user", "What is 6 x 7?")], backend=sys.argv[1])
print("got", repr(reply.text))
"""


def _start(backend: str, terminal: str, **where: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, backend, terminal]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, **where)


def _shown(person: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(person, 999)


def test_no_terminal_at_all(anyio_backend: str) -> None:
    with _start(anyio_backend, "-", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, b"")
    assert b"MissingError: there is no terminal to ask you on. Run this in a terminal" in err


def test_piped_input_without_a_terminal(anyio_backend: str) -> None:
    with _start(anyio_backend, "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(b"42\n\n", timeout=20)
    assert out == b"got '42'\n"
    assert err == b"\n[you] What is 6 x 7?\nAn empty line ends your reply. An empty line alone abstains.\n"


def test_piped_everything_with_a_terminal(anyio_backend: str, terminal: tuple[int, int]) -> None:
    person, program = terminal
    name = os.ttyname(program)
    with _start(anyio_backend, name, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _shown(person, b"6 x 7?")
        os.write(person, b"42\n\n")
        out, err = process.communicate(b"not this\n\n", timeout=20)
    assert (out, err) == (b"got '42'\n", b"")


@pytest.mark.parametrize("piped", [False, True])
def test_interrupt_ends_the_program(anyio_backend: str, terminal: tuple[int, int], piped: bool) -> None:
    person, program = terminal
    with _start(
        anyio_backend,
        os.ttyname(program),
        stdin=subprocess.PIPE if piped else program,
        stderr=subprocess.PIPE if piped else program,
    ) as process:
        _shown(person, b"6 x 7?")
        begun = time.monotonic()
        os.write(person, b"half\x03")
        assert process.wait(10) in (1, -signal.SIGINT)
        assert time.monotonic() - begun < 3
        assert process.communicate()[0] == b""


# ---- templates and debates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["answer", "revise", "critique", "judge", "moderate"])
def test_templates(name: str) -> None:
    template = shipped(name, HumanModel.prompts)
    assert isinstance(template, Template)
    peer = Shown("Peer 1", "I say 42.", "42", 0.5, 0)
    values = {
        "question": "What is 6 x 7?", "agent": "Ada", "answer": Number(), "ask_confidence": True, "peers": [peer],
        "own": peer, "round": 1, "history": [peer], "critiques": [peer],
    }  # fmt: skip
    for persona in (None, "You doubt."):
        text = template.render(persona=persona, **values)
        assert "Question: What is 6 x 7?" in text
        assert "empty line" not in text  # who asks says how to end: not everybody sits at a terminal
        assert ("You doubt." in text) == (persona is not None and name not in ("judge", "moderate"))
        assert ("I say 42." in text) == (name != "answer")


def test_in_a_debate(anyio_backend: str) -> None:
    sink = io.StringIO()
    person = HumanModel(source=io.StringIO("Surely. Answer: 41\n\nI was wrong. Answer: 42\n\n"), sink=sink)
    agents = [Agent("Ada", person, persona="You doubt."), Agent("bot", ScriptedModel("6 x 7. Answer: 42"))]
    debate = Debate(agents, topology="complete", moderator=Moderator(rounds(1)), answer="number")
    verdict = run(anyio_backend, lambda: debate.answer("What is 6 x 7?"))
    assert (verdict.answer, verdict.changes[0].agent, verdict.usage.usd) == ("42", "Ada", 0.0)
    assert "Your part: You doubt." in sink.getvalue()
    assert "You said: Surely. Answer: 41" in sink.getvalue()
    assert "Peer 1: 6 x 7. Answer: 42" in sink.getvalue()
