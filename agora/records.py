"""The frozen records everything exchanges: messages, replies, usage, answers, turns, rounds, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message.

    Attributes:
        role: who speaks.
        content: what is said.
        stable: how many of its first characters return in later calls, so that a provider's cache can be told.
    """

    role: Role
    content: str
    stable: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more calls took. Usages add up.

    Attributes:
        calls: model calls.
        input_tokens: prompt tokens, cached ones included.
        output_tokens: generated tokens, hidden reasoning included.
        cached_tokens: prompt tokens served from a provider's cache.
        usd: cost in USD; None where a price is not known (unknown is never zero).
        seconds: time spent waiting for models, summed over calls.
        reasoning_tokens: output tokens that were hidden reasoning.
        cache_write_tokens: prompt tokens put into a provider's cache, where it charges for that.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            self.seconds + other.seconds,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    Attributes:
        text: of it.
        logprob: its log-probability.
        top: the likeliest alternatives with theirs, best first.
        by: of an ensemble that fuses distributions: its members, and the log-probability that each gave the token.
        disagreement: of theirs: the Jensen-Shannon divergence of the members' distributions over its greatest possible
            value, 0 to 1.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    by: tuple[tuple[str, float], ...] = ()
    disagreement: float | None = None


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: the answer as the model wrote it.
        model: name of the model that answered.
        usage: what it took, members included.
        parts: the replies underneath, so that any nest can be audited.
        logprob: mean log-probability per generated token, where the model gives it.
        confidence: the model's own probability of being right, 0 to 1, where it gives one.
        reasoning: hidden reasoning, kept apart from the text; peers see it only where a view asks for it.
        finish: why it ended, where the model says so: 'stop', 'length' (cut off at `max_tokens`), ...
        tokens: generated tokens with their log-probabilities, where settings ask for them and the model gives them.
        attempts: requests it took, failed ones included.
        route: of a router or a cascade: which member answered, and why.
        warnings: what a reader of the answer should know.
    """

    text: str
    _: KW_ONLY
    model: str
    usage: Usage = field(default_factory=Usage)
    parts: tuple[Reply, ...] = ()
    logprob: float | None = None
    confidence: float | None = None
    reasoning: str | None = None
    finish: str | None = None
    tokens: tuple[Token, ...] = ()
    attempts: int = 1
    route: tuple[str, str] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The typed answer read from a reply.

    Attributes:
        value: canonical form; two answers are equal when their values are. None is no vote.
        why_none: why there is no value: the agent 'abstained', or nothing could be read ('unparsed').
        confidence: 0 to 1: as stated in the text, else as the reply reports it, else exp(mean log-probability).
    """

    value: str | None
    _: KW_ONLY
    why_none: Literal["abstained", "unparsed"] | None = None
    confidence: float | None = None


Gives = Literal["answer", "text", "ranking", "scores"]


@dataclass(frozen=True, slots=True)
class Ballot:
    """How a voter ranks or scores candidates.

    Attributes:
        voter: who votes.
        ranking: candidates, best first; equals stand together.
        scores: candidate -> score.
        weight: of the voter.
    """

    voter: str
    ranking: tuple[tuple[str, ...], ...] = ()
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One agent's part in one phase of one round.

    Attributes:
        agent: who spoke.
        round: 0 is the independent round.
        phase: the phase's name: answer, critique, revise, ...
        reply: what was said; None if the agent failed and its voice is absent.
        answer: the answer in it; None for phases without an answer and for absent voices.
        reads: whose turns were shown, as (agent, round, phase), in the order shown.
        error: why the voice is absent.
        messages: exactly what the agent was shown.
        gives: what the phase asks for: an answer, a ranking, scores, or just text.
        ballot: the ranking or scores of the agents whose answers were shown, by name; None where none could be read.
        kept: why it was not asked and keeps what it said before; None where it was asked.
        digest: a summary of the text, or its claims, where a view shows that.
    """

    agent: str
    round: int
    phase: str
    reply: Reply | None = None
    answer: Answer | None = None
    reads: tuple[tuple[str, int, str], ...] = ()
    error: str | None = None
    messages: tuple[Message, ...] = ()
    gives: Gives = "answer"
    ballot: Ballot | None = None
    kept: str | None = None
    digest: str | None = None

    @property
    def value(self) -> str | None:
        """The answer's canonical form, or None."""
        return self.answer.value if self.answer else None


