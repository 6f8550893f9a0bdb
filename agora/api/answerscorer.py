"""A scorer of answers: the probability that an answer is right, from what can be seen of it; trained on a laptop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agora.api.features import WordFeatures, fit_words
from agora.api.routerfile import Learnt, load, save
from agora.api.scorers import Linear, fit_logistic
from agora.errors import InputError

if TYPE_CHECKING:
    from agora.api.cascade import Answered

Floats = NDArray[np.float64]
METHOD = "answer"
SEEN = 6  # figures beside the words


@dataclass(frozen=True)
class AnswerScorer:
    """A logistic regression on agreement, mean log-probability, confidence, length, and the words of the answer.

    Attributes:
        words: of the answers.
        regression: of all features.
    """

    words: WordFeatures
    regression: Linear

    def probability(self, answered: Answered) -> float:
        """That the answer is right."""
        return float(self.regression.scores(_features(self.words, [answered]))[0, 0])

    def save(self, path: str | Path) -> None:
        """Write it, as data.

        Raises:
            InputError: if it cannot be written.
        """
        save(Learnt(METHOD, ("right",), (0.0,), self.words, self.regression), path)

    @classmethod
    def load(cls, path: str | Path) -> AnswerScorer:
        """Read one.

        Raises:
            InputError: if it is none.
        """
        learnt = load(path)
        if learnt.method != METHOD or not isinstance(learnt.features, WordFeatures):
            raise InputError(f"{path}: is a router, not a scorer of answers.")
        assert isinstance(learnt.scorer, Linear)
        return cls(learnt.features, learnt.scorer)


def fit_answers(answered: Sequence[Answered], right: Sequence[float], dimensions: int = 32) -> AnswerScorer:
    """Train a scorer.

    Args:
        answered: what a stage answered.
        right: how right each is, 0 to 1.
        dimensions: of the words' vectors.

    Raises:
        InputError: if there are none, or not as many of both.
        MissingError: without scikit-learn.
    """
    if not answered or len(answered) != len(right):
        n, m = len(answered), len(right)
        raise InputError(f"a scorer is trained on answers and how right each is; there are {n} and {m}.")
    words = fit_words([a.reply.text for a in answered], dimensions, terms=2048)
    return AnswerScorer(words, fit_logistic(_features(words, answered), np.array([right], dtype=float).T, strength=1.0))


def _features(words: WordFeatures, answered: Sequence[Answered]) -> Floats:
    figures = [
        [
            a.agreement,
            math.exp(a.logprob) if a.logprob is not None else 0.0,
            float(a.logprob is not None),
            a.confidence if a.confidence is not None else 0.0,
            float(a.confidence is not None),
            math.log1p(len(a.reply.text)) / 10,
        ]
        for a in answered
    ]
    return np.hstack([np.array(figures), words.transform([a.reply.text for a in answered])])
