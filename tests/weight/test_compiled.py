"""Compiled kernels give the bytes that numpy gives, for every method, type, chunk and thread, or leave it to numpy."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from test_promises_of_merging import VARIANTS, recipe, weights

from agora.errors import InputError
from agora.weight import merge
from agora.weight.dtypes import SIZES, decode, encode
from agora.weight.fused import Fused
from agora.weight.select import counted

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")
TINY = {"F32": 2.0**-149, "F16": 2.0**-24, "BF16": 2.0**-133}
KINDS = {"BF16": 0, "F16": 1, "F32": 2}


def kernels() -> Any:
    found = Fused().kernels()
    assert found is not None
    return found


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    return small.bf16(values) if dtype == "BF16" else values.astype(small.KINDS[dtype]).astype(np.float32)


def content(seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Weights on a coarse grid, so that many differences are equal; with denormals, zeros of both signs, ends."""
    draw = np.random.default_rng(seed)
    made = {}
    for name, shape in {"model.layers.0.w.weight": (70, 61), "long.weight": (9001,), "one": (), "none": (0, 3)}.items():
        values = np.array(draw.integers(-40, 40, shape) / 64 + 1e-3 * draw.standard_normal(shape))
        values[...] = np.where(draw.random(shape) < 0.3, np.array(draw.integers(-8, 8, shape) / 8), values)
        for what in (0.0, -0.0, TINY[dtype], -3 * TINY[dtype]):
            values[...] = np.where(draw.random(shape) < 0.02, what, values)
        made[name] = rounded(values, dtype)
    return made


def both(plan: dict[str, Any], tmp: Path, monkeypatch: pytest.MonkeyPatch, used: bool | None = True) -> None:
    """See that both ways give the same files, however they are cut; or the same error."""
    outcomes = []
    for name, compiled, options in (
        ("numpy", "0", {}), ("on", "1", {}), ("chunk", "1", {"chunk": 13, "threads": 3}),
        ("odd", "1", {"chunk": 2049, "threads": 1}),
    ):  # fmt: skip
        monkeypatch.setenv("AGORA_COMPILED", compiled)
        calls: list[bool] = []
        writing = Fused.writing

        def spy(self: Fused, *args: Any, writing: Any = writing, calls: list[bool] = calls) -> Any:
            made = writing(self, *args)
            calls.append(made is not None)
            return made

        monkeypatch.setattr(Fused, "writing", spy)
        try:
            merge(plan, tmp / name, **options)
            outcomes.append(weights(tmp / name))
        except InputError as error:
            # whose tensor is first depends on threads
            outcomes.append(re.sub(r"tensor '[^']*'", "tensor", str(error)).encode())
        monkeypatch.setattr(Fused, "writing", writing)
        if compiled == "1" and used is not None:
            assert any(calls) == used, calls
    for found in outcomes[1:]:
        assert found == outcomes[0]


FUSED = {"nuslerp": None, "model_stock": None, "della": False, "della_linear": False, "passthrough": False}


