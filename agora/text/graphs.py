"""Builders of communication graphs by name: each takes agents and arguments and gives edges (u, v): v reads u.

No builder looks at names, only at numbers: renaming agents changes nothing. What is drawn is the same for one seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from typing import Any

from agora.errors import TopologyError

Pair = tuple[str, str]
Edges = Iterable[Pair]
MAX_EDGES = 5_000_000  # written out; what `Dense` works out when asked is not


@dataclass(frozen=True, slots=True)
class Dense:
    """Edges given by a rule, so that a graph with millions of them takes no memory. Iterating gives the pairs.

    Attributes:
        agents: the agents.
        reads: whom the agent with a number reads, in the order of the agents.
    """

    agents: tuple[str, ...]
    reads: Callable[[int], tuple[str, ...]]

    def __iter__(self) -> Iterator[Pair]:
        return ((u, v) for i, v in enumerate(self.agents) for u in self.reads(i))


# ---- undirected shapes: who are linked read each other ----------------------------------------------------------


def complete(agents: Sequence[str]) -> Edges:
    """Everybody reads everybody."""
    everybody = tuple(agents)
    return Dense(everybody, lambda i: everybody[:i] + everybody[i + 1 :])


def isolated(agents: Sequence[str]) -> Edges:
    """Nobody reads anybody: independent answers, then a vote."""
    return ()


def ring(agents: Sequence[str]) -> Edges:
    """Everybody reads both neighbours."""
    return _mutual(relay(agents))


def star(agents: Sequence[str], *, hub: str | None = None) -> Edges:
    """The hub (the first agent unless named) reads all and is read by all."""
    return _mutual(star_out(agents, hub=hub))


def double_star(agents: Sequence[str], *, hubs: Sequence[str] | None = None) -> Edges:
    """Two hubs (the first two agents unless named) read each other; the others are linked with one of them each, in
    turn."""
    if hubs is None:
        centres = list(agents[:2])
    else:
        centres = [_agent("double_star", "hubs", hub, agents) for hub in _listed("double_star", "hubs", hubs)]
        if len(set(centres)) != 2 or len(centres) != 2:
            raise TopologyError("double_star: hubs names two different agents.")
    leaves = [a for a in agents if a not in centres]
    return _mutual([*pairwise(centres), *((centres[i % 2], leaf) for i, leaf in enumerate(leaves))])


def tree(agents: Sequence[str], *, branching: int = 2) -> Edges:
    """Parent and children read each other; agents fill the tree level by level."""
    return _mutual(_branches("tree", agents, branching))


def grid(agents: Sequence[str], *, rows: int | None = None, columns: int | None = None, torus: bool = False) -> Edges:
    """Rows and columns, each linked with its neighbours above, below, left and right; as square as possible unless
    given, the last row may be shorter. A torus is linked across its borders too."""
    n = len(agents)
    if rows is not None:
        _whole("grid", "rows", rows, 1)
    if columns is not None:
        _whole("grid", "columns", columns, 1)
    wide = columns if columns is not None else math.ceil(n / (rows if rows is not None else math.isqrt(n)))
    high = math.ceil(n / wide)
    if rows is not None and rows != high:
        raise TopologyError(f"grid: {rows} rows of {wide} do not hold {n} agents without an empty row.")
    _flag("grid", "torus", torus)
    lines = [agents[i : i + wide] for i in range(0, n, wide)]
    lines += [agents[i::wide] for i in range(wide)]
    closing = [(line[-1], line[0]) for line in lines if torus and len(line) > 2]
    return _mutual([*(pair for line in lines for pair in pairwise(line)), *closing])


def groups(agents: Sequence[str], *, size: int = 3, bridges: str | None = "ring") -> Edges:
    """Groups of `size` in which everybody reads everybody. The first of each speaks for it: between groups, the first
    ones are linked in a 'ring', or 'complete', or not at all ('none'), or all with one named agent, the hub, who then
    stands outside the groups."""
    _whole("groups", "size", size, 1)
    hub = None
    if bridges not in ("ring", "complete", "none", None):
        if bridges not in agents:
            raise TopologyError(
                f"groups: bridges is ring, complete, none or the name of an agent, not '{str(bridges)[:60]}'."
            )
        hub = bridges
    members = [a for a in agents if a != hub]
    parts = [members[i : i + size] for i in range(0, len(members), size)]
    first = [part[0] for part in parts]
    between: Edges = ()
    if hub is not None:
        between = _mutual([(hub, a) for a in first])
    elif bridges == "ring":
        between = ring(first)
    elif bridges == "complete":
        between = permutations(first, 2)
    return _chained(*(permutations(part, 2) for part in parts), between)


def bipartite(
    agents: Sequence[str],
    *,
    proposers: int | Sequence[str] | None = None,
    critics: int | Sequence[str] | None = None,
) -> Edges:
    """Two sides, such as proposers and critics: each reads all of the other side and nobody of its own. Sides are
    sizes or names; one given, the rest is the other; default: the first half proposes."""
    if proposers is None and critics is None:
        proposers = math.ceil(len(agents) / 2)
    sides: list[list[str] | None] = []
    for name, side in (("proposers", proposers), ("critics", critics)):
        if isinstance(side, (list, tuple)):
            sides.append([_agent("bipartite", name, a, agents) for a in side])
        elif side is not None:
            size = _whole("bipartite", name, side, 0, len(agents))
            sides.append(list(agents[:size] if name == "proposers" else agents[len(agents) - size :]))
        else:
            sides.append(None)
    left = sides[0] if sides[0] is not None else [a for a in agents if a not in set(sides[1] or ())]
    right = sides[1] if sides[1] is not None else [a for a in agents if a not in set(left)]
    if sorted([*left, *right]) != sorted(agents):
        raise TopologyError(f"bipartite: each of the {len(agents)} agents stands on one side, and on one only.")
    of_left = frozenset(left)
    one, other = (tuple(a for a in agents if (a in of_left) == side) for side in (True, False))
    return Dense(tuple(agents), lambda i: other if agents[i] in of_left else one)


def circulant(agents: Sequence[str], *, offsets: Sequence[int] = (1, 2)) -> Edges:
    """On a ring, everybody is linked with who is `offsets` places away."""
    n = len(agents)
    steps = [_whole("circulant", "offsets", step, 1) for step in _listed("circulant", "offsets", offsets)]
    return _mutual([(agents[i], agents[(i + step) % n]) for step in steps for i in range(n)])


# ---- undirected and drawn ---------------------------------------------------------------------------------------


def k_regular(agents: Sequence[str], *, k: int | None = None, seed: int = 0) -> Edges:
    """Drawn so that everybody is linked with exactly `k` others; default 4, or all where there are fewer."""
    n = len(agents)
    degree = min(4, n - 1) if k is None else _whole("k_regular", "k", k, 0, n - 1)
    if n * degree % 2:
        raise TopologyError(f"k_regular: {n} agents cannot have {degree} links each, as a link has two ends.")
    _seed("k_regular", seed)
    import networkx as nx

    # networkx draws until it fits, which takes long for dense graphs: what is left out of one is sparse
    sparse = min(degree, n - 1 - degree)
    graph = nx.random_regular_graph(sparse, n, seed=seed)
    return _numbered(agents, graph.edges if sparse == degree else nx.complement(graph).edges)


def small_world(agents: Sequence[str], *, k: int | None = None, p: float = 0.1, seed: int = 0) -> Edges:
    """Watts-Strogatz: a ring in which each is linked with its `k` nearest (default 4, or all where there are fewer),
    the far end of each link drawn anew with probability `p`."""
    n = len(agents)
    near = min(4, n - 1) if k is None else _whole("small_world", "k", k, 1, n - 1)
    _chance("small_world", p)
    _seed("small_world", seed)
    if near == n - 1:
        return complete(agents)
    import networkx as nx

    return _numbered(agents, nx.watts_strogatz_graph(n, near, p, seed=seed).edges)


def barabasi_albert(agents: Sequence[str], *, m: int | None = None, seed: int = 0) -> Edges:
    """Barabasi-Albert: one joins after the other and is linked with `m` (default 2) drawn from those there, by how many
    links they have; a few become hubs."""
    n = len(agents)
    links = min(2, n - 1) if m is None else _whole("barabasi_albert", "m", m, 1, n - 1)
    _seed("barabasi_albert", seed)
    if not links:
        return ()
    import networkx as nx

    return _numbered(agents, nx.barabasi_albert_graph(n, links, seed=seed).edges)


def random_graph(agents: Sequence[str], *, p: float = 0.5, seed: int = 0) -> Edges:
    """Erdos-Renyi: each pair is linked with probability `p`."""
    _chance("random_graph", p)
    _few("random_graph", p * len(agents) * (len(agents) - 1))
    draw = random.Random(_seed("random_graph", seed))
    return _numbered(agents, _drawn(len(agents), p, draw))


# ---- directed ---------------------------------------------------------------------------------------------------


def relay(agents: Sequence[str]) -> list[Pair]:
    """A directed ring: everybody reads the one before."""
    return [(agents[i - 1], agents[i]) for i in range(len(agents))] if len(agents) > 1 else []


def chain(agents: Sequence[str], *, reverse: bool = False) -> Edges:
    """Each reads the one before; the first reads nobody."""
    return _turned("chain", pairwise(agents), reverse)


def star_out(agents: Sequence[str], *, hub: str | None = None, reverse: bool = False) -> Edges:
    """All read the hub (the first agent unless named), who reads nobody; reversed, the hub reads all."""
    centre = _agent("star", "hub", hub, agents) if hub is not None else agents[0]
    return _turned("star_out", ((centre, a) for a in agents if a != centre), reverse)


def dag_tree(agents: Sequence[str], *, branching: int = 2, reverse: bool = False) -> Edges:
    """A tree in which children read their parent; reversed, parents read their children."""
    return _turned("dag_tree", _branches("dag_tree", agents, branching), reverse)


def reporting_tree(agents: Sequence[str], *, branching: int = 2) -> Edges:
    """Exchange-of-Thought's 'debate': parents read their children, children of one parent read each other, and nobody
    reads the parent."""
    families: dict[str, list[str]] = {}
    for parent, child in _branches("reporting_tree", agents, branching):
        families.setdefault(parent, []).append(child)
    reports = ((child, parent) for parent, children in families.items() for child in children)
    return _chained(reports, *(permutations(children, 2) for children in families.values()))


def net(agents: Sequence[str], *, reverse: bool = False) -> Edges:
    """The complete graph without cycles: each reads all before it; reversed, all after it."""
    everybody = tuple(agents)
    _flag("net", "reverse", reverse)
    return Dense(everybody, (lambda i: everybody[i + 1 :]) if reverse else (lambda i: everybody[:i]))


def layered(agents: Sequence[str], *, widths: Sequence[int] | None = None, layers: int | None = None) -> Edges:
    """Each layer reads the whole layer before. `widths` adds up to the number of agents; or so many `layers`, of one
    width, what is left over in the first; default: all but the last agent, then the last."""
    n = len(agents)
    if widths is not None and layers is not None:
        raise TopologyError("layered: give widths or layers, not both.")
    if widths is not None:
        sizes = [_whole("layered", "widths", width, 1) for width in _listed("layered", "widths", widths)]
        if sum(sizes) != n:
            raise TopologyError(f"layered: widths {sizes[:20]} add up to {sum(sizes)}, but there are {n} agents.")
    elif layers is not None:
        _whole("layered", "layers", layers, 1, n)
        sizes = [n // layers + n % layers, *[n // layers] * (layers - 1)]
    else:
        sizes = [n - 1, 1] if n > 1 else [n]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [tuple(agents[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    before = [above for above, part in zip([(), *parts], parts, strict=False) for _ in part]
    return Dense(tuple(agents), before.__getitem__)


def mlp(agents: Sequence[str]) -> Edges:
    """MacNet's layers: as many as the whole part of log2 of the number of agents, each reading the one before."""
    return layered(agents, layers=max(1, len(agents).bit_length() - 1))


