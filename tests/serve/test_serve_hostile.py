"""What the server is sent by those who mean no good, and by those who do not know better."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from agora_server import SCRIPTED, AgoraServer, agora_serve

from agora.cli import main

KEY = "a-key-of-the-server"
QUESTION = {"model": "duo", "messages": [{"role": "user", "content": "six times seven?"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgoraServer]:
    with agora_serve(
        tmp_path_factory.mktemp("hostile"), "--header-seconds", "1", "--connections", "1500", "--waiting", "2",
        "--running", "2",
        text=SCRIPTED.replace("agents:", "  json: {scripted: '{\"a\": 1}', name: json}\nagents:"),
    ) as made:  # fmt: skip
        yield made
        assert made.process.poll() is None
        made.process.terminate()
        assert made.process.stderr is not None
        assert "Traceback" not in made.process.stderr.read()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgoraServer]:
    folder = tmp_path_factory.mktemp("locked")
    with agora_serve(
        folder, "--api-key-env", "SERVER_KEY", "--allow-origin", "https://page.example", "--header-seconds", "1",
        "--body", "0.5", env={"SERVER_KEY": KEY},
    ) as made:  # fmt: skip
        yield made


def ask(server: AgoraServer, content: bytes | None = None, path: str = "/v1/chat/completions", **headers: str) -> (
    httpx2.Response
):  # fmt: skip
    body = json.dumps(QUESTION).encode() if content is None else content
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{server.url}{path}", content=body, headers=given, timeout=30)


def raw(server: AgoraServer, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        connection.sendall(data)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                said += part
        return said


# ---- what cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'"text"',
        b'{"model": "duo", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "duo", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "duo", "messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "duo", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": "duo", "messages": [{"role": "user", "content": "x"}], "metadata": ' + b'{"a":' * 50_000 + b"1"
        + b"}" * 50_000 + b"}",
    ],
    ids=range(11),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_malformed_bodies(server: AgoraServer, content: bytes, path: str) -> None:
    answer = ask(server, content, path)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    assert len(answer.text) < 2000
    assert ("type" in answer.json()) == (path == "/v1/messages")


def nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


def doubling(times: int) -> dict[str, object]:
    """A schema of a few lines of which 2 ** times parts have to be tried."""
    parts: dict[str, object] = {"t0": {"type": "object"}}
    for i in range(1, times):
        parts[f"t{i}"] = {"allOf": [{"$ref": f"#/$defs/t{i - 1}"}] * 2}
    return {"$defs": parts, "$ref": f"#/$defs/t{times - 1}"}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (nested(60), "nested too deeply"),
        ({"$ref": "#/nowhere"}, "'#/nowhere', which is not there"),
        ({"$ref": "#nowhere"}, "not there"),
        ({"$ref": "file:///etc/passwd"}, "only to itself"),
        ({"$schema": [1]}, "$schema"),
        ({"$schema": 5}, "$schema"),
        ({"properties": {"a": {"$id": "http://elsewhere", "$ref": "#/x"}}}, "must be one"),
        ({"multipleOf": 0}, "not a JSON Schema"),
        ({"properties": {f"p{i}": {"type": "string"} for i in range(60_000)}}, "too large"),
        ({"enum": ["x" * 200_000]}, "too large"),
        ({"$ref": "#"}, "nested too deeply"),
        (doubling(40), "takes too long"),
    ],
)
def test_a_schema_that_cannot_be_used_is_the_clients_mistake(
    server: AgoraServer, schema: dict[str, object], said: str
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = ask(server, json.dumps({**QUESTION, "model": "json", "response_format": form}).encode())
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    debate = ask(server, json.dumps({**QUESTION, "model": "duo", "response_format": form}).encode())
    assert debate.status_code in (200, 400), debate.text


def test_a_hundred_megabytes(server: AgoraServer) -> None:
    answer = ask(server, b"x" * 9_000_000)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    before = memory(server)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    assert b" 413 " in raw(server, head + b"Content-Length: 104857600\r\n\r\n{")
    assert b" 400 " in raw(server, head + b"Content-Length: 99999999999999999999999999\r\n\r\n{")
    # without saying how much it will be
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(20)
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(chunk)
        with contextlib.suppress(ConnectionResetError):
            assert b" 413 " in connection.recv(65536)
    assert memory(server) - before < 60


def test_many_bodies_at_a_time(locked: AgoraServer) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: %s\r\nContent-Length: %d\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(33):  # each all but the last byte of what one may have
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", locked.port)))
            connection.settimeout(10)
            connection.sendall(head % (KEY.encode(), 500_000) + b"x" * 499_999)
        last = connection
        small = ask(locked, x_api_key=KEY)
        while small.status_code == 200:  # until all of it has come
            time.sleep(0.02)
            small = ask(locked, json.dumps({**QUESTION, "user": "x" * 400_000}).encode(), x_api_key=KEY)
        assert (small.status_code, small.headers["retry-after"]) == (429, "5")
        assert "large requests" in small.json()["error"]["message"]
        last.close()
    deadline = time.monotonic() + 10
    while ask(locked, json.dumps({**QUESTION, "user": "x" * 400_000}).encode(), x_api_key=KEY).status_code != 200:
        assert time.monotonic() < deadline


def memory(server: AgoraServer) -> float:
    """Resident, in MB."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def test_a_million_tokens(server: AgoraServer) -> None:
    content = "word " * 1_000_000
    body = json.dumps({"model": "duo", "messages": [{"role": "user", "content": content}]}).encode()
    debate = ask(server, body)
    assert debate.status_code == 400
    assert "at most 200,000" in debate.json()["error"]["message"]
    one = ask(server, body.replace(b'"duo"', b'"bob"'))
    assert one.status_code == 200
    assert one.json()["usage"]["prompt_tokens"] > 1_000_000


