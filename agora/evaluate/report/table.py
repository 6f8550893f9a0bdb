"""An evaluation as tables: for terminals of any width, and as Markdown; its headline in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agora.evaluate.measures.analysis import Analysis
from agora.evaluate.measures.comparing import Against
from agora.evaluate.measures.debated import Debated
from agora.evaluate.measures.metrics import Comparison, Summary, p_text
from agora.evaluate.measures.statistics import Interval
from agora.evaluate.records import Results
from agora.lettering import clean, columns, middled

if TYPE_CHECKING:
    from rich.console import RenderableType

NAME = 27  # columns that a name has at least, where it needs them
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its first column is text, all others are right-aligned.

    Attributes:
        title: of it.
        head: of the columns.
        rows: cells, as many as the head has.
        keep: of each column how much it matters: where there is no room, the highest go first; 0 always stays.
        note: below it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keep: tuple[int, ...]
    note: str = ""


# ---- figures as text --------------------------------------------------------------------------------------------


def percent(share: float | None) -> str:
    """A share in percent, one decimal."""
    return "-" if share is None else f"{100 * share:.1f}"


def signed(share: float) -> str:
    """A difference in points, with its sign."""
    value = round(100 * share, 1)
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{abs(value):.1f}"


def span(interval: Interval, *, sign: bool = False) -> str:
    """The ends of an interval, in points."""
    ends = [signed(end) if sign else percent(end) for end in (interval.low, interval.high)]
    return f"{ends[0]} to {ends[1]}"


def rate(interval: Interval | None) -> str:
    """A rate with its interval, and of how many; '-' where there was no case."""
    return "-" if interval is None else f"{percent(interval.value)} ({span(interval)}; n {interval.n:,})"


def amount(value: float | None) -> str:
    """A number of calls or tokens, short."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def money(usd: float | None) -> str:
    """USD to three digits; '?' where a price is not known: that is never zero."""
    if usd is None:
        return "?"
    return "$0" if usd == 0 else f"${usd:,.2f}" if usd >= 1 else f"${usd:#.3g}" if usd >= 1e-4 else f"${usd:.2e}"


def times(ratio: float | None) -> str:
    """A ratio, as '2.1x'."""
    return "-" if ratio is None else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"


def short_name(name: str, of: str) -> str:
    """A baseline's name without that of its debate."""
    return clean(name.removeprefix(f"{of}: ") or name)


# ---- in words ---------------------------------------------------------------------------------------------------


def headline(analysis: Analysis) -> list[str]:
    """What was shown and what not: sentences, debate by debate."""
    return [sentence for debate in analysis.debates for sentence in headline_of(analysis, debate)]


def headline_of(analysis: Analysis, debate: Debated) -> list[str]:
    """What was shown of a debate and what not: its accuracy first."""
    own = analysis[debate.name]
    said = [
        f"{clean(own.name)}: {percent(own.accuracy.value)}% right (95% interval {span(own.accuracy)}) of {own.n:,} "
        f"items, {amount(own.usage.calls / own.n)} calls and {money(_each(own.usage.usd, own.n))} an item."
    ]
    those = sorted(analysis.of(own.name), key=lambda one: _WEIGHTY.index(one.role))
    for verdict, words in (("worse", "Worse than"), ("better", "Better than")):
        if named := [one for one in those if one.verdict == verdict]:
            said.append(f"{words} {_listed(named)}.")
    if open_ := [one for one in those if one.verdict == "no difference shown"]:
        most = max(one.detectable for one in open_)
        said.append(
            f"No difference shown from {_listed(open_)}: as many items as these would show {percent(most)} points "
            "or more four times in five, so a smaller difference may be there."
        )
    if debate.turned is not None:
        t = debate.turned
        said.append(
            f"Against its own vote of round 0, debating put {t.helped:,} item{'s' * (t.helped != 1)} right and "
            f"{t.hurt:,} wrong."
        )
    return said


# what a debate is most to be compared with, first
_WEIGHTY = ("debate", "self-consistency", "round-0 vote", "best single", "isolated", "noise", "without", "member")


def _listed(those: Sequence[Comparison]) -> str:
    shown = [f"{short_name(one.second, one.first)} ({signed(one.difference.value)})" for one in those[:8]]
    rest = f" and {len(those) - 8} more" if len(those) > 8 else ""
    return ", ".join(shown) + rest


def _each(usd: float | None, n: int) -> float | None:
    return None if usd is None else usd / n


# ---- tables -----------------------------------------------------------------------------------------------------


def grids(analysis: Analysis) -> list[Grid]:
    """All tables of an evaluation."""
    made = [contestants(analysis.summaries)]
    for debate in analysis.debates:
        if those := analysis.of(debate.name):
            made.append(comparisons(f"{clean(debate.name)} less its baselines", those))
    if analysis.between:
        made.append(comparisons("debates less each other", analysis.between))
    made += [within(debate, analysis[debate.name]) for debate in analysis.debates]
    return [*made, *groups(analysis)]


