"""Where contestants are asked: in this process, or, with the same forms as plain data, in others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from agora import calls
from agora.evaluate.records import Item
from agora.evaluate.running import baselines as beside
from agora.journal import Recorder
from agora.model import Settings
from agora.records import Round, Verdict
from agora.text.debate import Debate


@dataclass(frozen=True)
class Form:
    """A debate, or what is made of it to stand beside it: data, from which any process that has the debate makes it.

    Attributes:
        of: name of the debate.
        kind: itself, a member of it alone, or one of its controls.
        member: name of the agent that is alone.
        temperature: of that agent, in place of its own.
        donor: of 'noise': the rounds of the debate on another question.
    """

    of: str
    kind: Literal["debate", "alone", "isolated", "noise"] = "debate"
    member: str = ""
    temperature: float | None = None
    donor: tuple[Round, ...] = ()

    def made(self, debate: Debate) -> Debate:
        """The form of a debate.

        Raises:
            InputError: if the debate has none.
        """
        if self.kind == "isolated":
            return beside.isolated(debate)
        if self.kind == "noise":
            return beside.noise(debate, self.donor)
        if self.kind == "debate":
            return debate
        agent = beside.members(debate)[self.member]
        if self.temperature is not None:
            agent = replace(agent, settings=replace(agent.settings, temperature=self.temperature))
        return beside.solo(debate, agent)


class Engine(Protocol):
    """Asks contestants."""

    def made(self, form: Form) -> Debate:
        """The debate that a form is."""
        ...

    def take(self, debate: Debate) -> Form:
        """The form of a debate that was not there at first.

        Raises:
            InputError: if it cannot be asked there.
        """
        ...

    async def answer(self, form: Form, item: Item, settings: Settings, recorder: Recorder, path: str = "") -> Verdict:
        """A contestant's verdict on an item.

        Args:
            form: the contestant.
            item: what it is asked.
            settings: with the seed.
            recorder: of the run that its calls belong to.
            path: where in that run.

        Raises:
            AgoraError: as the debate does.
        """
        ...


class Local:
    """Asks them in this process.

    Args:
        debates: by name.
    """

    def __init__(self, debates: Mapping[str, Debate]) -> None:
        self._debates, self._made = dict(debates), dict[Form, Debate]()
        self.listen: calls.Listener | None = None  # is told what happens during calls

    def take(self, debate: Debate) -> Form:
        """The form of a debate that was not there at first."""
        name = f"{debate.name} #{id(debate)}"  # it is kept, so nothing else is ever called so
        self._debates[name] = debate
        return Form(name)

    def made(self, form: Form) -> Debate:
        """The debate that a form is."""
        if form.donor:  # of one item: it is not needed again
            return form.made(self._debates[form.of])
        if form not in self._made:
            self._made[form] = form.made(self._debates[form.of])
        return self._made[form]

    async def answer(self, form: Form, item: Item, settings: Settings, recorder: Recorder, path: str = "") -> Verdict:
        """A contestant's verdict on an item; see `Engine`."""
        with calls.scope(recorder=recorder, path=path, listen=self.listen, stream=False):
            return await beside.asking(self.made(form), item).answer(item.question, settings)
