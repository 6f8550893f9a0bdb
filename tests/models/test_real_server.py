"""The vendors' adapters over real sockets, against the fake server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from fake_server import Served, serve

from agora import Agent, Debate, Message, Moderator, Settings
from agora.calls import Delta, scope
from agora.config import loads
from agora.config.models import load_model
from agora.errors import AuthError, MalformedError, ModelConnectionError, ModelError, ModelTimeoutError, RateLimitError
from agora.model import Model
from agora.models.anthropic import AnthropicModel
from agora.models.openai import OpenAIModel
from agora.models.wrappers import Retry, RetryPolicy, Timeout
from agora.records import Reply, Retrying, Verdict, Wrote
from agora.text.stop import rounds

KINDS = ["openai", "anthropic"]
KEY = "key-0123456789"
ASK = (Message("system", "Be brief."), Message("user", "2+2?"))


@pytest.fixture(scope="module")
def _one() -> Iterator[Served]:
    with serve() as server:
        yield server


@pytest.fixture
def server(_one: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    _one.control(latency=None, faults={}, rpm=None, refuse_seconds=0, seed=0)
    return _one


def model(kind: str, server: Served, name: str = "m", **options: Any) -> Model:
    if kind == "openai":
        return OpenAIModel(name, api_key=KEY, base_url=server.url, **options)
    return AnthropicModel(name, api_key=KEY, base_url=server.root, **options)


def three(kind: str, server: Served, *, retry: bool = False, **options: Any) -> Debate:
    """Three agents, two rounds."""
    models = [model(kind, server, f"m{i}", **options) for i in range(3)]
    if retry:
        models = [Retry(m, RetryPolicy(base=0.001)) for m in models]
    agents = [Agent(name, m) for name, m in zip("abc", models, strict=True)]
    return Debate(agents, moderator=Moderator(rounds(1)), answer="number")


# ---- single calls -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_plain(server: Served, kind: str) -> None:
    before = server.stats()
    reply = await model(kind, server).answer(ASK, Settings(seed=1, max_tokens=50))
    after = server.stats()
    assert "Answer: " in reply.text
    assert (reply.model, reply.finish) == (f"{kind}:m", "stop")
    usage = reply.usage
    assert (usage.calls, usage.usd) == (1, None)
    assert usage.input_tokens == after["input_tokens"] - before["input_tokens"] > 0
    assert usage.output_tokens == after["output_tokens"] - before["output_tokens"] > 0
    assert usage.seconds > 0


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_says_the_same(server: Served, kind: str) -> None:
    heard: list[Delta] = []
    plain = await model(kind, server).answer(ASK, Settings(seed=1, logprobs=2))
    with scope(listen=heard.append, stream=True):
        streamed = await model(kind, server).answer(ASK, Settings(seed=1, logprobs=2))
    assert streamed.text == plain.text == "".join(delta.text for delta in heard)
    assert [delta.first for delta in heard] == [True] + [False] * (len(heard) - 1)
    assert len(heard) > 2
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (
        plain.usage.input_tokens, plain.usage.output_tokens,
    )  # fmt: skip
    assert (streamed.tokens, streamed.logprob, streamed.finish) == (plain.tokens, plain.logprob, plain.finish)


@pytest.mark.anyio
async def test_logprobs(server: Served) -> None:
    reply = await model("openai", server).answer(ASK, Settings(logprobs=3))
    assert "".join(token.text for token in reply.tokens) == reply.text
    assert all(len(token.top) == 3 for token in reply.tokens)
    assert reply.logprob == pytest.approx(reply.tokens[0].logprob)


@pytest.mark.anyio
@pytest.mark.parametrize("structured", ["native", "prompt"])
async def test_structured(server: Served, structured: Any) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    asked = model("openai", server, structured=structured).answer(ASK, Settings(schema=schema))
    if structured == "native":
        assert json.loads((await asked).text) == {"x": 1}
    else:
        with pytest.raises(MalformedError):  # this server does as it is told only where it is told natively
            await asked


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        ("429", [RateLimitError]),
        ("500", ["ServerError"]),
        ("json", [MalformedError]),
        ("empty", [MalformedError]),
        ("echo", [AuthError]),
        ("close", [ModelConnectionError]),
        ("cut", [ModelConnectionError, MalformedError]),
        ("stall", [ModelTimeoutError]),
    ],
)
async def test_faults(server: Served, kind: str, stream: bool, fault: str, errors: list[Any]) -> None:
    server.control(faults={fault: 1.0})
    asked = Timeout(model(kind, server), 0.1) if fault == "stall" else model(kind, server)
    for _ in range(2 if fault == "cut" else 1):  # streams are cut in two ways
        with scope(listen=lambda what: None, stream=stream), pytest.raises(ModelError) as caught:
            await asked.answer(ASK)
        names = [error if isinstance(error, str) else error.__name__ for error in errors]
        assert type(caught.value).__name__ in names
        assert caught.value.retryable == (fault != "echo")
        assert KEY not in str(caught.value)
        if fault == "429":
            assert 0 <= caught.value.retry_after <= 2  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_listens(kind: str) -> None:
    with serve() as gone:
        pass
    with pytest.raises(ModelConnectionError) as caught:
        await model(kind, gone).answer(ASK)
    assert caught.value.retryable


# ---- debates ----------------------------------------------------------------------------------------------------


async def watched(debate: Debate) -> tuple[Verdict, list[Any]]:
    async with debate.watch("q?", stream=True) as watch:
        events = [event async for event in watch]
    assert watch.verdict is not None
    return watch.verdict, events


def written(events: list[Any]) -> dict[tuple[str, int], list[str]]:
    """All texts that an agent has begun in a round."""
    texts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for event in events:
        if isinstance(event, Wrote):
            if event.first:
                texts[event.agent, event.round].append("")
            texts[event.agent, event.round][-1] += event.text
    return texts


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_written_adds_up(server: Served, kind: str) -> None:
    verdict, events = await watched(three(kind, server))
    texts = {(t.agent, t.round): [t.reply.text] for r in verdict.rounds for t in r.turns if t.reply}
    assert len(texts) == 6
    assert written(events) == texts


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_cut_stream_begins_anew(server: Served, kind: str) -> None:
    server.control(faults={"cut": 0.5}, seed=3)
    before = server.stats()
    verdict, events = await watched(three(kind, server, retry=True))
    after = server.stats()
    cut = after["faults"].get("cut", 0) - before["faults"].get("cut", 0)
    assert cut > 0
    said = {(t.agent, t.round): t.reply for r in verdict.rounds for t in r.turns if t.reply}
    texts = written(events)
    assert {key: begun[-1] for key, begun in texts.items()} == {key: reply.text for key, reply in said.items()}
    assert sum(len(begun) for begun in texts.values()) <= 6 + cut
    assert any(len(begun) > 1 for begun in texts.values())
    assert all(said[key].text.startswith(begun) for key, all in texts.items() for begun in all)
    retried = sum(isinstance(event, Retrying) for event in events)
    assert sum(reply.attempts for reply in said.values()) == 6 + retried
    assert after["requests"] - before["requests"] == 6 + cut
    # a connection that the server closes behind a stream may be used once more before its end is seen
    assert cut <= retried <= 2 * cut


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_two_event_loops(server: Served, kind: str) -> None:
    debate = three(kind, server)
    first, second = debate.run("q?"), debate.run("q?")
    assert (first.text, first.answer) == (second.text, second.answer)

    async def go() -> Verdict:
        return await debate.answer("q?")

    assert anyio.run(go, backend="trio").text == first.text


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_connections_are_reused(server: Served, kind: str) -> None:
    before = server.stats()["connections"]
    debate = three(kind, server)
    for i in range(5):
        await debate.answer(f"q {i}?")
    opened = server.stats()["connections"] - before - 1  # one is that of `stats`
    assert 1 <= opened <= 3  # as many as there were calls at once: 30 calls in all


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nothing_is_left_open(server: Served, backend: str) -> None:
    """A process that warns of everything has nothing to say of two event loops, streams, and calls left early."""
    server.control(latency=[0.01, 0.3])
    # on trio the SDKs' streams leave generators behind, of which trio warns: that is theirs
    streams = (False, True) if backend == "asyncio" else (False, False)
    code = f"""
