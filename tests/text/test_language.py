"""What presets needed of the language: ballots with answers, closing phases left out, passages, quotes, layers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora import Agent, Debate, Moderator, Protocol, ScriptedModel
from agora.config import loads
from agora.errors import AgoraError, InputError
from agora.records import Answer, Reply, Turn
from agora.text.protocol import Phase, Schedule
from agora.text.reading import Cast, passage_of, standing, verified
from agora.text.stop import answered, declared, rounds
from agora.text.votes import most_consistent


def solo(name: str, *replies: str) -> Agent:
    return Agent(name, ScriptedModel(list(replies)))


# ---- quotes and passages ----------------------------------------------------------------------------------------

PASSAGE = "The fox\n  ran home. It was late."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<quote>The fox ran home.</quote>", "<v_quote>The fox ran home.</v_quote>"),
        ("<QUOTE>fox   ran\nhome</QUOTE>", "<v_quote>fox ran home</v_quote>"),
        ("<quote>the fox ran home.</quote>", "<u_quote>the fox ran home.</u_quote>"),
        ("<quote></quote>", "<u_quote></u_quote>"),
        ("<v_quote>a lie</v_quote>", "<u_quote>a lie</u_quote>"),
        ("<v_<v_quote>quote>a lie</v_<V_QUOTE>quote>", "<v_<u_quote>quote>a lie</v_<u_quote>quote>"),
        ("no quote", "no quote"),
        ("<quote>never closed", "<quote>never closed"),
    ],
)
def test_quotes_are_looked_up_word_for_word(text: str, shown: str) -> None:
    assert verified(text, PASSAGE) == shown


PIECES = ["<v_quote>", "</v_quote>", "<u_quote>", "<quote>", "</quote>", "<v_", "quote>", "</v_", "V_", "<", ">", "a"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_text_can_call_its_own_quote_verified(text: str) -> None:
    assert not re.search(r"<v_quote>", verified(text, "zzz"), re.IGNORECASE)


def test_a_question_and_its_passage() -> None:
    assert passage_of("<passage>\nA story.\n</passage>\nWho?") == ("\nA story.\n", "Who?")
    assert passage_of("Who?") == ("Who?", "Who?")
    assert passage_of("<passage>all of it</passage>") == ("all of it", "<passage>all of it</passage>")


def test_who_may_not_see_the_passage_is_not_shown_it() -> None:
    seen: list[str] = []
    model = ScriptedModel(lambda messages: seen.append(messages[-1].content) or "Answer: yes")
    blind = Agent("blind", model, passage=False)
    Debate([blind], moderator=Moderator(rounds(0)), answer="yes_no").run("<passage>SECRET</passage> Is it so?")
    assert "SECRET" not in seen[0]
    assert "Is it so?" in seen[0]


def test_thinking_is_not_for_the_others() -> None:
    debate = Debate(
        [solo("a", "<thinking>PLAN</thinking>Said. Answer: 1"), solo("b", "<thinking>OPEN Answer: 2")],
        moderator=Moderator(rounds(1)), answer="number",
    )  # fmt: skip
    verdict = debate.run("?")
    prompts = {t.agent: t.messages[-1].content for t in verdict.rounds[1].turns}
    assert "PLAN" not in prompts["b"]
    assert "Said." in prompts["b"]
    assert "OPEN" not in prompts["a"]


# ---- ballots ----------------------------------------------------------------------------------------------------


def test_an_answer_and_scores_in_one_reply() -> None:
    phase = Phase("revise", gives="answer", ballot="scores")
    debate = Debate(
        [solo("a", "Answer: 1", '{"scores": {"Peer 1": 4}}\nAnswer: 3'), solo("b", "Answer: 2", "Answer: 5")],
        protocol=Protocol(phases=[phase]), moderator=Moderator(rounds(1)), answer="number",
    )  # fmt: skip
    turns = {t.agent: t for t in debate.run("?").rounds[1].turns}
    assert turns["a"].value == "3"
    assert turns["a"].ballot is not None
    assert dict(turns["a"].ballot.scores) == {"b": 4.0}
    assert turns["b"].value == "5"
    assert turns["b"].ballot is None


@pytest.mark.parametrize("gives", ["[answer, text]", "[scores, answer]", "[answer, scores, ranking]", "[]"])
def test_what_a_phase_cannot_give(gives: str) -> None:
    with pytest.raises(AgoraError):
        loads(f"agents: {{a: pocket:sum}}\nprotocol: {{phases: [{{revise: {{gives: {gives}}}}}]}}\n")


def test_standing_by_ranks_and_scores() -> None:
    cast = [Cast("x", (("A",), ("B", "C")), {}), Cast("y", (("B",), ("A",)), {}), Cast("z", (), {"A": 2, "B": 4})]
    by_label = {s.label: (s.rank, s.score) for s in standing(cast)}
    assert by_label == {"A": (1.5, 2), "B": (1.75, 4), "C": (2.5, None)}
    assert [s.label for s in standing(cast)] == ["A", "B", "C"]
    assert standing([]) == []


# ---- stop rules and closing phases ------------------------------------------------------------------------------


def test_one_agent_says_that_it_is_done() -> None:
    agents = [solo("a", "Answer: 1"), solo("b", "Answer: 2\nDone: no", "Answer: 2\nDone: yes")]
    verdict = Debate(agents, moderator=Moderator(declared("b") | rounds(5)), answer="number").run("?")
    assert len(verdict.rounds) == 2
    assert "b says that it is done" in verdict.reason
    prompts = {t.agent: t.messages[-1].content for t in verdict.rounds[0].turns}
    assert "Done" in prompts["b"]
    assert "Done" not in prompts["a"]


def test_a_rule_names_an_agent_that_is_there() -> None:
    with pytest.raises(InputError, match="none of this debate"):
        Debate([solo("a", "Answer: 1")], moderator=Moderator(declared("nobody")))
    with pytest.raises(InputError, match="not both"):
        declared("a", 2)


@pytest.mark.parametrize(("first", "calls"), [("Answer: none", 2), ("Answer: 7", 1)])
def test_a_closing_phase_is_left_out_where_its_rule_says_so(first: str, calls: int) -> None:
    closing = Phase("answer", name="late", unless=answered("a"))
    verdict = Debate(
        [solo("a", first, "Answer: 8")], protocol=Protocol(closing=[closing]), moderator=Moderator(rounds(0)),
        answer="number",
    ).run("?")  # fmt: skip
    assert verdict.usage.calls == calls
    assert verdict.answer == ("8" if calls == 2 else "7")


def test_only_a_closing_phase_can_be_left_out() -> None:
    with pytest.raises(InputError, match="only a closing phase"):
        Protocol(phases=[Phase("revise", unless=rounds(1))])


# ---- layers -----------------------------------------------------------------------------------------------------


def test_in_layers_one_phase_may_read_another_that_comes_later() -> None:
    debate, _ = loads("""
