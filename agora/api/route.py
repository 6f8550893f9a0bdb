"""Routers: a `Model` that has each prompt answered by one of several models, the one that is worth its cost."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from agora import calls
from agora.answers import objects
from agora.api import cards
from agora.api.cards import Card
from agora.api.metrics import choose, win_probability
from agora.api.predicate import Predicate
from agora.api.routerfile import Learnt
from agora.errors import AgoraError, BudgetError, InputError, ModelError
from agora.model import Model, Settings, derive_seed
from agora.prompts import template
from agora.records import Message, Reply, Usage

PROMPT = "prompt"  # where the model that chooses is asked


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice.

    Attributes:
        name: of the model.
        why: in a few words.
        asked: the reply of the model that chose, if one did.
    """

    name: str
    why: str
    asked: Reply | None = None


class Choice(Protocol):
    """How one of the allowed models is chosen."""

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        """One of `allowed`.

        Raises:
            NoChoice: if none can be chosen; the router then falls back, and says so.
        """
        ...


class NoChoice(AgoraError):
    """No model could be chosen.

    Args:
        message: why.
        asked: the reply of the model that was to choose, which is paid for.
    """

    def __init__(self, message: str, asked: Reply | None = None) -> None:
        super().__init__(message)
        self.asked = asked


class Router:
    """A model that has each prompt answered by one of its members.

    The choice is made among the members that may be asked: with `local_only` those whose prompts stay on this machine,
    and those whose context holds the prompt. Where no choice can be made, or its model fails, `otherwise` is asked,
    and the reply's `warnings` say so. In a journaled run the choice is recorded, so that a resumed run makes the same.

    Args:
        members: name -> model.
        by: how to choose.
        otherwise: the name of the model to fall back on; default: the first.
        given: name -> card, where more is known than can be seen of the model.
        local_only: no prompt leaves this machine.
        name: as a model.

    Raises:
        InputError: if a name is none of the members', or no member may ever be asked.
    """

    def __init__(
        self,
        members: Mapping[str, Model],
        by: Choice,
        *,
        otherwise: str | None = None,
        given: Mapping[str, Card] | None = None,
        local_only: bool = False,
        name: str = "route",
    ) -> None:
        if not members:
            raise InputError("route: needs at least one model.")
        cards.known(members, given or {})
        self.routes = dict(members)
        self.by, self.local_only, self._name = by, local_only, name
        self.cards = {key: cards.card_of(model, (given or {}).get(key)) for key, model in members.items()}
        here = cards.allowed(self.cards, local_only=local_only, tokens=0)
        if not here:
            raise InputError(
                "route: local_only allows none of the models, as all send prompts elsewhere.",
                hint="Add a model in the box or a local server, or say local: true in its card.",
            )
        self.otherwise = otherwise if otherwise is not None else here[0]
        if self.otherwise not in self.routes:
            raise InputError(f"route: '{self.otherwise[:40]}', to fall back on, is none of the models.")
        if self.otherwise not in here:
            raise InputError(f"route: local_only does not allow '{self.otherwise[:40]}', which is to fall back on.")

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def members(self) -> tuple[Model, ...]:
        """The models, and the one that chooses, if one does."""
        asked = getattr(self.by, "model", None)
        return (*self.routes.values(), *([asked] if asked is not None else []))

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The answer of the chosen member.

        Raises:
            ModelError: if it fails, and the fallback too.
        """
        prompt = next((m.content for m in reversed(messages) if m.role == "user"), "")
        warnings: list[str] = []
        picked = await self._picked(prompt, messages, settings, warnings)
        name, spent = picked.name, picked.asked.usage if picked.asked is not None else Usage()
        try:
            reply = await calls.ask(self.routes[name], messages, settings, at=name)
        except (BudgetError, InputError):
            raise
        except ModelError as error:
            if name == self.otherwise:
                raise
            warnings.append(f"{name} failed, so {self.otherwise} was asked: {calls.sentence(error)}")
            spent, name = spent + (error.usage or Usage()), self.otherwise
            reply = await calls.ask(self.routes[name], messages, settings, at=name)
        parts = (*([picked.asked] if picked.asked is not None else []), reply)
        said = tuple(dict.fromkeys([*warnings, *reply.warnings]))
        return replace(plain(reply), usage=reply.usage + spent, parts=parts, warnings=said, route=(name, picked.why))

    async def _picked(
        self, prompt: str, messages: Sequence[Message], settings: Settings, warnings: list[str]
    ) -> Chosen:
        tokens = calls.estimate_tokens(messages)
        allowed = cards.allowed(self.cards, local_only=self.local_only, tokens=tokens)
        if not allowed:
            warnings.append(f"no model reads {tokens:,} tokens, so {self.otherwise} was asked")
            return Chosen(self.otherwise, "none reads so much")
        here = calls.current()
        path = f"{here.path}/route" if here.path else "route"
        recorder = here.recorder if not here.whole else None
        kept = recorder.choice(path) if recorder is not None and not isinstance(self.by, Asked) else None
        if kept is not None and kept[0] in self.routes:
            warnings += [kept[2]] if kept[2] else []
            return Chosen(str(kept[0]), str(kept[1]))
        note = ""
        try:
            picked = await self.by.choose(prompt, allowed, self, settings)
            if picked.name not in allowed:
                raise NoChoice(f"'{picked.name[:40]}' is none of the models that may be asked", picked.asked)
        except NoChoice as error:
            fallback = self.otherwise if self.otherwise in allowed else allowed[0]
            note = f"no model was chosen, so {fallback} was asked: {error}"
            picked = Chosen(fallback, "to fall back on", error.asked)
            warnings.append(note)
        if recorder is not None:
            recorder.choose(path, [picked.name, picked.why, note])
        return picked


def plain(reply: Reply) -> Reply:
    """A reply as one that can be changed: a verdict's answer stays a part."""
    names = [field.name for field in fields(Reply)]
    return reply if type(reply) is Reply else Reply(**{name: getattr(reply, name) for name in names})


