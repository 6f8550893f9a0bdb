"""A debate and what stands beside it, as far as it has been run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agora.evaluate.measures.metrics import best_single
from agora.evaluate.records import Contestant, Scored
from agora.text.debate import Debate


@dataclass
class Side:
    """A debate and what stands beside it; rows by the number of the item.

    Attributes:
        name: of the debate, in tables.
        debate: itself.
        rows: its own.
        vote: those of its first round's vote.
        members: of its members alone, by name.
        dependent: members whose first answer in the debate was not their own, and who are asked apart.
        others: baselines that were run on all items.
    """

    name: str
    debate: Debate
    rows: dict[int, Scored] = field(default_factory=dict)
    vote: dict[int, Scored] = field(default_factory=dict)
    members: dict[str, dict[int, Scored]] = field(default_factory=dict)
    dependent: set[str] = field(default_factory=set)
    others: list[Contestant] = field(default_factory=list)

    @property
    def key(self) -> list[Any]:
        """What tells the debate from all others: its file, else its name."""
        source = self.debate.source
        return ["debate", self.name] if source is None else ["debate", source["text"], source["settings"]]

    @property
    def unpriced(self) -> bool:
        """Whether the price of anything in it is not known."""
        return any(row.usage.usd is None for row in self.rows.values())

    def contestants(self, kept: Sequence[int], baselines: Collection[str], seed: int) -> list[Contestant]:
        """The debate and its baselines, as far as they were wanted and run on all items.

        Args:
            kept: items, by number.
            baselines: which were wanted.
            seed: of the choice of the best single member.
        """
        found = [Contestant(self.name, "debate", self.name, tuple(self.rows[i] for i in kept))]
        members = {
            f"{self.name}: {name} alone": tuple(rows[i] for i in kept)
            for name, rows in self.members.items()
            if all(i in rows for i in kept)
        }
        if "members" in baselines:
            found += [Contestant(name, "member", self.name, rows) for name, rows in members.items()]
        if "best" in baselines and len(members) > 1:
            best, note = best_single(members, seed=seed)
            note = note.replace(f"{self.name}: ", "")
            found.append(Contestant(f"{self.name}: best single", "best single", self.name, best, note))
        if "vote" in baselines and self.debate.moderator.last > 0:
            vote = tuple(self.vote[i] for i in kept)
            found.append(Contestant(f"{self.name}: round-0 vote", "round-0 vote", self.name, vote))
        return found + self.others


def in_order(rows: Mapping[int, Scored]) -> tuple[Scored, ...]:
    """Rows in the order of their items."""
    return tuple(rows[i] for i in sorted(rows))
