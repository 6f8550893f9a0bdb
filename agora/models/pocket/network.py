"""Llama inference in numpy for the pocket models: weights from safetensors, a cache per sequence, ragged batches."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError

Array = NDArray[np.float32]


@lru_cache(maxsize=8)
def load(folder: Path) -> Weights:
    """The weights in a folder, loaded once a process.

    Raises:
        InputError: if a file is missing or damaged.
    """
    return Weights(folder)


def read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file as float32.

    Raises:
        ValueError: if the file is not one, or is cut short.
    """
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise ValueError("its header is cut short")
    header: dict[str, Any] = json.loads(raw[8 : 8 + size])
    types = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if 8 + size + end > len(raw):
            raise ValueError(f"tensor {name} is cut short")
        data = np.frombuffer(raw[8 + size + begin : 8 + size + end], types[entry["dtype"]])
        tensors[name] = data.astype(np.float32).reshape(entry["shape"])
    return tensors


class Weights:
    """The tensors of one checkpoint, transposed and joined for row-vector products."""

    def __init__(self, folder: Path) -> None:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = read_safetensors(folder / "model.safetensors")
            self.width: int = config["hidden_size"]
            self.heads: int = config["num_attention_heads"]
            self.context: int = config["max_position_embeddings"]
            self.epsilon: float = config["rms_norm_eps"]
            self.embedding = tensors["model.embed_tokens.weight"]
            self.unembedding = np.ascontiguousarray(self.embedding.T)
            self.norm = tensors["model.norm.weight"]
            self.layers = [self._layer(tensors, f"model.layers.{i}.") for i in range(config["num_hidden_layers"])]
            theta = float(config["rope_theta"])
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"the pocket model in {folder} cannot be loaded: {error}.") from error
        self.head = self.width // self.heads
        angles = np.outer(np.arange(self.context), theta ** (-np.arange(0, self.head, 2) / self.head))
        self.cos = np.concatenate((np.cos(angles), np.cos(angles)), -1).astype(np.float32)
        self.sin = np.concatenate((-np.sin(angles), np.sin(angles)), -1).astype(np.float32)

    def _layer(self, tensors: dict[str, Array], prefix: str) -> tuple[Array, ...]:
        def matrix(*names: str) -> Array:
            return np.ascontiguousarray(np.concatenate([tensors[f"{prefix}{n}.weight"] for n in names]).T)

        first, second = (tensors[f"{prefix}{n}.weight"] for n in ("input_layernorm", "post_attention_layernorm"))
        # the norms' gains are folded into the matrices that follow them, and so is the scale of the scores
        qkv = first[:, None] * matrix(*(f"self_attn.{n}_proj" for n in "qkv"))
        qkv[:, : self.width] *= (self.width // self.heads) ** -0.5
        return (
            np.ascontiguousarray(qkv),
            matrix("self_attn.o_proj"),
            np.ascontiguousarray(second[:, None] * matrix("mlp.gate_proj", "mlp.up_proj")),
            matrix("mlp.down_proj"),
        )


class Session:
    """A batch of sequences over one set of weights; see `agora.model.TokenSession`."""

    def __init__(self, weights: Weights, slots: int = 1) -> None:
        self.weights = weights
        self.lengths: list[int] = []
        self._prompts: dict[int, list[int]] = {}  # not read yet
        self._begins: dict[int, int] = {}  # tokens of the prompt
        self._free: list[int] = []
        self._keys: Array
        self._values: Array
        self._room(slots)

    def _room(self, slots: int) -> None:
        """Grow the caches to `slots` sequences: (layers, slots, heads, context, head size)."""
        w, have = self.weights, len(self.lengths)
        shape = (len(w.layers), slots, w.heads, w.context, w.head)
        # zeros, not whatever lies in memory: what a mask hides is computed all the same, and may be infinite
        keys, values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if have:
            keys[:, :have], values[:, :have] = self._keys, self._values
        self._keys, self._values = keys, values
        self._free.extend(range(slots - 1, have - 1, -1))
        self.lengths.extend([0] * (slots - have))

    def new(self, prompt: Sequence[int] = ()) -> int:
        """Begin a sequence with a prompt, and give its slot."""
        if not self._free:
            self._room(2 * len(self.lengths))
        slot = self._free.pop()
        self.lengths[slot], self._begins[slot] = 0, len(prompt)
        if len(prompt):
            self._prompts[slot] = list(prompt)
        return slot

    def free(self, slot: int) -> None:
        """End a sequence."""
        self._prompts.pop(slot, None)
        self._free.append(slot)

    def crop(self, slot: int, length: int) -> None:
        """Forget all but the prompt of a sequence and the first `length` tokens after it."""
        self.lengths[slot] = min(self.lengths[slot], self._begins[slot] + length)

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], *, every: bool = False) -> Array:
        """Append tokens; logits after the last of each, or after every one. See `agora.model.TokenSession`.

        Raises:
            ValueError: if a sequence would outgrow the context, or has nothing to read.
        """
        fed = [(slot, [*self._prompts.get(slot, ()), *tokens]) for slot, tokens in batch]
        for slot, tokens in fed:
            if not tokens:
                raise ValueError("a sequence needs at least one token")
            if self.lengths[slot] + len(tokens) > self.weights.context:
                raise ValueError(f"its context holds {self.weights.context} tokens")
        with _one_thread():
            out = self._every(batch, fed) if every else self._forward(fed)
        for slot, _ in batch:
            self._prompts.pop(slot, None)
        return out

    def _every(self, batch: Sequence[tuple[int, Sequence[int]]], fed: Sequence[tuple[int, Sequence[int]]]) -> Array:
        rows = [
            self._prefill(slot, tokens, max(1, len(own))) for (slot, tokens), (_, own) in zip(fed, batch, strict=True)
        ]
        return np.concatenate(rows)

    def _forward(self, batch: Sequence[tuple[int, Sequence[int]]]) -> Array:
        single = [i for i, (_, tokens) in enumerate(batch) if len(tokens) == 1]
        if len(single) == len(batch):
            return self._step([slot for slot, _ in batch], [tokens[0] for _, tokens in batch])
        out = np.empty((len(batch), len(self.weights.embedding)), np.float32)
        if single:
            out[single] = self._step([batch[i][0] for i in single], [batch[i][1][0] for i in single])
        for i, (slot, tokens) in enumerate(batch):
            if len(tokens) > 1:
                out[i] = self._prefill(slot, tokens)[0]
        return out

    def _prefill(self, slot: int, tokens: Sequence[int], rows: int = 1) -> Array:
        """Logits after the last `rows` tokens."""
        w, start = self.weights, self.lengths[slot]
        t, end = len(tokens), start + len(tokens)
        x = w.embedding[list(tokens)]
        cos, sin = w.cos[start:end], w.sin[start:end]
        hidden = np.arange(end)[None, :] > np.arange(start, end)[:, None]
        for i, (qkv, o, up, down) in enumerate(w.layers):
            h = (_rms(x, w.epsilon) @ qkv).reshape(t, 3, w.heads, w.head).transpose(1, 2, 0, 3)
            q, k = _rotate(h[0], cos, sin), _rotate(h[1], cos, sin)
            keys, values = self._keys[i, slot], self._values[i, slot]
            keys[:, start:end], values[:, start:end] = k, h[2]
            scores = q @ keys[:, :end].transpose(0, 2, 1)
            scores[:, hidden] = -np.inf
            y = _softmax(scores) @ values[:, :end]
            x = x + y.transpose(1, 0, 2).reshape(t, w.width) @ o
            x = x + _swiglu(_rms(x, w.epsilon) @ up) @ down
        self.lengths[slot] = end
        return np.asarray(_rms(x[-rows:], w.epsilon) * w.norm @ w.unembedding, np.float32)

    def _step(self, slots: list[int], tokens: list[int]) -> Array:
        w, n = self.weights, len(slots)
        at = np.array([self.lengths[slot] for slot in slots])
        longest = int(at.max()) + 1
        x = w.embedding[tokens]
        cos, sin = w.cos[at][:, None, None], w.sin[at][:, None, None]
        ragged = int(at.min()) + 1 != longest
        hidden = (np.arange(longest)[None, :] > at[:, None])[:, None, None, :] if ragged else None
        together = slots == list(range(slots[0], slots[0] + n))
        pick: Any = slice(slots[0], slots[0] + n) if together else slots
        for i, (qkv, o, up, down) in enumerate(w.layers):
            h = (_rms(x, w.epsilon) @ qkv).reshape(n, 3, w.heads, w.head)
            turned = _rotate(h[:, :2], cos, sin)  # queries and keys at once
            q = turned[:, 0]
            self._keys[i, slots, :, at] = turned[:, 1]
            self._values[i, slots, :, at] = h[:, 2]
            keys, values = self._keys[i, pick, :, :longest], self._values[i, pick, :, :longest]
            scores: Array = np.matmul(q[:, :, None], keys.swapaxes(-1, -2))
            if hidden is not None:
                np.copyto(scores, -np.inf, where=hidden)
                values = np.where(hidden.swapaxes(-1, -2), np.float32(0), values)  # stale memory may hold NaN
            y = np.matmul(_softmax(scores), values).reshape(n, w.width)
            x = x + y @ o
            x = x + _swiglu(_rms(x, w.epsilon) @ up) @ down
        for slot in slots:
            self.lengths[slot] += 1
        out: Array = np.asarray(_rms(x, w.epsilon) * w.norm @ w.unembedding, np.float32)
        return out


