"""Models that vote on every token, from what a debate file says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agora.config.options import Build, Context, checked, members_of, parts_of, settings_of
from agora.config.schema import AwareSpec, ContrastSpec, FuseSpec, OverSpec, ProxySpec, SpeculateSpec
from agora.errors import InputError
from agora.model import Model


def _fuse(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.logit import fuse
    from agora.logit.methods import METHODS, deferring

    spec = checked(options, FuseSpec)
    members = members_of("fuse", value, context)
    if spec.method == "defer":
        if spec.sure is None:
            raise InputError("fuse: defer needs `sure`, the probability below which the second model is asked.")
        by: Any = deferring(spec.sure)
    elif spec.method in METHODS:
        by = spec.method
    else:
        raise InputError(f"fuse: there is no method '{spec.method[:40]}'; there are {', '.join(METHODS)}, defer.")
    sure = None if spec.method == "defer" else spec.sure
    return _sampled(spec, fuse(list(members.values()), by, weights=spec.weights, sure=sure, tau=spec.tau,
                               **_over(spec)))  # fmt: skip


def _contrast(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.logit import contrast

    (expert, amateur), rest = _roles("contrast", value, options, ("expert", "amateur"), context)
    spec = checked(rest, ContrastSpec)
    return _sampled(spec, contrast(expert, amateur, alpha=spec.alpha, beta=spec.beta, **_over(spec)))


def _proxy(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.logit import proxy

    (base, expert, anti), rest = _roles("proxy", value, options, ("base", "expert", "anti"), context)
    spec = checked(rest, ProxySpec)
    return _sampled(spec, proxy(base, expert, anti, alpha=spec.alpha, **_over(spec)))


def _aware(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.logit import aware
    from agora.models.wrappers import with_settings

    spec = checked(options, AwareSpec)
    return with_settings(aware(context.load(value), alpha=spec.alpha, tag=spec.tag), settings_of(spec))


def _speculate(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.logit import drafted
    from agora.models.wrappers import with_settings
    from agora.models.writers import bare

    (model, draft), rest = _roles("speculate", value, options, ("model", "draft"), context)
    spec = checked(rest, SpeculateSpec)
    _, pinned = bare(model)
    return with_settings(drafted(model, draft, spec.tokens), settings_of(spec).over(pinned))


def _roles(
    kind: str, value: Any, options: Mapping[str, Any], names: tuple[str, ...], context: Context
) -> tuple[list[Model], dict[str, Any]]:
    """The models by what each is for, and the options, which may stand beside either."""
    given = value if isinstance(value, dict) else {}
    own = {str(key): item for key, item in given.items() if key not in names}
    models = parts_of(kind, {key: item for key, item in given.items() if key in names}, names, context)
    return models, {**own, **options}


def _over(spec: OverSpec) -> dict[str, Any]:
    return {"over": spec.over, "top": spec.top}


def _sampled(spec: OverSpec, made: Model) -> Model:
    from agora.models.wrappers import with_settings

    return with_settings(made, settings_of(spec))


KINDS: Mapping[str, Build] = {
    "fuse": _fuse,
    "contrast": _contrast,
    "proxy": _proxy,
    "aware": _aware,
    "speculate": _speculate,
}
