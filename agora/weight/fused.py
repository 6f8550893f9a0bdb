"""Compiled kernels in place of numpy's, where a merge is large enough to be worth loading them: the same bytes, sooner.

A method's plan says what it computes (`Weighted`, `Combined`); for those there is a kernel that does it in one go, from
the models' bytes to the result's. Everything else, and every chunk that a kernel declines, is numpy's. Without numba
(the extra `fast`), or with AGORA_COMPILED=0, nothing here is used.
"""

from __future__ import annotations

import importlib
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agora.weight import masks
from agora.weight.dtypes import SIZES, Bytes, Floats
from agora.weight.methods.averages import Weighted
from agora.weight.methods.pruning import AtRandom, Between, BySize, Masked
from agora.weight.methods.tasks import Combined
from agora.weight.plan import Job
from agora.weight.select import Counted, Cut, counted
from agora.weight.sources import FileSource, Scratch, Source
from agora.weight.tensors import Chunk, Tensors

# Loading takes 0.45 CPU s; 0.7 to 1 ns is saved for an element read, as `Fused.of` counts them. So it is worth it from
# half of this on; the rest is for machines on which it takes longer.
WORTH = 1 << 30
LARGEST = 2.0**20  # of a factor, so that nothing in between can overflow; see `compiled`
KINDS = {"BF16": 0, "F16": 1, "F32": 2}  # as `compiled` numbers them

Write = Callable[[int, int, Bytes], bool]


