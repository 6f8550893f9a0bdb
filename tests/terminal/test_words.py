"""Texts in a terminal: never wider than it is, never a character that drives it, whatever they are and however narrow
it is. Widths are measured by another library than the one that is used."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from agora.lettering import columns, fitted, folded, padded
from agora.terminal.words import clean, ending, short, wrapped

PARTS = (
    "word", " ", "  ", "名前", "e\u0301", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea", "❤\ufe0f", "1\ufe0f\u20e3", "नि", "ก็", "שלום", "\u202e", "\u2066", "\x1b[31m",
    "\x1b]0;x\x07", "\x9b1m", "\r", "\n", "\t", "\x00", "\x7f", "\ud800", "\u0301" * 50, "long-word-with-hyphens",
    "x" * 300, "䷀",
    "\u2028", "\u00ad", "\ufeff", "…",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=8)), max_size=14).map("".join)
WIDTHS = st.one_of(st.integers(2, 30), st.sampled_from([40, 60, 80, 100, 200]))


def calm(line: str, width: int) -> None:
    """No wider, and nothing that a terminal obeys."""
    assert "\n" not in line
    assert "\t" not in line
    assert all(c.isprintable() or c in "\u200c\u200d" for c in line), ascii(line)
    assert max(0, wcswidth(line)) <= width, ascii(line)
    assert columns(line) <= width, ascii(line)


@settings(max_examples=400, deadline=None)
@given(TEXTS, WIDTHS)
def test_nothing_is_wider_than_the_terminal(text: str, width: int) -> None:
    for line in wrapped(text, width, "  ", "    "):
        calm(line, width)
    for most in (1, 2, 3):
        lines = list(wrapped(text, width, "Q: ", "   ", most=most))
        assert 1 <= len(lines) <= most
        for line in lines:
            calm(line, width)
    for line in (short(text, width), ending(text, width)):
        calm(line, width)
    for right in (True, False):
        assert columns(padded(short(text, width), width, right)) == width
    line = " ".join(clean(text).split())
    for made in (fitted(line, width), folded(line, width)):
        calm(made, width)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(20, 120))
def test_nothing_is_lost(text: str, width: int) -> None:
    """But spaces where lines break."""
    told = "".join(wrapped(text, width, "  ", "    "))
    assert "".join(told.split()) == "".join(clean(text).split())


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 10, ["- one two", "  three"]),
        ("one two three", 40, ["- one two three"]),
        ("", 10, ["-"]),
        ("a\n\nb", 10, ["- a", "", "  b"]),
        ("    indented code stays indented", 24, ["-     indented code", "      stays indented"]),
        ("confidence-weighted", 15, ["- confidence-", "  weighted"]),
        ("2026-11-24", 9, ["- 2026-11", "  -24"]),
        ("名前名前名前", 10, ["- 名前名前", "  名前"]),
        ("x" * 20, 10, ["- xxxxxxxx", "  xxxxxxxx", "  xxxx"]),
        ("wo" + "e\u0301" * 10, 10, ["- wo" + "e\u0301" * 6, "  " + "e\u0301" * 4]),
        ("a\tb", 20, ["- a   b"]),
        ("narrow words", 8, ["- narrow", "  words"]),
        ("abc", 3, ["abc"]),
    ],
)
def test_wrapped(text: str, width: int, lines: list[str]) -> None:
    assert list(wrapped(text, width, "- ", "  ")) == lines


def test_cut_to_lines() -> None:
    assert list(wrapped("one two three four five", 10, most=2)) == ["one two", "three fou…"]
    assert list(wrapped("one two three", 10, most=2)) == ["one two", "three"]
    assert list(wrapped("one two\nthree", 10, most=1)) == ["one two …"]


@pytest.mark.parametrize(
    ("text", "wide", "cut", "middle"),
    [
        ("abcdefghij", 10, "abcdefghij", "abcdefghij"),
        ("abcdefghijk", 9, "abcdefgh…", "abcd…hijk"),
        ("名前名前名前", 7, "名前名…", "名前…前"),
        ("agent number 17", 9, "agent nu…", "agen…r 17"),
        ("e\u0301" * 9, 5, "e\u0301" * 4 + "…", "e\u0301" * 2 + "…" + "e\u0301" * 2),
        ("abc", 1, "…", "…"),
        ("abc", 0, "", ""),
    ],
)
def test_cut(text: str, wide: int, cut: str, middle: str) -> None:
    assert fitted(text, wide) == cut
    assert folded(text, wide) == middle


def test_the_end_of_what_is_being_written() -> None:
    assert ending("the quick brown fox", 30) == "the quick brown fox"
    assert ending("the quick brown fox", 10) == "…brown fox"
    assert ending("x " * 100_000 + "end", 8) == "…x x end"


def test_what_drives_terminals_is_seen_but_not_obeyed() -> None:
    assert short("\x1b[31mred\x1b[0m", 40) == "\ufffd[31mred\ufffd[0m"
    assert short("\u202eevil\u2066 \u200fx", 40) == "\ufffdevil\ufffd \ufffdx"
    assert short("עברית", 40) == "עברית"
    assert short("a\r\nb\tc", 40) == "a b c"
    assert not [
        c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Cc" and c not in "\n\t" and c in clean(c)
    ]


def test_megabytes() -> None:
    many = 300_000
    for text, lines in (("word " * many, 15_790), ("x" * 5 * many, 15_625), ("名" * many, 6_250), ("\u0301" * many, 1),
                        ("a-b" * many, 9_376), ("\n" * many, many)):  # fmt: skip
        assert columns(short(text, 100)) <= 100
        assert columns(ending(text, 100)) <= 100
        assert sum(1 for _ in wrapped(text, 100, "    ", "    ")) == lines
