"""A budget that is lent to other processes in small parts, so that they never exceed it together."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import anyio

from agora.budget import Budget, Meter
from agora.errors import BudgetError
from agora.records import Usage

SPARES = 4  # a borrower is lent what is left over so many times the borrowers, at a time
Ask = Callable[[str, Any], Awaitable[Any]]  # asks the process that lends: a kind and its data


@dataclass(frozen=True)
class Spent:
    """What was spent since this was last told: usage, and how many calls gave no reply."""

    usage: Usage = Usage()
    failed: int = 0


class Lease(Meter):
    """A part of the evaluation's budget: where it does not allow a call, more is asked for.

    Args:
        limited: the evaluation's limits, of which it has nothing yet, and the seconds that are left.
        ask: asks for more.
    """

    def __init__(self, limited: Budget, ask: Ask) -> None:
        none = {name: 0 for name in ("calls", "tokens", "usd") if getattr(limited, name) is not None}
        super().__init__(replace(limited, **none))
        self._ask, self._asking = ask, anyio.Lock()
        self._over: BudgetError | None = None
        self._told = Spent()

    def _stop(self, limit: str, message: str, hint: str | None = None) -> NoReturn:
        if self._over is None:
            raise BudgetError(message, limit=limit, hint=hint, meter=self)
        self.stopped = BudgetError(self._over.message, limit=self._over.limit, hint=self._over.hint, meter=self)
        raise self.stopped

    async def more(self, expected: Usage, model: str) -> bool:
        """Whether there is more of the evaluation's budget."""
        async with self._asking:
            if self._over is not None or self.stopped is not None:
                return False
            short = self._short(expected)
            if short is None:
                return True  # somebody else's request brought enough
            given = await self._ask("more", (short, model))
            if isinstance(given, BudgetError):
                self._over = given
                return False
            self._add(given, 1)
            return True

    def _short(self, expected: Usage) -> Usage | None:
        """What is missing for a call; None if nothing is."""
        b, taken = self.budget, self.used + self.held + expected
        calls_short = 0 if b.calls is None else max(0, taken.calls + self.failed - b.calls)
        tokens_short = 0 if b.tokens is None else max(0, taken.tokens - b.tokens)
        usd_short: float | None = 0.0
        if b.usd is not None:
            usd_short = None if taken.usd is None else max(0.0, taken.usd - b.usd)
            if usd_short and taken.usd:
                usd_short += 4 * math.ulp(taken.usd)  # so that what is added is enough, rounded as it may be
        if usd_short == 0 and not calls_short and not tokens_short:
            return None
        return Usage(calls_short, tokens_short, usd=usd_short)

    def _add(self, given: Usage, sign: int) -> None:
        b = self.budget
        self.budget = replace(
            b,
            calls=None if b.calls is None else b.calls + sign * given.calls,
            tokens=None if b.tokens is None else b.tokens + sign * given.tokens,
            usd=None if b.usd is None else max(0.0, b.usd + sign * (given.usd or 0.0)),
        )

    def spare(self) -> Usage:
        """Give back what no call under way needs."""
        b, taken = self.budget, self.used + self.held
        given = Usage(
            0 if b.calls is None else max(0, b.calls - taken.calls - self.failed),
            0 if b.tokens is None else max(0, b.tokens - taken.tokens),
            usd=0.0 if b.usd is None or taken.usd is None else max(0.0, b.usd - taken.usd),
        )
        self._add(given, -1)
        return given

    def settle(self, expected: Usage, usage: Usage | None) -> None:
        """Count what a call took, and tell it with the next letter."""
        super().settle(expected, usage)
        told = self._told
        if usage is None:
            self._told = replace(told, failed=told.failed + expected.calls)
        else:
            self._told = replace(told, usage=told.usage + usage)

    def told(self) -> Spent:
        """What was spent since this was last asked."""
        told, self._told = self._told, Spent()
        return told

    def shares(self) -> list[float]:
        """None: how much of a lease is used up says nothing about the budget that it is a part of."""
        return []


# ---- who lends --------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Account:
    """What a borrower has been lent, less what it has told of."""

    lent: Usage = Usage()


