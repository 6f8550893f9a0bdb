"""Model cards: what a model is good at, what it costs, how much it can read, whether prompts leave this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agora.errors import AgoraError, InputError
from agora.model import Model
from agora.records import Usage

GROUP = "agora.cards"
_TEXT = 2_000  # characters of what a card says


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model.

    Attributes:
        skills: what it is good at, in words that a model can read.
        cost: USD an answer; None where it is not known.
        context: tokens it can read; None where it is not known.
        local: prompts stay on this machine.
    """

    skills: str = ""
    cost: float | None = None
    context: int | None = None
    local: bool = False

    def __post_init__(self) -> None:
        if len(self.skills) > _TEXT:
            raise InputError(f"card: skills has more than {_TEXT:,} characters.")
        if self.cost is not None and not 0 <= self.cost < float("inf"):
            raise InputError(f"card: cost is USD an answer, at least 0, not {self.cost}.")
        if self.context is not None and self.context < 1:
            raise InputError(f"card: context is a number of tokens, not {self.context}.")


def card_of(model: Model, given: Card | None = None) -> Card:
    """A model's card: as given, else as a package has registered it for this name, else what can be seen of it.

    Args:
        model: the model.
        given: a card for it.
    """
    seen = Card(cost=_cost(model), local=is_local(model))
    card = given or registered().get(model.name)
    if card is None:
        return seen
    return Card(card.skills, seen.cost if card.cost is None else card.cost, card.context, card.local)


def is_local(model: Model) -> bool:
    """Whether a model's prompts stay on this machine, as far as can be seen: models in the box, people at this
    terminal, scripts, servers on the loopback interface, and whatever is made of such alone."""
    members = getattr(model, "members", ())
    if members:
        return all(is_local(member) for member in members)
    if model.name.partition(":")[0] in ("pocket", "human", "hf", "scripted"):
        return True
    url = str(getattr(model, "base_url", "") or "")
    host = url.partition("://")[2].partition("/")[0].rpartition(":")[0] or url.partition("://")[2].partition("/")[0]
    return host in ("localhost", "127.0.0.1", "[::1]")


def _cost(model: Model) -> float | None:
    """About what an answer costs: of 500 tokens read and 500 written."""
    price = getattr(model, "cost", None)
    found = price(Usage(1, 500, 500)) if callable(price) else None
    return None if found is None else float(found)


@lru_cache(maxsize=1)
def registered() -> Mapping[str, Card]:
    """The cards that other packages offer: entry points in the group `agora.cards`, each a mapping from the name of a
    model, as a debate file writes it, to its card, as keywords; or a function that gives one. What is broken is left
    out."""
    from importlib.metadata import entry_points

    found: dict[str, Card] = {}
    for point in entry_points(group=GROUP):
        try:
            given: Any = point.load()
            for name, values in dict(given() if callable(given) else given).items():
                found[str(name)] = Card(**values)
        except (AgoraError, TypeError, ValueError, ImportError, AttributeError):
            continue
    return found


def listed(cards: Mapping[str, Card]) -> str:
    """Cards as lines for a model that reads them."""
    lines = []
    for name, card in cards.items():
        facts = [
            card.skills.strip() or "no skills are stated",
            "cost unknown" if card.cost is None else f"about ${card.cost:.6f} an answer",
            *([f"reads {card.context:,} tokens"] if card.context else []),
            "stays on this machine" if card.local else "leaves this machine",
        ]
        lines.append(f"- {name}: {'; '.join(' '.join(fact.split()) for fact in facts)}")
    return "\n".join(lines)


def allowed(cards: Mapping[str, Card], *, local_only: bool, tokens: int) -> list[str]:
    """The models that may be asked: those that keep the prompt here, if it must stay, and can read it.

    Args:
        cards: by name.
        local_only: prompts must not leave this machine.
        tokens: of the prompt.
    """
    return [
        name
        for name, card in cards.items()
        if (card.local or not local_only) and (card.context is None or tokens <= card.context)
    ]


def known(names: Iterable[str], cards: Mapping[str, Any]) -> None:
    """See that cards are of models that are there.

    Raises:
        InputError: if one is not.
    """
    for name in cards:
        if name not in set(names):
            raise InputError(f"cards: '{str(name)[:40]}' is none of the models that are routed to.")
