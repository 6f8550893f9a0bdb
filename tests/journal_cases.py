"""What a journal promises whatever its store is; run as a script, it is another process."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from agora import (
    Agent,
    Debate,
    InputError,
    Journal,
    Message,
    Moderator,
    Protocol,
    Reply,
    Schedule,
    ScriptedModel,
    Settings,
    Usage,
    Verdict,
    View,
    store,
)
from agora.errors import ModelError, QuorumError
from agora.text.stop import rounds

HOSTILE = (
    "nul \x00, surrogates \ud800 and \udfff, controls \x01\x1b\x7f\x85\u2028, a \U0001f600, quotes '\"\\ and %s :x"
)
USAGE = Usage(1, 100, 10, 20, 0.01, 0.5, 3, 4)


def thoughtful(name: str) -> Callable[[Sequence[Message]], Reply]:
    """A script whose reply depends on all that is shown, and whose usage is the same in every run."""

    def say(messages: Sequence[Message]) -> Reply:
        mark = zlib.crc32(f"{name} {[m.content for m in messages]}".encode("utf-8", "surrogatepass"))
        return Reply(f"Because {mark}. Answer: {mark % 3}", model=name, usage=USAGE)

    return say


def debate(names: str = "abc", **options: Any) -> Debate:
    """A debate of scripted models, which count their calls."""
    options.setdefault("moderator", Moderator(rounds(2)))
    options.setdefault("answer", "number")
    return Debate([Agent(n, ScriptedModel(thoughtful(n), name=n)) for n in names], **options)


def made(*debates: Debate) -> int:
    """Calls that really were made."""
    return sum(len(agent.model.calls) for d in debates for agent in d.agents if isinstance(agent.model, ScriptedModel))


def forget(url: str, run: str, n: int) -> None:
    """Delete the last calls of a run, as if the process had been killed before them."""
    engine = store.connect(url, 30)
    with engine.begin() as connection:
        last = sa.select(store.CALLS.c.id).where(store.CALLS.c.run == run).order_by(store.CALLS.c.id.desc()).limit(n)
        ids = list(connection.execute(last).scalars())
        connection.execute(sa.delete(store.CALLS).where(store.CALLS.c.id.in_(ids)))
        connection.execute(sa.update(store.RUNS).where(store.RUNS.c.id == run).values(status="running", pid=2**30))
    engine.dispose()


def child(*arguments: str) -> subprocess.Popen[str]:
    """Another process."""
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


# ---- cases ------------------------------------------------------------------------------------------------------


async def record_and_resume(url: str) -> None:
    """A resumed run gives an equal verdict and makes no call."""
    first, again, third = debate(), debate(), debate()
    async with Journal(url) as journal:
        before = await first.answer("q?", journal=journal, run="r")
        assert made(first) == 9
        assert await again.answer("q?", journal=journal, run="r") == before
    async with Journal(url) as journal:
        assert await third.answer("q?", journal=journal, run="r") == before
        info = await journal.run("r")
        calls = await journal.calls("r")
    assert made(again, third) == 0
    assert len(calls) == 9
    assert (info.status, info.answer, info.rounds, info.question) == ("done", before.answer, 2, "q?")
    assert info.usage == pytest_approx(before.usage)
    assert not info.alive


def pytest_approx(usage: Usage) -> Any:
    """A usage but for rounding."""
    return Usage(
        usage.calls, usage.input_tokens, usage.output_tokens, usage.cached_tokens,
        pytest.approx(usage.usd), pytest.approx(usage.seconds), usage.reasoning_tokens, usage.cache_write_tokens,
    )  # fmt: skip


async def partial_journal(url: str, n: int) -> None:
    """What was recorded is not called again; what was not, is."""
    first, again = debate(), debate()
    async with Journal(url) as journal:
        before = await first.answer("q?", journal=journal, run="r")
    forget(url, "r", n)
    async with Journal(url) as journal:
        after = await again.answer("q?", journal=journal, run="r")
        assert (await journal.run("r")).usage.calls == 9
    assert after == before
    assert made(again) == n


async def failed_run(url: str) -> None:
    """The failures that ended a run are tried again, and what succeeded is not."""

    def group(*scripts: Any) -> Debate:
        models = [ScriptedModel(script, name=n) for n, script in zip("abc", scripts, strict=True)]
        return Debate([Agent(m.name, m) for m in models], answer="number", moderator=Moderator(rounds(1)))

    down = [ModelError("no power", hint="Wait.")]
    broken, mended, last = group(["Answer: 1", *down], ["Answer: 2", *down], down), *(group(*"123") for _ in range(2))
    async with Journal(url) as journal:
        with pytest.raises(QuorumError):
            await broken.answer("q?", journal=journal, run="r")
        info = await journal.run("r")
        assert (info.status, info.failed) == ("failed", 4)
        assert info.reason
        assert "no power" in info.reason
        verdict = await mended.answer("q?", journal=journal, run="r")
        assert await last.answer("q?", journal=journal, run="r") == verdict
        assert (await journal.run("r")).status == "done"
    # c's failure in round 0 is a fact that others have read of; those of round 1 are tried again
    assert [len(agent.model.calls) for agent in mended.agents] == [1, 1, 1]  # type: ignore[attr-defined]
    assert verdict.rounds[0].absent == ("c",)
    assert verdict.rounds[1].absent == ()
    assert made(last) == 0


async def hostile_texts(url: str) -> None:
    """Whatever can be said can be kept."""

    def group() -> Debate:
        models = [ScriptedModel(f"{HOSTILE} {i} Answer: {i}", name=f"m{i}") for i in range(2)]
        people = [Agent(f"n{i}", m, persona=HOSTILE) for i, m in enumerate(models)]
        return Debate(people, answer="text", moderator=Moderator(rounds(1)))

    first, again = group(), group()
    async with Journal(url) as journal:
        before = await first.answer(f"q? {HOSTILE}", journal=journal, run="r")
        assert await again.answer(f"q? {HOSTILE}", journal=journal, run="r") == before
        assert (await journal.run("r")).question == f"q? {HOSTILE}"
        assert [info.id for info in await journal.runs(text="\ud800 and")] == ["r"]
        assert [event["kind"] for event in await journal.events("r")][-1] == "decided"
    assert made(again) == 0


async def hostile_names(url: str) -> None:
    """Names that a column cannot hold are kept as well as they can be."""
    strange = Debate([Agent(n, ScriptedModel("Answer: 1", name=f"m\x00\ud800{n}")) for n in "abc"], name="d\x00\ud800")
    async with Journal(url) as journal:
        before = await strange.answer("q?", journal=journal, run="r")
        assert before.usage.calls == len(await journal.calls("r"))
        assert await strange.answer("q?", journal=journal, run="r") == before
    assert made(strange) == before.usage.calls


async def listing(url: str) -> None:
    """Runs are found by id, beginning, status, text and time."""
    async with Journal(url) as journal:
        for i in range(5):
            await debate(name=f"kind{i % 2}").answer(f"What is {i}? 100% äö", journal=journal, run=f"run-{i}")
        with pytest.raises(QuorumError):
            await Debate([Agent("a", ScriptedModel([ModelError("no")]))]).answer("why", journal=journal, run="bad")
        assert [info.id for info in await journal.runs()] == ["bad", *(f"run-{i}" for i in (4, 3, 2, 1, 0))]
        assert [info.id for info in await journal.runs(limit=2)] == ["bad", "run-4"]
        assert [info.id for info in await journal.runs(status="failed")] == ["bad"]
        assert [info.id for info in await journal.runs(text="what is 3")] == ["run-3"]
        assert [info.id for info in await journal.runs(text="% äö")][-1] == "run-0"
        assert [info.id for info in await journal.runs(text="_")] == []
        assert len(await journal.runs(text="kind1")) == 2
        assert await journal.runs(since=4e9) == []
        assert (await journal.run("last")).id == "bad"
        assert (await journal.run("ba")).id == "bad"
        with pytest.raises(InputError, match="beginning of 5 runs"):
            await journal.run("run")
        with pytest.raises(InputError, match="no run 'x%'"):
            await journal.run("x%")
        other = debate()
        with pytest.raises(InputError, match="another question: 'What is 1"):
            await other.answer("What else?", journal=journal, run="run-1")
        assert made(other) == 0


async def quorum_choice(url: str) -> None:
    """What was there in time is read again, though now another is slow."""

    def group(**latency: float) -> Debate:
        people = [Agent(n, ScriptedModel(thoughtful(n), name=n, latency=latency.get(n, 0))) for n in "abc"]
        protocol = Protocol(Schedule("quorum", share=0.5), View(names="named"))
        return Debate(people, answer="number", protocol=protocol, moderator=Moderator(rounds(1)))

    def reads(verdict: Verdict) -> list[Any]:
        return [turn.reads for turn in verdict.rounds[1].turns]

    async with Journal(url) as journal:
        before = await group(c=0.2).answer("q?", journal=journal, run="r")
    assert reads(before)[:2] == [(("b", 0, "answer"),), (("a", 0, "answer"),)]
    forget(url, "r", 3)
    again, third = group(a=0.1), group(b=0.1)
    async with Journal(url) as journal:
        after = await again.answer("q?", journal=journal, run="r")
        assert await third.answer("q?", journal=journal, run="r") == after == before
    assert made(third) == 0


async def write_runs(url: str, prefix: str, tasks: int, each: int) -> None:
    """Many runs at once, of three calls each."""

    async def some(journal: Journal, task: int) -> None:
        for i in range(each):
            recorder = await journal.begin(f"{prefix}-{task}-{i}", question="q?", name="n", seed=0)
            for k in range(3):
                asked = [Message("user", f"{prefix} {task} {i} {k}")]
                entry = await recorder.entry("a/0/answer", ScriptedModel("x"), asked, Settings())
                recorder.event("spoke", "", {"k": k})
                await recorder.record(entry, Reply("x", model="m", usage=USAGE), 1.0)
            await recorder.end("done", answer="x")

    async with Journal(url) as journal, anyio.create_task_group() as group:
        for task in range(tasks):
            group.start_soon(some, journal, task)


def concurrent_writers(url: str, each: int = 10) -> None:
    """Two processes and twenty tasks in each lose nothing."""
    with child("write", url, "one", "20", str(each)) as one, child("write", url, "two", "20", str(each)) as two:
        assert [one.wait(60), two.wait(60)] == [0, 0]

    async def count() -> list[Any]:
        async with Journal(url) as journal:
            return await journal.runs()

    infos = anyio.run(count)
    assert len(infos) == 2 * 20 * each
    assert {(info.status, info.usage.calls, info.usage.input_tokens) for info in infos} == {("done", 3, 300)}
    engine = store.connect(url, 30)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(store.EVENTS)).scalar() == len(infos) * 3
        keys = sa.select(sa.func.count(sa.distinct(store.CALLS.c.run)), sa.func.count())
        assert tuple(connection.execute(keys).one()) == (len(infos), len(infos) * 3)
    engine.dispose()


def opened_at_once(urls: Sequence[str], file: Path) -> None:
    """Two processes that open new stores at once both find them whole."""
    file.write_text("\n".join(urls), encoding="utf-8")
    with child("open", str(file)) as one, child("open", str(file)) as two:
        for other in (one, two):
            assert other.stdout
            assert other.stdout.readline() == "ready\n"
        for other in (one, two):
            assert other.stdin
            other.stdin.write("go\n")
            other.stdin.flush()
        assert [one.wait(60), two.wait(60)] == [0, 0]
    for url in urls:
        engine = store.connect(url, 30)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT value FROM agora_meta").scalars().all() == [
                str(len(store.MIGRATIONS))
            ]
        engine.dispose()


# ---- as another process -----------------------------------------------------------------------------------------


async def _hold(url: str, run: str) -> None:
    async with Journal(url) as journal:
        await journal.begin(run, question="q?", name="n", seed=0)
        print("ready", flush=True)
        sys.stdin.readline()


def _main(what: str, *arguments: str) -> None:
    if what == "write":
        url, prefix, tasks, each = arguments
        anyio.run(write_runs, url, prefix, int(tasks), int(each))
    elif what == "hold":
        anyio.run(_hold, *arguments)
    elif what == "open":
        urls = Path(arguments[0]).read_text(encoding="utf-8").split("\n")
        print("ready", flush=True)
        sys.stdin.readline()
        for url in urls:
            store.connect(url, 30).dispose()


if __name__ == "__main__":
    _main(*sys.argv[1:])
