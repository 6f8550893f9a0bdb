"""Evaluations in Ray clusters whose workers are killed: the table of one process, and nothing paid twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import Served, serve

from agora import store

pytest.importorskip("ray")
ITEMS, AGENTS, CONCURRENCY = 16, 3, 8
DEBATE = """
models:
  first: {{openai: first, base_url: "{url}", temperature: 1.0, api_key_env: AGORA_TEST_KEY}}
  other:
    {{openai: other, base_url: "{url}", temperature: 1.0, api_key_env: AGORA_TEST_KEY, limits: {{concurrent: {most}}}}}
agents: {{ann: first, bob: other, cat: first}}
topology: ring
moderator: {{stop: rounds(2)}}
answer: number
"""


@pytest.fixture(scope="module")
def asked() -> Iterator[Served]:
    with serve(latency=(0.02, 0.5)) as server:
        yield server


def file_of(folder: Path, server: Served, most: int = 40) -> Path:
    path = folder / "debate.yaml"
    path.write_text(DEBATE.format(url=f"http://127.0.0.1:{server.port}/v1", most=most))
    return path


def evaluated(file: Path, url: str, how: str, n: int = ITEMS, **options: Any) -> dict[str, Any]:
    """What a process that evaluates prints."""
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "AGORA_TEST_KEY": "hush"}
    options = {"concurrency": CONCURRENCY, **options}
    command = [sys.executable, str(here / "ray_evaluation.py"), str(file), url, str(n), how, json.dumps(options)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout)  # and nothing else on standard output
    return told


def requests(server: Served, since: int = 0) -> Counter[str]:
    """How often each request was sent."""
    return Counter(event["hash"] for event in server.log()[since:] if event["event"] == "in")


def journaled(url: str) -> Counter[tuple[Any, ...]]:
    """The calls in a journal, by their keys; those that were not sent for themselves left out."""
    engine = store.connect(url, 30)
    columns = (store.CALLS.c.run, store.CALLS.c.path, store.CALLS.c.hash, store.CALLS.c.occurrence)
    with engine.connect() as connection:
        found = connection.execute(store.sa.select(*columns).where(store.CALLS.c.attempts > 0)).all()
        secrets = connection.execute(store.sa.select(store.RUNS).where(store.RUNS.c.config.contains("hush"))).all()
    engine.dispose()
    assert not secrets
    return Counter(map(tuple, found))


@pytest.fixture(scope="module")
def here(asked: Served, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Counter[str], Counter[tuple[Any, ...]]]:
    """The table of one process, its requests, and the calls in its journal."""
    folder = tmp_path_factory.mktemp("here")
    url, since = f"sqlite:///{folder / 'runs.sqlite'}", len(asked.log())
    told = evaluated(file_of(folder, asked), url, "here")
    return told["table"], requests(asked, since), journaled(url)


def check(asked: Served, since: int, url: str, told: dict[str, Any], here: Any) -> None:
    """It is as in one process, though a worker was lost."""
    table, alone, calls = here
    assert told["table"] == table
    assert 0 < told["killed_at"] < told["planned"]
    assert told["workers"] > 2, "no worker was lost"
    assert journaled(url) == calls
    assert set(calls.values()) == {1}  # no call is in it twice
    again = requests(asked, since)
    assert not alone - again
    # what was under way in the worker that was lost, and nothing else, was sent again
    assert (again - alone).total() <= CONCURRENCY * AGENTS


def test_a_node_is_killed(asked: Served, here: Any, tmp_path: Path) -> None:
    url, since = f"sqlite:///{tmp_path / 'runs.sqlite'}", len(asked.log())
    file = file_of(tmp_path, asked)
    told = evaluated(file, url, "nodes", _kill=60)
    check(asked, since, url, told, here)
    since = len(asked.log())
    assert evaluated(file, url, "here")["table"] == here[0]
    assert not requests(asked, since)  # another process has all of it in the journal


def test_a_worker_is_killed_over_postgresql(asked: Served, here: Any, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    import postgres_server

    with postgres_server.running() as address:
        url, since = postgres_server.database(address), len(asked.log())
        told = evaluated(file_of(tmp_path, asked), url, "workers", _kill=60)
        check(asked, since, url, told, here)


def test_the_command_keeps_a_budget_and_prints_one_object(asked: Served, tmp_path: Path) -> None:
    file, since = file_of(tmp_path, asked), len(asked.log())
    command = [sys.executable, "-m", "agora.cli", "eval", str(file), "-d", "arithmetic:16", "-b", "none", "--json"]
    command += ["--store", f"sqlite:///{tmp_path / 'runs.sqlite'}", "--engine", "ray", "--workers", "2", "-c", "4"]
    env = {**os.environ, "AGORA_TEST_KEY": "hush", "PYTHONWARNINGS": "error::ResourceWarning"}
    ended = subprocess.run([*command, "--budget", "calls=70"], env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 3, ended.stderr[-4000:]
    assert "the budget of 70 calls is used up" in json.loads(ended.stdout)["stopped"]
    assert "hush" not in ended.stdout + ended.stderr
    # the last ones may be held, and not be sent any more
    assert 70 - 4 * AGENTS <= requests(asked, since).total() <= 70
