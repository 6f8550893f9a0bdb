"""Compiled kernels: from the bytes of models to the bytes of a result, in blocks that stay in a core's first cache.

This module needs numba, and is imported only where a merge is large enough; see `fused`, which decides and calls. Every
operation is the one, in float32 and in the order, that the numpy code of the methods does, and none is contracted or
reordered, so that the bytes are the same. What is out of the ordinary - numbers beyond 2**64, infinite or none, a
result near the end of its type's range - is not dealt with: a kernel then says so, and numpy does that chunk.

Loops are written so that the compiler makes vectors of them: no array is read under one type and written under another,
and the largest is kept rather than whether one was too large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from agora.weight.dtypes import Bytes

F = TypeVar("F", bound=Callable[..., Any])
Singles = NDArray[np.float32]
Whole = NDArray[np.int64]

BLOCK = 2048  # elements
BF16, F16, F32 = 0, 1, 2


def kernel(signature: str) -> Callable[[F], F]:
    """Compile a function for these types now, or load what was compiled before."""
    made: Callable[[F], F] = numba.njit(signature, nogil=True, cache=True, fastmath=False, error_model="numpy")
    return made


@kernel("boolean(uint8[::1], int64, float32[::1])")
def decode(raw: Bytes, kind: int, out: Singles) -> bool:
    """Floats of bytes; whether all are below 2**64 in magnitude."""
    bits, most = out.view(np.uint32), np.uint32(0)
    if kind == BF16:
        words = raw.view(np.uint16)
        for j in range(out.size):
            word = np.uint32(words[j])
            most = max(most, np.uint32(word & np.uint32(0x7FFF)))
            bits[j] = np.uint32(word << np.uint32(16))
        return bool(most < np.uint32(0x5F80))
    if kind == F16:
        words = raw.view(np.uint16)
        for j in range(out.size):
            word = np.uint32(words[j])
            size = np.uint32(word & np.uint32(0x7FFF))
            most = max(most, size)
            if size < np.uint32(0x400):  # denormal: a whole number of 2**-24
                value = np.float32(np.int32(size)) * np.float32(2.0**-24)
                out[j] = -value if word > np.uint32(0x7FFF) else value
            else:
                sign = np.uint32(np.uint32(word & np.uint32(0x8000)) << np.uint32(16))
                bits[j] = np.uint32(np.uint32(np.uint32(size << np.uint32(13)) + np.uint32(0x38000000)) | sign)
        return bool(most < np.uint32(0x7C00))
    wide = raw.view(np.uint32)
    for j in range(out.size):
        most = max(most, np.uint32(wide[j] & np.uint32(0x7FFFFFFF)))
        bits[j] = wide[j]
    return bool(most < np.uint32(0x5F800000))


@kernel("boolean(float32[::1], int64, uint8[::1])")
def encode(values: Singles, kind: int, out: Bytes) -> bool:
    """Bytes of floats, rounded to nearest, ties to even; whether all are well within the type's range."""
    bits, most = values.view(np.uint32), np.uint32(0)
    if kind == BF16:
        words = out.view(np.uint16)
        for j in range(values.size):
            own = bits[j]
            most = max(most, np.uint32(own & np.uint32(0x7FFFFFFF)))
            odd = np.uint32(np.uint32(own >> np.uint32(16)) & np.uint32(1))
            words[j] = np.uint16(np.uint32(np.uint32(own + np.uint32(0x7FFF)) + odd) >> np.uint32(16))
        return bool(most < np.uint32(0x7F000000))
    if kind == F16:
        words = out.view(np.uint16)
        for j in range(values.size):
            own = bits[j]
            size = np.uint32(own & np.uint32(0x7FFFFFFF))
            most = max(most, size)
            odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
            half = np.uint32(np.uint32(np.uint32(size + np.uint32(0xC8000FFF)) + odd) >> np.uint32(13))
            # denormal: of 0.5 + x the last bit is worth 2**-24, so that it is rounded as it is to be
            small = np.float32(np.float32(abs(values[j]) + np.float32(0.5)) - np.float32(0.5)) * np.float32(2.0**24)
            if size < np.uint32(0x38800000):
                half = np.uint32(np.int32(small))
            words[j] = np.uint16(half | np.uint32(np.uint32(own >> np.uint32(16)) & np.uint32(0x8000)))
        return bool(most < np.uint32(0x477FE000))
    wide = out.view(np.uint32)
    for j in range(values.size):
        most = max(most, np.uint32(bits[j] & np.uint32(0x7FFFFFFF)))
        wide[j] = bits[j]
    return bool(most < np.uint32(0x7F800000))


