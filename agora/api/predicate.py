"""Predicates over a prompt, as text in YAML: `length > 500 or contains('prove')`. Nothing in them is evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from agora.errors import InputError

_LONGEST = 500
_FACTS: Mapping[str, Callable[[str], float]] = {
    "length": len,
    "words": lambda text: len(text.split()),
    "lines": lambda text: text.count("\n") + 1,
    "digits": lambda text: sum(c.isdigit() for c in text),
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
Predicate = Callable[[str], bool]


def parse(text: str) -> Predicate:
    """A predicate from its YAML form: `length`, `words`, `lines` and `digits` compared with numbers, and
    `contains('...')`, up to case; joined by `and`, `or`, `not` and parentheses.

    Args:
        text: at most 500 characters.

    Raises:
        InputError: if it cannot be read.
    """
    shown = "".join(c if c.isprintable() else " " for c in " ".join(text.split())[:80])
    wrong = InputError(f"rule: cannot read '{shown}'; write such as length > 500 or contains('prove').",
                       hint=f"There are {', '.join(_FACTS)} and contains('...').")  # fmt: skip
    if len(text) > _LONGEST:
        raise InputError(f"rule: is longer than {_LONGEST} characters.")
    try:
        return _build(ast.parse(" ".join(text.split()), mode="eval").body, wrong)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None


def _build(node: ast.AST, wrong: InputError) -> Predicate:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_build(value, wrong) for value in values]
            join = all if isinstance(op, ast.And) else any
            return lambda prompt: join(part(prompt) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _build(operand, wrong)
            return lambda prompt: not inner(prompt)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            sides = [_side(side, wrong) for side in (left, *rest)]
            signs = [_COMPARE.get(type(op)) for op in ops]
            if None in signs:
                raise wrong
            return lambda prompt: all(
                sign(a(prompt), b(prompt)) for sign, a, b in zip(signs, sides, sides[1:], strict=False) if sign
            )
        case ast.Call(func=ast.Name(id="contains"), args=[ast.Constant(value=str() as word)], keywords=[]) if word:
            folded = word.casefold()
            return lambda prompt: folded in prompt.casefold()
    raise wrong


def _side(node: ast.AST, wrong: InputError) -> Callable[[str], float]:
    match node:
        case ast.Name(id=name) if name in _FACTS:
            return _FACTS[name]
        case ast.Constant(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            number: Any = value
            return lambda prompt: number
    raise wrong
