"""Models around models: pinned settings, retries, timeouts, limits, fallbacks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio

from agora import calls
from agora.errors import BudgetError, InputError, MalformedError, ModelError, ModelTimeoutError
from agora.journal import Journal, Recorder
from agora.model import Model, Settings
from agora.models.limits import Limiter, Limits, part
from agora.records import Message, Reply, Usage

if TYPE_CHECKING:
    from tenacity import RetryCallState


class _Around:
    """A model around one other: everything but `answer` is the inner model's."""

    def __init__(self, model: Model) -> None:
        self._model = model
        # asked for at every call, and absent from most models
        self.members = getattr(model, "members", ())
        self.prompts = getattr(model, "prompts", None)
        self.fixed_prompts = getattr(model, "fixed_prompts", False)
        self.identity: str = getattr(model, "identity", model.name)
        self.name = model.name

    @property
    def inner(self) -> Model:
        """The model inside."""
        return self._model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy asks for these before there is a model
            raise AttributeError(name)
        return getattr(self._model, name)


class WithSettings(_Around):
    """A model with some settings pinned; everything else is the model's own."""

    def __init__(self, model: Model, settings: Settings) -> None:
        super().__init__(model)
        self._settings = self.pinned = settings
        self.identity = f"{self.identity} {settings.pinned}"

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The model's answer, under the pinned settings."""
        return await self._model.answer(messages, self._settings.over(settings))


def with_settings(model: Model, settings: Settings) -> Model:
    """The model itself if nothing is pinned."""
    return model if settings == Settings() else WithSettings(model, settings)


class Timeout(_Around):
    """A model that is given up after some seconds a request.

    Raises:
        InputError: if `seconds` is not positive.
    """

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        if not seconds > 0:
            raise InputError(f"timeout: must be positive, it is {seconds}.")
        self._seconds = seconds

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The model's answer.

        Raises:
            ModelTimeoutError: if there is none in time.
        """
        with anyio.move_on_after(self._seconds):
            return await self._model.answer(messages, settings)
        raise ModelTimeoutError(f"no reply in {self._seconds:g} seconds.", model=self.name)


class Limited(_Around):
    """A model that is asked only when its endpoint's limiter lets the call through.

    Args:
        model: the model.
        limiter: of its endpoint, shared by all who talk to it.
        limits: of this model there; what is None is learnt.
    """

    def __init__(self, model: Model, limiter: Limiter, limits: Limits = Limits()) -> None:
        super().__init__(model)
        self._limiter, self._limits = limiter, part(limits)

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The model's answer, when it may be asked.

        Raises:
            ModelError: as the model.
        """
        limiter = self._limiter
        rate = limiter.rate(self.name, self._limits)
        expected = calls.estimate_tokens(messages) + (settings.max_tokens or 400)
        ticket = await limiter.enter(rate, expected)
        tokens: int | None = None
        try:
            reply = await self._model.answer(messages, settings)
            tokens = reply.usage.tokens
            limiter.succeeded()
            return reply
        except ModelError as error:
            if type(error).__name__ == "RateLimitError":
                limiter.throttled(ticket, getattr(error, "retry_after", None))
            raise
        finally:
            limiter.leave(ticket, tokens)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on asking. Waits are exponential with full jitter, or what the server asks and a little jitter.

    Attributes:
        attempts: most requests for one reply.
        seconds: most time from the first request to the last.
        malformed: most requests for one reply of those that come back unreadable: they are paid for.
        base: seconds that the first wait has at most.
        most: seconds that any wait has at most, unless the server asks for more.
    """

    attempts: int = 20
    seconds: float = 900.0
    malformed: int = 4
    base: float = 0.5
    most: float = 20.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not self.seconds >= 0 or self.malformed < 1:
            raise InputError("retry: attempts must be at least 1, and seconds not negative.")


class Retry(_Around):
    """A model that is asked again when it fails in a way that may pass: too many requests, a server that fails, a
    connection that breaks, no reply in time, a reply that cannot be read. What cannot pass fails at once."""

    def __init__(self, model: Model, policy: RetryPolicy = RetryPolicy()) -> None:
        super().__init__(model)
        self._policy = policy

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The model's answer.

        Raises:
            ModelError: the last one, when it is given up; `attempts` says how often it was asked.
        """
        try:
            return await self._model.answer(messages, settings)
        except ModelError as error:
            if not error.retryable or self._policy.attempts == 1:
                raise
            first: list[ModelError] = [error]
            spent = error.usage or Usage()
        return await self._again(first, spent, messages, settings)

    async def _again(
        self, first: list[ModelError], spent: Usage, messages: Sequence[Message], settings: Settings
    ) -> Reply:
        import tenacity  # late: most calls never need it

        policy, unread = self._policy, 0

        async def attempt() -> Reply:
            if first:
                raise first.pop()  # the first attempt has been made
            try:
                return await self._model.answer(messages, settings)
            except ModelError as error:
                nonlocal spent
                spent = spent + (error.usage or Usage())
                raise

        def hopeless(state: RetryCallState) -> bool:
            nonlocal unread
            unread += isinstance(state.outcome and state.outcome.exception(), MalformedError)
            return unread >= policy.malformed

        retrying: Any = tenacity.AsyncRetrying(
            sleep=anyio.sleep,
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(policy.attempts),
                tenacity.stop_before_delay(policy.seconds),
                hopeless,  # type: ignore[arg-type]
            ),
            wait=self._wait,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ModelError) and error.retryable),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            reply: Reply = await retrying(attempt)
        except ModelError as error:
            error.attempts = int(retrying.statistics.get("attempt_number", 1))
            error.usage = spent if spent.calls else None
            if error.retryable:
                wait = getattr(error, "retry_after", None)
                asked = f" (the server asks to wait {wait:.0f} seconds)" if wait and wait > policy.seconds else ""
                said = error.message.partition("; given up after")[0].rstrip(".")  # it may be raised again
                error.message = f"{said}; given up after {error.attempts} attempts{asked}."
                error.args = (error.message,)
            raise
        attempts = int(retrying.statistics.get("attempt_number", 1))
        return replace(reply, attempts=attempts, usage=reply.usage + spent if spent.calls else reply.usage)

    def _wait(self, state: RetryCallState) -> float:
        policy = self._policy
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        if asked is not None and not asked >= 0:
            asked = None
        full = min(policy.most, policy.base * 2.0 ** (state.attempt_number - 1))
        # jitter is not of the run's seed: processes that met a limit together must not meet again
        return float(asked) + random.uniform(0, min(1.0, full)) if asked is not None else random.uniform(0, full)

    def _tell(self, state: RetryCallState) -> None:
        listen = calls.current().listen
        error = state.outcome.exception() if state.outcome else None
        if listen is not None and error is not None:
            listen(calls.Wait(self.name, calls.sentence(error), state.upcoming_sleep, state.attempt_number))


