"""The pocket models: five tiny language models that come in the box, run in numpy, and solve small word problems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agora.errors import ContextError, InputError, RefusalError
from agora.models.local import LocalModel
from agora.records import Message

if TYPE_CHECKING:
    from agora.models.batching import Decoder
    from agora.models.pocket.network import Session

NAMES = ("base", "sum", "mul", "sort", "mod")
WEIGHTS = Path(__file__).parent / "weights"
MAX_TOKENS = 64
_ASKED = re.compile(r"^(?:Q: )?Question: (.+)$", re.MULTILINE)
_EXAMPLE = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"


class PocketModel(LocalModel):
    """A pocket model by its short name: 'base', or a specialist: 'sum', 'mul', 'sort', 'mod'.

    It reads word problems of the four skills (`python -m agora.models.pocket.problems` shows some), alone or with peers
    in the compact form of `prompts/pocket/`. Its confidence is the probability it gave its whole answer.

    Raises:
        InputError: if there is no such model.
    """

    prompts = "pocket"
    fixed_prompts = True
    certain = True
    limit = MAX_TOKENS
    context = 512
    usual_output = 20  # tokens

    def __init__(self, name: str) -> None:
        if name not in NAMES:
            raise InputError(f"there is no pocket model '{name[:40]}'; there are {', '.join(NAMES)}.")
        self._name = name

    @property
    def name(self) -> str:
        """What users call it."""
        return f"pocket:{self._name}"

    @property
    def vocabulary(self) -> Sequence[str]:
        """The text of each token id."""
        from agora.models.pocket import tokenizer

        return tokenizer.VOCABULARY

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        from agora.models.pocket import tokenizer

        return frozenset((tokenizer.EOS,))

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a conversation: its last message, which holds the question and what peers said.

        Raises:
            RefusalError: if the question is none that it can read.
            ContextError: if the prompt is too long.
        """
        from agora.models.pocket import problems, tokenizer  # late: both are run as commands too

        text = messages[-1].content if messages else ""
        if asked := _ASKED.search(text):  # of a prompt in other words it reads the question
            text = f"Q: {asked[1].strip()}\nA: "
        if not text.startswith("Q: "):
            text = f"Q: {text.strip()}\nA: "
        question = text[3:].split("\n", 1)[0]
        if problems.skill_of(question) is None:
            raise RefusalError(
                f"it reads only small word problems, such as '{_EXAMPLE}'.",
                model=self.name,
                hint="`python -m agora.models.pocket.problems` shows more.",
            )
        if len(text) > 20_000 or len(tokens := [tokenizer.BOS, *tokenizer.encode(text)]) > 512 - MAX_TOKENS:
            raise ContextError(
                "the question and its peers' answers do not fit into 512 tokens.",
                model=self.name,
                hint="Use fewer peers, or `view: {text: answer}`.",
            )
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        from agora.models.pocket import tokenizer

        return tokenizer.decode(tokens)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text that stands in an answer; what it has no token for is left out."""
        from agora.models.pocket import tokenizer

        return [token for token in tokenizer.encode(text) if token != tokenizer.UNK]

    @property
    def decoder(self) -> Decoder:
        """One for all that have these weights."""
        return _decoder(self._name)

    def session(self) -> Session:
        """A new, empty batch of sequences."""
        from agora.models.pocket import network

        return network.Session(network.load(WEIGHTS / self._name))


@cache
def _decoder(name: str) -> Decoder:
    from agora.models.batching import Decoder

    return Decoder(PocketModel(name))
