"""Simulated debates against what can be worked out: votes, urns, linear beliefs, small graphs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from agora import Agent, Debate, Moderator, Protocol, ScriptedModel, View
from agora.answers import Choice
from agora.errors import InputError
from agora.records import Answer, Reply, Turn
from agora.simulate import Population, Share, Simulation, simulate
from agora.simulate.result import _quantile
from agora.text.moderator import Vote
from agora.text.stop import rounds, unanimous
from agora.text.votes import majority, plurality, supermajority

N = 60_000


def debate(
    agents: int = 5, options: int = 2, stop: Any = None, decide: Vote = Vote(), own: Any = "shown", **more: Any
) -> Debate:
    made = [Agent(f"a{i}", ScriptedModel("Answer: 0")) for i in range(agents)]
    return Debate(made, answer=Choice([str(k) for k in range(options)]), protocol=Protocol(view=View(own=own)),
                  moderator=Moderator(stop or rounds(0), decide), **more)  # fmt: skip


def near(found: Share, exact: float) -> None:
    n = N
    assert found.mean == pytest.approx(exact, abs=4.5 * math.sqrt((exact * (1 - exact) + 1 / n) / n))


def binomial(n: int, p: float) -> list[float]:
    return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def beta_binomial(n: int, a: float, b: float) -> list[float]:
    def beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return [math.comb(n, k) * math.exp(beta(k + a, n - k + b) - beta(a, b)) for k in range(n + 1)]


@pytest.mark.parametrize("agents", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("ties", ["initial", "abstain", "first", "seeded"])
def test_a_vote_of_independent_agents_is_binomial_with_ties_as_agora_decides_them(agents: int, ties: Any) -> None:
    made = simulate(debate(agents, decide=Vote(ties=ties)), Population(0.6), n=N)
    pmf = binomial(agents, 0.6)
    tie = pmf[agents // 2] if agents % 2 == 0 else 0.0
    broken = tie / 2 if ties in ("first", "seeded") else 0.0
    near(made.accuracy, sum(pmf[agents // 2 + 1 :]) + broken)
    near(made.undecided, 0.0 if broken else tie)
    near(made.oracle, 1 - pmf[0])
    near(made.wrong_consensus, pmf[0])
    assert made.calls.mean == made.calls.low == made.calls.high == agents


@pytest.mark.parametrize("rule", ["plurality", "majority", "supermajority"])
def test_more_options_and_abstentions_by_enumeration(rule: Any) -> None:
    p, silent, options, agents = 0.45, 0.15, 3, 4
    chance = [(1 - silent) * p, *[(1 - silent) * (1 - p) / 2] * 2, silent]
    vote, right, none = Vote(rule=rule, share=0.75), 0.0, 0.0
    for row in itertools.product(range(4), repeat=agents):
        turns = [
            Turn(str(i), 0, "answer", Reply("", model=""), Answer(None if k == 3 else str(k)))
            for i, k in enumerate(row)
        ]
        found = {"plurality": lambda t: plurality(t, initial=t), "majority": lambda t: majority(t, initial=t),
                 "supermajority": lambda t: supermajority(t, 0.75, initial=t)}[rule](turns).answer  # fmt: skip
        weight = math.prod(chance[k] for k in row)
        right, none = right + weight * (found == "0"), none + weight * (found is None)
    made = simulate(debate(agents, options, decide=vote), Population(p, abstention=silent), n=N)
    near(made.accuracy, right)
    near(made.undecided, none)


@pytest.mark.parametrize("rho", [0.05, 0.3, 0.8])
def test_a_vote_of_correlated_agents_is_beta_binomial(rho: float) -> None:
    s = 1 / rho - 1
    pmf = beta_binomial(5, 0.6 * s, 0.4 * s)
    made = simulate(debate(), Population(0.6, rho), n=N)
    near(made.accuracy, sum(pmf[3:]))
    near(made.oracle, 1 - pmf[0])
    near(made.wrong_consensus, pmf[0])
    assert abs(made.accuracy.mean - sum(binomial(5, 0.6)[3:])) > 3 * (made.accuracy.high - made.accuracy.mean)


def test_agents_of_correlation_one_are_one_agent() -> None:
    made = simulate(debate(5, 4), Population(0.6, 1.0), n=N)
    near(made.accuracy, 0.6)
    near(made.oracle, 0.6)
    near(made.wrong_consensus, 0.4)


@pytest.mark.parametrize("rho", [0.0, 0.02, 0.25, 0.7, 0.999, 1.0])
def test_correlations_are_those_asked_for(rho: float) -> None:
    """Marginals stay; the covariance is rho times the greatest there can be, and the correlation rho where alike."""
    people, p = Population(0.5, rho), np.array([0.3, 0.6, 0.6, 0.95, 1.0, 0.0])
    draw = np.random.default_rng(3)
    q = people.beliefs(p, 3, 200_000, draw)
    np.testing.assert_allclose(q.sum(axis=-1), 1, atol=1e-9)
    right = draw.random((200_000, 6)) < q[..., 0]
    np.testing.assert_allclose(right.mean(axis=0), p, atol=4.5 * 0.5 / math.sqrt(200_000))
    bound = np.minimum.outer(p, p) - np.multiply.outer(p, p)
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(np.cov(right.T.astype(float))[off], rho * bound[off], atol=0.004)
    if rho < 1:
        assert np.corrcoef(right[:, 1], right[:, 2])[0, 1] == pytest.approx(rho, abs=0.012)


def test_wrong_answers_go_together_as_dirichlet_multinomial_ones() -> None:
    p, rho, options = 0.4, 0.3, 4
    s = 1 / rho - 1
    b = s * (1 - p) / (options - 1)
    q = Population(p, rho).beliefs(np.full(2, p), options, 200_000, np.random.default_rng(5))
    both = (q[:, 0, 1] * q[:, 1, 1]).mean()  # both give the same wrong answer
    assert both == pytest.approx(b * (b + 1) / (s * (s + 1)), abs=0.002)


def test_alike_believers_are_a_martingale() -> None:
    """Their mean accuracy is the same after each round; the vote of them is not."""
    for rho, graph in ((0.0, "complete"), (0.3, "ring"), (0.0, "star")):
        made = simulate(debate(stop=rounds(4), topology=graph), Population(0.6, rho, concentration=4), n=N)
        for single in made.single_by_round:
            assert single.mean == pytest.approx(0.6, abs=4.5 * single.error)
    gains = simulate(debate(stop=rounds(4)), Population(0.6, persuasion=0.3, concentration=4), n=N)
    assert gains.single_by_round[-1].mean > 0.6 + 20 * gains.single_by_round[-1].error


@pytest.mark.parametrize("own", ["hidden", "shown"])
def test_mean_beliefs_follow_degroot(own: str) -> None:
    """Beliefs are linear in what is read, so that their means are those of DeGroot's agents: each takes the mean of its
    own belief, of weight c at first, and those it reads, of weight one each; weights add up."""
    edges = [("a0", "a1"), ("a1", "a2"), ("a2", "a0"), ("a3", "a0"), ("a0", "a3"), ("a4", "a1"), ("a2", "a3")]
    skill, c = [0.9, 0.2, 0.5, 0.7, 0.35], 2.0
    reads = np.zeros((5, 5))
    for u, v in edges:
        reads[int(v[1]), int(u[1])] = 1
    if own == "shown":
        reads += np.eye(5)
    weights, means = np.full(5, c), np.array(skill)
    expected = [means.mean()]
    for _ in range(6):
        grown = weights + reads.sum(axis=1)
        means, weights = (weights * means + reads @ means) / grown, grown
        expected.append(means.mean())
    people = Population({f"a{i}": p for i, p in enumerate(skill)}, concentration=c)
    made = simulate(debate(stop=rounds(6), own=own, topology={"edges": edges}), people, n=N)
    for single, exact in zip(made.single_by_round, expected, strict=True):
        assert single.mean == pytest.approx(exact, abs=4.5 * single.error)
    assert abs(expected[-1] - expected[0]) > 20 * made.single_by_round[-1].error  # it moves


def test_three_who_follow_the_others_hold_what_two_of_them_held() -> None:
    made = simulate(debate(3, stop=rounds(1)), Population(0.7, conformity=1.0), n=N)
    exact = 0.7**3 + 3 * 0.7**2 * 0.3
    single = made.single_by_round[1]
    assert single.mean == pytest.approx(exact, abs=4.5 * single.error)
    near(made.wrong_consensus, 1 - exact)
    assert made.transitions["right to wrong"].mean == pytest.approx(0.7 * 0.3**2, abs=0.003)
    assert made.transitions["wrong to right"].mean == pytest.approx(0.3 * 0.7**2, abs=0.003)


def test_two_who_may_take_over_the_other_answer() -> None:
    p, up, down = 0.6, 0.4 * 1.5, 0.4 * 0.5
    made = simulate(debate(2, stop=rounds(1)), Population(p, conformity=0.4, persuasion=0.5), n=N)
    differ = 2 * p * (1 - p)
    near(made.accuracy, p * p + differ * up * (1 - down))
    near(made.wrong_consensus, (1 - p) ** 2 + differ * down * (1 - up))
    near(made.undecided, differ * (up * down + (1 - up) * (1 - down)))  # both move, or neither


def test_of_several_that_are_read_most_often_one_is_taken_over() -> None:
    """Three agents, three answers, one round, by enumeration: who reads two different answers other than its own
    chooses among them, a right one 1 + s to 1 - s."""
    p, k, s = 0.4, 0.5, 0.6
    chance, exact = [p, (1 - p) / 2, (1 - p) / 2], [0.0, 0.0]
    for row in itertools.product(range(3), repeat=3):
        weight = math.prod(chance[a] for a in row)
        for i, own in enumerate(row):
            leads = {row[j] for j in range(3) if j != i}
            if own in leads:  # one of a tie, or what both say
                gained = float(own == 0)
            else:
                worth = {a: 1 - s if a else 1 + s for a in leads}
                moves = {a: worth[a] / sum(worth.values()) * k * worth[a] for a in leads}
                gained = moves.get(0, 0.0) + (1 - sum(moves.values())) * (own == 0)
            exact[0], exact[1] = exact[0] + weight * (own == 0) / 3, exact[1] + weight * gained / 3
    assert exact[0] == pytest.approx(p)
    made = simulate(debate(3, 3, rounds(1)), Population(p, conformity=k, persuasion=s), n=N)
    single = made.single_by_round[1]
    assert single.mean == pytest.approx(exact[1], abs=4.5 * single.error)
    assert exact[1] > p + 0.05


def same(a: Simulation, b: Simulation) -> None:
    assert a.by_round == b.by_round
    assert a.single_by_round == b.single_by_round
    assert a.reasons == b.reasons
    assert a.calls == b.calls


def test_small_and_bare_graphs() -> None:
    people = Population(0.6, 0.2, conformity=0.5, persuasion=0.2, abstention=0.1)
    stop = unanimous() | rounds(3)
    same(simulate(debate(3, 3, stop), people, n=5000), simulate(debate(3, 3, stop, topology="ring"), people, n=5000))
    alone = simulate(debate(5, 3, rounds(3), topology="isolated"), Population(0.6, conformity=0.9), n=N)
    assert len({share.mean for share in alone.by_round}) == 1  # nobody reads, nobody moves
    near(alone.accuracy, simulate(debate(5, 3), Population(0.6), n=N, seed=7).accuracy.mean)
    one = simulate(debate(1, 3, rounds(3)), people, n=N)
    near(one.by_round[0], 0.6 * 0.9)
    near(one.wrong_consensus, 0.4 * 0.9)


def test_certain_cases() -> None:
    always = simulate(debate(stop=unanimous() | rounds(3)), Population(1.0, conformity=1.0), n=100)
    assert (always.accuracy.mean, always.calls.mean, list(always.reasons)) == (1.0, 5.0, ["unanimous"])
    never = simulate(debate(stop=rounds(2)), Population(0.0, 0.5), n=100)
    assert (never.accuracy.mean, never.oracle.mean, never.wrong_consensus.mean) == (0.0, 0.0, 1.0)
    silent = simulate(debate(stop=rounds(2)), Population(0.7, abstention=1.0), n=100)
    assert (silent.undecided.mean, silent.rounds.mean) == (1.0, 2.0)
    single = simulate(debate(stop=rounds(2)), Population(0.7), n=1)
    assert math.isnan(single.calls.error)
    assert single.plain()["calls"]["error"] is None


def test_the_same_seed_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    people, d = Population(0.6, 0.3, conformity=0.5), debate(stop=unanimous() | rounds(3))
    assert simulate(d, people, n=3000, seed=4) == simulate(d, people, n=3000, seed=4)
    assert simulate(d, people, n=3000, seed=4).by_round != simulate(d, people, n=3000, seed=5).by_round
    whole = simulate(d, people, n=N, seed=4)
    monkeypatch.setattr("agora.simulate.simulating._AT_ONCE", 10_000)  # in many chunks
    parts = simulate(d, people, n=N, seed=4)
    near(parts.accuracy, whole.accuracy.mean)
    assert parts.calls.mean == pytest.approx(whole.calls.mean, abs=6 * whole.calls.error)
    assert parts.accuracy != whole.accuracy


def test_intervals() -> None:
    assert Share.of(8, 10).low == pytest.approx(0.4902, abs=1e-4)  # Wilson, Brown et al. 2001
    assert Share.of(8, 10).high == pytest.approx(0.9433, abs=1e-4)
    assert Share.of(0, 10).low == 0.0
    assert Share.of(10, 10).high == 1.0
    for p, n, q in ((0.3, 20, 0.025), (0.97, 400, 0.975), (0.5, 1, 0.5)):
        sums = np.cumsum(binomial(n, p))
        assert _quantile(p, n, q) == pytest.approx(next(k for k in range(n + 1) if sums[k] >= q - 1e-12) / n)
    assert (_quantile(0.0, 5, 0.5), _quantile(1.0, 5, 0.5)) == (0.0, 1.0)
    low, high = simulate(debate(), Population(0.6), n=N).over(100)[0]
    assert 0.55 < low < 0.62 < 0.72 < high < 0.79


@pytest.mark.parametrize(
    "wrong",
    [
        {"accuracy": "high"}, {"accuracy": True}, {"accuracy": {"a": 2}}, {"accuracy": math.nan}, {"correlation": -0.1},
        {"conformity": {"*": "x"}}, {"persuasion": 1.01}, {"abstention": None}, {"options": 2.5}, {"options": "x"},
        {"options": True}, {"concentration": "x"}, {"concentration": math.nan}, {"confidence": 0.5},
        {"confidence": (0.5,)}, {"confidence": (0.5, math.nan)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_population(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Population(**wrong)


def test_too_much_for_memory() -> None:
    with pytest.raises(InputError, match="too many for memory"):
        simulate(debate(stop=rounds(9999)), n=20_000)
    many = Debate([Agent(f"a{i}", ScriptedModel("x")) for i in range(21_000)], answer="number", topology="isolated")
    with pytest.raises(InputError, match="21,000 agents with 1000 possible answers"):
        simulate(many, Population(options=1000), n=1)
