"""What an agent is shown in a turn: its prompt, made of what it may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agora.answers import AnswerType
from agora.records import Message, Turn
from agora.text.agent import Agent, Shown, show
from agora.text.protocol import Key, Protocol


class Reader:
    """Makes the prompts of one run.

    Args:
        protocol: view and memory.
        question: what is debated.
        answer: the kind of answer.
        seed: of the run.
        order: each agent's number.
        board: what has been said so far; grows while the run goes on.
    """

    def __init__(
        self,
        protocol: Protocol,
        question: str,
        answer: AnswerType,
        seed: int,
        order: Mapping[str, int],
        board: Mapping[Key, Turn],
    ) -> None:
        self.protocol, self.question, self.answer = protocol, question, answer
        self.seed, self.order, self.board = seed, order, board

    def prompt(
        self, agent: Agent, index: int, phase: str, read: list[Turn]
    ) -> tuple[tuple[Message, ...], tuple[Key, ...]]:
        """The messages of a turn, and whose turns are in them.

        Args:
            agent: who reads.
            index: the round.
            phase: the phase.
            read: the turns it may read.
        """
        protocol, view = self.protocol, self.protocol.view
        if phase == "answer" and not read:
            values: dict[str, Any] = {"question": self.question, "round": index, "answer": self.answer}
            return agent.messages("answer", {**values, "ask_confidence": view.confidence}), ()
        own = self._last(agent.name, index, phase)
        answers = [t if t.phase != "critique" else self._last(t.agent, t.round, t.phase) for t in read]
        turns = [t for t in answers if t is not None]
        if view.own == "peer" and own is not None:
            turns.append(own)
        peers = self._show(agent, turns)
        critics = self._show(agent, [t for t in read if t.phase == "critique"])
        said = [] if protocol.memory != "transcript" else self._transcript(agent.name, read, turns, index)
        history = self._show(agent, said)
        history.sort(key=lambda pair: pair[1].round)
        mine = None
        if own is not None and own.reply is not None and view.own == "shown":
            mine = Shown(
                "You", own.reply.text.strip(), own.value, own.answer.confidence if own.answer else None, own.round
            )
        values = {
            "question": self.question,
            "round": index,
            "answer": self.answer,
            "ask_confidence": view.confidence,
            "peers": [shown for shown, _ in peers],
            "own": mine,
            "critiques": [shown for shown, _ in critics],
            "history": [shown for shown, _ in history],
        }
        template = "revise" if phase == "answer" else phase
        reads = tuple((t.agent, t.round, t.phase) for _, t in (*history, *peers, *critics))
        return agent.messages(template, values), tuple(dict.fromkeys(reads))

    def _show(self, agent: Agent, turns: Sequence[Turn]) -> list[tuple[Shown, Turn]]:
        return show(turns, self.protocol.view, seed=self.seed, reader=self.order[agent.name], order=self.order)

    def _last(self, agent: str, index: int, phase: str) -> Turn | None:
        """The agent's newest turn with an answer before a phase."""
        spot: tuple[int, str] | None = (index, phase)
        while spot is not None and (spot := self.protocol.before(*spot)) is not None:
            turn = self.board.get((agent, *spot))
            if turn is not None and turn.phase != "critique" and turn.reply is not None:
                return turn
        return None

    def _transcript(self, me: str, read: list[Turn], now: list[Turn], index: int) -> list[Turn]:
        """All earlier answers of those who are read, and the reader's own unless hidden; not what is shown anyway."""
        own = {me} if self.protocol.view.own != "hidden" else set()
        names = {turn.agent for turn in read} | own
        newest = {(t.agent, t.round, t.phase) for t in now}
        last = self._last(me, index, "revise" if index else "answer")
        said = [
            turn
            for key, turn in self.board.items()
            if turn.agent in names
            and turn.phase != "critique"
            and turn.round < index
            and key not in newest
            and not (turn is last and self.protocol.view.own == "shown")
        ]
        # the board is in order of arrival, which depends on time; a prompt must not
        return sorted(said, key=lambda turn: (turn.round, self.order[turn.agent]))
