"""What is found on this machine, with servers that behave and servers that do not."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agora.config import load_model
from agora.models import discover
from agora.models.discover import Found, by_key, checkpoints, everything, local_servers, pocket
from agora.models.pocket import NAMES

Handle = Callable[[socket.socket, str], None]


@contextmanager
def serving(handle: Handle) -> Iterator[int]:
    """A server on a loopback port, one thread a connection; gives the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                handle(connection, request.decode())
            except OSError:
                pass  # the client has gone

    def accept() -> None:
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def replying(body: Any, status: str = "200 OK", head: str = "") -> Handle:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handle(connection: socket.socket, request: str) -> None:
        lines = f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        connection.sendall(lines.encode() + data)

    return handle


def listing(*names: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def find(backend: str, ports: dict[int, str], timeout: float = 2.0) -> list[Found]:
    return anyio.run(lambda: local_servers(ports, timeout), backend=backend)


def test_models_of_local_servers(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []

    def record(connection: socket.socket, request: str) -> None:
        requests.append(request)
        replying(listing("llama3:8b", "qwen/qwen3"))(connection, request)

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(record) as one, serving(replying(listing("mistral"))) as two:
        found = find(anyio_backend, {one: "One", two: "Two"})
    assert [(f.model, f.ready, f.needs, f.options["base_url"]) for f in found] == [
        ("openai:llama3:8b", True, "One", f"http://127.0.0.1:{one}/v1"),
        ("openai:qwen/qwen3", True, "One", f"http://127.0.0.1:{one}/v1"),
        ("openai:mistral", True, "Two", f"http://127.0.0.1:{two}/v1"),
    ]
    assert requests[0].startswith("GET /v1/models HTTP/1.1\r\n")
    kind, _, name = found[0].model.partition(":")
    assert load_model({kind: name, **found[0].options}).name == "openai:llama3:8b"


def test_nothing_there(anyio_backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert find(anyio_backend, {free: "None", 70_000: "no port"}) == []
    assert find(anyio_backend, {}) == []


def _silent(connection: socket.socket, request: str) -> None:
    connection.recv(1)


def _drips(connection: socket.socket, request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def _endless(connection: socket.socket, request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
    while True:
        connection.sendall(b"0," * 50_000)


def _endless_head(connection: socket.socket, request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"y" * 1000 + b"\r\n")


def _not_http(connection: socket.socket, request: str) -> None:
    connection.sendall(b"\x00\xffSSH-2.0\r\n\r\n")


def _hangs_up(connection: socket.socket, request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


HOSTILE: dict[str, Handle] = {
    "html": replying(b"<html>hello</html>", head="Content-Type: text/html\r\n"),
    "404": replying(listing("m"), "404 Not Found"),
    "500": replying(listing("m"), "500 Oh"),
    "empty": replying(b""),
    "junk": replying(b"\x00" * 10_000_000),
    "long but right": replying(listing("m", *["x" * 100] * 20_000)),
    "bomb": replying(gzip.compress(b" " * 50_000_000), head="Content-Encoding: gzip\r\n"),
    "deep": replying(b"[" * 500_000),
    "digits": replying(b"9" * 500_000),
    "bytes": replying(b"\xff\xfe\xfa\xfb"),
    "list": replying([1]),
    "number": replying(7),
    "null": replying({"data": None}),
    "object": replying({"data": {"id": "m"}}),
    "entries": replying({"data": ["m", None, 3, {}, {"id": None}, {"id": 7}, {"id": ["m"]}]}),
    "silent": _silent,
    "drips": _drips,
    "endless": _endless,
    "endless head": _endless_head,
    "not http": _not_http,
    "hangs up": _hangs_up,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_servers(anyio_backend: str, kind: str) -> None:
    find(anyio_backend, {})  # imports
    with serving(HOSTILE[kind]) as bad, serving(replying(listing("good"))) as good:
        begun = time.monotonic()
        found = find(anyio_backend, {bad: "Bad", good: "Good"}, 0.5)
        took = time.monotonic() - begun
    assert [f.model for f in found] == ["openai:good"]
    assert took < 1.5


def test_redirects_are_not_followed(anyio_backend: str) -> None:
    with serving(replying(listing("elsewhere"))) as other:
        head = f"Location: http://127.0.0.1:{other}/v1/models\r\n"
        with serving(replying(b"", "302 Found", head)) as port:
            assert find(anyio_backend, {port: "Moved"}) == []


def test_names(anyio_backend: str) -> None:
    names = ["", " ", "a" * 201, "x\x1b[2J", "two\nlines", "\u202eevil", "\ud800", "ok", "ok", "b" * 200, "modèle"]
    with serving(replying(listing(*names))) as port:
        found = find(anyio_backend, {port: "Names"})
    assert [f.model for f in found] == ["openai:ok", f"openai:{'b' * 200}", "openai:modèle"]
    with serving(replying(listing(*range(50), *map(str, range(5000))))) as port:
        found = find(anyio_backend, {port: "Many"})
    assert [f.model for f in found] == [f"openai:{n}" for n in range(100)]


def test_by_key() -> None:
    assert by_key({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": " "}) == [
        Found("openai:NAME", True, ""),
        Found("anthropic:NAME", False, "ANTHROPIC_API_KEY in the environment"),
    ]
    assert [f.ready for f in by_key({})] == [False, False]


def test_pocket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pocket() == [Found(f"pocket:{name}", True, "") for name in NAMES]
    monkeypatch.setattr("agora.models.pocket.WEIGHTS", tmp_path)
    assert not any(f.ready for f in pocket())
    assert all("weights" in f.needs for f in pocket())


def test_everything(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def some(ports: Mapping[int, str]) -> list[Found]:
        return [Found("openai:local", True, "Ollama", {"base_url": "http://127.0.0.1:11434/v1"})]

    monkeypatch.setattr(discover, "local_servers", some)
    monkeypatch.setattr(discover, "find_spec", lambda name: object())
    environ = {"OPENAI_API_KEY": "k", "HF_HOME": "/nowhere"}
    found = anyio.run(everything, environ, backend=anyio_backend)
    ready = [*(f"pocket:{n}" for n in NAMES), "hf:FOLDER", "openai:local", "openai:NAME"]
    assert [f.model for f in found if f.ready] == ready
    assert [f.model for f in found if not f.ready] == ["anthropic:NAME"]


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_checkpoints(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What another tool has downloaded is found, and what lacks weights or a configuration is not."""
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    whole, lacking, pickled = (tmp_path / below / f"models--o--{n}/snapshots/0a" for n in ("whole", "bare", "pickled"))
    for folder, files in (
        (whole, ["config.json", "model.safetensors"]), (lacking, ["config.json"]), (pickled, ["config.json", "m.bin"])
    ):  # fmt: skip
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).touch()
    environ = {variable: str(tmp_path)}
    monkeypatch.setattr(discover, "find_spec", lambda name: object())
    assert checkpoints(environ) == [Found(f"hf:{whole}", True, ""), Found("hf:FOLDER", True, "")]
    monkeypatch.setattr(discover, "find_spec", lambda name: None)
    assert not any(found.ready for found in checkpoints(environ))
    assert "pip install 'agora-debate[local]'" in checkpoints({"HF_HOME": str(tmp_path / "none")})[0].needs
