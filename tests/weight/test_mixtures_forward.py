"""Mixtures in transformers: the dense model's logits where experts are equal, and what comes out by hand elsewhere."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import dense_models
import numpy as np
import pytest
import small
from dense_models import dense

from agora.models.pocket import tokenizer
from agora.models.pocket.problems import SKILLS, generate
from agora.weight import Checkpoint, merge, mixture
from agora.weight.dense import Dense
from agora.weight.mixtral import shape_of
from agora.weight.parents import Parent

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = [[1, 5, 40, 99, 7, 120, 33, 2, 64, 11], [1, 90, 3, 3, 17]]
QUESTIONS = {skill: [p.question for p in generate(5, 6, skills=[skill], split="train")] for skill in SKILLS}
LLAMA3 = {
    "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def load(folder: Path, dtype: Any = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.utils.logging.disable_progress_bar()
        found, said = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype or torch.float32, local_files_only=True, output_loading_info=True
        )
    assert not any(said.get(key) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), said
    return found.eval()


def logits(model: Any, ids: list[list[int]] = IDS) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate([model(torch.tensor([row])).logits[0].float().numpy() for row in ids])


def prompted(*folders: Path) -> list[dict[str, Any]]:
    return [{"model": str(f), "prompts": QUESTIONS[SKILLS[i % 4]]} for i, f in enumerate(folders)]


@pytest.mark.parametrize("router", ["zero", "random", "uniform", "embedding", "hidden"])
@pytest.mark.parametrize("top", [1, 2, 3])
def test_equal_experts_are_the_dense_model(tmp_path: Path, router: str, top: int) -> None:
    a = dense(tmp_path / "a")
    mixture(prompted(a, a, a), tmp_path / "out", router=router, top=top, seed=3)
    made = load(tmp_path / "out")
    assert type(made).__name__ == "MixtralForCausalLM"
    assert np.abs(logits(made) - logits(load(a))).max() < 1e-5


@pytest.mark.parametrize(
    "config",
    [
        {"tie_word_embeddings": True},
        {"head_dim": 6, "num_key_value_heads": 1},
        {"rope_theta": 500.0},
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": LLAMA3},
        {"rope_parameters": {"rope_theta": 77.0, **LLAMA3}, "rope_theta": None},
        {**dense_models.MISTRAL, "sliding_window": 3},
        {**dense_models.MISTRAL, "sliding_window": None},
        {"rms_norm_eps": 1e-2, "max_position_embeddings": 40},
    ],
)
def test_every_kind_of_dense_model_stays_itself(tmp_path: Path, config: dict[str, Any]) -> None:
    a = dense(tmp_path / "a", **config)
    if config.get("rope_theta", 0) is None:
        held = json.loads((a / "config.json").read_text())
        del held["rope_theta"]
        (a / "config.json").write_text(json.dumps(held))
    mixture(prompted(a, a), tmp_path / "out", router="random")
    made, wanted = load(tmp_path / "out"), load(a)
    assert np.abs(logits(made) - logits(wanted)).max() < 1e-5
    assert np.abs(logits(wanted)).max() > 0.1

    # what the router is made of is what the model's MLPs read
    parent = Parent(str(a))
    shape = shape_of(parent)
    found = Dense([parent], shape, made.config.sliding_window).hidden(IDS)
    seen: list[list[np.ndarray]] = [[] for _ in range(shape.layers)]
    for layer, own in zip(wanted.model.layers, seen, strict=True):
        layer.mlp.register_forward_pre_hook(lambda _, args, own=own: own.append(args[0][0].numpy().copy()))
    logits(wanted)
    for mine, theirs in zip(found, seen, strict=True):
        for x, y in zip(mine, theirs, strict=True):
            assert np.abs(x - y).max() < 1e-5
    parent.close()


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("router", ["zero", "hidden", "random"])
def test_a_block_by_hand(tmp_path: Path, top: int, router: str) -> None:
    """The output of a layer's MLP from its input, from the dense models' own weights."""
    a, b = dense(tmp_path / "a", 0), dense(tmp_path / "b", 1)
    mixture(prompted(a, b), tmp_path / "out", router=router, top=top)
    made, gate = load(tmp_path / "out"), small.content(tmp_path / "out")
    held = [small.content(a), small.content(b)]
    x = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    for layer in range(2):
        with torch.inference_mode():
            found = made.model.layers[layer].mlp(torch.tensor(x)[None])
        found = (found[0] if isinstance(found, tuple) else found)[0].numpy()
        at = f"model.layers.{layer}.mlp."
        each = np.stack([
            (silu(x @ h[f"{at}gate_proj.weight"].T) * (x @ h[f"{at}up_proj.weight"].T)) @ h[f"{at}down_proj.weight"].T
            for h in held
        ])  # fmt: skip
        scores = x @ gate[f"model.layers.{layer}.block_sparse_moe.gate.weight"].T
        share = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        if top == 1:  # equal ones may go to either
            picks = [np.where(share == share.max(1, keepdims=True), 1.0, 0.0)]
            picks = [np.eye(2)[[i] * 7] for i in range(2)] if router == "zero" else picks
        else:
            picks = [share if router != "zero" else np.full((7, 2), 0.5)]
        wanted = [np.einsum("te,eth->th", pick, each) for pick in picks]
        assert min(np.abs(found - one).max() for one in wanted) < 1e-5


def test_where_all_tokens_go_to_one_expert_it_is_that_model(tmp_path: Path) -> None:
    """Two models that differ in their MLPs alone, and a router that is held to one of them."""
    a = dense(tmp_path / "a", 0)
    b = dense(tmp_path / "b", 0)
    dense_models.rewrite(b, **{
        f"model.layers.{i}.mlp.down_proj.weight": 2 * small.content(a)[f"model.layers.{i}.mlp.down_proj.weight"]
        for i in range(2)
    })  # fmt: skip
    mixture([a, b], tmp_path / "out", router="zero", top=1)
    for number, wanted in enumerate((a, b)):
        made = load(tmp_path / "out")
        with torch.no_grad():
            for layer in made.model.layers:
                layer.mlp.gate.register_forward_hook(_send(number))
        assert np.abs(logits(made) - logits(load(wanted))).max() < 1e-5


def _send(number: int) -> Any:
    def hook(_module: Any, _args: Any, out: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        scores, share, picked = out
        return scores, torch.ones_like(share), torch.full_like(picked, number)

    return hook


def test_with_all_experts_a_zero_router_is_their_mean(tmp_path: Path) -> None:
    folders = [dense(tmp_path / name, seed) for seed, name in enumerate("abcd")]
    mixture(folders, tmp_path / "out", router="zero", top=4)
    mlp, x = load(tmp_path / "out").model.layers[0].mlp, torch.randn(1, 5, 16, generator=torch.manual_seed(0))
    with torch.inference_mode():
        found = mlp(x)
        found = found[0] if isinstance(found, tuple) else found
        wanted = torch.stack([load(folder).model.layers[0].mlp(x) for folder in folders]).mean(0)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_it_is_what_transformers_itself_saves(tmp_path: Path) -> None:
    pair = [dense(tmp_path / name, seed) for seed, name in enumerate("ab")]
    mixture(prompted(*pair), tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load(tmp_path / "out").save_pretrained(str(tmp_path / "saved"))
    with Checkpoint(tmp_path / "out") as ours, Checkpoint(tmp_path / "saved") as theirs:
        assert set(ours) == set(theirs)
        assert all(np.array_equal(ours.tensor(name), theirs.tensor(name)) for name in ours)


def test_it_generates_in_shards_and_bfloat16(tmp_path: Path) -> None:
    pair = [dense(tmp_path / name, seed) for seed, name in enumerate("ab")]
    mixture(prompted(*pair), tmp_path / "out", dtype="bfloat16", shard=4000)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    model = load(tmp_path / "out", "auto")
    assert model.dtype == torch.bfloat16
    reader = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"), local_files_only=True)
    ids = torch.tensor([[1, *reader("Q: Gus has 40 keys.")["input_ids"]]])
    out = model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert out.shape == (1, ids.shape[1] + 5)


def test_the_pocket_specialists_mixed_load_and_answer(tmp_path: Path) -> None:
    experts = {skill: {"model": f"pocket:{skill}", "prompts": QUESTIONS[skill]} for skill in SKILLS}
    mixture(experts, tmp_path / "out")
    model, right = load(tmp_path / "out"), 0
    problems = generate(1, 10, skills=["mul"])
    for problem in problems:
        ids = [1, *tokenizer.encode(f"Q: {problem.question}\nA: ")]
        out = model.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)
        right += tokenizer.decode(out[0, len(ids) :].tolist()).endswith(f"Answer: {problem.answer}")
    assert right >= 8  # in the mixture they keep what the specialist of products can


def test_the_mean_of_models_is_read_as_their_merge_is(tmp_path: Path) -> None:
    pair = [dense(tmp_path / name, seed) for seed, name in enumerate("ab")]
    merge({"linear": [str(folder) for folder in pair]}, tmp_path / "mean")
    parents, mean = [Parent(str(folder)) for folder in pair], Parent(str(tmp_path / "mean"))
    together = Dense(parents, shape_of(mean)).means(IDS)
    alone = Dense([mean], shape_of(mean)).means(IDS)
    assert together.shape == (2, 2, 16)
    assert np.abs(together - alone).max() < 1e-6
    for parent in (*parents, mean):
        parent.close()


def test_slices_and_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Parent(str(dense(tmp_path / "a", **dense_models.MISTRAL, sliding_window=4)))
    shape = shape_of(parent)
    whole = Dense([parent], shape, 4).means(IDS)
    for slice_, block in ((40, 3), (1, 1)):
        monkeypatch.setattr("agora.weight.dense._SLICE", slice_)
        monkeypatch.setattr("agora.weight.dense._BLOCK", block)
        assert np.abs(Dense([parent], shape, 4).means(IDS) - whole).max() < 1e-5
    parent.close()


def test_a_model_with_an_adapter_is_read_as_what_it_merges_to(tmp_path: Path) -> None:
    a, lora, rng = dense(tmp_path / "a"), tmp_path / "lora", np.random.default_rng(0)
    lora.mkdir()
    factors = {}
    for layer in range(2):
        for name, rows, columns in (
            ("self_attn.q_proj", 16, 16),
            ("self_attn.o_proj", 16, 16),
            ("mlp.up_proj", 24, 16),
        ):
            stem = f"base_model.model.model.layers.{layer}.{name}"
            factors[f"{stem}.lora_A.weight"] = rng.normal(size=(2, columns)).astype(np.float32)
            factors[f"{stem}.lora_B.weight"] = rng.normal(size=(rows, 2)).astype(np.float32)
    small.file(lora / "adapter_model.safetensors", factors)
    (lora / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1}))
    merge({"passthrough": f"{a}+{lora}"}, tmp_path / "merged")
    beside, merged = Parent(f"{a}+{lora}"), Parent(str(tmp_path / "merged"))
    found = [Dense([parent], shape_of(merged)).means(IDS) for parent in (beside, merged)]
    assert np.abs(found[0] - found[1]).max() < 1e-5
    for parent in (beside, merged):
        parent.close()
