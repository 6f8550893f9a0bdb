"""Evaluations that tests of clusters start: python ray_evaluation.py FILE STORE ITEMS HOW [OPTIONS as JSON]

HOW: 'here' in this process; 'nodes' on two nodes besides this one, one of which is killed midway; 'workers' on a
cluster of this machine, one worker of which is killed midway. It prints a table without times, and what became of the
workers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agora.answers import Number
from agora.budget import Budget
from agora.config import load
from agora.errors import AgoraError
from agora.evaluate import Dataset, Item, Progress, Ray, Results, evaluate
from agora.evaluate.running.cluster import Cluster


class Exact:
    """Right is what is equal to the truth. It stays in this process: workers do not know it."""

    name = "exact"
    paid = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        return float(answer in item.truth)


def items(n: int) -> Dataset:
    made = [Item(str(i), f"Item {i}: what is it?", (str(i % 5),), Number(), f"group {i % 2}") for i in range(n)]
    return Dataset("items", made, Exact())


def table(results: Results) -> Any:
    """All of it but when it was and how long it took."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key not in ("seconds", "created")}
        return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    shown = [
        {"name": c.name, "role": c.role, "note": c.note, "rows": [{**asdict_(row)} for row in c.rows]}
        for c in results.contestants
    ]
    return plain([shown, results.stopped, list(results.notes), results.digest, results.planned])


def asdict_(row: Any) -> dict[str, Any]:
    made = {name: getattr(row, name) for name in row.__slots__}
    return {**made, "usage": asdict(row.usage), "said": [asdict(said) for said in row.said], "extra": dict(row.extra)}


def workers() -> list[int]:
    """The numbers of the processes that ask contestants on this machine, of this cluster alone."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cmdline").read_bytes().startswith(b"ray::Worker") and _mine(int(path.name)):
                found.append(int(path.name))
    return found


def _mine(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pid = int(fields[1])
    return False


def main() -> None:
    file, store, n, how = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    options = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    if "budget" in options:
        options["budget"] = Budget(**options["budget"])
    debate, _ = load(file)
    told: dict[str, Any] = {"workers": 0, "killed_at": None}
    start, engine = Cluster._start, None

    def counted(cluster: Cluster) -> Any:
        told["workers"] += 1
        return start(cluster)

    Cluster._start = counted  # type: ignore[method-assign]
    kill: Callable[[], None] = lambda: None  # noqa: E731
    if how == "nodes":
        from ray.cluster_utils import Cluster as Nodes

        quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
        nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick})
        doomed = [nodes.add_node(num_cpus=1) for _ in range(2)][1]
        engine = Ray(2, nodes.address)
        kill = lambda: nodes.remove_node(doomed, allow_graceful=False)  # noqa: E731
    elif how == "workers":
        engine = Ray(2)
        kill = lambda: os.kill(workers()[0], signal.SIGKILL)  # noqa: E731

    def progress(now: Progress) -> None:
        if told["killed_at"] is None and now.spent.calls >= options.get("_kill", 10**9):
            told["killed_at"] = now.done
            kill()
        told["planned"], told["spent"] = now.planned, now.spent.calls

    given = {key: value for key, value in options.items() if not key.startswith("_")}
    try:
        results = evaluate(debate, items(n), journal=store, engine=engine, progress=progress, **given)
    except AgoraError as error:
        print(json.dumps({"error": str(error), **told}))
        return
    print(json.dumps({"table": table(results), **told}))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
