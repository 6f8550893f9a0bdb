"""Commands that train a router from outcomes and measure it: route train, route report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.options import JSON

if TYPE_CHECKING:
    from agora.api.metrics import Report
    from agora.api.outcomes import Outcome

FROM = click.option(
    "--from",
    "source",
    required=True,
    metavar="SOURCE",
    help="Outcomes: a .jsonl of prompt, model, score, cost; or a store of runs, sqlite:///FILE or postgresql://...",
)


@click.group()
def route() -> None:
    """Train routers, and see what they are worth."""


@route.command()
@FROM
@click.option("--method", type=click.Choice(["knn", "logistic", "mf", "graph"]), default="knn", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="A .json or .safetensors.")
@click.option("--spend", type=float, help="Set lambda so that an answer costs so many USD on average.")
@click.option("--share", type=float, help="Of two models: set a threshold so that the dearer gets this share of calls.")
@click.option(
    "--embed", metavar="MODEL", help="An embeddings endpoint in place of words: a model of OpenAI's protocol."
)
@click.option("--base-url", help="Of another embeddings server.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the method: k=20, strength=1, ...")
@click.option("--seed", type=int, default=0)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@JSON
def train(
    source: str,
    method: str,
    out: Path,
    spend: float | None,
    share: float | None,
    embed: str | None,
    base_url: str | None,
    options: tuple[str, ...],
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Train a router on outcomes and write it as a file, which is data: for `{route: [...], by: FILE}`."""
    import anyio

    from agora.api import outcomes, routerfile
    from agora.api.features import EndpointFeatures
    from agora.api.train import calibrated
    from agora.api.train import train as fit
    from agora.errors import InputError

    if out.suffix not in (".json", ".safetensors"):
        raise InputError(f"{out}: a router file is a .json or a .safetensors.")
    if out.exists() and not force:
        raise InputError(f"{out} is there already.", hint="Choose another file with -o, or overwrite it with --force.")
    if base_url is not None and embed is None:
        raise InputError("--base-url is of an embeddings endpoint.", hint="Name its model with --embed.")
    given = dict(_option(option) for option in options)

    async def go() -> dict[str, Any]:
        found = await _outcomes(source)
        table = outcomes.table(found)
        features = EndpointFeatures(embed, base_url) if embed is not None else None
        made = await fit(table, method, features=features, seed=seed, options=given)
        if spend is not None or share is not None:
            made = await calibrated(made, table, spend=spend, share=share)
        routerfile.save(made, out)
        return {
            "file": str(out), "method": method, "prompts": len(table.prompts), "records": len(found),
            "models": list(made.models), "costs": list(made.costs), "lambda": made.weight, "threshold": made.threshold,
        }  # fmt: skip

    done = anyio.run(go)
    done["bytes"] = out.stat().st_size
    if as_json:
        print(json.dumps(done))
        return
    models = ", ".join(map(views.clean, done["models"][:12]))
    click.echo(f"{out}: {method} over {done['prompts']:,} prompts and {len(done['models'])} models: {models}")
    if done["threshold"] is not None:
        click.echo(f"  threshold {done['threshold']:.4f}")
    elif done["lambda"]:
        click.echo(f"  lambda {done['lambda']:.6g}")
    click.echo(f"  use it as a model: {{route: [{models}], by: {out}}}")


