"""Golden transcripts: what each agent of each case could read, call by call, as text that a person can check.

The cases are the debate files in tests/golden/. `python tests/golden_transcripts.py --write` writes what the code does
now beside them; read the difference before you commit it.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from agora import config
from agora.records import Turn, Verdict

FOLDER = Path(__file__).parent / "golden"


def transcript(path: Path) -> str:
    """Every call of a case in order, with exactly what was read, and how it ended."""
    debate, question = config.load(path)
    verdict = debate.run(question or "What is it?")
    phases = list(dict.fromkeys(p.name for p in debate.protocol.all_phases))  # type: ignore[union-attr]
    order = {agent.name: i for i, agent in enumerate(debate.agents)}
    lines = [f"{path.name}: {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}", ""]
    for round in verdict.rounds:
        turns = sorted(round.turns, key=lambda t: (phases.index(t.phase), order[t.agent]))
        for turn in turns:
            lines += _turn(turn, round.index)
    lines += _end(verdict)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _turn(turn: Turn, index: int) -> list[str]:
    reads = ", ".join(f"{name} {round} {phase}" for name, round, phase in turn.reads) or "nobody"
    head = f"== {turn.agent}, round {index}, {turn.phase}"
    if turn.kept is not None:
        return [f"{head}: not asked, {turn.kept}: {turn.value}", ""]
    lines = [f"{head}: reads {reads}"]
    for message in turn.messages:
        if message.role == "system":
            message = _short(message)
        body = textwrap.indent(message.content.strip(), "    ", lambda line: True)
        lines.append(f"  [{message.role}]\n{body}")
    said = turn.reply.text if turn.reply else f"(absent: {turn.error})"
    lines.append(f"  -> {' / '.join(said.splitlines())}")
    if turn.ballot is not None:
        lines.append(f"  ballot: {turn.ballot.ranking or dict(turn.ballot.scores)}")
    elif turn.gives in ("ranking", "scores"):
        lines.append("  no ballot")
    return [*lines, ""]


def _short(message):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    common = "You are an independent expert."
    return replace(message, content=message.content.replace(message.content.split("\n")[0], f"{common} ..."))


def _end(verdict: Verdict) -> list[str]:
    support = ", ".join(f"{answer}: {weight:g}" for answer, weight in verdict.support.items())
    return [
        f"verdict: {verdict.answer}  ({verdict.reason})",
        f"support: {support or 'none'}",
        *(f"note: {warning}" for warning in verdict.warnings),
        f"calls: {verdict.usage.calls}",
    ]


def main() -> None:
    write = "--write" in sys.argv
    for path in sorted(FOLDER.glob("*.yaml")):
        text, target = transcript(path), path.with_suffix(".txt")
        old = target.read_text(encoding="utf-8") if target.exists() else None
        if old != text:
            print(f"{target.name}: {'written' if write else 'differs'}")
            if write:
                target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
