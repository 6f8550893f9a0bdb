"""Debate files that are tuned: their text, what they leave open, what is usual, what is wrong."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from crowd import Exact
from hypothesis import given
from hypothesis import strategies as st

from agora import config
from agora.answers import Number
from agora.config import presets
from agora.config.reading import parse
from agora.errors import InputError
from agora.evaluate import Dataset, Item, evaluate
from agora.tune import tune
from agora.tune.editing import rewritten
from agora.tune.space import KEPT, FileSpace, Space
from agora.tune.usual import OWN, put

TEXT = """\
# who takes part
agents:            # three
  a: {model: {scripted: "Answer: 1"}}
  b: {model: {scripted: "Answer: 2"}}   # the second

  c:
    model: {scripted: "Answer: 3"}
    persona: |
      You are
      careful.
  # nobody else
topology: complete # everybody
moderator:
  stop: unanimous | rounds(3)   # at most
  decide: plurality
answer: number
"""


def file(folder: Path, text: str = TEXT, **options: Any) -> FileSpace:
    path = folder / "debate.yaml"
    path.write_text(text, encoding="utf-8")
    return FileSpace(path, **options)


AGENTS = 'agents: {a: {model: {scripted: "Answer: 1"}}, b: {model: {scripted: "Answer: 2"}}}\nanswer: number\n'


# ---- text -------------------------------------------------------------------------------------------------------


def test_what_does_not_change_keeps_its_comments_and_its_place() -> None:
    data, _ = parse(TEXT)
    assert rewritten(TEXT, data) is TEXT
    data["topology"] = {"edges": [["a", "b"]]}
    data["moderator"]["limit"] = 1
    data["agents"]["b"]["persona"] = "be: brief, or # not"
    del data["agents"]["c"]
    data["protocol"] = {"view": {"text": "answer"}}
    made = rewritten(TEXT, data)
    assert parse(made)[0] == data
    assert (
        made
        == """\
# who takes part
agents:            # three
  a: {model: {scripted: "Answer: 1"}}
  b: {model: {scripted: "Answer: 2"}, persona: 'be: brief, or # not'}   # the second

  # nobody else
topology: {edges: [[a, b]]} # everybody
moderator:
  stop: unanimous | rounds(3)   # at most
  decide: plurality
  limit: 1
