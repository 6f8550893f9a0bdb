"""Recipes: both forms, gradients, filters, precedence, slices, modules; and what is wrong, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import yaml

from agora.errors import ConfigError, InputError
from agora.weight import METHODS, merge, read_recipe
from agora.weight.methods.registry import Parameter
from agora.weight.settings import Filtered, evaluate

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
T = Parameter("t", "float", False, None, True)


def layered(folder: Path, layers: int, offset: float, **config: Any) -> Path:
    """Every tensor holds offset + 10 * its layer; the embedding offset + 1000, norm and head offset + 2000."""
    tensors = {"model.embed_tokens.weight": np.full((3, 2), offset + 1000)}
    for i in range(layers):
        tensors[f"model.layers.{i}.self_attn.q_proj.weight"] = np.full((2, 2), offset + 10 * i)
        tensors[f"model.layers.{i}.mlp.up_proj.weight"] = np.full((2, 2), offset + 10 * i)
    tensors |= {"model.norm.weight": np.full(2, offset + 2000), "lm_head.weight": np.full((3, 2), offset + 2000)}
    return small.model(folder, tensors, config={"model_type": "llama", "num_hidden_layers": layers, **config})


def values(folder: Path, kind: str = "q_proj") -> list[float]:
    found = small.content(folder)
    layers = sum(kind in name for name in found)
    names = [next(n for n in found if n.startswith(f"model.layers.{i}.") and kind in n) for i in range(layers)]
    return [float(found[name].flat[0]) for name in names]


def test_the_short_form_is_short_for_the_long_one() -> None:
    short = read_recipe({"ties": ["a", "b"], "base": "c", "density": 0.5})
    assert short == read_recipe({
        "merge_method": "ties", "models": [{"model": "a"}, {"model": "b"}], "base_model": "c",
        "parameters": {"density": 0.5},
    })  # fmt: skip
    assert read_recipe({"linear": {"a": 0.7, "b": 0.3}}) == read_recipe({
        "merge_method": "linear",
        "models": [{"model": "a", "parameters": {"weight": 0.7}}, {"model": "b", "parameters": {"weight": 0.3}}],
    })  # fmt: skip
    rich = read_recipe({"ties": {"a": {"weight": 1, "density": 0.3}, "b": None}, "base": "c", "density": 0.5,
                        "dtype": "bfloat16", "seed": 3, "tokenizer": "union"})  # fmt: skip
    assert rich.models is not None
    assert rich.models[0].parameters == {"weight": 1, "density": 0.3}
    assert (rich.dtype, rich.seed, rich.tokenizer_source, rich.parameters) == ("bfloat16", 3, "union", {"density": 0.5})


def test_a_recipe_written_out_is_read_back() -> None:
    for given in (
        {"ties": ["a", "b"], "base": "c", "density": [0.1, 0.9]},
        {"linear": {"a": 0.7, "b": {"weight": [{"filter": "mlp", "value": 1}, {"value": 2}]}}},
        {"passthrough": ["a"], "scale": 2, "tokenizer": {"source": "base", "tokens": {"x": {"source": "a"}}}},
    ):
        recipe = read_recipe(given)
        assert read_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


def test_references_of_mergekit_as_mappings() -> None:
    given = {"merge_method": "linear", "models": [{"model": {"model": {"path": "a"}, "lora": {"path": "b"}}}]}
    assert read_recipe(given).references() == ["a+b"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"merge_method": "tise", "models": []}, "Did you mean 'ties'?"),
        ({"tise": ["a"]}, "Did you mean 'ties'?"),
        ({"models": []}, "names one merge method"),
        ({"ties": ["a"], "linear": ["b"]}, "names one merge method"),
        ({"ties": ["a"], "densty": 0.5}, "Did you mean 'density'?"),
        ({"merge_method": "ties", "models": [{"model": "a", "parameters": {"gamma": 1}}]}, "has no parameter 'gamma'"),
        ({"merge_method": "ties", "model": []}, "Did you mean 'models'?"),
        ({"merge_method": "ties", "models": [{"model": "a", "paramters": {}}]}, "Did you mean 'parameters'?"),
        ({"merge_method": "ties"}, "exactly one of models, slices and modules"),
        ({"merge_method": "ties", "models": [], "slices": []}, "exactly one of"),
        ({"linear": ["a"], "dtype": "int8"}, "there is no dtype 'int8'"),
        ({"linear": 3}, "takes a list of models"),
        ({"merge_method": "linear", "models": [{}]}, "field required"),
        ({"linear": ["a"], "seed": -1}, "seed"),
        ({"linear": ["a"], "tokenizer": {"sorce": "base"}}, "Did you mean 'source'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(given: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_recipe(given)
    assert wanted in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    cases = (
        ("a: [", "not YAML"), ("- a", "a recipe is a mapping"), ("", "a recipe is a mapping"),
        ("x: !!python/object:os.system {}", "not YAML"), ("linear: [a]\nlinear: [b]", "stands twice"),
        (BOMB, "aliases are expanded"), ("&a [*a]", "nested"), ("[" * 200, "not YAML|nested"),
    )  # fmt: skip
    for content, wanted in cases:
        (tmp_path / "r.yaml").write_text(content)
        with pytest.raises(ConfigError, match=wanted) as raised:
            read_recipe(tmp_path / "r.yaml")
        assert "r.yaml" in str(raised.value)
    with pytest.raises(ConfigError, match="Check the path"):
        read_recipe(tmp_path / "none.yaml")


def test_gradients() -> None:
    assert [evaluate([0, 1], T, "x", i / 2) for i in range(3)] == [0, 0.5, 1]
    five = [evaluate([0, 10, 20, 0, 4], T, "x", i / 8) for i in range(9)]
    assert five == [0, 5, 10, 15, 20, 10, 0, 2, 4]
    assert evaluate([3], T, "x", 0.7) == 3
    assert evaluate("1e-1", T, "x", 0) == 0.1  # what YAML takes for text


def test_filters() -> None:
    setting = [Filtered(filter="self_attn", value=[0, 1]), Filtered(filter="mlp", value=2), Filtered(value=3)]
    assert evaluate(setting, T, "l.self_attn.q", 0.5) == 0.5
    assert evaluate(setting, T, "l.mlp.up", 0.5) == 2
    assert evaluate(setting, T, "norm", 0.5) == 3
    assert evaluate(setting[:1], T, "norm", 0.5) is None
    assert evaluate([Filtered(filter="a", value=1), Filtered(filter="ab", value=2)], T, "ab", 0) == 1  # the first


@pytest.mark.parametrize(("layers", "wanted"), [(3, [0.0, 0.5, 1.0]), (1, [1.0])])
def test_a_gradient_over_layers(layers: int, wanted: list[float], tmp_path: Path) -> None:
    a, b = layered(tmp_path / "a", layers, 0), layered(tmp_path / "b", layers, 1)
    recipe = {"merge_method": "linear", "models": [
        {"model": str(a), "parameters": {"weight": [1, 0]}}, {"model": str(b), "parameters": {"weight": [0, 1]}},
    ]}  # fmt: skip
    merge(recipe, tmp_path / "out")
    assert values(tmp_path / "out") == [10 * i + t for i, t in enumerate(wanted)]
    assert small.content(tmp_path / "out")["model.norm.weight"][0] == 2000  # of no layer: t is 0


def test_precedence(tmp_path: Path) -> None:
    """Slice source before slice before module before the whole recipe."""
    a = layered(tmp_path / "a", 4, 1)
    source: dict[str, Any] = {"model": str(a), "layer_range": [0, 1]}
    recipe = {"merge_method": "passthrough", "modules": {"default": {
        "slices": [
            {"sources": [source | {"parameters": {"scale": 2}}], "parameters": {"scale": 3}},
            {"sources": [source], "parameters": {"scale": 3}},
            {"sources": [source]},
            {"sources": [source], "parameters": {"scale": [{"filter": "mlp", "value": 9}]}},
        ],
        "parameters": {"scale": 4}}}, "parameters": {"scale": 5}}  # fmt: skip
    merge(recipe, tmp_path / "out")
    assert values(tmp_path / "out") == [2, 3, 4, 4]
    assert values(tmp_path / "out", "up_proj") == [2, 3, 4, 9]
    del recipe["modules"]["default"]["parameters"]  # type: ignore[index]
    merge(recipe, tmp_path / "out2")
    assert values(tmp_path / "out2") == [2, 3, 5, 5]


def test_slices_stack_layers(tmp_path: Path) -> None:
    a, b = layered(tmp_path / "a", 6, 0), layered(tmp_path / "b", 6, 1)
    recipe = {"merge_method": "passthrough", "slices": [
        {"sources": [{"model": str(a), "layer_range": [0, 4]}]},
        {"sources": [{"model": str(b), "layer_range": [2, 6]}]},
    ]}  # fmt: skip
    merge(recipe, tmp_path / "out")
    assert values(tmp_path / "out") == [0, 10, 20, 30, 21, 31, 41, 51]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 8
    found = small.content(tmp_path / "out")
    assert found["model.embed_tokens.weight"][0, 0] == 1000  # of the first slice
    assert found["model.norm.weight"][0] == 2001  # of the last
    assert len(found) == 19


def test_a_slice_of_everything_is_a_copy(tmp_path: Path) -> None:
    a = layered(tmp_path / "a", 3, 0.5)
    recipe = {"merge_method": "passthrough", "slices": [{"sources": [{"model": str(a), "layer_range": [0, 3]}]}]}
    merge(recipe, tmp_path / "out")
    merge({"passthrough": str(a)}, tmp_path / "plain")
    for name, held in small.content(a).items():
        np.testing.assert_array_equal(small.content(tmp_path / "out")[name], held)
        np.testing.assert_array_equal(small.content(tmp_path / "plain")[name], held)


def test_slices_of_several_sources(tmp_path: Path) -> None:
    a, b = layered(tmp_path / "a", 4, 0), layered(tmp_path / "b", 6, 2)
    sources = [{"model": str(a), "layer_range": [0, 2]}, {"model": str(b), "layer_range": [3, 5]}]
    recipe = {"merge_method": "linear", "slices": [{"sources": sources}]}
    merge(recipe, tmp_path / "out")
    assert values(tmp_path / "out") == [(0 + 32) / 2, (10 + 42) / 2]
    with pytest.raises(InputError, match="same number of layers"):
        merge({"merge_method": "linear", "slices": [{"sources": [sources[0], {**sources[1], "layer_range": [0, 3]}]}]},
              tmp_path / "x")  # fmt: skip
    with pytest.raises(InputError, match="has layers 0 to 4, not 0 to 5"):
        merge({"merge_method": "linear", "slices": [{"sources": [{**sources[0], "layer_range": [0, 5]}]}]},
              tmp_path / "x")  # fmt: skip


def test_modules_are_parts_of_names(tmp_path: Path) -> None:
    models = [
        small.model(tmp_path / name, {"vision.w.weight": [k], "text.w.weight": [k]}) for k, name in enumerate("ab")
    ]
    listed = [{"model": str(path)} for path in models]
    recipe = {"merge_method": "linear", "modules": {
        "vision": {"models": listed[:1]}, "text": {"models": listed},
    }}  # fmt: skip
    merge(recipe, tmp_path / "out")
    found = small.content(tmp_path / "out")
    assert (found["vision.w.weight"][0], found["text.w.weight"][0]) == (0, 0.5)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"x.weight": [[1.0, 2.0]]})
    b = small.model(tmp_path / "b", {"x.weight": [[1.0, 2.0], [3.0, 4.0]]})
    for recipe, wanted in (
        ({"linear": [str(a), str(b)]}, r"'x.weight' has different shapes: .*a \[1, 2\], .*b \[2, 2\]"),
        ({"ties": [str(a)], "density": 0.5}, "ties needs a base"),
        ({"ties": [str(a)], "base": str(a), "density": 0.5}, "takes 1 or more models, not 0"),
        ({"dare_ties": [str(a)], "base": str(b)}, "needs 'density'|different shapes"),
        ({"slerp": [str(a)], "t": 0.5}, "slerp takes 2 models, not 1"),
        ({"slerp": [str(a), str(b)]}, "different shapes|needs 't'"),
        ({"linear": [str(a)], "base": str(b)}, "linear has no base"),
        ({"linear": [str(a), str(a)]}, "stands twice"),
        ({"linear": [str(tmp_path / "none")]}, "there is no model"),
        ({"linear": ["pocket:nobody"]}, "there is no pocket model"),
        ({"task_arithmetic": [str(a)], "base": "who/what"}, "hf download who/what"),
        ({"linear": {str(a): "x"}}, "'weight' is a number, not 'x'"),
    ):
        with pytest.raises(InputError, match=wanted):
            merge(recipe, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if m.parameters.get("density")])
def test_density_must_be_given(method: str, tmp_path: Path) -> None:
    a, base = small.model(tmp_path / "a", {"x": [1.0]}), small.model(tmp_path / "base", {"x": [0.0]})
    with pytest.raises(InputError, match=r"needs 'density' for tensor 'x'"):
        merge({method: [str(a)], "base": str(base)}, tmp_path / "out")
    with pytest.raises(InputError, match="'density' is from 0 to 1, not 50"):
        merge({method: [str(a)], "base": str(base), "density": 50}, tmp_path / "out")


def test_paths_are_found_beside_the_recipe_and_by_name(tmp_path: Path) -> None:
    small.model(tmp_path / "models" / "a", {"x": [1.0]})
    other = small.model(tmp_path / "b", {"x": [3.0]})
    (tmp_path / "models" / "r.yaml").write_text("linear: [a, tuned]\n")
    report = merge(tmp_path / "models" / "r.yaml", tmp_path / "out", folders={"tuned": other})
    assert small.content(tmp_path / "out")["x"].tolist() == [2.0]
    assert (report.folder, report.method, report.tensors, report.bytes) == (tmp_path / "out", "linear", 1, 4)


def test_parameters_that_change_nothing_are_noted(tmp_path: Path) -> None:
    a, base = small.model(tmp_path / "a", {"x": [1.0]}), small.model(tmp_path / "base", {"x": [0.0]})
    report = merge({"ties": [str(a)], "base": str(base), "density": 1, "int8_mask": True}, tmp_path / "out")
    assert any("int8_mask" in note for note in report.notes)
