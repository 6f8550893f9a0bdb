"""The pocket models: problems, tokenizer, inference against transformers, refusals."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys

import anyio
import numpy as np
import pytest

from agora import Agent, Debate, Message, Settings
from agora.errors import ContextError, InputError, QuorumError, RefusalError
from agora.model import TokenModel
from agora.models.pocket import NAMES, WEIGHTS, PocketModel, network, tokenizer
from agora.models.pocket.problems import ALL_SKILLS, SKILLS, generate, is_test, skill_of, work
from agora.prompts import shipped
from agora.text.agent import Shown

QUESTION = "Ida has 16 boxes of 9 cups. How many cups in all?"


@pytest.mark.parametrize("skill", ALL_SKILLS)
def test_answers_are_right_by_independent_arithmetic(skill: str) -> None:
    for p in generate(3, 60, [skill]):
        n = [int(x) for x in re.findall(r"\d+", p.question)]
        if skill == "sum":
            verbs = re.findall(r"(\w+) (?=\d)", p.question)[1:]
            signs = [1 if verb in ("buys", "gets", "finds", "wins") else -1 for verb in verbs]
            expected = n[0] + signs[0] * n[1] + signs[1] * n[2]
        elif skill == "mul":
            expected = n[0] * n[1]
        elif skill == "mix":
            expected = n[0] * n[1] + n[2]
        elif skill == "mod":
            expected = n[0] % n[1]
        else:
            expected = sorted(n[:5], reverse="largest" in p.question)[n[5] - 1]
        assert p.answer == str(expected), p
        assert p.steps.rstrip(".").endswith(f"={p.answer}")
        assert skill_of(p.question) == skill


def test_splits_are_disjoint_and_seeded() -> None:
    test, train = generate(1, 300), generate(1, 300, split="train")
    assert not {p.question for p in test} & {p.question for p in train}
    assert all(is_test(p.question) for p in test)
    assert generate(1, 300) == test
    assert len({p.question for p in test}) == 300
    assert [p.skill for p in test[:4]] == list(SKILLS)


def test_a_slip_is_carried_on_and_mostly_wrong() -> None:
    rng, wrong = random.Random(0), 0
    for p in generate(2, 200):
        steps, answer = work(p.question, rng)
        wrong += answer != p.answer
        assert steps.rstrip(".").endswith(f"={answer}")
    assert wrong > 150


def test_problems_command() -> None:
    command = [sys.executable, "-m", "agora.models.pocket.problems", "--seed", "4", "-n", "8", "--json"]
    data = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [set(row) for row in data["problems"]] == [{"question", "answer", "skill"}] * 8


def test_tokenizer_round_trip_and_unknown() -> None:
    for p in generate(5, 40, ALL_SKILLS):
        text = f"Q: {p.question}\nA: {p.steps} Answer: {p.answer}"
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("é") == [tokenizer.UNK]
    assert len(tokenizer.VOCABULARY) <= 256


def test_template_and_training_agree() -> None:
    """What the model is shown in a debate is, character for character, what it was trained on."""
    shown = [
        Shown("Peer 1", "10*9=90. 6*9=54. 90+54=144. Answer: 144", "144", 0.995, 0),
        Shown("Peer 2", "Best P1: 145", "145", 0.4, 1),
        Shown("Peer 3", "", "12", None, 0),
        Shown("Peer 4", "no idea", None, 0.1, 0),
        Shown("Peer 5", "", "7", 0.02, 0),
    ]
    text = shipped("revise", "pocket").render(question=QUESTION, peers=shown)
    assert text == (
        f"Q: {QUESTION}\nsure P1: 144 by 10*9=90. 6*9=54. 90+54=144.\nlikely P2: 145\nsaid P3: 12\nguess P4: 7\nA: "
    )
    assert shipped("answer", "pocket").render(question=QUESTION) == f"Q: {QUESTION}\nA: "


def ask(name: str, question: str = QUESTION, **settings: object) -> str:
    return anyio.run(PocketModel(name).answer, [Message("user", question)], Settings(**settings)).text  # type: ignore[arg-type]


def test_it_answers_and_says_how_sure_it_is() -> None:
    reply = anyio.run(PocketModel("mul").answer, [Message("user", QUESTION)], Settings())
    assert "Answer: " in reply.text
    assert reply.usage.input_tokens > 10
    assert reply.usage.output_tokens > 5
    assert reply.logprob is not None
    assert reply.confidence is not None
    assert 0 < reply.confidence <= 1
    assert isinstance(PocketModel("mul"), TokenModel)


def test_samples_repeat_with_their_seed() -> None:
    assert ask("base", temperature=2.0, seed=1) == ask("base", temperature=2.0, seed=1)
    assert len({ask("base", temperature=2.0, seed=s) for s in range(8)}) > 1
    assert ask("base") == ask("base", temperature=0.0, seed=9)


@pytest.mark.parametrize(
    "question",
    [
        "What is love?",
        "",
        "Ida puts 98 maps in bags of 0. How many maps are left over?",
        "Ida has 10 maps. Ida loses 43 and gets 50. How many maps now?",
        "Ida has 160 boxes of 9 cups. How many cups in all?",
        "x" * 10**6,
    ],
)
def test_what_it_cannot_read_is_refused(question: str) -> None:
    with pytest.raises(RefusalError, match="it reads only small word problems"):
        ask("sum", question)


def test_a_debate_about_something_else_fails_with_the_reason() -> None:
    debate = Debate([Agent(n, PocketModel(n)) for n in ("sum", "mul")])
    with pytest.raises(QuorumError, match="word problems"):
        debate.run("What is love?")


def test_too_many_peers_are_too_long() -> None:
    lines = "sure P1: 144 by 10*9=90. 6*9=54. 90+54=144.\n" * 40
    with pytest.raises(ContextError):
        ask("sum", f"Q: {QUESTION}\n{lines}A: ")


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="there are base"):
        PocketModel("nope")


def test_cached_equals_uncached_and_batches_equal_singles() -> None:
    model = PocketModel("base")
    prompts = [model.encode([Message("user", p.question)]) for p in generate(6, 5, ALL_SKILLS)]
    session = model.session()
    slots = [session.new() for _ in prompts]
    session.forward([(s, p[:-2]) for s, p in zip(slots, prompts, strict=True)])
    session.forward([(s, p[-2:-1]) for s, p in zip(slots, prompts, strict=True)])
    together = session.forward([(s, p[-1:]) for s, p in zip(slots, prompts, strict=True)])
    for row, prompt in zip(together, prompts, strict=True):
        fresh = model.session()
        alone = fresh.forward([(fresh.new(), prompt)])[0]
        np.testing.assert_allclose(row, alone, atol=2e-4)
    session.crop(slots[0], len(prompts[0]) - 1)
    again = session.forward([(slots[0], prompts[0][-1:])])[0]
    np.testing.assert_allclose(again, together[0], atol=2e-4)


def test_what_lies_in_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences of unequal length decoded together read only what was written."""
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.inf, dtype))
    model = PocketModel("base")
    prompts = [model.encode([Message("user", p.question)]) for p in generate(4, 5, ALL_SKILLS)]
    session = model.session()
    slots = [session.new() for _ in prompts]
    session.forward([(s, p[:-1]) for s, p in zip(slots, prompts, strict=True)])
    assert np.isfinite(session.forward([(s, p[-1:]) for s, p in zip(slots, prompts, strict=True)])).all()


