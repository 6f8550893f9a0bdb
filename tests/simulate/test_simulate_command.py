"""agora simulate: what it prints, writes and refuses; and every preset, predicted within what check says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.config import loads, presets
from agora.errors import InputError
from agora.simulate import Population, simulate, simulated
from agora.text.forecast import forecast
from agora.text.stop import rounds

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "examples" / "quickstart.yaml"


def agora(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", "simulate", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_it_prints(tmp_path: Path) -> None:
    picture = tmp_path / "plot.svg"
    done = agora(QUICK, "--accuracy", "0.3,adder=0.7", "--correlation", "0.2", "--conformity", "0.5",
                 "--persuasion", "0.2", "--abstention", "0.05", "--latency", "2",
                 "-n", "2000", "-o", picture)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in (
        "2,000 debates of 4 simulated agents", "accuracy after round", "0 (no debate)", "verdict right",
        "ended by: unanimous", "ended by: rounds(2)", "calls", "tokens in", "cost, USD", "seconds", "right to wrong",
        "all end with one wrong answer", "correlation 0.2", "with probability 0.6 if it is right and 0.4 if",
        "every call takes 2 s", "assumed", "stated confidences",
    ):  # fmt: skip
        assert text in done.stdout, text
    svg = ElementTree.parse(picture)
    assert "rounds (accuracy of the vote)" in "".join(svg.getroot().itertext())


def test_json_is_one_object_and_the_same_for_the_same_seed() -> None:
    args = (QUICK, "--conformity", "0.5", "-n", "500", "--json", "--seed", "3", "--set", "moderator.stop=rounds(1)")
    done = agora(*args)
    said = json.loads(done.stdout)
    assert said["debates"] == 500
    assert [set(share) for share in said["by_round"]] == [{"mean", "low", "high"}] * 2
    assert said["accuracy"] == said["by_round"][-1]
    assert said["calls"] == {"mean": 8.0, "error": 0.0, "low": 8.0, "high": 8.0}
    assert said["seconds"] is None
    assert agora(*args).stdout == done.stdout
    once = json.loads(agora(QUICK, "-n", "1", "--json").stdout)
    assert once["calls"]["error"] is None  # NaN is no JSON


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--accuracy", "1.5"], "accuracy: must be a number from 0 to 1"),
        (["--accuracy", "nan"], "accuracy: must be a number from 0 to 1"),
        (["--accuracy", ""], "'' is no number"),
        (["--accuracy", "adder=high"], "'high' is no number"),
        (["--accuracy", "adder=0.5"], "accuracy: none is given for multiplier"),
        (["--accuracy", "0.5,nobody=0.5"], "there is no agent 'nobody'"),
        (["--accuracy", "0.5,adder=0.5,adder=0.6"], "names an agent twice"),
        (["--accuracy", "0.5,=0.5"], "names an agent twice, or nobody"),
        (["--conformity", "-0.1"], "conformity"),
        (["--correlation", "1.1"], "correlation"),
        (["--persuasion", "2"], "persuasion"),
        (["--abstention", "x"], "no number"),
        (["--options", "1"], "options: must be 2 to"),
        (["--options", "100000"], "options: must be 2 to"),
        (["--concentration", "0"], "concentration"),
        (["--concentration", "inf"], "concentration"),
        (["--confidence", "0.5,0.6,0.7"], "two numbers"),
        (["--confidence", "2"], "confidence"),
        (["--latency", "-1"], "latency"),
        (["--latency", "nan"], "latency"),
        (["-n", "0"], "n must be 1 to"),
        (["-n", "999999999"], "n must be 1 to"),
        (["-n", "2000000", "--set", "moderator.stop=rounds(1000)"], "too many for memory"),
        (["--seed", "-1"], "seed"),
        (["-o", "picture.pdf"], "a picture is a .svg"),
        (["-n", "10", "-o", "/nowhere/at/all.svg"], "cannot be written"),
        (["--set", "moderator.decide={vote: median}"], "the median of numbers is not simulated"),
        (["--set", "answer=yes_no", "--options", "3"], "options: the debate's answers are 2, not 3"),
        (["--set", "moderator.decide=distribution"], "not right or wrong"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(args: list[str], said: str) -> None:
    done = agora(QUICK, *args)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_no_file() -> None:
    assert agora("nowhere.yaml").returncode == 2


REFUSED = ("abstain-compete", "abstain-cooperate", "cross-examination", "delphi", "distributional", "overton",
           "structured-interaction")  # fmt: skip


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_predicted_or_refused(name: str) -> None:
    models = {key: {"scripted": "nothing"} for key in presets.data(name)["models"]}
    debate = presets.preset(name, models=models)
    try:
        made = simulate(debate, Population(0.6, 0.2, conformity=0.5, abstention=0.05), n=100, latency=1)
    except InputError as error:
        said = str(error)
    else:
        said = ""
    if said or name in REFUSED:
        assert name in REFUSED
        assert said.startswith("simulate:")
        return
    expected = anyio.run(forecast, debate, "A question of one sentence, as none is given here?")
    assert made.calls.high <= expected.most.calls + 1e-6
    if name != "imad":  # which agents that agree do not skip
        assert made.calls.low >= expected.least.calls - 1e-6
    assert made.seconds is not None
    assert 0 < made.seconds.mean <= made.calls.mean + 1e-6
    assert made.input_tokens is not None
    assert made.input_tokens.mean <= expected.most.input_tokens * 1.001


def five(stop: Any, **more: Any) -> Debate:
    agents = [Agent(name, ScriptedModel("Answer: 1")) for name in "abcde"]
    return Debate(agents, moderator=Moderator(stop), answer="number", **more)


def test_tokens_are_those_of_the_rehearsal_where_the_number_of_rounds_is_fixed() -> None:
    debate = five(rounds(2))
    expected = anyio.run(forecast, debate, "A question?").most
    made = simulate(debate, n=20, question="A question?")
    assert made.calls.mean == expected.calls == 15
    assert made.input_tokens is not None
    assert made.output_tokens is not None
    assert made.input_tokens.mean == pytest.approx(expected.input_tokens)
    assert made.output_tokens.mean == pytest.approx(expected.output_tokens)


def test_what_is_not_simulated_is_said() -> None:
    debate, _ = loads(
        """
