"""Commands about this machine and the language: models, schema."""

from __future__ import annotations

import json

import click

from agora.cli.options import JSON


@click.command()
@JSON
def models(as_json: bool) -> None:
    """What can answer here, and what is missing for the rest."""
    import anyio

    from agora.models import discover

    found = anyio.run(discover.everything)
    rows = [{"model": f.model, "ready": f.ready, "needs": f.needs, **f.options} for f in found]
    if not any("base_url" in row for row in rows):
        needs = "a local server: none found on the usual ports (Ollama, LM Studio, llama.cpp, vLLM)"
        rows.append({"model": "{openai: NAME, base_url: URL}", "ready": False, "needs": needs})
    if as_json:
        print(json.dumps({"models": rows}))
        return
    for row in rows:
        url = f"at {row['base_url']}" if "base_url" in row else ""
        note = " ".join(str(part) for part in (row["needs"], url) if part)
        click.echo(f"{'ready  ' if row['ready'] else 'missing'}  {row['model']:30} {note}".rstrip())


@click.command()
def schema() -> None:
    """Print the JSON Schema of debate files, for editors."""
    from agora.config import schema as make

    print(json.dumps(make(), indent=2))
