"""Tuning: a better form of a debate, searched on some items and reported on others."""

from __future__ import annotations

from agora.tune.objective import Objective
from agora.tune.records import HeldOut, Progress, Trial, Tuned
from agora.tune.space import FileSpace, Parameter, Space
from agora.tune.tuning import TRIALS, tune, tune_async

__all__ = [
    "TRIALS",
    "FileSpace",
    "HeldOut",
    "Objective",
    "Parameter",
    "Progress",
    "Space",
    "Trial",
    "Tuned",
    "tune",
    "tune_async",
]
