"""Topologies by what names or describes them: a name, edges, a file, by round. An edge u -> v means v reads u."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from agora.errors import TopologyError
from agora.model import derive_seed
from agora.text.attributes import ATTRIBUTES, near
from agora.text.graphs import BUILDERS, Edges
from agora.text.network import ByRound, Topology

__all__ = ["ATTRIBUTES", "BUILDERS", "Edges", "Topology", "build"]

_OTHERS = ("edges", "file", "rounds", "rewire")


def build(value: Any, agents: Sequence[str], folder: str | Path | None = None, seed: int = 0) -> Topology:
    """A topology from what names or describes one.

    Args:
        value: a name; a mapping of one name to its arguments, where `view`, `delay` and `probability` are attributes of
            all edges; {"edges": [[u, v], [u, v, {attributes}], ...]}; {"file": path}; {"rounds": [one for round 1, one
            for round 2, ..., which stays]}, with "cycle": True again and again; {"rewire": a name or a mapping of one
            that is drawn}: drawn anew for each round; a networkx graph; a `Topology`; a callable that gives any of
            these for a round, always the same for the same round.
        agents: the agents' names, in order.
        folder: what the path of a file is relative to.
        seed: of the run, for the first round of what is drawn anew for each.

    Raises:
        TopologyError: naming what is wrong.
    """
    agents = tuple(agents)
    if isinstance(value, Topology):
        return _of_topology(value, agents)
    if hasattr(value, "edges") and hasattr(value, "nodes"):
        return _of_networkx(value, agents)
    if callable(value):
        return ByRound(agents, _called(value, agents, folder), "by round", seed, attributed=True)
    if isinstance(value, Mapping) and "rounds" in value:
        return _of_rounds(value, agents, folder, seed)
    if isinstance(value, Mapping) and len(value) == 1:
        (name, arguments), *_ = value.items()
    elif isinstance(value, str):
        name, arguments = value, None
    else:
        raise TopologyError(f"a topology is a name or one name with its arguments; there are {_names()}.")
    if name == "edges":
        if not isinstance(arguments, (list, tuple)):
            raise TopologyError("edges: needs a list of [who is read, who reads] pairs.")
        return Topology(agents, arguments)
    if name == "file":
        from agora.text.graphfiles import read

        return Topology(agents, read(arguments, agents, folder), "file")
    if name == "rewire":
        return _of_rewire(arguments, agents, seed)
    return _named(str(name), arguments, agents)


def _named(name: str, arguments: Any, agents: tuple[str, ...], seed: int | None = None) -> Topology:
    """A builder's topology; with a seed, in place of the builder's own."""
    builder = BUILDERS.get(name)
    if builder is None:
        raise TopologyError(f"unknown topology '{name[:40]}'.", hint=near(name, (*BUILDERS, *_OTHERS)))
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise TopologyError(f"{name}: its arguments must be a mapping such as {{seed: 1}}.")
    known = [p for p in inspect.signature(builder).parameters if p != "agents"]
    for key in arguments:
        if key not in known and key not in ATTRIBUTES:
            raise TopologyError(f"{name}: unknown argument '{str(key)[:40]}'.", hint=near(key, (*known, *ATTRIBUTES)))
    own = {key: value for key, value in arguments.items() if key in known}
    if seed is not None:
        own["seed"] = seed
    every = {key: value for key, value in arguments.items() if key in ATTRIBUTES}
    try:
        return Topology(agents, builder(agents, **own), name, every=every)
    except (TypeError, ValueError, OverflowError) as error:
        raise TopologyError(f"{name}: {' '.join(str(error).split())[:200]}.") from error


def _of_topology(value: Topology, agents: tuple[str, ...]) -> Topology:
    if value.agents == agents:
        return value
    if isinstance(value, ByRound):
        raise TopologyError(f"the topology {value.name} is of other agents: {', '.join(value.agents[:12])}.")
    return Topology(agents, [(u, v, value.attributes(u, v)) for u, v in value.edges], value.name)


def _of_networkx(value: Any, agents: tuple[str, ...]) -> Topology:
    names = {node: node for node in value.nodes}
    if not names.keys() <= set(agents):
        if set(names) == set(range(len(agents))):
            names = dict(enumerate(agents))  # the generators of networkx number their nodes
        else:
            stranger = sorted(str(node) for node in names.keys() - set(agents))[0]
            raise TopologyError(f"the graph has a node '{stranger[:60]}' that is no agent.")
    edges: list[Any] = []
    for u, v, data in value.edges(data=True):
        given = {k: x for k, x in data.items() if k in ATTRIBUTES}
        rest = (given,) if given else ()
        edges.append((names[u], names[v], *rest))
        if not value.is_directed():
            edges.append((names[v], names[u], *rest))
    return Topology(agents, edges, "graph")


def _called(
    function: Callable[[int], Any], agents: tuple[str, ...], folder: str | Path | None
) -> Callable[[int, int], Topology]:
    @lru_cache(256)
    def of(round: int) -> Topology:
        return _within(f"round {round}", function(round), agents, folder, 0)

    return lambda round, seed: of(round).whole(round, seed)


def _of_rounds(value: Mapping[str, Any], agents: tuple[str, ...], folder: str | Path | None, seed: int) -> Topology:
    for key in value:
        if key not in ("rounds", "cycle"):
            raise TopologyError(f"rounds: unknown key '{str(key)[:40]}'.", hint=near(key, ("rounds", "cycle")))
    given, cycle = value["rounds"], value.get("cycle", False)
    if not isinstance(given, (list, tuple)) or not given or len(given) > 1000:
        raise TopologyError("rounds: needs a list of 1 to 1,000 topologies, for rounds 1, 2, ...")
    if not isinstance(cycle, bool):
        raise TopologyError(f"rounds: cycle is true or false, not {str(cycle)[:40]!r}.")
    made = [_within(f"rounds[{i}]", one, agents, folder, seed) for i, one in enumerate(given, 1)]

    def of(round: int, seed: int) -> Topology:
        i = round - 1
        return made[i % len(made) if cycle else min(i, len(made) - 1)].whole(round, seed)

    return ByRound(
        agents,
        of,
        f"rounds({', '.join(one.name for one in made[:6])})",
        seed,
        attributed=any(one.attributed for one in made),
    )


def _of_rewire(value: Any, agents: tuple[str, ...], seed: int) -> Topology:
    if isinstance(value, Mapping) and len(value) == 1:
        (name, arguments), *_ = value.items()
    else:
        name, arguments = value, None
    drawn = [key for key, builder in BUILDERS.items() if "seed" in inspect.signature(builder).parameters]
    if name not in drawn:
        raise TopologyError(f"rewire: needs a topology that is drawn, with its arguments: {', '.join(drawn)}.")
    fixed = arguments.get("seed") if isinstance(arguments, Mapping) else None

    def of(round: int, seed: int) -> Topology:
        return _named(name, arguments, agents, derive_seed(seed if fixed is None else fixed, "rewire", round))

    attributed = isinstance(arguments, Mapping) and any(key in ATTRIBUTES for key in arguments)
    return ByRound(agents, of, f"rewire({name})", seed, attributed=attributed)


def _within(where: str, value: Any, agents: tuple[str, ...], folder: str | Path | None, seed: int) -> Topology:
    if (isinstance(value, Mapping) and "rounds" in value) or (callable(value) and not hasattr(value, "edges")):
        raise TopologyError(f"{where}: what a round has is one topology, not one by round.")
    try:
        return build(value, agents, folder, seed)
    except TopologyError as error:
        raise TopologyError(f"{where}: {error.message}", hint=error.hint) from error


def _names() -> str:
    return ", ".join((*BUILDERS, *_OTHERS))
