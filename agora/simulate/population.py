"""Simulated agents: how often they are right, how their errors go together, how they take what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from agora.answers import AnswerType, Choice, YesNo
from agora.errors import InputError

Floats = NDArray[np.float64]
Per = float | Mapping[str, float]  # one for all agents, or by agent; "*" stands for those not named

USUAL_OPTIONS = 4
MOST_OPTIONS = 1000
_ALIKE = 1 - 1e-9  # a correlation from here on is 1


@dataclass(frozen=True)
class Population:
    """What the agents of a simulated debate are like. The right answer is one of `options`.

    First, an agent is right with probability `accuracy`, else it gives a wrong answer. Later, it keeps its answer, but
    where it holds none of those that it has read most often, it takes over the plurality, one of several by chance,
    with probability `conformity`. With a `concentration` c it does not keep its answer, but draws each from beliefs, a
    Dirichlet distribution that begins with c pseudo-counts and grows by one for each answer read (Choi et al. 2025,
    arXiv:2508.17536; its own last answer is read too where the protocol's view shows it); conformity comes after that.

    Attributes:
        accuracy: probability that the first answer is right, where one is given; one number, or by agent ("*": all
            that are not named).
        correlation: 0 to 1, of the errors of any two agents on the same question, where their accuracies are equal;
            else that share of the greatest correlation that their accuracies allow. With a correlation, wrong answers
            go together as well.
        conformity: see above; one number, or by agent.
        persuasion: -1 to 1, an asymmetry s: right answers are taken over with probability conformity * (1 + s), held to
            at most 1, wrong ones with conformity * (1 - s); of several in the lead, they are chosen in the proportion
            of 1 + s to 1 - s, and they add as much to beliefs.
        abstention: probability that a turn gives no answer that can be read; the agent still holds one. One number, or
            by agent.
        options: the number of possible answers; None: those of the debate's choice or yes-no, else 4.
        concentration: see above; None: agents keep their answers.
        confidence: mean confidence of right and of wrong answers, drawn anew for each from Beta distributions with 10
            pseudo-counts; None: 0.8 for both, so that confidence tells nothing.

    Raises:
        InputError: if a number is out of its range.
    """

    accuracy: Per = 0.6
    correlation: float = 0.0
    conformity: Per = 0.0
    persuasion: float = 0.0
    abstention: Per = 0.0
    options: int | None = None
    concentration: float | None = None
    confidence: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("accuracy", "conformity", "abstention"):
            given = getattr(self, name)
            for who, value in given.items() if isinstance(given, Mapping) else [("", given)]:
                _within(f"{name} of {str(who)[:40]}" if who else name, value, 0, 1)
        _within("correlation", self.correlation, 0, 1)
        _within("persuasion", self.persuasion, -1, 1)
        sure: object = self.confidence
        if sure is not None and not (isinstance(sure, (tuple, list)) and len(sure) == 2):
            raise InputError("confidence: needs two means, that of right and that of wrong answers.")
        for value in self.confidence or ():
            _within("confidence", value, 0, 1)
        options, counts = self.options, self.concentration
        if options is not None and not (type(options) is int and 2 <= options <= MOST_OPTIONS):
            raise InputError(f"options: must be 2 to {MOST_OPTIONS:,}, it is {str(options)[:40]}.")
        if counts is not None and not (isinstance(counts, (int, float)) and 0 < counts < math.inf):
            raise InputError(f"concentration: must be a number above 0, it is {str(counts)[:40]}.")

    def values(self, name: str, agents: Sequence[str]) -> Floats:
        """The numbers of `accuracy`, `conformity` or `abstention`, in the order of the agents. A group's name stands
        for its agents NAME-1, NAME-2, ...

        Raises:
            InputError: if an agent has none, or one is named that is not there.
        """
        given: Per = getattr(self, name)
        if not isinstance(given, Mapping):
            return np.full(len(agents), float(given))
        keys = [_key(agent, given) for agent in agents]
        missing = [agent for agent, key in zip(agents, keys, strict=True) if key is None]
        if missing:
            raise InputError(
                f"{name}: none is given for {missing[0][:40]}.", hint="Give one number for the others too."
            )
        strangers = [who for who in given if who != "*" and who not in set(keys)]
        if strangers:
            shown = ", ".join(islice(agents, 8))
            raise InputError(f"{name}: there is no agent '{strangers[0][:40]}'; the agents are {shown}.")
        return np.array([given[key] for key in keys if key is not None], float)

    def count(self, answer: AnswerType) -> int:
        """The number of possible answers in a debate.

        Raises:
            InputError: if the debate has another number than was given.
        """
        known = 2 if isinstance(answer, YesNo) else len(answer.options) if isinstance(answer, Choice) else None
        if known is not None and self.options not in (None, known):
            raise InputError(f"options: the debate's answers are {known}, not {self.options}.", hint="Leave it out.")
        return known or self.options or USUAL_OPTIONS

    def beliefs(self, accuracies: Floats, options: int, debates: int, draw: np.random.Generator) -> Floats:
        """Each agent's probability of each answer on each question; 0 is the right one.

        Correlated, the accuracies q of one question are a Dirichlet process with uniform base measure and
        concentration s = 1 / correlation - 1, read at the agents' accuracies p: each q is Beta(s p, s (1 - p)), of
        mean p, and the errors of two agents have covariance Cov(q_i, q_j) = correlation * (min(p_i, p_j) - p_i p_j),
        of which the bracket is the greatest that there can be. Alike agents are beta-binomial. Wrong answers have the
        shares of one Dirichlet distribution for all agents, so that alike agents are Dirichlet-multinomial.

        Returns:
            debates x agents x options.
        """
        q, wrong = self._right(accuracies, debates, draw), np.full((debates, options - 1), 1 / (options - 1))
        mass = (1 / self.correlation - 1) * (1 - accuracies.mean()) / (options - 1) if self.correlation else math.inf
        if self.correlation and options > 2:
            if self.correlation >= _ALIKE or mass <= 1e-9:
                wrong = np.eye(options - 1)[draw.integers(options - 1, size=debates)]
            else:
                wrong = draw.dirichlet(np.full(options - 1, mass), debates)
        shares = np.empty((debates, len(accuracies), options))
        shares[..., 0] = q
        shares[..., 1:] = (1 - q)[..., None] * wrong[:, None, :]
        return shares

    def _right(self, accuracies: Floats, debates: int, draw: np.random.Generator) -> Floats:
        if not self.correlation:
            return np.broadcast_to(accuracies, (debates, len(accuracies)))
        if self.correlation >= _ALIKE:
            return np.asarray(draw.random((debates, 1)) < accuracies, float)
        levels, which = np.unique(accuracies, return_inverse=True)
        widths = np.diff(np.concatenate(([0.0], levels, [1.0])))
        parts = np.zeros((debates, len(widths)))
        some = widths > 0
        parts[:, some] = draw.dirichlet((1 / self.correlation - 1) * widths[some], debates)
        return np.asarray(np.minimum(np.cumsum(parts, axis=1), 1.0)[:, which], float)

    def assumptions(self, agents: Sequence[str], options: int) -> Iterator[str]:
        """What is taken for granted, in sentences."""
        acc, conform, silent = (self.values(name, agents) for name in ("accuracy", "conformity", "abstention"))
        yield (
            f"one of {options} possible answers is right; a first answer is right with probability {_span(acc)}, "
            "all wrong ones are as likely as each other over the questions"
        )
        if self.correlation:
            share = "" if np.ptp(acc) == 0 else " of the greatest that their accuracies allow"
            yield f"errors of two agents on one question have correlation {self.correlation:g}{share}"
        else:
            yield "errors of different agents are independent"
        up, down = (np.minimum(1, conform * (1 + s)) for s in (self.persuasion, -self.persuasion))
        if conform.any():
            rates = f"{_span(up)} if it is right and {_span(down)} if it is wrong" if self.persuasion else _span(up)
            yield (
                "an agent takes over the answer it has read most often (of several one by chance), unless it holds one "
                f"of these, with probability {rates}"
            )
        if self.concentration is not None:
            weigh = f"{1 + self.persuasion:g} for right and {1 - self.persuasion:g} for wrong ones"
            yield (
                f"each answer is drawn from a Dirichlet belief of {self.concentration:g} pseudo-counts that grows with "
                f"each answer read (by {weigh if self.persuasion else '1'})"
            )
        else:
            yield "an agent that takes over no answer keeps its own" if conform.any() else "nobody changes an answer"
        if silent.any():
            yield f"a turn gives no answer that can be read with probability {_span(silent)}"
        yield "no voice is absent, no call fails, and texts, reasons and personas move nobody beyond this"


def _key(agent: str, given: Mapping[str, float]) -> str | None:
    group, _, number = agent.rpartition("-")
    names = [agent, *([group] if group and number.isdigit() else []), "*"]
    return next((name for name in names if name in given), None)


def _within(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name}: must be a number from {low} to {high}, it is {str(value)[:40]}.")


def _span(values: Floats) -> str:
    low, high = values.min(), values.max()
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


NAMES = tuple(f.name for f in fields(Population))
