"""A communication graph: who reads whom, with what each edge carries, in figures, by round. u -> v means v reads u."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agora.errors import TopologyError
from agora.model import derive_seed
from agora.text.attributes import checked
from agora.text.graphs import MAX_EDGES, Dense

if TYPE_CHECKING:
    import networkx as nx

_NONE: Mapping[str, Any] = MappingProxyType({})
_BY_ROUND = "it changes by round; these are the figures of round 1"
_BY_CHANCE = "edges come and go by chance; these are the figures with all of them"
_LOOKED_AT = 2000  # agents up to which a diameter is worked out


class Topology:
    """A communication graph, checked.

    Args:
        agents: the agents' names, in order.
        edges: (u, v) pairs: v reads u; or (u, v, attributes). A pair may stand twice; a self-loop is dropped (what an
            agent sees of itself is the view's business).
        name: what to call it.
        every: attributes of all edges that have none of their own.

    An edge's attributes are `view` (a name or a mapping, handed on to who shows what is read), `delay` (so many whole
    rounds what is read is older) and `probability` (that the edge is there in a round; see `at`).

    Raises:
        TopologyError: if an edge names nobody, an attribute is wrong, or two agents have one name.
    """

    def __init__(
        self,
        agents: Sequence[str],
        edges: Iterable[tuple[str, str] | tuple[str, str, Mapping[str, Any]]],
        name: str = "edges",
        *,
        every: Mapping[str, Any] | None = None,
    ) -> None:
        self.agents = tuple(agents)
        self.name = name
        self._order = {agent: i for i, agent in enumerate(self.agents)}
        if len(self._order) != len(self.agents):
            twice = next(a for i, a in enumerate(self.agents) if self._order[a] != i)
            raise TopologyError(f"two agents are called '{str(twice)[:60]}'; names must differ.")
        self._every = MappingProxyType(checked(every, "every edge")) if every else _NONE
        self._own: dict[tuple[str, str], Mapping[str, Any]] = {}
        if isinstance(edges, Dense) and edges.agents == self.agents:
            self._reads: Callable[[int], tuple[str, ...]] = edges.reads
        else:
            self._reads = self._written_out(edges).__getitem__
        self._by_chance = any("probability" in given for given in (self._every, *self._own.values()))
        self._at = lru_cache(256)(self._draw)

    def _written_out(self, edges: Iterable[Any]) -> list[tuple[str, ...]]:
        order, agents = self._order, self.agents
        readers: list[list[int]] = [[] for _ in agents]
        for count, edge in enumerate(edges):
            if count >= MAX_EDGES:
                raise TopologyError(f"{self.name}: there are more than {MAX_EDGES:,} edges.", hint="Ask for fewer.")
            try:
                u, v = edge if type(edge) is tuple else ()
                i, j = order[u], order[v]
            except (KeyError, TypeError, ValueError):
                i, j, given = self._edge(edge)
                if given and i != j:
                    self._give((agents[i], agents[j]), given)
            if i != j:
                readers[j].append(i)
        return [tuple(agents[i] for i in sorted(set(read))) for read in readers]

    def _edge(self, edge: Any) -> tuple[int, int, dict[str, Any]]:
        """An edge that is no plain pair of names, or is wrong."""
        if isinstance(edge, (str, bytes, Mapping)) or not isinstance(edge, Sequence):
            raise TopologyError(f"an edge is a list [who is read, who reads], this is {str(edge)[:60]!r}.")
        if len(edge) not in (2, 3):
            raise TopologyError(f"an edge has two ends, this one has {len(edge)}: {str(list(edge))[:60]}.")
        ends: list[int] = []
        for end in edge[:2]:
            # an agent called 1 is a number where YAML or networkx names it
            name = str(end) if isinstance(end, int) and not isinstance(end, bool) else end
            if not isinstance(name, str) or name not in self._order:
                raise TopologyError(
                    f"an edge names '{str(end)[:60]}', but the agents are {', '.join(self.agents[:12])}."
                )
            ends.append(self._order[name])
        given = edge[2] if len(edge) == 3 else None
        return ends[0], ends[1], checked(given, f"edge {edge[0]} -> {edge[1]}")

    def _give(self, edge: tuple[str, str], given: dict[str, Any]) -> None:
        if self._own.setdefault(edge, given) != given:
            raise TopologyError(f"the edge {edge[0]} -> {edge[1]} stands twice, with different attributes.")

    def reads(self, agent: str) -> tuple[str, ...]:
        """Whom an agent reads, in the order of the agents."""
        return self._reads(self._order[agent])

    def attributes(self, u: str, v: str) -> Mapping[str, Any]:
        """What an edge carries: some of `view`, `delay`, `probability`; mostly nothing."""
        return self._own.get((u, v), self._every)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """All edges (u, v): v reads u. Written out: `edge_count` is cheaper where their number will do."""
        return tuple((u, v) for i, v in enumerate(self.agents) for u in self._reads(i))

    @property
    def edge_count(self) -> int:
        """How many edges there are."""
        return sum(len(self._reads(i)) for i in range(len(self.agents)))

    @property
    def graph(self) -> nx.DiGraph[str]:
        """The same as a networkx graph."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.agents)
        graph.add_edges_from((u, v, dict(self.attributes(u, v))) for u, v in self.edges)
        return graph

    @property
    def sinks(self) -> tuple[str, ...]:
        """Agents whom nobody reads."""
        read = self._read()
        return tuple(agent for agent in self.agents if agent not in read)

    def _read(self) -> set[str]:
        """All who are read by somebody."""
        read: set[str] = set()
        for i in range(len(self.agents)):
            read.update(self._reads(i))
        return read

    def layers(self) -> dict[str, int]:
        """Each agent's depth: longest way from an agent that reads nobody.

        Raises:
            TopologyError: if the graph has a cycle.
        """
        missing = {v: len(self._reads(i)) for i, v in enumerate(self.agents)}
        ready = [a for a in self.agents if not missing[a]]
        depth = dict.fromkeys(ready, 0)
        heard_by: dict[str, list[str]] = {a: [] for a in self.agents}
        for i, v in enumerate(self.agents if ready else ()):
            for u in self._reads(i):
                heard_by[u].append(v)
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

    @property
    def attributed(self) -> bool:
        """Whether some edge, in some round, carries something."""
        return bool(self._own or self._every)

    @property
    def changes(self) -> bool:
        """Whether the graph of a round may differ from this one."""
        return self._by_chance

    def at(self, round: int, seed: int) -> Topology:
        """The graph of a round: itself where nothing changes.

        An edge with a probability is there or not by the seed, the round and the numbers of its two agents. Of a graph
        by round, round 0 has the graph of round 1.

        Args:
            round: which round.
            seed: of the run.

        Raises:
            TopologyError: if a callable gave what is no topology of these agents.
        """
        return self._at(round, seed) if self.changes else self

    def _draw(self, round: int, seed: int) -> Topology:
        whole = self.whole(round, seed)
        if not whole._by_chance:
            return whole

        def there(i: int, j: int, u: str, v: str) -> bool:
            p = whole.attributes(u, v).get("probability", 1)
            return bool(p >= 1 or derive_seed(seed, "edge", round, i, j) < p * 2**31)

        def rest(u: str, v: str) -> tuple[Any, ...]:
            given = {k: x for k, x in whole.attributes(u, v).items() if k != "probability"}
            return (given,) if given else ()

        kept = (
            (u, v, *rest(u, v))
            for j, v in enumerate(self.agents)
            for u in whole.reads(v)
            if there(self._order[u], j, u, v)
        )
        return Topology(self.agents, kept, whole.name)

    def whole(self, round: int, seed: int) -> Topology:
        """The graph of a round, with all edges that may be there."""
        return self

    def figures(self) -> dict[str, Any]:
        """What can be said of a graph in numbers.

        Returns:
            `topology`: its name; `agents`, `edges`: how many; `density`: share of the possible edges; `mean_reads`: how
            many an agent reads on average; `expected_edges`: how many of the edges are there in a round on average;
            `diameter`: rounds until everybody can have heard of everybody, None if never (or where there are more than
            2,000 agents); `isolated`: who reads nobody and is read by nobody, while others talk; `unreachable`: all who
            are linked with the largest part of the graph in no direction; `parts`: how many such parts there are;
            `changes`: None, or in which way the graph changes by round.
        """
        n, m = len(self.agents), self.edge_count
        read, parts = self._read() if m else set(), self._parts()
        largest = set(max(parts, key=len, default=()))
        return {
            "topology": self.name,
            "agents": n,
            "edges": m,
            "density": m / (n * (n - 1)) if n > 1 else 0.0,
            "mean_reads": m / n if n else 0.0,
            "expected_edges": sum(self.attributes(*edge).get("probability", 1) for edge in self.edges)
            if self._by_chance
            else m,
            "diameter": self._diameter(m) if 1 < n <= _LOOKED_AT and len(parts) == 1 else None,
            "isolated": [a for i, a in enumerate(self.agents) if m and a not in read and not self._reads(i)],
            "unreachable": [a for a in self.agents if m and a not in largest],
            "parts": len(parts),
            "changes": _BY_ROUND if isinstance(self, ByRound) else _BY_CHANCE if self._by_chance else None,
        }

    def _parts(self) -> list[list[str]]:
        """Agents by the part of the graph they are in, whatever the direction of the edges."""
        roots = {agent: agent for agent in self.agents}

        def root(agent: str) -> str:
            while roots[agent] != agent:
                roots[agent] = agent = roots[roots[agent]]
            return agent

        left = len(self.agents)
        for i, v in enumerate(self.agents):
            for u in self._reads(i) if left > 1 else ():
                one, other = root(u), root(v)
                if one != other:
                    roots[one] = other
                    left -= 1
        parts: dict[str, list[str]] = {}
        for agent in self.agents:
            parts.setdefault(root(agent), []).append(agent)
        return list(parts.values())

    def _diameter(self, edges: int) -> int | None:
        """Rounds until everybody has heard of everybody; sets of agents are the bits of an int."""
        n = len(self.agents)
        if edges == n * (n - 1):
            return 1
        reads = [[self._order[u] for u in self._reads(i)] for i in range(n)]
        heard, all_, rounds = [1 << i for i in range(n)], (1 << n) - 1, 0
        waiting = list(range(n))
        while waiting:
            now = dict.fromkeys(waiting, 0)
            for i in waiting:
                known = heard[i]
                for u in reads[i]:
                    known |= heard[u]
                    if known == all_:
                        break
                now[i] = known
            if all(heard[i] == known for i, known in now.items()):
                return None
            for i, known in now.items():
                heard[i] = known
            waiting = [i for i in waiting if heard[i] != all_]
            rounds += 1
        return rounds

    def __repr__(self) -> str:
        return f"Topology({self.name}: {len(self.agents)} agents, {self.edge_count} edges)"

    def _repr_html_(self) -> str:
        from agora.drawing import topology_svg

        return topology_svg(self)


class ByRound(Topology):
    """A graph that is another one in each round; as a graph by itself it is that of round 1.

    Args:
        agents: the agents' names, in order.
        of: the topology of a round (1, 2, ...), given a run's seed.
        name: what to call it.
        seed: for round 1, as it is here.
        attributed: whether an edge of some round carries something.
    """

    def __init__(
        self, agents: Sequence[str], of: Callable[[int, int], Topology], name: str, seed: int, *, attributed: bool
    ) -> None:
        first = of(1, seed)
        super().__init__(agents, (), name)
        self._reads, self._own, self._every, self._by_chance = first._reads, first._own, first._every, first._by_chance
        self._by_round, self._attributed = of, attributed

    @property
    def attributed(self) -> bool:
        """Whether some edge, in some round, may carry something."""
        return self._attributed

    @property
    def changes(self) -> bool:
        """Always."""
        return True

    def whole(self, round: int, seed: int) -> Topology:
        """The graph of a round, with all edges that may be there."""
        return self._by_round(max(round, 1), seed)