class Lender:
    """Lends of some budgets at once. What a borrower that is lost had been lent, and had not told of, counts as spent:
    nobody knows.

    Args:
        meters: of the budgets.
        borrowers: how many there are.
    """

    def __init__(self, meters: Sequence[Meter], borrowers: int) -> None:
        self._meters, self._borrowers = meters, borrowers
        self.refused: BudgetError | None = None  # what a budget did not allow in the end

    def limits(self) -> Budget:
        """What is limited at all (0 of it), and the seconds that are left."""
        names = [
            name
            for name in ("calls", "tokens", "usd")
            if any(getattr(m.budget, name) is not None for m in self._meters)
        ]
        left = [seconds for meter in self._meters if (seconds := meter.seconds_left()) is not None]
        limited: dict[str, Any] = dict.fromkeys(names, 0)
        return Budget(**limited, seconds=max(0.0, min(left)) if left else None)

    def count(self, account: Account, spent: Spent) -> None:
        """What a borrower has spent counts, in place of what it was lent for it."""
        u = spent.usage
        done = _least(account.lent, Usage(u.calls + spent.failed, u.tokens, usd=u.usd or 0.0))
        self._back(account, done)
        for meter in self._meters:
            meter.used = meter.used + u
            meter.failed += spent.failed

    async def lend(
        self,
        account: Account,
        short: Usage,
        model: str,
        others: Sequence[tuple[Account, Callable[[], Awaitable[Usage]]]],
    ) -> Usage | BudgetError:
        """More for a borrower, or what does not allow it.

        Args:
            account: its own.
            short: what it needs.
            model: for which.
            others: accounts, and what makes their borrowers give back what they do not need.
        """
        for wanted in (self._portion(short), short):
            if self._held(wanted, model) is None:
                account.lent = account.lent + wanted
                return wanted
        for other, spare in others:
            self._back(other, _least(other.lent, await spare()))
        refused = self._held(short, model, last=True)
        if refused is None:
            account.lent = account.lent + short
            return short
        self.refused = refused
        return BudgetError(refused.message, limit=refused.limit, hint=refused.hint)

    def late(self) -> None:
        """A borrower's time is over."""
        timed = [(left, meter) for meter in self._meters if (left := meter.seconds_left()) is not None]
        self.refused = min(timed, key=lambda pair: pair[0])[1].timed_out()

    def _back(self, account: Account, given: Usage) -> None:
        account.lent = _less(account.lent, given)
        for meter in self._meters:
            meter.release(given)

    def _held(self, wanted: Usage, model: str, *, last: bool = False) -> BudgetError | None:
        """Hold a part of every budget, or of none: then what does not allow it."""
        held: list[Meter] = []
        for meter in self._meters:
            before = meter.stopped
            try:
                meter.reserve(wanted, model)
                held.append(meter)
            except BudgetError as error:
                if not last:
                    meter.stopped = before  # others may give back what they do not need
                for other in held:
                    other.release(wanted)
                return error
        return None

    def _portion(self, short: Usage) -> Usage:
        """What is lent at once, so that borrowers need not ask for every call."""
        room = {name: math.inf for name in ("calls", "tokens", "usd")}
        for meter in self._meters:
            b, taken = meter.budget, meter.used + meter.held
            taken = replace(taken, calls=taken.calls + meter.failed)
            for name in room:
                limit, there = getattr(b, name), getattr(taken, name)
                if limit is not None and there is not None:
                    room[name] = min(room[name], (limit - there) / (SPARES * self._borrowers))
        part = {name: 0.0 if left == math.inf else left for name, left in room.items()}
        usd = None if short.usd is None else max(short.usd, part["usd"])
        tokens = max(short.tokens, int(part["tokens"]))
        return Usage(max(short.calls, int(part["calls"])), tokens, usd=usd)


def _least(a: Usage, b: Usage) -> Usage:
    return Usage(min(a.calls, b.calls), min(a.tokens, b.tokens), usd=min(a.usd or 0.0, b.usd or 0.0))


def _less(a: Usage, b: Usage) -> Usage:
    return Usage(a.calls - b.calls, a.tokens - b.tokens, usd=(a.usd or 0.0) - (b.usd or 0.0))
