"""The merge itself: tensors in file order over a few threads, each in chunks through buffers that are used again."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from agora.errors import InputError
from agora.weight.checkpoint import Checkpoint
from agora.weight.dtypes import FLOATS, SIZES, Floats, decode, encode
from agora.weight.fused import Fused
from agora.weight.methods import Copy, Rows, Whole
from agora.weight.plan import Job
from agora.weight.sources import FileSource, Scratch, Source, checked
from agora.weight.tensors import Chunk, Tensors, no_nan
from agora.weight.writer import Writer

CHUNK = 1 << 16  # elements: what a few models hold of a chunk stays in a core's own cache
FUSED = 1 << 17  # the same of compiled kernels, which hold only bytes of it
Progress = Callable[[int, int], None]


class Engine:
    """Runs the jobs of a plan.

    Args:
        jobs: what is to be made.
        writer: where it goes.
        files: further checkpoints, by the path that a parameter gave.
        seed: of random masks.
        chunk: elements of a chunk.
        threads: how many tensors are made at a time.
        progress: is told bytes written and bytes in all.
    """

    def __init__(
        self, jobs: Sequence[Job], writer: Writer, files: Mapping[str, Checkpoint], *, seed: int = 0,
        chunk: int | None = None, threads: int | None = None, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.jobs, self.writer, self.files, self.seed = jobs, writer, files, seed
        self.chunk, self.fused_chunk = chunk or CHUNK, chunk or FUSED
        self.threads = threads or min(2, os.cpu_count() or 1)
        self.progress = progress
        self._done = 0
        self._lock, self._own, self._stop = threading.Lock(), threading.local(), threading.Event()
        self._memo: dict[Any, Any] = {}
        self._memo_lock = threading.Lock()
        self._places: dict[str, int] = {}
        place = 0
        for job in sorted(jobs, key=lambda job: job.output.name):
            self._places[job.output.name] = place
            place += 0 if job.copied else math.prod(job.output.shape)
        self.fused = Fused.of(jobs)

    def run(self) -> None:
        """Make all tensors.

        Raises:
            InputError: of the first that fails.
        """
        if self.threads == 1:
            for job in self.jobs:
                self._make(job)
            return
        with ThreadPoolExecutor(self.threads, "merge") as pool:
            try:
                futures = [pool.submit(self._make, job) for job in self.jobs]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future in done and (error := future.exception()) is not None:
                        raise error
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _make(self, job: Job) -> None:
        if self._stop.is_set():
            return
        scratch: Scratch | None = getattr(self._own, "scratch", None)
        if scratch is None:
            scratch = self._own.scratch = Scratch()
        scratch.blocks.clear()
        with np.errstate(all="ignore"):  # what comes out as no number, or too large, is found when it is written
            self._dispatch(job, scratch)

    def _dispatch(self, job: Job, scratch: Scratch) -> None:
        if job.copied:
            self._copy(job, scratch)
            return
        x = self._tensors(job, scratch)
        plan = job.method.make(x, **job.parameters)
        if isinstance(plan, Copy):
            source = x.models[0]
            if isinstance(source, FileSource) and source.dtype == job.output.dtype:
                self._copy(job, scratch)
                return
            plan = _first
        if isinstance(plan, Whole):
            values = plan.values.reshape(-1)
            self._write(job, x, self.chunk, lambda chunk: values[chunk.start : chunk.start + chunk.size])
        elif isinstance(plan, Rows):
            step = max(1, self.chunk // max(1, x.columns)) * max(1, x.columns)
            self._write(job, x, step, plan.kernel)
        else:
            self._write(job, x, self.chunk, plan)

    def _tensors(self, job: Job, scratch: Scratch) -> Tensors:
        name = job.output.name
        files: dict[str, Sequence[Source | None]] = {}
        for parameter, paths in job.files.items():
            held = [self.files[path] for path in paths]
            files[parameter] = [
                checked(FileSource(one, name, str(one.folder))) if name in one else None for one in held
            ]
        return Tensors(
            name, job.output.shape, job.models, job.base, self.seed, scratch, files,
            self._places[name], self._everything, self._once, self.fused,
        )  # fmt: skip

    def _everything(self, scratch: Scratch) -> list[Tensors]:
        jobs = sorted((job for job in self.jobs if not job.copied), key=lambda job: job.output.name)
        return [self._tensors(job, scratch) for job in jobs if math.prod(job.output.shape)]

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._memo_lock:
            if key not in self._memo:
                self._memo[key] = make()
            return self._memo[key]

    def _write(self, job: Job, x: Tensors, step: int, kernel: Callable[[Chunk], Floats]) -> None:
        size = SIZES[job.output.dtype]
        fused = x.fused.writing(kernel, x, job.output.dtype) if x.fused else None
        step = self.fused_chunk if fused else step
        for start in range(0, x.size, step):
            if self._stop.is_set():
                return
            count = min(step, x.size - start)
            raw = x.scratch.take("out", count * size, np.uint8)
            if fused is None or not fused(start, count, raw):
                chunk = Chunk(x, start, count)
                values = kernel(chunk)
                try:
                    if encode(values, job.output.dtype, raw, x.scratch.take("bits", count, np.uint32)):
                        _same_infinity(chunk)
                except InputError as error:
                    raise InputError(f"tensor '{x.name[:80]}': {error.message}", hint=error.hint) from None
            self.writer.write(x.name, start * size, raw)
            self._count(len(raw))

    def _copy(self, job: Job, scratch: Scratch) -> None:
        """Write the first model's bytes; the others must hold the same."""
        size, total = SIZES[job.output.dtype], math.prod(job.output.shape)
        step = max(self.chunk, 1 << 18)
        for start in range(0, total, step):
            if self._stop.is_set():
                return
            count = min(step, total - start) * size
            raw, other = scratch.take("copy", count, np.uint8), scratch.take("other", count, np.uint8)
            job.models[0].raw(start, raw)
            if job.output.dtype in FLOATS:
                values = scratch.take("values", count // size, np.float64 if size == 8 else np.float32)
                decode(raw, job.output.dtype, values)
                no_nan(values, job.models[0].label, job.output.name)
            for source in job.models[1:]:
                source.raw(start, other)
                if not np.array_equal(raw, other):
                    raise InputError(
                        f"tensor '{job.output.name[:80]}' holds {job.output.dtype}, which is copied, and "
                        f"{source.label} has others than {job.models[0].label}."
                    )
            self.writer.write(job.output.name, start * size, raw)
            self._count(count)

    def _count(self, count: int) -> None:
        if self.progress is not None:
            with self._lock:
                self._done += count
                self.progress(self._done, self.writer.total)


def _same_infinity(chunk: Chunk) -> None:
    """See that infinite values of the result are of infinite values in the models.

    Raises:
        InputError: if all of them are finite there.
    """
    every = [*chunk.of.models, *([chunk.of.base] if chunk.of.base else [])]
    values = chunk.scratch("seen")
    for source in every:
        source.read(chunk.start, values, chunk.of.scratch)
        if np.isinf(values).any():
            return
    kind = "float32" if chunk.of.dtype == np.float32 else "float64"
    raise InputError(f"a merged value is too large for {kind}.", hint="Use smaller weights.")


def _first(chunk: Chunk) -> Floats:
    return chunk.model(0)
