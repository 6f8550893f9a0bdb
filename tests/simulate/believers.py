"""Agents for the real engine that draw their answers by the very rule of the simulated ones, one debate at a time."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

import anyio

from agora import calls
from agora.config import loads
from agora.model import Model, Settings
from agora.records import Message, Reply, Usage, Verdict
from agora.simulate import Population
from agora.text.debate import Debate


def debate_of(text: str, options: int = 3) -> Debate:
    """Five agents who answer 0, 1, ...; 0 is right. Their own answers are hidden from them."""
    lines = "models: {m: {scripted: ['Answer: 0']}}\nagents: {a: m, b: m, c: m, d: m, e: m}\n"
    lines += f"answer: {{choice: {[str(k) for k in range(options)]}}}\n"
    if "protocol:" not in text:
        text += "\nprotocol: {view: {own: hidden}}"
    else:
        text = text.replace("protocol: {", "protocol: {view: {own: hidden}, ", 1)
    return loads(lines + text)[0]


class Believers:
    """Stands in for every model of a debate. Views must hide own answers: what a prompt says is then what was read."""

    def __init__(self, debate: Debate, population: Population, seed: int = 0) -> None:
        self.debate, self.people, self.seed = debate, population, seed
        self.options = population.count(debate.answer_type)
        self.names = list(debate.topology.agents)
        self.values = {
            name: dict(zip(self.names, population.values(name, self.names).tolist(), strict=True))
            for name in ("accuracy", "conformity", "abstention")
        }
        self.weights: dict[str, dict[str, list[float]]] = {}  # question -> agent -> weight of each answer
        self.held: dict[tuple[str, str], int] = {}

    def first(self, question: str) -> dict[str, list[float]]:
        """Each agent's first beliefs. Alike agents only, where errors are correlated: a Polya urn of gamma variates."""
        if question not in self.weights:
            draws, made = random.Random(f"{self.seed} {question}"), {}
            p, rho = self.values["accuracy"][self.names[0]], self.people.correlation
            shared = None
            if rho:
                s = 1 / rho - 1
                means = [p] + [(1 - p) / (self.options - 1)] * (self.options - 1)
                parts = [draws.gammavariate(s * mean, 1) for mean in means]
                shared = [part / sum(parts) for part in parts]
            for name in self.names:
                p = self.values["accuracy"][name]
                own = shared or [p] + [(1 - p) / (self.options - 1)] * (self.options - 1)
                made[name] = [(self.people.concentration or 1) * w for w in own]
            self.weights[question] = made
        return self.weights[question]

    def __call__(self, model: Model, messages: Sequence[Message], settings: Settings) -> Reply:
        prompt = "\n".join(m.content for m in messages)
        found = re.search(r"Question (\d+)\?", prompt)
        assert found is not None
        question, path = found[1], calls.current().path
        name = path.split("/")[0]
        draws = random.Random(f"{self.seed} {question} {path}")
        read = [int(answer) for answer in re.findall(r"Answer: (\d+)\b", prompt)]
        weights, s = self.first(question)[name], self.people.persuasion
        if self.people.concentration is not None:
            for answer in read:
                weights[answer] += 1 - s if answer else 1 + s
        held = self.held.get((question, name))
        if held is None or self.people.concentration is not None:
            held = draws.choices(range(self.options), weights)[0]
        counts = Counter(read)
        leads = [answer for answer in counts if counts[answer] == max(counts.values())]
        if leads and held not in leads:
            lead = draws.choices(leads, [1 - s if answer else 1 + s for answer in leads])[0]
            if draws.random() < self.values["conformity"][name] * (1 - s if lead else 1 + s):
                held = lead
        self.held[question, name] = held
        silent = draws.random() < self.values["abstention"][name]
        means = self.people.confidence or (0.8, 0.8)
        mean = means[held != 0]
        sure = draws.betavariate(10 * mean, 10 * (1 - mean))
        text = f"Answer: {'none' if silent else held}"
        return Reply(text, model=model.name, usage=Usage(1, 1, 1), confidence=sure)

    def hold(self, questions: int) -> list[Verdict]:
        """So many debates."""

        async def all_of_them() -> list[Verdict]:
            return [await self.debate.answer(f"Question {i}?") for i in range(questions)]

        with calls.scope(stand_in=self):
            return anyio.run(all_of_them)
