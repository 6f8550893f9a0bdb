"""An agent: a name, a model, a persona; and how what it may read becomes a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from agora.answers import bare
from agora.errors import InputError
from agora.model import Model, Settings, derive_seed
from agora.prompts import Template, template
from agora.records import Message, Turn


@dataclass(frozen=True, slots=True)
class View:
    """What a reader sees of what it reads.

    Attributes:
        text: 'full' text, the 'answer' only, a 'summary' by the protocol's summariser, or the list of its 'claims'.
        names: 'anonymous' (Peer 1, Peer 2, ... in an order drawn anew for each reader and round), 'lettered' (Peer A,
            Peer B, ...: anonymous, but the same for all readers and rounds, so that they can speak of each other; what
            'anonymous' means where agents write to each other, as in critiques) or 'named'.
        own: the reader's own last answer is 'shown' as its own, 'hidden', or shown as one more anonymous 'peer'.
        confidence: agents are asked for their confidence, and it is shown.
        reasoning: hidden reasoning is shown before the text, where the model gives it.
        quotes: what stands between <quote> and </quote> in what is read is looked up in the question's passage, and
            shown as <v_quote>, verified, or <u_quote>.
    """

    text: Literal["full", "answer", "summary", "claims"] = "full"
    names: Literal["anonymous", "lettered", "named"] = "anonymous"
    own: Literal["shown", "hidden", "peer"] = "shown"
    confidence: bool = False
    reasoning: bool = False
    quotes: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing a reader is shown: who (as far as it may know), what, how sure, when."""

    label: str
    text: str
    answer: str | None
    confidence: float | None
    round: int
    phase: str = "answer"


@dataclass(frozen=True)
class Agent:
    """Someone who takes part in a debate.

    Args:
        name: its name in the debate.
        model: what answers for it.
        persona: put into the system message.
        templates: template name -> a path or the text of a template that replaces the shipped one.
        settings: pinned for this agent's calls.
        passage: it sees what stands between <passage> and </passage> in the question; without, the rest alone.
        adversary: makes it a planted opponent, to test a design with: the goal that it secretly works for. The verdict
            says so.

    Raises:
        InputError: if the name is empty or too long.
        TemplateError: if a template is wrong.
    """

    name: str
    model: Model
    persona: str | None = None
    templates: Mapping[str, str | Path] = field(default_factory=dict)
    settings: Settings = Settings()
    adversary: str | None = None
    passage: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            raise InputError(f"agent {str(self.name)[:40]}: its model is a {type(self.model).__name__}, not a Model.",
                             hint="Make one with agora.config.load_model('pocket:sum').")  # fmt: skip
        if not self.name or len(self.name) > 80 or not self.name.isprintable():
            raise InputError(f"an agent's name has 1 to 80 printable characters; '{self.name[:20]}' has not.")
        for name in self.templates:
            self.template(name)  # a wrong template is found now, not after the first call

    def template(self, name: str, given: str | Path | None = None) -> Template:
        """The template this agent uses: its own, else the one given, else its model's style, else the shipped one."""
        return template(name, self.templates.get(name, given), getattr(self.model, "prompts", None))

    @cached_property
    def _system(self) -> tuple[Message, ...]:
        """The system message: the same in all its calls. Models with templates of their own get none."""
        if getattr(self.model, "prompts", None):
            return ()
        text = self.template("system").render(agent=self.name, persona=self.persona, adversary=self.adversary)
        return (Message("system", text, stable=len(text)),)

    def messages(self, name: str, values: Mapping[str, Any], given: str | Path | None = None) -> tuple[Message, ...]:
        """One system and one user message, the stable part first.

        Args:
            name: of the template.
            values: what it may use.
            given: a template in place of the shipped one.
        """
        user = self.template(name, given).render(**values, agent=self.name, persona=self.persona)
        question = str(values.get("question", ""))
        begin = user.find(question) if question else -1
        # the question, which stands first, returns in every later prompt of this agent
        return (*self._system, Message("user", user, stable=begin + len(question) if 0 <= begin < 80 else 0))


def show(
    turns: Sequence[Turn],
    view: View,
    *,
    seed: int,
    reader: int,
    order: Mapping[str, int],
    views: Callable[[str], View] | None = None,
    letters: Mapping[str, str] | None = None,
) -> list[tuple[Shown, Turn]]:
    """Turns as a reader sees them: reduced to the view, and ordered and labelled so that names do not show.

    Args:
        turns: what may be read; absent voices are left out.
        view: what is seen of it.
        seed: of the run; with the reader's number and the round it decides the order of anonymous peers.
        reader: the reader's number.
        order: each agent's number. Numbers, not names, decide the order, so renaming agents changes nothing.
        views: what is seen of each agent, where that differs.
        letters: what each agent is called by all, where names are lettered.
    """
    present = [turn for turn in turns if turn.reply is not None]
    if not present:
        return []
    if view.names != "named":
        present.sort(key=lambda turn: derive_seed(seed, "order", reader, turn.round, order[turn.agent]))
    labels: dict[str, str] = {}  # an agent that appears twice is one peer
    for turn in present:
        label = f"Peer {len(labels) + 1}" if view.names != "named" else turn.agent
        labels.setdefault(turn.agent, label if letters is None else letters[turn.agent])
    return [(_shown(turn, views(turn.agent) if views else view, labels[turn.agent]), turn) for turn in present]


def _shown(turn: Turn, view: View, label: str) -> Shown:
    assert turn.reply is not None
    answer = turn.answer
    if view.text in ("summary", "claims") and turn.digest is not None:
        said = turn.digest
    else:
        said = "" if view.text == "answer" and answer is not None else bare(turn.reply.text)
    if view.reasoning and turn.reply.reasoning:
        said = f"(thinking) {turn.reply.reasoning.strip()}\n\n{said}"
    return Shown(
        label=label,
        text=said,
        answer=answer.value if answer else None,
        confidence=answer.confidence if answer and view.confidence else None,
        round=turn.round,
        phase=turn.phase,
    )
