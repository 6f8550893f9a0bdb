"""A browser and a viewer for the tests of a module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stage

PLAYED = ("quick", "hostile", "nested", "absent", "fused", "long", "wide")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if said := stage.missing():
        if os.environ.get("AGORA_BROWSER"):
            raise AssertionError(said)
        pytest.skip(said)
    with stage.browser() as found:
        yield found


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "runs.sqlite"
    scenes = Path(stage.__file__).with_name("scenes.py")
    subprocess.run([sys.executable, str(scenes), str(path), *PLAYED], check=True)
    return path


@pytest.fixture(scope="module")
def url(chromium: Any, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    debate = tmp_path_factory.mktemp("debates") / "duo.yaml"
    debate.write_text(stage.DUO)
    with stage.viewer(store, "--file", str(debate)) as found:
        yield found


class Watched:
    """A page, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page, self.wrong = page, list[str]()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of 1280 by 900 in which nothing may go wrong."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page())
    watched.page.set_default_timeout(15_000)
    yield watched.page
    context.close()
    assert watched.wrong == []
