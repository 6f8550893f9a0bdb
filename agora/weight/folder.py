"""The small files of a merged checkpoint: configuration, tokenizer, model card, recipe; never a parent's code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agora.weight import methods
from agora.weight.dtypes import TORCH
from agora.weight.parents import Parent, layers_set
from agora.weight.recipe import Recipe

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "vocab.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
BESIDE = ("generation_config.json", "preprocessor_config.json", "processor_config.json")
_COMPUTED = (
    "model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta", "rope_scaling",
    "rms_norm_eps", "layer_norm_eps", "hidden_act", "sliding_window",
)  # fmt: skip
_CODE = ("auto_map", "_name_or_path", "quantization_config")


def small_files(
    recipe: Recipe, parents: Mapping[str, Parent], *, layers: int | None, dtypes: Sequence[str],
    vocabulary: int | None, tokenizer: Mapping[str, bytes], notes: list[str], name: str, untied: bool = False,
) -> dict[str, bytes]:  # fmt: skip
    """What lies beside the tensors, by name.

    Args:
        recipe: what was merged.
        parents: by reference.
        layers: number of layers where it has changed.
        dtypes: of the tensors.
        vocabulary: rows of the embedding where they have changed.
        tokenizer: its files.
        notes: gets what a user should know.
        name: of the output's folder.
        untied: the output has an output matrix of its own, whatever the donor has.
    """
    donor = parents[recipe.references()[0]]
    made: dict[str, bytes] = {}
    _compared(donor, list(parents.values()), notes)
    if donor.config:
        config = config_of(donor.config, layers, dtypes, vocabulary, notes)
        if untied and donor.tied:
            notes.append("the output matrix is the embedding in some models only; here it is one of its own.")
            for part in (config, config.get("text_config")):
                if isinstance(part, dict) and "tie_word_embeddings" in part:
                    part["tie_word_embeddings"] = False
        made["config.json"] = json_bytes(config)
    for file in BESIDE:
        found = donor.checkpoint.json(file)
        if found:
            made[file] = json_bytes({key: value for key, value in found.items() if key not in _CODE})
    made |= tokenizer
    made["README.md"] = card(recipe, list(parents), notes, name).encode()
    made["agora_recipe.yaml"] = recipe.to_yaml().encode()
    return made


def _compared(donor: Parent, parents: Sequence[Parent], notes: list[str]) -> None:
    """Say where models of equal shapes compute otherwise: what is merged then need not work as any of them."""
    for parent in parents:
        for key in _COMPUTED:
            one, other = donor.setting(key), parent.setting(key)
            if parent.config and donor.config and one != other and None not in (one, other):
                notes.append(f"{parent.label} has {key} {str(other)[:60]}, {donor.label} has {str(one)[:60]}; the "
                             f"result has that of {donor.label}.")  # fmt: skip


def config_of(
    given: Mapping[str, Any], layers: int | None, dtypes: Sequence[str], vocabulary: int | None, notes: list[str]
) -> dict[str, Any]:
    """A parent's configuration as the result needs it, without what would run code."""
    config = json.loads(json.dumps(given))
    for key in _CODE:
        if key in config:
            del config[key]
            if key == "auto_map":
                notes.append("the models come with code of their own, which is not copied.")
    floats = [dtype for dtype in dtypes if dtype in TORCH]
    if floats:
        usual = TORCH[max(sorted(set(floats)), key=floats.count)]
        for key in ("torch_dtype", "dtype"):
            if key in config or (key == "torch_dtype" and "dtype" not in config):
                config[key] = usual
    if layers is not None:
        layers_set(config, layers)
    if vocabulary is not None:
        for part in (config, config.get("text_config")):
            if isinstance(part, dict) and "vocab_size" in part:
                part["vocab_size"] = vocabulary
    return dict(config)


def json_bytes(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def card(recipe: Recipe, references: Sequence[str], notes: Sequence[str], name: str) -> str:
    """A model card: what was merged, how, and what a user should know."""
    method = methods.get(recipe.merge_method)
    labels = [_plain(reference) for reference in references]
    front = {
        "tags": ["merge", "agora"],
        "base_model": [label for label in labels if re.fullmatch(r"[\w.-]+/[\w.-]+", label)],
    }
    head = "".join(f"{key}:\n" + "".join(f"- {value}\n" for value in values) for key, values in front.items() if values)
    lines = [
        f"---\n{head}---\n# {_plain(name)}\n",
        f"Merged with agora by `{method.name}` ({method.paper}).\n",
        f"{method.summary}\n",
        "## Models\n",
        *(f"- `{label}`" + (" (base)" if label == recipe.base_model else "") for label in labels),
        f"\n## Recipe\n\n```yaml\n{recipe.to_yaml()}```",
    ]
    if notes:
        lines += ["\n## Notes\n", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"[`\r\n\[\]<>]", "", text)[:200]
