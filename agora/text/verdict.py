"""The outcome of a debate: whose answers decide, what was decided, who dissented, who changed after reading whom."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from agora.records import Change, Dissent, Reply, Round, Turn, Usage, Verdict
from agora.text.votes import Ruling


def deciding(rounds: Sequence[Round], voters: Sequence[str], *, cut: bool) -> list[Turn]:
    """The voters' turns of the last round; after a budget has cut it, each voter's last answer. Who has left the
    debate, or never answers, has no vote."""
    final = rounds[-1].final
    voters = [name for name in voters if name in final]
    if not cut:
        return [final[name] for name in voters]
    turns = []
    for name in voters:
        said = [r.final[name] for r in rounds if name in r.final and r.final[name].reply is not None]
        turns.append(said[-1] if said else final[name])
    return turns


def conclude(
    ruling: Ruling,
    initial: Ruling,
    *,
    turns: Sequence[Turn],
    rounds: Sequence[Round],
    parts: Sequence[Reply],
    warnings: Sequence[str],
    stop: str,
    question: str,
    model: str,
    run: str,
    lost: Usage = Usage(),
    influence: float = 0.5,
    planted: Sequence[str] = (),
) -> Verdict:
    """The verdict.

    Args:
        ruling: what was decided.
        initial: what the same decision gives on round 0.
        turns: the deciding turns.
        rounds: everything that was said.
        parts: every reply that was paid for.
        warnings: what was noted on the way.
        stop: why the debate ended.
        question: what was debated.
        model: the debate's name.
        run: the run's id.
        lost: what replies that could not be used took: they are paid for.
        influence: share of the others that one agent may move before the verdict warns.
        planted: adversaries among the agents.
    """
    supporters = [t for t in turns if t.reply is not None and t.value == ruling.answer and t.value is not None]
    best = max(supporters, key=lambda t: (t.answer.confidence or 0.0) if t.answer else 0.0, default=None)
    text = ruling.text or (best.reply.text if best and best.reply else ruling.answer or f"No answer: {ruling.how}.")
    total = sum(ruling.support.values())
    shared = ruling.answer is not None and total > 0 and min(ruling.support.values()) >= 0
    share = ruling.support.get(ruling.answer or "", 0.0) / total if shared else None
    absent = tuple(turn.agent for turn in turns if turn.reply is None)
    notes = list(warnings)
    made = changes(rounds)
    notes += _moved(made, [t.agent for t in rounds[0].final.values()] if rounds else [], influence)
    for name in planted:
        held = next((t.value for t in turns if t.agent == name), None)
        won = held is not None and held == ruling.answer
        notes.append(
            f"{name} was planted as an adversary, and its answer {'was adopted' if won else 'was not adopted'}"
        )
    if absent:
        notes.append(f"reached without {', '.join(absent)}")
    unread = [t.agent for t in turns if t.answer is not None and t.answer.why_none == "unparsed"]
    if unread:
        notes.append(f"no answer could be read from {', '.join(unread)}")
    short = [t.agent for t in turns if t.reply is not None and t.reply.finish == "length"]
    if short:
        notes.append(f"cut off at max_tokens: {', '.join(short)}")
    return Verdict(
        text,
        model=model,
        usage=sum((part.usage for part in parts), lost),
        parts=tuple(parts),
        confidence=share,
        answer=ruling.answer,
        question=question,
        support=MappingProxyType(dict(ruling.support)),
        dissent=tuple(
            Dissent(t.agent, t.value, t.reply.text) for t in turns if t.reply is not None and t.value != ruling.answer
        ),
        reason=f"{stop}; {ruling.how}",
        initial=initial.answer,
        initial_support=MappingProxyType(dict(initial.support)),
        changes=tuple(made),
        rounds=tuple(rounds),
        absent=absent,
        flips=ruling.flips,
        warnings=tuple(notes),
        run=run,
    )


def changes(rounds: Sequence[Round]) -> list[Change]:
    """Who changed after reading whom."""
    said = {(t.agent, t.round, t.phase): t for r in rounds for t in r.turns}
    found = []
    before: dict[str, Turn] = {}
    for round in rounds:
        for name, turn in round.final.items():
            if turn.reply is None:
                continue
            old = before.get(name)
            if old is not None and old.value != turn.value:
                whose = [key[0] for key in turn.reads if key[0] != name and said[key].value == turn.value is not None]
                found.append(Change(name, round.index, old.value, turn.value, tuple(dict.fromkeys(whose))))
            before[name] = turn
    return found


def _moved(made: Sequence[Change], names: Sequence[str], influence: float) -> list[str]:
    """A warning for an agent that moved more of the others than one should: a change counts for those who were read and
    held the new answer, in equal parts."""
    moved: dict[str, dict[str, float]] = {}
    for change in made:
        for name in change.read:
            others = moved.setdefault(name, {})
            others[change.agent] = max(others.get(change.agent, 0.0), 1 / len(change.read))
    others_there = len(names) - 1
    return [
        f"{name} alone moved {sum(by.values()):.3g} of the {others_there} others"
        for name, by in moved.items()
        if others_there > 1 and sum(by.values()) > influence * others_there
    ]
