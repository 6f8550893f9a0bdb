"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import click

from agora.cli.debates import ask, check, run
from agora.cli.evaluate import evaluate
from agora.cli.graph import graph
from agora.cli.machine import models, schema
from agora.cli.merge import merge
from agora.cli.presets import init, presets
from agora.cli.route import route
from agora.cli.runs import export, runs, show
from agora.cli.serve import mcp, serve
from agora.cli.simulate import simulate
from agora.cli.tune import tune
from agora.cli.view import view
from agora.cli.views import clean


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agora-debate")
def agora() -> None:
    """Language models that debate and collaborate."""


for command in (
    run, ask, check, evaluate, simulate, tune, route, merge, graph, presets, init, runs, show, export, models, schema,
    view, serve, mcp,
):  # fmt: skip
    agora.add_command(command)


def main() -> NoReturn:
    """Entry point: every error agora raises on purpose is one sentence and an exit status."""
    from agora.errors import AgoraError

    # being ended is being interrupted: what was paid for is recorded, and the way to resume is said
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and hasattr(signal, "pthread_sigmask"):
        # in the background of a shell without jobs: it stays unheard
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agora.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt) as error:
        said = str(error) or "interrupted."
        click.echo(f"agora: {said}", err=True)
        sys.exit(130)
    except AgoraError as error:
        click.echo(f"agora: {' '.join(clean(str(error)).split())}", err=True)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        click.echo(f"agora: {error.filename or 'the output'}: {error.strerror or error}.", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the output cannot be written
        sys.exit(1)
    sys.exit(0)


def _interrupt(signum: int, frame: Any) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.raise_signal(signal.SIGINT)
