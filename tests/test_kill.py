"""A process that is killed at any moment loses at most what was under way: its run is resumed to the same verdict."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy
from fake_server import Served, request_hash, serve

import agora.store
from agora import Agent, Debate, Journal, Model, Moderator, Protocol, Schedule, Verdict
from agora.config.models import load_model
from agora.models.openai import OpenAIModel
from agora.text.moderator import rounds

QUESTION = "What is 2+2?"
AGENTS, ROUNDS = 4, 4
PLACES = ("asked", "answered", "writing", "written")
KINDS = {
    "simultaneous": Protocol(),
    "sequential": Protocol(Schedule("sequential")),
    "quorum": Protocol(Schedule("quorum", share=0.5)),
    "transcript": Protocol(memory="transcript"),
    "own_chat": Protocol(memory="own_chat"),
    "nested": Protocol(),
}
Kill = tuple[str, int, float, int]  # where, how often it must have been there, seconds after that, the signal


def build(kind: str, url: str, name: str) -> Debate:
    """A debate whose models have a name of their own, by which the server's log tells the runs apart."""

    def model() -> Model:
        return load_model({"openai": name, "base_url": url})

    agents = [Agent(letter, model()) for letter in "abcd"[:AGENTS]]
    if kind == "nested":
        inner = Debate([Agent(letter, model()) for letter in "xy"], moderator=Moderator(rounds(1)), answer="number")
        agents[-1] = Agent("d", inner)
    return Debate(agents, protocol=KINDS[kind], moderator=Moderator(rounds(ROUNDS - 1)), answer="number")


def summary(verdict: Verdict) -> dict[str, Any]:
    """All of a verdict but times."""
    turns = [(t.agent, t.round, t.value, t.reply and t.reply.text, t.reads) for r in verdict.rounds for t in r.turns]
    data = {
        "answer": verdict.answer, "text": verdict.text, "reason": verdict.reason, "support": dict(verdict.support),
        "initial": verdict.initial, "changes": [asdict(change) for change in verdict.changes],
        "dissent": [asdict(dissent) for dissent in verdict.dissent], "warnings": verdict.warnings, "turns": turns,
        "usage": {name: n for name, n in asdict(verdict.usage).items() if name != "seconds"},
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


# ---- the process that is killed ---------------------------------------------------------------------------------


def arm(kill: Kill) -> None:
    """End this process some time after a place in the program has been passed so often."""
    place, number, delay, signum = kill
    count = 0

    def passed(here: str) -> None:
        nonlocal count
        count += here == place
        if here == place and count == number:
            if delay:
                timer = threading.Timer(delay, os.kill, (os.getpid(), signum))
                timer.daemon = True
                timer.start()
            else:
                os.kill(os.getpid(), signum)

    answer, write = OpenAIModel.answer, agora.store.write

    async def answers(*args: Any) -> Any:
        passed("asked")
        reply = await answer(*args)
        passed("answered")
        return reply

    def writes(*args: Any) -> None:
        write(*args)
        passed("written")

    OpenAIModel.answer = answers  # type: ignore[method-assign]
    agora.store.write = writes
    # told before the database is: the transaction is open
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", lambda connection: passed("writing"))


def child(job: Mapping[str, Any]) -> None:
    """Run a debate to its end, if it is let, and leave its verdict in a file."""
    if job["kill"] is not None:
        arm(tuple(job["kill"]))
    debate = build(job["kind"], job["url"], job["name"])

    async def go() -> Verdict:
        return await debate.answer(QUESTION, journal=job["journal"], run="r")

    try:
        done = summary(anyio.run(go, backend=job["backend"]))
    except BaseException as error:
        done = {"error": f"{type(error).__name__}: {error}"}
    Path(job["out"]).write_text(json.dumps(done))


def nursery() -> None:
    """Fork a process for each line that is read: so each is spared the second that imports take."""
    for package in ("aiohttp", "genai_prices", "genai_prices.data_snapshot", "httpcore2", "openai", "trio"):
        import_module(package)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child(json.loads(line))
        os._exit(0)


class Nursery:
    """The process that forks the others."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lock = threading.Lock()

    def run(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """What a child leaves; None if it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out = Path(job["out"])
        out.unlink(missing_ok=True)
        with self.lock:
            self.process.stdin.write(f"{json.dumps(job)}\n")
            self.process.stdin.flush()
            pid = int(self.process.stdout.readline())
        try:
            for _ in range(6000):
                os.kill(pid, 0)
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"a child hangs: {job}")
        except ProcessLookupError:
            pass
        return json.loads(out.read_text()) if out.exists() else None

    def close(self) -> None:
        self.process.communicate()


# ---- the runs ---------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """A run, and when it is killed."""

    name: str
    kind: str
    kills: list[Kill]
    backend: str = "asyncio"


def plans() -> dict[str, Plan]:
    """All runs: twelve of one kind, some of each other, each killed once or twice before it is let; and Ctrl-C."""
    made = []
    for seed in range(12):
        made.append(Plan(f"simultaneous-{seed}", "simultaneous", kills(seed), "trio" if seed % 4 == 3 else "asyncio"))
    for kind in list(KINDS)[1:]:
        made += [Plan(f"{kind}-{seed}", kind, kills(100 + seed)) for seed in range(3)]
    for backend in ("asyncio", "trio"):
        made.append(Plan(f"interrupt-{backend}", "simultaneous", [("asked", 7, 0.005, signal.SIGINT)], backend))
    return {plan.name: plan for plan in made}


