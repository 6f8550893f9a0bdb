"""Evaluations: who is asked what, what is paid for, what is matched, and what survives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from crowd import Judge, Voice, debate, herd, items, truth, wise

from agora import Agent, Debate, Journal, Moderator, ScriptedModel
from agora.answers import Choice
from agora.budget import Budget
from agora.errors import AgoraError, BudgetError, InputError
from agora.evaluate import Dataset, Item, Results, evaluate
from agora.evaluate.running.bench import Sample, matched
from agora.evaluate.running.scoring import stop_kind
from agora.records import Turn, Usage
from agora.text.stop import rounds


def paid(*voices: Voice) -> int:
    return sum(len(voice.heard) for voice in voices)


def calls(results: Results, name: str) -> list[int]:
    return [row.usage.calls for row in results[name].rows]


def test_what_stands_beside_a_debate_and_what_is_paid_for_it() -> None:
    a, b, c = Voice("a", 0.9, herd, usd=0.01), Voice("b", 0.5, herd, usd=0.01), Voice("c", 0.5, herd, usd=0.01)
    results = evaluate(debate(a, b, c), items(10))
    names = [contestant.name for contestant in results.contestants]
    assert names == [
        "crowd", "crowd: a alone", "crowd: b alone", "crowd: c alone", "crowd: best single", "crowd: round-0 vote",
        "crowd: isolated", "crowd: noise", "crowd: self-consistency (calls)", "crowd: self-consistency (tokens)",
        "crowd: self-consistency (usd)",
    ]  # fmt: skip
    assert all(len(contestant.rows) == 10 for contestant in results.contestants)
    assert calls(results, "crowd") == [6] * 10
    assert calls(results, "crowd: a alone") == [1] * 10
    assert calls(results, "crowd: round-0 vote") == [3] * 10
    assert calls(results, "crowd: isolated") == calls(results, "crowd: noise") == [6] * 10
    assert calls(results, "crowd: self-consistency (calls)") == [6] * 10
    assert calls(results, "crowd: self-consistency (usd)") == [6] * 10  # a cent a call, both
    samples = [row.extra["samples"] for row in results["crowd: self-consistency (tokens)"].rows]
    for n, row, debated in zip(
        samples, results["crowd: self-consistency (tokens)"].rows, results["crowd"].rows, strict=True
    ):
        one = row.usage.tokens / n
        assert abs(row.usage.tokens - debated.usage.tokens) <= one / 2 + 1  # the nearest there is
    # the first round of a control is the debate's own: 3 of its 6 calls are paid for; samples are drawn once for all
    assert paid(a, b, c) == 10 * 6 + 10 * 3 + 10 * 3 + sum(max(6, n) for n in samples)


def test_a_members_row_is_its_own_first_answer() -> None:
    voices = Voice("a", 0.9, herd), Voice("b", 0.5, herd), Voice("c", 0.5, herd)
    results = evaluate(debate(*voices), items(8), baselines=["members", "vote"])
    for i, row in enumerate(results["crowd"].rows):
        first = row.by_round()[0]
        for name in "abc":
            alone = results[f"crowd: {name} alone"].rows[i]
            assert (alone.answer, alone.score) == (first[name].answer, first[name].score)
        votes = Counter(said.answer for said in first.values())
        if len(votes) < 3:
            assert results["crowd: round-0 vote"].rows[i].answer == votes.most_common(1)[0][0]


def test_calls_that_go_out_together_take_as_long_as_the_longest() -> None:
    voices = [ScriptedModel(f"Answer: {i}", name=name, latency=0.002 * (i + 1)) for i, name in enumerate("abc")]
    crowd = Debate([Agent(v.name, v) for v in voices], moderator=Moderator(rounds(1)), answer="number", name="crowd")
    results = evaluate(crowd, items(3), baselines=["members", "vote", "self-consistency"], match=["calls"])
    for i, row in enumerate(results["crowd: round-0 vote"].rows):
        members = [results[f"crowd: {name} alone"].rows[i].seconds for name in "abc"]
        assert row.seconds == max(members) < row.usage.seconds == pytest.approx(sum(members))
    for row in results["crowd: self-consistency (calls)"].rows:
        assert row.usage.seconds / 6 <= row.seconds < row.usage.seconds


def test_what_is_the_same_in_many_rows_is_kept_once() -> None:
    results = evaluate(debate(Voice("a", 0.9, herd), Voice("b", 0.5, herd)), items(8), baselines=["members"])
    rows = results["crowd"].rows
    for row, alone in zip(rows, results["crowd: a alone"].rows, strict=True):
        assert alone.said[0] is row.by_round()[0]["a"]
        assert alone.extra is row.extra
    assert len({id(said.read) for row in rows for said in row.said}) == 3  # nothing, the one, the other
    assert len({id(said.score) for row in rows for said in row.said}) == 2


def test_the_same_again_makes_no_call_and_more_items_only_theirs(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.sqlite'}"
    voices = Voice("a", 0.9, herd), Voice("b", 0.5, herd)
    first = evaluate(debate(*voices), items(6), journal=store)
    made = paid(*voices)
    again = evaluate(debate(*voices), items(6), journal=store)
    assert paid(*voices) == made
    assert [c.name for c in again.contestants] == [c.name for c in first.contestants]
    for one, other in zip(first.contestants, again.contestants, strict=True):
        assert [(r.item, r.answer, r.score, r.said) for r in one.rows] == [
            (r.item, r.answer, r.score, r.said) for r in other.rows
        ]
        assert [r.usage for r in one.rows] == [r.usage for r in other.rows]
    evaluate(debate(*voices), items(8), journal=store, baselines=["vote"])
    assert paid(*voices) - made == 2 * 4  # two new items of four calls each


def test_noise_shows_what_peers_said_about_the_next_item() -> None:
    a, b = Voice("a", 1.0, herd), Voice("b", 1.0, herd)
    results = evaluate(debate(a, b), items(3), baselines=["noise"])
    for i, row in enumerate(results["crowd: noise"].rows):
        assert row.by_round()[1]["a"].answer == truth((i + 1) % 3)  # a herd follows whatever it reads
        assert row.score == 0
    assert [row.score for row in results["crowd"].rows] == [1, 1, 1]


def test_isolated_agents_read_nobody() -> None:
    a, b = Voice("a", 1.0, herd), Voice("b", 0.0, herd)
    results = evaluate(debate(a, b, last=2), items(3), baselines=["isolated"])
    for row in results["crowd: isolated"].rows:
        assert all(not said.read for said in row.said)
        assert [said.answer == truth(int(row.item)) for said in row.said] == [True, False] * 3


def test_agents_that_do_not_answer_first_and_judges_are_asked_alone() -> None:
    from agora.text.moderator import ByModel
    from agora.text.protocol import Phase, Protocol, Schedule

    a, b, judge = Voice("a", 1.0), Voice("b", 0.0, wise), Voice("j", 1.0)
    made = Debate(
        [Agent("a", a), Agent("b", b)],
        protocol=Protocol(Schedule("sequential"), opening=(Phase("answer"),)),
        moderator=Moderator(rounds(1), decide=ByModel(judge, "judge")),
        answer="number",
        name="crowd",
    )
    results = evaluate(made, items(4), baselines=["members"])
    assert {c.name for c in results.contestants} == {
        "crowd",
        "crowd: a alone",
        "crowd: b alone",
        "crowd: judge j alone",
    }
    assert [row.score for row in results["crowd: b alone"].rows] == [0] * 4
    assert [row.score for row in results["crowd: judge j alone"].rows] == [1] * 4
    asked = [prompt for prompt in b.heard if "Peer" not in prompt and "Your last" not in prompt]
    assert len(asked) == 4  # in the debate it speaks second, and reads a


def test_a_failure_stays_in_the_denominator_and_is_tried_again(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.sqlite'}"
    bad = {3, 5}

    def reply(messages: object) -> str:
        i = int(re.search(r"Item (\d+)", messages[-1].content)[1])  # type: ignore[index]
        if i in bad:
            raise ConnectionError("no route")
        return f"Answer: {truth(i)}"

    made = Debate([Agent("a", ScriptedModel(reply)), Agent("b", ScriptedModel(reply))], answer="number", name="crowd")
    results = evaluate(made, items(8), journal=store)
    rows = results["crowd"].rows
    assert len(rows) == 8
    assert [row.status for row in rows] == ["absent" if i in bad else "answered" for i in range(8)]
    assert sum(row.score for row in rows) == 6
    assert all("no route" in (row.error or "") for row in rows if row.status == "absent")
    bad.clear()
    assert all(row.status == "answered" for row in evaluate(made, items(8), journal=store)["crowd"].rows)


def test_unparsed_and_abstained_answers_are_told_apart() -> None:
    for text, status in (("I cannot say.", "unparsed"), ("Answer: none", "abstained")):
        made = Debate([Agent("a", ScriptedModel(text)), Agent("b", ScriptedModel(text))], answer="number")
        results = evaluate(made, items(2), baselines=[])
        assert {row.status for row in results.debates[0].rows} == {status}
        assert {row.score for row in results.debates[0].rows} == {0}


def test_nothing_but_failures_ends_it() -> None:
    voice = Voice("a", 1.0, fails=1.0)
    with pytest.raises(AgoraError, match=r"nothing but failures.*the server failed"):
        evaluate(debate(voice), items(100), concurrency=1)
    assert len(voice.heard) == 10


def test_a_budget_ends_it_with_the_items_it_has(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'runs.sqlite'}"
    a, b = Voice("a", 0.9, herd), Voice("b", 0.5, herd)
    results = evaluate(debate(a, b), items(10), journal=store, budget=Budget(calls=18), concurrency=1)
    assert "budget" in results.stopped
    assert len(results["crowd"].rows) == 4  # of four calls each; the fifth was cut off, and does not count
    assert results.planned == 10
    assert paid(a, b) == 18
    whole = evaluate(debate(a, b), items(10), journal=store, baselines=["vote"])
    assert len(whole["crowd"].rows) == 10
    assert all(row.rounds == 1 for row in whole["crowd"].rows)
    assert paid(a, b) == 40
    with pytest.raises(BudgetError):
        evaluate(debate(Voice("x", 1.0), Voice("y", 1.0)), items(5), budget=Budget(calls=1))


def test_a_debates_own_budget_is_part_of_it() -> None:
    made = debate(Voice("a", 1.0, herd), Voice("b", 1.0, herd), last=3).varied(budget=Budget(calls=4))
    results = evaluate(made, items(3), baselines=[])
    assert [row.usage.calls for row in results["crowd"].rows] == [4] * 3
    assert {row.stop for row in results["crowd"].rows} == {"budget"}
    assert not results.stopped


def test_samples_are_matched_to_the_nearest_cost() -> None:
    def sample(tokens: int) -> Sample:
        return Sample(Turn("s", 0, "answer"), Usage(1, tokens, 0, usd=0.5))

    drawn = [sample(10) for _ in range(6)]
    assert matched(drawn, "calls", 4) == (4, False)
    assert matched(drawn, "tokens", 34) == (3, False)
    assert matched(drawn, "tokens", 36) == (4, False)
    assert matched(drawn, "tokens", 3) == (1, False)
    assert matched(drawn, "tokens", 99) == (6, True)
    assert matched(drawn, "usd", 1.0) == (2, False)


def test_self_consistency_is_of_the_best_member_and_votes() -> None:
    voices = Voice("a", 0.3, herd), Voice("b", 0.75, herd)
    results = evaluate(debate(*voices, last=5), items(150), baselines=["members", "self-consistency"], match=["calls"])
    found = results["crowd: self-consistency (calls)"]
    assert "of b" in found.note
    accuracy = sum(row.score for row in found.rows) / 150
    # 12 samples, wrong ones spread over three answers: hardly ever wrong
    assert accuracy > 0.97 > 0.85 > sum(row.score for row in results["crowd: b alone"].rows) / 150


def test_samples_that_are_all_the_same_are_told_of() -> None:
    made = Debate([Agent("a", ScriptedModel("Answer: 7")), Agent("b", ScriptedModel("Answer: 8"))], answer="number")
    results = evaluate({"two": made}, items(4))
    assert "the same text" in results["two: self-consistency (calls)"].note
    assert any("self-consistency (usd) was not run: the debate cost nothing" in note for note in results.notes)


def test_items_decide_what_kind_of_answer_is_asked_for() -> None:
    data = Dataset(
        "two kinds",
        [
            Item("1", "Item 0: left or right?", ("B",), Choice({"A": "left", "B": "right"})),
            Item("2", "Item 1: up or down?", ("A",), Choice({"A": "up", "B": "down"})),
        ],
        items(1).scorer,
    )
    made = Debate([Agent("a", ScriptedModel({"left": "Answer: right", "up": "Answer: B"}))], answer="number")
    results = evaluate({"one": made}, data, baselines=[])
    assert [row.answer for row in results["one"].rows] == ["B", "B"]
    assert [row.score for row in results["one"].rows] == [1, 0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"baselines": ["best", "worst"]}, "'worst' is no baseline"),
        ({"match": ["time"]}, "cannot be matched in 'time'"),
        ({"samples": 0}, "at least 1"),
    ],
)
def test_wrong_options(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(debate(Voice("a", 1.0)), items(2), **wrong)


def test_two_items_of_one_id_are_refused() -> None:
    twice = Dataset("d", [*items(1).items, *items(1).items], items(1).scorer)
    with pytest.raises(InputError, match="same id"):
        evaluate(debate(Voice("a", 1.0)), twice)


@pytest.mark.anyio
async def test_runs_of_items_are_in_the_journal_but_not_in_its_list(tmp_path: Path) -> None:
    from agora.evaluate import evaluate_async

    async with Journal(tmp_path / "runs.sqlite") as journal:
        results = await evaluate_async(debate(Voice("a", 1.0), Voice("b", 1.0)), items(3), journal=journal)
        assert await journal.runs(items=False) == []
        run = results["crowd"].rows[1].run
        info = await journal.run(run)
        assert (info.status, info.answer, info.usage.calls) == ("done", truth(1), 4)
        control = await journal.run(results["crowd: isolated"].rows[1].run)
        assert control.usage.calls == 2  # what it shares with the debate was paid for there


def test_why_it_stopped_without_figures() -> None:
    assert stop_kind("stopped by: budget (usd); plurality of 3") == "budget"
    assert stop_kind("no answer changed for 2 rounds; plurality") == stop_kind("no answer changed for 3 rounds; x")
    assert stop_kind("unanimous; plurality of 3") == "unanimous"
    assert stop_kind("the judge: they all agree on 42; x") == "the judge"


def test_every_baseline_of_every_kind_of_debate_runs_or_says_why_not() -> None:
    from agora.config import presets

    for name in ("society-of-minds", "mad", "reconcile", "mixture-of-agents", "dylan", "self-refine", "delphi"):
        models = {key: {"scripted": "Fine. Answer: 7"} for key in presets.data(name)["models"]}
        made = presets.preset(name, models=models, settings=["answer=number"])
        results = evaluate({name: made}, items(2))
        for kind in ("isolated", "noise", "self-consistency (calls)"):
            there = any(c.name == f"{name}: {kind}" for c in results.contestants)
            assert there or any(f"{kind} was not run" in note for note in results.notes), (name, kind)


# ---- killed -----------------------------------------------------------------------------------------------------

KILLED = """
import sys, time
from crowd import Voice, debate, herd, items
from agora.evaluate import evaluate

