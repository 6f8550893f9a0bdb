from __future__ import annotations

from pathlib import Path

import pytest

from agora.errors import TemplateError
from agora.prompts import NAMES, Template, shipped, template


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_shipped_template_loads(name: str) -> None:
    assert shipped(name).name == name


def test_overrides_by_text_and_by_file(tmp_path: Path) -> None:
    assert template("answer", "{{ question }}!").render(question="q") == "q!"
    (tmp_path / "a.jinja").write_text("{{ question }}?")
    assert template("answer", tmp_path / "a.jinja").render(question="q") == "q?"
    assert template("answer", str(tmp_path / "a.jinja")).render(question="q") == "q?"


@pytest.mark.parametrize("source", ["{{ nobody }}", "{% if", "{{ question.__class__.__mro__ }}", "{{ peers.nope.x }}"])
def test_wrong_templates(source: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template("revise", source).render(question="q", peers=[])
    assert "\n" not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot read"):
        template("answer", tmp_path / "none.jinja")
    with pytest.raises(TemplateError, match="there is no template"):
        Template("nonsense")
