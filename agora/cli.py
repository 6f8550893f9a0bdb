"""The command line: parses, calls, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from agora.records import Event, Verdict
    from agora.text.debate import Debate

MAX_QUESTION_BYTES = 1_000_000


def main() -> NoReturn:
    """Entry point: every error agora raises on purpose is one sentence and an exit status."""
    from agora.errors import AgoraError

    try:
        agora.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("agora: interrupted; what was said so far is above.", err=True)
        sys.exit(130)
    except AgoraError as error:
        click.echo(f"agora: {' '.join(_clean(str(error)).split())}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agora-debate")
def agora() -> None:
    """Language models that debate and collaborate."""


_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else.")
_SET = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a value, dotted keys.")


@agora.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-q", "--question", help="The question; '-' reads it from standard input.")
@_SET
@_JSON
def run(file: Path, question: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Run the debate in FILE to its verdict, live."""
    from agora import config
    from agora.errors import InputError

    debate, asked = config.load(file, settings)
    question = _question(question) if question is not None else asked
    if question is None:
        raise InputError(f"{file} has no question.", hint="Give one with -q QUESTION.")
    _run(debate, question, as_json)


@agora.command()
@click.argument("question")
@click.option("-m", "--model", "models", multiple=True, required=True, help="A model, such as pocket:sum; repeat it.")
@click.option("-a", "--answer", default="text", help="number, yes_no, text or json.")
@click.option("-t", "--topology", default="complete", help="complete, ring, star, ...")
@click.option("-r", "--rounds", default=2, type=click.IntRange(0, 1000), help="Rounds after the first answers.")
@_JSON
def ask(question: str, models: tuple[str, ...], answer: str, topology: str, rounds: int, as_json: bool) -> None:
    """Debate QUESTION among models, without a file."""
    from agora import Agent, Debate, Moderator, Protocol, View
    from agora.config import load_model
    from agora.text.moderator import Vote, parse_stop

    agents = []
    for i, text in enumerate(models):
        name = text.rpartition(":")[2]
        same = [m for m in models if m.rpartition(":")[2] == name]
        agents.append(Agent(name if len(same) == 1 else f"{name}-{i + 1}", load_model(text)))
    small = all(model.startswith("pocket:") for model in models)
    view = View(text="answer", own="peer", confidence=True) if small else View()
    debate = Debate(
        agents,
        topology=topology,
        protocol=Protocol(view=view),
        moderator=Moderator(parse_stop(f"unanimous | rounds({rounds})"), Vote("confidence" if small else "one")),
        answer="number" if small and answer == "text" else answer,
    )
    _run(debate, _question(question), as_json)