def random_dag(
    agents: Sequence[str], *, m: int | None = None, p: float | None = None, seed: int = 0, reverse: bool = False
) -> Edges:
    """A drawn graph without cycles in which each but the first reads somebody before it. It has `m` edges, or each pair
    beyond that is an edge with probability `p`; default, as in MacNet: m is drawn from [n-1, n(n-1)/2]."""
    n = len(agents)
    least, most = n - 1, n * (n - 1) // 2
    draw = random.Random(_seed("random_dag", seed))
    if m is not None and p is not None:
        raise TopologyError("random_dag: give m or p, not both.")
    if m is not None:
        _whole("random_dag", "m", m, least, most)
    # everybody has somebody to read first, so that what the first says can reach everybody
    edges = {(draw.randrange(j), j) for j in range(1, n)}
    if p is not None:
        _chance("random_dag", p)
        _few("random_dag", p * most)
        edges.update(_drawn(n, p, draw))
    else:
        wanted = m if m is not None else draw.randint(least, most)
        _few("random_dag", wanted)
        if wanted > most / 2:
            left = _picked(draw, n, most - wanted, edges)
            edges = {pair for pair in combinations(range(n), 2) if pair not in left}
        else:
            edges |= _picked(draw, n, wanted - len(edges), edges)
    return _turned("random_dag", ((agents[i], agents[j]) for i, j in sorted(edges)), reverse)


