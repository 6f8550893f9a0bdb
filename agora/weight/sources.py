"""Where a method's tensors come from: a file, memory, a base with an adapter on it, rows in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.checkpoint import Checkpoint
from agora.weight.dtypes import FLOATS, SIZES, Bytes, Floats, decode

BLOCK = 1 << 16  # elements: statistics are summed in blocks of this grid, whatever the chunks are
HELD = 64  # blocks that are kept at most


class Scratch:
    """Buffers of one thread, made once and used again."""

    def __init__(self) -> None:
        self._held: dict[Any, NDArray[Any]] = {}
        self._ramp = np.arange(0, dtype=np.uint32)
        self.blocks: dict[int, tuple[int, Floats]] = {}  # what `BlockSource`s have made last; see there

    def take(self, key: Any, size: int, dtype: Any = np.float32) -> NDArray[Any]:
        """A buffer of `size` elements; its content is whatever was there."""
        place = (key, np.dtype(dtype))
        held = self._held.get(place)
        if held is None or held.size < size:
            held = self._held[place] = np.empty(size, dtype)
        return held[:size]

    def ramp(self, size: int) -> NDArray[np.uint32]:
        """0, 1, 2, ...; not to be changed."""
        if len(self._ramp) < size:
            self._ramp = np.arange(size, dtype=np.uint32)
        return self._ramp[:size]


class Source(Protocol):
    """A tensor that can be read in pieces.

    Attributes:
        dtype: as safetensors names it.
        shape: of the tensor.
        label: whose it is, for errors.
        key: 32 bytes that its model is known by, wherever it lies.
    """

    dtype: str
    shape: tuple[int, ...]
    label: str
    key: bytes

    def read(self, start: int, out: Floats, scratch: Scratch) -> None:
        """Fill `out`, float32 or float64, with the elements from `start` on."""
        ...

    def raw(self, start: int, out: Bytes) -> None:
        """Fill `out` with the bytes of the elements from `start` on."""
        ...


class FileSource:
    """A tensor of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, name: str, label: str = "") -> None:
        entry = checkpoint.entries[name]
        self.checkpoint, self.name = checkpoint, name
        self.dtype, self.shape = entry.dtype, entry.shape
        self.label = label or str(checkpoint.folder)
        self.key = checkpoint.fingerprint()

    def read(self, start: int, out: Floats, scratch: Scratch) -> None:
        """Fill `out` with floats; see `Source`."""
        raw = scratch.take("raw", out.size * SIZES[self.dtype], np.uint8)
        self.checkpoint.read(self.name, start, raw)
        decode(raw, self.dtype, out)

    def raw(self, start: int, out: Bytes) -> None:
        """Fill `out` with bytes; see `Source`."""
        self.checkpoint.read(self.name, start, out)


class ArraySource:
    """A tensor in memory."""

    def __init__(self, array: NDArray[Any], label: str = "array") -> None:
        kind = np.asarray(array)
        self.array = kind if kind.dtype in (np.float32, np.float64) else kind.astype(np.float32)
        self.dtype = "F64" if self.array.dtype == np.float64 else "F32"
        self.shape: tuple[int, ...] = kind.shape
        self.label = label
        self._flat = np.ascontiguousarray(self.array).reshape(-1)
        self.key = hashlib.sha256(self._flat.tobytes()).digest()

    def read(self, start: int, out: Floats, scratch: Scratch) -> None:
        """Fill `out` with floats; see `Source`."""
        out[:] = self._flat[start : start + out.size]

    def raw(self, start: int, out: Bytes) -> None:
        """Fill `out` with bytes; see `Source`."""
        size = SIZES[self.dtype]
        out[:] = self._flat[start : start + out.size // size].view(np.uint8)


class BlockSource:
    """A tensor that is made block by block: `make(first, count)` gives rows, always of the same grid."""

    def __init__(
        self, shape: tuple[int, ...], make: Callable[[int, int], Floats], label: str, key: bytes, dtype: str = "F32"
    ) -> None:
        self.shape, self.label, self.key, self.dtype = shape, label, key, dtype
        self._make = make
        self._columns = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        self._rows = max(1, (1 << 18) // max(1, self._columns))

    def read(self, start: int, out: Floats, scratch: Scratch) -> None:
        """Fill `out` with floats; see `Source`."""
        size, done = self._rows * self._columns, 0
        while done < out.size:
            block, offset = divmod(start + done, size)
            held = scratch.blocks.get(id(self))
            if held is None or held[0] != block:
                first = block * self._rows
                made = self._make(first, min(self._rows, self.shape[0] - first))
                while len(scratch.blocks) >= HELD:  # a pass over all tensors would hold a block of each
                    del scratch.blocks[next(iter(scratch.blocks))]
                held = scratch.blocks[id(self)] = block, np.ascontiguousarray(made).reshape(-1)
            piece = held[1][offset : offset + out.size - done]
            out[done : done + piece.size] = piece
            done += piece.size

    def raw(self, start: int, out: Bytes) -> None:
        """It has no bytes of its own: it is float32."""
        values = np.empty(out.size // 4, np.float32)
        self.read(start, values, Scratch())
        out[:] = values.view(np.uint8)


def checked(source: Source) -> Source:
    """The source, if it holds floats.

    Raises:
        InputError: if not.
    """
    if source.dtype not in FLOATS:
        raise InputError(f"{source.label} holds {source.dtype}, no floats.")
    return source
