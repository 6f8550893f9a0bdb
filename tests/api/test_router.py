"""Routers: exact cases, who is never named, what a file may say, what is recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora import Agent, Debate, Message, Moderator, ScriptedModel, Settings
from agora.api import bandit, metrics, outcomes, routerfile, scorers, train
from agora.api.cards import Card, is_local
from agora.api.features import LONGEST, clipped, fit_words
from agora.api.metrics import choose, curve, hull, quality_at, threshold_for_share, weight_for_spend
from agora.api.outcomes import Outcome
from agora.api.predicate import parse
from agora.api.route import Asked, Best, Expected, Mix, Router, Rules
from agora.config import load_model, loads
from agora.errors import InputError, ModelError
from agora.model import Model
from agora.records import Reply, Usage
from agora.text.stop import rounds

SUBJECTS = {"sums": "add the apples and pears", "verse": "write a poem about rain", "law": "which court hears appeals"}


def made(n: int = 60, seed: int = 0) -> list[Outcome]:
    """Two models: 'weak' is right on sums alone, 'strong' everywhere, at ten times the cost."""
    draw = np.random.default_rng(seed)
    found = []
    for i in range(n):
        name = list(SUBJECTS)[i % 3]
        prompt = f"{SUBJECTS[name]} number {int(draw.integers(1000))} {'please' if draw.random() < 0.5 else 'now'} q{i}"
        found.append(Outcome(prompt, "weak", float(name == "sums"), 0.001))
        found.append(Outcome(prompt, "strong", 1.0, 0.01))
    return found


def trained(method: str = "knn", **options: Any) -> routerfile.Learnt:
    return anyio.run(lambda: train.train(outcomes.table(made()), method, options=options))


def ask(model: Model, text: str, settings: Settings = Settings()) -> Reply:
    async def go() -> Reply:
        return await model.answer([Message("user", text)], settings)

    return anyio.run(go)


def pair(**changes: Any) -> dict[str, Model]:
    return {"weak": ScriptedModel("weak says", name="weak"), "strong": ScriptedModel("strong says", name="strong")}


# ---- exact cases of scorers and choices -------------------------------------------------------------------------


def test_the_nearest_of_a_training_prompt_is_itself() -> None:
    vectors = np.eye(4)
    scores = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], float)
    found = scorers.fit_nearest(vectors, scores, k=1, shrinkage=0).scores(vectors)
    assert found.tolist() == scores.tolist()


def test_shrinkage_by_hand() -> None:
    """Two neighbours, 1 and 0 of model a, one of b known (1); means 1/2 and 2/3 of all; two more at the mean."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]])
    scores = np.array([[1, 1], [0, np.nan], [0.5, 1 / 3]])
    found = scorers.fit_nearest(vectors, scores, k=2, shrinkage=2).scores(np.array([[1.0, 0.0]]))
    assert found[0] == pytest.approx([(1 + 0 + 2 * 0.5) / 4, (1 + 2 * 2 / 3) / 3])


def test_cost_changes_the_choice() -> None:
    scores = np.array([[0.6, 0.9], [0.9, 0.9], [0.1, 0.2]])
    assert choose(scores, [0.001, 0.01], 0).tolist() == [1, 0, 1]  # of equals the cheaper
    assert choose(scores, [0.001, 0.01], 100).tolist() == [0, 0, 0]
    assert choose(scores, [0.001, 0.01], 20).tolist() == [1, 0, 0]  # .3 and .1 against .009 * 20


def test_thresholds_at_the_ends() -> None:
    wins = np.array([0.2, 0.5, 0.9])
    assert (wins >= threshold_for_share(wins, 1)).all()
    assert not (wins >= threshold_for_share(wins, 0)).any()
    assert threshold_for_share(wins, 1) == 0
    assert threshold_for_share(wins, 0) > 1


@given(st.lists(st.floats(0, 1), min_size=20, max_size=200, unique=True), st.floats(0, 1))
def test_a_calibrated_share_is_the_share(wins: list[float], share: float) -> None:
    given_ = np.array(wins)
    sent = float((given_ >= threshold_for_share(given_, share)).mean())
    assert abs(sent - share) <= 0.5 / len(wins) + 1e-9


