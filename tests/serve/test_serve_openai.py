"""OpenAI's own client against a running server: plain, streams, structured output, errors, usage, runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from agora_server import SCRIPTED, AgoraServer, agora_serve
from fake_server import Served, serve

from agora.journal import Journal

MORE = """
  upstream: {openai: far, base_url: "URL"}
  picky: {scripted: '{"city": "Rome", "size": 3}', name: picky}
  talker: {scripted: 'no json here', name: talker}
  counter: pocket:sum
"""
QUESTION = [{"role": "user", "content": "What is six times seven?"}]


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def server(far: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgoraServer]:
    text = SCRIPTED.replace("agents:", MORE.replace("URL", far.url).lstrip("\n") + "agents:")
    with agora_serve(tmp_path_factory.mktemp("openai"), text=text) as running:
        yield running


@pytest.fixture
def client(server: AgoraServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def journaled(server: AgoraServer, run: str) -> tuple[str, list[str]]:
    """A run's status and the paths of its calls."""
    async with Journal(server.store) as journal:
        return (await journal.run(run)).status, [call["path"] for call in await journal.calls(run)]


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:4] == ["duo", "duo/ann", "duo/bob", "duo/slow"]
    assert client.models.retrieve("duo/ann").id == "duo/ann"
    assert client.models.retrieve("ann").id == "duo/ann"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("nobody")


def test_bodies_are_what_the_sdk_says_they_are(server: AgoraServer) -> None:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk  # the client itself does not check

    asked = {"model": "upstream", "messages": QUESTION, "logprobs": True, "n": 2}
    for model in ("upstream", "duo"):
        body = {**asked, "model": model, "logprobs": model != "duo"}
        url = f"{server.url}/v1/chat/completions"
        ChatCompletion.model_validate_json(httpx2.post(url, json=body, timeout=30).content)
        more = {"stream": True, "stream_options": {"include_usage": True}}
        said = httpx2.post(url, json={**body, **more}, timeout=30).text.removesuffix("data: [DONE]\n\n")
        chunks = [ChatCompletionChunk.model_validate_json(line[6:]) for line in said.split("\n\n") if line]
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[-1].usage is not None


def test_a_debate_is_a_model(client: openai.OpenAI, server: AgoraServer) -> None:
    raw = client.chat.completions.with_raw_response.create(model="duo", messages=QUESTION)
    done = raw.parse()
    (choice,) = done.choices
    assert choice.message.content == "I see. Answer: 42"
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    said = done.model_extra["agora"]
    assert (said["answer"], said["rounds"], said["calls"]) == ("42", 1, 4)
    assert raw.headers["x-agora-run"] == said["run"]
    assert "ann (round 0):\nI think so. Answer: 41\n-> 41" in choice.message.model_extra["reasoning_content"]
    status, paths = asyncio.run(journaled(server, said["run"]))
    assert (status, sorted(paths)) == ("done", ["ann/0/answer", "ann/1/revise", "bob/0/answer", "bob/1/revise"])


def test_usage_adds_up_over_all_calls(client: openai.OpenAI, server: AgoraServer) -> None:
    done = client.chat.completions.create(model="duo", messages=QUESTION, n=3)
    runs = [choice.model_extra["agora"]["run"] for choice in done.choices]
    assert len(set(runs)) == 3

    async def spent() -> tuple[int, int]:
        async with Journal(server.store) as journal:
            found = [(await journal.run(run)).usage for run in runs]
        return sum(u.input_tokens for u in found), sum(u.output_tokens for u in found)

    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == asyncio.run(spent())
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    each = [choice.model_extra["agora"]["calls"] for choice in done.choices]
    assert done.model_extra["agora"]["calls"] == sum(each) == 12


