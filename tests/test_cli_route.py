"""The commands route train and route report: what they write and print, and what is wrong in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.text.stop import rounds


def agora(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def records(path: Path, n: int = 60, models: tuple[str, ...] = ("weak", "strong")) -> Path:
    draw = np.random.default_rng(n)
    lines = []
    for i in range(n):
        hard = i % 3 > 0
        prompt = f"{'prove the theorem' if hard else 'add the apples'} number {int(draw.integers(99))} {i}"
        for j, model in enumerate(models):
            score = 0.0 if hard and not j else 1.0
            lines.append(json.dumps({"prompt": prompt, "model": model, "score": score, "cost": 0.001 * 10**j}))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_train_report_and_use(tmp_path: Path, ending: str) -> None:
    router = tmp_path / f"router.{ending}"
    done = agora("route", "train", "--from", records(tmp_path / "fit.jsonl"), "-o", router, "--spend", "0.0075",
                 "--option", "k=15", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["models"] == ["weak", "strong"]
    assert said["lambda"] > 0
    made = agora("route", "report", "--from", records(tmp_path / "test.jsonl", 90), "--router", router, "--json", "-o",
                 tmp_path / "plane.svg")  # fmt: skip
    assert made.returncode == 0, made.stderr
    figures = json.loads(made.stdout)["figures"]
    assert figures["aiq_random"] < figures["aiq"] <= figures["aiq_oracle"] + 1e-9
    assert figures["apgr"] > 0.6
    assert ElementTree.parse(tmp_path / "plane.svg").getroot().tag.endswith("svg")
    printed = agora("route", "report", "--from", tmp_path / "test.jsonl", "--router", router)
    for text in ("weak alone", "strong alone", "oracle", "AIQ", "APGR", "50% of the gap", "80% of the gap", "["):
        assert text in printed.stdout
    debate = tmp_path / "d.yaml"
    debate.write_text(f"""
models:
  weak: {{scripted: ["Answer: 1"], name: weak}}
  strong: {{scripted: ["Answer: 2"], name: strong}}
  auto: {{route: [weak, strong], by: router.{ending}}}
agents: {{a: auto}}
answer: number
moderator: {{stop: rounds(0)}}
""")
    for question, answer in (("prove the theorem number 3", "2"), ("add the apples number 4", "1")):
        ran = agora("run", debate, "-q", question, "--json", "--store", "none")
        assert json.loads(ran.stdout)["answer"] == answer, ran.stderr


def test_train_from_a_store_of_runs(tmp_path: Path) -> None:
    agents = [Agent(name, ScriptedModel(f"Answer: {i}", name=name)) for i, name in enumerate(("x", "y", "z"))]
    agents.append(Agent("w", ScriptedModel("Answer: 1", name="w")))
    debate = Debate(agents, moderator=Moderator(rounds(0)), answer="number")
    for i in range(6):
        debate.run(f"question about thing {i}", journal=tmp_path / "runs.sqlite")
    store = f"sqlite:///{tmp_path / 'runs.sqlite'}"
    done = agora("route", "train", "--from", store, "-o", tmp_path / "r.json", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["prompts"] == 6
    assert set(said["models"]) == {"x", "y", "z", "w"}


def test_a_share_of_strong_calls(tmp_path: Path) -> None:
    fit = records(tmp_path / "fit.jsonl")
    done = agora("route", "train", "--from", fit, "-o", tmp_path / "r.json", "--share", "0.5", "--json")
    assert 0 < json.loads(done.stdout)["threshold"] < 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["train", "--from", "no.jsonl", "-o", "r.json"], "cannot be read"),
        (["train", "--from", "fit.jsonl", "-o", "r.pickle"], "a .json or a .safetensors"),
        (["train", "--from", "fit.jsonl", "-o", "there.json"], "is there already"),
        (["train", "--from", "fit.jsonl", "-o", "r.json", "--spend", "0.00001"], "less than the cheapest"),
        (["train", "--from", "fit.jsonl", "-o", "r.json", "--spend", "1", "--share", "1"], "give one of them"),
        (["train", "--from", "three.jsonl", "-o", "r.json", "--share", "0.5"], "between two models"),
        (["train", "--from", "one.jsonl", "-o", "r.json"], "chooses among models"),
        (["train", "--from", "fit.jsonl", "-o", "r.json", "--option", "kk=3"], "does not take kk"),
        (["train", "--from", "fit.jsonl", "-o", "r.json", "--option", "k"], "needs KEY=NUMBER"),
        (["train", "--from", "fit.jsonl", "-o", "r.json", "--option", "k=0"], "at least 1"),
        (["train", "--from", "bad.jsonl", "-o", "r.json"], "bad.jsonl:2"),
        (["train", "--from", "empty.sqlite", "-o", "r.json"], "sqlite:///"),
        (["report", "--from", "fit.jsonl", "--router", "no.json"], "cannot be read"),
        (["report", "--from", "fit.jsonl", "--router", "there.json"], "no router file"),
        (["report", "--from", "fit.jsonl", "--router", "there.json", "-o", "x.png"], "the picture is a .svg"),
        (["report", "--from", "other.jsonl", "--router", "good.json"], "trained for weak, strong, not for"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    records(tmp_path / "fit.jsonl", 30)
    records(tmp_path / "three.jsonl", 30, ("a", "b", "c"))
    records(tmp_path / "one.jsonl", 30, ("a",))
    records(tmp_path / "other.jsonl", 30, ("a", "b"))
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "model": "m", "score": 1}\n{"prompt": "a", "score": NaN}\n')
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "empty.sqlite").write_text("")
    if "good.json" in args:
        assert agora("route", "train", "--from", "fit.jsonl", "-o", "good.json").returncode == 0
    done = agora("route", *args)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()
