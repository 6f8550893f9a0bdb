"""What is read, stop rules and votes on many debates at once, beside the rules for one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.answers import Choice, Text
from agora.records import Answer, Reply, Round, Turn
from agora.simulate import heard
from agora.simulate.heard import UNSAID
from agora.simulate.stopping import Past, Stopping
from agora.simulate.voting import Voting
from agora.text.moderator import Vote
from agora.text.stop import parse_stop, rounds
from agora.text.topology import build

AGENTS, OPTIONS = 6, 3
NAMES = [f"a{i}" for i in range(AGENTS)]
SAID = st.lists(st.lists(st.integers(-1, OPTIONS - 1), min_size=AGENTS, max_size=AGENTS), min_size=1, max_size=6)


ROW = st.lists(st.sampled_from([-2, -1, 0, 0, 1, 2]), min_size=AGENTS, max_size=AGENTS)


def array(rows: Any) -> np.ndarray:
    return np.array(rows, np.int16)


def round_of(index: int, row: Any, sure: Any = None) -> Round:
    turns = []
    for i, (name, value) in enumerate(zip(NAMES, row, strict=True)):
        if value != UNSAID:
            c = None if sure is None else float(sure[i])
            answer = Answer(None if value < 0 else str(value), confidence=c)
            turns.append(Turn(name, index, "answer", Reply("", model=f"m{i % 2}:x"), answer))
    return Round(index, tuple(turns))


GRAPHS: list[Any] = [
    "complete", "ring", "star", "isolated", "chain", {"small_world": {"k": 2, "seed": 3}},
    {"edges": [["a0", "a5"], ["a3", "a5"], ["a5", "a3"]]}, {"random_dag": {"p": 0.4, "seed": 2}},
]  # fmt: skip


@pytest.mark.parametrize("graph", GRAPHS, ids=str)
@pytest.mark.parametrize("dense", [0, 1000])
def test_what_is_read_is_counted(graph: Any, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard, "_DENSE", dense)
    topology = build(graph, NAMES)
    said = np.random.default_rng(1).integers(-2, OPTIONS, (20, AGENTS)).astype(np.int16)
    who = np.array([5, 0, 3])
    counts = heard.neighbours(topology)(said, who, OPTIONS)
    assert counts.dtype == np.float32
    for d in range(20):
        for i, reader in enumerate(who):
            values = [int(said[d, NAMES.index(u)]) for u in topology.reads(NAMES[reader])]
            assert counts[d, i].tolist() == [values.count(k) for k in range(OPTIONS)] + [values.count(-1)]


RULES = [
    "unanimous", "quorum(2/3)", "quorum(1)", "supermajority(1/2)", "agreement(0.75)", "entropy(1)", "stable(2)",
    "no_change", "converging(0.1, 2)", "oscillation(2)", "answered(a2)", "confident(0.7)", "confident(0.5, all)",
    "rounds(3)", "failures(1)", "stable(1) & quorum(0.5) | unanimous", "(unanimous | rounds(2)) & agreement(0.6)",
]  # fmt: skip


@pytest.mark.parametrize("text", RULES)
@settings(max_examples=60, deadline=None)
@given(
    histories=st.lists(st.lists(ROW, min_size=5, max_size=5), min_size=1, max_size=3),
    repeats=st.integers(1, 5),
    last=st.integers(1, 5),
    sure=st.floats(0, 1),
)  # fmt: skip
def test_stop_rules_stop_where_the_debates_do(text: str, histories: Any, repeats: int, last: int, sure: float) -> None:
    """Histories in which answers come again, so that rules about standing still and circles have something to see."""
    histories = [[rows[i % repeats] for i in range(last)] for rows in histories]
    rule = parse_stop(text)
    stopping = Stopping(rule, NAMES)
    assert not stopping.ignored
    said = [array([rows[i] for rows in histories]) for i in range(last)]
    confidences = np.random.default_rng(int(sure * 1000)).random((len(histories), AGENTS)).astype(np.float32) ** sure
    found = stopping(Past(said[-stopping.rounds :], last - 1, OPTIONS, confidences)) >= 0
    for d, rows in enumerate(histories):
        made = [round_of(i, row, confidences[d]) for i, row in enumerate(rows)]

        async def asked(made: list[Round] = made) -> str | None:
            return await rule(SimpleNamespace(rounds=made))  # type: ignore[arg-type]

        assert bool(found[d]) == (anyio.run(asked) is not None), rows


def test_rules_that_cannot_be_told_from_answers_are_named() -> None:
    rule = parse_stop("declared | spent(0.5) & unanimous | repetition | rounds(2)")
    assert Stopping(rule, NAMES).ignored == ["declared", "spent(0.5)", "repetition(0.95)"]


def debate(vote: Vote) -> Debate:
    agents = [Agent(name, ScriptedModel("Answer: 0", name=f"m{i % 2}:x")) for i, name in enumerate(NAMES)]
    return Debate(agents, answer=Choice(["0", "1", "2"]), moderator=Moderator(rounds(0), vote), voters=NAMES[1:])


VOTES = [
    *(Vote(ties=ties) for ties in ("initial", "confidence", "first", "abstain")),
    *(Vote(weight=weight) for weight in ("confidence", "reconcile", "log_odds")),
    Vote(threshold=0.5), Vote(weight="reconcile", ties="first", threshold=0.4),
    Vote(rule="majority"), Vote(rule="majority", weight="confidence"), Vote(rule="supermajority", share=0.6),
    Vote(accuracies={"a1": 0.9, "a4": 0.6}), Vote(weight="confidence", accuracies={"a2": 0.7, "a3": 0.4}),
    Vote(cap=0.3, weight="confidence"), Vote(trim=0.25, weight="confidence"), Vote(families=2),
    Vote(rule="most_consistent"),
]  # fmt: skip


@pytest.mark.parametrize("vote", VOTES, ids=str)
@settings(max_examples=40, deadline=None)
@given(rows=SAID, first=SAID, seed=st.integers(0, 99), coarse=st.booleans(), left=st.integers(0, AGENTS))
def test_votes_are_decided_as_debates_decide_them(
    vote: Vote, rows: Any, first: Any, seed: int, coarse: bool, left: int
) -> None:
    said, initial = array(rows), array([first[i % len(first)] for i in range(len(rows))])
    if left < AGENTS:
        said[:, left] = UNSAID
    draw = np.random.default_rng(seed)
    sure = draw.random(said.shape).astype(np.float32)
    if coarse:  # equal confidences, so that weighted votes tie
        sure = np.round(sure * 4) / np.float32(4)
    d = debate(vote)
    found = Voting(d, OPTIONS)([said], initial, sure, draw)
    for i in range(len(said)):
        final = round_of(1, said[i], sure[i])
        case = SimpleNamespace(
            rounds=[round_of(0, initial[i]), final], seed=d.seed, answer=Text(), warn=lambda text: None
        )
        turns = [final.final[name] for name in d.voters if name in final.final]

        async def decided(case: Any = case, turns: Any = turns) -> str | None:
            return (await vote.decide(case, turns)).answer

        answer = anyio.run(decided)
        assert found[i] == (-1 if answer is None else int(answer))