class Logged(Voice):
    async def answer(self, messages, settings):
        import anyio
        await anyio.sleep(0.002)
        reply = await super().answer(messages, settings)
        with open(sys.argv[2], "a") as log:
            log.write(f"{self.name} {settings.seed} {hash_of(messages)}\\n")
        return reply

def hash_of(messages):
    import hashlib
    return hashlib.blake2b(repr([m.content for m in messages]).encode(), digest_size=8).hexdigest()

made = debate(*(Logged(name, 0.6, herd, fails=0.05) for name in "abc"))
results = evaluate(made, items(500), journal=sys.argv[1], baselines=["members", "vote", "isolated"])
rows = results["crowd"].rows
print(len(rows), len({row.item for row in rows}), sum(row.status == "absent" for row in rows),
      sum(said.status == "absent" for row in rows for said in row.said), sum(row.score for row in rows))
"""


def test_five_hundred_items_with_failures_and_two_kills(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}{Path(__file__).parents[2]}"}

    def start(store: str, log: Path) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), f"sqlite:///{tmp_path / store}", str(log)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    log = tmp_path / "log"
    for lines in (300, 1500):
        process = start("killed.sqlite", log)
        while process.poll() is None and (not log.exists() or log.read_text().count("\n") < lines):
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    out, _ = start("killed.sqlite", log).communicate(timeout=300)
    whole, _ = start("whole.sqlite", tmp_path / "other").communicate(timeout=300)
    assert out == whole  # the same table as without kills
    n, different, absent, voices, _ = out.split()
    assert (n, different) == ("500", "500")
    assert int(voices) > 50 > int(absent)
    # a call that was answered is not made again: only those under way when it was killed, 16 items of three agents each
    again = sum(count - 1 for count in Counter(log.read_text().splitlines()).values())
    assert again <= 2 * 16 * 3


def test_an_item_that_cannot_be_scored_is_absent_and_ends_nothing() -> None:
    data = Dataset("d", items(4).items, Judge())
    results = evaluate(debate(Voice("a", 1.0), Voice("b", 1.0)), data, match=["calls"])
    for contestant in results.contestants:
        rows = contestant.rows
        assert [row.status for row in rows] == ["answered", "answered", "absent", "answered"], contestant.name
        assert contestant.role == "noise" or sum(row.score for row in rows) == 3
    row = results["crowd"].rows[2]
    assert "could not be scored: judge: it gave no grade" in (row.error or "")
    assert row.usage.calls == 4  # what it took is not forgotten


def test_what_is_waited_for_is_told() -> None:
    from agora.errors import ServerError
    from agora.evaluate import Progress
    from agora.models.wrappers import Retry, RetryPolicy

    flaky = Retry(ScriptedModel([ServerError("busy."), "Answer: 7"]), RetryPolicy(base=0.001))
    seen: list[Progress] = []
    made = Debate([Agent("a", flaky)], moderator=Moderator(rounds(0)), answer="number")
    evaluate(made, items(2), baselines=[], progress=seen.append)
    assert any("busy" in progress.waiting for progress in seen)
    assert seen[-1].waiting == ""
