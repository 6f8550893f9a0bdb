"""A run's page without a journal: from a verdict, or from the events of a debate that was watched."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from agora.errors import InputError
from agora.journal import event_json, reply_json, usage_json, versions
from agora.records import Decided, Event, Reply, Round, RoundOver, Speaking, Spoke, Started, Turn, Usage, Verdict, Wrote
from agora.text.engine import MAX_EDGES, MODERATOR
from agora.view.records import QUESTION, Cursor, Record, call_record, event_records

Told = tuple[float, Event]  # when, in seconds since 1970, and what


_DEEP = 20  # debates in debates


def page_of(verdict: Verdict, told: Sequence[Told] = ()) -> str:
    """The page of a run as one file.

    Args:
        verdict: of the run.
        told: the run's events, where somebody watched it; else they are put together from the verdict.
    """
    from agora.view.page import alone

    records, calls = records_of(verdict, told)
    return alone(records, calls, Cursor(max((r["id"] for r in records if r["type"] == "event"), default=0), len(calls)))


def save(verdict: Verdict, path: str | Path) -> Path:
    """Write the page of a run as one file that needs no server and no network, from its verdict alone. Of a run in a
    journal, `agora show RUN --html FILE` writes it too.

        verdict = debate.run("What is six times seven?")
        agora.view.save(verdict, "run.html")

    Args:
        verdict: what a debate gave.
        path: of the file; what is there is replaced.

    Returns:
        The path.

    Raises:
        InputError: if it is no verdict, or the file cannot be written.
    """
    if not isinstance(verdict, Verdict):
        raise InputError(f"a page is made from a Verdict, not from a {type(verdict).__name__}.")
    path, page = Path(path), page_of(verdict)
    try:
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.", hint="Choose another place.") from None
    return path


def records_of(verdict: Verdict, told: Sequence[Told] = ()) -> tuple[list[Record], list[Record]]:
    """The records of a run as a page has them, the run's own first, and the whole of its calls, as a journal gives
    them: without times of its own where nobody watched, and without what was sent to a group's members.

    Args:
        verdict: of the run.
        told: its events.
    """
    told = told or lived(verdict)
    made = _Records()
    made.debate(told, "")
    begun, ended = told[0][0], told[-1][0]
    run = {
        "type": "run", "id": verdict.run, "status": "done", "name": verdict.model,
        "question": verdict.question[:QUESTION], "created": begun, "updated": ended, "answer": verdict.answer,
        "reason": verdict.reason,
        "rounds": len(verdict.rounds) - 1, "attempts": sum(call["attempts"] for call in made.calls),
        "failed": sum(call["error"] is not None for call in made.calls), "seed": 0, "content": True, "alive": False,
        "here": False, "resumable": False, "usage": usage_json(verdict.usage), "versions": dict(versions()),
    }  # fmt: skip
    return [run, *map(call_record, made.calls), *made.events], made.calls


# ---- the life of a debate, from its verdict ----------------------------------------------------------------------


def lived(verdict: Verdict, begun: float | None = None) -> list[Told]:
    """The events of a debate that nobody watched. When they were is worked out: an agent speaks as soon as what it read
    is there, for as long as its models took.

    Args:
        verdict: of the debate.
        begun: when, in seconds since 1970; default: as the run's id says, else now.
    """
    start = begun if begun is not None else _begun(verdict.run)
    turns = [turn for round in verdict.rounds for turn in round.turns]
    agents = tuple(dict.fromkeys(turn.agent for turn in turns))
    place = {name: i for i, name in enumerate(agents)}
    read = {(place[peer], place[t.agent]) for t in turns for peer, *_ in t.reads if peer != t.agent and peer in place}
    edges = tuple((agents[u], agents[v]) for u, v in sorted(read, key=lambda edge: edge[::-1]))
    told: list[Told] = []
    over: dict[tuple[str, int, str], float] = {}
    free: dict[str, float] = {}
    stop, ended = verdict.reason.partition("; ")[0], start
    for round in verdict.rounds:
        for turn in _in_order(round):
            at = max([free.get(turn.agent, start), *(over.get(key, start) for key in turn.reads)])
            took = turn.reply.usage.seconds if turn.reply is not None and turn.kept is None else 0.0
            if turn.kept is None:
                told.append((at, Speaking(turn.agent, turn.round, turn.phase)))
            told.append((at + took, Spoke(turn)))
            free[turn.agent] = over[turn.agent, turn.round, turn.phase] = at + took
            ended = max(ended, at + took)
        told.append((ended, RoundOver(round, stop if round is verdict.rounds[-1] else None)))
    told.sort(key=lambda pair: pair[0])  # as it is stable, causes stay before what came of them
    begin = Started(verdict.run, verdict.question, agents, edges if len(edges) <= MAX_EDGES else ())
    return [(start, begin), *told, (ended, Decided(verdict))]


def _in_order(round: Round) -> list[Turn]:
    """The turns of a round, each after those it read and after its agent's own."""
    known = {(turn.agent, turn.round, turn.phase): i for i, turn in enumerate(round.turns)}
    depth: list[int] = [0] * len(round.turns)
    for _ in range(len(round.turns)):  # as deep as the longest chain, which is seldom more than two or three
        last: dict[str, int] = {}
        moved = False
        for i, turn in enumerate(round.turns):
            least = [depth[known[key]] + 1 for key in turn.reads if key in known and known[key] != i]
            now = max([depth[i], last.get(turn.agent, 0), *least])
            moved |= now != depth[i]
            depth[i], last[turn.agent] = now, now + 1
        if not moved:
            break
    return [turn for _, turn in sorted(enumerate(round.turns), key=lambda pair: (depth[pair[0]], pair[0]))]


