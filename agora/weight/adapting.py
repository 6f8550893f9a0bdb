"""Merges whose result is a LoRA adapter: composed of adapters, or extracted from a tuned model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agora.errors import InputError
from agora.weight import methods
from agora.weight.adapters import Adapter
from agora.weight.checkpoint import LAYER
from agora.weight.dtypes import FLOATS, SIZES, Floats, dtype_of, encode
from agora.weight.methods.lora import Factors
from agora.weight.parents import Parent, find
from agora.weight.recipe import Recipe
from agora.weight.settings import resolve_all
from agora.weight.sources import Scratch, Source, checked
from agora.weight.vocabulary import NAMES
from agora.weight.writer import Output


def compose(recipe: Recipe, beside: Path | None, folders: Mapping[str, Path] | None) -> tuple[
    dict[str, Factors], dict[str, Any]
]:  # fmt: skip
    """The factors of every module that any of the adapters changes, and a configuration to begin with.

    Raises:
        InputError: if an adapter cannot be read, or they do not fit each other.
    """
    method = methods.get(recipe.merge_method)
    if recipe.models is None or recipe.base_model is not None:
        raise InputError(f"{method.name} takes models, which are adapters, and no base.")
    adapters = {member.model: Adapter(find(member.model, beside, folders)) for member in recipe.models}
    try:
        for reference, adapter in adapters.items():
            if adapter.saved:
                raise InputError(f"{reference}: brings whole tensors along, which cannot be composed.")
        own = {member.model: member.parameters for member in recipe.models}
        if len(own) < len(recipe.models):
            listed = [member.model for member in recipe.models]
            raise InputError(f"adapter {max(listed, key=listed.count)} stands twice.", hint="Give it one weight.")
        every = {module for adapter in adapters.values() for module in adapter.modules}
        last = max((int(found[1]) for module in every if (found := LAYER.search(f"{module}."))), default=0)
        order = sorted(adapters, key=lambda reference: (adapters[reference].checkpoint.fingerprint(), reference))
        made: dict[str, Factors] = {}
        for module in sorted(every):
            having = [reference for reference in order if module in adapters[reference].modules]
            each = {reference: [own[reference], recipe.parameters] for reference in having}
            names = dict.fromkeys(having, module)
            shared, mine = resolve_all(method, [recipe.parameters], each, module, names, _t(module, last))
            weights = {
                title: methods.Each(mine[reference][title] for reference in having)
                for title, parameter in method.parameters.items()
                if parameter.per_model
            }
            factors = [adapters[reference].factors(module) for reference in having]
            if len({(one.shape, one.transposed) for one in factors}) > 1:
                raise InputError(f"the adapters' changes of module '{module[:80]}' have different shapes.")
            made[module] = method.make(factors, **shared, **weights)
        config = dict(adapters[recipe.models[0].model].config)
        return made, config
    finally:
        for adapter in adapters.values():
            adapter.checkpoint.close()


def _t(module: str, last: int) -> float:
    """How far along the layers that adapters change, the last of which is given, a module lies."""
    layer = LAYER.search(f"{module}.")
    return 0.0 if not layer else 1.0 if not last else int(layer[1]) / last


def _values(source: Source) -> Floats:
    """All of a tensor."""
    out = np.empty(math.prod(source.shape), np.float64 if source.dtype == "F64" else np.float32)
    source.read(0, out, Scratch())
    return out.reshape(source.shape)


def extract(recipe: Recipe, parents: Mapping[str, Parent], notes: list[str]) -> tuple[
    dict[str, Factors], dict[str, Any]
]:  # fmt: skip
    """Factors of what one model differs from its base, module by module; embeddings and output matrices are left out.

    Raises:
        InputError: if the models do not fit each other.
    """
    method = methods.get(recipe.merge_method)
    listed = [member.model for member in recipe.models or () if member.model != recipe.base_model]
    if recipe.base_model is None or len(listed) != 1:
        raise InputError(f"{method.name} takes one model and a base.")
    base, tuned = parents[recipe.base_model], parents[listed[0]]
    made: dict[str, Factors] = {}
    left = 0
    for name in base.checkpoint:
        entry = base.checkpoint.entries[name]
        own, there = tuned.own(name), base.own(name)
        if entry.dtype not in FLOATS or own is None or there is None:
            continue
        first, second = checked(base.source(there)), checked(tuned.source(own))
        if first.shape != second.shape:
            raise InputError(f"tensor '{name[:80]}' has different shapes in the model and its base.")
        delta = _values(second) - _values(first)
        if not np.isfinite(delta).all():
            raise InputError(f"tensor '{name[:80]}' differs from the base by what is no number.")
        if len(entry.shape) != 2 or not name.endswith(".weight") or name.endswith(NAMES):
            left += bool(delta.any())
            continue
        shared, _ = resolve_all(method, [recipe.parameters], {}, name, {}, _t(name, base.layers - 1))
        if delta.any():
            made[name.removesuffix(".weight")] = method.make(delta, **shared)
    if left:
        notes.append(f"{left} tensors that differ are no matrices of layers, and are not in the adapter.")
    if not made:
        raise InputError("the model's layers do not differ from the base's.")
    return made, {"base_model_name_or_path": recipe.base_model, "task_type": "CAUSAL_LM"}


def _embedding(module: str, factors: Factors) -> bool:
    """Whether a module is an embedding, whose factors PEFT stores the other way round and under other names."""
    return factors.transposed and f"{module}.weight".endswith(tuple(name for name in NAMES if "head" not in name))


def outputs(made: Mapping[str, Factors], dtype: str | None) -> list[tuple[Output, Any]]:
    """The tensors of an adapter, and their values."""
    kind = dtype_of(dtype) if dtype else "F32"
    found = []
    for module, factors in sorted(made.items()):
        titles = (
            ("lora_embedding_A", "lora_embedding_B")
            if _embedding(module, factors)
            else ("lora_A.weight", "lora_B.weight")
        )
        for title, values in zip(titles, (factors.a, factors.b), strict=True):
            found.append((Output(f"base_model.model.{module}.{title}", kind, values.shape), values))
    return found


def encoded(output: Output, values: Any) -> Any:
    """The bytes of a tensor."""
    flat = np.ascontiguousarray(values).reshape(-1)
    raw = np.empty(flat.size * SIZES[output.dtype], np.uint8)
    encode(flat, output.dtype, raw, np.empty(flat.size, np.uint32))
    return raw


def config_of(made: Mapping[str, Factors], given: Mapping[str, Any]) -> bytes:
    """adapter_config.json: scaling is 1 everywhere, since the weights and scalings are in the factors."""
    ranks = {module: factors.rank for module, factors in made.items()}
    usual = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
    other = {module: rank for module, rank in ranks.items() if rank != usual}
    plain = [factors.transposed for module, factors in made.items() if not _embedding(module, factors)]
    kept = {key: given[key] for key in ("base_model_name_or_path", "task_type", "layers_pattern") if key in given}
    config = kept | {
        "peft_type": "LORA", "r": usual, "lora_alpha": usual, "rank_pattern": other, "alpha_pattern": other,
        "target_modules": sorted(made), "lora_dropout": 0.0, "bias": "none", "use_rslora": False,
        "fan_in_fan_out": any(plain), "inference_mode": True,
    }  # fmt: skip
    return (json.dumps(config, indent=2) + "\n").encode()
