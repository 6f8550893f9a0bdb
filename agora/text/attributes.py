"""What the edges of a communication graph carry: view, delay, probability."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from agora.errors import TopologyError

ATTRIBUTES = ("view", "delay", "probability")


def checked(given: Any, where: str) -> dict[str, Any]:
    """An edge's attributes, checked.

    Args:
        given: a mapping, or None.
        where: the edge, for messages.

    Raises:
        TopologyError: naming what is wrong.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TopologyError(f"{where}: attributes are a mapping such as {{delay: 1}}, not {str(given)[:40]!r}.")
    for key in given:
        if key not in ATTRIBUTES:
            raise TopologyError(f"{where}: unknown attribute '{str(key)[:40]}'.", hint=near(key, ATTRIBUTES))
    kept: dict[str, Any] = dict(given)
    if "delay" in given:
        delay = _number(given["delay"])
        if delay is None or delay != int(delay) or not 0 <= delay <= 10_000:
            raise TopologyError(f"{where}: delay is a whole number of rounds, not {str(given['delay'])[:40]!r}.")
        kept["delay"] = int(delay)
    if "probability" in given:
        p = _number(given["probability"])
        if p is None or not 0 <= p <= 1:
            raise TopologyError(f"{where}: probability is between 0 and 1, not {str(given['probability'])[:40]!r}.")
        kept["probability"] = p
    if "view" in given and not isinstance(given["view"], (str, Mapping)):
        raise TopologyError(f"{where}: view is a name or a mapping such as {{text: answer}}.")
    return kept


def _number(value: Any) -> float | None:
    """A finite number, also where a file has it as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def near(word: Any, known: Sequence[str]) -> str:
    """A hint: the nearest of what is known, or all of it."""
    found = difflib.get_close_matches(str(word), known, 1)
    return f"Did you mean '{found[0]}'?" if found else f"There are {', '.join(known) or 'none'}."
