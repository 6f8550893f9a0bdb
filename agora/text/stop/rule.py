"""A stop rule: what it is, and how rules join."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from agora.answers import AnswerType
from agora.model import Model, Settings
from agora.records import Message, Reply, Round


class Case(Protocol):
    """What a rule or a decision may look at, and the way to ask a model so that the call is counted and recorded."""

    question: str
    answer: AnswerType
    seed: int
    order: Mapping[str, int]
    rounds: list[Round]

    @property
    def spent(self) -> float | None:
        """The largest share of any limit of the budget that is used, 0 to 1; None without a budget."""
        ...

    async def ask(
        self, model: Model, role: str, messages: Sequence[Message], settings: Settings = Settings()
    ) -> Reply: ...

    def warn(self, text: str) -> None: ...


Reason = str | None
RuleFunction = Callable[[Case], Reason | Awaitable[Reason]]
MayStop = Callable[[int, Mapping[str | None, int]], bool]
_Found = str | Literal[False] | None  # a reason to stop; no; or not to be known without asking a model


class StopRule:
    """A stop rule: looks at the history after each round, round 0 included, and gives its reason to stop, or None.

    Rules are stateless and join: `unanimous() | rounds(4)` stops when either does, `&` when both do. A rule that asks a
    model is evaluated last, on whichever side it stands, and only if the free rules leave it open. Any function of a
    `Case` can be wrapped.

    Args:
        name: as written in YAML.
        check: the function; may be async.
        may_stop: whether the rule could still stop after round `index`, given how often each answer was given in it so
            far (None counts voices without a vote, absent ones included), whatever the other voices say, however many
            they are. Where no rule could, agents run ahead, and the rule is not asked. Default: it could.
        last: the last round there can be under this rule, where it sets one.
        asks: it asks a model, which costs a call. Default: an async function does.
        needs: template variables that make agents say what it reads: `ask_done`, `ask_confidence`; 'ask_done NAME' of
            one agent alone.
        agents: the agents that it names.
    """

    def __init__(
        self,
        name: str,
        check: RuleFunction,
        may_stop: MayStop = lambda index, answers: True,
        *,
        last: int | None = None,
        asks: bool | None = None,
        needs: Iterable[str] = (),
        agents: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.check = check
        self.may_stop = may_stop
        self.last = last
        self.asks = inspect.iscoroutinefunction(check) if asks is None else asks
        self.needs = frozenset(needs)
        self.agents = frozenset(agents)

    async def __call__(self, case: Case) -> Reason:
        found = self.check(case)
        return await found if inspect.isawaitable(found) else found

    async def _look(self, case: Case, known: dict[StopRule, str | Literal[False]], ask: bool) -> _Found:
        if self not in known:
            if self.asks and not ask:
                return None
            known[self] = await self(case) or False
        return known[self]

    def __or__(self, other: StopRule | RuleFunction) -> StopRule:
        return _Joined("|", self, rule(other))

    def __and__(self, other: StopRule | RuleFunction) -> StopRule:
        return _Joined("&", self, rule(other))

    def __ror__(self, other: RuleFunction) -> StopRule:
        return rule(other) | self

    def __rand__(self, other: RuleFunction) -> StopRule:
        return rule(other) & self

    def __repr__(self) -> str:
        return self.name


class _Joined(StopRule):
    """Rules joined by one sign; those that ask no model come first."""

    def __init__(self, sign: Literal["|", "&"], *rules: StopRule) -> None:
        self.sign = sign
        self.parts: tuple[StopRule, ...] = tuple(
            part for r in rules for part in (r.parts if isinstance(r, _Joined) and r.sign == sign else (r,))
        )
        self._order = sorted(self.parts, key=lambda part: part.asks)
        ends = [part.last for part in self.parts]
        some = [end for end in ends if end is not None]
        any_ = sign == "|"
        super().__init__(
            f" {sign} ".join(f"({p})" if isinstance(p, _Joined) and not any_ else str(p) for p in self.parts),
            self.__call__,
            lambda index, answers: (any if any_ else all)(part.may_stop(index, answers) for part in self.parts),
            last=(min(some) if any_ else max(some)) if some and (any_ or len(some) == len(ends)) else None,
            asks=any(part.asks for part in self.parts),
            needs=frozenset().union(*(part.needs for part in self.parts)),
            agents=frozenset().union(*(part.agents for part in self.parts)),
        )

    async def __call__(self, case: Case) -> Reason:
        return await self._look(case, {}, True) or None

    async def _look(self, case: Case, known: dict[StopRule, str | Literal[False]], ask: bool) -> _Found:
        if ask and self.asks:
            found = await self._look(case, known, False)
            if found is not None:
                return found
        reasons: dict[StopRule, str] = {}
        unknown = False
        for part in self._order:
            found = await part._look(case, known, ask)
            if found is not None and bool(found) == (self.sign == "|"):
                return found
            unknown = unknown or found is None
            if found:
                reasons[part] = found
        if unknown:
            return None
        return " and ".join(reasons[part] for part in dict.fromkeys(self.parts)) if self.sign == "&" else False


def rule(value: StopRule | RuleFunction) -> StopRule:
    """A stop rule from itself or from a function of a `Case`."""
    return value if isinstance(value, StopRule) else StopRule(getattr(value, "__name__", "rule"), value)


def never(stop: StopRule) -> StopRule:
    """A rule for rehearsing the longest run under another: asks whomever that may ask, and ends with its last round."""

    def leaves(part: StopRule) -> list[StopRule]:
        return [leaf for p in part.parts for leaf in leaves(p)] if isinstance(part, _Joined) else [part]

    asking = [leaf for leaf in leaves(stop) if leaf.asks]

    async def check(case: Case) -> Reason:
        if stop.last is not None and case.rounds[-1].index >= stop.last:
            return await stop(case)
        for leaf in asking:
            await leaf(case)
        return None

    def may_stop(index: int, answers: Mapping[str | None, int]) -> bool:
        return bool(asking) or (stop.last is not None and index >= stop.last)

    return StopRule("never", check, may_stop, last=stop.last, needs=stop.needs)
