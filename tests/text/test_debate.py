"""The engine: who saw what, in which order; failures, cancellation, budgets, the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora import (
    Agent,
    Budget,
    BudgetError,
    ByModel,
    Debate,
    InputError,
    Message,
    Moderator,
    Protocol,
    Reply,
    Schedule,
    ScriptedModel,
    Settings,
    View,
    Vote,
)
from agora.errors import ModelError, QuorumError
from agora.records import Decided, RoundOver, Spoke
from agora.text.moderator import Decision, Distribution
from agora.text.stop import judge, quorum, rounds, stable, unanimous


def agents(*scripts: Any, names: str = "abcdefgh") -> list[Agent]:
    return [Agent(names[i], ScriptedModel(script)) for i, script in enumerate(scripts)]


def said(debate: Debate) -> dict[tuple[str, int], list[str]]:
    """Who read whom: (agent, round) -> the turns shown, as 'a0'."""
    verdict = debate.run("q?")
    return {(t.agent, t.round): [f"{n}{r}" for n, r, _ in t.reads] for x in verdict.rounds for t in x.turns}


def stubborn(n: int, **options: Any) -> Debate:
    options.setdefault("moderator", Moderator(rounds(2)))
    options.setdefault("protocol", Protocol(view=View(names="named")))
    return Debate(agents(*(f"Answer: {i}" for i in range(n))), answer="number", **options)


NAMED = View(names="named")

# ---- golden: who saw what ---------------------------------------------------------------------------------------


def test_simultaneous_reads_the_round_before() -> None:
    assert said(stubborn(3)) == {
        ("a", 0): [], ("b", 0): [], ("c", 0): [],
        ("a", 1): ["b0", "c0"], ("b", 1): ["a0", "c0"], ("c", 1): ["a0", "b0"],
        ("a", 2): ["b1", "c1"], ("b", 2): ["a1", "c1"], ("c", 2): ["a1", "b1"],
    }  # fmt: skip


def test_sequential_reads_what_has_been_said() -> None:
    debate = stubborn(3, protocol=Protocol(Schedule("sequential"), NAMED), moderator=Moderator(rounds(1)))
    assert said(debate) == {
        ("a", 0): [], ("b", 0): ["a0"], ("c", 0): ["a0", "b0"],
        ("a", 1): ["b0", "c0"], ("b", 1): ["c0", "a1"], ("c", 1): ["a1", "b1"],
    }  # fmt: skip


def test_sequential_by_confidence() -> None:
    models = ["Answer: 1\nConfidence: 10%", "Answer: 2\nConfidence: 90%", "Answer: 3\nConfidence: 50%"]
    protocol = Protocol(Schedule("sequential", order="confidence"), NAMED)
    seen = said(Debate(agents(*models), answer="number", protocol=protocol, moderator=Moderator(rounds(1))))
    assert seen["b", 1] == ["a0", "c0"]
    assert seen["c", 1] == ["a0", "b1"]
    assert seen["a", 1] == ["b1", "c1"]


def test_layered_reads_along_the_graph_and_the_last_layer_decides() -> None:
    debate = stubborn(
        3, topology={"layered": {"widths": [2, 1]}}, protocol=Protocol(Schedule("layered"), NAMED),
        moderator=Moderator(rounds(0)),
    )  # fmt: skip
    assert said(debate) == {("a", 0): [], ("b", 0): [], ("c", 0): ["a0", "b0"]}
    assert debate.run("q?").answer == "2"


def test_relay_reads_one() -> None:
    seen = said(stubborn(3, topology="relay", moderator=Moderator(rounds(1))))
    assert (seen["a", 1], seen["b", 1], seen["c", 1]) == (["c0"], ["a0"], ["b0"])


def test_quorum_does_not_wait_for_the_slow() -> None:
    group = agents("Answer: 1", "Answer: 2")
    slow = Agent("c", ScriptedModel("Answer: 3", latency=0.3))
    protocol = Protocol(Schedule("quorum", share=0.5), NAMED)
    seen = said(Debate([*group, slow], answer="number", protocol=protocol, moderator=Moderator(rounds(1))))
    assert seen["a", 1] == ["b0"]
    assert seen["b", 1] == ["a0"]
    assert seen["c", 1] == ["a1", "b1"] or seen["c", 1] == ["a0", "b0"]


def test_critique_then_revise() -> None:
    models = [["Answer: 1", "b errs", "Answer: 1"], ["Answer: 2", "a errs", "Answer: 1"]]
    debate = Debate(
        agents(*models), answer="number", moderator=Moderator(rounds(1)),
        protocol=Protocol(view=NAMED, phases=("critique", "revise")),
    )  # fmt: skip
    verdict = debate.run("q?")
    turns = {(t.agent, t.round, t.phase): t for r in verdict.rounds for t in r.turns}
    assert turns["a", 1, "critique"].reads == (("b", 0, "answer"),)
    assert turns["a", 1, "revise"].reads == (("b", 0, "answer"), ("b", 1, "critique"))
    assert "Criticism by b: a errs" in turns["a", 1, "revise"].messages[-1].content
    assert verdict.answer == "1"
    assert verdict.usage.calls == 6


def prompt(debate: Debate, agent: str, round: int) -> str:
    verdict = debate.run("q?")
    return next(t.messages[-1].content for t in verdict.rounds[round].turns if t.agent == agent)


def test_view_answer_only() -> None:
    models = ["Because of x. Answer: 1", "Because of y. Answer: 2"]
    protocol = Protocol(view=View(text="answer", names="named", own="hidden"))
    text = prompt(Debate(agents(*models), answer="number", protocol=protocol, moderator=Moderator(rounds(1))), "a", 1)
    assert "b: 2" in text
    assert "Because" not in text


@pytest.mark.parametrize(("own", "mine"), [("shown", "Your last answer: Answer: 0"), ("hidden", None), ("peer", None)])
def test_own_answer(own: Any, mine: str | None) -> None:
    text = prompt(stubborn(2, protocol=Protocol(view=View(own=own)), moderator=Moderator(rounds(1))), "a", 1)
    assert (mine in text) if mine else "Your last" not in text
    assert text.count("Peer ") == (2 if own == "peer" else 1)
    assert ("Answer: 0" in text) == (own != "hidden")


def test_anonymous_hides_names_and_renaming_changes_nothing() -> None:
    one = Debate(agents(*"wxyz", names="abcd"), moderator=Moderator(rounds(1)))
    two = Debate(agents(*"wxyz", names="PQRS"), moderator=Moderator(rounds(1)))
    for a, b in zip("abcd", "PQRS", strict=True):
        assert prompt(one, a, 1) == prompt(two, b, 1)


def test_anonymous_order_depends_on_the_seed_only() -> None:
    def orders(seed: int) -> list[list[str]]:
        debate = stubborn(6, protocol=Protocol(view=View()), seed=seed)
        return [[n for n, _, _ in t.reads] for t in debate.run("q?").rounds[1].turns]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


def test_transcript_shows_earlier_rounds_once() -> None:
    models = [[f"Answer: {i}{r}" for r in range(3)] for i in (1, 2)]
    protocol = Protocol(view=NAMED, memory="transcript")
    text = prompt(Debate(agents(*models), answer="number", protocol=protocol, moderator=Moderator(rounds(2))), "a", 2)
    assert [text.count(f"Answer: {i}{r}") for i in (1, 2) for r in (0, 1)] == [1, 1, 1, 1]


def test_own_chat_keeps_the_conversation() -> None:
    debate = stubborn(2, protocol=Protocol(view=NAMED, memory="own_chat"))
    turn = debate.run("q?").rounds[2].turns[0]
    assert [m.role for m in turn.messages] == ["system", "user", "assistant", "user", "assistant", "user"]


def test_what_an_agent_says_is_never_a_template() -> None:
    debate = Debate(agents("{{ 7*7 }} {% for x in y %}", "Answer: 2"), moderator=Moderator(rounds(1)))
    assert "{{ 7*7 }} {% for x in y %}" in prompt(debate, "b", 1)


def test_confidence_is_asked_for_and_shown() -> None:
    models = ["Answer: 1\nConfidence: 85%", "Answer: 2"]
    debate = Debate(
        agents(*models), answer="number", protocol=Protocol(view=View(confidence=True)), moderator=Moderator(rounds(1))
    )
    assert "Confidence: P" in prompt(debate, "b", 0)
    assert "(confidence 85%)" in prompt(debate, "b", 1)


# ---- barriers ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_agents_run_ahead_where_no_rule_can_stop() -> None:
    """On a chain the first agent is done with all rounds before the slow last one has given its first answer."""
    group = [*agents("Answer: 1", "Answer: 2"), Agent("c", ScriptedModel("Answer: 3", latency=0.05))]
    order: list[tuple[str, int]] = []
    debate = Debate(group, topology="chain", answer="number", moderator=Moderator(rounds(2)))
    async with debate.watch("q?") as events:
        async for event in events:
            if isinstance(event, Spoke):
                order.append((event.turn.agent, event.turn.round))
    assert order.index(("a", 2)) < order.index(("c", 0))


@pytest.mark.anyio
async def test_nobody_runs_ahead_of_a_rule_that_might_stop() -> None:
    group = [*agents("Answer: 1", "Answer: 1"), Agent("c", ScriptedModel("Answer: 1", latency=0.02))]
    verdict = await Debate(group, answer="number", moderator=Moderator(unanimous() | rounds(3))).answer("q?")
    assert verdict.usage.calls == 3
    assert verdict.reason.startswith("unanimous")


@pytest.mark.anyio
async def test_ring_ends_on_its_critical_path() -> None:
    """Each turn begins the moment the last of what it reads is there."""
    group = [Agent(f"n{i}", ScriptedModel(f"Answer: {i}", latency=(0.01, 0.7))) for i in range(6)]
    debate = Debate(group, topology="ring", answer="number", moderator=Moderator(rounds(3)))
    times: dict[tuple[str, str, int], float] = {}
    async with debate.watch("q?") as events:
        async for event in events:
            if isinstance(event, Spoke):
                times["end", event.turn.agent, event.turn.round] = time.perf_counter()
    assert len(times) == 24


# ---- failures ---------------------------------------------------------------------------------------------------


def test_a_failing_agent_is_an_absent_voice() -> None:
    verdict = Debate(
        agents("Answer: 1", "Answer: 1", [ModelError("out of order")]), answer="number", moderator=Moderator(rounds(1))
    ).run("q?")
    assert (verdict.answer, verdict.absent) == ("1", ("c",))
    assert "reached without c" in verdict.warnings
    assert verdict.rounds[0].turns[2].error == "out of order"
    assert verdict.usage.calls == 4
    assert [n for n, _, _ in verdict.rounds[1].turns[0].reads] == ["b"]


def test_too_many_failures_is_no_verdict() -> None:
    with pytest.raises(QuorumError, match=r"only 1 of 3 agents spoke in round 0: no power") as caught:
        Debate(agents("Answer: 1", [ModelError("no power")], [ModelError("no power")]), answer="number").run("q?")
    assert len(caught.value.rounds) == 1


def test_a_model_that_breaks_is_an_absent_voice_too() -> None:
    def broken(messages: Sequence[Message]) -> str:
        raise KeyError("oops")

    verdict = Debate(agents("Answer: 1", "Answer: 1", broken), answer="number").run("q?")
    assert "KeyError" in (verdict.rounds[0].turns[2].error or "")


def test_a_judge_that_fails_falls_back_on_the_vote() -> None:
    broken = ScriptedModel([ModelError("gone")])
    debate = Debate(
        agents("Answer: 1", "Answer: 1"), answer="number",
        moderator=Moderator(judge(broken) | rounds(1), ByModel(broken)),
    )  # fmt: skip
    verdict = debate.run("q?")
    assert verdict.answer == "1"
    assert sum("gone" in w for w in verdict.warnings) == 2  # after round 0, and at the end: round 1 is the last anyway


@pytest.mark.anyio
async def test_cancellation_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def slow(messages: Sequence[Message]) -> str:
        try:
            await anyio.sleep(30)
        finally:
            ended.append("x")
        return ""

    def start(messages: Sequence[Message]) -> Any:
        return slow(messages)

    debate = Debate([Agent("a", ScriptedModel(start)), Agent("b", ScriptedModel(start))])
    with anyio.move_on_after(0.05):
        await debate.answer("q?")
    assert ended == ["x", "x"]
    async with debate.watch("q?") as events:
        async for _ in events:
            break
    with pytest.raises(ZeroDivisionError):
        async with debate.watch("q?") as events:
            raise ZeroDivisionError
    assert len(ended) in (2, 3, 4, 5, 6)
    if hasattr(anyio, "get_running_tasks"):
        names = [str(task.name) for task in anyio.get_running_tasks()]
        assert not [name for name in names if name in ("a", "b", "moderator")]


@pytest.mark.anyio
async def test_watch_raises_what_ended_the_debate() -> None:
    debate = Debate(agents([ModelError("no")]))
    with pytest.raises(QuorumError):  # noqa: PT012
        async with debate.watch("q?") as events:
            async for _ in events:
                pass


@pytest.mark.anyio
async def test_watch_ends_with_the_verdict() -> None:
    seen = []
    async with stubborn(3).watch("q?") as events:
        async for event in events:
            seen.append(event)
    assert isinstance(seen[-1], Decided)
    assert events.verdict is seen[-1].verdict
    assert [e.round.index for e in seen if isinstance(e, RoundOver)] == [0, 1, 2]


def test_run_inside_a_loop_says_await() -> None:
    async def inside() -> None:
        stubborn(2).run("q?")

    with pytest.raises(RuntimeError, match="await"):
        anyio.run(inside)


@pytest.mark.parametrize("question", ["", "  \n", "x" * 300_000])
def test_hostile_questions(question: str) -> None:
    with pytest.raises(InputError):
        stubborn(2).run(question)


# ---- budget -----------------------------------------------------------------------------------------------------


def test_budget_ends_with_the_best_verdict_so_far() -> None:
    verdict = stubborn(3, budget=Budget(calls=4)).run("q?")
    assert verdict.usage.calls == 4
    assert verdict.reason.startswith("stopped by: budget (calls)")
    assert sum(verdict.support.values()) == 3
    assert verdict.rounds[-1].index == 1


def test_budget_without_an_answer() -> None:
    with pytest.raises(BudgetError) as caught:
        stubborn(3, budget=Budget(calls=0)).run("q?")
    assert caught.value.exit_status == 3


def test_budget_of_seconds_cuts_off_calls_under_way() -> None:
    slow = Debate(
        [*agents("Answer: 1"), Agent("b", ScriptedModel("Answer: 2", latency=60))], answer="number",
        budget=Budget(seconds=0.1),
    )  # fmt: skip
    begun = time.monotonic()
    assert slow.run("q?").answer == "1"
    assert time.monotonic() - begun < 30


# ---- verdict ----------------------------------------------------------------------------------------------------


def test_verdict_says_who_changed_after_reading_whom() -> None:
    verdict = Debate(
        agents("Answer: 1", "Answer: 1", ["Answer: 2", "Answer: 1"]), answer="number",
        moderator=Moderator(unanimous() | rounds(3)),
    ).run("q?")  # fmt: skip
    (change,) = verdict.changes
    assert (change.agent, change.before, change.after, set(change.read)) == ("c", "2", "1", {"a", "b"})
    assert verdict.reason == "unanimous; plurality, 3 of 3"
    assert verdict.initial == "1"
    assert verdict.dissent == ()


def test_dissent_and_support() -> None:
    verdict = stubborn(1, moderator=Moderator(rounds(0))).run("q?")
    assert verdict.answer == "0"
    group = agents("Answer: 7", "Answer: 7", "No way. Answer: 8")
    verdict = Debate(group, answer="number", moderator=Moderator(rounds(0))).run("q?")
    assert [(d.agent, d.answer, d.text) for d in verdict.dissent] == [("c", "8", "No way. Answer: 8")]
    assert verdict.support == {"7": 2.0, "8": 1.0}
    assert verdict.text == "Answer: 7"


def test_ties() -> None:
    def decide(ties: Any, seed: int = 0) -> str | None:
        group = agents("Answer: 1\nConfidence: 90%", "Answer: 2\nConfidence: 40%")
        return (
            Debate(group, answer="number", moderator=Moderator(rounds(0), Vote(ties=ties)), seed=seed).run("q?").answer
        )

    assert decide("abstain") is None
    assert decide("initial") is None
    assert decide("confidence") == "1"
    assert {decide("seeded", seed) for seed in range(20)} == {"1", "2"}
    assert decide("seeded", 3) == decide("seeded", 3)


def test_unparsed_is_no_vote() -> None:
    verdict = Debate(agents("no idea", "hm", "Answer: 3"), answer="number", moderator=Moderator(rounds(0))).run("q?")
    assert verdict.support == {"3": 1.0}
    assert any("no answer could be read from a, b" in w for w in verdict.warnings)


def test_unanimity_needs_everyone_to_have_an_answer() -> None:
    verdict = Debate(agents("Answer: 3", "hm"), answer="number", moderator=Moderator(unanimous() | rounds(1))).run("q?")
    assert verdict.reason.startswith("1 round of debate")


def test_stop_rules() -> None:
    group = agents(["Answer: 1", "Answer: 2"], "Answer: 2", "Answer: 3")
    assert (
        Debate(group, answer="number", moderator=Moderator(stable(1) | rounds(9)))
        .run("q")
        .reason.startswith("no answer changed for 1 round")
    )
    assert Debate(agents("Answer: 2", "Answer: 2", "Answer: 3"), answer="number",
                  moderator=Moderator(quorum(0.6) | rounds(9))).run("q").reason.startswith("2 of 3 agree")  # fmt: skip
    both = Moderator(stable(1) & rounds(2))
    assert len(Debate(agents("Answer: 2", "Answer: 3"), answer="number", moderator=both).run("q").rounds) == 3


def test_hard_limit() -> None:
    verdict = stubborn(2, moderator=Moderator(quorum(1.0), limit=3)).run("q?")
    assert len(verdict.rounds) == 4
    assert "hard limit of 3" in verdict.reason


# ---- nesting ----------------------------------------------------------------------------------------------------


def test_a_debate_is_an_agent_of_a_debate_and_usage_adds_up() -> None:
    inner = Debate(agents("Answer: 5", "Answer: 5"), answer="number", moderator=Moderator(rounds(0)), name="inner")
    outer = Debate([Agent("team", inner), *agents("Answer: 5")], answer="number", moderator=Moderator(rounds(0)))
    verdict = outer.run("q?")
    assert (verdict.answer, verdict.usage.calls) == ("5", 3)
    assert [len(part.parts) for part in verdict.parts] in ([2, 0], [0, 2])


def test_settings_pass_through_and_pins_hold() -> None:
    seen: list[Settings] = []

    class Spy:
        name = "spy"

        async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
            seen.append(settings)
            return Reply("Answer: 1", model=self.name)

    debate = Debate([Agent("a", Spy()), Agent("b", Spy(), settings=Settings(temperature=0.1))], answer="number")
    anyio.run(debate.answer, "q?", Settings(temperature=0.9, max_tokens=7))
    assert {(s.temperature, s.max_tokens) for s in seen} == {(0.9, 7), (0.1, 7)}
    assert len({s.seed for s in seen}) == 2


# ---- properties -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 6),
    edges=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    kind=st.sampled_from(["simultaneous", "sequential", "quorum"]),
    memory=st.sampled_from(["own_last", "own_chat", "transcript"]),
    order=st.sampled_from(["fixed", "shuffled", "confidence"]),
    seed=st.integers(0, 9),
)
def test_any_graph_ends_and_repeats(
    n: int, edges: list[tuple[int, int]], kind: Any, memory: Any, order: Any, seed: int
) -> None:
    def once() -> Any:
        group = [Agent(f"n{i}", ScriptedModel([f"Answer: {i}", f"Answer: {i % 2}", "Answer: 0"])) for i in range(n)]
        pairs = [[f"n{u % n}", f"n{v % n}"] for u, v in edges]
        debate = Debate(
            group, topology={"edges": pairs}, answer="number", seed=seed,
            protocol=Protocol(Schedule(kind, order=order, share=1.0), memory=memory),
            moderator=Moderator(unanimous() | rounds(2)),
        )  # fmt: skip
        verdict = debate.run("q?")
        return (
            verdict.answer,
            verdict.reason,
            [[(t.agent, t.messages, t.reads) for t in r.turns] for r in verdict.rounds],
        )

    assert once() == once()


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_permuting_agents_keeps_the_vote(order: list[int]) -> None:
    group = agents(*(f"Answer: {x}" for x in (1, 1, 1, 2, 3)))
    shuffled = [group[i] for i in order]
    verdict = Debate(shuffled, answer="number", moderator=Moderator(rounds(0))).run("q?")
    assert (verdict.answer, dict(verdict.support)) == ("1", {"1": 3.0, "2": 1.0, "3": 1.0})


def test_isolated_graph_is_self_consistency() -> None:
    seen = said(stubborn(4, topology="isolated", moderator=Moderator(rounds(1))))
    assert all(not reads for reads in seen.values())


@pytest.mark.parametrize(
    ("answers", "decide", "expected"),
    [
        (["Answer: 1", "Answer: 2"], Vote(ties="abstain"), None),
        (["Answer: 10", "Answer: 20"], Vote(rule="mean"), "15"),
        (["Answer: 7", "Answer: 7", "Answer: 9"], Distribution(), "7"),
        (["who knows"], Vote(), None),
        (["Answer: 7"], Vote(), "7"),
    ],
)
def test_what_is_read_of_a_nested_debate_is_its_verdict(
    answers: list[str], decide: Decision, expected: str | None
) -> None:
    """Not a figure in the text that says why there is no answer, nor one of the shares."""
    inner = Debate(
        [Agent(f"a{i}", ScriptedModel(text)) for i, text in enumerate(answers)],
        moderator=Moderator(rounds(0), decide), answer="number",
    )  # fmt: skip
    outer = Debate([Agent("panel", inner)], moderator=Moderator(rounds(0)), answer="number")
    assert inner.run("?").answer == expected
    assert outer.run("?").answer == expected


@pytest.mark.anyio
async def test_who_waits_in_a_nested_debate_is_told_to_who_watches_the_outer_one() -> None:
    from agora.errors import ServerError
    from agora.models.wrappers import Retry, RetryPolicy
    from agora.records import Retrying

    flaky = Retry(ScriptedModel([ServerError("busy."), "Answer: 7"]), RetryPolicy(base=0.001))
    inner = Debate([Agent("x", flaky)], moderator=Moderator(rounds(0)), answer="number")
    outer = Debate([Agent("panel", inner)], moderator=Moderator(rounds(0)), answer="number")
    async with outer.watch("?") as events:
        waits = [event async for event in events if isinstance(event, Retrying)]
    assert [(wait.agent, wait.attempt) for wait in waits] == [("panel", 1)]


@pytest.mark.parametrize(("part", "given"), [("view", "answer"), ("schedule", "sequential"), ("gates", {})])
def test_a_part_of_a_protocol_has_its_kind(part: str, given: object) -> None:
    with pytest.raises(InputError, match=f"{part}: needs a {part.capitalize()}, not a {type(given).__name__}"):
        Protocol(**{part: given})  # type: ignore[arg-type]
