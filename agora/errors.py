"""The error tree. Every error is one sentence that says what happened, where, and what to do.

AgoraError
├── InputError              what the caller gave is wrong (exit status 2)
│   ├── ConfigError         a YAML file: carries file and line
│   ├── TemplateError       a prompt template: carries its name
│   ├── TopologyError       a communication graph
│   ├── MissingError        something to be installed or set: an extra, a key in the environment
│   └── StoreError          a journal's store cannot be opened, read or written
├── ModelError              a model gave no usable reply; `retryable` says whether asking again may help
│   ├── RefusalError        the model will not or cannot answer this question
│   ├── RateLimitError      too many requests; `retry_after` in seconds where the server said so
│   ├── ModelTimeoutError   no reply in time
│   ├── ModelConnectionError the server could not be reached or the connection broke
│   ├── ServerError         the server failed
│   ├── MalformedError      a reply that cannot be read
│   ├── AuthError           the key is wrong or lacks a right
│   ├── RequestError        the server rejects this request whatever the number of tries
│   │   └── ContextError    the prompt is longer than the model's context
│   └── FilterError         a content filter withheld the reply
├── DebateError             the debate cannot reach a verdict (exit status 1)
│   └── QuorumError         too few agents spoke
└── BudgetError             a budget ended the run before there was a verdict (exit status 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agora.records import Round, Usage


class AgoraError(Exception):
    """Root of all errors agora raises on purpose.

    Args:
        message: one sentence: what happened and where.
        hint: what to do about it; appended to the message when shown.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[AgoraError], args: tuple[Any, ...], state: dict[str, Any]) -> AgoraError:
    """An error as it was in another process."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def sentence(error: BaseException) -> str:
    """An error as one line for a record."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, AgoraError) else f"{type(error).__name__}: {text}"


class InputError(AgoraError):
    """What the caller gave is wrong."""

    exit_status = 2


class ConfigError(InputError):
    """A debate file is wrong.

    Args:
        message: what is wrong.
        file: name of the file, as the user gave it.
        line: 1-based line, where known.
        hint: what to do.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where = f"{where}:{self.line}" if where else f"line {self.line}"
        text = super().__str__()
        return f"{where}: {text}" if where else text


class TemplateError(InputError):
    """A prompt template cannot be found, parsed or rendered."""


class TopologyError(InputError):
    """A communication graph does not fit its agents."""


class MissingError(InputError):
    """Something must be installed or set before this can work: an extra, a key in the environment."""


class StoreError(InputError):
    """A journal's store cannot be opened, read or written."""


class ModelError(AgoraError):
    """A model gave no usable reply.

    Args:
        message: what happened.
        model: name of the model.
        hint: what to do.

    Attributes:
        attempts: requests that were sent until it was given up.
        usage: what replies that could not be used took, where that is known: they are paid for.
    """

    retryable = False

    def __init__(self, message: str, *, model: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.model = model
        self.attempts = 1
        self.usage: Usage | None = None

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.model}: {text}" if self.model else text


class RefusalError(ModelError):
    """The model will not or cannot answer this question."""


class _AskedToWait(ModelError):
    """With `retry_after`: seconds to wait, where the server said so."""

    retryable = True

    def __init__(
        self, message: str, *, model: str | None = None, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, model=model, hint=hint)
        self.retry_after = retry_after


class RateLimitError(_AskedToWait):
    """The server says: too many requests."""


class ServerError(_AskedToWait):
    """The server failed."""


class ModelTimeoutError(ModelError):
    """No reply in time."""

    retryable = True


class ModelConnectionError(ModelError):
    """The server could not be reached, or the connection broke."""

    retryable = True


class MalformedError(ModelError):
    """A reply that cannot be read."""

    retryable = True


class AuthError(ModelError):
    """The key is wrong or lacks a right."""


class RequestError(ModelError):
    """The server rejects this request, whatever the number of tries."""


class ContextError(RequestError):
    """The prompt is longer than the model's context."""


class FilterError(ModelError):
    """A content filter withheld the reply."""


class DebateError(AgoraError):
    """A debate cannot reach a verdict.

    Args:
        rounds: what was said until then, so that nothing is lost.
    """

    def __init__(self, message: str, *, hint: str | None = None, rounds: tuple[Round, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.rounds = rounds


class QuorumError(DebateError):
    """Too few agents spoke."""


class BudgetError(AgoraError):
    """A budget ended the run before there was a verdict.

    Args:
        limit: which limit: calls, tokens, usd or seconds.
        meter: the meter whose limit it is.
    """

    exit_status = 3

    def __init__(self, message: str, *, limit: str, hint: str | None = None, meter: object = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.meter = meter
