"""Stop rules: when a debate is over, from what has been said; they join, and YAML can write them."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from agora.answers import AnswerType
from agora.errors import AgoraError, BudgetError, InputError
from agora.model import Model, Settings
from agora.prompts import NAMES, template
from agora.records import Message, Reply, Round
from agora.text.agent import View, show


class Case(Protocol):
    """What a rule or a decision may look at, and the way to ask a model so that the call is counted and recorded."""

    question: str
    answer: AnswerType
    seed: int
    order: Mapping[str, int]
    rounds: list[Round]

    async def ask(
        self, model: Model, role: str, messages: Sequence[Message], settings: Settings = Settings()
    ) -> Reply: ...

    def warn(self, text: str) -> None: ...


Reason = str | None
RuleFunction = Callable[[Case], Reason | Awaitable[Reason]]


class StopRule:
    """A stop rule: looks at the history after each round, round 0 included, and gives its reason to stop, or None.

    Rules are stateless and join: `unanimous() | rounds(4)` stops when either does, `&` when both do. Any function of a
    `Case` can be wrapped.

    Args:
        name: as written in YAML.
        check: the function; may be async.
        may_stop: whether the rule could still stop after round `index`, given how often each answer was given in it so
            far (None counts voices without a vote). Where no rule could, agents run ahead. Default: it could.
    """

    def __init__(
        self,
        name: str,
        check: RuleFunction,
        may_stop: Callable[[int, Mapping[str | None, int]], bool] = lambda index, answers: True,
        *,
        last: int | None = None,
    ) -> None:
        self.name = name
        self.check = check
        self.may_stop = may_stop
        self.last = last  # the last round there can be under this rule, where it sets one

    async def __call__(self, case: Case) -> Reason:
        found = self.check(case)
        return await found if inspect.isawaitable(found) else found

    def __or__(self, other: StopRule | RuleFunction) -> StopRule:
        right = rule(other)

        async def either(case: Case) -> Reason:
            return await self(case) or await right(case)

        ends = [end for end in (self.last, right.last) if end is not None]
        return StopRule(
            f"{self.name} | {right.name}",
            either,
            lambda index, answers: self.may_stop(index, answers) or right.may_stop(index, answers),
            last=min(ends) if ends else None,
        )

    def __and__(self, other: StopRule | RuleFunction) -> StopRule:
        right = rule(other)

        async def both(case: Case) -> Reason:
            first = await self(case)
            second = await right(case) if first else None
            return f"{first} and {second}" if first and second else None

        ends = (self.last, right.last)
        return StopRule(
            f"({self.name}) & ({right.name})",
            both,
            lambda index, answers: self.may_stop(index, answers) and right.may_stop(index, answers),
            last=None if None in ends else max(end for end in ends if end is not None),
        )

    def __repr__(self) -> str:
        return self.name


def rule(value: StopRule | RuleFunction) -> StopRule:
    """A stop rule from itself or from a function of a `Case`."""
    return value if isinstance(value, StopRule) else StopRule(getattr(value, "__name__", "rule"), value)


def rounds(n: int) -> StopRule:
    """At most `n` rounds of debate after the independent round 0."""
    if n < 0:
        raise InputError(f"rounds({n}): must not be negative.")
    return StopRule(
        f"rounds({n})",
        lambda case: f"{n} round{'s' * (n != 1)} of debate" if case.rounds[-1].index >= n else None,
        lambda index, answers: index >= n,
        last=n,
    )


def unanimous() -> StopRule:
    """All present voices give one answer. An abstention or an answer that cannot be read is no agreement."""

    def check(case: Case) -> Reason:
        present = [turn for turn in case.rounds[-1].final.values() if turn.reply is not None]
        values = {turn.value for turn in present}
        return "unanimous" if len(values) == 1 and None not in values else None

    return StopRule("unanimous", check, lambda index, answers: len(answers) < 2 and None not in answers)


def quorum(share: float) -> StopRule:
    """At least this share of all agents, absent ones included, gives one answer."""
    if not 0 < share <= 1:
        raise InputError(f"quorum({share}): needs a share between 0 and 1.")

    def check(case: Case) -> Reason:
        answers = [value for value in case.rounds[-1].answers.values()]
        most = max((answers.count(value) for value in set(answers) - {None}), default=0)
        return f"{most} of {len(answers)} agree" if most >= math.ceil(share * len(answers) - 1e-9) and most else None

    return StopRule(f"quorum({share})", check)


def stable(k: int = 2) -> StopRule:
    """Nobody's answer has changed for `k` rounds."""
    if k < 1:
        raise InputError(f"stable({k}): needs at least 1 round.")

    def check(case: Case) -> Reason:
        recent = [dict(r.answers) for r in case.rounds[-k - 1 :]]
        return f"no answer changed for {k} round{'s' * (k != 1)}" if len(recent) > k and _same(recent) else None

    return StopRule(f"stable({k})", check, lambda index, answers: index >= k)


