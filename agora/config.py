"""YAML -> objects: the one schema of debate files, with errors that carry file, line and the nearest right word."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agora import answers
from agora.budget import Budget
from agora.errors import AgoraError, ConfigError, InputError
from agora.model import Model, Settings
from agora.text.agent import Agent, View
from agora.text.debate import Debate
from agora.text.moderator import ByModel, Decision, Moderator, Vote, parse_stop
from agora.text.protocol import Protocol, Schedule

MAX_BYTES, MAX_NODES = 1_000_000, 50_000
_T = TypeVar("_T", bound=BaseModel)

# ---- the schema -------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettingsSpec(_Strict):
    """How to sample; what is not given here is passed on from outside."""

    temperature: float | None = Field(None, ge=0, le=5, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None


class AgentSpec(SettingsSpec):
    """Someone who takes part."""

    model: str | dict[str, Any] = Field(description="a name under models:, or a model")
    persona: str | None = Field(None, description="put into the system message")
    templates: dict[str, str] = Field(default_factory=dict, description="template name -> file or text")


class ViewSpec(_Strict):
    """What a reader sees of what it reads."""

    text: Literal["full", "answer"] = "full"
    names: Literal["anonymous", "named"] = "anonymous"
    own: Literal["shown", "hidden", "peer"] = "shown"
    confidence: bool = False


class ScheduleSpec(_Strict):
    """In which order agents speak."""

    kind: Literal["simultaneous", "sequential", "layered", "quorum"] = "simultaneous"
    order: Literal["fixed", "shuffled", "confidence"] = "fixed"
    share: float = Field(0.5, ge=0, le=1)
    deadline: float | None = Field(None, gt=0, description="seconds")


def _revise() -> list[Literal["critique", "revise"]]:
    return ["revise"]


class ProtocolSpec(_Strict):
    """How the debate runs."""

    schedule: Literal["simultaneous", "sequential", "layered", "quorum"] | ScheduleSpec = "simultaneous"
    view: ViewSpec = Field(default_factory=ViewSpec)
    memory: Literal["own_last", "own_chat", "transcript"] = "own_last"
    phases: list[Literal["critique", "revise"]] = Field(default_factory=lambda: _revise())


class VoteSpec(_Strict):
    """A vote and its tie policy."""

    weight: Literal["one", "confidence"] = "one"
    ties: Literal["initial", "confidence", "seeded", "abstain"] = "initial"


class ModeratorSpec(_Strict):
    """When it is over, and what came out."""

    stop: str = Field("unanimous | rounds(2)", description="rules joined with | and &")
    decide: Literal["plurality", "confidence"] | dict[Literal["vote", "judge", "synthesis"], Any] = "plurality"
    quorum: float = Field(0.5, ge=0, le=1, description="share of agents that must speak in every round")
    limit: int = Field(20, ge=0, le=10_000, description="hard limit on rounds")


class BudgetSpec(_Strict):
    """Limits of a run."""

    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    usd: float | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0)


class DebateFile(_Strict):
    """A debate: models, agents, who reads whom, protocol, moderator, budget."""

    name: str = "debate"
    question: str | None = None
    models: dict[str, Any] = Field(default_factory=dict, description="name -> model")
    agents: Annotated[dict[str, AgentSpec | str], Field(min_length=1, max_length=10_000)]
    topology: str | dict[str, Any] = "complete"
    protocol: ProtocolSpec = Field(default_factory=ProtocolSpec)
    moderator: ModeratorSpec = Field(default_factory=lambda: ModeratorSpec())
    answer: str | dict[str, Any] = "text"
    voters: list[str] | None = None
    budget: BudgetSpec = Field(default_factory=lambda: BudgetSpec())
    seed: int = 0


class ModelSpec(SettingsSpec):
    """A model written as a mapping: one kind, and its options."""

    base_url: str | None = None
    api_key_env: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict, description="passed through to the server")


def schema() -> dict[str, Any]:
    """The JSON Schema of debate files, for editors."""
    return DebateFile.model_json_schema()


# ---- reading ----------------------------------------------------------------------------------------------------

Path_ = tuple[str | int, ...]


def _plain(node: yaml.Node, file: str) -> tuple[Any, dict[Path_, int]]:
    """Plain data of a YAML tree, and the line of every place in it. Bounded, so that aliases cannot blow up."""
    lines: dict[Path_, int] = {}
    budget = [MAX_NODES]
    loader = yaml.SafeLoader("")

    def walk(node: yaml.Node, path: Path_) -> Any:
        line = node.start_mark.line + 1
        budget[0] -= 1
        if budget[0] < 0 or len(path) > 30:
            raise ConfigError("the file is too large once its aliases are expanded.", file=file, line=line)
        lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            data: dict[Any, Any] = {}
            for key_node, value in node.value:
                key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
                at = key_node.start_mark.line + 1
                if isinstance(key, bool):
                    key = key_node.value  # an agent called 'on' or 'no'
                if not isinstance(key, (str, int)):
                    raise ConfigError("a key must be a word.", file=file, line=at)
                if str(key) in data:
                    raise ConfigError(f"'{str(key)[:60]}' stands twice.", file=file, line=at)
                lines[(*path, str(key))] = at
                data[str(key)] = walk(value, (*path, str(key)))
            return data
        if isinstance(node, yaml.SequenceNode):
            return [walk(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"cannot be read: {str(error).splitlines()[0]}.", file=file, line=line) from error

    return walk(node, ()), lines


def parse(text: str, file: str = "debate") -> tuple[dict[str, Any], dict[Path_, int]]:
    """YAML text as plain data with lines.

    Raises:
        ConfigError: with file and line.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"this is not YAML: {error.problem or 'cannot be parsed'}.", file=file, line=line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"this is not YAML: {' '.join(str(error).split())[:120]}.", file=file) from error
    if node is None:
        raise ConfigError("the file is empty; a debate needs at least agents.", file=file)
    data, lines = _plain(node, file)
    if not isinstance(data, dict):
        raise ConfigError(
            "a debate file is a mapping that begins with keys such as models: and agents:.", file=file, line=1
        )
    return data, lines