def test_a_damaged_file_is_said_to_be_one(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "config.json").write_bytes((WEIGHTS / "base" / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes((WEIGHTS / "base" / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be loaded"):
        network.Weights(folder)


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_text_equal_transformers(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'agora-debate[local]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS / name, dtype=torch.float32).eval()
    ours = PocketModel(name)
    for p in generate(8, 8):
        tokens = ours.encode([Message("user", p.question)])
        session = ours.session()
        mine = session.forward([(session.new(), tokens)])[0]
        with torch.inference_mode():
            reference = theirs(torch.tensor([tokens])).logits[0, -1].numpy()
            np.testing.assert_allclose(mine, reference, atol=1e-4)
            out = theirs.generate(
                torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens)), max_new_tokens=64, do_sample=False
            )
        text = tokenizer.decode(out[0, len(tokens) :].tolist()).strip()
        assert ask(name, p.question) == text


def test_tokenizers_are_equal_on_random_strings() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'agora-debate[local]'")
    theirs = tokenizers.Tokenizer.from_file(str(WEIGHTS / "base" / "tokenizer.json"))
    rng = random.Random(0)
    pool = [*tokenizer.PIECES, *tokenizer.CHARACTERS, "é", "漢", "\t", "🙂"]
    for _ in range(1000):
        text = "".join(rng.choice(pool) for _ in range(rng.randint(0, 40)))
        assert theirs.encode(text, add_special_tokens=False).ids == tokenizer.encode(text), text


@pytest.mark.parametrize(
    "prompt",
    [
        "Question: {}\n\nThink step by step, then answer. End with a line 'Answer: N'.",
        "system: You are an expert.\n\nQuestion: {}\n\nPeer 1: Answer: 3\n\nCheck each step.",
        "Q: Question: {}\n\nThink.\nA: ",
        "Q: {}\nA: ",
        "{}",
    ],
)
def test_of_a_prompt_in_other_words_it_reads_the_question(prompt: str) -> None:
    """So that it can be a stage or a member beside models that need words."""
    question = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
    model = PocketModel("sum")
    plain = model.encode([Message("user", question)])
    assert model.encode([Message("user", prompt.format(question))]) == plain
