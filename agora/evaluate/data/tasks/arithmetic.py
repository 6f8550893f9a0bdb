"""Arithmetic as debates have been tested on: Du et al.'s, bit by bit, and the one of 'Debate or Vote'."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from agora.answers import Number
from agora.errors import InputError
from agora.evaluate.data.tasks.making import item, within
from agora.evaluate.records import Item

_OPERATORS = "+*+-*"  # a+b*c+d-e*f, and on in the same way
_ASK = "Make sure to state your answer at the end of the response."
_MOST_SEED = 2**32 - 1


def arithmetic(n: int, seed: int, *, operands: int = 6, digits: int = 0, parentheses: int = 0) -> list[Item]:
    """What is a+b*c+d-e*f: the task of Du et al. 2023 (arXiv:2305.14325). As it stands the first hundred items of seed
    0 are theirs, to the letter.

    Args:
        n: items.
        seed: of numpy's legacy generator.
        operands: 2 to 60; operators follow in turn as in the paper's six.
        digits: of every operand, 1 to 9; 0 is the paper's 0 to 29.
        parentheses: pairs of them, drawn after an item's operands; fewer than there are operators.

    Raises:
        InputError: if a knob is out of bounds.
    """
    import numpy as np  # late: loading data should not take longer than the data

    within("operands", operands, 2, 60)
    within("digits", digits, 0, 9)
    within("parentheses", parentheses, 0, operands - 2)
    within("seed", seed, 0, _MOST_SEED)
    low, high = (0, 30) if not digits else (10 ** (digits - 1) if digits > 1 else 0, 10**digits)
    draw = np.random.RandomState(seed)
    found = []
    for _ in range(n):
        numbers = [int(x) for x in draw.randint(low, high, size=operands)]
        operators = [_OPERATORS[i % len(_OPERATORS)] for i in range(operands - 1)]
        parts = [(str(x), x) for x in numbers]
        for _ in range(parentheses):
            at = int(draw.randint(0, len(operators)))
            text = f"({parts[at][0]}{operators[at]}{parts[at + 1][0]})"
            parts[at : at + 2] = [(text, int(_value([v for _, v in parts[at : at + 2]], [operators[at]])))]
            del operators[at]
        shown = parts[0][0] + "".join(op + text for op, (text, _) in zip(operators, parts[1:], strict=True))
        value = int(_value([v for _, v in parts], operators))
        found.append(item(f"What is the result of {shown}? {_ASK}", str(value), Number()))
    return found


def debate_or_vote(n: int, seed: int) -> list[Item]:
    """What is a+b*c+d-e÷f, to one decimal: the arithmetic of 'Debate or Vote' (Choi et al. 2025, arXiv:2508.17536),
    whose numbers are those of seed 0 here (seed 1 of numpy's generator there). An f of 0 is taken as 1. Either rounding
    of a tie is right. The wording of the question is that of Du et al.

    Args:
        n: items.
        seed: 0 is the paper's.

    Raises:
        InputError: if the seed is out of bounds.
    """
    import numpy as np

    within("seed", seed, 0, _MOST_SEED)
    numbers = np.random.default_rng(seed + 1).integers(0, 30, size=6 * n).reshape(n, 6)
    found = []
    for row in numbers:
        a, b, c, d, e, f = (int(x) for x in row)
        f = f or 1
        value = _value([a, b, c, d, Fraction(e, f)], ["+", "*", "+", "-"])
        shown = f"{a}+{b}*{c}+{d}-{e}÷{f}"
        question = f"What is the result of {shown}, to one decimal place? {_ASK}"
        found.append(item(question, _decimal(value), Number(places=1)))
    return found


def _value(numbers: Sequence[int | Fraction], operators: Sequence[str]) -> int | Fraction:
    """The value of numbers joined by operators, products first."""
    terms: list[int | Fraction] = [numbers[0]]
    for operator, number in zip(operators, numbers[1:], strict=True):
        if operator == "*":
            terms[-1] *= number
        elif operator in "+-":
            terms.append(number if operator == "+" else -number)
        else:
            raise InputError(f"there is no operator '{operator}'.")
    return sum(terms)


def _decimal(value: int | Fraction) -> str:
    """As a decimal: exact where it has an end, else to 12 places."""
    exact = Fraction(value)
    text = f"{Decimal(exact.numerator) / Decimal(exact.denominator):.12f}"
    return text.rstrip("0").rstrip(".")
