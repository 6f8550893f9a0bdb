"""Merges that are made once: kept in the user's cache by what goes into them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight.engine import Progress
from agora.weight.merging import content_key, merge
from agora.weight.recipe import Recipe


def place() -> Path:
    """Where merges are kept: AGORA_CACHE in the environment, else the user's cache folder; `merged` in it."""
    from platformdirs import user_cache_path

    given = os.environ.get("AGORA_CACHE")
    return (Path(given).expanduser() if given else user_cache_path("agora", appauthor=False)) / "merged"


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
    out = place() / content_key(recipe, beside=beside, folders=folders)[:24]
    if (out / "agora_recipe.yaml").is_file():
        return out
    try:
        merge(recipe, out, beside=beside, folders=folders, progress=progress)
    except InputError:
        if not (out / "agora_recipe.yaml").is_file():  # else another process was first
            raise
    return out


def clear() -> int:
    """Remove all merges that are kept; how many bytes that were."""
    there, size = place(), 0
    if there.is_dir():
        size = sum(file.stat().st_size for file in there.rglob("*") if file.is_file())
        shutil.rmtree(there)
    return size