@kernel("boolean(uint8[:,::1], int64[::1], int64[::1], int64, float32[::1], boolean, int64, int64, uint8[::1])")
def weighted(
    raws: Bytes, kinds: Whole, sizes: Whole, n: int, factors: Singles, affine: bool, kind: int, size: int, out: Bytes
) -> bool:
    """The first row's floats, times a factor or, if affine, as they are, plus the others', or their differences to it,
    times theirs."""
    fine = True
    first, total, own = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for at in range(0, n, BLOCK):
        m = min(BLOCK, n - at)
        fine &= decode(raws[0, at * sizes[0] : (at + m) * sizes[0]], kinds[0], first[:m])
        if affine:
            for j in range(m):
                total[j] = first[j]
        else:
            for j in range(m):
                total[j] = first[j] * factors[0]
        for i in range(1, len(kinds)):
            fine &= decode(raws[i, at * sizes[i] : (at + m) * sizes[i]], kinds[i], own[:m])
            factor = factors[i]
            if affine:
                for j in range(m):
                    total[j] = total[j] + (own[j] - first[j]) * factor
            else:
                for j in range(m):
                    total[j] = total[j] + own[j] * factor
        fine &= encode(total[:m], kind, out[at * size : (at + m) * size])
    return fine


@kernel("void(float32[::1], int64, float32, float32)")
def keep(values: Singles, split: int, first: float, then: float) -> None:
    """Times 0 those whose magnitude is not above a bar: the first up to a place, another from there on."""
    split = min(max(split, 0), values.size)
    one, two = values[:split], values[split:]
    for j in range(one.size):
        one[j] = one[j] * (np.float32(1) if abs(one[j]) > first else np.float32(0))
    for j in range(two.size):
        two[j] = two[j] * (np.float32(1) if abs(two[j]) > then else np.float32(0))


@kernel("void(float32[::1], int64, float32, float32)")
def leave(values: Singles, split: int, first: float, then: float) -> None:
    """Times 0 those whose magnitude is above a bar."""
    split = min(max(split, 0), values.size)
    one, two = values[:split], values[split:]
    for j in range(one.size):
        one[j] = one[j] * (np.float32(0) if abs(one[j]) > first else np.float32(1))
    for j in range(two.size):
        two[j] = two[j] * (np.float32(0) if abs(two[j]) > then else np.float32(1))


@kernel("void(float32[::1], uint32, uint32, uint32, uint32, float32)")
def draw(values: Singles, start: np.uint32, low: np.uint32, high: np.uint32, bar: np.uint32, scale: float) -> None:
    """Times 0 those whose draw, see `masks`, is not below a bar, and all times a scale."""
    for j in range(values.size):
        z = np.uint32(np.uint32(np.uint32(j) + start) ^ low)
        z = np.uint32(z ^ (z >> np.uint32(17)))
        z = np.uint32(np.uint32(z * np.uint32(0xED5AD4BB)) + high)
        z = np.uint32(z ^ (z >> np.uint32(11)))
        z = np.uint32(np.uint32(z * np.uint32(0xAC4C1B51)) + low)
        z = np.uint32(z ^ (z >> np.uint32(15)))
        z = np.uint32(np.uint32(z * np.uint32(0x31848BAB)) + high)
        z = np.uint32(z ^ (z >> np.uint32(14)))
        values[j] = np.float32(values[j] * np.float32(1.0 if z < bar else 0.0)) * scale


@kernel("void(float32[:,::1], int64, int64, float32[::1], boolean, float32[::1])")
def elect(deltas: Singles, k: int, m: int, weight: Singles, mean: bool, total: Singles) -> None:
    """The sum, or the mean, of those that have the sign of the sum of all, + where that is 0."""
    signs, shares = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for j in range(m):
        total[j] = np.float32(0)
        shares[j] = np.float32(0)
    for i in range(k):
        delta = deltas[i]
        for j in range(m):
            total[j] = total[j] + delta[j]
    for j in range(m):
        signs[j] = np.float32(-1) if total[j] < np.float32(0) else np.float32(1)
        total[j] = np.float32(0)
    for i in range(k):
        delta, share = deltas[i], weight[i]
        for j in range(m):
            own = delta[j] * signs[j]
            total[j] = total[j] + (own if own > np.float32(0) else np.float32(0))
            shares[j] = shares[j] + (share if own > np.float32(0) else np.float32(0))
    if mean:
        for j in range(m):
            total[j] = total[j] / (shares[j] if shares[j] != np.float32(0) else np.float32(1))
    for j in range(m):
        total[j] = total[j] * signs[j]


