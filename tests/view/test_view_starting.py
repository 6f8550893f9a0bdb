"""Debates that are begun from the page: what a form becomes, who takes part, stop, resume, the server's end."""

from __future__ import annotations

import io
import json
import signal
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
import yaml
from agora_server import agora_serve
from view_server import Stream, ViewServer, view_server

from agora import config
from agora.budget import Budget
from agora.config import presets
from agora.config.asking import asking
from agora.errors import ConfigError, InputError
from agora.journal import Journal
from agora.models import discover
from agora.models.human import ABSTENTION, DESK, HumanModel
from agora.records import Message

DUO = """
name: duo
question: six times seven?
models:
  ann: {scripted: 'I think so. Answer: 41', name: ann}
  bob: {scripted: 'I am sure. Answer: 42', name: bob, latency: 0.1}
agents: {ann: ann, bob: bob}
answer: number
moderator: {stop: unanimous | rounds(1)}
"""
SEATED = """
name: seated
question: six times seven?
models:
  bob: {scripted: 'I am sure. Answer: 42', name: bob}
  me: {human: eve, timeout: TIME}
agents: {me: me, bob: bob}
answer: number
moderator: {stop: unanimous | rounds(1)}
"""
SUM = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No servers of models but those that a test makes."""
    monkeypatch.setattr(discover, "PORTS", {})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ViewServer]:
    texts = {"duo": DUO, "seated": SEATED.replace("TIME", "30"), "hasty": SEATED.replace("TIME", "0.3")}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("name: seated", f"name: {name}"))
    with view_server(tmp_path, *(tmp_path / f"{name}.yaml" for name in texts)) as made:
        yield made


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def ended(server: ViewServer, run: str) -> list[dict[str, Any]]:
    """A run's records when it is over."""
    with Stream(server, run) as stream:
        list(stream)
    assert stream.over
    return list(server.get(f"/api/runs/{run}")["records"])


