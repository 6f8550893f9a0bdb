"""Who saw what in every preset, how many calls and tokens it took, how it stopped and decided: as its paper says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agora.config import presets

sys.path.insert(0, str(Path(__file__).parent))
from preset_cases import cases, record, value

CASES = cases()


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
class TestPreset:
    def test_every_call_shows_what_the_paper_says_and_nothing_else(self, case: dict[str, Any]) -> None:
        recording = record(case)
        expected = {call: {str(read) for read in reads} for call, reads in case["calls"].items()}
        assert recording.shown() == expected
        for call, texts in case.get("says", {}).items():
            for text in texts:
                assert text in recording.prompts[call], (call, text)
        for call, texts in case.get("never", {}).items():
            for text in texts:
                assert text not in recording.prompts[call], (call, text)

    def test_it_stops_and_decides_as_the_paper_says(self, case: dict[str, Any]) -> None:
        verdict = record(case).verdict
        assert verdict is not None
        assert verdict.answer == case["answer"]
        assert case["stop"] in verdict.reason
        assert case["decide"] in verdict.reason
        for warning in case.get("warns", ()):
            assert any(warning in w for w in verdict.warnings)

    def test_it_takes_the_calls_that_its_formula_says(self, case: dict[str, Any]) -> None:
        verdict = record(case).verdict
        assert verdict is not None
        formula = presets.about(case["preset"]).calls
        said, made = value(formula, case["letters"]), verdict.usage.calls
        assert made == len(case["calls"])
        assert made == said or (formula.startswith("at most") and made <= said)

    def test_its_prompts_have_the_tokens_that_its_formula_says(self, case: dict[str, Any]) -> None:
        """Each reply longer by 1,000 characters, and the question: the prompts grow as L and q in the formula."""
        formula = presets.about(case["preset"]).tokens
        plain = record(case).characters
        grown = {"L": record(case, more_text=1000).characters, "q": record(case, more_question=1000).characters}
        for letter, characters in grown.items():
            letters = {"q": 0, "L": 0, "p": 0, **case["letters"]}
            said = value(formula, {**letters, letter: 1}) - value(formula, letters)
            made = (characters - plain) / 1000
            assert made == pytest.approx(said) or (formula.startswith("at most") and made <= said), letter


def test_every_preset_has_a_case() -> None:
    assert {case["preset"] for _, case in CASES} == set(presets.names())
