"""What is served: the debates and models of files, by the names that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agora import config
from agora.errors import InputError
from agora.model import Model
from agora.text.debate import Debate


@dataclass(frozen=True)
class Served:
    """One model that clients can ask.

    Attributes:
        id: what they call it.
        model: it; a debate too.
        store: what its file says under `store:`.
        question: of its file, if it has one.
    """

    id: str
    model: Model
    store: Mapping[str, Any] = field(default_factory=dict)
    question: str | None = None

    @property
    def debate(self) -> Debate | None:
        """It, where it is a debate."""
        return self.model if isinstance(self.model, Debate) else None

    @property
    def people(self) -> tuple[str, ...]:
        """The names of the people it asks."""
        return tuple(dict.fromkeys(person.name for person in _people(self.model)))


class Catalog(Mapping[str, Served]):
    """Served models by id. A file's debate has the file's `name:`, or the name of the file; a model that it names under
    `models:` is FILE/NAME, and can be asked for as NAME where no other has that name.

    Args:
        served: them.
        page: there is a page on which people can be asked: debates with people are among `debates`, and for no client.

    Attributes:
        debates: those that can be begun from a page, by id.

    Raises:
        InputError: if two have one id, or one is a person, who cannot be asked from afar.
    """

    def __init__(self, served: Sequence[Served], page: bool = False) -> None:
        self._served: dict[str, Served] = {}
        self.debates: dict[str, Served] = {}
        self.created = int(time.time())
        for each in served:
            if each.id in self._served or each.id in self.debates:
                raise InputError(f"two models are called '{each.id[:60]}'.", hint="Give one file another `name:`.")
            if each.debate is not None:
                self.debates[each.id] = each
            if not each.people:
                self._served[each.id] = each
            elif not page or each.debate is None:
                raise InputError(f"{each.id[:60]} asks a person, who cannot be served.", hint="Leave `human:` out.")
        short: dict[str, list[Served]] = {}
        for each in served:
            if "/" in each.id:
                short.setdefault(each.id.partition("/")[2], []).append(each)
        self._short = {name: found[0] for name, found in short.items() if len(found) == 1 and name not in self._served}

    def __getitem__(self, name: str) -> Served:
        return self._served[name] if name in self._served else self._short[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)


def read(
    paths: Sequence[str | Path], settings: Sequence[str] = (), progress: Any = None, page: bool = False
) -> Catalog:
    """The catalog of files: debate files, and files that have nothing but `models:`.

    Args:
        paths: of the files.
        settings: overrides of each, 'KEY=VALUE' with dotted keys.
        progress: is told bytes done and bytes in all where models are merged.
        page: as of `Catalog`.

    Raises:
        ConfigError: with file, line and what to do.
        InputError: if two have one name, or one needs a person.
    """
    served = []
    for path in paths:
        made = config.offer(path, settings, progress=progress)
        name = (made.name or Path(path).stem).strip().replace("/", "-")
        if not name or not name.isprintable() or len(name) > 200:
            raise InputError(f"{path}: '{name[:40]}' cannot be a model's name.", hint="Give the file a `name:`.")
        if made.debate is not None:
            served.append(Served(name, made.debate, made.store, made.question))
        models = [Served(f"{name}/{each}", model, made.store) for each, model in made.models.items()]
        # a person who takes part in a debate is no model that a client can ask
        served += [each for each in models if not (page and made.debate is not None and each.people)]
    return Catalog(served, page)


def _people(model: Model) -> Iterator[Model]:
    if getattr(model, "prompts", None) == "human":
        yield model
    for member in getattr(model, "members", ()):
        yield from _people(member)
