"""YAML -> objects: debate files, with errors that carry file, line and the nearest right word."""

from __future__ import annotations

from typing import Any

from agora.config.build import load, loads
from agora.config.models import load_model
from agora.config.schema import DebateFile

__all__ = ["DebateFile", "load", "load_model", "loads", "schema"]


def schema() -> dict[str, Any]:
    """The JSON Schema of debate files, for editors."""
    return DebateFile.model_json_schema()
