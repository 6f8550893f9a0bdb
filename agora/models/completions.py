"""Text completions: a server's `/completions`, which can go on with an answer that was begun."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from agora.budget import priced
from agora.errors import FilterError, InputError, MalformedError, ModelError
from agora.model import Settings
from agora.models import endpoint
from agora.models.limits import Limiter
from agora.models.openai import OpenAIModel
from agora.records import Message, Reply, Token, Usage

MAX_TOKENS = 1024  # where nothing else is said: servers' own default is 16
_MARK = "{content}"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a conversation is written as one text. `{content}` stands for what is said.

    Attributes:
        system: a system message.
        user: a user's message.
        assistant: an earlier message of the assistant.
        begin: what stands before the answer.
        stop: texts that end an answer.

    Raises:
        InputError: if a message would be written without what is said.
    """

    system: str
    user: str
    assistant: str
    begin: str
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("system", "user", "assistant"):
            if getattr(self, name).count(_MARK) != 1:
                raise InputError(f"chat: {name} needs {_MARK} once, for what is said.")

    def prompt(self, messages: Sequence[Message], answer: str = "") -> str:
        """The text of a conversation, up to where the answer goes on.

        Args:
            messages: what has been said.
            answer: what there is of the answer.
        """
        turns = []
        for message in messages:
            before, _, after = str(getattr(self, message.role)).partition(_MARK)
            turns.append(f"{before}{_spelt(message.content)}{after}")
        return "".join(turns) + self.begin + _spelt(answer)


def _spelt(text: str) -> str:
    """A text in which nothing reads as a mark between messages: `<|im_end|>` and the like, which servers obey."""
    return endpoint.clean(text).replace("<|", "< |")


def _marked(turn: str, begin: str, stop: str) -> ChatFormat:
    """A format whose messages differ by the name of who speaks alone."""
    system, user, assistant = (turn.replace("ROLE", role) for role in ("system", "user", "assistant"))
    return ChatFormat(system, user, assistant, begin, (stop,))


