"""Anthropic's own client against a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import httpx2
import pytest
from agora_server import SCRIPTED, AgoraServer, agora_serve
from fake_server import Served, serve
from pydantic import TypeAdapter

QUESTION = [{"role": "user", "content": "What is six times seven?"}]


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def server(far: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgoraServer]:
    more = f"  upstream: {{openai: far, base_url: '{far.url}'}}\n  picky: {{scripted: '{{\"n\": 3}}', name: picky}}\n"
    with agora_serve(tmp_path_factory.mktemp("anthropic"), text=SCRIPTED.replace("agents:", f"{more}agents:")) as made:
        yield made


@pytest.fixture
def client(server: AgoraServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def test_models(client: anthropic.Anthropic) -> None:
    found = client.models.list()
    assert [model.id for model in found][:2] == ["duo", "duo/ann"]
    assert found.has_more is False
    assert client.models.retrieve("duo/bob").display_name == "duo/bob"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")


def test_bodies_are_what_the_sdk_says_they_are(server: AgoraServer) -> None:
    from anthropic.types import Message, ModelInfo, RawMessageStreamEvent  # the client itself does not check

    listed = httpx2.get(f"{server.url}/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    for model in listed["data"]:
        ModelInfo.model_validate(model)
    for thinking in ("enabled", "disabled"):
        asked = {"model": "duo", "max_tokens": 2000, "messages": QUESTION, "thinking": {"type": thinking}}
        url = f"{server.url}/v1/messages"
        Message.model_validate_json(httpx2.post(url, json=asked, timeout=30).content)
        said = httpx2.post(url, json={**asked, "stream": True}, timeout=30).text.strip()
        for event in said.split("\n\n"):
            kind, _, data = event.partition("\ndata: ")
            found = TypeAdapter(RawMessageStreamEvent).validate_json(data)
            assert kind == f"event: {found.type}"


def test_a_debate_is_a_model(client: anthropic.Anthropic) -> None:
    done = client.messages.create(model="duo", max_tokens=100, messages=QUESTION)
    assert [block.type for block in done.content] == ["text"]
    assert done.content[0].text == "I see. Answer: 42"
    assert (done.stop_reason, done.role, done.type) == ("end_turn", "assistant", "message")
    assert done.usage.input_tokens > 100
    assert done.model_extra["agora"]["answer"] == "42"
    assert done.id == f"msg_{done.model_extra['agora']['run']}"


def test_thinking_shows_the_debate_and_can_be_sent_back(client: anthropic.Anthropic) -> None:
    done = client.messages.create(
        model="duo", max_tokens=4000, messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert [block.type for block in done.content] == ["thinking", "text"]
    assert "stop: unanimous" in done.content[0].thinking
    again = [*QUESTION, {"role": "assistant", "content": done.content}, {"role": "user", "content": "Sure?"}]
    more = client.messages.create(model="duo", max_tokens=100, system="Be brief.", messages=again)
    assert more.content[0].text.endswith("Answer: 42")


def test_a_stream_has_the_sequence_of_events(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="duo", max_tokens=4000, messages=QUESTION, thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        kinds = [event.type for event in stream if event.type not in ("text", "thinking")]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[1].text == "I see. Answer: 42"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0
    assert final.usage.input_tokens > 0


def test_a_stream_of_the_answer_alone(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="upstream", max_tokens=100, messages=QUESTION) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert [block.type for block in final.content] == ["text"]
    assert "".join(pieces) == final.content[0].text


def test_structured_output(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    done = client.messages.create(
        model="picky", max_tokens=100, messages=QUESTION,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )  # fmt: skip
    assert json.loads(done.content[0].text) == {"n": 3}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"model": "nobody"}, "not_found_error", "does not exist"),
        ({"messages": [{"role": "system", "content": "x"}]}, "invalid_request_error", "role"),
        ({"extra_body": {"temperature": 1.5}}, "invalid_request_error", "temperature"),
        ({"extra_body": {"nonsense": 1}}, "invalid_request_error", "nonsense"),
        ({"extra_body": {"agora": {"budget": {"calls": 0}}}}, "billing_error", "budget of 0 calls"),
        ({"tools": [{"name": "f", "input_schema": {"type": "object"}}]}, "invalid_request_error", "tools"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
            "invalid_request_error",
            "image",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_in_the_form_of_the_api(
    client: anthropic.Anthropic, changes: dict[str, object], kind: str, said: str, stream: bool
) -> None:
    with pytest.raises(anthropic.APIStatusError, match=said) as caught:
        client.messages.create(
            **{"model": "duo", "max_tokens": 10, "messages": QUESTION, "stream": stream, **changes}  # type: ignore[call-overload]
        )
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    assert caught.value.body["error"]["type"] == kind  # type: ignore[index]


def test_what_breaks_a_stream_is_an_event_of_it(far: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = f"""
    models: {{good: {{scripted: 'Answer: 1'}}, far: {{openai: x, base_url: '{far.url}', retry: {{attempts: 1}}}}}}
    agents: {{a: good, b: far}}
    moderator: {{quorum: 1.0}}
    """
    far.control(faults={"500": 1.0})
    try:
        with (
            agora_serve(tmp_path_factory.mktemp("broken"), text=text, name="b.yaml") as server,
            anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
        ):
            with (
                pytest.raises(anthropic.APIStatusError, match="only 1 of 2 agents spoke") as caught,
                client.messages.stream(
                    model="b", max_tokens=9, messages=QUESTION, extra_body={"agora": {"stream": "debate"}}
                ) as stream,
            ):
                list(stream)
            assert caught.value.response.status_code == 200  # the debate had begun, and was shown
    finally:
        far.control(faults={})
