"""Mistakes that other implementations of these protocols made, as tests that agora does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.answers import Choice, answer_type, extract
from agora.errors import AgoraError
from agora.records import Reply
from agora.text.stop import rounds, unanimous
from agora.text.topology import build

sys.path.insert(0, str(Path(__file__).parent))
from preset_cases import cases, record

CASES = {case["preset"]: case for _, case in reversed(cases())}  # the first case of each preset


@pytest.mark.parametrize("n", [2, 5, 9])
def test_a_star_has_no_ring_of_its_leaves(n: int) -> None:
    star = build("star", [str(i) for i in range(n)])
    assert len({frozenset(edge) for edge in star.edges}) == n - 1


def test_actors_of_macnet_get_their_predecessors_artifacts() -> None:
    shown = record(CASES["macnet-net"]).shown()
    for i in range(2, 5):
        assert {f"actor-{j}.0" for j in range(1, i)} <= shown[f"actor-{i} 0 answer"]


def test_the_judge_of_mad_sees_the_last_round_and_not_the_first() -> None:
    case = {
        "preset": "mad",
        "replies": {"affirmative": [1, 2, 3], "negative": [4, 5, 6], "moderator": "none", "judge": [6]},
    }  # fmt: skip
    recording = record(case)
    assert recording.shown()["judge 2 candidates"] == {"affirmative.2", "negative.2"}
    assert recording.verdict is not None
    assert recording.verdict.answer == "6"


def test_a_round_of_society_of_minds_reads_the_round_before_and_no_other() -> None:
    case = {
        "preset": "society-of-minds",
        "settings": ["protocol.memory=own_last"],
        "replies": {"a": [1], "b": [2], "c": [3]},
    }
    assert record(case).shown()["a 2 revise"] == {"b.1", "c.1"}


def test_a_blackboard_runs_different_models() -> None:
    models = record(CASES["blackboard"]).models
    assert {models[call] for call in models if call.startswith("a ")} == {"of a"}
    assert len(set(models.values())) == 3


@pytest.mark.parametrize("text", ["Both are good.", "Answer: Both", "Better: neither A nor B", "Answer: A or B", "B?A"])
def test_both_is_no_vote_for_b(text: str) -> None:
    assert extract(Choice(["A", "B"]), Reply(text, model="m")).value is None


def test_10_is_not_1() -> None:
    assert extract(answer_type("number"), Reply("Answer: 10", model="m")).value == "10"
    assert extract(Choice(["1", "10"]), Reply("Answer: 10", model="m")).value == "10"


def test_what_cannot_be_read_is_no_vote() -> None:
    """Two unreadable replies do not outvote one answer, nor do they lower what it counts."""
    agents = [Agent(name, ScriptedModel("I would rather not say.")) for name in ("a", "b")]
    agents.append(Agent("c", ScriptedModel("Answer: 4")))
    verdict = Debate(agents, moderator=Moderator(rounds(0)), answer="number").run("What is 2 + 2?")
    assert verdict.answer == "4"
    assert verdict.support == {"4": 1.0}


def test_what_failed_is_asked_again_on_resume_and_not_taken_for_done(tmp_path: Path) -> None:
    def debate(model: ScriptedModel) -> Debate:
        return Debate([Agent("a", model)], moderator=Moderator(rounds(0)), answer="number")

    store = tmp_path / "runs.sqlite"
    broken = ScriptedModel("Answer: 4", failures=1.0)
    with pytest.raises(AgoraError):
        debate(broken).run("What is 2 + 2?", journal=store, run="one")
    assert debate(ScriptedModel("Answer: 4")).run("What is 2 + 2?", journal=store, run="one").answer == "4"


def test_early_consensus_is_an_answer_and_no_error() -> None:
    agents = [Agent(name, ScriptedModel("Answer: 4")) for name in ("a", "b", "c")]
    verdict = Debate(agents, moderator=Moderator(unanimous() | rounds(5)), answer="number").run("What is 2 + 2?")
    assert verdict.answer == "4"
    assert verdict.usage.calls == 3
    assert not verdict.warnings


def test_a_transcript_is_shown_in_the_order_in_which_it_was_spoken() -> None:
    case = {"preset": "round-robin", "replies": {"a": [1], "b": [2], "c": [3]}}
    prompt = record(case).prompts["b 1 revise"]
    marks = [record(case).marks[call] for call in ("a 0 answer", "b 0 answer", "c 0 answer", "a 1 revise")]
    places = [prompt.index(mark) for mark in marks]
    assert places == sorted(places)
