"""How one model asks another: the one place where calls are budgeted, journaled, replayed and listened to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol

import anyio

from agora.budget import Budget, Meter, priced
from agora.errors import BudgetError, InputError, MalformedError, ModelError, sentence
from agora.journal import Recorder
from agora.model import Model, Settings
from agora.records import Message, Reply, Usage


class StandIn(Protocol):
    """What answers in place of every model in a rehearsal."""

    frugal: bool
    """Everything goes as cheaply as it can, not as dearly."""

    def tokens(self, model: Model, settings: Settings) -> int:
        """How many tokens a reply of a model is taken to have."""
        ...

    def __call__(self, model: Model, messages: Sequence[Message], settings: Settings) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Wait:
    """Told to who listens: a call failed and is tried again after `seconds`."""

    model: str
    error: str
    seconds: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Told to who listens: a piece of the reply's text; `first` begins the text anew."""

    text: str
    first: bool


Listener = Callable[[Wait | Delta], None]
Around = Callable[[str, Model, Settings], AbstractContextManager[Callable[[Reply], None]]]
"""Entered around each call that is sent, with its path; it gives what is to be told the reply."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a call is made. It is inherited by everything that the call asks.

    Attributes:
        path: of the call within its run: agents, rounds, phases and members, joined by '/'.
        recorder: of the run, where it is journaled.
        meters: of all budgets around the call.
        listen: is told what happens during the call.
        stream: the listener wants deltas.
        stand_in: answers in place of every model: a rehearsal, in which nothing is sent.
        whole: inside a call that is journaled as one, whatever it asks.
        around: is entered around each call that is sent, such as to trace it.
    """

    path: str = ""
    recorder: Recorder | None = None
    meters: tuple[Meter, ...] = ()
    listen: Listener | None = None
    stream: bool = False
    stand_in: StandIn | None = None
    whole: bool = False
    around: Around | None = None


_NOWHERE = Scope()
_scope: ContextVar[Scope] = ContextVar("agora_scope", default=_NOWHERE)


def current() -> Scope:
    """The scope here."""
    return _scope.get()


@contextmanager
def scope(**changes: Any) -> Iterator[Scope]:
    """The scope here with some of its attributes changed, for a while."""
    changed = replace(_scope.get(), **changes)
    token = _scope.set(changed)
    try:
        yield changed
    finally:
        _scope.reset(token)


@contextmanager
def limited(budget: Budget) -> Iterator[Meter]:
    """One budget over everything asked inside, such as a batch of debates: `with limited(Budget(usd=5)) as meter: ...`.

    A debate that reaches it ends with its best verdict so far, or a `BudgetError` where there is none.
    """
    meter = Meter(budget)
    with scope(meters=(*current().meters, meter)):
        yield meter


async def ask(
    model: Model,
    messages: Sequence[Message],
    settings: Settings = Settings(),
    *,
    at: str,
    listen: Listener | None = None,
) -> Reply:
    """Ask a model. Whatever asks models (a debate, a cascade, a fallback) does it by this function.

    A model with `members` is opened: it runs, and its members' calls are budgeted and journaled one by one. Any other
    model is one call: if the journal has its reply, that is the reply; else the budgets are asked, the call is made,
    and its reply is durable before it is returned.

    Args:
        model: whom.
        messages: what.
        settings: how to sample.
        at: the place of this call in its caller, such as 'alice/1/revise'; the same in every run. Two calls of one
            place with one request are told apart by their order.
        listen: is told what happens during the call, in place of the one who listens to the caller.

    Raises:
        ModelError: if there is no usable reply.
        BudgetError: if a budget does not allow the call.
    """
    outer = _scope.get()
    if outer.whole:
        return await model.answer(messages, settings)
    path = f"{outer.path}/{at}" if outer.path else at
    opened = bool(getattr(model, "members", ()))
    inner = Scope(path, outer.recorder, outer.meters, listen or outer.listen, outer.stream, outer.stand_in, not opened,
                  outer.around)  # fmt: skip
    token = _scope.set(inner)
    try:
        if opened:
            return _checked(await model.answer(messages, settings), model)
        return await _call(inner, model, messages, settings)
    finally:
        _scope.reset(token)


