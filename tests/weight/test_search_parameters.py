"""Recipes with places left free: numbers, choices, routes of layers; to the bit what `merge` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import content
from spaces import SHAPES, built, four, same, tensors

from agora.errors import ConfigError, InputError
from agora.weight.searching import Parameters, search


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return four(tmp_path_factory.mktemp("models"))


# ---- parameters of recipes


def test_numbers_choices_steps_and_gradients(models: list[str]) -> None:
    base, a, b, c = models
    space = Parameters(
        {
            "ties": {
                a: {"weight": {"search": [0, 1.5]}, "density": {"search": [0.2, 1.0], "step": 0.2}},
                b: {"density": 1},
            },
            "base": base,
            "lambda": [{"search": [0.5, 1]}, 1.0],
            "trim": {"choose": ["tensor", "global"]},
        },
        load=tensors,
    )
    assert [free.name for free in space.free] == [f"ties.{a}.weight", f"ties.{a}.density", "lambda.0", "trim"]
    assert (space.low, space.high) == ((0, 0, 0.5, 0), (1.5, 4, 1, 1))
    assert space.whole == {1, 3}
    assert space.canonical((2.0, 1.4, 0.7, -3.0)) == (1.5, 1.0, 0.7, 0.0)
    assert list(space.values((1.5, 1.0, 0.7, 1.0)).values()) == [1.5, 0.4, 0.7, "global"]
    recipe = space.recipe((1.0, 4.0, 0.75, 0.0))
    assert recipe.parameters == {"lambda": [0.75, 1.0], "trim": "tensor"}
    assert space.members == {base: base, a: a, b: b}
    assert not space.experts
    assert c not in space.members


METHODS: list[dict[str, Any]] = [
    {"ties": {"A": {"weight": {"search": [0, 1]}, "density": 1}, "B": {"density": {"search": [0.1, 1]}}}, "base": "O"},
    {"dare_ties": ["A", "B", "C"], "base": "O", "density": {"search": [0.1, 1]}, "seed": {"choose": [1, 2, 3]}},
    {"slerp": ["A", "B"], "t": [{"search": [0, 1]}, {"search": [0, 1]}, {"search": [0, 1]}]},
    {"task_arithmetic": ["A", "B"], "base": "O", "lambda": {"search": [-1, 2]}},
    {"della": ["A", "B"], "base": "O", "density": {"search": [0.3, 0.7]}, "epsilon": 0.1},
    {"expo": ["A"], "base": "O", "alpha": {"search": [-0.5, 0.5]}},
    {"ties": ["A", "B"], "base": "O", "density": {"search": [0.1, 0.9]}, "trim": "global"},
    {"model_stock": {"choose": [["A", "B"], ["A", "C"]]}, "base": "O"},
]  # fmt: skip


@pytest.mark.parametrize("recipe", METHODS, ids=lambda recipe: next(iter(recipe)))
def test_any_method_in_memory_is_what_merge_writes(models: list[str], tmp_path: Path, recipe: dict[str, Any]) -> None:
    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {dict(zip("OABC", models, strict=True)).get(key, key): named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return dict(zip("OABC", models, strict=True)).get(value, value) if isinstance(value, str) else value

    space = Parameters(named(recipe), load=tensors)
    draw = np.random.default_rng(3)
    for _ in range(3):
        same(tmp_path, space, space.sample(draw))
    for key in (*space.members.values(), space.average):
        if key is not None:
            same(tmp_path, space, key)


def test_routes_of_layers(models: list[str], tmp_path: Path) -> None:
    _, a, _, c = models
    either = {"choose": [a, c]}
    space = Parameters(
        {
            "merge_method": "passthrough",
            "slices": [
                {"sources": [{"model": either, "layer_range": [0, 1]}]},
                {"sources": [{"model": either, "layer_range": {"choose": [[0, 1], [1, 2], [2, 3]]}}]},
                {"choose": [{"sources": [{"model": c, "layer_range": [1, 3]}]}, None]},
            ],
        },
        load=tensors,
    )
    held = {name: content(Path(name)) for name in (a, c)}
    made = built(space, (1.0, 0.0, 2.0, 1.0))
    assert sorted(name for name in made if "layers" in name) == ["model.layers.0.a.weight", "model.layers.1.a.weight"]
    assert np.array_equal(made["model.layers.0.a.weight"], held[c]["model.layers.0.a.weight"])
    assert np.array_equal(made["model.layers.1.a.weight"], held[a]["model.layers.2.a.weight"])
    assert len(built(space, (0.0, 0.0, 0.0, 0.0))) == 6
    for point in ((1.0, 0.0, 2.0, 1.0), (0.0, 1.0, 1.0, 0.0)):
        same(tmp_path, space, point)
    wanted = built(space, (1.0, 1.0, 1.0, 0.0))

    def score(found: Mapping[str, np.ndarray]) -> float:
        if found.keys() != wanted.keys():
            return -1e3
        return -float(sum(abs(values - wanted[name]).sum() for name, values in found.items()))

    best = search(space, score, "coordinate", evaluations=24)
    assert best.score == 0
    assert best.values["slices.1.sources.0.layer_range"] == [1, 2]
    if _cma():
        assert search(space, score, "evolution", evaluations=24, seed=2).score == 0  # there are but 24


def _cma() -> bool:
    return find_spec("cma") is not None


def test_greedy_soups_need_weights(models: list[str]) -> None:
    space = Parameters({"linear": {models[0]: {"weight": {"search": [0, 1]}}, models[1]: 1}}, load=tensors)
    with pytest.raises(InputError, match="Use `WeightedSum`"):
        search(space, lambda made: 0.0, "greedy_soup")


def test_a_recipe_file(models: list[str], tmp_path: Path) -> None:
    (tmp_path / "near").symlink_to(models[1])
    path = tmp_path / "recipe.yaml"
    path.write_text(f"slerp: [near, {models[0]}]\nt: {{search: [0, 1]}}\n")
    space = Parameters(path, load=tensors)
    assert space.names == ("t",)
    assert built(space, (0.5,)).keys() == SHAPES.keys()
    found = search(space, lambda made: 0.0, "random", evaluations=1, beside=False)
    assert found.write(tmp_path / "out", dtype="float32").method == "slerp"  # "near" is found, wherever this runs
    assert content(tmp_path / "out").keys() == SHAPES.keys()


@pytest.mark.parametrize(
    ("recipe", "error", "said"),
    [
        ({"linear": ["A", "O"]}, InputError, "nothing is left free"),
        ({"linear": ["A", "O"], "normalize": {"search": [1]}}, InputError, "normalize: 'search' takes"),
        ({"slerp": ["A", "O"], "t": {"search": [1, 0]}}, InputError, "t: 1 is not below 0"),
        ({"slerp": ["A", "O"], "t": {"search": ["x", 0]}}, InputError, "'search' takes"),
        ({"slerp": ["A", "O"], "t": {"search": [0, 1], "step": 2}}, InputError, "a step is above 0"),
        ({"slerp": ["A", "O"], "t": {"choose": [1]}}, InputError, "two values at least"),
        ({"slarp": ["A", "O"], "t": {"search": [0, 1]}}, ConfigError, "Did you mean 'slerp'"),
        ({"slerp": ["A", "./nowhere"], "t": {"search": [0, 1]}}, InputError, "there is no model"),
        ({"slerp": [{"search": [0, 1]}] * 1001}, InputError, "1,001 places"),
    ],
)
def test_recipes_that_cannot_be_searched(models: list[str], recipe: dict[str, Any], error: type, said: str) -> None:
    filled = json.loads(json.dumps(recipe).replace('"A"', json.dumps(models[1])).replace('"O"', json.dumps(models[0])))
    with pytest.raises(error, match=said):
        Parameters(filled, load=tensors)
