"""Votes: rules against second definitions, the textbook's paradoxes, weights by hand, ballots read as structure."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agora.errors import InputError
from agora.records import Answer, Ballot, Reply, Round, Turn
from agora.text.ballots import read_ranking, read_scores
from agora.text.rules import RULES, cast, ceiling, exact
from agora.text.votes import (
    Ties,
    Weight,
    elect,
    family_of,
    majority,
    medoid,
    plurality,
    settle,
    supermajority,
    tally,
    trajectory,
    weigh,
)

Tiers = tuple[tuple[str, ...], ...]
RANKING_RULES = [name for name in RULES if name not in ("score", "cumulative")]


def ballots(*rankings: tuple[int, str] | str) -> list[Ballot]:
    """'A>B=C' and how many voters say so."""
    made = []
    for entry in rankings:
        count, ranking = entry if isinstance(entry, tuple) else (1, entry)
        tiers = tuple(tuple(tier.split("=")) for tier in ranking.split(">")) if ranking else ()
        made += [Ballot(f"{ranking}{i}", tiers) for i in range(count)]
    return made


def scored(*scores: Mapping[str, float], weights: Sequence[float] = ()) -> list[Ballot]:
    return [Ballot(str(i), (), s, weights[i] if weights else 1.0) for i, s in enumerate(scores)]


def winners(support: Mapping[str, float]) -> set[str]:
    return {name for name, value in support.items() if value == max(support.values())}


# ---- every rule against a second definition, on all small profiles ------------------------------------------------


def position(ballot: Ballot, name: str) -> int:
    return next((i for i, tier in enumerate(ballot.ranking) if name in tier), len(ballot.ranking))


def prefer(profile: Sequence[Ballot], a: str, b: str) -> int:
    return sum(position(x, a) < position(x, b) for x in profile)


def by_borda(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    """Those below, and half of those beside."""
    return {
        a: sum(
            (
                Fraction(1 + (position(x, a) < position(x, b)) - (position(x, a) > position(x, b)), 2)
                for x in profile
                if x.ranking
                for b in names
                if a != b
            ),
            Fraction(0),
        )
        for a in names
    }


def by_first_places(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    return {
        a: sum((Fraction(1, len(x.ranking[0])) for x in profile if x.ranking and a in x.ranking[0]), Fraction(0))
        for a in names
    }


def by_approval(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    return {a: Fraction(sum(bool(x.ranking) and a in x.ranking[0] for x in profile)) for a in names}


def by_copeland(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    result = {}
    for a in names:
        duels = [(prefer(profile, a, b), prefer(profile, b, a)) for b in names if b != a]
        result[a] = sum(mine > theirs for mine, theirs in duels) + Fraction(sum(m == t for m, t in duels), 2)
    return result


def by_kemeny(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    """All orders at the least distance, in pairs of candidates put the other way round."""

    def distance(order: tuple[str, ...]) -> int:
        return sum(prefer(profile, b, a) for i, a in enumerate(order) for b in order[i + 1 :])

    orders = list(itertools.permutations(names))
    least = min(map(distance, orders))
    best = [order for order in orders if distance(order) == least]
    return {a: Fraction(sum(len(names) - 1 - order.index(a) for order in best), len(best)) for a in names}


def by_schulze(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    """All chains without a repeat, each as strong as its weakest win."""

    def win(a: str, b: str) -> int:
        return prefer(profile, a, b) if prefer(profile, a, b) > prefer(profile, b, a) else 0

    def strongest(a: str, b: str) -> int:
        between = [n for n in names if n not in (a, b)]
        chains = (
            (a, *middle, b) for size in range(len(between) + 1) for middle in itertools.permutations(between, size)
        )
        return max(min(win(x, y) for x, y in itertools.pairwise(chain)) for chain in chains)

    return {a: Fraction(sum(strongest(a, b) >= strongest(b, a) for b in names if b != a)) for a in names}


def by_run_off(profile: Sequence[Ballot], names: str) -> dict[str, Fraction]:
    """Round by round, with what is left of each ballot."""
    piles = [[set(tier) for tier in x.ranking] for x in profile]
    held: dict[str, Fraction] = {}
    left = set(names)
    while True:
        votes = dict.fromkeys(left, Fraction(0))
        for pile in piles:
            top = next((tier & left for tier in pile if tier & left), set())
            for name in top:
                votes[name] += Fraction(1, len(top))
        held |= votes
        out = {name for name in left if votes[name] == min(votes.values())}
        if out == left or max(votes.values()) > sum(votes.values()) / 2:
            return held
        left -= out


DEFINITIONS: dict[str, Callable[[Sequence[Ballot], str], dict[str, Fraction]]] = {
    "borda": by_borda,
    "plurality_of_rankings": by_first_places,
    "copeland": by_copeland,
    "schulze": by_schulze,
    "kemeny": by_kemeny,
    "ranked_choice": by_run_off,
    "approval": by_approval,
}


def weak_orders(names: str) -> Iterator[Tiers]:
    """All ways to rank some of them, equals included."""
    for size in range(len(names) + 1):
        for some in itertools.combinations(names, size):
            yield from {
                tuple(tuple(n for n in some if levels[some.index(n)] == level) for level in sorted(set(levels)))
                for levels in itertools.product(range(size), repeat=size)
            }


ALL_BALLOTS = [Ballot(str(i), ranking) for i, ranking in enumerate(sorted(weak_orders("ABC")))]


def test_every_rule_has_a_second_definition() -> None:
    assert set(DEFINITIONS) == set(RANKING_RULES)
    assert len(ALL_BALLOTS) == 1 + 3 + 9 + 13


@pytest.mark.parametrize("rule", RANKING_RULES)
def test_rule_on_all_profiles_of_up_to_three_voters(rule: str) -> None:
    for size in range(4):
        for profile in itertools.combinations_with_replacement(ALL_BALLOTS, size):
            got = RULES[rule](profile, "ABC")
            assert got == {n: float(x) for n, x in DEFINITIONS[rule](profile, "ABC").items()}, profile
            assert list(got.values()) == sorted(got.values(), reverse=True)


@st.composite
def profiles(draw: st.DrawFn, most: int = 5, voters: int = 7, least: int = 1) -> tuple[list[Ballot], str]:
    names = "ABCDEFGH"[: draw(st.integers(2, most))]
    made = []
    for i in range(draw(st.integers(least, voters))):
        levels = draw(st.lists(st.integers(0, len(names)), min_size=len(names), max_size=len(names)))
        # level 0 is not ranked
        tiers = [tuple(n for n, x in zip(names, levels, strict=True) if x == level) for level in range(1, 9)]
        weight = draw(st.sampled_from([1.0, 1.0, 2.0, 3.0]))
        scores = {n: float(x) for n, x in zip(names, levels, strict=True)}
        made.append(Ballot(str(i), tuple(t for t in tiers if t), scores, weight))
    return made, names


def copies(profile: Sequence[Ballot]) -> list[Ballot]:
    return [Ballot(b.voter, b.ranking, b.scores) for b in profile for _ in range(int(b.weight))]


@pytest.mark.parametrize("rule", [*RANKING_RULES, "score", "cumulative"])
@settings(max_examples=60, deadline=None)
@given(profile=profiles())
def test_weights_are_copies_and_larger_profiles_agree_too(rule: str, profile: tuple[list[Ballot], str]) -> None:
    given, names = profile
    ranked = [b for b in copies(given) if b.ranking or rule not in DEFINITIONS]
    given = [b for b in given if b.ranking or rule not in DEFINITIONS]
    got = RULES[rule](given, names)
    assert got == RULES[rule](ranked, names)
    if rule in DEFINITIONS:
        assert got == {n: float(x) for n, x in DEFINITIONS[rule](ranked, names).items()}


@settings(max_examples=200, deadline=None)
@given(profile=profiles())
def test_score_and_cumulative_against_statistics(profile: tuple[list[Ballot], str]) -> None:
    given, names = profile
    for name in names:
        values = sorted(b.scores[name] for b in copies(given))
        assert RULES["score"](given, names)[name] == pytest.approx(statistics.fmean(values))
        assert RULES["score"](given, names, aggregate="median")[name] == statistics.median(values)
        drop = len(values) // 4
        middle = statistics.fmean(values[drop : len(values) - drop])
        got = RULES["score"](given, names, aggregate="trimmed", share=Fraction(drop, len(values)))
        assert got[name] == pytest.approx(middle)
        spread = [b.scores[name] / sum(b.scores.values()) for b in copies(given) if sum(b.scores.values())]
        assert RULES["cumulative"](given, names)[name] == pytest.approx(sum(spread))


def test_kemeny_at_its_limit_is_exact_and_above_it_refuses() -> None:
    names = "ABCDEFGH"
    orders = ["HGFEDCBA", "BADCFEHG", "CAEBGDHF", "ABCDEFGH", "EFGHABCD"]
    profile = ballots(*(">".join(order) for order in orders))

    prefers = {(a, b): prefer(profile, a, b) for a in names for b in names}
    agreement = {
        order: sum(map(prefers.__getitem__, itertools.combinations(order, 2)))
        for order in itertools.permutations(names)
    }
    best = max(agreement.values())
    tops = [order for order, agreed in agreement.items() if agreed == best]
    got = RULES["kemeny"](profile, names)
    assert got == {n: sum(7 - o.index(n) for o in tops) / len(tops) for n in got}
    with pytest.raises(InputError, match=r"9 candidates.*Use schulze or copeland"):
        RULES["kemeny"](ballots("A>B"), "ABCDEFGHI")


# ---- the textbook -------------------------------------------------------------------------------------------------

TENNESSEE = ballots(
    (42, "Memphis>Nashville>Chattanooga>Knoxville"),
    (26, "Nashville>Chattanooga>Knoxville>Memphis"),
    (15, "Chattanooga>Knoxville>Nashville>Memphis"),
    (17, "Knoxville>Chattanooga>Nashville>Memphis"),
)
CITIES = ["Memphis", "Nashville", "Chattanooga", "Knoxville"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("plurality_of_rankings", {"Memphis": 42, "Nashville": 26, "Knoxville": 17, "Chattanooga": 15}),
        ("approval", {"Memphis": 42, "Nashville": 26, "Knoxville": 17, "Chattanooga": 15}),
        ("borda", {"Nashville": 194, "Chattanooga": 173, "Memphis": 126, "Knoxville": 107}),
        ("copeland", {"Nashville": 3, "Chattanooga": 2, "Knoxville": 1, "Memphis": 0}),
        ("kemeny", {"Nashville": 3, "Chattanooga": 2, "Knoxville": 1, "Memphis": 0}),
        ("schulze", {"Nashville": 3, "Chattanooga": 2, "Knoxville": 1, "Memphis": 0}),
        ("ranked_choice", {"Knoxville": 58, "Memphis": 42, "Nashville": 26, "Chattanooga": 15}),
    ],
)
def test_the_capital_of_tennessee_by_rankings(rule: str, expected: dict[str, float]) -> None:
    got = RULES[rule](TENNESSEE, CITIES)
    assert got == expected
    assert list(got) == list(expected)


def test_the_capital_of_tennessee_by_scores() -> None:
    rows = [(42, (10, 4, 2, 0)), (26, (0, 10, 4, 2)), (15, (0, 6, 10, 8)), (17, (0, 5, 7, 10))]
    voters = scored(*(dict(zip(CITIES, s, strict=True)) for _, s in rows), weights=[n for n, _ in rows])
    assert RULES["score"](voters, CITIES) == {"Nashville": 6.03, "Chattanooga": 4.57, "Memphis": 4.2, "Knoxville": 3.42}
    assert RULES["score"](voters, CITIES, aggregate="median") == {
        "Nashville": 5, "Chattanooga": 4, "Knoxville": 2, "Memphis": 0,
    }  # fmt: skip
    liked = RULES["approval"](voters, CITIES, bar=5)
    assert liked == {"Nashville": 58, "Memphis": 42, "Chattanooga": 32, "Knoxville": 32}
    assert winners(RULES["cumulative"](voters, CITIES)) == {"Nashville"}
    # without rankings the scores rank
    assert RULES["borda"](voters, CITIES) == RULES["borda"](TENNESSEE, CITIES)


def test_condorcet_cycle_is_a_tie_under_every_rule() -> None:
    for rule in RANKING_RULES:
        support = RULES[rule](ballots("A>B>C", "B>C>A", "C>A>B"), "ABC")
        assert winners(support) == {"A", "B", "C"}, rule


def test_borda_passes_over_a_condorcet_winner() -> None:
    profile = ballots((3, "A>B>C"), (2, "B>C>A"))
    assert RULES["borda"](profile, "ABC") == {"B": 7, "A": 6, "C": 2}
    for rule in ("copeland", "schulze", "kemeny", "ranked_choice", "plurality_of_rankings"):
        assert winners(RULES[rule](profile, "ABC")) == {"A"}, rule


def test_ranked_choice_is_not_monotone() -> None:
    before = ballots((6, "A>B>C"), (5, "C>A>B"), (4, "B>C>A"), (2, "B>A>C"))
    after = ballots((6, "A>B>C"), (5, "C>A>B"), (4, "B>C>A"), (2, "A>B>C"))  # two voters raise A
    assert RULES["ranked_choice"](before, "ABC") == {"A": 11, "B": 6, "C": 5}
    assert RULES["ranked_choice"](after, "ABC") == {"C": 9, "A": 8, "B": 4}


def test_ranked_choice_drops_all_tied_last_unless_that_leaves_nobody() -> None:
    assert RULES["ranked_choice"](ballots((4, "A"), (3, "B"), (2, "C>B"), (2, "D>B")), "ABCD") == {
        "B": 7, "A": 4, "C": 2, "D": 2,
    }  # fmt: skip
    assert RULES["ranked_choice"](ballots((2, "A>C"), (2, "B>C"), "C"), "ABC") == {"A": 2, "B": 2, "C": 1}
    assert RULES["ranked_choice"](ballots("A=B", "C"), "ABC") == {"C": 1, "A": 0.5, "B": 0.5}


def test_schulze_with_45_voters() -> None:
    profile = ballots(
        (5, "A>C>B>E>D"), (5, "A>D>E>C>B"), (8, "B>E>D>A>C"), (3, "C>A>B>E>D"),
        (7, "C>A>E>B>D"), (2, "C>B>A>D>E"), (7, "D>C>E>B>A"), (8, "E>B>A>D>C"),
    )  # fmt: skip
    assert list(RULES["schulze"](profile, "ABCDE").items()) == [("E", 4), ("A", 3), ("C", 2), ("B", 1), ("D", 0)]


def test_equals_and_those_left_out_share() -> None:
    assert RULES["borda"](ballots("A"), "ABC") == {"A": 2, "B": 0.5, "C": 0.5}
    assert RULES["borda"](ballots("A=B>C"), "ABC") == {"A": 1.5, "B": 1.5, "C": 0}
    assert RULES["copeland"](ballots("A"), "ABC") == {"A": 2, "B": 0.5, "C": 0.5}
    assert RULES["plurality_of_rankings"](ballots("A=B"), "ABC") == {"A": 0.5, "B": 0.5, "C": 0}


def test_ballots_say_nothing_of_others_and_nothing_twice() -> None:
    assert RULES["borda"](ballots("X>A>Y>B"), "AB") == {"A": 1, "B": 0}
    assert RULES["borda"](ballots("X", ""), "AB") == {"A": 0, "B": 0}
    with pytest.raises(InputError, match="ranks a candidate twice"):
        RULES["borda"](ballots("A>B>A"), "AB")
    with pytest.raises(InputError, match="candidate is there twice"):
        RULES["borda"](ballots("A>B"), "ABA")
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="weight"):
            RULES["borda"]([Ballot("v", (("A",),), {}, weight)], "AB")


def test_tenths_tie_as_decimals_do() -> None:
    profile = [Ballot("1", (("A",),), {}, 0.1), Ballot("2", (("A",),), {}, 0.2), Ballot("3", (("B",),), {}, 0.3)]
    assert RULES["copeland"](profile, "AB") == {"A": 0.5, "B": 0.5}
    assert RULES["ranked_choice"](profile, "AB") == {"A": 0.3, "B": 0.3}


# ---- properties ---------------------------------------------------------------------------------------------------

EVERY_RULE = pytest.mark.parametrize("rule", list(RULES))


@EVERY_RULE
@settings(max_examples=50, deadline=None)
@given(profile=profiles(), data=st.data())
def test_neutral_and_anonymous(rule: str, profile: tuple[list[Ballot], str], data: st.DataObject) -> None:
    given, names = profile
    support = RULES[rule](given, names)
    assert list(RULES[rule](data.draw(st.permutations(given)), names).items()) == list(support.items())
    to = dict(zip(names, data.draw(st.permutations(names.lower())), strict=True))
    renamed = [
        Ballot(b.voter, tuple(tuple(to[n] for n in t) for t in b.ranking), {to[n]: x for n, x in b.scores.items()},
               b.weight)
        for b in given
    ]  # fmt: skip
    shuffled = data.draw(st.permutations(names.lower()))
    assert RULES[rule](renamed, shuffled) == {to[n]: x for n, x in support.items()}


@EVERY_RULE
@settings(max_examples=30, deadline=None)
@given(profile=profiles())
def test_unanimous(rule: str, profile: tuple[list[Ballot], str]) -> None:
    given, names = profile
    raised = [
        Ballot(b.voter, (("A",), *(t for tier in b.ranking if (t := tuple(n for n in tier if n != "A")))),
               {**b.scores, "A": 10.0}, b.weight)
        for b in given
    ]  # fmt: skip
    assert winners(RULES[rule](raised, names)) == {"A"}


def lift(ranking: Tiers, name: str) -> Tiers:
    """The ranking with a candidate one step higher: out of its tier if it shares it, else into the next."""
    at = next((i for i, tier in enumerate(ranking) if name in tier), None)
    if at is None:
        return (*ranking, (name,))
    tier = ranking[at]
    if len(tier) > 1:
        return (*ranking[:at], (name,), tuple(n for n in tier if n != name), *ranking[at + 1 :])
    return ranking if at == 0 else (*ranking[: at - 1], (*ranking[at - 1], name), *ranking[at + 1 :])


@pytest.mark.parametrize("rule", ["plurality_of_rankings", "approval", "borda", "copeland", "schulze", "kemeny"])
@settings(max_examples=100, deadline=None)
@given(profile=profiles(most=4), data=st.data())
def test_monotone_in_rankings(rule: str, profile: tuple[list[Ballot], str], data: st.DataObject) -> None:
    given, names = [b for b in profile[0] if b.ranking], profile[1]
    assume(given)
    before = RULES[rule](given, names)
    leaders = sorted(winners(before))
    if rule == "kemeny":  # a mean over best orders: what cannot be lost is the top of all of them
        leaders = [n for n in leaders if before[n] == len(names) - 1]
        assume(leaders)
    name, i = data.draw(st.sampled_from(leaders)), data.draw(st.integers(0, len(given) - 1))
    b = given[i]
    after = RULES[rule]([*given[:i], Ballot(b.voter, lift(b.ranking, name), {}, b.weight), *given[i + 1 :]], names)
    assert name in winners(after)


@pytest.mark.parametrize("options", [{}, {"aggregate": "median"}, {"aggregate": "trimmed"}])
@settings(max_examples=50, deadline=None)
@given(profile=profiles(), data=st.data())
def test_monotone_in_scores(options: Any, profile: tuple[list[Ballot], str], data: st.DataObject) -> None:
    given, names = profile
    before = RULES["score"](given, names, **options)
    name = data.draw(st.sampled_from(sorted(winners(before))))
    given[0] = Ballot("0", (), {**given[0].scores, name: given[0].scores[name] + 1}, given[0].weight)
    assert name in winners(RULES["score"](given, names, **options))


@pytest.mark.parametrize("rule", ["copeland", "schulze", "kemeny"])
@settings(max_examples=100, deadline=None)
@given(profile=profiles())
def test_condorcet_consistent(rule: str, profile: tuple[list[Ballot], str]) -> None:
    given, names = [b for b in profile[0] if b.ranking], profile[1]
    every = copies(given)
    found = [a for a in names if all(prefer(every, a, b) > prefer(every, b, a) for b in names if a != b)]
    assume(found)
    assert winners(RULES[rule](given, names)) == set(found)


# ---- scores -------------------------------------------------------------------------------------------------------


def test_score_leaves_out_whom_nobody_scored() -> None:
    assert RULES["score"](scored({"A": -2, "B": -3}, {"A": 0}), "ABC") == {"A": -1, "B": -3}


def test_median_and_trimmed_by_weight() -> None:
    voters = scored({"A": 0}, {"A": 1}, {"A": 10}, weights=[1, 1, 2])
    assert RULES["score"](voters, "A", aggregate="median") == {"A": 5.5}
    # a quarter of the weight off each end leaves half of the last voter's two
    assert RULES["score"](voters, "A", aggregate="trimmed", share=0.25) == {"A": 5.5}
    assert RULES["score"](scored({"A": 0}, {"A": 4}, {"A": 5}), "A", aggregate="trimmed", share=0.3) == {"A": 3.75}


def test_what_scores_refuse() -> None:
    with pytest.raises(InputError, match="negative score"):
        RULES["cumulative"](scored({"A": -1, "B": 2}), "AB")
    with pytest.raises(InputError, match="share must be"):
        RULES["score"](scored({"A": 1}), "A", aggregate="trimmed", share=0.5)
    with pytest.raises(InputError, match="unknown aggregate 'mode'"):
        RULES["score"](scored({"A": 1}), "A", aggregate="mode")
    with pytest.raises(InputError, match="finite"):
        RULES["score"](scored({"A": math.nan}), "A")
    assert RULES["cumulative"](scored({"A": 0, "B": 0}, {"A": 3, "B": 1}), "AB") == {"A": 0.75, "B": 0.25}


# ---- an election --------------------------------------------------------------------------------------------------


def test_elect_says_how() -> None:
    ruling = elect(TENNESSEE, CITIES)
    assert (ruling.answer, ruling.how) == ("Nashville", "borda of 100 ballots, 194 to 173")
    assert elect(TENNESSEE, CITIES, "ranked_choice").how == "ranked choice of 100 ballots, 58 to 42"
    assert elect([], CITIES).how == "nobody gave a ballot that could be read"
    assert elect(ballots("A"), "AB", "score").answer is None
    with pytest.raises(InputError, match="unknown rule 'dice'; there are borda"):
        elect(TENNESSEE, CITIES, "dice")
    assert elect(scored({"A": 5, "B": 1}), "AB", "approval", bar=1, ties="first").answer == "A"


@pytest.mark.parametrize("rule", list(RULES))
def test_one_candidate_alone_wins(rule: str) -> None:
    voters = [Ballot("v", (("A",),), {"A": 3})]
    assert elect(voters, "A", rule, threshold=0.0 if rule == "score" else 0.9).answer == "A"


def test_threshold_of_an_election() -> None:
    assert elect(TENNESSEE, CITIES, threshold=0.6).answer == "Nashville"
    ruling = elect(TENNESSEE, CITIES, threshold=0.7)
    assert ruling.answer is None
    assert ruling.how == "borda of 100 ballots, 194 to 173; less than the 70% of 300 it needs: no answer"
    assert elect(TENNESSEE, CITIES, "ranked_choice", threshold=0.58).answer == "Knoxville"
    assert elect(TENNESSEE, CITIES, "approval", threshold=0.43).answer is None
    assert elect(TENNESSEE, CITIES, "schulze", threshold=1.0).answer == "Nashville"
    with pytest.raises(InputError, match="no threshold"):
        elect(scored({"A": 1}), "AB", "score", threshold=0.5)


@settings(max_examples=100, deadline=None)
@given(profile=profiles())
def test_no_support_is_above_the_ceiling(profile: tuple[list[Ballot], str]) -> None:
    given, names = profile
    for rule in RULES:
        most = ceiling(rule, cast(rule, given, names), len(names))
        assert (most is None) == (rule == "score")
        assert most is None or max(RULES[rule](given, names).values()) <= most + 1e-9


# ---- ties ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ties", "winner", "note"),
    [
        ("abstain", None, "tie between A and B: no answer"),
        ("initial", "B", "tie between A and B broken by the first round's vote"),
        ("confidence", "A", "tie between A and B broken by confidence"),
        ("first", "A", "tie between A and B broken by order"),
    ],
)
def test_tie_policies(ties: Ties, winner: str | None, note: str) -> None:
    support = {"A": 2.0, "B": 2.0, "C": 1.0}
    got = settle(support, ties, initial={"C": 4, "B": 2, "A": 1}, confidence={"A": 1.5, "B": 1.2})
    assert got == (winner, note)


@pytest.mark.parametrize("ties", get_args(Ties))
def test_a_clear_lead_needs_no_policy(ties: Ties) -> None:
    assert settle({"A": 2, "B": 1}, ties) == ("A", "")


@pytest.mark.parametrize("ties", ["initial", "confidence"])
def test_what_a_policy_leaves_tied_is_an_abstention(ties: Ties) -> None:
    assert settle({"A": 1, "B": 1, "C": 1}, ties, initial={"A": 1, "B": 1}, confidence={}) == (
        None, "tie between A and B and C: no answer",
    )  # fmt: skip


def test_seeded_is_fair_and_the_same_for_a_seed() -> None:
    drawn = [settle({"A": 1, "B": 1}, "seeded", seed=s)[0] for s in range(400)]
    assert drawn == [settle({"B": 1, "A": 1}, "seeded", seed=s)[0] for s in range(400)]
    assert 150 < drawn.count("A") < 250
    assert settle({"A": 1, "B": 1}, "seeded")[1] == "tie between A and B broken by seed"


def test_settle_with_a_threshold() -> None:
    assert settle({"A": 2, "B": 1, "C": 1}, threshold=0.5) == ("A", "")
    assert settle({"A": 2, "B": 1, "C": 2}, "first", threshold=0.5) == (
        None, "tie between A and C broken by order; less than the 50% of 5 it needs: no answer",
    )  # fmt: skip
    assert settle({"A": 2}, threshold=0.5, total=5) == (None, "less than the 50% of 5 it needs: no answer")
    assert settle({"A": 0.1 + 0.2, "B": 0.7}, threshold=0.7)[0] == "B"
    assert settle({"A": 0.0}, threshold=0.1)[0] is None
    assert settle({}) == (None, "no candidate")
    assert settle({"A": -3, "B": -4}) == ("A", "")
    with pytest.raises(InputError, match="unknown policy 'coin'"):
        settle({"A": 1}, "coin")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threshold"):
        settle({"A": 1}, threshold=1.5)


def test_long_answers_are_cut_in_the_sentence_only() -> None:
    winner, note = settle({"x" * 5000: 1, "b": 1}, "first")
    assert winner == "x" * 5000
    assert len(note) < 200


# ---- votes for answers --------------------------------------------------------------------------------------------


def turn(
    agent: str, value: str | None, confidence: float | None = None, *, model: str = "m", logprob: float | None = None
) -> Turn:
    answer = Answer(value, why_none=None if value is not None else "abstained", confidence=confidence)
    return Turn(agent, 0, "answer", Reply(value or "", model=model, logprob=logprob), answer)


def group(*votes: str | None) -> list[Turn]:
    return [turn(f"a{i}", value) for i, value in enumerate(votes)]


def sure(*votes: tuple[str | None, float | None]) -> list[Turn]:
    return [turn(f"a{i}", value, p) for i, (value, p) in enumerate(votes)]


ABSENT = Turn("gone", 0, "answer", error="it failed")


def test_plurality_by_hand() -> None:
    ruling = plurality([*group("x", "y", "x", None), ABSENT])
    assert (ruling.answer, ruling.support, ruling.how) == ("x", {"x": 2, "y": 1}, "plurality, 2 of 3")
    tied = plurality(group("y", "x"), initial=group("x", "x"))
    assert (tied.answer, tied.how) == ("x", "plurality, 1 of 2; tie between y and x broken by the first round's vote")
    assert plurality(group("y", "x")).how == "plurality, 1 of 2; tie between y and x: no answer"
    assert plurality(group("y", "x"), ties="first").answer == "y"
    assert plurality(sure(("y", 0.2), ("x", 0.9)), ties="confidence").answer == "x"
    assert plurality([ABSENT, *group(None)]).how == "nobody gave an answer that could be read"


def test_threshold_of_plurality() -> None:
    assert plurality(group("x", "x", "y", "z", None), threshold=0.5).answer == "x"
    ruling = plurality(group("x", "x", "y", "z", "w"), threshold=0.5)
    assert ruling.answer is None
    assert ruling.how == "plurality, 2 of 5; less than the 50% of 5 it needs: no answer"


def test_majority_counts_those_who_say_nothing() -> None:
    assert majority(group("x", "x", "y")).how == "majority, 2 of 3"
    assert majority(group("x", "x", "y")).answer == "x"
    ruling = majority([*group("x", "x", "y"), ABSENT])
    assert ruling.answer is None
    assert ruling.how == "majority, 2 of 4; it needs more than half of all voices: no answer"
    # by confidence, who abstains weighs what it is confident of, who is absent the mean
    voices = [*sure(("x", 0.9), ("y", 0.3), (None, 0.2)), ABSENT]
    assert majority(voices, weight="confidence").how == (
        "confidence-weighted majority, 0.90 of 2; it needs more than half of all voices: no answer"
    )


def test_supermajority() -> None:
    assert supermajority(group("x", "x", "y")).answer == "x"
    assert supermajority(group("x", "x", "y"), 0.75).how == (
        "supermajority, 2 of 3; it needs 75% of all voices: no answer"
    )
    assert supermajority(group("x", "x", "y", None), 2 / 3).answer is None
    assert supermajority(group("x", "x"), 1.0).answer == "x"
    assert supermajority(group("x", "y"), 0.5, ties="first").answer == "x"
    assert supermajority(group("x", "y"), 0.5, ties="abstain").how == (
        "supermajority, 1 of 2; tie between x and y: no answer"
    )
    for share in (0.0, 1.1):
        with pytest.raises(InputError, match="share"):
            supermajority(group("x"), share)


@pytest.mark.parametrize(
    ("confidence", "weight"),
    [(1.0, 1.0), (0.999, 0.8), (0.9, 0.8), (0.899, 0.5), (0.8, 0.5), (0.799, 0.3), (0.61, 0.3), (0.6, 0.1), (0.0, 0.1),
     (1.7, 1.0), (-1.0, 0.1)],
)  # fmt: skip
def test_reconcile_at_its_borders(confidence: float, weight: float) -> None:
    assert weigh(sure(("x", confidence)), "reconcile") == [weight]


def test_one_sure_voice_against_three_by_each_weight() -> None:
    turns = sure(("x", 1.0), ("y", 0.6), ("y", 0.6), ("y", 0.5))
    assert tally(turns) == {"y": 3, "x": 1}
    assert tally(turns, "confidence") == {"y": 1.7, "x": 1.0}
    assert tally(turns, "reconcile") == {"x": 1.0, "y": pytest.approx(0.3)}
    assert tally(turns, "log_odds") == {"x": pytest.approx(math.log(99)), "y": pytest.approx(2 * math.log(1.5))}
    assert plurality(turns, weight="reconcile").how == "ReConcile-weighted plurality, 1 of 1.30"


def test_log_odds_are_finite_and_never_negative() -> None:
    got = weigh(sure(("x", 0.0), ("x", 0.5), ("x", 0.75), ("x", 0.99), ("x", 1.0)), "log_odds")
    assert got == pytest.approx([0, 0, math.log(3), math.log(99), math.log(99)])


def test_logprob_and_voices_without_one() -> None:
    turns = [turn("a", "x", logprob=-0.5), turn("b", "y", logprob=-1.5), turn("c", "y")]
    mean = (math.exp(-0.5) + math.exp(-1.5)) / 2
    assert weigh(turns, "logprob") == pytest.approx([math.exp(-0.5), math.exp(-1.5), mean])
    assert weigh([turn("a", "x", logprob=0.3)], "logprob") == [1.0]


@pytest.mark.parametrize("weight", get_args(Weight))
def test_where_nobody_says_how_sure_all_count_one(weight: Weight) -> None:
    assert weigh(group("x", "y", None), weight) == [1, 1, 1]
    assert weigh([ABSENT], weight) == [1]
    assert weigh([], weight) == []


def test_a_voice_without_confidence_counts_the_mean_of_the_votes() -> None:
    assert weigh(sure(("x", 0.2), ("y", 0.8), ("z", None), (None, 1.0)), "confidence") == [0.2, 0.8, 0.5, 1.0]
    assert weigh(sure(("x", math.nan), ("y", 0.8)), "confidence") == [0.8, 0.8]


@pytest.mark.parametrize("options", [2, 3])
def test_accuracies_make_the_likeliest_answer_win(options: int) -> None:
    """Nitzan & Paroush: the log-odds vote is the maximum-likelihood decision, whatever the votes."""
    accuracy = {"a0": 0.9, "a1": 0.7, "a2": 0.65, "a3": 0.6}
    names = "xyz"[:options]

    def likelihood(truth: str, votes: Sequence[str]) -> float:
        rates = zip(votes, accuracy.values(), strict=True)
        return math.prod(p if vote == truth else (1 - p) / (options - 1) for vote, p in rates)

    for votes in itertools.product(names, repeat=4):
        got = tally(group(*votes), accuracies=accuracy, options=options)
        best = max(likelihood(n, votes) for n in names)
        assert likelihood(next(iter(got)), votes) == pytest.approx(best), votes


def test_accuracies_by_hand() -> None:
    got = weigh(group("x", "y", "z", "z"), accuracies={"a0": 0.75, "a1": 0.4, "a2": 1.0})
    assert got == pytest.approx([math.log(3), 0, math.log(99), (math.log(3) + math.log(99)) / 3])
    # against four options 0.4 is better than guessing
    assert weigh(group("x"), accuracies={"a0": 0.4}, options=4) == pytest.approx([math.log(2)])
    doubly = weigh(sure(("x", 0.5)), "confidence", accuracies={"a0": 0.75})
    assert doubly == pytest.approx([math.log(3) / 2])
    assert plurality(group("x"), accuracies={"a0": 0.75}).how == "accuracy-weighted plurality, 1.10 of 1.10"
    with pytest.raises(InputError, match="accuracy of a0"):
        weigh(group("x"), accuracies={"a0": 75})


@pytest.mark.parametrize(
    ("confidences", "cap", "expected"),
    [
        ([0.6, 0.2, 0.1, 0.1], 0.6, [0.6, 0.2, 0.1, 0.1]),
        ([0.6, 0.2, 0.1, 0.1], 0.4, [0.8 / 3, 0.2, 0.1, 0.1]),  # 4/15 of 2/3
        ([0.6, 0.2, 0.1, 0.1], 0.3, [0.15, 0.15, 0.1, 0.1]),
        ([0.6, 0.2, 0.1, 0.1], 0.25, [0.1, 0.1, 0.1, 0.1]),
        ([0.6, 0.2, 0.1, 0.1], 0.1, [0.1, 0.1, 0.1, 0.1]),  # four votes cannot keep it
        ([0.9], 0.5, [0.9]),
        ([0.9, 0.1, 0.0], 0.4, [0.1, 0.1, 0.0]),
        ([0.0, 0.0], 0.5, [0.0, 0.0]),
    ],
)
def test_cap_by_hand(confidences: list[float], cap: float, expected: list[float]) -> None:
    assert weigh(sure(*(("x", p) for p in confidences)), "confidence", cap=cap) == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(confidences=st.lists(st.floats(0.001, 1), min_size=1, max_size=9), cap=st.floats(0.01, 1))
def test_cap_is_kept_and_wastes_nothing(confidences: list[float], cap: float) -> None:
    before = weigh(sure(*(("x", p) for p in confidences)), "confidence")
    after = weigh(sure(*(("x", p) for p in confidences)), "confidence", cap=cap)
    most, total = max(after), sum(after)
    assert most / total <= max(cap, 1 / len(after)) + 1e-9
    assert all(b == a or a == most for b, a in zip(before, after, strict=True))
    if after != before:
        assert most / total == pytest.approx(max(cap, 1 / len(after)))


def test_cap_is_named_and_checked() -> None:
    ruling = plurality(sure(("x", 0.9), ("y", 0.3), ("y", 0.3)), weight="confidence", cap=0.4)
    assert (ruling.answer, ruling.how) == ("y", "confidence-weighted plurality, 0.60 of 1, no vote above 40%")
    for cap in (0.0, 1.1):
        with pytest.raises(InputError, match="cap"):
            weigh(group("x"), cap=cap)


def test_trim_drops_both_ends() -> None:
    turns = sure(("x", 0.99), ("x", 0.9), ("y", 0.7), ("y", 0.6), ("z", 0.1))
    assert weigh(turns, trim=0.2) == [0, 1, 1, 1, 0]
    assert weigh(turns, trim=0.39) == [0, 1, 1, 1, 0]
    assert weigh(turns, trim=0.4) == [0, 0, 1, 0, 0]
    assert plurality(turns, trim=0.2).how == "plurality, 2 of 3, 20% trimmed at each end"
    # tied at the edge they share the loss
    assert weigh(sure(("x", 0.9), ("y", 0.9), ("z", 0.5), ("w", 0.1)), trim=0.25) == [0.5, 0.5, 1, 0]
    # who does not say how sure it is stands in the middle
    assert weigh(sure(("x", 0.9), ("y", None), ("z", 0.1)), trim=1 / 3) == [0, 1, 0]
    assert weigh(group("x", "x", "y", "y"), trim=0.25) == [0.5] * 4
    with pytest.raises(InputError, match="trim"):
        weigh(turns, trim=0.5)


def test_what_weigh_refuses() -> None:
    with pytest.raises(InputError, match="unknown weight 'loud'"):
        weigh(group("x"), "loud")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="options"):
        weigh(group("x"), options=1)


@settings(max_examples=100, deadline=None)
@given(
    votes=st.lists(st.tuples(st.sampled_from(["x", "y", "z", None]), st.none() | st.floats(0, 1)), max_size=7),
    weight=st.sampled_from(get_args(Weight)),
    cap=st.none() | st.floats(0.1, 1),
    trim=st.sampled_from([0.0, 0.2, 0.4]),
    data=st.data(),
)
def test_votes_are_anonymous(votes: Any, weight: Weight, cap: float | None, trim: float, data: st.DataObject) -> None:
    turns = sure(*votes)
    support = tally(turns, weight, cap=cap, trim=trim)
    assert tally(data.draw(st.permutations(turns)), weight, cap=cap, trim=trim) == pytest.approx(support)
    assert all(math.isfinite(w) and w >= 0 for w in support.values())


# ---- families -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai:gpt-5-mini", "openai"),
        ("anthropic:claude-haiku-4-5", "anthropic"),
        ("openai:llama3:8b", "openai"),
        ("pocket:sum", "pocket"),
        ("my debate", "my debate"),
        ("samples(openai:gpt-5-mini, 5)", "samples(openai:gpt-5-mini, 5)"),
        ("openai:", "openai:"),
        ("", ""),
    ],
)
def test_family_of(name: str, family: str) -> None:
    assert family_of(name) == family


def test_families_must_agree() -> None:
    one = [turn("a", "x", model="openai:gpt-5"), turn("b", "x", model="openai:gpt-5-mini"), turn("c", "y")]
    two = [*one, turn("d", "x", model="anthropic:claude-haiku-4-5")]
    assert plurality(two, families=2).answer == "x"
    ruling = plurality(one, families=2)
    assert ruling.answer is None
    assert ruling.how == "plurality, 2 of 3; held by 1 model family, fewer than 2: no answer"
    assert majority(one, families=2).answer is None
    assert plurality(two, families=3).how.endswith("held by 2 model families, fewer than 3: no answer")


# ---- Free-MAD -----------------------------------------------------------------------------------------------------


def debate(*rows: Sequence[str | None]) -> list[Round]:
    return [
        Round(i, tuple(Turn(f"a{j}", i, "answer", Reply("", model="m"), Answer(v)) for j, v in enumerate(row)))
        for i, row in enumerate(rows)
    ]


def test_free_mad_by_hand() -> None:
    # round 0: x 20, y 20 + 20. Round 1, f = 1/2: a0 keeps x +10; a1 leaves y -12.5, x +15; a2 keeps y +10
    rounds = debate(["x", "y", "y"], ["x", "x", "y"])
    assert trajectory(rounds, ["a0", "a1", "a2"]) == {"x": 45 / 2, "y": 37.5 / 2}
    assert settle(trajectory(rounds, ["a0", "a1", "a2"])) == ("x", "")


def test_free_mad_over_three_rounds_with_a_return() -> None:
    # a0: x 20; y: x -12.5, y 15; back: y -25/3, x +10
    got = trajectory(debate(["x"], ["y"], ["x"]), ["a0"])
    assert got == {"x": 17.5, "y": pytest.approx(15 - 25 / 3)}


def test_free_mad_with_silence() -> None:
    # a1 first answers in round 1: 20 f; a0's answer stands while it is silent, and is kept in round 2
    got = trajectory(debate(["x", None], [None, "y"], ["x", "y"]), ["a0", "a1"])
    assert got == {"x": pytest.approx(20 + 20 / 3), "y": pytest.approx(10 + 20 / 3)}
    # only voters count, and an unknown one is silent
    assert trajectory(debate(["x", "y"]), ["a1", "nobody"]) == {"y": 20}
    assert trajectory([], ["a0"]) == {}


def test_free_mad_prefers_those_who_came_to_an_answer() -> None:
    """One convinced by another outweighs a majority that wavers."""
    got = trajectory(debate(["x", "y", "y"], ["x", "x", "x"]), ["a0", "a1", "a2"])
    assert next(iter(got)) == "x"
    assert got["y"] == 15 / 2


# ---- medoid -------------------------------------------------------------------------------------------------------


def test_medoid() -> None:
    texts = ["The cat sat.", "the cat sat on the mat", "the dog sat on the mat", "entropy rises"]
    assert medoid(texts) == 1
    assert medoid(["one"]) == 0
    assert medoid(["a b", "c d"]) == 0  # nothing in common: the first
    assert medoid(["", "x", "x y"]) == 1
    assert medoid(["", "x"]) == 0  # likeness to itself is none
    assert medoid(["\ud800", "\ud800"]) == 0
    with pytest.raises(InputError):
        medoid([])


@given(st.lists(st.text("ab ", max_size=12), min_size=1, max_size=6), st.randoms())
def test_medoid_does_not_depend_on_the_order(texts: list[str], random: Any) -> None:
    words = [" ".join(sorted(t.split())) for t in texts]
    shuffled = random.sample(words, len(words))

    def nearness(text: str, among: list[str]) -> float:
        def cosine(a: str, b: str) -> float:
            vocabulary = sorted(set(a.split()) | set(b.split()))
            va, vb = ([t.split().count(w) for w in vocabulary] for t in (a, b))
            norms = math.hypot(*va) * math.hypot(*vb)
            return sum(x * y for x, y in zip(va, vb, strict=True)) / norms if norms else 0.0

        return sum(cosine(text, other) for other in among) - cosine(text, text)

    best = nearness(words[medoid(words)], words)
    assert best == pytest.approx(max(nearness(t, words) for t in words))
    assert nearness(shuffled[medoid(shuffled)], shuffled) == pytest.approx(best)


# ---- ballots are read as structure --------------------------------------------------------------------------------

PEERS = ["Peer 1", "Peer 2", "Peer 10"]


@pytest.mark.parametrize(
    ("text", "ranking"),
    [
        ('{"ranking": ["Peer 2", "Peer 10", "Peer 1"]}', (("Peer 2",), ("Peer 10",), ("Peer 1",))),
        ('I think:\n```json\n{"why": "{x}", "ranking": [["peer 10", "PEER  1"], "Peer 2"]}\n```\nDone.',
         (("Peer 10", "Peer 1"), ("Peer 2",))),
        ('{"ranking": ["Peer 1"]} no: {"ranking": ["Peer 2"]} {"other": 1}', (("Peer 2",),)),
        ('{"result": {"Ranking": ["Peer 2"]}}', (("Peer 2",),)),
        (r'{"why": "\\frac{1}{2} { \"ranking\": [\"Peer 1\"] }", "ranking": ["Peer 2"]}', (("Peer 2",),)),
        ("Ranking:\n1. Peer 2\n2. Peer 1", (("Peer 2",), ("Peer 1",))),
        ("So.\n\n**FINAL RANKING:**\n\n1) **Peer 10**\n\n2) Peer 2.\n3) `peer 1`\n\nThanks.",
         (("Peer 10",), ("Peer 2",), ("Peer 1",))),
        ("## Ranking\r\n1. Peer 10\r\n", (("Peer 10",),)),
        ("Ranking:\n1. Peer 1\n\nRanking:\n1. Peer 2\nbecause it is right", (("Peer 2",),)),
        ("Ranking:\n1. Peer 1\n2. Peer 2\n3. Peer 10\n\nNotes:\n1. Peer 2 is short",
         (("Peer 1",), ("Peer 2",), ("Peer 10",))),
    ],
)  # fmt: skip
def test_rankings_that_can_be_read(text: str, ranking: Tiers) -> None:
    assert read_ranking(text, PEERS) == ranking


@pytest.mark.parametrize(
    "text",
    [
        "", "Peer 2", "Peer 2 > Peer 1", "Peer 2 is best, then Peer 1.", "1. Peer 2\n2. Peer 1", "Ranking: Peer 2",
        "Ranking:\nPeer 2\nPeer 1", "Ranking:\n1. Both", "Ranking:\n1. Peer", "Ranking:\n1. Peer 3",
        "Ranking:\n1. Peer 100",
        "Ranking:\n1. Peer 2\n2. Peer 2", "Ranking:\n1. Peer 2 and Peer 1", "Ranking:\n1. Peer 2, for it is right",
        "Ranking:\n2. Peer 2\n3. Peer 1", "Ranking:\n1. Peer 2\n3. Peer 1", "Ranking:\n1. Peer 2\n1. Peer 1",
        "Ranking:\n1. Peer 2\n   it is right\n2. Peer 1", "Ranking:\nHere it is\n1. Peer 2", "Ranking:", "Ranking:\n\n",
        '{"ranking": []}', '{"ranking": "Peer 1"}', '{"ranking": {"Peer 1": 1}}', '{"ranking": ["Peer 1", "Peer 1"]}',
        '{"ranking": [["Peer 1"], ["peer 1"]]}', '{"ranking": ["Peer 7"]}', '{"ranking": [1, 2]}', '{"ranking": [[]]}',
        '{"ranking": [[["Peer 1"]]]}', '{"ranking": [null]}', '{"ranking": ["Peer 1"], "ranking": ["Peer 2"]}',
        '{"ranking": ["Peer 1"', "{'ranking': ['Peer 1']}", '["Peer 1", "Peer 2"]', '{"scores": {"Peer 1": 1}}',
        # the last object decides, though an earlier one or a list could be read
        '{"ranking": ["Peer 1"]} {"ranking": ["Peer 9"]}', 'Ranking:\n1. Peer 1\n\n{"ranking": []}',
    ],
)  # fmt: skip
def test_rankings_that_cannot(text: str) -> None:
    assert read_ranking(text, PEERS) is None


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('{"scores": {"Peer 1": 1, "peer 2": 2.5, "Peer 10": 5}}', [1, 2.5, 5]),
        ('{"scores": {"Peer 10": 5, "Peer 1": 1, "Peer 2": 2e0}, "why": "{}"} ok', [1, 2, 5]),
        ("Scores:\nPeer 1: 1\nPeer 2: 2.5\nPeer 10: 5", [1, 2.5, 5]),
        ("**Scores:**\n\n- **Peer 1:** 1\n- **Peer 2**: 2\n\n* Peer 10: **+3.0**\n\nConfidence: 4", [1, 2, 3]),
        ("Scores:\nPeer 10: 1\nPeer 2: 2\nPeer 1: 3\nConfidence: 80%", [3, 2, 1]),
    ],
)
def test_scores_that_can_be_read(text: str, scores: list[float]) -> None:
    got = read_scores(text, PEERS, 1, 5)
    assert got == dict(zip(PEERS, scores, strict=True))
    assert got is not None
    assert list(got) == PEERS


@pytest.mark.parametrize(
    "text",
    [
        "", "Peer 1: 4\nPeer 2: 4\nPeer 10: 4", "I give Peer 1 a 4, Peer 2 a 4 and Peer 10 a 5.",
        "Scores:\nPeer 1: 4\nPeer 2: 4", "Scores:\nPeer 1: 4\nPeer 2: 4\nPeer 10: 6",
        "Scores:\nPeer 1: 4\nPeer 2: 0\nPeer 10: 1",
        "Scores:\nPeer 1: 4\nPeer 2: 4\nPeer 10: four", "Scores:\nPeer 1: 4\nPeer 2: 4\nPeer 10: nan",
        "Scores:\nPeer 1: 4\nPeer 2: 4\nPeer 10: 3\nPeer 1: 2", "Scores:\nPeer 1: 4\nPeer 2: 4\nPeer 10: 3\nPeer 11: 2",
        "Scores:\nPeer 1: 4/5\nPeer 2: 4/5\nPeer 10: 3/5", "Scores:\nPeer 1: 1e0\nPeer 2: 4\nPeer 10: 3",
        "Scores:\nPeer 1: 4\nfine work\nPeer 2: 4\nPeer 10: 3", "Scores: Peer 1: 4",
        '{"scores": {"Peer 1": 1, "Peer 2": 2}}', '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": 9}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": NaN}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": Infinity}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": 1e999}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": true}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": "3"}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": [3]}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": 3, "Peer 11": 3}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": 3, "peer 1": 3}}',
        '{"scores": {"Peer 1": 1, "Peer 1": 1, "Peer 2": 2, "Peer 10": 3}}', '{"scores": [1, 2, 3]}', '{"scores": {}}',
        '{"scores": {"Peer 1": 1, "Peer 2": 2, "Peer 10": 3}, "scores": 1}',
        '{"scores": {"Peer 1": ' + "9" * 5000 + "}}",
        '{"scores": {"Peer 1": ' + "9" * 400 + ', "Peer 2": 2, "Peer 10": 3}}',
    ],
)  # fmt: skip
def test_scores_that_cannot(text: str) -> None:
    assert read_scores(text, PEERS, 1, 5) is None


def test_labels_that_differ_in_case_only_are_told_apart() -> None:
    assert read_ranking('{"ranking": ["a", "A"]}', ["A", "a"]) == (("a",), ("A",))
    assert read_ranking('{"ranking": ["ß"]}', ["SS"]) == (("SS",),)
    assert read_ranking('{"ranking": ["AB"]}', ["ab", "Ab"]) is None
    assert read_ranking("Ranking:\n1. x: y", ["x: y"]) == (("x: y",),)
    assert read_scores("Scores:\nx: y: -2.5", ["x: y"], -5, 5) == {"x: y": -2.5}
    assert read_ranking('{"ranking": []}', []) is None
    assert read_scores('{"scores": {}}', [], 0, 1) is None


LABELS = ["Peer 1", "Peer 2", "Peer 10", "the Doctor", "C++", "x: y"]


@given(st.permutations(LABELS), st.integers(1, 6), st.booleans())
def test_what_was_written_is_read(order: list[str], size: int, as_json: bool) -> None:
    chosen = order[:size]
    lines = "Ranking:\n" + "\n".join(f"{i}. {name}" for i, name in enumerate(chosen, 1))
    text = "Thus: " + json.dumps({"ranking": chosen}) if as_json else f"Thus.\n{lines}\n\nThat is all."
    assert read_ranking(text, LABELS) == tuple((name,) for name in chosen)
    scores = {name: float(i) for i, name in enumerate(order)}
    lines = "Scores:\n" + "\n".join(f"- {name}: {value}" for name, value in scores.items())
    assert read_scores(json.dumps({"scores": scores}) if as_json else lines, LABELS, 0, 5) == scores


FRAGMENTS = st.sampled_from(
    ["Ranking:", "Scores:", "\n", "1. ", "2. ", "Peer 1", "Peer 2", ": 3", '{"ranking": [', '"Peer 1"', ", ", "]}",
     '{"scores": {', '"Peer 2": 4', "}}", "{", '"', "\\", "\ud800", "\x00", "**", "\r", "NaN", "1e999", " "]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS | st.text(st.characters(exclude_categories=()), max_size=5), max_size=30).map("".join))
def test_no_text_raises_and_what_is_read_is_whole(text: str) -> None:
    ranking, scores = read_ranking(text, PEERS), read_scores(text, PEERS, 1, 5)
    flat = [name for tier in ranking or () for name in tier]
    assert set(flat) <= set(PEERS)
    assert len(flat) == len(set(flat))
    assert ranking is None or flat
    assert scores is None or (list(scores) == PEERS and all(1 <= x <= 5 for x in scores.values()))


BIG = 10_000_000
HOSTILE = {
    "braces": '"ranking" "scores"' + "{" * BIG,
    "nesting": '{"ranking":' * (BIG // 11),
    "brackets": '{"ranking":' + "[" * BIG,
    "arrays": '{"scores":[' * 3000 + "0," * 80_000,
    "objects": '{"ranking":1,"a":[{}' + ',{"b":1}' * 20_000,
    "good objects": '{"ranking": {"a": 1}}, {"x": "ranking"} ' * 5_000,
    "other keys": '"ranking" "scores"' + '{"a":1}' * (BIG // 7),
    "open strings": '{"ranking":"' * (BIG // 12),
    "digits": '{"ranking": ' + "9" * BIG,
    "long digits": '{"scores": {"Peer 1": ' * 200 + "9" * 5_000 + "}}" + " " * 100_000,
    "spaces": "Ranking:\n1." + " " * BIG + "x",
    "spaces after a brace": '"ranking" "scores"' + ("{" + " " * 1000) * (BIG // 1000),
    "lines": "Ranking:\n" * (BIG // 9),
    "numbered": "Ranking:\n" + "\n".join(f"{i % 10_000}. Peer 1" for i in range(200_000)),
    "score lines": "Scores:\n" + "Peer 1: 3\n" * (BIG // 10),
    "colons": "Scores:\n" + ":" * BIG,
    "blank": "Scores:\nRanking:\n" + "\n" * BIG,
    "markdown": "Ranking:\n" + "*_`>" * (BIG // 4),
    "surrogates": "\ud800" * BIG + '{"ranking": ["\ud800"]}',
    "nulls": "\x00" * BIG,
    "fold": "ŉ" * BIG + '{"ranking": 1}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_fast(name: str) -> None:
    began = time.process_time()
    assert read_ranking(HOSTILE[name], PEERS) is None
    assert read_scores(HOSTILE[name], PEERS, 1, 5) is None
    assert time.process_time() - began < 1


def test_a_ballot_after_hostile_text_is_read() -> None:
    for name in ("braces", "nesting", "nulls", "lines", "spaces"):
        assert read_ranking(HOSTILE[name] + '\n{"ranking": ["Peer 2"]}', PEERS) == (("Peer 2",),)
        assert read_ranking(HOSTILE[name] + "\nRanking:\n1. Peer 2", PEERS) in ((("Peer 2",),), None)


def test_long_reasoning_before_the_ranking() -> None:
    why = "\\frac{1}{2} {x} " * 5000
    assert read_ranking(json.dumps({"why": why, "ranking": ["Peer 2"]}), PEERS) == (("Peer 2",),)


def test_exact_numbers() -> None:
    assert exact(0.1) + exact(0.2) == exact(0.3)
    assert exact(2) == 2
