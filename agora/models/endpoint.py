"""What the adapters of hosted models share: clients, errors, and how a reply's text is made safe."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread

from agora import calls
from agora.errors import (
    AuthError,
    ContextError,
    FilterError,
    InputError,
    MalformedError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
    RateLimitError,
    RequestError,
    ServerError,
)
from agora.models import schemas
from agora.models.limits import Limiter, until
from agora.records import Message

MAX_REPLY = 1_000_000  # characters
CONNECT = 15.0  # seconds to reach a server; how long it may take to answer is for `Timeout`
Effort = Literal["none", "minimal", "low", "medium", "high"]

# ---- clients ----------------------------------------------------------------------------------------------------

_clients: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


async def client(sdk: str, key: tuple[Any, ...], make: Callable[[Any, Any], Any]) -> Any:
    """An SDK's client, one for each endpoint and event loop, over one pool of connections.

    Args:
        sdk: its package; imported off the event loop, which is slow the first time.
        key: of the endpoint.
        make: makes the client of the SDK's module and an HTTP client.
    """
    loop, on_asyncio = _loop()
    made = _clients.setdefault(loop, {})
    if (sdk, key) in made:
        return made[sdk, key]
    async with made.setdefault("lock", anyio.Lock()):  # a hundred first calls at once make one client
        if (sdk, key) not in made:
            module = await anyio.to_thread.run_sync(import_module, sdk)
            if "http" not in made:
                made["http"] = http = await anyio.to_thread.run_sync(_http, on_asyncio)
                made["keeper"] = keeper = _keeper(http)
                await keeper.__anext__()
            made[sdk, key] = make(module, made["http"])
    return made[sdk, key]


def _loop() -> tuple[Any, bool]:
    """The event loop here, and whether it is asyncio's."""
    try:
        return asyncio.get_running_loop(), True
    except RuntimeError:
        return anyio.lowlevel.current_token().native_token, False


async def posted(client: Any, path: str, body: Mapping[str, Any], *, model: str, limiter: Limiter | None) -> Any:
    """The JSON of a reply to one request, by the SDK's raw call: its typed methods spend most of their time turning the
    request into itself.

    Args:
        client: an SDK's.
        path: of the method.
        body: the request.
        model: the model's name.
        limiter: is told the server's rate-limit headers.

    Raises:
        MalformedError: if the reply is no JSON.
    """
    import httpx2

    response = await client.post(path, cast_to=httpx2.Response, body=body)
    if limiter is not None:
        limiter.learn(limiter.rate(model), response.headers.raw)
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        raise MalformedError("a reply that is not JSON.", model=model) from None


def quiet(sdk: Any) -> dict[str, Any]:
    """Default headers that leave out what the SDKs tell of this machine: no server needs it."""
    told = (
        "Lang",
        "Package-Version",
        "OS",
        "Arch",
        "Runtime",
        "Runtime-Version",
        "Async",
        "Retry-Count",
        "Read-Timeout",
    )
    return {f"X-Stainless-{name}": sdk.Omit() for name in told}


def _http(on_asyncio: bool) -> Any:
    import httpx2
    import openai

    options: dict[str, Any] = {
        "timeout": httpx2.Timeout(None, connect=CONNECT),
        # a debate's rounds are seconds apart, and hundreds may run at once: connections are kept
        "limits": httpx2.Limits(max_connections=10_000, max_keepalive_connections=10_000, keepalive_expiry=60.0),
    }
    return openai.DefaultAioHttpClient(**options) if on_asyncio else httpx2.AsyncClient(**options)


async def _keeper(http: Any) -> AsyncGenerator[None, None]:
    """Closes the connections when the event loop ends: loops finish their generators."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await http.aclose()


def check_url(url: str) -> str:
    """A server's address.

    Raises:
        InputError: if it is none, or holds a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"base_url: '{url[:80]}' is no address such as http://localhost:11434/v1.")
    if parts.username or parts.password:
        raise InputError("base_url: must not hold a name or password.", hint="Put the key into the environment.")
    return url


def check_key(key: str) -> str:
    """A key that can be sent.

    Raises:
        InputError: if a header cannot hold it.
    """
    if not key.isascii() or not key.isprintable():
        raise InputError("the key holds a character that no key has.", hint="Copy it again.")
    return key


