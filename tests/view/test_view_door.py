"""A server with a key: what a browser's pass opens, and what it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from view_server import ViewServer, view_server

from agora.models.scripted import ScriptedModel
from agora.serve.catalog import Served
from agora.serve.guard import COOKIE, VALID, Guard

KEY = "a-key-of-the-server"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    served = [Served("m", ScriptedModel("x", name="m"))]
    with view_server(tmp_path_factory.mktemp("door"), served=served, key=KEY) as made:
        yield made


def enter(server: ViewServer, key: str = KEY, **form: str) -> httpx2.Response:
    return httpx2.post(f"{server.url}/login", data={"key": key, **form}, timeout=20)


def cookie(response: httpx2.Response) -> str:
    return str(response.headers["set-cookie"].partition(";")[0].partition("=")[2])


def test_a_browser_is_shown_the_way_in(server: ViewServer) -> None:
    browser = {"accept": "text/html,*/*"}
    for path in ("/", "/runs/a%2Fb?x=1", "/evaluations"):
        answer = httpx2.get(f"{server.url}{path}", headers=browser)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=")
        shown = httpx2.get(f"{server.url}{answer.headers['location']}")
        assert shown.status_code == 200
        assert "<script" not in shown.text
        assert "script-src" not in shown.headers["content-security-policy"]
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        assert shown.headers["referrer-policy"] == "same-origin"  # with none the form's origin would be null
        assert shown.headers["cache-control"] == "no-store"
    assert httpx2.get(f"{server.url}/static/app.css").status_code == 200
    assert httpx2.get(f"{server.url}/api/runs").status_code == 401
    assert httpx2.get(f"{server.url}/", headers={"accept": "*/*"}).status_code == 401


def test_the_key_is_given_once(server: ViewServer) -> None:
    answer = enter(server, next="/runs/x?y=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/x?y=1")
    told = answer.headers["set-cookie"].casefold()
    assert "httponly" in told
    assert "samesite=strict" in told
    assert f"max-age={VALID}" in told
    assert "secure" not in told
    assert KEY not in answer.headers["set-cookie"]
    given = {COOKIE: cookie(answer)}
    for path in ("/", "/new", "/api/runs", "/runs/x", "/evaluations", "/api/offers"):
        assert httpx2.get(f"{server.url}{path}", cookies=given).status_code == 200, path
    assert httpx2.get(f"{server.url}/api/runs/x/live", cookies=given).status_code == 404
    own = {"origin": server.url}
    assert httpx2.post(f"{server.url}/api/debates", json={}, cookies=given, headers=own).status_code == 400
    evil = {"origin": "https://evil.example"}
    assert httpx2.post(f"{server.url}/api/debates", json={}, cookies=given, headers=evil).status_code == 403
    # the endpoints want the key itself
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        assert httpx2.get(f"{server.url}{path}", cookies=given).status_code == 401, path
    assert httpx2.post(f"{server.url}/v1/chat/completions", json={}, cookies=given).status_code == 401
    assert httpx2.get(f"{server.url}/v1/models", headers={"x-api-key": KEY}).status_code == 200
    assert httpx2.get(f"{server.url}/api/runs", headers={"x-api-key": KEY}).status_code == 200
    left = httpx2.post(f"{server.url}/logout", cookies=given, headers=own)
    assert left.status_code == 303
    assert 'agora_pass=""' in left.headers["set-cookie"]


def test_the_pass_is_secure_where_the_page_is(server: ViewServer) -> None:
    answer = httpx2.post(
        f"{server.url}/login", data={"key": KEY},
        headers={"origin": f"https://127.0.0.1:{server.port}"},
    )  # fmt: skip
    assert "secure" in answer.headers["set-cookie"].casefold()


@pytest.mark.parametrize(
    "after",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "x", "/a\r\nset-cookie: x",
     "/\tx", "/" + "x" * 5000, "/\x00"],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(server: ViewServer, after: str) -> None:
    answer = enter(server, next=after)
    assert answer.status_code in (303, 413)
    if answer.status_code == 303:
        assert answer.headers["location"] == "/"
    shown = httpx2.get(f"{server.url}/login", params={"next": after}).text
    assert 'name="next" value="/"' in shown


def test_what_stands_in_the_address_is_no_markup(server: ViewServer) -> None:
    shown = httpx2.get(f"{server.url}/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script" not in shown


def test_a_wrong_key_takes_time_and_many_are_turned_away(server: ViewServer) -> None:
    begun = time.monotonic()
    answer = enter(server, "not-the-key")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "This is not the key." in answer.text
    assert "not-the-key" not in answer.text
    assert time.monotonic() - begun > 0.9
    said: list[int] = []
    threads = [threading.Thread(target=lambda: said.append(enter(server, "wrong-one").status_code)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(said) == {401, 429}
    assert said.count(401) == 4
    assert enter(server).status_code == 303


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [(b"x" * 20_000, "application/x-www-form-urlencoded", 413), (b'{"key": "x"}', "application/json", 415),
     (b"key=" + KEY.encode(), "text/plain", 415), (b"&".join([b"a=1"] * 50), "application/x-www-form-urlencoded", 400),
     (b"key=%ff%00", "application/x-www-form-urlencoded", 401), (b"", "application/x-www-form-urlencoded", 401)],
)  # fmt: skip
def test_forms_that_are_none(server: ViewServer, body: bytes, kind: str, status: int) -> None:
    answer = httpx2.post(f"{server.url}/login", content=body, headers={"content-type": kind}, timeout=20)
    assert answer.status_code == status


def test_passes_that_are_none(server: ViewServer) -> None:
    guard = Guard(KEY, None)
    good = guard.made_pass()
    until, _, proof = good.partition(".")
    for given in (
        "", ".", KEY, until, f"{until}.", f"{int(until) + 1}.{proof}", f"{until}.{proof[:-1]}", f"{until}.{proof}0",
        guard.made_pass(time.time() - VALID - 1), Guard("another-key", None).made_pass(), f"-1.{proof}",
        f"{'9' * 5000}.{proof}", f"{until}.{proof.upper()}",
    ):  # fmt: skip
        answer = httpx2.get(f"{server.url}/api/runs", headers={"cookie": f"{COOKIE}={given}"})
        assert answer.status_code == 401, given
    assert httpx2.get(f"{server.url}/api/runs", headers={"cookie": f"{COOKIE}={good}"}).status_code == 200


def test_a_server_without_a_key_has_no_door(tmp_path: Path) -> None:
    with view_server(tmp_path) as server:
        assert server.client.get("/login").headers["location"] == "/"
        assert server.client.get("/").status_code == 200
        answer = enter(server, "")
        assert answer.status_code == 401
