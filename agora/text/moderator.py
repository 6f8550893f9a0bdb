"""The moderator: when a debate is over (`agora.text.stop`), and how it is decided (`agora.text.decisions`)."""

from __future__ import annotations

from dataclasses import dataclass

from agora.errors import InputError
from agora.text.decisions import ByModel, Decision, Distribution, Pairwise, Select, Steer, Vote
from agora.text.stop import StopRule, rounds, unanimous

__all__ = ["ByModel", "Decision", "Distribution", "Moderator", "Pairwise", "Select", "Steer", "Vote"]


LIMIT = 20  # rounds, where neither the moderator nor its rule says


@dataclass(frozen=True)
class Moderator:
    """Decides when a debate is over and what came out.

    Args:
        stop: a stop rule.
        decide: a decision: `Vote(...)`, `ByModel(...)` or anything with its `decide`.
        quorum: share of agents that must speak in every round, else the debate fails: a verdict of a few is none.
        limit: hard limit on rounds, whatever the rule says; None is the rule's own last round, or 20 where it has none.
        influence: share of the others that one agent may move before the verdict warns.
    """

    stop: StopRule = unanimous() | rounds(2)
    decide: Decision = Vote()
    quorum: float = 0.5
    limit: int | None = None
    influence: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.stop, StopRule):
            raise InputError("moderator: stop must be a stop rule.", hint="Use agora.text.stop.parse_stop for a text.")
        if not 0 <= self.quorum <= 1:
            raise InputError(f"moderator: quorum must be between 0 and 1, it is {self.quorum}.")
        if self.limit is not None and self.limit < 0:
            raise InputError(f"moderator: limit must not be negative, it is {self.limit}.")

    @property
    def last(self) -> int:
        """The last round there can be."""
        ends = [end for end in (self.limit, self.stop.last) if end is not None]
        return min(ends, default=LIMIT)
