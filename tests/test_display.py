"""Pictures: well-formed and escaped whatever the names are, nothing cut off, nothing on top of something else."""

from __future__ import annotations

import re
import sys
import time
import types
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.drawing import _bounds, _Picture, _width, png, topology_html, topology_svg, topology_text
from agora.errors import MissingError
from agora.text.stop import rounds
from agora.text.topology import BUILDERS, Topology, build

HOSTILE = (
    "<script>alert(1)</script>", "__class__", "]]>&\"'", "x" * 80, "名前" * 30, "عربي", "a\x00\x1b\ud800b",
    "e\u0301" * 40, "url(#a)", "\u202eevil",
)  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


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


@pytest.mark.parametrize("name", sorted(BUILDERS))
@pytest.mark.parametrize("n", [1, 2, 3, 10, 40])
def test_every_topology_is_well_formed(name: str, n: int) -> None:
    agents = [HOSTILE[i % 10] + str(i) * (i >= 10) for i in range(n)]
    if name == "edge_critics":  # an actor more than critics
        agents = agents[: n - (n + 1) % 2]
    topology = build(name, agents)
    for theme in ("inherit", "auto", "light"):
        svg = topology_svg(topology, families={a: HOSTILE[i % 7] for i, a in enumerate(agents)}, theme=theme)
        root = drawn(svg)
        assert root.tag == f"{SVG}svg"
        shapes = root.iter()
        assert {e.tag.removeprefix(SVG) for e in shapes} <= {
            "svg",
            "style",
            "g",
            "path",
            "circle",
            "rect",
            "text",
            "title",
        }
        assert "<script" not in svg
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
        assert not any(key.startswith("on") for e in root.iter() for key in e.attrib)
        svg.encode()


def test_notebooks_get_it() -> None:
    svg = Topology(["<script>", "b"], [("b", "<script>")])._repr_html_()
    assert "<script>" not in svg
    assert svg.startswith("<svg")
    assert topology_svg(build("ring", "abc"), 300).count('width="300"') == 1


@pytest.mark.parametrize(
    "name", ["complete", "ring", "star", "tree", "layered", "small_world", "barabasi_albert", "net"]
)
@pytest.mark.parametrize("n", [3, 12, 30, 100])
def test_nothing_is_cut_off_and_no_two_things_lie_on_each_other(name: str, n: int) -> None:
    topology = build(name, [f"Agent {'with a long name ' * (i % 3 == 0)}{i}" for i in range(n)])
    picture = _Picture(topology, {}, None)
    left, top, wide, high = map(float, drawn(picture.svg(None, "auto")).attrib["viewBox"].split())
    for (x, y), (a, b) in combinations(picture.spots, 2):
        assert (x - a) ** 2 + (y - b) ** 2 > (1.9 * picture.r) ** 2
    labels = picture._labels()
    assert len(labels) >= 0.75 * n
    boxes = []
    for i, x, y, anchor, turn in labels:
        box = _bounds(x, y, anchor, _width(picture.names[i], picture.font), picture.font)
        if not turn:
            assert left <= box[0]
            assert box[2] <= left + wide
            assert top <= box[1]
            assert box[3] <= top + high
            boxes.append(box)
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_arrows_point_to_the_reader() -> None:
    picture = _Picture(build({"edges": [["a", "b"]]}, "ab"), {}, None)
    (ax, _), (bx, _) = picture.spots
    head = re.findall(r'<path d="M([\d.-]+) [\d.-]+L[^"]*z" fill="currentColor"', picture.svg(None, "light"))
    assert len(head) == 1
    assert abs(float(head[0]) - bx) < abs(float(head[0]) - ax)


def test_one_line_with_two_heads_or_two_lines() -> None:
    def counts(value: Any, **more: Any) -> tuple[int, int]:
        svg = topology_svg(build(value, "ab"), **more)
        return svg.count('fill="none"'), svg.count('z" fill="currentColor"') and svg.count("M") - svg.count(
            'fill="none"'
        )

    assert counts("complete") == (1, 2)
    assert counts({"edges": [["a", "b", {"view": "answer"}], ["b", "a"]]})[0] == 2
    assert counts("complete", views={("a", "b"): "answer"})[0] == 2


def test_what_edges_carry_is_shown() -> None:
    edges = [["a", "b", {"view": {"text": "answer"}, "delay": 2}], ["b", "c", {"probability": 0.25}], ["c", "d"]]
    svg = topology_svg(build({"edges": edges}, "abcd"), views="full")
    for text in ("answer only", "full text", "+2 rounds", "25%", "stroke-dasharray"):
        assert text in svg
    assert "every edge: +1 round" in topology_svg(build({"ring": {"delay": 1}}, "abcd"))
    assert "stroke-dasharray" not in topology_svg(build("ring", "abcd"), views="full")


def test_families_have_colours_and_then_shapes() -> None:
    agents = [str(i) for i in range(30)]
    svg = topology_svg(build("ring", agents), families={a: f"family{a}" for a in agents})
    marks = set(re.findall(r"<(circle|rect|path) [^>]*(fill=\"#\w+\")", svg))
    assert len(marks) >= 24
    assert "family0" in svg


def test_large_graphs_are_drawn_in_time() -> None:
    start = time.process_time()
    for name in ("complete", "small_world", "layered", "tree", "isolated", "mlp"):
        svg = topology_svg(build(name, [str(i) for i in range(1200)]))
        assert len(svg) < 4_000_000
        drawn(svg)
    assert time.process_time() - start < 5


def test_a_page() -> None:
    agents = HOSTILE[:5]
    topology = build({"rounds": ["ring", "star"]}, agents)
    page = topology_html(topology, "<b>t</b>", topology_svg(topology), {agents[0]: "<i>m</i>"})
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "round 1" in page


def test_as_text() -> None:
    ring = topology_text(build("ring", ("Ada", "Bert", "名前", "d\x1be")), {"Ada": "openai"})
    assert ring.splitlines()[0] == "Ada   openai  reads Bert, d\ufffde"
    assert "\x1b" not in ring
    matrix = topology_text(build("complete", [str(i) for i in range(12)]))
    assert matrix.count("■") == 132
    assert len({len(line) for line in matrix.splitlines()[2:]}) == 1
    star = topology_text(build("star", [f"agent {i}" for i in range(500)]), width=80)
    assert "more" in star
    assert max(map(len, star.splitlines())) <= 80
    assert "(+1 round, 50%)" in topology_text(build({"edges": [["a", "b", {"delay": 1, "probability": 0.5}]]}, "ab"))


def test_png_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingError, match=r"agora-debate\[draw\].*\.svg"):
        png("<svg/>")
    fake = types.ModuleType("resvg_py")
    fake.svg_to_bytes = lambda **given: [137, 80] if given["background"] else []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "resvg_py", fake)
    assert png("<svg/>") == b"\x89P"


def test_png() -> None:
    pytest.importorskip("resvg_py")
    content = png(topology_svg(build("ring", HOSTILE), families={"__class__": "x"}, theme="light"))
    assert content.startswith(b"\x89PNG")
