"""Items per second of evaluations: in one process, and in 1 and 2 workers of a Ray cluster on this machine; memory.

python tests/benchmarks/cluster.py [-n ITEMS] [-r REPEATS] [--latency SECONDS] [--json]

Each debate is of 3 scripted agents over 3 rounds: 9 calls an item, a SQLite journal, 64 items at a time; with a latency
as of hosted models, and with pocket models, which take CPU instead. Workers are started before the clock is.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

FILES = {
    "scripted": 'models: {{m: {{scripted: {{"": "Because of this. Answer: 4"}}, latency: {latency}}}}}\n',
    "pocket": 'models: {{m: "pocket:sum"}}\n',
}
REST = "agents: {a: m, b: m, c: m}\nmoderator: {stop: rounds(2)}\nanswer: number\n"


def _memory(pids: list[int]) -> float:
    """Peak memory in MB of the largest of some processes."""
    peaks = [0.0]
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


def _workers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(path.name))
    return found


def measure(kind: str, workers: int, n: int, latency: float) -> dict[str, float]:
    """Items per second, and peak memory in MB of this process and of its largest worker; 0 workers are none."""
    from agora.config import load
    from agora.evaluate import Progress, Ray, evaluate
    from agora.evaluate import load as data
    from agora.evaluate.running import cluster

    logging.disable()
    told: dict[str, float] = {"worker": 0.0}
    begun = [0.0]
    free = cluster.Cluster._free

    async def ready(self: Any) -> Any:
        while len(self._alive) < workers and not begun[0]:
            await self._changed.wait()
        begun[0] = begun[0] or time.perf_counter()
        return await free(self)

    cluster.Cluster._free = ready  # type: ignore[method-assign]

    def progress(now: Progress) -> None:
        if now.done == n:
            told["seconds"] = time.perf_counter() - begun[0]
            told["worker"] = _memory(_workers()) if workers else 0.0

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "debate.yaml"
        file.write_text(FILES[kind].format(latency=latency) + REST)
        debate, _ = load(file)
        items = data(f"{'pocket' if kind == 'pocket' else 'arithmetic'}:{n}")
        if not workers:
            begun[0] = time.perf_counter()
        engine = Ray(workers) if workers else None
        evaluate(debate, items, baselines=[], concurrency=64, journal=Path(folder) / "runs.sqlite", engine=engine,
                 progress=progress)  # fmt: skip
    return {"items per second": n / told["seconds"], "MB here": _memory([os.getpid()]), "MB a worker": told["worker"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("-r", "--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "WORKERS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given.n, given.latency)))
        return
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(given.repeats):
        for kind in FILES:
            n = given.n if kind == "scripted" else max(8, given.n // 10)
            for workers in (0, 1, 2):
                name = f"{kind}, {f'{workers} of Ray' if workers else 'one process'}"
                command = [sys.executable, __file__, "-n", str(n), "--latency", str(given.latency), "--one", kind]
                done = subprocess.run([*command, str(workers)], capture_output=True, text=True, check=True)
                for key, value in json.loads(done.stdout).items():
                    rows.setdefault(name, {}).setdefault(key, []).append(value)
    if given.json:
        print(json.dumps({name: {key: sorted(values) for key, values in row.items()} for name, row in rows.items()}))
        return
    print(f"{'':24}" + "".join(f"{key:>34}" for key in next(iter(rows.values()))))
    for name, row in rows.items():
        cells = [f"{statistics.median(v):.1f}  [{min(v):.1f}, {max(v):.1f}]" for v in row.values()]
        print(f"{name:24}" + "".join(f"{cell:>34}" for cell in cells))


if __name__ == "__main__":
    main()
