"""Limits of endpoints: how many calls are under way, requests and tokens a minute, and what servers say of them."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agora import InputError, Message, Reply, ScriptedModel, Usage
from agora import Settings as Sampling
from agora.errors import RateLimitError, ServerError
from agora.models import limits
from agora.models.limits import Limiter, Limits, Ticket, limiter_of, until
from agora.models.wrappers import Limited

ASK = [Message("user", "x" * 400)]


class Clock:
    """A clock that stands until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=made, time=time.time))
    monkeypatch.setattr(limits, "_POLL", 0.001)
    return made


def enter(limiter: Limiter, model: str = "m", tokens: int = 10, given: Limits = Limits()) -> Ticket | None:
    """A ticket, if it can be had at once."""

    async def go() -> Ticket | None:
        with anyio.move_on_after(0.01):
            return await limiter.enter(limiter.rate(model, given), tokens)
        return None

    return anyio.run(go)


def leave(limiter: Limiter, ticket: Ticket | None, tokens: int | None = None) -> None:
    async def go() -> None:
        assert ticket is not None
        limiter.leave(ticket, tokens)

    anyio.run(go)


# ---- what is given ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "concurrent"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_positive(name: str, value: int) -> None:
    with pytest.raises(InputError, match=name):
        Limits(**{name: value})


@pytest.mark.anyio
async def test_calls_at_a_time() -> None:
    limiter, most = Limiter(), 0

    class Model:
        name = "m"
        under_way = 0

        async def answer(self, messages: Sequence[Message], settings: Sampling = Sampling()) -> Reply:
            nonlocal most
            self.under_way += 1
            most = max(most, self.under_way)
            await anyio.sleep(0.001)
            self.under_way -= 1
            return Reply("x", model="m")

    model = Limited(Model(), limiter, Limits(concurrent=4))
    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(model.answer, ASK)
    assert most == 4
    assert limiter.in_flight == limiter._waiting == limiter._queued == 0


@pytest.mark.anyio
async def test_requests_a_minute_in_any_window(clock: Clock) -> None:
    limiter, sent = Limiter(), []
    rate = limiter.rate("m", Limits(requests_per_minute=3))

    async def one() -> None:
        ticket = await limiter.enter(rate, 1)
        sent.append(clock.now)
        await anyio.lowlevel.checkpoint()
        limiter.leave(ticket, 1)

    draw = random.Random(1)
    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(one)
        while len(sent) < 12:
            await anyio.sleep(0.003)
            clock.now += draw.uniform(0, 25)
    assert len(sent) == 12
    for i, at in enumerate(sent[3:]):
        assert at - sent[i] >= 60
    assert sent[-1] - sent[0] < 3 * 60 + 4 * 25  # and no slower than need be


def test_tokens_a_minute_are_corrected_by_what_a_call_took(clock: Clock) -> None:
    limiter, given = Limiter(), Limits(tokens_per_minute=1000)
    first = enter(limiter, tokens=600, given=given)
    assert enter(limiter, tokens=600, given=given) is None
    leave(limiter, first, 100)
    second = enter(limiter, tokens=600, given=given)
    leave(limiter, second, 900)
    assert enter(limiter, tokens=1, given=given) is None
    clock.now += 59.9
    assert enter(limiter, tokens=1, given=given) is None
    clock.now += 0.2
    assert enter(limiter, tokens=1000, given=given) is not None


def test_a_call_above_the_limit_goes_alone(clock: Clock) -> None:
    limiter, given = Limiter(), Limits(tokens_per_minute=1000)
    assert enter(limiter, tokens=5000, given=given)
    assert enter(limiter, tokens=1, given=given) is None
    clock.now += 61
    assert enter(limiter, tokens=5000, given=given)


def test_a_call_that_fails_keeps_its_estimate(clock: Clock) -> None:
    limiter, given = Limiter(), Limits(tokens_per_minute=1000)
    leave(limiter, enter(limiter, tokens=900, given=given))
    assert enter(limiter, tokens=200, given=given) is None


@pytest.mark.parametrize("took", [1, 100_000])
def test_a_call_of_more_than_a_minute_leaves_nothing_behind(clock: Clock, took: int) -> None:
    limiter, given = Limiter(), Limits(tokens_per_minute=1000)
    long = enter(limiter, tokens=500, given=given)
    clock.now += 61
    short = enter(limiter, tokens=500, given=given)
    leave(limiter, long, took)
    leave(limiter, short, 500)
    assert enter(limiter, tokens=500, given=given)
    assert enter(limiter, tokens=1, given=given) is None
    clock.now += 61
    assert enter(limiter, tokens=1000, given=given)
    assert limiter.rate("m").sum == 1000


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500), st.integers(0, 2000)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_what_is_counted_is_what_was_sent(calls: list[tuple[float, int, int]]) -> None:
    limiter = Limiter()
    rate = limiter.rate("m")
    under_way: list[tuple[Ticket, int]] = []
    now = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
        for wait, expected, took in calls:
            now += wait
            ticket = limiter._admit(rate, expected)
            assert ticket is not None
            under_way.append((ticket, took))
            if len(under_way) > 3:
                limiter.leave(*under_way.pop(0))
            rate.wait(0, now)
            assert rate.sum == pytest.approx(sum(tokens for _, tokens in rate.sent))
            assert all(at > now - 60 for at, _ in rate.sent)
        for one in under_way:
            limiter.leave(*one)
    assert limiter.in_flight == rate.in_flight == 0