def verdict(records: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(next(r["data"] for r in reversed(records) if r.get("kind") == "decided"))


# ---- what can be begun ------------------------------------------------------------------------------------------


def test_what_is_offered(server: ViewServer) -> None:
    told = server.get("/api/offers")
    assert told["files"][0] == {"id": "duo", "question": "six times seven?", "agents": ["ann", "bob"], "people": []}
    assert told["files"][1]["people"] == ["eve"]
    assert [each["name"] for each in told["presets"]] == presets.names()
    assert all(each["title"] and isinstance(each["roles"], list) for each in told["presets"])
    models = {each["model"]: each for each in told["models"]}
    assert models["pocket:sum"]["ready"]
    assert models["openai:gpt-5-mini"] == {
        "model": "openai:gpt-5-mini", "ready": False, "needs": "OPENAI_API_KEY in the environment",
    }  # fmt: skip
    assert not any("FOLDER" in model or "NAME" in model for model in models)
    assert told["answers"] == ["number", "yes_no", "text"]


def test_a_debate_with_a_person_is_for_no_client_of_the_api(server: ViewServer) -> None:
    assert [each["id"] for each in server.get("/v1/models")["data"]] == [
        "duo", "duo/ann", "duo/bob", "seated/bob", "hasty/bob",
    ]  # fmt: skip
    body = {"model": "seated", "messages": [{"role": "user", "content": "x"}]}
    assert "does not exist" in server.post("/v1/chat/completions", body, 404)["error"]["message"]


def test_a_check_tells_what_it_would_take_and_sends_nothing(server: ViewServer) -> None:
    told = server.post("/api/debates/check", {"file": "duo"})
    assert told["agents"] == [{"name": "ann", "model": "ann"}, {"name": "bob", "model": "bob"}]
    assert sorted(told["edges"]) == [[0, 1], [1, 0]]
    assert told["calls"] == [2, 4]
    assert told["usd"] == [0.0, 0.0]
    assert told["layout"]["type"] == "layout"
    assert len(told["layout"]["at"]) == 2
    assert told["unknown"] == []
    lacks = server.post("/api/debates/check", {"question": "x", "models": ["openai:gpt-5-mini", "pocket:sum"]})
    assert any("OPENAI_API_KEY" in what for what in lacks["unknown"])
    assert server.get("/api/runs")["runs"] == []


def test_a_served_file_is_begun(server: ViewServer) -> None:
    run = server.post("/api/debates", {"file": "duo", "question": "seven times six?"})["run"]
    records = ended(server, run)
    assert (records[0]["question"], records[0]["name"]) == ("seven times six?", "duo")
    assert verdict(records)["run"] == run
    assert "server" not in server.post("/api/debates", {"file": "duo", "rounds": 3}, 400)["error"]["message"]


@pytest.mark.parametrize("preset", [None, "society-of-minds"])
def test_models_found_here_are_asked_where_none_is_named(server: ViewServer, preset: str | None) -> None:
    form: dict[str, Any] = {"question": SUM, "preset": preset}
    run = server.post("/api/debates", form)["run"]
    records = ended(server, run)
    assert records[0]["status"] == "done"
    assert all(r["model"].startswith("pocket:") for r in records if r["type"] == "call")


def test_a_form_is_the_debate_of_agora_ask(tmp_path: Path) -> None:
    async def go(**form: Any) -> Any:
        return (await asking(SUM, ["pocket:sum", "pocket:mul"], **form)).data

    plain = anyio.run(go)
    assert list(plain["agents"]) == ["sum", "mul"]

    async def seated() -> None:
        with_eve = await go(person="eve")
        assert with_eve["agents"] == {**plain["agents"], "eve": {"model": {"human": "eve"}}}
        minds = await go(preset="society-of-minds", person="eve")
        assert minds["agents"]["eve"]["model"] == {"human": "eve"}
        assert list(minds["agents"])[:-1] == list(presets.data("society-of-minds")["agents"])
        critic = (await asking(SUM, ["pocket:sum"], preset="self-refine", person="critic")).data
        assert critic["agents"] == {"critic": {"model": {"human": "critic"}}}
        with pytest.raises(InputError, match="has roles"):
            await asking(SUM, ["pocket:sum"], preset="self-refine", person="eve")
        with pytest.raises(InputError, match="another name"):
            await go(person="sum")

    anyio.run(seated)


@pytest.mark.parametrize("preset", presets.names())
def test_a_person_has_a_place_in_every_preset(preset: str) -> None:
    roles = presets.roles(presets.data(preset))
    person = roles[-1] if roles else "eve"

    async def go() -> Any:
        return await asking("x?", ["pocket:sum"], preset=preset, person=person)

    text = yaml.safe_dump(anyio.run(go).data)
    if preset == "mixture-of-agents":  # its layers say how many there are
        with pytest.raises(ConfigError, match="there are 8 agents"):
            config.loads(text, "ask")
        return
    debate, _ = config.loads(text, "ask")
    people = [agent.name for agent in debate.agents if isinstance(agent.model, HumanModel)]
    assert people == [person] or all(name.startswith(f"{person}-") for name in people)
    assert people


def test_limits_of_a_form_stay_with_its_run(server: ViewServer) -> None:
    for form in ({"file": "duo", "usd": 0.5}, {"question": SUM, "models": ["pocket:sum"], "usd": 0.5}):
        run = server.post("/api/debates", form)["run"]
        ended(server, run)

    async def configs() -> list[Any]:
        async with Journal(server.store) as journal:
            return [info.config for info in await journal.runs()]

    by_form, by_file = anyio.run(configs)
    assert "usd: 0.5" in by_form["text"]
    assert by_file["settings"] == ["budget.usd=0.5"]


def test_the_servers_limit_holds(tmp_path: Path) -> None:
    (tmp_path / "duo.yaml").write_text(DUO)
    with view_server(tmp_path, tmp_path / "duo.yaml", most=Budget(calls=1)) as server:
        records = ended(server, server.post("/api/debates", {"file": "duo"})["run"])
        assert len([r for r in records if r["type"] == "call"]) == 1


def test_only_so_many_go_on_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(DUO.replace("latency: 0.1", "latency: 30"))
    with view_server(tmp_path, tmp_path / "slow.yaml", running=2) as server:
        runs = [server.post("/api/debates", {"file": "duo"})["run"] for _ in range(2)]
        assert "busy" in server.post("/api/debates", {"file": "duo"}, 429)["error"]["message"]
        assert len(server.get("/api/runs")["runs"]) == 2
        server.post(f"/api/runs/{runs[0]}/stop", status=204)
        server.post("/api/debates", {"file": "duo"})


def test_stop_and_resume(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(DUO.replace("latency: 0.1", "latency: 1"))
    with view_server(tmp_path, tmp_path / "slow.yaml") as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        until(lambda: any(r["type"] == "call" for r in server.get(f"/api/runs/{run}")["records"]))
        assert "under way" in server.post(f"/api/runs/{run}/resume", status=409)["error"]["message"]
        server.post(f"/api/runs/{run}/stop", status=204)
        info = server.get(f"/api/runs/{run}")["records"][0]
        assert (info["status"], info["alive"], info["here"], info["resumable"]) == ("interrupted", False, False, True)
        server.post(f"/api/runs/{run}/stop", status=409)
        assert server.post(f"/api/runs/{run}/resume") == {"run": run}
        records = ended(server, run)
        assert records[0]["status"] == "done"
        paths = [r["path"] for r in records if r["type"] == "call"]
        assert len(paths) == len(set(paths))  # nothing was paid for twice
        server.post("/api/runs/none/stop", status=404)
        server.post(f"/api/runs/{run}/stop", {"x": 1}, status=400)


def test_two_who_resume_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(DUO.replace("latency: 0.1", "latency: 1"))
    with view_server(tmp_path, tmp_path / "slow.yaml") as server:
        run = server.post("/api/debates", {"file": "duo"})["run"]
        server.post(f"/api/runs/{run}/stop", status=204)
        said: list[int] = []

        def resume() -> None:
            said.append(server.client.post(f"/api/runs/{run}/resume", json={}).status_code)

        threads = [threading.Thread(target=resume) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said)[0] == 200
        assert set(said[1:]) <= {200, 400, 409}
        assert said.count(200) == 1
        assert ended(server, run)[0]["status"] == "done"


# ---- people -----------------------------------------------------------------------------------------------------


def seat(server: ViewServer, run: str, last: str = "0") -> dict[str, Any]:
    """The next seat that is open."""
    with Stream(server, run) as stream:
        for records in stream:
            for record in records:
                if record["type"] == "seat" and record["open"] and int(record["id"]) > int(last):
                    return dict(record)
    raise AssertionError("nobody was asked")


def test_a_person_takes_part(server: ViewServer) -> None:
    run = server.post("/api/debates", {"file": "seated"})["run"]
    first = seat(server, run)
    assert (first["name"], first["path"]) == ("eve", "me/0/answer")
    assert "six times seven?" in first["prompt"][-1][1]
    assert first["until"] - first["since"] == pytest.approx(30)
    at = f"/api/runs/{run}/seats"
    for wrong, status in (({}, 400), ({"text": 1}, 400), ({"text": "x", "y": 1}, 400), ({"text": "x" * 100_001}, 400)):
        server.post(f"{at}/{first['id']}", wrong, status)
    server.post(f"{at}/99", {"text": "x"}, 404)
    for none in ("0", "-1", "x", "%2e%2e", "1%2F", "9" * 100):
        server.post(f"{at}/{none}", {"text": "x"}, 404)
    server.post(f"{at}/{first['id']}", {"text": "It may be.\nAnswer: 40 <script>"}, 204)
    server.post(f"{at}/{first['id']}", {"text": "Answer: 39"}, 409)
    second = seat(server, run, first["id"])
    assert "42" in second["prompt"][-1][1]  # what the other has said
    server.post(f"{at}/{second['id']}", {"text": ""}, 204)
    records = ended(server, run)
    turns = [r["data"] for r in records if r.get("kind") == "spoke" and r["data"]["agent"] == "me"]
    assert [(turn["answer"], turn["why_none"]) for turn in turns] == [("40", None), (None, "abstained")]
    said = [r["text"] for r in records if r["type"] == "call" and r["path"].startswith("me/")]
    assert said == ["It may be.\nAnswer: 40 <script>", ABSTENTION]
    server.post(f"{at}/{second['id']}", {"text": "x"}, 409)
    server.post("/api/runs/none/seats/1", {"text": "x"}, 409)


def test_who_does_not_answer_in_time_abstains(server: ViewServer) -> None:
    run = server.post("/api/debates", {"file": "hasty"})["run"]
    first = seat(server, run)
    records = ended(server, run)
    assert records[0]["status"] == "done"
    turns = [r["data"] for r in records if r.get("kind") == "spoke" and r["data"]["agent"] == "me"]
    assert {turn["why_none"] for turn in turns} == {"abstained"}
    server.post(f"/api/runs/{run}/seats/{first['id']}", {"text": "too late"}, 409)


def test_stopping_takes_the_seat_away(server: ViewServer) -> None:
    run = server.post("/api/debates", {"file": "seated"})["run"]
    first = seat(server, run)
    with Stream(server, run) as stream:
        lines = iter(stream)
        next(lines)
        server.post(f"/api/runs/{run}/stop", status=204)
        told = [record for records in lines for record in records]
    assert [r["open"] for r in told if r["type"] == "seat"] == [False]
    assert not any(r["prompt"] for r in told if r["type"] == "seat")
    server.post(f"/api/runs/{run}/seats/{first['id']}", {"text": "x"}, 409)
    assert server.get(f"/api/runs/{run}")["records"][0]["status"] == "interrupted"


def test_a_person_joins_a_preset_from_the_form(server: ViewServer) -> None:
    form = {"question": SUM, "models": ["pocket:sum"], "preset": "society-of-minds", "person": "eve"}
    run = server.post("/api/debates", form)["run"]
    first = seat(server, run)
    assert first["path"].startswith("eve/0/")
    assert first["until"] is None
    server.post(f"/api/runs/{run}/stop", status=204)


@pytest.mark.anyio
async def test_a_person_is_asked_at_a_desk_only_where_no_source_is_given() -> None:
    class Desk:
        async def ask(self, name: str, messages: Any, timeout: float | None) -> str | None:
            return f"{name} {messages[-1].content} {timeout}"

    DESK.set(Desk())
    asked = (Message("user", "why?"),)
    assert (await HumanModel("eve", timeout=3).answer(asked)).text == "eve why? 3"
    typed = HumanModel("eve", source=io.StringIO("because\n\n"), sink=io.StringIO())
    assert (await typed.answer(asked)).text == "because"
    DESK.set(None)


# ---- the end of the server --------------------------------------------------------------------------------------


def test_a_server_that_ends_leaves_runs_that_can_go_on(tmp_path: Path) -> None:
    text = SEATED.replace("TIME", "60")
    with agora_serve(tmp_path, "--drain", "0.2", text=f"{text}", name="seated.yaml") as server:
        made: Any = server
        run = json.loads(_post(f"{made.url}/api/debates", {"file": "seated"}))["run"]
        first = seat(made, run)
        _post(f"{made.url}/api/runs/{run}/seats/{first['id']}", {"text": "Answer: 7"})
        seat(made, run, first["id"])
        assert server.stop(signal.SIGTERM) == 0
    with view_server(tmp_path) as other:
        info, *rest = other.get(f"/api/runs/{run}")["records"]
        assert (info["status"], info["resumable"]) == ("interrupted", True)
        assert [r["text"] for r in rest if r["type"] == "call" and r["path"] == "me/0/answer"] == ["Answer: 7"]
        other.post(f"/api/runs/{run}/resume")
        again = seat(other, run)
        assert again["path"] == "me/1/revise"  # what was typed is not asked again
        other.post(f"/api/runs/{run}/seats/{again['id']}", {"text": "Answer: 42"}, 204)
        assert verdict(ended(other, run))["answer"] == "42"


def test_what_was_typed_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with agora_serve(tmp_path, text=SEATED.replace("TIME", "60"), name="seated.yaml") as server:
        made: Any = server
        run = json.loads(_post(f"{made.url}/api/debates", {"file": "seated"}))["run"]
        first = seat(made, run)
        _post(f"{made.url}/api/runs/{run}/seats/{first['id']}", {"text": "Answer: 7"})
        seat(made, run, first["id"])
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
    shown = subprocess.run(
        [sys.executable, "-m", "agora.cli", "show", run, "--json", "--store", str(server.store)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(shown.stdout)
    assert "Answer: 7" in [turn["text"] for turn in told["turns"]]


def _post(url: str, body: Any) -> str:
    answer = httpx2.post(url, json=body, timeout=20)
    assert answer.status_code < 300, answer.text
    return answer.text
