"""The frozen records of an evaluation: items, what was answered to them, and how that was scored."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from agora.answers import AnswerType
from agora.records import Usage

if TYPE_CHECKING:
    import pandas as pd

NOTHING: Mapping[str, Any] = MappingProxyType({})
RIGHT = 0.5
"""A score above this counts as right, where something is right or wrong: a judge that is undecided does not say so."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question whose answer is known.

    Attributes:
        id: names it within its data set: given there, else made from its content.
        question: what is asked, options included.
        truth: the accepted answers, as text; more than one where several are right, or a set is asked for.
        answer: the kind of answer that is asked for and read.
        group: what results are broken down by: a subject, a level; '' where there is none.
        data: whatever else a scorer may need: reference views, a distribution of answers, tolerance.
    """

    id: str
    question: str
    truth: tuple[str, ...]
    answer: AnswerType
    group: str = ""
    data: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def digest(self) -> str:
        """Of what is asked and what is right: 16 hexadecimal digits."""
        content = json.dumps([self.question, self.truth, self.answer.instruction], ensure_ascii=False)
        return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Scorer(Protocol):
    """How good an answer is: 0 to 1. What gave no answer is never shown to one: it scores 0."""

    @property
    def name(self) -> str: ...

    @property
    def paid(self) -> bool:
        """It asks a model: only the answers that end an item are scored, not every agent's in every round."""
        ...

    async def score(self, answer: str, item: Item, text: str) -> float:
        """Score an answer.

        Args:
            answer: its canonical form, as the item's kind of answer gives it.
            item: what was asked.
            text: the whole reply that it was read from.
        """
        ...


@dataclass(frozen=True)
class Dataset:
    """Items of one task, and how their answers are scored.

    Attributes:
        name: as it was asked for: 'arithmetic', a file's name.
        items: with ids that differ.
        scorer: of their answers.
        about: a sentence: what it is, where it is from.
    """

    name: str
    items: Sequence[Item]
    scorer: Scorer
    about: str = ""

    @property
    def digest(self) -> str:
        """Of all items, in order: 16 hexadecimal digits."""
        made = hashlib.blake2b(digest_size=8)
        for item in self.items:
            made.update(f"{item.id}\0{item.digest}\n".encode("utf-8", "surrogatepass"))
        return made.hexdigest()

    def sample(self, n: int | None, seed: int = 0) -> Dataset:
        """The first `n` items in an order drawn by a seed; all in their own order where `n` is None or exceeds them. A
        larger sample of the same seed begins with the smaller one, so it can be grown without a second payment."""
        if n is None or n >= len(self.items):
            return self
        order = list(range(len(self.items)))
        random.Random(seed).shuffle(order)
        return replace(self, items=[self.items[i] for i in order[:n]])


Status = Literal["answered", "abstained", "unparsed", "absent"]


@dataclass(frozen=True, slots=True)
class Said:
    """An agent's answer in one round.

    Attributes:
        agent: who.
        round: 0 is the independent round.
        answer: canonical; None is no answer.
        status: 'answered', or why there is none; 'absent' is a call that failed.
        score: 0 to 1, 0 where there is no answer; None where agents are not scored (a paid scorer).
        confidence: as the agent stated or the model reported it, 0 to 1.
        likelihood: exp of the mean log-probability of its tokens, where the model gives it.
        read: the answers it was shown in this round, as (agent, round of that answer), its own left out; where it was
            shown a turn that gives no answer, the answer that this agent held then.
        kept: it was not asked in this round and keeps its answer.
    """

    agent: str
    round: int
    answer: str | None
    status: Status
    score: float | None = None
    confidence: float | None = None
    likelihood: float | None = None
    read: tuple[tuple[str, int], ...] = ()
    kept: bool = False

    @property
    def right(self) -> bool:
        """Whether it counts as right."""
        return self.score is not None and self.score > RIGHT


