"""Plots of an evaluation as inline SVG: for light and dark paper, readable on a phone and without colour.

They are drawn 420 units wide, so that their text can be read at the width of a phone, and take their colours from the
page (module `styles`). What colour says, a shape, a dash or a number says too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agora.evaluate.measures.agents import Matrix
from agora.evaluate.measures.calibration import Calibration
from agora.evaluate.measures.dynamics import Moves, RoundLine
from agora.evaluate.measures.statistics import Interval, wilson
from agora.lettering import cut, escaped, middled, width

WIDE = 420
_LEFT, _RIGHT = 8, WIDE - 8


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a forest plot.

    Attributes:
        label: what it is of.
        interval: what is drawn.
        text: the figures, at the right.
        strong: it is what the plot is about: a filled square, else a ring.
    """

    label: str
    interval: Interval
    text: str
    strong: bool = False


def _svg(tall: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDE} {tall:.0f}" role="img" aria-label="{escaped(title)}" class="chart">'
        f"{''.join(parts)}</svg>"
    )


def _t(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", most: int = 60) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_class(kind)}>{escaped(cut(text, most))}</text>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"{_class(kind)}/>'


def _dot(x: float, y: float, kind: str, strong: bool) -> str:
    if strong:
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" class="fill {kind}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="ring {kind}"/>'


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values between two ends, at most so many and at least one where there is room."""
    reach = high - low
    if not reach > 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(reach / most))
    while reach / step > most:
        step *= 2 if f"{step:e}"[0] in "15" else 2.5
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


# ---- intervals --------------------------------------------------------------------------------------------------


def forest(title: str, bars: Sequence[Bar], *, zero: float | None = None, unit: str = "%", whole: bool = False) -> str:
    """Estimates with their intervals, a line each.

    Args:
        title: for who cannot see it.
        bars: from top to bottom.
        zero: a value to mark, as 0 of differences.
        unit: of the axis; values are shown times 100.
        whole: the axis is 0 to 1 and no less.
    """
    ends = [end for bar in bars for end in (bar.interval.low, bar.interval.high)]
    ends += [] if zero is None else [zero]
    low, high = (0.0, 1.0) if whole else (min(ends, default=0.0), max(ends, default=1.0))
    pad = 0.04 * (high - low) or 0.05
    low, high = (low, high) if whole else (low - pad, high + pad)

    def at(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT)

    step, top = 38, 4
    bottom = top + step * len(bars)
    parts = []
    for tick in ticks(low, high):
        parts.append(_line(at(tick), top, at(tick), bottom, "grid"))
        anchor = "start" if at(tick) < 24 else "end" if at(tick) > WIDE - 24 else "middle"
        parts.append(_t(at(tick), bottom + 16, f"{100 * tick:.4g}{unit}", anchor=anchor, kind="soft"))
    if zero is not None:
        parts.append(_line(at(zero), top, at(zero), bottom, "mark"))
    for i, bar in enumerate(bars):
        y = top + step * i
        kind = "a" if bar.strong else "b"
        room = int((_RIGHT - _LEFT - width(bar.text, 11)) / 6.6)
        label = middled(bar.label, max(8, room))
        parts.append(_t(_LEFT, y + 13, label, kind="strong halo" if bar.strong else "halo"))
        parts.append(_t(_RIGHT, y + 13, bar.text, anchor="end", kind="soft halo"))
        x1, x2, mid = at(bar.interval.low), at(bar.interval.high), y + 23
        parts.append(_line(x1, mid, x2, mid, f"bar {kind}"))
        parts += [_line(x, mid - 4, x, mid + 4, f"bar {kind}") for x in (x1, x2)]
        parts.append(_dot(at(bar.interval.value), mid, kind, bar.strong))
    return _svg(bottom + 22, title, parts)


# ---- planes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plane:
    """A square with axes."""

    x: tuple[float, float]
    y: tuple[float, float]
    tall: float = 260
    left: float = 44
    top: float = 10
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        a, b = self.x
        share = math.log(x / a) / math.log(b / a) if self.log else (x - a) / (b - a)
        c, d = self.y
        return self.left + share * (WIDE - 12 - self.left), self.top + (d - y) / (d - c) * self.tall

    def axes(self, xs: Mapping[float, str], ys: Sequence[float], label: str, unit: str = "%") -> list[str]:
        bottom = self.top + self.tall
        parts = []
        for y in ys:
            _, py = self.at(self.x[0], y)
            parts.append(_line(self.left, py, WIDE - 12, py, "grid"))
            parts.append(_t(self.left - 6, py + 4, f"{100 * y:.4g}{unit}", anchor="end", kind="soft"))
        for x, text in xs.items():
            px, _ = self.at(x, self.y[0])
            parts.append(_line(px, bottom, px, bottom + 4, "axis"))
            anchor = "end" if px > WIDE - 30 else "middle"
            parts.append(_t(min(px, WIDE - 8), bottom + 17, text, anchor=anchor, kind="soft"))
        parts.append(_line(self.left, bottom, WIDE - 12, bottom, "axis"))
        parts.append(_t((self.left + WIDE - 12) / 2, bottom + 34, label, anchor="middle", kind="soft"))
        return parts


def cost_plane(title: str, points: Sequence[tuple[float, Interval, bool]], label: str, money: bool) -> str:
    """Accuracy over cost; each point carries its number, which a list beside the plot explains.

    Args:
        title: for who cannot see it.
        points: cost of an item, accuracy, whether it is a debate.
        label: of the axis of cost.
        money: costs are in USD.
    """
    costs = [cost for cost, _, _ in points]
    most = max(costs, default=1.0) or 1.0
    least = min((c for c in costs if c > 0), default=most)
    log = least < most / 12 and all(c > 0 for c in costs)
    xs = (least / 1.5, most * 1.5) if log else (0.0, most * 1.08)
    low, high = min(i.low for _, i, _ in points), max(i.high for _, i, _ in points)
    pad = 0.05 * (high - low) or 0.05
    plane = _Plane(xs, (low - pad, high + pad), log=log)
    marks = [10.0**k * m for k in range(-9, 10) for m in (1, 2, 5)] if log else ticks(*xs)
    shown = {x: f"{'$' if money else ''}{x:.3g}" for x in marks if xs[0] <= x <= xs[1]}
    if len(shown) > 6:
        shown = dict(list(shown.items())[:: math.ceil(len(shown) / 6)])
    parts = plane.axes(shown, ticks(low - pad, high + pad), label)
    ranked = sorted(points, key=lambda p: (p[0], -p[1].value))
    front: list[tuple[float, float]] = []
    for cost, interval, _ in ranked:
        if not front or interval.value > front[-1][1]:
            front.append((cost, interval.value))
    corners = [plane.at(*corner) for corner in front]
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in corners[1:])
    parts.append(f'<path d="{path}H{WIDE - 12}" class="front"/>')
    taken: list[tuple[float, float]] = []
    for i, (cost, interval, strong) in enumerate(points, 1):
        kind = "a" if strong else "b"
        x, y = plane.at(cost, interval.value)
        parts.append(
            _line(x, plane.at(cost, interval.low)[1], x, plane.at(cost, interval.high)[1], f"bar faint {kind}")
        )
        parts.append(_dot(x, y, kind, strong))
        spots = [(x + dx, y + dy) for dx, dy in ((8, -5), (-8, -5), (8, 13), (-8, 13), (8, -17), (-8, -17), (8, 25))]
        free = [s for s in spots if all(abs(s[0] - a) > 13 or abs(s[1] - b) > 11 for a, b in taken)]
        if not free and not strong:
            continue
        spot = free[0] if free else spots[0]
        taken.append(spot)
        parts.append(
            _t(*spot, str(i), anchor="start" if spot[0] > x else "end", kind="strong halo" if strong else "halo")
        )
    return _svg(plane.top + plane.tall + 42, title, parts)


def rounds_chart(title: str, lines: Sequence[RoundLine]) -> str:
    """Accuracy and agreement by round.

    Args:
        title: for who cannot see it.
        lines: of a debate.
    """
    last = max(1, len(lines) - 1)
    drawn: list[tuple[str, str, list[tuple[int, float, float, float]]]] = []
    for name, kind, picked in (("vote", "a", "vote"), ("one agent", "b", "agents")):
        found = [(line.round, getattr(line, picked)) for line in lines if getattr(line, picked) is not None]
        if found:
            drawn.append((name, kind, [(r, i.value, i.low, i.high) for r, i in found]))
    drawn.append(("agreement", "c", [(line.round, line.agreement, line.agreement, line.agreement) for line in lines]))
    values = [v for _, _, points in drawn for point in points for v in point[1:]]
    low, high = max(0.0, min(values) - 0.05), min(1.0, max(values) + 0.05)
    plane = _Plane((-0.15, last + 0.9), (low, high), tall=220)
    every = max(1, math.ceil(len(lines) / 10))
    parts = plane.axes({float(i): str(i) for i in range(0, len(lines), every)}, ticks(low, high), "round")
    labels: list[float] = []
    for k, (name, kind, points) in enumerate(drawn):
        shift = 0.03 * last * (k - 1)
        spots = [(plane.at(r + shift, v), plane.at(r, a)[1], plane.at(r, b)[1]) for r, v, a, b in points]
        parts.append(f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for (x, y), _, _ in spots)}" class="stroke {kind}"/>')
        for (x, y), y1, y2 in spots:
            parts.append(_line(x, y1, x, y2, f"bar {kind}"))
            parts.append(_dot(x, y, kind, kind == "a"))
        (x, y), _, _ = spots[-1]
        while any(abs(y - other) < 14 for other in labels):
            y += 14
        labels.append(y)
        parts.append(_t(x + 14, y + 4, name, kind="halo"))
    return _svg(plane.top + plane.tall + 42, title, parts)


def reliability(title: str, made: Calibration) -> str:
    """How often answers of a confidence are right: on the diagonal where they are calibrated.

    Args:
        title: for who cannot see it.
        made: the calibration.
    """
    plane = _Plane((0.0, 1.0), (0.0, 1.0), tall=300)
    quarter = (0.0, 0.25, 0.5, 0.75, 1.0)
    parts = plane.axes({x: f"{100 * x:.0f}%" for x in quarter}, quarter, "confidence")
    parts.append(_line(*plane.at(0, 0), *plane.at(1, 1), "mark"))
    most = max(one.n for one in made.bins)
    spots = []
    for one in made.bins:
        sure = wilson(one.accuracy * one.n, one.n)
        x, y = plane.at(one.confidence, one.accuracy)
        spots.append((x, y))
        parts.append(_line(x, plane.at(0, sure.low)[1], x, plane.at(0, sure.high)[1], "bar faint a"))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 5 * math.sqrt(one.n / most):.1f}" class="disc a"/>')
    parts.append(f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in spots)}" class="stroke a"/>')
    return _svg(plane.top + plane.tall + 42, title, parts)


# ---- bars and maps ----------------------------------------------------------------------------------------------


def stacked(title: str, rows: Sequence[tuple[str, Sequence[tuple[int, str, str]]]]) -> str:
    """Counts side by side, each row its own whole.

    Args:
        title: for who cannot see it.
        rows: a label, and its parts: count, class of its look, letter that stands in it.
    """
    step, top, parts = 42, 4, [_HATCH]
    for i, (label, own) in enumerate(rows):
        y, total, x = top + step * i, sum(n for n, _, _ in own) or 1, float(_LEFT)
        narrow = []
        for n, look, word in own:
            wide = n / total * (_RIGHT - _LEFT)
            if n:
                box = f'x="{x:.1f}" y="{y + 18}" width="{max(0.5, wide - 1):.1f}" height="16"'
                parts.append(f'<rect {box} class="{look}"/>')
                text = f"{word} {n:,}"
                if width(text, 11) + 4 < wide:
                    parts.append(_t(x + wide / 2, y + 30, text, anchor="middle", kind=f"on-{look.split()[-1]}"))
                else:
                    narrow.append(text)
            x += wide
        parts.append(_t(_LEFT, y + 12, label, most=44))
        parts.append(_t(_RIGHT, y + 12, ", ".join(narrow), anchor="end", kind="soft"))
    return _svg(top + step * len(rows), title, parts)


_HATCH = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" class="hatch"/><path d="M0 0V5" class="hatched"/></pattern></defs>'
)


def moves_rows(moves: Mapping[str, Moves]) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Rows of `stacked` of transitions."""
    made = []
    for label, m in moves.items():
        kept, mended, broken, wrong = (m.rr, "RR"), (m.wr, "WR"), (m.rw, "RW"), (m.same + m.other, "WW")
        made.append((label, [(n, f"part {kind.lower()}", kind) for n, kind in (kept, mended, broken, wrong)]))
    return made


def heat(title: str, names: Sequence[str], cells: Matrix, *, rows: str, across: str, signed: bool = False) -> str:
    """A matrix, its numbers in the cells.

    Args:
        title: for who cannot see it.
        names: of rows and columns; the first 14 are shown.
        cells: 0 to 1, or -1 to 1 where `signed`; None is no number.
        rows: what a row is.
        across: what a column is.
        signed: values below 0 are drawn in the other colour.
    """
    shown = names[:14]
    left = min(130.0, max(width(cut(name, 18), 11) for name in shown) + 26)
    side = min(56.0, (WIDE - 4 - left) / len(shown))
    parts = [_t(4, 12, f"row: {rows}", kind="soft"), _t(4, 27, f"column: {across}", kind="soft")]
    top = 50.0
    for i, name in enumerate(shown):
        y, x = top + side * i, left + side * i
        parts.append(_t(left - 6, y + side / 2 + 4, f"{cut(name, 18)} {i + 1}", anchor="end"))
        parts.append(_t(x + side / 2, top - 6, str(i + 1), anchor="middle", kind="soft"))
        for j in range(len(shown)):
            value = cells[i][j]
            if i == j or value is None:
                text, depth, kind = ("" if i == j else "-"), 0.0, "a"
            else:
                text, depth, kind = _cell(value), min(1.0, abs(value)), "b" if signed and value < 0 else "a"
            x = left + side * j
            parts.append(f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{side - 2:.1f}" height="{side - 2:.1f}" '
                         f'class="cell {kind}" style="fill-opacity:{0.06 + 0.6 * depth:.2f}"/>')  # fmt: skip
            if text:
                parts.append(
                    _t(x + side / 2, y + side / 2 + 4, text, anchor="middle", kind="small" if side < 34 else "")
                )
    return _svg(top + side * len(shown) + 6, title, parts)


def _cell(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value < -0.005 else text
