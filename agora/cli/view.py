"""The command that shows runs in a browser: view."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from agora.cli.merge import bytes_done
from agora.cli.options import RESULTS, SET, STORE, only_reading
from agora.cli.serve import needs_server

if TYPE_CHECKING:
    import socket

PORT = 8321
_NEXT = 20  # ports that are tried where none was asked for


@click.command()
@click.argument("run", required=False)
@click.option("-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A debate that can be begun from the page; repeat it.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), help=f"Default: {PORT}, or the next that is free. 0: any.")
@click.option("--no-browser", is_flag=True, help="Only say where it is.")
@RESULTS
@SET
@STORE
def view(
    run: str | None,
    files: tuple[Path, ...],
    port: int | None,
    no_browser: bool,
    results: tuple[str, ...],
    settings: tuple[str, ...],
    store: str | None,
) -> None:
    """Show runs in a browser, live while they go on; RUN (an id, the beginning of one, or 'last') at once."""
    import anyio

    needs_server()
    from agora.budget import Budget
    from agora.serve import app, catalog, guard
    from agora.serve import server as http
    from agora.serve.viewer.evaluations import Evaluations
    from agora.serve.viewer.routes import routes
    from agora.serve.viewer.viewer import Viewer

    async def found() -> str | None:
        async with only_reading(store) as journal:
            return (await journal.run(run)).id if run is not None else None

    id = anyio.run(found)
    evaluations = Evaluations(results)
    with bytes_done("merging") as progress:
        made = catalog.read(files, settings, progress, page=True)
    service = app.Service(made, store, limits=app.Limits(most=Budget()), guard=guard.Guard(None, guard.LOOPBACK))
    viewer = Viewer(service, store, evaluations=evaluations)
    socket = _listen(port)
    url = f"http://127.0.0.1:{socket.getsockname()[1]}/"
    at = f"{url}runs/{quote(id, safe='')}" if id is not None else url

    def ready() -> None:
        click.echo(f"agora: {at} (end it with Ctrl-C)")
        if not no_browser and _has_display():
            import threading
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(at,), daemon=True).start()

    server = http.server(app.application(service, routes(viewer)), service.gate, drain=0, ready=ready)

    async def go() -> None:
        async with service.runner, viewer:
            await server.serve([socket])

    import asyncio

    asyncio.run(go())


def _listen(port: int | None) -> socket.socket:
    """A socket on this machine alone.

    Raises:
        InputError: if the port is taken.
    """
    from agora.errors import InputError
    from agora.serve import server as http

    if port is not None:
        return http.listen("127.0.0.1", port)
    for each in range(PORT, PORT + _NEXT):
        try:
            return http.listen("127.0.0.1", each)
        except InputError:
            continue
    return http.listen("127.0.0.1", 0)


def _has_display() -> bool:
    """Whether a browser has somewhere to show itself; one that runs in the terminal would take it over."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