def _begun(run: str) -> float:
    """When a run began, as far as its id says."""
    try:
        return time.mktime(time.strptime(re.match(r"\d{8}-\d{6}|", run)[0], "%Y%m%d-%H%M%S"))  # type: ignore[index]
    except (ValueError, OverflowError):
        return time.time()


# ---- records ----------------------------------------------------------------------------------------------------


class _Records:
    """Events and calls of a run, numbered as they come."""

    def __init__(self) -> None:
        self.events: list[Record] = []
        self.calls: list[Record] = []
        self._id = 0

    def debate(self, told: Iterable[Told], path: str, depth: int = 0) -> None:
        """A debate at a place: '' is the run's own."""
        began: dict[tuple[str, int, str], float] = {}
        for at, event in told:
            if isinstance(event, Wrote):
                continue
            if isinstance(event, Speaking):
                began[event.agent, event.round, event.phase] = at
            if isinstance(event, Decided):
                self._moderated(event.verdict, at, path, depth)
            whole = False
            if isinstance(event, Spoke) and (turn := event.turn).kept is not None:
                whole = True
            elif isinstance(event, Spoke):
                place = _below(path, f"{turn.agent}/{turn.round}/{turn.phase}")
                since = began.get((turn.agent, turn.round, turn.phase), at)
                whole = self._turn(turn, place, since, at, depth)
            kind, data = event_json(event, full=whole)
            if isinstance(event, Spoke) and "reply" in data:
                data["reply"].pop("tokens", None)
            self._id += 1
            self.events += event_records({"id": self._id, "at": at, "kind": kind, "path": path, "data": data})

    def _turn(self, turn: Turn, place: str, since: float, at: float, depth: int) -> bool:
        """A turn's calls; whether they do not hold its text, as it is a group's."""
        request = {"messages": [[m.role, m.content] for m in turn.messages], "settings": {}}
        if turn.reply is None:
            error = {"kind": "ModelError", "message": turn.error or "", "hint": None}
            self._call(place, None, since, request, error=error, seconds=max(0.0, at - since))
            return False
        return self._reply(turn.reply, place, since, request, depth)

    def _reply(self, reply: Reply, place: str, since: float, request: Record | None, depth: int) -> bool:
        if isinstance(reply, Verdict) and reply.rounds and depth < _DEEP:
            self.debate(lived(reply, since), place, depth + 1)
            return True
        if not reply.parts or depth >= _DEEP:
            self._call(place, reply, since, request)
            return False
        for i, part in enumerate(reply.parts, 1):
            self._reply(part, f"{place}/{part.model}-{i}", since, None, depth + 1)
        return True

    def _moderated(self, verdict: Verdict, at: float, path: str, depth: int) -> None:
        """The moderator's calls: the replies that are no agent's."""
        asked = [turn for round in verdict.rounds for turn in round.turns if turn.kept is None]
        agents = Counter(id(turn.reply) for turn in asked)
        rounds = {id(turn.reply): turn.round for turn in asked}
        index = 0
        for part in verdict.parts:
            index = rounds.get(id(part), index)
            agents[id(part)] -= 1
            if agents[id(part)] < 0:
                self._reply(part, _below(path, f"{MODERATOR}/{index}/moderate"), at, None, depth)

    def _call(
        self,
        place: str,
        reply: Reply | None,
        since: float,
        request: Record | None,
        *,
        error: Record | None = None,
        seconds: float = 0.0,
    ) -> None:
        usage = usage_json(reply.usage if reply is not None else Usage())
        seconds = usage.pop("seconds") or seconds
        self.calls.append({
            "id": len(self.calls) + 1, "path": place, "occurrence": 0, "model": reply.model if reply else "",
            "begun": since, "seconds": seconds, "attempts": reply.attempts if reply else 1,
            "request": request, "reply": reply_json(reply) if reply else None, "error": error, **usage,
        })  # fmt: skip


def _below(path: str, place: str) -> str:
    return f"{path}/{place}" if path else place
