"""The page's addresses: what each gives, and what those get who mean no good."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from view_server import ViewServer, view_server

from agora import Agent, Debate
from agora.journal import Journal
from agora.models.scripted import ScriptedModel
from agora.view import page

HOSTILE = "<script>alert(1)</script> ]]> \u202e javascript:alert(1)"
IDS = ["plain", "plain/live", "plain-2", "a/../b", "a:b/c.d", "x/calls/1", "dots...", "ünï/ü"]


def make(store: Path, run: str, question: str = "six times seven?", answer: str = "42", **options: Any) -> None:
    debate = Debate([Agent(name, ScriptedModel(f"Answer: {answer}", name=name)) for name in "ab"], answer="number",
                    name=options.pop("name", "duo"))  # fmt: skip

    async def go() -> None:
        async with Journal(store, **options) as journal:
            await debate.answer(question, journal=journal, run=run)

    anyio.run(go)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    folder = tmp_path_factory.mktemp("addresses")
    for i, run in enumerate(IDS):
        make(folder / "runs.sqlite", run, f"{HOSTILE} number {i}", answer=str(i), name="duo" if i % 2 else HOSTILE)
    make(folder / "runs.sqlite", "secret", "SECRET?", content=False)
    make(folder / "runs.sqlite", "eval:x/1")
    with sqlite3.connect(folder / "runs.sqlite") as store:  # a model of a known price, and one of none
        store.execute("UPDATE agora_calls SET usd = 0.25 WHERE run = 'plain'")
        store.execute("UPDATE agora_calls SET usd = NULL WHERE run = 'plain-2'")
    store.close()
    with view_server(folder) as made:
        yield made


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text[:300]
    said = answer.json()["error"]["message"]
    assert said
    assert "\n" not in said
    assert "Traceback" not in said
    assert answer.headers["x-content-type-options"] == "nosniff"
    return str(said)


# ---- pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/new", "/compare?run=a&run=b", "/evaluations", "/runs/plain", "/runs/a%2Fb"])
def test_pages(server: ViewServer, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 200
    assert answer.text == page.served()
    told = answer.headers
    assert told["content-security-policy"] == page.POLICY
    assert told["x-content-type-options"] == "nosniff"
    assert told["referrer-policy"] == "no-referrer"
    assert told["cross-origin-opener-policy"] == told["cross-origin-resource-policy"] == "same-origin"


def test_what_belongs_to_the_page_is_kept_only_as_long_as_it_is_the_same(server: ViewServer) -> None:
    for name, kind in (("app.js", "text/javascript"), ("app.css", "text/css")):
        answer = server.client.get(f"/static/{name}?{page.version(name)}")
        assert answer.content == page.asset(name)
        assert answer.headers["content-type"].startswith(kind)
        assert "immutable" in answer.headers["cache-control"]
        for query in ("", "?x", f"?{page.version(name)}0"):
            assert server.client.get(f"/static/{name}{query}").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/page.py", "/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py",
     "/static/..%5c..%5cpage.py", "/static/%00", "/static//etc/passwd", "/static/app.js/", "/static/app.js%00.css",
     "/api", "/api/", "/api/nothing", "/api/runs/", "/api/runs/plain/nothing", "/api/runs/plain/calls/x",
     "/api/runs/plain/calls/-1", "/api/evaluations/x"],
)  # fmt: skip
def test_where_there_is_nothing(server: ViewServer, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:  # as it stands: clients tidy up paths
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        said = b""
        while part := connection.recv(65536):
            said += part
    assert said.split()[1] == b"404"
    assert b'"message"' in said


# ---- runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", IDS)
def test_a_run_is_found_by_its_whole_id_and_no_other(server: ViewServer, run: str) -> None:
    at = f"{server.url}/api/runs/{quote(run, safe='')}"
    found = server.client.get(at)
    told = found.json()
    first, *rest = told["records"]
    assert (first["type"], first["id"], first["status"], first["here"], first["resumable"]) == (
        "run", run, "done", False, False,
    )  # fmt: skip
    kinds = [record["kind"] for record in rest if record["type"] == "event"]
    assert kinds[0] == "started"
    assert kinds[-1] == "decided"
    calls = [record for record in rest if record["type"] == "call"]
    assert len(calls) == 2
    assert not any("request" in call or "reply" in call for call in calls)
    assert told["cursor"]["call"] == max(call["id"] for call in calls)
    whole = server.client.get(f"{at}/calls/{calls[0]['id']}").json()
    assert whole["request"]["messages"][-1][1].count("number") >= 1
    assert server.client.get(f"{server.url}/api/runs/secret/calls/{calls[0]['id']}").status_code == 404


def test_what_is_no_run(server: ViewServer) -> None:
    for run in ("plai", "last", "plain%00", "plain%0A", "%ff", "x" * 3000, "plain%252Flive", "'%20or%201=1"):
        refused(server.client.get(f"/api/runs/{run}"), 404)
        refused(server.client.get(f"/api/runs/{run}/live"), 404)
        refused(server.client.get(f"/runs/{run}/file"), 404)
    refused(server.client.get("/api/runs/plain/calls/999"), 404)
    refused(server.client.get(f"/api/runs/plain/calls/{10**30}"), 404)
    for query in ("event=x", "event=-1", "call=1e99", "event=99999999999999999999", "other=1"):
        refused(server.client.get(f"/api/runs/plain/live?{query}"), 400)


def test_a_run_without_content_tells_none(server: ViewServer) -> None:
    text = server.client.get("/api/runs/secret").text
    assert "SECRET" not in text
    assert "Answer: 42" not in text
    call = next(r for r in json.loads(text)["records"] if r["type"] == "call")
    assert server.get(f"/api/runs/secret/calls/{call['id']}")["request"] is None


def listed(server: ViewServer, query: str) -> list[str]:
    return [run["id"] for run in server.get(f"/api/runs?{query}")["runs"]]


def test_runs_are_listed_by_what_is_asked(server: ViewServer) -> None:
    told = server.get("/api/runs")
    made = ["secret", *reversed(IDS)]
    assert [run["id"] for run in told["runs"]] == made
    assert told["more"] is False
    assert told["names"] == [HOSTILE, "duo"]
    assert told["store"].endswith("runs.sqlite")
    assert listed(server, "items=1")[0] == "eval:x/1"
    assert listed(server, "limit=3&offset=1") == made[1:4]
    assert server.get("/api/runs?limit=3")["more"] is True
    assert server.get(f"/api/runs?limit={len(made)}")["more"] is False
    assert listed(server, "answer=1") == ["plain/live"]
    assert listed(server, "text=NUMBER+2") == ["plain-2"]
    assert listed(server, "text=%25") == []
    assert listed(server, "name=duo&limit=2") == [run for run in made if run == "secret" or IDS.index(run) % 2][:2]
    assert listed(server, "sort=cost")[0] == "plain"
    assert listed(server, "min_usd=0.5&max_usd=0.5") == ["plain"]
    assert "plain-2" not in listed(server, "max_usd=100")  # its cost is not known
    assert listed(server, "min_usd=0.51") == []
    assert listed(server, "status=done") == made
    assert listed(server, "status=running") == listed(server, "status=killed") == []
    first = told["runs"][-1]["created"]
    assert listed(server, f"until={first}") == []
    assert listed(server, f"until={first + 0.0001}&since={first}&status=&text=") == [IDS[0]]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "offset=-1", "sort=question", "sort=created;drop", "status=alive", "since=nan",
     "since=inf", "min_usd=-1", "items=2", "nothing=1", "text=" + "x" * 1001],
)  # fmt: skip
def test_lists_that_cannot_be(server: ViewServer, query: str) -> None:
    said = refused(server.client.get(f"/api/runs?{query}"), 400)
    assert query.partition("=")[0] in said


def test_long_questions_are_cut_in_lists_alone(tmp_path: Path) -> None:
    make(tmp_path / "runs.sqlite", "long", "x" * 100_000)
    with view_server(tmp_path) as server:
        assert len(server.get("/api/runs")["runs"][0]["question"]) == 300
        assert len(server.get("/api/runs/long")["records"][0]["question"]) == 20_000


def test_a_run_as_a_file(server: ViewServer) -> None:
    answer = server.client.get("/runs/a:b%2Fc.d/file")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="agora-a_b_c.d.html"'
    assert answer.headers["content-security-policy"] == "sandbox"
    assert "<script>alert" not in answer.text
    assert "\\u003cscript>alert" in answer.text


# ---- who asks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/runs", "/api/runs/plain", "/api/runs/plain/live", "/api/offers", "/%61pi/runs"])
@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
     {"origin": "null"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}],
)  # fmt: skip
def test_other_sites_read_nothing(server: ViewServer, path: str, headers: dict[str, str]) -> None:
    assert server.client.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path", ["/api/debates", "/api/debates/check", "/api/runs/plain/stop", "/api/runs/plain/resume"]
)
def test_other_sites_change_nothing(server: ViewServer, path: str) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://x.org"}):
        assert server.client.post(path, json={}, headers=headers).status_code == 403
    # what a form of another page can send without asking first
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/json"):
        answer = server.client.post(path, content=b'{"question": "x"}', headers={"content-type": kind})
        refused(answer, 415)
    assert server.client.get(path).status_code in (404, 405)


def test_own_pages_may_ask_and_others_may_link_here(server: ViewServer) -> None:
    own = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert server.client.get("/api/runs", headers=own).status_code == 200
    assert server.client.get("/api/runs", headers={"sec-fetch-site": "none"}).status_code == 200
    assert server.client.get("/runs/plain", headers={"sec-fetch-site": "cross-site"}).status_code == 200


BODIES = [
    (b"", 400), (b"{", 400), (b"null", 400), (b"[]", 400), (b"\xff", 400), (b'{"question": 1}', 400),
    (b'{"question": "x", "nothing": 1}', 400), (b'{"question": "\\ud800"}', 400), (b'{"question": "  "}', 400),
    (b'{"question": "x", "usd": NaN}', 400), (b'{"question": "x", "usd": -1}', 400),
    (b'{"question": "x", "rounds": 1e9}', 400), (b'{"question": "x", "topology": "../../etc"}', 400),
    (b'{"question": "x", "preset": "nothing"}', 400), (b'{"question": "x", "preset": "../debate"}', 400),
    (b'{"question": "x", "file": "/etc/passwd"}', 400), (b'{"question": "x", "models": "pocket:sum"}', 400),
    (b'{"question": "x", "models": ["hf:/etc"]}', 400), (b'{"question": "x", "models": ["nothing:x"]}', 400),
    (b'{"question": "x", "models": ["{openai: x, base_url: http://127.0.0.1:1/v1}"]}', 400),
    (b'{"question": "x", "models": ["{debate: /etc/passwd}"]}', 400),
    (b'{"question": "x", "models": ["human:you"]}', 400), (b'{"question": "x", "models": ["openai:a\\nb"]}', 400),
    (b'{"question": "x", "models": ["pocket:nothing"]}', 400),
    (b'{"question": "x", "models": ["openai:gpt-5-mini"]}', 400),
    (b'{"question": "x", "models": ["pocket:sum"], "person": "sum"}', 400),
    (b'{"question": "' + b"x" * 200_001 + b'"}', 400), (b'{"question": "' + b"x" * 3_000_000 + b'"}', 413),
    (b'{"question": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status"), BODIES, ids=range(len(BODIES)))
def test_forms_that_cannot_be(server: ViewServer, body: bytes, status: int) -> None:
    before = len(server.get("/api/runs?limit=500")["runs"])
    answer = server.client.post("/api/debates", content=body, headers={"content-type": "application/json"})
    refused(answer, status)
    assert len(server.get("/api/runs?limit=500")["runs"]) == before


def test_a_server_without_a_store_says_so(tmp_path: Path) -> None:
    with view_server(tmp_path, store="none") as server:
        for path in ("/api/runs", "/api/runs/x", "/api/runs/x/live", "/runs/x/file"):
            assert "--store none" in refused(server.client.get(path), 404)
        refused(server.client.post("/api/debates", json={"question": "x"}), 409)
        assert server.client.get("/").status_code == 200
