"""How the next-token distributions of several models become one: pure functions, and their registry.

Each takes the members' log-probabilities, (members, rows, vocabulary), a row being a sequence, and their weights,
(members, rows); it gives log-probabilities, (rows, vocabulary). `-inf` is a probability of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError

Array = NDArray[np.floating[Any]]
FLOOR = -1e4  # for a log-probability of 0 where it is subtracted or weighted by 0


class Combine(Protocol):
    """A way to combine, as a function."""

    def __call__(self, logprobs: Array, weights: Array) -> Array: ...


def normalised(logits: Array) -> Array:
    """Logits as log-probabilities along the last axis; adding a constant to them changes nothing.

    A row that holds NaN, or allows no token, becomes NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted: Array = logits - logits.max(-1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


# ---- averages ---------------------------------------------------------------------------------------------------


def average(logprobs: Array, weights: Array) -> Array:
    """The average of the probabilities, by weights that are scaled to sum to 1: a mixture of experts."""
    share = weights / weights.sum(0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.einsum("mrv,mr->rv", np.exp(logprobs), share.astype(logprobs.dtype))))


def product(logprobs: Array, weights: Array) -> Array:
    """The product of the probabilities, each to the power of its weight (Hinton 2002, a product of experts): a token
    that one member rules out is out. With weights that sum to 1 it is the geometric mean; negative ones are allowed."""
    return normalised(_weighted(logprobs, weights))


def geometric(logprobs: Array, weights: Array) -> Array:
    """The geometric mean of the probabilities, by weights that are scaled to sum to 1."""
    return product(logprobs, weights / weights.sum(0))


def _weighted(logprobs: Array, weights: Array) -> Array:
    """The weighted sum over members. What is impossible to a member of positive weight stays so; to one whose weight is
    0 or negative it is `FLOOR`."""
    powers = weights.astype(logprobs.dtype)
    with np.errstate(invalid="ignore"):
        total: Array = np.einsum("mrv,mr->rv", logprobs, powers)
        bad = np.isnan(total)
    if bad.any():
        floored = np.einsum("mrv,mr->rv", np.maximum(logprobs, FLOOR), powers)
        out = (np.isneginf(logprobs) & (powers > 0)[:, :, None]).any(0)
        total = np.where(bad, np.where(out, -np.inf, floored), total)
    return total


def minimum(logprobs: Array, weights: Array) -> Array:
    """The least probability that a member gives, normalised: what all agree on. Weights make no difference."""
    return normalised(logprobs.min(0))


def maximum(logprobs: Array, weights: Array) -> Array:
    """The greatest probability that a member gives, normalised. Weights make no difference."""
    return normalised(logprobs.max(0))


# ---- one model against another ----------------------------------------------------------------------------------


def contrast(logprobs: Array, weights: Array, *, alpha: float = 0.1, beta: float | None = None) -> Array:
    """Contrastive decoding (Li et al. 2022, arXiv:2210.15097): what an expert likes better than an amateur does.

    Of the tokens whose probability is at least `alpha` of the expert's likeliest, the score is log p(expert) -
    log p(amateur), or with `beta` (O'Brien and Lewis 2023, arXiv:2309.09117) (1 + beta) log p(expert) -
    beta log p(amateur); its softmax is what is sampled from. Equal scores are ordered by the expert: if both members
    are one model, the greedy choice is its own. Differently from the first paper there is no beam search.

    Args:
        logprobs: of the expert and the amateur, (2, rows, vocabulary).
        weights: make no difference.
        alpha: 0 to 1; 0 allows every token, 1 only the expert's likeliest.
        beta: strength, at least 0.
    """
    expert, amateur = logprobs[0].astype(np.float64), np.maximum(logprobs[1], FLOOR).astype(np.float64)
    score = expert - amateur if beta is None else (1 + beta) * expert - beta * amateur
    score += 1e-9 * np.maximum(expert, FLOOR)
    least = expert.max(-1, keepdims=True) + (math.log(alpha) if alpha > 0 else -np.inf)
    return normalised(np.where(expert >= least, score, -np.inf))


def tuned(logprobs: Array, weights: Array, *, alpha: float = 1.0) -> Array:
    """Proxy tuning (Liu et al. 2024, arXiv:2401.08565), DExperts (Liu et al. 2021, arXiv:2105.03023) and emulated
    fine-tuning (Mitchell et al. 2023, arXiv:2310.12962): a base, moved by what sets an expert off from an anti-expert,
    log p(base) + alpha (log p(expert) - log p(anti)).

    Args:
        logprobs: of base, expert and anti-expert, (3, rows, vocabulary).
        weights: make no difference.
        alpha: strength.
    """
    powers = np.array([[1.0], [alpha], [-alpha]], logprobs.dtype)
    return product(logprobs, np.broadcast_to(powers, logprobs.shape[:2]))


