"""What the page asks of its server: lists of many runs, a long run, and how late lookers are told what happens.

python tests/benchmarks/viewer.py [--runs N] [--lookers N] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent.parent))

from agora_server import agora_serve
from view_server import view_server

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.journal import Journal
from agora.text.stop import rounds

CALLS = 8  # of a run
EVERY = 2.0  # seconds between two turns of a run that is looked at
Row = tuple[str, float, float, float]  # what, median, smallest, largest


def _many(path: Path, count: int) -> None:
    """A store of so many runs, with texts of the usual length."""
    from agora import store

    engine, draws, now = store.connect(str(path), 30), random.Random(1), time.time()
    with engine.begin() as connection:
        for start in range(0, count, 5000):
            runs, calls = [], []
            for i in range(start, min(count, start + 5000)):
                runs.append({
                    "id": f"run-{i:07d}", "created": now - count + i, "updated": now, "status": "done",
                    "name": f"debate {i % 37}", "question": json.dumps(f"What is {i}, and why? " + "x" * 200),
                    "config": json.dumps({"text": "y" * 1500}), "versions": "{}", "seed": 0, "content": True,
                    "host": "h#1", "pid": None, "answer": json.dumps(str(i % 100)), "reason": '"unanimous"',
                    "rounds": 2,
                })  # fmt: skip
                calls += [{
                    "run": f"run-{i:07d}", "path": f"a/{k}/answer", "occurrence": 0, "hash": f"{i} {k}", "model": "m",
                    "begun": now, "seconds": 1.0, "attempts": 1, "request": json.dumps("q" * 2000),
                    "reply": json.dumps({"text": "t" * 800}), "error": None, "calls": 1,
                    "input_tokens": draws.randrange(1000), "output_tokens": draws.randrange(300), "cached_tokens": 0,
                    "reasoning_tokens": 0, "cache_write_tokens": 0, "usd": draws.random() / 100,
                } for k in range(CALLS)]  # fmt: skip
            connection.execute(sa.insert(store.RUNS), runs)
            connection.execute(sa.insert(store.CALLS), calls)
    engine.dispose()


def _timed(what: str, work: Callable[[], Any], times: int = 5) -> Row:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - begun))
    return what, statistics.median(took), min(took), max(took)


def _lists(folder: Path, count: int) -> list[Row]:
    _many(folder / "runs.sqlite", count)
    with view_server(folder) as server:
        queries = {
            "newest": "", "the 50,000th on": "offset=50000", "by cost": "sort=cost", "by tokens": "sort=tokens",
            "of a cost": "min_usd=0.05&max_usd=0.06", "whose text has": "text=zzz", "of a debate": "name=debate+3",
            "with an answer": "answer=42",
        }  # fmt: skip
        return [
            _timed(f"ms to list 50 of {count:,} runs: {name}", lambda query=query: server.get(f"/api/runs?{query}"))  # type: ignore[misc]
            for name, query in queries.items()
        ]


def _long(folder: Path) -> list[Row]:
    agents = [Agent(f"a{i}", ScriptedModel("word " * 200 + f"Answer: {i}", name=f"m{i}")) for i in range(20)]
    debate = Debate(agents, answer="number", moderator=Moderator(stop=rounds(99)), topology="ring")

    async def make() -> None:
        async with Journal(folder / "runs.sqlite") as journal:
            await debate.answer("q?", journal=journal, run="long")

    anyio.run(make)
    with view_server(folder) as server:
        size = len(server.client.get("/api/runs/long").content)
        file = len(server.client.get("/runs/long/file").content)
        return [
            _timed("ms to load a run of 2,000 messages", lambda: server.client.get("/api/runs/long").read()),
            _timed("ms to make a file of it", lambda: server.client.get("/runs/long/file").read()),
            ("MB of it as records", size / 1e6, size / 1e6, size / 1e6),
            ("MB of it as a file", file / 1e6, file / 1e6, file / 1e6),
        ]


def _live(folder: Path, lookers: int) -> Row:
    """From an event to each who looks at its run; the server is a process of its own."""
    text = ["name: d", "question: q?", "answer: number", "moderator: {stop: rounds(4)}", "models:"]
    text += [f"  m{i}: {{scripted: 'Answer: {i}', name: m{i}, latency: {EVERY}}}" for i in range(4)]
    text.append("agents: {a: m0, b: m1, c: m2, d: m3}")
    late: list[float] = []
    with agora_serve(folder, text="\n".join(text), name="d.yaml") as server:
        run = httpx2.post(f"{server.url}/api/debates", json={"file": "d"}).json()["run"]

        async def look() -> None:
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                await stream.send(f"GET /api/runs/{run}/live HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                said = b""
                while b"event: over" not in said:
                    said = await stream.receive()
                    now = time.time()
                    found = [1000 * (now - float(at)) for at in re.findall(rb'"at":([0-9.]+),"kind":"spoke"', said)]
                    late.extend(each for each in found if each < 900 * EVERY)  # the rest was there before

        async def go() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(lookers):
                    group.start_soon(look)

        anyio.run(go)
    late.sort()
    return f"ms from an event to one of {lookers:,} lookers", statistics.median(late), late[0], late[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--lookers", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    for work, *more in ((_lists, options.runs), (_long,), (_live, 1), (_live, options.lookers)):
        with tempfile.TemporaryDirectory() as folder:
            made: Any = work(Path(folder), *more)  # type: ignore[operator]
            rows += made if isinstance(made, list) else [made]
    if options.json:
        print(json.dumps({name: {"median": mid, "min": low, "max": high} for name, mid, low, high in rows}))
        return
    for name, mid, low, high in rows:
        print(f"{name:60} {mid:9.2f}  {low:9.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
