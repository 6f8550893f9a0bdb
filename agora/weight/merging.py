"""`merge`: from a recipe to a checkpoint's folder, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight import folder, plan, tokens
from agora.weight.checkpoint import Checkpoint
from agora.weight.engine import Engine, Progress
from agora.weight.parents import Parent, find
from agora.weight.recipe import Recipe, read_recipe
from agora.weight.vocabulary import Vocabulary
from agora.weight.writer import SHARD, Writer


@dataclass(frozen=True)
class Report:
    """What a merge has made.

    Attributes:
        folder: where it is.
        method: its name.
        tensors: how many.
        bytes: of them.
        seconds: it took.
        notes: what a user should know, a sentence each.
    """

    folder: Path
    method: str
    tensors: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]


def merge(
    recipe: Recipe | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    threads: int | None = None,
    chunk: int | None = None,
    seed: int | None = None,
    shard: int = SHARD,
    overwrite: bool = False,
    folders: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Merge checkpoints into one, in a folder that loads wherever its parents do.

    The bytes of the result depend on the recipe and its models alone: not on chunks, threads, how the models are cut
    into files, where they lie, or, where the method's rule has no order, in which order they stand.

    Args:
        recipe: a file of either form, or data; see `read_recipe`.
        out: the folder to make. It appears under this name once it is whole.
        threads: tensors made at a time; default 2.
        chunk: elements at a time; default 65,536.
        seed: of random masks, in place of the recipe's.
        shard: bytes of a file from which on another is begun.
        overwrite: replace what is there.
        folders: folders of models by the names under which the recipe mentions them.
        progress: is told bytes written and bytes in all, from any thread, one call at a time.

    Raises:
        InputError: if anything is wrong with the recipe, a model or the disk; then nothing is left behind.
    """
    begun = time.monotonic()
    beside = Path(recipe).parent if isinstance(recipe, (str, Path)) else None
    read = read_recipe(recipe)
    if seed is not None:
        read = read.model_copy(update={"seed": seed})
    if (threads is not None and threads < 1) or (chunk is not None and chunk < 1) or shard < 1:
        raise InputError("threads, chunk and shard are at least 1.")
    out = Path(out)
    parents: dict[str, Parent] = {}
    files: dict[str, Checkpoint] = {}
    try:
        for reference in read.references():
            parents[reference] = Parent(reference, beside, folders)
        notes: list[str] = []
        chosen = tokens.choose(read, parents, notes)
        made = plan.make(read, parents, Vocabulary(chosen, parents, read.base_model))
        made.notes.extend(notes)
        for job in made.jobs:
            for paths in job.files.values():
                for path in paths:
                    if path not in files:
                        files[path] = Checkpoint(find(path, beside, folders))
        small = folder.small_files(
            read, parents, layers=made.layers, dtypes=[job.output.dtype for job in made.jobs],
            vocabulary=None if chosen.ids is None else chosen.rows,
            tokenizer=chosen.files, notes=made.notes, name=out.name,
        )  # fmt: skip
        with Writer(out, [job.output for job in made.jobs], overwrite=overwrite, shard=shard) as writer:
            engine = Engine(made.jobs, writer, files, seed=read.seed, chunk=chunk, threads=threads, progress=progress)
            engine.run()
            for name, content in small.items():
                writer.text(name, content)
            writer.finish()
        return Report(out, read.merge_method, len(made.jobs), writer.total, time.monotonic() - begun, tuple(made.notes))
    finally:
        for parent in parents.values():
            parent.close()
        for file in files.values():
            file.close()
