"""Runs candidates on items: each call in the journal, one that several candidates make paid for once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from agora import calls
from agora.budget import Budget
from agora.errors import AgoraError
from agora.evaluate.records import Item, Scored
from agora.evaluate.running.bench import Bench
from agora.evaluate.running.sides import Side
from agora.records import Usage
from agora.text.debate import Debate
from agora.text.importance import importance
from agora.tune.space import Built

KEPT_BACK = 2.5  # of what the start takes on the held-out items: the winner may take more than the start


@dataclass
class Candidate:
    """A debate, and how it did so far.

    Attributes:
        built: the debate.
        name: of it; where it has no file, it is known again by that.
        rows: item's id -> how it answered.
        worth: for each item, the importance of each agent.
    """

    built: Built
    name: str
    rows: dict[str, Scored] = field(default_factory=dict)
    worth: list[dict[str, float]] = field(default_factory=list)

    @property
    def debate(self) -> Debate:
        """Itself."""
        return self.built.debate

    @property
    def key(self) -> list[Any]:
        """What tells its runs from all others: as in an evaluation, whose runs are its own."""
        return Side(self.name, self.debate).key

    def of(self, items: Sequence[Item]) -> tuple[Scored, ...]:
        """Its rows of some items."""
        return tuple(self.rows[item.id] for item in items)


class Measure:
    """Runs candidates on items within one budget.

    What is paid for counts whenever it was: replies that an earlier call of the same left in the journal are taken
    from there, and from the budget as well. So a search that was ended and goes on stops where it would have stopped.

    Args:
        bench: where calls are made.
        concurrency: items at the same time.
        tell: is called after each run on an item with how many are done, and planned.
    """

    def __init__(self, bench: Bench, concurrency: int, tell: Callable[[int, int], None]) -> None:
        self.bench, self.concurrency, self.tell = bench, concurrency, tell
        self.earlier = Usage()
        self._paid: dict[str, list[str]] = defaultdict(list)  # item's id -> runs that have paid for calls
        self._begun = time.monotonic()

    @property
    def spent(self) -> Usage:
        """What was paid in this call."""
        used, before = self.bench.meter.used, self.earlier
        usd = None if used.usd is None or before.usd is None else used.usd - before.usd
        return Usage(used.calls - before.calls, used.input_tokens - before.input_tokens,
                     used.output_tokens - before.output_tokens, usd=usd)  # fmt: skip

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    async def run(self, candidates: Sequence[Candidate], items: Sequence[Item]) -> None:
        """Run candidates on items, those of one item one after the other. Where the budget ends it, what is complete
        stays.

        Raises:
            BudgetError: if the budget ends it.
            InputError: if a candidate cannot be run.
            StoreError: if the journal cannot be written.
        """
        runs = {item.id: [self.bench.run_of(item, *one.key) for one in candidates] for item in items}
        every = [run for some in runs.values() for run in some]
        for usage in (await self.bench.journal.spent(every)).values():
            self.earlier += usage
            self.bench.meter.used += usage
        done, waiting = 0, iter(items)
        forms = [self.bench.engine.take(one.debate) for one in candidates]

        async def worker() -> None:
            nonlocal done
            for item in waiting:
                beside = list(self._paid[item.id])
                for one, form in zip(candidates, forms, strict=True):
                    ran = await self.bench.debate(form, item, one.key, beside)
                    one.rows[item.id] = await self.bench.row(item, ran, one.debate.voters)
                    if ran.verdict is not None:
                        one.worth.append(importance(ran.verdict.rounds, ran.verdict.answer))
                    beside.append(ran.run)
                    done += 1
                    self.tell(done, len(every))

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self.concurrency, len(items))):
                    group.start_soon(worker)
        except BaseExceptionGroup as errors:
            raise calls.first(errors) from None
        paid = await self.bench.journal.spent(every)
        for name, some in runs.items():
            self._paid[name] += [run for run in some if run in paid and paid[run].calls]


def hopeless(rows: Sequence[Scored]) -> None:
    """See that something else than failures came back.

    Raises:
        AgoraError: if not.
    """
    if rows and all(row.status == "absent" for row in rows):
        raise AgoraError(
            f"nothing but failures: {rows[0].error}", hint="Once that is mended, the same command goes on."
        )


def for_search(budget: Budget, start: Sequence[Scored], held: int) -> Budget:
    """What of a budget the search may use: what the held-out items will take is kept back, at most half of it.

    Args:
        budget: of all.
        start: how the start did on the items that are tuned on.
        held: held-out items.
    """

    def left(limit: float | None, each: Callable[[Usage], float | None]) -> float | None:
        if limit is None:
            return None
        taken = [each(row.usage) for row in start]
        mean = sum(one for one in taken if one is not None) / max(1, len(taken))
        return limit - min(limit / 2, KEPT_BACK * mean * held)

    units = left(budget.calls, lambda u: u.calls), left(budget.tokens, lambda u: u.tokens)
    whole = [None if one is None else int(one) for one in units]
    seconds = None if budget.seconds is None else budget.seconds / 2
    return Budget(whole[0], whole[1], left(budget.usd, lambda u: u.usd), seconds)
