"""`merge`: from a recipe to a checkpoint's folder, whole or not at all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight import adapting, folder, methods, plan, tokens
from agora.weight.checkpoint import Checkpoint
from agora.weight.engine import Engine, Progress
from agora.weight.parents import Parent, find, parents_untied
from agora.weight.recipe import Recipe, read_recipe
from agora.weight.vocabulary import Vocabulary
from agora.weight.writer import SHARD, Writer

VERSION = 1  # of what merges come to: raised when the same recipe gives other bytes


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
    beside: Path | None = None,
    folders: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Merge checkpoints into one, in a folder that loads wherever its parents do.

    The bytes of the result depend on the recipe and its models alone: not on chunks, threads, how the models are cut
    into files, where they lie, or, where the method's rule has no order, in which order they stand. Nor do they depend
    on whether a large merge finds compiled kernels (the extra `fast`; AGORA_COMPILED=0 leaves them out).

    Args:
        recipe: a file of either form, or data; see `read_recipe`.
        out: the folder to make. It appears under this name once it is whole.
        threads: tensors made at a time; default 2.
        chunk: elements at a time; default 65,536, or twice as many in compiled kernels.
        seed: of random masks, in place of the recipe's.
        shard: bytes of a file from which on another is begun.
        overwrite: replace what is there.
        beside: the folder that paths begin in, where the recipe is no file.
        folders: folders of models by the names under which the recipe mentions them.
        progress: is told bytes written and bytes in all, from any thread, one call at a time.

    Raises:
        InputError: if anything is wrong with the recipe, a model or the disk; then nothing is left behind.
    """
    begun = time.monotonic()
    beside = Path(recipe).parent if isinstance(recipe, (str, Path)) else beside
    read = read_recipe(recipe)
    if seed is not None:
        read = read.model_copy(update={"seed": seed})
    if (threads is not None and threads < 1) or (chunk is not None and chunk < 1) or shard < 1:
        raise InputError("threads, chunk and shard are at least 1.")
    out = Path(out)
    with ExitStack() as stack:
        if methods.get(read.merge_method).needs == "adapter":
            tensors, size, notes = _adapter(read, out, beside, folders, overwrite, shard, stack)
        else:
            options = {"chunk": chunk, "threads": threads, "progress": progress}
            tensors, size, notes = _model(read, out, beside, folders, overwrite, shard, stack, options)
    return Report(out, read.merge_method, tensors, size, time.monotonic() - begun, tuple(notes))


def planned(
    recipe: Recipe | Mapping[str, Any] | Path | str,
    *,
    beside: Path | None = None,
    folders: Mapping[str, Path] | None = None,
) -> tuple[str, ...]:
    """See that a merge can be made, all but its arithmetic; what a user should know of it, a sentence each.

    Args:
        recipe: as `merge` takes it.
        beside: likewise.
        folders: likewise.

    Raises:
        InputError: as `merge`, but for what only the values of tensors show.
    """
    beside = Path(recipe).parent if isinstance(recipe, (str, Path)) else beside
    read = read_recipe(recipe)
    with ExitStack() as stack:
        if methods.get(read.merge_method).needs == "adapter":
            return ()
        parents = _parents(read, beside, folders, stack)
        notes: list[str] = []
        chosen = tokens.choose(read, parents, notes)
        return (*notes, *plan.make(read, parents, Vocabulary(chosen, parents, read.base_model)).notes)


