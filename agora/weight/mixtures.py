"""`mixture`: dense experts of one shape into one sparse checkpoint of Mixtral's layout, with a router between them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agora.errors import InputError
from agora.weight import methods, mixtral, routers, tokens
from agora.weight.dtypes import dtype_of
from agora.weight.engine import Engine, Progress
from agora.weight.folder import json_bytes
from agora.weight.merging import Report
from agora.weight.mixtral import EMBEDDING, EXPERT, HEAD, NORM, SHARED, Shape
from agora.weight.mixturefile import Mixture, listed, read_mixture
from agora.weight.parents import Parent
from agora.weight.plan import Job, widest
from agora.weight.recipe import Member, Recipe
from agora.weight.sources import ArraySource, Source
from agora.weight.writer import SHARD, Output, Writer

PAPER = "upcycling: Komatsuzaki et al., arXiv:2212.05055; Branch-Train-MiX: Sukhbaatar et al., arXiv:2403.07816"
_LEFT_OUT = ("_from_model_config", "_name_or_path", "transformers_version", "auto_map")  # of generation_config.json


def mixture(
    experts: Mapping[str, Any] | Sequence[Any],
    out: Path | str,
    *,
    base: str | Path | None = None,
    router: str = "hidden",
    top: int = 2,
    dtype: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    chunk: int | None = None,
    shard: int = SHARD,
    overwrite: bool = False,
    folders: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Mix dense models of Llama's or Mistral's layout into one of Mixtral's, which loads wherever Mixtral does.

    The MLPs of each expert become one expert of each layer. Everything else (attention, embeddings, norms, the output
    matrix) is the base's, or where there is none the experts' average, as Branch-Train-MiX has it (arXiv:2403.07816).
    Copies of one model are sparse upcycling (arXiv:2212.05055). Of several different ones nothing is trained here, as
    both papers do afterwards: the router is made of prompts.

    Deliberately different: the weights of the chosen experts sum to 1, as Mixtral's layout has it (in upcycling they
    do not always), so that equal experts give exactly the dense model; and every layer is made sparse, not every other.

    Args:
        experts: references (see `parents.find`; `path+adapter` too), or mappings with `model`, `prompts` (texts that it
            is to be chosen for) and `negative` (texts that it is not); or such mappings, or references, by name.
        out: the folder to make. It appears under this name once it is whole.
        base: whose attention, embeddings, norms and tokenizer are taken.
        router: 'hidden', 'embedding', 'random', 'uniform' or 'zero'; see `routers.make`.
        top: experts that a token is sent through.
        dtype: of the output; default: the models' own. Results are in float32 and rounded once.
        seed: of a random router.
        threads: tensors made at a time; default 2.
        chunk: elements at a time; default 65,536.
        shard: bytes of a file from which on another is begun.
        overwrite: replace what is there.
        folders: folders of models by the names under which they are mentioned.
        progress: is told bytes written and bytes in all.

    Raises:
        InputError: if anything is wrong with the experts, their prompts or the disk; then nothing is left behind.
        MissingError: if a tokenizer needs transformers, which is not installed.
    """
    given: dict[str, Any] = {"experts": listed(experts), "router": router, "top": top, "dtype": dtype, "seed": seed}
    if base is not None:
        given["base"] = str(base)
    return mix(
        {"mixture": given}, out, threads=threads, chunk=chunk, shard=shard, overwrite=overwrite, folders=folders,
        progress=progress,
    )  # fmt: skip