def aware(logprobs: Array, weights: Array, *, alpha: float = 0.5) -> Array:
    """Context-aware decoding (Shi et al. 2023, arXiv:2305.14739): what a context makes likelier, (1 + alpha)
    log p(with it) - alpha log p(without).

    Args:
        logprobs: of one model with the context and without, (2, rows, vocabulary).
        weights: make no difference.
        alpha: strength; 0 is the model with the context.
    """
    powers = np.array([[1 + alpha], [-alpha]], logprobs.dtype)
    return product(logprobs, np.broadcast_to(powers, logprobs.shape[:2]))


# ---- one member for each token ----------------------------------------------------------------------------------


def surest(logprobs: Array, weights: Array) -> Array:
    """Routing token by token: the distribution of the member that is surest, the one with the least entropy; the first
    among equals. Weights make no difference."""
    floored = np.maximum(logprobs, FLOOR)
    entropy = -(np.exp(floored) * floored).sum(-1)
    chosen = entropy.argmin(0)  # NaN is the least, so that a member that fails is noticed
    return np.asarray(np.take_along_axis(logprobs, chosen[None, :, None], 0)[0])


def last(logprobs: Array, weights: Array) -> Array:
    """The last member's distribution."""
    return np.asarray(logprobs[-1])


def certainty(logprobs: Array) -> Array:
    """The probability of the likeliest token of each row."""
    top: Array = np.exp(logprobs.max(-1))
    return top


# ---- the registry -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A way to combine, with what the engine must know of it.

    Attributes:
        name: of it.
        combine: the function.
        members: how many it takes, in a set order; None: any number.
        sure: where a number is given, the first member decides alone where its likeliest token has at least this
            probability, and the others are asked only where it has less.
        leads: only tokens that the first member proposes can be chosen, so that over text its candidates suffice.
    """

    name: str
    combine: Combine
    members: int | None = None
    sure: float | None = None
    leads: bool = False

    def decided(self, first: Array) -> NDArray[np.bool_]:
        """For which rows the first member decides alone, by its log-probabilities, (rows, vocabulary)."""
        if self.sure is None:
            return np.zeros(len(first), bool)
        return np.asarray(certainty(first) >= self.sure if self.sure < 1 else np.zeros(len(first), bool))


METHODS: Mapping[str, Combine] = {
    "average": average,
    "product": product,
    "geometric": geometric,
    "min": minimum,
    "max": maximum,
    "surest": surest,
}
"""Those that take any number of members, by their names in a debate file."""


def method(name: str | Method, *, sure: float | None = None) -> Method:
    """A method by its name.

    Args:
        name: see `METHODS`.
        sure: fuse selectively, see `Method`. After SAFE (Chen et al. 2025, arXiv:2510.15346), which finds that fusing
            every token can hurt long answers; differently from it, what decides is how sure the first member is, and
            not also whether the others' tokenizers agree.

    Raises:
        InputError: if there is none of this name, or `sure` is no probability.
    """
    if sure is not None and not 0 <= sure <= 1:
        raise InputError(f"sure: is a probability between 0 and 1, not {sure}.")
    if isinstance(name, Method):
        return name
    if name not in METHODS:
        raise InputError(f"fuse: there is no method '{name[:40]}'; there are {', '.join(METHODS)}.")
    return Method(name if sure is None else f"{name} where {sure} sure", METHODS[name], sure=sure)


def contrasting(alpha: float = 0.1, beta: float | None = None) -> Method:
    """`contrast` as a method.

    Raises:
        InputError: if a number is out of its range.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"contrast: alpha is between 0 and 1, not {alpha}.")
    if beta is not None and not 0 <= beta < math.inf:
        raise InputError(f"contrast: beta is at least 0, not {beta}.")
    return Method(f"contrast {alpha} {beta}", partial(contrast, alpha=alpha, beta=beta), 2, leads=True)


def tuning(alpha: float = 1.0) -> Method:
    """`tuned` as a method.

    Raises:
        InputError: if alpha is no number.
    """
    return Method(f"proxy {_finite('proxy', alpha)}", partial(tuned, alpha=alpha), 3, leads=True)


def awareness(alpha: float = 0.5) -> Method:
    """`aware` as a method.

    Raises:
        InputError: if alpha is no number.
    """
    return Method(f"aware {_finite('context', alpha)}", partial(aware, alpha=alpha), 2, leads=True)


def deferring(threshold: float) -> Method:
    """Deferral: where the first member's likeliest token has less than a probability, the second's distribution.

    Args:
        threshold: 0 is the first alone, 1 always the second.

    Raises:
        InputError: if it is no probability.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"defer: threshold is a probability between 0 and 1, not {threshold}.")
    return Method(f"defer {threshold}", last, 2, sure=threshold)


def _finite(what: str, alpha: float) -> float:
    if not math.isfinite(alpha):
        raise InputError(f"{what}: alpha is a number, not {alpha}.")
    return alpha
