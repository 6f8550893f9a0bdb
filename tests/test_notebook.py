"""Debates in a real kernel: shown while they go on, seldom drawn, ended cleanly; verdicts as they show themselves."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import anyio
import nbformat
import pytest
from nbclient import NotebookClient

import agora
from agora import Agent, Debate, InputError, Moderator, Protocol, ScriptedModel, Verdict
from agora.records import Reply, Retrying, RoundOver, Speaking, Spoke, Started, Turn, Usage, Wrote
from agora.text.stop import rounds
from agora.text.topology import Topology
from agora.view import stills
from agora.view.standing import Standing
from agora.view.stills import standing_html, verdict_html

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "\" onload='x",
    "</details></div>",
    "\u202eevil\u2066", "\x1b[31mred\x00", "\ud800", "<svg/onload=alert(1)>", "[x](javascript:alert(1))", "&lt;b&gt;",
)  # fmt: skip
SETUP = """
import asyncio, agora
from agora import Agent, Debate, Moderator, ScriptedModel
from agora.text.stop import rounds
from agora import notebook
shown = []
put = notebook._Cell.show
def show(self, html, *text):
    import time
    shown.append((time.monotonic(), html))
    put(self, html, *text)
notebook._Cell.show = show
def group(latency=0.0, n=3):
    said = [[f"<i>first</i> Answer: {i}", "Answer: 1"] for i in range(n)]
    return [Agent(f"<b>{i}", ScriptedModel(texts, latency=latency)) for i, texts in enumerate(said)]
def left():
    "tasks of ours that go on"
    return [task.get_name() for task in asyncio.all_tasks() if "._run_coro" in repr(task.get_coro())]
debate = Debate(group(0.4), moderator=Moderator(rounds(1)), answer="number")
"""


def run(*cells: str, errors: bool = False) -> list[Any]:
    """The outputs of cells that a kernel has run."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)])
    NotebookClient(made, timeout=120, kernel_name="python3", allow_errors=errors).execute()
    return [cell.outputs for cell in made.cells[1:]]


