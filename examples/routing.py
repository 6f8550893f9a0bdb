"""Train a router on what five small models got right, and let it choose among them: `python examples/routing.py`."""

import anyio

from agora import Message
from agora.answers import Number, extract
from agora.api import outcomes, train
from agora.api.route import Expected, Router
from agora.models.pocket import NAMES, PocketModel
from agora.models.pocket.problems import generate


async def main() -> None:
    problems = generate(seed=3, n=120)
    past, fresh = problems[:80], problems[80:]
    models = {name: PocketModel(name) for name in NAMES}
    seen = []
    for problem in past:
        for name, model in models.items():
            reply = await model.answer([Message("user", problem.question)])
            right = extract(Number(), reply).value == problem.answer
            seen.append(outcomes.Outcome(problem.question, name, float(right), cost=1.0))
    learnt = await train.train(outcomes.table(seen), "knn", options={"k": 10})
    router = Router(models, Expected(learnt, {name: name for name in NAMES}))

    right = dict.fromkeys([*NAMES, "router"], 0)
    for problem in fresh:
        for name, model in [*models.items(), ("router", router)]:
            reply = await model.answer([Message("user", problem.question)])
            right[name] += extract(Number(), reply).value == problem.answer
    print(f"right on {len(fresh)} fresh problems, one call each:")
    for name, n in right.items():
        print(f"  {name:7} {n}")


anyio.run(main)
