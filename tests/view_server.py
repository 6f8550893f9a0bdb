"""A server with a page inside this process, in a thread of its own, for tests that look behind it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2

from agora.budget import Budget
from agora.serve import app, catalog, guard
from agora.serve import server as http
from agora.serve.catalog import Catalog, Served
from agora.serve.viewer.evaluations import Evaluations
from agora.serve.viewer.routes import routes
from agora.serve.viewer.viewer import Viewer


class ViewServer:
    """A server that runs.

    Attributes:
        url: its address.
        viewer: its page's part.
        store: the file of its journal.
    """

    def __init__(self, url: str, viewer: Viewer, store: Path, server: http.Server) -> None:
        self.url, self.viewer, self.store, self.server = url, viewer, store, server
        self.client = httpx2.Client(base_url=url, timeout=30)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.client.get(path, **options)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def post(self, path: str, body: Any = {}, status: int = 200) -> Any:  # noqa: B006
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None


@contextlib.contextmanager
def view_server(
    folder: Path,
    *files: str | Path,
    served: Sequence[Served] = (),
    results: Sequence[Path] = (),
    key: str | None = None,
    most: Budget = Budget(),
    running: int = 16,
    drain: float = 0,
    store: str | None = None,
) -> Iterator[ViewServer]:
    """Such a server, for as long as the block lasts."""
    path = folder / "runs.sqlite"
    made = Catalog(list(served), page=True) if served else catalog.read(list(files), page=True)
    where = str(path) if store is None else store
    service = app.Service(made, where, limits=app.Limits(most=most), guard=guard.Guard(key, guard.LOOPBACK))
    viewer = Viewer(service, where, evaluations=Evaluations(results), running=running)
    socket = http.listen("127.0.0.1", 0)
    listening = threading.Event()
    server = http.server(
        app.application(service, routes(viewer)), service.gate, drain=drain, ready=listening.set, stall=5
    )
    failed: list[BaseException] = []

    async def go() -> None:
        async with service.runner, viewer:
            await server.serve([socket])

    def run() -> None:
        try:
            anyio.run(go)
        except BaseException as error:
            failed.append(error)
        finally:
            listening.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert listening.wait(20)
    try:
        if not failed:
            yield ViewServer(f"http://127.0.0.1:{socket.getsockname()[1]}", viewer, path, server)
    finally:
        server.should_exit = True
        thread.join(30)
        socket.close()
        assert not thread.is_alive()
        assert not failed, failed


class Stream:
    """A run as it is told, message by message."""

    def __init__(self, server: Any, run: str, query: str = "", **headers: str) -> None:
        self._stack = contextlib.ExitStack()
        client = self._stack.enter_context(httpx2.Client(timeout=30))
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        response = client.stream("GET", f"{server.url}/api/runs/{run}/live{query}", headers=given)
        self.response = self._stack.enter_context(response)
        self.last = ""
        self.over = False

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        kind = ""
        for line in self.response.iter_lines():
            if line.startswith("event: over"):
                kind = "over"
            elif line.startswith("id: "):
                self.last = line[4:]
            elif line.startswith("data: "):
                if kind:
                    self.over = True
                    return
                yield json.loads(line[6:])["records"]


def durable(records: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """The events and calls among records, in order."""
    return [(record["type"], record["id"]) for record in records if record["type"] in ("event", "call")]
