"""What a page is told of a run: all of it, in order, in parts without loss, and no text longer than one reads."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import scenes

from agora.errors import InputError
from agora.journal import Journal
from agora.view.records import CLIP, Cursor, clipped, layout, run_record, tell


async def told(store: Path, run: str, since: Cursor = Cursor()) -> tuple[list[dict[str, Any]], Cursor]:
    async with Journal(store) as journal:
        return await tell(journal, run, since)


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == kind]


async def test_a_run_is_told_whole(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "quick")
    records, cursor = await told(store, "quick")
    (run,) = of(records, "run")
    assert records[0] is run
    assert (run["status"], run["alive"], run["here"], run["resumable"]) == ("done", False, False, False)
    assert run["answer"] == "42"
    calls, events = of(records, "call"), of(records, "event")
    assert len(calls) == 9
    assert [call["id"] for call in calls] == sorted(call["id"] for call in calls)
    assert {call["path"] for call in calls} == {
        f"{who}/{r}/{'revise' if r else 'answer'}" for who in ("ann", "bob", "eve") for r in range(3)
    }
    assert all("request" not in call and "reply" not in call for call in calls)
    assert [event["kind"] for event in events if event["kind"] in ("started", "round", "decided")] == [
        "started", "round", "round", "round", "decided",
    ]  # fmt: skip
    assert cursor == Cursor(events[-1]["id"], calls[-1]["id"])
    spoke = [event["data"] for event in events if event["kind"] == "spoke"]
    assert [said["reads"] for said in spoke if said["round"] == 0] == [[]] * 3
    json.dumps(records)


async def test_parts_make_the_whole(tmp_path: Path) -> None:
    """Told while it goes on, from where it was told before, everything is told once."""
    store = tmp_path / "runs.sqlite"
    got: list[dict[str, Any]] = []
    parts = 0
    async with Journal(store) as journal, anyio.create_task_group() as group:
        group.start_soon(lambda: scenes.quick(latency=0.03).answer(scenes.QUESTION, journal=journal, run="live"))
        cursor = Cursor()
        with anyio.fail_after(20):
            while True:
                try:
                    records, cursor = await tell(journal, "live", cursor)
                except InputError:  # it has not begun
                    await anyio.sleep(0.005)
                    continue
                news = [record for record in records if record["type"] != "run"]
                parts += bool(news)
                got += news
                if records[0]["status"] == "done":
                    break
                assert records[0]["status"] == "running"
                assert records[0]["here"]
                await anyio.sleep(0.005)
    whole, end = await told(store, "live")
    assert parts > 3
    assert cursor == end

    def keys(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
        return sorted((r["type"], r["id"]) for r in records if r["type"] in ("call", "event"))

    assert keys(got) == keys(whole)


async def test_a_killed_run_is_not_alive_and_can_go_on_only_from_a_file(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    async with Journal(store) as journal:
        about: dict[str, Any] = {"question": "q", "name": "n", "seed": 0}
        await journal.begin("bare", **about)
        await journal.begin("filed", config={"text": "x", "file": "f", "folder": ".", "settings": []}, **about)
        bare, filed = [run_record(await journal.run(name)) for name in ("bare", "filed")]
        here = run_record(await journal.run("filed"), here=True)
    assert (bare["status"], bare["alive"], bare["resumable"]) == ("killed", False, False)
    assert (filed["status"], filed["alive"], filed["resumable"]) == ("killed", False, True)
    assert (here["status"], here["alive"], here["resumable"]) == ("running", True, False)


async def test_long_texts_are_cut_and_their_length_is_told(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "hostile")
    records, _ = await told(store, "hostile")
    (call, _) = (call for call in of(records, "call") if call["path"].startswith("long/"))
    assert call["chars"] == 5_250_000
    assert len(call["text"]) == CLIP
    assert len(json.dumps(records)) < 200_000
    decided = of(records, "event")[-1]["data"]
    assert all(len(key) <= CLIP for key in decided["support"])


async def test_a_group_tells_its_text_and_its_debate_has_a_place(tmp_path: Path) -> None:
    store = tmp_path / "runs.sqlite"
    await scenes.play(store, "nested")
    records, _ = await told(store, "nested")
    layouts = of(records, "layout")
    assert layouts[0]["path"] == ""
    assert {layout["path"] for layout in layouts[1:]} == {"panel/0/answer", "panel/1/revise"}
    first = next(e["data"] for e in of(records, "event") if e["kind"] == "spoke" and e["data"]["agent"] == "panel")
    assert "42" in first["text"]
    assert first["chars"] == len(first["text"])


def test_everyone_has_a_place() -> None:
    names = [f"a{i}" for i in range(1000)]
    made = layout("", names, list(pairwise(names)))
    assert len(made["at"]) == 1000
    assert len({tuple(spot) for spot in made["at"]}) == 1000


def test_clipped_leaves_what_is_short() -> None:
    data = {"a": ["x" * CLIP, 1, None, {"b": "y" * (CLIP + 1)}]}
    cut = clipped(data)
    assert cut["a"][:3] == data["a"][:3]
    assert cut["a"][3]["b"] == "y" * (CLIP - 1) + "…"


async def test_there_is_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run 'nothing'"):
        await told(tmp_path / "runs.sqlite", "nothing")


pytestmark = pytest.mark.anyio
