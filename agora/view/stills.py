"""Verdicts and debates under way as HTML for notebooks. All that is said is escaped, and what is shown stands without
styles, scripts and frames, where a viewer takes them away."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from agora.drawing import PALETTE
from agora.lettering import cut, escaped, middled
from agora.records import Decided
from agora.view.standing import UNDER_WAY, Row, Standing

if TYPE_CHECKING:
    from agora.records import Event, Usage, Verdict

LARGEST = 2_000_000  # characters of a page that is kept in a notebook
_MARKS = "●■▲◆○□△◇"
_ROWS, _ROUNDS, _LINES = 40, 12, 12  # of a table; of other lists
_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;white-space:nowrap"
_ONE = "display:block;max-width:32em;overflow:hidden;text-overflow:ellipsis"  # line
_SOFT = "opacity:.72"


# ---- a verdict --------------------------------------------------------------------------------------------------


class _Marks:
    """A mark and a colour for each answer, in the order they came up."""

    def __init__(self, answers: Sequence[str | None] = ()) -> None:
        self._known: dict[str, int] = {}
        for answer in answers:
            self.of(answer)

    def of(self, answer: str | None) -> str:
        """An answer with its mark: it can be told from others without colour."""
        if answer is None:
            return f'<span style="{_SOFT}">none</span>'
        i = self._known.setdefault(answer, len(self._known))
        mark = _MARKS[i] if i < len(_MARKS) else f"{i + 1}."
        return f"{self.coloured(answer, mark)} {_plain(answer, 40)}"

    def coloured(self, answer: str, text: str) -> str:
        """A text of ours in the colour of an answer."""
        i = self._known.setdefault(answer, len(self._known))
        return f'<span style="color:{PALETTE[i % len(PALETTE)]}">{text}</span>'


def _plain(text: str, most: int) -> str:
    """A text on one line, escaped; of a direction of its own."""
    return f"<bdi>{escaped(cut(' '.join(text[: 8 * most].split()), most))}</bdi>"


def _name(agent: str) -> str:
    """An agent's name, cut in its middle."""
    return f"<bdi>{escaped(middled(agent, 24))}</bdi>"


def _tip(text: str) -> str:
    return escaped(cut(" ".join(text[:2_000].split()), 300))