def kills(seed: int) -> list[Kill]:
    """Seeded moments, all of which come before the end of any run, however the replies are grouped into writes."""
    rng = random.Random(seed)
    place = PLACES[seed % 4]
    number = rng.randint(1, 16 if place in ("asked", "answered") else 5)
    # a delay might miss the end of the run if it began late
    delay = rng.choice([0.0, rng.uniform(0, 0.02)]) if number < 12 else 0.0
    first: Kill = (place, number, delay, signal.SIGKILL)
    again: Kill = (rng.choice(PLACES), 1, 0.0, signal.SIGKILL)
    return [first, again] if seed % 3 == 0 else [first]


@dataclass
class Lived:
    """What came of a run."""

    plan: Plan
    ends: list[dict[str, Any] | None] = field(default_factory=list)
    statuses: list[tuple[str, bool]] = field(default_factory=list)
    durable: list[set[str]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    last: dict[str, Any] | None = None
    again: dict[str, Any] | None = None
    info: Any = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


def live(plan: Plan, server: Served, nursery: Nursery, folder: Path) -> Lived:
    """Run, kill, resume, until it is over; then once more."""
    store = folder / f"{plan.name}.sqlite"
    job = {
        "kind": plan.kind, "name": plan.name, "url": server.url, "journal": f"sqlite:///{store}", "kill": None,
        "backend": plan.backend, "out": str(folder / f"{plan.name}.json"),
    }  # fmt: skip
    lived = Lived(plan)
    for kill in plan.kills:
        lived.ends.append(nursery.run({**job, "kill": kill}))
        lived.marks.append(server.stats()["requests"])
        with closing(sqlite3.connect(store)) as connection:
            lived.durable.append(hashes(connection, plan.name))
        lived.statuses += [(run.status, run.alive) for run in anyio.run(read, store)[0]]
    lived.last = nursery.run(job)
    lived.marks.append(server.stats()["requests"])
    lived.again = nursery.run(job)
    runs, lived.rows, events = anyio.run(read, store)
    (lived.info,) = runs
    lived.chosen = [event["path"] for event in events if event["kind"] == "choice"]
    return lived


def hashes(connection: sqlite3.Connection, name: str) -> set[str]:
    """The server's digests of all requests whose replies are durable."""
    found = set()
    try:
        rows = connection.execute("select request from agora_calls where reply is not null").fetchall()
    except sqlite3.OperationalError:  # it was killed before there were tables
        rows = []
    for (request,) in rows:
        data = json.loads(request)
        said = [{"role": role, "content": content} for role, content in data["messages"]]
        found.add(request_hash({"model": name, "messages": said, "seed": data["settings"]["seed"]}))
    return found


async def read(store: Path) -> tuple[list[Any], list[dict[str, Any]], list[dict[str, Any]]]:
    async with Journal(store) as journal:
        runs = await journal.runs()
        if not runs:
            return [], [], []
        return runs, await journal.calls("r"), await journal.events("r")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Callable[[str], Lived], Served, Served]]:
    """All runs at once, beside each other; the server they ask; and another for what is not counted."""
    folder, nursery = tmp_path_factory.mktemp("kill"), Nursery()
    with serve(latency=(0.02, 0.5)) as server, serve() as other:
        with ThreadPoolExecutor(6) as pool:
            lives: dict[str, Future[Lived]] = {
                name: pool.submit(live, plan, server, nursery, folder) for name, plan in plans().items()
            }
        nursery.close()
        yield lambda name: lives[name].result(), server, other


@pytest.mark.parametrize("name", list(plans()))
def test_a_run_that_is_killed(world: tuple[Callable[[str], Lived], Served, Served], name: str) -> None:
    find, server, other = world
    lived = find(name)
    plan = lived.plan
    interrupted = name.startswith("interrupt")
    # it was killed, and could be seen to have been
    if interrupted:
        assert lived.ends == [{"error": "KeyboardInterrupt: "}]
        assert lived.statuses == [("interrupted", False)]
    else:
        assert lived.ends == [None] * len(plan.kills)
        assert set(lived.statuses) <= {("running", False)}
    # the verdict is that of a run that was let; who reads whom in a quorum is chance, but then it stays
    assert lived.last is not None
    assert "error" not in lived.last
    assert lived.again == lived.last
    if plan.kind != "quorum":
        assert lived.last == summary(build(plan.kind, other.url, name).run(QUESTION))
    else:
        assert len(lived.chosen) == len(set(lived.chosen)) == AGENTS * (ROUNDS - 1)
    # what was durable is never asked again, and what was under way at most once for each kill
    log = server.log()
    mine = {event["n"]: event for event in log if event["event"] == "in" and event["model"] == name}
    for mark, durable in zip(lived.marks, [*lived.durable, {e["hash"] for e in mine.values()}], strict=True):
        assert not [event for n, event in mine.items() if n > mark and event["hash"] in durable]
    answered = Counter(e["hash"] for e in log if e["event"] == "out" and e["n"] in mine and e["outcome"] == "ok")
    assert sum(answered.values()) - len(answered) <= len(plan.kills) * (AGENTS + (plan.kind == "nested"))
    # the journal has each call once, and counts what the verdict counts
    calls = AGENTS * ROUNDS + (plan.kind == "nested") * 3 * ROUNDS
    assert len(lived.rows) == len({(row["path"], row["occurrence"]) for row in lived.rows}) == calls
    assert all(row["reply"] is not None for row in lived.rows)
    assert len(answered) == calls
    usage = {name: n for name, n in asdict(lived.info.usage).items() if name != "seconds"}
    assert usage == lived.last["usage"]
    assert usage["input_tokens"] == sum(row["reply"]["usage"]["input_tokens"] for row in lived.rows)
    assert (lived.info.status, lived.info.answer) == ("done", lived.last["answer"])


if __name__ == "__main__":
    nursery()
