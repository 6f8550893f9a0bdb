"""Models from the values that may stand under `models:`; the only module that knows every kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from agora.config import answering, fusing, routing
from agora.config.options import Build, Context
from agora.errors import AgoraError, InputError
from agora.model import Model

KINDS: Mapping[str, Build] = {**answering.KINDS, **fusing.KINDS, **routing.KINDS}


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
