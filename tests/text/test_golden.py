"""Who saw what: each case of tests/golden/ against the transcript that stands beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from golden_transcripts import FOLDER, transcript

CASES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_golden(path: Path) -> None:
    expected = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert transcript(path) == expected, "read the difference, then: python tests/golden_transcripts.py --write"


def test_every_schedule_view_memory_and_gate_has_a_case() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CASES)
    for word in (
        "simultaneous", "sequential", "shuffled", "order: confidence", "layered", "quorum",  # schedules
        "text: answer", "text: summary", "text: claims", "names: named", "own: hidden", "own: peer", "confidence: true",
        "own_chat", "transcript", "{last:", "memory: summary", "skip:", "freeze:", "follow:", "drop:", "prune:",
        "critique", "examine", "respond", "rank", "score", "summarise", "who:", "reads:", "every:", "delay:",
        "probability:", "rewire", "agreement:", "contentiousness:", "adversary:", "closing:",
    ):  # fmt: skip
        assert word in text, f"no golden case has '{word}'"
