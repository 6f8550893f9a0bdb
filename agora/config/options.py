"""What builders of models share: where a model is built, and options that are checked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agora.answers import AnswerType
from agora.config.schema import SettingsSpec
from agora.errors import InputError
from agora.model import Model, Settings

_T = TypeVar("_T", bound=BaseModel)


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

    def load(self, value: Any) -> Model:
        """A model from any value that may stand under `models:`.

        Raises:
            InputError: naming what is wrong and what there is.
        """
        from agora.config.models import load_model  # late: it knows the kinds, which are built with this

        return load_model(value, context=self)


Build = Callable[[Any, Mapping[str, Any], Context], Model]
"""From the value of a kind's key, the other keys, and where it is built."""


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
    return Settings(spec.temperature, spec.top_p, spec.max_tokens, spec.seed, top_k=spec.top_k, min_p=spec.min_p)


def members_of(kind: str, value: Any, context: Context) -> dict[str, Model]:
    """Models by what the file calls them: a name under models:, a key of a mapping, else their own name."""
    if isinstance(value, dict) and value:
        return {str(name): context.load(item) for name, item in value.items()}
    if not isinstance(value, list) or not value:
        raise InputError(f"{kind}: needs a list of models, or a mapping of names to models.")
    found: dict[str, Model] = {}
    for item in value:
        model = context.load(item)
        name = item if isinstance(item, str) and item in context.models else model.name
        if name in found:
            raise InputError(f"{kind}: '{name[:40]}' stands there twice.", hint="Give each a name: {NAME: MODEL, ...}.")
        found[name] = model
    return found


def parts_of(kind: str, value: Any, names: tuple[str, ...], context: Context) -> list[Model]:
    """The models of a mapping whose keys say what each is for.

    Raises:
        InputError: if it has not these keys.
    """
    if not isinstance(value, dict) or set(value) != set(names):
        raise InputError(f"{kind}: needs {{{', '.join(f'{name}: MODEL' for name in names)}}}.")
    return [context.load(value[name]) for name in names]
