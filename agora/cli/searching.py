"""`agora merge --search`: what a recipe leaves open is settled by a score."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views

if TYPE_CHECKING:
    from agora.weight.searching import Found, Space, Trial

MAX_BYTES = 100_000_000
MAX_PROBLEMS = 100_000


def searched(
    recipe: Path,
    out: Path,
    seed: int,
    force: bool,
    as_json: bool,
    writing: dict[str, Any],
    *,
    data: Path | None,
    answer: str,
    how: str,
    evaluations: int | None,
    seconds: float | None,
    history: Path | None,
    plot: Path | None,
    no_baselines: bool,
) -> None:
    """Search, say what was found beside what it must be compared with, and write it."""
    from agora.drawing import curve_svg
    from agora.errors import InputError
    from agora.weight import Accuracy
    from agora.weight.searching import search
    from agora.weight.searching.registry import get

    if data is None:
        raise InputError("--search needs --data, the problems that merges are scored by.")
    if plot is not None and plot.suffix != ".svg":
        raise InputError(f"{plot}: the picture is a .svg.")
    if plot is not None and not plot.parent.is_dir():
        raise InputError(f"{plot}: there is no folder {plot.parent}.")
    if out.exists() and not force and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there already.", hint="Choose another folder, or overwrite it with --force.")
    ends = get(how).ends
    if evaluations is None and seconds is None and not ends:
        evaluations = 100
    space = _space(recipe)
    if not out.name or out.name == "..":
        raise InputError(f"{out} has no name that a history could have.", hint="Give the folder by its name.")
    kept = history or out.with_name(f"{out.name}.history.jsonl")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{kept} cannot be written: {(error.strerror or str(error)).lower()}.") from error
    score = Accuracy(problems(data), answer)
    with _progress(evaluations, shown=not as_json) as tell:
        try:
            found = search(space, score, how, evaluations=evaluations, seconds=seconds, seed=seed, history=kept,
                           beside=not no_baselines, progress=tell)  # fmt: skip
        except KeyboardInterrupt:
            raise click.Abort(f"interrupted; the same command goes on from {kept}") from None
    report = found.write(out, overwrite=force, **writing)
    beside = {
        name: trial.score
        for name, trial in (("best single", found.single), ("average", found.average), ("random", found.random))
        if trial is not None and math.isfinite(trial.score)
    }
    if plot is not None:
        scores = [trial.score if trial.error is None else None for trial in found.trials]
        best = [value if math.isfinite(value) else None for value in found.curve]
        plot.write_text(curve_svg(scores, best, beside), encoding="utf-8")
    if as_json:
        more: dict[str, Any] = {
            "folder": str(out),
            "history": str(kept),
            "problems": len(score.pairs),
            "recipe": found.recipe().to_yaml(),
        }
        print(json.dumps({**found.summary, **more, "notes": [*found.notes, *report.notes]}))
        return
    _show(found, beside, out, kept, len(score.pairs))
    for note in report.notes:
        click.echo(f"  note: {views.clean(note)}")


def _show(found: Found, beside: dict[str, float], out: Path, kept: Path, count: int) -> None:
    click.echo(f"{out}: {found.how}, {found.evaluations} merges scored on {count} problems ({found.stopped})")
    click.echo(f"  best        {found.score:.4g}  {_values(found.values)}")
    for name, score in beside.items():
        which = ""
        if name == "best single" and found.single is not None:
            single = found.single.key
            which = "  " + next((model for model, key in found.space.members.items() if key == single), "")
        click.echo(f"  {name:11} {score:.4g}{views.clean(which)}")
    for note in found.notes:
        click.echo(f"  note: {views.clean(note)}")
    click.echo("  note: these are scores on the problems that were searched on; report on others")
    click.echo(f"  history     {kept}")
    click.echo(f"  use it as a model: hf:{out}")


def _values(values: dict[str, Any]) -> str:
    shown = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
    return views.short(views.clean(", ".join(shown)), 200)


def _space(recipe: Path) -> Space:
    """What the recipe leaves open; of a plain soup or sum of task vectors, its weights."""
    from agora.weight import Parameters, WeightedSum, read_recipe
    from agora.weight.recipe import read_yaml

    text = str(read_yaml(recipe))
    if "'search'" not in text and "'choose'" not in text:
        read = read_recipe(recipe)
        if read.merge_method in ("linear", "soup", "task_arithmetic") and read.models:
            return WeightedSum([member.model for member in read.models], read.base_model, beside=recipe.parent)
    return Parameters(recipe)


def problems(path: Path) -> list[dict[str, str]]:
    """Problems from JSON lines: objects with `question` and `answer`.

    Raises:
        InputError: with the line, if there are none, or one is none.
    """
    from agora.errors import InputError

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 1_000_000} MB of problems.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text (UTF-8).") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{path}:{number}: this is not JSON; a line is an object.") from None
        parts = [item.get(key) for key in ("question", "answer")] if isinstance(item, dict) else [None]
        if not all(isinstance(part, (str, int, float)) and not isinstance(part, bool) for part in parts):
            raise InputError(f"{path}:{number}: a problem has a `question` and an `answer`.")
        found.append({"question": str(parts[0]), "answer": str(parts[1])})
        if len(found) > MAX_PROBLEMS:
            raise InputError(f"{path} has more than {MAX_PROBLEMS:,} problems.")
    if not found:
        raise InputError(f"{path} holds no problems.", hint='A line is {"question": ..., "answer": ...}.')
    return found


class _progress:
    """A bar of evaluations on standard error, where somebody looks."""

    def __init__(self, evaluations: int | None, *, shown: bool) -> None:
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

            self._bar = Progress(
                "{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
        self._total, self._tasks = evaluations, dict[str, Any]()

    def __enter__(self) -> Any:
        if self._bar is not None:
            self._bar.start()
        return self._tell

    def __exit__(self, *what: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _tell(self, trial: Trial, count: int, best: float) -> None:
        if self._bar is None:
            return
        if trial.phase not in self._tasks:
            total = None if trial.phase == "members" else self._total
            self._tasks[trial.phase] = self._bar.add_task(trial.phase, total=total)
        self._bar.update(self._tasks[trial.phase], completed=count, description=f"{trial.phase}, best {best:.4g}")
