"""YAML -> objects: debate files, with errors that carry file, line and the nearest right word."""

from __future__ import annotations

from typing import Any

from agora.config.build import Offer, again, load, loads, offer
from agora.config.models import load_model
from agora.config.schema import DebateFile

__all__ = ["DebateFile", "Offer", "again", "load", "load_model", "loads", "offer", "schema"]


def schema() -> dict[str, Any]:
    """The JSON Schema of debate files, for editors."""
    made = DebateFile.model_json_schema()
    # a file that names a preset need not have agents; the preset's name may stand for the whole protocol
    preset = {"type": "string", "description": "a published protocol; `agora presets` lists them"}
    protocol = made["properties"]["protocol"]
    kept = {key: protocol[key] for key in ("description", "default") if key in protocol}
    made["properties"]["protocol"] = {"anyOf": [preset, {"$ref": "#/$defs/ProtocolSpec"}], **kept}
    named = {"anyOf": [{"type": "string"}, {"type": "object", "required": ["preset"]}]}
    del made["required"]  # agents, and nothing else
    made["anyOf"] = [{"required": ["agents"]}, {"required": ["protocol"], "properties": {"protocol": named}}]
    return made
