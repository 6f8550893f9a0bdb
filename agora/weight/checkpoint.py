"""Checkpoints on disk: an index over safetensors in one file or many, which reads a tensor only when asked."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from agora.errors import InputError
from agora.weight.dtypes import FLOATS, SIZES, Bytes, Floats, decode
from agora.weight.header import Entry, loads, read_header

MAX_JSON = 200_000_000  # bytes of an index, a configuration or a tokenizer
LAYER = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)\.")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Checkpoint:
    """The tensors of a model's folder, by name; nothing is read before it is asked for.

    Args:
        folder: holds `model.safetensors`, or shards with `model.safetensors.index.json`; or one safetensors file.

    Raises:
        InputError: if there is none, a header is not to be believed, or a shard lies outside the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files: dict[str, Path] = {}
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._print: bytes | None = None
        self.entries: dict[str, Entry] = {}
        self.metadata: dict[str, str] = {}
        if not self.folder.exists():
            raise InputError(f"there is no checkpoint {self.folder}.", hint="Give a folder with safetensors.")
        index = self.folder / "model.safetensors.index.json"
        if self.folder.is_file():
            self._take(self.folder)
            self.folder = self.folder.parent
        elif not self.folder.is_dir():
            raise InputError(f"{self.folder} is neither a folder nor a file.", hint="Give a folder with safetensors.")
        elif index.exists():
            self._shards(index)
        else:
            self._take(self._single())

    def _single(self) -> Path:
        for name in ("model.safetensors", "adapter_model.safetensors"):
            if (self.folder / name).exists():
                return self.inside(name)
        found = sorted(path.name for path in self.folder.glob("*.safetensors"))
        if len(found) == 1:
            return self.inside(found[0])
        if found:
            raise InputError(f"{self.folder} holds {len(found)} safetensors files and no index.",
                             hint="Add model.safetensors.index.json.")  # fmt: skip
        if any(path.suffix in _PICKLES for path in self.folder.iterdir()):
            raise InputError(f"{self.folder} holds only pickles, which can run code when read; they are refused.",
                             hint="Save it as safetensors: `model.save_pretrained(folder)`.")  # fmt: skip
        raise InputError(f"{self.folder} holds no safetensors file.")

    def _take(self, path: Path, names: set[str] | None = None) -> None:
        if path.suffix in _PICKLES:
            raise InputError(f"{path} is a pickle, which can run code when read; it is refused.")
        entries, metadata = read_header(path)
        for name in sorted(names - set(entries)) if names is not None else ():
            raise InputError(f"{path}: tensor '{name[:80]}' is missing, though the index says it is there.")
        for name, entry in entries.items():
            if names is None or name in names:
                self.entries[name], self._files[name] = entry, path
        self.metadata |= metadata

    def _shards(self, index: Path) -> None:
        shards = self.json(index.name).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InputError(f"{index}: has no weight_map.")
        files: dict[str, set[str]] = {}
        for name, file in shards.items():
            if not isinstance(file, str):
                raise InputError(f"{index}: tensor '{name[:80]}' is in no file.")
            files.setdefault(file, set()).add(name)
        for file in sorted(files):
            self._take(self.inside(file), files[file])

    def inside(self, name: str) -> Path:
        """The path of a file of this folder.

        Raises:
            InputError: if it is missing, or its name or a link leads out of the folder.
        """
        path = self.folder / name
        real, home = path.resolve(), self.folder.resolve()
        allowed = [home]
        if home.parent.name == "snapshots":  # the cache of Hugging Face: files there are links to its blobs
            allowed.append(home.parent.parent / "blobs")
        if Path(name).name != name or not any(real.is_relative_to(place) for place in allowed):
            raise InputError(f"{self.folder}: '{name[:80]}' leads out of the folder; it is refused.")
        if not path.is_file():
            raise InputError(f"{self.folder}: there is no file '{name[:80]}'.")
        return path

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder, such as `config.json`; empty where there is none.

        Raises:
            InputError: if it cannot be read or is no mapping.
        """
        if not (self.folder / name).exists():
            return {}
        path = self.inside(name)
        try:
            if path.stat().st_size > MAX_JSON:
                raise InputError(f"{path} is larger than {MAX_JSON:,} bytes.")
            data = loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: this is not JSON: {str(error)[:120]}.") from error
        if not isinstance(data, dict):
            raise InputError(f"{path}: this is no mapping.")
        return data

    def __iter__(self) -> Iterator[str]:
        """Names in the order in which they lie on disk."""
        return iter(sorted(self.entries, key=lambda name: (self._files[name].name, self.entries[name].begin)))

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.end - entry.begin for entry in self.entries.values())

    @property
    def layers(self) -> int:
        """Number of layers, by the names of the tensors."""
        return 1 + max((int(found[1]) for name in self.entries if (found := LAYER.search(name))), default=-1)

    def read(self, name: str, start: int, buffer: Bytes) -> None:
        """Fill a buffer with the bytes of a tensor from element `start` on.

        Raises:
            InputError: if the file has become shorter or cannot be read.
        """
        entry = self.entries[name]
        place, view = entry.begin + start * SIZES[entry.dtype], buffer.data
        if place + len(view) > entry.end:
            raise ValueError("more than the tensor holds")
        try:
            file = self._descriptor(self._files[name])
            while view:
                got = os.preadv(file, [view], place)
                if not got:
                    raise InputError(f"{self._files[name]}: has been cut short while it was read.")
                view, place = view[got:], place + got
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise InputError(f"{self._files[name]} cannot be read: {why}.") from error

    def tensor(self, name: str) -> Floats:
        """A whole tensor as float32, or float64 where it is.

        Raises:
            InputError: if there is none of the name, it holds no floats, or it cannot be read.
        """
        if name not in self.entries:
            raise InputError(f"{self.folder}: there is no tensor '{name[:80]}'.")
        entry = self.entries[name]
        if entry.dtype not in FLOATS:
            raise InputError(f"{self.folder}: tensor '{name[:80]}' holds {entry.dtype}, no floats.")
        raw = np.empty(entry.end - entry.begin, np.uint8)
        self.read(name, 0, raw)
        out = np.empty(entry.size, np.float64 if entry.dtype == "F64" else np.float32)
        decode(raw, entry.dtype, out)
        return out.reshape(entry.shape)

    def fingerprint(self) -> bytes:
        """What this checkpoint is known by, wherever it lies and however it is cut into files: names, shapes, types
        and some bytes of every tensor. Random masks are keyed by it, and sums are taken in its order."""
        if self._print is None:
            made = hashlib.sha256()
            for name in sorted(self.entries):
                entry = self.entries[name]
                made.update(f"{name}\0{entry.dtype}\0{entry.shape}\0".encode())
                size = SIZES[entry.dtype]
                count = min(256, entry.size)
                for start in (0, (entry.size - count) // 2):
                    raw = np.empty(count * size, np.uint8)
                    self.read(name, start, raw)
                    made.update(raw.tobytes())
            self._print = made.digest()
        return self._print

    def _descriptor(self, path: Path) -> int:
        with self._lock:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            return self._open[path]

    def close(self) -> None:
        """Close its files."""
        with self._lock:
            for file in self._open.values():
                os.close(file)
            self._open.clear()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