def content_key(
    recipe: Recipe | Mapping[str, Any] | Path | str,
    *,
    beside: Path | None = None,
    folders: Mapping[str, Path] | None = None,
) -> str:
    """What a merge depends on, as 64 hexadecimal digits: the recipe, and its models by name, content, size and times of
    change of their files (also of their status, which nobody can set back). A result kept under it need not be made
    again. Tensors are sampled, not read.

    Args:
        recipe: as `merge` takes it.
        beside: likewise.
        folders: likewise.

    Raises:
        InputError: if the recipe or a model cannot be read.
    """
    beside = Path(recipe).parent if isinstance(recipe, (str, Path)) else beside
    read = read_recipe(recipe)
    made = hashlib.sha256(f"{VERSION}\0{read.to_yaml()}".encode())
    adapters = methods.get(read.merge_method).needs == "adapter" and read.base_model is None
    places: list[Path] = []
    for reference in read.references():
        if adapters:
            places.append(find(reference, beside, folders))
            continue
        parent = Parent(reference, beside, folders)
        made.update(parent.key)
        places += [parent.folder, *([parent.adapter.folder] if parent.adapter else [])]
        parent.close()
    files = {name for name, parameter in methods.get(read.merge_method).parameters.items() if parameter.kind == "file"}
    for settings in read.settings():
        named = [settings[name] for name in sorted(files & set(settings))]
        places += [find(value, beside, folders) for value in named if isinstance(value, str)]
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            if path.is_file():
                about = path.stat()
                made.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}\0".encode())
    return made.hexdigest()


Made = tuple[int, int, list[str]]
Folders = Mapping[str, Path] | None


def _parents(recipe: Recipe, beside: Path | None, folders: Folders, stack: ExitStack) -> dict[str, Parent]:
    parents = {}
    for reference in recipe.references():
        parents[reference] = Parent(reference, beside, folders)
        stack.callback(parents[reference].close)
    return parents


def _model(
    recipe: Recipe, out: Path, beside: Path | None, folders: Folders, overwrite: bool, shard: int, stack: ExitStack,
    options: dict[str, Any],
) -> Made:  # fmt: skip
    """A merge whose result is a whole model."""
    parents = _parents(recipe, beside, folders, stack)
    notes: list[str] = []
    chosen = tokens.choose(recipe, parents, notes)
    made = plan.make(recipe, parents, Vocabulary(chosen, parents, recipe.base_model))
    notes += made.notes
    files: dict[str, Checkpoint] = {}
    for path in {path for job in made.jobs for paths in job.files.values() for path in paths}:
        files[path] = stack.enter_context(Checkpoint(find(path, beside, folders)))
    outputs = [job.output for job in made.jobs]
    small = folder.small_files(
        recipe, parents, layers=made.layers, dtypes=[output.dtype for output in outputs],
        vocabulary=None if chosen.ids is None else chosen.rows, tokenizer=chosen.files, notes=notes, name=out.name,
        untied=parents_untied(parents.values()) and any(output.name.endswith("lm_head.weight") for output in outputs),
    )  # fmt: skip
    with Writer(out, outputs, overwrite=overwrite, shard=shard) as writer:
        Engine(made.jobs, writer, files, seed=recipe.seed, **options).run()
        for name, content in small.items():
            writer.text(name, content)
        writer.finish()
    return len(outputs), writer.total, notes


def _adapter(
    recipe: Recipe, out: Path, beside: Path | None, folders: Folders, overwrite: bool, shard: int, stack: ExitStack
) -> Made:
    """A merge whose result is a LoRA adapter; it is small, and held in memory."""
    notes: list[str] = []
    if recipe.merge_method == "lora_extract":
        factors, config = adapting.extract(recipe, _parents(recipe, beside, folders, stack), notes)
    else:
        factors, config = adapting.compose(recipe, beside, folders)
    made = adapting.outputs(factors, recipe.out_dtype or recipe.dtype)
    outputs = [output for output, _ in made]
    with Writer(out, outputs, overwrite=overwrite, shard=shard, single="adapter_model.safetensors") as writer:
        for output, values in made:
            writer.write(output.name, 0, adapting.encoded(output, values))
        writer.text("adapter_config.json", adapting.config_of(factors, config))
        writer.text("README.md", folder.card(recipe, recipe.references(), notes, out.name))
        writer.text("agora_recipe.yaml", recipe.to_yaml())
        writer.finish()
    return len(outputs), writer.total, notes
