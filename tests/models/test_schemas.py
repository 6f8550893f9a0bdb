"""Replies held to JSON Schemas, among them schemas that would be tried for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.errors import MalformedError, RequestError
from agora.models.endpoint import held_to


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers() | st.text()), max_size=5))
def test_what_jsonschema_says_is_what_is_said(value: list[dict[str, Any]]) -> None:
    import jsonschema

    schema = {"type": "array", "items": {"required": ["a"], "properties": {"a": {"type": "integer"}}}}
    text = json.dumps(value)
    if jsonschema.Draft202012Validator(schema).is_valid(value):
        assert held_to(schema, f"```json\n{text}\n```", "m") == text
    else:
        with pytest.raises(MalformedError, match="does not satisfy"):
            held_to(schema, text, "m")


def test_a_long_reply_may_be_tried_for_longer() -> None:
    schema = {"items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}}
    text = json.dumps([{"a": i} for i in range(20_000)])
    assert held_to(schema, text, "m") == text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/nowhere"}, "what is not there"),
        ({"$ref": "http://localhost:1/schema"}, "what is not there"),
        ({"$ref": "#"}, "nested too deeply"),
        ({"type": 5}, "cannot be used"),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * 200}, "b": {"allOf": [{"type": "string"}] * 200}},
          "$ref": "#/$defs/a"}, "takes too long"),
    ],
)  # fmt: skip
def test_asking_again_would_not_help(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        held_to(schema, '{"a": 1}', "m")
    assert not caught.value.retryable
