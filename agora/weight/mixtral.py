"""The layout of Mixtral's checkpoints: which dense models fit into it, its tensors' names, and its configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agora.errors import InputError
from agora.weight.dtypes import FLOATS, TORCH
from agora.weight.parents import Parent
from agora.weight.plan import DROPPED

DENSE = ("llama", "mistral")
EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
SHARED = tuple(
    f"{name}.weight"
    for name in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "input_layernorm", "post_attention_layernorm",
    )
)  # fmt: skip
EXPERT = {"mlp.gate_proj.weight": "w1", "mlp.down_proj.weight": "w2", "mlp.up_proj.weight": "w3"}
_USUAL: Mapping[str, Mapping[str, Any]] = {  # what a configuration means where it says nothing
    "llama": {"num_key_value_heads": None, "rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    "mistral": {
        "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "max_position_embeddings": 131072, "sliding_window": 4096,
    },
}  # fmt: skip
_KEPT = (
    "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "use_cache", "attention_dropout",
    "rope_parameters", "rope_scaling",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What models must have in common, of their configurations.

    Attributes:
        hidden: width of the residual stream.
        inner: width of the MLP.
        layers: number of layers.
        heads: of queries.
        groups: heads of keys and values.
        head: width of a head.
        activation: of the MLP.
        epsilon: of the norms.
        theta: base of the rotations.
        rope: 'default', or another way to turn, with its parameters, as JSON.
        tied: the output matrix is the embedding.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    groups: int
    head: int
    activation: str
    epsilon: float
    theta: float
    rope: str
    tied: bool


_WORDS = {"hidden": "hidden_size", "inner": "intermediate_size", "layers": "num_hidden_layers",
          "heads": "num_attention_heads", "groups": "num_key_value_heads", "head": "head_dim",
          "activation": "hidden_act", "epsilon": "rms_norm_eps", "theta": "rope_theta", "rope": "rope scaling",
          "tied": "tie_word_embeddings"}  # fmt: skip


def shape_of(parent: Parent) -> Shape:
    """What a model's configuration says.

    Raises:
        InputError: if it is no dense model of Llama's or Mistral's layout, or says what cannot be.
    """
    config, kind = parent.config, parent.config.get("model_type")
    if kind not in DENSE:
        what = f"is of type '{str(kind)[:40]}'" if kind else "has no config.json that says what it is"
        raise InputError(f"{parent.label} {what}; only models of type {' or '.join(DENSE)} fit into Mixtral's layout.")
    usual = _USUAL[kind]
    try:
        hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
        groups = config.get("num_key_value_heads", usual["num_key_value_heads"]) or heads
        rope = rotation(config)
        theta = float(rope.pop("rope_theta"))
        head, epsilon = (
            int(config.get("head_dim") or hidden // heads),
            config.get("rms_norm_eps", usual["rms_norm_eps"]),
        )
        made = Shape(
            hidden, _size(config, "intermediate_size"), _size(config, "num_hidden_layers"), heads, int(groups), head,
            str(config.get("hidden_act", "silu")), float(epsilon), theta, json.dumps(rope, sort_keys=True),
            bool(config.get("tie_word_embeddings", False)),
        )  # fmt: skip
        if made.groups < 1 or heads % made.groups or head < 2 or head % 2 or not theta > 0 or not made.epsilon >= 0:
            raise ValueError
        return made
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{parent.label}: its config.json lacks sizes, or holds some that are none.") from error


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise ValueError(key)
    return value


def rotation(config: Mapping[str, Any]) -> dict[str, Any]:
    """How queries and keys are turned, whichever way a configuration says so: `rope_theta`, `rope_type`, parameters."""
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    found = {**old, **new}
    kind = found.pop("rope_type", None) or found.pop("type", None) or "default"
    found.pop("type", None)
    theta = found.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    return {"rope_theta": theta, "rope_type": kind, **found}


def fit(parents: Mapping[str, Parent], donor: Parent, notes: list[str]) -> Shape:
    """What all models have in common.

    Args:
        parents: all of them.
        donor: whose configuration stands for all.
        notes: gets what a user should know.

    Raises:
        InputError: if one has another layout than the rest, or tensors that have no place in Mixtral's.
    """
    wanted = shape_of(donor)
    if EMBEDDING not in donor.checkpoint:
        raise InputError(f"{donor.label} has no tensor '{EMBEDDING}', which Llama's layout needs.")
    if wanted.layers > donor.checkpoint.layers:
        raise InputError(f"{donor.label} has tensors of {donor.checkpoint.layers} layers, and its config.json says "
                         f"{wanted.layers}.")  # fmt: skip
    sizes = shapes(
        wanted, donor.checkpoint.entries[EMBEDDING].shape[0] if donor.checkpoint.entries[EMBEDDING].shape else 0
    )
    for parent in parents.values():
        found = shape_of(parent)
        for key, word in _WORDS.items():
            if getattr(found, key) != getattr(wanted, key):
                raise InputError(f"{parent.label} has {word} {str(getattr(found, key))[:80]}, {donor.label} has "
                                 f"{str(getattr(wanted, key))[:80]}; experts are of one shape.")  # fmt: skip
        _tensors(parent, donor, sizes)
        for key in ("max_position_embeddings", "sliding_window"):
            usual = _USUAL[str(parent.config["model_type"])].get(key)
            if parent.config.get(key, usual) != configured(donor)[key]:
                notes.append(f"{parent.label} has another {key} than {donor.label}, whose is kept.")
    return wanted


def _tensors(parent: Parent, donor: Parent, sizes: Mapping[str, tuple[int, ...]]) -> None:
    saved = {n: parent.adapter.checkpoint.entries[k] for n, k in parent.adapter.saved.items()} if parent.adapter else {}
    held = {**parent.checkpoint.entries, **saved}
    for name, size in sizes.items():
        if name not in held:
            raise InputError(f"{parent.label} has no tensor '{name}', which Llama's layout needs.")
        if held[name].dtype not in FLOATS:
            raise InputError(f"{parent.label}: tensor '{name}' holds {held[name].dtype}, no floats.",
                             hint="Quantised models cannot be mixed; give one that is not.")  # fmt: skip
        if held[name].shape != size:
            other = "by its config.json" if parent is donor else f"in {donor.label}"
            hint = "Where vocabularies differ, bring them to one first: `agora merge` with `tokenizer_source`."
            raise InputError(f"tensor '{name}' is {list(held[name].shape)} in {parent.label} and {list(size)} {other}.",
                             hint=hint if name in (EMBEDDING, HEAD) else None)  # fmt: skip
    for name in held:  # a tied model may have written its output matrix too
        if name not in sizes and name != HEAD and not name.endswith(DROPPED):
            what = "a bias" if name.endswith(".bias") else "a tensor"
            raise InputError(f"{parent.label} has {what}, '{name[:80]}', for which Mixtral's layout has no place.")


def shapes(shape: Shape, rows: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a dense model's tensors, by name, as its configuration has them."""
    made: dict[str, tuple[int, ...]] = {}
    q, kv = shape.heads * shape.head, shape.groups * shape.head
    for i in range(shape.layers):
        at = f"model.layers.{i}."
        sizes = ((q, shape.hidden), (kv, shape.hidden), (kv, shape.hidden), (shape.hidden, q))
        made |= {at + name: size for name, size in zip(SHARED, sizes, strict=False)}
        made |= {at + name: (shape.hidden,) for name in SHARED[4:]}
        for name, kind in EXPERT.items():
            made[at + name] = (shape.hidden, shape.inner) if kind == "w2" else (shape.inner, shape.hidden)
    head = {} if shape.tied else {HEAD: (rows, shape.hidden)}
    return {EMBEDDING: (rows, shape.hidden), **made, NORM: (shape.hidden,), **head}


