"""Merge methods by name, one file a family; see `registry` for what a method is and how to add one."""

from __future__ import annotations

from agora.weight.methods import averages, lora, regmean, spheres, stock, tasks
from agora.weight.methods.registry import METHODS, Copy, Each, EachFile, Method, Plan, Rows, Whole, each, get, method

__all__ = [
    "METHODS",
    "Copy",
    "Each",
    "EachFile",
    "Method",
    "Plan",
    "Rows",
    "Whole",
    "averages",
    "each",
    "get",
    "lora",
    "method",
    "regmean",
    "spheres",
    "stock",
    "tasks",
]
