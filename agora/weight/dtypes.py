"""Element types of safetensors: bytes to floats and back, rounded once, to the nearest, ties to even."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError

Floats = NDArray[Any]  # float32, or float64 where a parent is
Bytes = NDArray[np.uint8]

SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8,
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")
NAMES = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "bf16": "BF16", "fp16": "F16", "fp32": "F32",
}  # fmt: skip
TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def dtype_of(name: str) -> str:
    """The safetensors name of an element type as recipes write it: 'bfloat16', 'torch.float32'.

    Raises:
        InputError: if there is no such floating-point type.
    """
    key = name.strip().removeprefix("torch.").lower()
    if key not in NAMES:
        raise InputError(f"there is no dtype '{name[:40]}'; there are float64, float32, float16 and bfloat16.")
    return NAMES[key]


def decode(raw: Bytes, dtype: str, out: Floats) -> None:
    """Write the floats that bytes hold into `out`, float32 or float64, exactly.

    Args:
        raw: their bytes, little-endian.
        dtype: one of `FLOATS`; F64 needs a float64 `out`.
        out: as many elements.
    """
    if dtype == "BF16":
        if out.dtype == np.float32:
            bits = out.view(np.uint32)
            bits[:] = raw.view("<u2")
            np.left_shift(bits, 16, out=bits)
        else:
            out[:] = np.left_shift(raw.view("<u2"), 16, dtype=np.uint32).view(np.float32)
    else:
        out[:] = raw.view({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])


def encode(values: Floats, dtype: str, out: Bytes, bits: NDArray[np.uint32]) -> bool:
    """Round floats to `dtype` and write their bytes into `out`; whether some of them are infinite.

    Args:
        values: float32 or float64.
        dtype: one of `FLOATS`.
        out: as many bytes as that takes.
        bits: scratch of as many elements.

    Raises:
        InputError: if a finite value is too large for the type, or one is no number.
    """
    highest = values.max(initial=0)
    if math.isnan(highest):
        raise InputError("the result would hold NaN, of infinite values in the models.", hint="Leave that model out.")
    if dtype == "BF16":
        single = values if values.dtype == np.float32 else _to_odd(values)
        own = np.ascontiguousarray(single).view(np.uint32)
        np.right_shift(own, 16, out=bits)
        np.bitwise_and(bits, 1, out=bits)
        np.add(bits, 0x7FFF, out=bits)
        np.add(bits, own, out=bits)
        np.right_shift(bits, 16, out=bits)
        out.view("<u2")[:] = bits  # each fits; to take every other of 16 bits is four times as slow
        if highest < 3.3e38 and values.min(initial=0) > -3.3e38:
            return False
        target: Floats = np.left_shift(out.view("<u2"), 16, dtype=np.uint32).view(np.float32)
    else:
        target = out.view({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
        with np.errstate(over="ignore"):
            target[:] = values
        if dtype == "F64" or (dtype == "F32" and values.dtype == np.float32):
            return math.isinf(highest) or math.isinf(values.min(initial=0))
    infinite = np.isinf(target)
    if not infinite.any():
        return False
    if bool((infinite & np.isfinite(values)).any()):
        raise InputError(f"a merged value is too large for {TORCH[dtype]}.", hint="Use `dtype: float32`.")
    return True


def _to_odd(values: Floats) -> Floats:
    """Float64 as float32 rounded to odd, so that rounding once more is as if it had been once (Boldo, Melquiond)."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    single[np.isinf(single) & np.isfinite(values)] = np.finfo(np.float32).max
    single = np.copysign(single, values).astype(np.float32)
    back = single.astype(np.float64)
    bits = single.view(np.uint32)
    bits -= (np.abs(back) > np.abs(values)).astype(np.uint32)
    bits |= (back != values).astype(np.uint32)
    return single
