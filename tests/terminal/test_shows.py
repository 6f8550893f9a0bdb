"""Debates in a terminal at many widths: exactly what they look like, on real terminals, whatever agents say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_words import TEXTS, calm

from agora import Agent, Debate, Moderator, ScriptedModel
from agora.journal import verdict_json
from agora.records import (
    Answer,
    Change,
    Decided,
    Dissent,
    Event,
    Reply,
    Retrying,
    Round,
    RoundOver,
    Speaking,
    Spoke,
    Started,
    Turn,
    Usage,
    Verdict,
    Wrote,
)
from agora.terminal.board import board
from agora.terminal.endings import summary, summary_lines, transcript
from agora.terminal.shows import Live, Plain
from agora.text.stop import rounds
from agora.view.standing import Standing

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (20, 40, 60, 80, 100, 200)
NAMES = ("Ada", "名前のとても長いエージェント", "the agent of the third department, number 17", "e\u0301mile")
QUESTION = "How many keys has Gus, who had 40, bought 43, and then got 59 more from a friend who needed none of them?"
SAYS = (
    ("He has 40 and 43, that is 83, and then 59 more. Answer: 142", "142", 0.98),
    ("鍵は全部で百四十四個です。", "144", 0.5),
    ("\x1b[31mIgnore\x1b[0m \u202ethe others\nAnswer: \U0001f600 no idea", None, None),
)


def turn(i: int, round: int, text: str, answer: str | None, sure: float | None, reads: Sequence[int] = ()) -> Turn:
    usage = Usage(1, 1200, 34, usd=0.0021, seconds=1.5)
    why = None if answer is not None else "unparsed"
    return Turn(
        NAMES[i], round, "answer" if not round else "revise", Reply(text, model="m", usage=usage),
        Answer(answer, why_none=why, confidence=sure), tuple((NAMES[j], round - 1, "answer") for j in reads),
    )  # fmt: skip


def course() -> Iterator[Event]:
    """A debate of four, one of whom fails, over one round."""
    yield Started("r-1", QUESTION, NAMES, ())
    for name in NAMES:
        yield Speaking(name, 0, "answer")
    first = [turn(i, 0, *said) for i, said in enumerate(SAYS)]
    first.append(Turn(NAMES[3], 0, "answer", None, error="m: the server failed (503), and so it did again."))
    yield Retrying(NAMES[3], "m", "busy (503)", 2.0, 1)
    for one in first:
        yield Spoke(one)
    yield RoundOver(Round(0, tuple(first)), None)
    yield Speaking(NAMES[0], 1, "revise")
    yield Wrote(NAMES[1], 1, "revise", "I have counted again, and there are more than I had thought of: ", True)
    yield Wrote(NAMES[1], 1, "revise", "one hundred and forty-two")
    second = [turn(0, 1, *SAYS[0], reads=(1, 2)), turn(1, 1, "Now I see. Answer: 142", "142", 0.75, (0, 2)),
              turn(2, 1, *SAYS[2], reads=(0, 1)), replace(first[3], round=1, phase="revise")]  # fmt: skip
    yield from map(Spoke, second)
    yield RoundOver(Round(1, tuple(second)), "stopped by: 1 round of debate")
    yield Decided(
        Verdict(
            "He has 40 and 43, that is 83, and then 59 more.", model="d",
            usage=Usage(7, 8400, 238, usd=0.0147, seconds=10.5), confidence=1.0, answer="142", question=QUESTION,
            support={"142": 2.0}, initial="142", run="r-1",
            dissent=(Dissent(NAMES[2], None, SAYS[2][0]),), reason="stopped by: 1 round of debate; plurality, 2 of 2",
            changes=(Change(NAMES[1], 1, "144", "142", (NAMES[0],)),), absent=(NAMES[3],),
            rounds=(Round(0, tuple(first)), Round(1, tuple(second))), warnings=(f"reached without {NAMES[3]}",),
        )
    )  # fmt: skip


def debate() -> Debate:
    return Debate([Agent(name, ScriptedModel("Answer: 1")) for name in NAMES], moderator=Moderator(rounds(1)))


def turns(verdict: Verdict) -> list[dict[str, Any]]:
    return [
        {"agent": t.agent, "round": t.round, "phase": t.phase, "text": t.reply.text if t.reply else None,
         "answer": t.value, "confidence": t.answer.confidence if t.answer else None, "reads": t.reads, "error": t.error}
        for r in verdict.rounds for t in r.turns
    ]  # fmt: skip


def looks(kind: str, width: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal of a width shows, as text."""
    events = list(course())
    if kind == "live":
        show = Live(debate())
        for event in events[:-7]:
            show.see(event)
        return "\n".join("".join(text for text, _ in line).rstrip() for line in show.lines(width, 24)) + "\n"
    verdict = events[-1].verdict  # type: ignore[union-attr]
    if kind == "plain":
        plain = Plain(debate())
        for event in events:
            plain.see(event)
        summary(verdict_json(verdict), verdict.usage)
    if kind == "end":
        with Live(debate()) as show:
            for event in events:
                show.see(event)
        capsys.readouterr()
        show.__exit__(None, None, None)
        summary(verdict_json(verdict), verdict.usage)
    if kind == "show":
        transcript(turns(verdict))
        summary(verdict_json(verdict), verdict.usage, whole=True)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["live", "plain", "end", "show"])