@kernel(
    "boolean(uint8[:,::1], int64[::1], int64[::1], int64, int64, float32[::1], float32[:,::1], int64[:,::1], "
    "int64[:,::1], float32[::1], int64, float32, int64, int64, uint8[::1])"
)
def combined(
    raws: Bytes, kinds: Whole, sizes: Whole, start: int, n: int, weight: Singles, bars: Singles, splits: Whole,
    streams: Whole, scale: Singles, elected: int, factor: float, kind: int, size: int, out: Bytes,
) -> bool:  # fmt: skip
    """The first row, a base, plus a factor times the sum of the others' differences to it: pruned, weighted, perhaps
    with elected signs (1) and as a mean (2).

    Of each model `bars` holds two magnitudes, up to a place and from there on, above which differences are kept, and
    two above which the largest are dropped again; `splits` whether there are the former (1), the latter (1), and both
    places; `streams` whether it is drawn (1), both halves of the key, and the bar.
    """
    fine, k = True, len(weight)
    deltas = np.empty((k, BLOCK), np.float32)
    base, total = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for at in range(0, n, BLOCK):
        m = min(BLOCK, n - at)
        fine &= decode(raws[0, at * sizes[0] : (at + m) * sizes[0]], kinds[0], base[:m])
        for j in range(m):
            total[j] = np.float32(0)
        for i in range(k):
            delta = deltas[i]
            fine &= decode(raws[i + 1, at * sizes[i + 1] : (at + m) * sizes[i + 1]], kinds[i + 1], delta[:m])
            for j in range(m):
                delta[j] = delta[j] - base[j]
            if splits[i, 0]:
                keep(delta[:m], splits[i, 2] - start - at, bars[i, 0], bars[i, 1])
            if splits[i, 1]:
                leave(delta[:m], splits[i, 3] - start - at, bars[i, 2], bars[i, 3])
            if streams[i, 0]:
                draw(
                    delta[:m], np.uint32(start + at), np.uint32(streams[i, 1]), np.uint32(streams[i, 2]),
                    np.uint32(streams[i, 3]), scale[i],
                )  # fmt: skip
            share = weight[i]
            if share != np.float32(1):
                for j in range(m):
                    delta[j] = delta[j] * share
            if not elected:
                for j in range(m):
                    total[j] = total[j] + delta[j]
        if elected:
            elect(deltas, k, m, weight, elected == 2, total)
        if factor != np.float32(1):
            for j in range(m):
                total[j] = total[j] * factor
        for j in range(m):
            total[j] = total[j] + base[j]
        fine &= encode(total[:m], kind, out[at * size : (at + m) * size])
    return fine


@kernel("boolean(uint8[:,::1], int64[::1], int64[::1], int64, float32[:,::1])")
def magnitudes(raws: Bytes, kinds: Whole, sizes: Whole, n: int, out: Singles) -> bool:
    """Magnitudes of the differences of all rows to the first, a base."""
    fine = True
    base = np.empty(BLOCK, np.float32)
    for at in range(0, n, BLOCK):
        m = min(BLOCK, n - at)
        fine &= decode(raws[0, at * sizes[0] : (at + m) * sizes[0]], kinds[0], base[:m])
        for i in range(len(out)):
            own = out[i, at : at + m]
            fine &= decode(raws[i + 1, at * sizes[i + 1] : (at + m) * sizes[i + 1]], kinds[i + 1], own)
            for j in range(m):
                own[j] = abs(own[j] - base[j])
    return fine


@kernel("void(float32[::1], float32, float32, boolean, int32[::1], int64[::1])")
def count(values: Singles, low: float, high: float, hold: bool, places: NDArray[np.int32], found: Whole) -> None:
    """How many are above a bracket, at its lower end, at its upper, and inside it; places of the latter if wanted."""
    inside = 0
    found[:] = 0
    flags = np.empty(BLOCK, np.uint8)
    eights = flags.view(np.uint64)
    for at in range(0, values.size, BLOCK):
        own = values[at : at + BLOCK]
        above, lower, upper = np.uint32(0), np.uint32(0), np.uint32(0)
        for j in range(own.size):
            above = np.uint32(above + np.uint32(own[j] > high))
            lower = np.uint32(lower + np.uint32(own[j] == low))
            upper = np.uint32(upper + np.uint32(own[j] == high))
        found[0] += above
        found[1] += lower
        found[2] += upper
        if hold:
            for j in range(own.size):
                flags[j] = np.uint8((own[j] > low) & (own[j] < high))
            for j in range(own.size, BLOCK):
                flags[j] = np.uint8(0)
            for eight in range(BLOCK // 8):
                if eights[eight]:
                    for j in range(8 * eight, 8 * eight + 8):
                        if flags[j]:
                            places[inside] = np.int32(at + j)
                            inside += 1
    found[3] = inside
