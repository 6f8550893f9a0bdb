"""Calibrating cascades: a threshold for each stage, from recorded answers, for an accuracy or a spend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from agora.api.cascade import Answered, Cascade, Stage
from agora.errors import InputError
from agora.model import Settings
from agora.records import Message

Floats = NDArray[np.float64]
_GRID = 21  # thresholds tried of a stage: quantiles of its own signal
_MOST = 20_000  # combinations tried at once


@dataclass(frozen=True)
class Recorded:
    """What every stage of a cascade answered to the same questions.

    Attributes:
        signals: (questions, stages), NaN where a stage has none; the last stage's is not looked at.
        right: (questions, stages), 0 to 1.
        costs: (questions, stages), USD, or calls where there is no price.
    """

    signals: Floats
    right: Floats
    costs: Floats

    def __post_init__(self) -> None:
        if not self.signals.shape == self.right.shape == self.costs.shape or self.signals.ndim != 2:
            raise InputError("recorded: signals, right and costs are of one shape, (questions, stages).")
        if not len(self.signals):
            raise InputError("recorded: there are no questions.")
        if np.isnan(self.right).any() or np.isnan(self.costs).any():
            raise InputError("recorded: right and costs must be known of every stage.")


@dataclass(frozen=True)
class Outcome:
    """What thresholds give on recorded answers.

    Attributes:
        thresholds: of each stage but the last.
        accuracy: mean share that is right.
        cost: mean, that of all stages that were asked.
        stopped: share of the questions that each stage answers.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    cost: float
    stopped: tuple[float, ...]


def outcome(recorded: Recorded, thresholds: Sequence[float]) -> Outcome:
    """What a cascade with these thresholds gives.

    Args:
        recorded: answers.
        thresholds: one for each stage but the last.
    """
    n, stages = recorded.signals.shape
    open_, right, cost = np.ones(n, bool), 0.0, 0.0
    stopped = []
    for j in range(stages):
        last = j == stages - 1
        passes = open_ if last else open_ & (np.nan_to_num(recorded.signals[:, j], nan=-np.inf) >= thresholds[j] - 1e-9)
        cost += recorded.costs[open_, j].sum()
        right += recorded.right[passes, j].sum()
        stopped.append(float(passes.mean()))
        open_ = open_ & ~passes
    return Outcome(tuple(thresholds), float(right / n), float(cost / n), tuple(stopped))


def calibrate(recorded: Recorded, *, accuracy: float | None = None, spend: float | None = None) -> Outcome:
    """Thresholds for each stage, of its own signal: the cheapest that reach an accuracy, or the most accurate that keep
    a spend. Every combination of quantiles is tried where there are few stages; with many, one stage after the other
    until nothing gets better.

    Args:
        recorded: answers of every stage to the same questions.
        accuracy: the least, 0 to 1.
        spend: the greatest mean cost.

    Raises:
        InputError: if both or none are given, or it cannot be reached; the message says what can.
    """
    if (accuracy is None) == (spend is None):
        raise InputError("calibrate for an accuracy or for a spend: give one of them.")
    grids = [_grid(recorded.signals[:, j]) for j in range(recorded.signals.shape[1] - 1)]

    def better(a: Outcome, b: Outcome | None) -> bool:
        if b is None:
            return True
        if accuracy is not None:
            reached = (a.accuracy >= accuracy - 1e-12, b.accuracy >= accuracy - 1e-12)
            if reached[0] != reached[1]:
                return reached[0]
            return (-a.cost, a.accuracy) > (-b.cost, b.accuracy) if reached[0] else a.accuracy > b.accuracy
        assert spend is not None
        kept = (a.cost <= spend + 1e-12, b.cost <= spend + 1e-12)
        if kept[0] != kept[1]:
            return kept[0]
        return (a.accuracy, -a.cost) > (b.accuracy, -b.cost) if kept[0] else a.cost < b.cost

    best: Outcome | None = None
    if np.prod([len(grid) for grid in grids], dtype=float) <= _MOST:
        for thresholds in product(*grids):
            made = outcome(recorded, thresholds)
            best = made if better(made, best) else best
    else:
        current = [float(grid[0]) for grid in grids]
        best, moved = outcome(recorded, current), True
        while moved:
            moved = False
            for j, grid in enumerate(grids):
                for threshold in grid:
                    made = outcome(recorded, [*current[:j], float(threshold), *current[j + 1 :]])
                    if better(made, best):
                        best, current, moved = made, list(made.thresholds), True
    assert best is not None
    if accuracy is not None and best.accuracy < accuracy - 1e-12:
        raise InputError(f"no thresholds reach an accuracy of {accuracy:.3f}; the most is {best.accuracy:.3f}.")
    if spend is not None and best.cost > spend + 1e-12:
        raise InputError(f"no thresholds keep a mean cost of {spend:g}; the least is {best.cost:g}.")
    return best


def _grid(signal: Floats) -> list[float]:
    """Thresholds worth trying: never pass, quantiles of the signal, always pass where there is one."""
    known = signal[~np.isnan(signal)]
    if not len(known):
        return [np.inf]
    found = np.quantile(known, np.linspace(0, 1, _GRID), method="inverted_cdf")
    # the strictest first: of equals it is the one that passes less of what is yet to come
    return [np.inf, *sorted({float(value) for value in found}, reverse=True)]


async def observe(
    cascade: Cascade,
    questions: Sequence[str],
    right: Callable[[str, Answered], float | Awaitable[float]],
    signal: Callable[[Stage, Answered], float | None],
    settings: Settings = Settings(),
) -> Recorded:
    """Ask every stage of a cascade every question, whatever its tests say: what calibration needs. Costs are USD, or
    calls where a price is not known.

    Args:
        cascade: the cascade.
        questions: those with known answers.
        right: how right an answer is, 0 to 1.
        signal: what the stage's test looks at, such as `lambda stage, answered: answered.agreement`.
        settings: passed on.

    Raises:
        ModelError: if a stage fails.
    """
    rows = []
    for question in questions:
        row = []
        for stage in cascade.stages:
            answered = await cascade.ask_stage(stage, [Message("user", question)], settings)
            found = right(question, answered)
            score = found if isinstance(found, (int, float)) else await found
            value = signal(stage, answered)
            cost = answered.spent.usd if answered.spent.usd else float(answered.spent.calls)
            row.append((np.nan if value is None else value, float(score), cost))
        rows.append(row)
    made = np.array(rows, dtype=float)
    if not rows:
        raise InputError("observe: there are no questions.")
    return Recorded(made[..., 0], made[..., 1], made[..., 2])
