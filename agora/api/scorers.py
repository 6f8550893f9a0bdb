"""Scorers: how well each model would answer, from the vector of a prompt; fitted to outcomes, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError, MissingError

Floats = NDArray[np.float64]
Arrays = Mapping[str, Floats]


class Scorer(Protocol):
    """What expects a score of every model."""

    def scores(self, vectors: Floats) -> Floats:
        """Expected scores, (prompts, models), 0 to 1."""
        ...

    def arrays(self) -> dict[str, Floats]:
        """What it has learnt."""
        ...


def _fit(well: bool) -> None:
    if not well:
        raise ValueError("shapes")


def means(scores: Floats) -> Floats:
    """Each model's mean score, of what is known; .5 for a model without any."""
    known = ~np.isnan(scores)
    total = known.sum(axis=0)
    found: Floats = np.where(total > 0, np.where(known, scores, 0.0).sum(axis=0) / np.maximum(total, 1), 0.5)
    return found


@dataclass(frozen=True)
class Nearest:
    """k nearest neighbours (arXiv:2505.12601 finds a well-tuned kNN as good as learned routers): the mean score of each
    model on the `k` prompts most like this one, by cosine, drawn towards the model's mean by as many more prompts as
    `shrinkage` says.

    Attributes:
        vectors: (prompts, dimensions), of length 1; single precision is twice as fast.
        known: (prompts, models), NaN where a model was not asked.
        k: neighbours.
        shrinkage: 0 is none.
    """

    vectors: NDArray[Any]
    known: Floats
    k: int = 40
    shrinkage: float = 2.0

    def scores(self, vectors: Floats) -> Floats:
        return _around(_nearest(vectors, self.vectors, self.k, own=False), self.known, self.shrinkage)

    def arrays(self) -> dict[str, Floats]:
        return {"vectors": self.vectors, "known": self.known, "options": np.array([self.k, self.shrinkage], float)}

    @classmethod
    def of(cls, arrays: Arrays) -> Nearest:
        k, shrinkage = arrays["options"]
        _fit(len(arrays["vectors"]) == len(arrays["known"]) > 0 and arrays["known"].ndim == 2)
        return cls(arrays["vectors"].astype(np.float32), arrays["known"], max(1, int(k)), float(shrinkage))


@dataclass(frozen=True)
class Linear:
    """For each model the probability of a good answer as the logistic function of a linear one: by logistic regressions
    of their own, or by one bilinear model of few dimensions.

    Attributes:
        weights: (dimensions, models).
        bias: (models,).
    """

    weights: Floats
    bias: Floats

    def scores(self, vectors: Floats) -> Floats:
        z = np.clip(vectors @ self.weights + self.bias, -40, 40)
        made: Floats = 1 / (1 + np.exp(-z))
        return made

    def arrays(self) -> dict[str, Floats]:
        return {"weights": self.weights, "bias": self.bias}

    @classmethod
    def of(cls, arrays: Arrays) -> Linear:
        weights, bias = arrays["weights"], arrays["bias"]
        _fit(weights.ndim == 2 and bias.shape == weights.shape[1:])
        return cls(weights, bias)


