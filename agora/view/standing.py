"""Where a debate stands: a row for each agent and the votes so far, put together from the events of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agora.records import Decided, Event, Retrying, RoundOver, Speaking, Spoke, Started, Usage, Verdict, Wrote

MOST = 2_000  # characters kept of a text that is being written
State = Literal["", "speaks", "writes", "retries", "spoke", "absent"]

UNDER_WAY: tuple[State, ...] = ("speaks", "writes", "retries")
_NAMED = 100  # answers that are told apart


@dataclass(slots=True)
class Row:
    """One agent.

    Attributes:
        agent: its name.
        round: it is in, or was last; None where it has not begun.
        state: what it does: its model is asked, writes, is asked again; or it has spoken, or could not.
        said: its last words, or why it is absent.
        answer: its last answer; None where there is none.
        why: why there is none, where it spoke: 'abstained' or 'unparsed'.
        sure: its confidence in it.
        usage: of all its turns.
    """

    agent: str
    round: int | None = None
    state: State = ""
    said: str = ""
    answer: str | None = None
    why: str | None = None
    sure: float | None = None
    usage: Usage = Usage()


class Standing:
    """A debate as it goes on.

    Args:
        agents: their names, in order.
    """

    def __init__(self, agents: Sequence[str] = ()) -> None:
        self.rows = {name: Row(name) for name in agents}
        self.question = self.run = ""
        self.replayed = 0
        self.round = 0  # the latest in which somebody has spoken
        self.rounds = 0  # those that are over
        self.waits = 0  # times that a call was to be made again
        self.stop: str | None = None
        self.last: str | None = None  # who spoke last
        self.usage = Usage()
        self.answers: list[str] = []  # in the order they came up
        self.verdict: Verdict | None = None

    def see(self, event: Event) -> None:
        """Take in what happened."""
        match event:
            case Started():
                self.question, self.run, self.replayed = event.question, event.run, event.replayed
                for name in event.agents:
                    self.rows.setdefault(name, Row(name))
            case Speaking():
                row = self._row(event.agent)
                row.state, row.round = "speaks", event.round
            case Wrote():
                row = self._row(event.agent)
                row.state = "writes"
                row.said = event.text[-MOST:] if event.first else (row.said + event.text)[-MOST:]
            case Retrying():
                self.waits += 1
                if event.agent is not None:
                    row = self._row(event.agent)
                    row.state, row.said = "retries", f"waits {event.wait:.1f} s: {event.error}"
            case Spoke():
                self._spoke(event)
            case RoundOver():
                self.rounds, self.stop = event.round.index + 1, event.stop
            case Decided():
                self.verdict, self.usage = event.verdict, event.verdict.usage

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row(name))

    def _spoke(self, event: Spoke) -> None:
        turn, row = event.turn, self._row(event.turn.agent)
        row.round, self.round, self.last = turn.round, max(self.round, turn.round), turn.agent
        if turn.reply is None:
            row.state, row.said, row.answer, row.why, row.sure = "absent", turn.error or "", None, None, None
            return
        row.state, row.said = "spoke", turn.reply.text
        if turn.kept is None:
            row.usage = row.usage + turn.reply.usage
            self.usage = self.usage + turn.reply.usage
        if turn.answer is not None:
            row.answer, row.why, row.sure = turn.value, turn.answer.why_none, turn.answer.confidence
            if turn.value is not None and len(self.answers) < _NAMED and turn.value not in self.answers:
                self.answers.append(turn.value)

    @property
    def votes(self) -> list[tuple[str, int]]:
        """How many agents hold each answer now, most first."""
        held = Counter(row.answer for row in self.rows.values() if row.answer is not None)
        return held.most_common()

    def count(self, *states: State) -> int:
        """How many agents are in one of some states."""
        return sum(row.state in states for row in self.rows.values())
