"""Every preset: run them all on the models in the box, or write the page that shows them.

    python examples/gallery.py [-n 3] [--seed 0] [NAME ...]     # a few questions each, and what came out
    python examples/gallery.py --write                          # examples/docs/presets.md and its graphs

The figures of a run say what it takes, not how good a protocol is: the pocket models pick and copy, they do not argue.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from agora.config import load, presets
from agora.drawing import topology_svg
from agora.models.pocket.problems import Problem, generate
from agora.text.debate import Debate

DOCS = Path(__file__).parent / "docs"
PAGE, GRAPHS = DOCS / "presets.md", DOCS / "graphs"


def debate_of(name: str, problem: Problem) -> Debate:
    """A preset as it stands; where it has two answers to choose from, the problem's and a wrong one."""
    settings = []
    if isinstance(presets.data(name).get("answer"), dict):
        wrong = int(problem.answer) + random.Random(problem.question).choice([-10, -1, 1, 10])
        settings.append(f'answer={{choice: {{A: "{problem.answer}", B: "{wrong}"}}}}')
    return load(presets.FOLDER / f"{name}.yaml", settings)[0]


def run(names: list[str], n: int, seed: int) -> int:
    """Run presets on the models in the box, and print a line for each.

    Returns:
        How many ended without any verdict.
    """
    problems = generate(seed, n)
    print(f"{'preset':27} {'calls':>5} {'tokens':>7} {'right':>6} {'s':>5}  how the first was decided")
    failed = 0
    for name in names:
        calls = tokens = right = 0
        reason, begun = "", time.perf_counter()
        for problem in problems:
            debate = debate_of(name, problem)
            verdict = debate.run(problem.question)
            calls, tokens = calls + verdict.usage.calls, tokens + verdict.usage.tokens
            right += verdict.answer in ("A", problem.answer)
            reason = reason or verdict.reason
        failed += not reason
        taken = time.perf_counter() - begun
        shown = reason if len(reason) <= 70 else f"{reason[:69]}…"
        print(f"{name:27} {calls / n:5.1f} {tokens / n:7.0f} {right:3}/{n:<2} {taken:5.1f}  {shown}")
    return failed


def page() -> dict[Path, str]:
    """The page and its pictures, by path."""
    files: dict[Path, str] = {}
    lines = [
        "# Presets",
        "",
        "Published protocols as debate files, in the language of every debate file. `agora init NAME` writes one to",
        "change, `agora ask QUESTION -p NAME` asks one, `protocol: NAME` uses one in a file, and in Python there is",
        '`Debate.preset("NAME", agents=[...])`. Formulas count model calls, and input tokens without the words of the',
        "templates. In the graphs an arrow goes from who is read to who reads.",
        "",
        "<!-- written by: python examples/gallery.py --write -->",
        "",
        "| preset | what it is | calls | paper |",
        "|---|---|---|---|",
    ]
    names = presets.names()
    for name in names:
        about = presets.about(name)
        lines.append(f"| [{name}](#{name}) | {about.title} | `{about.calls}` | {_paper(about.paper)} |")
    for name in names:
        about = presets.about(name)
        debate, _ = load(presets.FOLDER / f"{name}.yaml", lenient=True, missing=[])
        families = {agent.name: agent.model.name.partition(":")[2] or agent.model.name for agent in debate.agents}
        graph = GRAPHS / f"{name}.svg"
        views = debate.protocol.view.text
        files[graph] = topology_svg(debate.reading(), families=families, views=views, theme="auto")
        lines += [
            "",
            f"## {name}",
            "",
            f"{about.title[:1].upper()}{about.title[1:]}. {_paper(about.paper)}.",
            "",
            f"![who reads whom](graphs/{graph.name})",
            "",
            about.rules,
            "",
            f"- **calls** `{about.calls}`, **tokens in** `{about.tokens}`: {about.where}",
            f"- **strengths** {about.strengths}",
            f"- **failures** {about.failures}",
            f"- **differences** {about.differences}",
            f"- [the file](../../agora/presets/{name}.yaml); tags: {', '.join(about.tags)}",
        ]
    files[PAGE] = "\n".join(lines) + "\n"
    return files


def _paper(text: str) -> str:
    """A paper, with a link for its arXiv number."""
    head, found, rest = text.partition("arXiv:")
    if not found:
        return text
    number, _, more = rest.partition(";")
    linked = f"{head}[arXiv:{number}](https://arxiv.org/abs/{number})"
    return f"{linked};{_paper(more)}" if more else linked


def write() -> None:
    """Write the page and its pictures, and remove pictures of presets that are gone."""
    GRAPHS.mkdir(parents=True, exist_ok=True)
    files = page()
    for path in GRAPHS.glob("*.svg"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    print(f"{PAGE}: {len(files) - 1} presets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets; default: all")
    parser.add_argument("-n", type=int, default=3, help="questions for each (3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the page instead")
    given = parser.parse_args()
    if given.write:
        write()
        return
    names = [presets.known(name) for name in given.names] or presets.names()
    if run(names, max(1, given.n), given.seed):
        sys.exit(1)


if __name__ == "__main__":
    main()
