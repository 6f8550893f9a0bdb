"""Presets: published debate protocols as debate files, and how a debate file goes over the one that it names."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agora.answers import AnswerType
from agora.budget import Budget
from agora.config.reading import Path_, explain, override, parse, read, spelled_out
from agora.config.schema import AboutSpec, DebateFile
from agora.errors import ConfigError, InputError
from agora.model import Model
from agora.text.agent import Agent

if TYPE_CHECKING:
    from agora.text.debate import Debate

FOLDER = Path(__file__).parent.parent / "presets"
_DEEPEST = 10  # presets that name presets
# mappings whose keys a file sets one by one; all else it replaces whole: unions such as schedule and decide, and models
_BY_KEY: frozenset[Path_] = frozenset({
    ("models",), ("protocol",), ("protocol", "view"), ("protocol", "gates"), ("protocol", "gates", "prune"),
    ("moderator",), ("budget",), ("store",),
})  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What Python gives a debate as objects, in place of what its data says.

    Attributes:
        agents: by the names that stand in the data.
        answer: the kind of answer.
    """

    agents: Mapping[str, Agent] = field(default_factory=dict)
    answer: AnswerType | None = None


# ---- what there is ----------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The presets, by name: that of the file without its ending."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def known(name: str) -> str:
    """A preset's name as it is written, from one with other case or with underscores.

    Raises:
        InputError: if there is none, with the nearest one.
    """
    there = {_plain(each): each for each in names()}
    if not isinstance(name, str) or _plain(name) not in there:
        near = difflib.get_close_matches(_plain(str(name)[:80]), there, 1)
        hint = f"Did you mean '{there[near[0]]}'? " if near else ""
        raise InputError(f"there is no preset '{str(name)[:60]}'.", hint=f"{hint}`agora presets` lists them.")
    return there[_plain(name)]


def text(name: str) -> str:
    """A preset's file as it is.

    Raises:
        InputError: if there is no such preset.
    """
    return read(FOLDER / f"{known(name)}.yaml")


def data(name: str) -> dict[str, Any]:
    """A preset as plain data; one that names another is spelled out.

    Raises:
        InputError: if there is no such preset, or presets name each other in a circle.
    """
    return _resolved(known(name), ())


def about(name: str) -> AboutSpec:
    """What a preset says about itself.

    Raises:
        InputError: if there is no such preset.
    """
    said = data(name).get("about")
    return AboutSpec(title=known(name)) if said is None else AboutSpec.model_validate(said)


def roles(preset: Mapping[str, Any]) -> list[str]:
    """The agents of a debate as plain data if any of them is named in it (in who or reads of a phase, voters, topology,
    decision or stop rule), so that each has a part of its own; none if any agents would do."""
    agents = _mapping(preset.get("agents"))
    owners = {name: name for name in agents}
    for name, value in agents.items():
        count = _mapping(value).get("count")
        if isinstance(count, int):
            owners.update({f"{name}-{i}": name for i in range(1, min(count, 10_000) + 1)})
    return list(agents) if any(word in owners for word in _named_in(preset)) else []


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


@lru_cache(64)
def _parsed(content: str, file: str) -> dict[str, Any]:
    return parse(content, file)[0]


def _resolved(name: str, outer: tuple[str, ...]) -> dict[str, Any]:
    if name in outer or len(outer) >= _DEEPEST:
        raise InputError(f"the preset '{name}' is made of itself: {', '.join([*outer, name])}.")
    path = FOLDER / f"{name}.yaml"
    own = copy.deepcopy(_parsed(read(path), str(path)))
    spelled_out(own)
    inner = _mapping(own.get("protocol")).get("preset")
    if inner is None:
        return own
    base = _resolved(known(inner), (*outer, name))
    return _over(base, own, known(inner)) | {k: own[k] for k in ("question", "name") if k in own}


def _named_in(preset: Mapping[str, Any]) -> Iterator[str]:
    """Words of a debate that stand where agents are named."""
    protocol, moderator = _mapping(preset.get("protocol")), _mapping(preset.get("moderator"))
    stops = [moderator.get("stop"), _mapping(protocol.get("gates")).get("skip")]
    for part in ("opening", "phases", "closing"):
        for item in protocol.get(part) or ():
            for spec in _mapping(item).values():
                yield from _words([_mapping(spec).get("who"), _mapping(spec).get("reads")])
                stops.append(_mapping(spec).get("unless"))
    yield from _words(preset.get("voters"))
    if isinstance(preset.get("topology"), Mapping):
        yield from _words(preset["topology"])
    decide = _mapping(moderator.get("decide"))
    yield from _words(decide.get("steer"))
    yield from _mapping(_mapping(decide.get("vote")).get("accuracies"))
    for stop in stops:
        yield from _arguments(stop)


