"""A model that says what it is told to: for testing debates without keys, calls or chance."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel

from agora.errors import InputError, ModelError
from agora.model import Settings, derive_seed
from agora.records import Message, Reply, Usage

Script = Sequence[str | Exception] | Mapping[str, str] | Callable[[Sequence[Message]], Any] | str


class ScriptedModel:
    """Answers from a script.

    Args:
        script: a text; a list, one entry a call, the last repeated (an entry that is an exception is raised); a mapping
            of regular expressions to texts, the first that is found in the last message wins; or a function of the
            messages that gives a text, a `Reply` or an awaitable of either.
        name: what to call it.
        latency: seconds each call takes; a number, or (median, sigma) of a log-normal drawn by the call's seed.
        failures: share of calls that fail, drawn by the call's seed.
        identity: a text that differs where the script does; None is its name.

    Attributes:
        calls: the messages of every call so far.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        latency: float | tuple[float, float] = 0.0,
        failures: float = 0.0,
        identity: str | None = None,
    ) -> None:
        if isinstance(script, (list, tuple)) and not script:
            raise InputError("a scripted model needs at least one reply.")
        if not 0 <= failures <= 1:
            raise InputError(f"failures: needs a share between 0 and 1, it is {failures}.")
        self._script = script
        self._name = name
        self._latency = latency
        self._failures = failures
        self.calls: list[tuple[Message, ...]] = []
        if identity is not None:
            self.identity = identity

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    def cost(self, usage: Usage) -> float:
        """Nothing."""
        return 0.0

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The next reply of the script.

        Raises:
            ModelError: if the script says so, if a failure is drawn, or no rule matches.
        """
        index = len(self.calls)
        self.calls.append(tuple(messages))
        if self._latency:
            await anyio.sleep(self._delay(settings, index))
        else:
            await anyio.lowlevel.checkpoint()
        if self._failures and self._draw(settings, index, "fail").random() < self._failures:
            raise ModelError("a failure, as the script asked for.", model=self.name)
        said = self._say(index, messages)
        if hasattr(said, "__await__"):
            said = await said
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Reply):
            return said
        tokens = sum(len(m.content) for m in messages) // 4
        return Reply(str(said), model=self.name, usage=Usage(1, tokens, len(str(said)) // 4))

    def _say(self, index: int, messages: Sequence[Message]) -> Any:
        script = self._script
        if isinstance(script, str):
            return script
        if isinstance(script, Mapping):
            last = messages[-1].content
            for pattern, text in script.items():
                if re.search(pattern, last):
                    return text
            raise ModelError("no rule of the script matches.", model=self.name)
        if isinstance(script, Sequence):
            return script[min(index, len(script) - 1)]
        return script(messages)

    def _draw(self, settings: Settings, index: int, what: str) -> random.Random:
        place = index if settings.seed is None else settings.seed
        return random.Random(derive_seed(place, self.name, what))

    def _delay(self, settings: Settings, index: int) -> float:
        if isinstance(self._latency, (int, float)):
            return float(self._latency)
        median, sigma = self._latency
        draw = self._draw(settings, index, "latency").gauss(0.0, sigma)
        return float(median * 2.718281828459045**draw)
