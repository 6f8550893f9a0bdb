"""Models from the values that may stand under `models:`; the only module that knows every kind."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agora.answers import AnswerType
from agora.config.schema import (
    CascadeSpec,
    DeferSpec,
    HostedSpec,
    MentorSpec,
    NudgeSpec,
    RouteSpec,
    RuleSpec,
    SettingsSpec,
    SwitchSpec,
)
from agora.errors import AgoraError, InputError
from agora.model import Model, Settings

_T = TypeVar("_T", bound=BaseModel)
_SECRET = re.compile(r"api.?key|authorization|secret|password", re.IGNORECASE)
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "completions": "OPENAI_API_KEY"}


class Named(Mapping[str, Model]):
    """The models of a file by name, each built when first asked for, so that they may name each other in any order."""

    def __init__(self, values: Mapping[str, Any], context: Context) -> None:
        self._values, self._context = values, context
        self._built: dict[str, Model] = {}
        self._open: list[str] = []

    def __getitem__(self, name: str) -> Model:
        if name not in self._built:
            if name in self._open:
                raise InputError(f"the model '{name[:40]}' contains itself.")
            self._open.append(name)
            try:
                self._built[name] = load_model(self._values[name], context=self._context)
            finally:
                self._open.pop()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass
class Context:
    """Where a model is built.

    Attributes:
        folder: where relative paths begin.
        models: models that may be named.
        lenient: build hosted models even without a key, for who only looks.
        missing: what was missing then.
        files: debate files that are being read, the outermost first.
        answer: the kind of answer of the debate around.
    """

    folder: Path = Path()
    models: Mapping[str, Model] = field(default_factory=dict)
    lenient: bool = False
    missing: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    answer: AnswerType | None = None


Build = Callable[[Any, Mapping[str, Any], Context], Model]


def load_model(
    value: Any,
    models: Mapping[str, Model] | None = None,
    folder: Path | None = None,
    *,
    context: Context | None = None,
) -> Model:
    """A model from any value that may stand under `models:`.

    Args:
        value: 'pocket:sum', 'openai:NAME', 'anthropic:NAME', a mapping such as {openai: NAME, temperature: 0},
            {fallback: [...]}, {human: NAME}, {scripted: [...]}, {debate: FILE}, or a model itself.
        models: models that may be named.
        folder: where relative paths begin.
        context: in place of both.

    Raises:
        InputError: naming what is wrong and what there is.
    """
    here = context or Context(folder or Path(), models or {})
    if isinstance(value, str):
        if value in here.models:
            return here.models[value]
        kind, colon, name = value.partition(":")
        if not colon:
            near = difflib.get_close_matches(value, list(here.models), 1)
            hint = f"Did you mean '{near[0]}'?" if near else None
            known = ", ".join(here.models) or "none"
            raise InputError(
                f"there is no model '{value[:60]}'; models: has {known}, and kinds are {_kinds()}.", hint=hint
            )
        return _make(kind, name, {}, here)
    if isinstance(value, Mapping):
        known_kinds = {*KINDS, *_plugins()}
        kinds = [key for key in value if key in known_kinds]
        if len(kinds) != 1:
            near = [m for key in value for m in difflib.get_close_matches(str(key), known_kinds, 1)]
            hint = f"Did you mean '{near[0]}'?" if near and not kinds else None
            raise InputError(f"a model as a mapping names one kind: {_kinds()}.", hint=hint)
        options = {key: item for key, item in value.items() if key != kinds[0]}
        return _make(kinds[0], value[kinds[0]], options, here)
    if isinstance(value, Model):
        return value
    raise InputError(f"a model is a text such as pocket:sum or a mapping, not {type(value).__name__}.")


def _make(kind: str, name: Any, options: Mapping[str, Any], context: Context) -> Model:
    build = KINDS.get(kind)
    if build is None and kind in _plugins():
        return _plugin(kind, name, options, context)
    if build is None:
        near = difflib.get_close_matches(kind, [*KINDS, *_plugins()], 1)
        hint = f"Did you mean '{near[0]}:{str(name)[:40]}'?" if near else None
        raise InputError(f"unknown kind of model '{kind[:40]}'; there are {_kinds()}.", hint=hint)
    return build(name, options, context)


# ---- kinds ------------------------------------------------------------------------------------------------------


def _pocket(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.pocket import PocketModel
    from agora.models.wrappers import with_settings

    spec = checked(options, SettingsSpec)
    return with_settings(PocketModel(str(name)), settings_of(spec))


def _scripted(script: Any, options: Mapping[str, Any], context: Context) -> Model:
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


def _hosted(kind: str) -> Build:
    def build(name: Any, options: Mapping[str, Any], context: Context) -> Model:
        chat = options.get("chat", "plain")
        spec = checked({key: v for key, v in options.items() if key != "chat" or kind != "completions"}, HostedSpec)
        if kind == "anthropic" and spec.api_version is not None:
            raise InputError("anthropic: has no api_version; that is for Azure's OpenAI models.")
        if kind == "openai" and spec.thinking is not None:
            raise InputError("openai: takes an effort (reasoning: low), not a number of tokens (thinking).")
        if spec.api_version is not None and spec.base_url is None:
            raise InputError("openai: with api_version (Azure) base_url must be the resource's endpoint.")
        variable = spec.api_key_env or ("AZURE_OPENAI_API_KEY" if spec.api_version else KEYS[kind])
        key = (os.environ.get(variable) or "").strip()
        secret = next(
            (k for k in spec.extra if re.search(r"api.?key|authorization|secret|password", str(k), re.I)), None
        )
        if secret is not None:
            raise InputError(f"extra: '{secret[:40]}' looks like a key, and would be kept in the journal.",
                             hint="Put it into the environment, and name the variable in api_key_env.")  # fmt: skip
        if not str(name).strip():
            raise InputError(f"{kind}: needs the model's name, such as {kind}:NAME.")
        vendor = "OPENAI" if kind == "completions" else kind.upper()
        elsewhere = spec.base_url is not None or os.environ.get(f"{vendor}_BASE_URL")
        if not key and (not elsewhere or spec.api_key_env is not None or spec.api_version is not None):
            missing = f"{kind}:{name} needs a key in the environment variable {variable}, which is not set."
            if not context.lenient:
                raise InputError(
                    missing, hint=f"Set {variable}, or use a local server with base_url, or pocket models."
                )
            context.missing.append(missing)
        return _wrapped(kind, str(name), key or "none", spec, chat)

    return build


def _wrapped(kind: str, name: str, key: str, spec: HostedSpec, chat: Any = "plain") -> Model:
    """The adapter, and around it one policy: time for a request, the endpoint's limits, retries, pinned settings."""
    from agora.budget import Price
    from agora.models import wrappers
    from agora.models.limits import Limits, limiter_of

    vendor = "openai" if kind == "completions" else kind
    limiter = limiter_of(f"{vendor} {spec.base_url or ''}", key)
    common: dict[str, Any] = {
        "api_key": key,
        "base_url": spec.base_url,
        "reasoning": spec.reasoning,
        "structured": spec.structured,
        "price": Price(**spec.price.model_dump()) if spec.price else None,
        "extra": spec.extra,
        "limiter": limiter,
    }
    made: Model
    if kind == "openai":
        from agora.models.openai import OpenAIModel

        made = OpenAIModel(name, api_version=spec.api_version, **common)
    elif kind == "completions":
        from agora.models.completions import CompletionsModel

        del common["reasoning"], common["structured"]
        made = CompletionsModel(name, chat=chat, **common)
    else:
        from agora.models.anthropic import AnthropicModel

        made = AnthropicModel(name, thinking=spec.thinking, **common)
    made = wrappers.Timeout(made, spec.timeout)
    made = wrappers.Limited(made, limiter, Limits(**spec.limits.model_dump()))
    made = wrappers.Retry(made, wrappers.RetryPolicy(spec.retry.attempts, spec.retry.seconds))
    pinned = Settings(stop=tuple(spec.stop) if spec.stop else None, logprobs=spec.logprobs).over(settings_of(spec))
    return wrappers.with_settings(made, pinned)


