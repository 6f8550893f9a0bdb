"""What the engine itself costs: CPU per message, and wall time over the critical path.

python tests/benchmarks/engine.py [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from agora import Agent, Debate, Message, Moderator, Protocol, Reply, ScriptedModel, Settings, View
from agora.text.stop import rounds


async def _messages(count: int) -> float:
    """CPU milliseconds a message: debates of 5 agents, complete graph, round 0 and two more."""
    group = [Agent(f"agent {i}", ScriptedModel(f"Because of this and that. Answer: {i}")) for i in range(5)]
    debate = Debate(group, answer="number", moderator=Moderator(rounds(2)))
    begun = time.process_time()
    for _ in range(count):
        await debate.answer("What is 2+2?")
    for agent in group:
        agent.model.calls.clear()  # type: ignore[attr-defined]
    return 1000 * (time.process_time() - begun) / count / 15


class _Timed:
    """A scripted model that notes how long each of its calls really took."""

    def __init__(self, name: str) -> None:
        self.name, self.took = name, list[float]()
        self._model = ScriptedModel(f"Answer: {name}", name=name, latency=(0.1, 0.6))

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        begun = time.perf_counter()
        reply = await self._model.answer(messages, settings)
        self.took.append(time.perf_counter() - begun)
        return reply


async def _ring(seed: int) -> float:
    """Wall time over the critical path: a ring of 8 agents, 6 rounds in all, log-normal latencies."""
    models = [_Timed(str(i)) for i in range(8)]
    debate = Debate([Agent(m.name, m) for m in models], topology="ring", answer="number",
                    moderator=Moderator(rounds(5)), seed=seed)  # fmt: skip
    begun = time.perf_counter()
    await debate.answer("q?")
    wall = time.perf_counter() - begun
    end = [0.0] * 8
    for r in range(6):
        end = [max(end[i - 1], end[i], end[(i + 1) % 8]) * (r > 0) + models[i].took[r] for i in range(8)]
    return wall / max(end)


async def _wide(agents: int, k: int) -> float:
    """CPU milliseconds a message: one debate on a small world, round 0 and four more."""
    group = [Agent(f"agent {i}", ScriptedModel(f"Because. Answer: {i % 7}")) for i in range(agents)]
    view = View(text="answer")
    debate = Debate(group, topology={"small_world": {"k": k, "p": 0.1}}, answer="number",
                    protocol=Protocol(view=view), moderator=Moderator(rounds(4)))  # fmt: skip
    begun = time.process_time()
    await debate.answer("What is 2+2?")
    return 1000 * (time.process_time() - begun) / agents / 5


async def _many(debates: int) -> tuple[float, float]:
    """CPU milliseconds a message, and peak memory in MB, of so many debates of 5 agents, 200 at a time."""
    waiting, total = iter(range(debates)), [0]

    async def work() -> None:
        for i in waiting:
            group = [Agent(f"agent {j}", ScriptedModel(f"Because. Answer: {j}")) for j in range(5)]
            debate = Debate(group, answer="number", moderator=Moderator(rounds(2)), seed=i)
            verdict = await debate.answer("What is 2+2?")
            total[0] += verdict.usage.calls

    begun = time.process_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(work)
    return 1000 * (time.process_time() - begun) / total[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(code: str) -> list[float]:
    """Figures that a fresh process prints: memory is measured where nothing else has been."""
    here = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {here!r}); import anyio, engine; {code}"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return [float(part) for part in out.split()]


def _startup(code: list[str]) -> float:
    """CPU seconds of a fresh process."""
    wrapped = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); " \
        "u=resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime+u.ru_stime)"  # fmt: skip
    runs = [subprocess.run([sys.executable, "-c", wrapped, *code], capture_output=True, text=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    anyio.run(_messages, 50)
    messages = [anyio.run(_messages, 200) for _ in range(5)]
    rings = [anyio.run(_ring, seed) for seed in range(5)]
    rows: list[tuple[str, float, float, float, float | None]] = [
        ("CPU ms per message, 1,000 debates of 5 x 3", statistics.median(messages), min(messages), max(messages), 0.15),
        ("ring of 8 x 6, wall over critical path", statistics.median(rings), min(rings), max(rings), 1.02),
    ]
    for agents, k in ((1000, 4), (1000, 40)):
        (wide,) = _child(f"print(anyio.run(engine._wide, {agents}, {k}))")
        rows.append((f"1,000 agents x 5, small world of {k}, CPU ms per message", wide, wide, wide, None))
    for debates in (1000, 10_000):
        cost, peak = _child(f"print(*anyio.run(engine._many, {debates}))")
        rows.append((f"{debates:,} debates of 5 x 3, CPU ms per message", cost, cost, cost, None))
        rows.append((f"{debates:,} debates of 5 x 3, peak MB", peak, peak, peak, None))
    for name, code in (
        ("agora --help, CPU s", ["-m", "agora.cli", "--help"]),
        ("import agora and its Debate, CPU s", ["-c", "import agora; agora.Debate"]),
        ("bare interpreter, CPU s (floor)", ["-c", "pass"]),
    ):
        value = _startup([sys.executable, *code])
        rows.append((name, value, value, value, {"agora --help, CPU s": 0.3}.get(name, 0.4)))
    if options.json:
        print(json.dumps({name: {"median": m, "min": a, "max": b, "aim": aim} for name, m, a, b, aim in rows}))
        return
    for name, middle, low, high, aim in rows:
        print(f"{name:56} {middle:.3f}  [{low:.3f}, {high:.3f}]" + (f"  aim {aim}" if aim is not None else ""))


if __name__ == "__main__":
    main()
