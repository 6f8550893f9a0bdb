"""People who take part in a debate at the page: each question to one of them is a seat, which somebody answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from agora import calls
from agora.records import Message
from agora.serve.asked import Refused
from agora.view.records import Record

SHOWN = 200_000  # characters of a message that a person is shown


@dataclass
class _Seat:
    name: str
    answered: anyio.Event = field(default_factory=anyio.Event)
    text: str | None = None


class Seats:
    """The desk of one run: where its people are asked.

    Args:
        tell: is told each seat as it opens and closes.
    """

    def __init__(self, tell: Callable[[Record], None]) -> None:
        self._tell = tell
        self._open: dict[str, _Seat] = {}
        self._count = 0

    async def ask(self, name: str, messages: Sequence[Message], timeout: float | None) -> str | None:
        """As of `agora.models.human.Desk`."""
        self._count += 1
        id, now = str(self._count), time.time()
        seat = self._open[id] = _Seat(name)
        record = {
            "type": "seat", "id": id, "name": name, "path": calls.current().path,
            "prompt": [[message.role, message.content[:SHOWN]] for message in messages],
            "since": now, "until": None if timeout is None else now + timeout, "open": True,
        }  # fmt: skip
        self._tell(record)
        try:
            with anyio.move_on_after(timeout):
                await seat.answered.wait()
            return seat.text
        finally:
            self._open.pop(id, None)
            self._tell({**record, "prompt": [], "open": False})

    def answer(self, id: str, text: str) -> None:
        """Reply for the person of a seat; nothing is an abstention.

        Raises:
            Refused: if there is no such seat, or it has been answered, or not in time.
        """
        seat = self._open.get(id)
        if seat is None or seat.text is not None:
            if seat is None and not (id.isdecimal() and id.isascii() and 0 < int(id[:18]) <= self._count):
                raise Refused("there is no such seat.", status=404, code="not_found")
            raise Refused("this seat has been answered, or its time is over.", status=409, code="conflict")
        seat.text = text
        seat.answered.set()
