"""`search`: the best merge that a score finds in a space, beside what it must be compared with."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from agora.errors import InputError
from agora.weight.merging import Report, merge
from agora.weight.recipe import Recipe
from agora.weight.searching import registry
from agora.weight.searching.evaluating import Evaluator, Progress, Score
from agora.weight.searching.history import History, Trial
from agora.weight.searching.registry import Asks
from agora.weight.searching.space import Key, Point, Space


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        how: name of the search.
        space: that was searched.
        seed: of its draws.
        best: the best trial of the search; of equal ones the first.
        trials: all of the search, in their order.
        stopped: why it ended: 'done' by itself, 'evaluations', 'seconds', 'nothing new' to score.
        single: the best single model; None where the space has none, or comparisons were left out.
        members: all single models.
        average: the plain average of the models.
        random: the best of a random search of as many evaluations.
        seconds: of this sitting, all in all.
        scoring: of this sitting, those spent on scores; those of candidates scored together are all counted.
        notes: what a user should know, a sentence each.
    """

    how: str
    space: Space
    seed: int
    best: Trial
    trials: tuple[Trial, ...]
    stopped: str
    single: Trial | None
    members: tuple[Trial, ...]
    average: Trial | None
    random: Trial | None
    seconds: float
    scoring: float
    notes: tuple[str, ...]

    @property
    def point(self) -> Point:
        """Of the best."""
        return tuple(value for value in self.best.key if isinstance(value, float))

    @property
    def score(self) -> float:
        """Of the best."""
        return self.best.score

    @property
    def evaluations(self) -> int:
        """How many candidates the search has scored."""
        return len(self.trials)

    @property
    def values(self) -> dict[str, Any]:
        """The best point, by names."""
        own = getattr(self.space, "values", None)
        return dict(own(self.point)) if own else dict(zip(self.space.names, self.point, strict=True))

    @property
    def curve(self) -> list[float]:
        """The best score so far after each evaluation; minus infinity until one has succeeded."""
        best, made = -math.inf, []
        for trial in self.trials:
            best = max(best, trial.score)
            made.append(best)
        return made

    @property
    def summary(self) -> dict[str, Any]:
        """All of it as plain data, ready for JSON; what could not be scored is null."""

        def told(trial: Trial | None) -> Any:
            if trial is None:
                return None
            score = trial.score if trial.error is None else None
            return {"key": trial.key, "score": score} | ({"error": trial.error} if trial.error else {})

        return {
            "search": self.how, "seed": self.seed, "score": self.score, "values": self.values,
            "evaluations": self.evaluations, "stopped": self.stopped, "single": told(self.single),
            "average": told(self.average), "random": told(self.random), "members": list(map(told, self.members)),
            "curve": [value if math.isfinite(value) else None for value in self.curve],
            "seconds": self.seconds, "scoring": self.scoring, "notes": list(self.notes),
        }  # fmt: skip

    def recipe(self, dtype: str | None = None) -> Recipe:
        """The best as a recipe for `agora.weight.merge`.

        Args:
            dtype: of the output; default: the recipe's own, else as the models are. Candidates are scored in float32.

        Raises:
            InputError: if the space is not one of merges.
        """
        made = self.space.recipe(self.best.key)
        return made if dtype is None else made.model_copy(update={"out_dtype": dtype})

    def write(self, out: Path | str, *, dtype: str | None = None, **more: Any) -> Report:
        """Write the best as a checkpoint.

        Args:
            out: the folder to make.
            dtype: see `recipe`.
            more: options of `agora.weight.merge`.

        Raises:
            InputError: as `recipe` and `merge`.
        """
        folders = {**getattr(self.space, "folders", {}), **(more.pop("folders", None) or {})}
        return merge(self.recipe(dtype), out, folders=folders, **more)


