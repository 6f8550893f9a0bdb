"""The search: candidates from a black-box optimiser, bad ones stopped after a few items."""

from __future__ import annotations

import importlib
import math
import random
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from agora.errors import BudgetError, InputError, MissingError, StoreError
from agora.evaluate.records import Dataset, Item, Scored
from agora.model import derive_seed
from agora.records import Usage
from agora.tune.measuring import Candidate, Measure, for_search, hopeless
from agora.tune.objective import Objective
from agora.tune.records import State, Trial, rank
from agora.tune.space import Built, Space, Values

FEWEST = 8  # items before a candidate can be stopped
KEEP = 3  # of so many candidates one goes on, to so many times the items
AGAIN = 5  # proposals in a row that were known already, before one is drawn instead
EARLY = 10  # candidates before the optimiser has an opinion; fewer make no importance of parameters


def optuna() -> Any:
    """The optimiser.

    Raises:
        MissingError: if it is not installed.
    """
    try:
        return importlib.import_module("optuna")
    except ImportError:
        raise MissingError("tuning needs optuna, which is not installed.",
                           hint="Install it with: pip install 'agora-debate[tune]'") from None  # fmt: skip


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without its log on standard error."""
    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.ERROR)
    try:
        yield
    finally:
        library.logging.set_verbosity(before)


def rungs(n: int) -> tuple[int, ...]:
    """After how many of `n` items a candidate may be stopped, and `n`: a ninth and a third of them."""
    stops = {max(min(FEWEST, n), math.ceil(n / KEEP**2)), math.ceil(n / KEEP), n}
    return tuple(sorted(size for size in stops if size == n or size >= FEWEST))


class Search:
    """A search for the best candidate on items that are tuned on.

    Candidates come from a tree-structured Parzen estimator (TPE; Bergstra et al. 2011; Watanabe 2023,
    arXiv:2304.11127), as Optuna has it, by its ask and tell. They are stopped by asynchronous successive halving (Li et
    al. 2018, arXiv:1810.05934), with items as the resource: each begins on a few items, and goes on to three times as
    many only where it is in the best third, ties included, of all that have come so far. All candidates are run on the
    same items in the same order, one candidate after the other, so that everything follows from the seed and the
    replies, and a search that was ended comes to the same when it goes on.

    Args:
        space: what can be changed.
        dev: items to tune on.
        objective: for what.
        trials: candidates at most, the start included.
        seed: of everything.
        measure: where they are run.
        held: held-out items, for which a part of the budget is kept back.
        tell: is called after each candidate.
    """

    def __init__(
        self,
        space: Space,
        dev: Dataset,
        objective: Objective,
        *,
        trials: int,
        seed: int,
        measure: Measure,
        held: int,
        tell: Callable[[], None],
    ) -> None:
        self.space, self.objective, self.most, self.seed = space, objective, trials, seed
        self.measure, self.held, self.tell = measure, held, tell
        self.items: list[Item] = list(dev.items)
        random.Random(f"items {seed}").shuffle(self.items)
        self.rungs = rungs(len(self.items))
        self.trials: list[Trial] = []
        self.candidates: dict[int, Candidate] = {}
        self.agents: dict[str, float] = {}
        self.stopped = ""
        self._optuna = optuna()
        self._known: dict[str, tuple[Any, float | None]] = {}  # of debates: what the optimiser was told of them
        self._why: dict[str, str] = {}
        self._first: list[tuple[Values, float]] = []  # scores on the first items, of all candidates

    async def run(self) -> None:
        """Search until there are enough candidates, nothing is left to try, or the budget ends it.

        Raises:
            BudgetError: if the budget did not last for the start.
            InputError: if the start cannot be run.
            AgoraError: if it does nothing but fail.
        """
        with _quiet(self._optuna):
            seed = derive_seed(self.seed, "tune") % 2**32
            self.study = self._optuna.create_study(
                direction="maximize",
                sampler=self._optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=min(EARLY, max(4, self.most // 3))
                ),
                pruner=self._optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=KEEP),
            )
            try:
                await self._search()
            except BudgetError as error:
                if not self.measure.bench.ends(error) or not self.best:
                    raise
                kept = "; the rest of it is for the held-out items" if self.held else ""
                self.stopped = f"{error.message.rstrip('.')}{kept}"

    @property
    def best(self) -> list[Trial]:
        """Candidates that were run on all items, best first."""
        return sorted((one for one in self.trials if one.state == "complete"), key=rank)

    async def _search(self) -> None:
        self.study.enqueue_trial(self.space.told(self.space.start))
        draws, again = random.Random(f"candidates {self.seed}"), 0
        proposals = 0
        while self.counted < self.most and proposals < 20 * self.most + 100:
            proposals += 1
            asked = self.study.ask()
            values = self.space.suggest(asked)
            built, fault = self._built(values)
            key = "" if built is None else built.key
            if built is None or key in self._known:
                self._told(asked, self._known.get(key))
                again += built is not None or not self._skip(values, fault)
                if again >= AGAIN:
                    new = self._new(draws)
                    if new is None:
                        self.stopped = "all that can be tried has been tried"
                        return
                    self.study.enqueue_trial(self.space.told(new))
                    again = 0
                continue
            again = 0
            await self._candidate(asked, values, built)
            self.tell()
        if self.counted < self.most:
            self.stopped = "next to nothing of what was proposed makes a debate"

    @property
    def counted(self) -> int:
        """Candidates so far, those left out that make no debate."""
        return sum(one.state != "skipped" for one in self.trials)

    def _built(self, values: Values) -> tuple[Built | None, str]:
        """The debate of values, or why there is none."""
        try:
            return self.space.build(values), ""
        except StoreError:
            raise
        except InputError as error:
            if not self.trials:
                raise
            return None, error.message

    def _skip(self, values: Values, why: str) -> bool:
        """Note values that make no debate; whether they are new."""
        name = repr(sorted(values.items(), key=lambda pair: pair[0]))
        if name in self._why:
            return False
        self._why[name] = why
        self._note(values, "skipped", (), why)
        return True

    def _new(self, draws: random.Random) -> dict[str, Any] | None:
        """Values that make a debate which was not tried yet; None where none is found."""
        for _ in range(300):
            values = self.space.drawn(draws)
            built, _why = self._built(values)
            if built is not None and built.key not in self._known:
                return values
        return None

    async def _candidate(self, asked: Any, values: Values, built: Built) -> None:
        """Run a candidate on as many items as it deserves."""
        number = len(self.trials)
        name = built.debate.name if built.text is not None else f"{built.debate.name} {built.key}"
        one = self.candidates[number] = Candidate(built, name)
        state: State = "complete"
        score = 0.0
        for i, size in enumerate(self.rungs):
            done = len(one.rows)
            try:
                await self.measure.run([one], self.items[done:size])
            except StoreError:
                raise
            except InputError as error:
                if not number:
                    raise
                self._told(asked, None)
                self._known[built.key] = self._optuna.trial.TrialState.PRUNED, None
                self._note(values, "skipped", (), error.message)
                return
            except BudgetError:
                if number:
                    one.rows = {item.id: one.rows[item.id] for item in self.items[:done]}  # chance says which others
                    self._note(values, "unfinished", one.of(self.items[:done]))
                raise
            rows = one.of(self.items[:size])
            score = self._score(rows)
            if not i:
                if not number:
                    hopeless(rows)
                self._first.append((values, score))
            asked.report(score, KEEP**i)
            if size < len(self.items) and asked.should_prune() and number:
                state = "stopped early"
                break
        end = self._optuna.trial.TrialState
        self._known[built.key] = (end.COMPLETE, score) if state == "complete" else (end.PRUNED, score)
        self.study.tell(asked, score) if state == "complete" else self.study.tell(asked, state=end.PRUNED)
        self._note(values, state, one.of(self.items[: len(one.rows)]))
        if not number:
            self._started(one)

    def _started(self, start: Candidate) -> None:
        """What the start tells: what may be spent on the search, and which teams to try."""
        meter = self.measure.bench.meter
        meter.budget = for_search(meter.budget, start.of(self.items), self.held)
        names = [agent.name for agent in start.debate.agents]
        if any(sum(worth.values()) > 0 for worth in start.worth):
            n = len(start.worth)
            self.agents = {name: sum(worth.get(name, 0.0) for worth in start.worth) / n for name in names}
        for values in self.space.early(self.agents) if self.space.early is not None else ():
            self.study.enqueue_trial(self.space.told({**self.space.start, **values}))

    def _score(self, rows: Sequence[Scored]) -> float:
        return statistics.fmean(self.objective.of(row) for row in rows)

    def _told(self, asked: Any, known: tuple[Any, float | None] | None) -> None:
        """Tell the optimiser of a proposal that is not run: what is known of it, else that it is worth nothing."""
        state, score = known or (self._optuna.trial.TrialState.PRUNED, None)
        if state == self._optuna.trial.TrialState.COMPLETE:
            self.study.tell(asked, score)
            return
        if score is not None:
            asked.report(score, 1)
        self.study.tell(asked, state=state)

    def _note(self, values: Values, state: State, rows: Sequence[Scored], reason: str = "") -> None:
        start = self.space.start
        changed = {name: value for name, value in values.items() if name not in start or start[name] != value}
        trial = Trial(len(self.trials), dict(values), changed, state, reason, len(rows))
        if rows:
            trial = replace(
                trial, score=self._score(rows), accuracy=statistics.fmean(row.score for row in rows),
                usage=sum((row.usage for row in rows), Usage()),
            )  # fmt: skip
        self.trials.append(trial)

    def importance(self) -> Mapping[str, float]:
        """What each parameter matters for the score on the first items, on which all candidates were run."""
        if len(self._first) < EARLY or len({score for _, score in self._first}) < 2:
            return {}
        with _quiet(self._optuna), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that few candidates have: it says what it can
            study = self._optuna.create_study(direction="maximize")
            spread: dict[str, Any] = {}
            for one in self.space.parameters:
                if one.choices:
                    spread[one.name] = self._optuna.distributions.CategoricalDistribution(range(len(one.choices)))
                elif one.step is not None:
                    spread[one.name] = self._optuna.distributions.IntDistribution(0, one.steps)
                else:
                    spread[one.name] = self._optuna.distributions.FloatDistribution(one.low, one.high)
            for values, score in self._first:
                told = self.space.told(values)
                used = {name: spread[name] for name in told}
                study.add_trial(self._optuna.trial.create_trial(params=told, distributions=used, value=score))
            every = [self.space.told(values) for values, _ in self._first]
            seen = [p.name for p in self.space.parameters if _varied([t[p.name] for t in every if p.name in t])]
            if not seen:
                return {}
            try:
                found: Mapping[str, float] = self._optuna.importance.get_param_importances(study, params=seen)
            except (ValueError, RuntimeError, ZeroDivisionError):  # it has too little to go by
                return {}
        finite = {name: float(share) for name, share in found.items() if math.isfinite(share)}
        return dict(sorted(finite.items(), key=lambda pair: (-pair[1], pair[0])))


def _varied(values: Sequence[Any]) -> bool:
    """Whether there are enough candidates with a parameter, and of more than one value, to say what it matters."""
    return len(values) >= EARLY and len(set(values)) > 1
