"""The page itself: as the server gives it, and with a run inside it as one file that needs nothing else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from agora.lettering import cut, escaped
from agora.view.records import Cursor, Record, full_call, tell

if TYPE_CHECKING:
    from agora.journal import Journal

STATIC = Path(__file__).with_name("static")
# a page that is served: nothing but our own script and style, and no way for a text to become either
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
)


@lru_cache(maxsize=8)
def asset(name: str) -> bytes:
    """A file that belongs to the page: 'app.js', 'app.css' or 'icon.svg'."""
    return (STATIC / name).read_bytes()


@lru_cache(maxsize=8)
def version(name: str) -> str:
    """Of such a file: changes with it, so that a browser can keep it as long as it is the same."""
    return hashlib.sha256(asset(name)).hexdigest()[:16]


def served() -> str:
    """The page as a server gives it: it asks for the rest."""
    return (
        f'{_HEAD}<title>agora</title><link rel="icon" href="/static/icon.svg">'
        f'<link rel="stylesheet" href="/static/app.css?{version("app.css")}">'
        f'<script src="/static/app.js?{version("app.js")}" defer></script></head>'
        '<body><div id="app"></div><noscript>This page needs JavaScript; `agora show RUN` does not.</noscript>'
        "</body></html>\n"
    )


def alone(records: Sequence[Record], calls: Sequence[Mapping[str, Any]], cursor: Cursor = Cursor()) -> str:
    """The page of one run as one file that needs no server and no network.

    Args:
        records: of the run, as `tell` gives them.
        calls: the whole of its calls, as the journal has them.
        cursor: how far the records go.
    """
    run = next((record for record in records if record["type"] == "run"), {})
    # most of what agents are shown is what others said: it packs to a small part
    packed = gzip.compress(json.dumps([full_call(call) for call in calls]).encode(), 6, mtime=0)
    data = {"records": list(records), "cursor": asdict(cursor), "calls": base64.b64encode(packed).decode()}
    inlaid = json.dumps(data).replace("<", "\\u003c")
    script, style = asset("app.js").decode(), asset("app.css").decode()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    title = escaped(cut(" ".join((run.get("question") or run.get("name") or "a run").split()), 80))
    return (
        f'{_HEAD}<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title>'
        f'<style>{style}</style></head><body><div id="app"></div>'
        f'<script type="application/json" id="agora-run">{inlaid}</script><script>{script}</script></body></html>\n'
    )


async def of_run(journal: Journal, run: str) -> str:
    """The page of a run in the journal as one file.

    Raises:
        InputError: if there is no such run.
        StoreError: if the journal cannot be read.
    """
    records, cursor = await tell(journal, run)
    calls = await journal.calls(run)
    return await anyio.to_thread.run_sync(partial(alone, records, calls, cursor))


def _digest(text: str) -> str:
    """Of an inline script or style, as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
