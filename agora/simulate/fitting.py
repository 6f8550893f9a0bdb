"""From recorded debates to the population that would have held them, and how well a prediction did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agora.errors import InputError
from agora.evaluate.records import RIGHT, Contestant
from agora.records import Verdict
from agora.simulate.population import Floats, Population
from agora.simulate.result import Simulation
from agora.text.votes import settle

_MANY = 100  # options: where there are more, wrong answers are hardly ever the same

_RIGHT = "\0right"  # no answer that can be read

Read = tuple[str, int]  # whose answer of which round


@dataclass(frozen=True, slots=True)
class Record:
    """A debate on a question of which the right answer is known.

    Attributes:
        answers: of each round, round 0 first: the canonical answer of each agent, None where none could be read. Who
            kept its answer has it again; absent voices are left out.
        truth: the right answer, canonical.
        reads: of each round: whose answers each agent had read when it gave its own, and of which round.
        sure: of first answers: whether they are right, and how confident the agent was, 0 to 1.
        voted: where it is known, whether the debate's own decision was right on round 0 and in the end.
    """

    answers: Sequence[Mapping[str, str | None]]
    truth: str
    reads: Sequence[Mapping[str, Sequence[Read]]]
    sure: Sequence[tuple[bool, float]] = ()
    voted: tuple[bool, bool] | None = None

    def __post_init__(self) -> None:
        if not self.answers or len(self.answers) != len(self.reads):
            raise InputError("a record of a debate needs at least round 0, and as many rounds of reads as of answers.")


def record_of(verdict: Verdict, truth: str) -> Record:
    """The record of a debate that was held.

    Args:
        verdict: its outcome, rounds included.
        truth: the right answer in canonical form, as `verdict.answer` is.
    """
    answers, reads = [], []
    for round in verdict.rounds:
        present = {name: turn for name, turn in round.final.items() if turn.reply is not None}
        answers.append({name: turn.value for name, turn in present.items()})
        reads.append({name: tuple((who, when) for who, when, _ in turn.reads) for name, turn in present.items()})
    return Record(answers, truth, reads)


def records_of(contestant: Contestant) -> list[Record]:
    """The records of a debate that was evaluated: all of its rows in which somebody answered. Right answers count as
    one, however they are written.

    Args:
        contestant: a debate of an evaluation whose scorer scores every agent's answer (it asks no model).

    Raises:
        InputError: if its agents' answers were not scored.
    """
    records = []
    for row in contestant.rows:
        rounds = row.by_round()
        if any(said.score is None for said in row.said):
            raise InputError(
                f"{contestant.name}: its agents' answers were not scored, so nothing can be fitted to them."
            )
        if rounds and any(said.answer is not None for said in rounds[0].values()):
            spoke = [{name: said for name, said in round.items() if said.status != "absent"} for round in rounds]
            answers = [{name: _RIGHT if said.right else said.answer for name, said in r.items()} for r in spoke]
            sure = [(s.right, s.confidence) for s in rounds[0].values() if s.confidence is not None]
            reads = [{name: said.read for name, said in r.items()} for r in spoke]
            voted = ((row.initial_score or 0.0) > RIGHT, row.right)
            records.append(Record(answers, _RIGHT, reads, sure, voted))
    return records


@dataclass(frozen=True)
class Fitted:
    """What was estimated.

    Attributes:
        population: of agents that keep their answers or conform.
        debates: how many were looked at.
        cases: what the estimates stand on: so many first answers ('accuracy'), pairs of them ('correlation'), turns
            whose agents held none of the answers most read, among these a 'right' one or a 'wrong' one, and turns
            ('abstention').
        unexplained: share of the later answers that are neither the agent's own nor one most read in place of it.
            Agents of this kind give none, so that where it is large the population describes the debates badly.
    """

    population: Population
    debates: int
    cases: Mapping[str, int] = field(default_factory=dict)
    unexplained: float = 0.0


def fit(records: Iterable[Record], *, options: int | None = None) -> Fitted:
    """Estimate a population from recorded debates.

    Accuracy: of each agent, the share of its first answers, before it has read anybody, that are right. Correlation: by
    moments, the covariances of all pairs' errors over the greatest that their accuracies allow. Conformity and
    persuasion: from how often right and wrong answers that were read most often were taken over, by maximum likelihood.
    Options: from how often two wrong first answers are the same, at most 100. Confidences: means.

    Args:
        records: at least one.
        options: the number of possible answers, where it is known.

    Raises:
        InputError: if there are no records, or nobody answered before reading others.
    """
    kept = list(records)
    if not kept:
        raise InputError("fit: there are no recorded debates.", hint="Give at least one.")
    names = list(dict.fromkeys(name for record in kept for round in record.answers for name in round))
    first = _first(kept, names)
    right = np.array(
        [[np.nan if a is None else float(a == r.truth) for a in row] for r, row in zip(kept, first, strict=True)]
    )
    there = ~np.isnan(right)
    if not there.any():
        raise InputError("fit: nobody gave an answer before reading others, so accuracies cannot be told.")
    mean = float(right[there].mean())
    number = there.sum(axis=0)
    skill = np.where(number > 0, np.where(there, right, 0.0).sum(axis=0) / np.maximum(number, 1), mean)
    correlation = _correlation(right, there, skill)
    pairs = int((there.sum(axis=1) * (there.sum(axis=1) - 1) // 2).sum())
    turns = [case for record in kept for case in _turns(record)]
    silent = sum(case.new is None for case in turns)
    later = [case for case in turns if case.read and case.held is not None and case.new is not None]
    met = [case for case in later if case.leads and case.held not in case.leads]
    up, down = _taken_over(met)
    odd = sum(case.new != case.held and (case.held in case.leads or case.new not in case.leads) for case in later)
    population = Population(
        accuracy={name: float(p) for name, p in zip(names, skill, strict=True)},
        correlation=correlation,
        conformity=(up + down) / 2,
        persuasion=(up - down) / (up + down) if up + down else 0.0,
        abstention=silent / len(turns),
        options=options or _options(kept, first, correlation, float(skill.mean())),
        confidence=_confidence(kept),
    )
    cases = {
        "accuracy": int(there.sum()), "correlation": pairs, "right": sum(case.truth in case.leads for case in met),
        "wrong": sum(bool(case.leads - {case.truth}) for case in met), "abstention": len(turns),
    }  # fmt: skip
    return Fitted(population, len(kept), cases, odd / len(later) if later else 0.0)


def _first(records: Sequence[Record], names: Sequence[str]) -> list[list[str | None]]:
    """Each agent's first answer in each debate, where it had read nobody."""
    found = []
    for record in records:
        own: dict[str, str | None] = {}
        for answers, reads in zip(record.answers, record.reads, strict=True):
            for name, answer in answers.items():
                own.setdefault(name, None if reads.get(name) else answer)
        found.append([own.get(name) for name in names])
    return found


