"""Merging as users meet it: the command, and models of a debate file that are merges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from small import model as write_checkpoint

from agora import Message
from agora.config import load, load_model
from agora.errors import InputError
from agora.models.pocket import WEIGHTS, PocketModel
from agora.models.pocket.network import read_safetensors
from agora.weight import cached

QUESTION = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
HALF = "{linear: {'pocket:sum': 0.5, 'pocket:mul': 0.5}, dtype: float32}"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGORA_CACHE", str(tmp_path / "cache"))


def agora(*args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def said(model: Any) -> str:
    return anyio.run(model.answer, [Message("user", QUESTION)]).text  # type: ignore[no-any-return]


# ---- the command ------------------------------------------------------------------------------------------------


def test_it_writes_a_checkpoint_that_is_the_mean(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(HALF)
    done = agora("merge", tmp_path / "r.yaml", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'out'}: linear, 38 tensors")
    assert f"hf:{tmp_path / 'out'}" in done.stdout
    made = read_safetensors(tmp_path / "out" / "model.safetensors")
    one, two = (read_safetensors(WEIGHTS / n / "model.safetensors") for n in ("sum", "mul"))
    for name, values in made.items():
        np.testing.assert_array_equal(values, (one[name] + two[name]) / 2)
    assert {"README.md", "agora_recipe.yaml", "config.json", "tokenizer.json"} <= set(os.listdir(tmp_path / "out"))


def test_what_is_written_can_be_merged_again(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(HALF)
    assert agora("merge", tmp_path / "r.yaml", tmp_path / "out").returncode == 0
    done = agora("merge", tmp_path / "out" / "agora_recipe.yaml", tmp_path / "again", "--json")
    assert json.loads(done.stdout)["tensors"] == 38
    first, second = (read_safetensors(tmp_path / n / "model.safetensors") for n in ("out", "again"))
    assert all((first[name] == second[name]).all() for name in first)


def test_nothing_is_overwritten_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(HALF)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    done = agora("merge", tmp_path / "r.yaml", tmp_path / "out")
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    assert agora("merge", tmp_path / "r.yaml", tmp_path / "out", "--force").returncode == 0
    assert not (tmp_path / "out" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ("{tie: [a, b]}", "Did you mean 'ties'"),
        ("{ties: ['pocket:sum', 'pocket:nope'], base: 'pocket:base', density: 0.5}", "no pocket model 'nope'"),
        ("{ties: ['pocket:sum'], base: 'pocket:base'}", "needs 'density'"),
        ("{ties: ['pocket:sum'], base: 'pocket:base', densty: 0.5}", "Did you mean 'density'"),
        ("{linear: {'pocket:sum': 1, 'pocket:mul': -1}}", "sum to 0|sum of|add up to 0"),
        ("[1, 2", "not YAML"),
        ("", "mapping"),
    ],
)
def test_wrong_recipes_get_one_sentence(tmp_path: Path, recipe: str, match: str) -> None:
    import re

    (tmp_path / "r.yaml").write_text(recipe)
    done = agora("merge", tmp_path / "r.yaml", tmp_path / "out")
    assert done.returncode == 2, done.stdout
    assert re.search(match, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        tensors = {f"model.layers.{i}.w": rng.normal(size=(1500, 2000)).astype(np.float32) for i in range(8)}
        write_checkpoint(tmp_path / name, tensors)
    recipe = f"{{slerp: ['{tmp_path / 'a'}', '{tmp_path / 'b'}'], t: 0.5}}"
    (tmp_path / "r.yaml").write_text(recipe)
    command = [sys.executable, "-m", "agora.cli", "merge", str(tmp_path / "r.yaml"), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".out*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was done sooner
        assert process.returncode == 130
        assert "interrupted" in err
        assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


# ---- in a debate file -------------------------------------------------------------------------------------------


def test_a_merge_is_a_model_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"merge": {"linear": {"pocket:sum": 1.0}, "dtype": "float32"}}
    assert said(load_model(value)) == said(PocketModel("sum"))
    (kept,) = cached.place().iterdir()
    seen = kept.stat().st_mtime_ns
    model = load_model(value)
    assert said(model) == said(PocketModel("sum"))
    assert kept.stat().st_mtime_ns == seen
    assert cached.clear() > 1_000_000
    assert not cached.place().exists()


def test_it_names_models_of_the_file_and_nests(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        "models:\n  base: pocket:base\n  a: {pocket: sum, temperature: 0.5}\n  b: pocket:mul\n"
        "  both: {merge: {task_arithmetic: {a: 0.3, b: 0.3}, base: base}}\n"
        "  again: {merge: {linear: [both, a]}}\n"
        "  fused: {fuse: [both, again, a], method: surest}\n"
        "agents: {one: both, two: again, three: fused}\nanswer: number\nmoderator: {stop: rounds(1)}\n"
    )
    debate, _ = load(file)
    assert anyio.run(debate.answer, QUESTION).usage.calls == 6
    assert len(list(cached.place().iterdir())) == 2
    cached.clear()
    done = agora("check", file)
    assert done.returncode == 0, done.stderr
    assert not cached.place().exists()  # who only looks makes none


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"merge": {"ties": ["pocket:sum"], "base": "pocket:base"}}, "density"),
        ({"merge": {"tie": ["pocket:sum"]}}, "Did you mean 'ties'"),
        ({"merge": ["pocket:sum"]}, "needs a recipe"),
        ({"merge": "nowhere.yaml"}, "cannot be read"),
        ({"merge": {"linear": ["pocket:sum", "./nowhere"]}}, "no model './nowhere'"),
        ({"merge": {"linear": ["pocket:sum"]}, "adapter": "x"}, "unknown option 'adapter'"),
    ],
)
def test_wrong_ones_are_refused(value: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        load_model(value)
    assert "\n" not in str(error.value)


def test_a_model_without_weights_cannot_be_merged(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("models: {far: 'scripted:hello', z: {merge: {linear: [far, 'pocket:sum']}}}\nagents: {one: z}\n")
    with pytest.raises(InputError, match="far has no weights on this machine"):
        load(file)


# ---- mixtures, and searches -------------------------------------------------------------------------------------

MIXED = """
mixture:
  experts:
    - {model: "pocket:sum", prompts: ["Q: Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?\\nA: "]}
    - {model: "pocket:mul", prompts: ["Q: Ida has 16 boxes of 9 cups. How many cups in all?\\nA: "]}
  top: 1
