"""Networks of transformers with caches of one's own: each sequence's row is written at its own positions."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import cache_utils

from agora.errors import InputError

_ROUND = 32  # tokens by which a cache grows at least


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass of the network reads and where it goes.

    Attributes:
        first, last: rows of the cache, of which the last is not read.
        past: tokens that each has in its cache; None where they differ.
        least, most: the least and most that one has.
        width: tokens read of each.
        rows, at: where they go, where `past` differs: (rows, 1) and (rows, width).
    """

    first: int
    last: int
    past: int | None
    least: int
    most: int
    width: int
    rows: Any = None
    at: Any = None


class _Layer(cache_utils.CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer: (rows, heads, room, head size)."""

    def __init__(self, cache: Slabs, window: int | None) -> None:
        super().__init__()
        self.cache, self.window = cache, window
        self.is_sliding = window is not None

    def begin(self, step: Step) -> int:
        """The first position that a token of this step can see."""
        return 0 if self.window is None else max(0, step.least + 1 - self.window)

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        # zeros, not whatever lies in memory: what a mask hides is computed all the same, and may be NaN
        room = (self.cache.rows, key_states.shape[1], self.cache.room)
        self.keys = key_states.new_zeros((*room, key_states.shape[3]))
        self.values = value_states.new_zeros((*room, value_states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.keys is None:
            self.lazy_initialization(key_states, value_states)
        step, end = self.cache.step, self.cache.step.most + self.cache.step.width
        for slab, states in ((self.keys, key_states), (self.values, value_states)):
            if step.past is None:
                slab[step.rows, :, step.at] = states.transpose(1, 2)
            else:
                slab[step.first : step.last, :, step.past : end] = states
        here = (slice(step.first, step.last), slice(None), slice(self.begin(step), end))
        return self.keys[here], self.values[here]

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        step = self.cache.step
        begin = self.begin(step)
        return step.most + step.width - begin, begin

    def get_seq_length(self) -> int:
        return self.cache.step.most

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length


class Slabs(cache_utils.Cache):  # type: ignore[misc]
    """The caches of all layers. Memory is within four times what (rows, longest of them) takes."""

    def __init__(self, windows: Sequence[int | None]) -> None:
        self.rows = self.room = 0
        self.step = Step(0, 0, 0, 0, 0, 0)
        super().__init__(layers=[_Layer(self, window) for window in windows])

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(slab.numel() * slab.element_size() for slab in self._slabs())

    def _slabs(self) -> list[Any]:
        return [slab for layer in self.layers for slab in (layer.keys, layer.values) if slab is not None]

    def fit(self, rows: int, length: int) -> None:
        """Have room for so many sequences of so many tokens, and not much more."""
        need = -(-length // _ROUND) * _ROUND
        if not rows:
            self.rows = self.room = 0
            for layer in self.layers:
                layer.keys, layer.values, layer.is_initialized = None, None, False
            return
        more_rows, more_room = rows > self.rows, length > self.room
        if more_rows or more_room:
            if more_rows:
                self.rows = max(rows, 2 * self.rows if self._slabs() else 0)
            if more_room:
                self.room = max(need, 2 * self.room if self._slabs() else need + need // 4)
        elif self.rows * self.room > 4 * rows * need:
            self.rows, self.room = rows, need + need // 4
        else:
            return
        for layer in self.layers:
            for name in ("keys", "values"):
                if (old := getattr(layer, name)) is not None:
                    new = old.new_zeros((self.rows, old.shape[1], self.room, old.shape[3]))
                    here = (slice(min(self.rows, old.shape[0])), slice(None), slice(min(self.room, old.shape[2])))
                    new[here] = old[here]
                    setattr(layer, name, new)

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange the first `length` positions of two rows."""
        for slab in self._slabs():
            kept = slab[one, :, :length].clone()
            slab[one, :, :length] = slab[other, :, :length]
            slab[other, :, :length] = kept

    def clear(self, row: int, begin: int, end: int) -> None:
        """Forget positions of a row, so that what was there, which may be NaN, reaches nobody."""
        if begin < end:
            for slab in self._slabs():
                slab[row, :, begin:end] = 0


class Network:
    """A causal language model of transformers as a session uses it.

    Attributes:
        width: logits of a token.
        context: most tokens of a sequence.
        alone: its sequences cannot be read together, as it takes no positions or masks of one's own.

    Args:
        model: the network.
        context: most tokens of a sequence; default: as its configuration says.

    Raises:
        InputError: if layers keep other state than keys and values.
    """

    def __init__(self, model: Any, context: int | None = None) -> None:
        config = model.config.get_text_config()
        self.model, self.device = model, model.device
        known = set(inspect.signature(model.forward).parameters)
        self._cache = "cache" if "cache" in known else "past_key_values"
        self._keeps, self._placed = "logits_to_keep" in known, "position_ids" in known
        self._types = frozenset(getattr(config, "layer_types", None) or ())
        self._additive = torch.finfo(model.dtype).min if config._attn_implementation == "eager" else None
        plain = [cache_utils.DynamicLayer, getattr(cache_utils, "DummyLayer", None)]
        self._windows: list[int | None] = []
        for layer in cache_utils.DynamicCache(config=config).layers:
            sliding = type(layer) is cache_utils.DynamicSlidingWindowLayer
            if not sliding and type(layer) not in plain:
                raise InputError(f"its layers keep other state than keys and values ({type(layer).__name__}).")
            self._windows.append(int(layer.sliding_window) if sliding else None)
        if "chunked_attention" in self._types or getattr(config, "attention_chunk_size", None):
            raise InputError("its layers attend in chunks, which is not supported.")
        self.context: int = context or getattr(config, "max_position_embeddings", None) or 0
        # of several windows, or of one that the network applies by itself, no mask could be given
        several = len({window for window in self._windows if window is not None}) > 1
        mixed = len(set(self._windows)) > 1 and not self._types
        self.alone = not self._placed or several or mixed or bool(getattr(config, "window_size", None))
        ropes = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        kinds = {part.get("rope_type") for part in (ropes, *ropes.values()) if isinstance(part, dict)}
        # such angles depend on the longest sequence that is read together, so longer ones are read alone and whole
        name = "original_max_position_embeddings"
        older = getattr(config, name, None) or ropes.get(name)
        self.limit = int(older or self.context) if kinds & {"dynamic", "longrope"} else self.context
        self.width = 0
        self._examine()

    def slabs(self) -> Slabs:
        """Empty caches."""
        return Slabs(self._windows)

    def run(self, slabs: Slabs, step: Step, ids: Any, places: Any, keep: Any) -> Any:
        """Logits (rows, kept, width) of one pass.

        Args:
            slabs: the caches.
            step: what is read.
            ids: (rows, width).
            places: of each token: (rows, width).
            keep: after which positions logits are wanted: a number of the last (0: all), or a tensor.
        """
        slabs.step = step
        more: dict[str, Any] = {self._cache: slabs, "attention_mask": self._mask(slabs, step)}
        if self._placed:
            more["position_ids"] = places
        if self._keeps:
            more["logits_to_keep"] = keep
        logits = self.model(input_ids=ids, use_cache=True, **more).logits
        if self._keeps or (isinstance(keep, int) and keep == 0):
            return logits
        return logits[:, -keep:] if isinstance(keep, int) else logits[:, keep]

    def _mask(self, slabs: Slabs, step: Step) -> Any:
        """Who sees what; None where the network's own causal mask, if any, is right: it takes the fast path."""
        if step.past is not None:
            return None
        masks: dict[int | None, Any] = {}
        seen = torch.arange(step.most + step.width, device=self.device)
        for layer in slabs.layers:
            if layer.window in masks:
                continue
            there = seen[layer.begin(step) :]
            mask = there <= step.at[:, :, None]
            if layer.window is not None:
                mask &= there > step.at[:, :, None] - layer.window
            if self._additive is not None:
                mask = torch.zeros(mask.shape, dtype=self.model.dtype, device=self.device).masked_fill_(
                    ~mask, self._additive
                )
            masks[layer.window] = mask[:, None]
        if not self._types:
            return next(iter(masks.values()))
        full = masks.get(None)
        sliding = next((mask for window, mask in masks.items() if window is not None), None)
        return {kind: sliding if kind == "sliding_attention" else full for kind in self._types}

    def _examine(self) -> None:
        """Try a small ragged batch: a network that cannot read one gives wrong logits without a word.

        Raises:
            InputError: if even a sequence alone is read wrongly in two parts.
        """
        from agora.models.torchsession import Session  # late: it is built on this

        embedding = self.model.get_input_embeddings().weight.shape[0]
        size = min(24, self.context)
        draw = np.random.default_rng(0)
        texts = [[int(i) for i in draw.integers(0, embedding, n)] for n in (size, min(3, size))]
        with torch.inference_mode():
            wanted = [
                self.model(input_ids=torch.tensor([t], device=self.device), use_cache=False).logits[0, -1].float()
                for t in texts
            ]
        self.width = wanted[0].shape[-1]
        expected = torch.stack(wanted).cpu().numpy()
        span = float(np.ptp(expected)) or 1.0
        slack = 1e-3 if self.model.dtype == torch.float32 else 0.05  # of the range of the logits

        def right() -> bool:
            session = Session(self)
            slots = [session.new(), session.new()]
            found = [session.forward([(slots[i], text[:-1])])[0] for i, text in enumerate(texts) if text[:-1]]
            found = list(session.forward([(slots[i], text[-1:]) for i, text in enumerate(texts)]))
            # of a network whose weights give NaN nothing can be said
            return bool(np.isnan(expected).any() or np.abs(np.stack(found) - expected).max() <= slack * span)

        if not self.alone:
            try:
                self.alone = not right()
            except Exception:  # whatever a network raises that cannot
                self.alone = True
        if self.alone:
            try:
                fine = right()
            except Exception as error:
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                raise InputError(f"it cannot be read in parts; perhaps it keeps other state ({said}).") from error
            if not fine:
                raise InputError("read in two parts, a text gives other logits: it keeps state that is not supported.")
