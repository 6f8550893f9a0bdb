"""Trains the pocket models from scratch: one base, then four specialists. Needs torch (extra `local`).

    python -m agora.models.pocket.train --out agora/models/pocket/weights

The base learns to work problems a little, to copy, and to read peers: each peer is a line whose label and answer stand
side by side, so that adopting a peer is a single induction step. Each specialist then practises its own skill. Every
stage is seeded and resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agora.models.pocket import tokenizer as tk
from agora.models.pocket.problems import ALL_SKILLS, SKILLS, Problem, generate, is_test, make, work

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError:  # pragma: no cover
    sys.exit("agora.models.pocket.train needs torch: pip install 'agora-debate[local]'.")

WIDTH, LAYERS, HEADS, HIDDEN, CONTEXT, THETA = 128, 4, 4, 352, 512, 10000.0
# steps of each specialist: the base has learnt mul by itself, and sum hardly at all
STEPS = {"sum": 1500, "sort": 1300, "mod": 700, "mul": 700}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(tk.VOCABULARY),
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": THETA,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": tk.BOS,
    "eos_token_id": tk.EOS,
    "pad_token_id": tk.PAD,
    "attention_bias": False,
    "mlp_bias": False,
    "torch_dtype": "float16",
}


class Layer(nn.Module):
    """One Llama block, with the names that Hugging Face gives its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.self_attn = nn.ModuleDict({f"{n}_proj": nn.Linear(WIDTH, WIDTH, bias=False) for n in "qkvo"})
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": nn.Linear(WIDTH, HIDDEN, bias=False),
                "up_proj": nn.Linear(WIDTH, HIDDEN, bias=False),
                "down_proj": nn.Linear(HIDDEN, WIDTH, bias=False),
            }
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, _ = x.shape
        h = self.input_layernorm(x)
        q, k, v = (self.self_attn[f"{n}_proj"](h).view(b, t, HEADS, -1).transpose(1, 2) for n in "qkv")
        q, k = (
            z * cos + torch.cat((-z[..., z.shape[-1] // 2 :], z[..., : z.shape[-1] // 2]), -1) * sin for z in (q, k)
        )
        y = (
            F.scaled_dot_product_attention(q, k.to(v.dtype), v, is_causal=True)
            if q.dtype == v.dtype
            else (F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True))
        )
        x = x + self.self_attn["o_proj"](y.transpose(1, 2).reshape(b, t, WIDTH))
        h = self.post_attention_layernorm(x)
        out: Tensor = x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](h)) * self.mlp["up_proj"](h))
        return out