@needs_numba
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(("method", "more"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_same_bytes(
    method: str, more: dict[str, Any], dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [small.model(tmp_path / f"m{i}", content(i, dtype), dtype) for i in range(3)]
    base = small.model(tmp_path / "base", content(9, dtype), dtype)
    both(recipe(method, models, base, more), tmp_path, monkeypatch, FUSED.get(method, True))


@needs_numba
@pytest.mark.parametrize(
    "more",
    [
        {"density": 1}, {"density": 0}, {"density": 0.999, "normalize": False, "lambda": 0.3},
        {"density": 0.3, "lambda": -2}, {"density": 0.3, "trim": "global"}, {"density": 0.5, "lambda": 1e9},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("out", ["float32", "float16", "bfloat16", "float64"])
def test_types_mixed(more: dict[str, Any], out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    types = ("BF16", "F16", "F32")
    models = [small.model(tmp_path / f"m{i}", content(i, types[i]), types[i]) for i in range(3)]
    plan = recipe("ties", models, small.model(tmp_path / "base", content(9, "F16"), "F16"), more)
    both(plan | {"out_dtype": out}, tmp_path, monkeypatch, None)


@needs_numba
@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "breadcrumbs"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -1e30, 2.0**64])
@pytest.mark.parametrize("where", ["m1", "base", "both"])
def test_what_is_out_of_the_ordinary(
    method: str, value: float, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {name: content(i, "F32") for i, name in enumerate(("m0", "m1", "m2", "base"))}
    for name in ("m1", "base") if where == "both" else (where,):
        held[name]["long.weight"][5000:5003] = value
    paths = {name: small.model(tmp_path / name, tensors) for name, tensors in held.items()}
    more = {} if method in ("linear", "task_arithmetic") else {"density": 0.4}
    both(recipe(method, [paths[f"m{i}"] for i in range(3)], paths["base"], more), tmp_path, monkeypatch)


@needs_numba
@pytest.mark.parametrize("shares", [[0.5, -0.5, 0.0], [1, 1, 1], [-1, -2, 0.1], [0.1, 0.2, 0.7]])
@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "breadcrumbs_ties"])
def test_weights(method: str, shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small.model(tmp_path / f"m{i}", content(i, "BF16"), "BF16") for i in range(3)]
    plan = recipe(method, models, small.model(tmp_path / "base", content(9, "BF16"), "BF16"), {"normalize": False})
    for member, share in zip(plan["models"], shares, strict=True):
        member["parameters"] = {"weight": share} | ({} if method in ("linear", "task_arithmetic") else {"density": 0.6})
    both(plan, tmp_path, monkeypatch)


@needs_numba
def test_more_than_eight_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [small.model(tmp_path / f"m{i}", content(i, "BF16"), "BF16") for i in range(10)]
    base = small.model(tmp_path / "base", content(99, "BF16"), "BF16")
    plan = {"merge_method": "ties", "base_model": str(base), "parameters": {"density": 0.4}}
    members = [{"model": str(path), "parameters": {"weight": 0.1 + i / 7}} for i, path in enumerate(models)]
    both(plan | {"models": members}, tmp_path, monkeypatch)


@needs_numba
def test_many_elements_and_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    size = (1 << 18) + 12_345  # so many that thresholds are bracketed by a sample
    base = small.bf16(draw.standard_normal(size) * 0.02)
    models = []
    for i in range(3):
        tuned = small.bf16(base + 1e-3 * draw.standard_normal(size))
        models.append(small.model(tmp_path / f"m{i}", {"w": tuned}, "BF16"))
    home = small.model(tmp_path / "base", {"w": base}, "BF16")
    for method, more in (("ties", {"density": 0.5}), ("breadcrumbs", {"density": 0.3, "gamma": 0.05})):
        (tmp_path / method).mkdir()
        both(recipe(method, models, home, more), tmp_path / method, monkeypatch)


@needs_numba
def test_every_half_precision_number() -> None:
    words = np.arange(1 << 16, dtype=np.uint16)
    for dtype, odd in (("F16", (words & 0x7C00) == 0x7C00), ("BF16", (words & 0x7FFF) >= 0x5F80)):
        plain = words[~odd]
        raw, wanted, found = plain.view(np.uint8), np.empty(len(plain), np.float32), np.empty(len(plain), np.float32)
        decode(raw, dtype, wanted)
        assert kernels().decode(raw, KINDS[dtype], found)
        assert wanted.tobytes() == found.tobytes()
        for word in words[odd]:
            assert not kernels().decode(np.array([word]).view(np.uint8), KINDS[dtype], np.empty(1, np.float32))


@needs_numba
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_rounding(dtype: str) -> None:
    draw = np.random.default_rng(1)
    bits = draw.integers(0, 1 << 32, 400_000, np.uint32)
    bits[::4] = bits[::4] & 0xFFFF0000 | 0x8000  # ties of bfloat16
    bits[1::4] = bits[1::4] & 0xFFFFE000 | 0x1000  # and of float16
    halves = (draw.integers(0, 1 << 12, 100_000) * 2.0**-25).astype(np.float32)  # denormals of float16, and their ties
    values = np.concatenate([bits.view(np.float32), halves, -halves])
    values = values[np.abs(values) < (65504 if dtype == "F16" else 1e38)]
    wanted, found = (np.empty(len(values) * SIZES[dtype], np.uint8) for _ in range(2))
    encode(values, dtype, wanted, np.empty(len(values), np.uint32))
    assert kernels().encode(values, KINDS[dtype], found)
    assert wanted.tobytes() == found.tobytes()


@needs_numba
def test_counts() -> None:
    values = np.abs(np.round(np.random.default_rng(0).standard_normal(5003), 2)).astype(np.float32)
    for low, high in ((0.5, 1.0), (-1.0, np.inf), (0.7, 0.7), (0.0, 0.01)):
        low, high = float(np.float32(low)), float(np.float32(high))
        for hold in (True, False):
            *wanted, places = counted(values, low, high, hold)
            *found, own = Fused().counted(values, low, high, hold)
            assert found == wanted
            np.testing.assert_array_equal(own if hold else [], places if hold else [])


def loaded(tmp: Path, setting: str | None, blocked: bool = False) -> str:
    """Whether a small merge in a process of its own has imported numba, and that it could be made."""
    models = [small.model(tmp / name, {"w": np.ones(10)}) for name in "ab"]
    code = (
        f"import sys; {'sys.modules[chr(110) + chr(117) + chr(109) + chr(98) + chr(97)] = None' if blocked else ''}\n"
        f"from agora.weight import merge; merge({{'linear': {[str(path) for path in models]}}}, {str(tmp / 'out')!r})\n"
        "print(sys.modules.get('numba') is not None)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "AGORA_COMPILED"}
    environment |= {"AGORA_COMPILED": setting} if setting else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert (tmp / "out").exists()
    return done.stdout.strip()


@pytest.mark.parametrize("setting", [None, "0"])
def test_small_merges_do_not_load_numba(setting: str | None, tmp_path: Path) -> None:
    assert loaded(tmp_path, setting) == "False"


@needs_numba
def test_loaded_on_demand(tmp_path: Path) -> None:
    assert loaded(tmp_path, "1") == "True"


def test_without_numba(tmp_path: Path) -> None:
    assert loaded(tmp_path, "1", blocked=True) == "False"
