"""The debate language in YAML: what is right becomes Python's objects, one to one; what is wrong is found at load."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from agora import config
from agora.errors import ConfigError
from agora.text.moderator import ByModel, Distribution, Pairwise, Select, Steer, Vote
from agora.text.protocol import Dial, Gates, Phase

HEAD = "agents:\n  a: {model: {scripted: 'Answer: 1'}}\n  b: {model: {scripted: 'Answer: 1'}}\n"
MODELS = "models: {m: {scripted: x}}\n"


def protocol(text: str) -> Any:
    return config.loads(f"{MODELS}{HEAD}protocol: {text}\n")[0].protocol


def decide(text: str, more: str = "") -> Any:
    return config.loads(f"{MODELS}{HEAD}{more}moderator: {{decide: {text}}}\n")[0].moderator.decide


def test_phases_become_objects() -> None:
    made = protocol(
        "{opening: [answer, {score: {who: [a]}}], phases: [{critique: {who: b, every: 2}}, revise], closing: [rank]}"
    )
    assert made.opening == (Phase("answer"), Phase("score", who=("a",)))
    assert made.phases == (Phase("critique", who=("b",), every=2), Phase("revise"))
    assert made.closing == (Phase("rank"),)
    own = protocol(
        "{phases: [{muse: {gives: text, template: '{{ question }}?', reads: [b], first: 2, last: 3}}]}"
    ).phases[0]
    assert (own.name, own.gives, own.reads, own.first, own.last) == ("muse", "text", ("b",), 2, 3)


def test_the_rest_of_a_protocol() -> None:
    made = protocol("{memory: {last: 3}, agreement: 9, contentiousness: {start: 0.9, end: 0.1}, temperature: 0.5}")
    assert (made.memory, made.keep, made.agreement) == ("last", 3, Dial(9.0))
    assert made.contentiousness == Dial(0.9, 0.1)
    assert [round(made.contentiousness.at(r, 4), 2) for r in range(5)] == [0.9, 0.7, 0.5, 0.3, 0.1]
    assert made.temperature.at(3, 5) == 0.5
    gates = protocol(
        "{gates: {skip: quorum(0.8), freeze: majority, drop: known, prune: {keep: 1, by: scores}}, closing: [score]}"
    ).gates
    assert isinstance(gates, Gates)
    assert (str(gates.skip), gates.freeze, gates.drop) == ("quorum(0.8)", "majority", "known")
    assert gates.prune is not None
    assert (gates.prune.keep, gates.prune.by) == (1, "scores")
    assert protocol("{summariser: m, memory: summary, view: {text: claims}}").summariser.name == "scripted"


def test_decisions_become_objects() -> None:
    assert decide("{vote: {rule: majority, weight: reconcile, ties: seeded}}") == Vote(
        "reconcile", "seeded", "majority"
    )
    assert isinstance(decide("{judge: m}"), ByModel)
    judge = decide("{judge: {model: m, named: true, history: true, threshold: 0.5}}")
    assert (judge.named, judge.history, judge.threshold) == (True, True, 0.5)
    assert isinstance(decide("{judge: {model: m, pairwise: true}}"), Pairwise)
    assert decide("{synthesis: m}").template == "aggregate"
    assert decide("{overton: m}").template == "overton"
    assert isinstance(decide("{select: m}"), Select)
    assert decide("{steer: b}") == Steer("b")
    assert isinstance(decide("distribution"), Distribution)
    borda = decide("{vote: {rule: borda}}", "protocol: {closing: [rank]}\n")
    assert borda.rule == "borda"


def test_a_group_of_agents() -> None:
    debate, _ = config.loads("agents:\n  panel: {model: {scripted: x}, count: 3}\n  c: {model: {scripted: x}}\n"
                             "protocol: {phases: [{revise: {who: panel}}]}\n")  # fmt: skip
    assert [agent.name for agent in debate.agents] == ["panel-1", "panel-2", "panel-3", "c"]
    assert debate.protocol.phases[0].who == ("panel-1", "panel-2", "panel-3")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("protocol: {phases: [critiqe, revise]}", 4, "Did you mean 'critique'"),
        ("protocol:\n  phases:\n    - revise\n    - {critique: {whom: [a]}}", 7, "Did you mean 'who'"),
        ("protocol:\n  phases:\n    - {critique: {who: [c]}}", 6, "there is no agent 'c'"),
        ("protocol: {phases: [{revise: {who: aa}}]}", 4, "Did you mean 'a'"),
        ("protocol: {phases: [revise, revise]}", 4, "two are called 'revise'"),
        ("protocol: {phases: [critique, critique]}", 4, "two are called"),
        ("protocol: {phases: [], opening: [{critique: {}}]}", 4, "must give an answer"),
        ("protocol: {phases: [{muse: {gives: text}}]}", 4, "template"),
        ("protocol: {phases: [{muse: {template: x}}]}", 4, "gives"),
        ("protocol: {phases: [{muse: {gives: text, template: '{{ nothing }}'}}]}", 4, "'nothing'"),
        ("protocol: {phases: [{revise: {first: 3, last: 1}}]}", 4, "in order"),
        ("protocol: {view: {text: summary}}", 4, "summariser"),
        ("protocol: {memory: summary}", 4, "summariser"),
        ("protocol: {memory: {last: 0}}", 4, "last"),
        ("protocol: {memory: lasst}", 4, "memory"),
        ("protocol: {agreement: 11}", 4, "between 0 and 10"),
        ("protocol: {gates: {freeze: minority}}", 4, "majority"),
        ("protocol: {gates: {frezze: majority}}", 4, "Did you mean 'freeze'"),
        ("protocol: {gates: {skip: unanimos}}", 4, "did you mean 'unanimous'"),
        ("protocol: {gates: {prune: {keep: 0}}}", 4, "keep"),
        ("protocol: {schedule: layered}", 4, "circle"),
        ("moderator: {decide: {vote: {rule: bordda}}}", 4, "rule"),
        ("moderator: {decide: {vote: {rule: borda}}}", 4, "no phase asks for ranking"),
        ("moderator: {decide: {vote: {rule: score}}}\nprotocol: {closing: [rank]}", 4, "no phase asks for scores"),
        ("moderator: {decide: {vote: {weigth: one}}}", 4, "Did you mean 'weight'"),
        ("moderator: {decide: {vote: {accuracies: {c: 0.5}}}}", 4, "there is no agent 'c'"),
        ("moderator: {decide: {judge: {modl: m}}}", 4, "modl"),
        ("moderator: {decide: {steer: c}}", 4, "there is no agent 'c'"),
        ("moderator: {decide: {coin: 1}}", 4, "decide"),
        ("moderator: {stop: quorum(1.5)}", 4, "quorum"),
        ("topology: {small_wrld: {k: 4}}", 4, "small_world"),
        ("topology: {ring: {sized: 4}}", 4, "sized"),
        ("topology: {edges: [[a, b, {dellay: 1}]]}", 4, "delay"),
        ("topology: {edges: [[a, b, {view: {text: half}}]]}", 4, "full, answer, summary"),
        ("topology: {file: nothing.graphml}", 4, "nothing.graphml"),
        ("topology: {layered: {widths: [3, 1]}}", 4, "add up"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.loads(f"{HEAD}{text}\n", "f.yaml")
    assert says in str(caught.value), str(caught.value)
    assert str(caught.value).startswith(f"f.yaml:{line}: "), str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_files_are_bounded(tmp_path: Path) -> None:
    begun = time.monotonic()
    many = "agents:\n" + "".join(f"  a{i}: {{model: {{scripted: x}}}}\n" for i in range(10_001))
    with pytest.raises(ConfigError, match=r"at most 10000|expanded"):
        config.loads(many)
    with pytest.raises(ConfigError):
        config.loads("agents:\n  a: {model: {scripted: x}, count: 10001}\n")
    dunder, _ = config.loads(
        "agents:\n  __class__: {model: {scripted: 'Answer: 1'}}\n  b: {model: {scripted: 'x'}}\ntopology: ring\n"
    )
    assert dunder.run("q?").rounds
    endless = "{% for i in range(100000000) %}{% for j in range(100000000) %}x{% endfor %}{% endfor %}"
    loop = config.loads(f"agents:\n  a: {{model: {{scripted: x}}, templates: {{answer: '{endless}'}}}}\n")[0]
    with pytest.raises(Exception, match=r"range|Range|too big"):
        loop.run("q?")
    (tmp_path / "g.graphml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><graphml/>')
    (tmp_path / "d.yaml").write_text(f"{HEAD}topology: {{file: g.graphml}}\n")
    with pytest.raises(ConfigError):
        config.load(tmp_path / "d.yaml")
    assert time.monotonic() - begun < 30


def test_schema_explains_itself() -> None:
    schema = config.schema()
    for name in ("ProtocolSpec", "PhaseSpec", "GatesSpec", "VoteSpec", "JudgeSpec"):
        assert schema["$defs"][name]["description"]
    undescribed = [
        f"{name}.{key}" for name, spec in schema["$defs"].items() for key, field in spec.get("properties", {}).items()
        if not ("description" in field or "$ref" in field or "anyOf" in field or "enum" in field or "default" in field)
    ]  # fmt: skip
    assert len(undescribed) < 12, undescribed