"""


def test_a_mixture_is_a_recipe_too(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MIXED)
    done = agora("merge", tmp_path / "m.yaml", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "mixture"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_local_experts"] == 2


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    from agora.models.pocket.problems import generate

    rows = [json.dumps({"question": p.question, "answer": p.answer}) for p in generate(3, 16, split="train")]
    (tmp_path / "dev.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path / "dev.jsonl"


def test_a_search_writes_what_scores_best_and_goes_on_from_its_history(tmp_path: Path, dev: Path) -> None:
    recipe = "{linear: {'pocket:sum': {weight: {search: [0.2, 1]}}, 'pocket:mul': {weight: 0.3}}}"
    (tmp_path / "r.yaml").write_text(recipe)
    options = ["--search", "--data", dev, "--how", "random", "--evaluations", "4", "--json"]
    first = agora("merge", tmp_path / "r.yaml", tmp_path / "out", *options, "--plot", tmp_path / "p.svg")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert found["evaluations"] == 4
    assert len(found["curve"]) == 4
    assert found["score"] == max(found["curve"])
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    kept = (tmp_path / "out.history.jsonl").read_bytes()
    again = agora("merge", tmp_path / "r.yaml", tmp_path / "out", *options, "--force")
    assert {k: v for k, v in json.loads(again.stdout).items() if k not in ("seconds", "scoring")} == {
        k: v for k, v in found.items() if k not in ("seconds", "scoring")
    }
    assert (tmp_path / "out.history.jsonl").read_bytes() == kept


def test_a_soup_is_searched_for_its_weights(tmp_path: Path, dev: Path) -> None:
    (tmp_path / "r.yaml").write_text("{soup: ['pocket:sum', 'pocket:mul']}")
    done = agora("merge", tmp_path / "r.yaml", tmp_path / "out", "--search", "--data", dev, "--how", "greedy_soup")
    assert done.returncode == 0, done.stderr
    assert "greedy_soup" in done.stdout
    assert "best single" in done.stdout


@pytest.mark.parametrize(
    ("recipe", "data", "options", "match"),
    [
        ("{soup: ['pocket:sum', 'pocket:mul']}", None, ["--search"], "needs --data"),
        ("{soup: ['pocket:sum', 'pocket:mul']}", "x", ["--search"], r"d\.jsonl:1: this is not JSON"),
        ("{soup: ['pocket:sum', 'pocket:mul']}", "[1]", ["--search"], "a `question` and an `answer`"),
        ("{soup: ['pocket:sum', 'pocket:mul']}", "", ["--search"], "holds no problems"),
        ("{soup: ['pocket:sum', 'pocket:mul']}", '{"question": "a", "answer": 1}', ["--search", "--how", "swam"],
         "Did you mean 'swarm'"),
        ("{soup: ['pocket:sum', 'pocket:mul']}", None, ["--evaluations", "3"], "is of --search"),
        ("{slerp: ['pocket:sum', 'pocket:mul'], t: 0.5}", '{"question": "a", "answer": 1}', ["--search"],
         "nothing is left free"),
    ],
)  # fmt: skip
def test_wrong_searches_get_one_sentence(
    tmp_path: Path, recipe: str, data: str | None, options: list[str], match: str
) -> None:
    import re

    (tmp_path / "r.yaml").write_text(recipe)
    if data is not None:
        (tmp_path / "d.jsonl").write_text(data)
        options = [*options, "--data", str(tmp_path / "d.jsonl")]
    done = agora("merge", tmp_path / "r.yaml", tmp_path / "out", *options)
    assert done.returncode == 2, done.stdout
    assert re.search(match, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"adapters": {}, "base": "./b"}, "needs a mapping|nothing to choose"),
        ({"adapters": {"a": {"adapter": "./a"}}, "base": "./b"}, "prompts"),
        ({"adapters": {"a": {"adapter": "./a", "prompts": ["x"]}}}, "base"),
    ],
)
def test_wrong_adapters_are_refused(value: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_model(value)
