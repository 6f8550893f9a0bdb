"""A fake chat-completions, completions and messages server whose every reply, delay and fault can be reproduced.

python tests/fake_server.py [--port 0] [--log FILE] [--latency MEDIAN,SIGMA] [--faults JSON] [--seed N] [--stdin]

Faults are a kind -> its probability, drawn anew for each request:

    429    too many requests; Retry-After is one second, as a number or as a date, sometimes with retry-after-ms: 50
    500    the server failed
    cut    200, then the connection closes before the body is whole; every other stream ends as if whole, but undone
    stall  headers, then nothing for a minute or until the client leaves
    json   200 with broken JSON
    empty  200 with {}
    echo   401 whose message repeats the client's key
    close  the connection closes without a reply

POST /control takes latency ([median, sigma] or null), faults, seed, refuse_seconds, refuse_mode ("503" or "429"), and
rpm and burst (a token bucket; burst is what it holds when full, a second's worth unless said). GET /stats counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import http.client
import json
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

KINDS = ("429", "500", "cut", "stall", "json", "empty", "echo", "close")
STALL = 60.0
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 411: "Length Required",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip
_compact = json.JSONEncoder(separators=(",", ":")).encode
_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


# ---- what is replied ------------------------------------------------------------------------------------------------


def request_hash(body: Mapping[str, Any]) -> str:
    """The digest that decides the reply: of the model, the conversation and the seed."""
    said = [body.get("model"), body.get("system"), body.get("messages"), body.get("seed")]
    return hashlib.sha256(_sorted(said).encode()).hexdigest()


def reply_text(body: Mapping[str, Any], digest: str) -> str:
    """What the model says to a request of this digest."""
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        return _compact(_satisfy(form["json_schema"].get("schema", {})))
    return f"Because of {digest[:8]}. Answer: {int(digest[8:16], 16) % 5}"


def begun(body: dict[str, Any]) -> None:
    """Read a request for a text completion as one of a chat: what follows the last 'Assistant:' is what is begun."""
    head, _, text = body["prompt"].rpartition("Assistant:\n")
    body["messages"] = [{"role": "user", "content": head}]
    body["begun"], body["seed"] = text if head else "", None  # however it is cut into steps, it is one text


def rest(body: Mapping[str, Any], text: str) -> tuple[list[str], bool]:
    """The words that go on with what is begun, at most `max_tokens`, and whether they are the last. Where what is begun
    is not how the text begins, it goes on behind as many words."""
    said = body["begun"]
    left = text[len(said) :] if text.startswith(said) else "".join(_pieces(text)[len(said.split()) :])
    words = re.findall(r"\s*\S+", left)
    most = body.get("max_tokens", 16)
    return words[:most], len(words) < most


def sure(word: str) -> float:
    """How likely a word is: 0.3 or 0.9."""
    return 0.3 if hashlib.sha256(word.strip().encode()).digest()[0] % 4 == 0 else 0.9


def characters(body: Mapping[str, Any]) -> int:
    """How many characters of prompt a request holds."""
    system = body.get("system")
    return sum(_length(message.get("content")) for message in body["messages"]) + _length(system)


def _length(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(part.get("text") or "") for part in content or ())


def _satisfy(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    root = schema if root is None else root
    if "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _satisfy(found, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for joined in ("anyOf", "oneOf"):
        if joined in schema:
            return _satisfy(schema[joined][0], root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _satisfy(inner, root) for name, inner in schema.get("properties", {}).items()}
    return {"string": "x", "boolean": True, "integer": 1, "number": 1, "array": [], "null": None}[kind]


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _logprobs(pieces: Sequence[str], top: int) -> dict[str, Any]:
    def token(text: str, p: float) -> dict[str, Any]:
        return {"token": text, "logprob": math.log(p), "bytes": list(text.encode())}

    content = []
    for piece in pieces:
        others = [token(f"{piece}{i}", 0.3 * 0.5**i) for i in range(1, top)]
        content.append({**token(piece, 0.7), "top_logprobs": [token(piece, 0.7), *others][:top]})
    return {"content": content, "refusal": None}


def _old_logprobs(words: Sequence[str], top: int) -> dict[str, Any]:
    """Log-probabilities as the completions endpoint writes them."""
    return {
        "tokens": list(words),
        "token_logprobs": [math.log(sure(word)) for word in words],
        "top_logprobs": [
            {word: math.log(sure(word)), **{f"{word}{i}": math.log(0.09 * 0.5**i) for i in range(1, top)}}
            for word in words
        ]
        if top
        else None,
        "text_offset": [0] * len(words),
    }


def _usage(vendor: str, read: int, written: int) -> dict[str, Any]:
    if vendor == "anthropic":
        cache = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
        return {"input_tokens": read, "output_tokens": written, **cache}
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _whole(vendor: str, body: Mapping[str, Any], text: str, name: str, usage: dict[str, Any]) -> dict[str, Any]:
    if vendor == "anthropic":
        return {
            "id": f"msg_{name}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
    if vendor == "completions":
        words, last = rest(body, text)
        logprobs = _old_logprobs(words, body["logprobs"]) if body.get("logprobs") is not None else None
        finish = "stop" if last else "length"
        choice = {"index": 0, "text": "".join(words), "logprobs": logprobs, "finish_reason": finish}
        usage = {**usage, "completion_tokens": len(words), "total_tokens": usage["prompt_tokens"] + len(words)}
        return {"id": f"cmpl-{name}", "object": "text_completion", "created": int(time.time()),
                "model": body.get("model"), "choices": [choice], "usage": usage}  # fmt: skip
    logprobs = _logprobs(_pieces(text), body.get("top_logprobs") or 0) if body.get("logprobs") else None
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}],
        "usage": usage,
    }


def _events(vendor: str, body: Mapping[str, Any], text: str, name: str, usage: dict[str, Any]) -> list[bytes]:
    """The same reply as server-sent events, one a piece of text."""
    if vendor == "anthropic":
        head = {**_whole(vendor, body, text, name, usage), "content": [], "stop_reason": None}
        head["usage"] = {**usage, "output_tokens": 1}
        parts: list[dict[str, Any]] = [
            {"type": "message_start", "message": head},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
                for piece in _pieces(text)
            ),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": usage["output_tokens"]},
            },
            {"type": "message_stop"},
        ]
        return [f"event: {part['type']}\ndata: {_compact(part)}\n\n".encode() for part in parts]
    if vendor == "completions":
        whole = _whole(vendor, body, text, name, usage)
        (choice,) = whole["choices"]
        bare = {**choice, "logprobs": None, "finish_reason": None}
        parts = [{**whole, "usage": None, "choices": [{**bare, "text": word}]} for word in rest(body, text)[0]]
        parts.append({**whole, "choices": [{**choice, "text": ""}]})
        return [f"data: {_compact(part)}\n\n".encode() for part in parts] + [b"data: [DONE]\n\n"]
    base = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.get("model"),
    }
    top = (body.get("top_logprobs") or 0) if body.get("logprobs") else None

    def chunk(delta: dict[str, Any], done: str | None = None) -> dict[str, Any]:
        said = _logprobs([delta["content"]], top) if top is not None and delta.get("content") else None
        return {**base, "choices": [{"index": 0, "delta": delta, "logprobs": said, "finish_reason": done}]}

    parts = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in _pieces(text)),
        chunk({}, "stop"),
    ]
    if (body.get("stream_options") or {}).get("include_usage"):
        parts = [{**part, "usage": None} for part in parts]
        parts.append({**base, "choices": [], "usage": usage})
    return [f"data: {_compact(part)}\n\n".encode() for part in parts] + [b"data: [DONE]\n\n"]


def _error(vendor: str, kind: str, message: str, code: str | None = None) -> dict[str, Any]:
    if vendor == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


# ---- the server -----------------------------------------------------------------------------------------------------


class FakeServer:
    """The state of the server, and what it does with a connection."""

    def __init__(self, log: str | None, latency: list[float] | None, faults: dict[str, float], seed: int) -> None:
        self.latency, self.faults, self.seed = latency, faults, seed
        self.random = random.Random(seed)
        self.refuse_until, self.refuse_mode = 0.0, "503"
        self.rpm: float | None = None
        self.burst, self.tokens, self.filled = 1.0, 1.0, 0.0
        self.requests = self.ok = self.in_flight = self.max_in_flight = self.connections = 0
        self.input_tokens = self.output_tokens = self.input_characters = 0
        self.outcomes: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()
        self.log: int | None = None
        self.count = 0
        if log is not None:
            path = Path(log)
            # a restarted server goes on counting, so that each `n` stays one request
            self.count = path.read_bytes().count(b'"event":"in"') if path.exists() else 0
            self.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def stats(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "ok": self.ok,
            "faults": dict(self.outcomes),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "input_characters": self.input_characters,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": self.connections,
        }

    def control(self, changes: Mapping[str, Any]) -> None:
        known = {"latency", "faults", "seed", "refuse_seconds", "refuse_mode", "rpm", "burst"}
        if unknown := set(changes) - known:
            raise ValueError(f"unknown: {sorted(unknown)}; there are {sorted(known)}")
        if unknown := set(changes.get("faults") or ()) - set(KINDS):
            raise ValueError(f"unknown faults: {sorted(unknown)}; there are {KINDS}")
        if "seed" in changes:
            self.seed, self.random = changes["seed"], random.Random(changes["seed"])
        self.latency = changes.get("latency", self.latency)
        self.faults = changes.get("faults", self.faults) or {}
        self.refuse_mode = str(changes.get("refuse_mode", self.refuse_mode))
        if "refuse_seconds" in changes:
            self.refuse_until = time.monotonic() + changes["refuse_seconds"]
        if "rpm" in changes:
            self.rpm = changes["rpm"]
            self.burst = self.tokens = float(changes.get("burst") or max(1, (self.rpm or 0) // 60))
            self.filled = time.monotonic()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until either side has had enough."""
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b" ", 2)
        lower = head.lower()
        body = b""
        if length := _header(lower, b"content-length"):
            if b"\r\nexpect:" in lower:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(length))
        elif method == b"POST":
            return self._send(writer, 411, {}, _compact(_error("openai", "invalid_request_error", "no length")))
        path = path.partition(b"?")[0]
        stays = b"\r\nconnection: close" not in lower
        if method == b"POST" and path == b"/v1/chat/completions":
            return await self._completion("openai", head, body, reader, writer) and stays
        if method == b"POST" and path == b"/v1/completions":
            return await self._completion("completions", head, body, reader, writer) and stays
        if method == b"POST" and path == b"/v1/messages":
            return await self._completion("anthropic", head, body, reader, writer) and stays
        return self._other(method + b" " + path, body, writer) and stays

    def _other(self, what: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        if what == b"GET /v1/models":
            models = [{"id": name, "object": "model"} for name in ("fake-small", "fake-large")]
            return self._send(writer, 200, {}, _compact({"object": "list", "data": models}))
        if what == b"GET /stats":
            return self._send(writer, 200, {}, _compact(self.stats()))
        if what == b"POST /control":
            try:
                self.control(json.loads(body))
            except (ValueError, TypeError) as error:
                return self._send(writer, 400, {}, _compact({"error": str(error)}))
            return self._send(writer, 200, {}, b"{}")
        return self._send(writer, 404, {}, _compact(_error("openai", "invalid_request_error", "no such path")))

    async def _completion(
        self, vendor: str, head: bytes, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        try:
            body = json.loads(raw)
            if vendor == "completions":
                begun(body)
            digest, size = request_hash(body), characters(body)
        except (ValueError, TypeError, KeyError, AttributeError):
            error = _error(vendor, "invalid_request_error", "the body is not a conversation")
            return self._send(writer, 400, {}, _compact(error))
        self.count += 1
        number = self.count
        self.requests += 1
        self.input_characters += size
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._note({"event": "in", "n": number, "hash": digest, "model": body.get("model"), "t": time.time()})
        outcome = "gone"
        try:
            outcome = await self._answer(vendor, head, body, digest, size, number, reader, writer)
        finally:
            self.in_flight -= 1
            if outcome == "ok":
                self.ok += 1
            else:
                self.outcomes[outcome] += 1
            self._note({"event": "out", "n": number, "hash": digest, "outcome": outcome, "t": time.time()})
        return outcome not in ("gone", "cut", "stall", "close")

    async def _answer(
        self,
        vendor: str,
        head: bytes,
        body: Mapping[str, Any],
        digest: str,
        size: int,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> str:
        """Reply, well or badly, and give the outcome."""
        headers = {"x-request-id": f"req_{number}", "request-id": f"req_{number}"}
        limited = self._take() if self.rpm else None
        if self.rpm:
            headers |= self._limits()
        if time.monotonic() < self.refuse_until:
            if self.refuse_mode == "429":
                return self._refuse(vendor, headers | {"retry-after": "1"}, writer)
            kind = "overloaded_error" if vendor == "anthropic" else "server_error"
            self._send(writer, 503, headers, _compact(_error(vendor, kind, "refused for a while")))
            return "503"
        if limited is not None:
            after = {"retry-after": str(math.ceil(limited)), "retry-after-ms": str(math.ceil(1000 * limited))}
            return self._refuse(vendor, headers | after, writer)
        fault = self._draw() if self.faults else None
        if fault is not None:
            self.drawn[fault] += 1
        if fault == "429":
            return self._refuse(vendor, headers | self._after(), writer)
        if fault == "echo":
            keys = b" ".join(filter(None, (_header(head, name) for name in (b"authorization", b"x-api-key"))))
            said = f"Incorrect API key: {keys.decode('latin-1')}"
            error = _error(vendor, "authentication_error", said, "invalid_api_key")
            self._send(writer, 401, headers, _compact(error))
            return fault
        seconds = self._seconds(digest)
        if fault == "stall":
            form = "text/event-stream" if body.get("stream") else "application/json"
            writer.write(_head(200, headers | {"content-type": form, "transfer-encoding": "chunked"}))
            await _still_there(reader, STALL)
            return fault
        text = reply_text(body, digest)
        read, written = size // 4, len(text) // 4
        usage = _usage(vendor, read, written)
        if body.get("stream") and fault in (None, "cut"):
            outcome = await self._stream(
                _events(vendor, body, text, digest[:24], usage), headers, seconds, fault is not None, reader, writer
            )
        else:
            if seconds and not await _still_there(reader, seconds):
                return "gone"
            if writer.is_closing():
                return "gone"
            outcome = self._reply(vendor, fault, _whole(vendor, body, text, digest[:24], usage), headers, writer)
        if outcome == "ok":
            self.input_tokens += read
            self.output_tokens += written
        return outcome

    def _reply(
        self,
        vendor: str,
        fault: str | None,
        whole: dict[str, Any],
        headers: dict[str, str],
        writer: asyncio.StreamWriter,
    ) -> str:
        if fault is None:
            self._send(writer, 200, headers, _compact(whole))
            return "ok"
        if fault == "500":
            kind = "api_error" if vendor == "anthropic" else "server_error"
            self._send(writer, 500, headers, _compact(_error(vendor, kind, "the server had an error")))
        elif fault == "json":
            self._send(writer, 200, headers, _compact(whole)[:-20] + "]")
        elif fault == "empty":
            self._send(writer, 200, headers, "{}")
        elif fault == "cut":
            said = _compact(whole).encode()
            length = {"content-type": "application/json", "content-length": str(len(said))}
            writer.write(_head(200, headers | length) + said[: len(said) // 2])
        return fault

    async def _stream(
        self,
        events: list[bytes],
        headers: dict[str, str],
        seconds: float,
        cut: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> str:
        """Send events with the latency spread over them."""
        begin = _head(200, headers | {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
        if cut:
            chunks = chunks[: len(chunks) // 2]
        if not cut or self.drawn["cut"] % 2 == 0:
            chunks.append(b"0\r\n\r\n")
        if not seconds:
            writer.write(begin + b"".join(chunks))
        begun = time.monotonic()
        for i, chunk in enumerate(chunks if seconds else (), 1):
            due = begun + seconds * min(1.0, i / len(events))
            if not await _still_there(reader, due - time.monotonic()):
                return "gone"
            writer.write(begin + chunk)
            begin = b""
        return "cut" if cut else "ok"

    def _refuse(self, vendor: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> str:
        kind = "rate_limit_error" if vendor == "anthropic" else "requests"
        self._send(writer, 429, headers, _compact(_error(vendor, kind, "Rate limit reached", "rate_limit_exceeded")))
        return "429"

    def _after(self) -> dict[str, str]:
        n = self.drawn["429"]
        # a date has whole seconds: rounded, it is half a second to one and a half away
        after = {"retry-after": "1" if n % 2 else formatdate(math.ceil(time.time() + 0.5), usegmt=True)}
        return after | ({"retry-after-ms": "50"} if n % 5 == 0 else {})

    def _draw(self) -> str | None:
        left = self.random.random()
        for kind in KINDS:
            left -= self.faults.get(kind, 0.0)
            if left < 0:
                return kind
        return None

    def _seconds(self, digest: str) -> float:
        if not self.latency or not self.latency[0]:
            return 0.0
        median, sigma = self.latency
        return random.Random(f"{self.seed} {digest}").lognormvariate(math.log(median), sigma)

    def _take(self) -> float | None:
        """Take a token, or give the seconds until there is one."""
        assert self.rpm
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rpm / 60)
        self.filled = now
        if self.tokens < 1:
            return (1 - self.tokens) * 60 / self.rpm
        self.tokens -= 1
        return None

    def _limits(self) -> dict[str, str]:
        assert self.rpm
        return {
            "x-ratelimit-limit-requests": f"{self.rpm:g}",
            "x-ratelimit-remaining-requests": str(int(self.tokens)),
            "x-ratelimit-reset-requests": f"{math.ceil(1000 * (self.burst - self.tokens) * 60 / self.rpm)}ms",
        }

    def _send(self, writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: str | bytes) -> bool:
        body = body if isinstance(body, bytes) else body.encode()
        length = {"content-type": "application/json", "content-length": str(len(body))}
        writer.write(_head(status, headers | length) + body)
        return True

    def _note(self, event: dict[str, Any]) -> None:
        if self.log is not None:
            os.write(self.log, f"{_compact(event)}\n".encode())


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n".encode()


def _header(head: bytes, name: bytes) -> bytes:
    """The value of a header whose name is given in lower case, or nothing."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


async def _still_there(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait; False as soon as the client leaves. Nobody pipelines, so anything that can be read is the end."""
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    except ConnectionError:
        pass
    return False


async def _run(options: argparse.Namespace) -> None:
    latency = [float(part) for part in options.latency.split(",")] if options.latency else None
    server = FakeServer(options.log, latency, {}, options.seed)
    server.control({"faults": json.loads(options.faults)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # at once, without the tidying that would complain about every open connection
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    if options.stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    listener = await asyncio.start_server(server.connection, "127.0.0.1", options.port, backlog=4096, limit=2**20)
    print(f"listening {listener.sockets[0].getsockname()[1]}", flush=True)
    gc.freeze()
    await listener.serve_forever()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    parser.add_argument("--latency", help="median seconds and sigma of a log-normal, as 0.05,0.6")
    parser.add_argument("--faults", default="{}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stdin", action="store_true", help="end when stdin closes")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


# ---- for tests ------------------------------------------------------------------------------------------------------


class Served:
    """A fake server in a process of its own.

    Attributes:
        port: where it listens, the same after a restart.
        root: its address.
        url: its address with /v1, as the OpenAI SDK wants it.
    """

    def __init__(self, log: Path, options: Sequence[str]) -> None:
        self._log, self._options = log, options
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.restart()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"

    def restart(self) -> None:
        """Start the process again, with the options of the first start and the log appended."""
        self.kill()
        command = [sys.executable, __file__, "--stdin", "--port", str(self.port), "--log", str(self._log)]
        self._process = subprocess.Popen(
            [*command, *self._options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        if said[:1] != ["listening"]:
            raise RuntimeError("the fake server did not start")
        self.port = int(said[1])

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is None:
            return
        self._process.kill()
        with self._process:  # waits, and closes the pipes
            self._process = None

    def stats(self) -> dict[str, Any]:
        """What it has counted since it started."""
        answer: dict[str, Any] = json.loads(self._ask("GET", "/stats"))
        return answer

    def control(self, **changes: Any) -> None:
        """Change how it behaves from now on."""
        self._ask("POST", "/control", json.dumps(changes))

    def log(self) -> list[dict[str, Any]]:
        """Every event so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            said = response.read()
        if response.status != 200:
            raise RuntimeError(said.decode())
        return said


@contextlib.contextmanager
def serve(
    log: str | Path | None = None,
    latency: tuple[float, float] | None = None,
    faults: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Iterator[Served]:
    """A fake server for as long as the block lasts.

    Args:
        log: a file to append its events to; a temporary one if None.
        latency: median seconds and sigma of a log-normal.
        faults: kind -> probability.
        seed: of the faults and the latencies.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--seed", str(seed), "--faults", json.dumps(dict(faults or {}))]
        if latency is not None:
            options += ["--latency", f"{latency[0]},{latency[1]}"]
        server = Served(Path(log) if log is not None else Path(folder) / "log.jsonl", options)
        try:
            yield server
        finally:
            server.kill()


if __name__ == "__main__":
    main()
