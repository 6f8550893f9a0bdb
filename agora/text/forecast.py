"""What a debate will take, before anything is paid for: it is rehearsed with stand-ins for its models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agora import calls
from agora.answers import Choice, Json, Number, YesNo
from agora.budget import USUAL_OUTPUT, priced
from agora.model import Model, Settings
from agora.records import Message, Reply, Usage
from agora.text.debate import Debate
from agora.text.engine import MODERATOR
from agora.text.protocol import Gates, Phase
from agora.text.stop import never

MAX_CALLS = 3_000  # rehearsed; a longer debate is scaled up from its first rounds
MAX_TEXT = 20_000_000  # characters of all prompts together that a rehearsal may make
_MARK = "\u2060lorem\u2060"  # in each stand-in's reply, to count how many replies a prompt shows


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one debate will take.

    Attributes:
        least: if the stop rules end it as soon as they can.
        most: if they never do before the last round. Prompts are made by the debate's own templates; replies are
            taken to have `reply_tokens` each, hidden reasoning is not foreseen.
        models: the same as `most`, by model.
        phases: the same by phase, the moderator's roles among them.
        reply_tokens: what a reply is taken to have.
        unpriced: models whose price is not known.
    """

    least: Usage
    most: Usage
    models: dict[str, Usage]
    phases: dict[str, Usage]
    reply_tokens: int
    unpriced: tuple[str, ...]


async def forecast(debate: Debate, question: str, *, reply_tokens: int = USUAL_OUTPUT) -> Forecast:
    """Rehearse a debate twice, once with agents that agree and once with agents that never do. Nothing is sent.

    Args:
        debate: the debate; nested ones are rehearsed too.
        question: what it will be asked.
        reply_tokens: tokens a reply is taken to have, unless a model's `max_tokens` allows less.
    """
    least, _ = await _rehearse(debate, question, reply_tokens, agree=True)
    most, phases = await _rehearse(debate, question, reply_tokens, agree=False)
    unpriced = tuple(name for name, usage in most.items() if usage.usd is None)
    total, few = sum(most.values(), Usage()), sum(least.values(), Usage())
    few = replace(  # replies of agents that agree may be longer than those of some that do not
        few, calls=min(few.calls, total.calls), input_tokens=min(few.input_tokens, total.input_tokens),
        output_tokens=min(few.output_tokens, total.output_tokens),
        usd=few.usd if few.usd is None or total.usd is None else min(few.usd, total.usd),
    )  # fmt: skip
    return Forecast(few, total, most, phases, reply_tokens, unpriced)


async def tried(debate: Debate, question: str) -> None:
    """Rehearse a debate whose templates are its user's: what is wrong with them is found before anything is paid for.

    Raises:
        TemplateError: saying what it is.
    """
    phases: Sequence[Phase] = debate.protocol.all_phases
    if any(agent.templates for agent in debate.agents) or any(phase.template is not None for phase in phases):
        await forecast(debate, question)


