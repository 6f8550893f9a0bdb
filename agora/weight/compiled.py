"""Compiled kernels: from the bytes of models to the bytes of a result, in blocks that stay in a core's first cache.

This module needs numba, and is imported only where a merge is large enough; see `fused`, which decides and calls. Every
operation is the one, in float32 and in the order, that the numpy code of the methods does, and none is contracted or
reordered, so that the bytes are the same. What is out of the ordinary - numbers beyond 2**64, infinite or none, a
result near the end of its type's range - is not dealt with: a kernel then says so, and numpy does that chunk.
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

BLOCK = 1024  # elements
BF16, F16, F32 = 0, 1, 2


def kernel(signature: str) -> Callable[[F], F]:
    """Compile a function for these types now, or load what was compiled before."""
    made: Callable[[F], F] = numba.njit(signature, nogil=True, cache=True, fastmath=False, error_model="numpy")
    return made


@kernel("boolean(uint8[::1], int64, float32[::1])")
def decode(raw: Bytes, kind: int, out: Singles) -> bool:
    """Floats of bytes; whether all are below 2**64 in magnitude."""
    bits = out.view(np.uint32)
    odd = np.uint32(0)
    if kind == BF16:
        words = raw.view(np.uint16)
        for j in range(out.size):
            word = np.uint32(words[j])
            odd |= np.uint32((word & np.uint32(0x7FFF)) >= np.uint32(0x5F80))
            bits[j] = np.uint32(word << np.uint32(16))
    elif kind == F16:
        words = raw.view(np.uint16)
        for j in range(out.size):
            word = np.uint32(words[j])
            odd |= np.uint32((word & np.uint32(0x7C00)) == np.uint32(0x7C00))
            sign = np.uint32((word & np.uint32(0x8000)) << np.uint32(16))
            shifted = np.uint32((word & np.uint32(0x7FFF)) << np.uint32(13))
            bits[j] = np.uint32(shifted + np.uint32(0x38000000))  # the exponent's bias: 127 - 15
            if shifted < np.uint32(0x00800000):  # denormal: 2**-14 + x, less 2**-14
                bits[j] = np.uint32(shifted + np.uint32(0x38800000))
                out[j] = out[j] - np.float32(2.0**-14)
            bits[j] |= sign
    else:
        words32 = raw.view(np.uint32)
        for j in range(out.size):
            word = words32[j]
            odd |= np.uint32((word & np.uint32(0x7FFFFFFF)) >= np.uint32(0x5F800000))
            bits[j] = word
    return odd == np.uint32(0)


@kernel("boolean(float32[::1], int64, uint8[::1])")
def encode(values: Singles, kind: int, out: Bytes) -> bool:
    """Bytes of floats, rounded to nearest, ties to even; whether all are well within the type's range."""
    bits = values.view(np.uint32)
    odd = np.uint32(0)
    if kind == BF16:
        words = out.view(np.uint16)
        for j in range(values.size):
            own = bits[j]
            odd |= np.uint32((own & np.uint32(0x7FFFFFFF)) >= np.uint32(0x7F000000))
            up = np.uint32(np.uint32(own + np.uint32(0x7FFF)) + ((own >> np.uint32(16)) & np.uint32(1)))
            words[j] = np.uint16(up >> np.uint32(16))
    elif kind == F16:
        words = out.view(np.uint16)
        for j in range(values.size):
            own = bits[j]
            size = np.uint32(own & np.uint32(0x7FFFFFFF))
            odd |= np.uint32(size >= np.uint32(0x477FE000))
            up = np.uint32(size + np.uint32(0xC8000FFF) + ((size >> np.uint32(13)) & np.uint32(1)))
            half = np.uint32(up >> np.uint32(13))
            if size < np.uint32(0x38800000):  # denormal: 0.5 + x is a multiple of 2**-24, rounded as is right
                shifted = np.float32(abs(values[j]) + np.float32(0.5))
                half = np.uint32(np.int64(np.float32(shifted - np.float32(0.5)) * np.float32(2.0**24)))
            words[j] = np.uint16(half | ((own >> np.uint32(16)) & np.uint32(0x8000)))
    else:
        words32 = out.view(np.uint32)
        for j in range(values.size):
            own = bits[j]
            odd |= np.uint32((own & np.uint32(0x7FFFFFFF)) >= np.uint32(0x7F800000))
            words32[j] = own
    return odd == np.uint32(0)


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