@dataclass(frozen=True, slots=True)
class Round:
    """One round: every agent's turns, in the order of the agents."""

    index: int
    turns: tuple[Turn, ...]

    @property
    def final(self) -> Mapping[str, Turn]:
        """Each agent's last turn that was to give an answer, by agent."""
        return {turn.agent: turn for turn in self.turns if turn.gives == "answer"}

    @property
    def answers(self) -> Mapping[str, str | None]:
        """Each agent's answer, by agent; None where there is no vote."""
        return {name: turn.value for name, turn in self.final.items()}

    @property
    def absent(self) -> tuple[str, ...]:
        """Agents whose voice is absent from this round."""
        return tuple(name for name, turn in self.final.items() if turn.reply is None)


@dataclass(frozen=True, slots=True)
class Dissent:
    """An agent that ended with another answer than the verdict: the minority report."""

    agent: str
    answer: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """An agent that changed its answer.

    Attributes:
        agent: who.
        round: in which round.
        before: answer before.
        after: answer after.
        read: the agents it had just read who held the new answer.
    """

    agent: str
    round: int
    before: str | None
    after: str | None
    read: tuple[str, ...]


@dataclass(frozen=True)
class Verdict(Reply):
    """The reply of a debate. `text` is a supporter's reasoning, a judge's or the synthesis; `answer` the typed answer.

    Attributes:
        answer: canonical answer, or None: an abstention, and `reason` says why.
        question: what was debated.
        support: weight behind each answer, heaviest first.
        dissent: who ended elsewhere, and what they said.
        reason: why the debate stopped and how it was decided.
        initial: the answer the same decision gives on round 0 alone (None: no answer).
        initial_support: weight behind each answer in round 0.
        changes: who changed after reading whom.
        rounds: everything that was said.
        absent: agents whose voice is missing from the deciding round.
        flips: of pairs of answers that a judge compared in both orders: how many it decided by place, and how many
            there were.
        warnings: what a reader of the answer should know.
        run: id of the run.
    """

    _: KW_ONLY
    answer: str | None = None
    question: str = ""
    support: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    dissent: tuple[Dissent, ...] = ()
    reason: str = ""
    initial: str | None = None
    initial_support: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    changes: tuple[Change, ...] = ()
    rounds: tuple[Round, ...] = ()
    absent: tuple[str, ...] = ()
    flips: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()
    run: str = ""

    def __repr__(self) -> str:
        """One line; all of it is in the attributes."""
        from agora.terminal.endings import verdict_line

        return verdict_line(self)

    def __str__(self) -> str:
        """A few lines for a reader: verdict, changes, dissent, cost."""
        from agora.terminal.endings import verdict_text

        return verdict_text(self)

    def _repr_html_(self) -> str | None:
        from agora.notebook import verdict_repr

        return verdict_repr(self)


# ---- events: what a debate says while it goes on -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The debate begins; `replayed` is the number of calls that are in the journal and will not be paid for again."""

    run: str
    question: str
    agents: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class Speaking:
    """An agent has read what it must and its model is being asked."""

    agent: str
    round: int
    phase: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """A piece of text of a turn under way, for who watches with `stream=True`; `first` begins the text anew."""

    agent: str
    round: int
    phase: str
    text: str
    first: bool = False


@dataclass(frozen=True, slots=True)
class Retrying:
    """A call failed in a way that may pass; it is tried again after `wait` seconds. `agent` is None for a moderator."""

    agent: str | None
    model: str
    error: str
    wait: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Spoke:
    """A turn is over; an absent voice is a turn without a reply."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class RoundOver:
    """All agents have spoken; `stop` is the reason if the debate ends here."""

    round: Round
    stop: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """The verdict; the last event."""

    verdict: Verdict


Event = Started | Speaking | Wrote | Retrying | Spoke | RoundOver | Decided
