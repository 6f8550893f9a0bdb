"""The debate of a question without a file: of a preset or of none, among models that are named or found here."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agora.config import presets
from agora.errors import InputError

CHEAP = {"openai": "openai:gpt-5-mini", "anthropic": "anthropic:claude-haiku-4-5"}


@dataclass(frozen=True)
class Asking:
    """A debate as it is asked for.

    Attributes:
        data: of its debate file.
        models: what answers.
        found: where they were found; '' where they were named.
    """

    data: dict[str, Any]
    models: tuple[Any, ...]
    found: str = ""


async def asking(
    question: str,
    models: Sequence[Any] = (),
    *,
    preset: str | None = None,
    answer: str | None = None,
    topology: str | None = None,
    rounds: int | None = None,
    person: str | None = None,
    own_port: int | None = None,
) -> Asking:
    """The debate of a question.

    Args:
        question: it.
        models: as under `models:` in a debate file; none: those found here.
        preset: a published protocol; None: answers, then rounds in which all read all.
        answer: 'number', 'yes_no', 'text' or 'json'; None: the preset's, else what the models can give.
        topology: who reads whom; None: the preset's, else 'complete'.
        rounds: after the first answers; None: the preset's, else 2.
        person: the name of an agent who is a person: one more, or in a preset with roles the one that is so called.
        own_port: where this process itself offers models, so that it does not find them.

    Raises:
        InputError: if there is no such preset, it cannot be changed in this way, or no model can be found.
    """
    if preset is not None:
        preset = presets.known(preset)  # a wrong one is said before models are looked for
    chosen, found = list(models), ""
    if not chosen:
        from agora.models.pocket import problems

        chosen, found = await choose(question, own_port)
        if preset is not None:  # which may have fewer places: who can answer this goes first
            skill = f"pocket:{problems.skill_of(question.removeprefix('Q: '))}"
            chosen.sort(key=lambda model: model != skill)
    names = names_of(chosen)
    small = all(isinstance(model, str) and model.startswith("pocket:") for model in chosen)
    data: dict[str, Any]
    if preset is not None:
        data = over_preset(preset, chosen, chosen=bool(models), names=names, answer=answer, topology=topology,
                           rounds=rounds)  # fmt: skip
    else:
        data = {
            "name": "ask",
            "agents": {name: {"model": model} for name, model in zip(names, chosen, strict=True)},
            "topology": topology or "complete",
            "moderator": {
                "stop": f"unanimous | rounds({2 if rounds is None else rounds})",
                "decide": "confidence" if small and person is None else "plurality",
            },
            "answer": "number" if small and answer in (None, "text") else answer or "text",
        }
        if small:
            data["protocol"] = {"view": {"text": "answer", "own": "peer", "confidence": True}}
    if person is not None:
        data["agents"] = _seated(person, data, preset)
    return Asking(data, tuple(chosen), found)


def names_of(models: Sequence[Any]) -> list[str]:
    """What the agents of models are called: as the model, numbered where it is there twice."""
    texts = [model if isinstance(model, str) else str(next(iter(model.values()))) for model in models]
    names = [text.rpartition(":")[2][:60] or text[:60] for text in texts]
    return [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names, 1)]


async def choose(question: str, own_port: int | None = None) -> tuple[list[Any], str]:
    """Models that can answer here, and where they were found.

    Args:
        question: what they are to answer.
        own_port: where this process itself offers models, so that it does not find them.

    Raises:
        InputError: if there are none.
    """
    import os

    from agora.models import discover
    from agora.models.pocket import problems

    keys = {found.model.partition(":")[0] for found in discover.by_key(os.environ) if found.ready}
    vendors = [CHEAP[kind] for kind in CHEAP if kind in keys]
    if vendors:
        return [vendors[i % len(vendors)] for i in range(3)], "by the keys in the environment"
    local = await discover.local_servers(discover.ports_but(own_port))
    if local:
        names = [{"openai": found.model.partition(":")[2], **found.options} for found in local[:3]]
        return [names[i % len(names)] for i in range(3)], f"found at {local[0].options['base_url']}"
    text = question if question.startswith("Q: ") else f"Q: {question.strip()}"
    if problems.skill_of(text[3:]) is not None:
        return [f"pocket:{name}" for name in ("sum", "mul", "sort", "mod")], "the models in the box"
    raise InputError(
        "no model that could answer this was found here.",
        hint="Set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama or another local server, or name models with -m.",
    )


def _seated(person: str, data: Mapping[str, Any], preset: str | None) -> dict[str, Any]:
    """The agents of a debate with a person among them."""
    model = {"human": person}
    if preset is None:
        if person in data["agents"]:
            raise InputError(f"'{person[:40]}' is a model's name here.", hint="Give the person another name.")
        return {**data["agents"], person: {"model": model}}
    base = presets.data(preset)
    roles = presets.roles(base)
    if roles and person not in roles:
        raise InputError(f"the preset '{preset}' has roles, and none is called '{person[:40]}'.",
                         hint=f"A person can be {', '.join(roles)}.")  # fmt: skip
    if roles:
        return {**data.get("agents", {}), person: {"model": model}}
    agents = data.get("agents") or {
        name: dict(agent) if isinstance(agent, Mapping) else {"model": agent}
        for name, agent in (base.get("agents") or {}).items()
    }
    own = ("persona", "adversary", "count", "passage")
    common = {key: value for key, value in next(iter(agents.values())).items() if key not in own}
    return {**agents, person: {**common, "model": model}}


# ---- a preset with models of one's own --------------------------------------------------------------------------


def over_preset(
    preset: str,
    models: Sequence[Any],
    *,
    chosen: bool,
    names: Sequence[str],
    answer: str | None,
    topology: str | None,
    rounds: int | None,
) -> dict[str, Any]:
    """The debate file of a question with a preset, as plain data.

    Args:
        preset: its name.
        models: what takes the places of its models, in order.
        chosen: they were named by the user, so none may be left out.
        names: what further agents would be called, one for each model.
        answer: as given.
        topology: as given.
        rounds: as given.

    Raises:
        InputError: if there is no such preset, or it cannot be changed in this way.
    """
    preset = presets.known(preset)
    base = presets.data(preset)
    roles = presets.roles(base)
    made: dict[str, Any] = {"protocol": {"preset": preset}}
    made.update(_places(preset, base, roles, models, names, chosen))
    small = all(isinstance(model, str) and model.startswith("pocket:") for model in models)
    if answer is not None:
        made["answer"] = answer
    elif not small and _counts_as_example(base):
        made["answer"] = "text"
    if topology is not None:
        if roles:
            raise InputError(f"the preset '{preset}' says itself who reads whom.", hint="Leave the topology out.")
        made["topology"] = topology
    if rounds is not None:
        moderator = base.get("moderator") or {}
        stop = _with_rounds(str(moderator.get("stop", "unanimous | rounds(2)")), rounds)
        if stop is None:
            raise InputError(f"the preset '{preset}' has no number of rounds to set.", hint="Leave the rounds out.")
        made["moderator"] = {"stop": stop}
        if isinstance(moderator.get("limit"), int) and moderator["limit"] < rounds:
            made["moderator"]["limit"] = rounds
    return made


def _places(
    preset: str,
    base: Mapping[str, Any],
    roles: Sequence[str],
    models: Sequence[Any],
    names: Sequence[str],
    chosen: bool,
) -> dict[str, Any]:
    """Models in the places of the preset's, again from the first where there are more places; or more agents."""
    places = list(base.get("models") or {})
    made: dict[str, Any] = {"models": {place: models[i % len(models)] for i, place in enumerate(places)}}
    if len(models) <= len(places) or (places and not chosen):
        return made
    agents = {n: dict(a) if isinstance(a, Mapping) else {"model": a} for n, a in (base.get("agents") or {}).items()}
    one_each = sorted(str(a.get("model")) for a in agents.values()) == sorted(places)
    if roles or not one_each or any("count" in agent for agent in agents.values()):
        count = f"{len(places)} model{'s' * (len(places) != 1)}"
        raise InputError(f"the preset '{preset}' takes {count}, not {len(models)}.",
                         hint=f"Its agents are {', '.join(agents)}.")  # fmt: skip
    # what makes the first agent itself is its persona; the rest they have in common
    common = {key: value for key, value in next(iter(agents.values())).items() if key not in ("persona", "adversary")}
    for i in range(len(places), len(models)):
        name = names[i] if names[i] not in agents else f"{names[i]}-{i + 1}"
        agents[name] = {**common, "model": models[i]}
    return {**made, "agents": agents}


