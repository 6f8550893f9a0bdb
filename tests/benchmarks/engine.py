"""What the engine itself costs: CPU per message, and wall time over the critical path.

python tests/benchmarks/engine.py [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import anyio

from agora import Agent, Debate, Message, Moderator, Reply, ScriptedModel, Settings
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
    rows = [
        ("CPU ms per message, 1,000 debates of 5 x 3", statistics.median(messages), min(messages), max(messages), 0.15),
        ("ring of 8 x 6, wall over critical path", statistics.median(rings), min(rings), max(rings), 1.02),
    ]
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
        print(f"{name:48} {middle:.3f}  [{low:.3f}, {high:.3f}]  aim {aim}")


if __name__ == "__main__":
    main()
