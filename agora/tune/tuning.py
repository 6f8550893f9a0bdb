"""Tuning from end to end: search on some items, report on others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from agora import calls
from agora.budget import Budget
from agora.config.answers import value_of
from agora.errors import BudgetError, InputError
from agora.evaluate.measures.metrics import compare, summary
from agora.evaluate.measures.significance import sign_flips
from agora.evaluate.measures.statistics import bootstrap_mean
from agora.evaluate.records import Contestant, Dataset, Item
from agora.evaluate.running.bench import Bench
from agora.evaluate.running.cluster import Ray
from agora.evaluate.running.engines import Engine, Local
from agora.journal import Journal
from agora.tune.measuring import Candidate, Measure
from agora.tune.objective import Objective
from agora.tune.records import HeldOut, Progress, Tuned
from agora.tune.searching import Search, optuna
from agora.tune.space import FileSpace, Space
from agora.tune.splitting import apart, split

TRIALS = 40


def tune(*args: Any, **options: Any) -> Tuned:
    """`tune_async` from a script.

    Raises:
        RuntimeError: inside a running event loop.
        AgoraError: as `tune_async`.
    """

    async def go() -> Tuned:
        return await tune_async(*args, **options)

    return anyio.run(go)


async def tune_async(
    what: str | Path | Space,
    data: Dataset,
    *,
    held_out: Dataset | None = None,
    over: Sequence[str] = (),
    settings: Sequence[str] = (),
    objective: str | Objective = "accuracy",
    trials: int = TRIALS,
    budget: Budget | None = None,
    concurrency: int = 16,
    seed: int = 0,
    journal: Journal | str | Path | None = None,
    engine: Ray | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Tuned:
    """Search for a better form of a debate, and say on other items whether it is better.

    The start is always a candidate, and of all candidates that were run on all items to tune on the best one wins. Its
    score there is too high, as it was chosen for it (the winner's curse): the result is the comparison with the start
    on items that nothing was chosen on. See `agora.tune.searching.Search` for how it is searched.

    Every call is in the journal. What was ended goes on from there without paying for a call twice, and the same seed,
    data and budget give the same winner: whatever was paid for before counts against the budget as well.

    Args:
        what: a debate file, with values left open (see `FileSpace`) or without; or a space that is made in Python.
        data: items to tune on, and, without `held_out`, to report on: then each gets half of them.
        held_out: items to report on. Those whose question is tuned on are left out.
        over: of a file: 'KEY=A,B,C', values that a dotted key can have beside the file's own. Where nothing is said and
            nothing left open, what is usual is searched (`agora.tune.usual`).
        settings: of a file: 'KEY=VALUE', set before all else.
        objective: 'accuracy', or 'accuracy-LAMBDA*cost'.
        trials: candidates at most, the start included.
        budget: of all calls, earlier ones that are in the journal included, but for its seconds, which are of this
            call. What the held-out items will take is kept back of it, at most half. Where it ends, the best so far
            wins.
        concurrency: items at the same time.
        seed: of everything.
        journal: open, or a store's URL or path; None keeps nothing.
        engine: asks the candidates in the workers of a Ray cluster, where they come from a file; None asks them here.
        progress: is told how far it is.

    Raises:
        InputError: if something does not fit, or the start cannot be run.
        MissingError: if optuna is not installed: pip install 'agora-debate[tune]'.
        BudgetError: if the budget did not last for the start.
        AgoraError: if nothing but failures comes back.
        StoreError: if the journal cannot be written.
    """
    if trials < 1 or concurrency < 1:
        raise InputError("trials and concurrency are at least 1.")
    if not 0 <= seed < 2**63:
        raise InputError("a seed is a whole number, at least 0, of at most 63 bits.")
    goal = Objective.parse(objective) if isinstance(objective, str) else objective
    optuna()
    overlap = 0
    if held_out is None:
        dev, held = split(data, seed)
    else:
        dev = data
        held, overlap = apart(data, held_out)
    for part in (dev, held):
        if len({item.id for item in part.items}) < len(part.items):
            raise InputError(f"{part.name}: two items have the same id.")
    if isinstance(what, Space):
        if over or settings:
            raise InputError("over and settings are of debate files, and this is a space that is made in Python.")
        space = what
    else:
        space = FileSpace(Path(what), over, settings, _asked([*dev.items, *held.items])).space()
    async with AsyncExitStack() as stack:
        if journal is None:  # what candidates share must be kept for a while
            folder = stack.enter_context(TemporaryDirectory(prefix="agora-", ignore_cleanup_errors=True))
            journal = Path(folder) / "runs.sqlite"
        if not isinstance(journal, Journal):
            journal = await stack.enter_async_context(Journal(journal))
        if not journal.content:
            raise InputError("tuning needs a store that keeps content.", hint="Leave `content: false` out.")
        with calls.limited(budget or Budget()) as meter:
            work = _Tuning(space, dev, held, goal, trials, seed, concurrency, progress)
            asks: Engine = Local({})
            if engine is not None:
                asks = await stack.enter_async_context(engine.opened({}, journal))
            search, report = (Bench(journal, part, seed, meter, asks) for part in (dev, held))
            return await work.run(search, report, overlap)


def _asked(items: Sequence[Item]) -> list[str]:
    """The kind of answer that is asked for, where there is one only: as `agora eval` says it, whose runs are shared."""
    kinds = {json.dumps(value_of(item.answer), sort_keys=True) for item in items}
    return [f"answer={kinds.pop()}"] if len(kinds) == 1 else []


class _Tuning:
    def __init__(
        self,
        space: Space,
        dev: Dataset,
        held: Dataset,
        goal: Objective,
        trials: int,
        seed: int,
        concurrency: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.space, self.dev, self.held, self.goal = space, dev, held, goal
        self.trials, self.seed, self.concurrency, self._tell = trials, seed, concurrency, progress
        self.searching = True
        self.notes = list(space.notes)

    async def run(self, dev: Bench, held: Bench, overlap: int) -> Tuned:
        """All of it."""
        whole = dev.meter.budget
        self.measure = Measure(dev, self.concurrency, self._told)
        self.search = Search(
            self.space, self.dev, self.goal, trials=self.trials, seed=self.seed, measure=self.measure,
            held=len(self.held.items), tell=lambda: self._told(0, 0),
        )  # fmt: skip
        await self.search.run()
        start, winner = self.search.trials[0], self.search.best[0]
        dev.meter.budget, dev.meter.stopped = whole, None
        self.searching, self.measure.bench = False, held
        candidates = self.search.candidates
        report = await self._report(candidates[0], candidates[winner.number])
        if overlap:
            self.notes.append(f"{overlap} held-out items were left out: their questions are tuned on")
        return Tuned(
            str(self.goal), self.space.about, self.dev.name, len(self.dev.items), self.search.rungs, overlap,
            tuple(self.search.trials), start, winner, candidates[winner.number].built.text, report,
            self.search.importance(), self.search.agents, self.search.stopped, tuple(self.notes),
            self.measure.spent, self.measure.earlier, self.seed,
        )  # fmt: skip

    async def _report(self, start: Candidate, winner: Candidate) -> HeldOut | None:
        """Both on the held-out items."""
        items, same = list(self.held.items), start is winner
        for one in (start, winner):
            one.rows = {}
        try:
            await self.measure.run([start] if same else [start, winner], items)
        except BudgetError as error:
            if not self.measure.bench.ends(error):
                raise
            self.notes.append(f"the comparison on held-out items was cut short: {error.message.rstrip('.')}")
        both = [item for item in items if item.id in start.rows and item.id in winner.rows]
        if not both:
            return None
        for name, one in (("start", start),) if same else (("start", start), ("winner", winner)):
            if all(row.status == "absent" for row in one.of(both)):
                why = (one.rows[both[0].id].error or "").rstrip(".")
                self.notes.append(f"on held-out items the {name} did nothing but fail: {why}")
        first = Contestant("the file it started from", "debate", "the file it started from", start.of(both))
        last = Contestant("the winner", "debate", "the winner", winner.of(both))
        planned = len(items)
        if same:
            alone = summary(first, seed=self.seed)
            return HeldOut(len(both), planned, alone, alone, None)
        before, after = (summary(one, seed=self.seed) for one in (first, last))
        (comparison,) = compare([(last, first)], seed=self.seed)
        if not self.goal.weight:
            return HeldOut(len(both), planned, before, after, comparison)
        gains = [self.goal.of(b) - self.goal.of(a) for a, b in zip(first.rows, last.rows, strict=True)]
        widest = max(1.0, *map(abs, gains))
        interval = bootstrap_mean(gains, seed=self.seed, low=-widest, high=widest)
        return HeldOut(len(both), planned, before, after, comparison, interval, sign_flips(gains, seed=self.seed))

    def _told(self, done: int, planned: int) -> None:
        if self._tell is None:
            return
        best = next(iter(self.search.best), None)
        m, so_far = self.measure, self.search.counted
        state = (so_far, self.trials, done, planned, best, m.spent, m.earlier, m.seconds)
        self._tell(Progress("search" if self.searching else "held out", *state))
