"""Identities: protocols that are the same thing by two names, and what must not change anything."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agora import Agent, Debate, Moderator, Protocol, Schedule, ScriptedModel, Settings, View
from agora.model import derive_seed
from agora.records import Verdict
from agora.text.protocol import Gates, Phase
from agora.text.stop import rounds, unanimous

NAMED = View(names="named")


def noisy(messages: Any) -> str:
    """A reply that depends on everything that was read, and nothing else."""
    text = "\n".join(message.content for message in messages)
    return f"Reason {derive_seed(0, text)}. Answer: {derive_seed(1, text) % 3}"


def group(n: int, names: str = "abcdefgh", **options: Any) -> list[Agent]:
    return [Agent(names[i], ScriptedModel(noisy), persona=f"Number {i}.", **options) for i in range(n)]


def seen(verdict: Verdict) -> list[list[tuple[str, str]]]:
    return [[(turn.messages[-1].content, turn.value or "") for turn in r.turns] for r in verdict.rounds]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), memory=st.sampled_from(["own_last", "transcript", "last", "own_chat"]))
def test_ring_of_three_is_complete_of_three(seed: int, memory: Any) -> None:
    def once(topology: str) -> Any:
        protocol = Protocol(memory=memory)
        debate = Debate(
            group(3), topology=topology, protocol=protocol, answer="number", moderator=Moderator(rounds(3)), seed=seed
        )
        return seen(debate.run("q?"))

    assert once("ring") == once("complete")


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), r=st.integers(0, 3))
def test_isolated_is_self_consistency(n: int, r: int) -> None:
    """Nobody reads anybody: round 0 is n samples, and the vote is their plurality."""
    debate = Debate(group(n), topology="isolated", answer="number", moderator=Moderator(rounds(r)))
    verdict = debate.run("q?")
    assert all(not turn.reads for round in verdict.rounds for turn in round.turns)
    votes = Counter(turn.value for turn in verdict.rounds[-1].turns)
    best = [answer for answer, count in votes.items() if count == max(votes.values())]
    if len(best) == 1:
        assert verdict.answer == best[0]


def test_one_agent_is_self_refine() -> None:
    """A debate of one revises its own last answer, alone, and then its own critique of it."""
    verdict = Debate(group(1), answer="number", moderator=Moderator(rounds(2))).run("q?")
    (first,), (second,), (third,) = (r.turns for r in verdict.rounds)
    assert f"Your last answer: {first.reply and first.reply.text}" in second.messages[-1].content
    assert f"Your last answer: {second.reply and second.reply.text}" in third.messages[-1].content
    assert "Peer" not in third.messages[-1].content
    own = Protocol(phases=(Phase("critique", reads="all"), Phase("revise", reads="all")))
    verdict = Debate(group(1), answer="number", protocol=own, moderator=Moderator(rounds(1))).run("q?")
    critique = verdict.rounds[1].turns[0]
    assert verdict.rounds[0].turns[0].reply is not None
    assert verdict.rounds[0].turns[0].reply.text in critique.messages[-1].content


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    kind=st.sampled_from(["simultaneous", "sequential"]),
    own=st.sampled_from(["shown", "hidden", "peer"]),
    phases=st.sampled_from([("revise",), ("critique", "revise")]),
    topology=st.sampled_from(
        ["complete", "ring", "star", {"small_world": {"k": 2}}, {"complete": {"probability": 0.5}}]
    ),
)
def test_renaming_changes_no_anonymous_prompt(seed: int, kind: Any, own: Any, phases: Any, topology: Any) -> None:
    def once(names: str) -> Any:
        protocol = Protocol(Schedule(kind), View(own=own), phases=phases)
        debate = Debate(group(4, names), topology=topology, protocol=protocol, answer="number",
                        moderator=Moderator(rounds(2)), seed=seed)  # fmt: skip
        return seen(debate.run("q?"))

    assert once("abcd") == once("wxyz") == once("dbca")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), freeze=st.booleans(), drop=st.booleans(), follow=st.sampled_from([0.0, 0.5]))
def test_gates_only_save_calls(seed: int, freeze: bool, drop: bool, follow: float) -> None:
    """Every agent has an answer in every round, whatever gates spare it; and calls are those that were not spared."""
    gates = Gates(freeze="majority" if freeze else None, drop="known" if drop else None, follow=follow)
    debate = Debate(
        group(5), answer="number", protocol=Protocol(view=NAMED, gates=gates), moderator=Moderator(rounds(3)), seed=seed
    )
    verdict = debate.run("q?")
    assert all(len(round.final) == 5 for round in verdict.rounds)
    asked = [turn for round in verdict.rounds for turn in round.turns if turn.kept is None]
    assert verdict.usage.calls == len(asked)
    assert seen(debate.run("q?")) == seen(verdict)


def test_a_nested_debate_adds_up_its_usage() -> None:
    inner = Debate(group(2), answer="number", moderator=Moderator(rounds(1)), name="inner")
    middle = Debate([Agent("x", inner), *group(1)], answer="number", moderator=Moderator(rounds(1)), name="middle")
    outer = Debate([Agent("y", middle), *group(2)], answer="number", moderator=Moderator(unanimous() | rounds(0)))
    verdict = outer.run("q?")
    assert verdict.usage.calls == (4 + 1) * 2 + 2
    assert verdict.usage == sum((part.usage for part in verdict.parts[1:]), verdict.parts[0].usage)


def test_settings_reach_every_depth() -> None:
    got: list[Settings] = []

    class Spy:
        name = "spy"

        async def answer(self, messages: Any, settings: Settings = Settings()) -> Any:
            got.append(settings)
            return await ScriptedModel("Answer: 1").answer(messages)

    import anyio

    inner = Debate([Agent("a", Spy())], moderator=Moderator(rounds(0)))
    outer = Debate([Agent("b", inner), Agent("c", Spy())], moderator=Moderator(rounds(0)))
    anyio.run(outer.answer, "q?", Settings(temperature=0.3, max_tokens=9))
    assert {(s.temperature, s.max_tokens) for s in got} == {(0.3, 9)}
    assert len({s.seed for s in got}) == 2
