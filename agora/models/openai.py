"""Chat completions: OpenAI, Azure, and every server that speaks the protocol (vLLM, Ollama, llama.cpp, ...)."""

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
from agora.records import Message, Reply, Token, Usage

DEFAULT_URL = "https://api.openai.com/v1"


class OpenAIModel(HostedModel):
    """A model behind a chat-completions endpoint: one request a call, no retries (see `agora.models.wrappers`).

    Args:
        model: the server's name for it; for Azure the deployment.
        api_key: the key; local servers take any.
        base_url: where the server is; None is OpenAI, or OPENAI_BASE_URL in the environment.
        api_version: makes it an Azure endpoint.
        reasoning: effort of reasoning models: 'none', 'minimal', 'low', 'medium', 'high'.
        structured: how to ask for a JSON Schema: 'native', or in the 'prompt' where the server cannot.
        price: what a usage costs in USD; default: as listed by `genai-prices`.
        extra: passed through in the request.
        limiter: is told the server's rate-limit headers.
        client: an `AsyncOpenAI` to use instead of a shared one.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        api_version: str | None = None,
        reasoning: endpoint.Effort | None = None,
        structured: Literal["native", "prompt"] = "native",
        price: Callable[[Usage], float | None] | None = None,
        extra: Mapping[str, Any] | None = None,
        limiter: Limiter | None = None,
        client: Any = None,
    ) -> None:
        self._model, self._key, self._version, self._given = model, endpoint.check_key(api_key), api_version, client
        self._url = endpoint.check_url(base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL)
        self._extra, self._reasoning, self._structured = dict(extra or {}), reasoning, structured
        self._limiter = limiter
        own = self._url == DEFAULT_URL
        # others know only the older name
        self._limit = "max_completion_tokens" if own or api_version else "max_tokens"
        self._seeded = True  # until the server says that it takes no seed
        self.name = f"openai:{model}"
        pinned = json.dumps([reasoning, structured, self._extra], sort_keys=True, default=str)
        self.identity = f"{self.name} {self._url} {pinned}"
        self.cost = price or listed_price(model, "azure" if api_version else "openai" if own else None, self._url)

    async def _client(self) -> Any:
        if self._given is not None:
            return self._given
        key, url, version = self._key, self._url, self._version

        def make(sdk: Any, http: Any) -> Any:
            common = {"api_key": key, "http_client": http, "max_retries": 0, "default_headers": endpoint.quiet(sdk)}
            if version:
                return sdk.AsyncAzureOpenAI(azure_endpoint=url, api_version=version, **common)
            return sdk.AsyncOpenAI(base_url=url, **common)

        return await endpoint.client("openai", (url, key, version), make)

    def _body(self, messages: Sequence[Message], settings: Settings) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": endpoint.clean(m.content)} for m in messages],
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        for name in ("top_p", "top_k", "min_p"):  # the latter two by vLLM and its like; OpenAI says that it takes none
            if (value := getattr(settings, name)) is not None:
                body[name] = value
        if settings.max_tokens is not None:
            body[self._limit] = settings.max_tokens
        if settings.seed is not None and self._seeded:
            body["seed"] = settings.seed
        if settings.stop:
            body["stop"] = list(settings.stop)
        if settings.logprobs is not None:
            body["logprobs"] = True
            if settings.logprobs:
                body["top_logprobs"] = settings.logprobs
        if self._reasoning is not None:
            body["reasoning_effort"] = self._reasoning
        if settings.schema is not None:
            if self._structured == "native":
                shape = {"name": "answer", "schema": dict(settings.schema)}
                body["response_format"] = {"type": "json_schema", "json_schema": shape}
            else:
                last = body["messages"][-1]
                last["content"] = f"{last['content']}\n\n{endpoint.schema_instruction(settings.schema)}"
        return {**body, **self._extra}

    async def _send(self, client: Any, body: dict[str, Any], tell: Callable[[str], None] | None) -> Any:
        try:
            return await super()._send(client, body, tell)
        except Exception as error:
            if not self._without_seed(error, body):
                raise
        return await super()._send(client, body, tell)

    def _without_seed(self, error: Exception, body: dict[str, Any]) -> bool:
        """Whether to ask again without the seed, which agora sends of itself and some servers reject."""
        rejected = (
            getattr(error, "status_code", None) in (400, 422) and "seed" in f"{error} {getattr(error, 'body', '')}"
        )
        if rejected and "seed" not in self._extra and body.pop("seed", None) is not None:
            self._seeded = False
            return True
        return False

    async def _posted(self, client: Any, body: dict[str, Any]) -> Any:
        return await endpoint.posted(client, "/chat/completions", body, model=self.name, limiter=self._limiter)

    async def _streamed(self, client: Any, body: dict[str, Any], tell: Callable[[str], None]) -> Any:
        """As `_posted`, but piece by piece."""
        from openai import AsyncStream
        from openai.types.chat import ChatCompletionChunk

        stream = await client.post(
            "/chat/completions",
            cast_to=ChatCompletionChunk,
            body={**body, "stream": True, "stream_options": {"include_usage": True}},
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )
        text: list[str] = []
        thought: list[str] = []
        finish, usage, refusal, logprobs, size = None, None, None, list[Any](), 0
        async with stream:
            async for chunk in stream:
                data = chunk.to_dict()
                usage = data.get("usage") or usage
                for choice in data.get("choices") or ():
                    delta = choice.get("delta") or {}
                    if piece := delta.get("content"):
                        text.append(piece)
                        size += len(piece)
                        tell(piece)
                    thought.append(delta.get("reasoning_content") or delta.get("reasoning") or "")
                    logprobs += (choice.get("logprobs") or {}).get("content") or []
                    finish = choice.get("finish_reason") or finish
                    refusal = delta.get("refusal") or refusal
                if size > endpoint.MAX_REPLY:
                    break
        if finish is None and size <= endpoint.MAX_REPLY:
            raise MalformedError("the stream ended before the reply was whole.", model=self.name)
        message = {"content": "".join(text), "reasoning_content": "".join(thought), "refusal": refusal}
        choice = {"message": message, "finish_reason": finish, "logprobs": {"content": logprobs}}
        return {"choices": [choice], "usage": usage}

    @staticmethod
    def _usage(data: Any, seconds: float) -> Usage:
        read, written = ((data or {}).get(name) for name in ("prompt_tokens", "completion_tokens"))
        if not read and not written:  # some servers do not say: unknown is not zero
            return Usage(1, usd=None, seconds=seconds)
        cached = (data.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        thought = (data.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        return Usage(1, int(read or 0), int(written or 0), int(cached), seconds=seconds, reasoning_tokens=int(thought))

    def _reply(self, done: Any, settings: Settings, seconds: float) -> Reply:
        try:
            choice = done["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            text, thought = _parts(message.get("content"))
            if finish == "content_filter":
                raise FilterError("a content filter withheld the reply.", model=self.name)
            if message.get("refusal"):
                refusal = endpoint.hide(endpoint.clean(str(message["refusal"])), self._key)
                raise FilterError(f"the model refuses: {refusal[:200]}", model=self.name)
            thought = message.get("reasoning_content") or message.get("reasoning") or thought
            usage = self._usage(done.get("usage"), seconds)
            tokens = _tokens(choice.get("logprobs"), self._key)
        except ModelError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            said = done.get("error") if isinstance(done, dict) else None
            shown = f": {endpoint.hide(str(said), self._key)[:200]}" if said else ""
            raise MalformedError(f"a reply without an answer{shown}.", model=self.name) from error
        if isinstance(text, str) and not thought:
            text, thought = endpoint.split_reasoning(text)
        text = endpoint.usable(text, model=self.name, key=self._key, finish=finish, thought=bool(thought))
        if settings.schema is not None:
            text = endpoint.held_to(settings.schema, text, self.name)
        return Reply(
            text,
            model=self.name,
            usage=priced(usage, self.cost) if usage.tokens else usage,
            logprob=sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
            reasoning=endpoint.hide(endpoint.clean(str(thought)), self._key)[: endpoint.MAX_REPLY] if thought else None,
            finish=str(finish) if finish else None,
            tokens=tokens,
        )


def _parts(content: Any) -> tuple[Any, str | None]:
    """The text of a message's content, and its reasoning, where a server sends it as a list of parts."""
    if not isinstance(content, list):
        return content, None
    text = "".join(part["text"] for part in content if part.get("type") == "text")
    thoughts = [part.get("thinking") or part.get("text") or "" for part in content if part.get("type") != "text"]
    flat = "".join(t if isinstance(t, str) else "".join(str(piece.get("text", "")) for piece in t) for t in thoughts)
    return text, flat or None


def _tokens(data: Any, key: str) -> tuple[Token, ...]:
    def text(token: Any) -> str:
        return endpoint.hide(endpoint.clean(str(token["token"])), key)

    found = []
    for token in (data or {}).get("content") or ():
        top = tuple((text(other), float(other["logprob"])) for other in token.get("top_logprobs") or ())
        found.append(Token(text(token), float(token["logprob"]), top))
    return tuple(found)
