"""Who goes on with a text: a `TokenModel` in this process, or a model that is asked step by step."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from agora import calls
from agora.errors import InputError, MalformedError, ModelError, RequestError
from agora.model import Model, Settings, TokenModel, derive_seed
from agora.models.continuing import Continues, Extended, Pause
from agora.models.tokenwriter import TokenWriter
from agora.models.wrappers import WithSettings
from agora.records import Message, Reply, Token, Usage

CHUNK = 16  # tokens of one request where the model may be told to pause
_MOST = 128  # to which that grows while it is not


def can_continue(model: Model) -> bool:
    """Whether a model can go on with a text."""
    return in_process(model) or bool(getattr(model, "continues", False))


def in_process(model: Model) -> bool:
    """Whether it does so in this process: a `TokenModel`, or a model with a method `extend` of its own."""
    # by name: what stands around a model has its attributes, and `isinstance` does not see them
    names = ("vocabulary", "stop_tokens", "encode", "decode", "session")
    return hasattr(model, "extend") or all(hasattr(model, name) for name in names)


def bare(model: Model) -> tuple[Model, Settings]:
    """A model without the settings that are pinned around it, and those settings."""
    pinned = Settings()
    while isinstance(model, WithSettings):
        pinned, model = pinned.over(model.pinned), model.inner
    return model, pinned


def writer(model: Model, at: str, *, asked: bool = False, chunk: int = CHUNK) -> Continues:
    """What goes on with a text as a model does, for one answer.

    Args:
        model: a `TokenModel`; a model that `continues` a conversation's last message where that is the assistant's; or
            one with a method `extend`.
        at: the place of its calls in the caller.
        asked: each step of a `TokenModel` is a call, too.
        chunk: tokens of one request where the model may be told to pause.

    Raises:
        InputError: if it cannot.
    """
    inner, pinned = bare(model)
    if hasattr(inner, "extend"):
        return cast(Continues, inner)
    if in_process(inner):
        here = TokenWriter(cast(TokenModel, inner), pinned)
        return AskedWriter(_Step(inner, here), at, scorer=here) if asked else here
    if getattr(inner, "continues", False):
        return AskedWriter(inner, at, pinned, chunk=chunk)
    raise InputError(f"{model.name} cannot go on with a text that another model has begun.",
                     hint="A model in the box can, and one behind a completions endpoint.")  # fmt: skip


class AskedWriter:
    """Goes on with a text by asking a model that `continues` its last message: each step is a call by
    `agora.calls.ask`, so that it is budgeted, journaled and replayed. What a reply holds beyond a pause is kept, and is
    used if the text comes to go on in the same way.

    Args:
        model: whom to ask.
        at: the place of its calls in the caller.
        pinned: settings over those of a call.
        scorer: what gives the log-probability of a given text.
        chunk: tokens of one request where it may be told to pause; more while it is not.
    """

    def __init__(
        self,
        model: Model,
        at: str,
        pinned: Settings = Settings(),
        *,
        scorer: TokenWriter | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self._model, self._at, self._pinned, self._scorer = model, at, pinned, scorer
        self._steps = 0
        self._size = self._chunk = chunk
        self._of: tuple[Message, ...] = ()
        self._base = ""  # the text before `_tokens`, which the model has said after it
        self._tokens: list[Token] = []
        self._done = 0  # of which so many were taken last
        self._ended = False

    @property
    def name(self) -> str:
        """The model's."""
        return self._model.name

    async def extend(
        self,
        messages: Sequence[Message],
        text: str,
        *,
        tokens: int,
        settings: Settings = Settings(),
        pause: Pause | None = None,
    ) -> Extended:
        """Go on. See `Continues`.

        Raises:
            ModelError: as the model; `usage` is what the steps before took.
            MalformedError: if it neither writes nor ends.
        """
        out: list[Token] = []
        spent, written = Usage(), ""
        while len(out) < tokens:
            at = self._found(tuple(messages), text + written)
            if at is None:
                wanted = tokens - len(out)
                try:
                    spent += await self._ask(tuple(messages), text + written, wanted, settings, pause is not None)
                except ModelError as error:
                    error.usage = spent + (error.usage or Usage())
                    raise
                at = 0
            for token in self._tokens[at:]:
                ends = self._ended and at == len(self._tokens) - 1
                if pause is not None and pause(token, ends):
                    self._done, self._size = at, self._chunk
                    return Extended(written, tuple(out), False, token, spent)
                at += 1
                self._done = at
                out.append(token)
                written += token.text
                if ends:
                    return Extended(written, tuple(out), True, None, spent)
                if len(out) == tokens:
                    break
            else:
                self._size = min(_MOST, 2 * self._size)
        return Extended(written, tuple(out), False, None, spent)

    async def score(self, messages: Sequence[Message], text: str, more: str, *, ended: bool) -> list[float]:
        """See `TokenWriter.score`.

        Raises:
            RequestError: if the model does not give them.
        """
        if self._scorer is None:
            raise RequestError("it does not say how likely a given text is.", model=self._model.name)
        return await self._scorer.score(messages, text, more, ended=ended)

    def close(self) -> None:
        """Give caches back."""
        if self._scorer is not None:
            self._scorer.close()

    def _found(self, messages: tuple[Message, ...], text: str) -> int | None:
        """From where on what the model has said already goes on with a text."""
        if messages != self._of or not text.startswith(self._base):
            return None
        if self._done == len(self._tokens) and not self._ended:
            return None
        places: list[int] = [self._done, *range(len(self._tokens))]
        for at in places:
            if at < len(self._tokens) and self._base + "".join(t.text for t in self._tokens[:at]) == text:
                return at
        return None

    async def _ask(
        self, messages: tuple[Message, ...], text: str, tokens: int, settings: Settings, pausing: bool
    ) -> Usage:
        given = self._pinned.over(settings)
        seed = None if given.seed is None else derive_seed(given.seed, self._at, self._steps)
        wanted = replace(
            given,
            max_tokens=min(tokens, self._size) if pausing else tokens,
            seed=seed,
            schema=None,  # a part of an answer satisfies none
            logprobs=max(int(pausing), given.logprobs or 0),  # so that it says what its tokens are
        )
        place = f"{self._at}/{self._steps}"
        self._steps += 1
        with calls.scope(stream=False):  # who watches is told the text as it grows, by whoever puts it together
            reply = await calls.ask(self._model, [*messages, Message("assistant", text)], wanted, at=place)
        ended = reply.finish != "length"
        found = list(aligned(reply.text, reply.tokens, ended=ended))
        if not found:
            error = MalformedError("it neither goes on with the text nor ends it.", model=self._model.name)
            error.usage = reply.usage
            raise error
        self._of, self._base, self._tokens, self._ended, self._done = messages, text, found, ended, 0
        return reply.usage