models: {m: {scripted: ["Answer: 1"]}, two: {cascade: [m, m], until: agreement >= 0.5}}
agents: {a: m, b: {model: m, adversary: {goal: say 2}}, c: two}
moderator: {stop: "judge(m) | declared | rounds(2)", decide: {judge: m}}
protocol: {schedule: {kind: quorum, share: 0.5}, memory: transcript}
budget: {calls: 5, usd: 1}
answer: number
"""
    )
    made = simulate(debate, n=50)
    for text in (
        "stop rule judge", "stop rule declared", "quorum schedule depends on time", "memory", "c: the models in it",
        "adversaries", "decision by a model (judge)", "budget of 5 calls", "budget (usd)",
    ):  # fmt: skip
        assert any(text in note for note in made.notes), (text, made.notes)
    assert made.over_budget is not None
    assert made.over_budget.mean == 1.0


def test_the_hard_limit_and_many_agents() -> None:
    from agora.text.stop import unanimous

    made = simulate(five(unanimous(), topology="isolated"), n=50)
    assert "the hard limit of 20 rounds" in made.reasons
    many = Debate([Agent(f"a{i}", ScriptedModel("Answer: 1")) for i in range(3000)], answer="number",
                  topology={"small_world": {"k": 4}}, moderator=Moderator(rounds(3)))  # fmt: skip
    made = simulate(many, Population(0.4, conformity=0.5), n=3)
    assert made.calls.mean == 12_000
    assert made.input_tokens is made.usd is None
    assert any("tokens are not predicted" in note for note in made.notes)


def test_groups_and_the_others_are_named() -> None:
    debate, _ = loads(
        "agents: {a: {model: {scripted: ['x']}, count: 3}, b: {model: {scripted: ['x']}}}\nanswer: yes_no"
    )
    names = debate.topology.agents
    assert Population({"a": 0.7, "a-2": 0.1, "*": 0.5}).values("accuracy", names).tolist() == [0.7, 0.1, 0.7, 0.5]


def test_in_a_running_loop(anyio_backend: str) -> None:
    async def go() -> float:
        return (await simulated(five(rounds(1)), n=10)).calls.mean

    assert anyio.run(go, backend=anyio_backend) == 10


def test_in_a_notebook_it_says_what_to_use() -> None:
    async def go() -> None:
        simulate(five(rounds(1)), n=10)

    with pytest.raises(RuntimeError, match="await simulated"):
        anyio.run(go)
