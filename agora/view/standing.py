"""Where a debate stands: a row for each agent and the votes so far, put together from the events of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agora.records import Event, Retrying, RoundOver, Speaking, Spoke, Started, Usage, Verdict, Wrote
from agora.records import Decided as _Decided

MOST = 2_000  # characters kept of a text that is being written
State = Literal["", "speaks", "retries", "spoke", "absent"]


@dataclass(slots=True)
class Row:
    """One agent.

    Attributes:
        agent: its name.
        round: it is in, or was last; None where it has not begun.
        state: what it does.
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
                row.state = "speaks"
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
            case _Decided():
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

    @property
    def votes(self) -> list[tuple[str, int]]:
        """How many agents hold each answer now, most first."""
        held = Counter(row.answer for row in self.rows.values() if row.answer is not None)
        return held.most_common()

    def count(self, state: State, round: int | None = None) -> int:
        """How many agents do that, in a round or in any."""
        return sum(row.state == state and round in (None, row.round) for row in self.rows.values())
