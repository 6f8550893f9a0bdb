"""The command line as a user meets it: one sentence and an exit status for what is wrong, only JSON with --json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTED = """
question: q?
answer: number
agents:
  a: {model: {scripted: ['Answer: 1']}}
  b: {model: {scripted: ['Answer: 2']}}
"""


def agora(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=text, timeout=60)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "debate.yaml"
    path.write_text(SCRIPTED)
    return str(path)


def test_run_json_is_one_object(file: str) -> None:
    done = agora("run", file, "--json", "--set", "moderator.decide.vote.ties=seeded")
    data = json.loads(done.stdout)
    assert {"answer", "reason", "rounds", "usage", "run"} <= set(data)
    assert (data["answer"] in "12", data["rounds"], done.returncode) == (True, 2, 0)


def test_run_plain(file: str) -> None:
    done = agora("run", file, "-q", "another?")
    assert done.returncode == 0
    assert "Q: another?" in done.stdout
    assert "Verdict: no answer" in done.stdout
    assert "\x1b" not in done.stdout


def test_question_from_standard_input(file: str) -> None:
    assert "Q: from a pipe" in agora("run", file, "-q", "-", text="from a pipe").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "none.yaml"),
        ("run", "FILE", "-q", ""),
        ("run", "FILE", "--set", "moderator.stop=nonsense"),
        ("run", "FILE", "--set", "agents.a=openai:gpt-5"),
        ("check", "none.yaml"),
        ("ask", "2+2?", "-m", "pockt:sum"),
        ("nonsense",),
        ("run",),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(file: str, arguments: tuple[str, ...]) -> None:
    done = agora(*(file if a == "FILE" else a for a in arguments))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_a_megabyte_of_question(file: str) -> None:
    done = agora("run", file, "-q", "-", text="x" * 1_000_001)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_a_binary_question(file: str) -> None:
    command = [sys.executable, "-m", "agora.cli", "run", file, "-q", "-"]
    assert subprocess.run(command, input=b"\xff\x00\xfe", capture_output=True).returncode == 2


def test_budget_without_a_verdict_is_status_3(file: str) -> None:
    assert agora("run", file, "--set", "budget.calls=0").returncode == 3


def test_a_failed_run_is_status_1(file: str) -> None:
    done = agora("run", file, "--set", "agents={a: {model: {scripted: [x], failures: 1.0}}}")
    assert done.returncode == 1
    assert "only 0 of 1 agents spoke" in done.stderr


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text('question: q?\nagents: {a: {model: {scripted: ["\\e[31mred \\x07 Answer: 1"]}}}\n')
    done = agora("run", str(path))
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


def test_check_and_schema_and_models(file: str) -> None:
    assert json.loads(agora("check", file, "--json").stdout)["calls"] == {"least": 2, "most": 6}
    assert json.loads(agora("schema").stdout)["title"] == "DebateFile"
    assert {row["model"] for row in json.loads(agora("models", "--json").stdout)["models"]} >= {"pocket:base"}
