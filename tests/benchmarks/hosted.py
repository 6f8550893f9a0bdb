"""What agora costs on hosted models: against the same calls by the OpenAI SDK alone, on a fake server beside it.

python tests/benchmarks/hosted.py [--json] [--quick]

Every measurement is a fresh process; CPU is counted after one debate that warms it up. Variants take turns, and a ratio
is the median of the ratios within each turn.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

AGENTS, ROUNDS = 5, 3
CALLS = AGENTS * ROUNDS
RING, RING_ROUNDS = 8, 6
QUESTION = "What is 2+2, number {}?"
Ask = Callable[[list[dict[str, str]]], Awaitable[str]]
Debate = Callable[[str], Awaitable[object]]

DEBATE = """
models:
  m: {{openai: fake-small, base_url: "{url}"}}
agents: {{a: m, b: m, c: m, d: m, e: m}}
moderator: {{stop: rounds(2)}}
answer: number
"""

# as long as the shipped templates, so that both sides send the same
SYSTEM = (
    "You are an independent expert. Think for yourself: a claim is as good as its reasons, not as the number of those "
    "who repeat it."
)
FIRST = "Question: {}\n\nThink step by step, then answer. End with one line 'Answer: N', where N is the number."
LATER = (
    "Question: {}\n\n{}\n\nCheck each step of these answers. Where they differ, find out which step is wrong. Keep "
    "your answer if it holds; change it only for a reason you can state. End with one line 'Answer: N', where N is the "
    "number."
)


# ---- what one process does ------------------------------------------------------------------------------------------


async def _replay(ask: Ask, question: str) -> None:
    """The calls of one debate, without a debate."""
    system = {"role": "system", "content": SYSTEM}
    texts: list[str] = []
    for _ in range(ROUNDS):
        shown = "\n\n".join(f"Peer {i}: {text}" for i, text in enumerate(texts, 1))
        user = LATER.format(question, shown) if texts else FIRST.format(question)
        messages = [system, {"role": "user", "content": user}]
        texts = list(await asyncio.gather(*(ask(messages) for _ in range(AGENTS))))


async def _debate(variant: str, url: str, stack: AsyncExitStack) -> Debate:
    """What answers one question, by the name of a variant."""
    if variant in ("agora", "journal"):
        import agora
        from agora.config import loads

        debate = loads(DEBATE.format(url=url))[0]
        if variant == "agora":
            return debate.answer
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        journal = await stack.enter_async_context(agora.Journal(f"sqlite:///{folder}/journal.db"))
        return lambda question: debate.answer(question, journal=journal)
    import httpx2
    import openai

    if variant == "floor":
        client = await stack.enter_async_context(openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0))

        async def ask(messages: list[dict[str, str]]) -> str:
            done = await client.chat.completions.create(model="fake-small", messages=messages)  # type: ignore[arg-type]
            return done.choices[0].message.content or ""
    else:
        client = await stack.enter_async_context(
            openai.AsyncOpenAI(
                api_key="none", base_url=url, max_retries=0, http_client=openai.DefaultAioHttpClient(base_url=url)
            )
        )

        async def ask(messages: list[dict[str, str]]) -> str:
            body = {"model": "fake-small", "messages": messages}
            response = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
            text: str = response.json()["choices"][0]["message"]["content"]
            return text

    return lambda question: _replay(ask, question)


async def _measure(variant: str, url: str, count: int, together: bool) -> dict[str, float]:
    """CPU milliseconds a call and peak memory of `count` debates, one after another or all at once."""
    async with AsyncExitStack() as stack:
        debate = await _debate(variant, url, stack)
        await debate(QUESTION.format("warm"))
        questions = [QUESTION.format(i) for i in range(count)]
        begun, cpu = time.perf_counter(), time.process_time()
        if together:
            await asyncio.gather(*(debate(question) for question in questions))
        else:
            for question in questions:
                await debate(question)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"cpu": 1000 * cpu / count / CALLS, "wall": wall, "peak": peak}


async def _ring(url: str, count: int) -> dict[str, Any]:
    """Wall seconds of a debate on a ring, and the seconds of its calls by the client's clock: [round][agent]."""
    from agora.config import loads

    # a model for each agent, so that the server's log tells them apart
    models = "\n".join(f'  m{i}: {{openai: ring-{i}, base_url: "{url}"}}' for i in range(RING))
    agents = ", ".join(f"a{i}: m{i}" for i in range(RING))
    debate = loads(
        f"models:\n{models}\nagents: {{{agents}}}\ntopology: ring\n"
        f"moderator: {{stop: rounds({RING_ROUNDS - 1})}}\nanswer: number\nseed: {count}\n"
    )[0]
    await debate.answer("warm?")
    begun = time.perf_counter()
    verdict = await debate.answer("q?")
    wall = time.perf_counter() - begun
    took = [[turn.reply.usage.seconds if turn.reply else 0.0 for turn in round.turns] for round in verdict.rounds]
    return {"wall": wall, "took": took}