# ---- errors -----------------------------------------------------------------------------------------------------


def translate(error: Exception, model: str, key: str) -> ModelError:
    """A vendor's error as one of ours; both SDKs name theirs alike. The key is struck out of what it says."""
    status, body = getattr(error, "status_code", None), getattr(error, "body", None)
    if not isinstance(status, int) and (type(error).__name__ != "APIError" or not body):
        return _without_status(error, model, key)
    detail: Any = body.get("error", body) if isinstance(body, dict) else body
    told = detail if isinstance(detail, dict) else {"message": detail}
    if not isinstance(status, int) or status < 400:
        status = _status_under_way(told)
    code = f"{told.get('code') or ''} {told.get('type') or ''} {told.get('param') or ''}".casefold()
    text = told.get("message") or told.get("detail") or getattr(error, "message", error)
    said = hide(" ".join(str(text).split()), key)
    low, said = f"{code} {said}".casefold(), said[:300]
    made: ModelError
    if "insufficient_quota" in low or status == 402 or "credit balance" in low:
        made = AuthError(f"the account has no credit left ({status}): {said}", hint="Add credit with the vendor.")
    elif status == 429 and "request too large" in low:  # it would be so for ever
        made = ContextError(
            f"the request is larger than the account's limit: {said}", hint="Use fewer peers or rounds."
        )
    elif status == 429:
        made = RateLimitError("too many requests (429).", retry_after=retry_after(error))
    elif status >= 500 or status in (408, 409, 425):
        made = ServerError(f"the server failed ({status}): {said}", retry_after=retry_after(error))
    elif any(words in low for words in ("content_filter", "content filter", "content_policy", "was flagged")):
        made = FilterError("a content filter rejects the request.", hint="Rephrase the question.")
    elif status in (401, 403):
        made = AuthError(f"the server refuses the key ({status}): {said}", hint="Check the key and what it may do.")
    elif status == 413 or any(words in low for words in _TOO_LONG):
        made = ContextError(
            f"the prompt is longer than the model's context: {said}",
            hint="Use fewer peers or rounds, or show peers' answers only (view: {text: answer}).",
        )
    elif status == 404:
        made = RequestError(f"the server has no such model or address (404): {said}", hint="`agora models` lists some.")
    else:
        made = RequestError(f"the server rejects the request ({status}): {said}", hint="See the model's options.")
    made.model = model
    return made


_TOO_LONG = (
    "context_length",
    "context length",
    "context window",
    "context size",
    "context limit",
    "maximum context",
    "too long",
)
_TYPES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
}


def _status_under_way(told: Mapping[str, Any]) -> int:
    """The status of an error that is told in the middle of a stream, where the response's own was 200."""
    code = told.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return _TYPES.get(str(told.get("type")), _TYPES.get(str(code), 500))


def cause(error: Exception, key: str) -> Exception | None:
    """What an error of ours may be raised from: the vendor's, unless a traceback would show the key with it."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen and len(seen) < 20:
        seen.append(link)
        link = link.__cause__ or link.__context__
    shown = " ".join(f"{link} {getattr(link, 'body', '')}" for link in seen)
    return None if hide(shown, key) != shown else error


def _without_status(error: Exception, model: str, key: str) -> ModelError:
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < 8:
        names.append(type(cause).__name__)
        cause = cause.__cause__
    said = hide(" ".join(str(error).split()), key)[:200]
    if any(name in ("ReadTimeout", "WriteTimeout", "PoolTimeout", "SocketTimeoutError") for name in names):
        return ModelTimeoutError("no reply in time.", model=model)
    if any(
        "Disconnected" in name or name in ("ReadError", "RemoteProtocolError", "ClientPayloadError") for name in names
    ):
        return ModelConnectionError("the connection broke before the reply was whole.", model=model)
    if any("Timeout" in name or "Connect" in name for name in names):
        return ModelConnectionError("the server cannot be reached.", model=model, hint="Is it running?")
    if any(name in ("APIError", "JSONDecodeError", "APIResponseValidationError") for name in names):
        return MalformedError(f"a reply that cannot be read: {said}", model=model)
    return MalformedError(f"a reply that cannot be read: {names[0]}: {said}", model=model)


def retry_after(error: Exception) -> float | None:
    """The wait a server asks for, in seconds: `retry-after-ms`, or `Retry-After` as seconds or as a date."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        seconds = float(headers["retry-after-ms"]) / 1000
        if 0 <= seconds < math.inf:
            return seconds
    except (KeyError, ValueError):
        pass
    text = headers.get("retry-after")
    return until(text) if text else None


