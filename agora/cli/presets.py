"""Commands about published protocols: presets, init."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agora.cli import views
from agora.cli.options import JSON

if TYPE_CHECKING:
    from agora.text.debate import Debate

_SAID = ("title", "paper", "calls", "tokens", "where", "rules", "strengths", "failures", "differences", "hosted")


@click.command()
@click.argument("name", required=False)
@click.option("--tag", help="Only those with this tag.")
@JSON
def presets(name: str | None, tag: str | None, as_json: bool) -> None:
    """List published protocols that come in the box; or say what there is to say of one, NAME."""
    import difflib

    from agora.config import presets as there
    from agora.errors import InputError

    if name is not None:
        if tag is not None:
            raise InputError("--tag picks from the list of all presets.", hint="Leave it out, or NAME.")
        _one(there.known(name), as_json)
        return
    found = [_described(each) for each in there.names()]
    if tag is not None:
        tags = sorted({each for one in found for each in one["tags"]})
        if tag.casefold() not in tags:
            near = difflib.get_close_matches(tag.casefold(), tags, 1)
            raise InputError(f"--tag: no preset is tagged '{tag[:40]}'; there are {', '.join(tags)}.",
                             hint=f"Did you mean '{near[0]}'?" if near else None)  # fmt: skip
        found = [one for one in found if tag.casefold() in one["tags"]]
    if as_json:
        print(json.dumps({"presets": found}))
        return
    _table(found)
    click.echo("")
    click.echo("agora presets NAME says more of one; agora init NAME writes it as a file to run and change.")


@click.command()
@click.argument("name")
@click.option("-o", "--out", metavar="FILE", help="Where to; '-' prints it. Default: NAME.yaml, here.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def init(name: str, out: str | None, force: bool) -> None:
    """Write the published protocol NAME as a debate file, ready to run on the models in the box."""
    from agora.config import presets as there
    from agora.errors import InputError

    content = there.text(name)
    if out == "-":
        click.echo(content, nl=False)
        return
    path = Path(out) if out is not None else Path(f"{there.known(name)}.yaml")
    if path.is_dir():
        raise InputError(f"{path} is a folder.", hint="Give -o a file.")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        hint = "Choose another file with -o, or overwrite it with --force."
        raise InputError(f"{path} is there already.", hint=hint) from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be written: {said.lower()}.", hint="Choose another place with -o.") from None
    shown = f"'{path}'" if " " in str(path) else str(path)
    click.echo(f"{path}: the preset {there.known(name)}; run it with: agora run {shown}")


# ---- what there is ----------------------------------------------------------------------------------------------


def _described(name: str) -> dict[str, Any]:
    """A preset as plain data: what its file says about itself, and its roles."""
    from agora.config import presets as there

    said = there.about(name).model_dump()
    roles = there.roles(there.data(name))
    return {"name": name, **{key: said[key] for key in _SAID}, "tags": said["tags"], "roles": roles}


def _table(found: Sequence[Mapping[str, Any]]) -> None:
    """Presets as a list: what each is, what it costs and whose it is."""
    wide = max(len(one["name"]) for one in found)
    width = max(60, min(140, shutil.get_terminal_size((80, 24)).columns)) - wide - 2
    for one in found:
        # the year of a paper is enough here; its number is said by `agora presets NAME`
        paper = one["paper"].partition(", arXiv")[0]
        said = [one["title"], f"{one['calls']} call{'s' * (one['calls'] != '1')}; {paper}"]
        lines = [line for text in said for line in textwrap.wrap(views.clean(text), width)]
        for i, line in enumerate(lines):
            click.echo(f"{views.clean(one['name']) if not i else '':{wide}}  {line}")


def _one(name: str, as_json: bool) -> None:
    import anyio

    from agora import config
    from agora.text.forecast import forecast

    said = _described(name)
    debate, question = config.load(config.presets.FOLDER / f"{name}.yaml", lenient=True, missing=[])
    made = anyio.run(forecast, debate, question or "A question of one sentence, as none is given here?")
    predicted = {"calls": {"least": made.least.calls, "most": made.most.calls}}
    if as_json:
        print(json.dumps({**said, "predicted": predicted}))
        return
    click.secho(f"{name}: {views.short(said['title'], 200)}", bold=True)
    agents = said["roles"] or [agent.name for agent in debate.agents]
    note = "" if said["roles"] else " (any others will do)"
    shown = {**said, "tags": ", ".join(said["tags"]), "agents": f"{', '.join(agents[:20])}{note}",
             "example": _example(debate, predicted["calls"])}  # fmt: skip
    width = max(60, min(100, shutil.get_terminal_size((80, 24)).columns))
    for key in ("paper", "tags", "agents", *_SAID[2:], "example"):
        text = " ".join(views.clean(shown[key]).split())
        if text:
            click.echo(textwrap.fill(text, width, initial_indent=f"  {key:12}", subsequent_indent=" " * 14))
    click.echo("")
    click.echo(f"agora init {name} writes it as a file; agora ask QUESTION -p {name} asks it.")


def _example(debate: Debate, calls: Mapping[str, int]) -> str:
    count = f"{calls['least']} to {calls['most']}" if calls["least"] < calls["most"] else str(calls["most"])
    agents = len(debate.agents)
    return f"as the file stands: {count} calls of {agents} agent{'s' * (agents != 1)}; stop: {debate.moderator.stop}"
