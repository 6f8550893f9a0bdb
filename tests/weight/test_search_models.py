"""Candidates that answer: pocket models in numpy, Hugging Face checkpoints in place; scores on a dev set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from agora import Agent, Debate, Message, Model, Settings
from agora.answers import Number
from agora.errors import InputError, ModelError
from agora.models.pocket import WEIGHTS, PocketModel
from agora.models.pocket.problems import generate
from agora.models.scripted import ScriptedModel
from agora.weight import merge
from agora.weight.searching import Accuracy, HuggingFace, Likelihood, Parameters, WeightedSum, search
from agora.weight.searching.loaders import room

NAMES = ["pocket:sum", "pocket:mul", "pocket:sort", "pocket:mod"]
PROBLEMS = generate(3, 12, split="train")


def answers(model: Any, problems: Sequence[Any] = PROBLEMS) -> list[str]:
    async def go() -> list[str]:
        return [(await model.answer([Message("user", p.question)], Settings(temperature=0))).text for p in problems]

    return anyio.run(go)


def test_a_pocket_candidate_is_the_checkpoint_that_is_written(tmp_path: Path) -> None:
    from agora.models.pocket import network

    space = WeightedSum(NAMES, "pocket:base")
    made, release = space.build((0.25, 0.5, 0.125, 0.25))
    merge(space.recipe((0.25, 0.5, 0.125, 0.25)).model_copy(update={"out_dtype": "float32"}), tmp_path / "out")
    written, mine = network.Weights(tmp_path / "out"), made.session().weights
    assert np.array_equal(mine.embedding, written.embedding)
    assert all(
        np.array_equal(a, b)
        for x, y in zip(mine.layers, written.layers, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    kept = answers(made)
    release()
    space.build((0.0, 0.0, 0.0, 0.0))  # its buffers are used again, and it is still what it was
    assert answers(made) == kept


def test_one_member_alone_answers_as_it_does() -> None:
    space = WeightedSum(NAMES)
    for name, point in space.experts.items():
        made, release = space.build(point)
        assert answers(made) == answers(PocketModel(name.removeprefix("pocket:")))
        release()


def test_candidates_are_told_apart_by_journals_and_caches() -> None:
    space = WeightedSum(NAMES)
    one, two = (space.build(point)[0] for point in (space.average, (1.0, 0.0, 0.0, 0.0)))
    assert one.identity != two.identity
    assert one.name == "merge 0.25 0.25 0.25 0.25"


def test_a_search_over_pocket_models(tmp_path: Path) -> None:
    space = WeightedSum(NAMES[:2], "pocket:base")
    found = search(space, Accuracy(PROBLEMS), "swarm", evaluations=6, particles=3, history=tmp_path / "h")
    assert found.evaluations <= 6
    assert found.random is not None
    assert {trial.key for trial in found.members} == {(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)}
    assert not [trial.error for trial in found.trials if trial.error]
    again = search(WeightedSum(NAMES[:2], "pocket:base"), Accuracy(PROBLEMS), "swarm", evaluations=6, particles=3,
                   history=tmp_path / "h")  # fmt: skip
    assert again.scoring == 0
    assert (again.point, again.score) == (found.point, found.score)


def test_routes_of_pocket_layers() -> None:
    either = {"choose": NAMES[:2]}
    slices = [{"sources": [{"model": either, "layer_range": [i, i + 1]}]} for i in range(3)]
    space = Parameters({"merge_method": "passthrough", "slices": slices})
    made, release = space.build((0.0, 1.0, 0.0))
    assert len(made.session().weights.layers) == 3
    assert isinstance(Accuracy(PROBLEMS).pairs, list)
    assert 0 <= anyio.run(Accuracy(PROBLEMS), made) <= 1
    release()


def test_hugging_face_checkpoints_in_place() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folders = [str(WEIGHTS / name) for name in ("sum", "mul")]
    space = WeightedSum(folders, str(WEIGHTS / "base"), load=HuggingFace(device="cpu"))
    pocket = WeightedSum(NAMES[:2], "pocket:base")
    assert space.together == 1
    score = Likelihood([(f"Q: {p.question}\nA: ", p.answer) for p in PROBLEMS[:3]])
    networks = set()
    before = None
    for point in ((1.0, 0.0), (0.5, 0.25), (0.0, 0.0)):
        made, release = space.build(point)
        networks.add(id(made._weights.network.model))
        other, free = pocket.build(point)
        prompts = [other.encode([Message("user", p.question)]) for p in PROBLEMS[:2]]
        logits = []
        for one in (made, other):
            session = one.session()
            logits.append(session.forward([(session.new(prompt), []) for prompt in prompts]))
        assert np.allclose(*logits, atol=2e-3)
        if before is not None:
            with pytest.raises(ModelError, match="have been replaced"):
                before.session()
        before = made
        assert anyio.run(score, made) < 0
        release()
        free()
    assert len(networks) == 1


def test_hugging_face_checkpoints_of_other_depth() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    source = {"model": str(WEIGHTS / "sum"), "layer_range": {"choose": [[0, 2], [0, 3]]}}
    space = Parameters(
        {"merge_method": "passthrough", "slices": [{"sources": [source]}]}, load=HuggingFace(device="cpu")
    )
    for number, depth in ((0.0, 2), (1.0, 3)):
        made, release = space.build((number,))
        assert made._weights.network.model.config.num_hidden_layers == depth
        session = made.session()
        assert np.isfinite(session.forward([(session.new([1, 2, 3]), [])])).all()
        release()


def test_as_many_candidates_live_at_a_time_as_memory_allows() -> None:
    assert room(1 << 60) == 1
    assert 1 <= room(1) <= (os.cpu_count() or 1)
    assert WeightedSum(NAMES, together=3).together == 3


# ---- scores


def test_accuracy_counts_right_answers_and_failures_as_wrong() -> None:
    problems = [{"question": "a", "answer": "1"}, ("b", 2), ("c", "3.0"), ("d", "4")]

    class Half:
        name = "half"

        async def answer(self, messages: Any, settings: Any = None) -> Any:
            if messages[-1].content == "d":
                raise ModelError("no")
            text = {"a": "Answer: 1", "b": "Answer: 7", "c": "Answer: 3"}[messages[-1].content]
            return await ScriptedModel([text]).answer(messages)

    assert anyio.run(Accuracy(problems).rows, Half()) == [True, False, True, False]
    assert anyio.run(Accuracy(problems, Number()), Half()) == 0.5
    with pytest.raises(ModelError):
        anyio.run(Accuracy([("d", "4")]), Half())
    for wrong in ([], [1], [("a",)], [{"question": "a"}]):
        with pytest.raises(InputError):
            Accuracy(wrong)


def test_likelihood_is_that_of_the_answer() -> None:
    right = [(p.question, f"{p.steps} Answer: {p.answer}") for p in generate(1, 4, ["sum"], "train")]
    wrong = [(question, text[:-1] + ("1" if text[-1] != "1" else "2")) for question, text in right]
    model = PocketModel("sum")
    good, bad = anyio.run(Likelihood(right), model), anyio.run(Likelihood(wrong), model)
    assert bad < good <= 0
    session, (question, text) = model.session(), right[0]
    tokens = model.tokenize(text)
    slot, total = session.new(model.encode([Message("user", question)])), 0.0
    for i, token in enumerate(tokens):
        row = session.forward([(slot, tokens[i - 1 : i] if i else [])])[0].astype(np.float64)
        total += float(row[token] - np.log(np.exp(row - row.max()).sum()) - row.max())
    assert anyio.run(Likelihood(right[:1]), model) == pytest.approx(total / len(tokens), abs=1e-5)
    many = [(p.question, p.answer) for p in generate(1, 37, split="train")]
    each = [(anyio.run(Likelihood([one]), model), len(model.tokenize(one[1]))) for one in many]
    mean = sum(value * size for value, size in each) / sum(size for _, size in each)
    assert anyio.run(Likelihood(many), model) == pytest.approx(mean, abs=1e-5)
    with pytest.raises(InputError):
        Likelihood([])


def test_a_verdict_of_a_debate_is_a_score() -> None:
    problems = generate(2, 2, ["sum"], "train")

    async def score(model: Model) -> float:
        debate = Debate([Agent("merged", model), Agent("sum", PocketModel("sum"))], answer="number")
        return float(np.mean([(await debate.answer(p.question)).answer == p.answer for p in problems]))

    found = search(WeightedSum(NAMES[:2]), score, "greedy_soup")
    assert found.score >= max(trial.score for trial in found.members)
    assert 0 <= found.score <= 1


def test_identities_of_scores() -> None:
    assert Accuracy(PROBLEMS).identity == Accuracy(list(PROBLEMS)).identity != Accuracy(PROBLEMS[1:]).identity
    assert Accuracy(PROBLEMS, settings=Settings(temperature=0.5)).identity != Accuracy(PROBLEMS).identity