def configured(donor: Parent) -> dict[str, Any]:
    """What a dense model's configuration says, with what it leaves to its type's own defaults written out."""
    shape, usual = shape_of(donor), _USUAL[str(donor.config["model_type"])]
    config = donor.config
    return {
        "vocab_size": donor.checkpoint.entries[EMBEDDING].shape[0],
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.groups,
        "head_dim": shape.head,
        "hidden_act": shape.activation,
        "rms_norm_eps": shape.epsilon,
        "max_position_embeddings": config.get("max_position_embeddings", usual["max_position_embeddings"]),
        "sliding_window": config.get("sliding_window", usual.get("sliding_window")) if "sliding_window" in usual
        else None,
        "rope_theta": shape.theta,
        "tie_word_embeddings": shape.tied,
        **{key: config[key] for key in _KEPT if config.get(key) is not None},
    }  # fmt: skip


def config(donor: Parent, experts: int, top: int, dtype: str) -> bytes:
    """config.json of a mixture.

    Args:
        donor: whose sizes, rotations, vocabulary and special tokens it has.
        experts: number of them.
        top: through how many a token is sent.
        dtype: of its tensors, as safetensors names it.
    """
    made = {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        **configured(donor),
        "num_local_experts": experts,
        "num_experts_per_tok": top,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "torch_dtype": TORCH[dtype],
    }
    return (json.dumps(made, indent=2) + "\n").encode()


def plain(text: str) -> str:
    """A name without what Markdown would read."""
    return re.sub(r"[`\r\n\[\]<>]", "", text)[:200]
