"""Runs as they are told while they go on: nothing is lost, nothing is told twice, and nobody is waited for."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from view_server import Stream, ViewServer, durable, view_server

from agora import Agent, Debate, Moderator
from agora.journal import Journal
from agora.model import Settings
from agora.models.scripted import ScriptedModel
from agora.records import Message, Reply, Usage
from agora.serve.catalog import Served
from agora.serve.viewer import live, streaming
from agora.text.stop import rounds
from agora.view.records import Cursor, news

FILE = """
name: elsewhere
question: six times seven?
models:
  ann: {scripted: 'I think so. Answer: 41', name: ann, latency: 1.2}
  bob: {scripted: 'I am sure. Answer: 42', name: bob, latency: LATENCY}
agents: {ann: ann, bob: bob}
answer: number
moderator: {stop: rounds(1)}
"""


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    """What becomes true."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def of_run(server: ViewServer, run: str) -> list[dict[str, Any]]:
    return list(server.get(f"/api/runs/{run}")["records"])


def only(server: ViewServer) -> str:
    """The id of the one run there is."""
    (run,) = until(lambda: server.get("/api/runs")["runs"])
    return str(run["id"])


# ---- runs of other processes ------------------------------------------------------------------------------------


def elsewhere(folder: Path, latency: float) -> subprocess.Popen[bytes]:
    file = folder / "elsewhere.yaml"
    file.write_text(FILE.replace("LATENCY", str(latency)))
    command = [sys.executable, "-m", "agora.cli", "run", str(file), "--store", str(folder / "runs.sqlite"), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_run_of_another_process_is_followed_to_its_end(tmp_path: Path) -> None:
    with view_server(tmp_path) as server, elsewhere(tmp_path, 1.5) as process:
        run = only(server)
        told: list[dict[str, Any]] = []
        early: list[str] = []
        with Stream(server, run) as stream:
            for records in stream:
                told += records
                if not any(record["type"] == "call" for record in told):
                    early = [record["kind"] for record in told if record["type"] == "event"] or early
        assert stream.over
        assert early[:3] == ["started", "speaking", "speaking"]  # before anybody has answered
        whole = of_run(server, run)
        assert sorted(durable(told)) == sorted(durable(whole))
        assert len(set(durable(told))) == len(durable(told))
        states = [(record["status"], record["alive"], record["here"]) for record in told if record["type"] == "run"]
        assert states[0] == ("running", True, False)
        assert states[-1] == ("done", False, False)
        assert stream.last == "{event}.{call}".format(**server.get(f"/api/runs/{run}")["cursor"])
        assert process.wait(10) == 0


def test_a_killed_run_is_shown_as_that_and_can_be_resumed_here(tmp_path: Path) -> None:
    with view_server(tmp_path) as server:
        with elsewhere(tmp_path, 60) as process:
            run = only(server)
            with Stream(server, run) as stream:
                lines = iter(stream)
                for records in lines:
                    if any(record["type"] == "call" for record in records):
                        process.send_signal(signal.SIGKILL)
                        process.wait(10)
                        break
                said = [record for records in lines for record in records if record["type"] == "run"]
            assert stream.over
        assert said[-1]["status"] == "killed"
        assert said[-1]["resumable"]
        assert [each["id"] for each in server.get("/api/runs?status=killed")["runs"]] == [run]
        assert server.get("/api/runs?status=running")["runs"] == []
        server.post(f"/api/runs/{run}/stop", status=409)  # it does not go on here
        with sqlite3.connect(tmp_path / "runs.sqlite") as store:  # the same debate, whose models are quicker
            (config,) = store.execute("SELECT config FROM agora_runs").fetchone()
            changed = json.loads(config)
            changed["text"] = changed["text"].replace("latency: 60", "latency: 0.05")
            store.execute("UPDATE agora_runs SET config = ?", (json.dumps(changed),))
        store.close()
        assert server.post(f"/api/runs/{run}/resume") == {"run": run}
        with Stream(server, run) as stream:
            told = [record for records in stream for record in records]
        assert told[-1]["type"] in ("run", "event", "call")
        assert of_run(server, run)[0]["status"] == "done"
        assert "over" in server.post(f"/api/runs/{run}/resume", status=409)["error"]["message"]


# ---- runs of this process ---------------------------------------------------------------------------------------


class Writer:
    """A model that writes word by word, when it is told to."""

    def __init__(self, name: str, text: str, words: float = 0.0) -> None:
        self.name, self.text, self.words = name, text, words

    async def answer(self, messages: list[Message], settings: Settings = Settings()) -> Reply:
        from agora import calls
        from agora.calls import Delta

        here = calls.current()
        for i, word in enumerate(self.text.split(" ")):
            if here.listen is not None and here.stream:
                here.listen(Delta(word if not i else f" {word}", not i))
            await anyio.sleep(self.words)
        return Reply(self.text, model=self.name, usage=Usage(1, 1, 1, usd=0.0))


def duo(*models: Any, n: int = 1, name: str = "duo") -> Served:
    agents = [Agent(model.name, model) for model in models]
    return Served(name, Debate(agents, answer="number", moderator=Moderator(stop=rounds(n)), name=name), {}, "q?")


def test_text_is_told_while_it_is_written(tmp_path: Path) -> None:
    text = "one two three four five six seven eight. Answer: 8"
    served = duo(Writer("ann", text, 0.1), ScriptedModel("Answer: 7", name="bob"), n=0)
    with view_server(tmp_path, served=[served]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        wrote, order = "", []
        with Stream(server, run) as stream:
            for records in stream:
                for record in records:
                    if record["type"] == "wrote":
                        assert (record["agent"], record["round"], record["phase"]) == ("ann", 0, "answer")
                        assert record["first"] == (not wrote) or not record["first"]
                        wrote = record["text"] if record["first"] else wrote + record["text"]
                        order.append("wrote")
                    elif record["type"] == "event" and record["data"].get("agent") == "ann":
                        order.append(record["kind"])
        assert text.startswith(wrote)
        assert len(wrote) > 10
        assert order[0] == "speaking"
        assert order[1] == "wrote"
        assert order[-1] == "spoke"
        state = of_run(server, run)[0]
        assert (state["status"], state["alive"], state["here"]) == ("done", False, False)


def test_who_comes_late_is_told_what_is_being_written(tmp_path: Path) -> None:
    served = duo(Writer("ann", "a b c d e f g h i j k l m n o p. Answer: 8", 0.15))
    with view_server(tmp_path, served=[served]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        time.sleep(0.6)
        loaded = server.get(f"/api/runs/{run}")
        assert loaded["records"][0]["here"]
        with Stream(server, run, f"?event={loaded['cursor']['event']}&call=0") as stream:
            first = next(iter(stream))
        (wrote,) = [record for record in first if record["type"] == "wrote"]
        assert wrote["first"]
        assert wrote["text"].startswith("a b c")
        assert not durable(first)
        server.post(f"/api/runs/{run}/stop", status=204)


def test_a_run_for_an_api_client_is_live(tmp_path: Path) -> None:
    served = duo(ScriptedModel("Answer: 8", name="ann", latency=0.6), n=1)
    with view_server(tmp_path, served=[served]) as server:
        answers: list[httpx2.Response] = []

        def ask() -> None:
            body = {"model": "duo", "messages": [{"role": "user", "content": "q?"}]}
            answers.append(httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=30))

        thread = threading.Thread(target=ask)
        thread.start()
        run = only(server)
        told: list[dict[str, Any]] = []
        with Stream(server, run) as stream:
            for records in stream:
                told += records
        thread.join()
        assert answers[0].headers["x-agora-run"] == run
        states = [record for record in told if record["type"] == "run"]
        assert (states[0]["status"], states[0]["here"]) == ("running", True)
        assert states[-1]["status"] == "done"
        assert sorted(durable(told)) == sorted(durable(of_run(server, run)))
        server.post(f"/api/runs/{run}/stop", status=409)


def test_a_lost_connection_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    served = duo(
        *(ScriptedModel(f"Answer: {i}", name=name, latency=0.02 * i) for i, name in enumerate("abcd", 1)), n=12
    )
    with view_server(tmp_path, served=[served]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        told: list[tuple[str, int]] = []
        last, breaks = "0.0", 0
        while True:
            with Stream(server, run, "?event=7&call=7", last_event_id=last) as stream:  # the header goes first
                for i, records in enumerate(stream):
                    told += durable(records)
                    if i >= breaks % 3:
                        break
            last, breaks = stream.last or last, breaks + 1
            if stream.over:
                break
        assert breaks > 5
        assert len(told) == len(set(told))
        assert sorted(told) == sorted(durable(of_run(server, run)))


@pytest.mark.parametrize("last", ["", "x", "1", "1.x", "-1.2", "1.2.3", "9" * 40 + ".1", "１.２"])
def test_a_last_event_that_is_none(tmp_path: Path, last: str) -> None:
    with view_server(tmp_path, served=[duo(ScriptedModel("Answer: 8", name="ann"), n=0)]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        headers = {"last-event-id": last.encode("utf-8")}
        answer = httpx2.get(f"{server.url}/api/runs/{run}/live", headers=headers, timeout=20)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.text.endswith("event: over\ndata: {}\n\n")
        assert '"kind":"decided"' in answer.text


def test_one_who_claims_to_know_the_future_spoils_it_for_nobody(tmp_path: Path) -> None:
    with view_server(tmp_path, served=[duo(ScriptedModel("Answer: 8", name="ann", latency=0.3), n=3)]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        with Stream(server, run, f"?event={10**17}&call={10**17}") as liar, Stream(server, run) as honest:
            told = [key for records in honest for key in durable(records)]
            assert [key for records in liar for key in durable(records)] == []
        assert sorted(told) == sorted(durable(of_run(server, run)))


def test_a_thousand_look_at_one_run(tmp_path: Path) -> None:
    """All are told all of it, from one look into the journal."""
    n = 1000
    served = duo(*(ScriptedModel(f"Answer: {i}", name=name, latency=0.5) for i, name in enumerate("ab")), n=3)
    with view_server(tmp_path, served=[served]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        said: list[bytes] = [b""] * n
        count = 0

        async def look(i: int) -> None:
            nonlocal count
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                await stream.send(f"GET /api/runs/{run}/live HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                count += 1
                while b"event: over" not in said[i]:
                    said[i] += await stream.receive()

        async def go() -> None:
            async with anyio.create_task_group() as group:
                for i in range(n):
                    group.start_soon(look, i)

        anyio.run(go)
        whole = sorted(durable(of_run(server, run)))
        for text in said:
            found = [json.loads(line) for line in re.findall(rb"^data: (.+)$", text.replace(b"\r", b""), re.M)]
            told = [key for each in found for key in durable(each.get("records", []))]
            assert sorted(told) == whole
        until(lambda: server.viewer.hub.channels == 0)


def test_who_leaves_is_forgotten(tmp_path: Path) -> None:
    with view_server(tmp_path, served=[duo(ScriptedModel("Answer: 8", name="ann", latency=1), n=3)]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        hub = server.viewer.hub
        streams = [Stream(server, run) for _ in range(5)]
        channel = hub._channels[run]
        until(lambda: channel.lookers == 5)
        for stream in streams:
            stream.__exit__()
        until(lambda: channel.lookers == 0)
        assert of_run(server, run)[0]["status"] == "running"  # it goes on all the same
        server.post(f"/api/runs/{run}/stop", status=204)
        until(lambda: hub.channels == 0)
        state = of_run(server, run)[0]
        assert (state["status"], state["resumable"]) == ("interrupted", False)  # it was made in Python


def test_who_reads_slowly_holds_nothing_and_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEPT", 4)
    filler = "x" * 1_000
    served = duo(*(ScriptedModel(f"{filler} Answer: {i}", name=f"a{i}", latency=0.01) for i in range(30)), n=25)
    with view_server(tmp_path, served=[served]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(20)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(f"GET /api/runs/{run}/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            said = slow.recv(1000)
            channel = server.viewer.hub._channels[run]
            until(lambda: channel.end > 8)
            assert len(channel._log) <= 4
            while part := slow.recv(20_000):
                said += part
        chunks = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", said)  # as the pieces of the body came
        found = [json.loads(line) for line in re.findall(rb"^data: (.+)$", chunks, re.M)]
        told = [key for each in found for key in durable(each.get("records", []))]
        assert sorted(told) == sorted(durable(of_run(server, run)))
        assert b"event: over" in said


def test_live_ends_with_the_server_and_the_run_can_go_on(tmp_path: Path) -> None:
    with view_server(tmp_path, served=[duo(ScriptedModel("Answer: 8", name="ann", latency=30), n=3)]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        with Stream(server, run) as stream:
            lines = iter(stream)
            next(lines)
            server.server.should_exit = True
            list(lines)  # ends in order
            assert not stream.over

    async def state() -> str:
        async with Journal(tmp_path / "runs.sqlite") as journal:
            return (await journal.run(run)).status

    assert anyio.run(state) == "interrupted"


# ---- parts ------------------------------------------------------------------------------------------------------


def event(id: int, kind: str = "spoke") -> dict[str, Any]:
    return {"type": "event", "id": id, "kind": kind}


def test_news() -> None:
    run = {"type": "run"}
    layout = {"type": "layout", "path": ""}
    records = [run, {"type": "call", "id": 3}, event(5, "started"), layout, event(6)]
    assert news(records, Cursor()) == records
    assert news(records, Cursor(5, 3)) == [run, event(6)]
    assert news(records, Cursor(4, 3)) == [run, event(5, "started"), layout, event(6)]
    assert news(records, Cursor(6, 2)) == [run, {"type": "call", "id": 3}]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(streaming, "QUIET", 0.2)
    return


@pytest.mark.usefixtures("quick")
def test_a_quiet_stream_shows_that_it_is_alive(tmp_path: Path) -> None:
    with view_server(tmp_path, served=[duo(ScriptedModel("Answer: 8", name="ann", latency=1.5), n=0)]) as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        text = httpx2.get(f"{server.url}/api/runs/{run}/live", timeout=20).text
        assert text.count("\n: ") >= 2


def test_text_under_way_has_a_bound() -> None:
    channel = live.Channel(None, "x")  # type: ignore[arg-type]
    channel.lookers = 1
    for i in range(100):
        channel.wrote("ann", 0, "answer", "y" * 1_000, i == 0)
    assert [len(record["text"]) for record in channel.now()] == [live.TAIL]
    assert sum(len(record["text"]) for record in channel._pending.values()) <= live.TAIL
    channel.wrote("ann", 0, "answer", "anew", True)
    assert channel.now()[0]["text"] == "anew"
    channel.spoke("ann", 0, "answer")
    assert channel.now() == []