class _Step:
    """A `TokenModel` as a model that continues a conversation's last message."""

    def __init__(self, model: Model, here: TokenWriter) -> None:
        self._model, self._here = model, here
        self.name = model.name
        self.identity = str(getattr(model, "identity", model.name))
        if (cost := getattr(model, "cost", None)) is not None:
            self.cost = cost

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        done = await self._here.extend(messages[:-1], messages[-1].content, tokens=settings.max_tokens or CHUNK,
                                       settings=settings)  # fmt: skip
        return Reply(done.text, model=self.name, usage=replace(done.usage, calls=1), tokens=done.tokens,
                     finish="stop" if done.ended else "length")  # fmt: skip


def aligned(text: str, tokens: Sequence[Token], *, ended: bool) -> tuple[Token, ...]:
    """Tokens whose texts make up a text, as a server's need not: an end that it spells out or leaves out, characters
    that are cut in two. What does not fit becomes one token, as likely as its least likely part. Without tokens the
    words stand for them, of unknown probability.

    Args:
        text: the text.
        tokens: as the server says.
        ended: the model ended the text: then the last token stands for the end.
    """
    unknown = Token("", math.nan)
    if not tokens:
        words = [Token(word, math.nan) for word in re.findall(r"\s*\S+|\s+", text)]
        return (*words, *([unknown] if ended else []))
    found: list[Token] = []
    at = 0
    for i, token in enumerate(tokens):
        if at == len(text) and (token.text or i == len(tokens) - 1) and ended:
            return (*found, Token("", token.logprob, token.top))
        if not text.startswith(token.text, at):
            rest = tokens[i:]
            least = min(rest, key=lambda t: t.logprob)
            found.append(Token(text[at:], least.logprob, least.top))
            at = len(text)
            break
        found.append(token)
        at += len(token.text)
    if at < len(text):
        found.append(Token(text[at:], math.nan))
    return (*found, *([unknown] if ended else []))
