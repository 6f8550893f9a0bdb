"""Models whose weights are a merge, from what a debate file says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agora.config.answering import sampling
from agora.config.options import Build, Context, checked
from agora.config.schema import AdapterSpec, AdaptersSpec, MergedSpec
from agora.errors import ConfigError, InputError
from agora.model import Model


def _merge(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    """Merged when the file is read, so that what is wrong is found before anything is paid for; once, and kept. Who
    only looks gets the first model in its place."""
    from agora.models.wrappers import with_settings
    from agora.weight import METHODS, read_recipe
    from agora.weight.cached import cached
    from agora.weight.merging import planned
    from agora.weight.parents import base_of

    spec = checked(options, MergedSpec)
    if isinstance(value, str):
        path = context.folder / value
        recipe, beside = read_recipe(path), path.parent
    elif isinstance(value, dict):
        try:
            recipe, beside = read_recipe(value), context.folder
        except ConfigError as error:  # it gets the line of the model
            raise InputError(f"merge: {error.message}", hint=error.hint) from error
    else:
        raise InputError("merge: needs a recipe, such as {ties: [a, b], base: c, density: 0.5}, or its file.")
    if METHODS[recipe.merge_method].needs == "adapter":
        raise InputError(f"merge: {recipe.merge_method} makes an adapter, which is no model.",
                         hint="Make it with `agora merge`, and give it to a local model as its `adapter`.")  # fmt: skip
    folders = _folders(recipe.references(), context)
    name = f"merge:{recipe.name or recipe.merge_method}"
    if context.lenient:
        planned(recipe, beside=beside, folders=folders)
        folder = base_of(recipe.references()[0], beside, folders)
    else:
        folder = cached(recipe, beside=beside, folders=folders, progress=context.progress)
    return with_settings(_loaded(folder, name, spec), sampling(spec))


def _folders(references: list[str], context: Context) -> dict[str, Path]:
    """The folders of models of the file that a recipe names."""
    from agora.models.pocket import WEIGHTS, PocketModel
    from agora.models.writers import bare

    found = {}
    for reference in references:
        for name in (reference, *reference.rpartition("+")[::2]):
            if name not in context.models:
                continue
            model, _ = bare(context.models[name])
            folder = getattr(model, "folder", None)
            if type(model) is PocketModel:
                folder = WEIGHTS / model.name.partition(":")[2]
            if folder is None:
                raise InputError(f"merge: {name[:60]} has no weights on this machine that could be merged.",
                                 hint="Merge models in the box and local checkpoints (hf:FOLDER).")  # fmt: skip
            found[name] = Path(folder)
    return found


def _loaded(folder: Path, name: str, spec: MergedSpec) -> Model:
    from agora.models.pocket import GivenPocketModel, network

    if _is_pocket(folder):
        return GivenPocketModel(network.load(folder), name, folder.name, folder)
    from agora.models.huggingface import HuggingFaceModel

    return HuggingFaceModel(folder, dtype=spec.dtype, device=spec.device, chat=spec.chat, name=name)


def _is_pocket(folder: Path) -> bool:
    """Whether a checkpoint is of the pocket models' tokenizer, sizes and type; their depth may differ."""
    from agora.models.pocket import WEIGHTS

    own = WEIGHTS / "base"
    tokenizer, config = folder / "tokenizer.json", folder / "config.json"
    if not (tokenizer.is_file() and config.is_file()):
        return False
    if tokenizer.read_bytes() != (own / tokenizer.name).read_bytes():
        return False
    given, usual = (json.loads((place / config.name).read_bytes()) for place in (folder, own))
    free = ("num_hidden_layers", "architectures", "torch_dtype")
    return given.get("torch_dtype") in ("float16", "float32") and all(
        given.get(key) == value for key, value in usual.items() if key not in free
    )


def _adapters(value: Any, options: Mapping[str, Any], context: Context) -> Model:
    """Adapters of one base, of which each question is answered by the one whose prompts it is like."""
    from agora.models.wrappers import with_settings
    from agora.weight import AdapterChoice

    spec = checked(options, AdaptersSpec)
    if not isinstance(value, dict) or not value:
        raise InputError("adapters: needs a mapping {NAME: {adapter: FOLDER, prompts: [...]}, ...}.")
    chosen = {}
    for name, item in value.items():
        one = checked(item if isinstance(item, dict) else {"adapter": item}, AdapterSpec)
        folder = None if one.adapter is None else context.folder / one.adapter
        chosen[str(name)] = {"adapter": folder, "prompts": one.prompts, "negative": one.negative}
    made = AdapterChoice(
        context.folder / spec.base.removeprefix("hf:"), chosen, top=spec.top, temperature=spec.sharpness,
        dtype=spec.dtype, device=spec.device, chat=spec.chat, name=f"adapters of {spec.base}",
    )  # fmt: skip
    return with_settings(made, sampling(spec))


KINDS: Mapping[str, Build] = {"merge": _merge, "adapters": _adapters}