def _counts_as_example(base: Mapping[str, Any]) -> bool:
    """Whether a preset asks for numbers only because its example does."""
    kind, decide = base.get("answer", "text"), (base.get("moderator") or {}).get("decide")
    vote = decide.get("vote") if isinstance(decide, Mapping) else None
    rule = vote.get("rule") if isinstance(vote, Mapping) else vote
    return (kind == "number" or (isinstance(kind, Mapping) and "number" in kind)) and rule not in ("mean", "median")


def _with_rounds(stop: str, rounds: int) -> str | None:
    """A stop rule with another number of rounds, in each rounds(N) that ends it, else in all; None if it has none."""
    text = " ".join(stop.split())
    tree = ast.parse(text, mode="eval").body
    ending = [call for part in _alternatives(tree) for call in _limits([part])]
    found = ending or list(_limits(ast.walk(tree)))
    if all(value == 0 for _, value in found):
        return None
    for node, _ in sorted(found, key=lambda pair: -pair[0].col_offset):
        text = text[: node.col_offset] + str(rounds) + text[node.end_col_offset :]
    return text


def _alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """The rules that `|` joins at the top."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    else:
        yield node


def _limits(nodes: Any) -> Iterator[tuple[ast.Constant, int]]:
    """The number of each rounds(N)."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "rounds":
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(value, ast.Constant) and isinstance(value.value, int):
                    yield value, value.value