async def search_async(
    space: Space,
    score: Score,
    how: str = "swarm",
    *,
    evaluations: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    history: Path | str | None = None,
    beside: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Found:
    """Search a space of merges for the candidate of the highest score.

    Candidates are built in memory; each is scored once, those that can be together. A candidate that cannot be built or
    scored, or whose score is no number, counts as the worst. The outcome depends on the arguments and the scores
    alone: a search that was killed and is called again with its history goes on, scores nothing twice, and ends as it
    would have (a limit in seconds counts all sittings). With a larger budget it goes on beyond its end.

    Args:
        space: `WeightedSum`, `Adapters`, `Parameters`, or `Numbers`.
        score: of a candidate, the higher the better: any function of a model, also one to be awaited; `Accuracy` and
            `Likelihood` are such. Use a dev set, and report on other problems.
        how: name of the search; see `SEARCHERS`.
        evaluations: budget of the search; what it is compared with has its own.
        seconds: likewise; one of the two is needed where a search does not end by itself.
        seed: of all draws.
        history: a file that holds every evaluation; see above. It belongs to one space, search, seed and score.
        beside: also score each single model, their average, and a random search of as many evaluations.
        progress: is told each trial, which of its phase it is, and the best score of the phase so far.
        options: the search's own.

    Raises:
        InputError: if the space does not suit the search, an option is none, the history is another search's, or
            nothing could be scored.
        MissingError: if a library is needed that is not installed.
    """
    chosen = registry.get(how)
    settled = chosen.settled(options)
    if evaluations is not None and evaluations < 1:
        raise InputError("a search needs one evaluation at least.")
    if seconds is not None and not seconds > 0:
        raise InputError("a search needs some time.")
    if evaluations is None and seconds is None and not chosen.ends:
        raise InputError(f"{chosen.name} goes on until its budget is spent.", hint="Give evaluations or seconds.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError("a seed is a whole number of at least 0.")
    header = {
        "space": space.identity, "search": chosen.name, "options": settled, "seed": seed,
        "score": str(getattr(score, "identity", "")),
    }  # fmt: skip
    begun = time.monotonic()
    with History(history, header) as held:
        evaluator = Evaluator(space, score, held, progress)
        notes: list[str] = []
        members: tuple[Trial, ...] = ()
        single = average = drawn = None
        if beside and (keys := _compared(space)):
            phase = await evaluator.run("members", _asked(keys), None)
            by_key = {trial.key: trial for trial in phase.trials}
            members = tuple(by_key[_canonical(space, key)] for key in space.members.values())
            single = max(members, key=lambda trial: trial.score, default=None)
            average = None if space.average is None else by_key[_canonical(space, space.average)]
        asks = chosen.make(space, np.random.default_rng([seed, 0]), **settled)
        phase = await evaluator.run("search", asks, evaluations, seconds)
        if not phase.trials:
            raise InputError("the time was up before anything could be scored.", hint="Give it more seconds.")
        if all(trial.error is not None for trial in phase.trials):
            why = phase.trials[0].error
            raise InputError(f"none of {len(phase.trials)} candidates could be scored; the first: {why}",
                             hint="See that the score takes what the space makes.")  # fmt: skip
        penalty = chosen.penalty

        def worth(trial: Trial) -> float:
            taken = penalty(trial.key, settled) if penalty and not isinstance(trial.key, str) else 0.0
            return trial.score - taken

        best = max(phase.trials, key=worth)
        if beside and chosen.name != "random":
            plain = registry.get("random").make(space, np.random.default_rng([seed, 1]))
            other = await evaluator.run("random", plain, len(phase.trials))
            drawn = max(other.trials, key=lambda trial: trial.score)
        for trial, what in ((single, "the best single model"), (average, "the average"), (drawn, "a random search")):
            if trial is not None and trial.score > best.score:
                notes.append(f"{what} scores higher: {trial.score:.4g}, against {best.score:.4g}.")
        failed = sum(trial.error is not None for trial in phase.trials)
        if failed:
            why = next(trial.error for trial in phase.trials if trial.error)
            notes.append(f"{failed} of {len(phase.trials)} candidates could not be scored; the first: {why}")
        took = time.monotonic() - begun
        return Found(chosen.name, space, seed, best, phase.trials, phase.stopped, single, members, average, drawn,
                     took, evaluator.spent, tuple(notes))  # fmt: skip


def search(
    space: Space,
    score: Score,
    how: str = "swarm",
    *,
    evaluations: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    history: Path | str | None = None,
    beside: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Found:
    """`search_async` from a script; the arguments are the same. In a notebook: `await search_async(...)`.

    Raises:
        RuntimeError: inside a running event loop.
        InputError: as `search_async`.
    """
    more: dict[str, Any] = {
        "evaluations": evaluations, "seconds": seconds, "seed": seed, "history": history, "beside": beside,
        "progress": progress, **options,
    }  # fmt: skip
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(partial(search_async, space, score, how, **more))
    raise RuntimeError("an event loop is running here: use `await search_async(...)` instead of `search`.")


def _canonical(space: Space, key: Key) -> Key:
    return key if isinstance(key, str) else space.canonical(key)


def _compared(space: Space) -> list[Key]:
    return [*space.members.values(), *([] if space.average is None else [space.average])]


def _asked(keys: Sequence[Key]) -> Asks:
    yield keys  # type: ignore[misc]  # also names, which are no points