@dataclass(frozen=True, slots=True)
class Scored:
    """How one contestant answered one item.

    Attributes:
        item: the item's id.
        group: the item's.
        status: 'answered'; 'abstained' or 'unparsed' where there is no answer; 'absent' where it failed.
        answer: canonical; None is no answer.
        score: 0 to 1; 0 where there is no answer, for whatever reason: nothing leaves the denominator.
        initial: the vote of round 0.
        initial_score: its score; None where the scorer is paid, or there was no such vote.
        confidence: mean stated or reported confidence of those who hold the answer, 0 to 1.
        likelihood: mean of exp of the mean log-probability of those who hold it.
        share: of the last votes, unweighted, that the answer has, 0 to 1, none and absent ones in the denominator.
        rounds: after round 0.
        stop: why it stopped, as one of few kinds: 'unanimous', 'rounds', 'budget', ...
        usage: of all its calls.
        seconds: wall time.
        said: every agent's answer in every round, in order of rounds and then of agents.
        error: why it is absent.
        run: id of its run in the journal.
        extra: figures of its kind: 'samples' and 'capped' of self-consistency, 'flips' of a pairwise judge.
    """

    item: str
    group: str
    status: Status
    answer: str | None
    score: float
    initial: str | None = None
    initial_score: float | None = None
    confidence: float | None = None
    likelihood: float | None = None
    share: float | None = None
    rounds: int = 0
    stop: str = ""
    usage: Usage = Usage()
    seconds: float = 0.0
    said: tuple[Said, ...] = ()
    error: str | None = None
    run: str = ""
    extra: Mapping[str, float] = field(default_factory=lambda: NOTHING)

    @property
    def right(self) -> bool:
        """Whether it counts as right."""
        return self.score > RIGHT

    def by_round(self) -> list[dict[str, Said]]:
        """What was said, by round and agent."""
        found: list[dict[str, Said]] = []
        for said in self.said:
            while len(found) <= said.round:
                found.append({})
            found[said.round][said.agent] = said
        return found


Role = Literal["debate", "member", "best single", "round-0 vote", "self-consistency", "isolated", "noise", "without"]


@dataclass(frozen=True)
class Contestant:
    """What was evaluated.

    Attributes:
        name: of it: unique in an evaluation.
        role: 'debate' is what the evaluation is about; all others are baselines.
        of: the name of the debate that a baseline stands beside; its own for a debate.
        rows: one for each item, in the order of the items.
        note: what a reader must know of it, one sentence; '' where nothing.
    """

    name: str
    role: Role
    of: str
    rows: tuple[Scored, ...]
    note: str = ""


@dataclass(frozen=True, repr=False)
class Results:
    """An evaluation: contestants on the same items.

    Attributes:
        data: name of the data set.
        digest: of its items.
        about: of it.
        scorer: name of the scorer.
        seed: of everything.
        contestants: debates first, each followed by its baselines.
        versions: of agora, Python and the SDKs.
        created: seconds since 1970.
        planned: items that were to be answered; more than there are rows where it was stopped.
        stopped: why it ended early; '' where it did not. Baselines that were not run on all items are then left out.
        notes: what a reader must know of all of it: which baselines were not run, and why.
        digests: item's id -> its digest, by which two evaluations are known to be of the same items.
    """

    data: str
    digest: str
    about: str
    scorer: str
    seed: int
    contestants: tuple[Contestant, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    planned: int = 0
    stopped: str = ""
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Contestant:
        """A contestant by its name."""
        for contestant in self.contestants:
            if contestant.name == name:
                return contestant
        raise KeyError(name)

    @property
    def debates(self) -> tuple[Contestant, ...]:
        """What the evaluation is about."""
        return tuple(c for c in self.contestants if c.role == "debate")

    def baselines(self, debate: str) -> tuple[Contestant, ...]:
        """What stands beside a debate."""
        return tuple(c for c in self.contestants if c.of == debate and c.role != "debate")

    def __repr__(self) -> str:
        told = (f"{c.name} {100 * sum(r.score for r in c.rows) / len(c.rows):.1f}" for c in self.contestants if c.rows)
        return f"Results({self.data}, {self.planned} items, right in %: {', '.join(told)})"

    def _repr_html_(self) -> str:
        """Who did how well; below, the report to unfold, in a frame of its own: its style is not the notebook's."""
        from agora.evaluate.measures.analysis import analyse
        from agora.evaluate.report.page import report
        from agora.evaluate.report.table import contestants
        from agora.lettering import escaped
        from agora.view.stills import frame_html, line_html, page_html, table_html

        analysis = analyse(self)
        grid = contestants(analysis.summaries)
        n = max((one.n for one in analysis.summaries), default=0)
        about = line_html(f"{n:,} items of {escaped(self.data)}, scored by {escaped(self.scorer)}", soft=True)
        rows = [[escaped(cell).replace("  ", "&nbsp;&nbsp;") for cell in row] for row in grid.rows]
        how = "<code>agora.evaluate.publish(results, analyse(results), &quot;report&quot;)</code> writes it"
        page = page_html(report(self, analysis), "The report", how)
        return frame_html([about, table_html([escaped(cell) for cell in grid.head], rows), page])

    def to_frame(self, what: Literal["rows", "said"] = "rows") -> pd.DataFrame:
        """As a pandas frame.

        Args:
            what: 'rows', one for each contestant and item; 'said', one for each agent and round of these.

        Raises:
            MissingError: if pandas is not installed: pip install 'agora-debate[frame]'.
        """
        from agora.evaluate.results_io import to_frame

        return to_frame(self, what)
