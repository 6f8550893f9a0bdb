"""A real browser before a real server: for tests and figures of the viewer."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parent.parent / "agora/view/front/node_modules/axe-core/axe.min.js"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-precise-memory-info",
)  # fmt: skip

DUO = """
name: duo
models:
  ann: {scripted: {'Agent|agent|Peer': 'I see. Answer: 42', '.': 'I think so. Answer: 41'}, name: ann, latency: 0.3}
  bob: {scripted: 'I am sure. Answer: 42', name: bob, latency: 0.5}
agents: {ann: ann, bob: bob}
answer: number
moderator: {stop: unanimous | rounds(3)}
"""


def missing() -> str:
    """What there is no browser test without; '' where all is there."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if CHROMIUM else "there is no Chromium"


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium, as Playwright drives it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield found
        finally:
            found.close()


@contextlib.contextmanager
def viewer(store: Path, *arguments: str) -> Iterator[str]:
    """`agora view` of a store as a process of its own; gives its address."""
    command = [sys.executable, "-m", "agora.cli", "view", "--no-browser", "--port", "0", "--store", str(store)]
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://[^\s/]+", line):
                yield found[0]
                break
        else:
            raise AssertionError("the viewer has not begun")
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def playing(store: Path, scene: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scene that is played by another process."""
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("scenes.py")), str(store), scene])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
