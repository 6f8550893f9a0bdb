"""Writing a checkpoint: headers first, tensors at their places in any order, under its name only once it is whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType

from agora.errors import InputError
from agora.weight.dtypes import SIZES, Bytes

SHARD = 5_000_000_000  # bytes
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
        if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
            raise InputError(f"{out} is there already.", hint="Give another folder, or overwrite it on purpose.")
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise InputError(f"{out} is no folder.", hint="Give another.")
        self.folder = out.parent / f".{out.name}.{os.getpid()}.part"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _sweep(out)
            free = shutil.disk_usage(out.parent).free
            if free < self.total + ROOM:
                raise InputError(f"{out} takes {_gb(self.total)}, but the disk has only {_gb(free)} left.",
                                 hint="Make room, or write elsewhere.")  # fmt: skip
            self.folder.mkdir()
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
            old = self.out.parent / f".{self.out.name}.{os.getpid()}.old"
            if self.out.exists():
                if not self.overwrite and any(self.out.iterdir()):
                    self.abandon()
                    raise InputError(f"{self.out} has come to be while it was merged.", hint="Give another folder.")
                self.out.rename(old)
            try:
                self.folder.rename(self.out)
            except OSError:
                if old.exists():
                    old.rename(self.out)
                raise
            _sync(self.out.parent)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            self.abandon()
            raise _unwritable(self.out, error) from error
        return self.out

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._files:
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
    """Remove what merges into this folder that were killed have left beside it."""
    for path in out.parent.glob(f".{_escaped(out.name)}.*.part"):
        pid = path.name.removesuffix(".part").rpartition(".")[2]
        if pid.isdigit() and path.is_dir() and not path.is_symlink() and not _alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


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