def contestants(summaries: Sequence[Summary]) -> Grid:
    """A line for each contestant."""
    return Grid(
        "accuracy and cost",
        ("", "right %", "95% interval", "n", "no answer %", "calls", "tokens", "USD", "USD/right", "s, p50", "s, p95"),
        tuple(
            (
                _line(one), percent(one.accuracy.value), span(one.accuracy), f"{one.n:,}",
                percent(one.unparsed + one.abstained + one.absent), amount(one.usage.calls / one.n),
                amount(one.usage.tokens / one.n), money(_each(one.usage.usd, one.n)), money(one.usd_per_right)
                if one.right else "-", f"{one.p50:.1f}", f"{one.p95:.1f}",
            )
            for one in summaries
        ),
        (0, 0, 0, 7, 4, 2, 6, 1, 3, 5, 8),
        "calls, tokens and USD are an item's; whatever gave no answer counts as wrong",
    )  # fmt: skip


def _line(one: Summary) -> str:
    """A debate's name; a baseline's within that of its debate, which stands above it."""
    return clean(one.name) if one.role == "debate" else f"  {short_name(one.name, one.of)}"


def comparisons(title: str, those: Sequence[Comparison]) -> Grid:
    """A line for each comparison."""
    tests = " and ".join(dict.fromkeys("McNemar's exact test" if o.test == "McNemar" else "sign flips" for o in those))
    return Grid(
        title,
        ("", "points", "95% interval", "p adjusted", "won/lost", "verdict", "calls", "USD", "would show"),
        tuple(
            (
                short_name(one.second, one.first) if one.role != "debate" else f"{clean(one.first)} less "
                f"{clean(one.second)}", signed(one.difference.value), span(one.difference, sign=True),
                p_text(one.adjusted), f"{one.wins:,}/{one.losses:,}",
                one.verdict if one.verdict != "no difference shown" else "not shown", times(one.calls), times(one.usd),
                percent(one.detectable),
            )
            for one in those
        ),
        (0, 0, 0, 2, 4, 1, 5, 3, 6),
        f"{tests}, {families(those)}; calls and USD: those of the first over the second's; 'would show': the smallest "
        "difference that so many items show four times in five",
    )  # fmt: skip


_KINDS = {"debate": ("debate", ""), "member": ("member", " by themselves")}  # of families, the rest are baselines


def families(those: Sequence[Comparison]) -> str:
    """Over what p is adjusted, in words."""
    sizes = {_KINDS.get(one.role, ("baseline", "")): one.family for one in those}
    told = [f"{n:,} {name}{'s' * (n != 1)}{apart}" for (name, apart), n in sorted(sizes.items())]
    return f"Holm over {' and over '.join(told)}"


def groups(analysis: Analysis) -> list[Grid]:
    """Accuracies by group: of each debate, beside the baselines that are most to be compared with it."""
    made = []
    for debate in analysis.debates if analysis.groups else ():
        wanted = [one for one in analysis.summaries if one.of == debate.name and one.role in ("debate", *_WEIGHTY[1:4])]
        rows = []
        for group in analysis.groups:
            found = [group.accuracy.get(one.name) for one in wanted]
            cells = (percent(None if own is None else own.value) for own in found)
            rows.append((clean(group.name) or "(none)", f"{group.n:,}", *cells))
        head = ("", "n", *("right %" if one.role == "debate" else short_name(one.name, one.of) for one in wanted))
        keep = (0, 0, 0, *range(1, len(wanted)))
        made.append(Grid(f"{clean(debate.name)} by group", head, tuple(rows), keep))
    return made


def within(debate: Debated, own: Summary) -> Grid:
    """What happened within a debate, a figure a line.

    Args:
        debate: the debate.
        own: its summary.
    """
    rows: list[tuple[str, str]] = []
    if debate.turned is not None:
        t = debate.turned
        rows.append(("round-0 vote, then final answer", f"{percent(t.initial.value)} -> {percent(t.final.value)}"))
        rows.append(("items put right / put wrong", f"{t.helped:,} / {t.hurt:,} (p {p_text(t.p)})"))
    if debate.transitions is not None:
        total = debate.transitions.total
        rows.append(("right answers given up %", rate(total.vulnerability)))
        rows.append(("wrong answers put right %", rate(total.correction)))
    rows.append(("follows most of what it read %", rate(debate.conformity.all)))
    rows.append(("  where these are right %", rate(debate.conformity.right)))
    rows.append(("  where these are wrong %", rate(debate.conformity.wrong)))
    rows.append(("some agent was right %", rate(debate.pool.oracle)))
    rows.append(("  and it was lost, points", percent(debate.pool.gap)))
    rows.append(("all agree on what is wrong %", rate(debate.pool.consensus_wrong)))
    rows.append(("differed at first, agree at last %", rate(debate.pool.collapsed)))
    rows += [(f"{clean(key)}, mean of an item", f"{value:.3g}") for key, value in own.extra.items()]
    return Grid(f"within {clean(debate.name)}", ("", ""), tuple(rows), (0, 0))


