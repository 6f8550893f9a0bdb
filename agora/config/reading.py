"""YAML -> plain data with the line of every place in it; and what is wrong with it in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from agora.config.schema import DebateFile
from agora.errors import ConfigError, InputError

MAX_BYTES, MAX_NODES = 1_000_000, 50_000
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
            merged: list[dict[str, Any]] = []
            for key_node, value in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge":
                    parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
                    if not all(isinstance(part, yaml.MappingNode) for part in parts):
                        at = key_node.start_mark.line + 1
                        raise ConfigError("'<<' merges mappings.", file=file, line=at)
                    merged += [walk(part, path) for part in parts]
                    continue
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
            for part in merged:  # what stands here goes before what is merged
                data.update({key: item for key, item in part.items() if key not in data})
            return data
        if isinstance(node, yaml.SequenceNode):
            return [walk(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"cannot be read: {str(error).splitlines()[0]}.", file=file, line=line) from error

    return walk(node, ()), lines


DEBATE = ("a debate file", "models: and agents:")


def parse(text: str, file: str = "debate", kind: tuple[str, str] = DEBATE) -> tuple[dict[str, Any], dict[Path_, int]]:
    """YAML text as plain data with lines.

    Args:
        text: the YAML.
        file: its name.
        kind: what it is, and keys that one begins with, for what is said when it is none.

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
        raise ConfigError(f"the file is empty; {kind[0]} has keys such as {kind[1]}.", file=file)
    data, lines = _plain(node, file)
    if not isinstance(data, dict):
        raise ConfigError(f"{kind[0]} is a mapping that begins with keys such as {kind[1]}.", file=file, line=1)
    return data, lines


def read(path: str | Path, kind: str = DEBATE[0]) -> str:
    """The text of a debate file, or of another kind.

    Raises:
        ConfigError: if it cannot be read.
    """
    name = str(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}.", file=name, hint="Check the path.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"the file has {len(raw):,} bytes; {kind} has at most {MAX_BYTES:,}.", file=name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("this is not a text file (UTF-8).", file=name) from error


def spelled_out(data: dict[str, Any]) -> None:
    """Write a protocol that is only a preset's name as the mapping that it is short for, in place."""
    if isinstance(data.get("protocol"), str):
        data["protocol"] = {"preset": data["protocol"]}


def override(data: dict[str, Any], settings: Sequence[str]) -> None:
    """Set values by dotted path in place: `moderator.stop=rounds(1)`.

    Raises:
        InputError: if an assignment cannot be read or its path leads nowhere.
    """
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set needs KEY=VALUE, this is '{setting[:60]}'.")
        spelled_out(data)
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


def parted(text: str) -> list[str]:
    """Values that commas part, those within brackets or quotes left out: of 'ring, {small_world: {k: 4, p: 0.1}}' two.
    Brackets that do not match are the values' own matter."""
    parts, depth, quote = [""], 0, ""
    for c in text:
        if c == "," and depth == 0 and not quote:
            parts.append("")
            continue
        if quote or c in "\"'":
            quote = c if not quote else "" if c == quote else quote
        else:
            depth = max(0, depth + (c in "([{") - (c in ")]}"))
        parts[-1] += c
    return [part.strip() for part in parts]


def explain(
    errors: ValidationError, data: Any, lines: Mapping[Path_, int], file: str, spec: type[BaseModel] = DebateFile
) -> ConfigError:
    """The most telling of pydantic's errors, in one sentence: of an unknown key, else of the deepest place."""
    found = errors.errors(include_url=False, include_input=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), None)
    first = first or max(found, key=lambda error: len(_real(error["loc"], data)))
    path = _real(first["loc"], data)
    line = next((lines[tuple(path[:n])] for n in range(len(path), -1, -1) if tuple(path[:n]) in lines), None)
    where = ".".join(map(str, path))
    if first["type"] == "extra_forbidden" and path:
        known = _keys_at(first["loc"], spec)
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(known)}." if known else None
        return ConfigError(f"unknown key '{where[:120]}'.", file=file, line=line, hint=hint)
    if first["type"] == "missing":
        return ConfigError(f"'{first['loc'][-1]}' is missing{f' in {where}' if where else ''}.", file=file, line=line)
    if first["type"] == "literal_error" and (meant := _meant(first, path, data)):
        return ConfigError(f"{where[:120]}: {meant}", file=file, line=line)
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{where[:120]}: {message[:1].lower()}{message[1:]}.", file=file, line=line)


def _meant(error: Any, path: list[str | int], data: Any) -> str | None:
    """What a word that is none of the allowed ones was meant to be."""
    for part in path:
        data = data[part]
    words = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(data[:60], words, 1) if isinstance(data, str) else []
    return f"'{data[:60]}' is none of {', '.join(words)}. Did you mean '{near[0]}'?" if near else None


def _real(location: tuple[str | int, ...], data: Any) -> list[str | int]:
    """An error's path in the data: pydantic puts the names of union members into it, which lead nowhere there."""
    path: list[str | int] = []
    for part in location:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]  # type: ignore[index]
            path.append(part)
    return path


def _keys_at(location: tuple[str | int, ...], spec: type[BaseModel]) -> list[str]:
    """The keys allowed beside an unknown one: found by walking the schema's classes."""
    for part in location[:-1]:
        for found in _specs_in(spec.model_fields[str(part)].annotation) if str(part) in spec.model_fields else ():
            spec = found
            break
        else:
            # pydantic names the member of a union that it tried
            spec = next((s for s in _specs_in(spec) if s.__name__ == part), spec)
    return [given.alias or name for name, given in spec.model_fields.items()]


def _specs_in(annotation: Any) -> list[type[BaseModel]]:
    """The schema's classes in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _specs_in(inner)]
