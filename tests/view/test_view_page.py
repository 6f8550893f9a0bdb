"""The page as one file: it has what the journal has, nothing said becomes markup, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import scenes

from agora.journal import Journal
from agora.view import page

pytestmark = pytest.mark.anyio


class Parts(HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for name, attributes, text in self.found if name == tag]


async def written(store: Path, run: str) -> str:
    async with Journal(store) as journal:
        return await page.of_run(journal, run)


def inside(text: str) -> dict[str, Any]:
    (data,) = (said for attributes, said in Parts(text).all("script") if attributes.get("id") == "agora-run")
    found: dict[str, Any] = json.loads(data)
    found["calls"] = json.loads(gzip.decompress(base64.b64decode(found["calls"])))
    return found


@pytest.mark.parametrize("scene", ["quick", "hostile", "nested", "absent", "fused"])
async def test_a_file_has_the_whole_run(tmp_path: Path, scene: str) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, scene)
    data = inside(await written(store, scene))
    async with Journal(store) as journal:
        calls = await journal.calls(scene)
    for mine, kept in zip(data["calls"], calls, strict=True):
        assert mine["request"] == kept["request"]
        assert mine["reply"] == kept["reply"]
    assert data["records"][0]["type"] == "run"


async def test_nothing_said_becomes_markup(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "hostile")
    text = await written(store, "hostile")
    parts = Parts(text)
    assert len(parts.all("script")) == 2
    assert {tag for tag, *_ in parts.found} == {"html", "head", "meta", "title", "style", "body", "div", "script"}
    assert not [name for _, attributes, _ in parts.found for name in attributes if name.startswith("on")]


async def test_the_policy_names_the_very_script_and_style(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "quick")
    text = await written(store, "quick")
    parts = Parts(text)
    (policy,) = (a["content"] for a, _ in parts.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


async def test_the_same_run_is_the_same_file(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "quick")
    assert await written(store, "quick") == await written(store, "quick")


def test_what_is_built_can_stand_in_a_page() -> None:
    script, style = page.asset("app.js").decode(), page.asset("app.css").decode()
    assert "</script" not in script.casefold()
    assert "<!--" not in script
    assert "</style" not in style.casefold()
    for text in (script, style):  # of addresses only the names of SVG's and the like: nothing is loaded from elsewhere
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {
            "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml", "http://www.w3.org/1998/Math/MathML",
            "http://www.w3.org/1999/xlink",
        }  # fmt: skip
    assert "url(" not in style
    assert "@import" not in style
