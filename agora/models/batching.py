"""Answers of one `TokenModel` decoded together: a newcomer joins at the next token, a finished one leaves."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import anyio
import anyio.lowlevel
import numpy as np

from agora.errors import AgoraError, ContextError, MalformedError, ModelError, RequestError
from agora.model import Prompt, Settings, TokenModel, TokenSession
from agora.models.decoding import Logits, Spelling, greedy, likeliest, sample, stopped
from agora.records import Message, Token

ROWS = 64  # answers that are decoded together; more wait for their turn


@dataclass(eq=False)
class Job:
    """An answer to be decoded, and what has become of it.

    Attributes:
        messages: the conversation.
        settings: how to sample; a seed makes a sample reproducible.
        limit: most new tokens, where the settings do not say less.
        tell: is given the text piece by piece, in the thread that decodes.
        cancelled: nobody waits for it any more.
        prompt: of the conversation.
        tokens: ids, without a stop token.
        logprobs: of the tokens and of the stop token, under the model's own distribution.
        report: the tokens as records, where the settings ask for log-probabilities.
        text: of the answer.
        finish: 'stop' or 'length'.
        error: why there is no answer.
    """

    messages: Sequence[Message]
    settings: Settings
    limit: int
    tell: Callable[[str], None] | None = None
    cancelled: bool = False
    prompt: Prompt = ()
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    report: list[Token] = field(default_factory=list)
    text: str = ""
    finish: str = "length"
    error: BaseException | None = None


@runtime_checkable
class Shares(Protocol):
    """What the session of an ensemble can also say of its last `forward`."""

    def shares(self, row: int, token: int) -> tuple[tuple[tuple[str, float], ...], float | None]:
        """Of a row: who gave a token which log-probability, and how much the members disagree, 0 to 1."""
        ...

    def culprit(self, row: int) -> str | None:
        """Whose logits of a row held NaN."""
        ...


def room_of(model: TokenModel, prompt: Prompt) -> int | None:
    """The most tokens that an answer to a prompt can have, where its model has such a limit."""
    own: Callable[[Prompt], int | None] | None = getattr(model, "room", None)
    if own is not None:
        return own(prompt)
    context: int | None = getattr(model, "context", None)
    return None if context is None else context - len(prompt)


class _Row:
    """A job that is being decoded."""

    def __init__(self, job: Job, slot: int, limit: int, model: TokenModel) -> None:
        self.job, self.slot, self.limit = job, slot, limit
        self.feed: list[int] = []
        self.draft_slot, self.draft_read = -1, 0  # of the drafting model: its slot, and how many tokens it has read
        self.drafting = True
        self.told = 0  # characters that who listens has been told
        self._draw: np.random.Generator | None = None
        self.uniforms: deque[float] = deque()
        spelt = job.tell is not None or job.settings.stop or job.settings.logprobs is not None
        self.spelling = Spelling(model.decode) if spelt else None

    def tell(self, end: int) -> None:
        """Tell who listens the text up to some place."""
        if self.job.tell is not None and end > self.told:
            self.job.tell(self.job.text[self.told : end])
            self.told = end

    def uniform(self, at: int = 0) -> float:
        """The number that picks the `at`-th token from here on: the same however far ahead it is asked for."""
        if self._draw is None:
            self._draw = np.random.default_rng(self.job.settings.seed)
        while len(self.uniforms) <= at:
            self.uniforms.append(float(self._draw.random()))
        return self.uniforms[at]

    def pick(self, logits: Logits, likeliest: int, at: int = 0) -> int:
        """The `at`-th token from here on."""
        settings = self.job.settings
        return sample(logits, settings, self.uniform(at)) if settings.temperature else likeliest


class Batch:
    """Jobs that are decoded together, step by step.

    What an answer is does not depend on who else is in the batch: each has its own random numbers, and a sequence's
    logits are its own (to float rounding, as matrix products of other sizes round otherwise). A job that fails leaves
    alone: if a step fails, each is tried by itself.

    Args:
        model: the model. If it has `draft`, a (model, tokens) pair, that many tokens are drafted by the other model and
            verified at once; what comes out is what would without it, token for token.
    """

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self._stop = model.stop_tokens
        self._width = len(model.vocabulary)  # what a drafter pads its own with is no token here
        self._session: TokenSession = model.session()
        self.rows: list[_Row] = []
        drafting: tuple[TokenModel, int] | None = getattr(model, "draft", None)
        self._drafter: TokenModel | None
        self._drafter, self._ahead = drafting or (None, 0)
        self._drafts: TokenSession | None = self._drafter.session() if self._drafter is not None else None
        self._shares: Shares | None = None  # of the last forward, where the model is an ensemble

    def add(self, job: Job) -> bool:
        """Begin a job; False if it is over at once, with its `error` or nothing to write."""
        try:
            job.prompt = self._model.encode(job.messages)
            if not len(job.prompt):
                raise RequestError("there is nothing to answer: its prompt has no tokens.", model=self._model.name)
            room = room_of(self._model, job.prompt)
            if room is not None and room < 1:
                raise ContextError(
                    f"its prompt has {len(job.prompt)} tokens, which leaves no room for an answer.",
                    model=self._model.name,
                    hint="Show it less: fewer peers, or `view: {text: answer}`.",
                )
        except Exception as error:
            job.error = error
            return False
        wanted = job.limit if job.settings.max_tokens is None else min(job.limit, job.settings.max_tokens)
        limit = wanted if room is None else min(wanted, room)
        if limit < 1:
            return False
        try:
            row = _Row(job, -1, limit, self._model)
            row.slot = self._session.new(job.prompt)  # an ensemble may read the prompt here
        except Exception as error:
            self._fail_job(job, error)
            return False
        self.rows.append(row)
        return True

    def step(self) -> list[Job]:
        """Write at least one token of every job; those that are over."""
        over = self._leave(lambda row: row.job.cancelled)
        if self.rows:
            ahead = self._drafted() if self._drafts is not None else [[] for _ in self.rows]
            logits = self._forward(ahead)
            best, logprobs = greedy(logits)
            at = 0
            done = set()
            for row, draft in zip(self.rows, ahead, strict=True):
                size = 1 + len(draft)
                try:
                    over_ = row.job.error is not None or self._read(row, draft, logits, best, logprobs, at)
                except Exception as error:  # of this row alone: a seed, a tokenizer
                    self._fail(row, error)
                    over_ = True
                if over_:
                    done.add(row)
                at += size
            over += self._leave(done.__contains__)
        return over

    def _read(
        self, row: _Row, draft: Sequence[int], logits: Logits, best: list[int], logprobs: list[float], at: int
    ) -> bool:
        """Take the tokens that logits give, as far as the draft agrees; whether the job is over."""
        over = False
        for i in range(1 + len(draft)):
            if not math.isfinite(logprobs[at + i]):
                row.job.error = self._nan(row, at + i)
                return True
            token = row.pick(logits[at + i], best[at + i])
            over = self._take(row, token, logits[at + i], best[at + i], logprobs[at + i], at + i)
            if row.uniforms:
                row.uniforms.popleft()
            if over or (i < len(draft) and token != draft[i]):
                break
        if not over and draft:
            # the caches hold the draft: of it what agrees is kept, and the last token is still to be read
            kept = len(row.job.tokens) - 1
            self._session.crop(row.slot, kept)
            if self._drafts is not None and row.draft_read > kept:
                self._drafts.crop(row.draft_slot, kept)
                row.draft_read = kept
        row.feed = [row.job.tokens[-1]] if row.job.tokens else []
        return over

    def _take(self, row: _Row, token: int, logits: Logits, best: int, top: float, at: int) -> bool:
        """Append a token to its answer; whether that ends it."""
        job = row.job
        logprob = top if token == best else top + float(logits[token] - logits[best])
        job.logprobs.append(logprob)
        if token in self._stop:
            job.finish = "stop"
            if job.settings.logprobs is not None:
                job.report.append(self._token("", token, logits, logprob, row, at))
            return True
        job.tokens.append(token)
        if row.spelling is not None:
            piece = row.spelling.piece(token)
            row.spelling.add(token, piece)
            if job.settings.logprobs is not None:
                job.report.append(self._token(piece, token, logits, logprob, row, at))
            if self._written(row, piece):
                return True
        return len(job.tokens) >= row.limit

    def _token(self, piece: str, token: int, logits: Logits, logprob: float, row: _Row, at: int) -> Token:
        words = self._model.vocabulary
        top = tuple((words[i], p) for i, p in likeliest(logits, logprob, token, row.job.settings.logprobs or 0))
        by, disagreement = self._shares.shares(at, token) if self._shares is not None else ((), None)
        return Token(piece, logprob, top, by, disagreement)

    @staticmethod
    def _written(row: _Row, piece: str) -> bool:
        """Append a piece of text; whether it holds one that stops the answer, where the text is then cut."""
        job, begin = row.job, len(row.job.text)
        job.text += piece
        stops = job.settings.stop or ()
        found = stopped(job.text, stops, begin)
        if found is not None:
            job.text, job.finish = job.text[:found], "stop"
            while job.report and sum(len(token.text) for token in job.report) > len(job.text):
                job.report.pop()
        elif job.tell is not None and piece:
            # what may be the beginning of a text that stops is held back
            held = (n for stop in stops for n in range(len(stop) - 1, 0, -1) if job.text.endswith(stop[:n]))
            row.tell(len(job.text) - max(held, default=0))
        return found is not None

    # -- forward

    def _forward(self, ahead: Sequence[Sequence[int]]) -> Logits:
        """Logits after the last token of every row and after each of its drafted ones."""
        if hasattr(self._session, "together"):
            for row, draft in zip(self.rows, ahead, strict=True):
                most = self._session.together(row.slot) if draft else None
                if most is not None and most < len(row.feed) + len(draft):
                    del draft[max(0, most - len(row.feed)) :]  # type: ignore[attr-defined]
        drafted = any(ahead)
        self._shares = self._session if isinstance(self._session, Shares) else None
        batch = [(row.slot, [*row.feed, *draft]) for row, draft in zip(self.rows, ahead, strict=True)]
        try:
            return self._session.forward(batch, every=True) if drafted else self._session.forward(batch)
        except Exception as error:
            if len(self.rows) == 1:
                self._fail(self.rows[0], error)
                self.rows[0].slot, self._session = -1, self._model.session()
                return np.zeros((len(ahead[0]) + 1, 1), np.float32)
        return self._one_by_one(ahead)

    def _one_by_one(self, ahead: Sequence[Sequence[int]]) -> Logits:
        """As `_forward`, each by itself in a new session, to find out whose failure it is."""
        self._session, self._shares = self._model.session(), None
        found: list[Logits | None] = []
        for row, draft in zip(self.rows, ahead, strict=True):
            row.slot = -1
            try:
                row.slot = self._session.new(row.job.prompt)
                first = self._session.forward([(row.slot, row.job.tokens)])
                rest = [self._session.forward([(row.slot, [token])]) for token in draft]
                found.append(np.concatenate([first, *rest]))
            except Exception as error:
                self._fail(row, error)
                found.append(None)
        width = next((rows.shape[1] for rows in found if rows is not None), 1)
        return np.concatenate([
            rows if rows is not None else np.zeros((1 + len(draft), width), np.float32)
            for rows, draft in zip(found, ahead, strict=True)
        ])  # fmt: skip

    def _fail(self, row: _Row, error: Exception) -> None:
        self._fail_job(row.job, error)

    def _fail_job(self, job: Job, error: Exception) -> None:
        if not isinstance(error, AgoraError):
            at = f"at token {len(job.tokens) + 1}"
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            full = isinstance(error, ValueError) and "context" in str(error)
            made = (ContextError if full else ModelError)(f"it failed {at}: {said}.", model=self._model.name)
            made.__cause__ = error
            error = made
        job.error = error

    def _nan(self, row: _Row, at: int) -> MalformedError:
        whose = self._shares.culprit(at) if self._shares is not None else None
        who = f"its member {whose}" if whose else "it"
        error = MalformedError(f"{who} gave NaN at token {len(row.job.tokens) + 1}.", model=self._model.name)
        error.retryable = False  # it would again
        return error

    def _leave(self, over: Callable[[_Row], bool]) -> list[Job]:
        gone = [row for row in self.rows if over(row)]
        if gone:
            self.rows = [row for row in self.rows if not over(row)]
            for row in gone:
                if row.job.error is None:
                    row.tell(len(row.job.text))
                if row.slot >= 0:
                    self._session.free(row.slot)
                if self._drafts is not None and row.draft_slot >= 0:
                    self._drafts.free(row.draft_slot)
        return [row.job for row in gone]

    # -- drafting

    def _drafted(self) -> list[list[int]]:
        """What the other model would write next of each row; where it fails there is none, which costs speed alone."""
        found: dict[_Row, list[int]] = {row: [] for row in self.rows}
        rows = [row for row in self.rows if row.job.tokens and row.drafting]
        try:
            self._draft([row for row in rows if self._begun(row)], found)
        except Exception:
            self._sort_out(rows)
            found = {row: [] for row in self.rows}
        return list(found.values())

    def _begun(self, row: _Row) -> bool:
        """Whether the drafting model has a sequence for a row."""
        assert self._drafts is not None
        assert self._drafter is not None
        if row.draft_slot < 0:
            try:
                row.draft_slot = self._drafts.new(self._drafter.encode(row.job.messages))
            except Exception:
                row.drafting = False
        return row.drafting

    def _sort_out(self, rows: Sequence[_Row]) -> None:
        """Find out for which rows drafting fails, in a new session."""
        assert self._drafter is not None
        self._drafts = self._drafter.session()
        for row in rows:
            row.draft_slot, row.draft_read = -1, 0
            if self._begun(row):
                try:
                    self._drafts.forward([(row.draft_slot, row.job.tokens)])
                    row.draft_read = len(row.job.tokens)
                    self._drafts.crop(row.draft_slot, row.draft_read - 1)
                    row.draft_read -= 1
                except Exception:
                    row.drafting, row.draft_slot = False, -1

    def _draft(self, rows: list[_Row], found: dict[_Row, list[int]]) -> None:
        assert self._drafts is not None
        feed = {row: row.job.tokens[row.draft_read :] for row in rows}
        for step in range(self._ahead):
            rows = [row for row in rows if row.limit - len(row.job.tokens) > step + 1]  # one more is not drafted
            if not rows:
                return
            logits = self._drafts.forward([(row.draft_slot, feed[row]) for row in rows])[:, : self._width]
            best, logprobs = greedy(logits)
            going = []
            for i, row in enumerate(rows):
                row.draft_read += len(feed[row])
                if not math.isfinite(logprobs[i]) or (token := row.pick(logits[i], best[i], step)) in self._stop:
                    continue
                found[row].append(token)
                feed[row] = [token]
                going.append(row)
            rows = going


class Decoder:
    """One model's answers, decoded together in one thread that lives as long as there are any.

    Args:
        model: the model.
    """

    def __init__(self, model: TokenModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Job, Callable[[], None]]] = deque()
        self._running = False

    async def decode(self, job: Job) -> None:
        """Decode a job.

        Raises:
            ModelError: the job's error.
        """
        loop, done = anyio.lowlevel.current_token().native_token, anyio.Event()
        tell = job.tell
        if tell is not None:

            def told(piece: str) -> None:
                if not job.cancelled:  # who listens may be gone
                    tell(piece)

            job.tell = lambda piece: post(loop, partial(told, piece))
        with self._lock:
            self._waiting.append((job, lambda: post(loop, done.set)))
            if not self._running:
                self._running = True
                try:
                    threading.Thread(target=self._run, name=f"agora {self._model.name}").start()
                except BaseException:
                    self._running = False
                    self._waiting.pop()
                    raise
        try:
            await done.wait()
        finally:
            job.cancelled = True
        if job.error is not None:
            raise job.error

    def _run(self) -> None:
        batch: Batch | None = None
        done: dict[Job, Callable[[], None]] = {}
        while True:
            live = batch is not None and bool(batch.rows)
            with self._lock:
                room = ROWS - (len(batch.rows) if batch is not None else 0)
                new = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
                if not new and not live:
                    self._running = False
                    return
            done.update(new)
            over: list[Job] = []
            try:
                batch = batch or Batch(self._model)
                over += [job for job, _ in new if job.cancelled or not batch.add(job)]
                over += batch.step()
            except BaseException as error:  # nothing of one job: the model cannot be loaded, or this is a fault of ours
                if not isinstance(error, Exception):  # such as a panic of a tokenizer in Rust
                    error = ModelError(f"it failed: {type(error).__name__}: {error}.", model=self._model.name)
                for job in done:
                    job.error = job.error or error
                over, batch = list(done), None
            for job in over:
                done.pop(job)()


def post(loop: Any, call: Callable[[], object]) -> None:
    """Have an event loop, asyncio's or trio's, call something soon; nothing if it has ended meanwhile."""
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    with suppress(RuntimeError):
        soon(call)


def decode(model: TokenModel, jobs: Sequence[Job]) -> None:
    """Decode jobs together, in this thread."""
    batch = Batch(model)
    for job in jobs:
        batch.add(job)
    while batch.rows:
        batch.step()