def test_unknown_addresses_and_methods(server: AgoraServer) -> None:
    for path in ("/none", "/v1", "/v1/embeddings", "/v1/models/../../etc/passwd", "/v1/models/%00", "/%2e%2e/x"):
        answer = httpx2.get(f"{server.url}{path}")
        assert answer.status_code == 404, path
        assert answer.json()["error"]["message"]
    assert httpx2.get(f"{server.url}/v1/chat/completions").status_code == 405
    assert httpx2.get(f"{server.url}/v1/messages").json()["type"] == "error"
    long = ask(server, json.dumps({**QUESTION, "model": "x" * 400 + "\r\nSet-Cookie: a=b"}).encode())
    assert long.status_code == 404
    assert "set-cookie" not in long.headers


# ---- who takes his time -----------------------------------------------------------------------------------------


def drip(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def test_slow_headers(server: AgoraServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        slowly = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1000
        with pytest.raises(OSError):  # it has had enough long before the minute that this would take
            drip(connection, slowly)


def test_a_body_that_nobody_waits_for(locked: AgoraServer) -> None:
    with socket.create_connection(("127.0.0.1", locked.port)) as connection:
        connection.settimeout(10)
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 401 " in connection.recv(65536)
        with pytest.raises(OSError):  # whoever has no key does not keep the connection by sending on
            drip(connection, b"1\r\nx\r\n" * 40)


def test_endless_headers(server: AgoraServer) -> None:
    said = raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n")
    assert b"200 OK" not in said
    many = b"".join(b"X-%d: y\r\n" % i for i in range(100_000))
    assert b"200 OK" not in raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")


def test_a_slow_body(tmp_path: Path) -> None:
    from agora.errors import AgoraError  # the limit itself, without waiting a minute for it
    from agora.serve.guard import body_of

    async def receive() -> dict[str, object]:
        import anyio

        await anyio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    import anyio
    from starlette.requests import Request

    async def go() -> None:
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
        await body_of(request, 1000, 0.3, lambda size: None)

    with pytest.raises(AgoraError, match=r"within 0\.3 seconds") as caught:
        anyio.run(go)
    assert caught.value.status == 408  # type: ignore[attr-defined]


def test_a_thousand_idle_connections(server: AgoraServer) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(1000)]
        assert ask(server).status_code == 200
        for connection in idle:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""  # it does not wait for ever
    assert ask(server).status_code == 200


def test_more_connections_than_there_is_room_for(tmp_path: Path) -> None:
    with agora_serve(tmp_path, "--connections", "20") as server, contextlib.ExitStack() as stack:
        many = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(21)]
        many[-1].settimeout(8)
        assert b"503" in many[-1].recv(1000)
        many[0].close()
        last = time.monotonic() + 10
        while ask(server).status_code != 200:
            assert time.monotonic() < last


