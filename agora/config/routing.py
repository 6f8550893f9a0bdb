"""Models that ask others: fallbacks, routers, cascades, models that write together, debates in a model's place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from agora.config.options import Build, Context, checked, members_of, parts_of
from agora.config.schema import CascadeSpec, DeferSpec, MentorSpec, NudgeSpec, RouteSpec, RuleSpec, SwitchSpec
from agora.errors import InputError
from agora.model import Model


def _fallback(members: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.wrappers import Fallback

    if options or not isinstance(members, list) or not members:
        raise InputError("fallback: needs a list of models, and no options.")
    return Fallback([context.load(member) for member in members])


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
    members = members_of("route", value, context)
    cards = {name: Card(**card.model_dump()) for name, card in spec.cards.items()}
    return Router(members, _choice(spec, members, context), otherwise=spec.otherwise, given=cards,
                  local_only=spec.local_only)  # fmt: skip


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
            return route.Asked(context.load(given))
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
        model = context.load(rest)
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
        return Verified(context.load(given["verifier"]))
    if set(given) == {"scorer", "at"} and isinstance(given["at"], (int, float)) and 0 <= given["at"] <= 1:
        return Scored(AnswerScorer.load(context.folder / str(given["scorer"])), float(given["at"]))
    raise InputError("until: is a text such as agreement >= 0.8, {verifier: MODEL}, or {scorer: FILE, at: 0 to 1}.")


def _nudge(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Nudged

    base, nudger = parts_of("nudge", value, ("base", "nudger"), context)
    return Nudged(base, nudger, checked(options, NudgeSpec).gamma)


def _defer(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Deferred

    spec = checked(options, DeferSpec)
    base, other = parts_of("defer", value, ("base", "other"), context)
    return Deferred(base, other, spec.threshold, by=spec.by)


def _switch(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.cards import Card
    from agora.api.defer import Switched

    spec = checked(options, SwitchSpec)
    selector: Any = spec.selector if spec.selector == "in turn" else context.load(spec.selector)
    given = {name: Card(**card.model_dump()) for name, card in spec.cards.items()}
    return Switched(members_of("switch", value, context), selector, spec.span, given=given)


def _mentor(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.api.defer import Mentored

    spec = checked(options, MentorSpec)
    judge = None if spec.judge is None else context.load(spec.judge)
    student, mentor = parts_of("mentor", value, ("student", "mentor"), context)
    return Mentored(student, mentor, spec.rate, spec.span, seed=spec.seed, judge=judge)


def _preset(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.config import presets

    models = options.get("models", {})
    if set(options) - {"models", "set"} or not isinstance(models, Mapping) or not isinstance(name, str):
        raise InputError("preset: takes models, a mapping, and set, a list of KEY=VALUE.")
    settings = options.get("set", [])
    if not isinstance(settings, list) or any(not isinstance(setting, str) for setting in settings):
        raise InputError("preset: set is a list of KEY=VALUE.")
    built = {str(key): context.load(value) for key, value in models.items()}
    answer = None if any(setting.startswith("answer=") for setting in settings) else context.answer
    return presets.preset(name, models=built, settings=settings, answer=answer)


KINDS: Mapping[str, Build] = {
    "fallback": _fallback,
    "debate": _debate,
    "preset": _preset,
    "route": _route,
    "cascade": _cascade,
    "nudge": _nudge,
    "defer": _defer,
    "switch": _switch,
    "mentor": _mentor,
}