import logging
import anyio
# that a callback was slow is told too: that is the machine's affair
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))
from agora.config import loads
text = '''
models:
  a: {{openai: a, base_url: "{server.url}"}}
  b: {{anthropic: b, base_url: "{server.root}"}}
agents: {{a: a, b: b, c: a, d: b}}
moderator: {{stop: rounds(1)}}
'''
debate = loads(text)[0]

async def whole(stream):
    async with debate.watch("q?", stream=stream) as events:
        async for event in events:
            pass
    print(events.verdict.answer is not None)

async def left(stream):
    async with debate.watch("q?", stream=stream) as events:
        n = 0
        async for event in events:
            n += 1
            if n > 7:
                break

async def given_up():
    with anyio.move_on_after(0.02):
        await debate.answer("q?")

for stream in {streams}:
    anyio.run(whole, stream, backend="{backend}")
    anyio.run(left, stream, backend="{backend}")
anyio.run(given_up, backend="{backend}")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.anyio
async def test_a_file_from_end_to_end(server: Served) -> None:
    text = f"""
models:
  small: {{openai: fake-small, base_url: "{server.url}", temperature: 0.3, price: {{input: 1, output: 2}}}}
  large: {{anthropic: fake-large, base_url: "{server.root}", max_tokens: 100, price: {{input: 3, output: 4}}}}
agents: {{a: small, b: large, c: {{model: small, persona: a pedant}}}}
moderator: {{stop: rounds(2)}}
answer: number
"""
    server.control(faults={"500": 0.2}, seed=1)
    before = server.stats()
    verdict = await loads(text)[0].answer("2+2?")
    after = server.stats()
    assert verdict.usage.calls == 9 == after["ok"] - before["ok"]
    assert verdict.usage.input_tokens == after["input_tokens"] - before["input_tokens"]
    assert verdict.usage.output_tokens == after["output_tokens"] - before["output_tokens"]
    small = [part.usage for part in verdict.parts if part.model == "openai:fake-small"]
    large = [part.usage for part in verdict.parts if part.model == "anthropic:fake-large"]
    usd = sum(u.input_tokens + 2 * u.output_tokens for u in small)
    usd += sum(3 * u.input_tokens + 4 * u.output_tokens for u in large)
    assert verdict.usage.usd == pytest.approx(usd / 1e6)
    assert sum(part.attempts for part in verdict.parts) == after["requests"] - before["requests"]


@pytest.mark.anyio
async def test_a_fallback_takes_over(server: Served) -> None:
    with serve(faults={"echo": 1.0}) as broken:
        preferred = {"openai": "x", "base_url": broken.url}
        value = {"fallback": [preferred, {"openai": "m", "base_url": server.url}]}
        reply: Reply = await load_model(value).answer(ASK)
    assert reply.model == "openai:m"
