"""Models from YAML: options of hosted ones, fallbacks, people, other packages' kinds; what is wrong is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import pytest

from agora import Message, ScriptedModel, Settings, config
from agora.config import models
from agora.errors import ConfigError, InputError
from agora.models import wrappers
from agora.models.human import HumanModel
from agora.models.limits import limiter_of

LOCAL = {"base_url": "http://127.0.0.1:9/v1"}


def unwrapped(model: Any, kind: type) -> Any:
    """The wrapper of a kind, somewhere inside."""
    while not isinstance(model, kind):
        model = model._model
    return model


def test_one_policy_around_each_hosted_model() -> None:
    value = {"openai": "x", **LOCAL, "timeout": 7, "retry": {"attempts": 3, "seconds": 9.0}, "temperature": 0.5,
             "limits": {"concurrent": 2}, "stop": ["END"], "logprobs": 0, "max_tokens": 50}  # fmt: skip
    model = config.load_model(value)
    pinned = unwrapped(model, wrappers.WithSettings)._settings
    assert pinned == Settings(temperature=0.5, max_tokens=50, stop=("END",), logprobs=0)
    policy = unwrapped(model, wrappers.Retry)._policy
    assert (policy.attempts, policy.seconds) == (3, 9.0)
    assert unwrapped(model, wrappers.Timeout)._seconds == 7
    assert unwrapped(model, wrappers.Limited)._limits.concurrent == 2
    assert model.name == "openai:x"


def test_models_of_one_endpoint_share_its_limiter() -> None:
    one, two, other = (
        unwrapped(config.load_model(value), wrappers.Limited)._limiter
        for value in (
            {"openai": "x", **LOCAL},
            {"openai": "y", **LOCAL},
            {"openai": "x", "base_url": "http://127.0.0.1:10/v1"},
        )
    )
    assert one is two
    assert one is not other
    assert limiter_of("openai http://127.0.0.1:9/v1", "none") is one


def test_a_price_is_given_or_unknown() -> None:
    from agora.records import Usage

    usage = Usage(1, 1_000_000, 1_000_000)
    assert getattr(config.load_model({"openai": "gpt-5-mini", **LOCAL}), "cost")(usage) is None  # noqa: B009
    given = config.load_model({"openai": "x", **LOCAL, "price": {"input": 1, "output": 2}})
    assert getattr(given, "cost")(usage) == 3.0  # noqa: B009


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"openai": "x", "base_url": "nonsense"}, "no address"),
        ({"openai": "x", "base_url": "http://user:secret@host/v1"}, "must not hold"),
        ({"openai": "x", **LOCAL, "temprature": 1}, "Did you mean 'temperature'"),
        ({"openai": "x", **LOCAL, "retry": {"atempts": 1}}, "atempts"),
        ({"openai": "x", **LOCAL, "limits": {"concurrent": 0}}, "limits.concurrent"),
        ({"openai": "x", **LOCAL, "price": {"input": 1}}, "price.output"),
        ({"openai": "x", **LOCAL, "reasoning": "hard"}, "reasoning"),
        ({"openai": "x", **LOCAL, "thinking": 2000}, "reasoning: low"),
        ({"anthropic": "x", **LOCAL, "api_version": "1"}, "Azure"),
        ({"openai": "x", "api_version": "1"}, "endpoint"),
        ({"openai": "x", **LOCAL, "api_version": "1"}, "AZURE_OPENAI_API_KEY"),
        ({"openai": "x", **LOCAL, "api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"openai": "", **LOCAL}, "needs the model's name"),
        ({"openai": "x", **LOCAL, "timeout": 0}, "timeout"),
        ({"fallback": []}, "list"),
        ({"fallback": "pocket:sum"}, "list"),
        ({"fallback": ["pocket:sum", "pocket:summ"]}, "there are base"),
        ({"human": "me", "timeout": -1}, "timeout"),
        ({"human": "me", "patience": 1}, "timeout in seconds"),
        ("human:" + "x" * 100, "80 printable"),
    ],
)
def test_wrong_options_are_named(value: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        config.load_model(value)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_models_may_name_each_other_in_any_order() -> None:
    text = """
models:
  sure: {fallback: [broken, fine]}
  broken: {scripted: x, failures: 1.0}
  fine: {scripted: 'Answer: 4'}
agents: {a: sure, b: fine}
answer: number
"""
    verdict = config.loads(text)[0].run("2+2?")
    assert verdict.answer == "4"
    with pytest.raises(ConfigError, match=r"f:1: the model 'a' contains itself"):
        config.loads("models: {a: {fallback: [b]}, b: {fallback: [a]}}\nagents: {x: a}\n", "f")


def test_a_person_is_a_model() -> None:
    assert isinstance(config.load_model({"human": "ana", "timeout": 60}), HumanModel)


def test_keys_do_not_stand_in_files(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("agents:\n  a: {model: {openai: x, extra: {key: sk-abcdefghijklmnopqrstuv}}}\n")
    with pytest.raises(ConfigError, match=r"f.yaml:2: a key must not stand in a file"):
        config.load(path)


def test_who_only_looks_needs_no_key(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("agents:\n  a: openai:gpt-5-mini\n")
    missing: list[str] = []
    debate, _ = config.load(path, lenient=True, missing=missing)
    assert [agent.model.name for agent in debate.agents] == ["openai:gpt-5-mini"]
    assert "OPENAI_API_KEY" in missing[0]
    (tmp_path / "outer.yaml").write_text("agents:\n  a: {model: {debate: f.yaml}}\n")
    config.load(tmp_path / "outer.yaml", lenient=True)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        config.load(tmp_path / "outer.yaml")


# ---- kinds of other packages ------------------------------------------------------------------------------------


def offered(value: Any, *, loud: bool = False) -> ScriptedModel:
    if value == "broken":
        raise ZeroDivisionError("oops")
    return ScriptedModel(f"{value}!" if loud else str(value), name=f"parrot:{value}")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("parrot", f"{__name__}:offered", "agora.models")
    found = {"parrot": point, "nothing": EntryPoint("nothing", f"{__name__}:LOCAL", "agora.models")}
    monkeypatch.setattr(models, "_plugins", lambda: found)
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])


def test_another_package_offers_a_kind(plugin: None) -> None:
    model = config.load_model({"parrot": "hello", "loud": True})
    assert anyio.run(model.answer, [Message("user", "?")]).text == "hello!"
    assert config.load_model("parrot:hi").name == "parrot:hi"
    for value, says in (
        ("parrott:x", "Did you mean 'parrot:x'"),
        ("nonesuch:x", "mentor, parrot, nothing"),
        ({"parrot": "x", "quiet": True}, "does not take these options"),
        ("parrot:broken", "ZeroDivisionError: oops"),
        ("nothing:x", "nothing"),
    ):
        with pytest.raises(InputError, match=says):
            config.load_model(value)