def _correlation(right: Floats, there: np.ndarray, skill: Floats) -> float:
    off, n = np.where(there, right - skill, 0.0), len(right)
    together = there.T.astype(float) @ there
    bound = np.minimum.outer(skill, skill) - np.multiply.outer(skill, skill)
    np.fill_diagonal(together, 0.0)
    most = float((together * bound).sum())
    if most <= 0 or n < 2:
        return 0.0
    found = float((off.sum(axis=1) ** 2 - (off**2).sum(axis=1)).sum())
    return float(np.clip(found / most * n / (n - 1), 0.0, 1.0))


def _confidence(records: Sequence[Record]) -> tuple[float, float] | None:
    """Mean confidences of right and of wrong first answers, where there are any of both."""
    found = {side: [p for record in records for right, p in record.sure if right is side] for side in (True, False)}
    means = [float(np.mean(found[side])) for side in (True, False) if found[side]]
    return (means[0], means[1]) if len(means) == 2 else None


def _options(records: Sequence[Record], first: Sequence[Sequence[str | None]], correlation: float, mean: float) -> int:
    """The number of answers with which two wrong first ones are the same as often as they are. In a population with
    concentration s = 1 / correlation - 1 that is (m / (K - 1) + 1) / (m + 1) with m = s (1 - accuracy)."""
    same = pairs = 0
    given: set[str] = {record.truth for record in records}
    for record, row in zip(records, first, strict=True):
        wrong = Counter(a for a in row if a is not None and a != record.truth)
        given.update(wrong)
        same += sum(n * (n - 1) for n in wrong.values())
        pairs += wrong.total() * (wrong.total() - 1)
    others = _MANY - 1.0
    if not pairs:
        others = len(given) - 1.0
    elif correlation:
        mass, share = (1 / correlation - 1) * (1 - mean), same / pairs
        if share * (mass + 1) > 1:
            others = mass / (share * (mass + 1) - 1)
    elif same:
        others = pairs / same
    return int(np.clip(round(others) + 1, 2, _MANY))


@dataclass(frozen=True, slots=True)
class _Case:
    """One answer: what was held, whether somebody had been read, the answers most read, and what was said."""

    held: str | None
    read: bool
    leads: frozenset[str]
    new: str | None
    truth: str


