"""What serving costs: simultaneous streams of debates on scripted models, beside the bare Starlette floor.

python tests/benchmarks/server.py [--clients 200] [--rounds 3] [--json]

Each client asks for a stream of a debate of 3 agents whose models take 20 ms; one reads a hundred bytes at a time,
and one never reads. The floor is a Starlette application behind the same server that sends as many events of as many
bytes at the same pace, and does nothing else; `the debates alone` are run in a process without a server. Times are seen
by the clients, CPU time and memory are the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

FILE = """
name: debate
models: {{m: {{scripted: 'Because of this and that. {words} Answer: 4', latency: 0.02}}}}
agents: {{a: m, b: m, c: m}}
answer: number
moderator: {{stop: rounds({rounds})}}
"""
WORDS = "It follows from what was said before. " * 8
ASK = {"model": "debate", "messages": [{"role": "user", "content": "2+2?"}], "stream": True}


def _floor(port: int, events: list[int], waits: list[float]) -> None:
    """Serve events of these sizes, with these pauses before them."""
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    from agora.serve import server as http
    from agora.serve.gate import Gate

    async def go(request: Any) -> StreamingResponse:
        await request.json()

        async def parts() -> Any:
            for size, wait in zip(events, waits, strict=True):
                if wait > 0.005:
                    await asyncio.sleep(wait)
                yield b"x" * size

        return StreamingResponse(parts(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", go, methods=["POST"])])
    socket = http.listen("127.0.0.1", port)
    server = http.server(
        app, Gate(1, 1), ready=lambda: print(f"on http://127.0.0.1:{socket.getsockname()[1]} ", flush=True)
    )
    asyncio.run(server.serve([socket]))


def _debates(file: str, count: int) -> float:
    """CPU milliseconds of one of so many debates at once, without any server."""
    import anyio

    from agora import config

    debate, _ = config.load(file)

    async def one() -> None:
        async with debate.watch("2+2?", stream=True) as events:
            async for _ in events:
                pass

    async def go() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(one)

    anyio.run(go)
    before = time.process_time()
    anyio.run(go)
    return 1000 * (time.process_time() - before) / count


class _Process:
    """A server as a process, with what it has used."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "http://" in line:
                self.port = int(line.partition("http://127.0.0.1:")[2].split()[0])
                break

    def cpu(self) -> float:
        """Seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Peak, in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        raise AssertionError

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def _client(port: int, kind: str) -> tuple[float, float, list[int], list[float]]:
    """Seconds to the first byte of the body and to the last; sizes of what came, and the pauses before."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024 if kind == "slow" else 2**16)
    body = json.dumps(ASK).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode() + body)
    first, sizes, pauses, last = 0.0, list[int](), list[float](), begun
    try:
        if kind == "never":
            await asyncio.sleep(5)
            return 0.0, 0.0, [], []
        status = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in status.split(b"\r\n")[0], status
        while True:
            size = int(await reader.readline(), 16)
            if not size:
                break
            piece = await reader.readexactly(size + 2) if kind == "fast" else await _sips(reader, size + 2)
            now = time.perf_counter()
            first = first or now - begun
            sizes.append(len(piece) - 2)
            pauses.append(now - last)
            last = now
        return first, time.perf_counter() - begun, sizes, pauses
    finally:
        writer.close()


async def _sips(reader: asyncio.StreamReader, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        parts += await reader.readexactly(min(100, size - len(parts)))
        await asyncio.sleep(0.01)
    return parts


async def _crowd(port: int, clients: int) -> dict[str, list[float]]:
    """So many at once, one of them slow, and one that never reads."""
    kinds = ["slow", "never", *["fast"] * (clients - 2)]
    found = await asyncio.gather(*(_client(port, kind) for kind in kinds))
    fast = [each for each, kind in zip(found, kinds, strict=True) if kind == "fast"]
    return {"first": [each[0] for each in fast], "whole": [each[1] for each in fast],
            "bytes": [float(sum(each[2])) for each in fast]}  # fmt: skip


def _measure(server: _Process, clients: int, repeats: int) -> dict[str, list[float]]:
    asyncio.run(_crowd(server.port, 10))  # what is loaded at first use is loaded
    rows: dict[str, list[float]] = {name: [] for name in ("first", "p99", "whole", "cpu", "kb")}
    for _ in range(repeats):
        before = server.cpu()
        seen = asyncio.run(_crowd(server.port, clients))
        rows["cpu"].append(1000 * (server.cpu() - before) / clients)
        rows["first"].append(1000 * statistics.median(seen["first"]))
        rows["p99"].append(1000 * sorted(seen["first"])[int(0.99 * len(seen["first"]))])
        rows["whole"].append(1000 * statistics.median(seen["whole"]))
        rows["kb"].append(statistics.median(seen["bytes"]) / 1024)
    rows["memory"] = [server.memory()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--floor", help=argparse.SUPPRESS)
    parser.add_argument("--debates", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.debates:
        print(_debates(options.debates, options.clients))
        return
    if options.floor:
        _floor(0, *json.loads(options.floor))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "debate.yaml"
        path.write_text(FILE.format(words=WORDS, rounds=options.rounds))
        command = [sys.executable, "-m", "agora.cli", "serve", str(path), "--port", "0", "--running",
                   str(options.clients)]  # fmt: skip
        shape: tuple[list[int], list[float]] = ([], [])
        for name, store in (("agora", "none"), ("agora with a journal", str(Path(folder) / "runs.sqlite"))):
            server = _Process([*command, "--store", store])
            try:
                if not shape[0]:
                    asyncio.run(_client(server.port, "fast"))
                    _, _, *seen = asyncio.run(_client(server.port, "fast"))
                    shape = (seen[0], seen[1])
                found[name] = _measure(server, options.clients, options.repeats)
            finally:
                server.end()
        bare = [sys.executable, __file__, "--clients", str(options.clients), "--debates", str(path)]
        runs = [subprocess.run(bare, capture_output=True, text=True, check=True) for _ in range(options.repeats)]
        found["the debates alone"] = {"cpu": [float(run.stdout) for run in runs]}
        server = _Process([sys.executable, __file__, "--floor", json.dumps(shape)])
        try:
            found["Starlette alone (floor)"] = _measure(server, options.clients, options.repeats)
        finally:
            server.end()
    titles = {"first": "first byte, ms, median", "p99": "first byte, ms, p99", "whole": "last byte, ms, median",
              "cpu": "CPU ms per request", "kb": "KB per reply", "memory": "peak MB"}  # fmt: skip
    rows = [
        (f"{name}: {title}", found[name][key]) for key, title in titles.items() for name in found if key in found[name]
    ]
    if options.json:
        print(json.dumps({n: {"median": statistics.median(v), "min": min(v), "max": max(v)} for n, v in rows}))
        return
    print(f"{options.clients} clients at once, {len(shape[0])} events each, one slow reader, one that never reads")
    for name, values in rows:
        print(f"{name:48} {statistics.median(values):9.2f}  [{min(values):.2f}, {max(values):.2f}]")


if __name__ == "__main__":
    main()