@dataclass(frozen=True)
class Graph:
    """Features of the graph of prompts and models: prompts are linked with the prompts most like them, and with the
    models that answered them, by how well. A model's score is logistic in its mean score, in what it scored on the
    neighbours, on the neighbours' neighbours, and in how all models scored there.

    After GraphRouter (Feng et al. 2024, arXiv:2410.03834), whose graph neural network is here two fixed steps of
    passing messages and a regression: no training beyond a few numbers.

    Attributes:
        vectors: (prompts, dimensions).
        known: (prompts, models).
        passed: (prompts, models): the mean of each prompt's neighbours.
        weights: (features,); the last is the bias.
        k: neighbours.
    """

    vectors: NDArray[Any]
    known: Floats
    passed: Floats
    weights: Floats
    k: int = 20

    def scores(self, vectors: Floats) -> Floats:
        found = _nearest(vectors, self.vectors, self.k, own=False)
        z = np.clip(self.features(found) @ self.weights, -40, 40)
        made: Floats = 1 / (1 + np.exp(-z))
        return made

    def features(self, found: NDArray[np.int64]) -> Floats:
        """(prompts, models, features) of prompts with these neighbours."""
        one, two = _around(found, self.known, 2.0), self.passed[found].mean(axis=1)
        wide = np.broadcast_to(means(self.known), one.shape)
        everyone = np.broadcast_to(one.mean(axis=1, keepdims=True), one.shape)
        return np.stack([_logit(wide), _logit(one), _logit(two), _logit(everyone), np.ones_like(one)], axis=2)

    def arrays(self) -> dict[str, Floats]:
        return {
            "vectors": self.vectors, "known": self.known, "passed": self.passed, "weights": self.weights,
            "options": np.array([self.k], float),
        }  # fmt: skip

    @classmethod
    def of(cls, arrays: Arrays) -> Graph:
        k = max(1, int(arrays["options"][0]))
        _fit(len(arrays["vectors"]) == len(arrays["known"]) > 0 and arrays["known"].shape == arrays["passed"].shape)
        return cls(arrays["vectors"].astype(np.float32), arrays["known"], arrays["passed"], arrays["weights"], k)


def _nearest(vectors: NDArray[Any], there: NDArray[Any], k: int, own: bool) -> NDArray[np.int64]:
    """The indices of the nearest prompts, (prompts, k); with `own` both are the same prompts, and none is its own."""
    narrow, base = vectors.astype(there.dtype), there.T
    k = max(1, min(k, len(there) - own))
    found = np.empty((len(vectors), k), dtype=np.int64)
    for start in range(0, len(vectors), 512):  # a block at a time: the similarities of all would not fit
        near = narrow[start : start + 512] @ base
        if own:
            rows = np.arange(len(near))
            near[rows, start + rows] = -np.inf
        last = near.shape[1] - k
        found[start : start + 512] = np.argpartition(near, last, axis=1)[:, last:]
    return found


def _around(found: NDArray[np.int64], known: Floats, shrinkage: float) -> Floats:
    """The mean score of each model on the prompts found, drawn towards its mean."""
    usual, given = means(known), known[found]
    there = ~np.isnan(given)
    total = np.where(there, given, 0.0).sum(axis=1) + shrinkage * usual
    count = there.sum(axis=1) + shrinkage
    made: Floats = np.where(count > 0, total / np.maximum(count, 1e-12), usual)
    return made


def _logit(p: Floats) -> Floats:
    p = np.clip(p, 0.01, 0.99)
    made: Floats = np.log(p / (1 - p))
    return made


# ---- fitting ----------------------------------------------------------------------------------------------------


def fit_nearest(vectors: Floats, scores: Floats, *, k: int = 40, shrinkage: float = 2.0) -> Nearest:
    """Keep the outcomes.

    Raises:
        InputError: if an option is out of range.
    """
    if k < 1 or not 0 <= shrinkage < np.inf:
        raise InputError(f"knn: k must be at least 1 and shrinkage at least 0, they are {k} and {shrinkage}.")
    return Nearest(vectors.astype(np.float32), scores, k, shrinkage)


def fit_logistic(vectors: Floats, scores: Floats, *, strength: float = 10.0) -> Linear:
    """A logistic regression for each model. A score between 0 and 1 counts as so much of a good answer and the rest of
    a bad one; a model whose scores are all alike gets them as a constant.

    Args:
        vectors: (prompts, dimensions).
        scores: (prompts, models).
        strength: the inverse of the regularisation, scikit-learn's C.
    """
    regression = _sklearn("linear_model").LogisticRegression
    weights, bias = np.zeros((vectors.shape[1], scores.shape[1])), np.zeros(scores.shape[1])
    for j in range(scores.shape[1]):
        there = np.flatnonzero(~np.isnan(scores[:, j]))
        y = scores[there, j]
        if not len(y) or y.max() - y.min() < 1e-12:
            bias[j] = _logit(np.array([y[0] if len(y) else 0.5]))[0]
            continue
        both = np.concatenate([vectors[there]] * 2)
        labels = np.repeat([1, 0], len(y))
        share = np.concatenate([y, 1 - y])
        kept = share > 0
        made = regression(C=strength, max_iter=500).fit(both[kept], labels[kept], sample_weight=share[kept])
        weights[:, j], bias[j] = made.coef_[0], made.intercept_[0]
    return Linear(weights, bias)


