"""Decisions: how the last answers of a debate become its outcome, by votes, by ballots or by a model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol

from agora.answers import bare, extract
from agora.errors import AgoraError, BudgetError, InputError
from agora.model import Model
from agora.prompts import NAMES, template
from agora.records import Ballot, Message, Reply, Turn
from agora.text.agent import Shown, View, show
from agora.text.ballots import read_ranking
from agora.text.stop import Case
from agora.text.votes import (
    Counting,
    Ruling,
    Ties,
    Weight,
    elect,
    majority,
    medoid,
    most_consistent,
    plurality,
    settle,
    supermajority,
    tally,
    trajectory,
)


class Decision(Protocol):
    """How the last answers become an outcome."""

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling: ...


Rule = Literal[
    "plurality", "majority", "supermajority", "mean", "median", "trajectory", "medoid", "borda", "copeland", "kemeny",
    "schulze", "ranked_choice", "approval", "score", "cumulative", "most_consistent",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vote:
    """Decide by a vote: over the answers, or over the rankings or scores that a phase of the debate asked for.

    Attributes:
        weight: what a vote counts: 'one', its 'confidence', by ReConcile's table ('reconcile'), 'log_odds', 'logprob'.
        ties: an explicit policy; what it leaves tied is an abstention.
        rule: 'plurality', 'majority' or none, 'supermajority' (of `share`), the 'mean' or the 'median' of answers that
            are numbers, 'trajectory' (Free-MAD's score over all rounds), 'medoid' (the text most like all others),
            'most_consistent' (of the model whose samples agree most: SLM-MUX); or over ballots: 'borda', 'copeland',
            'kemeny', 'schulze', 'ranked_choice', 'approval' (scores from `bar` on), 'score' (`aggregate`),
            'cumulative'. Agents that hold one answer are one candidate: its place is their best, its score their mean.
        threshold: share of the weight that the winner needs, else the outcome is an abstention.
        share: for supermajority.
        aggregate: for score: 'mean', 'median' or 'trimmed'.
        bar: for approval.
        accuracies: agents' accuracies on past questions; their votes weigh the log-odds of that.
        cap: no agent's vote weighs more than this share of all.
        trim: share of the most and of the least confident voters left out.
        families: distinct model families that must hold the winner.
    """

    weight: Weight = "one"
    ties: Ties = "initial"
    rule: Rule = "plurality"
    threshold: float = 0.0
    share: float = 2 / 3
    aggregate: Literal["mean", "median", "trimmed"] = "mean"
    bar: float = 4.0
    accuracies: Mapping[str, float] = field(default_factory=dict)
    cap: float | None = None
    trim: float = 0.0
    families: int = 1

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The outcome of the vote. Ballot rules without a ballot that could be read fall back on plurality."""
        initial = list(case.rounds[0].final.values()) if case.rounds else []
        counting: Counting = {
            "weight": self.weight, "ties": self.ties, "initial": initial, "seed": case.seed,
            "accuracies": self.accuracies or None, "cap": self.cap, "trim": self.trim, "families": self.families,
        }  # fmt: skip
        match self.rule:
            case "plurality":
                return plurality(turns, threshold=self.threshold, **counting)
            case "majority":
                return majority(turns, **counting)
            case "supermajority":
                return supermajority(turns, self.share, **counting)
            case "mean" | "median":
                return _middle(turns, self.rule, case)
            case "trajectory":
                support = trajectory(case.rounds, [turn.agent for turn in turns])
                winner, note = settle(support, self.ties, initial=tally(initial), seed=case.seed)
                return Ruling(winner, support, "; ".join(part for part in ("score over all rounds", note) if part))
            case "most_consistent":
                support = most_consistent(turns)
                winner, note = settle(support, self.ties, initial=tally(turns), seed=case.seed)
                how = f"the answer of the model that agrees most with itself, {max(support.values(), default=0):.0%}"
                note = note.replace("the first round's vote", "the vote of all samples")
                return Ruling(winner, support, "; ".join(part for part in (how, note) if part))
            case "medoid":
                said = [turn for turn in turns if turn.reply is not None and turn.value is not None]
                if not said:
                    return Ruling(None, {}, "nobody gave an answer that could be read")
                best = said[medoid([turn.reply.text for turn in said if turn.reply is not None])]
                assert best.reply is not None
                how = f"{best.agent}'s text, the most like all others of {len(said)}"
                return Ruling(best.value, tally(turns), how, best.reply.text)
        ballots = _by_answer(case, turns)
        if not ballots:
            case.warn(f"no ballot could be read for {self.rule}, so a plurality decided.")
            return plurality(turns, threshold=self.threshold, **counting)
        candidates = list(dict.fromkeys(turn.value for turn in turns if turn.value is not None))
        options = {"bar": self.bar} if self.rule == "approval" else {"aggregate": self.aggregate}
        return elect(
            ballots, candidates, self.rule, ties=self.ties, initial=tally(initial),
            confidence=tally(turns, "confidence"), seed=case.seed, threshold=self.threshold,
            **(options if self.rule in ("approval", "score") else {}),
        )  # fmt: skip


def _middle(turns: Sequence[Turn], rule: str, case: Case) -> Ruling:
    """The mean or median of the answers that are numbers."""
    support = tally(turns)
    numbers = []
    for turn in turns:
        try:
            numbers.append(Fraction(turn.value or ""))
        except (ValueError, ZeroDivisionError):
            continue
    if not numbers:
        return Ruling(None, support, "nobody gave a number")
    found = statistics.median(numbers) if rule == "median" else sum(numbers, Fraction(0)) / len(numbers)
    value = case.answer.read(f"Answer: {float(found):.12g}")
    return Ruling(value, support, f"{rule} of {len(numbers)} numbers")


def _by_answer(case: Case, turns: Sequence[Turn]) -> list[Ballot]:
    """The last ballots cast for those who decide, with answers in place of the agents that hold them."""
    answers = {turn.agent: turn.value for turn in turns if turn.value is not None}
    cast = {t.agent: t.ballot for r in case.rounds[-2:] for t in r.turns if t.ballot is not None}
    ballots = []
    for ballot in cast.values():
        seen: set[str] = set()
        tiers = []
        for tier in ballot.ranking:
            found = dict.fromkeys(answers[name] for name in tier if name in answers and answers[name] not in seen)
            seen.update(found)
            if found:
                tiers.append(tuple(found))
        given: dict[str, list[float]] = {}
        for name, score in ballot.scores.items():
            if name in answers:
                given.setdefault(answers[name], []).append(score)
        scores = {answer: math.fsum(values) / len(values) for answer, values in given.items()}
        if tiers or scores:
            ballots.append(Ballot(ballot.voter, tuple(tiers), scores, ballot.weight))
    return ballots


# ---- by a model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ByModel:
    """Decide by a model: 'judge' picks by the reasons, 'aggregate' writes a synthesis, 'overton' one text that gives
    every view its place and says who holds it. Where the model fails or its answer cannot be read, the vote decides,
    and the verdict says so.

    Attributes:
        model: the judge or writer.
        template: 'judge', 'aggregate' or 'overton'.
        override: a template of your own.
        named: the model is told who said what.
        history: it sees all rounds, not only the last.
        threshold: share of the plain vote that its answer needs all the same, else the outcome is an abstention.
        top: it sees so many of the answers, those that win most comparisons by `ranker`; None: all.
        ranker: the model that compares them, two at a time and both ways round.
    """

    model: Model
    template: str = "judge"
    override: str | Path | None = None
    named: bool = False
    history: bool = False
    threshold: float = 0.0
    top: int | None = None
    ranker: Model | None = None

    def __post_init__(self) -> None:
        if (self.top is None) != (self.ranker is None) or (self.top is not None and self.top < 1):
            raise InputError("decide: top needs a ranker, and a ranker top, which is at least 1.")

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The model's answer, with the vote's support beside it."""
        named = self.named or self.template == "overton"
        vote = await Vote().decide(case, turns)
        shown = set(map(id, turns))
        spoken = [turn for r in case.rounds for turn in r.turns if turn.gives in ("answer", "text")]
        earlier = [turn for turn in spoken if turn.kept is None and id(turn) not in shown]
        seen = list(turns)
        if self.top is not None and self.ranker is not None:
            # a panel of one answer has nothing to compare: no call
            able = [turn for turn in turns if turn.reply is not None]
            won, _, _ = await _compared(case, self.ranker, able, self.named, None)
            seen = [able[i] for i in sorted(range(len(able)), key=lambda i: -won[i])[: self.top]]
        values = {
            "peers": [s for s, _ in _shown(case, seen, named)],
            "history": [s for s, _ in _shown(case, earlier, named)] if self.history else [],
        }
        reply = await _asked(case, self.model, self.template, values, self.override)
        if reply is None:
            return vote
        answer = extract(case.answer, reply)
        if self.template == "overton":
            value = answer.value if case.answer.kind == "text" else vote.answer
            held = f"{len(vote.support)} position{'s' * (len(vote.support) != 1)}"
            return Ruling(value, vote.support, f"an overview of {held}", reply.text)
        if answer.why_none == "unparsed":
            case.warn(f"the {self.template}'s answer could not be read, so the vote decided.")
            return vote
        share = vote.support.get(answer.value or "", 0.0) / (sum(vote.support.values()) or 1.0)
        if answer.value is not None and share < self.threshold:
            how = f"decided by the {self.template}, but {share:.0%} of the vote is less than {self.threshold:.0%}"
            return Ruling(None, vote.support, f"{how}: no answer", reply.text)
        return Ruling(answer.value, vote.support, f"decided by the {self.template}", reply.text)


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Decide by a judge who compares two answers at a time, each pair in both orders, so that position cannot decide. A
    pair on which the orders disagree is a draw. The answer that wins most wins.

    Attributes:
        model: the judge.
        named: it is told who said what.
        ties: as for `Vote`.
        override: a template of your own.
    """

    model: Model
    named: bool = False
    ties: Ties = "initial"
    override: str | Path | None = None

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The answer with most comparisons won; k answers take k (k - 1) calls."""
        best: dict[str, Turn] = {}
        for turn in turns:
            sure = (turn.answer.confidence or 0.0) if turn.answer else 0.0
            held = best.get(turn.value or "")
            if turn.value is not None and (held is None or sure > ((held.answer and held.answer.confidence) or 0.0)):
                best[turn.value] = turn
        points, unread, flips = await _compared(case, self.model, list(best.values()), self.named, self.override)
        won = dict(zip(best, points, strict=True))
        pairs = len(best) * (len(best) - 1)
        if not best or (pairs and unread == pairs):
            return await Vote().decide(case, turns)
        support = dict(sorted(won.items(), key=lambda item: -item[1])) if pairs else dict.fromkeys(best, 1.0)
        initial = tally(list(case.rounds[0].final.values())) if case.rounds else {}
        winner, note = settle(support, self.ties, initial=initial, seed=case.seed)
        how = f"judged in {pairs} comparisons, both orders of each pair"
        return Ruling(winner, support, f"{how}; {note}" if note else how, flips=(flips, pairs // 2))


@dataclass(frozen=True, slots=True)
class Select:
    """Universal self-consistency (Chen et al. 2023, arXiv:2311.17311): a model selects the most consistent answer;
    works for free text. Where its choice cannot be read the vote decides (the paper takes the first answer)."""

    model: Model
    override: str | Path | None = None

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The selected answer and its text."""
        vote = await Vote().decide(case, turns)
        pairs = _shown(case, turns, False)
        reply = await _asked(case, self.model, "select", {"peers": [s for s, _ in pairs], "history": []}, self.override)
        if reply is None:
            return vote
        ranking = read_ranking(reply.text, [s.label for s, _ in pairs])
        if ranking is None:
            case.warn("the selection could not be read, so the vote decided.")
            return vote
        chosen = next(t for s, t in pairs if s.label == ranking[0][0])
        assert chosen.reply is not None
        how = f"{chosen.agent}'s answer, selected as the most consistent"
        return Ruling(chosen.value, vote.support, how, chosen.reply.text)


@dataclass(frozen=True, slots=True)
class Steer:
    """Follow one agent, such as a community's: its last answer is the outcome (Feng et al. 2024, modular pluralism).

    Attributes:
        agent: who is followed, a voter or not.
        threshold: share of the voters who must hold its answer, else the outcome is an abstention.
    """

    agent: str
    threshold: float = 0.0

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The agent's answer."""
        turn = next((t for t in turns if t.agent == self.agent), None)
        if turn is None and case.rounds:
            turn = case.rounds[-1].final.get(self.agent)
        support = tally(turns)
        if turn is None or turn.reply is None:
            return Ruling(None, support, f"{self.agent}, who is followed, did not answer")
        holding = sum(t.value == turn.value is not None for t in turns)
        if holding < self.threshold * len(turns) - 1e-9:
            how = f"{holding} of {len(turns)} hold {self.agent}'s answer, less than {self.threshold:.0%}: no answer"
            return Ruling(None, support, how)
        return Ruling(turn.value, support, f"following {self.agent}", turn.reply.text)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The shares of the positions are the outcome; the answer is the largest, where one is."""

    weight: Weight = "one"

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        """The shares, as support and as text."""
        support = tally(turns, self.weight)
        total = sum(support.values())
        if not total:
            return Ruling(None, support, "nobody gave an answer that could be read")
        winner, _ = settle(support, "abstain")
        text = "\n".join(f"{weight / total:.0%} {answer}" for answer, weight in support.items())
        return Ruling(winner, support, f"a distribution over {len(support)} positions", text)


# ---- what they share --------------------------------------------------------------------------------------------


def _shown(case: Case, turns: Sequence[Turn], named: bool) -> list[tuple[Shown, Turn]]:
    view = View(names="named" if named else "anonymous")
    return show(list(turns), view, seed=case.seed, reader=-1, order=case.order)


def _alone(turn: Turn, letter: str, named: bool) -> Shown:
    """One answer of a pair."""
    assert turn.reply is not None
    label = f"{letter} ({turn.agent})" if named else f"Answer {letter}"
    return Shown(label, bare(turn.reply.text), turn.value, None, turn.round)


async def _compared(
    case: Case, model: Model, turns: Sequence[Turn], named: bool, override: str | Path | None
) -> tuple[list[float], int, int]:
    """How many comparisons each of some answers wins, both orders of a pair half each; how many could not be read; in
    how many pairs both orders preferred the same place."""
    won, unread, flips = [0.0] * len(turns), 0, 0
    for a, b in combinations(range(len(turns)), 2):
        winners = []
        for first, second in ((a, b), (b, a)):
            pair = [_alone(turns[first], "A", named), _alone(turns[second], "B", named)]
            reply = await _asked(case, model, "compare", {"peers": pair, "history": []}, override, "a pair is a draw")
            ranking = read_ranking(reply.text, [s.label for s in pair]) if reply is not None else None
            unread += ranking is None
            if ranking is None or len(ranking[0]) > 1:
                won[first], won[second] = won[first] + 0.25, won[second] + 0.25
            else:
                winner = first if ranking[0][0] == pair[0].label else second
                won[winner] += 0.5
                winners.append(winner)
        flips += len(set(winners)) == 2
    if unread:
        case.warn(f"{unread} of {len(turns) * (len(turns) - 1)} comparisons could not be read and count as draws.")
    return won, unread, flips


async def _asked(
    case: Case,
    model: Model,
    name: str,
    values: Mapping[str, object],
    override: str | Path | None,
    then: str = "the vote decided",
) -> Reply | None:
    """A model's reply to a moderator's template; None, and a warning that says what `then` happens, where it fails.

    Raises:
        BudgetError: if a budget does not allow the call.
    """
    if getattr(model, "fixed_prompts", False):  # it reads no other words than those of its own templates
        override = None
    frame = template(name, override, getattr(model, "prompts", None))
    given = {"question": case.question, "answer": case.answer, "round": len(case.rounds) - 1, **values}
    prompt = frame.render(**{key: value for key, value in given.items() if key in NAMES[name]})
    try:
        return await case.ask(model, name, [Message("user", prompt)])
    except BudgetError as error:
        case.warn(f"the {name} was not asked, so {then}: {error}")
    except AgoraError as error:
        case.warn(f"the {name} failed, so {then}: {error}")
    return None
