"""Presets: a debate file over the one it names, from YAML, from the command line and from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from agora import Agent, Budget, Choice, Debate, Number, ScriptedModel, config
from agora.cli import agora as commands
from agora.config import presets
from agora.config.asking import _with_rounds
from agora.errors import AgoraError, InputError
from agora.text.protocol import Protocol

NAMES = presets.names()

PANEL = """
about: {title: A panel, paper: 'Nobody 1999, arXiv:1', calls: n, tags: [panel, small]}
question: the preset's own?
models: {a: {scripted: 'Answer: 1'}, b: {scripted: 'Answer: 1'}}
agents: {a: a, b: {model: b, temperature: 0.5, persona: Bee.}}
topology: ring
protocol: {view: answer, gates: {follow: 0.1, prune: {keep: 1, first: 3}}, schedule: {kind: sequential}}
moderator: {stop: stable(2) & rounds(1) | rounds(3), quorum: 0.7, decide: {vote: {rule: majority}}}
answer: number
budget: {calls: 50}
seed: 5
"""
ROLES = """
about: {title: Roles}
name: of the file
models: {m: {scripted: 'Answer: 1'}, other: {scripted: 'Answer: 2'}}
agents:
  author: {model: m, persona: You write., temperature: 0.5, templates: {answer: 'Write.', revise: 'Again.'}}
  critic: {model: m, persona: You doubt., count: 2}
  guest: other
