"""The commands that show runs in a browser: agora view, agora show --html, and the page of agora serve."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from agora_server import agora_serve
from crowd import Voice, items
from view_server import view_server

from agora import Agent, Debate
from agora.evaluate import analyse, evaluate, publish
from agora.evaluate.report.page import report

DUO = "name: duo\nmodels: {m: {scripted: 'Answer: 42'}}\nagents: {a: m, b: m}\nquestion: six times seven?\n"


def agora(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **env})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    (folder / "duo.yaml").write_text(DUO)
    for _ in range(2):
        assert agora("run", folder / "duo.yaml", "--store", folder / "runs.sqlite").returncode == 0
    return folder / "runs.sqlite"


@contextlib.contextmanager
def viewing(*arguments: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "agora.cli", "view", "--no-browser", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            yield process.stdout.readline().removeprefix("agora: ").partition(" ")[0], process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(20)


def test_view_opens_a_run(store: Path) -> None:
    last = json.loads(agora("runs", "--json", "--store", store).stdout)["runs"][0]["id"]
    for run in ("last", last, last[:-1]):
        with viewing(run, "--store", store, "--port", "0") as (url, process):
            assert url.endswith(f"/runs/{last}")
            assert httpx2.get(url).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""


def test_view_takes_the_next_port_that_is_free(store: Path) -> None:
    with viewing("--store", store) as (one, _), viewing("--store", store) as (two, _):
        assert one != two
        for url in (one, two):
            assert len(httpx2.get(f"{url}api/runs").json()["runs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("none",), "there is no run 'none'"), (("2",), "is the beginning of 2 runs"),
     (("--store", "none"), "keeps no runs"),
     (("--file", "nothing.yaml"), "nothing.yaml"), (("--results", "nowhere"), "nowhere holds no evaluation"),
     (("--port", "TAKEN"), "cannot listen"), (("--port", "99999"), "99999")],
)  # fmt: skip
def test_what_is_wrong_with_a_view(store: Path, arguments: tuple[str, ...], said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [str(taken.getsockname()[1]) if word == "TAKEN" else word for word in arguments]
        more = () if "--store" in given else ("--store", str(store))
        ended = agora("view", "--no-browser", *given, *more)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_show_writes_a_page(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    ended = agora("show", "last", "--html", page, "--store", store)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.startswith(f"{page}: run ")
    assert ended.stderr.rstrip().endswith(" kB")
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert '<script type="application/json" id="agora-run">' in text
    assert agora("show", "last", "--html", "-", "--store", store).stdout == text
    for target, said in ((tmp_path, "is a folder"), (tmp_path / "run.html" / "x", "cannot be written")):
        ended = agora("show", "last", "--html", target, "--store", store)
        assert ended.returncode == 2
        assert said in ended.stderr
    assert agora("show", "last", "--html", page, "--json", "--store", store).returncode == 2
    assert agora("show", "nothing", "--html", tmp_path / "other.html", "--store", store).returncode == 2
    assert not (tmp_path / "other.html").exists()


def test_serve_shows_the_same_page(tmp_path: Path) -> None:
    with agora_serve(tmp_path) as server:
        assert httpx2.get(f"{server.url}/").headers["content-type"].startswith("text/html")
        assert httpx2.get(f"{server.url}/api/offers").json()["files"][0]["id"] == "duo"


# ---- evaluations ------------------------------------------------------------------------------------------------


def test_evaluations_are_shown_as_their_reports(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    debate = Debate([Agent("ann", Voice("ann", 0.9)), Agent("bob", Voice("bob", 0.6))], answer="number", name=hostile)
    results = evaluate(debate, items(8), baselines=["vote"])
    for name in ("one", "two"):
        publish(results, analyse(results), tmp_path / "all" / name)
    (tmp_path / "all" / "broken").mkdir()
    (tmp_path / "all" / "broken" / "results.json").write_text("{")
    (tmp_path / "all" / "other.txt").write_text("x")
    single = tmp_path / "all" / "one" / "results.json"
    with view_server(tmp_path, results=[tmp_path / "all", single]) as server:
        told = server.get("/api/evaluations")["evaluations"]
        assert [Path(each["path"]).parent.name for each in told] == ["one", "two"]
        first = told[0]
        assert (first["data"], first["items"], first["debates"], first["scorer"]) == ("items", 8, [hostile], "exact")
        assert first["created"] == results.created
        answer = server.client.get(f"/evaluations/{first['id']}")
        assert answer.status_code == 200
        assert answer.text == report(results, analyse(results))
        assert hostile not in answer.text
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]
        for none in ("x", "..%2fone", "%2e%2e%2fone", first["path"].replace("/", "%2F")):
            assert server.client.get(f"/evaluations/{none}").status_code == 404
        single.unlink()
        assert server.client.get(f"/evaluations/{first['id']}").status_code == 404
        assert [Path(each["path"]).parent.name for each in server.get("/api/evaluations")["evaluations"]] == ["two"]
