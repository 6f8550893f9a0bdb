"""Two stored evaluations beside each other, on the items that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agora.errors import InputError
from agora.evaluate.measures.metrics import Comparison, Summary, compare, summary
from agora.evaluate.records import Contestant, Results


@dataclass(frozen=True)
class Against:
    """Two evaluations of the same items.

    Attributes:
        data: name of the data set.
        n: items that both have.
        only_first: items that only the first has.
        only_second: that only the second has.
        first: of each contestant that is compared, in the first evaluation, on the common items.
        second: in the second one, in the same order.
        comparisons: second less first, debates, baselines and members a family each: 'better' says that the second
            evaluation's is. Their names carry which evaluation they are of.
        left: contestants that only one of them has.
        notes: what a reader must know: scorers that differ, ...
    """

    data: str
    n: int
    only_first: int
    only_second: int
    first: tuple[Summary, ...]
    second: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]


def against(
    first: Results, second: Results, names: tuple[str, str] = ("A", "B"), *, grouped: bool = False, seed: int = 0
) -> Against:
    """Compare two evaluations: contestants of the same name with each other; and the debates, where each has just one,
    whatever their names.

    Args:
        first: what is compared with.
        second: what is to be better.
        names: of the two, for the reader.
        grouped: items of one group are no independent ones.
        seed: of the bootstraps.

    Raises:
        InputError: if they are of different data, or have no item or no contestant in common.
    """
    common = _common(first, second, names)
    pairs = _pairs(first, second)
    if not pairs:
        raise InputError(
            f"{names[0]} and {names[1]} have no contestant of the same name, and not one debate each.",
            hint="Evaluate debates under the same name.",
        )
    one = [_cut(a, common, names[0]) for a, _ in pairs]
    two = [_cut(b, common, names[1]) for _, b in pairs]
    matched = [(a, b) for a, b in zip(one, two, strict=True) if a.rows and b.rows]
    if not matched:
        raise InputError(f"{names[0]} and {names[1]} have answered no item in common.", hint="Resume them.")
    paired = {c.name for pair in pairs for c in pair}
    notes = [f"the scorers differ: {first.scorer} and {second.scorer}"] if first.scorer != second.scorer else []
    sizes = [len({row.item for c in results.contestants for row in c.rows} - common) for results in (first, second)]
    return Against(
        first.data, len(common), sizes[0], sizes[1],
        tuple(summary(a, grouped=grouped, seed=seed) for a, _ in matched),
        tuple(summary(b, grouped=grouped, seed=seed) for _, b in matched),
        compare([(b, a) for a, b in matched], grouped=grouped, seed=seed),
        tuple(c.name for results in (first, second) for c in results.contestants if c.name not in paired),
        tuple(notes),
    )  # fmt: skip


def _common(first: Results, second: Results, names: Sequence[str]) -> set[str]:
    """Items that both have answered and that are the same questions."""
    both = [{row.item for c in results.contestants for row in c.rows} for results in (first, second)]
    common = both[0] & both[1]
    if not common:
        raise InputError(
            f"{names[0]} ({first.data}) and {names[1]} ({second.data}) have no item in common.",
            hint="Compare evaluations of the same data.",
        )
    if first.digest == second.digest:
        return common
    if any(item not in results.digests for item in common for results in (first, second)):
        raise InputError(
            f"{names[0]} and {names[1]} are of different data, and do not say which items are the same.",
            hint="Compare evaluations of the same data.",
        )
    changed = sorted(item for item in common if first.digests[item] != second.digests[item])
    if changed:
        raise InputError(
            f"{names[0]} and {names[1]} are of different data: item {changed[0]!r:.60} has another question or truth"
            f"{f', and {len(changed) - 1} more' if len(changed) > 1 else ''}.",
            hint="Compare evaluations of the same data.",
        )
    return common


def _pairs(first: Results, second: Results) -> list[tuple[Contestant, Contestant]]:
    """Who is whose counterpart. Baselines are named after their debate; of two single debates only the rest counts."""
    single = len(first.debates) == len(second.debates) == 1

    def key(contestant: Contestant) -> tuple[str, str]:
        return contestant.role, contestant.name.removeprefix(contestant.of) if single else contestant.name

    theirs = {key(c): c for c in second.contestants}
    return [(c, theirs[key(c)]) for c in first.contestants if key(c) in theirs]


def _cut(contestant: Contestant, common: set[str], name: str) -> Contestant:
    """A contestant on the common items, with a name that says where it is from."""
    rows = tuple(row for row in contestant.rows if row.item in common)
    return replace(contestant, name=f"{contestant.name} ({name})", rows=rows)