def test_a_calibrated_share_holds_on_new_prompts_within_binomial_error() -> None:
    draw = np.random.default_rng(1)
    threshold = threshold_for_share(draw.random(4000), 0.3)
    sent = float((draw.random(4000) >= threshold).mean())
    assert abs(sent - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000) * math.sqrt(2)


@given(st.integers(0, 1000), st.floats(0.001, 0.01))
@settings(max_examples=50, deadline=None)
def test_a_spend_is_kept(seed: int, spend: float) -> None:
    scores, costs = np.random.default_rng(seed).random((50, 3)), [0.001, 0.004, 0.01]
    chosen = choose(scores, costs, weight_for_spend(scores, costs, spend))
    assert np.array(costs)[chosen].mean() <= spend + 1e-12


def test_a_spend_below_the_cheapest_is_refused() -> None:
    with pytest.raises(InputError, match="less than the cheapest"):
        weight_for_spend(np.zeros((2, 2)), [0.1, 0.2], 0.05)


# ---- the hull and its figures -----------------------------------------------------------------------------------


def test_the_hull_is_convex_and_never_falls() -> None:
    assert hull([(1, 0.5), (2, 0.4), (3, 0.9), (2, 0.6), (4, 0.9)]) == [(1, 0.5), (3, 0.9)]
    assert quality_at([(1, 0.5), (3, 0.9)], 2) == pytest.approx(0.7)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_no_point_is_above_the_hull(points: list[tuple[float, float]]) -> None:
    corners = hull(points)
    assert all(quality <= quality_at(corners, cost) + 1e-9 for cost, quality in points)


def test_a_random_mix_lies_on_the_chord() -> None:
    """APGR of a router that knows nothing is one half, and its curve is straight."""
    weak, strong = np.array([0.0, 0, 1, 1]), np.ones(4)
    made_ = curve(np.full(4, 0.5), weak, strong)
    assert made_.qualities == pytest.approx([0.5, 0.625, 0.75, 0.875, 1])
    assert made_.apgr() == pytest.approx(0.5)
    assert made_.cpt(0.5) == 0.5


def test_a_perfect_router_by_hand() -> None:
    """Half of the prompts need the strong model; sending these first recovers the gap with half of the calls."""
    weak, strong = np.array([0.0, 1, 0, 1]), np.ones(4)
    made_ = curve(np.array([1.0, 0, 1, 0]), weak, strong)
    assert made_.qualities == pytest.approx([0.5, 0.75, 1, 1, 1])
    assert made_.apgr() == pytest.approx((0.25 + 0.75 + 1 + 1) / 4)
    assert (made_.cpt(0.5), made_.cpt(0.8)) == (0.25, 0.5)


@pytest.mark.parametrize("method", ["knn", "logistic", "mf", "graph"])
def test_the_oracle_is_above_every_router_and_every_router_here_above_chance(method: str) -> None:
    learnt = trained(method)
    table = outcomes.table(made(90, seed=5))

    async def go() -> metrics.Report:
        return metrics.report(table, await train.expected(learnt, table), learnt.costs, samples=20)

    found = anyio.run(go).figures
    assert found["aiq_random"] < found["aiq"] <= found["aiq_oracle"] + 1e-9  # type: ignore[operator]
    assert found["apgr"] > 0.6  # type: ignore[operator]


# ---- training: what is wrong with the data ----------------------------------------------------------------------