def test_too_many_at_a_time(server: AgoraServer) -> None:
    statuses: list[int] = []
    retry: list[str] = []

    def go() -> None:
        body = json.dumps({**QUESTION, "model": "slow"}).encode()
        answer = ask(server, body)
        statuses.append(answer.status_code)
        retry.append(answer.headers.get("retry-after", ""))

    threads = [threading.Thread(target=go) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 4 + [429] * 3
    assert sorted(int(each) for each in retry if each) != []
    assert all(1 <= int(each) <= 60 for each in retry if each)


# ---- who may ask ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"]
)
def test_another_name_is_not_this_server(server: AgoraServer, host: str) -> None:
    answer = ask(server, host=host)
    assert answer.status_code in (400, 403)
    assert "choices" not in answer.text


def test_names_of_this_machine(server: AgoraServer) -> None:
    for host in ("localhost", "127.0.0.1:1234", "[::1]:80", "LOCALHOST"):
        assert ask(server, host=host).status_code == 200, host
    two = raw(server, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert b"200 OK" not in two


def test_pages_from_elsewhere(server: AgoraServer, locked: AgoraServer) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:1", "file://", "http://[bad"):
        assert ask(server, origin=origin).status_code == 403, origin
        assert ask(server, b"{}", origin=origin, content_type="text/plain").status_code == 403
    assert ask(server, origin=server.url).status_code == 200
    assert "access-control-allow-origin" not in ask(server, origin=server.url).headers
    allowed = ask(locked, origin="https://page.example", authorization=f"Bearer {KEY}")
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://page.example")
    preflight = {"origin": "https://page.example", "access-control-request-method": "POST",
                 "access-control-request-headers": "authorization"}  # fmt: skip
    assert httpx2.options(f"{locked.url}/v1/chat/completions", headers=preflight).status_code == 200
    other = {**preflight, "origin": "https://evil.example"}
    assert httpx2.options(f"{locked.url}/v1/chat/completions", headers=other).status_code >= 400


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer"},
        {"x_api_key": ""},
        {"x_api_key": KEY[:-1]},
        {"x_api_key": f"{KEY}x"},
        {"x_api_key": "a-key-of-the-server, a-key-of-the-server"},
    ],
)
def test_a_wrong_or_missing_key(locked: AgoraServer, headers: dict[str, str]) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        answer = ask(locked, path=path, **headers)
        assert answer.status_code == 401
        assert KEY not in answer.text
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert httpx2.get(f"{locked.url}{path}", headers=given).status_code == 401
    assert httpx2.get(f"{locked.url}/healthz", headers=given).status_code == 200


def test_a_key_that_is_no_text(locked: AgoraServer) -> None:
    said = raw(
        locked, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: \xff\xfe\r\nConnection: close\r\n\r\n"
    )
    assert b" 401 " in said


def test_the_right_key(locked: AgoraServer) -> None:
    assert ask(locked, authorization=f"Bearer {KEY}").status_code == 200
    assert ask(locked, authorization=f"bearer {KEY}").status_code == 200
    assert ask(locked, path="/v1/chat/completions", x_api_key=KEY).status_code == 200


# ---- how it is started ------------------------------------------------------------------------------------------


def start(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status and standard error of a command that does not come to serving."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["agora", "serve", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def test_what_is_wrong_with_the_command(
    tmp_path: Path, server: AgoraServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, person, twin = (tmp_path / name for name in ("a.yaml", "p.yaml", "b.yaml"))
    file.write_text("name: a\nmodels: {m: {scripted: x}}")
    twin.write_text("name: a\nmodels: {m: {scripted: y}}")
    person.write_text("models: {m: {human: you}}")
    for arguments, said in (
        ((str(file), "--host", "0.0.0.0"), "clients need a key"),
        ((str(file), "--api-key-env", "NO_SUCH"), "NO_SUCH is not set"),
        ((str(file), "--port", str(server.port)), "cannot listen"),
        ((str(file), str(twin)), "two models are called 'a/m'"),
        ((str(person),), "a person"),
        ((str(tmp_path / "none.yaml"),), "cannot be read"),
        ((str(file), "--store", str(tmp_path)), "store"),
        ((), "Missing argument"),
    ):
        status, text = start(capsys, *arguments)
        assert (status, said in text) == (2, True), (arguments, text)
    monkeypatch.setenv("SHORT", "geheim")
    status, text = start(capsys, str(file), "--api-key-env", "SHORT")
    assert (status, "is no key" in text) == (2, True)
    assert "geheim" not in text
