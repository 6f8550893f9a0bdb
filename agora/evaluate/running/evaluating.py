"""Runs an evaluation: debates on every item, then what they must be compared with at equal cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import anyio

from agora import calls
from agora.budget import Budget
from agora.errors import AgoraError, BudgetError, InputError
from agora.evaluate.records import Contestant, Dataset, Item, Results, Scored
from agora.evaluate.running import baselines as beside
from agora.evaluate.running.baselines import BASELINES
from agora.evaluate.running.bench import UNITS, Bench, Pool, Ran, matched
from agora.evaluate.running.cluster import Ray
from agora.evaluate.running.engines import Engine, Form, Local
from agora.evaluate.running.scoring import Marks, alone, independent, round_zero_vote, voted
from agora.evaluate.running.sides import Side, in_order
from agora.journal import Journal, versions
from agora.model import Model
from agora.records import Usage
from agora.text.debate import Debate
from agora.text.votes import plurality

SAMPLES = 64  # of self-consistency, for one item, at most
HOPELESS = 10  # so many failures, and nothing else, end an evaluation
Control = Literal["isolated", "noise"]


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        done: runs of contestants on items.
        planned: of them, as far as is known.
        spent: what was paid in this call: replies that were in the journal are free.
        replayed: replies taken from the journal.
        absent: runs that failed.
        scores: contestant -> how many items it has answered, and its mean score on them.
        seconds: since the beginning.
        waiting: the last failure after which a call is tried again, since a run was over; '' where there was none.
    """

    done: int
    planned: int
    spent: Usage
    replayed: int
    absent: int
    scores: Mapping[str, tuple[int, float]]
    seconds: float
    waiting: str = ""


def evaluate(*args: Any, **options: Any) -> Results:
    """`evaluate_async` from a script.

    Raises:
        RuntimeError: inside a running event loop.
        AgoraError: as `evaluate_async`.
    """

    async def go() -> Results:
        return await evaluate_async(*args, **options)

    return anyio.run(go)