def edge_critics(agents: Sequence[str], *, of: Any = "chain", actors: int | None = None) -> Edges:
    """MacNet's graphs: the first `actors` agents stand on a graph without cycles, `of` a name or a name with its
    arguments, and each of the other agents on one of its edges, in their order: it reads who is read, and who reads
    reads both. Default: as many actors as fit."""
    n = len(agents)
    name: str
    given: Any
    name, given = (of, {}) if isinstance(of, str) else next(iter(of.items())) if _is_one(of) else ("", None)
    if name not in BUILDERS or name == "edge_critics" or not isinstance(given, Mapping):
        known = ", ".join(key for key in BUILDERS if key != "edge_critics")
        raise TopologyError(f"edge_critics: of is one topology, with its arguments or without: {known}.")
    if actors is None:
        actors = next((a for a in range(1, n) if a + sum(1 for _ in BUILDERS[name](agents[:a], **given)) >= n), n)
    _whole("edge_critics", "actors", actors, 1, n)
    pairs = list(BUILDERS[name](agents[:actors], **given))
    if len(pairs) != n - actors:
        raise TopologyError(
            f"edge_critics: {name} of {actors} actors has {len(pairs)} edges, so it takes {len(pairs)} critics after "
            f"them, not {n - actors}."
        )
    return [
        edge
        for (u, v), critic in zip(pairs, agents[actors:], strict=True)
        for edge in ((u, v), (u, critic), (critic, v))
    ]


