"""Pictures for notebooks: a verdict as a small page; a topology as SVG (see `drawing`). Everything said is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from agora.drawing import PALETTE, topology_svg

if TYPE_CHECKING:
    from agora.records import Verdict

__all__ = ["topology_svg", "verdict_html"]


def verdict_html(v: Verdict) -> str:
    """A verdict as HTML: the answer, who stood where in each round, support, dissent and cost."""
    answers = list(dict.fromkeys(a for r in v.rounds for a in r.answers.values() if a is not None))
    colour = {answer: PALETTE[i % len(PALETTE)] for i, answer in enumerate(answers)}

    def chip(answer: str | None, title: str = "") -> str:
        if answer is None:
            return f'<span title="{escape(title)}" style="opacity:.6">none</span>'
        shown = answer if len(answer) <= 24 else answer[:23] + "…"
        return (
            f'<span title="{escape(title)}" style="display:inline-block;padding:1px 9px;border-radius:10px;color:#fff;'
            f'background:{colour.get(answer, "#777")}">{escape(shown)}</span>'
        )

    head = "".join(f'<th style="padding:4px 10px;font-weight:500">round {r.index}</th>' for r in v.rounds)
    rows = []
    for name in v.rounds[0].final if v.rounds else ():
        cells = []
        for r in v.rounds:
            turn = r.final[name]
            said = turn.reply.text if turn.reply else f"absent: {turn.error}"
            sure = turn.answer.confidence if turn.answer else None
            mark = f' <small style="opacity:.65">{sure:.0%}</small>' if sure is not None else ""
            cells.append(f'<td style="padding:4px 10px">{chip(turn.value, said[:600])}{mark}</td>')
        rows.append(
            f'<tr><th style="text-align:left;padding:4px 10px;font-weight:500">{escape(name)}</th>{"".join(cells)}</tr>'
        )
    total = sum(v.support.values()) or 1.0
    bars = "".join(
        f'<span title="{escape(a)}: {w:.2f}" style="width:{100 * w / total:.1f}%;background:{colour.get(a, "#777")};'
        'height:8px;display:inline-block"></span>'
        for a, w in v.support.items()
    )
    cost = "cost unknown" if v.usage.usd is None else f"${v.usage.usd:.4f}"
    notes = "".join(f'<div style="opacity:.8">note: {escape(w)}</div>' for w in v.warnings)
    answer = escape(v.answer[:300]) if v.answer is not None else "no answer"
    return (
        '<div style="font:14px system-ui,sans-serif;max-width:46em;line-height:1.5">'
        f'<div style="opacity:.75">{escape(v.question[:600])}</div>'
        f'<div style="font-size:1.5em;font-weight:600;margin:.2em 0">{answer}</div>'
        f'<div style="display:flex;border-radius:4px;overflow:hidden;margin:.3em 0">{bars}</div>'
        f"<div>{escape(v.reason)}</div>"
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:.5em 0;text-align:center">'
        f"<tr><th></th>{head}</tr>{''.join(rows)}</table></div>{notes}"
        f'<div style="opacity:.75">{v.usage.calls} calls · {v.usage.tokens} tokens · {cost} · '
        f"run {escape(v.run)}</div></div>"
    )
