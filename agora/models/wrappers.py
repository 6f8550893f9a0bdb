"""Models around models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agora.model import Model, Settings
from agora.records import Message, Reply


class WithSettings:
    """A model with some settings pinned; everything else is the model's own."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """The model's answer, under the pinned settings."""
        return await self._model.answer(messages, self._settings.over(settings))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def with_settings(model: Model, settings: Settings) -> Model:
    """The model itself if nothing is pinned."""
    return model if settings == Settings() else WithSettings(model, settings)
