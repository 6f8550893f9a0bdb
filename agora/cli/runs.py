"""Commands that read the journal: runs, show, export."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.options import JSON, STORE, only_reading
from agora.view.records import info_json

if TYPE_CHECKING:
    from agora.journal import RunInfo

_SORTS = ("created", "cost", "calls", "tokens", "seconds")
_SPANS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@click.command()
@click.option("--status", type=click.Choice(["running", "done", "failed", "interrupted", "budget"]))
@click.option("--text", help="Found in the question or the debate's name.")
@click.option("--since", metavar="AGE", help="Begun in the last 30m, 12h, 7d, 4w.")
@click.option("--sort", type=click.Choice(_SORTS), default="created", help="Largest first.")
@click.option("-n", "--limit", default=20, type=click.IntRange(1), help="How many.")
@click.option("--items", is_flag=True, help="With the runs that are one item of an evaluation.")
@STORE
@JSON
def runs(
    status: str | None,
    text: str | None,
    since: str | None,
    sort: str,
    limit: int,
    items: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """List runs: when, how they ended, what they took."""
    import anyio

    async def read() -> list[RunInfo]:
        async with only_reading(store) as journal:
            return await journal.runs(
                status=status, text=text, since=_since(since), sort=sort, limit=limit, items=items
            )

    found = anyio.run(read)
    if as_json:
        print(json.dumps({"runs": [info_json(info) for info in found]}))
        return
    if not found:
        click.echo("no runs" + (" that match" if status or text or since else " yet"))
        return
    rows = [("RUN", "WHEN", "STATUS", "ANSWER", "CALLS", "TOKENS", "CACHED", "COST", "QUESTION")]
    for info in found:
        u = info.usage
        rows.append(
            (
                info.id,
                time.strftime("%d %b %H:%M", time.localtime(info.created)),
                _state(info),
                views.short(info.answer, 16) if info.answer is not None else "-",
                str(u.calls),
                str(u.tokens),
                f"{u.cached_tokens / u.input_tokens:.0%}" if u.input_tokens else "-",
                views.money(u.usd),
                views.short(info.question, 48) if info.question is not None else "(not kept)",
            )
        )
    views.columns(rows, (False, False, False, False, True, True, True, True, False))


@click.command()
@click.argument("run")
@click.option("--round", "rounds", type=click.IntRange(0), multiple=True, metavar="N", help="Only what was said in it.")
@click.option("--agent", "agents", multiple=True, metavar="NAME", help="Only what it said. Both can be repeated.")
@click.option("--html", metavar="FILE", help="Write it as a page that needs no server and no network; '-' prints it.")
@STORE
@JSON
def show(
    run: str, rounds: tuple[int, ...], agents: tuple[str, ...], html: str | None, store: str | None, as_json: bool
) -> None:
    """Show RUN (an id, the beginning of one, or 'last'): who said what, the verdict, what it took."""
    import anyio

    if html is not None:
        if as_json or rounds or agents:
            raise click.UsageError("--html writes the whole run as a page: leave --json, --round and --agent out.")
        _as_page(store, run, html)
        return
    info, calls, events = anyio.run(_everything, store, run)
    turns = turns_of(calls, events)
    if rounds or agents:
        turns, calls = _only(turns, calls, rounds, agents)
    verdict = next((e["data"] for e in reversed(events) if e["kind"] == "decided" and e["path"] == ""), None)
    if as_json:
        data = {"run": info_json(info), "turns": turns, "verdict": verdict, "calls": calls}
        print(json.dumps(data))
        return
    views.lines(f"run {info.id}: {_state(info)}, {time.strftime('%d %b %Y %H:%M', time.localtime(info.created))}")
    views.lines(info.question if info.question is not None else "(not kept)", "Q: ", "   ")
    views.transcript(turns)
    if verdict is not None and "answer" in verdict:
        views.summary(verdict, info.usage, whole=True)
    else:
        click.echo("")
        if info.reason:
            views.lines(f"ended: {info.reason}", "  ", "    ")
        views.lines(views.usage_line(info.usage), "  ", "    ")
        if info.status != "done" and info.content and not info.alive:
            views.lines(f"go on with: agora run --resume {info.id}", "  ", "    ")
    more = info.attempts - info.usage.calls
    if more or info.failed:
        views.lines(f"{info.attempts} requests were sent; {info.failed} calls failed in the end", "  ", "    ")


def _only(
    turns: list[dict[str, Any]], calls: list[dict[str, Any]], rounds: Sequence[int], agents: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The turns of some rounds and agents, and the calls made for them.

    Raises:
        InputError: if the run has no such round or agent.
    """
    from agora.errors import InputError
    from agora.journal import plain
    from agora.text.attributes import near

    names = dict.fromkeys(turn["agent"] for turn in turns)
    for name in agents:
        if name not in names:
            raise InputError(f"--agent: nobody called '{name[:60]}' spoke in this run.", hint=near(name, [*names][:40]))
    last = max((turn["round"] for turn in turns), default=-1)
    for index in rounds:
        if index > last:
            there = f"its last round is {last}" if last >= 0 else "nobody has spoken in it"
            raise InputError(f"--round: this run has no round {index}: {there}.")
    turns = [t for t in turns if (not agents or t["agent"] in agents) and (not rounds or t["round"] in rounds)]
    below = tuple(f"{plain(turn['agent'])}/{turn['round']}/" for turn in turns)
    return turns, [call for call in calls if call["path"].startswith(below)] if below else []


