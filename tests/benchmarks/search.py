"""What searching for merges finds on the pocket models, and what a search costs beside its scoring.

    python tests/benchmarks/search.py [-n 400] [--dev 100] [--evaluations 40] [--seed 1]
                                      [--speed | --accuracy] [--quick] [--json]

Accuracy: every search over merges of the four specialists, guided by a dev set alone, then reported on fresh problems
that no search has seen: Wilson's 95% intervals, and paired differences to the best single model (best on the dev set),
to the plain average and to a random search of as many evaluations. The specialists have drifted from their base, so
that merging them is expected to lose; what is shown is shown either way.

Speed: evaluations per minute and CPU seconds of a whole search (candidates built, history synced to disk) beside the
same candidates, built beforehand, scored by the same function in the same way; in turns, medians. Aim: 20% at most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from pocket import paired, wilson

from agora.models.pocket.problems import SKILLS, generate
from agora.weight.searching import Accuracy, Found, Likelihood, Parameters, WeightedSum, search_async

MODELS = [f"pocket:{skill}" for skill in SKILLS]
BASE = "pocket:base"
Interval = tuple[float, float, float]


def ties() -> Parameters:
    """TIES with a weight and a density of each specialist, and a factor for either half of the layers."""
    number = {"weight": {"search": [0.0, 1.5]}, "density": {"search": [0.1, 1.0]}}
    scale = [{"search": [0.2, 1.5]}, {"search": [0.2, 1.5]}]
    return Parameters({"ties": dict.fromkeys(MODELS, number), "base": BASE, "lambda": scale})


def routes() -> Parameters:
    """Which model each of the four layers is from."""
    either = {"choose": [*MODELS, BASE]}
    slices = [{"sources": [{"model": either, "layer_range": [i, i + 1]}]} for i in range(4)]
    return Parameters({"merge_method": "passthrough", "slices": slices})


def wide() -> WeightedSum:
    """Weights as LoraHub has them."""
    return WeightedSum(MODELS, BASE, low=-1.5, high=1.5)


async def accuracy(n: int, dev: int, evaluations: int, seed: int) -> dict[str, Any]:
    own = generate(seed, dev, split="train")
    score, fresh = Accuracy(own), Accuracy(generate(seed, n))
    likely = Likelihood([(p.question, f"{p.steps} Answer: {p.answer}") for p in own[: max(8, dev // 4)]])
    library = find_spec("cma") is not None
    few: dict[str, Any] = {"particles": 8}  # of a swarm, as the budget is small
    ways: list[tuple[Any, ...]] = [
        ("greedy soup", WeightedSum(MODELS), score, "greedy_soup"),
        ("coordinate search of weights", WeightedSum(MODELS, BASE), score, "coordinate"),
        ("model swarm", WeightedSum(MODELS, BASE), score, "swarm", few),
        ("model swarm, by likelihood", WeightedSum(MODELS, BASE), likely, "swarm", few),
    ]
    if library:
        ways += [
            ("evolution of weights", WeightedSum(MODELS, BASE), score, "evolution"),
            ("evolution of TIES", ties(), score, "evolution"),
            ("evolution of layer routes", routes(), score, "evolution"),
            ("LoraHub's search, by likelihood", wide(), likely, "lorahub"),
        ]
    rows: dict[Any, list[bool]] = {}

    async def told(space: Any, key: Any) -> list[bool]:
        """Right answers of a candidate on the fresh problems."""
        name = space.identity, key
        if name not in rows:
            made, release = await anyio.to_thread.run_sync(space.build, key)
            rows[name] = await fresh.rows(made)
            release()
        return rows[name]

    plain = WeightedSum(MODELS, BASE)
    members = {name: await told(plain, key) for name, key in plain.members.items()}
    average = await told(plain, plain.average)
    on_dev = {name: await score(plain.build(key)[0]) for name, key in plain.members.items()}
    single = members[max(on_dev, key=on_dev.__getitem__)]
    methods: dict[str, Any] = {}
    for label, space, guide, how, *more in ways:
        options = more[0] if more else {}
        found: Found = await search_async(space, guide, how, evaluations=evaluations, seed=seed, **options)
        assert found.single is not None
        assert found.random is not None
        right, drawn = await told(space, found.best.key), await told(space, found.random.key)
        methods[label] = {
            "evaluations": found.evaluations,
            "stopped": found.stopped,
            "best": {name: round(v, 3) if isinstance(v, float) else v for name, v in found.values.items()},
            "score on dev": {
                "found": found.score, "single": found.single.score,
                "average": found.average.score if found.average else None,
                "random": found.random.score,
            },
            "fresh": wilson(right),
            "random, fresh": wilson(drawn),
            "minus single": paired(right, single),
            "minus average": paired(right, average),
            "minus random": paired(right, drawn),
            "seconds": found.seconds,
        }  # fmt: skip
    return {
        "problems": n, "dev": dev, "budget": evaluations, "seed": seed, "cma": library,
        "members": {name: wilson(row) for name, row in members.items()},
        "average": wilson(average),
        "any member right (oracle)": wilson([any(right) for right in zip(*members.values(), strict=True)]),
        "methods": methods,
    }  # fmt: skip


# ---- speed


async def scoring(models: Sequence[Any], score: Accuracy, together: int) -> None:
    """The same models scored, as many at a time as a search does."""
    for begin in range(0, len(models), together):
        async with anyio.create_task_group() as group:
            for model in models[begin : begin + together]:
                group.start_soon(score, model)


async def speed(count: int, problems: int, repeats: int) -> dict[str, Any]:
    score = Accuracy(generate(5, problems, split="train"))
    made: dict[str, Any] = {}
    for together in (1, 2):
        space = WeightedSum(MODELS, BASE, together=together)
        rng = np.random.default_rng([0, 0])
        batch = -(-count // 8) * 8
        points = [space.sample(rng) for _ in range(batch)][:count]
        models = [space.build(point)[0] for point in points]
        took: dict[str, list[tuple[float, float]]] = {"search": [], "scoring": []}
        for repeat in range(repeats + 1):
            order = ("scoring", "search") if repeat % 2 else ("search", "scoring")
            for what in order:
                wall, cpu = time.perf_counter(), time.process_time()
                if what == "scoring":
                    await scoring(models, score, together)
                else:
                    with tempfile.TemporaryDirectory() as place:
                        found = await search_async(space, score, "random", evaluations=count, beside=False,
                                                   history=Path(place) / "history.jsonl")  # fmt: skip
                    assert [trial.key for trial in found.trials] == points
                if repeat:  # the first of either warms up
                    took[what].append((time.perf_counter() - wall, time.process_time() - cpu))
        walls = {what: statistics.median(wall for wall, _ in rows) for what, rows in took.items()}
        cpus = {what: statistics.median(cpu for _, cpu in rows) for what, rows in took.items()}
        begun = time.process_time()
        for point in points:
            space.build(point)[1]()
        made[f"{together} at a time"] = {
            "evaluations per minute": 60 * count / walls["search"],
            "scorings per minute": 60 * count / walls["scoring"],
            "wall over scoring": walls["search"] / walls["scoring"] - 1,
            "cpu over scoring": cpus["search"] / cpus["scoring"] - 1,
            "wall spread": {what: (min(w for w, _ in rows), max(w for w, _ in rows)) for what, rows in took.items()},
            "ms to build a candidate": 1000 * (time.process_time() - begun) / count,
        }
    return {"candidates": count, "problems": problems, "repeats": repeats, "rows": made}


# ---- table


def shown(found: Interval) -> str:
    return f"{100 * found[0]:.1f} [{100 * found[1]:.1f}, {100 * found[2]:.1f}]"


def signed(found: Interval) -> str:
    return f"{100 * found[0]:+.1f} [{100 * found[1]:+.1f}, {100 * found[2]:+.1f}]"


def report(data: dict[str, Any]) -> None:
    if "accuracy" in data:
        made = data["accuracy"]
        print(f"{made['problems']} fresh problems, dev set of {made['dev']}, at most {made['budget']} evaluations, "
              f"seed {made['seed']}; in %, 95% intervals\n")  # fmt: skip
        print("| | fresh | minus best single | minus average | minus random | dev: found/single/average/random | n |")
        print("|---|---|---|---|---|---|---|")
        for name, row in made["members"].items():
            print(f"| {name} | {shown(row)} | | | | | |")
        print(f"| plain average | {shown(made['average'])} | | | | | |")
        print(f"| any member right (oracle) | {shown(made['any member right (oracle)'])} | | | | | |")
        for name, row in made["methods"].items():
            on_dev = " / ".join("-" if v is None else f"{v:.3f}" for v in row["score on dev"].values())
            print(f"| {name} | {shown(row['fresh'])} | {signed(row['minus single'])} | {signed(row['minus average'])} "
                  f"| {signed(row['minus random'])} | {on_dev} | {row['evaluations']} |")  # fmt: skip
        if not made["cma"]:
            print("\ncma is not installed: no evolution, no LoraHub")
        print()
    if "speed" in data:
        made = data["speed"]
        print(f"{made['candidates']} candidates scored on {made['problems']} problems, medians of {made['repeats']}\n")
        print(
            "| | evaluations / min | scoring alone / min | more wall | more CPU | building, CPU ms |\n|---|"
            + "---|" * 5
        )
        for name, row in made["rows"].items():
            print(f"| {name} | {row['evaluations per minute']:.0f} | {row['scorings per minute']:.0f} | "
                  f"{100 * row['wall over scoring']:+.1f}% | {100 * row['cpu over scoring']:+.1f}% | "
                  f"{row['ms to build a candidate']:.1f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=400, help="fresh problems")
    parser.add_argument("--dev", type=int, default=100, help="problems that guide the searches")
    parser.add_argument("--evaluations", type=int, default=40, help="budget of each search")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", action="store_true", help="only that")
    parser.add_argument("--accuracy", action="store_true", help="only that")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.n, options.dev, options.evaluations = 40, 12, 6
    data: dict[str, Any] = {}
    if not options.speed:
        data["accuracy"] = anyio.run(accuracy, options.n, options.dev, options.evaluations, options.seed)
    if not options.accuracy:
        data["speed"] = anyio.run(speed, *((6, 12, 1) if options.quick else (24, 60, 5)))
    if options.json:
        json.dump(data, sys.stdout)
    else:
        report(data)


if __name__ == "__main__":
    main()
