"""Routers and cascades: what training and choosing take, and what they are worth on the models in the box.

    python tests/benchmarks/routing.py [-n 600] [--seed 1] [--json]

Training: 20,000 synthetic prompts of 8 topics with outcomes of 5 models. Worth: `n` fresh problems, half to train and
calibrate on, half to measure on; every member costs one call, so a router has one call an answer, as one model has.
Intervals are 95%: Wilson's for shares, normal for paired differences.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from pocket import paired, wilson

from agora import Agent, Debate, Message, Moderator, Protocol, Settings, View, Vote
from agora.answers import Number, extract
from agora.api import metrics, outcomes, routerfile, train
from agora.api.cascade import AtLeast, Cascade, Stage
from agora.api.defer import Deferred, Mentored, Nudged, Switched
from agora.api.outcomes import Outcome, Table
from agora.api.route import Expected, Router
from agora.api.scorers import FITS
from agora.api.stages import calibrate, observe
from agora.models.pocket import NAMES, PocketModel
from agora.models.pocket.problems import Problem, generate
from agora.text.stop import rounds, unanimous

TOPICS = 8


def synthetic(n: int, models: int, seed: int = 0) -> Table:
    """Prompts of topics; each model is good at some."""
    draw = np.random.default_rng(seed)
    skill = draw.random((TOPICS, models))
    words = [[f"t{t}w{i}" for i in range(40)] for t in range(TOPICS)]
    common = [f"c{i}" for i in range(200)]
    topics = draw.integers(0, TOPICS, n)
    prompts = tuple(
        " ".join([*draw.choice(words[t], 8), *draw.choice(common, 12), str(i)]) for i, t in enumerate(topics)
    )
    scores = (draw.random((n, models)) < skill[topics]).astype(float)
    costs = np.broadcast_to(0.001 * 2.0 ** np.arange(models), scores.shape).copy()
    return Table(prompts, tuple(f"m{j}" for j in range(models)), scores, costs, True)


async def speed() -> list[dict[str, Any]]:
    """CPU seconds of training, milliseconds of one decision, bytes of the file."""
    table, rows = synthetic(20_000, 5), []
    test = synthetic(1000, 5, seed=0).rows(range(1000))
    for method in FITS:
        begun = time.process_time()
        learnt = await train.train(table, method)
        trained = time.process_time() - begun
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "router.safetensors"
            routerfile.save(learnt, path)
            size = path.stat().st_size
        times = []
        for prompt in test.prompts[:200]:
            begun = time.process_time()
            scores = learnt.scorer.scores(await learnt.features.vectors([prompt]))
            metrics.choose(scores, learnt.costs, 0.0)
            times.append(1000 * (time.process_time() - begun))
        rows.append({"method": method, "train_cpu_s": trained, "choose_ms": statistics.median(times),
                     "choose_ms_p95": float(np.quantile(times, 0.95)), "file_mb": size / 1e6})  # fmt: skip
    return rows


async def answers(problems: Sequence[Problem]) -> dict[str, list[tuple[bool, float]]]:
    """Of each member: whether it is right, and how sure."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for name in NAMES:
        model, rows = PocketModel(name), []
        for problem in problems:
            reply = await model.answer([Message("user", problem.question)])
            answer = extract(Number(), reply)
            rows.append((answer.value == problem.answer, answer.confidence or 0.0))
        found[name] = rows
    return found


def panel() -> Debate:
    """The debate of the quick start."""
    agents = [Agent(name, PocketModel(name)) for name in ("sum", "mul", "sort", "mod")]
    return Debate(
        agents, protocol=Protocol(view=View(text="answer", own="peer", confidence=True)),
        moderator=Moderator(unanimous() | rounds(2), Vote(weight="confidence")), answer="number", name="debate",
    )  # fmt: skip


