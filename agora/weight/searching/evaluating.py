"""Candidates built and scored: several at a time where memory allows, none twice, within a budget."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from agora.errors import AuthError, BudgetError, MissingError
from agora.weight.searching.history import History, Trial
from agora.weight.searching.registry import Asks
from agora.weight.searching.space import Key, Space

Score: TypeAlias = Callable[[Any], "float | Awaitable[float]"]
Progress: TypeAlias = Callable[[Trial, int, float], object]
_FAILED = 10  # so many failures before anything has been scored end a search
_IDLE = 200  # so many batches that hold nothing new do too


@dataclass(frozen=True)
class Phase:
    """What one way of searching has found.

    Attributes:
        trials: in the order in which they were asked for, each candidate once.
        stopped: why it ended: 'done', 'evaluations', 'seconds', 'nothing new' or 'failures'.
    """

    trials: tuple[Trial, ...]
    stopped: str


class Evaluator:
    """Scores candidates.

    Args:
        space: makes them.
        score: of a candidate, the higher the better. Scores that are awaited run together, others one at a time.
        history: what is known already, and where all is written.
        progress: is told each trial, which of its phase it is, and the best score of the phase so far.
    """

    def __init__(self, space: Space, score: Score, history: History, progress: Progress | None = None) -> None:
        self.space, self.history, self.progress = space, history, progress
        self.score = score
        self.spent = 0.0  # seconds of scoring, of this sitting
        call = getattr(score, "__call__", None)  # noqa: B004  (whether it is a coroutine's, not whether it is there)
        waits = inspect.iscoroutinefunction(score) or inspect.iscoroutinefunction(call)
        self._together = max(1, space.together) if waits else 1
        self._waits = waits

    async def run(self, phase: str, asks: Asks, most: int | None, seconds: float | None = None) -> Phase:
        """Go through a search until it ends or its budget is spent.

        What is asked for is counted once, whoever has scored it before, so that the outcome does not depend on what
        is known.

        Args:
            phase: its name.
            asks: the search.
            most: evaluations; None is as many as it asks for.
            seconds: likewise; the candidate that is being scored then is still taken.

        It ends early, with 'failures', if none of the first candidates can be scored.
        """
        found: dict[Key, Trial] = {}
        clock = _Clock(seconds, self.history.stops.get(phase))
        stopped, idle = "done", 0
        try:
            wanted: Sequence[Key] = next(asks)
            while True:
                keys = [key if isinstance(key, str) else self.space.canonical(key) for key in wanted]
                new = [key for key in dict.fromkeys(keys) if key not in found]
                idle = 0 if new else idle + 1
                room = len(new) if most is None else min(len(new), most - len(found))
                for begin in range(0, room, self._together):
                    if clock.over(len(found)):
                        stopped = "seconds"
                        break
                    for trial in await self._scored(phase, new[begin : min(room, begin + self._together)], clock):
                        found[trial.key] = trial
                        self._tell(trial, found)
                    if len(found) >= _FAILED and not _scored(found):
                        stopped = "failures"
                        break
                if stopped == "done" and room < len(new):
                    stopped = "evaluations"
                if stopped == "done" and idle >= _IDLE:
                    stopped = "nothing new"
                if stopped != "done":
                    break
                wanted = asks.send([found[key].score for key in keys])
        except StopIteration:
            pass
        finally:
            asks.close()
        if stopped == "seconds" and seconds is not None and self.history.stops.get(phase) != (len(found), seconds):
            self.history.stop(phase, len(found), seconds)
        return Phase(tuple(found.values()), stopped)

    def _tell(self, trial: Trial, found: dict[Key, Trial]) -> None:
        if self.progress is not None:
            self.progress(trial, len(found), max(one.score for one in found.values()))

    async def _scored(self, phase: str, keys: Sequence[Key], clock: _Clock) -> list[Trial]:
        done: dict[Key, Trial] = {}

        async def one(key: Key) -> None:
            known = self.history.trials.get(key)
            if known is None:
                trial = await self._one(phase, key)
                known = replace(trial, at=clock.now())
                self.history.add(known)
            elif known.phase == phase:
                clock.past(known.at)
            done[key] = replace(known, phase=phase)

        if len(keys) == 1:
            await one(keys[0])
        else:
            try:
                async with anyio.create_task_group() as group:
                    for key in keys:
                        group.start_soon(one, key)
            except BaseExceptionGroup as errors:
                raise _first(errors) from None
        return [done[key] for key in keys]

    async def _one(self, phase: str, key: Key) -> Trial:
        begun = time.monotonic()
        error, score = None, -math.inf
        try:
            made, release = await anyio.to_thread.run_sync(self.space.build, key)
            begun = time.monotonic()
            try:
                if self._waits:
                    found: Any = self.score(made)
                else:
                    found = await anyio.to_thread.run_sync(self.score, made, abandon_on_cancel=True)
                if inspect.isawaitable(found):
                    found = await found
                score = float(found)
            finally:
                release()
            if not math.isfinite(score):
                error, score = f"its score is {score}.", -math.inf
        except (AuthError, BudgetError, MissingError):  # these would befall every candidate, and can be mended
            raise
        except Exception as raised:
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())[:300]}"
        seconds = time.monotonic() - begun
        self.spent += seconds
        return Trial(phase, key, score, error, seconds)


class _Clock:
    """The time of a phase over all sittings."""

    def __init__(self, limit: float | None, stop: tuple[int, float] | None) -> None:
        self._limit, self._begun, self._past = limit, time.monotonic(), 0.0
        self._stop = stop[0] if stop is not None and limit is not None and limit <= stop[1] else None

    def past(self, at: float) -> None:
        """A trial of another sitting ended so many seconds after the beginning."""
        self._past, self._begun = max(self._past, at), time.monotonic()

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._past + time.monotonic() - self._begun

    def over(self, count: int) -> bool:
        """No more than so many are to be scored."""
        if self._stop is not None:
            return count >= self._stop
        return self._limit is not None and self.now() >= self._limit


def _scored(found: dict[Key, Trial]) -> bool:
    return any(trial.error is None for trial in found.values())


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
