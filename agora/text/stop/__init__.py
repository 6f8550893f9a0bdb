"""Stop rules: when a debate is over, from what has been said; they join, and YAML can write them."""

from __future__ import annotations

from agora.text.stop.judge import judge
from agora.text.stop.parse import RULES, parse_stop
from agora.text.stop.rule import Case, Reason, RuleFunction, StopRule, never, rule
from agora.text.stop.rules import (
    agreement,
    answered,
    confident,
    converging,
    declared,
    entropy,
    failures,
    is_done,
    no_change,
    oscillation,
    quorum,
    repetition,
    rounds,
    spent,
    spread,
    stable,
    supermajority,
    unanimous,
)

__all__ = [
    "RULES", "Case", "Reason", "RuleFunction", "StopRule", "agreement", "answered", "confident", "converging",
    "declared", "entropy", "failures", "is_done", "judge", "never", "no_change", "oscillation", "parse_stop", "quorum",
    "repetition", "rounds", "rule", "spent", "spread", "stable", "supermajority", "unanimous",
]  # fmt: skip
