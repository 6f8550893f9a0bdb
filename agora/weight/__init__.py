"""Weight level: checkpoints into a checkpoint; streamed over safetensors, in memory that does not grow."""

from __future__ import annotations

from agora.weight.checkpoint import Checkpoint
from agora.weight.merging import Report, content_key, merge
from agora.weight.methods import METHODS, Method
from agora.weight.recipe import Recipe, read_recipe

__all__ = ["METHODS", "Checkpoint", "Method", "Recipe", "Report", "content_key", "merge", "read_recipe"]
