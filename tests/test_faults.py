"""Servers that fail: nothing is lost, nothing hangs, nothing that was answered is asked again, and the counts agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from benchmarks.faults import ALL, Found, scenarios

MANY, SOME = 60, 20  # debates at once, of 10 calls each


@pytest.fixture(scope="module")
def found() -> Callable[[str], Found]:
    """What came of a scenario. They run beside each other, each with a server of its own: mostly they wait."""
    # the command `tests/benchmarks/faults.py` has outages of 20 seconds
    every = {**scenarios(SOME, away=2.0), "everything at once": scenarios(MANY, away=2.0)["everything at once"]}
    with ThreadPoolExecutor(len(every)) as pool:
        runs: dict[str, Future[Found]] = {}
        for name, run in every.items():
            runs[name] = pool.submit(run)
            time.sleep(0.5)  # some hundred calls begin at once, which takes a while
    return lambda name: runs[name].result()


def check(found: Found, calls: int) -> None:
    assert found.errors == []
    assert (found.lost, found.failed) == (0, 0)
    assert found.calls == found.answered == calls
    assert found.outcomes["ok"] == calls + found.repeated
    # on a machine that is too slow for the timeout of a second, the client may leave before it sees an answer
    assert found.repeated <= found.late
    assert found.requests <= found.attempts <= found.requests + found.late
    assert found.tokens == found.server_tokens or found.repeated


def test_everything_at_once(found: Callable[[str], Found]) -> None:
    result = found("everything at once")
    check(result, MANY * 10)
    assert set(result.outcomes) >= {"ok", *ALL}


@pytest.mark.parametrize("mode", ["503", "429"])
def test_a_server_that_refuses_for_a_while(found: Callable[[str], Found], mode: str) -> None:
    result = found(f"{mode} for a while")
    check(result, SOME * 10)
    assert result.outcomes[mode] >= 5


def test_a_server_that_dies_and_comes_back(found: Callable[[str], Found]) -> None:
    result = found("dead for a while")
    assert result.errors == []
    assert (result.lost, result.failed) == (0, 0)
    assert result.calls == result.answered == SOME * 10
    assert result.attempts > result.requests  # those that met nobody
    # what was under way when it died may have been answered, and not arrived
    assert result.repeated <= SOME * 5 + result.late


def test_nine_agents_that_meet_a_limit_do_not_amplify_it(found: Callable[[str], Found]) -> None:
    result = found("nine agents and a limit")
    check(result, 18)
    assert result.outcomes["429"] >= 1
    assert result.requests <= 2 * 18
