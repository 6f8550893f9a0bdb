"""A page made from a verdict alone tells what the journal would have told."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

import agora
from agora import Agent, ByModel, Debate, Journal, Moderator, ScriptedModel, Verdict
from agora.api.cascade import AtLeast, Cascade, Stage
from agora.errors import InputError, ServerError
from agora.model import Settings
from agora.records import Decided, Event, Reply, Usage
from agora.text.stop import rounds
from agora.view.recorded import lived, page_of, records_of
from agora.view.records import Record, tell

SAMPLES: dict[str, Any] = {
    "society-of-minds": {},
    "chateval-one-by-one": {},
    "reconcile": {},
    "mad": {},
    "mixture-of-agents": {},
    "free-mad": {},
    "dylan": {},
}
QUESTION = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"


class Broken:
    name = "broken"

    async def answer(self, messages: Any, settings: Settings = Settings()) -> Reply:
        raise ServerError("the server failed.", model="broken")


class Timed:
    """Takes as long as it says, without waiting."""

    def __init__(self, name: str, seconds: float, *texts: str) -> None:
        self.name, self.seconds, self.texts, self.asked = name, seconds, texts, 0

    async def answer(self, messages: Any, settings: Settings = Settings()) -> Reply:
        text = self.texts[min(self.asked, len(self.texts) - 1)]
        self.asked += 1
        return Reply(text, model=self.name, usage=Usage(1, 10, 5, usd=0.01, seconds=self.seconds))


def scripted(name: str, *texts: str) -> Agent:
    return Agent(name, ScriptedModel(list(texts), name=f"model of {name}"))


def both(debate: Debate, path: Path) -> tuple[Verdict, list[Record], list[Record], list[Record]]:
    """A verdict, and what the journal of the same run tells."""

    async def go() -> Any:
        async with Journal(path / "runs.sqlite") as journal:
            verdict = await debate.answer(QUESTION, journal=journal, run="one")
            records, _ = await tell(journal, "one")
            return verdict, records, await journal.calls("one"), await journal.events("one")

    return anyio.run(go)  # type: ignore[no-any-return]


def events_in(records: list[Record]) -> list[str]:
    """Events as text, without numbers and times; waits and choices, of which a verdict knows nothing, left out."""
    kinds = ("retrying", "choice")
    data = [(r["kind"], r["path"], r["data"]) for r in records if r["type"] == "event" and r["kind"] not in kinds]
    return sorted(json.dumps(one, sort_keys=True) for one in data)


def calls_in(records: list[Record], *names: str) -> list[str]:
    return sorted(json.dumps([r[name] for name in names]) for r in records if r["type"] == "call")


@pytest.mark.parametrize("stop", [1, 3])
def test_a_debate(tmp_path: Path, stop: int) -> None:
    group = [scripted("a", "x Answer: 1"), scripted("b/2/", "Answer: 2", "Answer: 1"), scripted("<c>", "none at all")]
    debate = Debate(group, moderator=Moderator(rounds(stop)), answer="number", name="d")
    verdict, told, calls, _ = both(debate, tmp_path)
    made, whole = records_of(verdict)
    assert events_in(made) == events_in(told)
    names = ("path", "model", "text", "chars", "calls", "input_tokens", "output_tokens", "usd", "seconds", "finish",
             "error", "heat", "attempts", "warnings", "confidence")  # fmt: skip
    assert calls_in(made, *names) == calls_in(told, *names)
    asked = {call["path"]: call["request"]["messages"] for call in calls}
    assert {call["path"]: call["request"]["messages"] for call in whole} == asked
    assert {call["path"]: call["reply"] for call in whole} == {call["path"]: call["reply"] for call in calls}
    mine, theirs = made[0], told[0]
    same = ("type", "id", "status", "question", "name", "answer", "reason", "rounds", "failed", "usage", "content",
            "attempts", "alive", "here", "versions")  # fmt: skip
    assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}
    assert set(mine) == set(theirs)
    assert {frozenset(r) for r in made if r["type"] == "call"} <= {frozenset(r) for r in told if r["type"] == "call"}


@pytest.mark.parametrize("name", SAMPLES)
def test_presets(tmp_path: Path, name: str) -> None:
    verdict, told, _, _ = both(Debate.preset(name), tmp_path)
    made, _ = records_of(verdict)
    started, *_ = [r for r in made if r["type"] == "event" and r["kind"] == "started"]
    ours = [line for line in events_in(made) if not line.startswith('["started"')]
    theirs = [line for line in events_in(told) if not line.startswith('["started"')]
    assert ours == theirs
    assert set(started["data"]["agents"]) <= set(told_of(told, "started")["data"]["agents"])
    assert calls_in(made, "model", "text", "usd", "output_tokens") == calls_in(
        told, "model", "text", "usd", "output_tokens"
    )
    agents = lambda records: calls_in([r for r in records if "(moderator)" not in r.get("path", "")], "path")  # noqa: E731
    assert agents(made) == agents(told)


def told_of(records: list[Record], kind: str) -> Record:
    return next(r for r in records if r["type"] == "event" and r["kind"] == kind)


def test_debates_in_debates_cascades_and_judges(tmp_path: Path) -> None:
    inner = Debate([scripted("x", "Answer: 1"), scripted("y", "Answer: 2")], moderator=Moderator(rounds(1)), name="in")
    doubtful = Timed("s", 0.5, "Answer: 3")
    cascade = Cascade([Stage(doubtful, AtLeast("confidence", 0.9)), Stage(ScriptedModel("Answer: 4", name="t"))])
    judge = ByModel(ScriptedModel("I choose. Answer: 1", name="judge"))
    debate = Debate([Agent("i", inner), Agent("c", cascade)], moderator=Moderator(rounds(1), judge), name="out")
    verdict, told, _, _ = both(debate, tmp_path)
    made, _ = records_of(verdict)
    nested = [r["path"] for r in made if r["type"] == "event" and r["kind"] == "decided"]
    assert sorted(nested) == sorted(r["path"] for r in told if r["type"] == "event" and r["kind"] == "decided")
    assert calls_in(made, "model", "text") == calls_in(told, "model", "text")
    assert [r["path"] for r in made if r["type"] == "call" and r["model"] == "judge"] == ["(moderator)/1/moderate"]
    assert sum(r["usd"] for r in made if r["type"] == "call") == pytest.approx(verdict.usage.usd)
    assert sum(r["output_tokens"] for r in made if r["type"] == "call") == verdict.usage.output_tokens


def test_absent_voices_are_failed_calls(tmp_path: Path) -> None:
    debate = Debate([scripted("a", "Answer: 1"), scripted("b", "Answer: 1"), Agent("c", Broken())],
                    moderator=Moderator(rounds(1), quorum=0.1), answer="number")  # fmt: skip
    verdict, told, _, _ = both(debate, tmp_path)
    made, _ = records_of(verdict)
    edges = told_of(made, "started")["data"]["edges"]
    assert edges == [["b", "a"], ["a", "b"], ["a", "c"], ["b", "c"]]  # nobody read c
    told_of(told, "started")["data"]["edges"] = edges
    assert events_in(made) == events_in(told)
    failed = [r for r in made if r["type"] == "call" and r["error"]]
    assert [r["path"] for r in failed] == ["c/0/answer", "c/1/revise"]
    assert made[0]["failed"] == told[0]["failed"] == 2


def test_when_things_were_is_worked_out_from_how_long_they_took() -> None:
    group = [Agent("fast", Timed("f", 1.0, "Answer: 1")), Agent("slow", Timed("s", 3.0, "Answer: 2"))]
    verdict = Debate(group, moderator=Moderator(rounds(1)), answer="number").run("q")
    at = [(type(event).__name__, getattr(getattr(event, "turn", event), "agent", ""), when - 100)
          for when, event in lived(verdict, 100.0)]  # fmt: skip
    assert at == [
        ("Started", "", 0), ("Speaking", "fast", 0), ("Speaking", "slow", 0), ("Spoke", "fast", 1),
        ("Spoke", "slow", 3), ("RoundOver", "", 3), ("Speaking", "fast", 3), ("Speaking", "slow", 3),
        ("Spoke", "fast", 4), ("Spoke", "slow", 6), ("RoundOver", "", 6), ("Decided", "", 6),
    ]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_causes_come_first(name: str) -> None:
    verdict = Debate.preset(name).run(QUESTION)
    spoken: set[Any] = set()
    for _, event in lived(verdict, 0.0):
        if type(event).__name__ == "Spoke":
            turn = event.turn  # type: ignore[union-attr]
            assert set(turn.reads) <= spoken
            spoken.add((turn.agent, turn.round, turn.phase))
    assert len(spoken) == sum(len(r.turns) for r in verdict.rounds)


def test_events_that_were_watched_keep_their_times() -> None:
    debate = Debate([scripted("a", "Answer: 1"), scripted("b", "Answer: 2")], moderator=Moderator(rounds(1)))

    async def go() -> tuple[Verdict, list[tuple[float, Event]]]:
        told: list[tuple[float, Event]] = []
        async with debate.watch("q", stream=True) as events:
            async for event in events:
                told.append((1000.0 + len(told), event))
        assert events.verdict is not None
        return events.verdict, told

    verdict, told = anyio.run(go)
    assert isinstance(told[-1][1], Decided)
    watched, _ = records_of(verdict, told)
    assert (watched[0]["created"], watched[0]["updated"]) == (1000.0, told[-1][0])
    assert events_in(watched) == events_in(records_of(verdict)[0])


def test_a_page_is_saved(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!-- \u2028 \ud800 \x00"
    verdict = Debate([scripted("a", hostile), scripted("b", "2")], moderator=Moderator(rounds(1))).run(hostile)
    where = agora.view.save(verdict, tmp_path / "run.html")
    text = where.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    inlaid = re.search(r'<script type="application/json" id="agora-run">(.*?)</script>', text, re.DOTALL)
    assert inlaid is not None
    data = json.loads(inlaid[1])
    assert data["records"][0]["id"] == verdict.run
    calls = json.loads(gzip.decompress(base64.b64decode(data["calls"])))
    assert [call["id"] for call in calls] == [r["id"] for r in data["records"] if r["type"] == "call"] == [1, 2, 3, 4]
    assert all(call["request"]["messages"] for call in calls)
    with pytest.raises(InputError, match="cannot be written"):
        agora.view.save(verdict, tmp_path / "no" / "run.html")
    with pytest.raises(InputError, match="not from a str"):
        agora.view.save("verdict", tmp_path / "run.html")  # type: ignore[arg-type]


def test_verdicts_without_rounds_have_a_page_too() -> None:
    assert "agora-run" in page_of(Verdict("x", model="m", answer="x", run="r"))
