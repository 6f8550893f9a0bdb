"""A debate as it goes on in a terminal: redrawn in place, a line a turn, or not at all."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from agora.lettering import columns
from agora.records import Event, Retrying, RoundOver, Spoke, Started
from agora.terminal.board import MANY, Line, board, cropped, laid_out, row_line, tally
from agora.terminal.words import can_move, echo, lines, short, size, styled, wrapped
from agora.view.standing import Row, Standing

if TYPE_CHECKING:
    from agora.model import Model
    from agora.records import Round, Verdict
    from agora.text.debate import Debate


_SOON = 0.5  # seconds in which what has been noted is written


class Silent:
    """Shows nothing: for JSON."""

    live = False

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def see(self, event: Event) -> None:
        """Nothing but JSON."""


class Plain(Silent):
    """A line a turn, for pipes, logs and terminals that cannot draw again; of many agents, a line a round."""

    def __init__(self, debate: Debate) -> None:
        self.names = [agent.name for agent in debate.agents]
        self.width = min(size()[0], 160)
        self.at = laid_out(self.width - 2, max(columns(short(name, 400)) for name in self.names), 12, live=False)
        self.waits = 0

    def see(self, event: Event) -> None:
        """Print a line for what a reader wants to know."""
        many = len(self.names) > MANY
        match event:
            case Started():
                _asked(event.question, event.run, event.replayed)
            case Retrying() if many:
                self.waits += 1
            case Retrying():
                row = Row(event.agent or "(moderator)", said=f"waits {event.wait:.1f} s: {event.error}", answer="…")
                self._line(row)
            case Spoke(turn) if not many:
                now = Standing([turn.agent])
                now.see(event)
                self._line(now.rows[turn.agent])
            case RoundOver():
                if many:
                    self._round(event.round)
                if event.stop:
                    lines(short(event.stop, 300), "  stop: ", "    ")

    def _line(self, row: Row) -> None:
        echo("  ", *cropped(row_line(row, self.at), self.width - 2))

    def _round(self, round: Round) -> None:
        votes = Counter(answer for answer in round.answers.values() if answer is not None).most_common()
        told = [f"{short(answer, 24)} ({n:,})" for answer, n in votes[:5]]
        told += [f"{len(votes) - 5:,} other answers"] if len(votes) > 5 else []
        absent = [turn for turn in round.final.values() if turn.reply is None]
        said = f"{len(round.final) - len(absent):,} spoke: {', '.join(told) or 'no answers'}"
        if absent:
            said += f"; {len(absent):,} absent ({short(absent[0].error or '', 60)})"
        if self.waits:
            said += f"; {self.waits:,} waits"
            self.waits = 0
        lines(said, f"  round {round.index}: ", "    ")


class Live(Silent):
    """One line an agent, redrawn as the debate goes on; text appears as it is written. When it is over, the last
    picture stays as plain lines."""

    live = True

    def __init__(self, debate: Debate) -> None:
        from rich.console import Console
        from rich.live import Live as Redrawn

        self.now = Standing([agent.name for agent in debate.agents])
        self.console = Console(no_color=True, highlight=False)
        self.drawn = Redrawn(console=self.console, get_renderable=self._picture, refresh_per_second=8, transient=True)

    def __enter__(self) -> Live:
        self.drawn.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.drawn.__exit__(*error)
        if not self.now.run:
            return
        width = size()[0]
        _asked(self.now.question, self.now.run, self.now.replayed)
        for line in self._rows(width, MANY):
            echo("  ", *line)
        if self.now.stop:
            lines(short(self.now.stop, 300), "  stop: ", "    ")

    def see(self, event: Event) -> None:
        """Take in what happened; the next redraw shows it."""
        self.now.see(event)

    def _rows(self, width: int, most: int) -> list[Line]:
        return [cropped(line, width - 2) for line in board(self.now, width - 2, most)]

    def lines(self, width: int, high: int) -> list[Line]:
        """The picture of now: no wider and no higher than the terminal."""
        head: list[Line] = [[(line, "")] for line in wrapped(self.now.question, width, "Q: ", "   ", most=2)]
        rows: list[Line] = [[("  ", ""), *line] for line in self._rows(width, min(MANY, high - len(head) - 3))]
        foot: Line = [("  ", ""), (short(tally(self.now), width - 2), "dim")]
        return [*head, *rows, foot][: high - 1]

    def _picture(self) -> Any:
        from rich.text import Text

        style = styled()
        whole = Text(no_wrap=True, overflow="crop", end="")
        wide, high = self.console.size
        for i, line in enumerate(self.lines(max(4, wide), max(4, high))):
            whole.append("\n" if i else "")
            for piece, how in line:
                whole.append(piece, style=how if style and how else None)
        return whole


def _asked(question: str, run: str, replayed: int) -> None:
    """The question, and what a resumed run has already."""
    lines(question, "Q: ", "   ", most=3)
    if replayed:
        lines(f"resuming {run}: {replayed} calls are in the journal", "  ", "    ")


def shown(debate: Debate) -> Silent:
    """How this terminal shows a debate: live where it can; people in the debate need it for themselves."""
    if sys.stdout.isatty() and can_move() and not people(debate.members):
        return Live(debate)
    return Plain(debate)


def people(models: Sequence[Model]) -> bool:
    """Whether any of some models, or of their members, is a person."""
    return any(
        getattr(model, "prompts", None) == "human" or people(tuple(getattr(model, "members", ()))) for model in models
    )


async def watched(debate: Debate, question: str, show: Silent, **options: Any) -> Verdict:
    """A debate followed to its verdict.

    Args:
        debate: it.
        question: to debate.
        show: sees what happens.
        options: what `Debate.watch` takes.

    Raises:
        AgoraError: as `Debate.answer`.
    """
    async with debate.watch(question, stream=show.live, **options) as events:
        with show:
            async for event in _written(events, options.get("journal")):
                show.see(event)
    assert events.verdict is not None
    return events.verdict


async def _written(events: AsyncIterator[Event], journal: Any) -> AsyncIterator[Event]:
    """Events as they come. Meanwhile what the journal has noted is written soon, so that whoever looks from elsewhere
    sees who is speaking."""
    import anyio

    from agora.journal import Journal

    written = anyio.current_time()
    while True:
        event = None
        with anyio.move_on_after(_SOON):
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
        if isinstance(journal, Journal) and anyio.current_time() - written >= _SOON:
            await journal.flush()
            written = anyio.current_time()
        if event is not None:
            yield event
