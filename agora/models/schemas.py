"""Replies against JSON Schemas, in a time that is bounded by the length of the reply, whatever the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from agora.errors import RequestError

_LEAST, _MOST = 10_000, 500_000  # keywords tried for one reply; a hundred thousand take some tenths of a second
_left: ContextVar[int] = ContextVar("agora_schema_steps")


class _TooLong(Exception):
    """More keywords would have to be tried than a reply of this length can need."""


def unmet(schema: Mapping[str, Any], value: Any, length: int, model: str) -> str | None:
    """What of a schema a value does not satisfy; None if it satisfies all of it.

    Args:
        schema: it.
        value: plain data.
        length: of the value as text, in characters.
        model: whose reply it is.

    Raises:
        RequestError: if the schema is none, refers to what is not there, or takes too long to be tried.
    """
    import jsonschema
    from jsonschema.exceptions import best_match
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.exceptions import Unresolvable

    token = _left.set(min(_MOST, _LEAST + 20 * length))
    try:
        kind = _bounded(jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator))
        error = best_match(kind(schema, registry=REGISTRY).iter_errors(value))
        return None if error is None else str(error.message)[:150]
    except _TooLong:
        said = "the JSON Schema takes too long to be tried: make it simpler."
    except RecursionError:
        said = "the JSON Schema, or the reply to it, is nested too deeply."
    except Unresolvable:  # nothing is fetched
        said = "the JSON Schema refers to what is not there."
    except Exception as error:  # what jsonschema does with a schema that is none
        said = f"the JSON Schema cannot be used ({type(error).__name__})."
    finally:
        _left.reset(token)
    raise RequestError(said, model=model)


@lru_cache(maxsize=16)
def _bounded(kind: Any) -> Any:
    """A class of validators that counts the keywords it tries."""
    from jsonschema import validators

    def counted(check: Callable[..., Any]) -> Callable[..., Iterator[Any] | None]:
        def tried(*given: Any) -> Iterator[Any] | None:
            left = _left.get() - 1
            if left < 0:
                raise _TooLong
            _left.set(left)
            return check(*given)  # type: ignore[no-any-return]

        return tried

    extend: Any = validators.extend
    return extend(kind, {keyword: counted(check) for keyword, check in kind.VALIDATORS.items()})
