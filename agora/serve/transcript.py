"""A debate under way as one running text: who speaks is heard to the end, and the others after that."""

from __future__ import annotations

from collections.abc import Callable

from agora.records import Event, Retrying, RoundOver, Spoke, Started, Wrote

_Turn = tuple[str, int, str]


class Transcript:
    """Tells the events of a debate as text, piece by piece.

    Args:
        tell: is told each piece.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._out = tell
        self._told: list[str] = []
        self._floor: _Turn | None = None
        self._shown = ""  # of the turn that has the floor
        self._written: dict[_Turn, str] = {}  # of turns under way, in the order they began
        self._waiting: dict[_Turn, str] = {}  # turns that are over, and have not been told

    @property
    def text(self) -> str:
        """All that has been told."""
        return "".join(self._told)

    def _tell(self, text: str) -> None:
        self._told.append(text)
        self._out(text)

    def see(self, event: Event) -> None:
        """The next event."""
        match event:
            case Started():
                self._tell(f"{', '.join(event.agents[:20])}{', ...' if len(event.agents) > 20 else ''} debate.\n")
            case Wrote():
                turn = (event.agent, event.round, event.phase)
                self._written[turn] = event.text if event.first else self._written.get(turn, "") + event.text
                if self._floor is None:
                    self._take(turn)
                if self._floor == turn:
                    self._go_on(self._written[turn])
            case Spoke(said):
                turn = (said.agent, said.round, said.phase)
                self._written.pop(turn, None)
                if said.kept is not None:
                    text = f"(keeps its answer: {said.kept})"
                else:
                    text = said.reply.text if said.reply is not None else f"(absent: {said.error})"
                answer = f"\n-> {said.value}" if said.value is not None else ""
                if self._floor in (None, turn):
                    self._whole(turn, text, answer)
                    self._next()
                else:
                    self._waiting[turn] = text + answer
            case RoundOver():
                if event.stop:
                    self._tell(f"\nstop: {event.stop}\n")
            case Retrying():
                if self._floor is None:
                    self._tell(f"\n({event.agent or 'the moderator'} is asked again in {event.wait:.0f} s)\n")
            case _:
                pass

    def _take(self, turn: _Turn) -> None:
        self._floor, self._shown = turn, ""
        name, index, phase = turn
        self._tell(f"\n{name} (round {index}{'' if phase == 'answer' else f', {phase}'}):\n")

    def _go_on(self, text: str) -> None:
        if text.startswith(self._shown):
            self._tell(text[len(self._shown) :])
        elif not self._shown.startswith(text):
            self._tell(f"\n(anew) {text}")
        else:
            return  # it began anew, and has not come as far as it had been told
        self._shown = text

    def _whole(self, turn: _Turn, text: str, answer: str) -> None:
        if self._floor is None:
            self._take(turn)
        if text.startswith(self._shown) or text.strip() != self._shown.strip():
            self._go_on(text)
        self._tell(f"{answer}\n")
        self._floor = None

    def _next(self) -> None:
        for turn, text in self._waiting.items():
            self._whole(turn, text, "")
        self._waiting.clear()
        if self._written:
            turn = next(iter(self._written))
            self._take(turn)
            self._go_on(self._written[turn])