def mix(
    recipe: Mixture | Mapping[str, Any] | Path | str,
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
    """As `mixture`, of a recipe: a file or data in our short form or in mergekit-moe's; see `read_mixture`.

    Args:
        recipe: what is mixed.
        seed: of a random router, in place of the recipe's.
        out, threads, chunk, shard, overwrite, folders, progress: as of `mixture`.

    Raises:
        InputError: if anything is wrong with the recipe, a model or the disk; then nothing is left behind.
        MissingError: if a tokenizer needs transformers, which is not installed.
    """
    begun = time.monotonic()
    beside = Path(recipe).parent if isinstance(recipe, (str, Path)) else None
    read = read_mixture(recipe)
    if seed is not None:
        read = read.model_copy(update={"seed": seed})
    if (threads is not None and threads < 1) or (chunk is not None and chunk < 1) or shard < 1:
        raise InputError("threads, chunk and shard are at least 1.")
    out = Path(out)
    if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there already.", hint="Give another folder, or overwrite it on purpose.")
    parents: dict[str, Parent] = {}
    try:
        for reference in read.references():
            parents[reference] = Parent(reference, beside, folders)
        donor = parents[read.references()[0]]
        notes: list[str] = []
        shape = mixtral.fit(parents, donor, notes)
        shared = [donor] if read.base else [parents[expert.model] for expert in read.experts]
        members = [Member(model=reference) for reference in parents]
        tokenizer = tokens.choose(Recipe(merge_method="linear", models=members, base_model=read.base), parents, notes)
        kind = dtype_of(read.dtype) if read.dtype else _usual(parents)
        gates = routers.make(read, shape, donor, shared)
        jobs = _jobs(read, shape, parents, shared, gates, kind)
        small = {"config.json": mixtral.config(donor, len(read.experts), read.top, kind), **tokenizer.files}
        if found := donor.checkpoint.json("generation_config.json"):
            small["generation_config.json"] = json_bytes({k: v for k, v in found.items() if k not in _LEFT_OUT})
        small["README.md"] = _card(read, notes, out.name).encode()
        small["agora_recipe.yaml"] = read.to_yaml().encode()
        with Writer(out, [job.output for job in jobs], overwrite=overwrite, shard=shard) as writer:
            Engine(jobs, writer, {}, seed=read.seed, chunk=chunk, threads=threads, progress=progress).run()
            for name, content in small.items():
                writer.text(name, content)
            writer.finish()
        return Report(out, "mixture", len(jobs), writer.total, time.monotonic() - begun, tuple(notes))
    finally:
        for parent in parents.values():
            parent.close()


def _usual(parents: Mapping[str, Parent]) -> str:
    """The type of all models' tensors, or one that holds them all."""
    return widest([parent.checkpoint.entries[EMBEDDING].dtype for parent in parents.values()])


def _jobs(
    mixture: Mixture, shape: Shape, parents: Mapping[str, Parent], shared: Sequence[Parent],
    gates: Sequence[Any], dtype: str,
) -> list[Job]:  # fmt: skip
    """The tensors of the output, in the order in which they are written."""
    linear, passthrough = methods.get("linear"), methods.get("passthrough")

    def one(name: str, source: Source) -> Job:
        return Job(Output(name, dtype, source.shape), passthrough, [source], None, {"scale": methods.Each([1.0])})

    def common(name: str) -> Job:
        sources = sorted((parent.source(name) for parent in shared), key=lambda source: source.key)
        if len(sources) == 1:
            return one(name, sources[0])
        weights = methods.Each([1.0] * len(sources))
        return Job(Output(name, dtype, sources[0].shape), linear, sources, None, {"weight": weights, "normalize": True})

    jobs = [common(EMBEDDING)]
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        jobs += [common(at + name) for name in SHARED]
        jobs.append(one(f"{at}block_sparse_moe.gate.weight", ArraySource(gates[layer], "router")))
        for number, expert in enumerate(mixture.experts):
            for name, short in EXPERT.items():
                target = f"{at}block_sparse_moe.experts.{number}.{short}.weight"
                jobs.append(one(target, parents[expert.model].source(at + name)))
    return [*jobs, common(NORM), *([] if shape.tied else [common(HEAD)])]


def _card(mixture: Mixture, notes: Sequence[str], name: str) -> str:
    """The model card."""
    count = len(mixture.experts)
    rest = f"`{mixtral.plain(mixture.base)}`'s" if mixture.base else "the experts' average"
    lines = [
        f"---\ntags:\n- merge\n- moe\n- agora\n---\n# {mixtral.plain(name)}\n",
        f"A mixture of {count} experts, {mixture.top} a token, made with "
        f"[agora](https://pypi.org/project/agora-debate/) ({PAPER}).\n",
        f"Each expert's MLPs are a dense model's; attention, embeddings and norms are {rest}. The router is "
        f"`{mixture.router}` and was not trained.\n",
        "## Experts\n",
        *(f"- `{mixtral.plain(expert.model)}`" for expert in mixture.experts),
        f"\n## Recipe\n\n```yaml\n{mixture.to_yaml()}```",
    ]
    if notes:
        lines += ["\n## Notes\n", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