@click.command()
@click.argument("run")
@click.option("-o", "--out", type=click.Path(dir_okay=False, writable=True), help="A file; default: standard output.")
@STORE
def export(run: str, out: str | None, store: str | None) -> None:
    """Write RUN as JSON lines: one for the run, one for each call, one for each event."""
    import anyio

    from agora.errors import InputError

    info, calls, events = anyio.run(_everything, store, run)
    lines = [json.dumps({"type": "run", **info_json(info), "config": info.config})]
    lines += [json.dumps({"type": "call", **call}) for call in calls]
    lines += [json.dumps({"type": "event", **event}) for event in events]
    try:
        with open(out, "w", encoding="utf-8") if out else _standard() as target:
            target.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        if out is None:
            raise
        raise InputError(f"{out} cannot be written: {error.strerror}.", hint="Choose another place with -o.") from None


def _as_page(store: str | None, run: str, target: str) -> None:
    """Write a run as one HTML file.

    Raises:
        InputError: if there is no such run, or the file cannot be written.
    """
    import anyio

    from agora.errors import InputError
    from agora.evaluate.results_io import write
    from agora.view import page

    async def made() -> tuple[str, str]:
        async with only_reading(store) as journal:
            id = (await journal.run(run)).id
            return id, await page.of_run(journal, id)

    path = Path(target)
    if target != "-" and path.is_dir():
        raise InputError(f"{target} is a folder.", hint="Give --html a file.")
    id, content = anyio.run(made)
    data = content.encode("utf-8", "replace")
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write(path, data)
    click.echo(f"{target}: run {id}, {len(data) / 1000:,.0f} kB", err=True)


def _standard() -> Any:
    from contextlib import nullcontext

    return nullcontext(sys.stdout)


async def _everything(store: str | None, run: str) -> tuple[RunInfo, list[dict[str, Any]], list[dict[str, Any]]]:
    async with only_reading(store) as journal:
        info = await journal.run(run)
        return info, await journal.calls(info.id), await journal.events(info.id)


def turns_of(calls: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns of a run, each with its text: from the event where the agent is a group, else from its call."""
    replies = {call["path"]: call["reply"] for call in calls if call["reply"] is not None}
    turns: dict[tuple[Any, ...], dict[str, Any]] = {}
    order: list[str] = next((e["data"].get("agents") or [] for e in events if e["kind"] == "started"), [])
    for event in events:
        if event["kind"] != "spoke" or event["path"] != "":
            continue
        data = event["data"]
        reply = data.get("reply") or replies.get(f"{data['agent']}/{data['round']}/{data['phase']}")
        shown = {key: data.get(key) for key in ("agent", "round", "phase", "answer", "confidence", "reads", "error")}
        turns[data["agent"], data["round"], data["phase"]] = {**shown, "text": reply["text"] if reply else None}
    number = {agent: i for i, agent in enumerate(order)}
    phases = list(dict.fromkeys(turn["phase"] for turn in turns.values()))
    return sorted(
        turns.values(), key=lambda t: (t["round"], phases.index(t["phase"]), number.get(t["agent"], len(number)))
    )


def _state(info: RunInfo) -> str:
    return "killed" if info.status == "running" and not info.alive else info.status


def _since(text: str | None) -> float | None:
    from agora.errors import InputError

    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if match is None:
        raise InputError(f"--since: '{text[:20]}' is no age such as 30m, 12h, 7d or 4w.")
    return time.time() - int(match[1]) * _SPANS[match[2]]
