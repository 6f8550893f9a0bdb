"""Chat completions, as OpenAI has them: requests read, replies and streams written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ValidationError

from agora.model import Settings
from agora.records import Reply, Token, Usage, Verdict
from agora.serve.asked import (
    MOST_CHOICES,
    AgoraField,
    Answered,
    Asked,
    Begun,
    Piece,
    Refused,
    ResponseFormat,
    Said,
    SchemaFormat,
    Thought,
    Whole,
    Wire,
    budget_of,
    dumped,
    text_of,
    wrong,
)
from agora.serve.running import conversation, summary, taken
from agora.serve.schemas import schema_checked

FINISHES = ("stop", "length", "content_filter")


class Part(Wire):
    """A part of a message's content."""

    type: str = Field(max_length=100, json_schema_extra={"enum": ["text", "refusal"]})
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None


class ChatMessage(Wire):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = Field(None, description="of an earlier answer; it is not read again")
    reasoning: str | None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: list[Any] | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Wire):
    """A request for a chat completion."""

    model: str = Field(min_length=1, max_length=500)
    messages: list[ChatMessage] = Field(min_length=1, max_length=10_000)
    n: Whole | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: Whole | None = Field(None, ge=1, le=10_000_000)
    max_completion_tokens: Whole | None = Field(None, ge=1, le=10_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Whole | None = Field(None, ge=1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: Whole | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Whole | None = Field(None, ge=0, le=20)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # there to be refused where they ask for something; what is allowed stands in the document
    presence_penalty: float | None = Field(None, ge=-2, le=2, json_schema_extra={"enum": [0, None]})
    frequency_penalty: float | None = Field(None, ge=-2, le=2, json_schema_extra={"enum": [0, None]})
    logit_bias: dict[str, float] | None = Field(None, json_schema_extra={"maxProperties": 0})
    tools: list[Any] | None = Field(None, json_schema_extra={"maxItems": 0})
    tool_choice: Any = None
    functions: list[Any] | None = Field(None, json_schema_extra={"maxItems": 0})
    modalities: list[str] | None = Field(None, json_schema_extra={"enum": [["text"], None]})
    # of no effect here: they are about the vendor's service
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    agora: AgoraField | None = None


def read(body: bytes) -> tuple[Asked, bool]:
    """A request, and whether its stream is to end with the usage.

    Raises:
        Refused: naming what is wrong.
    """
    try:
        given = ChatRequest.model_validate_json(body)
    except ValidationError as errors:
        raise wrong(errors) from None
    _possible(given)
    stop = [given.stop] if isinstance(given.stop, str) else given.stop or []
    if len(stop) > 16 or not all(stop):
        raise Refused("stop: at most 16 texts, none of them empty.", param="stop", code="invalid_value")
    if given.top_logprobs is not None and not given.logprobs:
        raise Refused("top_logprobs: needs logprobs: true.", param="top_logprobs", code="invalid_value")
    if given.stream_options is not None and not given.stream:
        raise Refused("stream_options: is for stream: true.", param="stream_options", code="invalid_value")
    schema: dict[str, Any] | None = None
    if isinstance(given.response_format, SchemaFormat):
        schema = schema_checked(given.response_format.json_schema.schema_)
    elif given.response_format is not None and given.response_format.type == "json_object":
        schema = {"type": "object"}
    settings = Settings(
        temperature=given.temperature,
        top_p=given.top_p,
        max_tokens=given.max_completion_tokens if given.max_completion_tokens is not None else given.max_tokens,
        seed=None if given.seed is None else given.seed % 2**63,
        stop=tuple(stop) or None,
        schema=schema,
        logprobs=(given.top_logprobs or 0) if given.logprobs else None,
        top_k=given.top_k,
        min_p=given.min_p,
    )
    extra = given.agora or AgoraField()
    messages = [(m.role, text_of(m.content, f"messages.{i}.content")) for i, m in enumerate(given.messages)]
    asked = Asked(
        model=given.model,
        messages=conversation(messages),
        settings=settings,
        choices=given.n or 1,
        budget=budget_of(extra),
        rounds=extra.rounds,
        preset=extra.preset,
        show=extra.stream != "answer",
        stream=bool(given.stream),
        json=schema is not None,
    )
    return asked, bool(given.stream_options and given.stream_options.include_usage)


def _possible(given: ChatRequest) -> None:
    """Refuse what would have an effect elsewhere and has none here: silence would be a lie."""
    for name in ("tools", "functions", "logit_bias", "presence_penalty", "frequency_penalty"):
        if getattr(given, name):
            raise Refused(f"{name}: these models take none.", code="unsupported_parameter", param=name)
    if given.modalities not in (None, ["text"]):
        raise Refused("modalities: these models give text.", code="unsupported_value", param="modalities")


# ---- replies ----------------------------------------------------------------------------------------------------


def usage_body(usage: Usage) -> dict[str, Any]:
    """A usage; it adds up over all that were asked."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": logprob if logprob > -9999.0 else -9999.0,
        "bytes": list(text.encode("utf-8", "replace")),
    }


def _logprobs(tokens: tuple[Token, ...]) -> dict[str, Any] | None:
    if not tokens:
        return None
    content = [{**_token(t.text, t.logprob), "top_logprobs": [_token(*other) for other in t.top]} for t in tokens]
    return {"content": content, "refusal": None}


def _finish(reply: Reply) -> str:
    return reply.finish if reply.finish in FINISHES else "stop"


def body(asked: Asked, answers: list[Answered]) -> dict[str, Any]:
    """A whole reply."""
    choices, total = [], sum((each.reply.usage for each in answers), Usage())
    for each in answers:
        message: dict[str, Any] = {"role": "assistant", "content": each.text, "refusal": each.refusal}
        if each.thought:
            message["reasoning_content"] = each.thought
        logprobs = _logprobs(each.reply.tokens) if asked.settings.logprobs is not None else None
        choice = {"index": each.choice, "message": message, "finish_reason": _finish(each.reply), "logprobs": logprobs}
        choices.append(choice if len(answers) == 1 else {**choice, "agora": summary(each)})
    return {
        "id": f"chatcmpl-{answers[0].run}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": choices,
        "usage": usage_body(total),
        "agora": {**summary(answers[0]), **taken(total)},
    }


class Writer:
    """Writes the stream of one reply.

    Args:
        asked: the request.
        with_usage: end with the usage.
    """

    media = "text/event-stream"
    ping = b": the debate goes on\n\n"

    def __init__(self, asked: Asked, with_usage: bool) -> None:
        self._asked, self._with_usage = asked, with_usage
        self._base: dict[str, Any] = {}
        self._usage = Usage()

    def _chunk(self, choice: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        said = {"index": choice, "delta": delta, "logprobs": more.pop("logprobs", None), "finish_reason": finish}
        return self._event({"choices": [said], **more, **({"usage": None} if self._with_usage else {})})

    def _event(self, data: dict[str, Any]) -> bytes:
        return f"data: {dumped({**self._base, **data})}\n\n".encode()

    def write(self, piece: Piece) -> Iterator[bytes]:
        """A piece, as events."""
        match piece:
            case Begun():
                if not self._base:
                    self._base = {"id": f"chatcmpl-{piece.run}", "object": "chat.completion.chunk",
                                  "created": int(time.time()), "model": self._asked.model}  # fmt: skip
                yield self._chunk(piece.choice, {"role": "assistant", "content": ""}, agora={"run": piece.run})
            case Thought():
                yield self._chunk(piece.choice, {"reasoning_content": piece.text})
            case Said():
                yield self._chunk(piece.choice, {"content": piece.text})
            case Answered():
                reply, i = piece.reply, piece.choice
                self._usage = self._usage + reply.usage
                if piece.thought and not isinstance(reply, Verdict):
                    yield self._chunk(i, {"reasoning_content": piece.thought})
                if piece.refusal is not None:
                    yield self._chunk(i, {"refusal": piece.refusal})
                rest = (piece.text or "")[piece.said :]
                logprobs = _logprobs(reply.tokens) if self._asked.settings.logprobs is not None else None
                if rest:
                    yield self._chunk(i, {"content": rest}, logprobs=logprobs)
                yield self._chunk(i, {}, _finish(reply), agora=summary(piece))

    def end(self) -> Iterator[bytes]:
        """What ends a stream that is whole."""
        if self._with_usage:
            yield self._event({"choices": [], "usage": usage_body(self._usage)})
        yield b"data: [DONE]\n\n"

    def broken(self, error: dict[str, Any]) -> bytes:
        """What ends one that is not."""
        return f"data: {dumped(error)}\n\n".encode()
