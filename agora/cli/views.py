"""What commands print: texts cut and cleaned for a terminal (see `agora.terminal`), and tables."""

from __future__ import annotations

from collections.abc import Sequence

from agora.lettering import columns as _columns
from agora.lettering import padded
from agora.terminal.endings import summary, transcript
from agora.terminal.words import clean, echo, lines, money, short, usage_line

__all__ = ["clean", "columns", "echo", "lines", "money", "short", "summary", "transcript", "usage_line"]


def columns(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Rows in aligned columns."""
    widths = [max(_columns(row[i]) for row in rows) for i in range(len(right))]
    for row in rows:
        cells = [padded(cell, wide, right=r) for cell, wide, r in zip(row, widths, right, strict=True)]
        echo("  ".join(cells).rstrip())
