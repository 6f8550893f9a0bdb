"""Router files: what a router has learnt, as data (JSON or safetensors), checked when read; nothing is executed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.api.features import EndpointFeatures, Features, WordFeatures
from agora.api.scorers import KINDS, Scorer
from agora.errors import InputError

Floats = NDArray[np.float64]
VERSION = 1
MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class Learnt:
    """What a router has learnt.

    Attributes:
        method: 'knn', 'logistic', 'mf' or 'graph'.
        models: whose scores it expects, in the order of its columns.
        costs: their mean cost, USD an answer.
        features: what makes vectors of prompts.
        scorer: what makes scores of vectors.
        weight: lambda: how much score a USD is worth; 0 looks at scores alone.
        threshold: of two models, the probability that the strong one, the second, does better from which on it is
            asked; None is to choose by score and cost.
        trained: what it was trained on, in words.
    """

    method: str
    models: tuple[str, ...]
    costs: tuple[float, ...]
    features: Features
    scorer: Scorer
    weight: float = 0.0
    threshold: float | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)


def save(learnt: Learnt, path: str | Path) -> None:
    """Write a router file: JSON, or safetensors where the name ends so, a fifth of the size.

    Raises:
        InputError: if it cannot be written.
    """
    arrays = {f"scorer.{name}": array for name, array in learnt.scorer.arrays().items()}
    spec = dict(learnt.features.spec)
    if isinstance(learnt.features, WordFeatures):
        arrays |= {"features.idf": learnt.features.idf, "features.components": learnt.features.components}
        spec["terms"] = sorted(learnt.features.vocabulary, key=learnt.features.vocabulary.__getitem__)
    head = {
        "agora_router": VERSION, "method": learnt.method, "models": list(learnt.models), "costs": list(learnt.costs),
        "weight": learnt.weight, "threshold": learnt.threshold, "features": spec, "trained": dict(learnt.trained),
    }  # fmt: skip
    stored = {name: np.ascontiguousarray(array, dtype="<f4") for name, array in sorted(arrays.items())}
    head["digest"] = _digest(head, stored)
    content = _safetensors(head, stored) if str(path).endswith(".safetensors") else _json(head, stored)
    target, half = Path(path), Path(f"{path}.{os.getpid()}.part")
    try:
        half.write_bytes(content)
        half.replace(target)  # whole or not at all
    except OSError as error:
        half.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error


def load(path: str | Path) -> Learnt:
    """Read a router file.

    Raises:
        InputError: if it cannot be read, is no router file, or has been changed since it was written.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is larger than {MAX_BYTES:,} bytes.")
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    try:
        head, arrays = _of_safetensors(content) if str(path).endswith(".safetensors") else _of_json(content)
        if head["agora_router"] != VERSION:
            raise InputError(f"{path}: is of version {str(head['agora_router'])[:20]}, this agora reads {VERSION}.")
        given = head.pop("digest")
        if given != _digest(head, arrays):
            raise InputError(f"{path}: has been changed since it was written.", hint="Train it again.")
        return _learnt(head, arrays)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, binascii.Error) as error:
        raise InputError(f"{path}: is no router file, or a broken one.",
                         hint="`agora route train` writes one.") from error  # fmt: skip


def _learnt(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Learnt:
    full = {name: np.asarray(array, dtype=float) for name, array in arrays.items()}
    for name, array in full.items():
        if not np.isfinite(array).all() and name != "scorer.known":
            raise ValueError(name)
    models = tuple(str(name) for name in head["models"])
    costs = tuple(float(cost) for cost in head["costs"])
    spec = head["features"]
    features: Features
    if spec["kind"] == "words":
        terms = [str(term) for term in spec["terms"]]
        components = full["features.components"]
        if components.ndim != 2 or components.shape[1] != len(terms) or full["features.idf"].shape != (len(terms),):
            raise ValueError("shapes")
        features = WordFeatures({term: i for i, term in enumerate(terms)}, full["features.idf"], components)
        dimensions: int | None = len(components)
    elif spec["kind"] == "endpoint":
        features = EndpointFeatures(str(spec["model"]), spec.get("base_url"), spec.get("api_key_env"))
        dimensions = None
    else:
        raise ValueError("features")
    if head["method"] == "bandit":
        from agora.api.bandit import LinearBandit  # it writes such files itself

        make: Any = LinearBandit.of
    else:
        make = KINDS[head["method"]]
    scorer = make({n.removeprefix("scorer."): a for n, a in full.items() if n.startswith("scorer.")})
    if dimensions is None:
        held = next(a for n, a in full.items() if n in ("scorer.vectors", "scorer.weights", "scorer.rewards"))
        dimensions = held.shape[0] if head["method"] in ("logistic", "mf") else held.shape[1]
        dimensions -= head["method"] == "bandit"
    if not len(models) == len(set(models)) == len(costs) or any(not cost >= 0 for cost in costs):
        raise ValueError("models")
    if head["method"] == "answer":  # figures of the answer stand before its words
        dimensions = full["scorer.weights"].shape[0]
    if scorer.scores(np.zeros((1, dimensions))).shape != (1, len(models)):
        raise ValueError("shapes")
    threshold = head["threshold"]
    weight = float(head["weight"])
    if not 0 <= weight < float("inf"):
        raise ValueError("weight")
    return Learnt(
        str(head["method"]), models, costs, features, scorer, weight,
        None if threshold is None else float(threshold), dict(head["trained"]),
    )  # fmt: skip


def _digest(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    made = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(arrays):
        made.update(name.encode() + str(arrays[name].shape).encode() + arrays[name].tobytes())
    return made.hexdigest()


# ---- forms ------------------------------------------------------------------------------------------------------


def _json(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    packed = {n: {"shape": a.shape, "float32": base64.b64encode(a.tobytes()).decode()} for n, a in arrays.items()}
    return json.dumps({**head, "arrays": packed}, indent=1).encode()


def _of_json(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    head = json.loads(content)
    packed = head.pop("arrays")
    arrays = {n: _array(base64.b64decode(p["float32"], validate=True), p["shape"]) for n, p in packed.items()}
    return head, arrays


def _array(raw: bytes, shape: Any) -> NDArray[Any]:
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ValueError("shape")
    return np.frombuffer(raw, dtype="<f4").reshape(sizes)


def _safetensors(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    place, index = 0, dict[str, Any]()
    for name, array in arrays.items():
        index[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    index["__metadata__"] = {"agora": json.dumps(head)}
    text = json.dumps(index).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values())


def _of_safetensors(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    length = int.from_bytes(content[:8], "little")
    index = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    head = json.loads(index.pop("__metadata__")["agora"])
    arrays = {}
    for name, entry in index.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] != "F32" or not 0 <= begin <= end <= len(body):
            raise ValueError(name)
        arrays[name] = _array(body[begin:end], entry["shape"])
    return head, arrays