def _words(value: Any) -> Iterator[str]:
    """Every text in a value; keys are none of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _words(item)


def _arguments(stop: Any) -> Iterator[str]:
    """Words among the arguments of the rules in a stop rule; judge's are models."""
    try:
        tree = ast.parse(" ".join(stop.split()), mode="eval") if isinstance(stop, str) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # what is wrong with it is said where it is built
    for call in ast.walk(tree) if tree is not None else ():
        if isinstance(call, ast.Call) and not (isinstance(call.func, ast.Name) and call.func.id == "judge"):
            for value in (*call.args, *(keyword.value for keyword in call.keywords)):
                word = value.id if isinstance(value, ast.Name) else getattr(value, "value", None)
                if isinstance(word, str):
                    yield word


# ---- a file over its preset -------------------------------------------------------------------------------------


def merged(
    own: dict[str, Any], lines: Mapping[Path_, int] | None = None, file: str | None = None
) -> tuple[dict[str, Any], dict[Path_, int]]:
    """A debate file's data over that of the preset that it names, if any; and the line of every place in the whole.

    Keys of models, protocol (view and gates too), moderator, budget and store are set one by one, all else is replaced
    whole. Agents that have a role are set one by one, and so are those given without a model; where there are no roles,
    agents with models replace the preset's. The preset's
    question is not taken, and what comes from the preset has the line of `protocol`.

    Args:
        own: the file's data; it is changed.
        lines: the lines of its places.
        file: its name, for errors.

    Raises:
        ConfigError: if there is no such preset, or an agent has no role in it.
    """
    lines = lines or {}

    def wrong(error: InputError, *path: str) -> ConfigError:
        return ConfigError(error.message, file=file, line=_line(lines, path), hint=error.hint)

    spelled_out(own)
    protocol = own.get("protocol", {})
    if not isinstance(protocol, Mapping):
        said = "nothing" if protocol is None else type(protocol).__name__
        raise wrong(InputError(f"protocol: is a preset's name, or a mapping of what is set, not {said}.",
                               hint="Write protocol: NAME, or such as protocol: {view: answer}."),
                    "protocol")  # fmt: skip
    if "preset" not in protocol:
        return own, dict(lines)
    name = protocol["preset"]
    if not isinstance(name, str):
        said = "nothing" if name is None else type(name).__name__
        raise wrong(InputError(f"protocol.preset: is a preset's name, not {said}.",
                               hint="`agora presets` lists them."), "protocol", "preset")  # fmt: skip
    try:
        name = known(name)
        base = _resolved(name, ())
    except InputError as error:
        message = error.message if isinstance(error, ConfigError) else f"protocol: {error.message}"
        raise wrong(InputError(message, hint=error.hint), "protocol", "preset") from None
    try:
        made = _over(base, own, name)
    except _NoRole as error:
        raise wrong(error, "agents", error.name) from None
    here = {path: _line(lines, path) for path in _places(own)}
    at = _line(lines, ("protocol",))
    for agent, value in _mapping(own.get("agents")).items():
        if not isinstance(value, Mapping):
            here["agents", agent, "model"] = _line(lines, ("agents", agent))
    places = {path: here.get(path, at) for path in _places(made)}
    return made, {path: line for path, line in places.items() if line is not None}


class _NoRole(InputError):
    """An agent that the preset has no part for."""

    def __init__(self, name: str, preset: str, roles: Sequence[str]) -> None:
        near = difflib.get_close_matches(name, roles, 1)
        super().__init__(f"agents: '{name[:40]}' is no role of the preset '{preset}', which has {', '.join(roles)}.",
                         hint=f"Did you mean '{near[0]}'?" if near else None)  # fmt: skip
        self.name = name


def _over(base: dict[str, Any], own: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Data over that of a preset, which is changed."""
    agents = own.get("agents")
    changed = isinstance(agents, Mapping) and all(isinstance(v, Mapping) and "model" not in v for v in agents.values())
    # who says nothing of a model changes an agent that is there: agents: {sample: {count: 10}}
    there = list(_mapping(base.get("agents"))) if agents and changed else roles(base)
    if not there and isinstance(
        agents, Mapping
    ):  # another model for an agent that is there: its count and settings stay
        base_agents = _mapping(base.get("agents"))
        agents = {
            name: {**base_agents[name], "model": value}
            if isinstance(value, str) and isinstance(base_agents.get(name), Mapping)
            else value
            for name, value in agents.items()
        }
    if there and isinstance(agents, Mapping):
        agents = _cast(_mapping(base["agents"]), agents, name, there)
    made = _set(base, {key: value for key, value in own.items() if key != "agents"}, ())
    if "agents" in own:
        made["agents"] = agents
    made.pop("question", None)
    made["name"] = own.get("name", name)
    if "question" in own:
        made["question"] = own["question"]
    if isinstance(made.get("protocol"), dict):
        made["protocol"].pop("preset", None)
    return made


def _set(base: Any, own: Mapping[str, Any], path: Path_) -> dict[str, Any]:
    """Keys over a preset's."""
    if path == ("protocol", "view") and isinstance(base, str):
        base = {"text": base}  # view: answer is short for view: {text: answer}
    made = dict(base) if isinstance(base, Mapping) else {}
    for key, value in own.items():
        by_key = (*path, key) in _BY_KEY and isinstance(value, Mapping)
        made[key] = _set(made.get(key), value, (*path, key)) if by_key else value
    return made


def _cast(base: Mapping[str, Any], own: Mapping[str, Any], preset: str, there: Sequence[str]) -> dict[str, Any]:
    """Agents over those of a preset with roles."""
    made = dict(base)
    for name, value in own.items():
        if name not in base:
            raise _NoRole(name, preset, there)
        spec = base[name] if isinstance(base[name], Mapping) else {"model": base[name]}
        if isinstance(value, Mapping):
            made[name] = {**spec, **value}
            if isinstance(spec.get("templates"), Mapping) and isinstance(value.get("templates"), Mapping):
                made[name]["templates"] = {**spec["templates"], **value["templates"]}
        else:
            made[name] = {**spec, "model": value} if isinstance(value, str) else value
    return made


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _line(lines: Mapping[Path_, int], path: Path_) -> int | None:
    """The line of a place, or of the nearest one around it."""
    return next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)


