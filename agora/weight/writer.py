"""Writing a checkpoint: headers first, tensors at their places in any order, under its name only once it is whole."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Literal, overload

from agora.errors import InputError
from agora.weight.dtypes import SIZES, Bytes

SHARD = 5_000_000_000  # bytes
_LEFT = re.compile(r"(\d+)(?:\.[0-9a-f]{8})?\.(?:part|old)")  # what a merge into a folder has beside it
ROOM = 16_000_000  # bytes left over for the small files


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor that will be written.

    Attributes:
        name: of the tensor.
        dtype: as safetensors names it.
        shape: of the tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        return prod(self.shape) * SIZES[self.dtype]


class Writer:
    """A checkpoint in the making, in a folder of another name beside the one it is to have.

    Use it as a context: what fails inside leaves nothing behind; `finish` gives it its name.

    Args:
        out: the folder it is to be.
        tensors: all of them, in the order in which they will lie on disk.
        overwrite: what lies at `out` is replaced, in the end and at once.
        shard: bytes of a file from which on another is begun.
        single: the name of the file, where there is but one.

    Raises:
        InputError: if `out` is there, cannot be written, or there is too little room on the disk.
    """

    def __init__(
        self,
        out: Path,
        tensors: Sequence[Output],
        *,
        overwrite: bool = False,
        shard: int = SHARD,
        single: str = "model.safetensors",
    ) -> None:
        self.out, self.overwrite = out, overwrite
        self.total = sum(tensor.bytes for tensor in tensors)
        self._lock = -1
        self.folder = out.parent / f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
        try:
            if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
                raise InputError(f"{out} is there already.", hint="Give another folder, or overwrite it on purpose.")
            if out.is_symlink() or (out.exists() and not out.is_dir()):
                raise InputError(f"{out} is no folder.", hint="Give another.")
            out.parent.mkdir(parents=True, exist_ok=True)
            _sweep(out)
            free = shutil.disk_usage(out.parent).free
            if free < self.total + ROOM:
                raise InputError(f"{out} takes {_gb(self.total)}, but the disk has only {_gb(free)} left.",
                                 hint="Make room, or write elsewhere.")  # fmt: skip
            self._lock = _made(self.folder)
        except OSError as error:
            raise _unwritable(out, error) from error
        self._places: dict[str, tuple[int, int]] = {}
        self._files: dict[Path, int] = {}
        try:
            self._lay_out(tensors, shard, single)
        except BaseException:
            self.abandon()
            raise

    def _lay_out(self, tensors: Sequence[Output], shard: int, single: str) -> None:
        groups: list[list[Output]] = [[]]
        for tensor in tensors:
            if groups[-1] and sum(t.bytes for t in groups[-1]) + tensor.bytes > shard:
                groups.append([])
            groups[-1].append(tensor)
        stem = single.removesuffix(".safetensors")
        weight_map: dict[str, str] = {}
        for number, group in enumerate(groups, 1):
            name = single if len(groups) == 1 else f"{stem}-{number:05}-of-{len(groups):05}.safetensors"
            self._begin(self.folder / name, group)
            weight_map |= {tensor.name: name for tensor in group}
        if len(groups) > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": weight_map}
            self.text(f"{single}.index.json", json.dumps(index, indent=1))

    def _begin(self, path: Path, group: Sequence[Output]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        place = 0
        for tensor in group:
            header[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": tensor.shape,
                "data_offsets": [place, place + tensor.bytes],
            }
            place += tensor.bytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        start = 8 + len(text)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)
            self._files[path] = file
            if place:
                _reserve(file, start + place)
            _put(file, memoryview(len(text).to_bytes(8, "little") + text), 0)
        except OSError as error:
            raise _unwritable(self.out, error) from error
        for tensor in group:
            self._places[tensor.name] = (file, start)
            start += tensor.bytes

    def write(self, name: str, offset: int, data: Bytes) -> None:
        """Put bytes of a tensor at their place; several threads may do so at once.

        Args:
            name: of the tensor.
            offset: of the first byte within the tensor.
            data: the bytes.

        Raises:
            InputError: if they cannot be written.
        """
        file, start = self._places[name]
        try:
            _put(file, data.data, start + offset)
        except OSError as error:
            raise _unwritable(self.out, error) from error

    def text(self, name: str, content: str | bytes) -> None:
        """Write a small file beside the tensors, in place of an earlier one of the name."""
        raw = content.encode() if isinstance(content, str) else content
        try:
            with (self.folder / name).open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.out, error) from error

    def finish(self) -> Path:
        """Bring everything to the disk and give the folder its name.

        Raises:
            InputError: if that fails; then nothing is left.
        """
        try:
            for file in self._files.values():
                os.fsync(file)
            self._close()
            _sync(self.folder)
            there = self.out.is_dir() and any(self.out.iterdir())
            if there and not self.overwrite:
                raise InputError(f"{self.out} has come to be while it was merged.", hint="Give another folder.")
            if not there:
                self.folder.rename(self.out)
            elif not _exchanged(self.folder, self.out):
                self._replace()
            _sync(self.out.parent)
            self.abandon()  # what was there before, which has this name now
        except OSError as error:
            self.abandon()
            raise _unwritable(self.out, error) from error
        return self.out

    def _replace(self) -> None:
        """Take the place of what is there where the system cannot exchange two folders at once; killed in between,
        what was there has another name, and the next merge gives it back its own."""
        old = self.folder.with_suffix(".old")
        self.out.rename(old)
        try:
            self.folder.rename(self.out)
        except BaseException:
            old.rename(self.out)
            raise
        old.rename(self.folder)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._files or kind is not None:
            self.abandon()


def _put(file: int, view: memoryview, place: int) -> None:
    while view:
        done = os.pwrite(file, view, place)
        view, place = view[done:], place + done


def _reserve(file: int, size: int) -> None:
    """Take the room on the disk now, so that it cannot run out in the middle."""
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # macOS
        os.truncate(file, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.truncate(file, size)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(out: Path) -> None:
    """Remove what merges into this folder that were killed have left beside it; what one had put aside to replace it
    gets its name back."""
    for path in sorted(out.parent.glob(f".{_escaped(out.name)}.*")):
        found = _LEFT.fullmatch(path.name.removeprefix(f".{out.name}."))
        if found is None or not path.is_dir() or path.is_symlink():
            continue
        try:
            lock = _held(path, wait=False, pid=int(found[1]))
        except FileNotFoundError:  # somebody else has swept it
            continue
        if lock is None:
            continue
        try:
            if path.suffix == ".old" and not out.exists():
                path.rename(out)
            else:
                shutil.rmtree(path, ignore_errors=True)
        finally:
            if lock >= 0:
                os.close(lock)


def _made(folder: Path) -> int:
    """Make a folder, and hold it. Before it is held another merge may take it for what a killed one has left, and
    remove it: then it is made again."""
    while True:
        folder.mkdir()
        with suppress(FileNotFoundError):
            lock = _held(folder)
            if lock < 0 or (folder.exists() and os.path.samestat(os.fstat(lock), folder.stat())):
                return lock
            os.close(lock)


@overload
def _held(folder: Path) -> int: ...
@overload
def _held(folder: Path, *, wait: Literal[False], pid: int) -> int | None: ...
def _held(folder: Path, *, wait: bool = True, pid: int = 0) -> int | None:
    """A lock on a folder, which ends with whoever holds it, however that ends: process ids are given again, and mean
    other processes in another container. None if somebody else has it; -1 where there are no locks."""
    try:
        import fcntl
    except ImportError:  # not on this system: what is left is the process id
        return None if not wait and _alive(pid) else -1
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks
        os.close(handle)
        return None if not wait and _alive(pid) else -1
    return handle


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _unwritable(out: Path, error: OSError) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(f"{out} cannot be written: there is not enough room on the disk.", hint="Make room.")
    return InputError(f"{out} cannot be written: {(error.strerror or str(error)).lower()}.")


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{int(size):,} bytes"


def copied(sources: Mapping[str, Path]) -> dict[str, bytes]:
    """The contents of small files, by the names they are to have.

    Raises:
        InputError: if one cannot be read.
    """
    found = {}
    for name, path in sources.items():
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    return found