def test_limits_given_anew_forget_nothing(clock: Clock) -> None:
    """Two entries of one file may name one model with different limits."""
    limiter = Limiter()
    loose, tight = Limits(requests_per_minute=100), Limits(requests_per_minute=2)
    for each in (loose, tight):
        assert enter(limiter, given=each)
    for _ in range(3):
        assert enter(limiter, given=tight) is None
    assert enter(limiter, given=loose)
    assert enter(limiter, given=tight) is None
    assert limiter.in_flight == limiter.rate("m").in_flight == 3


# ---- what is adapted to -----------------------------------------------------------------------------------------


def test_a_group_of_429s_halves_once(clock: Clock) -> None:
    limiter = Limiter()
    tickets = [enter(limiter) for _ in range(16)]
    clock.now += 1
    for ticket in tickets:
        assert ticket
        limiter.throttled(ticket, None)
        leave(limiter, ticket)
        clock.now += 0.01
    assert limiter.window == 8
    assert limiter.refused == 1
    assert limiter._wait(clock.now) <= 0  # one group is no reason to send nothing
    again = [enter(limiter) for _ in range(9)]
    assert [ticket is None for ticket in again] == [False] * 8 + [True]
    clock.now += 1
    for ticket in again[:8]:
        assert ticket
        limiter.throttled(ticket, 2.0)
        leave(limiter, ticket)
    assert limiter.window == 4
    # and now nothing but 429s has come: nobody is sent for as long as the server asks for
    assert enter(limiter) is None
    clock.now += 2.1
    assert enter(limiter)


def test_it_recovers_slowly(clock: Clock) -> None:
    limiter = Limiter()
    tickets = [enter(limiter) for _ in range(8)]
    clock.now += 1
    for ticket in tickets:
        assert ticket
        limiter.throttled(ticket, None)
        leave(limiter, ticket)
    assert limiter.window == 4
    for _ in range(4):
        limiter.succeeded()
    assert 4.8 < limiter.window <= 5  # about one more for each time around
    for _ in range(100):
        limiter.succeeded()
    assert limiter.window > 12
    assert limiter.refused == 0


def test_the_pause_grows_while_only_429s_come(clock: Clock) -> None:
    limiter, pauses = Limiter(), []
    for _ in range(9):
        ticket = enter(limiter)
        assert ticket
        limiter.throttled(ticket, None)
        leave(limiter, ticket)
        pauses.append(max(0.0, limiter.closed_until - clock.now))
        clock.now += pauses[-1] + 0.01
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30
    limiter.succeeded()
    assert limiter.refused == 0
    assert limiter.window >= 1


@pytest.mark.parametrize("asked", [1e9, float("inf"), 0.0])
def test_no_server_closes_it_for_long(clock: Clock, asked: float) -> None:
    limiter = Limiter()
    for _ in range(3):
        ticket = enter(limiter)
        assert ticket
        limiter.throttled(ticket, asked)
        leave(limiter, ticket)
        clock.now += 60.1
    assert enter(limiter)


@pytest.mark.anyio
async def test_limited_tells_its_limiter() -> None:
    limiter = Limiter()
    script = [RateLimitError("429", retry_after=1.0), ServerError("500"), Reply("x", model="m", usage=Usage(1, 30, 12))]
    model = Limited(ScriptedModel(script, name="m"), limiter)
    with pytest.raises(RateLimitError):
        await model.answer(ASK, Sampling(max_tokens=50))
    assert (limiter.window, limiter.refused, limiter.in_flight) == (1, 1, 0)
    assert limiter.rate("m").sum == 100 + 4 + 50
    with pytest.raises(ServerError):
        await model.answer(ASK)
    assert (limiter.window, limiter.refused, limiter.in_flight) == (1, 1, 0)
    before = limiter.rate("m").sum
    await model.answer(ASK)
    assert limiter.rate("m").sum == before + 42
    assert limiter.refused == 0


