"""Token models around a token model: a draft that is verified in blocks, a conversation without its context."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agora.errors import InputError
from agora.logit.fused import same_vocabulary, token_model
from agora.model import Model, Prompt, TokenModel, TokenSession
from agora.models.local import LocalModel
from agora.records import Message


class _Around(LocalModel):
    """A token model that is another one in all but what a subclass changes."""

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self.identity = str(getattr(model, "identity", model.name))
        for name in ("limit", "forwards", "certain", "fixed_prompts", "context", "prompts", "usual_output", "ends"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    @property
    def name(self) -> str:
        """The model's own."""
        return self._model.name

    @property
    def vocabulary(self) -> Sequence[str]:
        """The model's own."""
        return self._model.vocabulary

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The model's own."""
        return self._model.stop_tokens

    def encode(self, messages: Sequence[Message]) -> Prompt:
        """The model's own."""
        return self._model.encode(messages)

    def decode(self, tokens: Sequence[int]) -> str:
        """The model's own."""
        return self._model.decode(tokens)

    def session(self) -> TokenSession:
        """The model's own."""
        return self._model.session()

    def __getattr__(self, name: str) -> Any:
        if name in ("tokenize", "room", "vocabulary_key"):
            return getattr(self._model, name)
        raise AttributeError(name)


class Drafted(_Around):
    """A model that answers as it would by itself, token for token, sooner where the draft often agrees.

    After speculative decoding (Leviathan et al. 2022, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318).
    Differently from them a drafted token is accepted when it is the one that the model itself would have drawn, with
    the random number it would have drawn it by, so that a seed gives the same answer with a draft and without; both
    models draw by the same numbers, and mostly agree where their distributions do.

    Args:
        model: who answers; may be an ensemble.
        draft: who drafts, of the same vocabulary; may be a member of the ensemble.
        tokens: drafted at a time.

    Raises:
        InputError: if a model is no `TokenModel`, their vocabularies differ, or less than a token is drafted.
    """

    def __init__(self, model: Model, draft: Model, tokens: int = 4) -> None:
        if tokens < 1:
            raise InputError(f"draft: at least 1 token is drafted at a time, not {tokens}.")
        super().__init__(token_model(model, "draft"))
        drafter = token_model(draft, "draft")
        same_vocabulary([self._model, drafter], "draft")
        self.draft: tuple[TokenModel, int] = (drafter, tokens)


class Without(_Around):
    """A model that does not read what stands between two tags in a conversation.

    Args:
        model: the model.
        tag: such as 'context', for <context> and </context>.

    Raises:
        InputError: if the model is no `TokenModel`, or the tag is no word.
    """

    def __init__(self, model: Model, tag: str = "context") -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]{0,39}", tag):
            raise InputError(f"aware: the tag is a word such as 'context', not {tag[:40]!r}.")
        super().__init__(token_model(model, "aware"))
        self._begin, self._end = f"<{tag}>", f"</{tag}>"
        self.identity += f" without {tag}"

    def encode(self, messages: Sequence[Message]) -> Prompt:
        """The prompt of a conversation without what stands between the tags."""
        return self._model.encode([replace(m, content=self._bare(m.content)) for m in messages])

    def _bare(self, text: str) -> str:
        kept, at = [], 0
        while (begin := text.find(self._begin, at)) >= 0 and (end := text.find(self._end, begin)) >= 0:
            kept.append(text[at:begin])
            at = end + len(self._end)
        return "".join((*kept, text[at:]))
