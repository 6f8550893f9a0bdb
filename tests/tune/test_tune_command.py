"""`agora tune` as a user meets it: what it finds and writes, what is wrong, and a process that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

FILE = """\
# one of three is right
agents:
  knows: {model: {scripted: "Answer: 7"}}    # this one
  errs:  {model: {scripted: "Answer: 8"}}
  too:   {model: {scripted: "Answer: 8"}}
topology: complete
moderator: {stop: rounds(1)}
answer: number
"""


def agora(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agora.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "debate.yaml").write_text(FILE, encoding="utf-8")
    lines = [json.dumps({"question": f"Question {i}?", "answer": "7"}) for i in range(40)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def tune(folder: Path, *more: object, store: str = "runs.sqlite") -> subprocess.CompletedProcess[str]:
    where = ("--data", folder / "data.jsonl", "--store", f"sqlite:///{folder / store}")
    return agora("tune", folder / "debate.yaml", *where, *more)


def test_it_finds_writes_and_reports(folder: Path) -> None:
    out, plot = folder / "winner.yaml", folder / "curve.svg"
    done = tune(folder, "--trials", 8, "-o", out, "--plot", plot)
    assert (done.returncode, done.stderr) == (0, "")
    assert "debate.yaml: 8 candidates for accuracy on 20 items" in done.stdout
    assert "On 20 held-out items:" in done.stdout
    assert "The winner is better than the file it started from: +100.0 points" in done.stdout
    assert "winner's curse" in done.stdout
    assert "  paid for " in done.stdout
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# Tuned from debate.yaml for accuracy on 20 items of data.jsonl.\n# On 20 held-out items: ")
    assert "# one of three is right\n" in text
    assert '  knows: {model: {scripted: "Answer: 7"}}    # this one\n' in text
    assert plot.read_text(encoding="utf-8").startswith("<svg")
    ran = agora("run", out, "-q", "Which?", "--json", "--store", "none")
    assert json.loads(ran.stdout)["answer"] == "7"
    again = tune(folder, "--trials", 8, "-o", out, "--json")  # over a file that it has written itself
    told = json.loads(again.stdout)
    assert again.returncode == 0
    assert told["spent"]["calls"] == 0
    assert told["earlier"]["calls"] > 0
    assert (told["verdict"], told["dev"], told["held_out"]["n"]) == ("better", 20, 20)
    assert told["winner"]["accuracy"] == 1
    assert told["start"]["accuracy"] == 0
    assert "The winner is better" in told["sentence"]
    assert out.read_text(encoding="utf-8") == text


def test_values_left_open_and_over(folder: Path) -> None:
    path = folder / "debate.yaml"
    path.write_text(FILE.replace('"Answer: 8"', "{choose: ['Answer: 8', 'Answer: 7']}", 1), encoding="utf-8")
    done = tune(folder, "--over", "moderator.decide=plurality,confidence", "--json", "--seed", 3)
    told = json.loads(done.stdout)
    assert told["winner"]["values"]["agents.errs.model.scripted"] == "Answer: 7"
    assert told["verdict"] == "better"
    assert told["stopped"] == "all that can be tried has been tried"
    assert len(told["trials"]) == 6  # 2 scripts, and the decision as in the file, which says nothing, or one of 2


def test_a_budget_ends_it_with_a_winner_or_with_status_3(folder: Path) -> None:
    done = tune(folder, "--budget", "calls=400")
    assert done.returncode == 0
    assert "ended early: the budget of" in done.stdout
    assert "held-out items:" in done.stdout
    done = tune(folder, "--budget", "calls=5", store="other.sqlite")
    assert done.returncode == 3
    assert done.stderr.startswith("agora: the budget of 5 calls is used up")
    assert "the same command goes on" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = tune(folder, "--budget", "calls=5", "--json", store="other.sqlite")
    assert json.loads(done.stdout)["exit_status"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--over", "topology"], "is not KEY=VALUE"),
        (["--over", "topology=nowhere,nothing"], "none of its values makes a debate: unknown topology 'nowhere'"),
        (["--over", "tpology=ring,star"], "none of its values makes a debate: unknown key 'tpology'"),
        (["--seed", "-1"], "a seed is a whole number, at least 0"),
        (["--seed", str(2**63)], "a seed is a whole number, at least 0"),
        (["--objective", "speed"], "is no objective"),
        (["--budget", "hours=2"], "is none of calls, tokens, usd, seconds"),
        (["--budget", "usd=much"], "needs a number"),
        (["--budget", "usd=-1"], "must not be negative"),
        (["--held-out", "FOLDER/data.jsonl"], "each held-out question is also tuned on"),
        (["--held-out", "nowhere.jsonl"], "there is no data"),
        (["-n", "3"], "too few"),
        (["-o", "FOLDER/debate.yaml"], "is there already"),
        (["-o", "FOLDER/data.jsonl"], "is there already"),
        (["-o", "FOLDER"], "is a folder"),
        (["-o", "FOLDER/no/where.yaml"], "there is no folder"),
        (["--plot", "FOLDER/curve.png"], "is a .svg"),
        (["--set", "topology={choose: [ring]}"], "'choose' takes a list"),
        (["--set", "moderator.stop=never"], "stop"),
        (["--trials", "0"], "--trials"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_2(folder: Path, arguments: list[str], said: str) -> None:
    done = tune(folder, *(one.replace("FOLDER", str(folder)) for one in arguments))
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert said in done.stderr
    assert (folder / "debate.yaml").read_text(encoding="utf-8") == FILE


def test_of_values_some_of_which_are_wrong_the_others_are_tried(folder: Path) -> None:
    done = tune(folder, "--over", "topology=nowhere,{small_world: {k: 2, p: 0.1}}", "--json")
    told = json.loads(done.stdout)
    assert [one["reason"] for one in told["trials"] if one["state"] == "skipped"] == ["unknown topology 'nowhere'."]
    tried = [one["changed"] for one in told["trials"] if one["state"] != "skipped"]
    assert tried == [{}, {"topology": {"small_world": {"k": 2, "p": 0.1}}}]


def test_held_out_items_on_which_all_fails_are_no_result(folder: Path) -> None:
    (folder / "others.jsonl").write_text('{"question": "Who?", "answer": "7"}\n')
    known = re.sub('"(Answer: .)"', r'{"Question [0-9]": "\1"}', FILE)  # it fails on any other question
    (folder / "debate.yaml").write_text(known, encoding="utf-8")
    done = tune(folder, "--held-out", str(folder / "others.jsonl"), "--json")
    assert any("did nothing but fail" in note for note in json.loads(done.stdout)["notes"]), done.stdout


def test_without_the_optimiser_it_says_what_to_install(folder: Path) -> None:
    (folder / "optuna.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = agora("tune", folder / "debate.yaml", "--data", folder / "data.jsonl", "--store", "none", PYTHONPATH=path)
    assert done.returncode == 2
    assert "pip install 'agora-debate[tune]'" in done.stderr


# ---- killed -----------------------------------------------------------------------------------------------------

KILLED = """
import hashlib, json, sys, anyio
from crowd import Voice, debate, herd, items
from agora.tune import Parameter, Space, tune

