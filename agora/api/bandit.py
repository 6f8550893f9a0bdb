"""Bandits: routers that learn online, from the score of each answer: LinUCB and Thompson sampling."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from agora.api.features import Features, WordFeatures
from agora.api.routerfile import Learnt
from agora.api.routerfile import load as load_file
from agora.api.routerfile import save as save_file
from agora.api.scorers import Arrays
from agora.errors import InputError
from agora.model import Settings, derive_seed

if TYPE_CHECKING:
    from agora.api.route import Chosen, Router

Floats = NDArray[np.float64]
Explore = Literal["ucb", "thompson"]


class LinearBandit:
    """For each model a ridge regression of scores on prompts' vectors, kept as sums, so that a new score costs nothing.

    Args:
        precision: (models, d, d): the identity plus the sum of x x^T.
        rewards: (models, d): the sum of score * x.
        explore: 'ucb' adds `width` standard deviations (LinUCB, Li et al. 2010, arXiv:1003.0146); 'thompson' draws from
            the posterior with its deviations times `width` (Agrawal and Goyal 2013, arXiv:1209.3352).
        width: how boldly it explores; 0 does not.
    """

    def __init__(self, precision: Floats, rewards: Floats, explore: Explore = "ucb", width: float = 1.0) -> None:
        if explore not in ("ucb", "thompson") or not 0 <= width < np.inf:
            raise InputError(f"bandit: explores by ucb or thompson, by a width of at least 0, not {explore}, {width}.")
        self.precision, self.rewards, self.explore, self.width = precision, rewards, explore, width

    @classmethod
    def new(cls, models: int, dimensions: int, explore: Explore = "ucb", width: float = 1.0) -> LinearBandit:
        """One that has learnt nothing; the vectors get one more dimension, which is always 1."""
        d = dimensions + 1
        return cls(np.stack([np.eye(d)] * models), np.zeros((models, d)), explore, width)

    def scores(self, vectors: Floats) -> Floats:
        """Expected scores, (prompts, models), without exploration."""
        x = _with_one(vectors)
        theta = np.linalg.solve(self.precision, self.rewards[..., None])[..., 0]
        made: Floats = x @ theta.T
        return made

    def hopes(self, vector: Floats, seed: int) -> Floats:
        """What each model is hoped to score on one prompt: what a choice goes by."""
        x = _with_one(vector[None])[0]
        inverse = np.linalg.inv(self.precision)
        theta = (inverse @ self.rewards[..., None])[..., 0]
        if self.explore == "ucb":
            made: Floats = theta @ x + self.width * np.sqrt(np.maximum(0.0, np.einsum("i,mij,j->m", x, inverse, x)))
            return made
        draw = np.random.default_rng(seed)
        roots = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2)
        drawn: Floats = (theta + self.width * np.einsum("mij,mj->mi", roots, draw.normal(size=theta.shape))) @ x
        return drawn

    def learn(self, vector: Floats, model: int, score: float) -> None:
        """Learn from one score."""
        x = _with_one(vector[None])[0]
        self.precision[model] += np.outer(x, x)
        self.rewards[model] += score * x

    def arrays(self) -> dict[str, Floats]:
        options = np.array([self.explore == "thompson", self.width], float)
        return {"precision": self.precision, "rewards": self.rewards, "options": options}

    @classmethod
    def of(cls, arrays: Arrays) -> LinearBandit:
        """From its arrays.

        Raises:
            ValueError: if they do not fit each other.
        """
        precision, rewards = arrays["precision"].copy(), arrays["rewards"].copy()
        if precision.shape != (*rewards.shape, rewards.shape[1]):
            raise ValueError("shapes")
        thompson, width = arrays["options"]
        return cls(precision, rewards, "thompson" if thompson else "ucb", float(width))


def _with_one(vectors: Floats) -> Floats:
    return np.hstack([vectors, np.ones((len(vectors), 1))])


class Bandit:
    """A choice that learns: `await router.by.feedback(prompt, name, score)` after each answer.

    Args:
        features: what makes vectors of prompts.
        dimensions: of these.
        models: names, in the order of the bandit's arrays.
        bandit: what has been learnt.
        costs: USD an answer, by model; default 0.
        weight: lambda: score per USD.
        path: where what is learnt is kept, after each score; None keeps it in memory.
    """

    def __init__(
        self,
        features: Features,
        models: Sequence[str],
        bandit: LinearBandit,
        *,
        costs: Sequence[float] | None = None,
        weight: float = 0.0,
        path: Path | None = None,
    ) -> None:
        self.features, self.models, self.bandit = features, tuple(models), bandit
        self.costs = tuple(costs) if costs is not None else (0.0,) * len(self.models)
        self.weight, self.path = weight, path

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        """The model hoped to score most less lambda times its cost; of equals one by the call's seed."""
        from agora.api.route import Chosen, NoChoice

        there = [name for name in allowed if name in self.models]
        if not there:
            raise NoChoice("the bandit knows none of the models that may be asked")
        vector = (await self.features.vectors([prompt]))[0]
        seed = derive_seed(settings.seed if settings.seed is not None else 0, "bandit", prompt)
        hopes = self.bandit.hopes(vector, seed) - self.weight * np.array(self.costs)
        columns = [self.models.index(name) for name in there]
        top = max(float(hopes[j]) for j in columns)
        leaders = [name for name, j in zip(there, columns, strict=True) if hopes[j] >= top - 1e-12]
        return Chosen(random.Random(seed).choice(leaders), f"hoped to score {top:.2f}")

    async def feedback(self, prompt: str, name: str, score: float) -> None:
        """Learn how well a model answered.

        Args:
            prompt: what it was asked.
            name: of the model, as in `reply.route[0]`.
            score: 0 to 1.

        Raises:
            InputError: for a model that is not there, or a score out of range.
        """
        if name not in self.models:
            raise InputError(f"feedback: '{name[:40]}' is none of {', '.join(self.models)}.")
        if not 0 <= score <= 1:
            raise InputError(f"feedback: a score is between 0 and 1, not {score}.")
        vector = (await self.features.vectors([prompt]))[0]
        self.bandit.learn(vector, self.models.index(name), score)
        if self.path is not None:
            self.save(self.path)

    def save(self, path: str | Path) -> None:
        """Write what has been learnt.

        Raises:
            InputError: if it cannot be written.
        """
        save_file(Learnt("bandit", self.models, self.costs, self.features, self.bandit, self.weight), path)


