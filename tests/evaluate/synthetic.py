"""Evaluations made of agents whose chances are known: a debate that helps, one that is worthless, one that harms."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from agora.evaluate.measures.metrics import best_single
from agora.evaluate.records import Contestant, Results, Role, Said, Scored
from agora.records import Usage

AGENTS = {"ada": 0.72, "bo": 0.66, "cy": 0.60, "dee": 0.55}
GROUPS = ("algebra", "geometry", "number theory")
EFFECTS = {"helps": (0.05, 0.45), "worthless": (0.15, 0.22), "harms": (0.30, 0.10)}
"""In each round: P(a right answer is given up), P(a wrong one is put right)."""


def results(
    n: int = 300,
    seed: int = 0,
    debates: Mapping[str, str] | None = None,
    *,
    agents: Mapping[str, float] | None = None,
    baselines: bool = True,
    names: Mapping[str, str] | None = None,
) -> Results:
    """An evaluation.

    Args:
        n: items.
        seed: of everything.
        debates: name -> 'helps', 'worthless' or 'harms'.
        agents: name -> chance of being right in round 0 on an item of middling difficulty.
        baselines: all roles beside each debate, or none.
        names: what to call agents instead, to try hostile ones.
    """
    made: list[Contestant] = []
    agents = {(names or {}).get(name, name): p for name, p in (agents or AGENTS).items()}
    for d, (debate, kind) in enumerate((debates or {"council": "helps", "quarrel": "worthless"}).items()):
        rng = random.Random(f"{seed} {d}")
        rows = [_row(i, agents, EFFECTS[kind], rng) for i in range(n)]
        made.append(Contestant(debate, "debate", debate, tuple(rows)))
        if baselines:
            made += _baselines(debate, rows, agents, rng)
    digests = {f"q{i}": f"{i:016x}" for i in range(n)}
    about = "300 invented questions, answered by agents whose chances are known"
    return Results(
        "invented", f"{n:016x}", about, "exact", seed, tuple(made), {"agora": "0"}, 1.8e9, n, digests=digests
    )


def _row(i: int, agents: Mapping[str, float], effect: tuple[float, float], rng: random.Random) -> Scored:
    hard = random.Random(f"item {i}").uniform(
        -0.3, 0.3
    )  # the same of all contestants: they are right on the same items
    said: list[Said] = []
    now: dict[str, Said] = {}
    for r in range(3):
        if r and len({s.answer for s in now.values()}) == 1:
            break
        before = dict(now)
        read = [(agent, r - 1) for agent in agents] if r else []
        for agent, p in agents.items():
            if r == 0:
                right = rng.random() < min(0.98, max(0.02, p - hard))
            else:
                right = rng.random() < (1 - effect[0] if before[agent].right else effect[1])
            now[agent] = _said(agent, r, right, tuple(one for one in read if one[0] != agent), rng)
        said += now.values()
    final = [one for one in said if one.round == said[-1].round]
    answer, share = _vote(final, rng)
    first = _vote([one for one in said if one.round == 0], rng)[0]
    return _scored(i, answer, rng, share=share, rounds=said[-1].round, said=tuple(said), initial=first, calls=len(said))


def _said(agent: str, r: int, right: bool, read: tuple[tuple[str, int], ...], rng: random.Random) -> Said:
    if rng.random() < 0.02:
        return Said(agent, r, None, rng.choice(["unparsed", "absent", "abstained"]), 0.0, read=read)
    answer = "42" if right else rng.choice(["41", "43", "43", "7"])
    sure = min(1.0, max(0.0, round(rng.gauss(0.85 if right else 0.75, 0.1), 2)))
    return Said(agent, r, answer, "answered", float(right), sure, min(1.0, sure * 0.9), read)


def _vote(state: list[Said], rng: random.Random) -> tuple[str | None, float]:
    counts = Counter(one.answer for one in state if one.answer is not None)
    if not counts:
        return None, 0.0
    most = max(counts.values())
    return rng.choice([a for a, c in counts.items() if c == most]), most / len(state)


def _scored(
    i: int,
    answer: str | None,
    rng: random.Random,
    *,
    share: float | None = None,
    rounds: int = 0,
    said: tuple[Said, ...] = (),
    initial: str | None = None,
    calls: int = 1,
    usd: float = 0.0004,
) -> Scored:
    tokens = sum(rng.randint(80, 400) for _ in range(calls))
    sure = [one.confidence for one in said if one.answer == answer and one.confidence is not None]
    return Scored(
        f"q{i}",
        GROUPS[i % 3],
        "answered" if answer is not None else "unparsed",
        answer,
        float(answer == "42"),
        initial,
        float(initial == "42") if said else None,
        sum(sure) / len(sure) if sure else None,
        share=share,
        rounds=rounds,
        stop=("unanimous" if rounds < 2 else "rounds") if said else "",
        usage=Usage(calls, 3 * tokens, tokens, tokens // 2, usd * calls),
        seconds=rng.gammavariate(2, 1.2) * (1 + rounds),
        said=said,
    )


def _baselines(debate: str, rows: list[Scored], agents: Mapping[str, float], rng: random.Random) -> list[Contestant]:
    made: list[Contestant] = []

    def put(name: str, role: Role, answered: list[Scored], note: str = "") -> None:
        made.append(Contestant(f"{debate}: {name}", role, debate, tuple(answered), note))

    members = {}
    for agent in agents:
        own = [next(s for s in row.said if s.agent == agent) for row in rows]
        members[agent] = [_scored(i, one.answer, rng) for i, one in enumerate(own)]
        put(agent, "member", members[agent])
    single, note = best_single(members)
    put("best single", "best single", list(single), note)
    put("round-0 vote", "round-0 vote", [_scored(i, r.initial, rng, calls=len(agents)) for i, r in enumerate(rows)])
    for name, role, p, calls in (
        ("self-consistency (calls)", "self-consistency", 0.76, 9),
        ("self-consistency (tokens)", "self-consistency", 0.76, 12),
        ("isolated", "isolated", 0.72, 9),
        ("noise", "noise", 0.70, 9),
        ("without ada", "without", 0.74, 7),
    ):
        answered = []
        for i in range(len(rows)):
            hard = random.Random(f"item {i}").uniform(-0.3, 0.3)
            answered.append(_scored(i, "42" if rng.random() < p - hard else "43", rng, calls=calls))
        put(name, role, answered)  # type: ignore[arg-type]
    return made
