"""What a request asks for, in whichever API's form it came; and what a reply to it is made of."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agora.budget import Budget
from agora.errors import AgoraError, InputError
from agora.model import Settings
from agora.records import Message, Reply

MOST_CHOICES = 16  # of one request


class Wire(BaseModel):
    """A part of a request: unknown keys are errors, as they are with the vendors; nothing is read as another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is an integer, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


class BudgetField(Wire):
    """Limits of this request."""

    calls: Whole | None = Field(None, ge=0, description="most model calls")
    tokens: Whole | None = Field(None, ge=0, description="most tokens, in and out")
    usd: float | None = Field(None, ge=0, le=1e9, description="most to spend")
    seconds: float | None = Field(None, ge=0, le=1e9, description="wall time")


class AgoraField(Wire):
    """What only agora's models understand."""

    budget: BudgetField | None = None
    rounds: Whole | None = Field(None, ge=0, le=1000, description="of debate after the first answers, at most")
    preset: str | None = Field(None, max_length=100, description="a published protocol that the models follow instead")
    stream: Literal["debate", "answer"] | None = Field(None, description="show the debate as reasoning, or not")


class JsonSchemaField(Wire):
    """A JSON Schema that the answer must satisfy."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class PlainFormat(Wire):
    type: Literal["text", "json_object"]


class SchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: JsonSchemaField


ResponseFormat = Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        model: the id it names.
        messages: the conversation.
        settings: how to sample.
        choices: how many answers.
        budget: its own limits.
        rounds: of debate, at most.
        preset: the protocol to follow instead.
        show: tell what goes on before the answer.
        stream: the reply comes in pieces.
        json: the answer is to be JSON.
    """

    model: str
    messages: tuple[Message, ...]
    settings: Settings = Settings()
    choices: int = 1
    budget: Budget = Budget()
    rounds: int | None = None
    preset: str | None = None
    show: bool = False
    stream: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A choice is under way, as this run."""

    choice: int
    run: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what goes on before the answer."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer."""

    choice: int
    text: str


@dataclass(frozen=True)
class Answered:
    """A choice is complete.

    Attributes:
        choice: which.
        run: id of its run.
        reply: it.
        text: the answer's text; None where the answer was to be JSON, and there is none.
        refusal: why there is none.
        said: how much of the text has been told already, in characters.
    """

    choice: int
    run: str
    reply: Reply
    text: str | None
    refusal: str | None = None
    said: int = 0
    thought: str = field(default="", repr=False)


Piece = Begun | Thought | Said | Answered


class Refused(AgoraError):
    """A request is turned away.

    Args:
        message: one sentence.
        status: of HTTP.
        code: a word for it.
        param: the field that is wrong.
        retry_after: seconds after which it may be tried again; None: trying again does not help.
        run: id of the run that it became, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        run: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.code, self.param, self.retry_after, self.run = status, code, param, retry_after, run


def wrong(errors: ValidationError) -> Refused:
    """What is wrong with a request, in one sentence: of an unknown field, else of the deepest place."""
    found = errors.errors(include_url=False, include_input=False, include_context=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), None)
    if first is not None:
        name = ".".join(map(str, first["loc"]))[:120]
        return Refused(f"Unrecognized request argument supplied: {name}", code="unknown_parameter", param=name)
    first = max(found, key=lambda error: len(error["loc"]))
    name = ".".join(map(str, first["loc"]))[:120]
    if first["type"] == "json_invalid":
        return Refused(f"The body is not JSON: {first['msg'].partition(': ')[2][:200]}.", code="invalid_json")
    where = f"{name}: " if name else ""
    said = first["msg"].removeprefix("Value error, ")[:300]
    return Refused(f"{where}{said}.", code="invalid_value", param=name or None)


def dumped(data: Any) -> str:
    """Plain data as JSON, which has no NaN and no infinity: a model that says so says nothing."""
    try:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def text_of(content: Any, where: str) -> str:
    """The text of a message's content, which may be a list of parts.

    Raises:
        Refused: if a part is no text.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for i, part in enumerate(content):
        if part.type in ("thinking", "redacted_thinking"):
            continue  # of an earlier answer; it is not read again
        if part.type not in ("text", "refusal"):
            raise Refused(f"{where}.{i}: a part of type '{part.type[:40]}' cannot be read; these models read text.",
                          code="unsupported_content", param=where)  # fmt: skip
        said = part.text if part.type == "text" else part.refusal
        if said is None or not said.strip():
            raise Refused(
                f"{where}.{i}: a part of type '{part.type}' needs its text.", code="invalid_value", param=where
            )
        texts.append(said)
    return "".join(texts)


def budget_of(given: AgoraField | None) -> Budget:
    """The limits that a request sets itself."""
    if given is None or given.budget is None:
        return Budget()
    try:
        return Budget(**given.budget.model_dump())
    except InputError as error:
        raise Refused(str(error), param="agora.budget") from None