def no_change() -> StopRule:
    """The last round changed nobody's answer."""
    made = stable(1)
    return StopRule("no_change", made.check, made.may_stop)


def _same(recent: Sequence[Mapping[str, str | None]]) -> bool:
    return all(answers == recent[0] for answers in recent[1:])


class _Settled(BaseModel):
    done: bool
    reason: str = ""


def judge(model: Model, override: str | None = None) -> StopRule:
    """A model with the `moderate` template says when the debate has settled. If it fails, the debate goes on, and the
    verdict carries a warning."""
    frame = template("moderate", override, getattr(model, "prompts", None))

    async def check(case: Case) -> Reason:
        last = case.rounds[-1]
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

    return StopRule("judge", check)


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


RULES: Mapping[str, Callable[..., StopRule]] = {
    "rounds": rounds,
    "unanimous": unanimous,
    "quorum": quorum,
    "stable": stable,
    "no_change": no_change,
}


def parse_stop(text: str, judges: Mapping[str, Model] | None = None) -> StopRule:
    """A stop rule from its YAML form: `unanimous | stable(2) | rounds(4)`, `judge(MODEL)`.

    Raises:
        InputError: naming what is wrong.
    """
    import ast

    def build(node: ast.AST) -> StopRule:
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd)):
            left, right = build(node.left), build(node.right)
            return left | right if isinstance(node.op, ast.BitOr) else left & right
        name, arguments = (node.func, node.args) if isinstance(node, ast.Call) and not node.keywords else (node, [])
        if not isinstance(name, ast.Name):
            raise InputError(f"stop: cannot read '{text[:80]}'; write rules like 'unanimous | rounds(4)'.")
        if name.id == "judge":
            key = arguments[0] if len(arguments) == 1 else None
            who = key.id if isinstance(key, ast.Name) else key.value if isinstance(key, ast.Constant) else None
            if not isinstance(who, str) or who not in (judges or {}):
                known = ", ".join(judges or ()) or "none"
                raise InputError(f"stop: judge needs one of the file's models, judge(NAME); there are {known}.")
            return judge((judges or {})[who])
        made = RULES.get(name.id)
        if made is None:
            near = _near(name.id, [*RULES, "judge"])
            raise InputError(f"stop: unknown rule '{name.id[:40]}'{near}; there are {', '.join(RULES)}, judge.")
        values: list[Any] = [a.value if isinstance(a, ast.Constant) else None for a in arguments]
        if any(not isinstance(v, (int, float)) or isinstance(v, bool) for v in values):
            raise InputError(f"stop: the argument of {name.id} must be a number.")
        if any(isinstance(v, float) for v in values) and name.id != "quorum":
            raise InputError(f"stop: the argument of {name.id} must be a whole number.")
        try:
            return made(*values)
        except TypeError:
            raise InputError(f"stop: {name.id} takes another number of arguments than {len(values)}.") from None

    if len(text) > 500:
        raise InputError("stop: the rule is longer than 500 characters.")
    try:
        return build(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"stop: cannot read '{text[:80]}'; write rules like 'unanimous | rounds(4)'.") from None


def _near(word: str, words: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, words, 1)
    return f", did you mean '{close[0]}'" if close else ""
