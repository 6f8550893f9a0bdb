"""Where the agents of a topology stand in a picture: in layers, around a hub, by springs or on a circle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from agora.text.topology import Topology

Point = tuple[float, float]
Where = Literal["out", "beside", "free"]  # names on the outer side of a circle, beside their agents, wherever is room
LOOKED_INTO = 100_000  # edges up to which a shape is looked for
SPRINGS = 500  # agents up to which springs are tried; networkx needs scipy for more


def place(topology: Topology, gap: float, line: float) -> tuple[list[Point], Where]:
    """Where the agents stand, in pixels, in their order; and where their names belong.

    Args:
        topology: the graph.
        gap: pixels that an agent and its name take in a row.
        line: pixels from one agent to the next where names stand one under the other.
    """
    n = len(topology.agents)
    if topology.edge_count > LOOKED_INTO:
        return _circle(n, line), "out"
    order = {agent: i for i, agent in enumerate(topology.agents)}
    reads = [[order[u] for u in topology.reads(v)] for v in topology.agents]
    links: list[set[int]] = [set(read) for read in reads]
    for v, read in enumerate(reads):
        for u in read:
            links[u].add(v)
    degrees = sum(map(len, links))
    if n < 3 or not degrees:
        return (_row(n, gap), "beside") if 0 < n < 3 else (_circle(n, line), "out")
    read_by = [set(read) for read in reads]
    mutual = all(v in read_by[u] for v, read in enumerate(reads) for u in read)
    if mutual and degrees == 2 * (n - 1) and (rings := _rings(links)) is not None:
        if len(rings) > 2 and max(map(len, rings)) <= 8:
            return _rows(rings, links, gap, 84), "beside"
        if n > 3:
            return _radial(rings, links, line), "out" if len(rings) == 2 else "free"
    if mutual and n > 4 and (sides := _sides(links)) is not None:
        if max(map(len, sides)) <= 10:
            return _rows(sides, links, gap, 150), "beside"
        return [(y, x) for x, y in _rows(sides, links, line, 260)], "out"
    layers = [] if mutual else _layers(reads)
    widest = max(map(len, layers), default=0)
    # one under the other, with many lines past each: a circle shows more
    crowded = widest == 1 and degrees > 5 * n
    if 1 < len(layers) <= 30 and n <= SPRINGS and not crowded:
        if widest <= 8:
            return _rows(layers, links, gap, 84), "beside"
        return [(y, x) for x, y in _rows(layers, links, line, max(150.0, gap, 0.3 * line * widest))], "free"
    sparse = degrees <= (3.5 if n <= 12 else 6.5) * n and max(map(len, links)) > 2
    if 7 < n < SPRINGS and sparse:
        return _springs(links, max(line * 3.2, 34) if n > 12 else 74), "free"
    return _circle(n, line), "out"


def _row(n: int, gap: float) -> list[Point]:
    return [(i * (gap + 60), 0.0) for i in range(n)]


def _circle(n: int, line: float) -> list[Point]:
    """The first on top, the others clockwise."""
    radius = max(100.0, n * line / (2 * math.pi)) if n > 1 else 0.0
    turns = [2 * math.pi * i / n - math.pi / 2 for i in range(n)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]


def _rings(links: Sequence[set[int]]) -> list[list[int]] | None:
    """The agents of a tree by their distance from its middle; None where it is in parts."""
    n = len(links)
    left, degree = set(range(n)), [len(link) for link in links]
    leaves = [i for i in left if degree[i] <= 1]
    while len(left) > 2:
        left.difference_update(leaves)
        inner = {u for leaf in leaves for u in links[leaf] if u in left}
        for u in inner:
            degree[u] = len(links[u] & left)
        leaves = [u for u in inner if degree[u] <= 1]
    rings, seen = [[min(left)]], {min(left)}
    while rings[-1]:
        nearer = list(dict.fromkeys(u for v in rings[-1] for u in sorted(links[v]) if u not in seen))
        seen.update(nearer)
        rings.append(nearer)
    return rings[:-1] if len(seen) == n else None


def _radial(rings: Sequence[Sequence[int]], links: Sequence[set[int]], line: float) -> list[Point]:
    """A tree around its middle, each branch in a wedge as wide as it has leaves."""
    depth = {v: d for d, ring in enumerate(rings) for v in ring}
    leaves: dict[int, int] = {}
    for ring in reversed(rings):
        for v in ring:
            leaves[v] = sum(leaves[u] for u in links[v] if depth[u] > depth[v]) or 1
    middle = rings[0][0]
    step = max(
        118.0 if len(rings) == 2 else 76.0, leaves[middle] * line * 1.15 / (2 * math.pi) / max(1, len(rings) - 1)
    )
    begin, places = {middle: 0.0}, {middle: (0.0, 0.0)}
    for ring in rings:
        for v in ring:
            at = begin[v]
            for u in sorted(u for u in links[v] if depth[u] > depth[v]):
                begin[u] = at
                turn = 2 * math.pi * (at + leaves[u] / 2) / leaves[middle] - math.pi / 2
                radius = step * depth[u]
                places[u] = (radius * math.cos(turn), radius * math.sin(turn))
                at += leaves[u]
    return [places[i] for i in range(len(links))]


def _sides(links: Sequence[set[int]]) -> list[list[int]] | None:
    """The two sides of a graph in which everybody is linked with all of the other side."""
    other = links[0]
    one = {i for i in range(len(links)) if i not in other}
    if min(len(one), len(other)) < 2:
        return None
    full = all(links[i] == (other if i in one else one) for i in range(len(links)))
    return [sorted(one), sorted(other)] if full else None


def _layers(reads: Sequence[Sequence[int]]) -> list[list[int]]:
    """Agents by how far what they read has come; who read each other in small circles stand in one layer. None where
    there are larger circles."""
    import networkx as nx

    graph: Any = nx.DiGraph()
    graph.add_nodes_from(range(len(reads)))
    graph.add_edges_from((u, v) for v, read in enumerate(reads) for u in read)
    whole: Any = nx.condensation(graph)
    members = [sorted(whole.nodes[c]["members"]) for c in whole.nodes]
    if max(map(len, members)) > 4:
        return []
    return [sorted(v for c in layer for v in members[c]) for layer in nx.topological_generations(whole)]


def _rows(rows: Sequence[Sequence[int]], links: Sequence[set[int]], across: float, down: float) -> list[Point]:
    """One row under the other, each in an order that crosses few lines: everybody near those it is linked with."""
    order = [list(row) for row in rows]
    where = {v: (i + 0.5) / len(row) for row in order for i, v in enumerate(row)}
    level = {v: d for d, row in enumerate(order) for v in row}

    def middle(v: int, ahead: bool) -> float:
        near = [where[u] for u in links[v] if (level[u] > level[v]) == ahead and level[u] != level[v]]
        return sum(near) / len(near) if near else where[v]

    for ahead in (False, True, False, True, False):
        for row in reversed(order) if ahead else order:
            row.sort(key=lambda v: (round(middle(v, ahead), 9), v))
            where.update({v: (i + 0.5) / len(row) for i, v in enumerate(row)})
    width = across * max(map(len, order))
    return [(width * where[v], down * level[v]) for v in range(len(links))]


def _springs(links: Sequence[set[int]], edge: float) -> list[Point]:
    """Linked agents pull, all push. Parts that are not linked stand beside each other, the largest first."""
    import networkx as nx

    graph: Any = nx.Graph()
    graph.add_nodes_from(range(len(links)))
    graph.add_edges_from((v, u) for v, link in enumerate(links) for u in link)
    places: dict[int, Point] = {}
    x = y = high = 0.0
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
    limit = 0.0
    for part in parts:
        spots = _spring(graph.subgraph(sorted(part)), edge)
        left, top = min(p[0] for p in spots.values()), min(p[1] for p in spots.values())
        wide = max(p[0] for p in spots.values()) - left
        tall = max(p[1] for p in spots.values()) - top
        limit = limit or max(wide, edge * 1.6 * math.sqrt(len(links)))
        if x and x + wide > limit:
            x, y, high = 0.0, y + high + 1.4 * edge, 0.0
        places.update({v: (x + p[0] - left, y + p[1] - top) for v, p in spots.items()})
        x, high = x + wide + 1.6 * edge, max(high, tall)
    return [places[i] for i in range(len(links))]


def _spring(graph: Any, edge: float) -> dict[int, Point]:
    import networkx as nx

    nodes = list(graph)
    if len(nodes) == 1:
        return {nodes[0]: (0.0, 0.0)}
    start = nx.circular_layout(graph)
    spots = nx.spring_layout(graph, pos=start, k=1.6 / math.sqrt(len(nodes)), iterations=300, seed=7)
    lengths = [math.dist(spots[u], spots[v]) for u, v in graph.edges]
    # lines long enough to see, and room enough for names
    room = edge * math.sqrt(len(nodes)) / max(max(p) - min(p) for p in zip(*spots.values(), strict=True))
    scale = max(edge * 1.3 * len(lengths) / sum(lengths), 1.6 * room)
    return {v: (float(p[0]) * scale, float(p[1]) * scale) for v, p in spots.items()}
