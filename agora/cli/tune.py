"""`agora tune`: a better form of a debate, searched on some items and reported on others."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.options import ADDRESS, ENGINE, EVERY, JSON, SET, STORE, WORKERS, budget_of, clock, engine_of, journal_of

if TYPE_CHECKING:
    from agora.evaluate.measures.metrics import Summary
    from agora.tune import Progress, Trial, Tuned

SHOWN = 8  # of the best candidates
HEADER = "# Tuned"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-d", "--data", required=True, metavar="DATA", help="Items to tune on, as `agora eval` takes them.")
@click.option("--held-out", metavar="DATA", help="Items to report on. Default: half of --data is held out.")
@click.option("--mapping", type=click.Path(path_type=Path), help="Which fields of the data are what, as YAML.")
@click.option("--scorer", help="In place of the data's own: exact, numeric, f1, math, ... or module:function.")
@click.option("-n", "items", type=click.IntRange(1), help="Items of --data, drawn by the seed. Default: all.")
@click.option("--objective", default="accuracy", help="accuracy, or accuracy-LAMBDA*cost (or *calls, *tokens).")
@click.option("--trials", default=None, type=click.IntRange(1), help="Candidates at most. Default: 40.")
@click.option("--budget", "budgets", multiple=True, metavar="KEY=N", help="calls, tokens, usd or seconds; repeat it.")
@click.option(
    "--over", multiple=True, metavar="KEY=A,B", help="Values that a key can have beside the file's; repeat it."
)
@click.option("--seed", default=0, help="Of everything.")
@click.option("-c", "--concurrency", default=16, type=click.IntRange(1), help="Items at the same time.")
@ENGINE
@WORKERS
@ADDRESS
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Writes the winner: a debate file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Writes the scores over candidates: an .svg.")
@STORE
@SET
@JSON
def tune(
    file: Path,
    data: str,
    held_out: str | None,
    mapping: Path | None,
    scorer: str | None,
    items: int | None,
    objective: str,
    trials: int | None,
    budgets: tuple[str, ...],
    over: tuple[str, ...],
    seed: int,
    concurrency: int,
    engine: str,
    workers: int | None,
    ray_address: str | None,
    out: Path | None,
    plot: Path | None,
    store: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search for a better form of the debate in FILE, and say on other items whether it is better.

    \b
    What is searched:
      what FILE leaves open     decide: {choose: [plurality, confidence]}, temperature: {search: [0, 1]}
      what --over says          --over topology=ring,star --over protocol.view.text=full,answer
      else what is usual        team, topology, edges, rounds, view, memory, gates, decision
    \b
    Candidates begin on a few items, and the better third of them get more. The winner is compared with FILE on
    held-out items only. The same command goes on where it was ended, without a second payment, to the same winner;
    the budget is of all of it.
    """
    from agora.errors import AgoraError, BudgetError, InputError
    from agora.evaluate import load
    from agora.tune import TRIALS
    from agora.tune import tune as run

    _writable(file, out, plot)
    dataset = load(data, n=items, seed=seed, mapping=mapping, scorer=scorer)
    others = None if held_out is None else load(held_out, seed=seed, mapping=mapping, scorer=scorer)
    journal = journal_of(store)
    kept = "what was answered is kept: the same command goes on." if journal else "nothing was kept (--store none)."
    try:
        with _Watch() as tell:
            tuned = run(
                file, dataset, held_out=others, over=over, settings=settings, objective=objective,
                trials=trials or TRIALS, budget=budget_of(budgets), concurrency=concurrency, seed=seed,
                journal=None if journal is None else journal.url, engine=engine_of(engine, workers, ray_address),
                progress=tell,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise click.Abort(f"interrupted; {kept}") from None
    except AgoraError as error:
        if not isinstance(error, InputError) and "same command" not in (error.hint or ""):
            error.hint = f"{error.hint or ''} {kept.capitalize()}".strip()
        if isinstance(error, BudgetError):
            error.exit_status = 3
        if as_json:
            print(json.dumps({"error": str(error), "exit_status": error.exit_status}))
        raise
    try:
        notes, fault = _written(tuned, file, out, plot), None
    except OSError as error:  # what was found is said all the same
        notes, fault = [], error
    if as_json:
        from agora.evaluate.measures.analysis import plain

        told: Any = plain(tuned)
        verdict = None if tuned.held_out is None else tuned.held_out.verdict
        sentence = None if tuned.held_out is None else tuned.held_out.sentence
        told.update(file=str(file), out=None if out is None else str(out), verdict=verdict, sentence=sentence)
        told["notes"] += notes
        print(json.dumps(told))
    else:
        _show(tuned, file, notes)
    if fault is not None:
        raise fault


def _writable(file: Path, out: Path | None, plot: Path | None) -> None:
    """See before anything is paid for that what comes out can be written."""
    from agora.errors import InputError

    if plot is not None and plot.suffix != ".svg":
        raise InputError(f"{plot}: the picture is a .svg.")
    for path in (out, plot):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}.")
        if path.is_dir():
            raise InputError(f"{path} is a folder.", hint="Give the name of a file.")
    if out is None or not out.exists():
        return
    try:
        begins = out.read_bytes()[: len(HEADER)]
    except OSError as error:
        raise InputError(f"{out} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if (file.exists() and out.samefile(file)) or begins != HEADER.encode():
        raise InputError(f"{out} is there already, and not by `agora tune`.", hint="Choose another name.")


def _written(tuned: Tuned, file: Path, out: Path | None, plot: Path | None) -> list[str]:
    """Write what was asked for; what a reader must know of it."""
    from agora.drawing import curve_svg
    from agora.errors import AgoraError

    notes = []
    if out is not None:
        tuned.write(out, file.name)
        from agora import config

        try:
            config.load(out, lenient=True)
        except AgoraError as error:  # what it names beside it is not there
            notes.append(f"{out} cannot be run from there ({error.message.rstrip('.')}): put it beside {file}")
    if plot is not None:
        scores = [trial.score for trial in tuned.trials]
        beside = {} if tuned.start.score is None else {"start": tuned.start.score}
        plot.write_text(curve_svg(scores, tuned.curve, beside), encoding="utf-8")
    return notes


# ---- while it runs ----------------------------------------------------------------------------------------------


class _Watch:
    """Progress on standard error: a line that is redrawn where somebody looks, else one now and then."""

    def __init__(self) -> None:
        self.live: Any = None
        self.last = time.monotonic()

    def __enter__(self) -> Any:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live("", console=Console(stderr=True), refresh_per_second=4, transient=True)
            self.live.start()
        return self._tell

    def __exit__(self, *error: object) -> None:
        if self.live is not None:
            self.live.stop()

    def _tell(self, progress: Progress) -> None:
        if self.live is not None:
            from rich.text import Text

            self.live.update(Text(_line(progress)))
        elif time.monotonic() - self.last > EVERY:
            self.last = time.monotonic()
            click.echo(f"agora: {_line(progress)}", err=True)


def _line(p: Progress) -> str:
    paid = f"{p.spent.calls:,} calls, {views.money(p.spent.usd)}"
    paid += f" ({p.earlier.calls:,} calls earlier)" if p.earlier.calls else ""
    best = "" if p.best is None or p.best.score is None else f", best {p.best.score:.3f} (#{p.best.number})"
    what = f"candidate {p.trials} of {p.most}" if p.phase == "search" else "held-out items"
    return f"{what}, {p.done} of {p.planned} runs{best}; {paid}; {clock(p.seconds)}"


# ---- afterwards -------------------------------------------------------------------------------------------------


def _show(tuned: Tuned, file: Path, notes: list[str]) -> None:
    run = [one for one in tuned.trials if one.state != "skipped"]
    click.echo(f"{views.clean(str(file))}: {len(run)} candidates for {tuned.objective} on {tuned.dev} items of "
               f"{views.clean(tuned.data)}")  # fmt: skip
    click.echo(f"  searched {views.short(views.clean(tuned.about), 160)}")
    if tuned.stopped:
        click.echo(f"  ended early: {views.clean(tuned.stopped.rstrip('.'))}; this is the best so far")
    _candidates(tuned)
    early = Counter(one.items for one in tuned.trials if one.state == "stopped early")
    if early:
        after = ", ".join(f"{n} after {items} items" for items, n in sorted(early.items()))
        click.echo(f"  stopped early: {early.total()} ({after})")
    _skipped([one for one in tuned.trials if one.state == "skipped"])
    _shares("what matters on the first items", tuned.importance)
    _shares("importance of agents in the start", tuned.agents)
    _reported(tuned)
    for note in [*tuned.notes, *notes]:
        click.echo(f"  note: {views.clean(note)}")
    earlier = f", {tuned.earlier.calls:,} more in earlier calls" if tuned.earlier.calls else ""
    click.echo(f"  paid for {tuned.spent.calls:,} calls, {tuned.spent.tokens:,} tokens, "
               f"{views.money(tuned.spent.usd)}{earlier}")  # fmt: skip


def _candidates(tuned: Tuned) -> None:
    """The best of them, and the start."""
    shown = tuned.best[:SHOWN]
    if tuned.start not in shown:
        shown.append(tuned.start)
    click.echo(
        f"\n  {'':>4}  {'score':>8}  {'accuracy':>8}  {'calls':>6}  {'tokens':>7}  on the {tuned.dev} items tuned on"
    )
    for one in shown:
        n = max(1, one.items)
        figures = f"{one.score:8.4f}  {100 * (one.accuracy or 0):8.1f}  {one.usage.calls / n:6.1f}"
        click.echo(f"  {'#' + str(one.number):>4}  {figures}  {one.usage.tokens / n:7.0f}  {_changed(one)}")


def _changed(one: Trial) -> str:
    if not one.number:
        return "the start"
    off = [name.removeprefix("agents.") for name, value in one.changed.items() if value is False and "agents." in name]
    rest = {name: value for name, value in one.changed.items() if not (value is False and "agents." in name)}
    edges = [name for name, value in rest.items() if " -> " in name and value]
    said = [f"without {', '.join(off)}"] if off else []
    said += [f"{name}={_value(value)}" for name, value in rest.items() if " -> " not in name]
    if rest.get("topology") == "edges" and edges:
        said.append(f"with {', '.join(edges)}")
    return views.short(views.clean("; ".join(said) or "the same by another name"), 200)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, (str, int)) else json.dumps(value, default=str)


