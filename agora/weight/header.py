"""Headers of safetensors files, read once and believed in nothing: sizes, offsets, overlaps, duplicate keys."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight.dtypes import SIZES

MAX_HEADER = 100_000_000  # bytes; as the format's own library has it
MAX_RANK = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies in a file.

    Attributes:
        dtype: as the format names it: 'BF16'.
        shape: of the tensor.
        begin: its first byte, from the start of the file.
        end: the byte after its last.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a safetensors file, by name, and its metadata.

    Raises:
        InputError: if it cannot be read, or its header is not to be believed.
    """
    try:
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            size = int.from_bytes(file.read(8), "little")
            if total < 8 or size > total - 8:
                raise InputError(f"{path}: its header is cut short.", hint="Download or save it again.")
            if size > MAX_HEADER:
                raise InputError(f"{path}: its header claims {size:,} bytes; at most {MAX_HEADER:,} are read.")
            text = file.read(size)
        header = loads(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its header cannot be read: {_short(error)}.") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: its header is no mapping.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: its metadata is no mapping.")
    entries = {name: _entry(path, name, value, 8 + size) for name, value in header.items()}
    _fits(path, entries, 8 + size, total)
    return entries, {str(key): str(value) for key, value in metadata.items()}


def loads(text: str | bytes) -> Any:
    """JSON in which no key stands twice.

    Raises:
        ValueError: if it is no JSON, or a key stands twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"'{twice[:80]}' stands twice")
        return made

    return json.loads(text, object_pairs_hook=once)


def _entry(path: Path, name: str, value: Any, start: int) -> Entry:
    where = f"{path}: tensor '{name[:80]}'"
    if not isinstance(value, Mapping) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{where} needs dtype, shape and data_offsets, and nothing else.")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in SIZES:
        raise InputError(f"{where} has dtype '{str(dtype)[:20]}', which agora cannot read.")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_whole(size) for size in shape):
        raise InputError(f"{where} has a shape that is none.")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_whole(place) for place in offsets):
        raise InputError(f"{where} has offsets that are none.")
    begin, end = offsets
    if end - begin != math.prod(shape) * SIZES[dtype]:
        raise InputError(f"{where} claims {end - begin:,} bytes, but its shape takes another number.")
    return Entry(dtype, tuple(shape), start + begin, start + end)


def _fits(path: Path, entries: Mapping[str, Entry], start: int, total: int) -> None:
    place = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.end > total:
            raise InputError(f"{path}: tensor '{name[:80]}' is cut short.", hint="Download or save it again.")
        if entry.begin != place:
            kind = "overlaps another" if entry.begin < place else "leaves a hole before it"
            raise InputError(f"{path}: tensor '{name[:80]}' {kind}.")
        place = entry.end
    if place != total:
        raise InputError(f"{path}: {total - place:,} bytes after the last tensor belong to none.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
