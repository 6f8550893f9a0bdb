"""Messages: Anthropic's models, and servers that speak its protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from agora.budget import listed_price, priced
from agora.errors import FilterError, MalformedError, ModelError
from agora.model import Settings
from agora.models import endpoint
from agora.models.hosted import HostedModel
from agora.models.limits import Limiter
from agora.records import Message, Reply, Usage

DEFAULT_URL = "https://api.anthropic.com"
DEFAULT_MAX_TOKENS = 4096  # the API demands a number
CACHE = {"type": "ephemeral"}


class AnthropicModel(HostedModel):
    """A model behind Anthropic's messages endpoint: one request a call, no retries (see `agora.models.wrappers`).

    The stable beginning of a prompt (the system message, and the question) is marked for the provider's cache.

    Args:
        model: the server's name for it.
        api_key: the key.
        base_url: another server that speaks the protocol; default: ANTHROPIC_BASE_URL, else Anthropic.
        reasoning: effort of adaptive thinking: 'none' (off), 'low', 'medium', 'high'.
        thinking: tokens to think with at most, for models that take a number instead of an effort.
        structured: how to ask for a JSON Schema: 'native', or in the 'prompt' where the server cannot.
        price: what a usage costs in USD; default: as listed by `genai-prices`.
        extra: passed through in the request.
        limiter: is told the server's rate-limit headers.
        client: an `AsyncAnthropic` to use instead of a shared one.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        reasoning: endpoint.Effort | None = None,
        thinking: int | None = None,
        structured: Literal["native", "prompt"] = "native",
        price: Callable[[Usage], float | None] | None = None,
        extra: Mapping[str, Any] | None = None,
        limiter: Limiter | None = None,
        client: Any = None,
    ) -> None:
        self._model, self._key, self._given = model, endpoint.check_key(api_key), client
        self._url = endpoint.check_url(base_url or os.environ.get("ANTHROPIC_BASE_URL") or DEFAULT_URL)
        self._extra, self._reasoning, self._thinking = dict(extra or {}), reasoning, thinking
        self._structured, self._limiter = structured, limiter
        self.name = f"anthropic:{model}"
        pinned = json.dumps([reasoning, thinking, structured, self._extra], sort_keys=True, default=str)
        self.identity = f"{self.name} {self._url} {pinned}"
        self.cost = price or listed_price(model, "anthropic" if self._url == DEFAULT_URL else None, self._url)

    async def _client(self) -> Any:
        if self._given is not None:
            return self._given
        key, url = self._key, self._url
        return await endpoint.client(
            "anthropic",
            (url, key),
            lambda sdk, http: sdk.AsyncAnthropic(
                api_key=key, base_url=url, http_client=http, max_retries=0, default_headers=endpoint.quiet(sdk)
            ),
        )

    def _body(self, messages: Sequence[Message], settings: Settings) -> dict[str, Any]:
        """The request. The API has no seed; one in the settings is not sent."""
        body: dict[str, Any] = {"model": self._model, "max_tokens": settings.max_tokens or DEFAULT_MAX_TOKENS}
        system = "\n\n".join(endpoint.clean(m.content) for m in messages if m.role == "system")
        if system:
            body["system"] = [{"type": "text", "text": system, "cache_control": CACHE}]
        said = [m for m in messages if m.role != "system"]
        # four marks are the most that the API takes
        contents = [endpoint.clean(m.content) if i else _blocks(m) for i, m in enumerate(said)]
        if len(said) > 2:  # a chat: all but the last message returns in the next call
            contents[-2] = [{"type": "text", "text": contents[-2], "cache_control": CACHE}]
        body["messages"] = [{"role": m.role, "content": content} for m, content in zip(said, contents, strict=True)]
        thinks = self._thinking is not None or (self._reasoning is not None and self._reasoning != "none")
        # with thinking the API takes neither; they are the user's, so it is the API that should say so
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        for name in ("top_p", "top_k", "min_p"):
            if (value := getattr(settings, name)) is not None:
                body[name] = value
        if settings.stop:
            body["stop_sequences"] = list(settings.stop)
        if self._thinking is not None:
            body["thinking"] = {"type": "enabled", "budget_tokens": self._thinking}
            body["max_tokens"] = max(body["max_tokens"], self._thinking + 1024)
        elif self._reasoning is not None:
            body["thinking"] = {"type": "adaptive" if thinks else "disabled"}
        output: dict[str, Any] = {}
        if thinks and self._reasoning is not None:
            output["effort"] = "low" if self._reasoning == "minimal" else self._reasoning
        if settings.schema is not None:
            if self._structured == "native":
                output["format"] = {"type": "json_schema", "schema": dict(settings.schema)}
            else:
                last = body["messages"][-1]
                more = {"type": "text", "text": endpoint.schema_instruction(settings.schema)}
                content = last["content"]
                text = [{"type": "text", "text": content}] if isinstance(content, str) else content
                last["content"] = [*text, more]
        if output:
            body["output_config"] = output
        return {**body, **self._extra}

    async def _posted(self, client: Any, body: dict[str, Any]) -> Any:
        return await endpoint.posted(client, "/v1/messages", body, model=self.name, limiter=self._limiter)

    async def _streamed(self, client: Any, body: dict[str, Any], tell: Callable[[str], None]) -> Any:
        """As `_posted`, but piece by piece."""
        from anthropic import AsyncStream
        from anthropic.types import RawMessageStreamEvent

        stream = await client.post(
            "/v1/messages",
            cast_to=dict[str, Any],
            body={**body, "stream": True},
            stream=True,
            stream_cls=AsyncStream[RawMessageStreamEvent],
        )
        text: list[str] = []
        thought: list[str] = []
        usage: dict[str, Any] = {}
        stop, size = None, 0
        async with stream:
            async for event in stream:
                data = event if isinstance(event, dict) else event.to_dict()
                delta = data.get("delta") or {}
                if data.get("type") == "message_start":
                    usage.update(data["message"].get("usage") or {})
                elif data.get("type") == "message_delta":
                    usage.update({k: v for k, v in (data.get("usage") or {}).items() if v is not None})
                    stop = delta.get("stop_reason") or stop
                elif piece := delta.get("text"):
                    text.append(piece)
                    size += len(piece)
                    tell(piece)
                elif piece := delta.get("thinking"):
                    thought.append(piece)
                if size > endpoint.MAX_REPLY:
                    break
        if stop is None and size <= endpoint.MAX_REPLY:
            raise MalformedError("the stream ended before the reply was whole.", model=self.name)
        content = [{"type": "thinking", "thinking": "".join(thought)}, {"type": "text", "text": "".join(text)}]
        return {"content": content, "usage": usage, "stop_reason": stop}

    @staticmethod
    def _usage(data: Mapping[str, Any], seconds: float) -> Usage:
        read, written = int(data.get("cache_read_input_tokens") or 0), int(data.get("cache_creation_input_tokens") or 0)
        thought = int((data.get("output_tokens_details") or {}).get("thinking_tokens") or 0)
        return Usage(1, int(data["input_tokens"]) + read + written, int(data["output_tokens"]), read,
                     seconds=seconds, reasoning_tokens=thought, cache_write_tokens=written)  # fmt: skip

    def _reply(self, done: Any, settings: Settings, seconds: float) -> Reply:
        try:
            stop = done["stop_reason"]
            if stop == "refusal":
                raise FilterError("the model's safety filter withheld the reply.", model=self.name)
            text = "".join(block["text"] for block in done["content"] if block["type"] == "text")
            thought = "".join(block.get("thinking") or "" for block in done["content"] if block["type"] == "thinking")
            usage = self._usage(done["usage"], seconds)
        except ModelError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MalformedError("a reply without an answer.", model=self.name) from error
        finish = {"max_tokens": "length", "end_turn": "stop", "stop_sequence": "stop"}.get(str(stop), str(stop))
        text = endpoint.usable(text, model=self.name, key=self._key, finish=finish, thought=bool(thought))
        if settings.schema is not None:
            text = endpoint.held_to(settings.schema, text, self.name)
        return Reply(
            text,
            model=self.name,
            usage=priced(usage, self.cost),
            reasoning=endpoint.hide(endpoint.clean(thought), self._key) or None,
            finish=finish,
        )


def _blocks(message: Message) -> Any:
    """A message's content, cut where its stable part ends, so that the cache can be told."""
    text = endpoint.clean(message.content)
    if not 0 < message.stable < len(text):
        return text
    head, tail = text[: message.stable], text[message.stable :]
    if not tail.strip():
        return text
    return [{"type": "text", "text": head, "cache_control": CACHE}, {"type": "text", "text": tail}]
