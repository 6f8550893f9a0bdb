"""Commands that run debates, or say what one would take: run, ask, check."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.merge import bytes_done
from agora.cli.options import JSON, SET, STORE, journal_of, question_of
from agora.terminal import shows

if TYPE_CHECKING:
    from agora.journal import Journal
    from agora.records import Verdict
    from agora.text.debate import Debate


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("-q", "--question", help="The question; '-' reads it from standard input.")
@click.option("--resume", metavar="RUN", help="Go on with a run: its id, the beginning of it, or 'last'.")
@STORE
@SET
@JSON
def run(
    file: Path | None,
    question: str | None,
    resume: str | None,
    store: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the debate in FILE to its verdict, live; or go on with a run that was interrupted."""
    import anyio

    from agora import config
    from agora.errors import InputError

    if resume is not None:
        debate, asked, id = anyio.run(_resumed, resume, store, file, settings)
        if question is not None and question_of(question) != asked:
            raise InputError(f"run {id} debates another question.", hint="Leave -q out, or start a new run.")
        follow(debate, asked, as_json, store, id)
        return
    if file is None:
        raise InputError("give the FILE of a debate, or --resume RUN.")
    with bytes_done("merging") as progress:
        debate, given = config.load(file, settings, progress=progress)
    question = question_of(question) if question is not None else given
    if question is None:
        raise InputError(f"{file} has no question.", hint="Give one with -q QUESTION.")
    follow(debate, question, as_json, store)


async def _resumed(
    resume: str, store: str | None, file: Path | None, settings: tuple[str, ...]
) -> tuple[Debate, str, str]:
    """The debate, question and id of a run that is to go on."""
    from agora import config
    from agora.cli.options import only_reading
    from agora.errors import InputError

    async with only_reading(store) as journal:
        info = await journal.run(resume)
    if info.question is None:
        raise InputError(f"run {info.id} was stored without its content, so it cannot be resumed.")
    changed = file is not None or bool(settings)
    if changed and info.status == "done":
        raise InputError(f"run {info.id} is over; what has changed needs a new run.", hint="Leave --resume out.")
    if file is not None:
        with bytes_done("merging") as progress:
            debate, _ = config.load(file, settings, progress=progress)
        if debate.source is not None and info.config is not None and debate.source["text"] != info.config["text"]:
            said = "has changed since that run began: calls whose prompts or models differ are made again"
            click.echo(f"agora: {file} {said}.", err=True)
    else:
        debate = config.again(info, settings)
    return debate, info.question, info.id


