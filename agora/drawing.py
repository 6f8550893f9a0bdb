"""Pictures of topologies: SVG by our own code, a page, a PNG through an extra, text. Everything is escaped."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from agora.errors import MissingError
from agora.layout import Point, place
from agora.lettering import clean as _clean
from agora.lettering import columns as _columns
from agora.lettering import cut as _cut
from agora.lettering import escaped as _text
from agora.lettering import padded as _padded
from agora.lettering import width as _width

if TYPE_CHECKING:
    from agora.text.topology import Topology

# distinguishable without colour vision, on light and on dark
PALETTE = ("#4477AA", "#CC6677", "#228833", "#B8860B", "#66AACC", "#AA3377", "#777777", "#997700")
_DASHES = {"full": "", "answer": "6 4", "summary": "2 3", "claims": "9 3 2 3"}
_MORE_DASHES = ("12 4", "4 2 1 2", "1 5", "14 3 3 3")
_SAYS = {"full": "full text", "answer": "answer only", "summary": "summary", "claims": "claims"}
_SHOWN_EDGES, _TITLED_EDGES, _ARROWS = 20_000, 1_500, 1_200
Theme = Literal["inherit", "auto", "light"]
_Label = tuple[int, float, float, str, float]  # agent, x, y, anchor, turn


def topology_svg(
    topology: Topology,
    size: int | None = None,
    *,
    families: Mapping[str, str] | None = None,
    views: Mapping[tuple[str, str], str] | str | None = None,
    theme: Theme = "inherit",
) -> str:
    """A topology as one SVG: in layers, around a hub, by springs or on a circle, whichever shows most; arrows from who
    is read to who reads, one line with two heads where both read each other.

    Args:
        topology: the graph.
        size: its width in pixels; default: as much as it needs.
        families: agent -> model family, shown by colour, with a legend.
        views: what is seen along each edge, shown by dashes: 'full', 'answer', ...; or one for all that say nothing
            themselves.
        theme: 'inherit' takes the colours of the page it stands in; 'auto' is for a file, light or dark as the reader
            prefers; 'light' has no style sheet, for programs that know none.
    """
    return _Picture(topology, families or {}, views).svg(size, theme)


def topology_html(topology: Topology, title: str, svg: str, models: Mapping[str, str] | None = None) -> str:
    """A page: the picture, its figures, and who reads whom.

    Args:
        topology: the graph.
        title: of the page.
        svg: the picture, as `topology_svg` draws it.
        models: agent -> the name of its model.
    """
    figures = topology.figures()
    shown = {
        "agents": figures["agents"],
        "edges": figures["edges"],
        "density": f"{figures['density']:.1%}",
        "reads on average": f"{figures['mean_reads']:.1f}",
        "diameter": figures["diameter"] if figures["diameter"] is not None else "none",
        "isolated": ", ".join(figures["isolated"][:20]),
    }
    note = f"<p>Note: {figures['changes']}.</p>" if figures["changes"] else ""
    facts = "".join(f"<dt>{k}</dt><dd>{_text(str(v))}</dd>" for k, v in shown.items() if v != "")
    rows = "".join(
        f"<tr><th>{_text(agent)}</th><td>{_text((models or {}).get(agent, ''))}</td>"
        f"<td>{_text(_listed(topology, agent, 600))}</td></tr>"
        for agent in topology.agents[:200]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>:root{{color-scheme:light dark}}"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:1.5rem auto;padding:0 1rem}"
        "h1{font-size:1.3rem}svg{display:block;margin:0 auto}dl{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}"
        "dt{opacity:.65}dd{margin:0 0 0 -.8rem}table{border-collapse:collapse}"
        "th,td{text-align:left;padding:.15rem .9rem .15rem 0;vertical-align:top;overflow-wrap:anywhere}"
        "td{opacity:.85}</style></head><body>"
        f"<h1>{_text(title)}: {_text(topology.name)}</h1>{svg}<dl>{facts}</dl>{note}"
        f"<table><tr><th>agent</th><th>model</th><th>reads</th></tr>{rows}</table></body></html>\n"
    )


def plane_svg(
    singles: Mapping[str, tuple[float, float]],
    router: Sequence[tuple[float, float]],
    random: Sequence[tuple[float, float]],
    oracle: Sequence[tuple[float, float]],
) -> str:
    """Quality over cost: single models as points; a router, random mixes and an oracle as hulls.

    Args:
        singles: model -> (cost in USD, quality).
        router: corners of its hull.
        random: of random mixes.
        oracle: of the oracle.
    """
    points = [*singles.values(), *router, *random, *oracle]
    most = max(cost for cost, _ in points) or 1.0
    low, high = min(q for _, q in points), max(q for _, q in points)
    low, high = low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
    wide, tall, left, top = 640, 400, 60, 20

    def at(point: tuple[float, float]) -> tuple[float, float]:
        cost, quality = point
        return left + cost / (1.05 * most) * wide, top + (high - quality) / (high - low) * tall

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 180} {top + tall + 50}" role="img" '
        'aria-label="Quality over cost" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13" '
        'style="max-width:100%;height:auto;background:#fff;color:#1b1f24">'
        '<rect width="100%" height="100%" fill="#fff"/>'
    ]
    for i in range(6):
        quality, cost = low + i * (high - low) / 5, i * 1.05 * most / 5
        x, y = at((cost, quality))
        lines.append(f'<path d="M{left} {y:.1f}H{left + wide}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{quality:.2f}</text>')
        lines.append(f'<text x="{x:.1f}" y="{top + tall + 20}" text-anchor="middle">{cost:.3g}</text>')
    lines.append(f'<text x="{left + wide / 2}" y="{top + tall + 42}" text-anchor="middle">USD an answer</text>')
    shown = (
        (oracle, PALETTE[2], "oracle", "2 3"),
        (router, PALETTE[0], "router", ""),
        (random, PALETTE[6], "mix", "6 4"),
    )
    for corners, colour, _, dash in shown:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, corners))
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        x, y = at(corners[-1])
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
    for i, (_, colour, name, dash) in enumerate(shown):
        y = top + 14 + 20 * i
        lines.append(f'<path d="M{left + wide + 14} {y - 4}h26" stroke="{colour}" stroke-width="2" '
                     f'stroke-dasharray="{dash}"/><text x="{left + wide + 46}" y="{y}">{name}</text>')  # fmt: skip
    for name, point in singles.items():
        x, y = at(point)
        right = x > left + 0.7 * wide
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{PALETTE[1]}"/>')
        lines.append(f'<text x="{x - 8 if right else x + 8:.1f}" y="{y + 16:.1f}" '
                     f'text-anchor="{"end" if right else "start"}">{_text(_cut(_clean(name), 32))}</text>')  # fmt: skip
    return "\n".join([*lines, "</svg>"])


def curve_svg(
    scores: Sequence[float | None],
    best: Sequence[float | None],
    beside: Mapping[str, float],
    *,
    along: str = "evaluations",
    first: int = 1,
    bands: Sequence[tuple[float, float]] = (),
) -> str:
    """A score over evaluations: each as a point, the best so far as a line, and what it is compared with across.

    Args:
        scores: of each evaluation; None where there is none.
        best: so far, after each.
        beside: name -> score.
        along: what the scores are of: evaluations, rounds, ...
        first: the number of the first of them.
        bands: of each, the interval that its score lies in.
    """
    known = [score for score in (*scores, *best, *beside.values()) if score is not None]
    known += [end for band in bands for end in band]
    low, high = min(known, default=0.0), max(known, default=1.0)
    low, high = low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
    wide, tall, left, top = 640, 360, 64, 20
    most = max(1, len(scores) + first - 1)

    def at(i: float, score: float) -> tuple[float, float]:
        return left + i / most * wide, top + (high - score) / (high - low) * tall

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 190} {top + tall + 50}" role="img" '
        f'aria-label="Score over {_text(along)}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13" '
        'style="max-width:100%;height:auto;background:#fff;color:#1b1f24">'
        '<rect width="100%" height="100%" fill="#fff"/>'
    ]
    for i in range(6):
        score, count = low + i * (high - low) / 5, i * most / 5
        x, y = at(count, score)
        lines.append(f'<path d="M{left} {y:.1f}H{left + wide}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{score:.3g}</text>')
        lines.append(
            f'<text x="{x:.1f}" y="{top + tall + 20}" text-anchor="middle">{count:.0f}</text>' * (i == 0 or most >= 5)
        )
    if most < 5:  # so few have a number each
        for i in range(1, most + 1):
            lines.append(f'<text x="{at(i, 0)[0]:.1f}" y="{top + tall + 20}" text-anchor="middle">{i}</text>')
    middle = left + wide / 2
    lines.append(f'<text x="{middle}" y="{top + tall + 42}" text-anchor="middle">{_text(along)}</text>')
    taken: list[float] = []  # of labels, which must not lie on each other
    for n, (name, score) in enumerate(sorted(beside.items(), key=lambda pair: -pair[1])):
        _, y = at(0, score)
        label = y + 4 if not taken else max(y + 4, taken[-1] + 16)
        taken.append(label)
        colour = PALETTE[1 + n % (len(PALETTE) - 1)]
        lines.append(f'<path d="M{left} {y:.1f}H{left + wide}" stroke="{colour}" stroke-dasharray="6 4"/>')
        lines.append(f'<text x="{left + wide + 8}" y="{label:.1f}" fill="{colour}">{_text(_cut(_clean(name), 26))} '
                     f'{score:.3g}</text>')  # fmt: skip
    for i, (least, greatest) in enumerate(bands, first):
        (x, y), (_, end) = at(i, least), at(i, greatest)
        lines.append(f'<path d="M{x:.1f} {y:.1f}V{end:.1f}" stroke="{PALETTE[0]}" stroke-width="5" opacity="0.25"/>')
    for i, one in enumerate(scores, first):
        if one is not None:
            x, y = at(i, one)
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{PALETTE[0]}" opacity="0.45"/>')
    steps = [at(i, one) for i, one in enumerate(best, first) if one is not None]
    if steps:
        path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in steps[1:])
        lines.append(f'<path d="{path}" fill="none" stroke="{PALETTE[0]}" stroke-width="2"/>')
    return "\n".join([*lines, "</svg>"])


def png(svg: str) -> bytes:
    """A picture as PNG, twice as fine as its SVG.

    Args:
        svg: of the theme 'light'.

    Raises:
        MissingError: if nothing here can draw it.
    """
    try:
        resvg: Any = importlib.import_module("resvg_py")  # untyped, and absent from a base install
    except ImportError:
        raise MissingError(
            "a .png is drawn by resvg-py, which is not installed.",
            hint="Install it with: pip install 'agora-debate[draw]'; or write a .svg.",
        ) from None
    return bytes(resvg.svg_to_bytes(svg_string=svg, background="#ffffff", zoom=2))


def topology_text(topology: Topology, families: Mapping[str, str] | None = None, width: int = 100) -> str:
    """A topology as text: a matrix of blocks where up to 40 agents read many, else who reads whom in rows.

    Args:
        topology: the graph.
        families: agent -> model family.
        width: characters a line may have.
    """
    agents = topology.agents
    shown, count = agents[:200], topology.edge_count
    names = {agent: _clean(agent) for agent in shown}
    wide = min(24, max((_columns(name) for name in names.values()), default=0))
    names = {agent: _padded(name, wide) for agent, name in names.items()}
    kinds = {agent: _cut(_clean((families or {}).get(agent, "")), 12) for agent in shown}
    kind_wide = max((len(kind) for kind in kinds.values()), default=0)
    if len(agents) <= 40 and count > 4 * len(agents):
        lines = ["a row reads the columns that are filled", ""]
        digits = len(str(len(agents)))
        for place_ in range(digits):
            marks = "".join(f"{str(i).rjust(digits)[place_]:>2}" for i in range(1, len(agents) + 1))
            lines.append(f"{'':{digits + wide + 2}}{marks}")
        for i, agent in enumerate(agents, 1):
            read = set(topology.reads(agent))
            blocks = "".join(" ■" if u in read else " ╲" if u == agent else " ·" for u in agents)
            lines.append(f"{i:>{digits}} {names[agent]} {blocks}  {kinds[agent]}".rstrip())
        return "\n".join(lines)
    lines = []
    for agent in shown:
        head = f"{names[agent]}  {kinds[agent]:{kind_wide}}{'  ' if kind_wide else ''}reads "
        lines.append(head + _listed(topology, agent, max(20, width - _columns(head))))
    if len(agents) > len(shown):
        lines.append(f"... and {len(agents) - len(shown):,} more")
    return "\n".join(lines)


def _listed(topology: Topology, agent: str, width: int) -> str:
    """Whom an agent reads, as many as fit."""
    reads = topology.reads(agent)
    if not reads:
        return "nobody"
    said: list[str] = []
    for i, u in enumerate(reads):
        part = _cut(_clean(u), 24) + _marks(topology.attributes(u, agent), " (", ")")
        rest = f" and {len(reads) - i} more" if said else ""
        if said and _columns(", ".join([*said, part])) + len(rest) > width:
            return ", ".join(said) + rest
        said.append(part)
    return ", ".join(said)


# ---- the picture ------------------------------------------------------------------------------------------------


@dataclass
class _Edge:
    """A line: from who is read to who reads, or both ways."""

    u: int
    v: int
    both: bool
    view: str
    mark: str
    title: str
    bend: float = 0.0


@dataclass
class _Box:
    """Where there is no room for a name."""

    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def free(self, box: tuple[float, float, float, float]) -> bool:
        x1, y1, x2, y2 = box
        return all(x2 <= a or c <= x1 or y2 <= b or d <= y1 for a, b, c, d in self.taken)


class _Picture:
    def __init__(
        self, topology: Topology, families: Mapping[str, str], views: Mapping[tuple[str, str], str] | str | None
    ) -> None:
        self.topology, self.families, self.views = topology, families, views
        agents, n = topology.agents, len(topology.agents)
        self.r = 11.0 if n <= 12 else 8.0 if n <= 40 else 5.5 if n <= 150 else 3.0
        self.font = 13 if n <= 12 else 12 if n <= 40 else 10
        limit = 18 if n <= 24 else 14
        self.names = [_cut(_clean(agent), limit) for agent in agents]
        longest = max((_width(name, self.font) for name in self.names), default=0.0)
        line = max(2 * self.r + 3, self.font + 4.0) if n <= 150 else 2 * self.r + 1
        self.spots, self.where = place(
            topology, min(longest, 92) + 2 * self.r + 26, line if n > 12 else 66 if n > 7 else 50
        )
        self.kinds = list(dict.fromkeys(families[agent] for agent in agents if agent in families))
        self.edges, self.count = self._edges()

    def _edges(self) -> tuple[list[_Edge], int]:
        topology = self.topology
        agents, count = topology.agents, topology.edge_count
        order = {agent: i for i, agent in enumerate(agents)}
        every = math.ceil(count / _SHOWN_EDGES) or 1
        pairs = (pair for v in agents for pair in ((u, v) for u in topology.reads(v)))
        reads = {v: set(topology.reads(v)) for v in agents} if every == 1 else {}
        edges: list[_Edge] = []
        for u, v in islice(pairs, 0, None, every):
            looks, back = self._looks(u, v), u in reads and v in reads[u]
            same = back and looks == self._looks(v, u)
            if same and order[u] > order[v]:
                continue
            said = f"{u} and {v} read each other" if same else f"{v} reads {u}"
            title = ", ".join(filter(None, (said, _SAYS.get(looks[0], looks[0]), looks[1])))
            # two lines between the same two lie beside each other
            edges.append(_Edge(order[u], order[v], same, *looks, title, 0.14 if back and not same else 0.0))
        return edges, count

    def _looks(self, u: str, v: str) -> tuple[str, str]:
        """The view of an edge, and its delay and probability."""
        given = self.topology.attributes(u, v)
        return self._view(u, v, given), _marks(given)

    def _view(self, u: str, v: str, given: Mapping[str, Any]) -> str:
        if isinstance(self.views, Mapping) and (u, v) in self.views:
            return self.views[u, v]
        view = given.get("view")
        if isinstance(view, str):
            return view
        if isinstance(view, Mapping):
            rest = ", ".join(f"{key}: {value}" for key, value in view.items() if key != "text")
            return ", ".join(filter(None, (str(view.get("text", "")), rest)))
        return self.views if isinstance(self.views, str) else ""

    # ---- lines ----

    def _curve(self, edge: _Edge) -> tuple[Point, Point, Point]:
        """Begin, control point and end of a line, from the rim of one circle to that of the other."""
        (x1, y1), (x2, y2) = self.spots[edge.u], self.spots[edge.v]
        cx = (x1 + x2) / 2 - (y2 - y1) * edge.bend
        cy = (y1 + y2) / 2 + (x2 - x1) * edge.bend
        return _towards((x1, y1), (cx, cy), self.r + 2), (cx, cy), _towards((x2, y2), (cx, cy), self.r + 2)

    def _bend(self) -> None:
        """Lines that would run through an agent go around it."""
        if self.where == "out" or len(self.edges) * len(self.spots) > 150_000:
            return
        for edge in self.edges:
            tries = (0.0, 0.14, -0.14, 0.24, -0.24, 0.38, -0.38) if not edge.bend else (edge.bend, 0.26, 0.4)
            edge.bend = next((bend for bend in tries if self._passes(edge, bend)), tries[1])

    def _passes(self, edge: _Edge, bend: float) -> bool:
        edge.bend = bend
        points = _points(self._curve(edge), 14)
        xs, ys = [x for x, _ in points], [y for _, y in points]
        near = self.r + 3
        for i, (x, y) in enumerate(self.spots):
            if i in (edge.u, edge.v) or not min(xs) - near < x < max(xs) + near:
                continue
            if min(ys) - near < y < max(ys) + near and any(math.hypot(x - a, y - b) < near for a, b in points):
                return False
        return True

    # ---- names ----

    def _labels(self) -> list[_Label]:
        """(agent, x, y, anchor, turn) of each name that has room."""
        n = len(self.spots)
        if n > 150:
            return []
        if self.where == "out":
            return [self._outside(i) for i in range(n)]
        room = self._room()
        return [label for i in range(n) if (label := self._beside(i, *room)) is not None]

    def _room(self) -> tuple[_Box, list[Point]]:
        """Where agents stand already, and points on the lines."""
        r = self.r
        box = _Box([(x - r, y - r, x + r, y + r) for x, y in self.spots])
        if len(self.edges) > 500:
            return box, []
        curves = [self._curve(edge) for edge in self.edges]
        step = 7 if len(curves) <= 150 else 20
        return box, [p for c in curves for p in _points(c, 4 + min(80, int(math.dist(c[0], c[2]) / step)))]

    def _beside(self, i: int, box: _Box, on_lines: Sequence[Point]) -> _Label | None:
        """A name next to its agent, where it covers no other and few lines; none where there is no room."""
        (x, y), r, half = self.spots[i], self.r, self.font * 0.36
        wide = _width(self.names[i], self.font)
        sides = [
            (x + r + 4, y + half, "start"), (x - r - 4, y + half, "end"),
            (x, y - r - 5, "middle"), (x, y + r + self.font, "middle"),
            (x + r + 1, y - r + 1, "start"), (x + r + 1, y + r + half + 3, "start"),
            (x - r - 1, y - r + 1, "end"), (x - r - 1, y + r + half + 3, "end"),
        ]  # fmt: skip
        found: list[tuple[float, int, tuple[float, float, float, float]]] = []
        for rank, (lx, ly, anchor) in enumerate(sides):
            spot = _bounds(lx, ly, anchor, wide, self.font)
            if box.free(spot):
                crossed = sum(spot[0] < a < spot[2] and spot[1] < b < spot[3] for a, b in on_lines)
                found.append((crossed + rank * (0.6 if self.where == "free" else 0.2), rank, spot))
        if not found:
            return None
        _, rank, spot = min(found)
        box.taken.append(spot)
        return (i, *sides[rank], 0.0)

    def _outside(self, i: int) -> _Label:
        """A name on the outer side of a circle, where no line runs; along the radius where there are many."""
        x, y = self.spots[i]
        middle = (sum(a for a, _ in self.spots) / len(self.spots), sum(b for _, b in self.spots) / len(self.spots))
        dx, dy = x - middle[0], y - middle[1]
        away, r = math.hypot(dx, dy), self.r
        if away < 0.2 * max(abs(a - middle[0]) for a, _ in self.spots):
            return self._beside(i, *self._room()) or (i, x + r + 4, y - r, "start", 0.0)
        if len(self.spots) > 24:
            turn = math.degrees(math.atan2(dy, dx))
            flip = abs(turn) > 90
            ax, ay = x + dx / away * (r + 4), y + dy / away * (r + 4)
            return i, ax, ay, "end" if flip else "start", turn + 180 if flip else turn
        if abs(dx) < 0.25 * away:
            return i, x, y - r - 6 if dy < 0 else y + r + self.font + 1, "middle", 0.0
        side = 1 if dx > 0 else -1
        return i, x + side * (r + 5), y + self.font * 0.36, "start" if side > 0 else "end", 0.0

    # ---- all of it ----

    def svg(self, size: int | None, theme: Theme) -> str:
        self._bend()
        labels = self._labels()
        xs, ys = [x for x, _ in self.spots] or [0.0], [y for _, y in self.spots] or [0.0]
        bounds = [min(xs) - self.r, min(ys) - self.r, max(xs) + self.r, max(ys) + self.r]
        for edge in self.edges if any(edge.bend for edge in self.edges) else ():
            _grow(bounds, _points(self._curve(edge), 8))
        for i, x, y, anchor, turn in labels:
            wide = _width(self.names[i], self.font)
            left = -wide if anchor == "end" else -wide / 2 if anchor == "middle" else 0.0
            cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            corners = [(a, b) for a in (left, left + wide) for b in (-self.font, 4.0)]
            _grow(bounds, [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners])
        wide = max(bounds[2] - bounds[0], 290.0)
        left = (bounds[0] + bounds[2] - wide) / 2
        legend, deep = self._legend(left, bounds[3] + 26, wide)
        view = (left - 12, bounds[1] - 12, wide + 24, bounds[3] - bounds[1] + 24 + deep)
        body = [*self._lines(), *self._circles(), *self._names(labels, theme), *legend]
        uid = "t" + hashlib.sha1("".join(body).encode("utf-8", "replace")).hexdigest()[:10]
        colours = {
            "inherit": 'style="max-width:100%;height:auto;color:inherit"',
            "auto": 'style="max-width:100%;height:auto"',
            "light": 'color="#1b1f24"',
        }[theme]
        sheet = (
            f"<style>#{uid}{{color:#1b1f24;background:#fff;--paper:#fff}}@media(prefers-color-scheme:dark)"
            f"{{#{uid}{{color:#e6e8eb;background:#16191d;--paper:#16191d}}}}</style>"
            if theme == "auto"
            else ""
        )
        shown = size if size is not None else min(view[2], 1600)
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" id="{uid}" viewBox="{" ".join(f"{v:.1f}" for v in view)}" '
                f'width="{shown:.0f}" height="{shown * view[3] / view[2]:.0f}" role="img" '
                f'aria-label="{_text(repr(self.topology))}" font-family="system-ui, Helvetica, Arial, sans-serif" '
                f'font-size="{self.font}" {colours}>{sheet}',
                *body,
                "</svg>",
            )
        )

    def _lines(self) -> list[str]:
        many = len(self.edges)
        faint = max(0.16, min(0.7, 9 / math.sqrt(many + 1)))
        thick = 1.4 if many <= 60 else 1.1 if many <= 300 else 0.6
        arrows = many <= _ARROWS and len(self.spots) <= 150
        out: list[str] = []
        merged: dict[str, list[str]] = {}
        for edge in self.edges:
            begin, control, end = self._curve(edge)
            head = min(8.0, self.r * 0.9, math.dist(begin, end) / 2.5)
            heads = ""
            if arrows:
                heads = _head(end, control, head)
                end = _towards(end, control, head * 0.8)
                if edge.both:
                    heads += _head(begin, control, head)
                    begin = _towards(begin, control, head * 0.8)
            line = f"M{begin[0]:.1f} {begin[1]:.1f}" + (
                f"Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
                if edge.bend
                else f"L{end[0]:.1f} {end[1]:.1f}"
            )
            dash = self._dash(edge.view)
            style = f' stroke-dasharray="{dash}"' if dash else ""
            if many > _TITLED_EDGES:
                merged.setdefault(style, []).append(line)
                continue
            tip = f'<path d="{heads}" fill="currentColor" stroke="none"/>' if heads else ""
            out.append(f'<g><path d="{line}" fill="none"{style}/>{tip}<title>{_text(edge.title)}</title></g>')
        out += [f'<path d="{"".join(lines)}" fill="none"{style}/>' for style, lines in merged.items()]
        group = f'<g stroke="currentColor" stroke-width="{thick}" opacity="{faint:.2f}">' if out else "<g>"
        return [group, *out, "</g>"]

    def _edge_marks(self, labels: Sequence[_Label], rim: str) -> list[str]:
        """Delay and probability beside their lines, where there is room."""
        marked = [edge for edge in self.edges if edge.mark]
        if self.alike or len(marked) > 80:
            return []
        box, _ = self._room()
        box.taken += [
            _bounds(x, y, anchor, _width(self.names[i], self.font), self.font) for i, x, y, anchor, _ in labels
        ]
        out = [f'<g font-size="10" fill="currentColor" {rim}>']
        for edge in marked:
            wide = _width(edge.mark, 10)
            points = _points(self._curve(edge), 10)
            tries = [(points[k], side) for k in (5, 4, 6, 3, 7) for side in ("start", "end", "middle")]
            spots = [
                (x + {"start": 5, "end": -5, "middle": 0}[side], y + (-5 if side == "middle" else 3.5), side)
                for (x, y), side in tries
            ]
            spot = next((spot for spot in spots if box.free(_bounds(*spot, wide, 10))), spots[0])
            box.taken.append(_bounds(*spot, wide, 10))
            out.append(f'<text x="{spot[0]:.1f}" y="{spot[1]:.1f}" text-anchor="{spot[2]}">{_text(edge.mark)}</text>')
        return [*out, "</g>"]

    @property
    def alike(self) -> bool:
        """Whether all edges carry the same mark, which the legend then says once."""
        return len({edge.mark for edge in self.edges}) == 1

    def _dash(self, view: str) -> str:
        word = view.partition(",")[0]
        if view in ("", "full") or word in _DASHES:
            return _DASHES.get(word, "") if view == word else _MORE_DASHES[0]
        others = list(dict.fromkeys(e.view for e in self.edges if e.view not in _DASHES and e.view))
        return _MORE_DASHES[others.index(view) % len(_MORE_DASHES)] if view in others else ""

    def _circles(self) -> list[str]:
        out = []
        for i, agent in enumerate(self.topology.agents):
            (x, y), family = self.spots[i], self.families.get(agent)
            title = agent if family is None else f"{agent} ({family})"
            out.append(f"<g>{self._shape(family, x, y, self.r)}<title>{_text(title)}</title></g>")
        return out

    def _shape(self, family: str | None, x: float, y: float, r: float) -> str:
        """A circle; a square, a diamond, a triangle where the colours have all been used."""
        at = self.kinds.index(family) if family in self.kinds else 0
        fill = f'fill="{PALETTE[at % len(PALETTE)]}"'
        s = r * 0.9
        points: tuple[Point, ...]
        match at // len(PALETTE) % 4:
            case 0:
                return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" {fill}/>'
            case 1:
                return f'<rect x="{x - s:.1f}" y="{y - s:.1f}" width="{2 * s:.1f}" height="{2 * s:.1f}" {fill}/>'
            case 2:
                points = ((x, y - r * 1.15), (x + r * 1.15, y), (x, y + r * 1.15), (x - r * 1.15, y))
            case _:
                points = ((x, y - r * 1.1), (x + r * 1.1, y + r * 0.9), (x - r * 1.1, y + r * 0.9))
        return f'<path d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in points)}z" {fill}/>'

    def _names(self, labels: Sequence[_Label], theme: Theme) -> list[str]:
        # a rim of the paper's colour keeps names readable where lines run under them
        paper = {
            "inherit": "var(--jp-layout-color0, var(--vscode-editor-background, transparent))",
            "auto": "var(--paper)",
            "light": "#ffffff",
        }[theme]
        rim = f'style="paint-order:stroke;stroke:{paper};stroke-width:3px;stroke-linejoin:round"'
        out = [f'<g fill="currentColor" {rim}>']
        for i, x, y, anchor, turn in labels:
            agent = self.topology.agents[i]
            spot = f'x="{x:.1f}" y="{y:.1f}"'
            if turn or (len(self.spots) > 24 and self.where == "out"):
                spot = f'transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})" y="{self.font * 0.36:.1f}"'
            tip = f"<title>{_text(agent)}</title>" if self.names[i] != agent else ""
            out.append(f'<text {spot} text-anchor="{anchor}">{_text(self.names[i])}{tip}</text>')
        return [*out, "</g>", *self._edge_marks(labels, rim)]

    def _legend(self, left: float, top: float, wide: float) -> tuple[list[str], float]:
        """What colours and dashes mean, and what the picture shows; and how high that is."""
        out: list[str] = ['<g font-size="12" fill="currentColor">']
        x, y = left, top

        def put(drawn: str, width: float, text: str) -> None:
            nonlocal x, y
            text = _cut(_clean(text), 70)
            need = width + 6 + 0.95 * _width(text, 12) + 12
            if x > left and x + need > left + wide:
                x, y = left, y + 20
            out.append(f'<g transform="translate({x:.1f} {y:.1f})">{drawn}'
                       f'<text x="{width + 6:.0f}" y="0">{_text(text)}</text></g>')  # fmt: skip
            x += need

        for kind in self.kinds[:24]:
            put(self._shape(kind, 6, -4, 6), 12, kind)
        used = list(dict.fromkeys(edge.view for edge in self.edges))
        for view in used[:8] if any(view not in ("", "full") for view in used) else ():
            dash = self._dash(view)
            style = f' stroke-dasharray="{dash}"' if dash else ""
            line = f'<path d="M0 -4H34" stroke="currentColor" stroke-width="1.4"{style}/>'
            put(line, 34, _SAYS.get(view, view) or "as the protocol says")
        if x > left:
            x, y = left, y + 20
        everywhere = self.edges[0].mark if self.edges and self.alike else ""
        said = [
            f"{self.topology.name}: {len(self.spots):,} agents, {self.count:,} edges",
            "arrows point from who is read to who reads" if self.count else "",
            f"every edge: {everywhere}" if everywhere else "",
            f"{len(self.edges):,} of the edges are drawn" if self.count > _SHOWN_EDGES else "",
        ]
        for sentence in filter(None, said):
            put("", -6, sentence)
        out.append("</g>")
        return out, y - top + 22


def _marks(given: Mapping[str, Any], before: str = "", after: str = "") -> str:
    """Delay and probability, in short."""
    delay, p = given.get("delay", 0), given.get("probability", 1)
    said = [f"+{delay} round{'s' * (delay != 1)}"] if delay else []
    said += [f"{100 * p:.3g}%"] if p < 1 else []
    return f"{before}{', '.join(said)}{after}" if said else ""


def _points(curve: tuple[Point, Point, Point], parts: int) -> list[Point]:
    (x1, y1), (cx, cy), (x2, y2) = curve
    out = []
    for k in range(parts + 1):
        t = k / parts
        a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        out.append((a * x1 + b * cx + c * x2, a * y1 + b * cy + c * y2))
    return out


def _towards(begin: Point, end: Point, far: float) -> Point:
    length = math.dist(begin, end) or 1.0
    return begin[0] + (end[0] - begin[0]) / length * far, begin[1] + (end[1] - begin[1]) / length * far


def _head(tip: Point, origin: Point, size: float) -> str:
    """An arrowhead at a point, coming from another."""
    back = _towards(tip, origin, size)
    dx, dy = (tip[0] - back[0]) * 0.42, (tip[1] - back[1]) * 0.42
    return f"M{tip[0]:.1f} {tip[1]:.1f}L{back[0] - dy:.1f} {back[1] + dx:.1f}L{back[0] + dy:.1f} {back[1] - dx:.1f}z"


def _bounds(x: float, y: float, anchor: str, wide: float, font: float) -> tuple[float, float, float, float]:
    """The box of a line of text."""
    left = x - (wide if anchor == "end" else wide / 2 if anchor == "middle" else 0)
    return left, y - font + 1, left + wide, y + 2


def _grow(bounds: list[float], points: Sequence[Point]) -> None:
    bounds[0] = min(bounds[0], *(x for x, _ in points))
    bounds[1] = min(bounds[1], *(y for _, y in points))
    bounds[2] = max(bounds[2], *(x for x, _ in points))
    bounds[3] = max(bounds[3], *(y for _, y in points))
