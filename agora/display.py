"""Pictures for notebooks: a topology as SVG, a verdict as a small page. Everything said is escaped."""

from __future__ import annotations

import hashlib
import math
from html import escape
from typing import TYPE_CHECKING

from agora.errors import TopologyError

if TYPE_CHECKING:
    from agora.records import Verdict
    from agora.text.topology import Topology

# distinguishable without colour vision, on light and on dark
PALETTE = ("#4477AA", "#CC6677", "#228833", "#B8860B", "#66AACC", "#AA3377", "#777777", "#997700")
_INK = "color-mix(in srgb, currentColor 55%, transparent)"


def topology_svg(topology: Topology, size: int = 420) -> str:
    """A topology as one SVG: agents on a circle (by layer where the graph has no cycle), arrows from who is read to who
    reads; a double-headed line where both read each other."""
    agents = topology.agents
    n = len(agents)
    spots, rows = _spots(topology, size)
    r = max(3.0, min(15.0, 130 / max(n, 1) ** 0.8 + 3))
    edges = set(topology.edges)
    uid = hashlib.sha1(repr((agents, topology.edges)).encode()).hexdigest()[:8]
    head = max(4.0, min(8.0, r * 0.7))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" role="img" '
        f'aria-label="{escape(repr(topology))}" style="max-width:100%;color:inherit;font:12px system-ui,sans-serif">',
        f'<defs><marker id="a{uid}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="{head:.1f}" '
        f'markerHeight="{head:.1f}" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path d="M0 0.6L8 4L0 7.4z" fill="{_INK}"/></marker></defs>',
    ]
    opacity = max(0.12, min(0.8, 14 / math.sqrt(len(edges) + 1) / 3))
    for u, v in topology.edges[:20_000]:
        both = (v, u) in edges
        if both and agents.index(u) > agents.index(v):
            continue
        (x1, y1), (x2, y2) = spots[u], spots[v]
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        dx, dy = (x2 - x1) / length * (r + 2), (y2 - y1) / length * (r + 2)
        ends = f'marker-end="url(#a{uid})"' + (f' marker-start="url(#a{uid})"' if both else "")
        lines.append(
            f'<line x1="{x1 + dx:.1f}" y1="{y1 + dy:.1f}" x2="{x2 - dx:.1f}" y2="{y2 - dy:.1f}" stroke="currentColor" '
            f'stroke-opacity="{opacity:.2f}" {ends if n <= 40 else ""}/>'
        )
    for i, agent in enumerate(agents):
        x, y = spots[agent]
        colour = PALETTE[i % len(PALETTE)]
        lines.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{colour}"><title>{escape(agent)}</title></circle>'
        )
        if n <= 24:
            name = agent if len(agent) <= 14 else agent[:13] + "…"
            lines.append(_label(name, x - size / 2, y - size / 2 + 6, x, y, r, rows=rows))
    return "\n".join((*lines, "</svg>"))


def _label(name: str, dx: float, dy: float, x: float, y: float, r: float, *, rows: bool) -> str:
    """A name beside its agent, on the outer side of a circle, where no edge runs."""
    away = math.hypot(dx, dy)
    if rows:
        spot = f'x="{x + r + 4:.1f}" y="{y + 4:.1f}" text-anchor="start"'
    elif away < 1 or abs(dx) < 0.35 * away:
        above = away >= 1 and dy < 0
        spot = f'x="{x:.1f}" y="{y - r - 6 if above else y + r + 14:.1f}" text-anchor="middle"'
    else:
        side = 1 if dx > 0 else -1
        spot = f'x="{x + side * (r + 4):.1f}" y="{y + 4:.1f}" text-anchor="{"start" if side > 0 else "end"}"'
    return f'<text {spot} fill="currentColor">{escape(name)}</text>'


def _spots(topology: Topology, size: int) -> tuple[dict[str, tuple[float, float]], bool]:
    """Where each agent stands, and whether they stand in rows."""
    agents, margin = topology.agents, 90 if len(topology.agents) <= 24 else 20
    if len(agents) > 1 and topology.edges:
        try:
            depth = topology.layers()
        except TopologyError:
            depth = {}
        if depth and max(depth.values()) > 0:
            rows = [[a for a in agents if depth[a] == level] for level in range(max(depth.values()) + 1)]
            places = {
                agent: (
                    size * (i + 1) / (len(row) + 1),
                    40 + (size - 90) * level / max(1, len(rows) - 1),
                )
                for level, row in enumerate(rows)
                for i, agent in enumerate(row)
            }
            return places, True
    if len(agents) == 1:
        return {agents[0]: (size / 2, size / 2)}, False
    radius, spots = size / 2 - margin, {}
    for i, agent in enumerate(agents):
        angle = 2 * math.pi * i / len(agents) - math.pi / 2
        spots[agent] = (size / 2 + radius * math.cos(angle), size / 2 - 6 + radius * math.sin(angle))
    return spots, False


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
