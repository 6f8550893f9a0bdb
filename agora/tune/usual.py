"""The space of a debate that leaves nothing open: team, topology, edges, rounds, view, memory, gates, decision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agora.config.presets import merged
from agora.errors import InputError
from agora.text.debate import Debate
from agora.tune.space import KEPT, Apply, Parameter, Values

if TYPE_CHECKING:
    from agora.tune.space import FileSpace

TOPOLOGIES = ("complete", "ring", "relay", "star", "chain", "tree", "isolated")
TEAM, EDGES = 12, 4  # agents at most: in or out each; edges on or off between them
COMPARED = 60  # agents at most whose graphs are compared edge by edge, and who all read each other
OWN = "edges"  # the topology that is searched edge by edge


@dataclass
class Usual:
    """What was found to fit.

    Attributes:
        open: parameters, and what puts their values into a file's data.
        about: kinds of them.
        early: teams to try first, by importance; None where there is no team to choose.
        notes: what was left out, and why.
    """

    open: list[tuple[Parameter, Apply]] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    early: Callable[[Mapping[str, float]], Sequence[Values]] | None = None
    notes: tuple[str, ...] = ()


def usual(file: FileSpace) -> Usual:
    """What can sensibly be changed in a file's debate. Each choice is tried by itself: one that makes no debate, or
    the same one, is left out.

    Graphs are searched edge by edge as in GPTSwarm (Zhuge et al. 2024, arXiv:2402.16823) and Heterogeneous Swarms (Feng
    et al. 2025, arXiv:2502.04510), by another optimiser; teams as in DyLAN (Liu et al. 2023, arXiv:2310.02170), whose
    importance scores say which are tried first.

    Args:
        file: with nothing left open.

    Raises:
        InputError: if it is no debate.
    """
    return _Finder(file).found()


class _Finder:
    def __init__(self, file: FileSpace) -> None:
        self.file = file
        self.debate: Debate = file.built(file.data).debate
        self.full, _ = merged(copy.deepcopy(file.data), None, str(file.file))
        self.last = self.debate.moderator.last
        self.layered = self.debate.protocol.schedule.kind == "layered"
        self.out = Usual()

    def found(self) -> Usual:
        """All of it, what others depend on first: agents and rounds."""
        self._team()
        if self.last:
            self._add("moderator.limit", "rounds", sorted(self._rounds(), reverse=True)[1:])
        if self.last or self.layered:
            self._topology()
        if self.last or self.layered:
            self._view()
            self._gates()
        self._add("moderator.decide", "decision", self._decisions(), when=self._several)
        return self.out

    # ---- what is tried -------------------------------------------------------------------------------------------

    def _several(self, values: Values) -> bool:
        """Whether more than one agent is left."""
        out = sum(value is False for name, value in values.items() if name.startswith("agents."))
        return len(self.debate.agents) == 1 or len(self.full["agents"]) - out > 1 or not out

    def _reading(self, values: Values) -> bool:
        """Whether there are rounds in which agents could read each other."""
        return self._several(values) and (self.layered or values.get("moderator.limit") != 0)

    def _add(
        self,
        key: str,
        kind: str,
        values: Sequence[Any],
        fits: Callable[[Debate], bool] | None = None,
        when: Callable[[Values], bool] | None = None,
    ) -> None:
        """Values that the place of a key can have beside the file's own, as far as they make a debate."""

        def apply(data: dict[str, Any], value: Any) -> None:
            put(data, key.split("."), value)

        good = [value for value in values if (made := self._tried(apply, value)) and (fits is None or fits(made))]
        if good:
            self.out.open.append((Parameter(key, KEPT, (KEPT, *good), when=when), apply))
            self.out.about.append(kind)

    def _tried(self, apply: Apply, value: Any) -> Debate | None:
        data = copy.deepcopy(self.file.data)
        try:
            apply(data, value)
            return self.file.built(data).debate
        except InputError:
            return None

    def _rounds(self) -> set[int]:
        return set(range(self.last + 1)) if self.last <= 5 else {0, 1, 2, 3, self.last // 2, self.last}

    def _decisions(self) -> list[Any]:
        own = self.full.get("moderator", {}).get("decide", "plurality")
        if isinstance(own, Mapping) and not {"vote", "judge"} & own.keys():
            return []  # it makes a text, which no vote does
        can = any(one.name == "protocol.view.confidence" for one, _ in self.out.open)
        sure = can or self.debate.protocol.view.confidence or "ask_confidence" in self.debate.moderator.stop.needs
        weighted: list[Any] = ["confidence", *({"vote": {"weight": name}} for name in ("reconcile", "log_odds"))]
        return [one for one in ["plurality", *(weighted if sure else [])] if one != own]

    def _view(self) -> None:
        view, seen = self.debate.protocol.view, self._reading
        if view.text in ("full", "answer"):
            self._add("protocol.view.text", "view", ["answer" if view.text == "full" else "full"], when=seen)
        self._add("protocol.view.own", "view", [o for o in ("shown", "peer", "hidden") if o != view.own], when=seen)
        self._add("protocol.view.confidence", "view", [not view.confidence], when=self._several)
        if self.debate.protocol.memory in ("own_chat", "transcript"):
            self._add("protocol.memory", "memory", ["own_last"], when=seen)

    def _gates(self) -> None:
        gates = self.debate.protocol.gates
        if not self.layered and len(self.debate.agents) > 2:
            self._add("protocol.gates.freeze", "gates", [None if gates.freeze else "majority"], when=self._reading)
        self._add("protocol.gates.drop", "gates", [None if gates.drop else "known"], when=self._reading)

    def _topology(self) -> None:
        if not any(phase.reads == "peers" for phase in self.debate.protocol.all_phases):  # type: ignore[union-attr]
            return
        agents = [agent.name for agent in self.debate.agents]
        small = len(agents) <= COMPARED
        seen: set[Any] = (
            {frozenset(self.debate.topology.edges)} if small and not self.debate.topology.changes else set()
        )

        def new(made: Debate) -> bool:
            edges = frozenset(made.topology.edges) if small else made.topology.name
            if edges in seen:
                return False
            seen.add(edges)
            return True

        free = 3 <= len(agents) <= EDGES and not self.layered and agents == list(self.full["agents"])
        before = len(self.out.open)
        self._add("topology", "topology", TOPOLOGIES if small else TOPOLOGIES[1:], new, self._reading)
        if len(self.out.open) == before or not free:
            return
        one, apply = self.out.open.pop()
        pairs = [(u, v) for u in agents for v in agents if u != v]
        self.out.open.append((replace(one, choices=(*one.choices, OWN)), self._begun(apply)))
        self.out.about.append("edges")
        for u, v in pairs:
            self.out.open.append((self._edge(u, v), _joined(u, v)))

    @staticmethod
    def _begun(apply: Apply) -> Apply:
        def begun(data: dict[str, Any], value: Any) -> None:
            apply(data, {"edges": []} if value == OWN else value)

        return begun

    def _edge(self, u: str, v: str) -> Parameter:
        def when(values: Values) -> bool:
            return values.get("topology") == OWN and all(values.get(f"agents.{name}", True) for name in (u, v))

        return Parameter(f"{u} -> {v}", (u, v) in self.debate.topology.edges, (True, False), when=when)

    def _team(self) -> None:
        own = self.file.data.get("agents")
        if not isinstance(own, Mapping) or not 1 <= len(own) <= TEAM:
            return
        team = []
        for name, spec in own.items():
            count = spec.get("count") if isinstance(spec, Mapping) else None
            sizes = list(_sizes(count)) if isinstance(count, int) else []
            values: list[Any] = [size for size in sizes if self._fits(name, size, count)]
            if len(own) > 1 and self._fits(name, False, count):
                values.append(False)
            if values:
                self.out.open.append((Parameter(f"agents.{name}", True, (True, *values)), _resized(name)))
                if count is None:
                    team.append(name)
        if self.out.open:
            self.out.about.append("team")
        names = [one.name for one, _ in self.out.open if False in one.choices]
        if len(own) == len(names) and self.out.open[-1][0].name == names[-1]:
            one, apply = self.out.open[-1]  # somebody stays

            def when(values: Values) -> bool:
                return any(values[name] is not False for name in names[:-1])

            self.out.open[-1] = replace(one, when=when), apply
        if len(team) > 1:
            self.out.early = lambda scores: _teams(team, scores)

    def _fits(self, name: str, value: Any, count: int | None) -> bool:
        """Whether it makes a debate of just so many agents fewer: a preset may put its own in the place of one."""
        made = self._tried(_resized(name), value)
        gone = (1 if count is None else count) - (0 if value is False else value)
        return made is not None and len(made.agents) == len(self.debate.agents) - gone


def _sizes(count: int) -> Iterator[int]:
    """Smaller groups."""
    yield from sorted({size for size in (1, count // 2, count - 1) if 0 < size < count}, reverse=True)


def _teams(team: Sequence[str], scores: Mapping[str, float]) -> list[Values]:
    """The best so many agents by importance, from the largest team to the smallest."""
    ranked = sorted(team, key=lambda name: -scores.get(name, 0.0))  # stable: of equals the first
    sizes = sorted({len(team) - 1, -(-len(team) // 2), 1} & set(range(1, len(team))), reverse=True)
    return [{f"agents.{name}": name in ranked[:size] for name in team} for size in sizes]


# ---- what puts values into data ---------------------------------------------------------------------------------


def put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value of a debate file's data, short forms on the way written out.

    Raises:
        InputError: if something on the way has no keys.
    """
    short = {"protocol": "preset", "view": "text", "schedule": "kind"}
    for name in path[:-1]:
        inner = data.setdefault(name, {})
        if isinstance(inner, str) and name in short:
            inner = {short[name]: inner}
        if not isinstance(inner, Mapping):
            raise InputError(f"{'.'.join(path)[:80]}: '{name[:40]}' has no keys of its own.")
        data[name] = dict(inner)
        data = data[name]
    data[path[-1]] = value


def _resized(name: str) -> Apply:
    def apply(data: dict[str, Any], value: Any) -> None:
        if value is True:
            return
        agents = data["agents"]
        if value is not False:
            agents[name] = {**agents[name], "count": value}
            return
        if len(agents) == 1:
            raise InputError("no agent is left.")
        del agents[name]

    return apply


def _joined(u: str, v: str) -> Apply:
    def apply(data: dict[str, Any], value: Any) -> None:
        if value:
            data["topology"]["edges"].append([u, v])

    return apply
