"""Limits on what a run may take, and the meter that holds them."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields

from agora.errors import BudgetError, InputError
from agora.records import Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run; None is no limit.

    Attributes:
        calls: most model calls, the moderator's included. Never exceeded.
        tokens: no further call once this many tokens (in and out) are used.
        usd: no further call once this much is spent; a call of unknown price ends the run's budget at once.
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
    """Counts against a budget. One per run."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.begun = time.monotonic()
        self.sent = 0
        self.used = Usage()

    def reserve(self) -> None:
        """Count a call that is about to be sent.

        Raises:
            BudgetError: if it must not be sent.
        """
        b = self.budget
        if b.calls is not None and self.sent >= b.calls:
            self._stop("calls", f"{b.calls} calls")
        if b.tokens is not None and self.used.tokens >= b.tokens:
            self._stop("tokens", f"{b.tokens} tokens")
        if b.usd is not None and (self.used.usd is None or self.used.usd >= b.usd):
            known = self.used.usd is not None
            self._stop("usd", f"{b.usd} USD" if known else f"{b.usd} USD, as a call's price is unknown")
        if (left := self.seconds_left()) is not None and left <= 0:
            self._stop("seconds", f"{b.seconds} seconds")
        self.sent += 1

    def add(self, usage: Usage) -> None:
        """Count what a call took."""
        self.used = self.used + usage
        self.sent += max(0, usage.calls - 1)

    def seconds_left(self) -> float | None:
        """Wall seconds until the limit, or None."""
        return None if self.budget.seconds is None else self.budget.seconds - (time.monotonic() - self.begun)

    def _stop(self, limit: str, what: str) -> None:
        raise BudgetError(f"the budget of {what} is used up.", limit=limit)
