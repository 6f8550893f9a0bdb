"""Cascades: what ends them, what they cost, thresholds for each stage, votes and debates as stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora import Agent, Budget, Debate, Message, Moderator, ScriptedModel, Settings
from agora.api import stages
from agora.api.answerscorer import AnswerScorer, fit_answers
from agora.api.cascade import Answered, AtLeast, Cascade, Scored, Stage, Verified, parse_until
from agora.api.stages import Recorded, calibrate, outcome
from agora.config import loads
from agora.errors import AgoraError, InputError, ModelError
from agora.model import Model
from agora.records import Reply, Usage
from agora.text.stop import rounds, unanimous


def model(name: str, *replies: str | Reply, usd: float = 0.0) -> ScriptedModel:
    given = [
        reply if isinstance(reply, Reply) else Reply(reply, model=name, usage=Usage(1, 10, 10, usd=usd))
        for reply in replies
    ]
    state = {"n": 0}

    def say(messages: Any) -> Reply:
        state["n"] += 1
        return given[min(state["n"], len(given)) - 1]

    return ScriptedModel(say, name=name)


def ask(cascade: Model, text: str = "?", settings: Settings = Settings()) -> Reply:
    async def go() -> Reply:
        return await cascade.answer([Message("user", text)], settings)

    return anyio.run(go)


def sure(text: str, p: float, logprob: float | None = None) -> Reply:
    return Reply(text, model="m", usage=Usage(1, 10, 10, usd=0.01), confidence=p, logprob=logprob)


# ---- tests of stages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "who"), [(0.95, "cheap"), (0.9, "cheap"), (0.89, "dear")])
def test_confidence(p: float, who: str) -> None:
    stages_ = [
        Stage(model("cheap", sure("Answer: 1", p)), AtLeast("confidence", 0.9)),
        Stage(model("dear", "Answer: 2")),
    ]
    reply = ask(Cascade(stages_, answer="number"))
    assert reply.route is not None
    assert reply.route[0] == who


@pytest.mark.parametrize(("logprob", "who"), [(-0.1, "cheap"), (-0.3, "dear"), (None, "dear"), (float("nan"), "dear")])
def test_log_probability(logprob: float | None, who: str) -> None:
    cheap = model("cheap", Reply("Answer: 1", model="m", usage=Usage(1), logprob=logprob))
    reply = ask(Cascade([Stage(cheap, AtLeast("logprob", -0.2)), Stage(model("dear", "Answer: 2"))]))
    assert reply.route is not None
    assert reply.route[0] == who


def test_agreement_counts_what_cannot_be_read_against_it() -> None:
    """3 of 5 say 1, one abstains, one says 2: agreement .6."""
    samples = ["Answer: 1", "Answer: 2", "Answer: 1", "Answer: none", "Answer: 1"]
    for threshold, who in ((0.6, "cheap"), (0.61, "dear")):
        cascade = Cascade(
            [Stage(model("cheap", *samples), AtLeast("agreement", threshold), 5), Stage(model("dear", "Answer: 3"))],
            answer="number",
        )
        reply = ask(cascade)
        assert reply.route is not None
        assert reply.route[0] == who
        assert reply.text == ("Answer: 1" if who == "cheap" else "Answer: 3")
        assert reply.usage.calls == (5 if who == "cheap" else 6)


def test_samples_have_seeds_of_their_own() -> None:
    seeds: list[int | None] = []

    class Model_(ScriptedModel):
        async def answer(self, messages: Any, settings: Settings = Settings()) -> Reply:
            seeds.append(settings.seed)
            return Reply("Answer: 1", model="m", usage=Usage(1))

    ask(
        Cascade([Stage(Model_("x"), AtLeast("agreement", 1.0), 4), Stage(model("dear", "x"))]),
        settings=Settings(seed=3),
    )
    assert len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("said", "who"),
    [
        ('{"right": true}', "cheap"), ('{"right": false}', "dear"), ("right", "dear"), ('{"right": "true"}', "dear"),
        ('{"right": true} no, {"right": false}', "dear"), ("{" * 10_000, "dear"),
    ],
)  # fmt: skip
def test_a_verifier(said: str, who: str) -> None:
    judge = model("judge", said)
    reply = ask(
        Cascade([Stage(model("cheap", "Answer: 1"), Verified(judge)), Stage(model("dear", "Answer: 2"))]), "2 + 2?"
    )
    assert reply.route is not None
    assert reply.route[0] == who
    assert reply.usage.calls == (2 if who == "cheap" else 3)
    prompt = judge.calls[0][-1].content
    assert "2 + 2?" in prompt
    assert "Answer: 1" in prompt


def test_a_verifier_that_fails_passes_nothing() -> None:
    judge = ScriptedModel("x", failures=1.0)
    reply = ask(Cascade([Stage(model("cheap", "Answer: 1"), Verified(judge)), Stage(model("dear", "Answer: 2"))]))
    assert reply.route == ("dear", "the last stage")


def test_a_trained_scorer(tmp_path: Path) -> None:
    """It learns that agreement means right, whatever the words."""
    draw = np.random.default_rng(0)
    seen, right = [], []
    for i in range(200):
        agreement = float(draw.random())
        reply = Reply(f"some words about {i % 7}", model="m")
        seen.append(Answered(reply, (reply,), agreement, None, None, Usage()))
        right.append(float(agreement > 0.5))
    scorer = fit_answers(seen, right)
    scorer.save(tmp_path / "scorer.json")
    again = AnswerScorer.load(tmp_path / "scorer.json")
    for one in (scorer, again):
        assert one.probability(Answered(seen[0].reply, (), 0.95, None, None, Usage())) > 0.8
        assert one.probability(Answered(seen[0].reply, (), 0.05, None, None, Usage())) < 0.2
    samples = ["Answer: 1"] * 4 + ["Answer: 2"]
    cheap = Stage(model("cheap", *samples), Scored(again, 0.5), 5)
    assert ask(Cascade([cheap, Stage(model("dear", "x"))], answer="number")).route[0] == "cheap"  # type: ignore[index]


# ---- cost, failures, budgets, journals --------------------------------------------------------------------------


def test_its_cost_is_that_of_all_that_were_asked() -> None:
    cheap = model("cheap", sure("Answer: 1", 0.2))
    dear = model("dear", Reply("Answer: 2", model="dear", usage=Usage(1, 10, 10, usd=0.5)))
    never = model("never", "x")
    cascade = Cascade([Stage(cheap, AtLeast("confidence", 0.9)), Stage(dear, AtLeast("agreement", 0.5)), Stage(never)])
    reply = ask(cascade)
    assert reply.usage.usd == pytest.approx(0.51)
    assert reply.usage.calls == 2
    assert [part.text for part in reply.parts] == ["Answer: 1", "Answer: 2"]
    assert never.calls == []


def test_a_stage_that_fails_is_passed_over() -> None:
    broken = ScriptedModel("x", failures=1.0, name="broken")
    reply = ask(Cascade([Stage(broken, AtLeast("agreement", 1.0)), Stage(model("dear", "Answer: 2"))]))
    assert reply.text == "Answer: 2"
    assert "stage broken failed" in reply.warnings[0]


def test_where_the_last_fails_the_last_answer_there_is_is_taken() -> None:
    broken = ScriptedModel("x", failures=1.0, name="broken")
    cascade = Cascade([Stage(model("cheap", sure("Answer: 1", 0.1)), AtLeast("confidence", 0.9)), Stage(broken)])
    reply = ask(cascade)
    assert reply.text == "Answer: 1"
    assert any("which had not passed" in warning for warning in reply.warnings)
    with pytest.raises(ModelError):
        ask(Cascade([Stage(broken)]))


def test_a_budget_ends_it_with_the_answer_there_is() -> None:
    cheap = Stage(model("cheap", sure("Answer: 1", 0.1)), AtLeast("confidence", 0.9))
    for stages_ in ([cheap, Stage(model("dear", "2"))], [Stage(cheap.model, Verified(model("judge", "x"))), cheap]):
        debate = Debate(
            [Agent("a", Cascade(stages_))], moderator=Moderator(rounds(0)), budget=Budget(calls=1), answer="number"
        )
        verdict = debate.run("?")
        assert verdict.answer == "1"
        assert verdict.usage.calls == 1
        assert any("a budget ended the cascade" in warning for warning in verdict.warnings)


def test_a_stage_is_told_to_say_what_its_test_looks_at() -> None:
    """Models say how sure they are only where they are asked."""
    asked: list[tuple[str, int | None]] = []

    class Listening(ScriptedModel):
        async def answer(self, messages: Any, settings: Settings = Settings()) -> Reply:
            asked.append((messages[-1].content, settings.logprobs))
            return Reply("Answer: 1\nConfidence: 95%", model="m", usage=Usage(1), logprob=-0.1)

    for until, who in (("confidence >= 0.9", "cheap"), ("logprob >= -0.2", "cheap"), ("agreement >= 0.5", "cheap")):
        cascade = Cascade([Stage(Listening("x"), parse_until(until), name="cheap"), Stage(model("dear", "x"))])
        reply = ask(cascade, "What is it?")
        assert reply.route is not None
        assert reply.route[0] == who
    assert ["Confidence: P" in text for text, _ in asked] == [True, False, False]
    assert [logprobs for _, logprobs in asked] == [None, 0, None]


def test_what_could_not_be_tested_is_said() -> None:
    for until, says in (
        (AtLeast("logprob", -0.2), "no logprob"),
        (Verified(model("judge", "looks right to me")), "could not be read"),
        (Verified(ScriptedModel("x", failures=1.0)), "the verifier failed"),
    ):
        reply = ask(Cascade([Stage(model("cheap", "Answer: 1"), until), Stage(model("dear", "Answer: 2"))]))
        assert says in reply.warnings[0]


def test_it_is_replayed_from_a_journal(tmp_path: Path) -> None:
    def debate() -> tuple[Debate, list[ScriptedModel]]:
        cheap, dear = model("cheap", "Answer: 1", "Answer: 2", "Answer: 3"), model("dear", "Answer: 9")
        cascade = Cascade([Stage(cheap, AtLeast("agreement", 0.9), 3), Stage(dear)], answer="number")
        return Debate([Agent("a", cascade)], moderator=Moderator(rounds(0)), answer="number"), [cheap, dear]

    first, _ = debate()
    again, models = debate()
    assert first.run("?", journal=tmp_path / "j.sqlite", run="one").answer == "9"
    assert again.run("?", journal=tmp_path / "j.sqlite", run="one").answer == "9"
    assert all(not m.calls for m in models)


# ---- in files ---------------------------------------------------------------------------------------------------

HEAD = """
models:
  fast:
    scripted: ["Answer: 1\\nConfidence: 50%", "Answer: 1", "Answer: 2", "Answer: 1", "Answer: 2", "Answer: 1"]
    name: fast
  strong: {scripted: ["Answer: 7"], name: strong}
