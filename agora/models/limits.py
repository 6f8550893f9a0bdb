"""What an endpoint allows, as one shared view: concurrent calls, requests and tokens a minute, given or learnt."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anyio
from anyio.lowlevel import RunVar

from agora.errors import InputError

MINUTE = 60.0
_POLL = 1.0  # seconds: other threads' event loops may change a limiter without waking this one's


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one model at one endpoint; None is no limit known.

    Attributes:
        requests_per_minute: most requests in any 60 seconds.
        tokens_per_minute: most tokens, in and out, in any 60 seconds.
        concurrent: most calls at a time.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"limits: {name} must be at least 1, it is {value}.")


_UNKNOWN = Limits()
_among = 1


def divide(among: int) -> None:
    """This process is one of so many that use the same endpoints at once: of what is given from now on, and of what
    servers tell, it takes an equal part."""
    global _among
    _among = among


def part(limits: Limits) -> Limits:
    """This process's part of limits.

    Raises:
        InputError: if there are more processes than one of them allows.
    """
    given = {name: getattr(limits, name) for name in Limits.__slots__}
    for name, value in given.items():
        if value is not None and value < _among:
            hint = f"Use at most {value} workers."
            raise InputError(f"limits: {name}: {value} cannot be divided among {_among} workers.", hint=hint)
    return Limits(**{name: value and value // _among for name, value in given.items()})


class _Rate:
    """Requests and tokens of one model in the last minute."""

    def __init__(self) -> None:
        self.given = _UNKNOWN
        self.requests: int | None = None
        self.tokens: int | None = None
        self.sent: deque[list[float]] = deque()  # [when, tokens]
        self.sum = 0.0
        self.in_flight = 0
        self.waiting = 0
        self.closed_until = 0.0

    def give(self, limits: Limits) -> None:
        """Limits that replace what was given or learnt before; what has been sent still counts."""
        self.given = limits
        self.requests, self.tokens = limits.requests_per_minute, limits.tokens_per_minute

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a call may be sent; infinite until another ends."""
        while self.sent and self.sent[0][0] <= now - MINUTE:
            gone = self.sent.popleft()
            self.sum -= gone[1]
            gone[0] = -math.inf  # a call may take longer than a minute: when it ends, it does not count any more
        if self.given.concurrent is not None and self.in_flight >= self.given.concurrent:
            return math.inf
        wait = self.closed_until - now
        if self.requests is not None and len(self.sent) >= self.requests:
            wait = max(wait, self.sent[-self.requests][0] + MINUTE - now)
        if self.tokens is not None and self.sent and self.sum + tokens > self.tokens:
            wait = max(wait, self.sent[0][0] + MINUTE - now)
        return wait


class _Door:
    """Where the callers of one event loop queue, first come, first served: by model, and then those whom their models'
    limits let through, so that one model's limit keeps no other waiting."""

    def __init__(self) -> None:
        self.lines: defaultdict[_Rate, anyio.Lock] = defaultdict(anyio.Lock)
        self.turn = anyio.Lock()
        self.changed = anyio.Event()

    async def until(self, wait: Callable[[], float]) -> None:
        """Until there is nothing to wait for."""
        while (left := wait()) > 0:
            changed = self.changed
            with anyio.move_on_after(min(left, _POLL)):
                await changed.wait()


class Ticket:
    """A call that was let through."""

    __slots__ = ("at", "entry", "rate")

    def __init__(self, at: float, rate: _Rate, entry: list[float]) -> None:
        self.at, self.rate, self.entry = at, rate, entry


