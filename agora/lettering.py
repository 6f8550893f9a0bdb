"""Texts as they are shown: cleaned, escaped, cut, measured."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
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
    """Columns of a terminal that a text on one line takes; rather too many than too few."""
    return len(text) if text.isascii() else sum(map(_column, text))


@lru_cache(maxsize=4096)
def _column(c: str) -> int:
    """Columns of one character; where terminals differ, as with flags and Indic signs, the most."""
    from rich.cells import get_character_cell_size

    if "\U0001f1e6" <= c <= "\U0001f1ff" or "\U0001f3fb" <= c <= "\U0001f3ff":
        return 2
    return 1 if unicodedata.category(c) == "Mc" else get_character_cell_size(c)


def fitted(text: str, most: int) -> str:
    """A text of at most so many columns, cut at its end."""
    if columns(text[: 8 * most + 8]) <= most and len(text) <= 8 * most + 8:
        return text
    if most < 1:
        return ""
    used, at = 0, 0
    for at, c in enumerate(text):
        used += _column(c)
        if used > most - 1 or at >= 8 * most:  # marks without end take no column
            break
    return f"{text[:at]}…"


def folded(text: str, most: int) -> str:
    """A text of at most so many columns, cut in its middle: for names that differ in their ends."""
    if len(text) > 8 * most + 8:  # marks without end take no column
        text = text[: 4 * most + 4] + text[-4 * most - 4 :]
    if columns(text) <= most:
        return text
    if most < 5:
        return fitted(text, most)
    end, used = len(text), 0
    while end and used + _column(text[end - 1]) <= (most - 1) // 2:
        end -= 1
        used += _column(text[end])
    while end < len(text) and not _column(text[end]):
        end += 1  # a mark without its letter
    return f"{fitted(text, most - used).removesuffix('…')}…{text[end:]}"


def padded(text: str, wide: int, right: bool = False) -> str:
    """A text of exactly so many columns, cut or filled with spaces; `right` puts it to the right."""
    text = fitted(text, wide)
    space = " " * (wide - columns(text))
    return space + text if right else text + space


def width(text: str, font: float) -> float:
    """About how wide a text is in print, rather too wide than too narrow, in the unit of the font's size."""
    wide = {"W": 1.05, "F": 1.05}
    return font * sum(
        wide.get(unicodedata.east_asian_width(c), 0.92 if c in "MW@%mw" else 0.74 if c.isupper() else 0.62)
        for c in text
    )
