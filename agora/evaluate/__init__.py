"""Evaluation: does a debate help, at what cost, and how sure is that?"""

from __future__ import annotations

from agora.evaluate.against import against
from agora.evaluate.analysis import analyse
from agora.evaluate.baselines import BASELINES
from agora.evaluate.data import load
from agora.evaluate.records import Contestant, Dataset, Item, Results, Said, Scored, Scorer
from agora.evaluate.running import Progress, evaluate, evaluate_async

__all__ = [
    "BASELINES",
    "Contestant",
    "Dataset",
    "Item",
    "Progress",
    "Results",
    "Said",
    "Scored",
    "Scorer",
    "against",
    "analyse",
    "evaluate",
    "evaluate_async",
    "load",
]
