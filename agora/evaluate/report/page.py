"""An evaluation as one HTML page: in words, as tables and plots; it needs no script and no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from agora.evaluate.measures.analysis import Analysis
from agora.evaluate.measures.debated import Debated
from agora.evaluate.measures.metrics import Comparison, Summary
from agora.evaluate.measures.statistics import Interval, wilson
from agora.evaluate.records import Results
from agora.evaluate.report import charts, table
from agora.evaluate.report.charts import Bar
from agora.evaluate.report.differing import differing
from agora.evaluate.report.notes import METHOD, ROLES
from agora.evaluate.report.styles import CHARTS, PAGE
from agora.evaluate.report.table import Grid, money, percent, short_name, signed, span
from agora.lettering import escaped

_GROUPS, _AGENTS = 24, 24


def report(results: Results, analysis: Analysis, questions: Mapping[str, str] | None = None) -> str:
    """An evaluation as a page.

    Args:
        results: the evaluation.
        analysis: of it, by `analyse`.
        questions: item's id -> what was asked, for the items on which contestants differ.
    """
    title = f"{results.data}: does the debate help?"
    parts = [_head(title), "<main>", _opening(results, analysis)]
    parts.append(_section("Who did how well", _accuracy(analysis)))
    for debate in analysis.debates:
        parts.append(_debate(results, analysis, debate, questions or {}))
    parts.append(_section("How it was measured", _method(results, analysis)))
    parts.append("</main></body></html>\n")
    return "".join(parts)


# ---- pieces -----------------------------------------------------------------------------------------------------


def _section(title: str, content: str, kind: str = "h2") -> str:
    return f"<section><{kind}>{escaped(title)}</{kind}>{content}</section>"


def _figure(title: str, chart: str, caption: str) -> str:
    return f"<figure><h4>{escaped(title)}</h4>{chart}<figcaption>{escaped(caption)}</figcaption></figure>"


def _cards(*figures: str) -> str:
    return f'<div class="cards">{"".join(figures)}</div>'


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escaped(cell)}</th>" for cell in grid.head)
    rows = "".join(
        f'<tr><th scope="row"{" class=sub" if row[0].startswith("  ") else ""}>{escaped(row[0].strip())}</th>'
        + "".join(f"<td{_verdict(cell)}>{escaped(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in grid.rows
    )
    note = f"<p class=note>{escaped(grid.note)}</p>" if grid.note else ""
    header = f"<thead><tr>{head}</tr></thead>" if any(grid.head) else ""
    return f"<div class=scroll><table>{header}<tbody>{rows}</tbody></table></div>{note}"


def _verdict(cell: str) -> str:
    return f" class={cell}" if cell in ("better", "worse") else ""


def _opening(results: Results, analysis: Analysis) -> str:
    n = max(one.n for one in analysis.summaries)
    about = f" ({escaped(results.about.rstrip('.'))})" if results.about else ""
    lines = [f"<p class=about>{n:,} items of {escaped(results.data)}{about}, scored by {escaped(results.scorer)}.</p>"]
    notes = list(results.notes)
    if results.stopped or results.planned > n:
        notes.insert(0, f"This is not all of it: {n:,} of {results.planned:,} items are answered. {results.stopped}")
    lines += [f"<p class=warn>{escaped(note)}</p>" for note in notes]
    for debate in analysis.debates:
        first, *rest = table.headline_of(analysis, debate)
        told = "".join(f"<p>{escaped(sentence)}</p>" for sentence in rest)
        lines.append(f"<div class=box><p><b>{escaped(first)}</b></p>{told}</div>")
    return f"<h1>{escaped(results.data)}: does the debate help?</h1>{''.join(lines)}"


def _accuracy(analysis: Analysis) -> str:
    those, forests = analysis.summaries, []
    for of, own in groupby(those, key=lambda one: one.of):
        bars = [
            Bar(
                _label(one),
                one.accuracy,
                f"{percent(one.accuracy.value)}  ({span(one.accuracy)})",
                one.role == "debate",
            )
            for one in own
        ]
        forests.append(_figure(f"Accuracy: {of}", charts.forest(f"Accuracy of {of} and its baselines", bars),
                               "Squares are debates, rings are baselines; lines are 95% intervals."))  # fmt: skip
    return _grid(table.contestants(those)) + _cards(*forests) + _groups(analysis)


def _label(one: Summary) -> str:
    return one.name if one.role == "debate" else short_name(one.name, one.of)


def _groups(analysis: Analysis) -> str:
    """Each group's accuracies: the debates, and what they are most to be compared with."""
    if not analysis.groups:
        return ""
    roles = {one.name: one for one in analysis.summaries}
    wanted = [one.name for one in analysis.summaries if one.role in ("debate", "best single", "round-0 vote")]
    figures = []
    for group in analysis.groups[:_GROUPS]:
        bars = [
            Bar(_label(roles[name]), i, f"{percent(i.value)}  ({span(i)})", roles[name].role == "debate")
            for name in wanted
            if (i := group.accuracy.get(name)) is not None
        ]
        title = f"{group.name or '(none)'}: {group.n:,} items"
        figures.append(_figure(title, charts.forest(title, bars, whole=True), ""))
    rest = len(analysis.groups) - _GROUPS
    more = f"<p class=note>and {rest} more groups</p>" if rest > 0 else ""
    return f"<h3>By group</h3>{_cards(*figures)}{more}"


