"""The command that merges checkpoints: merge."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from agora.cli import views
from agora.cli.options import JSON

Tell = Callable[[int, int], None]


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1, 256), help="Tensors made at a time; default 2.")
@click.option("--seed", type=click.IntRange(0), help="Of random masks, in place of the recipe's; or of a search.")
@click.option("--shard", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="GB of a file.")
@click.option("--force", is_flag=True, help="Replace what is there, once the merge is whole.")
@click.option("--search", is_flag=True, help="Let a score decide what RECIPE leaves open; needs --data.")
@click.option("--data", type=click.Path(path_type=Path), help="What scores: JSON lines of question and answer.")
@click.option("--answer", default="number", show_default=True, help="The kind of answer of the problems.")
@click.option("--how", default="evolution", show_default=True, help="evolution, swarm, coordinate, random, ...")
@click.option("--evaluations", type=click.IntRange(1), help="How many merges are scored; default 100.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="How long, in all sittings.")
@click.option("--history", type=click.Path(path_type=Path), help="Where scores are kept; default OUT.history.jsonl.")
@click.option("--plot", type=click.Path(path_type=Path), help="The score over evaluations: a .svg.")
@click.option("--no-baselines", is_flag=True, help="Leave out best single, average and random search.")
@JSON
def merge(
    recipe: Path,
    out: Path,
    threads: int | None,
    seed: int | None,
    shard: float,
    force: bool,
    as_json: bool,
    search: bool,
    **searching: Any,
) -> None:
    """Merge checkpoints as RECIPE says into a new folder OUT, which loads wherever its parents do.

    RECIPE is mergekit's YAML as it is, or the short form {ties: [a, b], base: c, density: 0.5}; or a mixture of
    experts: mergekit-moe's YAML, or {mixture: {experts: [{model: a, prompts: [...]}, ...], base: c}}. Models are
    folders, pocket:NAME, or downloads in the Hugging Face cache. An interrupted merge leaves nothing behind.

    With --search numbers may be left open, {search: [0, 1]} or {choose: [a, b]}, and the merge that scores best on
    --data is written. What was scored is kept, and the search goes on from there when it is run again.
    """
    from agora import weight
    from agora.errors import InputError
    from agora.weight.recipe import read_yaml

    size = round(min(shard, 1e9) * 1e9) if shard == shard else 0  # click takes 'inf' and 'nan' for numbers
    if size < 1:
        raise InputError("--shard is at least a byte.")
    if search:
        from agora.cli.searching import searched

        searched(recipe, out, seed or 0, force, as_json, {"threads": threads, "shard": size}, **searching)
        return
    for name, value in searching.items():
        if value and name not in ("how", "answer"):
            raise InputError(f"--{name.replace('_', '-')} is of --search.")
    with bytes_done(f"merging into {out}", shown=not as_json) as tell:
        run = weight.mix if weight.is_mixture(read_yaml(recipe)) else weight.merge
        report = run(recipe, out, threads=threads, seed=seed, shard=size, overwrite=force, progress=tell)
    if as_json:
        print(
            json.dumps(
                {
                    "folder": str(report.folder),
                    "method": report.method,
                    "tensors": report.tensors,
                    "bytes": report.bytes,
                    "seconds": report.seconds,
                    "notes": report.notes,
                }
            )
        )
        return
    click.echo(
        f"{report.folder}: {report.method}, {report.tensors} tensors, {report.bytes / 1e9:.2f} GB "
        f"in {report.seconds:.1f} s"
    )
    for note in report.notes:
        click.echo(f"  note: {views.clean(note)}")
    click.echo(f"  use it as a model: hf:{report.folder}")


@contextmanager
def bytes_done(what: str, *, shown: bool = True) -> Iterator[Tell | None]:
    """A bar of bytes on standard error, where somebody looks."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    progress = Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = progress.add_task(what, total=None)

    def tell(done: int, total: int) -> None:
        progress.start()  # not before there is something to be told
        progress.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        progress.stop()