class Fallback:
    """Models tried in order until one answers.

    Args:
        members: the models, the preferred one first.
        name: as a model.
        when: whether an error lets the next one try; default: every `ModelError`.

    Raises:
        InputError: if there are none.
    """

    def __init__(
        self,
        members: Sequence[Model],
        *,
        name: str = "fallback",
        when: Callable[[ModelError], bool] = lambda error: True,
    ) -> None:
        if not members:
            raise InputError("fallback: needs at least one model.")
        self.members = tuple(members)
        self._name, self._when = name, when

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def prompts(self) -> str | None:
        """The style of templates that all members share."""
        styles = {getattr(member, "prompts", None) for member in self.members}
        return styles.pop() if len(styles) == 1 else None

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The answer of the first member that gives one.

        Raises:
            ModelError: the last member's, naming all.
        """
        said: list[str] = []
        spent = Usage()
        for i, member in enumerate(self.members):
            try:
                reply = await calls.ask(member, messages, settings, at=f"{i}")
            except (BudgetError, InputError):
                raise
            except ModelError as error:
                said.append(calls.sentence(error))
                spent = spent + (error.usage or Usage())
                if not self._when(error) or i == len(self.members) - 1:
                    last = ModelError(f"no model answered: {'; '.join(said)}", model=self.name)
                    last.usage = spent if spent.calls else None
                    raise last from error
            else:
                return replace(reply, parts=(reply,), usage=reply.usage + spent) if said else reply
        raise AssertionError


class Replay(_Around):
    """A model whose calls are recorded in a journal, as a run of their own, and answered from it when they are made
    again: by the same script after a crash, say. Inside a journaled debate there is no need for it.

    Calls are told apart by their messages and settings, and equal ones by their order, so that repeated samples stay
    different. For replies of any run, whatever its id, open the journal with `reuse=True`.

    Args:
        model: the model.
        journal: an open journal.
        run: the id of the run.
    """

    def __init__(self, model: Model, journal: Journal, run: str) -> None:
        super().__init__(model)
        self._journal, self._run = journal, run
        self._recorder: Recorder | None = None
        self._opening: anyio.Lock | None = None

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The recorded reply, else the model's answer, durable before it is returned.

        Raises:
            StoreError: if it cannot be recorded.
        """
        self._opening = self._opening or anyio.Lock()
        async with self._opening:
            if self._recorder is None:
                name = self._model.name
                self._recorder = await self._journal.begin(self._run, question=name, name=name, seed=0, again=True)
        # inside a call, that call has been counted already
        meters = () if calls.current().whole else calls.current().meters
        with calls.scope(recorder=self._recorder, path="", whole=False, meters=meters):
            return await calls.ask(self._model, messages, settings, at="replay")
