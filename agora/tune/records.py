"""The frozen records of tuning: candidates, how far it is, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agora.errors import InputError
from agora.evaluate.measures.metrics import Comparison, Summary, p_text
from agora.evaluate.measures.statistics import Interval
from agora.records import Usage

State = Literal["complete", "stopped early", "skipped", "unfinished"]


@dataclass(frozen=True)
class Trial:
    """A candidate.

    Attributes:
        number: in the order in which they came; 0 is the start.
        values: of its parameters.
        changed: of these, those that differ from the start's.
        state: 'complete' was run on all items that are tuned on; 'stopped early' on the first of them only, as others
            did better there; 'skipped' makes no debate; 'unfinished' was cut off by the budget.
        reason: why it was skipped.
        items: it was run on.
        score: mean objective on these; None where there are none.
        accuracy: mean score on these.
        usage: of these, as it would have been by itself.
    """

    number: int
    values: Mapping[str, Any]
    changed: Mapping[str, Any]
    state: State
    reason: str = ""
    items: int = 0
    score: float | None = None
    accuracy: float | None = None
    usage: Usage = Usage()


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        phase: 'search', or 'held out'.
        trials: candidates so far, the one under way left out.
        most: candidates at most.
        done: runs on an item so far, of the candidate under way or of the last comparison.
        planned: of them.
        best: of the candidates so far.
        spent: what was paid in this call.
        earlier: what was paid in earlier calls of the same, as far as it has been come by.
        seconds: since the beginning.
    """

    phase: Literal["search", "held out"]
    trials: int
    most: int
    done: int
    planned: int
    best: Trial | None
    spent: Usage
    earlier: Usage
    seconds: float


@dataclass(frozen=True)
class HeldOut:
    """The winner beside the start, on items that nothing was chosen on.

    Attributes:
        n: items that both were run on.
        planned: items there are; more than `n` where the budget ended it.
        start: how the start did.
        winner: how the winner did.
        comparison: the winner's scores less the start's; None where the start has won.
        objective: mean objective of the winner less that of the start, by bootstrap, where cost counts; else None.
        p: two-sided, of a permutation test of signs, of that difference; else None.
    """

    n: int
    planned: int
    start: Summary
    winner: Summary
    comparison: Comparison | None
    objective: Interval | None = None
    p: float | None = None

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown", "the same"]:
        """Of the winner, in what it was tuned for."""
        if self.comparison is None:
            return "the same"
        if self.objective is None or self.p is None:
            return self.comparison.verdict
        return "no difference shown" if self.p >= 0.05 else "better" if self.objective.value > 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.comparison is None:
            return "No candidate did better than the file it started from: nothing is to be changed."
        begun = {
            "better": "The winner is better than the file it started from",
            "worse": "The winner is worse than the file it started from",
        }.get(self.verdict, "The winner is no better than the file it started from, as far as these items show")
        c = self.comparison
        d = c.difference
        seen = f"{100 * d.value:+.1f} points of accuracy, 95% interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"
        seen += f"; p {p_text(c.p)}"
        if self.objective is not None and self.p is not None:
            o = self.objective
            told = f"{o.value:+.4g} in the objective, 95% interval {o.low:+.4g} to {o.high:+.4g}; p {p_text(self.p)}"
            seen = f"{told}; {seen}"
        if self.verdict != "no difference shown":
            return f"{begun}: {seen}."
        return f"{begun}: {seen}. So many items show {100 * c.detectable:.1f} points or more four times in five."


@dataclass(frozen=True)
class Tuned:
    """What tuning has found.

    Attributes:
        objective: as text.
        about: what was searched.
        data: name of the data set that was tuned on.
        dev: items that were tuned on.
        rungs: after how many of them a candidate could be stopped.
        overlap: held-out items that were left out, as their question is tuned on.
        trials: all candidates, in order. Their scores choose, and are no result: that of the best of many is too high.
        start: the one that it started from.
        winner: the best that was run on all items; of equals the one that takes fewer tokens, then with fewer
            changes, then the first.
        text: the winner's debate file; None where there is none.
        held_out: the result; None where the budget ended it before.
        importance: parameter -> its share of what tells good candidates from bad on the first items (PED-ANOVA,
            Watanabe et al. 2023, arXiv:2304.10255); empty where there are too few.
        agents: agent -> its mean importance in the start (agora.text.importance); empty where nobody voted.
        stopped: why it ended early; '' where it did not.
        notes: what a reader must know.
        spent: what was paid in this call.
        earlier: what was paid in earlier calls of the same.
        seed: of everything.
    """

    objective: str
    about: str
    data: str
    dev: int
    rungs: tuple[int, ...]
    overlap: int
    trials: tuple[Trial, ...]
    start: Trial
    winner: Trial
    text: str | None
    held_out: HeldOut | None
    importance: Mapping[str, float]
    agents: Mapping[str, float]
    stopped: str
    notes: tuple[str, ...]
    spent: Usage
    earlier: Usage
    seed: int

    @property
    def best(self) -> list[Trial]:
        """All that were run on all items, best first, as the winner is chosen."""
        return sorted((one for one in self.trials if one.state == "complete"), key=rank)

    @property
    def curve(self) -> list[float | None]:
        """The best score so far, after each candidate."""
        found: list[float | None] = []
        for one in self.trials:
            last = found[-1] if found else None
            done = one.state == "complete" and one.score is not None
            found.append(max(one.score or 0.0, last if last is not None else one.score or 0.0) if done else last)
        return found

    def write(self, path: str | Path, source: str = "") -> None:
        """Write the winner as a debate file, with a header that says where it is from.

        Args:
            path: of the file.
            source: the name of the file it started from.

        Raises:
            InputError: if it has no text.
        """
        if self.text is None:
            raise InputError("the winner was made in Python, it has no file.")
        origin = f" from {' '.join(source.split())[:80]}" if source else ""
        lines = [f"# Tuned{origin} for {self.objective} on {self.dev} items of {' '.join(self.data.split())[:60]}."]
        if self.held_out is not None:
            lines += [f"# {line}" for line in _folded(f"On {self.held_out.n} held-out items: {self.held_out.sentence}")]
        Path(path).write_text("\n".join([*lines, self.text.removeprefix("\ufeff")]), encoding="utf-8")


def rank(trial: Trial) -> tuple[float, int, int, int]:
    """What candidates that were run on the same items are ordered by: score, tokens, changes, number."""
    return -round(trial.score or 0.0, 12), trial.usage.tokens, len(trial.changed), trial.number


def _folded(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 110)
