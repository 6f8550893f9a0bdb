"""Runs one contestant on one item in the journal, so that nothing is paid for twice and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from agora import calls
from agora.budget import Meter
from agora.errors import AgoraError, BudgetError, InputError, StoreError
from agora.evaluate.records import Dataset, Item, Scored
from agora.evaluate.running.engines import Engine, Form
from agora.evaluate.running.scoring import BUDGET, Marks, critical, failed, scored
from agora.journal import ITEM, Journal, Recorder
from agora.model import Settings, derive_seed
from agora.records import Turn, Usage, Verdict


@dataclass(frozen=True)
class Ran:
    """A contestant's run on one item: its verdict, or the error it ended with."""

    verdict: Verdict | None
    error: AgoraError | None
    seconds: float
    run: str


class Bench:
    """Where an evaluation's calls are made.

    Args:
        journal: open.
        data: the items and their scorer.
        seed: of everything.
        meter: of the evaluation's budget.
        engine: asks the contestants.
    """

    def __init__(self, journal: Journal, data: Dataset, seed: int, meter: Meter, engine: Engine) -> None:
        self.journal, self.data, self.seed, self.meter, self.engine = journal, data, seed, meter, engine
        self.replayed = 0  # replies that were in the journal

    def seed_of(self, item: Item) -> int:
        """The seed of everything that is asked about an item: the same for every contestant."""
        return derive_seed(self.seed, item.id)

    def run_of(self, item: Item, *contestant: Any) -> str:
        """The id of a contestant's run on an item: the same whenever the same is evaluated."""
        return f"{ITEM}{_hash(item.id, item.digest, self.seed)}:{_hash(*contestant)}"

    async def debate(self, form: Form, item: Item, key: Sequence[Any], beside: Sequence[str] = ()) -> Ran:
        """Run a debate on an item, or find in the journal what it did.

        Args:
            form: the contestant.
            item: what it is asked.
            key: what tells it from all others.
            beside: runs whose replies to the same calls are its own.

        Raises:
            BudgetError: if the evaluation's budget ended it.
            InputError: if it cannot be run at all.
            StoreError: if the journal cannot be written.
        """
        run, began = self.run_of(item, *key), time.perf_counter()
        debate = self.engine.made(replace(form, donor=()))
        about = {"question": item.question, "name": debate.name, "seed": self.seed, "config": debate.source}
        error: AgoraError | None = None
        try:
            async with self.journal.recording(run, **about, beside=beside) as recorder:
                verdict = await self.engine.answer(form, item, Settings(seed=self.seed_of(item)), recorder)
                recorder.outcome.update(answer=verdict.answer, reason=verdict.reason, rounds=len(verdict.rounds) - 1)
                self.replayed += recorder.reused
                if self.meter.stopped is not None and BUDGET in verdict.reason:
                    raise self.meter.stopped  # it might have gone on: this is not its verdict
            return Ran(replace(verdict, run=run), None, _took(verdict, recorder, began), run)
        except (InputError, StoreError):
            raise
        except AgoraError as failure:
            if self.ends(failure):
                raise
            error = failure
        return Ran(None, error, time.perf_counter() - began, run)

    async def row(self, item: Item, ran: Ran, voters: Sequence[str]) -> Scored:
        """How a contestant answered an item.

        Args:
            item: what was asked.
            ran: its run.
            voters: whose last answers decided.
        """
        verdict = ran.verdict
        if verdict is None:
            assert ran.error is not None
            return failed(item, ran.error, seconds=ran.seconds, run=ran.run)
        rows: list[Scored] = []

        async def score(marks: Marks) -> None:
            rows.append(await scored(verdict, item, marks, voters=voters, seconds=ran.seconds, run=ran.run))

        unscored = await self.marked(item, ran.run, score)
        return rows[0] if unscored is None else replace(unscored, usage=verdict.usage, seconds=ran.seconds)

    async def marked(self, item: Item, run: str, score: Callable[[Marks], Awaitable[None]]) -> Scored | None:
        """Score what a run on an item gave; a scorer that asks a model does it in the journal. Where it fails, the row
        of an item that is absent for that.

        Args:
            item: what was asked.
            run: whose answers are scored.
            score: does it.

        Raises:
            BudgetError: if the evaluation's budget ended it.
            InputError: if it cannot be scored at all.
            StoreError: if the journal cannot be written.
        """
        try:
            marks = Marks(self.data.scorer, item)
            if not self.data.scorer.paid:
                await score(marks)
                return None
            name = f"{run}:{_hash(self.data.scorer.name)}"
            about = {"question": item.question, "name": self.data.scorer.name, "seed": self.seed}
            async with self.journal.recording(name, **about) as recorder:
                with calls.scope(recorder=recorder, path="", listen=None, stream=False):
                    await score(marks)
        except (InputError, StoreError):
            raise
        except AgoraError as error:
            if self.ends(error):
                raise
            return failed(item, AgoraError(f"it could not be scored: {error}"), seconds=0.0, run=run)
        return None

    def ends(self, error: AgoraError) -> bool:
        """Whether an error says that the evaluation's budget is used up."""
        return isinstance(error, BudgetError) and error.meter is self.meter


