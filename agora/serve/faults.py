"""Errors as HTTP: a status, a word, and the same in each API's form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agora.calls import sentence
from agora.errors import (
    AgoraError,
    BudgetError,
    ConfigError,
    ContextError,
    FilterError,
    InputError,
    MissingError,
    ModelError,
    ModelTimeoutError,
    RateLimitError,
    RefusalError,
    RequestError,
    StoreError,
    TemplateError,
)
from agora.serve.asked import Refused

_OPENAI = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ANTHROPIC = {401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
              413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
              504: "timeout_error"}  # fmt: skip
# of the server's own making: their texts have its paths in them
_OWN = (
    (StoreError, "the journal cannot be written", "store_error"),
    (MissingError, "the server lacks something that the model needs", "missing"),
    ((ConfigError, TemplateError), "a file of the server is wrong", "configuration"),
)


@dataclass(frozen=True)
class Fault:
    """An error as HTTP has it.

    Attributes:
        status: of HTTP.
        message: one sentence.
        code: a word for it.
        param: the field that is wrong.
        retry_after: seconds after which it may be tried again; None: trying again does not help.
        run: id of the run that failed, if one had begun.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    run: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those that it adds to a response. Clients try again by themselves, which would be paid for again."""
        made = {"x-should-retry": "false" if self.retry_after is None else "true"}
        if self.retry_after is not None:
            made["retry-after"] = str(math.ceil(self.retry_after))
        if self.status == 401:
            made["www-authenticate"] = "Bearer"
        if self.run is not None:
            made["x-agora-run"] = self.run
        return made

    def openai(self) -> dict[str, Any]:
        """The body in the form of chat completions."""
        kind = _OPENAI.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        body: dict[str, Any] = {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        }
        return body if self.run is None else {**body, "agora": {"run": self.run}}

    def anthropic(self) -> dict[str, Any]:
        """The body in the form of messages."""
        kind = _ANTHROPIC.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": self.message}}
        return body if self.run is None else {**body, "agora": {"run": self.run}}


def fault(error: BaseException) -> Fault:
    """An error as HTTP has it. What was not foreseen is said without its text, which may be anything."""
    run = getattr(error, "run", None)
    if isinstance(error, Refused):
        return Fault(error.status, str(error), error.code, error.param, error.retry_after, run)
    if not isinstance(error, AgoraError):
        return Fault(500, "the server failed; its log says more.", "internal_error", run=run)
    for kinds, what, code in _OWN:
        if isinstance(error, kinds):
            return Fault(500, f"{what}; the server's log says more.", code, run=run)
    message = " ".join(sentence(error).split())
    status, code, after = _meaning(error)
    return Fault(status, message, code, None, after, run)


def _meaning(error: AgoraError) -> tuple[int, str, float | None]:
    match error:
        case InputError():
            return 400, "invalid_value", None
        case BudgetError():
            return (504, "timeout", None) if error.limit == "seconds" else (402, "budget_exceeded", None)
        case ContextError():
            return 400, "context_length_exceeded", None
        case RateLimitError():
            return 429, "rate_limit_exceeded", error.retry_after or 5.0
        case FilterError() | RefusalError():
            return 400, "content_filter" if isinstance(error, FilterError) else "refusal", None
        case ModelTimeoutError():
            return 504, "timeout", None
        case RequestError():
            return 400, "invalid_request", None
        case ModelError():
            return 502, "model_error", None
        case _:
            return 502, "no_verdict", None
