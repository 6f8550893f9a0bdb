"""JSON Schemas that come from outside: what of them is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agora.serve.asked import Refused

DEEPEST = 50  # objects and lists within each other
MOST_PARTS = 5000  # objects, lists and values; checking so many takes some tenths of a second
MOST_TEXT = 100_000  # characters of names and texts
_DIALECTS = ("2020-12", "2019-09", "draft-07", "draft-06")
_REFERS = ("$ref", "$dynamicRef", "$recursiveRef")


def schema_checked(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema that is one, is no larger than can be checked at once, and refers to nothing but itself.

    Raises:
        Refused: if it is none, or could keep the server busy.
    """
    import jsonschema

    if (unfit := _unfit(schema)) is not None:
        raise Refused(f"response_format: {unfit}.", code="invalid_schema", param="response_format")
    try:
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        said = getattr(error, "message", "it is nested too deeply")[:150]
        raise Refused(f"response_format: this is not a JSON Schema: {said}.", code="invalid_schema",
                      param="response_format") from None  # fmt: skip
    return schema


def _unfit(schema: dict[str, Any]) -> str | None:
    """What a schema from outside must not have: what would be fetched from elsewhere, or could be tried for ever."""
    dialect = schema.get("$schema")
    if dialect is not None and not (isinstance(dialect, str) and any(each in dialect for each in _DIALECTS)):
        return "its $schema is none of JSON Schema's since draft 6"
    refers: set[str] = set()
    parts = text = 0
    for value, depth in _all(schema):
        parts += 1
        text += len(value) if isinstance(value, str) else sum(map(len, value)) if isinstance(value, dict) else 0
        if depth > DEEPEST:
            return "the schema is nested too deeply"
        if parts > MOST_PARTS or text > MOST_TEXT:
            return f"the schema is too large: at most {MOST_PARTS:,} parts and {MOST_TEXT:,} characters are taken"
        if not isinstance(value, dict):
            continue
        if isinstance(value.get("pattern"), str) or isinstance(value.get("patternProperties"), dict):
            return "a schema with patterns is not taken, as some take for ever to be tried"
        if isinstance(value.get("$id"), str) or (depth and isinstance(value.get("$schema"), str)):
            return "a schema must be one: $id and inner $schema are not taken"
        refers.update(ref for key in _REFERS if isinstance(ref := value.get(key), str))
    return next((wrong for ref in sorted(refers) if (wrong := _astray(schema, ref)) is not None), None)


def _all(value: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """Everything in plain data, with its depth; what is deeper than is taken is not gone into."""
    yield value, depth
    if depth <= DEEPEST:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from _all(item, depth + 1)


def _astray(schema: dict[str, Any], ref: str) -> str | None:
    """What is wrong with a reference."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    if not ref.startswith("#"):
        return "a schema may refer only to itself ('#/...')"
    try:
        Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver().lookup(ref)
    except (Unresolvable, ValueError, TypeError, LookupError):
        return f"the schema refers to '{ref[:80]}', which is not there"
    return None
