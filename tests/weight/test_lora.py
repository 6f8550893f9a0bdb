"""LoRA: composition against its exact case, adapters on a base, extraction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from agora.errors import InputError
from agora.weight import merge
from agora.weight.adapters import Adapter

PREFIX = "base_model.model."


def adapter(folder: Path, modules: dict[str, tuple[Any, Any]], dtype: str = "F32", **config: Any) -> Path:
    """Modules: name -> (A, B)."""
    folder.mkdir()
    tensors = {}
    for name, (a, b) in modules.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = np.asarray(a, float)
        tensors[f"{PREFIX}{name}.lora_B.weight"] = np.asarray(b, float)
    small.file(folder / "adapter_model.safetensors", tensors, dtype)
    rank = len(next(iter(modules.values()))[0])
    given = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(given))
    return folder


def delta(folder: Path, module: str = "l.q") -> np.ndarray:
    factors = Adapter(folder).factors(module)
    return factors.rows(0, factors.shape[0])


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    one = adapter(tmp_path / "one", {"l.q": ([[1, 0]], [[1], [0]])})
    two = adapter(tmp_path / "two", {"l.q": ([[0, 1]], [[0], [1]])})
    return [str(one), str(two)]


def test_the_exact_case(pair: list[str], tmp_path: Path) -> None:
    merge({"lora_concat": pair}, tmp_path / "concat")
    np.testing.assert_array_equal(delta(tmp_path / "concat"), np.eye(2))
    assert Adapter(tmp_path / "concat").factors("l.q").rank == 2
    merge({"lora_svd": pair, "rank": 2}, tmp_path / "svd")
    np.testing.assert_allclose(delta(tmp_path / "svd"), np.eye(2), atol=1e-6)
    merge({"lora_separate": pair}, tmp_path / "separate")
    np.testing.assert_array_equal(delta(tmp_path / "separate"), np.ones((2, 2)))
    merge({"lora_concat": {pair[0]: 2, pair[1]: -3}}, tmp_path / "weights")
    np.testing.assert_array_equal(delta(tmp_path / "weights"), [[2, 0], [0, -3]])


def test_a_lower_rank_loses_the_next_singular_value(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", {"l.q": ([[1, 0]], [[4], [0]])})
    two = adapter(tmp_path / "two", {"l.q": ([[0, 1]], [[0], [1]])})
    merge({"lora_svd": [str(one), str(two)], "rank": 1}, tmp_path / "out")
    lost = np.linalg.norm(delta(tmp_path / "out") - [[4, 0], [0, 1]], 2)
    assert lost == pytest.approx(1, abs=1e-6)
    merge({"lora_svd": [str(one), str(two)], "rank": 64}, tmp_path / "all")
    np.testing.assert_allclose(delta(tmp_path / "all"), [[4, 0], [0, 1]], atol=1e-6)


def test_svd_is_the_best_of_its_rank(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    paths, exact = [], np.zeros((12, 9))
    for i in range(3):
        a, b = draw.standard_normal((4, 9)), draw.standard_normal((12, 4))
        paths.append(str(adapter(tmp_path / f"m{i}", {"l.q": (a, b)})))
        exact += (i + 1) / 4 * b @ a
    listed = dict(zip(paths, (0.25, 0.5, 0.75), strict=True))
    merge({"lora_svd": listed, "rank": 5}, tmp_path / "out")
    u, s, v = np.linalg.svd(exact)
    np.testing.assert_allclose(delta(tmp_path / "out"), u[:, :5] * s[:5] @ v[:5], atol=1e-4)


def test_scaling_is_folded_in(tmp_path: Path) -> None:
    modules = {"l.q": (np.ones((4, 2)), np.ones((2, 4)))}
    plain = adapter(tmp_path / "plain", modules, lora_alpha=8)
    stable = adapter(tmp_path / "stable", modules, lora_alpha=8, use_rslora=True)
    pattern = adapter(tmp_path / "pattern", modules, r=1, lora_alpha=1, rank_pattern={"q": 4}, alpha_pattern={"q": 2})
    for path, wanted in ((plain, 4 * 8 / 4), (stable, 4 * 8 / 2), (pattern, 4 * 2 / 4)):
        np.testing.assert_array_equal(delta(path), np.full((2, 2), wanted))
    merge({"lora_concat": [str(plain), str(stable)]}, tmp_path / "out")
    np.testing.assert_array_equal(delta(tmp_path / "out"), np.full((2, 2), 24))


def test_separate_as_lorahub_has_it(pair: list[str], tmp_path: Path) -> None:
    merge({"lora_separate": {pair[0]: 0.5, pair[1]: 0.25}, "power": 1}, tmp_path / "out")
    np.testing.assert_array_equal(delta(tmp_path / "out"), np.outer([0.5, 0.25], [0.5, 0.25]))
    merge({"lora_separate": {pair[0]: 1, pair[1]: 0}}, tmp_path / "hot")  # one-hot: that adapter
    np.testing.assert_array_equal(delta(tmp_path / "hot"), delta(Path(pair[0])))
    other = adapter(tmp_path / "wide", {"l.q": (np.ones((2, 2)), np.ones((2, 2)))})
    with pytest.raises(InputError, match="equal rank"):
        merge({"lora_separate": [pair[0], str(other)]}, tmp_path / "x")


def test_adapters_of_different_modules(pair: list[str], tmp_path: Path) -> None:
    other = adapter(tmp_path / "other", {"l.v": ([[1, 2], [0, 1]], [[1, 0], [0, 1]])})
    merge({"lora_concat": [*pair, str(other)]}, tmp_path / "out")
    np.testing.assert_array_equal(delta(tmp_path / "out"), np.eye(2))
    np.testing.assert_array_equal(delta(tmp_path / "out", "l.v"), [[1, 2], [0, 1]])
    merge({"lora_concat": [str(other), *pair[::-1]]}, tmp_path / "again")
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"bias": "all"}, "biases"),
        ({"r": 3}, "rank"),
        ({"rank_pattern": {"q": "x"}}, "no numbers"),
        ({"rank_pattern": 3}, "no numbers"),
    ],
)
def test_what_cannot_be_merged_is_refused(config: dict[str, Any], wanted: str, tmp_path: Path) -> None:
    path = adapter(tmp_path / "a", {"l.q": ([[1, 0]], [[1], [0]])}, **config)
    with pytest.raises(InputError, match=wanted):
        merge({"lora_concat": [str(path)]}, tmp_path / "out")


def test_an_adapter_on_a_base(tmp_path: Path) -> None:
    base = small.model(tmp_path / "base", {"l.q.weight": np.ones((2, 2)), "norm.weight": [1.0]})
    lora = adapter(tmp_path / "lora", {"l.q": ([[1, 0]], [[1], [3]])}, lora_alpha=2)
    merge({"passthrough": f"{base}+{lora}"}, tmp_path / "out")
    found = small.content(tmp_path / "out")
    np.testing.assert_array_equal(found["l.q.weight"], [[3, 1], [7, 1]])
    np.testing.assert_array_equal(found["norm.weight"], [1])
    merge({"task_arithmetic": {f"{base}+{lora}": -1}, "base": str(base)}, tmp_path / "forgotten")
    np.testing.assert_array_equal(small.content(tmp_path / "forgotten")["l.q.weight"], [[-1, 1], [-5, 1]])
    turned = adapter(tmp_path / "turned", {"l.q": ([[1, 0]], [[1], [3]])}, lora_alpha=2, fan_in_fan_out=True)
    merge({"passthrough": f"{base}+{turned}"}, tmp_path / "out2")
    np.testing.assert_array_equal(small.content(tmp_path / "out2")["l.q.weight"], [[3, 7], [1, 1]])
    stray = adapter(tmp_path / "stray", {"l.none": ([[1, 0]], [[1], [3]])})
    with pytest.raises(InputError, match=r"changes 'l.none.weight', which the model lacks"):
        merge({"passthrough": f"{base}+{stray}"}, tmp_path / "x")
    wide = adapter(tmp_path / "wide", {"l.q": ([[1, 0, 0]], [[1], [3]])})
    with pytest.raises(InputError, match="the adapter's change"):
        merge({"passthrough": f"{base}+{wide}"}, tmp_path / "x")


def test_an_adapter_in_pieces_is_the_same_bytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    base = small.model(tmp_path / "base", {"l.q.weight": draw.standard_normal((700, 600)).astype(np.float32)})
    lora = adapter(tmp_path / "lora", {"l.q": (draw.standard_normal((4, 600)), draw.standard_normal((700, 4)))})
    for name, chunk, threads in (("a", None, 1), ("b", 1000, 2), ("c", 99_999, 2)):
        merge(
            {"dare": f"{base}+{lora}", "base": str(base), "density": 0.5}, tmp_path / name, chunk=chunk, threads=threads
        )
    content = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert content[0] == content[1] == content[2]


def test_extraction(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    base = {"l.q.weight": draw.standard_normal((6, 8)), "l.v.weight": draw.standard_normal((8, 6)),
            "embed_tokens.weight": draw.standard_normal((4, 8)), "norm.weight": np.ones(3)}  # fmt: skip
    change = draw.standard_normal((6, 2)) @ draw.standard_normal((2, 8))
    tuned = base | {"l.q.weight": base["l.q.weight"] + change, "l.v.weight": base["l.v.weight"] + change.T,
                    "norm.weight": np.full(3, 2)}  # fmt: skip
    small.model(tmp_path / "base", base), small.model(tmp_path / "tuned", tuned)
    paths = {"lora_extract": str(tmp_path / "tuned"), "base": str(tmp_path / "base")}
    report = merge(paths | {"rank": 2}, tmp_path / "out")
    assert Adapter(tmp_path / "out").modules == ["l.q", "l.v"]
    np.testing.assert_allclose(delta(tmp_path / "out"), change, atol=1e-5)
    np.testing.assert_allclose(delta(tmp_path / "out", "l.v"), change.T, atol=1e-5)
    assert report.notes[0].startswith("1 tensors that differ")
    merge(paths | {"rank": 1}, tmp_path / "one")
    lost = np.linalg.norm(delta(tmp_path / "one") - change, 2)
    assert lost == pytest.approx(np.linalg.svd(change)[1][1], rel=1e-4)
    merge({"passthrough": f"{tmp_path / 'base'}+{tmp_path / 'out'}"}, tmp_path / "back")
    np.testing.assert_allclose(small.content(tmp_path / "back")["l.q.weight"], tuned["l.q.weight"], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_beside_peft(tmp_path: Path) -> None:
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=2)  # fmt: skip
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(tmp_path / "base")
    for i in range(2):
        lora = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        peft.get_peft_model(transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base"), lora).save_pretrained(
            tmp_path / f"a{i}"
        )
    model = peft.PeftModel.from_pretrained(base, tmp_path / "a0", adapter_name="a0")
    model.load_adapter(tmp_path / "a1", "a1")
    weights = [0.75, 0.5]
    ids = torch.arange(8)[None]
    for kind, method, more in (
        ("cat", "lora_concat", {}),
        ("linear", "lora_separate", {}),
        ("svd", "lora_svd", {"rank": 4}),
    ):
        options = {"svd_rank": 4} if kind == "svd" else {}
        model.add_weighted_adapter(["a0", "a1"], weights, kind, combination_type=kind, **options)
        model.set_adapter(kind)
        theirs = model(ids).logits.detach()
        listed = {str(tmp_path / f"a{i}"): weights[i] for i in range(2)}
        merge({method: listed, **more}, tmp_path / kind)
        fresh = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
        ours = peft.PeftModel.from_pretrained(fresh, tmp_path / kind)(ids).logits.detach()
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5, err_msg=kind)


def test_an_adapter_alone_is_no_model(pair: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lora_concat"):
        merge({"linear": pair}, tmp_path / "out")


def test_an_embedding_with_an_adapter(tmp_path: Path) -> None:
    base = small.model(tmp_path / "base", {"embed_tokens.weight": np.zeros((3, 2)), "l_B.q.weight": np.zeros((2, 2))})
    (tmp_path / "lora").mkdir()
    tensors = {
        f"{PREFIX}embed_tokens.lora_embedding_A": np.array([[1.0, 2.0, 3.0]]),
        f"{PREFIX}embed_tokens.lora_embedding_B": np.array([[1.0], [10.0]]),
        f"{PREFIX}l_B.q.lora_B.weight": np.array([[1.0], [2.0]]),
        f"{PREFIX}l_B.q.lora_A.weight": np.array([[5.0, 7.0]]),
    }
    small.file(tmp_path / "lora" / "adapter_model.safetensors", tensors)
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 1}))
    merge({"passthrough": f"{base}+{tmp_path / 'lora'}"}, tmp_path / "out")
    found = small.content(tmp_path / "out")
    np.testing.assert_array_equal(found["embed_tokens.weight"], [[1, 10], [2, 20], [3, 30]])
    np.testing.assert_array_equal(found["l_B.q.weight"], [[5, 7], [10, 14]])
    merge({"lora_concat": [str(tmp_path / "lora")]}, tmp_path / "again")
    merge({"passthrough": f"{base}+{tmp_path / 'again'}"}, tmp_path / "out2")
    for name, values in small.content(tmp_path / "out2").items():
        np.testing.assert_array_equal(values, found[name])