def _cost(those: Sequence[Summary]) -> str:
    """Accuracy over cost of a debate and its baselines: in USD where all prices are known, else in tokens."""
    priced = all(one.usage.usd is not None for one in those) and any(one.usage.usd for one in those)
    points = [
        ((one.usage.usd or 0.0) / one.n if priced else one.usage.tokens / one.n, one.accuracy, one.role == "debate")
        for one in those
    ]
    unit = "USD an item" if priced else "tokens an item"
    listed = "".join(f"<li>{escaped(_label(one))}</li>" for one in those)
    return (
        f"<figure><h4>Accuracy and cost</h4>{charts.cost_plane('Accuracy over cost', points, unit, priced)}"
        "<figcaption>Up and to the left is better; the dotted line joins what nothing cheaper beats. A number for "
        "which there is no room is left out."
        f"</figcaption><ol class=key>{listed}</ol></figure>"
    )


# ---- a debate ---------------------------------------------------------------------------------------------------


def _debate(results: Results, analysis: Analysis, debate: Debated, questions: Mapping[str, str]) -> str:
    those = analysis.of(debate.name)
    beside = [one for one in analysis.summaries if one.of == debate.name]
    figures = [
        *_beside(debate, those),
        _cost(beside),
        *_dynamics(debate),
        *_agents(debate),
        *_sure(analysis[debate.name]),
    ]
    compared = _grid(table.comparisons("", those)) if those else ""
    items = differing(results, debate.name, those, questions)
    flags = _flags(debate, analysis[debate.name].n)
    inside = _grid(table.within(debate, analysis[debate.name]))
    inner = f"{compared}{_cards(*figures)}<h3>Within the debate</h3>{inside}{flags}{items}"
    return _section(debate.name, inner)


def _beside(debate: Debated, those: Sequence[Comparison]) -> Iterator[str]:
    if those:
        words = {"better": "better", "worse": "worse", "no difference shown": "not shown"}
        bars = [
            Bar(short_name(one.second, one.first), one.difference,
                f"{signed(one.difference.value)}  ({span(one.difference, sign=True)})  {words[one.verdict]}",
                one.verdict != "no difference shown")
            for one in those
        ]  # fmt: skip
        chart = charts.forest(f"{debate.name} less each baseline", bars, zero=0.0, unit="")
        yield _figure("The debate less each baseline, points", chart, "Right of the dashed line the debate is better. "
                      "Squares: shown, after correction for all of their family; rings: not shown.")  # fmt: skip


def _dynamics(debate: Debated) -> Iterator[str]:
    if len(debate.rounds) > 1:
        chart = charts.rounds_chart("Accuracy by round", debate.rounds)
        active = ", ".join(f"{line.active:,}" for line in debate.rounds)
        caption = (
            "Accuracy of the vote, that of one agent in the mean, and agreement: the mean share of agents that hold "
            f"the commonest answer; over all items. Items that got to each round: {active}."
        )
        yield _figure("Round by round", chart, caption)
    if debate.transitions is not None:
        t = debate.transitions
        rows = charts.moves_rows({f"to round {r}": moves for r, moves in t.rounds.items()})
        rows += charts.moves_rows(dict(list(t.agents.items())[:_AGENTS]))
        caption = (
            "RR kept right, WR put right, RW given up, WW stayed wrong. "
            f"Of right answers given up: {_rate(t.total.vulnerability)}. "
            f"Of wrong ones put right: {_rate(t.total.correction)}."
        )
        yield _figure("What became of answers", charts.stacked("Transitions by round and agent", rows), caption)
    endings = debate.endings[:20]
    if any(one.stop for one in endings):
        rows = [
            (f"{_rounds(one.rounds)}: {one.stop or 'no reason given'}",
             [(one.right, "part rr", "right"), (one.n - one.right, "part ww", "wrong")])
            for one in endings
        ]  # fmt: skip
        yield _figure(
            "How debates ended", charts.stacked("Rounds and reasons", rows), "Items, by rounds after the first."
        )


