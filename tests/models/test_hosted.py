"""The vendors' adapters, through the SDKs' own HTTP seam."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

import anyio
import httpx2
import pytest

from agora import Agent, Debate, Message, Moderator, Protocol, ScriptedModel, Settings
from agora.budget import Price
from agora.calls import Delta, Wait, scope
from agora.config.models import load_model
from agora.errors import (
    AuthError,
    ContextError,
    FilterError,
    InputError,
    MalformedError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
    RateLimitError,
    RequestError,
    ServerError,
)
from agora.models import endpoint
from agora.models.anthropic import AnthropicModel
from agora.models.openai import OpenAIModel
from agora.records import Reply, Token, Usage
from agora.text.stop import rounds

KINDS = ["openai", "anthropic"]
KEY = "key-0123456789"
ASK = (Message("system", "Be brief."), Message("user", "2+2?"))
CACHE = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
OPENAI = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}],
    "usage": {
        "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}  # fmt: skip
ANTHROPIC = {
    "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "4"}],
    "usage": {
        "input_tokens": 4, "output_tokens": 2, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1,
        "output_tokens_details": {"thinking_tokens": 1},
    },
}  # fmt: skip


def openai(text: Any = "4", finish: str = "stop", *, logprobs: Any = None, usage: Any = ..., **message: Any) -> Any:
    """A reply of a chat-completions server."""
    choice = {"index": 0, "finish_reason": finish, "message": {"content": text, **message}, "logprobs": logprobs}
    return {**OPENAI, "choices": [choice], "usage": OPENAI["usage"] if usage is ... else usage}


def anthropic(text: Any = "4", stop: str = "end_turn", **other: Any) -> Any:
    """A reply of a messages server."""
    return {**ANTHROPIC, "content": [{"type": "text", "text": text}], "stop_reason": stop, **other}


def replied(kind: str, text: Any) -> Any:
    return openai(text) if kind == "openai" else anthropic(text)


@dataclass
class Vendor:
    """A server that answers one after the other; what it is asked is kept."""

    answers: Sequence[Any]
    asked: list[httpx2.Request]

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, text=json.dumps(answer))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.asked]


Serve = Callable[..., Vendor]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Puts a server in place of the network, below the SDKs' clients."""

    def make(*answers: Any) -> Vendor:
        vendor = Vendor(answers, [])
        transport = httpx2.MockTransport(vendor.handle)
        monkeypatch.setattr(endpoint, "_http", lambda on_asyncio: httpx2.AsyncClient(transport=transport))
        return vendor

    return make


def model(kind: str, **options: Any) -> Any:
    made = OpenAIModel if kind == "openai" else AnthropicModel
    return made(options.pop("model", "m"), api_key=KEY, **options)


def ask(
    kind: str,
    settings: Settings = Settings(),
    messages: Sequence[Message] = ASK,
    backend: str = "asyncio",
    **options: Any,
) -> Reply:
    async def go() -> Reply:
        reply: Reply = await model(kind, **options).answer(messages, settings)
        return reply

    return anyio.run(go, backend=backend)


def fails(error: type[ModelError], kind: str, *args: Any, **options: Any) -> Any:
    """The error of a call, of exactly this class."""
    with pytest.raises(ModelError) as caught:
        ask(kind, *args, **options)
    assert type(caught.value) is error, caught.value
    assert caught.value.model == f"{kind}:m"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


# ---- what is sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_openai(serve: Serve, backend: str) -> None:
    vendor = serve(OPENAI)
    settings = Settings(0.5, 0.9, 9, 3, ("\n",), logprobs=2)
    reply = ask("openai", settings, backend=backend, reasoning="low", extra={"x": 1})
    assert (reply.text, reply.model, reply.finish, reply.attempts) == ("4", "openai:m", "stop", 1)
    assert vendor.bodies == [{
        "model": "m", "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 9, "seed": 3, "stop": ["\n"], "x": 1,
        "logprobs": True, "top_logprobs": 2, "reasoning_effort": "low",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
    }]  # fmt: skip
    (request,) = vendor.asked
    assert str(request.url) == "https://api.openai.com/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    told = [name for name in request.headers if name.startswith("x-stainless")]
    assert set(told) <= {f"x-stainless-{name}" for name in ("retry-count", "read-timeout", "timeout")}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anthropic(serve: Serve, backend: str) -> None:
    vendor = serve(ANTHROPIC)
    reply = ask("anthropic", Settings(0.5, 0.9, 9, 3, ("\n",), logprobs=2), backend=backend, extra={"x": 1})
    assert (reply.text, reply.reasoning, reply.finish) == ("4", "hm", "stop")
    assert vendor.bodies == [{
        "model": "m", "temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop_sequences": ["\n"], "x": 1,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": CACHE}],
        "messages": [{"role": "user", "content": "2+2?"}],
    }]  # fmt: skip
    (request,) = vendor.asked
    assert str(request.url) == "https://api.anthropic.com/v1/messages"
    assert KEY in (request.headers.get("x-api-key"), request.headers.get("authorization", "").removeprefix("Bearer "))
    told = [name for name in request.headers if name.startswith("x-stainless")]
    assert set(told) <= {f"x-stainless-{name}" for name in ("retry-count", "read-timeout", "timeout")}


