"""Writing one answer together: the draft that grows, and what every way to write it shares."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anyio.lowlevel

from agora import calls
from agora.errors import ContextError, MalformedError, ModelError
from agora.model import Model, Settings
from agora.models import endpoint
from agora.models.batching import post
from agora.models.continuing import Continues, Extended, Pause
from agora.models.decoding import stopped
from agora.models.writers import CHUNK, bare, can_continue, in_process, writer
from agora.records import Message, Reply, Token, Usage

LIMIT = 512  # tokens of an answer where nothing else is said


class Draft:
    """An answer while it is written.

    Attributes:
        text: so far.
        tokens: of it, as their writers cut it.
        ended: a writer has ended it, or it has come to a text that stops it.
        notes: what a reader of the answer should know.
        asked: replies of models that chose or judged.
        spans: (who, what) has been written, neighbours by one writer joined.
        counts: how many of the tokens each writer wrote.
        took: what each writer took.
        tally: figures for the reply's `route`.
    """

    def __init__(
        self, messages: Sequence[Message], settings: Settings, limit: int, writers: Mapping[str, Continues], text: str
    ) -> None:
        self.messages, self.settings, self._limit, self._writers = tuple(messages), settings, limit, writers
        self.text, self._begun = text, len(text)
        self.tokens: list[Token] = []
        self.ended = False
        self.notes: list[str] = []
        self.asked: list[Reply] = []
        self.spans: list[tuple[str, str]] = []
        self.took: dict[str, Usage] = {}
        self.counts: Counter[str] = Counter()
        self.tally: dict[str, int] = {}
        self._written = 0
        here = calls.current()
        self._listen = here.listen if here.stream else None

    @property
    def left(self) -> int:
        """Tokens that may still be written; 0 when it is over."""
        return 0 if self.ended else max(0, self._limit - self._written)

    @property
    def spent(self) -> Usage:
        """What it has taken."""
        return sum((*self.took.values(), *(reply.usage for reply in self.asked)), Usage())

    @contextmanager
    def threaded(self) -> Iterator[None]:
        """Within it the draft may grow in another thread; who listens is still told in this one."""
        loop, listen = anyio.lowlevel.current_token().native_token, self._listen
        if listen is not None:
            here = [True]

            def hear(told: calls.Wait | calls.Delta) -> None:
                if here:  # else who listens may be gone
                    listen(told)

            self._listen = lambda told: post(loop, partial(hear, told))
        try:
            yield
        finally:
            if listen is not None:
                here.clear()
            self._listen = listen

    def writer(self, who: str) -> Continues:
        """A writer."""
        return self._writers[who]

    async def ask(
        self, who: str, tokens: int, pause: Pause | None = None, *, after: str = "", top: int = 0
    ) -> Extended:
        """What a writer would go on with.

        Args:
            who: the writer.
            tokens: most.
            pause: where to stop before that.
            after: a text to put after the draft's first.
            top: alternatives of each token that `pause` needs.

        Raises:
            ModelError: if it cannot.
        """
        settings = self.settings
        if top > (settings.logprobs or 0):
            settings = replace(settings, logprobs=top)
        try:
            done = await self._writers[who].extend(self.messages, self.text + after, tokens=min(tokens, self.left),
                                                   settings=settings, pause=pause)  # fmt: skip
        except ModelError as error:
            self.charge(who, error.usage)
            error.usage = None
            raise
        self.charge(who, done.usage)
        return done

    def charge(self, who: str, usage: Usage | None) -> None:
        """Count what was taken for a writer."""
        if usage is not None:
            self.took[who] = self.took.get(who, Usage()) + usage

    def take(self, who: str, done: Extended) -> None:
        """Append what a writer goes on with, up to a text that stops the answer.

        Raises:
            MalformedError: if it is nothing at all: it would go on so for ever.
        """
        if not (done.tokens or done.text or done.ended or done.paused):
            raise MalformedError("it neither goes on with the text nor ends it.", model=self._writers[who].name)
        begin, self.text = len(self.text), self.text + done.text
        self.tokens += done.tokens
        self._written += len(done.tokens) - (done.ended and bool(done.tokens))
        self.counts[who] += sum(bool(token.text) for token in done.tokens)
        if self.spans and self.spans[-1][0] == who:
            self.spans[-1] = (who, self.spans[-1][1] + done.text)
        elif done.text:
            self.spans.append((who, done.text))
        # what was there before this answer began stops nothing
        found = stopped(self.text[self._begun :], self.settings.stop or (), begin - self._begun)
        self.ended = done.ended or found is not None
        if found is not None:
            self._cut(self._begun + found)
        if self._listen is not None and self.text[begin:]:
            self._listen(calls.Delta(self.text[begin:], begin == self._begun))
        elif self._listen is not None and begin > len(self.text):
            self._listen(calls.Delta(self.text[self._begun :], True))

    def _cut(self, length: int) -> None:
        """Leave out what is behind some characters: a text that stops the answer, which others may have begun."""
        over = len(self.text) - length
        self.text = self.text[:length]
        while self.spans and over:
            who, what = self.spans.pop()
            if len(what) > over:
                self.spans.append((who, what[:-over]))
            over = max(0, over - len(what))
        kept = length - self._begun
        while self.tokens and sum(len(token.text) for token in self.tokens) > kept:
            self.tokens.pop()

    async def go(self, who: str, tokens: int, pause: Pause | None = None, *, top: int = 0) -> Extended:
        """Have a writer go on, and append it.

        Raises:
            ModelError: if it cannot.
        """
        done = await self.ask(who, tokens, pause, top=top)
        self.take(who, done)
        return done

    def words(self, who: str) -> tuple[int, int]:
        """In how many words a writer has a part, and how many there are."""
        text, by = "".join(what for _, what in self.spans), bytearray()
        for name, what in self.spans:
            by += bytes([name == who]) * len(what)
        found = [match.span() for match in re.finditer(r"\S+", text)]
        return sum(any(by[begin:end]) for begin, end in found), len(found)


class Together(ABC):
    """What the ways to write together share: a model whose members write one answer.

    Where all members write in this process, an answer is one call: it is journaled and budgeted as a whole. Otherwise
    each step of each member is a call (`NAME/base/0`, ...), with the text so far as the assistant's message. An answer
    ends where its writer ends it, at a text of `settings.stop`, or with `settings.max_tokens`; it is cut there, too,
    where a member's context is full, and the reply's `warnings` say so. A conversation that ends with the assistant's
    message is gone on with, so that one of these can be a member of another.

    Args:
        writers: what each is called here -> model.
        asked: models that choose or judge.
        name: as a model.

    Raises:
        InputError: if a model cannot go on with a text that another has begun.
    """

    continues = True
    by_token = False  # what is written next depends on how likely a member finds its next token
    chunk = CHUNK
    forwards = 1  # forward passes that a token takes, about

    def __init__(self, writers: Mapping[str, Model], asked: Sequence[Model], name: str, identity: str) -> None:
        for model in writers.values():
            if not can_continue(model):
                writer(model, "")  # says why not
        self._writers, self._asked, self._name = dict(writers), tuple(asked), name
        self._whole = not asked and all(in_process(bare(model)[0]) for model in writers.values())
        own = [str(getattr(model, "identity", model.name)) for model in (*writers.values(), *asked)]
        self.identity = f"{identity} of {own}"

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def members(self) -> tuple[Model, ...]:
        """Who writes, and who chooses."""
        return (*self._writers.values(), *self._asked)

    @property
    def prompts(self) -> str | None:
        """The style of templates that all writers share."""
        styles = {getattr(model, "prompts", None) for model in self._writers.values()}
        return styles.pop() if len(styles) == 1 else None

    @property
    def fixed_prompts(self) -> bool:
        """Whether a writer understands those alone."""
        return any(getattr(model, "fixed_prompts", False) for model in self._writers.values())

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The answer that the members write.

        Raises:
            ModelError: if one of them fails.
        """
        if self._whole:
            return await calls.ask(_Whole(self), messages, settings, at="write")
        return await self.written(messages, settings)

    async def written(self, messages: Sequence[Message], settings: Settings) -> Reply:
        """As `answer`, in the call that this is part of."""
        said, begun = list(messages), ""
        going_on = bool(said) and said[-1].role == "assistant"
        if going_on:
            begun = said.pop().content
        schema = None if self.fixed_prompts or going_on else settings.schema
        if schema is not None:
            said = endpoint.asking_for(schema, said)
        limits = [bare(model)[1].max_tokens for model in self._writers.values()]
        limit = min((n for n in (settings.max_tokens, *limits) if n is not None), default=self._limit())
        if ends := [end for model in self._writers.values() for end in getattr(bare(model)[0], "ends", ())]:
            settings = replace(settings, stop=tuple(dict.fromkeys((*(settings.stop or ()), *ends))))
        if self.by_token and not self._whole and (stand_in := calls.current().stand_in) is not None:
            return await self._rehearsed(said, begun, replace(settings, max_tokens=limit), stand_in)
        hands: dict[str, Continues] = {}
        draft = Draft(said, replace(settings, max_tokens=None, schema=None), limit, hands, begun)
        try:
            for who, model in self._writers.items():
                hands[who] = self._hand(who, model)
            try:
                await self._write(draft)
            except ContextError as error:
                if len(draft.text) == len(begun):
                    raise
                draft.notes.append(f"cut short: {calls.sentence(error)}")
            return self._reply(draft, begun, schema, going_on)
        except ModelError as error:
            if not self._whole:
                spent = draft.spent + (error.usage or Usage())
                error.usage = spent if spent.calls else None
            raise
        finally:
            for hand in hands.values():
                if (close := getattr(hand, "close", None)) is not None:
                    close()

    def _reply(self, draft: Draft, begun: str, schema: Mapping[str, object] | None, going_on: bool) -> Reply:
        finish = "stop" if draft.ended else "length"
        text = draft.text[len(begun) :]
        if not going_on:
            text = endpoint.usable(text.strip(), model=self.name, key="", finish=finish)
        if schema is not None:
            text = endpoint.held_to(schema, text, self.name)
        known = [token.logprob for token in draft.tokens]
        most = draft.settings.logprobs
        shown = draft.tokens if going_on else [token for token in draft.tokens if token.text]
        parts = [
            Reply(
                " ... ".join(what.strip() for by, what in draft.spans if by == who),
                model=self._writers[who].name,
                usage=took,
            )
            for who, took in draft.took.items()
        ]
        return Reply(
            text,
            model=self.name,
            usage=replace(draft.spent, calls=1) if self._whole else draft.spent,
            parts=(*draft.asked, *parts),
            logprob=sum(known) / len(known) if known and not any(map(math.isnan, known)) else None,
            finish=finish,
            tokens=() if most is None else tuple(replace(token, top=token.top[:most]) for token in shown),
            route=self._route(draft),
            warnings=tuple(dict.fromkeys(draft.notes)),
        )

    async def _rehearsed(
        self, messages: Sequence[Message], begun: str, settings: Settings, stand_in: calls.StandIn
    ) -> Reply:
        """What an answer takes at the most, a request of each member for every token, or at the least."""
        spent, last = Usage(), Reply("", model=self.name)
        here = self.members
        for who, model in self._writers.items():
            if model not in here:
                continue
            tokens = stand_in.tokens(model, settings)
            size = min(self.chunk, tokens)
            for step in range(0, tokens, size if stand_in.frugal else 1):
                text = begun + "lore" * step  # a token is taken to be four characters
                wanted = replace(settings, max_tokens=size)
                last = await calls.ask(model, [*messages, Message("assistant", text)], wanted, at=who)
                spent += last.usage
        return replace(last, model=self.name, usage=spent)

    def _limit(self) -> int:
        """Tokens of an answer where nothing is said."""
        return min(LIMIT, *(getattr(bare(model)[0], "limit", LIMIT) for model in self._writers.values()))

    def _hand(self, who: str, model: Model) -> Continues:
        """What writes for a member."""
        return writer(model, who, asked=not self._whole)

    @abstractmethod
    async def _write(self, draft: Draft) -> None:
        """Write until nothing is left."""

    @abstractmethod
    def _route(self, draft: Draft) -> tuple[str, str]:
        """How it was written."""

    def _called(self, who: str) -> str:
        return self._writers[who].name


class _Whole:
    """An answer of models in this process as one call."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self.name, self.identity = together.name, together.identity
        self.forwards = together.forwards

    def cost(self, usage: Usage) -> float | None:
        """What the dearest member would cost."""
        prices = [cost(usage) if callable(cost := getattr(m, "cost", None)) else None for m in self._together.members]
        known = [price for price in prices if price is not None]
        return max(known) if len(known) == len(prices) else None

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        return await self._together.written(messages, settings)
