"""The models a recipe names: a folder, a cached download, a pocket model, each perhaps with an adapter on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight.adapters import Adapter
from agora.weight.checkpoint import Checkpoint
from agora.weight.sources import FileSource, Source

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def find(reference: str, beside: Path | None = None, folders: Mapping[str, Path] | None = None) -> Path:
    """The folder that a reference without an adapter means.

    Args:
        reference: a path, from here or from `beside`; `pocket:NAME`; `hf:` before a path; or `owner/name` (perhaps with
            `@revision`), of which the newest download in the cache of Hugging Face is taken. Nothing is downloaded.
        beside: the folder of the recipe.
        folders: further names.

    Raises:
        InputError: if there is none.
    """
    if folders and reference in folders:
        return folders[reference]
    kind, _, rest = reference.partition(":")
    if kind == "pocket":
        from agora.models.pocket import NAMES, WEIGHTS

        if rest not in NAMES:
            raise InputError(f"there is no pocket model '{rest[:40]}'; there are {', '.join(NAMES)}.")
        return WEIGHTS / rest
    text = rest if kind == "hf" else reference
    try:
        for place in (Path(text).expanduser(), *([beside / text] if beside else [])):
            if place.exists():
                return place
    except (OSError, RuntimeError) as error:  # too long a name, a home of nobody
        why = (getattr(error, "strerror", None) or str(error)).lower().rstrip(".")
        raise InputError(f"model '{reference[:80]}' cannot be looked for: {why}.") from error
    if cached := _cached(text):
        return cached
    hint = "Give a folder that holds safetensors"
    hint += f", or download it first: `hf download {text}`." if text.count("/") == 1 and text[0] not in "./~" else "."
    raise InputError(f"there is no model '{reference[:200]}'.", hint=hint)


def _whole(reference: str, beside: Path | None, folders: Mapping[str, Path] | None) -> bool:
    """Whether a reference names a folder as it stands, though there may be a + in it."""
    if "+" not in reference or reference in (folders or {}):
        return True
    try:
        return Path(reference).exists() or (beside is not None and (beside / reference).exists())
    except OSError:
        return False


def base_of(reference: str, beside: Path | None = None, folders: Mapping[str, Path] | None = None) -> Path:
    """The folder of a model, without the adapter that may be on it.

    Raises:
        InputError: as `find`.
    """
    return find(reference if _whole(reference, beside, folders) else reference.rpartition("+")[0], beside, folders)


def _cached(text: str) -> Path | None:
    """The newest snapshot of `owner/name` in the cache of Hugging Face."""
    name, _, revision = text.partition("@")
    if name.count("/") != 1 or ".." in text:
        return None
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = hub / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / (revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


class Parent:
    """A model that is merged.

    Args:
        reference: as the recipe writes it: `path`, or `path+adapter`.
        beside: the folder of the recipe.
        folders: further names.

    Attributes:
        label: its reference.
        checkpoint: its tensors; of the base where there is an adapter.
        adapter: on it, or None.
        config: its config.json.

    Raises:
        InputError: if it is not there, or cannot be read.
    """

    def __init__(self, reference: str, beside: Path | None = None, folders: Mapping[str, Path] | None = None) -> None:
        self.label = reference
        path, plus, lora = reference, "", ""
        if not _whole(reference, beside, folders):
            path, plus, lora = reference.rpartition("+")
        self.folder = find(path, beside, folders)
        if (self.folder / "adapter_config.json").exists() and not (self.folder / "config.json").exists():
            raise InputError(f"{reference} is an adapter alone.",
                             hint="Write `base+adapter`, or merge adapters with lora_concat or lora_svd.")  # fmt: skip
        self.checkpoint = Checkpoint(self.folder)
        self.adapter = Adapter(find(lora, beside, folders)) if plus else None
        self.config: dict[str, Any] = self.checkpoint.json("config.json")
        if self.adapter:
            for name in sorted(self.adapter.changed() - set(self.checkpoint.entries)):
                if name not in self.adapter.saved:
                    raise InputError(f"{reference}: the adapter changes '{name[:80]}', which the model lacks.")

    @property
    def key(self) -> bytes:
        """What it is known by; see `Checkpoint.fingerprint`."""
        own = self.checkpoint.fingerprint()
        return own[:16] + self.adapter.checkpoint.fingerprint()[:16] if self.adapter else own

    @property
    def tied(self) -> bool:
        """Its output matrix is its embedding."""
        return bool(self.setting("tie_word_embeddings"))

    @property
    def layers(self) -> int:
        """Number of layers."""
        for name in _LAYERS:
            value = self.setting(name)
            if isinstance(value, int) and value > 0:
                return value
        return self.checkpoint.layers

    def setting(self, name: str) -> Any:
        """A value of its configuration, or of the part of it that is about text."""
        inner = self.config.get("text_config")
        return self.config.get(name, inner.get(name) if isinstance(inner, dict) else None)

    def own(self, name: str) -> str | None:
        """The name under which it holds a tensor: the same, or its embedding for a tied output matrix."""
        if name in self.checkpoint or (self.adapter and name in self.adapter.saved):
            return name
        if name.endswith("lm_head.weight") and self.tied:
            found = [other for other in self.checkpoint if other.endswith(("embed_tokens.weight", "wte.weight"))]
            return found[0] if len(found) == 1 else None
        return None

    def source(self, name: str) -> Source:
        """One of its tensors."""
        if self.adapter:
            return self.adapter.on(self.checkpoint, name, self.label)
        return FileSource(self.checkpoint, name, self.label)

    def close(self) -> None:
        """Close its files."""
        self.checkpoint.close()
        if self.adapter:
            self.adapter.checkpoint.close()


def parents_untied(parents: Iterable[Parent]) -> bool:
    """Whether any has an output matrix of its own."""
    for parent in parents:
        saved = parent.adapter.saved if parent.adapter else ()
        if not parent.tied or any(name.endswith("lm_head.weight") for name in saved):
            return True
    return False


def layers_set(config: dict[str, Any], count: int) -> None:
    """Write a number of layers into a configuration, in place."""
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            for name in _LAYERS:
                if name in part:
                    part[name] = count
            for name in ("layer_types",):
                if isinstance(part.get(name), list):
                    part.pop(name)