@agora.command()
@click.argument("file", type=click.Path(path_type=Path))
@_SET
@_JSON
def check(file: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Validate FILE; print the graph's figures and the predicted calls."""
    from agora import config
    from agora.text.protocol import Plan

    debate, question = config.load(file, settings)
    figures = debate.topology.figures()
    plan = Plan(debate.protocol, debate.topology, debate.seed)
    last = debate.moderator.last
    calls = {"least": plan.predicted(0), "most": plan.predicted(last)}
    if debate.budget.calls is not None:
        calls = {key: min(value, debate.budget.calls) for key, value in calls.items()}
    reads = {agent: list(debate.topology.reads(agent)) for agent in debate.topology.agents}
    if as_json:
        print(json.dumps({**figures, "reads": reads, "rounds": last, "calls": calls, "question": question}))
        return
    click.echo(f"{file}: valid")
    click.echo(
        f"  graph     {figures['topology']}: {figures['agents']} agents, {figures['edges']} edges, "
        f"density {figures['density']:.2f}, diameter {figures['diameter'] or 'none'}"
    )
    width = min(24, max(map(len, reads)))
    for agent in list(reads)[:40]:
        click.echo(f"  {agent:{width}} reads {', '.join(reads[agent][:12]) or 'nobody'}")
    click.echo(f"  stop      {debate.moderator.stop}, at most {last} rounds after the first answers")
    click.echo(f"  calls     {calls['least']} to {calls['most']} by agents, and the moderator's where a model judges")


@agora.command()
@_JSON
def models(as_json: bool) -> None:
    """What can answer here, and what is missing for the rest."""
    import os

    from agora.models.pocket import NAMES, WEIGHTS

    rows = [
        {"model": f"pocket:{name}", "ready": (WEIGHTS / name / "model.safetensors").exists(), "needs": ""}
        for name in NAMES
    ]
    for kind, variable in (("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")):
        ready = bool(os.environ.get(variable))
        rows.append(
            {"model": f"{kind}:NAME", "ready": ready, "needs": "" if ready else f"{variable} in the environment"}
        )
    rows.append(
        {"model": "{openai: NAME, base_url: URL}", "ready": True, "needs": "a server that speaks chat completions"}
    )
    if as_json:
        print(json.dumps({"models": rows}))
        return
    for row in rows:
        click.echo(f"{'ready  ' if row['ready'] else 'missing'}  {row['model']:30} {row['needs']}".rstrip())


@agora.command()
def schema() -> None:
    """Print the JSON Schema of debate files, for editors."""
    from agora.config import schema as make

    print(json.dumps(make(), indent=2))


# ---- running and showing ----------------------------------------------------------------------------------------


def _question(text: str) -> str:
    from agora.errors import InputError

    if text == "-":
        raw = sys.stdin.buffer.read(MAX_QUESTION_BYTES + 1)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError("the question on standard input is not text (UTF-8).") from None
    if len(text.encode("utf-8", "replace")) >= MAX_QUESTION_BYTES:
        raise InputError("the question is longer than a million bytes.", hint="Ask a shorter one.")
    return text


def _run(debate: Debate, question: str, as_json: bool) -> None:
    import anyio

    async def follow() -> Verdict:
        async with debate.watch(question) as events:
            show = _Silent() if as_json else _Live(debate) if sys.stdout.isatty() else _Plain(debate)
            with show:
                async for event in events:
                    show.see(event)
        assert events.verdict is not None
        return events.verdict

    verdict = anyio.run(follow)
    if as_json:
        print(json.dumps(verdict_json(verdict)))
    else:
        _summary(verdict)


def verdict_json(v: Verdict) -> dict[str, Any]:
    """A verdict as plain data."""
    from dataclasses import asdict

    return {
        "answer": v.answer,
        "text": v.text,
        "reason": v.reason,
        "confidence": v.confidence,
        "rounds": len(v.rounds) - 1,
        "support": dict(v.support),
        "initial": v.initial,
        "dissent": [asdict(d) for d in v.dissent],
        "changes": [asdict(c) for c in v.changes],
        "absent": list(v.absent),
        "warnings": list(v.warnings),
        "usage": asdict(v.usage),
        "question": v.question,
        "run": v.run,
        "turns": [
            {
                "agent": t.agent,
                "round": t.round,
                "phase": t.phase,
                "text": t.reply.text if t.reply else None,
                "answer": t.value,
                "confidence": t.answer.confidence if t.answer else None,
                "reads": [list(key) for key in t.reads],
                "error": t.error,
            }
            for r in v.rounds
            for t in r.turns
        ],
    }


def _clean(text: str) -> str:
    """Text of models and files without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _short(text: str, width: int = 100) -> str:
    line = " ".join(_clean(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def see(self, event: Event) -> None:
        """Nothing but JSON."""


class _Plain(_Silent):
    """A line a turn, for pipes and logs."""

    def __init__(self, debate: Debate) -> None:
        self.width = min(20, max(len(agent.name) for agent in debate.agents))

    def see(self, event: Event) -> None:
        from agora.records import RoundOver, Spoke, Started

        if isinstance(event, Started):
            click.echo(f"Q: {_short(event.question, 300)}")
        elif isinstance(event, Spoke):
            turn = event.turn
            said = turn.reply.text if turn.reply else f"absent: {turn.error}"
            sure = f" ({turn.answer.confidence:.0%})" if turn.answer and turn.answer.confidence is not None else ""
            click.echo(f"  {turn.round}  {_clean(turn.agent):{self.width}}  {_short(said)}{sure}")
        elif isinstance(event, RoundOver) and event.stop:
            click.echo(f"  stop: {_short(event.stop, 300)}")


class _Live(_Plain):
    """One line an agent, redrawn as the debate goes on."""

    def __init__(self, debate: Debate) -> None:
        from rich.live import Live

        super().__init__(debate)
        self.rows: dict[str, dict[str, Any]] = {
            agent.name: {"round": "", "said": "", "answer": "", "sure": None, "calls": 0, "tokens": 0, "seconds": 0.0}
            for agent in debate.agents
        }
        self.question = ""
        self.live = Live(get_renderable=self.table, refresh_per_second=8)

    def __enter__(self) -> _Live:
        self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.__exit__(*error)

    def see(self, event: Event) -> None:
        from agora.records import Speaking, Spoke, Started

        if isinstance(event, Started):
            self.question = _short(event.question, 300)
        elif isinstance(event, Speaking):
            self.rows[event.agent].update(round=f"{event.round}…")
        elif isinstance(event, Spoke):
            turn, row = event.turn, self.rows[event.turn.agent]
            row["round"] = str(turn.round)
            if turn.reply is None:
                row.update(said=f"absent: {turn.error}", answer="-", sure=None)
                return
            row["said"] = turn.reply.text
            row["calls"] += turn.reply.usage.calls
            row["tokens"] += turn.reply.usage.tokens
            row["seconds"] += turn.reply.usage.seconds
            if turn.answer is not None:
                row.update(answer=turn.value or turn.answer.why_none, sure=turn.answer.confidence)

    def table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, expand=True, title=Text(self.question), title_justify="left", pad_edge=False)
        for name, options in (
            ("agent", {"style": "bold", "no_wrap": True}),
            ("round", {"justify": "right"}),
            ("answer", {"style": "cyan", "no_wrap": True}),
            ("sure", {"justify": "right"}),
            ("says", {"ratio": 1, "no_wrap": True, "overflow": "ellipsis"}),
            ("calls", {"justify": "right"}),
            ("tokens", {"justify": "right"}),
            ("time", {"justify": "right"}),
        ):
            table.add_column(name, **options)  # type: ignore[arg-type]
        for name, row in list(self.rows.items())[:40]:
            sure = "" if row["sure"] is None else f"{row['sure']:.0%}"
            cells = (_clean(name), row["round"], _short(str(row["answer"]), 24), sure, _short(row["said"], 200))
            figures = (str(row["calls"]), str(row["tokens"]), f"{row['seconds']:.1f}s")
            table.add_row(*(Text(cell) for cell in (*cells, *figures)))
        return table


def _summary(v: Verdict) -> None:
    """Verdict, dissent, cost: the end of a run on the terminal."""
    sure = f", {v.confidence:.0%} of the vote" if v.confidence is not None else ""
    click.echo("")
    click.secho(f"Verdict: {_short(v.answer, 300) if v.answer is not None else 'no answer'}", bold=True, nl=False)
    click.echo(f"  ({_short(v.reason, 300)}{sure})")
    if v.answer is not None and v.text.strip().casefold() not in ("", v.answer.casefold()):
        click.echo(f"  {_short(v.text, 600)}")
    before = "no answer" if v.initial is None else "the same" if v.initial == v.answer else v.initial
    if len(v.rounds) > 1:
        click.echo(f"  before the debate: {_short(before, 100)} (the first answers' vote)")
    for change in v.changes:
        after = f" after reading {', '.join(map(_clean, change.read))}" if change.read else ""
        click.echo(
            f"  {_clean(change.agent)} changed {_short(change.before or 'none', 40)} -> "
            f"{_short(change.after or 'none', 40)} in round {change.round}{after}"
        )
    for d in v.dissent:
        word = "dissent" if v.answer is not None else "undecided"
        click.echo(f"  {word}: {_clean(d.agent)} says {_short(d.answer or 'nothing that could be read', 60)}")
    for warning in v.warnings:
        click.echo(f"  note: {_short(warning, 300)}")
    cost = "unknown" if v.usage.usd is None else f"${v.usage.usd:.4f}"
    click.echo(f"  {v.usage.calls} calls, {v.usage.tokens} tokens, cost {cost}, {v.usage.seconds:.1f} model seconds")


if __name__ == "__main__":
    main()
