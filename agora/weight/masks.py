"""Random masks from a counter: the draw of an element depends on seed, tensor, model and place, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from agora.weight.sources import Scratch

Draws = NDArray[np.uint32]


def key_of(seed: int, tensor: str, model: bytes) -> int:
    """The 64-bit key of a stream of draws.

    Args:
        seed: of the recipe.
        tensor: name in the output.
        model: what its model is known by; see `Checkpoint.fingerprint`.
    """
    made = hashlib.sha256(f"{seed}\0{tensor}\0".encode() + model)
    return int.from_bytes(made.digest()[:8], "little")


def draws(key: int, start: int, out: Draws, scratch: Scratch) -> None:
    """Fill `out` with the draws of the elements from `start` on, uniform over 32 bits.

    The element's index is hashed with both halves of the key by a bijection of 32-bit words made of three rounds of
    multiplication and shifted exclusive or (the constants are of C. Wellons' `triple32`, whose bias is about 2e-5 of a
    bit); streams beyond 2**32 elements go on under another key.

    Args:
        key: of the stream.
        start: index of the first element.
        out: as many as are wanted.
        scratch: of this thread.
    """
    done = 0
    while done < len(out):
        high, low = divmod(start + done, 1 << 32)
        count = min(len(out) - done, (1 << 32) - low)
        _hash((key + high * 0x9E3779B97F4A7C15) % 2**64, low, out[done : done + count], scratch)
        done += count


def _hash(key: int, start: int, z: Draws, scratch: Scratch) -> None:
    first, second = key & 0xFFFFFFFF, key >> 32
    ramp = scratch.ramp(len(z))
    t = scratch.take("hash", len(z), np.uint32)
    np.add(ramp, start & 0xFFFFFFFF, out=z)
    np.bitwise_xor(z, first, out=z)
    for shift, factor, extra in ((17, 0xED5AD4BB, second), (11, 0xAC4C1B51, first), (15, 0x31848BAB, second)):
        np.right_shift(z, shift, out=t)
        np.bitwise_xor(z, t, out=z)
        np.multiply(z, factor, out=z)
        np.add(z, extra, out=z)
    np.right_shift(z, 14, out=t)
    np.bitwise_xor(z, t, out=z)


def bar(probability: float) -> int:
    """What a draw must be below to have this probability, 0 to 1, to 32 bits."""
    return round(probability * 2**32)


def kept(key: int, start: int, probability: float, out: NDArray[np.bool_], scratch: Scratch) -> None:
    """Fill `out` with whether each element from `start` on is kept.

    Args:
        key: of the stream.
        start: index of the first element.
        probability: of being kept, 0 to 1, to 32 bits.
        out: as many as are wanted.
        scratch: of this thread.
    """
    below = bar(probability)
    if below >= 2**32:
        out[:] = True
        return
    drawn = scratch.take("draws", len(out), np.uint32)
    draws(key, start, drawn, scratch)
    np.less(drawn, below, out=out)