class Fused:
    """The compiled kernels, loaded when the first is wanted; may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Any = None
        self._tried = False

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Fused | None:
        """The compiled kernels, where these jobs are worth them; by the elements that they read, which count four times
        where differences are pruned, as in TIES.

        AGORA_COMPILED in the environment: 0 is never, 1 is whatever the size.
        """
        wanted = os.environ.get("AGORA_COMPILED", "")
        if wanted in ("0", "1"):
            return cls() if wanted == "1" else None
        read = 0
        for job in jobs:
            times = 0 if job.copied else 4 if "density" in job.parameters else 1
            read += times * math.prod(job.output.shape) * (len(job.models) + (job.base is not None))
        return cls() if read >= WORTH else None

    def kernels(self) -> Any:
        """The module `compiled`, or None without numba."""
        with self._lock:
            if not self._tried:
                self._tried = True
                try:
                    self._held = importlib.import_module("agora.weight.compiled")
                except Exception:  # numba is missing, does not know this Python or numpy, or has no place for its cache
                    self._held = None
            return self._held

    def writing(self, plan: Any, x: Tensors, dtype: str) -> Write | None:
        """What does as a kernel says and encodes the result: called with start, count and where the bytes go.

        It returns False for a chunk that numpy must do. None where there is no such kernel.

        Args:
            plan: the kernel.
            x: its tensor.
            dtype: of the result.
        """
        if x.dtype != np.float32 or dtype not in KINDS or x.size >= 1 << 32:
            return None
        if isinstance(plan, Weighted):
            return self._weighted(plan, x, dtype)
        if isinstance(plan, Combined):
            return self._combined(plan, x, dtype)
        return None

    def magnitudes(self, chunk: Chunk) -> list[Floats] | None:
        """Magnitudes of every model's differences to the base; None for a chunk that numpy must do."""
        x = chunk.of
        if x.dtype != np.float32 or x.base is None or (kernels := self.kernels()) is None:
            return None
        raws, kinds, sizes = _rows([x.base, *x.models], chunk.start, chunk.size, x.scratch)
        out = x.scratch.take("magnitudes", len(x.models) * chunk.size).reshape(-1, chunk.size)
        return list(out) if kernels.magnitudes(raws, kinds, sizes, chunk.size, out) else None

    def counted(self, magnitudes: Floats, low: float, high: float, hold: bool) -> Counted:
        """See `select.counted`."""
        if magnitudes.dtype != np.float32 or (kernels := self.kernels()) is None:
            return counted(magnitudes, low, high, hold)
        found, places = np.empty(4, np.int64), np.empty(len(magnitudes) if hold else 0, np.int32)
        kernels.count(magnitudes, low, high, hold, places, found)
        above, lower, upper, inside = map(int, found)
        return above, lower, upper, places[:inside].astype(np.intp) if hold else None

    def _weighted(self, plan: Weighted, x: Tensors, dtype: str) -> Write | None:
        if any(abs(factor) > LARGEST for _, factor in plan.terms) or (kernels := self.kernels()) is None:
            return None
        sources = [x.base if i == len(x.models) else x.models[i] for i, _ in plan.terms]
        rows = [source for source in sources if source is not None]
        factors = np.array([factor for _, factor in plan.terms], np.float32)

        def write(start: int, count: int, out: Bytes) -> bool:
            raws, kinds, sizes = _rows(rows, start, count, x.scratch)
            return bool(kernels.weighted(
                raws, kinds, sizes, count, factors, plan.affine, KINDS[dtype], SIZES[dtype], out
            ))  # fmt: skip

        return write

    def _combined(self, plan: Combined, x: Tensors, dtype: str) -> Write | None:
        k = len(plan.weight)
        splits, streams = np.zeros((k, 4), np.int64), np.zeros((k, 4), np.int64)
        bars, scale = np.zeros((k, 4), np.float32), np.ones(k, np.float32)
        prune = plan.prune
        keep = prune.keep if isinstance(prune, Masked) else None
        if isinstance(keep, BySize):
            for i in range(k):
                splits[i, 0], (splits[i, 2], bars[i, 0], bars[i, 1]) = 1, _bars(keep.cuts[i])
        elif isinstance(keep, Between):
            for i in (i for i in range(k) if keep.density[i] < 1):
                splits[i, 0], (splits[i, 2], bars[i, 0], bars[i, 1]) = 1, _bars(keep.outer.cuts[i])
                splits[i, 1], (splits[i, 3], bars[i, 2], bars[i, 3]) = 1, _bars(keep.inner.cuts[i])
        elif isinstance(prune, AtRandom):
            for i in (i for i in range(k) if prune.density[i] < 1):
                key, scale[i] = x.stream(i), prune.scale[i]
                streams[i] = 1, key & 0xFFFFFFFF, key >> 32, masks.bar(prune.density[i])
        elif prune is not None:
            return None
        factors = [*plan.weight, *scale.tolist(), plan.factor]
        if x.base is None or max(map(abs, factors)) > LARGEST or streams[:, 3].max(initial=0) >= 1 << 32:
            return None
        if (kernels := self.kernels()) is None:
            return None
        rows = [x.base, *x.models]
        weight, elected = np.array(plan.weight, np.float32), 2 if plan.mean else int(plan.elect)

        def write(start: int, count: int, out: Bytes) -> bool:
            raws, kinds, sizes = _rows(rows, start, count, x.scratch)
            return bool(kernels.combined(
                raws, kinds, sizes, start, count, weight, bars, splits, streams, scale, elected, plan.factor,
                KINDS[dtype], SIZES[dtype], out,
            ))  # fmt: skip

        return write


def _bars(cut: Cut) -> tuple[int, float, float]:
    """A cut as a place, a magnitude above which those before it are taken, and one for those from there on."""
    under = float(np.nextafter(np.float32(cut.threshold), np.float32(-1))) if cut.threshold > 0 else -1.0
    return cut.before, under, cut.threshold


def _rows(sources: Sequence[Source], start: int, count: int, scratch: Scratch) -> tuple[Bytes, Any, Any]:
    """The bytes of several sources, a row each; what they are, by number; and the size of an element of each."""
    raws = scratch.take("raws", 4 * count * len(sources), np.uint8).reshape(len(sources), 4 * count)
    kinds = np.empty(len(sources), np.int64)
    sizes = np.empty(len(sources), np.int64)
    for i, source in enumerate(sources):
        own = source.dtype if isinstance(source, FileSource) else "F32"
        kinds[i], sizes[i] = KINDS[own], SIZES[own]
        if isinstance(source, FileSource):
            source.raw(start, raws[i, : count * SIZES[own]])
        else:
            source.read(start, raws[i].view(np.float32), scratch)
    return raws, kinds, sizes
