"""What is tuned for: accuracy, or accuracy less what cost is worth."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from agora.errors import InputError
from agora.evaluate.records import Scored
from agora.evaluate.running.bench import UNITS

_FORM = re.compile(r"accuracy(?:\s*-\s*(?P<weight>[0-9.]+(?:[eE][-+]?\d+)?)\s*\*\s*(?P<unit>[a-z]+))?")


@dataclass(frozen=True)
class Objective:
    """Mean score over items, less a weight times the mean cost of an item.

    Attributes:
        weight: how much score, 1 being a right answer, one unit of cost is worth.
        unit: 'usd', 'calls' or 'tokens'.
    """

    weight: float = 0.0
    unit: str = "usd"

    @classmethod
    def parse(cls, text: str) -> Objective:
        """From 'accuracy', or 'accuracy-LAMBDA*cost' with `cost` (which is USD), `usd`, `calls` or `tokens`.

        Raises:
            InputError: if it is neither.
        """
        found = _FORM.fullmatch(text.strip())
        unit = "usd" if found is None or found["unit"] in (None, "cost") else found["unit"]
        try:
            weight = float(found["weight"] or 0) if found is not None else math.nan
        except ValueError:
            weight = math.nan
        if unit not in UNITS or not math.isfinite(weight):
            raise InputError(f"'{text[:60]}' is no objective.",
                             hint=f"Say accuracy, or accuracy-0.5*cost: cost, {', '.join(UNITS)}.")  # fmt: skip
        return cls(weight, unit)

    def of(self, row: Scored) -> float:
        """The objective of one item.

        Raises:
            InputError: if its cost is wanted and not known.
        """
        if not self.weight:
            return row.score
        cost = UNITS[self.unit](row.usage)
        if cost is None:
            raise InputError("the objective needs the cost in USD, and the price of a model is not known.",
                             hint="Give it (`price:` of the model), or use calls or tokens.")  # fmt: skip
        return row.score - self.weight * cost

    def __str__(self) -> str:
        return f"accuracy-{self.weight:g}*{self.unit}" if self.weight else "accuracy"