def _fallback(members: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.wrappers import Fallback

    if options or not isinstance(members, list) or not members:
        raise InputError("fallback: needs a list of models, and no options.")
    return Fallback([load_model(member, context=context) for member in members])


def _human(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.human import HumanModel

    timeout = options.get("timeout")
    if set(options) - {"timeout"} or not (timeout is None or isinstance(timeout, (int, float))):
        raise InputError("human: takes one option, timeout in seconds.")
    return HumanModel(str(name) if name else "you", timeout=timeout)


def _debate(file: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.config.build import load

    if options or not isinstance(file, str):
        raise InputError("debate: needs the path of a debate file, and no options.")
    path = (context.folder / file).resolve()
    if path in context.files:
        raise InputError(f"debate: {file} contains itself.")
    if len(context.files) > 20:
        raise InputError("debate: files are nested too deep.")
    return load(path, lenient=context.lenient, missing=context.missing, outer=context.files)[0]


def _route(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.cards import Card
    from agora.api.route import Router

    spec = checked(options, RouteSpec)
    members = _members("route", value, context)
    cards = {name: Card(**card.model_dump()) for name, card in spec.cards.items()}
    return Router(members, _choice(spec, members, context), otherwise=spec.otherwise, given=cards,
                  local_only=spec.local_only)  # fmt: skip


def _members(kind: str, value: Any, context: Context) -> dict[str, Model]:
    """Models by what the file calls them: a name under models:, a key of a mapping, else their own name."""
    if isinstance(value, dict) and value:
        return {str(name): load_model(item, context=context) for name, item in value.items()}
    if not isinstance(value, list) or not value:
        raise InputError(f"{kind}: needs a list of models, or a mapping of names to models.")
    found: dict[str, Model] = {}
    for item in value:
        model = load_model(item, context=context)
        name = item if isinstance(item, str) and item in context.models else model.name
        if name in found:
            raise InputError(f"{kind}: '{name[:40]}' stands there twice.", hint="Give each a name: {NAME: MODEL, ...}.")
        found[name] = model
    return found


def _choice(spec: RouteSpec, members: Mapping[str, Model], context: Context) -> Any:
    from agora.api import bandit, route, routerfile
    from agora.api.predicate import parse

    def there(name: Any, what: str) -> str:
        if name not in members:
            near = difflib.get_close_matches(str(name), list(members), 1)
            raise InputError(f"{what}: '{str(name)[:40]}' is none of the models.",
                             hint=f"Did you mean '{near[0]}'?" if near else None)  # fmt: skip
        return str(name)

    names = {name: name for name in members}
    if isinstance(spec.by, str):
        if spec.by == "random":
            return route.Mix()
        if not spec.by.endswith((".json", ".safetensors")):
            raise InputError(f"by: '{spec.by[:60]}' is neither random nor a router file (.json, .safetensors).")
        learnt = routerfile.load(context.folder / spec.by)
        names = {n: n if n in learnt.models else model.name for n, model in members.items()}
        return route.Expected(learnt, names, weight=spec.weight, threshold=spec.threshold)
    if len(spec.by) != 1:
        raise InputError("by: names one way to choose: prompt, rules, random, best or bandit.")
    (way, given), *_ = spec.by.items()
    match way:
        case "prompt":
            return route.Asked(load_model(given, context=context))
        case "best":
            return route.Best(there(given, "best"))
        case "random" if isinstance(given, dict):
            if any(not isinstance(weight, (int, float)) for weight in given.values()):
                raise InputError("random: weights are numbers.")
            return route.Mix({there(name, "random"): float(weight) for name, weight in given.items()})
        case "rules" if isinstance(given, list):
            rules = [checked(item if isinstance(item, dict) else {}, RuleSpec) for item in given]
            return route.Rules([(parse(rule.when), rule.when, there(rule.model, "rules")) for rule in rules])
        case "bandit" if isinstance(given, str):
            return bandit.load(context.folder / given, list(names), weight=spec.weight or 0.0)
    raise InputError(f"by: cannot read '{str(way)[:40]}'; there are prompt, rules, random, best and bandit.")


_STAGE = ("until", "samples")


def _cascade(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.cascade import AtLeast, Cascade, Stage
    from agora.config.answers import answer_of

    spec = checked(options, CascadeSpec)
    if not isinstance(value, list) or not value:
        raise InputError("cascade: needs a list of stages, from cheap to dear.")
    stages = []
    for i, item in enumerate(value):
        own = {key: item[key] for key in _STAGE if key in item} if isinstance(item, dict) else {}
        rest = {key: v for key, v in item.items() if key not in _STAGE} if isinstance(item, dict) else item
        if isinstance(rest, dict) and set(rest) == {"model"}:
            rest = rest["model"]
        stage = checked({**spec.model_dump(include={"until", "samples"}), **own}, CascadeSpec)
        until = None if stage.until is None else _until(stage.until, context)
        model = load_model(rest, context=context)
        sampled = isinstance(until, AtLeast) and until.signal == "agreement" and not _is_debate(model)
        last = i == len(value) - 1
        samples = stage.samples if stage.samples is not None else 5 if sampled and not last else 1
        name = item if isinstance(item, str) else rest if isinstance(rest, str) else ""
        stages.append(Stage(model, None if last and "until" not in own else until, 1 if last and "samples" not in own
                            else samples, name))  # fmt: skip
    answer = answer_of(spec.answer) if spec.answer is not None else context.answer or "text"
    return Cascade(stages, answer=answer)


def _is_debate(model: Model) -> bool:
    from agora.text.debate import Debate

    return isinstance(model, Debate)


def _until(given: str | Mapping[str, Any], context: Context) -> Any:
    from agora.api.answerscorer import AnswerScorer
    from agora.api.cascade import Scored, Verified, parse_until

    if isinstance(given, str):
        return parse_until(given)
    if set(given) == {"verifier"}:
        return Verified(load_model(given["verifier"], context=context))
    if set(given) == {"scorer", "at"} and isinstance(given["at"], (int, float)) and 0 <= given["at"] <= 1:
        return Scored(AnswerScorer.load(context.folder / str(given["scorer"])), float(given["at"]))
    raise InputError("until: is a text such as agreement >= 0.8, {verifier: MODEL}, or {scorer: FILE, at: 0 to 1}.")


def _two(kind: str, value: Any, first: str, second: str, context: Context) -> tuple[Model, Model]:
    """The two models that write one text."""
    if not isinstance(value, dict) or set(value) != {first, second}:
        raise InputError(f"{kind}: needs {{{first}: MODEL, {second}: MODEL}}.")
    return load_model(value[first], context=context), load_model(value[second], context=context)


def _nudge(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Nudged

    return Nudged(*_two("nudge", value, "base", "nudger", context), checked(options, NudgeSpec).gamma)


def _defer(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Deferred

    spec = checked(options, DeferSpec)
    return Deferred(*_two("defer", value, "base", "other", context), spec.threshold, by=spec.by)


def _switch(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.cards import Card
    from agora.api.defer import Switched

    spec = checked(options, SwitchSpec)
    selector: Any = spec.selector if spec.selector == "in turn" else load_model(spec.selector, context=context)
    given = {name: Card(**card.model_dump()) for name, card in spec.cards.items()}
    return Switched(_members("switch", value, context), selector, spec.span, given=given)


def _mentor(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Mentored

    spec = checked(options, MentorSpec)
    judge = None if spec.judge is None else load_model(spec.judge, context=context)
    return Mentored(*_two("mentor", value, "student", "mentor", context), spec.rate, spec.span, seed=spec.seed,
                    judge=judge)  # fmt: skip


def _preset(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.config import presets

    models = options.get("models", {})
    if set(options) - {"models", "set"} or not isinstance(models, Mapping) or not isinstance(name, str):
        raise InputError("preset: takes models, a mapping, and set, a list of KEY=VALUE.")
    settings = options.get("set", [])
    if not isinstance(settings, list) or any(not isinstance(setting, str) for setting in settings):
        raise InputError("preset: set is a list of KEY=VALUE.")
    built = {str(key): load_model(value, context=context) for key, value in models.items()}
    answer = None if any(setting.startswith("answer=") for setting in settings) else context.answer
    return presets.preset(name, models=built, settings=settings, answer=answer)


KINDS: dict[str, Build] = {
    "pocket": _pocket,
    "openai": _hosted("openai"),
    "anthropic": _hosted("anthropic"),
    "human": _human,
    "scripted": _scripted,
    "fallback": _fallback,
    "debate": _debate,
    "preset": _preset,
    "completions": _hosted("completions"),
    "route": _route,
    "cascade": _cascade,
    "nudge": _nudge,
    "defer": _defer,
    "switch": _switch,
    "mentor": _mentor,
}


@lru_cache(maxsize=1)
def _plugins() -> dict[str, Any]:
    """Kinds that other packages offer as entry points in the group `agora.models`."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="agora.models") if point.name not in KINDS}


def _plugin(kind: str, value: Any, options: Mapping[str, Any], context: Context) -> Model:
    """A model of another package: its entry point is called with the value and the options."""
    point = _plugins()[kind]
    try:
        made = point.load()(value, **options)
    except AgoraError:
        raise
    except TypeError as error:
        raise InputError(f"{kind}: does not take these options: {error}.") from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"{kind}: the package that offers it ({point.value}) fails: {said[:200]}.") from error
    if not isinstance(made, Model):
        raise InputError(f"{kind}: the package that offers it ({point.value}) gave {type(made).__name__}, no model.")
    return made


def _kinds() -> str:
    return ", ".join([*KINDS, *_plugins()])


def checked(options: Mapping[str, Any], spec: type[_T]) -> _T:
    """Options by their schema.

    Raises:
        InputError: naming the first that is wrong.
    """
    try:
        return spec.model_validate(dict(options))
    except ValidationError as errors:
        found = errors.errors(include_url=False, include_input=False)
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fields = [given.alias or name for name, given in spec.model_fields.items()]
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"Did you mean '{near[0]}'?" if near else None
            raise InputError(f"unknown option '{name[:60]}'; there are {', '.join(fields)}.", hint=hint) from None
        raise InputError(f"{name[:60]}: {first['msg']}.") from None


def settings_of(spec: SettingsSpec) -> Settings:
    """The settings that are pinned."""
    return Settings(spec.temperature, spec.top_p, spec.max_tokens, spec.seed)