FORMATS: Mapping[str, ChatFormat] = {
    "plain": ChatFormat(
        "{content}\n\n", "User: {content}\n\n", "Assistant:\n{content}\n\n", "Assistant:\n", ("\n\nUser:",)
    ),
    "chatml": _marked(
        "<|im_start|>ROLE\n{content}<|im_end|>\n",
        "<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "llama3": _marked(
        "<|start_header_id|>ROLE<|end_header_id|>\n\n{content}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
}


def chat_format(value: str | Mapping[str, Any] | ChatFormat) -> ChatFormat:
    """A format by its name ('plain', 'chatml', 'llama3') or its parts.

    Raises:
        InputError: if there is none of this name, or a part is missing or unknown.
    """
    if isinstance(value, ChatFormat):
        return value
    if isinstance(value, str):
        if value not in FORMATS:
            raise InputError(f"chat: there is no format '{value[:40]}'; there are {', '.join(FORMATS)}.")
        return FORMATS[value]
    known = {"system", "user", "assistant", "begin", "stop"}
    if set(value) - known or known - {"stop"} - set(value):
        raise InputError("chat: a format has system, user, assistant and begin, and may have stop.")
    stop = value.get("stop", ())
    parts = [value[name] for name in ("system", "user", "assistant", "begin")]
    if isinstance(stop, str) or not all(isinstance(part, str) for part in (*parts, *stop)):
        raise InputError("chat: system, user, assistant and begin are texts, and stop is a list of texts.")
    return ChatFormat(parts[0], parts[1], parts[2], parts[3], tuple(stop))


class CompletionsModel(OpenAIModel):
    """A model behind a completions endpoint (vLLM, llama.cpp, ...): one request a call, no retries.

    A conversation whose last message is the assistant's is gone on with: the reply is what follows, as it is written,
    and may be empty where the model ends there.

    Args:
        model: the server's name for it.
        api_key: the key; local servers take any.
        base_url: where the server is; None is OpenAI, or OPENAI_BASE_URL in the environment.
        chat: how a conversation is written: 'plain', 'chatml', 'llama3', or a format's parts.
        price: what a usage costs in USD; default: as listed by `genai-prices`.
        extra: passed through in the request.
        limiter: is told the server's rate-limit headers.
        client: an `AsyncOpenAI` to use instead of a shared one.

    Raises:
        InputError: if the format, the key or the address is none.
    """

    continues = True

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str | None = None,
        chat: str | Mapping[str, Any] | ChatFormat = "plain",
        price: Callable[[Usage], float | None] | None = None,
        extra: Mapping[str, Any] | None = None,
        limiter: Limiter | None = None,
        client: Any = None,
    ) -> None:
        super().__init__(
            model, api_key=api_key, base_url=base_url, price=price, extra=extra, limiter=limiter, client=client
        )
        self.format = chat_format(chat)
        self.name = f"completions:{model}"
        self.base_url = self._url
        self.identity = f"{self.name} {self._url} {sorted(self._extra.items())} {asdict(self.format)}"

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        """Answer a conversation, or go on with its last message.

        Raises:
            ModelError: translated from the SDK's errors.
        """
        reply = await super().answer(messages, settings)
        if messages and messages[-1].role == "assistant":
            return reply
        try:
            text = endpoint.usable(reply.text.strip(), model=self.name, key=self._key, finish=reply.finish)
            if settings.schema is not None:
                text = endpoint.held_to(settings.schema, text, self.name)
        except ModelError as error:
            error.usage = reply.usage
            raise
        return replace(reply, text=text)

    def _body(self, messages: Sequence[Message], settings: Settings) -> dict[str, Any]:
        said, answer = list(messages), ""
        if said and said[-1].role == "assistant":
            answer = said.pop().content
        if settings.schema is not None:
            said = endpoint.asking_for(settings.schema, said)
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": self.format.prompt(said, answer),
            "max_tokens": MAX_TOKENS if settings.max_tokens is None else settings.max_tokens,
            "echo": False,
        }
        for name in ("temperature", "top_p", "top_k", "min_p", "logprobs"):
            if (value := getattr(settings, name)) is not None:
                body[name] = value
        if settings.seed is not None and self._seeded:
            body["seed"] = settings.seed
        if stop := [*(settings.stop or ()), *self.format.stop]:
            body["stop"] = stop[:4]  # OpenAI takes no more
        return {**body, **self._extra}

    async def _posted(self, client: Any, body: dict[str, Any]) -> Any:
        return await endpoint.posted(client, "/completions", body, model=self.name, limiter=self._limiter)

    async def _streamed(self, client: Any, body: dict[str, Any], tell: Callable[[str], None]) -> Any:
        """As `_posted`, but piece by piece."""
        from openai import AsyncStream
        from openai.types import Completion

        stream = await client.post(
            "/completions",
            cast_to=Completion,
            body={**body, "stream": True, "stream_options": {"include_usage": True}},
            stream=True,
            stream_cls=AsyncStream[Completion],
        )
        text: list[str] = []
        tokens: list[Token] = []
        finish, usage, size = None, None, 0
        async with stream:
            async for chunk in stream:
                data = chunk.to_dict()
                usage = data.get("usage") or usage
                for choice in data.get("choices") or ():
                    if piece := choice.get("text"):
                        text.append(piece)
                        size += len(piece)
                        tell(piece)
                    tokens += _tokens(choice.get("logprobs"), self._key)
                    finish = choice.get("finish_reason") or finish
                if size > endpoint.MAX_REPLY:
                    break
        if finish is None and size <= endpoint.MAX_REPLY:
            raise MalformedError("the stream ended before the reply was whole.", model=self.name)
        return {"choices": [{"text": "".join(text), "finish_reason": finish, "tokens": tokens}], "usage": usage}

    def _reply(self, done: Any, settings: Settings, seconds: float) -> Reply:
        try:
            choice = done["choices"][0]
            text, finish = choice["text"], choice.get("finish_reason")
            if finish == "content_filter":
                raise FilterError("a content filter withheld the reply.", model=self.name)
            usage = self._usage(done.get("usage"), seconds)
            tokens = tuple(choice["tokens"] if "tokens" in choice else _tokens(choice.get("logprobs"), self._key))
            if not isinstance(text, str):
                raise TypeError("no text")
        except ModelError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            said = done.get("error") if isinstance(done, dict) else None
            shown = f": {endpoint.hide(str(said), self._key)[:200]}" if said else ""
            raise MalformedError(f"a reply without a text{shown}.", model=self.name) from error
        if text.strip():  # an empty one may be where the model ends
            text = endpoint.usable(text, model=self.name, key=self._key, finish=finish)
        return Reply(
            text,
            model=self.name,
            usage=priced(usage, self.cost) if usage.tokens else usage,
            logprob=sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
            finish=str(finish) if finish else None,
            tokens=tokens,
        )


def _tokens(data: Any, key: str) -> list[Token]:
    """Tokens as OpenAI and vLLM write them, or as llama.cpp does: like those of chat completions.

    Raises:
        ValueError: if a log-probability is NaN.
    """
    if not data:
        return []
    if data.get("content") is not None:
        rows = [
            (t["token"], t["logprob"], [(o["token"], o["logprob"]) for o in t.get("top_logprobs") or ()])
            for t in data["content"]
        ]
    else:
        texts, logprobs = data.get("tokens") or (), data.get("token_logprobs") or ()
        tops = data.get("top_logprobs") or [None] * len(texts)
        rows = [
            (text, logprob, list((top or {}).items())) for text, logprob, top in zip(texts, logprobs, tops, strict=True)
        ]

    def shown(text: str) -> str:
        return endpoint.hide(endpoint.clean(str(text)), key)

    found = []
    for text, logprob, top in rows:
        others = sorted(((shown(t), float(p)) for t, p in top), key=lambda pair: -pair[1])
        if any(math.isnan(p) for p in (float(logprob), *(p for _, p in others))):
            raise ValueError("a log-probability is NaN")
        found.append(Token(shown(text), float(logprob), tuple(others)))
    return found
