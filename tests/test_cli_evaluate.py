"""`agora eval`: what it prints, writes, refuses; how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agora.cli import agora as cli
from agora.errors import AgoraError, InputError

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "examples" / "quickstart.yaml")


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *args])


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.sqlite'}"


def test_json_and_nothing_else(store: str) -> None:
    made = run(QUICKSTART, "--data", "pocket:6", "--store", store, "--json")
    assert made.exit_code == 0, made.output
    data = json.loads(made.stdout)
    assert (data["data"], data["items"], data["seed"]) == ("pocket", 6, 0)
    names = [one["name"] for one in data["summaries"]]
    assert names[0] == "quickstart"
    assert {"quickstart: isolated", "quickstart: noise", "quickstart: self-consistency (calls)"} <= set(names)
    assert all(one["n"] == 6 for one in data["summaries"])
    assert any("self-consistency (usd) was not run" in note for note in data["notes"])


def test_tables_words_and_files(store: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = run(QUICKSTART, "--data", "pocket:8", "--store", store, "--out", str(out))
    assert made.exit_code == 0, made.output
    for words in ("8 items of pocket", "round-0 vote", "95% interval", "some agent was right", "debating put", "wrote"):
        assert words in made.stdout, words
    assert {path.name for path in out.iterdir()} >= {"report.html", "results.json", "table.md"}
    again = run(QUICKSTART, "--data", "pocket:8", "--store", store, "--json", "-b", "vote")
    assert json.loads(again.stdout)["summaries"][0]["accuracy"] is not None


def test_two_evaluations_beside_each_other(store: str, tmp_path: Path) -> None:
    for name, setting in (("one", "moderator.stop=rounds(1)"), ("two", "topology=isolated")):
        made = run(QUICKSTART, "--data", "pocket:12", "--store", store, "-b", "none", "--set", setting,
                   "--out", str(tmp_path / name))  # fmt: skip
        assert made.exit_code == 0, made.output
    told = run("--compare", str(tmp_path / "one"), str(tmp_path / "two"))
    assert told.exit_code == 0, told.output
    assert "quickstart (two)" in told.stdout
    assert json.loads(run("--compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json").stdout)["n"] == 12


def test_a_grid_pays_for_the_shared_first_round_once(store: str) -> None:
    grid = ("--grid", "topology=ring,complete", "--grid", "moderator.stop=rounds(1),rounds(2)")
    made = run(QUICKSTART, "--data", "pocket:5", "--store", store, "--json", *grid)
    data = json.loads(made.stdout)
    debates = [one["name"] for one in data["summaries"] if one["role"] == "debate"]
    assert debates == [
        f"quickstart topology={topology} moderator.stop=rounds({n})"
        for topology in ("ring", "complete")
        for n in (1, 2)
    ]
    from agora import Journal

    async def paid() -> int:
        async with Journal(store) as journal:
            runs = await journal.runs()
            return sum(info.usage.calls for info in runs)

    import anyio

    # each debate alone takes 8 or 12 calls an item, 40 in all; the first rounds of all four are one, and so is the
    # second of both rings, and of both complete graphs
    assert anyio.run(paid) == 5 * (4 + 2 * (4 + 4))


def test_a_budget_ends_it_with_what_there_is(store: str) -> None:
    made = run(QUICKSTART, "--data", "pocket:20", "--store", store, "--budget", "calls=60", "-c", "1")
    assert made.exit_code == 3
    assert "stopped: the budget of 60 calls is used up" in " ".join(made.stdout.split())
    rest = run(QUICKSTART, "--data", "pocket:20", "--store", store, "-b", "vote", "--json")
    assert json.loads(rest.stdout)["summaries"][0]["n"] == 20


def test_values_of_a_grid_may_have_commas_of_their_own(store: str) -> None:
    grid = ("--grid", "topology=ring, {small_world: {k: 2, p: 0.1}}")
    made = run(QUICKSTART, "--data", "pocket:2", "--store", store, "--json", *grid)
    debates = [one["name"] for one in json.loads(made.stdout)["debates"]]
    assert debates == ["quickstart topology=ring", "quickstart topology={small_world: {k: 2, p: 0.1}}"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_what_was_found_is_said_where_it_cannot_be_written(
    more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agora.evaluate import results_io

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results_io.tempfile, "mkstemp", full)
    made = run(QUICKSTART, "--data", "pocket:2", "-b", "vote", "--store", "none", "--out", str(tmp_path), *more)
    assert isinstance(made.exception, InputError)
    assert "no space left on device" in str(made.exception)
    if more:
        assert json.loads(made.stdout)["summaries"][0]["n"] == 2
    else:
        assert "round-0 vote" in made.stdout


def test_a_folder_that_cannot_be_written_to_is_found_before_anything_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write to any
    made = run(QUICKSTART, "--data", "pocket:2", "--store", "none", "--out", str(tmp_path / "a" / "b"))
    assert "cannot be written to" in str(made.exception)
    assert (made.stdout, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give the FILE of a debate"),
        ((QUICKSTART,), "needs --data"),
        ((QUICKSTART, "--data", "nope"), "there is no data"),
        ((QUICKSTART, "--data", "arithmatic:5"), "Did you mean 'arithmetic'"),
        ((QUICKSTART, "--data", "pocket:2", "-b", "foo"), "'foo' is no baseline"),
        ((QUICKSTART, "--data", "pocket:2", "--match", "time"), "cannot be matched in 'time'"),
        ((QUICKSTART, "--data", "pocket:2", "--budget", "eur=1"), "is none of calls, tokens, usd, seconds"),
        ((QUICKSTART, "--data", "pocket:2", "--budget", "usd=x"), "needs a number"),
        ((QUICKSTART, "--data", "pocket:2", "--grid", "topology"), "is not KEY=VALUE,VALUE"),
        ((QUICKSTART, QUICKSTART, "--data", "pocket:2"), "two debates are called 'quickstart'"),
        ((QUICKSTART, "--data", "pocket:2", "--out", QUICKSTART), "is a file"),
        ((QUICKSTART, "--data", "pocket:2", "--out", QUICKSTART + "/x/y"), "is a file"),
        ((QUICKSTART, "--data", "pocket:2", "--grid", "topology=ring, ring"), "'topology=ring' stands there twice"),
        ((QUICKSTART, "--data", "pocket:2", "--temperature", "nan"), "a temperature is a number from 0 to 2"),
        ((QUICKSTART, "--data", "pocket:2", "--seed", str(2**63)), "a seed is a whole number of at most 64 bits"),
        (("--compare", "a", "b"), "holds no evaluation"),
        (("--compare", str(ROOT), str(ROOT / "tests" / "..")), "are one evaluation"),
        (("--compare", "a", "b", QUICKSTART), "and nothing else"),
    ],
)
def test_wrong_input_is_one_sentence(args: tuple[str, ...], said: str) -> None:
    made = run(*args, "--store", "none")
    assert isinstance(made.exception, InputError), made.output
    assert said in str(made.exception)
    assert made.exception.exit_status == 2


def test_wrong_settings_are_found_before_anything_is_said_of_calls() -> None:
    made = run(QUICKSTART, "--data", "pocket:2", "-b", "foo", "--store", "none")
    assert "calls" not in made.stdout


def test_models_that_only_fail_end_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("agents: {a: {model: {scripted: [], failures: 1.0}}}\n".replace("[]", "'Answer: 1'"))
    made = run(str(file), "--data", "arithmetic:30", "--store", "none")
    assert isinstance(made.exception, AgoraError)
    assert "nothing but failures" in str(made.exception)


def test_an_interrupt_says_that_the_same_command_goes_on(store: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agora.cli", "eval", QUICKSTART, "--data", "pocket:2000", "--store", store]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        # the tests may run in the background of a shell, where an interrupt stays unheard
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    file = tmp_path / "runs.sqlite"
    while process.poll() is None and (not file.exists() or file.stat().st_size < 200_000):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