async def _call(here: Scope, model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
    if here.stand_in is not None:
        return here.stand_in(model, messages, settings)
    entry = None
    if here.recorder is not None:
        entry = await here.recorder.entry(here.path, model, messages, settings)
        if entry.reply is not None:
            return entry.reply
        if entry.error is not None:
            raise entry.error
    expected = _reserve(here.meters, model, messages, settings)
    begun, at = time.perf_counter(), time.time()
    usage: Usage | None = None
    if here.recorder is not None:
        here.recorder.journal.open += 1
    try:
        if here.around is None:
            reply = await _within(here.meters, model, messages, settings)
        else:
            with here.around(here.path, model, settings) as told:
                reply = _checked(await _within(here.meters, model, messages, settings), model)
                told(reply)
        took = time.perf_counter() - begun
        reply = _checked(reply, model)
        if not reply.usage.calls or not reply.usage.seconds:
            reply = replace(
                reply, usage=replace(reply.usage, calls=reply.usage.calls or 1, seconds=reply.usage.seconds or took)
            )
        usage = reply.usage
    except (BudgetError, InputError):
        raise
    except Exception as error:
        usage = getattr(error, "usage", None)  # of replies that were paid for, and could not be used
        if here.recorder is not None and entry is not None:
            await here.recorder.failed(entry, error, at)
        raise
    else:
        if here.recorder is not None and entry is not None:
            await here.recorder.record(entry, reply, at)
        return reply
    finally:
        if here.recorder is not None:
            here.recorder.journal.open -= 1
        for meter, estimate in expected:
            unsaid = usage is not None and not usage.tokens and usage.usd is None  # the server does not say
            meter.settle(estimate, replace(estimate, usd=None) if unsaid else usage)


def _checked(reply: Any, model: Model) -> Reply:
    if not isinstance(reply, Reply):
        raise MalformedError(f"it answered with {type(reply).__name__}, not with a Reply.", model=model.name)
    return reply


async def _within(meters: tuple[Meter, ...], model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
    """The answer within the time that budgets leave."""
    timed = [(left, meter) for meter in meters if (left := meter.seconds_left()) is not None]
    if not timed:
        return await model.answer(messages, settings)
    left, meter = min(timed, key=lambda pair: pair[0])
    with anyio.move_on_after(left):
        return await model.answer(messages, settings)
    raise meter.timed_out()


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens a prompt has: a quarter of its characters, and a few for each message."""
    return sum(len(message.content) // 4 + 4 for message in messages)


def _reserve(
    meters: tuple[Meter, ...], model: Model, messages: Sequence[Message], settings: Settings
) -> list[tuple[Meter, Usage]]:
    """Hold the expected usage on every meter, or on none."""
    held: list[tuple[Meter, Usage]] = []
    if not meters:
        return held
    tokens = estimate_tokens(messages)
    pinned: Settings = getattr(model, "pinned", settings)
    most = pinned.max_tokens if pinned.max_tokens is not None else settings.max_tokens
    cost = getattr(model, "cost", None)
    try:
        for meter in meters:
            expected = meter.expect(tokens, most)
            if meter.budget.usd is not None:
                expected = priced(expected, cost)
            meter.reserve(expected, model.name)
            held.append((meter, expected))
    except BudgetError:
        for meter, expected in held:
            meter.release(expected)
        raise
    return held


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group: what callers of a group of tasks are to see."""
    for error in errors.exceptions:
        return first(error) if isinstance(error, BaseExceptionGroup) else error
    return errors


__all__ = ["Delta", "ModelError", "Scope", "StandIn", "Wait", "ask", "current", "first", "limited", "scope", "sentence"]
