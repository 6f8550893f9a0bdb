"""Models that answer by themselves, from what a debate file says of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from agora.config.options import Build, Context, checked, settings_of
from agora.config.schema import CheckpointSpec, HostedSpec, LocalSpec
from agora.errors import InputError
from agora.model import Model, Settings

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "completions": "OPENAI_API_KEY"}


def _pocket(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.pocket import PocketModel
    from agora.models.wrappers import with_settings

    return with_settings(PocketModel(str(name)), sampling(checked(options, LocalSpec)))


def _checkpoint(folder: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.huggingface import HuggingFaceModel
    from agora.models.wrappers import with_settings

    spec = checked(options, CheckpointSpec)
    if not isinstance(folder, str) or not folder.strip():
        raise InputError("hf: needs the folder of a checkpoint, such as hf:./llama.")
    given = spec.adapter or []
    adapters: Any = [context.folder / path for path in ([given] if isinstance(given, str) else given)]
    if isinstance(given, dict):
        adapters = dict(zip(adapters, given.values(), strict=True))
    made = HuggingFaceModel(
        context.folder / folder,
        adapter=adapters,
        shared=spec.shared,
        dtype=spec.dtype,
        device=spec.device,
        chat=spec.chat,
        name=f"hf:{folder}",
    )
    return with_settings(made, sampling(spec))


def sampling(spec: LocalSpec) -> Settings:
    """The settings that are pinned around a model in this process."""
    return Settings(stop=tuple(spec.stop) if spec.stop else None, logprobs=spec.logprobs).over(settings_of(spec))


def _scripted(script: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.scripted import ScriptedModel

    unknown = set(options) - {"name", "latency", "failures"}
    if unknown:
        raise InputError(f"scripted: unknown option '{sorted(unknown)[0][:40]}'; there are name, latency, failures.")
    texts = list(script.values()) if isinstance(script, dict) else script if isinstance(script, list) else [script]
    if not texts or any(not isinstance(text, (str, int, float)) for text in texts):
        raise InputError("scripted: needs a text, a list of texts, or a mapping of patterns to texts.")
    identity = f"scripted {script!r} {sorted(options.items())}"  # others of its name may say something else
    if isinstance(script, dict):
        return ScriptedModel({str(k): str(v) for k, v in script.items()}, **options, identity=identity)
    return ScriptedModel([str(text) for text in texts], **options, identity=identity)


def _hosted(kind: str) -> Build:
    def build(name: Any, options: Mapping[str, Any], context: Context) -> Model:
        chat = options.get("chat", "plain")
        spec = checked({key: v for key, v in options.items() if key != "chat" or kind != "completions"}, HostedSpec)
        if kind == "anthropic" and spec.api_version is not None:
            raise InputError("anthropic: has no api_version; that is for Azure's OpenAI models.")
        if kind == "openai" and spec.thinking is not None:
            raise InputError("openai: takes an effort (reasoning: low), not a number of tokens (thinking).")
        if spec.api_version is not None and spec.base_url is None:
            raise InputError("openai: with api_version (Azure) base_url must be the resource's endpoint.")
        variable = spec.api_key_env or ("AZURE_OPENAI_API_KEY" if spec.api_version else KEYS[kind])
        key = (os.environ.get(variable) or "").strip()
        secret = next(
            (k for k in spec.extra if re.search(r"api.?key|authorization|secret|password", str(k), re.I)), None
        )
        if secret is not None:
            raise InputError(f"extra: '{secret[:40]}' looks like a key, and would be kept in the journal.",
                             hint="Put it into the environment, and name the variable in api_key_env.")  # fmt: skip
        if not str(name).strip():
            raise InputError(f"{kind}: needs the model's name, such as {kind}:NAME.")
        vendor = "OPENAI" if kind == "completions" else kind.upper()
        elsewhere = spec.base_url is not None or os.environ.get(f"{vendor}_BASE_URL")
        if not key and (not elsewhere or spec.api_key_env is not None or spec.api_version is not None):
            missing = f"{kind}:{name} needs a key in the environment variable {variable}, which is not set."
            if not context.lenient:
                raise InputError(
                    missing, hint=f"Set {variable}, or use a local server with base_url, or pocket models."
                )
            context.missing.append(missing)
        return _wrapped(kind, str(name), key or "none", spec, chat)

    return build


def _wrapped(kind: str, name: str, key: str, spec: HostedSpec, chat: Any = "plain") -> Model:
    """The adapter, and around it one policy: time for a request, the endpoint's limits, retries, pinned settings."""
    from agora.budget import Price
    from agora.models import wrappers
    from agora.models.limits import Limits, limiter_of

    vendor = "openai" if kind == "completions" else kind
    limiter = limiter_of(f"{vendor} {spec.base_url or ''}", key)
    common: dict[str, Any] = {
        "api_key": key,
        "base_url": spec.base_url,
        "reasoning": spec.reasoning,
        "structured": spec.structured,
        "price": Price(**spec.price.model_dump()) if spec.price else None,
        "extra": spec.extra,
        "limiter": limiter,
    }
    made: Model
    if kind == "openai":
        from agora.models.openai import OpenAIModel

        made = OpenAIModel(name, api_version=spec.api_version, **common)
    elif kind == "completions":
        from agora.models.completions import CompletionsModel

        del common["reasoning"], common["structured"]
        made = CompletionsModel(name, chat=chat, **common)
    else:
        from agora.models.anthropic import AnthropicModel

        made = AnthropicModel(name, thinking=spec.thinking, **common)
    made = wrappers.Timeout(made, spec.timeout)
    made = wrappers.Limited(made, limiter, Limits(**spec.limits.model_dump()))
    made = wrappers.Retry(made, wrappers.RetryPolicy(spec.retry.attempts, spec.retry.seconds))
    pinned = Settings(stop=tuple(spec.stop) if spec.stop else None, logprobs=spec.logprobs).over(settings_of(spec))
    return wrappers.with_settings(made, pinned)


def _human(name: Any, options: Mapping[str, Any], context: Context) -> Model:
    from agora.models.human import HumanModel

    timeout = options.get("timeout")
    if set(options) - {"timeout"} or not (timeout is None or isinstance(timeout, (int, float))):
        raise InputError("human: takes one option, timeout in seconds.")
    return HumanModel(str(name) if name else "you", timeout=timeout)


KINDS: Mapping[str, Build] = {
    "pocket": _pocket,
    "hf": _checkpoint,
    "openai": _hosted("openai"),
    "anthropic": _hosted("anthropic"),
    "completions": _hosted("completions"),
    "human": _human,
    "scripted": _scripted,
}
