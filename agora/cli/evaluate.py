"""`agora eval`: does a debate help, at what cost, and how sure is that?"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.merge import bytes_done
from agora.cli.options import ADDRESS, ENGINE, EVERY, JSON, SET, STORE, WORKERS, budget_of, clock, engine_of, journal_of

if TYPE_CHECKING:
    from agora.evaluate import Analysis, Dataset, Progress, Results
    from agora.evaluate.report.table import Grid
    from agora.journal import Journal
    from agora.text.debate import Debate


@click.command("eval")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-d", "--data", metavar="DATA", help="A file, MAPPING:FILE, or a generated task: arithmetic:100. See below."
)
@click.option("--mapping", type=click.Path(path_type=Path), help="Which fields of DATA are what, as YAML.")
@click.option("--scorer", help="In place of the data's own: exact, numeric, f1, math, ... or module:function.")
@click.option("-n", "items", type=click.IntRange(1), help="Items, drawn by the seed. Default: all.")
@click.option("--seed", default=0, help="Of everything.")
@click.option("-b", "--baselines", default=None, help="all, none, or some, by commas: see below. Default: all.")
@click.option("--match", default="calls,tokens,usd", help="What self-consistency is to cost the same in.")
@click.option("--samples", default=64, type=click.IntRange(1), help="Of self-consistency for one item, at most.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="Of these samples, in place of the model's own.")
@click.option("-c", "--concurrency", default=16, type=click.IntRange(1), help="Items at the same time.")
@click.option("--budget", "budgets", multiple=True, metavar="KEY=N", help="calls, tokens, usd or seconds; repeat it.")
@click.option("--grid", multiple=True, metavar="KEY=A,B", help="Each FILE with each of these values; repeat it.")
@ENGINE
@WORKERS
@ADDRESS
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for the report, tables and records.")
@click.option("--compare", nargs=2, type=click.Path(path_type=Path), help="Two stored evaluations, by their folders.")
@STORE
@SET
@JSON
def evaluate(
    files: tuple[Path, ...],
    data: str | None,
    mapping: Path | None,
    scorer: str | None,
    items: int | None,
    seed: int,
    baselines: str | None,
    match: str,
    samples: int,
    temperature: float | None,
    concurrency: int,
    budgets: tuple[str, ...],
    grid: tuple[str, ...],
    engine: str,
    workers: int | None,
    ray_address: str | None,
    out: Path | None,
    compare: tuple[Path, Path] | None,
    store: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the debates in FILES on the same items, beside what they must be compared with at equal cost.

    \b
    DATA  questions.jsonl, .csv, .parquet   with question, answer (choices, group)
          gsm8k:test.jsonl                  a known set: gsm8k, gsm_hard, math, mmlu, gpqa, ...
          arithmetic:100                    generated: arithmetic, puzzles, counting, dates, pocket, ...
    \b
    Baselines: members, best, vote (free: they stand in the debate's first round), self-consistency of the best
    member, isolated (nobody reads anybody), noise (peers talk of another question).
    \b
    The same command goes on where it was ended, and with a larger -n makes no call twice.
    """
    from agora.errors import InputError

    if compare is not None:
        if files or data:
            raise InputError("--compare takes two stored evaluations, and nothing else.")
        _compared(*compare, as_json)
        return
    if not files:
        raise InputError("give the FILE of a debate, or --compare two stored evaluations.")
    if data is None:
        raise InputError("an evaluation needs --data.", hint="Try `--data arithmetic:100`, which needs no file.")
    if out is not None:
        _writable(out)
    from agora.evaluate import load as load_data
    from agora.evaluate.running.evaluating import check

    dataset = load_data(data, n=items, seed=seed, mapping=mapping, scorer=scorer)
    debates = _debates(files, settings, _grid(grid), dataset)
    chosen, units = _chosen(baselines, bool(grid)), [unit for unit in match.split(",") if unit]
    check(chosen, units)
    results = _run(
        debates, dataset, store, as_json, baselines=chosen, match=units, samples=samples,
        temperature=temperature, concurrency=concurrency, seed=seed, budget=budget_of(budgets),
        engine=engine_of(engine, workers, ray_address),
    )  # fmt: skip
    _tell(results, dataset, out, as_json)
    if results.stopped:
        sys.exit(3)


def _writable(out: Path) -> None:
    """See before anything is paid for that the report can be written."""
    from agora.errors import InputError

    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{there} is a file.", hint="Give a folder for the report.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} is a folder that cannot be written to.", hint="Give another --out.")


# ---- what is to be run ------------------------------------------------------------------------------------------


