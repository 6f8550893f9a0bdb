"""Texts as they are shown: cleaned, escaped, cut, measured."""

from __future__ import annotations

import unicodedata
from html import escape


def clean(text: str) -> str:
    """A text on one line, without control characters and what XML does not allow."""
    return "".join(c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else "\ufffd" for c in text)


def escaped(text: str) -> str:
    """A text for SVG and HTML: cleaned and escaped."""
    return escape(clean(text))


def cut(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def middled(text: str, most: int) -> str:
    """A text of at most so many characters, cut in its middle: for names that differ in their ends."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def columns(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, wide: int) -> str:
    """A text of exactly so many columns."""
    while columns(text) > wide:
        text = text[:-2] + "…"
    return text + " " * (wide - columns(text))


def width(text: str, font: float) -> float:
    """About how wide a text is in print, rather too wide than too narrow, in the unit of the font's size."""
    wide = {"W": 1.05, "F": 1.05}
    return font * sum(
        wide.get(unicodedata.east_asian_width(c), 0.92 if c in "MW@%mw" else 0.74 if c.isupper() else 0.62)
        for c in text
    )
