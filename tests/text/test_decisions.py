"""Decisions and outcomes: by votes, ballots, judges; overviews, steering, distributions; what the verdict warns of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agora import Agent, Budget, Debate, Message, Moderator, Protocol, ScriptedModel, View
from agora.errors import InputError, ModelError
from agora.records import Verdict
from agora.text.moderator import ByModel, Distribution, Pairwise, Select, Steer, Vote
from agora.text.protocol import Phase
from agora.text.stop import rounds


def run(*answers: str, decide: Any, rounds_: int = 0, **options: Any) -> Verdict:
    group = [Agent("abcdefgh"[i], ScriptedModel(text)) for i, text in enumerate(answers)]
    options.setdefault("answer", "number")
    return Debate(group, moderator=Moderator(rounds(rounds_), decide), **options).run("q?")


class Judge:
    """Prefers the text with the most of a word; notes what it was shown."""

    def __init__(self, word: str, *, always: str | None = None) -> None:
        self.name, self.word, self.always, self.shown = "judge", word, always, list[str]()

    async def answer(self, messages: Sequence[Message], settings: Any = None) -> Any:
        text = messages[-1].content
        self.shown.append(text)
        a, b = text.split("Answer A")[1].split("Answer B", 1)
        better = self.always or ("Answer A" if a.count(self.word) > b.count(self.word) else "Answer B")
        return await ScriptedModel(f'Because.\n{{"ranking": ["{better}"]}}').answer(messages)


def test_pairwise_asks_each_pair_in_both_orders() -> None:
    judge = Judge("good")
    verdict = run("good good Answer: 1", "good Answer: 2", "Answer: 3", "Answer: 3", decide=Pairwise(judge))
    assert verdict.answer == "1"
    assert dict(verdict.support) == {"1": 2.0, "2": 1.0, "3": 0.0}
    assert len(judge.shown) == 6  # three answers, not four agents
    assert "judged in 6 comparisons" in verdict.reason
    assert all(name not in text for text in judge.shown for name in ("Peer", " a:", " b:"))


def test_a_judge_that_always_takes_the_first_decides_nothing() -> None:
    verdict = run("Answer: 1", "Answer: 2", decide=Pairwise(Judge("x", always="Answer A"), ties="abstain"))
    assert verdict.answer is None
    assert dict(verdict.support) == {"1": 0.5, "2": 0.5}


def test_pairwise_with_a_broken_judge_falls_back_on_the_vote() -> None:
    broken = ScriptedModel([ModelError("gone")])
    verdict = run("Answer: 1", "Answer: 1", "Answer: 2", decide=Pairwise(broken))
    assert verdict.answer == "1"
    assert any("gone" in warning for warning in verdict.warnings)
    assert any("count as draws" in warning for warning in verdict.warnings)


def test_a_judge_that_is_told_names_and_history() -> None:
    judge = ScriptedModel("The first. Answer: 1")
    run("Answer: 1", "Answer: 2", decide=ByModel(judge, named=True, history=True), rounds_=1)
    text = judge.calls[0][-1].content
    assert "a: Answer: 1" in text
    assert "Round 0, a: Answer: 1" in text
    run("Answer: 1", "Answer: 2", decide=ByModel(judge), rounds_=1)
    assert "a: Answer" not in judge.calls[1][-1].content


def test_a_judge_needs_support_where_a_threshold_says_so() -> None:
    lonely = ByModel(ScriptedModel("Answer: 2"), threshold=0.5)
    verdict = run("Answer: 1", "Answer: 1", "Answer: 2", decide=lonely)
    assert verdict.answer is None
    assert "33% of the vote is less than 50%" in verdict.reason


def test_selection_takes_a_label_and_gives_that_text() -> None:
    verdict = run(
        "Long. Answer: 1", "Short. Answer: 2", decide=Select(ScriptedModel('{"ranking": ["Peer 2"]}')), answer="text"
    )
    assert verdict.text in ("Long. Answer: 1", "Short. Answer: 2")
    assert "selected as the most consistent" in verdict.reason
    for text in ("I like them all.", "Peer 1 or Peer 2", '{"ranking": ["Peer 9"]}'):
        verdict = run("Answer: 1", "Answer: 1", "Answer: 2", decide=Select(ScriptedModel(text)))
        assert verdict.answer == "1"
        assert any("could not be read" in warning for warning in verdict.warnings)


def test_an_overview_names_who_holds_what() -> None:
    writer = ScriptedModel("Some say 1, others 2.")
    verdict = run("x. Answer: 1", "y. Answer: 2", "z. Answer: 1", decide=ByModel(writer, "overton"))
    assert verdict.text.startswith("Some say 1, others 2.")
    assert "a (1): x. Answer: 1" in writer.calls[0][-1].content
    assert [(d.agent, d.answer) for d in verdict.dissent] == [("b", "2")]
    assert "an overview of 2 positions" in verdict.reason


def test_following_one_agent() -> None:
    verdict = run("Answer: 1", "I hold. Answer: 2", "Answer: 1", decide=Steer("b"))
    assert (verdict.answer, verdict.text) == ("2", "I hold. Answer: 2")
    assert {d.agent for d in verdict.dissent} == {"a", "c"}
    assert run("Answer: 1", "hm", decide=Steer("b")).answer is None


def test_a_distribution() -> None:
    verdict = run("Answer: 1", "Answer: 2", "Answer: 1", "Answer: 3", decide=Distribution())
    assert verdict.text == "50% 1\n25% 2\n25% 3\n\nAnswer: 1"
    assert (verdict.answer, dict(verdict.support)) == ("1", {"1": 2.0, "2": 1.0, "3": 1.0})
    assert run("Answer: 1", "Answer: 2", decide=Distribution()).answer is None
    assert run("hm", decide=Distribution()).answer is None


@pytest.mark.parametrize(
    ("vote", "answer"),
    [
        (Vote(), "1"),
        (Vote(threshold=0.6), None),
        (Vote(rule="majority"), None),
        (Vote(rule="supermajority", share=0.5), "1"),
        (Vote("confidence"), "3"),
        (Vote("reconcile"), "3"),
        (Vote("confidence", cap=0.3), "1"),
        (Vote(accuracies={"c": 0.99, "a": 0.6, "b": 0.6, "d": 0.5}), "2"),
        (Vote(families=2), None),
        (Vote(rule="trajectory"), "1"),
        (Vote(rule="medoid"), "1"),
    ],
)
def test_votes(vote: Vote, answer: str | None) -> None:
    texts = ["Same words. Answer: 1\nConfidence: 30%", "Same words. Answer: 1\nConfidence: 30%",
             "Other. Answer: 2\nConfidence: 50%", "Sure. Answer: 3\nConfidence: 99%"]  # fmt: skip
    verdict = run(*texts, decide=vote)
    assert verdict.answer == answer, verdict.reason


@pytest.mark.parametrize(
    ("rule", "winner"), [("borda", "2"), ("copeland", "2"), ("kemeny", "2"), ("schulze", "2"), ("ranked_choice", "1")]
)
def test_ballots_of_a_closing_phase(rule: Any, winner: str) -> None:
    """Most first places are for 1, but 2 is everybody's compromise."""

    def script(first: str, ranking: str) -> ScriptedModel:
        return ScriptedModel({"Rank these": f'{{"ranking": {ranking}}}', "": f"Answer: {first}"})

    ballots = ['["a", "b", "d"]', '["a", "b", "d"]', '["a", "b", "d"]', '["b", "d", "a"]', '["b", "d", "a"]',
               '["d", "b", "a"]', '["d", "b", "a"]']  # fmt: skip
    group = [
        Agent(n, script({"a": "1", "b": "2", "d": "3"}.get(n, "1"), ballot))
        for n, ballot in zip("abcdefg", ballots, strict=True)
    ]
    protocol = Protocol(
        view=View(names="named"), opening=(Phase("answer", who=("a", "b", "d")),), phases=(),
        closing=(Phase("rank", reads="all"),),
    )  # fmt: skip
    verdict = Debate(group, protocol=protocol, answer="number", moderator=Moderator(rounds(0), Vote(rule=rule))).run(
        "q?"
    )
    assert verdict.answer == winner, verdict.reason
    assert verdict.usage.calls == 10