def test_what_is_not_set_is_not_sent(serve: Serve) -> None:
    vendor = serve(OPENAI, ANTHROPIC)
    ask("openai", messages=ASK[1:])
    ask("anthropic", messages=ASK[1:])
    said = [{"role": "user", "content": "2+2?"}]
    assert vendor.bodies == [{"model": "m", "messages": said}, {"model": "m", "messages": said, "max_tokens": 4096}]


def test_other_servers_take_max_tokens(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = serve(OPENAI)
    ask("openai", Settings(max_tokens=9, logprobs=0), base_url="http://localhost:1/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:2/v1")
    ask("openai", Settings(max_tokens=9))
    assert [str(request.url) for request in vendor.asked] == [
        "http://localhost:1/v1/chat/completions", "http://localhost:2/v1/chat/completions",
    ]  # fmt: skip
    assert [(body["max_tokens"], "max_completion_tokens" in body) for body in vendor.bodies] == [(9, False)] * 2
    assert vendor.bodies[0]["logprobs"] is True
    assert "top_logprobs" not in vendor.bodies[0]


def test_azure(serve: Serve) -> None:
    vendor = serve(OPENAI)
    ask("openai", Settings(max_tokens=9), base_url="https://us.openai.azure.com", api_version="2025-01-01")
    (request,) = vendor.asked
    assert str(request.url) == (
        "https://us.openai.azure.com/openai/deployments/m/chat/completions?api-version=2025-01-01"
    )
    assert request.headers["api-key"] == KEY
    assert "authorization" not in request.headers
    assert vendor.bodies[0]["max_completion_tokens"] == 9


def test_anthropic_elsewhere(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = serve(ANTHROPIC)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:2")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another secret")
    ask("anthropic")
    assert str(vendor.asked[0].url) == "http://localhost:2/v1/messages"
    assert "another secret" not in str(vendor.asked[0].headers.raw)


def test_reasoning(serve: Serve) -> None:
    vendor = serve(ANTHROPIC)
    for effort in ("none", "minimal", "low", "medium", "high"):
        ask("anthropic", reasoning=effort)
    ask("anthropic", Settings(max_tokens=50), thinking=2048)
    ask("anthropic", Settings(max_tokens=9000), thinking=2048)
    sent = [(b["thinking"], b.get("output_config"), b["max_tokens"]) for b in vendor.bodies]
    assert sent == [
        ({"type": "disabled"}, None, 4096),
        ({"type": "adaptive"}, {"effort": "low"}, 4096),
        ({"type": "adaptive"}, {"effort": "low"}, 4096),
        ({"type": "adaptive"}, {"effort": "medium"}, 4096),
        ({"type": "adaptive"}, {"effort": "high"}, 4096),
        ({"type": "enabled", "budget_tokens": 2048}, None, 3072),
        ({"type": "enabled", "budget_tokens": 2048}, None, 9000),
    ]


def test_extra_goes_before_what_agora_sends(serve: Serve) -> None:
    vendor = serve(OPENAI)
    ask("openai", Settings(0.5, seed=3), extra={"temperature": 1, "seed": 7, "top_k": 5, "provider": {"order": ["a"]}})
    (body,) = vendor.bodies
    assert (body["temperature"], body["seed"], body["top_k"], body["provider"]) == (1, 7, 5, {"order": ["a"]})


STABLE = Message("user", "Question: 2+2?\n\nPeer 1: 5", stable=len("Question: 2+2?"))


def cached(body: Mapping[str, Any]) -> list[str]:
    """What a request marks for the cache, in order."""
    contents = [body.get("system") or [], *(m["content"] for m in body["messages"])]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return [block["text"] for block in blocks if "cache_control" in block]


def whole(body: Mapping[str, Any]) -> list[str]:
    """The messages' texts."""
    contents = [m["content"] for m in body["messages"]]
    return [c if isinstance(c, str) else "".join(block["text"] for block in c) for c in contents]


def test_the_stable_part_is_cached(serve: Serve) -> None:
    vendor = serve(ANTHROPIC)
    ask("anthropic", messages=(ASK[0], STABLE))
    ask("anthropic", messages=(ASK[0], replace(STABLE, stable=len(STABLE.content))))
    ask("anthropic", messages=(ASK[0], replace(STABLE, content="Question: 2+2?  \n")))
    (content,) = (m["content"] for m in vendor.bodies[0]["messages"])
    assert content == [
        {"type": "text", "text": "Question: 2+2?", "cache_control": CACHE},
        {"type": "text", "text": "\n\nPeer 1: 5"},
    ]
    assert [cached(body) for body in vendor.bodies[1:]] == [["Be brief."]] * 2  # nothing after it, or only blanks
    assert whole(vendor.bodies[2]) == ["Question: 2+2?  \n"]


def test_a_chat_is_cached_up_to_its_last_message(serve: Serve) -> None:
    vendor = serve(ANTHROPIC)
    chat: list[Message] = [ASK[0]]
    for i in range(9):
        chat += [replace(STABLE, content=f"{STABLE.content} {i}"), Message("assistant", f"4 {i}")]
    for end in range(2, 20, 2):
        ask("anthropic", messages=chat[:end])
    ask("anthropic", messages=(STABLE, STABLE, STABLE))
    for i, body in enumerate(vendor.bodies[:9]):
        marks = cached(body)
        assert marks == ["Be brief.", "Question: 2+2?", *([f"4 {i - 1}"] if i else [])]
        assert len(marks) <= 4  # the API takes no more
        assert whole(body) == [m.content for m in chat[1 : 2 * i + 2]]
    assert whole(vendor.bodies[-1]) == [STABLE.content] * 3


def test_a_debate_whose_agents_keep_a_chat(serve: Serve) -> None:
    vendor = serve(anthropic("Answer: 4"))

    async def go() -> None:
        agents = [Agent("a", model("anthropic")), Agent("b", ScriptedModel("Answer: 5"))]
        moderator = Moderator(rounds(5))
        await Debate(agents, protocol=Protocol(memory="own_chat"), moderator=moderator, answer="number").answer("2+2?")

    anyio.run(go)
    assert [len(cached(body)) for body in vendor.bodies] == [2, 3, 3, 3, 3, 3]
    assert len(vendor.bodies[-1]["messages"]) == 11


# ---- structured output ------------------------------------------------------------------------------------------


def test_a_schema_is_sent(serve: Serve) -> None:
    vendor = serve(openai('{"x": 1}'), anthropic('{"x": 1}'))
    for kind in KINDS:
        assert ask(kind, Settings(schema=SCHEMA), reasoning="low").text == '{"x": 1}'
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    assert vendor.bodies[0]["response_format"] == shape
    assert vendor.bodies[1]["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": SCHEMA},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_in_the_prompt(serve: Serve, kind: str) -> None:
    vendor = serve(replied(kind, 'Here:\n```json\n{"x": 1}\n```'))
    reply = ask(kind, Settings(schema=SCHEMA), (ASK[0], STABLE), structured="prompt")
    assert reply.text == '{"x": 1}'
    (body,) = vendor.bodies
    assert not {"response_format", "output_config"} & set(body)
    last = whole(body)[-1]
    assert last.startswith(STABLE.content)
    assert json.dumps(SCHEMA) in last
    assert cached(body) == ([] if kind == "openai" else ["Be brief.", "Question: 2+2?"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["no", "{", '{"x": "a"}', "[]", '{"x": 1} and {"x": 2}', "[" * 100_000, '{"a":' * 100_000, "null"]
)
def test_what_does_not_satisfy_a_schema(serve: Serve, kind: str, text: str) -> None:
    serve(replied(kind, text))
    error = fails(MalformedError, kind, Settings(schema=SCHEMA))
    assert error.retryable
    assert len(str(error)) < 400


# ---- usage and price --------------------------------------------------------------------------------------------


def test_usage(serve: Serve) -> None:
    serve(OPENAI, ANTHROPIC)
    first, second = (ask(kind, model="no-such-model").usage for kind in KINDS)
    assert replace(first, seconds=0) == Usage(1, 9, 2, 5, None, reasoning_tokens=1)
    assert replace(second, seconds=0) == Usage(1, 10, 2, 5, None, reasoning_tokens=1, cache_write_tokens=1)
    assert first.seconds > 0 < second.seconds


def test_price(serve: Serve) -> None:
    serve(OPENAI, ANTHROPIC)
    price = Price(10, 100, cached=1, cache_write=20)
    assert ask("openai", price=price).usage.usd == pytest.approx((4 * 10 + 5 * 1 + 2 * 100) / 1e6)
    assert ask("anthropic", price=price).usage.usd == pytest.approx((4 * 10 + 5 * 1 + 1 * 20 + 2 * 100) / 1e6)


@pytest.mark.parametrize(
    ("kind", "name"), [("openai", "gpt-4o-mini"), ("anthropic", "claude-3-5-haiku-latest")]
)  # of these the price is listed
def test_listed_price(serve: Serve, kind: str, name: str) -> None:
    serve(OPENAI if kind == "openai" else ANTHROPIC)
    usd = ask(kind, model=name).usage.usd
    assert usd is not None
    assert 0 < usd < 1e-3
    assert ask(kind, model=name, base_url="http://localhost:1/v1").usage.usd is None  # of that server nothing is known


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens": 0, "completion_tokens": 0}],
)
def test_a_usage_that_is_not_told_has_no_price(serve: Serve, usage: Any) -> None:
    serve(openai(usage=usage))
    assert replace(ask("openai", price=Price(1, 1)).usage, seconds=0) == Usage(1, usd=None)


# ---- log-probabilities ------------------------------------------------------------------------------------------


def test_logprobs(serve: Serve) -> None:
    said = [
        {
            "token": "4",
            "logprob": -0.5,
            "top_logprobs": [{"token": "4", "logprob": -0.5}, {"token": "5", "logprob": -2}],
        },
        {"token": "!", "logprob": -1.5, "top_logprobs": None},
    ]
    serve(openai(logprobs={"content": said}), openai(logprobs={"content": None}), openai())
    reply = ask("openai", Settings(logprobs=2))
    assert reply.logprob == -1.0
    assert reply.tokens == (Token("4", -0.5, (("4", -0.5), ("5", -2.0))), Token("!", -1.5))
    for _ in range(2):
        assert (reply := ask("openai", Settings(logprobs=2))).logprob is None
        assert reply.tokens == ()


# ---- reasoning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "thought"),
    [
        ("<think>hm</think>4", "4", "hm"),
        ("\n<think>\nhm\n</think>\n\n4\n", "4", "hm"),
        ("<think></think>\n\n4", "4", None),
        ("<think>\n\n</think>\n\n4", "4", None),
        ("hm\nso 4\n</think>\n\n4", "4", "hm\nso 4"),  # the tag was opened in the prompt
        ("\n</think>\n\n4", "4", None),
        ("<think>a <think> b</think>4", "4", "a <think> b"),
        ("The tag </think> ends it.", "The tag </think> ends it.", None),
        ("Answer: 4</think>", "Answer: 4</think>", None),
        ("It writes <think> and\n</think>\n before it: 4", "It writes <think> and\n</think>\n before it: 4", None),
        ("4 </think> <think>", "4 </think> <think>", None),
        ("thinking: 4", "thinking: 4", None),
    ],
)
def test_reasoning_in_tags(serve: Serve, text: str, shown: str, thought: str | None) -> None:
    serve(openai(text))
    reply = ask("openai")
    assert (reply.text, reply.reasoning) == (shown, thought)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_apart(serve: Serve, field: str) -> None:
    serve(openai("4 <think>", **{field: "hm \ud800"}), openai("<think>x</think>4", **{field: None}))
    reply = ask("openai")
    assert (reply.text, reply.reasoning) == ("4 <think>", "hm \ufffd")
    assert (reply := ask("openai")).text == "4"
    assert reply.reasoning == "x"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (openai("<think>hm", "length"), "still reasoning"),
        (openai("<think>hm</think>  ", "length"), "still reasoning"),
        (openai(None, "length", reasoning_content="hm"), "still reasoning"),
        (openai("", "length"), "before any text"),
        (anthropic("", "max_tokens", content=[{"type": "thinking", "thinking": "hm"}]), "still reasoning"),
        (anthropic("", "max_tokens", content=[]), "before any text"),
    ],
)
def test_nothing_but_reasoning(serve: Serve, answer: Any, said: str) -> None:
    serve(answer)
    error = fails(RequestError, "openai" if "choices" in answer else "anthropic")
    assert said in str(error)
    assert "max_tokens" in error.hint
    assert not error.retryable


