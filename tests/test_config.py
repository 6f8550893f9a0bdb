"""Debate files: what is right becomes objects; what is wrong gets file, line and the nearest right word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agora import config
from agora.config.reading import parted
from agora.errors import AgoraError, ConfigError, InputError
from agora.text.debate import Debate

EXAMPLES = Path(__file__).parent.parent / "examples"
MINIMAL = "agents:\n  a: {model: {scripted: ['Answer: 1']}}\n  b: {model: {scripted: ['Answer: 1']}}\n"


def test_minimal() -> None:
    debate, question = config.loads(MINIMAL + "question: q?\nanswer: number\n")
    assert question == "q?"
    assert debate.run("q?").answer == "1"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_examples_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "test")
    debate, question = config.load(path)
    assert isinstance(debate, Debate)
    assert question


def test_the_judge_example_runs() -> None:
    debate, question = config.load(EXAMPLES / "judge.yaml")
    assert debate.run(question or "").answer == "yes"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("agents: [", 1, "not YAML"),
        ("", None, "empty"),
        ("just words", 1, "mapping"),
        ("agents:\n  a: pocket:sum\nmoderatr: {}\n", 3, "Did you mean 'moderator'"),
        ("agents:\n  a:\n    model: pocket:sum\n    personna: x\n", 4, "Did you mean 'persona'"),
        ("agents:\n  a: pockt:sum\n", 2, "Did you mean 'pocket:sum'"),
        ("agents:\n  a: pocket:summ\n", 2, "there are base, sum"),
        ("models: {x: pocket:sum}\nagents:\n  a: y\n", 3, "no model 'y'"),
        ("agents:\n  a: openai:gpt\n", 2, "OPENAI_API_KEY"),
        (MINIMAL + "topology: {edges: [[a, nobody]]}\n", 4, "nobody"),
        (MINIMAL + "topology: rign\n", 4, "rign"),
        (MINIMAL + "moderator:\n  stop: unanimos\n", 5, "did you mean 'unanimous'"),
        (MINIMAL + "moderator:\n  stop: rounds(x)\n", 5, "must be a number"),
        (MINIMAL + "moderator:\n  stop: __import__('os')\n", 5, "unknown rule"),
        (MINIMAL + "moderator:\n  decide: {judge: nobody}\n", 5, "nobody"),
        (MINIMAL + "answer: numbr\n", 4, "numbr"),
        (MINIMAL + "seed: many\n", 4, "seed"),
        (MINIMAL + "budget: {calls: -1}\n", 4, "budget.calls"),
        (MINIMAL + "protocol: {schedule: layered}\n", None, "circle"),
        ("agents:\n  a: {model: {scripted: x}, templates: {revise: '{{ nothing }}'}}\n", 2, "'nothing'"),
        ("agents:\n  a: {model: {scripted: x}, templates: {revise: '{% if'}}\n", 2, "template 'revise'"),
        ("agents:\n  a: pocket:sum\n  a: pocket:mul\n", 3, "twice"),
        ("agents: {}\n", 1, "agents"),
        ("question: q\n", 1, "'agents' is missing"),
        (MINIMAL + "? [x]\n: 1\n", 4, "key"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.loads(text, "f.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert str(caught.value).startswith(f"f.yaml:{line}: "), str(caught.value)


def test_aliases_cannot_blow_up() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    with pytest.raises(ConfigError, match="aliases"):
        config.loads(bomb)


def test_a_file_that_contains_itself(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("agents:\n  a: {model: {debate: f.yaml}}\n")
    with pytest.raises(ConfigError, match="contains itself"):
        config.load(tmp_path / "f.yaml")


def test_debates_nest(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(MINIMAL + "answer: number\n")
    (tmp_path / "outer.yaml").write_text("agents:\n  team: {model: {debate: inner.yaml}}\nanswer: number\n")
    verdict = config.load(tmp_path / "outer.yaml")[0].run("q?")
    assert (verdict.answer, verdict.usage.calls) == ("1", 2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ring,star", ["ring", "star"]),
        ("rounds(1) | quorum(0.6, 2), rounds(3)", ["rounds(1) | quorum(0.6, 2)", "rounds(3)"]),
        ("ring, {small_world: {k: 4, p: 0.1}}", ["ring", "{small_world: {k: 4, p: 0.1}}"]),
        ("'a, b',\"c, 'd\"", ["'a, b'", '"c, \'d"']),
        ("a),b", ["a)", "b"]),
        ("(a,b", ["(a,b"]),
        ("", [""]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_values_that_commas_part(text: str, parts: list[str]) -> None:
    assert parted(text) == parts


def test_overrides() -> None:
    debate, _ = config.loads(MINIMAL, settings=["moderator.stop=rounds(7)", "seed=3", "topology=ring"])
    assert (debate.moderator.last, debate.seed, debate.topology.name) == (7, 3, "ring")
    for wrong in ("x", "agents.a.model.scripted.x.y=1"):
        with pytest.raises(AgoraError):
            config.loads(MINIMAL, settings=[wrong])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"a" * 1_100_000])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        config.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("value", [None, 3, {}, {"pocket": "sum", "openai": "x"}, {"poket": "sum"}, "nonsense", "x:y"])
def test_load_model_names_what_there_is(value: Any) -> None:
    with pytest.raises(InputError):
        config.load_model(value)


def test_settings_of_a_model_are_pinned() -> None:
    model = config.load_model({"pocket": "sum", "temperature": 0.5})
    assert model.name == "pocket:sum"
    assert getattr(model, "prompts", None) == "pocket"


def test_schema_describes_every_key() -> None:
    assert set(config.schema()["properties"]) == set(config.DebateFile.model_fields)
