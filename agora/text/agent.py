"""An agent: a name, a model, a persona; and how what it may read becomes a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from agora.errors import InputError
from agora.model import Model, Settings, derive_seed
from agora.prompts import Template, template
from agora.records import Message, Turn


@dataclass(frozen=True, slots=True)
class View:
    """What a reader sees of what it reads.

    Attributes:
        text: 'full' text, or the 'answer' only.
        names: 'anonymous' (Peer 1, Peer 2, ... in an order drawn anew for each reader and round) or 'named'.
        own: the reader's own last answer is 'shown' as its own, 'hidden', or shown as one more anonymous 'peer'.
        confidence: agents are asked for their confidence, and it is shown.
        reasoning: hidden reasoning is shown before the text, where the model gives it.
    """

    text: Literal["full", "answer"] = "full"
    names: Literal["anonymous", "named"] = "anonymous"
    own: Literal["shown", "hidden", "peer"] = "shown"
    confidence: bool = False
    reasoning: bool = False


Memory = Literal["own_last", "own_chat", "transcript"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing a reader is shown: who (as far as it may know), what, how sure, when."""

    label: str
    text: str
    answer: str | None
    confidence: float | None
    round: int


@dataclass(frozen=True)
class Agent:
    """Someone who takes part in a debate.

    Args:
        name: its name in the debate.
        model: what answers for it.
        persona: put into the system message.
        templates: template name -> a path or the text of a template that replaces the shipped one.
        settings: pinned for this agent's calls.

    Raises:
        InputError: if the name is empty or too long.
        TemplateError: if a template is wrong.
    """

    name: str
    model: Model
    persona: str | None = None
    templates: Mapping[str, str | Path] = field(default_factory=dict)
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 80 or not self.name.isprintable():
            raise InputError(f"an agent's name has 1 to 80 printable characters; '{self.name[:20]}' has not.")
        for name in self.templates:
            self.template(name)  # a wrong template is found now, not after the first call

    def template(self, name: str) -> Template:
        """The template this agent uses: its own, else its model's style, else the shipped one."""
        return template(name, self.templates.get(name), getattr(self.model, "prompts", None))

    @cached_property
    def _system(self) -> tuple[Message, ...]:
        """The system message: the same in all its calls. Models with templates of their own get none."""
        if getattr(self.model, "prompts", None):
            return ()
        text = self.template("system").render(agent=self.name, persona=self.persona)
        return (Message("system", text, stable=len(text)),)

    def messages(self, phase: str, values: Mapping[str, Any]) -> tuple[Message, ...]:
        """One system and one user message, the stable part first."""
        user = self.template(phase).render(**values, agent=self.name, persona=self.persona)
        question = str(values.get("question", ""))
        begin = user.find(question) if question else -1
        # the question, which stands first, returns in every later prompt of this agent
        return (*self._system, Message("user", user, stable=begin + len(question) if 0 <= begin < 80 else 0))


def show(
    turns: Sequence[Turn], view: View, *, seed: int, reader: int, order: Mapping[str, int]
) -> list[tuple[Shown, Turn]]:
    """Turns as a reader sees them: reduced to the view, and ordered and labelled so that names do not show.

    Args:
        turns: what may be read; absent voices are left out.
        view: what is seen of it.
        seed: of the run; with the reader's number and the round it decides the order of anonymous peers.
        reader: the reader's number.
        order: each agent's number. Numbers, not names, decide the order, so renaming agents changes nothing.
    """
    present = [turn for turn in turns if turn.reply is not None]
    if not present:
        return []
    if view.names == "anonymous":
        present.sort(key=lambda turn: derive_seed(seed, "order", reader, turn.round, order[turn.agent]))
    return [
        (_shown(turn, view, f"Peer {i}" if view.names == "anonymous" else turn.agent), turn)
        for i, turn in enumerate(present, 1)
    ]


def _shown(turn: Turn, view: View, label: str) -> Shown:
    assert turn.reply is not None
    answer = turn.answer
    full = view.text == "full" or answer is None
    said = turn.reply.text.strip() if full else ""
    if view.reasoning and turn.reply.reasoning:
        said = f"(thinking) {turn.reply.reasoning.strip()}\n\n{said}"
    return Shown(
        label=label,
        text=said,
        answer=answer.value if answer else None,
        confidence=answer.confidence if answer and view.confidence else None,
        round=turn.round,
    )