def test_reasoning_that_never_ends(serve: Serve) -> None:
    serve(openai("<think>hm"), openai("<think>hm</think>"), openai("  \n"))
    for _ in range(3):
        assert fails(MalformedError, "openai").retryable


def test_length(serve: Serve) -> None:
    serve(openai("Because", "length"), anthropic("Because", "max_tokens"))
    assert [(r.text, r.finish) for r in (ask("openai"), ask("anthropic"))] == [("Because", "length")] * 2


# ---- what is withheld -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        openai("4", "content_filter"),
        openai(None, "content_filter"),
        openai(None, refusal=f"I cannot help with {KEY}."),
        anthropic("I", "refusal"),
        anthropic("", "refusal", content=[]),
    ],
)
def test_filters(serve: Serve, answer: Any) -> None:
    serve(answer)
    assert not fails(FilterError, "openai" if "choices" in answer else "anthropic").retryable


# ---- errors -----------------------------------------------------------------------------------------------------


def said(status: int, message: str, type: str = "invalid_request_error", code: str | None = None) -> httpx2.Response:
    """An error, as the vendors and those who imitate them write it."""
    return httpx2.Response(status, json={"type": "error", "error": {"message": message, "type": type, "code": code}})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        said(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        said(400, "Your input exceeds the context window of this model.", code="context_length_exceeded"),
        said(400, "Input tokens exceed the configured limit of 272000 tokens.", code="context_length_exceeded"),
        said(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        said(400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease one"),
        said(400, "the request exceeds the available context size", "exceed_context_size_error"),
        said(413, "Request exceeds the maximum size", "request_too_large"),
        httpx2.Response(413, text="<html>nginx</html>"),
        httpx2.Response(
            400, json={"object": "error", "message": "This model's maximum context length is 4096 tokens."}
        ),
        httpx2.Response(400, json={"error": "the prompt is too long"}),
        httpx2.Response(422, json={"detail": [{"msg": "the prompt is too long"}]}),
    ],
)
def test_the_prompt_is_too_long(serve: Serve, kind: str, answer: httpx2.Response) -> None:
    serve(answer)
    error = fails(ContextError, kind)
    assert not error.retryable
    assert "fewer" in error.hint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "error", "shown"),
    [
        (said(400, "no such thing"), RequestError, "no such thing"),
        (said(400, "The response was filtered.", code="content_filter"), FilterError, "filter"),
        (said(400, "no", "content_policy_violation"), FilterError, "filter"),
        (said(400, "Output blocked by content filtering policy"), FilterError, "filter"),
        (said(401, "bad key", "authentication_error"), AuthError, "bad key"),
        (said(403, "no right", "permission_error"), AuthError, "no right"),
        (said(404, "no model m", "not_found_error"), RequestError, "no model m"),
        (said(402, "Insufficient credits"), AuthError, "no credit"),
        (said(400, "Your credit balance is too low to access the API."), AuthError, "no credit"),
        (said(429, "You exceeded your current quota", "insufficient_quota"), AuthError, "no credit"),
        (said(429, "slow down", "rate_limit_error"), RateLimitError, "429"),
        (httpx2.Response(429, text=""), RateLimitError, "429"),
        (said(408, "too slow"), ServerError, "408"),
        (said(409, "try again"), ServerError, "409"),
        (said(422, "wrong field"), RequestError, "wrong field"),
        (said(500, "oops", "api_error"), ServerError, "oops"),
        (httpx2.Response(502, text="<html>bad gateway</html>"), ServerError, "502"),
        (said(503, "down"), ServerError, "503"),
        (said(504, "upstream took too long"), ServerError, "too long"),
        (said(529, "Overloaded", "overloaded_error"), ServerError, "529"),
        (httpx2.Response(400, json=[1]), RequestError, "400"),
        (httpx2.Response(400, json={"error": None}), RequestError, "400"),
        (httpx2.Response(400, json={"error": {"message": None, "code": 7}}), RequestError, "400"),
        (httpx2.Response(400, json={"error": "wrong in text"}), RequestError, "wrong in text"),
        (httpx2.Response(400, json={"detail": "wrong in detail"}), RequestError, "wrong in detail"),
        (httpx2.Response(418, content=b"\xff\x00"), RequestError, "418"),
    ],
)
def test_errors(serve: Serve, kind: str, answer: Any, error: type[ModelError], shown: str) -> None:
    vendor = serve(answer)
    caught = fails(error, kind)
    assert caught.retryable == (error in (RateLimitError, ServerError))
    assert shown in str(caught)
    assert len(vendor.asked) == 1  # the SDK does not retry: that is for `Retry`


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7.5"}, 7.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "inf"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "nan"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "-50000"}, 7.0),
        ({"retry-after": formatdate(time.time() - 60, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(serve: Serve, kind: str, headers: dict[str, str], seconds: float | None) -> None:
    for status, error in ((429, RateLimitError), (503, ServerError)):
        serve(httpx2.Response(status, json={}, headers=headers))
        assert fails(error, kind).retry_after == seconds


def test_retry_after_a_date(serve: Serve) -> None:
    serve(httpx2.Response(429, json={}, headers={"retry-after": formatdate(time.time() + 60, usegmt=True)}))
    assert 30 < fails(RateLimitError, "openai").retry_after <= 60


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text='{"broken'),
        httpx2.Response(200, content=b'{"a": "\xff"}'),
        httpx2.Response(200, text="[" * 100_000),
        httpx2.Response(200, text="<html>log in</html>", headers={"content-type": "text/html"}),
        httpx2.Response(200, text=""),
        httpx2.Response(200, json={}),
        httpx2.Response(200, json=None),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, json="4"),
        httpx2.Response(200, json={"choices": None, "content": None, "stop_reason": None, "usage": None}),
        httpx2.Response(200, json={"choices": [], "content": [], "stop_reason": "end_turn", "usage": {}}),
        httpx2.Response(200, json={"choices": [None], "content": [None], "stop_reason": "end_turn", "usage": {}}),
        httpx2.Response(200, json={"choices": [{"message": None}], "content": [{}], "stop_reason": 1, "usage": []}),
        httpx2.Response(200, json={"error": {"message": f"overloaded, says {KEY}"}}),
    ],
)
def test_what_cannot_be_read(serve: Serve, kind: str, answer: httpx2.Response) -> None:
    serve(answer)
    assert fails(MalformedError, kind).retryable


