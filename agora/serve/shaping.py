"""A served model as one request wants it: with its rounds, its limits, another protocol, or JSON for an answer."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from agora.answers import Json
from agora.budget import Budget
from agora.config import presets
from agora.errors import InputError, ModelError
from agora.model import Model, Settings
from agora.models.endpoint import held_to
from agora.serve.asked import Asked, Refused
from agora.serve.catalog import Served
from agora.text.debate import Debate


@dataclass(frozen=True)
class Shaped:
    """What answers a request.

    Attributes:
        model: it.
        settings: how to sample.
    """

    model: Model
    settings: Settings

    def seeded(self, choice: int) -> Settings:
        """The settings of one of several choices: each has a seed of its own."""
        debate = self.model if isinstance(self.model, Debate) else None
        seed = self.settings.seed if self.settings.seed is not None or debate is None else debate.seed
        return self.settings if not choice or seed is None else self.settings.seeded(seed + choice)


@dataclass(frozen=True)
class HeldJson:
    """Answers that are JSON and satisfy a schema; equal when equal as data."""

    schema: Mapping[str, Any]
    kind: str = "json"

    @property
    def instruction(self) -> str:
        """What asks for it."""
        return ("End with one JSON value and nothing after it. "
                f"It must satisfy this JSON Schema: {json.dumps(self.schema)}")  # fmt: skip

    def read(self, text: str) -> str | None:
        """The last JSON value of a text, if it satisfies the schema."""
        value = Json().read(text)
        try:
            return None if value is None else held_to(self.schema, value, "")
        except ModelError:
            return None


def shaped(served: Served, asked: Asked) -> Shaped:
    """A served model for a request.

    Raises:
        Refused: if it cannot be so.
    """
    model, settings = served.model, asked.settings
    if asked.preset is not None:
        model = _by_preset(served, asked.preset)
    if not isinstance(model, Debate):
        if asked.rounds is not None:
            raise Refused(f"agora.rounds: '{served.id}' is no debate.", param="agora.rounds")
        return Shaped(model, settings)
    if settings.logprobs is not None:
        raise Refused(f"'{served.id}' is a debate, whose answer has no log-probabilities.", code="unsupported_value",
                      param="logprobs")  # fmt: skip
    debate, changes = copy.copy(model), []
    if asked.rounds is not None:
        last = min(asked.rounds, model.moderator.last)
        debate.moderator = replace(model.moderator, limit=last)
        changes.append(f"moderator.limit={last}")
    if settings.schema is not None:
        debate.answer_type, settings = HeldJson(settings.schema), replace(settings, schema=None)
    debate.source = _source(model, asked, changes)
    return Shaped(debate, settings)


def _source(debate: Debate, asked: Asked, changes: list[str]) -> Mapping[str, Any] | None:
    """What the journal builds the debate from again; None where a file cannot say all that the request does."""
    pinned = asked.settings.pinned
    seed = pinned.pop("seed", None)
    if debate.source is None or pinned or asked.preset is not None:
        return None
    changes = changes if seed is None else [*changes, f"seed={seed}"]
    for limit in fields(Budget):
        own, given = getattr(debate.budget, limit.name), getattr(asked.budget, limit.name)
        if given is not None:
            changes = [*changes, f"budget.{limit.name}={given if own is None else min(own, given)}"]
    return {**debate.source, "settings": [*debate.source["settings"], *changes]}


def _by_preset(served: Served, preset: str) -> Debate:
    """A preset's debate among the models of a served one: its agents, where the preset's have no parts of their own."""
    debate, name = served.debate, [f"name={json.dumps(served.id)}"]
    try:
        base = presets.data(preset)
        places = list(base.get("models") or {})
        if debate is None:
            made = Debate.preset(preset, models=dict.fromkeys(places, served.model), answer="text", settings=name)
        elif presets.roles(base):
            models = list({id(agent.model): agent.model for agent in debate.agents}.values())
            given = {place: models[i % len(models)] for i, place in enumerate(places)}
            made = Debate.preset(preset, models=given, answer=debate.answer_type, budget=debate.budget, settings=name)
        else:
            made = Debate.preset(preset, debate.agents, answer=debate.answer_type, budget=debate.budget, settings=name)
    except InputError as error:
        raise Refused(str(error), code="invalid_value", param="agora.preset") from None
    return made
