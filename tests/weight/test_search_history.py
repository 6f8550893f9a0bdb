"""A search's history: killed and resumed it ends as it would have, and nothing is scored twice."""

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

from agora.errors import BudgetError, InputError
from agora.weight.searching import Found, Numbers, Point, search

SPACE = Numbers(-1.0, 1.0, 2)
SCRIPT = """
import os, sys, time
from agora.weight.searching import Numbers, search
from pathlib import Path
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def score(point):
    time.sleep(0.01)
    os.write(log, f"{point}\\n".encode())
    return -sum((x - 0.3) ** 2 for x in point)
found = search(Numbers(-1.0, 1.0, 2), score, sys.argv[3], evaluations=60, seed=7, history=sys.argv[1])
print([(t.key, t.score) for t in found.trials], found.point, found.random.key)
"""


def score(point: Point) -> float:
    return -sum((x - 0.3) ** 2 for x in point)


def run(path: Path | None, **more: Any) -> Found:
    return search(SPACE, score, "random", **{"evaluations": 20, "seed": 1, "history": path} | more)


def shown(found: Found) -> Any:
    return [(trial.key, trial.score) for trial in found.trials], found.point, found.stopped


@pytest.mark.parametrize("how", ["swarm", "coordinate", "evolution"])
def test_killed_and_resumed_is_the_same_and_scores_nothing_twice(tmp_path: Path, how: str) -> None:
    if how == "evolution":
        pytest.importorskip("cma")

    def begin(name: str) -> subprocess.Popen[str]:
        files = [str(tmp_path / f"{name}.jsonl"), str(tmp_path / f"{name}.log")]
        return subprocess.Popen([sys.executable, "-c", SCRIPT, *files, how], stdout=subprocess.PIPE, text=True)

    whole = begin("whole")
    expected = whole.communicate(timeout=120)[0]
    assert whole.returncode == 0
    for wanted in (15, 45, 80):
        process = begin("killed")
        log = tmp_path / "killed.log"
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            if log.exists() and log.read_text().count("\n") >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    last = begin("killed")
    assert last.communicate(timeout=120)[0] == expected
    scored = (tmp_path / "killed.log").read_text().splitlines()
    # one may have been scored and not yet written down at each kill
    assert len(scored) - len(set(scored)) <= 3
    assert set(scored) == set((tmp_path / "whole.log").read_text().splitlines())
    kept = [json.loads(line)["key"] for line in (tmp_path / "killed.jsonl").read_text().splitlines()[1:]]
    assert len(kept) == len({tuple(key) for key in kept}) == len(set(scored))
    again = begin("killed")
    assert again.communicate(timeout=120)[0] == expected
    assert (tmp_path / "killed.log").read_text().splitlines() == scored  # nothing at all


def test_cut_off_anywhere_it_goes_on_and_nothing_that_is_written_is_scored_again(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    whole = run(path)
    raw = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(raw) if byte == 10]
    for cut in sorted({0, 1, 60, *ends, *(end + 5 for end in ends[:-1]), *(end - 1 for end in ends)}):
        path.write_bytes(raw[:cut])
        asked: list[Point] = []
        found = search(SPACE, lambda p: asked.append(p) or score(p), "random", evaluations=20, seed=1, history=path)  # type: ignore[func-returns-value]  # noqa: B023
        assert shown(found) == shown(whole)
        known = max(0, raw[:cut].count(b"\n") - 1)
        assert len(asked) == 20 - known
        assert path.read_bytes().count(b"\n") == 21


