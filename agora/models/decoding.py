"""From next-token logits to tokens and their text, the same for every `TokenModel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.model import Settings

Logits = NDArray[np.floating[Any]]
_WINDOW = 5  # tokens before one that its text may depend on


def greedy(logits: Logits) -> tuple[list[int], list[float]]:
    """The likeliest token of each row, (rows, vocabulary), and its log-probability; NaN where the row holds NaN, or
    allows no token."""
    tokens = logits.argmax(1)
    top = logits[np.arange(len(tokens)), tokens]
    with np.errstate(invalid="ignore"):
        return tokens.tolist(), (-np.log(np.exp(logits - top[:, None]).sum(1))).tolist()


def sample(logits: Logits, settings: Settings, u: float) -> int:
    """A token of one row, (vocabulary,), by the inverse of the cumulative distribution over token ids.

    First the temperature, then `top_k`, then `top_p` of what is left, then `min_p`.

    Args:
        logits: finite somewhere, without NaN.
        settings: how to sample; greedy without a temperature.
        u: uniform in [0, 1). One number gives tokens that mostly agree where distributions are alike.
    """
    if not settings.temperature:
        return int(logits.argmax())
    scaled = (logits - logits.max()).astype(np.float64)
    scaled /= settings.temperature
    kept: NDArray[np.intp] | None = None
    if settings.top_k is not None and 0 < settings.top_k < len(scaled):
        kept = np.sort(np.argpartition(-scaled, settings.top_k - 1)[: settings.top_k])
        scaled = scaled[kept]
    p = np.exp(scaled)
    p /= p.sum()
    if settings.top_p is not None and settings.top_p < 1:
        # those below this are all outside: together they have less than what is to be left out
        some = np.flatnonzero(p >= (1 - settings.top_p) / len(p))
        order = some[np.argsort(-p[some], kind="stable")]
        p, kept = _only(p, kept, np.sort(order[: int(np.searchsorted(np.cumsum(p[order]), settings.top_p)) + 1]))
    if settings.min_p:
        p, kept = _only(p, kept, np.flatnonzero(p >= settings.min_p * p.max()))
    below = np.cumsum(p)
    at = min(int(np.searchsorted(below, u * below[-1], side="right")), len(p) - 1)
    return at if kept is None else int(kept[at])


def _only(
    p: NDArray[np.float64], kept: NDArray[np.intp] | None, some: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    return p[some], some if kept is None else kept[some]


def likeliest(row: Logits, logprob: float, token: int, most: int) -> list[tuple[int, float]]:
    """The `most` likeliest tokens of a row with their log-probabilities, best first, lower ids first among equals.

    Args:
        row: logits, (vocabulary,).
        logprob: of one token.
        token: which that is.
        most: how many.
    """
    shift = logprob - float(row[token])
    if most < 1:
        return []
    found = np.argpartition(row, -most)[-most:] if most < len(row) else np.arange(len(row))
    return [(i, float(row[i]) + shift) for i in sorted(found.tolist(), key=lambda i: (-row[i], i))]


def stopped(text: str, stops: Sequence[str], begin: int) -> int | None:
    """Where the first of the texts that stop an answer stands in it, if one was completed from `begin` on.

    Args:
        text: the answer.
        stops: those texts; empty ones stop nothing.
        begin: how much of it has been looked at before.
    """
    found = [text.find(stop, max(0, begin - len(stop) + 1)) for stop in stops if stop]
    return min((at for at in found if at >= 0), default=None)


class Spelling:
    """The text of tokens that come one by one: a token's text may depend on those before it, and a character may be
    made of several.

    Args:
        decode: the model's.
        before: tokens before the first.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], before: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(before[-_WINDOW:])
        self._begin, self._shown = 0, len(self._ids)

    def piece(self, token: int) -> str:
        """The text that a token adds; none as long as it ends within a character."""
        whole = self._decode([*self._ids[self._begin :], token])
        known = self._decode(self._ids[self._begin : self._shown])
        return "" if whole.endswith("\ufffd") else whole[len(known) :]

    def add(self, token: int, piece: str) -> None:
        """Take a token, whose text is `piece`."""
        self._ids.append(token)
        if piece:
            self._begin, self._shown = self._shown, len(self._ids)
