"""The vendors' adapters, through the SDKs' own HTTP seam."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anyio
import httpx2
import pytest

from agora import Message, Settings
from agora.errors import (
    AuthError,
    ContextError,
    FilterError,
    MalformedError,
    ModelConnectionError,
    ModelTimeoutError,
    RateLimitError,
    RequestError,
    ServerError,
)
from agora.models.anthropic import AnthropicModel
from agora.models.openai import OpenAIModel
from agora.records import Reply, Usage

ASK = [Message("system", "Be brief."), Message("user", "2+2?")]
OPENAI = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}],
    "usage": {
        "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 5},
    },
}  # fmt: skip
ANTHROPIC = {
    "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "4"}],
    "usage": {"input_tokens": 4, "output_tokens": 2, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1},
}  # fmt: skip


def call(kind: str, answer: Any, settings: Settings = Settings()) -> tuple[Reply, dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    async def go() -> Reply:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as http:
            if kind == "openai":
                from openai import AsyncOpenAI

                client: Any = AsyncOpenAI(api_key="k", http_client=http, max_retries=0)
                return await OpenAIModel("m", api_key="k", client=client, extra={"x": 1}).answer(ASK, settings)
            from anthropic import AsyncAnthropic

            client = AsyncAnthropic(api_key="k", http_client=http, max_retries=0)
            return await AnthropicModel("m", api_key="k", client=client, extra={"x": 1}).answer(ASK, settings)

    return anyio.run(go), sent[0]


def test_openai() -> None:
    reply, sent = call("openai", OPENAI, Settings(temperature=0.5, max_tokens=9, seed=3, stop=("\n",)))
    assert (reply.text, replace(reply.usage, seconds=0)) == ("4", Usage(1, 9, 2, 5, None))
    assert sent == {
        "model": "m", "temperature": 0.5, "max_completion_tokens": 9, "seed": 3, "stop": ["\n"], "x": 1,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
    }  # fmt: skip


def test_anthropic() -> None:
    reply, sent = call("anthropic", ANTHROPIC, Settings(temperature=0.5, max_tokens=9, seed=3))
    assert (reply.text, reply.reasoning) == ("4", "hm")
    assert replace(reply.usage, seconds=0) == Usage(1, 10, 2, 5, None, cache_write_tokens=1)
    assert sent == {
        "model": "m", "temperature": 0.5, "max_tokens": 9, "x": 1,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "2+2?"}],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.Response(401, json={"error": {"message": "bad key"}}), AuthError),
        (httpx2.Response(429, json={}, headers={"retry-after": "7"}), RateLimitError),
        (httpx2.Response(500, text="oops"), ServerError),
        (httpx2.Response(400, json={"error": {"message": "no such thing"}}), RequestError),
        (httpx2.Response(400, json={"error": {"message": "prompt is too long"}}), ContextError),
        (httpx2.Response(200, text='{"broken'), MalformedError),
        (httpx2.Response(200, json={}), MalformedError),
        (httpx2.ConnectError("refused"), ModelConnectionError),
        (httpx2.ReadTimeout("slow"), ModelTimeoutError),
    ],
)
def test_errors(kind: str, answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        call(kind, answer)
    if error is RateLimitError:
        assert getattr(caught.value, "retry_after", None) == 7.0


def test_filters() -> None:
    filtered = {**OPENAI, "choices": [{**OPENAI["choices"][0], "finish_reason": "content_filter"}]}  # type: ignore[index]
    with pytest.raises(FilterError):
        call("openai", filtered)
    with pytest.raises(FilterError):
        call("anthropic", {**ANTHROPIC, "stop_reason": "refusal"})