answer: number
protocol: {view: {text: answer}}
"""
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1}\nc: *x\n", "base: &x {b: 1, d: 2}\nc: {<<: *x, e: 3}\n",
        "a:\n- 1\n- {b: 2}\nc: >\n  text\n  more\n",
        "a: {b: 1}", "{a: {b: 1}, c: [1, 2]}", "a: {}\nc: []\nd:\n", "a: 1 # one\r\nc: 2\r\n",
        "---\na: 'it''s'\nc: \"\\u00e9\"\n...\n",
        "a:\n  b:\n    c: |-\n      x\n    d: 1\n",
    ],
)  # fmt: skip
@given(st.randoms(use_true_random=False))
def test_the_text_always_has_the_new_data(text: str, rng: random.Random) -> None:
    data, _ = parse(text)
    made = copy.deepcopy(data)
    for _ in range(rng.randint(1, 4)):
        place: Any = made
        while rng.random() < 0.6:
            inner = [v for v in place.values() if isinstance(v, dict) and v]
            if not inner:
                break
            place = rng.choice(inner)
        key = rng.choice([*place, "new", "not: plain", "7"])
        if rng.random() < 0.3 and key in place and len(made) > 1:
            del place[key]
        else:
            place[key] = rng.choice(
                [None, True, 3, 0.5, "a, b", "x: y #", "", "on", [1, {"z": "}"}], {"k": {"l": "é\n"}}]
            )
    if made:
        assert parse(rewritten(text, made))[0] == made


# ---- left open --------------------------------------------------------------------------------------------------


def test_values_left_open_are_filled_in_place(tmp_path: Path) -> None:
    text = TEXT.replace("topology: complete", "topology: {choose: [ring, star, {edges: [[a, b]]}]}")
    text = text.replace("decide: plurality", "decide: {choose: [plurality, confidence]}")
    text = text.replace(
        "moderator:", "protocol: {temperature: {search: [0, 2]}, agreement: {search: [2, 10], step: 4}}\nmoderator:"
    )
    space = file(tmp_path, text).space()
    assert [one.name for one in space.parameters] == [
        "topology", "protocol.temperature", "protocol.agreement", "moderator.decide"
    ]  # fmt: skip
    assert space.start == {
        "topology": "ring", "protocol.temperature": 1.0, "protocol.agreement": 6, "moderator.decide": "plurality",
    }  # fmt: skip
    built = space.build({**space.start, "topology": {"edges": [["a", "b"]]}, "protocol.temperature": 0.25})
    assert built.debate.topology.edges == (("a", "b"),)
    assert built.text is not None
    assert "topology: {edges: [[a, b]]} # everybody" in built.text
    assert "{temperature: 0.25, agreement: 6}" in built.text
    assert config.loads(built.text)[0].topology.edges == (("a", "b"),)
    rng = random.Random(0)
    drawn = [space.drawn(rng) for _ in range(60)]
    assert {values["protocol.agreement"] for values in drawn} == {2, 6, 10}
    assert all(0 <= values["protocol.temperature"] <= 2 for values in drawn)
    assert all(len(str(values["protocol.temperature"])) <= 8 for values in drawn)  # as one would write it
    for values in drawn:
        assert space.build(values).debate.topology.agents == ("a", "b", "c")


def test_a_choice_of_nothing_leaves_an_item_of_a_list_out(tmp_path: Path) -> None:
    text = AGENTS + "voters: [{choose: [a, null]}, {choose: [b, null]}]\n"
    space = file(tmp_path, text).space()
    voters = {
        tuple(space.build({"voters.0": a, "voters.1": b}).debate.voters)
        for a, b in [("a", "b"), (None, "b"), ("a", None)]
    }
    assert voters == {("a", "b"), ("b",), ("a",)}


def test_over_adds_to_what_the_file_says(tmp_path: Path) -> None:
    over = ["topology=complete,ring,{edges: [[a, b], [b, c]]}", "protocol.view.text=full,answer", "moderator.limit=1"]
    space = file(tmp_path, over=over, settings=["moderator.stop=rounds(2)"]).space()
    assert [one.choices for one in space.parameters] == [
        (KEPT, "ring", {"edges": [["a", "b"], ["b", "c"]]}), (KEPT, "full", "answer"), (KEPT, 1)
    ]  # fmt: skip
    start = space.build(space.start)
    assert start.text == TEXT.replace("unanimous | rounds(3)", "rounds(2)")
    made = space.build({"topology": "ring", "protocol.view.text": "answer", "moderator.limit": 1})
    assert (made.debate.protocol.view.text, made.debate.moderator.last) == ("answer", 1)


def test_a_start_without_changes_is_the_file_itself(tmp_path: Path) -> None:
    space = file(tmp_path, asked=["answer=number"]).space()
    built = space.build(space.start)
    assert built.text == TEXT  # so its runs are those of `agora eval FILE`
    assert built.debate.source is not None
    assert built.debate.source["settings"] == ["answer=number"]


def test_what_an_evaluation_has_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    path, store = tmp_path / "debate.yaml", tmp_path / "runs.sqlite"
    path.write_text(TEXT, encoding="utf-8")
    made = [Item(str(i), f"Question {i}?", ("2",), Number()) for i in range(16)]
    data = Dataset("made", made, Exact())
    evaluate(config.load(path, ['answer="number"'])[0], data, baselines=(), journal=store)
    tuned = tune(path, data, trials=1, journal=store)
    assert (tuned.spent.calls, tuned.earlier.calls) == (0, 16 * 12)
    assert tuned.winner is tuned.start


# ---- what is usual ----------------------------------------------------------------------------------------------


def usual(folder: Path, text: str) -> Space:
    return file(folder, text).space()


def choices(space: Space, name: str) -> tuple[Any, ...]:
    return next((one.choices for one in space.parameters if one.name == name), ())


def test_what_is_usual(tmp_path: Path) -> None:
    space = usual(tmp_path, TEXT)
    assert choices(space, "moderator.limit") == (KEPT, 2, 1, 0)  # the file's own is 3
    assert choices(space, "topology") == (KEPT, "relay", "star", "chain", "isolated", OWN)  # a ring of 3 is complete
    assert choices(space, "protocol.view.confidence") == (KEPT, True)
    assert choices(space, "moderator.decide")[:2] == (KEPT, "confidence")
    alone = usual(tmp_path, TEXT.replace("unanimous | rounds(3)", "rounds(0)"))  # nobody is asked how sure it is
    assert {one.name for one in alone.parameters} == {"agents.a", "agents.b", "agents.c"}
    assert choices(space, "agents.c") == (True, False)
    edges = [one.name for one in space.parameters if " -> " in one.name]
    assert len(edges) == 6
    values = {**space.start, "topology": OWN, "agents.b": False, "a -> c": True, "c -> a": False}
    asked = {one.name for one in space.parameters if one.when is not None and one.when(values)}
    assert {name for name in asked if " -> " in name} == {"a -> c", "c -> a"}
    assert space.build(values).debate.topology.edges == (("a", "c"),)
    alone = space.build({"agents.a": True, "agents.b": False, "agents.c": False})
    assert [agent.name for agent in alone.debate.agents] == ["a"]
    with pytest.raises(InputError, match="no agent is left"):
        space.build({"agents.a": False, "agents.b": False, "agents.c": False})
    rng = random.Random(1)
    for _ in range(100):  # what means nothing is not asked: the last agent stays, one alone reads nobody
        drawn = space.drawn(rng)
        team = [drawn.get(f"agents.{name}", True) for name in "abc"]
        assert any(team)
        assert ("topology" in drawn) is (sum(team) > 1 and drawn["moderator.limit"] != 0)
        assert ("moderator.decide" in drawn) is (sum(team) > 1)


def test_who_has_a_part_to_play_stays(tmp_path: Path) -> None:
    text = TEXT + "protocol: {phases: [{critique: {who: a}}, revise]}\nvoters: [b, c]\n"
    space = usual(tmp_path, text)
    assert not [one.name for one in space.parameters if one.name.startswith("agents.")]


def test_groups_get_smaller(tmp_path: Path) -> None:
    space = usual(tmp_path, 'agents: {s: {model: {scripted: "Answer: 1"}, count: 8}}\nanswer: number\n')
    assert choices(space, "agents.s") == (True, 7, 4, 1)  # somebody stays
    assert len(space.build({"agents.s": 4}).debate.agents) == 4


def test_the_most_important_agents_are_tried_first(tmp_path: Path) -> None:
    space = usual(tmp_path, TEXT)
    assert space.early is not None
    teams = [{k[-1] for k, stays in team.items() if stays} for team in space.early({"a": 0.2, "b": 0.5, "c": 0.3})]
    assert teams == [{"b", "c"}, {"b"}]


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_a_space_whose_debates_build_or_say_why(name: str, tmp_path: Path) -> None:
    space_of = file(tmp_path, presets.text(name))
    try:
        space = space_of.space()
    except InputError as error:
        assert "nothing can be tuned" in error.message  # noqa: PT017
        return
    assert space.build(space.start).text == presets.text(name)
    rng, built = random.Random(name), 0
    for _ in range(4):
        try:
            made = space.build(space.drawn(rng))
        except InputError as error:
            assert len(error.message.splitlines()) == 1  # noqa: PT017
            continue
        built += 1
        assert made.text is not None
        assert config.loads(made.text, folder=tmp_path)[0].topology.edges == made.debate.topology.edges
    assert built


def test_a_large_debate_is_not_compared_edge_by_edge(tmp_path: Path) -> None:
    text = 'agents: {s: {model: {scripted: "Answer: 1"}, count: 3000}}\ntopology: ring\nanswer: number\n'
    assert "complete" not in choices(usual(tmp_path, text), "topology")


# ---- what is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "over", "said"),
    [
        (AGENTS + "topology: {choose: [ring]}\n", (), "'choose' takes a list"),
        (AGENTS + "topology: {choose: ring}\n", (), "'choose' takes a list"),
        (AGENTS + "seed: {search: [3, 1]}\n", (), "is not below"),
        (AGENTS + "seed: {search: 3}\n", (), "'search' takes"),
        (AGENTS + "seed: {search: [0, 9], step: 0}\n", (), "a step is above 0"),
        (AGENTS + "topology: {choose: [nowhere, ring]}\n", (), "unknown topology 'nowhere'"),
        (AGENTS + "topolgy: {choose: [star, ring]}\n", (), "unknown key 'topolgy'"),
        (AGENTS, ("topology",), "is not KEY=VALUE"),
        (AGENTS, ("=ring",), "is not KEY=VALUE"),
        (AGENTS, ("topology=",), "is not KEY=VALUE"),
        (AGENTS, ("topology=[ring",), "is not KEY=VALUE"),
        (AGENTS, ("answer.places=2",), "--over answer.places"),
        (AGENTS, ("topology=ring", "topology=star"), "left open twice"),
        (AGENTS + "topology: {choose: [star, ring]}\n", ("topology=tree",), "left open twice"),
        ("- a\n", (), "a debate file is a mapping"),
        ("agents: {}\n", (), "agents"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(text: str, over: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        file(tmp_path, text, over=over).space()
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_short_forms_on_the_way_are_written_out() -> None:
    data: dict[str, Any] = {"protocol": "reconcile"}
    put(data, ["protocol", "view", "text"], "answer")
    assert data == {"protocol": {"preset": "reconcile", "view": {"text": "answer"}}}
    data = {"protocol": {"view": "full"}}
    put(data, ["protocol", "view", "text"], "answer")
    assert data == {"protocol": {"view": {"text": "answer"}}}
    with pytest.raises(InputError, match="has no keys"):
        put({"moderator": 3}, ["moderator", "limit"], 1)
