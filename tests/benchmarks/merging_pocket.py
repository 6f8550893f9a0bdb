"""What merging is worth on the models in the box: every method of four specialists, beside the specialists.

    python tests/benchmarks/merging_pocket.py [-n 400] [--seed 1] [--json]

`n` fresh problems, the four skills in turn, answered greedily. Intervals are 95%: Wilson's for shares, normal for the
paired difference to the best single model. Settings are the papers' usual ones; nothing was tuned on these problems.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parent))
from pocket import paired, wilson

from agora.models.pocket import NAMES, WEIGHTS, GivenPocketModel, network
from agora.models.pocket.problems import SKILLS, Problem, generate
from agora.weight import Accuracy, merge

EXPERTS = [f"pocket:{name}" for name in SKILLS]
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"linear": EXPERTS},
    "multislerp": {"multislerp": EXPERTS},
    "karcher": {"karcher": EXPERTS},
    "model_stock": {"model_stock": EXPERTS, "base": "pocket:base"},
    "task_arithmetic, weight 0.3": {"task_arithmetic": EXPERTS, "base": "pocket:base", "weight": 0.3},
    "ties, density 0.2": {"ties": EXPERTS, "base": "pocket:base", "density": 0.2},
    "ties, global, density 0.2": {"ties": EXPERTS, "base": "pocket:base", "density": 0.2, "trim": "global"},
    "dare_linear, density 0.5": {"dare_linear": EXPERTS, "base": "pocket:base", "density": 0.5, "weight": 0.3},
    "dare_ties, density 0.5": {
        "dare_ties": EXPERTS, "base": "pocket:base", "density": 0.5, "normalize": True},
    "della, density 0.5": {"della": EXPERTS, "base": "pocket:base", "density": 0.5},
    "breadcrumbs, density 0.9": {"breadcrumbs": EXPERTS, "base": "pocket:base", "density": 0.9, "weight": 0.3},
}  # fmt: skip


def right(folder: Path, problems: list[Problem]) -> list[bool]:
    """Which problems a checkpoint answers rightly."""
    model = GivenPocketModel(network.load(folder), folder.name, str(folder))
    return anyio.run(Accuracy(problems).rows, model)


def measure(n: int, seed: int) -> dict[str, Any]:
    """Shares of right answers, by model and skill; the best single model is chosen on other problems."""
    problems, others = generate(seed, n), generate(seed, 200, split="train")
    rows = {f"pocket:{name}": right(WEIGHTS / name, problems) for name in NAMES}
    best = "pocket:" + max(NAMES, key=lambda name: sum(right(WEIGHTS / name, others)))
    with tempfile.TemporaryDirectory() as home:
        for number, (name, recipe) in enumerate(RECIPES.items()):
            rows[name] = right(merge(recipe, Path(home) / str(number)).folder, problems)
    by_skill = {
        name: {skill: sum(r for r, p in zip(row, problems, strict=True) if p.skill == skill) * len(SKILLS) / n
               for skill in SKILLS}
        for name, row in rows.items()
    }  # fmt: skip
    return {
        "problems": n, "seed": seed, "best": best, "by_skill": by_skill,
        "right": {name: wilson(row) for name, row in rows.items()},
        "minus_best": {name: paired(row, rows[best]) for name, row in rows.items()},
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.n, given.seed)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.n} problems, seed {given.seed}\n")
    print(
        f"{'model':30} {'right':>6} {'(95%)':>13} {'minus ' + found['best']:>24}  {' '.join(f'{s:>5}' for s in SKILLS)}"
    )
    for name, (share, low, high) in found["right"].items():
        mean, least, most = found["minus_best"][name]
        each = " ".join(f"{found['by_skill'][name][skill]:5.2f}" for skill in SKILLS)
        minus, around = f"{mean:+.3f} ({least:+.3f} {most:+.3f})", f"{low:.3f}-{high:.3f}"
        print(f"{name:30} {share:6.3f} {around:>13} {minus:>24}  {each}")


if __name__ == "__main__":
    main()