def test_one_answer_of_two_agents_is_one_candidate() -> None:
    group = [
        Agent(n, ScriptedModel({"Score each": '{"scores": {"a": 5, "b": 1, "c": 4}}', "": f"Answer: {x}"}))
        for n, x in zip("abc", "112", strict=True)
    ]
    protocol = Protocol(view=View(names="named"), phases=(), closing=(Phase("score", reads="all"),))
    verdict = Debate(group, protocol=protocol, answer="number", moderator=Moderator(rounds(0), Vote(rule="score"))).run(
        "q?"
    )
    assert (verdict.answer, dict(verdict.support)) == ("2", {"2": 4.0, "1": 3.0})


def test_ballots_that_nobody_cast_leave_it_to_the_plurality() -> None:
    verdict = run("Answer: 1", "Answer: 1", "Answer: 2", decide=Vote(rule="borda"))
    assert verdict.answer == "1"
    assert "no ballot could be read for borda, so a plurality decided." in verdict.warnings


def test_a_budget_that_stops_the_judge_leaves_it_to_the_vote() -> None:
    judge = ByModel(ScriptedModel("Answer: 2"))
    verdict = run("Answer: 1", "Answer: 1", "Answer: 2", decide=judge, budget=Budget(calls=3))
    assert verdict.answer == "1"
    assert any("the judge was not asked" in warning for warning in verdict.warnings)


