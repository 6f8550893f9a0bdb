"""What simulating debates takes: debates a second and memory, beside the real engine holding the same debates; and how
well it predicts debates of the pocket models, fitted on half of them, on the other half.

python tests/benchmarks/simulate.py [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPEATS = 5


def _memory() -> float:
    """Peak memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _debate(agents: int, topology: Any, last: int) -> Any:
    from agora import Agent, Debate, Moderator, ScriptedModel
    from agora.text.stop import rounds, unanimous

    model = ScriptedModel("Answer: 1")
    group = [Agent(f"agent {i}", model) for i in range(agents)]
    return Debate(group, topology=topology, answer="number", moderator=Moderator(unanimous() | rounds(last)))


def simulated(agents: int, topology: Any, last: int, n: int, options: dict[str, Any]) -> list[float]:
    """Wall seconds of each repeat, peak MB before and after, and the debates there were."""
    from agora.simulate import Population, simulate

    debate, people = _debate(agents, topology, last), Population(0.6, **options)
    before, took = _memory(), []
    simulate(debate, people, n=1)
    for seed in range(REPEATS):
        begun = time.perf_counter()
        simulate(debate, people, n=n, seed=seed)
        took.append(time.perf_counter() - begun)
    return [*took, before, _memory()]


def held(n: int) -> list[float]:
    """The same by the engine: five agents of the same rule, who cost nothing."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "simulate"))
    from believers import Believers

    from agora.simulate import Population

    debate, people = _debate(5, "complete", 3), Population(0.6, 0.3, conformity=0.5)
    before, took = _memory(), []
    for seed in range(REPEATS):
        begun = time.perf_counter()
        Believers(debate, people, seed).hold(n)
        took.append(time.perf_counter() - begun)
    return [*took, before, _memory()]


def pocket(problems_: int, seed: int) -> dict[str, Any]:
    """Debates of the four pocket specialists, decided by plurality: fitted on one half, predicted on the other."""
    import anyio

    from agora.config import load
    from agora.models.pocket import problems
    from agora.simulate import fit, how_well, record_of, simulate

    quick = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
    debate, _ = load(quick, ["moderator.decide=plurality"])
    asked = problems.generate(seed, problems_)

    async def hold() -> list[Any]:
        return [await debate.answer(problem.question) for problem in asked]

    verdicts = anyio.run(hold)
    records = [record_of(verdict, problem.answer) for verdict, problem in zip(verdicts, asked, strict=True)]
    half = problems_ // 2
    found = fit(records[:half])
    made = simulate(debate, found.population, n=50_000)
    calls = statistics.fmean(verdict.usage.calls for verdict in verdicts[half:])
    return {
        "rounds": [asdict(check) for check in how_well(made, records[half:])], "unexplained": found.unexplained,
        "calls_predicted": made.calls.mean, "calls_observed": calls, "population": asdict(found.population),
    }  # fmt: skip


def _child(function: Callable[..., Any], *args: Any) -> list[float]:
    """Figures of a fresh process: memory is measured where nothing else has been."""
    here = str(Path(__file__).parent)
    script = f"import sys, json; sys.path.insert(0, {here!r}); import simulate; "
    script += f"print(json.dumps(simulate.{function.__name__}(*{args!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


CASES: list[tuple[str, int, tuple[Any, ...]]] = [
    ("5 agents, complete, 3 rounds", 100_000, (5, "complete", 3, 100_000, {"correlation": 0.3, "conformity": 0.5})),
    ("the same with beliefs", 100_000, (5, "complete", 3, 100_000, {"conformity": 0.2, "concentration": 4.0})),
    ("50 agents, small world, 5 rounds", 10_000,
     (50, {"small_world": {"k": 4, "p": 0.1}}, 5, 10_000, {"correlation": 0.3, "conformity": 0.5})),
    ("100,000 agents, small world of 6, 10 rounds", 1,
     (100_000, {"small_world": {"k": 6, "p": 0.1}}, 10, 1, {"conformity": 0.5})),
    ("100,000 agents, complete, 10 rounds", 1, (100_000, "complete", 10, 1, {"conformity": 0.5})),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--problems", type=int, default=400, help="debated by the pocket models, half of them fitted on"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = {name: (n, _child(simulated, *args)) for name, n, args in CASES}
    rows["the engine: 5 agents, complete, 3 rounds"] = (200, _child(held, 200))
    figures = {
        name: {
            "debates": n, "seconds": statistics.median(took[:-2]), "least": min(took[:-2]), "most": max(took[:-2]),
            "debates_per_second": n / statistics.median(took[:-2]), "mb_before": took[-2], "mb_peak": took[-1],
        }
        for name, (n, took) in rows.items()
    }  # fmt: skip
    well = pocket(options.problems, options.seed)
    if options.json:
        print(json.dumps({"cost": figures, "pocket": well}))
        return
    print(f"{'':46}{'debates':>9}{'seconds':>9}  {'[least, most]':16}{'debates/s':>11}{'MB before':>11}{'peak':>7}")
    for name, f in figures.items():
        spread = f"[{f['least']:.3f}, {f['most']:.3f}]"
        print(f"{name:46}{f['debates']:>9,}{f['seconds']:>9.3f}  {spread:16}{f['debates_per_second']:>11,.1f}"
              f"{f['mb_before']:>11.0f}{f['mb_peak']:>7.0f}")  # fmt: skip
    print(f"\npocket debates: fitted on {options.problems // 2}, predicted on the others")
    for c in well["rounds"]:
        print(f"  vote after round {c['round']}: predicted {c['predicted']:.3f} [{c['low']:.3f}, {c['high']:.3f}], "
              f"observed {c['observed']:.3f}: {'holds' if c['holds'] else 'does NOT hold'}")  # fmt: skip
    print(f"  calls: predicted {well['calls_predicted']:.2f}, observed {well['calls_observed']:.2f}; changes of answer "
          f"that the population cannot make: {well['unexplained']:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
