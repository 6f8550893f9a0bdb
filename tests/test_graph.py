"""The command that draws who reads whom."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from agora.cli.graph import graph
from agora.errors import AgoraError

FILE = """
agents:
  Ada: {model: {openai: gpt-5-mini}}
  Bert: {model: {anthropic: claude-haiku-4-5}}
  "<script>": {model: {scripted: ['Answer: 1']}}
topology: {edges: [[Ada, Bert], [Bert, Ada, {view: answer}]]}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "debate.yaml").write_text(FILE)
    return str(tmp_path / "debate.yaml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(graph, arguments)


def test_as_text(file: str) -> None:
    done = run(file)
    assert done.exit_code == 0, done.exception
    assert "edges: 3 agents, 2 edges" in done.output
    assert "Ada       openai     reads Bert" in done.output
    assert "isolated: <script>" in done.output


def test_a_matrix_where_many_read_many(file: str) -> None:
    agents = "{" + ", ".join(f"n{i}: {{model: {{scripted: [x]}}}}" for i in range(9)) + "}"
    done = run(file, "--set", f"agents={agents}", "--set", "topology=complete")
    assert done.output.count("■") == 72


def test_pictures(file: str, tmp_path: Path) -> None:
    for name in ("g.svg", "g.SVG", "g.html"):
        assert run(file, "-o", str(tmp_path / name)).exit_code == 0
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "openai" in text
        assert "answer only" in text
        assert "<script" not in text
    ElementTree.parse(tmp_path / "g.svg")


def test_a_round_of_a_graph_that_changes(file: str) -> None:
    base = run(file, "--set", "topology={rounds: [ring, isolated]}")
    assert "round 1" in base.output
    later = run(file, "--round", "2", "--set", "topology={rounds: [ring, isolated]}")
    assert "isolated: 3 agents, 0 edges" in later.output
    assert run(file, "--round", "-1").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-o", "g.gif"), "a picture is"),
        (("-o", "none/such/folder/g.svg"), "cannot be written"),
        (("--set", "topology=rnig"), "rnig"),
    ],
)
def test_what_is_wrong_is_one_sentence(file: str, arguments: tuple[str, ...], word: str) -> None:
    error = run(file, *arguments).exception
    assert isinstance(error, AgoraError)
    assert word in str(error)