def test_looks(kind: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in golden/; `AGORA_GOLDEN=1 pytest tests/terminal` writes what it is now there, to be looked at."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    made = looks(kind, width, capsys)
    for line in made.splitlines():
        calm(line, width)
        assert line == line.rstrip()
    path = GOLDEN / f"{kind}-{width}.txt"
    if os.environ.get("AGORA_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(made, encoding="utf-8")
    assert made == path.read_text(encoding="utf-8")


# ---- whatever is said -------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.tuples(TEXTS, TEXTS, st.one_of(st.none(), TEXTS)), min_size=1, max_size=6),
    question=TEXTS,
    width=st.integers(4, 120),
)
def test_no_line_is_wider_than_the_terminal(
    said: list[tuple[str, str, str | None]],
    question: str,
    width: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = list(dict.fromkeys(name for name, _, _ in said))
    show, plain, events = Live(debate()), Plain(debate()), []
    events.append(Started("r", question, tuple(names), ()))
    held = []
    for name, text, answer in said:
        events += [Speaking(name, 0, "answer"), Retrying(name, "m", text, 1.0, 1), Wrote(name, 0, "answer", text, True)]
        held.append(Turn(name, 0, "answer", Reply(text, model="m"), Answer(answer), ((name, 0, question),), None))
        events += [Spoke(held[-1]), Spoke(replace(held[-1], reply=None, error=text))]
    events.append(RoundOver(Round(0, tuple(held)), question))
    for event in events:
        show.see(event)
        plain.see(event)
        for high in (4, 12, 40):
            lines = show.lines(width, high)
            assert len(lines) < high
            for line in lines:
                calm("".join(piece for piece, _ in line), width)
    verdict = Verdict(
        said[0][1], model="m", answer=said[0][2], question=question, reason=said[0][1], initial=said[-1][2],
        dissent=tuple(Dissent(*one[:1], one[2], one[1]) for one in said), warnings=tuple(text for _, text, _ in said),
        changes=tuple(Change(n, 1, text, a, (n, text)) for n, text, a in said), rounds=(Round(0, tuple(held)),) * 2,
    )  # fmt: skip
    show.__exit__(None, None, None)
    summary(verdict_json(verdict), verdict.usage)
    summary(verdict_json(verdict), verdict.usage, whole=True)
    transcript(turns(verdict))
    for line in (*capsys.readouterr().out.split("\n"), *summary_lines(verdict_json(verdict), Usage(), width)):
        calm(line, width)


def test_of_a_thousand_agents_there_is_a_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    names = [f"agent {i}" for i in range(1_000)]
    group = [Agent(name, ScriptedModel(f"So. Answer: {i % 7}")) for i, name in enumerate(names)]
    many = Debate(group, topology="ring", moderator=Moderator(rounds(0)), answer="number")
    now, plain = Standing(names), Plain(many)
    held = [
        Turn(name, 0, "answer", Reply("So it is", model="m"), Answer(str(i % 7))) for i, name in enumerate(names[:-3])
    ]
    held += [Turn(name, 0, "answer", None, error="it failed") for name in names[-3:]]
    for event in (
        Started("r", "q?", tuple(names), ()),
        *map(Spoke, held),
        RoundOver(Round(0, tuple(held)), "0 rounds"),
    ):
        now.see(event)
        plain.see(event)
    assert ["".join(text for text, _ in line).rstrip() for line in board(now, 60)] == [
        "1,000 agents: round 0, 997 have spoken, 3 absent",
        "  0            143", "  1            143", "  2            143", "  3            142", "  4            142",
        "  2 others     284",
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "Q: q?",
        "  round 0: 997 spoke: 0 (143), 1 (143), 2 (143), 3 (142), 4",
        "    (142), 2 other answers; 3 absent (it failed)",
        "  stop: 0 rounds",
    ]


def test_long_lists_are_counted_where_not_all_is_asked_for() -> None:
    changes = tuple(Change(f"a{i}", 1, "0", str(1 + i % 2), ("b",)) for i in range(500))
    dissent = tuple(Dissent(f"a{i}", "7", "so") for i in range(300))
    verdict = Verdict("1", model="m", answer="1", reason="r", changes=changes, dissent=dissent)
    few = list(summary_lines(verdict_json(verdict), Usage(), 80))
    assert "  488 more changes, to 1 (244), 2 (244)" in few
    assert "  dissent: 288 others say 7 (288)" in few
    assert len(few) < 40
    assert len(list(summary_lines(verdict_json(verdict), Usage(), 80, whole=True))) > 800


# ---- real terminals ---------------------------------------------------------------------------------------------

SLOW = """
import sys
from agora import Agent, Debate, Moderator, ScriptedModel
from agora import cli
from agora.cli.debates import follow
from agora.text.stop import rounds
n, wait = int(sys.argv[1]), float(sys.argv[2])
first, then = "\\x1b[31mfirst\\x1b[0m \\u202eI say. Answer: ", "\\u540d\\u524d so be it. Answer: 1"
said = [[f"{first}{i % 3}", then] for i in range(n)]
group = [Agent(f"agent {i}", ScriptedModel(texts, latency=wait * (1 + i % 3))) for i, texts in enumerate(said)]
debate = Debate(group, topology="ring", moderator=Moderator(rounds(1)), answer="number")
question = "What is it, after all that has been said?"
cli.agora.main = lambda **_: follow(debate, question, "--json" in sys.argv, "none")
cli.main()
"""


class Terminal:
    """A real one, in which a program has run to its end."""

    def __init__(self, width: int, high: int, *arguments: str, until: str = "", **environment: str) -> None:
        pty, pyte = pytest.importorskip("pty"), pytest.importorskip("pyte")
        import fcntl
        import struct
        import termios

        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", high, width, 0, 0))
        drop = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        env = {k: v for k, v in os.environ.items() if k not in drop} | {"TERM": "xterm-256color"} | environment
        own = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
        process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stdin=theirs, stdout=theirs, env=env,
                                   stderr=subprocess.PIPE, **own)  # fmt: skip
        os.close(theirs)
        self.screen = pyte.HistoryScreen(width, high, history=5_000, ratio=0.001)
        stream = pyte.ByteStream(self.screen)
        self.raw, self.frames = b"", []
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # Linux's word for the end
                break
            if not data:
                break
            self.raw += data
            stream.feed(data)
            self.frames.append([line.rstrip() for line in self.screen.display])
            if until and any(until in line for line in self.frames[-1]):
                until = ""
                os.write(ours, b"\x03")  # Ctrl-C
        os.close(ours)
        self.errors = process.communicate(timeout=60)[1].decode()
        self.status = process.returncode

    @property
    def lines(self) -> list[str]:
        """All of it, what has scrolled away included."""
        above = ["".join(row[x].data for x in range(self.screen.columns)).rstrip() for row in self.screen.history.top]
        return [*above, *(line.rstrip() for line in self.screen.display)]


@pytest.mark.parametrize(("width", "high"), [(20, 24), (40, 24), (80, 24), (200, 50), (80, 8)])
def test_live_on_a_terminal(width: int, high: int) -> None:
    seen = Terminal(width, high, "5", "0.15")
    assert (seen.status, seen.errors) == (0, "")
    told = "\n".join(seen.lines)
    assert told.count("Q: ") == 1  # the picture that was redrawn is gone: what stays is said once
    assert told.count("Verdict: ") == 1
    assert told.index("Q: ") < told.index("Verdict: ")
    for i in range(5):
        assert len(re.findall(rf"^  agent {i}|^  a\S*…\S*{i} ", told, re.MULTILINE)) >= 1
    assert any("…" in line and "agent" in line for frame in seen.frames for line in frame) or width < 40 or high < 24
    # nothing but lines, moves, erasing, weight, and the cursor
    left = re.sub(rb"\x1b\[(\d+(;\d+)*)?[mAK]|\x1b\[2K|\x1b\[\?25[lh]", b"", seen.raw).decode()
    assert not [c for c in left if not (c.isprintable() or c in "\r\n\u200d")]
    assert b"\x1b[31m" not in seen.raw
    assert seen.raw.rstrip().endswith(b"seconds") or width < 80
    assert seen.raw.count(b"\x1b[?25l") == seen.raw.count(b"\x1b[?25h") == 1  # the cursor is given back


def test_an_interrupt_leaves_what_was_said() -> None:
    seen = Terminal(80, 24, "3", "2", until="agent 0  0      0")
    assert seen.status == 130
    assert seen.errors == "agora: interrupted; nothing was recorded (--store none), so it cannot be resumed.\n"
    told = "\n".join(seen.lines)
    assert told.count("Q: ") == 1
    assert re.search(r"^  agent 0  0      0  ", told, re.MULTILINE)
    assert re.search(r"^  agent 2  0…", told, re.MULTILINE)
    assert "Verdict" not in told
    assert seen.raw.count(b"\x1b[?25l") == seen.raw.count(b"\x1b[?25h") == 1


def test_a_thousand_agents_on_a_terminal() -> None:
    seen = Terminal(80, 24, "1000", "0.05")
    assert (seen.status, seen.errors) == (0, "")
    assert len("\n".join(seen.lines).rstrip().splitlines()) < 60
    assert any(line.startswith("  1,000 agents: round 1, 1,000 have spoken") for line in seen.lines)
    assert any("999 agents" not in line and "have spoken" in line for frame in seen.frames for line in frame)


def test_without_colour_and_without_moves() -> None:
    plain = Terminal(80, 24, "3", "0.02", NO_COLOR="1")
    assert not re.search(rb"\x1b\[[\d;]*m", plain.raw)
    assert plain.status == 0
    dumb = Terminal(80, 24, "3", "0.02", TERM="dumb")
    assert b"\x1b" not in dumb.raw
    assert sum(line[6:].startswith("agent ") for line in dumb.lines) >= 6  # a line a turn
    assert "Verdict: 1" in "\n".join(dumb.lines)


def test_json_on_a_terminal_is_nothing_else() -> None:
    seen = Terminal(4_000, 24, "3", "0.02", "--json")
    assert b"\x1b" not in seen.raw
    assert json.loads(seen.raw)["answer"] == "1"
    assert seen.errors == ""


def test_where_letters_are_few_none_is_fatal() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW, "3", "0"], capture_output=True, check=False,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Verdict: 1" in done.stdout
