"""A debate that has, as one of its agents, a debate that another agora process serves."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from agora_server import SCRIPTED, agora_serve

import agora
from agora import config

FILE = """
models:
  inner: {{openai: duo, base_url: "{url}/v1"}}
  own: {{scripted: 'Answer: 42', name: own}}
agents: {{group: inner, single: own}}
answer: number
moderator: {{stop: unanimous | rounds(2)}}
"""


@pytest.mark.parametrize("stream", [False, True])
def test_a_debate_in_another_process_is_an_agent(tmp_path: Path, stream: bool) -> None:
    with agora_serve(tmp_path) as server:
        debate, _ = config.loads(FILE.format(url=server.url))

        async def go() -> agora.Verdict:
            async with debate.watch("What is six times seven?", stream=stream) as events:
                async for _ in events:
                    pass
            assert events.verdict is not None
            return events.verdict

        import anyio

        verdict = anyio.run(go)
        counted = httpx2.get(f"{server.url}/metrics").text
    assert (verdict.answer, verdict.reason.split(";")[0]) == ("42", "unanimous")
    group = verdict.rounds[0].final["group"].reply
    assert group is not None
    assert group.text == "I see. Answer: 42"
    assert "ann (round 1" in (group.reasoning or "")  # who said what over there can be read here
    assert group.usage.input_tokens > 100  # of all four calls
    assert 'agora_model_calls_total{model="duo"} 4.0' in counted


def test_a_server_that_serves_a_debate_with_a_served_debate(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "outer").mkdir()
    with agora_serve(tmp_path / "inner", text=SCRIPTED) as inner:
        text = FILE.format(url=inner.url)
        with agora_serve(tmp_path / "outer", text=text, name="outer.yaml") as outer:
            body = {"model": "outer", "messages": [{"role": "user", "content": "What is six times seven?"}]}
            done = httpx2.post(f"{outer.url}/v1/chat/completions", json=body, timeout=30).json()
    assert done["agora"]["answer"] == "42"
    assert done["agora"]["calls"] == 2
