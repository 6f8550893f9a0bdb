"""Runs to look at, played by scripted models into a store: for tests and figures of the viewer.

python tests/scenes.py STORE SCENE...
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from agora import Agent, Debate, Moderator, Protocol, View
from agora.errors import ServerError
from agora.journal import Journal
from agora.models.scripted import ScriptedModel
from agora.records import Message, Reply, Token, Usage
from agora.text.stop import rounds

HOSTILE = (
    "<script>window.__hit=1</script><img src=x onerror=\"window.__hit=1\"><svg onload='window.__hit=1'></svg>"
    "[a link](javascript:window.__hit=1) </script><script>window.__hit=1</script>",
    "\u202eevil\u202c \u2066x\u2069 \x1b[31mred\x1b[0m \x1b]8;;https://example.org\x07link\x1b]8;;\x07 \x07\x00 "
    "e\u0301 \U0001f469\u200d\U0001f467 \u05e9\u05dc\u05d5\u05dd \u6f22\u5b57",
    "-->]]></style></title></textarea><!--<script>{{7*7}}${7*7}",
)


def talker(name: str, says: Sequence[str], *, latency: float = 0.0, cost: float | None = 0.001) -> ScriptedModel:
    """A model that says the next of these at each call, the last again and again."""
    made = 0

    def say(messages: Sequence[Message]) -> Reply:
        nonlocal made
        text = says[min(made, len(says) - 1)]
        made += 1
        length = sum(len(message.content) for message in messages)
        return Reply(text, model=name, usage=Usage(1, length // 4 + 1, len(text) // 4 + 1, usd=cost, seconds=0.0))

    return ScriptedModel(say, name=name, latency=latency)


def quick(latency: float = 0.0, name: str = "three friends") -> Debate:
    """Three who end of one mind but one: an answer changed after reading, a dissent, a stop by rounds."""
    agents = [
        Agent("ann", talker("model-a", ["I count 41. Answer: 41", "Bob is right. Answer: 42"], latency=latency)),
        Agent("bob", talker("model-b", ["6 times 7 is 42. Answer: 42"], latency=1.3 * latency)),
        Agent("eve", talker("model-e", ["It is odd. Answer: 43", "I stay with it. Answer: 43"], latency=1.7 * latency)),
    ]
    return Debate(agents, moderator=Moderator(rounds(2)), answer="number", name=name)


def hostile() -> Debate:
    """What models say to break a page, as texts, answers and names; one says five million letters."""
    agents = [Agent(f"agent {i}", talker(f"<b>model {i}</b>", [text])) for i, text in enumerate(HOSTILE)]
    agents.append(Agent('"><script>window.__hit=1</script>', talker("x", ["<i>Answer: <svg onload=alert(1)></i>"])))
    agents.append(Agent("long", talker("long", ["all work and no play " * 250_000])))
    return Debate(agents, moderator=Moderator(rounds(1)), answer="text", name="<script>window.__hit=1</script>")


def crowd(agents: int, last: int, topology: object = "complete", words: int = 60) -> Debate:
    """Many agents over many rounds, some of whom follow the most."""

    def mind(i: int) -> Callable[[Sequence[Message]], str]:
        draws, told = random.Random(i), " ".join(["So I think, step by step."] * (words // 5))

        def say(messages: Sequence[Message]) -> str:
            heard = re.findall(r"Answer: (\d+)", messages[-1].content)
            said = max(heard, key=heard.count) if heard and draws.random() < 0.3 else str(draws.choice((7, 8, 9)))
            return f"{told} Answer: {said}"

        return say

    members = [Agent(f"agent-{i:03}", ScriptedModel(mind(i), name=f"model-{i % 5}")) for i in range(agents)]
    protocol = Protocol(view=View(text="answer"))
    return Debate(members, topology=topology, protocol=protocol, moderator=Moderator(rounds(last)), answer="number",
                  name=f"crowd of {agents}")  # fmt: skip


def nested() -> Debate:
    """A debate that is an agent of another."""
    return Debate([Agent("panel", quick(name="panel")), Agent("dan", talker("model-d", ["Answer: 42"]))],
                  moderator=Moderator(rounds(1)), answer="number", name="panel and dan")  # fmt: skip


def absent() -> Debate:
    """One whose model always fails, one who abstains, one whose answer cannot be read."""
    agents = [
        Agent("ann", talker("model-a", ["Answer: 1"])),
        Agent("broken", ScriptedModel([ServerError("the server is on fire.", model="broken")], name="broken")),
        Agent("shy", talker("shy", ["Answer: abstain"])),
        Agent("vague", talker("vague", ["Who knows"])),
        Agent("bea", talker("model-b", ["Answer: 1"], cost=None)),
    ]
    return Debate(agents, moderator=Moderator(rounds(1), quorum=0.2), answer="number", name="absent voices")


def fused() -> Debate:
    """One whose replies have tokens with what each of two members gave them."""

    def say(messages: Sequence[Message]) -> Reply:
        pieces = enumerate(["The", " answer", " is", "\n", "<i>", " Answer:", " 42"])
        tokens = tuple(
            Token(
                text,
                -0.1 * i,
                top=((text, -0.1 * i), ("<b>", -2.5 - i)),
                by=(("left", -0.05 * i), ("right", -0.3 * i)),
                disagreement=0.1 * i,
            )
            for i, text in pieces
        )
        return Reply(
            "".join(token.text for token in tokens), model="fused", usage=Usage(1, 20, 7, usd=0.0), tokens=tokens
        )

    return Debate([Agent("fused", ScriptedModel(say, name="fused")), Agent("bob", talker("b", ["Answer: 42"]))],
                  moderator=Moderator(rounds(1)), answer="number", name="fused models")  # fmt: skip


QUESTION = "What is six times seven?"
SCENES: dict[str, Callable[[], Debate]] = {
    "quick": quick,
    "hostile": hostile,
    "long": lambda: crowd(20, 99),
    "wide": lambda: crowd(1000, 1, {"small_world": {"k": 6, "p": 0.1}}, words=10),
    "nested": nested,
    "absent": absent,
    "fused": fused,
    "slow": lambda: quick(latency=1.0, name="slow friends"),
}


async def play(store: str | Path, *scenes: str) -> None:
    """Play scenes into a store; the run of each has the scene's name as its id."""
    async with Journal(store) as journal:
        for scene in scenes:
            question = HOSTILE[0] if scene == "hostile" else QUESTION
            await SCENES[scene]().answer(question, journal=journal, run=scene)


def main(arguments: Sequence[str]) -> None:
    store, *scenes = arguments
    work: Callable[..., Awaitable[None]] = play
    anyio.run(work, store, *scenes)


if __name__ == "__main__":
    main(sys.argv[1:])