class Limiter:
    """One endpoint's limits, shared by everything in the process that talks to it.

    Requests and tokens a minute are held by model, as vendors count them; what is not given is learnt from the
    server's rate-limit headers. How many calls are under way adapts to the endpoint as a whole: a 429
    halves it, once for all the calls that met it together; each success lets it grow a little. While nothing but 429s
    come, nobody is sent.
    """

    def __init__(self) -> None:
        self.window = math.inf
        self.in_flight = 0
        self.refused = 0  # groups of 429s since the last success
        self.closed_until = 0.0
        self._halved = -math.inf
        self._lock = threading.Lock()  # debates in several threads may share an endpoint
        self._queued = self._waiting = 0  # all who wait; those whom only the endpoint keeps waiting
        self._rates: dict[str, _Rate] = {}
        self._door: RunVar[_Door] = RunVar("agora_door")

    def rate(self, model: str, limits: Limits = _UNKNOWN) -> _Rate:
        """The rates of a model; limits that are given replace learnt ones."""
        rate = self._rates.get(model)
        if rate is None:
            rate = self._rates.setdefault(model, _Rate())
        if limits is not _UNKNOWN and rate.given != limits != _UNKNOWN:
            rate.give(limits)
        return rate

    def _here(self) -> _Door:
        try:
            return self._door.get()
        except LookupError:
            door = _Door()
            self._door.set(door)
            return door

    def _wait(self, now: float) -> float:
        """Seconds until the endpoint lets a call through; infinite until another ends."""
        full = self.window < math.inf and self.in_flight >= max(1, math.floor(self.window))
        return math.inf if full else self.closed_until - now

    def _left(self, rate: _Rate, tokens: float) -> float:
        """Seconds until a model's own limits let a call through."""
        with self._lock:
            return rate.wait(tokens, time.monotonic())

    def _admit(self, rate: _Rate, tokens: int) -> Ticket | None:
        """Count a call, if it may be sent now."""
        with self._lock:
            now = time.monotonic()
            if self._wait(now) > 0 or rate.wait(tokens, now) > 0:
                return None
            entry = [now, float(tokens)]
            rate.sent.append(entry)
            rate.sum += tokens
            rate.in_flight += 1
            self.in_flight += 1
            return Ticket(now, rate, entry)

    async def enter(self, rate: _Rate, tokens: int) -> Ticket:
        """Wait until a call may be sent, and count it.

        Args:
            rate: of the model that is called.
            tokens: what it is expected to take, in and out.
        """
        if not (rate.waiting or self._waiting) and (ticket := self._admit(rate, tokens)) is not None:
            return ticket
        self._count(rate, 1)
        try:
            return await self._queue(rate, tokens)
        finally:
            self._count(rate, -1)

    def _count(self, rate: _Rate, change: int) -> None:
        with self._lock:
            rate.waiting += change
            self._queued += change

    async def _queue(self, rate: _Rate, tokens: int) -> Ticket:
        door = self._here()
        async with door.lines[rate]:
            while True:
                await door.until(lambda: self._left(rate, tokens))
                self._waiting += 1
                try:
                    async with door.turn:
                        await door.until(lambda: self._wait(time.monotonic()))
                        if (ticket := self._admit(rate, tokens)) is not None:
                            return ticket
                finally:
                    self._waiting -= 1

    def leave(self, ticket: Ticket, tokens: int | None = None) -> None:
        """A call has ended; `tokens` is what it took, where that is known."""
        rate, entry = ticket.rate, ticket.entry
        with self._lock:
            rate.in_flight -= 1
            self.in_flight -= 1
            if tokens is not None and entry[0] > -math.inf:
                rate.sum += tokens - entry[1]
                entry[1] = float(tokens)
        if self._queued:
            door = self._here()
            door.changed.set()
            door.changed = anyio.Event()

    def succeeded(self) -> None:
        """A call was answered."""
        self.refused = 0
        if self.window < math.inf:
            self.window += 1 / self.window

    def throttled(self, ticket: Ticket, retry_after: float | None) -> None:
        """A call met a 429."""
        now = time.monotonic()
        if ticket.at >= self._halved:  # sent after the last halving: news
            self.refused += 1
            self.window = max(1.0, min(self.window, float(self.in_flight)) / 2)
            self._halved = now
        if self.refused > 1:
            pause = min(30.0, 0.25 * 2 ** min(self.refused, 8)) if retry_after is None else min(retry_after, MINUTE)
            self.closed_until = max(self.closed_until, now + pause)

    def learn(self, rate: _Rate, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take in the rate-limit headers of a reply, OpenAI's or Anthropic's, as raw names and values."""
        told = {
            name.lower().decode("latin-1").removeprefix("x-ratelimit-").removeprefix("anthropic-ratelimit-"): value
            for name, value in headers
            if b"ratelimit-" in name.lower()
        }
        for name in ("requests", "tokens") if told else ():
            limit = _number(told, f"limit-{name}", f"{name}-limit")
            if limit and getattr(rate.given, f"{name}_per_minute") is None:
                setattr(rate, name, max(1, int(limit) // _among))
            left = _number(told, f"remaining-{name}", f"{name}-remaining")
            if left is not None and left < 1:
                reset = told.get(f"reset-{name}") or told.get(f"{name}-reset")
                wait = until(reset.decode("latin-1")) if reset else None
                if wait is not None:
                    rate.closed_until = max(rate.closed_until, time.monotonic() + min(wait, MINUTE))


def _number(told: Mapping[str, bytes], *names: str) -> float | None:
    for name in names:
        if (text := told.get(name)) is not None:
            try:
                number = float(text)
            except ValueError:
                return None
            return number if math.isfinite(number) else None
    return None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def until(text: str) -> float | None:
    """Seconds until a time as headers write it: seconds, '6m12.5s', an HTTP date, an ISO time; None if it is none."""
    import re

    text = text.strip()[:80]
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text))
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            when = read(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            return max(0.0, when.timestamp() - time.time())
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


_limiters: dict[tuple[str, str], Limiter] = {}


def limiter_of(url: str, key: str) -> Limiter:
    """The limiter of an endpoint, by its address and the key it is used with."""
    return _limiters.setdefault((url, key), Limiter())
