"""Budgets that are lent: never exceeded together, and used to the last call; and how workers ask for what they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.budget import Budget, Meter
from agora.errors import BudgetError, StoreError
from agora.evaluate.running.leases import Account, Lease, Lender
from agora.evaluate.running.worker import Mailbox, Wire
from agora.records import Usage


class Lent:
    """Some leases of one budget."""

    def __init__(self, budget: Budget, borrowers: int) -> None:
        self.meter = Meter(budget)
        self.around = Meter(Budget())
        self.lender = Lender([self.around, self.meter], borrowers)
        self.accounts = [Account() for _ in range(borrowers)]
        self.leases = [Lease(self.lender.limits(), self._ask(account)) for account in self.accounts]

    def _ask(self, account: Account) -> Callable[[str, Any], Awaitable[Any]]:
        async def ask(kind: str, data: Any) -> Any:
            assert kind == "more"
            short, model = data
            pairs = zip(self.accounts, self.leases, strict=True)
            others = [(other, self._spare(lease)) for other, lease in pairs if other is not account]
            return await self.lender.lend(account, short, model, others)

        return ask

    @staticmethod
    def _spare(lease: Lease) -> Callable[[], Awaitable[Usage]]:
        async def spare() -> Usage:
            return lease.spare()

        return spare

    async def call(self, i: int, expected: Usage, took: Usage | None) -> bool:
        """A call by one of them; whether it was allowed."""
        lease = self.leases[i]
        while True:
            try:
                lease.reserve(expected)
                break
            except BudgetError:
                if not await lease.more(expected, "m"):
                    return False
        lease.settle(expected, took)
        return True

    def tell(self, i: int) -> None:
        self.lender.count(self.accounts[i], self.leases[i].told())


def test_the_last_call_can_be_made_by_whoever_needs_it() -> None:
    async def go() -> None:
        lent = Lent(Budget(calls=40), 2)
        one = Usage(1, 10, 10)
        assert await lent.call(0, one, one)  # and it holds more than that
        assert lent.accounts[0].lent.calls > 1
        allowed = [await lent.call(1, one, one) for _ in range(40)]
        assert sum(allowed) == 39
        assert lent.meter.stopped is lent.lender.refused is not None
        assert not await lent.call(0, one, one)

    anyio.run(go)


call = st.tuples(st.integers(0, 2), st.integers(1, 60), st.integers(0, 60) | st.none(), st.booleans())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 30), st.integers(0, 900), st.floats(0, 1), st.lists(call, max_size=60))
def test_budgets_are_never_exceeded(calls: int, tokens: int, usd: float, made: list[Any]) -> None:
    async def go() -> None:
        lent = Lent(Budget(calls=calls, tokens=tokens, usd=usd), 3)
        done = 0
        for i, expected, took, tell in made:
            real = None if took is None else Usage(1, min(took, expected), usd=min(took, expected) / 1024)
            done += await lent.call(i, Usage(1, expected, usd=expected / 1024), real)
            if tell:
                lent.tell(i)
            used = sum((lease.used for lease in lent.leases), Usage())
            assert done <= calls
            assert used.tokens <= tokens
            assert used.usd is not None
            assert used.usd <= usd + 1e-9
        for i in range(3):
            lent.tell(i)
        assert lent.meter.used == sum((lease.used for lease in lent.leases), Usage())
        assert lent.meter.failed == sum(lease.failed for lease in lent.leases)
        assert lent.meter.used.calls + lent.meter.failed == done
        # what is lent and not used is held, and nothing else
        assert lent.meter.held.calls == sum(account.lent.calls for account in lent.accounts) >= 0
        assert lent.meter.held.calls + done <= calls
        assert lent.around.used == lent.meter.used
        for name in ("calls", "tokens", "usd"):
            assert getattr(lent.around.held, name) == pytest.approx(getattr(lent.meter.held, name), abs=1e-9)

    anyio.run(go)


def test_what_is_not_limited_is_not_asked_for() -> None:
    async def go() -> None:
        async def ask(kind: str, data: Any) -> Any:
            raise AssertionError("nothing to ask")

        lease = Lease(Lender([Meter(Budget())], 2).limits(), ask)
        lease.reserve(Usage(1, 10**9))
        late = Lease(Lender([Meter(Budget(seconds=0))], 2).limits(), ask)
        with pytest.raises(BudgetError, match="seconds"):
            late.reserve(Usage(1))
        assert not await late.more(Usage(1), "m")

    anyio.run(go)


def test_what_was_answered_is_written_though_it_is_cancelled() -> None:
    async def go() -> None:
        mail, written = Mailbox(), anyio.Event()
        wire = Wire(mail.ask, content=True, reuse=False)

        async def record() -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await wire.commit(("call", {"run": "r"}))
                written.set()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(record)
                ((number, kind, rows),) = await mail.exchange({})
                assert (kind, rows) == ("rows", [("call", {"run": "r"})])
                await anyio.wait_all_tasks_blocked()
                assert not written.is_set()  # it is not durable yet
                group.start_soon(mail.exchange, {number: None})
                await written.wait()
                mail.end()

    anyio.run(go)


def test_answers_that_are_errors_are_raised_and_those_nobody_waits_for_are_dropped() -> None:
    async def go() -> None:
        mail = Mailbox()
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(StoreError, match="the disk is full"):
                    await mail.ask("rows", [])

            group.start_soon(ask)
            ((number, _, _),) = await mail.exchange({})
            mail.end()
            await mail.exchange({number: StoreError("the disk is full."), 99: None})

    anyio.run(go)