def against_grids(made: Against) -> list[Grid]:
    """The tables of two evaluations beside each other."""
    both = [
        replace(one, role="debate") for pair in zip(made.first, made.second, strict=True) for one in pair
    ]  # their names say whose they are
    notes = [*made.notes, *([f"only in one of them: {', '.join(map(clean, made.left))}"] if made.left else [])]
    compared = comparisons(f"second less first, on {made.n:,} common items", made.comparisons)
    rows = tuple((clean(one.first), *row[1:]) for one, row in zip(made.comparisons, compared.rows, strict=True))
    return [
        contestants(both),
        Grid(compared.title, compared.head, rows, compared.keep, "; ".join([compared.note, *notes])),
    ]


# ---- as text ----------------------------------------------------------------------------------------------------


def fitted(grid: Grid, wide: int) -> Grid:
    """A table without the columns for which there is no room.

    Args:
        grid: the table.
        wide: columns of the terminal.
    """
    kept = list(range(len(grid.head)))

    def need() -> int:
        cells = [max(columns(grid.head[i]), *(columns(row[i]) for row in grid.rows), 0) for i in kept[1:]]
        return min(NAME, _first(grid)) + sum(cells) + 2 * len(cells)

    while need() > wide and (loose := [i for i in kept if grid.keep[i]]):
        kept.remove(max(loose, key=lambda i: grid.keep[i]))
    rows = tuple(tuple(row[i] for i in kept) for row in grid.rows)
    return Grid(grid.title, tuple(grid.head[i] for i in kept), rows, tuple(grid.keep[i] for i in kept), grid.note)


def _first(grid: Grid) -> int:
    return max((columns(row[0]) for row in grid.rows), default=0)


def terminal(grid: Grid, wide: int) -> RenderableType:
    """A table for a terminal.

    Args:
        grid: the table.
        wide: columns of the terminal, 60 or more.
    """
    from rich.table import Table
    from rich.text import Text

    shown = fitted(grid, wide)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=Text(shown.title, style="bold"))
    table.title_justify = table.caption_justify = "left"
    table.caption = Text(shown.note) if shown.note else None
    for i, head in enumerate(shown.head):
        table.add_column(
            Text(head), justify="right" if i else "left", no_wrap=True, overflow="ellipsis", header_style="dim"
        )
    if shown.rows:
        rest = sum(max(columns(h), *(columns(row[i]) for row in shown.rows)) + 2 for i, h in enumerate(shown.head) if i)
        table.columns[0].width = max(8, min(_first(shown), wide - rest))
    for first, *row in shown.rows:
        named = middled(first, table.columns[0].width or len(first))
        table.add_row(
            Text(named), *(Text(cell, style={"better": "green", "worse": "red"}.get(cell, "")) for cell in row)
        )
    return table


def markdown(results: Results, analysis: Analysis) -> str:
    """All tables as Markdown."""
    about = f" ({clean(results.about)})" if results.about else ""
    parts = [
        f"# {_mark(results.data)}\n",
        f"{_mark(clean(results.data) + about)}, scored by {_mark(results.scorer)}.\n",
    ]
    parts += [f"* {_mark(sentence)}" for sentence in [*headline(analysis), *results.notes]]
    for grid in grids(analysis):
        parts += ["", markdown_grid(grid)]
    return "\n".join(parts) + "\n"


def markdown_grid(grid: Grid) -> str:
    """A table as Markdown, its columns aligned in the source too."""
    cells = [[_mark(cell) for cell in row] for row in (grid.head, *grid.rows)]
    wide = [max(3, *(columns(row[i]) for row in cells)) for i in range(len(grid.head))]
    lines = [f"## {_mark(grid.title)}", ""]
    for k, row in enumerate(cells):
        told = [cell + " " * (w - columns(cell)) if i == 0 else " " * (w - columns(cell)) + cell
                for i, (cell, w) in enumerate(zip(row, wide, strict=True))]  # fmt: skip
        lines.append(f"| {' | '.join(told)} |")
        if k == 0:
            lines.append(
                "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(wide)) + "|"
            )
    return "\n".join([*lines, *(["", _mark(grid.note)] if grid.note else [])])


def _mark(text: str) -> str:
    """A text that Markdown takes as such."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~!" else c for c in clean(text))
