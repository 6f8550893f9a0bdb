"""Promises to those who pay: what is paid for is counted, nobody pays twice, nothing is sent that is lost already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from agora import Agent, Budget, Debate, Journal, Message, Moderator, ScriptedModel
from agora.budget import Price
from agora.errors import InputError, ModelError, QuorumError, RequestError
from agora.models.openai import OpenAIModel
from agora.models.wrappers import Fallback, Retry, RetryPolicy
from agora.records import Reply, Usage
from agora.text.stop import rounds


def hosted(content: str, *, finish: str = "stop", status: int = 200) -> OpenAIModel:
    """A model whose server charges 1,000 tokens for whatever it says."""
    done = {
        "choices": [{"message": {"content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1000},
    }

    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json=done)

    from openai import AsyncOpenAI

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    client = AsyncOpenAI(api_key="k", base_url="http://x/v1", http_client=http, max_retries=0)
    return OpenAIModel("m", api_key="k", base_url="http://x/v1", client=client, price=Price(1.0, 1000.0))


ASK = [Message("user", "q?")]


@pytest.mark.parametrize(
    ("content", "finish"), [("", "length"), ("", "stop"), ("x", "content_filter"), ("<think>x", "stop")]
)
def test_a_reply_that_cannot_be_used_is_paid_for(content: str, finish: str) -> None:
    with pytest.raises(ModelError) as caught:
        anyio.run(hosted(content, finish=finish).answer, ASK)
    assert caught.value.usage is not None
    assert caught.value.usage.usd == pytest.approx((10 + 1000 * 1000) / 1e6)


def test_it_counts_in_verdict_budget_and_journal(tmp_path: Path) -> None:
    agents = [Agent("thinker", hosted("", finish="length")), *(Agent(n, ScriptedModel("Answer: 1")) for n in "ab")]
    debate = Debate(agents, answer="number", moderator=Moderator(rounds(9)), budget=Budget(usd=2.5))
    verdict = debate.run("q?", journal=tmp_path / "j.sqlite", run="r")
    assert verdict.usage.usd is not None
    assert 1.0 <= verdict.usage.usd <= 3.1  # a surprise is the last: without counting it, it would be 10
    assert "thinker" in verdict.absent or "budget" in verdict.reason

    async def recorded() -> Any:
        async with Journal(tmp_path / "j.sqlite") as journal:
            return (await journal.run("r")).usage

    usage = anyio.run(recorded)
    assert (usage.usd, usage.tokens) == (pytest.approx(verdict.usage.usd), verdict.usage.tokens)
    again = debate.run("q?", journal=tmp_path / "j.sqlite", run="r")
    assert again.usage.usd == pytest.approx(verdict.usage.usd)


def test_retries_and_fallbacks_add_up_what_failed() -> None:
    replies: list[Any] = [ModelError("x"), "fine"]
    replies[0].usage, replies[0].retryable = Usage(1, 5, 50, usd=0.5), True
    reply = anyio.run(Retry(ScriptedModel(replies), RetryPolicy(base=0.001)).answer, ASK)
    assert (reply.usage.calls, reply.usage.usd) == (2, 0.5)
    lost = RequestError("gone")
    lost.usage = Usage(1, 5, 50, usd=0.25)
    reply = anyio.run(Fallback([ScriptedModel([lost]), ScriptedModel("fine")]).answer, ASK)
    assert (reply.usage.calls, reply.usage.usd) == (2, 0.25)


def test_a_server_that_does_not_say_what_it_took_is_estimated() -> None:
    silent = ScriptedModel(lambda messages: Reply("Answer: 1", model="m", usage=Usage(1, usd=None)))
    debate = Debate([Agent("a", silent)], answer="number", moderator=Moderator(rounds(500)), budget=Budget(tokens=3000))
    assert "budget (tokens)" in debate.run("q?").reason
    assert len(silent.calls) < 15


def test_nobody_runs_ahead_of_a_failure() -> None:
    slow = Agent("slow", ScriptedModel("Answer: 1", latency=0.1))
    quick = ScriptedModel("Answer: 2", latency=0.03)
    agents = [Agent("bad", ScriptedModel([ModelError("no")])), Agent("quick", quick), slow]
    with pytest.raises(QuorumError):
        Debate(agents, answer="number", moderator=Moderator(rounds(3), quorum=1.0)).run("q?")
    assert len(quick.calls) == 1


def test_two_who_resume_at_once_do_not_both(tmp_path: Path) -> None:
    from agora import store

    url = str(tmp_path / "j.sqlite")
    Debate([Agent("a", ScriptedModel("x"))]).run("q?", journal=url, run="r")
    engine = store.connect(url, 5.0)
    assert store.take(engine, "r", f"{os.uname().nodename}#", os.getppid())
    assert not store.take(engine, "r", "another#1", 1)
    row: dict[str, Any] = {"id": "r", "created": 0.0, "updated": 0.0, "status": "running", "name": "x", "content": True}
    assert not store.insert(engine, row)


def test_a_budget_in_usd_needs_prices_before_anything_is_sent() -> None:
    class Unpriced:
        name = "unpriced"

        async def answer(self, messages: Any, settings: Any = None) -> Reply:
            raise AssertionError

    cheap = ScriptedModel("Answer: 1")
    debate = Debate([Agent("a", cheap), Agent("b", Unpriced())], budget=Budget(usd=1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="price of unpriced is not known"):
        debate.run("q?")
    assert not cheap.calls


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Agent("a", "pocket:sum"),  # type: ignore[arg-type]
        lambda: Moderator("unanimous"),  # type: ignore[arg-type]
        lambda: Debate("x"),  # type: ignore[arg-type]
        lambda: Debate([Agent("a", ScriptedModel("x"))], moderator="unanimous"),  # type: ignore[arg-type]
        lambda: Debate([Agent("a", ScriptedModel("x"))]).run(5),  # type: ignore[arg-type]
    ],
)
def test_misuse_in_python_is_said(wrong: Any) -> None:
    with pytest.raises(InputError):
        wrong()


# ---- the command line -------------------------------------------------------------------------------------------

SLOW = "question: q?\nagents:\n  a: {model: {scripted: x, latency: 5}}\n  b: {model: {scripted: x, latency: 5}}\n"


def agora(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "agora.cli", *arguments]
    return subprocess.Popen(
        command, stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True, **options
    )


def test_being_ended_in_the_background_ends_it(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(SLOW)
    env = {**os.environ, "AGORA_STORE": str(tmp_path / "j.sqlite")}
    process = agora("run", str(tmp_path / "d.yaml"), env=env,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - begun < 4
    assert process.returncode == 130
    assert "agora run --resume" in err


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(SLOW.replace("latency: 5", "latency: 0"))
    env = {**os.environ, "AGORA_STORE": str(tmp_path / "j.sqlite")}
    assert agora("run", str(tmp_path / "d.yaml"), env=env).wait(30) == 0
    process = agora("export", "last", "-o", str(tmp_path / "none" / "x"), env=env)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count("\n")) == (2, 1)
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            process = agora("schema", env=env, stdout=full)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Traceback" not in err


def test_a_failure_is_json_too(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("question: q?\nagents: {a: {model: {scripted: x, failures: 1.0}}}\n")
    env = {**os.environ, "AGORA_STORE": str(tmp_path / "j.sqlite")}
    out, _ = agora("run", str(tmp_path / "d.yaml"), "--json", env=env).communicate(timeout=30)
    data = json.loads(out)
    assert data["exit_status"] == 1
    assert "only 0 of 1 agents spoke" in data["error"]
    assert data["run"]