def test_a_larger_budget_goes_on_beyond_the_end(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    run(path)
    asked: list[Point] = []
    found = search(SPACE, lambda p: asked.append(p) or score(p), "random", evaluations=50, seed=1, history=path)  # type: ignore[func-returns-value]
    assert len(asked) == 30
    assert shown(found) == shown(run(None, evaluations=50))


@pytest.mark.parametrize(
    ("more", "what"),
    [({"seed": 2}, "seed"), ({"batch": 3}, "options"), ({"how": "swarm"}, "search"), ({"space": 1}, "space")],
)
def test_the_history_of_another_search_is_refused(tmp_path: Path, more: dict[str, Any], what: str) -> None:
    path = tmp_path / "h.jsonl"
    run(path)
    before = path.read_bytes()
    how, space = more.pop("how", "random"), Numbers(-1.0, 2.0, 2) if more.pop("space", 0) else SPACE
    with pytest.raises(InputError, match=f"another search: its {what} differs"):
        search(space, score, how, **{"evaluations": 5, "seed": 1, "history": path} | more)
    assert path.read_bytes() == before


def test_a_score_that_says_what_it_is_is_held_to_it(tmp_path: Path) -> None:
    class Mine:
        def __init__(self, identity: str) -> None:
            self.identity = identity

        def __call__(self, point: Point) -> float:
            return score(point)

    search(SPACE, Mine("a"), "random", evaluations=2, history=tmp_path / "h")
    with pytest.raises(InputError, match="its score differs"):
        search(SPACE, Mine("b"), "random", evaluations=2, history=tmp_path / "h")


@pytest.mark.parametrize(
    "content",
    ["hello", "\xff\xfe", "{}\n", "hello\n", '{"format": "other"}\n', "[]\n", "null\n", "\x00\n"],
)
def test_what_is_no_history_is_refused_and_left(tmp_path: Path, content: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="line 1: this is no history of a search"):
        run(path)
    assert path.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize(
    "line", ["{}", "[1]", '{"phase": "search"}', '{"phase":"a","key":[1],"score":"x","at":0,"seconds":0}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "h.jsonl"
    run(path)
    kept = path.read_text().splitlines()
    path.write_text("\n".join([*kept[:3], line, *kept[3:]]) + "\n")
    with pytest.raises(InputError, match="line 4: this is no history"):
        run(path)


def test_two_searches_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"

    def nested(point: Point) -> float:
        with pytest.raises(InputError, match="being written by another search"):
            run(path)
        return score(point)

    search(SPACE, nested, "random", evaluations=1, seed=1, history=path)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        run(tmp_path / "plain" / "h.jsonl")
    with pytest.raises(InputError, match="cannot be used"):
        run(tmp_path)


def test_failures_are_known_too(tmp_path: Path) -> None:
    def fails(point: Point) -> float:
        if point[0] < 0:
            raise ValueError("below")
        return point[0]

    first = search(SPACE, fails, "random", evaluations=20, history=tmp_path / "h")
    second = search(SPACE, lambda point: 1 / 0, "random", evaluations=20, history=tmp_path / "h")
    assert shown(first) == shown(second)
    assert [trial.error for trial in first.trials] == [trial.error for trial in second.trials]


def test_what_would_befall_every_candidate_ends_the_search_and_can_be_resumed(tmp_path: Path) -> None:
    asked: list[Point] = []

    def dear(point: Point) -> float:
        if len(asked) == 5:
            raise BudgetError("the money is spent.", limit="usd")
        asked.append(point)
        return score(point)

    with pytest.raises(BudgetError):
        search(SPACE, dear, "random", evaluations=20, seed=1, history=tmp_path / "h")
    found = run(tmp_path / "h")
    assert shown(found) == shown(run(None))


def test_a_search_that_time_ended_ends_there_again(tmp_path: Path) -> None:
    def slow(point: Point) -> float:
        time.sleep(0.01)
        return score(point)

    first = search(SPACE, slow, "random", seconds=0.15, beside=False, history=tmp_path / "h")
    asked: list[Point] = []
    second = search(
        SPACE, lambda p: asked.append(p) or 0.0, "random", seconds=0.15, beside=False, history=tmp_path / "h"
    )  # type: ignore[func-returns-value]
    assert shown(first) == shown(second)
    assert first.stopped == "seconds"
    assert not asked
    more = first.evaluations + 3
    third = search(SPACE, score, "random", seconds=600, evaluations=more, beside=False, history=tmp_path / "h")
    assert (third.evaluations, third.stopped) == (more, "evaluations")


def test_all_is_on_disk_before_the_search_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    lines: list[int] = []

    def looks(point: Point) -> float:
        lines.append(path.read_text().count("\n"))
        return 0.0

    search(SPACE, looks, "random", evaluations=12, history=path)
    assert lines == list(range(1, 13))
    assert os.path.getsize(path) > 0
