"""Where a debate stands, as lines of a terminal: one an agent, aligned; of many agents, how many hold what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agora.lettering import columns, fitted, folded, padded
from agora.terminal.words import Piece, clean, ending, money, short
from agora.view.standing import UNDER_WAY, Row, Standing

MANY = 40  # agents: of more, what they hold is counted
_SAYS = 96  # columns of what is said: more are hard to follow
_ANSWERS = 5  # that are named where they are counted
_FIGURES = (("calls", 5), ("tokens", 7), ("time", 7))  # right-aligned, with their widths
Line = list[Piece]


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each column is; 0 where it is left out: first the figures, then how sure, then what is said. Lines that
    are `turns` begin with the round."""

    name: int
    round: int
    answer: int
    sure: int = 0
    says: int = 0
    figures: bool = False
    turns: bool = False
    gap: int = 2


def laid_out(width: int, name: int, answer: int, *, sure: bool = True, live: bool = True) -> Columns:
    """The columns that there is room for.

    Args:
        width: of the terminal.
        name: of the longest name.
        answer: of the longest answer.
        sure: whether any agent says how sure it is.
        live: whether it is drawn again: then with calls, tokens and time; else a line a turn, with its round first.
    """
    gap = 2 if width >= 30 else 1
    round = 2 if width < 30 or not live else 4 if width < 60 else 5
    whole = name
    name = max(1, min(name, 24, max(6, width // 4), width - round - 2 * gap - 2))
    answer = max(1, min(answer, 24, max(8, width // 5), width - name - round - 2 * gap))
    left = width - name - round - answer - 3 * gap
    if left < 12:
        name = max(name, min(whole, 24, name + left + gap))
        return Columns(name, round, answer, turns=not live, gap=gap)
    sure_wide = 4 if sure and left - 4 - gap >= 16 else 0
    left -= (4 + gap) if sure_wide else 0
    wide = sum(w + gap for _, w in _FIGURES)
    figures = live and left - wide >= 30
    return Columns(name, round, answer, sure_wide, min(_SAYS, left - (wide if figures else 0)), figures, not live, gap)


def row_line(row: Row, at: Columns) -> Line:
    """One agent's line."""
    where = "" if row.round is None else f"{row.round}…" if row.state in UNDER_WAY else f"{row.round}"
    answer = "absent" if row.state == "absent" else row.answer or row.why or ""
    sure = "" if row.sure is None or row.state == "absent" else f"{row.sure:.0%}"
    cells: Line = [
        (padded(folded(short(row.agent, 400), at.name), at.name), "bold"),
        (padded(where, at.round), ""),
        (padded(short(answer, at.answer), at.answer), "" if row.answer is not None else "dim"),
    ]
    if at.turns:
        cells[0], cells[1] = cells[1], cells[0]
    if at.sure:
        cells.append((padded(sure, at.sure, right=True), "dim"))
    if at.says:
        said = ending(row.said, at.says) if row.state == "writes" else short(row.said, at.says)
        cells.append((padded(said, at.says), ""))
    if at.figures:
        u = row.usage
        texts = (f"{u.calls:,}", f"{u.tokens:,}", f"{u.seconds:.1f}s") if u.calls else ("", "", "")
        cells += [(padded(text, wide, right=True), "dim") for text, (_, wide) in zip(texts, _FIGURES, strict=True)]
    return _spaced(cells, at.gap)


def head_line(at: Columns) -> Line:
    """What the columns are."""
    cells = [
        padded("agent", at.name),
        padded("round", at.round) if at.round > 4 else " " * at.round,
        padded("answer", at.answer),
    ]
    cells += [padded("sure", at.sure, right=True)] if at.sure else []
    cells += [padded("says", at.says)] if at.says else []
    cells += [padded(name, wide, right=True) for name, wide in _FIGURES] if at.figures else []
    return _spaced([(cell, "dim") for cell in cells], at.gap)


def _spaced(cells: Sequence[Piece], gap: int) -> Line:
    line: Line = []
    for cell in cells:
        line += [(" " * gap, ""), cell] if line else [cell]
    return line


def board(now: Standing, width: int, most: int = MANY) -> list[Line]:
    """Where a debate stands, none of its lines wider than the terminal.

    Args:
        now: it.
        width: of the terminal, in columns.
        most: rows that there is room for; of more agents a summary is given.
    """
    rows = list(now.rows.values())
    if len(rows) > most:
        return crowd(now, width)
    name = max((columns(short(row.agent, 400)) for row in rows), default=5)
    answer = max((columns(short(row.answer or row.why or "absent", 24)) for row in rows), default=6)
    at = laid_out(width, max(5, name), max(6, answer), sure=any(row.sure is not None for row in rows))
    return [cropped(line, width) for line in (head_line(at), *(row_line(row, at) for row in rows))]


def crowd(now: Standing, width: int) -> list[Line]:
    """Many agents: what they do and hold, and who spoke last."""
    rows = now.rows.values()
    here = [
        f"round {now.round}",
        f"{sum(row.round == now.round and row.state == 'spoke' for row in rows):,} have spoken",
    ]
    for n, word in (
        (now.count("speaks", "writes"), "speak"),
        (now.count("retries"), "wait"),
        (now.count("absent"), "absent"),
    ):
        here += [f"{n:,} {word}"] if n else []
    lines: list[Line] = [[(f"{len(rows):,} agents: {', '.join(here)}", "bold")]]
    votes = now.votes
    wide = max([columns(short(answer, 24)) for answer, _ in votes[:_ANSWERS]], default=0)
    if len(votes) > _ANSWERS:
        votes = [*votes[:_ANSWERS], (f"{len(votes) - _ANSWERS:,} others", sum(n for _, n in votes[_ANSWERS:]))]
        wide = max(wide, columns(votes[-1][0]))
    wide = max(1, min(wide, width - 10))
    lines += [[(f"  {padded(short(answer, wide), wide)}  {n:6,}", "")] for answer, n in votes]
    if now.last is not None and (row := now.rows[now.last]).state == "spoke":
        lines.append([(f"  last {short(row.agent, 24)}: {short(row.said, width)}", "dim")])
    return [cropped(line, width) for line in lines]


def cropped(line: Line, width: int) -> Line:
    """A line no wider than the terminal."""
    left, kept = width, []
    for text, style in line:
        text = fitted(text, left)
        left -= columns(text)
        kept.append((text, style))
    return kept


def tally(now: Standing) -> str:
    """Votes and cost so far, on one line."""
    votes = ", ".join(f"{short(answer, 24)} ({n:,})" for answer, n in now.votes[:_ANSWERS])
    more = len(now.votes) - _ANSWERS
    others = f", {more:,} other answers" if more > 0 else ""
    u = now.usage
    took = f"{u.calls:,} call{'s' * (u.calls != 1)}, {u.tokens:,} tokens, {money(u.usd)}"
    return clean(f"{votes}{others}; {took}" if votes else took)