def _child(variant: str, url: str, count: int, together: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a thousand calls at once are a thousand sockets
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = _ring(url, count) if variant == "ring" else _measure(variant, url, count, together)
    print(json.dumps(asyncio.run(run)))


# ---- the whole ------------------------------------------------------------------------------------------------------


def _fresh(variant: str, url: str, count: int, together: bool = False) -> dict[str, Any]:
    code = [sys.executable, __file__, "--child", variant, url, str(count), str(int(together))]
    run = subprocess.run(code, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def _critical(took: list[list[float]]) -> float:
    end = [0.0] * RING
    for r, row in enumerate(took):
        end = [max(end[i - 1], end[i], end[(i + 1) % RING]) * (r > 0) + row[i] for i in range(RING)]
    return max(end)


def _logged(events: Iterable[dict[str, Any]]) -> list[list[float]]:
    """The seconds of the calls of the last debate on a ring by the server's log, as [round][agent]."""
    calls: dict[int, tuple[str, float]] = {}
    took: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["event"] == "in":
            calls[event["n"]] = event["model"], event["t"]
        else:
            model, begun = calls[event["n"]]
            took[model].append(event["t"] - begun)
    return [[took[f"ring-{i}"][r - RING_ROUNDS] for i in range(RING)] for r in range(RING_ROUNDS)]


def _import_fake_server() -> Any:
    spec = importlib.util.spec_from_file_location("fake_server", Path(__file__).parents[1] / "fake_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two turns of fewer debates")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        variant, url, count, together = options.child
        return _child(variant, url, int(count), together == "1")
    turns, count, crowd = (2, 10, 50) if options.quick else (5, 40, 200)
    measured: defaultdict[str, list[float]] = defaultdict(list)
    with _import_fake_server().serve() as server:
        for _ in range(turns):
            took = {variant: _fresh(variant, server.url, count) for variant in ("floor", "agora", "journal", "bare")}
            floor, agora, journal, bare = (took[v]["cpu"] for v in ("floor", "agora", "journal", "bare"))
            for name, value in (("floor", floor), ("agora", agora), ("journal", journal), ("bare", bare)):
                measured[name].append(value)
            measured["agora/floor"].append(agora / floor)
            measured["journal/floor"].append(journal / floor)
            measured["agora-bare"].append(agora - bare)
        for _ in range(turns):
            floor, agora = (_fresh(variant, server.url, crowd, together=True) for variant in ("floor", "agora"))
            measured["crowd floor"].append(floor["cpu"])
            measured["crowd agora"].append(agora["cpu"])
            measured["crowd agora/floor"].append(agora["cpu"] / floor["cpu"])
            measured["crowd peak"].append(agora["peak"])
        for variant in ("floor", "agora"):
            before = server.stats()["input_characters"]
            _fresh(variant, server.url, 1)
            measured[f"{variant} characters"].append((server.stats()["input_characters"] - before) / 2)
        server.control(latency=[0.05, 0.6])
        for seed in range(turns):
            ring = _fresh("ring", server.url, seed)
            measured["ring, client"].append(ring["wall"] / _critical(ring["took"]))
            measured["ring, server"].append(ring["wall"] / _critical(_logged(server.log())))
    rows: list[tuple[str, str, float | None]] = [
        ("floor", "(a) SDK alone, CPU ms per call", None),
        ("agora", "    agora, CPU ms per call", None),
        ("journal", "    agora with a journal, CPU ms per call", None),
        ("bare", "    SDK's post over aiohttp, CPU ms per call", None),
        ("agora/floor", "(b) agora over SDK alone", 0.5),
        ("journal/floor", "(c) agora with a journal over SDK alone", 0.8),
        ("agora-bare", "(d) agora less the SDK's post, CPU ms per call", 0.15),
        ("crowd floor", f"    {crowd} debates at once, SDK alone, CPU ms per call", None),
        ("crowd agora", f"    {crowd} debates at once, agora, CPU ms per call", None),
        ("crowd agora/floor", f"(e) {crowd} debates at once, agora over SDK alone", 0.5),
        ("crowd peak", f"(e) {crowd} debates at once, agora, peak MB", 125),
        ("ring, client", f"(f) ring of {RING} x {RING_ROUNDS}, wall over critical path", 1.02),
        ("ring, server", "    the same by the server's clock, HTTP included", None),
        ("agora characters", "(g) characters sent per debate, agora", None),
        ("floor characters", "    characters sent per debate, SDK alone", None),
    ]
    found = {
        name: {
            "median": statistics.median(measured[key]),
            "min": min(measured[key]),
            "max": max(measured[key]),
            "aim": aim,
        }
        for key, name, aim in rows
    }
    if options.json:
        print(json.dumps({name.strip(): values for name, values in found.items()}))
        return
    for name, values in found.items():
        figures = f"{values['median']:.3f}  [{values['min']:.3f}, {values['max']:.3f}]"
        print(f"{name:52} {figures}" + ("" if values["aim"] is None else f"  aim {values['aim']}"))


if __name__ == "__main__":
    main()
