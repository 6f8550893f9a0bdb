"""Small checkpoints for tests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agora.weight import Checkpoint, merge

KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "BOOL": "?"}


def raw(values: Any, dtype: str) -> bytes:
    """Bytes of values that are exact in the type."""
    if dtype != "BF16":
        return np.asarray(values).astype(KINDS[dtype]).tobytes()
    bits = np.asarray(values, np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any(), "not exact in bfloat16"
    return (bits >> 16).astype("<u2").tobytes()


def bf16(values: Any) -> np.ndarray:
    """Rounded to bfloat16, to nearest even, by integer arithmetic on the exact value."""
    wide = np.asarray(values, np.float64)
    exponent = np.frexp(wide)[1]
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 8)
    return (np.round(wide / unit) * unit).astype(np.float32)


def file(path: Path, tensors: Mapping[str, Any], dtypes: Mapping[str, str] | str = "F32") -> None:
    """A safetensors file."""
    header: dict[str, Any] = {}
    body = b""
    for name, values in tensors.items():
        dtype = dtypes if isinstance(dtypes, str) else dtypes.get(name, "F32")
        data = raw(values, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(np.shape(values)),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def model(
    folder: Path,
    tensors: Mapping[str, Any],
    dtypes: Mapping[str, str] | str = "F32",
    *,
    shards: int = 1,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A checkpoint's folder."""
    folder.mkdir(parents=True)
    names = list(tensors)
    if shards == 1:
        file(folder / "model.safetensors", tensors, dtypes)
    else:
        size, where = math.ceil(len(names) / shards), {}
        for k in range(shards):
            own = {name: tensors[name] for name in names[k * size : (k + 1) * size]}
            file(folder / f"part-{k}.safetensors", own, dtypes)
            where |= dict.fromkeys(own, f"part-{k}.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "toy"}))
    return folder


def content(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint."""
    with Checkpoint(folder) as held:
        return {name: np.array(held.tensor(name)) for name in held}


def merged(tmp: Path, method: str, vectors: Sequence[Any], base: Any = None, *, dtype: str = "F32", **more: Any) -> Any:
    """One tensor merged: the `vectors` of models, of a base; parameters of each as lists under `each`."""
    own = more.pop("each", {})
    count = len(list(tmp.iterdir()))
    home = tmp / f"case{count}"
    members = []
    for i, values in enumerate(vectors):
        path = model(home / f"m{i}", {"x.weight": np.asarray(values, np.float64)}, dtype)
        members.append({"model": str(path), "parameters": {key: found[i] for key, found in own.items()}})
    recipe: dict[str, Any] = {"merge_method": method, "models": members}
    options = {key: more.pop(key) for key in ("seed", "chunk", "threads") if key in more}
    if base is not None:
        recipe["base_model"] = str(model(home / "base", {"x.weight": np.asarray(base, np.float64)}, dtype))
    for key in ("out_dtype",):
        if key in more:
            recipe[key] = more.pop(key)
    recipe["parameters"] = more
    merge(recipe, home / "out", **options)
    return content(home / "out")["x.weight"]
