"""What can answer on this machine: models in the box, local checkpoints, servers on the usual ports, vendors by key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import httpx2

PORTS: Mapping[int, str] = MappingProxyType({11434: "Ollama", 1234: "LM Studio", 8080: "llama.cpp", 8000: "vLLM"})
KEYS: Mapping[str, str] = MappingProxyType({"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"})
MAX_BYTES, MAX_MODELS, MAX_NAME = 1_000_000, 100, 200


@dataclass(frozen=True, slots=True)
class Found:
    """A model that can answer here, or could if something were set.

    Attributes:
        model: as written in a debate file; NAME stands for any of the vendor's names.
        ready: it can be asked now.
        needs: what is missing; for a local server's model, the usual name of what serves at that port.
        options: keys that its mapping form needs besides, such as base_url.
    """

    model: str
    ready: bool
    needs: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


async def local_servers(ports: Mapping[int, str] = PORTS, timeout: float = 0.5) -> list[Found]:
    """The models of the servers that speak chat completions on this machine's loopback interface.

    Args:
        ports: port -> what usually serves there.
        timeout: seconds given to all servers together; one that takes longer, or answers anything else, is left out.
    """
    import httpx2  # late: slow to import

    names: dict[int, list[str]] = {}

    async def probe(client: httpx2.AsyncClient, port: int) -> None:
        try:
            names[port] = _names(await _get(client, _url(port) + "/models"))
        except Exception:  # whatever answers there, it is no server of models
            names[port] = []

    # no proxies and no redirects: nothing but this machine is asked; `verify` would only load certificates for nothing
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=False, timeout=timeout) as client:
        with anyio.move_on_after(timeout):
            async with anyio.create_task_group() as group:
                for port in ports:
                    group.start_soon(probe, client, port)
    return [
        Found(f"openai:{name}", True, ports[port], MappingProxyType({"base_url": _url(port)}))
        for port in ports
        for name in names.get(port, ())
    ]


def by_key(environ: Mapping[str, str]) -> list[Found]:
    """The hosted vendors, ready where their key is set.

    Args:
        environ: the environment.
    """
    ready = {kind: bool(environ.get(variable, "").strip()) for kind, variable in KEYS.items()}
    return [
        Found(f"{kind}:NAME", ready[kind], "" if ready[kind] else f"{variable} in the environment")
        for kind, variable in KEYS.items()
    ]


def pocket() -> list[Found]:
    """The models that come in the box, ready where their weights are there."""
    from agora.models.pocket import NAMES, WEIGHTS  # late: nothing else here needs them

    there = {name: (WEIGHTS / name / "model.safetensors").is_file() for name in NAMES}
    return [
        Found(f"pocket:{name}", ready, "" if ready else "its weights, which this installation lacks")
        for name, ready in there.items()
    ]


def checkpoints(environ: Mapping[str, str]) -> list[Found]:
    """The checkpoints that other tools have put into the Hugging Face cache, and FOLDER for any other on this machine;
    ready where what runs them is installed.

    Args:
        environ: the environment: HF_HUB_CACHE or HF_HOME say where the cache is.
    """
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    needs = f"{' and '.join(missing)}: pip install 'agora-debate[local]'" if missing else ""
    home = Path(environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = Path(environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    found = []
    try:
        for snapshot in sorted(cache.glob("models--*/snapshots/*"))[:MAX_MODELS]:
            if (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors")):
                found.append(Found(f"hf:{snapshot}", not needs, needs))
    except OSError:  # a cache that cannot be read holds nothing for us
        found = []
    return [*found, Found("hf:FOLDER", not needs, needs)]


async def everything(environ: Mapping[str, str] = os.environ, own_port: int | None = None) -> list[Found]:
    """All of these: what is in the box, checkpoints, what is served on this machine, then the vendors.

    Args:
        environ: the environment.
        own_port: where this process itself offers models, so that it does not find them.
    """
    return [*pocket(), *checkpoints(environ), *await local_servers(ports_but(own_port)), *by_key(environ)]


def ports_but(own: int | None) -> dict[int, str]:
    """The usual ports of servers, but for one."""
    return {port: name for port, name in PORTS.items() if port != own}


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


async def _get(client: httpx2.AsyncClient, url: str) -> bytes:
    """A body of at most 1 MB; raw, because what a compressed one unpacks to has no bound."""
    body = bytearray()
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ValueError("too long")
    return bytes(body)


def _names(body: bytes) -> list[str]:
    data = json.loads(body)["data"]
    found: dict[str, None] = {}
    for entry in data if isinstance(data, list) else ():
        name = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() and name.strip():
            found[name] = None
            if len(found) == MAX_MODELS:
                break
    return list(found)
