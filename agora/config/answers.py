"""The kind of answer, from what may stand under `answer:`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agora import answers
from agora.errors import InputError


def answer_of(value: str | Mapping[str, Any]) -> answers.AnswerType:
    """A kind of answer: 'number', {number: {places: 2}}, {choice: [A, B]}, {json: {keys: [...]}}, ...

    Raises:
        InputError: if there is no such kind, or it does not take these options.
    """
    if isinstance(value, str):
        return answers.answer_type(value)
    if len(value) != 1:
        raise InputError("answer: names one kind, such as {choice: [A, B]}.")
    (kind, options), *_ = value.items()
    if kind == "choice" and isinstance(options, (dict, list)):
        if isinstance(options, dict):
            return answers.Choice({str(k): str(v) for k, v in options.items()})
        return answers.Choice([str(option) for option in options])
    try:
        if kind == "number":
            return answers.Number(**options)
        if kind == "json":
            return answers.Json(tuple(map(str, options["keys"])))
    except (TypeError, KeyError):
        raise InputError(f"answer: {kind} does not take these options.") from None
    return answers.answer_type(str(kind))


def value_of(kind: answers.AnswerType) -> str | dict[str, Any]:
    """What stands under `answer:` for a kind of answer: the inverse of `answer_of`."""
    match kind:
        case answers.Number(places=int(places)):
            return {"number": {"places": places}}
        case answers.Choice(options=options):
            return {"choice": dict(options)}
        case answers.Json(keys=keys) if keys:
            return {"json": {"keys": list(keys)}}
    return kind.kind
