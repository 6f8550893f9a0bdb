"""Stop rules from their YAML form."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from agora.errors import InputError
from agora.model import Model
from agora.text.stop.judge import judge
from agora.text.stop.rule import StopRule
from agora.text.stop.rules import (
    agreement,
    answered,
    confident,
    converging,
    declared,
    entropy,
    failures,
    no_change,
    oscillation,
    quorum,
    repetition,
    rounds,
    spent,
    spread,
    stable,
    supermajority,
    unanimous,
)

RULES: Mapping[str, Callable[..., StopRule]] = {
    made.__name__: made
    for made in (
        rounds, unanimous, quorum, supermajority, agreement, confident, entropy, spread, stable, no_change, converging,
        oscillation, repetition, declared, answered, failures, spent,
    )
}  # fmt: skip
_LONGEST = 500
_HUGE = 1e9


def parse_stop(text: str, judges: Mapping[str, Model] | None = None) -> StopRule:
    """A stop rule from its YAML form: rules with numbers, words or keywords, joined by `|` and `&`, with parentheses:
    `unanimous | stable(2) & quorum(share=2/3) | judge(MODEL, every=2) | rounds(4)`. Nothing in it is evaluated.

    Args:
        text: at most 500 characters.
        judges: the models that `judge` may name.

    Raises:
        InputError: naming what is wrong.
    """
    if len(text) > _LONGEST:
        raise InputError(f"stop: the rule is longer than {_LONGEST} characters.")
    if "#" in text:  # a comment would hide the lines after it, which are joined
        raise _unreadable(text)
    try:
        return _build(ast.parse(" ".join(text.split()), mode="eval").body, text, judges or {})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text) from None


def _unreadable(text: str) -> InputError:
    shown = "".join(c if c.isprintable() else " " for c in " ".join(text.split())[:80])
    return InputError(f"stop: cannot read '{shown}'; write rules like 'unanimous | rounds(4)'.")


def _build(node: ast.AST, text: str, judges: Mapping[str, Model]) -> StopRule:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd)):
        left, right = _build(node.left, text, judges), _build(node.right, text, judges)
        return left | right if isinstance(node.op, ast.BitOr) else left & right
    called = node if isinstance(node, ast.Call) else None
    named = called.func if called else node
    if not isinstance(named, ast.Name):
        raise _unreadable(text)
    name, args = named.id, list(called.args) if called else []
    keywords = called.keywords if called else []
    if name == "judge":
        made = _judge(args.pop(0) if args else None, judges)
    elif name in RULES:
        made = RULES[name]
    else:
        near = _near(name, [*RULES, "judge"])
        raise InputError(f"stop: unknown rule '{name[:40]}'{near}; there are {', '.join(RULES)}, judge.")
    hints = {key: hint for key, hint in get_type_hints(made).items() if key != "return"}
    defaults = {key: p.default for key, p in inspect.signature(made).parameters.items()}
    if len(args) > len(hints):
        raise InputError(f"stop: {name} takes another number of arguments than {len(args)}.")
    given: dict[str, Any] = {}
    for key, value in [*zip(hints, args, strict=False), *((k.arg, k.value) for k in keywords)]:
        if key not in hints:
            known = f"; it takes {', '.join(hints)}" if hints else ""
            near = _near(key or "", list(hints))
            raise InputError(f"stop: {name} has no argument '{(key or '**')[:40]}'{near}{known}.")
        if key in given:
            raise InputError(f"stop: {name} is given '{key}' twice.")
        given[key] = _value(value, name, key, hints[key])
    for key, default in defaults.items():
        if key not in given and default is inspect.Parameter.empty:
            raise InputError(f"stop: {name} needs its argument '{key}': {name}({', '.join(hints)}).")
    return made(**given)


def _judge(node: ast.AST | None, judges: Mapping[str, Model]) -> Callable[..., StopRule]:
    who = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
    if not isinstance(who, str) or who not in judges:
        near, known = _near(who, list(judges)) if isinstance(who, str) else "", ", ".join(judges) or "none"
        raise InputError(f"stop: judge needs one of the file's models, judge(NAME){near}; there are {known}.")
    model = judges[who]

    def made(every: int = 1) -> StopRule:
        return judge(model, every=every)

    return made


def _value(node: ast.AST, name: str, key: str, hint: object) -> Any:
    """The value of an argument: a number, an agent's name or one of the words the rule takes."""
    if hint in (str, str | None):
        word = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
        if not isinstance(word, str):
            raise InputError(f"stop: the argument {key} of {name} is an agent's name; one with other signs in quotes.")
        return word
    words = [word for word in get_args(hint) if isinstance(word, str)]
    if words:
        word = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
        if word not in words:
            near = _near(word, words) if isinstance(word, str) else ""
            raise InputError(f"stop: the argument {key} of {name} must be one of {', '.join(words)}{near}.")
        return word
    value = _figure(node)
    if value is None:
        raise InputError(f"stop: the argument {key} of {name} must be a number.")
    if abs(value) > _HUGE:
        raise InputError(f"stop: the argument {key} of {name} is too large.")
    if hint in (int, int | None) and not isinstance(value, int):
        raise InputError(f"stop: the argument {key} of {name} must be a whole number.")
    return value


def _figure(node: ast.AST) -> int | float | None:
    """A number as it is written: 4, -1, 0.6, 2/3."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        positive = _plain(node.operand)
        return None if positive is None else -positive
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        top, bottom = _plain(node.left), _plain(node.right)
        return top / bottom if top is not None and bottom and max(top, bottom) <= _HUGE else None
    return _plain(node)


def _plain(node: ast.AST) -> int | float | None:
    value: object = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _near(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word[:80], words, 1)
    return f", did you mean '{close[0]}'" if close else ""
