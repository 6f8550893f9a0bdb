"""The seams: `Model` (anything that answers), `TokenModel` (one whose next-token logits can be read), `Settings`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from agora.records import Message, Reply

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sample. None means: not pinned here, so whoever is outside decides, else the model's own default.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus, 0 to 1.
        top_k: only the so many likeliest tokens.
        min_p: only tokens at least so likely, as a share of the likeliest, 0 to 1.
        max_tokens: most tokens to generate.
        seed: for models that sample reproducibly.
        stop: strings that end the answer.
        schema: a JSON Schema that the answer must satisfy.
        logprobs: report the log-probability of each token, and of this many alternatives (0: none).
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    logprobs: int | None = None
    top_k: int | None = None
    min_p: float | None = None

    def over(self, outer: Settings) -> Settings:
        """These settings where pinned, `outer`'s where not."""
        if self == _FREE:
            return outer
        return replace(outer, **self.pinned)

    def seeded(self, seed: int) -> Settings:
        """These settings with another seed."""
        return Settings(self.temperature, self.top_p, self.max_tokens, seed, self.stop, self.schema, self.logprobs,
                        self.top_k, self.min_p)  # fmt: skip

    @property
    def pinned(self) -> dict[str, Any]:
        """What is pinned, by name."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}


_FREE = Settings()
_NAMES = tuple(f.name for f in fields(Settings))


@runtime_checkable
class Model(Protocol):
    """Anything that answers: a vendor's API, an ensemble, a debate. Two members make one.

    A model may also have
      * `prompts`: the name of a folder of templates that it prefers to the default ones;
      * `fixed_prompts`: it understands these alone, so that no protocol's own words are put to it;
      * `members`: the models that it asks (through `agora.calls.ask`), so that each of their calls is budgeted and
        journaled by itself; a model without members is one call;
      * `identity`: a text that differs wherever the answers may (endpoint, pinned options); default: its name;
      * `cost(usage) -> float | None`: what a call costs in USD, None where the price is not known.
    """

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    async def answer(self, messages: Sequence[Message], settings: Settings = ...) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: if there is no usable reply.
        """
        ...


Prompt: TypeAlias = Sequence[int]
"""What a model reads before its answer. Of a plain model these are token ids; an ensemble has a prompt of each member
in it, as the members may write a conversation differently, and its length is that of all of them."""


class TokenSession(Protocol):
    """A batch of sequences with their caches. Sequences may come and go between calls; none affects another."""

    def new(self, prompt: Prompt = ()) -> int:
        """Begin a sequence with a prompt, as the model's `encode` gives it, and give its slot. Nothing is read yet."""
        ...

    def forward(
        self, batch: Sequence[tuple[int, Sequence[int]]], *, every: bool = False
    ) -> NDArray[np.floating[Any]]:
        """Append tokens to sequences; prefill and decoding are the same call.

        Args:
            batch: (slot, token ids) pairs, each slot at most once. The first time a sequence is in a batch its prompt
                is read before the tokens, of which there may then be none.
            every: give the logits after each of the tokens, not after the last alone.

        Returns:
            Logits after the last token of each: (len(batch), vocabulary). With `every`, of each in turn those after
            each of the tokens given, or after its prompt where none are given: (their number, vocabulary).

        Raises:
            ValueError: if a sequence would outgrow the context, or has nothing to read.
        """
        ...

    def crop(self, slot: int, length: int) -> None:
        """Forget all but the prompt of a sequence and the first `length` tokens after it."""
        ...

    def free(self, slot: int) -> None:
        """End a sequence and give its memory back."""
        ...


@runtime_checkable
class TokenModel(Model, Protocol):
    """A model whose next-token logits can be read, and so combined.

    It may also have
      * `tokenize(text) -> list[int]`: the tokens of a text that stands in an answer; default: the longest pieces of the
        vocabulary;
      * `context`: most tokens that a sequence can have, its prompt included.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """The text of each token id."""
        ...

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        ...

    def encode(self, messages: Sequence[Message]) -> Prompt:
        """The prompt of a conversation."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        ...

    def session(self) -> TokenSession:
        """A new, empty batch of sequences."""
        ...


def derive_seed(seed: int, *path: object) -> int:
    """A seed for one place of a run: 31 bits, the same for the same seed and path, independent otherwise."""
    digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
