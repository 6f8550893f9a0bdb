"""Outcomes: which model answered which prompt how well and for how much; what routers and cascades learn from."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agora.errors import InputError

if TYPE_CHECKING:
    from agora.journal import Journal

Floats = NDArray[np.float64]
MAX_LINE = 20_000_000  # characters of one record


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer.

    Attributes:
        prompt: what was asked.
        model: who answered.
        score: how well, 0 to 1.
        cost: USD; None where it is not known.
    """

    prompt: str
    model: str
    score: float
    cost: float | None = None


@dataclass(frozen=True)
class Table:
    """Outcomes by prompt and model.

    Attributes:
        prompts: each once, in order of appearance.
        models: likewise.
        scores: (prompts, models), NaN where a model was not asked; the mean where it was asked more than once.
        costs: (prompts, models), USD; a model's mean cost where one is not known, 0 where none is.
        priced: whether any cost was known.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    costs: Floats
    priced: bool

    def rows(self, chosen: Sequence[int] | NDArray[Any]) -> Table:
        """Some of the prompts."""
        some = np.asarray(chosen)
        kept = tuple(self.prompts[i] for i in some)
        return Table(kept, self.models, self.scores[some], self.costs[some], self.priced)

    def complete(self) -> Table:
        """The prompts that every model has answered: what routers can be compared on.

        Raises:
            InputError: if there is none.
        """
        full = np.flatnonzero(~np.isnan(self.scores).any(axis=1))
        if not len(full):
            raise InputError("no prompt was answered by every model, so routers cannot be compared.",
                             hint="Ask all models the same questions, some at least.")  # fmt: skip
        return self.rows(full)


def table(outcomes: Iterable[Outcome]) -> Table:
    """Outcomes as a table.

    Raises:
        InputError: if there are none.
    """
    prompts: dict[str, int] = {}
    models: dict[str, int] = {}
    cells: dict[tuple[int, int], list[Outcome]] = {}
    for outcome in outcomes:
        i = prompts.setdefault(outcome.prompt, len(prompts))
        j = models.setdefault(outcome.model, len(models))
        cells.setdefault((i, j), []).append(outcome)
    if not cells:
        raise InputError("there are no outcomes to learn from.", hint="A record has prompt, model and score.")
    scores = np.full((len(prompts), len(models)), np.nan)
    costs = np.full_like(scores, np.nan)
    for (i, j), found in cells.items():
        scores[i, j] = math.fsum(o.score for o in found) / len(found)
        known = [o.cost for o in found if o.cost is not None]
        if known:
            costs[i, j] = math.fsum(known) / len(known)
    priced = bool((~np.isnan(costs)).any())
    for j in range(len(models)):
        known_ = costs[~np.isnan(costs[:, j]), j]
        costs[np.isnan(costs[:, j]), j] = known_.mean() if len(known_) else 0.0
    return Table(tuple(prompts), tuple(models), scores, costs, priced)


def read(path: str | Path) -> list[Outcome]:
    """Outcomes from a file of JSON lines: {"prompt": ..., "model": ..., "score": 0 to 1, "cost": USD}; a score of null
    is left out, true and false are 1 and 0, and cost may be missing.

    Raises:
        InputError: with file and line.
    """
    found: list[Outcome] = []
    try:
        with Path(path).open("rb") as file:
            for n, line in enumerate(file, 1):
                if line.strip():
                    outcome = _outcome(line, f"{path}:{n}")
                    if outcome is not None:
                        found.append(outcome)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if not found:
        raise InputError(f"{path}: there is no record with a score.", hint="A record has prompt, model and score.")
    return found


def _outcome(line: bytes, where: str) -> Outcome | None:
    if len(line) > MAX_LINE:
        raise InputError(f"{where}: the record has more than {MAX_LINE:,} characters.")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: this is not a JSON object.", hint="One record a line.") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: this is not a JSON object.", hint="One record a line.")
    for key in ("prompt", "model"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise InputError(f"{where}: '{key}' must be a text.")
    if "score" not in record:
        raise InputError(f"{where}: 'score' is missing.", hint="Write null where there is none.")
    score = _number(record["score"], where, "score", 1.0)
    cost = _number(record.get("cost"), where, "cost", math.inf)
    return None if score is None else Outcome(record["prompt"], record["model"], score, cost)


def _number(value: Any, where: str, key: str, most: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and 0 <= value <= most and math.isfinite(value):
        return float(value)
    wanted = "a number from 0 to 1" if most == 1 else "a number of USD, at least 0"
    raise InputError(f"{where}: '{key}' must be {wanted}, not {str(value)[:40]!r}.")


async def from_journal(journal: Journal) -> list[Outcome]:
    """Outcomes of the debates in a journal: each agent's first answer, which is right (1) where it is the verdict's and
    wrong (0) where it is another. Verdicts stand in for the truth, so a debate that erred teaches the error. Debates
    without a verdict, and first answers that could not be read, are left out.

    Args:
        journal: an open one.
    """
    found: list[Outcome] = []
    for info in await journal.runs():
        if info.status != "done" or info.question is None or info.answer is None:
            continue
        calls = {call["path"]: call for call in await journal.calls(info.id) if call["error"] is None}
        for event in await journal.events(info.id):
            data = event["data"]
            if event["kind"] != "spoke" or event["path"] or data.get("round") != 0 or data.get("answer") is None:
                continue
            call = calls.get(f"{data['agent']}/0/{data['phase']}")
            if call is not None:  # an agent that is made of several models is no model to route to
                right = float(data["answer"] == info.answer)
                found.append(Outcome(info.question, call["model"], right, call["usd"]))
    return found


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many there are of each model, in words."""
    count = Counter(outcome.model for outcome in outcomes)
    return ", ".join(f"{model} {n}" for model, n in count.most_common())