def test_missing_scores_constant_labels_and_one_model(tmp_path: Path) -> None:
    records = made(30)
    some = [o for i, o in enumerate(records) if i % 3]
    for method in scorers.FITS:
        learnt = anyio.run(lambda method=method: train.train(outcomes.table(some), method))
        assert np.isfinite(learnt.scorer.scores(learnt.features.transform(["add the apples"]))).all()  # type: ignore[attr-defined]
        same = [Outcome(o.prompt, o.model, 1.0) for o in records]
        always = anyio.run(lambda method=method, same=same: train.train(outcomes.table(same), method))
        assert always.scorer.scores(always.features.transform(["poem"])).min() > 0.9  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="chooses among models"):
        anyio.run(lambda: train.train(outcomes.table([o for o in records if o.model == "weak"])))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a", "model": "m"}', "1: 'score' is missing"),
        ('{"prompt": "a", "model": "m", "score": NaN}', "must be a number from 0 to 1"),
        ('{"prompt": "a", "model": "m", "score": 7}', "must be a number from 0 to 1"),
        ('{"prompt": "a", "model": "m", "score": "x"}', "must be a number from 0 to 1"),
        ('{"prompt": "", "model": "m", "score": 1}', "'prompt' must be a text"),
        ('{"prompt": "a", "model": 3, "score": 1}', "'model' must be a text"),
        ('{"prompt": "a", "model": "m", "score": 1, "cost": -1}', "at least 0"),
        ("[1, 2]", "not a JSON object"),
        ("{", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"prompt": "a", "model": "m", "score": null}', "no record with a score"),
        ("", "no record with a score"),
    ],
)
def test_a_wrong_record_is_a_sentence_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"runs\.jsonl") as caught:
        outcomes.read(path)
    assert says in str(caught.value)


def test_a_prompt_of_a_million_characters() -> None:
    prompt = "word " * 200_000
    assert len(clipped(prompt)) <= LONGEST + 1
    features = fit_words(["one two", "three four", prompt])
    assert np.isfinite(features.transform([prompt])).all()


