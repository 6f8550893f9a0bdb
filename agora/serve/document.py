"""The OpenAPI document of the endpoints, made of the very classes that read requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

import agora
from agora.serve.chat import ChatRequest
from agora.serve.messages import MessagesRequest

_REF = "#/components/schemas/"


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_MAYBE = {"type": ["string", "null"]}
_EVENT = _object(["data"], event=_TEXT, data=_TEXT)  # each of a stream's
_RESPONSES: dict[str, dict[str, Any]] = {
    "Error": _object(
        ["error"],
        error=_object(["message", "type", "param", "code"], message=_TEXT, type=_TEXT, param=_MAYBE, code=_MAYBE),
        agora=_object(["run"], run=_TEXT),
    ),
    "AnthropicError": _object(
        ["type", "error"],
        type={"const": "error"},
        error=_object(["type", "message"], type=_TEXT, message=_TEXT),
        agora=_object(["run"], run=_TEXT),
    ),
    "Run": _object(
        ["run", "calls", "usd", "seconds"],
        run=_TEXT, calls=_COUNT, usd={"type": ["number", "null"]}, seconds={"type": "number"},
        answer=_MAYBE, reason=_TEXT, rounds=_COUNT,
    ),
    "ChatCompletion": _object(
        ["id", "object", "created", "model", "choices", "usage", "agora"],
        id=_TEXT, object={"const": "chat.completion"}, created=_COUNT, model=_TEXT,
        choices=_array(
            _object(
                ["index", "message", "finish_reason"],
                index=_COUNT, finish_reason={"enum": ["stop", "length", "content_filter"]},
                message=_object(
                    ["role", "content"],
                    role={"const": "assistant"}, content=_MAYBE, refusal=_MAYBE, reasoning_content=_TEXT,
                ),
            )
        ),
        usage=_object(["prompt_tokens", "completion_tokens", "total_tokens"], prompt_tokens=_COUNT,
                      completion_tokens=_COUNT, total_tokens=_COUNT),
        agora={"$ref": f"{_REF}Run"},
    ),
    "Message": _object(
        ["id", "type", "role", "model", "content", "stop_reason", "usage", "agora"],
        id=_TEXT, type={"const": "message"}, role={"const": "assistant"}, model=_TEXT,
        content=_array(_object(["type"], type=_TEXT)),
        stop_reason={"enum": ["end_turn", "max_tokens", "refusal"]},
        usage=_object(["input_tokens", "output_tokens"], input_tokens=_COUNT, output_tokens=_COUNT),
        agora={"$ref": f"{_REF}Run"},
    ),
    "Models": _object(["data"], data=_array({"$ref": f"{_REF}Model"})),
    "Model": _object(["id"], id=_TEXT),
    "Health": _object(["status"], status=_TEXT),
}  # fmt: skip
_WRONG = {
    400: "the request is wrong, or the model rejects it",
    401: "the key is missing or wrong",
    402: "the request's budget ended it without an answer",
    403: "this Host or Origin may not ask",
    404: "there is no such model",
    408: "the request was too slow to arrive",
    413: "the request is too large",
    429: "too many requests; see Retry-After",
    500: "the server failed",
    502: "a model failed, or the debate reached no verdict",
    503: "the server is ending; see Retry-After",
    504: "there was no answer in time",
}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"{_REF}{schema}"}}}


def _wrong(schema: str, *statuses: int) -> dict[str, Any]:
    return {str(each): {"description": _WRONG[each], "content": _json(schema)} for each in statuses}


def _answers(summary: str, request: str, response: str, error: str) -> dict[str, Any]:
    """An endpoint that answers."""
    run = {"x-agora-run": {"description": "ids of its runs in the journal, by commas", "schema": _TEXT}}
    good = {"description": "the reply; a stream of events where `stream` is true", "headers": run,
            "content": {**_json(response), "text/event-stream": {"schema": _EVENT}}}  # fmt: skip
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": _json(request)},
            "responses": {"200": good, **_wrong(error, *_WRONG)},
        }
    }


def _gives(summary: str, schema: str, parameters: list[Any] | None = None, *wrong: int) -> dict[str, Any]:
    """An endpoint that only tells."""
    good = {"200": {"description": summary, "content": _json(schema)}}
    return {"get": {"summary": summary, "responses": {**good, **_wrong("Error", 401, 403, *wrong)},
                    **({"parameters": parameters} if parameters else {})}}  # fmt: skip


def openapi(models: Sequence[str]) -> dict[str, Any]:
    """The document, as plain data.

    Args:
        models: that can be asked.
    """
    _, made = models_json_schema(
        [(ChatRequest, "validation"), (MessagesRequest, "validation")], ref_template=f"{_REF}{{model}}"
    )
    for each in ("ChatRequest", "MessagesRequest"):
        made["$defs"][each]["properties"]["model"] = {"type": "string", "enum": list(models)}
    text, schemas = {"type": "string", "pattern": r"\S"}, made["$defs"]
    for part in ("Part", "Block"):
        schemas[part]["properties"] |= {"text": text, "type": {"const": "text"}}
        schemas[part]["required"] = ["type", "text"]
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    health = _gives("whether it can answer", "Health")
    health["get"]["responses"]["503"] = {"description": "it cannot", "content": _json("Health")}
    metrics = _gives("what it has counted", "Health")
    metrics["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "agora", "version": agora.__version__, "description": "Debates, as models."},
        "paths": {
            "/v1/chat/completions": _answers("A chat completion", "ChatRequest", "ChatCompletion", "Error"),
            "/v1/messages": _answers("A message", "MessagesRequest", "Message", "AnthropicError"),
            "/v1/models": _gives("the models", "Models"),
            "/v1/models/{name}": _gives("one model", "Model", [name], 404),
            "/healthz": health,
            "/metrics": metrics,
        },
        "components": {
            "schemas": {**made["$defs"], **_RESPONSES},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }
