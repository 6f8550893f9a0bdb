"""Parts of the server by themselves: the transcript, the gate, texts that begin anew, spans, what is resumed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora import Agent, Debate, Message, Reply, ScriptedModel, Settings
from agora.calls import Delta
from agora.errors import ConfigError, InputError, MissingError, StoreError, TemplateError
from agora.journal import Journal
from agora.records import Answer, Retrying, Round, RoundOver, Spoke, Started, Turn, Wrote
from agora.serve import running
from agora.serve import server as http
from agora.serve.app import Limits, Service, application
from agora.serve.asked import Answered, Asked, Refused, dumped
from agora.serve.catalog import Catalog, Served, read
from agora.serve.faults import fault
from agora.serve.gate import Gate
from agora.serve.guard import Room
from agora.serve.transcript import Transcript

# ---- the transcript ---------------------------------------------------------------------------------------------


def spoke(agent: str, text: str | None, value: str | None = None, kept: str | None = None) -> Spoke:
    reply = None if text is None else Reply(text, model="m")
    return Spoke(Turn(agent, 0, "answer", reply, Answer(value), error="it broke" if text is None else None, kept=kept))


def told(*events: Any) -> str:
    pieces: list[str] = []
    transcript = Transcript(pieces.append)
    for event in events:
        transcript.see(event)
    assert "".join(pieces) == transcript.text
    return transcript.text


def test_who_speaks_is_heard_to_the_end() -> None:
    text = told(
        Started("r", "q", ("a", "b"), ()),
        Wrote("a", 0, "answer", "One ", True), Wrote("b", 0, "answer", "Uno ", True), Wrote("a", 0, "answer", "two"),
        Wrote("b", 0, "answer", "due"), spoke("b", "Uno due", "2"), spoke("a", "One two", "2"),
        RoundOver(Round(0, ()), "unanimous"),
    )  # fmt: skip
    assert text == ("a, b debate.\n\na (round 0):\nOne two\n-> 2\n\nb (round 0):\nUno due\n-> 2\n\nstop: unanimous\n")


def test_a_text_that_begins_anew() -> None:
    assert told(Wrote("a", 0, "answer", "Bad", True), Wrote("a", 0, "answer", "Good", True), spoke("a", "Good")) == (
        "\na (round 0):\nBad\n(anew) Good\n"
    )
    same = told(Wrote("a", 0, "answer", "Go", True), Wrote("a", 0, "answer", "Goo", True), spoke("a", "Good"))
    assert same == "\na (round 0):\nGood\n"


def test_absent_and_kept_voices() -> None:
    assert told(spoke("a", None)) == "\na (round 0):\n(absent: it broke)\n"
    assert told(spoke("a", "x", "1", kept="read nothing new")) == (
        "\na (round 0):\n(keeps its answer: read nothing new)\n-> 1\n"
    )
    assert "asked again in 3 s" in told(Retrying("a", "m", "e", 3.0, 1))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz \n", min_size=1, max_size=4)), max_size=30))
def test_nothing_is_lost_in_any_order(pieces: list[tuple[str, str]]) -> None:
    whole = {agent: "".join(text for name, text in pieces if name == agent) for agent in "abc"}
    first = set[str]()
    events: list[Any] = []
    for agent, text in pieces:
        events.append(Wrote(agent, 0, "answer", text, agent not in first))
        first.add(agent)
    events += [spoke(agent, whole[agent]) for agent in "cab"]
    text = told(*events)
    for agent in "abc":
        assert text.count(f"\n{agent} (round 0):\n{whole[agent]}") == 1


# ---- the gate ---------------------------------------------------------------------------------------------------


def test_the_gate_counts() -> None:
    async def go() -> None:
        gate = Gate(2, 1)
        inside, most = 0, 0
        refused: list[Refused] = []
        leave = anyio.Event()

        async def work() -> None:
            nonlocal inside, most
            try:
                async with gate.turn():
                    inside += 1
                    most = max(most, inside)
                    await leave.wait()
                    inside -= 1
            except Refused as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            assert (gate.running, gate.waiting, len(refused)) == (2, 1, 2)
            leave.set()
        assert most == 2
        assert {error.status for error in refused} == {429}
        assert all(error.retry_after and 1 <= error.retry_after <= 60 for error in refused)

    anyio.run(go)


def test_the_gate_closes() -> None:
    async def go() -> None:
        gate = Gate(1, 5)
        said: list[str] = []

        async def work(name: str) -> None:
            try:
                async with gate.turn():
                    await anyio.sleep_forever()
            except Refused as error:
                said.append(f"{name}: {error.status} {error.code}")

        async with anyio.create_task_group() as group:
            group.start_soon(work, "runs")
            await anyio.wait_all_tasks_blocked()
            group.start_soon(work, "waits")
            await anyio.wait_all_tasks_blocked()
            await gate.drain(0.01)
            await work("late")
        assert said == ["waits: 503 server_shutdown", "late: 503 server_shutdown", "runs: 503 server_shutdown"] or (
            sorted(said) == sorted(f"{name}: 503 server_shutdown" for name in ("waits", "runs", "late"))
        )
        assert (gate.running, gate.waiting) == (0, 0)

    anyio.run(go)


def test_the_gate_lets_nobody_in_at_its_last_moment() -> None:
    async def go(steps: int) -> None:
        gate, inside = Gate(1, 5), 0

        async def work() -> None:
            nonlocal inside
            with contextlib.suppress(Refused):
                async with gate.turn():
                    inside += 1
                    await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            for _ in range(steps):
                await asyncio.sleep(0)
            before = inside
            await gate.drain(0)
            for _ in range(5):
                await asyncio.sleep(0)
            assert inside == before
            assert (gate.running, gate.waiting) == (0, 0)
            group.cancel_scope.cancel()

    for steps in range(6):
        asyncio.run(go(steps))


# ---- connections ------------------------------------------------------------------------------------------------


def test_who_leaves_the_last_bytes_unread_is_left_behind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"x" * 50_000})

    async def go() -> None:
        listening = http.listen("127.0.0.1", 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server = http.server(app, Gate(1, 1), stall=0.2)
        running = asyncio.create_task(server.serve([listening]))
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, listening.getsockname())
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for _ in range(1000):
                await asyncio.sleep(0.01)
                if server.server_state.total_requests and not server.server_state.connections:
                    break
            else:
                pytest.fail("the connection is still there")
        server.should_exit = True
        await running

    asyncio.run(go())


# ---- bodies and errors -----------------------------------------------------------------------------------------


def test_room_for_bodies() -> None:
    room = Room(10)
    with room.share() as one:
        one(6)
        with room.share() as other:
            other(4)
            with pytest.raises(Refused) as caught:
                other(1)
        assert (caught.value.status, room.held) == (429, 6)
    assert room.held == 0


def test_json_has_no_nan() -> None:
    data = {"a": [math.nan, {"b": math.inf}, 1.5, "NaN"], "c": (-math.inf,)}
    assert json.loads(dumped(data), parse_constant=pytest.fail) == {"a": [None, {"b": None}, 1.5, "NaN"], "c": [None]}


@pytest.mark.parametrize(
    "error",
    [
        StoreError("the store sqlite:////home/who/runs.sqlite: the disk is full."),
        MissingError("SECRET_KEY_OF_WHO is not set."),
        ConfigError("unknown key.", file="/home/who/debate.yaml", line=3),
        TemplateError("/home/who/answer.jinja: it cannot be parsed."),
        OSError("/home/who/file"),
    ],
)
def test_errors_of_the_servers_own_say_nothing_of_its_files(error: Exception) -> None:
    found = fault(error)
    assert found.status == 500
    assert "who" not in json.dumps([found.openai(), found.anthropic(), found.headers]).casefold()
    assert "log says more" in found.message


# ---- the text of one model ----------------------------------------------------------------------------------------


def live(*deltas: Delta) -> tuple[str, running._Live]:
    pieces: list[str] = []
    made = running._Live(pieces.append)
    for delta in deltas:
        made.hear(delta)
    return "".join(pieces), made


def test_what_has_been_told_cannot_be_taken_back() -> None:
    text, made = live(Delta("The ", True), Delta("answer", False), Delta("The an", True), Delta("swer is 4", False))
    assert text == "The answer is 4"
    assert made.said("The answer is 42") == len("The answer is 4")
    _, made = live(Delta("The answer", True), Delta("Other", True))
    with pytest.raises(Refused, match="anew"):
        made.said("Other")


def test_reasoning_in_tags_is_held_back() -> None:
    text, made = live(Delta(" <th", True), Delta("ink>Hm", False), Delta("</think>Four", False))
    assert text == ""
    assert made.said("Four") == 0


def test_space_around_a_text() -> None:
    text, made = live(Delta("\n\nFour ", True))
    assert text == "Four "
    assert made.said("Four") == 4
    assert made.said("\n\nFour more") == 7


# ---- the catalog --------------------------------------------------------------------------------------------------


def test_names(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("models: {m: {scripted: x}, n: {scripted: y}}\nagents: {a: m}")
    (tmp_path / "two.yaml").write_text("name: second\nmodels: {m: {scripted: x}}")
    catalog = read([tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert list(catalog) == ["one", "one/m", "one/n", "second/m"]
    assert catalog["n"].id == "one/n"
    assert "m" not in catalog  # there are two
    assert catalog["one"].debate is not None
    (tmp_path / "three.yaml").write_text("nonsense: 1\nmodels: {m: {scripted: x}}")
    with pytest.raises(InputError, match="unknown key 'nonsense'"):
        read([tmp_path / "three.yaml"])


# ---- runs -----------------------------------------------------------------------------------------------------------


def ask(tmp_path: Path, served: Served, asked: Asked) -> Answered:
    async def go() -> Answered:
        async with running.Runner(Catalog([served]), str(tmp_path / "runs.sqlite")) as runner:
            (answer,) = await runner.prepare(asked)(lambda piece: None, None)
            return answer  # type: ignore[no-any-return]

    return anyio.run(go)


def test_a_run_that_was_cut_by_its_budget_is_resumed_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("models: {m: {scripted: 'Answer: 4'}}\nagents: {a: m, b: m}\nanswer: number\nseed: 3\n"
                    "moderator: {stop: rounds(2)}")  # fmt: skip
    from agora.budget import Budget

    (served, *_) = read([path]).values()
    asked = Asked("d", (Message("user", "2+2?"),), Settings(seed=9), budget=Budget(calls=50), rounds=1)
    answer = ask(tmp_path, served, asked)

    async def info() -> Any:
        async with Journal(tmp_path / "runs.sqlite") as journal:
            return await journal.run(answer.run)

    config = anyio.run(info).config
    assert config["settings"] == ["moderator.limit=1", "seed=9", "budget.calls=50"]
    command = [sys.executable, "-m", "agora.cli", "run", "--resume", answer.run, "--json", "--store",
               str(tmp_path / "runs.sqlite")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    assert (said["answer"], said["rounds"], said["usage"]["calls"]) == ("4", 1, 4)


def test_a_file_that_keeps_no_content(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("models: {m: {scripted: 'Answer: 4'}}\nagents: {a: m, b: m}\nstore: {content: false}")
    catalog = read([path])
    for name in ("d", "d/m"):
        ask(tmp_path, catalog[name], Asked(name, (Message("user", "PRIVATE?"),)))
    assert b"PRIVATE" not in b"".join(each.read_bytes() for each in tmp_path.glob("runs.sqlite*"))
    ask(tmp_path, Served("open", ScriptedModel("x")), Asked("open", (Message("user", "PRIVATE?"),)))
    assert b"PRIVATE" in b"".join(each.read_bytes() for each in tmp_path.glob("runs.sqlite*"))


def test_a_message_of_only_system_and_a_conversation(tmp_path: Path) -> None:
    model = ScriptedModel("Answer: 1")
    debate = Debate([Agent("a", model)], answer="number", name="d")
    talk = (
        Message("system", "Be brief."),
        Message("user", "One?"),
        Message("assistant", "1"),
        Message("user", "Sure?"),
    )
    ask(tmp_path, Served("d", debate), Asked("d", talk))
    shown = model.calls[0][-1].content
    for text in ("system: Be brief.", "user: One?", "assistant: 1", "Sure?"):
        assert text in shown


# ---- spans ----------------------------------------------------------------------------------------------------------


def test_spans_by_the_conventions(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from starlette.testclient import TestClient

    from agora.serve.tracing import Tracer

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    agents = [Agent("a", ScriptedModel("SECRET Answer: 1", name="m1")), Agent("b", ScriptedModel("Answer: 1"))]
    service = Service(Catalog([Served("d", Debate(agents, answer="number", name="d"))]), "none", limits=Limits(),
                      tracer=Tracer(provider))  # fmt: skip
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(application(service)) as client:
        body = {"model": "d", "messages": [{"role": "user", "content": "PRIVATE?"}], "temperature": 0.5}
        answer = client.post("/v1/chat/completions", json=body, headers={"traceparent": parent}).json()
    spans = exporter.get_finished_spans()
    (request,) = [span for span in spans if span.kind.name == "SERVER"]
    calls = [span for span in spans if span.kind.name == "CLIENT"]
    assert len(calls) == 2
    assert request.name == "chat d"
    assert request.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert request.attributes["gen_ai.operation.name"] == "chat"
    assert request.attributes["gen_ai.request.temperature"] == 0.5
    assert request.attributes["gen_ai.response.id"] == answer["agora"]["run"]
    assert request.attributes["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert {span.parent.span_id for span in calls} == {request.context.span_id}
    assert {span.attributes["agora.path"] for span in calls} == {"a/0/answer", "b/0/answer"}
    assert sum(s.attributes["gen_ai.usage.output_tokens"] for s in calls) == answer["usage"]["completion_tokens"]
    everything = "".join(span.to_json() for span in spans)
    assert "SECRET" not in everything
    assert "PRIVATE" not in everything
