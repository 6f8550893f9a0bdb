"""Scores of models on a dev set: how many answers are right, and how likely the right ones are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread

from agora.answers import AnswerType, answer_type, extract
from agora.errors import InputError, ModelError
from agora.model import Model, Settings, TokenModel
from agora.records import Message
from agora.weight.searching.space import digest

_BATCH = 16  # sequences that are read together


class Accuracy:
    """The share of problems that a model answers rightly; an answer that fails counts as wrong.

    Args:
        problems: pairs of a question and its answer; or what has `question` and `answer`, as attributes or keys.
        answer: type of the answers: 'number', 'choice', ..., or one of `agora.answers`.
        settings: that questions are asked with; by default greedily.
        together: questions asked at a time.

    Raises:
        InputError: if there are no problems, or they are none.
    """

    def __init__(
        self, problems: Sequence[Any], answer: str | AnswerType = "number",
        settings: Settings = Settings(temperature=0), *, together: int = 64,
    ) -> None:  # fmt: skip
        self.kind = answer_type(answer)
        self.pairs = [_pair(problem) for problem in problems]
        if not self.pairs:
            raise InputError("a score needs problems.")
        self.settings, self.together = settings, together
        self.identity = digest("accuracy", self.pairs, repr(self.kind.kind), sorted(settings.pinned.items()))

    async def rows(self, model: Model) -> list[bool]:
        """Which problems a model answers rightly.

        Raises:
            ModelError: if it answers none at all.
        """
        right = [False] * len(self.pairs)
        failures: list[ModelError] = []
        limit = anyio.CapacityLimiter(self.together)

        async def one(i: int, question: str, answer: str) -> None:
            async with limit:
                try:
                    reply = await model.answer([Message("user", question)], self.settings)
                except ModelError as error:
                    failures.append(error)
                    return
            right[i] = extract(self.kind, reply).value == answer

        async with anyio.create_task_group() as group:
            for i, (question, answer) in enumerate(self.pairs):
                group.start_soon(one, i, question, self.kind.read(answer) or answer)
        if len(failures) == len(self.pairs):
            raise failures[0]
        return right

    async def __call__(self, model: Model) -> float:
        """The score of a model, 0 to 1."""
        rows = await self.rows(model)
        return sum(rows) / len(rows)


class Likelihood:
    """The mean log-probability of a token of texts that a model should answer with, in nats; at most 0.

    Finer than `Accuracy`: few examples tell candidates apart. Needs models whose logits can be read.

    Args:
        examples: pairs of a question and the text of its answer.

    Raises:
        InputError: if there are none.
    """

    def __init__(self, examples: Sequence[tuple[str, str]]) -> None:
        self.examples = [(str(question), str(text)) for question, text in examples]
        if not self.examples:
            raise InputError("a score needs examples.")
        self.identity = digest("likelihood", self.examples)

    async def __call__(self, model: TokenModel) -> float:
        """The score of a model.

        Raises:
            InputError: if its logits cannot be read, or it has no tokens for the texts.
        """
        return await anyio.to_thread.run_sync(self._of, model)

    def _of(self, model: TokenModel) -> float:
        import numpy as np

        tokenize = getattr(model, "tokenize", None)
        if tokenize is None or not hasattr(model, "session"):
            raise InputError(f"the logits of {model.name} cannot be read.")
        total, count = 0.0, 0
        for begin in range(0, len(self.examples), _BATCH):
            session = model.session()
            rows = []
            for question, text in self.examples[begin : begin + _BATCH]:
                tokens = list(tokenize(text))
                if not tokens:
                    raise InputError(f"{model.name} has no tokens for '{text[:40]}'.")
                rows.append((session.new(model.encode([Message("user", question)])), tokens))
            first = session.forward([(slot, []) for slot, _ in rows])
            longer = [(slot, tokens[:-1]) for slot, tokens in rows if len(tokens) > 1]
            rest = session.forward(longer, every=True) if longer else first[:0]
            targets = [tokens[0] for _, tokens in rows] + [token for _, tokens in rows for token in tokens[1:]]
            logits = np.concatenate([first, rest]).astype(np.float64)
            top = logits.max(1)
            norms = top + np.log(np.exp(logits - top[:, None]).sum(1))
            total += float((logits[np.arange(len(targets)), targets] - norms).sum())
            count += len(targets)
        return total / count if math.isfinite(total) else math.nan


def _pair(problem: Any) -> tuple[str, str]:
    if isinstance(problem, Mapping):
        found = problem.get("question"), problem.get("answer")
    elif isinstance(problem, (tuple, list)) and len(problem) == 2:
        found = problem[0], problem[1]
    else:
        found = getattr(problem, "question", None), getattr(problem, "answer", None)
    if found[0] is None or found[1] is None:
        raise InputError("a problem has a question and an answer.")
    return str(found[0]), str(found[1])
