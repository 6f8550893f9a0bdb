"""Weight level: checkpoints into a checkpoint; streamed over safetensors, in memory that does not grow."""

from __future__ import annotations

from agora.weight.adapterchoice import AdapterChoice
from agora.weight.checkpoint import Checkpoint
from agora.weight.merging import Report, content_key, merge
from agora.weight.methods import METHODS, Method
from agora.weight.mixturefile import Mixture, is_mixture, read_mixture
from agora.weight.mixtures import mix, mixture
from agora.weight.recipe import Recipe, read_recipe

__all__ = [
    "METHODS",
    "AdapterChoice",
    "Checkpoint",
    "Method",
    "Mixture",
    "Recipe",
    "Report",
    "content_key",
    "is_mixture",
    "merge",
    "mix",
    "mixture",
    "read_mixture",
    "read_recipe",
]
