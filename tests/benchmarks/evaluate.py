"""What an evaluation costs beside its debates: CPU and memory an item, from 1,000 to 10,000 items, the journal on.

python tests/benchmarks/evaluate.py [--items 1000 3000 10000] [--json]

Debates of 3 scripted agents over two rounds (6 calls an item), with the baselines that take no further calls; beside
them the floor, the same debates through `Debate.answer` with the same journal, and the same evaluation once more, which
finds everything in the journal.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from agora import Agent, Debate, Journal, Message, Moderator, Reply, Settings
from agora.answers import Number
from agora.evaluate import Dataset, Item, analyse, evaluate_async
from agora.evaluate.scorers.naming import scorer_of
from agora.records import Usage
from agora.text.stop import rounds

AT_ONCE = 16


class Talker:
    """Answers at once, and keeps nothing of what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = self.identity = name

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        said = (settings.seed or 0) % 3
        return Reply(f"Because of this and that. Answer: {said}", model=self.name, usage=Usage(1, 100, 10))


def debate() -> Debate:
    return Debate([Agent(n, Talker(n)) for n in "abc"], moderator=Moderator(rounds(1)), answer="number", name="crowd")


def data(n: int) -> Dataset:
    items = [Item(str(i), f"Question {i}: what is it?", ("1",), Number()) for i in range(n)]
    return Dataset("items", items, scorer_of("exact"))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def floor(n: int, store: str) -> None:
    """The debates alone."""
    made, numbers = debate(), iter(range(n))
    async with Journal(store) as journal:

        async def work() -> None:
            for i in numbers:
                await made.answer(f"Question {i}: what is it?", Settings(seed=i), journal=journal, run=f"run-{i}")

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(work)


async def whole(n: int, store: str) -> None:
    """An evaluation of them."""
    baselines = ["members", "best", "vote"]
    results = await evaluate_async(debate(), data(n), journal=store, baselines=baselines, concurrency=AT_ONCE)
    assert len(results["crowd"].rows) == n
    analyse(results)


def child(what: str, n: int, store: str) -> None:
    begun = time.process_time(), time.perf_counter()
    anyio.run({"floor": floor, "whole": whole}[what], n, store)
    print(json.dumps([time.process_time() - begun[0], time.perf_counter() - begun[1], peak()]))


def measured(what: str, n: int, store: str) -> list[float]:
    """CPU seconds, wall seconds and peak MB of a fresh process."""
    command = [sys.executable, __file__, "--child", what, str(n), store]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(map(float, json.loads(out)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", nargs="+", type=int, default=[1_000, 3_000, 10_000])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]), options.child[2])
        return
    rows = []
    for n in options.items:
        with tempfile.TemporaryDirectory() as folder:
            floor_ = measured("floor", n, str(Path(folder) / "floor.sqlite"))
            first = measured("whole", n, str(Path(folder) / "whole.sqlite"))
            again = measured("whole", n, str(Path(folder) / "whole.sqlite"))
        rows.append({
            "items": n, "floor CPU ms an item": 1000 * floor_[0] / n, "CPU ms an item": 1000 * first[0] / n,
            "over floor": first[0] / floor_[0], "again CPU ms an item": 1000 * again[0] / n,
            "floor MB": floor_[2], "MB": first[2],
        })  # fmt: skip
    if options.json:
        print(json.dumps(rows))
        return
    heads = list(rows[0])
    print("  ".join(f"{head:>20}" for head in heads))
    for row in rows:
        print("  ".join(f"{row[head]:>20,.2f}" if head != "items" else f"{row[head]:>20,}" for head in heads))
    if len(rows) > 1:
        a, b = rows[0], rows[-1]
        print(f"\nmemory for 1,000 more items: {(b['MB'] - a['MB']) / (b['items'] - a['items']) * 1000:.1f} MB; "
              f"floor: {(b['floor MB'] - a['floor MB']) / (b['items'] - a['items']) * 1000:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
