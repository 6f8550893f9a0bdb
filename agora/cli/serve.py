"""The commands by which others ask: serve, mcp."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from agora.cli.merge import bytes_done
from agora.cli.options import RESULTS, SET, STORE

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")


def _needs(extra: str, error: ModuleNotFoundError) -> Exception:
    from agora.errors import MissingError

    return MissingError(f"this needs the package {error.name}, which is not installed.",
                        hint=f"Run: pip install 'agora-debate[{extra}]'")  # fmt: skip


def needs_server() -> None:
    """See that what a server is made of is installed.

    Raises:
        MissingError: saying what to install.
    """
    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise _needs("serve", error) from None


@click.command()
@FILES
@click.option("--host", default="127.0.0.1", show_default=True, help="Any but this machine's own needs a key.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--api-key-env", metavar="NAME", help="The environment variable that holds the key clients must send.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name the server goes by; repeat it.")
@click.option("--allow-origin", "origins", multiple=True, metavar="ORIGIN", help="A page that may ask; repeat it.")
@click.option("--running", default=64, show_default=True, type=click.IntRange(1, 10_000), help="Requests at a time.")
@click.option("--waiting", default=256, show_default=True, type=click.IntRange(0, 100_000), help="Requests in line.")
@click.option("--seconds", default=600.0, show_default=True, type=click.FloatRange(0.1), help="A request may run.")
@click.option("--calls", type=click.IntRange(1), help="Most model calls of a request.")
@click.option("--usd", type=click.FloatRange(0), help="Most that a request may cost.")
@click.option("--body", default=8.0, show_default=True, type=click.FloatRange(0.001, 1024), help="MiB of a request.")
@click.option("--connections", default=2000, show_default=True, type=click.IntRange(1, 1_000_000), help="At a time.")
@click.option("--header-seconds", default=10.0, show_default=True, type=click.FloatRange(0.1),
              help="For a request's headers.")  # fmt: skip
@click.option("--stall", default=60.0, show_default=True, type=click.FloatRange(0.1), help="Seconds of not reading.")
@click.option("--drain", default=30.0, show_default=True, type=click.FloatRange(0), help="Seconds to end what runs.")
@click.option("--otel", is_flag=True, help="OpenTelemetry spans, to where OTEL_EXPORTER_OTLP_ENDPOINT says.")
@RESULTS
@SET
@STORE
def serve(
    files: tuple[Path, ...],
    host: str,
    port: int,
    api_key_env: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    running: int,
    waiting: int,
    seconds: float,
    calls: int | None,
    usd: float | None,
    body: float,
    connections: int,
    header_seconds: float,
    stall: float,
    drain: float,
    otel: bool,
    results: tuple[str, ...],
    settings: tuple[str, ...],
    store: str | None,
) -> None:
    """Serve the debates and models in FILEs to OpenAI's and Anthropic's clients."""
    import asyncio

    needs_server()
    from agora.budget import Budget
    from agora.serve import app, catalog, guard
    from agora.serve import server as http
    from agora.serve.viewer.evaluations import Evaluations
    from agora.serve.viewer.routes import routes
    from agora.serve.viewer.viewer import Viewer

    key = _key(host, api_key_env)
    evaluations = Evaluations(results)
    with bytes_done("merging") as progress:
        made = catalog.read(files, settings, progress, page=True)
    known: tuple[str, ...] | None = (*hosts, host, *guard.LOOPBACK)
    if not hosts and not guard.loopback(host):
        known = None  # whoever calls it by whatever name must have the key
    tracer: Any = None
    if otel:
        from agora.serve import tracing

        tracing.to_endpoint()
        tracer = tracing.Tracer()
    most = Budget(calls=calls, usd=usd, seconds=seconds)
    limits = app.Limits(int(body * 2**20), running, waiting, most)
    service = app.Service(made, store, limits=limits, guard=guard.Guard(key, known, origins), tracer=tracer)
    viewer = Viewer(service, store, evaluations=evaluations)
    http.room_for(connections)
    socket = http.listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{socket.getsockname()[1]}"

    def ready() -> None:
        click.echo(f"agora: {', '.join(made)}")
        for name in made.debates:
            if name not in made:
                click.echo(f"agora: {name} asks a person, and so can be begun only from the page", err=True)
        click.echo(f"agora: listening on {url} (OpenAI's clients: base_url {url}/v1)")
        click.echo(f"agora: runs are shown at {url}/")

    server = http.server(
        app.application(service, routes(viewer), origins), service.gate, drain=drain, patience=header_seconds,
        stall=stall, most=connections, ready=ready,
    )  # fmt: skip

    async def go() -> None:
        async with service.runner, viewer:  # a journal that cannot be opened is said before anybody is let in
            await server.serve([socket])

    asyncio.run(go())


def _key(host: str, variable: str | None) -> str | None:
    """The key of the server.

    Raises:
        InputError: if there is none where one is needed.
    """
    from agora.errors import InputError, MissingError
    from agora.serve.guard import loopback

    if variable is None:
        if not loopback(host):
            raise InputError(f"{host} can be reached from elsewhere, so clients need a key.",
                             hint="Put one into the environment, and name it: --api-key-env NAME.")  # fmt: skip
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise MissingError(f"--api-key-env: the environment variable {variable[:60]} is not set.",
                           hint=f"Set it: export {variable[:60]}=...")  # fmt: skip
    if len(key) < 8 or not key.isascii() or not key.isprintable():
        raise InputError(f"--api-key-env: what {variable[:60]} holds is no key: at least 8 ASCII characters.")
    return key


@click.command()
@FILES
@SET
@STORE
def mcp(files: tuple[Path, ...], settings: tuple[str, ...], store: str | None) -> None:
    """Offer the debates and models in FILEs to an assistant, as an MCP server on standard input and output."""
    try:
        import mcp as sdk  # noqa: F401
    except ModuleNotFoundError as error:
        raise _needs("mcp", error) from None
    import anyio

    from agora.serve import catalog, tools

    with bytes_done("merging") as progress:
        made = catalog.read(files, settings, progress)
    anyio.run(tools.run, made, store)
