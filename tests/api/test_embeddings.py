"""Features by an embeddings endpoint: a real HTTP server, what it may say wrong, and a router that uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from agora import Message, ScriptedModel
from agora.api import outcomes, routerfile, train
from agora.api.features import EndpointFeatures
from agora.api.outcomes import Outcome
from agora.api.route import Expected, Router
from agora.errors import MissingError, ModelError


class Server:
    """Embeds a text as how many of its words are in each of two lists; or answers as `wrong` says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.wrong: Any = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                vectors = [[t.count("apple") + 0.1, t.count("proof") + 0.1, 0.5] for t in body["input"]]
                data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)][::-1]
                reply = {"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
                status, said = outer.wrong or (200, json.dumps(reply))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("EMBED_KEY", "secret-of-mine")
    made = Server()
    yield made
    made.stop()


def outcomes_() -> list[Outcome]:
    found = []
    for i in range(40):
        hard = i % 2
        prompt = f"{'proof' if hard else 'apple'} number {i}"
        found += [Outcome(prompt, "weak", float(not hard), 0.001), Outcome(prompt, "strong", 1.0, 0.01)]
    return found


def test_a_router_over_embeddings(server: Server, tmp_path: Path) -> None:
    features = EndpointFeatures("e", server.url, "EMBED_KEY")

    async def go() -> list[str]:
        learnt = await train.train(outcomes.table(outcomes_()), "knn", features=features, options={"k": 5})
        routerfile.save(learnt, tmp_path / "r.json")
        again = routerfile.load(tmp_path / "r.json")
        members = {"weak": ScriptedModel("w"), "strong": ScriptedModel("s")}
        router = Router(members, Expected(again, {"weak": "weak", "strong": "strong"}, weight=20))
        replies = [await router.answer([Message("user", text)]) for text in ("an apple", "a proof")]
        return [reply.route[0] for reply in replies if reply.route]

    assert anyio.run(go) == ["weak", "strong"]
    assert {call["path"] for call in server.asked} == {"/v1/embeddings"}
    assert {call["key"] for call in server.asked} == {"Bearer secret-of-mine"}
    assert "secret-of-mine" not in (tmp_path / "r.json").read_text()


def test_vectors_come_back_in_order_and_of_length_1(server: Server) -> None:
    texts = [f"{'apple ' * (i % 3)}{'proof ' * (i % 2)}" for i in range(600)]  # more than one request holds
    made = anyio.run(EndpointFeatures("e", server.url).vectors, texts)
    assert made.shape == (600, 3)
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(600))
    assert made[2, 0] > made[1, 0] > made[0, 0]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        (400, '{"error": {"message": "no such model"}}'),
        (200, "not json"),
        (200, "{}"),
        (200, '{"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}'),
        (200, '{"object": "list", "data": [{"index": 0, "embedding": ["x"]}], "model": "e"}'),
        (200, '{"object": "list", "data": [{"index": 0, "embedding": [NaN]}], "model": "e"}'),
    ],
)
def test_an_endpoint_that_says_something_wrong(server: Server, wrong: Any) -> None:
    server.wrong = wrong
    with pytest.raises(ModelError, match="embeddings endpoint"):
        anyio.run(EndpointFeatures("e", server.url).vectors, ["a text"])


def test_a_router_falls_back_where_the_prompt_cannot_be_embedded(server: Server) -> None:
    learnt = anyio.run(
        lambda: train.train(outcomes.table(outcomes_()), "knn", features=EndpointFeatures("e", server.url))
    )
    server.wrong = (400, '{"error": {"message": "gone"}}')
    router = Router({"weak": ScriptedModel("w"), "strong": ScriptedModel("s")},
                    Expected(learnt, {"weak": "weak", "strong": "strong"}), otherwise="strong")  # fmt: skip
    reply = anyio.run(router.answer, [Message("user", "an apple")])
    assert reply.text == "s"
    assert "could not be embedded" in reply.warnings[0]


def test_a_missing_key_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingError, match="OPENAI_API_KEY"):
        anyio.run(EndpointFeatures("text-embedding-3-small").vectors, ["a"])


def test_other_vectors_than_it_was_trained_on(server: Server) -> None:
    learnt = anyio.run(
        lambda: train.train(outcomes.table(outcomes_()), "logistic", features=EndpointFeatures("e", server.url))
    )
    body = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}],
            "usage": {"prompt_tokens": 1, "total_tokens": 1}}  # fmt: skip
    server.wrong = (200, json.dumps(body))
    router = Router({"weak": ScriptedModel("w"), "strong": ScriptedModel("s")},
                    Expected(learnt, {"weak": "weak", "strong": "strong"}))  # fmt: skip
    reply = anyio.run(router.answer, [Message("user", "an apple")])
    assert any("another size" in warning for warning in reply.warnings)