class Logged(Voice):
    async def answer(self, messages, settings):
        await anyio.sleep(0.002)
        reply = await super().answer(messages, settings)
        prompt = repr([m.content for m in messages])
        with open(sys.argv[2], "a") as log:
            log.write(f"{self.name} {settings.seed} {hashlib.md5(prompt.encode()).hexdigest()}\\n")
        return reply

def made(values):
    skill = values["skill"]
    voices = [Logged(f"{skill} {i}", skill, herd if values["herd"] else None) for i in range(values["size"])]
    return debate(*voices, last=values["rounds"])

space = Space.of([
    Parameter("size", 2, (2, 1, 3)), Parameter("rounds", 1, (1, 0, 2)), Parameter("herd", True, (True, False)),
    Parameter("skill", 0.4, low=0.2, high=0.8, step=0.2),
], made)
tuned = tune(space, items(40), trials=8, seed=4, concurrency=4, journal=sys.argv[1])
held = tuned.held_out
print(json.dumps({
    "trials": [[t.values, t.state, t.items, t.score] for t in tuned.trials],
    "winner": tuned.winner.values,
    "held out": [held.n, held.start.right, held.winner.right, held.sentence],
    "paid": tuned.spent.calls + tuned.earlier.calls,
}))
"""


def test_killed_twice_it_comes_to_the_same_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}{Path(__file__).parents[2]}"}

    def start(store: str, log: Path) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), f"sqlite:///{tmp_path / store}", str(log)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    log = tmp_path / "log"
    for lines in (60, 200):  # while the start is run, and while others are
        process = start("killed.sqlite", log)
        while process.poll() is None and (not log.exists() or log.read_text().count("\n") < lines):
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    out, _ = start("killed.sqlite", log).communicate(timeout=300)
    whole, _ = start("whole.sqlite", tmp_path / "other").communicate(timeout=300)
    killed: Any
    killed, other = json.loads(out), json.loads(whole)
    assert killed == other  # the same candidates, stopped at the same places, the same winner, the same result
    made = Counter(log.read_text().splitlines())
    assert other["paid"] == len((tmp_path / "other").read_text().splitlines())
    assert set(made) == set((tmp_path / "other").read_text().splitlines())
    # what was answered is not asked again: only calls under way when it was killed, 4 items of at most 3 agents
    assert made.total() - len(made) <= 2 * 4 * 3
