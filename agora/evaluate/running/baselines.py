"""What stands beside a debate: its members alone, its controls, and who of them answers best."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agora.errors import InputError
from agora.evaluate.records import Item, Scored
from agora.evaluate.running.scoring import same_kind
from agora.model import Model
from agora.records import Round, Turn
from agora.text.agent import Agent
from agora.text.debate import Debate
from agora.text.moderator import Moderator
from agora.text.protocol import Phase, Protocol
from agora.text.stop import rounds

BASELINES = ("members", "best", "vote", "self-consistency", "isolated", "noise")
"""All that can stand beside a debate."""


def asking(debate: Debate, item: Item) -> Debate:
    """A debate, asked for an item's kind of answer."""
    if same_kind(debate.answer_type, item.answer):
        return debate
    made = copy.copy(debate)
    made.answer_type = item.answer
    return made


def as_debate(model: Model, name: str) -> Debate:
    """Any model as a debate of one agent that answers once."""
    if isinstance(model, Debate):
        return model
    return Debate([Agent(_fits(name), model)], moderator=Moderator(rounds(0)), name=name)


def solo(debate: Debate, agent: Agent) -> Debate:
    """An agent of a debate alone, asked what it is asked in round 0."""
    opening = [
        phase
        for phase in debate.protocol.opening
        if isinstance(phase, Phase) and phase.kind == "answer" and phase.gives == "answer"
        if not phase.who or agent.name in phase.who
    ]
    asked = replace(opening[0], who=(), reads="none", ballot=None) if opening else Phase("answer", reads="none")
    sure = debate.protocol.view.confidence or "ask_confidence" in debate.moderator.stop.needs
    protocol = Protocol(
        view=replace(debate.protocol.view, confidence=sure), opening=(asked,), temperature=debate.protocol.temperature
    )
    made = Debate([agent], protocol=protocol, moderator=Moderator(rounds(0)), answer=debate.answer_type,
                  budget=debate.budget, seed=debate.seed, name=agent.name)  # fmt: skip
    made.source = debate.source
    return made


def members(debate: Debate) -> dict[str, Agent]:
    """Who could answer alone, by a name for a table: agents that differ in more than their name, adversaries left out,
    and the models that judge."""
    found: dict[Any, Agent] = {}
    for agent in debate.agents:
        if agent.adversary is None:
            found.setdefault(_kind_of(agent), agent)
    seen = {id(agent.model) for agent in found.values()}
    for judge in (getattr(debate.moderator.decide, name, None) for name in ("model", "ranker")):
        if isinstance(judge, Model) and id(judge) not in seen:
            agent = Agent(_fits(f"judge {judge.name}"), judge)
            found.setdefault(_kind_of(agent), agent)
    return {agent.name: agent for agent in found.values()}


def _kind_of(agent: Agent) -> Any:
    model = getattr(agent.model, "identity", None) or id(agent.model)
    templates = tuple(sorted((name, str(text)) for name, text in agent.templates.items()))
    return model, agent.model.name, agent.persona, templates, agent.settings, agent.passage


def isolated(debate: Debate) -> Debate:
    """The same agents, rounds and rules, but nobody reads anybody: each corrects its own answer.

    Raises:
        InputError: if its phases have no meaning without others.
    """
    protocol = debate.protocol
    for phase in protocol.all_phases:
        assert isinstance(phase, Phase)
        if phase.gives != "answer" or phase.ballot is not None:
            raise InputError(f"its phase {phase.name} has no meaning where nobody reads anybody")
    if debate.moderator.last == 0:
        raise InputError("it has no rounds in which answers could be corrected")
    if protocol.schedule.kind == "layered":
        raise InputError("its layers have no meaning where nobody reads anybody")

    def apart(phases: Sequence[Phase | str]) -> tuple[Phase, ...]:
        return tuple(replace(phase, reads="peers") for phase in phases if isinstance(phase, Phase))

    changed = replace(
        protocol, opening=apart(protocol.opening), phases=apart(protocol.phases), closing=apart(protocol.closing)
    )
    return debate.varied(topology="isolated", protocol=changed, voters=debate.voters, name=f"{debate.name}, isolated")


def noise(debate: Debate, donor: Sequence[Round]) -> Debate:
    """The same debate, but what agents are shown of each other is what these said about another question.

    Args:
        debate: whose control.
        donor: the rounds of the debate on the other question.

    Raises:
        InputError: if it would be shown by a way that cannot be controlled.
    """
    if debate.protocol.memory == "summary":
        raise InputError("a running summary is of what was really said")
    if debate.moderator.last == 0 or not (debate.topology.edges or debate.topology.changes):
        raise InputError("nobody reads anybody in it")
    said = {(turn.agent, turn.round, turn.phase): turn for round in donor for turn in round.turns}
    last = {turn.agent: turn for round in donor for turn in round.final.values() if turn.reply is not None}

    def instead(turn: Turn) -> Turn | None:
        other = said.get((turn.agent, turn.round, turn.phase)) or last.get(turn.agent)
        return other if other is not None and other.reply is not None else None

    return debate.varied(instead=instead, name=f"{debate.name}, noise peers")


def best(rows: Mapping[str, Sequence[Scored]]) -> str:
    """Who answers best; of equals who takes fewer tokens, then who comes first."""

    def rank(name: str) -> tuple[float, int]:
        return sum(row.score for row in rows[name]), -sum(row.usage.tokens for row in rows[name])

    return max(rows, key=rank)


def tried(make: Callable[[], Debate]) -> tuple[Debate | None, str]:
    """What is made, or why it cannot be."""
    try:
        return make(), ""
    except InputError as error:
        return None, error.message.rstrip(".")


def _fits(name: str) -> str:
    """A name that an agent can have."""
    return "".join(c if c.isprintable() else "?" for c in name)[:80] or "model"
