"""Going on with a text by a `TokenModel`: its own words and others', in one cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio.to_thread
import numpy as np

from agora.errors import ContextError, MalformedError, RequestError
from agora.model import Prompt, Settings, TokenModel
from agora.models.continuing import Extended, Pause
from agora.models.decoding import Logits, Spelling, greedy, likeliest, sample
from agora.records import Message, Token, Usage

_T = TypeVar("_T")


class TokenWriter:
    """Goes on with a text by a `TokenModel`. Its cache holds what it has read and written; as long as the text only
    grows nothing is read twice, and where the text has changed it is kept up to there.

    What the model wrote itself stays cut into tokens as it was. What others wrote is cut by the model's own
    `tokenize(text) -> list[int]`, if it has one, else into the longest pieces of its vocabulary; a character that is in
    none of them is left out of what the model reads. A run of others' words is cut anew when it grows.

    Args:
        model: the model.
        pinned: settings over those of a call.
    """

    def __init__(self, model: TokenModel, pinned: Settings = Settings()) -> None:
        self._model, self._pinned = model, pinned
        self._lock, self._closed = threading.Lock(), False
        self._session: Any = None
        self._slot = 0
        self._of: tuple[Message, ...] | None = None
        self._prompt: Prompt = ()
        self._ids: list[int] = []  # of the text
        self._fed: int | None = None  # of which the cache holds so many; None: not even the prompt
        self._row: Logits | None = None  # logits after the last
        self._text = ""
        self._ends: list[int] = []  # of the text's tokens: characters up to there
        self._own: list[bool] = []  # of the text's tokens: written by this model
        self._draws: Any = None
        self._seed: int | None = None
        self._read = self._drawn = 0

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
        """Go on, in one thread; greedily unless the settings have a temperature. See `Continues`.

        Raises:
            ContextError: if the text has outgrown the model's context.
            MalformedError: if the model gives NaN.
        """
        pinned = self._pinned.over(settings)
        return await self._thread(lambda gone: self._extend(tuple(messages), text, tokens, pinned, pause, gone))

    async def score(self, messages: Sequence[Message], text: str, more: str, *, ended: bool) -> list[float]:
        """The log-probability of each token of `more` after `text`, and of an end after that if it `ended`.

        Raises:
            ModelError: as `extend`.
        """
        return await self._thread(lambda gone: self._score(tuple(messages), text, more, ended, gone))

    def look(self, messages: Sequence[Message], text: str) -> Logits:
        """Logits after a text, (vocabulary,), in this thread.

        Raises:
            ContextError: if the text has outgrown the model's context.
        """
        with self._held():
            self._read = 0
            self._meet(tuple(messages), text)
            return self._logits()

    @property
    def read(self) -> int:
        """How many tokens that the model did not write itself the last look took."""
        return self._read

    def keep(self, token: int, piece: str) -> None:
        """Go on with a token after the text that was looked at last: it stays cut as the model would write it."""
        with self._held():
            self._append(token, piece, own=True)

    def close(self) -> None:
        """Give the cache back; a thread that is still at work does so when it notices."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                if self._session is not None:
                    self._session.free(self._slot)
                self._session = None
            finally:
                self._lock.release()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One thread at a time; the last gives the cache back if it has been closed meanwhile."""
        try:
            with self._lock:
                if self._closed:
                    raise RuntimeError("it has been closed")
                yield
        finally:
            if self._closed:
                self.close()

    async def _thread(self, work: Callable[[threading.Event], _T]) -> _T:
        gone = threading.Event()

        def locked() -> _T:
            with self._held():
                return work(gone)

        try:
            return await anyio.to_thread.run_sync(locked, abandon_on_cancel=True)
        finally:
            gone.set()

    def _extend(
        self,
        messages: tuple[Message, ...],
        text: str,
        tokens: int,
        settings: Settings,
        pause: Pause | None,
        gone: threading.Event,
    ) -> Extended:
        self._read = self._drawn = 0
        self._meet(messages, text)
        if self._draws is None or settings.seed != self._seed:
            self._draws, self._seed = np.random.default_rng(settings.seed), settings.seed
        most = max(settings.logprobs or 0, 1 if pause is not None else 0)
        ends = self._model.stop_tokens
        out: list[Token] = []
        ended, paused = False, None
        spelling = Spelling(self._model.decode, self._ids)
        while len(out) < tokens and not ended and not gone.is_set():
            drawn, logprob, top = self._draw(settings, most)
            ended = drawn in ends
            piece = "" if ended else spelling.piece(drawn)
            token = Token(piece, logprob, top)
            if pause is not None and pause(token, ended):
                ended, paused = False, token
                break
            out.append(token)
            if ended:
                break
            self._append(drawn, piece, own=True)
            spelling.add(drawn, piece)
        usage = Usage(0, self._read, self._drawn)
        return Extended("".join(token.text for token in out), tuple(out), ended, paused, usage)

    def _score(
        self, messages: tuple[Message, ...], text: str, more: str, ended: bool, gone: threading.Event
    ) -> list[float]:
        self._meet(messages, text)
        self._of = None  # until all of it has been read
        found: list[float] = []

        def logprob(tokens: Sequence[int]) -> float:
            best, logprob = self._best()
            row = self._logits()
            return max(float(row[token] - row[best]) for token in tokens) + logprob

        read = self._cut(more)
        for i, token in enumerate(read):
            if gone.is_set():
                return found
            found.append(logprob([token]))
            self._append(token, more if i == len(read) - 1 else "", own=False)
        self._ends[len(self._ends) - len(read) :] = [len(self._text)] * len(read)
        if ended:
            found.append(logprob(sorted(self._model.stop_tokens)))
        self._of = messages
        return found

    # -- what is in the cache

    def _meet(self, messages: tuple[Message, ...], text: str) -> None:
        """Have the tokens of the prompt and the text, and keep as much of the cache as agrees with them."""
        kept = 0
        if messages != self._of:
            prompt = self._model.encode(messages)
            if not len(prompt):
                raise RequestError("there is nothing to go on with: its prompt has no tokens.", model=self.name)
            if self._session is None or prompt != self._prompt:
                self._begin(prompt)
        else:
            same = _common(self._text, text)
            while kept < len(self._ends) and self._ends[kept] <= same:
                kept += 1
            if (self._ends[kept - 1] if kept else 0) < len(text):
                # others' words are cut anew with those that follow; half a character has come to nothing
                while kept and (not self._own[kept - 1] or self._empty(kept - 1)):
                    kept -= 1
        begin = self._ends[kept - 1] if kept else 0
        new = self._cut(text[begin:]) if begin < len(text) else []
        ids = [*self._ids[:kept], *new]
        if ids != self._ids:
            if self._fed is not None:
                fed = min(self._fed, _common(self._ids, ids))
                if fed < self._fed:
                    self._session.crop(self._slot, fed)
                self._fed = fed
            self._row = None
        self._of, self._ids, self._text = messages, ids, text
        self._ends[kept:] = [len(text)] * len(new)
        self._own[kept:] = [False] * len(new)

    def _begin(self, prompt: Prompt) -> None:
        if self._session is None:
            self._session = self._model.session()
        else:
            self._session.free(self._slot)
        self._slot = self._session.new(prompt)
        self._prompt, self._fed, self._row = prompt, None, None

    def _empty(self, i: int) -> bool:
        """Whether the text's token `i` has no text."""
        return self._ends[i] == (self._ends[i - 1] if i else 0)

    def _append(self, token: int, text: str, *, own: bool) -> None:
        self._ids.append(token)
        self._text += text
        self._ends.append(len(self._text))
        self._own.append(own)
        self._row = None

    def _logits(self) -> Logits:
        """Logits after the last token, (vocabulary,)."""
        if self._row is None:
            fed = self._fed
            if fed is not None and fed == len(self._ids):
                # the cache has no logits: the last token is read again, or, where there is none, the prompt
                if fed:
                    fed -= 1
                    self._session.crop(self._slot, fed)
                else:
                    self._session.free(self._slot)
                    self._slot, fed = self._session.new(self._prompt), None
            try:
                (self._row,) = self._session.forward([(self._slot, self._ids[fed or 0 :])])
            except ValueError as error:
                size = len(self._prompt) + len(self._ids)
                raise ContextError(f"it cannot read {size} tokens: {error}.", model=self.name) from error
            self._read += len(self._prompt) if fed is None else 0
            self._read += sum(not own for own in self._own[fed or 0 :])
            self._fed = len(self._ids)
        assert self._row is not None
        return self._row

    def _best(self) -> tuple[int, float]:
        """The likeliest next token and its log-probability."""
        (token,), (logprob,) = greedy(self._logits()[None])
        if not math.isfinite(logprob):
            raise MalformedError("it gave NaN for the next token.", model=self.name)
        return token, logprob

    def _draw(self, settings: Settings, most: int) -> tuple[int, float, tuple[tuple[str, float], ...]]:
        """The next token, its log-probability, and those of the `most` likeliest."""
        best, logprob = self._best()
        token, row = best, self._logits()
        self._drawn += 1
        words = self._model.vocabulary
        top = tuple((words[i], p) for i, p in likeliest(row, logprob, best, most))
        if settings.temperature:
            token = sample(row, settings, float(self._draws.random()))
            logprob += float(row[token] - row[best])
        self._drawn -= token in self._model.stop_tokens
        return token, logprob, top

    # -- texts and tokens

    def _cut(self, text: str) -> list[int]:
        return tokens_of(self._model, text)


