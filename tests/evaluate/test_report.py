"""Tables at any width and the page: whole, well-formed, self-contained, and deaf to what models and data write."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from xml.sax.saxutils import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from synthetic import AGENTS, results

from agora.evaluate.measures.analysis import Analysis, analyse
from agora.evaluate.measures.comparing import against
from agora.evaluate.records import Contestant, Results, Said, Scored
from agora.evaluate.report.charts import ticks
from agora.evaluate.report.output import publish
from agora.evaluate.report.page import report
from agora.evaluate.report.table import against_grids, grids, headline, markdown, money, signed, terminal
from agora.evaluate.results_io import load
from agora.lettering import columns
from agora.records import Usage

EVIL = "<script>alert(1)</script>\"'&|`*\x1b[2J\x00\ud800\n</svg></style>"
MADE = results()
ANALYSIS = analyse(MADE)


class Page(HTMLParser):
    """Holds the tags of a page to be closed in order, and collects what it needs from outside."""

    VOID = {"meta", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name in ("src", "href", "onclick", "onload", "xlink:href") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def whole(text: str) -> Page:
    """A page that is well-formed, needs nothing else, and whose pictures are XML with numbers only."""
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#hatch"}
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for picture in pictures:
        for shape in ET.fromstring(picture).iter():
            places = [shape.get(name, "0") for name in ("x", "y", "cx", "cy", "r", "width", "height")]
            places += re.split("[MLHV ]", shape.get("d", "0").strip("MLHV "))
            assert all(-1 <= float(place) < 5000 for place in places if place)
    return page


def test_a_page_of_everything() -> None:
    questions = {f"q{i}": f"What is {i} < {i + 1}?" for i in range(300)}
    page = whole(report(MADE, ANALYSIS, questions))
    for word in (
        "does the debate help?", "Accuracy: council", "The debate less each baseline", "Accuracy and cost",
        "Round by round", "What became of answers", "Calibration: stated confidence", "Who changes whose mind",
        "Who errs together", "How debates ended", "algebra: 100 items", "Where they differ", "How it was measured",
        "McNemar", "self-consistency", "What each agent's vote adds", "items lost to", "Seen without reading",
    ):  # fmt: skip
        assert word in page.text, word
    assert re.search(r"What is \d+ < \d+\?", page.text)
    assert f"{100 * ANALYSIS['council'].accuracy.value:.1f}" in page.text
    # every interval that is drawn is told as well: nothing stands in the plots alone
    for one in ANALYSIS.comparisons:
        assert f"{signed(one.difference.value)}" in page.text


def test_a_folder_of_everything(tmp_path: Path) -> None:
    files = publish(MADE, ANALYSIS, tmp_path / "out")
    assert [path.name for path in files] == [
        "report.html", "table.md", "table.json", "results.json", "rows.jsonl", "rows.parquet", "rows.said.parquet",
    ]  # fmt: skip
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    again = load(tmp_path / "out")
    assert again == MADE
    assert report(again, analyse(again)) == files[0].read_text(encoding="utf-8")
    assert json.loads(files[2].read_text())["seed"] == 0


def test_words_say_what_was_shown_and_never_that_two_are_equal() -> None:
    said = headline(ANALYSIS)
    assert said[0].startswith("council: 92.7% right (95% interval 89.1 to 95.1) of 300 items")
    assert any(sentence.startswith("Better than self-consistency (calls)") for sentence in said)
    assert any(
        sentence.startswith("No difference shown from") and "smaller difference may be" in sentence for sentence in said
    )
    text = report(MADE, ANALYSIS) + markdown(MADE, ANALYSIS)
    assert not re.search(r"\b(as good as|equally good|no better|same accuracy)\b", text)


def evil() -> tuple[Results, dict[str, str]]:
    names = {agent: f"{agent}{EVIL}" for agent in AGENTS}
    made = results(40, debates={EVIL: "helps"}, names=names)
    rows = []
    for i, row in enumerate(made.contestants[0].rows):
        said = tuple(dataclasses.replace(s, answer=s.answer and s.answer + EVIL) for s in row.said)
        worse = {"answer": row.answer and EVIL, "item": EVIL + row.item, "group": EVIL * (i % 2), "extra": {EVIL: 1.0}}
        rows.append(dataclasses.replace(row, stop=EVIL, error=EVIL, said=said, **worse))  # type: ignore[arg-type]
    others = [
        dataclasses.replace(c, note=EVIL, rows=tuple(dataclasses.replace(r, item=EVIL + r.item) for r in c.rows))
        for c in made.contestants[1:]
    ]
    first = dataclasses.replace(made.contestants[0], rows=tuple(rows))
    return (
        dataclasses.replace(made, data=EVIL, about=EVIL, scorer=EVIL, digest=EVIL, versions={EVIL: EVIL}, notes=(EVIL,),
                            stopped=EVIL, planned=99, contestants=(first, *others)),
        {row.item: EVIL for row in rows},
    )  # fmt: skip


def test_what_models_and_data_write_is_only_text() -> None:
    made, questions = evil()
    analysis = analyse(made)
    text = report(made, analysis, questions)
    page = whole(text)
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in text
    assert "\x00" not in text
    text.encode()
    assert "40 of 99 items are answered" in page.text
    console = Console(file=io.StringIO(), width=80)
    for grid in grids(analysis):
        console.print(terminal(grid, 80))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert "<script>" in shown
    columns_ = {len(grid.head) + 1 for grid in grids(analysis)}
    for line in markdown(made, analysis).splitlines():
        assert "<script>" not in line.replace("\\<script\\>", "")
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in columns_  # no name adds a column


@pytest.mark.parametrize("wide", [60, 61, 72, 80, 100, 133, 200])
def test_tables_fit_and_no_figure_is_cut(wide: int) -> None:
    for grid in [*grids(ANALYSIS), *against_grids(against(MADE, MADE))]:
        console = Console(file=io.StringIO(), width=wide)
        console.print(terminal(grid, wide))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert all(columns(line) <= wide for line in lines)
        for row in grid.rows:
            assert any(row[1] in line for line in lines)
        if "95% interval" in grid.head:
            at = grid.head.index("95% interval")
            assert all(any(row[at] in line for line in lines) for row in grid.rows)
            told = [re.split(r"  +", line.strip())[0] for line in lines if re.search(r"\d to \S?\d", line)]
            assert len(told) == len(grid.rows)
            several = grid.title == "accuracy and cost" and grid.rows[0][0] == "council"
            assert len(set(told[:12] if several else told)) == len(told[:12] if several else told)  # names stay apart


def test_a_wide_terminal_has_all_columns() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(terminal(grids(ANALYSIS)[0], 160))
    head = console.file.getvalue().splitlines()[1].split()  # type: ignore[attr-defined]
    assert head[-1] == "p95"
    assert "USD/right" in head


def test_markdown_is_aligned_and_complete() -> None:
    text = markdown(MADE, ANALYSIS)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = block.splitlines()
        assert len({len(line) for line in lines}) == 1
        assert set(lines[1]) <= set("|-:")
    assert text.count("## ") == 1 + 2 + 1 + 2 + 2
    assert unescape(text) == text


# ---- odd evaluations --------------------------------------------------------------------------------------------


def one(*rows: Scored, name: str = "d") -> Results:
    return Results("d", "", "", "exact", 0, (Contestant(name, "debate", name, rows),), planned=len(rows))


def _unscored() -> Results:
    said = tuple(Said(a, r, a, "answered", read=(("b", 0),) if r else ()) for r in (0, 1) for a in "ab")
    return one(*(Scored(str(i), "", "answered", "a", 0.3 * i, said=said, rounds=1) for i in range(4)))


ODD = {
    "one item, nothing said": one(Scored("1", "", "answered", "x", 1.0)),
    "all failed": one(
        *(Scored(str(i), "", "absent", None, 0.0, error="down", usage=Usage(usd=None)) for i in range(3))
    ),
    "unscored agents, fractions": _unscored(),
    "no debates": dataclasses.replace(MADE, contestants=MADE.contestants[1:4]),
    "no baselines": results(25, debates={"d": "harms"}, baselines=False),
    "one agent": results(25, debates={"d": "helps"}, agents={"only": 0.6}),
    "30 agents": results(12, debates={"d": "helps"}, agents={f"agent number {i}": 0.5 for i in range(30)}),
    "all right": results(30, debates={"d": "helps"}, agents={"a": 2.0, "b": 2.0, "c": 2.0}),
    "prices unknown": dataclasses.replace(
        MADE,
        contestants=tuple(
            dataclasses.replace(c, rows=tuple(dataclasses.replace(r, usage=Usage(1, 5, 5, usd=None)) for r in c.rows))
            for c in MADE.contestants[:12]
        ),
    ),
}


@pytest.mark.parametrize("made", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("grouped", [False, True])
def test_odd_evaluations_have_a_page_too(made: Results, grouped: bool) -> None:
    analysis = analyse(made, grouped=grouped)
    whole(report(made, analysis))
    markdown(made, analysis)
    for grid in grids(analysis):
        Console(file=io.StringIO(), width=60).print(terminal(grid, 60))
    assert isinstance(Analysis.to_json(analysis), dict)


def test_unknown_prices_are_never_zero() -> None:
    made = ODD["prices unknown"]
    text = report(made, analyse(made))
    assert "tokens an item" in text
    assert "$0" not in text
    assert money(None) == "?"
    assert money(0.0) == "$0"


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, reach: float) -> None:
    found = ticks(low, low + reach)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * (abs(low) + reach) <= tick <= low + reach * 1.000001 + 1e-6 * abs(low) for tick in found)


def test_notebooks_get_the_figures_and_the_report() -> None:
    html = MADE._repr_html_()
    page = Page(html)
    static = re.sub(r"<iframe.*?</iframe>", "", html)
    for name in (MADE.data, *(contestant.name for contestant in MADE.debates)):
        assert name in static
    assert "%" in static
    assert {"table", "details", "iframe"} <= page.tags
    assert 'sandbox loading="lazy"' in html  # no script runs there
    evil = dataclasses.replace(MADE, data=EVIL, scorer=EVIL)
    Page(evil._repr_html_())
    assert "<script" not in evil._repr_html_()
