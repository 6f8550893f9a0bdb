"""What holds for every method: equal models, any order, any chunks, threads and shards, integers, rounding once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agora.errors import InputError
from agora.weight import METHODS, merge
from agora.weight.dtypes import decode, encode

PLAIN = {
    "linear": {}, "slerp": {"t": 0.3}, "nuslerp": {}, "multislerp": {}, "karcher": {}, "task_arithmetic": {},
    "ties": {"density": 0.4}, "dare_linear": {"density": 0.4}, "dare_ties": {"density": 0.4},
    "della": {"density": 0.4}, "della_linear": {"density": 0.4}, "breadcrumbs": {"density": 0.4, "gamma": 0.1},
    "breadcrumbs_ties": {"density": 0.4, "gamma": 0.1}, "model_stock": {}, "expo": {"alpha": 0.5}, "passthrough": {},
}  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *PLAIN.items(),
    ("dare_ties", {"density": 0.4, "rescale": "l1"}),
    ("della", {"density": 0.4, "rescale": "l1"}),
    ("ties", {"density": 0.4, "trim": "global"}),
    ("model_stock", {"filter_wise": True}),
    ("nuslerp", {"nuslerp_flatten": False}),
    ("nuslerp", {"nuslerp_flatten": False, "nuslerp_row_wise": True}),
]
SHAPES = {"model.embed_tokens.weight": (33, 8), "model.layers.0.w.weight": (5, 7), "model.layers.1.w.weight": (5, 7),
          "model.norm.weight": (11,), "scalar": (), "none": (0, 3)}  # fmt: skip


def tensors(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: small.bf16(draw.standard_normal(shape)) for name, shape in SHAPES.items()}


def recipe(method: str, models: list[Path], base: Path, more: dict[str, Any]) -> dict[str, Any]:
    kind = METHODS[method]
    listed = models[: kind.most or 3]
    weights = {"weight": [0.5, 0.25, 1.0]} if "weight" in kind.parameters else {}
    members = [
        {"model": str(path), "parameters": {key: values[i] for key, values in weights.items()}}
        for i, path in enumerate(listed)
    ]
    made: dict[str, Any] = {"merge_method": method, "models": members, "parameters": more}
    return made | ({"base_model": str(base)} if kind.base == "required" else {})


def made(tmp: Path, dtype: str = "BF16", shards: int = 1, name: str = "in") -> tuple[list[Path], Path]:
    models = [small.model(tmp / name / f"m{i}", tensors(i), dtype, shards=shards) for i in range(3)]
    return models, small.model(tmp / name / "base", tensors(9), dtype, shards=shards)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("method", "more"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_same_bytes(method: str, more: dict[str, Any], tmp_path: Path) -> None:
    models, base = made(tmp_path)
    cut, cut_base = made(tmp_path, shards=3, name="elsewhere")
    plan = recipe(method, models, base, more)
    merge(plan, tmp_path / "one", threads=1)
    wanted = weights(tmp_path / "one")
    merge(plan, tmp_path / "threads", threads=4, chunk=7)
    merge(plan, tmp_path / "chunk", threads=1, chunk=1)
    merge(recipe(method, cut, cut_base, more), tmp_path / "shards", chunk=100)
    orders = ["threads", "chunk", "shards"]
    if METHODS[method].symmetric:
        plan["models"] = plan["models"][::-1]
        merge(plan, tmp_path / "order")
        orders.append("order")
    for name in orders:
        assert sorted_bytes(tmp_path / name) == sorted_bytes(tmp_path / "one"), name
    assert len(wanted) == len(weights(tmp_path / "threads"))


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("nuslerp", {"nuslerp_flatten": False}), ("model_stock", {"filter_wise": True}),
        ("nuslerp", {"nuslerp_flatten": False, "nuslerp_row_wise": True}), ("della", {"density": 0.5, "rescale": "l1"}),
        ("karcher", {}), ("ties", {"density": 0.3}),
    ],
)  # fmt: skip
def test_the_same_bytes_of_long_rows(method: str, more: dict[str, Any], tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    content = [{"w": draw.standard_normal((31, 9001)).astype(np.float32)} for _ in range(4)]
    models = [small.model(tmp_path / f"m{i}", content[i]) for i in range(3)]
    plan = recipe(method, models, small.model(tmp_path / "base", content[3]), more)
    for name, chunk in (("a", None), ("b", 20_000), ("c", 200_000)):
        merge(plan, tmp_path / name, chunk=chunk)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") == weights(tmp_path / "c")


def sorted_bytes(folder: Path) -> dict[str, bytes]:
    return {name: small.raw(values, "BF16") for name, values in small.content(folder).items()}


@pytest.mark.parametrize("method", ["linear", "slerp", "nuslerp", "multislerp", "karcher", "model_stock", "ties"])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_equal_models_give_themselves(method: str, dtype: str, tmp_path: Path) -> None:
    content = {"a.weight": tensors(0)["model.embed_tokens.weight"], "b": tensors(0)["model.norm.weight"]}
    models = [small.model(tmp_path / f"m{i}", content, dtype) for i in range(3)]
    base = small.model(tmp_path / "base", {name: np.zeros_like(values) for name, values in content.items()}, dtype)
    merge(recipe(method, models, base, PLAIN[method] | ({"density": 1} if method == "ties" else {})), tmp_path / "out")
    for name, values in small.content(tmp_path / "out").items():
        np.testing.assert_array_equal(values, content[name])


def test_equal_models_and_task_vectors(tmp_path: Path) -> None:
    found = small.merged(tmp_path, "task_arithmetic", [[3, 8]] * 3, [1, 2], each={"weight": [1, 0.5, 0.25]})
    np.testing.assert_array_equal(found, [1 + 1.75 * 2, 2 + 1.75 * 6])


def test_masks_go_with_the_model_not_with_its_place(tmp_path: Path) -> None:
    models, base = made(tmp_path)
    one = {"merge_method": "dare_linear", "base_model": str(base), "parameters": {"density": 0.5}}
    merge(one | {"models": [{"model": str(models[0])}]}, tmp_path / "alone")
    models[0].rename(tmp_path / "other")
    merge(one | {"models": [{"model": str(tmp_path / "other")}]}, tmp_path / "moved")
    assert weights(tmp_path / "alone") == weights(tmp_path / "moved")


def test_seeds(tmp_path: Path) -> None:
    models, base = made(tmp_path)
    plan = recipe("dare_ties", models, base, {"density": 0.5})
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        merge(plan, tmp_path / name, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_integers_are_copied_and_must_agree(tmp_path: Path) -> None:
    kinds = {"ids": "I64", "flag": "BOOL"}
    first = {"w": [1.0], "ids": [1, 2, 3], "flag": [True]}
    a, b = small.model(tmp_path / "a", first, kinds), small.model(tmp_path / "b", first | {"w": [3.0]}, kinds)
    merge({"linear": [str(a), str(b)]}, tmp_path / "out")
    from agora.weight import Checkpoint

    with Checkpoint(tmp_path / "out") as held:
        raw = np.empty(24, np.uint8)
        held.read("ids", 0, raw)
        assert raw.view("<i8").tolist() == [1, 2, 3]
        assert held.entries["flag"].dtype == "BOOL"
        assert held.tensor("w").tolist() == [2.0]
    other = small.model(tmp_path / "c", first | {"ids": [1, 2, 4]}, kinds)
    with pytest.raises(InputError, match="'ids' holds I64, which is copied"):
        merge({"linear": [str(a), str(other)]}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_missing_tensor_is_an_error(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": [1.0], "v": [2.0]})
    b = small.model(tmp_path / "b", {"w": [1.0]})
    with pytest.raises(InputError, match="has no tensor 'v'"):
        merge({"linear": [str(a), str(b)]}, tmp_path / "out")


def test_buffers_that_are_computed_are_left_out(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": [1.0], "rotary_emb.inv_freq": [2.0]})
    b = small.model(tmp_path / "b", {"w": [3.0]})
    report = merge({"linear": [str(a), str(b)]}, tmp_path / "out")
    assert set(small.content(tmp_path / "out")) == {"w"}
    assert "left out" in report.notes[0]


def test_a_tied_output_matrix_stands_for_itself(tmp_path: Path) -> None:
    embedding = np.arange(4.0).reshape(2, 2)
    tied = {"model_type": "llama", "tie_word_embeddings": True}
    a = small.model(tmp_path / "a", {"model.embed_tokens.weight": embedding}, config=tied)
    b = small.model(
        tmp_path / "b", {"model.embed_tokens.weight": embedding + 2, "lm_head.weight": embedding + 2}, config=tied
    )
    merge({"linear": [str(a), str(b)]}, tmp_path / "out")
    assert set(small.content(tmp_path / "out")) == {"model.embed_tokens.weight"}
    merge({"linear": [str(b), str(a)]}, tmp_path / "two")
    np.testing.assert_array_equal(small.content(tmp_path / "two")["lm_head.weight"], embedding + 1)


SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**127), max_value=2.0**127)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=SINGLE))
def test_bfloat16_is_rounded_to_nearest_even(values: np.ndarray) -> None:
    raw, back = np.empty(2 * len(values), np.uint8), np.empty(len(values), np.float32)
    encode(values, "BF16", raw, np.empty(len(values), np.uint32))
    decode(raw, "BF16", back)
    np.testing.assert_array_equal(back, small.bf16(values))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30), min_size=1))
def test_float64_is_rounded_to_bfloat16_once(values: list[float]) -> None:
    wide = np.array(values)
    raw, back = np.empty(2 * len(wide), np.uint8), np.empty(len(wide), np.float32)
    encode(wide, "BF16", raw, np.empty(len(wide), np.uint32))
    decode(raw, "BF16", back)
    np.testing.assert_array_equal(back, small.bf16(wide))


def test_between_two_roundings_nothing_is_lost() -> None:
    # 1 + 2^-8 + 2^-30 rounds up; by way of float32 it would be a tie, and go down to even
    raw, back = np.empty(2, np.uint8), np.empty(1, np.float32)
    encode(np.array([1 + 2**-8 + 2**-30]), "BF16", raw, np.empty(1, np.uint32))
    decode(raw, "BF16", back)
    assert back[0] == 1 + 2**-7


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.data())
def test_linear_is_the_sum_rounded_once(data: st.DataObject, tmp_path: Path) -> None:
    n, k = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 4))
    whole = st.integers(-120, 120)
    models = np.array(data.draw(st.lists(st.lists(whole, min_size=n, max_size=n), min_size=k, max_size=k)), float)
    shares = [2.0 ** data.draw(st.integers(-3, 3)) for _ in range(k)]
    found = small.merged(tmp_path, "linear", list(models), dtype="BF16", each={"weight": shares}, normalize=False)
    np.testing.assert_array_equal(found, small.bf16(np.array(shares) @ models))


def test_types(tmp_path: Path) -> None:
    third = np.array([1 / 3, 2 / 3])
    a = small.model(tmp_path / "a", {"w": third}, "F64")
    merge({"linear": [str(a), str(a) + "/"], "out_dtype": "float64"}, tmp_path / "wide")
    np.testing.assert_array_equal(small.content(tmp_path / "wide")["w"], third)
    merge({"passthrough": str(a), "dtype": "float16"}, tmp_path / "half")
    np.testing.assert_array_equal(small.content(tmp_path / "half")["w"], third.astype(np.float16))
    b, c = small.model(tmp_path / "b", {"w": [1.0, 2.0]}, "BF16"), small.model(tmp_path / "c", {"w": [3.0, 4.0]}, "F16")
    for name, order in (("bc", [b, c]), ("cb", [c, b])):
        merge({"linear": [str(path) for path in order]}, tmp_path / name)
        assert b'"F32"' in weights(tmp_path / name)[:200]  # the wider of two, whichever is first
    with pytest.raises(InputError, match="too large for float16"):
        merge({"linear": {str(b): 1e6}, "normalize": False, "dtype": "float16"}, tmp_path / "big")


def test_no_number_is_an_error(tmp_path: Path) -> None:
    a, b = small.model(tmp_path / "a", {"w": [1.0, np.nan]}), small.model(tmp_path / "b", {"w": [1.0, 2.0]})
    for recipe in ({"linear": [str(b), str(a)]}, {"passthrough": str(a)}, {"passthrough": str(a), "dtype": "bfloat16"}):
        with pytest.raises(InputError, match="'w' holds NaN"):
            merge(recipe, tmp_path / "x")
        assert not (tmp_path / "x").exists()
    inf = small.model(tmp_path / "inf", {"w": [np.inf, 0.0]})
    minus = small.model(tmp_path / "minus", {"w": [-np.inf, 0.0]})
    with pytest.raises(InputError, match="would hold NaN"):
        merge({"linear": [str(inf), str(minus)]}, tmp_path / "x")
