"""What agora loses, repeats and sends when servers fail: debates over a journal against a fake server that misbehaves.

python tests/benchmarks/faults.py [--json] [--quick]

Counts are the client's (verdicts, journal) and the server's own (its log). Every row must lose and repeat nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anthropic  # noqa: F401  # SDKs take a second to import: that is not to be measured
import anyio
import openai  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_server import Served, serve

from agora import Debate, Journal, Verdict
from agora.config import loads
from agora.errors import AgoraError

ALL = {"429": 0.25, "500": 0.03, "cut": 0.02, "stall": 0.01, "json": 0.005}
Meanwhile = Callable[[Served], Awaitable[None]]


@dataclass(frozen=True)
class Found:
    """What came of some debates.

    Attributes:
        debates: how many were begun.
        lost: of these without a verdict, or with a voice missing.
        calls: calls in the journal.
        requests: requests that the server saw.
        attempts: requests by the journal.
        failed: calls by the journal that failed in the end.
        answered: different requests that the server answered well.
        repeated: good answers of the server to a request that it had answered well before.
        late: requests that the client gave up waiting for, though the server meant to answer: the machine was too slow.
        outcomes: of the requests, by the server.
        tokens: in and out, by the journal.
        server_tokens: the same by the server.
        seconds: wall time.
        errors: of lost debates.
    """

    debates: int
    lost: int
    calls: int
    requests: int
    attempts: int
    failed: int
    answered: int
    repeated: int
    late: int
    outcomes: dict[str, int]
    tokens: int
    server_tokens: int
    seconds: float
    errors: list[str]


def debate(server: Served, agents: int, rounds: int, timeout: float, concurrent: int | None) -> Debate:
    """Agents on both vendors' protocols; a persona for each, so that no two requests are the same."""
    limits = "" if concurrent is None else f", limits: {{concurrent: {concurrent}}}"
    models = (f"openai: fake-small, base_url: '{server.url}'", f"anthropic: fake-large, base_url: '{server.root}'")
    people = ", ".join(f"a{i}: {{model: m{i % 2}, persona: number {i}}}" for i in range(agents))
    lines = [f"  m{i}: {{{model}, timeout: {timeout}{limits}}}" for i, model in enumerate(models)]
    text = ["models:", *lines, f"agents: {{{people}}}", f"moderator: {{stop: rounds({rounds - 1})}}", "answer: number"]
    return loads("\n".join(text))[0]


async def _debates(
    server: Served, folder: Path, count: int, made: Debate, meanwhile: Meanwhile | None, limit: float
) -> Found:
    verdicts: dict[int, Verdict] = {}
    errors: list[str] = []

    async def one(number: int, journal: Journal) -> None:
        try:
            verdicts[number] = await made.answer(f"What is 2+2, number {number}?", journal=journal, run=f"run-{number}")
        except AgoraError as error:
            errors.append(f"{number}: {error}"[:300])

    begun = time.perf_counter()
    async with Journal(folder / "runs.sqlite") as journal:
        with anyio.move_on_after(limit) as scope:
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(one, number, journal)
                if meanwhile is not None:
                    group.start_soon(meanwhile, server)
        if scope.cancelled_caught:
            errors.append(f"not over after {limit:g} seconds")
        seconds = time.perf_counter() - begun
        runs = await journal.runs()
        said = [e["data"]["error"] for run in runs for e in await journal.events(run.id) if e["kind"] == "retrying"]
    log = server.log()
    out = [event for event in log if event["event"] == "out"]
    outcomes = Counter(event["outcome"] for event in out)
    answered = Counter(event["hash"] for event in out if event["outcome"] == "ok")
    whole = [v for v in verdicts.values() if not any(round.absent for round in v.rounds)]
    return Found(
        debates=count,
        lost=count - len(whole),
        calls=sum(run.usage.calls for run in runs),
        requests=sum(event["event"] == "in" for event in log),
        attempts=sum(run.attempts for run in runs),
        failed=sum(run.failed for run in runs),
        answered=len(answered),
        repeated=sum(answered.values()) - len(answered),
        late=sum("no reply in" in error for error in said) - outcomes["stall"] - outcomes["gone"],
        outcomes=dict(outcomes),
        tokens=sum(run.usage.tokens for run in runs),
        server_tokens=_tokens(server),
        seconds=round(seconds, 2),
        errors=errors,
    )


def _tokens(server: Served) -> int:
    stats = server.stats()
    return int(stats["input_tokens"] + stats["output_tokens"])


def measure(
    count: int,
    *,
    agents: int = 5,
    rounds: int = 2,
    timeout: float = 10.0,
    concurrent: int | None = None,
    meanwhile: Meanwhile | None = None,
    prepare: dict[str, Any] | None = None,
    limit: float = 300.0,
    **options: Any,
) -> Found:
    """Debates at once over one journal, against a server of their own.

    Args:
        count: how many debates.
        agents: in each.
        rounds: in each, round 0 included.
        timeout: seconds that a request may take.
        concurrent: most calls at once on each vendor's protocol.
        meanwhile: goes on beside the debates.
        prepare: what the server is told before.
        limit: seconds after which it counts as hung.
        options: of the server.
    """
    with tempfile.TemporaryDirectory() as folder, serve(**options) as server:
        if prepare:
            server.control(**prepare)
        made = debate(server, agents, rounds, timeout, concurrent)
        return anyio.run(_debates, server, Path(folder), count, made, meanwhile, limit)


def dies(after: int, away: float) -> Meanwhile:
    """The server is killed when it has seen so many requests, and comes back some seconds later on the same port."""

    def watch(server: Served) -> None:
        while server.stats()["requests"] < after:
            time.sleep(0.01)
        server.kill()
        time.sleep(away)
        server.restart()

    async def go(server: Served) -> None:
        await anyio.to_thread.run_sync(watch, server)

    return go


SLOW = (0.05, 0.6)


def scenarios(count: int, away: float) -> dict[str, Callable[[], Found]]:
    """What can go wrong, by name.

    Args:
        count: how many debates at once.
        away: seconds that a server refuses, or is dead.
    """

    def refusing(mode: str) -> Callable[[], Found]:
        return lambda: measure(count, prepare={"refuse_seconds": away, "refuse_mode": mode}, latency=SLOW)

    return {
        "everything at once": lambda: measure(count, faults=ALL, timeout=1.0),
        "503 for a while": refusing("503"),
        "429 for a while": refusing("429"),
        "dead for a while": lambda: measure(count, meanwhile=dies(5 * count, away), latency=SLOW),
        "nine agents and a limit": lambda: measure(1, agents=9, prepare={"rpm": 240, "burst": 3}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer debates, shorter outages")
    options = parser.parse_args()
    count, away = (20, 3.0) if options.quick else (60, 20.0)
    found = {name: run() for name, run in scenarios(count, away).items()}
    if options.json:
        print(json.dumps({name: asdict(row) for name, row in found.items()}))
        return
    names = ("debates", "lost", "calls", "answered", "requests", "attempts", "failed", "repeated", "late", "seconds")
    print(f"{'':24}" + "".join(f"{name:>10}" for name in names) + "  outcomes")
    for name, row in found.items():
        print(f"{name:24}" + "".join(f"{getattr(row, n):>10}" for n in names) + f"  {row.outcomes}")
        for error in row.errors[:5]:
            print(f"    {error}")


if __name__ == "__main__":
    main()
