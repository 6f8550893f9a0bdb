from __future__ import annotations

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.text.stop import rounds


def test_a_verdict_as_html_escapes_what_was_said() -> None:
    group = [
        Agent("<b>", ScriptedModel("<script>alert(1)</script>")),
        Agent("b", ScriptedModel("Answer: 'x\" onload=")),
    ]
    html = Debate(group, moderator=Moderator(rounds(1))).run("<img src=x>?")._repr_html_()
    assert "<script>" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert 'x" onload' not in html