def _skipped(skipped: list[Trial]) -> None:
    why = Counter(one.reason for one in skipped)
    for reason, n in why.most_common(3):
        click.echo(f"  skipped: {n}: {views.short(views.clean(reason), 150)}")
    if len(why) > 3:
        click.echo(f"  skipped: {sum(n for _, n in why.most_common()[3:])} for other reasons; --json has them all")


def _shares(title: str, shares: Mapping[str, float]) -> None:
    large = [f"{views.clean(name)} {100 * share:.0f}%" for name, share in shares.items() if share >= 0.01][:8]
    if large:
        click.echo(f"  {title}: {', '.join(large)}")


def _reported(tuned: Tuned) -> None:
    """The result."""
    click.echo("  the scores above chose the winner, and that of the best of many is too high (the winner's curse)")
    held = tuned.held_out
    if held is None:
        click.echo("\nNo held-out item could be paid for: whether the winner is better is not known.")
        return
    of = f" of {held.planned}" if held.n < held.planned else ""
    click.echo(f"\nOn {held.n}{of} held-out items:")
    pair = [("start", held.start)] if held.comparison is None else [("start", held.start), ("winner", held.winner)]
    for name, one in pair:
        click.echo(f"  {name:6}  {_figures(one)}")
    click.echo(views.clean(held.sentence))


def _figures(one: Summary) -> str:
    a, n = one.accuracy, one.n
    money = "" if one.usage.usd in (None, 0) else f", {views.money((one.usage.usd or 0) / n)}"
    return (
        f"{100 * a.value:5.1f} [{100 * a.low:.1f}, {100 * a.high:.1f}]  "
        f"{one.usage.calls / n:.1f} calls, {one.usage.tokens / n:.0f} tokens{money} an item"
    )
