"""Every script among the examples runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_scripts(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_gallery_shows_the_presets_as_they_are() -> None:
    gallery = runpy.run_path(str(EXAMPLES / "gallery.py"))
    for path, text in gallery["page"]().items():
        assert path.read_text(encoding="utf-8") == text, "run: python examples/gallery.py --write"