async def evaluate_async(
    debates: Mapping[str, Debate | Model] | Debate,
    data: Dataset,
    *,
    baselines: Sequence[str] = BASELINES,
    match: Sequence[str] = tuple(UNITS),
    samples: int = SAMPLES,
    temperature: float | None = None,
    concurrency: int = 16,
    seed: int = 0,
    budget: Budget | None = None,
    journal: Journal | str | Path | None = None,
    engine: Ray | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Run debates and what stands beside them on the same items.

    Every run on an item is in the journal, under an id that depends on the contestant, the item and the seed alone: an
    evaluation that was ended goes on from there, one with more items or other baselines makes no call twice, and the
    rounds that two contestants share (the first of a debate and of its controls) are paid for once. Usage is always
    what a contestant would have cost by itself.

    Baselines of each debate:

    - members: each agent alone, by its own first answer in the debate where that was given without reading anybody,
      else asked once; of agents that differ in nothing but their name the first. Models that judge are members.
    - best: the best of them, chosen on other items than those it is measured on.
    - vote: the vote of the first round.
    - self-consistency: a vote over independent samples of the best member, on each item as many as cost what the debate
      cost there, in calls, tokens and USD (Wang et al. 2022, arXiv:2203.11171). Which member is best is decided on
      these very items, which favours the baseline.
    - isolated: the same agents and rounds, but nobody reads anybody: self-correction.
    - noise: what agents read is what the others said about another question (Bertalanic 2026, arXiv:2605.00914).

    Args:
        debates: what is evaluated, by name; any model can stand for a debate of one.
        data: the items, all of them; see `Dataset.sample`.
        baselines: which of `BASELINES`.
        match: what self-consistency is matched in: 'calls', 'tokens', 'usd'.
        samples: of it on one item, at most.
        temperature: of its samples, in place of the member's own: at 0 all samples are one.
        concurrency: items that are run at the same time.
        seed: of everything.
        budget: of this call; replies from the journal are free. Where it ends, so does the evaluation, with the items
            that all debates have answered.
        journal: open, or a store's URL or path; None keeps nothing.
        engine: asks the contestants in the workers of a Ray cluster, for debates that were read from files; None asks
            them in this process. The table is the same.
        progress: is told how far it is.

    Raises:
        InputError: if something does not fit, or cannot be asked at all.
        ModelError: if nothing but failures comes back.
        BudgetError: if the budget did not last for one item.
        StoreError: if the journal cannot be written.
    """
    named = {debates.name: debates} if isinstance(debates, Debate) else dict(debates)
    if not named:
        raise InputError("there is nothing to evaluate.")
    if not data.items:
        raise InputError(f"{data.name}: there are no items.")
    if len({item.id for item in data.items}) < len(data.items):
        raise InputError(f"{data.name}: two items have the same id.")
    check(baselines, match)
    if samples < 1 or concurrency < 1:
        raise InputError("samples and concurrency are at least 1.")
    if temperature is not None and not 0 <= temperature <= 2:
        raise InputError(f"a temperature is a number from 0 to 2, not {temperature}.")
    if not -(2**63) <= seed < 2**63:
        raise InputError("a seed is a whole number of at most 64 bits.")
    made = {name: beside.as_debate(model, name) for name, model in named.items()}
    async with AsyncExitStack() as stack:
        if journal is None:  # what runs share must be kept for a while
            folder = stack.enter_context(TemporaryDirectory(prefix="agora-", ignore_cleanup_errors=True))
            journal = Path(folder) / "runs.sqlite"
        if not isinstance(journal, Journal):
            journal = await stack.enter_async_context(Journal(journal))
        if not journal.content:
            raise InputError("an evaluation needs a store that keeps content.", hint="Leave `content: false` out.")
        with calls.limited(budget or Budget()) as meter:
            asks: Engine = Local(made)
            if engine is not None:
                asks = await stack.enter_async_context(engine.opened(made, journal))
            bench = Bench(journal, data, seed, meter, asks)
            options = _Options(frozenset(baselines), tuple(match), samples, temperature, concurrency)
            evaluation = _Evaluation(made, bench, options, progress)
            if isinstance(asks, Local):
                asks.listen = evaluation.heard
            return await evaluation.run()


def check(baselines: Sequence[str], match: Sequence[str]) -> None:
    """See that there are such baselines and such units of cost.

    Raises:
        InputError: naming the first that there is not.
    """
    if strange := [name for name in baselines if name not in BASELINES]:
        raise InputError(f"'{strange[0][:40]}' is no baseline.", hint=f"There are {', '.join(BASELINES)}.")
    if strange := [unit for unit in match if unit not in UNITS]:
        raise InputError(f"self-consistency cannot be matched in '{strange[0][:40]}'.", hint=f"In {', '.join(UNITS)}.")


@dataclass(frozen=True)
class _Options:
    baselines: frozenset[str]
    match: tuple[str, ...]
    samples: int
    temperature: float | None
    concurrency: int


class _Evaluation:
    def __init__(
        self,
        debates: Mapping[str, Debate],
        bench: Bench,
        options: _Options,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.sides = [Side(name, debate) for name, debate in debates.items()]
        self.bench, self.options, self._tell = bench, options, progress
        self.items = list(bench.data.items)
        self._done = self._absent = 0
        self._planned = len(self.items) * len(self.sides)
        self._sums: dict[str, tuple[int, float]] = {}
        self._began = time.monotonic()
        self.stopped, self.notes, self._waiting = "", list[str](), ""

    async def run(self) -> Results:
        """The whole of it, or what a budget allowed of it."""
        try:
            await self._each(self._debates)
            for side in self.sides:
                await self._beside(side)
        except BudgetError as error:
            if not self.bench.ends(error):
                raise
            self.stopped = error.message
            if not self._complete():
                raise
        return self._results()

    async def _each(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Do something for every item, so many at a time."""
        numbers = iter(range(len(self.items)))

        async def worker() -> None:
            for i in numbers:
                await work(i)

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self.options.concurrency, len(self.items))):
                    group.start_soon(worker)
        except BaseExceptionGroup as errors:
            raise calls.first(errors) from None

    # ---- the debates, and what their first round holds already -----------------------------------------------

    async def _debates(self, i: int) -> None:
        item, runs = self.items[i], list[str]()
        for side in self.sides:
            ran = await self.bench.debate(Form(side.name), item, side.key, runs)
            runs.append(ran.run)
            await self._take(side, i, item, ran)

    async def _take(self, side: Side, i: int, item: Item, ran: Ran) -> None:
        side.rows[i] = await self.bench.row(item, ran, side.debate.voters)
        rounds = ran.verdict.rounds if ran.verdict is not None else getattr(ran.error, "rounds", ())
        names = beside.members(side.debate) if self.options.baselines & {"members", "best", "self-consistency"} else {}

        async def derive(marks: Marks) -> None:
            if ran.verdict is not None:
                side.vote[i] = await round_zero_vote(side.rows[i], ran.verdict, marks, side.debate.voters)
            else:
                side.vote[i] = replace(side.rows[i], said=())
            for name in names:
                turn = independent(rounds, name)
                if turn is not None:
                    side.members.setdefault(name, {})[i] = await alone(turn, item, marks, side.rows[i])
                elif rounds:
                    side.dependent.add(name)
                else:
                    side.members.setdefault(name, {})[i] = replace(side.rows[i], said=())

        if (unscored := await self.bench.marked(item, ran.run, derive)) is not None:
            side.vote[i] = unscored
            for name in names:
                side.members.setdefault(name, {}).setdefault(i, unscored)
        self._count(side.name, side.rows[i])

    # ---- what stands beside a debate -------------------------------------------------------------------------

    async def _beside(self, side: Side) -> None:
        wanted = self.options.baselines
        controls = self._controls(side) if wanted & {"isolated", "noise"} else []
        several = len(side.debate.agents) > 1 or side.debate.moderator.last > 0
        pooled = "self-consistency" in wanted and self.options.match and several
        self._planned += len(self.items) * (len(controls) + len(side.dependent) + bool(pooled))
        for name in beside.members(side.debate):
            if name in side.dependent:
                side.members[name] = {}
                form = Form(side.name, "alone", name)
                await self._contest(side, form, ["alone", name], side.members[name], name)
        for role, note in controls:
            rows: dict[int, Scored] = {}
            form = Form(side.name, role)
            if await self._contest(side, form, [role], rows, f"{side.name}: {role}"):
                side.others.append(Contestant(f"{side.name}: {role}", role, side.name, in_order(rows), note))
        if pooled:
            await self._pool(side)

    def _controls(self, side: Side) -> list[tuple[Control, str]]:
        found: list[tuple[Control, str]] = []
        if "isolated" in self.options.baselines:
            made, why = beside.tried(lambda: beside.isolated(side.debate))
            if made is not None:
                found.append(("isolated", ""))
            else:
                self.notes.append(f"{side.name}: isolated was not run: {why}")
        if "noise" in self.options.baselines:
            made, why = beside.tried(lambda: beside.noise(side.debate, ()))
            donors = [i for i, row in side.rows.items() if row.status != "absent"]
            if made is None or len(donors) < 2:
                why = why or "there is no other item to take noise from"
                self.notes.append(f"{side.name}: noise was not run: {why}")
            else:
                found.append(("noise", "peers' messages are those about the next item"))
        return found

    async def _contest(self, side: Side, form: Form, key: Sequence[Any], rows: dict[int, Scored], name: str) -> bool:
        """Run another form of a debate on every item; of the noise control the form depends on the item."""

        locks: dict[int, anyio.Lock] = defaultdict(anyio.Lock)

        async def one(i: int) -> None:
            item, more, asked = self.items[i], list[Any](), form
            if form.kind == "noise":
                donor = self._donor(side, i)
                async with locks[donor]:  # two items may have one, where others failed
                    ran = await self.bench.debate(Form(side.name), self.items[donor], side.key)
                assert ran.verdict is not None
                asked, more = replace(form, donor=ran.verdict.rounds), [self.items[donor].digest]
            ran = await self.bench.debate(asked, item, [*side.key, *key, *more], [side.rows[i].run])
            rows[i] = await self.bench.row(item, ran, self.bench.engine.made(form).voters)
            self._count(name, rows[i])

        await self._each(one)
        return True

    def _donor(self, side: Side, i: int) -> int:
        """The next item that the debate has a verdict on."""
        n = len(self.items)
        return next(j for j in ((i + k) % n for k in range(1, n)) if side.rows[j].status != "absent")

    async def _pool(self, side: Side) -> None:
        """Self-consistency of the best member, matched in several units by one pool of samples."""
        members = {name: in_order(rows) for name, rows in side.members.items()}
        name = beside.best(members)
        warmth = self.options.temperature
        pool = Pool(self.bench, Form(side.name, "alone", name, warmth), self.options.samples)
        weight: Any = getattr(side.debate.moderator.decide, "weight", "one")
        units = [unit for unit in self.options.match if any(_target(row, unit) for row in side.rows.values())]
        rows: dict[str, dict[int, Scored]] = {unit: {} for unit in units}
        same = 0

        async def one(i: int) -> None:
            nonlocal same
            item, targets = self.items[i], {unit: _target(side.rows[i], unit) or 0.0 for unit in units}
            drawn, run = await pool.draw(item, [*side.key, "sample", name, warmth], targets)
            same += len(drawn) > 1 and len({s.turn.reply.text for s in drawn if s.turn.reply is not None}) == 1

            async def score(marks: Marks) -> None:
                for unit in units:
                    n, capped = matched(drawn, unit, targets[unit])
                    turns = [sample.turn for sample in drawn[:n]]
                    ruling = plurality(turns, weight=weight, ties="first", seed=self.bench.seed_of(item))
                    usage = sum((sample.usage for sample in drawn[:n]), Usage())
                    row = await voted(turns, ruling.answer, item, marks, usage=usage, run=run)
                    rows[unit][i] = replace(row, extra={**row.extra, "capped": float(capped)})

            if (unscored := await self.bench.marked(item, run, score)) is not None:
                for unit in units:
                    rows[unit][i] = replace(unscored, extra={"samples": float(len(drawn)), "capped": 0.0})
            self._count(f"{side.name}: self-consistency", rows[units[0]][i])

        if units:
            await self._each(one)
        for unit in self.options.match:
            title = f"{side.name}: self-consistency ({unit})"
            if unit not in units:
                why = "what the debate cost is not known" if side.unpriced else "the debate cost nothing"
                self.notes.append(f"{title} was not run: {why}")
                continue
            capped = sum(row.extra["capped"] for row in rows[unit].values())
            notes = [f"of {name}" if warmth is None else f"of {name} at temperature {warmth:g}"]
            if capped:
                notes.append(f"on {capped:.0f} items {self.options.samples} samples cost less than the debate")
            if same > len(self.items) / 2:
                notes.append(f"on {same} items all samples are the same text: they need a temperature")
            side.others.append(Contestant(title, "self-consistency", side.name, in_order(rows[unit]), "; ".join(notes)))

    # ---- the outcome -----------------------------------------------------------------------------------------

    def _complete(self) -> list[int]:
        """The items that all debates have answered."""
        return [i for i in range(len(self.items)) if all(i in side.rows and i in side.vote for side in self.sides)]

    def _results(self) -> Results:
        kept, seed = self._complete(), self.bench.seed
        found = [one for side in self.sides for one in side.contestants(kept, self.options.baselines, seed)]
        data = self.bench.data
        return Results(
            data.name, data.digest, data.about, data.scorer.name, seed, tuple(found), versions(), time.time(),
            len(self.items), self.stopped, tuple(self.notes), {item.id: item.digest for item in self.items},
        )  # fmt: skip

    def _count(self, name: str, row: Scored) -> None:
        n, mean = self._sums.get(name, (0, 0.0))
        self._sums[name] = (n + 1, mean + (row.score - mean) / (n + 1))
        self._done += 1
        self._absent += row.status == "absent"
        self._waiting = ""
        self._report()
        if self._absent == self._done == min(HOPELESS, len(self.items)) and row.error is not None:
            hint = "Once that is mended, the same command goes on."
            raise AgoraError(f"nothing but failures: {row.error}", hint=hint)

    def heard(self, what: calls.Wait | calls.Delta) -> None:
        """A call failed, and is tried again."""
        if isinstance(what, calls.Wait):
            self._waiting = f"{what.model}, attempt {what.attempt}: {what.error}"
            self._report()

    def _report(self) -> None:
        if self._tell is not None:
            bench, seconds = self.bench, time.monotonic() - self._began
            state = (self._done, self._planned, bench.meter.used, bench.replayed, self._absent, dict(self._sums))
            self._tell(Progress(*state, seconds, self._waiting))


def _target(row: Scored, unit: str) -> float | None:
    return UNITS[unit](row.usage)
