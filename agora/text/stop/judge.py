"""The stop rule that asks a model, or a person, whether the debate has settled."""

from __future__ import annotations

import json
import re

from pydantic import BaseModel, ValidationError

from agora.errors import AgoraError, BudgetError, InputError
from agora.model import Model
from agora.prompts import NAMES, template
from agora.records import Message
from agora.text.agent import View, show
from agora.text.stop.rule import Case, Reason, StopRule


class _Settled(BaseModel):
    done: bool
    reason: str = ""


def judge(model: Model, override: str | None = None, *, every: int = 1) -> StopRule:
    """A model, or a person who stands in for one, says with the `moderate` template when the debate has settled. If it
    fails, the debate goes on, and the verdict carries a warning.

    Args:
        model: who is asked.
        override: a template in place of the shipped one: a path, or its text.
        every: ask only after every n-th round, the first answers counted as the first: with 2 after rounds 1, 3, 5.
    """
    frame = template("moderate", override, getattr(model, "prompts", None))
    if every < 1:
        raise InputError(f"judge(every={every}): must be at least 1.")

    async def check(case: Case) -> Reason:
        last = case.rounds[-1]
        if (last.index + 1) % every:
            return None
        peers = [s for s, _ in show(list(last.final.values()), View(), seed=case.seed, reader=-1, order=case.order)]
        values = {"question": case.question, "answer": case.answer, "peers": peers, "history": [], "round": last.index}
        prompt = frame.render(**{k: v for k, v in values.items() if k in NAMES["moderate"]})
        try:
            reply = await case.ask(model, "moderate", [Message("user", prompt)])
            settled = _parse(reply.text)
        except BudgetError:
            raise
        except (AgoraError, ValueError) as error:
            case.warn(f"the moderator's judge failed after round {last.index}: {error}")
            return None
        return f"the judge: {settled.reason.strip()[:300] or 'settled'}" if settled.done else None

    return StopRule(
        "judge" if every == 1 else f"judge(every={every})",
        check,
        lambda index, answers: (index + 1) % every == 0,
        asks=True,
    )


_PLAIN = re.compile(r"\s*(y|yes|n|no)\b(?!\s+(?:or|and)\b)[\s.,:;!-]*(.*)", re.IGNORECASE | re.DOTALL)


def _parse(text: str) -> _Settled:
    """The JSON object that was asked for, or else a plain yes or no with its reason, as people write it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return _Settled.model_validate(json.loads(text[start : end + 1] if start >= 0 else ""))
    except (ValidationError, ValueError, RecursionError) as error:
        plain = _PLAIN.match(text)
        if plain is None:
            raise ValueError("its reply is neither the JSON object that was asked for nor a yes or no") from error
        return _Settled(done=plain[1][0] in "yY", reason=" ".join(plain[2].split()))
