"""Recipes: mergekit's YAML as it is, and a short form of one line; read strictly."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agora.errors import ConfigError, InputError
from agora.weight import methods
from agora.weight.dtypes import dtype_of
from agora.weight.settings import Setting

MAX_BYTES = 1_000_000


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _reference(value: Any) -> Any:
    """mergekit also writes references as mappings: {model: {path: a}, lora: {path: b}}."""
    if isinstance(value, Mapping) and "kind" not in value:
        parts = []
        for key in ("model", "lora"):
            part = value.get(key)
            part = part.get("path") if isinstance(part, Mapping) else part
            if part is not None:
                parts.append(str(part))
        return "+".join(parts)
    return str(value) if isinstance(value, (int, Path)) else value


Reference = Annotated[str, BeforeValidator(_reference), Field(min_length=1, max_length=4000)]
Settings = dict[str, Setting]


class Member(Strict):
    """A model and its own parameters."""

    model: Reference
    parameters: Settings | None = None


class SliceSource(Member):
    """Layers of a model."""

    layer_range: tuple[int, int] = Field(description="[first, end)")


class Slice(Strict):
    """A run of layers of the output."""

    sources: list[SliceSource] = Field(min_length=1)
    base_model: Reference | None = None
    parameters: Settings | None = None


class Module(Strict):
    """A part of a model: the tensors whose names hold its name, or all of them under 'default'."""

    models: list[Member] | None = None
    slices: list[Slice] | None = None
    parameters: Settings | None = None

    @model_validator(mode="after")
    def _one(self) -> Module:
        if (self.models is None) == (self.slices is None):
            raise ValueError("a module has either models or slices")
        return self


class Token(Strict):
    """Where the embedding of a token comes from."""

    source: Reference | dict[str, Any] | None = Field(
        None, description="a model; {kind: zero}; or {kind: model_token, model: a, token: x} or token_id"
    )
    force: bool = Field(False, description="also where a model has an embedding of its own")


class TokenizerSpec(Strict):
    """The tokenizer of the output."""

    source: Reference = Field("union", description="union, base, or a model")
    tokens: dict[str, Token] | None = None
    pad_to_multiple_of: int | None = Field(None, ge=1)


class Recipe(Strict):
    """What is merged into what; mergekit's YAML, and a seed."""

    merge_method: str
    base_model: Reference | None = None
    models: list[Member] | None = None
    slices: list[Slice] | None = None
    modules: dict[str, Module] | None = None
    parameters: Settings | None = None
    dtype: str | None = Field(None, description="of the output where out_dtype is not given; sums are in float32")
    out_dtype: str | None = None
    tokenizer_source: Reference | None = None
    tokenizer: TokenizerSpec | None = None
    chat_template: str | None = None
    seed: int = Field(0, ge=0, description="of random masks")
    name: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if [self.models, self.slices, self.modules].count(None) != 2:
            raise ValueError("there must be exactly one of models, slices and modules")
        if self.tokenizer is not None and self.tokenizer_source is not None:
            raise ValueError("tokenizer and tokenizer_source exclude each other")
        return self

    def references(self) -> list[str]:
        """All models it names, each once, in its order."""
        found = [self.base_model] if self.base_model else []
        named = self.tokenizer.source if self.tokenizer else self.tokenizer_source
        every: list[Recipe | Module] = [self, *(self.modules or {}).values()]
        for part in every:
            found += [member.model for member in part.models or ()]
            for one in part.slices or ():
                found += [source.model for source in one.sources] + ([one.base_model] if one.base_model else [])
        found += [named] if named and named not in ("union", "base") else []
        for token in (self.tokenizer.tokens if self.tokenizer else None) or {}:
            source = (self.tokenizer.tokens or {})[token].source if self.tokenizer else None
            source = source.get("model") if isinstance(source, dict) else source
            found += [str(_reference(source))] if source is not None else []
        return list(dict.fromkeys(found))

    def settings(self) -> list[Settings]:
        """All settings of parameters in it."""
        every: list[Settings | None] = [self.parameters]
        parts: list[Recipe | Module] = [self, *(self.modules or {}).values()]
        for part in parts:
            every += [part.parameters, *(member.parameters for member in part.models or ())]
            for one in part.slices or ():
                every += [one.parameters, *(source.parameters for source in one.sources)]
        return [settings for settings in every if settings]

    def to_yaml(self) -> str:
        """Itself as YAML."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


_OWN = ("base", "dtype", "out_dtype", "tokenizer", "chat_template", "seed", "name")


def read_recipe(given: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    """A recipe from a file, or from data of either form.

    The short form names the method and its models, `{ties: [a, b], base: c, density: 0.5}`; models may have weights,
    `{linear: {a: 0.7, b: 0.3}}`, or parameters of their own, `{ties: {a: {weight: 1, density: 0.3}, b: ...}, base: c}`;
    what else stands there are parameters of all.

    Args:
        given: a path, data, or a recipe, which is checked alone.

    Raises:
        ConfigError: if it cannot be read or is no recipe; with the file.
    """
    file, data = None, given
    if isinstance(given, (str, Path)):
        file, data = str(given), read_yaml(Path(given))
    if isinstance(data, Mapping):
        data = _recipe(_spelled_out(data, file), file)
    if not isinstance(data, Recipe):
        raise ConfigError("a recipe is a mapping that begins with merge_method or a method's name.", file=file)
    try:
        _known(data)
    except InputError as error:
        raise ConfigError(error.message, file=file, hint=error.hint) from error
    return data


def read_yaml(path: Path) -> Any:
    """The data in a recipe's file.

    Raises:
        ConfigError: if it cannot be read, or is no YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or str(error)).lower()}.", file=str(path),
                          hint="Check the path.") from error  # fmt: skip
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"the file is too long; a recipe has at most {MAX_BYTES:,} bytes.", file=str(path))
    try:
        data = yaml.load(raw.decode(), _Loader)
        _bounded(data, path)
        return data
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"this is not YAML: {error.problem}.", file=str(path), line=line) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        raise ConfigError("this is not YAML.", file=str(path)) from error


