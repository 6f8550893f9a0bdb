"""Recipes run in memory: parents are read once, and what a recipe makes of them is put into buffers, in float32."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agora.weight import folder, plan, tokens
from agora.weight.checkpoint import Checkpoint
from agora.weight.dtypes import SIZES, Bytes, decode
from agora.weight.engine import Engine
from agora.weight.header import Entry
from agora.weight.parents import Parent, find
from agora.weight.plan import Job
from agora.weight.recipe import Recipe
from agora.weight.vocabulary import Vocabulary
from agora.weight.writer import Writer

DECODED = 1 << 30  # bytes in float32 up to which a parent is held so; else as it is on disk, and decoded each time
_NUMPY: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class Merged:
    """A merge in memory, before it is a model.

    Attributes:
        tensors: by name; float32, and what holds no floats as it is. They are used again for another candidate when
            this one is released.
        recipe: what makes it.
        parents: the models it is made of, by reference.
        layers: number of layers, where the recipe's slices say so.
        identity: differs where the tensors may.
        name: what users call it.
        rows: of its vocabulary, where that is not the donor's.
        folders: where the parents are, by what the recipe calls them.
    """

    tensors: Mapping[str, NDArray[Any]]
    recipe: Recipe
    parents: Mapping[str, Parent]
    layers: int | None
    identity: str
    name: str
    rows: int | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def donor(self) -> Parent:
        """The model whose configuration and tokenizer it has."""
        return self.parents[self.recipe.references()[0]]

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        return folder.config_of(self.donor.config, self.layers, ["F32"], self.rows, [])


class Held(Checkpoint):
    """A checkpoint that is read once and kept in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._bytes: dict[str, Bytes] = {}
        self.fingerprint()  # of the files, before anything is decoded
        wide = 4 * sum(entry.size for entry in self.entries.values()) <= DECODED
        for name in list(self):
            entry = self.entries[name]
            raw = np.empty(entry.end - entry.begin, np.uint8)
            super().read(name, 0, raw)
            if wide and entry.dtype in ("F16", "BF16"):
                values = np.empty(entry.size, np.float32)
                decode(raw, entry.dtype, values)
                raw = values.view(np.uint8)
                entry = self.entries[name] = Entry("F32", entry.shape, entry.begin, entry.begin + raw.size)
            self._bytes[name] = raw
        self.close()

    def read(self, name: str, start: int, buffer: Bytes) -> None:
        """Fill a buffer with the bytes of a tensor from element `start` on."""
        if name not in self._bytes:
            super().read(name, start, buffer)
            return
        place = start * SIZES[self.entries[name].dtype]
        buffer[:] = self._bytes[name][place : place + buffer.size]


