"""What was said, and how it ended: a transcript; verdict, dissent and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agora.lettering import folded
from agora.terminal.words import READABLE, Piece, echo, lines, money, short, size, usage_line, wrapped

if TYPE_CHECKING:
    from agora.records import Usage, Verdict

_FEW = 12  # lines of one kind, where not all is to be shown
_NAME = 24  # columns of a name


def name_of(agent: str) -> str:
    """An agent's name as it stands in a sentence."""
    return folded(short(agent, 400), _NAME)


def summary(v: Mapping[str, Any], usage: Usage, *, whole: bool = False) -> None:
    """Verdict, dissent, cost: the end of a run on the terminal.

    Args:
        v: a verdict as plain data.
        usage: what the run took.
        whole: all of it; else each of its texts on one line, or a few.
    """
    echo("")
    for i, line in enumerate(summary_lines(v, usage, min(size()[0], READABLE), whole=whole)):
        lead, told, rest = line.partition("Verdict: ") if not i else ("", "", line)
        answer, bracket, reason = rest.partition("  (") if told else ("", "", rest)
        pieces: list[str | Piece] = [(f"{lead}{told}{answer}", "bold"), f"{bracket}{reason}"]
        echo(*pieces)


def summary_lines(v: Mapping[str, Any], usage: Usage, width: int, *, whole: bool = False) -> Iterator[str]:
    """The lines of `summary`, none wider than so many columns."""

    def item(text: str, most: int | None = None) -> Iterator[str]:
        return wrapped(text, width, "  ", "    ", most=None if whole else most)

    def cut(text: str, wide: int) -> str:
        return " ".join(text.split()) if whole else short(text, wide)

    answer = v["answer"]
    sure = f", {v['confidence']:.0%} of the vote" if v["confidence"] is not None else ""
    told = cut(answer, 300) if answer is not None else "no answer"
    yield from wrapped(f"Verdict: {told}  ({cut(v['reason'], 300)}{sure})", width, "", "  ")
    said = v["text"].strip()
    if answer is not None and said.casefold() not in ("", answer.casefold()):
        yield from item(said if whole else short(said, 600), 3)
    if v["rounds"] > 0:
        before = "no answer" if v["initial"] is None else "the same" if v["initial"] == answer else v["initial"]
        yield from item(f"before the debate: {cut(before, 100)} (the first answers' vote)")
    yield from _changes(v["changes"], item, cut, whole)
    word = "dissent" if answer is not None else "undecided"
    dissent = v["dissent"]
    for d in dissent if whole else dissent[:_FEW]:
        yield from item(f"{word}: {name_of(d['agent'])} says {cut(d['answer'] or 'nothing that could be read', 60)}")
    if not whole and len(dissent) > _FEW:
        held = Counter(d["answer"] or "nothing that could be read" for d in dissent[_FEW:]).most_common(5)
        others = ", ".join(f"{short(answer, 24)} ({n:,})" for answer, n in held)
        yield from item(f"{word}: {len(dissent) - _FEW:,} others say {others}")
    for warning in v["warnings"]:
        yield from item(f"note: {cut(warning, 300)}")
    yield from item(usage_line(usage))


def _changes(changes: Any, item: Any, cut: Any, whole: bool) -> Iterator[str]:
    """Who changed after reading whom."""
    for change in changes if whole else changes[:_FEW]:
        read = change["read"] if whole else change["read"][:6]
        more = len(change["read"]) - len(read)
        others = f" and {more:,} others" if more else ""
        after = f" after reading {', '.join(map(name_of, read))}{others}" if read else ""
        yield from item(
            f"{name_of(change['agent'])} changed {cut(change['before'] or 'none', 40)} -> "
            f"{cut(change['after'] or 'none', 40)} in round {change['round']}{after}"
        )
    if not whole and len(changes) > _FEW:
        to = Counter(change["after"] or "none" for change in changes[_FEW:]).most_common(5)
        told = ", ".join(f"{short(answer, 24)} ({n:,})" for answer, n in to)
        yield from item(f"{len(changes) - _FEW:,} more changes, to {told}")


def transcript(turns: Iterable[Mapping[str, Any]]) -> None:
    """Turns as text that can be read, all of it: each wrapped under its speaker.

    Args:
        turns: as `agora show --json` gives them.
    """
    width = min(size()[0], READABLE)
    last: tuple[int, str] | None = None
    for turn in turns:
        here = (turn["round"], turn["phase"])
        if here != last:
            echo("")
            for line in wrapped(f"Round {turn['round']}, {short(turn['phase'], 400)}", width):
                echo((line, "bold"))
            last = here
        sure = f" ({turn['confidence']:.0%})" if turn.get("confidence") is not None else ""
        answer = f" -> {short(turn['answer'], 60)}{sure}" if turn.get("answer") is not None else ""
        readers = dict.fromkeys(name for name, *_ in turn.get("reads") or ())
        reads = f"  (read {', '.join(map(name_of, readers))})" if readers else ""
        name = name_of(turn["agent"])
        for i, line in enumerate(wrapped(f"{name}{answer}{reads}", width, "  ", "      ")):
            lead = f"  {name}" if not i and line.startswith(f"  {name}") else ""
            echo((lead, "bold"), line[len(lead) :])
        said = turn.get("text") or (f"absent: {turn['error']}" if turn.get("error") else "(not kept)")
        lines(said.strip("\n").rstrip(), "    ", "    ")


def verdict_line(v: Verdict) -> str:
    """A verdict on one line: what `repr` gives."""
    held = sum(value == v.answer for value in v.rounds[-1].answers.values()) if v.rounds and v.answer is not None else 0
    what = f"answer={short(v.answer, 60)!r}" if v.answer is not None else "no answer"
    told = [what]
    if v.rounds:
        voices = len(v.rounds[-1].answers)
        told.append(f"{held} of {voices} agents" if v.answer is not None else f"{voices} agents")
        told.append(f"{len(v.rounds) - 1} round{'s' * (len(v.rounds) != 2)} after the first answers")
    told.append(f"{v.usage.calls:,} call{'s' * (v.usage.calls != 1)}, {v.usage.tokens:,} tokens, {money(v.usage.usd)}")
    if v.warnings:
        told.append(f"{len(v.warnings)} note{'s' * (len(v.warnings) != 1)}")
    return f"<Verdict {'; '.join(told)}; run {short(v.run, 80) or 'unnamed'}>"


def verdict_text(v: Verdict, width: int = 100) -> str:
    """A verdict as a few lines: what `str` gives."""
    from agora.journal import verdict_json

    lines = [*wrapped(v.question, width, "Q: ", "   ", most=3)] if v.question else []
    return "\n".join([*lines, *summary_lines(verdict_json(v), v.usage, width)])
