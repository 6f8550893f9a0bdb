"""Adapters chosen for each question: which are taken, what they then answer, and that the base is in memory once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import small

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from agora import Agent, Debate  # noqa: E402
from agora.errors import InputError  # noqa: E402
from agora.model import Model, Settings  # noqa: E402
from agora.models.huggingface import HuggingFaceModel  # noqa: E402
from agora.models.pocket import WEIGHTS  # noqa: E402
from agora.models.pocket.problems import SKILLS, generate  # noqa: E402
from agora.records import Message  # noqa: E402
from agora.text.forecast import forecast  # noqa: E402
from agora.weight import AdapterChoice, merge  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries
BASE = WEIGHTS / "base"
CHAT = {"system": "{content}", "user": "<bos>Q: {content}", "assistant": "{content}", "begin": "\nA: "}


def prompts(skill: str, seed: int = 5, n: int = 8) -> list[str]:
    return [p.question for p in generate(seed, n, skills=[skill], split="train")]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The specialists as adapters of the base: what their matrices differ by, to rank 16."""
    home = tmp_path_factory.mktemp("adapters")
    for skill in SKILLS:
        merge({"lora_extract": f"pocket:{skill}", "base": "pocket:base", "rank": 16}, home / skill)
    return {skill: home / skill for skill in SKILLS}


def choice(adapters: dict[str, Path], **more: Any) -> AdapterChoice:
    given = {skill: {"adapter": adapters[skill], "prompts": prompts(skill)} for skill in SKILLS}
    return AdapterChoice(BASE, given, chat=CHAT, dtype="float32", **more)


def asked(question: str) -> list[Message]:
    return [Message("user", question)]


def logits(
    model: HuggingFaceModel, question: str = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
) -> Any:
    session = model.session()
    return session.forward([(session.new(model.encode(asked(question))), [])])[0]


def answer(model: Model, question: str) -> Any:
    return anyio.run(model.answer, asked(question), Settings(temperature=0))


def weights(model: Any) -> Any:
    return model._weights.network.model


# ---- models that share a base ----------------------------------------------------------------------------------


def test_an_adapter_beside_the_weights_gives_the_logits_of_one_in_them(adapters: dict[str, Path]) -> None:
    base = HuggingFaceModel(BASE, chat=CHAT, dtype="float32")
    before = logits(base)
    for skill in SKILLS:
        merged = HuggingFaceModel(BASE, adapter=adapters[skill], chat=CHAT, dtype="float32")
        beside = HuggingFaceModel(BASE, adapter=adapters[skill], shared=True, chat=CHAT, dtype="float32")
        assert np.abs(logits(merged) - logits(beside)).max() < 1e-4
        assert np.abs(logits(beside) - before).max() > 0.1
        assert merged.identity != beside.identity
    assert np.array_equal(logits(base), before)  # the base is as it was


def test_the_weights_of_the_base_are_in_memory_once(adapters: dict[str, Path]) -> None:
    base = HuggingFaceModel(BASE, chat=CHAT, dtype="float32")
    own = {p.data_ptr() for p in weights(base).parameters()}
    views = [HuggingFaceModel(BASE, adapter=a, shared=True, chat=CHAT, dtype="float32") for a in adapters.values()]
    for view in views:
        more = [p for p in weights(view).parameters() if p.data_ptr() not in own]
        assert {p.data_ptr() for p in weights(view).parameters()} >= own
        assert {16} == {min(p.shape) for p in more}  # factors, and nothing else