def _rounds(n: int) -> str:
    return f"{n} round{'s' * (n != 1)}" if n else "no further round"


def _agents(debate: Debated) -> Iterator[str]:
    moved = debate.influence
    if len(moved.agents) > 1 and any(moved.changes):
        chart = charts.heat(
            "Influence", moved.agents, moved.shares, rows="who changed", across="who held the new answer"
        )
        changes = ", ".join(f"{a} {n:,} ({k:,} to what nobody held)" for a, n, k in
                            zip(moved.agents[:14], moved.changes, moved.alone, strict=False))  # fmt: skip
        yield _figure("Who changes whose mind", chart, f"Shares of an agent's changes. Changes: {changes}.")
    errors = debate.errors
    if errors is not None:
        chart = charts.heat("Error correlation", errors.agents, errors.phi, rows="agent", across="agent", signed=True)
        caption = (
            "Correlation of being wrong in round 0. Independent agents stay within "
            f"\N{PLUS-MINUS SIGN}{errors.limit:.2f} on {errors.n:,} items. Low is what makes a vote strong."
        )
        yield _figure("Who errs together", chart, caption)
    if debate.contributions:
        bars = [
            Bar(one.agent, one.first, f"{signed(one.first.value)}  ({span(one.first, sign=True)})")
            for one in debate.contributions[:_AGENTS]
        ]
        chart = charts.forest("What each vote adds", bars, zero=0.0, unit="")
        yield _figure(
            "What each agent's vote adds, points", chart, "Accuracy of the vote of round 0 with it, less without it."
        )


def _sure(one: Summary) -> Iterator[str]:
    shown = (("stated confidence", one.confidence), ("likelihood", one.likelihood), ("share of votes", one.share))
    for name, made in shown:
        if made is None:
            continue
        auroc = (
            ""
            if made.auroc is None
            else f", AUROC {made.auroc.value:.2f} ({made.auroc.low:.2f} to {made.auroc.high:.2f})"
        )
        caption = (
            f"ECE {made.ece.value:.3f} (by noise alone {made.ece_chance:.3f}), Brier {made.brier.value:.3f}{auroc}; "
            f"{made.n:,} answers. Above the dashed line it is too modest, below too sure."
        )
        yield _figure(f"Calibration: {name}", charts.reliability(f"Reliability of {name}", made), caption)


def _rate(interval: Interval | None) -> str:
    """A rate in a sentence."""
    return "none" if interval is None else f"{percent(interval.value)}% ({span(interval)})"


def _flags(debate: Debated, n: int) -> str:
    f = debate.flags
    said = [
        (f.lost, "some agent was right in some round, and the final answer is wrong"),
        (f.back, "an agent left an answer and came back to it"),
        (f.needless, "went on although all agreed already"),
        (f.unmoved, "agents differed, went on, and nobody ever changed"),
        (f.absent, "a call failed"),
    ]
    rows = "".join(f"<li>{k:,} items, {_rate(wilson(k, n))}: {escaped(text)}</li>" for k, text in said if k is not None)
    return f"<h3>Seen without reading</h3><ul>{rows}</ul>"


# ---- the page ---------------------------------------------------------------------------------------------------


def _method(results: Results, analysis: Analysis) -> str:
    roles = list(dict.fromkeys(one.role for one in analysis.summaries if one.role in ROLES))
    notes = [(one.name, one.note) for one in analysis.summaries if one.note]
    facts = [f"seed {results.seed}", f"data {results.digest}", *(f"{k} {v}" for k, v in results.versions.items())]
    spent = [one.usage.usd for one in analysis.summaries if one.role == "debate"]
    if spent and None not in spent:
        facts.append(f"debates cost {money(sum(usd for usd in spent if usd is not None))}")
    lists = [
        "".join(f"<dt>{escaped(role)}</dt><dd>{escaped(ROLES[role])}</dd>" for role in roles),
        "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(note)}</dd>" for name, note in notes),
        "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in METHOD),
    ]
    grouped = "<p>Intervals and tests take the items of one group together.</p>" if analysis.grouped else ""
    told = "".join(f"<dl>{one}</dl>" for one in lists if one)
    return f"{told}{grouped}<p class=note>{escaped('; '.join(facts))}</p>"


def _head(title: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escaped(title)}</title><style>{PAGE}{CHARTS}</style></head><body>"
    )