@dataclass
class Buffers:
    """Where a candidate's tensors lie; used again for the next."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    views: dict[str, Bytes] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    total = 0

    def fit(self, jobs: list[Job]) -> None:
        """Have room for these tensors, and no others."""
        wanted = {job.output.name for job in jobs}
        for name in set(self.arrays) - wanted:
            del self.arrays[name], self.views[name]
        self.filled &= wanted
        for job in jobs:
            name, size = job.output.name, SIZES[job.output.dtype]
            kind = _NUMPY.get(job.output.dtype, np.dtype((np.void, size)))  # numpy has no such type: bytes alone
            held = self.arrays.get(name)
            if held is None or held.shape != job.output.shape or held.dtype != kind:
                self.views[name] = np.empty(math.prod(job.output.shape) * size, np.uint8)
                self.arrays[name] = self.views[name].view(kind).reshape(job.output.shape)
                self.filled.discard(name)

    def write(self, name: str, place: int, raw: Bytes) -> None:
        """Take bytes of a tensor, as the writer of a checkpoint does."""
        self.views[name][place : place + raw.size] = raw


class Bench:
    """Parents in memory, and recipes of them.

    Args:
        beside: the folder that relative paths are also looked for in.
        folders: folders of models by the names under which recipes mention them.
    """

    def __init__(self, beside: Path | None = None, folders: Mapping[str, Path] | None = None) -> None:
        self._beside, self._folders = beside, folders
        self._parents: dict[str, Parent] = {}
        self._held: dict[Path, Held] = {}
        self._files: dict[str, Checkpoint] = {}
        self._chosen: dict[tuple[object, ...], tokens.Chosen] = {}
        self._lock = threading.Lock()
        self._free: list[Buffers] = []
        self.constant: frozenset[str] = frozenset()  # tensors that are the same in every candidate

    def parent(self, reference: str) -> Parent:
        """A model, held in memory; models that share a folder share what is held.

        Raises:
            InputError: if it cannot be read.
        """
        if reference not in self._parents:
            made = Parent(reference, self._beside, self._folders)
            made.checkpoint.close()
            if made.folder not in self._held:
                self._held[made.folder] = Held(made.folder)
            made.checkpoint = self._held[made.folder]
            if made.adapter is not None:
                made.adapter.checkpoint.close()
                made.adapter.checkpoint = Held(made.adapter.folder)
            self._parents[reference] = made
        return self._parents[reference]

    @property
    def folders(self) -> dict[str, Path]:
        """Where the models and adapters are that references mention, by what stands there."""
        found: dict[str, Path] = {}
        for reference, parent in self._parents.items():
            path, plus, adapter = reference.rpartition("+") if parent.adapter else ("", "", "")
            found[path if plus else reference] = parent.folder
            if parent.adapter:
                found[adapter] = parent.adapter.folder
        return found

    @property
    def size(self) -> int:
        """Bytes of the largest parent in float32."""
        return max((4 * sum(e.size for e in held.entries.values()) for held in self._held.values()), default=0)

    def build(self, recipe: Recipe, identity: str, name: str) -> tuple[Merged, Buffers]:
        """Run a recipe. The buffers are to be given back with `release`.

        Raises:
            InputError: as `agora.weight.merge`; also if the result holds what is no number.
        """
        wide = recipe.model_copy(update={"out_dtype": "float32"})
        with self._lock:
            parents = {reference: self.parent(reference) for reference in wide.references()}
            chosen = self._tokenizer(wide, parents)
            made = plan.make(wide, parents, Vocabulary(chosen, parents, wide.base_model))
            for job in made.jobs:
                for paths in job.files.values():
                    for path in paths:
                        if path not in self._files:
                            self._files[path] = Held(find(path, self._beside, self._folders))
            buffers = self._free.pop() if self._free else Buffers()
            try:
                buffers.fit(made.jobs)
                jobs = [job for job in made.jobs if job.output.name not in self.constant & buffers.filled]
                heavy = (
                    sum(math.prod(job.output.shape) for job in jobs) > 1 << 24
                )  # else threads cost more than they give
                Engine(jobs, cast(Writer, buffers), self._files, seed=wide.seed, threads=None if heavy else 1).run()
                buffers.filled |= {job.output.name for job in made.jobs}
            except BaseException:
                buffers.filled.clear()
                self._free.append(buffers)
                raise
        rows = None if chosen.ids is None else chosen.rows
        return Merged(buffers.arrays, recipe, parents, made.layers, identity, name, rows, self.folders), buffers

    def _tokenizer(self, recipe: Recipe, parents: Mapping[str, Parent]) -> tokens.Chosen:
        """Of a recipe; found once for all that ask for the same of the same models, as vocabularies can be large."""
        asked = recipe.model_dump_json(include={"tokenizer", "tokenizer_source", "chat_template", "base_model"})
        key = (*parents, asked, recipe.merge_method == "passthrough")
        if key not in self._chosen:
            self._chosen[key] = tokens.choose(recipe, parents, [])
        return self._chosen[key]

    def release(self, buffers: Buffers) -> None:
        """Take buffers back."""
        with self._lock:
            self._free.append(buffers)
