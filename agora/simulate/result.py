"""What a simulation predicts, with the error of the simulation and the spread between debates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True, slots=True)
class Share:
    """How often something happens: the share of the simulated debates, and its 95% interval by Wilson, which is the
    Monte Carlo error: it narrows with more simulated debates."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Share:
        """Of so many of `n` debates."""
        p, z = count / n, _Z * _Z / n
        middle, half = (p + z / 2) / (1 + z), _Z * math.sqrt(p * (1 - p) / n + z / (4 * n)) / (1 + z)
        return cls(p, max(0.0, middle - half) if count else 0.0, min(1.0, middle + half) if count < n else 1.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that differs between debates: its mean, the standard error of that (Monte Carlo; NaN of one debate), and
    the 2.5% and 97.5% quantiles over debates, which do not narrow."""

    mean: float
    error: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Spread:
        """Of one value for each debate."""
        wide = np.asarray(values, float)
        error = float(wide.std(ddof=1)) / math.sqrt(len(wide)) if len(wide) > 1 else math.nan
        low, high = np.quantile(wide, (0.025, 0.975))
        return cls(float(wide.mean()), error, float(low), float(high))


@dataclass(frozen=True)
class Simulation:
    """What is to be expected of a debate.

    Attributes:
        debates: how many were simulated.
        seed: by which.
        voters: whose answers decide.
        by_round: accuracy of the vote after each round, 0 being the vote without a debate; debates that are over by
            then count with their verdicts.
        single_by_round: likewise the share of the agents that are right.
        accuracy: of the verdict: the last of `by_round`.
        undecided: verdicts without an answer; they are not right.
        oracle: somebody's first answer is right.
        wrong_consensus: all agents end with one and the same wrong answer.
        transitions: of the agents, 'right to right', 'right to wrong', 'wrong to right', 'wrong to wrong', from first
            to last answers; what is no answer is wrong.
        rounds: the last round, 0 being that of the first answers.
        reasons: why the debates ended, most frequent first.
        calls: model calls.
        input_tokens: None where they are not predicted.
        output_tokens: likewise.
        usd: likewise, or where a price is not known.
        seconds: from beginning to end, where a latency was given: of the calls that must wait for each other.
        over_budget: share of the debates that would need more calls than the budget has; None without such a budget.
        assumptions: what is taken for granted.
        notes: what is not as in the debate.
    """

    debates: int
    seed: int
    voters: tuple[str, ...]
    by_round: tuple[Share, ...]
    single_by_round: tuple[Spread, ...]
    undecided: Share
    oracle: Share
    wrong_consensus: Share
    transitions: Mapping[str, Spread]
    rounds: Spread
    reasons: Mapping[str, Share]
    calls: Spread
    input_tokens: Spread | None
    output_tokens: Spread | None
    usd: Spread | None
    seconds: Spread | None
    over_budget: Share | None
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def accuracy(self) -> Share:
        """Of the verdict."""
        return self.by_round[-1]

    def over(self, questions: int) -> list[tuple[float, float]]:
        """Where the accuracy after each round lies in 95% of evaluations on so many questions, the error of this
        simulation included.

        Args:
            questions: at least 1.
        """
        return [_interval(share, questions) for share in self.by_round]

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON; what is not known is None."""
        made = {"accuracy": asdict(self.accuracy), **asdict(self)}
        return {key: _known(value) for key, value in made.items()}


MOVES = ("right to right", "right to wrong", "wrong to right", "wrong to wrong")


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _known(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _interval(share: Share, questions: int) -> tuple[float, float]:
    """Central 95% of a binomial share: from the lower one at the prediction's lower end to the upper at its upper."""
    return _quantile(share.low, questions, 0.025), _quantile(share.high, questions, 0.975)


def _quantile(p: float, n: int, q: float) -> float:
    if p <= 0 or p >= 1:
        return min(1.0, max(0.0, p))
    logs = np.cumsum(np.log(np.arange(n, 0, -1) / np.arange(1, n + 1))) + np.arange(1, n + 1) * math.log(p / (1 - p))
    weights = np.exp(np.concatenate(([0.0], logs)) - max(0.0, float(logs.max())))
    sums = np.cumsum(weights)
    return float(np.searchsorted(sums, q * sums[-1])) / n