def _is_one(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1


BUILDERS: Mapping[str, Callable[..., Edges]] = {
    f.__name__: f
    for f in (
        complete, isolated, ring, relay, star, double_star, chain, tree, reporting_tree, layered, groups, grid,
        bipartite, circulant, k_regular, small_world, barabasi_albert, random_graph, random_dag, net, mlp, dag_tree,
        star_out, edge_critics,
    )
}  # fmt: skip


# ---- what builders share ----------------------------------------------------------------------------------------


def _mutual(pairs: Edges) -> Edges:
    return (edge for u, v in pairs for edge in ((u, v), (v, u)))


def _numbered(agents: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Edges:
    return _mutual([(agents[i], agents[j]) for i, j in pairs])


def _turned(name: str, pairs: Edges, reverse: bool) -> Edges:
    return ((v, u) for u, v in pairs) if _flag(name, "reverse", reverse) else pairs


def _chained(*parts: Edges) -> Edges:
    return (edge for part in parts for edge in part)


def _branches(name: str, agents: Sequence[str], branching: int) -> list[Pair]:
    """(parent, child) of a tree that is filled level by level."""
    _whole(name, "branching", branching, 1)
    return [(agents[(i - 1) // branching], agents[i]) for i in range(1, len(agents))]


def _drawn(n: int, p: float, draw: random.Random) -> Iterator[tuple[int, int]]:
    """Pairs i < j, each with probability p; in time of what is drawn, not of all pairs (Batagelj and Brandes 2005)."""
    if p <= 0:
        return
    if p >= 1:
        yield from combinations(range(n), 2)
        return
    skip = math.log1p(-p)
    i, j = -1, 1
    while j < n:
        # a tiny p makes leaps that no int holds
        i += 1 + int(min(math.log1p(-draw.random()) / skip, 1e15))
        while i >= j < n:
            i, j = i - j, j + 1
        if j < n:
            yield i, j


def _picked(draw: random.Random, n: int, count: int, but: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """So many pairs i < j that are not among others."""
    picked: set[tuple[int, int]] = set()
    while len(picked) < count:
        i, j = draw.randrange(n), draw.randrange(n)
        if i < j and (i, j) not in but:
            picked.add((i, j))
    return picked


def _few(name: str, edges: float) -> None:
    if edges > MAX_EDGES:
        raise TopologyError(
            f"{name}: this would have about {edges:,.0f} edges, more than {MAX_EDGES:,}.", hint="Ask for fewer."
        )


def _whole(name: str, argument: str, value: Any, least: int, most: int | None = None) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value
    if not fits or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most} here"
        raise TopologyError(f"{name}: {argument} must be a whole number, {bounds}, not {str(value)[:40]!r}.")
    assert isinstance(value, int)
    return value


def _chance(name: str, p: Any) -> None:
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise TopologyError(f"{name}: p must be a probability between 0 and 1, not {str(p)[:40]!r}.")


def _seed(name: str, seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TopologyError(f"{name}: seed must be a whole number, not {str(seed)[:40]!r}.")
    return seed


def _flag(name: str, argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TopologyError(f"{name}: {argument} is true or false, not {str(value)[:40]!r}.")
    return value


def _listed(name: str, argument: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TopologyError(f"{name}: {argument} must be a list, not {str(value)[:40]!r}.")
    return value


def _agent(name: str, argument: str, value: Any, agents: Sequence[str]) -> str:
    if value not in agents:
        raise TopologyError(
            f"{name}: {argument} names '{str(value)[:60]}', but the agents are {', '.join(agents[:12])}."
        )
    return str(value)
