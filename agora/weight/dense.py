"""A dense Llama-layout model, or the average of several, read in numpy a slice of a matrix at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.mixtral import EMBEDDING, Shape
from agora.weight.parents import Parent
from agora.weight.sources import Scratch, Source

Array = NDArray[np.float32]
TOKENS = 1 << 16  # most of all texts together
_SLICE = 1 << 20  # elements of a matrix, or of an attention's scores, that are in memory at a time
_BLOCK = 1 << 12  # tokens that go through an MLP at a time


class Dense:
    """The model whose hidden states the router of a mixture is made of.

    Its weights are never in memory whole: texts go through it together, layer by layer, and each matrix is read in
    slices. So it needs neither torch nor room for a model, whatever its size.

    Args:
        parents: one model, or several of one shape, of whose weights the mean is taken.
        shape: of them.
        window: how many tokens back a token sees; None is all.

    Raises:
        InputError: if it turns queries and keys, or activates, in a way that is not known here.
    """

    def __init__(self, parents: Sequence[Parent], shape: Shape, window: int | None = None) -> None:
        self._parents, self.shape, self._window = parents, shape, window
        self._scratch = Scratch()
        if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
            raise InputError(f"{parents[0].label}: sliding_window is a number of tokens, or null.")
        if shape.activation not in ("silu", "swish"):
            raise InputError(f"hidden states of a model with activation '{shape.activation[:40]}' cannot be computed.",
                             hint="Use router embedding.")  # fmt: skip
        self._turns = _frequencies(shape)

    def embedded(self, ids: Sequence[int]) -> Array:
        """The embeddings of tokens: (tokens, hidden).

        Raises:
            InputError: if there is no such token.
        """
        sources = self._sources(EMBEDDING)
        rows, width = sources[0].shape
        unique = sorted(set(ids))
        if unique and not 0 <= unique[0] <= unique[-1] < rows:
            raise InputError(f"the tokenizer gives token {unique[-1]}, and the embedding has {rows} rows.")
        held = {token: self._mean(sources, token * width, width).copy() for token in unique}
        return np.stack([held[token] for token in ids])

    def hidden(self, texts: Sequence[Sequence[int]]) -> list[list[Array]]:
        """What enters the MLP of each layer, normalised as it does: layers, then texts, of (tokens, hidden).

        Args:
            texts: token ids, at least one of each.
        """
        return [self._split(states, texts) for states in self._states(texts)]

    def means(self, texts: Sequence[Sequence[int]]) -> Array:
        """The mean of those of each text: (layers, texts, hidden)."""
        return np.stack([
            np.stack([part.mean(0) for part in self._split(states, texts)]) for states in self._states(texts)
        ])  # fmt: skip

    @staticmethod
    def _split(states: Array, texts: Sequence[Sequence[int]]) -> list[Array]:
        return np.split(states, np.cumsum([len(text) for text in texts])[:-1])

    def _states(self, texts: Sequence[Sequence[int]]) -> Any:
        shape = self.shape
        if (total := sum(map(len, texts))) > TOKENS:
            raise InputError(f"the prompts have {total:,} tokens in all; at most {TOKENS:,} are read.",
                             hint="A few dozen prompts of an expert are enough.")  # fmt: skip
        x = self.embedded([token for text in texts for token in text])
        for layer in range(shape.layers):
            at = f"model.layers.{layer}."
            h = self._normed(x, f"{at}input_layernorm.weight")
            q, k, v = (self._product(h, f"{at}self_attn.{name}_proj.weight") for name in "qkv")
            seen, begin = np.empty_like(q), 0
            for text in texts:
                part = slice(begin, begin := begin + len(text))
                seen[part] = self._attention(q[part], k[part], v[part])
            x = x + self._product(seen, f"{at}self_attn.o_proj.weight")
            h = self._normed(x, f"{at}post_attention_layernorm.weight")
            yield h
            if layer + 1 < shape.layers:
                for first in range(0, len(x), _BLOCK):
                    x[first : first + _BLOCK] += self._mlp(h[first : first + _BLOCK], at)

    def _mlp(self, h: Array, at: str) -> Array:
        gate = self._product(h, f"{at}mlp.gate_proj.weight")
        with np.errstate(over="ignore"):
            gate /= 1 + np.exp(-gate)
        gate *= self._product(h, f"{at}mlp.up_proj.weight")
        return self._product(gate, f"{at}mlp.down_proj.weight")

    def _attention(self, q: Array, k: Array, v: Array) -> Array:
        shape, n = self.shape, len(q)
        share = shape.heads // shape.groups
        queries = self._turned(q.reshape(n, shape.heads, shape.head)).reshape(n, shape.groups, share, shape.head)
        keys = self._turned(k.reshape(n, shape.groups, shape.head))
        values = v.reshape(n, shape.groups, shape.head)
        out = np.empty_like(queries)
        step = max(1, _SLICE // (n * share))
        for group in range(shape.groups):
            for first in range(0, n, step):
                part = slice(first, min(n, first + step))
                scores = np.einsum("tsd,ud->stu", queries[part, group], keys[:, group], optimize=True)
                scores /= np.float32(math.sqrt(shape.head))
                scores[:, self._hidden(np.arange(n)[part], n)] = -np.inf
                scores -= scores.max(-1, keepdims=True)
                np.exp(scores, out=scores)
                scores /= scores.sum(-1, keepdims=True)
                out[part, group] = np.einsum("stu,ud->tsd", scores, values[:, group], optimize=True)
        return out.reshape(n, -1)

    def _hidden(self, places: NDArray[Any], n: int) -> NDArray[np.bool_]:
        """Which of `n` tokens those at some places do not see."""
        seen = np.arange(n)
        hidden: NDArray[np.bool_] = seen[None, :] > places[:, None]
        if self._window is not None:
            hidden |= seen[None, :] <= places[:, None] - self._window
        return hidden

    def _turned(self, x: Array) -> Array:
        """Queries or keys (tokens, heads, head size), turned by their places."""
        angles = np.outer(np.arange(len(x)), self._turns)[:, None]
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate((first * cos - second * sin, second * cos + first * sin), -1)

    def _normed(self, x: Array, name: str) -> Array:
        gain = self._mean(self._sources(name), 0, self.shape.hidden)
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.shape.epsilon))
        return np.asarray(x / scale * gain, np.float32)

    def _product(self, x: Array, name: str) -> Array:
        """x @ matrix.T"""
        sources = self._sources(name)
        rows, columns = sources[0].shape
        out = np.empty((len(x), rows), np.float32)
        step = max(1, _SLICE // columns)
        for first in range(0, rows, step):
            count = min(step, rows - first)
            out[:, first : first + count] = (
                x @ self._mean(sources, first * columns, count * columns).reshape(count, -1).T
            )
        return out

    def _sources(self, name: str) -> list[Source]:
        self._scratch.blocks.clear()  # it knows sources by their ids, which new ones may have again
        return [parent.source(name) for parent in self._parents]

    def _mean(self, sources: Sequence[Source], start: int, size: int) -> Array:
        """Elements of the mean of tensors; the array is good until the next call."""
        out = self._scratch.take("mean", size)
        sources[0].read(start, out, self._scratch)
        if len(sources) > 1:
            term = self._scratch.take("term", size)
            for source in sources[1:]:
                source.read(start, term, self._scratch)
                out += term
            out /= len(sources)
        if not np.isfinite(out).all():
            raise InputError(f"{sources[0].label}: hidden states cannot be computed, as weights are no numbers.")
        return out


def _frequencies(shape: Shape) -> NDArray[np.float64]:
    """Radians a token by which each pair of a head's elements is turned.

    Raises:
        InputError: if they are scaled in a way that is not known here.
    """
    plain = shape.theta ** (-np.arange(0, shape.head, 2) / shape.head)
    rope = json.loads(shape.rope)
    kind = rope.get("rope_type", "default")
    try:
        if rope.get("partial_rotary_factor", 1) not in (1, None):
            raise KeyError(kind)
        if kind == "default":
            return np.asarray(plain)
        factor = float(rope["factor"])
        if kind == "linear":
            return np.asarray(plain / factor)
        if kind != "llama3":
            raise KeyError(kind)
        # turns within the length it was trained on: where many nothing changes, where few all are slowed, smoothly so
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        turns = float(rope["original_max_position_embeddings"]) * plain / (2 * math.pi)
        share = np.clip((turns - low) / (high - low), 0, 1)
        return np.asarray(plain * (share + (1 - share) / factor))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"hidden states of a model with rotations of type '{str(kind)[:40]}' cannot be computed.",
                         hint="Use router embedding.") from error  # fmt: skip
