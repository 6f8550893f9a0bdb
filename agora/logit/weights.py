"""Weights of an ensemble's members: given, by the perplexity of a prompt, or learnt from texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError, MalformedError
from agora.logit.methods import normalised
from agora.model import Prompt, TokenModel, TokenSession
from agora.records import Message

_CHUNK = 64  # tokens of a prompt whose logits are held at once
WEIGHTED = ("average", "product", "geometric")


def given(weights: Sequence[float] | None, members: int, by: str) -> NDArray[np.float64]:
    """Weights as an array, (members,); equal ones if there are none.

    Raises:
        InputError: if they are not one number a member, do not add up to more than 0 where they are shares, or the
            method takes none.
    """
    if weights is None:
        return np.ones(members)
    name = by.split(" ")[0]
    if name not in WEIGHTED:
        raise InputError(f"fuse: {name} takes no weights; {', '.join(WEIGHTED)} do.")
    if isinstance(weights, str) or len(weights) != members:
        raise InputError(f"fuse: needs {members} weights, one a member, or 'perplexity'.")
    found = np.array(weights, np.float64)
    if not np.isfinite(found).all():
        raise InputError("fuse: weights are finite numbers.")
    if name != "product" and ((found < 0).any() or found.sum() <= 0):
        raise InputError(f"fuse: weights of {name} are at least 0, and not all 0.")
    return found


def by_losses(losses: Sequence[float], tau: float = 1.0) -> NDArray[np.float64]:
    """PackLLM-sim (Mavromatis et al. 2024, arXiv:2404.11531): the softmax of -loss / tau.

    Args:
        losses: of each member: mean negative log-likelihood of the prompt's tokens, in nats.
        tau: temperature; small ones choose the member that knows the prompt best.
    """
    scaled = -np.array(losses, np.float64) / tau
    share = np.exp(scaled - scaled.max())
    return np.asarray(share / share.sum())


def loss(session: TokenSession, slot: int, prompt: Prompt) -> float:
    """The mean negative log-likelihood of a prompt's tokens but the first, in nats; 0 where there is only that.

    All but the last token is read, into a sequence that was begun empty.

    Raises:
        MalformedError: if it is no number.
    """
    total = 0.0
    for begin in range(0, len(prompt) - 1, _CHUNK):
        end = min(begin + _CHUNK, len(prompt) - 1)
        logprobs = normalised(session.forward([(slot, list(prompt[begin:end]))], every=True))
        total -= float(logprobs[np.arange(end - begin), list(prompt[begin + 1 : end + 1])].sum())
    if not math.isfinite(total):
        raise MalformedError("a member finds its prompt impossible, so it cannot be weighted by perplexity.")
    return total / max(1, len(prompt) - 1)


def learn(
    members: Sequence[TokenModel],
    examples: Sequence[tuple[Sequence[Message], str]],
    by: str = "average",
    *,
    steps: int = 200,
) -> tuple[float, ...]:
    """The weights under which an ensemble finds given answers likeliest, for `Fused(weights=)`.

    Both likelihoods are concave. Of an average the weights are those of a mixture, found by expectation-maximisation
    from equal ones; of a product they are at least 0, found by projected gradient ascent.

    Args:
        members: token models of one vocabulary.
        examples: (conversation, right answer) pairs, such as a part of a dev set that nothing is reported on.
        by: 'average' or 'product'.
        steps: most of either.

    Returns:
        One weight a member; of an average they sum to 1.

    Raises:
        InputError: if the method is another, there are no examples, or an answer has no token.
    """
    if by not in ("average", "product"):
        raise InputError(f"learn: weights are learnt of average and product, not of {by[:40]}.")
    if not examples:
        raise InputError("learn: needs examples, (conversation, answer) pairs.")
    width = min(len(model.vocabulary) for model in members)
    scored = [_scored(model, examples, width) for model in members]
    tokens = scored[0][1]
    logprobs = np.stack([rows for rows, _ in scored])  # (members, tokens, vocabulary)
    if by == "average":
        return _mixture(np.exp(logprobs[:, np.arange(len(tokens)), tokens]), steps)
    return _pool(logprobs, tokens, steps)


def _scored(
    model: TokenModel, examples: Sequence[tuple[Sequence[Message], str]], width: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The log-probabilities before each token of the answers and their ends, and those tokens."""
    from agora.models.tokenwriter import tokens_of

    rows, found = [], []
    end = min(model.stop_tokens, default=None)
    session = model.session()
    for messages, text in examples:
        answer = [*tokens_of(model, text), *([end] if end is not None else [])]
        if len(answer) < 1 + (end is not None):
            raise InputError(f"learn: the answer {text[:40]!r} has no tokens.")
        slot = session.new(model.encode(messages))
        first = session.forward([(slot, ())])
        rest = session.forward([(slot, answer[:-1])], every=True) if len(answer) > 1 else first[:0]
        session.free(slot)
        rows.append(normalised(np.concatenate([first, rest])[:, :width]).astype(np.float32))
        found += answer
    return np.concatenate(rows), np.array(found)


def _mixture(p: NDArray[np.floating], steps: int) -> tuple[float, ...]:
    """Of the probabilities that members give the right tokens, (members, tokens)."""
    weights = np.ones(len(p)) / len(p)
    for _ in range(steps):
        share = weights[:, None] * p
        share /= np.maximum(share.sum(0), 1e-300)
        new = share.mean(1)
        new /= new.sum()
        if np.abs(new - weights).max() < 1e-9:
            break
        weights = new
    return tuple(weights.tolist())


def _pool(logprobs: NDArray[np.float32], tokens: NDArray[np.intp], steps: int) -> tuple[float, ...]:
    members, n = len(logprobs), len(tokens)
    floored = np.maximum(logprobs, -50.0).astype(np.float64)
    right = floored[:, np.arange(n), tokens].mean(1)

    def look(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = np.einsum("mtv,m->tv", floored, weights)
        top = total.max(1, keepdims=True)
        q = np.exp(total - top)
        z = q.sum(1, keepdims=True)
        value = float(weights @ right - (top + np.log(z)).mean())
        return value, right - np.einsum("mtv,tv->m", floored, q / z) / n

    weights = np.ones(members) / members
    value, slope = look(weights)
    rate = 1.0
    for _ in range(steps):
        tried = np.maximum(weights + rate * slope, 0.0)
        gained, next_slope = look(tried)
        if gained < value:
            rate /= 2
            if rate < 1e-9:
                break
            continue
        near = gained - value < 1e-10
        weights, value, slope, rate = tried, gained, next_slope, rate * 1.5
        if near:
            break
    return tuple(weights.tolist())