def hide(text: str, key: str) -> str:
    """A text without the key."""
    return text.replace(key, "***") if len(key) > 5 else text


# ---- texts ------------------------------------------------------------------------------------------------------

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """A text that can be encoded: lone surrogates, which JSON can smuggle in, are replaced."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split_reasoning(text: str) -> tuple[str, str | None]:
    """A text without the reasoning that open models write before it in `<think>` tags, and that reasoning."""
    head, mark, rest = text.partition("</think>")
    if text.lstrip().startswith("<think>"):
        thought = (head if mark else text).lstrip().removeprefix("<think>").strip()
        return rest.strip() if mark else "", thought or None
    # some chat templates open the tag in the prompt, so that only its end is in the reply
    if mark and rest.strip() and "<think>" not in head and "\n" in head + rest[:2]:
        return rest.strip(), head.strip() or None
    return text, None


def usable(text: Any, *, model: str, key: str, finish: str | None, thought: bool = False) -> str:
    """The text of a reply, safe to hand on.

    Raises:
        MalformedError: if there is none.
        RequestError: if all of `max_tokens` went into reasoning.
    """
    if not isinstance(text, str) or not text.strip():
        if finish == "length":
            raise RequestError(
                f"max_tokens was reached {'while it was still reasoning' if thought else 'before any text'}.",
                model=model,
                hint="Raise max_tokens, or lower the reasoning effort.",
            )
        raise MalformedError("an empty reply.", model=model)
    if len(text) > MAX_REPLY:
        error = MalformedError(f"a reply of {len(text):,} characters; at most {MAX_REPLY:,} are taken.", model=model,
                               hint="Set max_tokens.")  # fmt: skip
        error.retryable = False  # it would be paid for again
        raise error
    return hide(clean(text), key)


def follow(key: str) -> Callable[[str], None] | None:
    """Where to send pieces of text while they are written, if anybody wants them; an empty one says that no more come.

    An end that may be the beginning of the key is held back until the next piece shows that it is not.
    """
    here = calls.current()
    if not here.stream or here.listen is None:
        return None
    listen, first, held = here.listen, True, ""

    def tell(text: str) -> None:
        nonlocal first, held
        ready = hide(held + text, key)
        longest = min(len(ready), len(key) - 1) if text and len(key) > 5 else 0
        keep = next((n for n in range(longest, 0, -1) if ready.endswith(key[:n])), 0)
        ready, held = ready[: len(ready) - keep], ready[len(ready) - keep :]
        if ready:
            listen(calls.Delta(clean(ready), first))
            first = False

    return tell


# ---- structured output ------------------------------------------------------------------------------------------


def asking_for(schema: Mapping[str, Any], messages: Sequence[Message]) -> list[Message]:
    """A conversation whose last message asks for a schema in words, too."""
    said = list(messages)
    if said:
        said[-1] = replace(said[-1], content=f"{said[-1].content}\n\n{schema_instruction(schema)}")
    return said


def schema_instruction(schema: Mapping[str, Any]) -> str:
    """What asks for a schema in words, for servers that cannot hold a model to it."""
    return f"Reply with one JSON value and nothing else. It must satisfy this JSON Schema: {json.dumps(schema)}"


def held_to(schema: Mapping[str, Any], text: str, model: str) -> str:
    """The JSON of a reply that must satisfy a schema.

    Raises:
        MalformedError: if it does not.
        RequestError: if the schema is none that it can be held to: asking again would not help.
    """
    stripped = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    for candidate in (stripped, stripped[stripped.find("{") : stripped.rfind("}") + 1]):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if (unmet := schemas.unmet(schema, value, len(candidate), model)) is not None:
            raise MalformedError(f"its JSON does not satisfy the schema: {unmet}", model=model)
        return candidate
    raise MalformedError("its reply is not the JSON that was asked for.", model=model)