async def worth(n: int, seed: int) -> dict[str, Any]:
    problems = generate(seed, n)
    half = len(problems) // 2
    fit, test = problems[:half], problems[half:]
    given = await answers(problems)
    records = [Outcome(p.question, name, float(given[name][i][0]), 1.0) for i, p in enumerate(fit) for name in NAMES]
    table = outcomes.table(records)
    best = max(NAMES, key=lambda name: sum(right for right, _ in given[name][:half]))
    rows: dict[str, list[bool]] = {name: [right for right, _ in given[name][half:]] for name in NAMES}
    rows["oracle (any member right)"] = [any(given[name][half + i][0] for name in NAMES) for i in range(len(test))]
    for method in FITS:
        learnt = await train.train(table, method)
        router = Router(
            {f"pocket:{n}": PocketModel(n) for n in NAMES}, Expected(learnt, {f"pocket:{n}": n for n in NAMES})
        )
        row = []
        for problem in test:
            reply = await router.answer([Message("user", problem.question)], Settings())
            row.append(extract(Number(), reply).value == problem.answer)
        rows[f"route by {method}"] = row
    debate = panel()
    held = [await debate.answer(problem.question) for problem in test]
    rows["debate"] = [v.answer == p.answer for v, p in zip(held, test, strict=True)]
    debate_calls = statistics.fmean(v.usage.calls for v in held)

    learnt = await train.train(table, "knn")
    routed = Router({n: PocketModel(n) for n in NAMES}, Expected(learnt, {n: n for n in NAMES}), name="router")
    cascades: dict[str, Any] = {}
    for label, first in ((f"pocket:{best}, then debate", PocketModel(best)), ("knn router, then debate", routed)):
        drawn = Cascade([Stage(first, AtLeast("confidence", 0.5)), Stage(panel())], answer="number")
        truth = {p.question: p.answer for p in fit}
        seen = await observe(
            drawn, [p.question for p in fit],
            lambda question, a, truth=truth: float(extract(Number(), a.reply).value == truth[question]),
            lambda stage, a: a.confidence,
        )  # fmt: skip
        alone = float(seen.right[:, -1].mean())
        chosen = calibrate(seen, accuracy=alone)  # as right as the debate on the half to calibrate on
        made = Cascade([Stage(first, AtLeast("confidence", chosen.thresholds[0])), Stage(panel())], answer="number")
        replies = [await made.answer([Message("user", p.question)]) for p in test]
        rows[label] = [extract(Number(), r).value == p.answer for r, p in zip(replies, test, strict=True)]
        calls = statistics.fmean(r.usage.calls for r in replies)
        cascades[label] = {
            "threshold": chosen.thresholds[0], "calls": calls, "share_of_debate_calls": calls / debate_calls,
            "escalated": statistics.fmean(r.route is not None and r.route[0] == "debate" for r in replies),
        }  # fmt: skip
    compare = [("route by knn", best), ("route by knn", "oracle (any member right)"),
               *((label, "debate") for label in cascades)]  # fmt: skip
    return {
        "problems": len(test), "best_single": best, "debate_calls": debate_calls, "cascades": cascades,
        "accuracy": {name: wilson(row) for name, row in rows.items()},
        "differences": {f"{a} minus {b}": paired(rows[a], rows[b]) for a, b in compare},
    }  # fmt: skip


async def together(n: int, seed: int) -> dict[str, Any]:
    """Two models that write one text: the share that is right, and milliseconds an answer."""
    sum_, mul = PocketModel("sum"), PocketModel("mul")
    problems = generate(seed, n // 2, skills=("sum", "mul"))
    models: dict[str, Any] = {
        "sum alone": sum_, "mul alone": mul, "nudged 0.4": Nudged(sum_, mul), "nudged 0.9": Nudged(sum_, mul, 0.9),
        "deferred 0.3": Deferred(sum_, mul, 0.3), "mentored 0.25": Mentored(sum_, mul),
        "switched, spans of 25": Switched({"sum": sum_, "mul": mul}),
    }  # fmt: skip
    found = {}
    for name, model in models.items():
        begun, right = time.perf_counter(), []
        for problem in problems:
            reply = await model.answer([Message("user", problem.question)])
            right.append(extract(Number(), reply).value == problem.answer)
        found[name] = (*wilson(right), 1000 * (time.perf_counter() - begun) / len(problems))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    timed = anyio.run(speed)
    found = anyio.run(worth, args.n, args.seed)
    written = anyio.run(together, args.n, args.seed)
    if args.json:
        print(json.dumps({"speed": timed, **found, "together": written}))
        return
    print("20,000 prompts x 5 models            train CPU s  choose ms (p95)   file MB")
    for row in timed:
        print(f"{row['method']:36} {row['train_cpu_s']:11.2f}  {row['choose_ms']:6.2f} ({row['choose_ms_p95']:.2f})"
              f"   {row['file_mb']:9.1f}")  # fmt: skip
    print(f"\n{found['problems']} problems, accuracy in %")
    for name, (share, low, high) in found["accuracy"].items():
        print(f"{name:36} {100 * share:5.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    for name, (mean, low, high) in found["differences"].items():
        print(f"{name:60} {100 * mean:+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points")
    for name, row in found["cascades"].items():
        print(f"{name}: {row['calls']:.2f} calls an answer, {100 * row['share_of_debate_calls']:.0f}% of the debate's "
              f"{found['debate_calls']:.2f}; {100 * row['escalated']:.0f}% go to the debate; threshold "
              f"{row['threshold']:.3f}")  # fmt: skip
    print(f"\ntwo that write one text, base sum and other mul, {args.n // 2} problems of both: accuracy in %, ms")
    for name, (share, low, high, ms) in written.items():
        print(f"{name:36} {100 * share:5.1f} [{100 * low:.1f}, {100 * high:.1f}] {ms:6.1f}")


if __name__ == "__main__":
    main()
