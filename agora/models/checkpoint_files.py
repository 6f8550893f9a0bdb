"""The files of a checkpoint folder, checked before anything heavy is imported or anything of them is run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agora.errors import InputError

MAX_HEADER = 100_000_000  # bytes: the format's own limit
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
          "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


@dataclass(frozen=True)
class CheckpointFiles:
    """What is known of a checkpoint from its small files.

    Attributes:
        folder: where it is, resolved.
        context: most tokens of a sequence; None where only the class of the model knows.
        eos: ids that its configuration says end a text.
        template: there is one of the checkpoint's own for conversations.
        stamp: differs where the files do: their names, sizes and times, and what the small ones say.
    """

    folder: Path
    context: int | None
    eos: frozenset[int]
    template: bool
    stamp: str


def checkpoint(folder: str | Path) -> CheckpointFiles:
    """Check a folder with a model.

    Raises:
        InputError: if a file is missing, damaged, or would run code.
    """
    where = _folder(folder, "a checkpoint")
    config = read_json(where / "config.json", needed="a checkpoint has one beside its weights")
    if (where / "adapter_config.json").exists():
        raise InputError(
            f"{where / 'adapter_config.json'} makes this folder an adapter.",
            hint="Give the base model's folder, and this one as its adapter.",
        )
    tokens = read_json(where / "tokenizer_config.json")
    for name, data in (("config.json", config), ("tokenizer_config.json", tokens)):
        if "auto_map" in _keys(data):
            raise InputError(
                f"{where / name} has auto_map: the model needs code of its own, which is never run.",
                hint="Use a checkpoint of an architecture that transformers has.",
            )
    _weights(where)
    if not any((where / name).is_file() for name in TOKENIZERS):
        raise InputError(
            f"there is no tokenizer.json in {where}.", hint="Copy the tokenizer's files beside the weights."
        )
    text = config.get("text_config")
    parts = (text, config) if isinstance(text, dict) else (config,)
    found = [part[key] for part in parts for key in _CONTEXT if part.get(key) is not None]
    if found and (isinstance(found[0], bool) or not isinstance(found[0], int) or found[0] < 1):
        raise InputError(f"{where / 'config.json'} gives no number of tokens for its context.")
    if not found and len(parts) == 1:
        raise InputError(
            f"{where / 'config.json'} does not say how long its context is.",
            hint="Add max_position_embeddings, the most tokens that it was trained for.",
        )
    ends = [part.get("eos_token_id") for part in (*parts, read_json(where / "generation_config.json"))]
    ids = [i for end in ends for i in (end if isinstance(end, list) else [end])]
    eos = frozenset(i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i >= 0)
    template = bool(tokens.get("chat_template")) or (where / "chat_template.jinja").is_file()
    return CheckpointFiles(where, found[0] if found else None, eos, template, _stamp(where))


def adapter(folder: str | Path) -> CheckpointFiles:
    """Check a folder with a LoRA adapter as PEFT saves it.

    Raises:
        InputError: if a file is missing or damaged, or it is an adapter of another kind.
    """
    where = _folder(folder, "an adapter")
    config = read_json(where / "adapter_config.json", needed="an adapter saved by PEFT has one")
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"{where / 'adapter_config.json'} is of kind {str(config.get('peft_type'))[:40]}; only LORA is read."
        )
    if "auto_map" in _keys(config):
        raise InputError(f"{where / 'adapter_config.json'} has auto_map: it needs code of its own, which is never run.")
    if config.get("megatron_config") is not None:  # names a module to import
        raise InputError(f"{where / 'adapter_config.json'} is for Megatron; only adapters of plain models are read.")
    path = where / "adapter_model.safetensors"
    if not path.is_file():
        raise _no_weights(where, path.name)
    header(path)
    return CheckpointFiles(where, None, frozenset(), False, _stamp(where))


def read_json(path: Path, *, needed: str = "") -> dict[str, Any]:
    """An object in a file; an empty one where there is no such file and it is not needed.

    Raises:
        InputError: if the file is missing, or does not hold an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            raise InputError(f"there is no {path.name} in {path.parent}; {needed}.") from None
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON.", hint="Copy it again from where it came.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} does not hold a JSON object.", hint="Copy it again from where it came.")
    return data


def header(path: Path) -> dict[str, Any]:
    """The entries of a safetensors file by the names of its tensors.

    Raises:
        InputError: if the file is cut short or does not hold what it says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _damaged(path, "its header is cut short")
            if length > MAX_HEADER:
                raise _damaged(path, f"its header is larger than {MAX_HEADER // 1_000_000} MB")
            data = json.loads(file.read(length))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(data, dict):
        raise _damaged(path, "its header is not a JSON object")
    data.pop("__metadata__", None)
    for name, entry in data.items():
        try:
            begin, end = entry["data_offsets"]
            each = _SIZES.get(entry["dtype"])
            if not 0 <= begin <= end or (each and each * math.prod(entry["shape"]) != end - begin):
                raise _damaged(path, f"tensor {name[:80]} has other bytes than its shape needs")
            if end > size - 8 - length:
                raise _damaged(path, f"tensor {name[:80]} claims more bytes than the file has")
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, f"its header does not describe tensor {name[:80]}") from error
    return data


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged: {why}.", hint="Copy it again from where it came.")


def _folder(folder: str | Path, kind: str) -> Path:
    where = Path(folder).expanduser()
    if not where.is_dir():
        raise InputError(
            f"there is no folder {folder}, and agora downloads nothing.",
            hint=f"Get {kind} with another tool (a browser, git with LFS, the hub's own command), and give its folder.",
        )
    return where.resolve()


def _weights(where: Path) -> None:
    """Check the files with weights."""
    if (where / "model.safetensors").is_file():
        header(where / "model.safetensors")
        return
    index = where / "model.safetensors.index.json"
    if not index.is_file():
        raise _no_weights(where, "model.safetensors")
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{index} does not say which tensor is in which file.")
    for name in sorted(set(names.values())):
        if "/" in name or "\\" in name or ":" in name or name in ("", ".", ".."):
            raise InputError(f"{index} names {name[:80]!r}, which lies outside its folder; it is not read.")
        if not name.endswith(".safetensors"):
            raise InputError(f"{index} names {name[:80]!r}, which is not a safetensors file; it is not read.")
        if not (where / name).is_file():
            raise InputError(f"{index} names {name[:80]}, which is missing.", hint="Copy that file too.")
        header(where / name)


def _no_weights(where: Path, wanted: str) -> InputError:
    pickles = sorted(path.name for path in where.iterdir() if path.suffix in PICKLES)
    if pickles:
        return InputError(
            f"{where / pickles[0]} is a pickle, which can run any code; it is not read.",
            hint="Convert it to safetensors where you trust it.",
        )
    return InputError(f"there is no {wanted} in {where}.", hint="Copy the weights there, as safetensors.")


def _keys(data: Any) -> Iterator[str]:
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _stamp(where: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(where.iterdir()):
        if path.is_file() and path.suffix in (".json", ".jinja", ".safetensors", ".model", ".txt"):
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} ".encode())
            small = path.suffix != ".safetensors" and state.st_size < 1_000_000
            digest.update(path.read_bytes() if small else str(state.st_mtime_ns).encode())
    return digest.hexdigest()
