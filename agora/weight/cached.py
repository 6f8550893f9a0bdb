"""Merges that are made once: kept in the user's cache by what goes into them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight.engine import Progress
from agora.weight.merging import merge
from agora.weight.parents import Parent, find
from agora.weight.recipe import Recipe, read_recipe

FORM = 1  # raised whenever the same recipe gives other bytes


def place() -> Path:
    """Where merges are kept: AGORA_CACHE in the environment, else the user's cache folder; `merged` in it."""
    from platformdirs import user_cache_path

    given = os.environ.get("AGORA_CACHE")
    return (Path(given).expanduser() if given else user_cache_path("agora", appauthor=False)) / "merged"


def key_of(recipe: Recipe, beside: Path | None = None, folders: Mapping[str, Path] | None = None) -> str:
    """What a merge is known by: its recipe, and for each model its fingerprint and its files' sizes and times: a model
    that has changed is noticed, and where models lie or what they are called makes no difference.

    Args:
        recipe: what is merged.
        beside: the folder of the recipe.
        folders: folders of models by name.

    Raises:
        InputError: if a model is not there, or cannot be read.
    """
    made = hashlib.sha256(f"{FORM}\0".encode())
    text = recipe.model_copy(update={"name": None}).to_yaml()
    for i, reference in enumerate(sorted(recipe.references(), key=len, reverse=True)):
        parent = Parent(reference, beside, folders)
        try:
            made.update(f"{i}\0".encode() + parent.key)
            text = text.replace(reference, f"\0{i}\0")
        finally:
            parent.close()
    for folder in _named(recipe, beside, folders).values():
        made.update(_stamp(folder))
    made.update(text.encode())
    return made.hexdigest()[:24]


def cached(
    recipe: Recipe | Mapping[str, Any] | Path | str,
    *,
    beside: Path | None = None,
    folders: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of a merge, which is made if it is not there.

    Args:
        recipe: as `merge` takes it.
        beside: the folder that paths begin in, where the recipe is no file.
        folders: folders of models by name.
        progress: as of `merge`.

    Raises:
        InputError: as `merge`.
    """
    if isinstance(recipe, (str, Path)):
        beside = Path(recipe).parent
    read = read_recipe(recipe)
    out = place() / key_of(read, beside, folders)
    if (out / "agora_recipe.yaml").is_file():
        return out
    try:
        merge(read, out, folders=_named(read, beside, folders), progress=progress)
    except InputError:
        if (out / "agora_recipe.yaml").is_file():  # another process was first
            return out
        raise
    return out


def clear() -> int:
    """Remove all merges that are kept; how many bytes that were."""
    there, size = place(), 0
    if there.is_dir():
        size = sum(file.stat().st_size for file in there.rglob("*") if file.is_file())
        shutil.rmtree(there)
    return size


def _named(recipe: Recipe, beside: Path | None, folders: Mapping[str, Path] | None) -> dict[str, Path]:
    """The folders of all models, adapters and files of tensors that a recipe names, by their names."""
    found = dict(folders or {})
    for reference in recipe.references():
        parts = [reference]
        if "+" in reference and reference not in found and not Path(reference).exists():
            parts = list(reference.rpartition("+")[::2])
        found |= {part: find(part, beside, folders) for part in parts}
    for text in _texts(recipe.settings()):  # fisher and regmean are given checkpoints among their parameters
        for path in (Path(text), *([beside / text] if beside else [])):
            if path.is_dir():
                found.setdefault(text, path)
    return found


def _stamp(folder: Path) -> bytes:
    made = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt"):
            seen = file.stat()
            made.update(f"{file.name}\0{seen.st_size}\0{seen.st_mtime_ns}\0".encode())
    return made.digest()


def _texts(value: Any) -> Iterator[str]:
    """All texts in parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
