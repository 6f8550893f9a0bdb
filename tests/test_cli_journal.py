"""The journal as a user meets it in the command line: resume, runs, show, export; wrong input is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DEBATE = """
question: q?
name: little
answer: number
agents:
  a: {model: {scripted: ['Answer: 1'], latency: LATENCY}}
  b: {model: {scripted: {'Peer 1': 'Answer: 1', '': 'Answer: 2'}, latency: LATENCY}}
moderator: {stop: unanimous | rounds(3)}
"""


class Shell:
    """Runs `agora` with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / 'runs.sqlite'}"
        self.env = {**os.environ, "AGORA_STORE": self.store, "COLUMNS": "80"}

    def file(self, latency: float = 0.0, more: str = "") -> str:
        path = self.folder / "debate.yaml"
        path.write_text(DEBATE.replace("LATENCY", str(latency)) + more)
        return str(path)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "agora.cli", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)

    def __call__(self, *arguments: str, status: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, (out, err)
        if status:
            assert "Traceback" not in err
            assert err.strip().count("\n") == 0, err
            return err
        return out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def agora(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_run_is_listed_shown_and_exported(agora: Shell) -> None:
    assert agora("runs") == "no runs yet\n"
    verdict = agora.json("run", agora.file())
    (row,) = agora.json("runs")["runs"]
    assert (row["id"], row["status"], row["answer"], row["rounds"]) == (verdict["run"], "done", "1", 1)
    assert row["usage"]["calls"] == verdict["usage"]["calls"] == 4
    assert verdict["run"] in agora("runs")
    text = agora("show", "last")
    for part in ("Q: q?", "Round 0, answer", "a -> 1", "b -> 2", "b -> 1  (read a)", "Verdict: 1", "4 calls"):
        assert part in text
    shown = agora.json("show", verdict["run"][:-2])
    assert shown["verdict"]["answer"] == "1"
    assert [(t["agent"], t["round"], t["answer"], t["text"]) for t in shown["turns"]] == [
        ("a", 0, "1", "Answer: 1"), ("b", 0, "2", "Answer: 2"),
        ("a", 1, "1", "Answer: 1"), ("b", 1, "1", "Answer: 1"),
    ]  # fmt: skip
    lines = [json.loads(line) for line in agora("export", "last").splitlines()]
    assert [line["type"] for line in lines[:5]] == ["run", *["call"] * 4]
    assert {line["kind"] for line in lines if line["type"] == "event"} == {
        "started", "speaking", "spoke", "round", "decided",
    }  # fmt: skip
    agora("export", "last", "-o", str(agora.folder / "out.jsonl"))
    assert len((agora.folder / "out.jsonl").read_text().splitlines()) == len(lines)


def test_only_some_of_a_run_is_shown(agora: Shell) -> None:
    agora("run", agora.file())
    text = agora("show", "last", "--round", "1", "--agent", "b")
    assert "b -> 1  (read a)" in text
    assert "Round 0" not in text
    assert "a -> 1" not in text
    assert "Verdict: 1" in text
    shown = agora.json("show", "last", "--agent", "b")
    assert [(t["agent"], t["round"]) for t in shown["turns"]] == [("b", 0), ("b", 1)]
    assert [call["path"] for call in shown["calls"]] == ["b/0/answer", "b/1/revise"]
    both = agora.json("show", "last", "--round", "0", "--round", "1", "--agent", "b", "--agent", "a")
    assert len(both["turns"]) == len(both["calls"]) == 4
    assert "no round 2: its last round is 1" in agora("show", "last", "--round", "2", status=2)
    assert "nobody called 'bb' spoke in this run. Did you mean 'b'?" in agora("show", "last", "--agent", "bb", status=2)


def test_filters_and_sorting(agora: Shell) -> None:
    agora("run", agora.file(), "-q", "about Ökonomie?")
    agora("run", agora.file(), "-q", "about cats?", "--set", "moderator.stop=rounds(0)")
    agora("run", agora.file(), "--set", "budget.calls=0", status=3)
    assert [r["question"] for r in agora.json("runs", "--text", "ökonomie")["runs"]] in ([], ["about Ökonomie?"])
    assert [r["question"] for r in agora.json("runs", "--text", "Ökonomie")["runs"]] == ["about Ökonomie?"]
    assert [r["status"] for r in agora.json("runs", "--status", "budget")["runs"]] == ["budget"]
    assert [r["usage"]["calls"] for r in agora.json("runs", "--sort", "calls")["runs"]] == [4, 2, 0]
    assert len(agora.json("runs", "--since", "1h", "-n", "2")["runs"]) == 2
    assert "no age" in agora("runs", "--since", "soon", status=2)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_run_goes_on(agora: Shell, name: str) -> None:
    process = agora.start("run", agora.file(latency=0.7))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("  0  "):  # one answer is there
            break
    time.sleep(0.2)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=30)
    (row,) = agora.json("runs")["runs"]
    assert row["answer"] is None
    if name == "SIGKILL":
        assert "killed" in agora("runs")
    else:
        assert process.returncode == 130
        assert f"agora run --resume {row['id']}" in err
        assert row["status"] == "interrupted"
    before = row["usage"]["calls"]
    assert before in (2, 3)
    assert "go on with: agora run --resume" in agora("show", "last")
    done = agora("run", "--resume", row["id"][:-1])
    assert f"resuming {row['id']}: {before} calls are in the journal" in done
    assert "Verdict: 1" in done
    (row,) = agora.json("runs")["runs"]
    assert (row["status"], row["usage"]["calls"]) == ("done", 4)
    again = agora.json("run", "--resume", "last")  # of a run that is over: nothing is asked again
    assert again["usage"]["calls"] == 4
    assert len(agora.json("show", "last")["calls"]) == 4


def test_a_failed_run_says_how_to_go_on(agora: Shell) -> None:
    file = agora.file(more="")
    err = agora("run", file, "--set", "agents.a.model={scripted: x, failures: 1.0}", "--set",
                "agents.b.model={scripted: x, failures: 1.0}", status=1)  # fmt: skip
    assert "only 0 of 2 agents spoke" in err
    assert "agora run --resume" in err
    fixed = agora("run", file, "--resume", "last")  # with the file as it stands now
    assert "Verdict: 1" in fixed


def test_without_a_store_or_without_content(agora: Shell) -> None:
    assert "run 2" not in agora("run", agora.file(), "--store", "none")
    assert agora("runs") == "no runs yet\n"
    agora("run", agora.file(more="store: {content: false}\n"), "-q", "a-secret-question?")
    assert "(not kept)" in agora("runs")
    assert "(not kept)" in agora("show", "last")
    assert "without its content" in agora("run", "--resume", "last", status=2)
    assert all(b"a-secret-question" not in path.read_bytes() for path in agora.folder.glob("runs.sqlite*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "nothing"), "there is no run"),
        (("export", "nothing"), "there is no run"),
        (("run", "--resume", "nothing"), "there is no run"),
        (("run",), "FILE"),
        (("runs", "--store", "foo://x"), "foo://x is no store"),
        (("runs", "--store", "not a url:// x"), "store"),
        (("runs", "--store", "none"), "keeps no runs"),
        (("run", "FILE", "--store", "FILE"), "not a database"),
        (("run", "FILE", "--store", "/dev/null/x.sqlite"), "store"),
    ],
)
def test_wrong_input(agora: Shell, arguments: tuple[str, ...], says: str) -> None:
    file = agora.file()
    assert says in agora(*(file if part == "FILE" else part for part in arguments), status=2)
    assert (agora.folder / "debate.yaml").read_text().startswith("\nquestion")  # a wrong store is left as it is


def test_another_question_for_a_run_is_refused(agora: Shell) -> None:
    agora("run", agora.file())
    assert "another question" in agora("run", "--resume", "last", "-q", "other?", status=2)


def test_a_run_from_python_is_resumed_in_python(agora: Shell) -> None:
    from agora import Agent, Debate, ScriptedModel

    Debate([Agent("a", ScriptedModel("x"))]).run("q?", journal=agora.store, run="mine")
    assert "run='mine'" in agora("run", "--resume", "mine", status=2)


def test_check_foresees(agora: Shell) -> None:
    data = agora.json("check", agora.file())
    assert data["calls"] == {"least": 2, "most": 8}
    assert data["predicted"]["most"]["usd"] == 0.0
    text = agora("check", agora.file(), "--set", "agents.a=openai:gpt-5-mini")
    assert "OPENAI_API_KEY" in text
    assert "$" in text


def test_ask_chooses_and_says_so(agora: Shell) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        agora.env.pop(name, None)
    process = agora.start("ask", "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?")
    out, err = process.communicate(timeout=60)
    assert "Verdict: 142" in out
    assert "no model given, so pocket:sum" in err
    assert "at most 12 calls" in err
    assert "Set OPENAI_API_KEY" in agora("ask", "What is love?", status=2)
    assert "Verdict: 142" in agora("run", "--resume", "last")
