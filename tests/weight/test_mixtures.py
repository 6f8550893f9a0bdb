"""Mixtures of experts: exact cases, the folder, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import dense_models
import numpy as np
import pytest
import small
import yaml
from dense_models import dense

from agora.errors import InputError
from agora.models.pocket.problems import SKILLS, generate
from agora.weight import mix, mixture, read_mixture
from agora.weight.routers import rows

QUESTIONS = {skill: [p.question for p in generate(5, 6, skills=[skill], split="train")] for skill in SKILLS}
GATE = "model.layers.{}.block_sparse_moe.gate.weight"


def prompted(*folders: Path) -> list[dict[str, Any]]:
    return [{"model": str(f), "prompts": QUESTIONS[SKILLS[i % 4]]} for i, f in enumerate(folders)]


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [dense(tmp_path / name, seed) for seed, name in enumerate("ab")]


# ---- what lies in the checkpoint -------------------------------------------------------------------------------


def test_experts_are_the_models_mlps_and_the_rest_is_their_mean(tmp_path: Path, pair: list[Path]) -> None:
    report = mixture(prompted(*pair), tmp_path / "out")
    a, b, out = (small.content(folder) for folder in (*pair, tmp_path / "out"))
    assert report.method == "mixture"
    assert report.tensors == len(out) == 3 + 2 * (6 + 1 + 2 * 3)
    for name, values in out.items():
        if ".experts." in name:
            layer, number, short = name.split(".")[2], int(name.split(".")[5]), name.split(".")[6]
            own = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}[short]
            assert np.array_equal(values, (a, b)[number][f"model.layers.{layer}.mlp.{own}.weight"])
        elif ".gate." in name:
            assert values.shape == (2, 16)
        else:
            assert np.allclose(values, (a[name] + b[name]) / 2, atol=1e-7), name


def test_with_a_base_the_rest_is_its(tmp_path: Path, pair: list[Path]) -> None:
    base = dense(tmp_path / "base", 9)
    mixture(prompted(*pair), tmp_path / "out", base=base)
    own, out = small.content(base), small.content(tmp_path / "out")
    for name, values in out.items():
        if "block_sparse_moe" not in name:
            assert np.array_equal(values, own[name])


def test_the_zero_router_is_zero(tmp_path: Path, pair: list[Path]) -> None:
    mixture(pair, tmp_path / "out", router="zero")
    assert not small.content(tmp_path / "out")[GATE.format(0)].any()


def test_random_routers_are_drawn_from_the_seed_alone(tmp_path: Path, pair: list[Path]) -> None:
    for name, more in (("one", {"chunk": 7, "threads": 1}), ("two", {"shard": 3000}), ("other", {"seed": 1})):
        mixture(pair, tmp_path / name, router="random", **more)
    one, two, other = (small.content(tmp_path / name) for name in ("one", "two", "other"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one[GATE.format(0)], other[GATE.format(0)])
    assert not np.array_equal(one[GATE.format(0)], one[GATE.format(1)])


def test_random_routers_are_distributed_as_said(tmp_path: Path) -> None:
    wide = [dense(tmp_path / n, s, hidden_size=64, num_hidden_layers=1) for s, n in enumerate("ab")]
    mixture(wide * 40, tmp_path / "normal", router="random")
    mixture(wide * 40, tmp_path / "uniform", router="uniform")
    normal, uniform = (small.content(tmp_path / n)[GATE.format(0)].ravel() for n in ("normal", "uniform"))
    n = normal.size  # 5,120: five sigma of the moments
    assert abs(normal.mean()) < 5 * 0.02 / n**0.5
    assert abs(normal.std() / 0.02 - 1) < 5 / (2 * n) ** 0.5
    assert np.abs(uniform).max() <= 1 / 8
    assert abs(uniform.mean()) < 5 * (1 / 8) / (3 * n) ** 0.5
    assert abs(uniform.std() * 8 * 3**0.5 - 1) < 0.05


def test_bf16_rounds_once(tmp_path: Path, pair: list[Path]) -> None:
    mixture(pair, tmp_path / "wide", router="random")
    mixture(pair, tmp_path / "out", router="random", dtype="bfloat16")
    wide, out = small.content(tmp_path / "wide"), small.content(tmp_path / "out")
    assert all(np.array_equal(out[name], small.bf16(wide[name])) for name in wide)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_experts_of_the_same_type_are_copied_bit_for_bit(tmp_path: Path) -> None:
    pair = [dense(tmp_path / name, seed, "BF16") for seed, name in enumerate("ab")]
    mixture(pair, tmp_path / "out", router="zero")
    a, out = small.content(pair[0]), small.content(tmp_path / "out")
    assert np.array_equal(out["model.layers.1.block_sparse_moe.experts.0.w2.weight"],
                          a["model.layers.1.mlp.down_proj.weight"])  # fmt: skip
    b, name = small.content(pair[1]), "model.norm.weight"
    assert np.array_equal(out[name], small.bf16((np.float64(a[name]) + b[name]) / 2))


def test_the_order_of_experts_changes_nothing_of_what_they_share(tmp_path: Path) -> None:
    three = [dense(tmp_path / name, seed) for seed, name in enumerate("abc")]
    mixture(three, tmp_path / "one", router="zero")
    mixture(three[::-1], tmp_path / "two", router="zero")
    one, two = small.content(tmp_path / "one"), small.content(tmp_path / "two")
    assert all(np.array_equal(one[name], two[name]) for name in one if ".experts." not in name)


def test_an_adapter_on_an_expert(tmp_path: Path, pair: list[Path]) -> None:
    lora = tmp_path / "lora"
    lora.mkdir()
    a, b = np.ones((1, 16), np.float32), np.arange(24, dtype=np.float32)[:, None]
    stem = "base_model.model.model.layers.0.mlp.up_proj"
    small.file(lora / "adapter_model.safetensors", {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b})
    (lora / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2}))
    mixture([f"{pair[0]}+{lora}", pair[0]], tmp_path / "out", router="zero")
    out, dense_up = small.content(tmp_path / "out"), small.content(pair[0])["model.layers.0.mlp.up_proj.weight"]
    stem = "model.layers.0.block_sparse_moe.experts.{}.w3.weight"
    assert np.allclose(out[stem.format(0)], dense_up + 2 * b @ a)
    assert np.array_equal(out[stem.format(1)], dense_up)


# ---- routers of prompts ----------------------------------------------------------------------------------------


def test_rows_of_a_router_by_hand() -> None:
    # two experts at (1, 3) and (1, -3): what they share is the first direction, what tells them apart the second
    means = np.float32([[1, 2], [1, 4], [1, -3]])
    owners = [(0, True), (0, True), (1, True)]
    assert np.allclose(rows(means, owners, 2), [[0, 1], [0, -1]])
    # one at (5, 3) and one at (1, -3): their mean (3, 0) says nothing, however much more of it one has
    assert np.allclose(rows(np.float32([[5, 3], [1, -3]]), [(0, True), (1, True)], 2), [[0, 1], [0, -1]])
    # a negative prompt pushes away from where it is
    three = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    plain = rows(three[:2], [(0, True), (1, True)], 2)
    pushed = rows(three, [(0, True), (1, True), (1, False)], 2)
    assert plain[1, 2] == 0
    assert pushed[1, 2] < 0
    assert np.allclose(np.linalg.norm(pushed, axis=1), 1)


def test_prompts_that_do_not_tell_experts_apart_give_zero() -> None:
    assert not rows(np.float32([[1, 2], [1, 2]]), [(0, True), (1, True)], 2).any()
    assert not rows(np.float32([[0, 0], [0, 0]]), [(0, True), (1, True)], 2).any()


def test_the_embedding_router_is_the_same_in_every_layer(tmp_path: Path, pair: list[Path]) -> None:
    mixture(prompted(*pair), tmp_path / "out", router="embedding")
    out = small.content(tmp_path / "out")
    assert np.array_equal(out[GATE.format(0)], out[GATE.format(1)])
    assert np.allclose(np.linalg.norm(out[GATE.format(0)], axis=1), 1)


def test_negative_prompts_reach_the_router(tmp_path: Path, pair: list[Path]) -> None:
    experts = prompted(*pair)
    mixture(experts, tmp_path / "one")
    mixture([experts[0] | {"negative": QUESTIONS["mod"]}, experts[1]], tmp_path / "two")
    one, two = (small.content(tmp_path / n)[GATE.format(1)] for n in ("one", "two"))
    assert not np.allclose(one, two)


# ---- the folder ------------------------------------------------------------------------------------------------


def test_the_folder(tmp_path: Path, pair: list[Path]) -> None:
    (pair[0] / "generation_config.json").write_text('{"eos_token_id": 2}')
    (pair[0] / "modeling.py").write_text("raise SystemExit")
    experts = {"one": {"model": str(pair[0]), "prompts": "What is `it`?"}, "two": {"model": str(pair[1])}}
    experts["two"]["prompts"] = QUESTIONS["mul"]
    seen: list[tuple[int, int]] = []
    mixture(experts, tmp_path / "out", top=1, progress=lambda done, total: seen.append((done, total)))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
                     "generation_config.json", "README.md", "agora_recipe.yaml"}  # fmt: skip
    assert seen[-1][0] == seen[-1][1] > 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["MixtralForCausalLM"]
    assert (config["num_local_experts"], config["num_experts_per_tok"]) == (2, 1)
    assert (config["num_key_value_heads"], config["head_dim"], config["sliding_window"]) == (2, 4, None)
    assert (config["bos_token_id"], config["eos_token_id"], config["vocab_size"]) == (1, 2, dense_models.VOCABULARY)
    written = (tmp_path / "out" / "agora_recipe.yaml").read_text()
    assert written in (tmp_path / "out" / "README.md").read_text()
    assert "2403.07816" in (tmp_path / "out" / "README.md").read_text()
    mix(yaml.safe_load(written), tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"num_key_value_heads": 4, "rope_theta": None}, {"rope_theta": 10000.0, "num_key_value_heads": 4}),
        ({**dense_models.MISTRAL}, {"sliding_window": 4096}),
        ({**dense_models.MISTRAL, "sliding_window": None}, {"sliding_window": None}),
        ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope_theta": 5e5}),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}}, {"rope_theta": 77.0}),
        ({"tie_word_embeddings": True}, {"tie_word_embeddings": True}),
        ({"head_dim": 6}, {"head_dim": 6}),
    ],
)
def test_configurations(tmp_path: Path, config: dict[str, Any], wanted: dict[str, Any]) -> None:
    pair = [dense(tmp_path / name, seed, **config) for seed, name in enumerate("ab")]
    mixture(pair, tmp_path / "out", router="zero")
    made = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {key: made[key] for key in wanted} == wanted


def test_models_that_differ_in_length_alone_are_mixed_with_a_note(tmp_path: Path, pair: list[Path]) -> None:
    dense_models.reconfigure(pair[1], max_position_embeddings=128)
    report = mixture(pair, tmp_path / "out", router="zero")
    assert any("max_position_embeddings" in note for note in report.notes)


def test_memory_does_not_grow_with_the_models(tmp_path: Path) -> None:
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 2}
    pair = [dense(tmp_path / name, seed, **shape) for seed, name in enumerate("ab")]
    size = (pair[0] / "model.safetensors").stat().st_size
    assert size > 30e6
    tracemalloc.start()
    try:
        mixture(prompted(*pair), tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25e6  # slices of 4 MB, of several kinds, and the prompts' states


# ---- recipes ---------------------------------------------------------------------------------------------------


def test_mergekits_form(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(
        "base_model: c\ngate_mode: cheap_embed\ndtype: bfloat16\nshared_experts: null\nexperts_per_token: 1\nexperts:\n"
        "  - source_model: a\n    positive_prompts: [x, y]\n    negative_prompts: [z]\n"
        "  - source_model: b\n    positive_prompts: [w]\n    noise_scale: null\n"
    )
    own = {
        "mixture": {
            "base": "c", "router": "embedding", "dtype": "bfloat16", "top": 1,
            "experts": [{"model": "a", "prompts": ["x", "y"], "negative": ["z"]}, {"model": "b", "prompts": ["w"]}],
        }
    }  # fmt: skip
    assert read_mixture(tmp_path / "moe.yml") == read_mixture(own)
    assert read_mixture(yaml.safe_load(read_mixture(own).to_yaml())) == read_mixture(own)


def test_models_are_found_beside_their_recipe(tmp_path: Path, pair: list[Path]) -> None:
    (tmp_path / "r.yaml").write_text("mixture: {experts: [a, b], router: zero}")
    assert mix(tmp_path / "r.yaml", tmp_path / "out").tensors


BAD_RECIPES: list[tuple[Any, str]] = [
    ({"mixture": {"experts": ["a"]}}, "at least two experts"),
    ({"mixture": {"experts": ["a", "b"]}}, "needs prompts"),
    ({"mixture": {"experts": ["a", "b"], "router": "zero", "top": 3}}, "`top` is from 1"),
    ({"mixture": {"experts": ["a", "b"], "router": "zero", "top": 0}}, "`top` is from 1"),
    ({"mixture": {"experts": ["a", "b"], "router": "magic"}}, "router"),
    ({"mixture": {"experts": ["a", "b"], "routr": "zero"}}, "no key 'routr'"),
    ({"mixture": {"experts": [{"model": "a", "promts": ["x"]}, "b"]}}, "no key"),
    ({"mixture": {"experts": [{"model": "a", "prompts": [" "]}, "b"]}}, "is empty"),
    ({"mixture": {"experts": "a"}}, "a list"),
    ({"mixture": {"experts": ["a", "b"], "router": "zero", "dtype": "int3"}}, "dtype"),
    ({"mixture": {"experts": ["a", "b"]}, "top": 1}, "beside"),
    ({"mixture": []}, "a mapping"),
    ({"linear": ["a", "b"]}, "begins with"),
    ({"experts": [{"source_model": "a"}]}, "base_model"),
    ({"base_model": "c", "gate_mode": "x", "experts": []}, "gate_mode"),
    ({"base_model": "c", "experts": [{"model": "a"}]}, "source_model"),
    ({"base_model": "c", "experts": [], "shared_experts": []}, "shared_experts"),
    ({"base_model": "c", "experts": [{"source_model": "a", "noise_scale": 0.1}, {"source_model": "b"}]}, "noise_scale"),
    ({"base_model": "c", "architecture": "deepseek", "experts": []}, "architecture"),
]


@pytest.mark.parametrize(("recipe", "words"), BAD_RECIPES)
def test_recipes_that_are_refused(recipe: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        mix(recipe, tmp_path / "out")
    assert words in str(caught.value)
    assert caught.value.message.count(". ") == 0
    assert not list(tmp_path.iterdir())


# ---- models that do not fit ------------------------------------------------------------------------------------

BIAS = {"model__layers__0__self_attn__q_proj__bias": np.zeros(16, np.float32)}
NAN = {"model__layers__0__self_attn__q_proj__weight": np.full((16, 16), np.nan, np.float32)}
BAD_MODELS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"hidden_size": 32}, {}, "hidden_size"),
    ({"intermediate_size": 32}, {}, "intermediate_size"),
    ({"num_hidden_layers": 1}, {}, "num_hidden_layers"),
    ({"num_key_value_heads": 4}, {}, "num_key_value_heads"),
    ({"rope_theta": 5e5}, {}, "rope_theta"),
    ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, {}, "rope scaling"),
    ({"rms_norm_eps": 1e-6}, {}, "rms_norm_eps"),
    ({"tie_word_embeddings": True}, {}, "tie_word_embeddings"),
    ({"vocab_size": 200}, {}, "embed_tokens"),
    ({"model_type": "gemma"}, {}, "gemma"),
    ({"model_type": None}, {}, "config.json"),
    ({"hidden_size": -3}, {}, "sizes"),
    ({"rope_theta": -3}, {}, "sizes"),
    ({"rms_norm_eps": "x", "head_dim": None}, {}, "sizes"),
    ({"num_key_value_heads": -3}, {}, "sizes"),
    ({"rope_scaling": ["x"], "head_dim": None}, {}, "sizes"),
    ({}, {"model__norm__weight": None}, "model.norm.weight"),
    ({}, {"model__layers__1__mlp__up_proj__weight": None}, "up_proj"),
    ({}, BIAS, "a bias"),
    ({}, {"model__layers__2__x": np.zeros(1, np.float32)}, "no place"),
    ({}, {"model__norm__weight": np.zeros(8, np.float32)}, "model.norm.weight"),
    ({}, NAN, "NaN"),
]


@pytest.mark.parametrize("router", ["zero", "hidden"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("config", "change", "words"), BAD_MODELS)
def test_models_that_do_not_fit(
    config: dict[str, Any], change: dict[str, Any], words: str, first: bool, router: str, tmp_path: Path
) -> None:
    good, bad = dense(tmp_path / "good"), tmp_path / "bad"
    if any(value is None or value == -3 for value in config.values()):
        dense(bad, 1)
        dense_models.reconfigure(bad, **config)
    else:
        dense(bad, 1, **config)
    if change:
        dense_models.rewrite(bad, **change)
    with pytest.raises(InputError) as caught:
        mixture(prompted(bad, good) if first else prompted(good, bad), tmp_path / "out", router=router)
    assert words in str(caught.value) or (words == "NaN" and "no numbers" in str(caught.value))
    assert {path.name for path in tmp_path.iterdir()} == {"good", "bad"}


def test_a_configuration_that_lies_about_its_tensors(tmp_path: Path, pair: list[Path]) -> None:
    for folder in pair:
        dense_models.reconfigure(folder, intermediate_size=23)
    with pytest.raises(InputError, match=r"by its config\.json"):
        mixture(pair, tmp_path / "out", router="zero")


def test_a_configuration_with_more_layers_than_there_are(tmp_path: Path, pair: list[Path]) -> None:
    for folder in pair:
        dense_models.reconfigure(folder, num_hidden_layers=2**31 - 1)
    with pytest.raises(InputError, match="tensors of 2 layers"):
        mixture(pair, tmp_path / "out", router="zero")


@pytest.mark.parametrize("window", [0, -1, "x", True])
def test_a_window_that_is_none(window: Any, tmp_path: Path) -> None:
    config = {**dense_models.MISTRAL, "sliding_window": window}
    pair = [dense(tmp_path / name, seed, **config) for seed, name in enumerate("ab")]
    with pytest.raises(InputError, match="sliding_window"):
        mixture(prompted(*pair), tmp_path / "out")


def test_too_many_prompts(tmp_path: Path, pair: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agora.weight.dense.TOKENS", 100)
    with pytest.raises(InputError, match="at most 100"):
        mixture(prompted(*pair), tmp_path / "out")


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, pair: list[Path]) -> None:
    mixture(pair, tmp_path / "out", router="zero")
    with pytest.raises(InputError, match="is there already"):
        mixture(pair, tmp_path / "out", router="zero")
    mixture(pair, tmp_path / "out", router="random", overwrite=True)
    assert small.content(tmp_path / "out")[GATE.format(0)].any()


@pytest.mark.parametrize(
    ("config", "words"),
    [({"hidden_act": "gelu"}, "activation"), ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
     ({"max_position_embeddings": 4}, "context")],
)  # fmt: skip
def test_prompts_that_cannot_be_read(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    pair = [dense(tmp_path / name, seed, **config) for seed, name in enumerate("ab")]
    with pytest.raises(InputError, match=words):
        mixture(prompted(*pair), tmp_path / "out")
    mixture(pair, tmp_path / "out", router="zero")


def test_tokenizers_that_differ(tmp_path: Path, pair: list[Path]) -> None:
    (pair[1] / "tokenizer.json").write_text('{"model": {"vocab": {"<pad>": 5}}}')
    with pytest.raises(InputError, match="tokenizers of"):
        mixture(pair, tmp_path / "out", router="zero")


def test_a_model_that_is_not_there(tmp_path: Path, pair: list[Path]) -> None:
    with pytest.raises(InputError, match="there is no model"):
        mixture([pair[0], tmp_path / "none"], tmp_path / "out", router="zero")
