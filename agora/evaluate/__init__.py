"""Evaluation: does a debate help, at what cost, and how sure is that?"""

from __future__ import annotations

from agora.evaluate.data.loading import load
from agora.evaluate.measures.analysis import Analysis, analyse
from agora.evaluate.measures.comparing import Against, against
from agora.evaluate.measures.statistics import wilson
from agora.evaluate.records import Contestant, Dataset, Item, Results, Said, Scored, Scorer
from agora.evaluate.report.output import publish
from agora.evaluate.results_io import load as load_results
from agora.evaluate.results_io import save as save_results
from agora.evaluate.running.baselines import BASELINES
from agora.evaluate.running.cluster import Ray
from agora.evaluate.running.evaluating import Progress, evaluate, evaluate_async

__all__ = [
    "BASELINES",
    "Against",
    "Analysis",
    "Contestant",
    "Dataset",
    "Item",
    "Progress",
    "Ray",
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
