"""What happens when a client leaves, when one does not read, and when the server is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from agora_server import AgoraServer, agora_serve
from fake_server import Served, serve

from agora.journal import Journal

QUESTION = [{"role": "user", "content": "What is six times seven?"}]
DEBATE = """
name: long
models: {{m: {{openai: far, base_url: '{url}', retry: {{attempts: 1}}}}}}
agents: {{a: m, b: m, c: m}}
answer: number
moderator: {{stop: never() | rounds(30)}}
"""


@pytest.fixture
def far() -> Iterator[Served]:
    with serve(latency=(0.3, 0.01)) as server:
        yield server


@pytest.fixture
def server(far: Served, tmp_path: Path) -> Iterator[AgoraServer]:
    text = DEBATE.format(url=far.url).replace("never() | ", "")
    with agora_serve(tmp_path, "--drain", "20", text=text) as made:
        yield made


def settled(far: Served) -> int:
    """The number of requests upstream, once it has not changed for a second and none is under way."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        stats = far.stats()
        if stats["requests"] != before or stats["in_flight"]:
            before, since = stats["requests"], time.monotonic()
        time.sleep(0.05)
    return before


async def _runs(server: AgoraServer) -> list[str]:
    async with Journal(server.store) as journal:
        return [run.status for run in await journal.runs()]


def runs(server: AgoraServer) -> list[str]:
    return asyncio.run(_runs(server))


def until(true: Any, seconds: float = 15) -> None:
    last = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < last
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_no_call_is_made_for_a_client_that_has_left(server: AgoraServer, far: Served, stream: bool) -> None:
    with post(server, stream=stream):
        until(lambda: far.stats()["requests"] >= 4)
    made = settled(far)
    assert 3 <= made <= 20  # of 93
    assert runs(server) == ["interrupted"]
    assert far.stats()["in_flight"] == 0
    metrics = httpx2.get(f"{server.url}/metrics").text
    assert 'agora_requests_total{api="chat",model="long",status="gone"} 1.0' in metrics
    assert "agora_requests_running 0.0" in metrics
    calls = re.search(r'agora_model_calls_total{model="long"} (\S+)', metrics)
    assert calls is not None
    assert float(calls[1]) == made  # what was paid for counts, though nobody had the answer


def test_a_client_that_leaves_after_more_than_its_request(server: AgoraServer, far: Served) -> None:
    with post(server) as connection:
        until(lambda: far.stats()["requests"] >= 3)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.2)
    assert settled(far) <= 20
    assert runs(server) == ["interrupted"]


def test_openais_client_leaves_a_stream(server: AgoraServer, far: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        client.chat.completions.create(model="long", messages=QUESTION, stream=True) as stream,
    ):
        next(iter(stream))
        until(lambda: far.stats()["requests"] >= 3)
    assert settled(far) <= 12
    assert runs(server) == ["interrupted"]


def post(server: AgoraServer, model: str = "long", **more: Any) -> socket.socket:
    """A connection on which a request has been sent."""
    body = json.dumps({"model": model, "messages": QUESTION, **more}).encode()
    made = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    made.sendall(head.encode() + body)
    return made


def listens(server: AgoraServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port)).close()
    except OSError:
        return False
    return True


def read_all(connection: socket.socket) -> bytes:
    parts = []
    connection.settimeout(30)
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_client_that_never_reads_is_left_behind(tmp_path: Path) -> None:
    text = f"models: {{big: {{scripted: '{'x' * 900_000}', name: big}}, small: {{scripted: 'y', name: small}}}}"
    with agora_serve(tmp_path, "--stall", "0.5", "--running", "1", text=text, name="f.yaml") as server:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", server.port))
        for _ in range(4):  # more than all buffers on the way hold
            body = json.dumps({"model": "big", "messages": QUESTION, "n": 16}).encode()
            made.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" %
                         len(body) + body)  # fmt: skip
        # it does not hold up the others, though one may run at a time
        answer = httpx2.post(f"{server.url}/v1/chat/completions", json={"model": "small", "messages": QUESTION})
        assert answer.status_code == 200
        time.sleep(1.5)
        assert len(read_all(made)) < 16 * 900_000  # what came through before it was cut off
        made.close()