def read(path: str | Path) -> str:
    """The text of a debate file.

    Raises:
        ConfigError: if it cannot be read.
    """
    name = str(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}.", file=name, hint="Check the path.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"the file has {len(raw):,} bytes; a debate file has at most {MAX_BYTES:,}.", file=name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("this is not a text file (UTF-8).", file=name) from error


def override(data: dict[str, Any], settings: Sequence[str]) -> None:
    """Set values by dotted path in place: `moderator.stop=rounds(1)`.

    Raises:
        InputError: if an assignment cannot be read or its path leads nowhere.
    """
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set needs KEY=VALUE, this is '{setting[:60]}'.")
        place, *rest = key.split(".")
        target: Any = data
        for name in rest:
            target = target.setdefault(place, {})
            if not isinstance(target, dict):
                raise InputError(f"--set {key[:60]}: '{place[:40]}' has no keys of its own.")
            place = name
        try:
            target[place] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key[:60]}: the value cannot be read.") from error


def load(path: str | Path, settings: Sequence[str] = ()) -> tuple[Debate, str | None]:
    """The debate in a file, and its question if it has one.

    Args:
        path: a YAML file.
        settings: overrides, 'KEY=VALUE' with dotted keys.

    Raises:
        ConfigError: with file, line and what to do.
    """
    return loads(read(path), str(path), settings, folder=Path(path).parent)


def loads(
    text: str, file: str = "debate", settings: Sequence[str] = (), folder: Path | None = None
) -> tuple[Debate, str | None]:
    """As `load`, from text."""
    data, lines = parse(text, file)
    override(data, settings)
    try:
        spec = DebateFile.model_validate(data)
    except ValidationError as errors:
        raise _explain(errors, data, lines, file) from None
    return _Builder(spec, lines, file, folder or Path()).debate(), spec.question