@lru_cache(maxsize=1)
def _openblas() -> tuple[Any, Any] | None:
    """Getter and setter of the threads of the OpenBLAS in the wheel of numpy; None where numpy has another BLAS."""
    home = Path(np.__file__).parent
    for folder in (home.parent / "numpy.libs", home / ".dylibs", home.parent / "numpy" / ".libs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
                try:
                    get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
                    return get, getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
                except AttributeError:
                    continue
    return None


_lock = threading.Lock()
_inside = _outside_threads = 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within it OpenBLAS uses one thread: on matrices this small its threads mostly wait for each other.

    The number belongs to the process, so whoever comes first notes it and whoever leaves last puts it back.
    """
    global _inside, _outside_threads
    blas = _openblas()
    if blas is None:
        yield
        return
    get, put = blas
    with _lock:
        if _inside == 0:
            _outside_threads = get()
            put(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                put(_outside_threads)


def _rms(x: Array, epsilon: float) -> Array:
    scale = np.sqrt(np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1]) + np.float32(epsilon))
    scaled: Array = (x / scale).astype(np.float32, copy=False)
    return scaled


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    swapped = np.empty_like(x)
    swapped[..., :half], swapped[..., half:] = x[..., half:], x[..., :half]
    swapped *= sin
    turned: Array = x * cos
    turned += swapped
    return turned


def _softmax(scores: Array) -> Array:
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def _swiglu(h: Array) -> Array:
    half = h.shape[1] // 2
    gate, up = h[:, :half], h[:, half:]
    out: Array = np.exp(-gate)
    out += 1
    np.divide(gate, out, out=out)
    out *= up
    return out
