"""agora: language models that debate and collaborate. Everything that answers is a `Model`, so everything nests."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agora.answers import Choice, Json, Number, Text, YesNo
    from agora.budget import Budget
    from agora.calls import ask, limited
    from agora.errors import AgoraError, BudgetError, DebateError, InputError, ModelError, StoreError
    from agora.journal import Journal
    from agora.model import Model, Settings, TokenModel
    from agora.models.scripted import ScriptedModel
    from agora.notebook import display
    from agora.records import Answer, Message, Reply, Round, Turn, Usage, Verdict
    from agora.text.agent import Agent, View
    from agora.text.debate import Debate
    from agora.text.moderator import ByModel, Moderator, Vote
    from agora.text.protocol import Protocol, Schedule
    from agora.text.stop import StopRule
    from agora.text.topology import Topology

__version__ = "0.1.0"

# name -> module: loaded when first used, so that `import agora` stays fast
_EXPORTS = {
    **dict.fromkeys(("Choice", "Json", "Number", "Text", "YesNo"), "agora.answers"),
    "Budget": "agora.budget",
    **dict.fromkeys(
        ("AgoraError", "BudgetError", "DebateError", "InputError", "ModelError", "StoreError"), "agora.errors"
    ),
    **dict.fromkeys(("ask", "limited"), "agora.calls"),
    "Journal": "agora.journal",
    **dict.fromkeys(("Model", "Settings", "TokenModel"), "agora.model"),
    "ScriptedModel": "agora.models.scripted",
    "display": "agora.notebook",
    **dict.fromkeys(("Answer", "Message", "Reply", "Round", "Turn", "Usage", "Verdict"), "agora.records"),
    **dict.fromkeys(("Agent", "View"), "agora.text.agent"),
    "Debate": "agora.text.debate",
    **dict.fromkeys(("ByModel", "Moderator", "Vote"), "agora.text.moderator"),
    **dict.fromkeys(("Protocol", "Schedule"), "agora.text.protocol"),
    "StopRule": "agora.text.stop",
    "Topology": "agora.text.topology",
}
_MODULES = ("config", "errors", "view")

__all__ = [
    "Agent",
    "AgoraError",
    "Answer",
    "Budget",
    "BudgetError",
    "ByModel",
    "Choice",
    "Debate",
    "DebateError",
    "InputError",
    "Journal",
    "Json",
    "Message",
    "Model",
    "ModelError",
    "Moderator",
    "Number",
    "Protocol",
    "Reply",
    "Round",
    "Schedule",
    "ScriptedModel",
    "Settings",
    "StopRule",
    "StoreError",
    "Text",
    "TokenModel",
    "Topology",
    "Turn",
    "Usage",
    "Verdict",
    "View",
    "Vote",
    "YesNo",
    "__version__",
    "ask",
    "display",
    "limited",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"agora.{name}")
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'agora' has no attribute '{name}'")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]
