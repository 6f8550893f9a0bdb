"""The page that shows runs: the records it reads, and the page itself, served or as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agora.view.recorded import save

__all__ = ["save"]


def __getattr__(name: str) -> Any:
    if name != "save":
        raise AttributeError(f"module 'agora.view' has no attribute '{name}'")
    from agora.view.recorded import save

    return save
