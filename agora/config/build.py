"""Validated files -> objects; every error gets the line it belongs to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agora import answers
from agora.budget import Budget
from agora.config.answers import answer_of
from agora.config.models import KINDS as KINDS_OF_MODELS
from agora.config.models import Named, load_model
from agora.config.options import Context, checked, settings_of
from agora.config.presets import Given, merged
from agora.config.reading import Path_, explain, override, parse, read
from agora.config.schema import (
    AgentSpec,
    DebateFile,
    DecideSpec,
    DialSpec,
    GatesSpec,
    JudgeSpec,
    Phases,
    PhaseSpec,
    VoteSpec,
)
from agora.errors import AgoraError, ConfigError, InputError
from agora.journal import RunInfo
from agora.model import Model
from agora.prompts import template
from agora.text.agent import Agent, View
from agora.text.debate import Debate
from agora.text.moderator import ByModel, Decision, Distribution, Moderator, Pairwise, Select, Steer, Vote
from agora.text.protocol import KINDS, Dial, Gates, Phase, Protocol, Prune, Schedule, template_of
from agora.text.stop import parse_stop
from agora.text.topology import build

_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{16,}")


def load(
    path: str | Path,
    settings: Sequence[str] = (),
    *,
    lenient: bool = False,
    missing: list[str] | None = None,
    outer: tuple[Path, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Debate, str | None]:
    """The debate in a file, and its question if it has one.

    Args:
        path: a YAML file.
        settings: overrides, 'KEY=VALUE' with dotted keys.
        lenient: build hosted models even without their keys, for who only looks.
        missing: gets a sentence for each key that was missing then.
        outer: the files that this one is read from, where debates nest.
        progress: is told bytes done and bytes in all where models are merged.

    Raises:
        ConfigError: with file, line and what to do.
    """
    folder, files = Path(path).parent, (*outer, Path(path).resolve())
    context = Context(folder, {}, lenient, [] if missing is None else missing, files, progress=progress)
    return _loads(read(path), str(path), settings, context)


def loads(
    text: str,
    file: str = "debate",
    settings: Sequence[str] = (),
    folder: Path | None = None,
    *,
    lenient: bool = False,
    missing: list[str] | None = None,
) -> tuple[Debate, str | None]:
    """As `load`, from text."""
    context = Context(folder or Path(), {}, lenient, [] if missing is None else missing)
    return _loads(text, file, settings, context)


def again(info: RunInfo, settings: Sequence[str] = ()) -> Debate:
    """The debate of a run, built again from what the journal has, so that the run can go on.

    Args:
        info: the run.
        settings: further overrides.

    Raises:
        InputError: if the run cannot be built from that.
        ConfigError: if what it names is no longer there.
    """
    if info.question is None:
        raise InputError(f"run {info.id} was stored without its content, so it cannot be resumed.")
    kept = info.config
    if kept is None or "text" not in kept:
        raise InputError(f"run {info.id} was started from Python.", hint=f"Resume it there, with run='{info.id}'.")
    if kept.get("varied"):
        raise InputError(f"run {info.id} is a variation of its file, made in Python.",
                         hint=f"Resume it there, with run='{info.id}'.")  # fmt: skip
    debate, _ = loads(kept["text"], kept["file"], [*kept["settings"], *settings], folder=Path(kept["folder"]))
    return debate


@dataclass(frozen=True)
class Offer:
    """What a file has to offer to others.

    Attributes:
        name: what the file calls itself, if it does.
        debate: its debate; None where it has only models.
        models: every model under `models:`, by name.
        store: what it says under `store:`.
        question: its debate's, if it has one.
    """

    name: str | None
    debate: Debate | None
    models: Mapping[str, Model]
    store: Mapping[str, Any]
    question: str | None = None


def offer(
    path: str | Path, settings: Sequence[str] = (), *, progress: Callable[[int, int], None] | None = None
) -> Offer:
    """Everything in a file that answers; unlike a debate to be run, it may have models and no agents.

    Raises:
        ConfigError: with file, line and what to do.
    """
    text, file = read(path), str(path)
    context = Context(Path(path).parent, {}, files=(Path(path).resolve(),), progress=progress)
    data, lines = _checked(text, file, settings)
    models: Any = data.get("models")
    alone = isinstance(models, dict) and bool(models) and not {"agents", "protocol"} & set(data)
    if alone:  # one who stands in, so that all else is checked as in any file
        data["agents"] = {"reader": next(iter(models))}
    builder, debate = _built(data, lines, text, file, settings, context)
    name = data.get("name")
    kept = builder.spec.store.model_dump()
    return Offer(None if name is None else str(name), None if alone else debate, dict(builder.models), kept,
                 builder.spec.question)  # fmt: skip


def _loads(text: str, file: str, settings: Sequence[str], context: Context) -> tuple[Debate, str | None]:
    data, lines = _checked(text, file, settings)
    builder, debate = _built(data, lines, text, file, settings, context)
    return debate, builder.spec.question


def _checked(text: str, file: str, settings: Sequence[str]) -> tuple[dict[str, Any], dict[Path_, int]]:
    """A file as plain data, overrides included, and the line of every place; keys are found here."""
    for n, line in enumerate(text.splitlines(), 1):
        if _KEY.search(line):
            raise ConfigError("a key must not stand in a file.", file=file, line=n,
                              hint="Put it into the environment, and name the variable in api_key_env.")  # fmt: skip
    data, lines = parse(text, file)
    if any(_KEY.search(setting) for setting in settings):
        raise InputError("--set: a key must not stand there.", hint="Put it into the environment; see api_key_env.")
    override(data, settings)
    return data, lines


def _built(
    data: dict[str, Any], lines: dict[Path_, int], text: str, file: str, settings: Sequence[str], context: Context
) -> tuple[_Builder, Debate]:
    data, lines = merged(data, lines, file)
    try:
        spec = DebateFile.model_validate(data)
    except ValidationError as errors:
        raise explain(errors, data, lines, file) from None
    builder = _Builder(spec, lines, file, context)
    debate = builder.debate()
    debate.source = {
        "text": text, "file": file, "settings": list(settings), "folder": str(context.folder.resolve()),
        "store": spec.store.model_dump(),
    }  # fmt: skip
    return builder, debate


def built(spec: DebateFile, given: Given) -> Debate:
    """The debate of a file's data that was made in Python, with what is given there as objects.

    Args:
        spec: the data.
        given: what goes before it.

    Raises:
        ConfigError: saying what is wrong.
    """
    return _Builder(spec, {}, "", Context(), given).debate()


class _Builder:
    def __init__(
        self, spec: DebateFile, lines: Mapping[Path_, int], file: str, context: Context, given: Given = Given()
    ) -> None:
        self.spec, self.lines, self.file, self.context, self.given = spec, lines, file, context, given
        self.folder = context.folder
        context.models = self.models = Named(spec.models, context)
        self.made: Protocol | None = None
        self.groups: dict[str, list[str]] = {}  # each agent, and each group of agents, by name

    def at(self, error: AgoraError, *path: str | int) -> ConfigError:
        if isinstance(error, ConfigError) and error.line is not None:
            return error  # it knows better
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        return ConfigError(error.message, file=self.file, line=line, hint=error.hint)

    def debate(self) -> Debate:
        spec = self.spec
        try:
            answer = self.context.answer = self.answer()
        except AgoraError as error:
            raise self.at(error, "answer") from None
        for name in spec.models:
            try:
                self.models[name]
            except ConfigError:
                raise
            except AgoraError as error:
                raise self.at(error, "models", name) from None
        agents = [agent for name, value in spec.agents.items() for agent in self.agent(name, value)]
        try:
            protocol = self.made = self.protocol()
        except AgoraError as error:
            raise self.at(error, "protocol") from None
        moderator = self.moderator()
        try:
            voters = None if spec.voters is None else self.members(spec.voters, "voters")
        except AgoraError as error:
            raise self.at(error, "voters") from None
        try:
            topology = build(spec.topology, [agent.name for agent in agents], self.folder, spec.seed)
        except AgoraError as error:
            raise self.at(error, "topology") from None
        try:
            return Debate(
                agents,
                topology=topology,
                protocol=protocol,
                moderator=moderator,
                answer=answer,
                voters=voters,
                budget=Budget(**spec.budget.model_dump()),
                seed=spec.seed,
                name=spec.name,
            )
        except AgoraError as error:
            message = error.message
            place = "voters" if message.startswith("voters") else "protocol" if "schedule" in message else "topology"
            raise self.at(error, place) from None

    def agent(self, name: str, value: AgentSpec | str) -> list[Agent]:
        """The agent of an entry, or all of a group."""
        if name in self.given.agents:
            self.groups[name] = [name]
            return [self.given.agents[name]]
        spec = AgentSpec(model=value) if isinstance(value, str) else value
        names = [name] if spec.count is None else [f"{name}-{i}" for i in range(1, spec.count + 1)]
        self.groups[name] = names
        self.groups.update({n: [n] for n in names})
        try:
            model = load_model(spec.model, context=self.context)
            templates = {k: self.template(v) or v for k, v in spec.templates.items()}
            goal = spec.adversary.goal if spec.adversary else None
            return [Agent(n, model, spec.persona, templates, settings_of(spec), goal, spec.passage) for n in names]
        except AgoraError as error:
            raise self.at(error, "agents", name, "templates" if "template" in error.message else "model") from None

    def answer(self) -> answers.AnswerType:
        if self.given.answer is not None:
            return self.given.answer
        return answer_of(self.spec.answer)

    def protocol(self) -> Protocol:
        spec = self.spec.protocol
        schedule = Schedule(spec.schedule) if isinstance(spec.schedule, str) else Schedule(**spec.schedule.model_dump())
        memory, keep = (spec.memory, 2) if isinstance(spec.memory, str) else ("last", spec.memory.last)
        return Protocol(
            schedule,
            View(spec.view) if isinstance(spec.view, str) else View(**spec.view.model_dump()),
            memory,  # type: ignore[arg-type]
            phases=self.phases("phases", spec.phases),
            opening=self.phases("opening", spec.opening),
            closing=self.phases("closing", spec.closing),
            gates=self.gates(spec.gates),
            keep=keep,
            summariser=None if spec.summariser is None else load_model(spec.summariser, context=self.context),
            agreement=_dial(spec.agreement),
            contentiousness=_dial(spec.contentiousness),
            temperature=_dial(spec.temperature),
        )

    def phases(self, part: str, given: Phases) -> tuple[Phase, ...]:
        made = []
        for i, item in enumerate(given):
            try:
                made.append(self.phase(item))
            except AgoraError as error:
                raise self.at(error, "protocol", part, i) from None
        return tuple(made)

    def phase(self, item: str | dict[str, PhaseSpec | None]) -> Phase:
        if isinstance(item, dict) and len(item) != 1:
            raise InputError("phases: each is a kind, or one kind with what it says: {critique: {who: [skeptic]}}.")
        kind, spec = (item, PhaseSpec()) if isinstance(item, str) else next(iter(item.items()))
        spec = spec or PhaseSpec()
        if kind not in KINDS and spec.template is None:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"Did you mean '{near[0]}'?" if near else "A phase of your own needs template and gives."
            raise InputError(f"phases: '{kind[:40]}' is none of {', '.join(KINDS)}.", hint=hint)
        reads: Any = spec.reads
        if isinstance(reads, list) or reads not in ("peers", "all", "none"):
            reads = self.members(reads, "reads")
        given = self.template(spec.template)
        gives, *more = spec.gives if isinstance(spec.gives, list) else [spec.gives]
        if len(more) > 1:
            raise InputError("phases: gives one thing, or an answer and a ballot: [answer, scores].")
        unless = parse_stop(spec.unless, self.models) if spec.unless is not None else None
        view = View(**spec.view.model_dump()) if spec.view else None
        phase = Phase(
            kind, spec.name, self.members(spec.who, "who"), reads, view, given,
            gives, spec.first, spec.last, spec.every, unless, *more,
        )  # fmt: skip
        if given is not None:
            template(template_of(kind), given)  # a wrong one is found now
        return phase

    def template(self, given: str | None) -> str | Path | None:
        """A template as a file beside the debate file, or as text."""
        return self.folder / given if given is not None and given.endswith((".jinja", ".txt", ".md")) else given

    def members(self, names: str | list[str], what: str) -> tuple[str, ...]:
        """Agents by their names or their groups' names."""
        found: list[str] = []
        for name in [names] if isinstance(names, str) else names:
            if name not in self.groups:
                near = difflib.get_close_matches(name, self.groups, 1)
                hint = f"Did you mean '{near[0]}'?" if near else None
                raise InputError(f"{what}: there is no agent '{name[:40]}'.", hint=hint)
            found += self.groups[name]
        return tuple(dict.fromkeys(found))

    def gates(self, spec: GatesSpec) -> Gates:
        prune = None
        if spec.prune is not None:
            by: Any = spec.prune.by
            if by not in ("confidence", "scores", "rankings"):
                by = load_model(by, context=self.context)
            prune = Prune(spec.prune.keep, spec.prune.first, by)
        skip = parse_stop(spec.skip, self.models) if spec.skip is not None else None
        return Gates(skip, spec.freeze, spec.follow, spec.drop, prune)

    def moderator(self) -> Moderator:
        spec = self.spec.moderator
        try:
            stop = parse_stop(spec.stop, self.models)
        except AgoraError as error:
            raise self.at(error, "moderator", "stop") from None
        try:
            return Moderator(stop, self.decide(spec.decide), spec.quorum, spec.limit, spec.influence)
        except AgoraError as error:
            raise self.at(error, "moderator", "decide") from None

    def decide(self, value: str | DecideSpec) -> Decision:
        simple: dict[str, Decision] = {
            "plurality": Vote(), "confidence": Vote(weight="confidence"), "distribution": Distribution(),
        }  # fmt: skip
        if isinstance(value, str):
            return simple[value]
        if len(value.model_fields_set) != 1:
            raise InputError(f"decide: names one of {', '.join(DecideSpec.model_fields)}.")
        kind = next(iter(value.model_fields_set))
        options = getattr(value, kind)
        if kind == "vote":
            return self.vote(
                checked({"rule": options}, VoteSpec) if isinstance(options, str) else options or VoteSpec()
            )
        if kind == "steer":
            who, least = (options, 0.0) if isinstance(options, str) else (options.agent, options.threshold)
            if who not in self.groups or len(self.groups[who]) != 1:
                near = difflib.get_close_matches(str(who), self.groups, 1)
                hint = f"Did you mean '{near[0]}'?" if near else None
                raise InputError(f"steer: there is no agent '{str(who)[:40]}'.", hint=hint)
            return Steer(who, least)
        if isinstance(options, JudgeSpec):
            spec = options
        elif isinstance(options, dict) and not any(key in KINDS_OF_MODELS for key in options):
            spec = checked(options, JudgeSpec)
        else:
            spec = JudgeSpec(model=options)
        model, override = load_model(spec.model, context=self.context), self.template(spec.template)
        ranker = None if spec.ranker is None else load_model(spec.ranker, context=self.context)
        names = {"judge": "compare" if spec.pairwise else "judge", "synthesis": "aggregate"}
        name = names.get(kind, kind)
        if override is not None:
            template(name, override)  # a wrong one is found now
        if kind == "select":
            return Select(model, override)
        if spec.pairwise:
            return Pairwise(model, spec.named, override=override)
        return ByModel(model, name, override, spec.named, spec.history, spec.threshold, spec.top, ranker)

    def vote(self, spec: VoteSpec) -> Vote:
        strangers = [name for name in spec.accuracies if name not in self.groups]
        if strangers:
            raise InputError(f"accuracies: there is no agent '{strangers[0][:40]}'.")
        asked = {phase.ballot for phase in self.made.all_phases} if self.made else set()
        wants = "scores" if spec.rule in ("approval", "score", "cumulative") else "ranking"
        over_answers = ("plurality", "majority", "supermajority", "mean", "median", "trajectory", "medoid",
                        "most_consistent")  # fmt: skip
        ballots = spec.rule not in over_answers
        if ballots and not asked & {wants, "scores"}:
            phase = "score" if wants == "scores" else "rank"
            raise InputError(f"{spec.rule}: no phase asks for {wants}.", hint=f"Add one: closing: [{phase}].")
        skill = {name: value for group, value in spec.accuracies.items() for name in self.groups[group]}
        return Vote(**{**spec.model_dump(), "accuracies": skill})


def _dial(value: float | DialSpec | None) -> Dial | None:
    if value is None:
        return None
    return Dial(value.start, value.end) if isinstance(value, DialSpec) else Dial(float(value))