@pytest.mark.parametrize(
    "answer",
    [
        openai(None), openai(7), openai(["4"]),
        openai("4", logprobs={"content": [{"token": "4", "logprob": None}]}),
        openai("4", logprobs={"content": [{}]}),
        openai("4", usage={"prompt_tokens": "many"}), openai("4", usage=[1]),
        anthropic(None), anthropic(7), anthropic("4", usage=None), anthropic("4", usage={"input_tokens": None}),
        anthropic("4", content=[{"type": "tool_use", "id": "x", "name": "y", "input": {}}]),
    ],
)  # fmt: skip
def test_fields_of_another_kind(serve: Serve, answer: Any) -> None:
    serve(answer)
    fails(MalformedError, "openai" if "choices" in answer else "anthropic")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.ConnectError("refused"), ModelConnectionError),
        (httpx2.ConnectTimeout("slow"), ModelConnectionError),
        (httpx2.ReadTimeout("slow"), ModelTimeoutError),
        (httpx2.WriteTimeout("slow"), ModelTimeoutError),
        (httpx2.PoolTimeout("full"), ModelTimeoutError),
        (httpx2.ReadError("reset"), ModelConnectionError),
        (httpx2.WriteError("reset"), ModelConnectionError),
        (httpx2.RemoteProtocolError("Server disconnected"), ModelConnectionError),
        (httpx2.ConnectError(f"with {KEY}"), ModelConnectionError),
    ],
)
def test_connections(serve: Serve, kind: str, backend: str, answer: Any, error: type[ModelError]) -> None:
    serve(answer)
    assert fails(error, kind, backend=backend).retryable


