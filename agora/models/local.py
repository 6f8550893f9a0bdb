"""What models in this process share: an answer is decoded together with whatever else is asked of the model."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agora.model import Prompt, Settings
from agora.models import endpoint
from agora.records import Message, Reply, Usage

if TYPE_CHECKING:
    from agora.model import TokenSession
    from agora.models.batching import Decoder, Job

LIMIT = 1024  # tokens of an answer where nothing else is said
_lock = threading.Lock()


class LocalModel(ABC):
    """A `TokenModel` in this process that answers by itself. What is asked of it at one time is decoded together.

    Attributes:
        limit: tokens of an answer where the settings do not say.
        forwards: forward passes that a token takes: of an ensemble, those of all its members.
        certain: the probability of a whole answer may be taken for its confidence, as of models that were trained so.
        fixed_prompts: it understands its own prompts alone, so that a schema cannot be asked for in words.
        context: most tokens of a sequence, its prompt included; None where there is no such limit.
    """

    limit = LIMIT
    forwards = 1
    certain = False
    fixed_prompts = False
    context: int | None = None
    ends: tuple[str, ...] = ()
    _decoder: Decoder | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What users call it."""

    @property
    @abstractmethod
    def vocabulary(self) -> Sequence[str]:
        """The text of each token id."""

    @property
    @abstractmethod
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""

    @abstractmethod
    def encode(self, messages: Sequence[Message]) -> Prompt:
        """The prompt of a conversation."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""

    @abstractmethod
    def session(self) -> TokenSession:
        """A new, empty batch of sequences."""

    def cost(self, usage: Usage) -> float:
        """Nothing."""
        return 0.0

    @property
    def decoder(self) -> Decoder:
        """What decodes its answers; models of the same weights share one."""
        with _lock:
            if self._decoder is None:
                from agora.models.batching import Decoder  # late: numpy

                self._decoder = Decoder(self)
            return self._decoder

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Answer a conversation, greedily unless the settings have a temperature.

        A schema is asked for in words, and the answer held to it.

        Raises:
            ContextError: if the conversation does not fit into the context.
            MalformedError: if the model gives NaN, or nothing.
            ModelError: if it cannot.
        """
        from agora.models.batching import Job  # late: numpy

        schema = None if self.fixed_prompts else settings.schema
        said = list(messages) if schema is None else endpoint.asking_for(schema, messages)
        if self.ends:
            settings = replace(settings, stop=(*(settings.stop or ()), *self.ends))
        job = Job(said, settings, self.limit, tell=endpoint.follow(""))
        await self.decoder.decode(job)
        if job.tell is not None:
            job.tell("")
        return self._reply(job, schema)

    def _reply(self, job: Job, schema: Mapping[str, Any] | None) -> Reply:
        written = len(job.tokens)
        cut = job.finish == "stop" and bool(job.settings.stop)
        text = job.text if cut else self.decode(job.tokens)
        text = endpoint.usable(text.strip(), model=self.name, key="", finish=job.finish)
        if schema is not None:
            text = endpoint.held_to(schema, text, self.name)
        n = len(job.logprobs)
        confidence = None
        if self.certain:
            confidence = math.exp(min(0.0, sum(job.logprobs))) if job.finish == "stop" else 0.0
        return Reply(
            text,
            model=self.name,
            usage=Usage(1, len(job.prompt), written * self.forwards),
            logprob=sum(job.logprobs) / n if n else None,
            confidence=confidence,
            finish=job.finish,
            tokens=tuple(token for token in job.report if token.text),
        )