def fit_factors(vectors: Floats, scores: Floats, *, rank: int = 16, strength: float = 10.0, seed: int = 0) -> Linear:
    """Matrix factorisation after RouteLLM (Ong et al. 2024, arXiv:2406.18665): the logit of a score is the product of
    the model's factors and a projection of the prompt's vector, plus a bias. RouteLLM fits preferences between a strong
    and a weak model; this fits the scores of any number of models, so that a preference is a difference of two.

    Args:
        vectors: (prompts, dimensions).
        scores: (prompts, models).
        rank: of the product; no more than models or dimensions are of use.
        strength: the inverse of the regularisation.
        seed: of the start.
    """
    _sklearn("linear_model")
    from scipy.optimize import minimize

    d, m = vectors.shape[1], scores.shape[1]
    r = max(1, min(rank, d, m))
    there = ~np.isnan(scores)
    y = np.where(there, scores, 0.0)
    draw = np.random.default_rng(seed)
    start = np.concatenate([draw.normal(0, 0.1, d * r), draw.normal(0, 0.1, r * m), _logit(means(scores))])

    def loss(x: Floats) -> tuple[float, Floats]:
        project, factors, bias = x[: d * r].reshape(d, r), x[d * r : d * r + r * m].reshape(r, m), x[-m:]
        low = vectors @ project
        z = low @ factors + bias
        error = np.where(there, 1 / (1 + np.exp(-np.clip(z, -40, 40))) - y, 0.0)
        softplus = np.logaddexp(0, z)
        held = (project**2).sum() + (factors**2).sum()
        value = strength * np.where(there, softplus - y * z, 0.0).sum() + 0.5 * held
        grads = [strength * vectors.T @ (error @ factors.T) + project, strength * low.T @ error + factors]
        return float(value), np.concatenate([*(g.ravel() for g in grads), strength * error.sum(axis=0)])

    x = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x
    return Linear(x[: d * r].reshape(d, r) @ x[d * r : d * r + r * m].reshape(r, m), x[-m:])


def fit_graph(vectors: NDArray[Any], scores: Floats, *, k: int = 20, strength: float = 10.0) -> Graph:
    """Pass messages, then fit the few weights on prompts that see their neighbours alone, not themselves.

    Args:
        vectors: (prompts, dimensions).
        scores: (prompts, models).
        k: neighbours.
        strength: the inverse of the regularisation.
    """
    regression = _sklearn("linear_model").LogisticRegression
    vectors = vectors.astype(np.float32)
    found = _nearest(vectors, vectors, k, own=len(vectors) > 1)
    passed = _around(found, scores, 2.0)
    graph = Graph(vectors, scores, passed, np.array([0.0, 1.0, 0.0, 0.0, 0.0]), k)
    given = graph.features(found)
    rows, columns = np.nonzero(~np.isnan(scores))
    y, x = scores[rows, columns], given[rows, columns]
    if y.max() - y.min() < 1e-12:
        return Graph(vectors, scores, passed, np.array([1.0, 0.0, 0.0, 0.0, 0.0]), k)
    share, labels = np.concatenate([y, 1 - y]), np.repeat([1, 0], len(y))
    kept = share > 0
    made = regression(C=strength, fit_intercept=False, max_iter=500).fit(
        np.concatenate([x, x])[kept], labels[kept], sample_weight=share[kept]
    )
    return Graph(vectors, scores, passed, np.asarray(made.coef_[0], float), k)


def _sklearn(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise MissingError("training a router needs scikit-learn.", hint="pip install 'agora-debate[route]'") from error


FITS: Mapping[str, Callable[..., Scorer]] = {
    "knn": fit_nearest, "logistic": fit_logistic, "mf": fit_factors, "graph": fit_graph,
}  # fmt: skip
KINDS: Mapping[str, Callable[[Arrays], Scorer]] = {
    "knn": Nearest.of, "logistic": Linear.of, "mf": Linear.of, "graph": Graph.of, "answer": Linear.of,
}  # fmt: skip
