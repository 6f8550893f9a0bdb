"""From a verdict to scored records: the debate's own, and those of the baselines that its first round already holds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from agora.answers import AnswerType
from agora.errors import AgoraError, InputError
from agora.evaluate.records import NOTHING, Item, Said, Scored, Scorer, Status
from agora.records import Reply, Round, Turn, Usage, Verdict
from agora.text.verdict import deciding

BUDGET = "stopped by: budget"
_WHOLE = {0.0: 0.0, 1.0: 1.0}  # one object of each, as there is a score for every answer of every agent


class Marks:
    """Scores answers to one item, each once.

    Args:
        scorer: of the data set.
        item: whose answers.
    """

    def __init__(self, scorer: Scorer, item: Item) -> None:
        self.scorer, self.item = scorer, item
        self._known: dict[tuple[str, str], float] = {}

    async def of(self, answer: str | None, text: str = "") -> float:
        """The score of an answer, 0 where there is none.

        Raises:
            InputError: if the scorer gives no score from 0 to 1.
        """
        if answer is None:
            return 0.0
        if (answer, text) not in self._known:
            score = float(await self.scorer.score(answer, self.item, text))
            if not 0 <= score <= 1:
                raise InputError(f"the scorer {self.scorer.name} gave {score} for item {self.item.id}, not 0 to 1.")
            self._known[answer, text] = _WHOLE.get(score, score)
        return self._known[answer, text]


async def scored(
    verdict: Verdict, item: Item, marks: Marks, *, voters: Sequence[str], seconds: float, run: str
) -> Scored:
    """How a debate answered an item.

    Args:
        verdict: what came out.
        item: what was asked.
        marks: scores its answers.
        voters: whose last answers decided.
        seconds: it took, wall time.
        run: its id in the journal.
    """
    cheap = not marks.scorer.paid
    said: list[Said] = []
    for round in verdict.rounds:
        for turn in round.final.values():
            read = _read(turn, verdict.rounds)
            said.append(await _said(turn, round.index, marks, read, score=cheap or round.index == 0))
    turns = deciding(verdict.rounds, voters, cut=BUDGET in verdict.reason)
    first = deciding(verdict.rounds[:1], voters, cut=False)
    status = _status(verdict.answer, turns)
    return Scored(
        item.id, item.group, status, verdict.answer, await marks.of(verdict.answer, verdict.text),
        verdict.initial, await marks.of(verdict.initial, _text(first, verdict.initial)),
        *_sure(turns, verdict.answer), share=_share(turns, verdict.answer), rounds=len(verdict.rounds) - 1,
        stop=stop_kind(verdict.reason), usage=verdict.usage, seconds=seconds, said=tuple(said), run=run,
        extra={"flips": verdict.flips[0], "pairs": verdict.flips[1]} if verdict.flips[1] else NOTHING,
    )  # fmt: skip


def failed(item: Item, error: AgoraError, *, seconds: float, run: str) -> Scored:
    """An item that a contestant failed on: absent, and wrong."""
    usage = getattr(error, "usage", None) or Usage()
    for round in getattr(error, "rounds", ()):
        usage = usage + spent(round.turns)
    return Scored(item.id, item.group, "absent", None, 0.0, usage=usage, seconds=seconds, error=str(error), run=run)


async def round_zero_vote(row: Scored, verdict: Verdict, marks: Marks, voters: Sequence[str]) -> Scored:
    """The vote of the first round as a contestant: what it takes is what that round took."""
    first = verdict.rounds[0]
    turns = deciding(verdict.rounds[:1], voters, cut=False)
    usage = spent(first.turns)
    return replace(
        row, status=_status(verdict.initial, turns), answer=verdict.initial, score=row.initial_score or 0.0,
        confidence=_sure(turns, verdict.initial)[0], likelihood=_sure(turns, verdict.initial)[1],
        share=_share(turns, verdict.initial), rounds=0, stop="", usage=usage, seconds=critical(first.turns),
        said=tuple(s for s in row.said if s.round == 0), extra=NOTHING,
    )  # fmt: skip


async def alone(turn: Turn, item: Item, marks: Marks, row: Scored) -> Scored:
    """An agent's independent answer as a contestant, given the row of the debate that it was given in."""
    said = await _said(turn, 0, marks, score=True)
    said = next((one for one in row.said if one == said), said)  # it is kept once
    usage = turn.reply.usage if turn.reply is not None else Usage()
    return Scored(
        item.id, item.group, said.status, said.answer, said.score or 0.0, said.answer, said.score, said.confidence,
        said.likelihood, usage=usage, seconds=usage.seconds, said=(said,), error=turn.error, run=row.run,
    )  # fmt: skip


async def voted(
    turns: Sequence[Turn], answer: str | None, item: Item, marks: Marks, *, usage: Usage, run: str
) -> Scored:
    """A vote over samples as a contestant.

    Args:
        turns: the samples, each as a turn.
        answer: what the vote gives.
        item: what was asked.
        marks: scores its answers.
        usage: of the samples.
        run: id in the journal.
    """
    score = await marks.of(answer, _text(turns, answer))
    return Scored(
        item.id, item.group, _status(answer, turns), answer, score, answer, score, *_sure(turns, answer),
        share=_share(turns, answer), usage=usage, seconds=critical(turns), run=run, extra={"samples": len(turns)},
    )  # fmt: skip