def _debates(
    files: Sequence[Path], settings: Sequence[str], grid: Sequence[tuple[str, ...]], dataset: Dataset
) -> dict[str, Debate]:
    """The debates by the names they have in tables: that in the file, else the file's; with what the grid changes."""
    from agora import config
    from agora.config.answers import value_of
    from agora.errors import InputError

    kinds = {json.dumps(value_of(item.answer), sort_keys=True) for item in dataset.items}
    asked = [f"answer={kinds.pop()}"] if len(kinds) == 1 else []
    found: dict[str, Debate] = {}
    for file, changes in itertools.product(files, grid or [()]):
        with bytes_done("merging") as progress:
            debate, _ = config.load(file, [*settings, *changes, *asked], progress=progress)
        name = debate.name if debate.name != "debate" else file.stem
        if changes:
            name = f"{name} {' '.join(changes)}"
        if name in found:
            raise InputError(f"two debates are called '{name}'.", hint="Say `name: ...` in one of the files.")
        found[name] = debate
    return found


def _grid(given: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of the values of some settings, each as settings."""
    from agora.config.reading import parted
    from agora.errors import InputError

    axes = []
    for text in given:
        key, equals, values = text.partition("=")
        chosen = [value for value in parted(values) if value]
        if not key.strip() or not equals or not chosen:
            raise InputError(f"--grid: '{text[:60]}' is not KEY=VALUE,VALUE.")
        if twice := next((value for value in chosen if chosen.count(value) > 1), None):
            raise InputError(f"--grid: '{key.strip()[:40]}={twice[:40]}' stands there twice.")
        axes.append([f"{key.strip()}={value}" for value in chosen])
    return [combination for combination in itertools.product(*axes) if combination]


def _chosen(given: str | None, swept: bool) -> Sequence[str]:
    from agora.evaluate import BASELINES

    if given is None:
        return ("vote",) if swept else BASELINES  # of a grid what costs nothing and is not the same for all
    return BASELINES if given == "all" else () if given == "none" else [name for name in given.split(",") if name]


# ---- while it runs ----------------------------------------------------------------------------------------------


async def _within(journal: Journal | None, *args: Any, **options: Any) -> Results:
    from agora.evaluate import evaluate_async

    if journal is None:
        return await evaluate_async(*args, **options)
    async with journal:
        return await evaluate_async(*args, journal=journal, **options)


def _run(debates: Mapping[str, Debate], dataset: Dataset, store: str | None, as_json: bool, **options: Any) -> Results:
    import anyio

    from agora.errors import AgoraError, BudgetError, InputError

    journal = journal_of(store)
    kept = "what was answered is kept: the same command goes on." if journal else "nothing was kept (--store none)."
    if not as_json:
        _announce(debates, dataset)
    try:
        with _Watch() as tell:
            return anyio.run(partial(_within, journal, debates, dataset, progress=tell, **options))
    except KeyboardInterrupt:
        raise click.Abort(f"interrupted; {kept}") from None
    except AgoraError as error:
        if not isinstance(error, InputError) and "same command" not in (error.hint or ""):
            error.hint = f"{error.hint or ''} {kept.capitalize()}".strip()
        if as_json:
            print(json.dumps({"error": str(error), "exit_status": error.exit_status}))
        if isinstance(error, BudgetError):
            error.exit_status = 3
        raise


def _announce(debates: Mapping[str, Debate], dataset: Dataset) -> None:
    """What the debates will take, before anything is sent."""
    import anyio

    from agora.evaluate.running.baselines import asking
    from agora.text.forecast import forecast

    n, item = len(dataset.items), dataset.items[0]
    about = f" ({views.short(dataset.about, 200)})" if dataset.about else ""
    click.echo(f"{n} items of {views.clean(dataset.name)}{about}, scored by {dataset.scorer.name}")
    for name, debate in debates.items():
        made = anyio.run(forecast, asking(debate, item), item.question)
        least, most = made.least.calls * n, made.most.calls * n
        calls = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        usd = None if made.most.usd is None else made.most.usd * n
        money = "" if usd == 0 else f", {views.money(usd)} at most" if usd is not None else ", of unknown cost"
        click.echo(f"  {views.clean(name)}: {calls} calls{money}, by the first item; baselines come on top")


class _Watch:
    """Progress on standard error: redrawn where somebody looks, else a line now and then."""

    def __init__(self) -> None:
        self.live, self.last = None, 0.0
        self.now: Progress | None = None

    def __enter__(self) -> Any:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            live: Any = Live(get_renderable=self._table, console=Console(stderr=True), refresh_per_second=4,
                             transient=True)  # fmt: skip
            self.live = live
            live.start()
        return self._tell

    def __exit__(self, *error: object) -> None:
        live: Any = self.live
        if live is not None:
            live.stop()

    def _tell(self, progress: Progress) -> None:
        self.now = progress
        if self.live is None and time.monotonic() - self.last > EVERY:
            if self.last:
                click.echo(f"agora: {self._line(progress)}", err=True)
            self.last = time.monotonic()

    @staticmethod
    def _line(p: Progress) -> str:
        left = f", about {clock(p.seconds / p.done * (p.planned - p.done))} left" if p.done else ""
        kept = f", {p.replayed:,} from the journal" if p.replayed else ""
        absent = f", {p.absent} absent" if p.absent else ""
        waits = f"; waits for {views.short(p.waiting, 120)}" if p.waiting else ""
        return (
            f"{p.done:,} of {p.planned:,} runs{absent}; {p.spent.calls:,} calls{kept}, "
            f"{views.money(p.spent.usd)}; {clock(p.seconds)}{left}{waits}"
        )

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        from agora.evaluate.measures.statistics import wilson

        table = Table(box=None, pad_edge=False, title_justify="left")
        for title in ("", "items", "accuracy", "95% interval"):
            table.add_column(title, justify="left" if not title else "right", no_wrap=True)
        if self.now is None:
            return table
        table.caption = Text(self._line(self.now))
        table.caption_justify = "left"
        for name, (n, mean) in self.now.scores.items():
            interval = wilson(mean * n, n)
            cells = (f"{n}", f"{100 * mean:.1f}", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}")
            table.add_row(Text(views.short(name, 50)), *cells)
        return table


# ---- afterwards -------------------------------------------------------------------------------------------------


def _tell(results: Results, dataset: Dataset, out: Path | None, as_json: bool) -> None:
    """Say what came out, and write it."""
    from agora.errors import InputError
    from agora.evaluate import analyse

    analysis = analyse(results)
    written, fault = list[Path](), None
    try:
        written = _write(results, analysis, dataset, out) if out is not None else []
    except InputError as error:  # what was found is said all the same
        fault = error
    _say(results, analysis, dataset, written, as_json)
    if fault is not None:
        raise fault


def _say(results: Results, analysis: Analysis, dataset: Dataset, written: Sequence[Path], as_json: bool) -> None:
    from agora.evaluate.report.table import grids, headline

    if as_json:
        head = {"data": results.data, "items": len(dataset.items), "seed": results.seed, "scorer": results.scorer}
        more = {"notes": list(results.notes), "stopped": results.stopped or None, "written": list(map(str, written))}
        print(json.dumps({**head, **analysis.to_json(), **more}))
        return
    brief = len(analysis.debates) > 2  # the report has the rest
    _show([grid for grid in grids(analysis) if not brief or not grid.title.startswith("within")])
    for sentence in headline(analysis) if not brief else ():
        click.echo(_wrapped(sentence))
    for note in (*results.notes, *(f"{c.name}: {c.note}" for c in results.contestants if c.note)):
        click.echo(_wrapped(f"note: {views.clean(note)}"))
    if results.stopped:
        click.echo(_wrapped(f"stopped: {results.stopped} The same command goes on with a larger budget."))
    for path in written:
        click.echo(f"  wrote {path}")


def _write(results: Results, analysis: Analysis, dataset: Dataset, out: Path) -> list[Path]:
    """The report, the tables and the records, as far as what they take is installed."""
    from agora.evaluate import publish

    written = publish(results, analysis, out, {item.id: item.question for item in dataset.items})
    if not any(path.suffix == ".parquet" for path in written):
        click.echo("agora: no Parquet files: pip install 'agora-debate[frame]'.", err=True)
    return written


def _show(tables: Sequence[Grid]) -> None:
    from rich.console import Console

    from agora.evaluate.report.table import terminal

    console = Console(highlight=False, width=_wide())
    for grid in tables:
        console.print()
        console.print(terminal(grid, _wide()))
    console.print()


def _wide() -> int:
    return max(60, min(140, shutil.get_terminal_size((120, 24)).columns))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _wide(), initial_indent="  ", subsequent_indent="    ")


def stored_results(path: Path) -> Results:
    """An evaluation that was written with --out.

    Args:
        path: its folder, or the results.json in it.

    Raises:
        InputError: if there is none.
    """
    from agora.errors import InputError
    from agora.evaluate import load_results

    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path} holds no evaluation.", hint="Write one with `agora eval ... --out DIR`.")
    return load_results(file)


def _compared(a: Path, b: Path, as_json: bool) -> None:
    """Two stored evaluations on the items that both have."""
    from agora.errors import InputError
    from agora.evaluate import against
    from agora.evaluate.measures.analysis import plain
    from agora.evaluate.report.table import against_grids

    if a.exists() and b.exists() and a.samefile(b):
        raise InputError(f"--compare: {a} and {b} are one evaluation.")
    found = [stored_results(path) for path in (a, b)]
    names = (a.name or str(a), b.name or str(b))
    made = against(found[0], found[1], names if names[0] != names[1] else (str(a), str(b)))
    if as_json:
        print(json.dumps(plain(made)))
        return
    _show(against_grids(made))
    for one in made.comparisons:
        click.echo(_wrapped(one.sentence))
