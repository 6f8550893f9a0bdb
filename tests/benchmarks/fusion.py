"""What fusing next-token distributions gives on the pocket models, and what it costs beside its members alone.

    python tests/benchmarks/fusion.py [-n 400] [--seed 1] [--speed | --accuracy] [--quick] [--json]

Accuracy: on fresh problems of every skill, and of those that need two ('mix'), each way to fuse beside the members, a
vote of four samples of the best member and votes of the members' answers, which take as many forward passes; the best
member and learnt weights are of other problems. Wilson's 95% intervals, paired differences.

Speed (needs torch, else the pocket models alone are timed): CPU seconds on one thread of three members fused against
the sum of the three alone, at batch 1 and 8 and prompts of 64 and 1,024 tokens, greedy; beside it transformers'
`generate` with a logits processor that runs the other two. The members are random Llamas of 42 million parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from pocket import paired, voted, wilson

from agora import Message, Settings
from agora.answers import Number, extract
from agora.logit import contrast, defer, drafted, fuse, learn, proxy
from agora.model import Model, Prompt, TokenSession
from agora.models.batching import Job, decode
from agora.models.local import LocalModel
from agora.models.pocket import PocketModel
from agora.models.pocket.problems import ALL_SKILLS, SKILLS, Problem, generate
from agora.records import Answer

# ---- accuracy ---------------------------------------------------------------------------------------------------


async def answers(model: Model, problems: Sequence[Problem], settings: Settings = Settings()) -> list[Answer]:
    found: dict[int, Answer] = {}

    async def one(i: int) -> None:
        wanted = settings if settings.seed is None else settings.seeded(settings.seed + 1000 * i)
        found[i] = extract(Number(), await model.answer([Message("user", problems[i].question)], wanted))

    for begin in range(0, len(problems), 64):
        async with anyio.create_task_group() as group:
            for i in range(begin, min(begin + 64, len(problems))):
                group.start_soon(one, i)
    return [found[i] for i in range(len(problems))]


async def accuracy(n: int, seed: int) -> dict[str, Any]:
    problems = generate(seed, n, ALL_SKILLS)
    other = generate(seed, 200, ALL_SKILLS, split="train")
    members = [PocketModel(name) for name in SKILLS]
    base, named = PocketModel("base"), dict(zip(SKILLS, members, strict=True))
    dev = {
        m.name: sum(a.value == p.answer for a, p in zip(await answers(m, other), other, strict=True)) for m in members
    }
    best = max(members, key=lambda m: dev[m.name])
    examples = [([Message("user", p.question)], f"{p.steps} Answer: {p.answer}") for p in other[:100]]
    average, product = learn(members, examples), learn(members, examples, "product")
    rows: dict[str, list[bool]] = {}
    cost: dict[str, float] = {}

    def note(name: str, values: Sequence[str | None], passes: float) -> None:
        rows[name] = [value == p.answer for value, p in zip(values, problems, strict=True)]
        cost[name] = passes

    alone = {m.name: await answers(m, problems) for m in [base, *members]}
    for name, found in alone.items():
        note(name, [a.value for a in found], 1)
    by_member = list(zip(*(alone[m.name] for m in members), strict=True))
    note("any member right (oracle)", [p.answer if any(a.value == p.answer for a in row) else None
                                       for row, p in zip(by_member, problems, strict=True)], 4)  # fmt: skip
    note("vote of the members", [voted(row, seed=i) for i, row in enumerate(by_member)], 4)
    note("confidence-weighted vote of the members", [voted(r, "confidence", i) for i, r in enumerate(by_member)], 4)
    many = [await answers(best, problems, Settings(temperature=0.8, seed=k)) for k in range(4)]
    single = f"self-consistency of {best.name}, 4 samples"
    note(single, [voted(row, seed=i) for i, row in enumerate(zip(*many, strict=True))], 4)
    lead = [best, *(m for m in members if m is not best)]
    ways: list[tuple[str, Model, float]] = [
        *((f"fuse, {by}", fuse(members, by), 4) for by in ("average", "geometric", "product", "min", "max", "surest")),
        (f"fuse, average, learnt weights ({_shown(average)})", fuse(members, weights=average), 4),
        (f"fuse, product, learnt weights ({_shown(product)})", fuse(members, "product", weights=product), 4),
        ("fuse, average, weights by perplexity", fuse(members, weights="perplexity", tau=0.1), 4),
        ("fuse, average, where the first is below .9", fuse(lead, sure=0.9), 4),
        ("fuse, surest, where the first is below .9", fuse(lead, "surest", sure=0.9), 4),
        ("fuse, average, over text, top 10", fuse(members, over="text"), 4),
        ("defer to mul where sum is below .9", defer(named["sum"], named["mul"], 0.9), 2),
        ("proxy: base + (sum - base)", proxy(base, named["sum"], base), 3),
        ("proxy: sum + (mul - base)", proxy(named["sum"], named["mul"], base), 3),
        ("contrast: sum against base", contrast(named["sum"], base), 2),
        ("fuse, surest, drafted by base", drafted(fuse(members, "surest"), base), 4),
    ]
    for name, model, passes in ways:
        note(name, [a.value for a in await answers(model, problems)], passes)
    skill = {s: [i for i, p in enumerate(problems) if p.skill == s] for s in ALL_SKILLS}
    return {
        "problems": n,
        "seed": seed,
        "best member on other problems": best.name,
        "methods": {
            name: {
                "passes a token": cost[name],
                **dict(zip(("mean", "low", "high"), wilson(row), strict=True)),
                "mix": dict(zip(("mean", "low", "high"), wilson([row[i] for i in skill["mix"]]), strict=True)),
                "minus best": dict(zip(("mean", "low", "high"), paired(row, rows[best.name]), strict=True)),
                "minus self-consistency": dict(zip(("mean", "low", "high"), paired(row, rows[single]), strict=True)),
                "skills": {s: sum(row[i] for i in at) / len(at) for s, at in skill.items()},
            }
            for name, row in rows.items()
        },
    }


def _shown(weights: Sequence[float]) -> str:
    return " ".join(f"{w:.2f}".lstrip("0") for w in weights)


# ---- speed ------------------------------------------------------------------------------------------------------


class Given(LocalModel):
    """A session's model whose prompts are given as numbers: 'SEED LENGTH'."""

    name = "given"
    vocabulary: list[str] = []
    stop_tokens: frozenset[int] = frozenset()

    def __init__(self, begin: Callable[[], TokenSession], size: int) -> None:
        self._begin, self.vocabulary = begin, [f"t{i}" for i in range(size)]  # type: ignore[misc]

    def encode(self, messages: Sequence[Message]) -> Prompt:
        seed, length = map(int, messages[-1].content.split())
        return [int(i) for i in np.random.default_rng(seed).integers(4, len(self.vocabulary), length)]

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(self.vocabulary[t] for t in tokens)

    def session(self) -> TokenSession:
        return self._begin()