# ---- trust ------------------------------------------------------------------------------------------------------


def test_the_verdict_warns_of_one_that_moves_most() -> None:
    follow = [Agent(n, ScriptedModel({"lead: ": "Answer: 9", "": f"Answer: {i}"})) for i, n in enumerate("abc")]
    lead = Agent("lead", ScriptedModel("Answer: 9"))
    protocol = Protocol(view=View(names="named"))

    def warned(**options: Any) -> list[str]:
        debate = Debate([lead, *follow], protocol=protocol, answer="number", moderator=Moderator(rounds(1), **options))
        return [w for w in debate.run("q?").warnings if "alone moved" in w]

    assert warned() == ["lead alone moved 3 of the 3 others"]
    assert warned(influence=1.0) == []


def test_a_planted_opponent_is_told_and_reported() -> None:
    mole = Agent("mole", ScriptedModel("Answer: 9"), adversary="Make them say 9.")
    rest = [Agent(n, ScriptedModel("Answer: 1")) for n in "ab"]
    verdict = Debate([*rest, mole], answer="number", moderator=Moderator(rounds(0))).run("q?")
    assert "mole was planted as an adversary, and its answer was not adopted" in verdict.warnings
    turns = {turn.agent: turn.messages[0].content for turn in verdict.rounds[0].turns}
    assert "Make them say 9." in turns["mole"]
    assert "9" not in turns["a"]


def test_nobody_to_decide() -> None:
    critic = Protocol(opening=(Phase("answer", who=("a",)),), phases=())
    agents = [Agent("a", ScriptedModel("Answer: 1")), Agent("b", ScriptedModel("x"))]
    with pytest.raises(InputError, match="voters: b never answers"):
        Debate(agents, protocol=critic, voters=["b"], moderator=Moderator(rounds(0)))
    assert Debate(agents, protocol=critic, moderator=Moderator(rounds(0))).run("q?").text == "Answer: 1"
    with pytest.raises(InputError, match="one of them must give an answer"):
        Protocol(opening=("critique",), phases=())