def _percent(share: float | None) -> str:
    return "" if share is None else f' <small style="{_SOFT}">{share:.0%}</small>'


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells that are HTML already; the first of a row heads it."""
    top = "".join(f'<th scope="col" style="{_CELL};font-weight:500;{_SOFT}">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};font-weight:600">{row[0]}</th>'
        + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:.5em 0;border:0">'
        f'<thead><tr style="background:none">{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def frame_html(parts: Sequence[str]) -> str:
    """Parts that are HTML already, in the colours of where they stand."""
    return (
        '<div style="font:14px/1.5 system-ui,sans-serif;max-width:60em;color:inherit;background:none;'
        f'font-variant-numeric:tabular-nums">{"".join(parts)}</div>'
    )


def line_html(text: str, soft: bool = False) -> str:
    """A line of what is HTML already."""
    return f'<div style="{_SOFT}">{text}</div>' if soft else f"<div>{text}</div>"


def _took(usage: Usage) -> str:
    cost = "cost unknown" if usage.usd is None else f"${usage.usd:.4f}"
    return f"{usage.calls:,} call{'s' * (usage.calls != 1)} · {usage.tokens:,} tokens · {cost}"


def verdict_html(v: Verdict, told: Sequence[tuple[float, Event]] = (), *, page: bool = True) -> str:
    """A verdict as HTML: the answer, who stood where in each round, support, dissent, changes, cost; below, the page of
    the run to unfold, where it is small enough to be kept in a notebook.

    Args:
        v: it.
        told: the events of its run, where somebody watched it.
        page: whether with the page.
    """
    marks = _Marks([a for r in v.rounds for a in r.answers.values() if a is not None])
    answer = marks.of(v.answer) if v.answer is not None else "no answer"
    sure = f" · {v.confidence:.0%} of the vote" if v.confidence is not None else ""
    parts = [
        line_html(_plain(v.question, 600), soft=True),
        f'<div style="font-size:1.5em;font-weight:600;margin:.2em 0">{answer}</div>',
        line_html(f"{_plain(v.reason, 600)}{sure}"),
        *_rounds(v, marks),
        *_support(v, marks),
        *_said(v, marks),
        *(line_html(f"Note: {_plain(w, 400)}") for w in v.warnings[:_LINES]),
        line_html(f"{_took(v.usage)} · {v.usage.seconds:.1f} model seconds · run {_plain(v.run, 80)}", soft=True),
    ]
    if page and v.rounds:
        parts.append(_page(v, told))
    return frame_html(parts)


def _rounds(v: Verdict, marks: _Marks) -> list[str]:
    """A row an agent, a column a round."""
    shown = v.rounds if len(v.rounds) <= _ROUNDS else (v.rounds[0], *v.rounds[1 - _ROUNDS :])
    names = list(dict.fromkeys(name for r in shown for name in r.final))
    changed = {(change.agent, change.round): change.read for change in v.changes}
    rows = []
    for name in names[:_ROWS]:
        row = [_name(name)]
        for r in shown:
            turn = r.final.get(name)
            if turn is None:
                row.append("")
                continue
            said = turn.reply.text if turn.reply is not None else f"absent: {turn.error}"
            why = turn.answer.why_none if turn.answer is not None else None
            cell = marks.of(turn.value) if turn.value is not None else f'<span style="{_SOFT}">{why or "absent"}</span>'
            mark = " *" if (name, r.index) in changed else ""
            sure = turn.answer.confidence if turn.answer is not None else None
            row.append(f'<span title="{_tip(said)}">{cell}{mark}{_percent(sure)}</span>')
        rows.append(row)
    head = ["", *("first answers" if not r.index else f"round {r.index}" for r in shown)]
    more = [line_html(f"and {len(names) - _ROWS:,} other agents", soft=True)] if len(names) > _ROWS else []
    return [table_html(head, rows), *more] if rows else []


def _support(v: Verdict, marks: _Marks) -> list[str]:
    """The weight behind each answer, before the debate and after."""
    answers = list(dict.fromkeys((*v.support, *v.initial_support)))
    if len(answers) < 2:
        return []
    most = max([abs(w) for w in (*v.support.values(), *v.initial_support.values())]) or 1.0
    rows = []
    for answer in answers[:_LINES]:
        now = v.support.get(answer, 0.0)
        bar = marks.coloured(answer, "▬" * round(12 * max(now, 0.0) / most))
        rows.append([marks.of(answer), f"{v.initial_support.get(answer, 0.0):.3g}", f"{now:.3g} {bar}"])
    more = [line_html(f"and {len(answers) - _LINES:,} other answers", soft=True)] if len(answers) > _LINES else []
    return [table_html(["support", "before", "after"], rows), *more]


def _said(v: Verdict, marks: _Marks) -> list[str]:
    """Who changed after reading whom, and who dissents."""
    parts = []
    for change in v.changes[:_LINES]:
        after = f" after reading {', '.join(_name(name) for name in change.read[:6])}" if change.read else ""
        parts.append(
            line_html(
                f"* {_name(change.agent)} changed {marks.of(change.before)} → {marks.of(change.after)} "
                f"in round {change.round}{after}"
            )
        )
    if len(v.changes) > _LINES:
        parts.append(line_html(f"and {len(v.changes) - _LINES:,} other changes", soft=True))
    word = "Dissent" if v.answer is not None else "Undecided"
    for d in v.dissent[:_LINES]:
        said = marks.of(d.answer) if d.answer is not None else "nothing that could be read"
        parts.append(line_html(f'<span title="{_tip(d.text)}">{word}: {_name(d.agent)} says {said}</span>'))
    if len(v.dissent) > _LINES:
        parts.append(line_html(f"and {len(v.dissent) - _LINES:,} others", soft=True))
    return parts


def _page(v: Verdict, told: Sequence[tuple[float, Event]]) -> str:
    """The page of the run in a frame of its own, which runs nothing but its own script and reaches nothing."""
    from agora.view.recorded import page_of

    how = "<code>agora.view.save(verdict, &quot;run.html&quot;)</code> writes it as a file"
    page = page_of(v, told if told and isinstance(told[-1][1], Decided) else ())
    where = "; where the run is in a journal, <code>agora view RUN</code> shows it"
    return page_html(page, "The whole debate", how, where, scripts=True)


def page_html(page: str, title: str, how: str, large: str = "", *, scripts: bool = False) -> str:
    """A page to unfold, in a frame of its own; or, where it is too large to be kept in a notebook, where it is.

    Args:
        page: a whole HTML page.
        title: what it is.
        how: what writes it as a file, as HTML.
        large: what else shows it, as HTML.
        scripts: whether its scripts may run; never with access to the notebook.
    """
    inlaid = escape(page, quote=True)
    if len(inlaid) > LARGEST:
        return line_html(f"{title} is too large for a notebook: {how}{large}.", soft=True)
    allowed = 'sandbox="allow-scripts"' if scripts else "sandbox"
    frame = "width:100%;height:42em;resize:vertical;border:1px solid #8886;color-scheme:light dark"
    return (
        f'<details style="margin-top:.4em"><summary>{title}</summary><div style="{_SOFT}">{how}.</div>'
        f'<iframe {allowed} loading="lazy" title="{title}" style="{frame}" srcdoc="{inlaid}"></iframe></details>'
    )


# ---- a debate under way -----------------------------------------------------------------------------------------


def standing_html(now: Standing, over: str | None = None) -> str:
    """Where a debate stands, as HTML: the question, a row an agent, votes, cost.

    Args:
        now: it.
        over: why it goes on no more, if so.
    """
    votes = now.votes
    marks = _Marks(now.answers)
    rows = list(now.rows.values())
    shown = rows if len(rows) <= _ROWS else sorted(rows, key=lambda row: row.state not in UNDER_WAY)[:_ROWS]
    table = table_html(["", "round", "answer", "says"], [_row(row, marks, over is not None) for row in shown])
    state = f"{now.rounds:,} round{'s' * (now.rounds != 1)} over" if now.rounds else "first answers"
    held = " · ".join(f"{marks.of(answer)} × {n:,}" for answer, n in votes[:6])
    more = f" · {len(votes) - 6:,} other answers" if len(votes) > 6 else ""
    here = f"{now.count(*UNDER_WAY):,} of {len(rows):,} agents speak"
    parts = [line_html(_plain(now.question, 600), soft=True), table]
    if len(rows) > _ROWS:
        parts.append(line_html(f"and {len(rows) - _ROWS:,} other agents", soft=True))
    parts.append(line_html(" · ".join(filter(None, [state, here if over is None else "", held + more]))))
    parts.append(line_html(f"{_took(now.usage)} · run {_plain(now.run, 80)}", soft=True))
    if over is not None:
        parts.append(f'<div style="margin-top:.4em"><strong>{_plain(over, 1_000)}</strong></div>')
    return frame_html(parts)


_DOES = {"speaks": "thinks", "writes": "writes", "retries": "waits", "absent": "absent"}


def _row(row: Row, marks: _Marks, over: bool) -> list[str]:
    does = _DOES.get(row.state, "") if not (over and row.state in UNDER_WAY) else "ended"
    where = "" if row.round is None else f"{row.round}"
    answer = marks.of(row.answer) if row.answer is not None else f'<span style="{_SOFT}">{row.why or ""}</span>'
    said = row.said[-800:] if row.state == "writes" else row.said
    line = " ".join(said[:1_600].split())
    text = f"…{line[-119:]}" if row.state == "writes" and len(line) > 120 else cut(line, 120)
    return [
        _name(row.agent),
        f'{where} <span style="{_SOFT}">{does}</span>',
        f"{answer}{_percent(row.sure) if row.answer is not None else ''}",
        f'<span style="{_ONE}"><bdi>{escaped(text)}</bdi></span>',
    ]
