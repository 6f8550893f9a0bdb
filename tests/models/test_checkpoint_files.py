"""Folders of checkpoints: what is wrong with one is said in a sentence, before anything heavy is imported."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agora.errors import InputError
from agora.models.checkpoint_files import adapter, checkpoint

CONFIG = {"model_type": "llama", "max_position_embeddings": 64, "eos_token_id": [2, 7]}


def safetensors(path: Path, *, shape: tuple[int, ...] = (2,), claim: int = 8, data: int = 8) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, claim]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"\0" * data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "model"
    where.mkdir()
    (where / "config.json").write_text(json.dumps(CONFIG))
    (where / "tokenizer_config.json").write_text("{}")
    (where / "tokenizer.json").write_text("{}")
    safetensors(where / "model.safetensors")
    return where


def test_a_whole_folder(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": 9}')
    found = checkpoint(folder)
    assert (found.folder, found.context, found.eos) == (folder.resolve(), 64, {2, 7, 9})


def test_the_stamp_differs_where_files_do(folder: Path) -> None:
    stamps = {checkpoint(folder).stamp}
    assert checkpoint(folder).stamp in stamps
    (folder / "tokenizer_config.json").write_text('{"a": 1}')
    stamps.add(checkpoint(folder).stamp)
    safetensors(folder / "model.safetensors", shape=(3,), claim=12, data=12)
    stamps.add(checkpoint(folder).stamp)
    assert len(stamps) == 3


def test_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    (folder / "model.safetensors").rename(folder / "part-1.safetensors")
    index.write_text(json.dumps({"weight_map": {"w": "part-1.safetensors"}}))
    assert checkpoint(folder).context == 64


def shard(name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        safetensors(folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))

    return make


def written(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def only(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda f: [path.unlink() for path in f.iterdir()], "there is no config.json"),
    "config": (lambda f: (f / "config.json").unlink(), "there is no config.json"),
    "bad JSON": (written("config.json", "{"), "config.json is not valid JSON"),
    "deep JSON": (written("config.json", "[" * 200_000), "config.json is not valid JSON"),
    "no UTF-8": (written("tokenizer_config.json", b"\xff"), "tokenizer_config.json is not valid JSON"),
    "no object": (written("config.json", "[]"), "does not hold a JSON object"),
    "code": (written("config.json", json.dumps({**CONFIG, "auto_map": {"AutoModel": "x.Y"}})), "auto_map"),
    "code of parts": (written("config.json", json.dumps({**CONFIG, "text_config": {"auto_map": {}}})), "auto_map"),
    "code of the tokenizer": (written("tokenizer_config.json", '{"auto_map": {}}'), "tokenizer_config.json has auto"),
    "pickle": (only("pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    "pt": (only("model.pt"), "model.pt is a pickle"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "there is no model.safetensors"),
    "missing shard": (shard("part-1.safetensors"), "which is missing"),
    "shard above": (shard("../outside.safetensors"), "outside its folder"),
    "absolute shard": (shard("/outside.safetensors"), "outside its folder"),
    "shard with backslashes": (shard("..\\outside.safetensors"), "outside its folder"),
    "pickled shard": (shard("part.bin"), "not a safetensors file"),
    "index": (lambda f: (only("a.safetensors")(f), written("model.safetensors.index.json", "{}")(f)), "does not say"),
    "cut short": (written("model.safetensors", b"\x40\0\0\0\0\0\0\0{}"), "its header is cut short"),
    "no header": (written("model.safetensors", b"\x01"), "its header is cut short"),
    "no JSON header": (written("model.safetensors", b"\x02\0\0\0\0\0\0\0{{"), "its header is not JSON"),
    "list": (written("model.safetensors", b"\x02\0\0\0\0\0\0\0[]"), "not a JSON object"),
    "entry": (written("model.safetensors", b'\x09\0\0\0\0\0\0\0{"w": {}}'), "does not describe tensor w"),
    "truncated": (lambda f: safetensors(f / "model.safetensors", data=7), "more bytes than the file has"),
    "lying": (lambda f: safetensors(f / "model.safetensors", claim=800), "other bytes than its shape"),
    "lying more": (lambda f: safetensors(f / "model.safetensors", shape=(99,), claim=396), "claims more bytes"),
    "tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "there is no tokenizer.json"),
    "context": (written("config.json", "{}"), "how long its context is"),
    "no number": (written("config.json", '{"n_positions": "many"}'), "no number of tokens"),
    "adapter": (written("adapter_config.json", "{}"), "makes this folder an adapter"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_a_sentence(folder: Path, case: str) -> None:
    break_it, said = BAD[case]
    break_it(folder)
    with pytest.raises(InputError) as caught:
        checkpoint(folder)
    assert said in caught.value.message
    assert caught.value.message.endswith(".")
    assert "\n" not in str(caught.value)
    assert str(folder) in caught.value.message


def test_a_large_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(100_000_100)
    with pytest.raises(InputError, match="larger than 100 MB"):
        checkpoint(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="agora downloads nothing"):
        checkpoint(tmp_path / "none")


def test_adapters(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    with pytest.raises(InputError, match=r"there is no adapter_config\.json"):
        adapter(tmp_path)
    config.write_text('{"peft_type": "LOHA"}')
    with pytest.raises(InputError, match="only LORA"):
        adapter(tmp_path)
    config.write_text('{"peft_type": "LORA", "megatron_config": {}, "megatron_core": "os"}')
    with pytest.raises(InputError, match="Megatron"):
        adapter(tmp_path)
    config.write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="pickle"):
        adapter(tmp_path)
    safetensors(tmp_path / "adapter_model.safetensors")
    assert adapter(tmp_path).folder == tmp_path.resolve()


def test_nothing_heavy_is_imported(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    code = f"""
import sys
from agora.errors import InputError
from agora.models.huggingface import HuggingFaceModel
try:
    HuggingFaceModel({str(folder)!r})
except InputError:
    print([m for m in ("torch", "transformers", "numpy", "safetensors", "peft") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_is_missing_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agora.errors import MissingError
    from agora.models import huggingface

    monkeypatch.setattr(huggingface, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"agora-debate\[local\]"):
        huggingface.HuggingFaceModel(folder)