def test_a_stream_shows_the_debate_and_then_the_answer(client: openai.OpenAI) -> None:
    thought, text, last, usage = "", "", None, None
    kinds: list[str] = []
    with client.chat.completions.create(
        model="duo", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                if more := (choice.delta.model_extra or {}).get("reasoning_content"):
                    thought += more
                    kinds.append("thought")
                if choice.delta.content:
                    text += choice.delta.content
                    kinds.append("text")
                last = choice.finish_reason or last
    assert kinds == sorted(kinds, reverse=True)
    assert text == "I see. Answer: 42"
    assert thought.startswith("ann, bob debate.")
    assert thought.rstrip().endswith("stop: unanimous")
    assert last == "stop"
    assert usage is not None
    assert usage.total_tokens > 0


def test_a_stream_of_the_answer_alone(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="duo", messages=QUESTION, stream=True, extra_body={"agora": {"stream": "answer"}}
    ) as stream:
        deltas = [choice.delta for chunk in stream for choice in chunk.choices]
    assert not any((delta.model_extra or {}).get("reasoning_content") for delta in deltas)
    assert "".join(delta.content or "" for delta in deltas) == "I see. Answer: 42"


def test_a_hosted_model_streams_as_it_writes(client: openai.OpenAI, server: AgoraServer) -> None:
    with client.chat.completions.create(model="upstream", messages=QUESTION, stream=True) as stream:
        pieces = [c.delta.content for chunk in stream for c in chunk.choices if c.delta.content]
    assert len(pieces) > 3
    whole = client.chat.completions.create(model="upstream", messages=QUESTION)
    assert "".join(pieces) == whole.choices[0].message.content
    assert asyncio.run(journaled(server, whole.model_extra["agora"]["run"])) == ("done", ["answer"])


def test_several_streams_in_one(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="duo", messages=QUESTION, stream=True, n=3) as stream:
        assert len(set(stream.response.headers["x-agora-run"].split(","))) == 3
        texts = {0: "", 1: "", 2: ""}
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    assert set(texts.values()) == {"I see. Answer: 42"}


def test_structured_output_of_a_model(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    done = client.chat.completions.create(model="picky", messages=QUESTION, response_format=form)
    assert json.loads(done.choices[0].message.content or "")["city"] == "Rome"
    hosted = client.chat.completions.create(model="upstream", messages=QUESTION, response_format=form)
    assert json.loads(hosted.choices[0].message.content or "") == {"city": "x"}
    with pytest.raises(openai.APIStatusError, match="not the JSON") as caught:
        client.chat.completions.create(model="talker", messages=QUESTION, response_format=form)
    assert caught.value.status_code == 502


def test_structured_output_of_a_debate(far: Served, tmp_path: Path) -> None:
    text = """
    agents:
      a: {model: {scripted: 'I think {"n": 2}'}}
      b: {model: {scripted: 'Surely {"n": 2}'}}
      c: {model: {scripted: 'Not {"m": 3}'}}
    """
    with (
        agora_serve(tmp_path, text=text, name="three.yaml") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        done = client.chat.completions.create(model="three", messages=QUESTION, response_format=form)
        assert json.loads(done.choices[0].message.content or "") == {"n": 2}
        assert done.model_extra["agora"]["support"] == {'{"n": 2}': 2.0}
        form["json_schema"]["schema"] = {"type": "object", "required": ["never"]}
        none = client.chat.completions.create(model="three", messages=QUESTION, response_format=form)
        assert none.choices[0].message.content is None
        assert "no answer" in (none.choices[0].message.refusal or "")


def test_logprobs_where_there_are_some(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="upstream", messages=QUESTION, logprobs=True, top_logprobs=2)
    said = done.choices[0].logprobs
    assert said is not None
    assert said.content is not None
    assert "".join(token.token for token in said.content) == done.choices[0].message.content
    assert len(said.content[0].top_logprobs) == 2
    with client.chat.completions.create(model="upstream", messages=QUESTION, logprobs=True, stream=True) as stream:
        told = [c.logprobs for chunk in stream for c in chunk.choices if c.logprobs]
    assert sum(len(each.content or ()) for each in told) == len(said.content)
    for model in ("duo", "bob", "bob"):
        with pytest.raises(openai.BadRequestError, match="no log-probabilities") as caught:
            client.chat.completions.create(model=model, messages=QUESTION, logprobs=True)
        assert caught.value.param == "logprobs"


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "nobody"}, 404, "does not exist; there are duo"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "no text"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400, "image"),
        ({"temperature": 3}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"n": 1000}, 400, "n: "),
        ({"top_logprobs": 2}, 400, "needs logprobs"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"logit_bias": {"1": 2}}, 400, "logit_bias"),
        ({"extra_body": {"nonsense": 1}}, 400, "Unrecognized request argument supplied: nonsense"),
        ({"extra_body": {"agora": {"rounds": -1}}}, 400, "agora.rounds"),
        ({"extra_body": {"agora": {"preset": "nonsense"}}}, 400, "no preset"),
        ({"extra_body": {"agora": {"budget": {"calls": -1}}}}, 400, "agora.budget.calls"),
        ({"model": "ann", "extra_body": {"agora": {"rounds": 1}}}, 400, "no debate"),
        ({"stop": [""]}, 400, "stop"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}},
            400,
            "not a JSON Schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://x"}}}},
            400,
            "only to itself",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": "(a+)+$"}}}},
            400,
            "patterns",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_in_the_form_of_the_api(
    client: openai.OpenAI, changes: dict[str, object], status: int, said: str, stream: bool
) -> None:
    changes = {"stream": True, **changes} if stream and "stream_options" not in changes else changes
    with pytest.raises(openai.APIStatusError, match=said) as caught:
        client.chat.completions.create(**{"model": "duo", "messages": QUESTION, **changes})  # type: ignore[call-overload]
    assert caught.value.status_code == status
    assert caught.value.type in ("invalid_request_error", "not_found_error")
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_budget_of_the_request(client: openai.OpenAI, server: AgoraServer) -> None:
    extra = {"agora": {"budget": {"calls": 2}}}
    done = client.chat.completions.create(model="duo", messages=QUESTION, extra_body=extra)
    said = done.model_extra["agora"]
    assert said["calls"] == 2
    assert "budget (calls)" in said["reason"]
    with pytest.raises(openai.APIStatusError, match="budget of 0 calls") as caught:
        client.chat.completions.create(model="duo", messages=QUESTION, extra_body={"agora": {"budget": {"calls": 0}}})
    assert caught.value.status_code == 402
    run = caught.value.response.headers["x-agora-run"]
    assert asyncio.run(journaled(server, run)) == ("budget", [])
    with pytest.raises(openai.APIStatusError, match="seconds") as late:
        client.chat.completions.create(
            model="slow", messages=QUESTION, extra_body={"agora": {"budget": {"seconds": 0.2}}}
        )
    assert late.value.status_code == 504