class _Loader(yaml.SafeLoader):
    """In which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"'{key.value[:40]}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)


def _bounded(data: Any, path: Path) -> None:
    """See that aliases do not make it more than it can be."""
    sizes: dict[int, int] = {}

    def size(value: Any, depth: int) -> int:
        if depth > 30:
            raise ConfigError("a recipe is not so deeply nested.", file=str(path))
        if not isinstance(value, (dict, list)):
            return 1
        if id(value) not in sizes:
            inner = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(item, depth + 1) for item in inner)
        return sizes[id(value)]

    if size(data, 0) > 50_000:
        raise ConfigError("the file is too large once its aliases are expanded.", file=str(path))


def _spelled_out(data: Mapping[str, Any], file: str | None) -> dict[str, Any]:
    """The full form of either."""
    full = {str(key): value for key, value in data.items()}
    if "merge_method" in full:
        return full
    named = [key for key in full if key in methods.METHODS]
    if len(named) != 1:
        keys = [*methods.METHODS, *Recipe.model_fields]
        near = [word for key in full for word in difflib.get_close_matches(key, keys, 1)]
        hint = f"Did you mean '{near[0]}'?" if near and not named else "Write `{ties: [a, b], base: c, density: 0.5}`."
        raise ConfigError("a recipe names one merge method.", file=file, hint=hint)
    name = named[0]
    members = full.pop(name)
    if isinstance(members, (str, Path)):
        members = [members]
    made: list[Any] = []
    if isinstance(members, Mapping):
        for model, own in members.items():
            parameters = dict(own) if isinstance(own, Mapping) else {} if own is None else {"weight": own}
            made.append({"model": model, "parameters": parameters or None})
    elif isinstance(members, list):
        made = [member if isinstance(member, Mapping) else {"model": member} for member in members]
    else:
        raise ConfigError(f"'{name}' takes a list of models.", file=file)
    spelled: dict[str, Any] = {"merge_method": name, "models": made}
    if "base" in full:
        spelled["base_model"] = full.pop("base")
    for key in _OWN:
        if key in full:
            spelled[key] = full.pop(key)
    if isinstance(spelled.get("tokenizer"), str):
        spelled["tokenizer_source"] = spelled.pop("tokenizer")
    if full:
        spelled["parameters"] = full
    return spelled


def _recipe(data: Mapping[str, Any], file: str | None) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        place = [str(part) for part in first["loc"] if not str(part).endswith("]")]
        if first["type"] == "extra_forbidden":
            inner = [_KINDS[part] for part in place[:-1] if part in _KINDS]
            near = difflib.get_close_matches(place[-1], (inner[-1] if inner else Recipe).model_fields, 1)
            hint = f"Did you mean '{near[0]}'?" if near else None
            raise ConfigError(f"there is no key '{'.'.join(place)[:80]}'.", file=file, hint=hint) from error
        what = first["msg"].removeprefix("Value error, ")
        where = f"{'.'.join(place)[:80]}: " if place else ""
        raise ConfigError(f"{where}{what[:1].lower()}{what[1:].rstrip('.')}.", file=file) from error


_KINDS: dict[str, type[Strict]] = {
    "models": Member, "sources": SliceSource, "slices": Slice, "modules": Module, "tokenizer": TokenizerSpec,
    "tokens": Token,
}  # fmt: skip


def _known(recipe: Recipe) -> None:
    """See that method, types and parameters are there.

    Raises:
        InputError: if one is not.
    """
    method = methods.get(recipe.merge_method)
    for name in (recipe.dtype, recipe.out_dtype):
        if name is not None:
            dtype_of(name)
    for settings in recipe.settings():
        for name in settings:
            if name not in method.parameters and name not in methods.registry.IGNORED:
                near = difflib.get_close_matches(name, method.parameters, 1)
                listed = ", ".join(method.parameters) or "none"
                hint = f"Did you mean '{near[0]}'?" if near else f"It has {listed}."
                raise InputError(f"{method.name} has no parameter '{name[:40]}'.", hint=hint)
