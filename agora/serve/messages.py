"""Messages, as Anthropic has them: requests read, replies and streams written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from agora.model import Settings
from agora.records import Reply, Usage, Verdict
from agora.serve.asked import (
    AgoraField,
    Answered,
    Asked,
    Begun,
    Piece,
    Refused,
    Said,
    Thought,
    Whole,
    Wire,
    budget_of,
    dumped,
    text_of,
    wrong,
)
from agora.serve.running import conversation, summary
from agora.serve.schemas import schema_checked


class Block(Wire):
    """A block of content."""

    type: str = Field(max_length=100, json_schema_extra={"enum": ["text", "thinking", "redacted_thinking"]})
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    source: Any = None
    cache_control: Any = None
    citations: Any = None
    refusal: None = None


class InMessage(Wire):
    """A message of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class Thinking(Wire):
    """Whether to show what goes on before the answer."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: Literal["enabled", "disabled", "adaptive"]


class OutputFormat(Wire):
    """A JSON Schema that the answer must satisfy."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Wire):
    format: OutputFormat | None = None
    effort: str | None = None


class MessagesRequest(Wire):
    """A request for a message."""

    model: str = Field(min_length=1, max_length=500)
    max_tokens: Whole = Field(ge=1, le=10_000_000)
    messages: list[InMessage] = Field(min_length=1, max_length=10_000)
    system: str | list[Block] | None = None
    stop_sequences: list[str] | None = Field(None, max_length=16)
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Whole | None = Field(None, ge=1, le=1_000_000)
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    tools: list[Any] | None = Field(None, json_schema_extra={"maxItems": 0})
    tool_choice: Any = None
    # of no effect here: they are about the vendor's service
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    agora: AgoraField | None = None


def read(body: bytes) -> Asked:
    """A request.

    Raises:
        Refused: naming what is wrong.
    """
    try:
        given = MessagesRequest.model_validate_json(body)
    except ValidationError as errors:
        raise wrong(errors) from None
    if given.tools:
        raise Refused("tools: these models take none.", code="unsupported_parameter", param="tools")
    if not all(given.stop_sequences or [""]) and given.stop_sequences:
        raise Refused("stop_sequences: one of them is empty.", code="invalid_value", param="stop_sequences")
    format_ = given.output_config.format if given.output_config else None
    schema = schema_checked(format_.schema_) if format_ else None
    settings = Settings(
        temperature=given.temperature,
        top_p=given.top_p,
        max_tokens=given.max_tokens,
        stop=tuple(given.stop_sequences or ()) or None,
        schema=schema,
        top_k=given.top_k,
    )
    extra = given.agora or AgoraField()
    said = [(m.role, text_of(m.content, f"messages.{i}.content")) for i, m in enumerate(given.messages)]
    system = text_of(given.system, "system")
    thinks = given.thinking is not None and given.thinking.type != "disabled"
    return Asked(
        model=given.model,
        messages=conversation([("system", system), *said] if system else list(said)),
        settings=settings,
        budget=budget_of(extra),
        rounds=extra.rounds,
        preset=extra.preset,
        show=thinks if extra.stream is None else extra.stream == "debate",
        stream=bool(given.stream),
        json=schema is not None,
    )


# ---- replies ----------------------------------------------------------------------------------------------------


def usage_body(usage: Usage) -> dict[str, int]:
    """A usage; it adds up over all that were asked."""
    read, written = usage.cached_tokens, usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - read - written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.output_tokens,
    }


def _stop(answered: Answered) -> str:
    reply: Reply = answered.reply
    if answered.refusal is not None:
        return "refusal"
    return "max_tokens" if reply.finish == "length" else "end_turn"


def _message(run: str, model: str, **more: Any) -> dict[str, Any]:
    return {"id": f"msg_{run}", "type": "message", "role": "assistant", "model": model, **more}


def body(asked: Asked, answers: list[Answered]) -> dict[str, Any]:
    """A whole reply."""
    (answered,) = answers
    content: list[dict[str, Any]] = []
    if answered.thought:
        content.append({"type": "thinking", "thinking": answered.thought, "signature": ""})
    content.append({"type": "text", "text": answered.text or answered.refusal or ""})
    return _message(
        answered.run,
        asked.model,
        content=content,
        stop_reason=_stop(answered),
        stop_sequence=None,
        usage=usage_body(answered.reply.usage),
        agora=summary(answered),
    )


class Writer:
    """Writes the stream of one reply.

    Args:
        asked: the request.
    """

    media = "text/event-stream"
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._index = -1
        self._open: str | None = None  # the kind of block that is being written

    @staticmethod
    def _event(kind: str, **data: Any) -> bytes:
        return f"event: {kind}\ndata: {dumped({'type': kind, **data})}\n\n".encode()

    def _piece(self, kind: str, text: str) -> Iterator[bytes]:
        """A piece of a block of a kind, which is opened where it is not."""
        if self._open != kind:
            yield from self._shut()
            self._open, self._index = kind, self._index + 1
            block = {"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})}
            yield self._event("content_block_start", index=self._index, content_block=block)
        yield self._event("content_block_delta", index=self._index, delta={"type": f"{kind}_delta", kind: text})

    def _shut(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield self._event("content_block_stop", index=self._index)

    def write(self, piece: Piece) -> Iterator[bytes]:
        """A piece, as events."""
        match piece:
            case Begun():
                message = _message(piece.run, self._asked.model, content=[], stop_reason=None, stop_sequence=None,
                                   usage=usage_body(Usage()))  # fmt: skip
                yield self._event("message_start", message=message)
            case Thought():
                yield from self._piece("thinking", piece.text)
            case Said():
                yield from self._piece("text", piece.text)
            case Answered():
                if piece.thought and not isinstance(piece.reply, Verdict):
                    yield from self._piece("thinking", piece.thought)
                rest = (piece.text or piece.refusal or "")[piece.said :]
                if rest or self._open != "text":
                    yield from self._piece("text", rest)
                yield from self._shut()
                yield self._event("message_delta", delta={"stop_reason": _stop(piece), "stop_sequence": None},
                                  usage=usage_body(piece.reply.usage), agora=summary(piece))  # fmt: skip

    def end(self) -> Iterator[bytes]:
        """What ends a stream that is whole."""
        yield self._event("message_stop")

    def broken(self, error: dict[str, Any]) -> bytes:
        """What ends one that is not."""
        return f"event: error\ndata: {dumped(error)}\n\n".encode()