@kernel("void(float32[::1], int64, int64, int64, int64, boolean)")
def drop(values: Singles, start: int, before: int, threshold: int, none: int, outside: bool) -> None:
    """Times 0 those that are not, or, if not outside, that are, above a threshold, given by its bits; those equal to it
    count as above it where their place is below `before`."""
    bits = values.view(np.int32)
    split = min(max(before - start, 0), values.size)
    for part in range(2):
        bar = np.int32(threshold - 1 + part)
        begin, end = (0, split) if part == 0 else (split, values.size)
        run, own = values[begin:end], bits[begin:end]
        for j in range(run.size):
            above = np.int32(own[j] & np.int32(0x7FFFFFFF)) > bar
            run[j] = run[j] * np.float32(1.0 if above == outside else 0.0)


@kernel("void(float32[::1], uint32, uint32, uint32, uint32, float32)")
def draw(values: Singles, start: int, low: int, high: int, bar: int, scale: float) -> None:
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
    minus, shares = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32)
    sums = minus.view(np.float32)
    for j in range(m):
        sums[j] = np.float32(0)
        total[j] = np.float32(0)
        shares[j] = np.float32(0)
    for i in range(k):
        delta = deltas[i]
        for j in range(m):
            sums[j] = sums[j] + delta[j]
    for j in range(m):
        minus[j] = np.uint32(0x80000000) if sums[j] < np.float32(0) else np.uint32(0)
    for i in range(k):
        bits, share = deltas[i].view(np.uint32), weight[i]
        delta = deltas[i]
        for j in range(m):
            bits[j] = bits[j] ^ minus[j]
        for j in range(m):
            agrees = delta[j] > np.float32(0)
            total[j] = total[j] + (delta[j] if agrees else np.float32(0))
            shares[j] = shares[j] + (share if agrees else np.float32(0))
    if mean:
        for j in range(m):
            total[j] = total[j] / (shares[j] if shares[j] != np.float32(0) else np.float32(1))
    bits = total.view(np.uint32)
    for j in range(m):
        bits[j] = bits[j] ^ minus[j]


@kernel(
    "boolean(uint8[:,::1], int64[::1], int64[::1], int64, int64, float32[::1], int64[:,::1], int64[:,::1], "
    "float32[::1], int64, float32, int64, int64, uint8[::1])"
)
def combined(
    raws: Bytes, kinds: Whole, sizes: Whole, start: int, n: int, weight: Singles, cuts: Whole, streams: Whole,
    scale: Singles, elected: int, factor: float, kind: int, size: int, out: Bytes,
) -> bool:  # fmt: skip
    """The first row, a base, plus a factor times the sum of the others' differences to it: pruned, weighted, perhaps
    with elected signs (1) and as a mean (2).

    Of each model `cuts` holds whether it is cut by size (1), the threshold's bits and the place from which those equal
    to it are dropped, and the same of the largest, which are dropped; `streams` whether it is drawn (1), both halves of
    the key, and the bar.
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
            if cuts[i, 0]:
                drop(delta[:m], start + at, cuts[i, 2], cuts[i, 1], 0, True)
                if cuts[i, 3]:
                    drop(delta[:m], start + at, cuts[i, 5], cuts[i, 4], 0, False)
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
    """How many are above a bracket, at its lower and at its upper end, and inside it; places of the latter if wanted."""
    inside = 0
    found[:] = 0
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
                places[inside] = np.int32(at + j)
                inside += np.int64((own[j] > low) & (own[j] < high))
    found[3] = inside