def test_no_request_takes_more_than_the_server_allows(tmp_path: Path) -> None:
    with (
        agora_serve(tmp_path, "--calls", "3") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        for calls, taken in ((2, 2), (100, 3)):
            extra = {"agora": {"budget": {"calls": calls}}}
            done = client.chat.completions.create(model="duo", messages=QUESTION, extra_body=extra)
            assert done.model_extra["agora"]["calls"] == taken


def test_rounds_and_a_preset(client: openai.OpenAI) -> None:
    one = client.chat.completions.create(model="duo", messages=QUESTION, extra_body={"agora": {"rounds": 0}})
    assert one.model_extra["agora"]["calls"] == 2
    other = client.chat.completions.create(
        model="duo", messages=QUESTION, extra_body={"agora": {"preset": "society-of-minds"}}
    )
    assert "ann (round 2" in other.choices[0].message.model_extra["reasoning_content"]
    single = client.chat.completions.create(
        model="bob", messages=QUESTION, extra_body={"agora": {"preset": "self-consistency"}}
    )
    assert single.model_extra["agora"]["calls"] > 2


COMPOSITES = """
models:
  sum: pocket:sum
  mul: pocket:mul
  both: {fuse: [sum, mul]}
  sure: {cascade: [mul, sum], until: confidence >= 0.99}
  ruled: {route: [mul, sum], by: {rules: [{when: length > 2000, model: mul}]}, else: sum}
  group: {cascade: [mul, {preset: society-of-minds, models: {a: sum, b: sum, c: mul}}], until: confidence >= 0.99}
"""


def test_whatever_can_be_built_is_a_model(tmp_path: Path) -> None:
    question = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
    with (
        agora_serve(tmp_path, text=COMPOSITES, name="pocket.yaml") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == server.models
        for name in ("both", "sure", "ruled", "group"):
            messages = [{"role": "user", "content": question}]
            done = client.chat.completions.create(model=name, messages=messages, seed=1, temperature=0)
            said = done.model_extra["agora"]
            assert done.choices[0].message.content
            status, paths = asyncio.run(journaled(server, said["run"]))
            assert (status, len(paths)) == ("done", said["calls"])
            with client.chat.completions.create(
                model=name, messages=messages, seed=1, temperature=0, stream=True
            ) as stream:
                pieces = [c.delta.content or "" for chunk in stream for c in chunk.choices]
            assert "".join(pieces) == done.choices[0].message.content
            if name in ("sure", "ruled"):
                assert said["route"][0] in ("sum", "mul")
        fused = client.chat.completions.create(model="both", messages=messages, logprobs=True, top_logprobs=3)
        told = fused.choices[0].logprobs
        assert told is not None
        assert told.content


def test_settings_reach_the_model(client: openai.OpenAI, far: Served) -> None:
    before = len(far.log())
    done = client.chat.completions.create(
        model="upstream",
        messages=[{"role": "developer", "content": "Be brief."}, *QUESTION, {"role": "assistant", "content": "42"},
                  {"role": "user", "content": [{"type": "text", "text": "Sure?"}]}],
        temperature=0.5, top_p=0.9, max_completion_tokens=77, seed=3, stop=["\n"],
    )  # fmt: skip
    assert done.choices[0].message.content
    assert len(far.log()) > before


def test_seeds_are_of_each_choice(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="upstream", messages=QUESTION, seed=5, n=3)
    texts = [choice.message.content for choice in done.choices]
    assert len(set(texts)) == 3
    again = client.chat.completions.create(model="upstream", messages=QUESTION, seed=6)
    assert again.choices[0].message.content == texts[1]


def test_a_failing_upstream(client: openai.OpenAI, far: Served, tmp_path: Path) -> None:
    text = f"models: {{m: {{openai: far, base_url: '{far.url}', retry: {{attempts: 1}}}}}}"
    far.control(faults={"500": 1.0})
    try:
        with agora_serve(tmp_path, text=text, name="alone.yaml") as server:
            assert server.models == ["alone/m"]
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2) as other:
                for stream in (False, True):
                    with pytest.raises(openai.InternalServerError, match="openai:far") as caught:
                        other.chat.completions.create(model="m", messages=QUESTION, stream=stream)
                    assert caught.value.status_code == 502
                    status, paths = asyncio.run(journaled(server, caught.value.response.headers["x-agora-run"]))
                    assert (status, paths) == ("failed", ["answer"])
        assert far.stats()["faults"]["500"] == 2  # the client did not try again, which would be paid for again
    finally:
        far.control(faults={})