@route.command()
@FROM
@click.option("--router", "path", type=click.Path(path_type=Path), required=True, help="A router file.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A picture of quality over cost: a .svg.")
@JSON
def report(source: str, path: Path, out: Path | None, as_json: bool) -> None:
    """Measure a router on outcomes that it was not trained on, beside single models, random mixes and an oracle."""
    import anyio

    from agora.api import outcomes, routerfile
    from agora.api.metrics import report as measure
    from agora.api.train import expected
    from agora.errors import InputError

    if out is not None and out.suffix != ".svg":
        raise InputError(f"{out}: the picture is a .svg.")

    async def go() -> Report:
        learnt = routerfile.load(path)
        table = outcomes.table(await _outcomes(source)).complete()
        scores = await expected(learnt, table)
        costs = [learnt.costs[learnt.models.index(name)] for name in table.models]
        return measure(table, scores, costs)

    made = anyio.run(go)
    if out is not None:
        from agora.drawing import plane_svg

        try:
            out.write_text(plane_svg(made.singles, made.hull, made.random, made.oracle_hull), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{out} cannot be written: {(error.strerror or str(error)).lower()}.") from error
    if as_json:
        print(json.dumps(_plain(made)))
        return
    _print(made, path)
    if out is not None:
        click.echo(f"  picture  {out}")


def _print(made: Report, path: Path) -> None:
    click.echo(f"{path}: on {made.prompts:,} prompts that every model has answered")
    rows = [("", "cost, USD", "quality")]
    for name, (cost, quality) in sorted(made.singles.items(), key=lambda item: item[1]):
        rows.append((f"{name} alone", f"{cost:.6f}", f"{quality:.3f}"))
    rows.append(("oracle: the best, and of these the cheapest", f"{made.oracle[0]:.6f}", f"{made.oracle[1]:.3f}"))
    for cost, quality in made.hull:
        rows.append(("router, a corner of its hull", f"{cost:.6f}", f"{quality:.3f}"))
    views.columns([[views.short(views.clean(cell), 60) for cell in row] for row in rows], (False, True, True))
    labels = {
        "aiq": "AIQ of the router", "aiq_random": "AIQ of random mixes", "aiq_oracle": "AIQ of the oracle",
        "at_best_cost": f"router at the cost of {made.strong}", "best_single": f"{made.strong} alone",
        "apgr": f"APGR, {made.weak} to {made.strong} (random 0.5)", "cpt50": "calls to the strong at 50% of the gap",
        "cpt80": "calls to the strong at 80% of the gap",
    }  # fmt: skip
    figures = []
    for name, label in labels.items():
        value = made.figures[name]
        if value is None:
            figures.append((label, "none: the strong model is no better", ""))
            continue
        low, high = made.intervals.get(name, (value, value))
        figures.append((label, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"))
    click.echo("")
    views.columns([[views.short(views.clean(cell), 60) for cell in row] for row in figures], (False, True, False))


def _plain(made: Report) -> dict[str, Any]:
    return {
        "prompts": made.prompts, "singles": {name: list(point) for name, point in made.singles.items()},
        "hull": [list(p) for p in made.hull], "points": [list(p) for p in made.points],
        "random": [list(p) for p in made.random], "oracle": list(made.oracle),
        "oracle_hull": [list(p) for p in made.oracle_hull], "figures": dict(made.figures),
        "intervals": {name: list(pair) for name, pair in made.intervals.items()}, "weak": made.weak,
        "strong": made.strong,
    }  # fmt: skip


async def _outcomes(source: str) -> list[Outcome]:
    """From a file of records, or from a store of runs."""
    from agora.api import outcomes
    from agora.errors import InputError
    from agora.journal import Journal

    if "://" in source:
        async with Journal(source) as journal:
            found = await outcomes.from_journal(journal)
        if not found:
            raise InputError(f"{source.partition('://')[0]}: the store has no debates with a verdict to learn from.")
        return found
    if Path(source).suffix in (".sqlite", ".db"):
        raise InputError(f"{source}: is a store, written as sqlite:///{source}.")
    return outcomes.read(source)


def _option(text: str) -> tuple[str, float | int]:
    from agora.errors import InputError

    key, equals, value = text.partition("=")
    try:
        number = float(value)
        if not equals or not key.isidentifier() or number != number or abs(number) > 1e9:
            raise ValueError
    except ValueError:
        raise InputError(f"--option needs KEY=NUMBER, this is '{text[:60]}'.") from None
    return key, int(number) if number == int(number) else number
