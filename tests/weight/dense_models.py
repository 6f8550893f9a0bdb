"""Small dense models of Llama's and Mistral's layout, with the pocket models' tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import small

from agora.models.pocket import WEIGHTS, tokenizer

VOCABULARY = len(tokenizer.VOCABULARY)
CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCABULARY, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "torch_dtype": "float32",
}  # fmt: skip
MISTRAL = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}


def tensors(seed: int, config: Mapping[str, Any], spread: float = 0.3) -> dict[str, np.ndarray]:
    """Weights drawn at random."""
    rng, h, inner = np.random.default_rng(seed), config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or h // config["num_attention_heads"]
    q, kv = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], h)}
    for i in range(config["num_hidden_layers"]):
        for name, shape in (
            ("self_attn.q_proj", (q, h)), ("self_attn.k_proj", (kv, h)), ("self_attn.v_proj", (kv, h)),
            ("self_attn.o_proj", (h, q)), ("mlp.gate_proj", (inner, h)), ("mlp.up_proj", (inner, h)),
            ("mlp.down_proj", (h, inner)), ("input_layernorm", (h,)), ("post_attention_layernorm", (h,)),
        ):  # fmt: skip
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    shapes["model.norm.weight"] = (h,)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (config["vocab_size"], h)
    made = {}
    for name, shape in shapes.items():
        values = rng.normal(size=shape) * spread + (1 if "norm" in name else 0)
        made[name] = values.astype(np.float32)
    return made


def dense(folder: Path, seed: int = 0, dtype: str = "F32", **config: Any) -> Path:
    """A dense model's folder."""
    full = {**CONFIG, **config}
    values = tensors(seed, full)
    if dtype == "BF16":
        values = {name: small.bf16(array) for name, array in values.items()}
    small.model(folder, values, dtype, config=full)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((WEIGHTS / "base" / name).read_bytes())
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Change tensors of a model: None takes one away. Names have __ for dots."""
    held = small.content(folder)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del held[key]
        else:
            held[key] = value
    small.file(folder / "model.safetensors", held)


def reconfigure(folder: Path, **changes: Any) -> None:
    """Change config.json."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
