"""What the page offers to begin a debate with: the files that are served, the presets, and the models found here."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

import anyio.to_thread
import yaml

from agora.config import presets
from agora.config.asking import CHEAP
from agora.models import discover
from agora.serve.asked import Refused
from agora.serve.catalog import Catalog

ANSWERS = ("number", "yes_no", "text")
# by a name alone; what says where it is, or reads a file, is not for who comes by a page: that would be a way to send
# the server's keys elsewhere
_NAMED = re.compile(r"(openai|anthropic|pocket):[^\s\x00-\x1f]{1,200}")


class Offers:
    """What a debate can be begun with.

    Args:
        catalog: what is served.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._models: dict[str, Any] = {}  # as shown -> as a debate file has it

    async def everything(self, own_port: int | None) -> dict[str, Any]:
        """All of it, as plain data.

        Args:
            own_port: of this server, which is no model server to itself.
        """
        files = [
            {"id": each.id, "question": each.question, "people": list(each.people),
             "agents": [agent.name for agent in each.debate.agents]}
            for each in self._catalog.debates.values() if each.debate is not None
        ]  # fmt: skip
        return {
            "files": files,
            "presets": await anyio.to_thread.run_sync(_presets),
            "models": await self.models(own_port),
            "answers": list(ANSWERS),
        }

    async def models(self, own_port: int | None) -> list[dict[str, Any]]:
        """The models found here now, and what the others need."""
        shown: dict[str, dict[str, Any]] = {}
        values: dict[str, Any] = {}
        for found in await discover.everything(os.environ, own_port):
            kind, _, name = found.model.partition(":")
            if name == "FOLDER":
                continue  # any folder: that is for a file
            value: Any = CHEAP.get(kind, found.model) if name == "NAME" else found.model
            if found.options:
                value = {kind: name, **found.options}
            text = _written(value)
            values[text] = value
            shown.setdefault(text, {"model": text, "ready": found.ready, "needs": "" if found.ready else found.needs})
        self._models = values
        return list(shown.values())

    async def model(self, text: str, own_port: int | None) -> Any:
        """A model as a debate file has it, from how it is shown.

        Raises:
            Refused: if it is none that may be named here.
        """
        if text not in self._models and not _NAMED.fullmatch(text):
            await self.models(own_port)  # it may have been started since
            if text not in self._models:
                raise Refused(f"models: '{text[:60]}' is none that was found here.", code="invalid_value",
                              param="models", hint="Write openai:NAME, anthropic:NAME or pocket:NAME; for any other, "
                              "serve a file that has it.")  # fmt: skip
        return self._models.get(text, text)


def _written(value: Any) -> str:
    """A model as one writes it in YAML, on one line."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()


@lru_cache(maxsize=1)
def _presets() -> list[dict[str, Any]]:
    """The presets as plain data."""
    made = []
    for name in presets.names():
        said = presets.about(name)
        made.append({"name": name, "title": said.title, "paper": said.paper, "tags": list(said.tags),
                     "roles": presets.roles(presets.data(name))})  # fmt: skip
    return made