"""


def test_one_model_then_a_vote_then_a_debate_is_three_lines() -> None:
    debate, _ = loads(f"""{HEAD}
  sure:
    cascade:
      - {{model: fast, until: confidence >= 0.9}}
      - {{preset: self-consistency, models: {{model: fast}}, until: agreement >= 0.8}}
      - {{preset: society-of-minds, models: {{a: strong, b: strong, c: strong}}}}
agents: {{a: sure}}
answer: number
moderator: {{stop: rounds(0)}}
""")
    verdict = debate.run("?")
    assert verdict.answer == "7"
    assert verdict.usage.calls == 1 + 5 + 9
    part = verdict.parts[0]
    assert part.route == ("society-of-minds", "the last stage")


def test_a_debate_is_a_stage_that_stops_by_its_agreement() -> None:
    inner = Debate([Agent(n, model(n, "Answer: 3")) for n in "abc"], moderator=Moderator(unanimous() | rounds(2)),
                   answer="number")  # fmt: skip
    reply = ask(Cascade([Stage(inner, AtLeast("agreement", 0.9)), Stage(model("dear", "Answer: 4"))], answer="number"))
    assert reply.route is not None
    assert reply.route[0] == "debate"
    assert reply.usage.calls == 3


def test_the_short_form() -> None:
    debate, _ = loads(f"{HEAD}  sure: {{cascade: [fast, strong], until: agreement >= 0.8}}\nagents: {{a: sure}}\n"
                      "answer: number\nmoderator: {stop: rounds(0)}\n")  # fmt: skip
    verdict = debate.run("?")
    assert verdict.answer == "7"
    assert verdict.usage.calls == 6


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{cascade: []}", "needs a list of stages"),
        ("{cascade: [fast, strong]}", "stage 1 has no test"),
        ("{cascade: [fast, strong], until: agreement > 0.8}", "until: cannot read"),
        ("{cascade: [fast, strong], until: agreemnt >= 0.8}", "until: cannot read"),
        ("{cascade: [fast, strong], until: agreement >= 1.8}", "between 0 and 1"),
        ("{cascade: [fast, strong], until: logprob >= 0.5}", "at most 0"),
        ("{cascade: [fast, strong], until: {verifyer: fast}}", "verifier"),
        ("{cascade: [fast, strong], until: {scorer: no.json, at: 0.5}}", "cannot be read"),
        ("{cascade: [fast, slow], until: agreement >= 0.8}", "there is no model 'slow'"),
        ("{cascade: [{model: fast, untl: x}, strong]}", "names one kind"),
        ("{cascade: [fast, strong], until: agreement >= 0.8, samples: 0}", "samples"),
        ("{cascade: [sure, strong], until: agreement >= 0.8}", "contains itself"),
    ],
)
def test_what_is_wrong_with_a_cascade_in_a_file(value: str, says: str) -> None:
    with pytest.raises(AgoraError) as caught:
        loads(f"{HEAD}  sure: {value}\nagents: {{a: sure}}\n", "f.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["agreement>=0.5", " confidence >= 1 ", "logprob >= -0.25"])
def test_tests_that_can_be_read(text: str) -> None:
    assert parse_until(text).threshold <= 1


@pytest.mark.parametrize("text", ["", "agreement", ">= 0.5", "agreement >= x", "agreement >= 0.5 and 1", "a" * 10_000])
def test_tests_that_cannot(text: str) -> None:
    with pytest.raises(InputError, match="until"):
        parse_until(text)


# ---- calibration ------------------------------------------------------------------------------------------------


def recorded() -> Recorded:
    """Four questions, three stages. The cheap one is right where its signal is at least .8, the second where its own is
    at least -.2: one threshold for all would be wrong for one of them."""
    signals = np.array([[0.9, -0.1, np.nan], [0.8, -0.5, np.nan], [0.3, -0.2, np.nan], [0.1, -0.9, np.nan]])
    right = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], float)
    return Recorded(signals, right, np.array([[1.0, 5.0, 50.0]] * 4))


def test_what_thresholds_give_by_hand() -> None:
    """Two stop at the first (1 each), one at the second (1 + 5), one at the last (56)."""
    found = outcome(recorded(), (0.8, -0.2))
    assert found.accuracy == 1.0
    assert found.cost == (1 + 1 + 6 + 56) / 4
    assert found.stopped == (0.5, 0.25, 0.25)


def test_each_stage_gets_a_threshold_of_its_own_signal() -> None:
    found = calibrate(recorded(), accuracy=1.0)
    assert found.thresholds == (0.8, -0.2)
    assert found.cost == 16.0


def test_a_spend_is_kept() -> None:
    found = calibrate(recorded(), spend=4.0)
    assert found.cost <= 4.0
    assert found.accuracy == 0.75  # two by the first stage, one by the second, which answers all that are left
    with pytest.raises(InputError, match="the least is 1"):
        calibrate(recorded(), spend=0.5)
    with pytest.raises(InputError, match="the most is"):
        calibrate(Recorded(np.array([[0.5, 0.5]]), np.zeros((1, 2)), np.ones((1, 2))), accuracy=0.5)


@given(st.integers(0, 10_000), st.floats(1, 56))
@settings(max_examples=40, deadline=None)
def test_no_other_quantiles_do_better(seed: int, spend: float) -> None:
    draw = np.random.default_rng(seed)
    made = Recorded(draw.random((30, 3)), (draw.random((30, 3)) < [0.4, 0.6, 0.9]).astype(float),
                    np.array([[1.0, 5.0, 50.0]] * 30))  # fmt: skip
    best = calibrate(made, spend=spend)
    assert best.cost <= spend + 1e-9
    for a in draw.choice(made.signals[:, 0], 5):
        for b in (np.inf, -1.0):
            other = outcome(made, (float(np.quantile(made.signals[:, 0], 0.5, method="inverted_cdf")), float(b)))
            assert other.cost > spend or other.accuracy <= best.accuracy + 1e-9
        assert a >= 0


def test_many_stages_go_one_after_the_other() -> None:
    draw = np.random.default_rng(0)
    made = Recorded(draw.random((60, 6)), (draw.random((60, 6)) < np.linspace(0.3, 0.9, 6)).astype(float),
                    np.array([[1.0, 2, 4, 8, 16, 32]] * 60))  # fmt: skip
    found = calibrate(made, spend=20.0)
    assert found.cost <= 20.0
    assert len(found.thresholds) == 5


def test_observing_asks_every_stage() -> None:
    cascade = Cascade([Stage(model("cheap", sure("Answer: 1", 0.9)), AtLeast("confidence", 0.5)),
                       Stage(model("dear", Reply("Answer: 2", model="dear", usage=Usage(1, usd=0.5))))])  # fmt: skip

    async def go() -> Recorded:
        return await stages.observe(
            cascade, ["?"], lambda question, a: float("2" in a.reply.text), lambda stage, a: a.confidence
        )

    found = anyio.run(go)
    assert found.right.tolist() == [[0.0, 1.0]]
    assert found.costs.tolist() == [[0.01, 0.5]]
    assert found.signals[0, 0] == 0.9
    assert np.isnan(found.signals[0, 1])
