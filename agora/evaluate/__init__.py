"""Evaluation: does a debate help, at what cost, and how sure is that?"""

from __future__ import annotations

from agora.evaluate.analysis import Analysis, analyse
from agora.evaluate.baselines import BASELINES
from agora.evaluate.comparing import Against, against
from agora.evaluate.data import load
from agora.evaluate.output import publish
from agora.evaluate.records import Contestant, Dataset, Item, Results, Said, Scored, Scorer
from agora.evaluate.results_io import load as load_results
from agora.evaluate.results_io import save as save_results
from agora.evaluate.running import Progress, evaluate, evaluate_async
from agora.evaluate.statistics import wilson

__all__ = [
    "BASELINES",
    "Against",
    "Analysis",
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
    "load_results",
    "publish",
    "save_results",
    "wilson",
]
