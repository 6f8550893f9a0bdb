"""Spaces of weights of models and adapters: what a point stands for, to the bit what `merge` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from small import content, file, model
from spaces import DRAW, built, four, same, tensors

from agora.errors import InputError
from agora.weight import merge
from agora.weight.searching import Adapters, Parameters, WeightedSum, search


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return four(tmp_path_factory.mktemp("models"))


# ---- mixtures


def test_a_candidate_is_what_merge_writes(tmp_path: Path, models: list[str]) -> None:
    draw = np.random.default_rng(1)
    for space in (WeightedSum(models[1:], models[0], load=tensors), WeightedSum(models, load=tensors)):
        for _ in range(5):
            same(tmp_path, space, space.canonical(draw.normal(size=len(space.names)).tolist()))
        for key in (*space.members.values(), space.average):
            same(tmp_path, space, key)


def test_one_model_alone_is_that_model_and_nothing_is_the_base(models: list[str]) -> None:
    space = WeightedSum(models[1:], models[0], load=tensors)
    for i, name in enumerate(models[1:]):
        point = tuple(float(i == k) for k in range(3))
        assert space.experts[name] == point
        for tensor, values in content(Path(name)).items():
            assert np.array_equal(built(space, point)[tensor], values)
    assert space.members[models[0]] == (0.0, 0.0, 0.0)
    for tensor, values in content(Path(models[0])).items():
        assert np.array_equal(built(space, (0.0, 0.0, 0.0))[tensor], values)


def test_without_a_base_weights_are_divided_by_their_sum(models: list[str]) -> None:
    space = WeightedSum(models, load=tensors)
    assert space.canonical((1.0, 1.0, 2.0, 0.0)) == (0.25, 0.25, 0.5, 0.0)
    assert space.canonical((1.0, -1.0, 0.0, 0.0)) == (1.0, -1.0, 0.0, 0.0)
    first, last = content(Path(models[0])), content(Path(models[1]))
    made = built(space, (1.0, -1.0, 0.0, 0.0))
    assert all(np.allclose(made[name], first[name] - last[name], atol=1e-6) for name in made)
    rng = np.random.default_rng(0)
    assert all(abs(sum(point) - 1) < 1e-12 and min(point) >= 0 for point in (space.sample(rng) for _ in range(50)))


def test_buffers_are_used_again_and_never_while_a_candidate_lives(models: list[str]) -> None:
    seen: list[Mapping[str, Any]] = []
    space = WeightedSum(models[1:], models[0], load=lambda merged: seen.append(merged.tensors) or merged.tensors)
    one, free_one = space.build((1.0, 0.0, 0.0))
    kept = np.array(one["model.norm.weight"])
    two, free_two = space.build((0.0, 1.0, 0.0))
    assert np.array_equal(one["model.norm.weight"], kept)
    assert one["model.norm.weight"] is not two["model.norm.weight"]
    free_one()
    three, _ = space.build((0.0, 0.0, 1.0))
    assert three["model.norm.weight"] is one["model.norm.weight"]
    free_two()


def test_what_holds_no_floats_is_taken_as_it_is(tmp_path: Path) -> None:
    kinds = {"x": "F32", "wide": "F64", "ids": "I64", "mask": "BOOL", "byte": "U8", "eight": "F8_E4M3"}
    same_in_all = {"ids": np.arange(6).reshape(2, 3), "mask": np.array([True, False]), "byte": np.arange(4)}
    folders = []
    for i in range(2):
        held = {"x": np.full((2, 2), i + 1.0), "wide": np.full((3,), 2.0 * i), **same_in_all, "eight": np.arange(4)}
        small.KINDS.setdefault("U8", "u1")
        small.KINDS.setdefault("F8_E4M3", "u1")
        folders.append(str(model(tmp_path / f"m{i}", held, kinds)))
    space = WeightedSum(folders, load=lambda merged: {name: np.array(v) for name, v in merged.tensors.items()})
    for point in ((0.5, 0.5), (0.25, 0.75)):
        made = built(space, point)
        assert np.array_equal(made["x"], np.full((2, 2), 1.5 if point[0] == 0.5 else 1.75))
        assert made["wide"].dtype == np.float32
        assert all(np.array_equal(made[name], values) for name, values in same_in_all.items())
        assert made["ids"].dtype == np.int64
        assert made["eight"].tobytes() == bytes(range(4))


def test_parents_are_read_once(models: list[str], lora: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    space = WeightedSum(models[1:], models[0], load=tensors)
    built(space, (0.5, 0.5, 0.0))
    lora_space = Adapters(models[0], lora, load=tensors)
    built(lora_space, (0.5, 0.5, 0.0))
    monkeypatch.setattr("os.preadv", lambda *given: pytest.fail("read again"))
    built(space, (0.25, 0.5, 0.5))
    built(lora_space, (0.25, 0.5, 0.5))


def test_identical_models_are_a_fixed_point_of_every_swarm(models: list[str], tmp_path: Path) -> None:
    twins = []
    for name in ("x", "y", "z"):
        twins.append(str(model(tmp_path / name, content(Path(models[0])), config={"model_type": "toy"})))
    made = []
    space = WeightedSum(twins, load=lambda merged: made.append(tensors(merged)))
    search(space, lambda nothing: 0.0, "swarm", evaluations=40)
    expected = content(Path(models[0]))
    assert len(made) > 40
    assert all(np.array_equal(values, expected[name]) for one in made for name, values in one.items())


def test_the_best_is_found_on_real_tensors_and_written(models: list[str], tmp_path: Path) -> None:
    target = content(Path(models[1])), content(Path(models[3]))

    def score(made: Mapping[str, np.ndarray]) -> float:
        return -float(sum(((values - (target[0][n] + target[1][n]) / 2) ** 2).sum() for n, values in made.items()))

    space = WeightedSum(models[1:], load=tensors)
    for how, budget in (("greedy_soup", None), ("swarm", 400), ("coordinate", 200), ("random", 300)):
        found = search(space, score, how, evaluations=budget)
        near = 1e-12 if how == "greedy_soup" else 0.1 if how == "random" else 0.05
        assert found.point == pytest.approx((0.5, 0.0, 0.5), abs=near), how
        found.write(tmp_path / how, dtype="float32")
        assert score(content(tmp_path / how)) == found.score


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": 1}, "two models at least"),
        ({"twice": 1}, "stands twice"),
        ({"low": 1.0, "high": 1.0}, "below its upper bound"),
        ({"low": [0.0], "high": 1.0}, "as many as|as many bounds"),
        ({"missing": 1}, "there is no model"),
        ({"together": 0}, "at least one candidate"),
    ],
)
def test_refused(models: list[str], change: dict[str, Any], said: str) -> None:
    listed = models[: change.pop("models", 3)]
    listed += [listed[0]] if change.pop("twice", 0) else []
    listed += ["./nowhere"] if change.pop("missing", 0) else []
    with pytest.raises(InputError, match=said):
        WeightedSum(listed, load=tensors, **change)


def test_a_merge_that_is_no_number_counts_as_the_worst(models: list[str]) -> None:
    space = WeightedSum(models[1:], models[0], load=tensors, low=-1e39, high=1e39)
    with pytest.raises(InputError, match="none of 10 candidates could be scored; the first: InputError: tensor"):
        search(space, lambda made: 0.0, "random", evaluations=20, beside=False)
    points = iter([(1e38, 1e38, -1e39), (1.0, 0.0, 0.0)])
    space.sample = lambda rng: next(points, (0.0, 0.0, 0.0))  # type: ignore[method-assign]
    found = search(space, lambda made: 0.0, "random", evaluations=2, batch=1, beside=False)
    assert found.point == (1.0, 0.0, 0.0)
    assert "1 of 2 candidates could not be scored; the first: InputError: tensor" in found.notes[0]


# ---- adapters


def adapter(folder: Path, modules: Mapping[str, tuple[np.ndarray, np.ndarray]], alpha: float = 4) -> str:
    folder.mkdir()
    made = {}
    for name, (a, b) in modules.items():
        made[f"base_model.model.{name}.lora_A.weight"], made[f"base_model.model.{name}.lora_B.weight"] = a, b
    file(folder / "adapter_model.safetensors", made)
    rank = len(next(iter(modules.values()))[0])
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["a"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture(scope="module")
def lora(models: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    home = tmp_path_factory.mktemp("lora")
    names = ["model.layers.0.a", "model.layers.2.a"]

    def random() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        pair = [
            (DRAW.normal(size=(2, 8)).astype(np.float32), DRAW.normal(size=(8, 2)).astype(np.float32)) for _ in names
        ]
        return dict(zip(names, pair, strict=True))

    return [adapter(home / f"l{i}", random(), alpha=2**i) for i in range(3)]


def test_the_weights_of_one_adapter_alone_give_that_adapter(models: list[str], lora: list[str], tmp_path: Path) -> None:
    space = Adapters(models[0], lora, load=tensors)
    for i, one in enumerate(lora):
        merge({"passthrough": [f"{models[0]}+{one}"], "out_dtype": "float32"}, tmp_path / str(i))
        made = built(space, tuple(float(i == k) for k in range(3)))
        for name, values in content(tmp_path / str(i)).items():
            assert made[name].tobytes() == values.tobytes()
    base = content(Path(models[0]))
    made = built(space, (0.0, 0.0, 0.0))
    assert all(made[name].tobytes() == values.tobytes() for name, values in base.items())


def test_adapters_are_summed_exactly(tmp_path: Path) -> None:
    eye = np.eye(8, dtype=np.float32)
    base = model(tmp_path / "base", {"model.layers.0.a.weight": np.zeros((8, 8))})
    ones = [adapter(tmp_path / f"one{i}", {"model.layers.0.a": (eye[[i]], eye[:, [i]])}, alpha=1) for i in range(2)]
    space = Adapters(base, ones, load=tensors)
    made = built(space, (1.0, 1.0))["model.layers.0.a.weight"]
    assert np.array_equal(made, np.diag([1, 1, 0, 0, 0, 0, 0, 0]))  # not the all-ones block of factors summed apart
    made = built(space, (0.5, -1.5))["model.layers.0.a.weight"]
    assert np.array_equal(made, np.diag([0.5, -1.5, 0, 0, 0, 0, 0, 0]))


def test_what_adapters_make_is_what_merge_writes(models: list[str], lora: list[str], tmp_path: Path) -> None:
    space = Adapters(models[0], lora, load=tensors)
    assert space.low == (-1.5,) * 3
    draw = np.random.default_rng(2)
    for _ in range(4):  # of the second on, tensors that no adapter changes are not made again
        same(tmp_path, space, space.sample(draw))
    same(tmp_path, space, space.average)


@pytest.mark.parametrize("how", ["swarm", "lorahub", "coordinate"])
def test_the_weights_of_adapters_are_found(models: list[str], lora: list[str], how: str) -> None:
    if how == "lorahub":
        pytest.importorskip("cma")
    space = Adapters(models[0], lora, load=tensors)
    # a swarm never leaves the plane of its first particles, on which the weights sum to 1
    best = (0.625, 0.125, 0.25) if how == "swarm" else (0.75, -0.5, 0.25)
    target = built(space, best)

    def score(made: Mapping[str, np.ndarray]) -> float:
        return -float(sum(((values - target[name]) ** 2).sum() for name, values in made.items()))

    options: dict[str, Any] = {"swarm": {"particles": 40}, "lorahub": {"l1": 0}, "coordinate": {"least": 1e-3}}[how]
    found = search(space, score, how, evaluations=900, **options)
    assert found.point == pytest.approx(best, abs=0.05 if how == "swarm" else 0.01)
    assert found.single is not None
    assert found.random is not None
    assert found.score > max(found.single.score, found.random.score)
    assert found.curve == sorted(found.curve)
    json.dumps(found.summary, allow_nan=False)


def test_factors_summed_apart_are_what_merge_writes_as_an_adapter(
    models: list[str], lora: list[str], tmp_path: Path
) -> None:
    space = Adapters(models[0], lora, how="separate", load=tensors)
    draw = np.random.default_rng(2)
    for i in range(3):
        point = space.sample(draw)
        merge(space.recipe(point), tmp_path / f"adapter{i}")
        merge({"passthrough": [f"{models[0]}+{tmp_path / f'adapter{i}'}"], "out_dtype": "float32"}, tmp_path / f"{i}")
        made = built(space, point)
        for name, values in content(tmp_path / f"{i}").items():
            assert np.allclose(made[name], values, rtol=1e-6, atol=1e-6)
    eye = np.eye(8, dtype=np.float32)
    base = model(tmp_path / "base", {"model.layers.0.a.weight": np.zeros((8, 8))})
    ones = [adapter(tmp_path / f"o{i}", {"model.layers.0.a": (eye[[i]], eye[:, [i]])}, alpha=1) for i in range(2)]
    crossed = built(Adapters(base, ones, how="separate", load=tensors), (1.0, 1.0))["model.layers.0.a.weight"]
    assert np.array_equal(crossed[:2, :2], np.ones((2, 2)))  # cross terms
    squared = built(Adapters(base, ones, how="separate", load=tensors), (0.5, 0.0))["model.layers.0.a.weight"]
    assert squared[0, 0] == 0.25
    assert space.identity != Adapters(models[0], lora, load=tensors).identity


def test_spaces_are_told_apart(models: list[str], lora: list[str]) -> None:
    spaces = [
        WeightedSum(models, load=tensors), WeightedSum(models[1:], models[0], load=tensors),
        WeightedSum(models[:3], load=tensors),
        WeightedSum(models, load=tensors, high=2.0), Adapters(models[0], lora, load=tensors),
        Parameters({"slerp": models[:2], "t": {"search": [0, 1]}}, load=tensors),
        Parameters({"slerp": models[1:3], "t": {"search": [0, 1]}}, load=tensors),
    ]  # fmt: skip
    assert len({space.identity for space in spaces}) == len(spaces)
    assert WeightedSum(models, load=tensors).identity == spaces[0].identity
