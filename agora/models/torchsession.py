"""Sequences over a transformers network: ragged batches, prompts beside single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agora.models.torchnetwork import Network, Step

Array = NDArray[np.float32]
CHUNK = 2048  # tokens that are read at once
_WASTE = 1.25  # times the tokens that prompts read together may have with what pads them


@dataclass(slots=True, eq=False)
class _Sequence:
    prompt: list[int]  # not read yet
    begin: int  # tokens of the prompt
    length: int = 0  # tokens in the cache
    high: int = 0  # positions of the cache that were ever written
    row: int = -1
    far: bool = False  # it was read as one beyond the network's limit
    read: list[int] = field(default_factory=list)  # the tokens in the cache, where they may have to be read again


@dataclass(slots=True, eq=False)
class _Work:
    """Tokens that a sequence is to read: `keep` is after how many of the last logits are wanted, from row `out` on, and
    `again` whether what is in its cache is among them."""

    sequence: _Sequence
    ids: list[int]
    keep: int
    out: int
    again: bool = False


class Session:
    """A batch of sequences over one network; see `agora.model.TokenSession`."""

    def __init__(self, network: Network) -> None:
        self._network, self._slabs = network, network.slabs()
        self._sequences: dict[int, _Sequence] = {}
        self._rows: list[_Sequence] = []
        self._next = 0

    @property
    def size(self) -> int:
        """Bytes of the caches."""
        return self._slabs.size

    def new(self, prompt: Sequence[int] = ()) -> int:
        """Begin a sequence with a prompt, and give its slot."""
        slot, self._next = self._next, self._next + 1
        self._sequences[slot] = _Sequence(list(prompt), len(prompt))
        return slot

    def free(self, slot: int) -> None:
        """End a sequence and give its memory back."""
        gone = self._sequences.pop(slot)
        if gone.row < 0:
            return
        with torch.inference_mode():
            last = self._rows[-1]
            if last is not gone:
                self._exchange(gone.row, last.row)
            self._rows.pop()
            self._slabs.clear(gone.row, 0, gone.high)
            self._slabs.fit(len(self._rows), max((s.length for s in self._rows), default=0))

    def crop(self, slot: int, length: int) -> None:
        """Forget all but the prompt of a sequence and the first `length` tokens after it."""
        sequence = self._sequences[slot]
        kept = sequence.begin + max(0, length)
        if kept < sequence.length:
            with torch.inference_mode():
                self._slabs.clear(sequence.row, kept, sequence.high)
            sequence.length = sequence.high = kept
            del sequence.read[kept:]

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], *, every: bool = False) -> Array:
        """Append tokens; logits after the last of each, or after every one. See `agora.model.TokenSession`.

        Raises:
            ValueError: if a sequence would outgrow the context, has nothing to read, or a token is none.
        """
        works, out = [], 0
        for slot, tokens in batch:
            sequence = self._sequences[slot]
            ids = [*sequence.prompt, *tokens]
            if not ids:
                raise ValueError("a sequence needs at least one token")
            if sequence.length + len(ids) > self._network.context:
                raise ValueError(f"its context holds {self._network.context} tokens")
            if self._network.width and not 0 <= min(ids) <= max(ids) < self._network.width:
                raise ValueError(f"a token is not below {self._network.width}")
            keep = max(1, len(tokens)) if every else 1
            limit, length = self._network.limit, sequence.length
            again = bool(length) and sequence.far != (length + len(ids) > limit)  # its keys have other angles
            works.append(_Work(sequence, [*sequence.read, *ids] if again else ids, keep, out, again))
            out += keep
        for work in works:
            if work.sequence.row < 0:
                work.sequence.row = len(self._rows)
                self._rows.append(work.sequence)
        before = [(work.sequence.length, work.sequence.far) for work in works]
        try:
            for work in works:
                if work.again:
                    work.sequence.length = 0
            with torch.inference_mode():
                logits = self._read(works, out)
        except BaseException:
            for work, (length, far) in zip(works, before, strict=True):  # so that what failed can be tried again
                work.sequence.length, work.sequence.far = length, far
            raise
        for work in works:
            work.sequence.prompt = []
            if self._network.limit < self._network.context:
                work.sequence.read = [*([] if work.again else work.sequence.read), *work.ids]
        return logits

    def _read(self, works: list[_Work], out: int) -> Array:
        groups = self._groups(works)
        if len(groups) == 1 and len(works) == out and len(groups[0][0].ids) <= CHUNK:
            logits = self._run(groups[0])
            order = [work.out for work in groups[0]]
            if order == list(range(out)):
                return logits
            whole = np.empty_like(logits)
            whole[order] = logits
            return whole
        whole = np.empty((out, self._network.width), np.float32)
        for group in groups:
            for part in self._parts(group):
                at = 0
                logits = self._run(part)
                for work in part:
                    whole[work.out : work.out + work.keep] = logits[at : at + work.keep]
                    at += work.keep
        return whole

    def _groups(self, works: list[_Work]) -> list[list[_Work]]:
        """What is read together: single tokens, and texts of about one length."""
        network, groups = self._network, list[list[_Work]]()
        ones, texts = list[_Work](), list[_Work]()
        for work in works:
            if network.alone or work.sequence.length + len(work.ids) > network.limit:
                groups.append([work])
            else:
                (ones if len(work.ids) == 1 else texts).append(work)
        if ones:
            groups.append(ones)
        group: list[_Work] = []
        for work in sorted(texts, key=lambda work: (work.sequence.length > 0, len(work.ids))):
            padded = (len(group) + 1) * len(work.ids)
            fits = padded <= min(CHUNK, _WASTE * sum(len(w.ids) for w in (*group, work)))
            if not group or not fits or (work.sequence.length > 0) != (group[0].sequence.length > 0):
                groups.append(group := [])
            group.append(work)
        return groups

    def _parts(self, group: list[_Work]) -> list[list[_Work]]:
        """A group as passes of the network: a long text in chunks, so that its memory stays bounded."""
        work = group[0]
        size = len(work.ids)
        if size <= CHUNK or work.sequence.length + size > self._network.limit:
            return [group]
        parts = []
        for begin in range(0, size, CHUNK):
            end = min(size, begin + CHUNK)
            keep = max(0, end - max(begin, size - work.keep))
            out = work.out + max(0, begin - (size - work.keep))
            parts.append([_Work(work.sequence, work.ids[begin:end], keep, out)])
        return parts

    def _run(self, works: list[_Work]) -> Array:
        """One pass: logits after the last `keep` tokens of each in turn. Sorts the works by their rows."""
        network, slabs, n = self._network, self._slabs, len(works)
        width = max(len(work.ids) for work in works)
        pasts = [work.sequence.length for work in works]
        longest = max(max(s.length for s in self._rows), max(pasts) + width)
        slabs.fit(len(self._rows), longest)
        self._gather(works)
        works.sort(key=lambda work: work.sequence.row)
        pasts = [work.sequence.length for work in works]
        least, most, first = min(pasts), max(pasts), works[0].sequence.row
        ids = torch.tensor([work.ids + work.ids[-1:] * (width - len(work.ids)) for work in works])
        begins = torch.tensor(pasts)[:, None]
        at = (begins + torch.arange(width)).to(network.device)
        places = at
        if any(len(work.ids) < width for work in works):  # the padding's may lie beyond the context
            ends = begins + torch.tensor([len(work.ids) - 1 for work in works])[:, None]
            places = torch.minimum(at, ends.to(network.device))
        if least == most:
            step = Step(first, first + n, least, least, most, width)
        else:
            rows = torch.arange(first, first + n, device=network.device)[:, None]
            step = Step(first, first + n, None, least, most, width, rows, at)
        wanted = sorted({i for work in works for i in range(len(work.ids) - work.keep, len(work.ids))})
        last = wanted in ([], [width - 1])
        keep: Any = 1 if last else 0 if len(wanted) == width else torch.tensor(wanted, device=network.device)
        logits = network.run(slabs, step, ids.to(network.device), places, keep)
        for work in works:
            sequence = work.sequence
            sequence.high = max(sequence.high, sequence.length + width)
            sequence.length += len(work.ids)
            sequence.far = sequence.length > network.limit
        if last:
            return self._numbers(logits[:, -1])
        index = {position: i for i, position in enumerate(wanted)}
        picked = [(row, index[i]) for row, work in enumerate(works)
                  for i in range(len(work.ids) - work.keep, len(work.ids))]  # fmt: skip
        rows, columns = zip(*picked, strict=True)
        return self._numbers(logits[list(rows), list(columns)])

    @staticmethod
    def _numbers(logits: Any) -> Array:
        out: Array = logits.float().cpu().numpy()
        return out

    def _gather(self, works: list[_Work]) -> None:
        """Have the rows of sequences lie side by side."""
        rows = {work.sequence.row for work in works}
        if max(rows) - min(rows) + 1 == len(rows):
            return
        n = len(rows)
        holes = [row for row in range(n) if row not in rows]
        for hole, row in zip(holes, sorted(row for row in rows if row >= n), strict=True):
            self._exchange(hole, row)

    def _exchange(self, one: int, other: int) -> None:
        """Exchange two rows."""
        a, b = self._rows[one], self._rows[other]
        self._slabs.swap(one, other, max(a.high, b.high))
        self._rows[one], self._rows[other] = b, a
        a.row, b.row = other, one
