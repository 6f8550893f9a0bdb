"""Stop rules on many simulated debates at once: by the rules themselves, each asked once for each kind of history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from agora.records import Answer, Reply, Round, Turn
from agora.simulate.heard import NONE, UNSAID, Floats32, Said, tally
from agora.simulate.minds import Mask
from agora.text.stop import StopRule


@dataclass(frozen=True)
class Past:
    """What stop rules look at.

    Attributes:
        said: what stands after each of the last rounds, the newest last; each debates x agents.
        index: of the newest round.
        options: the number of possible answers.
        sure: confidences in the newest, where they are simulated.
    """

    said: Sequence[Said]
    index: int
    options: int
    sure: Floats32 | None


Check = Callable[[Past], Mask]

_BY_COUNT = ("unanimous", "quorum", "supermajority", "agreement", "entropy", "failures")


class Stopping:
    """A stop rule, for many debates.

    Args:
        rule: of the debate.
        names: the agents.

    Attributes:
        rounds: how many of the last rounds it must see.
        parts: the rules of which the first that holds is the reason.
        ignored: rules that are not simulated: they are taken never to stop.
        confident: it looks at confidences.
    """

    def __init__(self, rule: StopRule, names: Sequence[str]) -> None:
        self.names = names
        self.rounds = 1
        self.ignored: list[str] = []
        self.confident = False
        # the rules that ask a model come last, as in a debate
        parts = sorted(rule.parts, key=lambda p: p.asks) if _sign(rule) == "|" else [rule]  # type: ignore[attr-defined]
        self.parts = [str(part) for part in parts]
        self._checks = [self._of(part) for part in parts]

    def __call__(self, past: Past) -> NDArray[np.int16]:
        """The number of the part that stops each debate, -1 where none does."""
        found = np.full(len(past.said[-1]), -1, np.int16)
        for number, check in enumerate(self._checks):
            found[(found < 0) & check(past)] = number
        return found

    def _of(self, rule: StopRule) -> Check:
        sign = _sign(rule)
        if sign is not None:
            checks = [self._of(part) for part in rule.parts]  # type: ignore[attr-defined]
            joined = np.logical_or if sign == "|" else np.logical_and
            return lambda past: np.asarray(joined.reduce([check(past) for check in checks]), bool)
        kind, _, rest = rule.name.partition("(")
        numbers = [part.strip() for part in rest.rstrip(")").split(",")]
        if kind in _BY_COUNT:
            return _Counted(rule, 1)
        if kind == "converging":
            last = int(numbers[1]) + 1
            self.rounds = max(self.rounds, last)
            return _Counted(rule, last)
        if kind == "rounds":
            n = int(numbers[0])
            return lambda past: np.full(len(past.said[-1]), past.index >= n)
        if kind in ("stable", "no_change"):
            k = int(numbers[0] or 1)
            self.rounds = max(self.rounds, k + 1)
            return lambda past: _same(past.said, k)
        if kind == "oscillation":
            period = int(numbers[0])
            self.rounds = max(self.rounds, 2 * period)
            return lambda past: _circles(past.said, period)
        if kind == "answered":
            who = [self.names.index(name) for name in rule.agents]
            return lambda past: np.asarray((past.said[-1][:, who] >= 0).all(axis=1), bool)
        if kind == "confident":
            self.confident = True
            return lambda past: _sure(past, float(numbers[0]), every=len(numbers) > 1)
        self.ignored.append(rule.name)
        return lambda past: np.zeros(len(past.said[-1]), bool)


def _sign(rule: StopRule) -> str | None:
    return getattr(rule, "sign", None)


class _Counted:
    """A rule that looks at how often each answer is given, asked once for each such count."""

    def __init__(self, rule: StopRule, rounds: int) -> None:
        self.rule, self.rounds = rule, rounds
        self._known: dict[bytes, bool] = {}

    def __call__(self, past: Past) -> Mask:
        recent = past.said[-self.rounds :]
        if len(recent) < self.rounds:
            return np.zeros(len(recent[-1]), bool)
        counts = []
        for said in recent:
            tallied = tally(said, past.options).astype(np.int32)
            # which answer is which does not matter to these rules
            tallied[:, :-1] = -np.sort(-tallied[:, :-1], axis=1)
            counts.append(tallied)
        kinds, which = np.unique(np.stack(counts, axis=1), axis=0, return_inverse=True)
        return np.array([self._holds(kind, past.index) for kind in kinds])[which.reshape(-1)]

    def _holds(self, kind: NDArray[np.int32], index: int) -> bool:
        key = kind.tobytes()
        if key not in self._known:
            rounds = [_round(index - len(kind) + 1 + i, row.tolist()) for i, row in enumerate(kind)]
            self._known[key] = self.rule.check(SimpleNamespace(rounds=rounds)) is not None  # type: ignore[arg-type]
        return self._known[key]


_REPLY = Reply("", model="")


def _round(index: int, counts: Sequence[int]) -> Round:
    """A round in which each answer is given so often, the last standing for none."""
    turns: list[Turn] = []
    for value, count in enumerate(counts):
        answer = Answer(None if value == len(counts) - 1 else str(value))
        turns += [Turn(str(len(turns) + i), index, "answer", _REPLY, answer) for i in range(count)]
    return Round(index, tuple(turns))


def _same(said: Sequence[Said], k: int) -> Mask:
    if len(said) <= k:
        return np.zeros(len(said[-1]), bool)
    there = (said[-1] != UNSAID).any(axis=1)
    return np.asarray(there & np.logical_and.reduce([(said[-1] == s).all(axis=1) for s in said[-k - 1 : -1]]), bool)


def _circles(said: Sequence[Said], period: int) -> Mask:
    recent = said[-2 * period :]
    if len(recent) < 2 * period:
        return np.zeros(len(said[-1]), bool)
    again = np.logical_and.reduce([(recent[i] == recent[i + period]).all(axis=1) for i in range(period)])
    one = np.stack(recent[:period])
    most = one.max(axis=0)
    moves = ((one >= 0) & (one != most)).any(axis=0) & (most > NONE)
    return np.asarray(again & moves.any(axis=1), bool)


def _sure(past: Past, p: float, *, every: bool) -> Mask:
    assert past.sure is not None
    there = past.said[-1] != UNSAID
    sure = np.where(past.said[-1] >= 0, past.sure, 0.0)
    if every:
        return np.asarray(there.any(axis=1) & (np.where(there, sure, 1.0).min(axis=1) >= p), bool)
    return np.asarray(there.any(axis=1) & (sure.sum(axis=1) >= p * there.sum(axis=1)), bool)
