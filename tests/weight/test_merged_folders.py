"""What lies in the folder of a merged checkpoint, and that it loads and answers."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import numpy as np
import pytest
import small
import yaml

from agora.models.pocket import WEIGHTS, network
from agora.weight import content_key, merge, read_recipe

POCKET = ["pocket:sum", "pocket:mul", "pocket:sort", "pocket:mod"]


def test_the_folder(tmp_path: Path) -> None:
    a = small.model(
        tmp_path / "a", {"w": [1.0]}, config={"model_type": "x", "auto_map": {"AutoModel": "modeling.X"},
        "torch_dtype": "float32", "_name_or_path": "/home/me"},
    )  # fmt: skip
    (a / "modeling.py").write_text("raise SystemExit")
    (a / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    (a / "tokenizer_config.json").write_text("{}")
    (a / "generation_config.json").write_text('{"eos_token_id": 2}')
    (a / "pytorch_model.bin").write_bytes(b"x")
    recipe = {"linear": {str(a): 1}, "dtype": "bfloat16"}
    report = merge(recipe, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
                     "generation_config.json", "README.md", "agora_recipe.yaml"}  # fmt: skip
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {"model_type": "x", "torch_dtype": "bfloat16"}
    assert any("code of their own" in note for note in report.notes)
    written = (tmp_path / "out" / "agora_recipe.yaml").read_text()
    assert read_recipe(yaml.safe_load(written)) == read_recipe(recipe)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "linear" in card
    assert "arXiv:2203.05482" in card
    assert written in card


def test_pocket_models_merge_and_answer(tmp_path: Path) -> None:
    for method, more in (("linear", {}), ("ties", {"base": "pocket:base", "density": 0.5})):
        merge({method: POCKET, **more}, tmp_path / method)
        weights = network.load(tmp_path / method)
        session = network.Session(weights)
        session.new()
        logits = session.forward([(0, [1, 5, 7])])
        assert np.isfinite(logits).all()


def test_one_pocket_model_passed_through_is_itself(tmp_path: Path) -> None:
    merge({"passthrough": "pocket:sum"}, tmp_path / "out")
    wanted = network.read_safetensors(WEIGHTS / "sum" / "model.safetensors")
    found = network.read_safetensors(tmp_path / "out" / "model.safetensors")
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_task_vector_added_to_the_base_is_the_specialist(tmp_path: Path) -> None:
    merge({"task_arithmetic": ["pocket:sum"], "base": "pocket:base", "dtype": "float16"}, tmp_path / "out")
    wanted = network.read_safetensors(WEIGHTS / "sum" / "model.safetensors")
    for name, values in network.read_safetensors(tmp_path / "out" / "model.safetensors").items():
        np.testing.assert_allclose(values, wanted[name], rtol=2**-10, atol=1e-7)


def test_merged_checkpoints_load_in_transformers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                                      num_attention_heads=4, num_key_value_heads=2,
                                      tie_word_embeddings=True)  # fmt: skip
    for i in range(3):
        torch.manual_seed(i)
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(tmp_path / f"m{i}")
    paths = [str(tmp_path / f"m{i}") for i in range(3)]
    for number, recipe in enumerate((
        {"linear": paths}, {"ties": paths[1:], "base": paths[0], "density": 0.5}, {"slerp": paths[:2], "t": 0.5},
        {"merge_method": "passthrough", "slices": [
            {"sources": [{"model": paths[0], "layer_range": [0, 2]}]},
            {"sources": [{"model": paths[1], "layer_range": [1, 3]}]},
        ]},
    )):  # fmt: skip
        out = tmp_path / f"out{number}"
        merge(recipe, out, shard=10_000)
        loaded, about = transformers.LlamaForCausalLM.from_pretrained(out, output_loading_info=True, dtype="auto")
        assert not about["missing_keys"]
        assert not about["unexpected_keys"]
        assert loaded.config.num_hidden_layers == (4 if number == 3 else 3)
        assert loaded.dtype == torch.bfloat16
        answer = loaded.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4, do_sample=False)
        assert answer.shape[1] > 3


def test_a_merge_can_be_waited_for_in_a_thread(tmp_path: Path) -> None:
    async def work() -> None:
        await anyio.to_thread.run_sync(lambda: merge({"linear": POCKET}, tmp_path / "out"))

    anyio.run(work)
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_key_of_a_merge(tmp_path: Path) -> None:
    a = small.model(tmp_path / "a", {"w": [1.0]})
    first = content_key({"linear": [str(a)]})
    assert first == content_key({"merge_method": "linear", "models": [{"model": str(a)}]})
    assert first != content_key({"linear": {str(a): 2}})
    assert first != content_key({"linear": [str(a)], "seed": 1})
    small.file(a / "model.safetensors", {"w": [2.0]})
    assert first != content_key({"linear": [str(a)]})
    assert len(first) == 64


def test_models_that_compute_otherwise_are_told(tmp_path: Path) -> None:
    """Equal shapes, other angles: it is merged, and said."""
    config = {"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 2, "rope_theta": 10000.0}
    for name, theta in (("a", 10000.0), ("b", 500000.0), ("c", 10000.0)):
        small.model(tmp_path / name, {"model.layers.0.w": [1.0, 2.0]}, config={**config, "rope_theta": theta})
    report = merge({"linear": [str(tmp_path / n) for n in "abc"]}, tmp_path / "out")
    (note,) = [note for note in report.notes if "rope_theta" in note]
    assert "500000" in note
    assert "10000" in note