def test_adapters_by_their_factors(adapters: dict[str, Path], tmp_path: Path) -> None:
    """0.25 a + 0.75 b on the base is the base with both changes so scaled, wherever they stand."""
    factors = {adapters["sum"]: 0.25, adapters["mod"]: 0.75}
    found = [
        logits(HuggingFaceModel(BASE, adapter=factors, shared=s, chat=CHAT, dtype="float32")) for s in (True, False)
    ]
    held = small.content(BASE)
    for folder, factor in factors.items():
        deltas = small.content(folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        for name, a in deltas.items():
            if ".lora_A." in name:
                b = deltas[name.replace("lora_A", "lora_B")]
                key = name.removeprefix("base_model.model.").replace("lora_A.", "")
                held[key] = held[key] + factor * config["lora_alpha"] / config["r"] * (b @ a)
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    for path in BASE.iterdir():
        (by_hand / path.name).write_bytes(path.read_bytes())
    small.file(by_hand / "model.safetensors", held)
    wanted = logits(HuggingFaceModel(by_hand, chat=CHAT, dtype="float32"))
    for one in found:
        assert np.abs(one - wanted).max() < 1e-4


def test_one_of_two_factors_zero_is_the_other_alone(adapters: dict[str, Path]) -> None:
    one = HuggingFaceModel(BASE, adapter=adapters["sum"], shared=True, chat=CHAT, dtype="float32")
    both = {adapters["sum"]: 1.0, adapters["mod"]: 0.0}
    two = HuggingFaceModel(BASE, adapter=both, shared=True, chat=CHAT, dtype="float32")
    assert np.abs(logits(one) - logits(two)).max() < 1e-5


@pytest.mark.parametrize("change", [{"bias": "all"}, {"init_lora_weights": "pissa"}])
def test_adapters_that_would_change_the_base_may_not_share_it(
    change: dict[str, Any], adapters: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in adapters["sum"].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "adapter_config.json").read_text()) | change
    (copy / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot share"):
        HuggingFaceModel(BASE, adapter=copy, shared=True).session()


def test_factors_that_are_no_numbers(adapters: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="factor"):
        HuggingFaceModel(BASE, adapter={adapters["sum"]: float("nan")})


# ---- choosing --------------------------------------------------------------------------------------------------


def test_each_question_is_answered_by_the_adapter_it_is_like(adapters: dict[str, Path]) -> None:
    model = choice(adapters, name="tutor")
    problems = generate(1, 40)
    right = sum(next(iter(model.shares(p.question))) == p.skill for p in problems)
    assert right >= 36
    for problem in problems[:4]:
        reply = answer(model, problem.question)
        assert reply.route is not None
        assert reply.route[0] == problem.skill
        alone = HuggingFaceModel(BASE, adapter=adapters[problem.skill], shared=True, chat=CHAT, dtype="float32")
        assert reply.text == answer(alone, problem.question).text
        assert reply.parts[0].model == f"tutor: {problem.skill}"
        assert reply.usage.calls == 1


def test_several_are_added_by_their_shares(adapters: dict[str, Path]) -> None:
    model = choice(adapters, top=2, temperature=1.0)
    question = prompts("mul", 9, 1)[0]
    shares = model.shares(question)
    assert sum(shares.values()) == 10
    assert len(shares) == 2
    assert next(iter(shares)) == "mul"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    reply = answer(model, question)
    factors = {adapters[skill]: share / 10 for skill, share in shares.items()}
    alone = HuggingFaceModel(BASE, adapter=factors, shared=True, chat=CHAT, dtype="float32")
    assert reply.text == answer(alone, question).text
    assert reply.route is not None
    assert " + " in reply.route[0]


def test_a_cold_softmax_takes_the_first_alone(adapters: dict[str, Path]) -> None:
    question = prompts("sort", 9, 1)[0]
    assert choice(adapters, top=3, temperature=1e-4).shares(question) == {"sort": 10}


def test_the_base_itself_may_be_chosen(adapters: dict[str, Path]) -> None:
    given = {"plain": {"adapter": None, "prompts": prompts("sort")}, "sum": {"adapter": adapters["sum"],
             "prompts": prompts("sum")}}  # fmt: skip
    model = AdapterChoice(BASE, given, chat=CHAT, dtype="float32")
    question = prompts("sort", 9, 1)[0]
    assert model.shares(question) == {"plain": 10}
    assert answer(model, question).text == answer(HuggingFaceModel(BASE, chat=CHAT, dtype="float32"), question).text


def test_it_is_a_model_like_any_other(adapters: dict[str, Path]) -> None:
    model = choice(adapters)
    assert isinstance(model, Model)
    assert len(model.members) == 4
    assert model.context == 512
    assert model.identity != choice(adapters, top=2).identity


def test_many_questions_at_once(adapters: dict[str, Path]) -> None:
    model, replies = choice(adapters), dict[int, Any]()
    problems = generate(3, 12)

    async def one(i: int) -> None:
        replies[i] = await model.answer(asked(problems[i].question), Settings(temperature=0))

    async def every() -> None:
        async with anyio.create_task_group() as group:
            for i in range(len(problems)):
                group.start_soon(one, i)

    anyio.run(every)
    assert [replies[i].route[0] for i in range(12)] == [next(iter(model.shares(p.question))) for p in problems]


BAD: Sequence[tuple[dict[str, Any], str]] = [
    ({"adapters": {"a": {"adapter": None, "prompts": ["x"]}}}, "nothing to choose"),
    ({"top": 5}, "`top`"),
    ({"top": 0}, "`top`"),
    ({"temperature": 0}, "above 0"),
    ({"adapters": {"a": {"adapter": None, "prompts": []}, "b": {"adapter": None, "prompts": ["x"]}}}, "needs prompts"),
    ({"adapters": {"a": {"adapter": None}, "b": {"adapter": None, "prompts": ["x"]}}}, "no more"),
    ({"adapters": {"a": {"adapter": "/none", "prompts": "x"}, "b": {"adapter": None, "prompts": "x"}}}, "/none"),
]


@pytest.mark.parametrize(("given", "words"), BAD)
def test_what_is_refused(given: dict[str, Any], words: str) -> None:
    usual = {name: {"adapter": None, "prompts": [name]} for name in "ab"}
    with pytest.raises(InputError) as caught:
        AdapterChoice(BASE, **({"adapters": usual} | given), chat=CHAT)
    assert words in str(caught.value)


# ---- in a debate -----------------------------------------------------------------------------------------------


def test_a_journaled_run_chooses_once(
    adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, url = prompts("sum", 9, 1)[0], tmp_path / "j.sqlite"
    seen: list[str] = []
    plain = AdapterChoice.shares
    monkeypatch.setattr(AdapterChoice, "shares", lambda self, q: seen.append(q) or plain(self, q))

    def run() -> Any:
        debate = Debate([Agent("a", choice(adapters))], answer="number")
        return debate.run(question, journal=url, run="r")

    first = run()
    asked_once = len(seen)
    again = run()
    assert len(seen) == asked_once > 0
    assert again.answer == first.answer
    assert again.rounds[0].turns[0].reply.route == first.rounds[0].turns[0].reply.route


def test_a_rehearsal_loads_nothing(adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(HuggingFaceModel, "states", never)
    debate = Debate([Agent("a", choice(adapters)), Agent("b", choice(adapters))], answer="number")
    assert anyio.run(forecast, debate, prompts("sum", 9, 1)[0])