# ---- who waits --------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_first_come_first_served() -> None:
    limiter, order = Limiter(), []
    rate = limiter.rate("m", Limits(concurrent=1))

    async def one(i: int) -> None:
        ticket = await limiter.enter(rate, 1)
        order.append(i)
        await anyio.lowlevel.checkpoint()
        limiter.leave(ticket)

    first = await limiter.enter(rate, 1)
    async with anyio.create_task_group() as group:
        for i in range(8):
            group.start_soon(one, i)
            await wait_all_tasks_blocked()
        limiter.leave(first)
    assert order == list(range(8))


@pytest.mark.anyio
async def test_who_gives_up_while_waiting_frees_its_place() -> None:
    limiter, order = Limiter(), []
    rate = limiter.rate("m", Limits(concurrent=1))
    first = await limiter.enter(rate, 1)
    scopes = [anyio.CancelScope() for _ in range(5)]

    async def one(i: int) -> None:
        with scopes[i]:
            ticket = await limiter.enter(rate, 1)
            order.append(i)
            await anyio.lowlevel.checkpoint()
            limiter.leave(ticket)

    async with anyio.create_task_group() as group:
        for i in range(5):
            group.start_soon(one, i)
            await wait_all_tasks_blocked()
        for i in (0, 3):  # the one at the head, and one behind
            scopes[i].cancel()
            await wait_all_tasks_blocked()
        limiter.leave(first)
    assert order == [1, 2, 4]
    assert limiter.in_flight == limiter._waiting == limiter._queued == rate.waiting == 0


@pytest.mark.anyio
async def test_a_call_that_is_cut_off_frees_its_place() -> None:
    limiter = Limiter()
    model = Limited(ScriptedModel("x", latency=30), limiter, Limits(concurrent=1))
    with anyio.move_on_after(0.02):
        await model.answer(ASK)
    assert limiter.in_flight == 0
    assert (await Limited(ScriptedModel("x"), limiter, Limits(concurrent=1)).answer(ASK)).text == "x"


@pytest.mark.anyio
async def test_models_of_one_endpoint_have_their_own_rates_and_share_its_window() -> None:
    limiter = Limiter()
    slow, fast = limiter.rate("slow", Limits(requests_per_minute=1)), limiter.rate("fast")
    tickets = [await limiter.enter(slow, 1)]
    done: list[str] = []

    async def one(name: str) -> None:
        tickets.append(await limiter.enter(limiter.rate(name), 1))
        done.append(name)

    with anyio.move_on_after(5) as hung:
        async with anyio.create_task_group() as group:
            group.start_soon(one, "slow")
            await wait_all_tasks_blocked()
            for _ in range(3):  # are not kept waiting by the other model's minute
                await one("fast")
            limiter.throttled(tickets[-1], None)
            assert limiter.window == 2
            group.start_soon(one, "fast")
            await wait_all_tasks_blocked()
            assert done == ["fast"] * 3
            for ticket in tickets[:2]:
                limiter.leave(ticket)
            await wait_all_tasks_blocked()
            assert done == ["fast"] * 3
            limiter.leave(tickets[2])
            await wait_all_tasks_blocked()
            assert done == ["fast"] * 4
            group.cancel_scope.cancel()
    assert not hung.cancelled_caught
    assert (limiter.in_flight, fast.in_flight, slow.in_flight) == (2, 2, 0)


@pytest.mark.anyio
async def test_nobody_is_overtaken_for_ever_by_another_model() -> None:
    limiter, order = Limiter(), []
    first = await limiter.enter(limiter.rate("a"), 1)
    limiter.throttled(first, None)  # one at a time

    async def one(name: str) -> None:
        ticket = await limiter.enter(limiter.rate(name), 1)
        order.append(name)
        await anyio.lowlevel.checkpoint()
        limiter.leave(ticket)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one, "b")
        await wait_all_tasks_blocked()
        group.start_soon(one, "a")
        await wait_all_tasks_blocked()
        limiter.leave(first)
    assert len(order) == 11
    assert order.index("a") < 3


def test_one_limiter_in_several_event_loops_in_turn() -> None:
    limiter = Limiter()
    model = Limited(ScriptedModel("x", latency=0.001), limiter, Limits(concurrent=2))

    async def go() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(model.answer, ASK)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(go, backend=backend)
    assert limiter.in_flight == limiter._queued == 0


def test_one_limiter_in_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_POLL", 0.005)
    limiter, lock, under_way, most, done = Limiter(), threading.Lock(), 0, 0, 0

    class Model:
        name = "m"

        async def answer(self, messages: Sequence[Message], settings: Sampling = Sampling()) -> Reply:
            nonlocal under_way, most, done
            with lock:
                under_way += 1
                most = max(most, under_way)
            await anyio.lowlevel.checkpoint()
            with lock:
                under_way -= 1
                done += 1
            return Reply("x", model="m")

    model = Limited(Model(), limiter, Limits(concurrent=3, requests_per_minute=10_000))

    async def go() -> None:
        async def some() -> None:
            for _ in range(40):
                await model.answer(ASK)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(some)

    def run(backend: str) -> None:
        anyio.run(go, backend=backend)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(backend,)) for backend in ("asyncio", "trio")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert (done, most) == (640, 3)
    assert limiter.in_flight == limiter._queued == limiter._waiting == 0
    assert len(limiter.rate("m").sent) == 640


