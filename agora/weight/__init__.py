"""Weight level: checkpoints into a checkpoint; streamed over safetensors, in memory that does not grow."""

from __future__ import annotations

from agora.weight.checkpoint import Checkpoint
from agora.weight.merging import Report, content_key, merge
from agora.weight.methods import METHODS, Method
from agora.weight.recipe import Recipe, read_recipe
from agora.weight.searching import Accuracy, Adapters, Found, Likelihood, Mixture, Parameters, search, search_async

__all__ = [
    "METHODS",
    "Accuracy",
    "Adapters",
    "Checkpoint",
    "Found",
    "Likelihood",
    "Method",
    "Mixture",
    "Parameters",
    "Recipe",
    "Report",
    "content_key",
    "merge",
    "read_recipe",
    "search",
    "search_async",
]