@pytest.mark.parametrize("made", [OpenAIModel, AnthropicModel])
@pytest.mark.parametrize("wrong", ["sk-äöü-0123456789", "sk-0123456789\n0123456789", "sk-\x7f"])
def test_a_key_that_no_header_can_hold(made: Any, wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        made("m", api_key=wrong)
    assert wrong not in str(caught.value)


# ---- a seed that is not taken -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rejected",
    [
        said(400, "Unrecognized request argument supplied: seed"),
        said(400, "Unsupported parameter.", code="unsupported_parameter: seed"),
        said(422, "extra fields not permitted: seed"),
        httpx2.Response(422, json={"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        httpx2.Response(400, json={"error": "unknown field seed"}),
        httpx2.Response(400, text="unknown field seed"),
        httpx2.Response(
            400, json={"error": {"message": "Unsupported parameter.", "param": "seed", "type": "invalid_request_error"}}
        ),
    ],
)
def test_the_seed_is_dropped_where_it_is_rejected(serve: Serve, rejected: httpx2.Response) -> None:
    vendor = serve(rejected, OPENAI)

    async def go() -> list[Reply]:
        asked = model("openai", base_url="http://localhost:1/v1")
        return [await asked.answer(ASK, Settings(seed=3)) for _ in range(2)]

    assert [reply.text for reply in anyio.run(go)] == ["4", "4"]
    assert [body.get("seed") for body in vendor.bodies] == [3, None, None]


def test_the_seed_is_dropped_once(serve: Serve) -> None:
    vendor = serve(said(400, "seed is wrong, and so is the rest"))
    fails(RequestError, "openai", Settings(seed=3))
    assert len(vendor.asked) == 2
    vendor = serve(said(400, "no seed is taken"))
    fails(RequestError, "openai", Settings(seed=3), extra={"seed": 7})  # the user's own: it is not dropped
    fails(RequestError, "openai")
    assert len(vendor.asked) == 2
    vendor = serve(said(500, "seed"))
    fails(ServerError, "openai", Settings(seed=3))
    assert len(vendor.asked) == 1


# ---- keys, and other texts that bite ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 500])
def test_a_key_in_an_error_does_not_show(serve: Serve, kind: str, status: int) -> None:
    for before in ("", "x" * 280, "x" * 295):  # also where the message is cut short
        serve(said(status, f"{before} Incorrect API key provided: {KEY}."))
        with pytest.raises(ModelError) as caught:
            ask(kind)
        shown = "".join(traceback.format_exception(caught.value))
        assert KEY not in shown
        assert KEY[:8] not in shown
        serve(httpx2.Response(status, text=f"{before} {KEY}"))
        with pytest.raises(ModelError) as caught:
            ask(kind)
        assert KEY[:8] not in "".join(traceback.format_exception(caught.value))


def test_a_key_in_a_reply_does_not_show(serve: Serve) -> None:
    logprobs = {"content": [{"token": KEY, "logprob": -1, "top_logprobs": [{"token": KEY, "logprob": -1}]}]}
    serve(
        openai(f"It is {KEY}.", reasoning_content=f"{KEY}?", logprobs=logprobs),
        openai(f"<think>{KEY}</think>It is {KEY}."),
        anthropic("", content=[{"type": "thinking", "thinking": f"{KEY}?"}, {"type": "text", "text": f"It is {KEY}."}]),
    )
    for kind in ("openai", "openai", "anthropic"):
        reply = ask(kind)
        assert reply.text == "It is ***."
        assert KEY not in repr(reply)


def test_lone_surrogates(serve: Serve) -> None:
    bad = "a\ud800b"
    vendor = serve(
        httpx2.Response(200, text=json.dumps(openai(bad, reasoning_content=bad, logprobs={
            "content": [{"token": bad, "logprob": -1, "top_logprobs": [{"token": bad, "logprob": -1}]}],
        }))),
        httpx2.Response(200, text=json.dumps(anthropic(bad))),
    )  # fmt: skip
    asked = [Message("system", bad), Message("user", f"{bad}?!", stable=4)]
    for kind in KINDS:
        reply = ask(kind, messages=asked)
        assert reply.text == "a\ufffdb"
        repr(reply).encode()
        assert whole(vendor.bodies[-1])[-1] == "a\ufffdb?!"
    serve(httpx2.Response(200, text=json.dumps(openai("\ud83d\ude00"))))
    assert ask("openai").text == "\U0001f600"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["\x00\x1b[31mred\x07\r\n\u202e4", "{{ 7 * 7 }} {% include 'x' %} {# c #} ${x} %s {}"])
def test_texts_are_only_texts(serve: Serve, kind: str, text: str) -> None:
    """What a model writes is neither changed nor executed on its way to its peers."""
    vendor = serve(replied(kind, f"{text} Answer: 4"))

    async def go() -> None:
        agents = [Agent("a", model(kind)), Agent("b", model(kind))]
        verdict = await Debate(agents, moderator=Moderator(rounds(1)), answer="number").answer(f"{text}?")
        assert verdict.answer == "4"
        assert verdict.text == f"{text} Answer: 4"

    anyio.run(go)
    assert len(vendor.bodies) == 4
    assert all(f"{text} Answer: 4" in whole(body)[-1] for body in vendor.bodies[2:])
    assert all(f"{text}?" in whole(body)[-1] for body in vendor.bodies)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_megabytes(serve: Serve, kind: str) -> None:
    vendor = serve(replied(kind, "a" * 10_000_000))
    error = fails(MalformedError, kind)
    assert not error.retryable
    assert "10,000,000" in str(error)
    vendor = serve(replied(kind, "a" * 1_000_000))
    assert len(ask(kind).text) == 1_000_000
    assert len(vendor.asked) == 1


# ---- streams ----------------------------------------------------------------------------------------------------


def stream(kind: str, *events: Any) -> httpx2.Response:
    """A reply in pieces: each a text, or a whole event."""
    made: list[Any] = []
    for event in events:
        if not isinstance(event, str):
            made.append(event)
        elif kind == "openai":
            made.append({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
                         "choices": [{"index": 0, "delta": {"content": event}, "finish_reason": None}]})  # fmt: skip
        else:
            made.append({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": event}})
    lines = [f"event: {e['type']}\n" if kind == "anthropic" else "" for e in made]
    text = "".join(f"{line}data: {json.dumps(event)}\n\n" for line, event in zip(lines, made, strict=True))
    return httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})


def end(kind: str, stop: str | None = None) -> list[Any]:
    if kind == "openai":
        choice = {"index": 0, "delta": {}, "finish_reason": stop or "stop"}
        base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return [{**base, "choices": [choice]}, {**base, "choices": [], "usage": OPENAI["usage"]}]
    usage: dict[str, Any] = {"output_tokens": 2}
    return [
        {"type": "message_delta", "delta": {"stop_reason": stop or "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]


def begin(kind: str) -> list[Any]:
    usage = {**ANTHROPIC["usage"], "output_tokens": 1}  # type: ignore[dict-item]
    message = {**ANTHROPIC, "content": [], "stop_reason": None, "usage": usage}
    return [] if kind == "openai" else [{"type": "message_start", "message": message}]


def follow(kind: str, settings: Settings = Settings(), **options: Any) -> tuple[Reply | ModelError, list[Delta]]:
    heard: list[Delta] = []

    def listen(what: Wait | Delta) -> None:
        assert isinstance(what, Delta)
        heard.append(what)

    async def go() -> Reply | ModelError:
        with scope(listen=listen, stream=True):
            try:
                reply: Reply = await model(kind, **options).answer(ASK, settings)
                return reply
            except ModelError as error:
                return error

    return anyio.run(go), heard


@pytest.mark.parametrize("kind", KINDS)
def test_stream(serve: Serve, kind: str) -> None:
    vendor = serve(stream(kind, *begin(kind), "Because. ", "Answer: ", "4", *end(kind)))
    reply, heard = follow(kind, extra={"x": 1})
    assert isinstance(reply, Reply)
    assert reply.text == "Because. Answer: 4" == "".join(delta.text for delta in heard)
    assert [delta.first for delta in heard] == [True, False, False]
    assert reply.finish == "stop"
    assert reply.usage.output_tokens == 2
    assert reply.usage.input_tokens == (9 if kind == "openai" else 10)
    assert vendor.bodies[0]["stream"] is True
    assert vendor.bodies[0]["x"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_ends_early(serve: Serve, kind: str) -> None:
    serve(stream(kind, *begin(kind), "Because. "))
    error, heard = follow(kind)
    assert isinstance(error, MalformedError)
    assert error.retryable
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("kind", "told", "error"),
    [
        ("openai", {"message": f"oops {KEY}", "type": "server_error"}, ServerError),
        ("openai", {"message": "slow down", "code": "rate_limit_exceeded"}, RateLimitError),
        ("openai", {"message": "too many", "code": 429}, RateLimitError),
        ("openai", {"message": "bad key", "code": 401}, AuthError),
        ("openai", {"message": "You exceeded your quota", "type": "insufficient_quota"}, AuthError),
        ("anthropic", {"type": "overloaded_error", "message": "Overloaded"}, ServerError),
        ("anthropic", {"type": "api_error", "message": f"oops {KEY}"}, ServerError),
        ("anthropic", {"type": "rate_limit_error", "message": "slow"}, RateLimitError),
        ("anthropic", {"type": "invalid_request_error", "message": "prompt is too long"}, ContextError),
        ("anthropic", None, ServerError),
    ],
)
def test_a_stream_that_fails_under_way(serve: Serve, kind: str, told: Any, error: type[ModelError]) -> None:
    serve(stream(kind, *begin(kind), "Because. ", {"type": "error", "error": told}))
    caught, _ = follow(kind)
    assert type(caught) is error
    assert caught.retryable == (error in (ServerError, RateLimitError))
    assert KEY not in str(caught)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_safe(serve: Serve, kind: str) -> None:
    serve(stream(kind, *begin(kind), "\ud83d", "\ude00", f" {KEY}", *end(kind)))
    reply, heard = follow(kind)
    assert isinstance(reply, Reply)
    assert reply.text == "\U0001f600 ***"
    told = "".join(delta.text for delta in heard)
    told.encode()
    assert KEY not in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a ", *KEY, " b"], "a *** b"),
        (["kkey", f"-{KEY[4:]}", "k", "e", "n"], "k***ken"),
        (["key-key-", "0123456789", "!"], "key-***!"),
        (["the key", "-01"], "the key-01"),
        ([f"{KEY}{KEY[:5]}", KEY[5:]], "******"),
    ],
)
def test_a_key_in_several_pieces(serve: Serve, kind: str, pieces: list[str], shown: str) -> None:
    serve(stream(kind, *begin(kind), *pieces, *end(kind)))
    reply, heard = follow(kind)
    assert isinstance(reply, Reply)
    assert reply.text == shown == "".join(delta.text for delta in heard)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_megabytes_in_pieces(serve: Serve, kind: str) -> None:
    serve(stream(kind, *begin(kind), *["a" * 100_000] * 100, *end(kind)))
    error, heard = follow(kind)
    assert isinstance(error, MalformedError)
    assert not error.retryable
    assert sum(len(delta.text) for delta in heard) <= 1_200_000


def test_the_seed_is_dropped_in_a_stream_too(serve: Serve) -> None:
    vendor = serve(said(400, "no seed"), stream("openai", "4", *end("openai")))
    reply, _ = follow("openai", Settings(seed=3))
    assert isinstance(reply, Reply)
    assert [body.get("seed") for body in vendor.bodies] == [3, None]


# ---- clients ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_hundred_first_calls_make_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, made = Vendor([OPENAI], []), list[Any]()

    def http(on_asyncio: bool) -> Any:
        made.append(httpx2.AsyncClient(transport=httpx2.MockTransport(vendor.handle)))
        return made[-1]

    monkeypatch.setattr(endpoint, "_http", http)
    asked = [model("openai", base_url=f"http://localhost:{port}/v1") for port in range(1, 5)]
    async with anyio.create_task_group() as group:
        for i in range(100):
            group.start_soon(asked[i % 4].answer, ASK)
    assert len(vendor.asked) == 100
    assert len(made) == 1


# ---- as a file writes it ----------------------------------------------------------------------------------------


def test_a_model_from_a_mapping(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    vendor = serve(httpx2.Response(500, json={}), OPENAI)
    value = {
        "openai": "m", "base_url": "http://localhost:1/v1", "api_key_env": "MY_KEY", "temperature": 0, "stop": ["x"],
        "logprobs": 1, "max_tokens": 7, "reasoning": "low", "extra": {"top_k": 3}, "price": {"input": 1, "output": 2},
    }  # fmt: skip

    async def go() -> Reply:
        return await load_model(value).answer(ASK, Settings(temperature=1, seed=5))

    reply = anyio.run(go)
    assert reply.attempts == 2
    assert reply.usage.usd == pytest.approx(13 / 1e6)
    body = vendor.bodies[1]
    del body["messages"]
    assert body == {
        "model": "m", "temperature": 0, "seed": 5, "max_tokens": 7, "stop": ["x"], "logprobs": True, "top_logprobs": 1,
        "reasoning_effort": "low", "top_k": 3,
    }  # fmt: skip
    assert vendor.asked[1].headers["authorization"] == f"Bearer {KEY}"
    assert math.isclose(reply.usage.seconds, 0, abs_tol=5)
