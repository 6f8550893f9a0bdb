"""Decoding: from next-token logits to tokens, one sequence or many, the same for every `TokenModel`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agora.model import Settings, TokenSession


@dataclass(slots=True)
class Decoded:
    """One decoded sequence: token ids without the stop token, log-probabilities with it, and why it ended."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = "length"


def decode(
    session: TokenSession,
    prompts: Sequence[Sequence[int]],
    settings: Sequence[Settings],
    *,
    stop_tokens: frozenset[int],
    limit: int,
    cancelled: threading.Event | None = None,
) -> list[Decoded]:
    """Decode several prompts together; a sequence leaves the batch when it has ended.

    Args:
        session: where the sequences live.
        prompts: token ids, at least one each.
        settings: how to sample each; temperature None or 0 is greedy; a seed makes a sample reproducible.
        stop_tokens: ids that end a sequence.
        limit: most new tokens, where the settings do not say less.
        cancelled: looked at between tokens.

    Returns:
        One `Decoded` a prompt. Log-probabilities are of the model's own distribution, before temperature and top-p.
    """
    draws = [np.random.default_rng(s.seed) for s in settings]
    limits = [min(limit, s.max_tokens) if s.max_tokens is not None else limit for s in settings]
    out = [Decoded() for _ in prompts]
    slots = [session.new() for _ in prompts]
    try:
        live = [i for i in range(len(prompts)) if limits[i] > 0]
        feed: list[tuple[int, Sequence[int]]] = [(slots[i], prompts[i]) for i in live]
        while live and not (cancelled and cancelled.is_set()):
            logits = session.forward(feed)
            best, logprobs = greedy(logits)
            going, feed = [], []
            for row, i in enumerate(live):
                token, logprob = best[row], logprobs[row]
                if settings[i].temperature:
                    token, logprob = sample(logits[row], settings[i], draws[i])
                out[i].logprobs.append(logprob)
                if token in stop_tokens:
                    out[i].finish = "stop"
                    continue
                out[i].tokens.append(token)
                if len(out[i].tokens) < limits[i]:
                    going.append(i)
                    feed.append((slots[i], (token,)))
            live = going
    finally:
        for slot in slots:
            session.free(slot)
    return out


def greedy(logits: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """The likeliest token of each row, (rows, vocabulary), and its log-probability.

    Raises:
        ValueError: if the logits hold NaN.
    """
    tokens = logits.argmax(1)
    top = logits[np.arange(len(tokens)), tokens]
    if np.isnan(top).any():
        raise ValueError("the model gave NaN for the next token")
    return tokens.tolist(), (-np.log(np.exp(logits - top[:, None]).sum(1))).tolist()


def sample(logits: NDArray[np.float32], settings: Settings, draw: np.random.Generator) -> tuple[int, float]:
    """One token and its log-probability.

    Raises:
        ValueError: if the logits hold NaN.
    """
    top = float(logits.max())
    if np.isnan(top):
        raise ValueError("the model gave NaN for the next token")
    shifted = logits - top
    total = float(np.log(np.exp(shifted).sum()))
    if not settings.temperature:
        token = int(shifted.argmax())
    else:
        scaled = np.exp(shifted.astype(np.float64) / settings.temperature)
        scaled /= scaled.sum()
        if settings.top_p is not None and settings.top_p < 1:
            order = np.argsort(-scaled)
            keep = int(np.searchsorted(np.cumsum(scaled[order]), settings.top_p)) + 1
            scaled[order[keep:]] = 0
            scaled /= scaled.sum()
        token = int(draw.choice(len(scaled), p=scaled))
    return token, float(shifted[token]) - total