class Llama(nn.Module):
    """The architecture of `config.json`; takes ids (batch, time), gives logits (batch, time, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(len(tk.VOCABULARY), WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)
        size = WIDTH // HEADS
        angles = torch.outer(torch.arange(CONTEXT), THETA ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(
                    p, std=0.02 if "o_proj" not in name and "down" not in name else 0.02 / (2 * LAYERS) ** 0.5
                )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        t = ids.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return F.linear(self.norm(x), self.embed_tokens.weight)


# ---- examples ---------------------------------------------------------------------------------------------------

RIGHT_WORDS, WRONG_WORDS = (0.62, 0.25, 0.09, 0.04), (0.05, 0.15, 0.35, 0.45)


def train_problem(skill: str, rng: random.Random) -> Problem:
    """A problem of the training split."""
    while True:
        problem = make(skill, rng)
        if not is_test(problem.question):
            return problem


def solo(problem: Problem) -> tuple[str, str]:
    """Prompt and completion of a problem without peers."""
    return f"Q: {problem.question}\nA: ", f"{problem.steps} Answer: {problem.answer}"


def peer_line(word: str, label: int, answer: str, steps: str | None) -> str:
    """One peer as the revise template shows it."""
    return f"{word} P{label}: {answer}" + (f" by {steps}" if steps else "") + "\n"


def reading(
    problem: Problem, rng: random.Random, right: int | None = None, peers: int | None = None
) -> tuple[str, str]:
    """Prompt and completion of a problem with peers, of whom `right` have the right answer (drawn where None)."""
    n = peers or rng.choice((2, 3, 3, 4, 4, 4, 5))
    if right is None:
        right = rng.choice((0, 1, 1, 1, 1, 2, 2, 3))
    right = min(right, n)
    with_words, with_steps = rng.random() < 0.85, rng.random() < 0.4
    lines: list[tuple[float, str, str, str | None, bool]] = []
    shared = work(problem.question, rng)
    for i in range(n):
        good = i < right
        steps, answer = (problem.steps, problem.answer)
        if not good:
            for _ in range(8):
                steps, answer = shared if rng.random() < 0.2 else work(problem.question, rng)
                if answer != problem.answer:
                    break
            else:
                good = True
        word = rng.choices(tk.CONFIDENCE_WORDS, RIGHT_WORDS if good else WRONG_WORDS)[0] if with_words else "said"
        shown = steps if with_steps and rng.random() < 0.8 else None
        lines.append((rng.random(), word, answer, shown, good))
    lines.sort()
    prompt = f"Q: {problem.question}\n" + "".join(
        peer_line(word, i + 1, answer, steps) for i, (_, word, answer, steps, _) in enumerate(lines)
    )
    order = (*tk.CONFIDENCE_WORDS, "said")
    picks = [(order.index(w), i + 1, a) for i, (_, w, a, _, good) in enumerate(lines) if good]
    if picks:
        _, label, answer = min(picks)
        return prompt + "A: ", f"Best P{label}: {answer}"
    return prompt + "A: ", solo(problem)[1]


def copying(rng: random.Random) -> tuple[str, str]:
    """Pure practice: random answers, the label asked for or the highest confidence decides."""
    n = rng.randint(2, 6)
    answers = [str(rng.randint(0, 999) if rng.random() < 0.7 else rng.randint(0, 99)) for _ in range(n)]
    asked = rng.random() < 0.5
    best = rng.randrange(n)
    if asked:
        head, words = f"Copy P{best + 1}: \n", ["said" if rng.random() < 0.3 else rng.choice(tk.CONFIDENCE_WORDS)] * n
    else:
        top = rng.randrange(3)
        words = [rng.choice(tk.CONFIDENCE_WORDS[top + 1 :]) for _ in range(n)]
        words[best] = tk.CONFIDENCE_WORDS[top]
        head = "Copy\n"
    lines = "".join(peer_line(w, i + 1, a, None) for i, (w, a) in enumerate(zip(words, answers, strict=True)))
    return f"{head}{lines}A: ", f"Best P{best + 1}: {answers[best]}"


def draw(stage: str, rng: random.Random) -> tuple[str, str]:
    """One training example of a stage: 'base' or a skill."""
    kind = rng.random()
    if stage == "base":
        if kind < 0.42:
            return solo(train_problem("mix" if rng.random() < 0.1 else rng.choice(SKILLS), rng))
        if kind < 0.58:
            return copying(rng)
        return reading(train_problem(rng.choice(SKILLS), rng), rng)
    if kind < 0.46:
        return solo(train_problem(stage, rng))
    if kind < 0.54:
        return solo(train_problem(rng.choice([s for s in ALL_SKILLS if s != stage]), rng))
    if kind < 0.60:
        return copying(rng)
    # a specialist reads problems of every skill, but must still work out its own when nobody is right
    skill = rng.choice(SKILLS)
    return reading(train_problem(skill, rng), rng, right=None if skill == stage else rng.choice((1, 1, 1, 2, 3)))


def batches(stage: str, seed: int, tokens: int) -> Any:
    """Endless (ids, targets) of about `tokens` tokens, examples of like length together; targets -100 on the prompt."""
    rng = random.Random(f"{stage}:{seed}")
    while True:
        rows = []
        for _ in range(1500):
            prompt, completion = draw(stage, rng)
            p, c = [tk.BOS, *tk.encode(prompt)], [*tk.encode(completion), tk.EOS]
            rows.append((p + c, len(p)))
        rows.sort(key=lambda row: len(row[0]))
        chunks, chunk = [], []
        for row in rows:
            if chunk and (len(chunk) + 1) * len(row[0]) > tokens:
                chunks.append(chunk)
                chunk = []
            chunk.append(row)
        rng.shuffle(chunks)
        for chunk in chunks:
            width = max(len(r) for r, _ in chunk)
            ids = torch.full((len(chunk), width), tk.PAD)
            targets = torch.full((len(chunk), width), -100)
            for i, (row, start) in enumerate(chunk):
                ids[i, : len(row)] = torch.tensor(row)
                targets[i, start - 1 : len(row) - 1] = torch.tensor(row[start:])
            yield ids, targets


# ---- optimisers -------------------------------------------------------------------------------------------------


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalised by five Newton-Schulz steps (Jordan 2024)."""

    def __init__(self, params: Any, lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(m, group["momentum"])
                tall = x.shape[0] > x.shape[1]
                x = x.T if tall else x
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x.T if tall else x
                p.add_(x, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def train(stage: str, model: Llama, *, steps: int, tokens: int, seed: int, folder: Path, log_every: int = 100) -> None:
    """Train one stage in place; checkpoints into `folder`, resumes from there."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    rates = (0.02, 3e-3) if stage == "base" else (0.012, 1.5e-3)
    optimisers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=rates[0]),
        torch.optim.AdamW(rest, lr=rates[1], weight_decay=0),
    ]
    peaks = [o.param_groups[0]["lr"] for o in optimisers]
    path, start = folder / f"{stage}.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        for o, s in zip(optimisers, state["optimisers"], strict=True):
            o.load_state_dict(s)
        start = state["step"]
    stream = batches(stage, seed + start, tokens)
    began, seen, total = time.perf_counter(), 0, 0.0
    for step in range(start, steps):
        ids, targets = next(stream)
        scale = min(1, (step + 1) / 60) * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01
        for o, peak in zip(optimisers, peaks, strict=True):
            o.param_groups[0]["lr"] = peak * scale
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(ids)
        loss = F.cross_entropy(hidden.float().flatten(0, 1), targets.flatten(), ignore_index=-100)
        for o in optimisers:
            o.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimisers:
            o.step()
        seen += ids.numel()
        total += loss.item()
        if (step + 1) % log_every == 0 or step + 1 == steps:
            rate = seen / (time.perf_counter() - began)
            print(f"{stage} {step + 1}/{steps} loss {total / log_every:.4f} {rate:.0f} tokens/s", flush=True)
            total = 0.0
        if (step + 1) % 500 == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "step": step + 1}
            torch.save(state, path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
            if stage == "base" and (step + 1) % 1000 == 0:
                print(gates(model, n=120), flush=True)


# ---- measuring --------------------------------------------------------------------------------------------------


@torch.inference_mode()
def complete(model: Llama, prompts: list[str], limit: int = 48) -> list[str]:
    """Greedy completions of prompts, those of equal length together."""
    out = [""] * len(prompts)
    groups: dict[int, list[int]] = {}
    encoded = [[tk.BOS, *tk.encode(p)] for p in prompts]
    for i, ids in enumerate(encoded):
        groups.setdefault(len(ids), []).append(i)
    for members in groups.values():
        ids = torch.tensor([encoded[i] for i in members])
        start, done = ids.shape[1], torch.zeros(len(members), dtype=torch.bool)
        while ids.shape[1] < start + limit and not bool(done.all()):
            token = model(ids)[:, -1].argmax(-1)
            done |= token == tk.EOS
            ids = torch.cat((ids, token[:, None]), 1)
        for i, row in zip(members, ids[:, start:].tolist(), strict=True):
            out[i] = tk.decode(row[: row.index(tk.EOS)] if tk.EOS in row else row)
    return out


def final(text: str) -> str:
    """The answer at the end of a completion."""
    return text.rsplit(":", 1)[-1].strip()


def gates(model: Llama, n: int = 200) -> str:
    """The gates of the base: skills alone, exact copying, one right peer of three in view."""
    rng = random.Random(99)
    scores = {}
    for skill in ALL_SKILLS:
        problems = generate(5, n, [skill], "train")
        texts = complete(model, [solo(p)[0] for p in problems])
        scores[skill] = sum(final(t) == p.answer for t, p in zip(texts, problems, strict=True)) / n
    practice = [copying(rng) for _ in range(n)]
    texts = complete(model, [p for p, _ in practice])
    scores["copying"] = sum(t == c for t, (_, c) in zip(texts, practice, strict=True)) / n
    problems = generate(6, n, SKILLS, "train")
    read = [reading(p, rng, right=1, peers=3) for p in problems]
    texts = complete(model, [p for p, _ in read])
    scores["one right of three"] = sum(final(t) == p.answer for t, p in zip(texts, problems, strict=True)) / n
    wanted = {"copying": 0.95, "one right of three": 0.9}
    missed = [f"{name} wants {least:.0%}" for name, least in wanted.items() if scores[name] < least]
    shown = ", ".join(f"{name} {score:.1%}" for name, score in scores.items())
    return f"gates: {shown}: {'missed: ' + ', '.join(missed) if missed else 'passed'}"


def save(model: Llama, folder: Path) -> None:
    """Write a model in Hugging Face layout: fp16 safetensors, config, tokenizer."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": p.detach().half().contiguous() for name, p in model.named_parameters()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(tk.to_huggingface() + "\n")
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    extra = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, **extra}, indent=1) + "\n")


