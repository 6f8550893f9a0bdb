"""Model Swarms: particles that fly through the space of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.searching.registry import Asks, at_least, searcher
from agora.weight.searching.space import Point, Space

Vector = NDArray[np.float64]


@searcher("swarm", "model_swarms", paper="Feng et al., arXiv:2410.11163", ends=True)
def swarm(
    space: Space, rng: np.random.Generator, *, particles: int = 20, inertia: float = 0.2, cognitive: float = 0.3,
    social: float = 0.4, repel: float = 0.05, step: float = 0.5, decay: float = 0.95, patience: int = 10,
    restart: int = 5, iterations: int = 50, random: bool = True,
) -> Asks:  # fmt: skip
    """Particles begin at the models and between them; each is drawn to the best place it has seen and to the best that
    any has seen, away from the worst, and keeps some of its course.

    In every iteration a particle's velocity becomes the mean of its velocity, of the ways to its own best and to the
    common best, and of the way from the common worst, weighted by the four factors times a draw from [0, 1) each, and
    the particle moves by `step` times that; then the step shrinks. As every such move is linear in the weights, a
    particle is a vector of coefficients over the first models, and no weights are touched before a candidate is built.
    It follows that a swarm never leaves the affine span of where it begins: weights that sum to 1 always do.

    As in the paper, the first particles beyond the models are crossovers of two of them at random, first velocities
    point to another particle at random, and a particle that has not improved for some iterations returns to its own
    best and stands still. Differently from it, all particles of an iteration are moved by what was known before it, so
    that they are scored together; the common worst of the start counts as long as nothing is worse; and a particle that
    cannot be scored is no worst place. Where the space has no experts, particles begin at points drawn from it.

    Args:
        space: any.
        rng: of all draws.
        particles: how many; at least as many as there are models.
        inertia, cognitive, social, repel: the factors, 0 or more.
        step: of the first iteration.
        decay: factor of the step, each iteration.
        patience: iterations without a new best after which it ends.
        restart: iterations without a new own best after which a particle returns to it.
        iterations: most of them.
        random: draw; else the factors are used as they are.

    Raises:
        InputError: if the factors are none.
    """
    factors = np.array([inertia, cognitive, social, repel], np.float64)
    if not (np.isfinite(factors).all() and (factors >= 0).all() and factors.any()):
        raise InputError("inertia, cognitive, social and repel are 0 or more, and not all 0.")
    for name, value, least in (
        ("particles", particles, 1), ("step", step, 0), ("decay", decay, 0), ("patience", patience, 1),
        ("restart", restart, 1), ("iterations", iterations, 0),
    ):  # fmt: skip
        at_least(name, value, least)
    x = np.array(list(_first(space, rng, particles)), np.float64)
    n = len(x)
    other = rng.integers(0, n, n)
    v = x[other] - x
    scores = np.array((yield _points(space, x)))
    own, own_score, stale = x.copy(), scores.copy(), np.zeros(n, np.int64)
    best = int(scores.argmax())
    g, g_score = x[best].copy(), float(scores[best])
    finite = np.where(np.isfinite(scores), scores, math.inf)
    w, w_score = x[int(finite.argmin())].copy(), float(finite.min())
    waited = 0
    for _ in range(iterations):
        back = stale >= restart
        x[back], v[back], stale[back] = own[back], 0.0, 0
        shares = factors * (rng.random((n, 4)) if random else np.ones((n, 4)))
        total = shares.sum(1, keepdims=True)
        shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
        v = shares[:, :1] * v + shares[:, 1:2] * (own - x) + shares[:, 2:3] * (g - x) - shares[:, 3:] * (w - x)
        x = x + step * v
        step *= decay
        points = _points(space, x)
        scores = np.array((yield points))
        x = np.array(points) if not space.linear else x  # what was clipped stays clipped
        better = scores > own_score
        own[better], own_score[better] = x[better], scores[better]
        stale = np.where(better, 0, stale + 1)
        best = int(scores.argmax())
        waited += 1
        if scores[best] > g_score:
            g, g_score, waited = x[best].copy(), float(scores[best]), 0
        finite = np.where(np.isfinite(scores), scores, math.inf)
        if finite.min() < w_score:
            w, w_score = x[int(finite.argmin())].copy(), float(finite.min())
        if waited >= patience:
            return


def _points(space: Space, x: Vector) -> list[Point]:
    return [space.canonical(row.tolist()) for row in x]


def _first(space: Space, rng: np.random.Generator, particles: int) -> Iterator[Vector]:
    experts = [np.array(point) for point in space.experts.values()]
    yield from experts
    for _ in range(particles - len(experts)):
        if len(experts) < 2:
            yield np.array(space.sample(rng))
            continue
        a, b = rng.choice(len(experts), 2, replace=False)
        t = rng.random()
        yield t * experts[a] + (1 - t) * experts[b]
