"""Messages: Anthropic's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from agora.errors import FilterError, MalformedError, ModelError
from agora.model import Settings
from agora.models.openai import translate
from agora.records import Message, Reply, Usage

DEFAULT_MAX_TOKENS = 4096  # the API demands a number


class AnthropicModel:
    """A model behind Anthropic's messages endpoint.

    Args:
        model: the server's name for it.
        api_key: the key.
        base_url: another server that speaks the protocol.
        extra: passed through in the request.
        client: an `AsyncAnthropic` to use instead of a new one.
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
        return f"anthropic:{self._model}"

    @cached_property
    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        from anthropic import AsyncAnthropic  # late: the SDK is slow to import

        return AsyncAnthropic(api_key=self._key, base_url=self._url, max_retries=2)

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Answer a conversation. The API has no seed; one in the settings is not sent.

        Raises:
            ModelError: translated from the SDK's errors.
        """
        system = "\n\n".join(m.content for m in messages if m.role == "system")
        # the SDK's typed arguments no longer include sampling, the API does
        body = {
            "system": system or None,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "stop_sequences": list(settings.stop) if settings.stop else None,
        }
        try:
            done = await self._client.messages.create(
                model=self._model,
                max_tokens=settings.max_tokens or DEFAULT_MAX_TOKENS,
                messages=[{"role": m.role, "content": m.content} for m in messages if m.role != "system"],
                extra_body={**{k: v for k, v in body.items() if v is not None}, **self._extra},
            )
            if done.stop_reason == "refusal":
                raise FilterError("the model's safety filter withheld the reply.", model=self.name)
            text = "".join(block.text for block in done.content if block.type == "text")
            thought = "".join(block.thinking for block in done.content if block.type == "thinking")
        except ModelError:
            raise
        except Exception as error:
            raise translate(error, getattr(error, "status_code", None), self.name) from error
        if not text.strip():
            raise MalformedError("an empty reply.", model=self.name)
        used, cached = done.usage, done.usage.cache_read_input_tokens or 0
        tokens_in = used.input_tokens + cached + (used.cache_creation_input_tokens or 0)
        usage = Usage(1, tokens_in, used.output_tokens, cached, None)
        return Reply(text, model=self.name, usage=usage, reasoning=thought or None)
