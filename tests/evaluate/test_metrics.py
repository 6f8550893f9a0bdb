"""Every figure on transcripts made by hand, with the numbers worked out beside them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from synthetic import results

from agora.errors import InputError
from agora.evaluate.measures import agents, dynamics
from agora.evaluate.measures.analysis import analyse
from agora.evaluate.measures.debated import Ending, debated, endings, flags, turned
from agora.evaluate.measures.metrics import best_single, compare, summary
from agora.evaluate.measures.significance import detectable, holm, items_needed
from agora.evaluate.records import Contestant, Results, Role, Said, Scored, Status
from agora.evaluate.report.table import families
from agora.records import Usage

WHY: dict[str, Status] = {"?": "unparsed", "-": "abstained", "!": "absent"}


def row(
    item: str, *rounds: str, final: str | None = None, stop: str = "rounds", chain: bool = False, **more: object
) -> Scored:
    """An item: a word for each round, a letter for each agent: R is right, other letters are wrong answers, ? could not
    be read, - abstained, ! failed, . was not asked and keeps its answer. Everybody reads all others' round before; in
    a chain, the same round of those before it."""
    said: list[Said] = []
    held: dict[str, str] = {}
    for r, word in enumerate(rounds):
        for i, letter in enumerate(word):
            agent, kept = "abcdef"[i], letter == "."
            letter = held[agent] if kept else letter
            held[agent] = letter
            others = [("abcdef"[j], r - 1) for j in range(len(word)) if j != i] if r else []
            read = [("abcdef"[j], r) for j in range(i)] if chain else others
            none = WHY.get(letter)
            said.append(
                Said(agent, r, None if none else letter, none or "answered", float(letter == "R"), read=tuple(read),
                     kept=kept)
            )  # fmt: skip
    last = [s.answer for s in said if s.round == len(rounds) - 1]
    answer = final if final is not None else max(set(last) - {None}, key=last.count, default=None)
    return Scored(
        item, "", "answered" if answer else "unparsed", answer, float(answer == "R"), rounds=len(rounds) - 1, stop=stop,
        said=tuple(said), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def debate(*rows: Scored, name: str = "d", role: Role = "debate") -> Contestant:
    return Contestant(name, role, "d", rows)


# three agents; item 1: b and c put right by a; item 2: a broken by both; item 3: all stay apart, c fails in round 1
ONE = row("1", "RXX", "RRX", "RRR", stop="unanimous")
TWO = row("2", "RXX", "XXX", stop="unanimous")
THREE = row("3", "XYR", "YY!", final="Y")
D = debate(ONE, TWO, THREE)


def test_transitions_by_hand() -> None:
    made = dynamics.transitions(D)
    assert made is not None
    # item 1: round 1: a RR, b WR, c WW same; round 2: a RR, b RR, c WR. item 2: a RW, b same, c same
    # item 3: a X->Y other, b Y->Y same, c R->failed: absent
    t = made.total
    assert (t.rr, t.rw, t.wr, t.same, t.other, t.absent, t.net) == (3, 1, 2, 4, 1, 1, 1)
    assert t.vulnerability is not None
    assert t.correction is not None
    assert (t.vulnerability.value, t.vulnerability.n) == (1 / 4, 4)
    assert (t.correction.value, t.correction.n) == (pytest.approx(2 / 7), 7)
    first, second, own = made.rounds[1], made.rounds[2], made.agents["a"]
    assert (first.rr, first.rw, first.wr, first.same, first.other, first.absent) == (1, 1, 1, 4, 1, 1)
    assert (second.rr, second.rw, second.wr, second.same, second.other) == (2, 0, 1, 0, 0)
    assert second.vulnerability is not None
    assert second.vulnerability.value == 0
    assert (own.rr, own.rw, own.wr, own.same, own.other) == (2, 1, 0, 0, 1)


def test_missing_answers_are_wrong_failures_are_not() -> None:
    # a R->? is given up, b ?->? is the same, c -->X another, d !->R and e R->! say nothing
    made = dynamics.transitions(debate(row("1", "R?-!R", "??XR!")))
    assert made is not None
    t = made.total
    assert (t.rr, t.rw, t.wr, t.same, t.other, t.absent) == (0, 1, 0, 1, 1, 2)


def test_who_keeps_an_answer_has_made_no_step() -> None:
    made = dynamics.transitions(debate(row("1", "RX", ".R", "..")))
    assert made is not None
    assert (made.total.rr, made.total.wr) == (0, 1)
    assert dynamics.transitions(debate(row("1", "RX"))) is None


def test_conformity_by_hand() -> None:
    # ONE, round 1: a reads X X and keeps R: not adopted (wrong plurality). b reads R X: a tie. c reads R X: a tie.
    #      round 2: a reads R X: tie; b reads R X: tie; c (X) reads R R, adopts (right).
    # TWO: a reads X X, adopts (wrong); b, c read a tie.
    # THREE: a reads Y R, b X R, c X Y: ties.
    made = dynamics.conformity(D)
    for got, value, n in ((made.all, 2 / 3, 3), (made.right, 1.0, 1), (made.wrong, 0.5, 2)):
        assert got is not None
        assert (got.value, got.n) == (pytest.approx(value), n)
    # who already holds it, who had no answer and who fails are no cases
    none = dynamics.conformity(debate(row("1", "RRR", "RRR"), row("2", "?XX", "XXX"), row("3", "RXX", "!XX")))
    assert (none.all, none.right, none.wrong) == (None, None, None)


def test_in_a_chain_the_same_round_is_read() -> None:
    # round 1: b reads a's R of this round, and takes it up; c reads R and R, and does not
    chain = debate(row("1", "RXX", "RRX", chain=True))
    made = dynamics.conformity(chain)
    assert made.all is not None
    assert (made.all.value, made.all.n) == (0.5, 2)
    moved = agents.influence(chain)
    assert moved.counts == ((0, 0, 0), (1, 0, 0), (0, 0, 0))


def test_influence_by_hand() -> None:
    made = agents.influence(D)
    # ONE: b X->R after reading a (R); c X->R in round 2 after a and b. TWO: a R->X after b and c. THREE: a X->Y after b
    assert made.agents == ("a", "b", "c")
    assert made.counts == ((0, 2, 1), (1, 0, 0), (1, 1, 0))
    assert made.changes == (2, 1, 1)
    assert made.alone == (0, 0, 0)
    assert made.shares == ((0.0, 0.75, 0.25), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0))  # a: (1/2 + 1) / 2 and (1/2) / 2
    assert made.harm == ((0, 1, 1), (0, 0, 0), (0, 0, 0))
    lonely = agents.influence(debate(row("1", "RX", "ZX")))
    assert (lonely.changes, lonely.alone) == ((1, 0), (1, 0))
    alone = (Said("a", 0, "X", "answered"), Said("a", 1, "R", "answered", read=(("a", 1), ("gone", 0), ("a", 9))))
    assert agents.influence(debate(Scored("1", "", "answered", "R", 1.0, said=alone))).counts == ((0,),)
    back = agents.influence(debate(row("1", "!X", "XX"), row("2", "RX", "?X")))
    assert back.changes == (0, 0)  # who failed before, or gives no answer now, has not changed its mind


def test_rounds_by_hand() -> None:
    made = dynamics.rounds(D)
    assert [line.active for line in made] == [3, 3, 1]
    # votes: round 0: X, X, tie of three of which one is right: 1/3; round 1: R, X, Y; round 2: R, X, Y
    votes = [line.vote.value for line in made if line.vote]
    assert votes == pytest.approx([1 / 9, 1 / 3, 1 / 3])
    means = [line.agents.value for line in made if line.agents]
    assert means == pytest.approx([3 / 9, (2 / 3 + 0 + 0) / 3, 1 / 3])
    # agreement: 2/3, 2/3, 1/3; then 2/3, 1, 2/3 (the absent voice is in the denominator); then 1, 1, 2/3
    assert [line.agreement for line in made] == pytest.approx([5 / 9, 7 / 9, 8 / 9])
    assert [line.unanimous for line in made] == pytest.approx([0, 1 / 3, 2 / 3])
    h = -(1 / 3) * math.log2(1 / 3) - (2 / 3) * math.log2(2 / 3)
    assert [line.entropy for line in made] == pytest.approx([(2 * h + math.log2(3)) / 3, h / 3, 0.0])


def test_pool_by_hand() -> None:
    made = dynamics.pool(D)
    for got, value, n in (
        (made.oracle, 1.0, 3),  # somebody was right in each
        (made.first, 1.0, 3),
        (made.consensus_wrong, 1 / 3, 3),  # item 2
        (made.collapsed, 2 / 3, 3),  # all differed; 1 and 2 ended unanimous, in 3 a voice is absent
        (made.collapsed_wrong, 1 / 2, 2),
    ):
        assert got is not None
        assert (got.value, got.n) == (pytest.approx(value), n)
    assert made.gap == pytest.approx(2 / 3)
    right = dynamics.pool(debate(ONE, ONE, TWO)).collapsed_wrong  # twice agreed on R, once on X
    assert right is not None
    assert right.value == pytest.approx(1 / 3)


def test_errors_by_hand() -> None:
    # wrong in round 0, of four items: a 1100, b 1010, c 1100: phi(a, c) = 1, phi(a, b) = 0
    made = agents.errors(debate(row("1", "XXX"), row("2", "XRY"), row("3", "RXR"), row("4", "RRR"), row("5", "!XX")))
    assert made is not None
    assert made.n == 4  # of the fifth, a call failed
    assert made.phi[0][2] == pytest.approx(1.0)
    assert made.phi[0][1] == pytest.approx(0.0)
    assert (made.together[0][1], made.expected[0][1]) == (0.25, 0.25)
    assert made.same[0][2] == 0.5  # X and X, X and Y
    assert made.limit == pytest.approx(1.96 / 2, abs=1e-3)
    silent = agents.errors(debate(row("1", "??"), row("2", "XX")))
    assert silent is not None
    assert silent.same[0][1] == 0.5  # to say nothing is not to say the same
    never = agents.errors(debate(row("1", "RX"), row("2", "RR")))
    assert never is not None
    assert never.phi[0][1] is None
    assert never.same[0][1] is None


def test_contributions_by_hand() -> None:
    # item 1 RXX: vote 0; without a 0, without b a tie 1/2, without c 1/2. item 2 RRX: vote 1; without a 1/2, b 1/2, c 1
    made = agents.contributions(debate(row("1", "RXX"), row("2", "RRX")))
    assert made is not None
    assert [one.agent for one in made] == ["a", "b", "c"]
    assert [one.first.value for one in made] == pytest.approx([0.25, 0.0, -0.25])
    assert [one.accuracy.value for one in made] == [1.0, 0.5, 0.0]
    assert agents.contributions(debate(row("1", "R"))) is None


def test_endings_flags_and_turns_by_hand() -> None:
    assert endings(D) == (Ending(1, "unanimous", 1, 0), Ending(1, "rounds", 1, 0), Ending(2, "unanimous", 1, 1))
    needless = row("4", "RR", "RR")
    back = row("5", "RX", "XX", "RX", final="X")
    unmoved = row("6", "RX", "RX", final="R")
    assert flags(debate(row("7", "RX", final="R"))).unmoved == 0  # it did not go on
    made = flags(debate(ONE, TWO, THREE, needless, back, unmoved))
    assert (made.needless, made.lost, made.back, made.unmoved, made.absent) == (1 + 1, 3, 1, 1, 1)
    # needless: item 4, and item 5, where both held X after round 1; lost: items 2, 3, 5
    turns = turned(
        debate(
            row("1", "R", initial_score=0.0), row("2", "X", initial_score=1.0), row("3", "R", initial_score=0.0),
            row("4", "R", initial_score=1.0), row("5", "R"),
        )
    )  # fmt: skip
    assert turns is not None
    assert (turns.n, turns.helped, turns.hurt, turns.p) == (4, 2, 1, 1.0)
    assert (turns.initial.value, turns.final.value) == (0.5, 0.75)
    assert turned(D) is None


def test_agents_without_scores_are_still_counted() -> None:
    said = tuple(Said(a, r, "x" if r else a, "answered", read=(("b", 0),) if r and a == "a" else ()) for r in (0, 1)
                 for a in "ab")  # fmt: skip
    made = debated(debate(Scored("1", "", "answered", "x", 0.7, said=said)))
    assert made.transitions is None
    assert made.errors is None
    assert made.contributions is None
    assert made.flags.lost is None
    assert made.pool.oracle is None
    assert made.pool.collapsed is not None
    assert made.pool.collapsed.value == 1.0
    assert [line.vote for line in made.rounds] == [None, None]
    json.dumps(
        analyse(Results("d", "", "", "s", 0, (debate(Scored("1", "", "answered", "x", 0.7, said=said)),))).to_json()
    )


# ---- summaries --------------------------------------------------------------------------------------------------


def test_a_summary_by_hand() -> None:
    rows = (
        Scored(
            "1",
            "",
            "answered",
            "1",
            1.0,
            confidence=0.9,
            usage=Usage(3, 100, 20, 10, 0.01),
            seconds=1,
            rounds=1,
            stop="a",
        ),
        Scored("2", "", "answered", "2", 0.0, confidence=0.8, usage=Usage(2, 100, 20, 10, 0.02), seconds=2, stop="b"),
        Scored("3", "", "unparsed", None, 0.0, confidence=0.7, usage=Usage(1, 50, 10, 0, 0.03), seconds=3, stop="a"),
        Scored(
            "4", "", "absent", None, 0.0, usage=Usage(0, 0, 0, 0, 0.0), seconds=4, error="down", extra={"flips": 1.0}
        ),
        Scored("5", "", "answered", "1", 1.0, usage=Usage(4, 50, 50, 0, 0.04), seconds=5, extra={"flips": 0.0}),
    )
    made = summary(debate(*rows))
    assert (made.n, made.right, made.accuracy.value) == (5, 2, 0.4)
    assert (made.unparsed, made.abstained, made.absent) == (0.2, 0.0, 0.2)
    assert made.usage == Usage(10, 300, 100, 20, pytest.approx(0.1))
    assert made.usd_per_right == pytest.approx(0.05)
    assert (made.calls_per_right, made.tokens_per_right) == (5.0, 200.0)
    assert (made.p50, made.p95) == (3.0, pytest.approx(4.8))
    assert (made.rounds, made.stops) == (0.2, {"a": 2, "b": 1})
    assert made.confidence is not None
    assert made.confidence.n == 2  # of what gave no answer, no confidence is asked
    assert (made.likelihood, made.share) == (None, None)
    assert made.extra == {"flips": 0.5}
    unpriced = summary(debate(rows[0], Scored("6", "", "answered", "1", 1.0, usage=Usage(usd=None))))
    assert (unpriced.usage.usd, unpriced.usd_per_right) == (None, None)
    hopeless = summary(debate(rows[1]))
    assert (hopeless.usd_per_right, hopeless.calls_per_right, hopeless.tokens_per_right) == (None, None, None)
    with pytest.raises(InputError, match="d has answered no items"):
        summary(debate())


def scored(name: str, scores: str | list[float], role: Role = "member", group: int = 0) -> Contestant:
    rows = [
        Scored(str(i), f"g{i // group}" if group else "", "answered", "x", float(s), usage=Usage(2, 10, 10, 0, 0.1))
        for i, s in enumerate(scores)
    ]
    return Contestant(name, role, "d", tuple(rows))


def test_comparisons_by_hand() -> None:
    d = scored("d", "1" * 40 + "0" * 20, "debate")
    worse = scored("w", "1" * 22 + "0" * 38)  # 18 wins, no losses: p = 2 / 2^18
    like = scored("l", "1" * 37 + "0" * 21 + "11")  # 3 wins, 2 losses: p = 1
    made = {one.second: one for one in compare([(d, worse), (d, like)])}
    w, l = made["w"], made["l"]  # noqa: E741
    assert (w.wins, w.losses, w.ties, w.n, w.family) == (18, 0, 42, 60, 2)
    assert w.p == pytest.approx(2 / 2**18)
    assert w.adjusted == pytest.approx(4 / 2**18)
    assert (w.verdict, w.test, w.difference.method) == ("better", "McNemar", "Tango")
    assert w.difference.value == pytest.approx(0.3)
    assert (w.calls, w.tokens, w.usd) == (1.0, 1.0, pytest.approx(1.0))
    assert (l.p, l.adjusted, l.verdict) == (1.0, 1.0, "no difference shown")
    assert l.difference.low < 0 < l.difference.high
    # 5 of 60 pairs are discordant; two comparisons share the 5%
    assert l.detectable == pytest.approx(detectable(5 / 60, 60, alpha=0.025))
    assert l.needed == items_needed(1 / 60, 5 / 60, alpha=0.025)
    assert "No difference shown" in l.sentence
    assert "points or more four times in five" in l.sentence
    assert "equal" not in l.sentence
    assert w.sentence == "d is better than w (+30.0 points, 95% interval +19.9 to +42.5; adjusted p < 0.001)."
    (turned_round,) = compare([(worse, d)])
    assert turned_round.verdict == "worse"
    (same,) = compare([(d, d)])
    assert (same.difference.value, same.p, same.needed, same.verdict) == (0.0, 1.0, None, "no difference shown")
    assert 0.1 < same.detectable < 0.2  # 7.85 / 60: even where nothing is discordant, no more is shown than that


def test_pairs_are_matched_by_item() -> None:
    a, b = scored("d", "1100", "debate"), scored("b", "0011")
    shuffled = Contestant("b", "member", "d", b.rows[::-1])
    assert compare([(a, shuffled)])[0].wins == compare([(a, b)])[0].wins == 2
    part = Contestant("b", "member", "d", b.rows[:3])
    assert compare([(a, part)])[0].n == 3
    other = Contestant("o", "member", "d", (Scored("elsewhere", "", "answered", "x", 1.0),))
    made = compare([(a, b), (a, other)])
    assert [one.second for one in made] == ["b"]
    assert made[0].family == 1


def test_fractional_scores_and_groups() -> None:
    a = scored("d", [0.5 + 0.01 * (i % 40) for i in range(80)], "debate", group=4)
    b = scored("b", [0.45 + 0.01 * (i % 40) for i in range(80)], group=4)
    (made,) = compare([(a, b)])
    assert (made.test, made.mid_p, made.verdict) == ("sign flips", None, "better")
    assert made.difference.value == pytest.approx(0.05)
    binary = scored("d", "1111" * 5 + "0000" * 15, "debate", group=4), scored("b", "0" * 80, group=4)
    (apart,), (together,) = compare([binary]), compare([binary], grouped=True)
    assert apart.test == "McNemar"
    assert apart.p == pytest.approx(2 / 2**20)
    assert together.p == pytest.approx(2 / 2**5, rel=0.1)  # five groups changed: as good as five items
    assert together.detectable > 1.5 * apart.detectable
    assert together.needed is not None
    assert apart.needed is not None
    assert together.needed == pytest.approx(4 * apart.needed, rel=0.1)


def test_the_best_single_member_is_chosen_on_other_items() -> None:
    # a is right on the first half, b on the other: each half is answered by who is right elsewhere, that is, wrong here
    a, b = scored("a", "1" * 10 + "0" * 10), scored("b", "0" * 10 + "1" * 10)
    rows, note = best_single({"a": a.rows, "b": b.rows}, folds=20)
    assert sum(row.score for row in rows) == 0
    assert note == "chosen on other items, in 20 parts: b for 10, a for 10"
    clear, note = best_single({"a": scored("a", "0" * 9 + "1").rows, "b": scored("b", "1" * 9 + "0").rows})
    assert sum(row.score for row in clear) == 9
    assert note == "chosen on other items, in 5 parts: b for 10"

    # of equals the cheapest, then the one that takes fewer tokens, then the first; an unknown price is the dearest
    def priced(usd: float | None, tokens: int) -> tuple[Scored, ...]:
        return tuple(dataclasses.replace(r, usage=Usage(1, tokens, 0, usd=usd)) for r in a.rows)

    for members, best in (
        ({"a": priced(0.2, 5), "b": priced(0.1, 9)}, "b"),
        ({"a": priced(0.1, 9), "b": priced(0.1, 5)}, "b"),
        ({"a": priced(0.1, 5), "b": priced(0.1, 5)}, "a"),
        ({"a": priced(None, 5), "b": priced(0.1, 9)}, "b"),
    ):
        assert best_single(members)[1].endswith(f": {best} for 20")
    assert best_single({"a": a.rows[:1], "b": b.rows[:1]})[0] == a.rows[:1]
    assert best_single({"a": ()})[0] == ()
    with pytest.raises(InputError, match="same items"):
        best_single({"a": a.rows, "b": b.rows[1:]})
    with pytest.raises(InputError, match="no members"):
        best_single({})


def test_choosing_the_best_on_the_same_items_overrates_it() -> None:
    # ten members that guess: the best of them on 40 items looks better than chance, the cross-fitted one does not
    import random

    biased, fitted = [], []
    for seed in range(60):
        rng = random.Random(seed)
        members = {str(j): scored(str(j), [float(rng.random() < 0.5) for _ in range(40)]).rows for j in range(10)}
        biased.append(max(sum(row.score for row in rows) for rows in members.values()) / 40)
        fitted.append(sum(row.score for row in best_single(members, seed=seed)[0]) / 40)
    assert sum(biased) / 60 > 0.58
    assert sum(fitted) / 60 == pytest.approx(0.5, abs=0.03)


# ---- a known truth ----------------------------------------------------------------------------------------------


def test_members_one_by_one_are_a_family_of_their_own() -> None:
    made = results(300, 1, {"helps": "helps"})
    alone = Results(**{**vars(made), "contestants": tuple(c for c in made.contestants if c.role != "member")})
    whole, less = (
        {one.second: (one.adjusted, one.verdict, one.detectable) for one in analyse(each).comparisons if
         one.role != "member"} for each in (made, alone)
    )  # fmt: skip
    assert whole == less  # so that a debate of many agents is not shown the worse for it
    members = [one for one in analyse(made).comparisons if one.role == "member"]
    assert [one.adjusted for one in members] == pytest.approx(holm([one.p for one in members]))
    assert families(analyse(made).comparisons) == "Holm over 7 baselines and over 4 members by themselves"
    assert families(members[:1]) == "Holm over 4 members by themselves"


def test_what_helps_is_shown_to_help_and_what_is_worthless_is_not() -> None:
    made = analyse(results(300, 1, {"helps": "helps", "worthless": "worthless", "harms": "harms"}))
    votes = {one.first: one for one in made.comparisons if one.role == "round-0 vote"}
    assert votes["helps"].verdict == "better"
    assert votes["worthless"].verdict == "no difference shown"
    assert votes["harms"].verdict == "worse"
    assert [one.name for one in made.debates] == ["helps", "worthless", "harms"]
    assert len(made.of("helps")) == 11
    assert {one.family for one in made.comparisons if one.role == "member"} == {4}
    assert {one.family for one in made.comparisons if one.role != "member"} == {7}
    one = made.between[0]
    assert (one.first, one.second, one.family, one.verdict) == ("helps", "worthless", 3, "better")
    assert [group.name for group in made.groups] == ["algebra", "geometry", "number theory"]
    assert sum(group.n for group in made.groups) == 300
    text = json.dumps(made.to_json(), allow_nan=False)
    assert json.loads(text)["comparisons"][0]["first"] == "helps"


@pytest.mark.parametrize("p", [0.5, 0.75])
def test_the_difference_of_a_debate_is_covered(p: float) -> None:
    # agents of which nobody listens: the final answer is the first one, drawn anew; the truth is 0
    import random

    covered = shown = 0
    for seed in range(200):
        rng = random.Random(seed)
        one = scored("d", [float(rng.random() < p) for _ in range(120)], "debate")
        two = scored("b", [row.score if rng.random() < 0.4 else float(rng.random() < p) for row in one.rows])
        (made,) = compare([(one, two)])
        covered += not made.difference.excludes(0.0)
        shown += made.verdict != "no difference shown"
    assert 180 <= covered <= 198
    assert shown <= 14


def test_an_evaluation_that_was_stopped() -> None:
    whole = results(40)
    first = whole.contestants[0]
    begun = Results("d", "", "", "exact", 0, (first, Contestant("council: ada", "member", "council", ())), planned=40)
    made = analyse(begun)
    assert [one.name for one in made.summaries] == ["council"]
    assert made.comparisons == ()
    assert made["council"].n == 40
    with pytest.raises(KeyError):
        made["council: ada"]
    with pytest.raises(InputError, match="no item of this evaluation has been answered"):
        analyse(Results("d", "", "", "exact", 0, (Contestant("d", "debate", "d", ()),)))
