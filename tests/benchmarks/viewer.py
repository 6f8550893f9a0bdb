"""What looking at a run costs: bytes, time to the first paint and to the run itself, memory of the page.

python tests/benchmarks/viewer.py [--scenes quick long wide] [--repeat 5] [--json]

`quick` is a debate of 9 turns, `long` one of 2,000 (20 agents, 100 rounds), `wide` one of 1,000 agents over 2 rounds.
Each is opened in a fresh headless Chromium as `agora view` serves it and as one file, and beside them, as the floor, an
empty page. `shown` is when the verdict and the table of answers stand on the page; memory is that of scripts after a
collection.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import stage

READY = "[role=grid] td"
WATCH = """new MutationObserver((_, watch) => {
  if (document.querySelector('[role=grid] td') === null) return;
  watch.disconnect();
  requestAnimationFrame(() => performance.mark('shown'));
}).observe(document, {subtree: true, childList: true})"""
TIMES = """() => {
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  const shown = performance.getEntriesByName('shown')[0];
  return {first: paint ? paint.startTime : null, shown: shown ? shown.startTime : null,
          elements: document.getElementsByTagName('*').length};
}"""


def look(browser: Any, address: str, ready: str | None) -> dict[str, Any]:
    """Open a page in a context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        sizes: list[int] = []
        tools = context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
        page.add_init_script(WATCH)
        page.goto(address)
        if ready is not None:
            page.locator(ready).first.wait_for(state="attached", timeout=30_000)
        page.wait_for_timeout(300)  # paints are told a moment later
        times: dict[str, Any] = page.evaluate(TIMES)
        tools.send("HeapProfiler.collectGarbage")
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        if address.startswith("file:"):
            sizes = [Path(address.removeprefix("file://")).stat().st_size]
        return {**times, "bytes": sum(sizes), "heap": heap}
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=["quick", "long", "wide"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if said := stage.missing():
        raise SystemExit(f"{said}: pip install -e '.[dev]', and install Chromium.")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "runs.sqlite"
        here = Path(__file__).parent.parent
        subprocess.run([sys.executable, str(here / "scenes.py"), str(store), *options.scenes], check=True)
        empty = folder / "empty.html"
        empty.write_text("<!doctype html><title>empty</title><p>nothing")
        with stage.viewer(store) as url, stage.browser() as browser:
            pages: list[tuple[str, str, str | None]] = [("floor: an empty page", empty.as_uri(), None)]
            for scene in options.scenes:
                file = folder / f"{scene}.html"
                command = [sys.executable, "-m", "agora.cli", "show", scene, "--html", str(file), "--store", str(store)]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                pages += [(f"{scene}, served", f"{url}/runs/{scene}", READY), (f"{scene}, file", file.as_uri(), READY)]
            look(browser, empty.as_uri(), None)  # the first page of a browser is slower
            for title, address, ready in pages:
                seen = [look(browser, address, ready) for _ in range(options.repeat)]
                row: dict[str, Any] = {"page": title}
                for key in ("first", "shown", "bytes", "heap", "elements"):
                    values = [one[key] for one in seen if one[key] is not None]
                    row[key] = (
                        {"median": statistics.median(values), "low": min(values), "high": max(values)}
                        if values
                        else None
                    )
                rows.append(row)
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'':24}{'first paint, ms':>22}{'shown, ms':>22}{'KB loaded':>11}{'scripts, MB':>13}{'elements':>10}")
    for row in rows:
        times = []
        for key in ("first", "shown"):
            found = row[key]
            times.append(f"{found['median']:.0f} [{found['low']:.0f}, {found['high']:.0f}]" if found else "-")
        size, heap = row["bytes"]["median"] / 1e3, row["heap"]["median"] / 1e6
        print(
            f"{row['page']:24}{times[0]:>22}{times[1]:>22}{size:>11,.0f}{heap:>13.1f}{row['elements']['median']:>10,.0f}"
        )


if __name__ == "__main__":
    main()