@click.command()
@click.argument("question")
@click.option("-m", "--model", "models", multiple=True, help="A model, such as openai:gpt-5-mini; repeat it.")
@click.option("-p", "--preset", "--protocol", "preset", metavar="NAME", help="A published protocol: see agora presets.")
@click.option("-a", "--answer", help="number, yes_no, text or json. Default: text, or the preset's.")
@click.option("-t", "--topology", help="complete, ring, star, ... Default: complete, or the preset's.")
@click.option(
    "-r", "--rounds", type=click.IntRange(0, 1000), help="After the first answers. Default: 2, or the preset's."
)
@STORE
@JSON
def ask(
    question: str,
    models: tuple[str, ...],
    preset: str | None,
    answer: str | None,
    topology: str | None,
    rounds: int | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Debate QUESTION among models, without a file. Without models, among those found here."""
    import anyio
    import yaml

    from agora import config
    from agora.config.asking import asking

    question = question_of(question)
    find = partial(asking, question, models, preset=preset, answer=answer, topology=topology, rounds=rounds)
    made = anyio.run(find)
    debate, _ = config.loads(yaml.safe_dump(made.data, sort_keys=False), "ask")
    if made.found:
        used = ", ".join(agent.model.name for agent in debate.agents)
        click.echo(f"agora: no model given, so {used} ({made.found}); {_cost(debate, question)}", err=True)
    follow(debate, question, as_json, store)


def _cost(debate: Debate, question: str) -> str:
    """What it will take, in words."""
    import anyio

    from agora.text.forecast import forecast

    most = anyio.run(forecast, debate, question).most
    cost = "an unknown cost" if most.usd is None else f"about {views.money(most.usd)}"
    return f"at most {most.calls} calls, {cost}"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-q", "--question", help="The question to predict for; default: the file's.")
@SET
@JSON
def check(file: Path, question: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Validate FILE; print who reads whom, and the calls, tokens and cost to expect. Nothing is sent."""
    import anyio

    from agora import config
    from agora.text.forecast import forecast

    missing: list[str] = []
    debate, given = config.load(file, settings, lenient=True, missing=missing)
    asked = question_of(question) if question is not None else given
    graph = debate.reading()
    figures = graph.figures()
    made = anyio.run(forecast, debate, asked or "A question of one sentence, as none is given here?")
    last, limit = debate.moderator.last, debate.budget.calls
    calls = {"least": made.least.calls, "most": made.most.calls}
    if limit is not None:
        calls = {key: min(value, limit) for key, value in calls.items()}
    reads = {agent: list(graph.reads(agent)) for agent in graph.agents}
    unknown = [f"the price of {name}" for name in made.unpriced] + missing
    if asked is None:
        unknown.append("the question: the file has none")
    if as_json:
        predicted = {"least": asdict(made.least), "most": asdict(made.most)}
        by_model = {name: asdict(usage) for name, usage in made.models.items()}
        by_phase = {name: asdict(usage) for name, usage in made.phases.items()}
        data = {**figures, "reads": reads, "rounds": last, "calls": calls, "question": asked, "predicted": predicted,
                "models": by_model, "phases": by_phase, "reply_tokens": made.reply_tokens,
                "unknown": unknown}  # fmt: skip
        print(json.dumps(data))
        return
    click.echo(f"{file}: valid")
    click.echo(
        f"  graph     {figures['topology']}: {figures['agents']} agents, {figures['edges']} edges, "
        f"density {figures['density']:.2f}, diameter {figures['diameter'] or 'none'}"
    )
    width = min(24, max(map(len, reads)))
    for agent in list(reads)[:40]:
        click.echo(f"  {agent:{width}} reads {', '.join(reads[agent][:12]) or 'nobody'}")
    for part in ("opening", "phases", "closing"):
        phases: Any = getattr(debate.protocol, part)
        names = [p.name + (f" ({', '.join(p.who[:8])})" if p.who else "") for p in phases]
        click.echo(f"  {part:9} {', then '.join(names) or 'none'}")
    lonely = figures["isolated"] or figures["unreachable"]
    if lonely:
        click.echo(f"  apart     {', '.join(lonely[:12])}: nobody reads them, and they read nobody that others read")
    click.echo(f"  stop      {debate.moderator.stop}, at most {last} rounds after the first answers")
    click.echo(f"  calls     {calls['least']} to {calls['most']}, a moderator's and nested models' included")
    click.echo(
        f"  tokens    {made.least.input_tokens:,} to {made.most.input_tokens:,} in, "
        f"{made.least.output_tokens:,} to {made.most.output_tokens:,} out, if replies have {made.reply_tokens}"
    )
    click.echo(f"  cost      {views.money(made.least.usd)} to {views.money(made.most.usd)}")
    for name, usage in list(made.models.items())[:20]:
        click.echo(f"    {views.short(name, 40):40} {usage.calls} calls, about {views.money(usage.usd)} at most")
    for name, usage in list(made.phases.items())[:20] if len(made.phases) > 1 else ():
        click.echo(f"    {views.short(name, 40):40} {usage.calls} calls, about {usage.tokens:,} tokens at most")
    for what in unknown:
        click.echo(f"  unknown   {what}")


# ---- running ----------------------------------------------------------------------------------------------------


def follow(debate: Debate, question: str, as_json: bool, store: str | None, id: str | None = None) -> None:
    """Run a debate, show it, and say how to go on where it could not end."""
    import anyio

    from agora.errors import AgoraError, InputError, StoreError
    from agora.journal import check_id, new_id, verdict_json
    from agora.text.forecast import tried

    id = check_id(id) if id else new_id()
    anyio.run(tried, debate, question)
    journal = journal_of(store, (debate.source or {}).get("store"))
    try:
        verdict = anyio.run(_follow, debate, question, as_json, journal, id)
    except KeyboardInterrupt:
        raise click.Abort(f"interrupted; {_how_to_resume(journal, id, store)}") from None
    except AgoraError as error:
        begun = journal is not None and journal.begun
        status = 1 if isinstance(error, StoreError) and begun else error.exit_status
        if begun or not isinstance(error, InputError):
            error.hint = f"{error.hint or ''} {_how_to_resume(journal, id, store).capitalize()}".strip()
        if as_json:
            print(json.dumps({"error": str(error), "exit_status": status, "run": id if begun else None}))
        error.exit_status = status
        raise
    if as_json:
        turns = [
            {"agent": t.agent, "round": t.round, "phase": t.phase, "text": t.reply.text if t.reply else None,
             "answer": t.value, "confidence": t.answer.confidence if t.answer else None,
             "reads": [list(key) for key in t.reads], "error": t.error}
            for r in verdict.rounds for t in r.turns
        ]  # fmt: skip
        print(json.dumps({**verdict_json(verdict), "turns": turns}))
    else:
        views.summary(verdict_json(verdict), verdict.usage)
        if journal is not None:
            click.echo(f"  run {id}")


async def _follow(debate: Debate, question: str, as_json: bool, journal: Journal | None, id: str) -> Verdict:
    if journal is not None:
        async with journal:
            return await _watch(debate, question, as_json, journal, id)
    return await _watch(debate, question, as_json, None, id)


async def _watch(debate: Debate, question: str, as_json: bool, journal: Journal | None, id: str) -> Verdict:
    show = shows.Silent() if as_json else shows.shown(debate)
    return await shows.watched(debate, question, show, journal=journal, run=id)


def _how_to_resume(journal: Journal | None, id: str, store: str | None) -> str:
    if journal is None:
        return "nothing was recorded (--store none), so it cannot be resumed."
    if not journal.content:
        return "its content is not kept, so it cannot be resumed."
    where = f" --store {store}" if store and "@" not in store else " --store ..." if store else ""
    return f"what was answered is kept; go on with: agora run --resume {id}{where}"
