"""Who reads whom: directed graphs over agents, named builders, checks and figures. An edge u -> v means v reads u."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise, permutations
from typing import TYPE_CHECKING, Any

from agora.errors import TopologyError

if TYPE_CHECKING:
    import networkx as nx

Edges = Iterable[tuple[str, str]]


class Topology:
    """A communication graph, checked.

    Args:
        agents: the agents' names, in order.
        edges: (u, v) pairs: v reads u. A pair may stand twice; a self-loop is dropped (what an agent sees of itself is
            the view's business).
        name: what to call it.

    Raises:
        TopologyError: if an edge names nobody, or two agents have one name.
    """

    def __init__(self, agents: Sequence[str], edges: Edges, name: str = "edges") -> None:
        self.agents = tuple(agents)
        self.name = name
        known = set(self.agents)
        if len(known) != len(self.agents):
            twice = next(a for a in self.agents if self.agents.count(a) > 1)
            raise TopologyError(f"two agents are called '{twice}'; names must differ.")
        readers: dict[str, dict[str, None]] = {agent: {} for agent in self.agents}
        for edge in edges:
            if len(edge) != 2:
                raise TopologyError(f"an edge has two ends, this one has {len(edge)}: {str(list(edge))[:60]}.")
            for end in edge:
                if end not in known:
                    raise TopologyError(
                        f"an edge names '{str(end)[:60]}', but the agents are {', '.join(self.agents[:12])}."
                    )
            if edge[0] != edge[1]:
                readers[edge[1]][edge[0]] = None
        order = {agent: i for i, agent in enumerate(self.agents)}
        self._reads = {v: tuple(sorted(us, key=order.__getitem__)) for v, us in readers.items()}

    def reads(self, agent: str) -> tuple[str, ...]:
        """Whom an agent reads, in the order of the agents."""
        return self._reads[agent]

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """All edges (u, v): v reads u."""
        return tuple((u, v) for v in self.agents for u in self._reads[v])

    @property
    def graph(self) -> nx.DiGraph[str]:
        """The same as a networkx graph."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.agents)
        graph.add_edges_from(self.edges)
        return graph

    @property
    def sinks(self) -> tuple[str, ...]:
        """Agents whom nobody reads."""
        read = {u for us in self._reads.values() for u in us}
        return tuple(agent for agent in self.agents if agent not in read)

    def layers(self) -> dict[str, int]:
        """Each agent's depth: longest way from an agent that reads nobody.

        Raises:
            TopologyError: if the graph has a cycle.
        """
        depth: dict[str, int] = {}
        missing = {v: len(us) for v, us in self._reads.items()}
        heard_by: dict[str, list[str]] = {a: [] for a in self.agents}
        for u, v in self.edges:
            heard_by[u].append(v)
        ready = [a for a in self.agents if not missing[a]]
        for agent in ready:
            depth.setdefault(agent, 0)
        while ready:
            u = ready.pop()
            for v in heard_by[u]:
                depth[v] = max(depth.get(v, 0), depth[u] + 1)
                missing[v] -= 1
                if not missing[v]:
                    ready.append(v)
        stuck = [a for a in self.agents if missing[a]]
        if stuck:
            raise TopologyError(
                f"a layered schedule needs a graph without cycles, but {', '.join(stuck[:6])} read each other in a "
                "circle; use another schedule, or a topology such as layered, chain or edges."
            )
        return depth

    def figures(self) -> dict[str, Any]:
        """Number of agents and edges, density, mean in-degree, diameter (None if not strongly connected), isolated."""
        import networkx as nx

        n, graph = len(self.agents), self.graph
        whole = n <= 2000 and n > 1 and nx.is_strongly_connected(graph)
        return {
            "topology": self.name,
            "agents": n,
            "edges": len(self.edges),
            "density": len(self.edges) / (n * (n - 1)) if n > 1 else 0.0,
            "mean_reads": len(self.edges) / n if n else 0.0,
            "diameter": nx.diameter(graph) if whole else None,
            "isolated": [
                a for a in self.agents if not self._reads[a] and all(a not in r for r in self._reads.values())
            ],
        }

    def __repr__(self) -> str:
        return f"Topology({self.name}: {len(self.agents)} agents, {len(self.edges)} edges)"

    def _repr_html_(self) -> str:
        from agora.display import topology_svg

        return topology_svg(self)


def complete(agents: Sequence[str]) -> Edges:
    """Everybody reads everybody."""
    return permutations(agents, 2)


def isolated(agents: Sequence[str]) -> Edges:
    """Nobody reads anybody: independent answers, then a vote."""
    return ()


def ring(agents: Sequence[str]) -> Edges:
    """Everybody reads both neighbours."""
    return (pair for u, v in relay(agents) for pair in ((u, v), (v, u)))


def relay(agents: Sequence[str]) -> list[tuple[str, str]]:
    """A directed ring: everybody reads the one before."""
    return [(agents[i - 1], agents[i]) for i in range(len(agents))] if len(agents) > 1 else []


def star(agents: Sequence[str], *, hub: str | None = None) -> Edges:
    """The hub (the first agent unless named) reads all and is read by all."""
    centre = hub if hub is not None else agents[0]
    return (pair for a in agents if a != centre for pair in ((centre, a), (a, centre)))


def chain(agents: Sequence[str]) -> Edges:
    """Each reads the one before; the first reads nobody."""
    return pairwise(agents)


def tree(agents: Sequence[str], *, branching: int = 2) -> Edges:
    """Parent and children read each other; agents fill the tree level by level."""
    if branching < 1:
        raise TopologyError("tree: branching must be at least 1.")
    return (
        pair
        for i in range(1, len(agents))
        for pair in ((agents[(i - 1) // branching], agents[i]), (agents[i], agents[(i - 1) // branching]))
    )


def layered(agents: Sequence[str], *, widths: Sequence[int] | None = None) -> Edges:
    """Each layer reads the whole layer before. `widths` adds up to the number of agents; default: all but the last
    agent, then the last."""
    sizes = list(widths) if widths is not None else [len(agents) - 1, 1]
    if sum(sizes) != len(agents) or min(sizes, default=0) < 1:
        raise TopologyError(f"layered: widths {sizes} must be positive and add up to the {len(agents)} agents.")
    bounds = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    parts = [agents[a:b] for a, b in pairwise(bounds)]
    return ((u, v) for above, below in pairwise(parts) for u in above for v in below)


def groups(agents: Sequence[str], *, size: int = 3) -> Edges:
    """Complete groups of `size`; the first members of the groups form a ring."""
    if size < 1:
        raise TopologyError("groups: size must be at least 1.")
    parts = [agents[i : i + size] for i in range(0, len(agents), size)]
    inside = (pair for part in parts for pair in permutations(part, 2))
    return (*inside, *(ring([part[0] for part in parts]) if len(parts) > 1 else ()))


def small_world(agents: Sequence[str], *, k: int = 4, p: float = 0.1, seed: int = 0) -> Edges:
    """Watts-Strogatz: a ring in which each reads its `k` nearest, each edge rewired with probability `p`."""
    import networkx as nx

    if not 0 <= p <= 1 or not 0 < k < max(len(agents), 2):
        raise TopologyError(f"small_world: needs 0 <= p <= 1 and 0 < k < {len(agents)} (the number of agents).")
    graph = nx.watts_strogatz_graph(len(agents), k, p, seed=seed)
    return _both_ways(agents, graph.edges)


def random_graph(agents: Sequence[str], *, p: float = 0.5, seed: int = 0) -> Edges:
    """Erdos-Renyi: each pair reads each other with probability `p`."""
    draw = random.Random(seed)
    return _both_ways(agents, [pair for pair in combinations(range(len(agents)), 2) if draw.random() < p])


def _both_ways(agents: Sequence[str], edges: Iterable[tuple[int, int]]) -> Edges:
    return [pair for i, j in edges for pair in ((agents[i], agents[j]), (agents[j], agents[i]))]


BUILDERS: Mapping[str, Callable[..., Edges]] = {
    f.__name__: f
    for f in (complete, isolated, ring, relay, star, chain, tree, layered, groups, small_world, random_graph)
}


def build(value: Any, agents: Sequence[str]) -> Topology:
    """A topology from a name, a mapping of one name to its arguments, {"edges": [[u, v], ...]}, a networkx graph or a
    `Topology`.

    Raises:
        TopologyError: naming what is wrong.
    """
    if isinstance(value, Topology):
        return Topology(agents, value.edges, value.name)
    if hasattr(value, "edges") and hasattr(value, "nodes"):
        strangers = set(value.nodes) - set(agents)
        if strangers:
            raise TopologyError(f"the graph has a node '{str(sorted(map(str, strangers))[0])[:60]}' that is no agent.")
        directed = value.is_directed()
        edges = list(value.edges())
        return Topology(agents, edges if directed else [*edges, *((v, u) for u, v in edges)], "graph")
    if isinstance(value, Mapping) and len(value) == 1:
        (name, arguments), *_ = value.items()
    elif isinstance(value, str):
        name, arguments = value, {}
    else:
        raise TopologyError(f"a topology is a name or one name with its arguments; there are {_names()}.")
    if name == "edges":
        if not isinstance(arguments, (list, tuple)):
            raise TopologyError("edges: needs a list of [who is read, who reads] pairs.")
        return Topology(agents, arguments)
    builder = BUILDERS.get(str(name))
    if builder is None:
        raise TopologyError(f"unknown topology '{str(name)[:40]}'; there are {_names()}.")
    arguments = arguments or {}
    if not isinstance(arguments, Mapping):
        raise TopologyError(f"{name}: its arguments must be a mapping such as {{seed: 1}}.")
    known = [p for p in inspect.signature(builder).parameters if p != "agents"]
    for key in arguments:
        if key not in known:
            raise TopologyError(f"{name}: unknown argument '{str(key)[:40]}'; there are {', '.join(known) or 'none'}.")
    try:
        return Topology(agents, builder(tuple(agents), **arguments), str(name))
    except (TypeError, ValueError, OverflowError) as error:
        raise TopologyError(f"{name}: {error}.") from error


def _names() -> str:
    return ", ".join((*BUILDERS, "edges"))