def spent(turns: Sequence[Turn]) -> Usage:
    """What turns took that were asked for."""
    return sum((turn.reply.usage for turn in turns if turn.reply is not None and turn.kept is None), Usage())


def critical(turns: Sequence[Turn]) -> float:
    """About how many seconds turns take whose calls go out together: the longest of each round and phase, summed."""
    longest: dict[tuple[int, str], float] = {}
    for turn in turns:
        if turn.reply is not None and turn.kept is None:
            spot = (turn.round, turn.phase)
            longest[spot] = max(longest.get(spot, 0.0), turn.reply.usage.seconds)
    return sum(longest.values())


_KINDS = ("budget", "no debate was needed", "the judge")


def stop_kind(reason: str) -> str:
    """Why a debate stopped, without the figures of that one debate."""
    said = reason.split(";", 1)[0].removeprefix("stopped by: ")
    for kind in _KINDS:
        if said.startswith(kind):
            return kind
    return re.sub(r"\d+(?:[.,]\d+)*%?", "N", said)[:60].strip()


async def _said(turn: Turn, index: int, marks: Marks, read: tuple[tuple[str, int], ...] = (), *, score: bool) -> Said:
    status: Status = "absent"
    if turn.reply is not None:
        none = turn.answer.why_none if turn.answer is not None else "unparsed"
        status = "answered" if turn.value is not None else none or "unparsed"
    text = turn.reply.text if turn.reply is not None else ""
    return Said(
        turn.agent, index, turn.value, status, await marks.of(turn.value, text) if score else None,
        stated(turn), likelihood(turn.reply), read, turn.kept is not None,
    )  # fmt: skip


def _read(turn: Turn, rounds: Sequence[Round]) -> tuple[tuple[str, int], ...]:
    """The answers of others that a turn was shown; of one that gives none, the answer that its agent held then."""
    found: dict[tuple[str, int], None] = {}
    for agent, index, phase in turn.reads:
        if agent == turn.agent:
            continue
        held: tuple[str, int] | None = None
        for other in (t for r in rounds[: index + 1] for t in r.turns if t.agent == agent):
            if other.gives == "answer" and other.reply is not None:
                held = (agent, other.round)
            if (other.round, other.phase) == (index, phase):
                break
        if held is not None:
            found[held] = None
    return _kept(tuple(found))


@lru_cache(maxsize=4096)
def _kept(read: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """One object of what is read alike on thousands of items."""
    return read


def stated(turn: Turn) -> float | None:
    """How sure an agent says it is, or its model reports; not what follows from log-probabilities."""
    if turn.answer is None or turn.answer.confidence is None or turn.reply is None:
        return None
    derived = turn.reply.confidence is None and turn.answer.confidence == likelihood(turn.reply)
    return None if derived else turn.answer.confidence


def likelihood(reply: Reply | None) -> float | None:
    """Exp of the mean log-probability of a reply's tokens, where the model gives it."""
    return None if reply is None or reply.logprob is None else math.exp(min(0.0, reply.logprob))


def _sure(turns: Sequence[Turn], answer: str | None) -> tuple[float | None, float | None]:
    """Mean confidence and likelihood of those who hold an answer."""
    holders = [turn for turn in turns if turn.value == answer is not None]
    pairs = ([stated(turn) for turn in holders], [likelihood(turn.reply) for turn in holders])
    means = [[value for value in values if value is not None] for values in pairs]
    confidence, likely = (math.fsum(values) / len(values) if values else None for values in means)
    return confidence, likely


def _share(turns: Sequence[Turn], answer: str | None) -> float | None:
    return None if answer is None or not turns else sum(turn.value == answer for turn in turns) / len(turns)


def _text(turns: Sequence[Turn], answer: str | None) -> str:
    """What the first of those who hold an answer has said."""
    return next((t.reply.text for t in turns if t.reply is not None and t.value == answer), "") if answer else ""


def _status(answer: str | None, turns: Sequence[Turn]) -> Status:
    """Of a vote: where there is no answer, the reason that most have for theirs; a tie that was left is abstention."""
    if answer is not None:
        return "answered"
    if any(turn.value is not None for turn in turns):
        return "abstained"
    if all(turn.reply is None for turn in turns):
        return "absent"
    unread = sum(turn.answer is not None and turn.answer.why_none == "unparsed" for turn in turns)
    return "unparsed" if 2 * unread >= sum(turn.reply is not None for turn in turns) else "abstained"


def independent(rounds: Sequence[Round], agent: str) -> Turn | None:
    """An agent's answer of round 0, if it was given without reading anybody."""
    turn = rounds[0].final.get(agent) if rounds else None
    return turn if turn is not None and not turn.reads and turn.kept is None else None


def same_kind(a: AnswerType, b: AnswerType) -> bool:
    """Whether two kinds of answer ask for the same."""
    return a.kind == b.kind and a.instruction == b.instruction
