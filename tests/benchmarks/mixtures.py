"""What a mixture of the pocket specialists can do, beside its members, their average, and the same without prompts.

    python tests/benchmarks/mixtures.py [-n 400] [--seed 1] [--quick] [--json]

All run in transformers, greedily, on the same fresh problems. The best member is chosen on other problems; prompts are
of other problems too. Intervals are Wilson's 95%; differences are paired. `routed` is the share of tokens of problems
and worked answers that each layer's router sends first to the specialist of the problem's skill; by chance it is 25%.
Adapters are what each specialist differs by from the base, to some rank, beside its weights; the last rows choose
among them for each question (`AdapterChoice`), and `routed` is then the share of questions of which the first is right.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import torch
import transformers

from agora import Message, Settings
from agora.models.huggingface import HuggingFaceModel
from agora.models.pocket import WEIGHTS, tokenizer
from agora.models.pocket.problems import SKILLS, Problem, generate
from agora.weight import AdapterChoice, merge, mixture

Row = list[bool]
PROMPTS = 24  # of an expert
BATCH = 64


def wilson(right: Sequence[bool]) -> dict[str, float]:
    """Share and its 95% interval."""
    n, k, z = len(right), sum(right), 1.959964
    centre, width = (k / n + z * z / (2 * n)), z * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    return {"mean": k / n, "low": (centre - width) / (1 + z * z / n), "high": (centre + width) / (1 + z * z / n)}


def paired(a: Sequence[bool], b: Sequence[bool]) -> dict[str, float]:
    """Mean of a - b over the same problems and its 95% interval (normal)."""
    d = [int(x) - int(y) for x, y in zip(a, b, strict=True)]
    mean = sum(d) / len(d)
    se = math.sqrt(sum((x - mean) ** 2 for x in d) / max(1, len(d) - 1) / len(d))
    return {"mean": mean, "low": mean - 1.96 * se, "high": mean + 1.96 * se}


def load(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


def answers(model: Any, problems: Sequence[Problem]) -> Row:
    """Whether each is answered rightly; prompts of one length are read together, so that none is padded."""
    groups: dict[int, list[int]] = defaultdict(list)
    prompts = [[tokenizer.BOS, *tokenizer.encode(f"Q: {p.question}\nA: ")] for p in problems]
    for i, ids in enumerate(prompts):
        groups[len(ids)].append(i)
    right = [False] * len(problems)
    with torch.inference_mode():
        for length, own in groups.items():
            for start in range(0, len(own), BATCH):
                part = own[start : start + BATCH]
                out = model.generate(
                    torch.tensor([prompts[i] for i in part]), max_new_tokens=64, do_sample=False,
                    eos_token_id=tokenizer.EOS, pad_token_id=tokenizer.PAD,
                )  # fmt: skip
                for i, ids in zip(part, out.tolist(), strict=True):
                    said = tokenizer.decode(ids[length:]).rsplit("Answer: ", 1)
                    right[i] = len(said) == 2 and said[1].strip() == problems[i].answer
    return right


def text(problem: Problem, worked: bool) -> str:
    answer = f"{problem.steps} Answer: {problem.answer}" if worked else ""
    return f"Q: {problem.question}\nA: {answer}"


def routed(model: Any, problems: Sequence[Problem]) -> list[float]:
    """The share of tokens that each layer's router sends first to the specialist of the problem's skill."""
    gates = [layer.mlp.gate.weight for layer in model.model.layers]
    seen: list[Any] = [None] * len(gates)
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, args, i=i: seen.__setitem__(i, args[0][0]))
        for i, layer in enumerate(model.model.layers)
    ]
    right, total = [0] * len(gates), 0
    with torch.inference_mode():
        for p in problems:
            ids = [tokenizer.BOS, *tokenizer.encode(text(p, True))]
            model(torch.tensor([ids]))
            total += len(ids)
            for i, gate in enumerate(gates):
                right[i] += int(((seen[i] @ gate.T).argmax(-1) == SKILLS.index(p.skill)).sum())
    for hook in hooks:
        hook.remove()
    return [count / total for count in right]


def chosen(
    home: Path, rank: int, prompts: dict[str, list[str]], problems: Sequence[Problem]
) -> tuple[dict[str, Row], dict[str, list[float]]]:
    """Answers of adapters alone, of the right one of each problem, and of those that are chosen, and how well."""
    for skill in SKILLS:
        merge({"lora_extract": f"pocket:{skill}", "base": "pocket:base", "rank": rank}, home / skill)
    chat = {"system": "{content}", "user": "<bos>Q: {content}", "assistant": "{content}", "begin": "\nA: "}
    options: dict[str, Any] = {"chat": chat, "dtype": "float32"}
    given = {skill: {"adapter": home / skill, "prompts": prompts[skill]} for skill in SKILLS}
    models: dict[str, Any] = {
        f"adapter {s}, rank {rank}": HuggingFaceModel(WEIGHTS / "base", adapter=home / s, shared=True, **options)
        for s in SKILLS
    }
    for top in (1, 2):
        models[f"adapters chosen, rank {rank}, top {top}"] = AdapterChoice(WEIGHTS / "base", given, top=top, **options)
    rows = {name: anyio.run(_asked, model, problems) for name, model in models.items()}
    rows[f"the adapter of each problem (oracle), rank {rank}"] = [
        rows[f"adapter {p.skill}, rank {rank}"][i] for i, p in enumerate(problems)
    ]
    shares = {
        name: [sum(next(iter(model.shares(p.question))) == p.skill for p in problems) / len(problems)]
        for name, model in models.items() if isinstance(model, AdapterChoice)
    }  # fmt: skip
    return rows, shares


async def _asked(model: Any, problems: Sequence[Problem]) -> Row:
    right = [False] * len(problems)

    async def one(i: int) -> None:
        reply = await model.answer([Message("user", problems[i].question)], Settings(temperature=0, max_tokens=64))
        said = reply.text.rsplit("Answer: ", 1)
        right[i] = len(said) == 2 and said[1].strip() == problems[i].answer

    async with anyio.create_task_group() as group:
        for i in range(len(problems)):
            group.start_soon(one, i)
    return right


def measure(n: int, seed: int, quick: bool) -> dict[str, Any]:
    problems, other = generate(seed, n), generate(seed, 40 if quick else 200, split="train")
    prompts = {
        worked: {
            skill: [text(p, worked) for p in generate(seed + 1, PROMPTS, skills=[skill], split="train")]
            for skill in SKILLS
        }
        for worked in (False, True)
    }
    rows: dict[str, Row] = {}
    shares: dict[str, list[float]] = {}
    made: dict[str, float] = {}
    members = {skill: load(WEIGHTS / skill) for skill in SKILLS}
    score = {skill: sum(answers(model, other)) for skill, model in members.items()}
    best = max(SKILLS, key=score.__getitem__)
    for skill in SKILLS:
        rows[f"pocket:{skill}"] = answers(members[skill], problems)
    rows["pocket:base"] = answers(load(WEIGHTS / "base"), problems)
    rows["the specialist of each problem (oracle)"] = [rows[f"pocket:{p.skill}"][i] for i, p in enumerate(problems)]
    with tempfile.TemporaryDirectory() as scratch:
        average = Path(scratch) / "average"
        merge({"linear": [f"pocket:{skill}" for skill in SKILLS], "dtype": "float32"}, average)
        rows["average"] = answers(load(average), problems)
        ways: list[tuple[str, bool, int, str | None]] = [
            ("zero", False, 4, None), ("random", False, 2, None), ("embedding", False, 2, None),
            ("hidden", False, 2, None), ("hidden", True, 2, None), ("hidden", True, 1, None),
            ("hidden", True, 2, "pocket:base"),
        ]  # fmt: skip
        for router, worked, top, base in ways[3:5] if quick else ways:
            name = f"mixture, {router}{', worked prompts' if worked else ''}, top {top}{', base' if base else ''}"
            experts = {s: {"model": f"pocket:{s}", "prompts": prompts[worked][s]} for s in SKILLS}
            out = Path(scratch) / "mixture"
            begun = time.perf_counter()
            mixture(experts, out, router=router, top=top, base=base, dtype="float32", overwrite=True)
            made[name] = time.perf_counter() - begun
            model = load(out)
            rows[name] = answers(model, problems)
            shares[name] = routed(model, problems[:40])
        asked = {s: [p.question for p in generate(seed + 1, PROMPTS, skills=[s], split="train")] for s in SKILLS}
        for rank in (16,) if quick else (16, 64):
            home = Path(scratch) / f"rank {rank}"
            home.mkdir()
            more, right = chosen(home, rank, asked, problems)
            rows, shares = rows | more, shares | right
    return {
        "problems": n,
        "seed": seed,
        "best member": f"pocket:{best}",
        "accuracy": {name: wilson(row) for name, row in rows.items()},
        "by_skill": {
            name: {s: sum(r for r, p in zip(row, problems, strict=True) if p.skill == s) * 4 / n for s in SKILLS}
            for name, row in rows.items()
        },
        "minus best member": {name: paired(rows[name], rows[f"pocket:{best}"]) for name in ("average", *made, *shares)},
        "minus average": {name: paired(rows[name], rows["average"]) for name in shares},
        "routed": shares,
        "seconds to make": made,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=400, help="problems, a multiple of 4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="40 problems and two mixtures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    data = measure(40 if options.quick else max(4, options.n // 4 * 4), options.seed, options.quick)
    if options.json:
        json.dump(data, sys.stdout)
        return
    print(f"{data['problems']} fresh problems, seed {data['seed']}; accuracy in %, 95% intervals\n")
    print(
        f"| model | accuracy | {' | '.join(SKILLS)} | minus {data['best member']} | minus average | routed, by layer |"
    )
    print(f"|---|---|{'---|' * len(SKILLS)}---|---|---|")

    def points(row: dict[str, float] | None) -> str:
        return f"{100 * row['mean']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" if row else ""

    for name, row in data["accuracy"].items():
        by = " | ".join(f"{100 * data['by_skill'][name][skill]:.0f}" for skill in SKILLS)
        share = " ".join(f"{100 * s:.0f}" for s in data["routed"].get(name, ()))
        print(
            f"| {name} | {100 * row['mean']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}] | {by} | "
            f"{points(data['minus best member'].get(name))} | {points(data['minus average'].get(name))} | {share} |"
        )
    print()
    print("seconds to make: " + ", ".join(f"{name} {s:.2f}" for name, s in data["seconds to make"].items()))


if __name__ == "__main__":
    main()
