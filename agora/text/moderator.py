"""The moderator: when a debate is over (`agora.text.stop`), and the decision at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agora.answers import extract
from agora.errors import AgoraError, InputError
from agora.model import Model
from agora.prompts import NAMES, template
from agora.records import Message, Turn
from agora.text.agent import View, show
from agora.text.stop import Case, StopRule, rounds, unanimous
from agora.text.votes import Ruling, Ties, Weight, plurality


@dataclass(frozen=True, slots=True)
class Vote:
    """Decide by plurality; see `votes.plurality`."""

    weight: Weight = "one"
    ties: Ties = "initial"

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        initial = list(case.rounds[0].final.values()) if case.rounds else []
        return plurality(turns, weight=self.weight, ties=self.ties, initial=initial, seed=case.seed)


@dataclass(frozen=True, slots=True)
class ByModel:
    """Decide by a model: 'judge' picks by the reasons, 'aggregate' writes a synthesis. Falls back on plurality, with a
    warning, where the model fails or its answer cannot be read."""

    model: Model
    template: str = "judge"
    override: str | None = None

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling:
        frame = template(self.template, self.override, getattr(self.model, "prompts", None))
        peers = [s for s, _ in show(list(turns), View(), seed=case.seed, reader=-1, order=case.order)]
        values = {"question": case.question, "answer": case.answer, "peers": peers, "history": []}
        prompt = frame.render(**{k: v for k, v in values.items() if k in NAMES[self.template]})
        vote = await Vote().decide(case, turns)
        try:
            reply = await case.ask(self.model, self.template, [Message("user", prompt)])
        except AgoraError as error:
            case.warn(f"the {self.template} failed, so the vote decided: {error}")
            return vote
        answer = extract(case.answer, reply)
        if answer.why_none == "unparsed":
            case.warn(f"the {self.template}'s answer could not be read, so the vote decided.")
            return vote
        return Ruling(answer.value, vote.support, f"decided by the {self.template}", reply.text)


class Decision(Protocol):
    """How the last answers become a verdict."""

    async def decide(self, case: Case, turns: Sequence[Turn]) -> Ruling: ...


@dataclass(frozen=True)
class Moderator:
    """Decides when a debate is over and what came out.

    Args:
        stop: a stop rule.
        decide: a decision: `Vote(...)`, `ByModel(...)` or anything with its `decide`.
        quorum: share of agents that must speak in every round, else the debate fails: a verdict of a few is none.
        limit: hard limit on rounds, whatever the rule says.
        influence: share of the others that one agent may move before the verdict warns.
    """

    stop: StopRule = unanimous() | rounds(2)
    decide: Decision = Vote()
    quorum: float = 0.5
    limit: int = 20
    influence: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= 1:
            raise InputError(f"moderator: quorum must be between 0 and 1, it is {self.quorum}.")
        if self.limit < 0:
            raise InputError(f"moderator: limit must not be negative, it is {self.limit}.")

    @property
    def last(self) -> int:
        """The last round there can be."""
        return self.limit if self.stop.last is None else min(self.limit, self.stop.last)
