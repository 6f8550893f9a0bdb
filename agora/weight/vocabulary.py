"""Rows of embeddings and output matrices, put into the order of the output's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError
from agora.weight.dtypes import Floats
from agora.weight.parents import Parent
from agora.weight.plan import Rows
from agora.weight.sources import BlockSource, Scratch, Source, checked
from agora.weight.tokens import Chosen

NAMES = (
    "embed_tokens.weight", "lm_head.weight", "lm_head.bias", "wte.weight", "word_embeddings.weight", "embed_in.weight",
    "embed_out.weight", "tok_embeddings.weight",
)  # fmt: skip
Place = tuple[str, int]  # a model and its row


class Vocabulary(Rows):
    """Of every model the rows in the order of the output's tokens.

    A row of a token is the model's own; of a token that it lacks, the row of where the recipe says the token is from;
    else of the one model that has it, else of the base if that has it, else the average of those that have it. Rows
    beyond the tokens, which pad, are the model's own, else those of the tokenizer's source, else the mean of that
    model's rows.

    Args:
        chosen: the output's tokenizer.
        parents: all models, by reference.
        base: the base's reference.
    """

    def __init__(self, chosen: Chosen, parents: Mapping[str, Parent], base: str | None) -> None:
        self.chosen, self.parents, self.base = chosen, parents, base
        self.tokens = {number: token for token, number in (chosen.ids or {}).items()}

    def source(self, parent: Parent, name: str, every: Mapping[str, Parent]) -> Source:
        """A model's tensor, its rows in the order of the output's vocabulary."""
        plain = parent.source(name)
        if self.chosen.ids is None or not name.endswith(NAMES) or not plain.shape:
            return plain
        checked(plain)
        reference = next(key for key, held in self.parents.items() if held is parent)
        own, other = self._places(reference, every, plain.shape[0])
        if len(own) == plain.shape[0] and not other and bool((own == np.arange(len(own))).all()):
            return plain
        return self._gathered(plain, name, reference, own, other)

    def _places(
        self, reference: str, every: Mapping[str, Parent], rows: int
    ) -> tuple[NDArray[np.int64], dict[int, list[Place]]]:
        """The model's own row for each row of the output, -1 where there is none; and what is averaged there."""
        ids = self.chosen.all[reference].ids or self.chosen.ids or {}
        taken = set(ids.values())
        own, other = np.full(self.chosen.rows, -1, np.int64), dict[int, list[Place]]()
        for row in range(self.chosen.rows):
            token = self.tokens.get(row)
            if token is None:
                if row < rows and row not in taken:
                    own[row] = row
                else:
                    other[row] = [(self.chosen.source, row)]
                continue
            rule = self.chosen.tokens.get(token)
            if ids.get(token, rows) < rows and not (rule and rule.force):
                own[row] = ids[token]
            elif rule and rule.source is not None:
                other[row] = self._told(token, rule.source)
            else:
                other[row] = self._usual(token, every)
        return own, other

    def _told(self, token: str, source: str | dict[str, Any]) -> list[Place]:
        if isinstance(source, str):
            return [(source, self._row(source, token))]
        if source.get("kind") == "zero":
            return []
        if source.get("kind") == "model_token" and ("token" in source) != ("token_id" in source):
            model = str(source.get("model"))
            if model in self.chosen.all:
                number = source.get("token_id")
                return [(model, number if isinstance(number, int) else self._row(model, str(source.get("token"))))]
        raise InputError(f"token '{token[:40]}': its source is a model, {{kind: zero}}, or "
                         "{kind: model_token, model: ..., token: ...}.")  # fmt: skip

    def _row(self, model: str, token: str) -> int:
        ids = self.chosen.all[model].ids
        if token not in ids:
            raise InputError(f"{model} has no token '{token[:40]}'.")
        return ids[token]

    def _usual(self, token: str, every: Mapping[str, Parent]) -> list[Place]:
        having = [key for key in every if token in self.chosen.all[key].ids]
        if len(having) > 1 and self.base in having:
            having = [self.base]  # type: ignore[list-item]
        return [(key, self.chosen.all[key].ids[token]) for key in sorted(having, key=lambda key: self.parents[key].key)]

    def _gathered(
        self, plain: Source, name: str, reference: str, own: NDArray[np.int64], other: dict[int, list[Place]]
    ) -> Source:
        shape = (self.chosen.rows, *plain.shape[1:])
        columns = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        kind: Any = np.float64 if plain.dtype == "F64" else np.float32
        scratch = Scratch()
        sources = {reference: plain}
        for places in other.values():
            for model, _ in places:
                there = self.parents[model].own(name)
                if model not in sources and there is not None:
                    sources[model] = self.parents[model].source(there)
        mean: list[Floats] = []

        def read(source: Source, row: int, out: Floats) -> None:
            source.read(row * columns, out, scratch)

        def average() -> Floats:
            if not mean:
                source = sources.get(self.chosen.source, plain)
                total, line = np.zeros(columns), np.empty(columns, kind)
                for row in range(source.shape[0]):
                    read(source, row, line)
                    total += line
                mean.append((total / max(1, source.shape[0])).astype(kind))
            return mean[0]

        def make(first: int, count: int) -> Floats:
            out = np.zeros((count, columns), kind)
            mine = own[first : first + count]
            breaks = np.flatnonzero((np.diff(mine) != 1) | (mine[:-1] < 0)) + 1
            for run in np.split(np.arange(count), breaks):
                if mine[run[0]] >= 0:
                    read(plain, int(mine[run[0]]), out[run[0] : run[-1] + 1].reshape(-1))
            line = np.empty(columns, kind)
            for k in np.flatnonzero(mine < 0):
                places = other[first + int(k)]
                for model, row in places:
                    source = sources.get(model)
                    if source is None:
                        raise InputError(f"{model} lacks tensor '{name[:80]}', which a token's row is to come from.")
                    if row < source.shape[0]:
                        read(source, row, line)
                    elif first + int(k) in self.tokens:
                        raise InputError(f"{model} has no row {row} in '{name[:80]}', only {source.shape[0]}.")
                    else:
                        line[:] = average()
                    out[k] += line / len(places)
            return out

        return BlockSource(shape, make, plain.label, plain.key, plain.dtype)
