"""The command that draws who reads whom: graph."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agora.cli import views
from agora.cli.options import SET

if TYPE_CHECKING:
    from agora.text.debate import Debate
    from agora.text.topology import Topology


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A .svg, .html or .png; default: text, here.")
@click.option("-r", "--round", "round_", type=click.IntRange(0, 10_000), help="Of a graph that changes: which round's.")
@SET
def graph(file: Path, out: Path | None, round_: int | None, settings: tuple[str, ...]) -> None:
    """Draw who reads whom in the debate in FILE. Nothing is sent."""
    from agora import config
    from agora.errors import InputError

    if out is not None and out.suffix.lower() not in (".svg", ".html", ".png"):
        raise InputError(f"{out}: a picture is a .svg, .html or .png.", hint="Give -o one of these.")
    debate, _ = config.load(file, settings, lenient=True, missing=[])
    topology = debate.reading() if round_ is None else debate.topology.at(round_, debate.seed)
    families = {agent.name: agent.model.name.partition(":")[0] for agent in debate.agents}
    if out is None:
        _print(topology, families)
        return
    content = _drawn(debate, topology, families, out.suffix.lower())
    try:
        out.write_bytes(content)
    except OSError as error:
        said = error.strerror or str(error)
        raise InputError(f"{out} cannot be written: {said.lower()}.", hint="Check the path.") from error
    click.echo(f"{out}: {topology.name}, {len(topology.agents)} agents, {topology.edge_count} edges")


def _print(topology: Topology, families: dict[str, str]) -> None:
    from agora.drawing import topology_text

    figures = topology.figures()
    diameter = figures["diameter"] if figures["diameter"] is not None else "none"
    click.echo(
        f"{views.clean(topology.name)}: {figures['agents']} agents, {figures['edges']} edges, "
        f"density {figures['density']:.2f}, diameter {diameter}"
    )
    width = shutil.get_terminal_size((100, 24)).columns
    for line in topology_text(topology, families, max(50, width - 2)).splitlines():
        click.echo(f"  {line}".rstrip())
    for word in ("isolated", "unreachable"):
        if figures[word]:
            click.echo(f"  {word}: {', '.join(map(views.clean, figures[word][:20]))}")
    if figures["changes"]:
        click.echo(f"  note: {figures['changes']}")


def _drawn(debate: Debate, topology: Topology, families: dict[str, str], kind: str) -> bytes:
    from agora.drawing import png, topology_html, topology_svg

    # what no edge says itself is said by the protocol
    seen = getattr(debate.protocol.view, "text", "full")
    if kind == ".png":
        return png(topology_svg(topology, families=families, views=seen, theme="light"))
    if kind == ".svg":
        return topology_svg(topology, families=families, views=seen, theme="auto").encode()
    models = {agent.name: agent.model.name for agent in debate.agents}
    svg = topology_svg(topology, families=families, views=seen)
    return topology_html(topology, debate.name, svg, models).encode()
