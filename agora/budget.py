"""Limits on what a run may take, the meter that holds them, and prices."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from agora.errors import BudgetError, InputError
from agora.records import Usage

USUAL_OUTPUT = 400  # tokens a reply is taken to have where nothing better is known


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run; None is no limit. They are checked before a call is sent, with an estimate of what it takes.

    Attributes:
        calls: most model calls, the moderator's and those that fail included. Never exceeded.
        tokens: most tokens, in and out.
        usd: most to spend; a call of unknown price is not sent.
        seconds: wall time; calls under way at that moment are cut off.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not value >= 0:
                raise InputError(f"budget: {f.name} must not be negative, it is {value}.")


class Meter:
    """Counts against a budget. One per run, or one for a batch of runs (`agora.calls.limited`).

    Args:
        budget: the limits.
        used: what has been taken already: a resumed run's calls.
        failed: its calls that gave no reply.
    """

    def __init__(self, budget: Budget, used: Usage = Usage(), failed: int = 0) -> None:
        self.budget = budget
        self.begun = time.monotonic()
        self.used = used
        self.failed = failed
        self.held = Usage()  # estimates of the calls under way
        self.stopped: BudgetError | None = None  # what it did not allow, if it has come to that

    def expect(self, input_tokens: int, max_tokens: int | None) -> Usage:
        """What a call with this prompt will take: output as the calls so far on average, `max_tokens` at most."""
        usual = self.used.output_tokens // self.used.calls if self.used.calls else USUAL_OUTPUT
        return Usage(1, input_tokens, usual if max_tokens is None else min(usual, max_tokens))

    def reserve(self, expected: Usage, model: str = "a model") -> None:
        """Hold what a call that is about to be sent is expected to take.

        Raises:
            BudgetError: if it must not be sent.
        """
        b, taken = self.budget, self.used + self.held
        if b.calls is not None and taken.calls + self.failed + expected.calls > b.calls:
            self._stop("calls", f"the budget of {b.calls} calls is used up.")
        if b.tokens is not None and taken.tokens + expected.tokens > b.tokens:
            self._stop("tokens", f"the budget of {b.tokens} tokens does not allow another call: {taken.tokens} are "
                                 f"used or under way, and it would take about {expected.tokens}.")  # fmt: skip
        if b.usd is not None:
            if taken.usd is None or expected.usd is None:
                self._stop("usd", f"the budget of {b.usd} USD cannot be kept, as the price of {model} is not known.",
                           "Give it: `price: {input: 0.25, output: 2}`, in USD per million tokens.")  # fmt: skip
            elif taken.usd + expected.usd > b.usd or (expected.usd and taken.usd >= b.usd):
                self._stop("usd", f"the budget of {b.usd} USD does not allow another call: {taken.usd:.4f} USD are "
                                  f"spent or under way, and it would cost about {expected.usd:.4f}.")  # fmt: skip
        if (left := self.seconds_left()) is not None and left <= 0:
            raise self.timed_out()
        self.held = taken_plus(self.held, expected)

    async def more(self, expected: Usage, model: str) -> bool:
        """Whether what `reserve` has refused may be tried again: of a meter whose limits can be raised."""
        return False

    def settle(self, expected: Usage, usage: Usage | None) -> None:
        """Count what a call took, in place of what it was expected to take; None if it gave no reply: then it counts as
        a call, as it was sent."""
        self.held = taken_plus(self.held, expected, -1)
        if usage is None:
            self.failed += expected.calls
        else:
            self.used = self.used + usage

    def release(self, expected: Usage) -> None:
        """Hold it no more: the call was not sent."""
        self.held = taken_plus(self.held, expected, -1)

    def shares(self) -> list[float]:
        """The share of each limit that is used up."""
        b, used = self.budget, self.used
        pairs = [(used.calls + self.failed, b.calls), (used.tokens, b.tokens), (used.usd, b.usd)]
        pairs.append((time.monotonic() - self.begun, b.seconds))
        return [float(taken) / limit for taken, limit in pairs if limit and taken is not None]

    def seconds_left(self) -> float | None:
        """Wall seconds until the limit, or None."""
        return None if self.budget.seconds is None else self.budget.seconds - (time.monotonic() - self.begun)

    def timed_out(self) -> BudgetError:
        """The error that says so."""
        self.stopped = BudgetError(
            f"the budget of {self.budget.seconds} seconds is used up.", limit="seconds", meter=self
        )
        return self.stopped

    def _stop(self, limit: str, message: str, hint: str | None = None) -> None:
        self.stopped = BudgetError(message, limit=limit, hint=hint, meter=self)
        raise self.stopped


def taken_plus(a: Usage, b: Usage, sign: int = 1) -> Usage:
    """The sum of two estimates, or their difference."""
    usd = None if b.usd is None else (a.usd or 0.0) + sign * b.usd
    return Usage(a.calls + sign * b.calls, a.input_tokens + sign * b.input_tokens,
                 a.output_tokens + sign * b.output_tokens, 0, usd)  # fmt: skip


# ---- prices -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD per million tokens.

    Attributes:
        input: prompt tokens.
        output: generated tokens, hidden reasoning included.
        cached: prompt tokens served from the provider's cache; default as `input`.
        cache_write: prompt tokens that the provider puts into its cache; default as `input`.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def __call__(self, usage: Usage) -> float:
        read, written = usage.cached_tokens, usage.cache_write_tokens
        fresh = max(0, usage.input_tokens - read - written)
        total = fresh * self.input + usage.output_tokens * self.output
        total += read * (self.input if self.cached is None else self.cached)
        total += written * (self.input if self.cache_write is None else self.cache_write)
        return total / 1e6


def listed_price(model: str, provider: str | None, url: str | None) -> Callable[[Usage], float | None]:
    """The price of a model as `genai-prices` lists it; it is looked up when first needed.

    Args:
        model: the vendor's name for it.
        provider: 'openai', 'anthropic'; None where `url` tells.
        url: the server's address; one that is not listed has unknown prices.
    """

    return lambda usage: None if (price := _listed(model, provider, url)) is None else price(usage)


@lru_cache(maxsize=256)
def _listed(model: str, provider: str | None, url: str | None) -> Callable[[Usage], float] | None:
    from genai_prices import Usage as Priced
    from genai_prices import calc_price

    try:
        where = {"provider_id": provider} if provider else {"provider_api_url": url}
        listed: Any = calc_price(Priced(input_tokens=1, output_tokens=1), model, **where).model_price  # type: ignore[arg-type]
    except LookupError:
        return None
    rates = [getattr(listed, f"{name}_mtok", None) for name in ("input", "output", "cache_read", "cache_write")]
    if None not in rates[:2] and all(rate is None or isinstance(rate, (Decimal, int, float)) for rate in rates):
        return Price(*(None if rate is None else float(rate) for rate in rates))  # type: ignore[arg-type]

    def tiered(usage: Usage) -> float:
        cached = usage.cached_tokens + usage.cache_write_tokens
        # servers have been seen to leave cached tokens out of their count of input: what was paid for must not be lost
        made = Priced(input_tokens=max(usage.input_tokens, cached), output_tokens=usage.output_tokens,
                      cache_read_tokens=usage.cached_tokens,
                      cache_write_tokens=usage.cache_write_tokens)  # fmt: skip
        return float(listed.calc_price(made)["total_price"])

    return tiered


def priced(usage: Usage, cost: Callable[[Usage], float | None] | None) -> Usage:
    """A usage with its cost."""
    return replace(usage, usd=None if cost is None else cost(usage))