async def _rehearse(
    debate: Debate, question: str, reply_tokens: int, *, agree: bool
) -> tuple[dict[str, Usage], dict[str, Usage]]:
    """What a rehearsal takes, by model and by phase."""
    rounds, agents = debate.moderator.last + 1, len(debate.agents)
    limit = max(1, MAX_CALLS // (agents * max(1, len(debate.protocol.phases))))
    shown = min(rounds, limit) * debate.topology.edge_count
    length = max(20, min(4 * reply_tokens, MAX_TEXT // max(1, shown)))  # characters of a stand-in's reply
    rehearsed, stop = copy.copy(debate), debate.moderator.stop
    if not agree:
        most = limit - 1 if rounds > limit else debate.moderator.last
        rehearsed.moderator = replace(debate.moderator, stop=never(stop), limit=most)
        spared = Gates(prune=debate.protocol.gates.prune)  # the other gates save calls, or do not
        closing = [replace(phase, unless=None) for phase in debate.protocol.closing]  # type: ignore[type-var]
        rehearsed.protocol = replace(debate.protocol, gates=spared, closing=closing)
    needs = stop.needs if agree else ()
    done = any(need.startswith("ask_done") for need in needs)
    sure = ["Confidence: 100%"] * ("ask_confidence" in needs) + ["Done: yes"] * done
    stand_in = _StandIn(debate, reply_tokens, length, sure, frugal=agree)
    used, phases = stand_in.used, stand_in.phases
    with calls.scope(stand_in=stand_in, recorder=None, meters=(), path="", whole=False):
        rehearsed.budget = type(debate.budget)()
        verdict = await rehearsed.answer(question)
    if rehearsed.moderator.last < debate.moderator.last and len(verdict.rounds) == rehearsed.moderator.last + 1:
        scale = rounds / len(verdict.rounds)
        used = {name: _times(usage, scale) for name, usage in used.items()}
        phases = {name: _times(usage, scale) for name, usage in phases.items()}
    return used, phases


class _StandIn:
    """What answers in place of every model, and counts what that would take."""

    def __init__(self, debate: Debate, reply_tokens: int, length: int, sure: Sequence[str], *, frugal: bool) -> None:
        self._debate, self._reply_tokens, self._length, self._sure = debate, reply_tokens, length, sure
        self._missing = reply_tokens - length // 4  # tokens of a reply that its text is too short for
        self.frugal = frugal
        self.used: dict[str, Usage] = {}
        self.phases: dict[str, Usage] = {}
        self._count = 0

    def tokens(self, model: Model, settings: Settings) -> int:
        most = self._reply_tokens
        return min(most, getattr(model, "usual_output", most), settings.max_tokens or most)

    def __call__(self, model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
        self._count += 1
        tokens = self.tokens(model, settings)
        read = sum(m.content.count(_MARK) for m in messages) if self._missing else 0
        times = getattr(model, "forwards", 1)  # an ensemble's members all read and write
        usage = Usage(1, times * (calls.estimate_tokens(messages) + read * self._missing), times * tokens)
        usage = priced(usage, getattr(model, "cost", None))
        self.used[model.name] = self.used.get(model.name, Usage()) + usage
        phase = calls.current().path.rpartition("/")[2]
        self.phases[phase] = self.phases.get(phase, Usage()) + usage
        if phase == "moderate" and f"{MODERATOR}/" in calls.current().path:  # not an agent that moderates
            return Reply('{"done": true}' if self.frugal else '{"done": false}', model=model.name, usage=usage)
        # one voice abstains: templates must bear that, and it is found now and not when half is paid for
        abstains = self._count == 1 and not self.frugal
        answer = "Answer: abstain" if abstains else _answer(self._debate, 0 if self.frugal else self._count)
        filler = (_MARK + "lorem ipsum " * (self._length // 12 + 1))[: max(len(_MARK), min(self._length, 4 * tokens))]
        return Reply("\n".join([filler, answer, *self._sure]), model=model.name, usage=usage)


def _answer(debate: Debate, count: int) -> str:
    """An answer of the debate's kind: the same for the same count, another for the next."""
    kind = debate.answer_type
    match kind:
        case Number():
            return f"Answer: {count}"
        case YesNo():
            return f"Answer: {'yes' if count % 2 else 'no'}"
        case Choice():
            options = list(kind.options)
            return f"Answer: {options[count % len(options)]}"
        case Json():
            fields = ", ".join(f'"{key}": {count}' for key in kind.keys or ("n",))
            return f"{{{fields}}}"
        case _:
            return f"Answer: {count}"


def _times(usage: Usage, scale: float) -> Usage:
    usd = None if usage.usd is None else usage.usd * scale
    return Usage(
        round(usage.calls * scale), round(usage.input_tokens * scale), round(usage.output_tokens * scale), 0, usd
    )
