"""Going on with a text, whoever has written it so far: the seam, and what a step of it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agora.model import Settings
from agora.records import Message, Token, Usage

Pause = Callable[[Token, bool], bool]
"""Asked of each token in turn before it is appended, and whether the model ends with it; True stops before it."""


@dataclass(frozen=True, slots=True)
class Extended:
    """What a model has appended to a text.

    Attributes:
        text: what was appended.
        tokens: as the model cut it; NaN log-probabilities where they are not known. Where it ended the text, the last
            stands for the end and has no text.
        ended: the model ended the text.
        paused: the token before which it was told to pause.
        usage: what it took, tokens that were not appended included; no calls where the model is in this process.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    ended: bool = False
    paused: Token | None = None
    usage: Usage = Usage()


class Continues(Protocol):
    """Goes on with a text. One answer at a time: what it keeps in its caches is of one conversation."""

    @property
    def name(self) -> str:
        """The model's."""
        ...

    async def extend(
        self,
        messages: Sequence[Message],
        text: str,
        *,
        tokens: int,
        settings: Settings = Settings(),
        pause: Pause | None = None,
    ) -> Extended:
        """Go on.

        Args:
            messages: the conversation that is answered.
            text: of the answer so far.
            tokens: most to append.
            settings: how to sample; with `logprobs` the tokens have so many alternatives.
            pause: where to stop before that.

        Raises:
            ModelError: if it cannot.
        """
        ...