def cpu(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and spread (greatest minus least) of CPU seconds."""
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return statistics.median(found), max(found) - min(found)


def timed(
    models: Sequence[LocalModel], batch: int, prompt: int, new: int, repeats: int, times: int = 1
) -> dict[str, float]:
    """Three alone and fused, in turn, so that both see the same machine."""

    def run(model: LocalModel) -> None:
        for _ in range(times):
            jobs = [Job([Message("user", f"{i} {prompt}")], Settings(max_tokens=new), new) for i in range(batch)]
            decode(model, jobs)
            assert all(job.error is None and len(job.tokens) == new for job in jobs)

    row: dict[str, float] = {"batch": batch, "prompt": prompt, "new": new}
    ensembles = {"average": fuse(models), "product": fuse(models, "product")}
    run(models[0])
    each, fused = [], {name: [] for name in ensembles}  # type: ignore[var-annotated]
    for _ in range(repeats):
        each.append(sum(cpu(lambda m=model: run(m), 1)[0] for model in models))  # type: ignore[misc]
        for name, model in ensembles.items():
            fused[name].append(cpu(lambda m=model: run(m), 1)[0])  # type: ignore[arg-type,misc]
    row["alone, sum"] = statistics.median(each)
    for name, found in fused.items():
        row[name] = statistics.median(found)
        ratios = [a / b for a, b in zip(found, each, strict=True)]
        row[f"{name} / alone"], row[f"{name} spread"] = statistics.median(ratios), max(ratios) - min(ratios)
    return row


def together(model: LocalModel, answers: int, prompt: int, new: int, repeats: int) -> dict[str, float]:
    """Answers of one model decoded one after another, and all at once."""

    def run(size: int) -> None:
        for begin in range(0, answers, size):
            asked = [[Message("user", f"{i} {prompt}")] for i in range(begin, begin + size)]
            decode(model, [Job(messages, Settings(max_tokens=new), new) for messages in asked])

    one, at_once = [cpu(lambda size=size: run(size), repeats)[0] for size in (1, answers)]  # type: ignore[misc]
    longest = cpu(
        lambda: decode(model, [Job([Message("user", f"0 {prompt}")], Settings(max_tokens=new), new)]), repeats
    )
    return {"answers": answers, "one by one": one, "at once": at_once, "one alone": longest[0]}


def _pockets() -> list[Given]:
    from agora.models.pocket import WEIGHTS, network

    return [
        Given(lambda name=name: network.Session(network.load(WEIGHTS / name)), len(PocketModel("sum").vocabulary))  # type: ignore[misc]
        for name in ("sum", "mul", "sort")
    ]


def pocket_speed(repeats: int) -> list[dict[str, float]]:
    models = _pockets()
    return [timed(models, batch, prompt, 64, repeats, 16 // batch) for batch in (1, 8) for prompt in (64, 300)]


def llama_speed(quick: bool) -> tuple[list[dict[str, Any]], dict[str, float]]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessor, LogitsProcessorList

    from agora.models.torchnetwork import Network
    from agora.models.torchsession import Session

    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=32000, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=1, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    nets = []
    for seed in range(3):
        torch.manual_seed(seed)
        nets.append(LlamaForCausalLM(config).eval().requires_grad_(False))
    networks = [Network(net, 4096) for net in nets]
    models = [Given(lambda n=n: Session(n), 32000) for n in networks]  # type: ignore[misc]

    class Others(LogitsProcessor):  # type: ignore[misc]
        """Averages with the logits of the other two, which keep their own caches."""

        def __init__(self) -> None:
            self.caches: list[Any] = [None, None]

        def __call__(self, ids: Any, scores: Any) -> Any:
            total = torch.log_softmax(scores, -1).exp()
            for i, net in enumerate(nets[1:]):
                fed = ids if self.caches[i] is None else ids[:, -1:]
                out = net(input_ids=fed, past_key_values=self.caches[i], use_cache=True, logits_to_keep=1)
                self.caches[i] = out.past_key_values
                total = total + torch.log_softmax(out.logits[:, -1], -1).exp()
            return (total / 3).log()

    rows = []
    for batch in (1, 8):
        for prompt in (64, 1024):
            new, repeats = (32 if quick or prompt > 64 else 64), (1 if quick else 3 if batch * prompt < 1000 else 2)
            row: dict[str, Any] = timed(models, batch, prompt, new, repeats)
            ids = torch.tensor([list(models[0].encode([Message("user", f"{i} {prompt}")])) for i in range(batch)])

            def by_generate(ids: Any = ids, new: int = new) -> None:
                with torch.inference_mode():
                    nets[0].generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                                     do_sample=False, logits_processor=LogitsProcessorList([Others()]))  # fmt: skip

            row["generate + processor"] = cpu(by_generate, repeats)[0]
            row["generate / alone"] = row["generate + processor"] / row["alone, sum"]
            rows.append(row)
    return rows, together(models[0], 16, 64, 32, 1 if quick else 2)


def speed(quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"pocket": pocket_speed(1 if quick else 5)}
    at_once = {"pocket": together(_pockets()[0], 16, 64, 64, 3)}
    if find_spec("torch") and find_spec("transformers"):
        found["llama, 42M parameters"], at_once["llama, 42M parameters"] = llama_speed(quick)
    return {"fused": found, "at once": at_once}


# ---- both -------------------------------------------------------------------------------------------------------


def show(data: dict[str, Any]) -> None:
    def interval(cell: dict[str, float], sign: str = "") -> str:
        return f"{100 * cell['mean']:{sign}.1f} [{100 * cell['low']:{sign}.1f}, {100 * cell['high']:{sign}.1f}]"

    if "accuracy" in data:
        found = data["accuracy"]
        best = found["best member on other problems"]
        print(f"{found['problems']} fresh problems, seed {found['seed']}; in %, 95% intervals\n")
        print(f"| method | passes a token | all skills | mix, two skills | minus {best} | minus self-consistency |")
        print("|---|---|---|---|---|---|")
        for name, row in found["methods"].items():
            print(
                f"| {name} | {row['passes a token']} | {interval(row)} | {interval(row['mix'])} | "
                f"{interval(row['minus best'], '+')} | {interval(row['minus self-consistency'], '+')} |"
            )
        print()
    for name, rows in data.get("speed", {}).get("fused", {}).items():
        print(f"{name}: CPU seconds on one thread; ratios to the three alone, median (spread)\n")
        print("| batch | prompt | new | three alone | average | product | ratio | ratio, product | generate |")
        print("|---|---|---|---|---|---|---|---|---|")
        for row in rows:
            ratios = [f"{row[f'{by} / alone']:.3f} ({row[f'{by} spread']:.3f})" for by in ("average", "product")]
            beside = f"{row['generate / alone']:.2f}" if "generate / alone" in row else ""
            print(
                f"| {row['batch']} | {row['prompt']} | {row['new']} | {row['alone, sum']:.2f} | {row['average']:.2f} | "
                f"{row['product']:.2f} | {' | '.join(ratios)} | {beside} |"
            )
        print()
    for name, row in data.get("speed", {}).get("at once", {}).items():
        print(
            f"{name}: {row['answers']} answers of one model, CPU s: {row['one by one']:.2f} one by one, "
            f"{row['at once']:.2f} at once, {row['one alone']:.2f} one alone"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accuracy", action="store_true", help="nothing else")
    parser.add_argument("--speed", action="store_true", help="nothing else")
    parser.add_argument("--quick", action="store_true", help="few tokens, once")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.timed:
        json.dump(speed(options.quick), sys.stdout)
        return
    data: dict[str, Any] = {}
    if not options.speed:
        data["accuracy"] = anyio.run(accuracy, options.n, options.seed)
    if not options.accuracy:
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--timed", *(["--quick"] if options.quick else [])]
        data["speed"] = json.loads(subprocess.run(command, env=alone, stdout=subprocess.PIPE, check=True).stdout)
    if options.json:
        json.dump(data, sys.stdout)
        return
    show(data)


if __name__ == "__main__":
    main()
