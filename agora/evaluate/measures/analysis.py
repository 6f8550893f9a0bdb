"""All figures of an evaluation in one record, by group too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from agora.errors import InputError
from agora.evaluate.measures.debated import Debated, debated
from agora.evaluate.measures.metrics import Comparison, Summary, compare, summary
from agora.evaluate.measures.statistics import Interval, mean_interval
from agora.evaluate.records import Contestant, Results


@dataclass(frozen=True)
class Group:
    """A part of the items.

    Attributes:
        name: the items' group.
        n: items in it that were answered by any contestant.
        accuracy: contestant -> mean score; without those that answered none of them.
    """

    name: str
    n: int
    accuracy: Mapping[str, Interval]


@dataclass(frozen=True)
class Analysis:
    """All figures of an evaluation.

    Attributes:
        summaries: in the order of the contestants; without those that have no rows yet.
        comparisons: of each debate with its baselines, debate by debate; each has its own families.
        between: of debates with each other, the earlier one first: one family.
        debates: what happened within each.
        groups: in the order in which they appear; none where items have no groups.
        grouped: intervals and tests of scores take items of one group together.
        seed: of the bootstraps.
    """

    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    between: tuple[Comparison, ...]
    debates: tuple[Debated, ...]
    groups: tuple[Group, ...]
    grouped: bool
    seed: int

    def __getitem__(self, name: str) -> Summary:
        """A contestant's summary."""
        for one in self.summaries:
            if one.name == name:
                return one
        raise KeyError(name)

    def of(self, debate: str) -> tuple[Comparison, ...]:
        """The comparisons of a debate with its baselines."""
        return tuple(one for one in self.comparisons if one.first == debate)

    def to_json(self) -> dict[str, Any]:
        """As plain data: dicts, lists, strings, numbers, None; what is no number is None."""
        made: dict[str, Any] = plain(self)
        return made


def analyse(results: Results, *, grouped: bool = False, seed: int = 0) -> Analysis:
    """All figures of an evaluation, finished or not.

    Args:
        results: the evaluation.
        grouped: items of one group are no independent ones (questions on one text): intervals and tests of scores and
            of their differences take them together.
        seed: of the bootstraps.

    Raises:
        InputError: if no item has been answered.
    """
    those = [c for c in results.contestants if c.rows]
    if not those:
        raise InputError("no item of this evaluation has been answered.", hint="Resume it.")
    debates = [c for c in those if c.role == "debate"]
    comparisons: list[Comparison] = []
    for debate in debates:
        baselines = [c for c in results.baselines(debate.name) if c.rows]
        comparisons += compare([(debate, c) for c in baselines], grouped=grouped, seed=seed)
    return Analysis(
        tuple(summary(c, grouped=grouped, seed=seed) for c in those),
        tuple(comparisons),
        compare(list(combinations(debates, 2)), grouped=grouped, seed=seed),
        tuple(debated(c, seed=seed) for c in debates),
        by_group(those, seed=seed),
        grouped,
        seed,
    )


def by_group(contestants: Sequence[Contestant], *, seed: int = 0) -> tuple[Group, ...]:
    """Accuracies by the items' groups; none where there is only one.

    Args:
        contestants: with their rows.
        seed: of the bootstraps.
    """
    names = list(dict.fromkeys(row.group for c in contestants for row in c.rows))
    if len(names) < 2:
        return ()
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    items: dict[str, set[str]] = {name: set() for name in names}
    for contestant in contestants:
        for row in contestant.rows:
            scores[row.group].setdefault(contestant.name, []).append(row.score)
            items[row.group].add(row.item)
    return tuple(
        Group(name, len(items[name]), {who: mean_interval(own, seed=seed) for who, own in scores[name].items()})
        for name in names
    )


def plain(value: Any) -> Any:
    """Records as plain data for JSON: mappings with text keys, lists, and None for what is no finite number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
