"""Debates that are really held, measured: what is known of their agents is found again."""

from __future__ import annotations

from crowd import Voice, debate, herd, items, wise

from agora import Agent, Debate, Moderator
from agora.evaluate import analyse, evaluate
from agora.evaluate.report.page import report
from agora.evaluate.results_io import from_json, to_json
from agora.text.protocol import Protocol, Schedule
from agora.text.stop import rounds


def test_who_follows_is_seen_to_follow_and_to_gain_nothing() -> None:
    results = evaluate(
        debate(*(Voice(name, 0.6, herd) for name in "abc"), last=2), items(80), baselines=["vote", "members"]
    )
    made = analyse(results)
    (within,) = made.debates
    for rate in (within.conformity.all, within.conformity.right, within.conformity.wrong):
        assert rate is not None
        assert rate.value == 1.0
    assert sum(within.influence.alone) == 0  # nobody ever answers what nobody it read has said
    vote = next(one for one in made.comparisons if one.role == "round-0 vote")
    assert vote.verdict == "no difference shown"
    assert from_json(to_json(results)) == results
    assert set(results.digests) == {str(i) for i in range(80)}
    assert "does the debate help?" in report(results, made)


def test_who_knows_the_truth_when_it_reads_it_gains() -> None:
    results = evaluate(debate(*(Voice(name, 0.5, wise) for name in "abc")), items(120), baselines=["vote", "members"])
    made = analyse(results)
    (within,) = made.debates
    assert all(one.verdict == "better" for one in made.comparisons)
    assert within.turned is not None
    assert within.turned.helped > within.turned.hurt
    # of two peers, each right half the time: both are (1/4), and it is right; one is (1/2), and it is right but for
    # 1/10 x 1/2; none is (1/4), and it is wrong: right in .725, wherever it came from
    assert within.transitions is not None
    moves = within.transitions.total
    assert moves.correction is not None
    assert moves.vulnerability is not None
    assert not moves.correction.excludes(0.725)
    assert not moves.vulnerability.excludes(0.275)
    # who draws apart errs apart: |phi| beyond its limit for at most one of three pairs
    assert within.errors is not None
    pairs = [within.errors.phi[i][j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert sum(abs(phi or 0.0) > within.errors.limit for phi in pairs) <= 1


def test_who_speaks_in_turn_reads_answers_of_the_same_round() -> None:
    voices = [Voice("a", 1.0), Voice("b", 0.0, herd), Voice("c", 0.0, herd)]
    made = Debate(
        [Agent(voice.name, voice) for voice in voices],
        protocol=Protocol(schedule=Schedule("sequential")),
        moderator=Moderator(rounds(1)),
        answer="number",
        name="row",
    )
    row = evaluate(made, items(1), baselines=[])["row"].rows[0]
    read = {(said.agent, said.round): said.read for said in row.said}
    assert set(read["b", 0]) == {("a", 0)}
    assert set(read["c", 0]) == {("a", 0), ("b", 0)}
    assert ("a", 1) in read["b", 1]
    assert ("c", 0) in read["b", 1]
