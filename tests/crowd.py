"""Simulated agents whose truth is known, and items to ask them: for tests of evaluations."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from agora import Agent, Debate, Moderator
from agora.answers import Number
from agora.errors import MalformedError, ServerError
from agora.evaluate.records import Dataset, Item
from agora.model import Settings
from agora.records import Message, Reply, Usage
from agora.text.stop import rounds

Mind = Callable[[random.Random, Sequence[str], str], str]  # draws, peers' answers, the truth -> its answer


class Exact:
    """Right is what is equal to the truth."""

    name = "exact"
    paid = False

    async def score(self, answer: str, item: Item, text: str) -> float:
        return float(answer in item.truth)


class Judge(Exact):
    """The same by a scorer that counts as one that asks a model, and that fails on item 2."""

    name = "judge"
    paid = True

    async def score(self, answer: str, item: Item, text: str) -> float:
        if item.id == "2":
            raise MalformedError("it gave no grade.", model="judge")
        return await super().score(answer, item, text)


def truth(i: int) -> str:
    return str(1000 + i)


def wrong(i: int, draws: random.Random) -> str:
    return str(50_000 + 10 * i + draws.randrange(3))


def items(n: int) -> Dataset:
    """Items whose truths differ."""
    made = [Item(str(i), f"Item {i}: what is it?", (truth(i),), Number(), f"group {i % 2}") for i in range(n)]
    return Dataset("items", made, Exact())


class Voice:
    """An agent that is right with a known probability at first, and then does as it is minded.

    Args:
        name: of the model.
        accuracy: of its first answer.
        mind: what it answers when it has read others; None: as at first.
        fails: share of calls that fail, drawn by their seed.
        usd: a call.
    """

    def __init__(
        self, name: str, accuracy: float, mind: Mind | None = None, *, fails: float = 0.0, usd: float = 0.0
    ) -> None:
        self.name, self.accuracy, self.mind, self.fails, self.usd = name, accuracy, mind, fails, usd
        self.heard: list[str] = []

    @property
    def identity(self) -> str:
        return f"voice {self.name} {self.accuracy}"

    def cost(self, usage: Usage) -> float:
        return self.usd

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        prompt = "\n".join(m.content for m in messages)
        self.heard.append(prompt)
        draws = random.Random(f"{self.name} {settings.seed} {prompt}")
        if draws.random() < self.fails:
            raise ServerError("the server failed.", model=self.name)
        found = re.search(r"Item (\d+):", prompt)
        assert found is not None
        i = int(found[1])
        peers = re.findall(r"Peer \d+[^:]*: .*?Answer: (\d+)", prompt)
        said = truth(i) if draws.random() < self.accuracy else wrong(i, draws)
        if peers and self.mind is not None:
            said = self.mind(draws, peers, truth(i))
        elif own := re.search(r"Your last answer[^:]*: .*?Answer: (\d+)", prompt):
            said = own[1]
        return Reply(f"So it is. Answer: {said}", model=self.name, usage=Usage(1, len(prompt) // 4, 6, usd=self.usd))


def herd(draws: random.Random, peers: Sequence[str], truth: str) -> str:
    """Takes over what it reads, whatever it is: a debate of such agents is worth nothing."""
    return draws.choice(list(peers))


def wise(draws: random.Random, peers: Sequence[str], truth: str) -> str:
    """Knows the right answer when it reads it, mostly."""
    return truth if truth in peers and draws.random() < 0.9 else draws.choice(list(peers))


def debate(*voices: Voice, last: int = 1, name: str = "crowd") -> Debate:
    """A debate of voices over so many rounds."""
    agents = [Agent(voice.name, voice) for voice in voices]
    return Debate(agents, moderator=Moderator(rounds(last), quorum=0.01), answer="number", name=name)