def test_our_words_are_scikit_learns() -> None:
    """The features that a router uses are those that it was trained on, without scikit-learn."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from agora.api.features import _terms, unit

    prompts = [o.prompt for o in made(40)]
    features = fit_words(prompts, dimensions=16)
    theirs = TfidfVectorizer(analyzer=_terms, sublinear_tf=True, vocabulary=features.vocabulary).fit(prompts)
    expected = unit(theirs.transform(prompts) @ features.components.T)
    assert features.transform(prompts) == pytest.approx(np.asarray(expected))


# ---- router files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["knn", "logistic", "mf", "graph"])
@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_router_file_is_what_was_saved(tmp_path: Path, method: str, ending: str) -> None:
    learnt = trained(method)
    path = tmp_path / f"router.{ending}"
    routerfile.save(learnt, path)
    again = routerfile.load(path)
    prompts = [o.prompt for o in made(12, seed=3)]
    before = learnt.scorer.scores(learnt.features.transform(prompts))  # type: ignore[attr-defined]
    after = again.scorer.scores(again.features.transform(prompts))  # type: ignore[attr-defined]
    assert after == pytest.approx(before, abs=1e-5)
    assert (again.models, again.costs, again.weight) == (learnt.models, learnt.costs, learnt.weight)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.json"
    routerfile.save(trained("logistic"), path)
    data = json.loads(path.read_text())
    for change in (
        {"weight": 5}, {"models": ["weak", "evil"]}, {"costs": [0, 0]}, {"method": "pickle"}, {"agora_router": 2},
        {"models": "ab"}, {"features": {}}, {"arrays": {}}, {"threshold": "x"}, {"digest": None},
    ):  # fmt: skip
        path.write_text(json.dumps({**data, **change}))
        with pytest.raises(InputError, match=r"router\.json"):
            routerfile.load(path)
    for junk in (b"", b"{}", b"[]", b"\x80\x04K\x01.", b"\xff" * 40, b"null", b"[" * 100_000):
        for name in ("router.json", "router.safetensors"):
            (tmp_path / name).write_bytes(junk)
            with pytest.raises(InputError, match=r"no router file|changed since"):
                routerfile.load(tmp_path / name)


def test_shapes_that_do_not_fit_are_refused_even_with_a_right_digest(tmp_path: Path) -> None:
    learnt = trained("logistic")
    wrong = scorers.Linear(learnt.scorer.arrays()["weights"][:, :1], learnt.scorer.arrays()["bias"])
    routerfile.save(
        routerfile.Learnt("logistic", learnt.models, learnt.costs, learnt.features, wrong), tmp_path / "r.json"
    )
    with pytest.raises(InputError, match="no router file"):
        routerfile.load(tmp_path / "r.json")


# ---- routers as models ------------------------------------------------------------------------------------------


def test_a_trained_router_sends_each_prompt_where_it_belongs() -> None:
    learnt = trained(k=10)
    router = Router(pair(), Expected(learnt, {"weak": "weak", "strong": "strong"}, weight=50))
    assert ask(router, "add the apples and pears number 7 please").route[0] == "weak"  # type: ignore[index]
    reply = ask(router, "write a poem about rain number 3 now")
    assert reply.route is not None
    assert reply.route[0] == "strong"
    assert reply.text == "strong says"
    assert "expects" in reply.route[1]
    cheap = Router(pair(), Expected(learnt, {"weak": "weak", "strong": "strong"}, weight=1e6))
    assert ask(cheap, "write a poem about rain number 3 now").route[0] == "weak"  # type: ignore[index]


def test_a_threshold_of_0_is_all_strong_and_above_1_all_weak() -> None:
    learnt = trained()
    names = {"weak": "weak", "strong": "strong"}
    for text in SUBJECTS.values():
        for threshold, who in ((0.0, "strong"), (1.01, "weak")):
            router = Router(pair(), Expected(learnt, names, threshold=threshold))
            assert ask(router, text).route[0] == who  # type: ignore[index]


def test_a_router_made_for_other_models_is_refused() -> None:
    with pytest.raises(InputError, match="trained for weak, strong, which are not there"):
        Expected(trained(), {"a": "a", "b": "b"})


CHOOSERS = [
    ('{"reason": "hard", "model": "10"}', "10", False),
    ('{"reason": "easy", "model": "1"}', "1", False),
    ('It should be 10. {"reason": "x", "model": "1"}', "1", False),
    ("10", "1", True),
    ('{"model": "100"}', "1", True),
    ('{"model": ["10"]}', "1", True),
    ("model 10 is best", "1", True),
    ("", "1", True),
    ("{" * 50_000, "1", True),
]


@pytest.mark.parametrize(("said", "who", "fell_back"), CHOOSERS)
def test_a_chooser_never_names_a_model_that_is_not_there(said: str, who: str, fell_back: bool) -> None:
    """'10' is not '1'; what names nobody falls back on the first, and says so."""
    members: dict[str, Model] = {"1": ScriptedModel("one"), "10": ScriptedModel("ten")}
    chooser = ScriptedModel(lambda messages: Reply(said, model="chooser", usage=Usage(1, 5, 5)), name="chooser")
    reply = ask(Router(members, Asked(chooser)), "Which?")
    assert reply.route is not None
    assert reply.route[0] == who
    assert any("so 1 was asked" in w for w in reply.warnings) == fell_back
    assert reply.usage.calls == 2  # the choosing is paid for, whatever came of it


def test_the_chooser_reads_every_card() -> None:
    seen: list[str] = []

    def choose_(messages: Sequence[Message]) -> str:
        seen.append(messages[-1].content)
        return '{"reason": "", "model": "weak"}'

    cards = {"weak": Card(skills="short sums", cost=0.001), "strong": Card(skills="proofs", local=True)}
    ask(Router(pair(), Asked(ScriptedModel(choose_)), given=cards), "What is 1 + 1?")
    for text in ("short sums", "proofs", "$0.001", "stays on this machine", "What is 1 + 1?"):
        assert text in seen[0]


def hosted(name: str) -> Model:
    """A model that says that its prompts leave."""

    class Away(ScriptedModel):
        base_url = "https://example.com/v1"

    model = Away(f"{name} says", name=f"openai:{name}")
    assert not is_local(model)
    return model


@pytest.mark.parametrize("way", ["best", "mix", "rules", "asked", "expected"])
def test_every_router_respects_local_only(way: str) -> None:
    members = {"weak": ScriptedModel("weak says", name="scripted:weak"), "strong": hosted("strong")}
    by: Any = {
        "best": Best("strong"),
        "mix": Mix({"strong": 1.0, "weak": 0.0}),
        "rules": Rules([(parse("length > 0"), "length > 0", "strong")]),
        "asked": Asked(ScriptedModel('{"reason": "", "model": "strong"}')),
        "expected": Expected(trained(), {"weak": "weak", "strong": "strong"}),
    }[way]
    reply = ask(Router(members, by, local_only=True), "write a poem about rain")
    assert reply.route is not None
    assert reply.route[0] == "weak"
    assert members["strong"].calls == []  # type: ignore[attr-defined]


def test_local_only_with_nobody_local_is_refused() -> None:
    with pytest.raises(InputError, match="local_only allows none"):
        Router({"strong": hosted("strong")}, Best("strong"), local_only=True)
    with pytest.raises(InputError, match="does not allow 'strong'"):
        Router({"weak": ScriptedModel("x"), "strong": hosted("s")}, Best("weak"), otherwise="strong", local_only=True)


def test_who_cannot_read_the_prompt_is_not_asked() -> None:
    router = Router(pair(), Best("weak"), given={"weak": Card(context=10)}, otherwise="strong")
    reply = ask(router, "long " * 100)
    assert reply.route is not None
    assert reply.route[0] == "strong"


def test_a_model_that_fails_is_replaced_and_it_is_said() -> None:
    members: dict[str, Model] = {"weak": ScriptedModel("x", failures=1.0), "strong": ScriptedModel("strong says")}
    reply = ask(Router(members, Best("weak"), otherwise="strong"), "?")
    assert reply.text == "strong says"
    assert "weak failed, so strong was asked" in reply.warnings[0]
    with pytest.raises(ModelError):
        ask(Router(members, Best("weak"), otherwise="weak"), "?")


def test_a_debate_says_that_a_router_fell_back() -> None:
    router = Router(pair(), Asked(ScriptedModel("no idea")))
    verdict = Debate([Agent("a", router)], moderator=Moderator(rounds(0))).run("?")
    assert any(w.startswith("a: no model was chosen, so weak was asked") for w in verdict.warnings)


# ---- random mix and rules ---------------------------------------------------------------------------------------


def test_a_mix_keeps_its_weights_and_its_seed() -> None:
    router = Router(pair(), Mix({"weak": 3, "strong": 1}))
    picked = [ask(router, f"q{i}").route[0] for i in range(400)]  # type: ignore[index]
    share = picked.count("weak") / 400
    assert abs(share - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 400)
    assert picked == [ask(router, f"q{i}").route[0] for i in range(400)]  # type: ignore[index]


@pytest.mark.parametrize(
    ("rule", "prompt", "holds"),
    [
        ("length > 3", "abcd", True), ("length > 3", "abc", False), ("words == 2", "two words", True),
        ("contains('PROVE')", "please prove it", True), ("not contains('prove')", "prove", False),
        ("digits >= 2 and lines < 2", "a1b2", True), ("2 < length <= 4 or contains('x')", "abcde", False),
        ("(length > 100 or digits > 0) and contains('a')", "a1", True),
    ],
)  # fmt: skip
def test_rules(rule: str, prompt: str, holds: bool) -> None:
    assert parse(rule)(prompt) is holds


@pytest.mark.parametrize(
    "rule",
    ["", "1", "length", "open('x')", "length.__class__ > 1", "contains(length)", "contains('a', 'b')", "length > 'a'",
     "__import__('os')", "length > 3; 1", "[x for x in y]", "length if 1 else 2", "size > 3", "contains('')",
     "lambda: 1", "(" * 400, "length > 9 ** 9 ** 9", "x" * 501],
)  # fmt: skip
def test_a_rule_evaluates_nothing(rule: str) -> None:
    with pytest.raises(InputError, match="rule:"):
        parse(rule)


# ---- bandits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explore", ["ucb", "thompson"])
def test_a_bandit_learns_who_is_good_at_what(explore: Any, tmp_path: Path) -> None:
    learner = bandit.new(fit_words([o.prompt for o in made(60)]), ["weak", "strong"], costs=[0.001, 0.01],
                         explore=explore, weight=20.0)  # fmt: skip
    router = Router(pair(), learner)
    right = {(o.prompt, o.model): o.score for o in made(150, seed=9)}

    async def go() -> list[tuple[str, str]]:
        picked = []
        for prompt in dict.fromkeys(prompt for prompt, _ in right):
            reply = await router.answer([Message("user", prompt)], Settings(seed=len(picked)))
            assert reply.route is not None
            await learner.feedback(prompt, reply.route[0], right[prompt, reply.route[0]])
            picked.append((prompt, reply.route[0]))
        return picked

    late = anyio.run(go)[-60:]
    best = [(name == "weak") == ("apples" in prompt) for prompt, name in late]
    assert np.mean(best) > 0.85
    learner.save(tmp_path / "bandit.json")
    again = bandit.load(tmp_path / "bandit.json", ["weak", "strong"])
    vectors = learner.features.transform(["write a poem"])  # type: ignore[attr-defined]
    assert again.bandit.scores(vectors) == pytest.approx(learner.bandit.scores(vectors), abs=1e-3)
    anyio.run(again.feedback, "write a poem", "strong", 1.0)
    kept = bandit.load(tmp_path / "bandit.json", ["strong"])
    assert kept.bandit.scores(vectors) == pytest.approx(again.bandit.scores(vectors), abs=1e-3)


def test_a_ridge_by_hand() -> None:
    """One score of 1 on (1, and the constant 1): theta = (I + xx^T)^-1 x = x / 3."""
    learner = bandit.LinearBandit.new(1, 1)
    learner.learn(np.array([1.0]), 0, 1.0)
    assert learner.scores(np.array([[1.0]]))[0, 0] == pytest.approx(2 / 3)
    assert learner.hopes(np.array([1.0]), 0)[0] == pytest.approx(2 / 3 + math.sqrt(2 / 3))


def test_feedback_that_makes_no_sense() -> None:
    learner = bandit.new(fit_words(["one two", "three four"]), ["a", "b"])
    for name, score in (("c", 1.0), ("a", 1.5), ("a", float("nan"))):
        with pytest.raises(InputError, match="feedback"):
            anyio.run(learner.feedback, "one", name, score)


# ---- recorded, and in files -------------------------------------------------------------------------------------


def test_a_resumed_run_makes_the_same_choice(tmp_path: Path) -> None:
    """The choice is in the journal: even a router that would now choose otherwise does not."""

    def debate(weights: dict[str, float]) -> Debate:
        return Debate([Agent("a", Router(pair(), Mix(weights)))], moderator=Moderator(rounds(0)))

    first = debate({"weak": 1, "strong": 0}).run("?", journal=tmp_path / "j.sqlite", run="one")
    again = debate({"weak": 0, "strong": 1}).run("?", journal=tmp_path / "j.sqlite", run="one")
    assert again.text == first.text == "weak says"


def test_outcomes_from_a_journal(tmp_path: Path) -> None:
    from agora import Journal

    agents = [Agent("a", ScriptedModel("Answer: 4", name="good")), Agent("b", ScriptedModel("Answer: 4", name="fair")),
              Agent("c", ScriptedModel("Answer: 5", name="poor"))]  # fmt: skip
    debate = Debate(agents, moderator=Moderator(rounds(1)), answer="number")
    debate.run("What is 2 + 2?", journal=tmp_path / "j.sqlite")

    async def go() -> list[Outcome]:
        async with Journal(tmp_path / "j.sqlite") as journal:
            return await outcomes.from_journal(journal)

    found = anyio.run(go)
    assert {(o.model, o.score) for o in found} == {("good", 1.0), ("fair", 1.0), ("poor", 0.0)}
    assert {o.prompt for o in found} == {"What is 2 + 2?"}


HEAD = "models:\n  fast: {scripted: [fast says], name: fast}\n  strong: {scripted: [strong says], name: strong}\n"


@pytest.mark.parametrize(
    ("value", "who"),
    [
        ("{route: [fast, strong], by: {best: strong}}", "strong"),
        ("{route: [fast, strong], by: {rules: [{when: length > 5, model: strong}]}, else: fast}", "strong"),
        ("{route: [fast, strong], by: {rules: [{when: length > 500, model: strong}]}, else: fast}", "fast"),
        ("{route: [fast, strong], by: {random: {strong: 1}}}", "strong"),
        ("{route: {cheap: fast, dear: strong}, by: {best: dear}}", "strong"),
        (
            '{route: [fast, strong], by: {prompt: {scripted: [\'{"model": "strong"}\']}}, cards: {fast: {skills: x}}}',
            "strong",
        ),
    ],
)
def test_routers_in_a_file(value: str, who: str) -> None:
    debate, _ = loads(f"{HEAD}  auto: {value}\nagents: {{a: auto}}\nmoderator: {{stop: rounds(0)}}\n")
    assert debate.run("What is it?").text == f"{who} says"


def test_a_trained_router_in_a_file(tmp_path: Path) -> None:
    routerfile.save(trained(k=10), tmp_path / "router.json")
    models = {"weak": ScriptedModel("weak says", name="weak"), "strong": ScriptedModel("strong says", name="strong")}
    model = load_model({"route": ["weak", "strong"], "by": "router.json", "lambda": 50}, models, tmp_path)
    assert ask(model, "write a poem about rain").text == "strong says"
    assert ask(model, "add the apples and pears").text == "weak says"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{route: [], by: random}", "needs a list of models"),
        ("{route: [fast, fast], by: random}", "stands there twice"),
        ("{route: [fast, strong]}", "by"),
        ("{route: [fast, strong], by: {best: stong}}", "Did you mean 'strong'"),
        ("{route: [fast, strong], by: magic}", "neither random nor a router file"),
        ("{route: [fast, strong], by: nothing.json}", "cannot be read"),
        ("{route: [fast, strong], by: {best: fast, random: {}}}", "one way to choose"),
        ("{route: [fast, strong], by: {magic: 1}}", "prompt, rules, random"),
        ("{route: [fast, strong], by: {rules: [{when: length, model: fast}]}}", "rule: cannot read"),
        ("{route: [fast, strong], by: {rules: [{whn: length > 1, model: fast}]}}", "Did you mean 'when'"),
        ("{route: [fast, strong], by: random, else: slow}", "none of the models"),
        ("{route: [fast, strong], by: random, lamda: 3}", "Did you mean 'lambda'"),
        ("{route: [fast, strong], by: random, cards: {slow: {}}}", "none of the models that are routed to"),
        ("{route: [fast, strong], by: {random: {fast: -1}}}", "at least 0"),
    ],
)
def test_what_is_wrong_with_a_router_in_a_file(value: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(f"{HEAD}  auto: {value}\nagents: {{a: auto}}\n", "f.yaml")
    assert says in str(caught.value)
    assert "f.yaml:4" in str(caught.value)


def test_packages_register_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken one is left out; what is said of a model goes before what is seen of it."""
    from agora.api import cards

    class Point:
        def __init__(self, value: Any) -> None:
            self.value = value

        def load(self) -> Any:
            if isinstance(self.value, Exception):
                raise self.value
            return self.value

    points = [
        Point({"good": {"skills": "sums", "context": 100, "local": True}}),
        Point(lambda: {"other": {"skills": "verse"}}),
        Point({"bad": {"skils": "x"}}),
        Point(ImportError("gone")),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "agora.cards" else [])
    cards.registered.cache_clear()
    try:
        assert set(cards.registered()) == {"good", "other"}
        made = cards.card_of(ScriptedModel("x", name="good"))
        assert (made.skills, made.context, made.local) == ("sums", 100, True)
        assert cards.card_of(ScriptedModel("x", name="good"), Card(skills="mine")).skills == "mine"
    finally:
        cards.registered.cache_clear()