# ---- ways to choose ---------------------------------------------------------------------------------------------


class Best:
    """Always one model: the control that a router must beat."""

    def __init__(self, model: str) -> None:
        self._chosen = model

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        if self._chosen not in allowed:
            raise NoChoice(f"{self._chosen} may not be asked")
        return Chosen(self._chosen, "always")


class Mix:
    """A model at random, by weights: the other control. The seed of the call and the prompt decide, so that a run can
    be repeated.

    Args:
        weights: name -> weight; default: all alike.
        seed: where the call has none.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, seed: int = 0) -> None:
        given = list(weights.values()) if weights is not None else [1.0]
        if any(not w >= 0 for w in given) or not sum(given):
            raise InputError("random: weights must be at least 0, and not all of them 0.")
        self._weights, self._seed = weights, seed

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        weights = [1.0 if self._weights is None else self._weights.get(name, 0.0) for name in allowed]
        if not sum(weights):
            raise NoChoice("none of the models that may be asked has a weight")
        seed = settings.seed if settings.seed is not None else self._seed
        draw = random.Random(derive_seed(seed, "route", prompt))
        return Chosen(draw.choices(list(allowed), weights)[0], "at random")


class Rules:
    """The first rule whose predicate holds says which model.

    Args:
        rules: (predicate, its text, name of a model).
    """

    def __init__(self, rules: Sequence[tuple[Predicate, str, str]]) -> None:
        self._rules = tuple(rules)

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        for predicate, text, name in self._rules:
            if predicate(prompt):
                if name not in allowed:
                    raise NoChoice(f"the rule '{text}' says {name}, which may not be asked")
                return Chosen(name, text)
        return Chosen(router.otherwise, "no rule holds")


class Asked:
    """A model reads the cards of all and names one. Its reply is structured and read whole: '10' is not '1'.

    Args:
        model: who chooses.
        override: a template in place of the shipped one.
    """

    def __init__(self, model: Model, override: str | None = None) -> None:
        self.model = model
        self._frame = template("route", override, getattr(model, "prompts", None))

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        shown = cards.listed({name: router.cards[name] for name in allowed})
        text = self._frame.render(question=prompt, cards=shown, names=list(allowed))
        schema = {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "model": {"type": "string", "enum": list(allowed)}},
            "required": ["reason", "model"],
            "additionalProperties": False,
        }
        try:
            wanted = Settings(schema=schema, seed=settings.seed)
            reply = await calls.ask(self.model, [Message("user", text)], wanted, at=PROMPT)
        except (BudgetError, InputError):
            raise
        except ModelError as error:
            raise NoChoice(f"{self.model.name}, which chooses, failed: {calls.sentence(error)}") from error
        try:
            return Chosen(named(reply.text, allowed), f"named by {self.model.name}", reply)
        except NoChoice as error:
            raise NoChoice(error.message, reply) from None


def named(text: str, names: Sequence[str]) -> str:
    """The model that the last JSON object with a key 'model' names.

    Raises:
        NoChoice: if there is none, or it names none that may be asked.
    """
    said = [value for value in objects(text, "model") if isinstance(value, str)]
    found = said[-1] if said else ""
    if not found:
        raise NoChoice("the reply names no model")
    if found not in names:
        raise NoChoice(f"'{found[:40]}' is none of the models that may be asked")
    return found


class Expected:
    """By what a trained router expects: the highest score less lambda times the cost; or, where it has a threshold, the
    strong model where it wins with at least that probability.

    Args:
        learnt: from a router file or from training.
        weight: lambda in place of the file's.
        threshold: in place of the file's.
        names: name of a member -> name in the file, where they differ.

    Raises:
        InputError: if the file knows none of the models, or a threshold is for other than two.
    """

    def __init__(
        self,
        learnt: Learnt,
        names: Mapping[str, str],
        *,
        weight: float | None = None,
        threshold: float | None = None,
    ) -> None:
        self.learnt = learnt
        self._weight = learnt.weight if weight is None else weight
        given = learnt.threshold if weight is None and threshold is None else threshold
        if not 0 <= self._weight < float("inf"):
            raise InputError(f"route: lambda is at least 0, not {self._weight}.")
        self._columns = {name: learnt.models.index(there) for name, there in names.items() if there in learnt.models}
        if not self._columns:
            raise InputError(
                f"route: the router was trained for {', '.join(learnt.models[:6])}, which are not there.",
                hint="Train it on outcomes of these models, or name them alike.",
            )
        missing = [name for name in names if name not in self._columns]
        if missing:
            raise InputError(
                f"route: the router was not trained for '{missing[0][:60]}', so it would never be chosen.",
                hint=f"It knows {', '.join(learnt.models[:6])}.",
            )
        if given is not None and len(self._columns) != 2:
            raise InputError(f"route: a threshold is between two models, and there are {len(self._columns)}.",
                             hint="Use lambda.")  # fmt: skip
        self._threshold = given

    @property
    def unknown(self) -> bool:
        """Whether it knows too few of the models to choose among."""
        return len(self._columns) < 2

    async def choose(self, prompt: str, allowed: Sequence[str], router: Router, settings: Settings) -> Chosen:
        there = [name for name in allowed if name in self._columns]
        if not there:
            raise NoChoice("the router was not trained for any of the models that may be asked")
        try:
            vectors = await self.learnt.features.vectors([prompt])
        except ModelError as error:
            raise NoChoice(f"the prompt could not be embedded: {calls.sentence(error)}") from error
        try:
            scores = self.learnt.scorer.scores(vectors)
        except ValueError as error:
            raise NoChoice("the embeddings have another size than those it was trained on") from error
        if self._threshold is not None and len(there) == 2:
            weak, strong = sorted(there, key=lambda name: self.learnt.costs[self._columns[name]])
            win = float(win_probability(scores, self._columns[weak], self._columns[strong])[0])
            chosen = strong if win >= self._threshold else weak
            return Chosen(chosen, f"{strong} wins with {win:.2f}, against a threshold of {self._threshold:.2f}")
        columns = [self._columns[name] for name in there]
        costs = [self.learnt.costs[j] for j in columns]
        best = there[int(choose(scores[:, columns], np.asarray(costs), self._weight)[0])]
        j = self._columns[best]
        return Chosen(best, f"expects {float(scores[0, j]):.2f} for ${self.learnt.costs[j]:.6f}")