def test_a_client_that_reads_slowly_gets_all_of_it(tmp_path: Path) -> None:
    text = f"models: {{big: {{scripted: '{'x' * 900_000}', name: big}}}}"
    with agora_serve(tmp_path, "--stall", "0.5", text=text, name="f.yaml") as server, socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", server.port))
        body = json.dumps({"model": "big", "messages": QUESTION, "n": 16}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}"
        )
        made.sendall(head.encode() + b"\r\n\r\n" + body)
        size, naps = 0, 0
        while part := made.recv(200_000):
            size += len(part)
            if size > 400_000 * naps and naps < 30:  # three seconds in all, which is six times what a stall may take
                naps += 1
                time.sleep(0.1)
    assert size > 16 * 900_000
    assert naps == 30


def test_the_end_waits_for_what_runs_and_takes_nothing_more(server: AgoraServer, far: Served) -> None:
    with post(server, agora={"rounds": 3}) as running:
        until(lambda: far.stats()["requests"] >= 3)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(server))
        said = read_all(running)
    assert b"HTTP/1.1 200 OK" in said
    assert b'"rounds":3' in said
    assert server.process.wait(20) == 0
    assert runs(server) == ["done"]


def test_the_end_does_not_wait_for_what_has_not_arrived(tmp_path: Path) -> None:
    with agora_serve(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        until(lambda: httpx2.get(f"{server.url}/healthz").status_code == 200)
        server.process.send_signal(signal.SIGTERM)
        said = read_all(connection)
        assert b"HTTP/1.1 503" in said
        assert b"the server is ending" in said
        assert server.process.wait(8) == 0


@pytest.mark.parametrize("how", ["second signal", "no time"])
def test_what_cannot_end_is_kept_to_be_resumed(far: Served, tmp_path: Path, how: str) -> None:
    text = DEBATE.format(url=far.url).replace("never() | ", "")
    drain = "60" if how == "second signal" else "0.5"
    with agora_serve(tmp_path, "--drain", drain, "--running", "1", text=text) as server:
        with post(server) as running, post(server) as waiting, post(server, stream=True) as other:
            until(lambda: far.stats()["requests"] >= 4)
            server.process.send_signal(signal.SIGTERM)
            assert b"503" in read_all(waiting)
            assert b"the server is ending" in read_all(other)
            if how == "second signal":
                time.sleep(0.2)
                server.process.send_signal(signal.SIGINT)
            said = read_all(running)
        assert server.process.stderr is not None
        assert (server.process.wait(15), server.process.stderr.read()) == (0, "")
    assert b"HTTP/1.1 503" in said
    assert b"agora run --resume" in said
    assert runs(server) == ["interrupted"]
    made = settled(far)
    assert made <= 20


def test_a_run_of_a_server_that_was_killed_goes_on_by_the_command(server: AgoraServer, far: Served) -> None:
    with post(server, stream=True, agora={"rounds": 3}) as running:
        until(lambda: far.stats()["ok"] >= 6)
        server.process.kill()
        said = read_all(running)
    run = re.search(rb"x-agora-run: (\S+)", said)
    assert run is not None
    server.process.wait(10)
    command = [sys.executable, "-m", "agora.cli", "run", "--resume", run[1].decode(), "--json", "--store",
               str(server.store)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    verdict = json.loads(done.stdout)
    assert (verdict["rounds"], verdict["usage"]["calls"]) == (3, 12)
    assert far.stats()["requests"] <= 12 + 6  # what was on the wire, twice


def test_the_end_under_load_loses_nothing_that_was_answered(far: Served, tmp_path: Path) -> None:
    text = DEBATE.format(url=far.url).replace("never() | ", "")
    far.control(latency=[0.05, 0.5])
    with agora_serve(tmp_path, "--drain", "1", "--running", "20", text=text) as server:
        results: list[bytes] = []

        def ask(i: int) -> None:
            with contextlib.suppress(OSError), post(server, stream=bool(i % 2)) as connection:
                results.append(read_all(connection))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        until(lambda: far.stats()["ok"] >= 60)
        assert server.stop() == 0
        for thread in threads:
            thread.join()
    assert len(results) == 40
    assert all(b"server_shutdown" in said for said in results)

    async def kept() -> tuple[int, set[str]]:
        async with Journal(server.store) as journal:
            found = await journal.runs()
            calls = [call for run in found for call in await journal.calls(run.id)]
        return sum(call["reply"] is not None for call in calls), {run.status for run in found}

    replies, statuses = asyncio.run(kept())
    assert statuses == {"interrupted"}
    settled(far)
    assert far.stats()["ok"] - 20 * 3 <= replies <= far.stats()["ok"]  # but for those that were on the wire
