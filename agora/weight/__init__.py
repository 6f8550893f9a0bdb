"""Weight level: checkpoints into a checkpoint; streamed over safetensors, in memory that does not grow."""

from __future__ import annotations

from agora.weight.adapterchoice import AdapterChoice
from agora.weight.checkpoint import Checkpoint
from agora.weight.merging import Report, content_key, merge
from agora.weight.methods import METHODS, Method
from agora.weight.mixturefile import Mixture, is_mixture, read_mixture
from agora.weight.mixtures import mix, mixture
from agora.weight.recipe import Recipe, read_recipe
from agora.weight.searching import (
    Accuracy,
    Adapters,
    Found,
    Likelihood,
    Parameters,
    WeightedSum,
    search,
    search_async,
)

__all__ = [
    "METHODS",
    "Accuracy",
    "AdapterChoice",
    "Adapters",
    "Checkpoint",
    "Found",
    "Likelihood",
    "Method",
    "Mixture",
    "Parameters",
    "Recipe",
    "Report",
    "WeightedSum",
    "content_key",
    "is_mixture",
    "merge",
    "mix",
    "mixture",
    "read_mixture",
    "read_recipe",
    "search",
    "search_async",
]