def test_who_shares_a_limiter() -> None:
    assert limiter_of("u", "k") is limiter_of("u", "k")
    assert limiter_of("u", "k") is not limiter_of("u", "other")
    assert limiter_of("u", "k") is not limiter_of("v", "k")


# ---- what servers say -------------------------------------------------------------------------------------------

OPENAI = [
    (b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-limit-tokens", b"150000"),
    (b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-remaining-tokens", b"149984"),
    (b"x-ratelimit-reset-requests", b"20s"), (b"x-ratelimit-reset-tokens", b"6m0s"),
]  # fmt: skip


def anthropic() -> list[tuple[bytes, bytes]]:
    soon = (datetime.now(UTC) + timedelta(seconds=20)).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return [
        (b"Anthropic-RateLimit-Requests-Limit", b"60"), (b"anthropic-ratelimit-requests-remaining", b"0"),
        (b"anthropic-ratelimit-requests-reset", soon), (b"anthropic-ratelimit-tokens-limit", b"150000"),
        (b"anthropic-ratelimit-tokens-remaining", b"149000"), (b"anthropic-ratelimit-tokens-reset", soon),
    ]  # fmt: skip


@pytest.mark.parametrize("headers", [lambda: OPENAI, anthropic], ids=["openai", "anthropic"])
def test_headers_are_learnt_from(clock: Clock, headers: Callable[[], list[tuple[bytes, bytes]]]) -> None:
    limiter = Limiter()
    rate = limiter.rate("m")
    limiter.learn(rate, [(b"content-type", b"x"), *headers()])
    assert (rate.requests, rate.tokens) == (60, 150_000)
    assert enter(limiter) is None
    assert enter(limiter, "another")  # it is of this model only
    clock.now += 25
    assert enter(limiter)


def test_what_is_given_is_not_replaced_by_what_is_learnt() -> None:
    limiter = Limiter()
    rate = limiter.rate("m", Limits(requests_per_minute=5))
    limiter.learn(rate, OPENAI)
    assert (rate.requests, rate.tokens) == (5, 150_000)
    assert limiter.rate("m") is rate
    assert limiter.rate("m", Limits()) is rate  # who gives none takes nothing away
    assert rate.requests == 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in (*OPENAI, *anthropic())]) | st.binary(max_size=40),
            st.sampled_from([b"inf", b"nan", b"-1", b"1e400", b"0", b"-inf", b"0x10", b"1_0", b""])
            | st.binary(max_size=40),
        ),
        max_size=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_hostile_headers_close_nothing_for_long(headers: list[tuple[bytes, bytes]]) -> None:
    limiter = Limiter()
    rate = limiter.rate("m")
    limiter.learn(rate, headers)
    assert rate.requests is None or rate.requests >= 1
    assert rate.tokens is None or rate.tokens >= 1
    assert rate.wait(10, time.monotonic()) <= 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("7", 7), (" 1.5 ", 1.5), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("20ms", 0.02), ("1d", 86400),
        ("1s500ms", 1.5), ("-1", None), ("soon", None), ("", None), ("1 s", None), ("5x", None), ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("2015-10-21T07:28:00Z", 0), ("2015-10-21", 0),
    ],
)  # fmt: skip
def test_times_as_headers_write_them(text: str, seconds: float | None) -> None:
    assert until(text) == (None if seconds is None else pytest.approx(seconds))


def test_dates_as_headers_write_them() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    for text in (format_datetime(soon, usegmt=True), soon.isoformat(), soon.strftime("%Y-%m-%dT%H:%M:%SZ")):
        assert until(text) == pytest.approx(100, abs=30)


@given(
    st.text(max_size=90)
    | st.from_regex(r"[0-9]{1,90}(\.[0-9]{0,9})?(ms|s|m|h|d)?", fullmatch=True)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,4} [A-Z][a-z]{2} [0-9]{1,20} [0-9:]{1,10} (GMT|[+-][0-9]{1,9})", fullmatch=True
    )
    | st.datetimes().map(str)
)
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("Mon, 01 Jan 2026 00:00:00 +99999999999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example("9" * 80 + "d")
@example("٣")
@example(",")
@example("Mon, ")
@settings(max_examples=500, deadline=None)
def test_no_text_breaks_until(text: str) -> None:
    found: Any = until(text)
    assert found is None or found >= 0
