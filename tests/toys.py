"""Token models whose next-token distribution is a function of the text so far, for exact cases."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agora.model import Prompt
from agora.models.local import LocalModel
from agora.records import Message

Rule = Callable[[str], Mapping[str, float]]
END = "<end>"
CHARACTERS = [*"abcdefghijklmnopqrstuvwxyz .,0123456789"]


class Toy(LocalModel):
    """A token model with a rule: text so far -> piece -> probability; pieces it leaves out have next to none.

    Attributes:
        fed: tokens that its sessions were given, all in all.
        open: slots that are not free.
        forwards_made: calls of `forward`.
        rows: sizes of their batches.
    """

    limit = 512
    name = ""
    vocabulary: list[str] = []

    def __init__(self, name: str, pieces: Sequence[str], rule: Rule, *, context: int = 10_000, wait: float = 0) -> None:
        self.name = name
        self.vocabulary = ["<begin>", *dict.fromkeys(pieces), END]
        self.rule, self.context, self.wait = rule, context, wait
        self.fed = self.open = self.forwards_made = 0
        self.rows: list[int] = []

    @property
    def stop_tokens(self) -> frozenset[int]:
        return frozenset([len(self.vocabulary) - 1])

    def encode(self, messages: Sequence[Message]) -> Prompt:
        return [0] * len(messages[-1].content) if messages else []

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary[t] for t in tokens if t not in (0, *self.stop_tokens))

    def session(self) -> ToySession:
        return ToySession(self)


class ToySession:
    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.slots: dict[int, list[int]] = {}
        self.prompts: dict[int, int] = {}
        self.unread: set[int] = set()

    def new(self, prompt: Prompt = ()) -> int:
        self.toy.open += 1
        slot = len(self.slots)
        self.slots[slot], self.prompts[slot] = list(prompt), len(prompt)
        if prompt:
            self.unread.add(slot)
        return slot

    def free(self, slot: int) -> None:
        self.toy.open -= 1

    def crop(self, slot: int, length: int) -> None:
        del self.slots[slot][self.prompts[slot] + length :]

    def forward(self, batch: Sequence[tuple[int, Sequence[int]]], *, every: bool = False) -> Any:
        toy, rows = self.toy, []
        toy.forwards_made += 1
        toy.rows.append(len(batch))
        if toy.wait:
            time.sleep(toy.wait)
        for slot, tokens in batch:
            prompt = self.prompts[slot] if slot in self.unread else 0
            self.unread.discard(slot)
            assert tokens or prompt
            if len(self.slots[slot]) + len(tokens) > toy.context:
                raise ValueError("the context is full")
            toy.fed += len(tokens) + prompt
            for token in tokens:
                self.slots[slot].append(token)
                if every:
                    rows.append(self._row(slot))
            if not every or not tokens:
                rows.append(self._row(slot))
        return np.stack(rows)

    def _row(self, slot: int) -> Any:
        toy = self.toy
        row = np.full(len(toy.vocabulary), -60.0, np.float32)
        for piece, p in toy.rule(toy.decode(self.slots[slot])).items():
            row[toy.vocabulary.index(piece)] = math.log(p) if p > 0 else p
        return row


def says(text: str, sure: float = 0.9, doubts: Mapping[int, float] | None = None, pieces: Sequence[str] = ()) -> Rule:
    """Writes a text, by characters or pieces, each with probability `sure`, at the given places with another; the rest
    is shared by all other characters. Where the text so far is not how it begins, it goes on at the same place."""

    def rule(so_far: str) -> Mapping[str, float]:
        at = len(so_far)
        p = (doubts or {}).get(at, sure)
        best = END if at >= len(text) else next((x for x in pieces if text.startswith(x, at)), text[at])
        others = [x for x in CHARACTERS if x != best]
        return {**dict.fromkeys(others, (1 - p) / len(others)), best: p}

    return rule


def char(name: str, text: str, sure: float = 0.9, doubts: Mapping[int, float] | None = None, **options: Any) -> Toy:
    """A toy of characters that says a text."""
    return Toy(name, CHARACTERS, says(text, sure, doubts), **options)
