"""What stands between phases: majorities, news, ballots, who stays, summaries by a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agora.errors import AgoraError
from agora.model import Model
from agora.prompts import template
from agora.records import Ballot, Gives, Message, Reply, Round, Turn
from agora.text.agent import View, show
from agora.text.ballots import read_ranking, read_scores
from agora.text.protocol import DIGESTS, Protocol, Prune
from agora.text.topology import Topology

if TYPE_CHECKING:
    from agora.text.engine import Run

LOW, HIGH = 1.0, 5.0  # of scores, as the shipped template asks for them


def majority(turns: Iterable[Turn]) -> str | None:
    """The answer that more than half of the present voices hold, if there is one."""
    values = [turn.value for turn in turns if turn.reply is not None]
    counts = Counter(value for value in values if value is not None)
    best, n = counts.most_common(1)[0] if counts else (None, 0)
    return best if 2 * n > len(values) else None


def unknown(read: Sequence[Turn], own: Turn | None) -> list[Turn]:
    """The turns that bring a reader something new: not an answer it holds itself, nor one that another turn brings."""
    held = {own.value} if own is not None and own.value is not None else set()
    news = []
    for turn in read:
        if turn.value is not None and turn.value in held:
            continue
        if turn.value is not None:
            held.add(turn.value)
        news.append(turn)
    return news


def read_ballot(gives: Gives, text: str, labels: Mapping[str, str], voter: str) -> Ballot | None:
    """The ranking or scores in a reply, by the agents' names; None where none can be read.

    Args:
        gives: 'ranking' or 'scores'.
        text: the reply.
        labels: label -> agent, as the voter was shown them.
        voter: who votes.
    """
    if gives == "ranking":
        ranking = read_ranking(text, list(labels))
        if ranking is None:
            return None
        return Ballot(voter, tuple(tuple(labels[label] for label in tier) for tier in ranking))
    scores = read_scores(text, list(labels), LOW, HIGH)
    return None if scores is None else Ballot(voter, scores={labels[label]: score for label, score in scores.items()})


def ballots_of(turns: Iterable[Turn]) -> list[Ballot]:
    """The ballots that could be read, the last of each voter."""
    return list({turn.agent: turn.ballot for turn in turns if turn.ballot is not None}.values())


async def pruned(prune: Prune, round: Round, run: Run) -> list[str]:
    """The agents that leave after a round: all but the best `keep`. Absent voices leave first, ties go by the agents'
    order. If a model that ranks fails, all stay."""
    final = {name: turn for name, turn in round.final.items() if turn.reply is not None}
    absent = [name for name in round.final if name not in final]
    if len(final) <= prune.keep:
        return absent if final else []
    merit: dict[str, float]
    if prune.by == "confidence":
        merit = {n: (t.answer.confidence or 0.0) if t.answer else 0.0 for n, t in final.items()}
    elif prune.by in ("scores", "rankings"):
        merit = _merit(ballots_of(round.turns), list(final))
    else:
        assert not isinstance(prune.by, str)
        ranked = await _ranked(prune.by, list(final.values()), run)
        if ranked is None:
            return []
        merit = _merit([ranked], list(final))
    best = sorted(final, key=lambda name: (-merit.get(name, 0.0), run.order[name]))
    return [*absent, *sorted(best[prune.keep :], key=run.order.__getitem__)]


def _merit(ballots: Sequence[Ballot], names: Sequence[str]) -> dict[str, float]:
    """Mean scores, or mean ranks turned round, of those who have any."""
    given: dict[str, list[float]] = {name: [] for name in names}
    for ballot in ballots:
        for name, score in ballot.scores.items():
            given.setdefault(name, []).append(score)
        for place, tier in enumerate(ballot.ranking):
            for name in tier:
                given.setdefault(name, []).append(-float(place))
    lowest = min((value for values in given.values() for value in values), default=0.0)
    return {name: sum(values) / len(values) if values else lowest - 1 for name, values in given.items()}


async def _ranked(model: Model, turns: Sequence[Turn], run: Run) -> Ballot | None:
    frame = template("rank", None, getattr(model, "prompts", None))
    shown = show(turns, View(), seed=run.seed, reader=-1, order=run.order)
    prompt = frame.render(**_values(run, [s for s, _ in shown]))
    try:
        reply = await run.ask(model, "rank", [Message("user", prompt)])
    except AgoraError as error:
        if type(error).__name__ == "BudgetError":
            raise
        run.warn(f"the ranker failed, so all stay: {error}")
        return None
    ballot = read_ballot("ranking", reply.text, {s.label: t.agent for s, t in shown}, "moderator")
    if ballot is None:
        run.warn("the ranker's ranking could not be read, so all stay.")
    return ballot


def _values(run: Run, peers: Sequence[Any]) -> dict[str, Any]:
    """What a turn's template may use, for a model that is no agent."""
    return {
        "question": run.question, "round": run.rounds[-1].index if run.rounds else 0, "phase": "moderate",
        "answer": run.answer, "ask_confidence": False, "ask_done": False, "agreement": None, "contentiousness": None,
        "peers": peers, "own": None, "notes": [], "critiques": [], "history": [], "summary": None, "agent": "moderator",
        "persona": None, "ballots": [], "standing": [],
    }  # fmt: skip


# ---- summaries --------------------------------------------------------------------------------------------------


def digests_of(protocol: Protocol, topology: Topology) -> str | None:
    """The kind of digest that some view shows: 'summary' or 'claims'."""
    views = [protocol.view, *(phase.view for phase in protocol.all_phases if phase.view is not None)]
    texts: set[str] = {view.text for view in views}
    if topology.attributed:
        given = [topology.attributes(u, v).get("view") for u, v in topology.edges]
        texts |= {view if isinstance(view, str) else (view or {}).get("text", "full") for view in given}
    return next((kind for kind in DIGESTS if kind in texts), None)


async def condense(model: Model, reply: Reply, run: Run, kind: str | None, role: str, round: int) -> str:
    """A reply in short."""
    frame = template("digest", None, getattr(model, "prompts", None))
    prompt = frame.render(question=run.question, text=reply.text.strip(), kind=kind)
    return (await run.ask(model, role, [Message("user", prompt)], round=round)).text.strip()


async def minutes(model: Model, round: Round, run: Run, before: str | None) -> str | None:
    """The running summary after a round; where the model fails, the one before."""
    frame = template("minutes", None, getattr(model, "prompts", None))
    turns = [turn for turn in round.turns if turn.gives in ("answer", "text") and turn.kept is None]
    view = run.debate.protocol.view
    peers = [s for s, _ in show(turns, view, seed=run.seed, reader=-1, order=run.order)]
    prompt = frame.render(question=run.question, summary=before, peers=peers, round=round.index)
    try:
        return (await run.ask(model, "minutes", [Message("user", prompt)])).text.strip()
    except AgoraError as error:
        if type(error).__name__ == "BudgetError":
            raise
        run.warn(f"round {round.index} could not be summarised: {error}")
        return before
