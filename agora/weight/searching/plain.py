"""The plain searches: greedy soup, samples, one number at a time."""

from __future__ import annotations

import math

import numpy as np

from agora.errors import InputError
from agora.weight.searching.registry import Asks, at_least, searcher
from agora.weight.searching.space import Point, Space


def mean(points: list[Point]) -> Point:
    """Of each number the mean."""
    return tuple(math.fsum(column) / len(points) for column in zip(*points, strict=True))


@searcher("greedy_soup", "greedy", "soup", paper="Wortsman et al., arXiv:2203.05482", ends=True)
def greedy_soup(space: Space, rng: np.random.Generator) -> Asks:
    """Take the models from the best to the worst into a plain average, and keep each that does not lower its score.

    One that leaves the score as it is stays, as in the authors' code; of models of equal score the first in the list
    comes first. The result is never below the best single model. A model that could not be scored is left out.

    Args:
        space: a linear one, with experts.
        rng: not drawn from.

    Raises:
        InputError: if the space has no experts, or is not linear.
    """
    if not space.experts or not space.linear:
        raise InputError("a greedy soup needs a space of weighted models.", hint="Use `WeightedSum`.")
    points = list(space.experts.values())
    scores = yield points
    order = sorted(range(len(points)), key=lambda i: -scores[i])
    soup, best = [points[order[0]]], scores[order[0]]
    for i in order[1:]:
        if scores[i] == -math.inf:
            continue
        (score,) = yield [mean([*soup, points[i]])]
        if score >= best:
            soup.append(points[i])
            best = score


@searcher("random", paper="Bergstra and Bengio, JMLR 13, 2012")
def random(space: Space, rng: np.random.Generator, *, batch: int = 8) -> Asks:
    """Points drawn evenly from the space.

    Args:
        space: any.
        rng: of the draws.
        batch: points asked for at a time; of no influence on which they are.
    """
    at_least("batch", batch, 1)
    while True:
        yield [space.sample(rng) for _ in range(batch)]


@searcher("coordinate", paper="Hooke and Jeeves, J. ACM 8, 1961, without pattern moves")
def coordinate(
    space: Space, rng: np.random.Generator, *, step: float = 0.25, least: float = 0.01, clip: bool = True
) -> Asks:
    """One number at a time, a step up and a step down, to whichever is better; where neither is, for any number, the
    step is halved.

    It begins at the average of the models (else at the middle of the space); when the step has become too small, again
    at a point drawn from it, until the budget is spent.

    Args:
        space: any; whole numbers are stepped by at least one.
        rng: of the points at which it begins again.
        step: the first, as a share of each number's range.
        least: the smallest.
        clip: stay within the range.

    Raises:
        InputError: if the steps are none.
    """
    if not 0 < least <= step:
        raise InputError("'step' and 'least' are above 0, and 'least' is not the larger.")
    low, high = np.array(space.low), np.array(space.high)
    whole = np.array([i in space.whole for i in range(len(low))])
    first = space.average
    begin = space.canonical(first if isinstance(first, tuple) else tuple((low + high) / 2))
    while True:
        at, (best,), size = begin, (yield [begin]), step
        while size >= least:
            moved = False
            for i in range(len(low)):
                by = size * (high[i] - low[i])
                by = max(1.0, by) if whole[i] else by
                tries = []
                for sign in (1, -1):
                    there = np.array(at)
                    there[i] += sign * by
                    tries.append(space.canonical(tuple(np.clip(there, low, high) if clip else there)))
                scores = yield tries
                k = 0 if scores[0] >= scores[1] else 1
                if scores[k] > best:
                    at, best, moved = tries[k], scores[k], True
            if not moved:
                size /= 2
        begin = space.sample(rng)
