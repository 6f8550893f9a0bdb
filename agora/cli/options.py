"""Options that several commands share, and how questions and stores are read from them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from agora.budget import Budget
    from agora.evaluate import Ray
    from agora.journal import Journal

MAX_QUESTION_BYTES = 1_000_000
EVERY = 15.0  # seconds between two lines of progress where nobody looks

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else.")
SET = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a value, dotted keys.")
STORE = click.option(
    "--store",
    metavar="URL",
    help="Where runs are kept: sqlite:///FILE, postgresql://..., or 'none'. Default: AGORA_STORE, or your own file.",
)
RESULTS = click.option(
    "--results", "results", multiple=True, metavar="PATH",
    help="An evaluation to show: what `agora eval --out` wrote, or a folder of such; repeat it.",
)  # fmt: skip
ENGINE = click.option(
    "--engine", default="local", type=click.Choice(["local", "ray"]), help="This process, or workers of a Ray cluster."
)
WORKERS = click.option("--workers", type=click.IntRange(1), help="Of --engine ray. Default: the CPUs of the cluster.")
ADDRESS = click.option(
    "--ray-address", metavar="ADDRESS", help="auto or HOST:PORT. Default: RAY_ADDRESS, or a cluster on this machine."
)


def question_of(text: str) -> str:
    """A question as given; '-' reads standard input.

    Raises:
        InputError: if it is no text, or too long.
    """
    from agora.errors import InputError

    if text == "-":
        raw = sys.stdin.buffer.read(MAX_QUESTION_BYTES + 1)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError("the question on standard input is not text (UTF-8).") from None
    if len(text.encode("utf-8", "replace")) >= MAX_QUESTION_BYTES:
        raise InputError("the question is longer than a million bytes.", hint="Ask a shorter one.")
    return text.encode("utf-8", "replace").decode("utf-8")


def journal_of(store: str | None, kept: Mapping[str, Any] | None = None) -> Journal | None:
    """The journal to use, or None for `--store none`.

    Args:
        store: as given.
        kept: what a debate file says under `store:`.
    """
    from agora.journal import Journal

    if store == "none":
        return None
    options = kept or {}
    return Journal(store, content=options.get("content", True), reuse=options.get("reuse", False))


def only_reading(store: str | None) -> Journal:
    """The journal of a command that only reads.

    Raises:
        InputError: if there is none.
    """
    from agora.errors import InputError

    journal = journal_of(store)
    if journal is None:
        raise InputError("--store none keeps no runs.", hint="Give the store that the runs are in.")
    return journal


def engine_of(engine: str, workers: int | None, address: str | None) -> Ray | None:
    """What asks contestants, as these options say; None is this process.

    Raises:
        InputError: if options do not go together.
    """
    from agora.errors import InputError
    from agora.evaluate import Ray

    if engine == "ray":
        return Ray(workers, address)
    if workers is not None or address is not None:
        raise InputError("--workers and --ray-address are for --engine ray.")
    return None


def budget_of(given: Sequence[str]) -> Budget:
    """A budget from KEY=N as they were given.

    Raises:
        InputError: if a key or a number is none.
    """
    from agora.budget import Budget
    from agora.errors import InputError

    known = {f.name: int if f.name in ("calls", "tokens") else float for f in fields(Budget)}
    values: dict[str, Any] = {}
    for text in given:
        key, _, value = text.partition("=")
        try:
            values[key] = known[key](value)
        except KeyError:
            raise InputError(f"--budget: '{key[:40]}' is none of {', '.join(known)}.") from None
        except ValueError:
            raise InputError(f"--budget: {key} needs a number, not '{value[:40]}'.") from None
    return Budget(**values)


def clock(seconds: float) -> str:
    """A span of time, short."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min" if whole < 6000 else f"{whole / 3600:.1f} h"
