"""Random models, and candidates beside what `merge` writes, for tests of spaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from small import content, model

from agora.weight import Recipe, merge
from agora.weight.searching import Merged

DRAW = np.random.default_rng(0)
SHAPES = {
    "model.embed_tokens.weight": (12, 8), "model.layers.0.a.weight": (8, 8), "model.layers.1.a.weight": (8, 8),
    "model.layers.2.a.weight": (8, 8), "model.norm.weight": (8,),
}  # fmt: skip


def tensors(merged: Merged) -> dict[str, np.ndarray]:
    """The loader of these tests: a copy of the tensors themselves."""
    return {name: np.array(values) for name, values in merged.tensors.items()}


def random_model(folder: Path, dtype: str = "F32", near: Mapping[str, np.ndarray] | None = None) -> Path:
    made = {}
    for name, shape in SHAPES.items():
        values = DRAW.normal(size=shape).astype(np.float32)
        values = values if near is None else near[name] + values / 16
        made[name] = values.astype(np.float16).astype(np.float32) if dtype == "F16" else values
    return model(folder, made, dtype, config={"model_type": "toy", "num_hidden_layers": 3})


def four(home: Path) -> list[str]:
    """A base and three models near it, one of them in half precision."""
    base = random_model(home / "base")
    kinds = {"a": "F32", "b": "F16", "c": "F32"}
    return [str(base), *(str(random_model(home / name, kind, content(base))) for name, kind in kinds.items())]


def built(space: Any, key: Any) -> Any:
    made, release = space.build(key)
    release()
    return made


def same(tmp: Path, space: Any, key: Any) -> None:
    """A candidate is to the bit what `merge` writes in float32."""
    recipe: Recipe = space.recipe(key)
    out = tmp / f"out{len(list(tmp.iterdir()))}"
    merge(recipe.model_copy(update={"out_dtype": "float32"}), out)
    written, made = content(out), built(space, key)
    assert written.keys() == made.keys()
    for name, values in made.items():
        assert values.dtype == np.float32
        assert values.tobytes() == written[name].tobytes(), name
