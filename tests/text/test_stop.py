from __future__ import annotations

import pytest

from agora import Agent, Debate, InputError, Moderator, ScriptedModel, StopRule
from agora.text.stop import parse_stop, rounds


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("rounds(4)", 4),
        ("unanimous | stable(2) | rounds(4)", 4),
        ("rounds(4) & stable(2)", None),
        ("rounds(4) & rounds(6)", 6),
        ("rounds(4) | rounds(6)", 4),
        ("unanimous() | no_change", None),
        ("quorum(0.8) | (stable(1) & rounds(2))", None),
        (" judge(j) | rounds(1) ", 1),
    ],
)
def test_rules_are_read(text: str, last: int | None) -> None:
    assert parse_stop(text, {"j": ScriptedModel("x")}).last == last


@pytest.mark.parametrize(
    "text",
    ["", "unanimous |", "rounds", "rounds(1.5)", "rounds(-1)", "rounds(1, 2)", "rounds(True)", "quorum(2)", "stable(0)",
     "a.b()", "lambda: 1", "rounds(n=1)", "judge()", "judge(nobody)", "rounds('1')", "open('/etc/passwd')",
     "1", "not unanimous", "unanimous or rounds(1)", "(" * 300, "rounds(1)|" * 200, "\x00"],
)  # fmt: skip
def test_what_is_no_rule_is_said(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_stop(text)
    assert "\n" not in str(caught.value)


def test_any_function_is_a_rule() -> None:
    stop = StopRule("mine", lambda case: "enough" if len(case.rounds) == 2 else None) | rounds(5)
    verdict = Debate([Agent("a", ScriptedModel("x"))], moderator=Moderator(stop)).run("q?")
    assert verdict.reason.startswith("enough")


def test_a_rule_that_breaks_ends_the_debate_with_its_error() -> None:
    def broken(case: object) -> str:
        raise ArithmeticError("my fault")

    debate = Debate([Agent("a", ScriptedModel("x"))], moderator=Moderator(StopRule("broken", broken)))
    with pytest.raises(ArithmeticError, match="my fault"):
        debate.run("q?")