def tokens_of(model: TokenModel, text: str) -> list[int]:
    """The tokens of a text that stands in an answer: by the model's own `tokenize`, if it has one, else the longest
    pieces of its vocabulary; a character that is in none of them is left out."""
    own: Callable[[str], Sequence[int]] | None = getattr(model, "tokenize", None)
    if own is not None:
        return list(own(text))
    pieces, longest = pieces_of(model)
    found: list[int] = []
    at = 0
    while at < len(text):
        for size in range(min(longest, len(text) - at), 0, -1):
            if (token := pieces.get(text[at : at + size])) is not None:
                found.append(token)
                break
        else:
            size = 1
        at += size
    return found


def _common(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How much of their beginnings is the same."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    return next(i for i in range(size) if a[i] != b[i])


_known: WeakKeyDictionary[Any, tuple[Mapping[str, int], int]] = WeakKeyDictionary()


def pieces_of(model: TokenModel) -> tuple[Mapping[str, int], int]:
    """The token of each text of a vocabulary, without what is no text (ends, beginnings, padding, parts of characters),
    and the length of the longest."""
    if model not in _known:
        found: dict[str, int] = {}
        for token, text in enumerate(model.vocabulary):
            if not text or text in found or token in model.stop_tokens or "\ufffd" in text:
                continue
            if model.decode([token]).strip() == text.strip():  # at the beginning of a text some leave out a space
                found[text] = token
        _known[model] = (found, max(map(len, found), default=0))
    return _known[model]
