"""Chat completions: OpenAI, and every server that speaks its protocol (vLLM, Ollama, llama.cpp, OpenRouter, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from agora.errors import (
    AuthError,
    ContextError,
    FilterError,
    MalformedError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
    RateLimitError,
    RequestError,
    ServerError,
)
from agora.model import Settings
from agora.records import Message, Reply, Usage


def translate(error: Exception, status: int | None, model: str) -> ModelError:
    """A vendor's error as one of ours; both SDKs name theirs alike."""
    kind = type(error).__name__
    said = " ".join(str(getattr(error, "message", error)).split())[:300]
    if status == 429:
        return RateLimitError("too many requests.", model=model, retry_after=_seconds(error))
    if status in (401, 403):
        return AuthError(f"the server refuses the key ({status}).", model=model, hint="Check the key and its rights.")
    if status is not None and status >= 500:
        return ServerError(f"the server failed ({status}): {said}", model=model)
    if status in (408, 409):
        return ServerError(f"the server asks to try again ({status}): {said}", model=model)
    if status is not None and any(word in said for word in ("context_length", "maximum context", "too long")):
        return ContextError(
            "the prompt is longer than the model's context.", model=model, hint="Use fewer rounds or peers."
        )
    if status is not None:
        return RequestError(f"the server rejects the request ({status}): {said}", model=model)
    if "Timeout" in kind:
        return ModelTimeoutError("no reply in time.", model=model)
    if "Connection" in kind:
        return ModelConnectionError(f"cannot be reached: {said}", model=model, hint="Is the server running?")
    return MalformedError(f"a reply that cannot be read: {kind}", model=model)


def _seconds(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    try:
        return float(response.headers["retry-after"]) if response is not None else None
    except (KeyError, ValueError):
        return None


class OpenAIModel:
    """A model behind a chat-completions endpoint.

    Args:
        model: the server's name for it.
        api_key: the key; local servers take any.
        base_url: where the server is; None is OpenAI.
        extra: passed through in the request.
        client: an `AsyncOpenAI` to use instead of a new one.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        extra: Mapping[str, Any] | None = None,
        client: Any = None,
    ) -> None:
        self._model, self._key, self._url, self._extra, self._given = (
            model,
            api_key,
            base_url,
            dict(extra or {}),
            client,
        )

    @property
    def name(self) -> str:
        """What users call it."""
        return f"openai:{self._model}"

    @cached_property
    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        from openai import AsyncOpenAI  # late: the SDK is slow to import

        return AsyncOpenAI(api_key=self._key, base_url=self._url, max_retries=2)

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: translated from the SDK's errors.
        """
        sampling = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_completion_tokens": settings.max_tokens,
            "seed": settings.seed,
            "stop": list(settings.stop) if settings.stop else None,
        }
        try:
            done = await self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": m.role, "content": m.content} for m in messages],
                **{k: v for k, v in sampling.items() if v is not None},
                extra_body=self._extra or None,
            )
            choice, usage = done.choices[0], done.usage
            if choice.finish_reason == "content_filter":
                raise FilterError("a content filter withheld the reply.", model=self.name)
            text = choice.message.content
        except ModelError:
            raise
        except Exception as error:
            raise translate(error, getattr(error, "status_code", None), self.name) from error
        if not isinstance(text, str) or not text.strip():
            raise MalformedError("an empty reply.", model=self.name)
        cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None) or 0
        used = Usage(1, usage.prompt_tokens, usage.completion_tokens, cached, None) if usage else Usage(1, usd=None)
        return Reply(text, model=self.name, usage=used)
