"""What the page of one run costs a browser: 2,000 turns, and 1,000 agents in the graph; opened, and told again.

python tests/benchmarks/view_run.py [--times 5] [--chromium PATH] [--json]

Runs of scripted voices are exported as one file each and opened from disk in headless Chromium. `script` and `layout`
are the browser's own sums (CDP Performance.getMetrics) from navigation until the table of rounds stands and nothing is
under way; `shown` is when the table stands, since navigation. A step is one event back, or a jump, by the bar, until
the next frame has been drawn: the floor is an empty frame of the same page. Needs playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agora import Agent, Debate, Moderator
from agora.journal import Journal
from agora.model import Settings
from agora.records import Message, Reply, Usage
from agora.text.stop import rounds
from agora.view.page import of_run

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WORDS = ["the", "keys", "are", "bought", "sold", "counted", "again", "so", "left", "over", "because", "then"]
STEPS = """async (count) => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const bar = document.querySelector('.replay input'), most = Number(bar.max), times = [], empty = [];
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  for (let i = 0; i < count; i++) {
    const now = Number(bar.value), to = i % 2 ? Math.floor(most * ((i * 0.381966) % 1)) : now > 1 ? now - 1 : most - 1;
    let began = performance.now();
    await frame();
    empty.push(performance.now() - began);
    began = performance.now();
    set.call(bar, String(to));
    bar.dispatchEvent(new Event('input', { bubbles: true }));
    await frame();
    times.push(performance.now() - began);
  }
  return [times, empty];
}"""


class Voice:
    """Says so many words, and an answer that it changes now and then."""

    def __init__(self, name: str, words: int, answers: int) -> None:
        self.name, self.words, self.answers = name, words, answers

    async def answer(self, messages: Sequence[Message], settings: Settings = Settings()) -> Reply:
        draws = random.Random(f"{self.name} {settings.seed}")
        text = " ".join(draws.choice(WORDS) for _ in range(self.words))
        said = 40 + min(draws.randrange(self.answers), draws.randrange(self.answers))
        usage = Usage(1, sum(len(m.content) for m in messages) // 4, self.words)
        return Reply(f"{text}.\nAnswer: {said}", model=self.name, usage=usage, confidence=round(draws.random(), 2))


def _debate(agents: int, last: int, words: int, topology: Any) -> Debate:
    voices = [Agent(f"agent {i}", Voice(f"voice {i}", words, 12)) for i in range(agents)]
    return Debate(voices, topology=topology, moderator=Moderator(rounds(last)), answer="number")


async def _files(folder: Path) -> dict[str, Path]:
    cases = {
        "2,000 turns (20 agents, 100 rounds)": _debate(20, 99, 100, "complete"),
        "1,000 agents, 20,000 edges, 2 rounds": _debate(1000, 1, 20, {"small_world": {"k": 20, "p": 0.1, "seed": 1}}),
    }
    made = {}
    async with Journal(folder / "runs.sqlite") as journal:
        for i, (name, debate) in enumerate(cases.items()):
            await debate.answer("How many keys are there?", journal=journal, run=f"case-{i}")
            made[name] = folder / f"{i}.html"
            made[name].write_text(await of_run(journal, f"case-{i}"), encoding="utf-8")
    return made


def _measure(browser: Any, file: Path) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_selector(".rounds [role=grid] [data-at]")
    shown = page.evaluate("performance.now()")
    page.wait_for_timeout(300)
    metrics = {m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}
    steps, empty = page.evaluate(STEPS, 40)
    page.close()
    return {
        "MB": file.stat().st_size / 1e6,
        "shown ms": shown,
        "script ms": 1000 * metrics["ScriptDuration"],
        "layout ms": 1000 * (metrics["LayoutDuration"] + metrics["RecalcStyleDuration"]),
        "nodes": metrics["Nodes"],
        "heap MB": metrics["JSHeapUsedSize"] / 1e6,
        "step ms": statistics.median(steps),
        "slowest step ms": max(steps),
        "empty frame ms": statistics.median(empty),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="default: on the path")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = asyncio.run(_files(Path(folder)))
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=args.chromium, args=ARGS)
            for name, file in files.items():
                made = [_measure(browser, file) for _ in range(args.times)]
                results[name] = {key: [one[key] for one in made] for key in made[0]}
            browser.close()
    if args.json:
        print(json.dumps(results))
        return
    for name, figures in results.items():
        print(name)
        for key, values in figures.items():
            print(f"  {key:18}{statistics.median(values):10.1f}   ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
