"""What collaboration does for the pocket models, on fresh problems, beside what it must be compared with.

    python tests/benchmarks/pocket.py -n 400 [--seed 1] [--json]

Members alone, votes, confidence-weighted vote, a debate by round, and self-consistency of the best member at as many
calls as the debate; the best member is chosen on other problems. Intervals are Wilson's 95%; differences are paired.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio

from agora import Agent, Debate, Message, Moderator, Protocol, Settings, View, Vote
from agora.answers import Number, extract
from agora.models.pocket import PocketModel
from agora.models.pocket.problems import SKILLS, Problem, generate
from agora.records import Answer, Round, Turn
from agora.text.stop import rounds
from agora.text.votes import plurality

ROUNDS = 2
Row = list[bool]


def wilson(right: Sequence[bool]) -> tuple[float, float, float]:
    """Share and its 95% interval."""
    n, k, z = len(right), sum(right), 1.959964
    centre, width = (k / n + z * z / (2 * n)), z * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    return k / n, (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)


def paired(a: Sequence[bool], b: Sequence[bool]) -> tuple[float, float, float]:
    """Mean of a - b over the same problems and its 95% interval (normal)."""
    d = [int(x) - int(y) for x, y in zip(a, b, strict=True)]
    mean = sum(d) / len(d)
    se = math.sqrt(sum((x - mean) ** 2 for x in d) / max(1, len(d) - 1) / len(d))
    return mean, mean - 1.96 * se, mean + 1.96 * se


def voted(answers: Sequence[Answer], weight: Any = "one", seed: int = 0) -> str | None:
    turns = [Turn(str(i), 0, "answer", answer=answer) for i, answer in enumerate(answers)]
    return plurality(turns, weight=weight, ties="seeded", seed=seed).answer


async def sampled(name: str, problem: Problem, k: int, temperature: float) -> list[Answer]:
    model, kind, out = PocketModel(name), Number(), []
    for i in range(k):
        reply = await model.answer([Message("user", problem.question)], Settings(temperature=temperature, seed=i))
        out.append(extract(kind, reply))
    return out


async def measure(n: int, seed: int) -> dict[str, Any]:
    problems = generate(seed, n)
    group = [Agent(skill, PocketModel(skill)) for skill in SKILLS]
    debate = Debate(
        group, answer="number", protocol=Protocol(view=View(text="answer", own="peer", confidence=True)),
        moderator=Moderator(rounds(ROUNDS), Vote("confidence", "seeded")),
    )  # fmt: skip
    chosen: Counter[str] = Counter()
    for p in generate(seed, 200, split="train"):
        for name in SKILLS:
            chosen[name] += (await sampled(name, p, 1, 0))[0].value == p.answer
    best = max(SKILLS, key=lambda name: chosen[name])

    methods: dict[str, Row] = {}
    names = ("mean", "low", "high")
    skills: dict[str, dict[str, Row]] = {}
    moves: Counter[tuple[int, bool, bool]] = Counter()
    followed = Counter[bool]()

    def note(method: str, p: Problem, answer: str | None) -> None:
        methods.setdefault(method, []).append(answer == p.answer)
        skills.setdefault(method, {}).setdefault(p.skill, []).append(answer == p.answer)

    calls = 0
    begun, cpu = time.perf_counter(), time.process_time()
    tokens = 0
    for i, p in enumerate(problems):
        verdict = await debate.answer(p.question, Settings(seed=i))
        calls, tokens = calls + verdict.usage.calls, tokens + verdict.usage.output_tokens
        first = verdict.rounds[0].final
        for name in SKILLS:
            note(f"pocket:{name}", p, first[name].value)
        note("pocket:base", p, (await sampled("base", p, 1, 0))[0].value)
        note("any member right (oracle)", p, p.answer if p.answer in verdict.rounds[0].answers.values() else None)
        for r in verdict.rounds:
            for weight, label in (("one", "vote"), ("confidence", "confidence-weighted vote")):
                when = f"debate round {r.index}" if r.index else "first answers"
                note(f"{when}, {label}", p, _vote(r, weight, i))
        for before, after in zip(verdict.rounds, verdict.rounds[1:], strict=False):
            for name in SKILLS:
                was, now = before.final[name].value == p.answer, after.final[name].value == p.answer
                moves[after.index, was, now] += 1
        for r in verdict.rounds[1:]:
            for turn in r.turns:
                followed[bool(turn.reply and turn.reply.text.startswith("Best"))] += 1
        many = await sampled(best, p, len(SKILLS) * (ROUNDS + 1), 0.8)
        note(f"self-consistency of pocket:{best}, {len(many)} calls", p, voted(many, seed=i))
    took = time.perf_counter() - begun
    last = f"debate round {ROUNDS}, confidence-weighted vote"
    single = f"self-consistency of pocket:{best}, {len(SKILLS) * (ROUNDS + 1)} calls"
    return {
        "problems": n,
        "seed": seed,
        "accuracy": {name: dict(zip(names, wilson(row), strict=True)) for name, row in methods.items()},
        "by_skill": {m: {s: sum(row) / len(row) for s, row in by.items()} for m, by in skills.items()},
        "debate minus": {
            other: dict(zip(names, paired(methods[last], methods[other]), strict=True))
            for other in (single, f"pocket:{best}", "first answers, vote", "first answers, confidence-weighted vote")
        },
        "transitions": {
            f"round {r}": {
                f"{'right' if was else 'wrong'}->{'right' if now else 'wrong'}": moves[r, was, now]
                for was in (True, False) for now in (True, False)
            }
            for r in range(1, ROUNDS + 1)
        },
        "turns that adopt a line": followed[True] / max(1, followed.total()),
        "calls per debate": calls / n,
        "seconds": took,
        "cpu": time.process_time() - cpu,
    }  # fmt: skip


def _vote(r: Round, weight: Any, seed: int) -> str | None:
    return plurality(list(r.final.values()), weight=weight, ties="seeded", seed=seed).answer


def speed() -> dict[str, float]:
    """Decoded tokens per CPU second, at batch 1 and 16, prompts included."""
    from agora.models.batching import Job, decode

    class Endless(PocketModel):
        stop_tokens = frozenset()  # type: ignore[assignment]

    model, out = Endless("sum"), {}
    asked = [[Message("user", p.question)] for p in generate(1, 16)]
    for size in (1, 16):
        begun, count = time.process_time(), 0
        while time.process_time() - begun < 2:
            for start in range(0, 16, size):
                jobs = [Job(messages, Settings(), 64) for messages in asked[start : start + size]]
                decode(model, jobs)
                count += sum(len(job.tokens) for job in jobs)
        out[f"batch {size}"] = count / (time.process_time() - begun)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--speed", action="store_true", help="only decoded tokens per CPU second, as JSON")
    options = parser.parse_args()
    if options.speed:
        json.dump(speed(), sys.stdout)
        return
    data = anyio.run(measure, options.n, options.seed)
    # with several threads BLAS spins on matrices this small, and CPU seconds count the spinning
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    timed = subprocess.run([sys.executable, __file__, "--speed"], env=alone, capture_output=True, text=True, check=True)
    data["decoded tokens per CPU second"] = json.loads(timed.stdout)
    if options.json:
        json.dump(data, sys.stdout)
        return
    print(f"{data['problems']} fresh problems, seed {data['seed']}; accuracy in %, 95% intervals\n")
    print(f"| method | accuracy | {' | '.join(SKILLS)} |\n|---|---|{'---|' * len(SKILLS)}")
    for name, row in data["accuracy"].items():
        by = " | ".join(f"{100 * data['by_skill'][name][skill]:.0f}" for skill in SKILLS)
        print(f"| {name} | {100 * row['mean']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}] | {by} |")
    print()
    for name, row in data["debate minus"].items():
        print(
            f"debate minus {name}: {100 * row['mean']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] points"
        )
    for name, counts in data["transitions"].items():
        print(f"{name}: " + ", ".join(f"{move} {count}" for move, count in counts.items()))
    share, calls = 100 * data["turns that adopt a line"], data["calls per debate"]
    print(f"turns that adopt a line: {share:.0f}%; {calls:.0f} calls a debate")
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in data["decoded tokens per CPU second"].items())
    print(f"decoded tokens per CPU second, one BLAS thread: {rates}")


if __name__ == "__main__":
    main()
