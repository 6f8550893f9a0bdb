"""Searching for merges: spaces of points that become models in memory, scores, and searches by name."""

from __future__ import annotations

from agora.weight.searching import evolution, plain, swarm  # register themselves
from agora.weight.searching.adapters import Adapters
from agora.weight.searching.bench import Merged
from agora.weight.searching.evaluating import Progress, Score
from agora.weight.searching.finding import Found, search, search_async
from agora.weight.searching.history import Trial
from agora.weight.searching.loaders import HuggingFace, Loader, pocket
from agora.weight.searching.merges import WeightedSum
from agora.weight.searching.parameters import Parameters
from agora.weight.searching.registry import SEARCHERS, Asks, Searcher, searcher
from agora.weight.searching.scores import Accuracy, Likelihood
from agora.weight.searching.space import Key, Numbers, Point, Space

__all__ = [
    "SEARCHERS",
    "Accuracy",
    "Adapters",
    "Asks",
    "Found",
    "HuggingFace",
    "Key",
    "Likelihood",
    "Loader",
    "Merged",
    "Numbers",
    "Parameters",
    "Point",
    "Progress",
    "Score",
    "Searcher",
    "Space",
    "Trial",
    "WeightedSum",
    "evolution",
    "plain",
    "pocket",
    "search",
    "search_async",
    "searcher",
    "swarm",
]
