"""The items on which a debate and a baseline differ, as part of a page: what was asked, answered, and how it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agora.evaluate.measures.agents import names
from agora.evaluate.measures.dynamics import states
from agora.evaluate.measures.metrics import Comparison
from agora.evaluate.records import Results, Scored
from agora.evaluate.report.table import short_name
from agora.lettering import cut, escaped

EACH = 20
"""Items shown of each kind and baseline: won, and lost."""


def differing(results: Results, debate: str, those: Sequence[Comparison], questions: Mapping[str, str]) -> str:
    """The items, by baseline; nothing where there are none.

    Args:
        results: the evaluation.
        debate: name of a debate in it.
        those: its comparisons.
        questions: item's id -> what was asked.
    """
    mine = results[debate].rows
    parts = []
    for one in those:
        theirs = {row.item: row for row in results[one.second].rows}
        pairs = [(row, theirs[row.item]) for row in mine if row.item in theirs]
        won = [pair for pair in pairs if pair[0].score > pair[1].score]
        lost = [pair for pair in pairs if pair[0].score < pair[1].score]
        for found, word in ((lost, "lost to"), (won, "won over")):
            if found:
                name = short_name(one.second, one.first)
                shown = "".join(_item(a, b, debate, name, questions) for a, b in found[:EACH])
                rest = f"<p class=note>and {len(found) - EACH:,} more</p>" if len(found) > EACH else ""
                title = f"{len(found):,} item{'s' * (len(found) != 1)} {word} {escaped(name)}"
                parts.append(f"<details><summary>{title}</summary>{shown}{rest}</details>")
    return f"<h3>Where they differ</h3>{''.join(parts)}" if parts else ""


def _item(a: Scored, b: Scored, debate: str, name: str, questions: Mapping[str, str]) -> str:
    asked = questions.get(a.item)
    question = f"<p>{_line(asked, 600)}</p>" if asked else ""
    return (
        f"<div class=item><p><b>{_line(a.item, 60)}</b></p>{question}"
        f"<p>{_line(debate, 60)}: {_answer(a)}</p><p>{_line(name, 60)}: {_answer(b)}</p>{_path(a)}</div>"
    )


def _answer(row: Scored) -> str:
    said = f"<b>{_line(row.answer, 160)}</b>" if row.answer is not None else escaped(row.status)
    mark = {0.0: "wrong", 1.0: "right"}.get(row.score, f"score {row.score:.2f}")
    return f"{said} ({mark})"


def _path(row: Scored) -> str:
    """Who held what, round by round."""
    made = states(row)
    if not made:
        return ""
    lines = []
    for agent in names([row])[:12]:
        held = [state[agent] for state in made if agent in state]
        told = " \N{RIGHTWARDS ARROW} ".join(
            (_line(said.answer, 40) if said.answer is not None else said.status) + " \N{CHECK MARK}" * said.right
            for said in held[:12]
        )
        lines.append(f"{_line(agent, 40)}: {told}")
    return f"<p class=path>{'<br>'.join(lines)}</p>"


def _line(text: str, most: int) -> str:
    return escaped(cut(" ".join(text.split()), most))