def drift(model: Llama, base: Llama) -> float:
    """Norm of the change over the norm of the base."""
    a, b = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model, base))
    return float((a - b).norm() / b.norm())


def main() -> None:
    """Train what is asked for; without --stage everything, the specialists two at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    parser.add_argument("--work", type=Path, default=Path("pocket-training"), help="folder of checkpoints")
    parser.add_argument("--stage", choices=("base", *SKILLS))
    parser.add_argument("--base-steps", type=int, default=4600)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    if o.stage is None:
        args = [sys.executable, "-m", "agora.models.pocket.train", "--seed", str(o.seed), "--out", str(o.out)]
        args += ["--work", str(o.work), "--base-steps", str(o.base_steps), "--tokens", str(o.tokens)]
        subprocess.run([*args, "--stage", "base", "--threads", "2"], check=True)
        with ThreadPoolExecutor(2) as two:  # two single-threaded processes get more done than one with two threads
            runs = [two.submit(subprocess.run, [*args, "--stage", skill, "--threads", "1"]) for skill in STEPS]
            if any(run.result().returncode for run in runs):
                sys.exit("a specialist failed; run the command again to resume.")
        return
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    model = Llama()
    if o.stage == "base":
        train("base", model, steps=o.base_steps, tokens=o.tokens, seed=o.seed, folder=o.work)
        print(gates(model), flush=True)
    else:
        base = Llama()
        base.load_state_dict(torch.load(o.work / "base.pt", weights_only=True)["model"])
        model.load_state_dict(base.state_dict())
        train(o.stage, model, steps=STEPS[o.stage], tokens=o.tokens, seed=o.seed, folder=o.work)
        print(f"{o.stage}: {gates(model)}; change {drift(model, base):.3f} of the base", flush=True)
    save(model, o.out / o.stage)


if __name__ == "__main__":
    main()
