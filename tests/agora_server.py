"""`agora serve` as a process of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SCRIPTED = """
name: duo
models:
  ann: {scripted: {'Check each step|Agent|agent': 'I see. Answer: 42', '.': 'I think so. Answer: 41'}, name: ann}
  bob: {scripted: 'I am sure. Answer: 42', name: bob}
  slow: {scripted: 'At last. Answer: 7', latency: 1.5, name: slow}
agents: {ann: ann, bob: bob}
answer: number
moderator: {stop: unanimous | rounds(3)}
"""


class AgoraServer:
    """A server that runs.

    Attributes:
        url: its address.
        process: it.
        store: the file of its journal.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, store: Path, models: list[str]) -> None:
        self.process, self.url, self.store, self.models = process, url, store, models

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, sign: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        self.process.send_signal(sign)
        return self.process.wait(timeout)


@contextlib.contextmanager
def agora_serve(
    folder: Path, *arguments: str, text: str = SCRIPTED, name: str = "duo.yaml", env: Mapping[str, str] = {}
) -> Iterator[AgoraServer]:
    """A server of a file, for as long as the block lasts.

    Args:
        folder: where the file and the journal are.
        arguments: further ones of the command.
        text: of the file.
        name: of the file.
        env: further variables.
    """
    path, store = folder / name, folder / "runs.sqlite"
    path.write_text(text)
    command = [sys.executable, "-m", "agora.cli", "serve", str(path), "--port", "0", "--store", str(store), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    assert process.stdout is not None
    with process:
        try:
            models = process.stdout.readline().partition(": ")[2].strip().split(", ")
            said = process.stdout.readline()
            if "listening on" not in said:
                raise RuntimeError(process.communicate(timeout=10)[1])
            yield AgoraServer(process, said.partition("listening on ")[2].split()[0], store, models)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
