"""What the adapters of hosted models share: how one call goes, and what it took where it cannot be used."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from agora.budget import priced
from agora.errors import ModelError
from agora.model import Settings
from agora.models import endpoint
from agora.records import Message, Reply, Usage


class HostedModel(ABC):
    """A model behind a vendor's SDK: one request a call, no retries (see `agora.models.wrappers`)."""

    name: str
    cost: Callable[[Usage], float | None]
    _key: str

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Answer a conversation.

        Raises:
            ModelError: translated from the SDK's errors.
        """
        tell = endpoint.follow(self._key)
        try:
            client = await self._client()
            body, begun = self._body(messages, settings), time.perf_counter()
            done = await self._send(client, body, tell)
            seconds = time.perf_counter() - begun
            try:
                return self._reply(done, settings, seconds)
            except ModelError as error:
                error.usage = self._spent(done, seconds)
                raise
        except ModelError:
            raise
        except Exception as error:
            raise endpoint.translate(error, self.name, self._key) from endpoint.cause(error, self._key)

    async def _send(self, client: Any, body: dict[str, Any], tell: Callable[[str], None] | None) -> Any:
        if tell is None:
            return await self._posted(client, body)
        done = await self._streamed(client, body, tell)
        tell("")
        return done

    def _spent(self, done: Any, seconds: float) -> Usage | None:
        """What a reply that cannot be used took: it is paid for all the same."""
        try:
            usage = self._usage(done["usage"], seconds)
        except (KeyError, TypeError, AttributeError, ValueError):
            return None
        return priced(usage, self.cost) if usage.tokens else None

    @abstractmethod
    async def _client(self) -> Any:
        """The SDK's client."""

    @abstractmethod
    def _body(self, messages: Sequence[Message], settings: Settings) -> dict[str, Any]:
        """The request."""

    @abstractmethod
    async def _posted(self, client: Any, body: dict[str, Any]) -> Any:
        """The server's reply to a request, as JSON."""

    @abstractmethod
    async def _streamed(self, client: Any, body: dict[str, Any], tell: Callable[[str], None]) -> Any:
        """As `_posted`, but told piece by piece."""

    @abstractmethod
    def _reply(self, done: Any, settings: Settings, seconds: float) -> Reply:
        """What the server's reply says."""

    @staticmethod
    @abstractmethod
    def _usage(data: Any, seconds: float) -> Usage:
        """What the server says that a reply took."""
