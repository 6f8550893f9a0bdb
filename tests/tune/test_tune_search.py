"""Tuning with simulated agents whose best form is known: what wins, what it costs, what is the same again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from crowd import Exact, Judge, Mind, Voice, debate, herd, items, truth
from hypothesis import given
from hypothesis import strategies as st

from agora import Debate, Journal
from agora.answers import Number
from agora.budget import Budget
from agora.errors import AgoraError, BudgetError, InputError
from agora.evaluate import Dataset, Item
from agora.tune import Objective, Parameter, Progress, Space, Tuned, tune
from agora.tune.searching import rungs
from agora.tune.splitting import apart, split

HEARD: Counter[tuple[str, str, int | None]] = Counter()  # of this test's calls: model, prompt, seed


class Counted(Voice):
    """A voice whose every call is counted, with its seed."""

    async def answer(self, messages: Any, settings: Any = None) -> Any:
        HEARD[self.name, "\n".join(m.content for m in messages), settings.seed] += 1
        return await super().answer(messages, settings)


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    HEARD.clear()


def crowd(values: Mapping[str, Any], mind: Mind = herd, usd: float = 0.01) -> Debate:
    """So many voices of a kind over so many rounds. Agents of the herd take over whatever they read, so that rounds
    cost and bring nothing; more voices that are right more often are better."""
    if values["size"] == 4 and values["skill"] == 0.4:
        raise InputError("four of the worst make no debate.")
    voices = [Counted(f"{values['skill']}-{i}", values["skill"], mind, usd=usd) for i in range(values["size"])]
    return debate(*voices, last=values["rounds"])


SIZE, ROUNDS = Parameter("size", 1, (1, 3, 4)), Parameter("rounds", 1, (1, 0, 2))
SKILL = Parameter("skill", 0.4, (0.4, 0.6, 0.95))
SPACE = Space.of([SIZE, ROUNDS, SKILL], crowd)


def same(one: Tuned, other: Tuned) -> bool:
    """Whether both found the same by the same way."""

    def told(tuned: Tuned) -> Any:
        trials = [(t.values, t.state, t.items, t.score, t.usage.calls) for t in tuned.trials]
        held = tuned.held_out
        figures = held and (held.n, held.start.right, held.winner.right, held.winner.usage.calls)
        return trials, tuned.winner.number, figures, tuned.stopped, tuned.importance

    return bool(told(one) == told(other))


def test_the_best_form_is_found_and_shown_to_be_better_on_other_items() -> None:
    tuned = tune(SPACE, items(120), trials=24, seed=1)
    assert tuned.winner.values["skill"] == 0.95
    assert tuned.winner.changed["skill"] == 0.95
    assert tuned.start.values == {"size": 1, "rounds": 1, "skill": 0.4}
    assert (tuned.start.state, tuned.start.items) == ("complete", 60)
    assert tuned.rungs == (8, 20, 60)
    held = tuned.held_out
    assert held is not None
    assert (held.n, held.planned, held.verdict) == (60, 60, "better")
    assert held.sentence.startswith("The winner is better than the file it started from: +")
    assert held.comparison is not None
    assert held.comparison.difference.low > 0
    assert next(iter(tuned.importance)) == "skill"
    assert sum(tuned.importance.values()) == pytest.approx(1)
    states = Counter(trial.state for trial in tuned.trials)
    assert states["stopped early"] > states["complete"] >= 2
    assert all(t.reason == "four of the worst make no debate." for t in tuned.trials if t.state == "skipped")
    assert sum(t.state != "skipped" for t in tuned.trials) <= 24
    assert HEARD.total() == tuned.spent.calls
    assert max(HEARD.values()) == 1  # a call that several candidates make is made once


def test_bad_candidates_get_few_items_and_good_ones_three_times_as_many() -> None:
    tuned = tune(SPACE, items(144), trials=15, seed=3)
    assert tuned.rungs == (8, 24, 72)
    seen: dict[int, list[float]] = {8: [], 24: []}
    for trial in tuned.trials[1:]:
        if trial.state == "stopped early":
            assert trial.items in (8, 24)
            assert trial.score is not None
            # of those that came so far the best third goes on: what is stopped is below at least one of them
            seen[trial.items].append(trial.score)
        if trial.state == "complete":
            assert trial.items == 72
    assert seen[8]
    assert max(seen[8]) < 1


def test_where_nothing_is_better_the_start_stays_and_it_is_said() -> None:
    space = Space.of([Parameter("skill", 1.0, (1.0, 0.2, 0.3))], lambda v: crowd({"size": 3, "rounds": 0, **v}))
    tuned = tune(space, items(40), trials=10)
    assert tuned.winner is tuned.start
    assert tuned.stopped == "all that can be tried has been tried"
    assert len(tuned.trials) == 3
    assert tuned.held_out is not None
    assert tuned.held_out.verdict == "the same"
    assert tuned.held_out.sentence.startswith("No candidate did better than the file it started from")


def test_a_lucky_winner_is_no_better_on_other_items() -> None:
    """All candidates are equally good: one is best on the items tuned on, and that is not reported as a gain."""
    space = Space.of(
        [Parameter("name", "a", tuple("abcdefgh"))], lambda v: debate(Voice(f"half {v['name']}", 0.5), last=0)
    )
    tuned = tune(space, items(80), trials=8, seed=2)
    assert tuned.winner.number != 0
    assert tuned.winner.score is not None
    assert tuned.start.score is not None
    assert tuned.winner.score > tuned.start.score
    assert tuned.held_out is not None
    assert tuned.held_out.verdict == "no difference shown"
    assert "no better than the file it started from" in tuned.held_out.sentence


def test_cost_counts_where_it_is_said_to() -> None:
    space = Space.of([SIZE, ROUNDS], lambda v: crowd({"skill": 0.9, **v}))
    dear = tune(space, items(60), trials=9, objective="accuracy-1*calls")
    assert dear.winner.values == {"size": 1, "rounds": 0}
    assert dear.winner.score == pytest.approx((dear.winner.accuracy or 0) - 1)
    held = dear.held_out
    assert held is not None
    assert held.objective is not None
    assert held.objective.value == pytest.approx(
        held.winner.accuracy.value - held.start.accuracy.value + held.start.usage.calls / 30 - 1
    )
    assert held.verdict == "better"
    assert dear.objective == "accuracy-1*calls"
    usd = tune(space, items(60), trials=9, objective="accuracy - 100*cost")
    assert usd.winner.values == {"size": 1, "rounds": 0}
    free = Space.of([SIZE, ROUNDS], lambda v: crowd({"skill": 0.9, **v}, usd=None))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="price of a model is not known"):
        tune(free, items(60), objective="accuracy-1*usd")


@pytest.mark.parametrize("text", ["", "cost", "accuracy-", "accuracy-1*hours", "accuracy-1..2*cost", "accuracy+1*cost",
                                  "accuracy-nan*cost", "accuracy-1e999*cost", "accuracy-1*cost-1*calls"])  # fmt: skip
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(InputError, match="is no objective"):
        Objective.parse(text)


def test_the_same_seed_comes_to_the_same_and_pays_nothing_again(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    first = tune(SPACE, items(40), trials=8, seed=5, journal=store)
    paid = HEARD.total()
    assert paid == first.spent.calls
    again = tune(SPACE, items(40), trials=8, seed=5, journal=store, concurrency=3)
    assert same(first, again)
    assert HEARD.total() == paid
    assert again.spent.calls == 0
    assert again.earlier.calls == first.spent.calls
    assert again.earlier.usd == pytest.approx(first.spent.usd)
    assert same(first, tune(SPACE, items(40), trials=8, seed=5))
    assert not same(first, tune(SPACE, items(40), trials=8, seed=6, journal=store))


@pytest.mark.parametrize("budget", [Budget(calls=260), Budget(usd=2.6), Budget(tokens=12_000)])
def test_a_budget_ends_it_with_the_best_so_far_and_keeps_some_for_the_result(budget: Budget, tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    tuned = tune(SPACE, items(60), trials=40, seed=1, budget=budget, journal=store)
    spent = tuned.spent
    assert spent.usd is not None
    assert spent.calls <= (budget.calls or 10_000)
    assert spent.usd <= (budget.usd or 1e9) + 1e-9
    assert spent.tokens <= (budget.tokens or 10**9)
    assert "budget" in tuned.stopped
    assert tuned.trials[-1].state == "unfinished"
    assert tuned.held_out is not None
    assert tuned.held_out.n >= 10
    paid = HEARD.total()
    again = tune(SPACE, items(60), trials=40, seed=1, budget=budget, journal=store)
    assert again.winner == tuned.winner
    assert again.trials == tuned.trials
    assert HEARD.total() - paid <= 2  # what was paid for counts: at most what an estimate held back is left
    assert max(HEARD.values()) == 1


def test_a_budget_that_does_not_last_for_the_start(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="30 calls"):
        tune(SPACE, items(60), budget=Budget(calls=30))


def test_failing_agents_score_nothing_and_a_start_that_only_fails_ends_it() -> None:
    def made(values: Mapping[str, Any]) -> Debate:
        return debate(Voice(f"v {values['fails']}", 0.5, fails=values["fails"]), last=0)

    tuned = tune(Space.of([Parameter("fails", 0.0, (0.0, 1.0))], made), items(40))
    assert tuned.trials[1].score == 0
    assert tuned.winner is tuned.start
    with pytest.raises(AgoraError, match="nothing but failures"):
        tune(Space.of([Parameter("fails", 1.0, (0.0, 1.0))], made), items(40))


def test_an_item_that_cannot_be_scored_is_wrong_and_ends_no_search() -> None:
    space = Space.of([Parameter("skill", 1.0, (1.0, 0.2))], lambda v: crowd({"size": 1, "rounds": 0, **v}))
    tuned = tune(space, Dataset("d", items(40).items, Judge()), trials=4)
    held, score = tuned.held_out, tuned.start.score
    assert held is not None
    assert score is not None
    assert tuned.start.items + held.n == 40
    assert round(score * tuned.start.items) + held.start.right == 39  # all but item 2, whichever half it is in


def test_numbers_are_searched_too() -> None:
    def made(values: Mapping[str, Any]) -> Debate:
        return debate(Voice(f"v{values['x']:.6f} {values['n']}", 1 - abs(values["x"] - 0.7) - values["n"] / 20), last=0)

    space = Space.of([Parameter("x", 0.1, low=0.0, high=1.0), Parameter("n", 8, low=0, high=9, step=2)], made)
    tuned = tune(space, items(80), trials=30, seed=0)
    assert tuned.winner.values["x"] == pytest.approx(0.7, abs=0.2)
    assert tuned.winner.values["n"] in (0, 2)
    assert {trial.values["n"] for trial in tuned.trials} <= {0, 2, 4, 6, 8}


def test_where_hardly_anything_makes_a_debate_it_ends_and_says_so() -> None:
    def made(values: Mapping[str, Any]) -> Debate:
        if values["x"] != 0.5:
            raise InputError("only the start makes a debate.")
        return debate(Voice("v", 0.5), last=0)

    tuned = tune(Space.of([Parameter("x", 0.5, low=0.0, high=1.0)], made), items(20), trials=2)
    assert tuned.winner is tuned.start
    assert tuned.stopped == "next to nothing of what was proposed makes a debate"
    assert {trial.reason for trial in tuned.trials[1:]} == {"only the start makes a debate."}


def test_progress_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    tuned = tune(SPACE, items(40), trials=6, progress=told.append)
    assert [p.phase for p in told].index("held out") > 0
    assert told[-1].phase == "held out"
    assert told[-1].spent.calls == tuned.spent.calls
    assert max(p.trials for p in told) == 6 == told[0].most
    assert all(p.done <= p.planned for p in told)


async def test_it_runs_in_a_loop_and_over_an_open_journal(tmp_path: Path, anyio_backend: str) -> None:
    from agora.tune import tune_async

    async with Journal(tmp_path / "runs.sqlite") as journal:
        tuned = await tune_async(SPACE, items(40), trials=4, journal=journal)
        assert tuned.spent.calls == HEARD.total()
        found = await journal.spent([row for row in ("eval:none",)])
        assert found == {}


pytestmark = pytest.mark.filterwarnings("error")


# ---- items ------------------------------------------------------------------------------------------------------


def dataset(questions: list[str]) -> Dataset:
    made = [Item(str(i), text, (truth(i),), Number()) for i, text in enumerate(questions)]
    return Dataset("made", made, Exact())


QUESTIONS = st.lists(st.sampled_from([f"Item {i}: {w}" for i in range(30) for w in ("a", "B ", "b")]), max_size=60)


@given(QUESTIONS, st.integers(0, 5))
def test_what_is_tuned_on_is_never_held_out(questions: list[str], seed: int) -> None:
    data = dataset(questions)
    try:
        dev, held = split(data, seed)
    except InputError:
        assert len({" ".join(q.split()).lower() for q in questions}) < 10
        return
    ids = [item.id for part in (dev, held) for item in part.items]
    assert sorted(ids) == sorted(item.id for item in data.items)
    asked = [{" ".join(item.question.split()).lower() for item in part.items} for part in (dev, held)]
    assert not asked[0] & asked[1]
    assert split(data, seed) == (dev, held)
    rng = random.Random(seed)
    few = dataset(rng.sample(questions, len(questions) // 2))
    if len(few.items) >= 4:
        try:
            kept, left_out = apart(few, data)
        except InputError:
            return
        assert left_out + len(kept.items) == len(data.items)
        assert not {" ".join(i.question.split()).lower() for i in kept.items} & {
            " ".join(i.question.split()).lower() for i in few.items
        }


def test_held_out_items_that_are_tuned_on_are_left_out_and_it_is_said() -> None:
    tuned = tune(SPACE, items(20), held_out=items(50), trials=3)
    assert tuned.overlap == 20
    assert tuned.held_out is not None
    assert tuned.held_out.planned == 30
    assert any("20 held-out items were left out" in note for note in tuned.notes)
    with pytest.raises(InputError, match="each held-out question is also tuned on"):
        tune(SPACE, items(20), held_out=items(20))


@given(st.integers(1, 5000))
def test_rungs_grow_to_all_items(n: int) -> None:
    found = rungs(n)
    assert found[-1] == n
    assert list(found) == sorted(set(found))
    assert len(found) <= 3
    assert all(size >= min(8, n) for size in found)


def test_rungs() -> None:
    assert [rungs(n) for n in (4, 9, 24, 100, 900)] == [(4,), (8, 9), (8, 24), (12, 34, 100), (100, 300, 900)]
