"""The journal in SQLite: what is recorded, replayed, resumed and refused, and stores that are wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import journal_cases as cases
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_cases import USAGE, child, debate, made

from agora import (
    Agent,
    AgoraError,
    Budget,
    Debate,
    InputError,
    Journal,
    Message,
    ModelError,
    Moderator,
    Reply,
    ScriptedModel,
    Settings,
    StoreError,
    Usage,
    ask,
    errors,
    store,
)
from agora.calls import scope
from agora.config.models import load_model
from agora.errors import MissingError
from agora.journal import check_id, default_url, error_of, event_json, new_id, reply_json, reply_of
from agora.models.wrappers import Fallback
from agora.records import Token, Wrote
from agora.text.stop import judge, rounds


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.sqlite'}"


ASK = [Message("user", "q?")]

# ---- round trips ------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec=None), max_size=50)  # lone surrogates, NUL and control characters included
numbers = st.integers(0, 2**60)
floats = st.floats(allow_nan=False, allow_infinity=False)
usages = st.builds(
    Usage, numbers, numbers, numbers, numbers, st.none() | floats, floats, reasoning_tokens=numbers,
    cache_write_tokens=numbers,
)  # fmt: skip
tokens = st.builds(Token, texts, floats, st.lists(st.tuples(texts, floats), max_size=3).map(tuple))


def replies(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Reply]:
    return st.builds(
        Reply, texts, model=texts, usage=usages, parts=parts, logprob=st.none() | floats,
        confidence=st.none() | floats, reasoning=st.none() | texts, finish=st.none() | texts,
        tokens=st.lists(tokens, max_size=3).map(tuple), attempts=st.integers(1, 99),
    )  # fmt: skip


@given(st.recursive(replies(st.just(())), lambda inner: replies(st.lists(inner, max_size=2).map(tuple)), max_leaves=4))
@settings(max_examples=100, deadline=None)
def test_a_reply_is_kept_whole(reply: Reply) -> None:
    text = json.dumps(reply_json(reply))
    text.encode("ascii")  # so that every database can hold it
    assert "\x00" not in text
    assert reply_of(json.loads(text)) == reply


def test_ten_megabytes_are_kept() -> None:
    reply = Reply("ä\ud800x" * 2_500_000, model="m")
    assert reply_of(json.loads(json.dumps(reply_json(reply)))) == reply


def kinds() -> list[type[ModelError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ModelError)]
    return [kind for kind in found if not kind.__name__.startswith("_")]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_failure_is_kept(kind: type[ModelError], url: str) -> None:
    async def go() -> None:
        error = kind("out of order.", model="m", hint="Wait.")
        error.attempts = 7
        model = ScriptedModel([error])
        async with Journal(url) as journal:
            for _ in range(2):
                recorder = await journal.begin("r", question="q?", name="n", seed=0)
                with scope(recorder=recorder), pytest.raises(kind) as caught:
                    await ask(model, ASK, at="a")
                assert type(caught.value) is kind
                assert (str(caught.value), caught.value.hint) == (str(error), "Wait.")
                assert caught.value.retryable == error.retryable
            assert len(model.calls) == 1
            (row,) = await journal.calls("r")
            assert (row["attempts"], row["calls"], row["reply"]) == (7, 0, None)

    anyio.run(go)


def test_a_failure_of_another_kind_is_a_model_error() -> None:
    for kind in ("StoreError", "Exception", "nonsense", "annotations", "TYPE_CHECKING", None):
        assert type(error_of({"kind": kind, "message": "x"})) is ModelError


def test_ids() -> None:
    assert check_id(new_id())
    for id in ("", "a b", "x" * 201, "ä\n", "a\x00"):
        with pytest.raises(InputError):
            check_id(id)


def test_where_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGORA_STORE", "sqlite:///x.sqlite")
    assert default_url() == Journal().url == "sqlite:///x.sqlite"
    monkeypatch.delenv("AGORA_STORE")
    assert default_url().endswith("runs.sqlite")


# ---- record and replay ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_record_and_resume(url: str) -> None:
    await cases.record_and_resume(url)


@pytest.mark.anyio
@pytest.mark.parametrize("n", [0, 1, 3, 5, 8, 9])
async def test_only_what_is_missing_is_called(url: str, n: int) -> None:
    await cases.partial_journal(url, n)


@pytest.mark.anyio
async def test_a_failed_run_tries_again_what_failed_last(url: str) -> None:
    await cases.failed_run(url)


@pytest.mark.anyio
async def test_hostile_texts(url: str) -> None:
    await cases.hostile_texts(url)


@pytest.mark.anyio
async def test_hostile_names(url: str) -> None:
    await cases.hostile_names(url)


@pytest.mark.anyio
async def test_runs_are_found(url: str) -> None:
    await cases.listing(url)


@pytest.mark.anyio
async def test_the_choice_of_a_quorum_is_replayed(url: str) -> None:
    await cases.quorum_choice(url)


@pytest.mark.parametrize("name", ["a.sqlite", "sub/folder/a b.sqlite", "100%25 äö?mode=ro#x&y.sqlite", "a:b.sqlite"])
def test_from_a_script_with_a_path(tmp_path: Path, name: str) -> None:
    first, again = debate(), debate()
    before = first.run("q?", journal=tmp_path / name, run="r")
    assert (tmp_path / name).is_file()
    assert again.run("q?", journal=str(tmp_path / name), run="r") == before
    assert made(again) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", ":memory:"])
async def test_in_memory(given: str) -> None:
    async with Journal(given) as journal:
        before = await debate().answer("q?", journal=journal, run="r")
        with anyio.CancelScope():  # work in other threads of the pool must not see another database
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(anyio.to_thread.run_sync, time.sleep, 0.02)
                infos = await journal.runs()
        assert [info.id for info in infos] == ["r"]
        assert await debate().answer("q?", journal=journal, run="r") == before


@pytest.mark.anyio
async def test_equal_requests_are_different_samples(url: str) -> None:
    model, other = (ScriptedModel([f"{n}{i}" for i in range(9)]) for n in "xy")
    async with Journal(url) as journal:
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        with scope(recorder=recorder):
            first = [(await ask(model, ASK, at="a")).text for _ in range(3)]
            first += [(await ask(model, ASK, at="b")).text]
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        with scope(recorder=recorder):
            again = [(await ask(other, ASK, at="b")).text]
            again = [(await ask(other, ASK, at="a")).text for _ in range(4)] + again
    assert first == ["x0", "x1", "x2", "x3"]
    assert again == ["x0", "x1", "x2", "y0", "x3"]


@pytest.mark.anyio
async def test_a_changed_debate_makes_new_calls(url: str) -> None:
    def group(persona: str) -> Debate:
        people = debate().agents
        return Debate(
            [replace(people[0], persona=persona), *people[1:]], answer="number", moderator=Moderator(rounds(0))
        )

    first, changed = group("A miner."), group("A farmer.")
    async with Journal(url) as journal:
        await first.answer("q?", journal=journal, run="r")
        await changed.answer("q?", journal=journal, run="r")
        assert len(await journal.calls("r")) == 4
        with pytest.raises(InputError, match="another question") as caught:
            await changed.answer("Another?", journal=journal, run="r")
    assert caught.value.hint
    assert [len(agent.model.calls) for agent in changed.agents] == [1, 0, 0]  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_failure_ahead_of_the_moderator_is_tried_again_too(url: str) -> None:
    """On a chain the first agents have failed in round 1 before round 0 is over."""

    def group(first: Any, second: Any) -> Debate:
        people = [Agent("a", ScriptedModel(first)), Agent("b", ScriptedModel(second))]
        slow = Agent("c", ScriptedModel("Answer: 3", latency=0.1))
        stop = Moderator(rounds(1))
        return Debate([*people, slow], topology="chain", answer="number", moderator=stop)

    down = ModelError("no power")
    again = group("Answer: 4", "Answer: 5")
    async with Journal(url) as journal:
        with pytest.raises(AgoraError, match="only 1 of 3 agents spoke in round 1"):
            await group(["Answer: 1", down], ["Answer: 2", down]).answer("q?", journal=journal, run="r")
        verdict = await again.answer("q?", journal=journal, run="r")
    assert [dict(r.answers) for r in verdict.rounds] == [{"a": "1", "b": "2", "c": "3"}, {"a": "4", "b": "5", "c": "3"}]
    assert [len(agent.model.calls) for agent in again.agents] == [1, 1, 0]  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_failures_of_a_run_that_ended_well_stay(url: str) -> None:
    def group(*scripts: Any) -> Debate:
        people = [Agent(n, ScriptedModel(script)) for n, script in zip("abc", scripts, strict=True)]
        return Debate(people, answer="number", moderator=Moderator(rounds(1)))

    again = group("Answer: 1", "Answer: 1", "Answer: 2")
    async with Journal(url) as journal:
        before = await group("Answer: 1", "Answer: 1", [ModelError("gone")]).answer("q?", journal=journal, run="r")
        assert before.absent == ("c",)
        assert await again.answer("q?", journal=journal, run="r") == before
    assert made(again) == 0


@pytest.mark.anyio
async def test_a_run_that_another_process_makes_is_refused(url: str) -> None:
    other = child("hold", url, "r")
    assert other.stdout
    assert await anyio.to_thread.run_sync(other.stdout.readline) == "ready\n"
    async with Journal(url) as journal:
        info = await journal.run("r")
        assert (info.alive, info.status) == (True, "running")
        with pytest.raises(InputError, match="under way in another process") as caught:
            await debate().answer("q?", journal=journal, run="r")
        assert caught.value.hint
        other.send_signal(signal.SIGKILL)
        await anyio.to_thread.run_sync(other.wait)
        assert not (await journal.run("r")).alive
        assert (await debate().answer("q?", journal=journal, run="r")).answer
        other.stdout.close()
        assert other.stdin
        other.stdin.close()


@pytest.mark.anyio
async def test_a_run_of_another_machine_is_alive_while_it_writes(url: str) -> None:
    async with Journal(url) as journal:
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        with scope(recorder=recorder):
            await ask(ScriptedModel("x"), ASK, at="a")
            long_ago = {"id": "r", "host": "elsewhere", "pid": 1, "updated": time.time() - 1000, "status": "running"}
            await journal.commit(("run", long_ago))
            with journal.engine.begin() as connection:
                connection.execute(sa.update(store.CALLS).values(begun=time.time() - 1000))
            assert not (await journal.run("r")).alive
            await ask(ScriptedModel("x"), ASK, at="a")
            assert (await journal.run("r")).alive


# ---- what is not kept -------------------------------------------------------------------------------------------


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.anyio
async def test_without_content_no_text_is_kept(tmp_path: Path) -> None:
    mark = "zaphod beeblebrox"

    class Strange(ModelError):
        pass

    models = [
        ScriptedModel(f"Because {mark}. Answer: {mark}", name="m1"),
        ScriptedModel([f"Answer: {mark}", RuntimeError(mark), f"Answer: {mark}"], name="m2"),
        ScriptedModel([f"Answer: {mark}", Strange(mark, hint=mark)], name="m3"),
    ]
    people = [Agent(n, model, persona=mark) for n, model in zip("abc", models, strict=True)]
    strict = Moderator(judge(ScriptedModel(f'{{"done": false, "reason": "{mark}"}}')) | rounds(2), quorum=0.3)
    kept = Debate(people, moderator=strict)
    kept.source = {"text": mark}
    path = tmp_path / "store" / "runs.sqlite"
    async with Journal(path, content=False) as journal:
        verdict = await kept.answer(f"{mark}?", journal=journal, run="r")
        failing = Debate([Agent("a", ScriptedModel([ModelError(mark)]))])
        with pytest.raises(AgoraError):
            await failing.answer(f"{mark}?", journal=journal, run="failed")
        found = everything(path.parent)
        info = await journal.run("r")
        with pytest.raises(InputError, match="stored without its content") as caught:
            await kept.answer(f"{mark}?", journal=journal, run="r")
        assert "\n" not in str(caught.value)
        assert [row["kind"] for row in await journal.events("r")][-1] == "decided"
        assert (await journal.run("failed")).failed == 1
    for said in (mark, mark.upper(), "beeblebrox"):
        assert said.encode() not in found
        assert said.encode() not in everything(path.parent)
    assert (info.question, info.answer, info.reason, info.config, info.content) == (None, None, None, None, False)
    assert (info.status, info.usage.calls, info.failed) == ("done", verdict.usage.calls, 3)
    async with Journal(path) as journal:
        with pytest.raises(InputError, match="stored without its content"):
            await kept.answer(f"{mark}?", journal=journal, run="r")


class _Echo(BaseHTTPRequestHandler):
    """A server that says the key it was given, in replies and in errors."""

    def do_POST(self) -> None:
        said = self.headers.get("authorization") or self.headers.get("x-api-key")
        length = int(self.headers.get("content-length", 0))
        asked = self.rfile.read(length)
        if b"fail" in asked:
            body = json.dumps({"error": {"message": f"wrong key: {said}", "type": "invalid"}})
            self.send_response(401)
        else:
            content = f"Your key is {said}. Answer: 1"
            body = json.dumps(
                {
                    "id": "x", "object": "chat.completion", "created": 1, "model": "m", "type": "message",
                    "role": "assistant", "stop_reason": "end_turn", "content": [{"type": "text", "text": content}],
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
                    ],
                    "usage": {
                        "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2,
                        "input_tokens": 1, "output_tokens": 1,
                    },
                }
            )  # fmt: skip
            self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_keys_are_never_kept(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = "sk-secret-0123456789"
    monkeypatch.setenv(f"{kind.upper()}_API_KEY", mark)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        model = load_model({kind: "m", "base_url": f"http://127.0.0.1:{server.server_port}", "retry": {"attempts": 1}})
        one = Debate([Agent("a", model)], answer="number", moderator=Moderator(rounds(0)))
        assert one.run("q?", journal=tmp_path / "runs.sqlite", run="works").answer == "1"
        with pytest.raises(AgoraError) as caught:
            one.run("fail?", journal=tmp_path / "runs.sqlite", run="fails")
        assert "***" in str(caught.value)
        assert mark not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
    assert mark.encode() not in everything(tmp_path)
    assert b"***" in everything(tmp_path)


# ---- a cache over runs ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_reuse_takes_replies_of_earlier_runs(url: str) -> None:
    first, without, again = debate(), debate(), debate()
    async with Journal(url) as journal:
        before = await first.answer("q?", journal=journal, run="one")
        await without.answer("q?", journal=journal, run="two")
    async with Journal(url, reuse=True) as journal:
        after = await again.answer("q?", journal=journal, run="three")
        assert made(again) == 0
        assert replace(after, run="one") == before
        # what is shown of a run, and its resumption without the cache, need its calls
        assert len(await journal.calls("three")) == 9
        assert (await journal.run("three")).usage == Usage()  # it took nothing
    async with Journal(url) as journal:
        assert await again.answer("q?", journal=journal, run="three") == after
    assert made(without) == 9
    assert made(again) == 0


@pytest.mark.anyio
async def test_reuse_keeps_samples_apart(url: str) -> None:
    def samples() -> tuple[Debate, ScriptedModel]:
        model = ScriptedModel([f"Answer: {i}" for i in range(20)], name="one")
        people = [Agent(n, model, settings=Settings(seed=1)) for n in "abc"]
        return Debate(people, answer="number", moderator=Moderator(rounds(0))), model

    async with Journal(url, reuse=True) as journal:
        for i in range(3):
            group, model = samples()
            verdict = await group.answer("q?", journal=journal, run=f"r{i}")
            assert len(verdict.support) == 3, "equal requests of one run are different samples"
            assert len(model.calls) == (0 if i else 3)
        model = ScriptedModel([f"Answer: {i}" for i in range(10, 20)], name="one")
        people = [Agent(n, model, settings=Settings(seed=1)) for n in "abcd"]
        more = Debate(people, answer="number", moderator=Moderator(rounds(0)))
        assert len((await more.answer("q?", journal=journal, run="more")).support) == 4
        assert len(model.calls) == 1


# ---- events -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_events_are_kept_in_order(url: str) -> None:
    emitted = []
    async with Journal(url) as journal:
        async with debate("ab", moderator=Moderator(rounds(1))).watch("q?", journal=journal, run="r") as events:
            async for event in events:
                emitted.append(event)
        rows = await journal.events("r")
        assert [event_json(event)[0] for event in emitted if not isinstance(event, Wrote)] == [
            row["kind"] for row in rows
        ]
        await debate("ab", moderator=Moderator(rounds(1))).answer("q?", journal=journal, run="r")
        assert len(await journal.events("r")) == len(rows)  # a resumed run lives its past again, and notes it once
    kinds = [row["kind"] for row in rows]
    assert (kinds[0], kinds[-1]) == ("started", "decided")
    assert Counter(kinds) == {"started": 1, "speaking": 4, "spoke": 4, "round": 2, "decided": 1}
    assert rows[0]["data"] == {"question": "q?", "agents": ["a", "b"], "edges": [["b", "a"], ["a", "b"]]}
    spoke = {(row["data"]["agent"], row["data"]["round"]): row["data"] for row in rows if row["kind"] == "spoke"}
    assert spoke["a", 1]["reads"] == [["b", 0, "answer"]]
    assert set(spoke["a", 1]) == {"agent", "round", "phase", "reads", "answer", "why_none", "confidence"}
    over = [row["data"] for row in rows if row["kind"] == "round"]
    assert [(o["round"], o["stop"]) for o in over] == [(0, None), (1, "1 round of debate")]
    assert rows[-1]["data"]["answer"] == events.verdict.answer  # type: ignore[union-attr]
    for r in range(2):
        for agent in "ab":
            at = [i for i, x in enumerate(rows) if x["data"].get("agent") == agent and x["data"].get("round") == r]
            assert [kinds[i] for i in at] == ["speaking", "spoke"]


@pytest.mark.anyio
async def test_nested_debates(url: str) -> None:
    def nest() -> tuple[Debate, Debate, ScriptedModel]:
        inner, y = debate("pq", moderator=Moderator(rounds(1))), ScriptedModel(cases.thoughtful("y"), name="y")
        fallback = Fallback([ScriptedModel([ModelError("no")]), y])
        people = [Agent("x", inner), Agent("y", y), Agent("z", fallback)]
        return Debate(people, answer="number", moderator=Moderator(rounds(1))), inner, y

    outer, inner, y = nest()
    async with Journal(url) as journal:
        before = await outer.answer("q?", journal=journal, run="r")
        rows, info, events = await journal.calls("r"), await journal.run("r"), await journal.events("r")
        again, inner_again, y_again = nest()
        assert await again.answer("q?", journal=journal, run="r") == before
    assert before.usage.calls == made(inner) + len(y.calls) == 2 * 4 + 2 * 2
    assert info.usage == cases.pytest_approx(before.usage)
    assert (made(inner_again), len(y_again.calls)) == (0, 0)
    paths = Counter(row["path"] for row in rows)
    assert set(paths) == {
        *(f"x/{i}/{o}/{n}/{j}/{p}" for i, o in ((0, "answer"), (1, "revise")) for n in "pq"
          for j, p in ((0, "answer"), (1, "revise"))),
        "y/0/answer", "y/1/revise", "z/0/answer/0", "z/0/answer/1", "z/1/revise/0", "z/1/revise/1",
    }  # fmt: skip
    assert Counter(row["path"] for row in events if row["kind"] == "decided") == {
        "": 1,
        "x/0/answer": 1,
        "x/1/revise": 1,
    }


# ---- many at once -----------------------------------------------------------------------------------------------


def test_two_processes_and_many_tasks_lose_nothing(url: str) -> None:
    cases.concurrent_writers(url)


@pytest.mark.anyio
async def test_commits_are_grouped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = [], store.write

    def write(engine: Any, rows: Sequence[Any]) -> None:
        written.append(len(rows))
        real(engine, rows)

    monkeypatch.setattr(store, "write", write)
    async with Journal(url) as journal:
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        model = ScriptedModel("x")

        async def one(i: int) -> None:
            entry = await recorder.entry(f"{i}", model, ASK, Settings())
            await recorder.record(entry, Reply("x", model="m", usage=USAGE), 1.0)

        async with anyio.create_task_group() as group:
            for i in range(500):
                group.start_soon(one, i)
        assert len(await journal.calls("r")) == 500
    assert sum(written) == 501
    assert len(written) < 50


@pytest.mark.anyio
async def test_a_commit_under_way_is_not_lost_by_cancellation(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = store.write, threading.Event()

    def slow(engine: Any, rows: Sequence[Any]) -> None:
        begun.set()
        time.sleep(0.2)
        real(engine, rows)

    async def stop(scope: anyio.CancelScope) -> None:
        """Cancel in the middle of a write, however long it takes to come to one."""
        await anyio.to_thread.run_sync(begun.wait)
        scope.cancel()

    async with Journal(url) as journal:
        monkeypatch.setattr(store, "write", slow)
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as cancelled:
                tasks.start_soon(stop, cancelled)
                await debate("a").answer("q?", journal=journal, run="r")
        assert cancelled.cancelled_caught
        info = await journal.run("r")
        assert info.status == "interrupted"
    monkeypatch.setattr(store, "write", real)
    group = debate("a", moderator=Moderator(rounds(0)))
    async with Journal(url) as journal:
        recorder = await journal.begin("s", question="q?", name="n", seed=0)
        monkeypatch.setattr(store, "write", slow)
        entry = await recorder.entry("a", group.agents[0].model, ASK, Settings())
        begun.clear()
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as cancelled:
                tasks.start_soon(stop, cancelled)
                await recorder.record(entry, Reply("x", model="m"), 1.0)
        assert [row["reply"]["text"] for row in await journal.calls("s")] == ["x"]


@pytest.mark.anyio
async def test_whoever_is_told_of_a_commit_has_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in a way nobody thought of fails for all in the group."""
    real, fail = store.write, [True]

    def write(engine: Any, rows: Sequence[Any]) -> None:
        if fail and any(kind == "call" for kind, _ in rows):
            fail.clear()
            raise ValueError("strange")
        real(engine, rows)

    told = []
    async with Journal(url) as journal:
        recorder = await journal.begin("r", question="q?", name="n", seed=0)
        monkeypatch.setattr(store, "write", write)

        async def one(i: int) -> None:
            entry = await recorder.entry(f"{i}", ScriptedModel("x"), ASK, Settings())
            try:
                await recorder.record(entry, Reply("x", model="m", usage=USAGE), 1.0)
            except Exception:
                return
            told.append(f"{i}")

        async with anyio.create_task_group() as group:
            for i in range(5):
                group.start_soon(one, i)
        kept = [row["path"] for row in await journal.calls("r")]
        assert set(told) <= set(kept)