def new(
    features: WordFeatures,
    models: Sequence[str],
    *,
    costs: Sequence[float] | None = None,
    explore: Explore = "ucb",
    width: float = 0.5,
    weight: float = 0.0,
) -> Bandit:
    """A bandit that has learnt nothing, over words' features.

    Args:
        features: as `agora.api.features.fit_words` makes them of some prompts; their scores are not needed.
        models: names.
        costs: USD an answer.
        explore: 'ucb' or 'thompson'.
        width: how boldly it explores.
        weight: lambda.
    """
    made = LinearBandit.new(len(models), len(features.components), explore, width)
    return Bandit(features, models, made, costs=costs, weight=weight)


def load(path: str | Path, models: Sequence[str], *, weight: float | None = None) -> Bandit:
    """A bandit from its file, which goes on learning there.

    Raises:
        InputError: if it is none, or knows none of the models.
    """
    learnt = load_file(path)
    if not isinstance(learnt.scorer, LinearBandit):
        raise InputError(f"{path}: is a trained router, not a bandit.", hint=f"Write by: {Path(path).name}.")
    if not set(models) & set(learnt.models):
        raise InputError(f"{path}: knows {', '.join(learnt.models[:6])}, none of which is there.")
    chosen = learnt.weight if weight is None else weight
    return Bandit(learnt.features, learnt.models, learnt.scorer, costs=learnt.costs, weight=chosen, path=Path(path))
