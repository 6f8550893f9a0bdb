"""The sandbox for templates that users bring: it reads values, and is bounded in time and memory whatever it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agora.errors import TemplateError

MAX_TEXT = 5_000_000  # characters of a rendered template, and of any text or list made on the way
MAX_STEPS = 100_000  # passes of all its loops together
_WIDTH = 10_000  # of padding
_FILTERS = frozenset(
    {
        "abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "format",
        "groupby", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject",
        "rejectattr", "replace", "reverse", "round", "select", "selectattr", "slice", "sort", "string", "sum", "title",
        "trim", "truncate", "unique", "upper", "wordcount",
    }
)  # fmt: skip
_REFUSED = (
    nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Extends, nodes.Block, nodes.Import,
    nodes.FromImport, nodes.Include,
)  # fmt: skip
_PADDED = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_steps: ContextVar[list[int]] = ContextVar("agora_steps")


def _refuse(what: str) -> TemplateError:
    return TemplateError(f"it {what}")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _fits(size: float) -> None:
    if size > MAX_TEXT:
        raise _refuse(f"makes more than {MAX_TEXT:,} characters")


def _passes(values: Iterable[Any]) -> list[Any]:
    """What a loop goes through, counted."""
    left = _steps.get()
    found = list(islice(values, left[0] + 1))
    left[0] -= len(found)
    if left[0] < 0:
        raise _refuse(f"loops more than {MAX_STEPS:,} times")
    return found


def _glued(values: Iterable[Any]) -> str:
    parts = [str(value) for value in values]
    _fits(sum(map(len, parts)))
    return "".join(parts)


def _pattern(text: str) -> None:
    """A pattern of old-style formatting, without widths that fill the memory."""
    if re.search(r"%[^a-zA-Z%]*(\d{4}|\*)", text):
        raise _refuse("formats with a width of more than three digits")


class Sandbox(ImmutableSandboxedEnvironment):
    """Templates may loop over what they are given, choose and format; not define, include, or grow for ever."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        filters = {name: made for name, made in self.filters.items() if name in _FILTERS}
        join, replace, pattern = filters["join"], filters["replace"], filters["format"]

        @jinja2.pass_eval_context
        def joined(context: Any, value: Iterable[Any], d: str = "", attribute: Any = None) -> Any:
            items = list(value)
            _fits(sum(map(_size, items)) + len(items) * len(str(d)))
            return join(context, items, d, attribute)

        @jinja2.pass_eval_context
        def replaced(context: Any, s: str, old: str, new: str, count: int | None = None) -> Any:
            _fits(len(str(s)) + (len(str(s)) + 1) * len(str(new)) / max(1, len(str(old))))
            return replace(context, s, old, new, count)

        def formatted(value: Any, *args: Any, **kwargs: Any) -> Any:
            _pattern(str(value))
            return pattern(value, *args, **kwargs)

        self.filters = {**filters, "join": joined, "replace": replaced, "format": formatted,
                        "_passes": _passes, "_glued": _glued}  # fmt: skip
        self.globals = {"range": self.globals["range"], "dict": dict}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that can make much of little."""
        if operator == "*":
            times = [n if isinstance(n, int) else 0 for n in (left, right)]
            _fits(max(_size(left) * times[1], _size(right) * times[0]))
        elif operator == "+":
            _fits(_size(left) + _size(right))
        elif operator == "%" and isinstance(left, str):
            _pattern(left)
        numbers = [abs(n) for n in (left, right) if isinstance(n, int)]
        if operator in ("*", "**") and len(numbers) == 2:
            bits = numbers[0].bit_length() * (numbers[1] if operator == "**" else 1)
            if bits > 10_000:
                raise _refuse("makes a number of thousands of digits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Methods of texts that can make much of little."""
        held, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(held, str):
            given = [*args, *kwargs.values()]
            if name in _PADDED and any(isinstance(n, int) and n > _WIDTH for n in given):
                raise _refuse(f"pads a text to more than {_WIDTH:,} characters")
            if name == "replace" and len(args) > 1:
                _fits(len(held) + (len(held) + 1) * len(str(args[1])) / max(1, len(str(args[0]))))
            if name in ("format", "format_map", "translate"):
                raise _refuse(f"calls {name}, which a template may not")
            if name == "join" and args:
                items = list(args[0])
                _fits(sum(map(_size, items)) + len(items) * len(held))
                args = (items, *args[1:])
        return super().call(context, obj, *args, **kwargs)

    def bounded(self, source: str) -> jinja2.Template:
        """A template of a text.

        Raises:
            TemplateError: if it does what no prompt needs to.
            jinja2.TemplateSyntaxError: if it does not parse.
        """
        tree = self.parse(source)
        for node in tree.find_all(_REFUSED):
            raise _refuse(f"has a {type(node).__name__.casefold()} on line {node.lineno}, which it may not")
        for loop in list(tree.find_all(nodes.For)):
            if loop.recursive:
                raise _refuse(f"has a recursive loop on line {loop.lineno}, which it may not")
            loop.iter = nodes.Filter(loop.iter, "_passes", [], [], None, None, lineno=loop.lineno)
        _put_in_place(tree)
        code = self.compile(tree, filename="<template>")
        return jinja2.Template.from_code(self, code, self.make_globals(None))

    @staticmethod
    def text(template: jinja2.Template, values: dict[str, Any]) -> str:
        """A rendered template.

        Raises:
            TemplateError: if it goes on too long.
        """
        token = _steps.set([MAX_STEPS])
        try:
            return "".join(_measured(template.root_render_func(template.new_context(values))))
        finally:
            _steps.reset(token)


def _measured(pieces: Iterator[str]) -> Iterator[str]:
    total = 0
    for piece in pieces:
        total += len(piece)
        _fits(total)
        yield piece


def _put_in_place(node: nodes.Node) -> None:
    """Joins of texts (`~`) measured, everywhere below a node."""
    for name, value in list(node.iter_fields()):
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, nodes.Node):
                continue
            _put_in_place(child)
            if isinstance(child, nodes.Concat):
                line = child.lineno
                made = nodes.Filter(nodes.List(child.nodes, lineno=line), "_glued", [], [], None, None, lineno=line)
                if isinstance(value, list):
                    value[i] = made
                else:
                    setattr(node, name, made)
