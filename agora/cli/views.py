"""How a debate looks in a terminal: live, line by line, as a transcript, and its verdict."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from agora.records import Event, Usage
    from agora.text.debate import Debate


_JOINED = "\n\t\u200c\u200d"  # line ends, and what joins letters and emoji


def clean(text: str) -> str:
    """Text of models and files without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() or c in _JOINED else "\ufffd" for c in text)


def short(text: str, width: int = 100) -> str:
    """A text on one line, cut to a width."""
    line = " ".join(clean(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def money(usd: float | None) -> str:
    """A cost; unknown is never zero."""
    return "unknown" if usd is None else f"${usd:.4f}"


def usage_line(usage: Usage) -> str:
    """What a run took, on one line."""
    cached = f" ({usage.cached_tokens / usage.input_tokens:.0%} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    return (
        f"{usage.calls} call{'s' * (usage.calls != 1)}, {usage.input_tokens:,} tokens in{cached}, "
        f"{usage.output_tokens:,} out{thought}, cost {money(usage.usd)}, {usage.seconds:.1f} model seconds"
    )


class Silent:
    """Shows nothing: for JSON."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def see(self, event: Event) -> None:
        """Nothing but JSON."""


class Plain(Silent):
    """A line a turn, for pipes and logs."""

    def __init__(self, debate: Debate) -> None:
        self.width = min(20, max(len(agent.name) for agent in debate.agents))

    def see(self, event: Event) -> None:
        """Print a line for what a reader wants to know."""
        from agora.records import Retrying, RoundOver, Spoke, Started

        if isinstance(event, Started):
            click.echo(f"Q: {short(event.question, 300)}")
            if event.replayed:
                click.echo(f"  resuming {event.run}: {event.replayed} calls are in the journal")
        elif isinstance(event, Retrying):
            who = clean(event.agent or "moderator")
            click.echo(f"  …  {who:{self.width}}  waits {event.wait:.1f} s: {short(event.error, 90)}")
        elif isinstance(event, Spoke):
            turn = event.turn
            said = turn.reply.text if turn.reply else f"absent: {turn.error}"
            sure = f" ({turn.answer.confidence:.0%})" if turn.answer and turn.answer.confidence is not None else ""
            click.echo(f"  {turn.round}  {clean(turn.agent):{self.width}}  {short(said)}{sure}")
        elif isinstance(event, RoundOver) and event.stop:
            click.echo(f"  stop: {short(event.stop, 300)}")


class Live(Plain):
    """One line an agent, redrawn as the debate goes on; text appears as it is written."""

    def __init__(self, debate: Debate) -> None:
        from rich.live import Live as Redrawn

        super().__init__(debate)
        self.rows: dict[str, dict[str, Any]] = {
            agent.name: {"round": "", "said": "", "answer": "", "sure": None, "calls": 0, "tokens": 0, "seconds": 0.0}
            for agent in debate.agents
        }
        self.question = ""
        self.live = Redrawn(get_renderable=self.table, refresh_per_second=8)

    def __enter__(self) -> Live:
        self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.__exit__(*error)

    def see(self, event: Event) -> None:
        """Take in what happened; the next redraw shows it."""
        from agora.records import Retrying, Speaking, Spoke, Started, Wrote

        if isinstance(event, Started):
            resumed = f" (resuming: {event.replayed} calls are in the journal)" if event.replayed else ""
            self.question = short(event.question, 300) + resumed
        elif isinstance(event, Speaking):
            self.rows[event.agent].update(round=f"{event.round}…")
        elif isinstance(event, Wrote):
            row = self.rows[event.agent]
            row["said"] = event.text if event.first else (row["said"] + event.text)[-2_000:]
        elif isinstance(event, Retrying) and event.agent is not None:
            self.rows[event.agent]["said"] = f"waits {event.wait:.1f} s: {event.error}"
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
        """The picture of now."""
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
            cells = (clean(name), row["round"], short(str(row["answer"]), 24), sure, short(row["said"], 200))
            figures = (str(row["calls"]), str(row["tokens"]), f"{row['seconds']:.1f}s")
            table.add_row(*(Text(cell) for cell in (*cells, *figures)))
        return table


def summary(v: Mapping[str, Any], usage: Usage) -> None:
    """Verdict, dissent, cost: the end of a run on the terminal.

    Args:
        v: a verdict as plain data.
        usage: what the run took.
    """
    answer = v["answer"]
    sure = f", {v['confidence']:.0%} of the vote" if v["confidence"] is not None else ""
    click.echo("")
    click.secho(f"Verdict: {short(answer, 300) if answer is not None else 'no answer'}", bold=True, nl=False)
    click.echo(f"  ({short(v['reason'], 300)}{sure})")
    if answer is not None and v["text"].strip().casefold() not in ("", answer.casefold()):
        click.echo(f"  {short(v['text'], 600)}")
    before = "no answer" if v["initial"] is None else "the same" if v["initial"] == answer else v["initial"]
    if v["rounds"]:
        click.echo(f"  before the debate: {short(before, 100)} (the first answers' vote)")
    for change in v["changes"]:
        after = f" after reading {', '.join(map(clean, change['read']))}" if change["read"] else ""
        click.echo(
            f"  {clean(change['agent'])} changed {short(change['before'] or 'none', 40)} -> "
            f"{short(change['after'] or 'none', 40)} in round {change['round']}{after}"
        )
    for d in v["dissent"]:
        word = "dissent" if answer is not None else "undecided"
        click.echo(f"  {word}: {clean(d['agent'])} says {short(d['answer'] or 'nothing that could be read', 60)}")
    for warning in v["warnings"]:
        click.echo(f"  note: {short(warning, 300)}")
    click.echo(f"  {usage_line(usage)}")


def transcript(turns: Iterable[Mapping[str, Any]]) -> None:
    """Turns as text that can be read: each wrapped under its speaker.

    Args:
        turns: as `agora show --json` gives them.
    """
    width = max(40, min(110, shutil.get_terminal_size((100, 24)).columns))
    last: tuple[int, str] | None = None
    for turn in turns:
        here = (turn["round"], turn["phase"])
        if here != last:
            click.echo("")
            click.secho(f"Round {turn['round']}, {clean(turn['phase'])}", bold=True)
            last = here
        sure = f" ({turn['confidence']:.0%})" if turn.get("confidence") is not None else ""
        answer = f" -> {short(turn['answer'], 60)}{sure}" if turn.get("answer") is not None else ""
        readers = [name for name, *_ in turn.get("reads") or ()]
        reads = f"  (read {', '.join(map(clean, dict.fromkeys(readers)))})" if readers else ""
        click.secho(f"  {clean(turn['agent'])}", bold=True, nl=False)
        click.echo(f"{answer}{reads}")
        said = turn.get("text") or (f"absent: {turn['error']}" if turn.get("error") else "(not kept)")
        for line in clean(said).strip().splitlines() or [""]:
            click.echo(textwrap.fill(line, width, initial_indent="    ", subsequent_indent="    ") if line else "")


def columns(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Rows in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(right))]
    for row in rows:
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        click.echo("  ".join(cells).rstrip())