def _explain(errors: ValidationError, data: Any, lines: Mapping[Path_, int], file: str) -> ConfigError:
    """The most telling of pydantic's errors, in one sentence."""
    found = errors.errors(include_url=False, include_input=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    # pydantic puts the names of union members into paths; what leads somewhere in the data is the real path
    path: list[str | int] = []
    here: Any = data
    for part in first["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]
            path.append(part)
    line = next((lines[tuple(path[:n])] for n in range(len(path), -1, -1) if tuple(path[:n]) in lines), None)
    where = ".".join(map(str, path))
    if first["type"] == "extra_forbidden" and path:
        known = _keys_at(first["loc"])
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(known)}." if known else None
        return ConfigError(f"unknown key '{where[:120]}'.", file=file, line=line, hint=hint)
    if first["type"] == "missing":
        return ConfigError(f"'{first['loc'][-1]}' is missing{f' in {where}' if where else ''}.", file=file, line=line)
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{where[:120]}: {message[:1].lower()}{message[1:]}.", file=file, line=line)


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed beside an unknown one: found by walking the schema's classes."""
    spec: type[BaseModel] = DebateFile
    nested: dict[str, type[BaseModel]] = {
        "agents": AgentSpec,
        "protocol": ProtocolSpec,
        "moderator": ModeratorSpec,
        "budget": BudgetSpec,
        "view": ViewSpec,
        "schedule": ScheduleSpec,
    }
    for part in location[:-1]:
        spec = nested.get(str(part), spec)
    return list(spec.model_fields)


# ---- building ---------------------------------------------------------------------------------------------------


def load_model(value: Any, models: Mapping[str, Model] | None = None, folder: Path | None = None) -> Model:
    """A model from any value that may stand under `models:`.

    Args:
        value: 'pocket:sum', 'openai:NAME', 'anthropic:NAME', a mapping such as {openai: NAME, temperature: 0},
            {scripted: [...]}, {debate: FILE}, or a model itself.
        models: models that may be named.
        folder: where relative paths begin.

    Raises:
        InputError: naming what is wrong and what there is.
    """
    if isinstance(value, Model):
        return value
    if isinstance(value, str):
        if models and value in models:
            return models[value]
        kind, colon, name = value.partition(":")
        if not colon:
            near = difflib.get_close_matches(value, list(models or ()), 1)
            hint = f"Did you mean '{near[0]}'?" if near else None
            known = ", ".join(models or ()) or "none"
            raise InputError(
                f"there is no model '{value[:60]}'; models: has {known}, and kinds are {_kinds()}.", hint=hint
            )
        return _make(kind, name, {}, folder)
    if isinstance(value, Mapping):
        kinds = [key for key in value if key in _KINDS]
        if len(kinds) != 1:
            near = [m for key in value for m in difflib.get_close_matches(str(key), _KINDS, 1)]
            hint = f"Did you mean '{near[0]}'?" if near and not kinds else None
            raise InputError(f"a model as a mapping names one kind: {_kinds()}.", hint=hint)
        options = {key: item for key, item in value.items() if key != kinds[0]}
        return _make(kinds[0], value[kinds[0]], options, folder)
    raise InputError(f"a model is a text such as pocket:sum or a mapping, not {type(value).__name__}.")


def _make(kind: str, name: Any, options: Mapping[str, Any], folder: Path | None) -> Model:
    build = _KINDS.get(kind)
    if build is None:
        near = difflib.get_close_matches(kind, _KINDS, 1)
        hint = f"Did you mean '{near[0]}:{str(name)[:40]}'?" if near else None
        raise InputError(f"unknown kind of model '{kind[:40]}'; there are {_kinds()}.", hint=hint)
    made: Model = build(name, options, folder or Path())
    return made


def _pocket(name: Any, options: Mapping[str, Any], folder: Path) -> Model:
    from agora.models.pocket import PocketModel
    from agora.models.wrappers import with_settings

    spec = _options(options, SettingsSpec)
    return with_settings(PocketModel(str(name)), _settings(spec))


def _scripted(script: Any, options: Mapping[str, Any], folder: Path) -> Model:
    from agora.models.scripted import ScriptedModel

    unknown = set(options) - {"name", "latency", "failures"}
    if unknown:
        raise InputError(f"scripted: unknown option '{sorted(unknown)[0][:40]}'; there are name, latency, failures.")
    texts = list(script.values()) if isinstance(script, dict) else script if isinstance(script, list) else [script]
    if not texts or any(not isinstance(text, (str, int, float)) for text in texts):
        raise InputError("scripted: needs a text, a list of texts, or a mapping of patterns to texts.")
    if isinstance(script, dict):
        return ScriptedModel({str(k): str(v) for k, v in script.items()}, **options)
    return ScriptedModel([str(text) for text in texts], **options)


def _hosted(kind: str) -> Any:
    def build(name: Any, options: Mapping[str, Any], folder: Path) -> Model:
        spec = _options(options, ModelSpec)
        variable = spec.api_key_env or {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}[kind]
        key = os.environ.get(variable)
        if not key and (spec.base_url is None or spec.api_key_env is not None):
            raise InputError(
                f"{kind}:{name} needs a key in the environment variable {variable}, which is not set.",
                hint=f"Set {variable}, or use a local server with base_url, or pocket models.",
            )
        from agora.models.wrappers import with_settings

        if kind == "openai":
            from agora.models.openai import OpenAIModel

            made: Model = OpenAIModel(str(name), api_key=key or "none", base_url=spec.base_url, extra=spec.extra)
        else:
            from agora.models.anthropic import AnthropicModel

            made = AnthropicModel(str(name), api_key=key or "none", base_url=spec.base_url, extra=spec.extra)
        return with_settings(made, _settings(spec))

    return build


def _debate(file: Any, options: Mapping[str, Any], folder: Path) -> Model:
    if options or not isinstance(file, str):
        raise InputError("debate: needs the path of a debate file, and no options.")
    if len(folder.parts) > 200:
        raise InputError("debate: files are nested too deep.")
    path = (folder / file).resolve()
    if path in _open:
        raise InputError(f"debate: {file} contains itself.")
    _open.append(path)
    try:
        return load(path)[0]
    finally:
        _open.pop()


_open: list[Path] = []
_KINDS: dict[str, Any] = {
    "pocket": _pocket,
    "openai": _hosted("openai"),
    "anthropic": _hosted("anthropic"),
    "scripted": _scripted,
    "debate": _debate,
}


def _kinds() -> str:
    return ", ".join(_KINDS)


def _options(options: Mapping[str, Any], spec: type[_T]) -> _T:
    try:
        return spec.model_validate(dict(options))
    except ValidationError as errors:
        first = errors.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InputError(f"unknown option '{name[:60]}'; there are {', '.join(spec.model_fields)}.") from None
        raise InputError(f"{name[:60]}: {first['msg']}.") from None


def _settings(spec: SettingsSpec) -> Settings:
    return Settings(spec.temperature, spec.top_p, spec.max_tokens, spec.seed)


class _Builder:
    """Objects from a validated file; every error gets the line it belongs to."""

    def __init__(self, spec: DebateFile, lines: Mapping[Path_, int], file: str, folder: Path) -> None:
        self.spec, self.lines, self.file, self.folder = spec, lines, file, folder
        self.models: dict[str, Model] = {}

    def at(self, error: AgoraError, *path: str | int) -> ConfigError:
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        return ConfigError(error.message, file=self.file, line=line, hint=error.hint)

    def debate(self) -> Debate:
        spec = self.spec
        for name, value in spec.models.items():
            try:
                self.models[name] = load_model(value, self.models, self.folder)
            except ConfigError:
                raise
            except AgoraError as error:
                raise self.at(error, "models", name) from None
        agents = [self.agent(name, value) for name, value in spec.agents.items()]
        try:
            answer = self.answer()
        except AgoraError as error:
            raise self.at(error, "answer") from None
        try:
            protocol = self.protocol()
        except AgoraError as error:
            raise self.at(error, "protocol") from None
        moderator = self.moderator()
        try:
            return Debate(
                agents,
                topology=spec.topology,
                protocol=protocol,
                moderator=moderator,
                answer=answer,
                voters=spec.voters,
                budget=Budget(**spec.budget.model_dump()),
                seed=spec.seed,
                name=spec.name,
            )
        except AgoraError as error:
            raise self.at(error, "voters" if error.message.startswith("voters") else "topology") from None

    def agent(self, name: str, value: AgentSpec | str) -> Agent:
        spec = AgentSpec(model=value) if isinstance(value, str) else value
        try:
            model = load_model(spec.model, self.models, self.folder)
            templates = {
                k: self.folder / v if v.endswith((".jinja", ".txt", ".md")) else v for k, v in spec.templates.items()
            }
            return Agent(name, model, spec.persona, templates, _settings(spec))
        except AgoraError as error:
            raise self.at(error, "agents", name, "templates" if "template" in error.message else "model") from None

    def answer(self) -> answers.AnswerType:
        value = self.spec.answer
        if isinstance(value, str):
            return answers.answer_type(value)
        if len(value) != 1:
            raise InputError("answer: names one kind, such as {choice: [A, B]}.")
        (kind, options), *_ = value.items()
        if kind == "choice" and isinstance(options, (dict, list)):
            if isinstance(options, dict):
                return answers.Choice({str(k): str(v) for k, v in options.items()})
            return answers.Choice([str(option) for option in options])
        try:
            if kind == "number":
                return answers.Number(**options)
            if kind == "json":
                return answers.Json(tuple(map(str, options["keys"])))
        except (TypeError, KeyError):
            raise InputError(f"answer: {kind} does not take these options.") from None
        return answers.answer_type(str(kind))

    def protocol(self) -> Protocol:
        spec = self.spec.protocol
        schedule = Schedule(spec.schedule) if isinstance(spec.schedule, str) else Schedule(**spec.schedule.model_dump())
        return Protocol(schedule, View(**spec.view.model_dump()), spec.memory, tuple(spec.phases))

    def moderator(self) -> Moderator:
        spec = self.spec.moderator
        try:
            stop = parse_stop(spec.stop, self.models)
        except AgoraError as error:
            raise self.at(error, "moderator", "stop") from None
        try:
            return Moderator(stop, self.decide(spec.decide), spec.quorum, spec.limit)
        except AgoraError as error:
            raise self.at(error, "moderator", "decide") from None

    def decide(self, value: Any) -> Decision:
        if value == "plurality":
            return Vote()
        if value == "confidence":
            return Vote(weight="confidence")
        if len(value) != 1:
            raise InputError("decide: names one of vote, judge, synthesis.")
        (kind, options), *_ = value.items()
        if kind == "vote":
            return Vote(**_options(options or {}, VoteSpec).model_dump())
        model = load_model(options, self.models, self.folder)
        return ByModel(model, "judge" if kind == "judge" else "aggregate")
