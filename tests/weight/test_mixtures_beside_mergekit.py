"""The same mixtures through mergekit-moe 0.1.5; needs `pip install mergekit==0.1.5`.

It writes the experts of a layer packed, as transformers 5 holds them in memory; we write them one by one, as
transformers saves them and all else reads them. Every tensor but the routers comes out bit for bit the same, and so
does the direction of a prompt's embedding, of which its `cheap_embed` router is made as it is, and ours freed of what
the experts have in common.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small
import yaml
from dense_models import dense

from agora.weight import mix
from agora.weight.dense import Dense
from agora.weight.mixtral import shape_of
from agora.weight.parents import Parent
from agora.weight.routers import rows, tokens

pytest.importorskip("mergekit")
pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = ["Q: Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?", "Q: Of 3 5 7 which is the 1st largest?"]


def beside(config: Path, out: Path) -> None:
    from mergekit.moe.config import MoEMergeConfig
    from mergekit.options import MergeOptions
    from mergekit.scripts.moe import build

    wanted = MoEMergeConfig.model_validate(yaml.safe_load(config.read_text()))
    options = MergeOptions(copy_tokenizer=False, trust_remote_code=False, quiet=True)
    build(wanted, str(out), options, device="cpu", allow_all_same=True)


def unpacked(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = {}
    for name, values in tensors.items():
        stem = name.replace("mlp.", "block_sparse_moe.", 1)
        if name.endswith("experts.gate_up_proj"):
            for number, expert in enumerate(values):
                for short, part in zip(("w1", "w3"), np.split(expert, 2), strict=True):
                    made[f"{stem.removesuffix('gate_up_proj')}{number}.{short}.weight"] = part
        elif name.endswith("experts.down_proj"):
            for number, expert in enumerate(values):
                made[f"{stem.removesuffix('down_proj')}{number}.w2.weight"] = expert
        else:
            made[stem] = values
    return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_but_the_routers(tmp_path: Path, dtype: str) -> None:
    folders = [dense(tmp_path / name, seed) for seed, name in enumerate("abc")]
    names = ("source_model", "positive_prompts", "negative_prompts", "noise_scale")
    recipe = {
        "base_model": str(folders[2]), "gate_mode": "cheap_embed", "dtype": dtype, "experts_per_token": 2,
        "experts": [dict(zip(names, (str(f), [p], None, None), strict=True))
                    for f, p in zip(folders[:2], PROMPTS, strict=True)],
    }  # fmt: skip
    config = tmp_path / "moe.yml"
    config.write_text(yaml.safe_dump(recipe))
    beside(config, tmp_path / "theirs")
    mix(config, tmp_path / "ours")
    theirs, ours = unpacked(small.content(tmp_path / "theirs")), small.content(tmp_path / "ours")
    assert theirs.keys() == ours.keys()
    for name, values in ours.items():
        if ".gate." not in name:
            assert np.array_equal(values, theirs[name]), name
    told, said = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("theirs", "ours"))
    for key in ("model_type", "num_local_experts", "num_experts_per_tok", "hidden_size", "num_key_value_heads"):
        assert told[key] == said[key]

    if dtype == "float32":
        base = Parent(str(folders[2]))
        model = Dense([base], shape_of(base))
        means = np.stack([model.embedded(ids).mean(0) for ids in tokens(base, PROMPTS)])
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        gate = "model.layers.1.block_sparse_moe.gate.weight"
        assert np.allclose(theirs[gate], unit, atol=1e-5)
        assert np.allclose(ours[gate], rows(means, [(0, True), (1, True)], 2), atol=1e-6)
        base.close()
