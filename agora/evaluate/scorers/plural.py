"""Questions without one right answer: how near the shares of answers are to a reference distribution."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agora.errors import InputError
from agora.evaluate.records import Item

Distance_ = Literal["jensen-shannon", "total-variation"]
_LINE = re.compile(r"^\s*(\d{1,3}(?:\.\d{1,9})?)\s?%\s+(\S.*)$", re.MULTILINE)


def closeness(shares: Mapping[str, float], reference: Mapping[str, float], distance: Distance_) -> float:
    """How near two distributions are: 1 is the same, 0 is without anything in common.

    Args:
        shares: of answers, not negative; they are taken as shares of their sum.
        reference: likewise.
        distance: 'jensen-shannon', the divergence in bits, or 'total-variation'.

    Raises:
        InputError: if one of them is no distribution.
    """
    p, q = _normal(shares, "the shares of answers"), _normal(reference, "the reference distribution")
    names = sorted({*p, *q})  # in one order, so that sums are the same everywhere
    if distance == "total-variation":
        return max(0.0, 1 - math.fsum(abs(p.get(n, 0.0) - q.get(n, 0.0)) for n in names) / 2)
    parts = []
    for name in names:
        mine, other = p.get(name, 0.0), q.get(name, 0.0)
        middle = (mine + other) / 2
        parts += [x / 2 * math.log2(x / middle) for x in (mine, other) if x > 0]
    return min(1.0, max(0.0, 1 - math.fsum(parts)))


@dataclass(frozen=True, slots=True)
class Distance:
    """How near the shares of answers are to an item's reference (`data['distribution']`, answer -> share): 1 less the
    Jensen-Shannon divergence in bits, or less the total variation.

    The shares are the answer's where it is a JSON object of answers and shares; else those of the reply, where it has
    lines such as '60% yes', as a moderator that decides by distribution writes; else all of it is on the answer.

    Attributes:
        distance: 'jensen-shannon' or 'total-variation'.
    """

    distance: Distance_ = "jensen-shannon"
    name: str = "distribution"
    paid: bool = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        """0 to 1.

        Raises:
            InputError: if the item has no distribution.
        """
        reference = item.data.get("distribution")
        if not isinstance(reference, Mapping):
            raise InputError(f"item '{item.id[:60]}': the scorer 'distribution' needs a distribution of answers.",
                             hint="Name its field by distribution: in the mapping.")  # fmt: skip
        right = _read(_normal(reference, f"item '{item.id[:60]}': the reference distribution"), item)
        given = _shares(answer) or {name: float(share) for share, name in _LINE.findall(text)} or {answer: 1.0}
        try:
            shares = _normal(given, "the answer")
        except InputError:
            return 0.0  # an object that is no distribution is an answer, and a wrong one
        return closeness(_read(shares, item), right, self.distance)


def _read(shares: Mapping[str, float], item: Item) -> dict[str, float]:
    """Shares by canonical answers."""
    found: dict[str, float] = {}
    for name, share in shares.items():
        key = str(name) if item.answer.kind == "json" else item.answer.read(str(name)) or str(name)
        key = " ".join(key.split()).casefold()
        found[key] = found.get(key, 0.0) + share
    return found


def _shares(answer: str) -> dict[str, Any]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _normal(shares: Mapping[str, Any], what: str) -> dict[str, float]:
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise InputError(f"{what}: '{str(name)[:40]}' has {repr(share)[:40]}; a share is a number, at least 0.")
    total = math.fsum(map(float, shares.values()))
    if not 0 < total < math.inf:
        raise InputError(f"{what} sum to {total:g}, so they are none.")
    return {name: float(share) / total for name, share in shares.items()}