# ---- stores that are wrong --------------------------------------------------------------------------------------


async def _use(journal: Journal) -> None:
    async with journal:
        await debate("a").answer("q?", journal=journal, run="r")


def wrong(url: str | Path, kind: type[AgoraError] = StoreError, **options: Any) -> AgoraError:
    """The one sentence in which a store is refused."""
    with pytest.raises(kind) as caught:
        anyio.run(_use, Journal(url, **options))
    error = caught.value
    assert error.exit_status == 2
    assert error.hint
    said = str(error)
    assert "\n" not in said
    assert "Traceback" not in said
    assert "sqlalche" not in said
    assert len(said) < 500
    return error


def test_a_read_only_store(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    anyio.run(_use, Journal(path))
    assert "readonly" in str(wrong(f"sqlite:///file:{path}?mode=ro&uri=true"))
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    wrong(f"sqlite:///file:{empty}?mode=ro&uri=true")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="whoever is root may write everywhere")
def test_a_store_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    anyio.run(_use, Journal(path))
    path.chmod(0o400)
    wrong(path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    wrong(closed / "sub" / "a.sqlite")


def test_a_store_that_can_be_read_only_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    anyio.run(_use, Journal(path))

    async def read() -> list[str]:
        async with Journal(f"sqlite:///file:{path}?mode=ro&uri=true") as journal:
            return [info.id for info in await journal.runs()]

    assert anyio.run(read) == ["r"]


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    wrong(tmp_path)
    (tmp_path / "file").touch()
    wrong(tmp_path / "file" / "a.sqlite")


@pytest.mark.anyio
async def test_a_full_store_stops_the_run_which_can_be_resumed(url: str) -> None:
    def big(name: str) -> Callable[[Sequence[Message]], Reply]:
        say = cases.thoughtful(name)
        return lambda messages: replace(say(messages), reasoning="x" * 100_000)

    def group() -> Debate:
        return Debate([Agent(n, ScriptedModel(big(n), name=n)) for n in "abc"], answer="number",
                      moderator=Moderator(rounds(3)))  # fmt: skip

    first, again = group(), group()
    async with Journal(url) as journal:
        with journal.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=150")
        with pytest.raises(StoreError, match="full") as caught:
            await first.answer("q?", journal=journal, run="r")
        assert "Free some space" in (caught.value.hint or "")
        with pytest.raises(StoreError):
            await first.answer("q?", journal=journal, run="another")
    assert made(first) < 12
    async with Journal(url) as journal:
        kept = len(await journal.calls("r"))
        assert 0 < kept < made(first) + 1
        verdict = await again.answer("q?", journal=journal, run="r")
        assert (await journal.run("r")).status == "done"
    assert made(again) == 12 - kept
    assert verdict.usage.calls == 12


def test_a_locked_store(tmp_path: Path) -> None:
    for path in (tmp_path / "old.sqlite", tmp_path / "new.sqlite"):
        if path.name == "old.sqlite":
            anyio.run(_use, Journal(path))
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            error = wrong(path, timeout=0.2)
            assert "locked" in error.message
            assert "Another process" in (error.hint or "")
            other.execute("ROLLBACK")
        other.close()
        anyio.run(_use, Journal(path))


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\x00" + os.urandom(5000),
        b"\x00\xff" * 3000,
        b"some text\n" * 99,
        b"x",
        b"x" * 511,
        b"x" * 512,
        b"x" * 600,
    ],
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    wrong(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.touch()
    anyio.run(_use, Journal(path))


@pytest.mark.parametrize(
    "made_by",
    [
        "CREATE TABLE people (name TEXT)",
        "CREATE TABLE agora_meta (key TEXT, value TEXT)",
        "CREATE TABLE agora_meta (other TEXT)",
        "CREATE TABLE agora_meta (key TEXT, value TEXT); INSERT INTO agora_meta VALUES ('schema', 'soon')",
        "CREATE TABLE agora_meta (key TEXT, value TEXT); INSERT INTO agora_meta VALUES ('schema', NULL)",
        "CREATE TABLE agora_meta (key TEXT, value TEXT); INSERT INTO agora_meta VALUES ('schema', '-1')",
        "CREATE TABLE agora_meta (key TEXT, value TEXT); INSERT INTO agora_meta VALUES ('schema', '1')",
    ],
)
def test_a_database_of_something_else(tmp_path: Path, made_by: str) -> None:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as other:
        other.executescript(made_by)
    other.close()
    wrong(path)


URLS = [
    "://", "://x", "foo://x", "oracle9://u:s3cret@h/d", "mysql://u:s3cret@127.0.0.1:1/d", "postgresql://u:s3cret@[::1/d",
    "postgresql://u:s3cret@h:port/d", "postgresql://u:s3cret@127.0.0.1:1/d", "postgresql://127.0.0.1:1/d?password=s3cret",
    "postgresql://u:s3cret@127.0.0.1:1/d?nonsense=1", "postgresql+asyncpg://u:s3cret@127.0.0.1:1/d",
    "sqlite+nonsense:///x?password=s3cret", "sqlite:///x.sqlite?nonsense=s3cret", "sqlite://u:s3cret@h/d",
    "postgresql://u:s3%cret%zz@127.0.0.1:1/d", "sqlite:///a\x00b", "postgresql://u:s3cret@127.0.0.1:99999999/d",
    "postgresql://u:s3cret@127.0.0.1:1/d?connect_timeout=abc",
]  # fmt: skip


@pytest.mark.parametrize("given", URLS)
def test_urls_that_are_wrong(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        error = wrong(given)
    except MissingError as missing:
        error = missing
    assert "s3" not in str(error)
    assert "s3" not in repr(error)
    assert not list(tmp_path.iterdir())


def test_the_password_of_a_store_is_not_told() -> None:
    async def go() -> None:
        journal = Journal("postgresql://u:s3cret@h/d?password=s3cret&x=1")
        assert "s3cret" not in store.shown(journal.url)
        assert "s3cret" not in repr(journal)

    anyio.run(go)


def test_a_journal_that_is_not_open() -> None:
    with pytest.raises(StoreError, match="not open"):
        anyio.run(Journal("sqlite://").runs)


def test_a_process_that_is_done_with_a_store_takes_nothing_from_one_that_has_it_open_twice(tmp_path: Path) -> None:
    """SQLite's locks are of the process: whoever opens and closes the file past it drops them."""
    path = tmp_path / "a.sqlite"
    other = f"""
import anyio
from agora.journal import Journal
async def go():
    async with Journal({str(path)!r}) as journal:
        print(*[run.id for run in await journal.runs()])
anyio.run(go)
"""

    async def written(journal: Journal, run: str) -> None:
        recorder = await journal.begin(run, question="q?", name="n", seed=0)
        await recorder.end("done")

    def seen() -> list[str]:
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True)
        return sorted(done.stdout.split())

    async def go() -> None:
        async with Journal(path) as one, Journal(path) as two:
            await written(one, "a")
            assert seen() == ["a"]
            await written(one, "b")
            await written(two, "c")
            assert seen() == ["a", "b", "c"]
        assert seen() == ["a", "b", "c"]

    anyio.run(go)


# ---- migration --------------------------------------------------------------------------------------------------


def test_a_store_of_the_first_schema_lists_runs_by_cost_from_an_index(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    anyio.run(_use, Journal(path))
    with sqlite3.connect(path) as old:
        old.executescript("DROP INDEX agora_calls_cost; UPDATE agora_meta SET value = '1'")
    old.close()
    anyio.run(_use, Journal(path))
    with sqlite3.connect(path) as new:
        assert new.execute("SELECT value FROM agora_meta").fetchone() == ("2",)
        plan = str(new.execute("EXPLAIN QUERY PLAN SELECT run, sum(usd) FROM agora_calls GROUP BY run").fetchall())
    new.close()
    assert "COVERING INDEX agora_calls_cost" in plan


def test_a_store_is_migrated_and_an_old_agora_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sqlite"
    anyio.run(_use, Journal(path))
    steps = store.MIGRATIONS

    def second(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE agora_runs ADD COLUMN tag TEXT")

    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x TEXT)")
        raise sa.exc.OperationalError("x", None, Exception("broken"))

    def schema() -> tuple[str, set[str]]:
        with sqlite3.connect(path) as other:
            (version,) = other.execute("SELECT value FROM agora_meta").fetchone()
            tables = {name for (name,) in other.execute("SELECT name FROM sqlite_master")}
            columns = {row[1] for row in other.execute("PRAGMA table_info(agora_runs)")}
        other.close()
        return version, tables | columns

    monkeypatch.setattr(store, "MIGRATIONS", [*steps, second, broken])
    assert "broken" in str(wrong(path))
    assert schema()[0] == str(len(steps))
    assert not {"half", "tag"} & schema()[1]
    monkeypatch.setattr(store, "MIGRATIONS", [*steps, second])
    anyio.run(_use, Journal(path))
    assert schema()[0] == str(len(steps) + 1)
    assert "tag" in schema()[1]
    anyio.run(_use, Journal(path))
    monkeypatch.setattr(store, "MIGRATIONS", steps)
    error = wrong(path)
    assert "newer agora" in error.message
    assert "Update agora" in (error.hint or "")


def test_two_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    cases.opened_at_once([f"sqlite:///{tmp_path / f'{i}.sqlite'}" for i in range(40)], tmp_path / "urls")


def test_many_threads_open_a_new_store_at_once(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def open_one(url: str, gate: threading.Barrier) -> None:
        gate.wait()
        try:
            store.connect(url, 30).dispose()
        except BaseException as error:
            failed.append(error)

    for i in range(10):
        gate = threading.Barrier(6)
        threads = [
            threading.Thread(target=open_one, args=(f"sqlite:///{tmp_path / f'{i}.sqlite'}", gate)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


# ---- a run that is cut off --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_how_a_run_ended(url: str) -> None:
    slow = Debate([Agent("a", ScriptedModel("x", latency=30))])
    poor = debate("a", budget=Budget(calls=0))
    async with Journal(url) as journal:
        with anyio.move_on_after(0.1):
            await slow.answer("q?", journal=journal, run="cut")
        assert (await journal.run("cut")).status == "interrupted"
        with pytest.raises(AgoraError):
            await poor.answer("q?", journal=journal, run="poor")
        info = await journal.run("poor")
        assert (info.status, info.rounds) == ("budget", 0)
        assert "budget of 0 calls" in (info.reason or "")


@pytest.mark.anyio
async def test_a_run_goes_on_once_at_a_time(tmp_path: Path) -> None:
    debate = Debate([Agent("a", ScriptedModel("x", latency=0.2))])
    refused: list[str] = []

    async def go() -> None:
        try:
            await debate.answer("q?", journal=tmp_path / "j.sqlite", run="r")
        except InputError as error:
            refused.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        tasks.start_soon(go)
    assert refused == ["run r is under way in this process. Wait for it, or use another id."]
    await debate.answer("q?", journal=tmp_path / "j.sqlite", run="r")


def test_a_process_number_in_use_again_is_another_process() -> None:
    from agora import store
    from agora.journal import process_began

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        host, began = socket.gethostname(), process_began(child.pid)
        assert store._alive(f"{host}#{began}", child.pid, 0.0)
        if began:  # where the system says
            assert not store._alive(f"{host}#1", child.pid, 0.0)
    finally:
        child.kill()
        child.wait()
    assert not store._alive(f"{host}#{began}", child.pid, 0.0)
