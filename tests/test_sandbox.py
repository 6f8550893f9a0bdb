"""Templates that users bring: what prompts need works; what would not end or would fill the memory is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agora.errors import TemplateError
from agora.prompts import NAMES, Template, folder
from agora.text.agent import Shown

PEERS = [Shown("Peer 1", "Because.", "1", 0.5, 0), Shown("Peer 2", "Hm.", None, None, 0)]
VALUES: dict[str, Any] = {name: None for name in NAMES["revise"]} | {
    "question": "Why?", "peers": PEERS, "history": [], "notes": [], "critiques": [], "round": 1,
    "ask_confidence": False, "ask_done": False,
}  # fmt: skip


def render(source: str, **values: Any) -> str:
    return Template("revise", source).render(**{**VALUES, **values})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ question }}", "Why?"),
        ("{% for p in peers %}{{ loop.index }}/{{ loop.length }} {{ p.label }}{{ ', ' if not loop.last }}{% endfor %}",
         "1/2 Peer 1, 2/2 Peer 2"),
        ("{% for p in peers if p.answer %}{{ p.text | upper }}{% else %}none{% endfor %}", "BECAUSE."),
        ("{{ peers | map(attribute='label') | join('; ') }}", "Peer 1; Peer 2"),
        ("{{ '%.0f' | format(100 * peers[0].confidence) }}%", "50%"),
        ("{% set n = peers | length %}{{ n ~ ' peers of ' ~ (n + 1) }}", "2 peers of 3"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ question.replace('y', 'Y') }} {{ question.split('h')[0] }}", "WhY? W"),
        ("{{ question | replace('W', 'w') | trim }}", "why?"),
        ("{% include 'dials.jinja' %}x", "x"),
    ],
)  # fmt: skip
def test_what_prompts_need(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize("path", sorted(folder().rglob("*.jinja")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_copy_of_each_shipped_template_works(path: Any) -> None:
    """Whoever changes a line of a shipped template need change nothing else."""
    Template(path.stem if path.stem in NAMES else "revise", path.read_text(encoding="utf-8") + " ")


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% for a in question %}{% for b in question %}{% for c in question %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ question }}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ 9 ** 999999999 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ 'x'.ljust(10 ** 9) }}",
        "{{ 'x'.center(999999999) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ question.replace('', question) }}",
        "{{ question | replace('', question) }}",
        "{{ question.join(question) }}",
        "{{ question | join(question) }}",
        "{{ question | center(999999999) }}",
        "{{ question | indent(999999999) }}",
        "{% set a = question ~ question %}" + "".join("{% set a = a ~ a %}" for _ in range(60)) + "{{ a }}",
        "{% set a = question + question %}" + "".join("{% set a = a + a %}" for _ in range(60)) + "{{ a }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set a %}{% for i in range(99999) %}{{ question }}{% endfor %}{% endset %}",
        "{% for p in peers recursive %}{{ loop(peers) }}{% endfor %}",
        "{% import 'revise.jinja' as r %}",
        "{% extends 'revise.jinja' %}",
        "{{ question.__class__.__mro__ }}",
        "{{ peers[0].__class__.__init__.__globals__ }}",
        "{{ ''.__class__ }}",
        "{{ cycler }}",
        "{{ lipsum(n=1000000) }}",
        "{{ peers.append(1) }}",
    ],
)
def test_what_would_not_end_is_refused(source: str) -> None:
    begun = time.monotonic()
    with pytest.raises(TemplateError) as caught:
        render(source, question="Why? " * 40_000)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 10