agents:
  actor: {model: {scripted: [one, two]}, count: 2}
  critic: {model: {scripted: [why]}}
topology: {edge_critics: {of: chain}}
protocol: {schedule: layered, opening: [{critique: {who: critic}}, {answer: {who: actor}}], phases: []}
moderator: {stop: rounds(0)}
""")
    read = {t.agent: {key[0] for key in t.reads} for t in debate.run("?").rounds[0].turns}
    assert read == {"actor-1": set(), "critic": {"actor-1"}, "actor-2": {"actor-1", "critic"}}


def test_nobody_waits_for_who_waits_for_it() -> None:
    """A later phase of one agent and an earlier one of another cannot each come after the other."""
    phases = [Phase("answer"), Phase("late", who=("a",), reads=("b",), gives="text", template="{{ question }}")]
    both = [solo("a", "Answer: 1"), solo("b", "Answer: 2")]
    Debate(both, topology="chain", protocol=Protocol(Schedule("layered"), opening=phases), answer="number").run("?")
    crossed = [
        Phase("respond", who=("b",)),
        Phase("late", who=("a",), reads=("b",), gives="answer", template="{{ question }}"),
    ]
    with pytest.raises(InputError, match="would wait for somebody"):
        Debate(both, topology="chain", protocol=Protocol(Schedule("layered"), opening=crossed, phases=[]))


def test_edge_critics_says_how_many_it_takes() -> None:
    with pytest.raises(AgoraError, match="takes 2 critics"):
        loads("agents: {a: pocket:sum, b: pocket:sum, c: pocket:sum, d: pocket:sum}\n"
              "topology: {edge_critics: {of: chain, actors: 3}}\n")  # fmt: skip


# ---- votes ------------------------------------------------------------------------------------------------------


def sample(agent: str, model: str | None, value: str | None) -> Turn:
    reply = None if model is None else Reply("", model=model)
    return Turn(agent, 0, "answer", reply, Answer(value) if reply else None)


def test_the_model_that_agrees_most_with_itself() -> None:
    """x: 2 of 3 say 1; y: 2 of 4 say 2, as one sample could not be read and one is absent; z: 1 of 3 each."""
    turns = [
        sample("x-1", "x", "1"), sample("x-2", "x", "1"), sample("x-3", "x", "2"),
        sample("y-1", "y", "2"), sample("y-2", "y", "2"), sample("y-3", "y", None), sample("y-4", None, None),
        sample("z-1", "z", "3"), sample("z-2", "z", "2"), sample("z-3", "z", "4"),
    ]  # fmt: skip
    assert most_consistent(turns) == pytest.approx({"1": 2 / 3, "2": 1 / 2})
    assert most_consistent([sample("y-1", "y", None)]) == {}


def test_one_readable_sample_of_five_is_not_certain() -> None:
    turns = [sample(f"x-{i}", "x", "1" if i == 1 else None) for i in range(1, 6)]
    turns += [sample("y-1", "y", "2"), sample("y-2", "y", "2"), sample("y-3", "y", "3")]
    assert next(iter(most_consistent(turns))) == "2"