def _places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    yield path
    if isinstance(value, (Mapping, list)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _places(item, (*path, key))


# ---- from Python ------------------------------------------------------------------------------------------------


def preset(
    name: str,
    agents: Sequence[Agent] | Mapping[str, Agent | Model | str] | None = None,
    *,
    models: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    answer: str | Mapping[str, Any] | AnswerType | None = None,
    budget: Budget | None = None,
    seed: int | None = None,
) -> Debate:
    """A preset's debate, with what is given in place of what it says. See `Debate.preset`."""
    from agora.config.build import built  # which needs this file

    name = known(name)
    for what, wrong, kind in (("models", models, Mapping), ("budget", budget, Budget)):
        if wrong is not None and not isinstance(wrong, kind):
            raise InputError(f"{what}: needs a {kind.__name__}, not {type(wrong).__name__}.")
    base = data(name)
    own: dict[str, Any] = {"protocol": {"preset": name}, "models": dict(models or {})}
    cast, there = _given(agents), roles(base)
    objects: dict[str, Agent] = {}
    if agents is not None:
        if not cast:
            raise InputError("a debate needs at least one agent.", hint="Leave agents out to keep the preset's.")
        own["agents"] = {role: _placed(role, value, base, own["models"]) for role, value in cast.items()}
    for role, value in cast.items():
        if isinstance(value, Agent):
            said = _mapping(_mapping(base.get("agents")).get(role)).get("persona") if there else None
            objects[role] = replace(value, name=role, persona=said if value.persona is None else value.persona)
    if models and not settings:
        _no_strangers(name, base, models, cast.values())
    read_as = answer if isinstance(answer, AnswerType) else None
    if answer is not None and read_as is None:
        own["answer"] = dict(answer) if isinstance(answer, Mapping) else answer
    if budget is not None:
        own["budget"] = asdict(budget)
    if seed is not None:
        own["seed"] = seed
    override(own, settings)
    made, _ = merged(own)
    try:
        spec = DebateFile.model_validate(made)
    except ValidationError as errors:
        raise explain(errors, made, {}, "") from None
    return built(spec, Given(objects, read_as))


def _given(agents: Any) -> dict[str, Agent | Model | str]:
    """Agents by name."""
    if agents is None:
        return {}
    if isinstance(agents, Mapping):
        return {str(name): value for name, value in agents.items()}
    if isinstance(agents, str) or not isinstance(agents, Sequence) or not all(isinstance(a, Agent) for a in agents):
        raise InputError("agents: needs Agents, or a mapping of names to Agents, models or models' names.")
    made: dict[str, Agent | Model | str] = {agent.name: agent for agent in agents}
    if len(made) < len(agents):
        twice = next(agent.name for agent in agents if sum(agent.name == other.name for other in agents) > 1)
        raise InputError(f"agents: two are called '{twice[:40]}'.", hint="Give one of them another name.")
    return made


def _placed(role: str, value: Any, base: Mapping[str, Any], models: dict[str, Any]) -> Any:
    """What stands in the data for what is given for a role; a model stands under models, by a name of its own."""
    if isinstance(value, Agent):
        return "given"
    if isinstance(value, str):
        return {"model": value}
    if not isinstance(value, Model):
        said = type(value).__name__
        raise InputError(f"agents: {role[:40]} is of type {said}, not an Agent, a Model or a model's name.")
    name = f"{role} (given)"
    while name in models or name in _mapping(base.get("models")):
        name += "'"
    models[name] = value
    return {"model": name}


def _no_strangers(preset: str, base: Mapping[str, Any], models: Mapping[str, Any], agents: Iterable[Any]) -> None:
    """Models that nothing uses were meant to have another name."""
    there = list(_mapping(base.get("models")))
    for name in models:
        if name not in there and name not in [agent for agent in agents if isinstance(agent, str)]:
            near = difflib.get_close_matches(str(name), there, 1)
            raise InputError(
                f"models: the preset '{preset}' has no '{str(name)[:40]}'; there are {', '.join(there) or 'none'}.",
                hint=f"Did you mean '{near[0]}'?" if near else None,
            )
