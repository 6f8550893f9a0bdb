"""Answers in LaTeX: a kind of answer whose canonical form is short, and when two of them are equal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction

from agora.answers import boxed, marked_line

_DROPPED = re.compile(r"\\(?:[,!;: ]|(?:left|right|[bB]igg?|displaystyle|limits|q?quad)(?![a-zA-Z]))|~")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textrm|mathbf|textbf)\s?\{([^{}]*)\}")
_SHORT = re.compile(r"\\frac\s?([0-9a-zA-Z])\s?([0-9a-zA-Z])(?![0-9a-zA-Z{])")
_ROOT = re.compile(r"\\sqrt\s?([0-9a-zA-Z])(?![0-9a-zA-Z])")
_SET = re.compile(r"^[a-zA-Z]{1,2}\s*(?:=|\\in(?![a-zA-Z]))\s*")
_QUOTIENT = re.compile(r"([-+]?)()(\d{1,30})/(\d{1,30})")
_MIXED = re.compile(r"([-+]?)(\d{0,30})\\frac\{(-?\d{1,30})\}\{(\d{1,30})\}")
_MOST = 2_000  # characters of an answer


@dataclass(frozen=True, slots=True)
class Latex:
    """A mathematical expression, in LaTeX: what stands in the last box, else after 'Answer:'.

    Canonical forms leave out what says nothing (dollar signs, spacing, `\\left`, `\\text`, a trailing dot, 'x =') and
    write numbers as decimals, or as quotients where these have no end, so that votes for one expression meet.
    Expressions that are equal without being written alike are different votes; only the scorer `math` sees it.
    """

    kind: str = field(default="latex", init=False)

    @property
    def instruction(self) -> str:
        return "End with a line 'Answer: X', where X is the final answer alone, as a number or in LaTeX."

    def read(self, text: str) -> str | None:
        where = boxed(text)
        if where is None:
            where = marked_line(text)
        if where is None or not where.strip() or len(where) > _MOST:
            return None
        shown = plain(where)
        value = number(shown)
        return (shown or None) if value is None else _digits(value)


def _digits(value: Fraction) -> str:
    """A number as a decimal where it has an end, else as a quotient."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1 or value.denominator.bit_length() > 600:
        return f"{value.numerator}/{value.denominator}"
    with localcontext(prec=1_000):
        text = f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(text: str) -> str:
    """An expression without what says nothing."""
    text = text.strip().strip("*_`").strip()
    text = text.replace("\\$", "").replace("$", "").replace("\\(", "").replace("\\)", "")
    text = text.replace("\\[", "").replace("\\]", "").replace("\u2212", "-").replace("{,}", ",")
    inside = boxed(text)
    text = text if inside is None else inside
    text = _TEXT.sub(r"\1", text)
    text = _DROPPED.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = re.sub(r"\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![a-zA-Z]))|\u00b0|\\%|%", "", text)
    text = _SHORT.sub(r"\\frac{\1}{\2}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = _SET.sub("", text.strip())
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    return re.sub(r"\s+", "", text).rstrip(".")


def number(text: str) -> Fraction | None:
    """The number that an expression is, where it is nothing else: digits, a quotient or a LaTeX fraction."""
    if re.fullmatch(r"[-+]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})", text):
        return Fraction(Decimal(text))
    match = _QUOTIENT.fullmatch(text) or _MIXED.fullmatch(text)
    if match is None or not int(match[4]):
        return None
    value = Fraction(int(match[2] or 0)) + Fraction(int(match[3]), int(match[4]))
    return -value if match[1] == "-" else value


def alike(one: str, other: str) -> bool:
    """Whether two expressions are written alike, or are the same number."""
    first, second = plain(one), plain(other)
    words = first.isalpha() and len(first) > 1  # 'x' is not 'X', but 'Evelyn' is 'evelyn'
    if first == second or (words and first.casefold() == second.casefold()):
        return first != ""
    a, b = number(first), number(second)
    return a is not None and a == b
