"""What a page is told of a run: the journal's records, calls without requests, texts no longer than one reads."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agora.journal import usage_json

if TYPE_CHECKING:
    from agora.journal import Journal, RunInfo

CLIP = 1_500  # characters of a text in a list; the whole is fetched where somebody reads it
QUESTION = 20_000  # characters of a question
_FEW = 20  # records
GAP, LINE = 118.0, 30.0  # pixels that an agent takes in a picture, in a row and in a column
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a run has been told: the last event and the last call."""

    event: int = 0
    call: int = 0


def info_json(info: RunInfo) -> Record:
    """A run's line as plain data."""
    names = ("id", "status", "question", "name", "created", "updated", "answer", "reason", "rounds", "attempts",
             "failed", "seed", "content", "alive")  # fmt: skip
    plain = {name: getattr(info, name) for name in names}
    return {**plain, "usage": usage_json(info.usage), "versions": dict(info.versions)}


def run_record(info: RunInfo, here: bool = False) -> Record:
    """A run as a page has it.

    Args:
        info: the run.
        here: whether this process runs it.
    """
    data = info_json(info)
    alive = info.alive or here
    if info.status == "running" and not alive:
        data["status"] = "killed"
    if info.question is not None:
        data["question"] = info.question[:QUESTION]
    config = info.config or {}
    resumable = info.content and not alive and info.status != "done" and "text" in config and not config.get("varied")
    return {"type": "run", **data, "alive": alive, "here": here, "resumable": bool(resumable)}


async def tell(journal: Journal, run: str, since: Cursor = Cursor()) -> tuple[list[Record], Cursor]:
    """What the journal has of a run, and how far that is; the run's own line comes first.

    Args:
        journal: it.
        run: the run's id.
        since: what has been told already.

    Raises:
        InputError: if there is no such run.
        StoreError: if the journal cannot be read.
    """
    here = journal.under_way(run)
    info = await journal.run(run)  # before the rest: of a run that is over, the rest is then all there is
    here = here or journal.under_way(run)  # asked twice: it may begin or end in between
    events = await journal.events(run, after=since.event)
    calls = await journal.calls(run, after=since.call, requests=False)

    def made() -> list[Record]:
        records = [run_record(info, here)]
        # a call is durable before its turn is told: calls are read after events, and come before them
        records += map(call_record, calls)
        for event in events:
            records += event_records(event)
        return records

    # of a long run this takes a while, in which a server has others to answer
    records = await anyio.to_thread.run_sync(made) if len(events) + len(calls) > _FEW else made()
    last = Cursor(
        max((event["id"] for event in events), default=since.event),
        max((call["id"] for call in calls), default=since.call),
    )
    return records, last


def news(records: Sequence[Record], since: Cursor) -> list[Record]:
    """Those of records that say more than has been told up to a cursor."""
    made, known = [], False
    for record in records:
        kind = record["type"]
        if kind == "event":
            known = record["id"] <= since.event
        elif kind == "call":
            known = record["id"] <= since.call
        elif kind != "layout":  # which belongs to the event before it
            known = False
        if not known:
            made.append(record)
    return made


def call_record(call: Mapping[str, Any]) -> Record:
    """A call as a page has it: its figures, and the beginning of its reply."""
    reply = call["reply"] or {}
    text = reply.get("text")
    names = ("id", "path", "occurrence", "model", "begun", "seconds", "attempts", "error", "calls", "input_tokens",
             "output_tokens", "cached_tokens", "reasoning_tokens", "usd")  # fmt: skip
    return {
        "type": "call",
        **{name: clipped(call[name]) for name in names},
        "text": None if text is None else text[:CLIP],
        "chars": len(text or ""),
        **{name: clipped(reply.get(name)) for name in ("confidence", "logprob", "finish", "route")},
        "warnings": clipped(reply.get("warnings", [])),
        "heat": bool(reply.get("tokens")),
    }


def full_call(call: Mapping[str, Any]) -> Record:
    """The whole of a call: what was asked, and all that was answered."""
    return {name: clipped(call[name], sys.maxsize) for name in ("id", "path", "model", "request", "reply", "error")}


def event_records(event: Mapping[str, Any]) -> Iterator[Record]:
    """An event as a page has it; where a debate begins, also where its agents stand in a picture."""
    data = event["data"]
    if event["kind"] == "spoke" and "reply" in data:
        text = data["reply"]["text"]
        data = {**{k: v for k, v in data.items() if k != "reply"}, "text": text, "chars": len(text)}
    shown = clipped(data, QUESTION if event["kind"] == "started" else CLIP)
    yield {"type": "event", **{name: event[name] for name in ("id", "at", "kind", "path")}, "data": shown}
    if event["kind"] == "started" and data.get("agents"):
        yield layout(event["path"], data["agents"], data.get("edges") or ())


def layout(path: str, agents: Sequence[str], edges: Sequence[Sequence[str]]) -> Record:
    """Where the agents of a debate stand.

    Args:
        path: of the debate.
        agents: their names.
        edges: (who is read, who reads).
    """
    from agora.layout import place
    from agora.text.topology import Topology

    spots, names = place(Topology(agents, [(u, v) for u, v in edges]), GAP, LINE)
    return {"type": "layout", "path": path, "at": [[round(x, 1), round(y, 1)] for x, y in spots], "names": names}


def clipped(data: Any, most: int = CLIP) -> Any:
    """Plain data whose texts are no longer than so many characters, and whose numbers are some: JSON has no other."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, str):
        return data if len(data) <= most else f"{data[: most - 1]}…"
    if isinstance(data, Mapping):
        return {key if len(key) <= most else f"{key[: most - 1]}…": clipped(value, most) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [clipped(value, most) for value in data]
    return data