# ---- self-consistency -------------------------------------------------------------------------------------------

UNITS: Mapping[str, Callable[[Usage], float | None]] = {
    "calls": lambda usage: usage.calls, "tokens": lambda usage: usage.tokens, "usd": lambda usage: usage.usd,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One independent answer, and what it took."""

    turn: Turn
    usage: Usage


class Pool:
    """Independent samples of one agent's answer to one item, drawn until they have cost what they are to be matched to.

    Args:
        bench: where they are drawn.
        form: the agent alone.
        most: samples that are drawn at most.
    """

    def __init__(self, bench: Bench, form: Form, most: int) -> None:
        self.bench, self.form, self.most = bench, form, most

    async def draw(self, item: Item, key: Sequence[Any], targets: Mapping[str, float]) -> tuple[list[Sample], str]:
        """Draw samples until they have cost each target, or there are too many.

        Args:
            item: what is asked.
            key: what tells the agent from all others.
            targets: unit ('calls', 'tokens', 'usd') -> how much of it.

        Returns:
            The samples, in order, and the id of their run.
        """
        run = self.bench.run_of(item, *key)
        about = {"question": item.question, "name": f"{self.form.member}, samples", "seed": self.bench.seed}
        samples: list[Sample] = []
        async with self.bench.journal.recording(run, **about) as recorder:
            while (more := self._missing(samples, targets)) > 0:
                drawn: dict[int, Sample] = {}

                async def one(i: int, into: dict[int, Sample] = drawn, recorder: Recorder = recorder) -> None:
                    into[i] = await self._one(item, i, recorder)

                try:
                    async with anyio.create_task_group() as group:
                        for i in range(len(samples), len(samples) + more):
                            group.start_soon(one, i)
                except BaseExceptionGroup as errors:
                    raise calls.first(errors) from None
                samples += (drawn[i] for i in sorted(drawn))
            self.bench.replayed += recorder.reused
        return samples, run

    async def _one(self, item: Item, i: int, recorder: Recorder) -> Sample:
        seed = derive_seed(self.bench.seed_of(item), "sample", i)
        agent = f"sample {i + 1}"
        try:
            settings = Settings(seed=seed)
            verdict = await self.bench.engine.answer(self.form, item, settings, recorder, f"sample/{i}")
        except (InputError, StoreError):
            raise
        except AgoraError as failure:
            if self.bench.ends(failure):
                raise
            return Sample(Turn(agent, 0, "answer", error=str(failure)), getattr(failure, "usage", None) or Usage(1))
        turn = verdict.rounds[0].turns[-1]
        return Sample(replace(turn, agent=agent), verdict.usage)

    def _missing(self, samples: Sequence[Sample], targets: Mapping[str, float]) -> int:
        """How many more are surely needed: at least one where a target is not reached."""
        room = self.most - len(samples)
        if not samples:
            return min(room, max(1, int(targets.get("calls", 1))))
        needed = 0
        for unit, target in targets.items():
            taken = cost(samples, unit)
            if taken is None or taken >= target:
                continue
            mean = taken / len(samples)
            needed = max(needed, 1, int(0.9 * (target - taken) / mean) if mean > 0 else room)
        return min(room, needed)


def cost(samples: Sequence[Sample], unit: str) -> float | None:
    """What samples cost in a unit; None where that is not known."""
    total = sum((sample.usage for sample in samples), Usage())
    return UNITS[unit](total)


def matched(samples: Sequence[Sample], unit: str, target: float) -> tuple[int, bool]:
    """How many of the samples, from the first, cost what is nearest to a target, at least one; and whether all of them
    together cost less than that."""
    best, gap, taken = 1, float("inf"), 0.0
    for n, sample in enumerate(samples, 1):
        taken += UNITS[unit](sample.usage) or 0.0
        if abs(taken - target) < gap - 1e-12:
            best, gap = n, abs(taken - target)
        if taken >= target:
            return best, False
    return best, taken < target - 1e-12


def _took(verdict: Verdict, recorder: Recorder, began: float) -> float:
    """Seconds of a run: what its models took where replies were in the journal, whose own waiting is past."""
    now = time.perf_counter() - began
    return max(now, critical([turn for round in verdict.rounds for turn in round.turns])) if recorder.reused else now


def _hash(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