protocol: {phases: [{critique: {who: critic}}, {revise: {who: author}}], opening: [{answer: {who: [author]}}]}
moderator: {stop: rounds(0)}
voters: [author]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets in place of the shipped ones."""
    made = tmp_path / "presets"
    made.mkdir()
    (made / "small-panel.yaml").write_text(PANEL)
    (made / "roles.yaml").write_text(ROLES)
    monkeypatch.setattr(presets, "FOLDER", made)
    return made


def merged(text: str) -> dict[str, Any]:
    data, lines = config.reading.parse(text)
    return presets.merged(data, lines, "f.yaml")[0]


def over(text: str, *settings: str) -> Debate:
    return config.loads(text, "f.yaml", settings)[0]


def says(text: str, *settings: str) -> str:
    with pytest.raises(InputError) as caught:
        config.loads(text, "f.yaml", settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- merging ----------------------------------------------------------------------------------------------------


def test_a_name_alone_is_the_preset(folder: Path) -> None:
    debate, question = config.loads("protocol: small-panel\n")
    assert (debate.name, question, debate.seed, debate.topology.name) == ("small-panel", None, 5, "ring")
    assert [agent.name for agent in debate.agents] == ["a", "b"]
    assert config.loads("protocol: SMALL_Panel\nquestion: mine?\nname: mine\n")[1] == "mine?"
    assert config.loads("protocol: roles\nname: mine\n")[0].name == "mine"
    assert debate.run("q?").answer == "1"


def test_mappings_merge_key_by_key(folder: Path) -> None:
    made = merged("protocol: {preset: small-panel, view: {own: hidden}, gates: {prune: {keep: 2}}, memory: own_chat}\n"
                  "moderator: {quorum: 0.5}\nbudget: {usd: 1.0}\nmodels: {c: {scripted: x}}\n")  # fmt: skip
    assert made["protocol"]["view"] == {"text": "answer", "own": "hidden"}
    assert made["protocol"]["gates"] == {"follow": 0.1, "prune": {"keep": 2, "first": 3}}
    assert made["protocol"]["memory"] == "own_chat"
    assert made["moderator"]["stop"] == "stable(2) & rounds(1) | rounds(3)"
    assert made["moderator"]["quorum"] == 0.5
    assert made["budget"] == {"calls": 50, "usd": 1.0}
    assert list(made["models"]) == ["a", "b", "c"]
    assert "preset" not in made["protocol"]


def test_all_else_is_replaced_whole(folder: Path) -> None:
    made = merged("protocol: {preset: small-panel, view: full, schedule: {kind: quorum}, phases: [critique, revise]}\n"
                  "moderator: {decide: {steer: a}}\ntopology: {star: {hub: a}}\nanswer: {choice: [x, y]}\n"
                  "models: {a: {pocket: sum}}\nvoters: [a]\nseed: 0\n")  # fmt: skip
    assert made["protocol"]["view"] == "full"
    assert made["protocol"]["schedule"] == {"kind": "quorum"}
    assert made["protocol"]["phases"] == ["critique", "revise"]
    assert made["moderator"]["decide"] == {"steer": "a"}
    assert (made["topology"], made["answer"], made["seed"]) == ({"star": {"hub": "a"}}, {"choice": ["x", "y"]}, 0)
    assert made["models"]["a"] == {"pocket": "sum"}
    assert made["voters"] == ["a"]


def test_about_is_kept_unless_the_file_has_its_own(folder: Path) -> None:
    assert merged("protocol: small-panel\n")["about"]["title"] == "A panel"
    assert merged("protocol: small-panel\nabout: {title: Mine}\n")["about"] == {"title": "Mine"}
    plain = "agents: {a: {model: {scripted: x}}}\n"
    assert over(f"about: {{title: T, tags: [x]}}\n{plain}").name == "debate"
    assert "f.yaml:1: about.title: must be one line" in says(f'about: {{title: "a\\nb"}}\n{plain}')
    assert "Did you mean 'title'" in says(f"about: {{titel: x}}\n{plain}")
    assert "'title' is missing in about" in says(f"about: {{paper: x}}\n{plain}")


def test_without_roles_agents_are_replaced_altogether(folder: Path) -> None:
    debate = over("protocol: small-panel\nagents: {x: a, y: b, z: a}\n")
    assert [agent.name for agent in debate.agents] == ["x", "y", "z"]
    assert debate.agents[1].persona is None
    assert presets.roles(presets.data("small-panel")) == []


def test_with_roles_they_are_overridden_by_name(folder: Path) -> None:
    assert presets.roles(presets.data("roles")) == ["author", "critic", "guest"]
    made = merged(
        "protocol: roles\nagents:\n  critic: other\n  author: {persona: Mine., templates: {revise: 'Now.'}}\n"
    )
    assert list(made["agents"]) == ["author", "critic", "guest"]
    assert made["agents"]["critic"] == {"model": "other", "persona": "You doubt.", "count": 2}
    author = made["agents"]["author"]
    assert (author["model"], author["persona"], author["temperature"]) == ("m", "Mine.", 0.5)
    assert author["templates"] == {"answer": "Write.", "revise": "Now."}
    wrong = says("protocol: roles\nagents:\n  author: m\n  crtic: m\n")
    assert wrong == ("f.yaml:4: agents: 'crtic' is no role of the preset 'roles', which has author, critic, guest. "
                     "Did you mean 'critic'?")  # fmt: skip


@pytest.mark.parametrize(
    ("named", "has"),
    [
        ("protocol: {phases: [{critique: {who: x}}]}", True),
        ("protocol: {closing: [{answer: {reads: [x-2]}}]}", True),
        ("protocol: {closing: [{answer: {unless: declared(x)}}]}", True),
        ("protocol: {gates: {skip: 'declared(\"x\")'}}", True),
        ("voters: [x]", True),
        ("topology: {edges: [[x, y]]}", True),
        ("topology: {star: {hub: x}}", True),
        ("moderator: {decide: {steer: x}}", True),
        ("moderator: {decide: {vote: {accuracies: {x: 0.5}}}}", True),
        ("moderator: {stop: declared(who=x) | rounds(2)}", True),
        ("moderator: {stop: judge(x) | x | rounds(2)}", False),
        ("moderator: {decide: {judge: x}}", False),
        ("moderator: {stop: 'not ( a rule'}", False),
        ("topology: x", False),
        ("protocol: {phases: [x, {x: {template: x, gives: text}}]}", False),
        ("models: {x: x}", False),
    ],
)
def test_roles_are_agents_that_are_named(named: str, has: bool) -> None:
    data, _ = config.reading.parse(f"agents: {{x: {{model: x, count: 2}}, y: x}}\n{named}\n")
    assert presets.roles(data) == (["x", "y"] if has else [])


def test_set_is_the_files_own(folder: Path) -> None:
    plain = "agents: {a: {model: {scripted: 'Answer: 1'}}}\n"
    assert over(plain, "protocol=small-panel").seed == 5
    assert over(plain, "protocol.preset=small-panel", "protocol.view.own=hidden").protocol.view.own == "hidden"
    debate = over("protocol: small-panel\n", "protocol.view.own=hidden", "moderator.quorum=0.1", "seed=3")
    assert (debate.protocol.view.own, debate.protocol.view.text) == ("hidden", "answer")
    assert (debate.moderator.quorum, debate.seed) == (0.1, 3)
    assert over("protocol: small-panel\n", "protocol=roles", "agents.author.persona=Mine.").agents[0].persona == "Mine."
    assert over("seed: 1\n", "protocol=roles", "protocol.memory=own_chat").protocol.memory == "own_chat"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("seed: 1\nprotocol: smal-panel\n", 2, "there is no preset 'smal-panel'. Did you mean 'small-panel'?"),
        ("protocol:\n  preset: ../small-panel\n", 2, "there is no preset '../small-panel'"),
        ("protocol: ''\n", 1, "there is no preset ''"),
        ("protocol: 5\n", 1, "not int"),
        ("protocol:\n", 1, "not nothing"),
        ("protocol: [small-panel]\n", 1, "not list"),
        ("protocol: {preset: [1]}\n", 1, "protocol.preset: is a preset's name, not list"),
        ("protocol: {preset: null}\n", 1, "not nothing"),
        ("protocol:\n  preset: roles\n  viw: x\n", 3, "Did you mean 'view'"),
        ("protocol: {view: answer}\n", 1, "'agents' is missing"),
        ("seed: 1\nprotocol: roles\nvoters: [autor]\n", 3, "Did you mean 'author'"),
        ("seed: 1\nprotocol: roles\nagents:\n  author: pockt:sum\n", 4, "Did you mean 'pocket:sum'"),
        ("seed: 1\nprotocol: roles\nagents: [author]\n", 3, "agents"),
        ("protocol: roles\nagents:\n  author:\n    personna: x\n", 4, "Did you mean 'persona'"),
        ("seed: 1\nprotocol: roles\nvoters: [critic-9]\n", 3, "there is no agent 'critic-9'"),
        ("seed: 1\nprotocol: broken\n", 2, "there is no model 'nobody'"),
        ("seed: 1\nprotocol: broken\nmodels: {x: {scripted: x}}\n", 2, "there is no model 'nobody'"),
        ("seed: 1\nprotocol: unreadable\n", 2, "not YAML"),
        ("seed: 1\nprotocol: circle\n", 2, "is made of itself: circle, circle-2"),
    ],
)
def test_what_is_wrong_is_said_with_the_users_line(folder: Path, text: str, line: int, what: str) -> None:
    (folder / "broken.yaml").write_text("\n\n\n\nagents: {a: nobody}\n")
    (folder / "unreadable.yaml").write_text("agents: [")
    (folder / "circle.yaml").write_text("protocol: circle-2\n")
    (folder / "circle-2.yaml").write_text("protocol: {preset: Circle}\n")
    said = says(text)
    assert what in said
    assert said.startswith(f"f.yaml:{line}: "), said


def test_a_preset_may_name_another(folder: Path) -> None:
    (folder / "next.yaml").write_text("question: q?\nprotocol: {preset: roles, memory: own_chat}\nagents: {guest: m}\n")
    assert presets.data("next")["question"] == "q?"
    debate = over("protocol: {preset: next, view: answer}\nagents: {author: other}\n")
    assert (debate.name, debate.protocol.memory, debate.protocol.view.text) == ("next", "own_chat", "answer")
    assert debate.agents[0].persona == "You write."
    assert presets.roles(presets.data("next")) == ["author", "critic", "guest"]
    assert presets.about("next").title == "Roles"


def test_using_a_preset_does_not_change_it(folder: Path) -> None:
    before = json.dumps(presets.data("roles"))
    over("protocol: {preset: roles, memory: own_chat}\nagents: {author: {templates: {answer: Mine.}}}\n")
    assert json.dumps(presets.data("roles")) == before


def test_a_run_with_a_preset_can_be_resumed(folder: Path) -> None:
    text = "protocol: small-panel\n"
    source = over(text, "seed=3").source
    assert source is not None
    again = over(source["text"], *source["settings"])
    assert (source["text"], again.seed) == (text, 3)


@pytest.mark.parametrize(
    ("data", "right"),
    [
        ({"protocol": "mad"}, True),
        ({"protocol": {"preset": "mad", "view": "answer"}, "about": {"title": "x"}}, True),
        ({"agents": {"a": "pocket:sum"}, "protocol": {"view": "answer"}}, True),
        ({"agents": {"a": "pocket:sum"}}, True),
        ({"protocol": {"view": "answer"}}, False),
        ({"protocol": 5}, False),
        ({"seed": 1}, False),
        ({"protocol": "mad", "about": {"paper": "x"}}, False),
    ],
)
def test_the_published_schema_knows_both_forms(data: Any, right: bool) -> None:
    assert jsonschema.Draft202012Validator(config.schema()).is_valid(data) is right


# ---- what is shipped --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_what_it_is_and_runs_as_a_file(name: str, tmp_path: Path) -> None:
    said = presets.about(name)
    for key in ("title", "rules", "calls", "tokens", "strengths", "failures", "tags"):
        assert getattr(said, key), key
    assert len(said.title) <= 100
    assert all(tag == tag.casefold() for tag in said.tags)
    path = tmp_path / f"{name}.yaml"
    done = CliRunner().invoke(commands, ["init", name, "-o", str(path)], catch_exceptions=False)
    assert f"agora run {path}" in done.output
    assert path.read_text(encoding="utf-8") == presets.text(name)
    debate, question = config.load(path)
    assert question
    assert isinstance(debate.protocol, Protocol)
    named = over(f"protocol: {name}\n")
    assert [agent.name for agent in named.agents] == [agent.name for agent in debate.agents]
    assert (named.name, str(named.moderator.stop)) == (name, str(debate.moderator.stop))
    assert jsonschema.Draft202012Validator(config.schema()).is_valid(presets.data(name))


# ---- from Python ------------------------------------------------------------------------------------------------


def test_python_replaces_agents_without_roles(folder: Path) -> None:
    one, two = Agent("x", ScriptedModel("Answer: 1")), Agent("y", ScriptedModel("Answer: 1"), "Mine.")
    debate = Debate.preset("small-panel", [one, two], answer=Number(), budget=Budget(calls=9), seed=8)
    assert debate.agents == (one, two)
    assert (debate.answer_type, debate.budget, debate.seed) == (Number(), Budget(calls=9), 8)
    assert (debate.source, debate.name) == (None, "small-panel")
    assert debate.run("q?").answer == "1"
    mixed = Debate.preset("Small_Panel", {"x": ScriptedModel("x", name="one"), "y": "b", "z": one})
    assert [agent.name for agent in mixed.agents] == ["x", "y", "z"]
    assert mixed.agents[0].model.name == "one"
    assert (mixed.seed, mixed.budget.calls) == (5, 50)


def test_python_gives_roles(folder: Path) -> None:
    model = ScriptedModel("Answer: 3", name="mine")
    debate = Debate.preset("roles", {"author": model, "critic": Agent("bob", model), "guest": "m"})
    author, critic, guest = debate.agents
    assert (author.model, author.persona, author.settings.temperature) == (model, "You write.", 0.5)
    assert author.templates["answer"] == "Write."
    assert (critic.name, critic.model, critic.persona, guest.model.name) == ("critic", model, "You doubt.", "scripted")
    mine = Debate.preset("roles", [Agent("author", model, "Mine.")])
    assert [agent.persona for agent in mine.agents] == ["Mine.", "You doubt.", "You doubt.", None]
    assert mine.run("q?").answer == "3"
    swapped = Debate.preset("roles", models={"m": model}, answer={"choice": ["A", "B"]},
                            settings=["moderator.stop=rounds(1)", "agents.author.persona=Set."])  # fmt: skip
    assert swapped.agents[0].model is model
    assert (swapped.agents[0].persona, swapped.moderator.last) == ("Set.", 1)
    assert swapped.answer_type == Choice(["A", "B"])


@pytest.mark.parametrize(
    ("arguments", "options", "what"),
    [
        (("rols",), {}, "Did you mean 'roles'?"),
        ((5,), {}, "there is no preset '5'"),
        (("roles", {"writer": "m"}), {}, "'writer' is no role of the preset 'roles', which has author, critic, guest"),
        (("roles", {"author": 5}), {}, "author is of type int"),
        (("roles", [ScriptedModel("x")]), {}, "needs Agents, or a mapping"),
        (("roles", "author"), {}, "needs Agents, or a mapping"),
        (("roles", 5), {}, "needs Agents, or a mapping"),
        (("roles", []), {}, "at least one agent"),
        (("roles", [Agent("author", ScriptedModel("x"))] * 2), {}, "two are called 'author'"),
        (("roles", {"author": "n"}), {}, "there is no model 'n'"),
        (("roles",), {"models": {"othr": ScriptedModel("x")}}, "Did you mean 'other'?"),
        (("roles",), {"models": 5}, "models: needs a Mapping"),
        (("roles",), {"budget": 5}, "budget: needs a Budget"),
        (("roles",), {"seed": "x"}, "seed"),
        (("roles",), {"answer": "numbr"}, "numbr"),
        (("roles",), {"settings": ["x"]}, "--set needs KEY=VALUE"),
        (("roles",), {"settings": ["protocol.viw=x"]}, "Did you mean 'view'?"),
    ],
)
def test_misuse_in_python_is_said(folder: Path, arguments: Any, options: Any, what: str) -> None:
    with pytest.raises(InputError) as caught:
        Debate.preset(*arguments, **options)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- the command line -------------------------------------------------------------------------------------------


def agora(*arguments: str) -> Result:
    done = CliRunner().invoke(commands, list(arguments), env={"COLUMNS": "80"})
    if isinstance(done.exception, AgoraError):
        assert "\n" not in str(done.exception)
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def wrong(*arguments: str) -> str:
    done = agora(*arguments)
    assert isinstance(done.exception, AgoraError), done.output
    assert done.exception.exit_status == 2
    return str(done.exception)


def test_presets_lists_them() -> None:
    shown = agora("presets").output
    assert all(name in shown for name in NAMES)
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    listed = json.loads(agora("presets", "--json").stdout)["presets"]
    assert [one["name"] for one in listed] == NAMES
    keys = {"name", "title", "paper", "calls", "tokens", "where", "rules", "strengths", "failures", "differences",
            "tags", "roles"}  # fmt: skip
    assert all(keys <= set(one) for one in listed)


def test_presets_by_tag(folder: Path) -> None:
    assert [one["name"] for one in json.loads(agora("presets", "--tag", "panel", "--json").stdout)["presets"]] == [
        "small-panel"
    ]
    assert wrong("presets", "--tag", "pannel").endswith("there are panel, small. Did you mean 'panel'?")
    assert "Leave it out" in wrong("presets", "roles", "--tag", "panel")


def test_presets_says_what_one_is(folder: Path) -> None:
    shown = " ".join(agora("presets", "SMALL_panel").output.split())
    assert shown.startswith("small-panel: A panel ")
    for what in ("Nobody 1999, arXiv:1", "panel, small", "a, b (any others will do)", " calls of 2 agents; stop: "):
        assert what in shown
    one = json.loads(agora("presets", "roles", "--json").stdout)
    assert (one["roles"], one["predicted"]["calls"]) == (["author", "critic", "guest"], {"least": 1, "most": 1})
    assert "there is no preset '../x'" in wrong("presets", "../x")


def test_init_writes_a_file_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert agora("init", "Small_Panel").output.endswith("run it with: agora run small-panel.yaml\n")
    assert Path("small-panel.yaml").read_text() == PANEL
    assert "is there already" in wrong("init", "small-panel")
    assert agora("init", "roles", "-o", "small-panel.yaml", "--force").exit_code == 0
    assert Path("small-panel.yaml").read_text() == ROLES
    assert agora("init", "roles", "-o", "-").output == ROLES
    assert not Path("-").exists()
    assert "'a b.yaml'" in agora("init", "roles", "-o", "a b.yaml").output
    for name in ("../../etc/passwd", "/etc/passwd", "", "roles.yaml", "a\x00b"):
        assert "there is no preset" in wrong("init", name)
    assert "is a folder" in wrong("init", "roles", "-o", ".")
    assert "cannot be written: no such file" in wrong("init", "roles", "-o", "none/x.yaml")


def test_ask_with_a_preset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Debate] = []
    monkeypatch.setattr("agora.cli.debates.follow", lambda debate, *rest: made.append(debate))

    def ask(*arguments: str) -> Debate:
        assert agora("ask", "q?", *arguments).exit_code == 0
        return made.pop()

    monkeypatch.setenv("OPENAI_API_KEY", "test")
    debate = ask("-p", "small_panel", "-m", "pocket:sum")
    assert [(agent.name, agent.model.name) for agent in debate.agents] == [("a", "pocket:sum"), ("b", "pocket:sum")]
    assert (debate.name, debate.answer_type, debate.topology.name) == ("small-panel", Number(), "ring")
    assert debate.source is not None
    assert config.loads(debate.source["text"])[0].agents[1].persona == "Bee."
    debate = ask("--protocol", "small-panel", "-m", "openai:one", "-m", "pocket:sum", "-m", "openai:one")
    assert [agent.name for agent in debate.agents] == ["a", "b", "one-3"]
    assert str(debate.answer_type) != str(Number())
    assert debate.agents[2].persona is None
    debate = ask("--preset", "small-panel", "-m", "openai:one", "-a", "yes_no", "-t", "complete", "-r", "7")
    assert (debate.topology.name, debate.moderator.last, type(debate.answer_type).__name__) == ("complete", 7, "YesNo")
    assert "rounds(7)" in str(debate.moderator.stop)
    debate = ask("-p", "roles", "-m", "pocket:sum", "-m", "pocket:mul")
    assert [agent.model.name for agent in debate.agents] == ["pocket:sum"] * 3 + ["pocket:mul"]
    assert [agent.model.name for agent in ask("-p", "roles").agents] == ["openai:gpt-5-mini"] * 4


def test_what_a_preset_cannot_be_asked(folder: Path) -> None:
    model = ("-m", "pocket:sum")
    assert "there is no preset ''" in wrong("ask", "q?", "-p", "", *model)
    assert "Did you mean 'roles'" in wrong("ask", "q?", "-p", "role", *model)
    assert "takes 2 models, not 3" in wrong("ask", "q?", "-p", "roles", *model, *model, *model)
    assert "says itself who reads whom" in wrong("ask", "q?", "-p", "roles", *model, "-t", "ring")
    assert "has no number of rounds to set" in wrong("ask", "q?", "-p", "roles", *model, "-r", "2")
    (folder / "counted.yaml").write_text("models: {m: pocket:sum}\nagents: {a: {model: m, count: 3}}\n")
    assert "takes 1 model, not 2" in wrong("ask", "q?", "-p", "counted", *model, *model)


@pytest.mark.parametrize(
    ("stop", "made"),
    [
        ("unanimous | rounds(2)", "unanimous | rounds(7)"),
        ("declared & rounds(1) | rounds( 12 )", "declared & rounds(1) | rounds( 7 )"),
        ("rounds(n=3)|stable(2)", "rounds(n=7)|stable(2)"),
        ("unanimous & rounds(1)", "unanimous & rounds(7)"),
        ("(stable(2) | rounds(3)) | rounds(4)", "(stable(2) | rounds(7)) | rounds(7)"),
        ("unanimous\n  | rounds(2)", "unanimous | rounds(7)"),
        ("rounds(0)", None),
        ("unanimous", None),
    ],
)
def test_rounds_are_set_where_they_end_it(stop: str, made: str | None) -> None:
    assert _with_rounds(stop, 7) == made


def test_a_preset_runs_from_the_command_line() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agora.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    question = "Gus has 40 keys. Gus buys 43 and gets 59. How many keys now?"
    done = run("ask", question, "-p", NAMES[0], "--store", "none", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["calls"]
    done = run("init", "../../etc/passwd")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_another_model_for_an_agent_keeps_its_number_and_settings() -> None:
    debate, _ = config.loads("protocol: self-consistency\nagents: {sample: pocket:mul}\n")
    assert len(debate.agents) == 5
    assert {agent.model.name for agent in debate.agents} == {"pocket:mul"}
    assert debate.agents[0].settings.temperature == 0.7