def _turns(record: Record) -> Iterator[_Case]:
    """Every answer that was asked for: an agent's first, and those after reading somebody."""
    held: dict[str, str | None] = {}
    for answers, reads in zip(record.answers, record.reads, strict=True):
        before = dict(held)
        for name, new in answers.items():
            heard = [record.answers[when].get(who) for who, when in reads.get(name, ()) if who != name]
            if name not in before or heard:
                counts = Counter(a for a in heard if a is not None)
                leads = frozenset(a for a, n in counts.items() if n == max(counts.values()))
                yield _Case(before.get(name), bool(heard), leads, new, record.truth)
            if new is not None or name not in held:
                held[name] = new


def _taken_over(cases: Sequence[_Case]) -> tuple[float, float]:
    """How often a right and how often a wrong answer in the lead is taken over: a = conformity * (1 + persuasion) and
    b = conformity * (1 - persuasion), by maximum likelihood. With one in the lead these are plain shares. Of a right
    and m wrong ones, the right one is chosen with probability a / (a + m b) and then taken over with a."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for case in cases:
        wrong = case.leads - {case.truth}
        found = kinds.setdefault((len(case.leads) - len(wrong), len(wrong)), [0, 0, 0])
        found[0 if case.new == case.truth and case.new in case.leads else 1 if case.new in wrong else 2] += 1
    if not kinds:
        return 0.0, 0.0
    a, b, width = np.array([0.5]), np.array([0.5]), 0.5
    while width > 1e-7:  # ever finer around the best so far
        around = np.linspace(-width, width, 41)
        one, two = np.meshgrid(np.clip(a + around, 0, 1), np.clip(b + around, 0, 1), indexing="ij")
        likelihood = sum(_likelihood(one, two, *kind, *found) for kind, found in kinds.items())
        best = np.unravel_index(int(np.argmax(likelihood)), one.shape)
        a, b, width = one[best], two[best], width / 8
    up, down = float(a), float(b)
    seen = [any(kind[side] for kind in kinds) for side in (0, 1)]
    return (up if seen[0] else down), (down if seen[1] else up)


def _likelihood(a: Floats, b: Floats, right: int, wrong: int, to_right: int, to_wrong: int, kept: int) -> Floats:
    """The logarithm of the probability of what was done, where so many right and wrong answers were in the lead."""
    tiny = 1e-12
    whole = np.maximum(right * a + wrong * b, tiny)
    first, second = right * a * a / whole, wrong * b * b / whole
    chances = ((to_right, first), (to_wrong, second), (kept, 1 - first - second))
    return np.asarray(sum(n * np.log(np.maximum(p, tiny)) for n, p in chances if n), float) + np.zeros_like(a)


@dataclass(frozen=True, slots=True)
class Check:
    """A predicted accuracy of the vote after a round beside the observed one.

    Attributes:
        round: 0 is that of the first answers.
        predicted: by the simulation.
        low: where 95% of evaluations on so many questions would begin to lie.
        high: and end.
        observed: over all debates, by their own decision where that is known, else by the plurality of the voters, ties
            by the first answers.
        holds: whether it lies there.
    """

    round: int
    predicted: float
    low: float
    high: float
    observed: float
    holds: bool


def how_well(predicted: Simulation, observed: Iterable[Record]) -> list[Check]:
    """Whether a prediction holds what was observed, by round. Debates that ended earlier count with their last round.
    Where only their decisions are known, these are round 0 and the last.

    Args:
        predicted: of the debate.
        observed: recorded debates, on other questions than those the population was fitted on.

    Raises:
        InputError: if there are none.
    """
    records = list(observed)
    if not records:
        raise InputError("how_well: there are no recorded debates to compare with.")
    checks = []
    known = all(record.voted is not None for record in records)
    last = len(predicted.by_round) - 1
    for index, (low, high) in enumerate(predicted.over(len(records))):
        if known and 0 < index < last:
            continue
        if known:
            right = sum(record.voted[index > 0] for record in records if record.voted is not None)
        else:
            right = sum(_voted(record, min(index, len(record.answers) - 1), predicted.voters) for record in records)
        share, mean = right / len(records), predicted.by_round[index].mean
        checks.append(Check(index, mean, low, high, share, low - 1e-9 <= share <= high + 1e-9))
    return checks


def _voted(record: Record, index: int, voters: Sequence[str]) -> bool:
    votes = Counter(a for name in voters if (a := record.answers[index].get(name)) is not None)
    first = Counter(a for a in record.answers[0].values() if a is not None)
    return bool(votes) and settle(votes, "initial", initial=first)[0] == record.truth
