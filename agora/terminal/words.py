"""Texts in a terminal: nothing that could drive it, no line wider than it is, styled only where that is wanted."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agora.lettering import columns, fitted

if TYPE_CHECKING:
    from agora.records import Usage

_JOINED = "\n\t\u200c\u200d"  # line ends, and what joins letters and emoji
_SELECTORS = {code: None for code in range(0xFE00, 0xFE10)}  # the shape of the letter before: widths differ by terminal
_WORDS = re.compile(r"(\s*)(\S+?[^\W\d]-(?=[^\W\d])|\S+)")  # a line may also end at a hyphen between letters
READABLE = 110  # columns: longer lines of running text are hard to read
Piece = tuple[str, str]  # a text and its style: '', 'bold' or 'dim'


def clean(text: str) -> str:
    """Text of models and files without control characters, which could drive a terminal."""
    if text.isprintable() and text.isascii():
        return text
    text = text.translate(_SELECTORS).replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in _JOINED else "\ufffd" for c in text)


def short(text: str, width: int = 100) -> str:
    """A text on one line, cut to a width in columns."""
    begin = text.lstrip()
    return fitted(" ".join(clean(begin[: 16 * width + 400]).split()), width)


def ending(text: str, width: int) -> str:
    """The last words of a text on one line, cut to a width in columns: of a text that is being written."""
    line = " ".join(clean(text[-8 * width - 8 :]).split())
    if len(text) <= 8 * width + 8 and columns(line) <= width:
        return line
    while line and columns(line) > width - 1:
        line = line[max(1, (columns(line) - width) // 2) :]
    return fitted(f"…{line}", width)


def wrapped(text: str, width: int, first: str = "", rest: str = "", most: int | None = None) -> Iterator[str]:
    """A text as lines of at most so many columns; its own line ends and indents stay.

    Args:
        text: it.
        width: of the terminal, in columns.
        first: stands before the first line.
        rest: stands before all others.
        most: lines; what is left over is cut.
    """
    if width - max(columns(first), columns(rest)) < min(12, 2 * width // 3):  # no room to indent
        first, rest = fitted(first, max(0, width // 4)), ""
    held: str | None = None
    for told, line in enumerate(_lines(text, width, first, rest)):
        if held is not None:
            if told == most:
                yield f"{held} …" if columns(held) < width - 1 else fitted(f"{held}  ", width)
                return
            yield held
        held = line
    yield held or ""


def _lines(text: str, width: int, first: str, rest: str) -> Iterator[str]:
    before = first
    for line in clean(text).expandtabs(4).splitlines() or [""]:
        for part in _parts(line, width - columns(before), width - columns(rest)):
            yield f"{before}{part}".rstrip()
            before = rest


def _parts(line: str, first: int, rest: int) -> Iterator[str]:
    """A line broken at spaces, and words where they are too long; later parts hang under the line's own indent."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(indent) > min(first, rest) // 3:
        line, indent = line.lstrip(), ""
    now, used, room = indent, len(indent), first
    for match in _WORDS.finditer(line, len(indent)):
        space, word = match.groups()
        wide = columns(word)
        if used + len(space) + wide <= room:
            now, used = f"{now}{space}{word}", used + len(space) + wide
            continue
        if used > len(indent):
            yield now
            now, used, room = indent, len(indent), rest
        *full, last = _broken(word, room - used, rest - len(indent))
        for part in full:
            yield f"{now}{part}"
            now, room = indent, rest
        now, used = f"{indent}{last}", len(indent) + columns(last)
    yield now


def _broken(word: str, first: int, rest: int) -> Iterator[str]:
    """A word in parts of at most so many columns."""
    if word.isascii():
        yield word[:first]
        yield from (word[i : i + rest] for i in range(first, len(word), rest))
        return
    begin, used, room = 0, 0, first
    for i, c in enumerate(word):
        wide = columns(c)
        if wide and used + wide > room and i > begin:
            yield word[begin:i]
            begin, used, room = i, 0, rest
        used += wide
    yield word[begin:]


def size() -> tuple[int, int]:
    """Columns and lines of the terminal; of what is no terminal, what COLUMNS and LINES say, or 100 and 24."""
    wide, high = shutil.get_terminal_size((100, 24))
    return max(4, wide), max(4, high)


def styled() -> bool:
    """Whether output may be bold or dim: a terminal that can, and nobody who wants none of it (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and can_move()


def can_move() -> bool:
    """Whether the terminal can draw a line again."""
    return os.environ.get("TERM", "") not in ("dumb", "unknown")


def echo(*pieces: str | Piece) -> None:
    """Print a line, each piece in its style."""
    import click

    style = styled()
    parts = [piece if isinstance(piece, tuple) else (piece, "") for piece in pieces]
    while parts and not parts[-1][0].rstrip():
        parts.pop()
    if parts:
        parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
    told = (click.style(text, bold=how == "bold", dim=how == "dim") if style and how else text for text, how in parts)
    click.echo("".join(told), color=True if style else None)


def lines(text: str, first: str = "", rest: str = "", most: int | None = None) -> None:
    """Print a text as `wrapped` breaks it, no wider than the terminal nor than can be read with ease."""
    for line in wrapped(text, min(size()[0], READABLE), first, rest, most):
        echo(line)


def money(usd: float | None) -> str:
    """A cost; unknown is never zero."""
    return "unknown" if usd is None else f"${usd:.4f}"


def usage_line(usage: Usage) -> str:
    """What a run took, on one line."""
    cached = f" ({usage.cached_tokens / usage.input_tokens:.0%} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    return (
        f"{usage.calls:,} call{'s' * (usage.calls != 1)}, {usage.input_tokens:,} tokens in{cached}, "
        f"{usage.output_tokens:,} out{thought}, cost {money(usage.usd)}, {usage.seconds:.1f} model seconds"
    )