class Tags(HTMLParser):
    """All tags and attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(html: str) -> Tags:
    """Well-formed, nothing but what we put there."""
    seen = Tags(html)
    assert not seen.open
    for tag, attributes in seen.tags:
        assert tag in {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "small", "bdi", "strong", "details",
                       "summary", "iframe", "code"}  # fmt: skip
        assert set(attributes) <= {"style", "title", "scope", "sandbox", "loading", "srcdoc"}
    for c in "\x1b\x00\u202e\u2066\ud800":
        assert c not in seen.text
    html.encode()
    return seen


def hostile_verdict() -> Verdict:
    scripts = [[said, HOSTILE[i - 2]] for i, said in enumerate(HOSTILE)]
    names = [name if name.isprintable() else f"name {i}" for i, name in enumerate(HOSTILE)]
    group = [Agent(name, ScriptedModel(texts, name=name)) for name, texts in zip(names, scripts, strict=True)]
    return Debate(group, moderator=Moderator(rounds(1))).run("".join(HOSTILE))


# ---- verdicts ---------------------------------------------------------------------------------------------------


def test_what_was_said_is_escaped() -> None:
    seen = checked(hostile_verdict()._repr_html_() or "")
    (frame,) = [attributes for tag, attributes in seen.tags if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts"
    assert (frame["srcdoc"] or "").startswith("<!doctype html>")
    assert "<script>alert" not in (frame["srcdoc"] or "")


def test_a_verdict_reads_without_styles_frames_and_colour() -> None:
    group = [Agent("ann", ScriptedModel(["Answer: 1", "Answer: 2"])), Agent("bob", ScriptedModel("Answer: 2")),
             Agent("cy", ScriptedModel("no idea"))]  # fmt: skip
    verdict = Debate(group, moderator=Moderator(rounds(1)), answer="number").run("how many?")
    html = re.sub(r"<iframe.*?</iframe>| style=\"[^\"]*\"| title=\"[^\"]*\"", "", verdict._repr_html_() or "")
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    text = [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
    assert text == [
        ["", "first answers", "round 1"],
        ["ann", "● 1", "■ 2 *"], ["bob", "■ 2", "■ 2"], ["cy", "unparsed", "unparsed"],
        ["support", "before", "after"], ["■ 2", "1", "2 ▬▬▬▬▬▬▬▬▬▬▬▬"], ["● 1", "1", "0 "],
    ]  # fmt: skip
    plain = re.sub(r"<[^>]+>", "", html)
    for part in ("how many?", "■ 2", "100% of the vote", "* ann changed ● 1 → ■ 2 in round 1 after reading bob",
                 "Dissent: cy says nothing that could be read", "6 calls", "Note: no answer could be read from cy",
                 verdict.run, "agora.view.save(verdict, &quot;run.html&quot;)"):  # fmt: skip
        assert part in plain


def test_a_page_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "LARGEST", 1_000)
    html = hostile_verdict()._repr_html_() or ""
    assert "iframe" not in html
    assert "agora.view.save" in html
    assert "agora view RUN" in html
    assert len(html) < 20_000


def test_a_verdict_of_a_crowd_stays_small() -> None:
    group = [Agent(f"agent {i}", ScriptedModel([f"Answer: {i}", "Answer: 5"])) for i in range(200)]
    debate = Debate(group, topology="ring", moderator=Moderator(rounds(1)), answer="number", protocol=Protocol())
    html = verdict_html(debate.run("q"), page=False)
    checked(html)
    assert "and 160 other agents" in html
    assert "and 188 other answers" in html
    assert "and 187 other changes" in html
    assert len(html) < 60_000


def test_a_verdict_as_text() -> None:
    group = [Agent("ann", ScriptedModel(["Answer: 1", "Answer: 2"])), Agent("bob", ScriptedModel("Answer: 2"))]
    verdict = Debate(group, moderator=Moderator(rounds(1)), answer="number").run("how many?", run="r-1")
    assert repr(verdict) == (
        "<Verdict answer='2'; 2 of 2 agents; 1 round after the first answers; 4 calls, "
        f"{verdict.usage.tokens} tokens, $0.0000; run r-1>"
    )
    assert str(verdict).splitlines()[:3] == [
        "Q: how many?",
        "Verdict: 2  (1 round of debate; plurality, 2 of 2, 100% of the vote)",
        "  Answer: 2",
    ]
    assert f"{verdict}" == str(verdict)
    assert "rounds" not in repr([verdict])
    assert repr(Verdict("x", model="m")) == "<Verdict no answer; 0 calls, 0 tokens, $0.0000; run unnamed>"
    for line in (*str(hostile_verdict()).splitlines(), repr(hostile_verdict())):
        assert not set(line) & set("\x1b\x00\u202e\u2066\ud800")
    assert len(repr(hostile_verdict())) < 300


def test_verdicts_are_equal_as_before() -> None:
    verdict = Verdict("x", model="m", answer="1", run="r")
    assert verdict == replace(verdict)
    assert verdict != replace(verdict, answer="2")
    assert verdict != replace(verdict, usage=Usage(1))
    assert Reply("x", model="m") == Reply("x", model="m")
    assert repr(Reply("x", model="m")).startswith("Reply(text='x'")


# ---- while it goes on -------------------------------------------------------------------------------------------


def test_where_a_debate_stands() -> None:
    now = Standing(["a", "b"])
    now.see(Started("run-1", "q <b>", ("a", "b", "c"), ()))
    now.see(Speaking("a", 0, "answer"))
    now.see(Wrote("a", 0, "answer", "first words", True))
    now.see(Wrote("a", 0, "answer", " and more"))
    now.see(Speaking("b", 0, "answer"))
    now.see(Retrying("b", "m", "busy", 2.0, 1))
    text = re.sub(r"<[^>]+>", "|", standing_html(now))
    assert "first words and more" in text
    assert "waits 2.0 s: busy" in text
    assert "2 of 3 agents speak" in text
    answer = agora.Answer("7", confidence=0.5)
    now.see(Spoke(Turn("a", 0, "answer", Reply("It is 7", model="m", usage=Usage(1, 5, 5, usd=0.5)), answer)))
    now.see(Spoke(Turn("b", 0, "answer", None, error="failed <i>")))
    now.see(RoundOver(agora.Round(0, ()), None))
    text = re.sub(r"<[^>]+>", "", standing_html(now, "It <failed>."))
    for part in (
        "q &lt;b&gt;",
        "● 7 50%",
        "failed &lt;i&gt;",
        "1 round over",
        "● 7 × 1",
        "$0.5000",
        "It &lt;failed&gt;.",
    ):
        assert part in text


def test_what_goes_on_is_escaped_too() -> None:
    now = Standing(HOSTILE)
    now.see(Started("r", "".join(HOSTILE), HOSTILE, ()))
    for i, name in enumerate(HOSTILE):
        now.see(Wrote(name, 0, "answer", HOSTILE[i - 1], True))
        if i % 2:
            said = Reply(HOSTILE[i - 2], model="m")
            now.see(Spoke(Turn(name, 0, "answer", said, agora.Answer(HOSTILE[i - 3]))))
    checked(standing_html(now, "".join(HOSTILE)))


def test_a_crowd_under_way_stays_small() -> None:
    now = Standing([f"a{i}" for i in range(1_000)])
    for i in range(1_000):
        now.see(Spoke(Turn(f"a{i}", 0, "answer", Reply("x" * 10_000, model="m"), agora.Answer(str(i)))))
    html = standing_html(now)
    assert len(html) < 60_000
    assert "and 960 other agents" in html
    assert "994 other answers" in html


def test_a_kernel_shows_it() -> None:
    outputs, figures, again, both, under_way = run(
        'await agora.display(debate, "<script>q</script>")',
        "verdict = _\ngaps = [b[0] - a[0] for a, b in zip(shown[:-1], shown[1:-1])]\n"
        "print(len(shown), len(left()), min(gaps), shown[-1][0] - shown[0][0])",
        "verdict",
        'v = await agora.display(Debate(group(), moderator=Moderator(rounds(0))), "q")\nv2 = verdict',
        "task = asyncio.create_task(agora.display(debate, 'q'))\nawait asyncio.sleep(0.2)\nprint(len(left()))\n"
        "await task\nprint(left())",
    )
    kinds = [output.output_type for output in outputs]
    assert kinds == ["display_data", "execute_result"]
    html = outputs[0].data["text/html"]
    checked(html)
    assert "The whole debate" in html
    assert "<script>q" not in html
    assert outputs[0].data["text/plain"].startswith("Q: <script>q</script>\nVerdict: 1  (1 round of debate")
    assert set(outputs[1].data) == {"text/plain"}  # it stands there already
    assert outputs[1].data["text/plain"].startswith("<Verdict answer='1'")
    drawn, tasks, gap, span = figures[0].text.split()
    assert 3 <= int(drawn) <= 2 + float(span) / 0.249  # four a second, and the last
    assert int(tasks) == 0
    assert float(gap) >= 0.249
    assert "The whole debate" in again[0].data["text/html"]
    assert again[0].data["text/plain"].startswith("<Verdict")
    assert [output.output_type for output in both] == ["display_data"]
    there, after = "".join(output.get("text", "") for output in under_way).split()
    assert int(there) >= 4  # an agent each, and who draws
    assert after == "[]"


def test_a_kernel_shows_why_it_failed() -> None:
    outputs, after = run(
        "from agora.errors import ServerError\n"
        "bad = Debate([Agent('a', ScriptedModel([ServerError('<b>down</b>', model='m')]))], answer='number')\n"
        'await agora.display(bad, "q")',
        "print(left())",
        errors=True,
    )
    assert [output.output_type for output in outputs] == ["display_data", "error"]
    assert outputs[1].ename == "QuorumError"
    html = outputs[0].data["text/html"]
    checked(html)
    assert "only 0 of 1 agents spoke" in html
    assert "&lt;b&gt;down" in html
    assert after[0].text == "[]\n"


def test_an_interrupt_ends_it() -> None:
    outputs, after = run(
        "import signal, os, threading, tempfile\n"
        "slow = Debate(group(60), answer='number')\n"
        "store = tempfile.mkdtemp() + '/runs.sqlite'\n"
        "threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        'await agora.display(slow, "q", journal=store, run="mine")',
        "from agora import Journal\n"
        "async with Journal(store) as journal:\n"
        "    print((await journal.run('mine')).status, left())\n"
        "print('Interrupted' in shown[-1][1], \"run='mine' goes on\" in shown[-1][1].replace('&#x27;', \"'\"))",
        errors=True,
    )
    assert [output.output_type for output in outputs] == ["display_data", "error"]
    assert outputs[1].ename in ("KeyboardInterrupt", "CancelledError")
    assert "Interrupted" in outputs[0].data["text/html"]
    assert after[0].text == "interrupted []\nTrue True\n"


def test_without_a_notebook_the_terminal_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    group = [Agent("ann", ScriptedModel("Answer: 1")), Agent("bob", ScriptedModel("Answer: 1"))]
    debate = Debate(group, moderator=Moderator(rounds(1)), answer="number")

    async def go() -> Verdict:
        return await agora.display(debate, "how many?", run="r")

    verdict = anyio.run(go)
    out = capsys.readouterr().out
    assert verdict.answer == "1"
    assert out.startswith("Q: how many?\n  0   ann")
    assert "Verdict: 1" in out
    with pytest.raises(InputError, match="empty"):
        anyio.run(agora.display, debate, " ")


# ---- topologies -------------------------------------------------------------------------------------------------


def test_topologies_show_themselves() -> None:
    svg = Topology(HOSTILE, [(HOSTILE[0], HOSTILE[1])])._repr_html_()
    assert "<script>" not in svg
    assert "color:inherit" in svg  # light on dark, dark on light
    assert svg.startswith("<svg")
